//! The file: how it is made, migrated, checked, and set aside when it is damaged. `opening.rs` makes a store of it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use rusqlite::{Connection, ErrorCode, TransactionBehavior};

use crate::codes::{Meaning, meaning};
use crate::{rows, wal};

/// The database in its folder.
pub(super) const FILE: &str = "spool.db";
/// The newest that this program knows.
pub(super) const SCHEMA_VERSION: i64 = 6;

const RESERVE: &str = ".reserve";

/// What the names of the database, its log and the reserve end with.
const OWN_FILES: [&str; 3] = ["", "-wal", RESERVE];

/// Exactly as SQLite keeps them in its own table: a file with other text is not ours.
const TABLES: [(&str, &str); 6] = [
    (
        "message",
        "CREATE TABLE message (seq INTEGER PRIMARY KEY, kind INTEGER NOT NULL, source TEXT NOT NULL, \
         run INTEGER NOT NULL, n INTEGER NOT NULL, boot_ns INTEGER NOT NULL, wall_ms INTEGER NOT NULL, \
         flags INTEGER NOT NULL, body BLOB NOT NULL, sum INTEGER NOT NULL DEFAULT 0) STRICT",
    ),
    ("run", "CREATE TABLE run (first INTEGER PRIMARY KEY, run INTEGER NOT NULL, boot_id TEXT NOT NULL) STRICT"),
    ("count", ADD_COUNT),
    ("command", ADD_COMMAND),
    ("announced", ADD_ANNOUNCED),
    ("value", ADD_VALUE),
];

/// From schema 2 to 3.
const ADD_COUNT: &str =
    "CREATE TABLE count (name TEXT PRIMARY KEY, count INTEGER NOT NULL, sum INTEGER NOT NULL) STRICT, WITHOUT ROWID";

/// From schema 3 to 4.
const ADD_COMMAND: &str = "CREATE TABLE command (n INTEGER PRIMARY KEY, actuator TEXT NOT NULL, id TEXT NOT NULL, answer BLOB, \
                           sum INTEGER NOT NULL) STRICT";

/// From schema 4 to 5.
const ADD_ANNOUNCED: &str =
    "CREATE TABLE announced (name TEXT PRIMARY KEY, body BLOB NOT NULL, sum INTEGER NOT NULL) STRICT, WITHOUT ROWID";

/// From schema 5 to 6.
const ADD_VALUE: &str =
    "CREATE TABLE value (recipient TEXT PRIMARY KEY, value TEXT NOT NULL, sum INTEGER NOT NULL) STRICT, WITHOUT ROWID";

/// From schema 1 to 2. SQLite keeps the new column's text at the end of the list, which is where [`TABLES`] has it.
const ADD_SUM: &str = "ALTER TABLE message ADD COLUMN sum INTEGER NOT NULL DEFAULT 0";

/// Rows that get their checksum in one transaction, so that the log stays short.
const SUMMED_AT_ONCE: usize = 500;

/// How long the check of the structure may take: cards are slow, and damage that it misses shows when the page is read.
/// The tests ask what it finds, also on a machine that has no time for it.
const CHECK_BUDGET: Duration = Duration::from_secs(if cfg!(test) { 300 } else { 1 });

/// Why a database could not be opened.
#[derive(Debug)]
pub(super) enum Trouble {
    Damaged,
    Newer(i64),
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        if meaning(&error) == Meaning::Damaged { Self::Damaged } else { Self::Sqlite(error) }
    }
}

/// Whether the database has nothing and its log rows. SQLite would delete that log.
pub(super) fn is_emptied(file: &Path) -> bool {
    let is_empty = fs::metadata(file).is_ok_and(|found| found.len() == 0);
    is_empty && fs::read(beside(file, "-wal")).is_ok_and(|log| !wal::has_no_rows(&log))
}

pub(super) fn create(connection: &mut Connection) -> Result<(), Trouble> {
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

/// Gives every row its checksum. A power cut on the way leaves a file of schema 1 with some of the work done.
fn add_sums(connection: &mut Connection) -> Result<(), Trouble> {
    let sql = "SELECT count(*) FROM pragma_table_info('message') WHERE name = 'sum'";
    if connection.query_row(sql, [], |row| row.get::<_, i64>(0))? == 0 {
        connection.execute_batch(ADD_SUM)?;
    }
    let mut from = 0;
    loop {
        let rows = rows::unsummed(connection, from, SUMMED_AT_ONCE)?;
        let Some(&(last, _)) = rows.last() else { break };
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for (sequence, sum) in rows {
            transaction.execute("UPDATE message SET sum = ?2 WHERE seq = ?1", [sequence, sum])?;
        }
        transaction.commit()?;
        from = last + 1;
    }
    Ok(connection.pragma_update(None, "user_version", 2)?)
}

/// From one schema to the next, up to ours.
pub(super) fn migrate(connection: &mut Connection, from: i64) -> Result<(), Trouble> {
    if from == 1 {
        add_sums(connection)?;
    }
    for (version, sql) in [(3, ADD_COUNT), (4, ADD_COMMAND), (5, ADD_ANNOUNCED), (6, ADD_VALUE)] {
        if from < version {
            add_table(connection, sql, version)?;
        }
    }
    Ok(())
}

fn add_table(connection: &mut Connection, sql: &str, version: i64) -> Result<(), Trouble> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(sql)?;
    transaction.pragma_update(None, "user_version", version)?;
    Ok(transaction.commit()?)
}

