//! pca9685: one of the 16 outputs of an NXP PCA9685, a dimmer, a fan or a servo over I²C.
//!
//! Datasheet: PCA9685 revision 4 (2015); section numbers below are its.
//! Wiring: SDA, SCL, VDD 2.3 to 5.5 V, ground; OE to ground. A0 to A5 choose the address: all at ground 0x40, each at the
//! supply adds 1, 2, 4, 8, 16 or 32. 0x70 is left out: until it is told otherwise every PCA9685 answers there.
//!
//! Each output is an actuator of its own, built and driven on its own; what they share is the oscillator, so the check
//! refuses two frequencies for one chip. A chip that sleeps has lost its supply or never been brought up: then all its outputs
//! are switched off before it is woken, so that none does what an earlier program left in its register. A chip that runs
//! as it should is not touched but for the own output, whose four bytes take effect at once, at the end of the transfer.
//!
//! The chip has neither id nor checksum. What it was told is read back.

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;

use crate::bus::{Bus, BusError, Claim, Delay};
use crate::drivers::i2c_chip::{absent, another};
use crate::drivers::pwm_output::{RAMP, percent, ramp};
use crate::drivers::{Actuator, BusNeed, DriverError, DriverSpec, Proof, Role};
use crate::model::{Field, Kind, Need, OutputKind, OutputValue, Settings};

