//! Which message goes next. Pure: time is an argument, the spool is read by others.
//!
//! Two lanes, so that the present is published at once however long the outage was: the **live** lane reads the spool from a
//! boundary on, the **late** lane reads what lies before it, oldest first. A message that grows too old in the live lane
//! moves the boundary and is read again by the late lane.
//!
//! Promised: a lane reads on where the spool's answer says, whatever number of messages came; within a lane the messages of one
//! key are sent in order of sequence; the late lane never sends what the live lane still has; a refused key holds up no other.
//! A reply overtakes the readings that wait in the live lane, for somebody waits for it; between two that overtake, one message
//! goes in its order, so that commands hold up no reading. A reply may also overtake one from before the connection that the late
//! lane has not read yet; a loss record waits for the late lane, so that its account comes after what it is about.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::refused_key::{KeyState, RefusedKey};
use fieldgate_model::{Key, Message, MessageKind, Qos, RunId};
use fieldgate_spool::{Batch, Sequence, Stored};

/// Messages that wait in a lane at most; more would only cost memory, since the spool has them.
pub const LANE_CAPACITY: usize = 128;

/// Replies that may wait besides, so that a flood of commands does not hide the readings behind it. The link takes no command
/// while [`REPLIES_MANY`] wait; the rest is for those that were taken already.
const REPLY_CAPACITY: usize = 256;

/// Replies that wait in the live lane of a gateway that gets more commands than the broker takes answers.
pub const REPLIES_MANY: usize = 64;

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Of this run, and younger than `late_after`.
    Live,
    /// Of another run, or older than `late_after`.
    Late,
}

#[derive(Debug)]
struct Queue {
    cursor: Sequence,
    waiting: BTreeMap<Sequence, Arc<Message>>,
    /// How many of those are replies.
    replies: usize,
    refused: BTreeMap<Key, RefusedKey>,
}

impl Queue {
    fn new(cursor: Sequence) -> Self {
        Self { cursor, waiting: BTreeMap::new(), replies: 0, refused: BTreeMap::new() }
    }

    fn insert(&mut self, sequence: Sequence, message: Arc<Message>) {
        let reply = message.key.kind.is_reply();
        if self.waiting.insert(sequence, message).is_none() {
            self.replies += usize::from(reply);
        }
    }

    fn remove(&mut self, sequence: Sequence) -> Option<Arc<Message>> {
        let message = self.waiting.remove(&sequence)?;
        self.replies -= usize::from(message.key.kind.is_reply());
        Some(message)
    }

    fn has_room(&self) -> bool {
        self.waiting.len() - self.replies.min(REPLY_CAPACITY) < LANE_CAPACITY
    }

    /// The first message that `may_go`. Where none at QoS 2 may, its key waits with it, and the others go on.
    fn first(&self, exact: bool, may_go: impl Fn(&Message) -> bool) -> Option<Sequence> {
        let mut waits: BTreeSet<&Key> = BTreeSet::new();
        for (sequence, message) in self.waiting.iter().filter(|(_, message)| may_go(message)) {
            if message.qos == Qos::ExactlyOnce && !exact {
                waits.insert(&message.key);
            } else if !waits.contains(&message.key) {
                return Some(*sequence);
            }
        }
        None
    }

    fn state(&self, key: &Key) -> Option<KeyState> {
        self.refused.get(key).map(|refused| refused.state)
    }
}

/// Both lanes of one connection.
#[derive(Debug)]
pub struct Lanes {
    run: RunId,
    late_after: Duration,
    boundary: Sequence,
    live: Queue,
    late: Queue,
    /// Read and not to be sent before they are read again.
    passed_over: BTreeSet<Sequence>,
    /// The live lane sent a reply last.
    replied: bool,
}

/// What the window of the connection accepts now.
#[derive(Clone, Copy, Debug)]
pub struct Accepts {
    /// Whether there is a place for a reply.
    pub replies: bool,
    /// Whether there is a place for a message at QoS 2.
    pub exact: bool,
}

/// A message that is to be sent now.
#[derive(Clone, Debug)]
pub struct Next {
    /// Its place in the spool.
    pub sequence: Sequence,
    /// The message, shared with the spool's memory.
    pub message: Arc<Message>,
    /// Where it came from.
    pub lane: Lane,
}

/// Whether a message goes to the live lane at boot time `now`.
pub fn is_fresh(message: &Message, run: RunId, late_after: Duration, now: Duration) -> bool {
    message.run == run && now.saturating_sub(message.taken_at.boot) < late_after
}

impl Lanes {
    /// The late lane begins at the oldest message, the live lane at `boundary`.
    pub fn new(run: RunId, late_after: Duration, boundary: Sequence) -> Self {
        let (live, late) = (Queue::new(boundary), Queue::new(Sequence(0)));
        Self { run, late_after, boundary, live, late, passed_over: BTreeSet::new(), replied: false }
    }

