//! The only place that touches hardware.
//!
//! A [`Bus`] is opened on its worker's own thread and never leaves it, so none is `Send` and none is locked; what all threads share
//! is the store of signals ([`signals`]). Drivers ask it for what they need (an I²C handle, a line, a PWM channel, files of the
//! kernel) and get an error that names the thing and the remedy when this bus has no such thing.
//!
//! A kind of bus is a file or a folder with its [`BusSpec`] and one line in [`BUSES`], the table. What drivers may ask for is a
//! method of [`Bus`], and a variant of [`BusNeed`] by which drivers and kinds find together. What a device occupies, so that no second
//! one does, is a [`Claim`]; a kind that distinguishes its devices in a way of its own declares that beside its spec.
//!
//! The simulated bus in `sim/` offers all of it, so that every driver runs unchanged without hardware.

mod claim;
mod debounce;
mod edges;
mod error;
pub mod expander;
pub mod gpio;
pub mod header;
pub mod i2c;
mod i2c_chip;
pub mod led;
pub mod multiplexer;
pub mod pwm;
pub mod rppal;
pub mod seconds;
pub mod signals;
pub mod sim;
mod spec;
pub mod spi;
mod stored_bus;
pub mod survey;
pub mod sysfs;
pub mod uart;
mod upstream;
pub mod w1;

use std::cell::RefCell;
use std::fmt;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::time::Duration;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::{I2c, Operation};

use crate::seconds::{KernelSeconds, Seconds};
use crate::sim::chips::FindChip;

pub use claim::{Claim, ClaimKind};
pub use error::BusError;
pub use spec::{BENEATH, BusNeed, BusSpec, Device, Entry, Interrupt, Keys, Lines, Settings, Upstream};
pub use spi::{SpiChip, SpiRequest};
pub use uart::{SerialPort, UartRequest};
pub use upstream::Buses;

/// THE TABLE: every kind of bus, in the order in which the documents list them.
pub static BUSES: &[&BusSpec] = &[
    &i2c::SPEC,
    &gpio::SPEC,
    &pwm::SPEC,
    &spi::SPEC,
    &uart::SPEC,
    &w1::SPEC,
    &sim::SPEC,
    &multiplexer::TCA9548A,
    &multiplexer::PCA9548A,
    &multiplexer::TCA9546A,
    &multiplexer::PCA9546A,
    &expander::PCF8574,
    &expander::PCF8574A,
    &expander::MCP23008,
    &expander::MCP23017,
];

/// Those that `backend: rppal` drives in place of the kernel, each beside the kind of the same name in [`BUSES`].
pub static BY_RPPAL: &[&BusSpec] = &[&rppal::I2C, &rppal::GPIO, &rppal::PWM];

/// Opens a bus. Called on the worker's thread; `beneath` is the open bus that it sits on, if it sits on one, and `chips` finds
/// what drivers expect on a simulated one.
///
/// # Errors
/// [`BusError::Open`] and the like: report it to the user, try again with back-off (the device may appear later).
pub fn open(settings: &Settings, beneath: Option<&mut dyn Bus>, chips: FindChip) -> Result<Box<dyn Bus>, BusError> {
    let mut host = sysfs::HostBus::new();
    let beneath = match beneath {
        Some(beneath) => beneath,
        None => &mut host,
    };
    match settings {
        Settings::Entry(entry) => (entry.spec.open)(entry, beneath, chips),
        Settings::Host => Ok(Box::new(host)),
        Settings::Signals(signals) => Ok(Box::new(signals::SignalBus::new(signals.clone()))),
    }
}

/// What a bus offers to drivers. Each kind of bus overrides what it has.
pub trait Bus {
    /// What stands in errors: `i2c bus /dev/i2c-1`.
    fn describe(&self) -> String;

    /// A handle to the I²C adapter.
    fn i2c(&mut self) -> Result<SharedI2c, BusError> {
        Err(self.lacks("I²C"))
    }

    /// Claims a line as an input.
    fn input(&mut self, request: &InputRequest) -> Result<Box<dyn InputLine>, BusError> {
        Err(self.lacks(&format!("the GPIO line {}", request.line)))
    }

