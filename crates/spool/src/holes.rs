//! Which readings were in the holes of a damaged file, as far as the rows around them show it. Pure.

use std::collections::BTreeMap;

use crate::record::{ReadingName, Unsound};
use crate::row_search::Found;
use fieldgate_model::{Loss, MessageKind, Name, RunId};

/// What is known of the holes so far.
#[derive(Debug, Default)]
pub(super) struct Holes {
    last: BTreeMap<(Name, RunId), u64>,
    /// The last numbers in front of holes behind which the sensor has not been seen yet.
    open: BTreeMap<(Name, RunId), u64>,
}

/// Sensors and runs that are remembered at most.
const SUBJECTS: usize = 4096;

/// Why, in words.
const DAMAGED: &str = "spool damaged";

impl Holes {
    /// What is known to be lost now that `found` was seen.
    pub(super) fn see(&mut self, found: &Found) -> Option<Loss> {
        match found {
            Found::Hole | Found::Row(_, Err(Unsound { reading: None, .. })) => {
                for (subject, n) in &self.last {
                    self.open.entry(subject.clone()).or_insert(*n);
                }
                None
            }
            Found::Row(_, Err(Unsound { reading: Some(name), .. })) => {
                let before = self.pass(name);
                let (sensor, run, n) = name.clone();
                let from_seq = before.as_ref().map_or(n, |before| before.from_seq);
                let count = 1 + before.map_or(0, |before| before.count);
                Some(Loss { sensor, run, from_seq, to_seq: n, count, reason: DAMAGED.into() })
            }
            Found::Row(_, Ok(message)) if message.key.kind == MessageKind::Reading => {
                self.pass(&(message.key.source.clone(), message.run, message.seq))
            }
            Found::Row(..) => None,
        }
    }

    /// A reading is here; what is missing in front of it went into a hole.
    fn pass(&mut self, (sensor, run, n): &ReadingName) -> Option<Loss> {
        let subject = (sensor.clone(), *run);
        if self.last.len() < SUBJECTS || self.last.contains_key(&subject) {
            self.last.insert(subject.clone(), *n);
        }
        let before = self.open.remove(&subject)?;
        let count = n.checked_sub(before + 1).filter(|count| *count > 0)?;
        let (sensor, run) = subject;
        Some(Loss { sensor, run, from_seq: before + 1, to_seq: n - 1, count, reason: DAMAGED.into() })
    }
}

/// The loss of a row that was found damaged outside of a salvage.
pub(super) fn loss_of_row((sensor, run, n): ReadingName) -> Loss {
    Loss { sensor, run, from_seq: n, to_seq: n, count: 1, reason: DAMAGED.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::reading;

    fn row(n: u64) -> Found {
        Found::Row(n, Ok(reading("air", n, 1)))
    }

    fn losses(found: impl IntoIterator<Item = Found>) -> Vec<(u64, u64, u64)> {
        let mut holes = Holes::default();
        let losses = found.into_iter().filter_map(|found| holes.see(&found)).collect::<Vec<_>>();
        losses.into_iter().map(|loss| (loss.from_seq, loss.to_seq, loss.count)).collect()
    }

    #[test]
    fn what_lay_in_a_hole_is_reported_when_both_edges_are_known() {
        assert_eq!(losses([row(1), row(2), Found::Hole, row(7), row(8)]), [(3, 6, 4)]);
        assert_eq!(losses([Found::Hole, row(7), Found::Hole]), []);
        assert_eq!(losses([row(1), Found::Hole, Found::Hole, row(4)]), [(2, 3, 2)]);
    }

    #[test]
    fn numbers_that_are_missing_elsewhere_are_not_lost() {
        assert_eq!(losses([row(1), row(5)]), []);
        assert_eq!(losses([row(1), row(5), Found::Hole, row(6)]), []);
    }

    #[test]
    fn a_row_with_a_wrong_checksum_is_one_lost_reading() {
        let unsound = |n| {
            Found::Row(n, Err(Unsound { reading: Some((Name::new("air").unwrap(), RunId(1), n)), is_placed: true }))
        };
        assert_eq!(losses([row(1), unsound(2), row(3)]), [(2, 2, 1)]);
        assert_eq!(losses([row(1), Found::Hole, unsound(4)]), [(2, 4, 3)]);
        assert_eq!(
            losses([row(1), Found::Row(2, Err(Unsound { reading: None, is_placed: false })), row(4)]),
            [(2, 3, 2)]
        );
    }
}
