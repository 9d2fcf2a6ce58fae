//! bme680 and bme688: Bosch sensors for temperature, humidity, pressure and the resistance of a heated gas sensor.
//!
//! Datasheets: BST-BME680-DS001 and BST-BME688-DS000; names of registers below are theirs.
//! CSB belongs to the supply, or the chip speaks SPI. For the gas resistance no accuracy is given.
//!
//! Each sample is one forced measurement; all settings, those of the heater too, are written with it, so a chip that lost its
//! supply for a moment measures rightly at once. A gas resistance counts only if the chip says that it was measured and that
//! the heater was warm enough. The air quality index of the manufacturer comes of a library without its source, and is not
//! here.

mod compensation;
mod sim;

use std::ops::RangeInclusive;
use std::time::Duration;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;

use crate::bme680::compensation::{Calibration, Raw, Variant, gas_wait};
use crate::i2c_chip::{absent, another, claims, within};
use crate::{BusNeed, DriverError, DriverSpec, Identity, Proof, Role, Sensor};
use fieldgate_bus::sim::chips::ChipSpec;
use fieldgate_bus::{BusError, Delay};
use fieldgate_model::{Field, Kind, Measurement, Need, Quantity, Settings};

/// The driver of the BME680.
pub static BME680: DriverSpec = DriverSpec {
    name: "bme680",
    summary: "Bosch BME680: temperature, humidity, air pressure and gas resistance over I²C",
    page: PAGE,
    bus: BusNeed::I2c,
    settings: SETTINGS,
    claims,
    wrong: |_| None,
    role: Role::Sensor {
        measurements: quantities,
        default_every: None,
        build: |bus, settings| Ok(Box::new(Bosch::start(Variant::Low, bus.i2c()?, Delay, settings)?)),
    },
    example: "\
air:
  driver: bme680
  bus: i2c-1
  every: 30s
  settings: { address: 0x77 }",
    identity: Some(Identity { ask: &[ID], length: ID_TO_VARIANT, is: |answer| is(answer, 0), then: None }),
    chip: Some(ChipSpec::of(|| Box::new(sim::Bosch::bme680()))),
    proofs: PROOFS,
};

/// The driver of the BME688.
pub static BME688: DriverSpec = DriverSpec {
    name: "bme688",
    summary: "Bosch BME688: temperature, humidity, air pressure and gas resistance over I²C",
    page: PAGE,
    bus: BusNeed::I2c,
    settings: SETTINGS,
    claims,
    wrong: |_| None,
    role: Role::Sensor {
        measurements: quantities,
        default_every: None,
        build: |bus, settings| Ok(Box::new(Bosch::start(Variant::High, bus.i2c()?, Delay, settings)?)),
    },
    example: "\
air:
  driver: bme688
  bus: i2c-1
  every: 30s
  settings: { address: 0x77 }",
    identity: Some(Identity { ask: &[ID], length: ID_TO_VARIANT, is: |answer| is(answer, 1), then: None }),
    chip: Some(ChipSpec::of(|| Box::new(sim::Bosch::bme688()))),
    proofs: PROOFS,
};

const PAGE: &str = "\
Wiring: SDA, SCL, 3.3 V, ground; CSB to 3.3 V. SDO to ground: address 0x76,
to 3.3 V: 0x77.

temperature     −40 to 85 °C, ±1 °C
humidity        0 to 100 %, ±3 %
pressure        300 to 1100 hPa, ±0.6 hPa; as at the sensor, not at sea level
gas_resistance  Ω; falls when the air has more volatile organic compounds

Each sample heats a plate inside the chip, by default to 320 °C for 150 ms,
and measures its resistance. The plate needs days to settle when it is new
and half an hour after each start; watch changes, not values. The heat raises
the temperature by 1 °C or more when every is short: 30s or longer is good,
or gas: false. A sample whose plate did not get warm enough is dropped.

An air quality index, as Bosch's closed library computes it, is not offered.
The BME680 and the BME688 are distinguished by a register: if it is the other
one, the driver says so.";

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
        need: Need::Default("2"),
        doc: "how many conversions are averaged into one sample; each costs about 6 ms",
    },
    Field {
        name: "filter",
        kind: Kind::Choice(&["off", "1", "3", "7", "15", "31", "63", "127"]),
        need: Need::Default("off"),
        doc: "coefficient of the chip's filter against draughts and slamming doors",
    },
    Field {
        name: "gas",
        kind: Kind::Flag,
        need: Need::Default("true"),
        doc: "whether to heat the plate and measure the gas resistance",
    },
    Field {
        name: "heater_temperature",
        kind: Kind::Integer { min: 200, max: 400 },
        need: Need::Default("320"),
        doc: "how warm the plate is made, in °C",
    },
    Field {
        name: "heater_duration",
        kind: Kind::Duration { min: Duration::from_millis(10), max: Duration::from_millis(500) },
        need: Need::Default("150ms"),
        doc: "how long the plate is heated for each sample; it needs some 30 ms to get warm",
    },
];

