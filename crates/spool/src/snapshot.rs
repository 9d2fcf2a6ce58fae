//! A database as of one commit, read beside the process that writes it, without a lock and without SQLite.
//!
//! The writer holds the file exclusively, so SQLite lets nobody else in, and a reader that locked it could stop the service. But
//! its log says what was changed: a commit appends pages to it, and what a checkpoint writes into the file are pages of the log. So
//! a look at some pages was a look at one state if the log, read again behind it, has none of these pages a second time. Otherwise
//! the look is repeated. Every look goes through [`Snapshot::stable`].
//!
//! Where the log is empty, before the first commit of a start as after the end, nobody writes the file. But a whole life of a writer
//! may have passed between two such moments, and only the file's own time tells of it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::page_file::{PageFile, open_log, read_log};
use crate::wal;

/// How long one look is repeated. A look takes a millisecond, and even a writer that commits a thousand times a second leaves the
/// pages of the newest rows alone after some dozens of commits.
const LOOK_WITHIN: Duration = Duration::from_secs(if cfg!(test) { 300 } else { 10 });

/// A file whose time is no older may be written once more and keep it: kernels count it in ticks of at most 10 ms.
const TICK: Duration = Duration::from_millis(25);

/// The same where it has whole seconds, as on FAT with its steps of two.
const COARSE_TICK: Duration = Duration::from_millis(2500);

/// Between two looks at a file that was written just now.
const PAUSE: Duration = Duration::from_millis(2);

/// A log in which something seems to be lost is read so often: a frame that is just being written looks the same, but once only.
const LOOKS_AT_LOG: usize = 3;

/// What one look has used.
#[derive(Debug, Default)]
pub(super) struct Used {
    /// The pages by which it was guided.
    pub(super) pages: BTreeSet<u32>,
    /// It saw something that is damage if nothing at all has changed meanwhile.
    pub(super) suspects: bool,
}

/// Why there is no state to look at.
#[derive(Debug)]
pub(super) enum Unstable {
    /// A file cannot be read.
    Io(io::Error),
    /// Another file has the name now.
    Replaced,
    /// The writer changed what was looked at each time.
    Changing,
}

impl From<io::Error> for Unstable {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The database as of a commit.
#[derive(Debug)]
pub(super) struct Snapshot {
    path: PathBuf,
    pages: PageFile,
    /// By what the file is known again.
    identity: (u64, u64),
}

impl Snapshot {
    /// As of now.
    pub(super) fn take(path: &Path) -> io::Result<Self> {
        let pages = PageFile::read(File::open(path)?, open_log(path)?)?;
        let identity = identity(pages.file())?;
        Ok(Self { path: path.to_owned(), pages, identity })
    }

    /// What the last look saw.
    pub(super) fn pages(&self) -> &PageFile {
        &self.pages
    }

    /// Repeats `look` until nothing that it used was changed meanwhile.
    pub(super) fn stable<T>(&mut self, mut look: impl FnMut(&PageFile, &mut Used) -> T) -> Result<T, Unstable> {
        let deadline = Instant::now() + LOOK_WITHIN;
        loop {
            let mut used = Used::default();
            let before = Modified::of(self.pages.file())?;
            let may_keep_its_time = before.is_within_a_tick(SystemTime::now());
            let seen = look(&self.pages, &mut used);
            let now = Self::take(&self.path)?;
            if now.identity != self.identity {
                return Err(Unstable::Replaced);
            }
            let has_same = |page: &u32| self.pages.has_same(&now.pages, *page);
            let is_stable = if self.pages.has_begun_log() || now.pages.has_begun_log() {
                if used.suspects { self.pages.is_same(&now.pages) } else { used.pages.iter().all(has_same) }
            } else {
                let is_as_before = before == Modified::of(now.pages.file())? && self.pages.count() == now.pages.count();
                if may_keep_its_time {
                    pause();
                }
                is_as_before && !may_keep_its_time
            };
            self.pages = now.pages;
            if is_stable {
                return Ok(seen);
            }
            if Instant::now() > deadline {
                return Err(Unstable::Changing);
            }
        }
    }

    /// Whether commits were lost from the log, although they had been synced.
    pub(super) fn has_lost_commits(&self) -> io::Result<bool> {
        for _ in 0..LOOKS_AT_LOG {
            let Some(mut log) = open_log(&self.path)? else { return Ok(false) };
            if !wal::has_lost_commits(&read_log(&mut log)?) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "who reads a spool from outside, such as `fieldgate export`, does nothing else"
)]
fn pause() {
    std::thread::sleep(PAUSE);
}

fn identity(file: &File) -> io::Result<(u64, u64)> {
    file.metadata().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// When a file was written last, and how large it was then.
#[derive(Debug, PartialEq)]
struct Modified {
    at: SystemTime,
    has_whole_seconds: bool,
    size: u64,
}

impl Modified {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self { at: metadata.modified()?, has_whole_seconds: metadata.mtime_nsec() == 0, size: metadata.len() })
    }

    /// Whether what is written now may get the same time. One that is further away, in the past or by a clock that was wrong in the
    /// future, is given to nothing any more.
    fn is_within_a_tick(&self, now: SystemTime) -> bool {
        let tick = if self.has_whole_seconds { COARSE_TICK } else { TICK };
        match now.duration_since(self.at) {
            Ok(age) => age <= tick,
            Err(ahead) => ahead.duration() <= tick,
        }
    }
}
