//! A simulated Sensirion SGP40.
//!
//! Datasheet SGP40, version 1.2: two-byte commands, words with a CRC each; a measurement carries the air to compensate for.
//! The world's raw signal is that after the compensation.

use crate::simulated::{answer, command};
use fieldgate_bus::sim::chips::{Chip, Fault, World, fill};

const MEASURE_RAW: u16 = 0x260F;
const SELF_TEST: u16 = 0x280E;
const HEATER_OFF: u16 = 0x3615;
const FEATURE_SET: u16 = 0x202F;
const SERIAL_NUMBER: u16 = 0x3682;

const FEATURES: u16 = 0x3220;
const SERIAL: [u16; 3] = [0x0000, 0x0158, 0x4B7E];

/// What the next read answers.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Nothing,
    Words(Vec<u16>),
    Measurement,
}

pub(super) struct Sgp40 {
    world: World,
    fault: Option<Fault>,
    answer: Answer,
}

impl Default for Sgp40 {
    fn default() -> Self {
        let world = World::new([("voc_raw", 30_000.0, 0.0..=65_535.0)]);
        Self { world, fault: None, answer: Answer::Nothing }
    }
}

impl Sgp40 {
    fn command(&mut self, command: u16, arguments: &[u16]) -> bool {
        self.answer = match (command, arguments) {
            (MEASURE_RAW, [_humidity, _temperature]) => Answer::Measurement,
            (SELF_TEST, []) => Answer::Words(vec![0xD400]),
            (HEATER_OFF, []) => Answer::Nothing,
            (FEATURE_SET, []) if self.fault == Some(Fault::WrongId) => Answer::Words(vec![0x0040]),
            (FEATURE_SET, []) => Answer::Words(vec![FEATURES]),
            (SERIAL_NUMBER, []) => Answer::Words(SERIAL.to_vec()),
            _ => return false,
        };
        true
    }
}

impl Chip for Sgp40 {
    fn kind(&self) -> &'static str {
        "sgp40"
    }

    fn write(&mut self, bytes: &[u8]) -> bool {
        self.fault != Some(Fault::Nak) && command(bytes).is_some_and(|(command, words)| self.command(command, &words))
    }

    fn read(&mut self, buffer: &mut [u8]) -> bool {
        let words = match std::mem::replace(&mut self.answer, Answer::Nothing) {
            _ if matches!(self.fault, Some(Fault::Nak | Fault::NotReady)) => return false,
            Answer::Nothing => return false,
            Answer::Words(words) => words,
            Answer::Measurement if self.fault == Some(Fault::PowerOn) => vec![0],
            Answer::Measurement => vec![self.world.clamped("voc_raw").round() as u16],
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
        let knows = [Fault::Nak, Fault::Checksum, Fault::NotReady, Fault::PowerOn, Fault::WrongId];
        Fault::set(&mut self.fault, fault, &knows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_needs_the_air_to_compensate_for_and_is_read_once() {
        let mut chip = Sgp40::default();
        let mut bytes = [0; 3];
        assert!(!chip.write(&[0x26, 0x0F]) && !chip.read(&mut bytes));
        assert!(chip.write(&[0x26, 0x0F, 0x80, 0x00, 0xA2, 0x66, 0x66, 0x93]) && chip.read(&mut bytes));
        assert_eq!(bytes[..2], [0x75, 0x30]);
        assert!(!chip.read(&mut bytes));
        assert!(!chip.write(&[0x26, 0x0F, 0x80, 0x00, 0xA3, 0x66, 0x66, 0x93]), "a wrong checksum");
    }

    #[test]
    fn it_says_what_it_is() {
        let mut chip = Sgp40::default();
        let mut bytes = [0; 3];
        assert!(chip.write(&[0x20, 0x2F]) && chip.read(&mut bytes));
        assert_eq!(bytes[..2], [0x32, 0x20]);
        assert!(chip.write(&[0x28, 0x0E]) && chip.read(&mut bytes));
        assert_eq!(bytes[..2], [0xD4, 0x00]);
    }
}
