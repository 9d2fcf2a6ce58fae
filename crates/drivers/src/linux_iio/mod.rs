//! linux-iio: any sensor that a kernel driver shows under `/sys/bus/iio`.
//!
//! Environment sensors (DHT22, BME280, SHT3x), converters (ADS1115, HX711), light, motion. Files and units as in the
//! kernel's Documentation/ABI/testing/sysfs-bus-iio: a file ending in `_input` is ready, one ending in `_raw` becomes
//! (raw + offset) × scale with the files beside it.

use std::rc::Rc;

use crate::kernel_channels::{CHANNELS, Channel, Class, DEVICE, UnitRow, channels, find, number};
use crate::{BusNeed, DriverError, DriverSpec, Proof, Role, Sensor, partly};
use fieldgate_bus::{Bus, Files};
use fieldgate_model::{Field, Kind, Measurement, Need, Settings};

/// The driver's line in [`DRIVERS`](crate::DRIVERS).
pub static SPEC: DriverSpec = DriverSpec {
    name: "linux-iio",
    summary: "any sensor that the kernel shows under /sys/bus/iio",
    page: "\
Wiring: that of the chip. Its kernel driver is loaded by the device tree or an
overlay, such as dtoverlay=dht11,gpiopin=4 for a DHT11 or DHT22 on a Raspberry
Pi; `grep . /sys/bus/iio/devices/*/name` lists what there is. No bus is needed
under `buses:`.

device    what the file `name` says, such as dht11@4 or bme280.
parent    of several with one name, the one on this device of a bus: 1-0076 is
          the chip at address 0x76 of i2c-1.
channels  your names for its measurements, each with the file it comes from:
          in_temp_input, or in_voltage0_raw, to which the kernel's own offset
          and scale are applied.

The kernel's units become °C (temp), V (voltage), A (current), W (power), %
(humidityrelative), hPa (pressure), lx (illuminance), ppm (concentration_co2).
`scale`, `offset` and `unit` of a channel replace that: value = kernel × scale
+ offset, with the kernel's value in millidegrees, millivolts, milliamperes,
milliwatts, thousandths of a percent, kPa, lux or percent.

A DHT22 misses a reading now and then; the next one is tried as usual. It
wants two seconds of rest: every: 10s.",
    bus: BusNeed::None,
    settings: &[
        DEVICE,
        Field {
            name: "parent",
            kind: Kind::Text,
            need: Need::Optional,
            doc: "which of several with that name: the bus device it belongs to, such as 1-0076",
        },
        CHANNELS,
    ],
    claims: |_| Vec::new(),
    wrong: |_| None,
    role: Role::Sensor {
        measurements: |settings| channels(settings, UNITS).into_iter().map(|channel| channel.quantity).collect(),
        default_every: None,
        build: |bus: &mut dyn Bus, settings| Ok(Box::new(Iio::new(bus.files()?, settings)?)),
    },
    example: "\
greenhouse:
  driver: linux-iio
  every: 10s
  settings:
    device: dht11@4
    channels:
      temperature: { attribute: in_temp_input, decimals: 1 }
      humidity: { attribute: in_humidityrelative_input, decimals: 1 }",
    identity: None,
    chip: None,
    proofs: &[Proof::Kernel("bmp280")],
};

/// Documentation/ABI/testing/sysfs-bus-iio. The longer beginning comes first.
pub(super) const UNITS: &[UnitRow] = &[
    ("in_temp", 1e-3, "°C"),
    ("in_voltage", 1e-3, "V"),
    ("in_current", 1e-3, "A"),
    ("in_power", 1e-3, "W"),
    ("in_humidityrelative", 1e-3, "%"),
    ("in_pressure", 10.0, "hPa"),
    ("in_illuminance", 1.0, "lx"),
    ("in_concentration_co2", 1e4, "ppm"),
    ("in_concentration", 1.0, "%"),
    ("in_resistance", 1.0, "Ω"),
    ("in_distance", 1.0, "m"),
    ("in_accel", 1.0, "m/s²"),
    ("in_anglvel", 1.0, "rad/s"),
    ("in_magn", 1.0, "G"),
];

pub(super) const CLASS: Class =
    Class { what: "IIO device", folder: "/sys/bus/iio/devices", prefix: "iio:device", below_parent: "" };

struct Iio {
    files: Rc<dyn Files>,
    folder: String,
    channels: Vec<(Channel, Conversion)>,
}

