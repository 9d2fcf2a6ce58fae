//! The spool. (being written)

use std::path::PathBuf;
use std::time::Duration;

/// How the spool keeps what is undelivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A folder, made if absent.
    pub path: PathBuf,
    /// Bytes on disk at most.
    pub max_size: u64,
    /// What is not acknowledged for this long is on disk; zero: before it is offered to the broker.
    pub commit_every: Duration,
    /// What gives way when `max_size` is reached.
    pub when_full: WhenFull,
}

/// What gives way when the spool is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// The oldest readings.
    DropOldest,
    /// The new readings.
    DropNewest,
}

mod standin;
pub use standin::{Closed, Sequence, Spool, Stored};
