//! A simulated Bosch BME280 or BMP280.
//!
//! BST-BME280-DS002 (revision 1.6) and BST-BMP280-DS001 (revision 1.23): the register map, the calibration words and the
//! two ways to start a conversion. The raw words are found by searching for those that the data sheet's integer
//! compensation (4.2.3) turns into the world's values, so any driver that follows the data sheet reads the world.

use crate::simulated::smallest;
use fieldgate_bus::sim::chips::{Chip, Fault, World};

const CALIBRATION: usize = 0x88;
const HUMIDITY_CALIBRATION_FIRST: usize = 0xA1;
const ID: usize = 0xD0;
const RESET: usize = 0xE0;
const HUMIDITY_CALIBRATION: usize = 0xE1;
const CTRL_HUM: usize = 0xF2;
const STATUS: usize = 0xF3;
const CTRL_MEAS: usize = 0xF4;
const CONFIG: usize = 0xF5;
const DATA: usize = 0xF7;

const RESET_WORD: u8 = 0xB6;
const MEASURING: u8 = 0x08;
const FORCED: u8 = 0x01;
const NORMAL: u8 = 0x03;

/// T1 to T3 and P1 to P9 of the worked example in BST-BMP280-DS001, 3.12.
const T: [i64; 3] = [27504, 26435, -1000];
const P: [i64; 9] = [36477, -10685, 3024, 2855, 140, -7, 15500, -14600, 6000];
/// H1 to H6 as chips commonly have them; the data sheet has no example.
const H: [i64; 6] = [75, 362, 0, 313, 50, 30];

/// What the data registers hold before the first conversion (5.4.8 to 5.4.10).
const UNMEASURED: [u8; 8] = [0x80, 0, 0, 0x80, 0, 0, 0x80, 0];

pub(super) struct Bosch {
    kind: &'static str,
    world: World,
    fault: Option<Fault>,
    registers: [u8; 256],
    pointer: u8,
    /// Oversampling of the humidity as it was when `ctrl_meas` was last written: it takes effect only then (5.4.3).
    humidity_oversampling: u8,
}

impl Bosch {
    /// A BME280, with humidity.
    pub(super) fn bme280() -> Self {
        Self::new("bme280")
    }

    /// A BMP280, without humidity.
    pub(super) fn bmp280() -> Self {
        Self::new("bmp280")
    }

    fn new(kind: &'static str) -> Self {
        let mut world = vec![("temperature", 21.5, -40.0..=85.0)];
        if kind == "bme280" {
            world.push(("humidity", 45.0, 0.0..=100.0));
        }
        world.push(("pressure", 1013.2, 300.0..=1100.0));
        let world = World::new(world);
        let mut chip = Self { kind, world, fault: None, registers: [0; 256], pointer: 0, humidity_oversampling: 0 };
        chip.reset();
        chip
    }

    fn has_humidity(&self) -> bool {
        self.kind == "bme280"
    }

    fn reset(&mut self) {
        self.registers = [0; 256];
        self.humidity_oversampling = 0;
        self.registers[ID] = if self.has_humidity() { 0x60 } else { 0x58 };
        let words = T.iter().chain(&P).flat_map(|word| (*word as i16).to_le_bytes());
        for (register, byte) in self.registers[CALIBRATION..].iter_mut().zip(words) {
            *register = byte;
        }
        if self.has_humidity() {
            self.registers[HUMIDITY_CALIBRATION_FIRST] = H[0] as u8;
            let [h2_low, h2_high] = (H[1] as i16).to_le_bytes();
            // H4 and H5 have 12 bits and share register 0xE5 (table 16).
            let shared = (H[3] & 0x0F | (H[4] & 0x0F) << 4) as u8;
            let words = [h2_low, h2_high, H[2] as u8, (H[3] >> 4) as u8, shared, (H[4] >> 4) as u8, H[5] as u8];
            self.registers[HUMIDITY_CALIBRATION..][..words.len()].copy_from_slice(&words);
        }
        let data = self.data_length();
        self.registers[DATA..][..data].copy_from_slice(&UNMEASURED[..data]);
    }

    fn data_length(&self) -> usize {
        if self.has_humidity() { 8 } else { 6 }
    }