/// The files that turn a raw value into the kernel's unit; none for a value that is ready.
#[derive(Debug, Default, PartialEq, Eq)]
struct Conversion {
    offset: Option<String>,
    scale: Option<String>,
}

impl Iio {
    fn new(files: Rc<dyn Files>, settings: &Settings) -> Result<Self, DriverError> {
        let channels = channels(settings, UNITS);
        channels.iter().try_for_each(Channel::check)?;
        let folder = find(files.as_ref(), &CLASS, settings)?;
        let present = files.list(&folder)?;
        let with_conversion = |channel: Channel| {
            let conversion = conversion(&channel.attribute, &present);
            (channel, conversion)
        };
        Ok(Self { channels: channels.into_iter().map(with_conversion).collect(), files, folder })
    }

    fn read(&self, attribute: &str) -> Result<f64, DriverError> {
        number(self.files.as_ref(), &self.folder, attribute)
    }

    /// The channel in the kernel's unit. Offset and scale are read each time: another program may change the range.
    fn kernel_value(&self, channel: &Channel, conversion: &Conversion) -> Result<f64, DriverError> {
        let beside = |file: &Option<String>, none| file.as_deref().map_or(Ok(none), |file| self.read(file));
        Ok((self.read(&channel.attribute)? + beside(&conversion.offset, 0.0)?) * beside(&conversion.scale, 1.0)?)
    }
}

impl Sensor for Iio {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        let measured =
            |channel: &Channel, conversion: &Conversion| channel.measured(self.kernel_value(channel, conversion)?);
        let one = |(channel, conversion): &(Channel, Conversion)| {
            (channel.quantity.name.clone(), measured(channel, conversion))
        };
        partly::channels(self.channels.iter().map(one))
    }
}

fn conversion(attribute: &str, present: &[String]) -> Conversion {
    match attribute.strip_suffix("_raw") {
        Some(stem) => Conversion { offset: beside(stem, "_offset", present), scale: beside(stem, "_scale", present) },
        None => Conversion::default(),
    }
}

