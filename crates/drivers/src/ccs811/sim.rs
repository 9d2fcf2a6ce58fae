//! A simulated ams CCS811.
//!
//! Datasheet DS000459: a boot loader that starts the firmware, a status, results that are read once. It has no clock: a
//! result is there at the second reading of the status after the last one.

use fieldgate_bus::sim::chips::{Chip, Fault, World, fill};

const STATUS: u8 = 0x00;
const MEAS_MODE: u8 = 0x01;
const ALG_RESULT_DATA: u8 = 0x02;
const ENV_DATA: u8 = 0x05;
const BASELINE: u8 = 0x11;
const HW_ID: u8 = 0x20;
const HW_VERSION: u8 = 0x21;
const ERROR_ID: u8 = 0xE0;
const APP_START: u8 = 0xF4;
const SW_RESET: u8 = 0xFF;
const RESET_WORDS: [u8; 4] = [0x11, 0xE5, 0x72, 0x8A];

const ERROR: u8 = 0x01;
const DATA_READY: u8 = 0x08;
const APP_VALID: u8 = 0x10;
const FW_MODE: u8 = 0x80;
const WRITE_REG_INVALID: u8 = 0x01;
const READ_REG_INVALID: u8 = 0x02;

pub(super) struct Ccs811 {
    world: World,
    fault: Option<Fault>,
    pointer: u8,
    /// Whether the firmware runs.
    runs: bool,
    mode: u8,
    environment: [u8; 4],
    error: u8,
    /// How often the status was read since the start or the last result.
    asked: u8,
}

impl Default for Ccs811 {
    fn default() -> Self {
        let world = World::new([("eco2", 600.0, 400.0..=32_768.0), ("tvoc", 30.0, 0.0..=32_768.0)]);
        let environment = [0x64, 0, 0x64, 0];
        Self { world, fault: None, pointer: 0, runs: false, mode: 0, environment, error: 0, asked: 0 }
    }
}

impl Ccs811 {
    fn reset(&mut self) {
        (self.runs, self.mode, self.error, self.asked) = (false, 0, 0, 0);
    }

    fn command(&mut self, register: u8, data: &[u8]) {
        self.pointer = register;
        match (register, data) {
            (_, []) if register != APP_START => {}
            (APP_START, []) => self.runs = self.fault != Some(Fault::PowerOn),
            (SW_RESET, words) if words == RESET_WORDS => self.reset(),
            (MEAS_MODE, [mode]) if self.runs => (self.mode, self.asked) = (*mode, 0),
            (ENV_DATA, [a, b, c, d]) if self.runs => self.environment = [*a, *b, *c, *d],
            (BASELINE, [_, _]) if self.runs => {}
            _ => self.error |= WRITE_REG_INVALID,
        }
    }

    fn status(&self) -> u8 {
        let ready = self.runs && self.mode & 0x70 != 0 && self.asked > 1 && self.fault != Some(Fault::NotReady);
        APP_VALID
            | if self.runs { FW_MODE } else { 0 }
            | if ready { DATA_READY } else { 0 }
            | if self.error != 0 { ERROR } else { 0 }
    }

    fn answer(&mut self) -> Vec<u8> {
        match self.pointer {
            STATUS => {
                self.asked = self.asked.saturating_add(1);
                vec![self.status()]
            }
            MEAS_MODE if self.runs => vec![self.mode],
            ALG_RESULT_DATA if self.runs => self.result(),
            BASELINE if self.runs => vec![0x84, 0x7B],
            HW_ID => vec![if self.fault == Some(Fault::WrongId) { 0x80 } else { 0x81 }],
            HW_VERSION => vec![0x12],
            ERROR_ID => vec![std::mem::take(&mut self.error)],
            _ => {
                self.error |= READ_REG_INVALID;
                Vec::new()
            }
        }
    }

    fn result(&mut self) -> Vec<u8> {
        let status = self.status();
        let measured = |name| if status & DATA_READY == 0 { 0 } else { self.world.clamped(name).round() as u16 };
        let words = [measured("eco2").to_be_bytes(), measured("tvoc").to_be_bytes()];
        self.asked = 0;
        [words.as_flattened(), &[status, self.error, 0x14, 0x9A]].concat()
    }
}

impl Chip for Ccs811 {
    fn kind(&self) -> &'static str {
        "ccs811"
    }

    fn write(&mut self, bytes: &[u8]) -> bool {
        if self.fault == Some(Fault::Nak) {
            return false;
        }
        if let [register, data @ ..] = bytes {
            self.command(*register, data);
        }
        true
    }

    fn read(&mut self, buffer: &mut [u8]) -> bool {
        if self.fault == Some(Fault::Nak) {
            return false;
        }
        let answer = self.answer();
        fill(buffer, if self.fault == Some(Fault::Stuck) { Vec::new() } else { answer });
        true
    }

    fn world(&self) -> Vec<(&'static str, f64)> {
        self.world.list()
    }

    fn set_world(&mut self, name: &str, value: f64) -> bool {
        self.world.set(name, value)
    }

    /// After power-on the boot loader waits.
    fn set_fault(&mut self, fault: Option<&str>) -> bool {
        let knows = [Fault::Nak, Fault::NotReady, Fault::PowerOn, Fault::WrongId, Fault::Stuck];
        let known = Fault::set(&mut self.fault, fault, &knows);
        if known && self.fault == Some(Fault::PowerOn) {
            self.reset();
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<const N: usize>(chip: &mut Ccs811, register: u8) -> [u8; N] {
        let mut bytes = [0; N];
        assert!(chip.write(&[register]) && chip.read(&mut bytes));
        bytes
    }

    #[test]
    fn the_boot_loader_starts_the_firmware_and_a_reset_ends_it() {
        let mut chip = Ccs811::default();
        assert_eq!((read(&mut chip, 0x20), read(&mut chip, 0x00)), ([0x81], [0x10]));
        assert!(chip.write(&[0x01, 0x10]), "no such register in the boot loader");
        assert_eq!((read(&mut chip, 0x00), read(&mut chip, 0xE0)), ([0x11], [0x01]));
        assert!(chip.write(&[0xF4]));
        assert_eq!(read(&mut chip, 0x00), [0x90]);
        assert!(chip.write(&[0xFF, 0x11, 0xE5, 0x72, 0x8A]));
        assert_eq!(read(&mut chip, 0x00), [0x10]);
    }

    #[test]
    fn a_result_is_there_at_the_second_look_and_read_once() {
        let mut chip = Ccs811::default();
        assert!(chip.write(&[0xF4]) && chip.write(&[0x01, 0x10]));
        assert_eq!(read(&mut chip, 0x00), [0x90]);
        assert_eq!(read(&mut chip, 0x00), [0x98]);
        assert_eq!(read(&mut chip, 0x02), [0x02, 0x58, 0x00, 0x1E, 0x98, 0x00]);
        assert_eq!(read(&mut chip, 0x02), [0x00, 0x00, 0x00, 0x00, 0x90, 0x00]);
        assert_eq!(read(&mut chip, 0x00), [0x90]);
    }
}
