//! From the spool to the broker: reads ahead, finishes topic and payload at the moment of sending, sets aside what can never
//! arrive.

use std::collections::{BTreeSet, VecDeque};
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{debug, error, warn};

use super::alarms::About;
use super::connection::Connection;
use super::inflight::Slot;
use super::lanes::{LANE_CAPACITY, Lane, Lanes, Next};
use super::session::{Pending, Publication};
use super::trail::Request;
use super::{Parts, Protocol};
use crate::clock::{self, boottime};
use crate::model::payload::{self, StoredReply};
use crate::model::{Key, Loss, Message, MessageKind, Qos};
use crate::spool::{Closed, ReadError, Sequence, Spool, Stored};

/// Replies to requesters' own topics that wait for room; beyond, the oldest is given up, for the reply topic has it too.
const COURTESIES: usize = 32;

/// MQTT 3.1.1 has no Receive Maximum, and Mosquitto 2.0.11 confirms what is more than its `max_inflight_messages` (20, but
/// an administrator may say 1) at QoS 2 and then drops it. One at a time is slow and loses nothing.
const EXACT_UNDER_V4: usize = 1;

/// Sensors stamp side by side, so what was taken later may stand earlier in the spool by this much.
const SKEW: Duration = Duration::from_secs(2);

/// Short, for the loss record must fit where the reading did not.
const TOO_LARGE: &str = "too large for the broker";

/// The spool answers within a millisecond, unless its disk is slow or hangs. Longer than this nothing waits for it, for commands
/// are taken by the same loop; the answer is taken in when it comes.
const PATIENCE: Duration = Duration::from_millis(10);

/// A read that the spool was asked for.
struct Asked {
    from: Sequence,
    /// One past the newest when it was asked.
    head: Sequence,
    answer: Pending<Result<Vec<Stored>, ReadError>>,
    answered: Option<Result<Vec<Stored>, ReadError>>,
}

/// What one connection knows about the spool.
pub(super) struct Forwarder {
    /// Until it has been found out where the present begins.
    lanes: Option<Lanes>,
    beginning: Option<Pending<Result<Sequence, Closed>>>,
    /// One for each lane.
    asked: [Option<Asked>; 2],
    /// What the broker has taken since something was asked that has no answer yet: the answer may still have it. Without an
    /// answer no lane is filled, so there cannot be more than the lanes and the window hold.
    taken_since: BTreeSet<Sequence>,
    head: watch::Receiver<Sequence>,
    era: watch::Receiver<u64>,
    /// The spool has ended, or its sender of `head`.
    over: bool,
    courtesies: VecDeque<Publication>,
    up_since: Duration,
}

impl Forwarder {
    pub(super) fn new(parts: &Parts, now: Duration) -> Self {
        let (head, era) = (parts.spool.head(), parts.spool.era());
        let (lanes, beginning, asked) = (None, None, [None, None]);
        let (courtesies, taken_since) = (VecDeque::new(), BTreeSet::new());
        Self { lanes, beginning, asked, taken_since, head, era, over: false, courtesies, up_since: now }
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

    /// What lies in a lane from `from` on, and one past the newest when it was asked; nothing while there is no answer.
    async fn ask(
        &mut self,
        spool: &Spool,
        lane: Lane,
        from: Sequence,
    ) -> Result<Option<(Vec<Stored>, Sequence)>, Closed> {
        let head = self.head();
        let place = &mut self.asked[lane as usize];
        let (head, answer) = match place {
            Some(asked) if asked.from == from => (asked.head, asked.answered.take()),
            _ => {
                let spool = spool.clone();
                let mut answer = async move { spool.read(from, LANE_CAPACITY).await }.boxed();
                let answered = timeout(PATIENCE, &mut answer).await.ok();
                *place = Some(Asked { from, head, answer, answered: None });
                (head, answered)
            }
        };
        let Some(answer) = answer else { return Ok(None) };
        *place = None;
        match answer {
            Ok(batch) => Ok(Some((batch, head))),
            // It is asked for again when something happens next; nothing is skipped, or the order would break.
            Err(ReadError::Disk) => Ok(None),
            Err(ReadError::Closed(closed)) => Err(closed),
        }
    }

    /// Waits until the spool has grown, or has answered what took longer than [`PATIENCE`]. Cancel-safe.
    pub(super) async fn spoke(&mut self) {
        if self.over {
            std::future::pending::<()>().await;
        }
        let Self { head, asked, .. } = self;
        tokio::select! {
            changed = head.changed() => self.over = changed.is_err(),
            () = answered(asked) => {}
        }
    }

    /// The broker has taken these, and the spool is about to be told.
    pub(super) fn taken(&mut self, sequences: &[Sequence]) {
        if self.asked.iter().any(Option::is_some) {
            self.taken_since.extend(sequences);
        }
    }

    /// Sends nothing more.
    pub(super) fn give_up(&mut self) {
        self.over = true;
    }

    /// Lets refused keys try again whose time has come.
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
        self.over || self.courtesies.is_empty() && self.lanes.as_ref().is_some_and(|lanes| lanes.is_drained(head))
    }
}

