//! pca9685-servo: a servo on one of the 16 outputs of an NXP PCA9685.
//!
//! Datasheet, wiring and addresses as in [`pca9685`](crate::pca9685), whose chip this is: dimmers and servos may
//! share one, if they want the same frequency.
//!
//! A step is a 4096th of a period, 4.9 µs at 50 Hz: 0.9 degrees of a servo that turns by 180 between 1 and 2 ms. It is
//! computed from the period that the prescaler really makes; the oscillator is exact to some percent, and pulses with it.

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;

use crate::pca9685::chip::{self, Output};
use crate::servo::{self, DEGREES, MAX_PULSE, MIN_PULSE, Scale};
use crate::{Actuator, BusNeed, DriverError, DriverSpec, Proof, Role};
use fieldgate_bus::{Bus, BusError, Delay};
use fieldgate_model::{Field, Kind, Need, OutputValue, Pace, Settings};

/// The driver's line in [`DRIVERS`](crate::DRIVERS).
pub static SPEC: DriverSpec = DriverSpec {
    name: "pca9685-servo",
    summary: "a servo on one of the 16 outputs of an NXP PCA9685 over I²C: an angle, or off",
    page: "\
Wiring: as for `fieldgate drivers pca9685`; the servos' supply comes from a
source of its own that can give an ampere for each that moves, grounds joined.

One entry under actuators for each servo. All outputs of one chip have one
frequency, so that dimmers beside servos have to be content with 50 Hz.

Servos differ: 1 to 2 ms for 90 degrees by their data sheets, 0.5 to 2.5 ms
for 180 in truth. Begin with the defaults, and widen min_pulse and max_pulse
until the arm reaches both ends without humming against a stop. The chip's
oscillator is off by some percent, and pulses with it. A step is 4.9 µs at
50 Hz, half a degree to one; a higher frequency, which digital servos take,
makes it finer.

An angle holds the servo there with all its strength; off ends the pulses, and
most servos then turn freely. The angle is what was ordered: a servo does not
say where it is. The chip keeps its pulses when Fieldgate has ended, by
whatever way, and has none after power-on.",
    bus: BusNeed::I2c,
    settings: &[
        chip::ADDRESS,
        chip::CHANNEL,
        MIN_PULSE,
        MAX_PULSE,
        DEGREES,
        Field {
            name: "frequency",
            kind: Kind::Number { min: 24.0, max: 400.0 },
            need: Need::Default("50"),
            doc: "pulses per second, in Hz; the same for all outputs of a chip",
        },
    ],
    claims: chip::claims,
    wrong: servo::wrong,
    role: Role::Actuator {
        kind: servo::kind,
        pace: |_| Pace::AtOnce,
        build: |bus: &mut dyn Bus, settings, value| {
            Ok(Box::new(Pca9685Servo::start(bus.i2c()?, Delay, settings, value)?))
        },
    },
    example: "\
flap:
  driver: pca9685-servo
  bus: i2c-1
  settings: { address: 0x40, channel: 4, min_pulse: 0.5ms, max_pulse: 2.5ms }
  safe_state: 0",
    identity: None,
    chip: crate::pca9685::SPEC.chip,
    proofs: &[Proof::Reference("adafruit-circuitpython-motor 3.5.0")],
};

struct Pca9685Servo<I, D> {
    output: Output<I, D>,
    scale: Scale,
    /// What was asked for last and the steps that it became: read back, the same mean the same angle.
    commanded: (OutputValue, u16),
}

impl<I: I2c<Error = BusError>, D: DelayNs> Pca9685Servo<I, D> {
    fn start(i2c: I, delay: D, settings: &Settings, value: OutputValue) -> Result<Self, DriverError> {
        let (scale, commanded) = (Scale::new(settings), (OutputValue::Angle(None), 0));
        let mut servo = Self { output: Output::find(i2c, delay, settings)?, scale, commanded };
        servo.apply(value)?;
        Ok(servo)
    }
}

impl<I: I2c<Error = BusError>, D: DelayNs> Actuator for Pca9685Servo<I, D> {
    fn apply(&mut self, value: OutputValue) -> Result<(), DriverError> {
        let steps = (self.scale.pulse(value)? / self.output.step()).round() as u16;
        self.commanded = (value, steps);
        self.output.drive(steps)
    }

