//! A simulated Winsen MH-Z19B.
//!
//! Datasheet version 1.0, section "UART": commands and answers of nine bytes with a checksum. While it boots it reports 410 ppm
//! and 15000 in bytes 6 and 7, as users found; that is over with the second answer.

use std::collections::VecDeque;

use fieldgate_bus::sim::chips::{Chip, Fault, World};

const BOOT_ANSWERS: u8 = 2;
/// As delivered.
const RANGE: u16 = 5000;

pub(super) struct MhZ19 {
    world: World,
    fault: Option<Fault>,
    boots: u8,
    range: u16,
    auto_calibration: bool,
    out: VecDeque<u8>,
}

impl Default for MhZ19 {
    fn default() -> Self {
        let world = World::new([("co2", 600.0, 0.0..=65_535.0), ("temperature", 22.0, -40.0..=85.0)]);
        let (boots, range) = (BOOT_ANSWERS, RANGE);
        Self { world, fault: None, boots, range, auto_calibration: true, out: VecDeque::new() }
    }
}

impl MhZ19 {
    fn command(&mut self, bytes: &[u8]) {
        match bytes {
            [0xFF, 0x01, 0x86, ..] => self.answer(),
            [0xFF, 0x01, 0x79, on, ..] => self.auto_calibration = *on == 0xA0,
            [0xFF, 0x01, 0x99, _, _, _, high, low, _] => self.range = u16::from_be_bytes([*high, *low]),
            _ => {}
        }
    }

    fn answer(&mut self) {
        let booting = self.boots > 0 || self.fault == Some(Fault::NotReady);
        self.boots = self.boots.saturating_sub(1);
        let ppm = if booting { 410 } else { (self.world.clamped("co2").round() as u16).min(self.range) };
        let state: u16 = if booting { 15_000 } else { 0 };
        let ([high, low], [state_high, state_low]) = (ppm.to_be_bytes(), state.to_be_bytes());
        let celsius = (self.world.clamped("temperature") + 40.0).round() as u8;
        // What answers another question, as for the firmware's version, begins otherwise.
        let command = if self.fault == Some(Fault::WrongId) { 0xA0 } else { 0x86 };
        let mut bytes = [0xFF, command, high, low, celsius, 0, state_high, state_low, 0];
        bytes[8] = checksum(&bytes);
        if self.fault == Some(Fault::Checksum) {
            bytes[3] ^= 0x10;
        }
        self.out.extend(bytes);
    }
}

/// Of bytes 1 to 7.
fn checksum(bytes: &[u8]) -> u8 {
    let sum: u32 = bytes.iter().skip(1).take(7).map(|byte| u32::from(*byte)).sum();
    (0x100 - sum % 0x100) as u8
}

impl Chip for MhZ19 {
    fn kind(&self) -> &'static str {
        "mh-z19"
    }

    fn write(&mut self, bytes: &[u8]) -> bool {
        if self.fault == Some(Fault::Nak) {
            return false;
        }
        for command in bytes.chunks_exact(9).filter(|command| command[8] == checksum(command)) {
            self.command(command);
        }
        true
    }

    fn read(&mut self, buffer: &mut [u8]) -> bool {
        let silent = self.fault == Some(Fault::Nak);
        !silent && buffer.iter_mut().all(|to| self.out.pop_front().inspect(|byte| *to = *byte).is_some())
    }

    fn world(&self) -> Vec<(&'static str, f64)> {
        self.world.list()
    }

    fn set_world(&mut self, name: &str, value: f64) -> bool {
        self.world.set(name, value)
    }

    /// `power-on` also takes it back to that state.
    fn set_fault(&mut self, fault: Option<&str>) -> bool {
        let knows = [Fault::Nak, Fault::Checksum, Fault::NotReady, Fault::PowerOn, Fault::WrongId];
        let known = Fault::set(&mut self.fault, fault, &knows);
        if known && self.fault == Some(Fault::PowerOn) {
            (self.boots, self.range, self.auto_calibration) = (BOOT_ANSWERS, RANGE, true);
            self.out.clear();
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_boots_for_two_answers_and_obeys_its_range() {
        let mut device = MhZ19::default();
        let reported = |device: &mut MhZ19| {
            let mut answer = [0; 9];
            assert!(device.write(&[0xFF, 0x01, 0x86, 0, 0, 0, 0, 0, 0x79]) && device.read(&mut answer));
            assert_eq!(answer[8], checksum(&answer));
            (u16::from_be_bytes([answer[2], answer[3]]), u16::from_be_bytes([answer[6], answer[7]]))
        };
        assert_eq!(
            [reported(&mut device), reported(&mut device), reported(&mut device)],
            [(410, 15_000), (410, 15_000), (600, 0)]
        );
        assert!(device.set_world("co2", 3000.0) && device.write(&[0xFF, 0x01, 0x99, 0, 0, 0, 0x07, 0xD0, 0x8F]));
        assert_eq!(reported(&mut device), (2000, 0));
        assert!(device.write(&[0xFF, 0x01, 0x79, 0, 0, 0, 0, 0, 0x86]) && !device.auto_calibration);
        assert!(device.write(&[0xFF, 0x01, 0x86, 0, 0, 0, 0, 0, 0x78]) && !device.read(&mut [0]), "a wrong checksum");
    }
}
