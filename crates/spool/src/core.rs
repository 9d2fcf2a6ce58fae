//! Joins memory and disk: what is written when, what is read from where, and what happens when either is full.
//!
//! It has no clock and no thread of its own: each call says what time it is, and [`Core::due`] says when it wants to be
//! called next. Three things can be thought of alone, each a type that alone writes its fields: `disk.rs` is the file and its
//! faults, `sequences.rs` the sequences and eras, `delivery.rs` what became of messages. What joins them are the methods of [`Core`]:
//! `examining.rs` goes on without a file that is being examined; `reading.rs` reads from memory and disk; `saving.rs` writes and
//! handles failed writes; `persistent.rs` keeps what outlives the messages; `recovery.rs` opens the file again and reads a damaged one.

mod delivery;
mod disk;
mod examining;
mod persistent;
mod reading;
mod recovery;
mod saving;
mod sequences;

use std::sync::Arc;
use std::time::Duration;

use tracing::field::display;
use tracing::{error, warn};

use crate::announced::PersistedAnnouncements;
use crate::cache::{Cache, LIMIT_BYTES, State};
use crate::counts::Counts;
use crate::ids::Ids;
use crate::opening::OpenError;
use crate::overflow;
use crate::record::{self, ReadingName};
use crate::rows::Victim;
use crate::values::Values;
use crate::{Sequence, Settings, SpoolError, Stats, Stored, WhenFull};
#[cfg(any(test, feature = "testing"))]
use fieldgate_model::Name;
use fieldgate_model::{Key, Loss, Message, MessageKind, Moment, Qos, RunId};

use delivery::Delivery;
use disk::Disk;
use recovery::Recovery;
use sequences::Sequences;

/// How long deletions wait at least, so that many share one transaction: nothing is lost by a late one.
const DELETE_EVERY: Duration = Duration::from_secs(1);

/// The part of the capacity for messages that the ids of commands may take: one in so many.
const IDS_SHARE: u64 = 4;

/// The part of it that announcements may take: one in so many.
const ANNOUNCED_SHARE: u64 = 8;

const FULL: &str = "spool full";
const FAILING: &str = "spool full: the disk cannot be written";
const TOO_LARGE: &str = "larger than the spool can keep";

/// Decides what is written when, what is read from where, and what is dropped when memory or disk is full.
#[derive(Debug)]
pub(super) struct Core {
    settings: Settings,
    disk: Disk,
    sequences: Sequences,
    delivery: Delivery,
    cache: Cache,
    counts: Counts,
    values: Values,
    ids: Ids,
    announced: PersistedAnnouncements,
    /// What health reports about this start, such as a damaged file.
    notice: Option<String>,
    /// What a damaged file still has.
    recovery: Option<Recovery>,
}

impl Core {
    /// Opens the spool; messages of earlier runs are readable at once. A disk that cannot be used now is no error: the spool
    /// then begins in memory, and opens the file when it can.
    pub(super) fn open(settings: Settings, run: RunId, now: Moment) -> Result<Self, SpoolError> {
        let mut core = Self::without_file(settings, run).map_err(SpoolError::Memory)?;
        let opened = match core.disk.open_first(core.settings.max_size) {
            Err(OpenError::Refused(error)) => return Err(error),
            opened => opened,
        };
        match opened.map(|opened| core.adopt(opened)) {
            // Whether the disk can be written is found by the first tick, so that the start does not wait for a sync.
            Ok(Ok(())) => {}
            Ok(Err(error)) => core.failed(&error, now),
            Err(error) => core.not_opened(error, now),
        }
        Ok(core)
    }

    /// One that has no file yet.
    pub(super) fn without_file(settings: Settings, run: RunId) -> rusqlite::Result<Self> {
        let disk = Disk::without_file(settings.path.clone(), settings.max_size)?;
        Ok(Self {
            ids: Ids::new(disk.limits().capacity / IDS_SHARE),
            announced: PersistedAnnouncements::new(disk.limits().capacity / ANNOUNCED_SHARE),
            settings,
            disk,
            sequences: Sequences::new(run),
            delivery: Delivery::new(),
            cache: Cache::default(),
            counts: Counts::default(),
            values: Values::default(),
            notice: None,
            recovery: None,
        })
    }

