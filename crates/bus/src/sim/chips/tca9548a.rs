//! A simulated I²C multiplexer: TCA9548A and PCA9548A with eight channels, TCA9546A and PCA9546A with four.
//!
//! TI SCPS207, section "Control Register": one byte, one bit for each channel, written and read without a pointer; of
//! several bytes the last one counts; all channels are off after power-on.

use crate::sim::chips::{Chip, Fault, fill};

/// A simulated multiplexer of four or eight channels.
pub struct Multiplexer {
    kind: &'static str,
    /// The bits that exist.
    mask: u8,
    control: u8,
    fault: Option<Fault>,
}

impl Multiplexer {
    /// With so many channels, at most eight.
    pub fn new(kind: &'static str, channels: u8) -> Self {
        Self { kind, mask: 0xFF >> (8 - channels), control: 0, fault: None }
    }
}

impl Chip for Multiplexer {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn write(&mut self, bytes: &[u8]) -> bool {
        if self.fault == Some(Fault::Nak) {
            return false;
        }
        self.control = bytes.last().map_or(self.control, |byte| byte & self.mask);
        true
    }

    fn read(&mut self, buffer: &mut [u8]) -> bool {
        if self.fault == Some(Fault::Nak) {
            return false;
        }
        let length = buffer.len();
        fill(buffer, std::iter::repeat_n(self.control, length));
        true
    }

    fn world(&self) -> Vec<(&'static str, f64)> {
        Vec::new()
    }

    fn set_world(&mut self, _name: &str, _value: f64) -> bool {
        false
    }

    fn set_fault(&mut self, fault: Option<&str>) -> bool {
        Fault::set(&mut self.fault, fault, &[Fault::Nak])
    }

    fn registers(&self) -> Vec<(&'static str, u8)> {
        vec![("channels", self.control)]
    }

    fn set_register(&mut self, name: &str, value: u8) -> bool {
        let known = name == "channels";
        if known {
            self.control = value & self.mask;
        }
        known
    }

    fn open_channels(&self) -> u8 {
        self.control
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_byte_opens_channels_that_exist() {
        let mut chip = Multiplexer::new("tca9546a", 4);
        assert!(chip.write(&[0x01, 0xFF]));
        let mut byte = [0];
        assert!(chip.read(&mut byte));
        assert_eq!((byte, chip.open_channels()), ([0x0F], 0x0F));
    }
}
