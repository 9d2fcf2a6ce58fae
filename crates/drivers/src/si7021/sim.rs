//! A simulated Silicon Labs Si7021 or TE HTU21D.
//!
//! Datasheets Si7021-A20, revision 1.2, and HTU21D(F), HPC199 revision 5: one-byte commands, words with a checksum that begins
//! at 0, the user register, the electronic id.

use crate::simulated::crc;
use fieldgate_bus::sim::chips::{Chip, Fault, World, fill};

/// With and without clock stretching.
const TEMPERATURE: [u8; 2] = [0xE3, 0xF3];
const HUMIDITY: [u8; 2] = [0xE5, 0xF5];
/// The temperature that was measured with the humidity; the Si7021 alone has it.
const TEMPERATURE_OF_HUMIDITY: u8 = 0xE0;
const RESET: u8 = 0xFE;
const WRITE_USER: u8 = 0xE6;
const READ_USER: u8 = 0xE7;
const WRITE_HEATER: u8 = 0x51;
const READ_HEATER: u8 = 0x11;
const ID_FIRST: [u8; 2] = [0xFA, 0x0F];
const ID_SECOND: [u8; 2] = [0xFC, 0xC9];
const FIRMWARE: [u8; 2] = [0x84, 0xB8];

/// What a program may change in the user register: resolution, heater, and the HTU21D's reload.
const WRITABLE: u8 = 0x87;
/// What a reset does not clear.
const HEATER: u8 = 0x04;
/// In the lowest bits of a word: which quantity it is.
const IS_HUMIDITY: u16 = 0x0002;

pub(super) struct Si7021 {
    kind: &'static str,
    world: World,
    fault: Option<Fault>,
    user: u8,
    heater: u8,
    /// What the next read answers; without it the read is not acknowledged.
    answer: Option<Vec<u8>>,
}

impl Si7021 {
    /// A Si7021.
    pub(super) fn silabs() -> Self {
        Self::new("si7021")
    }

    /// An HTU21D.
    pub(super) fn te() -> Self {
        Self::new("htu21")
    }

    fn new(kind: &'static str) -> Self {
        let world = World::new([("temperature", 21.5, -46.85..=128.8), ("humidity", 45.0, 0.0..=100.0)]);
        let mut chip = Self { kind, world, fault: None, user: 0, heater: 0, answer: None };
        chip.reset();
        chip
    }

    fn is_si7021(&self) -> bool {
        self.kind == "si7021"
    }

    fn reset(&mut self) {
        self.user = self.user & HEATER | if self.is_si7021() { 0x3A } else { 0x02 };
        self.heater = 0;
    }

    fn command(&mut self, bytes: &[u8]) -> bool {
        self.answer = None;
        match bytes {
            [RESET] => self.reset(),
            [WRITE_USER, value] => self.user = self.user & !WRITABLE | value & WRITABLE,
            [READ_USER] => self.answer = Some(vec![self.user]),
            [WRITE_HEATER, value] if self.is_si7021() => self.heater = value & 0x0F,
            [READ_HEATER] if self.is_si7021() => self.answer = Some(vec![self.heater]),
            [TEMPERATURE_OF_HUMIDITY] if self.is_si7021() => self.answer = Some(self.temperature()[..2].to_vec()),
            [a, b] if [*a, *b] == ID_FIRST => {
                self.answer = Some([0x01, 0x23, 0x45, 0x67].map(|n| [n, crc(0, &[n])]).concat())
            }
            [a, b] if [*a, *b] == ID_SECOND => self.answer = Some(self.second_id()),
            [a, b] if [*a, *b] == FIRMWARE && self.is_si7021() => self.answer = Some(vec![0x20]),
            [one] if TEMPERATURE.contains(one) => self.answer = self.ready(self.temperature()),
            [one] if HUMIDITY.contains(one) => self.answer = self.ready(self.humidity()),
            _ => return false,
        }
        true
    }

