//! A simulated Texas Instruments TMP117.
//!
//! SNOSD82, "Register Map": 16-bit registers behind a pointer, high byte first; continuous and one-shot conversion, and an
//! EEPROM that takes up what is written while it is unlocked.

use fieldgate_bus::sim::chips::{Chip, Fault, World, fill};

const RESULT: u8 = 0x00;
const CONFIGURATION: u8 = 0x01;
const EEPROM_UNLOCK: u8 = 0x04;
const DEVICE_ID: u8 = 0x0F;

const DATA_READY: u16 = 0x2000;
const MODE: u16 = 0x0C00;
const CONTINUOUS: u16 = 0x0000;
const SHUTDOWN: u16 = 0x0400;
const SOFT_RESET: u16 = 0x0002;
/// What a program may change in the configuration.
const WRITABLE: u16 = 0x0FFC;
const UNLOCKED: u16 = 0x8000;
const UNMEASURED: u16 = 0x8000;

/// Configuration and limits as delivered: eight averages, one cycle a second, 192 °C and −256 °C.
const DELIVERED: [u16; 3] = [0x0220, 0x6000, 0x8000];

pub(super) struct Tmp117 {
    world: World,
    fault: Option<Fault>,
    pointer: u8,
    result: u16,
    /// Whether the first look at the status since a conversion's start has been had.
    looked: bool,
    running: bool,
    ready: bool,
    /// Configuration, high and low limit.
    registers: [u16; 3],
    eeprom: [u16; 3],
    unlock: u16,
    offset: u16,
}

impl Default for Tmp117 {
    fn default() -> Self {
        let world = World::new([("temperature", 21.5, -256.0..=255.99)]);
        let mut chip = Self {
            world,
            fault: None,
            pointer: 0,
            result: UNMEASURED,
            looked: false,
            running: true,
            ready: false,
            registers: DELIVERED,
            eeprom: DELIVERED,
            unlock: 0,
            offset: 0,
        };
        chip.reset();
        chip
    }
}

impl Tmp117 {
    fn reset(&mut self) {
        self.registers = self.eeprom;
        (self.unlock, self.result, self.ready) = (0, UNMEASURED, false);
        self.begin();
    }

    fn begin(&mut self) {
        self.running = self.registers[0] & MODE != SHUTDOWN;
        self.looked = false;
    }

    fn write_register(&mut self, word: u16) {
        match self.pointer {
            CONFIGURATION if word & SOFT_RESET != 0 => return self.reset(),
            CONFIGURATION => {
                self.registers[0] = word & WRITABLE;
                self.begin();
            }
            2 | 3 => self.registers[usize::from(self.pointer - 1)] = word,
            EEPROM_UNLOCK => self.unlock = word & UNLOCKED,
            7 => self.offset = word,
            _ => {}
        }
        if self.unlock != 0 {
            self.eeprom = self.registers;
        }
    }

    /// Ends a conversion; a one-shot leads to shutdown.
    fn finish(&mut self) {
        if !self.running || matches!(self.fault, Some(Fault::NotReady | Fault::PowerOn)) {
            return;
        }
        self.result = ((self.world.clamped("temperature") * 128.0).round() as i16) as u16;
        self.ready = true;
        if self.registers[0] & MODE != CONTINUOUS {
            self.registers[0] = self.registers[0] & !MODE | SHUTDOWN;
            self.running = false;
        }
    }

    fn register(&mut self) -> u16 {
        match self.pointer {
            RESULT => {
                self.finish();
                self.ready = false;
                if self.fault == Some(Fault::PowerOn) { UNMEASURED } else { self.result }
            }
            CONFIGURATION => {
                if self.looked {
                    self.finish();
                }
                self.looked = true;
                let ready = if std::mem::take(&mut self.ready) { DATA_READY } else { 0 };
                self.registers[0] | ready
            }
            2 | 3 => self.registers[usize::from(self.pointer - 1)],
            EEPROM_UNLOCK => self.unlock,
            7 => self.offset,
            DEVICE_ID if self.fault == Some(Fault::WrongId) => 0x1116,
            DEVICE_ID => 0x0117,
            _ => 0,
        }
    }
}

impl Chip for Tmp117 {
    fn kind(&self) -> &'static str {
        "tmp117"
    }

    fn write(&mut self, bytes: &[u8]) -> bool {
        if self.fault == Some(Fault::Nak) {
            return false;
        }
        let Some((pointer, value)) = bytes.split_first() else { return true };
        self.pointer = pointer & 0x0F;
        if let [high, low, ..] = value {
            self.write_register(u16::from_be_bytes([*high, *low]));
        }
        true
    }

    fn read(&mut self, buffer: &mut [u8]) -> bool {
        if self.fault == Some(Fault::Nak) {
            return false;
        }
        let word = if self.fault == Some(Fault::Stuck) { 0xFFFF } else { self.register() };
        fill(buffer, word.to_be_bytes());
        true
    }

    fn world(&self) -> Vec<(&'static str, f64)> {
        self.world.list()
    }

    fn set_world(&mut self, name: &str, value: f64) -> bool {
        self.world.set(name, value)
    }

    /// `power-on` leaves the chip its configuration, which may be the one it has from its EEPROM.
    fn set_fault(&mut self, fault: Option<&str>) -> bool {
        let knows = [Fault::Nak, Fault::NotReady, Fault::PowerOn, Fault::WrongId, Fault::Stuck];
        Fault::set(&mut self.fault, fault, &knows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(chip: &mut Tmp117, pointer: u8) -> u16 {
        let mut bytes = [0; 2];
        assert!(chip.write(&[pointer]) && chip.read(&mut bytes));
        u16::from_be_bytes(bytes)
    }

    #[test]
    fn after_power_on_it_measures_by_itself() {
        let mut chip = Tmp117::default();
        assert_eq!((read(&mut chip, 0x0F), read(&mut chip, 2), read(&mut chip, 3)), (0x0117, 0x6000, 0x8000));
        assert_eq!((read(&mut chip, 1), read(&mut chip, 1)), (0x0220, 0x2220), "ready at the second look");
        assert_eq!(read(&mut chip, 0), 0x0AC0, "21.5 °C");
        assert_eq!(read(&mut chip, 1) & MODE, CONTINUOUS);
    }

    #[test]
    fn a_one_shot_ends_in_shutdown() {
        let mut chip = Tmp117::default();
        assert!(chip.write(&[1, 0x0C, 0x00]));
        assert_eq!((read(&mut chip, 1), read(&mut chip, 1)), (0x0C00, 0x2400));
        assert!(chip.set_world("temperature", 30.0));
        assert_eq!(read(&mut chip, 0), 0x0AC0);
    }

    #[test]
    fn only_what_is_written_while_it_is_unlocked_outlives_a_reset() {
        let mut chip = Tmp117::default();
        assert!(chip.write(&[1, 0x06, 0x60]) && chip.write(&[1, 0x00, 0x02]));
        assert_eq!(read(&mut chip, 1), 0x0220);
        assert!(chip.write(&[4, 0x80, 0x00]) && chip.write(&[1, 0x06, 0x60]) && chip.write(&[1, 0x00, 0x02]));
        assert_eq!(read(&mut chip, 1), 0x0660);
    }
}
