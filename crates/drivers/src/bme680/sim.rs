//! A simulated Bosch BME680 or BME688.
//!
//! Register map of BST-BME680-DS001 and BST-BME688-DS000, calibration words of a BME680 as it was sold. The raw words are
//! found by searching for those that the data sheet's integer compensation turns into the world's values, so any driver that
//! follows the data sheet reads the world. Forced mode only, heater profile 0 only, no filter.

use crate::simulated::smallest;
use fieldgate_bus::sim::chips::{Chip, Fault, World};

const MEAS_STATUS: usize = 0x1D;
const TEMPERATURE: usize = 0x22;
const HUMIDITY: usize = 0x25;
const GAS_LOW: usize = 0x2A;
const GAS_HIGH: usize = 0x2C;
const RES_HEAT_0: usize = 0x5A;
const GAS_WAIT_0: usize = 0x64;
const CTRL_GAS_0: usize = 0x70;
const CTRL_GAS_1: usize = 0x71;
const CTRL_HUM: usize = 0x72;
const CTRL_MEAS: usize = 0x74;
const CONFIG: usize = 0x75;
const ID: usize = 0xD0;
const RESET: usize = 0xE0;
const VARIANT: usize = 0xF0;

const RESET_WORD: u8 = 0xB6;
const FORCED: u8 = 0x01;
const MODE: u8 = 0x03;
const NEW_DATA: u8 = 0x80;
const MEASURING: u8 = 0x60;
const HEATER_OFF: u8 = 0x08;
const GAS_VALID: u8 = 0x20;
const HEATER_STABLE: u8 = 0x10;

/// Registers 0x8A to 0xA0, 0xE1 to 0xEE and 0x00 to 0x04.
const CALIBRATION: [(usize, &[u8]); 3] = [
    (
        0x8A,
        &[
            0x28, 0x68, 0x03, 0xF0, 0x3F, 0x92, 0xB4, 0xD7, 0x58, 0x00, 0xED, 0x28, 0xCC, 0xFE, 0x3E, 0x1E, 0x00, 0x00,
            0xD8, 0xEB, 0xE0, 0xF9, 0x1E,
        ],
    ),
    (0xE1, &[0x3D, 0xD1, 0x37, 0x00, 0x2D, 0x14, 0x78, 0x9C, 0x56, 0x65, 0x7C, 0xDC, 0xBB, 0x12]),
    (0x00, &[0x1E, 0xAA, 0x16, 0xCE, 0x03]),
];
/// The calibration above as numbers: temperature, pressure, humidity.
const T: [i64; 3] = [25_942, 26_664, 3];
const P: [i64; 10] = [37_439, -10_316, 88, 10_477, -308, 30, 62, -5160, -1568, 30];
const H: [i64; 7] = [881, 989, 0, 45, 20, 120, -100];

pub(super) struct Bosch {
    kind: &'static str,
    world: World,
    fault: Option<Fault>,
    registers: [u8; 256],
    pointer: u8,
    /// Oversampling of the humidity as it was when `ctrl_meas` was last written.
    humidity_oversampling: u8,
}

impl Bosch {
    /// With the older gas sensor.
    pub(super) fn bme680() -> Self {
        Self::new("bme680")
    }

    /// With the newer one.
    pub(super) fn bme688() -> Self {
        Self::new("bme688")
    }

    fn new(kind: &'static str) -> Self {
        let world = World::new([
            ("temperature", 21.5, -40.0..=85.0),
            ("humidity", 45.0, 0.0..=100.0),
            ("pressure", 1013.2, 300.0..=1100.0),
            ("gas_resistance", 80_000.0, 200.0..=10e6),
        ]);
        let mut chip = Self { kind, world, fault: None, registers: [0; 256], pointer: 0, humidity_oversampling: 0 };
        chip.reset();
        chip
    }

    fn is_newer(&self) -> bool {
        self.kind == "bme688"
    }

    fn reset(&mut self) {
        self.registers = [0; 256];
        self.humidity_oversampling = 0;
        self.registers[ID] = 0x61;
        self.registers[VARIANT] = u8::from(self.is_newer());
        for (first, bytes) in CALIBRATION {
            self.registers[first..first + bytes.len()].copy_from_slice(bytes);
        }
        for unmeasured in [MEAS_STATUS + 2, TEMPERATURE, HUMIDITY] {
            self.registers[unmeasured] = 0x80;
        }
    }

    fn write_register(&mut self, register: usize, value: u8) {
        match register {
            RESET if value == RESET_WORD => self.reset(),
            RES_HEAT_0..=0x6D | CTRL_GAS_0..=CTRL_HUM | CONFIG => self.registers[register] = value,
            CTRL_MEAS => {
                self.registers[CTRL_MEAS] = value;
                self.humidity_oversampling = self.registers[CTRL_HUM] & 0x07;
                if value & MODE == FORCED {
                    self.convert();
                }
            }
            // All others are read only.
            _ => {}
        }
    }

