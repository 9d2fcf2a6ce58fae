//! aht20: ASAIR (Aosong) AHT20, AHT21, AHT25, AM2301B, DHT20 and the older AHT10, AHT15, for temperature and humidity.
//!
//! Datasheets: AHT20, version 1.1; AHT10, version 1.1; section names below are those of the AHT20's.
//! Supply: 2.2 to 5.5 V, for the AHT10 1.8 to 3.6 V.
//!
//! The first byte of each answer is the status: whether the chip is busy and whether it has loaded its calibration, without
//! which its values are wrong by many degrees. A chip that lost its supply says so and is started again. The AHT10 sends no
//! checksum, so it has a setting of its own rather than a guess. There is no id.

mod sim;

use std::ops::RangeInclusive;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;

use crate::checksum::{confirm, crc8};
use crate::i2c_chip::{absent, another, claims, within};
use crate::{BusNeed, DriverError, DriverSpec, Proof, Role, Sensor};
use fieldgate_bus::sim::chips::ChipSpec;
use fieldgate_bus::{BusError, Delay};
use fieldgate_model::{Field, Kind, Measurement, Need, Quantity, Settings};

/// The driver's line in [`DRIVERS`](crate::DRIVERS).
pub static SPEC: DriverSpec = DriverSpec {
    name: "aht20",
    summary: "ASAIR AHT20, AHT21, AHT25, DHT20, AM2301B, AHT10: temperature and humidity over I²C",
    page: "\
Wiring: SDA, SCL, 3.3 V, ground. The address is 0x38; an AHT10 has 0x39 with
its address pin at the supply.

temperature  −40 to 85 °C, AHT21 to 120 °C; ±0.3 °C
humidity     0 to 100 %, ±2 %

The answer carries a checksum; a damaged sample is dropped. An AHT10 or AHT15
sends none: write chip: aht10 for them. A sample takes 80 ms.",
    bus: BusNeed::I2c,
    settings: &[
        Field {
            name: "address",
            kind: Kind::Address(&[0x38, 0x39]),
            need: Need::Default("0x38"),
            doc: "0x38; 0x39 is an AHT10 with its address pin at the supply",
        },
        Field {
            name: "chip",
            kind: Kind::Choice(&["aht20", "aht10"]),
            need: Need::Default("aht20"),
            doc: "aht20 for all that send a checksum, aht10 for AHT10 and AHT15, which do not",
        },
    ],
    claims,
    wrong: |_| None,
    role: Role::Sensor {
        measurements: |_| vec![TEMPERATURE, HUMIDITY],
        default_every: None,
        build: |bus, settings| Ok(Box::new(Aht20::start(bus.i2c()?, Delay, settings)?)),
    },
    example: "\
attic:
  driver: aht20
  bus: i2c-1
  every: 10s",
    // An expander at this address drives its pins with whatever it is sent.
    identity: None,
    chip: Some(ChipSpec::of(|| Box::new(sim::Aht20::default()))),
    proofs: &[Proof::Reference("adafruit-circuitpython-ahtx0 1.0.30")],
};

const TEMPERATURE: Quantity = Quantity::new("temperature", "°C", 2);
const HUMIDITY: Quantity = Quantity::new("humidity", "%", 1);

/// Those of the AHT21, the widest.
const CELSIUS: RangeInclusive<f64> = -40.0..=120.0;

const SOFT_RESET: u8 = 0xBA;
const MEASURE: [u8; 3] = [0xAC, 0x33, 0x00];
const RESET_US: u32 = 20_000;
/// Until the calibration is loaded after its command: 10 ms by the datasheet, but chips have been seen to take longer.
const CALIBRATION_US: u32 = 40_000;
/// A measurement ("Sensor reading process").
const MEASURE_US: u32 = 80_000;
/// Between one look at a chip that is still busy and the next, and how often: then it is stuck.
const PAUSE_US: u32 = 20_000;
const LOOKS: u32 = 4;

// The status ("Status bit description").
const BUSY: u8 = 0x80;
const CALIBRATED: u8 = 0x08;

/// What distinguishes the chips.
struct Form {
    chip: &'static str,
    /// Loads the calibration.
    calibrate: [u8; 3],
    has_checksum: bool,
}

const AHT20: Form = Form { chip: "AHT20", calibrate: [0xBE, 0x08, 0x00], has_checksum: true };
const AHT10: Form = Form { chip: "AHT10", calibrate: [0xE1, 0x08, 0x00], has_checksum: false };

