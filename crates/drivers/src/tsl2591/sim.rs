//! A simulated ams TSL2591.
//!
//! Datasheet v1-05: a command byte before each register, gain and integration time, two channels low byte first, the flag of
//! a completed integration, the id.

use fieldgate_bus::sim::chips::{Chip, Fault, World, fill};

const ENABLE: usize = 0x00;
const CONTROL: usize = 0x01;
const PACKAGE: usize = 0x11;
const ID: usize = 0x12;
const STATUS: usize = 0x13;
const DATA: usize = 0x14;
/// One beyond the last register.
const END: usize = 0x18;

const POWER_ON: u8 = 0x01;
const CONVERTERS: u8 = 0x02;
const VALID: u8 = 0x01;

pub(super) struct Tsl2591 {
    world: World,
    fault: Option<Fault>,
    pointer: usize,
    registers: [u8; END],
    running: bool,
}

impl Default for Tsl2591 {
    fn default() -> Self {
        let world = World::new([("illuminance", 300.0, 0.0..=200_000.0), ("infrared_share", 0.2, 0.0..=0.9)]);
        Self { world, fault: None, pointer: 0, registers: [0; END], running: false }
    }
}

impl Tsl2591 {
    fn command(&mut self, command: u8, values: &[u8]) {
        // Normal operation; special functions clear interrupts, of which this chip has none.
        if command & 0xE0 != 0xA0 {
            return;
        }
        self.pointer = usize::from(command & 0x1F);
        for value in values {
            // Writing a one to the highest bit of the control register resets the chip.
            if self.pointer == CONTROL && value & 0x80 != 0 {
                self.registers = [0; END];
            } else if self.pointer < PACKAGE && self.fault != Some(Fault::PowerOn) {
                self.registers[self.pointer] = *value;
            }
            if self.pointer == ENABLE {
                self.switch();
            }
            self.pointer += 1;
        }
    }

    /// Switching the converters on begins an integration; without them the flag goes.
    fn switch(&mut self) {
        self.running = self.is_measuring();
        self.registers[STATUS] = 0;
    }

    fn is_measuring(&self) -> bool {
        let on = POWER_ON | CONVERTERS;
        self.registers[ENABLE] & on == on
    }

    /// Counts of both diodes: the inverse of Adafruit's formula for lux, in the given share of infrared.
    fn integrate(&mut self) {
        let control = self.registers[CONTROL];
        let gain = [1.0, 25.0, 428.0, 9876.0][usize::from(control >> 4 & 3)];
        let steps = f64::from(control & 7) + 1.0;
        let most = if control & 7 == 0 { 36_863.0 } else { 65_535.0 };
        let share = self.world.clamped("infrared_share");
        let all = self.world.clamped("illuminance") * 100.0 * steps * gain / 408.0 / (1.0 - share).powi(2);
        for (place, counts) in [(DATA, all), (DATA + 2, all * share)] {
            let bytes = (counts.round().min(most) as u16).to_le_bytes();
            self.registers[place..place + 2].copy_from_slice(&bytes);
        }
    }

    fn registers_now(&mut self) -> [u8; END] {
        if self.pointer <= STATUS && self.is_measuring() {
            let busy = std::mem::take(&mut self.running) || self.fault == Some(Fault::NotReady);
            self.registers[STATUS] = if busy { 0 } else { VALID };
        }
        if self.is_measuring() {
            self.integrate();
        }
        let mut now = self.registers;
        // Another id is a TCS34725's, which sits at the same address.
        now[ID] = if self.fault == Some(Fault::WrongId) { 0x44 } else { 0x50 };
        now
    }
}

impl Chip for Tsl2591 {
    fn kind(&self) -> &'static str {
        "tsl2591"
    }

    fn write(&mut self, bytes: &[u8]) -> bool {
        if self.fault == Some(Fault::Nak) {
            return false;
        }
        if let Some((command, values)) = bytes.split_first() {
            self.command(*command, values);
        }
        true
    }

    fn read(&mut self, buffer: &mut [u8]) -> bool {
        if self.fault == Some(Fault::Nak) {
            return false;
        }
        if self.fault == Some(Fault::Stuck) {
            buffer.fill(0xFF);
            return true;
        }
        let registers = self.registers_now();
        fill(buffer, registers.into_iter().skip(self.pointer));
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
            (self.registers, self.running) = ([0; END], false);
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<const N: usize>(chip: &mut Tsl2591, register: usize) -> [u8; N] {
        let mut bytes = [0; N];
        assert!(chip.write(&[0xA0 | register as u8]) && chip.read(&mut bytes));
        bytes
    }

    #[test]
    fn it_counts_only_when_both_parts_are_on() {
        let mut chip = Tsl2591::default();
        assert_eq!(read(&mut chip, ID), [0x50]);
        assert_eq!(read(&mut chip, DATA), [0; 4]);
        assert!(chip.write(&[0xA0, 0x03]));
        assert_eq!((read(&mut chip, STATUS), read(&mut chip, STATUS)), ([0], [VALID]));
        // 300 lx at gain 1 with a fifth of infrared.
        assert_eq!(read(&mut chip, DATA), [115, 0, 23, 0]);
        assert!(chip.write(&[0xA0, 0x01]));
        assert_eq!(read(&mut chip, STATUS), [0]);
    }

    #[test]
    fn gain_and_time_scale_the_counts_up_to_their_limits() {
        let mut chip = Tsl2591::default();
        assert!(chip.write(&[0xA0, 0x03, 0x11]));
        assert_eq!(read::<2>(&mut chip, DATA), 5744_u16.to_le_bytes());
        assert!(chip.write(&[0xA1, 0x30]));
        assert_eq!(read::<2>(&mut chip, DATA), 36_863_u16.to_le_bytes());
        assert!(chip.write(&[0xA1, 0x31]));
        assert_eq!(read::<2>(&mut chip, DATA), [0xFF, 0xFF]);
    }
}
