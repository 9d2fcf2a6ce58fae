//! tmp117: the TI TMP117 and TMP119, for exact temperatures.
//!
//! Datasheet: TMP117, SNOSD82, whose sections are named below.
//! Supply: 1.8 to 5.5 V.
//!
//! The chip measures once a second by itself and averages; the latest average is read. It keeps a power-on configuration in an
//! EEPROM that bears a few thousand writes, and any write to its registers goes there as well while the EEPROM is unlocked.
//! So it is locked before anything else is written, and never unlocked. Until the first average is done the chip reads
//! −256 °C; a chip that lost its supply is recognised by its configuration.

mod sim;

use std::ops::RangeInclusive;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;

use crate::i2c_chip::{absent, another, claims, read_word, within};
use crate::{BusNeed, DriverError, DriverSpec, Proof, Role, Sensor};
use fieldgate_bus::seconds::Seconds;
use fieldgate_bus::sim::chips::ChipSpec;
use fieldgate_bus::{BusError, Delay};
use fieldgate_model::{Field, Kind, Measurement, Need, Quantity, Settings};

/// The driver's line in [`DRIVERS`](crate::DRIVERS).
pub static SPEC: DriverSpec = DriverSpec {
    name: "tmp117",
    summary: "TI TMP117, TMP119: temperature over I²C, ±0.1 °C",
    page: "\
Wiring: SDA, SCL, 3.3 V, ground. ADD0 to ground: address 0x48, to the supply:
0x49, to SDA: 0x4a, to SCL: 0x4b.

temperature  −55 to 150 °C; ±0.1 °C from −20 to 50 °C, ±0.3 °C elsewhere

One average a second; the latest is read, so a shorter `every` repeats values.
The chip's EEPROM is never written.",
    bus: BusNeed::I2c,
    settings: &[
        Field {
            name: "address",
            kind: Kind::Address(&[0x48, 0x49, 0x4A, 0x4B]),
            need: Need::Default("0x48"),
            doc: "0x48 with ADD0 at ground, 0x49 at the supply, 0x4a at SDA, 0x4b at SCL",
        },
        Field {
            name: "averages",
            kind: Kind::Choice(&["1", "8", "32", "64"]),
            need: Need::Default("8"),
            doc: "how many conversions of 15.5 ms are averaged; more warm the chip a little",
        },
    ],
    claims,
    wrong: |_| None,
    role: Role::Sensor {
        measurements: |_| vec![TEMPERATURE],
        default_every: None,
        build: |bus, settings| {
            let seconds = bus.seconds()?;
            Ok(Box::new(Tmp117::start(bus.i2c()?, &mut Delay, seconds, settings)?))
        },
    },
    example: "\
fridge:
  driver: tmp117
  bus: i2c-1
  every: 10s
  settings: { address: 0x48 }",
    // The number of its id register would switch the analogue output of a PCF8591 at this address off.
    identity: None,
    chip: Some(ChipSpec::of(|| Box::new(sim::Tmp117::default()))),
    proofs: &[
        Proof::Reference("adafruit-circuitpython-tmp117 2.0.0"),
        Proof::Kernel("tmp117"),
        Proof::Datasheet("TMP117 SNOSD82, table \"16-Bit Temperature Data Format\""),
    ],
};

const TEMPERATURE: Quantity = Quantity::new("temperature", "°C", 3);

const CELSIUS: RangeInclusive<f64> = -55.0..=150.0;

// Registers ("Register Map").
const RESULT: u8 = 0x00;
const CONFIGURATION: u8 = 0x01;
const EEPROM_UNLOCK: u8 = 0x04;
const DEVICE_ID: u8 = 0x0F;

/// The upper four bits are the revision, or 2 in a TMP119.
const ID_MASK: u16 = 0x0FFF;
const ID: u16 = 0x0117;
/// In the configuration.
const SOFT_RESET: u16 = 0x0002;
/// Until the chip listens again after a reset.
const RESET_US: u32 = 2000;
/// Continuous conversion, one cycle a second ("Conversion Cycle Time in CC Mode").
const CONTINUOUS_EACH_SECOND: u16 = 0x0200;
/// The bits of the configuration that are not flags, which change by themselves.
const SETTINGS: u16 = 0x0FFC;
/// The result before the first average.
const UNMEASURED: u16 = 0x8000;
/// The longest conversion, and how long a start waits for the first average at the most: 64 conversions take a second.
const CONVERSION_US: u32 = 17_500;
const LONGEST_WAIT_US: u32 = 300_000;
/// The first average is there after so many seconds, however many conversions it has.
const FIRST_AFTER: u64 = 2;

