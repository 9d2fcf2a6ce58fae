//! Writing: one transaction at a time, and what follows when it fails.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tracing::{error, info, warn};

use crate::model::{Message, Moment};
use crate::spool::keeper::{FULL, Fault, Keeper, loss_of, told_aside};
use crate::spool::losses::Losses;
use crate::spool::record;
use crate::spool::room;
use crate::spool::store::{self, Victim};
use crate::spool::window::{Entry, State};

/// First and longest wait before a failed commit is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How long messages wait in memory that have no room on disk and may be with the broker.
const POSTPONED: Duration = Duration::from_secs(1);

impl Keeper {
    /// Writes everything that waits.
    pub(super) fn save(&mut self, now: Moment) {
        if let Some(fault) = self.fault.take_if(|fault| fault.is_damage) {
            return self.begin_anew(&fault.words, now);
        }
        loop {
            match self.save_batch(now) {
                Ok(true) => {}
                Ok(false) => return self.succeeded(now),
                Err(error) => return self.failed(&error, now),
            }
        }
    }

    /// One transaction; says whether another is wanted.
    fn save_batch(&mut self, now: Moment) -> rusqlite::Result<bool> {
        let deleted: Vec<u64> = self.acked.iter().copied().take(self.limits.deletions()).collect();
        let is_full = self.fault.as_ref().is_some_and(|fault| fault.is_full) && !deleted.is_empty();
        let mut chosen = if is_full { Vec::new() } else { self.choose_batch() };
        let is_proof_wanted = self.fault.is_some() || !self.run_noted;
        if deleted.is_empty() && chosen.is_empty() && !is_proof_wanted {
            return Ok(false);
        }
        let mut batch = self.store.begin()?;
        if is_proof_wanted {
            batch.note_run(self.first, self.run, &self.boot_id)?;
        }
        batch.delete(deleted.iter().copied())?;
        let spared = |sequence| self.handed.contains(&sequence) || self.acked.contains(&sequence);
        let rule = self.settings.when_full;
        let victims = room::make(&mut batch, &mut chosen, rule, self.limits.capacity, &spared)?;
        let (losses, next, told) = told(&self.losses, self.next, &victims, now);
        let unchanged = chosen.iter().filter(|(sequence, _)| !told.contains_key(sequence));
        batch.put(unchanged.map(|(sequence, entry)| (*sequence, &*entry.message)))?;
        batch.put(told.iter().map(|(sequence, message)| (*sequence, message)))?;
        batch.commit()?;
        let is_progress = !(chosen.is_empty() && victims.is_empty() && deleted.is_empty());
        self.run_noted = true;
        (self.losses, self.next) = (losses, next);
        chosen.iter().for_each(|(sequence, _)| self.window.mark_saved(*sequence));
        victims.iter().for_each(|victim| self.forget(victim.sequence));
        for (sequence, message) in told {
            self.window.put(sequence, Arc::new(message), State::Saved, now.boot);
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
        self.window.unsaved().take_while(fits).map(|(sequence, entry)| (sequence, entry.clone())).collect()
    }

    fn succeeded(&mut self, now: Moment) {
        if self.fault.take().is_some() {
            info!("The spool can be written again.");
        }
        self.store.keep_reserve(self.limits);
        self.acked_since = None;
        self.not_before = if self.window.waiting_since().is_some() { now.boot + POSTPONED } else { Duration::ZERO };
        if self.store.rows() == self.window.rows() {
            self.evicted_below = 0;
        }
        let tidied = self.store.shrink().and_then(|()| self.store.oldest(|_| true));
        match tidied {
            Ok(oldest) => self.oldest_row = oldest,
            Err(error) => self.failed(&error, now),
        }
    }

    pub(super) fn failed(&mut self, error: &rusqlite::Error, now: Moment) {
        if store::is_damage(error) {
            return self.begin_anew(&format!("the spool is damaged: {error}"), now);
        }
        let words = format!("the spool cannot be written: {error}");
        let delay = self.fault.as_ref().map_or(RETRY.0, |fault| (fault.delay * 2).min(RETRY.1));
        if self.fault.as_ref().is_none_or(|fault| fault.words != words) {
            warn!(error = %error, "The spool cannot be written; messages stay in memory and it is tried again.");
        }
        let is_full = store::is_full(error);
        if is_full {
            self.store.use_reserve();
        }
        self.fault = Some(Fault { words, delay, is_full, is_damage: false });
        self.not_before = now.boot + delay;
    }

    /// The file turned out damaged in use: what only it had is lost.
    fn begin_anew(&mut self, cause: &str, now: Moment) {
        let lost = self.store.rows().saturating_sub(self.window.rows() + self.acked.len() as u64);
        let delay = RETRY.1;
        self.not_before = now.boot + delay;
        match self.store.begin_anew(self.limits) {
            Ok(aside) => {
                error!(error = cause, file = %aside.display(), lost, "The spool is damaged; set aside, a new one begun.");
                self.dropped = self.dropped.saturating_add(lost);
                self.notice = Some(format!("{}; {lost} messages were lost", told_aside(&aside)));
                (self.run_noted, self.fault, self.not_before) = (false, None, now.boot);
                self.forget_disk(now);
            }
            Err(error) => {
                warn!(error = %error, "The spool is damaged and cannot be replaced; it is tried again.");
                self.fault = Some(Fault { words: cause.to_owned(), delay, is_full: false, is_damage: true });
            }
        }
    }

    fn forget_disk(&mut self, now: Moment) {
        self.window.forget_disk(now.boot);
        self.losses.retain(|sequence| self.window.get(sequence).is_some());
        self.acked.clear();
        (self.acked_since, self.evicted_below, self.oldest_row) = (None, 0, None);
    }
}

/// The loss records that `victims` make, without touching those that are: the commit may fail.
fn told(losses: &Losses, next: u64, victims: &[Victim], now: Moment) -> (Losses, u64, BTreeMap<u64, Message>) {
    let (mut losses, mut next, mut told) = (losses.clone(), next, BTreeMap::new());
    for loss in victims.iter().filter_map(|victim| loss_of(victim, FULL)) {
        let (sequence, loss) = losses.add(loss, &mut next);
        told.insert(sequence, record::of_loss(&loss, now));
    }
    (losses, next, told)
}
