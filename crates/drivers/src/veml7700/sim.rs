//! A simulated Vishay VEML7700.
//!
//! Datasheet 84286: seven command codes with a 16-bit word each, low byte first; gain, integration time, the id of newer chips.

use fieldgate_bus::sim::chips::{Chip, Fault, World, fill};

const CONFIG: u8 = 0;
const LIGHT: u8 = 4;
const WHITE: u8 = 5;
const ID: u8 = 7;

const CONFIG_AT_RESET: u16 = 0x0001;
const SHUT_DOWN: u16 = 0x0001;

pub(super) struct Veml7700 {
    world: World,
    fault: Option<Fault>,
    command: u8,
    /// Configuration, thresholds and power saving.
    words: [u16; 4],
    /// The last result, which stays when the chip is switched off.
    light: u16,
}

impl Default for Veml7700 {
    fn default() -> Self {
        Self {
            world: World::new([("illuminance", 300.0, 0.0..=200_000.0)]),
            fault: None,
            command: CONFIG,
            words: [CONFIG_AT_RESET, 0, 0, 0],
            light: 0,
        }
    }
}

impl Veml7700 {
    /// Counts per lux: 0.0042 lx a count at gain 2 and 800 ms, in proportion to both. At gains below 1 the chip reports less
    /// than there is; the application note corrects that by a polynomial, whose inverse this is.
    fn measure(&self) -> u16 {
        let config = self.words[0];
        let gain = [1.0, 2.0, 0.125, 0.25][usize::from(config >> 11 & 3)];
        let integration_ms = match config >> 6 & 0xF {
            0xC => 25.0,
            0x8 => 50.0,
            0x1 => 200.0,
            0x2 => 400.0,
            0x3 => 800.0,
            _ => 100.0,
        };
        let lux = self.world.clamped("illuminance");
        let counted = if gain < 1.0 { uncorrected(lux) } else { lux };
        let step = 0.0042 * (800.0 / integration_ms) * (2.0 / gain);
        (counted / step).round().min(65_535.0) as u16
    }

    fn word(&mut self) -> u16 {
        if self.words[0] & SHUT_DOWN == 0 {
            self.light = self.measure();
        }
        match self.command {
            LIGHT => self.light,
            // The white channel sees the infrared too.
            WHITE => self.light.saturating_add(self.light / 4),
            ID => 0xC481,
            command => self.words.get(usize::from(command)).copied().unwrap_or(0),
        }
    }
}

/// What the polynomial makes `lux` of, found by halving: it rises everywhere.
fn uncorrected(lux: f64) -> f64 {
    let corrected = |x: f64| 6.0135e-13 * x.powi(4) - 9.3924e-9 * x.powi(3) + 8.1488e-5 * x * x + 1.0023 * x;
    let (mut low, mut high) = (0.0, 40_000.0);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if corrected(middle) < lux { low = middle } else { high = middle }
    }
    low
}

impl Chip for Veml7700 {
    fn kind(&self) -> &'static str {
        "veml7700"
    }

    fn write(&mut self, bytes: &[u8]) -> bool {
        if self.fault == Some(Fault::Nak) {
            return false;
        }
        let Some((command, value)) = bytes.split_first() else { return true };
        self.command = *command;
        if let ([low, high, ..], Some(word)) = (value, self.words.get_mut(usize::from(*command)))
            && self.fault != Some(Fault::PowerOn)
        {
            *word = u16::from_le_bytes([*low, *high]);
        }
        true
    }

    fn read(&mut self, buffer: &mut [u8]) -> bool {
        if self.fault == Some(Fault::Nak) {
            return false;
        }
        let word = if self.fault == Some(Fault::Stuck) { 0xFFFF } else { self.word() };
        fill(buffer, word.to_le_bytes());
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
        let known = Fault::set(&mut self.fault, fault, &[Fault::Nak, Fault::PowerOn, Fault::Stuck]);
        if known && self.fault == Some(Fault::PowerOn) {
            (self.words, self.light) = ([CONFIG_AT_RESET, 0, 0, 0], 0);
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(chip: &mut Veml7700, command: u8) -> u16 {
        let mut bytes = [0; 2];
        assert!(chip.write(&[command]) && chip.read(&mut bytes));
        u16::from_le_bytes(bytes)
    }

    #[test]
    fn it_is_off_after_power_on_and_has_an_id() {
        let mut chip = Veml7700::default();
        assert_eq!((read(&mut chip, CONFIG), read(&mut chip, LIGHT), read(&mut chip, ID)), (1, 0, 0xC481));
    }

    #[test]
    fn gain_and_integration_time_scale_the_result() {
        let mut chip = Veml7700::default();
        assert!(chip.set_world("illuminance", 67.2) && chip.write(&[CONFIG, 0x00, 0x00]));
        assert_eq!(read(&mut chip, LIGHT), 1000);
        assert!(chip.write(&[CONFIG, 0xC0, 0x08]));
        assert_eq!(read(&mut chip, LIGHT), 16_000);
        assert!(chip.write(&[CONFIG, 0x00, 0x18]));
        assert!((235..250).contains(&read(&mut chip, LIGHT)), "a little less than a quarter");
        assert!(chip.write(&[CONFIG, 0x01, 0x18]) && chip.set_world("illuminance", 0.0));
        assert_ne!(read(&mut chip, LIGHT), 0, "switched off it keeps what it had");
    }
}
