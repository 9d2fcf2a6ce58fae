//! ds18b20: Maxim's thermometers on 1-Wire: DS18B20, DS18S20, DS1822, DS28EA00, and what copies them (MAX31820).
//!
//! Datasheets: Maxim DS18B20, 19-7487 revision 6; DS18S20, 19-5474. The kernel's Documentation/w1/slaves/w1_therm describes the
//! form of the file `w1_slave`.
//! In parasite power (VDD at ground) the kernel drives the line high during a conversion, which needs an overlay with a
//! strong pull-up.
//!
//! The kernel converts and reads, which takes up to 750 ms, and shows the nine bytes of the scratchpad; the driver computes
//! from these, because they say more than the kernel's temperature. The last is a checksum over the others.
//!
//! A thermometer that had no supply during the conversion reports 85 °C, its value at power-on. With it byte 6 is 0x0C; after a
//! conversion to 85 °C the maker's own chips have 0x10 there. Copies may have anything, and the DS18S20 counts with that byte:
//! there 85 °C is believed only next to the reading before.

mod sim;

use std::io::ErrorKind;
use std::ops::RangeInclusive;
use std::rc::Rc;

use rustix::io::Errno;

use crate::checksum::crc8_of_maxim;
use crate::i2c_chip::within;
use crate::{BusNeed, DriverError, DriverSpec, Proof, Role, Sensor};
use fieldgate_bus::sim::chips::ChipSpec;
use fieldgate_bus::sysfs::shown;
use fieldgate_bus::w1::DEVICES;
use fieldgate_bus::{BusError, Files, sysfs};
use fieldgate_model::{Field, Kind, Measurement, Need, Quantity, Wrong};

/// The driver's line in [`DRIVERS`](crate::DRIVERS).
pub static SPEC: DriverSpec = DriverSpec {
    name: "ds18b20",
    summary: "Maxim DS18B20, DS18S20, DS1822, MAX31820: temperature over 1-Wire",
    page: "\
Wiring: DQ to GPIO4 with 4.7 kΩ to 3.3 V, VDD to 3.3 V, ground. Switch 1-Wire
on: dtoverlay=w1-gpio in config.txt, another pin with ,gpiopin=N. Write a bus
of type w1. `ls /sys/bus/w1/devices` lists what the kernel has found.

temperature  −55 to 125 °C; ±0.5 °C from −10 to 85 °C, DS1822 ±2 °C

A conversion takes up to 750 ms. A wrong checksum, a line held at ground and
the 85 °C of a thermometer without supply are refused; a real 85 °C is published
from it by the chip's own mark, or by a reading near it just before.",
    bus: BusNeed::W1,
    settings: &[Field {
        name: "id",
        kind: Kind::Text,
        need: Need::Optional,
        doc: "which thermometer, such as 28-00000a1b2c3d; left out, the only one that there is",
    }],
    claims: |settings| vec![sysfs::DEVICE.claim(settings.optional_text("id").unwrap_or("ds18b20"))],
    wrong: |settings| {
        let id = settings.optional_text("id").filter(|id| !id.starts_with(char::is_control))?;
        Some(wrong_id(id)?.at("id"))
    },
    role: Role::Sensor {
        measurements: |_| vec![TEMPERATURE],
        default_every: None,
        build: |bus, settings| Ok(Box::new(Thermometer::find(bus.files()?, settings.optional_text("id"))?)),
    },
    example: "\
tank:
  driver: ds18b20
  bus: wire
  every: 30s
  settings: { id: 28-00000a1b2c3d }",
    identity: None,
    chip: Some(ChipSpec::behind_kernel(|| Box::new(sim::Ds18b20::default()), sim::DEVICE)),
    proofs: &[Proof::Datasheet("Maxim 19-7487, table 1"), Proof::Reference("w1thermsensor 2.3.0")],
};

const TEMPERATURE: Quantity = Quantity::new("temperature", "°C", 2);

const CELSIUS: RangeInclusive<f64> = -55.0..=125.0;