    fn write_register(&mut self, register: usize, value: u8) {
        match register {
            RESET if value == RESET_WORD => self.reset(),
            CTRL_HUM if self.has_humidity() => self.registers[CTRL_HUM] = value & 0x07,
            CONFIG => self.registers[CONFIG] = value & 0xFD,
            CTRL_MEAS => {
                self.registers[CTRL_MEAS] = value;
                self.humidity_oversampling = self.registers[CTRL_HUM];
                if value & NORMAL != 0 {
                    self.convert();
                }
            }
            // All others are read only.
            _ => {}
        }
    }

    fn convert(&mut self) {
        self.registers[STATUS] |= MEASURING;
        if self.fault == Some(Fault::PowerOn) {
            return;
        }
        let control = self.registers[CTRL_MEAS];
        let (t_oversampling, p_oversampling) = (control >> 5, control >> 2 & 0x07);
        let raw_t = raw_temperature(self.world.clamped("temperature"));
        let raw_p = raw_pressure(self.world.clamped("pressure") * 100.0, fine(raw_t));
        let data = &mut self.registers[DATA..];
        data[..3].copy_from_slice(&word20(raw_p, p_oversampling));
        data[3..6].copy_from_slice(&word20(raw_t, t_oversampling));
        if self.has_humidity() {
            let raw_h = raw_humidity(self.world.clamped("humidity"), fine(raw_t));
            let raw_h = if self.humidity_oversampling == 0 { 0x8000 } else { raw_h as u16 };
            self.registers[DATA + 6..][..2].copy_from_slice(&raw_h.to_be_bytes());
        }
    }

    fn read_register(&mut self, register: usize) -> u8 {
        let value = self.registers[register];
        match register {
            ID if self.fault == Some(Fault::WrongId) => value ^ (0x60 ^ 0x58),
            STATUS if self.fault == Some(Fault::NotReady) => value | MEASURING,
            STATUS => {
                self.finish();
                value
            }
            _ => value,
        }
    }

    /// A forced conversion ends in sleep mode, a normal one is followed by the next (3.3).
    fn finish(&mut self) {
        self.registers[STATUS] &= !MEASURING;
        if self.registers[CTRL_MEAS] & NORMAL != NORMAL {
            self.registers[CTRL_MEAS] &= !(FORCED | NORMAL);
        }
    }
}

impl Chip for Bosch {
    fn kind(&self) -> &'static str {
        self.kind
    }

    /// Pairs of register and value; the register does not count up (6.2.1).
    fn write(&mut self, bytes: &[u8]) -> bool {
        if self.fault == Some(Fault::Nak) {
            return false;
        }
        for pair in bytes.chunks(2) {
            self.pointer = pair[0];
            if let Some(value) = pair.get(1) {
                self.write_register(usize::from(pair[0]), *value);
            }
        }
        true
    }

    /// The register counts up (6.2.2).
    fn read(&mut self, buffer: &mut [u8]) -> bool {
        if self.fault == Some(Fault::Nak) {
            return false;
        }
        if self.registers[CTRL_MEAS] & NORMAL == NORMAL && usize::from(self.pointer) == DATA {
            self.convert();
        }
        for byte in buffer {
            *byte = self.read_register(usize::from(self.pointer));
            self.pointer = self.pointer.wrapping_add(1);
        }
        true
    }

    fn world(&self) -> Vec<(&'static str, f64)> {
        self.world.list()
    }

    fn set_world(&mut self, name: &str, value: f64) -> bool {
        self.world.set(name, value)
    }

    fn set_fault(&mut self, fault: Option<&str>) -> bool {
        Fault::set(&mut self.fault, fault, &[Fault::Nak, Fault::NotReady, Fault::PowerOn, Fault::WrongId])
    }
}

/// A 20-bit result, left-aligned in 24. Oversampling by 2ⁿ leaves 16 + n bits (3.4.2, 3.4.3); 0 skips the measurement.
fn word20(raw: i64, oversampling: u8) -> [u8; 3] {
    let bits = 15 + oversampling.min(5);
    let kept = if oversampling == 0 { 0x80000 } else { raw as u32 & (0xF_FFFF << (20 - bits)) };
    let [_, high, middle, low] = (kept << 4).to_be_bytes();
    [high, middle, low]
}

fn raw_temperature(celsius: f64) -> i64 {
    smallest(0xF_FFFF, |raw| (fine(raw) * 5 + 128) >> 8 >= (celsius * 100.0).round() as i64)
}

