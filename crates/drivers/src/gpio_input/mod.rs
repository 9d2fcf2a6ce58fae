//! gpio-input: a contact or a logic level on a GPIO line.
//!
//! Every change is an event with the kernel's time; in between, `every` takes the line's state as a heartbeat, so that a
//! consumer can distinguish a quiet door from a dead gateway. Debouncing and inversion are the kernel's.
//!
//! With delays or clicks it is another sensor on the same line (`timed.rs`), to which the time after an edge matters as well.
//! What edges mean then is decided by their own times in `delays.rs`, `clicks.rs` and `contact.rs`, which know no clock.

mod clicks;
mod contact;
mod delays;
mod timed;

use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::{BusNeed, DriverError, DriverSpec, Event, Proof, Role, Sensor};
use fieldgate_bus::{Bias, Bus, Claim, Edge, InputLine, InputRequest};
use fieldgate_model::field::format_duration;
use fieldgate_model::{Field, Kind, Measurement, Need, Quantity, Settings, Wrong};

use clicks::Clicks;
use contact::Contact;
use delays::Delays;
use timed::TimedInput;

/// The driver's line in [`DRIVERS`](crate::DRIVERS).
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
is not the number of a pin on the header.

delayed_on, delayed_off: active, or no longer active, counts when it has
lasted for so long, and not at all when it ends before. The reading has the
time of the change plus the delay; `every` reports the delayed state as well.

clicks: for push buttons. Each pattern of presses has exactly one outcome, in
a reading of its own beside the changes: \"click\": \"single\", \"double\",
\"triple\", \"quadruple\", or \"many\" for five presses and more. It comes when
no further press has begun within double_within of the last release. A press
of long_after is \"long\", at once and while it is still held; short presses
in front of it belong to it and are not reported. The press after a long one
begins a new pattern. A button that is held at the start means nothing until
it is released. The kernel's times decide, however late a busy bus is read; on
an expander without interrupt, the times at which it was looked at.
A click happens once: its reading is never retained, and it has no topic of
its own under mqtt.plain. Contacts bounce, so give a button a debounce. For a
dimmer: from \"long\" on until active is false. clicks: {} takes the defaults.",
    bus: BusNeed::Gpio,
    settings: &[LINE, ACTIVE_LOW, BIAS, DEBOUNCE, DELAYED_ON, DELAYED_OFF, CLICKS],
    claims: |settings| vec![Claim::Line(settings.text("line").to_owned())],
    wrong,
    role: Role::Sensor {
        measurements: |settings| match settings.optional_section("clicks") {
            None => vec![ACTIVE],
            Some(_) => vec![ACTIVE, CLICK],
        },
        default_every: Some(Duration::from_secs(60)),
        build: |bus: &mut dyn Bus, settings| build(bus.input(&request(settings))?, settings),
    },
    example: "\
door:
  driver: gpio-input
  bus: header
  settings: { line: GPIO17, active_low: true, bias: pull-up, debounce: 20ms }
bell:
  driver: gpio-input
  bus: header
  settings:
    line: GPIO23
    active_low: true
    bias: pull-up
    debounce: 20ms
    clicks: { double_within: 300ms, long_after: 800ms }",
    identity: None,
    chip: None,
    proofs: &[Proof::Kernel("gpio-sim")],
};

/// What a click can mean: the words of its measurement.
pub const CLICKS_MEAN: [&str; 6] = clicks::WORDS;

const ACTIVE: Quantity = Quantity::flag("active");
const CLICK: Quantity = Quantity::word("click");

/// `line`: the GPIO line that is read.
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

/// `bias`: the resistor that pulls the input's line.
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

/// How long active has to last.
const DELAYED_ON: Field = Field {
    name: "delayed_on",
    kind: Kind::Duration { min: Duration::ZERO, max: LONGEST_DELAY },
    need: Need::Default("0s"),
    doc: "how long it has to be active before it is reported to be",
};

