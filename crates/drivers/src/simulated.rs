//! What the simulated chips of several drivers share: Sensirion's words of two bytes, each followed by its checksum, and the
//! search for the raw word behind a value. The tests say what every simulated chip must do.
//!
//! Datasheet SHT3x-DIS, version 7, section 4.12; the maker's other chips do the same. Written apart from the drivers' own
//! checksum, so that a mistake in one shows in the other: no simulated chip takes anything from a driver.

/// The bytes of these words; `damaged` spoils the checksums.
pub(crate) fn answer(words: impl IntoIterator<Item = u16>, damaged: bool) -> impl Iterator<Item = u8> {
    words.into_iter().flat_map(move |word| {
        let [high, low] = word.to_be_bytes();
        [high, low, crc(0xFF, &[high, low]) ^ u8::from(damaged)]
    })
}

/// A command and its words, as a controller sent them; nothing where they are not whole.
pub(crate) fn command(bytes: &[u8]) -> Option<(u16, Vec<u16>)> {
    let (command, words) = bytes.split_first_chunk()?;
    Some((u16::from_be_bytes(*command), arguments(words)?))
}

/// The words that a controller sent behind a command, or nothing where a checksum is wrong or the last word is not whole: such
/// a command the chips do not obey.
pub(crate) fn arguments(bytes: &[u8]) -> Option<Vec<u16>> {
    let word = |triple: &[u8]| match triple {
        [high, low, checksum] if crc(0xFF, &[*high, *low]) == *checksum => Some(u16::from_be_bytes([*high, *low])),
        _ => None,
    };
    bytes.chunks(3).map(word).collect()
}

/// A share of the whole scale of 16 bits.
pub(crate) fn ticks(share: f64) -> u16 {
    (share.clamp(0.0, 1.0) * 65_535.0).round() as u16
}

/// CRC-8 with polynomial 0x31, from its table of 16 entries: half a byte at a time.
pub(crate) fn crc(start: u8, bytes: &[u8]) -> u8 {
    const TABLE: [u8; 16] =
        [0x00, 0x31, 0x62, 0x53, 0xC4, 0xF5, 0xA6, 0x97, 0xB9, 0x88, 0xDB, 0xEA, 0x7D, 0x4C, 0x1F, 0x2E];
    bytes.iter().fold(start, |crc, byte| {
        let high = crc ^ byte;
        let half = high << 4 ^ TABLE[usize::from(high >> 4)];
        half << 4 ^ TABLE[usize::from(half >> 4)]
    })
}

/// The smallest raw word for which `reached` holds, or `last`; it must hold for all larger ones too.
pub(crate) fn smallest(last: i64, reached: impl Fn(i64) -> bool) -> i64 {
    let (mut low, mut high) = (0, last);
    while low < high {
        let middle = (low + high) / 2;
        if reached(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DRIVERS, DriverSpec, chip};
    use fieldgate_bus::sim::chips::Chip;

    /// The drivers that have a simulated chip, each with a new one.
    fn chips() -> impl Iterator<Item = (&'static DriverSpec, Box<dyn Chip>)> {
        DRIVERS.iter().filter_map(|spec| Some((*spec, (spec.chip?.make)())))
    }

    #[test]
    fn every_chip_reports_its_world_and_takes_changes() {
        assert!(chips().count() > 20);
        for (spec, mut chip) in chips() {
            let driver = spec.name;
            for (name, value) in chip.world() {
                assert!(chip.set_world(name, value + 1.0), "{driver} {name}");
                assert!(!chip.set_world(name, f64::NAN), "{driver} {name}");
                assert!(chip.world().contains(&(name, value + 1.0)), "{driver} {name}");
            }
            assert!(!chip.set_world("voltage_9", 1.0), "{driver}");
            assert!(chip.set_fault(Some("nak")) && !chip.set_fault(Some("fire")), "{driver}");
            assert!(!chip.write(&[0]) && !chip.read(&mut [0]), "{driver}");
            assert!(chip.set_fault(None), "{driver}");
        }
    }

    /// A state file names a chip by its kind, and a second process must find the same one by it.
    #[test]
    fn the_kind_of_a_chip_is_the_name_of_a_driver_that_expects_it() {
        for (spec, made) in chips() {
            let kind = made.kind();
            assert_eq!((chip(kind).expect(kind).make)().kind(), kind);
            // Of two drivers that share a chip, such as pca9685 and pca9685-servo, the chip bears the shorter name.
            assert!(spec.name.starts_with(kind), "{}: {kind}", spec.name);
        }
        assert!(chip("waveform").is_none() && chip("toaster").is_none());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_of_a_driver_can_cause_a_panic(
            transfers: Vec<Vec<u8>>,
            length in 0_usize..40,
            world in proptest::num::f64::ANY,
        ) {
            for (_, mut chip) in chips() {
                for (name, _) in chip.world() {
                    assert_eq!(chip.set_world(name, world), world.is_finite());
                }
                for bytes in &transfers {
                    let _acknowledged = chip.write(bytes) && chip.read(&mut vec![0; length]);
                }
            }
        }
    }

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
