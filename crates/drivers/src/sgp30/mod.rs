//! sgp30: Sensirion SGP30, for volatile organic compounds and the carbon dioxide that they hint at.
//!
//! Datasheet: SGP30, version 1.0 (May 2020); commands below are called as it calls them.
//!
//! The chip computes both with what it measured before, and must be asked once a second for that. So it is, whatever `every`
//! says (`each_second.rs`). The first 15 answers after the start are always 400 ppm and 0 ppb, and are not published. What the chip
//! has learnt of the air, in its first twelve hours, is lost at each start of the program.

mod sim;

use std::ops::RangeInclusive;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;

use crate::each_second::EachSecond;
use crate::i2c_chip::{absent, another, claims, within};
use crate::sensirion::{read_words, with_arguments};
use crate::{BusNeed, DriverError, DriverSpec, Proof, Role};
use fieldgate_bus::seconds::Seconds;
use fieldgate_bus::sim::chips::ChipSpec;
use fieldgate_bus::{BusError, Delay};
use fieldgate_model::{Field, Kind, Measurement, Need, Quantity, Setting, Settings};

/// The driver's line in [`DRIVERS`](crate::DRIVERS).
pub static SPEC: DriverSpec = DriverSpec {
    name: "sgp30",
    summary: "Sensirion SGP30: volatile organic compounds and equivalent CO₂ over I²C",
    page: "\
Wiring: SDA, SCL, ground and what the board takes, mostly 3.3 V; the chip
itself takes 1.8 V. The address is 0x58.

eco2  400 to 60000 ppm; computed from hydrogen: it is not a measured CO₂
tvoc  0 to 60000 ppb, about ±15 %

The chip wants to be asked every second, for it learns what good air is. It is
asked every second, whatever every says; a sample is the newest answer. It
publishes nothing in the first 15 seconds, and learns for twelve hours: values
before that, and after each start of the program, are low. Damp air counts as
bad unless absolute_humidity is given.",
    bus: BusNeed::I2c,
    settings: &[
        Field { name: "address", kind: Kind::Address(&[0x58]), need: Need::Default("0x58"), doc: "always 0x58" },
        Field {
            name: "absolute_humidity",
            kind: Kind::Number { min: 0.1, max: 255.9 },
            need: Need::Optional,
            doc: "water in the air in g/m³, to compensate for; left out, the chip does not compensate",
        },
    ],
    claims,
    wrong: |_| None,
    role: Role::Sensor {
        measurements: |_| vec![ECO2, TVOC],
        default_every: None,
        build: |bus, settings| {
            let seconds = bus.seconds()?;
            Ok(Box::new(start(bus.i2c()?, Delay, seconds, settings)?))
        },
    },
    example: "\
room:
  driver: sgp30
  bus: i2c-1
  every: 10s
  settings: { absolute_humidity: 9.2 }",
    identity: None,
    chip: Some(ChipSpec::of(|| Box::new(sim::Sgp30::default()))),
    proofs: &[Proof::Reference("adafruit-circuitpython-sgp30 3.0.16")],
};

const ECO2: Quantity = Quantity::new("eco2", "ppm", 0);
const TVOC: Quantity = Quantity::new("tvoc", "ppb", 0);

const PPM: RangeInclusive<f64> = 400.0..=60_000.0;
const PPB: RangeInclusive<f64> = 0.0..=60_000.0;

const INIT_AIR_QUALITY: u16 = 0x2003;
const MEASURE_AIR_QUALITY: u16 = 0x2008;
const SET_ABSOLUTE_HUMIDITY: u16 = 0x2061;
const GET_FEATURE_SET: u16 = 0x202F;

/// The longest that any of the commands at the start takes.
const COMMAND_US: u32 = 10_000;
/// So many answers after the start are not measured.
const WARM_UP: u32 = 15;

/// Finds the chip, starts its algorithm and sets what is to be set, which the start of the algorithm forgets.
fn start<I: I2c<Error = BusError>>(
    mut i2c: I,
    mut delay: impl DelayNs,
    seconds: Box<dyn Seconds>,
    settings: &Settings,
) -> Result<EachSecond<2, I>, DriverError> {
    let address = settings.address("address");
    i2c.write(address, &GET_FEATURE_SET.to_be_bytes()).map_err(absent("SGP30"))?;
    delay.delay_us(COMMAND_US);
    let [features] = read_words::<1>(&mut i2c, address, "the feature set")?;
    // The product in the upper four bits, the version in the lower eight; older ones have other commands.
    if features >> 12 != 0 || features & 0xFF < 0x20 {
        return Err(another("SGP30", address, format!("its feature set is {features:#06x}")));
    }
    i2c.write(address, &INIT_AIR_QUALITY.to_be_bytes())?;
    delay.delay_us(COMMAND_US);
    if let Some(Setting::Number(grams)) = settings.get("absolute_humidity") {
        i2c.write(address, &with_arguments(SET_ABSOLUTE_HUMIDITY, &[humidity_word(*grams)]))?;
        delay.delay_us(COMMAND_US);
    }
    let command = MEASURE_AIR_QUALITY.to_be_bytes().to_vec();
    Ok(EachSecond::new("SGP30", (i2c, address), seconds, command, understand()))
}

/// Eight bits before the point and eight behind it; zero would switch the compensation off.
fn humidity_word(grams: f64) -> u16 {
    ((grams * 256.0).round() as u16).max(1)
}

