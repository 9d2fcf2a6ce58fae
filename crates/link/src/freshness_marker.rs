//! Which commands are stale under a persistent session. Pure.
//!
//! The broker may have kept commands while we were away, without the retain flag, and delivers them as if they were new. So
//! we subscribe to our own `B/status` and publish `online` again: whatever comes before it has come back was queued. It is
//! subscribed at QoS 1, for at QoS 0 it could overtake commands that wait in the broker's queue.
//!
//! Under MQTT 5 a nonce makes the marker of this connection known. Under 3.1.1 the last live message on `B/status` decides:
//! after `online` commands are fresh, after the `offline` of an earlier connection's will they are stale again.

use std::time::Duration;

use super::Protocol;
use super::session::Arrived;

/// Until the marker must have come back.
pub(super) const MARKER_TIMEOUT: Duration = Duration::from_secs(5);

/// How far the marker of one connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FreshnessMarker {
    /// A clean session: nothing can be queued.
    NotNeeded,
    /// It has not come back.
    Awaited {
        /// What to recognise it by; `None` under 3.1.1.
        nonce: Option<String>,
        /// When it was published.
        since: Option<Duration>,
    },
    /// It has come back.
    Back,
}

impl FreshnessMarker {
    /// For a new connection; `nonce` is unique to it.
    pub(super) fn new(clean_session: bool, protocol: Protocol, nonce: String) -> Self {
        if clean_session {
            return Self::NotNeeded;
        }
        Self::Awaited { nonce: (protocol == Protocol::V5).then_some(nonce), since: None }
    }

    /// Whether it must be published; it counts as published at `now` then.
    pub(super) fn send(&mut self, now: Duration) -> bool {
        match self {
            Self::Awaited { since, .. } => {
                *since = Some(now);
                true
            }
            Self::NotNeeded | Self::Back => false,
        }
    }

    /// A message on `B/status`.
    pub(super) fn saw(&mut self, arrived: &Arrived) {
        match self {
            Self::Awaited { nonce: Some(nonce), .. } if arrived.nonce.as_ref() == Some(nonce) => *self = Self::Back,
            Self::Awaited { nonce: None, since: Some(_) } if !arrived.retain && arrived.payload == "online" => {
                *self = Self::Back;
            }
            _ => {}
        }
    }

    /// Under 3.1.1, the will of an earlier connection came after what looked like the marker.
    pub(super) fn saw_offline(&mut self, protocol: Protocol, now: Duration) {
        if protocol == Protocol::V4 && *self == Self::Back {
            *self = Self::Awaited { nonce: None, since: Some(now) };
        }
    }

    /// Whether a command that arrives now may have been queued.
    pub(super) fn is_stale(&self) -> bool {
        matches!(self, Self::Awaited { .. })
    }

    /// Whether it should have come back by now.
    pub(super) fn is_overdue(&self, now: Duration) -> bool {
        matches!(self, Self::Awaited { since: Some(since), .. } if now.saturating_sub(*since) >= MARKER_TIMEOUT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    const NOW: Duration = Duration::from_secs(10);

    fn arrived(payload: &'static str, retain: bool, nonce: Option<&str>) -> Arrived {
        let nonce = nonce.map(str::to_owned);
        let payload = Bytes::from_static(payload.as_bytes());
        Arrived { topic: "b/status".into(), payload, retain, expired: false, nonce, response: None }
    }

    #[test]
    fn under_version_5_only_our_own_nonce_ends_the_wait() {
        let mut marker = FreshnessMarker::new(false, Protocol::V5, "x1".into());
        assert!(marker.send(NOW));
        marker.saw(&arrived("online", false, None));
        marker.saw(&arrived("online", false, Some("x0")));
        assert!(marker.is_stale() && !marker.is_overdue(NOW) && marker.is_overdue(NOW + MARKER_TIMEOUT));
        marker.saw(&arrived("online", false, Some("x1")));
        assert!(!marker.is_stale() && !marker.is_overdue(NOW + MARKER_TIMEOUT));
    }

    #[test]
    fn under_3_1_1_the_last_live_status_decides() {
        let mut marker = FreshnessMarker::new(false, Protocol::V4, "x1".into());
        marker.saw(&arrived("online", false, None));
        assert!(marker.is_stale(), "not published yet");
        assert!(marker.send(NOW));
        marker.saw(&arrived("online", true, None));
        assert!(marker.is_stale(), "a retained one says nothing");
        marker.saw(&arrived("online", false, None));
        assert!(!marker.is_stale());
        marker.saw_offline(Protocol::V4, NOW);
        assert!(marker.is_stale(), "that was an earlier connection's");
    }

    #[test]
    fn under_version_5_the_will_of_an_earlier_connection_does_not_suspend_commands_again() {
        let mut marker = FreshnessMarker::new(false, Protocol::V5, "x1".into());
        marker.send(NOW);
        marker.saw(&arrived("online", false, Some("x1")));
        marker.saw_offline(Protocol::V5, NOW);
        assert!(!marker.is_stale(), "the nonce was ours");
    }

    #[test]
    fn a_clean_session_needs_no_marker() {
        for protocol in [Protocol::V4, Protocol::V5] {
            let mut marker = FreshnessMarker::new(true, protocol, "x1".into());
            assert!(!marker.send(NOW));
            marker.saw_offline(protocol, NOW);
            assert!(!marker.is_stale() && !marker.is_overdue(NOW + MARKER_TIMEOUT));
        }
    }
}