    /// From where a lane wants to read, when its queue is not full and something may be there.
    pub fn wants(&self, lane: Lane, head: Sequence) -> Option<Sequence> {
        let (queue, end) = match lane {
            Lane::Live => (&self.live, head),
            Lane::Late => (&self.late, self.boundary),
        };
        (queue.cursor < end && queue.has_room()).then_some(queue.cursor)
    }

    /// Where the live lane goes on, if it has read everything below `head` and is not full.
    pub fn awaits(&self, head: Sequence) -> Option<Sequence> {
        (self.live.cursor == head && self.live.has_room()).then_some(head)
    }

    /// Whether all that was in the spool up to `head` is read and gone.
    pub fn is_drained(&self, head: Sequence) -> bool {
        let read = |lane| self.wants(lane, head).is_none();
        read(Lane::Live) && read(Lane::Late) && self.live.waiting.is_empty() && self.late.waiting.is_empty()
    }

    /// Whether the live lane has something to send.
    pub fn live_waits(&self) -> bool {
        !self.live.waiting.is_empty()
    }

    /// Takes in what was read from where `lane` wanted to; `known` says which are in flight or settled.
    pub fn take_batch(&mut self, lane: Lane, batch: &Batch, known: impl Fn(Sequence) -> bool, now: Duration) {
        for Stored { sequence, .. } in &batch.messages {
            self.passed_over.remove(sequence);
        }
        match lane {
            Lane::Live => self.take_live_batch(batch, &known, now),
            Lane::Late => self.take_late_batch(batch, &known, now),
        }
        for Stored { sequence, .. } in &batch.messages {
            let waits = self.live.waiting.contains_key(sequence) || self.late.waiting.contains_key(sequence);
            if !waits && !known(*sequence) {
                self.passed_over.insert(*sequence);
            }
        }
    }

    /// What was read and passed over since this was last called.
    pub fn take_passed_over(&mut self) -> Vec<Sequence> {
        std::mem::take(&mut self.passed_over).into_iter().collect()
    }

    /// How many there are.
    pub fn passed_over(&self) -> usize {
        self.passed_over.len()
    }

    fn take_live_batch(&mut self, batch: &Batch, known: impl Fn(Sequence) -> bool, now: Duration) {
        self.live.cursor = batch.next;
        for &Stored { sequence, ref message } in &batch.messages {
            if known(sequence) {
                continue;
            }
            if !is_fresh(message, self.run, self.late_after, now) {
                self.move_to_late_lane(sequence, &message.key);
            } else if self.live.state(&message.key).is_some_and(|state| state != KeyState::Open) {
                self.live
                    .refused
                    .entry(message.key.clone())
                    .and_modify(|refused| refused.from = refused.from.min(sequence));
            } else {
                self.live.insert(sequence, Arc::clone(message));
            }
        }
    }

    fn take_late_batch(&mut self, batch: &Batch, known: impl Fn(Sequence) -> bool, now: Duration) {
        self.late.cursor = batch.next.min(self.boundary);
        for &Stored { sequence, ref message } in &batch.messages {
            if sequence >= self.boundary {
                return;
            }
            // Kept back by the live lane and still fresh: it stays there until it is late.
            if is_fresh(message, self.run, self.late_after, now) && self.live.refused.contains_key(&message.key) {
                self.late.cursor = sequence;
                return;
            }
            if known(sequence) || self.live.waiting.contains_key(&sequence) {
                continue;
            }
            if self.late.state(&message.key).is_some_and(|state| state != KeyState::Open) {
                self.late
                    .refused
                    .entry(message.key.clone())
                    .and_modify(|refused| refused.from = refused.from.min(sequence));
            } else {
                self.late.insert(sequence, Arc::clone(message));
            }
        }
    }

    /// Whether more replies wait in the live lane than the broker takes.
    pub fn is_flooded(&self) -> bool {
        self.live.replies >= REPLIES_MANY
    }

    /// The next message of the live lane. What has become too old there moves to the late lane first.
    pub fn next_live(&mut self, now: Duration, accepts: Accepts) -> Option<Next> {
        while let Some((sequence, message)) = self.live.waiting.first_key_value()
            && !is_fresh(message, self.run, self.late_after, now)
        {
            let (sequence, key) = (*sequence, message.key.clone());
            self.live.remove(sequence);
            self.passed_over.insert(sequence);
            self.move_to_late_lane(sequence, &key);
        }
        let may_go =
            |message: &Message| (accepts.replies || !message.key.kind.is_reply()) && self.may_go_live(message, now);
        let reply = || self.live.first(accepts.exact, |message| message.key.kind.is_reply() && may_go(message));
        let overtakes = accepts.replies && self.live.replies > 0 && !self.replied;
        let sequence = overtakes.then(reply).flatten().or_else(|| self.live.first(accepts.exact, may_go))?;
        let next = Self::take(&mut self.live, sequence, Lane::Live)?;
        self.replied = next.message.key.kind.is_reply();
        Some(next)
    }

