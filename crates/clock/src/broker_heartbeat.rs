//! When the broker was last heard.
//!
//! The link calls [`BrokerHeartbeat::beat`] for each packet; outputs read it: `safe_after` counts from the last byte that the
//! broker sent.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The boot time of the last sign of life, in nanoseconds; zero stands for none yet.
#[derive(Debug, Default)]
pub struct BrokerHeartbeat(AtomicU64);

impl BrokerHeartbeat {
    /// Not heard yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The broker has just sent something.
    pub fn beat(&self) {
        let now = u64::try_from(crate::boottime().as_nanos()).unwrap_or(u64::MAX);
        self.0.store(now.max(1), Ordering::Release);
    }

    /// When it was last heard, on [`crate::boottime`]; `None` before the first time.
    pub fn last(&self) -> Option<Duration> {
        match self.0.load(Ordering::Acquire) {
            0 => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_knows_the_last_beat_or_that_there_was_none() {
        let heartbeat = BrokerHeartbeat::new();
        assert_eq!(heartbeat.last(), None);
        let before = crate::boottime();
        heartbeat.beat();
        assert!(heartbeat.last().is_some_and(|at| at >= before));
    }
}
