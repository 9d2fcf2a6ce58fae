//! An SPI chip of Linux, by its character device `/dev/spidevB.C`: controller B, chip select C.
//!
//! One device is one chip, so one entry under `buses:` is one chip too; the kernel takes care of the controller that
//! several of them share. The chip's driver chooses mode and clock, for they are its chip's and nobody else's.
//!
//! Nothing on this bus says that a chip is there: without one, the line from the chips reads as whatever it floats to.
//! Drivers must look for what their chip cannot have answered.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use embedded_hal::spi::{ErrorKind, ErrorType, MODE_0, MODE_1, MODE_2, Mode, Operation, SpiDevice};
use linux_embedded_hal::SpidevDevice;
use linux_embedded_hal::spidev::{SpiModeFlags, SpidevOptions};
use rustix::io::Errno;

use crate::error::copy_of;
use crate::{Bus, BusError, BusNeed, BusSpec, ClaimKind, Device};
use fieldgate_model::{Field, Kind, Need};

/// How a chip wants to be spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpiRequest {
    /// Idle level and sampling edge of the clock.
    pub mode: Mode,
    /// The fastest clock that the chip takes; the controller may choose a slower one.
    pub max_hz: u32,
}

/// One chip on SPI, claimed by its driver.
pub struct SpiChip(Box<dyn SpiDevice<Error = BusError>>);

impl SpiChip {
    /// Whatever speaks to a chip.
    pub fn new(device: impl SpiDevice<Error = BusError> + 'static) -> Self {
        Self(Box::new(device))
    }
}

impl fmt::Debug for SpiChip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SpiChip")
    }
}

impl ErrorType for SpiChip {
    type Error = BusError;
}

impl SpiDevice for SpiChip {
    fn transaction(&mut self, operations: &mut [Operation<'_, u8>]) -> Result<(), BusError> {
        self.0.transaction(operations)
    }
}

impl embedded_hal::spi::Error for BusError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

/// The one chip of an SPI bus.
pub static CHIP_SELECT: ClaimKind =
    ClaimKind { name: "the chip select of one spi bus", fails_alone: false, simulated: |_| Some("spi".to_owned()) };

/// A bus of type `spi`.
pub static SPEC: BusSpec = BusSpec {
    name: "spi",
    page: "\
on a Raspberry Pi `dtparam=spi=on` in config.txt makes `/dev/spidev0.0` and `/dev/spidev0.1`; the user has to be in the
  group `spi`. One device is one chip select, and so one chip.",
    fields: &[Field {
        name: "device",
        kind: Kind::Path,
        need: Need::Required,
        doc: "the device of one chip select, such as /dev/spidev0.0: one chip",
    }],
    example: "spi-0: { type: spi, device: /dev/spidev0.0 }",
    offers: &[BusNeed::Spi],
    switched_on_by: "dtparam=spi=on",
    device: |entry| Some(Device::File(entry.keys.text("device").into())),
    open: |entry, _, _| Ok(Box::new(LinuxSpi::open(Path::new(entry.keys.text("device")))?)),
    ..BusSpec::USUAL
};

/// The bus of one chip.
pub struct LinuxSpi {
    device: PathBuf,
}

impl LinuxSpi {
    /// Looks whether the device is there and may be opened; nothing is sent.
    ///
    /// # Errors
    /// [`BusError::Open`] with what to do about it.
    pub fn open(device: &Path) -> Result<Self, BusError> {
        let opened = open_device(device)?;
        opened.0.query_configuration().map_err(|source| cannot_open(device, source))?;
        Ok(Self { device: device.to_owned() })
    }
}

impl Bus for LinuxSpi {
    fn describe(&self) -> String {
        format!("spi bus {}", self.device.display())
    }

    fn spi(&mut self, request: &SpiRequest) -> Result<SpiChip, BusError> {
        let mut device = open_device(&self.device)?;
        let options =
            SpidevOptions::new().bits_per_word(8).max_speed_hz(request.max_hz).mode(flags(request.mode)).build();
        device.0.configure(&options).map_err(|source| {
            let what = format!("{} in mode {} at {} Hz", self.describe(), number(request.mode), request.max_hz);
            BusError::Open { what, hint: "the controller does not offer that".into(), source }
        })?;
        Ok(SpiChip::new(Linux { name: self.describe(), device }))
    }
}

/// The device, with the kernel's errors kept.
struct Linux {
    name: String,
    device: SpidevDevice,
}

impl ErrorType for Linux {
    type Error = BusError;
}

impl SpiDevice for Linux {
    fn transaction(&mut self, operations: &mut [Operation<'_, u8>]) -> Result<(), BusError> {
        self.device.transaction(operations).map_err(|error| BusError::Io {
            what: format!("transfer on {}", self.name),
            source: copy_of(error.inner()),
        })
    }
}

fn number(mode: Mode) -> u8 {
    if mode == MODE_0 {
        0
    } else if mode == MODE_1 {
        1
    } else if mode == MODE_2 {
        2
    } else {
        3
    }
}

fn flags(mode: Mode) -> SpiModeFlags {
    match number(mode) {
        0 => SpiModeFlags::SPI_MODE_0,
        1 => SpiModeFlags::SPI_MODE_1,
        2 => SpiModeFlags::SPI_MODE_2,
        _ => SpiModeFlags::SPI_MODE_3,
    }
}

fn open_device(device: &Path) -> Result<SpidevDevice, BusError> {
    SpidevDevice::open(device).map_err(|error| cannot_open(device, copy_of(error.inner())))
}

fn cannot_open(device: &Path, source: io::Error) -> BusError {
    let what = format!("spi bus {}", device.display());
    BusError::Open { what, hint: open_hint(&source).to_owned(), source }
}

/// What to do when the device cannot be opened.
fn open_hint(source: &io::Error) -> &'static str {
    match Errno::from_io_error(source) {
        Some(Errno::NOENT) => {
            "is SPI switched on? On a Raspberry Pi write dtparam=spi=on into config.txt and restart; elsewhere the device \
             tree must name a spidev at this chip select"
        }
        Some(Errno::NXIO | Errno::NODEV) => "the controller behind this device is gone",
        Some(Errno::ACCESS | Errno::PERM) => "the user that runs this must be in the group spi",
        Some(Errno::NOTTY | Errno::INVAL | Errno::ISDIR) => {
            "this is not an SPI device; those are called /dev/spidev0.0"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_hal::spi::MODE_3;

    fn opening(path: &str) -> String {
        LinuxSpi::open(Path::new(path)).err().map(|e| e.to_string()).unwrap_or_default()
    }

    #[test]
    fn an_absent_device_is_named_with_the_remedy() {
        let error = opening("/dev/spidev9.9");
        assert!(error.starts_with("cannot open spi bus /dev/spidev9.9 (is SPI switched on?"), "{error}");
        assert!(error.contains("dtparam=spi=on"), "{error}");
    }

    #[test]
    fn a_file_that_is_no_spi_device_is_distinguished() {
        for path in ["/dev/null", "/dev"] {
            assert!(opening(path).contains("this is not an SPI device"), "{}", opening(path));
        }
    }

    #[test]
    fn a_missing_permission_names_the_group() {
        assert!(open_hint(&Errno::ACCESS.into()).contains("group spi"));
    }

    #[test]
    fn each_mode_has_its_number_and_its_flags() {
        for (expected, mode) in [MODE_0, MODE_1, MODE_2, MODE_3].into_iter().enumerate() {
            assert_eq!(usize::from(number(mode)), expected);
            assert_eq!(flags(mode).bits() as usize, expected, "spi.h: CPHA is bit 0, CPOL bit 1");
        }
    }
}
