//! linux-hwmon: any sensor that a kernel driver shows under `/sys/class/hwmon`.
//!
//! Hundreds of chips have such a driver: thermometers (LM75, DS18B20), supply monitors (INA2xx), fans, the processor
//! itself. Units as in the kernel's Documentation/hwmon/sysfs-interface.rst.

use std::rc::Rc;

use crate::kernel_channels::{CHANNELS, Channel, Class, DEVICE, UnitRow, channels, find, number};
use crate::{BusNeed, DriverError, DriverSpec, Proof, Role, Sensor, partly};
use fieldgate_bus::{Bus, Files};
use fieldgate_model::{Field, Kind, Measurement, Need, Settings};

/// The driver's line in [`DRIVERS`](crate::DRIVERS).
pub static SPEC: DriverSpec = DriverSpec {
    name: "linux-hwmon",
    summary: "any sensor that the kernel shows under /sys/class/hwmon",
    page: "\
Wiring: that of the chip. Its kernel driver is loaded by the device tree or an
overlay; `grep . /sys/class/hwmon/*/name` lists what there is. No bus is
needed under `buses:`.

device    what the file `name` says, such as cpu_thermal, lm75 or
          w1_slave_temp.
parent    of several with one name, the one on this device of a bus: 1-0048 is
          the chip at address 0x48 of i2c-1, 28-00000a1b2c3d a DS18B20.
channels  your names for its measurements, each with the file it comes from.

The kernel's units become °C (temp), V (in), A (curr), W (power), J (energy),
% (humidity), rpm (fan) and Hz (freq). `scale`, `offset` and `unit` of a
channel replace that: value = file × scale + offset, with the file in
millidegrees, millivolts, milliamperes, microwatts, microjoules or thousandths
of a percent.",
    bus: BusNeed::None,
    settings: &[
        DEVICE,
        Field {
            name: "parent",
            kind: Kind::Text,
            need: Need::Optional,
            doc: "which of several with that name: the bus device it belongs to, such as 1-0048",
        },
        CHANNELS,
    ],
    claims: |_| Vec::new(),
    wrong: |_| None,
    role: Role::Sensor {
        measurements: |settings| channels(settings, UNITS).into_iter().map(|channel| channel.quantity).collect(),
        default_every: None,
        build: |bus: &mut dyn Bus, settings| Ok(Box::new(Hwmon::new(bus.files()?, settings)?)),
    },
    example: "\
processor:
  driver: linux-hwmon
  every: 10s
  settings:
    device: cpu_thermal
    channels:
      temperature: { attribute: temp1_input, decimals: 1 }",
    identity: None,
    chip: None,
    proofs: &[Proof::Kernel("lm75"), Proof::Kernel("tmp421")],
};

/// Documentation/hwmon/sysfs-interface.rst. The longer beginning comes first.
pub(super) const UNITS: &[UnitRow] = &[
    ("temp", 1e-3, "°C"),
    ("intrusion", 1.0, ""),
    ("in", 1e-3, "V"),
    ("curr", 1e-3, "A"),
    ("power", 1e-6, "W"),
    ("energy", 1e-6, "J"),
    ("humidity", 1e-3, "%"),
    ("fan", 1.0, "rpm"),
    ("freq", 1.0, "Hz"),
];

const CLASS: Class = Class { what: "hwmon device", folder: "/sys/class/hwmon", prefix: "hwmon", below_parent: "hwmon" };

struct Hwmon {
    files: Rc<dyn Files>,
    folder: String,
    channels: Vec<Channel>,
}

impl Hwmon {
    fn new(files: Rc<dyn Files>, settings: &Settings) -> Result<Self, DriverError> {
        let channels = channels(settings, UNITS);
        channels.iter().try_for_each(Channel::check)?;
        let folder = find(files.as_ref(), &CLASS, settings)?;
        Ok(Self { files, folder, channels })
    }
}

