//! An I²C adapter of Linux, by its character device `/dev/i2c-N`.
//!
//! Promises: a transaction is one `I2C_RDWR` call, so that a write followed by a read has a repeated start between them
//! and nobody else's transfer slips in; the kernel's error number is kept; an address that a kernel driver has bound is
//! refused instead of shared, for two masters of one chip read each other's answers.
//!
//! It does not retry: a driver knows whether its chip bears a repeated command, and the worker samples again anyway.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use embedded_hal::i2c::{ErrorType, I2c, Operation};
use linux_embedded_hal::I2cdev;
use linux_embedded_hal::i2cdev::core::I2CDevice as _;
use linux_embedded_hal::i2cdev::linux::LinuxI2CError;
use rustix::io::Errno;

use crate::error::copy_of;
use crate::{Bus, BusError, BusNeed, BusSpec, Device, Settings, SharedI2c};
use fieldgate_model::{Field, Kind, Need, Setting};

/// A bus of type `i2c`.
pub static SPEC: BusSpec = BusSpec {
    name: "i2c",
    page: "\
on a Raspberry Pi `dtparam=i2c_arm=on` in config.txt makes `/dev/i2c-1`; the user has to be in the group `i2c`. An
  address that a driver of the kernel has bound is refused; read such a chip with `linux-hwmon` or `linux-iio`.",
    fields: DEVICE,
    example: "i2c-1: { type: i2c, device: /dev/i2c-1 }",
    offers: &[BusNeed::I2c],
    switched_on_by: "dtparam=i2c_arm=on",
    module: "i2c-dev",
    hardware_at: |file| Some(Path::new("/sys/bus/i2c/devices").join(file.file_name()?)),
    device: |entry| Some(Device::File(entry.keys.text("device").into())),
    open: |entry, _, _| Ok(Box::new(LinuxI2c::open(Path::new(entry.keys.text("device")))?)),
    ..BusSpec::USUAL
};

/// The keys of an adapter, whatever drives it.
pub(crate) const DEVICE: &[Field] = &[Field {
    name: "device",
    kind: Kind::Path,
    need: Need::Required,
    doc: "the adapter's character device, such as /dev/i2c-1",
}];

/// The adapter with this device, as an entry under `buses:` would name it.
pub fn at(device: &Path) -> Settings {
    SPEC.wired([("device", Setting::Text(device.to_string_lossy().into_owned()))])
}

/// One I²C adapter.
pub struct LinuxI2c {
    device: PathBuf,
    adapter: SharedI2c,
}

impl LinuxI2c {
    /// Opens the adapter; no chip is spoken to.
    ///
    /// # Errors
    /// [`BusError::Open`] with what to do about it.
    pub fn open(device: &Path) -> Result<Self, BusError> {
        // Kept by nobody: it only shows now, not at the first chip, that the device is there and may be opened.
        open_device(device)?;
        let adapter = SharedI2c::new(Adapter { device: device.to_owned(), chips: BTreeMap::new() });
        Ok(Self { device: device.to_owned(), adapter })
    }
}

/// What an address says to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// A chip acknowledges the address.
    Answers,
    /// Nothing acknowledges the address.
    Silent,
    /// A driver of the kernel has bound it; it was not asked.
    Bound,
    /// The adapter cannot put this question.
    CannotAsk,
}

impl LinuxI2c {
    /// Asks whether somebody is at `address`: by reading one byte, or by writing none.
    ///
    /// # Errors
    /// [`BusError`] for what is neither an acknowledgement nor its absence.
    pub fn probe(&mut self, address: u8, by_reading: bool) -> Result<Presence, BusError> {
        let mut chip = open_device(&self.device)?;
        if let Err(error) = chip.set_slave_address(u16::from(address)) {
            let source = io::Error::from(error);
            return match Errno::from_io_error(&source) {
                Some(Errno::BUSY) => Ok(Presence::Bound),
                _ => Err(refused(&self.device, address, source)),
            };
        }
        let asked = if by_reading { chip.smbus_read_byte().map(drop) } else { chip.smbus_write_quick(false) };
        let Err(error) = asked else { return Ok(Presence::Answers) };
        let source = io::Error::from(error);
        if matches!(Errno::from_io_error(&source), Some(Errno::OPNOTSUPP | Errno::NOSYS)) {
            return Ok(Presence::CannotAsk);
        }
        match failed(&self.device, address, source) {
            BusError::NoAcknowledge { .. } => Ok(Presence::Silent),
            other => Err(other),
        }
    }
}

impl Bus for LinuxI2c {
    fn describe(&self) -> String {
        format!("i2c bus {}", self.device.display())
    }

    fn i2c(&mut self) -> Result<SharedI2c, BusError> {
        Ok(self.adapter.clone())
    }
}

/// The adapter with one descriptor per chip: a descriptor belongs to an address, and `linux-embedded-hal` would open the
/// device again at every change of address. An address has 7 bits, so there are at most 128 of them.
struct Adapter {
    device: PathBuf,
    chips: BTreeMap<u8, I2cdev>,
}

impl Adapter {
    /// The descriptor for this address, opened at its first use.
    fn chip(&mut self, address: u8) -> Result<&mut I2cdev, BusError> {
        if !self.chips.contains_key(&address) {
            let mut chip = open_device(&self.device)?;
            chip.set_slave_address(u16::from(address)).map_err(|e| refused(&self.device, address, e.into()))?;
            self.chips.insert(address, chip);
        }
        Ok(self.chips.get_mut(&address).expect("it was put there above"))
    }
}

impl ErrorType for Adapter {
    type Error = BusError;
}