fn raw_pressure(pascal: f64, fine: i64) -> i64 {
    smallest(0xF_FFFF, |raw| compensated_pressure(raw, fine) <= (pascal * 256.0).round() as i64)
}

fn raw_humidity(percent: f64, fine: i64) -> i64 {
    smallest(0xFFFF, |raw| compensated_humidity(raw, fine) >= (percent * 1024.0).round() as i64)
}

/// `t_fine`, 1/5120 °C.
fn fine(raw: i64) -> i64 {
    let linear = (((raw >> 3) - (T[0] << 1)) * T[1]) >> 11;
    let offset = (raw >> 4) - T[0];
    linear + ((((offset * offset) >> 12) * T[2]) >> 14)
}

/// In 1/256 Pa.
fn compensated_pressure(raw: i64, fine: i64) -> i64 {
    let warmth = fine - 128_000;
    let offset = warmth * warmth * P[5] + ((warmth * P[4]) << 17) + (P[3] << 35);
    let slope = ((warmth * warmth * P[2]) >> 8) + ((warmth * P[1]) << 12);
    let slope = (((1 << 47) + slope) * P[0]) >> 33;
    let pressure = (((1_048_576 - raw) << 31) - offset) * 3125 / slope;
    let square = (P[8] * (pressure >> 13) * (pressure >> 13)) >> 25;
    ((pressure + square + ((P[7] * pressure) >> 19)) >> 8) + (P[6] << 4)
}

/// In 1/1024 %.
fn compensated_humidity(raw: i64, fine: i64) -> i64 {
    let warmth = fine - 76_800;
    let offset = ((raw << 14) - (H[3] << 20) - H[4] * warmth + 16_384) >> 15;
    let slope = ((((warmth * H[5]) >> 10) * (((warmth * H[2]) >> 11) + 32_768)) >> 10) + 2_097_152;
    let product = offset * ((slope * H[1] + 8192) >> 14);
    let product = product - (((((product >> 15) * (product >> 15)) >> 7) * H[0]) >> 4);
    product.clamp(0, 419_430_400) >> 12
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registers(chip: &mut Bosch, first: u8, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        assert!(chip.write(&[first]) && chip.read(&mut bytes));
        bytes
    }

    #[test]
    fn the_worked_example_of_the_datasheet_comes_out() {
        // BST-BMP280-DS001, 3.12: 25.08 °C and 100653.27 Pa. It prints 25767236 for the pressure in 1/256 Pa, which comes
        // of its floating-point code; its integer code gives 25767233.
        let fine = fine(519_888);
        assert_eq!((fine * 5 + 128) >> 8, 2508);
        assert_eq!(compensated_pressure(415_148, fine), 25_767_233);
        assert_eq!(raw_pressure(25_767_233.0 / 256.0, fine), 415_148);
    }

    #[test]
    fn a_forced_conversion_is_seen_running_then_done() {
        let mut chip = Bosch::bme280();
        assert_eq!(registers(&mut chip, 0xF7, 8), UNMEASURED);
        assert!(chip.write(&[0xF2, 0x01, 0xF4, 0x25]));
        assert_eq!(registers(&mut chip, 0xF3, 2), [MEASURING, 0x24]);
        assert_eq!(registers(&mut chip, 0xF3, 2), [0, 0x24]);
        assert_ne!(registers(&mut chip, 0xF7, 8), UNMEASURED);
    }

    #[test]
    fn what_is_not_oversampled_is_skipped() {
        let mut chip = Bosch::bme280();
        assert!(chip.write(&[0xF4, 0x25, 0xF2, 0x01]));
        let data = registers(&mut chip, 0xF7, 8);
        assert_eq!(data[6..], [0x80, 0x00], "ctrl_hum counts only at the next write of ctrl_meas");
        assert!(chip.write(&[0xF4, 0x05]));
        assert_eq!(registers(&mut chip, 0xFA, 3), [0x80, 0, 0]);
    }

    #[test]
    fn a_reset_brings_the_power_on_state_back() {
        let mut chip = Bosch::bmp280();
        assert!(chip.write(&[0xF4, 0x25, 0xE0, 0xB6]));
        assert_eq!(registers(&mut chip, 0xF7, 6), UNMEASURED[..6]);
        assert_eq!(registers(&mut chip, 0xD0, 1), [0x58]);
        assert_eq!(registers(&mut chip, 0xE1, 7), [0; 7], "a BMP280 has no calibration of humidity");
    }
}
