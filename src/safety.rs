//! What an output may do now. Pure: time is an argument, nothing is driven from here.
//!
//! A [`Guard`] stands between every caller and one output. It knows the safe state, how long the output may go on after
//! the broker was last heard, and until when a command's `for` holds. There is one deadline per output: a new command
//! replaces whatever an older one had set.

use std::time::Duration;

use crate::model::{OutputValue, StateCause};

/// What an output must do, and why.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// The value to drive.
    pub value: OutputValue,
    /// For the state message.
    pub cause: StateCause,
}

/// The limits of one output and what it was last told.
#[derive(Clone, Debug)]
pub struct Guard {
    safe_state: OutputValue,
    safe_after: Option<Duration>,
    /// What the output was last told to do.
    value: OutputValue,
    /// When `for` ends, on the boot clock.
    lease_until: Option<Duration>,
}

impl Guard {
    /// A guard over an output that is in its safe state. `safe_after: None` keeps the last state when the link is lost.
    pub fn new(safe_state: OutputValue, safe_after: Option<Duration>) -> Self {
        Self { safe_state, safe_after, value: safe_state, lease_until: None }
    }

    /// New limits from a reload; what the output does is left alone.
    pub fn relimit(&mut self, safe_state: OutputValue, safe_after: Option<Duration>) {
        self.safe_state = safe_state;
        self.safe_after = safe_after;
    }

    /// The safe state.
    pub fn safe_state(&self) -> OutputValue {
        self.safe_state
    }

    /// What the output was last told to do.
    pub fn value(&self) -> OutputValue {
        self.value
    }

    /// A command was accepted at `now`: `value` holds, for `lease` if there is one.
    pub fn command(&mut self, now: Duration, value: OutputValue, lease: Option<Duration>) -> Verdict {
        self.value = value;
        self.lease_until = lease.map(|lease| now.saturating_add(lease));
        Verdict { value, cause: StateCause::Command }
    }

    /// The output goes to its safe state because of `cause`; a lease ends with it.
    pub fn make_safe(&mut self, cause: StateCause) -> Verdict {
        self.value = self.safe_state;
        self.lease_until = None;
        Verdict { value: self.safe_state, cause }
    }

    /// When [`Guard::due`] must be asked next; `None` while nothing can run out.
    ///
    /// `last_heard` is the moment of the broker's last byte.
    pub fn deadline(&self, last_heard: Option<Duration>) -> Option<Duration> {
        if self.value == self.safe_state {
            // A lease over the safe state has nothing to undo.
            return None;
        }
        let lost = self.safe_after.map(|limit| last_heard.unwrap_or_default().saturating_add(limit));
        match (self.lease_until, lost) {
            (Some(lease), Some(lost)) => Some(lease.min(lost)),
            (lease, lost) => lease.or(lost),
        }
    }

    /// What has run out at `now`, if anything: the output must then do what the verdict says.
    pub fn due(&mut self, now: Duration, last_heard: Option<Duration>) -> Option<Verdict> {
        if self.deadline(last_heard).is_none_or(|deadline| now < deadline) {
            return None;
        }
        let lease_ended = self.lease_until.is_some_and(|until| until <= now);
        Some(self.make_safe(if lease_ended { StateCause::For } else { StateCause::SafeState }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFF: OutputValue = OutputValue::Switch(false);
    const ON: OutputValue = OutputValue::Switch(true);

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_output_that_is_safe_has_no_deadline() {
        let mut guard = Guard::new(OFF, Some(s(30)));
        assert_eq!(guard.deadline(None), None);
        assert_eq!(guard.due(s(1000), None), None);
        guard.command(s(1), OFF, Some(s(5)));
        assert_eq!(guard.deadline(Some(s(1))), None);
    }

    #[test]
    fn a_lost_link_makes_it_safe_counted_from_the_last_byte() {
        let mut guard = Guard::new(OFF, Some(s(30)));
        guard.command(s(100), ON, None);
        assert_eq!(guard.deadline(Some(s(110))), Some(s(140)));
        assert_eq!(guard.due(s(139), Some(s(110))), None);
        assert_eq!(guard.due(s(140), Some(s(111))), None, "the broker was heard once more");
        assert_eq!(guard.due(s(141), Some(s(111))), Some(Verdict { value: OFF, cause: StateCause::SafeState }));
        assert_eq!(guard.due(s(142), Some(s(111))), None, "it trips once");
    }

    #[test]
    fn never_keeps_the_last_state() {
        let mut guard = Guard::new(OFF, None);
        guard.command(s(0), ON, None);
        assert_eq!(guard.due(s(1_000_000), None), None);
    }

    #[test]
    fn a_lease_ends_by_itself_and_a_new_command_replaces_it() {
        let mut guard = Guard::new(OFF, None);
        guard.command(s(0), ON, Some(s(10)));
        guard.command(s(5), ON, Some(s(10)));
        assert_eq!(guard.due(s(10), None), None, "renewed");
        assert_eq!(guard.due(s(15), None), Some(Verdict { value: OFF, cause: StateCause::For }));
        guard.command(s(20), ON, Some(s(10)));
        guard.command(s(21), ON, None);
        assert_eq!(guard.deadline(None), None, "a command without `for` holds");
    }

    #[test]
    fn a_safe_state_that_is_on_is_returned_to_as_well() {
        let mut guard = Guard::new(ON, Some(s(30)));
        guard.command(s(0), OFF, None);
        assert_eq!(guard.due(s(30), Some(s(0))), Some(Verdict { value: ON, cause: StateCause::SafeState }));
    }
}
