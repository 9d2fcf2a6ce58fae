//! A simulated Texas Instruments INA219 with a shunt of 0.1 Ω, as boards carry it.
//!
//! SBOS448 (revision G, section 8.6): six 16-bit registers behind a pointer, high byte first; triggered and continuous
//! conversion, ranges, the calibration register and what the chip computes with it.

use fieldgate_bus::sim::chips::{Chip, Fault, World, fill};

const CONFIG: u8 = 0;
const SHUNT_VOLTAGE: u8 = 1;
const BUS_VOLTAGE: u8 = 2;
const POWER: u8 = 3;
const CURRENT: u8 = 4;
const CALIBRATION: u8 = 5;

const CONFIG_AT_RESET: u16 = 0x399F;
const RESET: u16 = 0x8000;
const SHUNT: f64 = 0.1;

const READY: u16 = 0x0002;
const OVERFLOW: u16 = 0x0001;

pub(super) struct Ina219 {
    world: World,
    fault: Option<Fault>,
    pointer: u8,
    config: u16,
    calibration: u16,
    shunt: i16,
    bus: u16,
    running: bool,
    ready: bool,
}

impl Default for Ina219 {
    fn default() -> Self {
        let world = World::new([("voltage", 12.0, 0.0..=32.0), ("current", 0.5, -10.0..=10.0)]);
        Self {
            world,
            fault: None,
            pointer: CONFIG,
            config: CONFIG_AT_RESET,
            calibration: 0,
            shunt: 0,
            bus: 0,
            running: false,
            ready: false,
        }
    }
}

impl Ina219 {
    fn configure(&mut self, word: u16) {
        if word & RESET != 0 {
            (self.config, self.calibration) = (CONFIG_AT_RESET, 0);
            return;
        }
        self.config = word & 0x3FFF;
        // Writing the mode starts a conversion and takes the flag back.
        (self.running, self.ready) = (true, false);
        self.convert();
    }

    /// Of the two voltages those that the mode names (table 6).
    fn convert(&mut self) {
        if self.config & 1 != 0 {
            let full_scale = f64::from(4000_u16 << (self.config >> 11 & 3));
            let steps = self.world.clamped("current") * SHUNT / 10e-6;
            self.shunt = steps.round().clamp(-full_scale, full_scale) as i16;
        }
        if self.config & 2 != 0 {
            let full_scale = if self.config & 0x2000 == 0 { 4000.0 } else { 8000.0 };
            self.bus = (self.world.clamped("voltage") / 0.004).round().min(full_scale) as u16;
        }
    }

    fn is_continuous(&self) -> bool {
        self.config & 7 > 4
    }

    /// Equations 4 and 5 of section 8.5: the shunt voltage times the calibration, and that times the bus voltage.
    fn current(&self) -> i32 {
        i32::from(self.shunt) * i32::from(self.calibration & !1) / 4096
    }

    fn power(&self) -> i64 {
        i64::from(self.current().abs()) * i64::from(self.bus) / 5000
    }

    fn overflow(&self) -> bool {
        self.current() != i32::from(self.current() as i16) || self.power() > 0xFFFF
    }

    fn bus_register(&mut self) -> u16 {
        let busy = std::mem::take(&mut self.running) || self.fault == Some(Fault::NotReady);
        self.ready |= !busy;
        let overflow = if self.overflow() { OVERFLOW } else { 0 };
        self.bus << 3 | if self.ready { READY } else { 0 } | overflow
    }

    fn register(&mut self) -> u16 {
        if self.is_continuous() {
            self.convert();
        }
        match self.pointer {
            CONFIG => self.config,
            SHUNT_VOLTAGE => self.shunt as u16,
            BUS_VOLTAGE => self.bus_register(),
            POWER => {
                self.ready = false;
                self.power() as u16
            }
            CURRENT => self.current() as u16,
            CALIBRATION => self.calibration,
            _ => 0,
        }
    }
}

