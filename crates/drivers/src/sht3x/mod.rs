//! sht3x: Sensirion SHT30, SHT31 and SHT35, for temperature and humidity.
//!
//! Datasheet: SHT3x-DIS, version 7 (December 2022); section and table numbers below are its.
//! nRESET stays open or goes to the supply.
//!
//! Each sample is a single shot without clock stretching: several adapters of the Raspberry Pi misread a stretched clock.
//! The chip answers with a checksum for each word. It has no id, so whatever acknowledges is taken for it until a checksum
//! is wrong.

mod sim;

use std::ops::RangeInclusive;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;

use crate::i2c_chip::{absent, claims, within};
use crate::sensirion::read_words;
use crate::{BusNeed, DriverError, DriverSpec, Proof, Role, Sensor};
use fieldgate_bus::sim::chips::ChipSpec;
use fieldgate_bus::{BusError, Delay};
use fieldgate_model::{Field, Kind, Measurement, Need, Quantity, Settings};

/// The driver's line in [`DRIVERS`](crate::DRIVERS).
pub static SPEC: DriverSpec = DriverSpec {
    name: "sht3x",
    summary: "Sensirion SHT30, SHT31, SHT35: temperature and humidity over I²C",
    page: "\
Wiring: SDA, SCL, 2.15 to 5.5 V, ground. ADDR to ground: address 0x44, to the
supply: 0x45.

temperature  −40 to 125 °C; ±0.2 °C, SHT35 ±0.1 °C
humidity     0 to 100 %; ±2 %, SHT35 ±1.5 %

Both words carry a checksum; a damaged sample is dropped. The chip warms
itself by about 0.1 °C when it is read ten times a second.",
    bus: BusNeed::I2c,
    settings: &[
        Field {
            name: "address",
            kind: Kind::Address(&[0x44, 0x45]),
            need: Need::Default("0x44"),
            doc: "0x44 with ADDR at ground, 0x45 with ADDR at the supply",
        },
        Field {
            name: "repeatability",
            kind: Kind::Choice(&["high", "medium", "low"]),
            need: Need::Default("high"),
            doc: "noise against time: 0.04 °C in 15.5 ms, 0.08 °C in 6.5 ms, 0.15 °C in 4.5 ms",
        },
    ],
    claims,
    wrong: |_| None,
    role: Role::Sensor {
        measurements: |_| vec![TEMPERATURE, HUMIDITY],
        default_every: None,
        build: |bus, settings| Ok(Box::new(Sht3x::start(bus.i2c()?, Delay, settings)?)),
    },
    example: "\
air:
  driver: sht3x
  bus: i2c-1
  every: 10s
  settings: { address: 0x44 }",
    identity: None,
    chip: Some(ChipSpec::of(|| Box::new(sim::Sht3x::default()))),
    proofs: &[Proof::Reference("adafruit-circuitpython-sht31d 2.3.31"), Proof::Kernel("sht3x")],
};

const TEMPERATURE: Quantity = Quantity::new("temperature", "°C", 2);
const HUMIDITY: Quantity = Quantity::new("humidity", "%", 1);

const CELSIUS: RangeInclusive<f64> = -40.0..=125.0;

const SOFT_RESET: [u8; 2] = [0x30, 0xA2];
const BREAK: [u8; 2] = [0x30, 0x93];
/// Until the chip listens again after a reset or a break, at the lowest supply (table 4).
const SETTLE_US: u32 = 1500;

/// The command of table 9 and the longest measurement of table 4, at the lowest supply.
fn single_shot(repeatability: &str) -> ([u8; 2], u32) {
    match repeatability {
        "low" => ([0x24, 0x16], 4500),
        "medium" => ([0x24, 0x0B], 6500),
        _ => ([0x24, 0x00], 15_500),
    }
}

struct Sht3x<I, D> {
    i2c: I,
    delay: D,
    address: u8,
    command: [u8; 2],
    duration_us: u32,
}

impl<I: I2c<Error = BusError>, D: DelayNs> Sht3x<I, D> {
    /// Resets the chip. It refuses that while it measures periodically, as another program may have left it; a break ends
    /// that (4.8, 4.9). Any other failure is left to the first sample, which meets it again if it lasts: the reset only
    /// makes a known start, no sample depends on it.
    fn start(i2c: I, delay: D, settings: &Settings) -> Result<Self, DriverError> {
        let (command, duration_us) = single_shot(settings.text("repeatability"));
        let mut chip = Self { i2c, delay, address: settings.address("address"), command, duration_us };
        if let Err(BusError::NoAcknowledge { .. }) = chip.command(SOFT_RESET) {
            chip.command(BREAK).and_then(|()| chip.command(SOFT_RESET)).map_err(absent("SHT3x"))?;
        }
        Ok(chip)
    }

    fn command(&mut self, command: [u8; 2]) -> Result<(), BusError> {
        let written = self.i2c.write(self.address, &command);
        self.delay.delay_us(SETTLE_US);
        written
    }
}

