//! A simulated Sensirion SCD30.
//!
//! Interface description version 1.0, section 1.4: two-byte commands, words with a CRC each, three floating-point numbers.
//! Its memory outlives the supply, and so does whether it measures.

use crate::simulated::{answer, command};
use fieldgate_bus::sim::chips::{Chip, Fault, World, fill};

const START: u16 = 0x0010;
const STOP: u16 = 0x0104;
const DATA_READY: u16 = 0x0202;
const READ_MEASUREMENT: u16 = 0x0300;
const FIRMWARE: u16 = 0xD100;
const SOFT_RESET: u16 = 0xD304;
/// Version 3.66.
const VERSION: u16 = 0x0342;

pub(super) struct Scd30 {
    world: World,
    fault: Option<Fault>,
    /// Interval, self calibration, recalibration, temperature offset and altitude: command, smallest, largest, value.
    memory: [(u16, u16, u16, u16); 5],
    pressure: u16,
    measuring: bool,
    /// How often the status was read since the start or the last result.
    asked: u8,
    /// What the next read answers.
    words: Vec<u16>,
}

impl Default for Scd30 {
    fn default() -> Self {
        let world = World::new([
            ("co2", 600.0, 0.0..=40_000.0),
            ("temperature", 21.5, -40.0..=125.0),
            ("humidity", 45.0, 0.0..=100.0),
        ]);
        let memory = [
            (0x4600, 2, 1800, 2),
            (0x5306, 0, 1, 0),
            (0x5204, 400, 2000, 400),
            (0x5403, 0, u16::MAX, 0),
            (0x5102, 0, u16::MAX, 0),
        ];
        let (pressure, measuring, asked, words) = (0, false, 0, Vec::new());
        Self { world, fault: None, memory, pressure, measuring, asked, words }
    }
}

impl Scd30 {
    fn command(&mut self, command: u16, arguments: &[u16]) -> bool {
        self.words.clear();
        let kept = self.memory.iter_mut().find(|(known, ..)| *known == command);
        match (command, arguments, kept) {
            (_, [], Some((.., value))) => self.words = vec![*value],
            (_, [word], Some((_, smallest, largest, value))) if (*smallest..=*largest).contains(word) => *value = *word,
            (START, [pressure @ (0 | 700..=1400)], _) => {
                (self.pressure, self.measuring, self.asked) = (*pressure, true, 0);
            }
            (START, [], _) => self.words = vec![self.pressure],
            (STOP, [], _) => self.measuring = false,
            (DATA_READY, [], _) => self.words = vec![self.status()],
            (READ_MEASUREMENT, [], _) => self.words = self.measurement(),
            (FIRMWARE, [], _) => self.words = vec![if self.fault == Some(Fault::WrongId) { 0 } else { VERSION }],
            (SOFT_RESET, [], _) => (self.pressure, self.asked) = (0, 0),
            _ => return false,
        }
        true
    }

    fn status(&mut self) -> u16 {
        if !self.measuring || self.fault == Some(Fault::NotReady) {
            return 0;
        }
        self.asked = self.asked.saturating_add(1);
        u16::from(self.asked > 1)
    }

    /// High word, low word of each number; nothing is measured yet where there is no result.
    fn measurement(&mut self) -> Vec<u16> {
        let ready = self.asked > 1 && self.fault != Some(Fault::PowerOn);
        self.asked = 0;
        let measured = |name| if ready { self.world.clamped(name) as f32 } else { 0.0 };
        let numbers = ["co2", "temperature", "humidity"].map(measured);
        numbers.iter().flat_map(|number| [(number.to_bits() >> 16) as u16, number.to_bits() as u16]).collect()
    }
}

impl Chip for Scd30 {
    fn kind(&self) -> &'static str {
        "scd30"
    }

    fn write(&mut self, bytes: &[u8]) -> bool {
        self.fault != Some(Fault::Nak) && command(bytes).is_some_and(|(command, words)| self.command(command, &words))
    }

    fn read(&mut self, buffer: &mut [u8]) -> bool {
        if self.fault == Some(Fault::Nak) || self.words.is_empty() {
            return false;
        }
        fill(buffer, answer(std::mem::take(&mut self.words), self.fault == Some(Fault::Checksum)));
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

    fn ask<const N: usize>(chip: &mut Scd30, command: [u8; 2]) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        (chip.write(&command) && chip.read(&mut bytes)).then_some(bytes)
    }

    #[test]
    fn a_result_is_three_floating_point_numbers_and_read_once() {
        let mut chip = Scd30::default();
        chip.set_world("co2", 400.0);
        assert_eq!(ask(&mut chip, [0x02, 0x02]), Some([0x00, 0x00, 0x81]), "not measuring");
        assert!(chip.write(&[0x00, 0x10, 0x00, 0x00, 0x81]));
        assert_eq!(ask(&mut chip, [0x02, 0x02]), Some([0x00, 0x00, 0x81]));
        assert_eq!(ask(&mut chip, [0x02, 0x02]), Some([0x00, 0x01, 0xB0]));
        let [high, low, _, zero, ..] = ask::<18>(&mut chip, [0x03, 0x00]).unwrap();
        assert_eq!([high, low, zero], [0x43, 0xC8, 0x00], "400 ppm");
        assert_eq!(ask(&mut chip, [0x02, 0x02]), Some([0x00, 0x00, 0x81]));
    }

    #[test]
    fn settings_are_kept_when_they_are_within_their_ranges() {
        let mut chip = Scd30::default();
        assert!(chip.write(&[0x46, 0x00, 0x00, 0x0A, 0x5A]));
        assert_eq!(ask(&mut chip, [0x46, 0x00]), Some([0x00, 0x0A, 0x5A]));
        assert!(!chip.write(&[0x46, 0x00, 0x00, 0x01, 0xB0]) && !chip.write(&[0x46, 0x00, 0x00, 0x0A, 0x5B]));
        assert!(!chip.write(&[0x00, 0x10, 0x00, 0x01, 0xB0]), "a pressure of 1 hPa");
        assert_eq!(ask(&mut chip, [0x46, 0x00]), Some([0x00, 0x0A, 0x5A]));
    }
}
