//! Where the commands note their ids without ever waiting for the disk.
//!
//! The spool's queue fills up while a disk hangs. A note that had to wait there would hold up a command, and one that was dropped
//! would let it act twice. So notes lie here until the spool's thread takes them. Beyond what would be remembered anyway the
//! oldest go.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, watch};

use fieldgate_model::{Noted, REMEMBERED, Recalled};

/// A command is noted twice at most: when it begins and when it is answered.
const LIMIT: usize = 2 * REMEMBERED;

/// The commands' end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Notebook {
    pages: Arc<Pages>,
    recalled: watch::Receiver<Recalled>,
}

/// The end of the spool's thread.
#[derive(Debug)]
pub(super) struct Reader {
    pages: Arc<Pages>,
    recalled: watch::Sender<Recalled>,
}

#[derive(Debug, Default)]
struct Pages {
    notes: Mutex<VecDeque<Noted>>,
    news: Notify,
}

/// Both ends.
pub(super) fn open(recalled: Recalled) -> (Notebook, Reader) {
    let pages = Arc::<Pages>::default();
    let (sender, receiver) = watch::channel(recalled);
    (Notebook { pages: Arc::clone(&pages), recalled: receiver }, Reader { pages, recalled: sender })
}

impl Notebook {
    /// Notes a command, or what was answered to one. It is written soon, and before any answer that is handed to the spool
    /// behind it is offered, unless there are very many or the disk fails.
    pub fn note(&self, noted: Noted) {
        let mut notes = self.pages.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if notes.len() >= LIMIT {
            notes.pop_front();
        }
        notes.push_back(noted);
        drop(notes);
        self.pages.news.notify_one();
    }

    /// What earlier runs noted, the oldest first; nothing until a file could be opened.
    pub fn recalled(&self) -> Recalled {
        self.recalled.borrow().clone()
    }

    /// One in which earlier runs noted this, and that nobody writes down.
    #[cfg(any(test, feature = "testing"))]
    pub fn with(recalled: Recalled) -> Self {
        open(recalled).0
    }

    /// What nobody has written down yet.
    #[cfg(any(test, feature = "testing"))]
    pub fn notes(&self) -> Vec<Noted> {
        self.pages.notes.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

impl Reader {
    /// Takes what was noted since the last time.
    pub(super) fn take(&self) -> VecDeque<Noted> {
        std::mem::take(&mut *self.pages.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until something is noted. Cancel-safe; may return once too often.
    pub(super) async fn news(&self) {
        self.pages.news.notified().await;
    }

    /// Whether [`Reader::recall`] was called, or need not be.
    pub(super) fn has_recalled(&self) -> bool {
        self.recalled.borrow().is_some()
    }

    /// Publishes what earlier runs noted.
    pub(super) fn recall(&self, recalled: Recalled) {
        self.recalled.send_replace(recalled);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fieldgate_model::Name;

    #[test]
    fn beyond_what_is_remembered_the_oldest_notes_go() {
        let (notebook, reader) = open(None);
        let noted = |id: usize| Noted { actuator: Name::new("pump").unwrap(), id: id.to_string(), answer: None };
        (0..LIMIT + 3).for_each(|id| notebook.note(noted(id)));
        let taken = reader.take();
        assert_eq!((taken.len(), taken.front(), taken.back()), (LIMIT, Some(&noted(3)), Some(&noted(LIMIT + 2))));
        assert!(reader.take().is_empty());
    }
}
