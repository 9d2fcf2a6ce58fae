//! What can go wrong with the spool, and what the caller should do about it.

use std::path::PathBuf;

use thiserror::Error;

/// Why the spool could not be opened, where trying again is of no use: stop and report it to the user.
#[derive(Debug, Error)]
pub enum SpoolError {
    /// Another instance runs on the same folder.
    #[error("the spool in {} is in use by another running instance", path.display())]
    Held {
        /// The spool's folder.
        path: PathBuf,
    },
    /// A later version of the program wrote it. Install that version again, or move the file away.
    #[error("{} was written by a newer version of fieldgate (schema {found}; this one knows {known})", path.display())]
    NewerSchema {
        /// The database that was found.
        path: PathBuf,
        /// The version of the schema that the file has, its `user_version`.
        found: i64,
        /// The newest version of the schema that this program knows.
        known: i64,
    },
    /// There is not even memory for an empty database. Try again later.
    #[error("cannot make a spool in memory")]
    Memory(#[source] rusqlite::Error),
    /// The system gave no thread. Try again later.
    #[error("cannot start the thread of the spool in {}", path.display())]
    Thread {
        /// The spool's folder.
        path: PathBuf,
        /// The kernel's answer, with errno.
        #[source]
        source: std::io::Error,
    },
    /// The program was built with an SQLite that has known defects. Build it with the bundled one.
    #[error("sqlite {found} is older than 3.51.3, which the spool needs")]
    OldSqlite {
        /// The version in use.
        found: &'static str,
    },
}

/// Why a file of the spool could not be given up. Its fault remains: try the same again later.
#[derive(Debug, Error)]
pub(crate) enum GiveUpError {
    /// There is no memory for the empty database that takes its place; the file is still open.
    #[error(transparent)]
    Memory(#[from] rusqlite::Error),
    /// It is closed, and cannot be renamed or removed.
    #[error(transparent)]
    File(#[from] std::io::Error),
}

/// The spool has been closed, or its thread has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the spool is closed")]
pub struct Closed;

/// Why a request was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotNow<T> {
    /// The queue is full, for the disk is slow: send these again later.
    #[error("the spool's queue is full")]
    Full(T),
    /// What was committed of them will be sent again by the next run.
    #[error("the spool is closed")]
    Closed,
}

/// Why nothing was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ReadError {
    /// The spool is closed: stop reading.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// The disk does not give what it has. It may pass: read the same again later.
    #[error("the spool cannot be read")]
    Disk,
}
