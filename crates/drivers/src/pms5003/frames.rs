//! Frames out of a stream of bytes: 0x42, 0x4D, the length, words with the high byte first, and the sum of all before it
//! (appendix I).

const HEAD: [u8; 2] = [0x42, 0x4D];

/// The longest frame of the family, that of the PMS5003ST, has 36 behind its length.
const LONGEST_FRAME: usize = 40;

/// Bytes that may still become a frame.
#[derive(Debug, Default)]
pub(super) struct Frames(Vec<u8>);

/// A frame whose sum is wrong: those bytes of the two sums that differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Damage {
    pub(super) computed: u8,
    pub(super) received: u8,
}

impl Frames {
    /// Adds what has come.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// How many bytes are missing to a frame of `whole` bytes, if one has begun.
    pub(super) fn missing(&self, whole: usize) -> usize {
        whole.saturating_sub(self.0.len()).max(1)
    }

    /// The words of the next whole frame, without its sum.
    pub(super) fn next(&mut self) -> Option<Result<Vec<u16>, Damage>> {
        loop {
            let start = self.0.windows(2).position(|pair| pair == HEAD);
            // The last byte may be the first half of a head.
            self.0.drain(..start.unwrap_or(self.0.len().saturating_sub(1)));
            let [_, _, high, low, ..] = self.0[..] else { return None };
            let length = usize::from(u16::from_be_bytes([high, low]));
            if !(2..=LONGEST_FRAME).contains(&length) || length % 2 != 0 {
                self.0.drain(..1);
                continue;
            }
            let frame = self.0.get(..4 + length)?;
            let (summed, sum) = frame.split_at(frame.len() - 2);
            let computed = summed.iter().fold(0_u16, |sum, byte| sum.wrapping_add(u16::from(*byte))).to_be_bytes();
            if let Some((computed, received)) = computed.iter().zip(sum).find(|(ours, theirs)| ours != theirs) {
                let damage = Damage { computed: *computed, received: *received };
                // Only the head is given up: a good frame may have begun behind it.
                self.0.drain(..2);
                return Some(Err(damage));
            }
            let words = summed[4..].chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
            self.0.drain(..4 + length);
            return Some(Ok(words));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The echo of the command for passive mode.
    const ECHO: [u8; 8] = [0x42, 0x4D, 0x00, 0x04, 0xE1, 0x00, 0x01, 0x74];

    fn all(pieces: &[&[u8]]) -> Vec<Result<Vec<u16>, Damage>> {
        let mut frames = Frames::default();
        let mut found = Vec::new();
        for piece in pieces {
            frames.feed(piece);
            found.extend(std::iter::from_fn(|| frames.next()));
            assert!(frames.0.len() < LONGEST_FRAME + 4);
        }
        found
    }

    #[test]
    fn a_frame_is_found_wherever_it_begins_and_however_it_is_cut() {
        let echo = || Ok(vec![0xE100]);
        assert_eq!(all(&[&ECHO, &ECHO]), [echo(), echo()]);
        assert_eq!(all(&[&[0x00, 0x42, 0x42], &ECHO[1..3], &ECHO[3..7], &ECHO[7..]]), [echo()]);
        assert_eq!(all(&[&[0x42, 0x4D, 0xFF, 0xFF], &ECHO]), [echo()]);
        assert_eq!(all(&[&ECHO[..5], &ECHO]).last(), Some(&echo()), "a frame that was cut off");
    }

    #[test]
    fn a_wrong_sum_is_reported_whichever_of_its_bytes_differs() {
        let mut frame = ECHO;
        frame[7] ^= 0x01;
        assert_eq!(all(&[&frame]), [Err(Damage { computed: 0x74, received: 0x75 })]);
        let mut frame = ECHO;
        frame[6] ^= 0x10;
        assert_eq!(all(&[&frame]), [Err(Damage { computed: 0x01, received: 0x11 })]);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_can_cause_a_panic_or_pile_up(pieces: Vec<Vec<u8>>) {
            let mut frames = Frames::default();
            for piece in pieces {
                frames.feed(&piece);
                while frames.next().is_some() {}
                assert!(frames.0.len() < LONGEST_FRAME + 4);
            }
        }
    }
}
