//! gpio-input: a contact or a logic level on a GPIO line.
//!
//! Every change is an event with the kernel's time; in between, `every` takes the line's state as a heartbeat, so that a
//! consumer can tell a quiet door from a dead gateway. Debouncing and inversion are the kernel's.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::{BusNeed, DriverError, DriverSpec, Event, Proof, Role, Sensor};
use fieldgate_bus::{Bias, Bus, Claim, Edge, InputLine, InputRequest};
use fieldgate_model::{Field, Kind, Measurement, Need, Quantity, Settings};

/// The driver.
pub static SPEC: DriverSpec = DriverSpec {
    name: "gpio-input",
    summary: "a contact or a logic level on a GPIO line, with every change as an event",
    page: "\
Wiring: a contact between the line and ground needs active_low: true and
bias: pull-up; then the closed contact is active. A logic level must not
exceed the line's supply, 3.3 V on a Raspberry Pi.

Each change is reported at once, with the time at which the kernel saw it.
Between changes the state is reported `every` 60 s.

debounce: a change counts when the line has been stable for so long; 20ms
suits most switches. The kernel does it, so it costs nothing here.
bias: the kernel accepts a pull that the chip does not have and keeps silent;
with such a chip put a resistor of 10 kΩ on the line. An expander refuses it.
With backend: rppal it must be written: that sets a pull in any case.
line: `gpioinfo` lists the names; a number counts lines on the chip, and
is not the number of a pin on the header.",
    bus: BusNeed::Gpio,
    settings: &[LINE, ACTIVE_LOW, BIAS, DEBOUNCE],
    claims: |settings| vec![Claim::Line(settings.text("line").to_owned())],
    role: Role::Sensor {
        measurements: |_| vec![ACTIVE],
        default_every: Some(Duration::from_secs(60)),
        build: |bus: &mut dyn Bus, settings| Ok(Box::new(GpioInput { line: bus.input(&request(settings))? })),
    },
    example: "\
door:
  driver: gpio-input
  bus: header
  settings: { line: GPIO17, active_low: true, bias: pull-up, debounce: 20ms }",
    identity: None,
    chip: None,
    proofs: &[Proof::Kernel("gpio-sim")],
};

const ACTIVE: Quantity = Quantity::flag("active");

/// Which line.
pub(super) const LINE: Field = Field {
    name: "line",
    kind: Kind::Line,
    need: Need::Required,
    doc: "the line's name, such as GPIO17, or its number on the chip",
};

/// Which level means active.
pub(super) const ACTIVE_LOW: Field = Field {
    name: "active_low",
    kind: Kind::Flag,
    need: Need::Default("false"),
    doc: "whether a low level means active",
};

/// Its pull.
pub(super) const BIAS: Field = Field {
    name: "bias",
    kind: Kind::Choice(&["as-is", "pull-up", "pull-down", "disabled"]),
    need: Need::Default("as-is"),
    doc: "the pull of the line",
};

/// What counts as a change.
pub(super) const DEBOUNCE: Field = Field {
    name: "debounce",
    kind: Kind::Duration { min: Duration::ZERO, max: Duration::from_secs(10) },
    need: Need::Default("0s"),
    doc: "how long the line has to be stable before a change counts",
};

/// What these four ask of a bus.
pub(super) fn request(settings: &Settings) -> InputRequest {
    InputRequest {
        line: settings.text("line").to_owned(),
        active_low: settings.flag("active_low"),
        bias: match settings.text("bias") {
            "pull-up" => Bias::PullUp,
            "pull-down" => Bias::PullDown,
            "disabled" => Bias::Disabled,
            _ => Bias::AsIs,
        },
        debounce: settings.duration("debounce"),
    }
}

struct GpioInput {
    line: Box<dyn InputLine>,
}

impl Sensor for GpioInput {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        Ok(vec![ACTIVE.observed(self.line.is_active()?)])
    }

    fn take_events(&mut self) -> Result<Vec<Event>, DriverError> {
        Ok(self.line.take_edges()?.into_iter().map(event).collect())
    }

    fn is_event_driven(&self) -> bool {
        true
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.line.descriptor()
    }
}

