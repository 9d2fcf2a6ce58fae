//! When the broker was last heard.
//!
//! The link writes, the workers read: an output with `safe_after` counts from here, whatever the link believes about
//! itself. No lock, no channel, so a stuck part cannot hide a lost link.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The moment of the broker's last byte, shared by all.
#[derive(Debug, Default)]
pub struct Pulse {
    /// `CLOCK_BOOTTIME` in nanoseconds; 0 means never.
    last_ns: AtomicU64,
}

impl Pulse {
    /// The broker sent something at `now` (`CLOCK_BOOTTIME`).
    pub fn beat(&self, now: Duration) {
        // 584 years fit.
        self.last_ns.store(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// When the broker was last heard; `None` before the first byte.
    pub fn last(&self) -> Option<Duration> {
        match self.last_ns.load(Ordering::Relaxed) {
            0 => None,
            ns => Some(Duration::from_nanos(ns)),
        }
    }
}
