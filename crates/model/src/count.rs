//! A count that outlives the program: of pulses, of litres, of whatever only ever grows.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::Name;

/// What the disk has of all counts, by the sensor's name; nothing as long as no disk could be read.
pub type PersistedCounts = Option<Arc<BTreeMap<Name, u64>>>;

/// One sensor's count: what earlier runs left, and what has come since.
///
/// It belongs to the sensor's name and not to the device, so that a device that is built anew, or moved by a reload, goes on.
#[derive(Debug, Default)]
pub struct Count {
    before: OnceLock<u64>,
    since: AtomicU64,
}

impl Count {
    /// Counts `more`.
    pub fn add(&self, more: u64) {
        self.since.fetch_add(more, Ordering::Relaxed);
    }

    /// Goes on from what earlier runs left. Only the first word counts.
    pub fn resume(&self, before: u64) {
        // Said twice, it was known already.
        self.before.set(before).unwrap_or_default();
    }

    /// Everything counted so far; nothing as long as it is not known where to go on, for a count that went back would be
    /// worse than none.
    pub fn total(&self) -> Option<u64> {
        Some(self.before.get()?.saturating_add(self.since.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_before_it_was_known_where_to_go_on_counts_too() {
        let count = Count::default();
        count.add(3);
        assert_eq!(count.total(), None);
        count.resume(40);
        count.resume(7);
        count.add(2);
        assert_eq!(count.total(), Some(45));
    }
}
