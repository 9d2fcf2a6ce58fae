//! When a gateway that has failed over goes back to the first broker of its list. Pure.
//!
//! The first is tried while another serves, and the other is left only when it has accepted us, or hangs up or wants another form
//! of MQTT or of the will. Should it not accept us then, or drop us soon, the other has us back at once, and the next look comes
//! later. A first that is silent, or refuses us, is not changed over to.

use std::time::Duration;

/// Longest time between two looks, unless the configured one is longer.
const LONGEST_BETWEEN_LOOKS: Duration = Duration::from_secs(6 * 3600);

/// The wish to be with the first broker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Preference {
    /// How often the first broker is tried beside the one that serves; `None`: never.
    every: Option<Duration>,
    /// Switches in a row that failed.
    failures: u32,
    /// The broker that was left for the first, until the first has proved itself.
    left: Option<usize>,
}

impl Preference {
    /// As configured.
    pub(super) fn new(every: Option<Duration>) -> Self {
        Self { every, failures: 0, left: None }
    }

    /// How long after the connect, and between two looks, the first is looked at while `turn` serves.
    pub(super) fn wait(&self, turn: usize) -> Option<Duration> {
        let every = self.every.filter(|_| turn != 0)?;
        Some(every.saturating_mul(1 << self.failures.min(16)).min(LONGEST_BETWEEN_LOOKS.max(every)))
    }

    /// The first can be reached, so `turn` is left for it.
    pub(super) fn change(&mut self, turn: usize) {
        self.left = Some(turn);
    }

    /// The first did not accept us; returns the broker that was left for it.
    pub(super) fn refused(&mut self) -> Option<usize> {
        let left = self.left.take()?;
        self.failures = self.failures.saturating_add(1);
        Some(left)
    }

    /// A connection to `turn` has ended, which had lasted `long` enough or not; returns the broker to go back to at once.
    pub(super) fn ended(&mut self, turn: usize, long: bool) -> Option<usize> {
        match (turn, long) {
            (0, false) => self.refused(),
            (0, true) => {
                (self.failures, self.left) = (0, None);
                None
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn the_first_is_looked_at_only_while_another_serves_and_later_after_each_failure() {
        let mut preference = Preference::new(Some(600 * S));
        assert_eq!((preference.wait(0), preference.wait(2)), (None, Some(600 * S)));
        preference.change(2);
        assert_eq!(preference.refused(), Some(2));
        assert_eq!(preference.wait(2), Some(1200 * S));
        assert_eq!(preference.refused(), None, "an attempt that was no change");
        preference.change(2);
        assert_eq!(preference.ended(0, false), Some(2), "it accepts and drops");
        assert_eq!(preference.wait(2), Some(2400 * S));
        for _ in 0..40 {
            preference.change(1);
            preference.refused();
        }
        assert_eq!(preference.wait(1), Some(LONGEST_BETWEEN_LOOKS));
        preference.change(1);
        assert_eq!(preference.ended(0, true), None);
        assert_eq!(preference.wait(1), Some(600 * S));
        assert_eq!(Preference::new(None).wait(1), None);
    }
}