/// AVG1 and AVG0 in the configuration, and how many conversions they mean.
fn averaging(setting: &str) -> (u16, u32) {
    match setting {
        "1" => (0x0000, 1),
        "32" => (0x0040, 32),
        "64" => (0x0060, 64),
        _ => (0x0020, 8),
    }
}

struct Tmp117<I> {
    i2c: I,
    seconds: Box<dyn Seconds>,
    address: u8,
    configuration: u16,
    /// Seconds since the start.
    waited: u64,
}

impl<I: I2c<Error = BusError>> Tmp117<I> {
    /// Checks the id, locks the EEPROM, resets the chip, so that no result of other settings is left, and configures it.
    fn start(
        i2c: I,
        delay: &mut impl DelayNs,
        seconds: Box<dyn Seconds>,
        settings: &Settings,
    ) -> Result<Self, DriverError> {
        let (averaging, conversions) = averaging(settings.text("averages"));
        let configuration = CONTINUOUS_EACH_SECOND | averaging;
        let mut chip = Self { i2c, seconds, address: settings.address("address"), configuration, waited: 0 };
        let id = chip.read(DEVICE_ID).map_err(absent("TMP117"))?;
        if id & ID_MASK != ID {
            return Err(another("TMP117", chip.address, format!("the device id is {id:#06x}")));
        }
        chip.write(EEPROM_UNLOCK, 0)?;
        chip.write(CONFIGURATION, SOFT_RESET)?;
        delay.delay_us(RESET_US);
        chip.write(CONFIGURATION, configuration)?;
        delay.delay_us((CONVERSION_US * conversions).min(LONGEST_WAIT_US));
        Ok(chip)
    }

    fn read(&mut self, register: u8) -> Result<u16, BusError> {
        read_word(&mut self.i2c, self.address, register)
    }

    fn write(&mut self, register: u8, word: u16) -> Result<(), BusError> {
        let [high, low] = word.to_be_bytes();
        self.i2c.write(self.address, &[register, high, low])
    }
}

impl<I: I2c<Error = BusError>> Sensor for Tmp117<I> {
    /// The configuration is read last: what it confirms was there when the result was read.
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        self.waited = self.waited.saturating_add(self.seconds.passed());
        let result = self.read(RESULT)?;
        let configuration = self.read(CONFIGURATION)?;
        if configuration & SETTINGS != self.configuration {
            let why = format!("its configuration is {configuration:#06x}; it may have lost its supply");
            return Err(another("TMP117", self.address, why));
        }
        if result == UNMEASURED && self.waited < FIRST_AFTER {
            return Err(DriverError::TooEarly("the first average takes up to a second"));
        }
        if result == UNMEASURED {
            return Err(DriverError::NotReady("the first average"));
        }
        Ok(vec![TEMPERATURE.measured(within("temperature", celsius(result), &CELSIUS)?)])
    }
}

