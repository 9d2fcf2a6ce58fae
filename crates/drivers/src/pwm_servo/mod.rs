//! pwm-servo: a servo on a PWM channel of the board.
//!
//! A servo turns to where the length of its pulses says; without pulses most turn freely. Software PWM is not offered: its
//! jitter of a tenth of a millisecond is ten degrees and more.

use std::time::Duration;

use crate::servo::{self, DEGREES, MAX_PULSE, MIN_PULSE, Scale};
use crate::{Actuator, BusNeed, DriverError, DriverSpec, Proof, Role};
use fieldgate_bus::{Bus, PwmChannel, PwmPlace, PwmRequest, pwm};
use fieldgate_model::{Field, Kind, Need, OutputValue, Pace, Settings};

/// The driver's line in [`DRIVERS`](crate::DRIVERS).
pub static SPEC: DriverSpec = DriverSpec {
    name: "pwm-servo",
    summary: "a servo on a PWM channel of the board: an angle, or off",
    page: "\
Wiring: the signal to the PWM pin, the servo's supply from a source of its own
that can give an ampere, grounds joined. Most servos understand 3.3 V. On a
Raspberry Pi put dtoverlay=pwm into config.txt for GPIO18, or
dtoverlay=pwm-2chan for GPIO18 and GPIO19; `fieldgate drivers pwm-output` says
which channels these are.

Servos differ: 1 to 2 ms for 90 degrees by their data sheets, 0.5 to 2.5 ms
for 180 in truth. Begin with the defaults, and widen min_pulse and max_pulse
until the arm reaches both ends without humming against a stop.

An angle holds the servo there with all its strength; off ends the pulses, and
most servos then turn freely. The angle is what was ordered: a servo does not
say where it is. A channel keeps its pulses when Fieldgate has ended, by
whatever way. Channels of one chip often share a frequency.

A line of a Raspberry Pi with software PWM is too unsteady for a servo, and is
not offered. A PCA9685 has 16 steady outputs: pca9685-servo.",
    bus: BusNeed::Pwm,
    settings: &[
        Field {
            name: "channel",
            kind: Kind::Integer { min: 0, max: 63 },
            need: Need::Required,
            doc: "the channel's number on the chip",
        },
        MIN_PULSE,
        MAX_PULSE,
        DEGREES,
        Field {
            name: "frequency",
            kind: Kind::Number { min: 40.0, max: 400.0 },
            need: Need::Default("50"),
            doc: "pulses per second, in Hz",
        },
    ],
    claims: |settings| vec![pwm::CHANNEL.claim(channel(settings))],
    wrong: servo::wrong,
    role: Role::Actuator {
        kind: servo::kind,
        pace: |_| Pace::AtOnce,
        build: |bus: &mut dyn Bus, settings, value| Ok(Box::new(PwmServo::claim(bus, settings, value)?)),
    },
    example: "\
vane:
  driver: pwm-servo
  bus: pwm-0
  settings: { channel: 0, min_pulse: 0.5ms, max_pulse: 2.5ms }
  safe_state: 90",
    identity: None,
    chip: None,
    proofs: &[Proof::Reference("adafruit-circuitpython-motor 3.5.0")],
};

/// The check has kept it within 0 to 63; anything else is a channel that no chip has.
fn channel(settings: &Settings) -> u32 {
    u32::try_from(settings.integer("channel")).unwrap_or(u32::MAX)
}

struct PwmServo {
    channel: Box<dyn PwmChannel>,
    scale: Scale,
    hertz: f64,
    /// What was asked for last and the percentage that it became: read back, the same means the same angle, unrounded.
    commanded: (OutputValue, f64),
}

impl PwmServo {
    fn claim(bus: &mut dyn Bus, settings: &Settings, value: OutputValue) -> Result<Self, DriverError> {
        let (scale, hertz) = (Scale::new(settings), settings.number("frequency"));
        let percent = scale.pulse(value)? * hertz * 100.0;
        let (place, period) = (PwmPlace::Channel(channel(settings)), Duration::from_secs_f64(1.0 / hertz));
        let channel = bus.pwm(&PwmRequest { place, period, percent, inverted: false })?;
        Ok(Self { channel, scale, hertz, commanded: (value, percent) })
    }
}

impl Actuator for PwmServo {
    fn apply(&mut self, value: OutputValue) -> Result<(), DriverError> {
        let percent = self.scale.pulse(value)? * self.hertz * 100.0;
        self.commanded = (value, percent);
        Ok(self.channel.set(percent)?)
    }

