//! A simulated TMP102 or LM75-compatible thermometer.
//!
//! TMP102: TI SBOS397, section "Programming": two-byte configuration, 12 bits, 13 in extended mode, one-shot. LM75: one-byte
//! configuration and, like a TMP75 or TMP105, R1 R0 for 9 to 12 bits, 9 after power-on.

use fieldgate_bus::sim::chips::{Chip, Fault, World, fill};

const TEMPERATURE: u8 = 0;
const CONFIGURATION: u8 = 1;

/// Of the TMP102's configuration at power-on: R1 R0 set, 4 conversions per second, alert bit set.
const TMP102_DEFAULT: u16 = 0x60A0;

/// Bits of the configuration's first byte.
const ONE_SHOT: u16 = 0x8000;
const RESOLUTION: u16 = 0x6000;
const SHUTDOWN: u16 = 0x0100;

/// Bits of the configuration's second byte, which the LM75 has not: alert (read only) and extended mode.
const ALERT: u16 = 0x0020;
const EXTENDED: u16 = 0x0010;

pub(super) struct Thermometer {
    kind: &'static str,
    world: World,
    fault: Option<Fault>,
    pointer: u8,
    configuration: u16,
    /// The latest conversion, as the register says it.
    result: u16,
    /// T_LOW and T_HIGH: 75 °C and 80 °C after power-on.
    limits: [u16; 2],
}

impl Thermometer {
    /// A TMP102.
    pub(super) fn tmp102() -> Self {
        Self::new("tmp102", TMP102_DEFAULT, -55.0..=150.0)
    }

    /// An LM75 with selectable resolution.
    pub(super) fn lm75() -> Self {
        Self::new("lm75", 0, -55.0..=127.9375)
    }

    fn new(kind: &'static str, configuration: u16, range: std::ops::RangeInclusive<f64>) -> Self {
        let world = World::new([("temperature", 21.5, range)]);
        Self { kind, world, fault: None, pointer: TEMPERATURE, configuration, result: 0, limits: [0x4B00, 0x5000] }
    }

    fn is_tmp102(&self) -> bool {
        self.kind == "tmp102"
    }

    fn configure(&mut self, bytes: &[u8]) {
        let low = bytes.get(1).copied().unwrap_or(self.configuration.to_be_bytes()[1]);
        let wanted = u16::from_be_bytes([bytes[0], low]);
        self.configuration = if self.is_tmp102() {
            wanted & !(ONE_SHOT | RESOLUTION | ALERT | 0x000F) | RESOLUTION | ALERT
        } else {
            wanted & 0x7F00
        };
        if wanted & ONE_SHOT != 0 && wanted & SHUTDOWN != 0 {
            self.convert();
        }
    }

    fn convert(&mut self) {
        if self.fault == Some(Fault::PowerOn) {
            self.result = 0;
            return;
        }
        let sixteenths = (self.world.clamped("temperature") * 16.0).round();
        self.result = if self.is_tmp102() && self.configuration & EXTENDED != 0 {
            ((sixteenths as i16) << 3) as u16 | 1
        } else {
            ((sixteenths.clamp(-2048.0, 2047.0) as i16) << 4) as u16 & self.resolution_mask()
        };
    }

    /// 9 bits for R1 R0 = 00, one more for each step.
    fn resolution_mask(&self) -> u16 {
        0xFFF0 << (3 - (self.configuration & RESOLUTION).wrapping_shr(13))
    }

    /// One-shot conversions are done at once: OS then reads 1 in shutdown (TMP102, section "One-Shot").
    fn register(&mut self) -> u16 {
        match self.pointer {
            TEMPERATURE => {
                if self.configuration & SHUTDOWN == 0 {
                    self.convert();
                }
                self.result
            }
            CONFIGURATION if self.is_tmp102() && self.configuration & SHUTDOWN != 0 => self.configuration | ONE_SHOT,
            CONFIGURATION => self.configuration,
            limit => self.limits[usize::from(limit & 1)],
        }
    }
}

