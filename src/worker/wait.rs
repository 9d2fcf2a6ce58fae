//! How a worker sleeps: poll(2) over its inbox, one timer on the boot clock and the descriptors of its lines.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::{Errno, read, write};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

/// An idle worker wakes this often, to show that it is alive.
pub(crate) const LONGEST: Duration = crate::deadlines::IDLE_TURN;

/// Wakes the worker from another thread.
#[derive(Clone, Debug)]
pub(crate) struct Waker(Arc<OwnedFd>);

impl Waker {
    pub(crate) fn wake(&self) {
        // The counter is full only when the worker is long awake.
        write(&*self.0, &1u64.to_ne_bytes()).ok();
    }
}

/// The sleeping side.
#[derive(Debug)]
pub(crate) struct Waiter {
    wake: Arc<OwnedFd>,
    timer: OwnedFd,
}

/// A waker and its waiter.
pub(crate) fn pair() -> io::Result<(Waker, Waiter)> {
    let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
    // The boot clock goes on while the board sleeps, and so do the limits of outputs.
    let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
    Ok((Waker(Arc::clone(&wake)), Waiter { wake, timer }))
}

impl Waiter {
    /// Sleeps until `deadline` on the boot clock, a wake-up, or something to read on `lines`.
    pub(crate) fn wait(&self, deadline: Duration, lines: &[BorrowedFd<'_>]) -> io::Result<()> {
        // A timer set to zero would be switched off.
        let deadline = deadline.max(Duration::from_nanos(1));
        let at = Timespec {
            tv_sec: i64::try_from(deadline.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: deadline.subsec_nanos().into(),
        };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: at };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &once)?;
        let mut sources = Vec::with_capacity(lines.len() + 2);
        sources.push(PollFd::new(&self.wake, PollFlags::IN));
        sources.push(PollFd::new(&self.timer, PollFlags::IN));
        sources.extend(lines.iter().map(|line| PollFd::from_borrowed_fd(*line, PollFlags::IN)));
        match poll(&mut sources, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        // Empty the counter; that there was nothing to read is the usual case.
        read(&*self.wake, &mut [0u8; 8]).ok();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use std::time::Instant;

    #[test]
    fn a_wake_up_ends_the_sleep_and_is_used_up() {
        let (waker, waiter) = pair().unwrap();
        waker.wake();
        let started = Instant::now();
        waiter.wait(clock::boottime() + Duration::from_secs(10), &[]).unwrap();
        assert!(started.elapsed() < Duration::from_secs(5));
        waiter.wait(clock::boottime() + Duration::from_millis(20), &[]).unwrap();
        assert!(started.elapsed() >= Duration::from_millis(20));
    }

    #[test]
    fn a_deadline_in_the_past_does_not_sleep() {
        let (_waker, waiter) = pair().unwrap();
        waiter.wait(Duration::ZERO, &[]).unwrap();
    }
}
