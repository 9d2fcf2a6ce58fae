//! A simulated Sensirion SHT30, SHT31 or SHT35.
//!
//! Datasheet SHT3x-DIS, version 7, section 4: two-byte commands, results with a CRC each, the status register.

use crate::simulated::{answer, ticks};
use fieldgate_bus::sim::chips::{Chip, Fault, World, fill};

/// Single shot without clock stretching: high, medium, low repeatability (table 9).
const SINGLE_SHOT: [u16; 3] = [0x2400, 0x240B, 0x2416];
/// Single shot with clock stretching: high, medium, low repeatability (table 9).
const SINGLE_SHOT_STRETCHED: [u16; 3] = [0x2C06, 0x2C0D, 0x2C10];
const FETCH: u16 = 0xE000;
const BREAK: u16 = 0x3093;
const SOFT_RESET: u16 = 0x30A2;
const HEATER_ON: u16 = 0x306D;
const HEATER_OFF: u16 = 0x3066;
const READ_STATUS: u16 = 0xF32D;
const CLEAR_STATUS: u16 = 0x3041;

/// Alert pending and reset detected, as after power-on (table 18).
const STATUS_AT_RESET: u16 = 0x8010;
/// What clearing the status clears: bits 15, 11, 10 and 4.
const CLEARABLE: u16 = 0x8C10;
const HEATER: u16 = 0x2000;

/// What the next read answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Nothing,
    Measurement,
    Status,
}

pub(super) struct Sht3x {
    world: World,
    fault: Option<Fault>,
    status: u16,
    periodic: bool,
    answer: Answer,
}

impl Default for Sht3x {
    fn default() -> Self {
        let world = World::new([("temperature", 21.5, -45.0..=130.0), ("humidity", 45.0, 0.0..=100.0)]);
        Self { world, fault: None, status: STATUS_AT_RESET, periodic: false, answer: Answer::Nothing }
    }
}

impl Sht3x {
    fn command(&mut self, command: u16) -> bool {
        self.answer = Answer::Nothing;
        match command {
            _ if SINGLE_SHOT.contains(&command) || SINGLE_SHOT_STRETCHED.contains(&command) => {
                self.answer = Answer::Measurement;
            }
            // Periodic measurement, half a time to ten times per second (table 10), or accelerated response time.
            0x2000..=0x23FF | 0x2700..=0x27FF | 0x2B32 => self.periodic = true,
            FETCH if self.periodic => self.answer = Answer::Measurement,
            BREAK => self.periodic = false,
            SOFT_RESET => {
                self.status = STATUS_AT_RESET;
                self.periodic = false;
            }
            HEATER_ON => self.status |= HEATER,
            HEATER_OFF => self.status &= !HEATER,
            READ_STATUS => self.answer = Answer::Status,
            CLEAR_STATUS => self.status &= !CLEARABLE,
            _ => return false,
        }
        true
    }

    /// The inverse of the formulas in 4.13.
    fn measurement(&self) -> [u16; 2] {
        match self.fault {
            Some(Fault::Stuck) => [0xFFFF; 2],
            _ => [
                ticks((self.world.clamped("temperature") + 45.0) / 175.0),
                ticks(self.world.clamped("humidity") / 100.0),
            ],
        }
    }
}

impl Chip for Sht3x {
    fn kind(&self) -> &'static str {
        "sht3x"
    }

    fn write(&mut self, bytes: &[u8]) -> bool {
        if self.fault == Some(Fault::Nak) {
            return false;
        }
        match bytes {
            [high, low, ..] => self.command(u16::from_be_bytes([*high, *low])),
            _ => true,
        }
    }

    /// Without a result the read header is not acknowledged (4.4).
    fn read(&mut self, buffer: &mut [u8]) -> bool {
        let words = match std::mem::replace(&mut self.answer, Answer::Nothing) {
            _ if self.fault == Some(Fault::Nak) => return false,
            Answer::Nothing => return false,
            Answer::Measurement if self.fault == Some(Fault::NotReady) => return false,
            Answer::Measurement => self.measurement().to_vec(),
            Answer::Status => vec![self.status],
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
    use crate::simulated::crc;

    #[test]
    fn a_result_is_read_once_and_only_after_a_command() {
        let mut chip = Sht3x::default();
        let mut bytes = [0; 6];
        assert!(!chip.read(&mut bytes));
        assert!(chip.write(&[0x24, 0x00]) && chip.read(&mut bytes));
        assert_eq!(u16::from_be_bytes([bytes[0], bytes[1]]), 24_903, "(21.5 + 45) / 175 of 65535");
        assert!(!chip.read(&mut bytes));
    }

    #[test]
    fn the_status_reports_a_reset_until_it_is_cleared() {
        let mut chip = Sht3x::default();
        let status = |chip: &mut Sht3x| {
            let mut bytes = [0; 3];
            assert!(chip.write(&[0xF3, 0x2D]) && chip.read(&mut bytes));
            assert_eq!(bytes[2], crc(0xFF, &bytes[..2]));
            [bytes[0], bytes[1]]
        };
        assert_eq!(status(&mut chip), [0x80, 0x10]);
        assert!(chip.write(&[0x30, 0x41]) && chip.write(&[0x30, 0x6D]));
        assert_eq!(status(&mut chip), [0x20, 0x00]);
        assert!(chip.write(&[0x30, 0xA2]));
        assert_eq!(status(&mut chip), [0x80, 0x10]);
    }

    #[test]
    fn fetching_needs_a_periodic_measurement() {
        let mut chip = Sht3x::default();
        assert!(!chip.write(&[0xE0, 0x00]));
        assert!(chip.write(&[0x21, 0x30]) && chip.write(&[0xE0, 0x00]) && chip.read(&mut [0; 6]));
        assert!(chip.write(&[0x30, 0x93]) && !chip.write(&[0xE0, 0x00]));
    }
}
