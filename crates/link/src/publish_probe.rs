//! Whether what we publish arrives at all, where the broker does not say. Pure.
//!
//! Under 3.1.1 a PUBLISH that the broker's access list forbids is acknowledged like any other (3.1.1, 3.3.5), so a missing
//! permission would look like delivery. We subscribe to our own `B/status` before we publish `online` there, and wait for it
//! to come back. No other topic is used: a strict access list may forbid what nobody configured.

use std::time::Duration;

use super::Protocol;

/// Until `online` must have come back; a congested broker takes a few seconds.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How far the probe of one connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PublishProbe {
    /// MQTT 5 refuses with a reason.
    NotNeeded,
    /// It has not been sent yet, or has not come back.
    Awaited(Option<Duration>),
    /// What we publish arrives.
    Back,
}

impl PublishProbe {
    /// For a new connection.
    pub(super) fn new(protocol: Protocol) -> Self {
        if protocol == Protocol::V4 { Self::Awaited(None) } else { Self::NotNeeded }
    }

    /// Whether `online` must be published now that we listen, which is then done at `now`.
    pub(super) fn send(&mut self, now: Duration) -> bool {
        let wanted = *self == Self::Awaited(None);
        if wanted {
            *self = Self::Awaited(Some(now));
        }
        wanted
    }

    /// `B/status` came back as a live message; `true` when it was waited for.
    pub(super) fn came_back(&mut self) -> bool {
        let awaited = matches!(self, Self::Awaited(Some(_)));
        if awaited {
            *self = Self::Back;
        }
        awaited
    }

    /// Whether it should have come back by now.
    pub(super) fn is_overdue(self, now: Duration) -> bool {
        matches!(self, Self::Awaited(Some(since)) if now.saturating_sub(since) >= TIMEOUT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_sent_once_and_missed_only_when_it_does_not_come_back() {
        let now = Duration::from_secs(100);
        let mut publish_probe = PublishProbe::new(Protocol::V4);
        assert!(!publish_probe.came_back(), "not sent yet");
        assert!(publish_probe.send(now) && !publish_probe.send(now));
        assert!(!publish_probe.is_overdue(now) && publish_probe.is_overdue(now + TIMEOUT));
        assert!(publish_probe.came_back());
        assert!(!publish_probe.is_overdue(now + TIMEOUT));
        assert!(!PublishProbe::new(Protocol::V5).send(now));
    }
}
