//! Reading: what memory has, and what only the disk has.

use std::sync::Arc;
use std::time::Duration;

use tracing::error;

use crate::cache::Entry;
use crate::core::{Core, stored};
use crate::holes;
use crate::record::Unsound;
use crate::store::{READ_BYTES, Rows};
use crate::{Batch, ReadError, Sequence, Stored};
use fieldgate_model::{Loss, Message, MessageKind, Moment, Qos};

impl Core {
    /// Messages from `from` on that are readable and not acknowledged.
    pub(crate) fn read(&mut self, from: Sequence, limit: usize, now: Moment) -> Result<Batch, ReadError> {
        let is_hidden = self.recovery.as_ref().is_some_and(|recovery| recovery.hides(from)) && !self.disk.is_faulty();
        let is_away = self.disk.is_examined_now() && from.0 < self.sequences.first();
        if is_hidden || is_away {
            return Err(ReadError::Disk);
        }
        let (mut messages, horizon) = self.read_disk(from.0, limit, now)?;
        let end = self.sequences.readable_end().min(horizon);
        // One more than `limit`, so that it is known where the next read begins.
        let in_memory =
            self.cache.from(from.0).take_while(|(sequence, _)| *sequence < end).take(limit.saturating_add(1));
        messages.extend(in_memory.map(|(sequence, entry)| stored(sequence, Arc::clone(&entry.message))));
        messages.sort_unstable_by_key(|stored| stored.sequence);
        let mut bytes = 0;
        let fits = |stored: &&Stored| {
            bytes += stored.message.body.len();
            bytes <= READ_BYTES
        };
        let count = messages.iter().take(limit).take_while(fits).count().max(1);
        let next = messages.get(count).map_or(Sequence(end), |left_out| left_out.sequence).max(from);
        messages.truncate(count);
        self.delivery.mark_read(&messages);
        Ok(Batch { messages, next })
    }

    /// Gives a message up that will never arrive: a reading is reported as lost. One that is gone already was reported then.
    pub(crate) fn give_up(&mut self, sequence: Sequence, reason: &str, now: Moment) {
        let in_memory = self.cache.get(sequence.0).map(|entry| Arc::clone(&entry.message));
        let on_disk = || {
            let (found, _) = self.read_disk(sequence.0, 1, now).ok()?;
            found.into_iter().find(|stored| stored.sequence == sequence).map(|stored| stored.message)
        };
        let Some(message) = in_memory.or_else(on_disk) else { return };
        if message.key.kind == MessageKind::Reading && message.qos != Qos::AtMostOnce {
            let (sensor, n) = (message.key.source.clone(), message.seq);
            let loss = Loss { sensor, run: message.run, from_seq: n, to_seq: n, count: 1, reason: reason.into() };
            self.report_loss(loss, now);
        }
        // After the loss record, so that a crash between both reports too much rather than too little.
        self.acknowledge(&[sequence], now);
    }

    /// The link has read these and not sent them: they may be dropped like any other.
    pub(crate) fn pass_over(&mut self, sequences: &[Sequence]) {
        self.delivery.pass_over(sequences);
    }

    /// A connection begins; returns the first of the newest messages of this start that were all taken at `boot` or later. What cannot
    /// be read counts as old.
    pub(crate) fn first_since(&mut self, boot: Duration, now: Moment) -> Sequence {
        self.delivery.begin_connection();
        let (started, evicted_below) = (self.sequences.first(), self.sequences.evicted_below());
        let is_new = |(sequence, entry): &(u64, &Entry)| *sequence >= started && entry.message.taken_at.boot >= boot;
        let newest = self.cache.from(0).rev().take_while(is_new).last().map(|(sequence, _)| sequence);
        let first = newest.unwrap_or(self.sequences.readable_end());
        // Older ones in memory, or none on the disk alone.
        if self.cache.oldest().is_some_and(|(oldest, _)| oldest < first) || evicted_below <= started {
            return Sequence(first);
        }
        match self.disk.store().first_since(started, first.min(evicted_below), boot) {
            Ok(row) => Sequence(row.unwrap_or(first)),
            Err(error) => {
                self.failed(&error, now);
                Sequence(first)
            }
        }
    }

    /// Offered messages that are on disk alone, and the sequence up to which none is missing.
    fn read_disk(&mut self, from: u64, limit: usize, now: Moment) -> Result<(Vec<Stored>, u64), ReadError> {
        // A burst may be on the disk, and gone from memory, before it is readable: rows from there on would hide what memory has
        // between them.
        let to = self.sequences.evicted_below().min(self.sequences.readable_end());
        if from >= to {
            return Ok((Vec::new(), u64::MAX));
        }
        let wanted = |sequence| !self.delivery.is_settled(sequence) && self.cache.get(sequence).is_none();
        let Rows { found, next } = match self.disk.store().read(from, to, limit, wanted) {
            Ok(rows) => rows,
            Err(error) => {
                self.failed(&error, now);
                return Err(ReadError::Disk);
            }
        };
        // Those below are added to records, and one of these that grew now would be read here as it was before.
        let is_loss =
            |row: &Result<Message, Unsound>| row.as_ref().is_ok_and(|message| message.key.kind == MessageKind::Loss);
        found.iter().filter(|(_, row)| is_loss(row)).for_each(|(sequence, _)| self.delivery.close_loss(*sequence));
        let mut sound = Vec::with_capacity(found.len());
        for (sequence, row) in found {
            match row {
                Ok(message) => sound.push(stored(sequence, Arc::new(message))),
                Err(unsound) => self.drop_unsound(sequence, unsound, now),
            }
        }
        Ok((sound, next.unwrap_or(u64::MAX)))
    }

    /// A damaged row stays damaged: it is deleted, and reported as lost if its name can still be read.
    fn drop_unsound(&mut self, sequence: u64, Unsound { reading, .. }: Unsound, now: Moment) {
        error!(sequence, ?reading, "A stored message is damaged; dropped.");
        self.delivery.drop_one(sequence);
        self.delivery.delete_row(sequence, now.boot);
        if let Some(name) = reading {
            self.keep_loss(holes::loss_of_row(name), now);
        }
    }
}
