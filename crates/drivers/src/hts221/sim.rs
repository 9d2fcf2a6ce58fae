//! A simulated ST HTS221.
//!
//! DocID026333, "Register description" and "Humidity and temperature data conversion": 8-bit registers, low byte first where two
//! belong together. The register counts up only where bit 7 of its number is set, so a driver that forgets it reads the same
//! byte again.

use fieldgate_bus::sim::chips::{Chip, Fault, World, fill};

const WHO_AM_I: usize = 0x0F;
const AV_CONF: usize = 0x10;
const CTRL_REG1: usize = 0x20;
const CTRL_REG2: usize = 0x21;
const CTRL_REG3: usize = 0x22;
const STATUS: usize = 0x27;
const HUMIDITY_OUT: usize = 0x28;
const HUMIDITY_OUT_HIGH: usize = 0x29;
const TEMP_OUT: usize = 0x2A;
const TEMP_OUT_HIGH: usize = 0x2B;
const CALIBRATION: usize = 0x30;

const COUNT_UP: u8 = 0x80;
// In CTRL_REG1.
const ACTIVE: u8 = 0x80;
const RATE: u8 = 0x03;
// In CTRL_REG2.
const BOOT: u8 = 0x80;
const ONE_SHOT: u8 = 0x01;
// In the status: a result that was not read yet.
const TEMPERATURE_READY: u8 = 0x01;
const HUMIDITY_READY: u8 = 0x02;

/// Two humidities in percent and what the converter says there; it falls while the humidity rises, as in most chips. They are
/// whole numbers, and so are the temperatures, because drivers are about that cut off the halves and eighths.
const HUMIDITY: [(f64, i16); 2] = [(30.0, -8), (72.0, -12_287)];
/// Two temperatures in degrees, 64 steps each, and what the converter says there.
const TEMPERATURE: [(f64, i16); 2] = [(20.0, 12), (40.0, 1292)];
/// The bits above those of the two temperatures are reserved, and need not be zero.
const RESERVED: u8 = 0xC0;

pub(super) struct Hts221 {
    world: World,
    fault: Option<Fault>,
    registers: [u8; 0x40],
    /// The register that was chosen, with the bit that makes it count up.
    pointer: u8,
}

impl Default for Hts221 {
    fn default() -> Self {
        let world = World::new([("temperature", 21.5, -40.0..=120.0), ("humidity", 45.0, 0.0..=100.0)]);
        let mut chip = Self { world, fault: None, registers: [0; 0x40], pointer: 0 };
        chip.reset();
        chip
    }
}

impl Hts221 {
    fn reset(&mut self) {
        self.registers = [0; 0x40];
        self.registers[WHO_AM_I] = 0xBC;
        self.registers[AV_CONF] = 0x1B;
        let [(h0, h0_out), (h1, h1_out)] = HUMIDITY;
        let [(t0, t0_out), (t1, t1_out)] = TEMPERATURE;
        let [t0_low, t0_high] = ((t0 * 8.0) as u16).to_le_bytes();
        let [t1_low, t1_high] = ((t1 * 8.0) as u16).to_le_bytes();
        let values = [(h0 * 2.0) as u8, (h1 * 2.0) as u8, t0_low, t1_low, 0, RESERVED | t1_high << 2 | t0_high];
        let words = [h0_out, 0, h1_out, t0_out, t1_out].into_iter().flat_map(i16::to_le_bytes);
        for (register, byte) in self.registers[CALIBRATION..].iter_mut().zip(values.into_iter().chain(words)) {
            *register = byte;
        }
    }

    fn write_register(&mut self, register: usize, value: u8) {
        let writable = match register {
            AV_CONF => 0x3F,
            CTRL_REG1 => 0x87,
            CTRL_REG2 => 0x83,
            CTRL_REG3 => 0xC4,
            // All others are read only, or must not be written.
            _ => return,
        };
        self.registers[register] = value & writable;
    }

    fn read_register(&mut self, register: usize) -> u8 {
        let value = self.registers.get(register).copied().unwrap_or(0);
        match register {
            // That of the LPS25H, its neighbour on the Sense HAT.
            WHO_AM_I if self.fault == Some(Fault::WrongId) => return 0xBD,
            CTRL_REG2 | STATUS => self.proceed(),
            HUMIDITY_OUT_HIGH => self.registers[STATUS] &= !HUMIDITY_READY,
            TEMP_OUT_HIGH => self.registers[STATUS] &= !TEMPERATURE_READY,
            _ => {}
        }
        value
    }

    fn count(&mut self) {
        if self.pointer & COUNT_UP != 0 {
            self.pointer = COUNT_UP | self.pointer.wrapping_add(1);
        }
    }

    /// Ends what was running when it was asked for.
    fn proceed(&mut self) {
        self.registers[CTRL_REG2] &= !BOOT;
        if self.registers[CTRL_REG2] & ONE_SHOT != 0 && self.convert() {
            self.registers[CTRL_REG2] &= !ONE_SHOT;
        }
    }

