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
//! spool.wait_until_readable().await?; // on disk by now
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
//! # What it is
//!
//! A queue between those who have something to say and the link that delivers it, in memory and in a file at once. Each message is
//! given a number, its [`Sequence`]; numbers grow for ever, also over restarts. The link reads messages in their order, as often as
//! it likes, and each stays until the link acknowledges it. A message is *readable* when the link may read it. A number of the
//! program's start, its [`RunId`](fieldgate_model::RunId), goes with each message, and *era* says which numbering the link has read
//! from: where a file is found late, what was numbered meanwhile moves behind its rows, and the link begins again in a new era
//! (`core/sequences.rs`).
//!
//! # What it promises
//!
//! 1. **Order.** Messages become readable in the order in which they were appended, until they are acknowledged; those of earlier runs
//!    first.
//! 2. **On disk in time.** A message that is not acknowledged within `commit_every` is committed by a transaction whose log has been
//!    fsynced; with `commit_every: 0s` that is so before it is readable at all. One that is acknowledged earlier never touches the disk,
//!    so a healthy link costs no flash wear.
//! 3. **Bounded, and nothing goes unreported.** Where something must give way, `when_full` says which reading, and every reading that
//!    went is reported by a loss record that is committed together with the drop.
//! 4. **A bad disk stops nothing.** Messages stay in memory up to [`cache::LIMIT_BYTES`], commits are tried again with back-off, and
//!    [`Stats::error`] says it in words.
//! 5. **As it was appended.** A row that is not as it was written is never readable, but reported as lost.
//!
//! # What else it keeps
//!
//! - What a sensor has counted ([`Item::Count`]) is on disk before a message that was appended behind it is readable, whatever
//!   `commit_every` says, and stays there when the message is gone: it belongs to the sensor's name. Only while the disk
//!   cannot be written are such messages readable all the same; a kill then takes the count back to what the disk has. A count that
//!   a user sets ([`Item::SetCount`]) may be less, and who set it is answered when it is on disk.
//! - What a user has set ([`Item::SetValue`]) is written at once, and who set it is answered when it is on disk. It belongs to its
//!   recipient and stays when that is configured no more.
//! - A command that had an id is known to the next run, with its answer ([`CommandIds`]). An answer is on disk before a reply that was
//!   appended behind it is readable; nobody waits for either. How many, how soon and at what cost: `ids.rs`.
//! - What the program announced to others ([`Announced`]) is written as soon as the disk takes it, up to an eighth of the capacity
//!   for messages, and known to the next run, which can then take it back.
//!
//! # When space or disk is short
//!
//! The limit is `max_size`, or what the disk has where that is less, as of each commit. Where others fill the disk, the spool
//! grows no more; what it has it keeps, for deleting it would free no space for others.
//!
//! There is one loss record per sensor, run and reason, which grows until it is read. Readings that the link was given and that may
//! be with the broker already (after a restart, the oldest 64) go last; replies go only when no reading is left.
//!
//! While the disk fails, messages are readable uncommitted whatever `commit_every` says: holding them back would only make more of them
//! mortal. A disk that is full, read-only, failing or not there at the start is no different: the file is opened when it can be, and
//! what it has is readable then. Only a file that another instance holds, or that a newer version wrote, stops the start.
//!
//! # What it does not do
//!
//! It knows neither MQTT nor topics. It does not keep messages of QoS 0: they pass through memory, at most
//! [`cache::FLEETING_COUNT`] of them, are never written, and the oldest goes (counted, without a loss record). It does
//! not repair: a file that SQLite finds damaged is set aside as `spool.db.damaged-<unix time>`, where it stays until a person
//! deletes it, and a new one begun. A row that does not belong where it is found is such damage too.
//! A file of more than a mebibyte is examined by a thread of its own, for about a second at most, so that neither a start nor
//! fresh messages need wait for it. Until then what the file has is not readable, and nothing is written; what must be on disk
//! before it is readable waits, and a stop waits too. Where memory is full before the examination has ended, the spool waits for
//! its end. What can still be read of a damaged file moves into the new one; readings that lay in
//! between are reported as lost where the rows around them say which they were, and are counted in the log where not.
//!
//! # What a power cut or a kill can lose
//!
//! With `commit_every: 0s` nothing that was readable; what was still queued in front of the spool is lost. Otherwise the
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
//!   source TEXT NOT NULL,         -- the sensor, output, variable, rule or verb
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
//! `cache.rs` is the memory and `record.rs` the form of rows, both pure; `losses.rs` merges loss records; `overflow.rs` decides
//! what is dropped; `counts.rs` keeps what sensors have counted, `values.rs` what users have set, and `ids.rs` the commands that
//! were seen, by `command_ids.rs`; `configuration.rs` keeps whole configurations; `announced.rs` keeps what was announced;
//! `read_by_link.rs` knows what the broker may have; `codes.rs` says what an error means; `file.rs` has the schema, `opening.rs`
//! opens the database in the folder that `folder.rs` makes, `wal.rs` checks its log, `store.rs` works on it, `rows.rs` decodes its
//! rows. `salvage.rs` reads a damaged one: `page_file.rs` and `pages.rs` know its format, `scout.rs` finds the pages with rows,
//! `row_search.rs` puts these in order, and `holes.rs` says what is missing. `export.rs` reads a spool from outside, beside the
//! service too, by `snapshot.rs`, and locks and writes nothing. `inspect.rs` looks at a file from outside in the same way, to say
//! how it is. `examination.rs` looks through a large file while the others work. `core.rs` joins them and applies the policy, with
//! the time passed in; below it `disk.rs`, `sequences.rs` and `delivery.rs` have its state. `thread.rs` runs the core, and
//! `vitals.rs` says how it is.

mod announced;
pub mod cache;
mod codes;
mod command_ids;
pub mod configuration;
mod core;
mod counts;
mod error;
mod examination;
mod export;
mod file;
mod folder;
mod handle;
mod holes;
mod ids;
mod inspect;
mod lock;
mod losses;
mod opening;
mod overflow;
mod page_file;
mod pages;
mod read_by_link;
mod record;
mod row_search;
mod rows;
mod salvage;
mod scout;
mod snapshot;
mod store;
mod thread;
mod types;
mod values;
mod vitals;
mod wal;

#[cfg(test)]
mod tests;

pub use announced::{Announced, Announcements};
pub use command_ids::CommandIds;
pub use error::{Closed, NotNow, ReadError, SpoolError};
pub use export::{Export, ExportError, Portion};
pub use folder::describe as describe_folder;
pub use handle::{Item, Permit, Spool};
pub use inspect::{FileState, Inspection, inspect, is_in_use};
#[cfg(any(test, feature = "testing"))]
pub use thread::open_gated;
pub use thread::{SpoolPanicked, SpoolThread, open};
pub use types::{Batch, MIN_SIZE, Sequence, Settings, Stats, Stored, WhenFull};
pub use vitals::Vitals;
