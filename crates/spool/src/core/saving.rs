//! Writing: one transaction at a time, and what follows when it fails.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::announced::Change;
use crate::cache::{Entry, State};
use crate::codes::{Meaning, meaning};
use crate::core::disk::FaultKind;
use crate::core::{Core, FULL, loss_of};
use crate::counts::Counted;
use crate::ids::CommandRow;
use crate::losses::Losses;
use crate::overflow;
use crate::record;
use crate::rows::Victim;
use crate::values::SetValue;
use fieldgate_model::{Message, Moment};

/// How long messages wait in memory for which the disk has no space, and which the broker may have already.
const POSTPONED: Duration = Duration::from_secs(1);

/// What one transaction is to write.
#[derive(Default)]
struct Chosen {
    /// By their sequences.
    messages: Vec<(u64, Entry)>,
    counts: Vec<Counted>,
    values: Vec<SetValue>,
    ids: Vec<CommandRow>,
    announced: Vec<Change>,
}

impl Chosen {
    fn none() -> Self {
        Self::default()
    }

    fn is_empty(&self) -> bool {
        !self.may_be_a_part() && self.counts.is_empty() && self.values.is_empty()
    }

    /// Whether more of the same may wait: counts and values are always chosen all at once.
    fn may_be_a_part(&self) -> bool {
        !(self.messages.is_empty() && self.ids.is_empty() && self.announced.is_empty())
    }
}

impl Core {
    /// Writes everything that waits.
    pub(super) fn save(&mut self, now: Moment) {
        self.await_examination(now);
        if !self.has_file(now) {
            return;
        }
        self.recompute_capacity(now);
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
        (!self.disk.has_start() && !self.disk.is_faulty()).then_some(self.disk.not_before())
    }

    /// Records the start and nothing else, which also shows that the disk can be written. The first messages are left out:
    /// most of them are acknowledged before they have to be written, and would have to be deleted again.
    pub(super) fn save_run(&mut self, now: Moment) {
        self.recompute_capacity(now);
        match self.save_run_only() {
            Ok(()) => self.disk.keep_reserve(),
            Err(error) => self.failed(&error, now),
        }
    }

    fn save_run_only(&mut self) -> rusqlite::Result<()> {
        let batch = self.disk.store_mut().begin()?;
        batch.put_run(self.sequences.first(), self.sequences.run())?;
        batch.commit()?;
        self.disk.start_recorded();
        Ok(())
    }

    /// One transaction; says whether another is wanted.
    fn save_batch(&mut self, now: Moment) -> rusqlite::Result<bool> {
        let limits = self.disk.limits();
        let deleted = self.delivery.to_delete(limits.deletions());
        let is_full = self.disk.fault() == Some(FaultKind::Full) && !deleted.is_empty();
        // A full disk must first get back what is not needed any more.
        let mut chosen = if is_full { Chosen::none() } else { self.choose(limits.batch) };
        let is_proof_wanted = self.disk.is_faulty() || !self.disk.has_start();
        if deleted.is_empty() && chosen.is_empty() && !is_proof_wanted {
            return Ok(false);
        }
        let mut batch = self.disk.store_mut().begin()?;
        if is_proof_wanted {
            batch.put_run(self.sequences.first(), self.sequences.run())?;
        }
        batch.delete(deleted.iter().copied())?;
        batch.put_counts(&chosen.counts)?;
        batch.put_values(&chosen.values)?;
        batch.put_announced(&chosen.announced)?;
        if !chosen.ids.is_empty() {
            batch.put_commands(&chosen.ids, self.ids.oldest(), self.ids.unsound())?;
        }
        let spared = |sequence| self.delivery.may_be_delivered(sequence) || self.delivery.is_settled(sequence);
        let rule = self.settings.when_full;
        let victims = overflow::make_space(&mut batch, &mut chosen.messages, rule, limits.capacity, &spared)?;
        let (losses, next, records) = loss_records(self.delivery.losses(), self.sequences.next(), &victims, now);
        let unchanged = chosen.messages.iter().filter(|(sequence, _)| !records.contains_key(sequence));
        batch.put(unchanged.map(|(sequence, entry)| (*sequence, &*entry.message)))?;
        batch.put(records.iter().map(|(sequence, message)| (*sequence, message)))?;
        batch.commit()?;
        let may_be_more = !(deleted.is_empty() && victims.is_empty()) || chosen.may_be_a_part();
        self.disk.start_recorded();
        self.delivery.set_losses(losses);
        self.sequences.set_next(next);
        self.mark_saved(&chosen, now);
        victims.iter().for_each(|victim| self.forget(victim.sequence));
        for (sequence, message) in records {
            self.cache.put(sequence, Arc::new(message), State::Saved, now.boot);
        }
        self.delivery.deleted(&deleted);
        self.evict();
        Ok(may_be_more)
    }

    /// What waits, of each kind up to about so many bytes.
    fn choose(&self, limit: u64) -> Chosen {
        let mut bytes = 0;
        let fits = |(_, entry): &(u64, &Entry)| {
            let is_first = bytes == 0;
            bytes += record::cost(&entry.message);
            is_first || bytes <= limit
        };
        let messages = self.cache.unsaved().take_while(fits);
        Chosen {
            messages: messages.map(|(sequence, entry)| (sequence, entry.clone())).collect(),
            counts: self.counts.unsaved().map(|(name, count)| (name.clone(), count)).collect(),
            values: self.values.unsaved(),
            ids: self.ids.unsaved(limit),
            announced: self.announced.unsaved(limit),
        }
    }

    /// What was chosen is on disk.
    fn mark_saved(&mut self, chosen: &Chosen, now: Moment) {
        self.counts.mark_saved(&chosen.counts);
        self.values.mark_saved(&chosen.values);
        self.announced.mark_saved(&chosen.announced);
        self.ids.mark_saved(&chosen.ids, now.boot);
        chosen.messages.iter().for_each(|(sequence, _)| self.cache.mark_saved(*sequence));
    }

    fn succeeded(&mut self, now: Moment) {
        self.disk.works();
        self.delivery.none_waits();
        let is_postponed = self.cache.waiting_since().is_some();
        self.disk.wait_until(if is_postponed { now.boot + POSTPONED } else { Duration::ZERO });
        if self.disk.store().rows() == self.cache.rows() {
            self.sequences.all_in_memory();
        }
        let tidied = self.disk.store_mut().shrink().and_then(|()| self.disk.store().oldest(|_| true));
        match tidied {
            Ok(oldest) => self.disk.set_oldest_row(oldest),
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
            self.disk.store().use_reserve();
            if !self.is_of_use() {
                return self.discard(now);
            }
        }
        self.disk.record_fault(kind, format!("the spool cannot be written: {error}"), now.boot);
    }

    /// Whether the file has anything that is still needed: unacknowledged messages, counts, values, command ids or what was
    /// announced. The rows themselves are checked, because sequences that were acknowledged in an earlier era name other rows now.
    fn is_of_use(&self) -> bool {
        let has_more =
            !self.counts.is_empty() || !self.values.is_empty() || !self.ids.is_empty() || !self.announced.is_empty();
        has_more
            || self.disk.store().rows() == 0
            || !matches!(self.disk.store().oldest(|sequence| !self.delivery.is_settled(sequence)), Ok(None))
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
