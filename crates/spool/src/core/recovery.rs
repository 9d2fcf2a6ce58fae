//! Having a file again: one that could not be opened at the start, one that was damaged, and what a damaged one still has.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::{error, info, warn};

use crate::Sequence;
use crate::cache::State;
use crate::core::Core;
use crate::core::disk::FaultKind;
use crate::holes::Holes;
use crate::opening::{OpenError, Opened};
use crate::row_search::Found;
use crate::salvage::Salvage;
use crate::store::SEQUENCES_PER_START;
use fieldgate_model::Moment;

/// At a start, so many of the oldest messages count as read by the link of the run before: as many as it can have had in flight.
const HANDED_BEFORE: usize = 64;

/// Messages that are taken out of a damaged file in one go.
const AT_ONCE: usize = 512;

/// What a damaged file still has, on its way into the new one.
#[derive(Debug)]
pub(super) struct Recovery {
    salvage: Salvage,
    holes: Holes,
    aside: PathBuf,
    /// One past the last sequence that only it may have.
    until: u64,
    /// Sequences in it that are settled, and not to be recovered.
    settled: BTreeSet<u64>,
    /// Those of them that only it had, and the broker since.
    delivered: BTreeSet<u64>,
    /// Messages that it must have had, where that is known.
    expected: Option<u64>,
    recovered: u64,
    lost: u64,
}

impl Recovery {
    /// Whether what comes from this sequence on is not known yet. Reading on there would give newer readings before older.
    pub(super) fn hides(&self, from: Sequence) -> bool {
        from.0 < self.until
    }

    /// The broker has this one, which memory had or had not.
    pub(super) fn settle(&mut self, sequence: u64, is_in_memory: bool) {
        if self.settled.insert(sequence) && !is_in_memory {
            self.delivered.insert(sequence);
        }
    }
}

impl Core {
    /// Whether there is a file to write to; tries to have one.
    pub(super) fn has_file(&mut self, now: Moment) -> bool {
        match self.disk.fault() {
            Some(FaultKind::Damaged) => self.put_aside(now) && self.reopen(now),
            Some(FaultKind::Unopened) => self.reopen(now),
            Some(FaultKind::Failing | FaultKind::Full) | None => true,
        }
    }

    /// The file turned out damaged in use.
    pub(super) fn damaged(&mut self, cause: String, now: Moment) {
        self.disk.record_fault(FaultKind::Damaged, format!("the spool is damaged: {cause}"), now.boot);
        self.disk.wait_until(now.boot);
        self.has_file(now);
    }

    fn put_aside(&mut self, now: Moment) -> bool {
        let cause = self.disk.fault_words().unwrap_or_default().to_owned();
        // Deletions that were not written yet would bring their messages back.
        let mut settled = self.delivery.forget_rows();
        let expected = self.disk.store().rows().saturating_sub(self.cache.rows() + settled.len() as u64);
        let until = self.sequences.evicted_below();
        match self.disk.store_mut().set_aside() {
            Ok(aside) => {
                error!(error = cause, file = %aside.display(), "The spool is damaged; its file was renamed, and a new one is used.");
                self.forget_disk(now);
                settled.extend(self.cache.from(0).take_while(|(sequence, _)| *sequence < until).map(|(s, _)| s));
                self.recover_from(aside, until, settled, Some(expected));
                self.disk.record_fault(FaultKind::Unopened, cause, now.boot);
                true
            }
            Err(error) => {
                self.delivery.restore_rows(settled);
                let words = format!("{cause}; and its file cannot be renamed: {error}");
                self.disk.record_fault(FaultKind::Damaged, words, now.boot);
                false
            }
        }
    }

    /// The broker has everything that the file has, and the disk has no space left to record that in it.
    pub(super) fn discard(&mut self, now: Moment) {
        let error = self.disk.store_mut().remove().err();
        let cause = error.map_or_else(|| "no space on the disk".into(), |error| error.to_string());
        self.delivery.forget_rows();
        self.forget_disk(now);
        self.disk.record_fault(FaultKind::Unopened, format!("the spool cannot be written: {cause}"), now.boot);
        self.disk.wait_until(now.boot);
    }

