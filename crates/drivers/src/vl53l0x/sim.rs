//! A simulated ST VL53L0X.
//!
//! As ST's VL53L0X API 1.0.2 uses it: byte registers on pages behind a pointer that moves on, a memory that is asked and takes
//! a moment, measurements that are started and signalled, and what the chip itself says of each.

use fieldgate_bus::sim::chips::{Chip, Fault, World, fill};

const START: usize = 0x00;
const SEQUENCE: usize = 0x01;
const INTERRUPT_CLEAR: usize = 0x0B;
const INTERRUPT_STATUS: usize = 0x13;
const RESULT: usize = 0x14;
const MEMORY_READY: usize = 0x83;
const PAGE: u8 = 0xFF;

/// Beyond it nothing comes back.
const FARTHEST: f64 = 2.0;

type Registers = [[u8; 256]; 8];

pub(super) struct Vl53l0x {
    world: World,
    fault: Option<Fault>,
    page: usize,
    pointer: u8,
    registers: Registers,
    /// Started, and not asked since.
    running: bool,
    /// The memory was asked, and not looked at since.
    fetching: bool,
}

impl Default for Vl53l0x {
    fn default() -> Self {
        let world = World::new([("distance", 0.5, 0.0..=10.0)]);
        Self { world, fault: None, page: 0, pointer: 0, registers: at_reset(), running: false, fetching: false }
    }
}

fn at_reset() -> Registers {
    let mut registers = [[0; 256]; 8];
    registers[0][SEQUENCE] = 0xFF;
    registers[0][0xC0..0xC3].copy_from_slice(&[0xEE, 0xAA, 0x10]);
    // All reference diodes are good; five with an aperture are to be used.
    registers[0][0xB0..0xB6].fill(0xFF);
    registers[7][0x92] = 0x85;
    registers[1][0x91] = 0x3C;
    registers
}

impl Vl53l0x {
    fn set(&mut self, register: u8, value: u8) {
        if register == PAGE {
            self.page = usize::from(value & 7);
            return;
        }
        self.registers[self.page][usize::from(register)] = value;
        match (self.page, usize::from(register)) {
            (0, START) if value & 1 != 0 => (self.running, self.registers[0][INTERRUPT_STATUS]) = (true, 0),
            (0, INTERRUPT_CLEAR) if value & 1 != 0 => self.registers[0][INTERRUPT_STATUS] = 0,
            (7, MEMORY_READY) => self.fetching = value == 0,
            _ => {}
        }
    }

    /// Running when it is first asked, done when it is asked again.
    fn value(&mut self, register: u8) -> u8 {
        let register = usize::from(register);
        match (self.page, register) {
            (0, START) if self.running => self.registers[0][START],
            (0, INTERRUPT_STATUS) if self.running => {
                self.finish();
                0
            }
            (7, MEMORY_READY) if self.fetching => {
                self.fetching = false;
                if self.fault != Some(Fault::NotReady) {
                    self.registers[7][MEMORY_READY] = 1;
                }
                0
            }
            // An MEMS gyroscope's, or whatever else sits there.
            (0, 0xC0) if self.fault == Some(Fault::WrongId) => 0xD4,
            (page, register) => self.registers[page][register],
        }
    }

    fn finish(&mut self) {
        if self.fault == Some(Fault::NotReady) {
            return;
        }
        self.running = false;
        self.registers[0][START] &= !1;
        self.registers[0][INTERRUPT_STATUS] = 0x44;
        let metres = self.world.clamped("distance");
        let (status, millimetres) = if metres <= FARTHEST { (11, (metres * 1000.0).round() as u16) } else { (4, 8190) };
        self.registers[0][RESULT] = status << 3 | 1;
        self.registers[0][RESULT + 10..][..2].copy_from_slice(&millimetres.to_be_bytes());
    }
}

impl Chip for Vl53l0x {
    fn kind(&self) -> &'static str {
        "vl53l0x"
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
            self.pointer = self.pointer.wrapping_add(1);
        }
        true
    }

    fn read(&mut self, buffer: &mut [u8]) -> bool {
        if self.fault == Some(Fault::Nak) {
            return false;
        }
        if self.fault == Some(Fault::Stuck) {
            fill(buffer, []);
            return true;
        }
        for byte in buffer {
            *byte = self.value(self.pointer);
            // A driver that waits for the end of a start finds it at the second look too.
            if self.page == 0 && usize::from(self.pointer) == START && self.running {
                self.finish();
            }
            self.pointer = self.pointer.wrapping_add(1);
        }
        true
    }

    fn world(&self) -> Vec<(&'static str, f64)> {
        self.world.list()
    }

    fn set_world(&mut self, name: &str, value: f64) -> bool {
        self.world.set(name, value)
    }

    /// `power-on` also takes the chip back to that state and keeps it there.
    fn set_fault(&mut self, fault: Option<&str>) -> bool {
        let knows = [Fault::Nak, Fault::NotReady, Fault::PowerOn, Fault::Stuck, Fault::WrongId];
        let known = Fault::set(&mut self.fault, fault, &knows);
        if known && self.fault == Some(Fault::PowerOn) {
            (self.registers, self.page, self.running, self.fetching) = (at_reset(), 0, false, false);
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<const N: usize>(chip: &mut Vl53l0x, register: u8) -> [u8; N] {
        let mut bytes = [0; N];
        assert!(chip.write(&[register]) && chip.read(&mut bytes));
        bytes
    }

    #[test]
    fn a_measurement_is_seen_running_then_done() {
        let mut chip = Vl53l0x::default();
        assert_eq!(read(&mut chip, 0xC0), [0xEE, 0xAA, 0x10]);
        assert!(chip.write(&[0x00, 0x01]));
        assert_eq!((read(&mut chip, 0x13), read(&mut chip, 0x13)), ([0], [0x44]));
        assert_eq!((read(&mut chip, 0x14), read(&mut chip, 0x1E)), ([0x59], [0x01, 0xF4]));
        assert!(chip.write(&[0x0B, 0x01]));
        assert_eq!(read(&mut chip, 0x13), [0]);
    }

    #[test]
    fn without_a_target_it_says_so() {
        let mut chip = Vl53l0x::default();
        assert!(chip.set_world("distance", 3.0) && chip.write(&[0x00, 0x01]));
        assert_eq!((read(&mut chip, 0x00), read(&mut chip, 0x00)), ([1], [0]));
        assert_eq!((read(&mut chip, 0x14), read(&mut chip, 0x1E)), ([0x21], 8190_u16.to_be_bytes()));
    }

    #[test]
    fn its_memory_takes_a_moment_and_stands_on_a_page_of_its_own() {
        let mut chip = Vl53l0x::default();
        assert_eq!(read(&mut chip, 0x92), [0]);
        assert!(chip.write(&[0xFF, 0x07]) && chip.write(&[0x83, 0x00]));
        assert_eq!((read(&mut chip, 0x83), read(&mut chip, 0x83), read(&mut chip, 0x92)), ([0], [1], [0x85]));
    }
}
