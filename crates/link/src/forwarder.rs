//! From the spool to the broker: which message goes next, with which topic and payload, and what the spool may forget. Pure.
//!
//! What the spool answered and what the broker acknowledged goes in; publications come out, one [`Step`] at a time, and with
//! them what is to be read ([`Forwarder::ask`]) and what is settled ([`Forwarder::take_settled`]). Time is an argument.
//! `connection/forwarding.rs` drives it: it asks the spool, sends the publications, and writes the log and the alarms.
//!
//! Promised: a message is settled when the broker has acknowledged it, or when it can never be sent, and not before. What is on
//! its way, or settled while an answer of the spool was under way, is not sent a second time on the same connection.

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::Protocol;
use super::inflight::{InFlight, Window};
use super::lanes::{Accepts, Lane, Lanes, Next};
use super::session::{Publication, PublishOutcome};
use fieldgate_model::payload::{self, StoredEvent, StoredReply};
use fieldgate_model::topic::Topics;
use fieldgate_model::{Key, Message, MessageKind, Moment, Name, Qos, RunId};
use fieldgate_spool::{Batch, Sequence};

/// Replies to requesters' own topics that wait for a place in the window; beyond, the oldest is given up, for the reply topic
/// has it too.
const REQUESTER_REPLIES: usize = 32;

/// MQTT 3.1.1 has no Receive Maximum, and Mosquitto 2.0.11 confirms what is more than its `max_inflight_messages` (20, but
/// an administrator may say 1) at QoS 2 and then drops it. One at a time is slow and loses nothing.
const EXACT_UNDER_V4: usize = 1;

/// Short, for the loss record must fit where the reading did not.
pub(super) const TOO_LARGE: &str = "too large for the broker";

/// What does not change while the connection lasts.
#[derive(Debug)]
pub(super) struct ConnectionFacts {
    /// Messages of another run are late.
    pub run: RunId,
    /// From this age on a message is late.
    pub late_after: Duration,
    /// Makes the topics of messages from their keys.
    pub topics: Topics,
    /// What the broker speaks.
    pub protocol: Protocol,
    /// The largest packet that the broker and we accept, in bytes.
    pub largest_packet: usize,
    /// When the connection began.
    pub up_since: Duration,
}

/// What the connection knows when it asks for the next step.
pub(super) struct Present<'a> {
    /// The time of this step.
    pub now: Moment,
    /// What is on its way to the broker.
    pub window: &'a Window,
    /// Whether nothing is published on this topic for now, because the broker hangs up on it.
    pub is_suspended: &'a dyn Fn(&str) -> bool,
    /// Whether this topic may be retained.
    pub may_retain: &'a dyn Fn(&str) -> bool,
}

/// What is to be done next.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// Hand this to the broker.
    Publish(InFlight, Publication),
    /// One message is not sent now; go on with the next.
    Skip(Skipped),
}

/// Why a message is not sent.
#[derive(Debug, PartialEq)]
pub(super) enum Skipped {
    /// As it should be: at QoS 0 and from before the connection, or on a topic that is suspended.
    ByRule,
    /// Its stored bytes are damaged; the spool may forget it.
    Damaged(Name),
    /// The broker does not accept packets of this size; it is given up.
    TooLarge { kind: MessageKind, topic: String, size: usize },
    /// The copy of a reply for the requester's own topic is larger than the broker accepts.
    ReplyTooLarge(String),
}

/// What the spool is to be informed of.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Settled {
    /// The broker has these, or they can never be sent and need no report.
    pub acknowledged: Vec<Sequence>,
    /// The broker will never accept these, and why.
    pub given_up: Vec<(Sequence, String)>,
}

impl Settled {
    fn contains(&self, sequence: Sequence) -> bool {
        self.acknowledged.contains(&sequence) || self.given_up.iter().any(|(given_up, _)| *given_up == sequence)
    }
}

