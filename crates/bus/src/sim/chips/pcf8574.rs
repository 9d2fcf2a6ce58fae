//! A simulated PCF8574 or PCF8574A expander: eight quasi-bidirectional pins.
//!
//! NXP PCF8574; PCF8574A, Rev. 5, section 8: there is one register, written and read without a pointer. A pin that was
//! written 0 is held low; one that was written 1, as all are after power-on, is pulled up weakly and reads what is
//! connected to it.
//!
//! A pin's world is what is connected to it: 0 pulls it low, 1 high; in between there is nothing.

use crate::sim::chips::{Chip, Fault, World, fill};

/// The pins, P0 first.
const PINS: [&str; 8] = ["P0", "P1", "P2", "P3", "P4", "P5", "P6", "P7"];

/// The simulated PCF8574 or PCF8574A.
pub struct Pcf8574 {
    kind: &'static str,
    world: World,
    latch: u8,
    fault: Option<Fault>,
}

impl Pcf8574 {
    /// As after power-on, with nothing connected.
    pub fn new(kind: &'static str) -> Self {
        let world = World::new(PINS.iter().map(|pin| (*pin, 0.5, 0.0..=1.0)));
        Self { kind, world, latch: 0xFF, fault: None }
    }

    fn levels(&self) -> u8 {
        let pulled_low = |bit: &u8| self.world.clamped(PINS[usize::from(*bit)]) < 0.25;
        (0..8).filter(pulled_low).fold(self.latch, |levels, bit| levels & !(1 << bit))
    }
}

impl Chip for Pcf8574 {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn write(&mut self, bytes: &[u8]) -> bool {
        if self.fault == Some(Fault::Nak) {
            return false;
        }
        self.latch = bytes.last().copied().unwrap_or(self.latch);
        true
    }

    fn read(&mut self, buffer: &mut [u8]) -> bool {
        if self.fault == Some(Fault::Nak) {
            return false;
        }
        let length = buffer.len();
        fill(buffer, std::iter::repeat_n(self.levels(), length));
        true
    }

    fn world(&self) -> Vec<(&'static str, f64)> {
        self.world.list()
    }

    fn set_world(&mut self, name: &str, value: f64) -> bool {
        self.world.set(name, value)
    }

    fn set_fault(&mut self, fault: Option<&str>) -> bool {
        Fault::set(&mut self.fault, fault, &[Fault::Nak])
    }

    fn registers(&self) -> Vec<(&'static str, u8)> {
        vec![("latch", self.latch)]
    }

    fn set_register(&mut self, name: &str, value: u8) -> bool {
        let known = name == "latch";
        if known {
            self.latch = value;
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_reads_low_when_it_is_written_low_or_pulled_low() {
        let mut chip = Pcf8574::new("pcf8574");
        let mut levels = [0; 2];
        assert!(chip.set_world("P7", 0.0) && chip.set_world("P0", 1.0));
        assert!(chip.read(&mut levels));
        assert_eq!(levels, [0x7F, 0x7F]);
        assert!(chip.write(&[0x00, 0xFE]) && chip.read(&mut levels));
        assert_eq!(levels[0], 0x7E, "no contact pulls up what the chip holds low");
        assert_eq!(chip.registers(), [("latch", 0xFE)]);
    }
}
