//! A timer that can be waited for beside other descriptors, on the clock that goes on while the board sleeps.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::read;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

/// A descriptor of timerfd(2) on `CLOCK_BOOTTIME`. It becomes readable when the timer has run out.
#[derive(Debug)]
pub struct Timer(OwnedFd);

impl Timer {
    /// A timer that is not set.
    ///
    /// # Errors
    /// The kernel has no more descriptors.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Self(timerfd_create(TimerfdClockId::Boottime, flags)?))
    }

    /// A timer that runs out again and again, for the first time after one interval.
    ///
    /// # Errors
    /// As [`Timer::new`].
    pub fn every(interval: Duration) -> io::Result<Self> {
        let timer = Self::new()?;
        let interval = timespec(interval);
        let schedule = Itimerspec { it_interval: interval, it_value: interval };
        timerfd_settime(&timer.0, TimerfdTimerFlags::empty(), &schedule)?;
        Ok(timer)
    }

    /// Lets it run out once, at this point of [`boottime`](crate::boottime), which may lie in the past.
    ///
    /// # Errors
    /// What the kernel answers; it takes every point.
    pub fn set(&self, at: Duration) -> io::Result<()> {
        // A timer set to zero would be switched off.
        let at = timespec(at.max(Duration::from_nanos(1)));
        let once = Itimerspec { it_interval: timespec(Duration::ZERO), it_value: at };
        Ok(timerfd_settime(&self.0, TimerfdTimerFlags::ABSTIME, &once).map(drop)?)
    }

    /// How often it has run out since the last call.
    pub fn passed(&self) -> u64 {
        let mut count = [0; 8];
        // Until it runs out there is nothing to read.
        read(&self.0, &mut count).map_or(0, |_| u64::from_ne_bytes(count))
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn timespec(time: Duration) -> Timespec {
    Timespec { tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX), tv_nsec: time.subsec_nanos().into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, poll};

    fn wait(timer: &Timer) {
        poll(&mut [PollFd::new(timer, PollFlags::IN)], None).unwrap();
    }

    #[test]
    fn what_has_passed_is_counted_once_and_can_be_waited_for() {
        let timer = Timer::every(Duration::from_millis(20)).unwrap();
        wait(&timer);
        assert!(timer.passed() >= 1);
        let timer = Timer::every(Duration::from_secs(3600)).unwrap();
        assert_eq!(timer.passed(), 0);
    }

    #[test]
    fn a_point_in_the_past_has_passed_once() {
        let timer = Timer::new().unwrap();
        timer.set(Duration::ZERO).unwrap();
        wait(&timer);
        assert_eq!((timer.passed(), timer.passed()), (1, 0));
    }
}