const PROOFS: &[Proof] = &[Proof::Reference("adafruit-circuitpython-bme680 3.7.16"), Proof::Reference("bme680 2.0.0")];

const TEMPERATURE: Quantity = Quantity::new("temperature", "°C", 2);
const HUMIDITY: Quantity = Quantity::new("humidity", "%", 1);
const PRESSURE: Quantity = Quantity::new("pressure", "hPa", 1);
const GAS_RESISTANCE: Quantity = Quantity::new("gas_resistance", "Ω", 0);

const CELSIUS: RangeInclusive<f64> = -40.0..=85.0;
const HECTOPASCAL: RangeInclusive<f64> = 300.0..=1100.0;
/// What the converter of the gas sensor can represent, in both variants.
const OHM: RangeInclusive<f64> = 100.0..=110e6;

// Registers, and the bits of meas_status_0.
const CALIBRATION_LAST: u8 = 0x00;
const MEAS_STATUS: u8 = 0x1D;
const RES_HEAT_0: u8 = 0x5A;
const GAS_WAIT_0: u8 = 0x64;
const CTRL_GAS_0: u8 = 0x70;
const CTRL_GAS_1: u8 = 0x71;
const CTRL_HUM: u8 = 0x72;
const CTRL_MEAS: u8 = 0x74;
const CONFIG: u8 = 0x75;
const CALIBRATION_LOW: u8 = 0x8A;
const ID: u8 = 0xD0;
const RESET: u8 = 0xE0;
const CALIBRATION_HIGH: u8 = 0xE1;
const VARIANT: u8 = 0xF0;
const NEW_DATA: u8 = 0x80;

const CHIP_ID: u8 = 0x61;
const ID_TO_VARIANT: usize = (VARIANT - ID) as usize + 1;
const RESET_WORD: u8 = 0xB6;
const HEATER_OFF: u8 = 0x08;
const FORCED: u8 = 0x01;
/// As the manufacturer's driver waits after a reset.
const START_UP_US: u32 = 10_000;
/// How often the status is asked after the time that the manufacturer gives; then the chip is stuck.
const POLLS: u32 = 5;
const POLL_US: u32 = 10_000;
/// A 20-bit result that was not measured: as after power-on.
const UNMEASURED: u32 = 0x80000;
/// The air around the heater before the first measurement shows it.
const ROOM_CELSIUS: f64 = 25.0;

fn is(answer: &[u8], variant: u8) -> bool {
    matches!(answer, [CHIP_ID, .., last] if *last == variant)
}

fn quantities(settings: &Settings) -> Vec<Quantity> {
    let mut all = vec![TEMPERATURE, HUMIDITY, PRESSURE];
    if settings.flag("gas") {
        all.push(GAS_RESISTANCE);
    }
    all
}

impl Variant {
    fn name(self) -> &'static str {
        match self {
            Self::Low => "BME680",
            Self::High => "BME688",
        }
    }

    /// What starts the gas conversion in ctrl_gas_1.
    fn run_gas(self) -> u8 {
        match self {
            Self::Low => 0x10,
            Self::High => 0x20,
        }
    }
}

/// How the plate is heated.
#[derive(Clone, Copy, Debug)]
struct Heater {
    celsius: f64,
    duration_ms: u32,
}

/// The chip, calibrated.
struct Bosch<I, D> {
    i2c: I,
    delay: D,
    address: u8,
    variant: Variant,
    /// Of all quantities: the code and how many conversions it means.
    oversampling: (u8, u32),
    filter: u8,
    heater: Option<Heater>,
    calibration: Calibration,
    /// As last measured: the heater needs less in warm air.
    ambient: f64,
}

