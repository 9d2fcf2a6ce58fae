//! Joins memory and disk: what is written when, what is read from where, and what happens when either is full.
//!
//! It has no clock and no thread of its own: each call says what time it is, and [`Core::due`] says when it wants to be
//! called next. `reading.rs` reads from memory and disk; `saving.rs` writes and handles failed writes; `persistent.rs` keeps what
//! outlives the messages; `limits.rs` computes how much may be kept; `recovery.rs` opens the file again and reads a damaged one.

mod limits;
mod persistent;
mod reading;
mod recovery;
mod saving;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tracing::{error, warn};

use crate::cache::{Cache, LIMIT_BYTES, State};
use crate::counts::Counts;
use crate::file::{self, OpenError};
use crate::handed::Handed;
use crate::ids::Ids;
use crate::losses::Losses;
use crate::overflow;
use crate::record::{self, ReadingName};
use crate::store::{Limits, Store, Victim};
use crate::{Sequence, Settings, SpoolError, Stats, Stored, WhenFull};
#[cfg(any(test, feature = "testing"))]
use fieldgate_model::Name;
use fieldgate_model::{Key, Loss, Message, MessageKind, Moment, Qos, RunId};

use recovery::Recovery;

/// How many messages that the link has read but not settled are remembered: many times what its window and lanes hold.
const HANDED_LIMIT: usize = 4096;

/// At a start, so many of the oldest messages count as read by the link of the run before: as many as it can have had in flight.
const HANDED_BEFORE: usize = 64;

/// Acknowledged rows that could not be deleted yet, remembered at most. Beyond it (only while the disk fails) they are
/// sent again after a reconnect.
const ACKED_LIMIT: usize = 65_536;

/// How long deletions wait at least, so that many share one transaction: nothing is lost by a late one.
const DELETE_EVERY: Duration = Duration::from_secs(1);

/// The part of the capacity for messages that the ids of commands may take: one in so many.
const IDS_SHARE: u64 = 4;

/// A spool that stays full is logged at most this often.
const LOG_AGAIN: Duration = Duration::from_secs(60);

const FULL: &str = "spool full";
const FAILING: &str = "spool full: the disk cannot be written";
const TOO_LARGE: &str = "larger than the spool can keep";

/// What is wrong with the disk now.
#[derive(Debug)]
struct Fault {
    kind: FaultKind,
    words: String,
    /// Between two attempts.
    delay: Duration,
}

/// What must be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FaultKind {
    /// Write again.
    Failing,
    /// Delete before anything is written: that frees space.
    Full,
    /// Set the damaged file aside first.
    Damaged,
    /// Open the file first: there is none.
    Unopened,
}

/// Decides what is written when, what is read from where, and what is dropped when memory or disk is full.
#[derive(Debug)]
pub(super) struct Core {
    settings: Settings,
    limits: Limits,
    /// Whether the disk has less than `max_size`, and when the log last said so or the contrary.
    is_short: bool,
    short_logged: Option<Duration>,
    run: RunId,
    store: Store,
    cache: Cache,
    losses: Losses,
    counts: Counts,
    ids: Ids,
    /// The first sequence of this start.
    first: u64,
    run_recorded: bool,
    next: u64,
    offered: u64,
    /// Rows with a lower sequence may be on disk alone: the cache has dropped them.
    evicted_below: u64,
    /// Acknowledged, but still on disk.
    acked: BTreeSet<u64>,
    acked_since: Option<Duration>,
    /// Read by the link and not acknowledged.
    handed: Handed,
    oldest_row: Option<(u64, Option<SystemTime>)>,
    dropped: u64,
    /// Lost readings that are not logged yet, and when the last ones were.
    unlogged: u64,
    logged: Option<Duration>,
    fault: Option<Fault>,
    /// What health reports about this start, such as a damaged file.
    notice: Option<String>,
    /// What a damaged file still has.
    recovery: Option<Recovery>,
    /// Grows when messages have appeared in front of what was read.
    era: u64,
    /// No commit before this.
    not_before: Duration,
}

impl Core {
    /// Opens the spool; messages of earlier runs are offered at once. A disk that cannot be used now is no error: the spool
    /// then begins in memory, and opens the file when it can.
    pub(super) fn open(settings: Settings, run: RunId, now: Moment) -> Result<Self, SpoolError> {
        let available = file::available_bytes(&settings.path);
        let opened = match file::open(&settings.path, Limits::within(settings.max_size, available, 0)) {
            Err(OpenError::Refused(error)) => return Err(error),
            opened => opened,
        };
        let mut core = Self { run, ..Self::nowhere(settings).map_err(SpoolError::Memory)? };
        match opened.map(|opened| core.adopt(opened)) {
            // Whether the disk can be written is found by the first tick, so that the start does not wait for a sync.
            Ok(Ok(())) => {}
            Ok(Err(error)) => core.failed(&error, now),
            Err(error) => core.not_opened(error, now),
        }
        Ok(core)
    }

