//! Seconds that pass: for chips that must be asked every second whatever the user's period is, and for those whose results
//! cannot be believed in their first minutes.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use crate::BusError;
use fieldgate_clock::timer::Timer;

/// Counts seconds for a driver, which itself knows no time.
pub trait Seconds {
    /// How many seconds have begun since the last call, or since the start.
    fn passed(&mut self) -> u64;
    /// Becomes readable when a second has begun; `None` where nobody can wait for it.
    fn descriptor(&self) -> Option<BorrowedFd<'_>>;
}

/// The kernel's seconds, on the clock that goes on while the board sleeps.
#[derive(Debug)]
pub(super) struct KernelSeconds(Timer);

impl KernelSeconds {
    pub(super) fn start() -> Result<Self, BusError> {
        let timer = Timer::every(Duration::from_secs(1));
        Ok(Self(timer.map_err(|source| BusError::Io { what: "starting a timer".to_owned(), source })?))
    }
}

impl Seconds for KernelSeconds {
    fn passed(&mut self) -> u64 {
        self.0.passed()
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }
}
