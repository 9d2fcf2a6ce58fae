//! A simulated Sensirion SCD41.
//!
//! Datasheet SCD4x, version 1.7, chapter 3: two-byte commands, words with a CRC each, idle, measuring and asleep. While it
//! measures it acknowledges only the four commands that it takes then.

use crate::simulated::{answer, command, ticks};
use fieldgate_bus::sim::chips::{Chip, Fault, World, fill};

const START: u16 = 0x21B1;
const START_LOW_POWER: u16 = 0x21AC;
const READ_MEASUREMENT: u16 = 0xEC05;
const STOP: u16 = 0x3F86;
const DATA_READY: u16 = 0xE4B8;
const PRESSURE: u16 = 0xE000;
const SET_TEMPERATURE_OFFSET: u16 = 0x241D;
const GET_TEMPERATURE_OFFSET: u16 = 0x2318;
const SET_ALTITUDE: u16 = 0x2427;
const GET_ALTITUDE: u16 = 0x2322;
const SET_SELF_CALIBRATION: u16 = 0x2416;
const GET_SELF_CALIBRATION: u16 = 0x2313;
const SERIAL_NUMBER: u16 = 0x3682;
const VARIANT: u16 = 0x202F;
const REINIT: u16 = 0x3646;
const POWER_DOWN: u16 = 0x36E0;
const WAKE_UP: u16 = 0x36F6;

/// What the chip takes while it measures.
const WHILE_MEASURING: [u16; 4] = [READ_MEASUREMENT, DATA_READY, STOP, PRESSURE];

const SERIAL: [u16; 3] = [0xF896, 0x31D5, 0x9F07];
const SCD41: u16 = 0x1440;
/// The factory's offset in °C, which is also by how much this chip warms itself.
const WARMTH: f64 = 4.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    /// How often the status was read since the start or the last result.
    Measuring(u8),
    Asleep,
}

/// What is forgotten without a supply.
#[derive(Clone, Copy, Debug)]
struct Ram {
    temperature_offset: u16,
    altitude: u16,
    pressure: u16,
    self_calibration: u16,
}

impl Ram {
    fn from_eeprom() -> Self {
        Self { temperature_offset: ticks(WARMTH / 175.0), altitude: 0, pressure: 1013, self_calibration: 1 }
    }
}

pub(super) struct Scd4x {
    world: World,
    fault: Option<Fault>,
    state: State,
    ram: Ram,
    /// What the next read answers.
    words: Vec<u16>,
}

impl Default for Scd4x {
    fn default() -> Self {
        let world = World::new([
            ("co2", 600.0, 0.0..=40_000.0),
            ("temperature", 21.5, -45.0..=126.0),
            ("humidity", 45.0, 0.0..=100.0),
        ]);
        Self { world, fault: None, state: State::Idle, ram: Ram::from_eeprom(), words: Vec::new() }
    }
}

impl Scd4x {
    fn command(&mut self, command: u16, arguments: &[u16]) -> bool {
        self.words.clear();
        match self.state {
            State::Asleep => {
                if command == WAKE_UP {
                    self.state = State::Idle;
                }
                return false;
            }
            State::Measuring(_) if !WHILE_MEASURING.contains(&command) => return false,
            _ => {}
        }
        match (command, arguments) {
            (PRESSURE, [pressure]) => self.ram.pressure = *pressure,
            (SET_TEMPERATURE_OFFSET, [offset]) => self.ram.temperature_offset = *offset,
            (SET_ALTITUDE, [altitude]) => self.ram.altitude = *altitude,
            (SET_SELF_CALIBRATION, [on]) => self.ram.self_calibration = *on,
            (_, []) => return self.simple(command),
            _ => return false,
        }
        true
    }

    fn simple(&mut self, command: u16) -> bool {
        match command {
            START | START_LOW_POWER if self.fault != Some(Fault::PowerOn) => self.state = State::Measuring(0),
            START | START_LOW_POWER => {}
            STOP => self.state = State::Idle,
            DATA_READY => self.words = vec![self.status()],
            READ_MEASUREMENT => self.words = self.measurement(),
            PRESSURE => self.words = vec![self.ram.pressure],
            GET_TEMPERATURE_OFFSET => self.words = vec![self.ram.temperature_offset],
            GET_ALTITUDE => self.words = vec![self.ram.altitude],
            GET_SELF_CALIBRATION => self.words = vec![self.ram.self_calibration],
            SERIAL_NUMBER => self.words = SERIAL.to_vec(),
            VARIANT => self.words = vec![if self.fault == Some(Fault::WrongId) { 0x2440 } else { SCD41 }],
            REINIT => self.ram = Ram::from_eeprom(),
            POWER_DOWN => self.state = State::Asleep,
            _ => return false,
        }
        true
    }