/// The driver.
pub static SPEC: DriverSpec = DriverSpec {
    name: "pca9685",
    summary: "an output of an NXP PCA9685, 16 dimmers, fans or servos over I²C: 0 to 100 percent",
    page: "\
Wiring: SDA, SCL, 2.3 to 5.5 V, ground; OE to ground. A0 to A5 at ground:
address 0x40; each that is bridged adds 1, 2, 4, 8, 16 or 32. An output drives
10 mA and sinks 25 mA; motors and lamps need a transistor.

One entry under actuators for each output. All outputs of one chip have one
frequency: 50 Hz for servos (5 percent is 1 ms, 10 percent 2 ms), 200 Hz and
more for lamps, 1500 Hz for fans; it is exact to some percent. Steps are
0.024 percent.

The chip keeps its outputs when Fieldgate has ended, by whatever way, so the
safe state stays true as long as the chip has its supply. After power-on all
outputs are low, until Fieldgate starts; for an inverted output that is fully
on, so wire it the other way where that would do harm. A chip that lost its
supply has all outputs low and is brought up again by the next command to one
of them; the others stay low until a command of their own.",
    bus: BusNeed::I2c,
    settings: &[
        Field {
            name: "address",
            kind: Kind::Address(&ADDRESSES),
            need: Need::Default("0x40"),
            doc: "0x40 with A0 to A5 at ground; each that is at the supply adds 1, 2, 4, 8, 16 or 32",
        },
        Field {
            name: "channel",
            kind: Kind::Integer { min: 0, max: 15 },
            need: Need::Required,
            doc: "which output of the chip",
        },
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
    claims: |settings| {
        let (address, channel, prescaler) = (settings.address("address"), channel(settings), prescaler(settings));
        vec![Claim::ChipChannel { address, channel, prescaler }]
    },
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
    proofs: &[
        Proof::Datasheet("PCA9685 revision 4, section 7.3.5"),
        Proof::Reference("adafruit-circuitpython-pca9685 3.4.22"),
    ],
};

/// 0x40 to 0x77, which is the last that I²C leaves to chips, without 0x70.
const ADDRESSES: [u16; 55] = {
    let mut all = [0; 55];
    let mut index = 0;
    while index < all.len() {
        all[index] = 0x40 + index as u16 + if index < 0x30 { 0 } else { 1 };
        index += 1;
    }
    all
};

// Registers (7.3).
const MODE1: u8 = 0x00;
const MODE2: u8 = 0x01;
const FIRST_OUTPUT: u8 = 0x06;
const ALL_OUTPUTS: u8 = 0xFA;
const PRESCALER: u8 = 0xFE;

// MODE1 (7.3.1): the register moves on with each byte, no call address is answered; and asleep. The highest bit is set by
// the chip when it is woken and its outputs still rest.
const AWAKE: u8 = 0x20;
const ASLEEP: u8 = 0x30;
const SLEEP: u8 = 0x10;
/// MODE2 (7.3.2): outputs drive both ways, change at the end of a transfer, are not inverted. As after power-on.
const TOTEM_POLE: u8 = 0x04;

/// In the upper byte of either end of the active part: always on, or always off, which wins (7.3.3).
const ALWAYS: u8 = 0x10;
const OFF: [u8; 4] = [0, 0, 0, ALWAYS];

/// Steps in a period.
const STEPS: u16 = 4096;
/// The oscillator in Hz (7.3.5).
const OSCILLATOR: f64 = 25e6;
/// Until the oscillator runs (7.3.1.1).
const WAKE_UP_US: u32 = 500;

/// The check has kept it within 0 to 15.
fn channel(settings: &Settings) -> u8 {
    u8::try_from(settings.integer("channel")).unwrap_or(0) & 0xF
}

/// 7.3.5.
fn prescaler(settings: &Settings) -> u8 {
    let periods = OSCILLATOR / f64::from(STEPS) / settings.number("frequency");
    (periods.round() - 1.0).clamp(3.0, 255.0) as u8
}

struct Pca9685<I, D> {
    i2c: I,
    delay: D,
    address: u8,
    channel: u8,
    prescaler: u8,
    inverted: bool,
}

impl<I: I2c<Error = BusError>, D: DelayNs> Pca9685<I, D> {
    fn start(i2c: I, delay: D, settings: &Settings, percent: f64) -> Result<Self, DriverError> {
        let mut output = Self {
            i2c,
            delay,
            address: settings.address("address"),
            channel: channel(settings),
            prescaler: prescaler(settings),
            inverted: settings.flag("inverted"),
        };
        output.state().map_err(absent("PCA9685"))?;
        output.drive(percent)?;
        Ok(output)
    }

    fn write(&mut self, register: u8, value: u8) -> Result<(), BusError> {
        self.i2c.write(self.address, &[register, value])
    }

    /// The four registers of an output, or of all.
    fn write_output(&mut self, register: u8, [a, b, c, d]: [u8; 4]) -> Result<(), BusError> {
        self.i2c.write(self.address, &[register, a, b, c, d])
    }

    fn output_register(&self) -> u8 {
        FIRST_OUTPUT + 4 * self.channel
    }

    /// Both modes and the prescaler.
    fn state(&mut self) -> Result<[u8; 3], BusError> {
        let mut state = [0; 3];
        for (byte, register) in state.iter_mut().zip([MODE1, MODE2, PRESCALER]) {
            self.i2c.write_read(self.address, &[register], std::slice::from_mut(byte))?;
        }
        Ok(state)
    }

    fn runs_as_told(&mut self) -> Result<Result<(), String>, BusError> {
        let [mode1, mode2, prescaler] = self.state()?;
        Ok(if mode1 & SLEEP != 0 {
            Err("it is asleep; it may have lost its supply".to_owned())
        } else if [mode1, mode2, prescaler] == [AWAKE, TOTEM_POLE, self.prescaler] {
            Ok(())
        } else {
            Err(format!("its modes and its prescaler are {mode1:#04x}, {mode2:#04x} and {prescaler:#04x}"))
        })
    }

    /// The prescaler can only be written asleep (7.3.5).
    fn bring_up(&mut self) -> Result<(), BusError> {
        self.write(MODE1, ASLEEP)?;
        self.write_output(ALL_OUTPUTS, OFF)?;
        self.write(MODE2, TOTEM_POLE)?;
        self.write(PRESCALER, self.prescaler)?;
        self.write(MODE1, AWAKE)?;
        self.delay.delay_us(WAKE_UP_US);
        Ok(())
    }

    fn drive(&mut self, percent: f64) -> Result<(), DriverError> {
        if self.runs_as_told()?.is_err() {
            self.bring_up()?;
            self.runs_as_told()?.map_err(|why| another("PCA9685", self.address, why))?;
        }
        let steps = (percent / 100.0 * f64::from(STEPS)).round() as u16;
        let high = if self.inverted { STEPS - steps.min(STEPS) } else { steps };
        let register = self.output_register();
        Ok(self.write_output(register, registers(high))?)
    }
}

impl<I: I2c<Error = BusError>, D: DelayNs> Actuator for Pca9685<I, D> {
    fn apply(&mut self, value: OutputValue) -> Result<(), DriverError> {
        self.drive(percent(value)?)
    }

    /// To a tenth of a percent, which is four steps: so what was set in tenths is read as it was set.
    fn read_back(&mut self) -> Result<Option<OutputValue>, DriverError> {
        self.runs_as_told()?.map_err(|why| another("PCA9685", self.address, why))?;
        let mut bytes = [0; 4];
        self.i2c.write_read(self.address, &[self.output_register()], &mut bytes)?;
        let high = high_steps(bytes);
        let steps = if self.inverted { STEPS - high } else { high };
        let percent = f64::from(steps) * 100.0 / f64::from(STEPS);
        Ok(Some(OutputValue::Percent((percent * 10.0).round() / 10.0)))
    }
}

/// The registers of an output that is high for so many steps from the beginning of a period (7.3.3).
fn registers(high: u16) -> [u8; 4] {
    let [low, upper] = high.to_le_bytes();
    match high {
        0 => OFF,
        STEPS.. => [0, ALWAYS, 0, 0],
        _ => [0, 0, low, upper],
    }
}

/// For how many steps an output with these registers is high, wherever in a period that begins.
fn high_steps([on_low, on_high, off_low, off_high]: [u8; 4]) -> u16 {
    if off_high & ALWAYS != 0 {
        return 0;
    }
    if on_high & ALWAYS != 0 {
        return STEPS;
    }
    u16::from_le_bytes([off_low, off_high]).wrapping_sub(u16::from_le_bytes([on_low, on_high])) % STEPS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::transcript::{Bench, CountedDelay, Step, Transcript, settings};

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
        let given = [&[("channel", "3")], given].concat();
        Pca9685::start(Transcript::new(0x40, steps), CountedDelay::default(), &settings(&SPEC, &given), percent)
    }

    fn build(bench: &mut Bench, channel: &str, percent: f64) -> Result<Box<dyn Actuator>, DriverError> {
        let Role::Actuator { build, .. } = SPEC.role else { panic!("an actuator") };
        build(bench, &settings(&SPEC, &[("channel", channel)]), OutputValue::Percent(percent))
    }

    fn percent_of(output: &mut dyn Actuator) -> f64 {
        let Some(OutputValue::Percent(percent)) = output.read_back().unwrap() else { panic!("a percentage") };
        percent
    }

    #[test]
    fn the_prescaler_of_the_datasheet_comes_out() {
        let of = |frequency| prescaler(&settings(&SPEC, &[("channel", "0"), ("frequency", frequency)]));
        assert_eq!(of("200"), 30, "7.3.5");
        assert_eq!((of("1526"), of("24")), (3, 253));
        assert_eq!((of("50"), of("1000")), (121, 5));
    }

    #[test]
    fn a_sleeping_chip_is_brought_up_with_all_outputs_off_and_a_running_one_is_left_alone() {
        let own = Step::Write(vec![0x12, 0x00, 0x00, 0x33, 0x03]);
        let steps = [state(0x11, 0x1E), state(0x11, 0x1E), brought_up(0x1E), state(0x20, 0x1E), vec![own.clone()]];
        let output = start(steps.concat(), &[], 20.0).unwrap();
        assert!(output.delay.waited_us() >= 500);
        let output = start([state(0x20, 0x1E), state(0x20, 0x1E), vec![own]].concat(), &[], 20.0).unwrap();
        assert_eq!(output.delay.waited_us(), 0);
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
    fn the_ends_are_always_and_never() {
        assert_eq!(
            (registers(0), registers(4096), registers(4095)),
            ([0, 0, 0, 0x10], [0, 0x10, 0, 0], [0, 0, 0xFF, 0x0F])
        );
        assert_eq!((high_steps([0, 0x10, 0, 0x10]), high_steps([0, 0x10, 5, 0])), (0, 4096), "off wins");
        assert_eq!(high_steps([0x00, 0x0F, 0x00, 0x01]), 512, "across the end of a period");
        for steps in 0..=4096 {
            assert_eq!(high_steps(registers(steps)), steps);
        }
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
            assert!(matches!(output.apply(value), Err(DriverError::OutOfRange { .. })), "{value}");
        }
    }

    #[test]
    fn outputs_of_one_simulated_chip_do_not_disturb_each_other() {
        let mut bench = Bench::with("pca9685", 0x40);
        let mut first = build(&mut bench, "0", 0.0).unwrap();
        let mut last = build(&mut bench, "15", 30.0).unwrap();
        for tenths in 0..=1000 {
            let percent = f64::from(tenths) / 10.0;
            first.apply(OutputValue::Percent(percent)).unwrap();
            assert_eq!(percent_of(first.as_mut()), percent);
        }
        assert_eq!(percent_of(last.as_mut()), 30.0);
        build(&mut bench, "0", 50.0).unwrap();
        assert_eq!((percent_of(first.as_mut()), percent_of(last.as_mut())), (50.0, 30.0));
    }

    #[test]
    fn a_chip_that_lost_its_supply_is_brought_up_again_with_the_other_outputs_off() {
        let mut bench = Bench::with("pca9685", 0x40);
        let mut first = build(&mut bench, "0", 40.0).unwrap();
        let mut second = build(&mut bench, "1", 60.0).unwrap();
        bench.fault(Some("power-on"));
        let error = first.apply(OutputValue::Percent(70.0)).unwrap_err();
        assert!(!error.is_transient(), "it does not come back: {error}");
        bench.fault(None);
        assert!(first.read_back().is_err(), "it does nothing");
        first.apply(OutputValue::Percent(70.0)).unwrap();
        assert_eq!((percent_of(first.as_mut()), percent_of(second.as_mut())), (70.0, 0.0));
        second.apply(OutputValue::Percent(60.0)).unwrap();
        assert_eq!((percent_of(first.as_mut()), percent_of(second.as_mut())), (70.0, 60.0));
        bench.fault(Some("stuck"));
        assert!(first.apply(OutputValue::Percent(1.0)).is_err() && first.read_back().is_err());
        bench.fault(Some("nak"));
        assert!(first.apply(OutputValue::Percent(1.0)).is_err());
    }
}
