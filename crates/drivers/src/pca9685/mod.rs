//! pca9685: one of the 16 outputs of an NXP PCA9685, a dimmer or a fan over I²C.
//!
//! Datasheet: PCA9685 revision 4 (2015); section numbers below are its.
//! 0x70 is left out of the addresses: until that is changed every PCA9685 answers there.
//!
//! The chip itself is in `chip.rs`; what its outputs share and how it is brought up stands there.

pub(crate) mod chip;
mod sim;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;

use crate::pca9685::chip::{Output, STEPS};
use crate::pwm_output::{RAMP, percent, ramp};
use crate::{Actuator, BusNeed, DriverError, DriverSpec, Proof, Role};
use fieldgate_bus::sim::chips::ChipSpec;
use fieldgate_bus::{Bus, BusError, Delay};
use fieldgate_model::{Field, Kind, Need, OutputKind, OutputValue, Settings};

/// The driver's line in [`DRIVERS`](crate::DRIVERS).
pub static SPEC: DriverSpec = DriverSpec {
    name: "pca9685",
    summary: "an output of an NXP PCA9685, 16 dimmers or fans over I²C: 0 to 100 percent",
    page: "\
Wiring: SDA, SCL, 2.3 to 5.5 V, ground; OE to ground. A0 to A5 at ground:
address 0x40; each that is bridged adds 1, 2, 4, 8, 16 or 32. An output drives
10 mA and sinks 25 mA; motors and lamps need a transistor.

One entry under actuators for each output; servos have a driver of their own,
pca9685-servo. All outputs of one chip have one frequency: 50 Hz beside
servos, 200 Hz and more for lamps, 1500 Hz for fans; it is exact to some
percent. Steps are 0.024 percent.

The chip keeps its outputs when Fieldgate has ended, by whatever way, so the
safe state stays true as long as the chip has its supply. After power-on all
outputs are low, until Fieldgate starts; for an inverted output that is fully
on, so wire it the other way where that would do harm. A chip that lost its
supply has all outputs low and is brought up again by the next command to one
of them; the others stay low until a command of their own.",
    bus: BusNeed::I2c,
    settings: &[
        chip::ADDRESS,
        chip::CHANNEL,
        Field {
            name: "frequency",
            kind: Kind::Number { min: 24.0, max: 1526.0 },
            need: Need::Default("200"),
            doc: "periods per second, in Hz; the same for all outputs of a chip",
        },
        Field {
            name: "inverted",
            kind: Kind::Flag,
            need: Need::Default("false"),
            doc: "whether the active part of a period is low",
        },
        RAMP,
    ],
    claims: chip::claims,
    wrong: |_| None,
    role: Role::Actuator {
        kind: |_| OutputKind::Percent,
        pace: ramp,
        build: |bus: &mut dyn Bus, settings, value| {
            Ok(Box::new(Pca9685::start(bus.i2c()?, Delay, settings, percent(value)?)?))
        },
    },
    example: "\
lamp:
  driver: pca9685
  bus: i2c-1
  settings: { address: 0x40, channel: 0 }
  safe_state: 0",
    identity: None,
    chip: Some(ChipSpec::of(|| Box::new(sim::Pca9685::default()))),
    proofs: &[
        Proof::Datasheet("PCA9685 revision 4, section 7.3.5"),
        Proof::Reference("adafruit-circuitpython-pca9685 3.4.22"),
    ],
};

struct Pca9685<I, D> {
    output: Output<I, D>,
    inverted: bool,
}

impl<I: I2c<Error = BusError>, D: DelayNs> Pca9685<I, D> {
    fn start(i2c: I, delay: D, settings: &Settings, percent: f64) -> Result<Self, DriverError> {
        let output = Output::find(i2c, delay, settings)?;
        let mut output = Self { output, inverted: settings.flag("inverted") };
        output.drive(percent)?;
        Ok(output)
    }