/// "Temperature Register": 7.8125 m°C a bit.
fn celsius(word: u16) -> f64 {
    f64::from(word.cast_signed()) / 128.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::{self, ChipUnderTest, CountedDelay, Step, Ticks, Transcript, check, settings};

    fn start(steps: impl IntoIterator<Item = Step>, given: &[(&str, &str)]) -> Result<Tmp117<Transcript>, DriverError> {
        let (bus, seconds) = (Transcript::new(0x48, steps), Box::new(Ticks::default()));
        Tmp117::start(bus, &mut CountedDelay::default(), seconds, &settings(&SPEC, given))
    }

    fn bring_up(configuration: [u8; 2]) -> Vec<Step> {
        vec![
            Step::WriteRead(vec![0x0F], vec![0x01, 0x17]),
            Step::Write(vec![0x04, 0x00, 0x00]),
            Step::Write(vec![0x01, 0x00, 0x02]),
            Step::Write(vec![0x01, configuration[0], configuration[1]]),
        ]
    }

    fn sample(result: u16, configuration: u16) -> Result<Vec<Measurement>, DriverError> {
        let answers = [
            Step::WriteRead(vec![0], result.to_be_bytes().to_vec()),
            Step::WriteRead(vec![1], configuration.to_be_bytes().to_vec()),
        ];
        start(bring_up([0x02, 0x20]).into_iter().chain(answers), &[]).unwrap().sample()
    }

    #[test]
    fn the_table_of_the_datasheet_comes_out() {
        // SNOSD82, "16-Bit Temperature Data Format".
        let rows = [
            (0x8000, -256.0),
            (0xF380, -25.0),
            (0xFFF0, -0.125),
            (0xFFFF, -0.007_812_5),
            (0x0000, 0.0),
            (0x0001, 0.007_812_5),
            (0x0010, 0.125),
            (0x0080, 1.0),
            (0x0C80, 25.0),
            (0x3200, 100.0),
            (0x7FFF, 255.992_187_5),
        ];
        for (word, expected) in rows {
            assert_eq!(celsius(word), expected);
        }
    }

    #[test]
    fn a_good_transcript_gives_the_temperature_whatever_the_flags() {
        check(&sample(0x0C80, 0x0220).unwrap(), "temperature", 25.0, 0.0);
        check(&sample(0xF380, 0xE220).unwrap(), "temperature", -25.0, 0.0);
    }

    #[test]
    fn the_averages_reach_the_chip() {
        for (text, low) in [("1", 0x00), ("8", 0x20), ("32", 0x40), ("64", 0x60)] {
            assert!(start(bring_up([0x02, low]), &[("averages", text)]).is_ok());
        }
    }

    #[test]
    fn before_the_first_average_there_is_none_but_not_for_ever() {
        assert!(matches!(sample(0x8000, 0x0220), Err(DriverError::TooEarly(_))));
        let (chip, ticks, mut delay) = (ChipUnderTest::with("tmp117", 0x48), Ticks::default(), CountedDelay::default());
        let given = settings(&SPEC, &[("averages", "64")]);
        let mut sensor = Tmp117::start(chip.clone(), &mut delay, Box::new(ticks.clone()), &given).unwrap();
        assert_eq!(delay.waited_us(), 302_000);
        chip.fault(Some("not-ready"));
        for _ in 0..2 {
            assert!(matches!(sensor.sample(), Err(DriverError::TooEarly(_))));
            ticks.pass(1);
        }
        assert!(matches!(sensor.sample(), Err(DriverError::NotReady("the first average"))));
        chip.fault(None);
        check(&sensor.sample().unwrap(), "temperature", 21.5, 0.0);
    }

    #[test]
    fn what_the_chip_cannot_measure_is_refused() {
        let refused = sample(0x5000, 0x0220);
        assert!(matches!(refused, Err(DriverError::OutOfRange { quantity: "temperature", .. })), "{refused:?}");
    }

    #[test]
    fn a_chip_without_its_configuration_is_started_again() {
        // Lost its supply, was put to sleep by another program; a data line that nobody drives would read −0.008 °C.
        for (result, configuration) in [(0x0C80, 0x0260), (0x0C80, 0x0620), (0xFFFF, 0xFFFF), (0, 0)] {
            let refused = sample(result, configuration).unwrap_err();
            assert!(matches!(refused, DriverError::NoDevice { .. }), "{refused}");
        }
    }

    #[test]
    fn a_missing_chip_and_another_chip_are_named() {
        let refusal = |steps: Vec<Step>| start(steps, &[]).err().unwrap().to_string();
        assert!(refusal(vec![Step::Nak]).starts_with("no TMP117 at address 0x48: nobody answers"));
        let other = vec![Step::WriteRead(vec![0x0F], vec![0x11, 0x16])];
        assert_eq!(refusal(other), "no TMP117 at address 0x48: the device id is 0x1116");
        let mut tmp119 = bring_up([0x02, 0x20]);
        tmp119[0] = Step::WriteRead(vec![0x0F], vec![0x21, 0x17]);
        assert!(start(tmp119, &[]).is_ok());
    }

    #[test]
    fn the_simulated_chip_is_read_as_its_world_is() {
        let mut chip = ChipUnderTest::with("tmp117", 0x48);
        let mut sensor = transcript::build(&SPEC, &mut chip).unwrap();
        for celsius in [21.5, -40.03, 149.9] {
            chip.set("temperature", celsius);
            check(&sensor.sample().unwrap(), "temperature", celsius, 0.004);
        }
        chip.fault(Some("power-on"));
        assert!(sensor.sample().unwrap_err().is_transient());
        chip.fault(Some("stuck"));
        assert!(matches!(sensor.sample(), Err(DriverError::NoDevice { .. })));
        chip.fault(Some("nak"));
        assert!(matches!(sensor.sample(), Err(DriverError::Bus(BusError::NoAcknowledge { address: 0x48 }))));
        chip.fault(Some("wrong-id"));
        assert!(matches!(transcript::build(&SPEC, &mut chip), Err(DriverError::NoDevice { .. })));
    }
}