    /// Claims a line as an output and drives it to `request.active` at once, without a glitch.
    fn output(&mut self, request: &OutputRequest) -> Result<Box<dyn OutputLine>, BusError> {
        Err(self.lacks(&format!("the GPIO line {}", request.line)))
    }

    /// Claims a PWM channel.
    fn pwm(&mut self, request: &PwmRequest) -> Result<Box<dyn PwmChannel>, BusError> {
        Err(self.lacks(&format!("PWM {}", request.place)))
    }

    /// Claims the chip on an SPI bus, which is spoken to as it requests.
    fn spi(&mut self, _request: &SpiRequest) -> Result<SpiChip, BusError> {
        Err(self.lacks("SPI"))
    }

    /// Claims a serial port.
    fn uart(&mut self, _request: &UartRequest) -> Result<Box<dyn SerialPort>, BusError> {
        Err(self.lacks("serial port"))
    }

    /// The kernel's files: those of this machine, whatever bus the driver was given a place on.
    fn files(&mut self) -> Result<Rc<dyn Files>, BusError> {
        sysfs::HostBus::new().files()
    }

    /// The newest samples of other sensors.
    fn signals(&mut self) -> Result<signals::Signals, BusError> {
        Err(self.lacks("samples of other sensors"))
    }

    /// Counts seconds from now on, for a driver that cannot do without: a bus in a test has its own.
    fn seconds(&mut self) -> Result<Box<dyn Seconds>, BusError> {
        Ok(Box::new(KernelSeconds::start()?))
    }

    /// Announces which driver is about to be built on which addresses and lines, so that a simulated bus can put the chip
    /// there. Real buses ignore it.
    fn expect(&mut self, _driver: &'static str, _claims: &[Claim]) {}

    /// Announces which lines are inputs, before the first output is claimed: a chip without directions must not drive them.
    /// Buses that know directions ignore it.
    fn spare_inputs(&mut self, _lines: &[String]) {}

    /// Takes over what was changed from outside, and says how soon to look again; `None` where lines report by
    /// descriptors of their own. Called at every wake-up while there is a [`Bus::descriptor`].
    ///
    /// # Errors
    /// The bus is not what it was: let go of everything built on it, and open it again.
    fn refresh(&mut self) -> Result<Option<Duration>, BusError> {
        Ok(None)
    }

    /// Becomes readable when [`Bus::refresh`] has something to take over.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Where the chips of a simulated bus are put; real buses have none.
    fn chip_sockets(&self) -> Option<sim::ChipSockets> {
        None
    }

    /// The error for what this bus has not.
    fn lacks(&self, what: &str) -> BusError {
        BusError::Unsupported { bus: self.describe(), what: what.to_owned() }
    }
}

/// Pull of an input line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bias {
    /// As the board or its device tree left it.
    AsIs,
    /// Pulled to the supply.
    PullUp,
    /// Pulled to ground.
    PullDown,
    /// No resistor: the line floats.
    Disabled,
}

/// How to claim an input line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputRequest {
    /// The line's name (`GPIO17`) or its number on the chip.
    pub line: String,
    /// Active when the level is low.
    pub active_low: bool,
    /// The resistor that pulls the line while nothing drives it.
    pub bias: Bias,
    /// Shorter changes are not reported; zero reports all.
    pub debounce: Duration,
}

/// How to claim an output line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputRequest {
    /// The line's name (`GPIO27`) or its number on the chip.
    pub line: String,
    /// Active drives the level low.
    pub active_low: bool,
    /// What it does from the first moment.
    pub active: bool,
}

/// How to claim a PWM channel.
#[derive(Clone, Debug, PartialEq)]
pub struct PwmRequest {
    /// Where it comes out.
    pub place: PwmPlace,
    /// Length of one period.
    pub period: Duration,
    /// What it does from the first moment, 0 to 100.
    pub percent: f64,
    /// Swaps the active and the idle part of the period.
    pub inverted: bool,
}

/// Where PWM comes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PwmPlace {
    /// A channel of a PWM chip: hardware makes it.
    Channel(u32),
    /// A GPIO line: software makes it.
    Line(String),
}

