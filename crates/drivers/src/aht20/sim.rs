//! A simulated ASAIR AHT20.
//!
//! Datasheet AHT20, version 1.1: three commands, and an answer that begins with the status and ends with a checksum.

use crate::simulated::crc;
use fieldgate_bus::sim::chips::{Chip, Fault, World, fill};

const BUSY: u8 = 0x80;
const CALIBRATED: u8 = 0x08;
/// Set whenever the chip is on.
const ALWAYS: u8 = 0x10;

pub(super) struct Aht20 {
    world: World,
    fault: Option<Fault>,
    calibrated: bool,
    running: bool,
    /// Humidity and temperature, 20 bits each.
    result: [u32; 2],
}

impl Default for Aht20 {
    fn default() -> Self {
        let world = World::new([("temperature", 21.5, -50.0..=149.99), ("humidity", 45.0, 0.0..=100.0)]);
        Self { world, fault: None, calibrated: true, running: false, result: [0; 2] }
    }
}

impl Aht20 {
    fn measure(&mut self) {
        let code = |share: f64| (share * 1_048_576.0).round().clamp(0.0, 1_048_575.0) as u32;
        self.running = true;
        self.result =
            [code(self.world.clamped("humidity") / 100.0), code((self.world.clamped("temperature") + 50.0) / 200.0)];
    }

    fn status(&self) -> u8 {
        let busy = self.running || self.fault == Some(Fault::NotReady);
        ALWAYS | if self.calibrated { CALIBRATED } else { 0 } | if busy { BUSY } else { 0 }
    }

    fn frame(&self) -> [u8; 7] {
        let [humidity, temperature] = self.result;
        let [_, a, b, c] = (humidity << 4 | temperature >> 16).to_be_bytes();
        let [_, _, d, e] = temperature.to_be_bytes();
        let data = [self.status(), a, b, c, d, e];
        let damage = u8::from(self.fault == Some(Fault::Checksum));
        [data[0], a, b, c, d, e, crc(0xFF, &data) ^ damage]
    }
}

impl Chip for Aht20 {
    fn kind(&self) -> &'static str {
        "aht20"
    }

    fn write(&mut self, bytes: &[u8]) -> bool {
        match bytes {
            _ if self.fault == Some(Fault::Nak) => return false,
            [0xAC, 0x33, 0x00] if self.calibrated => self.measure(),
            [0xAC, 0x33, 0x00] | [] => {}
            [0xBE, 0x08, 0x00] => self.calibrated = self.fault != Some(Fault::PowerOn),
            [0xBA] => self.running = false,
            _ => return false,
        }
        true
    }

    /// A driver that reads the status alone sees a conversion running once; one that reads on has waited for it.
    fn read(&mut self, buffer: &mut [u8]) -> bool {
        if self.fault == Some(Fault::Nak) {
            return false;
        }
        if buffer.len() > 1 {
            self.running = false;
        }
        let frame = if self.fault == Some(Fault::Stuck) { [0xFF; 7] } else { self.frame() };
        fill(buffer, frame);
        self.running = false;
        true
    }

    fn world(&self) -> Vec<(&'static str, f64)> {
        self.world.list()
    }

    fn set_world(&mut self, name: &str, value: f64) -> bool {
        self.world.set(name, value)
    }

    /// `power-on` also takes the chip back to that state: without its calibration, as chips have come.
    fn set_fault(&mut self, fault: Option<&str>) -> bool {
        let knows = [Fault::Nak, Fault::Checksum, Fault::NotReady, Fault::PowerOn, Fault::Stuck];
        let known = Fault::set(&mut self.fault, fault, &knows);
        if known && self.fault == Some(Fault::PowerOn) {
            (self.calibrated, self.running, self.result) = (false, false, [0; 2]);
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<const N: usize>(chip: &mut Aht20) -> [u8; N] {
        let mut bytes = [0; N];
        assert!(chip.read(&mut bytes));
        bytes
    }

    #[test]
    fn a_measurement_is_seen_running_then_done() {
        let mut chip = Aht20::default();
        assert_eq!(read(&mut chip), [0x18]);
        assert!(chip.write(&[0xAC, 0x33, 0x00]));
        assert_eq!((read(&mut chip), read(&mut chip)), ([0x98], [0x18]));
        // 45 % and 71.5 of 200 degrees of 1048576.
        assert_eq!(read(&mut chip), [0x18, 0x73, 0x33, 0x35, 0xB8, 0x52, 0xE8]);
    }

    #[test]
    fn without_its_calibration_it_does_not_measure_until_ordered_to_load_it() {
        let mut chip = Aht20::default();
        assert!(chip.set_fault(Some("power-on")) && chip.set_fault(None));
        assert!(chip.write(&[0xAC, 0x33, 0x00]));
        assert_eq!(read::<6>(&mut chip), [0x10, 0, 0, 0, 0, 0]);
        assert!(chip.write(&[0xBE, 0x08, 0x00]));
        assert_eq!(read(&mut chip), [0x18]);
        assert!(!chip.write(&[0xE1, 0x08, 0x00]), "which is for the AHT10");
    }
}
