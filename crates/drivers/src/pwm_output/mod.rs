//! pwm-output: a fan, a dimmer or a proportional valve on a PWM channel of the board, or on any line of a Raspberry Pi.
//!
//! A channel keeps its level after the program's end, so the safe state stays true; software PWM on a line does not.

use std::time::Duration;

use crate::{Actuator, BusNeed, DriverError, DriverSpec, Proof, Role};
use fieldgate_bus::{Bus, Claim, PwmChannel, PwmPlace, PwmRequest, pwm};
use fieldgate_model::{Field, Kind, Need, OutputKind, OutputValue, Pace, Settings};

/// The driver's line in [`DRIVERS`](crate::DRIVERS).
pub static SPEC: DriverSpec = DriverSpec {
    name: "pwm-output",
    summary: "a fan, a dimmer or a proportional valve, by a PWM channel or software PWM: 0 to 100 percent",
    page: "\
Wiring: a PWM pin drives a few milliamperes at 3.3 V; motors and lamps need a
transistor. On a Raspberry Pi put dtoverlay=pwm into config.txt for GPIO18, or
dtoverlay=pwm-2chan for GPIO18 and GPIO19: these are channels 0 and 1 up to
the Pi 4, channels 2 and 3 on a Pi 5. `ls /sys/class/pwm` lists the chips.

frequency: PC fans with four wires want 25000 Hz, lamps 200 Hz and more; for
servos there is pwm-servo. Channels of one chip often share a frequency.
inverted: 100 means always low. Not every chip can.

The hardware keeps the level when Fieldgate has ended, by whatever way; it
ends with the power. Between power-on and the start of Fieldgate nobody drives
the pin: a resistor of 10 kΩ to ground keeps what hangs on it off.

Any line of a Raspberry Pi does software PWM: a bus { type: gpio, backend: rppal }
and settings { line: GPIO18, frequency: 100 }. It suits lamps, heaters and slow
fans: from 1 to 1000 Hz, with jitter, and at 1000 Hz it takes up to 40 % of one
processor core (at 100 Hz 4 %). It ends with the program. A safe_state of 0 or
100 is a steady level, which stays after an orderly end; one in between cannot be
held, and the line ends idle. A kill leaves the line at whatever level it had at
that moment, until systemd has run `fieldgate safe-state`, which drives 0 or 100
to stay. Put nothing on it that must not be fully on for some seconds.",
    bus: BusNeed::Pwm,
    settings: &[
        Field {
            name: "channel",
            kind: Kind::Integer { min: 0, max: 63 },
            need: Need::Or("line"),
            doc: "the channel's number on the chip, of a bus of type pwm",
        },
        Field {
            name: "line",
            kind: Kind::Line,
            need: Need::Or("channel"),
            doc: "the line for software PWM, such as GPIO18, of a bus of type gpio with backend: rppal",
        },
        Field {
            name: "frequency",
            kind: Kind::Number { min: 0.1, max: 1e6 },
            need: Need::Default("1000"),
            doc: "periods per second, in Hz",
        },
        Field {
            name: "inverted",
            kind: Kind::Flag,
            need: Need::Default("false"),
            doc: "whether the active part of a period is low",
        },
        RAMP,
    ],
    claims: |settings| match place(settings) {
        PwmPlace::Channel(channel) => vec![pwm::CHANNEL.claim(channel)],
        PwmPlace::Line(line) => vec![Claim::Line(line)],
    },
    wrong: |_| None,
    role: Role::Actuator {
        kind: |_| OutputKind::Percent,
        pace: ramp,
        build: |bus: &mut dyn Bus, settings, value| {
            Ok(Box::new(PwmOutput { channel: bus.pwm(&request(settings, percent(value)?))? }))
        },
    },
    example: "\
fan:
  driver: pwm-output
  bus: pwm-0
  settings: { channel: 0, frequency: 25000 }
  safe_state: 0",
    identity: None,
    chip: None,
    proofs: &[Proof::Kernel("pwm-pca9685")],
};

/// How fast a dimmer moves.
pub(super) const RAMP: Field = Field {
    name: "ramp",
    kind: Kind::Duration { min: Duration::ZERO, max: Duration::from_secs(600) },
    need: Need::Default("0s"),
    doc: "how long a command takes from 0 to 100; the safe state is taken at once",
};

/// See [`RAMP`].
pub(super) fn ramp(settings: &Settings) -> Pace {
    Pace::Ramp(settings.duration("ramp"))
}

/// The check has seen to it that there is one of the two, and kept the channel within 0 to 63; anything else is a channel that
/// no chip has.
fn place(settings: &Settings) -> PwmPlace {
    match settings.optional_text("line") {
        Some(line) => PwmPlace::Line(line.to_owned()),
        None => PwmPlace::Channel(u32::try_from(settings.integer("channel")).unwrap_or(u32::MAX)),
    }
}

