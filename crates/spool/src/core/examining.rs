//! Going on while a large file is examined: fresh messages are served from memory, and what needs the file waits for it.
//!
//! Nothing is written meanwhile, for a damaged list of free pages would let a write destroy messages that wait.

use crate::core::Core;
use crate::core::disk::FaultKind;
use crate::examination::{Examination, Examined, Examiner};
use fieldgate_model::Moment;

impl Core {
    /// Gives a file away for which the start did not wait; nothing when there is none. [`Core::examined`] takes it back.
    pub(crate) fn begin_examination(&mut self, now: Moment) -> Option<Examiner> {
        match self.disk.begin_examination() {
            Ok(examiner) => examiner,
            Err(error) => {
                self.failed(&error, now);
                None
            }
        }
    }

    /// Where the file comes back while it is examined.
    pub(crate) fn examination(&mut self) -> Option<&mut Examination> {
        self.disk.examination().as_mut()
    }

    /// Takes the file back; nothing where its thread has ended without it. Damage that was found is treated like damage found in
    /// use.
    pub(crate) fn examined(&mut self, examined: Option<Examined>, now: Moment) {
        *self.disk.examination() = None;
        let Some(Examined { store, is_sound }) = examined else {
            let words = "the thread that examined the spool has ended without a result";
            return self.disk.record_fault(FaultKind::Unopened, words.into(), now.boot);
        };
        self.disk.take_back(store);
        match is_sound {
            Ok(true) => {}
            Ok(false) => self.damaged("its structure is broken".into(), now),
            Err(error) => self.failed(&error, now),
        }
    }

    /// Waits for a file that is being examined, for about a second at most; blocks.
    pub(super) fn await_examination(&mut self, now: Moment) {
        if let Some(examination) = self.disk.examination().take() {
            self.examined(examination.blocking_recv().ok(), now);
        }
    }

    /// Whether something must be on disk before what was appended behind it is readable.
    pub(super) fn must_save_first(&self) -> bool {
        self.settings.commit_every.is_zero() || self.counts.unsaved().next().is_some() || self.ids.due().is_some()
    }

    /// Whether everything that was taken is readable.
    pub(crate) fn is_all_readable(&self) -> bool {
        self.sequences.readable_end() == self.sequences.next()
    }

    /// Whether the file is away.
    #[cfg(test)]
    pub(crate) fn is_examined_now(&self) -> bool {
        self.disk.is_examined_now()
    }

    /// As if the file were as large as one for which a start does not wait.
    #[cfg(test)]
    pub(crate) fn forget_examination(&mut self) {
        self.disk.store_mut().forget_examination();
    }

    /// Examines the file here and now.
    #[cfg(test)]
    pub(crate) fn examine(&mut self, now: Moment) {
        if let Some(examiner) = self.begin_examination(now) {
            examiner.run();
        }
        self.await_examination(now);
    }
}