    /// One that has no file yet.
    pub(super) fn nowhere(settings: Settings) -> rusqlite::Result<Self> {
        let limits = Limits::of(settings.max_size);
        Ok(Self {
            limits,
            is_short: false,
            short_logged: None,
            run: RunId(0),
            store: Store::nowhere(&settings.path)?,
            settings,
            cache: Cache::default(),
            losses: Losses::default(),
            counts: Counts::default(),
            ids: Ids::new(limits.capacity / IDS_SHARE),
            first: 1,
            run_recorded: false,
            next: 1,
            offered: 1,
            evicted_below: 1,
            acked: BTreeSet::new(),
            acked_since: None,
            handed: Handed::new(HANDED_LIMIT),
            oldest_row: None,
            dropped: 0,
            unlogged: 0,
            logged: None,
            fault: None,
            notice: None,
            recovery: None,
            era: 0,
            not_before: Duration::ZERO,
        })
    }

    /// Looks through a file for which the start was not to wait. Damage that this finds is treated like damage found in use.
    pub(super) fn examine(&mut self, now: Moment) {
        match self.store.examine() {
            Ok(true) => {}
            Ok(false) => self.damaged("its structure is broken".into(), now),
            Err(error) => self.failed(&error, now),
        }
    }

    /// Takes a message in; it is offered by the next [`Core::tick`].
    pub(super) fn append(&mut self, message: Message, now: Moment) {
        if self.is_too_large(&message) {
            self.fit_the_disk(now);
            if self.is_too_large(&message) {
                return self.refuse(message, now);
            }
        }
        let sequence = self.take_sequence();
        self.cache.append(sequence, message, now.boot);
        self.dropped += self.cache.drop_surplus();
        if self.settings.commit_every.is_zero() && self.fault.is_none() {
            self.not_before = Duration::ZERO;
        }
        self.relieve(now);
    }

    fn is_too_large(&self, message: &Message) -> bool {
        record::cost(message) > (self.limits.capacity / 2).min(LIMIT_BYTES as u64 / 4)
    }

    fn refuse(&mut self, message: Message, now: Moment) {
        let Message { key: Key { kind, source }, run, seq, qos, body, .. } = message;
        warn!(source = %source, bytes = body.len(), "A message is larger than the spool can keep; dropped.");
        let is_reported = kind == MessageKind::Reading && qos != Qos::AtMostOnce;
        self.dropped += 1;
        self.report_dropped(
            &[Victim { sequence: 0, reading: is_reported.then_some((source, run, seq)) }],
            TOO_LARGE,
            now,
        );
    }

    fn take_sequence(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// Reports readings that were lost elsewhere.
    pub(super) fn report_loss(&mut self, loss: Loss, now: Moment) {
        self.dropped = self.dropped.saturating_add(loss.count);
        self.keep_loss(loss, now);
        self.relieve(now);
    }

    /// Merges a loss into its record, in memory.
    fn keep_loss(&mut self, loss: Loss, now: Moment) {
        let before = self.next;
        let (sequence, loss) = self.losses.add(loss, &mut self.next);
        let state = match self.cache.get(sequence) {
            None if sequence == before => State::Unsaved,
            Some(entry) if entry.state == State::Unsaved => State::Unsaved,
            _ => State::Outdated,
        };
        self.cache.put(sequence, Arc::new(record::of_loss(&loss, now)), state, now.boot);
    }

    fn report_dropped(&mut self, victims: &[Victim], reason: &str, now: Moment) {
        let lost = victims.iter().filter(|victim| victim.reading.is_some()).count();
        self.unlogged += lost as u64;
        if lost > 0 && self.logged.is_none_or(|at| now.boot >= at + LOG_AGAIN) {
            error!(readings = self.unlogged, reason, "Readings are lost; each is reported on the loss topic.");
            (self.unlogged, self.logged) = (0, Some(now.boot));
        }
        for loss in victims.iter().filter_map(|victim| loss_of(victim, reason)) {
            self.keep_loss(loss, now);
        }
    }

    /// Forgets messages that the broker has.
    pub(super) fn acknowledge(&mut self, sequences: &[Sequence], now: Moment) {
        for &Sequence(sequence) in sequences {
            self.handed.remove(sequence);
            let may_have_row = match self.cache.remove(sequence) {
                Some(entry) => {
                    if entry.message.key.kind == MessageKind::Loss {
                        self.losses.close(sequence);
                    }
                    matches!(entry.state, State::Saved | State::Outdated)
                }
                None => sequence < self.evicted_below,
            };
            if may_have_row && self.acked.len() < ACKED_LIMIT {
                self.acked.insert(sequence);
                self.acked_since.get_or_insert(now.boot);
            }
            if let Some(recovery) = &mut self.recovery {
                recovery.settle(sequence);
            }
        }
    }

    /// When the next [`Core::tick`] is wanted, on the clock of [`Moment::boot`].
    pub(super) fn due(&self) -> Option<Duration> {
        [self.all_due(), self.run_due(), self.ids_due()].into_iter().flatten().min()
    }

    /// When everything that waits is to be written.
    fn all_due(&self) -> Option<Duration> {
        if self.fault.is_some() || self.recovery.is_some() {
            return Some(self.not_before);
        }
        let write = self.cache.waiting_since().map(|since| since + self.settings.commit_every);
        let delete = self.acked_since.map(|since| {
            let is_many = self.acked.len() >= self.limits.deletions();
            if is_many { Duration::ZERO } else { since + self.settings.commit_every.max(DELETE_EVERY) }
        });
        let keep = self.counts.unsaved().next().map(|_| Duration::ZERO);
        let earliest = [write, delete, keep].into_iter().flatten().min()?;
        Some(earliest.max(self.not_before))
    }

    /// Writes what is due, then offers everything.
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
        self.offered = self.next;
    }

