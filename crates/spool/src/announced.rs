//! What the program has announced to others and must take back when it is gone: texts under a name each, kept over restarts.
//!
//! The program says what there is to be, as a whole and without ever waiting; what it said last is written as soon as the disk takes
//! it. It learns what an earlier run left ([`Announced::earlier`]), and until it has said what becomes of that, it stays.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, watch};
use tracing::error;

use crate::lock::lock;

/// Texts by their names.
pub type Announcements = BTreeMap<String, Vec<u8>>;

/// Bytes that a row takes in a page besides its texts, rounded up.
const ROW_OVERHEAD: u64 = 24;

/// The program's end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Announced {
    shared: Arc<Shared>,
    earlier: watch::Receiver<Option<Arc<Announcements>>>,
}

/// The end of the spool's thread.
#[derive(Debug)]
pub(super) struct Reader {
    shared: Arc<Shared>,
    earlier: watch::Sender<Option<Arc<Announcements>>>,
}

#[derive(Debug, Default)]
struct Shared {
    wanted: Mutex<Option<Announcements>>,
    changed: Notify,
}

/// The end for the part that announces, and that of the spool's thread.
pub(super) fn open(earlier: Option<Arc<Announcements>>) -> (Announced, Reader) {
    let shared = Arc::<Shared>::default();
    let (sender, receiver) = watch::channel(earlier);
    (Announced { shared: Arc::clone(&shared), earlier: receiver }, Reader { shared, earlier: sender })
}

impl Announced {
    /// From now on there is this and nothing else. Written soon: a kill within the next milliseconds leaves what was there before.
    pub fn set(&self, all: Announcements) {
        *lock(&self.shared.wanted) = Some(all);
        self.shared.changed.notify_one();
    }

    /// What earlier runs left; nothing until a file could be opened.
    pub fn earlier(&self) -> Option<Arc<Announcements>> {
        self.earlier.borrow().clone()
    }
}

impl Reader {
    /// Takes what was said since the last time.
    pub(super) fn take(&self) -> Option<Announcements> {
        lock(&self.shared.wanted).take()
    }

    /// Waits until something is said. Cancel-safe; may return once too often.
    pub(super) async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    /// Whether [`Reader::publish_earlier`] was called, or need not be.
    pub(super) fn has_earlier(&self) -> bool {
        self.earlier.borrow().is_some()
    }

    /// Says what earlier runs left.
    pub(super) fn publish_earlier(&self, earlier: Option<Arc<Announcements>>) {
        self.earlier.send_replace(earlier);
    }
}

/// A name and the text under it; nothing deletes the row.
pub(super) type Change = (String, Option<Vec<u8>>);

/// What memory knows of the announcements, and what the disk has of it. Pure.
#[derive(Debug)]
pub(super) struct PersistedAnnouncements {
    all: Announcements,
    /// Names whose rows differ from `all`, or must go.
    unsaved: BTreeSet<String>,
    limit_bytes: u64,
    is_known: bool,
}

impl PersistedAnnouncements {
    /// None yet; they may take `limit_bytes` on disk.
    pub(super) fn new(limit_bytes: u64) -> Self {
        Self { all: BTreeMap::new(), unsaved: BTreeSet::new(), limit_bytes, is_known: false }
    }

    /// They may take `bytes` on disk from now on.
    pub(super) fn limit(&mut self, bytes: u64) {
        self.limit_bytes = bytes;
    }

    /// There is to be this and nothing else.
    pub(super) fn set(&mut self, mut all: Announcements) {
        let mut bytes = 0;
        let before = all.len();
        all.retain(|name, body| {
            bytes += cost(name, body);
            bytes <= self.limit_bytes
        });
        if all.len() < before {
            error!(
                bytes,
                limit = self.limit_bytes,
                "What is announced is more than the spool can remember; some of it cannot be taken back after a restart. Give \
                 spool.max_size more."
            );
        }
        let changed = all.iter().filter(|(name, body)| self.all.get(*name) != Some(body)).map(|(name, _)| name.clone());
        self.unsaved.extend(changed.collect::<Vec<_>>());
        self.unsaved.extend(self.all.keys().filter(|name| !all.contains_key(*name)).cloned());
        self.all = all;
    }

    /// What must be written: about `bytes` of it.
    pub(super) fn unsaved(&self, bytes: u64) -> Vec<Change> {
        let mut sum = 0;
        let change = |name: &String| (name.clone(), self.all.get(name).cloned());
        let fits = |(name, body): &Change| {
            let is_first = sum == 0;
            sum += cost(name, body.as_deref().unwrap_or_default());
            is_first || sum <= bytes
        };
        self.unsaved.iter().map(change).take_while(fits).collect()
    }