    /// Takes a message in; it is readable after the next [`Core::tick`].
    pub(super) fn append(&mut self, message: Message, now: Moment) {
        if self.is_too_large(&message) {
            self.await_examination(now);
            self.recompute_capacity(now);
            if self.is_too_large(&message) {
                return self.refuse(message, now);
            }
        }
        self.cache.append(self.sequences.take(), message, now.boot);
        self.delivery.drop_some(self.cache.drop_surplus());
        if self.settings.commit_every.is_zero() {
            self.disk.hurry();
        }
        self.free_memory(now);
    }

    fn is_too_large(&self, message: &Message) -> bool {
        record::cost(message) > (self.disk.limits().capacity / 2).min(LIMIT_BYTES as u64 / 4)
    }

    fn refuse(&mut self, message: Message, now: Moment) {
        let Message { key: Key { kind, source }, run, seq, qos, body, .. } = message;
        let is_reading = kind == MessageKind::Reading;
        let (sensor, other) = (is_reading.then(|| display(&source)), (!is_reading).then(|| display(&source)));
        warn!(sensor, source = other, bytes = body.len(), "A message is larger than the spool can keep; dropped.");
        let is_reported = is_reading && qos != Qos::AtMostOnce;
        self.delivery.drop_some(1);
        self.report_dropped(
            &[Victim { sequence: 0, reading: is_reported.then_some((source, run, seq)) }],
            TOO_LARGE,
            now,
        );
    }

    /// Reports readings that were lost elsewhere.
    pub(super) fn report_loss(&mut self, loss: Loss, now: Moment) {
        self.delivery.drop_some(loss.count);
        self.keep_loss(loss, now);
        self.free_memory(now);
    }

    /// Merges a loss into its record, in memory.
    fn keep_loss(&mut self, loss: Loss, now: Moment) {
        let before = self.sequences.next();
        let mut next = before;
        let (sequence, loss) = self.delivery.add_loss(loss, &mut next);
        self.sequences.set_next(next);
        let state = match self.cache.get(sequence) {
            None if sequence == before => State::Unsaved,
            Some(entry) if entry.state == State::Unsaved => State::Unsaved,
            _ => State::Outdated,
        };
        self.cache.put(sequence, Arc::new(record::of_loss(&loss, now)), state, now.boot);
    }

    fn report_dropped(&mut self, victims: &[Victim], reason: &str, now: Moment) {
        let lost = victims.iter().filter(|victim| victim.reading.is_some()).count();
        self.delivery.log_lost(lost as u64, reason, now.boot);
        for loss in victims.iter().filter_map(|victim| loss_of(victim, reason)) {
            self.keep_loss(loss, now);
        }
    }

    /// Forgets messages that the broker has.
    pub(super) fn acknowledge(&mut self, sequences: &[Sequence], now: Moment) {
        for &Sequence(sequence) in sequences {
            let entry = self.cache.remove(sequence);
            let is_in_memory = entry.is_some();
            self.delivery.settle(sequence, entry.as_ref().map(|entry| entry.message.key.kind));
            let may_have_row = match entry {
                Some(entry) => matches!(entry.state, State::Saved | State::Outdated),
                None => sequence < self.sequences.evicted_below(),
            };
            if may_have_row {
                self.delivery.delete_settled(sequence, now.boot);
            }
            if let Some(recovery) = &mut self.recovery {
                recovery.settle(sequence, is_in_memory);
            }
        }
    }

    /// When the next [`Core::tick`] is wanted, on the clock of [`Moment::boot`].
    pub(super) fn due(&self) -> Option<Duration> {
        [self.all_due(), self.run_due(), self.ids_due()].into_iter().flatten().min()
    }

