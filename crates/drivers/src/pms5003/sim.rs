//! A simulated Plantower PMS5003.
//!
//! Data manual version 2.3, appendix I: frames of 32 bytes with a sum, by itself in active mode, as after power-on, when
//! asked in passive mode; commands of 7 bytes, each but the question with an echo.

use std::collections::VecDeque;

use fieldgate_bus::sim::chips::{Chip, Fault, World};

/// Masses in µg/m³ in the air around us, numbers of particles in 0.1 L.
const WORLD: [(&str, f64); 9] = [
    ("pm1_0", 8.0),
    ("pm2_5", 12.0),
    ("pm10", 14.0),
    ("particles_0_3", 1500.0),
    ("particles_0_5", 420.0),
    ("particles_1_0", 70.0),
    ("particles_2_5", 8.0),
    ("particles_5_0", 3.0),
    ("particles_10", 1.0),
];

pub(super) struct Pms5003 {
    world: World,
    fault: Option<Fault>,
    active: bool,
    asleep: bool,
    out: VecDeque<u8>,
    /// It has sent a frame by itself, and rests before the next.
    rests: bool,
}

impl Default for Pms5003 {
    fn default() -> Self {
        let world = World::new(WORLD.iter().map(|(name, value)| (*name, *value, 0.0..=65_535.0)));
        Self { world, fault: None, active: true, asleep: false, out: VecDeque::new(), rests: false }
    }
}

impl Pms5003 {
    fn command(&mut self, command: u8, data: u8) {
        match (command, data) {
            (0xE1, mode @ 0..=1) => self.active = mode == 1,
            (0xE2, _) => {
                self.send_data();
                return;
            }
            (0xE4, 0) => self.asleep = true,
            (0xE4, 1) => {
                self.asleep = false;
                return;
            }
            _ => return,
        }
        self.send(&[command, data]);
    }

    fn send_data(&mut self) {
        let measured = WORLD.map(|(name, _)| self.world.clamped(name).round() as u16);
        let (masses, counts) = measured.split_at(3);
        // The maker's test dust is denser than what is in the air: the factory's figures lie above, as on the real device
        // from 30 µg/m³ on.
        let standard = masses.iter().map(|mass| mass.saturating_add(mass / 4));
        let version = 0x9700;
        let words = standard.chain(masses.iter().copied()).chain(counts.iter().copied()).chain([version]);
        let mut bytes: Vec<u8> = words.flat_map(u16::to_be_bytes).collect();
        if self.fault == Some(Fault::WrongId) {
            // A PMS3003 has no counts.
            bytes.truncate(18);
        }
        self.send(&bytes);
    }

    fn send(&mut self, content: &[u8]) {
        let length = u8::try_from(content.len() + 2).unwrap_or(u8::MAX);
        let mut frame = vec![0x42, 0x4D, 0, length];
        frame.extend_from_slice(content);
        let sum = frame.iter().fold(0_u16, |sum, byte| sum.wrapping_add(u16::from(*byte)));
        frame.extend(sum.to_be_bytes());
        if self.fault == Some(Fault::Checksum) {
            frame[5] ^= 0x01;
        }
        self.out.extend(frame);
    }

    fn next(&mut self) -> Option<u8> {
        if self.asleep || matches!(self.fault, Some(Fault::Nak | Fault::NotReady)) {
            return None;
        }
        if self.out.is_empty() && self.active && !std::mem::take(&mut self.rests) {
            self.send_data();
            self.rests = true;
        }
        self.out.pop_front()
    }
}

impl Chip for Pms5003 {
    fn kind(&self) -> &'static str {
        "pms5003"
    }

    fn write(&mut self, bytes: &[u8]) -> bool {
        if self.fault == Some(Fault::Nak) {
            return false;
        }
        for command in bytes.windows(7) {
            let sum = command[..5].iter().fold(0_u16, |sum, byte| sum + u16::from(*byte));
            if command[..2] == [0x42, 0x4D] && command[5..] == sum.to_be_bytes() {
                self.command(command[2], command[4]);
            }
        }
        true
    }

    fn read(&mut self, buffer: &mut [u8]) -> bool {
        buffer.iter_mut().all(|to| self.next().inspect(|byte| *to = *byte).is_some())
    }

    fn world(&self) -> Vec<(&'static str, f64)> {
        self.world.list()
    }

    fn set_world(&mut self, name: &str, value: f64) -> bool {
        self.world.set(name, value)
    }

    /// `power-on` also takes it back to that state: active mode.
    fn set_fault(&mut self, fault: Option<&str>) -> bool {
        let knows = [Fault::Nak, Fault::Checksum, Fault::NotReady, Fault::PowerOn, Fault::WrongId];
        let known = Fault::set(&mut self.fault, fault, &knows);
        if known && self.fault == Some(Fault::PowerOn) {
            (self.active, self.asleep, self.rests) = (true, false, false);
            self.out.clear();
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fieldgate_bus::sim::chips::hear;

    #[test]
    fn active_mode_speaks_again_and_again_and_passive_mode_when_asked() {
        let mut device = Pms5003::default();
        let mut heard = [0; 100];
        assert_eq!((hear(&mut device, &mut heard), hear(&mut device, &mut heard)), (32, 32));
        assert_eq!(heard[..4], [0x42, 0x4D, 0x00, 0x1C]);
        assert!(device.write(&[0x42, 0x4D, 0xE1, 0x00, 0x00, 0x01, 0x70]));
        assert_eq!(hear(&mut device, &mut heard), 8);
        assert_eq!(heard[..8], [0x42, 0x4D, 0x00, 0x04, 0xE1, 0x00, 0x01, 0x74]);
        assert_eq!(hear(&mut device, &mut heard), 0);
        assert!(device.write(&[0x42, 0x4D, 0xE2, 0x00, 0x00, 0x01, 0x71]));
        assert_eq!(hear(&mut device, &mut heard), 32);
        assert!(device.write(&[0x42, 0x4D, 0xE2, 0x00, 0x00, 0x01, 0x72]), "a wrong sum");
        assert_eq!(hear(&mut device, &mut heard), 0);
    }
}
