//! All SQL. One connection, held by the spool's thread; see the parent's page for the schema and why it is set up so.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior, params};

use crate::model::{Message, MessageKind, Name, RunId};
use crate::spool::file;
use crate::spool::record::{self, Row};
use crate::spool::{MIN_SIZE, SpoolError};

/// Sequences set aside for each start, so that numbers grow over restarts without being written one by one.
const SEQUENCES_PER_START: u64 = 1 << 36;

/// A file larger than this is made small again when nothing is left in it.
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

    /// Rows that one transaction deletes at most, for each may be on a page of its own.
    pub(super) fn deletions(self) -> usize {
        usize::try_from(self.batch / PAGE).unwrap_or(usize::MAX) * 4
    }
}

/// Bytes of a page, SQLite's default.
const PAGE: u64 = 4096;

/// The database.
#[derive(Debug)]
pub(super) struct Store {
    connection: Connection,
    file: PathBuf,
    rows: u64,
    used: u64,
}

/// What a row in the way of a newer one was.
#[derive(Debug)]
pub(super) struct Victim {
    pub(super) sequence: u64,
    /// Nothing when the row was no reading, or damaged.
    pub(super) reading: Option<(Name, RunId, u64)>,
}

/// Which rows give way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Readings, the oldest first.
    OldestReadings,
    /// Readings, the newest first.
    NewestReadings,
    /// Replies, the oldest first.
    OldestReplies,
}

impl Store {
    /// Takes over a connection that is set up and checked.
    pub(super) fn adopt(connection: Connection, file: &Path, limits: Limits) -> rusqlite::Result<Self> {
        let rows = connection.query_row("SELECT count(*) FROM message", [], |row| row.get(0)).map(unsigned)?;
        let used = used(&connection)?;
        let store = Self { connection, file: file.to_owned(), rows, used };
        store.limit(limits)?;
        Ok(store)
    }

    /// Sets a file aside that turned out damaged while it was in use, and begins a new one.
    pub(super) fn begin_anew(&mut self, limits: Limits) -> Result<PathBuf, SpoolError> {
        let memory = Connection::open_in_memory();
        let placeholder = memory.map_err(|source| SpoolError::Open { path: self.file.clone(), source })?;
        drop(std::mem::replace(&mut self.connection, placeholder));
        let folder = self.file.parent().unwrap_or(Path::new("/")).to_owned();
        let aside =
            file::set_aside(&self.file).map_err(|source| SpoolError::Folder { path: folder.clone(), source })?;
        *self = file::open(&folder, limits)?.store;
        Ok(aside)
    }

    /// Rows of messages.
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

    /// The oldest rows' sequences.
    pub(super) fn first_sequences(&self, limit: usize) -> rusqlite::Result<Vec<u64>> {
        let mut statement = self.connection.prepare("SELECT seq FROM message ORDER BY seq LIMIT ?1")?;
        let rows = statement.query_map([signed(limit as u64)], |row| row.get(0).map(unsigned))?;
        rows.collect()
    }

    /// Messages with `from ≤ seq < to` that `wanted` accepts, in order; nothing in place of one that cannot be decoded.
    pub(super) fn read(
        &self,
        from: u64,
        to: u64,
        limit: usize,
        wanted: impl Fn(u64) -> bool,
    ) -> rusqlite::Result<Vec<(u64, Option<Message>)>> {
        let mut statement = self.connection.prepare(&select("seq >= ?1 AND seq < ?2 ORDER BY seq"))?;
        let mut rows = statement.query(params![signed(from), signed(to)])?;
        let (mut found, mut bytes) = (Vec::new(), 0);
        while found.len() < limit && bytes < READ_BYTES {
            let Some(row) = rows.next()? else { break };
            if wanted(unsigned(row.get(0)?)) {
                let (sequence, message) = decode(row)?;
                bytes += message.as_ref().map_or(0, |message| message.body.len());
                found.push((sequence, message));
            }
        }
        Ok(found)
    }

    /// The first row that `wanted` accepts, and when its message was taken.
    pub(super) fn oldest(&self, wanted: impl Fn(u64) -> bool) -> rusqlite::Result<Option<(u64, Option<SystemTime>)>> {
        let mut statement = self.connection.prepare("SELECT seq, wall_ms FROM message ORDER BY seq")?;
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

    /// Makes the reserve if it is not there; without room for it, there is none.
    pub(super) fn keep_reserve(&self, limits: Limits) {
        file::keep_reserve(&self.file, limits.batch);
    }

    /// Gives the reserve up.
    pub(super) fn use_reserve(&self) {
        file::use_reserve(&self.file);
    }

    /// Gives the space of an emptied file back.
    pub(super) fn shrink(&mut self) -> rusqlite::Result<()> {
        if self.rows > 0 || pragma(&self.connection, "page_count")? * PAGE <= SHRINK_ABOVE {
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

    /// Makes the disk full, or not.
    #[cfg(test)]
    pub(super) fn fill(&self, is_full: bool) {
        let pages: i64 = if is_full { 1 } else { 1 << 30 };
        self.connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())).unwrap();
    }

    /// Applies the log to the database and closes it.
    pub(super) fn close(self) -> rusqlite::Result<()> {
        self.connection.close().map_err(|(_, error)| error)
    }
}

/// A transaction.
#[derive(Debug)]
pub(super) struct Batch<'a> {
    transaction: Transaction<'a>,
    rows: &'a mut u64,
    used: &'a mut u64,
    rows_after: u64,
}

