//! From the spool to the broker: reads ahead, finishes topic and payload at the moment of sending, sets aside what can never
//! arrive.

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{debug, error, warn};

use super::alarms::About;
use super::connection::Connection;
use super::inflight::Slot;
use super::lanes::{Accepts, LANE_CAPACITY, Lane, Lanes, Next};
use super::question::Question;
use super::session::Publication;
use super::trail::Request;
use super::{Parts, Protocol};
use fieldgate_clock::{self as clock, boottime};
use fieldgate_model::payload::{self, StoredReply};
use fieldgate_model::{Key, Message, MessageKind, Qos};
use fieldgate_spool::{Batch, Closed, NotNow, ReadError, Sequence, Spool};

/// Replies to requesters' own topics that wait for a place in the window; beyond, the oldest is given up, for the reply topic
/// has it too.
const REQUESTER_REPLIES: usize = 32;

/// MQTT 3.1.1 has no Receive Maximum, and Mosquitto 2.0.11 confirms what is more than its `max_inflight_messages` (20, but
/// an administrator may say 1) at QoS 2 and then drops it. One at a time is slow and loses nothing.
const EXACT_UNDER_V4: usize = 1;

/// Sensors stamp side by side, so what was taken later may stand earlier in the spool by this much.
const SKEW: Duration = Duration::from_secs(2);

/// Short, for the loss record must fit where the reading did not.
const TOO_LARGE: &str = "too large for the broker";

/// A read that the spool was asked for.
struct Asked {
    from: Sequence,
    batch: Question<Result<Batch, ReadError>>,
}

/// What one connection has read from the spool, and what it has yet to report to it.
pub(super) struct Forwarder {
    /// `None` until the spool has said where the live lane begins.
    lanes: Option<Lanes>,
    beginning: Option<Question<Result<Sequence, Closed>>>,
    /// One for each lane.
    asked: [Option<Asked>; 2],
    /// What the broker has taken, or never will, since something was asked that has no answer yet: the answer may still have it.
    /// Without an answer no lane is filled, so there cannot be more than the lanes and the window hold.
    settled_since: BTreeSet<Sequence>,
    head: watch::Receiver<Sequence>,
    era: watch::Receiver<u64>,
    /// The spool has ended, or its sender of `head`.
    over: bool,
    requester_replies: VecDeque<Publication>,
    up_since: Duration,
}

impl Forwarder {
    pub(super) fn new(parts: &Parts, now: Duration) -> Self {
        let (head, era) = (parts.spool.head(), parts.spool.era());
        let (lanes, beginning, asked) = (None, None, [None, None]);
        let (requester_replies, settled_since) = (VecDeque::new(), BTreeSet::new());
        Self { lanes, beginning, asked, settled_since, head, era, over: false, requester_replies, up_since: now }
    }

    /// One past the newest message. A function of its own, so that the lock behind it is released before any await.
    fn head(&self) -> Sequence {
        *self.head.borrow()
    }

    /// Whether messages have appeared in front of what the lanes have read; says so once.
    fn is_new_era(&mut self) -> bool {
        let is_new = self.era.has_changed().unwrap_or(false);
        self.era.mark_unchanged();
        is_new
    }

    /// What lies in a lane from `from` on; nothing while there is no answer.
    fn ask(&mut self, spool: &Spool, lane: Lane, from: Sequence) -> Result<Option<Batch>, Closed> {
        let place = &mut self.asked[lane as usize];
        let asked = match place {
            Some(asked) if asked.from == from => asked,
            _ => {
                let spool = spool.clone();
                let batch = Question::new(async move { spool.read(from, LANE_CAPACITY).await });
                place.insert(Asked { from, batch })
            }
        };
        let Some(answer) = asked.batch.answer() else { return Ok(None) };
        *place = None;
        match answer {
            Ok(batch) => Ok(Some(batch)),
            // It is asked for again when something happens next; nothing is skipped, or the order would break.
            Err(ReadError::Disk) => Ok(None),
            Err(ReadError::Closed(closed)) => Err(closed),
        }
    }

    /// Waits until the spool has grown or has answered. Cancel-safe.
    pub(super) async fn spoke(&mut self) {
        if self.over {
            std::future::pending::<()>().await;
        }
        let Self { head, asked, beginning, .. } = self;
        let answered = std::future::poll_fn(|context| {
            let mut batches = asked.iter_mut().flatten().map(|asked| asked.batch.poll(context));
            let is_answered = batches.any(|answer| answer.is_ready())
                || beginning.as_mut().is_some_and(|beginning| beginning.poll(context).is_ready());
            if is_answered { Poll::Ready(()) } else { Poll::Pending }
        });
        tokio::select! {
            changed = head.changed() => self.over = changed.is_err(),
            () = answered => {}
        }
    }

    /// These are settled, and the spool is about to be informed.
    pub(super) fn settled(&mut self, sequences: impl IntoIterator<Item = Sequence>) {
        if self.asked.iter().any(Option::is_some) {
            self.settled_since.extend(sequences);
        }
    }

