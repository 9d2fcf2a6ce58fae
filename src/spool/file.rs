//! The file: how it is made, opened, checked, and set aside when it is damaged.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{FallocateFlags, fallocate};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use crate::spool::SpoolError;
use crate::spool::store::{Limits, Store, is_damage};

const FILE: &str = "spool.db";
const SCHEMA_VERSION: i64 = 1;

const RESERVE: &str = ".reserve";

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

/// An opened database and what was found.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) store: Store,
    /// Where a damaged file went.
    pub(super) set_aside: Option<PathBuf>,
}

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
            let aside = set_aside(&file).map_err(|source| SpoolError::Folder { path: folder.to_owned(), source })?;
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
    Ok(Store::adopt(connection, file, limits)?)
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

/// Renames the database and its log to names that nothing else uses. A file that is gone already is no error.
pub(super) fn set_aside(file: &Path) -> std::io::Result<PathBuf> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let mut stamp = now;
    while beside(file, &format!(".damaged-{stamp}")).exists() {
        stamp += 1;
    }
    let aside = beside(file, &format!(".damaged-{stamp}"));
    passably(fs::rename(file, &aside))?;
    passably(fs::rename(beside(file, "-wal"), beside(&aside, "-wal")))?;
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
        passably(fs::remove_file(&old))?;
        passably(fs::remove_file(beside(&old, "-wal")))?;
    }
    Ok(())
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
    // One that is gone already, or cannot be removed, makes no room; the next commit shows it.
    fs::remove_file(beside(file, RESERVE)).unwrap_or_default();
}

/// What is not there need not be moved.
fn passably(result: std::io::Result<()>) -> std::io::Result<()> {
    result.or_else(|error| if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
