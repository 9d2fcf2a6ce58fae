//! The counts that sensors keep over restarts: what memory knows, and what the disk has of it. Pure.

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
}

impl Counts {
    /// Takes a count that must be on disk; says whether it is not yet. A count never goes back.
    pub(super) fn keep(&mut self, name: &Name, count: u64) -> bool {
        if self.all.len() >= LIMIT && !self.all.contains_key(name) {
            error!(sensor = %name, "Too many counts are kept; this one will begin at 0 at the next start.");
            return false;
        }
        let entry = self.all.entry(name.clone()).or_default();
        entry.count = entry.count.max(count);
        entry.saved != Some(entry.count)
    }

    /// What must be written.
    pub(super) fn unsaved(&self) -> impl Iterator<Item = (&Name, u64)> {
        let unsaved = self.all.iter().filter(|(_, entry)| entry.saved != Some(entry.count));
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
        for (name, count) in &rows {
            self.keep(name, *count);
        }
        self.mark_saved(&rows);
        self.is_known = true;
    }

    /// A file that is in use no more has these.
    pub(super) fn recover(&mut self, rows: &[Counted]) {
        for (name, count) in rows {
            self.keep(name, *count);
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
        assert_eq!(counts.known(), None);
        counts.adopt(vec![(name("gas"), 7)]);
        assert_eq!((counts.unsaved().count(), counts.keep(&name("gas"), 7)), (0, false));
        assert!(counts.keep(&name("gas"), 8) && counts.keep(&name("rain"), 0));
        let unsaved: Vec<_> = counts.unsaved().map(|(name, count)| (name.clone(), count)).collect();
        assert_eq!(unsaved, [(name("gas"), 8), (name("rain"), 0)]);
        counts.mark_saved(&unsaved);
        assert_eq!(counts.unsaved().count(), 0);
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
    fn names_are_limited() {
        let mut counts = Counts::default();
        for n in 0..LIMIT + 5 {
            counts.keep(&name(&format!("n{n}")), 1);
        }
        assert_eq!(counts.unsaved().count(), LIMIT);
        assert!(counts.keep(&name("n0"), 2), "those that are kept go on");
    }
}
