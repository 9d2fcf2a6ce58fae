//! `delayed_on` and `delayed_off`: a change counts when it has lasted, as in ESPHome's filters of these names.
//!
//! Pure: edges come in with the kernel's time, and the caller says how far time has got. A change is made at the time of its
//! edge plus the delay, whenever that is noticed; one that is taken back before that never was.

use std::time::Duration;

/// A line behind its two delays.
#[derive(Debug)]
pub(super) struct Delays {
    on: Duration,
    off: Duration,
    /// The last level that has lasted for its delay; a line that has not changed yet has its first.
    active: bool,
    /// When the opposite will have lasted, while the line is that.
    changes_at: Option<Duration>,
}

impl Delays {
    /// A line that was `active` before anybody looked.
    pub(super) fn new(on: Duration, off: Duration, active: bool) -> Self {
        Self { on, off, active, changes_at: None }
    }

    /// What has lasted so far.
    pub(super) fn is_active(&self) -> bool {
        self.active
    }

    /// When a change is due if no edge comes before.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.changes_at
    }

    /// Makes the change that is due, and says what the line is from then on.
    pub(super) fn change(&mut self) -> bool {
        self.changes_at = None;
        self.active = !self.active;
        self.active
    }

    /// The line became active or inactive at that time. What was due by then has been made.
    pub(super) fn see(&mut self, active: bool, at: Duration) {
        let delay = if active { self.on } else { self.off };
        match self.changes_at {
            _ if active == self.active => self.changes_at = None,
            // The same once more, as a bouncing contact says it, does not begin again.
            Some(_) => {}
            None => self.changes_at = Some(at.saturating_add(delay)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn delays() -> Delays {
        Delays::new(ms(100), ms(500), false)
    }

    #[test]
    fn a_change_is_due_when_it_has_lasted_for_its_delay() {
        let mut line = delays();
        line.see(true, ms(1000));
        assert_eq!((line.deadline(), line.is_active()), (Some(ms(1100)), false));
        assert!(line.change() && line.is_active());
        line.see(false, ms(2000));
        assert_eq!(line.deadline(), Some(ms(2500)));
        assert!(!line.change());
        assert_eq!(line.deadline(), None);
    }

    #[test]
    fn a_change_that_is_taken_back_never_was() {
        let mut line = delays();
        line.see(true, ms(1000));
        line.see(false, ms(1099));
        assert_eq!((line.deadline(), line.is_active()), (None, false));
    }

    #[test]
    fn the_same_edge_again_does_not_begin_again() {
        let mut line = delays();
        line.see(true, ms(1000));
        line.see(true, ms(1050));
        assert_eq!(line.deadline(), Some(ms(1100)));
        line.change();
        line.see(true, ms(1200));
        assert_eq!(line.deadline(), None);
    }

    #[test]
    fn without_a_delay_a_change_is_due_at_its_edge() {
        let mut line = Delays::new(Duration::ZERO, Duration::ZERO, true);
        line.see(false, ms(7));
        assert_eq!(line.deadline(), Some(ms(7)));
    }
}
