//! The SQL of a spool in use; `file.rs` opens one, `salvage.rs` reads a damaged one. One connection, held by the spool's thread; see the parent's page for the schema and why it is set up so.

mod batch;
mod values;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

pub(super) use batch::Batch;
use rusqlite::{Connection, TransactionBehavior, params};

use crate::MIN_SIZE;
use crate::announced::Announcements;
use crate::counts::Counted;
use crate::error::GiveUpError;
use crate::file;
use crate::ids::CommandRows;
use crate::record::{self, Unsound};
use crate::rows::{body_len, decode, read_announced, read_commands, read_counts, select, signed, unsigned};
use fieldgate_model::Message;

/// Sequences set aside for each start, so that numbers grow over restarts without being written one by one.
pub(super) const SEQUENCES_PER_START: u64 = 1 << 36;

/// A file with more unused bytes than these is made small again when no message is left in it.
const SHRINK_ABOVE: u64 = 1024 * 1024;

/// Bodies of one read in bytes at most, but for the first: an answer must not double the memory of the spool.
pub(super) const READ_BYTES: usize = 256 * 1024;

/// How `max_size` is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Bytes of the database in use, at most.
    pub(super) capacity: u64,
    /// Bytes that one transaction adds, at most.
    pub(super) batch: u64,
}

impl Limits {
    /// The log is applied to the database from a thirty-second of `max_size` on (at most 1 MiB: it is read at each
    /// start). One transaction adds as much again, its deletions a few times that in the worst case, and
    /// the reserve is of that size too: hence seven.
    pub(super) fn of(max_size: u64) -> Self {
        let max_size = max_size.max(MIN_SIZE);
        let batch = (max_size / 32).clamp(32 * 1024, 1024 * 1024);
        Self { capacity: max_size - 7 * batch, batch }
    }

    /// The limits where the disk has `available` bytes in all for the spool, of which `used` are in use. Those stay: deleting
    /// rows would not free any disk space for other programs.
    pub(super) fn within(max_size: u64, available: u64, used: u64) -> Self {
        let (wanted, possible) = (Self::of(max_size), Self::of(max_size.min(available)));
        Self { capacity: possible.capacity.max(used).min(wanted.capacity), ..possible }
    }

    /// Rows that one transaction deletes at most, for each may be on a page of its own.
    pub(super) fn deletions(self) -> usize {
        usize::try_from(self.batch / PAGE).unwrap_or(usize::MAX) * 4
    }
}

/// Bytes of a page, SQLite's default.
const PAGE: u64 = 4096;

/// Bytes of a row at least: ten columns of which one is a reading in JSON.
const LEAST_ROW: u64 = 32;

/// The database.
#[derive(Debug)]
pub(super) struct Store {
    connection: Connection,
    file: PathBuf,
    /// Until the file is examined: as many as there can be.
    rows: u64,
    used: u64,
    is_examined: bool,
}

/// What one read found.
#[derive(Debug)]
pub(super) struct Rows {
    /// In order; an error in place of a message that is damaged.
    pub(super) found: Vec<(u64, Result<Message, Unsound>)>,
    /// The first row that was left out; nothing when these are all.
    pub(super) next: Option<u64>,
}

/// Which rows are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DropOrder {
    /// Readings, the oldest first.
    OldestReadings,
    /// Readings, the newest first.
    NewestReadings,
    /// Replies, the oldest first.
    OldestReplies,
}

impl Store {
    /// Takes over a connection that is set up. It reads a few pages, however large the file is; [`Store::examine`] comes next.
    pub(super) fn adopt(connection: Connection, file: &Path, limits: Limits) -> rusqlite::Result<Self> {
        let used = used(&connection)?;
        let rows = rows_at_most(&connection)?.min(used / LEAST_ROW);
        let store = Self { connection, file: file.to_owned(), rows, used, is_examined: false };
        store.limit(limits)?;
        Ok(store)
    }

    /// Reads the whole file, as far as a second allows: whether its structure is sound, and how many rows it has. Once is enough.
    pub(super) fn examine(&mut self) -> rusqlite::Result<bool> {
        if !self.is_examined {
            if !file::quick_check(&mut self.connection)? {
                return Ok(false);
            }
            self.rows =
                self.connection.query_row("SELECT count(*) FROM message", [], |row| row.get(0)).map(unsigned)?;
            self.is_examined = true;
        }
        Ok(true)
    }

    /// Stands in while the file is examined: it says what was known of it, and has none of it.
    pub(super) fn stand_in(&self) -> rusqlite::Result<Self> {
        let folder = self.file.parent().unwrap_or(Path::new("/"));
        Ok(Self { rows: self.rows, used: self.used, ..Self::in_memory(folder)? })
    }

    /// Whether [`Store::examine`] has nothing left to do.
    pub(super) fn is_examined(&self) -> bool {
        self.is_examined
    }

