//! gpio-output: a relay, a valve or a lamp on a GPIO line.
//!
//! The line is driven to the wanted state in the moment in which it is claimed. No program can drive a level after its end;
//! the page below says what to do about it.

use crate::{Actuator, BusNeed, DriverError, DriverSpec, Proof, Role};
use fieldgate_bus::{Bus, Claim, OutputLine, OutputRequest};
use fieldgate_model::{Field, Kind, Need, OutputKind, OutputValue, Pace, Settings};

/// The driver's line in [`DRIVERS`](crate::DRIVERS).
pub static SPEC: DriverSpec = DriverSpec {
    name: "gpio-output",
    summary: "a relay, a valve or a lamp on a GPIO line: on or off",
    page: "\
Wiring: a line drives a few milliamperes at 3.3 V; relays, valves and motors
need a transistor or a relay board. Many relay boards switch on at a low
level: active_low: true.

After Fieldgate ends, nothing drives the line. Mainline kernels turn the lines
of a Raspberry Pi back into inputs, the kernel of Raspberry Pi OS leaves them
as they are, and before Fieldgate starts they are inputs in any case. Put a
resistor of 10 kΩ on the line, to ground or to 3.3 V, that makes the safe
state true while the line floats; with active_low and safe_state \"off\" that
is a pull-up. Inputs of relay boards often have one. With backend: rppal the
line stays as it was driven last, also after a kill; the resistor is still
needed until the first start. The kernel knows nothing of such an output, so no
other program is kept from driving it. The pins of an expander, a bus of type
pcf8574 or mcp23017, stay as they were left.

The state is read back from the line. That shows the level at the pin, not
whether the relay followed.",
    bus: BusNeed::Gpio,
    settings: &[LINE, ACTIVE_LOW],
    claims: line,
    wrong: |_| None,
    role: Role::Actuator {
        kind: |_| OutputKind::Switch,
        pace: |_| Pace::AtOnce,
        build: |bus: &mut dyn Bus, settings, value| Ok(Box::new(GpioOutput::claim(bus, settings, value)?)),
    },
    example: "\
pump:
  driver: gpio-output
  bus: header
  settings: { line: GPIO27, active_low: true }
  safe_state: \"off\"",
    identity: None,
    chip: None,
    proofs: &[Proof::Kernel("pinctrl-bcm2835"), Proof::Kernel("gpio-pcf857x")],
};

/// The line of an output.
pub(super) const LINE: Field = Field {
    name: "line",
    kind: Kind::Line,
    need: Need::Required,
    doc: "the line's name, such as GPIO27, or its number on the chip",
};

/// `active_low`: whether the output is on while its line is low.
pub(super) const ACTIVE_LOW: Field =
    Field { name: "active_low", kind: Kind::Flag, need: Need::Default("false"), doc: "whether on means a low level" };

/// The claim of a driver with one line.
pub(super) fn line(settings: &Settings) -> Vec<Claim> {
    vec![Claim::Line(settings.text("line").to_owned())]
}

/// One line that is on or off.
pub(super) struct GpioOutput {
    line: Box<dyn OutputLine>,
}

impl GpioOutput {
    /// Claims the line of these settings; it is driven to `value` from the first moment.
    pub(super) fn claim(bus: &mut dyn Bus, settings: &Settings, value: OutputValue) -> Result<Self, DriverError> {
        let (line, active_low) = (settings.text("line").to_owned(), settings.flag("active_low"));
        let request = OutputRequest { line, active_low, active: is_on(value)? };
        Ok(Self { line: bus.output(&request)? })
    }
}

impl Actuator for GpioOutput {
    fn apply(&mut self, value: OutputValue) -> Result<(), DriverError> {
        Ok(self.line.set(is_on(value)?)?)
    }

    fn read_back(&mut self) -> Result<Option<OutputValue>, DriverError> {
        Ok(Some(OutputValue::Switch(self.line.is_active()?)))
    }
}

/// Nothing else comes here, for the kind of the driver is a switch; it would move nothing.
fn is_on(value: OutputValue) -> Result<bool, DriverError> {
    match value {
        OutputValue::Switch(on) => Ok(on),
        other => Err(DriverError::Foreign(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fieldgate_bus::BusError;
    use fieldgate_model::Setting;
    use std::cell::RefCell;
    use std::rc::Rc;

    /// What was requested, and what the line does since.
    #[derive(Default)]
    struct Seen {
        request: Option<OutputRequest>,
        active: bool,
    }

    struct Line(Rc<RefCell<Seen>>);

    impl OutputLine for Line {
        fn set(&mut self, active: bool) -> Result<(), BusError> {
            self.0.borrow_mut().active = active;
            Ok(())
        }

        fn is_active(&mut self) -> Result<bool, BusError> {
            Ok(self.0.borrow().active)
        }
    }

    impl Bus for Line {
        fn describe(&self) -> String {
            "header".into()
        }

        fn output(&mut self, request: &OutputRequest) -> Result<Box<dyn OutputLine>, BusError> {
            let (chip, line) = ("header".to_owned(), request.line.clone());
            if line == "GPIO2" {
                return Err(BusError::LineClaimed { chip, line, holder: "i2c1".into() });
            }
            *self.0.borrow_mut() = Seen { request: Some(request.clone()), active: request.active };
            Ok(Box::new(Line(Rc::clone(&self.0))))
        }
    }

    type Built = Result<Box<dyn Actuator>, DriverError>;

    fn build(line: &str, value: OutputValue) -> (Rc<RefCell<Seen>>, Built) {
        let seen = Rc::new(RefCell::new(Seen::default()));
        let mut settings = Settings::default();
        settings.insert("line", Setting::Text(line.into()));
        settings.insert("active_low", Setting::Flag(true));
        let Role::Actuator { build, .. } = SPEC.role else { panic!("an actuator") };
        let built = build(&mut Line(Rc::clone(&seen)), &settings, value);
        (seen, built)
    }

    #[test]
    fn the_line_is_claimed_with_its_first_value_and_then_follows() {
        let (seen, built) = build("GPIO27", OutputValue::Switch(true));
        let mut pump = built.unwrap();
        let expected = OutputRequest { line: "GPIO27".into(), active_low: true, active: true };
        assert_eq!(seen.borrow().request.as_ref(), Some(&expected));
        assert_eq!(pump.read_back().unwrap(), Some(OutputValue::Switch(true)));
        pump.apply(OutputValue::Switch(false)).unwrap();
        assert!(!seen.borrow().active);
    }

    #[test]
    fn read_back_reports_the_line_and_not_the_order() {
        let (seen, built) = build("GPIO27", OutputValue::Switch(true));
        seen.borrow_mut().active = false;
        assert_eq!(built.unwrap().read_back().unwrap(), Some(OutputValue::Switch(false)));
    }

    #[test]
    fn a_line_in_use_names_its_user() {
        let error = build("GPIO2", OutputValue::Switch(false)).1.err().unwrap();
        assert!(error.to_string().contains("i2c1"), "{error}");
    }

    #[test]
    fn a_percentage_moves_nothing() {
        let (seen, built) = build("GPIO27", OutputValue::Switch(false));
        let error = built.unwrap().apply(OutputValue::Percent(100.0)).unwrap_err();
        assert!(matches!(error, DriverError::Foreign(_)) && !seen.borrow().active, "{error}");
        assert!(build("GPIO27", OutputValue::Percent(1.0)).1.is_err());
    }
}
