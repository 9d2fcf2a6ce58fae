//! How much the spool may keep: what `max_size` says, or the disk where that has less.

use tracing::{info, warn};

use crate::core::{Core, IDS_SHARE, LOG_AGAIN};
use crate::file;
use crate::store::Limits;
use fieldgate_model::Moment;

impl Core {
    /// Computes the limit again, before something is written or given up: the disk may have more free space by now, or less.
    pub(super) fn fit_the_disk(&mut self, now: Moment) {
        let available = file::available_bytes(&self.settings.path);
        self.log_whether_short(available, now);
        let limits = Limits::within(self.settings.max_size, available, self.store.used());
        let before = std::mem::replace(&mut self.limits, limits);
        self.ids.limit(limits.capacity / IDS_SHARE);
        if limits.batch != before.batch
            && let Err(error) = self.store.limit(limits)
        {
            self.failed(&error, now);
        }
    }

    /// Whether the disk has more free space than at the last write, while messages wait for that alone.
    pub(super) fn has_more_space(&mut self, now: Moment) -> bool {
        let before = self.limits.capacity;
        self.fit_the_disk(now);
        self.fault.is_none() && self.limits.capacity > before
    }

    fn log_whether_short(&mut self, available: u64, now: Moment) {
        let max_size = self.settings.max_size;
        let is_quiet = self.short_logged.is_some_and(|at| now.boot < at + LOG_AGAIN);
        if self.is_short == (available < max_size) || is_quiet {
            return;
        }
        (self.is_short, self.short_logged) = (!self.is_short, Some(now.boot));
        if self.is_short {
            warn!(
                max_size,
                available, "The disk has less space than spool.max_size; the spool keeps to what is available."
            );
        } else {
            info!(max_size, "The disk has space for spool.max_size again.");
        }
    }
}