/// How long inactive has to last.
const DELAYED_OFF: Field = Field {
    name: "delayed_off",
    kind: Kind::Duration { min: Duration::ZERO, max: LONGEST_DELAY },
    need: Need::Default("0s"),
    doc: "how long it has to be inactive before it is reported to be",
};

/// Beyond a day it is a rule that is wanted, not an input.
const LONGEST_DELAY: Duration = Duration::from_secs(86_400);

/// `clicks`: by which times presses count as single, double, long and so on.
const CLICKS: Field = Field {
    name: "clicks",
    kind: Kind::Subsection(&[
        Field {
            name: "double_within",
            kind: Kind::Duration { min: Duration::from_millis(1), max: Duration::from_secs(10) },
            need: Need::Default("300ms"),
            doc: "how soon after a release the next press must begin to be counted with it",
        },
        Field {
            name: "long_after",
            kind: Kind::Duration { min: Duration::from_millis(1), max: Duration::from_secs(60) },
            need: Need::Default("800ms"),
            doc: "how long a press lasts that is long",
        },
    ]),
    need: Need::Optional,
    doc: "reports what presses of a button mean: single, double, triple, quadruple, many, long",
};

/// What debounce and delays leave of presses and pauses must be shorter than what clicks ask for.
fn wrong(settings: &Settings) -> Option<(&'static str, Wrong)> {
    let clicks = settings.optional_section("clicks")?;
    let (double_within, long_after) = (clicks.duration("double_within"), clicks.duration("long_after"));
    let [debounce, on, off] = ["debounce", "delayed_on", "delayed_off"].map(|key| settings.duration(key));
    let shortest_press = off.saturating_add(debounce.saturating_sub(on));
    let shortest_pause = on.saturating_add(debounce.saturating_sub(off));
    if long_after <= shortest_press {
        let what = format!(
            "every press would be long: with this debounce and delayed_off it lasts for {} at least",
            format_duration(shortest_press)
        );
        return Some(Wrong::new(what, "write a longer long_after, or shorten those").at("clicks"));
    }
    if double_within <= shortest_pause {
        let what = format!(
            "no press could follow another in time: with this debounce and delayed_on the pause lasts for {} at least",
            format_duration(shortest_pause)
        );
        return Some(Wrong::new(what, "write a longer double_within, or shorten those").at("clicks"));
    }
    None
}

