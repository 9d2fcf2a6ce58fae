//! The limits of one connection: what ends it, and what is reported although it goes on.

use std::time::Duration;

use super::alarms::About;
use super::connection::{Connection, FLUSH};
use super::failover::disproved;
use super::session::{Cause, MAX_PACKET};
use fieldgate_clock::boottime;

/// Something unacknowledged for this long means a broker that does not work, however often it answers pings.
const STALLED: Duration = Duration::from_secs(30);

/// How long commands are left alone after one of them ended connections.
pub(super) const SUSPENDED_FOR: Duration = Duration::from_secs(600);

/// A silence below this may be one lost packet, which TCP repeats after a second or two.
const SHORTEST_SILENCE: Duration = Duration::from_millis(2500);

/// As much as the broker allows us (MQTT 5, 3.1.2.10), less the time until we look, which is done at this `pace`.
fn longest_silence(keep_alive: Duration, pace: Duration) -> Duration {
    (keep_alive * 3 / 2).saturating_sub(2 * pace).max(SHORTEST_SILENCE)
}

impl Connection<'_> {
    /// Looks at the limits; returns why the connection must end.
    pub(super) fn look_after(&mut self) -> Option<Cause> {
        let now = boottime();
        self.forwarder.retry(now);
        self.report.log_dropped(now);
        self.report.apply(disproved(now.saturating_sub(self.since)));
        if self.lost.is_some_and(|at| now.saturating_sub(at) > FLUSH) {
            return Some(Cause::other("the client library gave a message up"));
        }
        let stalled = now.saturating_sub(self.progress);
        if !self.window.is_empty() && stalled >= STALLED {
            return Some(Cause::other(format!("the broker has acknowledged nothing for {} s", stalled.as_secs())));
        }
        self.look_at_care(now);
        self.look_at_subscription(now);
        self.look_at_twins(now);
        if self.commands_suspended_until.is_some_and(|until| until <= now) {
            self.commands_suspended_until = None;
            self.report.clear(&About::CommandsSuspended);
            self.listen();
        }
        if self.publish_probe.is_overdue(now) {
            let topic = self.parts.settings.topics.status();
            let words = format!(
                "what is published may not arrive: our own message on {topic} does not come back, and under MQTT 3.1.1 a \
                 broker does not say what it forbids; allow us to write below {} and to read {topic}",
                self.parts.settings.topics.base()
            );
            self.report.raise(About::PublishProbe, words);
        }
        if self.freshness_marker.is_overdue(now) {
            let topic = self.parts.settings.topics.status();
            let words = format!(
                "commands are refused: with clean_session: false our own message on {topic} must come back to distinguish new \
                 commands from queued ones, and it does not; allow us to read {topic}"
            );
            self.report.raise(About::FreshnessMarker, words);
        }
        self.look_at_silence(now)
    }

    fn look_at_silence(&mut self, now: Duration) -> Option<Cause> {
        let keep_alive = self.keep_alive();
        let heard = self.parts.heartbeat.last().unwrap_or(self.since).max(self.since);
        let silence = now.saturating_sub(heard);
        // The library would allow for two keep-alives; ours also counts while it is stuck in a write.
        if silence >= longest_silence(keep_alive, self.pace()) {
            return Some(Cause::other(format!("the broker has said nothing for {:.1} s", silence.as_secs_f64())));
        }
        // Asked early, so that the answer has a whole keep-alive. Health is published as often, so this is rare.
        let ask = keep_alive / 2;
        if silence >= ask && now.saturating_sub(self.pinged) >= ask {
            self.pinged = now;
            self.session.ping();
        }
        None
    }

    pub(super) fn describe_suspension(&self) -> String {
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
    use crate::session::CauseKind;
    use crate::testing::{Bench, alarm, cause, connected, settings};

    #[test]
    fn commands_of_which_one_is_too_large_are_suspended_for_a_while_and_the_alarm_says_what_to_do() {
        let mut bench = Bench::new(settings(Protocol::V5));
        for _ in 0..TOO_LARGE_TIMES {
            bench.broker.ended(&cause(CauseKind::TooLarge), None, Duration::ZERO, boottime(), "me");
        }
        let (_outputs, topics) = watch::channel(vec!["b/actuators/pump/set".to_owned()]);
        let mut connection = bench.connection(connected(Protocol::V5));
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
        connection.commands_suspended_until = Some(boottime());
        assert_eq!((connection.look_after(), alarm(&connection)), (None, None));
    }
}
