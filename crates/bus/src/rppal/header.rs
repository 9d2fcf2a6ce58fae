//! How errors of the header's lines read, in all files that use a line.

use std::io::{self, ErrorKind};

use rppal::gpio::Error;

/// What stands in errors for the chip.
pub(super) const HEADER: &str = "the header by rppal";

/// The kernel's own error, with its errno; what the library itself refused keeps its words.
pub(super) fn io_error(error: Error) -> io::Error {
    match error {
        Error::Io(source) => source,
        Error::PermissionDenied(path) => {
            io::Error::new(ErrorKind::PermissionDenied, format!("{path} may not be opened"))
        }
        other => io::Error::other(other),
    }
}