    /// When everything that waits is to be written.
    fn all_due(&self) -> Option<Duration> {
        if self.disk.is_faulty() || self.recovery.is_some() {
            return Some(self.disk.not_before());
        }
        let write = self.cache.waiting_since().map(|since| since + self.settings.commit_every);
        let delete = self.delivery.to_delete_since().map(|since| {
            let is_many = self.delivery.to_delete_count() >= self.disk.limits().deletions();
            if is_many { Duration::ZERO } else { since + self.settings.commit_every.max(DELETE_EVERY) }
        });
        let is_kept =
            self.counts.unsaved().next().is_none() && !self.values.has_unsaved() && !self.announced.has_unsaved();
        let keep = (!is_kept).then_some(Duration::ZERO);
        let earliest = [write, delete, keep].into_iter().flatten().min()?;
        Some(earliest.max(self.disk.not_before()))
    }

    /// Writes what is due, then makes everything readable.
    pub(super) fn tick(&mut self, now: Moment) {
        let is_over = |due: Option<Duration>| due.is_some_and(|due| due <= now.boot);
        if is_over(self.all_due()) {
            self.recover_some(now);
            self.save(now);
        } else {
            if is_over(self.run_due()) {
                self.save_run(now);
            }
            if is_over(self.ids_due()) {
                self.save_ids(now);
            }
        }
        if !(self.disk.is_examined_now() && self.must_save_first()) {
            self.sequences.offer_all();
        }
    }

    /// Keeps memory within its limit: what the disk has goes first.
    fn free_memory(&mut self, now: Moment) {
        self.evict();
        if self.cache.is_over() {
            self.await_examination(now);
        }
        if self.cache.is_over() && (self.disk.not_before() <= now.boot || self.has_more_space(now)) {
            self.save(now);
        }
        if self.cache.is_over() {
            self.delivery.drop_some(self.cache.drop_fleeting_beyond_limit());
        }
        while self.cache.is_over() && self.drop_from_memory(now) {}
    }

    fn evict(&mut self) {
        self.sequences.evicted(self.cache.evict().unwrap_or(0));
    }

    /// Computes again how much may be kept, before something is written or given up.
    fn recompute_capacity(&mut self, now: Moment) {
        let fitted = self.disk.fit(self.settings.max_size, now.boot);
        self.ids.limit(self.disk.limits().capacity / IDS_SHARE);
        self.announced.limit(self.disk.limits().capacity / ANNOUNCED_SHARE);
        if let Err(error) = fitted {
            self.failed(&error, now);
        }
    }

    /// Whether the disk has more free space than at the last write, while messages wait for that alone.
    fn has_more_space(&mut self, now: Moment) -> bool {
        let before = self.disk.limits().capacity;
        self.recompute_capacity(now);
        !self.disk.is_faulty() && self.disk.limits().capacity > before
    }

    /// Drops messages from memory while the disk cannot take them; returns whether any were dropped. It drops a little more than
    /// it must, so that it does not run for each message.
    fn drop_from_memory(&mut self, now: Moment) -> bool {
        let bytes = if self.settings.when_full == WhenFull::DropOldest { LIMIT_BYTES as u64 / 64 } else { 1 };
        let unsaved = || self.cache.unsaved().filter(|(_, entry)| entry.state == State::Unsaved);
        let read_by_link = |sequence| self.delivery.may_be_delivered(sequence);
        let when_full = self.settings.when_full;
        let mut victims =
            overflow::choose(unsaved().filter(|(_, e)| overflow::is_reading(e)), when_full, bytes, &read_by_link);
        if victims.is_empty() {
            victims = overflow::choose(
                unsaved().filter(|(_, e)| e.message.key.kind != MessageKind::Loss),
                when_full,
                bytes,
                &|_| false,
            );
        }
        for victim in &victims {
            self.forget(victim.sequence);
        }
        let reason = if self.disk.is_faulty() { FAILING } else { FULL };
        self.report_dropped(&victims, reason, now);
        !victims.is_empty()
    }

