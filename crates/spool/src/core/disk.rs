//! The disk and its faults: the file, how much it may take, what is wrong with it, and when it is tried again.
//!
//! It decides nothing about messages. The caller that gets an error from [`Disk::store`] knows what it means and calls
//! [`Disk::record_fault`]; nothing is written before [`Disk::not_before`].

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use tracing::{info, warn};

use crate::examination::{Examination, Examiner};
use crate::file;
use crate::opening::{self, OpenError, Opened};
use crate::store::{Limits, Store};

/// First and longest wait before a failed commit is tried again: a disk that is back is in use within five seconds, the
/// attempt included.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));

/// That a disk is short of space is logged at most this often.
const LOG_AGAIN: Duration = Duration::from_secs(60);

/// What is wrong with the disk now.
#[derive(Debug)]
struct Fault {
    kind: FaultKind,
    words: String,
    /// How long it waits between two attempts.
    delay: Duration,
}

/// What must be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FaultKind {
    /// A write failed: write again.
    Failing,
    /// Delete before anything is written: that frees space.
    Full,
    /// Set the damaged file aside first.
    Damaged,
    /// Open the file first: there is none.
    Unopened,
}

/// A row's sequence, and when its message was taken.
pub(super) type OldestRow = Option<(u64, Option<SystemTime>)>;

/// The file and what is wrong with it.
#[derive(Debug)]
pub(super) struct Disk {
    folder: PathBuf,
    store: Store,
    limits: Limits,
    /// Whether the disk has less than `max_size`, and when the log last said so or the contrary.
    is_short: bool,
    short_logged: Option<Duration>,
    fault: Option<Fault>,
    /// No commit before this.
    not_before: Duration,
    /// The file is with its examiner, and [`Disk::store`] only stands in for it.
    examination: Option<Examination>,
    /// The file says which sequences this start gives.
    has_start: bool,
    oldest_row: OldestRow,
}

impl Disk {
    /// One that has no file yet.
    pub(super) fn without_file(folder: PathBuf, max_size: u64) -> rusqlite::Result<Self> {
        Ok(Self {
            store: Store::in_memory(&folder)?,
            folder,
            limits: Limits::of(max_size),
            is_short: false,
            short_logged: None,
            fault: None,
            not_before: Duration::ZERO,
            examination: None,
            has_start: false,
            oldest_row: None,
        })
    }

    /// Opens or makes the file at the start, where the disk alone says how much there may be.
    pub(super) fn open_first(&self, max_size: u64) -> Result<Opened, OpenError> {
        opening::open(&self.folder, Limits::within(max_size, file::available_bytes(&self.folder), 0))
    }

    /// Opens or makes the file, which [`Disk::adopt`] takes.
    pub(super) fn open(&self) -> Result<Opened, OpenError> {
        opening::open(&self.folder, self.limits)
    }

    /// Works with this file from now on. What is left of a fault ends with the first write.
    pub(super) fn adopt(&mut self, store: Store, oldest_row: OldestRow) {
        (self.store, self.oldest_row) = (store, oldest_row);
        if let Some(fault) = &mut self.fault {
            fault.kind = FaultKind::Failing;
        }
    }

    /// Gives a file away that is still to be examined. Until it is back nothing is due.
    pub(super) fn begin_examination(&mut self) -> rusqlite::Result<Option<Examiner>> {
        if self.store.is_examined() {
            return Ok(None);
        }
        let stand_in = self.store.stand_in()?;
        let (examiner, examination) = Examiner::new(std::mem::replace(&mut self.store, stand_in));
        self.examination = Some(examination);
        Ok(Some(examiner))
    }

    /// Whether the file is being examined, and where it comes back.
    pub(super) fn examination(&mut self) -> &mut Option<Examination> {
        &mut self.examination
    }

    /// Whether the file is being examined.
    pub(super) fn is_examined_now(&self) -> bool {
        self.examination.is_some()
    }

    /// The file is back.
    pub(super) fn take_back(&mut self, store: Store) {
        self.store = store;
    }

    /// The file that was here is gone.
    pub(super) fn forget_file(&mut self) {
        (self.oldest_row, self.has_start) = (None, false);
    }

    /// The rows.
    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// The rows, to be written.
    pub(super) fn store_mut(&mut self) -> &mut Store {
        &mut self.store
    }

