//! Merges losses into loss records, as long as the link has not read those. Pure.
//!
//! A record names one span of lost readings. Where losses and readings that were kept alternate, a sensor gets at most
//! [`SPANS`] records in a row; from then on the last one becomes an envelope, whose count is still exact. A record of an
//! earlier run never grows: the broker may have it, and a longer one beside it would count twice.

use std::collections::BTreeMap;

use fieldgate_model::{Loss, Name, RunId};

/// Records that can still grow, at most. Beyond it the oldest is closed: it stays in the spool, but grows no more.
const OPEN_LIMIT: usize = 512;

/// Records of one sensor, run and reason that can still grow, at most.
const SPANS: usize = 16;

type Subject = (Name, RunId, String);

/// The loss records that can still grow: unread, unacknowledged, and where they are.
#[derive(Clone, Debug, Default)]
pub(super) struct Losses {
    open: BTreeMap<Subject, BTreeMap<u64, Loss>>,
}

impl Losses {
    /// Adds `loss` to a record that it adjoins, or to a new one under `*next`, which then grows by one. Returns the
    /// record as it is to be kept.
    pub(super) fn add(&mut self, loss: Loss, next: &mut u64) -> (u64, Loss) {
        let subject = (loss.sensor.clone(), loss.run, loss.reason.clone());
        let records = self.open.entry(subject.clone()).or_default();
        let is_crowded = records.len() >= SPANS;
        let fits = |record: &Loss| loss.from_seq <= record.to_seq + 1 && record.from_seq <= loss.to_seq + 1;
        let place = records.iter().rev().find(|(_, record)| is_crowded || fits(record)).map(|(sequence, _)| *sequence);
        if let Some((sequence, record)) = place.and_then(|place| Some((place, records.get_mut(&place)?))) {
            record.from_seq = record.from_seq.min(loss.from_seq);
            record.to_seq = record.to_seq.max(loss.to_seq);
            record.count = record.count.saturating_add(loss.count);
            return (sequence, record.clone());
        }
        let sequence = *next;
        *next += 1;
        records.insert(sequence, loss.clone());
        self.close_surplus();
        (sequence, loss)
    }

    fn close_surplus(&mut self) {
        let open = || self.open.values().flat_map(BTreeMap::keys).copied();
        if open().count() > OPEN_LIMIT {
            open().min().into_iter().for_each(|oldest| self.close(oldest));
        }
    }

    /// Keeps the record at `sequence` as it is: it was read, and may be with the broker already.
    pub(super) fn close(&mut self, sequence: u64) {
        self.retain(|open| open != sequence);
    }

    /// Moves every record by `behind` places.
    pub(super) fn shift(&mut self, behind: u64) {
        for records in self.open.values_mut() {
            *records = std::mem::take(records).into_iter().map(|(sequence, loss)| (sequence + behind, loss)).collect();
        }
    }

    /// Keeps only the records at sequences that `open` accepts.
    pub(super) fn retain(&mut self, open: impl Fn(u64) -> bool) {
        self.open.retain(|_, records| {
            records.retain(|sequence, _| open(*sequence));
            !records.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn loss(from_seq: u64, to_seq: u64, count: u64) -> Loss {
        Loss { sensor: Name::new("air").unwrap(), run: RunId(1), from_seq, to_seq, count, reason: "spool full".into() }
    }

    #[test]
    fn losses_of_one_sensor_and_run_are_merged_until_they_are_read() {
        let (mut losses, mut next) = (Losses::default(), 10);
        assert_eq!(losses.add(loss(3, 3, 1), &mut next), (10, loss(3, 3, 1)));
        assert_eq!(losses.add(loss(4, 6, 3), &mut next), (10, loss(3, 6, 4)));
        assert_eq!(losses.add(loss(2, 2, 1), &mut next), (10, loss(2, 6, 5)), "in front of it");
        losses.close(10);
        assert_eq!(losses.add(loss(7, 7, 1), &mut next), (11, loss(7, 7, 1)));
        assert_eq!(next, 12);
    }

    #[test]
    fn a_span_names_lost_readings_only_until_there_are_too_many_of_them() {
        let (mut losses, mut next) = (Losses::default(), 0);
        for i in 0..SPANS as u64 {
            assert_eq!(losses.add(loss(2 * i, 2 * i, 1), &mut next).1, loss(2 * i, 2 * i, 1));
        }
        let last = 2 * SPANS as u64;
        assert_eq!(losses.add(loss(last, last, 1), &mut next).1, loss(last - 2, last, 2));
        assert_eq!(next, SPANS as u64);
    }

    #[test]
    fn records_that_can_grow_are_bounded() {
        let (mut losses, mut next) = (Losses::default(), 0);
        for run in 0..2 * OPEN_LIMIT as u32 {
            losses.add(Loss { run: RunId(run), ..loss(1, 1, 1) }, &mut next);
        }
        assert_eq!(losses.open.len(), OPEN_LIMIT);
        assert!(losses.open.keys().all(|(_, run, _)| run.0 >= OPEN_LIMIT as u32), "the oldest were closed");
    }

    #[test]
    fn another_reason_is_another_record() {
        let (mut losses, mut next) = (Losses::default(), 0);
        losses.add(loss(1, 1, 1), &mut next);
        losses.add(Loss { reason: "queue full".into(), ..loss(2, 2, 1) }, &mut next);
        assert_eq!(next, 2);
    }

    proptest! {
        #[test]
        fn counts_add_up_and_a_record_that_was_read_stays_as_it_is(
            steps in prop::collection::vec((0_u8..10, 0_u64..4, 1_u64..4), 0..200),
        ) {
            let (mut losses, mut next, mut at, mut lost) = (Losses::default(), 10, 0, 0);
            let (mut kept, mut read) = (BTreeMap::new(), BTreeMap::new());
            for (step, gap, count) in steps {
                match step {
                    0 => {
                        kept.keys().for_each(|sequence| losses.close(*sequence));
                        read = kept.clone();
                    }
                    1 => {
                        let behind = |records: BTreeMap<u64, Loss>| {
                            records.into_iter().map(|(sequence, loss)| (sequence + count, loss)).collect()
                        };
                        losses.shift(count);
                        (kept, read, next) = (behind(kept), behind(read), next + count);
                    }
                    _ => {
                        let from = at + gap;
                        (at, lost) = (from + count, lost + count);
                        let (sequence, record) = losses.add(loss(from, at - 1, count), &mut next);
                        prop_assert!(sequence < next && record.from_seq <= from && record.to_seq == at - 1);
                        kept.insert(sequence, record);
                    }
                }
                prop_assert_eq!(kept.values().map(|record| record.count).sum::<u64>(), lost);
                prop_assert!(read.iter().all(|(sequence, record)| kept[sequence] == *record));
                prop_assert!(losses.open.values().flatten().all(|(sequence, record)| kept[sequence] == *record));
            }
        }
    }
}
