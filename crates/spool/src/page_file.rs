//! The pages of a database as of its last whole commit, from the file and its log. Nothing is changed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::cache::LIMIT_BYTES;
use crate::file::beside;
use crate::pages::{Cell, PAGE, TablePage, row, word};
use crate::record::{self, Unsound};
use crate::wal;
use fieldgate_model::Message;

/// Sequences from here on were never given by any start.
pub(super) const LAST: u64 = 1 << 61;

/// Bytes of a page in a chain, without the number of the next.
const CHAINED: usize = PAGE - 4;

/// The free pages are named in pages like this: the next one, how many it names, and those.
const FIRST_FREE: usize = 32;

/// A database that is read page by page.
#[derive(Debug)]
pub(super) struct PageFile {
    file: File,
    log: Option<File>,
    /// Other than before when the log has been begun again.
    log_header: Vec<u8>,
    /// Where in the log the pages are that it has.
    logged: BTreeMap<u32, u64>,
    count: u32,
}

/// A row that says which place it belongs to.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) sequence: u64,
    pub(super) message: Result<Message, Unsound>,
}

impl PageFile {
    /// Nothing when it cannot be opened; a log that cannot be read counts as none.
    pub(super) fn open(path: &Path) -> Option<Self> {
        Self::read(File::open(path).ok()?, open_log(path).unwrap_or_default()).ok()
    }

    /// Looks for the pages that the log has.
    ///
    /// # Errors
    /// The files cannot be read.
    pub(super) fn read(file: File, mut log: Option<File>) -> io::Result<Self> {
        let in_file = u32::try_from(file.metadata()?.len() / PAGE as u64).unwrap_or(u32::MAX);
        let mut bytes = Vec::new();
        if let Some(log) = &mut log {
            log.read_to_end(&mut bytes)?;
        }
        let (logged, committed) = wal::pages(&bytes, PAGE);
        bytes.truncate(wal::HEADER);
        Ok(Self { file, log, log_header: bytes, logged, count: committed.unwrap_or(in_file) })
    }

    /// Whether a later look at the same file found this page as it was. It did not when the log was begun again meanwhile, for then
    /// nobody knows what was written to the file before.
    pub(super) fn has_same(&self, later: &Self, page: u32) -> bool {
        self.log_header == later.log_header && self.logged.get(&page) == later.logged.get(&page)
    }

    /// Whether a later look found no page changed.
    pub(super) fn is_same(&self, later: &Self) -> bool {
        self.log_header == later.log_header && self.logged == later.logged
    }

    /// Whether there is a log, which is so as long as somebody has the database open, and after a power cut.
    pub(super) fn has_log(&self) -> bool {
        self.log.is_some()
    }

    /// The file without its log.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Pages that it has; the first has number 1.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Nothing when there is no such page, or it cannot be read.
    pub(super) fn page(&self, number: u32) -> Option<Vec<u8>> {
        let (file, at) = match self.logged.get(&number) {
            Some(at) => (self.log.as_ref()?, *at),
            None => (&self.file, u64::from(number.checked_sub(1)?) * PAGE as u64),
        };
        let mut bytes = vec![0; PAGE];
        file.read_exact_at(&mut bytes, at).ok()?;
        Some(bytes)
    }

    /// What lies at `place` in a page with rows, if that names its own place.
    pub(super) fn placed(&self, page: &TablePage<'_>, place: usize) -> Option<Placed> {
        let cell = page.cell(place)?;
        let message = self.message(&cell)?;
        let is_placed = !matches!(message, Err(Unsound { is_placed: false, .. }));
        let sequence = u64::try_from(cell.key).ok().filter(|sequence| *sequence < LAST && is_placed)?;
        Some(Placed { sequence, message })
    }

    /// The row in a cell, whatever place it names; nothing when it is no row of a message.
    pub(super) fn message(&self, cell: &Cell<'_>) -> Option<Result<Message, Unsound>> {
        Some(record::decode(cell.key, row(&self.payload(cell)?)?))
    }

    fn payload(&self, cell: &Cell<'_>) -> Option<Vec<u8>> {
        // No message is so large: see `Core::append`.
        let size = usize::try_from(cell.size).ok().filter(|size| *size <= LIMIT_BYTES)?;
        let (mut bytes, mut next) = (cell.begin.to_vec(), cell.rest);
        while bytes.len() < size {
            let page = self.page(next?)?;
            next = word(&page, 0);
            bytes.extend_from_slice(&page[4..][..CHAINED.min(size - bytes.len())]);
        }
        Some(bytes)
    }

    /// Shows every page that is not in use to `see`, as far as they can be found.
    pub(super) fn free(&self, mut see: impl FnMut(u32)) {
        let mut next = self.page(1).and_then(|page| word(&page, FIRST_FREE));
        // The chain might go in circles.
        for _ in 0..self.count {
            let Some(trunk) = next.filter(|trunk| *trunk != 0) else { break };
            see(trunk);
            let Some(page) = self.page(trunk) else { break };
            let named = usize::try_from(word(&page, 4).unwrap_or(0)).unwrap_or(0);
            page[8..].chunks_exact(4).take(named).filter_map(|number| word(number, 0)).for_each(&mut see);
            next = word(&page, 0);
        }
    }
}

/// The log of the database at `path`; nothing when it has none.
///
/// # Errors
/// It cannot be opened.
pub(super) fn open_log(path: &Path) -> io::Result<Option<File>> {
    match File::open(beside(path, "-wal")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
}