/// The temperature of a scratchpad at power-on.
const POWER_ON: f64 = 85.0;
/// Byte 6 at power-on, and after a conversion that ends on a whole degree.
const UNCONVERTED: u8 = 0x0C;
const WHOLE_DEGREE: u8 = 0x10;
/// How near the reading before must be for 85 °C to be believed without a mark.
const NEAR: f64 = 5.0;

/// The families with a scratchpad of either kind. The DS1825 is left out: the MAX31850 for thermocouples shares its code and
/// has another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    /// DS18B20, MAX31820 (28), DS1822 (22), DS28EA00 (42): sixteenths of a degree.
    Sixteenths,
    /// DS18S20, DS1820 (10): halves, and a counter for the rest.
    Halves,
}

impl Family {
    fn of(id: &str) -> Option<Self> {
        let (family, serial) = id.split_once('-')?;
        if serial.len() != 12 || !serial.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        match family {
            "28" | "22" | "42" => Some(Self::Sixteenths),
            "10" => Some(Self::Halves),
            _ => None,
        }
    }

    /// Table 1; for halves the formula under "Operation: measuring temperature" of the DS18S20. `None` for what no
    /// conversion leaves.
    fn celsius(self, pad: &[u8; 9]) -> Option<f64> {
        let raw = i16::from_le_bytes([pad[0], pad[1]]);
        match self {
            // Five bits of the configuration always read as ones, the highest as zero (figure 10).
            Self::Sixteenths if pad[4] & 0x9F == 0x1F => {
                let undefined = 3 - (pad[4] >> 5 & 3);
                Some(f64::from(raw >> undefined << undefined) / 16.0)
            }
            Self::Halves if pad[7] != 0 => {
                let (left, per_degree) = (f64::from(pad[6]), f64::from(pad[7]));
                Some(f64::from(raw >> 1) - 0.25 + (per_degree - left) / per_degree)
            }
            _ => None,
        }
    }
}

/// What is wrong with an id; nothing for one that a thermometer may have. The kernel writes the family,
/// a dash and the serial number, highest byte first, in small letters, and leaves the checksum out.
fn wrong_id(id: &str) -> Option<Wrong> {
    const FORM: &str = "write it as `ls /sys/bus/w1/devices` shows it, such as 28-00000a1b2c3d";
    if Family::of(id).is_some() {
        let is_small = !id.bytes().any(|byte| byte.is_ascii_uppercase());
        let hint = || format!("write {}", id.to_ascii_lowercase());
        return (!is_small).then(|| Wrong::new("the kernel writes ids in small letters", hint()));
    }
    let digits: String = id.chars().filter(|c| !matches!(c, '-' | ':' | ' ' | '.')).collect();
    let bytes: Option<Vec<u8>> = (digits.is_ascii() && digits.len() == 16)
        .then(|| (0..8).map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).ok()).collect())
        .flatten();
    if let Some(rom) = bytes {
        // All eight bytes as a microcontroller's library prints them, in the order of the wire.
        if crc8_of_maxim(&rom[..7]) != rom[7] {
            return Some(Wrong::new("the last byte of this id is not the checksum of the others", FORM));
        }
        let serial: String = rom[1..7].iter().rev().map(|byte| format!("{byte:02x}")).collect();
        let hint = format!("the kernel calls it {:02x}-{serial}", rom[0]);
        return Some(Wrong::new("this id is written in another order than the kernel's", hint));
    }
    let is_id = |serial: &str| serial.len() == 12 && serial.bytes().all(|byte| byte.is_ascii_hexdigit());
    match id.split_once('-') {
        Some((family, serial)) if is_id(serial) && family.len() == 2 => {
            Some(Wrong::new(format!("family {family} is not that of a thermometer"), "they have 28, 10, 22 or 42"))
        }
        _ => Some(Wrong::new("this is not the id of a 1-Wire device", FORM)),
    }
}

struct Thermometer {
    files: Rc<dyn Files>,
    id: String,
    family: Family,
    last: Option<f64>,
}

