//! Seconds that pass: for chips that must be asked every second whatever the user's period is, and for those whose results
//! cannot be believed in their first minutes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::read;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::BusError;

/// Counts seconds for a driver, which itself knows no time.
pub trait Seconds {
    /// How many seconds have begun since the last call, or since the start.
    fn passed(&mut self) -> u64;
    /// Becomes readable when a second has begun; `None` where nobody can wait for it.
    fn descriptor(&self) -> Option<BorrowedFd<'_>>;
}

/// The kernel's seconds, on the clock that goes on while the board sleeps.
#[derive(Debug)]
pub(super) struct KernelSeconds(OwnedFd);

impl KernelSeconds {
    pub(super) fn start() -> Result<Self, BusError> {
        Self::every(Timespec { tv_sec: 1, tv_nsec: 0 })
            .map_err(|source| BusError::Io { what: "starting a timer".to_owned(), source })
    }

    fn every(interval: Timespec) -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        let schedule = Itimerspec { it_interval: interval, it_value: interval };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &schedule)?;
        Ok(Self(timer))
    }
}

impl Seconds for KernelSeconds {
    fn passed(&mut self) -> u64 {
        let mut count = [0; 8];
        // Until the next second begins there is nothing to read.
        read(&self.0, &mut count).map_or(0, |_| u64::from_ne_bytes(count))
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, poll};

    #[test]
    fn what_has_passed_is_counted_once_and_can_be_waited_for() {
        let mut seconds = KernelSeconds::every(Timespec { tv_sec: 0, tv_nsec: 20_000_000 }).unwrap();
        assert_eq!(seconds.passed(), 0);
        let mut waited = [PollFd::from_borrowed_fd(seconds.descriptor().unwrap(), PollFlags::IN)];
        poll(&mut waited, None).unwrap();
        assert!(seconds.passed() >= 1);
        assert_eq!(seconds.passed(), 0);
    }
}