/// The sensor on a line that is claimed; what these settings do not ask for costs nothing.
fn build(mut line: Box<dyn InputLine>, settings: &Settings) -> Result<Box<dyn Sensor>, DriverError> {
    let [on, off] = ["delayed_on", "delayed_off"].map(|key| settings.duration(key));
    let clicks = settings.optional_section("clicks");
    if clicks.is_none() && on.is_zero() && off.is_zero() {
        return Ok(Box::new(GpioInput { line }));
    }
    let active = line.is_active()?;
    let clicks = clicks.map(|of| Clicks::new(of.duration("double_within"), of.duration("long_after"), active));
    Ok(Box::new(TimedInput::new(line, Contact::new(Delays::new(on, off, active), clicks))))
}

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
        settings.insert("debounce", Setting::Duration(ms(20)));
        settings.insert("delayed_on", Setting::Duration(Duration::ZERO));
        settings.insert("delayed_off", Setting::Duration(Duration::ZERO));
        settings
    }

    /// A button behind these times in milliseconds.
    fn button([debounce, on, off, double_within, long_after]: [u64; 5]) -> Settings {
        let mut clicks = Settings::default();
        clicks.insert("double_within", Setting::Duration(ms(double_within)));
        clicks.insert("long_after", Setting::Duration(ms(long_after)));
        let mut settings = Settings::default();
        settings.insert("debounce", Setting::Duration(ms(debounce)));
        settings.insert("delayed_on", Setting::Duration(ms(on)));
        settings.insert("delayed_off", Setting::Duration(ms(off)));
        settings.insert("clicks", Setting::Section(clicks));
        settings
    }

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn build(bus: &mut dyn Bus) -> Result<Box<dyn Sensor>, DriverError> {
        let Role::Sensor { build, .. } = SPEC.role else { panic!("a sensor") };
        build(bus, &settings())
    }

    #[test]
    fn the_line_is_claimed_as_the_settings_say() {
        let asked = Rc::new(RefCell::new(None));
        let mut sensor = build(&mut Header { asked: Rc::clone(&asked), has_line: true }).unwrap();
        let (line, debounce) = ("GPIO17".into(), ms(20));
        let expected = InputRequest { line, active_low: true, bias: Bias::PullUp, debounce };
        assert_eq!(asked.borrow().as_ref(), Some(&expected));
        assert_eq!(sensor.sample().unwrap(), [ACTIVE.observed(true)]);
        assert_eq!((SPEC.claims)(&settings()), [Claim::Line("GPIO17".into())]);
    }

    #[test]
    fn each_edge_is_an_event_with_the_kernels_time_and_is_taken_once() {
        let at = |time| Some(ms(time));
        let edges = vec![Edge { active: true, at: at(5), missed: 0 }, Edge { active: false, at: at(9), missed: 0 }];
        let mut sensor = GpioInput { line: Box::new(Line { edges, works: true }) };
        let event = |ms, active| Event { at: at(ms), measurements: vec![ACTIVE.observed(active)] };
        assert_eq!(sensor.take_events().unwrap(), [event(5, true), event(9, false)]);
        assert!(sensor.take_events().unwrap().is_empty());
    }

    #[test]
    fn a_click_is_measured_where_clicks_are_wanted() {
        let Role::Sensor { measurements, .. } = SPEC.role else { panic!("a sensor") };
        assert_eq!(measurements(&settings()), [ACTIVE]);
        assert_eq!(measurements(&button([20, 0, 0, 300, 800])), [ACTIVE, CLICK]);
    }

    #[test]
    fn a_line_that_is_active_at_the_start_is_so_behind_its_delays_and_has_not_been_pressed() {
        let edges = vec![Edge { active: false, at: Some(ms(5)), missed: 0 }];
        let line = Box::new(Line { edges, works: true });
        let mut sensor = super::build(line, &button([20, 50, 50, 300, 800])).unwrap();
        assert_eq!(sensor.due_in(), None);
        let events = sensor.take_events().unwrap();
        assert_eq!(events, [Event { at: Some(ms(55)), measurements: vec![ACTIVE.observed(false)] }]);
        assert_eq!(sensor.due_in(), None);
    }

    #[test]
    fn times_that_leave_only_one_outcome_are_wrong() {
        let found = |times| wrong(&button(times)).map(|(_, found)| found.what);
        assert_eq!(wrong(&settings()), None);
        for fine in [[20, 0, 0, 300, 800], [0, 0, 0, 1, 1], [20, 299, 799, 300, 800], [900, 900, 100, 1701, 800]] {
            assert_eq!(found(fine), None, "{fine:?}");
        }
        for (times, words) in [
            ([800, 0, 0, 900, 800], "every press would be long: with this debounce and delayed_off it lasts for 800ms"),
            ([0, 0, 900, 300, 800], "every press would be long: with this debounce and delayed_off it lasts for 900ms"),
            (
                [300, 0, 0, 300, 800],
                "no press could follow another in time: with this debounce and delayed_on the pause",
            ),
            (
                [0, 300, 0, 300, 800],
                "no press could follow another in time: with this debounce and delayed_on the pause",
            ),
        ] {
            assert!(found(times).is_some_and(|what| what.starts_with(words)), "{times:?}: {:?}", found(times));
        }
    }

    #[test]
    fn a_missing_line_is_no_passing_trouble_and_a_failed_read_is() {
        let mut bus = Header { asked: Rc::default(), has_line: false };
        assert!(!build(&mut bus).err().unwrap().is_transient());
        let mut sensor = GpioInput { line: Box::new(Line { edges: Vec::new(), works: false }) };
        assert!(sensor.sample().unwrap_err().is_transient());
    }
}
