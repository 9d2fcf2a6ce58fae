//! What SQLite's result codes mean for the file. Pure.
//!
//! A file is set aside only for what its bytes can cause. Everything else may pass: it is tried again, and nothing is deleted.

use std::ffi::c_int;

use rusqlite::{Error, ffi};

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The file's bytes are wrong: set it aside and begin a new one.
    Damaged,
    /// The disk is full: delete what may go, then try again.
    Full,
    /// Another instance holds the file.
    Locked,
    /// The disk, its rights, memory or a moment are to blame: try again later.
    Passing,
}

use Meaning::{Damaged, Full, Locked, Passing};

/// Every primary code. Our statements are always the same and fit our tables, so where SQLite finds one of them wrong, the schema
/// or a value in the file has changed.
const MEANINGS: [(c_int, Meaning); 28] = [
    (ffi::SQLITE_ERROR, Damaged),
    // What makes no sense to SQLite itself is more likely cured by a new file than by another attempt.
    (ffi::SQLITE_INTERNAL, Damaged),
    (ffi::SQLITE_PERM, Passing),
    (ffi::SQLITE_ABORT, Passing),
    (ffi::SQLITE_BUSY, Locked),
    (ffi::SQLITE_LOCKED, Passing),
    (ffi::SQLITE_NOMEM, Passing),
    (ffi::SQLITE_READONLY, Passing),
    (ffi::SQLITE_INTERRUPT, Passing),
    (ffi::SQLITE_IOERR, Passing),
    (ffi::SQLITE_CORRUPT, Damaged),
    (ffi::SQLITE_NOTFOUND, Passing),
    (ffi::SQLITE_FULL, Full),
    (ffi::SQLITE_CANTOPEN, Passing),
    (ffi::SQLITE_PROTOCOL, Passing),
    (ffi::SQLITE_EMPTY, Passing),
    // Nobody else can have changed it while we hold the file.
    (ffi::SQLITE_SCHEMA, Damaged),
    // What we write is far smaller.
    (ffi::SQLITE_TOOBIG, Damaged),
    (ffi::SQLITE_CONSTRAINT, Damaged),
    (ffi::SQLITE_MISMATCH, Damaged),
    // These two would be a defect of ours, not of the file.
    (ffi::SQLITE_MISUSE, Passing),
    (ffi::SQLITE_RANGE, Passing),
    (ffi::SQLITE_NOLFS, Passing),
    (ffi::SQLITE_AUTH, Passing),
    (ffi::SQLITE_FORMAT, Damaged),
    (ffi::SQLITE_NOTADB, Damaged),
    (ffi::SQLITE_NOTICE, Passing),
    (ffi::SQLITE_WARNING, Passing),
];

/// What `error` means.
pub(super) fn meaning(error: &Error) -> Meaning {
    match error {
        Error::SqliteFailure(error, _) | Error::SqlInputError { error, .. } => of_code(error.extended_code),
        // A value of another type or size than was written.
        _ => Damaged,
    }
}

/// An extended code has its primary code in the lowest byte. One that is not known yet is no reason to give a file up.
fn of_code(code: c_int) -> Meaning {
    let known = MEANINGS.iter().find(|(primary, _)| *primary == code & 0xff);
    known.map_or(Passing, |(_, meaning)| *meaning)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_primary_code_has_a_meaning() {
        let mut codes: Vec<c_int> = MEANINGS.iter().map(|(code, _)| *code).collect();
        codes.sort_unstable();
        assert_eq!(codes, (1..=28).collect::<Vec<_>>());
    }

    #[test]
    fn only_what_the_bytes_of_the_file_can_cause_is_damage() {
        let of = |code| meaning(&Error::SqliteFailure(ffi::Error::new(code), None));
        let passing = [
            ffi::SQLITE_NOMEM,
            ffi::SQLITE_IOERR_NOMEM,
            ffi::SQLITE_IOERR_READ,
            ffi::SQLITE_IOERR_FSYNC,
            ffi::SQLITE_IOERR_SHORT_READ,
            ffi::SQLITE_IOERR_LOCK,
            ffi::SQLITE_CANTOPEN_ISDIR,
            ffi::SQLITE_CANTOPEN_SYMLINK,
            ffi::SQLITE_READONLY_DIRECTORY,
            ffi::SQLITE_READONLY_DBMOVED,
            ffi::SQLITE_LOCKED_SHAREDCACHE,
            ffi::SQLITE_INTERRUPT,
            ffi::SQLITE_PERM,
            77,
        ];
        assert!(passing.iter().all(|code| of(*code) == Passing), "{:?}", passing.map(of));
        let damaged = [
            ffi::SQLITE_CORRUPT,
            ffi::SQLITE_CORRUPT_INDEX,
            ffi::SQLITE_NOTADB,
            ffi::SQLITE_CONSTRAINT_PRIMARYKEY,
            ffi::SQLITE_MISMATCH,
            ffi::SQLITE_FORMAT,
        ];
        assert!(damaged.iter().all(|code| of(*code) == Damaged), "{:?}", damaged.map(of));
        assert_eq!((of(ffi::SQLITE_FULL), of(ffi::SQLITE_BUSY_RECOVERY)), (Full, Locked));
        assert_eq!(meaning(&Error::InvalidColumnIndex(3)), Damaged);
    }

    #[test]
    fn a_statement_that_does_not_fit_the_tables_is_damage_and_one_without_memory_is_not() {
        let input = |code| Error::SqlInputError {
            error: ffi::Error::new(code),
            msg: String::new(),
            sql: String::new(),
            offset: 3,
        };
        assert_eq!((meaning(&input(ffi::SQLITE_ERROR)), meaning(&input(ffi::SQLITE_NOMEM))), (Damaged, Passing));
    }
}