    fn forget_disk(&mut self, now: Moment) {
        self.cache.forget_disk(now.boot);
        self.delivery.forget_disk(|sequence| self.cache.get(sequence).is_some());
        self.counts.forget_disk();
        self.values.forget_disk();
        self.announced.forget_disk();
        self.sequences.all_in_memory();
        self.disk.forget_file();
    }

    fn reopen(&mut self, now: Moment) -> bool {
        let opened = match self.disk.open() {
            Ok(opened) => opened,
            Err(error) => {
                self.not_opened(error, now);
                return false;
            }
        };
        match self.adopt(opened) {
            Ok(()) => true,
            Err(error) => {
                self.failed(&error, now);
                false
            }
        }
    }

    /// There is no file for now.
    pub(crate) fn not_opened(&mut self, error: OpenError, now: Moment) {
        let cause = match error {
            OpenError::Disk(words) => words,
            OpenError::Refused(error) => error.to_string(),
        };
        self.disk.record_fault(FaultKind::Unopened, format!("the spool cannot be opened: {cause}"), now.boot);
    }

    /// Works with a file from now on. Sequences that were given meanwhile move behind those that it has.
    pub(super) fn adopt(&mut self, Opened { store, set_aside }: Opened) -> rusqlite::Result<()> {
        let mut base = store.next_sequence()?;
        let before = store.first_sequences(HANDED_BEFORE)?;
        let oldest = store.oldest(|_| true)?;
        let (counts, unsound) = store.counts()?;
        self.counts.adopt(counts);
        let (values, unsound_values) = store.values()?;
        self.values.adopt(values);
        let commands = store.commands()?;
        self.report_unsound(&unsound, &unsound_values, commands.unsound.len());
        self.ids.adopt(commands);
        let (announced, unsound) = store.announced()?;
        self.report_unsound_announced(&unsound);
        self.announced.adopt(announced);
        let rows_below = base;
        self.disk.adopt(store, oldest);
        if let Some(aside) = set_aside {
            error!(file = %aside.display(), "The spool was damaged; its file was renamed, and a new one is used.");
            self.recover_from(aside, 0, BTreeSet::new(), None);
            let newest = self.recovery.as_ref().map_or(0, |recovery| recovery.salvage.newest());
            base = base.max(newest + SEQUENCES_PER_START);
        }
        let behind = self.sequences.move_behind(base);
        if behind > 0 {
            self.cache.shift(behind);
            self.delivery.shift(behind);
        }
        before.into_iter().for_each(|sequence| self.delivery.was_read_before(sequence));
        if let Some(recovery) = self.recovery.as_mut().filter(|recovery| recovery.expected.is_none()) {
            recovery.until = self.sequences.first();
        }
        self.sequences.evicted(rows_below);
        self.sequences.begin_era();
        Ok(())
    }

    fn report_unsound(&mut self, names: &[String], values: &[String], ids: usize) {
        if ids > 0 {
            error!(
                ids,
                "Ids of commands are damaged on the disk; a repeat of one of these commands would be carried out again."
            );
            self.notice = Some(format!(
                "command ids damaged on the disk: {ids}; a repeat of those commands would be carried out again"
            ));
        }
        if !values.is_empty() {
            let names = values.join(", ");
            error!(values = names, "What users have set is damaged on the disk; it is as if it had never been set.");
            self.notice =
                Some(format!("what was set of {names} was damaged on the disk and is as if it had never been set"));
        }
        if !names.is_empty() {
            let names = names.join(", ");
            error!(sensors = names, "Counts are damaged on the disk; they begin at 0 again.");
            self.notice = Some(format!("the count of {names} was damaged on the disk and began at 0 again"));
        }
    }

