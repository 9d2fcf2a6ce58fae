//! bme280 and bmp280: Bosch sensors for temperature, pressure and, in the BME280, humidity.
//!
//! Datasheets: BST-BME280-DS002 revision 1.6 (section numbers below are its), BST-BMP280-DS001 revision 1.23.
//! CSB belongs to the supply, or the chip speaks SPI.
//!
//! Each sample is one forced measurement, which keeps the chip from warming itself; all settings are written with it, so a
//! chip that lost its supply for a moment measures rightly at once. The compensation is the floating-point one of the data
//! sheet (8.1): the integer one overflows on calibration words that a bad contact may deliver.

mod compensation;
mod sim;

use std::ops::RangeInclusive;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;

use crate::bme280::compensation::{Calibration, Raw};
use crate::i2c_chip::{absent, another, claims, within};
use crate::{BusNeed, DriverError, DriverSpec, Identity, Proof, Role, Sensor};
use fieldgate_bus::sim::chips::ChipSpec;
use fieldgate_bus::{BusError, Delay};
use fieldgate_model::{Field, Kind, Measurement, Need, Quantity, Settings};

/// The driver of the BME280.
pub static BME280: DriverSpec = DriverSpec {
    name: "bme280",
    summary: "Bosch BME280: temperature, humidity and air pressure over I²C",
    page: "\
Wiring: SDA, SCL, 3.3 V, ground; CSB to 3.3 V. SDO to ground: address 0x76,
to 3.3 V: 0x77.

temperature  −40 to 85 °C, ±1 °C
humidity     0 to 100 %, ±3 %
pressure     300 to 1100 hPa, ±1 hPa; as at the sensor, not at sea level

The chip warms itself by up to 1 °C when it is read many times a second. Many
boards sold as BME280 carry a BMP280, which has no humidity: then this driver
says so.",
    bus: BusNeed::I2c,
    settings: SETTINGS,
    claims,
    wrong: |_| None,
    role: Role::Sensor {
        measurements: |_| vec![TEMPERATURE, HUMIDITY, PRESSURE],
        default_every: None,
        build: |bus, settings| Ok(Box::new(Bosch::start(Model::Bme280, bus.i2c()?, Delay, settings)?)),
    },
    example: "\
air:
  driver: bme280
  bus: i2c-1
  every: 10s
  settings: { address: 0x76 }",
    identity: Some(Identity { ask: &[ID], length: 1, is: |answer| answer == [0x60], then: None }),
    chip: Some(ChipSpec::of(|| Box::new(sim::Bosch::bme280()))),
    proofs: &[Proof::Reference("adafruit-circuitpython-bme280 2.6.32"), Proof::Kernel("bmp280")],
};

/// The driver of the BMP280.
pub static BMP280: DriverSpec = DriverSpec {
    name: "bmp280",
    summary: "Bosch BMP280: temperature and air pressure over I²C",
    page: "\
Wiring: SDA, SCL, 3.3 V, ground; CSB to 3.3 V. SDO to ground: address 0x76,
to 3.3 V: 0x77.

temperature  −40 to 85 °C, ±1 °C
pressure     300 to 1100 hPa, ±1 hPa; as at the sensor, not at sea level

The chip warms itself by up to 1 °C when it is read many times a second. A
BME280, which has humidity too, wants driver: bme280.",
    bus: BusNeed::I2c,
    settings: SETTINGS,
    claims,
    wrong: |_| None,
    role: Role::Sensor {
        measurements: |_| vec![TEMPERATURE, PRESSURE],
        default_every: None,
        build: |bus, settings| Ok(Box::new(Bosch::start(Model::Bmp280, bus.i2c()?, Delay, settings)?)),
    },
    example: "\
cellar:
  driver: bmp280
  bus: i2c-1
  every: 10s
  settings: { address: 0x77 }",
    identity: Some(Identity { ask: &[ID], length: 1, is: |answer| matches!(answer, [0x56..=0x58]), then: None }),
    chip: Some(ChipSpec::of(|| Box::new(sim::Bosch::bmp280()))),
    proofs: &[Proof::Reference("adafruit-circuitpython-bmp280 3.3.12"), Proof::Kernel("bmp280")],
};

