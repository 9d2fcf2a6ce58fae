//! Reading: what memory has, and what only the disk has.

use std::sync::Arc;
use std::time::Duration;

use tracing::error;

use crate::model::{Message, MessageKind, Moment};
use crate::spool::keeper::{HANDED_LIMIT, Keeper, stored};
use crate::spool::record::Unsound;
use crate::spool::rows::body_len;
use crate::spool::salvage;
use crate::spool::store::READ_BYTES;
use crate::spool::window::Entry;
use crate::spool::{ReadError, Sequence, Stored};

impl Keeper {
    /// Messages from `from` on that are offered and not acknowledged.
    pub(in crate::spool) fn read(
        &mut self,
        from: Sequence,
        limit: usize,
        now: Moment,
    ) -> Result<Vec<Stored>, ReadError> {
        if self.fault.is_none() && self.recovery.as_ref().is_some_and(|recovery| recovery.hides(from)) {
            return Err(ReadError::Disk);
        }
        let (mut found, horizon) = self.read_disk(from.0, limit, now)?;
        let offered = self.offered.min(horizon);
        let in_memory = self.window.from(from.0).take_while(|(sequence, _)| *sequence < offered).take(limit);
        found.extend(in_memory.map(|(sequence, entry)| stored(sequence, Arc::clone(&entry.message))));
        found.sort_unstable_by_key(|stored| stored.sequence);
        found.truncate(limit);
        let mut bytes = 0;
        let fits = |stored: &Stored| {
            bytes += stored.message.body.len();
            bytes <= READ_BYTES
        };
        let count = found.iter().map(fits).take_while(|fits| *fits).count();
        found.truncate(count.max(1));
        self.hand(&found);
        Ok(found)
    }

    fn hand(&mut self, found: &[Stored]) {
        for stored in found {
            if stored.message.key.kind == MessageKind::Loss {
                self.losses.close(stored.sequence.0);
            }
            if self.handed.len() < HANDED_LIMIT {
                self.handed.insert(stored.sequence.0);
            }
        }
    }

    /// See [`crate::spool::Spool::first_since`]. What cannot be read counts as old.
    pub(in crate::spool) fn first_since(&mut self, boot: Duration, now: Moment) -> Sequence {
        let is_new = |(sequence, entry): &(u64, &Entry)| *sequence >= self.first && entry.message.taken_at.boot >= boot;
        let newest = self.window.from(0).rev().take_while(is_new).last().map(|(sequence, _)| sequence);
        let first = newest.unwrap_or(self.offered);
        // Older ones in memory, or none on the disk alone.
        if self.window.oldest().is_some_and(|(oldest, _)| oldest < first) || self.evicted_below <= self.first {
            return Sequence(first);
        }
        match self.store.first_since(self.first, first.min(self.evicted_below), boot) {
            Ok(row) => Sequence(row.unwrap_or(first)),
            Err(error) => {
                self.failed(&error, now);
                Sequence(first)
            }
        }
    }

    /// What only the disk has, and up to where that is the whole truth.
    fn read_disk(&mut self, from: u64, limit: usize, now: Moment) -> Result<(Vec<Stored>, u64), ReadError> {
        let mut from = from;
        while from < self.evicted_below {
            let wanted = |sequence| !self.acked.contains(&sequence) && self.window.get(sequence).is_none();
            let rows = match self.store.read(from, self.evicted_below, limit, wanted) {
                Ok(rows) => rows,
                Err(error) => {
                    self.failed(&error, now);
                    return Err(ReadError::Disk);
                }
            };
            let Some(&(last, _)) = rows.last() else { break };
            let is_cut = rows.len() >= limit || rows.iter().map(|(_, row)| body_len(row)).sum::<usize>() >= READ_BYTES;
            let sound = |(sequence, row)| self.sound(sequence, row, now);
            let found: Vec<Stored> = rows.into_iter().filter_map(sound).collect();
            if !found.is_empty() {
                return Ok((found, if is_cut { last + 1 } else { u64::MAX }));
            }
            from = last + 1;
        }
        Ok((Vec::new(), u64::MAX))
    }

    /// A row that is not as it was written never will be: it is deleted, and told as far as its name is sound.
    fn sound(&mut self, sequence: u64, row: Result<Message, Unsound>, now: Moment) -> Option<Stored> {
        match row {
            Ok(message) => Some(stored(sequence, Arc::new(message))),
            Err(Unsound { reading }) => {
                error!(sequence, ?reading, "A stored message is damaged; dropped.");
                self.dropped += 1;
                self.acked.insert(sequence);
                if let Some(name) = reading {
                    self.keep_loss(salvage::loss_of_row(name), now);
                }
                None
            }
        }
    }
}
