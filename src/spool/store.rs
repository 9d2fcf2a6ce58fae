//! All SQL. One connection, held by the spool's thread; see the parent's page for the schema and why it is set up so.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior, params};

use crate::model::{Message, MessageKind, Name, RunId};
use crate::spool::record::{self, Row};
use crate::spool::{MIN_SIZE, SpoolError};

const FILE: &str = "spool.db";
const SCHEMA_VERSION: i64 = 1;

/// Exactly as SQLite keeps them in its own table: a file with other text is not ours.
const TABLES: [(&str, &str); 2] = [
    (
        "message",
        "CREATE TABLE message (seq INTEGER PRIMARY KEY, kind INTEGER NOT NULL, source TEXT NOT NULL, \
         run INTEGER NOT NULL, n INTEGER NOT NULL, boot_ns INTEGER NOT NULL, wall_ms INTEGER NOT NULL, \
         flags INTEGER NOT NULL, body BLOB NOT NULL) STRICT",
    ),
    ("run", "CREATE TABLE run (first INTEGER PRIMARY KEY, run INTEGER NOT NULL, boot_id TEXT NOT NULL) STRICT"),
];

/// 3.51.3: before it a race could leave a log that recovery reads wrongly.
const OLDEST_SQLITE: i32 = 3_051_003;

/// How long the check at start may take: cards are slow, and damage that it misses shows when the page is read.
const CHECK_BUDGET: Duration = Duration::from_secs(1);

/// Damaged files that are kept, so that a dying card cannot fill itself with them.
const DAMAGED_KEPT: usize = 2;

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
    /// start). One transaction adds as much again, its deletions a few times that in the worst case: hence six.
    pub(super) fn of(max_size: u64) -> Self {
        let max_size = max_size.max(MIN_SIZE);
        let batch = (max_size / 32).clamp(32 * 1024, 1024 * 1024);
        Self { capacity: max_size - 6 * batch, batch }
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

/// An opened database and what was found.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) store: Store,
    /// Where a damaged file went.
    pub(super) set_aside: Option<PathBuf>,
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
    /// Opens or makes the database in `folder`; a damaged one is set aside.
    pub(super) fn open(folder: &Path, limits: Limits) -> Result<Opened, SpoolError> {
        if rusqlite::version_number() < OLDEST_SQLITE {
            return Err(SpoolError::OldSqlite { found: rusqlite::version() });
        }
        make_folder(folder).map_err(|source| SpoolError::Folder { path: folder.to_owned(), source })?;
        let file = folder.join(FILE);
        let failed = |error| refusal(folder, &file, error);
        match try_open(&file, limits) {
            Err(Trouble::Damaged) => {
                let aside =
                    set_aside(&file).map_err(|source| SpoolError::Folder { path: folder.to_owned(), source })?;
                let store = try_open(&file, limits).map_err(failed)?;
                Ok(Opened { store, set_aside: Some(aside) })
            }
            opened => Ok(Opened { store: opened.map_err(failed)?, set_aside: None }),
        }
    }

    /// Sets a file aside that turned out damaged while it was in use, and begins a new one.
    pub(super) fn begin_anew(&mut self, limits: Limits) -> Result<PathBuf, SpoolError> {
        let memory = Connection::open_in_memory();
        let placeholder = memory.map_err(|source| SpoolError::Open { path: self.file.clone(), source })?;
        drop(std::mem::replace(&mut self.connection, placeholder));
        let folder = self.file.parent().unwrap_or(Path::new("/")).to_owned();
        let aside = set_aside(&self.file).map_err(|source| SpoolError::Folder { path: folder.clone(), source })?;
        *self = Self::open(&folder, limits)?.store;
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

    /// Gives the space of an emptied file back.
    pub(super) fn shrink(&mut self) -> rusqlite::Result<()> {
        if self.rows > 0 || pragma(&self.connection, "page_count")? * PAGE <= SHRINK_ABOVE {
            return Ok(());
        }
        self.connection.execute_batch("VACUUM")
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

/// Whether the file, not the disk, is the trouble.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Why a database could not be opened.
#[derive(Debug)]
enum Trouble {
    Damaged,
    Newer(i64),
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        if is_damage(&error) { Self::Damaged } else { Self::Sqlite(error) }
    }
}

fn refusal(folder: &Path, file: &Path, trouble: Trouble) -> SpoolError {
    let path = file.to_owned();
    match trouble {
        Trouble::Newer(found) => SpoolError::NewerSchema { path, found, known: SCHEMA_VERSION },
        Trouble::Sqlite(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
            SpoolError::Held { path: folder.to_owned() }
        }
        Trouble::Sqlite(source) => SpoolError::Open { path, source },
        Trouble::Damaged => SpoolError::Open { path, source: rusqlite::Error::InvalidQuery },
    }
}

fn try_open(file: &Path, limits: Limits) -> Result<Store, Trouble> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(Duration::ZERO)?;
    // Before anything is read, or SQLite would make a shared-memory file.
    connection.execute_batch("PRAGMA locking_mode = EXCLUSIVE")?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version > SCHEMA_VERSION {
        return Err(Trouble::Newer(version));
    }
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -512;
         PRAGMA cell_size_check = ON; PRAGMA trusted_schema = OFF",
    )?;
    if version == 0 {
        create(&mut connection)?;
    }
    check_schema(&connection)?;
    quick_check(&mut connection)?;
    check_sequences(&connection)?;
    let rows = connection.query_row("SELECT count(*) FROM message", [], |row| row.get(0)).map(unsigned)?;
    let used = used(&connection)?;
    let store = Store { connection, file: file.to_owned(), rows, used };
    store.limit(limits)?;
    Ok(store)
}