    /// Sends nothing more.
    pub(super) fn give_up(&mut self) {
        self.over = true;
    }

    /// Lets refused keys try again whose wait is over.
    pub(super) fn retry(&mut self, now: Duration) {
        if let Some(lanes) = &mut self.lanes {
            lanes.retry(now);
        }
    }

    /// The broker has answered.
    pub(super) fn resolved(&mut self, sequence: Sequence, key: &Key, lane: Lane, accepted: bool, now: Duration) {
        match &mut self.lanes {
            Some(lanes) if accepted => lanes.accepted(lane, key),
            Some(lanes) => lanes.refused(lane, sequence, key, now),
            None => {}
        }
    }

    /// Whether so many replies wait that readings may soon wait behind them.
    pub(super) fn is_flooded(&self) -> bool {
        self.lanes.as_ref().is_some_and(Lanes::is_flooded)
    }

    /// A message in flight is neither taken nor to be sent again.
    pub(super) fn dropped(&mut self, key: &Key, lane: Lane) {
        if let Some(lanes) = &mut self.lanes {
            lanes.dropped(lane, key);
        }
    }

    /// Whether nothing is left to send.
    pub(super) fn is_drained(&self) -> bool {
        let head = self.head();
        self.over
            || self.requester_replies.is_empty() && self.lanes.as_ref().is_some_and(|lanes| lanes.is_drained(head))
    }
}

