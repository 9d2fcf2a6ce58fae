//! How a connection begins: what is subscribed to, `online`, and what comes back on our own `B/status`.
//!
//! Commands are subscribed to before `online` is published, and each subscription waits for the answer to the one before, so that
//! an end of the connection can be attributed to one of them. A gateway that takes none does not subscribe to them. The
//! subscription to its own `B/status` is an extra: it shows under 3.1.1 whether publications arrive, and whether another gateway
//! has our name.

use std::time::Duration;

use tracing::debug;

use super::Protocol;
use super::alarms::{About, TWIN};
use super::connection::{Connection, Phase};
use super::inflight::InFlight;
use super::open_requests::{Request, RequestId};
use super::session::{Arrived, Filter, Grant, Publication};
use super::subscriptions::{ANSWER_TIMEOUT, Asked};
use fieldgate_clock::boottime;
use fieldgate_model::{Qos, RecipientKind};

impl Connection<'_> {
    /// Subscribes to what must be there before `online`, and then publishes that.
    pub(super) fn subscribe_first(&mut self) {
        if !self.command_topics.borrow_and_update().is_empty() {
            self.subscriptions.want(Request::Commands);
        }
        if self.broker.may_hear_status() {
            self.subscriptions.want(Request::Status);
        }
        self.subscribe_next();
    }

    /// A reload has added or removed what takes commands. One subscription with a wildcard covers all of a kind; separate ones
    /// are made again.
    pub(super) fn on_command_topics_changed(&mut self) {
        if self.command_topics.borrow_and_update().is_empty() {
            self.subscriptions.forget_commands();
            self.report.clear(&About::Commands);
            self.report.clear(&About::HungUp(Request::Commands));
            return;
        }
        let filters = self.command_filters();
        if self.subscriptions.want_commands(&filters) && self.subscriptions.under_way().is_none() {
            self.subscribe_next();
        }
    }

    /// Subscribes to what is next, and publishes `online` when nothing is.
    pub(super) fn subscribe_next(&mut self) {
        let now = boottime();
        let Some(request) = self.subscriptions.take_next(|request| self.broker.is_held_back(request, now)) else {
            return self.finish_greeting();
        };
        let filters = self.filters(&request);
        self.broker.sending(&request, now);
        self.subscriptions.sent(request.clone(), filters.iter().map(|filter| filter.topic.clone()).collect());
        self.requests.subscribed(request, self.session.subscribe(filters));
    }

    fn filters(&self, request: &Request) -> Vec<Filter> {
        let settings = &self.resources.settings;
        let command = |topic| Filter { topic, retain_as_published: true, send_retained: true, no_local: false };
        // Our own status must come back.
        let own = |topic, no_local| Filter { topic, retain_as_published: false, send_retained: false, no_local };
        match request {
            Request::Commands => self.command_filters().into_iter().map(command).collect(),
            Request::Health => vec![own(settings.topics.health(), true)],
            Request::Peer => self.subscriptions.peer().map(|topic| own(topic.to_owned(), true)).into_iter().collect(),
            Request::Status | Request::Publish(_) => vec![own(settings.topics.status(), false)],
        }
    }

    /// What commands are subscribed to by: one filter for each kind of what takes them, where the broker has wildcards.
    pub(super) fn command_filters(&self) -> Vec<String> {
        let topics = &self.resources.settings.topics;
        let wanted = self.command_topics.borrow();
        if !self.connected.wildcards {
            return wanted.clone();
        }
        let has = |kind| wanted.iter().any(|topic| topics.commanded(topic).is_some_and(|(of, _)| of == kind));
        let outputs = has(RecipientKind::Output).then(|| topics.set_filter());
        let totals = has(RecipientKind::Total).then(|| topics.set_total_filter());
        let variables = has(RecipientKind::Variable).then(|| topics.set_variable_filter());
        let requests = has(RecipientKind::Request).then(|| topics.request_filter());
        let rules = has(RecipientKind::Rule).then(|| topics.set_rule_filter());
        outputs.into_iter().chain(totals).chain(variables).chain(requests).chain(rules).collect()
    }

    /// The broker has answered a subscription.
    pub(super) fn on_granted(&mut self, grant: Grant) {
        let now = boottime();
        let Some(Asked { request, filters }) = self.subscriptions.answered(&grant) else { return };
        self.requests.open.done(RequestId::Subscription, now);
        let alarm_changes = self.broker.answered(&request, now);
        self.report.apply(alarm_changes);
        let is_extra = matches!(request, Request::Health | Request::Peer);
        match (request, grant) {
            (Request::Commands, Grant::Refused(words)) => {
                let which = if filters.len() > 1 { "some commands will not" } else { "no commands will" };
                self.report.raise(About::Commands, format!("{which} arrive: subscribing to {words}"));
            }
            (Request::Commands, _) => self.report.clear(&About::Commands),
            (Request::Peer, Grant::Refused(words)) => self.give_up_peer(&format!("subscribing to {words}"), now),
            (Request::Health, Grant::Refused(words)) => {
                debug!(error = words, "The broker refuses the subscription to our own health.");
                self.broker.give_up_health();
            }
            (_, Grant::Refused(words)) => {
                debug!(error = words, "The broker refuses the subscription to our own status.");
                self.broker.give_up_status(now);
            }
            (_, Grant::Granted | Grant::Lost) => {}
        }
        // With the extras the greeting is over; what a reload wants besides is not.
        if !is_extra || self.subscriptions.has_waiting() {
            self.subscribe_next();
        }
    }

    /// Subscribes to our own health once everything else is subscribed to and the retained values have been published.
    fn subscribe_to_health(&mut self, now: Duration) {
        if self.phase == Phase::Everything && self.broker.may_hear_health() && self.subscriptions.want_health(now) {
            self.subscribe_next();
        }
    }

    /// Readings do not wait for a subscription for long; should its answer come after all, it counts.
    pub(super) fn look_at_subscription(&mut self, now: Duration) {
        let waited = now.saturating_sub(self.since);
        if let Some(request) = self.subscriptions.give_up_overdue(waited, now) {
            self.on_no_answer(&request, now);
        }
        self.subscribe_to_peer(now);
        self.subscribe_to_health(now);
        if self.phase == Phase::Greeting
            && self.window.is_empty()
            && waited >= ANSWER_TIMEOUT
            && let Some(request) = self.subscriptions.under_way()
        {
            if *request == Request::Commands {
                let filters = self.command_filters().join(" and ");
                let words = format!("no commands will arrive: subscribing to {filters} is not answered by the broker");
                self.report.raise(About::Commands, words);
            }
            self.finish_greeting();
        }
        if self.subscriptions.retry_commands(|| self.broker.is_held_back(&Request::Commands, now)) {
            self.subscribe_next();
        }
    }

    /// A subscription was given up, because it is not answered.
    fn on_no_answer(&mut self, request: &Request, now: Duration) {
        self.requests.give_up_subscription(now);
        match request {
            Request::Health => self.broker.give_up_health(),
            Request::Peer => {
                let topic = self.subscriptions.peer().unwrap_or_default();
                let words = format!("subscribing to {topic} is not answered by the broker");
                self.give_up_peer(&words, now);
            }
            Request::Status | Request::Commands | Request::Publish(_) => {}
        }
        // A reload may have added what takes commands meanwhile.
        if self.subscriptions.has_waiting() {
            self.subscribe_next();
        }
    }

    /// Nothing waits to be subscribed to: publishes `online` where that is not done, or must be done again.
    fn finish_greeting(&mut self) {
        if self.phase == Phase::Leaving {
            return;
        }
        let now = boottime();
        let (hears_status, is_asked) = (self.subscriptions.hears_status(), self.subscriptions.under_way().is_some());
        if self.own_status.wants_online(hears_status, is_asked, now) || self.phase == Phase::Greeting {
            self.publish_online(now);
        }
    }

    fn publish_online(&mut self, now: Duration) {
        if self.broker.is_held_back(&Request::Publish(self.resources.settings.topics.status()), now) {
            self.on_online_published();
            return;
        }
        let plain = self.status("online");
        let nonce = (self.connected.protocol == Protocol::V5).then(|| self.own_status.nonce.clone());
        let marked = Publication { nonce, ..plain.clone() };
        if self.subscriptions.hears_status() {
            self.own_status.twins.published(now);
        }
        self.send(InFlight::Birth, if self.is_too_large(&marked) { plain } else { marked });
    }

    /// `online` is answered, or cannot be published: now everything else may be.
    pub(super) fn on_online_published(&mut self) {
        if self.phase.go_online(boottime()) && self.subscriptions.is_suspended() {
            self.report.raise(About::CommandsSuspended, self.describe_suspension());
        }
    }

    pub(super) fn status(&self, word: &'static str) -> Publication {
        let settings = &self.resources.settings;
        Publication::plain(settings.topics.status(), word, Qos::AtLeastOnce, settings.retain_state)
    }

    /// A message on our own status.
    pub(super) fn on_status(&mut self, arrived: &Arrived) {
        if self.phase == Phase::Leaving {
            return;
        }
        let shown = self.own_status.heard(arrived, self.connected.protocol, boottime());
        if shown.arrives {
            self.report.clear(&About::PublishProbe);
        }
        if shown.is_fresh {
            self.report.clear(&About::FreshnessMarker);
        }
        if shown.is_foreign {
            self.raise_twin();
        }
    }

    /// A message on our own health.
    pub(super) fn on_health(&mut self, arrived: &Arrived) {
        if self.phase != Phase::Leaving && self.own_status.heard_health(arrived, boottime()) {
            self.raise_twin();
        }
    }

    fn raise_twin(&mut self) {
        let base = self.resources.settings.topics.base();
        let words = format!(
            "{TWIN} {base}: two of one name obey the same commands and overwrite each other's states; \
             give one of them another gateway.name, or another mqtt.base_topic"
        );
        self.report.raise(About::Twin, words);
    }

    /// Keeps the retained status true, and ends the alarm when the other one has gone.
    pub(super) fn look_at_twins(&mut self, now: Duration) {
        if self.phase.is_online() && self.window.free_places() > 0 && self.own_status.twins.is_due(now) {
            debug!("Publishing online again, after somebody else published on our status.");
            self.publish_online(now);
        }
        if self.own_status.twins.turns_out_foreign(now) {
            self.raise_twin();
        }
        if self.own_status.twins.is_over(now) {
            self.report.clear(&About::Twin);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{LinkRig, alarm, connected, settings};
    use crate::{Protocol, Settings};
    use bytes::Bytes;

    /// A connection that has subscribed to its status, and published what describes the gateway.
    fn published_everything(rig: &mut LinkRig) -> Connection<'_> {
        let mut connection = rig.connection(connected(Protocol::V5));
        connection.subscribe_first();
        assert_eq!(connection.subscriptions.under_way(), Some(&Request::Status));
        connection.on_granted(Grant::Granted);
        connection.on_online_published();
        connection.look_at_subscription(connection.since);
        assert_eq!(connection.subscriptions.under_way(), None, "readings come first");
        connection.phase = Phase::Everything;
        connection
    }

    #[test]
    fn our_own_health_is_subscribed_to_once_after_everything_else() {
        let mut rig = LinkRig::new(settings(Protocol::V5));
        let mut connection = published_everything(&mut rig);
        connection.look_at_subscription(connection.since);
        assert_eq!(connection.subscriptions.under_way(), Some(&Request::Health));
        connection.on_granted(Grant::Granted);
        connection.look_at_subscription(connection.since + ANSWER_TIMEOUT);
        assert_eq!(connection.subscriptions.under_way(), None);
        assert!(connection.broker.may_hear_health());
    }

    #[test]
    fn a_subscription_to_our_own_health_that_is_not_answered_is_given_up() {
        let mut rig = LinkRig::new(settings(Protocol::V5));
        let mut connection = published_everything(&mut rig);
        connection.look_at_subscription(connection.since);
        connection.look_at_subscription(connection.since + ANSWER_TIMEOUT / 2);
        assert_eq!(connection.subscriptions.under_way(), Some(&Request::Health));
        connection.look_at_subscription(connection.since + ANSWER_TIMEOUT);
        assert_eq!(connection.subscriptions.under_way(), None);
        assert!(!connection.broker.may_hear_health());
    }

    /// It would be retained behind `offline`, and say for ever that we are there.
    #[test]
    fn an_answer_that_comes_while_we_leave_publishes_no_online() {
        for clean_session in [true, false] {
            let mut rig = LinkRig::new(Settings { clean_session, ..settings(Protocol::V5) });
            let mut connection = rig.connection(connected(Protocol::V5));
            connection.subscribe_first();
            connection.phase = Phase::Leaving;
            connection.on_granted(Grant::Granted);
            assert!(connection.window.is_empty());
        }
    }

    #[test]
    fn the_alarm_of_a_marker_ends_when_that_very_marker_comes_back() {
        let mut rig = LinkRig::new(Settings { clean_session: false, ..settings(Protocol::V5) });
        let mut connection = published_everything(&mut rig);
        connection.report.raise(About::FreshnessMarker, "commands are refused".into());
        let online = |nonce: &str| Arrived {
            topic: "b/status".into(),
            payload: Bytes::from_static(b"online"),
            retain: false,
            expired: false,
            nonce: Some(nonce.to_owned()),
            response: None,
        };
        connection.on_status(&online("00000001.1"));
        assert_eq!(alarm(&connection).as_deref(), Some("commands are refused"));
        let ours = online(&connection.own_status.nonce);
        connection.on_status(&ours);
        assert_eq!(alarm(&connection), None);
    }
}
