//! Drives the forwarder: asks the spool for what it wants to read, sends its publications, and logs what is not sent.

use tracing::{debug, error, warn};

use super::Connection;
use crate::alarms::About;
use crate::forwarder::{Present, Skipped, Step, TOO_LARGE};
use crate::lanes::Lane;
use crate::open_requests::Request;
use fieldgate_clock::{self as clock, boottime};
use fieldgate_model::MessageKind;

/// Sensors stamp side by side, so what was taken later may stand earlier in the spool by this much.
const SKEW: std::time::Duration = std::time::Duration::from_secs(2);

impl Connection<'_> {
    /// Reads and sends as much as the window accepts; `true` when there is more to do at once.
    pub(super) fn forward(&mut self) -> bool {
        if self.spool.is_over() {
            return false;
        }
        let mut has_moved = self.read_spool();
        while self.window.free_places() > 0 {
            let Some(step) = self.next_step() else { break };
            has_moved = true;
            match step {
                Step::Publish(slot, publication) => {
                    self.resources.latest.overtake_repeat(&publication.topic);
                    self.send(slot, publication);
                }
                Step::Skip(skipped) => self.on_skipped(skipped),
            }
        }
        let head = self.spool.head();
        let wants = [Lane::Live, Lane::Late].into_iter().any(|lane| self.forwarder.wants(lane, head).is_some());
        has_moved && wants && self.window.free_places() > 0
    }

    fn next_step(&mut self) -> Option<Step> {
        let Self { forwarder, broker, window, resources, .. } = self;
        let now = clock::now();
        forwarder.next(&Present {
            now,
            window,
            is_suspended: &|topic| broker.is_held_back(&Request::Publish(topic.to_owned()), now.boot),
            may_retain: &|topic| resources.latest.may_retain(topic),
        })
    }

    /// Reads what the lanes want; `true` when one of them came further.
    fn read_spool(&mut self) -> bool {
        let now = boottime();
        if self.forwarder.has_begun() && self.spool.is_new_era() {
            self.forwarder.start_over();
        }
        if !self.forwarder.has_begun() {
            self.spool.forget_reads();
            let since = now.saturating_sub(self.resources.settings.late_after + SKEW);
            let Some(boundary) = self.spool.first_since(since) else { return false };
            self.forwarder.begin(boundary);
        }
        let mut further = false;
        for lane in [Lane::Live, Lane::Late] {
            let head = self.spool.head();
            let Some(from) = self.forwarder.ask(lane, head) else { continue };
            let Some(batch) = self.spool.read(lane, from) else { continue };
            further |= self.forwarder.take_batch(lane, batch, &self.window, boottime());
            further |= self.forwarder.wants(lane, self.spool.head()) != Some(from);
        }
        further
    }

    fn on_skipped(&mut self, skipped: Skipped) {
        match skipped {
            Skipped::ByRule => {}
            Skipped::Damaged(source) => error!(source = %source, "A stored message is damaged; dropped."),
            Skipped::TooLarge { kind, topic, size } => {
                warn!(topic, size, "A message is larger than the broker accepts; it is not sent.");
                self.report_given_up(kind, topic, TOO_LARGE);
            }
            Skipped::ReplyTooLarge(topic) => {
                debug!(topic, "The answer for the response topic is larger than the broker accepts.");
            }
        }
    }

    /// A message was given up that the broker will never take: the spool reports a reading as lost, anything else raises an alarm.
    pub(crate) fn report_given_up(&mut self, kind: MessageKind, topic: String, reason: &str) {
        if kind != MessageKind::Reading {
            let words = format!("a message for {topic} was set aside: {reason}");
            self.report.raise(About::Publish(topic), words);
        }
    }

    /// Informs the spool of what is settled, and of what was read and not sent, and asks for what comes next. While its queue is
    /// full, because its disk hangs, the first waits for the next turn.
    pub(super) fn report_settled(&mut self) {
        self.spool.pass_over(self.forwarder.take_passed_over());
        let next = self.forwarder.awaits(self.spool.head());
        let left_over = self.spool.report_settled(self.forwarder.take_settled(), next);
        self.forwarder.put_back(left_over);
    }

    /// Whether nothing of the spool is left to send.
    pub(super) fn is_drained(&self) -> bool {
        self.spool.is_over() || self.forwarder.is_drained(self.spool.head())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Protocol;
    use crate::testing::{LinkRig, alarm, connected, settings};

    /// The spool reports a reading as lost by itself.
    #[test]
    fn a_message_that_the_broker_will_never_take_raises_an_alarm_unless_it_is_a_reading() {
        let mut rig = LinkRig::new(settings(Protocol::V5));
        let mut connection = rig.connection(connected(Protocol::V5));
        let skipped = |kind, topic: &str| Skipped::TooLarge { kind, topic: topic.into(), size: 1000 };
        connection.on_skipped(skipped(MessageKind::Reading, "b/sensors/air"));
        assert_eq!(alarm(&connection), None);
        connection.on_skipped(skipped(MessageKind::Reply, "b/actuators/pump/reply"));
        let words = alarm(&connection).unwrap();
        assert!(words.starts_with("a message for b/actuators/pump/reply was set aside: "), "{words}");
    }
}
