//! Whether the write-ahead log lost something that had been committed. Pure.
//!
//! SQLite takes a log up to the first frame whose checksum is wrong and says nothing about the rest, since a power cut leaves
//! just that: a transaction that never was. But each commit is synced before the next transaction begins, so frames *behind a
//! later commit* prove that the wrong frame had been on the disk. The format is that of sqlite.org/fileformat2.html, section 4.

use std::collections::BTreeMap;

/// Bytes in front of the first frame.
pub(super) const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
const MAGIC: u32 = 0x377f_0682;

/// Frames with other salts than the header's are left from before the log was restarted.
type Salts = [u8; 8];

struct Log<'a> {
    frames: Vec<&'a [u8]>,
    salts: Salts,
    sum: (u32, u32),
    is_big_endian: bool,
    page: usize,
}

/// Whether committed frames can no longer be read, although they were synced.
pub(super) fn has_lost_commits(log: &[u8]) -> bool {
    let Some(log) = Log::read(log) else { return false };
    let good = log.good();
    let commits_behind =
        log.frames.iter().enumerate().skip(good).filter(|(_, frame)| log.is_own(frame) && is_commit(frame));
    let first_commit = commits_behind.map(|(i, _)| i).next();
    first_commit.is_some_and(|commit| log.frames.iter().skip(commit + 1).any(|frame| log.is_own(frame)))
}

/// Whether the log has only empty tables, or nothing at all: what making a new database writes before the database itself, so that a
/// power cut may leave it alone. What cannot be read may have been anything.
pub(super) fn has_no_rows(log: &[u8]) -> bool {
    let Some(log) = Log::read(log) else { return log.len() < HEADER };
    let good = log.good();
    let is_whole = !log.frames[good..].iter().any(|frame| log.is_own(frame) && is_commit(frame));
    // Page 1 has the list of the tables, each other page is the root of one of them.
    let mut tables = log.frames[..good].iter().filter(|frame| word(frame, 0, true) != Some(1));
    is_whole && tables.all(|frame| is_empty_leaf(&frame[FRAME_HEADER..]))
}

/// Section 1.6: the kind of a page of a tree, and two bytes on how many cells it has.
fn is_empty_leaf(page: &[u8]) -> bool {
    matches!(page.first(), Some(0x0D | 0x0A)) && page.get(3..5) == Some(&[0, 0])
}

/// Where in the log the pages of its last whole commit begin, and how many the database has then; nothing when there is none.
pub(super) fn pages(log: &[u8], page: usize) -> (BTreeMap<u32, u64>, Option<u32>) {
    let Some(log) = Log::read(log).filter(|log| log.page == page) else { return Default::default() };
    let good = &log.frames[..log.good()];
    let Some(last) = good.iter().rposition(|frame| is_commit(frame)) else { return Default::default() };
    let at = |i: usize| (HEADER + i * (FRAME_HEADER + page) + FRAME_HEADER) as u64;
    let numbered = good[..=last].iter().enumerate().filter_map(|(i, frame)| Some((word(frame, 0, true)?, at(i))));
    (numbered.collect(), word(good[last], 4, true))
}

impl<'a> Log<'a> {
    /// Nothing when the header is not one: then SQLite begins a new log, and what was in this one had been applied, or cannot
    /// be known.
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let header = bytes.get(..HEADER)?;
        let magic = word(header, 0, true)?;
        let page = usize::try_from(word(header, 8, true)?).ok()?;
        let is_page = page.is_power_of_two() && (512..=65_536).contains(&page);
        if magic & !1 != MAGIC || !is_page {
            return None;
        }
        let is_big_endian = magic & 1 == 1;
        let sum = checksum((0, 0), header.get(..24)?, is_big_endian);
        if sum != (word(header, 24, true)?, word(header, 28, true)?) {
            return None;
        }
        let salts = header.get(16..24)?.try_into().ok()?;
        Some(Self {
            frames: bytes[HEADER..].chunks_exact(FRAME_HEADER + page).collect(),
            salts,
            sum,
            is_big_endian,
            page,
        })
    }

    fn is_own(&self, frame: &[u8]) -> bool {
        frame.get(8..16) == Some(&self.salts)
    }

    /// How many frames from the start are as they were written.
    fn good(&self) -> usize {
        let mut sum = self.sum;
        let is_good = |frame: &&&[u8]| {
            sum = checksum(sum, &frame[..8], self.is_big_endian);
            sum = checksum(sum, &frame[FRAME_HEADER..], self.is_big_endian);
            self.is_own(frame) && word(frame, 16, true) == Some(sum.0) && word(frame, 20, true) == Some(sum.1)
        };
        self.frames.iter().take_while(is_good).count()
    }
}

