//! What the simulated kernel shows of the devices that it drives itself.
//!
//! Which files those are, and what stands in them, is a [`KernelDevice`] that lies beside the simulated chip. They get
//! their place in sysfs in `files.rs`.

use rustix::io::Errno;

use crate::sim::chips::Chip;

/// What the kernel makes of a chip to which nobody else speaks.
#[derive(Clone, Copy, Debug)]
pub struct KernelDevice {
    /// Where in sysfs it appears.
    pub subsystem: Subsystem,
    /// Its files by their names; the first one has the name of the device.
    pub files: &'static [(&'static str, Show)],
}

/// A part of sysfs with a folder for each device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subsystem {
    /// `/sys/bus/w1/devices`.
    OneWire,
    /// `/sys/bus/iio/devices`.
    Iio,
}

/// The content of a file of the device with this name, or the error with which the kernel refuses to be asked.
pub type Show = fn(Answering<'_>, name: &str) -> Result<String, Errno>;

/// The chip, if it answers at all.
pub type Answering<'c> = Option<&'c mut dyn Chip>;