    fn read_back(&mut self) -> Result<Option<OutputValue>, DriverError> {
        let (read, (value, steps)) = (self.output.high()?, self.commanded);
        Ok(Some(if read == steps { value } else { self.scale.value(f64::from(read) * self.output.step()) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::{ChipUnderTest, CountedDelay, Step, Transcript, settings};

    const OFF: OutputValue = OutputValue::Angle(None);

    fn angle(degrees: f64) -> OutputValue {
        OutputValue::Angle(Some(degrees))
    }

    fn build(
        chip: &mut ChipUnderTest,
        given: &[(&str, &str)],
        value: OutputValue,
    ) -> Result<Box<dyn Actuator>, DriverError> {
        let Role::Actuator { build, .. } = SPEC.role else { panic!("an actuator") };
        build(chip, &settings(&SPEC, given), value)
    }

    #[test]
    fn an_angle_becomes_the_nearest_step_of_the_real_period() {
        let state = || {
            let read = |register, value| Step::WriteRead(vec![register], vec![value]);
            vec![read(0x00, 0x20), read(0x01, 0x04), read(0xFE, 121)]
        };
        // 1.5 ms / (122 / 25 MHz) = 307.4 steps, and 2 ms 409.8.
        let own = |low, high| vec![Step::Write(vec![0x0E, 0, 0, low, high])];
        let script = [state(), state(), own(0x33, 0x01), state(), own(0x9A, 0x01), state(), own(0, 0x10)].concat();
        let given = settings(&SPEC, &[("channel", "2")]);
        let i2c = Transcript::new(0x40, script);
        let mut servo = Pca9685Servo::start(i2c, CountedDelay::default(), &given, angle(90.0)).unwrap();
        servo.apply(angle(180.0)).unwrap();
        servo.apply(OFF).unwrap();
    }

    #[test]
    fn what_was_set_is_read_as_it_was_set_however_coarse_the_steps_are() {
        let coarse = [("channel", "0"), ("degrees", "360"), ("max_pulse", "1.1ms"), ("frequency", "24")];
        for given in [&[("channel", "0")][..], &coarse] {
            let mut chip = ChipUnderTest::with("pca9685-servo", 0x40);
            let mut servo = build(&mut chip, given, OFF).unwrap();
            assert_eq!(servo.read_back().unwrap(), Some(OFF));
            for degrees in [0.0, 0.1, 33.333, 90.0, 179.9, 180.0] {
                servo.apply(angle(degrees)).unwrap();
                assert_eq!(servo.read_back().unwrap(), Some(angle(degrees)));
            }
            assert!(servo.apply(angle(400.0)).is_err() && servo.apply(OutputValue::Percent(5.0)).is_err());
            assert_eq!(servo.read_back().unwrap(), Some(angle(180.0)), "what is no angle moves nothing");
        }
    }

    #[test]
    fn another_hand_on_the_chip_is_seen() {
        let mut chip = ChipUnderTest::with("pca9685-servo", 0x40);
        let mut servo = build(&mut chip, &[("channel", "0")], angle(90.0)).unwrap();
        let mut other = build(&mut chip, &[("channel", "0")], angle(45.0)).unwrap();
        let Some(OutputValue::Angle(Some(read))) = servo.read_back().unwrap() else { panic!("an angle") };
        assert!((read - 45.0).abs() < 0.5, "{read}");
        other.apply(OFF).unwrap();
        assert_eq!(servo.read_back().unwrap(), Some(OFF));
    }

    #[test]
    fn a_servo_beside_a_dimmer_on_one_chip_leaves_it_alone() {
        let mut chip = ChipUnderTest::with("pca9685", 0x40);
        let lamp = crate::find("pca9685").unwrap();
        let Role::Actuator { build: build_lamp, .. } = lamp.role else { panic!("an actuator") };
        let given = settings(lamp, &[("channel", "1"), ("frequency", "50")]);
        let mut lamp = build_lamp(&mut chip, &given, OutputValue::Percent(40.0)).unwrap();
        let mut servo = build(&mut chip, &[("channel", "0")], angle(10.0)).unwrap();
        assert_eq!(lamp.read_back().unwrap(), Some(OutputValue::Percent(40.0)));
        lamp.apply(OutputValue::Percent(0.0)).unwrap();
        assert_eq!(servo.read_back().unwrap(), Some(angle(10.0)));
        chip.fault(Some("nak"));
        assert!(servo.apply(OFF).is_err());
    }
}