impl Connection<'_> {
    /// Reads and sends as much as there is room for; `true` when there is more to do at once.
    pub(super) async fn forward(&mut self) -> bool {
        if self.forwarder.over {
            return false;
        }
        match self.try_forward().await {
            Ok(more) => more,
            Err(Closed { .. }) => {
                error!("The spool has ended; nothing more is sent.");
                self.forwarder.give_up();
                false
            }
        }
    }

    async fn try_forward(&mut self) -> Result<bool, Closed> {
        let known = self.forwarder.lanes.take();
        let mut lanes = match known.filter(|_| !self.forwarder.is_new_era()) {
            Some(lanes) => lanes,
            None => match self.lanes().await? {
                Some(lanes) => lanes,
                None => return Ok(false),
            },
        };
        self.tell_unacceptable().await?;
        let read = self.refill(&mut lanes).await?;
        let mut sent = false;
        while self.window.room() > 0 {
            let now = boottime();
            if let Some(courtesy) = self.forwarder.courtesies.pop_front() {
                if self.broker.is_held(&Request::Publish(courtesy.topic.clone()), now) {
                    continue;
                }
                self.send(Slot::Courtesy(courtesy.topic.clone()), courtesy);
                continue;
            }
            let mut next = lanes.next_live(now, self.window.has_reply_room());
            if next.is_none() && self.window.has_late_room(lanes.live_waits()) {
                next = lanes.next_late();
            }
            let Some(next) = next else { break };
            if next.message.qos == Qos::ExactlyOnce && self.window.exact() >= self.exact_limit() {
                lanes.put_back(next);
                break;
            }
            sent = true;
            self.dispatch(&mut lanes, next).await?;
        }
        let head = self.forwarder.head();
        let wants = lanes.wants(Lane::Live, head).or(lanes.wants(Lane::Late, head)).is_some();
        self.forwarder.lanes = Some(lanes);
        Ok((read || sent) && wants && self.window.room() > 0)
    }

    /// How many may be in flight at QoS 2.
    fn exact_limit(&self) -> usize {
        match self.connected.protocol {
            Protocol::V4 => EXACT_UNDER_V4,
            Protocol::V5 => usize::MAX,
        }
    }

    /// Both lanes from their beginnings; nothing while the spool has not said where the present begins.
    async fn lanes(&mut self) -> Result<Option<Lanes>, Closed> {
        let late_after = self.parts.settings.late_after;
        self.forwarder.asked = [None, None];
        let beginning = self.forwarder.beginning.get_or_insert_with(|| {
            let (spool, since) = (self.parts.spool.clone(), boottime().saturating_sub(late_after + SKEW));
            async move { spool.first_since(since).await }.boxed()
        });
        let Ok(boundary) = timeout(PATIENCE, beginning).await else { return Ok(None) };
        self.forwarder.beginning = None;
        Ok(Some(Lanes::new(self.parts.run, late_after, boundary?)))
    }

    /// Reads what the lanes want; `true` when one of them came further.
    async fn refill(&mut self, lanes: &mut Lanes) -> Result<bool, Closed> {
        let mut further = false;
        for lane in [Lane::Live, Lane::Late] {
            let Some(from) = lanes.wants(lane, self.forwarder.head()) else { continue };
            let Some((batch, head)) = self.forwarder.ask(&self.parts.spool, lane, from).await? else { continue };
            let whole = batch.len() < LANE_CAPACITY;
            // What is taken or on its way may still be in the spool; after a refusal a lane reads again where that lies.
            let known = |sequence| {
                self.window.holds(sequence)
                    || self.settled.contains(&sequence)
                    || self.forwarder.taken_since.contains(&sequence)
            };
            match lane {
                Lane::Live => lanes.offer_live(batch, whole, head, known, boottime()),
                Lane::Late => lanes.offer_late(batch, whole, known, boottime()),
            }
            if self.forwarder.asked.iter().all(Option::is_none) {
                self.forwarder.taken_since.clear();
            }
            further |= lanes.wants(lane, head) != Some(from);
        }
        Ok(further)
    }

    async fn dispatch(&mut self, lanes: &mut Lanes, next: Next) -> Result<(), Closed> {
        let Next { sequence, message, lane } = next;
        let key = &message.key;
        let before = message.run != self.parts.run || message.taken_at.boot < self.forwarder.up_since;
        if message.qos == Qos::AtMostOnce && before {
            // QoS 0 is not kept while the link is down.
            self.settled.push(sequence);
            lanes.dropped(lane, key);
            return Ok(());
        }
        let topic = self.parts.settings.topics.of(key, lane == Lane::Late);
        let now = boottime();
        if self.broker.is_held(&Request::Publish(topic), now) {
            lanes.refused(lane, sequence, key, now);
            return Ok(());
        }
        let Some(publication) = self.finish(&message, lane) else {
            error!(source = %key.source, "A stored message is damaged; it is set aside.");
            self.settled.push(sequence);
            lanes.dropped(lane, key);
            return Ok(());
        };
        if self.is_too_large(&publication) {
            lanes.dropped(lane, key);
            let size = publication.packet_size();
            warn!(topic = publication.topic, size, "A message is larger than the broker accepts.");
            return self.set_aside(sequence, &message, &publication.topic, TOO_LARGE).await;
        }
        self.send(Slot::Spooled { sequence, key: key.clone(), lane, qos: message.qos }, publication);
        Ok(())
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
            MessageKind::Reply => {
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
        if self.forwarder.courtesies.len() >= COURTESIES {
            self.forwarder.courtesies.pop_front();
        }
        self.forwarder.courtesies.push_back(publication);
    }

    /// Gives up what the broker will never take.
    async fn tell_unacceptable(&mut self) -> Result<(), Closed> {
        for (sequence, words) in std::mem::take(&mut self.unacceptable) {
            let batch = match self.parts.spool.read(sequence, 1).await {
                Ok(batch) => batch,
                // The next connection sends it once more and hears the same.
                Err(ReadError::Disk) => continue,
                Err(ReadError::Closed(closed)) => return Err(closed),
            };
            // Gone already when the spool dropped it meanwhile, and then that is told.
            if let Some(stored) = batch.into_iter().find(|stored| stored.sequence == sequence) {
                let topic = self.parts.settings.topics.of(&stored.message.key, false);
                warn!(topic, error = words, "The broker will never take a message.");
                self.set_aside(sequence, &stored.message, &topic, &words).await?;
            }
        }
        Ok(())
    }

    /// A reading is told as lost, anything else raises an alarm.
    async fn set_aside(
        &mut self,
        sequence: Sequence,
        message: &Message,
        topic: &str,
        reason: &str,
    ) -> Result<(), Closed> {
        if message.key.kind == MessageKind::Reading {
            let loss = Loss {
                sensor: message.key.source.clone(),
                run: message.run,
                from_seq: message.seq,
                to_seq: message.seq,
                count: 1,
                reason: reason.into(),
            };
            self.parts.spool.report_loss(loss).await?;
        } else {
            self.report.raise(About::Publish(topic.into()), format!("a message for {topic} was set aside: {reason}"));
        }
        // After the loss record, so that a crash between both tells too much rather than too little.
        self.settled.push(sequence);
        Ok(())
    }
}

/// Waits for one of the answers and keeps it where it was asked. Cancel-safe.
async fn answered(asked: &mut [Option<Asked>; 2]) {
    std::future::poll_fn(|context| {
        for asked in asked.iter_mut().flatten().filter(|asked| asked.answered.is_none()) {
            if let Poll::Ready(answer) = asked.answer.poll_unpin(context) {
                asked.answered = Some(answer);
                return Poll::Ready(());
            }
        }
        Poll::Pending
    })
    .await;
}