    fn drive(&mut self, percent: f64) -> Result<(), DriverError> {
        let steps = (percent / 100.0 * f64::from(STEPS)).round() as u16;
        self.output.drive(if self.inverted { STEPS - steps.min(STEPS) } else { steps })
    }
}

impl<I: I2c<Error = BusError>, D: DelayNs> Actuator for Pca9685<I, D> {
    fn apply(&mut self, value: OutputValue) -> Result<(), DriverError> {
        self.drive(percent(value)?)
    }

    /// To a tenth of a percent, which is four steps: so what was set in tenths is read as it was set.
    fn read_back(&mut self) -> Result<Option<OutputValue>, DriverError> {
        let high = self.output.high()?;
        let steps = if self.inverted { STEPS - high } else { high };
        let percent = f64::from(steps) * 100.0 / f64::from(STEPS);
        Ok(Some(OutputValue::Percent((percent * 10.0).round() / 10.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::{ChipUnderTest, CountedDelay, Step, Transcript, settings};

    fn state(mode1: u8, prescaler: u8) -> Vec<Step> {
        let read = |register, value| Step::WriteRead(vec![register], vec![value]);
        vec![read(0x00, mode1), read(0x01, 0x04), read(0xFE, prescaler)]
    }

    fn brought_up(prescaler: u8) -> Vec<Step> {
        [&[0x00, 0x30][..], &[0xFA, 0x00, 0x00, 0x00, 0x10], &[0x01, 0x04], &[0xFE, prescaler], &[0x00, 0x20]]
            .map(|bytes| Step::Write(bytes.to_vec()))
            .to_vec()
    }

    /// Output 3, built at this percentage.
    fn start(
        steps: Vec<Step>,
        given: &[(&str, &str)],
        percent: f64,
    ) -> Result<Pca9685<Transcript, CountedDelay>, DriverError> {
        start_and_wait(&CountedDelay::default(), steps, given, percent)
    }

    fn start_and_wait(
        delay: &CountedDelay,
        steps: Vec<Step>,
        given: &[(&str, &str)],
        percent: f64,
    ) -> Result<Pca9685<Transcript, CountedDelay>, DriverError> {
        let given = [&[("channel", "3")], given].concat();
        Pca9685::start(Transcript::new(0x40, steps), delay.clone(), &settings(&SPEC, &given), percent)
    }

    fn build(chip: &mut ChipUnderTest, channel: &str, percent: f64) -> Result<Box<dyn Actuator>, DriverError> {
        let Role::Actuator { build, .. } = SPEC.role else { panic!("an actuator") };
        build(chip, &settings(&SPEC, &[("channel", channel)]), OutputValue::Percent(percent))
    }

    fn percent_of(output: &mut dyn Actuator) -> f64 {
        let Some(OutputValue::Percent(percent)) = output.read_back().unwrap() else { panic!("a percentage") };
        percent
    }

    #[test]
    fn a_sleeping_chip_is_brought_up_with_all_outputs_off_and_a_running_one_is_left_alone() {
        let own = Step::Write(vec![0x12, 0x00, 0x00, 0x33, 0x03]);
        let steps = [state(0x11, 0x1E), state(0x11, 0x1E), brought_up(0x1E), state(0x20, 0x1E), vec![own.clone()]];
        let delay = CountedDelay::default();
        start_and_wait(&delay, steps.concat(), &[], 20.0).unwrap();
        assert!(delay.waited_us() >= 500);
        let delay = CountedDelay::default();
        start_and_wait(&delay, [state(0x20, 0x1E), state(0x20, 0x1E), vec![own]].concat(), &[], 20.0).unwrap();
        assert_eq!(delay.waited_us(), 0);
    }

    #[test]
    fn another_frequency_is_set_and_inverted_turns_the_percentage_round() {
        let own = Step::Write(vec![0x12, 0x00, 0x00, 0xCD, 0x0C]);
        let steps = [state(0x20, 0x1E), state(0x20, 0x1E), brought_up(121), state(0x20, 121), vec![own]].concat();
        let given = [("frequency", "50"), ("inverted", "true")];
        start(steps, &given, 20.0).unwrap();
        let back = [state(0x20, 121), vec![Step::WriteRead(vec![0x12], vec![0x00, 0x00, 0xCD, 0x0C])]].concat();
        let own = Step::Write(vec![0x12, 0x00, 0x10, 0x00, 0x00]);
        let mut output = start([state(0x20, 121), state(0x20, 121), vec![own], back].concat(), &given, 0.0).unwrap();
        assert_eq!(percent_of(&mut output), 20.0);
    }

    #[test]
    fn a_missing_chip_is_named_and_one_that_does_not_wake_too() {
        let error = start(vec![Step::Nak], &[], 0.0).err().unwrap().to_string();
        assert!(error.starts_with("no PCA9685 at address 0x40: nobody answers"), "{error}");
        let steps = [state(0x11, 0x1E), state(0x11, 0x1E), brought_up(0x1E), state(0x11, 0x1E)].concat();
        let error = start(steps, &[], 0.0).err().unwrap();
        assert!(!error.is_transient() && error.to_string().contains("asleep"), "{error}");
    }

    #[test]
    fn what_is_no_percentage_moves_nothing() {
        let own = Step::Write(vec![0x12, 0x00, 0x00, 0x00, 0x10]);
        let mut output = start([state(0x20, 0x1E), state(0x20, 0x1E), vec![own]].concat(), &[], 0.0).unwrap();
        for value in [OutputValue::Percent(101.0), OutputValue::Percent(f64::NAN), OutputValue::Switch(true)] {
            let refused = output.apply(value).unwrap_err();
            assert!(matches!(refused, DriverError::OutOfRange { .. } | DriverError::Foreign(_)), "{value}");
        }
    }

    #[test]
    fn outputs_of_one_simulated_chip_do_not_disturb_each_other() {
        let mut chip = ChipUnderTest::with("pca9685", 0x40);
        let mut first = build(&mut chip, "0", 0.0).unwrap();
        let mut last = build(&mut chip, "15", 30.0).unwrap();
        for tenths in 0..=1000 {
            let percent = f64::from(tenths) / 10.0;
            first.apply(OutputValue::Percent(percent)).unwrap();
            assert_eq!(percent_of(first.as_mut()), percent);
        }
        assert_eq!(percent_of(last.as_mut()), 30.0);
        build(&mut chip, "0", 50.0).unwrap();
        assert_eq!((percent_of(first.as_mut()), percent_of(last.as_mut())), (50.0, 30.0));
    }

    #[test]
    fn a_chip_that_lost_its_supply_is_brought_up_again_with_the_other_outputs_off() {
        let mut chip = ChipUnderTest::with("pca9685", 0x40);
        let mut first = build(&mut chip, "0", 40.0).unwrap();
        let mut second = build(&mut chip, "1", 60.0).unwrap();
        chip.fault(Some("power-on"));
        let error = first.apply(OutputValue::Percent(70.0)).unwrap_err();
        assert!(!error.is_transient(), "it does not come back: {error}");
        chip.fault(None);
        assert!(first.read_back().is_err(), "it does nothing");
        first.apply(OutputValue::Percent(70.0)).unwrap();
        assert_eq!((percent_of(first.as_mut()), percent_of(second.as_mut())), (70.0, 0.0));
        second.apply(OutputValue::Percent(60.0)).unwrap();
        assert_eq!((percent_of(first.as_mut()), percent_of(second.as_mut())), (70.0, 60.0));
        chip.fault(Some("stuck"));
        assert!(first.apply(OutputValue::Percent(1.0)).is_err() && first.read_back().is_err());
        chip.fault(Some("nak"));
        assert!(first.apply(OutputValue::Percent(1.0)).is_err());
    }
}
