//! How far a connection is: what may be published on it. Pure.

use std::time::Duration;

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing but `online` is published before the broker has answered that.
    Greeting,
    /// Readings, replies and states are published; what describes this gateway waits for the readings that were there at the connect.
    Readings { online_since: Duration },
    /// Everything is published.
    Everything,
    /// Our own `offline` has been published, and nothing follows it.
    Leaving,
}

impl Phase {
    /// Whether `online` is published and nothing but the describing messages may have to wait.
    pub(crate) fn is_online(self) -> bool {
        matches!(self, Self::Readings { .. } | Self::Everything)
    }

    /// The broker has answered `online`; `true` when that ends the greeting.
    pub(crate) fn go_online(&mut self, now: Duration) -> bool {
        let begins = *self == Self::Greeting;
        if begins {
            *self = Self::Readings { online_since: now };
        }
        begins
    }

    /// What describes this gateway need not wait any more.
    pub(crate) fn end_readings(&mut self) {
        if self.is_online() {
            *self = Self::Everything;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    #[test]
    fn a_connection_goes_online_once_and_then_publishes_more_and_never_less() {
        let mut phase = Phase::Greeting;
        phase.end_readings();
        assert_eq!((phase, phase.is_online()), (Phase::Greeting, false));
        assert!(phase.go_online(NOW) && !phase.go_online(2 * NOW));
        assert_eq!((phase, phase.is_online()), (Phase::Readings { online_since: NOW }, true));
        phase.end_readings();
        assert!(!phase.go_online(NOW));
        assert_eq!((phase, phase.is_online()), (Phase::Everything, true));
    }

    #[test]
    fn after_offline_nothing_begins_again() {
        let mut phase = Phase::Leaving;
        phase.end_readings();
        assert!(!phase.go_online(NOW));
        assert_eq!((phase, phase.is_online()), (Phase::Leaving, false));
    }
}
