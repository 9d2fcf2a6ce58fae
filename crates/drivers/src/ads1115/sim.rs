//! A simulated Texas Instruments ADS1115 or ADS1015.
//!
//! SBAS444 (revision D, section 9.6) and SBAS473 for the other, which differs in its rates and has 12 bits: four 16-bit registers
//! behind a pointer, high byte first; single-shot and continuous conversion, gain and multiplexer.

use fieldgate_bus::sim::chips::{Chip, Fault, World, fill};

const CONVERSION: u8 = 0;
const CONFIG: u8 = 1;

const CONFIG_AT_RESET: u16 = 0x8583;
/// Written: start a conversion. Read: none is running.
const OS: u16 = 0x8000;
const SINGLE_SHOT: u16 = 0x0100;

const NAMES: [&str; 4] = ["voltage_0", "voltage_1", "voltage_2", "voltage_3"];
/// Positive and negative input by the multiplexer's code; `None` is ground.
const INPUTS: [(usize, Option<usize>); 8] =
    [(0, Some(1)), (0, Some(3)), (1, Some(3)), (2, Some(3)), (0, None), (1, None), (2, None), (3, None)];
/// Full scale in volts by the gain's code.
const RANGES: [f64; 8] = [6.144, 4.096, 2.048, 1.024, 0.512, 0.256, 0.256, 0.256];

pub(super) struct Ads1115 {
    kind: &'static str,
    /// What a step of the result is, in those of 16 bits.
    step: f64,
    world: World,
    fault: Option<Fault>,
    pointer: u8,
    config: u16,
    running: bool,
    result: u16,
    thresholds: [u16; 2],
}

impl Ads1115 {
    /// With 16 bits.
    pub(super) fn sixteen_bits() -> Self {
        Self::new("ads1115", 1.0)
    }

    /// With 12 bits, in the upper ones of 16.
    pub(super) fn twelve_bits() -> Self {
        Self::new("ads1015", 16.0)
    }

    /// On a supply of 5 V.
    fn new(kind: &'static str, step: f64) -> Self {
        let world = NAMES.iter().zip([1.2, 0.8, 2.5, 0.3]).map(|(name, volts)| (*name, volts, -0.3..=5.3));
        Self {
            kind,
            step,
            world: World::new(world),
            fault: None,
            pointer: CONVERSION,
            config: CONFIG_AT_RESET,
            running: false,
            result: 0,
            thresholds: [0x8000, 0x7FFF],
        }
    }

    fn configure(&mut self, word: u16) {
        self.config = word & !OS;
        if word & OS != 0 || word & SINGLE_SHOT == 0 {
            self.running = word & SINGLE_SHOT != 0;
            self.convert();
        }
    }

    fn convert(&mut self) {
        let (positive, negative) = INPUTS[usize::from(self.config >> 12 & 0x07)];
        let range = RANGES[usize::from(self.config >> 9 & 0x07)];
        let input = |index: usize| self.world.clamped(NAMES[index]);
        let volts = input(positive) - negative.map_or(0.0, input);
        let code = (volts / range * 32_768.0 / self.step).round() * self.step;
        let code = code.clamp(-32_768.0, 32_768.0 - self.step);
        self.result = (code as i16) as u16;
    }

    fn register(&mut self) -> u16 {
        match self.pointer {
            CONVERSION => {
                if self.config & SINGLE_SHOT == 0 {
                    self.convert();
                }
                self.result
            }
            CONFIG => {
                let busy = self.running || self.config & SINGLE_SHOT == 0 || self.fault == Some(Fault::NotReady);
                self.running = false;
                if busy { self.config } else { self.config | OS }
            }
            threshold => self.thresholds[usize::from(threshold & 1)],
        }
    }
}

impl Chip for Ads1115 {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn write(&mut self, bytes: &[u8]) -> bool {
        if self.fault == Some(Fault::Nak) {
            return false;
        }
        let Some((pointer, value)) = bytes.split_first() else { return true };
        self.pointer = pointer & 3;
        if let [high, low, ..] = value {
            let word = u16::from_be_bytes([*high, *low]);
            match self.pointer {
                CONVERSION => {}
                CONFIG if self.fault == Some(Fault::PowerOn) => {}
                CONFIG => self.configure(word),
                threshold => self.thresholds[usize::from(threshold & 1)] = word,
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
            (self.config, self.running, self.result) = (CONFIG_AT_RESET & !OS, false, 0);
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(chip: &mut Ads1115, pointer: u8) -> u16 {
        let mut bytes = [0; 2];
        assert!(chip.write(&[pointer]) && chip.read(&mut bytes));
        u16::from_be_bytes(bytes)
    }

    #[test]
    fn after_power_on_it_rests_with_the_documented_settings() {
        let mut chip = Ads1115::sixteen_bits();
        assert_eq!(read(&mut chip, CONFIG), CONFIG_AT_RESET);
        assert_eq!((read(&mut chip, 2), read(&mut chip, 3)), (0x8000, 0x7FFF));
    }

    #[test]
    fn a_single_shot_is_seen_running_then_done() {
        let mut chip = Ads1115::sixteen_bits();
        assert!(chip.write(&[CONFIG, 0xE3, 0x83]));
        assert_eq!(read(&mut chip, CONFIG), 0x6383);
        assert_eq!(read(&mut chip, CONFIG), 0xE383);
        assert_eq!(read(&mut chip, CONVERSION), 20_000, "input 2: 2.5 V of 4.096 V");
    }

    #[test]
    fn inputs_can_be_compared_and_saturate() {
        let mut chip = Ads1115::sixteen_bits();
        assert!(chip.write(&[CONFIG, 0x82, 0x83]));
        assert_eq!(read(&mut chip, CONVERSION), 3200, "input 0 against input 1: 0.4 V of 4.096 V, continuously");
        assert!(chip.write(&[CONFIG, 0xCB, 0x83]));
        assert_eq!(read(&mut chip, CONVERSION), 0x7FFF, "0.8 V of 0.256 V");
    }
    #[test]
    fn twelve_bits_stand_in_the_upper_ones() {
        let mut chip = Ads1115::twelve_bits();
        assert!(chip.write(&[CONFIG, 0xC3, 0x83]));
        assert_eq!(read(&mut chip, CONVERSION), 600 << 4, "1.2 V in steps of 2 mV");
        assert!(chip.write(&[CONFIG, 0xEB, 0x83]));
        assert_eq!(read(&mut chip, CONVERSION), 0x7FF0, "2.5 V of 0.256 V");
    }
}
