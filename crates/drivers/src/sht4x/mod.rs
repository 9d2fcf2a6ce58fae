//! sht4x: Sensirion SHT40, SHT41, SHT43 and SHT45, for temperature and humidity.
//!
//! Datasheet: SHT4x, version 6; section numbers below are its.
//! Supply: 1.08 to 3.6 V. The SHT41 has the accuracy of the SHT40, with tighter limits.
//!
//! Each sample is one measurement without the heater. The chip keeps no settings, so one that lost its supply for a moment
//! measures as before. It has a serial number with checksums; an SHT3x at the same address has not.

mod sim;

use std::ops::RangeInclusive;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;

use crate::i2c_chip::{absent, another, claims, relative_humidity, within};
use crate::sensirion::read_words;
use crate::{BusNeed, DriverError, DriverSpec, Proof, Role, Sensor};
use fieldgate_bus::sim::chips::ChipSpec;
use fieldgate_bus::{BusError, Delay};
use fieldgate_model::{Field, Kind, Measurement, Need, Quantity, Settings};

/// The driver's line in [`DRIVERS`](crate::DRIVERS).
pub static SPEC: DriverSpec = DriverSpec {
    name: "sht4x",
    summary: "Sensirion SHT40, SHT41, SHT43, SHT45: temperature and humidity over I²C",
    page: "\
Wiring: SDA, SCL, 3.3 V, ground. The address is fixed when the chip is made:
0x44 in types that end in A, 0x45 in B, 0x46 in C.

temperature  −40 to 125 °C; ±0.2 °C, SHT45 ±0.1 °C
humidity     0 to 100 %; ±1.8 %, SHT45 ±1 %

Both words carry a checksum; a damaged sample is dropped. The heater is never
used.",
    bus: BusNeed::I2c,
    settings: &[
        Field {
            name: "address",
            kind: Kind::Address(&[0x44, 0x45, 0x46]),
            need: Need::Default("0x44"),
            doc: "0x44 for types ending in A, 0x45 for B, 0x46 for C",
        },
        Field {
            name: "repeatability",
            kind: Kind::Choice(&["high", "medium", "low"]),
            need: Need::Default("high"),
            doc: "noise against time: 0.04 °C in 8.3 ms, 0.07 °C in 4.5 ms, 0.1 °C in 1.6 ms",
        },
    ],
    claims,
    wrong: |_| None,
    role: Role::Sensor {
        measurements: |_| vec![TEMPERATURE, HUMIDITY],
        default_every: None,
        build: |bus, settings| Ok(Box::new(Sht4x::start(bus.i2c()?, Delay, settings)?)),
    },
    example: "\
bedroom:
  driver: sht4x
  bus: i2c-1
  every: 10s
  settings: { address: 0x44 }",
    // The chip needs a moment between the question for its serial number and the answer, which a repeated start leaves it not.
    identity: None,
    chip: Some(ChipSpec::of(|| Box::new(sim::Sht4x::default()))),
    proofs: &[Proof::Reference("adafruit-circuitpython-sht4x 1.0.27"), Proof::Kernel("sht4x")],
};

const TEMPERATURE: Quantity = Quantity::new("temperature", "°C", 2);
const HUMIDITY: Quantity = Quantity::new("humidity", "%", 1);

const CELSIUS: RangeInclusive<f64> = -40.0..=125.0;

// Commands (4.5).
const READ_SERIAL: u8 = 0x89;
const SOFT_RESET: u8 = 0x94;
/// Until the chip listens again after a reset, and until it has its serial number at hand ("Timings").
const SETTLE_US: u32 = 1000;

/// The command of 4.5 and the longest measurement of "Timings" with some room: the maker's own driver waits as long.
fn measurement(repeatability: &str) -> (u8, u32) {
    match repeatability {
        "low" => (0xE0, 2000),
        "medium" => (0xF6, 5000),
        _ => (0xFD, 10_000),
    }
}

struct Sht4x<I, D> {
    i2c: I,
    delay: D,
    address: u8,
    command: u8,
    duration_us: u32,
}

impl<I: I2c<Error = BusError>, D: DelayNs> Sht4x<I, D> {
    /// Resets the chip and asks for its serial number, which distinguishes it from the other chips at this address.
    fn start(i2c: I, delay: D, settings: &Settings) -> Result<Self, DriverError> {
        let (command, duration_us) = measurement(settings.text("repeatability"));
        let mut chip = Self { i2c, delay, address: settings.address("address"), command, duration_us };
        chip.command(SOFT_RESET).and_then(|()| chip.command(READ_SERIAL)).map_err(absent("SHT4x"))?;
        match read_words::<2>(&mut chip.i2c, chip.address, "the serial number") {
            Ok(_) => Ok(chip),
            Err(DriverError::Bus(error)) => Err(error.into()),
            Err(_) => Err(another("SHT4x", chip.address, "it sends no serial number; it may be an SHT3x".into())),
        }
    }

    fn command(&mut self, command: u8) -> Result<(), BusError> {
        self.i2c.write(self.address, &[command])?;
        self.delay.delay_us(SETTLE_US);
        Ok(())
    }
}

impl<I: I2c<Error = BusError>, D: DelayNs> Sensor for Sht4x<I, D> {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        self.i2c.write(self.address, &[self.command])?;
        self.delay.delay_us(self.duration_us);
        let [temperature, humidity] = read_words(&mut self.i2c, self.address, "the measurement")?;
        let temperature = within("temperature", celsius(temperature), &CELSIUS)?;
        let humidity = relative_humidity(percent(humidity))?;
        Ok(vec![TEMPERATURE.measured(temperature), HUMIDITY.measured(humidity)])
    }
}

