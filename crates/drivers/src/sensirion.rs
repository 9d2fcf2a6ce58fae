//! What the drivers of Sensirion's chips share: words of two bytes, each followed by its checksum.
//!
//! Datasheets: SHT3x-DIS version 7 (4.12), SHT4x version 6 (4.4), and those of the maker's other chips. All of them compute
//! the checksum alike, send the high byte first, and do not acknowledge that they are read while they have no result.

use embedded_hal::i2c::I2c;

use crate::DriverError;
use crate::checksum::{confirm, crc8};
use fieldgate_bus::BusError;

/// Reads the result of a command that the chip acknowledged a moment ago: `N` words without their checksums.
///
/// # Errors
/// [`DriverError::NotReady`] where the chip does not acknowledge; `what` names the result.
pub(crate) fn read_words<const N: usize>(
    i2c: &mut impl I2c<Error = BusError>,
    address: u8,
    what: &'static str,
) -> Result<[u16; N], DriverError> {
    let mut answer = [[0; 3]; N];
    i2c.read(address, answer.as_flattened_mut()).map_err(|error| match error {
        BusError::NoAcknowledge { .. } => DriverError::NotReady(what),
        other => DriverError::Bus(other),
    })?;
    let mut words = [0; N];
    for (word, triple) in words.iter_mut().zip(answer) {
        *word = checked(triple)?;
    }
    Ok(words)
}

/// The bytes of a command with arguments.
pub(crate) fn with_arguments(command: u16, words: &[u16]) -> Vec<u8> {
    let mut bytes = command.to_be_bytes().to_vec();
    for word in words {
        let [high, low] = word.to_be_bytes();
        bytes.extend([high, low, crc8(&[high, low])]);
    }
    bytes
}

/// The word, if the checksum behind it is its.
pub(crate) fn checked([high, low, received]: [u8; 3]) -> Result<u16, DriverError> {
    confirm(crc8(&[high, low]), received)?;
    Ok(u16::from_be_bytes([high, low]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::{Step, Transcript};

    fn read(step: Step) -> Result<[u16; 2], DriverError> {
        read_words(&mut Transcript::new(0x44, [step]), 0x44, "the measurement")
    }

    #[test]
    fn words_are_given_without_their_checksums() {
        assert_eq!(read(Step::Read(vec![0x66, 0x66, 0x93, 0x80, 0x00, 0xA2])).unwrap(), [0x6666, 0x8000]);
    }

    #[test]
    fn arguments_carry_their_checksums() {
        assert_eq!(with_arguments(0x2627, &[0xBEEF, 0x8000]), [0x26, 0x27, 0xBE, 0xEF, 0x92, 0x80, 0x00, 0xA2]);
    }

    #[test]
    fn one_damaged_word_spoils_all() {
        for answer in [[0x66, 0x67, 0x93, 0x80, 0x00, 0xA2], [0x66, 0x66, 0x93, 0x80, 0x00, 0xA3]] {
            let refused = read(Step::Read(answer.to_vec()));
            assert!(matches!(refused, Err(DriverError::BadChecksum { .. })), "{refused:?}");
        }
    }

    #[test]
    fn neither_a_line_held_low_nor_one_that_nobody_drives_passes() {
        for byte in [0x00, 0xFF] {
            let refused = read(Step::Read(vec![byte; 6]));
            assert!(matches!(refused, Err(DriverError::BadChecksum { .. })), "{refused:?}");
        }
    }

    #[test]
    fn a_chip_that_refuses_to_be_read_is_not_ready() {
        assert!(matches!(read(Step::Nak), Err(DriverError::NotReady("the measurement"))));
    }
}
