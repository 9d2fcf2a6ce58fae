//! scd30: Sensirion SCD30, for carbon dioxide, temperature and humidity.
//!
//! Documents: SCD30 datasheet version 1.0 and interface description version 1.0 (2020); section numbers below are of the latter.
//! SEL belongs to ground or nowhere, or the module speaks Modbus.
//!
//! The module measures by itself and goes on when the program ends. It keeps interval, temperature offset, altitude and self
//! calibration in a memory that wears out, so the start writes only what differs. Without a result for three intervals it
//! is started again.
//!
//! It stretches the clock, by up to 150 ms once a day (1.1), and takes no repeated start: every answer is read in a transfer
//! of its own, 3 ms after the question (1.4.4).

mod sim;

use std::ops::RangeInclusive;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;

use crate::i2c_chip::{absent, another, claims, within};
use crate::periodic::Periodic;
use crate::sensirion::{read_words, with_arguments};
use crate::{BusNeed, DriverError, DriverSpec, Proof, Role, Sensor};
use fieldgate_bus::seconds::Seconds;
use fieldgate_bus::sim::chips::ChipSpec;
use fieldgate_bus::{BusError, Delay};
use fieldgate_model::{Field, Kind, Measurement, Need, Quantity, Setting, Settings};

/// The driver's line in [`DRIVERS`](crate::DRIVERS).
pub static SPEC: DriverSpec = DriverSpec {
    name: "scd30",
    summary: "Sensirion SCD30: CO₂, temperature and humidity over I²C",
    page: "\
Wiring: SDA, SCL, 3.3 to 5.5 V, ground; SEL open. The address is 0x61.

co2          400 to 10000 ppm, ±(30 ppm + 3 %)
temperature  −40 to 70 °C, ±0.4 °C
humidity     0 to 100 %, ±3 %

The module measures by itself, every interval seconds. Asked more often, it
has nothing new: such ticks are skipped. The first result comes one interval
after the start.

It stretches the clock, by 30 ms and once a day by 150 ms, which the hardware
I²C of the Raspberry Pi up to the 4 misreads. On those use a software bus
(dtoverlay=i2c-gpio), or slow the bus down to 10 kHz
(dtparam=i2c_arm_baudrate=10000). Damaged answers are dropped by checksum.

With self calibration it takes the lowest CO₂ of some days for fresh air. CO₂
depends on the air pressure: give the altitude or, better, the pressure. The
module keeps what is set, but for the pressure, when it is switched off.",
    bus: BusNeed::I2c,
    settings: &[
        Field { name: "address", kind: Kind::Address(&[0x61]), need: Need::Default("0x61"), doc: "always 0x61" },
        Field {
            name: "interval",
            kind: Kind::Integer { min: 2, max: 1800 },
            need: Need::Default("2"),
            doc: "how often the module measures, in seconds; the slower, the less current",
        },
        Field {
            name: "temperature_offset",
            kind: Kind::Number { min: 0.0, max: 50.0 },
            need: Need::Optional,
            doc: "how much warmer than the air the module is, in °C; left out, as the module has it, 0 from the factory",
        },
        Field {
            name: "altitude",
            kind: Kind::Integer { min: 0, max: 10_000 },
            need: Need::Optional,
            doc: "the height above sea level in metres, for the air pressure; left out, as the module has it, 0 from the factory",
        },
        Field {
            name: "pressure",
            kind: Kind::Integer { min: 700, max: 1400 },
            need: Need::Optional,
            doc: "the air pressure in hPa, as at the sensor; given, the altitude does not count",
        },
        Field {
            name: "self_calibration",
            kind: Kind::Flag,
            need: Need::Optional,
            doc: "whether the lowest CO₂ of some days is taken for fresh air; left out, as the module has it",
        },
    ],
    claims,
    wrong: |_| None,
    role: Role::Sensor {
        measurements: |_| vec![CO2, TEMPERATURE, HUMIDITY],
        default_every: None,
        build: |bus, settings| {
            let seconds = bus.seconds()?;
            Ok(Box::new(Scd30::start(bus.i2c()?, Delay, seconds, settings)?))
        },
    },
    example: "\
room:
  driver: scd30
  bus: i2c-1
  every: 10s
  settings: { altitude: 520 }",
    identity: None,
    chip: Some(ChipSpec::of(|| Box::new(sim::Scd30::default()))),
    proofs: &[
        Proof::Reference("adafruit-circuitpython-scd30 2.3.0"),
        Proof::Kernel("scd30"),
        Proof::Datasheet("SCD30 interface description version 1.0, 1.4.5"),
    ],
};

const CO2: Quantity = Quantity::new("co2", "ppm", 0);
const TEMPERATURE: Quantity = Quantity::new("temperature", "°C", 2);
const HUMIDITY: Quantity = Quantity::new("humidity", "%", 1);

