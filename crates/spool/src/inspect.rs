//! How a spool is, seen from outside and beside the process that uses it: nothing is locked, changed or opened by SQLite.
//!
//! Who uses the file is asked of the kernel, which knows the lock that SQLite has. A file that somebody uses changes while it is
//! read, so it is left alone: its user finds damage itself and reports it. One that nobody uses is read page by page as
//! `row_search.rs` does after damage, for a limited time.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Flock, FlockType, fcntl_getlk};

use crate::error::SpoolError;
use crate::file::{self, FILE, SCHEMA_VERSION, beside};
use crate::page_file::PageFile;
use crate::row_search::{Found, RowSearch};
use crate::wal;

/// Where SQLite locks a database, and how many bytes (sqlite.org/fileformat2.html, section 1.3.1: the lock-byte page).
const LOCKED: (u64, u64) = (0x4000_0000, 512);

/// What every database begins with.
const MAGIC: &[u8] = b"SQLite format 3\0";

/// Where the first page has the number of its pages, and where the schema's version.
const PAGE_COUNT: usize = 28;
const USER_VERSION: usize = 60;

/// Rows without checksums are of this version.
const UNSUMMED: u32 = 1;

/// How long the rows are read at most: a card gives some ten megabytes a second. The tests ask what is found, also on a
/// machine that has no time for it.
const BUDGET: Duration = Duration::from_secs(if cfg!(test) { 300 } else { 3 });

/// How many rows are read in one go.
const AT_ONCE: usize = 512;

/// What a look at a spool's folder shows.
#[derive(Debug)]
pub struct Inspection {
    /// How the spool's file is.
    pub state: FileState,
    /// Files that were set aside as damaged, in order of their names.
    pub set_aside: Vec<PathBuf>,
    /// Bytes that the disk has for the spool: what is free and what the spool uses already.
    pub available_bytes: u64,
}

/// How the spool's file is.
#[derive(Debug)]
pub enum FileState {
    /// There is none: the next start makes it.
    Absent,
    /// A running instance has it; its process, or `None` where that is in another namespace and cannot be named.
    InUse(Option<u32>),
    /// Nobody has it, and it can be used.
    Sound {
        /// How many messages were found.
        messages: u64,
        /// Whether all of it was read in the time that there is for it.
        is_complete: bool,
    },
    /// The next start will set it aside; why.
    Damaged(String),
    /// [`SpoolError::NewerSchema`]: the program will refuse it.
    Newer(SpoolError),
    /// This user may not read it, or the disk does not give it.
    Unreadable(io::Error),
}

/// Looks at the spool in `folder`.
pub fn inspect(folder: &Path) -> Inspection {
    let path = folder.join(FILE);
    let state = match state(&path) {
        // It may have been opened while it was read, which then shows what no longer is.
        FileState::Damaged(_) if holder(&path).ok().flatten().is_some() => {
            holder(&path).ok().flatten().unwrap_or(FileState::InUse(None))
        }
        state => state,
    };
    Inspection { state, set_aside: set_aside(folder), available_bytes: file::available_bytes(folder) }
}

/// Whether a running instance has the spool in `folder`, as far as this user may know.
pub fn is_in_use(folder: &Path) -> bool {
    matches!(holder(&folder.join(FILE)), Ok(Some(_)))
}

fn state(path: &Path) -> FileState {
    match holder(path) {
        Ok(Some(held)) => return held,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return FileState::Absent,
        Err(error) => return FileState::Unreadable(error),
        Ok(None) => {}
    }
    if file::is_emptied(path) {
        return FileState::Damaged("the database is empty and its log is not".into());
    }
    if fs::metadata(path).is_ok_and(|found| found.len() == 0) {
        return FileState::Absent;
    }
    if fs::read(beside(path, "-wal")).is_ok_and(|log| wal::has_lost_commits(&log)) {
        return FileState::Damaged("its log has lost what had been committed".into());
    }
    let Some(file) = PageFile::open(path) else {
        return FileState::Unreadable(io::ErrorKind::PermissionDenied.into());
    };
    match version(&file) {
        Err(damage) => FileState::Damaged(damage.into()),
        Ok(found) if i64::from(found) > SCHEMA_VERSION => {
            let path = path.to_owned();
            FileState::Newer(SpoolError::NewerSchema { path, found: found.into(), known: SCHEMA_VERSION })
        }
        // The next start gives the rows their checksums.
        Ok(UNSUMMED) => FileState::Sound { messages: 0, is_complete: false },
        Ok(_) => read_rows(&file),
    }
}

/// Who has locked the file.
fn holder(path: &Path) -> io::Result<Option<FileState>> {
    let file = File::open(path)?;
    let (start, length) = LOCKED;
    let asked = Flock { start, length, ..Flock::from(FlockType::WriteLock) };
    let found = fcntl_getlk(&file, &asked)?;
    let pid = |lock: Flock| lock.pid.and_then(|pid| u32::try_from(pid.as_raw_nonzero().get()).ok());
    Ok(found.map(|lock| FileState::InUse(pid(lock))))
}

/// The version of the schema, or why the first page is none of ours.
fn version(file: &PageFile) -> Result<u32, &'static str> {
    let page = file.page(1).ok_or("it is shorter than its first page")?;
    let word = |at: usize| page.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes);
    if !page.starts_with(MAGIC) {
        return Err("its first page is not that of a database");
    }
    if word(PAGE_COUNT) > file.count() {
        return Err("pages are missing at its end");
    }
    Ok(word(USER_VERSION))
}

fn read_rows(file: &PageFile) -> FileState {
    let deadline = Instant::now() + BUDGET;
    let mut search = RowSearch::new(file);
    let mut messages = 0;
    while let Some(found) = search.next(file, AT_ONCE) {
        for found in found {
            match found {
                Found::Row(_, Ok(_)) => messages += 1,
                Found::Row(_, Err(_)) => return FileState::Damaged("a message is not as it was written".into()),
                Found::Hole => return FileState::Damaged("a page with messages cannot be read".into()),
            }
        }
        if Instant::now() > deadline {
            return FileState::Sound { messages, is_complete: false };
        }
    }
    if search.has_gaps() {
        return FileState::Damaged("a page with messages cannot be read".into());
    }
    FileState::Sound { messages, is_complete: true }
}

fn set_aside(folder: &Path) -> Vec<PathBuf> {
    let prefix = format!("{FILE}.damaged-");
    let is_aside = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(&prefix) && !name.ends_with("-wal")
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut all: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_aside).collect();
    all.sort_unstable();
    all
}
