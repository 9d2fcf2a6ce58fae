//! Makes a store of a file, or says why there is none.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::codes::{Meaning, meaning};
use crate::file::{self, FILE, SCHEMA_VERSION, Trouble, beside, passably};
use crate::store::{Limits, Store};
use crate::{SpoolError, folder as places, wal};

/// 3.51.3: before it a race could leave a log that recovery reads wrongly.
const OLDEST_SQLITE: i32 = 3_051_003;

/// Files with at most so many bytes in use are examined before the start goes on, larger ones by a thread of their own: outputs must
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
            let aside = file::set_aside(&file).map_err(in_folder)?;
            let store = try_open(&file, limits).map_err(failed)?;
            Ok(Opened { store, set_aside: Some(aside) })
        }
        opened => Ok(Opened { store: opened.map_err(failed)?, set_aside: None }),
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
    if file::is_emptied(file) {
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
        let is_ours = file::has_schema(&connection)?;
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
        0 => file::create(&mut connection)?,
        1.. => file::migrate(&mut connection, version)?,
        // Not a number of ours: the tables decide.
        _ => {}
    }
    connection.execute_batch("PRAGMA synchronous = FULL")?;
    if version < SCHEMA_VERSION {
        // Out of the log and into the file's head, where the package looks before it lets an older program in.
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    }
    if !file::has_schema(&connection)? {
        return Err(Trouble::Damaged);
    }
    file::check_sequences(&connection)?;
    let mut store = Store::adopt(connection, file, limits)?;
    if store.used() <= EXAMINED_AT_ONCE && !store.examine()? {
        return Err(Trouble::Damaged);
    }
    Ok(store)
}
