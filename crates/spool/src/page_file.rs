//! The pages of a database as of its last whole commit, from the file and its log. Nothing is changed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek};
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

/// A log is read so often at most. A writer begins it again after hundreds of kilobytes, which take longer to write than to read.
const LOG_READS: usize = 1000;

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
        let mut bytes = log.as_mut().map(read_log).transpose()?.unwrap_or_default();
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

    /// Whether the log has anything, which is so from the first commit of a start to its end, and after a power cut.
    pub(super) fn has_begun_log(&self) -> bool {
        !self.log_header.is_empty()
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

/// A log as it was at one time of its reading: one that is begun again meanwhile has its new header first, then loses its old frames
/// from the front, and is cut. What was read of it would look like a log whose last commits never were.
///
/// # Errors
/// It cannot be read, or [`ErrorKind::ResourceBusy`]: it was begun again each time.
pub(super) fn read_log(log: &mut (impl Read + Seek)) -> io::Result<Vec<u8>> {
    for _ in 0..LOG_READS {
        let (mut bytes, mut header) = (Vec::new(), Vec::new());
        log.rewind()?;
        log.read_to_end(&mut bytes)?;
        log.rewind()?;
        log.by_ref().take(wal::HEADER as u64).read_to_end(&mut header)?;
        if bytes.starts_with(&header) && (bytes.is_empty() || !header.is_empty()) {
            return Ok(bytes);
        }
    }
    Err(io::Error::new(ErrorKind::ResourceBusy, "the log is begun again faster than it can be read"))
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

#[cfg(test)]
mod tests {
    use std::io::{self, Cursor, Read, Seek, SeekFrom};

    use super::{LOG_READS, read_log};

    /// A log that is begun again in the middle of its first readings: behind its header others have the place of the old frames, or
    /// none.
    struct BegunAgain {
        /// Its bytes after each reading, the last one first.
        states: Vec<Vec<u8>>,
        now: Cursor<Vec<u8>>,
    }

    impl BegunAgain {
        fn with(mut states: Vec<Vec<u8>>) -> Self {
            let now = Cursor::new(states.pop().unwrap());
            Self { states, now }
        }
    }

    impl Read for BegunAgain {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let limit = into.len().min(40);
            let read = self.now.read(&mut into[..limit])?;
            if let Some(next) = self.states.pop() {
                *self.now.get_mut() = next;
            }
            Ok(read)
        }
    }

    impl Seek for BegunAgain {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.now.seek(to)
        }
    }

    #[test]
    fn what_is_read_of_a_log_is_of_one_time() {
        let [first, second, begun, none] = [vec![1; 100], vec![2; 100], vec![2; 32], Vec::new()];
        let from = [[&first, &first], [&second, &first], [&none, &first], [&second, &none], [&begun, &first]];
        for [last, before] in from {
            let mut log = BegunAgain::with(vec![last.clone(), before.clone()]);
            assert_eq!(read_log(&mut log).unwrap(), *last);
        }
    }

    #[test]
    fn a_log_that_is_begun_again_for_ever_is_given_up() {
        let mut log = BegunAgain::with((0..LOG_READS * 10).map(|nth| vec![nth as u8; 100]).collect());
        assert_eq!(read_log(&mut log).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
    }
}
