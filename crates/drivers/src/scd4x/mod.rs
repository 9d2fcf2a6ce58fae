//! scd4x: Sensirion SCD40, SCD41 and SCD43, for carbon dioxide, temperature and humidity.
//!
//! Datasheet: SCD4x, version 1.7; commands below are called as it calls them.
//! The accuracies apply while the chip warms itself as the temperature offset says.
//!
//! The chip measures by itself, every 5 or 30 seconds, and goes on when the program ends. While it does it takes no settings,
//! so the start stops it first. What was set here is kept in its RAM only: its EEPROM bears 2000 writes, and the start brings
//! back what is in there before it sets what the configuration says.
//!
//! A chip that lost its supply is idle and never has a result; after three intervals it is started again.

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
    name: "scd4x",
    summary: "Sensirion SCD40, SCD41, SCD43: CO₂, temperature and humidity over I²C",
    page: "\
Wiring: SDA, SCL, 2.4 to 5.5 V, ground. The address is 0x62. The chip draws
up to 205 mA for a moment: a weak supply makes it start again.

co2          400 to 2000 ppm, SCD41 and SCD43 to 5000 ppm; ±(50 ppm + 5 %)
temperature  −10 to 60 °C, ±0.8 °C
humidity     0 to 100 %, ±6 %

The chip measures by itself, every 5 s or, with interval: 30s, every 30 s with
a fifth of the current. Asked more often, it has nothing new: such ticks are
skipped. The first result comes one interval after the start.

With automatic self calibration it takes the lowest CO₂ of some days for
fresh air: switch that off where the air is never fresh. It warms itself;
temperature_offset, 4 °C unless it is set, is taken off. CO₂ depends on the
air pressure: give the altitude or, better, the pressure. All of it is set
at each start and never written to the chip's EEPROM.",
    bus: BusNeed::I2c,
    settings: &[
        Field { name: "address", kind: Kind::Address(&[0x62]), need: Need::Default("0x62"), doc: "always 0x62" },
        Field {
            name: "interval",
            kind: Kind::Choice(&["5s", "30s"]),
            need: Need::Default("5s"),
            doc: "how often the chip measures; every 30 s it needs a fifth of the current",
        },
        Field {
            name: "temperature_offset",
            kind: Kind::Number { min: 0.0, max: 20.0 },
            need: Need::Optional,
            doc: "how much warmer than the air the chip is, in °C; left out, as its EEPROM says, 4 °C from the factory",
        },
        Field {
            name: "altitude",
            kind: Kind::Integer { min: 0, max: 3000 },
            need: Need::Optional,
            doc: "the height above sea level in metres, for the air pressure; left out, as its EEPROM says, 0 from the factory",
        },
        Field {
            name: "pressure",
            kind: Kind::Integer { min: 700, max: 1200 },
            need: Need::Optional,
            doc: "the air pressure in hPa, as at the sensor; given, the altitude does not count",
        },
        Field {
            name: "self_calibration",
            kind: Kind::Flag,
            need: Need::Optional,
            doc: "whether the lowest CO₂ of some days is taken for fresh air; left out, as its EEPROM says, on from the factory",
        },
    ],
    claims,
    wrong: |_| None,
    role: Role::Sensor {
        measurements: |_| vec![CO2, TEMPERATURE, HUMIDITY],
        default_every: None,
        build: |bus, settings| {
            let seconds = bus.seconds()?;
            Ok(Box::new(Scd4x::start(bus.i2c()?, Delay, seconds, settings)?))
        },
    },
    example: "\
room:
  driver: scd4x
  bus: i2c-1
  every: 10s
  settings: { altitude: 520 }",
    identity: None,
    chip: Some(ChipSpec::of(|| Box::new(sim::Scd4x::default()))),
    proofs: &[
        Proof::Reference("adafruit-circuitpython-scd4x 1.4.13"),
        Proof::Kernel("scd4x"),
        Proof::Datasheet("SCD4x version 1.7, read_measurement"),
    ],
};

const CO2: Quantity = Quantity::new("co2", "ppm", 0);
const TEMPERATURE: Quantity = Quantity::new("temperature", "°C", 2);
const HUMIDITY: Quantity = Quantity::new("humidity", "%", 1);

/// The chip answers 0 where it could not measure; 40000 is the most that it says.
const PPM: RangeInclusive<f64> = 1.0..=40_000.0;
const CELSIUS: RangeInclusive<f64> = -10.0..=60.0;

// Commands (chapter 3).
const START: u16 = 0x21B1;
const START_LOW_POWER: u16 = 0x21AC;
const READ_MEASUREMENT: u16 = 0xEC05;
const STOP: u16 = 0x3F86;
const SET_TEMPERATURE_OFFSET: u16 = 0x241D;
const SET_ALTITUDE: u16 = 0x2427;
const SET_PRESSURE: u16 = 0xE000;
const SET_SELF_CALIBRATION: u16 = 0x2416;
const DATA_READY: u16 = 0xE4B8;
const SERIAL_NUMBER: u16 = 0x3682;
const VARIANT: u16 = 0x202F;
const REINIT: u16 = 0x3646;
const WAKE_UP: u16 = 0x36F6;