/// A frame that ends a transaction says how large the database is then.
fn is_commit(frame: &[u8]) -> bool {
    word(frame, 4, true).is_some_and(|pages| pages != 0)
}

fn word(bytes: &[u8], at: usize, is_big_endian: bool) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(if is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
}

fn checksum(sum: (u32, u32), bytes: &[u8], is_big_endian: bool) -> (u32, u32) {
    bytes.chunks_exact(8).fold(sum, |(first, second), pair| {
        let word = |at| word(pair, at, is_big_endian).unwrap_or(0);
        let first = first.wrapping_add(word(0)).wrapping_add(second);
        (first, second.wrapping_add(word(4)).wrapping_add(first))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;

    /// The log of five transactions, as SQLite writes it.
    static LOG: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.db");
        let connection = rusqlite::Connection::open(&file).unwrap();
        connection.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (n)").unwrap();
        (1..5).for_each(|n| {
            connection.execute("INSERT INTO t VALUES (?1)", [n]).unwrap();
        });
        std::fs::read(folder.path().join("a.db-wal")).unwrap()
    });

    /// That log, and how long each of its frames is.
    fn log() -> (Vec<u8>, usize) {
        (LOG.clone(), FRAME_HEADER + 4096)
    }

    #[test]
    fn a_whole_log_has_lost_nothing_and_every_frame_is_found_good() {
        let (bytes, frame) = log();
        let log = Log::read(&bytes).unwrap();
        assert_eq!(log.good(), (bytes.len() - HEADER) / frame);
        assert!(log.good() >= 5 && !has_lost_commits(&bytes));
    }

    #[test]
    fn a_log_has_no_rows_until_a_transaction_with_one_has_begun_and_has_some_when_it_cannot_be_read() {
        let (bytes, frame) = log();
        // The first two frames make the table, and the third is the first row.
        let ends = (0..(bytes.len() - HEADER) / frame).map(|nth| HEADER + nth * frame);
        let beside_ends = ends.flat_map(|end| [end - 1, end, end + 1]);
        for cut in beside_ends.chain((0..bytes.len()).step_by(101)) {
            assert_eq!(has_no_rows(&bytes[..cut]), cut < HEADER + 3 * frame, "{cut}");
        }
        let mut torn = bytes.clone();
        torn[HEADER + FRAME_HEADER + 100] ^= 1;
        assert!(!has_no_rows(&torn), "it may have had any");
        let mut unreadable = bytes;
        unreadable[0] ^= 1;
        assert!(!has_no_rows(&unreadable));
    }

    #[test]
    fn a_changed_frame_in_front_of_later_commits_is_damage_and_a_torn_end_is_not() {
        let (bytes, frame) = log();
        let frames = (bytes.len() - HEADER) / frame;
        for damaged in 0..frames {
            let mut bytes = bytes.clone();
            bytes[HEADER + damaged * frame + FRAME_HEADER + 100] ^= 1;
            // Each insert is one frame, so a commit and a frame behind it need two more.
            assert_eq!(has_lost_commits(&bytes), damaged + 2 <= frames, "frame {damaged} of {frames}");
        }
        assert!(!has_lost_commits(&bytes[..bytes.len() - 7]));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            bytes in any::<Vec<u8>>(), cut in any::<prop::sample::Index>(),
            at in any::<prop::sample::Index>(), bit in 0_u8..8,
        ) {
            has_lost_commits(&bytes);
            has_no_rows(&bytes);
            let (mut log, _) = log();
            let place = at.index(log.len());
            log[place] ^= 1_u8 << bit;
            log.truncate(cut.index(log.len()));
            has_lost_commits(&log);
            has_no_rows(&log);
        }
    }
}