/// What one connection has read from the spool, and what it has yet to report to it.
#[derive(Debug)]
pub(super) struct Forwarder {
    facts: ConnectionFacts,
    /// `None` until the spool has said where the live lane begins.
    lanes: Option<Lanes>,
    /// The lanes for which the spool was asked.
    asked: [bool; 2],
    settled: Settled,
    /// What was reported to the spool as settled while a question was under way: the answer may still have it. Without an answer
    /// no lane is filled, so there cannot be more than the lanes and the window contain.
    settled_since: BTreeSet<Sequence>,
    /// What was reported to the spool as passed over while a lane was asked for: the spool does not know that an answer with it
    /// is used, so it is read again.
    passed_over_since: [BTreeSet<Sequence>; 2],
    requester_replies: VecDeque<Publication>,
}

impl Forwarder {
    pub(super) fn new(facts: ConnectionFacts) -> Self {
        Self {
            facts,
            lanes: None,
            asked: [false; 2],
            settled: Settled::default(),
            settled_since: BTreeSet::new(),
            passed_over_since: [BTreeSet::new(), BTreeSet::new()],
            requester_replies: VecDeque::new(),
        }
    }

    /// Whether it is known where the live lane begins.
    pub(super) fn has_begun(&self) -> bool {
        self.lanes.is_some()
    }

    /// Both lanes from their beginnings: the late one at the oldest message, the live one at `boundary`.
    pub(super) fn begin(&mut self, boundary: Sequence) {
        self.lanes = Some(Lanes::new(self.facts.run, self.facts.late_after, boundary));
    }

    /// Messages have appeared in front of what was read: everything is read again after [`Forwarder::begin`].
    pub(super) fn start_over(&mut self) {
        (self.lanes, self.asked) = (None, [false; 2]);
        self.passed_over_since.iter_mut().for_each(BTreeSet::clear);
    }

    /// From where `lane` wants to read now; the spool is asked for it until [`Forwarder::offer`].
    pub(super) fn ask(&mut self, lane: Lane, head: Sequence) -> Option<Sequence> {
        let from = self.wants(lane, head)?;
        self.asked[lane as usize] = true;
        Some(from)
    }

    /// From where `lane` wants to read, while the spool has messages below `head`.
    pub(super) fn wants(&self, lane: Lane, head: Sequence) -> Option<Sequence> {
        self.lanes.as_ref()?.wants(lane, head)
    }

    /// Where the live lane goes on, if it has read all that the spool has below `head`. The answer has nothing of what was settled
    /// before `head` grew, so until [`Forwarder::ask`] nothing is remembered for it.
    pub(super) fn awaits(&self, head: Sequence) -> Option<Sequence> {
        self.lanes.as_ref()?.awaits(head)
    }

    /// The spool has answered. What is settled or on its way may still be in the answer; after a refusal a lane reads again
    /// where that lies. Returns whether it is to be asked again at once.
    pub(super) fn take_batch(&mut self, lane: Lane, mut batch: Batch, window: &Window, now: Duration) -> bool {
        let Self { lanes: Some(lanes), asked, settled, settled_since, passed_over_since, .. } = self else {
            return false;
        };
        let passed_over = std::mem::take(&mut passed_over_since[lane as usize]);
        let cut = batch.messages.iter().position(|stored| passed_over.contains(&stored.sequence));
        if let Some(cut) = cut {
            batch.next = batch.messages[cut].sequence;
            batch.messages.truncate(cut);
        }
        let known =
            |sequence| window.holds(sequence) || settled.contains(sequence) || settled_since.contains(&sequence);
        lanes.take_batch(lane, &batch, known, now);
        asked[lane as usize] = false;
        if !asked.contains(&true) {
            settled_since.clear();
        }
        cut.is_some()
    }

