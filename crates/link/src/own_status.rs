//! What one connection learns from its own `B/status`, which comes back to it: whether publications arrive, whether commands are
//! fresh, and whether another gateway has our name. Pure.

use std::time::Duration;

use super::Protocol;
use super::freshness_marker::FreshnessMarker;
use super::publish_probe::PublishProbe;
use super::session::Arrived;
use super::twins::{Origin, Twins};

/// What is known from our own status, and is still to come back.
#[derive(Debug)]
pub(super) struct OwnStatus {
    /// Identifies the `online` of this connection when it comes back.
    pub(super) nonce: String,
    pub(super) freshness_marker: FreshnessMarker,
    pub(super) publish_probe: PublishProbe,
    pub(super) twins: Twins,
}

/// What a message on our own status has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    /// That what we publish arrives.
    pub(super) arrives: bool,
    /// That commands are fresh from now on.
    pub(super) is_fresh: bool,
    /// That another gateway has our name.
    pub(super) is_foreign: bool,
}

impl OwnStatus {
    /// Whether `online` must be published again, now that our status comes back or, while it `is_asked` for, may come back; it counts
    /// as published at `now` then.
    pub(super) fn wants_online(&mut self, hears_status: bool, is_asked: bool, now: Duration) -> bool {
        if !hears_status && !is_asked {
            self.publish_probe = PublishProbe::NotNeeded;
        }
        let probe = hears_status && self.publish_probe.send(now);
        let marker = self.freshness_marker.send(now);
        probe || marker
    }

    /// A message on our own status.
    pub(super) fn heard(&mut self, arrived: &Arrived, protocol: Protocol, now: Duration) -> Shown {
        let live = !arrived.retain;
        if live && arrived.payload == "offline" {
            self.freshness_marker.saw_offline(protocol, now);
        }
        let arrives = live && self.publish_probe.came_back();
        let was_queued = self.freshness_marker.is_stale();
        self.freshness_marker.saw(arrived);
        let is_foreign =
            live && self.twins.heard(&arrived.payload, arrived.nonce.as_deref(), now) == Origin::Foreign && !was_queued;
        Shown { arrives, is_fresh: !self.freshness_marker.is_stale(), is_foreign }
    }

    /// A message on our own health; `true` when another gateway has our name.
    pub(super) fn heard_health(&mut self, arrived: &Arrived, now: Duration) -> bool {
        let counts = !arrived.retain && !self.freshness_marker.is_stale();
        counts && self.twins.heard_health(&arrived.payload, now) == Origin::Foreign
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    const NOW: Duration = Duration::from_secs(100);

    /// Of a connection with a persistent session, whose commands may have been queued.
    fn own_status(protocol: Protocol) -> OwnStatus {
        OwnStatus {
            nonce: "00000007.1".into(),
            freshness_marker: FreshnessMarker::new(false, protocol, "00000007.1".into()),
            publish_probe: PublishProbe::new(protocol),
            twins: Twins::new("00000007".into(), Duration::ZERO, Duration::ZERO),
        }
    }

    fn online(nonce: Option<&str>) -> Arrived {
        let (topic, payload) = ("b/status".into(), Bytes::from_static(b"online"));
        Arrived { topic, payload, retain: false, expired: false, nonce: nonce.map(str::to_owned), response: None }
    }

    #[test]
    fn our_own_online_shows_that_publications_arrive_and_that_commands_are_fresh() {
        let mut status = own_status(Protocol::V4);
        assert!(status.wants_online(true, false, NOW));
        status.twins.published(NOW);
        let shown = status.heard(&online(None), Protocol::V4, NOW);
        assert_eq!(shown, Shown { arrives: true, is_fresh: true, is_foreign: false });
        assert!(!status.wants_online(true, false, NOW), "both have come back");
    }

    #[test]
    fn without_its_subscription_nothing_is_probed_and_while_it_is_asked_for_the_probe_waits() {
        let mut status = own_status(Protocol::V4);
        status.freshness_marker = FreshnessMarker::NotNeeded;
        assert!(!status.wants_online(false, true, NOW));
        assert_eq!(status.publish_probe, PublishProbe::Awaited(None));
        assert!(!status.wants_online(false, false, NOW));
        assert_eq!(status.publish_probe, PublishProbe::NotNeeded);
    }

    /// The broker may have queued it while we were away.
    #[test]
    fn another_gateway_is_noticed_by_what_comes_after_our_own_online() {
        let mut status = own_status(Protocol::V5);
        assert!(status.wants_online(true, false, NOW));
        let foreign = online(Some("00000008.1"));
        assert!(!status.heard(&foreign, Protocol::V5, NOW).is_foreign);
        assert!(status.heard(&online(Some("00000007.1")), Protocol::V5, NOW).is_fresh);
        assert!(status.heard(&foreign, Protocol::V5, NOW).is_foreign);
    }
}