// How long a command takes (chapter 3).
const COMMAND_US: u32 = 1000;
const STOP_US: u32 = 500_000;
const REINIT_US: u32 = 30_000;
const WAKE_UP_US: u32 = 30_000;

/// There is a result if any of these bits is set (get_data_ready_status).
const READY: u16 = 0x07FF;

struct Scd4x<I, D> {
    i2c: I,
    delay: D,
    address: u8,
    rhythm: Periodic,
    /// How often there is something new.
    words: &'static str,
}

impl<I: I2c<Error = BusError>, D: DelayNs> Scd4x<I, D> {
    /// Stops the chip, which may still be measuring for a program before this one, sets what is to be set and starts it.
    fn start(i2c: I, delay: D, seconds: Box<dyn Seconds>, settings: &Settings) -> Result<Self, DriverError> {
        let (interval, start, words) = match settings.text("interval") {
            "30s" => (30, START_LOW_POWER, "the SCD4x measures every 30 s"),
            _ => (5, START, "the SCD4x measures every 5 s"),
        };
        let address = settings.address("address");
        let mut chip = Self { i2c, delay, address, rhythm: Periodic::new("SCD4x", address, seconds, interval), words };
        chip.stop()?;
        chip.identify()?;
        chip.command(REINIT, REINIT_US)?;
        for (command, word) in orders(settings) {
            chip.i2c.write(chip.address, &with_arguments(command, &[word]))?;
            chip.delay.delay_us(COMMAND_US);
        }
        chip.command(start, COMMAND_US)?;
        chip.rhythm.begin();
        Ok(chip)
    }

    /// A chip that was sent to sleep acknowledges nothing, the command that wakes it included.
    fn stop(&mut self) -> Result<(), DriverError> {
        match self.command(STOP, STOP_US) {
            Err(BusError::NoAcknowledge { .. }) => {
                self.command(WAKE_UP, WAKE_UP_US).or_else(unless_refused)?;
                self.command(STOP, STOP_US).map_err(absent("SCD4x"))
            }
            other => other.map_err(DriverError::Bus),
        }
    }

    /// The serial number has three checksums, which nothing else at this address gets right. Those made before the variant
    /// could be asked for do not acknowledge that.
    fn identify(&mut self) -> Result<(), DriverError> {
        self.ask::<3>(SERIAL_NUMBER, "the serial number")?;
        match self.ask::<1>(VARIANT, "the variant") {
            Ok([variant]) if !matches!(variant >> 12, 0 | 1 | 5) => {
                Err(another("SCD4x", self.address, format!("its variant is {variant:#06x}")))
            }
            Ok(_) | Err(DriverError::NotReady(_) | DriverError::Bus(BusError::NoAcknowledge { .. })) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn command(&mut self, command: u16, duration_us: u32) -> Result<(), BusError> {
        let written = self.i2c.write(self.address, &command.to_be_bytes());
        self.delay.delay_us(duration_us);
        written
    }

    fn ask<const N: usize>(&mut self, command: u16, what: &'static str) -> Result<[u16; N], DriverError> {
        self.command(command, COMMAND_US)?;
        read_words(&mut self.i2c, self.address, what)
    }
}

fn unless_refused(error: BusError) -> Result<(), BusError> {
    if matches!(error, BusError::NoAcknowledge { .. }) { Ok(()) } else { Err(error) }
}

/// What is set in the chip: command and word. The pressure comes last, for it wins over the altitude.
fn orders(settings: &Settings) -> Vec<(u16, u16)> {
    let word = |name, command| match settings.get(name)? {
        Setting::Integer(value) => u16::try_from(*value).ok().map(|word| (command, word)),
        Setting::Number(celsius) => Some((command, (celsius * 65_535.0 / 175.0).round() as u16)),
        Setting::Flag(flag) => Some((command, u16::from(*flag))),
        _ => None,
    };
    let all = [
        word("temperature_offset", SET_TEMPERATURE_OFFSET),
        word("altitude", SET_ALTITUDE),
        word("self_calibration", SET_SELF_CALIBRATION),
        word("pressure", SET_PRESSURE),
    ];
    all.into_iter().flatten().collect()
}

impl<I: I2c<Error = BusError>, D: DelayNs> Sensor for Scd4x<I, D> {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        self.rhythm.pass();
        let [status] = self.ask::<1>(DATA_READY, "the status")?;
        if status & READY == 0 {
            return Err(self.rhythm.nothing_new(self.words));
        }
        let [co2, temperature, humidity] = self.ask::<3>(READ_MEASUREMENT, "the measurement")?;
        self.rhythm.heard();
        let co2 = within("co2", f64::from(co2), &PPM)?;
        let temperature = within("temperature", celsius(temperature), &CELSIUS)?;
        Ok(vec![CO2.measured(co2), TEMPERATURE.measured(temperature), HUMIDITY.measured(percent(humidity))])
    }
}

/// As the section on read_measurement says, in °C.
fn celsius(word: u16) -> f64 {
    -45.0 + 175.0 * f64::from(word) / 65_535.0
}

/// As the section on read_measurement says, in percent of relative humidity.
fn percent(word: u16) -> f64 {
    100.0 * f64::from(word) / 65_535.0
}

#[cfg(test)]
mod tests;