impl Chip for Thermometer {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn write(&mut self, bytes: &[u8]) -> bool {
        if self.fault == Some(Fault::Nak) {
            return false;
        }
        let Some((pointer, values)) = bytes.split_first() else { return true };
        self.pointer = pointer & 3;
        match (self.pointer, values) {
            (CONFIGURATION, [_, ..]) => self.configure(values),
            (2 | 3, [high, low, ..]) => self.limits[usize::from(self.pointer & 1)] = u16::from_be_bytes([*high, *low]),
            _ => {}
        }
        true
    }

    fn read(&mut self, buffer: &mut [u8]) -> bool {
        if self.fault == Some(Fault::Nak) {
            return false;
        }
        let bytes = if self.fault == Some(Fault::Stuck) { [0xFF; 2] } else { self.register().to_be_bytes() };
        fill(buffer, bytes);
        true
    }

    fn world(&self) -> Vec<(&'static str, f64)> {
        self.world.list()
    }

    fn set_world(&mut self, name: &str, value: f64) -> bool {
        self.world.set(name, value)
    }

    fn set_fault(&mut self, fault: Option<&str>) -> bool {
        Fault::set(&mut self.fault, fault, &[Fault::Nak, Fault::PowerOn, Fault::Stuck])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(chip: &mut Thermometer, pointer: u8) -> u16 {
        let mut bytes = [0; 2];
        assert!(chip.write(&[pointer]) && chip.read(&mut bytes));
        u16::from_be_bytes(bytes)
    }

    #[test]
    fn a_tmp102_answers_as_its_table_of_temperatures_says() {
        // SBOS397, table "12-Bit Temperature Data Format".
        let mut chip = Thermometer::tmp102();
        let rows = [(127.9375, 0x7FF0), (80.0, 0x5000), (0.25, 0x0040), (-0.25, 0xFFC0), (-55.0, 0xC900)];
        for (celsius, word) in rows {
            assert!(chip.set_world("temperature", celsius));
            assert_eq!(read(&mut chip, TEMPERATURE), word, "{celsius}");
        }
        assert!(chip.set_world("temperature", 150.0));
        assert_eq!(read(&mut chip, TEMPERATURE), 0x7FF0, "12 bits end at 127.9375 °C");
        assert!(chip.write(&[1, 0x60, 0xB0]));
        assert_eq!(read(&mut chip, TEMPERATURE), 0x4B01, "13 bits reach 150 °C");
    }

    #[test]
    fn resolution_is_fixed_in_a_tmp102_and_chosen_in_an_lm75() {
        let mut tmp102 = Thermometer::tmp102();
        assert!(tmp102.write(&[1, 0x00, 0xA0]));
        assert_eq!(read(&mut tmp102, CONFIGURATION), TMP102_DEFAULT);
        let mut lm75 = Thermometer::lm75();
        assert!(lm75.set_world("temperature", 21.8125));
        for (configuration, word) in [(0x00, 0x1580), (0x20, 0x15C0), (0x40, 0x15C0), (0x60, 0x15D0)] {
            assert!(lm75.write(&[1, configuration]));
            assert_eq!(read(&mut lm75, TEMPERATURE), word, "{configuration:#04x}");
        }
    }

    #[test]
    fn in_shutdown_only_a_one_shot_measures() {
        let mut chip = Thermometer::tmp102();
        assert_eq!(read(&mut chip, TEMPERATURE), 0x1580);
        assert!(chip.write(&[1, 0x61, 0xA0]) && chip.set_world("temperature", 30.0));
        assert_eq!(read(&mut chip, TEMPERATURE), 0x1580);
        assert!(chip.write(&[1, 0xE1, 0xA0]));
        assert_eq!(read(&mut chip, CONFIGURATION), 0xE1A0);
        assert_eq!(read(&mut chip, TEMPERATURE), 0x1E00);
    }
}