    /// Stands in for the database that `folder` cannot hold now: always empty, and never written to.
    pub(super) fn in_memory(folder: &Path) -> rusqlite::Result<Self> {
        Ok(Self { connection: file::in_memory()?, file: folder.join(file::FILE), rows: 0, used: 0, is_examined: true })
    }

    /// Closes a file that turned out damaged while it was in use, and sets it aside. [`Store::in_memory`] then takes its place,
    /// also when that fails.
    pub(super) fn set_aside(&mut self) -> Result<PathBuf, GiveUpError> {
        self.give_up_file()?;
        Ok(file::set_aside(&self.file)?)
    }

    /// Closes a file whose rows are not needed any more, and removes it: on a full disk that needs no space, unlike deleting
    /// rows. [`Store::in_memory`] then takes its place.
    pub(super) fn remove(&mut self) -> Result<(), GiveUpError> {
        self.give_up_file()?;
        Ok(file::remove(&self.file)?)
    }

    /// Closes the file, so that it can be renamed or removed.
    fn give_up_file(&mut self) -> rusqlite::Result<()> {
        let placeholder = Self::in_memory(self.file.parent().unwrap_or(Path::new("/")))?;
        drop(std::mem::replace(self, placeholder));
        Ok(())
    }

    /// Rows of messages; until the file is examined, not less than there are.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes of the database in use, as of the last commit.
    pub(super) fn used(&self) -> u64 {
        self.used
    }

    /// The first sequence that no earlier start can have given.
    pub(super) fn next_sequence(&self) -> rusqlite::Result<u64> {
        let sql = "SELECT coalesce((SELECT max(seq) FROM message), 0), coalesce((SELECT max(first) FROM run), 0)";
        let (newest, first): (i64, i64) = self.connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let after_start = first.max(0).unsigned_abs().saturating_add(SEQUENCES_PER_START);
        Ok(after_start.max(newest.max(0).unsigned_abs() + 1))
    }

    /// What sensors have counted, and the names of those whose count is damaged.
    pub(super) fn counts(&self) -> rusqlite::Result<(Vec<Counted>, Vec<String>)> {
        let (mut sound, mut unsound) = (Vec::new(), Vec::new());
        read_counts(&self.connection, |name, count| match count {
            Some(count) => sound.push(count),
            None => unsound.push(name),
        })?;
        Ok((sound, unsound))
    }

    /// The ids of commands.
    pub(super) fn commands(&self) -> rusqlite::Result<CommandRows> {
        let mut rows = CommandRows::default();
        read_commands(&self.connection, |place, record| match record {
            Some(record) => rows.sound.push((place, record)),
            None => rows.unsound.push(place),
        })?;
        Ok(rows)
    }

    /// What was announced, and the names of what is damaged of it.
    pub(super) fn announced(&self) -> rusqlite::Result<(Announcements, Vec<String>)> {
        let (mut sound, mut unsound) = (Announcements::new(), Vec::new());
        read_announced(&self.connection, |name, body| match body {
            Some(body) => drop(sound.insert(name, body)),
            None => unsound.push(name),
        })?;
        Ok((sound, unsound))
    }

    /// Whether there is a row at `sequence`.
    pub(super) fn has(&self, sequence: u64) -> rusqlite::Result<bool> {
        self.connection.prepare_cached("SELECT 1 FROM message WHERE seq = ?1")?.exists([signed(sequence)])
    }

    /// The oldest rows' sequences.
    pub(super) fn first_sequences(&self, limit: usize) -> rusqlite::Result<Vec<u64>> {
        let mut statement = self.connection.prepare_cached("SELECT seq FROM message ORDER BY seq LIMIT ?1")?;
        let rows = statement.query_map([signed(limit as u64)], |row| row.get(0).map(unsigned))?;
        rows.collect()
    }

    /// Messages with `from ≤ seq < to` that `wanted` accepts, in order. A row that does not belong where it is makes the file a
    /// damaged one: with its sequence, SQLite no longer finds those around it.
    pub(super) fn read(
        &self,
        from: u64,
        to: u64,
        limit: usize,
        wanted: impl Fn(u64) -> bool,
    ) -> rusqlite::Result<Rows> {
        let mut statement = self.connection.prepare_cached(&select("seq >= ?1 AND seq < ?2 ORDER BY seq"))?;
        let mut rows = statement.query(params![signed(from), signed(to)])?;
        let (mut found, mut bytes) = (Vec::new(), 0);
        while let Some(row) = rows.next()? {
            let place = unsigned(row.get(0)?);
            if !wanted(place) {
                continue;
            }
            let (sequence, message) = decode(row)?;
            if matches!(message, Err(Unsound { is_placed: false, .. })) {
                return Err(misplaced(sequence));
            }
            if found.len() >= limit || bytes >= READ_BYTES {
                return Ok(Rows { found, next: Some(sequence) });
            }
            bytes += body_len(&message);
            found.push((sequence, message));
        }
        Ok(Rows { found, next: None })
    }

