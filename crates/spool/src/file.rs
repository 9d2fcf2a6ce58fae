//! The file: how it is made, opened, migrated, checked, and set aside when it is damaged.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use crate::codes::{Meaning, meaning};
use crate::store::{Limits, Store};
use crate::{SpoolError, folder as places, rows, wal};

/// The database in its folder.
pub(super) const FILE: &str = "spool.db";
const SCHEMA_VERSION: i64 = 4;

const RESERVE: &str = ".reserve";

/// What the names of the database, its log and the reserve end with.
const OWN_FILES: [&str; 3] = ["", "-wal", RESERVE];

/// Exactly as SQLite keeps them in its own table: a file with other text is not ours.
const TABLES: [(&str, &str); 4] = [
    (
        "message",
        "CREATE TABLE message (seq INTEGER PRIMARY KEY, kind INTEGER NOT NULL, source TEXT NOT NULL, \
         run INTEGER NOT NULL, n INTEGER NOT NULL, boot_ns INTEGER NOT NULL, wall_ms INTEGER NOT NULL, \
         flags INTEGER NOT NULL, body BLOB NOT NULL, sum INTEGER NOT NULL DEFAULT 0) STRICT",
    ),
    ("run", "CREATE TABLE run (first INTEGER PRIMARY KEY, run INTEGER NOT NULL, boot_id TEXT NOT NULL) STRICT"),
    ("count", ADD_COUNT),
    ("command", ADD_COMMAND),
];

/// From schema 2 to 3.
const ADD_COUNT: &str =
    "CREATE TABLE count (name TEXT PRIMARY KEY, count INTEGER NOT NULL, sum INTEGER NOT NULL) STRICT, WITHOUT ROWID";

/// From schema 3 to 4.
const ADD_COMMAND: &str = "CREATE TABLE command (n INTEGER PRIMARY KEY, actuator TEXT NOT NULL, id TEXT NOT NULL, answer BLOB, \
                           sum INTEGER NOT NULL) STRICT";

/// From schema 1 to 2. SQLite keeps the new column's text at the end of the list, which is where [`TABLES`] has it.
const ADD_SUM: &str = "ALTER TABLE message ADD COLUMN sum INTEGER NOT NULL DEFAULT 0";

/// Rows that get their checksum in one transaction, so that the log stays short.
const SUMMED_AT_ONCE: usize = 500;

/// 3.51.3: before it a race could leave a log that recovery reads wrongly.
const OLDEST_SQLITE: i32 = 3_051_003;

/// How long the check of the structure may take: cards are slow, and damage that it misses shows when the page is read.
const CHECK_BUDGET: Duration = Duration::from_secs(1);

/// Files with at most so many bytes in use are examined before the start goes on, larger ones by the spool's thread: outputs must
/// not wait for their safe state until a hundred megabytes have been read from a card.
const EXAMINED_AT_ONCE: u64 = 1024 * 1024;

/// An opened database and what was found.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) store: Store,
    /// Where a damaged file went.
    pub(super) set_aside: Option<PathBuf>,
}

/// Why there is no database.
#[derive(Debug)]
pub(super) enum OpenError {
    /// The disk is full, read-only, failing or not there, in these words. It may pass: go on without it and try again.
    Disk(String),
    /// Another instance has it, or another version must.
    Refused(SpoolError),
}

/// Opens or makes the database in `folder`; a damaged one is set aside.
pub(super) fn open(folder: &Path, limits: Limits) -> Result<Opened, OpenError> {
    if rusqlite::version_number() < OLDEST_SQLITE {
        return Err(OpenError::Refused(SpoolError::OldSqlite { found: rusqlite::version() }));
    }
    let in_folder = |source| folder_error(folder, &source);
    places::make(folder).map_err(in_folder)?;
    let file = folder.join(FILE);
    let failed = |error| refusal(folder, &file, error);
    match try_open(&file, limits) {
        Err(Trouble::Damaged) => {
            let aside = set_aside(&file).map_err(in_folder)?;
            let store = try_open(&file, limits).map_err(failed)?;
            Ok(Opened { store, set_aside: Some(aside) })
        }
        opened => Ok(Opened { store: opened.map_err(failed)?, set_aside: None }),
    }
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
        if meaning(&error) == Meaning::Damaged { Self::Damaged } else { Self::Sqlite(error) }
    }
}

fn refusal(folder: &Path, file: &Path, trouble: Trouble) -> OpenError {
    let path = file.to_owned();
    let error = match trouble {
        Trouble::Newer(found) => {
            return OpenError::Refused(SpoolError::NewerSchema { path, found, known: SCHEMA_VERSION });
        }
        Trouble::Sqlite(error) => error,
        // A new file that is damaged at once.
        Trouble::Damaged => return OpenError::Disk("the disk does not keep what is written to it".into()),
    };
    match meaning(&error) {
        Meaning::Locked => OpenError::Refused(SpoolError::Held { path: folder.to_owned() }),
        Meaning::Full => OpenError::Disk(error.to_string()),
        // SQLite says only that it failed; the kernel says why.
        Meaning::Passing | Meaning::Damaged => match may_write(file) {
            Err(source) => folder_error(folder, &source),
            Ok(()) => OpenError::Disk(error.to_string()),
        },
    }
}