    fn report_unsound_announced(&mut self, names: &[String]) {
        if !names.is_empty() {
            let names = names.join(", ");
            error!(
                names,
                "What was announced is damaged on the disk in part; what has left the configuration may stay with those who heard of it."
            );
            self.notice = Some(format!(
                "what was announced on {names} is damaged on the disk; what has left the configuration may stay there"
            ));
        }
    }

    fn recover_from(&mut self, aside: PathBuf, until: u64, settled: BTreeSet<u64>, expected: Option<u64>) {
        self.notice = Some(describe_aside(&aside));
        if self.recovery.is_some() {
            // Two damaged files within one recovery: the disk is beyond this.
            warn!(
                file = %aside.display(),
                "Another spool file was damaged before the last one had been read; it stays on the disk, but is not read."
            );
            self.delivery.drop_some(expected.unwrap_or(0));
            return;
        }
        let holes = Holes::default();
        match Salvage::open(&aside) {
            Some(salvage) => {
                self.counts.recover(&salvage.counts());
                self.values.recover(salvage.values());
                self.ids.recover(salvage.commands());
                self.announced.recover(salvage.announced());
                let (delivered, recovered, lost) = (BTreeSet::new(), 0, 0);
                let recovery = Recovery { salvage, holes, aside, until, settled, delivered, expected, recovered, lost };
                self.recovery = Some(recovery);
            }
            None => {
                error!(file = %aside.display(), "Nothing can be read of the damaged spool.");
                self.notice = Some(format!("{}; nothing can be read of it", describe_aside(&aside)));
                self.delivery.drop_some(expected.unwrap_or(0));
            }
        }
    }

    /// Takes some messages out of the damaged file; they are kept like any other, in their old place.
    pub(super) fn recover_some(&mut self, now: Moment) {
        let Some(mut recovery) = self.recovery.take() else { return };
        if self.disk.is_faulty() {
            self.recovery = Some(recovery);
            return;
        }
        let found = recovery.salvage.next(AT_ONCE);
        let is_done = found.is_none();
        for found in found.into_iter().flatten() {
            if let Some(loss) = recovery.holes.see(&found) {
                recovery.lost += loss.count;
                self.report_loss(loss, now);
            }
            let Found::Row(sequence, Ok(message)) = found else { continue };
            // What comes behind was in memory and is on its way into the new file, or there already.
            if sequence < recovery.until && !recovery.settled.contains(&sequence) {
                recovery.recovered += 1;
                if recovery.expected.is_none() && recovery.recovered <= HANDED_BEFORE as u64 {
                    self.delivery.was_read_before(sequence);
                }
                self.cache.put(sequence, Arc::new(message), State::Unsaved, now.boot);
            } else if recovery.delivered.contains(&sequence) {
                recovery.expected = recovery.expected.map(|expected| expected.saturating_sub(1));
            }
        }
        self.free_memory(now);
        if is_done {
            self.recovered(&recovery);
        } else {
            self.recovery = Some(recovery);
        }
    }

    fn recovered(&mut self, recovery: &Recovery) {
        let Recovery { aside, recovered, lost, expected, .. } = recovery;
        let unreported = expected.map_or(0, |expected| expected.saturating_sub(recovered + lost));
        self.delivery.drop_some(unreported);
        info!(file = %aside.display(), recovered, reported = lost, unreported, "The damaged spool has been read.");
        let words = format!("{}; {recovered} messages were recovered from it", describe_aside(aside));
        let words = if *lost > 0 { format!("{words}, {lost} readings are reported as lost") } else { words };
        self.notice = Some(if unreported > 0 {
            format!("{words}, {unreported} messages were lost without a report")
        } else {
            words
        });
        // What could not be read of it is not with the link any more.
        let is_here = |sequence| self.cache.get(sequence).is_some() || self.disk.store().has(sequence).unwrap_or(true);
        self.delivery.retain_read_by_link(is_here);
        self.sequences.begin_era();
    }
}

fn describe_aside(path: &Path) -> String {
    format!("the spool was damaged; its file was renamed to {}", path.display())
}
