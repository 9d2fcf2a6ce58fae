//! What the drivers of devices that the kernel drives have in common: finding a device by its name, and the user's table of
//! channels.
//!
//! The numbers of these devices change between boots, so a device is found by the name that its kernel driver gives it,
//! and, where two have the same, by the place at which it sits.

use std::io::ErrorKind;

use crate::DriverError;
use fieldgate_bus::sysfs::shown;
use fieldgate_bus::{BusError, Files};
use fieldgate_model::{Field, Form, Kind, Measurement, Need, Quantity, Settings};

/// Where a kind of device is found.
pub(super) struct Class {
    /// The chip in errors: `hwmon device`.
    pub(super) what: &'static str,
    /// The folder with one entry per device.
    pub(super) folder: &'static str,
    /// How entries begin; the folder of IIO has triggers too.
    pub(super) prefix: &'static str,
    /// Where a parent's folder has its entries: in a folder of this name, or right in it if empty.
    pub(super) below_parent: &'static str,
}

/// Finds the device that `device` and `parent` of the settings mean; its folder.
pub(super) fn find(files: &dyn Files, class: &Class, settings: &Settings) -> Result<String, DriverError> {
    let wanted = settings.text("device");
    find_named(files, class, wanted, |name| name == wanted, settings.optional_text("parent"))
}

/// Finds the device whose name `fits`, which errors call `wanted`, and of several the one on `parent`; its folder.
pub(super) fn find_named(
    files: &dyn Files,
    class: &Class,
    wanted: &str,
    fits: impl Fn(&str) -> bool,
    parent: Option<&str>,
) -> Result<String, DriverError> {
    let (mut fitting, mut names) = (Vec::new(), Vec::new());
    for entry in files.list(class.folder)?.into_iter().filter(|entry| entry.starts_with(class.prefix)) {
        // A device may go while we look, and some have no name.
        let Ok(name) = files.read(&format!("{}/{entry}/name", class.folder)) else { continue };
        if fits(&name) {
            fitting.push(entry);
        } else {
            names.push(name);
        }
    }
    let absent = |why: String| DriverError::NoDevice { chip: class.what, place: class.folder.to_owned(), why };
    if fitting.is_empty() {
        return Err(absent(if names.is_empty() {
            format!("{wanted:?} was looked for, and there are none at all")
        } else {
            format!("{wanted:?} was looked for, and there are {}", names.join(", "))
        }));
    }
    let Some(parent) = parent else {
        return match fitting.as_slice() {
            [one] => Ok(format!("{}/{one}", class.folder)),
            several => Err(absent(ambiguous(files, class, wanted, several)?)),
        };
    };
    for entry in fitting {
        if parents(files, class, &entry, Some(parent))?.iter().any(|found| found == parent) {
            return Ok(format!("{}/{entry}", class.folder));
        }
    }
    Err(absent(format!("there is {wanted:?}, but none whose parent is {parent:?}")))
}

/// The names of the bus devices that own `entry`; of those called `only`, if it is given.
fn parents(files: &dyn Files, class: &Class, entry: &str, only: Option<&str>) -> Result<Vec<String>, BusError> {
    let mut found = Vec::new();
    for bus in files.list("/sys/bus")? {
        let devices = match only {
            Some(name) => vec![name.to_owned()],
            None => files.list(&format!("/sys/bus/{bus}/devices"))?,
        };
        for device in devices.into_iter().filter(|device| !device.contains('/')) {
            let below = format!("/sys/bus/{bus}/devices/{device}/{}", class.below_parent);
            if files.list(&below)?.iter().any(|child| child == entry) {
                found.push(device);
            }
        }
    }
    Ok(found)
}

fn ambiguous(files: &dyn Files, class: &Class, wanted: &str, entries: &[String]) -> Result<String, BusError> {
    let mut places = Vec::new();
    for entry in entries {
        places.extend(parents(files, class, entry, None)?);
    }
    Ok(format!("{} are called {wanted:?}; set parent to one of: {}", entries.len(), places.join(", ")))
}

/// By which name the kernel calls the device.
pub(super) const DEVICE: Field = Field {
    name: "device",
    kind: Kind::Text,
    need: Need::Required,
    doc: "the device's name, as its file `name` says it",
};

/// What is read of the device.
pub(super) const CHANNELS: Field = Field {
    name: "channels",
    kind: Kind::Table(CHANNEL),
    need: Need::Required,
    doc: "measurements by name ([a-z0-9_]), each from one file of the device",
};

/// The keys of one channel.
const CHANNEL: &[Field] = &[
    Field {
        name: "attribute",
        kind: Kind::Text,
        need: Need::Required,
        doc: "the file of the device, such as temp1_input or in_temp_raw",
    },
    Field {
        name: "scale",
        kind: Kind::Number { min: -1e12, max: 1e12 },
        need: Need::Optional,
        doc: "factor on the file's number; left out, it turns the kernel's unit into the usual one",
    },
    Field {
        name: "offset",
        kind: Kind::Number { min: -1e12, max: 1e12 },
        need: Need::Default("0"),
        doc: "added after the scale, in the unit of the measurement",
    },
    Field {
        name: "unit",
        kind: Kind::Text,
        need: Need::Optional,
        doc: "the unit to announce; left out, the usual one of this kind of file",
    },
    Field {
        name: "decimals",
        kind: Kind::Integer { min: 0, max: 9 },
        need: Need::Default("3"),
        doc: "decimals worth publishing",
    },
];