/// The module says 0 until it has measured; 40000 is the most that it says (datasheet, table 1).
const PPM: RangeInclusive<f64> = 1.0..=40_000.0;
const CELSIUS: RangeInclusive<f64> = -40.0..=70.0;
const PERCENT: RangeInclusive<f64> = 0.0..=100.0;

// Commands (1.4).
const START: u16 = 0x0010;
const INTERVAL: u16 = 0x4600;
const DATA_READY: u16 = 0x0202;
const READ_MEASUREMENT: u16 = 0x0300;
const SELF_CALIBRATION: u16 = 0x5306;
const TEMPERATURE_OFFSET: u16 = 0x5403;
const ALTITUDE: u16 = 0x5102;
const FIRMWARE: u16 = 0xD100;

/// From a question to its answer (1.4.4).
const ANSWER_US: u32 = 3000;
/// After a setting: longer than the module takes to keep it, which the documents do not say.
const SETTLE_US: u32 = 20_000;

struct Scd30<I, D> {
    i2c: I,
    delay: D,
    address: u8,
    rhythm: Periodic,
}

impl<I: I2c<Error = BusError>, D: DelayNs> Scd30<I, D> {
    fn start(i2c: I, delay: D, seconds: Box<dyn Seconds>, settings: &Settings) -> Result<Self, DriverError> {
        let interval = settings.integer("interval").unsigned_abs();
        let address = settings.address("address");
        let mut chip = Self { i2c, delay, address, rhythm: Periodic::new("SCD30", address, seconds, interval) };
        chip.identify()?;
        for (command, word) in words(settings) {
            if chip.ask::<1>(command, "a setting")? != [word] {
                chip.set(command, word)?;
            }
        }
        chip.set(START, word(settings.get("pressure")).unwrap_or(0))?;
        chip.rhythm.begin();
        Ok(chip)
    }

    /// The firmware's version has a checksum; none is below 1 (1.4.9).
    fn identify(&mut self) -> Result<(), DriverError> {
        self.i2c.write(self.address, &FIRMWARE.to_be_bytes()).map_err(absent("SCD30"))?;
        self.delay.delay_us(ANSWER_US);
        match read_words::<1>(&mut self.i2c, self.address, "the firmware's version")? {
            [0..=0x00FF | 0xFFFF] => Err(another("SCD30", self.address, "it has no firmware's version".to_owned())),
            _ => Ok(()),
        }
    }

    fn ask<const N: usize>(&mut self, command: u16, what: &'static str) -> Result<[u16; N], DriverError> {
        self.i2c.write(self.address, &command.to_be_bytes())?;
        self.delay.delay_us(ANSWER_US);
        read_words(&mut self.i2c, self.address, what)
    }

    fn set(&mut self, command: u16, word: u16) -> Result<(), BusError> {
        self.i2c.write(self.address, &with_arguments(command, &[word]))?;
        self.delay.delay_us(SETTLE_US);
        Ok(())
    }
}

/// What the module keeps: command and word (1.4.3, 1.4.6 to 1.4.8).
fn words(settings: &Settings) -> Vec<(u16, u16)> {
    let all = [
        ("interval", INTERVAL),
        ("temperature_offset", TEMPERATURE_OFFSET),
        ("altitude", ALTITUDE),
        ("self_calibration", SELF_CALIBRATION),
    ];
    all.into_iter().filter_map(|(name, command)| Some((command, word(settings.get(name))?))).collect()
}

/// A setting as the module has it: temperatures in 0.01 °C.
fn word(setting: Option<&Setting>) -> Option<u16> {
    match setting? {
        Setting::Integer(value) => u16::try_from(*value).ok(),
        Setting::Number(celsius) => Some((celsius * 100.0).round() as u16),
        Setting::Flag(flag) => Some(u16::from(*flag)),
        _ => None,
    }
}

impl<I: I2c<Error = BusError>, D: DelayNs> Sensor for Scd30<I, D> {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        self.rhythm.pass();
        if self.ask::<1>(DATA_READY, "the status")? != [1] {
            return Err(self.rhythm.nothing_new("the SCD30 measures once in its interval"));
        }
        let words = self.ask::<6>(READ_MEASUREMENT, "the measurement")?;
        self.rhythm.heard();
        let [co2, temperature, humidity] = [0, 2, 4].map(|at| float(words[at], words[at + 1]));
        let co2 = within("co2", co2, &PPM)?;
        let temperature = within("temperature", temperature, &CELSIUS)?;
        let humidity = within("humidity", humidity, &PERCENT)?;
        Ok(vec![CO2.measured(co2), TEMPERATURE.measured(temperature), HUMIDITY.measured(humidity)])
    }
}

/// IEEE 754, the high word first (1.4.5).
fn float(high: u16, low: u16) -> f64 {
    f64::from(f32::from_bits(u32::from(high) << 16 | u32::from(low)))
}

#[cfg(test)]
mod tests;
