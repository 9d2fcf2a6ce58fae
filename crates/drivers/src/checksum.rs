//! The checksums of chips, all of them CRC-8 with the polynomial x⁸ + x⁵ + x⁴ + 1.
//!
//! The simulated chips compute theirs on their own: a mistake here must not be one there.

use crate::DriverError;

/// What was received is what was computed.
pub(crate) fn confirm(computed: u8, received: u8) -> Result<(), DriverError> {
    if computed == received { Ok(()) } else { Err(DriverError::BadChecksum { computed, received }) }
}

/// CRC-8 with polynomial 0x31 and start 0xFF.
pub(crate) fn crc8(bytes: &[u8]) -> u8 {
    crc8_from(0xFF, bytes)
}

/// CRC-8 with polynomial 0x31 and another start, as other manufacturers have it.
pub(crate) fn crc8_from(start: u8, bytes: &[u8]) -> u8 {
    bytes.iter().fold(start, |crc, byte| {
        (0..8).fold(crc ^ byte, |crc, _| if crc & 0x80 != 0 { crc << 1 ^ 0x31 } else { crc << 1 })
    })
}

/// CRC-8 with polynomial 0x31, the lowest bit first and start 0, as Maxim has it for 1-Wire.
pub(crate) fn crc8_of_maxim(bytes: &[u8]) -> u8 {
    bytes
        .iter()
        .fold(0, |crc, byte| (0..8).fold(crc ^ byte, |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x8C } else { crc >> 1 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_the_datasheets_comes_out() {
        assert_eq!(crc8(&[0xBE, 0xEF]), 0x92);
        assert_eq!(crc8(&[]), 0xFF);
        assert_eq!(crc8_from(0, &[0]), 0);
    }

    /// Application note 27: the ROM code 02 1C B8 01 00 00 00 has the CRC A2.
    #[test]
    fn the_checksum_of_maxims_example_comes_out() {
        assert_eq!(crc8_of_maxim(&[0x02, 0x1C, 0xB8, 0x01, 0x00, 0x00, 0x00]), 0xA2);
    }
}