/// Section 4.6, in °C.
fn celsius(word: u16) -> f64 {
    -45.0 + 175.0 * f64::from(word) / 65_535.0
}

/// 4.6. The scale goes beyond what can be, so that errors of both signs average out.
fn percent(word: u16) -> f64 {
    -6.0 + 125.0 * f64::from(word) / 65_535.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::{self, ChipUnderTest, CountedDelay, Step, Transcript, check, settings};

    const SERIAL: [u8; 6] = [0xBE, 0xEF, 0x92, 0xBE, 0xEF, 0x92];

    fn start(
        steps: impl IntoIterator<Item = Step>,
        given: &[(&str, &str)],
    ) -> Result<Sht4x<Transcript, CountedDelay>, DriverError> {
        Sht4x::start(Transcript::new(0x44, steps), CountedDelay::default(), &settings(&SPEC, given))
    }

    fn bring_up() -> Vec<Step> {
        vec![Step::Write(vec![0x94]), Step::Write(vec![0x89]), Step::Read(SERIAL.to_vec())]
    }

    fn sample(answer: [u8; 6]) -> Result<Vec<Measurement>, DriverError> {
        let steps = bring_up().into_iter().chain([Step::Write(vec![0xFD]), Step::Read(answer.to_vec())]);
        let mut sensor = start(steps, &[]).unwrap();
        let measurements = sensor.sample();
        assert!(sensor.delay.waited_us() >= 2000 + 8300);
        measurements
    }

    #[test]
    fn the_formulas_of_the_datasheet_hold() {
        assert_eq!((celsius(0), celsius(0xFFFF)), (-45.0, 130.0));
        assert_eq!((percent(0), percent(0xFFFF)), (-6.0, 119.0));
    }

    #[test]
    fn a_good_transcript_gives_two_measurements() {
        let measurements = sample([0x66, 0x66, 0x93, 0x80, 0x00, 0xA2]).unwrap();
        check(&measurements, "temperature", 25.0, 0.001);
        check(&measurements, "humidity", 56.501, 0.001);
    }

    #[test]
    fn a_damaged_word_is_dropped() {
        let refused = sample([0x66, 0x66, 0x93, 0x80, 0x01, 0xA2]);
        assert!(matches!(refused, Err(DriverError::BadChecksum { received: 0xA2, .. })), "{refused:?}");
    }

    #[test]
    fn what_the_chip_cannot_measure_is_refused() {
        let hot = sample([0xFF, 0xFF, 0xAC, 0x80, 0x00, 0xA2]);
        assert!(matches!(hot, Err(DriverError::OutOfRange { quantity: "temperature", .. })), "{hot:?}");
        let wet = sample([0x66, 0x66, 0x93, 0xFF, 0xFF, 0xAC]);
        assert!(matches!(wet, Err(DriverError::OutOfRange { quantity: "humidity", .. })), "{wet:?}");
    }

    #[test]
    fn repeatability_chooses_command_and_time() {
        for (text, command, duration) in [("medium", 0xF6, 5000), ("low", 0xE0, 2000)] {
            let steps = bring_up().into_iter().chain([Step::Write(vec![command]), Step::Nak]);
            let mut sensor = start(steps, &[("repeatability", text)]).unwrap();
            assert!(matches!(sensor.sample(), Err(DriverError::NotReady("the measurement"))));
            assert_eq!(sensor.delay.waited_us(), 2000 + duration);
        }
    }

    #[test]
    fn a_missing_chip_and_another_chip_are_named() {
        let refusal = |steps: Vec<Step>| start(steps, &[]).err().unwrap().to_string();
        assert!(refusal(vec![Step::Nak]).starts_with("no SHT4x at address 0x44: nobody answers"));
        for answer in [Step::Nak, Step::Read(vec![0xFF; 6])] {
            let error = refusal(vec![Step::Write(vec![0x94]), Step::Write(vec![0x89]), answer]);
            assert!(error.contains("may be an SHT3x"), "{error}");
        }
    }

    #[test]
    fn an_sht3x_is_not_taken_for_it() {
        let error = transcript::build(&SPEC, &mut ChipUnderTest::with("sht3x", 0x44)).err().unwrap().to_string();
        assert!(error.starts_with("no SHT4x at address 0x44"), "{error}");
    }

    #[test]
    fn the_simulated_chip_is_read_as_its_world_is() {
        let mut chip = ChipUnderTest::with("sht4x", 0x44);
        let mut sensor = transcript::build(&SPEC, &mut chip).unwrap();
        for (celsius, percent) in [(21.5, 45.0), (-30.0, 0.0), (110.0, 100.0)] {
            chip.set("temperature", celsius);
            chip.set("humidity", percent);
            let measurements = sensor.sample().unwrap();
            check(&measurements, "temperature", celsius, 0.002);
            check(&measurements, "humidity", percent, 0.002);
        }
        for (fault, expected) in [("checksum", "bad checksum"), ("not-ready", "not ready"), ("nak", "no answer")] {
            chip.fault(Some(fault));
            let error = sensor.sample().unwrap_err().to_string();
            assert!(error.contains(expected), "{fault}: {error}");
        }
    }
}
