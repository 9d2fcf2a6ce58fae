//! Reads what can still be read of a damaged file that was set aside, without changing it.
//!
//! Rows come in order, each once, from wherever they lie: `scout.rs` finds the pages with rows and sorts them, and what overlaps is
//! merged. So neither a wrong key nor a wrong pointer hides what is sound, and a row is what its checksum says. Where something
//! may be missing is a hole, and `holes.rs` says which readings were in it, where the rows around it show it. Rows whose checksum
//! is wrong are not trusted with more than their name.
//!
//! One call looks at a bounded part of the file, and what is remembered is bounded by its size: sixteen bytes for each page with
//! rows, and a few for each row of pages that overlap.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::announced::Announcements;
use crate::counts::Counted;
use crate::file;
use crate::ids::CommandRows;
use crate::page_file::{LAST, PageFile};
use crate::pages::TablePage;
use crate::record::Unsound;
use crate::rows::{body_len, read_announced, read_commands, read_counts, read_values, signed, unsigned};
use crate::scout::{Leaf, Scout, Sighted, newest_of, sighted};
use crate::store::READ_BYTES;
use crate::values::SetValue;
use fieldgate_model::Message;

/// What a salvage comes to next.
#[derive(Debug)]
pub(super) enum Found {
    /// A row.
    Row(u64, Result<Message, Unsound>),
    /// An unknown number of rows that cannot be read.
    Hole,
}

/// Pages that are looked at in one go: a mebibyte.
const PAGES_AT_ONCE: usize = 256;

/// Rows that are put in order at once at most: those of a page or two, unless the bytes were made to look otherwise.
const MERGED: usize = 65_536;

/// A damaged file that is being read.
#[derive(Debug)]
pub(super) struct Salvage {
    /// For what is not a message; nothing when SQLite cannot make anything of the file.
    connection: Option<Connection>,
    file: PageFile,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Scouting(Scout),
    Reading(Reading),
}

/// The pages that are still to be read, and the rows of those that were.
#[derive(Debug, Default)]
struct Reading {
    /// The next one last.
    leaves: Vec<Leaf>,
    /// By sequence: in which page, and where there.
    due: BTreeMap<u64, (u32, Sighted)>,
    /// The last page that was read, and its number.
    page: (u32, Vec<u8>),
    /// The last sequence that was found.
    after: u64,
}

impl Salvage {
    /// Nothing when it cannot be read at all.
    pub(super) fn open(path: &Path) -> Option<Self> {
        let file = PageFile::open(path)?;
        // SQLite would delete the log of a database that has nothing.
        let connection = if file::is_emptied(path) { None } else { connect(path) };
        let stage = Stage::Scouting(Scout::new(&file));
        Some(Self { connection, file, stage })
    }

    /// The highest sequence that it is known to have given.
    pub(super) fn newest(&self) -> u64 {
        let sql = "SELECT first FROM run WHERE first < ?1 ORDER BY first DESC LIMIT 1";
        let ask = |connection: &Connection| connection.query_row(sql, [signed(LAST)], |row| row.get::<_, i64>(0)).ok();
        let start = self.connection.as_ref().and_then(ask).map_or(0, unsigned);
        newest_of(&self.file).unwrap_or(0).max(start)
    }

    /// What can still be read of the counts.
    pub(super) fn counts(&self) -> Vec<Counted> {
        let mut sound = Vec::new();
        self.as_far_as_possible(|connection| read_counts(connection, |_, count| sound.extend(count)));
        sound
    }

    /// What can still be read of what users have set.
    pub(super) fn values(&self) -> Vec<SetValue> {
        let mut sound = Vec::new();
        self.as_far_as_possible(|connection| read_values(connection, |_, value| sound.extend(value)));
        sound
    }

    /// What can still be read of the ids of commands.
    pub(super) fn commands(&self) -> CommandRows {
        let mut rows = CommandRows::default();
        let mut see = |place, record: Option<_>| rows.sound.extend(record.map(|record| (place, record)));
        self.as_far_as_possible(|connection| read_commands(connection, &mut see));
        rows
    }

