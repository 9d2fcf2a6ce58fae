//! What follows from the answer to a publication: for the spool, for the retained topics, for what is known of the broker.

use std::time::Duration;

use tracing::{debug, warn};

use super::alarms::About;
use super::connection::Connection;
use super::inflight::{Slot, Ticket};
use super::lanes::Lane;
use super::session::{Fate, MAX_WINDOW};
use super::trail::RequestId;
use fieldgate_clock::boottime;

impl Connection<'_> {
    /// A publication was answered, written, or lost with the connection.
    pub(super) fn on_fate(&mut self, ticket: Ticket, fate: Fate) {
        let now = boottime();
        if fate == Fate::Lost {
            self.window.leave(ticket);
            self.limits.gave_up(now);
            return;
        }
        self.limits.progressed(now);
        if self.one_at_a_time.is_on() && self.requests.trail.is_untried(ticket) {
            self.one_at_a_time.linger(ticket, fate, now);
            return;
        }
        self.finish_fate(ticket, fate, now);
    }

    /// Whether one request at a time need not be sent any more, and what of it is finished.
    pub(super) fn look_at_one_at_a_time(&mut self, now: Duration) {
        let lasted = now.saturating_sub(self.since);
        if self.one_at_a_time.is_over(self.requests.trail.answers(), lasted) {
            self.end_one_at_a_time(now);
        }
        for (ticket, fate) in self.one_at_a_time.take_due(now) {
            self.finish_fate(ticket, fate, now);
        }
        for request in self.broker.outlived(|request| self.requests.trail.is_open(request), now) {
            let news = self.broker.answered(&request, now);
            self.report.apply(news);
        }
    }

    /// From now on as much is under way as the broker allows.
    pub(super) fn end_one_at_a_time(&mut self, now: Duration) {
        self.window.widen(usize::from(self.connected.receive_maximum.min(MAX_WINDOW)));
        for (ticket, fate) in self.one_at_a_time.end() {
            self.finish_fate(ticket, fate, now);
        }
    }

    fn finish_fate(&mut self, ticket: Ticket, fate: Fate, now: Duration) {
        let Some(slot) = self.window.leave(ticket) else { return };
        if let Some(request) = self.requests.trail.done(RequestId::Publication(ticket), now) {
            let news = self.broker.answered(&request, now);
            self.report.apply(news);
        }
        match slot {
            Slot::Birth => {
                self.judge(self.parts.settings.topics.status(), &fate);
                self.on_online_published();
            }
            Slot::Latest(topic) => {
                match fate {
                    Fate::Acknowledged => self.parts.latest.acknowledged(&topic),
                    _ => self.parts.latest.refused(&topic, now),
                }
                self.judge(topic, &fate);
            }
            Slot::RequesterReply(topic) => {
                if let Fate::Refused(words) | Fate::Unacceptable(words) = fate {
                    debug!(topic, error = words, "The response topic was refused; the answer is on the reply topic.");
                }
            }
            Slot::Spooled { sequence, message, lane } => {
                let key = &message.key;
                let topic = self.parts.settings.topics.of(key, lane == Lane::Late);
                self.forwarder.answered(sequence, key, lane, &fate, now);
                if let Fate::Unacceptable(words) = fate {
                    warn!(topic, error = words, "The broker will never accept a message; it is not sent again.");
                    return self.report_given_up(key.kind, topic, &words);
                }
                if fate == Fate::Acknowledged {
                    self.phase.end_readings();
                }
                self.judge(topic, &fate);
            }
            Slot::Repeat | Slot::Farewell => {}
        }
    }

    /// Raises or clears the alarm of a topic.
    fn judge(&mut self, topic: String, fate: &Fate) {
        match fate {
            Fate::Refused(words) | Fate::Unacceptable(words) => {
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
    use crate::session::CauseKind;
    use crate::testing::{Bench, cause, connected, settings};
    use crate::trail::{Blame, Request};

    /// A broker that has just hung up on something.
    fn bench() -> Bench {
        let mut bench = Bench::new(settings(Protocol::V5));
        let blame = Blame { request: Request::Publish("b/devices".into()), retain: true };
        bench.broker.ended(&cause(CauseKind::Closed), Some(blame), 2 * STABLE_AFTER, boottime(), "me");
        bench
    }

    #[test]
    fn after_a_hang_up_one_at_a_time_is_sent_until_the_connection_has_held() {
        let mut bench = bench();
        let mut connection = bench.connection(connected(Protocol::V5));
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
        let mut bench = bench();
        let mut connection = bench.connection(connected(Protocol::V5));
        let write = |connection: &mut Connection<'_>| {
            let topic = "b/sensors/air".to_owned();
            let ticket = connection.window.enter(Slot::RequesterReply(topic.clone()));
            let blame = Blame { request: Request::Publish(topic), retain: false };
            connection.requests.trail.sent(RequestId::Publication(ticket), blame, false);
            connection.on_fate(ticket, Fate::Acknowledged);
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