    /// Keeps memory within its limit: what the disk has goes first.
    fn relieve(&mut self, now: Moment) {
        self.evict();
        if self.cache.is_over() && (self.not_before <= now.boot || self.has_more_space(now)) {
            self.save(now);
        }
        if self.cache.is_over() {
            self.dropped += self.cache.drop_fleeting_beyond_limit();
        }
        while self.cache.is_over() && self.drop_from_memory(now) {}
    }

    fn evict(&mut self) {
        self.evicted_below = self.evicted_below.max(self.cache.evict().unwrap_or(0));
    }

    /// Drops messages from memory while the disk cannot take them; returns whether any were dropped. It drops a little more than
    /// it must, so that it does not run for each message.
    fn drop_from_memory(&mut self, now: Moment) -> bool {
        let bytes = if self.settings.when_full == WhenFull::DropOldest { LIMIT_BYTES as u64 / 64 } else { 1 };
        let unsaved = || self.cache.unsaved().filter(|(_, entry)| entry.state == State::Unsaved);
        let handed = |sequence| self.handed.contains(sequence);
        let when_full = self.settings.when_full;
        let mut victims =
            overflow::choose(unsaved().filter(|(_, e)| overflow::is_reading(e)), when_full, bytes, &handed);
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
        let reason = if self.fault.is_some() { FAILING } else { FULL };
        self.report_dropped(&victims, reason, now);
        !victims.is_empty()
    }

    fn forget(&mut self, sequence: u64) {
        self.cache.remove(sequence);
        self.handed.remove(sequence);
        self.dropped += 1;
    }

    /// Takes new settings over, but for the path.
    pub(super) fn reconfigure(&mut self, settings: Settings, now: Moment) {
        self.settings = Settings { path: std::mem::take(&mut self.settings.path), ..settings };
        self.fit_the_disk(now);
    }

    /// One past the newest offered.
    pub(super) fn head(&self) -> Sequence {
        Sequence(self.offered)
    }

    /// Grows when messages have appeared in front of what was read: read again from the beginning.
    pub(super) fn era(&self) -> u64 {
        self.era
    }

    /// Status of the spool.
    pub(super) fn stats(&self) -> Stats {
        let row = self.oldest_row.filter(|(sequence, _)| !self.acked.contains(sequence));
        let entry = self.cache.oldest().map(|(sequence, entry)| (sequence, Some(entry.message.taken_at.wall)));
        let oldest = [row, entry].into_iter().flatten().min_by_key(|(sequence, _)| *sequence);
        Stats {
            queued: self.store.rows().saturating_sub(self.acked.len() as u64) + self.cache.without_row(),
            bytes: self.store.used(),
            oldest: oldest.and_then(|(_, wall)| wall),
            dropped: self.dropped,
            error: self.fault.as_ref().map(|fault| fault.words.clone()).or_else(|| self.notice.clone()),
        }
    }

    /// Makes the disk full, or not.
    #[cfg(test)]
    pub(super) fn fill_disk(&self, is_full: bool) {
        self.store.fill(is_full);
    }

    /// Writes all there is, forgets it in memory, and changes these readings on the disk.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn damage(&mut self, readings: &[(Name, u64)], now: Moment) {
        self.save(now);
        self.evicted_below = self.evicted_below.max(self.cache.evict_all().unwrap_or(0));
        readings.iter().for_each(|(sensor, n)| self.store.damage(sensor, *n));
    }

    /// Whether something that should be on disk by now is not.
    #[cfg(test)]
    pub(super) fn has_overdue(&self, now: Moment) -> bool {
        self.cache.waiting_since().is_some_and(|since| since + self.settings.commit_every <= now.boot)
    }

    /// Sequences that count as read by the link although their messages are gone.
    #[cfg(test)]
    pub(super) fn strays(&self) -> Vec<u64> {
        let is_here = |sequence| self.cache.get(sequence).is_some() || self.store.has(sequence).unwrap();
        self.handed.iter().filter(|sequence| !is_here(*sequence)).collect()
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
        if let Err(error) = self.store.close() {
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