/// One entry of `channels`.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) quantity: Quantity,
    pub(super) attribute: String,
    scale: f64,
    offset: f64,
}

/// How a kernel interface writes one kind of attribute: its beginning, the factor into the unit, the unit.
pub(super) type UnitRow = (&'static str, f64, &'static str);

/// The channels of the settings. What `units` says about an attribute is the default of its scale and unit.
pub(super) fn channels(settings: &Settings, units: &[UnitRow]) -> Vec<Channel> {
    settings.table("channels").iter().map(|(name, settings)| channel(name, settings, units)).collect()
}

fn channel(name: &str, settings: &Settings, units: &[UnitRow]) -> Channel {
    let attribute = settings.text("attribute");
    let known = units.iter().find(|(prefix, ..)| attribute.starts_with(prefix));
    let (scale, unit) = known.map_or((1.0, ""), |(_, scale, unit)| (*scale, *unit));
    Channel {
        quantity: Quantity {
            name: name.to_owned().into(),
            unit: settings.optional_text("unit").unwrap_or(unit).to_owned().into(),
            decimals: u8::try_from(settings.integer("decimals")).unwrap_or(0),
            form: Form::Number,
            count_scale: None,
        },
        attribute: attribute.to_owned(),
        scale: settings.get("scale").map_or(scale, |_| settings.number("scale")),
        offset: settings.number("offset"),
    }
}

impl Channel {
    /// Checks what the form of the settings cannot: the name, and that the attribute is a file of the device.
    pub(super) fn check(&self) -> Result<(), DriverError> {
        let name = &self.quantity.name;
        let wrong = |place: String, why: &str| DriverError::NoDevice { chip: "channel", place, why: why.to_owned() };
        if let Some(why) = bad_measurement_name(name) {
            return Err(wrong(format!("channels.{name}"), why));
        }
        if self.attribute.is_empty() || self.attribute.contains('/') || self.attribute.starts_with('.') {
            let why = "an attribute is the name of a file of the device";
            return Err(wrong(format!("channels.{name}.attribute {:?}", self.attribute), why));
        }
        Ok(())
    }

    /// The kernel's value in the unit of the channel.
    pub(super) fn measured(&self, kernel_value: f64) -> Result<Measurement, DriverError> {
        let value = kernel_value * self.scale + self.offset;
        if !value.is_finite() {
            return Err(DriverError::OutOfRange { quantity: "a channel", value });
        }
        Ok(self.quantity.measured(value))
    }
}

/// Why `name` cannot name a measurement, if so: it becomes a key of the payload beside Fieldgate's own.
pub fn bad_measurement_name(name: &str) -> Option<&'static str> {
    if ["time", "run", "seq", "clock", "late", "samples"].contains(&name) {
        return Some("time, run, seq, clock, late and samples are Fieldgate's own keys");
    }
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    (name.is_empty() || !name.chars().all(plain)).then_some("a measurement's name is made of a-z, 0-9 and _")
}

/// Reads a file of the device that holds one number. A file that is not there means that the device went, perhaps to
/// come back under another number, or that the attribute is misspelt: both want the device looked for again.
pub(super) fn number(files: &dyn Files, folder: &str, attribute: &str) -> Result<f64, DriverError> {
    let path = format!("{folder}/{attribute}");
    let text = match files.read(&path) {
        Err(BusError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
            return Err(DriverError::NoDevice { chip: "file", place: path, why: present(files, folder)? });
        }
        text => text?,
    };
    let number = text.parse().ok().filter(|number: &f64| number.is_finite());
    number.ok_or_else(|| BusError::Format { path, found: shown(&text), expected: "a number" }.into())
}

/// The files with values of a device, in words.
fn present(files: &dyn Files, folder: &str) -> Result<String, BusError> {
    let mut names = files.list(folder)?;
    names.retain(|name| name.ends_with("_input") || name.ends_with("_raw"));
    Ok(if names.is_empty() { "it has no such files at all".into() } else { format!("there are {}", names.join(", ")) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurements_name_is_one_lower_case_term_and_not_a_key_of_ours() {
        for name in ["temperature", "voltage_0", "co2"] {
            assert_eq!(bad_measurement_name(name), None, "{name}");
        }
        for name in ["", "time", "late", "Temperature", "cpu-fan", "a b", "größe"] {
            assert!(bad_measurement_name(name).is_some(), "{name}");
        }
    }

    #[test]
    fn a_channel_that_is_no_file_of_the_device_is_refused() {
        let channel = |attribute: &str| Channel {
            quantity: Quantity::new("temperature", "", 1),
            attribute: attribute.into(),
            scale: 1.0,
            offset: 0.0,
        };
        assert!(channel("temp1_input").check().is_ok());
        for attribute in ["", "../../proc/kcore", "..", ".", "/etc/passwd"] {
            assert!(channel(attribute).check().is_err(), "{attribute}");
        }
        let error =
            channel("temp1_input").measured(f64::MAX).and(Channel { scale: 1e9, ..channel("a") }.measured(f64::MAX));
        assert!(matches!(error, Err(DriverError::OutOfRange { .. })));
    }
}
