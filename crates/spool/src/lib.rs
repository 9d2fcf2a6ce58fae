//! The spool: keeps every message until the broker has acknowledged it.
//!
//! ```
//! use std::time::Duration;
//!
//! use fieldgate_model::{Key, Message, MessageKind, Name, Qos, RunId};
//! use fieldgate_spool::{MIN_SIZE, Sequence, Settings, WhenFull, open};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! let settings = Settings {
//!     path: folder.path().join("spool"),
//!     max_size: MIN_SIZE,
//!     commit_every: Duration::ZERO,
//!     when_full: WhenFull::DropOldest,
//! };
//! let reading = Message {
//!     key: Key { kind: MessageKind::Reading, source: Name::new("air")? },
//!     run: RunId(7),
//!     seq: 1,
//!     taken_at: fieldgate_clock::now(),
//!     qos: Qos::AtLeastOnce,
//!     retain: false,
//!     body: b"{}".to_vec(),
//! };
//! let (spool, thread) = open(settings, RunId(7))?;
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! spool.append(reading).await?;
//! spool.offered().await?; // on disk by now
//! let batch = spool.read(Sequence(0), 64).await?;
//! for stored in &batch.messages {
//!     // … send it; and once somebody has it for certain:
//!     spool.acknowledge(vec![stored.sequence]).await?;
//! }
//! let next = batch.next; // where to read on
//! # assert_eq!((batch.messages.len(), next), (1, *spool.head().borrow()));
//! spool.close().await;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! thread.join()?;
//! # Ok(())
//! # }
//! ```
//!
//! # What it promises
//!
//! - Messages are offered in the order in which they were appended, each under a [`Sequence`], until they are
//!   acknowledged; those of earlier runs first.
//! - A message that is not acknowledged within `commit_every` is on disk: committed by a transaction whose log has been
//!   fsynced. With `commit_every: 0s` that is so before it is offered at all. One that is acknowledged earlier never
//!   touches the disk, so a healthy link costs no flash wear.
//! - Memory and disk are bounded. Where something must give way, `when_full` says which reading, and every reading that
//!   went is reported by a loss record that is committed together with the drop: one record per sensor, run and reason, which
//!   grows until it is read. Readings that the link was given and that may be with the broker already (after a restart,
//!   the oldest 64) go last; replies go only when no reading is left.
//! - A failing disk stops nothing: messages stay in memory up to [`cache::LIMIT_BYTES`], commits are tried again with
//!   back-off, and [`Stats::error`] says it in words. Meanwhile messages are offered uncommitted whatever `commit_every`
//!   says: holding them back would only make more of them mortal. A disk that is full, read-only, failing or not there at the
//!   start is no different: the file is opened when it can be, and what it has is offered then. Only a file that another instance
//!   holds, or that a newer version wrote, stops the start.
//! - The limit is `max_size`, or what the disk has where that is less, as of each commit. Where others fill the disk, the spool
//!   grows no more; what it has it keeps, for deleting it would free no space for others.
//! - What a sensor has counted ([`Item::Count`]) is on disk before a message that was appended behind it is offered, whatever
//!   `commit_every` says, and stays there when the message is gone: it belongs to the sensor's name. Only while the disk
//!   cannot be written are such messages offered all the same; a kill then takes the count back to what the disk has. A count that
//!   a user sets ([`Item::SetCount`]) may be less, and who set it is answered when it is on disk.
//! - What a user has set ([`Item::SetValue`]) is written at once, and who set it is answered when it is on disk. It belongs to its
//!   recipient and stays when that is configured no more.
//! - A command that had an id is known to the next run, with its answer: the newest 1024 of them ([`CommandIds`]), fewer where
//!   they would take more than a quarter of the capacity for messages. An answer is on disk before a reply that was appended
//!   behind it is offered; a begin is written five milliseconds later unless its answer comes first. Nobody waits for either.
//!   What else waits is not written with them, so readings cost no more for it. One such transaction costs about 9 kB with what
//!   the file system adds. Four may follow each other; then there are two a second, and replies are offered up to half a second
//!   before their records are on disk: about 70 kB/s under a flood, of which 200 commands a second get so far.
//! - What the program announced to others ([`Announced`]) is written as soon as the disk takes it, up to an eighth of the capacity
//!   for messages, and known to the next run, which can then take it back.
//! - What is offered is what was appended: a row that is not as it was written is never offered, but reported as lost.
//!
//! # What it does not do
//!
//! It knows neither MQTT nor topics. It does not keep messages of QoS 0: they pass through memory, at most
//! [`cache::FLEETING_COUNT`] of them, are never written, and the oldest goes (counted, without a loss record). It does
//! not repair: a file that SQLite finds damaged is set aside as `spool.db.damaged-<unix time>`, where it stays until a person
//! deletes it, and a new one begun. A row that does not belong where it is found is such damage too.
//! A file of more than a mebibyte is examined by the spool's thread, before it serves anybody,
//! so that a start need not wait for it. What can still be read of the old one moves into the new one; readings that lay in
//! between are reported as lost where the rows around them say which they were, and are counted in the log where not.
//!
//! # What a power cut or a kill can lose
//!
//! With `commit_every: 0s` nothing that was offered; what was still queued in front of the spool is lost. Otherwise the
//! readings of the last `commit_every`, plus the duration of one commit. An acknowledgement that was not yet applied to
//! the file (for a second at most) is forgotten, so its message is sent again: at least once, never less. A file system
//! or a card that lies about fsync can lose more; SQLite then finds a torn log and falls back to its last whole state. Where
//! the log shows that it had been whole, both files are set aside as damaged.
//! A command of whose begin nothing was written is not known to the next run, and a repeat of it is carried out again: what
//! began in the last five milliseconds (half a second in a flood), plus the duration of a commit under way; for a power cut,
//! that of its own commit too. None of these losses can be reported, since nothing is left that knows of them: the numbers of
//! that run simply end earlier.
//!
//! # On disk
//!
//! One SQLite database `spool.db` with its log `spool.db-wal`, `user_version` 6, WAL, `synchronous=FULL`, held exclusively:
//! a second instance is refused, and there is no shared-memory file. Schema 1 lacked `message.sum`, schema 2 the table
//! `count`, schema 3 the table `command`, schema 4 the table `announced`, schema 5 the table `value`; all are migrated. A newer one than
//! this is refused and left alone.
//!
//! ```sql
//! CREATE TABLE message (          -- one row per unacknowledged message
//!   seq INTEGER PRIMARY KEY,      -- Sequence
//!   kind INTEGER NOT NULL,        -- 0 reading, 1 reply of an output, 2 loss, 3 reply of a sensor's total,
//!                                 -- 4 reply of a variable, 5 response to a request, 6 event of a rule,
//!                                 -- 7 reply of a rule's switch
//!   source TEXT NOT NULL,         -- sensor or output
//!   run INTEGER NOT NULL,         -- start of the program
//!   n INTEGER NOT NULL,           -- a reading's number, 0 for the others
//!   boot_ns INTEGER NOT NULL,     -- CLOCK_BOOTTIME when it was taken
//!   wall_ms INTEGER NOT NULL,     -- UTC when it was taken
//!   flags INTEGER NOT NULL,       -- bits 0-1 QoS, 2 retain, 3 unsynchronised clock
//!   body BLOB NOT NULL,           -- as model::payload made it
//!   sum INTEGER NOT NULL          -- CRC-32 of seq, kind, run, n and source in the upper half, of everything in the lower
//! ) STRICT;
//! CREATE TABLE run (              -- one row per start that may still have messages
//!   first INTEGER PRIMARY KEY,    -- its first Sequence; the next start begins 2^36 after the newest
//!   run INTEGER NOT NULL,
//!   boot_id TEXT NOT NULL         -- empty; earlier versions wrote the machine's boot id, and none ever read it
//! ) STRICT;
//! CREATE TABLE count (            -- one row per sensor that counts over restarts, also when it is configured no more
//!   name TEXT PRIMARY KEY,        -- the sensor
//!   count INTEGER NOT NULL,
//!   sum INTEGER NOT NULL          -- CRC-32 of count and name
//! ) STRICT, WITHOUT ROWID;
//! CREATE TABLE command (          -- one row per command that had an id, the newest of all
//!   n INTEGER PRIMARY KEY,        -- their order; the newest has the greatest
//!   actuator TEXT NOT NULL,       -- an output, or a sensor whose total was set with ":total" behind its name,
//!                                 -- a variable with ":variable", the switch of a rule with ":rule"
//!   id TEXT NOT NULL,
//!   answer BLOB,                  -- the reply's payload, word for word; NULL as long as there is none
//!   sum INTEGER NOT NULL          -- CRC-32 of n, actuator and id in the upper half, of everything in the lower
//! ) STRICT;
//! CREATE TABLE announced (        -- what the program has announced and must take back when it is gone
//!   name TEXT PRIMARY KEY,
//!   body BLOB NOT NULL,
//!   sum INTEGER NOT NULL          -- CRC-32 of name and body
//! ) STRICT, WITHOUT ROWID;
//! CREATE TABLE value (            -- one row per thing that a user has set, also when it is configured no more
//!   recipient TEXT PRIMARY KEY,   -- a variable with ":variable" behind its name, the switch of a rule with ":rule"
//!   value TEXT NOT NULL,
//!   sum INTEGER NOT NULL          -- CRC-32 of recipient and value
//! ) STRICT, WITHOUT ROWID;
//! ```
//!
//! Beside it lies `spool.db.reserve`, space that is given up when the disk is full: even a deletion must be written to the
//! log first.
//!
//! # Inside
//!
//! `cache.rs` is the memory and `record.rs` the form of rows, both pure; `losses.rs` merges loss records; `overflow.rs` decides what is
//! dropped; `counts.rs` keeps what sensors have counted, `values.rs` what users have set, and `ids.rs` the commands that were seen, by
//! `command_ids.rs`; `configuration.rs` keeps whole configurations; `announced.rs` keeps what was announced; `handed.rs` knows what the
//! broker may have; `codes.rs` says what an error means; `file.rs` has the schema, `opening.rs` opens the database in the folder that
//! `folder.rs` makes, `wal.rs` checks its log, `store.rs` works on it, `rows.rs` decodes its rows. `salvage.rs` reads a damaged one:
//! `page_file.rs` and `pages.rs` know its format, `scout.rs` finds the pages with rows, and `holes.rs` says what is missing.
//! `core.rs` joins them and applies the policy, with the time passed in; below it `disk.rs`, `order.rs` and `delivery.rs` have its state.
//! `thread.rs` runs the core, and `vitals.rs` says how it is.

