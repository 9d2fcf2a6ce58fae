//! The words of the spool: what it is set to, what it hands out, and what it says of itself.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fieldgate_model::Message;

/// How the spool keeps what is undelivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A folder, made if absent.
    pub path: PathBuf,
    /// Bytes on disk at most; less than [`MIN_SIZE`] counts as that.
    pub max_size: u64,
    /// What is not acknowledged for this long is on disk; zero: before it is offered to the broker.
    pub commit_every: Duration,
    /// What gives way when `max_size` is reached.
    pub when_full: WhenFull,
}

/// The smallest `max_size` in bytes that the database and its log can work in.
pub const MIN_SIZE: u64 = 512 * 1024;

/// What gives way when the spool is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// The oldest readings that wait for the broker.
    DropOldest,
    /// The newest ones: those that come while it is full, and then those that came last.
    DropNewest,
}

/// A message's place in the spool. Grows for ever, over restarts too; it changes only when a file is opened later than at the
/// start, which begins a new era ([`Spool::era`](crate::Spool::era)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

/// A message as the link reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Its place, which is given back to [`Spool::acknowledge`](crate::Spool::acknowledge).
    pub sequence: Sequence,
    /// The message, shared with the spool's memory.
    pub message: Arc<Message>,
}

/// What one read found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// In order. There may be none although some follow, where stored messages were damaged.
    pub messages: Vec<Stored>,
    /// Where the next read goes on: what lies in front of it was given to the link, or will never be.
    pub next: Sequence,
}

/// Status of the spool, for health.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Messages not yet acknowledged.
    pub queued: u64,
    /// Bytes of the database that are in use.
    pub bytes: u64,
    /// When the oldest of the queued was taken.
    pub oldest: Option<SystemTime>,
    /// Messages that will never arrive, since this start: dropped here or reported by [`Spool::report_loss`](crate::Spool::report_loss).
    pub dropped: u64,
    /// What is wrong with the disk, in words.
    pub error: Option<String>,
}
