//! A simulated NXP PCA9685.
//!
//! Datasheet revision 4, section 7.3: byte registers behind a pointer that moves on if MODE1 says so, sleep and restart, a
//! prescaler that can only be written asleep, sixteen outputs and a way to write all of them at once.
//!
//! There is no world around it: what its outputs do is in its registers, which have the data sheet's names.

use std::sync::LazyLock;

use fieldgate_bus::sim::chips::{Chip, Fault, World};

const MODE1: u8 = 0x00;
const MODE2: u8 = 0x01;
const FIRST_OUTPUT: u8 = 0x06;
const LAST_OUTPUT: u8 = 0x45;
const ALL_OUTPUTS: u8 = 0xFA;
const ALL_OUTPUTS_END: u8 = 0xFD;
const PRESCALER: u8 = 0xFE;

const RESTART: u8 = 0x80;
const AUTO_INCREMENT: u8 = 0x20;
const SLEEP: u8 = 0x10;
const ALWAYS_OFF: u8 = 0x10;

/// Both modes, the prescaler and the four registers of each output, by their names.
static NAMES: LazyLock<Vec<(String, u8)>> = LazyLock::new(|| {
    let outputs = (0..16).flat_map(|output| {
        let ends = (FIRST_OUTPUT + 4 * output..).zip(["ON_L", "ON_H", "OFF_L", "OFF_H"]);
        ends.map(move |(register, end)| (format!("LED{output}_{end}"), register))
    });
    let general = [("MODE1", MODE1), ("MODE2", MODE2), ("PRE_SCALE", PRESCALER)];
    general.into_iter().map(|(name, register)| (name.to_owned(), register)).chain(outputs).collect()
});

pub(super) struct Pca9685 {
    world: World,
    fault: Option<Fault>,
    pointer: u8,
    registers: [u8; 256],
}

impl Default for Pca9685 {
    fn default() -> Self {
        Self { world: World::new([]), fault: None, pointer: 0, registers: at_reset() }
    }
}

/// Asleep, answering to the call address, all outputs off.
fn at_reset() -> [u8; 256] {
    let mut registers = [0; 256];
    for (register, value) in [(MODE1, 0x11), (MODE2, 0x04), (PRESCALER, 0x1E)] {
        registers[usize::from(register)] = value;
    }
    for output in 0..16 {
        registers[usize::from(FIRST_OUTPUT) + 4 * output + 3] = ALWAYS_OFF;
    }
    registers
}

impl Pca9685 {
    fn is_asleep(&self) -> bool {
        self.registers[0] & SLEEP != 0
    }

    fn set(&mut self, register: u8, value: u8) {
        match register {
            MODE1 => self.set_mode(value),
            PRESCALER if !self.is_asleep() => {}
            PRESCALER => self.registers[usize::from(PRESCALER)] = value.max(3),
            ALL_OUTPUTS..=ALL_OUTPUTS_END => {
                for output in 0..16 {
                    self.set(FIRST_OUTPUT + 4 * output + (register - ALL_OUTPUTS), value);
                }
            }
            FIRST_OUTPUT..=LAST_OUTPUT => {
                // The lower byte is whole, the upper one has five bits; any such write ends a restart that waits.
                let mask = if (register - FIRST_OUTPUT) & 1 == 0 { 0xFF } else { 0x1F };
                self.registers[usize::from(register)] = value & mask;
                self.registers[0] &= !RESTART;
            }
            _ => self.registers[usize::from(register)] = value,
        }
    }

    /// Falling asleep while an output runs leaves a restart waiting; writing a one there carries it out (7.3.1.1).
    fn set_mode(&mut self, value: u8) {
        let runs = (0..16).any(|output| self.registers[usize::from(FIRST_OUTPUT) + 4 * output + 3] & ALWAYS_OFF == 0);
        let falls_asleep = !self.is_asleep() && value & SLEEP != 0;
        let waits = (falls_asleep && runs || self.registers[0] & RESTART != 0) && value & RESTART == 0;
        self.registers[0] = value & !RESTART | if waits { RESTART } else { 0 };
    }

    /// From the last output the pointer goes back to the first register (7.3).
    fn advance(&mut self) {
        if self.registers[0] & AUTO_INCREMENT != 0 {
            self.pointer = if self.pointer == LAST_OUTPUT { MODE1 } else { self.pointer.wrapping_add(1) };
        }
    }
}