    /// Whether there is a result.
    fn convert(&mut self) -> bool {
        let is_held = matches!(self.fault, Some(Fault::NotReady | Fault::PowerOn));
        if is_held || self.registers[CTRL_REG1] & ACTIVE == 0 {
            return false;
        }
        let humidity = converted(self.world.clamped("humidity"), HUMIDITY);
        let temperature = converted(self.world.clamped("temperature"), TEMPERATURE);
        self.registers[HUMIDITY_OUT..TEMP_OUT].copy_from_slice(&humidity.to_le_bytes());
        self.registers[TEMP_OUT..=TEMP_OUT_HIGH].copy_from_slice(&temperature.to_le_bytes());
        self.registers[STATUS] |= HUMIDITY_READY | TEMPERATURE_READY;
        true
    }
}

/// On the line through two points; the cast saturates as the converter does.
fn converted(value: f64, [(v0, out0), (v1, out1)]: [(f64, i16); 2]) -> i16 {
    let (out0, out1) = (f64::from(out0), f64::from(out1));
    (out0 + (value - v0) * (out1 - out0) / (v1 - v0)).round() as i16
}

impl Chip for Hts221 {
    fn kind(&self) -> &'static str {
        "hts221"
    }

    fn write(&mut self, bytes: &[u8]) -> bool {
        if self.fault == Some(Fault::Nak) {
            return false;
        }
        let Some((pointer, values)) = bytes.split_first() else { return true };
        self.pointer = *pointer;
        for value in values {
            self.write_register(usize::from(self.pointer & !COUNT_UP), *value);
            self.count();
        }
        true
    }

    /// A chip that measures by itself has a new result at each read.
    fn read(&mut self, buffer: &mut [u8]) -> bool {
        if self.fault == Some(Fault::Nak) {
            return false;
        }
        if self.fault == Some(Fault::Stuck) {
            fill(buffer, []);
            return true;
        }
        let asks_for_result = (STATUS..=TEMP_OUT_HIGH).contains(&usize::from(self.pointer & !COUNT_UP));
        if self.registers[CTRL_REG1] & RATE != 0 && asks_for_result {
            self.convert();
        }
        for byte in buffer {
            *byte = self.read_register(usize::from(self.pointer & !COUNT_UP));
            self.count();
        }
        true
    }

    fn world(&self) -> Vec<(&'static str, f64)> {
        self.world.list()
    }

    fn set_world(&mut self, name: &str, value: f64) -> bool {
        self.world.set(name, value)
    }

    /// `power-on` also takes the chip back to that state: switched off, without a result.
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

    fn read<const N: usize>(chip: &mut Hts221, pointer: u8) -> [u8; N] {
        let mut bytes = [0; N];
        assert!(chip.write(&[pointer]) && chip.read(&mut bytes));
        bytes
    }

    #[test]
    fn it_counts_up_only_when_ordered_to() {
        let mut chip = Hts221::default();
        assert_eq!(read(&mut chip, 0x0F), [0xBC, 0xBC]);
        assert_eq!(read(&mut chip, 0x8F), [0xBC, 0x1B]);
    }

    #[test]
    fn its_calibration_is_laid_out_as_the_datasheet_says() {
        let expected = [60, 144, 160, 64, 0, 0xC4, 0xF8, 0xFF, 0, 0, 0x01, 0xD0, 12, 0, 0x0C, 0x05];
        assert_eq!(read(&mut Hts221::default(), 0xB0), expected);
    }

    #[test]
    fn one_shot_clears_itself_and_reading_clears_the_status() {
        let mut chip = Hts221::default();
        assert!(chip.write(&[0x21, 0x01]));
        assert_eq!((read(&mut chip, 0x21), read(&mut chip, 0x21)), ([1], [1]), "it is switched off");
        assert!(chip.write(&[0x20, 0x84]) && chip.write(&[0x21, 0x01]));
        assert_eq!((read(&mut chip, 0x21), read(&mut chip, 0x21)), ([1], [0]));
        assert_eq!(read(&mut chip, 0x27), [3]);
        assert_eq!(read(&mut chip, 0xA8), [0xD7, 0xEE], "−4393: 45 %");
        assert_eq!(read(&mut chip, 0x27), [1]);
        assert_eq!(read(&mut chip, 0xAA), [108, 0], "21.5 °C");
        assert_eq!(read(&mut chip, 0x27), [0]);
    }

    #[test]
    fn at_a_rate_it_measures_by_itself() {
        let mut chip = Hts221::default();
        assert!(chip.write(&[0x20, 0x83]) && chip.set_world("temperature", 40.0));
        assert_eq!(read(&mut chip, 0xAA), [0x0C, 0x05]);
        assert!(chip.set_fault(Some("power-on")));
        assert_eq!((read(&mut chip, 0x20), read(&mut chip, 0xAA)), ([0], [0, 0]));
    }
}
