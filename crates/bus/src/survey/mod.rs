//! What this board has: buses, who is on them, who holds what already, and what is switched off.
//!
//! It looks and changes nothing. Files of the kernel are read; a GPIO line is asked for its name and holder, never claimed; a
//! serial port is not even opened. Only I²C cannot be looked at without a word to its chips: see [`i2c`] for how little that is.
//! What cannot be looked at is reported with its remedy instead of being left out.

pub mod gpio;
pub mod i2c;

use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::{BusError, Files};

pub use gpio::{GpioChip, GpioLine};
pub use i2c::{Adapter, TakenAddress};

/// Everything that was found.
#[derive(Debug)]
pub struct Survey {
    /// What the board calls itself, if it says so.
    pub model: Option<String>,
    /// I²C adapters.
    pub i2c: Vec<Adapter>,
    /// GPIO chips, and what could not be opened.
    pub gpio: Result<Vec<GpioChip>, BusError>,
    /// Whether there is a 1-Wire master.
    pub one_wire_master: bool,
    /// Devices on 1-Wire, by id: `28-0316a2794bff`.
    pub one_wire: Vec<String>,
    /// Sensors of the kernel below `/sys/bus/iio`.
    pub iio: Vec<KernelDevice>,
    /// Sensors of the kernel below `/sys/class/hwmon`.
    pub hwmon: Vec<KernelDevice>,
    /// Chip selects of SPI.
    pub spi: Vec<Node>,
    /// Serial ports that belong to a header.
    pub serial: Vec<Node>,
    /// PWM chips: number and channels.
    pub pwm: Vec<(u32, String)>,
}

/// A device file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// `/dev/spidev0.0`.
    pub path: PathBuf,
    /// Whether this user may read and write it.
    pub allowed: bool,
}

/// A sensor with a driver in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelDevice {
    /// The name by which `linux-iio` and `linux-hwmon` find it.
    pub name: String,
    /// Its files with values.
    pub attributes: Vec<String>,
}

/// Looks at this board. `files` are its kernel's files.
pub fn take(files: &dyn Files) -> Survey {
    let one_wire = files.list("/sys/bus/w1/devices").unwrap_or_default();
    let (masters, one_wire): (Vec<_>, Vec<_>) =
        one_wire.into_iter().partition(|name| name.starts_with("w1_bus_master"));
    Survey {
        model: files.read("/proc/device-tree/model").ok(),
        i2c: i2c::adapters(files),
        gpio: gpio::chips(),
        one_wire_master: !masters.is_empty(),
        one_wire: one_wire.into_iter().filter(|name| is_one_wire_id(name)).collect(),
        iio: kernel_devices(files, "/sys/bus/iio/devices", "iio:device", &["_input", "_raw"]),
        hwmon: kernel_devices(files, "/sys/class/hwmon", "hwmon", &["_input"]),
        spi: nodes(files, |name| name.starts_with("spidev")),
        serial: nodes(files, is_serial),
        pwm: pwm(files),
    }
}

/// Family, dash, twelve digits (w1.c).
fn is_one_wire_id(name: &str) -> bool {
    let digits = |text: &str, count| text.len() == count && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    name.split_once('-').is_some_and(|(family, id)| digits(family, 2) && digits(id, 12))
}

/// The ports that boards have on their headers, and adapters on USB; a PC's `ttyS0` … `ttyS31` exist whether or not
/// anything is behind them.
fn is_serial(name: &str) -> bool {
    ["serial", "ttyAMA", "ttyUSB", "ttyACM"].iter().any(|start| {
        name.strip_prefix(start).is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
    })
}

fn nodes(files: &dyn Files, wanted: impl Fn(&str) -> bool) -> Vec<Node> {
    let names = files.list("/dev").unwrap_or_default();
    let node = |name: String| {
        let path = Path::new("/dev").join(name);
        let allowed = access(&path, Access::READ_OK | Access::WRITE_OK).is_ok();
        Node { path, allowed }
    };
    names.into_iter().filter(|name| wanted(name)).map(node).collect()
}

