//! A simulated Sensirion SHTC3.
//!
//! Datasheet SHTC3, version 4, "Operation and Communication": two-byte commands, results with a checksum for each word, sleep.

use crate::simulated::{answer, ticks};
use fieldgate_bus::sim::chips::{Chip, Fault, World, fill};

/// Normal and low power, without and with clock stretching.
const TEMPERATURE_FIRST: [u16; 4] = [0x7866, 0x609C, 0x7CA2, 0x6458];
const HUMIDITY_FIRST: [u16; 4] = [0x58E0, 0x401A, 0x5C24, 0x44DE];
const READ_ID: u16 = 0xEFC8;
const SOFT_RESET: u16 = 0x805D;
const SLEEP: u16 = 0xB098;
const WAKE_UP: u16 = 0x3517;

/// Its fixed bits, and some of those that vary from chip to chip.
const ID: u16 = 0x0887;

pub(super) struct Shtc3 {
    world: World,
    fault: Option<Fault>,
    asleep: bool,
    /// What the next read answers; without it the read is not acknowledged.
    answer: Option<Vec<u16>>,
}

impl Default for Shtc3 {
    fn default() -> Self {
        let world = World::new([("temperature", 21.5, -45.0..=129.99), ("humidity", 45.0, 0.0..=100.0)]);
        Self { world, fault: None, asleep: false, answer: None }
    }
}

impl Shtc3 {
    fn command(&mut self, command: u16) -> bool {
        if self.asleep && command != WAKE_UP {
            return false;
        }
        self.answer = None;
        match command {
            WAKE_UP => self.asleep = false,
            SLEEP => self.asleep = true,
            SOFT_RESET => {}
            READ_ID => self.answer = Some(vec![if self.fault == Some(Fault::WrongId) { 0x0123 } else { ID }]),
            _ if self.fault == Some(Fault::NotReady) => {}
            _ if TEMPERATURE_FIRST.contains(&command) => self.answer = Some(vec![self.celsius(), self.percent()]),
            _ if HUMIDITY_FIRST.contains(&command) => self.answer = Some(vec![self.percent(), self.celsius()]),
            _ => return false,
        }
        true
    }

    /// The inverses of the formulas under "Conversion of Signal Output".
    fn celsius(&self) -> u16 {
        ticks((self.world.clamped("temperature") + 45.0) / 175.0 * 65_536.0 / 65_535.0)
    }

    fn percent(&self) -> u16 {
        ticks(self.world.clamped("humidity") / 100.0 * 65_536.0 / 65_535.0)
    }
}

impl Chip for Shtc3 {
    fn kind(&self) -> &'static str {
        "shtc3"
    }

    fn write(&mut self, bytes: &[u8]) -> bool {
        if self.fault == Some(Fault::Nak) {
            return false;
        }
        match bytes {
            [high, low, ..] => self.command(u16::from_be_bytes([*high, *low])),
            _ => !self.asleep,
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> bool {
        if self.fault == Some(Fault::Nak) || self.asleep {
            return false;
        }
        let Some(words) = self.answer.take() else { return false };
        fill(buffer, answer(words, self.fault == Some(Fault::Checksum)));
        true
    }

    fn world(&self) -> Vec<(&'static str, f64)> {
        self.world.list()
    }

    fn set_world(&mut self, name: &str, value: f64) -> bool {
        self.world.set(name, value)
    }

    fn set_fault(&mut self, fault: Option<&str>) -> bool {
        let knows = [Fault::Nak, Fault::Checksum, Fault::NotReady, Fault::WrongId];
        Fault::set(&mut self.fault, fault, &knows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(chip: &mut Shtc3, command: u16) -> Option<[u8; 6]> {
        let mut bytes = [0; 6];
        (chip.write(&command.to_be_bytes()) && chip.read(&mut bytes)).then_some(bytes)
    }

    #[test]
    fn asleep_it_answers_to_being_woken_alone() {
        let mut chip = Shtc3::default();
        assert!(read(&mut chip, 0x7866).is_some());
        assert!(chip.write(&[0xB0, 0x98]));
        assert!(read(&mut chip, 0x7866).is_none() && read(&mut chip, READ_ID).is_none() && !chip.write(&[0x80, 0x5D]));
        assert!(chip.write(&[0x35, 0x17]));
        assert!(read(&mut chip, 0x7866).is_some());
    }

    #[test]
    fn the_two_orders_give_the_same_words() {
        let mut chip = Shtc3::default();
        let (one, other) = (read(&mut chip, 0x609C).unwrap(), read(&mut chip, 0x401A).unwrap());
        assert_eq!((&one[..3], &one[3..]), (&other[3..], &other[..3]));
        assert_eq!(u16::from_be_bytes([one[0], one[1]]), 24_904, "(21.5 + 45) / 175 of 65536");
    }

    #[test]
    fn its_id_has_the_bits_of_an_shtc3() {
        let id = read(&mut Shtc3::default(), READ_ID).unwrap();
        assert_eq!(u16::from_be_bytes([id[0], id[1]]) & 0x083F, 0x0807);
    }
}