impl Chip for Ina219 {
    fn kind(&self) -> &'static str {
        "ina219"
    }

    fn write(&mut self, bytes: &[u8]) -> bool {
        if self.fault == Some(Fault::Nak) {
            return false;
        }
        let Some((pointer, value)) = bytes.split_first() else { return true };
        self.pointer = *pointer;
        if let [high, low, ..] = value {
            let word = u16::from_be_bytes([*high, *low]);
            match self.pointer {
                _ if self.fault == Some(Fault::PowerOn) => {}
                CONFIG => self.configure(word),
                CALIBRATION => self.calibration = word & !1,
                _ => {}
            }
        }
        true
    }

    fn read(&mut self, buffer: &mut [u8]) -> bool {
        if self.fault == Some(Fault::Nak) {
            return false;
        }
        let word = if self.fault == Some(Fault::Stuck) { 0xFFFF } else { self.register() };
        fill(buffer, word.to_be_bytes());
        true
    }

    fn world(&self) -> Vec<(&'static str, f64)> {
        self.world.list()
    }

    fn set_world(&mut self, name: &str, value: f64) -> bool {
        self.world.set(name, value)
    }

    /// `power-on` also takes the chip back to that state and keeps it there.
    fn set_fault(&mut self, fault: Option<&str>) -> bool {
        let knows = [Fault::Nak, Fault::NotReady, Fault::PowerOn, Fault::Stuck];
        let known = Fault::set(&mut self.fault, fault, &knows);
        if known && self.fault == Some(Fault::PowerOn) {
            (self.config, self.calibration, self.running, self.ready) = (CONFIG_AT_RESET, 0, false, false);
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(chip: &mut Ina219, pointer: u8) -> u16 {
        let mut bytes = [0; 2];
        assert!(chip.write(&[pointer]) && chip.read(&mut bytes));
        u16::from_be_bytes(bytes)
    }

    #[test]
    fn a_triggered_conversion_is_seen_running_then_done() {
        let mut chip = Ina219::default();
        assert_eq!(read(&mut chip, CONFIG), CONFIG_AT_RESET);
        assert!(chip.write(&[CONFIG, 0x39, 0x9B]));
        assert_eq!(read(&mut chip, BUS_VOLTAGE), 3000 << 3);
        assert_eq!(read(&mut chip, BUS_VOLTAGE), 3000 << 3 | READY);
        assert_eq!(read(&mut chip, SHUNT_VOLTAGE), 5000, "0.5 A across 0.1 Ω");
        assert!(chip.set_world("current", 1.0));
        assert_eq!(read(&mut chip, SHUNT_VOLTAGE), 5000, "it rests until it is triggered again");
    }

    #[test]
    fn it_computes_with_its_calibration_and_reports_an_overflow() {
        let mut chip = Ina219::default();
        assert_eq!((read(&mut chip, CURRENT), read(&mut chip, POWER)), (0, 0), "not calibrated");
        assert!(chip.write(&[CALIBRATION, 0x10, 0x00]));
        assert_eq!((read(&mut chip, CURRENT), read(&mut chip, POWER)), (5000, 3000));
        assert!(chip.write(&[CALIBRATION, 0xFF, 0xFF]));
        assert_eq!(read(&mut chip, BUS_VOLTAGE) & OVERFLOW, OVERFLOW);
    }

    #[test]
    fn it_saturates_at_its_ranges() {
        let mut chip = Ina219::default();
        assert!(chip.write(&[CONFIG, 0x01, 0x9F]) && chip.set_world("voltage", 20.0));
        assert_eq!(read(&mut chip, BUS_VOLTAGE) >> 3, 4000);
        assert_eq!(read(&mut chip, SHUNT_VOLTAGE), 4000);
        assert!(chip.set_world("current", -10.0));
        assert_eq!(read(&mut chip, SHUNT_VOLTAGE), 0xF060);
    }
}