struct Aht20<I, D> {
    i2c: I,
    delay: D,
    address: u8,
    form: &'static Form,
}

impl<I: I2c<Error = BusError>, D: DelayNs> Aht20<I, D> {
    /// Resets the chip and sees to it that it has its calibration.
    fn start(i2c: I, delay: D, settings: &Settings) -> Result<Self, DriverError> {
        let form = if settings.text("chip") == "aht10" { &AHT10 } else { &AHT20 };
        let mut chip = Self { i2c, delay, address: settings.address("address"), form };
        chip.i2c.write(chip.address, &[SOFT_RESET]).map_err(absent(form.chip))?;
        chip.delay.delay_us(RESET_US);
        if !chip.is_calibrated()? {
            chip.i2c.write(chip.address, &form.calibrate)?;
            chip.delay.delay_us(CALIBRATION_US);
            if !chip.is_calibrated()? {
                return Err(another(form.chip, chip.address, "it does not load its calibration".into()));
            }
        }
        Ok(chip)
    }

    fn is_calibrated(&mut self) -> Result<bool, BusError> {
        let mut status = [0];
        self.i2c.read(self.address, &mut status)?;
        Ok(status[0] & (BUSY | CALIBRATED) == CALIBRATED)
    }

    /// The answer once the chip is no longer busy.
    fn measure(&mut self) -> Result<[u8; 7], DriverError> {
        self.i2c.write(self.address, &MEASURE)?;
        self.delay.delay_us(MEASURE_US);
        for _ in 0..LOOKS {
            let mut answer = [0; 7];
            let length = if self.form.has_checksum { 7 } else { 6 };
            self.i2c.read(self.address, &mut answer[..length])?;
            if answer[0] & BUSY == 0 {
                return Ok(answer);
            }
            self.delay.delay_us(PAUSE_US);
        }
        Err(DriverError::NotReady("the measurement"))
    }
}

impl<I: I2c<Error = BusError>, D: DelayNs> Sensor for Aht20<I, D> {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        let answer = self.measure()?;
        if self.form.has_checksum {
            confirm(crc8(&answer[..6]), answer[6])?;
        }
        if answer[0] & CALIBRATED == 0 {
            return Err(another(
                self.form.chip,
                self.address,
                "it has lost its calibration, and perhaps its supply".into(),
            ));
        }
        let [humidity, temperature] = words(&answer);
        let temperature = within("temperature", celsius(temperature), &CELSIUS)?;
        Ok(vec![TEMPERATURE.measured(temperature), HUMIDITY.measured(percent(humidity))])
    }
}

/// Humidity and temperature, 20 bits each, behind the status.
fn words(answer: &[u8; 7]) -> [u32; 2] {
    let [_, a, b, c, d, e, _] = answer.map(u32::from);
    [a << 12 | b << 4 | c >> 4, (c & 0x0F) << 16 | d << 8 | e]
}

/// "Signal conversion", in °C.
fn celsius(word: u32) -> f64 {
    f64::from(word) / 1_048_576.0 * 200.0 - 50.0
}