    fn ready(&self, mut word: Vec<u8>) -> Option<Vec<u8>> {
        match self.fault {
            Some(Fault::NotReady) => return None,
            Some(Fault::Checksum) => word[2] ^= 0x01,
            _ => {}
        }
        Some(word)
    }

    /// The type in front; the HTU21D has its maker's letters at the end.
    fn second_id(&self) -> Vec<u8> {
        let words = match self.fault {
            Some(Fault::WrongId) => [[0x32, 0x01], [0x48, 0x54]],
            _ if self.is_si7021() => [[0x15, 0xFF], [0xB5, 0xFF]],
            _ => [[0x32, 0x01], [0x48, 0x54]],
        };
        words.map(|word| [word[0], word[1], crc(0, &word)]).concat()
    }

    /// The temperature in a word of 14 bits, framed.
    fn temperature(&self) -> Vec<u8> {
        framed((self.world.clamped("temperature") + 46.85) / 175.72, 14, 0)
    }

    /// The humidity in a word of 12 bits, framed.
    fn humidity(&self) -> Vec<u8> {
        framed((self.world.clamped("humidity") + 6.0) / 125.0, 12, IS_HUMIDITY)
    }
}

/// A share of the scale in that many bits, aligned to the left, with the status bits and the checksum.
fn framed(share: f64, bits: u8, status: u16) -> Vec<u8> {
    let steps = f64::from(1_u16 << bits);
    let code = (share * steps).round().clamp(0.0, steps - 1.0) as u16;
    let word = (code << (16 - bits) | status).to_be_bytes();
    vec![word[0], word[1], crc(0, &word)]
}

impl Chip for Si7021 {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn write(&mut self, bytes: &[u8]) -> bool {
        self.fault != Some(Fault::Nak) && (bytes.is_empty() || self.command(bytes))
    }

    fn read(&mut self, buffer: &mut [u8]) -> bool {
        if self.fault == Some(Fault::Nak) {
            return false;
        }
        let Some(answer) = self.answer.take() else { return false };
        fill(buffer, if self.fault == Some(Fault::Stuck) { Vec::new() } else { answer });
        true
    }

    fn world(&self) -> Vec<(&'static str, f64)> {
        self.world.list()
    }

    fn set_world(&mut self, name: &str, value: f64) -> bool {
        self.world.set(name, value)
    }

    fn set_fault(&mut self, fault: Option<&str>) -> bool {
        let knows = [Fault::Nak, Fault::Checksum, Fault::NotReady, Fault::WrongId, Fault::Stuck];
        Fault::set(&mut self.fault, fault, &knows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<const N: usize>(chip: &mut Si7021, command: &[u8]) -> [u8; N] {
        let mut bytes = [0; N];
        assert!(chip.write(command) && chip.read(&mut bytes));
        bytes
    }

    #[test]
    fn a_word_reports_its_quantity_and_carries_a_checksum() {
        let mut chip = Si7021::te();
        assert_eq!(read::<3>(&mut chip, &[0xF3])[..2], [0x63, 0x94], "(21.5 + 46.85) / 175.72 of 16384, to the left");
        let [high, low, checksum] = read(&mut chip, &[0xF5]);
        assert_eq!([high, low], [0x68, 0x72], "(45 + 6) / 125 of 4096, to the left, and the bit of the humidity");
        assert_eq!(checksum, crc(0, &[high, low]));
        assert!(!chip.read(&mut [0; 3]), "it is read once");
    }

    #[test]
    fn a_reset_leaves_the_heater_alone() {
        let mut chip = Si7021::silabs();
        assert_eq!(read(&mut chip, &[0xE7]), [0x3A]);
        assert!(chip.write(&[0xE6, 0xFF]) && chip.write(&[0xFE]));
        assert_eq!(read(&mut chip, &[0xE7]), [0x3E]);
    }

    #[test]
    fn the_ids_distinguish_the_makers() {
        assert_eq!(read::<6>(&mut Si7021::silabs(), &ID_SECOND)[0], 0x15);
        assert_eq!(read::<6>(&mut Si7021::te(), &ID_SECOND)[3..5], *b"HT");
    }
}
