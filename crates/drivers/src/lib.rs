//! Sensors and outputs: [`Sensor`], [`Actuator`], [`DriverSpec`] and [`DRIVERS`], the table.
//!
//! A new driver is one new folder and one line in the table; the files beside the folders are what several drivers share.
//! A driver knows its chip and nothing else: not topics, not the configuration file, and not the time (but for `formula`, which must know
//! how old a value is, and `waveform`). It is built on its bus's thread and stays there.
//!
//! Wiring, addresses, range and accuracy of a chip stand in its `page`, which users read as well; the comment at the head of its
//! driver says which datasheet the code follows, and what only the code must know.

pub mod ads1115;
pub mod adxl345;
pub mod aht20;
pub mod bh1750;
pub mod bme280;
pub mod bme680;
pub mod board;
pub mod ccs811;
mod checksum;
pub mod dht;
pub mod ds18b20;
mod each_second;
pub mod formula;
pub mod gpio_cover;
pub mod gpio_input;
pub mod gpio_output;
pub mod gpio_pulse;
pub mod hts221;
pub mod hx711;
mod i2c_chip;
pub mod ina219;
pub mod ina226;
pub mod kernel_channels;
pub mod likely;
pub mod linux_hwmon;
pub mod linux_iio;
pub mod mcp3008;
pub mod mcp9808;
pub mod mh_z19;
pub mod mpu6050;
pub mod partly;
pub mod pca9685;
pub mod pca9685_servo;
mod periodic;
pub mod pms5003;
pub mod pulse_counter;
pub mod pwm_output;
pub mod pwm_servo;
pub mod scd30;
pub mod scd4x;
mod sensirion;
mod servo;
pub mod sgp30;
pub mod sgp40;
pub mod sht3x;
pub mod sht4x;
pub mod shtc3;
pub mod si7021;
mod simulated;
pub mod tmp102;
pub mod tmp117;
#[cfg(test)]
mod transcript;
pub mod tsl2591;
pub mod usual_names;
pub mod veml7700;
pub mod vl53l0x;
pub mod waveform;

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::partly::Partly;
pub use fieldgate_bus::BusNeed;
use fieldgate_bus::sim::chips::ChipSpec;
use fieldgate_bus::{Bus, BusError, Claim};
use fieldgate_model::{Count, Field, Measurement, OutputKind, OutputValue, Pace, Quantity, Settings, Wrong};

/// Every driver, in the order of `fieldgate drivers`.
pub static DRIVERS: &[&DriverSpec] = &[
    &bme280::BME280,
    &bme280::BMP280,
    &bme680::BME680,
    &bme680::BME688,
    &sht3x::SPEC,
    &sht4x::SPEC,
    &shtc3::SPEC,
    &si7021::SI7021,
    &si7021::HTU21,
    &aht20::SPEC,
    &hts221::SPEC,
    &tmp102::TMP102,
    &tmp102::LM75,
    &tmp117::SPEC,
    &mcp9808::SPEC,
    &scd4x::SPEC,
    &scd30::SPEC,
    &sgp30::SPEC,
    &sgp40::SPEC,
    &ccs811::SPEC,
    &bh1750::SPEC,
    &veml7700::SPEC,
    &tsl2591::SPEC,
    &ads1115::ADS1115,
    &ads1115::ADS1015,
    &ina219::SPEC,
    &ina226::SPEC,
    &mpu6050::SPEC,
    &adxl345::SPEC,
    &dht::DHT22,
    &dht::DHT11,
    &hx711::SPEC,
    &ds18b20::SPEC,
    &mh_z19::SPEC,
    &vl53l0x::SPEC,
    &pms5003::SPEC,
    &mcp3008::MCP3008,
    &mcp3008::MCP3004,
    &gpio_input::SPEC,
    &pulse_counter::SPEC,
    &linux_hwmon::SPEC,
    &linux_iio::SPEC,
    &board::SPEC,
    &formula::SPEC,
    &waveform::SPEC,
    &gpio_output::SPEC,
    &gpio_pulse::SPEC,
    &gpio_cover::SPEC,
    &pwm_output::SPEC,
    &pwm_servo::SPEC,
    &pca9685::SPEC,
    &pca9685_servo::SPEC,
];

/// The driver of that name.
pub fn find(name: &str) -> Option<&'static DriverSpec> {
    DRIVERS.iter().copied().find(|spec| spec.name == name)
}

/// The simulated chip that the driver of that name expects: what a simulated bus is opened with.
pub fn chip(driver: &str) -> Option<ChipSpec> {
    find(driver)?.chip
}