impl<I: I2c<Error = BusError>, D: DelayNs> Bosch<I, D> {
    /// Checks the chip's id and variant, resets it and reads its calibration.
    fn start(variant: Variant, mut i2c: I, mut delay: D, settings: &Settings) -> Result<Self, DriverError> {
        let address = settings.address("address");
        let missing = absent(variant.name());
        let id = read::<1>(&mut i2c, address, ID).map_err(&missing)?[0];
        let found = read::<1>(&mut i2c, address, VARIANT).map_err(&missing)?[0];
        check_id(variant, address, id, found)?;
        i2c.write(address, &[RESET, RESET_WORD]).map_err(&missing)?;
        delay.delay_us(START_UP_US);
        let low = read::<23>(&mut i2c, address, CALIBRATION_LOW)?;
        let high = read::<14>(&mut i2c, address, CALIBRATION_HIGH)?;
        let last = read::<5>(&mut i2c, address, CALIBRATION_LAST)?;
        let calibration = Calibration::parse(&low, &high, &last);
        if calibration.is_blank() {
            return Err(another(
                variant.name(),
                address,
                "its calibration is blank: defective, or a bad contact".into(),
            ));
        }
        let conversions = settings.text("oversampling").parse::<u32>().unwrap_or(1);
        let oversampling = (1 + conversions.ilog2() as u8, conversions);
        let filter = settings.text("filter").parse::<u32>().map_or(0, |coefficient| (coefficient + 1).ilog2() as u8);
        let heater = settings.flag("gas").then(|| Heater {
            celsius: settings.integer("heater_temperature") as f64,
            duration_ms: u32::try_from(settings.duration("heater_duration").as_millis()).unwrap_or(u32::MAX),
        });
        let ambient = ROOM_CELSIUS;
        Ok(Self { i2c, delay, address, variant, oversampling, filter, heater, calibration, ambient })
    }

    /// One forced measurement. ctrl_hum takes effect with the write of ctrl_meas, which therefore comes last. One register
    /// per transfer: the chip would take pairs, but what only resembles it would not.
    fn measure(&mut self) -> Result<Raw, DriverError> {
        let (code, conversions) = self.oversampling;
        self.write(CTRL_HUM, code)?;
        self.write(CONFIG, self.filter << 2)?;
        let mut longest_us = measurement_time_us(conversions);
        if let Some(heater) = self.heater {
            self.write(RES_HEAT_0, self.calibration.heater(heater.celsius, self.ambient))?;
            self.write(GAS_WAIT_0, gas_wait(heater.duration_ms))?;
            self.write(CTRL_GAS_0, 0)?;
            self.write(CTRL_GAS_1, self.variant.run_gas())?;
            longest_us += heater.duration_ms * 1000;
        } else {
            self.write(CTRL_GAS_0, HEATER_OFF)?;
            self.write(CTRL_GAS_1, 0)?;
        }
        self.write(CTRL_MEAS, code << 5 | code << 2 | FORCED)?;
        self.delay.delay_us(longest_us);
        for _ in 0..POLLS {
            let field = read::<17>(&mut self.i2c, self.address, MEAS_STATUS)?;
            if field[0] & NEW_DATA != 0 {
                return Ok(Raw::parse(&field, self.variant));
            }
            self.delay.delay_us(POLL_US);
        }
        Err(DriverError::NotReady("the measurement"))
    }

    fn write(&mut self, register: u8, value: u8) -> Result<(), BusError> {
        self.i2c.write(self.address, &[register, value])
    }

    fn ohm(&self, raw: &Raw) -> Result<f64, DriverError> {
        if !raw.gas_valid {
            return Err(DriverError::NotReady("the gas measurement"));
        }
        if !raw.heater_stable {
            return Err(DriverError::NotReady("the heater of the gas sensor"));
        }
        within("gas_resistance", self.calibration.ohm(raw, self.variant), &OHM)
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
        self.ambient = celsius;
        let humidity = self.calibration.percent(raw.humidity, celsius);
        let mut measurements =
            vec![TEMPERATURE.measured(celsius), HUMIDITY.measured(humidity), PRESSURE.measured(pressure)];
        if self.heater.is_some() {
            measurements.push(GAS_RESISTANCE.measured(self.ohm(&raw)?));
        }
        Ok(measurements)
    }
}

fn read<const N: usize>(i2c: &mut impl I2c<Error = BusError>, address: u8, register: u8) -> Result<[u8; N], BusError> {
    let mut bytes = [0; N];
    i2c.write_read(address, &[register], &mut bytes)?;
    Ok(bytes)
}

fn check_id(variant: Variant, address: u8, id: u8, found: u8) -> Result<(), DriverError> {
    let why = match (variant, id, found) {
        (Variant::Low, CHIP_ID, 0) | (Variant::High, CHIP_ID, 1) => return Ok(()),
        (_, CHIP_ID, 0) => "this is a BME680; write driver: bme680".to_owned(),
        (_, CHIP_ID, 1) => "this is a BME688; write driver: bme688".to_owned(),
        (_, CHIP_ID, _) => format!("its variant is {found:#04x}"),
        (_, 0x60, _) => "this is a BME280; write driver: bme280".to_owned(),
        (_, 0x56..=0x58, _) => "this is a BMP280; write driver: bmp280".to_owned(),
        _ => format!("the chip id is {id:#04x}"),
    };
    Err(another(variant.name(), address, why))
}

/// How long a measurement takes without heating, all quantities with the same oversampling: as the manufacturer's driver
/// computes it.
fn measurement_time_us(conversions: u32) -> u32 {
    1963 * 3 * conversions + 477 * 4 + 477 * 5 + 1000
}

#[cfg(test)]
mod tests;