/// The nearest file of that kind: the channel's own (`in_voltage0_scale`), the one of all channels of its type
/// (`in_voltage_scale`, `in_voltage-voltage_scale`), then that without the modifier (`in_accel_scale` for `in_accel_x`).
fn beside(stem: &str, suffix: &str, present: &[String]) -> Option<String> {
    let of_type: String = stem.chars().filter(|c| !c.is_ascii_digit()).collect();
    let unmodified = of_type.rsplit_once('_').map(|(rest, _)| rest.to_owned());
    [Some(stem.to_owned()), Some(of_type), unmodified]
        .into_iter()
        .flatten()
        .map(|stem| format!("{stem}{suffix}"))
        .find(|name| present.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fieldgate_bus::BusError;
    use fieldgate_bus::sysfs::HostBus;
    use fieldgate_model::{Quantity, Setting};
    use std::fs;

    /// A board with one device of this name and these files, at address 0x48 of i2c-1, and a second of that name.
    fn board(name: &str, files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let devices = root.path().join("sys/bus/iio/devices");
        for folder in ["iio:device0", "iio:device1", "trigger0"] {
            fs::create_dir_all(devices.join(folder)).unwrap();
        }
        fs::create_dir_all(root.path().join("sys/bus/i2c/devices/1-0048/iio:device1")).unwrap();
        for (device, name) in [("iio:device0", "mcp3424"), ("iio:device1", name), ("trigger0", name)] {
            fs::write(devices.join(device).join("name"), format!("{name}\n")).unwrap();
        }
        for (file, content) in files {
            fs::write(devices.join("iio:device1").join(file), content).unwrap();
        }
        root
    }

    fn settings(device: &str, parent: Option<&str>, attribute: &str, scale: Option<f64>) -> Settings {
        let mut channel = Settings::default();
        channel.insert("attribute", Setting::Text(attribute.into()));
        if let Some(scale) = scale {
            channel.insert("scale", Setting::Number(scale));
            channel.insert("unit", Setting::Text("g".into()));
        }
        channel.insert("offset", Setting::Number(0.0));
        channel.insert("decimals", Setting::Integer(2));
        let mut settings = Settings::default();
        settings.insert("device", Setting::Text(device.into()));
        if let Some(parent) = parent {
            settings.insert("parent", Setting::Text(parent.into()));
        }
        settings.insert("channels", Setting::Table(vec![("value".into(), channel)]));
        settings
    }

    fn build(root: &tempfile::TempDir, settings: &Settings) -> Result<Box<dyn Sensor>, DriverError> {
        let Role::Sensor { build, .. } = SPEC.role else { panic!("a sensor") };
        build(&mut HostBus::at(root.path()), settings)
    }

    fn check(files: &[(&str, &str)], attribute: &str, scale: Option<f64>, unit: &'static str, value: f64) {
        let root = board("chip", files);
        let sampled = build(&root, &settings("chip", None, attribute, scale)).unwrap().sample().unwrap();
        let fieldgate_model::Value::Number { value: found, .. } = sampled[0].value else { panic!("a number") };
        assert!((found - value).abs() < 1e-9, "{attribute}: {found} is not {value}");
        let Role::Sensor { measurements, .. } = SPEC.role else { panic!("a sensor") };
        assert_eq!(measurements(&settings("chip", None, attribute, scale)), [Quantity::new("value", unit, 2)]);
    }

    #[test]
    fn a_ready_value_becomes_the_usual_unit() {
        check(&[("in_temp_input", "21500")], "in_temp_input", None, "°C", 21.5);
        check(&[("in_pressure_input", "101.325000000\n")], "in_pressure_input", None, "hPa", 1013.25);
        check(&[("in_humidityrelative_input", "44800")], "in_humidityrelative_input", None, "%", 44.8);
        check(&[("in_concentration_co2_input", "0.0415")], "in_concentration_co2_input", None, "ppm", 415.0);
        // A file beside a ready value is not applied to it.
        check(&[("in_temp_input", "21500"), ("in_temp_scale", "2")], "in_temp_input", None, "°C", 21.5);
    }

    #[test]
    fn a_raw_value_is_shifted_and_then_scaled() {
        let temp = [("in_temp_raw", "1200"), ("in_temp_offset", "-200"), ("in_temp_scale", "12.5")];
        check(&temp, "in_temp_raw", None, "°C", 12.5);
        check(&[("in_voltage0_raw", "8000"), ("in_voltage_scale", "0.125")], "in_voltage0_raw", None, "V", 1.0);
        check(&[("in_voltage0_raw", "4000")], "in_voltage0_raw", Some(0.5), "g", 2000.0);
    }

    #[test]
    fn the_nearest_scale_is_taken() {
        let present =
            ["in_voltage0_scale", "in_voltage_scale", "in_voltage-voltage_scale", "in_accel_scale"].map(str::to_owned);
        for (stem, file) in [
            ("in_voltage0", Some("in_voltage0_scale")),
            ("in_voltage1", Some("in_voltage_scale")),
            ("in_voltage0-voltage1", Some("in_voltage-voltage_scale")),
            ("in_accel_x", Some("in_accel_scale")),
            ("in_temp", None),
        ] {
            assert_eq!(beside(stem, "_scale", &present).as_deref(), file, "{stem}");
        }
    }

    #[test]
    fn triggers_are_no_devices_and_the_parent_is_looked_at() {
        let root = board("chip", &[("in_temp_input", "1000")]);
        assert!(build(&root, &settings("chip", Some("1-0048"), "in_temp_input", None)).is_ok());
        assert!(build(&root, &settings("chip", Some("1-0049"), "in_temp_input", None)).is_err());
        let twice = board("mcp3424", &[]);
        let error = build(&twice, &settings("mcp3424", None, "in_temp_input", None)).err().unwrap().to_string();
        assert!(error.contains("2 are called \"mcp3424\"") && error.contains("1-0048"), "{error}");
        let error = build(&root, &settings("hx711", None, "in_temp_input", None)).err().unwrap().to_string();
        assert!(error.contains("mcp3424, chip"), "{error}");
    }

    #[test]
    fn garbage_infinity_and_a_misspelt_attribute_are_errors() {
        let root = board("chip", &[("in_temp_raw", "5"), ("in_temp_scale", "1e308 dB"), ("in_voltage0_raw", "1e308")]);
        let sampled = |attribute, scale| build(&root, &settings("chip", None, attribute, scale)).unwrap().sample();
        assert!(matches!(sampled("in_temp_raw", None), Err(DriverError::Bus(BusError::Format { .. }))));
        assert!(matches!(sampled("in_voltage0_raw", Some(1e9)), Err(DriverError::OutOfRange { .. })));
        let error = sampled("in_temp_input", None).unwrap_err().to_string();
        assert!(error.contains("there are in_temp_raw, in_voltage0_raw"), "{error}");
    }
}