impl<I: I2c<Error = BusError>, D: DelayNs> Sensor for Sht3x<I, D> {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        self.i2c.write(self.address, &self.command)?;
        self.delay.delay_us(self.duration_us);
        let [temperature, humidity] = read_words(&mut self.i2c, self.address, "the measurement")?;
        let temperature = within("temperature", celsius(temperature), &CELSIUS)?;
        Ok(vec![TEMPERATURE.measured(temperature), HUMIDITY.measured(percent(humidity))])
    }
}

/// Section 4.13, in °C.
fn celsius(word: u16) -> f64 {
    -45.0 + 175.0 * f64::from(word) / 65_535.0
}

/// Section 4.13, in percent of relative humidity.
fn percent(word: u16) -> f64 {
    100.0 * f64::from(word) / 65_535.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::{self, ChipUnderTest, CountedDelay, Step, Transcript, check, settings};

    fn start(
        steps: impl IntoIterator<Item = Step>,
        given: &[(&str, &str)],
    ) -> Result<Sht3x<Transcript, CountedDelay>, DriverError> {
        Sht3x::start(Transcript::new(0x44, steps), CountedDelay::default(), &settings(&SPEC, given))
    }

    fn sample(answer: [u8; 6]) -> Result<Vec<Measurement>, DriverError> {
        let steps = [Step::Write(vec![0x30, 0xA2]), Step::Write(vec![0x24, 0x00]), Step::Read(answer.to_vec())];
        let mut sensor = start(steps, &[]).unwrap();
        let measurements = sensor.sample();
        assert!(sensor.delay.waited_us() >= 17_000);
        measurements
    }

    #[test]
    fn the_formulas_of_the_datasheet_hold() {
        assert_eq!((celsius(0), celsius(0xFFFF)), (-45.0, 130.0));
        assert_eq!((percent(0), percent(0xFFFF)), (0.0, 100.0));
    }

    #[test]
    fn a_good_transcript_gives_two_measurements() {
        // 0x6666 and 0x8000 with their checksums.
        let measurements = sample([0x66, 0x66, 0x93, 0x80, 0x00, 0xA2]).unwrap();
        check(&measurements, "temperature", 25.0, 0.001);
        check(&measurements, "humidity", 50.0, 0.001);
    }

    #[test]
    fn a_damaged_word_is_dropped() {
        let refused = sample([0x66, 0x66, 0x93, 0x80, 0x01, 0xA2]);
        assert!(matches!(refused, Err(DriverError::BadChecksum { received: 0xA2, .. })), "{refused:?}");
        assert!(refused.unwrap_err().is_transient());
    }

    #[test]
    fn what_the_chip_cannot_measure_is_refused() {
        let refused = sample([0xFF, 0xFF, 0xAC, 0x80, 0x00, 0xA2]);
        assert!(matches!(refused, Err(DriverError::OutOfRange { quantity: "temperature", .. })), "{refused:?}");
    }

    #[test]
    fn repeatability_chooses_command_and_time() {
        let steps = [Step::Write(vec![0x30, 0xA2]), Step::Write(vec![0x24, 0x16]), Step::Nak];
        let mut sensor = start(steps, &[("repeatability", "low")]).unwrap();
        assert!(matches!(sensor.sample(), Err(DriverError::NotReady("the measurement"))));
        assert_eq!(sensor.delay.waited_us(), 1500 + 4500);
    }

    #[test]
    fn a_chip_that_was_left_measuring_is_stopped_and_a_missing_one_is_named() {
        let (reset, stop) = (Step::Write(vec![0x30, 0xA2]), Step::Write(vec![0x30, 0x93]));
        assert!(start([Step::Nak, stop, reset], &[]).is_ok());
        let error = start([Step::Nak, Step::Nak], &[]).err().unwrap().to_string();
        assert!(error.starts_with("no SHT3x at address 0x44: nobody answers"), "{error}");
    }

    #[test]
    fn the_simulated_chip_is_read_as_its_world_is() {
        let mut chip = ChipUnderTest::with("sht3x", 0x44);
        let mut sensor = transcript::build(&SPEC, &mut chip).unwrap();
        for (celsius, percent) in [(21.5, 45.0), (-30.0, 2.0), (110.0, 99.0)] {
            chip.set("temperature", celsius);
            chip.set("humidity", percent);
            let measurements = sensor.sample().unwrap();
            check(&measurements, "temperature", celsius, 0.002);
            check(&measurements, "humidity", percent, 0.001);
        }
        chip.fault(Some("checksum"));
        assert!(matches!(sensor.sample(), Err(DriverError::BadChecksum { .. })));
        chip.fault(Some("not-ready"));
        assert!(matches!(sensor.sample(), Err(DriverError::NotReady(_))));
        chip.fault(Some("nak"));
        assert!(matches!(sensor.sample(), Err(DriverError::Bus(BusError::NoAcknowledge { address: 0x44 }))));
    }
}