    fn convert(&mut self) {
        self.registers[MEAS_STATUS] = MEASURING;
        if self.fault == Some(Fault::PowerOn) {
            return;
        }
        let control = self.registers[CTRL_MEAS];
        let raw_t = raw_temperature(self.world.clamped("temperature"));
        let raw_p = raw_pressure(self.world.clamped("pressure") * 100.0, fine(raw_t));
        let raw_h = raw_humidity(self.world.clamped("humidity"), fine(raw_t));
        let raw_p = if control >> 2 & 0x07 == 0 { 0x80000 } else { raw_p };
        let raw_t = if control >> 5 == 0 { 0x80000 } else { raw_t };
        let raw_h = if self.humidity_oversampling == 0 { 0x8000 } else { raw_h };
        self.registers[MEAS_STATUS + 2..][..3].copy_from_slice(&word20(raw_p));
        self.registers[TEMPERATURE..][..3].copy_from_slice(&word20(raw_t));
        self.registers[HUMIDITY..][..2].copy_from_slice(&(raw_h as u16).to_be_bytes());
        self.convert_gas();
    }

    /// Only with the bit of its own kind, with the heater on, and with a time and a temperature to heat.
    fn convert_gas(&mut self) {
        let (first, run) = if self.is_newer() { (GAS_HIGH, 0x20) } else { (GAS_LOW, 0x10) };
        let (adc, range) = raw_gas(self.world.clamped("gas_resistance"), self.is_newer());
        let runs = self.registers[CTRL_GAS_1] & run != 0;
        let heats = self.registers[CTRL_GAS_0] & HEATER_OFF == 0 && self.registers[GAS_WAIT_0] != 0;
        let warm = heats && self.registers[RES_HEAT_0] != 0;
        let flags = if runs { GAS_VALID } else { 0 } | if runs && warm { HEATER_STABLE } else { 0 };
        let [high, low] = (adc << 6).to_be_bytes();
        self.registers[first..first + 2].copy_from_slice(&[high, low | flags | range]);
    }

    fn read_register(&mut self, register: usize) -> u8 {
        let value = self.registers[register];
        match register {
            ID if self.fault == Some(Fault::WrongId) => 0x60,
            MEAS_STATUS if self.fault == Some(Fault::NotReady) => MEASURING,
            MEAS_STATUS => {
                self.finish();
                value
            }
            _ => value,
        }
    }

    /// A forced measurement ends in sleep mode.
    fn finish(&mut self) {
        if self.registers[MEAS_STATUS] == MEASURING {
            self.registers[MEAS_STATUS] = NEW_DATA;
            self.registers[CTRL_MEAS] &= !MODE;
        }
    }
}