fn request(settings: &Settings, percent: f64) -> PwmRequest {
    PwmRequest {
        place: place(settings),
        period: Duration::from_secs_f64(1.0 / settings.number("frequency").clamp(0.1, 1e6)),
        percent,
        inverted: settings.flag("inverted"),
    }
}

struct PwmOutput {
    channel: Box<dyn PwmChannel>,
}

impl Actuator for PwmOutput {
    fn apply(&mut self, value: OutputValue) -> Result<(), DriverError> {
        Ok(self.channel.set(percent(value)?)?)
    }

    fn read_back(&mut self) -> Result<Option<OutputValue>, DriverError> {
        Ok(Some(OutputValue::Percent(self.channel.percent()?)))
    }
}

/// Nothing else comes here, for the kind of the driver is a percentage; it would move nothing.
pub(super) fn percent(value: OutputValue) -> Result<f64, DriverError> {
    match value {
        OutputValue::Percent(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        OutputValue::Percent(value) => Err(DriverError::OutOfRange { quantity: "percent", value }),
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

    type Asked = Rc<RefCell<Option<PwmRequest>>>;

    struct Channel(Asked);

    impl PwmChannel for Channel {
        fn set(&mut self, percent: f64) -> Result<(), BusError> {
            self.0.borrow_mut().as_mut().unwrap().percent = percent;
            Ok(())
        }

        fn percent(&mut self) -> Result<f64, BusError> {
            Ok(self.0.borrow().as_ref().unwrap().percent)
        }
    }

    impl Bus for Channel {
        fn describe(&self) -> String {
            "pwm chip 0".into()
        }

        fn pwm(&mut self, request: &PwmRequest) -> Result<Box<dyn PwmChannel>, BusError> {
            if matches!(request.place, PwmPlace::Channel(2..)) {
                return Err(self.lacks("PWM channel 2"));
            }
            *self.0.borrow_mut() = Some(request.clone());
            Ok(Box::new(Channel(Rc::clone(&self.0))))
        }
    }

    fn build(channel: i64, percent: f64) -> (Asked, Result<Box<dyn Actuator>, DriverError>) {
        let seen = Rc::new(RefCell::new(None));
        let mut settings = Settings::default();
        settings.insert("channel", Setting::Integer(channel));
        settings.insert("frequency", Setting::Number(25_000.0));
        settings.insert("inverted", Setting::Flag(false));
        let Role::Actuator { build, .. } = SPEC.role else { panic!("an actuator") };
        let built = build(&mut Channel(Rc::clone(&seen)), &settings, OutputValue::Percent(percent));
        (seen, built)
    }

    #[test]
    fn the_channel_is_claimed_with_its_period_and_its_first_value() {
        let (seen, built) = build(1, 30.0);
        let expected = PwmRequest {
            place: PwmPlace::Channel(1),
            period: Duration::from_micros(40),
            percent: 30.0,
            inverted: false,
        };
        assert_eq!(seen.borrow().as_ref(), Some(&expected));
        let mut fan = built.unwrap();
        fan.apply(OutputValue::Percent(72.5)).unwrap();
        assert_eq!(fan.read_back().unwrap(), Some(OutputValue::Percent(72.5)));
    }

    #[test]
    fn a_line_is_a_place_as_good_as_a_channel() {
        let seen = Rc::new(RefCell::new(None));
        let mut settings = Settings::default();
        settings.insert("line", Setting::Text("GPIO18".into()));
        settings.insert("frequency", Setting::Number(100.0));
        settings.insert("inverted", Setting::Flag(true));
        let Role::Actuator { build, .. } = SPEC.role else { panic!("an actuator") };
        build(&mut Channel(Rc::clone(&seen)), &settings, OutputValue::Percent(0.0)).unwrap();
        let (place, period) = (PwmPlace::Line("GPIO18".into()), Duration::from_millis(10));
        assert_eq!(seen.borrow().as_ref(), Some(&PwmRequest { place, period, percent: 0.0, inverted: true }));
        assert_eq!((SPEC.claims)(&settings), [Claim::Line("GPIO18".into())]);
    }

    #[test]
    fn a_channel_that_the_chip_lacks_is_refused() {
        assert!(!build(2, 0.0).1.err().unwrap().is_transient());
    }

    #[test]
    fn what_is_no_percentage_moves_nothing() {
        let (seen, built) = build(0, 5.0);
        let mut fan = built.unwrap();
        for value in [OutputValue::Percent(140.0), OutputValue::Percent(f64::NAN), OutputValue::Switch(true)] {
            assert!(
                matches!(fan.apply(value), Err(DriverError::OutOfRange { .. } | DriverError::Foreign(_))),
                "{value}"
            );
        }
        assert_eq!(seen.borrow().as_ref().unwrap().percent, 5.0);
    }
}
