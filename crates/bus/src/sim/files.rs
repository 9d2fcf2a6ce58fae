//! Files of a simulated kernel: a board with a thermal zone, one hwmon chip, one IIO device, and whatever device a driver
//! expects there (`kernel.rs`).
//!
//! Read-only. Without a state file the temperatures drift like those of the chips.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use crate::sim::chips::Chip;
use crate::sim::drifted;
use crate::sim::kernel::{Show, Subsystem};
use crate::sim::place::ChipPlace;
use crate::sim::slots::ChipSlots;
use crate::sim::world::World;
use crate::{BusError, Files};
use fieldgate_clock::monotonic;

/// The content of a file some seconds after the start.
type Content = fn(f64) -> String;

/// Every file.
const TREE: &[(&str, Content)] = &[
    ("/sys/class/thermal/thermal_zone0/type", |_| "cpu-thermal".to_owned()),
    ("/sys/class/thermal/thermal_zone0/temp", |s| milli("temperature", 48.3, s)),
    ("/sys/class/hwmon/hwmon0/name", |_| "lm75".to_owned()),
    ("/sys/class/hwmon/hwmon0/temp1_input", |s| milli("temperature", 21.5, s)),
    ("/sys/bus/iio/devices/iio:device0/name", |_| "bme280".to_owned()),
    ("/sys/bus/iio/devices/iio:device0/in_temp_input", |s| milli("temperature", 21.5, s)),
    ("/sys/bus/iio/devices/iio:device0/in_humidityrelative_input", |s| milli("humidity", 45.0, s)),
    ("/proc/loadavg", |_| "0.21 0.17 0.12 1/123 4567".to_owned()),
    ("/proc/meminfo", |_| MEMINFO.to_owned()),
    ("/proc/uptime", |_| String::new()),
];

const MEMINFO: &str = "MemTotal:         948012 kB\nMemFree:          512340 kB\nMemAvailable:     711009 kB\n\
    Buffers:           24116 kB\nCached:           200532 kB";

/// Uptime of the simulated board when the bus is opened.
const BOOTED_BEFORE: Duration = Duration::from_secs(3600);

/// Used part of every simulated file system.
const DISK_USED: f64 = 37.5;

/// The simulated files.
pub(super) struct SimFiles {
    opened: Duration,
    drifting: bool,
    world: Rc<RefCell<World>>,
}

impl SimFiles {
    /// Files of a bus opened at this point of the monotonic clock.
    pub(super) fn new(opened: Duration, drifting: bool, world: Rc<RefCell<World>>) -> Self {
        Self { opened, drifting, world }
    }

    fn read_at(&self, path: &str, now: Duration) -> Option<String> {
        let elapsed = now.saturating_sub(self.opened);
        if path == "/proc/uptime" {
            let up = (BOOTED_BEFORE + elapsed).as_secs_f64();
            return Some(format!("{up:.2} {:.2}", up * 3.6));
        }
        let seconds = if self.drifting { elapsed.as_secs_f64() } else { 0.0 };
        TREE.iter().find(|(known, _)| *known == path).map(|(_, content)| content(seconds))
    }
}

/// The kernel's millidegrees and their like.
fn milli(quantity: &str, value: f64, seconds: f64) -> String {
    format!("{:.0}", drifted(quantity, value, 0, seconds) * 1000.0)
}

/// One file of a device.
struct DeviceFile {
    path: String,
    place: ChipPlace,
    name: String,
    show: Show,
}

/// The files of every device that the kernel drives, in the order in which it would have found them. IIO devices are counted from
/// 1; number 0 is always there.
fn device_files(slots: &ChipSlots) -> Vec<DeviceFile> {
    let mut all = Vec::new();
    let mut iio = 0;
    for (place, slot) in slots.iter() {
        let ChipPlace::Device(name) = place else { continue };
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

impl Files for SimFiles {
    fn read(&self, path: &str) -> Result<String, BusError> {
        let failed = |source| BusError::Io { what: format!("reading {path}"), source };
        let mut world = self.world.borrow_mut();
        world.reach()?;
        if let Some(file) = device_files(&world.slots).into_iter().find(|file| file.path == path) {
            let chip = world.reach_chip(&file.place)?.map(|slot| -> &mut dyn Chip { slot.chip.as_mut() });
            return (file.show)(chip, &file.name).map_err(|errno| failed(errno.into()));
        }
        self.read_at(path, monotonic()).ok_or_else(|| failed(io::ErrorKind::NotFound.into()))
    }

    fn list(&self, path: &str) -> Result<Vec<String>, BusError> {
        let folder = path.trim_end_matches('/');
        let world = self.world.borrow();
        world.reach()?;
        let devices = device_files(&world.slots);
        let fixed = TREE.iter().map(|(file, _)| *file);
        let all = fixed.chain(devices.iter().map(|file| file.path.as_str()));
        let names: BTreeSet<&str> =
            all.filter_map(|file| file.strip_prefix(folder)?.strip_prefix('/')?.split('/').next()).collect();
        Ok(names.into_iter().map(str::to_owned).collect())
    }

    fn disk_used(&self, _path: &str) -> Result<f64, BusError> {
        self.world.borrow().reach().map(|()| DISK_USED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(opened: Duration, drifting: bool) -> SimFiles {
        SimFiles::new(opened, drifting, Rc::new(RefCell::new(World::new("test".into(), None, |_| None))))
    }

    #[test]
    fn folders_list_their_names_once_and_unknown_ones_nothing() {
        let files = files(Duration::ZERO, false);
        assert_eq!(files.list("/sys/class/hwmon").unwrap(), ["hwmon0"]);
        assert_eq!(files.list("/sys/class/hwmon/hwmon0/").unwrap(), ["name", "temp1_input"]);
        assert_eq!(files.list("/sys/class/hw").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn without_drift_the_temperature_stays_and_the_uptime_goes_on() {
        let files = files(Duration::from_secs(5), false);
        let later = Duration::from_secs(65);
        assert_eq!(files.read_at("/sys/class/hwmon/hwmon0/temp1_input", later).unwrap(), "21500");
        assert_eq!(files.read_at("/proc/uptime", later).unwrap(), "3660.00 13176.00");
    }

    #[test]
    fn a_file_that_is_not_there_is_not_found() {
        let error = files(Duration::ZERO, true).read("/sys/class/hwmon/hwmon1/name").unwrap_err();
        assert!(matches!(error, BusError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound));
    }
}
