//! Merges what was dropped: one loss record per sensor, run and reason, for as long as nobody has read it. Pure.
//!
//! A record of an earlier run never grows: the broker may have it, and a longer one beside it would count twice.

use std::collections::BTreeMap;

use crate::model::{Loss, Name, RunId};

/// Records that can still grow, at most. Beyond it the oldest is closed: it stays in the spool, but grows no more.
const OPEN_LIMIT: usize = 512;

type Subject = (Name, RunId, String);

/// The loss records that can still grow: unread, unacknowledged, and where they are.
#[derive(Clone, Debug, Default)]
pub(super) struct Losses {
    open: BTreeMap<Subject, (u64, Loss)>,
}

impl Losses {
    /// Adds `loss` to the record of its subject, or to a new one under `*next`, which then grows by one. Returns the
    /// record as it is to be kept.
    pub(super) fn add(&mut self, loss: Loss, next: &mut u64) -> (u64, Loss) {
        let subject = (loss.sensor.clone(), loss.run, loss.reason.clone());
        if let Some((sequence, record)) = self.open.get_mut(&subject) {
            record.from_seq = record.from_seq.min(loss.from_seq);
            record.to_seq = record.to_seq.max(loss.to_seq);
            record.count = record.count.saturating_add(loss.count);
            return (*sequence, record.clone());
        }
        let sequence = *next;
        *next += 1;
        self.close_surplus();
        self.open.insert(subject, (sequence, loss.clone()));
        (sequence, loss)
    }

    fn close_surplus(&mut self) {
        if self.open.len() >= OPEN_LIMIT {
            let oldest = self.open.values().map(|(sequence, _)| *sequence).min();
            oldest.into_iter().for_each(|oldest| self.close(oldest));
        }
    }

    /// Keeps the record at `sequence` as it is: it was read, and may be with the broker already.
    pub(super) fn close(&mut self, sequence: u64) {
        self.retain(|open| open != sequence);
    }

    /// Moves every record by `behind` places.
    pub(super) fn shift(&mut self, behind: u64) {
        self.open.values_mut().for_each(|(sequence, _)| *sequence += behind);
    }

    /// Keeps only the records at sequences that `open` accepts.
    pub(super) fn retain(&mut self, open: impl Fn(u64) -> bool) {
        self.open.retain(|_, (sequence, _)| open(*sequence));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(from_seq: u64, to_seq: u64, count: u64) -> Loss {
        Loss { sensor: Name::new("air").unwrap(), run: RunId(1), from_seq, to_seq, count, reason: "spool full".into() }
    }

    #[test]
    fn losses_of_one_sensor_and_run_are_merged_until_they_are_read() {
        let (mut losses, mut next) = (Losses::default(), 10);
        assert_eq!(losses.add(loss(3, 3, 1), &mut next), (10, loss(3, 3, 1)));
        assert_eq!(losses.add(loss(5, 6, 2), &mut next), (10, loss(3, 6, 3)));
        losses.close(10);
        assert_eq!(losses.add(loss(7, 7, 1), &mut next), (11, loss(7, 7, 1)));
        assert_eq!(next, 12);
    }

    #[test]
    fn another_reason_is_another_record() {
        let (mut losses, mut next) = (Losses::default(), 0);
        losses.add(loss(1, 1, 1), &mut next);
        losses.add(Loss { reason: "queue full".into(), ..loss(2, 2, 1) }, &mut next);
        assert_eq!(next, 2);
    }
}
