//! A simulated Maxim DS18B20, at the level of its function commands.
//!
//! Datasheet 19-7487: the memory map in figure 9, commands in table 3. `read` gives the scratchpad after 0xBE. Below it
//! stands what the kernel's w1_therm.c makes of that: a file that is empty when the checksum is wrong.

use rustix::io::Errno;

use fieldgate_bus::sim::chips::{Chip, Fault, World, fill};
use fieldgate_bus::sim::{Answering, KernelDevice, Subsystem};

const CONVERT: u8 = 0x44;
const WRITE_SCRATCHPAD: u8 = 0x4E;
const READ_SCRATCHPAD: u8 = 0xBE;

/// At power-on: 85 °C, the alarms of the factory, 12 bits.
const POWER_ON: [u8; 8] = [0x50, 0x05, 0x4B, 0x46, 0x7F, 0xFF, 0x0C, 0x10];

pub(super) struct Ds18b20 {
    world: World,
    fault: Option<Fault>,
    pad: [u8; 8],
    reading: bool,
}

impl Default for Ds18b20 {
    fn default() -> Self {
        let world = World::new([("temperature", 21.5, -55.0..=125.0)]);
        Self { world, fault: None, pad: POWER_ON, reading: false }
    }
}

impl Ds18b20 {
    /// In the steps of the configuration; byte 6 counts down what is left of a degree.
    fn convert(&mut self) {
        let undefined = 3 - (self.pad[4] >> 5 & 3);
        let sixteenths = (self.world.clamped("temperature") * 16.0).round() as i16;
        [self.pad[0], self.pad[1]] = (sixteenths >> undefined << undefined).to_le_bytes();
        self.pad[6] = 0x10 - (self.pad[0] & 0x0F);
    }
}

impl Chip for Ds18b20 {
    fn kind(&self) -> &'static str {
        "ds18b20"
    }

    fn write(&mut self, bytes: &[u8]) -> bool {
        if self.fault == Some(Fault::Nak) {
            return false;
        }
        self.reading = false;
        match bytes {
            // Without supply during a conversion the chip starts again.
            [CONVERT] if self.fault == Some(Fault::PowerOn) => self.pad = POWER_ON,
            [CONVERT] => self.convert(),
            [WRITE_SCRATCHPAD, high, low, config] => {
                (self.pad[2], self.pad[3], self.pad[4]) = (*high, *low, config & 0x60 | 0x1F);
            }
            [READ_SCRATCHPAD] => self.reading = true,
            _ => {}
        }
        true
    }

    fn read(&mut self, buffer: &mut [u8]) -> bool {
        if self.fault == Some(Fault::Nak) {
            return false;
        }
        let damage = if self.fault == Some(Fault::Checksum) { 0x01 } else { 0 };
        let driven = self.reading && self.fault != Some(Fault::Stuck);
        let answer = self.pad.into_iter().chain([crc(&self.pad) ^ damage]);
        fill(buffer, answer.filter(|_| driven));
        true
    }

    fn world(&self) -> Vec<(&'static str, f64)> {
        self.world.list()
    }

    fn set_world(&mut self, name: &str, value: f64) -> bool {
        self.world.set(name, value)
    }

    fn set_fault(&mut self, fault: Option<&str>) -> bool {
        Fault::set(&mut self.fault, fault, &[Fault::Nak, Fault::Checksum, Fault::PowerOn, Fault::Stuck])
    }
}

/// The shift register of the datasheet's figure 11: taps behind the fifth and fourth stage.
fn crc(bytes: &[u8]) -> u8 {
    let mut register = 0_u8;
    for bit in bytes.iter().flat_map(|byte| (0..8).map(move |n| byte >> n & 1)) {
        let feedback = register & 1 ^ bit;
        register = register >> 1 ^ feedback << 7 ^ feedback << 3 ^ feedback << 2;
    }
    register
}

/// As w1_therm.c shows it.
pub(super) const DEVICE: KernelDevice =
    KernelDevice { subsystem: Subsystem::OneWire, files: &[("w1_slave", w1_slave)] };

/// Converts, reads the scratchpad and shows it, as `w1_slave_show` does. Nothing is shown of what was damaged.
fn w1_slave(chip: Answering<'_>, _name: &str) -> Result<String, Errno> {
    let mut pad = [0; 9];
    if !chip.is_some_and(|chip| chip.write(&[CONVERT]) && chip.write(&[READ_SCRATCHPAD]) && chip.read(&mut pad)) {
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

/// Maxim's CRC-8 as the kernel has it: polynomial x⁸ + x⁵ + x⁴ + 1, lowest bit first, start 0.
fn w1_crc(bytes: &[u8]) -> u8 {
    bytes
        .iter()
        .fold(0, |crc, byte| (0..8).fold(crc ^ byte, |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x8C } else { crc >> 1 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_maxims_example_comes_out() {
        // Application note 27: the ROM code 02 1C B8 01 00 00 00 has the CRC A2.
        assert_eq!(w1_crc(&[0x02, 0x1C, 0xB8, 0x01, 0, 0, 0]), 0xA2);
    }

    fn scratchpad(chip: &mut Ds18b20) -> [u8; 9] {
        let mut pad = [0; 9];
        assert!(chip.write(&[0xBE]) && chip.read(&mut pad));
        pad
    }

    #[test]
    fn at_power_on_it_reports_85_degrees_and_after_a_conversion_its_world() {
        let mut chip = Ds18b20::default();
        assert_eq!(scratchpad(&mut chip), [0x50, 0x05, 0x4B, 0x46, 0x7F, 0xFF, 0x0C, 0x10, 0x1C]);
        assert!(chip.set_world("temperature", 25.0625) && chip.write(&[0x44]));
        assert_eq!(scratchpad(&mut chip)[..2], [0x91, 0x01]);
        assert_eq!(chip.pad[6], 0x0F);
        assert!(chip.write(&[0x4E, 0x4B, 0x46, 0x1F]) && chip.write(&[0x44]));
        assert_eq!(scratchpad(&mut chip)[..2], [0x90, 0x01]);
    }
}