fn understand() -> impl FnMut([u16; 2]) -> Result<Vec<Measurement>, DriverError> {
    let mut answers = 0;
    move |[eco2, tvoc]| {
        if answers < WARM_UP {
            answers += 1;
            return Err(DriverError::TooEarly("the SGP30 warms up for 15 s"));
        }
        let eco2 = within("eco2", f64::from(eco2), &PPM)?;
        let tvoc = within("tvoc", f64::from(tvoc), &PPB)?;
        Ok(vec![ECO2.measured(eco2), TVOC.measured(tvoc)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sensor;
    use crate::transcript::{self, ChipUnderTest, CountedDelay, Script, Step, Transcript, check, settings};

    fn bring_up() -> Vec<Step> {
        vec![Step::Write(vec![0x20, 0x2F]), Step::Read(vec![0x00, 0x22, 0x65]), Step::Write(vec![0x20, 0x03])]
    }

    fn started(
        steps: impl IntoIterator<Item = Step>,
        given: &[(&str, &str)],
    ) -> Result<EachSecond<2, Transcript>, DriverError> {
        start(Transcript::new(0x58, steps), CountedDelay::default(), Box::new(Script), &settings(&SPEC, given))
    }

    /// What the driver says to each of these answers.
    fn said(answers: &[[u8; 6]]) -> Vec<Result<Vec<Measurement>, DriverError>> {
        let measure = Step::Write(vec![0x20, 0x08]);
        let turns = answers.iter().flat_map(|answer| [Step::Read(answer.to_vec()), measure.clone()]);
        let steps = bring_up().into_iter().chain([measure.clone()]).chain(turns);
        let mut sensor = started(steps, &[]).unwrap();
        sensor.sample().unwrap_err();
        answers.iter().map(|_| sensor.sample()).collect()
    }

    const INITIAL: [u8; 6] = [0x01, 0x90, 0x4C, 0x00, 0x00, 0x81];
    /// 500 ppm and 8 ppb.
    const GOOD: [u8; 6] = [0x01, 0xF4, 0x33, 0x00, 0x08, 0x38];

    #[test]
    fn the_first_fifteen_answers_are_not_reported() {
        let mut answers = [INITIAL; 17];
        answers[15] = GOOD;
        let said = said(&answers);
        for (second, result) in said[..15].iter().enumerate() {
            assert!(matches!(result, Err(DriverError::TooEarly("the SGP30 warms up for 15 s"))), "{second}");
        }
        let measurements = said[15].as_ref().unwrap();
        check(measurements, "eco2", 500.0, 0.0);
        check(measurements, "tvoc", 8.0, 0.0);
        check(said[16].as_ref().unwrap(), "eco2", 400.0, 0.0);
    }

    #[test]
    fn what_cannot_be_is_not_published() {
        let mut answers = [INITIAL; 19];
        answers[15] = [0x01, 0xF4, 0x33, 0x00, 0x08, 0x39];
        answers[16] = [0x00, 0x00, 0x81, 0x00, 0x00, 0x81];
        answers[17] = [0xFF, 0xFF, 0xAC, 0xFF, 0xFF, 0xAC];
        answers[18] = [0xFF; 6];
        let said = said(&answers);
        assert!(matches!(said[15], Err(DriverError::BadChecksum { received: 0x39, .. })));
        assert!(matches!(said[16], Err(DriverError::OutOfRange { quantity: "eco2", .. })));
        assert!(matches!(said[17], Err(DriverError::OutOfRange { quantity: "eco2", .. })));
        let lost = said[18].as_ref().unwrap_err().to_string();
        assert!(lost.ends_with("nothing usable for 4 s: bad checksum: computed 0xac, received 0xff"), "{lost}");
    }

    #[test]
    fn the_humidity_reaches_the_chip_after_the_start() {
        let humidity = Step::Write(vec![0x20, 0x61, 0x0F, 0x80, 0x62]);
        let sensor = started(bring_up().into_iter().chain([humidity]), &[("absolute_humidity", "15.5")]);
        assert!(sensor.is_ok());
        assert_eq!((humidity_word(0.001), humidity_word(255.9)), (1, 65_510));
    }

    #[test]
    fn a_missing_chip_and_another_chip_are_named() {
        let error = started([Step::Nak], &[]).err().unwrap().to_string();
        assert!(error.starts_with("no SGP30 at address 0x58: nobody answers"), "{error}");
        for (answer, words) in [([0x10, 0x22, 0x0B], "0x1022"), ([0x00, 0x00, 0x81], "0x0000")] {
            let steps = [Step::Write(vec![0x20, 0x2F]), Step::Read(answer.to_vec())];
            let error = started(steps, &[]).err().unwrap().to_string();
            assert_eq!(error, format!("no SGP30 at address 0x58: its feature set is {words}"));
        }
    }

    #[test]
    fn the_simulated_chip_is_read_as_its_world_is() {
        let mut chip = ChipUnderTest::with("sgp30", 0x58);
        let mut sensor = transcript::build(&SPEC, &mut chip).unwrap();
        chip.set("eco2", 1200.0);
        chip.set("tvoc", 345.0);
        let measurements = transcript::patiently(sensor.as_mut()).unwrap();
        check(&measurements, "eco2", 1200.0, 0.0);
        check(&measurements, "tvoc", 345.0, 0.0);
        chip.fault(Some("checksum"));
        assert!(matches!(sensor.sample(), Err(DriverError::BadChecksum { .. })));
        chip.fault(Some("power-on"));
        assert!(matches!(sensor.sample(), Err(DriverError::OutOfRange { quantity: "eco2", .. })));
        chip.fault(Some("nak"));
        let mut lost = || (0..20).map(|_| sensor.sample().unwrap_err()).find(|error| !error.is_transient());
        assert!(matches!(lost(), Some(DriverError::NoDevice { chip: "SGP30", .. })));
    }
}
