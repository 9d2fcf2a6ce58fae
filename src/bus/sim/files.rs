//! Files of a simulated kernel: a board with a thermal zone, one hwmon chip and one IIO device.
//!
//! Read-only, and the same on every simulated bus. Without a state file the temperatures drift like those of the chips.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use crate::bus::sim::{drifted, monotonic};
use crate::bus::{BusError, Files};

/// The content of a file some seconds after the start.
type Content = fn(f64) -> String;

/// Every file.
const TREE: &[(&str, Content)] = &[
    ("/sys/class/thermal/thermal_zone0/type", |_| "cpu-thermal".to_owned()),
    ("/sys/class/thermal/thermal_zone0/temp", |s| milli("temperature", 48.3, s)),
    ("/sys/class/hwmon/hwmon0/name", |_| "lm75".to_owned()),
    ("/sys/class/hwmon/hwmon0/temp1_input", |s| milli("temperature", 21.5, s)),
    ("/sys/bus/iio/devices/iio:device0/name", |_| "dht11".to_owned()),
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
}

impl SimFiles {
    /// Files of a bus opened at this point of the monotonic clock.
    pub(super) fn new(opened: Duration, drifting: bool) -> Self {
        Self { opened, drifting }
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

impl Files for SimFiles {
    fn read(&self, path: &str) -> Result<String, BusError> {
        self.read_at(path, monotonic())
            .ok_or_else(|| BusError::Io { what: format!("reading {path}"), source: io::ErrorKind::NotFound.into() })
    }

    fn list(&self, path: &str) -> Result<Vec<String>, BusError> {
        let folder = path.trim_end_matches('/');
        let below = |(file, _): &(&'static str, _)| file.strip_prefix(folder)?.strip_prefix('/')?.split('/').next();
        let names: BTreeSet<&str> = TREE.iter().filter_map(below).collect();
        Ok(names.into_iter().map(str::to_owned).collect())
    }

    fn disk_used(&self, _path: &str) -> Result<f64, BusError> {
        Ok(DISK_USED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_list_their_names_once_and_unknown_ones_nothing() {
        let files = SimFiles::new(Duration::ZERO, false);
        assert_eq!(files.list("/sys/class/hwmon").unwrap(), ["hwmon0"]);
        assert_eq!(files.list("/sys/class/hwmon/hwmon0/").unwrap(), ["name", "temp1_input"]);
        assert_eq!(files.list("/sys/class/hw").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn without_drift_the_temperature_stays_and_the_uptime_goes_on() {
        let files = SimFiles::new(Duration::from_secs(5), false);
        let later = Duration::from_secs(65);
        assert_eq!(files.read_at("/sys/class/hwmon/hwmon0/temp1_input", later).unwrap(), "21500");
        assert_eq!(files.read_at("/proc/uptime", later).unwrap(), "3660.00 13176.00");
    }

    #[test]
    fn a_file_that_is_not_there_is_not_found() {
        let error = SimFiles::new(Duration::ZERO, true).read("/sys/class/hwmon/hwmon1/name").unwrap_err();
        assert!(matches!(error, BusError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound));
    }
}