fn create(connection: &mut Connection) -> Result<(), Trouble> {
    let strangers: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if strangers > 0 {
        return Err(Trouble::Damaged);
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for (_, sql) in TABLES {
        transaction.execute_batch(sql)?;
    }
    transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    Ok(transaction.commit()?)
}

fn check_schema(connection: &Connection) -> Result<(), Trouble> {
    for (name, sql) in TABLES {
        let find = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?1 AND sql = ?2";
        if connection.query_row(find, [name, sql], |row| row.get::<_, i64>(0))? != 1 {
            return Err(Trouble::Damaged);
        }
    }
    Ok(())
}

/// Numbers that no start can have given would leave no room for the next ones.
fn check_sequences(connection: &Connection) -> Result<(), Trouble> {
    const LAST: i64 = 1 << 62;
    let sql =
        "SELECT coalesce(min(seq), 1), coalesce(max(seq), 1), coalesce((SELECT max(first) FROM run), 1) FROM message";
    let (min, max, first): (i64, i64, i64) =
        connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    if (1..LAST).contains(&min) && max < LAST && first < LAST { Ok(()) } else { Err(Trouble::Damaged) }
}

fn quick_check(connection: &mut Connection) -> Result<(), Trouble> {
    let deadline = Instant::now() + CHECK_BUDGET;
    connection.progress_handler(1000, Some(move || Instant::now() > deadline))?;
    let verdict: rusqlite::Result<String> = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0));
    connection.progress_handler(0, None::<fn() -> bool>)?;
    match verdict {
        Ok(verdict) if verdict == "ok" => Ok(()),
        Ok(_) => Err(Trouble::Damaged),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn make_folder(folder: &Path) -> std::io::Result<()> {
    if !folder.is_dir() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        // The entry in the parent must survive a power cut as well; SQLite sees to those inside.
        if let Some(parent) = folder.canonicalize()?.parent() {
            File::open(parent)?.sync_all()?;
        }
    }
    Ok(())
}

/// Renames the database and its log to names that nothing else uses.
fn set_aside(file: &Path) -> std::io::Result<PathBuf> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let mut stamp = now;
    while beside(file, &format!(".damaged-{stamp}")).exists() {
        stamp += 1;
    }
    let aside = beside(file, &format!(".damaged-{stamp}"));
    fs::rename(file, &aside)?;
    let log = beside(file, "-wal");
    if log.exists() {
        fs::rename(log, beside(&aside, "-wal"))?;
    }
    forget_old_damage(file)?;
    Ok(aside)
}

fn forget_old_damage(file: &Path) -> std::io::Result<()> {
    let prefix = format!("{FILE}.damaged-");
    let mut found = Vec::new();
    for entry in fs::read_dir(file.parent().unwrap_or(Path::new("/")))? {
        let name = entry?.file_name();
        found.extend(name.to_str().and_then(|name| name.strip_prefix(&prefix)?.parse::<u64>().ok()));
    }
    found.sort_unstable();
    for stamp in found.iter().rev().skip(DAMAGED_KEPT) {
        let old = beside(file, &format!(".damaged-{stamp}"));
        fs::remove_file(&old)?;
        // Most have no log.
        fs::remove_file(beside(&old, "-wal"))
            .or_else(|e| if e.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(e) })?;
    }
    Ok(())
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
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