    fn forget(&mut self, sequence: u64) {
        self.cache.remove(sequence);
        self.delivery.drop_one(sequence);
    }

    /// Takes new settings over, but for the path.
    pub(super) fn reconfigure(&mut self, settings: Settings, now: Moment) {
        self.await_examination(now);
        self.settings = Settings { path: std::mem::take(&mut self.settings.path), ..settings };
        self.recompute_capacity(now);
    }

    /// One past the newest message that is readable.
    pub(super) fn head(&self) -> Sequence {
        Sequence(self.sequences.readable_end())
    }

    /// Grows when messages have appeared in front of what was read: read again from the beginning.
    pub(super) fn era(&self) -> u64 {
        self.sequences.era()
    }

    /// Status of the spool.
    pub(super) fn stats(&self) -> Stats {
        let row = self.disk.oldest_row().filter(|(sequence, _)| !self.delivery.is_settled(*sequence));
        let entry = self.cache.oldest().map(|(sequence, entry)| (sequence, Some(entry.message.taken_at.wall)));
        let oldest = [row, entry].into_iter().flatten().min_by_key(|(sequence, _)| *sequence);
        let rows = self.disk.store().rows();
        Stats {
            queued: rows.saturating_sub(self.delivery.to_delete_count() as u64) + self.cache.without_row(),
            bytes: self.disk.store().used(),
            oldest: oldest.and_then(|(_, wall)| wall),
            dropped: self.delivery.dropped(),
            error: self.disk.fault_words().map(str::to_owned).or_else(|| self.notice.clone()),
        }
    }

    /// Makes the disk full, or not.
    #[cfg(test)]
    pub(super) fn fill_disk(&mut self, is_full: bool) {
        assert!(!self.disk.is_examined_now(), "the file is not here");
        self.disk.store().fill(is_full);
    }

    /// Writes all there is, forgets it in memory, and changes these readings on the disk.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn damage(&mut self, readings: &[(Name, u64)], now: Moment) {
        self.save(now);
        self.sequences.evicted(self.cache.evict_all().unwrap_or(0));
        readings.iter().for_each(|(sensor, n)| self.disk.store().damage(sensor, *n));
    }

    /// Whether something that should be on disk by now is not.
    #[cfg(test)]
    pub(super) fn has_overdue(&self, now: Moment) -> bool {
        self.cache.waiting_since().is_some_and(|since| since + self.settings.commit_every <= now.boot)
    }

    /// Sequences that count as read by the link although their messages are gone.
    #[cfg(test)]
    pub(super) fn strays(&self) -> Vec<u64> {
        let is_here = |sequence| {
            // What is with its examiner cannot be asked.
            let may_be_on_disk = self.disk.is_examined_now() && sequence < self.sequences.first();
            may_be_on_disk || self.cache.get(sequence).is_some() || self.disk.store().has(sequence).unwrap()
        };
        self.delivery.read_by_link().filter(|sequence| !is_here(*sequence)).collect()
    }

    /// Bytes of messages in memory.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.cache.weight()
    }

    /// Writes what is left and closes the file.
    pub(super) fn close(mut self, now: Moment) {
        self.save(now);
        let unsaved = self.cache.unsaved().count();
        if unsaved > 0 {
            error!(messages = unsaved, "The spool could not be written at the end; these messages are lost.");
        }
        if let Err(error) = self.disk.close() {
            warn!(error = %error, "The spool's log could not be applied; the next start does it.");
        }
    }
}

fn stored(sequence: u64, message: Arc<Message>) -> Stored {
    Stored { sequence: Sequence(sequence), message }
}

fn loss_of(victim: &Victim, reason: &str) -> Option<Loss> {
    let (sensor, run, n): ReadingName = victim.reading.clone()?;
    Some(Loss { sensor, run, from_seq: n, to_seq: n, count: 1, reason: reason.into() })
}