mod announced;
pub mod cache;
mod codes;
mod command_ids;
pub mod configuration;
mod core;
mod counts;
mod error;
mod file;
mod folder;
mod handed;
mod holes;
mod ids;
mod losses;
mod opening;
mod overflow;
mod page_file;
mod pages;
mod record;
mod rows;
mod salvage;
mod scout;
mod store;
mod thread;
mod types;
mod values;
mod vitals;
mod wal;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot, watch};

use fieldgate_model::{Loss, Message, Name, PersistedCounts, PersistedValues, Recipient, Saved};

pub use announced::{Announced, Announcements};
pub use command_ids::CommandIds;
pub use error::{Closed, NotNow, ReadError, SpoolError};
pub use folder::describe as describe_folder;
pub use thread::{SpoolPanicked, SpoolThread, open};
pub use types::{Batch, MIN_SIZE, Sequence, Settings, Stats, Stored, WhenFull};
pub use vitals::Vitals;

use thread::Request;
use vitals::Busy;

/// A handle to the spool's thread. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Spool {
    requests: mpsc::Sender<Request>,
    /// Of items in the queue, several of which may be one request.
    places: Arc<Semaphore>,
    head: watch::Receiver<Sequence>,
    era: watch::Receiver<u64>,
    stats: watch::Receiver<Stats>,
    counts: watch::Receiver<PersistedCounts>,
    values: watch::Receiver<PersistedValues>,
    command_ids: CommandIds,
    announced: Announced,
    busy: Arc<Busy>,
}