    /// The first of the newest rows with `from ≤ seq < to` that were all taken at `boot` or later.
    pub(super) fn first_since(&self, from: u64, to: u64, boot: Duration) -> rusqlite::Result<Option<u64>> {
        let sql = "SELECT seq, boot_ns FROM message WHERE seq >= ?1 AND seq < ?2 ORDER BY seq DESC";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query([signed(from), signed(to)])?;
        let mut first = None;
        while let Some(row) = rows.next()? {
            if row.get::<_, i64>(1)? < record::boot_ns(boot) {
                break;
            }
            first = Some(unsigned(row.get(0)?));
        }
        Ok(first)
    }

    /// The first row that `wanted` accepts, and when its message was taken.
    pub(super) fn oldest(&self, wanted: impl Fn(u64) -> bool) -> rusqlite::Result<Option<(u64, Option<SystemTime>)>> {
        let mut statement = self.connection.prepare_cached("SELECT seq, wall_ms FROM message ORDER BY seq")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let sequence = unsigned(row.get(0)?);
            if wanted(sequence) {
                return Ok(Some((sequence, record::wall(row.get(1)?))));
            }
        }
        Ok(None)
    }

    /// Begins a transaction; dropping it undoes it.
    pub(super) fn begin(&mut self) -> rusqlite::Result<Batch<'_>> {
        let Self { connection, rows, used, .. } = self;
        let rows_after = *rows;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        Ok(Batch { transaction, rows, used, rows_after })
    }

    /// Makes the reserve as large as it is to be; without space for it, there is none.
    pub(super) fn keep_reserve(&self, limits: Limits) {
        file::keep_reserve(&self.file, limits.batch);
    }

    /// Deletes the reserve, so that its space can be used.
    pub(super) fn use_reserve(&self) {
        file::use_reserve(&self.file);
    }

    /// Gives the space of an emptied file back.
    pub(super) fn shrink(&mut self) -> rusqlite::Result<()> {
        if self.rows > 0 || pragma(&self.connection, "freelist_count")? * PAGE <= SHRINK_ABOVE {
            return Ok(());
        }
        // The file itself is cut when the log has been applied.
        self.connection.execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)")
    }

    /// Applies new limits.
    pub(super) fn limit(&self, limits: Limits) -> rusqlite::Result<()> {
        self.connection.pragma_update(None, "wal_autocheckpoint", signed(limits.batch / PAGE))?;
        let set = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
        self.connection.pragma_update_and_check(None, "journal_size_limit", signed(limits.batch), set)?;
        Ok(())
    }

    /// As large as one for which a start does not wait.
    #[cfg(test)]
    pub(super) fn forget_examination(&mut self) {
        self.is_examined = false;
    }

    /// Makes the disk full, or not.
    #[cfg(test)]
    pub(super) fn fill(&self, is_full: bool) {
        let pages: i64 = if is_full { 1 } else { 1 << 30 };
        self.connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())).unwrap();
    }

    /// Changes a reading's row, so that it is not as it was written.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn damage(&self, sensor: &fieldgate_model::Name, n: u64) {
        let sql = "UPDATE message SET body = CAST(body || 'x' AS BLOB) WHERE kind = 0 AND source = ?1 AND n = ?2";
        self.connection.execute(sql, params![sensor.as_str(), signed(n)]).expect("the rows can be changed");
    }

    /// Applies the log to the database and closes it.
    pub(super) fn close(self) -> rusqlite::Result<()> {
        self.connection.close().map_err(|(_, error)| error)
    }
}

fn misplaced(sequence: u64) -> rusqlite::Error {
    let words = format!("row {sequence} does not belong there");
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Integer, words.into())
}

fn used(connection: &Connection) -> rusqlite::Result<u64> {
    Ok(pragma(connection, "page_count")?.saturating_sub(pragma(connection, "freelist_count")?) * PAGE)
}

/// The distances between the ends of what each start has written, without reading what lies in between.
fn rows_at_most(connection: &Connection) -> rusqlite::Result<u64> {
    let sql = "WITH start AS (SELECT 0 AS first UNION SELECT first FROM run),
                    part AS (SELECT first, lead(first, 1, 1 << 62) OVER (ORDER BY first) AS next FROM start),
                    ends AS (SELECT (SELECT min(seq) FROM message WHERE seq >= first AND seq < next) AS oldest,
                                    (SELECT max(seq) FROM message WHERE seq >= first AND seq < next) AS newest FROM part)
               SELECT coalesce(sum(newest - oldest + 1), 0) FROM ends";
    connection.query_row(sql, [], |row| row.get(0)).map(unsigned)
}

fn pragma(connection: &Connection, name: &str) -> rusqlite::Result<u64> {
    connection.pragma_query_value(None, name, |row| row.get(0)).map(unsigned)
}
