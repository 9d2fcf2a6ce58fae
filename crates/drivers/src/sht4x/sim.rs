//! A simulated Sensirion SHT40, SHT41, SHT43 or SHT45.
//!
//! Datasheet SHT4x, version 6, section 4: one-byte commands, results with a checksum for each word.

use crate::simulated::{answer, ticks};
use fieldgate_bus::sim::chips::{Chip, Fault, World, fill};

/// Without the heater: high, medium, low precision; then with it at three powers, a long and a short time (4.5).
const MEASURE: [u8; 9] = [0xFD, 0xF6, 0xE0, 0x39, 0x32, 0x2F, 0x24, 0x1E, 0x15];
const READ_SERIAL: u8 = 0x89;
const SOFT_RESET: u8 = 0x94;

const SERIAL: [u16; 2] = [0x0F3A, 0x51C4];

/// What the next read answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Nothing,
    Measurement,
    Serial,
}

pub(super) struct Sht4x {
    world: World,
    fault: Option<Fault>,
    answer: Answer,
}

impl Default for Sht4x {
    fn default() -> Self {
        let world = World::new([("temperature", 21.5, -45.0..=130.0), ("humidity", 45.0, 0.0..=100.0)]);
        Self { world, fault: None, answer: Answer::Nothing }
    }
}

impl Sht4x {
    /// The inverse of the formulas in 4.6.
    fn measurement(&self) -> [u16; 2] {
        match self.fault {
            Some(Fault::Stuck) => [0xFFFF; 2],
            _ => [
                ticks((self.world.clamped("temperature") + 45.0) / 175.0),
                ticks((self.world.clamped("humidity") + 6.0) / 125.0),
            ],
        }
    }
}

impl Chip for Sht4x {
    fn kind(&self) -> &'static str {
        "sht4x"
    }

    fn write(&mut self, bytes: &[u8]) -> bool {
        if self.fault == Some(Fault::Nak) {
            return false;
        }
        self.answer = match bytes {
            [command, ..] if MEASURE.contains(command) => Answer::Measurement,
            [READ_SERIAL, ..] => Answer::Serial,
            [SOFT_RESET, ..] | [] => Answer::Nothing,
            _ => return false,
        };
        true
    }

    /// Without a result the read header is not acknowledged (section 4).
    fn read(&mut self, buffer: &mut [u8]) -> bool {
        let words = match std::mem::replace(&mut self.answer, Answer::Nothing) {
            _ if self.fault == Some(Fault::Nak) => return false,
            Answer::Nothing => return false,
            Answer::Measurement if self.fault == Some(Fault::NotReady) => return false,
            Answer::Measurement => self.measurement(),
            Answer::Serial => SERIAL,
        };
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
        let knows = [Fault::Nak, Fault::Checksum, Fault::NotReady, Fault::Stuck];
        Fault::set(&mut self.fault, fault, &knows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_read_once_and_only_after_a_command() {
        let mut chip = Sht4x::default();
        let mut bytes = [0; 6];
        assert!(!chip.read(&mut bytes));
        assert!(chip.write(&[0xE0]) && chip.read(&mut bytes));
        assert_eq!(u16::from_be_bytes([bytes[0], bytes[1]]), 24_903, "(21.5 + 45) / 175 of 65535");
        assert_eq!(u16::from_be_bytes([bytes[3], bytes[4]]), 26_738, "(45 + 6) / 125 of 65535");
        assert!(!chip.read(&mut bytes));
    }

    #[test]
    fn it_knows_its_serial_number_and_no_strange_command() {
        let mut chip = Sht4x::default();
        let mut bytes = [0; 6];
        assert!(chip.write(&[0x89]) && chip.read(&mut bytes));
        assert_eq!(bytes[..2], [0x0F, 0x3A]);
        assert!(!chip.write(&[0x30, 0xA2]), "the reset of an SHT3x");
    }
}
