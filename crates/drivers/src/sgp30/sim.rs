//! A simulated Sensirion SGP30.
//!
//! Datasheet SGP30, version 1.0: two-byte commands, words with a CRC each. It has no clock: each measurement counts as a
//! second, so the first 15 after the start of the algorithm answer 400 ppm and 0 ppb.

use crate::simulated::{answer, command};
use fieldgate_bus::sim::chips::{Chip, Fault, World, fill};

const INIT: u16 = 0x2003;
const MEASURE: u16 = 0x2008;
const GET_BASELINE: u16 = 0x2015;
const SET_BASELINE: u16 = 0x201E;
const SET_HUMIDITY: u16 = 0x2061;
const FEATURE_SET: u16 = 0x202F;
const SERIAL_NUMBER: u16 = 0x3682;
const SELF_TEST: u16 = 0x2032;

const FEATURES: u16 = 0x0022;
const SERIAL: [u16; 3] = [0x0000, 0x00C4, 0x5D19];
const WARM_UP: u8 = 15;

/// What the next read answers.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Nothing,
    Words(Vec<u16>),
    Measurement,
}

pub(super) struct Sgp30 {
    world: World,
    fault: Option<Fault>,
    /// Measurements since the start of the algorithm.
    measured: Option<u8>,
    baseline: [u16; 2],
    humidity: u16,
    answer: Answer,
}

impl Default for Sgp30 {
    fn default() -> Self {
        let world = World::new([("eco2", 600.0, 400.0..=60_000.0), ("tvoc", 60.0, 0.0..=60_000.0)]);
        let (baseline, humidity, answer) = ([0x8A2C, 0x8D1B], 0, Answer::Nothing);
        Self { world, fault: None, measured: None, baseline, humidity, answer }
    }
}

impl Sgp30 {
    fn command(&mut self, command: u16, arguments: &[u16]) -> bool {
        self.answer = Answer::Nothing;
        match (command, arguments) {
            (INIT, []) => (self.measured, self.humidity) = (Some(0), 0),
            (MEASURE, []) => self.answer = Answer::Measurement,
            (GET_BASELINE, []) => self.answer = Answer::Words(self.baseline.to_vec()),
            // The two are given the other way round than they are read.
            (SET_BASELINE, [tvoc, eco2]) => self.baseline = [*eco2, *tvoc],
            (SET_HUMIDITY, [humidity]) => self.humidity = *humidity,
            (FEATURE_SET, []) if self.fault == Some(Fault::WrongId) => self.answer = Answer::Words(vec![0x1022]),
            (FEATURE_SET, []) => self.answer = Answer::Words(vec![FEATURES]),
            (SERIAL_NUMBER, []) => self.answer = Answer::Words(SERIAL.to_vec()),
            (SELF_TEST, []) => self.answer = Answer::Words(vec![0xD400]),
            _ => return false,
        }
        true
    }

    /// Before the algorithm was started there is no result.
    fn measurement(&mut self) -> Vec<u16> {
        match &mut self.measured {
            _ if self.fault == Some(Fault::PowerOn) => vec![0, 0],
            None => vec![0, 0],
            Some(measured) if *measured < WARM_UP => {
                *measured += 1;
                vec![400, 0]
            }
            Some(_) => ["eco2", "tvoc"].map(|name| self.world.clamped(name).round() as u16).to_vec(),
        }
    }
}

impl Chip for Sgp30 {
    fn kind(&self) -> &'static str {
        "sgp30"
    }

    fn write(&mut self, bytes: &[u8]) -> bool {
        self.fault != Some(Fault::Nak) && command(bytes).is_some_and(|(command, words)| self.command(command, &words))
    }

    fn read(&mut self, buffer: &mut [u8]) -> bool {
        let words = match std::mem::replace(&mut self.answer, Answer::Nothing) {
            _ if matches!(self.fault, Some(Fault::Nak | Fault::NotReady)) => return false,
            Answer::Nothing => return false,
            Answer::Words(words) => words,
            Answer::Measurement => self.measurement(),
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

    fn measured(chip: &mut Sgp30) -> [u8; 6] {
        let mut bytes = [0; 6];
        assert!(chip.write(&[0x20, 0x08]) && chip.read(&mut bytes));
        bytes
    }

    #[test]
    fn fifteen_answers_after_the_start_are_those_of_its_initialisation() {
        let mut chip = Sgp30::default();
        assert_eq!(measured(&mut chip), [0x00, 0x00, 0x81, 0x00, 0x00, 0x81], "not started");
        for _ in 0..2 {
            assert!(chip.write(&[0x20, 0x03]));
            for _ in 0..15 {
                assert_eq!(measured(&mut chip), [0x01, 0x90, 0x4C, 0x00, 0x00, 0x81]);
            }
            assert_eq!(measured(&mut chip)[..2], [0x02, 0x58], "600 ppm");
        }
    }

    #[test]
    fn what_is_set_needs_its_checksum_and_the_start_forgets_it() {
        let mut chip = Sgp30::default();
        assert!(chip.write(&[0x20, 0x61, 0x0F, 0x80, 0x62]) && !chip.write(&[0x20, 0x61, 0x0F, 0x80, 0x63]));
        assert_eq!(chip.humidity, 0x0F80);
        assert!(chip.write(&[0x20, 0x03]) && chip.humidity == 0);
        assert!(!chip.read(&mut [0; 3]), "nothing was asked");
    }
}