fn event(edge: Edge) -> Event {
    Event { at: edge.at, measurements: vec![ACTIVE.observed(edge.active)] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fieldgate_bus::BusError;
    use fieldgate_model::Setting;
    use std::cell::RefCell;
    use std::rc::Rc;

    /// A line that is active, changed twice, and then breaks.
    struct Line {
        edges: Vec<Edge>,
        works: bool,
    }

    impl InputLine for Line {
        fn is_active(&mut self) -> Result<bool, BusError> {
            let gone = || BusError::Io { what: "reading line 17".into(), source: std::io::Error::from_raw_os_error(5) };
            if self.works { Ok(true) } else { Err(gone()) }
        }

        fn take_edges(&mut self) -> Result<Vec<Edge>, BusError> {
            Ok(std::mem::take(&mut self.edges))
        }

        fn descriptor(&self) -> Option<BorrowedFd<'_>> {
            None
        }
    }

    struct Header {
        asked: Rc<RefCell<Option<InputRequest>>>,
        has_line: bool,
    }

    impl Bus for Header {
        fn describe(&self) -> String {
            "header".into()
        }

        fn input(&mut self, request: &InputRequest) -> Result<Box<dyn InputLine>, BusError> {
            *self.asked.borrow_mut() = Some(request.clone());
            if !self.has_line {
                let (chip, line) = ("header".into(), request.line.clone());
                return Err(BusError::NoLine { chip, line, hint: String::new() });
            }
            Ok(Box::new(Line { edges: Vec::new(), works: true }))
        }
    }

    fn settings() -> Settings {
        let mut settings = Settings::default();
        settings.insert("line", Setting::Text("GPIO17".into()));
        settings.insert("active_low", Setting::Flag(true));
        settings.insert("bias", Setting::Text("pull-up".into()));
        settings.insert("debounce", Setting::Duration(Duration::from_millis(20)));
        settings
    }

    fn build(bus: &mut dyn Bus) -> Result<Box<dyn Sensor>, DriverError> {
        let Role::Sensor { build, .. } = SPEC.role else { panic!("a sensor") };
        build(bus, &settings())
    }

    #[test]
    fn the_line_is_claimed_as_the_settings_say() {
        let asked = Rc::new(RefCell::new(None));
        let mut sensor = build(&mut Header { asked: Rc::clone(&asked), has_line: true }).unwrap();
        let (line, debounce) = ("GPIO17".into(), Duration::from_millis(20));
        let expected = InputRequest { line, active_low: true, bias: Bias::PullUp, debounce };
        assert_eq!(asked.borrow().as_ref(), Some(&expected));
        assert_eq!(sensor.sample().unwrap(), [ACTIVE.observed(true)]);
        assert_eq!((SPEC.claims)(&settings()), [Claim::Line("GPIO17".into())]);
    }

    #[test]
    fn each_edge_is_an_event_with_the_kernels_time_and_is_taken_once() {
        let at = |ms| Some(Duration::from_millis(ms));
        let edges = vec![Edge { active: true, at: at(5), missed: 0 }, Edge { active: false, at: at(9), missed: 0 }];
        let mut sensor = GpioInput { line: Box::new(Line { edges, works: true }) };
        let event = |ms, active| Event { at: at(ms), measurements: vec![ACTIVE.observed(active)] };
        assert_eq!(sensor.take_events().unwrap(), [event(5, true), event(9, false)]);
        assert!(sensor.take_events().unwrap().is_empty());
    }

    #[test]
    fn a_missing_line_is_no_passing_trouble_and_a_failed_read_is() {
        let mut bus = Header { asked: Rc::default(), has_line: false };
        assert!(!build(&mut bus).err().unwrap().is_transient());
        let mut sensor = GpioInput { line: Box::new(Line { edges: Vec::new(), works: false }) };
        assert!(sensor.sample().unwrap_err().is_transient());
    }
}
