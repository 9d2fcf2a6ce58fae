//! Somebody else who says when it starts, such as Home Assistant on `homeassistant/status`.
//!
//! Its topic is subscribed to last of all, when everything that is ours has been published. It is an extra: a subscription that is
//! refused, not answered or hung up on raises an alarm and holds nothing else up. What the broker retains there says nothing of
//! now, for what we publish at each connect comes after it, and is left out.

use std::time::Duration;

use tracing::debug;

use super::alarms::About;
use super::connection::{Connection, Phase};
use super::session::Arrived;

/// What the peer has said on its topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerStatus {
    /// How often it has said that it starts.
    pub starts: u64,
    /// Whether that was the last that it said.
    pub is_online: bool,
}

impl Connection<'_> {
    /// The topic of the peer; without one there is none.
    pub(super) fn peer_topic(&self) -> Option<String> {
        self.resources.peer_topic.borrow().clone()
    }

    /// Subscribes to the peer's topic once nothing else is to be subscribed to or published first.
    pub(super) fn subscribe_to_peer(&mut self, now: Duration) {
        let may =
            self.phase == Phase::Everything && self.subscriptions.takes_extras() && self.broker.may_hear_peer(now);
        let topic = self.peer_topic();
        if !may || self.subscriptions.peer() == topic.as_deref() {
            return;
        }
        self.report.clear(&About::Peer);
        if self.subscriptions.want_peer(topic, now) {
            self.subscribe_next();
        }
    }

    /// The broker does not let us subscribe to the peer's topic.
    pub(super) fn give_up_peer(&mut self, words: &str, now: Duration) {
        self.broker.give_up_peer(now);
        let words = format!("a restart of Home Assistant will not be noticed: {words}");
        self.report.raise(About::Peer, words);
    }

    /// A message on the peer's topic.
    pub(super) fn on_peer(&mut self, arrived: &Arrived) {
        if arrived.retain {
            return;
        }
        debug!(topic = arrived.topic, payload = %String::from_utf8_lossy(&arrived.payload), "The peer spoke.");
        match &*arrived.payload {
            b"online" => {
                self.resources.peer.send_modify(|peer| *peer = PeerStatus { starts: peer.starts + 1, is_online: true })
            }
            b"offline" => self.resources.peer.send_modify(|peer| peer.is_online = false),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::open_requests::Request;
    use crate::session::Grant;
    use crate::subscriptions::ANSWER_TIMEOUT;
    use crate::testing::{LinkRig, alarm, connected, settings};
    use crate::{LinkResources, Protocol};
    use bytes::Bytes;
    use fieldgate_clock::boottime;
    use tokio::sync::watch;

    const TOPIC: &str = "homeassistant/status";

    fn rig() -> LinkRig {
        let mut rig = LinkRig::new(settings(Protocol::V5));
        rig.resources.peer_topic = watch::channel(Some(TOPIC.to_owned())).1;
        rig
    }

    /// A connection on which everything else is subscribed to and published.
    fn published_everything(rig: &mut LinkRig) -> Connection<'_> {
        let mut connection = rig.connection(connected(Protocol::V5));
        connection.subscribe_first();
        connection.on_granted(Grant::Granted);
        connection.on_online_published();
        connection.look_at_subscription(connection.since);
        assert_eq!(connection.subscriptions.under_way(), None, "everything else comes first");
        connection.phase = Phase::Everything;
        connection.look_at_subscription(connection.since);
        assert_eq!(connection.subscriptions.under_way(), Some(&Request::Peer));
        connection
    }

    fn said(payload: &'static str, retain: bool) -> Arrived {
        let payload = Bytes::from_static(payload.as_bytes());
        Arrived { topic: TOPIC.into(), payload, retain, expired: false, nonce: None, response: None }
    }

    #[test]
    fn what_the_peer_says_now_counts_and_what_is_retained_of_it_does_not() {
        let mut rig = rig();
        let (sender, receiver) = watch::channel(PeerStatus::default());
        rig.resources.peer = sender;
        let mut connection = published_everything(&mut rig);
        connection.on_granted(Grant::Granted);
        for (message, expected) in [
            (said("online", true), (0, false)),
            (said("online", false), (1, true)),
            (said("hello", false), (1, true)),
            (said("online", false), (2, true)),
            (said("offline", true), (2, true)),
            (said("offline", false), (2, false)),
        ] {
            connection.on_peer(&message);
            let status = *receiver.borrow();
            assert_eq!((status.starts, status.is_online), expected, "{message:?}");
        }
    }

    #[test]
    fn a_refusal_is_an_alarm_and_holds_nothing_up() {
        let mut rig = rig();
        let mut connection = published_everything(&mut rig);
        connection.on_granted(Grant::Refused("homeassistant/status: not authorized".into()));
        assert!(alarm(&connection).unwrap().contains("a restart of Home Assistant will not be noticed"));
        connection.look_at_subscription(connection.since + ANSWER_TIMEOUT);
        assert_eq!(connection.subscriptions.under_way(), Some(&Request::Health), "the rest goes on");
        connection.on_granted(Grant::Granted);
        connection.look_at_subscription(connection.since + ANSWER_TIMEOUT);
        assert_eq!(connection.subscriptions.under_way(), None, "it is not asked for again");
    }

    #[test]
    fn silence_is_an_alarm_and_what_a_reload_adds_meanwhile_is_subscribed_to() {
        let mut rig = rig();
        let (topics, receiver) = watch::channel(Vec::new());
        rig.resources.command_topics = receiver;
        let mut connection = published_everything(&mut rig);
        topics.send_replace(vec!["b/actuators/pump/set".to_owned()]);
        connection.on_command_topics_changed();
        connection.look_at_subscription(connection.since + ANSWER_TIMEOUT / 2);
        assert_eq!(connection.subscriptions.under_way(), Some(&Request::Peer));
        connection.look_at_subscription(connection.since + ANSWER_TIMEOUT);
        assert_eq!(connection.subscriptions.under_way(), Some(&Request::Commands));
        assert!(alarm(&connection).unwrap().contains("is not answered"));
    }

    #[test]
    fn another_topic_is_subscribed_to_and_none_is_not() {
        let mut rig = rig();
        let (topic, receiver) = watch::channel(Some(TOPIC.to_owned()));
        rig.resources.peer_topic = receiver;
        let mut connection = published_everything(&mut rig);
        connection.on_granted(Grant::Granted);
        let now = connection.since;
        connection.subscribe_to_peer(now);
        assert_eq!(connection.subscriptions.under_way(), None);
        topic.send_replace(Some("ha/status".to_owned()));
        connection.subscribe_to_peer(now);
        assert_eq!(connection.subscriptions.under_way(), Some(&Request::Peer));
        connection.on_granted(Grant::Granted);
        topic.send_replace(None);
        connection.subscribe_to_peer(now);
        assert_eq!(connection.subscriptions.under_way(), None);
    }

    #[test]
    fn without_a_topic_nothing_is_subscribed_to() {
        let mut rig = LinkRig::new(settings(Protocol::V5));
        let LinkResources { peer_topic, .. } = &rig.resources;
        assert_eq!(*peer_topic.borrow(), None);
        let mut connection = rig.connection(connected(Protocol::V5));
        connection.phase = Phase::Everything;
        connection.subscribe_to_peer(boottime());
        assert_eq!((connection.subscriptions.under_way(), connection.subscriptions.peer()), (None, None));
    }
}
