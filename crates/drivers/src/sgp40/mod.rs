//! sgp40: Sensirion SGP40, for volatile organic compounds.
//!
//! Datasheet: SGP40, version 1.2 (2022); commands below are called as it calls them.
//! Two chips differ by some 15 points of the index.
//!
//! The index is computed here (`voc_index.rs`), with what was measured before, and wants a measurement a second. So the
//! chip is asked every second, whatever `every` says (`each_second.rs`). The index begins 46 seconds after the start, and what
//! it has learnt is lost at each start of the program.

mod sim;
mod voc_index;

use std::ops::RangeInclusive;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;

use crate::each_second::EachSecond;
use crate::i2c_chip::{absent, another, claims, within};
use crate::sensirion::{read_words, with_arguments};
use crate::sgp40::voc_index::VocIndex;
use crate::{BusNeed, DriverError, DriverSpec, Proof, Role};
use fieldgate_bus::seconds::Seconds;
use fieldgate_bus::sim::chips::ChipSpec;
use fieldgate_bus::{BusError, Delay};
use fieldgate_model::{Field, Kind, Measurement, Need, Quantity, Settings};

/// The driver's line in [`DRIVERS`](crate::DRIVERS).
pub static SPEC: DriverSpec = DriverSpec {
    name: "sgp40",
    summary: "Sensirion SGP40: volatile organic compounds as an index, over I²C",
    page: "\
Wiring: SDA, SCL, 1.7 to 3.6 V, ground. The address is 0x59.

voc_index  1 to 500; 100 is the average of the last day, more is worse
voc_raw    0 to 65535 without a unit; falls as the air gets worse

The index is Sensirion's. It compares the air with that of the last hours and
wants a measurement a second: the chip is asked every second, whatever every
says; a sample is the newest answer. The index begins 46 seconds after the
start, is rough for an hour, and has learnt enough after a day. A start of the
program begins again.

Give temperature and humidity as they usually are at the sensor: the chip
compensates for them.",
    bus: BusNeed::I2c,
    settings: &[
        Field { name: "address", kind: Kind::Address(&[0x59]), need: Need::Default("0x59"), doc: "always 0x59" },
        Field {
            name: "temperature",
            kind: Kind::Number { min: -45.0, max: 130.0 },
            need: Need::Default("25"),
            doc: "how warm the air usually is, in °C",
        },
        Field {
            name: "humidity",
            kind: Kind::Number { min: 0.0, max: 100.0 },
            need: Need::Default("50"),
            doc: "how humid the air usually is, in %",
        },
    ],
    claims,
    wrong: |_| None,
    role: Role::Sensor {
        measurements: |_| vec![VOC_INDEX, VOC_RAW],
        default_every: None,
        build: |bus, settings| {
            let seconds = bus.seconds()?;
            Ok(Box::new(start(bus.i2c()?, Delay, seconds, settings)?))
        },
    },
    example: "\
room:
  driver: sgp40
  bus: i2c-1
  every: 10s
  settings: { temperature: 21, humidity: 45 }",
    identity: None,
    chip: Some(ChipSpec::of(|| Box::new(sim::Sgp40::default()))),
    proofs: &[Proof::Reference("adafruit-circuitpython-sgp40 1.3.24")],
};

const VOC_INDEX: Quantity = Quantity::new("voc_index", "", 0);
const VOC_RAW: Quantity = Quantity::new("voc_raw", "", 0);

/// Beyond these the algorithm takes no signal.
const RAW: RangeInclusive<f64> = 1.0..=64_999.0;

const MEASURE_RAW: u16 = 0x260F;
const SELF_TEST: u16 = 0x280E;
const GET_FEATURE_SET: u16 = 0x202F;

const COMMAND_US: u32 = 10_000;
/// The longest that a self test takes.
const SELF_TEST_US: u32 = 320_000;
const PASSED: u16 = 0xD400;

/// Finds the chip and has it test its heater and its sensor.
fn start<I: I2c<Error = BusError>>(
    mut i2c: I,
    mut delay: impl DelayNs,
    seconds: Box<dyn Seconds>,
    settings: &Settings,
) -> Result<EachSecond<1, I>, DriverError> {
    let address = settings.address("address");
    i2c.write(address, &GET_FEATURE_SET.to_be_bytes()).map_err(absent("SGP40"))?;
    delay.delay_us(COMMAND_US);
    let [features] = read_words::<1>(&mut i2c, address, "the feature set")?;
    if features >> 8 != 0x32 {
        return Err(another("SGP40", address, format!("its feature set is {features:#06x}")));
    }
    i2c.write(address, &SELF_TEST.to_be_bytes())?;
    delay.delay_us(SELF_TEST_US);
    let [test] = read_words::<1>(&mut i2c, address, "the self test")?;
    // The lower byte has no meaning.
    if test & 0xFF00 != PASSED {
        return Err(another("SGP40", address, format!("it is defective: its self test says {test:#06x}")));
    }
    Ok(EachSecond::new("SGP40", (i2c, address), seconds, question(settings), understand()))
}

/// The measurement with the air to compensate for, each on its scale of 16 bits.
fn question(settings: &Settings) -> Vec<u8> {
    let ticks = |share: f64| (share * 65_535.0).round() as u16;
    let humidity = ticks(settings.number("humidity") / 100.0);
    let temperature = ticks((settings.number("temperature") + 45.0) / 175.0);
    with_arguments(MEASURE_RAW, &[humidity, temperature])
}

