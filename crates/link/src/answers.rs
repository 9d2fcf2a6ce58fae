//! What follows from the answer to a publication: for the spool, for the retained topics, for what is known of the broker.

use std::time::Duration;

use tracing::{debug, warn};

use super::alarms::About;
use super::backoff::STABLE_AFTER;
use super::connection::Connection;
use super::inflight::{Slot, Ticket};
use super::lanes::Lane;
use super::session::{Fate, MAX_WINDOW};
use super::trail::RequestId;
use fieldgate_clock::boottime;

/// After so many answers a connection need not send one at a time any more: all that is published at a connect was answered.
const CAREFUL_ANSWERS: usize = 64;

/// How long nothing follows the first publication at QoS 0 on a topic while one thing at a time is sent.
const LINGER: Duration = Duration::from_millis(250);

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
        if self.one_at_a_time && self.trail.is_untried(ticket) {
            self.lingering.push((ticket, fate, now));
            return;
        }
        self.finish_fate(ticket, fate, now);
    }

    /// While one thing at a time is sent, the first publication at QoS 0 on a topic keeps its place for a moment: nothing else is then
    /// under way if the broker hangs up on it. Those behind it do not, or a sensor at QoS 0 would hold up all others.
    pub(super) fn look_at_care(&mut self, now: Duration) {
        if self.one_at_a_time
            && (self.trail.answers() >= CAREFUL_ANSWERS || now.saturating_sub(self.since) >= STABLE_AFTER)
        {
            self.end_care();
        }
        for (ticket, fate, at) in std::mem::take(&mut self.lingering) {
            if self.one_at_a_time && now.saturating_sub(at) < LINGER {
                self.lingering.push((ticket, fate, at));
            } else {
                self.finish_fate(ticket, fate, now);
            }
        }
        for request in self.broker.outlived(|request| self.trail.is_open(request), now) {
            let news = self.broker.answered(&request, now);
            self.report.apply(news);
        }
    }

    /// From now on as much is under way as the broker allows.
    pub(super) fn end_care(&mut self) {
        self.one_at_a_time = false;
        self.window.widen(usize::from(self.connected.receive_maximum.min(MAX_WINDOW)));
    }

    fn finish_fate(&mut self, ticket: Ticket, fate: Fate, now: Duration) {
        let Some(slot) = self.window.leave(ticket) else { return };
        if let Some(request) = self.trail.done(RequestId::Publication(ticket), now) {
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
                self.may_publish_retained |= self.online_published && fate == Fate::Acknowledged;
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
        connection.look_at_care(since + STABLE_AFTER - Duration::from_millis(1));
        assert_eq!((connection.one_at_a_time, connection.window.free_places()), (true, 1));
        connection.look_at_care(since + STABLE_AFTER);
        assert_eq!((connection.one_at_a_time, connection.window.free_places()), (false, usize::from(MAX_WINDOW)));
    }

    #[test]
    fn after_a_hang_up_nothing_follows_at_once_what_the_broker_does_not_answer() {
        let mut bench = bench();
        let mut connection = bench.connection(connected(Protocol::V5));
        let write = |connection: &mut Connection<'_>| {
            let topic = "b/sensors/air".to_owned();
            let ticket = connection.window.enter(Slot::RequesterReply(topic.clone()));
            let blame = Blame { request: Request::Publish(topic), retain: false };
            connection.trail.sent(RequestId::Publication(ticket), blame, false);
            connection.on_fate(ticket, Fate::Acknowledged);
        };
        write(&mut connection);
        let written = connection.lingering[0].2;
        connection.look_at_care(written + LINGER - Duration::from_millis(1));
        assert_eq!(connection.window.free_places(), 0);
        connection.look_at_care(written + LINGER);
        assert_eq!(connection.window.free_places(), 1);
        write(&mut connection);
        assert_eq!(connection.window.free_places(), 1, "the topic has been tried");
    }
}