/// What the spool takes.
#[derive(Debug)]
pub enum Item {
    /// Kept until it is acknowledged.
    Message(Message),
    /// Readings that were lost before they came here.
    Loss(Loss),
    /// What a sensor has counted. Nothing that is handed over later is offered before it is on disk.
    Count(Name, u64),
    /// What a user has set the count of a sensor to, which may be less than it was.
    SetCount {
        /// Whose.
        sensor: Name,
        /// To what.
        count: u64,
        /// Answered once it is on disk, or as soon as it is known that it cannot be now. It is then written when it can be. The
        /// requester may have stopped waiting.
        saved: oneshot::Sender<Saved>,
    },
    /// What a user has set.
    SetValue {
        /// What of.
        recipient: Recipient,
        /// To what.
        value: String,
        /// As that of [`Item::SetCount`].
        saved: oneshot::Sender<Saved>,
    },
}

/// The right to put some items into the spool's queue.
#[derive(Debug)]
pub struct Permit<'a> {
    slot: mpsc::Permit<'a, Request>,
    places: SemaphorePermit<'a>,
}

impl Permit<'_> {
    /// How many.
    pub fn size(&self) -> usize {
        self.places.num_permits()
    }

    /// Hands over at most [`Permit::size`] items. Together they wake the spool's thread once.
    pub fn hand_over(mut self, items: Vec<Item>) {
        debug_assert!(items.len() <= self.size(), "{} items with a permit for {}", items.len(), self.size());
        // What is taken comes back from the thread.
        self.places.split(items.len()).into_iter().for_each(SemaphorePermit::forget);
        self.slot.send(Request::Items(items));
    }
}