/// Everything the rest of the program knows about a driver.
#[derive(Debug)]
pub struct DriverSpec {
    /// As in `driver:`.
    pub name: &'static str,
    /// One line for the table.
    pub summary: &'static str,
    /// The page of `fieldgate drivers NAME` below the summary: wiring, accuracy, quirks. Plain text, 78 columns.
    pub page: &'static str,
    /// Which bus it sits on.
    pub bus: BusNeed,
    /// The keys under `settings:`.
    pub settings: &'static [Field],
    /// What it occupies, so that two devices on one address or line are found before they run.
    pub claims: fn(&Settings) -> Vec<Claim>,
    /// What is wrong with settings that are right one by one, and the key to mark. Texts of control characters stand for values that
    /// could not be read.
    pub wrong: fn(&Settings) -> Option<(&'static str, Wrong)>,
    /// Whether it is a sensor's or an output's, and how it is built.
    pub role: Role,
    /// A whole entry under `sensors:` or `actuators:` that passes the check, or several, the usual one first; its bus is called
    /// after its kind (`i2c-1`, `header`, `pwm-0`, `spi-0`, `serial`, `wire`). Begins with the device's name.
    pub example: &'static str,
    /// How `fieldgate scan` distinguishes the chip from others at the same address; `None` where nothing does.
    pub identity: Option<Identity>,
    /// What stands in for its chip on a simulated bus; `None` where lines, channels or files of the kernel are all it needs.
    pub chip: Option<ChipSpec>,
    /// What agrees with it that was not written here. None of it: the page of the driver calls it untested.
    pub proofs: &'static [Proof],
}

impl DriverSpec {
    /// What it measures with these settings; nothing if it is an output.
    pub fn measured(&self, settings: &Settings) -> Vec<Quantity> {
        match self.role {
            Role::Sensor { measurements, .. } => measurements(settings),
            Role::Actuator { .. } => Vec::new(),
        }
    }

    /// The GPIO lines that it uses with these settings.
    pub fn lines(&self, settings: &Settings) -> impl Iterator<Item = String> + use<> {
        (self.claims)(settings).into_iter().filter_map(|claim| claim.line().map(str::to_owned))
    }
}

/// A question to an I²C chip that changes nothing in any chip known at the driver's addresses, and its answer.
///
/// The write selects a register or asks for an id. Where another chip at one of the addresses takes the same bytes for an
/// order (an expander drives its pins with whatever it is sent), the driver has no identity.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// What is written before the repeated start.
    pub ask: &'static [u8],
    /// How many bytes are read.
    pub length: usize,
    /// Whether these bytes are this chip's.
    pub is: fn(&[u8]) -> bool,
    /// What is asked next, where this answer is that of several chips; asked only of a chip that gave it.
    pub then: Option<&'static Identity>,
}