impl Thermometer {
    fn find(files: Rc<dyn Files>, wanted: Option<&str>) -> Result<Self, DriverError> {
        let mut present = files.list(DEVICES)?;
        present.retain(|id| Family::of(id).is_some());
        let id = match (wanted, present.as_slice()) {
            (Some(wanted), present) if present.iter().any(|id| id == wanted) => wanted.to_owned(),
            (Some(wanted), _) if Family::of(wanted).is_none() => {
                return Err(absent(format!("{wanted:?} is not the id of a thermometer; {}", listed(&present))));
            }
            (Some(wanted), present) => return Err(absent(format!("{wanted} was looked for; {}", listed(present)))),
            (None, [only]) => only.clone(),
            (None, []) => return Err(absent(listed(&[]))),
            (None, several) => return Err(absent(format!("set id to one of them; {}", listed(several)))),
        };
        let family = Family::of(&id).ok_or_else(|| absent(listed(&present)))?;
        Ok(Self { files, id, family, last: None })
    }

    /// The nine bytes, if the kernel got them and their checksum is right.
    fn scratchpad(&self) -> Result<[u8; 9], DriverError> {
        let path = format!("{DEVICES}/{}/w1_slave", self.id);
        let text = match self.files.read(&path) {
            Err(BusError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                return Err(absent(format!("the kernel does not find {} any more", self.id)));
            }
            text => text?,
        };
        // Since Linux 5.8 the kernel says nothing at all when nobody answers or the checksum is wrong.
        if text.is_empty() {
            let what = format!("{} did not answer, or not without damage; reading it", self.id);
            return Err(BusError::Io { what, source: Errno::IO.into() }.into());
        }
        let pad = parse(&text).ok_or_else(|| BusError::Format {
            path: path.clone(),
            found: shown(&text),
            expected: "nine bytes of a scratchpad",
        })?;
        let (computed, received) = (crc8_of_maxim(&pad[..8]), pad[8]);
        if computed != received {
            return Err(DriverError::BadChecksum { computed, received });
        }
        Ok(pad)
    }

    /// Whether 85 °C is the value of power-on and not of a conversion.
    fn is_unconverted(&self, pad: &[u8; 9]) -> bool {
        match (self.family, pad[6]) {
            (Family::Sixteenths, UNCONVERTED) => true,
            (Family::Sixteenths, WHOLE_DEGREE) => false,
            _ => self.last.is_none_or(|last| (last - POWER_ON).abs() > NEAR),
        }
    }
}

impl Sensor for Thermometer {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        let pad = self.scratchpad()?;
        let celsius = self.family.celsius(&pad).ok_or_else(|| BusError::Format {
            path: format!("the scratchpad of {}", self.id),
            found: format!("{pad:02x?}"),
            expected: "one of a thermometer; a line that is held at ground reads as zeros",
        })?;
        if celsius == POWER_ON && self.is_unconverted(&pad) {
            return Err(DriverError::NotReady(
                "the thermometer, which reports the 85 °C of power-on (is its supply sound?),",
            ));
        }
        let celsius = within("temperature", celsius, &CELSIUS)?;
        self.last = Some(celsius);
        Ok(vec![TEMPERATURE.measured(celsius)])
    }
}

fn absent(why: String) -> DriverError {
    DriverError::NoDevice { chip: "1-Wire thermometer", place: DEVICES.to_owned(), why }
}

fn listed(present: &[String]) -> String {
    if present.is_empty() {
        "the kernel has found none: check the wiring and the 4.7 kΩ from DQ to 3.3 V".to_owned()
    } else {
        format!("there are {}", present.join(", "))
    }
}

/// `72 01 4b 46 7f ff 0e 10 57 : crc=57 YES`, of which the bytes count; what the kernel thinks of them we see ourselves.
fn parse(text: &str) -> Option<[u8; 9]> {
    let mut words = text.lines().next()?.split_whitespace();
    let mut pad = [0; 9];
    for byte in &mut pad {
        *byte = u8::from_str_radix(words.next()?, 16).ok()?;
    }
    (words.next() == Some(":")).then_some(pad)
}

#[cfg(test)]
mod tests;