/// "Signal conversion", in percent of relative humidity.
fn percent(word: u32) -> f64 {
    f64::from(word) / 1_048_576.0 * 100.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::{self, ChipUnderTest, CountedDelay, Step, Transcript, check, settings};

    /// What a real chip answered, as github.com/bilbobg/aht20 shows it with its values.
    const ANSWER: [u8; 7] = [0x1C, 0x3B, 0x5E, 0x86, 0x88, 0xB2, 0xD2];

    fn start(
        steps: impl IntoIterator<Item = Step>,
        chip: &str,
    ) -> Result<Aht20<Transcript, CountedDelay>, DriverError> {
        let steps = [Step::Write(vec![0xBA])].into_iter().chain(steps);
        Aht20::start(Transcript::new(0x38, steps), CountedDelay::default(), &settings(&SPEC, &[("chip", chip)]))
    }

    fn sample(answers: impl IntoIterator<Item = [u8; 7]>) -> Result<Vec<Measurement>, DriverError> {
        let reads = answers.into_iter().map(|answer| Step::Read(answer.to_vec()));
        let steps = [Step::Read(vec![0x18]), Step::Write(vec![0xAC, 0x33, 0x00])].into_iter().chain(reads);
        let mut sensor = start(steps, "aht20").unwrap();
        let measurements = sensor.sample();
        assert!(sensor.delay.waited_us() >= 20_000 + 80_000);
        measurements
    }

    /// The answer with one byte changed and its checksum computed again.
    fn with(place: usize, byte: u8) -> [u8; 7] {
        let mut answer = ANSWER;
        answer[place] = byte;
        answer[6] = crc8(&answer[..6]);
        answer
    }

    #[test]
    fn a_good_transcript_gives_two_measurements() {
        let measurements = sample([ANSWER]).unwrap();
        check(&measurements, "temperature", 31.674_576, 0.000_001);
        check(&measurements, "humidity", 23.191_071, 0.000_001);
    }

    #[test]
    fn a_chip_without_its_calibration_is_ordered_to_load_it() {
        let load = |chip: &str, first: u8, after: u8| {
            start([Step::Read(vec![0x10]), Step::Write(vec![first, 0x08, 0x00]), Step::Read(vec![after])], chip)
        };
        assert!(load("aht20", 0xBE, 0x18).is_ok());
        assert!(load("aht10", 0xE1, 0x08).is_ok());
        let error = load("aht20", 0xBE, 0x10).err().unwrap();
        assert!(error.to_string().contains("does not load its calibration"), "{error}");
        assert!(load("aht20", 0xBE, 0xFF).is_err(), "nobody drives the line");
    }

    #[test]
    fn a_busy_chip_is_waited_for_but_not_for_ever() {
        check(&sample([with(0, 0x98), ANSWER]).unwrap(), "temperature", 31.67, 0.01);
        let refused = sample([[0xFF; 7]; 4]);
        assert!(matches!(refused, Err(DriverError::NotReady("the measurement"))), "{refused:?}");
    }

    #[test]
    fn damage_and_a_lost_calibration_are_refused() {
        let mut damaged = ANSWER;
        damaged[3] ^= 0x10;
        assert!(matches!(sample([damaged]), Err(DriverError::BadChecksum { received: 0xD2, .. })));
        let lost = sample([with(0, 0x10)]).unwrap_err();
        assert!(lost.to_string().contains("lost its calibration") && !lost.is_transient(), "{lost}");
        assert!(matches!(sample([[0; 7]]), Err(DriverError::BadChecksum { .. })));
    }

    #[test]
    fn what_the_chip_cannot_measure_is_refused() {
        let refused = sample([with(3, 0x8F)]);
        assert!(matches!(refused, Err(DriverError::OutOfRange { quantity: "temperature", .. })), "{refused:?}");
    }

    #[test]
    fn an_aht10_is_read_without_a_checksum() {
        let sampling = |answer: &[u8]| {
            let steps = [Step::Write(vec![0xAC, 0x33, 0x00]), Step::Read(answer.to_vec())];
            start([Step::Read(vec![0x08])].into_iter().chain(steps), "aht10").unwrap().sample()
        };
        check(&sampling(&ANSWER[..6]).unwrap(), "temperature", 31.67, 0.01);
        assert!(matches!(sampling(&[0; 6]), Err(DriverError::NoDevice { .. })));
    }

    #[test]
    fn a_missing_chip_is_named() {
        let error = Aht20::start(Transcript::new(0x38, [Step::Nak]), CountedDelay::default(), &settings(&SPEC, &[]));
        assert!(error.err().unwrap().to_string().starts_with("no AHT20 at address 0x38: nobody answers"));
    }

    #[test]
    fn the_simulated_chip_is_read_as_its_world_is() {
        let mut chip = ChipUnderTest::with("aht20", 0x38);
        let mut sensor = transcript::build(&SPEC, &mut chip).unwrap();
        for (celsius, percent) in [(21.5, 45.0), (-30.0, 2.0), (84.0, 99.0)] {
            chip.set("temperature", celsius);
            chip.set("humidity", percent);
            let measurements = sensor.sample().unwrap();
            check(&measurements, "temperature", celsius, 0.001);
            check(&measurements, "humidity", percent, 0.001);
        }
        for (fault, expected) in [
            ("checksum", "bad checksum"),
            ("not-ready", "not ready"),
            ("stuck", "not ready"),
            ("power-on", "lost its calibration"),
            ("nak", "no answer"),
        ] {
            chip.fault(Some(fault));
            let error = sensor.sample().unwrap_err().to_string();
            assert!(error.contains(expected), "{fault}: {error}");
        }
        chip.fault(None);
        let mut sensor = transcript::build(&SPEC, &mut chip).unwrap();
        check(&sensor.sample().unwrap(), "temperature", 84.0, 0.001);
    }
}