impl Batch<'_> {
    /// Bytes of the database in use, were this committed now.
    pub(super) fn used(&self) -> rusqlite::Result<u64> {
        used(&self.transaction)
    }

    /// Notes a start of the program; repeated, it is a write that proves the disk.
    pub(super) fn note_run(&self, first: u64, run: RunId, boot_id: &str) -> rusqlite::Result<()> {
        let sql = "INSERT OR REPLACE INTO run (first, run, boot_id) VALUES (?1, ?2, ?3)";
        self.transaction.execute(sql, params![signed(first), run.0, boot_id])?;
        // Starts whose messages are all gone; the newest start before the oldest message may still have some.
        let oldest = "(SELECT coalesce(min(seq), 9223372036854775807) FROM message)";
        let sql = format!("DELETE FROM run WHERE first < (SELECT max(first) FROM run WHERE first <= {oldest})");
        self.transaction.execute(&sql, [])?;
        Ok(())
    }

    /// Deletes rows; those that are not there are ignored.
    pub(super) fn delete(&mut self, sequences: impl IntoIterator<Item = u64>) -> rusqlite::Result<()> {
        let mut statement = self.transaction.prepare("DELETE FROM message WHERE seq = ?1")?;
        for sequence in sequences {
            let gone = statement.execute([signed(sequence)])? as u64;
            self.rows_after = self.rows_after.saturating_sub(gone);
        }
        Ok(())
    }

    /// Writes messages; a loss record replaces the row under its sequence.
    pub(super) fn put<'m>(&mut self, messages: impl IntoIterator<Item = (u64, &'m Message)>) -> rusqlite::Result<()> {
        let mut delete = self.transaction.prepare("DELETE FROM message WHERE seq = ?1")?;
        let mut insert = self.transaction.prepare("INSERT INTO message VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?;
        for (sequence, message) in messages {
            // Only loss records grow, so only they can have a row already.
            if message.key.kind == MessageKind::Loss {
                let gone = delete.execute([signed(sequence)])? as u64;
                self.rows_after = self.rows_after.saturating_sub(gone);
            }
            insert.execute(params![
                signed(sequence),
                record::kind_number(message.key.kind),
                message.key.source.as_str(),
                message.run.0,
                signed(message.seq),
                i64::try_from(message.taken_at.boot.as_nanos()).unwrap_or(i64::MAX),
                record::wall_ms(message.taken_at.wall),
                record::flags(message),
                message.body,
            ])?;
            self.rows_after += 1;
        }
        Ok(())
    }

    /// Rows to delete, in `order` and without those that `spared` names, until they make up about `bytes`.
    pub(super) fn victims(
        &self,
        order: Order,
        bytes: u64,
        spared: impl Fn(u64) -> bool,
    ) -> rusqlite::Result<Vec<Victim>> {
        let rest = match order {
            Order::OldestReadings => "WHERE kind = 0 ORDER BY seq",
            Order::NewestReadings => "WHERE kind = 0 ORDER BY seq DESC",
            Order::OldestReplies => "WHERE kind = 1 ORDER BY seq",
        };
        let sql = format!("SELECT seq, kind, source, run, n, length(body) FROM message {rest}");
        let mut statement = self.transaction.prepare(&sql)?;
        let mut rows = statement.query([])?;
        let (mut victims, mut freed) = (Vec::new(), 0);
        while freed < bytes {
            let Some(row) = rows.next()? else { break };
            let victim = victim(row)?;
            if !spared(victim.sequence) {
                freed += row.get::<_, i64>(5)?.max(0).unsigned_abs() + record::ROW_OVERHEAD;
                victims.push(victim);
            }
        }
        Ok(victims)
    }

    /// Commits: what it says is on disk when this returns.
    pub(super) fn commit(self) -> rusqlite::Result<()> {
        let after = used(&self.transaction)?;
        self.transaction.commit()?;
        (*self.rows, *self.used) = (self.rows_after, after);
        Ok(())
    }
}

/// Whether there is no room left on the disk.
pub(super) fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

/// Whether the file, not the disk, is the trouble.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

fn used(connection: &Connection) -> rusqlite::Result<u64> {
    Ok(pragma(connection, "page_count")?.saturating_sub(pragma(connection, "freelist_count")?) * PAGE)
}

fn pragma(connection: &Connection, name: &str) -> rusqlite::Result<u64> {
    connection.pragma_query_value(None, name, |row| row.get(0)).map(unsigned)
}

fn select(condition: &str) -> String {
    format!("SELECT seq, kind, source, run, n, boot_ns, wall_ms, flags, body FROM message WHERE {condition}")
}

fn decode(row: &rusqlite::Row<'_>) -> rusqlite::Result<(u64, Option<Message>)> {
    let sequence = unsigned(row.get(0)?);
    Ok((sequence, columns(row).ok().and_then(record::decode)))
}

fn columns(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    Ok(Row {
        kind: row.get(1)?,
        source: row.get(2)?,
        run: row.get(3)?,
        n: row.get(4)?,
        boot_ns: row.get(5)?,
        wall_ms: row.get(6)?,
        flags: row.get(7)?,
        body: row.get(8)?,
    })
}

fn victim(row: &rusqlite::Row<'_>) -> rusqlite::Result<Victim> {
    let reading = || -> Option<_> {
        let is_reading = row.get::<_, i64>(1).ok()? == 0;
        let name = Name::new(&row.get::<_, String>(2).ok()?).ok()?;
        is_reading.then_some((name, RunId(row.get(3).ok()?), unsigned(row.get(4).ok()?)))
    };
    Ok(Victim { sequence: unsigned(row.get(0)?), reading: reading() })
}

/// Sequences stay far below 2^63; a larger one could only come from a damaged file.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
