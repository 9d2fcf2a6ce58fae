//! A simulated Microchip MCP3008 or MCP3004.
//!
//! Datasheet DS21295, section 5.0: a start bit, single-ended or differential, three bits of channel; then a bit of sampling,
//! a null bit, ten bits with the highest first, the same again backwards without repeating B0, and zeros (figure 5-2).

use fieldgate_bus::sim::chips::{Chip, Fault, World, fill};

/// What a code of 1024 would be.
const REFERENCE: f64 = 3.3;

const NAMES: [&str; 8] =
    ["voltage_0", "voltage_1", "voltage_2", "voltage_3", "voltage_4", "voltage_5", "voltage_6", "voltage_7"];

/// The chip, with its reference at 3.3 V.
pub(super) struct Mcp300x {
    kind: &'static str,
    /// The MCP3004 ignores the highest bit of the channel (table 5-1).
    channels: u8,
    world: World,
    fault: Option<Fault>,
    answer: Vec<u8>,
}

impl Mcp300x {
    /// An MCP3008.
    pub(super) fn mcp3008() -> Self {
        Self::new("mcp3008", 8)
    }

    /// An MCP3004.
    pub(super) fn mcp3004() -> Self {
        Self::new("mcp3004", 4)
    }

    fn new(kind: &'static str, channels: u8) -> Self {
        let names = NAMES.iter().take(usize::from(channels)).enumerate();
        let world = World::new(names.map(|(n, name)| (*name, 0.5 + 0.25 * n as f64, 0.0..=REFERENCE)));
        Self { kind, channels, world, fault: None, answer: Vec::new() }
    }

    fn code(&self, single_ended: bool, channel: u8) -> u64 {
        let volts = |channel: u8| self.world.clamped(NAMES[usize::from(channel % self.channels)]);
        let input = if single_ended { volts(channel) } else { volts(channel) - volts(channel ^ 1) };
        (input * 1024.0 / REFERENCE).clamp(0.0, 1023.0) as u64
    }
}

impl Chip for Mcp300x {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn write(&mut self, bytes: &[u8]) -> bool {
        if self.fault == Some(Fault::Nak) {
            return false;
        }
        let bit = |index: usize| bytes.get(index / 8).map(|byte| byte >> (7 - index % 8) & 1 == 1);
        let length = bytes.len() * 8;
        // Nobody drives the line before the null bit.
        let mut out = vec![true; length];
        if let Some(start) = (0..length).find(|index| bit(*index) == Some(true)) {
            let channel = (2..5).fold(0, |sum, n| sum << 1 | u8::from(bit(start + n).unwrap_or(false)));
            let code = self.code(bit(start + 1).unwrap_or(false), channel);
            let result = (0..10).rev().chain(1..10).map(|n| code >> n & 1 == 1);
            let driven = std::iter::once(false).chain(result).chain(std::iter::repeat(false));
            out.iter_mut().skip(start + 6).zip(driven).for_each(|(to, from)| *to = from);
        }
        if self.fault == Some(Fault::Stuck) {
            out.fill(true);
        }
        self.answer = out.chunks(8).map(|bits| bits.iter().fold(0, |sum, bit| sum << 1 | u8::from(*bit))).collect();
        true
    }

    fn read(&mut self, buffer: &mut [u8]) -> bool {
        if self.fault == Some(Fault::Nak) {
            return false;
        }
        fill(buffer, std::mem::take(&mut self.answer));
        true
    }

    fn world(&self) -> Vec<(&'static str, f64)> {
        self.world.list()
    }

    fn set_world(&mut self, name: &str, value: f64) -> bool {
        self.world.set(name, value)
    }

    fn set_fault(&mut self, fault: Option<&str>) -> bool {
        Fault::set(&mut self.fault, fault, &[Fault::Nak, Fault::Stuck])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange<const N: usize>(chip: &mut Mcp300x, out: [u8; N]) -> [u8; N] {
        let mut back = [0; N];
        assert!(chip.write(&out) && chip.read(&mut back));
        back
    }

    #[test]
    fn a_result_is_sent_forwards_and_backwards() {
        let mut chip = Mcp300x::mcp3008();
        // 0x245 of 1024.
        assert!(chip.set_world("voltage_3", 581.5 / 1024.0 * REFERENCE));
        assert_eq!(exchange(&mut chip, [0x01, 0xB0, 0]), [0xFF, 0xFA, 0x45]);
        assert_eq!(exchange(&mut chip, [0x01, 0xB0, 0, 0, 0]), [0xFF, 0xFA, 0x45, 0x44, 0x80]);
    }

    #[test]
    fn a_pair_is_measured_against_each_other() {
        let mut chip = Mcp300x::mcp3004();
        assert!(chip.set_world("voltage_0", 2.0) && chip.set_world("voltage_1", 0.5));
        let [_, high, low] = exchange(&mut chip, [0x01, 0x00, 0]);
        assert_eq!(u16::from(high & 3) << 8 | u16::from(low), 465);
    }
}
