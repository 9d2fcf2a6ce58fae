//! How a worker sleeps: epoll(7) over its inbox, one timer on the boot clock and the descriptors of its lines.
//!
//! The descriptors are registered when devices change, not at each sleep, and a sleep returns which of them have something.

use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{Errno, read, write};

use fieldgate_clock::timer::Timer;

/// An idle worker wakes this often, to show that it is alive.
pub(crate) const LONGEST_SLEEP: Duration = crate::deadlines::IDLE_TURN;

/// What the inbox and the timer are registered as; lines have smaller numbers.
const INBOX: u64 = u64::MAX;
const TIMER: u64 = u64::MAX - 1;

/// Descriptors that one sleep reports; the others are reported by the next, at once.
const AT_ONCE: usize = 64;

/// Wakes the worker from another thread.
#[derive(Clone, Debug)]
pub(crate) struct Waker(Arc<OwnedFd>);

impl Waker {
    pub(crate) fn wake(&self) {
        // The counter is full only when the worker is long awake.
        write(&*self.0, &1u64.to_ne_bytes()).ok();
    }
}

/// The side of the worker, which sleeps until something happens.
pub(crate) struct Waiter {
    wake: Arc<OwnedFd>,
    timer: Timer,
    set: OwnedFd,
    /// What the timer is set to.
    alarm: Cell<Duration>,
}

/// A waker and its waiter.
pub(crate) fn pair() -> io::Result<(Waker, Waiter)> {
    let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
    // The boot clock goes on while the board sleeps, and so do the limits of outputs.
    let timer = Timer::new()?;
    let set = set(&wake, &timer)?;
    Ok((Waker(Arc::clone(&wake)), Waiter { wake, timer, set, alarm: Cell::new(Duration::MAX) }))
}

fn set(wake: &OwnedFd, timer: &Timer) -> io::Result<OwnedFd> {
    let set = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&set, wake, EventData::new_u64(INBOX), EventFlags::IN)?;
    epoll::add(&set, timer, EventData::new_u64(TIMER), EventFlags::IN)?;
    Ok(set)
}

impl Waiter {
    /// Listens to these lines from now on, and to no others; each has a number of its own.
    pub(crate) fn listen<'a>(&mut self, lines: impl Iterator<Item = (u64, BorrowedFd<'a>)>) -> io::Result<()> {
        // A set of its own: what was closed has left the old one, what is open under the same number has not joined it.
        self.set = set(&self.wake, &self.timer)?;
        for (number, line) in lines {
            epoll::add(&self.set, line, EventData::new_u64(number), EventFlags::IN)?;
        }
        Ok(())
    }

    /// Sleeps until `deadline` on the boot clock, a wake-up, or something to read on a line, and puts the numbers of those
    /// lines into `ready`.
    pub(crate) fn wait(&self, deadline: Duration, ready: &mut Vec<u64>) -> io::Result<()> {
        ready.clear();
        if self.alarm.get() != deadline {
            self.set_alarm(deadline)?;
        }
        let mut events = [const { MaybeUninit::uninit() }; AT_ONCE];
        let events = match epoll::wait(&self.set, &mut events, None) {
            Ok((events, _)) => events,
            Err(Errno::INTR) => return Ok(()),
            Err(e) => return Err(e.into()),
        };
        for event in events {
            match event.data.u64() {
                // Empty the counter; a second wake-up in between means the same.
                INBOX => _ = read(&*self.wake, &mut [0u8; 8]),
                TIMER => {}
                number => ready.push(number),
            }
        }
        Ok(())
    }

    fn set_alarm(&self, deadline: Duration) -> io::Result<()> {
        self.timer.set(deadline)?;
        self.alarm.set(deadline);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fieldgate_clock as clock;
    use std::os::fd::AsFd;
    use std::time::Instant;

    fn wait(waiter: &Waiter, deadline: Duration) -> Vec<u64> {
        let mut ready = Vec::new();
        waiter.wait(deadline, &mut ready).unwrap();
        ready
    }

    #[test]
    fn a_wake_up_ends_the_sleep_and_is_used_up() {
        let (waker, waiter) = pair().unwrap();
        waker.wake();
        let started = Instant::now();
        // No machine is so late by half of it.
        wait(&waiter, clock::boottime() + Duration::from_secs(600));
        assert!(started.elapsed() < Duration::from_secs(300));
        wait(&waiter, clock::boottime() + Duration::from_millis(20));
        assert!(started.elapsed() >= Duration::from_millis(20));
    }

    #[test]
    fn a_deadline_in_the_past_does_not_sleep_also_when_it_is_the_same_again() {
        let (_waker, waiter) = pair().unwrap();
        for deadline in [Duration::ZERO, Duration::ZERO, Duration::from_secs(1), Duration::from_secs(1)] {
            wait(&waiter, deadline);
        }
    }

    #[test]
    fn a_line_is_recognised_by_its_number_for_as_long_as_it_is_listened_to() {
        let (_waker, mut waiter) = pair().unwrap();
        let line = eventfd(1, EventfdFlags::empty()).unwrap();
        let later = || clock::boottime() + Duration::from_millis(5);
        waiter.listen([(7, line.as_fd())].into_iter()).unwrap();
        assert_eq!(wait(&waiter, later()), [7]);
        assert_eq!(wait(&waiter, later()), [7], "until it is read");
        waiter.listen(std::iter::empty()).unwrap();
        assert!(wait(&waiter, later()).is_empty());
        waiter.listen([(8, line.as_fd())].into_iter()).unwrap();
        drop(line);
        assert!(wait(&waiter, later()).is_empty(), "one that is closed says nothing");
    }
}
