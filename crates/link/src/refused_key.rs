//! A key whose messages the broker refuses. Pure.
//!
//! It waits alone, from one second doubling to a minute; then one of its messages may try, and the rest follows only when
//! that one was accepted.

use std::time::Duration;

use fieldgate_spool::Sequence;

/// Longest wait before a refused key is tried again.
const REFUSED_MAX: Duration = Duration::from_secs(60);

/// A refused key.
#[derive(Clone, Debug)]
pub(super) struct RefusedKey {
    /// The first message that waits.
    pub from: Sequence,
    /// What may be sent of it.
    pub state: KeyState,
    /// When it may be tried.
    until: Duration,
    /// Refusals in a row.
    failures: u32,
}

/// What may be sent of a refused key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyState {
    /// Nothing.
    Waiting,
    /// One message, to try.
    Open,
    /// Nothing until that one is answered.
    Trying,
}

impl RefusedKey {
    /// Not yet refused.
    pub(super) fn new(from: Sequence) -> Self {
        Self { from, state: KeyState::Trying, until: Duration::ZERO, failures: 0 }
    }

    /// Refused at `now`, and `from` waits. Several that were in flight together count as one refusal.
    pub(super) fn refuse(&mut self, from: Sequence, now: Duration) {
        self.from = self.from.min(from);
        if self.state != KeyState::Waiting {
            self.until = now + Duration::from_secs(1 << self.failures.min(6)).min(REFUSED_MAX);
            self.failures = self.failures.saturating_add(1);
            self.state = KeyState::Waiting;
        }
    }

    /// Lets one try when its time has come; returns whether it just has.
    pub(super) fn open(&mut self, now: Duration) -> bool {
        let due = self.state == KeyState::Waiting && self.until <= now;
        if due {
            self.state = KeyState::Open;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_a_minute_and_refusals_at_once_count_as_one() {
        let mut key = RefusedKey::new(Sequence(5));
        let mut now = Duration::from_secs(100);
        for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
            key.refuse(Sequence(4), now);
            key.refuse(Sequence(6), now);
            let due = now + Duration::from_secs(wait);
            assert!(!key.open(due - Duration::from_millis(1)) && key.open(due) && !key.open(due));
            now = due;
        }
        assert_eq!(key.from, Sequence(4));
    }
}