    fn read_back(&mut self) -> Result<Option<OutputValue>, DriverError> {
        /// Less than the nanoseconds in which the kernel counts.
        const SAME: f64 = 1e-9;
        let (read, (value, percent)) = (self.channel.percent()?, self.commanded);
        let is_as_commanded = (read - percent).abs() < SAME;
        Ok(Some(if is_as_commanded { value } else { self.scale.value(read / 100.0 / self.hertz) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::settings;
    use fieldgate_bus::pwm::LinuxPwm;
    use fieldgate_bus::sim::SimBus;
    use std::fs;

    fn angle(degrees: f64) -> OutputValue {
        OutputValue::Angle(Some(degrees))
    }

    const OFF: OutputValue = OutputValue::Angle(None);

    #[test]
    fn every_angle_is_read_as_it_was_set_and_off_is_no_pulse() {
        let mut bus = SimBus::open(None, crate::chip).unwrap();
        let given = settings(&SPEC, &[("channel", "1"), ("min_pulse", "0.5ms"), ("max_pulse", "2.5ms")]);
        let mut servo = PwmServo::claim(&mut bus, &given, OFF).unwrap();
        assert_eq!((servo.read_back().unwrap(), servo.channel.percent().unwrap()), (Some(OFF), 0.0));
        for (degrees, percent) in [(0.0, 2.5), (36.0, 4.5), (33.3, 4.35), (90.0, 7.5), (180.0, 12.5)] {
            servo.apply(angle(degrees)).unwrap();
            assert!((servo.channel.percent().unwrap() - percent).abs() < 1e-9);
            assert_eq!(servo.read_back().unwrap(), Some(angle(degrees)));
        }
        servo.channel.set(5.0).unwrap();
        assert_eq!(servo.read_back().unwrap(), Some(angle(45.0)), "somebody else has set it");
        for wrong in [angle(180.1), angle(-1.0), angle(f64::NAN), OutputValue::Percent(5.0)] {
            assert!(servo.apply(wrong).is_err(), "{wrong}");
        }
        assert_eq!(servo.channel.percent().unwrap(), 5.0, "what is no angle moves nothing");
    }

    #[test]
    fn pulses_are_exact_to_the_nanosecond_in_the_files_of_the_kernel() {
        let class = tempfile::tempdir().unwrap();
        let folder = class.path().join("pwmchip0/pwm1");
        fs::create_dir_all(&folder).unwrap();
        fs::write(class.path().join("pwmchip0/npwm"), "2").unwrap();
        for (file, content) in [("enable", "0"), ("period", "0"), ("duty_cycle", "0"), ("polarity", "normal")] {
            fs::write(folder.join(file), content).unwrap();
        }
        let mut bus = LinuxPwm::at(class.path(), 0).unwrap();
        for (frequency, period) in [("50", "20000000"), ("333", "3003003")] {
            let given = settings(&SPEC, &[("channel", "1"), ("frequency", frequency)]);
            let mut servo = PwmServo::claim(&mut bus, &given, angle(0.0)).unwrap();
            assert_eq!(fs::read_to_string(folder.join("period")).unwrap(), period);
            for (degrees, nanoseconds) in [(0.0, 1_000_000), (1.0, 1_005_556), (90.0, 1_500_000), (180.0, 2_000_000)] {
                servo.apply(angle(degrees)).unwrap();
                let duty: i64 = fs::read_to_string(folder.join("duty_cycle")).unwrap().parse().unwrap();
                assert!((duty - nanoseconds).abs() <= 1, "{duty} for {degrees} degrees at {frequency} Hz");
                assert_eq!(servo.read_back().unwrap(), Some(angle(degrees)));
            }
        }
    }

    #[test]
    fn settings_that_were_wrong_still_have_a_kind() {
        let Role::Actuator { kind, .. } = SPEC.role else { panic!("an actuator") };
        assert_eq!(kind(&Settings::default()), fieldgate_model::OutputKind::Angle { most: 180 });
    }

    #[test]
    fn pulses_that_do_not_differ_or_do_not_fit_are_problem() {
        let problem = |given: &[(&str, &str)]| {
            let found = servo::wrong(&settings(&SPEC, &[&[("channel", "0")], given].concat()));
            found.map(|(key, found)| (key, found.what))
        };
        assert_eq!(problem(&[]), None);
        assert_eq!(problem(&[("max_pulse", "2.5ms"), ("frequency", "399")]), None);
        let (key, what) = problem(&[("min_pulse", "2ms")]).unwrap();
        assert_eq!((key, what.as_str()), ("max_pulse", "max_pulse is not longer than min_pulse, 2ms"));
        let (key, what) = problem(&[("max_pulse", "2.5ms"), ("frequency", "400")]).unwrap();
        assert_eq!((key, what.as_str()), ("frequency", "a period of 400 Hz is too short for pulses of 2.5ms"));
    }
}