impl fmt::Display for PwmPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Channel(channel) => write!(f, "channel {channel}"),
            Self::Line(line) => write!(f, "on line {line}"),
        }
    }
}

/// Periods a second that software PWM can do. Slower, and a change would have to wait for the end of a period; faster, and it
/// would do nothing but wait: at each change of the level it keeps the processor busy for 0.2 ms.
pub const SOFTWARE_HZ: (f64, f64) = (1.0, 1000.0);

/// A change of an input line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Whether the line became active.
    pub active: bool,
    /// When, by the kernel's `CLOCK_MONOTONIC`; `None` where the source has no timestamp, then "now" is meant.
    pub at: Option<Duration>,
    /// Changes in front of this one that were dropped because nobody took them in time.
    pub missed: u32,
}

/// A claimed input line. Dropping it releases the line.
pub trait InputLine {
    /// Whether the line is active now.
    fn is_active(&mut self) -> Result<bool, BusError>;
    /// Changes since the last call, oldest first. Never blocks.
    fn take_edges(&mut self) -> Result<Vec<Edge>, BusError>;
    /// Becomes readable when changes wait; `None` for a line that [`Bus::refresh`] brings up to date.
    fn descriptor(&self) -> Option<BorrowedFd<'_>>;
    /// The present on the clock of [`Edge::at`].
    fn now(&self) -> Duration {
        fieldgate_clock::monotonic()
    }
    /// All changes before this time are among those that the next [`InputLine::take_edges`] returns, but for what the kernel has
    /// stamped and not handed out yet, which takes it some milliseconds at most. It lies behind the present where changes bear
    /// the time of an interrupt that [`Bus::refresh`] has not asked for yet.
    fn complete_until(&self) -> Duration {
        self.now()
    }
}

/// A claimed output line. Dropping it releases the line.
pub trait OutputLine {
    /// Drives the line.
    fn set(&mut self, active: bool) -> Result<(), BusError>;
    /// What the line does, read back.
    fn is_active(&mut self) -> Result<bool, BusError>;
}

/// A claimed PWM channel.
pub trait PwmChannel {
    /// Sets the active part of the period, 0 to 100 percent.
    fn set(&mut self, percent: f64) -> Result<(), BusError>;
    /// What the channel does, read back.
    fn percent(&mut self) -> Result<f64, BusError>;
}

/// Files of sysfs and procfs, read whole.
pub trait Files {
    /// The trimmed content of a small file.
    fn read(&self, path: &str) -> Result<String, BusError>;
    /// The names in a folder, sorted; empty when it does not exist.
    fn list(&self, path: &str) -> Result<Vec<String>, BusError>;
    /// Used part of the file system that holds `path`, 0 to 100.
    fn disk_used(&self, path: &str) -> Result<f64, BusError>;
}

/// One I²C adapter, shared by the drivers of its thread.
#[derive(Clone)]
pub struct SharedI2c {
    adapter: Rc<RefCell<dyn I2c<Error = BusError>>>,
    /// What the multiplexers on it have open, shared by all who reach chips behind them.
    multiplexers: Rc<RefCell<multiplexer::Multiplexers>>,
}

impl SharedI2c {
    /// Shares an adapter.
    pub fn new(adapter: impl I2c<Error = BusError> + 'static) -> Self {
        Self { adapter: Rc::new(RefCell::new(adapter)), multiplexers: Rc::default() }
    }
}

impl fmt::Debug for SharedI2c {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedI2c")
    }
}

impl embedded_hal::i2c::ErrorType for SharedI2c {
    type Error = BusError;
}

impl I2c for SharedI2c {
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), BusError> {
        self.adapter.borrow_mut().transaction(address, operations)
    }
}

/// Waits on the worker's own thread, for conversions of a few milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Delay;

impl DelayNs for Delay {
    #[expect(clippy::disallowed_methods, reason = "a bus thread may wait for its own chip")]
    fn delay_ns(&mut self, ns: u32) {
        std::thread::sleep(Duration::from_nanos(u64::from(ns)));
    }
}
