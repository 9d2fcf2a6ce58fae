//! Reads what can still be read of a damaged file that was set aside, without changing it.
//!
//! Messages are found by `row_search.rs`. What else the file has, counts, values, ids and announcements, is asked of SQLite, as far as
//! that can read it.

use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::announced::Announcements;
use crate::counts::Counted;
use crate::file;
use crate::ids::CommandRows;
use crate::page_file::{LAST, PageFile};
use crate::row_search::{Found, RowSearch};
use crate::rows::{read_announced, read_commands, read_counts, read_values, signed, unsigned};
use crate::scout::newest_of;
use crate::values::SetValue;

/// A damaged file that is being read.
#[derive(Debug)]
pub(super) struct Salvage {
    /// For what is not a message; nothing when SQLite cannot make anything of the file.
    connection: Option<Connection>,
    file: PageFile,
    search: RowSearch,
}

impl Salvage {
    /// Nothing when it cannot be read at all.
    pub(super) fn open(path: &Path) -> Option<Self> {
        let file = PageFile::open(path)?;
        // SQLite would delete the log of a database that has nothing.
        let connection = if file::is_emptied(path) { None } else { connect(path) };
        let search = RowSearch::new(&file);
        Some(Self { connection, file, search })
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
        self.search.next(&self.file, limit)
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
