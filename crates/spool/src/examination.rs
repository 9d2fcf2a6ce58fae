//! Examining a large file on a thread of its own, so that the spool serves what is in memory meanwhile.
//!
//! The examiner has the file to itself: until it gives it back nothing is read from it, and nothing written to what is not
//! known to be sound.

use std::io;
use std::thread::{Builder, JoinHandle};

use tokio::sync::oneshot;

use crate::store::Store;

/// A file on its way to be examined.
#[derive(Debug)]
pub(super) struct Examiner {
    store: Store,
    done: oneshot::Sender<Examined>,
}

/// A file that has been examined, and whether its structure is sound.
#[derive(Debug)]
pub(super) struct Examined {
    pub(super) store: Store,
    pub(super) is_sound: rusqlite::Result<bool>,
}

/// Where the file comes back; an error when its thread has ended without it.
pub(super) type Examination = oneshot::Receiver<Examined>;

impl Examiner {
    pub(super) fn new(store: Store) -> (Self, Examination) {
        let (done, examination) = oneshot::channel();
        (Self { store, done }, examination)
    }

    /// Reads the file, as far as a second allows, and gives it back.
    pub(super) fn run(mut self) {
        let is_sound = self.store.examine();
        // An error means that the spool has ended; the file is closed then.
        self.done.send(Examined { store: self.store, is_sound }).unwrap_or_default();
    }

    /// Reads the file on a thread of its own, after `before`, and gives it back.
    ///
    /// # Errors
    /// The system gave no thread. The file is closed, and [`Examination`] says so.
    pub(super) fn start(self, before: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
        let run = move || {
            before();
            self.run();
        };
        Builder::new().name("spool-check".into()).spawn(run)
    }
}
