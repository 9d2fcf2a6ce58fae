//! What follows from the answer to a publication: for the spool, for the retained topics, for what is known of the broker.

use std::time::Duration;

use tracing::{debug, warn};

use super::alarms::About;
use super::connection::Connection;
use super::inflight::{InFlight, Ticket};
use super::lanes::Lane;
use super::open_requests::RequestId;
use super::session::{MAX_WINDOW, PublishOutcome};
use fieldgate_clock::boottime;

impl Connection<'_> {
    /// A publication was answered, written, or lost with the connection.
    pub(super) fn on_publish_outcome(&mut self, ticket: Ticket, outcome: PublishOutcome) {
        let now = boottime();
        if outcome == PublishOutcome::Lost {
            self.window.leave(ticket);
            self.limits.gave_up(now);
            return;
        }
        self.limits.progressed(now);
        if self.one_at_a_time.is_on() && self.requests.open.is_untried(ticket) {
            self.one_at_a_time.linger(ticket, outcome, now);
            return;
        }
        self.finish_publication(ticket, outcome, now);
    }

    /// Whether one request at a time need not be sent any more, and what of it is finished.
    pub(super) fn look_at_one_at_a_time(&mut self, now: Duration) {
        let lasted = now.saturating_sub(self.since);
        if self.one_at_a_time.is_over(self.requests.open.answers(), lasted) {
            self.end_one_at_a_time(now);
        }
        for (ticket, outcome) in self.one_at_a_time.take_due(now) {
            self.finish_publication(ticket, outcome, now);
        }
        for request in self.broker.outlived(|request| self.requests.open.is_open(request), now) {
            let alarm_changes = self.broker.answered(&request, now);
            self.report.apply(alarm_changes);
        }
    }

    /// From now on as much is under way as the broker allows.
    pub(super) fn end_one_at_a_time(&mut self, now: Duration) {
        self.window.widen(usize::from(self.connected.receive_maximum.min(MAX_WINDOW)));
        for (ticket, outcome) in self.one_at_a_time.end() {
            self.finish_publication(ticket, outcome, now);
        }
    }

    fn finish_publication(&mut self, ticket: Ticket, outcome: PublishOutcome, now: Duration) {
        let Some(sent) = self.window.leave(ticket) else { return };
        if let Some(request) = self.requests.open.done(RequestId::Publication(ticket), now) {
            let alarm_changes = self.broker.answered(&request, now);
            self.report.apply(alarm_changes);
        }
        match sent {
            InFlight::Birth => {
                self.judge(self.resources.settings.topics.status(), &outcome);
                self.on_online_published();
            }
            InFlight::Latest(topic) => {
                match outcome {
                    PublishOutcome::Acknowledged => self.resources.latest.acknowledged(&topic),
                    _ => self.resources.latest.refused(&topic, now),
                }
                self.judge(topic, &outcome);
            }
            InFlight::RequesterReply(topic) => {
                if let PublishOutcome::Refused(words) | PublishOutcome::Unacceptable(words) = outcome {
                    debug!(topic, error = words, "The response topic was refused; the answer is on the reply topic.");
                }
            }
            InFlight::Spooled { sequence, message, lane } => {
                let key = &message.key;
                let topic = self.resources.settings.topics.of(key, lane == Lane::Late);
                self.forwarder.answered(sequence, key, lane, &outcome, now);
                if let PublishOutcome::Unacceptable(words) = outcome {
                    warn!(topic, error = words, "The broker will never accept a message; it is not sent again.");
                    return self.report_given_up(key.kind, topic, &words);
                }
                if outcome == PublishOutcome::Acknowledged {
                    self.phase.end_readings();
                }
                self.judge(topic, &outcome);
            }
            InFlight::Repeat | InFlight::Farewell => {}
        }
    }

    /// Raises or clears the alarm of a topic.
    fn judge(&mut self, topic: String, outcome: &PublishOutcome) {
        match outcome {
            PublishOutcome::Refused(words) | PublishOutcome::Unacceptable(words) => {
                let words = format!("publishing on {topic} is refused: {words}");
                self.report.raise(About::Publish(topic), words);
            }
            _ => self.report.clear(&About::Publish(topic)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Protocol;
    use crate::backoff::STABLE_AFTER;
    use crate::open_requests::{Blame, Request};
    use crate::session::CauseKind;
    use crate::testing::{LinkRig, cause, connected, settings};

    /// A broker that has just hung up on something.
    fn rig() -> LinkRig {
        let mut rig = LinkRig::new(settings(Protocol::V5));
        let blame = Blame { request: Request::Publish("b/devices".into()), retain: true };
        rig.broker.ended(&cause(CauseKind::Closed), Some(blame), 2 * STABLE_AFTER, boottime(), "me");
        rig
    }

    #[test]
    fn after_a_hang_up_one_at_a_time_is_sent_until_the_connection_has_held() {
        let mut rig = rig();
        let mut connection = rig.connection(connected(Protocol::V5));
        let since = connection.since;
        connection.look_at_one_at_a_time(since + STABLE_AFTER - Duration::from_millis(1));
        assert_eq!((connection.one_at_a_time.is_on(), connection.window.free_places()), (true, 1));
        connection.look_at_one_at_a_time(since + STABLE_AFTER);
        assert_eq!(
            (connection.one_at_a_time.is_on(), connection.window.free_places()),
            (false, usize::from(MAX_WINDOW))
        );
    }

    #[test]
    fn after_a_hang_up_nothing_follows_at_once_what_the_broker_does_not_answer() {
        let mut rig = rig();
        let mut connection = rig.connection(connected(Protocol::V5));
        let write = |connection: &mut Connection<'_>| {
            let topic = "b/sensors/air".to_owned();
            let ticket = connection.window.enter(InFlight::RequesterReply(topic.clone()));
            let blame = Blame { request: Request::Publish(topic), retain: false };
            connection.requests.open.sent(RequestId::Publication(ticket), blame, false);
            connection.on_publish_outcome(ticket, PublishOutcome::Acknowledged);
        };
        write(&mut connection);
        connection.look_at_one_at_a_time(Duration::ZERO);
        assert_eq!(connection.window.free_places(), 0);
        connection.look_at_one_at_a_time(boottime() + STABLE_AFTER / 2);
        assert_eq!(connection.window.free_places(), 1);
        write(&mut connection);
        assert_eq!(connection.window.free_places(), 1, "the topic has been tried");
    }
}
