//! The counts that sensors keep over restarts: what memory knows, and what the disk has of it. Pure.
//!
//! A count only grows, unless a user sets it. Then it may be less than what any file says, and what a file says is older.

use std::collections::BTreeMap;
use std::sync::Arc;

use tracing::error;

use fieldgate_model::{Name, PersistedCounts};

/// Names that are kept at most. A sensor that was renamed or removed leaves its count behind, so that it goes on when it is
/// put back; nobody renames so often.
const LIMIT: usize = 4096;

/// A sensor and what it has counted.
pub(super) type Counted = (Name, u64);

/// What each sensor has counted, and whether that is on the disk.
#[derive(Debug, Default)]
pub(super) struct Counts {
    all: BTreeMap<Name, Entry>,
    is_known: bool,
}

#[derive(Debug, Default)]
struct Entry {
    count: u64,
    /// What the disk says.
    saved: Option<u64>,
    /// Whether a user has set it in this run.
    is_set: bool,
}

impl Entry {
    fn is_saved(&self) -> bool {
        self.saved == Some(self.count)
    }
}

impl Counts {
    /// Takes a count that must be on disk; says whether it is not yet. A count never goes back by itself.
    pub(super) fn keep(&mut self, name: &Name, count: u64) -> bool {
        let Some(entry) = self.entry(name) else { return false };
        entry.count = entry.count.max(count);
        !entry.is_saved()
    }

    /// Takes a count that a user has set, whatever it was before.
    pub(super) fn set(&mut self, name: &Name, count: u64) {
        if let Some(entry) = self.entry(name) {
            (entry.count, entry.is_set) = (count, true);
        }
    }

    /// Whether what is known of a sensor is on disk.
    pub(super) fn is_saved(&self, name: &Name) -> bool {
        self.all.get(name).is_some_and(Entry::is_saved)
    }

    fn entry(&mut self, name: &Name) -> Option<&mut Entry> {
        if self.all.len() >= LIMIT && !self.all.contains_key(name) {
            error!(sensor = %name, "Too many counts are stored; this one is not, and starts at 0 at the next start.");
            return None;
        }
        Some(self.all.entry(name.clone()).or_default())
    }

    /// What must be written.
    pub(super) fn unsaved(&self) -> impl Iterator<Item = (&Name, u64)> {
        let unsaved = self.all.iter().filter(|(_, entry)| !entry.is_saved());
        unsaved.map(|(name, entry)| (name, entry.count))
    }

    /// Notes that these are on disk.
    pub(super) fn mark_saved(&mut self, saved: &[Counted]) {
        for (name, count) in saved {
            if let Some(entry) = self.all.get_mut(name) {
                entry.saved = Some(*count);
            }
        }
    }

    /// The file that is in use now has these.
    pub(super) fn adopt(&mut self, rows: Vec<Counted>) {
        self.forget_disk();
        self.recover(&rows);
        self.mark_saved(&rows);
        self.is_known = true;
    }

    /// A file that is in use no more has these.
    pub(super) fn recover(&mut self, rows: &[Counted]) {
        for (name, count) in rows {
            if !self.all.get(name).is_some_and(|entry| entry.is_set) {
                self.keep(name, *count);
            }
        }
    }

    /// The disk has nothing any more.
    pub(super) fn forget_disk(&mut self) {
        self.all.values_mut().for_each(|entry| entry.saved = None);
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// All of them, once a disk has been read.
    pub(super) fn known(&self) -> PersistedCounts {
        let all = || self.all.iter().map(|(name, entry)| (name.clone(), entry.count)).collect();
        self.is_known.then(|| Arc::new(all()))
    }

    /// Whether [`Counts::known`] says something.
    pub(super) fn is_known(&self) -> bool {
        self.is_known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    #[test]
    fn what_the_disk_has_need_not_be_written_and_what_has_grown_must() {
        let mut counts = Counts::default();
        assert_eq!((counts.known(), counts.is_known(), counts.is_empty()), (None, false, true));
        counts.adopt(vec![(name("gas"), 7)]);
        assert!(counts.is_known() && !counts.is_empty());
        assert_eq!((counts.unsaved().count(), counts.keep(&name("gas"), 7)), (0, false));
        assert!(counts.keep(&name("gas"), 8) && counts.keep(&name("rain"), 0));
        let unsaved: Vec<_> = counts.unsaved().map(|(name, count)| (name.clone(), count)).collect();
        assert_eq!(unsaved, [(name("gas"), 8), (name("rain"), 0)]);
        counts.mark_saved(&unsaved);
        assert_eq!(counts.unsaved().count(), 0);
        counts.forget_disk();
        assert_eq!(counts.unsaved().count(), 2, "all is written again");
    }

    #[test]
    fn a_new_file_gets_all_and_an_older_file_takes_nothing_back() {
        let mut counts = Counts::default();
        counts.adopt(vec![(name("gas"), 7)]);
        counts.keep(&name("gas"), 9);
        counts.adopt(Vec::new());
        assert_eq!(counts.unsaved().count(), 1);
        counts.recover(&[(name("gas"), 8), (name("rain"), 3)]);
        let known = counts.known().unwrap();
        assert_eq!((known[&name("gas")], known[&name("rain")]), (9, 3));
    }

    #[test]
    fn one_that_is_set_may_be_less_and_no_older_file_knows_better() {
        let mut counts = Counts::default();
        counts.adopt(vec![(name("gas"), 900), (name("rain"), 7)]);
        counts.set(&name("gas"), 40);
        assert!(!counts.is_saved(&name("gas")) && counts.is_saved(&name("rain")) && !counts.is_saved(&name("wind")));
        counts.recover(&[(name("gas"), 900), (name("rain"), 8)]);
        counts.adopt(vec![(name("gas"), 900)]);
        let unsaved: Vec<_> = counts.unsaved().map(|(name, count)| (name.clone(), count)).collect();
        assert_eq!(unsaved, [(name("gas"), 40), (name("rain"), 8)]);
        counts.mark_saved(&unsaved);
        assert!(counts.is_saved(&name("gas")));
        assert!(counts.keep(&name("gas"), 41), "it goes on from there");
    }

    #[test]
    fn names_are_limited() {
        let mut counts = Counts::default();
        for n in 0..LIMIT + 5 {
            counts.keep(&name(&format!("n{n}")), 1);
        }
        assert_eq!(counts.unsaved().count(), LIMIT);
        assert!(counts.keep(&name("n0"), 2), "those that are kept go on");
    }
}