impl Spool {
    /// Appends a message; waits for room in the queue.
    ///
    /// # Errors
    /// [`Closed`]: the message is lost; only after a stop.
    pub async fn append(&self, message: Message) -> Result<(), Closed> {
        self.reserve(1).await?.hand_over(vec![Item::Message(message)]);
        Ok(())
    }

    /// Waits for places in the queue, which fills up while a disk hangs: for one at least, and takes up to `wanted` if they are
    /// free. Cancel-safe.
    ///
    /// # Errors
    /// [`Closed`]; only after a stop.
    pub async fn reserve(&self, wanted: usize) -> Result<Permit<'_>, Closed> {
        let mut places = self.places.acquire().await.map_err(|_| Closed)?;
        let more = wanted.saturating_sub(1).min(self.places.available_permits());
        // Somebody else may have been faster; then there is a place for one.
        if let Ok(more) = self.places.try_acquire_many(u32::try_from(more).unwrap_or(0)) {
            places.merge(more);
        }
        let slot = self.requests.reserve().await.map_err(|_| Closed)?;
        Ok(Permit { slot, places })
    }

    /// Reports readings that were lost before they came here.
    ///
    /// # Errors
    /// [`Closed`], as [`Spool::append`].
    pub async fn report_loss(&self, loss: Loss) -> Result<(), Closed> {
        self.reserve(1).await?.hand_over(vec![Item::Loss(loss)]);
        Ok(())
    }

    /// Unacknowledged messages from `from` on: at most `limit`, fewer when they are large or damaged. How many there are says
    /// nothing about what follows; [`Batch::next`] does.
    ///
    /// # Errors
    /// [`ReadError`] says whether to stop or to try again.
    pub async fn read(&self, from: Sequence, limit: usize) -> Result<Batch, ReadError> {
        let (answer, answered) = oneshot::channel();
        self.send(Request::Read { from, limit, answer }).await?;
        answered.await.map_err(|_| Closed)?
    }

    /// Where the present begins: the first of the newest messages that all belong to this start and were taken at `boot` or
    /// later, on [`fieldgate_clock::boottime`]. One past the newest when there are none.
    ///
    /// # Errors
    /// [`Closed`]: stop reading.
    pub async fn first_since(&self, boot: Duration) -> Result<Sequence, Closed> {
        let (answer, answered) = oneshot::channel();
        self.send(Request::FirstSince { boot, answer }).await?;
        answered.await.map_err(|_| Closed)
    }

    /// Forgets messages that the broker has; unknown and repeated sequences are ignored. Waits for room in the queue.
    ///
    /// # Errors
    /// [`Closed`]: what was committed of them will be sent again by the next run.
    pub async fn acknowledge(&self, sequences: Vec<Sequence>) -> Result<(), Closed> {
        self.send(Request::Acknowledge(sequences)).await
    }

    /// The same without waiting.
    ///
    /// # Errors
    /// [`NotNow`] says whether to try again.
    pub fn try_acknowledge(&self, sequences: Vec<Sequence>) -> Result<(), NotNow<Vec<Sequence>>> {
        self.requests.try_send(Request::Acknowledge(sequences)).map_err(|error| match error {
            TrySendError::Full(Request::Acknowledge(sequences)) => NotNow::Full(sequences),
            _ => NotNow::Closed,
        })
    }

    /// Forgets messages that can never arrive; readings among them are reported as lost, with these reasons. Never waits.
    ///
    /// # Errors
    /// [`NotNow`] says whether to try again.
    pub fn try_give_up(&self, messages: Vec<(Sequence, String)>) -> Result<(), NotNow<Vec<(Sequence, String)>>> {
        self.requests.try_send(Request::GiveUp(messages)).map_err(|error| match error {
            TrySendError::Full(Request::GiveUp(messages)) => NotNow::Full(messages),
            _ => NotNow::Closed,
        })
    }

    /// One past the newest offered; changes when something new is offered.
    pub fn head(&self) -> watch::Receiver<Sequence> {
        self.head.clone()
    }

    /// Grows when messages have appeared in front of what was read, those of a file that could not be opened at the start or
    /// that was damaged: read again from the beginning. [`Spool::head`] changes then, too.
    pub fn era(&self) -> watch::Receiver<u64> {
        self.era.clone()
    }

    /// Waits until everything that was appended before is offered, so that [`Spool::head`] knows it.
    ///
    /// # Errors
    /// [`Closed`]: nothing more will be offered.
    pub async fn offered(&self) -> Result<(), Closed> {
        let (answer, answered) = oneshot::channel();
        self.send(Request::Offered(answer)).await?;
        answered.await.map_err(|_| Closed)
    }

    /// Status of the spool, as its thread last said.
    pub fn stats(&self) -> watch::Receiver<Stats> {
        self.stats.clone()
    }

    /// What sensors had counted when the file was read: where they go on. Nothing until a file could be opened.
    pub fn counts(&self) -> watch::Receiver<PersistedCounts> {
        self.counts.clone()
    }

    /// What users had set when the file was read. Nothing until a file could be opened.
    pub fn values(&self) -> watch::Receiver<PersistedValues> {
        self.values.clone()
    }

    /// Where commands record their ids, and what earlier runs recorded.
    pub fn command_ids(&self) -> CommandIds {
        self.command_ids.clone()
    }

    /// Where the program says what it has announced, and what earlier runs had.
    pub fn announced(&self) -> Announced {
        self.announced.clone()
    }

    /// Status of the spool, also while its thread waits for the disk.
    pub fn vitals(&self) -> Vitals {
        Vitals::new(self.stats.clone(), Arc::clone(&self.busy))
    }

    /// Takes new settings over, but for the path: a move needs a restart.
    ///
    /// # Errors
    /// [`Closed`]: nothing to reconfigure.
    pub async fn reconfigure(&self, settings: Settings) -> Result<(), Closed> {
        self.send(Request::Reconfigure(settings)).await
    }

    /// Does this with what requests carry. Never waits: where the queue is full, nothing is done and the channel closed.
    pub fn configuration(&self, order: configuration::Order) -> configuration::Written {
        let (answer, written) = oneshot::channel();
        self.requests.try_send(Request::Configuration { order, answer }).unwrap_or_default();
        written
    }

    /// Commits what is left and closes the file; returns when done. Other handles find the spool closed.
    pub async fn close(self) {
        let (answer, answered) = oneshot::channel();
        if self.send(Request::Close(answer)).await.is_ok() {
            // An error means that the thread ended without an answer: there is nothing left to wait for.
            answered.await.unwrap_or(());
        }
    }

    /// Changes readings on the disk, all of which memory then forgets.
    #[cfg(any(test, feature = "testing"))]
    pub async fn damage(&self, readings: Vec<(Name, u64)>) {
        self.send(Request::Damage(readings)).await.expect("the spool's thread runs");
    }

    async fn send(&self, request: Request) -> Result<(), Closed> {
        self.requests.send(request).await.map_err(|_| Closed)
    }
}