    /// Whether something must be written.
    pub(super) fn has_unsaved(&self) -> bool {
        !self.unsaved.is_empty()
    }

    /// Notes that these are on disk.
    pub(super) fn mark_saved(&mut self, saved: &[Change]) {
        for (name, _) in saved {
            self.unsaved.remove(name);
        }
    }

    /// The file that is in use now has these. What this run does not know of stays until it has said what becomes of it.
    pub(super) fn adopt(&mut self, rows: Announcements) {
        let deleted: BTreeSet<_> = self.unsaved.iter().filter(|name| !self.all.contains_key(*name)).cloned().collect();
        self.forget_disk();
        for (name, body) in rows {
            if deleted.contains(&name) {
                self.unsaved.insert(name);
            } else if self.all.get(&name).is_none_or(|known| *known == body) {
                self.unsaved.remove(&name);
                self.all.insert(name, body);
            }
        }
        self.is_known = true;
    }

    /// A file that is in use no more has these.
    pub(super) fn recover(&mut self, rows: Announcements) {
        for (name, body) in rows {
            if !self.all.contains_key(&name) && !self.unsaved.contains(&name) {
                self.unsaved.insert(name.clone());
                self.all.insert(name, body);
            }
        }
    }

    /// The disk has nothing any more.
    pub(super) fn forget_disk(&mut self) {
        self.unsaved = self.all.keys().cloned().collect();
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// All of them, once a disk has been read.
    pub(super) fn known(&self) -> Option<Arc<Announcements>> {
        self.is_known.then(|| Arc::new(self.all.clone()))
    }

    /// Whether [`PersistedAnnouncements::known`] says something.
    pub(super) fn is_known(&self) -> bool {
        self.is_known
    }
}

fn cost(name: &str, body: &[u8]) -> u64 {
    ROW_OVERHEAD + (name.len() + body.len()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(all: &[(&str, &str)]) -> Announcements {
        all.iter().map(|(name, body)| ((*name).to_owned(), body.as_bytes().to_vec())).collect()
    }

    fn changes(kept: &PersistedAnnouncements) -> Vec<(String, Option<String>)> {
        let text = |body: Vec<u8>| String::from_utf8(body).unwrap();
        kept.unsaved(1000).into_iter().map(|(name, body)| (name, body.map(text))).collect()
    }

    fn written(kept: &mut PersistedAnnouncements) {
        let all = kept.unsaved(1000);
        kept.mark_saved(&all);
        assert!(!kept.has_unsaved());
    }

    #[test]
    fn only_what_changed_is_written() {
        let mut kept = PersistedAnnouncements::new(1000);
        assert_eq!(kept.known(), None);
        kept.adopt(rows(&[("a", "1"), ("b", "1")]));
        assert_eq!(kept.known().as_deref(), Some(&rows(&[("a", "1"), ("b", "1")])));
        kept.set(rows(&[("b", "2"), ("c", "1")]));
        let expected = [("a", None), ("b", Some("2")), ("c", Some("1"))];
        assert_eq!(changes(&kept), expected.map(|(name, body)| (name.to_owned(), body.map(str::to_owned))));
        assert_eq!(kept.unsaved(1).len(), 1, "one at a time where there is little space");
        written(&mut kept);
        kept.set(rows(&[("b", "2"), ("c", "1")]));
        assert!(!kept.has_unsaved());
    }

    #[test]
    fn a_file_that_comes_late_keeps_what_this_run_does_not_know_and_brings_nothing_back() {
        let mut kept = PersistedAnnouncements::new(1000);
        kept.set(rows(&[("a", "2"), ("gone", "1")]));
        kept.set(rows(&[("a", "2")]));
        kept.adopt(rows(&[("a", "1"), ("old", "1"), ("gone", "1")]));
        assert_eq!(kept.known().as_deref(), Some(&rows(&[("a", "2"), ("old", "1")])));
        let names: Vec<_> = kept.unsaved(1000).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["a", "gone"]);
    }

    #[test]
    fn a_new_file_gets_all_and_a_damaged_one_adds_what_is_missing() {
        let mut kept = PersistedAnnouncements::new(1000);
        kept.adopt(rows(&[("a", "1")]));
        kept.adopt(Announcements::new());
        kept.recover(rows(&[("a", "0"), ("b", "1")]));
        assert_eq!(kept.known().as_deref(), Some(&rows(&[("a", "1"), ("b", "1")])));
        assert_eq!(kept.unsaved(1000).len(), 2);
    }

    #[test]
    fn they_are_bounded() {
        let mut kept = PersistedAnnouncements::new(100);
        kept.set((0..100).map(|n| (format!("{n:03}"), vec![0; 10])).collect());
        assert_eq!(kept.unsaved(10_000).len(), 2);
    }
}
