//! What outlives the messages: the counts of sensors, what users have set, the ids of commands, and what was announced.

use std::sync::Arc;
use std::time::Duration;

use crate::announced::Announcements;
use crate::core::Core;
use fieldgate_model::{
    CommandRecord, EarlierCommands, Moment, Name, PersistedCounts, PersistedValues, Recipient, Saved,
};

/// Why a count is not on the disk although that works: the table has as many as are kept.
const NO_PLACE: &str = "the counts of too many other sensors are kept";

/// Why a value that a user has set is not on the disk although that works.
const NO_PLACE_FOR_VALUE: &str = "too many other values are kept";

impl Core {
    /// Takes what a sensor has counted. It is written before the messages that come behind it are readable: a count that was
    /// published once must not be seen to go back.
    pub(crate) fn keep_count(&mut self, sensor: &Name, count: u64) {
        if self.counts.keep(sensor, count) {
            self.disk.hurry();
        }
    }

    /// Takes a count that a user has set. It is written as a count that has grown is.
    pub(crate) fn set_count(&mut self, sensor: &Name, count: u64, now: Moment) {
        self.await_examination(now);
        self.counts.set(sensor, count);
        self.disk.hurry();
    }

    /// Whether the count of this sensor is on disk; in words, why not.
    pub(crate) fn count_saved(&self, sensor: &Name) -> Saved {
        let why = || self.disk.fault_words().unwrap_or(NO_PLACE).to_owned();
        if self.counts.is_saved(sensor) { Ok(()) } else { Err(why()) }
    }

    /// What sensors had counted when the file was read; nothing as long as there is none.
    pub(crate) fn counts(&self) -> PersistedCounts {
        self.counts.known()
    }

    /// Whether [`Core::counts`] is known.
    pub(crate) fn knows_counts(&self) -> bool {
        self.counts.is_known()
    }

    /// Takes a value that a user has set. It is written as a count that has grown is.
    pub(crate) fn set_value(&mut self, recipient: Recipient, value: String, now: Moment) {
        self.await_examination(now);
        self.values.set(recipient, value);
        self.disk.hurry();
    }

    /// Whether what was set here is on disk; in words, why not.
    pub(crate) fn value_saved(&self, recipient: &Recipient) -> Saved {
        let why = || self.disk.fault_words().unwrap_or(NO_PLACE_FOR_VALUE).to_owned();
        if self.values.is_saved(recipient) { Ok(()) } else { Err(why()) }
    }

    /// What users had set when the file was read, and since; nothing as long as there is none.
    pub(crate) fn values(&self) -> PersistedValues {
        self.values.known()
    }

    /// Whether [`Core::values`] is known.
    pub(crate) fn knows_values(&self) -> bool {
        self.values.is_known()
    }

    /// Takes a command that begins, or the answer to one. It is written before the messages that come behind it are readable,
    /// unless there are very many.
    pub(crate) fn record_command(&mut self, record: CommandRecord, now: Moment) {
        self.ids.record(record, now.boot);
    }

    /// The commands that were recorded when the file was read, and since; nothing as long as there is no file.
    pub(crate) fn commands(&self) -> EarlierCommands {
        self.ids.known()
    }

    /// Whether [`Core::commands`] is known.
    pub(crate) fn knows_commands(&self) -> bool {
        self.ids.is_known()
    }

    /// There is to be announced this and nothing else.
    pub(crate) fn set_announced(&mut self, all: Announcements) {
        self.announced.set(all);
    }

    /// What was announced when the file was read, and since; nothing as long as there is no file.
    pub(crate) fn announced(&self) -> Option<Arc<Announcements>> {
        self.announced.known()
    }

    /// Whether [`Core::announced`] is known.
    pub(crate) fn knows_announced(&self) -> bool {
        self.announced.is_known()
    }

    /// When the ids of commands must be written, even if nothing else is due.
    pub(super) fn ids_due(&self) -> Option<Duration> {
        self.ids.due().filter(|_| !self.disk.is_faulty() && !self.disk.is_examined_now())
    }

    /// Writes the ids of commands and nothing else: most of what waits is acknowledged before it has to be written.
    pub(super) fn save_ids(&mut self, now: Moment) {
        if let Err(error) = self.save_ids_only(now) {
            self.failed(&error, now);
        }
    }

    fn save_ids_only(&mut self, now: Moment) -> rusqlite::Result<()> {
        loop {
            let ids = self.ids.unsaved(self.disk.limits().batch);
            if ids.is_empty() {
                return Ok(());
            }
            let batch = self.disk.store_mut().begin()?;
            batch.put_commands(&ids, self.ids.oldest(), self.ids.unsound())?;
            batch.commit()?;
            self.ids.mark_saved(&ids, now.boot);
        }
    }
}