const SETTINGS: &[Field] = &[
    Field {
        name: "address",
        kind: Kind::Address(&[0x76, 0x77]),
        need: Need::Default("0x76"),
        doc: "0x76 with SDO at ground, 0x77 with SDO at the supply",
    },
    Field {
        name: "oversampling",
        kind: Kind::Choice(&["1", "2", "4", "8", "16"]),
        need: Need::Default("1"),
        doc: "how many conversions are averaged into one sample; each costs about 7 ms",
    },
    Field {
        name: "filter",
        kind: Kind::Choice(&["off", "2", "4", "8", "16"]),
        need: Need::Default("off"),
        doc: "coefficient of the chip's filter against draughts and slamming doors",
    },
];

const TEMPERATURE: Quantity = Quantity::new("temperature", "°C", 2);
const HUMIDITY: Quantity = Quantity::new("humidity", "%", 1);
const PRESSURE: Quantity = Quantity::new("pressure", "hPa", 1);

const CELSIUS: RangeInclusive<f64> = -40.0..=85.0;
const HECTOPASCAL: RangeInclusive<f64> = 300.0..=1100.0;

// Registers (5.3) and the bits of STATUS.
const CALIBRATION: u8 = 0x88;
const ID: u8 = 0xD0;
const RESET: u8 = 0xE0;
const HUMIDITY_CALIBRATION: u8 = 0xE1;
const CTRL_HUM: u8 = 0xF2;
const STATUS: u8 = 0xF3;
const CTRL_MEAS: u8 = 0xF4;
const CONFIG: u8 = 0xF5;
const DATA: u8 = 0xF7;
const MEASURING: u8 = 0x08;
const COPYING_CALIBRATION: u8 = 0x01;

const RESET_WORD: u8 = 0xB6;
const FORCED: u8 = 0x01;
/// Start-up time after a reset (table 1).
const START_UP_US: u32 = 2000;
/// How often the status is asked after the longest time that the data sheet gives; then the chip is stuck.
const POLLS: u32 = 5;
/// A 20-bit result that was not measured: skipped, or as after power-on (5.4.8).
const UNMEASURED: u32 = 0x80000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Model {
    Bme280,
    Bmp280,
}

impl Model {
    fn name(self) -> &'static str {
        match self {
            Self::Bme280 => "BME280",
            Self::Bmp280 => "BMP280",
        }
    }
}

/// The chip, calibrated.
struct Bosch<I, D> {
    i2c: I,
    delay: D,
    address: u8,
    model: Model,
    oversampling: u8,
    filter: u8,
    calibration: Calibration,
}

impl<I: I2c<Error = BusError>, D: DelayNs> Bosch<I, D> {
    /// Checks the chip's id, resets it and reads its calibration.
    fn start(model: Model, mut i2c: I, mut delay: D, settings: &Settings) -> Result<Self, DriverError> {
        let address = settings.address("address");
        let missing = absent(model.name());
        let id = read::<1>(&mut i2c, address, ID).map_err(&missing)?[0];
        check_id(model, address, id)?;
        i2c.write(address, &[RESET, RESET_WORD]).map_err(&missing)?;
        delay.delay_us(START_UP_US);
        poll(&mut i2c, &mut delay, address, COPYING_CALIBRATION, START_UP_US)?;
        let low = read::<26>(&mut i2c, address, CALIBRATION)?;
        let high = match model {
            Model::Bme280 => read::<7>(&mut i2c, address, HUMIDITY_CALIBRATION)?,
            Model::Bmp280 => [0; 7],
        };
        let calibration = Calibration::parse(&low, &high);
        if calibration.is_blank() {
            return Err(another(model.name(), address, "its calibration is blank: defective, or a bad contact".into()));
        }
        let oversampling = settings.text("oversampling").parse().unwrap_or(1);
        let filter = settings.text("filter").parse().unwrap_or(1);
        Ok(Self { i2c, delay, address, model, oversampling, filter, calibration })
    }

    /// One forced measurement (3.3.3). ctrl_hum takes effect with the write of ctrl_meas, which therefore comes last
    /// (5.4.3). One register per transfer: the chip would take pairs, but what only resembles it would not.
    fn measure(&mut self) -> Result<Raw, DriverError> {
        let oversampling = 1 + self.oversampling.ilog2() as u8;
        let filter = self.filter.ilog2() as u8;
        if self.model == Model::Bme280 {
            self.i2c.write(self.address, &[CTRL_HUM, oversampling])?;
        }
        self.i2c.write(self.address, &[CONFIG, filter << 2])?;
        self.i2c.write(self.address, &[CTRL_MEAS, oversampling << 5 | oversampling << 2 | FORCED])?;
        let longest_us = measurement_time_us(self.model, u32::from(self.oversampling));
        self.delay.delay_us(longest_us);
        poll(&mut self.i2c, &mut self.delay, self.address, MEASURING, longest_us / POLLS)?;
        let data = match self.model {
            Model::Bme280 => read::<8>(&mut self.i2c, self.address, DATA)?,
            Model::Bmp280 => {
                let [a, b, c, d, e, f] = read::<6>(&mut self.i2c, self.address, DATA)?;
                [a, b, c, d, e, f, 0, 0]
            }
        };
        Ok(Raw::parse(data))
    }
}