/// Something not written here that was verified against a driver and agrees with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A driver that people use today, run on the same simulated registers (`tests/proof/`): package and version.
    Reference(&'static str),
    /// Worked numbers in the manufacturer's document, in the driver's own tests: document and section.
    Datasheet(&'static str),
    /// A chip that QEMU emulates, read on the emulated board (`tests/board/`): which.
    Qemu(&'static str),
    /// The kernel's own driver of the same chip or line, on the emulated board: which.
    Kernel(&'static str),
    /// There is no hardware behind it.
    NoHardware,
}

/// Makes a sensor out of its bus and settings.
pub type BuildSensor = fn(&mut dyn Bus, &Settings) -> Result<Box<dyn Sensor>, DriverError>;

/// Makes an output that does the given value from the first moment.
pub type BuildActuator = fn(&mut dyn Bus, &Settings, OutputValue) -> Result<Box<dyn Actuator>, DriverError>;

/// Whether a driver is a sensor's or an output's, and how it is built.
#[derive(Debug)]
pub enum Role {
    /// A driver for entries under `sensors:`.
    Sensor {
        /// What it measures with these settings.
        measurements: fn(&Settings) -> Vec<Quantity>,
        /// `every` when it is left out; `None` makes it required.
        default_every: Option<Duration>,
        /// Claims what it needs and brings the chip up. Called again after failures.
        build: BuildSensor,
    },
    /// A driver for entries under `actuators:`.
    Actuator {
        /// What it can do with these settings, which may be none where they were wrong.
        kind: fn(&Settings) -> OutputKind,
        /// How it gets from one value to another.
        pace: fn(&Settings) -> Pace,
        /// Claims what it needs and drives the output to the given value at once.
        build: BuildActuator,
    },
}

/// A device that is read.
pub trait Sensor {
    /// Takes one sample. Blocks for the conversion at most.
    ///
    /// # Errors
    /// [`DriverError`]; the worker counts it, marks the sensor and tries again.
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError>;

    /// For an event-driven sensor, what happened since the last call. Never blocks.
    ///
    /// # Errors
    /// As [`Sensor::sample`].
    fn take_events(&mut self) -> Result<Vec<Event>, DriverError> {
        Ok(Vec::new())
    }

    /// Whether [`Sensor::take_events`] may have something; who has one says so. Without a descriptor it is asked after each
    /// [`Bus::refresh`].
    fn is_event_driven(&self) -> bool {
        false
    }

    /// For a sensor whose count outlives the program: it counts into `count` from now on, and says `true`. The worker sees to
    /// it that the count goes on where earlier runs left it, and that it is on disk before it is published.
    fn count_into(&mut self, _count: &Arc<Count>) -> bool {
        false
    }

    /// Becomes readable when [`Sensor::take_events`] has something.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// How soon [`Sensor::take_events`] has something although nothing is heard of it before; `None` for never. Asked after each
    /// sample and each time that events were taken.
    fn due_in(&self) -> Option<Duration> {
        None
    }
}

/// Something that an event-driven sensor noticed.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When, by the kernel's `CLOCK_MONOTONIC`; `None` means now.
    pub at: Option<Duration>,
    /// What it means.
    pub measurements: Vec<Measurement>,
}

/// A device that is driven.
pub trait Actuator {
    /// Makes the output do `value`, which is of the driver's [`OutputKind`], at once.
    ///
    /// # Errors
    /// [`DriverError`]: the output may be in any state; the caller tries the safe state.
    fn apply(&mut self, value: OutputValue) -> Result<(), DriverError>;

    /// What the output does, read back from the hardware, or `None` where that cannot be read.
    ///
    /// # Errors
    /// As [`Actuator::apply`].
    fn read_back(&mut self) -> Result<Option<OutputValue>, DriverError>;
}

/// Why a driver could not do its work. It is tried again at the next period; all but what came too early is counted as a failure,
/// and one that was slow gives its bus a rest.
#[derive(Debug, Error)]
pub enum DriverError {
    /// The chip is not there, or another chip is. Check wiring and address.
    #[error("no {chip} at {place}: {why}")]
    NoDevice {
        /// Which chip was expected.
        chip: &'static str,
        /// Where it was looked for, such as `address 0x76`.
        place: String,
        /// What answered instead, in words.
        why: String,
    },
    /// The bus failed; [`BusError`] says what to do.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// What arrived was damaged on the way. Dropped; the next sample may be good.
    #[error("bad checksum: computed {computed:#04x}, received {received:#04x}")]
    BadChecksum {
        /// The checksum of what arrived.
        computed: u8,
        /// The checksum that the chip sent with it.
        received: u8,
    },
    /// The chip has no result yet. The next sample may be good.
    #[error("{0} is not ready")]
    NotReady(&'static str),
    /// Nothing is wrong, and there is no value yet: the chip warms up, or measures by itself and has no new result. The
    /// device is kept as it is, however often it says so; its driver must end it, with another error, after the time that
    /// the data sheet gives.
    #[error("it is too early: {0}")]
    TooEarly(&'static str),
    /// The value cannot be true for this chip (power-on pattern, open wire). Dropped.
    #[error("{quantity} of {} is outside what the sensor can measure", (.value * 1e6).round() / 1e6)]
    OutOfRange {
        /// The name of the measurement, such as `temperature`.
        quantity: &'static str,
        /// The value in the measurement's unit.
        value: f64,
    },
    /// Some of the channels failed, and the others did not. These are published; the sensor is degraded.
    #[error("{0}")]
    Partly(Partly),
    /// The driver computed what is not a number: a defect, or registers that no chip has. Dropped.
    #[error("{quantity} is not a finite number")]
    NotFinite {
        /// The name of the measurement.
        quantity: String,
    },
    /// The value is of another kind than the output: a defect, which moves nothing.
    #[error("this output cannot be set to {0}")]
    Foreign(OutputValue),
    /// The hardware accepted the value and does something else. Drive it again.
    #[error("it reads {read} although it was set to {driven}")]
    DoesNotFollow {
        /// What it was set to.
        driven: OutputValue,
        /// What the hardware was read back to do.
        read: OutputValue,
    },
    /// A relay that must be off before another may be on. Neither is on now, as far as that could be done; drive it again.
    #[error("line {line} reads on although it is driven off")]
    StaysOn {
        /// The name or number of the relay's GPIO line.
        line: String,
    },
    /// Two relays that must never be on together read on. They were driven off; drive the output again.
    #[error("lines {0} and {1} read on together, and were driven off")]
    BothOn(String, String),
    /// What it is computed from is not known, or has no result. The next sample of others may bring it.
    #[error("{0}")]
    Unknown(String),
    /// The driver itself failed: a defect. It is built again.
    #[error("the driver panicked: {0}")]
    Panicked(String),
}

impl DriverError {
    /// Whether the device as built may succeed at the next attempt; otherwise it is built again.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::BadChecksum { .. }
            | Self::NotReady(_)
            | Self::TooEarly(_)
            | Self::OutOfRange { .. }
            | Self::NotFinite { .. }
            | Self::Foreign(_)
            | Self::DoesNotFollow { .. }
            | Self::StaysOn { .. }
            | Self::BothOn(..)
            | Self::Unknown(_) => true,
            Self::Bus(BusError::Io { .. } | BusError::Wires { .. } | BusError::Format { .. }) => true,
            Self::Partly(partly) => partly.left_out.iter().all(|(_, error)| error.is_transient()),
            Self::NoDevice { .. } | Self::Bus(_) | Self::Panicked(_) => false,
        }
    }
}
