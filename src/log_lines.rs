//! The newest lines of the log, in memory, for the page in a browser.
//!
//! The log itself writes them here; there is one for the program. At most [`LINES`] of [`LINE_BYTES`] bytes are kept, and none until
//! somebody may look.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// Lines that are kept.
pub const LINES: usize = 50;

/// Bytes of a line; what is longer is cut.
pub const LINE_BYTES: usize = 500;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// A start, a stop, an answer.
    Info,
    /// Unexpected, and recovered from.
    Warn,
    /// Something was lost, or a person must act.
    Error,
}

impl Weight {
    /// As pages and people call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// A line.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Its number since the start of the program, from 1.
    pub nth: u64,
    /// When it was written, by the wall clock.
    pub time: SystemTime,
    /// How much it matters.
    pub weight: Weight,
    /// What it says.
    pub text: String,
}

#[derive(Debug)]
struct Newest {
    is_wanted: bool,
    count: u64,
    lines: VecDeque<Arc<Line>>,
}

static NEWEST: Mutex<Newest> = Mutex::new(Newest { is_wanted: false, count: 0, lines: VecDeque::new() });

/// Whether anybody may look. If not, what is kept is forgotten.
pub fn set_wanted(is_wanted: bool) {
    let mut newest = locked();
    newest.is_wanted = is_wanted;
    if !is_wanted {
        newest.lines = VecDeque::new();
    }
}

/// Adds a line, which is made only where it is wanted.
pub fn push(weight: Weight, text: impl FnOnce() -> String) {
    if !locked().is_wanted {
        return;
    }
    // Not under the lock: what writes itself into a line may log.
    let mut text = text();
    if text.len() > LINE_BYTES {
        let end = (0..=LINE_BYTES).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    let mut newest = locked();
    newest.count += 1;
    let line = Line { nth: newest.count, time: SystemTime::now(), weight, text };
    newest.lines.push_back(Arc::new(line));
    if newest.lines.len() > LINES {
        newest.lines.pop_front();
    }
}

/// The newest lines, the oldest of them first.
pub fn newest() -> Vec<Arc<Line>> {
    locked().lines.iter().cloned().collect()
}

fn locked() -> MutexGuard<'static, Newest> {
    NEWEST.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_are_kept_once_they_are_wanted() {
        push(Weight::Info, || panic!("nobody may look"));
        set_wanted(true);
        push(Weight::Error, || "ä".repeat(LINE_BYTES));
        assert!(newest()[0].text.len() <= LINE_BYTES + 3);
        (0..LINES).for_each(|n| push(Weight::Warn, || format!("line {n}")));
        let lines = newest();
        assert_eq!((lines.len(), lines[0].text.as_str(), lines[0].nth), (LINES, "line 0", 2));
        set_wanted(false);
        assert!(newest().is_empty());
    }
}