fn understand() -> impl FnMut([u16; 1]) -> Result<Vec<Measurement>, DriverError> {
    let mut index = VocIndex::default();
    move |[raw]| {
        let signal = within("voc_raw", f64::from(raw), &RAW)?;
        let index = index.next(raw).ok_or(DriverError::TooEarly("the VOC index begins after 46 s"))?;
        Ok(vec![VOC_INDEX.measured(index), VOC_RAW.measured(signal)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sensor;
    use crate::transcript::{self, ChipUnderTest, CountedDelay, Script, Step, Transcript, check, settings};

    fn bring_up(test: [u8; 3]) -> Vec<Step> {
        vec![
            Step::Write(vec![0x20, 0x2F]),
            Step::Read(vec![0x32, 0x20, 0x6C]),
            Step::Write(vec![0x28, 0x0E]),
            Step::Read(test.to_vec()),
        ]
    }

    const GOOD_TEST: [u8; 3] = [0xD4, 0x00, 0xC6];

    fn started(
        steps: impl IntoIterator<Item = Step>,
        given: &[(&str, &str)],
    ) -> Result<EachSecond<1, Transcript>, DriverError> {
        start(Transcript::new(0x59, steps), CountedDelay::default(), Box::new(Script), &settings(&SPEC, given))
    }

    /// What the driver says to each of these answers.
    fn said(answers: &[[u8; 3]]) -> Vec<Result<Vec<Measurement>, DriverError>> {
        // The example of the data sheet: 50 % and 25 °C.
        let measure = Step::Write(vec![0x26, 0x0F, 0x80, 0x00, 0xA2, 0x66, 0x66, 0x93]);
        let turns = answers.iter().flat_map(|answer| [Step::Read(answer.to_vec()), measure.clone()]);
        let mut sensor = started(bring_up(GOOD_TEST).into_iter().chain([measure.clone()]).chain(turns), &[]).unwrap();
        sensor.sample().unwrap_err();
        answers.iter().map(|_| sensor.sample()).collect()
    }

    /// The raw signal 30000 with its checksum.
    const CALM: [u8; 3] = [0x75, 0x30, 0x08];

    #[test]
    fn the_index_begins_after_its_time() {
        let said = said(&[CALM; 60]);
        for (second, result) in said[..46].iter().enumerate() {
            assert!(matches!(result, Err(DriverError::TooEarly("the VOC index begins after 46 s"))), "{second}");
        }
        check(said[46].as_ref().unwrap(), "voc_raw", 30_000.0, 0.0);
        check(said[46].as_ref().unwrap(), "voc_index", 1.0, 0.0);
        assert!(transcript::number(said[59].as_ref().unwrap(), "voc_index") > 10.0);
    }

    #[test]
    fn what_cannot_be_is_not_published() {
        let said = said(&[[0x75, 0x30, 0x09], [0x00, 0x00, 0x81], [0xFF, 0xFF, 0xAC]]);
        assert!(matches!(said[0], Err(DriverError::BadChecksum { received: 0x09, .. })));
        assert!(matches!(said[1], Err(DriverError::OutOfRange { quantity: "voc_raw", .. })));
        assert!(matches!(said[2], Err(DriverError::NoDevice { chip: "SGP40", .. })));
    }

    #[test]
    fn temperature_and_humidity_reach_the_chip() {
        let given = settings(&SPEC, &[("temperature", "-45"), ("humidity", "100")]);
        assert_eq!(question(&given), [0x26, 0x0F, 0xFF, 0xFF, 0xAC, 0x00, 0x00, 0x81]);
    }

    #[test]
    fn a_missing_chip_another_chip_and_a_defective_one_are_named() {
        let refusal = |steps: Vec<Step>| started(steps, &[]).err().unwrap().to_string();
        assert!(refusal(vec![Step::Nak]).starts_with("no SGP40 at address 0x59: nobody answers"));
        let mut other = bring_up(GOOD_TEST);
        other.truncate(1);
        other.push(Step::Read(vec![0x00, 0x00, 0x81]));
        assert_eq!(refusal(other), "no SGP40 at address 0x59: its feature set is 0x0000");
        let words = refusal(bring_up([0x4B, 0x00, 0x12]));
        assert_eq!(words, "no SGP40 at address 0x59: it is defective: its self test says 0x4b00");
    }

    #[test]
    fn the_simulated_chip_is_read_as_its_world_is() {
        let mut chip = ChipUnderTest::with("sgp40", 0x59);
        let mut sensor = transcript::build(&SPEC, &mut chip).unwrap();
        chip.set("voc_raw", 30_123.0);
        check(&transcript::patiently(sensor.as_mut()).unwrap(), "voc_raw", 30_123.0, 0.0);
        chip.set("voc_raw", 27_000.0);
        let worse = (0..100).map(|_| transcript::number(&sensor.sample().unwrap(), "voc_index")).last().unwrap();
        assert!(worse > 120.0, "{worse}");
        chip.fault(Some("checksum"));
        assert!(matches!(sensor.sample(), Err(DriverError::BadChecksum { .. })));
        chip.fault(Some("power-on"));
        assert!(matches!(sensor.sample(), Err(DriverError::OutOfRange { quantity: "voc_raw", .. })));
        chip.fault(Some("wrong-id"));
        assert!(matches!(transcript::build(&SPEC, &mut chip), Err(DriverError::NoDevice { .. })));
    }
}
