//! What is looked at from time to time: what ends the connection, and what is reported although it goes on.

use std::time::Duration;

use super::{Connection, SUSPENDED_FOR};
use crate::alarms::About;
use crate::failover::disproved;
use crate::limits::Silence;
use crate::session::{Cause, MAX_PACKET};
use fieldgate_clock::boottime;

impl Connection<'_> {
    /// Looks at the limits; returns why the connection must end.
    pub(super) fn look_after(&mut self) -> Option<Cause> {
        let now = boottime();
        self.forwarder.retry(now);
        self.report.log_dropped(now);
        self.report.apply(disproved(now.saturating_sub(self.since)));
        if let Some(cause) = self.limits.exceeded(!self.window.is_empty(), now) {
            return Some(cause);
        }
        self.look_at_one_at_a_time(now);
        self.look_at_subscription(now);
        self.look_at_twins(now);
        if self.subscriptions.end_suspension(now) {
            self.report.clear(&About::CommandsSuspended);
            self.subscribe_first();
        }
        self.look_at_what_comes_back(now);
        self.look_at_silence(now)
    }

    fn look_at_what_comes_back(&mut self, now: Duration) {
        let topics = &self.resources.settings.topics;
        if self.own_status.publish_probe.is_overdue(now) {
            let topic = topics.status();
            let words = format!(
                "what is published may not arrive: our own message on {topic} does not come back, and under MQTT 3.1.1 a \
                 broker does not say what it forbids; allow us to write below {} and to read {topic}",
                topics.base()
            );
            self.report.raise(About::PublishProbe, words);
        }
        if self.own_status.freshness_marker.is_overdue(now) {
            let topic = topics.status();
            let words = format!(
                "commands are refused: with clean_session: false our own message on {topic} must come back to distinguish new \
                 commands from queued ones, and it does not; allow us to read {topic}"
            );
            self.report.raise(About::FreshnessMarker, words);
        }
    }

    fn look_at_silence(&mut self, now: Duration) -> Option<Cause> {
        let heard = self.resources.heartbeat.last().unwrap_or(self.since).max(self.since);
        let (keep_alive, pace) = (self.keep_alive(), self.pace());
        match self.limits.silence(heard, keep_alive, pace, now) {
            Silence::Short => None,
            Silence::Ask => {
                self.session.ping();
                None
            }
            Silence::TooLong(cause) => Some(cause),
        }
    }

    pub(crate) fn describe_suspension(&self) -> String {
        let filters = self.command_filters().join(" or ");
        format!(
            "no commands are taken for {} minutes: a message on {filters} is larger than {MAX_PACKET} bytes and ends every \
             connection; if it is retained, remove it with mosquitto_pub -r -n",
            SUSPENDED_FOR.as_secs() / 60
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::watch;

    use crate::Protocol;
    use crate::broker_state::TOO_LARGE_TIMES;
    use crate::open_requests::Request;
    use crate::session::CauseKind;
    use crate::subscriptions::Subscriptions;
    use crate::testing::{LinkRig, alarm, cause, connected, settings};

    #[test]
    fn commands_of_which_one_is_too_large_are_suspended_for_a_while_and_the_alarm_says_what_to_do() {
        let mut rig = LinkRig::new(settings(Protocol::V5));
        for _ in 0..TOO_LARGE_TIMES {
            rig.broker.ended(&cause(CauseKind::TooLarge), None, Duration::ZERO, boottime(), "me");
        }
        let (_outputs, topics) = watch::channel(vec!["b/actuators/pump/set".to_owned()]);
        let mut connection = rig.connection(connected(Protocol::V5));
        connection.command_topics = topics;
        connection.on_online_published();
        assert_eq!(
            alarm(&connection).as_deref(),
            Some(
                "no commands are taken for 10 minutes: a message on b/actuators/+/set is larger than 262144 bytes and \
                 ends every connection; if it is retained, remove it with mosquitto_pub -r -n"
            )
        );
        assert_eq!((connection.look_after(), alarm(&connection).is_some()), (None, true));
        connection.subscriptions = Subscriptions::new(Some(boottime()));
        assert_eq!((connection.look_after(), alarm(&connection)), (None, None));
        assert_eq!(connection.subscriptions.under_way(), Some(&Request::Commands));
    }
}
