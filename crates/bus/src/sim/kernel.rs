//! What the simulated kernel shows of the devices that it drives itself.
//!
//! Which files those are, and what stands in them, is a [`KernelDevice`] that lies beside the simulated chip. Here they get their
//! place in sysfs, in the order in which the kernel would have found them.

use rustix::io::Errno;

use crate::sim::chips::Chip;
use crate::sim::place::Place;
use crate::sim::slots::ChipSlots;

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

/// One file of a device.
pub(super) struct DeviceFile {
    pub(super) path: String,
    pub(super) place: Place,
    pub(super) name: String,
    pub(super) show: Show,
}

/// The files of every device that the kernel drives. IIO devices are counted from 1; number 0 is always there.
pub(super) fn files(slots: &ChipSlots) -> Vec<DeviceFile> {
    let mut all = Vec::new();
    let mut iio = 0;
    for (place, slot) in slots.iter() {
        let Place::Device(name) = place else { continue };
        let Some(device) = slot.kernel() else { continue };
        let mut show = |folder: &str, file: &'static str, show| {
            let path = format!("{folder}/{file}");
            all.push(DeviceFile { path, place: place.clone(), name: name.clone(), show });
        };
        let folder = if device.subsystem == Subsystem::OneWire {
            // A driver that takes the only one there is has not named it.
            format!("/sys/bus/w1/devices/{}", if name.contains('-') { name } else { "28-000000000001" })
        } else {
            iio += 1;
            // The node of the device tree that it belongs to.
            let node = format!("/sys/bus/platform/devices/{name}/iio:device{iio}");
            device.files.iter().take(1).for_each(|(file, content)| show(&node, file, *content));
            format!("/sys/bus/iio/devices/iio:device{iio}")
        };
        device.files.iter().for_each(|(file, content)| show(&folder, file, *content));
    }
    all
}