impl<I: I2c<Error = BusError>, D: DelayNs> Sensor for Bosch<I, D> {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        let raw = self.measure()?;
        // Either word alone may be a true result; both at once are those of a chip that did not measure.
        if raw.temperature == UNMEASURED && raw.pressure == UNMEASURED {
            return Err(DriverError::OutOfRange { quantity: "raw temperature", value: f64::from(raw.temperature) });
        }
        let fine = self.calibration.fine(raw.temperature);
        let celsius = within("temperature", fine / 5120.0, &CELSIUS)?;
        let pascal = self.calibration.pascal(raw.pressure, fine);
        let pressure = within("pressure", pascal / 100.0, &HECTOPASCAL)?;
        let mut measurements = vec![TEMPERATURE.measured(celsius)];
        if self.model == Model::Bme280 {
            measurements.push(HUMIDITY.measured(self.calibration.percent(raw.humidity, fine)));
        }
        measurements.push(PRESSURE.measured(pressure));
        Ok(measurements)
    }
}

fn read<const N: usize>(i2c: &mut impl I2c<Error = BusError>, address: u8, register: u8) -> Result<[u8; N], BusError> {
    let mut bytes = [0; N];
    i2c.write_read(address, &[register], &mut bytes)?;
    Ok(bytes)
}

/// Waits until `bit` of the status is clear.
fn poll(
    i2c: &mut impl I2c<Error = BusError>,
    delay: &mut impl DelayNs,
    address: u8,
    bit: u8,
    pause_us: u32,
) -> Result<(), DriverError> {
    for _ in 0..POLLS {
        if read::<1>(i2c, address, STATUS)?[0] & bit == 0 {
            return Ok(());
        }
        delay.delay_us(pause_us);
    }
    Err(DriverError::NotReady(if bit == MEASURING { "the measurement" } else { "the chip" }))
}

fn check_id(model: Model, address: u8, id: u8) -> Result<(), DriverError> {
    let why = match (model, id) {
        (Model::Bme280, 0x60) => return Ok(()),
        // 0x58 is mass production, 0x56 and 0x57 are samples, which are sold too (DS001, 4.3.1 of revision 1.14).
        (Model::Bmp280, 0x56..=0x58) => return Ok(()),
        (_, 0x60) => "this is a BME280; write driver: bme280".to_owned(),
        (_, 0x56..=0x58) => "this is a BMP280; write driver: bmp280".to_owned(),
        (_, 0x61) => "this is a BME680".to_owned(),
        (_, 0x55) => "this is a BMP180".to_owned(),
        _ => format!("the chip id is {id:#04x}"),
    };
    Err(another(model.name(), address, why))
}