impl Chip for Bosch {
    fn kind(&self) -> &'static str {
        self.kind
    }

    /// Pairs of register and value; the register does not count up.
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

    /// The register counts up.
    fn read(&mut self, buffer: &mut [u8]) -> bool {
        if self.fault == Some(Fault::Nak) {
            return false;
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

fn word20(raw: i64) -> [u8; 3] {
    let [_, high, middle, low] = ((raw as u32) << 4).to_be_bytes();
    [high, middle, low]
}

fn raw_temperature(celsius: f64) -> i64 {
    smallest(0xF_FFFF, |raw| fine(raw) >= (celsius * 5120.0).round() as i64)
}

fn raw_pressure(pascal: f64, fine: i64) -> i64 {
    smallest(0xF_FFFF, |raw| compensated_pressure(raw, fine) <= pascal.round() as i64)
}

fn raw_humidity(percent: f64, fine: i64) -> i64 {
    smallest(0xFFFF, |raw| compensated_humidity(raw, fine) >= (percent * 1000.0).round() as i64)
}

/// `t_fine`, 1/5120 °C.
fn fine(raw: i64) -> i64 {
    let offset = (raw >> 3) - (T[0] << 1);
    let half = offset >> 1;
    ((offset * T[1]) >> 11) + ((((half * half) >> 12) * (T[2] << 4)) >> 14)
}

/// In Pa.
fn compensated_pressure(raw: i64, fine: i64) -> i64 {
    let warmth = (fine >> 1) - 64_000;
    let square = (warmth >> 2) * (warmth >> 2);
    let offset = ((((square >> 11) * P[5]) >> 2) + ((warmth * P[4]) << 1)) >> 2;
    let offset = offset + (P[3] << 16);
    let slope = ((((square >> 13) * (P[2] << 5)) >> 3) + ((P[1] * warmth) >> 1)) >> 18;
    let slope = ((32_768 + slope) * P[0]) >> 15;
    let pressure = ((1_048_576 - raw - (offset >> 12)) * 3125 * 2) / slope;
    let eighth = pressure >> 3;
    let second = (P[8] * ((eighth * eighth) >> 13)) >> 12;
    let first = ((pressure >> 2) * P[7]) >> 13;
    let third = ((pressure >> 8) * (pressure >> 8) * (pressure >> 8) * P[9]) >> 17;
    pressure + ((second + first + third + (P[6] << 7)) >> 4)
}

/// In 1/1000 %.
fn compensated_humidity(raw: i64, fine: i64) -> i64 {
    let centi = (fine * 5 + 128) >> 8;
    let offset = raw - H[0] * 16 - ((centi * H[2] / 100) >> 1);
    let bend = ((centi * (centi * H[4] / 100)) >> 6) / 100;
    let linear = offset * ((H[1] * (centi * H[3] / 100 + bend + 16_384)) >> 10);
    let factor = ((H[5] << 7) + centi * H[6] / 100) >> 4;
    let square = ((linear >> 14) * (linear >> 14)) >> 10;
    (((linear + ((factor * square) >> 1)) >> 10) * 1000) >> 12
}

/// Ten bits and the range that fits best: where the converter is nearest to its middle. The older sensor has corrections in
/// percent for some ranges.
fn raw_gas(ohm: f64, newer: bool) -> (u16, u8) {
    const K1: [(u8, f64); 5] = [(5, 0.99), (7, 0.992), (10, 0.998), (11, 0.995), (13, 0.99)];
    const K2: [(u8, f64); 4] = [(4, 1.001), (5, 1.007), (7, 0.992), (8, 0.999)];
    let correction =
        |all: &[(u8, f64)], range| all.iter().find(|(of, _)| *of == range).map_or(1.0, |(_, factor)| *factor);
    let adc = |range: u8| {
        if newer {
            512.0 + (262_144e6 / f64::from(1_u32 << range) / ohm - 4096.0) / 3.0
        } else {
            let share = 8e6 / f64::from(1_u32 << range) / correction(&K2, range) / ohm;
            512.0 + 1340.0 * correction(&K1, range) * (share - 1.0)
        }
    };
    let off = |range: &u8| (adc(*range) - 512.0).abs();
    let range = (0..16).min_by(|a, b| off(a).total_cmp(&off(b))).unwrap_or(0);
    (adc(range).round().clamp(0.0, 1023.0) as u16, range)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registers<const N: usize>(chip: &mut Bosch, first: u8) -> [u8; N] {
        let mut bytes = [0; N];
        assert!(chip.write(&[first]) && chip.read(&mut bytes));
        bytes
    }

    #[test]
    fn what_the_manufacturers_driver_computed_for_this_chip_comes_out() {
        assert!((fine(482_062) - 109_034).abs() <= 12);
        assert!((compensated_pressure(307_582, 111_095) - 95_058).abs() <= 3);
        assert!((compensated_humidity(25_537, 109_842) - 59_469).abs() <= 30);
    }

    #[test]
    fn a_forced_measurement_is_seen_running_then_done() {
        let mut chip = Bosch::bme680();
        assert_eq!(registers(&mut chip, 0x1F), [0x80, 0, 0, 0x80, 0, 0, 0x80]);
        assert!(chip.write(&[0x72, 0x01, 0x74, 0x25]));
        assert_eq!(registers(&mut chip, 0x1D), [MEASURING]);
        assert_eq!(registers(&mut chip, 0x1D), [NEW_DATA]);
        assert_eq!(registers(&mut chip, 0x74), [0x24]);
        assert_eq!(registers::<2>(&mut chip, 0x2A)[1] & (GAS_VALID | HEATER_STABLE), 0, "no gas without asking");
    }

    #[test]
    fn gas_is_measured_with_the_bit_of_its_own_kind_and_a_heater() {
        for (mut chip, run, gas) in [(Bosch::bme680(), 0x10, 0x2A), (Bosch::bme688(), 0x20, 0x2C)] {
            assert!(chip.write(&[0x71, run, 0x74, 0x25]));
            assert_eq!(registers::<2>(&mut chip, gas)[1] & (GAS_VALID | HEATER_STABLE), GAS_VALID, "cold");
            assert!(chip.write(&[0x5A, 0x70, 0x64, 0x65, 0x74, 0x25]));
            assert_eq!(registers::<2>(&mut chip, gas)[1] & 0x30, GAS_VALID | HEATER_STABLE);
            assert!(chip.write(&[0x71, run ^ 0x30, 0x74, 0x25]));
            assert_eq!(registers::<2>(&mut chip, gas)[1] & 0x30, 0);
        }
    }

    #[test]
    fn a_reset_brings_the_power_on_state_back() {
        let mut chip = Bosch::bme688();
        assert!(chip.write(&[0x74, 0x25, 0xE0, 0xB6]));
        assert_eq!(registers(&mut chip, 0x22), [0x80, 0, 0]);
        assert_eq!((registers(&mut chip, 0xD0), registers(&mut chip, 0xF0)), ([0x61], [1]));
    }
}