fn may_write(file: &Path) -> std::io::Result<()> {
    for path in [file.to_owned(), beside(file, "-wal")] {
        passably(File::options().write(true).open(&path).map(drop))?;
    }
    let trial = beside(file, ".trial");
    File::create(&trial)?;
    fs::remove_file(trial)
}

fn folder_error(folder: &Path, source: &std::io::Error) -> OpenError {
    let words = || format!("{} cannot be used: {source}", folder.display());
    OpenError::Disk(places::describe(folder).unwrap_or_else(words))
}

fn try_open(file: &Path, limits: Limits) -> Result<Store, Trouble> {
    if is_emptied(file) {
        return Err(Trouble::Damaged);
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(Duration::ZERO)?;
    // Before anything is read, or SQLite would make a shared-memory file.
    connection.execute_batch("PRAGMA locking_mode = EXCLUSIVE")?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version > SCHEMA_VERSION {
        // Every schema has its own table definitions: if they are ours, the version number is what was damaged.
        let is_ours = has_schema(&connection)?;
        return Err(if is_ours { Trouble::Damaged } else { Trouble::Newer(version) });
    }
    // Only now that no other process can write it, and before we do.
    if fs::read(beside(file, "-wal")).is_ok_and(|log| wal::has_lost_commits(&log)) {
        return Err(Trouble::Damaged);
    }
    // A new file has nothing to lose before the checkpoint below, which is where it is synced once.
    connection.execute_batch(if version == 0 { "PRAGMA synchronous = OFF" } else { "PRAGMA synchronous = FULL" })?;
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -512; PRAGMA cell_size_check = ON;
         PRAGMA trusted_schema = OFF",
    )?;
    match version {
        0 => create(&mut connection)?,
        1.. => migrate(&mut connection, version)?,
        // Not a number of ours: the tables decide.
        _ => {}
    }
    connection.execute_batch("PRAGMA synchronous = FULL")?;
    if version < SCHEMA_VERSION {
        // Out of the log and into the file's head, where the package looks before it lets an older program in.
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    }
    if !has_schema(&connection)? {
        return Err(Trouble::Damaged);
    }
    check_sequences(&connection)?;
    let mut store = Store::adopt(connection, file, limits)?;
    if store.used() <= EXAMINED_AT_ONCE && !store.examine()? {
        return Err(Trouble::Damaged);
    }
    Ok(store)
}

/// Whether the database has nothing and its log something. SQLite would delete that log.
pub(super) fn is_emptied(file: &Path) -> bool {
    let length = |path| fs::metadata(path).map(|found| found.len()).ok();
    length(file.to_owned()) == Some(0) && length(beside(file, "-wal")).is_some_and(|length| length > 0)
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
fn migrate(connection: &mut Connection, from: i64) -> Result<(), Trouble> {
    if from == 1 {
        add_sums(connection)?;
    }
    for (version, sql) in [(3, ADD_COUNT), (4, ADD_COMMAND)] {
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
pub(super) fn nowhere() -> rusqlite::Result<Connection> {
    let connection = Connection::open_in_memory()?;
    TABLES.iter().try_for_each(|(_, sql)| connection.execute_batch(sql))?;
    Ok(connection)
}

fn has_schema(connection: &Connection) -> rusqlite::Result<bool> {
    let find = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?1 AND sql = ?2";
    for (name, sql) in TABLES {
        if connection.query_row(find, [name, sql], |row| row.get::<_, i64>(0))? != 1 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Greater numbers cannot have been given by any start, and would leave no numbers for the next ones.
fn check_sequences(connection: &Connection) -> Result<(), Trouble> {
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

/// Makes the reserve if it is not there. Not having it is no error: that is so whenever the disk is full.
pub(super) fn keep_reserve(file: &Path, bytes: u64) {
    let path = beside(file, RESERVE);
    if path.exists() {
        return;
    }
    let made = File::create(&path).and_then(|made| Ok(fallocate(&made, FallocateFlags::empty(), 0, bytes)?));
    if made.is_err() {
        use_reserve(file);
    }
}

/// Gives the reserve up.
pub(super) fn use_reserve(file: &Path) {
    // One that is gone already, or cannot be removed, frees nothing; the next commit shows it.
    fs::remove_file(beside(file, RESERVE)).unwrap_or_default();
}

/// What is not there need not be moved.
fn passably(result: std::io::Result<()>) -> std::io::Result<()> {
    result.or_else(|error| if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// `file` with `suffix` behind its name.
pub(super) fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
