//! Writing: one transaction at a time, and what follows when it fails.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use crate::cache::{Entry, State};
use crate::codes::{Meaning, meaning};
use crate::core::{Core, FULL, Fault, FaultKind, loss_of};
use crate::losses::Losses;
use crate::overflow;
use crate::record;
use crate::store::Victim;
use fieldgate_model::{Message, Moment};

/// First and longest wait before a failed commit is tried again: a disk that is back is in use within five seconds, the
/// attempt included.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));

/// How long messages wait in memory for which the disk has no space, and which the broker may have already.
const POSTPONED: Duration = Duration::from_secs(1);

impl Core {
    /// Writes everything that waits.
    pub(super) fn save(&mut self, now: Moment) {
        if !self.has_file(now) {
            return;
        }
        self.fit_the_disk(now);
        loop {
            match self.save_batch(now) {
                Ok(true) => {}
                Ok(false) => return self.succeeded(now),
                Err(error) => return self.failed(&error, now),
            }
        }
    }

    /// When the start itself must be recorded, even if nothing else is due.
    pub(super) fn run_due(&self) -> Option<Duration> {
        (!self.run_recorded && self.fault.is_none()).then_some(self.not_before)
    }

    /// Records the start and nothing else, which also shows that the disk can be written. The first messages are left out:
    /// most of them are acknowledged before they have to be written, and would have to be deleted again.
    pub(super) fn save_run(&mut self, now: Moment) {
        self.fit_the_disk(now);
        match self.save_run_only() {
            Ok(()) => self.store.keep_reserve(self.limits),
            Err(error) => self.failed(&error, now),
        }
    }

    fn save_run_only(&mut self) -> rusqlite::Result<()> {
        let batch = self.store.begin()?;
        batch.put_run(self.first, self.run)?;
        batch.commit()?;
        self.run_recorded = true;
        Ok(())
    }

    /// One transaction; says whether another is wanted.
    fn save_batch(&mut self, now: Moment) -> rusqlite::Result<bool> {
        let deleted: Vec<u64> = self.acked.iter().copied().take(self.limits.deletions()).collect();
        let is_full = self.fault.as_ref().is_some_and(|fault| fault.kind == FaultKind::Full) && !deleted.is_empty();
        let mut chosen = if is_full { Vec::new() } else { self.choose_batch() };
        let counts: Vec<_> = self.counts.unsaved().filter(|_| !is_full).map(|(name, n)| (name.clone(), n)).collect();
        let ids = if is_full { Vec::new() } else { self.ids.unsaved(self.limits.batch) };
        let is_proof_wanted = self.fault.is_some() || !self.run_recorded;
        if deleted.is_empty() && chosen.is_empty() && counts.is_empty() && ids.is_empty() && !is_proof_wanted {
            return Ok(false);
        }
        let mut batch = self.store.begin()?;
        if is_proof_wanted {
            batch.put_run(self.first, self.run)?;
        }
        batch.delete(deleted.iter().copied())?;
        batch.put_counts(&counts)?;
        if !ids.is_empty() {
            batch.put_commands(&ids, self.ids.oldest(), self.ids.unsound())?;
        }
        let spared = |sequence| self.handed.contains(sequence) || self.acked.contains(&sequence);
        let rule = self.settings.when_full;
        let victims = overflow::make_space(&mut batch, &mut chosen, rule, self.limits.capacity, &spared)?;
        let (losses, next, records) = loss_records(&self.losses, self.next, &victims, now);
        let unchanged = chosen.iter().filter(|(sequence, _)| !records.contains_key(sequence));
        batch.put(unchanged.map(|(sequence, entry)| (*sequence, &*entry.message)))?;
        batch.put(records.iter().map(|(sequence, message)| (*sequence, message)))?;
        batch.commit()?;
        let is_progress = !(chosen.is_empty() && victims.is_empty() && deleted.is_empty() && ids.is_empty());
        self.run_recorded = true;
        (self.losses, self.next) = (losses, next);
        self.counts.mark_saved(&counts);
        self.ids.mark_saved(&ids, now.boot);
        chosen.iter().for_each(|(sequence, _)| self.cache.mark_saved(*sequence));
        victims.iter().for_each(|victim| self.forget(victim.sequence));
        for (sequence, message) in records {
            self.cache.put(sequence, Arc::new(message), State::Saved, now.boot);
        }
        deleted.iter().for_each(|sequence| {
            self.acked.remove(sequence);
        });
        self.evict();
        Ok(is_progress)
    }

    fn choose_batch(&self) -> Vec<(u64, Entry)> {
        let mut bytes = 0;
        let fits = |(_, entry): &(u64, &Entry)| {
            let is_first = bytes == 0;
            bytes += record::cost(&entry.message);
            is_first || bytes <= self.limits.batch
        };
        self.cache.unsaved().take_while(fits).map(|(sequence, entry)| (sequence, entry.clone())).collect()
    }

    fn succeeded(&mut self, now: Moment) {
        if self.fault.take().is_some() {
            info!("The spool can be written again.");
        }
        self.store.keep_reserve(self.limits);
        self.acked_since = None;
        self.not_before = if self.cache.waiting_since().is_some() { now.boot + POSTPONED } else { Duration::ZERO };
        if self.store.rows() == self.cache.rows() {
            self.evicted_below = 0;
        }
        let tidied = self.store.shrink().and_then(|()| self.store.oldest(|_| true));
        match tidied {
            Ok(oldest) => self.oldest_row = oldest,
            Err(error) => self.failed(&error, now),
        }
    }

    pub(super) fn failed(&mut self, error: &rusqlite::Error, now: Moment) {
        let kind = match meaning(error) {
            Meaning::Damaged => return self.damaged(error.to_string(), now),
            Meaning::Full => FaultKind::Full,
            Meaning::Locked | Meaning::Passing => FaultKind::Failing,
        };
        if kind == FaultKind::Full {
            self.store.use_reserve();
            if !self.is_of_use() {
                return self.discard(now);
            }
        }
        self.fault(kind, format!("the spool cannot be written: {error}"), now);
    }

    /// Whether the file holds anything that is still needed: unacknowledged messages, counts or command ids. The rows themselves
    /// are checked, because sequences that were acknowledged in an earlier era name other rows now.
    fn is_of_use(&self) -> bool {
        let has_more = !self.counts.is_empty() || !self.ids.is_empty();
        has_more
            || self.store.rows() == 0
            || !matches!(self.store.oldest(|sequence| !self.acked.contains(&sequence)), Ok(None))
    }

    /// Records what is wrong, and when to try again; the wait doubles each time.
    pub(super) fn fault(&mut self, kind: FaultKind, words: String, now: Moment) {
        let delay = self.fault.as_ref().map_or(RETRY.0, |fault| (fault.delay * 2).min(RETRY.1));
        if self.fault.as_ref().is_none_or(|fault| fault.words != words) {
            warn!(error = words, "The spool cannot use its disk; messages stay in memory, and writing is tried again.");
        }
        self.fault = Some(Fault { kind, words, delay });
        self.not_before = now.boot + delay;
    }
}

/// The loss records that `victims` make, without touching those that are: the commit may fail.
fn loss_records(losses: &Losses, next: u64, victims: &[Victim], now: Moment) -> (Losses, u64, BTreeMap<u64, Message>) {
    let (mut losses, mut next, mut records) = (losses.clone(), next, BTreeMap::new());
    for loss in victims.iter().filter_map(|victim| loss_of(victim, FULL)) {
        let (sequence, loss) = losses.add(loss, &mut next);
        records.insert(sequence, record::of_loss(&loss, now));
    }
    (losses, next, records)
}