/// A database in memory that stays empty: what stands in for the file while there is none.
pub(super) fn in_memory() -> rusqlite::Result<Connection> {
    let connection = Connection::open_in_memory()?;
    TABLES.iter().try_for_each(|(_, sql)| connection.execute_batch(sql))?;
    Ok(connection)
}

pub(super) fn has_schema(connection: &Connection) -> rusqlite::Result<bool> {
    let find = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?1 AND sql = ?2";
    for (name, sql) in TABLES {
        if connection.query_row(find, [name, sql], |row| row.get::<_, i64>(0))? != 1 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Greater numbers cannot have been given by any start, and would leave no numbers for the next ones.
pub(super) fn check_sequences(connection: &Connection) -> Result<(), Trouble> {
    const LAST: i64 = 1 << 62;
    // Each by itself, so that SQLite looks at an end of the table; asked for both at once it reads all of it.
    let sql = "SELECT coalesce((SELECT min(seq) FROM message), 1), coalesce((SELECT max(seq) FROM message), 1), \
               coalesce((SELECT max(first) FROM run), 1)";
    let (min, max, first): (i64, i64, i64) =
        connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    if (1..LAST).contains(&min) && max < LAST && first < LAST { Ok(()) } else { Err(Trouble::Damaged) }
}

/// Whether the structure is sound, as far as [`CHECK_BUDGET`] allows to see.
pub(super) fn quick_check(connection: &mut Connection) -> rusqlite::Result<bool> {
    let deadline = Instant::now() + CHECK_BUDGET;
    connection.progress_handler(1000, Some(move || Instant::now() > deadline))?;
    let verdict: rusqlite::Result<String> = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0));
    connection.progress_handler(0, None::<fn() -> bool>)?;
    match verdict {
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => Ok(true),
        verdict => verdict.map(|verdict| verdict == "ok"),
    }
}

/// Bytes that the disk under `folder` has for the spool: what is free and what it uses already.
pub(super) fn available_bytes(folder: &Path) -> u64 {
    let there = folder.ancestors().find(|place| place.exists()).unwrap_or(Path::new("/"));
    // A disk that does not report its space counts as unlimited.
    let Ok(disk) = statvfs(there) else { return u64::MAX };
    let own = OWN_FILES.iter().map(|suffix| beside(&folder.join(FILE), suffix));
    let own: u64 = own.filter_map(|path| fs::metadata(path).ok()).map(|file| file.len()).sum();
    disk.f_bavail.saturating_mul(disk.f_frsize).saturating_add(own)
}

/// Removes the database, its log and the reserve. What is not there need not be removed.
pub(super) fn remove(file: &Path) -> std::io::Result<()> {
    OWN_FILES.iter().try_for_each(|suffix| passably(fs::remove_file(beside(file, suffix))))
}

/// Renames the database and its log to names that nothing else uses, and keeps them until a person deletes them. A file that is
/// gone already is no error.
pub(super) fn set_aside(file: &Path) -> std::io::Result<PathBuf> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let mut stamp = now;
    while beside(file, &format!(".damaged-{stamp}")).exists() {
        stamp += 1;
    }
    let aside = beside(file, &format!(".damaged-{stamp}"));
    passably(fs::rename(file, &aside))?;
    passably(fs::rename(beside(file, "-wal"), beside(&aside, "-wal")))?;
    Ok(aside)
}

/// Makes the reserve if it is not there, and gives back what is too much of it. Not having it is no error: that is so whenever the
/// disk is full.
pub(super) fn keep_reserve(file: &Path, bytes: u64) {
    let path = beside(file, RESERVE);
    let has = fs::metadata(&path).map_or(0, |reserve| reserve.len());
    // On a disk with little space the limits follow what is free, and a reserve that grew with each of them would be written each time.
    if has <= bytes && has > bytes / 2 {
        return;
    }
    let open = || File::options().write(true).create(true).truncate(false).open(&path);
    let made = open().and_then(|made| {
        if has > bytes { made.set_len(bytes) } else { Ok(fallocate(&made, FallocateFlags::empty(), 0, bytes)?) }
    });
    if made.is_err() && has == 0 {
        use_reserve(file);
    }
}

/// Gives the reserve up.
pub(super) fn use_reserve(file: &Path) {
    // One that is gone already, or cannot be removed, frees nothing; the next commit shows it.
    fs::remove_file(beside(file, RESERVE)).unwrap_or_default();
}

/// What is not there need not be moved.
pub(super) fn passably(result: std::io::Result<()>) -> std::io::Result<()> {
    result.or_else(|error| if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// `file` with `suffix` behind its name.
pub(super) fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