    /// Applies the log and closes the file.
    pub(super) fn close(self) -> rusqlite::Result<()> {
        self.store.close()
    }

    /// The oldest row as of the last write.
    pub(super) fn oldest_row(&self) -> OldestRow {
        self.oldest_row
    }

    pub(super) fn set_oldest_row(&mut self, oldest: OldestRow) {
        self.oldest_row = oldest;
    }

    /// Whether the file says which sequences this start gives, which also shows that it can be written.
    pub(super) fn has_start(&self) -> bool {
        self.has_start
    }

    pub(super) fn start_recorded(&mut self) {
        self.has_start = true;
    }

    /// How much it may take.
    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    /// Computes the limits again: the disk may have more free space by now, or less.
    pub(super) fn fit(&mut self, max_size: u64, now: Duration) -> rusqlite::Result<()> {
        let available = file::available_bytes(&self.folder);
        self.log_whether_short(max_size, available, now);
        let limits = Limits::within(max_size, available, self.store.used());
        let before = std::mem::replace(&mut self.limits, limits);
        if limits.batch == before.batch { Ok(()) } else { self.store.limit(limits) }
    }

    fn log_whether_short(&mut self, max_size: u64, available: u64, now: Duration) {
        let is_quiet = self.short_logged.is_some_and(|at| now < at + LOG_AGAIN);
        if self.is_short == (available < max_size) || is_quiet {
            return;
        }
        (self.is_short, self.short_logged) = (!self.is_short, Some(now));
        if self.is_short {
            warn!(
                max_size,
                available, "The disk has less space than spool.max_size; the spool keeps to what is available."
            );
        } else {
            info!(max_size, "The disk has space for spool.max_size again.");
        }
    }

    /// Whether something is wrong with it.
    pub(super) fn is_faulty(&self) -> bool {
        self.fault.is_some()
    }

    /// What must be done about the fault.
    pub(super) fn fault(&self) -> Option<FaultKind> {
        self.fault.as_ref().map(|fault| fault.kind)
    }

    /// The fault in words.
    pub(super) fn fault_words(&self) -> Option<&str> {
        self.fault.as_ref().map(|fault| fault.words.as_str())
    }

    /// Records what is wrong, and when to try again; the wait doubles each time.
    pub(super) fn record_fault(&mut self, kind: FaultKind, words: String, now: Duration) {
        let delay = self.fault.as_ref().map_or(RETRY.0, |fault| (fault.delay * 2).min(RETRY.1));
        if self.fault.as_ref().is_none_or(|fault| fault.words != words) {
            warn!(error = words, "The spool cannot use its disk; messages stay in memory, and writing is tried again.");
        }
        self.fault = Some(Fault { kind, words, delay });
        self.not_before = now + delay;
    }

    /// Everything that waited is written.
    pub(super) fn works(&mut self) {
        if self.fault.take().is_some() {
            info!("The spool can be written again.");
        }
        self.keep_reserve();
    }

    /// Makes the reserve that a full disk gives back, as large as `max_size` asks for.
    pub(super) fn keep_reserve(&self) {
        self.store.keep_reserve(self.limits);
    }

    /// When it may be written to next.
    pub(super) fn not_before(&self) -> Duration {
        if self.is_examined_now() { Duration::MAX } else { self.not_before }
    }

    /// Writes nothing before this.
    pub(super) fn wait_until(&mut self, at: Duration) {
        self.not_before = at;
    }

    /// Something has come that does not wait for what was postponed; a fault it waits for all the same.
    pub(super) fn hurry(&mut self) {
        if self.fault.is_none() {
            self.not_before = Duration::ZERO;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    #[test]
    fn the_wait_after_a_failed_write_doubles_and_only_a_write_that_succeeds_ends_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = Disk::without_file(folder.path().join("spool"), 1 << 20).unwrap();
        for wait in [100, 200, 400, 800, 1600, 3000, 3000] {
            disk.record_fault(FaultKind::Failing, "out of order".into(), NOW);
            disk.hurry();
            assert_eq!(disk.not_before(), NOW + Duration::from_millis(wait));
        }
        assert_eq!((disk.fault(), disk.fault_words()), (Some(FaultKind::Failing), Some("out of order")));
        disk.works();
        disk.hurry();
        assert_eq!((disk.is_faulty(), disk.not_before()), (false, Duration::ZERO));
    }
}