    /// What is to be done next; nothing when the window accepts nothing of what waits.
    pub(super) fn next(&mut self, present: &Present<'_>) -> Option<Step> {
        let lanes = self.lanes.as_mut()?;
        if let Some(reply) = self.requester_replies.pop_front() {
            return Some(self.requester_reply(reply, present));
        }
        let window = present.window;
        let exact = window.exact() < self.facts.exact_limit();
        let mut next = lanes.next_live(present.now.boot, Accepts { replies: window.accepts_reply(), exact });
        if next.is_none() && window.accepts_late(lanes.live_waits()) {
            next = lanes.next_late(exact);
        }
        next.map(|next| self.message(next, present))
    }

    fn requester_reply(&self, reply: Publication, present: &Present<'_>) -> Step {
        if reply.packet_size() > self.facts.largest_packet {
            return Step::Skip(Skipped::ReplyTooLarge(reply.topic));
        }
        if (present.is_suspended)(&reply.topic) {
            return Step::Skip(Skipped::ByRule);
        }
        Step::Publish(InFlight::RequesterReply(reply.topic.clone()), reply)
    }

    fn message(&mut self, next: Next, present: &Present<'_>) -> Step {
        let Next { sequence, message, lane } = next;
        let key = &message.key;
        let is_from_before = message.run != self.facts.run || message.taken_at.boot < self.facts.up_since;
        if message.qos == Qos::AtMostOnce && is_from_before {
            // QoS 0 is not kept while the link is down.
            self.drop_for_good(sequence, key, lane);
            return Step::Skip(Skipped::ByRule);
        }
        let topic = self.facts.topics.of(key, lane == Lane::Late);
        if (present.is_suspended)(&topic) {
            self.refused(sequence, key, lane, present.now.boot);
            return Step::Skip(Skipped::ByRule);
        }
        let Some(publication) = self.finish(topic, &message, lane, present) else {
            self.drop_for_good(sequence, key, lane);
            return Step::Skip(Skipped::Damaged(key.source.clone()));
        };
        let size = publication.packet_size();
        if size > self.facts.largest_packet {
            self.give_up(sequence, key, lane, TOO_LARGE.into());
            return Step::Skip(Skipped::TooLarge { kind: key.kind, topic: publication.topic, size });
        }
        Step::Publish(InFlight::Spooled { sequence, message, lane }, publication)
    }

    /// Topic and payload as of now; nothing when the stored bytes were damaged.
    fn finish(&mut self, topic: String, message: &Message, lane: Lane, present: &Present<'_>) -> Option<Publication> {
        let late = lane == Lane::Late;
        let payload = match message.key.kind {
            MessageKind::Reading => {
                // The boot clock of another run may be that of another boot.
                let of_this_boot = message.run == self.facts.run;
                let corrected = of_this_boot.then(|| message.taken_at.corrected(&present.now)).flatten();
                payload::reading(message, late, corrected)
            }
            MessageKind::Loss => message.body.clone(),
            MessageKind::Event => {
                let stored = StoredEvent::decode(&message.body)?;
                let topic = self.facts.topics.of_event(&stored.topic);
                return Some(Publication::plain(topic, stored.payload.into_bytes(), message.qos, false));
            }
            MessageKind::Reply
            | MessageKind::TotalReply
            | MessageKind::VariableReply
            | MessageKind::RuleReply
            | MessageKind::Response => {
                let stored = StoredReply::decode(&message.body)?;
                self.answer_too(&stored);
                stored.payload.into_bytes()
            }
        };
        let retain = message.retain && !late && (present.may_retain)(&topic);
        Some(Publication::plain(topic, payload, message.qos, retain))
    }

    /// Under MQTT 5, the reply also goes where the requester wants it.
    fn answer_too(&mut self, stored: &StoredReply) {
        let Some(target) = stored.response.as_ref().filter(|_| self.facts.protocol == Protocol::V5) else {
            return;
        };
        let payload = stored.payload.clone().into_bytes();
        let plain = Publication::plain(target.topic.clone(), payload, Qos::AtLeastOnce, false);
        if self.requester_replies.len() >= REQUESTER_REPLIES {
            self.requester_replies.pop_front();
        }
        self.requester_replies.push_back(Publication { correlation: target.correlation.clone(), ..plain });
    }