    /// What can still be read of what was announced.
    pub(super) fn announced(&self) -> Announcements {
        let mut sound = Announcements::new();
        let mut see = |name, body: Option<_>| sound.extend(body.map(|body| (name, body)));
        self.as_far_as_possible(|connection| read_announced(connection, &mut see));
        sound
    }

    /// Where it cannot be read any further, the rest is not recovered.
    fn as_far_as_possible(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<()>) {
        self.connection.as_ref().map_or(Ok(()), read).unwrap_or_default();
    }

    /// About `limit` more, in order, or none as long as the pages are sought; nothing at the end.
    pub(super) fn next(&mut self, limit: usize) -> Option<Vec<Found>> {
        match &mut self.stage {
            Stage::Scouting(scout) => {
                if !(0..PAGES_AT_ONCE).all(|_| scout.step(&self.file)) {
                    let scout = std::mem::replace(scout, Scout::new(&self.file));
                    self.stage = Stage::Reading(Reading::new(scout.leaves()));
                }
                Some(Vec::new())
            }
            Stage::Reading(reading) => reading.next(&self.file, limit),
        }
    }
}

fn connect(path: &Path) -> Option<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).ok()?;
    // The file is not changed: its log is read, but not applied.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).ok()?;
    let settings = "PRAGMA locking_mode = EXCLUSIVE; PRAGMA query_only = ON; PRAGMA trusted_schema = OFF; \
                    PRAGMA cell_size_check = ON; PRAGMA cache_size = -512";
    connection.execute_batch(settings).ok()?;
    Some(connection)
}

impl Reading {
    fn new(mut leaves: Vec<Leaf>) -> Self {
        leaves.reverse();
        Self { leaves, ..Self::default() }
    }

    fn next(&mut self, file: &PageFile, limit: usize) -> Option<Vec<Found>> {
        let (mut found, mut bytes) = (Vec::new(), 0);
        while found.len() < limit && bytes < READ_BYTES {
            let bound = self.leaves.last().map_or(u64::MAX, |leaf| leaf.first);
            let is_next = |sequence: &u64| *sequence < bound || self.due.len() > MERGED;
            if let Some((sequence, row)) = self.due.first_key_value().filter(|(sequence, _)| is_next(sequence)) {
                let (sequence, (page, row)) = (*sequence, *row);
                self.due.remove(&sequence);
                bytes += self.give(file, page, row, &mut found);
            } else if let Some(leaf) = self.leaves.pop() {
                self.take(file, leaf, &mut found);
            } else if found.is_empty() {
                return None;
            } else {
                break;
            }
        }
        Some(found)
    }

    /// The rows of a page come when those of others that belong in front of them have come.
    fn take(&mut self, file: &PageFile, leaf: Leaf, found: &mut Vec<Found>) {
        if leaf.is_behind_gap {
            found.push(Found::Hole);
        }
        let Some(page) = self.turn_to(file, leaf.page) else { return found.push(Found::Hole) };
        for row in sighted(file, &page) {
            self.due.entry(row.sequence).or_insert((leaf.page, row));
        }
    }

    /// Returns how large the row's body is.
    fn give(&mut self, file: &PageFile, page: u32, row: Sighted, found: &mut Vec<Found>) -> usize {
        if row.sequence <= self.after {
            return 0;
        }
        self.after = row.sequence;
        if row.is_behind_gap {
            found.push(Found::Hole);
        }
        let placed = self.turn_to(file, page).and_then(|page| file.placed(&page, row.place));
        let bytes = placed.as_ref().map_or(0, |placed| body_len(&placed.message));
        // One that could be read when it was sought, and no more, is a hole like any other.
        found.push(placed.map_or(Found::Hole, |placed| Found::Row(placed.sequence, placed.message)));
        if row.is_before_gap {
            found.push(Found::Hole);
        }
        bytes
    }

    fn turn_to(&mut self, file: &PageFile, number: u32) -> Option<TablePage<'_>> {
        if self.page.0 != number {
            self.page = (number, file.page(number)?);
        }
        TablePage::read(&self.page.1)
    }
}