impl Chip for Pca9685 {
    fn kind(&self) -> &'static str {
        "pca9685"
    }

    fn write(&mut self, bytes: &[u8]) -> bool {
        if self.fault == Some(Fault::Nak) {
            return false;
        }
        let Some((register, values)) = bytes.split_first() else { return true };
        self.pointer = *register;
        for value in values {
            if self.fault != Some(Fault::PowerOn) {
                self.set(self.pointer, *value);
            }
            self.advance();
        }
        true
    }

    fn read(&mut self, buffer: &mut [u8]) -> bool {
        if self.fault == Some(Fault::Nak) {
            return false;
        }
        for byte in buffer {
            *byte = match self.pointer {
                _ if self.fault == Some(Fault::Stuck) => 0xFF,
                ALL_OUTPUTS..=ALL_OUTPUTS_END => 0,
                register => self.registers[usize::from(register)],
            };
            self.advance();
        }
        true
    }

    fn world(&self) -> Vec<(&'static str, f64)> {
        self.world.list()
    }

    fn set_world(&mut self, name: &str, value: f64) -> bool {
        self.world.set(name, value)
    }

    fn registers(&self) -> Vec<(&'static str, u8)> {
        let value = |(name, register): &'static (String, u8)| (name.as_str(), self.registers[usize::from(*register)]);
        NAMES.iter().map(value).collect()
    }

    fn set_register(&mut self, name: &str, value: u8) -> bool {
        let found = NAMES.iter().find(|(known, _)| known == name);
        if let Some((_, register)) = found {
            self.registers[usize::from(*register)] = value;
        }
        found.is_some()
    }

    /// `power-on` also takes the chip back to that state and keeps it there.
    fn set_fault(&mut self, fault: Option<&str>) -> bool {
        let known = Fault::set(&mut self.fault, fault, &[Fault::Nak, Fault::PowerOn, Fault::Stuck]);
        if known && self.fault == Some(Fault::PowerOn) {
            self.registers = at_reset();
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<const N: usize>(chip: &mut Pca9685, register: u8) -> [u8; N] {
        let mut bytes = [0; N];
        assert!(chip.write(&[register]) && chip.read(&mut bytes));
        bytes
    }

    #[test]
    fn after_power_on_it_sleeps_with_all_outputs_off() {
        let mut chip = Pca9685::default();
        assert_eq!((read(&mut chip, MODE1), read(&mut chip, MODE2), read(&mut chip, PRESCALER)), ([0x11], [4], [0x1E]));
        assert_eq!(read(&mut chip, 0x09), [ALWAYS_OFF]);
    }

    #[test]
    fn the_pointer_moves_on_only_when_ordered_to() {
        let mut chip = Pca9685::default();
        assert!(chip.write(&[FIRST_OUTPUT, 1, 2]));
        assert_eq!(read(&mut chip, FIRST_OUTPUT), [2, 2]);
        assert!(chip.write(&[MODE1, 0x31]) && chip.write(&[FIRST_OUTPUT, 1, 2, 3, 0xFF]));
        assert_eq!(read(&mut chip, FIRST_OUTPUT), [1, 2, 3, 0x1F]);
        assert_eq!(read(&mut chip, LAST_OUTPUT), [ALWAYS_OFF, 0x31]);
    }

    #[test]
    fn the_prescaler_is_written_asleep_and_all_outputs_at_once() {
        let mut chip = Pca9685::default();
        assert!(chip.write(&[MODE1, 0x31]) && chip.write(&[PRESCALER, 1]));
        assert_eq!(read(&mut chip, PRESCALER), [3]);
        assert!(chip.write(&[ALL_OUTPUTS, 0, 0, 0, 8]) && chip.write(&[MODE1, 0x21]) && chip.write(&[PRESCALER, 100]));
        assert_eq!((read(&mut chip, PRESCALER), read(&mut chip, 0x42)), ([3], [0, 0, 0, 8]));
    }

    #[test]
    fn a_running_chip_that_falls_asleep_waits_for_a_restart() {
        let mut chip = Pca9685::default();
        assert!(chip.write(&[MODE1, 0x21]) && chip.write(&[FIRST_OUTPUT, 0, 0, 0, 8]) && chip.write(&[MODE1, 0x31]));
        assert_eq!(read(&mut chip, MODE1), [0xB1]);
        assert!(chip.write(&[MODE1, 0x21]));
        assert_eq!(read(&mut chip, MODE1), [0xA1]);
        assert!(chip.write(&[MODE1, 0xA1]));
        assert_eq!(read(&mut chip, MODE1), [0x21]);
    }

    #[test]
    fn a_second_process_finds_it_as_the_first_has_left_it() {
        let mut chip = Pca9685::default();
        assert!(chip.write(&[MODE1, 0x20]) && chip.write(&[0x42, 0x00, 0x00, 0x33, 0x01]));
        let mut other = Pca9685::default();
        for (name, value) in chip.registers() {
            assert!(other.set_register(name, value), "{name}");
        }
        assert!(other.registers().contains(&("LED15_OFF_L", 0x33)));
        assert_eq!((read(&mut other, MODE1), read(&mut other, 0x44)), ([0x20], [0x33, 0x01]));
        assert!(!other.set_register("LED16_OFF_L", 1));
    }
}
