//! What was delivered, and what never will be: which messages the link has read, which the broker has, what was dropped and how
//! that is reported. Pure, but for the log of what is lost; it knows neither memory nor disk.

use std::collections::BTreeSet;
use std::time::Duration;

use tracing::error;

use crate::losses::Losses;
use crate::read_by_link::ReadByLink;
use crate::{Sequence, Stored};
use fieldgate_model::{Loss, MessageKind, Qos};

/// How many messages that the link has read but not settled are remembered: many times what its window and lanes hold.
const READ_BY_LINK_LIMIT: usize = 4096;

/// Acknowledged rows that could not be deleted yet, remembered at most. Beyond it (only while the disk fails) they are
/// sent again after a reconnect.
const ACKED_LIMIT: usize = 65_536;

/// Lost readings are logged at most this often.
const LOG_AGAIN: Duration = Duration::from_secs(60);

/// What became of messages.
#[derive(Debug)]
pub(super) struct Delivery {
    /// Acknowledged, but still on disk; and since when the first of them waits for its deletion.
    acked: BTreeSet<u64>,
    acked_since: Option<Duration>,
    /// Read by the link and not acknowledged.
    read_by_link: ReadByLink,
    losses: Losses,
    dropped: u64,
    /// Lost readings that are not logged yet, and when the last ones were.
    unlogged: u64,
    logged: Option<Duration>,
}

impl Delivery {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Self {
            acked: BTreeSet::new(),
            acked_since: None,
            read_by_link: ReadByLink::new(READ_BY_LINK_LIMIT),
            losses: Losses::default(),
            dropped: 0,
            unlogged: 0,
            logged: None,
        }
    }

    /// The link is given these. A loss record that it was given does not grow any more.
    pub(super) fn mark_read(&mut self, found: &[Stored]) {
        for stored in found {
            if stored.message.key.kind == MessageKind::Loss {
                self.losses.close(stored.sequence.0);
            }
            // A message at QoS 0 has no acknowledgement and no loss record.
            if stored.message.qos != Qos::AtMostOnce {
                self.read_by_link.insert(stored.sequence.0);
            }
        }
    }

    /// The link of the run before may have read this one.
    pub(super) fn was_read_before(&mut self, sequence: u64) {
        self.read_by_link.insert(sequence);
    }

    /// The link begins a connection: what it was given before stays with it until it is settled.
    pub(super) fn begin_connection(&mut self) {
        self.read_by_link.begin_connection();
    }

    /// The link did not send these, and reads them again.
    pub(super) fn pass_over(&mut self, sequences: &[Sequence]) {
        sequences.iter().for_each(|Sequence(sequence)| self.read_by_link.pass_over(*sequence));
    }

    /// Whether the broker may have it.
    pub(super) fn may_be_delivered(&self, sequence: u64) -> bool {
        self.read_by_link.contains(sequence)
    }

    /// Only those that `is_here` accepts can still be with the link.
    pub(super) fn retain_read_by_link(&mut self, is_here: impl Fn(u64) -> bool) {
        self.read_by_link.retain(is_here);
    }

    #[cfg(test)]
    pub(super) fn read_by_link(&self) -> impl Iterator<Item = u64> {
        self.read_by_link.iter()
    }

    /// The broker has it, or nobody will; `kind` is that of a message in memory.
    pub(super) fn settle(&mut self, sequence: u64, kind: Option<MessageKind>) {
        self.read_by_link.remove(sequence);
        if kind == Some(MessageKind::Loss) {
            self.losses.close(sequence);
        }
    }

    /// The row of one that is settled is to be deleted, if so many can be remembered.
    pub(super) fn delete_settled(&mut self, sequence: u64, now: Duration) {
        if self.acked.len() < ACKED_LIMIT {
            self.delete_row(sequence, now);
        }
    }

    /// Its row is to be deleted.
    pub(super) fn delete_row(&mut self, sequence: u64, now: Duration) {
        self.acked.insert(sequence);
        self.acked_since.get_or_insert(now);
    }

    /// Whether its row is to be deleted.
    pub(super) fn is_settled(&self, sequence: u64) -> bool {
        self.acked.contains(&sequence)
    }

    /// The first of the rows that are to be deleted.
    pub(super) fn to_delete(&self, limit: usize) -> Vec<u64> {
        self.acked.iter().copied().take(limit).collect()
    }

    /// How many there are.
    pub(super) fn to_delete_count(&self) -> usize {
        self.acked.len()
    }

    /// Since when the first of them waits.
    pub(super) fn to_delete_since(&self) -> Option<Duration> {
        self.acked_since
    }

    /// These rows are deleted.
    pub(super) fn deleted(&mut self, sequences: &[u64]) {
        sequences.iter().for_each(|sequence| {
            self.acked.remove(sequence);
        });
    }

    /// All that is written waits for nothing.
    pub(super) fn none_waits(&mut self) {
        self.acked_since = None;
    }

    /// What is settled has no rows any more; returns which they were.
    pub(super) fn forget_rows(&mut self) -> BTreeSet<u64> {
        std::mem::take(&mut self.acked)
    }

    /// The file stays after all, and these rows in it.
    pub(super) fn restore_rows(&mut self, settled: BTreeSet<u64>) {
        self.acked = settled;
    }

    /// The file is gone: what remains of loss records is what `is_here` accepts.
    pub(super) fn forget_disk(&mut self, is_here: impl Fn(u64) -> bool) {
        self.losses.retain(is_here);
        self.acked_since = None;
    }

    /// Every sequence moves by `behind` places. What was settled names rows of no file.
    pub(super) fn shift(&mut self, behind: u64) {
        self.losses.shift(behind);
        self.read_by_link.shift(behind);
        self.acked.clear();
    }

    /// Messages that will never arrive.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// So many more will never arrive.
    pub(super) fn drop_some(&mut self, count: u64) {
        self.dropped = self.dropped.saturating_add(count);
    }

    /// This one will never arrive.
    pub(super) fn drop_one(&mut self, sequence: u64) {
        self.read_by_link.remove(sequence);
        self.drop_some(1);
    }

    /// So many readings among them are lost.
    pub(super) fn log_lost(&mut self, readings: u64, reason: &str, now: Duration) {
        self.unlogged += readings;
        if readings > 0 && self.logged.is_none_or(|at| now >= at + LOG_AGAIN) {
            error!(readings = self.unlogged, error = reason, "Readings are lost; each is reported on the loss topic.");
            (self.unlogged, self.logged) = (0, Some(now));
        }
    }

    /// Merges a loss into its record, or makes one at `next`, which then grows; returns the record and its place.
    pub(super) fn add_loss(&mut self, loss: Loss, next: &mut u64) -> (u64, Loss) {
        self.losses.add(loss, next)
    }

    /// A loss record that was read from the disk does not grow any more.
    pub(super) fn close_loss(&mut self, sequence: u64) {
        self.losses.close(sequence);
    }

    /// The records that can grow, to add to a copy of them.
    pub(super) fn losses(&self) -> &Losses {
        &self.losses
    }

    /// That copy, now that it is on disk.
    pub(super) fn set_losses(&mut self, losses: Losses) {
        self.losses = losses;
    }
}