/// The longest that a measurement may take, all quantities with the same oversampling (9.1).
fn measurement_time_us(model: Model, oversampling: u32) -> u32 {
    let conversion = 2300 * oversampling;
    let humidity = if model == Model::Bme280 { conversion + 575 } else { 0 };
    1250 + conversion + (conversion + 575) + humidity
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bme280::compensation::example::{DATA_BYTES, HIGH, LOW};
    use crate::transcript::{self, ChipUnderTest, CountedDelay, Step, Transcript, check, settings};

    fn bring_up() -> Vec<Step> {
        vec![
            Step::WriteRead(vec![0xD0], vec![0x60]),
            Step::Write(vec![0xE0, 0xB6]),
            Step::WriteRead(vec![0xF3], vec![0x00]),
            Step::WriteRead(vec![0x88], LOW.to_vec()),
            Step::WriteRead(vec![0xE1], HIGH.to_vec()),
        ]
    }

    fn start(
        steps: impl IntoIterator<Item = Step>,
        given: &[(&str, &str)],
    ) -> Result<Bosch<Transcript, CountedDelay>, DriverError> {
        let bus = Transcript::new(0x76, steps);
        Bosch::start(Model::Bme280, bus, CountedDelay::default(), &settings(&BME280, given))
    }

    #[test]
    fn the_longest_measurement_is_as_in_the_datasheet() {
        assert_eq!(measurement_time_us(Model::Bme280, 1), 9_300);
        assert_eq!(measurement_time_us(Model::Bme280, 16), 112_800);
        assert_eq!(measurement_time_us(Model::Bmp280, 1), 6_425);
    }

    #[test]
    fn a_good_transcript_gives_three_measurements() {
        let steps = bring_up().into_iter().chain([
            Step::Write(vec![0xF2, 0x01]),
            Step::Write(vec![0xF5, 0x00]),
            Step::Write(vec![0xF4, 0x25]),
            Step::WriteRead(vec![0xF3], vec![0x08]),
            Step::WriteRead(vec![0xF3], vec![0x00]),
            Step::WriteRead(vec![0xF7], DATA_BYTES.to_vec()),
        ]);
        let mut sensor = start(steps, &[]).unwrap();
        let measurements = sensor.sample().unwrap();
        check(&measurements, "temperature", 25.08, 0.005);
        check(&measurements, "pressure", 1006.53, 0.005);
        assert!(sensor.delay.waited_us() >= 2_000 + 9_300, "{}", sensor.delay.waited_us());
    }

    #[test]
    fn oversampling_and_filter_reach_the_chip() {
        let control = [[0xF2, 0x05], [0xF5, 0x08], [0xF4, 0xB5]].map(|pair| Step::Write(pair.to_vec()));
        let steps = bring_up().into_iter().chain(control).chain([Step::Nak]);
        let mut sensor = start(steps, &[("oversampling", "16"), ("filter", "4")]).unwrap();
        assert!(matches!(sensor.sample(), Err(DriverError::Bus(BusError::NoAcknowledge { address: 0x76 }))));
    }

    #[test]
    fn a_missing_chip_and_another_chip_are_named() {
        let refusal = |steps: Vec<Step>| start(steps, &[]).err().unwrap().to_string();
        assert!(refusal(vec![Step::Nak]).starts_with("no BME280 at address 0x76: nobody answers"));
        let id = |id: u8| vec![Step::WriteRead(vec![0xD0], vec![id])];
        assert_eq!(refusal(id(0x58)), "no BME280 at address 0x76: this is a BMP280; write driver: bmp280");
        assert_eq!(refusal(id(0x33)), "no BME280 at address 0x76: the chip id is 0x33");
        let error = check_id(Model::Bmp280, 0x77, 0x60).unwrap_err().to_string();
        assert_eq!(error, "no BMP280 at address 0x77: this is a BME280; write driver: bme280");
    }

    #[test]
    fn a_blank_calibration_is_refused() {
        let steps = bring_up()
            .into_iter()
            .take(3)
            .chain([Step::WriteRead(vec![0x88], vec![0; 26]), Step::WriteRead(vec![0xE1], vec![0; 7])]);
        let error = start(steps, &[]).err().unwrap().to_string();
        assert!(error.starts_with("no BME280 at address 0x76: its calibration is blank"), "{error}");
    }

    #[test]
    fn a_chip_that_did_not_measure_is_not_believed() {
        let mut chip = ChipUnderTest::with("bme280", 0x76);
        let mut sensor = transcript::build(&BME280, &mut chip).unwrap();
        chip.fault(Some("power-on"));
        assert!(matches!(sensor.sample(), Err(DriverError::OutOfRange { quantity: "raw temperature", .. })));
        chip.fault(Some("not-ready"));
        assert!(matches!(sensor.sample(), Err(DriverError::NotReady("the measurement"))));
        chip.fault(None);
        sensor.sample().unwrap();
    }

    #[test]
    fn the_simulated_chips_are_read_as_their_world_is() {
        for (spec, driver) in [(&BME280, "bme280"), (&BMP280, "bmp280")] {
            let mut chip = ChipUnderTest::with(driver, 0x76);
            let mut sensor = transcript::build(spec, &mut chip).unwrap();
            for (celsius, percent, hectopascal) in [(21.5, 45.0, 1013.2), (-12.25, 93.0, 655.0), (60.0, 5.0, 1090.0)] {
                chip.set("temperature", celsius);
                chip.set("pressure", hectopascal);
                if driver == "bme280" {
                    chip.set("humidity", percent);
                }
                let measurements = sensor.sample().unwrap();
                check(&measurements, "temperature", celsius, 0.011);
                check(&measurements, "pressure", hectopascal, 0.06);
                if driver == "bme280" {
                    check(&measurements, "humidity", percent, 0.06);
                }
            }
        }
    }
}