fn kernel_devices(files: &dyn Files, folder: &str, prefix: &str, endings: &[&str]) -> Vec<KernelDevice> {
    let entries = files.list(folder).unwrap_or_default().into_iter().filter(|entry| entry.starts_with(prefix));
    let device = |entry: String| {
        let folder = format!("{folder}/{entry}");
        // A device may go while we look, and some have no name.
        let name = files.read(&format!("{folder}/name")).ok()?;
        let mut attributes = files.list(&folder).ok()?;
        attributes.retain(|file| endings.iter().any(|ending| file.ends_with(ending)));
        Some(KernelDevice { name, attributes })
    };
    entries.filter_map(device).filter(|device| !device.attributes.is_empty()).collect()
}

fn pwm(files: &dyn Files) -> Vec<(u32, String)> {
    let chips = files.list("/sys/class/pwm").unwrap_or_default();
    let chip = |name: String| {
        let channels = files.read(&format!("/sys/class/pwm/{name}/npwm")).ok()?;
        Some((name.strip_prefix("pwmchip")?.parse().ok()?, channels))
    };
    chips.into_iter().filter_map(chip).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Bus;
    use crate::sysfs::HostBus;
    use std::fs;

    /// A board with these files.
    fn board(all: &[(&str, &str)]) -> (tempfile::TempDir, std::rc::Rc<dyn Files>) {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in all {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let files = HostBus::at(root.path()).files().unwrap();
        (root, files)
    }

    #[test]
    fn what_the_kernel_shows_is_found() {
        let (_root, files) = board(&[
            ("proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.4\0"),
            ("sys/bus/w1/devices/w1_bus_master1/w1_master_name", "x"),
            ("sys/bus/w1/devices/28-0316a2794bff/name", "x"),
            ("sys/bus/iio/devices/iio:device0/name", "dht11@4\n"),
            ("sys/bus/iio/devices/iio:device0/in_temp_input", "21000\n"),
            ("sys/bus/iio/devices/iio:device0/dev", "250:0\n"),
            ("sys/bus/iio/devices/trigger0/name", "instance1"),
            ("sys/class/hwmon/hwmon0/name", "cpu_thermal\n"),
            ("sys/class/hwmon/hwmon0/temp1_input", "48312\n"),
            ("sys/class/hwmon/hwmon1/name", "rpi_volt\n"),
            ("sys/class/pwm/pwmchip0/npwm", "4\n"),
            ("dev/spidev0.1", ""),
            ("dev/serial0", ""),
            ("dev/ttyS3", ""),
            ("dev/serial", ""),
        ]);
        let survey = take(files.as_ref());
        assert_eq!(survey.model.as_deref(), Some("Raspberry Pi 4 Model B Rev 1.4"));
        assert!(survey.one_wire_master);
        assert_eq!(survey.one_wire, ["28-0316a2794bff"]);
        let device = |name: &str, file: &str| KernelDevice { name: name.into(), attributes: vec![file.into()] };
        assert_eq!(survey.iio, [device("dht11@4", "in_temp_input")]);
        assert_eq!(survey.hwmon, [device("cpu_thermal", "temp1_input")], "a device without values is none");
        assert_eq!(survey.pwm, [(0, "4".to_owned())]);
        assert_eq!(survey.spi.iter().map(|node| node.path.to_str().unwrap()).collect::<Vec<_>>(), ["/dev/spidev0.1"]);
        assert_eq!(survey.serial.len(), 1);
    }

    #[test]
    fn an_empty_machine_has_nothing_and_is_no_failure() {
        let (_root, files) = board(&[]);
        let survey = take(files.as_ref());
        assert_eq!((survey.model, survey.one_wire_master), (None, false));
        assert!(survey.i2c.is_empty() && survey.one_wire.is_empty() && survey.iio.is_empty() && survey.spi.is_empty());
    }
}
