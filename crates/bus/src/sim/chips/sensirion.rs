//! How Sensirion's simulated chips speak: words of two bytes, each followed by its checksum.
//!
//! Datasheet SHT3x-DIS, version 7, section 4.12; the other chips do the same. Written apart from the drivers' own checksum, so
//! that a mistake in one shows in the other.

/// The bytes of these words; `damaged` spoils the checksums.
pub(super) fn answer(words: impl IntoIterator<Item = u16>, damaged: bool) -> impl Iterator<Item = u8> {
    words.into_iter().flat_map(move |word| {
        let [high, low] = word.to_be_bytes();
        [high, low, crc(0xFF, &[high, low]) ^ u8::from(damaged)]
    })
}

/// A command and its words, as a controller sent them; nothing where they are not whole.
pub(super) fn command(bytes: &[u8]) -> Option<(u16, Vec<u16>)> {
    let (command, words) = bytes.split_first_chunk()?;
    Some((u16::from_be_bytes(*command), arguments(words)?))
}

/// The words that a controller sent behind a command, or nothing where a checksum is wrong or the last word is not whole: such
/// a command the chips do not obey.
pub(super) fn arguments(bytes: &[u8]) -> Option<Vec<u16>> {
    let word = |triple: &[u8]| match triple {
        [high, low, checksum] if crc(0xFF, &[*high, *low]) == *checksum => Some(u16::from_be_bytes([*high, *low])),
        _ => None,
    };
    bytes.chunks(3).map(word).collect()
}

/// A share of the whole scale of 16 bits.
pub(super) fn ticks(share: f64) -> u16 {
    (share.clamp(0.0, 1.0) * 65_535.0).round() as u16
}

/// CRC-8 with polynomial 0x31, from its table of 16 entries: half a byte at a time.
pub(super) fn crc(start: u8, bytes: &[u8]) -> u8 {
    const TABLE: [u8; 16] =
        [0x00, 0x31, 0x62, 0x53, 0xC4, 0xF5, 0xA6, 0x97, 0xB9, 0x88, 0xDB, 0xEA, 0x7D, 0x4C, 0x1F, 0x2E];
    bytes.iter().fold(start, |crc, byte| {
        let high = crc ^ byte;
        let half = high << 4 ^ TABLE[usize::from(high >> 4)];
        half << 4 ^ TABLE[usize::from(half >> 4)]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_the_datasheet_comes_out() {
        assert_eq!(crc(0xFF, &[0xBE, 0xEF]), 0x92);
        assert!(answer([0xBEEF], false).eq([0xBE, 0xEF, 0x92]));
        assert!(answer([0xBEEF], true).eq([0xBE, 0xEF, 0x93]));
    }

    #[test]
    fn arguments_need_their_checksums() {
        assert_eq!(arguments(&[]), Some(vec![]));
        assert_eq!(arguments(&[0xBE, 0xEF, 0x92, 0x80, 0x00, 0xA2]), Some(vec![0xBEEF, 0x8000]));
        assert_eq!(arguments(&[0xBE, 0xEF, 0x93]), None);
        assert_eq!(arguments(&[0xBE, 0xEF]), None);
        assert_eq!(command(&[0x20, 0x08, 0xBE, 0xEF, 0x92]), Some((0x2008, vec![0xBEEF])));
        assert_eq!((command(&[0x20]), command(&[0x20, 0x08, 0xBE])), (None, None));
    }
}