    /// The next message of the late lane; at QoS 2 only if `exact`.
    pub fn next_late(&mut self, exact: bool) -> Option<Next> {
        let open = |message: &Message| matches!(self.late.state(&message.key), None | Some(KeyState::Open));
        let sequence = self.late.first(exact, open)?;
        Self::take(&mut self.late, sequence, Lane::Late)
    }

    fn take(queue: &mut Queue, sequence: Sequence, lane: Lane) -> Option<Next> {
        let message = queue.remove(sequence)?;
        if let Some(refused) = queue.refused.get_mut(&message.key) {
            refused.state = KeyState::Trying;
            refused.from = sequence;
        }
        Some(Next { sequence, message, lane })
    }

    fn may_go_live(&self, message: &Message, now: Duration) -> bool {
        let key = &message.key;
        if !matches!(self.live.state(key), None | Some(KeyState::Open)) {
            return false;
        }
        is_fresh(message, self.run, self.late_after, now)
            && match key.kind {
                MessageKind::Reading => true,
                MessageKind::Reply
                | MessageKind::TotalReply
                | MessageKind::VariableReply
                | MessageKind::RuleReply
                | MessageKind::Response
                | MessageKind::Event => !self.late.waiting.values().any(|late| late.key == *key),
                MessageKind::Loss => self.late.waiting.is_empty() && self.late.cursor >= self.boundary,
            }
    }

    /// The broker has taken a message of this key: it flows again.
    pub fn accepted(&mut self, lane: Lane, key: &Key) {
        let queue = self.queue(lane);
        if let Some(refused) = queue.refused.remove(key) {
            queue.cursor = queue.cursor.min(refused.from);
        }
    }

    /// The broker has refused `sequence`: its key waits, ever longer, and the others flow on.
    pub fn refused(&mut self, lane: Lane, sequence: Sequence, key: &Key, now: Duration) {
        let queue = self.queue(lane);
        let of_key = |(at, message): (&Sequence, &Arc<Message>)| (message.key == *key).then_some(*at);
        let passed_over: Vec<Sequence> = queue.waiting.iter().filter_map(of_key).collect();
        let first = passed_over.first().copied();
        queue.waiting.retain(|_, message| message.key != *key);
        queue.replies = queue.waiting.values().filter(|message| message.key.kind.is_reply()).count();
        let from = first.map_or(sequence, |first| first.min(sequence));
        queue.refused.entry(key.clone()).or_insert_with(|| RefusedKey::new(from)).refuse(from, now);
        self.passed_over.insert(sequence);
        self.passed_over.extend(passed_over);
    }

    /// Lets the refused keys whose time has come try again.
    pub fn retry(&mut self, now: Duration) {
        for lane in [Lane::Live, Lane::Late] {
            let queue = self.queue(lane);
            for refused in queue.refused.values_mut() {
                if refused.open(now) {
                    queue.cursor = queue.cursor.min(refused.from);
                }
            }
        }
    }

    /// A message left by another way than acknowledgement or refusal.
    pub fn dropped(&mut self, lane: Lane, key: &Key) {
        if let Some(refused) = self.queue(lane).refused.get_mut(key)
            && refused.state == KeyState::Trying
        {
            refused.state = KeyState::Open;
        }
    }

    fn queue(&mut self, lane: Lane) -> &mut Queue {
        match lane {
            Lane::Live => &mut self.live,
            Lane::Late => &mut self.late,
        }
    }

    /// Leaves `sequence` to the late lane, and with it what the live lane has of the same key from before: it is as old, and
    /// would come behind it otherwise.
    fn move_to_late_lane(&mut self, sequence: Sequence, key: &Key) {
        let waiting = self.live.waiting.range(..sequence).filter(|(_, message)| message.key == *key);
        let earlier: Vec<Sequence> = waiting.map(|(at, _)| *at).collect();
        let refused =
            self.live.refused.get(key).filter(|refused| refused.state != KeyState::Open).map(|refused| refused.from);
        let from = earlier.first().copied().into_iter().chain(refused).fold(sequence, Sequence::min);
        for at in earlier {
            self.live.remove(at);
            self.passed_over.insert(at);
        }
        self.boundary = self.boundary.max(after(sequence));
        self.late.cursor = self.late.cursor.min(from);
    }
}

fn after(sequence: Sequence) -> Sequence {
    Sequence(sequence.0.saturating_add(1))
}