impl I2c for Adapter {
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), BusError> {
        let chip = self.chip(address)?;
        let Err(error) = I2c::<u8>::transaction(chip, address, operations) else { return Ok(()) };
        let source = match error.inner() {
            LinuxI2CError::Errno(errno) => io::Error::from_raw_os_error(*errno),
            LinuxI2CError::Io(error) => copy_of(error),
        };
        Err(failed(&self.device, address, or_gone(&self.device, source)))
    }
}

fn open_device(device: &Path) -> Result<I2cdev, BusError> {
    I2cdev::new(device).map_err(|error| open_refused(device, error.into()))
}

/// The device could not be opened.
pub(super) fn open_refused(device: &Path, source: io::Error) -> BusError {
    BusError::Open { what: format!("i2c bus {}", device.display()), hint: open_hint(&source).to_owned(), source }
}

/// What to do when the device cannot be opened.
fn open_hint(source: &io::Error) -> &'static str {
    match Errno::from_io_error(source) {
        Some(Errno::NOENT) => {
            "is I²C switched on? On a Raspberry Pi write dtparam=i2c_arm=on into config.txt and restart; elsewhere try \
             modprobe i2c-dev"
        }
        Some(Errno::NXIO | Errno::NODEV) => "the adapter behind this device is gone",
        Some(Errno::ACCESS | Errno::PERM) => "the user that runs this must be in the group i2c",
        Some(Errno::NOTTY | Errno::INVAL | Errno::ISDIR) => "this is not an I²C device",
        _ => "",
    }
}

/// The kernel refused the address itself. `EBUSY` means that a driver of the kernel has bound it (i2c-dev.c).
pub(super) fn refused(device: &Path, address: u8, source: io::Error) -> BusError {
    let hint = match Errno::from_io_error(&source) {
        Some(Errno::BUSY) => {
            "a driver of the kernel has bound this address; read the chip with linux-hwmon or linux-iio, or remove its \
             device-tree overlay"
        }
        _ => "",
    };
    let what = format!("address {address:#04x} on {}", device.display());
    BusError::Open { what, hint: hint.to_owned(), source }
}

/// What a failed transfer means when the device is gone. An adapter whose driver lets go of it loses its node first; what is
/// open then fails in whatever way that driver has (i2c-bcm2835 times out), and the kernel waits until it is closed
/// (`i2c_del_adapter`), before the adapter can come back.
fn or_gone(device: &Path, source: io::Error) -> io::Error {
    if device.exists() { source } else { Errno::NODEV.into() }
}

/// A transfer failed. The kernel's Documentation/i2c/fault-codes names `ENXIO` for a missing acknowledgement of the
/// address. The adapters of the Raspberry Pi (i2c-bcm2835, i2c-designware) answer `EREMOTEIO` instead, which they have for
/// nothing else.
pub(super) fn failed(device: &Path, address: u8, source: io::Error) -> BusError {
    match Errno::from_io_error(&source) {
        Some(Errno::NXIO | Errno::REMOTEIO) => BusError::NoAcknowledge { address },
        _ => BusError::Wires { what: format!("i2c transfer with {address:#04x} on {}", device.display()), source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opening(path: &str) -> String {
        LinuxI2c::open(Path::new(path)).err().map(|e| e.to_string()).unwrap_or_default()
    }

    #[test]
    fn an_absent_adapter_is_named_with_the_remedy() {
        let error = opening("/dev/i2c-no-such");
        assert!(error.starts_with("cannot open i2c bus /dev/i2c-no-such (is I²C switched on?"), "{error}");
        assert!(error.contains("dtparam=i2c_arm=on") && error.contains("modprobe i2c-dev"), "{error}");
    }

    #[test]
    fn a_file_that_is_no_adapter_is_distinguished() {
        assert_eq!(opening("/dev/null"), "cannot open i2c bus /dev/null (this is not an I²C device)");
    }

    #[test]
    fn a_missing_permission_names_the_group() {
        assert!(open_hint(&io::Error::from_raw_os_error(Errno::ACCESS.raw_os_error())).contains("group i2c"));
    }

    #[test]
    fn a_missing_acknowledgement_is_distinguished_from_other_failures() {
        let device = Path::new("/dev/i2c-1");
        let kind = |errno: Errno| failed(device, 0x76, io::Error::from_raw_os_error(errno.raw_os_error()));
        for errno in [Errno::NXIO, Errno::REMOTEIO] {
            assert!(matches!(kind(errno), BusError::NoAcknowledge { address: 0x76 }), "{errno}");
        }
        for errno in [Errno::IO, Errno::TIMEDOUT, Errno::AGAIN, Errno::BUSY, Errno::NODEV] {
            let BusError::Wires { what, source } = kind(errno) else { panic!("{errno}") };
            assert_eq!(what, "i2c transfer with 0x76 on /dev/i2c-1");
            assert_eq!(source.raw_os_error(), Some(errno.raw_os_error()), "the errno is kept");
        }
    }

    #[test]
    fn any_failure_on_an_adapter_that_has_vanished_says_so() {
        let timed_out = |device| {
            let device = Path::new(device);
            failed(device, 0x76, or_gone(device, io::Error::from_raw_os_error(Errno::TIMEDOUT.raw_os_error())))
        };
        assert!(timed_out("/dev/i2c-no-such").is_gone());
        assert!(!timed_out("/dev/null").is_gone());
    }

    #[test]
    fn an_address_that_the_kernel_uses_is_refused_with_the_remedy() {
        let busy = io::Error::from_raw_os_error(Errno::BUSY.raw_os_error());
        let error = refused(Path::new("/dev/i2c-1"), 0x76, busy).to_string();
        assert!(
            error.starts_with("cannot open address 0x76 on /dev/i2c-1 (a driver of the kernel has bound"),
            "{error}"
        );
    }
}
