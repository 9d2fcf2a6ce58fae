//! A simulated Texas Instruments INA226 with a shunt of 0.1 Ω, as most boards carry it.
//!
//! SBOS547 (revision A, section 7.6): 16-bit registers behind a pointer, high byte first; triggered and continuous
//! conversion, the calibration register and what the chip computes with it, the ids.

use fieldgate_bus::sim::chips::{Chip, Fault, World, fill};

const CONFIG: u8 = 0x00;
const SHUNT_VOLTAGE: u8 = 0x01;
const BUS_VOLTAGE: u8 = 0x02;
const POWER: u8 = 0x03;
const CURRENT: u8 = 0x04;
const CALIBRATION: u8 = 0x05;
const MASK_ENABLE: u8 = 0x06;
const ALERT_LIMIT: u8 = 0x07;
const MANUFACTURER_ID: u8 = 0xFE;
const DIE_ID: u8 = 0xFF;

const CONFIG_AT_RESET: u16 = 0x4127;
const RESET: u16 = 0x8000;
const SHUNT: f64 = 0.1;

const READY: u16 = 0x0008;
const OVERFLOW: u16 = 0x0004;
/// What can be written of the mask and enable register.
const MASK: u16 = 0xFC03;

pub(super) struct Ina226 {
    world: World,
    fault: Option<Fault>,
    pointer: u8,
    config: u16,
    calibration: u16,
    mask: u16,
    limit: u16,
    shunt: i16,
    bus: u16,
    running: bool,
    ready: bool,
}

impl Default for Ina226 {
    fn default() -> Self {
        let world = World::new([("voltage", 12.0, 0.0..=40.0), ("current", 0.5, -10.0..=10.0)]);
        Self {
            world,
            fault: None,
            pointer: CONFIG,
            config: CONFIG_AT_RESET,
            calibration: 0,
            mask: 0,
            limit: 0,
            shunt: 0,
            bus: 0,
            running: true,
            ready: false,
        }
    }
}

impl Ina226 {
    fn power_on(&mut self) {
        (self.config, self.calibration, self.mask, self.limit) = (CONFIG_AT_RESET, 0, 0, 0);
        (self.running, self.ready) = (true, false);
    }

    fn configure(&mut self, word: u16) {
        if word & RESET != 0 {
            self.power_on();
            return;
        }
        // Bits 14 to 12 cannot be written and read as after power-on.
        self.config = word & 0x0FFF | CONFIG_AT_RESET & 0x7000;
        (self.running, self.ready) = (true, false);
        self.convert();
    }

    /// Of the two voltages those that the mode names (table 9).
    fn convert(&mut self) {
        if self.config & 1 != 0 {
            let steps = (self.world.clamped("current") * SHUNT / 2.5e-6).round();
            self.shunt = steps.clamp(-32_768.0, 32_767.0) as i16;
        }
        if self.config & 2 != 0 {
            self.bus = (self.world.clamped("voltage") / 0.001_25).round() as u16;
        }
    }

    /// Equations 3 and 4 of section 6.5.1: the shunt voltage times the calibration, and that times the bus voltage.
    fn current(&self) -> i32 {
        i32::from(self.shunt) * i32::from(self.calibration) / 2048
    }

    fn power(&self) -> i64 {
        i64::from(self.current().abs()) * i64::from(self.bus) / 20_000
    }

    fn overflow(&self) -> bool {
        self.current() != i32::from(self.current() as i16) || self.power() > 0xFFFF
    }

    /// Reading it takes the flag back, until the next conversion is done.
    fn mask_enable(&mut self) -> u16 {
        let ready = std::mem::take(&mut self.ready) && self.fault != Some(Fault::NotReady);
        self.ready = std::mem::take(&mut self.running) || self.is_continuous();
        self.mask | if ready { READY } else { 0 } | if self.overflow() { OVERFLOW } else { 0 }
    }

    fn is_continuous(&self) -> bool {
        self.config & 7 > 4
    }

    fn register(&mut self) -> u16 {
        if self.is_continuous() {
            self.convert();
        }
        let wrong = self.fault == Some(Fault::WrongId);
        match self.pointer {
            CONFIG => self.config,
            SHUNT_VOLTAGE => self.shunt as u16,
            BUS_VOLTAGE => self.bus,
            POWER => self.power() as u16,
            CURRENT => self.current() as u16,
            CALIBRATION => self.calibration,
            MASK_ENABLE => self.mask_enable(),
            ALERT_LIMIT => self.limit,
            MANUFACTURER_ID => 0x5449,
            // An INA3221's.
            DIE_ID if wrong => 0x3220,
            DIE_ID => 0x2260,
            _ => 0,
        }
    }
}

impl Chip for Ina226 {
    fn kind(&self) -> &'static str {
        "ina226"
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
                CALIBRATION => self.calibration = word & 0x7FFF,
                MASK_ENABLE => self.mask = word & MASK,
                ALERT_LIMIT => self.limit = word,
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
        let knows = [Fault::Nak, Fault::NotReady, Fault::PowerOn, Fault::Stuck, Fault::WrongId];
        let known = Fault::set(&mut self.fault, fault, &knows);
        if known && self.fault == Some(Fault::PowerOn) {
            self.power_on();
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(chip: &mut Ina226, pointer: u8) -> u16 {
        let mut bytes = [0; 2];
        assert!(chip.write(&[pointer]) && chip.read(&mut bytes));
        u16::from_be_bytes(bytes)
    }

    #[test]
    fn a_triggered_conversion_is_seen_running_then_done_and_reported_once() {
        let mut chip = Ina226::default();
        assert_eq!(read(&mut chip, CONFIG), CONFIG_AT_RESET);
        assert!(chip.write(&[CONFIG, 0x01, 0x23]));
        assert_eq!(read(&mut chip, CONFIG), 0x4123);
        let states: Vec<_> = (0..3).map(|_| read(&mut chip, MASK_ENABLE)).collect();
        assert_eq!(states, [0, READY, 0]);
        assert_eq!((read(&mut chip, SHUNT_VOLTAGE), read(&mut chip, BUS_VOLTAGE)), (20_000, 9600));
        assert!(chip.set_world("current", 0.1));
        assert_eq!(read(&mut chip, SHUNT_VOLTAGE), 20_000, "it rests until it is triggered again");
    }

    #[test]
    fn it_computes_with_its_calibration_and_reports_an_overflow() {
        let mut chip = Ina226::default();
        assert_eq!((read(&mut chip, CURRENT), read(&mut chip, POWER)), (0, 0), "not calibrated");
        assert!(chip.write(&[CALIBRATION, 0x08, 0x00]));
        assert_eq!((read(&mut chip, CURRENT), read(&mut chip, POWER)), (20_000, 9600));
        assert!(chip.write(&[CALIBRATION, 0x7F, 0xFF]));
        assert_eq!(read(&mut chip, MASK_ENABLE) & OVERFLOW, OVERFLOW);
    }

    #[test]
    fn it_has_the_ids_of_its_maker_and_of_itself() {
        let mut chip = Ina226::default();
        assert_eq!((read(&mut chip, MANUFACTURER_ID), read(&mut chip, DIE_ID)), (0x5449, 0x2260));
    }
}
