//! What the simulated kernel makes of the devices that it drives: 1-Wire thermometers, DHT sensors and the HX711.
//!
//! The chips send the bytes of their datasheets; here stands what the drivers of Linux make of them, errors included:
//! w1_therm.c leaves the file empty when a checksum is wrong, dht11.c answers `EIO` for that and `ETIMEDOUT` for silence,
//! hx711.c turns the sign bit round.

use rustix::io::Errno;

use crate::sim::chips::Chip;
use crate::sim::place::Place;
use crate::sim::slots::ChipSlots;

/// The content of a file of a device with this name.
type Show = fn(Answering<'_>, name: &str) -> Result<String, Errno>;

/// The chip, if it answers at all.
type Answering<'c> = Option<&'c mut dyn Chip>;

/// A kind of device that the kernel drives.
struct Kind {
    /// The simulated chip.
    chip: &'static str,
    /// Whether it hangs on 1-Wire; else it is an IIO device.
    one_wire: bool,
    /// The first tells the name.
    files: &'static [(&'static str, Show)],
}

const KINDS: &[Kind] = &[
    Kind { chip: "ds18b20", one_wire: true, files: &[("w1_slave", w1_slave)] },
    Kind { chip: "dht22", one_wire: false, files: DHT },
    Kind { chip: "dht11", one_wire: false, files: DHT },
    Kind {
        chip: "hx711",
        one_wire: false,
        files: &[
            ("name", |_, _| Ok("hx711".into())),
            ("in_voltage0_raw", |chip, _| hx711(chip)),
            ("in_voltage1_raw", |chip, _| hx711(chip)),
        ],
    },
];

const DHT: &[(&str, Show)] = &[
    // The overlay of Raspberry Pi calls its node dht11@0 whatever the pin.
    ("name", |_, name| Ok(if name.contains('@') { name.into() } else { "dht11@0".into() })),
    ("in_temp_input", |chip, _| dht(chip).map(|(celsius, _)| celsius.to_string())),
    ("in_humidityrelative_input", |chip, _| dht(chip).map(|(_, percent)| percent.to_string())),
];

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
        let Some(kind) = KINDS.iter().find(|kind| kind.chip == slot.chip.kind()) else { continue };
        let mut show = |folder: &str, file: &'static str, show| {
            let path = format!("{folder}/{file}");
            all.push(DeviceFile { path, place: place.clone(), name: name.clone(), show });
        };
        let folder = if kind.one_wire {
            // A driver that takes the only one there is has not named it.
            format!("/sys/bus/w1/devices/{}", if name.contains('-') { name } else { "28-000000000001" })
        } else {
            iio += 1;
            // The node of the device tree that it belongs to.
            show(&format!("/sys/bus/platform/devices/{name}/iio:device{iio}"), kind.files[0].0, kind.files[0].1);
            format!("/sys/bus/iio/devices/iio:device{iio}")
        };
        kind.files.iter().for_each(|(file, content)| show(&folder, file, *content));
    }
    all
}

/// Converts, reads the scratchpad and shows it, as `w1_slave_show` does. Nothing is shown of what was damaged.
fn w1_slave(chip: Answering<'_>, _name: &str) -> Result<String, Errno> {
    let mut pad = [0; 9];
    if !chip.is_some_and(|chip| chip.write(&[0x44]) && chip.write(&[0xBE]) && chip.read(&mut pad)) {
        return Ok(String::new());
    }
    let crc = w1_crc(&pad[..8]);
    if crc != pad[8] {
        return Ok(String::new());
    }
    let bytes: String = pad.iter().map(|byte| format!("{byte:02x} ")).collect();
    let milli = i32::from(i16::from_le_bytes([pad[0], pad[1]])) * 1000 / 16;
    Ok(format!("{bytes}: crc={crc:02x} YES\n{bytes}t={milli}"))
}

/// Maxim's CRC-8: polynomial x⁸ + x⁵ + x⁴ + 1, lowest bit first, start 0.
pub(super) fn w1_crc(bytes: &[u8]) -> u8 {
    bytes
        .iter()
        .fold(0, |crc, byte| (0..8).fold(crc ^ byte, |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x8C } else { crc >> 1 }))
}

/// Thousandths of a degree and of a percent, as `dht11_decode` tells the two kinds of chip apart.
fn dht(chip: Answering<'_>) -> Result<(i32, i32), Errno> {
    let mut bytes = [0; 5];
    if !chip.is_some_and(|chip| chip.read(&mut bytes)) {
        return Err(Errno::TIMEDOUT);
    }
    let [humidity, humidity_low, celsius, celsius_low, sum] = bytes;
    if humidity.wrapping_add(humidity_low).wrapping_add(celsius).wrapping_add(celsius_low) != sum {
        return Err(Errno::IO);
    }
    if humidity < 4 {
        let tenths = i32::from(u16::from_be_bytes([celsius & 0x7F, celsius_low]));
        let sign = if celsius & 0x80 == 0 { 100 } else { -100 };
        Ok((tenths * sign, i32::from(u16::from_be_bytes([humidity, humidity_low])) * 100))
    } else if humidity_low == 0 && celsius_low == 0 {
        Ok((i32::from(celsius) * 1000, i32::from(humidity) * 1000))
    } else {
        Err(Errno::IO)
    }
}

/// Counts with the sign bit turned round.
fn hx711(chip: Answering<'_>) -> Result<String, Errno> {
    let mut bytes = [0; 3];
    if !chip.is_some_and(|chip| chip.read(&mut bytes)) {
        return Err(Errno::IO);
    }
    let [high, middle, low] = bytes;
    Ok((u32::from_be_bytes([0, high, middle, low]) ^ 0x80_0000).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_maxims_example_comes_out() {
        // Application note 27: the ROM code 02 1C B8 01 00 00 00 has the CRC A2.
        assert_eq!(w1_crc(&[0x02, 0x1C, 0xB8, 0x01, 0, 0, 0]), 0xA2);
    }
}