impl Connection<'_> {
    /// Reads and sends as much as the window accepts; `true` when there is more to do at once.
    pub(super) fn forward(&mut self) -> bool {
        if self.forwarder.over {
            return false;
        }
        match self.try_forward() {
            Ok(more) => more,
            Err(Closed { .. }) => {
                error!("The spool's thread has ended; no stored message is sent any more.");
                self.forwarder.give_up();
                false
            }
        }
    }

    fn try_forward(&mut self) -> Result<bool, Closed> {
        let known = self.forwarder.lanes.take();
        let mut lanes = match known.filter(|_| !self.forwarder.is_new_era()) {
            Some(lanes) => lanes,
            None => match self.lanes()? {
                Some(lanes) => lanes,
                None => return Ok(false),
            },
        };
        let read = self.refill(&mut lanes)?;
        let mut sent = false;
        while self.window.free_places() > 0 {
            let now = boottime();
            if let Some(reply) = self.forwarder.requester_replies.pop_front() {
                if self.broker.is_held(&Request::Publish(reply.topic.clone()), now) {
                    continue;
                }
                self.send(Slot::RequesterReply(reply.topic.clone()), reply);
                continue;
            }
            let exact = self.window.exact() < self.exact_limit();
            let mut next = lanes.next_live(now, Accepts { replies: self.window.accepts_reply(), exact });
            if next.is_none() && self.window.accepts_late(lanes.live_waits()) {
                next = lanes.next_late(exact);
            }
            let Some(next) = next else { break };
            sent = true;
            self.dispatch(&mut lanes, next);
        }
        let head = self.forwarder.head();
        let wants = lanes.wants(Lane::Live, head).or(lanes.wants(Lane::Late, head)).is_some();
        self.forwarder.lanes = Some(lanes);
        Ok((read || sent) && wants && self.window.free_places() > 0)
    }

    /// How many may be in flight at QoS 2.
    fn exact_limit(&self) -> usize {
        match self.connected.protocol {
            Protocol::V4 => EXACT_UNDER_V4,
            Protocol::V5 => usize::MAX,
        }
    }

    /// Both lanes from their beginnings; nothing while the spool has not said where the present begins.
    fn lanes(&mut self) -> Result<Option<Lanes>, Closed> {
        let late_after = self.parts.settings.late_after;
        self.forwarder.asked = [None, None];
        let beginning = self.forwarder.beginning.get_or_insert_with(|| {
            let (spool, since) = (self.parts.spool.clone(), boottime().saturating_sub(late_after + SKEW));
            Question::new(async move { spool.first_since(since).await })
        });
        let Some(boundary) = beginning.answer() else { return Ok(None) };
        self.forwarder.beginning = None;
        Ok(Some(Lanes::new(self.parts.run, late_after, boundary?)))
    }

    /// Reads what the lanes want; `true` when one of them came further.
    fn refill(&mut self, lanes: &mut Lanes) -> Result<bool, Closed> {
        let mut further = false;
        for lane in [Lane::Live, Lane::Late] {
            let Some(from) = lanes.wants(lane, self.forwarder.head()) else { continue };
            let Some(batch) = self.forwarder.ask(&self.parts.spool, lane, from)? else { continue };
            // What is settled or on its way may still be in the spool; after a refusal a lane reads again where that lies.
            let known = |sequence| {
                self.window.holds(sequence)
                    || self.settled.contains(&sequence)
                    || self.given_up.iter().any(|(given_up, _)| *given_up == sequence)
                    || self.forwarder.settled_since.contains(&sequence)
            };
            match lane {
                Lane::Live => lanes.offer_live(batch, known, boottime()),
                Lane::Late => lanes.offer_late(batch, known, boottime()),
            }
            if self.forwarder.asked.iter().all(Option::is_none) {
                self.forwarder.settled_since.clear();
            }
            further |= lanes.wants(lane, self.forwarder.head()) != Some(from);
        }
        Ok(further)
    }

    fn dispatch(&mut self, lanes: &mut Lanes, next: Next) {
        let Next { sequence, message, lane } = next;
        let before = message.run != self.parts.run || message.taken_at.boot < self.forwarder.up_since;
        if message.qos == Qos::AtMostOnce && before {
            // QoS 0 is not kept while the link is down.
            self.settled.push(sequence);
            return lanes.dropped(lane, &message.key);
        }
        let topic = self.parts.settings.topics.of(&message.key, lane == Lane::Late);
        let now = boottime();
        if self.broker.is_held(&Request::Publish(topic), now) {
            return lanes.refused(lane, sequence, &message.key, now);
        }
        let Some(publication) = self.finish(&message, lane) else {
            error!(source = %message.key.source, "A stored message is damaged; dropped.");
            self.settled.push(sequence);
            return lanes.dropped(lane, &message.key);
        };
        if self.is_too_large(&publication) {
            lanes.dropped(lane, &message.key);
            let size = publication.packet_size();
            warn!(topic = publication.topic, size, "A message is larger than the broker accepts; it is not sent.");
            return self.set_aside(sequence, message.key.kind, publication.topic, TOO_LARGE.into());
        }
        self.send(Slot::Spooled { sequence, message, lane }, publication);
    }

    /// Topic and payload as of now; nothing when the stored bytes were damaged.
    fn finish(&mut self, message: &Message, lane: Lane) -> Option<Publication> {
        let late = lane == Lane::Late;
        let topic = self.parts.settings.topics.of(&message.key, late);
        let payload = match message.key.kind {
            MessageKind::Reading => {
                // The boot clock of another run may be that of another boot.
                let of_this_boot = message.run == self.parts.run;
                let corrected = of_this_boot.then(|| message.taken_at.corrected(&clock::now())).flatten();
                payload::reading(message, late, corrected)
            }
            MessageKind::Loss => message.body.clone(),
            MessageKind::Reply | MessageKind::TotalReply => {
                let stored = StoredReply::decode(&message.body)?;
                self.answer_too(&stored);
                stored.payload.into_bytes()
            }
        };
        let retain = message.retain && !late && self.parts.latest.may_retain(&topic);
        Some(Publication::plain(topic, payload, message.qos, retain))
    }

    /// Under MQTT 5, the reply also goes where the requester wants it.
    fn answer_too(&mut self, stored: &StoredReply) {
        let Some(target) = stored.response.as_ref().filter(|_| self.connected.protocol == Protocol::V5) else {
            return;
        };
        let payload = stored.payload.clone().into_bytes();
        let plain = Publication::plain(target.topic.clone(), payload, Qos::AtLeastOnce, false);
        let publication = Publication { correlation: target.correlation.clone(), ..plain };
        if self.is_too_large(&publication) {
            debug!(topic = target.topic, "The requester's own answer is larger than the broker accepts.");
            return;
        }
        if self.forwarder.requester_replies.len() >= REQUESTER_REPLIES {
            self.forwarder.requester_replies.pop_front();
        }
        self.forwarder.requester_replies.push_back(publication);
    }

    /// Gives a message up that the broker will never take: the spool reports a reading as lost, anything else raises an alarm.
    pub(super) fn set_aside(&mut self, sequence: Sequence, kind: MessageKind, topic: String, reason: String) {
        if kind != MessageKind::Reading {
            let words = format!("a message for {topic} was set aside: {reason}");
            self.report.raise(About::Publish(topic), words);
        }
        self.given_up.push((sequence, reason));
    }

    /// Informs the spool of what is settled. While its queue is full, because its disk hangs, that waits for the next turn.
    pub(super) fn settle(&mut self) {
        let (settled, given_up) = (std::mem::take(&mut self.settled), std::mem::take(&mut self.given_up));
        self.forwarder.settled(settled.iter().copied().chain(given_up.iter().map(|(sequence, _)| *sequence)));
        if !settled.is_empty() {
            let outcome = self.parts.spool.try_acknowledge(settled);
            self.settled = self.left_over(outcome);
        }
        if !given_up.is_empty() {
            let outcome = self.parts.spool.try_give_up(given_up);
            self.given_up = self.left_over(outcome);
        }
    }

    /// What did not fit into the spool's queue.
    fn left_over<T>(&mut self, outcome: Result<(), NotNow<Vec<T>>>) -> Vec<T> {
        match outcome {
            Ok(()) => Vec::new(),
            Err(NotNow::Full(left_over)) => left_over,
            Err(NotNow::Closed) => {
                error!("The spool's thread has ended; no stored message is sent any more.");
                self.forwarder.give_up();
                Vec::new()
            }
        }
    }
}
