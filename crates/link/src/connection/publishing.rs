//! What is published: retained topics when it is their turn, and everything lowered to what the broker offers.

use std::time::Duration;

use super::{Connection, Phase, largest_packet};
use crate::alarms::About;
use crate::broker_state::RETAINS_NOTHING;
use crate::inflight::InFlight;
use crate::open_requests::{Blame, Request};
use crate::session::Publication;
use fieldgate_clock::boottime;
use fieldgate_model::Qos;

/// After this time, what describes this gateway is published although readings still wait.
const DESCRIBE_AFTER: Duration = Duration::from_secs(1);

impl Connection<'_> {
    /// What describes this gateway waits until the readings that were there at the connect have had their turn: a broker that
    /// hangs up on it must not keep them back.
    pub(super) fn readings_have_had_their_turn(&self, online_since: Duration) -> bool {
        self.is_drained() || boottime().saturating_sub(online_since) >= DESCRIBE_AFTER
    }

    /// Publishes the retained topics that are due, as many as the window accepts.
    pub(super) fn publish_latest(&mut self) {
        let now = boottime();
        let resources = self.resources;
        let settings = &resources.settings;
        let waiting = (self.phase != Phase::Everything).then(|| [settings.topics.devices(), settings.topics.health()]);
        let may = |topic: &str| waiting.as_ref().is_none_or(|topics| topics.iter().all(|waiting| waiting != topic));
        while self.window.free_places() > 0
            && let Some((topic, payload)) = resources.latest.take(now, may)
        {
            if self.broker.is_held_back(&Request::Publish(topic.clone()), now) {
                self.resources.latest.refused(&topic, now);
                continue;
            }
            if payload.is_empty() && !settings.retain_state {
                // An empty retained message clears a topic.
                self.resources.latest.acknowledged(&topic);
                continue;
            }
            let publication = Publication::plain(topic.clone(), payload, Qos::AtLeastOnce, settings.retain_state);
            if self.is_too_large(&publication) {
                self.report.raise(About::Publish(topic.clone()), format!("{topic} is larger than the broker accepts"));
                self.resources.latest.refused(&topic, now);
            } else {
                self.send(InFlight::Latest(topic), publication);
            }
        }
    }

    /// Sends what somebody missed. It is older than whatever the spool has next.
    pub(super) fn repeat(&mut self) {
        while self.window.free_places() > 0
            && let Some((topic, payload)) = self.resources.latest.take_repeat()
        {
            if topic == self.resources.settings.topics.status() {
                // Published as at the connect: without its mark it would be taken for another gateway's.
                self.own_status.twins.want_online();
                continue;
            }
            let publication = Publication::plain(topic.clone(), payload, Qos::AtMostOnce, false);
            if !self.broker.is_held_back(&Request::Publish(topic), boottime()) && !self.is_too_large(&publication) {
                self.send(InFlight::Repeat, publication);
            }
        }
    }

    /// Sends a publication, lowered to what the broker offers.
    pub(crate) fn send(&mut self, sent: InFlight, mut publication: Publication) {
        if publication.qos > self.connected.maximum_qos {
            let highest = self.connected.maximum_qos as u8;
            let words = format!(
                "the broker offers QoS {highest} at most; what is configured with a higher one is published at that"
            );
            self.report.raise(About::Qos, words);
            publication.qos = self.connected.maximum_qos;
        }
        let (now, request) = (boottime(), Request::Publish(publication.topic.clone()));
        if publication.retain && (!self.connected.retain_available || self.broker.retains_nothing()) {
            self.report.raise(About::Retain, RETAINS_NOTHING.into());
            publication.retain = false;
        }
        publication.retain &= !self.broker.is_on_trial(&request);
        if self.window.is_empty() {
            self.limits.progressed(now);
        }
        let ticket = self.window.enter(sent);
        self.broker.sending(&request, now);
        let blame = Blame { request, retain: publication.retain };
        let is_answered = publication.qos != Qos::AtMostOnce;
        self.requests.published(ticket, blame, is_answered, self.session.publish(publication));
    }

    /// Whether it exceeds the packet size of the broker, or our own, either of which would end the connection.
    pub(crate) fn is_too_large(&self, publication: &Publication) -> bool {
        publication.packet_size() > largest_packet(&self.connected)
    }
}