impl Sensor for Hwmon {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        let read = |channel: &Channel| number(self.files.as_ref(), &self.folder, &channel.attribute);
        let measured = |channel: &Channel| channel.measured(read(channel)?);
        partly::channels(self.channels.iter().map(|channel| (channel.quantity.name.clone(), measured(channel))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fieldgate_bus::BusError;
    use fieldgate_bus::sysfs::HostBus;
    use fieldgate_model::{Quantity, Setting};
    use std::fs;

    /// A tree with these files.
    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        root
    }

    /// A processor and two equal thermometers on I²C.
    fn board() -> tempfile::TempDir {
        tree(&[
            ("sys/class/hwmon/hwmon0/name", "cpu_thermal\n"),
            ("sys/class/hwmon/hwmon0/temp1_input", "48312\n"),
            ("sys/class/hwmon/hwmon1/name", "lm75\n"),
            ("sys/class/hwmon/hwmon1/temp1_input", "21500\n"),
            ("sys/class/hwmon/hwmon2/name", "lm75\n"),
            ("sys/class/hwmon/hwmon2/temp1_input", "-4000\n"),
            ("sys/class/hwmon/hwmon2/power1_input", "2500000\n"),
            ("sys/bus/i2c/devices/1-0048/hwmon/hwmon1/name", "lm75\n"),
            ("sys/bus/i2c/devices/1-0049/hwmon/hwmon2/name", "lm75\n"),
        ])
    }

    fn channel(attribute: &str, scale: Option<f64>) -> Settings {
        let mut channel = Settings::default();
        channel.insert("attribute", Setting::Text(attribute.into()));
        if let Some(scale) = scale {
            channel.insert("scale", Setting::Number(scale));
        }
        channel.insert("offset", Setting::Number(0.0));
        channel.insert("decimals", Setting::Integer(1));
        channel
    }

    fn settings(device: &str, parent: Option<&str>, channels: Vec<(String, Settings)>) -> Settings {
        let mut settings = Settings::default();
        settings.insert("device", Setting::Text(device.into()));
        if let Some(parent) = parent {
            settings.insert("parent", Setting::Text(parent.into()));
        }
        settings.insert("channels", Setting::Table(channels));
        settings
    }

    fn build(root: &tempfile::TempDir, settings: &Settings) -> Result<Box<dyn Sensor>, DriverError> {
        let Role::Sensor { build, .. } = SPEC.role else { panic!("a sensor") };
        build(&mut HostBus::at(root.path()), settings)
    }

    fn temperature() -> Vec<(String, Settings)> {
        vec![("temperature".into(), channel("temp1_input", None))]
    }

    #[test]
    fn a_device_is_found_by_name_and_its_millidegrees_become_degrees() {
        let settings = settings("cpu_thermal", None, temperature());
        let root = board();
        let sampled = build(&root, &settings).unwrap().sample().unwrap();
        let quantity = Quantity::new("temperature", "°C", 1);
        assert_eq!(sampled, [quantity.measured(48.312)]);
        let Role::Sensor { measurements, .. } = SPEC.role else { panic!("a sensor") };
        assert_eq!(measurements(&settings), [quantity]);
    }

    #[test]
    fn of_two_equal_chips_the_parent_chooses_and_its_absence_is_reported() {
        let root = board();
        let error = build(&root, &settings("lm75", None, temperature())).err().unwrap().to_string();
        assert!(error.contains("2 are called \"lm75\"") && error.contains("1-0048, 1-0049"), "{error}");
        let mut channels = temperature();
        channels.push(("power".into(), channel("power1_input", None)));
        channels.push(("raw".into(), channel("power1_input", Some(2.0))));
        let mut sensor = build(&root, &settings("lm75", Some("1-0049"), channels)).unwrap();
        let expected = [("temperature", -4.0), ("power", 2.5), ("raw", 5_000_000.0)];
        assert_eq!(sensor.sample().unwrap(), expected.map(|(name, value)| Quantity::new(name, "", 1).measured(value)));
        assert!(build(&root, &settings("lm75", Some("1-004a"), temperature())).is_err());
        assert!(build(&root, &settings("lm75", Some("../devices/1-0049"), temperature())).is_err());
    }

    #[test]
    fn a_missing_device_is_answered_with_those_that_are_there() {
        let error = build(&board(), &settings("bme280", None, temperature())).err().unwrap().to_string();
        assert!(error.contains("cpu_thermal, lm75, lm75"), "{error}");
        let error = build(&tree(&[]), &settings("bme280", None, temperature())).err().unwrap().to_string();
        assert!(error.contains("none at all"), "{error}");
    }

    #[test]
    fn garbage_may_pass_and_a_vanished_file_wants_the_device_found_again() {
        let root = board();
        let mut sensor = build(&root, &settings("cpu_thermal", None, temperature())).unwrap();
        let file = root.path().join("sys/class/hwmon/hwmon0/temp1_input");
        for garbage in ["", "hot", "nan", "inf", "1 2", "1e999"] {
            fs::write(&file, garbage).unwrap();
            let error = sensor.sample().unwrap_err();
            assert!(matches!(error, DriverError::Bus(BusError::Format { .. })) && error.is_transient(), "{error}");
        }
        fs::remove_file(&file).unwrap();
        let error = sensor.sample().unwrap_err();
        assert!(!error.is_transient() && error.to_string().contains("it has no such files at all"), "{error}");
    }

    #[test]
    fn a_reserved_name_is_refused() {
        let channels = vec![("time".into(), channel("temp1_input", None))];
        let error = build(&board(), &settings("cpu_thermal", None, channels)).err().unwrap().to_string();
        assert!(error.contains("channels.time"), "{error}");
    }
}
