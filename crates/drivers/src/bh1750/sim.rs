//! A simulated Rohm BH1750FVI.
//!
//! BH1750FVI technical note, rev. D: instructions of one byte (page 5), the result as two bytes, high byte first.

use fieldgate_bus::sim::chips::{Chip, Fault, World, fill};

const POWER_DOWN: u8 = 0x00;
const POWER_ON: u8 = 0x01;
const RESET: u8 = 0x07;
/// Measurement time register at power-on.
const DEFAULT_TIME: u8 = 69;

/// What the chip measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Nothing until it gets the order.
    Idle,
    /// Again and again, with this resolution.
    Continuous(Resolution),
    /// It has measured once and powered down.
    Once,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resolution {
    High,
    High2,
    Low,
}

pub(super) struct Bh1750 {
    world: World,
    fault: Option<Fault>,
    powered: bool,
    mode: Mode,
    time: u8,
    result: u16,
}

impl Default for Bh1750 {
    fn default() -> Self {
        let world = World::new([("illuminance", 300.0, 0.0..=200_000.0)]);
        Self { world, fault: None, powered: false, mode: Mode::Idle, time: DEFAULT_TIME, result: 0 }
    }
}

impl Bh1750 {
    fn instruct(&mut self, opcode: u8) {
        match opcode {
            POWER_DOWN => (self.powered, self.mode) = (false, Mode::Idle),
            POWER_ON => self.powered = true,
            RESET if self.powered => self.result = 0,
            0x10..=0x13 | 0x20..=0x23 => self.start(opcode),
            0x40..=0x47 => self.time = self.time & 0x1F | (opcode & 0x07) << 5,
            0x60..=0x7F => self.time = self.time & 0xE0 | opcode & 0x1F,
            // A real chip acknowledges what it does not know and does nothing.
            _ => {}
        }
    }

    fn start(&mut self, opcode: u8) {
        let resolution = match opcode & 0x03 {
            0 => Resolution::High,
            1 => Resolution::High2,
            _ => Resolution::Low,
        };
        if opcode < 0x20 {
            (self.powered, self.mode) = (true, Mode::Continuous(resolution));
        } else {
            self.convert(resolution);
            (self.powered, self.mode) = (false, Mode::Once);
        }
    }

    /// 1.2 counts per lux at the default measurement time, in proportion to it, twice as many in mode 2 (pages 7 and 11).
    fn convert(&mut self, resolution: Resolution) {
        let counts = self.world.clamped("illuminance") * 1.2 * f64::from(self.time) / f64::from(DEFAULT_TIME);
        let counts = match resolution {
            Resolution::High => counts.round(),
            Resolution::High2 => (counts * 2.0).round(),
            // 4 lx in low resolution.
            Resolution::Low => (counts / 4.0).round() * 4.0,
        };
        self.result = counts.min(65_535.0) as u16;
    }
}

impl Chip for Bh1750 {
    fn kind(&self) -> &'static str {
        "bh1750"
    }

    fn write(&mut self, bytes: &[u8]) -> bool {
        if self.fault == Some(Fault::Nak) {
            return false;
        }
        for opcode in bytes {
            self.instruct(*opcode);
        }
        true
    }

    fn read(&mut self, buffer: &mut [u8]) -> bool {
        if self.fault == Some(Fault::Nak) {
            return false;
        }
        if let Mode::Continuous(resolution) = self.mode {
            self.convert(resolution);
        }
        let result = match self.fault {
            Some(Fault::PowerOn | Fault::NotReady) => 0,
            Some(Fault::Stuck) => 0xFFFF,
            _ => self.result,
        };
        fill(buffer, result.to_be_bytes());
        true
    }

    fn world(&self) -> Vec<(&'static str, f64)> {
        self.world.list()
    }

    fn set_world(&mut self, name: &str, value: f64) -> bool {
        self.world.set(name, value)
    }

    /// `power-on` also takes the chip back to that state, as a short loss of its supply does.
    fn set_fault(&mut self, fault: Option<&str>) -> bool {
        let knows = [Fault::Nak, Fault::NotReady, Fault::PowerOn, Fault::Stuck];
        let known = Fault::set(&mut self.fault, fault, &knows);
        if known && self.fault == Some(Fault::PowerOn) {
            (self.powered, self.mode, self.time, self.result) = (false, Mode::Idle, DEFAULT_TIME, 0);
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(chip: &mut Bh1750) -> u16 {
        let mut bytes = [0; 2];
        assert!(chip.read(&mut bytes));
        u16::from_be_bytes(bytes)
    }

    #[test]
    fn it_measures_only_when_ordered_to() {
        let mut chip = Bh1750::default();
        assert_eq!(read(&mut chip), 0);
        assert!(chip.write(&[0x01]) && chip.write(&[0x10]));
        assert_eq!(read(&mut chip), 360);
        assert!(chip.write(&[0x11]));
        assert_eq!(read(&mut chip), 720);
        assert!(chip.set_world("illuminance", 60_000.0));
        assert_eq!(read(&mut chip), 0xFFFF);
    }

    #[test]
    fn the_measurement_time_scales_the_result() {
        let mut chip = Bh1750::default();
        assert!(chip.write(&[0x44]) && chip.write(&[0x6A]) && chip.write(&[0x10]));
        assert_eq!(chip.time, 138);
        assert_eq!(read(&mut chip), 720);
    }

    #[test]
    fn a_single_measurement_keeps_its_value() {
        let mut chip = Bh1750::default();
        assert!(chip.write(&[0x20]) && chip.set_world("illuminance", 10.0));
        assert_eq!(read(&mut chip), 360);
    }
}
