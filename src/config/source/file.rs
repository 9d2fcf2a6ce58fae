//! Reading a file, but none that cannot be a configuration.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::{place, problem_of_file};
use crate::config::report::{Place, Problem};

/// The largest configuration that is read, parts included; a board with every driver fills a hundredth of it.
pub(in crate::config) const MAX_BYTES: usize = 1024 * 1024;

/// Why a file is no text of a configuration.
pub(in crate::config) struct Unreadable {
    /// In words that go on after the file's name, such as `is not UTF-8 text`.
    pub(in crate::config) what: String,
    /// What to do about it; may be empty.
    pub(in crate::config) hint: &'static str,
    /// Where in the file.
    pub(in crate::config) place: Option<Place>,
}

impl Unreadable {
    fn new(what: impl Into<String>, hint: &'static str) -> Self {
        Self { what: what.into(), hint, place: None }
    }

    /// The problem of a configuration whose own file it is.
    pub(super) fn of_file(self) -> Problem {
        Problem { place: self.place, ..problem_of_file(format!("the configuration {}", self.what), self.hint) }
    }
}

/// The text of the file at `path`, but not of a larger one than a configuration can be.
pub(in crate::config) fn read_text(path: &Path) -> Result<String, Unreadable> {
    let cannot = |error: std::io::Error| Unreadable::new(format!("cannot be read: {error}"), "");
    let about = std::fs::metadata(path).map_err(cannot)?;
    if about.is_dir() {
        return Err(Unreadable::new("cannot be read: this is a folder", "name the file in it"));
    }
    // A pipe or a device may never end, and reading it may wait for ever.
    if !about.is_file() {
        return Err(Unreadable::new("cannot be read: this is not a regular file", ""));
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)).map_err(cannot)?;
    if bytes.len() > MAX_BYTES {
        return Err(Unreadable::new("is larger than 1 MiB", "is this the right file?"));
    }
    String::from_utf8(bytes).map_err(|error| not_text(error.as_bytes(), error.utf8_error().valid_up_to()))
}

fn not_text(bytes: &[u8], at: usize) -> Unreadable {
    let before = std::str::from_utf8(&bytes[..at]).unwrap_or("");
    let what = format!("is not UTF-8 text: byte {at} is {:#04x}", bytes[at]);
    Unreadable { place: Some(place(before, before.len())), ..Unreadable::new(what, "save it as UTF-8") }
}
