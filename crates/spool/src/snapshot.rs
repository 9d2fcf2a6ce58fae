//! A database as of one commit, read beside the process that writes it, without a lock and without SQLite.
//!
//! The writer holds the file exclusively, so SQLite lets nobody else in, and a reader that locked it could stop the service. But
//! its log says what was changed: a commit appends pages to it, and what a checkpoint writes into the file are pages of the log. So
//! a look at some pages was a look at one state if the log, read again behind it, has none of these pages a second time. Otherwise
//! the look is repeated. Every look goes through [`Snapshot::stable`].

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::file::beside;
use crate::page_file::{PageFile, open_log};
use crate::wal;

/// How long one look is repeated. A look takes a millisecond, and even a writer that commits a thousand times a second leaves the
/// pages of the newest rows alone after some dozens of commits.
const LOOK_WITHIN: Duration = Duration::from_secs(if cfg!(test) { 300 } else { 10 });

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
            let before = modified(self.pages.file())?;
            let seen = look(&self.pages, &mut used);
            let now = Self::take(&self.path)?;
            if now.identity != self.identity {
                return Err(Unstable::Replaced);
            }
            let has_same = |page: &u32| self.pages.has_same(&now.pages, *page);
            let is_stable = if self.pages.has_log() || now.pages.has_log() {
                if used.suspects { self.pages.is_same(&now.pages) } else { used.pages.iter().all(has_same) }
            } else {
                // Nobody writes; somebody may have begun and ended meanwhile.
                before == modified(now.pages.file())?
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
        let log = beside(&self.path, "-wal");
        for _ in 0..LOOKS_AT_LOG {
            match std::fs::read(&log) {
                Ok(bytes) if wal::has_lost_commits(&bytes) => {}
                Ok(_) => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

fn identity(file: &File) -> io::Result<(u64, u64)> {
    file.metadata().map(|metadata| (metadata.dev(), metadata.ino()))
}

fn modified(file: &File) -> io::Result<(i64, i64, u64)> {
    file.metadata().map(|metadata| (metadata.mtime(), metadata.mtime_nsec(), metadata.len()))
}
