//! A simulated Microchip MCP9808.
//!
//! DS25095, "Register Set": 16-bit registers behind a pointer, high byte first, and one of 8 bits for the resolution.

use fieldgate_bus::sim::chips::{Chip, Fault, World, fill};

const CONFIGURATION: u8 = 0x01;
const AMBIENT: u8 = 0x05;
const MAKER: u8 = 0x06;
const DEVICE: u8 = 0x07;
const RESOLUTION: u8 = 0x08;

const SHUTDOWN: u16 = 0x0100;
/// For the critical limit, for the window.
const LOCKS: u16 = 0x00C0;
/// What a program may change, but for the locks.
const WRITABLE: u16 = 0x07CF;
/// A bit for what is above the critical limit, above the window and below it.
const ABOVE_CRITICAL: u16 = 0x8000;
const ABOVE: u16 = 0x4000;
const BELOW: u16 = 0x2000;

pub(super) struct Mcp9808 {
    world: World,
    fault: Option<Fault>,
    pointer: u8,
    configuration: u16,
    /// Upper, lower, critical: quarters of a degree in sixteenths.
    limits: [u16; 3],
    resolution: u8,
    /// In sixteenths of a degree.
    result: i16,
}

impl Default for Mcp9808 {
    fn default() -> Self {
        let world = World::new([("temperature", 21.5, -55.0..=150.0)]);
        Self { world, fault: None, pointer: 0, configuration: 0, limits: [0; 3], resolution: 3, result: 0 }
    }
}

impl Mcp9808 {
    /// Where a lock is set, hysteresis, shutdown and what else concerns the alert stay as they are.
    fn configure(&mut self, word: u16) {
        self.configuration =
            if self.configuration & LOCKS == 0 { word & WRITABLE } else { self.configuration | word & LOCKS };
    }

    fn ambient(&mut self) -> u16 {
        if self.configuration & SHUTDOWN == 0 && self.fault != Some(Fault::PowerOn) {
            let sixteenths = (self.world.clamped("temperature") * 16.0).round() as i16;
            // Half a degree for resolution 0, half as much for each step.
            self.result = sixteenths & !(7 >> self.resolution);
        }
        let limit = |register: usize| (self.limits[register] << 3).cast_signed() >> 3;
        let flag = |is: bool, bit: u16| if is { bit } else { 0 };
        flag(self.result >= limit(2), ABOVE_CRITICAL)
            | flag(self.result > limit(0), ABOVE)
            | flag(self.result < limit(1), BELOW)
            | self.result.cast_unsigned() & 0x1FFF
    }

    fn register(&mut self) -> u16 {
        match self.pointer {
            // Reserved, and fixed.
            0 => 0x001F,
            CONFIGURATION => self.configuration,
            2..=4 => self.limits[usize::from(self.pointer - 2)],
            AMBIENT => self.ambient(),
            MAKER if self.fault == Some(Fault::WrongId) => 0x1131,
            MAKER => 0x0054,
            DEVICE => 0x0400,
            _ => 0,
        }
    }
}

impl Chip for Mcp9808 {
    fn kind(&self) -> &'static str {
        "mcp9808"
    }

    fn write(&mut self, bytes: &[u8]) -> bool {
        if self.fault == Some(Fault::Nak) {
            return false;
        }
        let Some((pointer, value)) = bytes.split_first() else { return true };
        self.pointer = pointer & 0x0F;
        match (self.pointer, value) {
            (CONFIGURATION, [high, low, ..]) => self.configure(u16::from_be_bytes([*high, *low])),
            (2..=4, [high, low, ..]) if self.configuration & LOCKS == 0 => {
                self.limits[usize::from(self.pointer - 2)] = u16::from_be_bytes([*high, *low]) & 0x1FFC;
            }
            (RESOLUTION, [value, ..]) => self.resolution = value & 0x03,
            _ => {}
        }
        true
    }

    fn read(&mut self, buffer: &mut [u8]) -> bool {
        match self.pointer {
            _ if self.fault == Some(Fault::Nak) => return false,
            _ if self.fault == Some(Fault::Stuck) => fill(buffer, []),
            RESOLUTION => fill(buffer, [self.resolution]),
            _ => fill(buffer, self.register().to_be_bytes()),
        }
        true
    }

    fn world(&self) -> Vec<(&'static str, f64)> {
        self.world.list()
    }

    fn set_world(&mut self, name: &str, value: f64) -> bool {
        self.world.set(name, value)
    }

    /// `power-on` also takes the chip back to that state, before its first conversion.
    fn set_fault(&mut self, fault: Option<&str>) -> bool {
        let knows = [Fault::Nak, Fault::PowerOn, Fault::WrongId, Fault::Stuck];
        let known = Fault::set(&mut self.fault, fault, &knows);
        if known && self.fault == Some(Fault::PowerOn) {
            (self.configuration, self.limits, self.resolution, self.result) = (0, [0; 3], 3, 0);
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(chip: &mut Mcp9808, pointer: u8) -> u16 {
        let mut bytes = [0; 2];
        assert!(chip.write(&[pointer]) && chip.read(&mut bytes));
        u16::from_be_bytes(bytes)
    }

    #[test]
    fn it_has_its_makers_id_its_own_and_a_temperature_with_flags() {
        let mut chip = Mcp9808::default();
        assert_eq!((read(&mut chip, 6), read(&mut chip, 7)), (0x0054, 0x0400));
        assert_eq!(read(&mut chip, 5), 0xC158, "21.5 °C, above limits that are 0 °C");
        assert!(chip.set_world("temperature", -1.0));
        assert_eq!(read(&mut chip, 5), 0x3FF0, "below them");
    }

    #[test]
    fn resolution_and_shutdown_are_obeyed() {
        let mut chip = Mcp9808::default();
        assert!(chip.set_world("temperature", 21.4375));
        for (resolution, word) in [(3, 0xC157), (2, 0xC156), (1, 0xC154), (0, 0xC150)] {
            assert!(chip.write(&[8, resolution]));
            assert_eq!(read(&mut chip, 5), word, "{resolution}");
        }
        assert!(chip.write(&[1, 0x01, 0x00]) && chip.set_world("temperature", 30.0));
        assert_eq!(read(&mut chip, 5), 0xC150);
    }

    #[test]
    fn a_lock_ends_with_the_supply_alone() {
        let mut chip = Mcp9808::default();
        assert!(chip.write(&[1, 0x00, 0x80]) && chip.write(&[1, 0x02, 0x00]));
        assert_eq!(read(&mut chip, 1), 0x0080);
        assert!(chip.set_fault(Some("power-on")));
        assert_eq!(read(&mut chip, 1), 0x0000);
    }
}