    fn status(&mut self) -> u16 {
        match &mut self.state {
            State::Measuring(reads) if self.fault != Some(Fault::NotReady) => {
                *reads = reads.saturating_add(1);
                if *reads > 1 { 0x8006 } else { 0x8000 }
            }
            _ => 0x8000,
        }
    }

    /// Nothing, so that the read is not acknowledged, while there is no result; a result is read once.
    fn measurement(&mut self) -> Vec<u16> {
        match self.state {
            State::Measuring(reads) if reads > 1 => self.state = State::Measuring(0),
            _ => return Vec::new(),
        }
        let offset = f64::from(self.ram.temperature_offset) / 65_535.0 * 175.0;
        let celsius = self.world.clamped("temperature") + WARMTH - offset;
        vec![
            self.world.clamped("co2").round() as u16,
            ticks((celsius + 45.0) / 175.0),
            ticks(self.world.clamped("humidity") / 100.0),
        ]
    }
}

impl Chip for Scd4x {
    fn kind(&self) -> &'static str {
        "scd4x"
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

    /// After power-on the chip is idle and nothing was set.
    fn set_fault(&mut self, fault: Option<&str>) -> bool {
        let knows = [Fault::Nak, Fault::Checksum, Fault::NotReady, Fault::PowerOn, Fault::WrongId];
        let known = Fault::set(&mut self.fault, fault, &knows);
        if known && self.fault == Some(Fault::PowerOn) {
            (self.state, self.ram) = (State::Idle, Ram::from_eeprom());
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(chip: &mut Scd4x, command: [u8; 2]) -> Option<u16> {
        let mut bytes = [0; 3];
        (chip.write(&command) && chip.read(&mut bytes)).then(|| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    #[test]
    fn a_result_comes_after_the_start_and_is_read_once() {
        let mut chip = Scd4x::default();
        assert_eq!(ask(&mut chip, [0xE4, 0xB8]), Some(0x8000), "idle");
        assert!(chip.write(&[0x21, 0xB1]));
        assert_eq!(ask(&mut chip, [0xEC, 0x05]), None);
        assert_eq!(ask(&mut chip, [0xE4, 0xB8]), Some(0x8000));
        assert_eq!(ask(&mut chip, [0xE4, 0xB8]), Some(0x8006));
        assert_eq!(ask(&mut chip, [0xEC, 0x05]), Some(600));
        assert_eq!(ask(&mut chip, [0xEC, 0x05]), None);
        assert_eq!(ask(&mut chip, [0xE4, 0xB8]), Some(0x8000));
    }

    #[test]
    fn while_it_measures_it_takes_no_settings_but_the_pressure() {
        let mut chip = Scd4x::default();
        assert!(chip.write(&[0x21, 0xAC]));
        assert!(!chip.write(&[0x36, 0x82]) && !chip.write(&[0x24, 0x27, 0x02, 0x08, 0xDC]));
        assert!(chip.write(&[0xE0, 0x00, 0x03, 0xDB, 0x42]));
        assert_eq!(ask(&mut chip, [0xE0, 0x00]), Some(987));
        assert!(chip.write(&[0x3F, 0x86]) && chip.write(&[0x36, 0x82]));
    }

    #[test]
    fn settings_last_until_they_are_brought_back_from_the_eeprom() {
        let mut chip = Scd4x::default();
        assert!(!chip.write(&[0x24, 0x27, 0x07, 0x9E, 0x00]), "a wrong checksum");
        assert!(chip.write(&[0x24, 0x27, 0x07, 0x9E, 0x09]));
        assert_eq!(ask(&mut chip, [0x23, 0x22]), Some(1950));
        assert!(chip.write(&[0x36, 0x46]));
        assert_eq!(ask(&mut chip, [0x23, 0x22]), Some(0));
    }

    #[test]
    fn asleep_it_acknowledges_nothing_until_it_was_woken() {
        let mut chip = Scd4x::default();
        assert!(chip.write(&[0x36, 0xE0]) && !chip.write(&[0x3F, 0x86]));
        assert!(!chip.write(&[0x36, 0xF6]) && chip.write(&[0x3F, 0x86]));
    }
}