    /// The broker has answered a message. One whose publication was lost with the connection is sent again by the next.
    pub(super) fn answered(
        &mut self,
        sequence: Sequence,
        key: &Key,
        lane: Lane,
        outcome: &PublishOutcome,
        now: Duration,
    ) {
        match outcome {
            PublishOutcome::Acknowledged => {
                if let Some(lanes) = &mut self.lanes {
                    lanes.accepted(lane, key);
                }
                self.settled.acknowledged.push(sequence);
            }
            PublishOutcome::Refused(_) => self.refused(sequence, key, lane, now),
            PublishOutcome::Unacceptable(reason) => self.give_up(sequence, key, lane, reason.clone()),
            PublishOutcome::Lost => {}
        }
    }

    fn refused(&mut self, sequence: Sequence, key: &Key, lane: Lane, now: Duration) {
        if let Some(lanes) = &mut self.lanes {
            lanes.refused(lane, sequence, key, now);
        }
    }

    /// The spool may forget it without a report.
    fn drop_for_good(&mut self, sequence: Sequence, key: &Key, lane: Lane) {
        self.left(key, lane);
        self.settled.acknowledged.push(sequence);
    }

    /// The broker will never accept it: the spool reports a reading as lost.
    fn give_up(&mut self, sequence: Sequence, key: &Key, lane: Lane, reason: String) {
        self.left(key, lane);
        self.settled.given_up.push((sequence, reason));
    }

    fn left(&mut self, key: &Key, lane: Lane) {
        if let Some(lanes) = &mut self.lanes {
            lanes.dropped(lane, key);
        }
    }

    /// Lets refused keys try again whose wait is over.
    pub(super) fn retry(&mut self, now: Duration) {
        if let Some(lanes) = &mut self.lanes {
            lanes.retry(now);
        }
    }

    /// What is settled and not reported to the spool yet.
    pub(super) fn settled(&self) -> &Settled {
        &self.settled
    }

    /// Takes what is settled, to report it to the spool now.
    pub(super) fn take_settled(&mut self) -> Settled {
        let settled = std::mem::take(&mut self.settled);
        if self.asked.contains(&true) {
            self.settled_since.extend(&settled.acknowledged);
            self.settled_since.extend(settled.given_up.iter().map(|(sequence, _)| *sequence));
        }
        settled
    }

    /// What was read and not sent since this was last called, which is reported to the spool now.
    pub(super) fn take_passed_over(&mut self) -> Vec<Sequence> {
        let passed_over = self.lanes.as_mut().map(Lanes::take_passed_over).unwrap_or_default();
        for (since, _) in self.passed_over_since.iter_mut().zip(self.asked).filter(|(_, asked)| *asked) {
            since.extend(&passed_over);
        }
        passed_over
    }

    /// How many there are.
    pub(super) fn passed_over(&self) -> usize {
        self.lanes.as_ref().map_or(0, Lanes::passed_over)
    }

    /// What the spool could not take in now. Nothing was settled since it was taken.
    pub(super) fn put_back(&mut self, left_over: Settled) {
        self.settled = left_over;
    }

    /// Whether so many replies wait that readings may soon wait behind them.
    pub(super) fn is_flooded(&self) -> bool {
        self.lanes.as_ref().is_some_and(Lanes::is_flooded)
    }

    /// Whether nothing is left to send of what the spool has below `head`.
    pub(super) fn is_drained(&self, head: Sequence) -> bool {
        self.requester_replies.is_empty() && self.lanes.as_ref().is_some_and(|lanes| lanes.is_drained(head))
    }
}

impl ConnectionFacts {
    /// How many may be in flight at QoS 2.
    fn exact_limit(&self) -> usize {
        match self.protocol {
            Protocol::V4 => EXACT_UNDER_V4,
            Protocol::V5 => usize::MAX,
        }
    }
}
