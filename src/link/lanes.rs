//! Which message goes next. Pure: time is an argument, the spool is read by others.
//!
//! Two lanes, so that the present is told at once however long the outage was: the **live** lane reads the spool from a
//! boundary on, the **late** lane reads what lies before it, oldest first. A message that grows too old in the live lane
//! moves the boundary and is read again by the late lane.
//!
//! Promised: within a lane the messages of one key go in order of sequence; the late lane never sends what the live lane
//! still has; a refused key waits alone. A reply may overtake one from before the connection that the late lane has not read
//! yet; a loss record waits for the late lane, so that its account comes after what it is about.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::link::held::{Held, HeldState};
use crate::model::{Key, Message, MessageKind, RunId};
use crate::spool::{Sequence, Stored};

/// Messages that wait in a lane at most; more would only be memory, for the spool has them.
pub const LANE_CAPACITY: usize = 128;

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Of this run, and younger than `late_after`.
    Live,
    /// All others.
    Late,
}

#[derive(Debug)]
struct Queue {
    cursor: Sequence,
    waiting: BTreeMap<Sequence, Arc<Message>>,
    held: BTreeMap<Key, Held>,
}

impl Queue {
    fn new(cursor: Sequence) -> Self {
        Self { cursor, waiting: BTreeMap::new(), held: BTreeMap::new() }
    }

    fn state(&self, key: &Key) -> Option<HeldState> {
        self.held.get(key).map(|held| held.state)
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
}

/// A message that is to be sent now.
#[derive(Clone, Debug)]
pub struct Next {
    /// Its place in the spool.
    pub sequence: Sequence,
    /// The message.
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
        Self { run, late_after, boundary, live: Queue::new(boundary), late: Queue::new(Sequence(0)) }
    }

    /// From where a lane wants to read, when it has room and something may be there.
    pub fn wants(&self, lane: Lane, head: Sequence) -> Option<Sequence> {
        let (queue, end) = match lane {
            Lane::Live => (&self.live, head),
            Lane::Late => (&self.late, self.boundary),
        };
        (queue.cursor < end && queue.waiting.len() < LANE_CAPACITY).then_some(queue.cursor)
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

    /// Takes in what was read for the live lane; `whole` says that nothing follows before `head`.
    pub fn offer_live(
        &mut self,
        batch: Vec<Stored>,
        whole: bool,
        head: Sequence,
        in_flight: impl Fn(Sequence) -> bool,
        now: Duration,
    ) {
        for Stored { sequence, message } in batch {
            self.live.cursor = after(sequence);
            if in_flight(sequence) {
                continue;
            }
            if !is_fresh(&message, self.run, self.late_after, now) {
                self.hand_over(sequence);
            } else if self.live.state(&message.key).is_some_and(|state| state != HeldState::Open) {
                self.live.held.entry(message.key.clone()).and_modify(|held| held.from = held.from.min(sequence));
            } else {
                self.live.waiting.insert(sequence, message);
            }
        }
        if whole {
            self.live.cursor = self.live.cursor.max(head);
        }
    }

    /// Takes in what was read for the late lane; `whole` says that nothing follows.
    pub fn offer_late(&mut self, batch: Vec<Stored>, whole: bool, in_flight: impl Fn(Sequence) -> bool, now: Duration) {
        for Stored { sequence, message } in batch {
            if sequence >= self.boundary {
                self.late.cursor = self.boundary;
                return;
            }
            // Kept back by the live lane and still fresh: it stays there until it is late.
            if is_fresh(&message, self.run, self.late_after, now) && self.live.held.contains_key(&message.key) {
                self.late.cursor = sequence;
                return;
            }
            self.late.cursor = after(sequence);
            if in_flight(sequence) || self.live.waiting.contains_key(&sequence) {
                continue;
            }
            if self.late.state(&message.key).is_some_and(|state| state != HeldState::Open) {
                self.late.held.entry(message.key.clone()).and_modify(|held| held.from = held.from.min(sequence));
            } else {
                self.late.waiting.insert(sequence, message);
            }
        }
        if whole {
            self.late.cursor = self.late.cursor.max(self.boundary);
        }
    }

    /// The next message of the live lane. What has become too old there is handed over first.
    pub fn next_live(&mut self, now: Duration) -> Option<Next> {
        while let Some((sequence, message)) = self.live.waiting.first_key_value()
            && !is_fresh(message, self.run, self.late_after, now)
        {
            let sequence = *sequence;
            self.live.waiting.remove(&sequence);
            self.hand_over(sequence);
        }
        let sequence = *self.live.waiting.iter().find(|(_, message)| self.may_go_live(message, now))?.0;
        Self::take(&mut self.live, sequence, Lane::Live)
    }

    /// The next message of the late lane.
    pub fn next_late(&mut self) -> Option<Next> {
        let open = |message: &Message| matches!(self.late.state(&message.key), None | Some(HeldState::Open));
        let sequence = *self.late.waiting.iter().find(|(_, message)| open(message))?.0;
        Self::take(&mut self.late, sequence, Lane::Late)
    }

    /// Not sent after all; it goes first in its lane again.
    pub fn put_back(&mut self, next: Next) {
        self.dropped(next.lane, &next.message.key);
        self.queue(next.lane).waiting.insert(next.sequence, next.message);
    }

    fn take(queue: &mut Queue, sequence: Sequence, lane: Lane) -> Option<Next> {
        let message = queue.waiting.remove(&sequence)?;
        if let Some(held) = queue.held.get_mut(&message.key) {
            held.state = HeldState::Trying;
            held.from = sequence;
        }
        Some(Next { sequence, message, lane })
    }

    fn may_go_live(&self, message: &Message, now: Duration) -> bool {
        let key = &message.key;
        if !matches!(self.live.state(key), None | Some(HeldState::Open)) {
            return false;
        }
        is_fresh(message, self.run, self.late_after, now)
            && match key.kind {
                MessageKind::Reading => true,
                MessageKind::Reply => !self.late.waiting.values().any(|late| late.key == *key),
                MessageKind::Loss => self.late.waiting.is_empty() && self.late.cursor >= self.boundary,
            }
    }

    /// The broker has taken a message of this key: it flows again.
    pub fn accepted(&mut self, lane: Lane, key: &Key) {
        let queue = self.queue(lane);
        if let Some(held) = queue.held.remove(key) {
            queue.cursor = queue.cursor.min(held.from);
        }
    }

    /// The broker has refused `sequence`: its key waits, ever longer, and the others flow on.
    pub fn refused(&mut self, lane: Lane, sequence: Sequence, key: &Key, now: Duration) {
        let queue = self.queue(lane);
        let first = queue.waiting.iter().find(|(_, message)| message.key == *key).map(|(at, _)| *at);
        queue.waiting.retain(|_, message| message.key != *key);
        let from = first.map_or(sequence, |first| first.min(sequence));
        queue.held.entry(key.clone()).or_insert_with(|| Held::new(from)).refuse(from, now);
    }

    /// Lets the refused keys whose time has come try again.
    pub fn retry(&mut self, now: Duration) {
        for lane in [Lane::Live, Lane::Late] {
            let queue = self.queue(lane);
            for held in queue.held.values_mut() {
                if held.open(now) {
                    queue.cursor = queue.cursor.min(held.from);
                }
            }
        }
    }

    /// A message left by another way than acknowledgement or refusal.
    pub fn dropped(&mut self, lane: Lane, key: &Key) {
        if let Some(held) = self.queue(lane).held.get_mut(key)
            && held.state == HeldState::Trying
        {
            held.state = HeldState::Open;
        }
    }

    fn queue(&mut self, lane: Lane) -> &mut Queue {
        match lane {
            Lane::Live => &mut self.live,
            Lane::Late => &mut self.late,
        }
    }

    fn hand_over(&mut self, sequence: Sequence) {
        self.boundary = self.boundary.max(after(sequence));
        self.late.cursor = self.late.cursor.min(sequence);
    }
}

fn after(sequence: Sequence) -> Sequence {
    Sequence(sequence.0.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ClockStatus, Moment, Name, Qos};
    use proptest::prelude::*;
    use std::time::SystemTime;

    const RUN: RunId = RunId(7);
    const LATE: Duration = Duration::from_secs(30);

    fn message(source: &str, run: RunId, taken_s: u64) -> Arc<Message> {
        let boot = Duration::from_secs(taken_s);
        Arc::new(Message {
            key: Key { kind: MessageKind::Reading, source: Name::new(source).unwrap() },
            run,
            seq: 1,
            taken_at: Moment { boot, wall: SystemTime::UNIX_EPOCH, clock: ClockStatus::Synchronised },
            qos: Qos::AtLeastOnce,
            retain: false,
            body: Vec::new(),
        })
    }

    /// A spool in a map, and what was sent so far.
    struct Bench {
        lanes: Lanes,
        spool: BTreeMap<Sequence, Arc<Message>>,
        in_flight: BTreeMap<Sequence, (Key, Lane)>,
        sent: Vec<(Sequence, Lane)>,
    }

    impl Bench {
        fn new(messages: Vec<Arc<Message>>, boundary: u64) -> Self {
            let spool = (0..).map(Sequence).zip(messages).collect();
            let lanes = Lanes::new(RUN, LATE, Sequence(boundary));
            Self { lanes, spool, in_flight: BTreeMap::new(), sent: Vec::new() }
        }

        fn head(&self) -> Sequence {
            Sequence(self.spool.last_key_value().map_or(0, |(last, _)| last.0 + 1))
        }

        fn fill(&mut self, now: Duration) {
            let head = self.head();
            for lane in [Lane::Live, Lane::Late] {
                let Some(from) = self.lanes.wants(lane, head) else { continue };
                let range = self.spool.range(from..).take(5);
                let batch: Vec<Stored> =
                    range.map(|(at, message)| Stored { sequence: *at, message: message.clone() }).collect();
                let (whole, held) = (batch.len() < 5, |sequence| self.in_flight.contains_key(&sequence));
                match lane {
                    Lane::Live => self.lanes.offer_live(batch, whole, head, held, now),
                    Lane::Late => self.lanes.offer_late(batch, whole, held, now),
                }
            }
        }

        fn send(&mut self, now: Duration) -> Option<Sequence> {
            self.fill(now);
            let next = self.lanes.next_live(now).or_else(|| self.lanes.next_late())?;
            self.in_flight.insert(next.sequence, (next.message.key.clone(), next.lane));
            self.sent.push((next.sequence, next.lane));
            Some(next.sequence)
        }

        fn settle(&mut self, sequence: Sequence, accept: bool, now: Duration) {
            let (key, lane) = self.in_flight.remove(&sequence).unwrap();
            if accept {
                self.spool.remove(&sequence);
                self.lanes.accepted(lane, &key);
            } else {
                self.lanes.refused(lane, sequence, &key, now);
            }
        }
    }

    #[test]
    fn the_present_is_told_before_the_past() {
        let all = vec![message("a", RunId(1), 0), message("a", RUN, 10), message("a", RUN, 95), message("b", RUN, 96)];
        let mut bench = Bench::new(all, 2);
        let now = Duration::from_secs(100);
        while bench.send(now).is_some() {}
        let sent: Vec<u64> = bench.sent.iter().map(|(at, _)| at.0).collect();
        assert_eq!(sent, [2, 3, 0, 1]);
    }

    #[test]
    fn what_grows_too_old_in_the_live_lane_is_sent_late() {
        let mut bench = Bench::new(vec![message("a", RUN, 95)], 0);
        bench.fill(Duration::from_secs(100));
        assert_eq!(bench.send(Duration::from_secs(200)), None, "handed over");
        assert!(bench.send(Duration::from_secs(200)).is_some());
        assert_eq!(bench.sent, [(Sequence(0), Lane::Late)]);
    }

    #[test]
    fn a_refused_key_waits_alone_and_loses_nothing() {
        let all = vec![message("a", RUN, 90), message("b", RUN, 91), message("a", RUN, 92)];
        let mut bench = Bench::new(all, 0);
        let now = Duration::from_secs(100);
        let first = bench.send(now).unwrap();
        bench.settle(first, false, now);
        assert_eq!(bench.send(now), Some(Sequence(1)));
        assert_eq!(bench.send(now), None);
        let later = now + Duration::from_secs(1);
        bench.lanes.retry(later);
        assert_eq!(bench.send(later), Some(first));
        assert_eq!(bench.send(later), None, "one tries, the rest waits");
        bench.settle(first, true, later);
        assert_eq!(bench.send(later), Some(Sequence(2)));
    }

    proptest! {
        #[test]
        fn every_message_is_sent_and_in_order_within_its_lane(
            sources in prop::collection::vec((0u8..3, any::<bool>()), 1..40), boundary in 0u64..40,
            fates in prop::collection::vec(prop::option::weighted(0.9, 0usize..8), 500),
        ) {
            let old = sources.len() as u64 / 2;
            let boundary = boundary.min(old);
            let all = (0u64..).zip(&sources).map(|(i, (source, fresh))| {
                let run = if i < boundary && !fresh { RunId(1) } else { RUN };
                message(["a", "b", "c"][usize::from(*source)], run, if i < old { i } else { 60 + i })
            }).collect::<Vec<_>>();
            let keys: Vec<Key> = all.iter().map(|message| message.key.clone()).collect();
            let mut bench = Bench::new(all, boundary);
            let mut now = Duration::from_secs(60);
            for fate in fates {
                bench.lanes.retry(now);
                let full = bench.send(now).is_none() || bench.in_flight.len() > 6;
                if full && let Some(at) = bench.in_flight.keys().next().copied() {
                    bench.settle(at, true, now);
                }
                if let Some(nth) = fate && let Some(at) = bench.in_flight.keys().nth(nth).copied() {
                    bench.settle(at, true, now);
                }
                now += Duration::from_millis(150);
            }
            for _ in 0..400 {
                bench.send(now);
                if let Some(at) = bench.in_flight.keys().next().copied() {
                    bench.settle(at, true, now);
                }
            }
            prop_assert!(bench.spool.is_empty(), "left: {:?}", bench.spool.keys());
            for key in &keys {
                for lane in [Lane::Live, Lane::Late] {
                    let order: Vec<u64> = bench.sent.iter()
                        .filter(|(at, sent)| *sent == lane && keys[at.0 as usize] == *key).map(|(at, _)| at.0).collect();
                    prop_assert!(order.windows(2).all(|pair| pair[0] < pair[1]), "{:?} {:?}", lane, order);
                }
            }
        }

        #[test]
        fn refusals_lose_nothing(
            sources in prop::collection::vec((0u8..3, any::<bool>()), 1..40), boundary in 0u64..40,
            fates in prop::collection::vec((any::<bool>(), 0usize..8, 0u64..3000), 200),
        ) {
            let all = (0u64..).zip(&sources).map(|(i, (source, fresh))| {
                message(["a", "b", "c"][usize::from(*source)], if *fresh { RUN } else { RunId(1) }, 40 + i)
            }).collect::<Vec<_>>();
            let boundary = boundary.min(all.len() as u64);
            let mut bench = Bench::new(all, boundary);
            let mut now = Duration::from_secs(60);
            for (accept, nth, pause_ms) in fates {
                bench.lanes.retry(now);
                bench.send(now);
                if let Some(at) = bench.in_flight.keys().nth(nth).copied() {
                    bench.settle(at, accept, now);
                }
                now += Duration::from_millis(pause_ms);
            }
            for _ in 0..400 {
                bench.lanes.retry(now);
                bench.send(now);
                while let Some(at) = bench.in_flight.keys().next().copied() {
                    bench.settle(at, true, now);
                }
                now += Duration::from_secs(1);
            }
            prop_assert!(bench.spool.is_empty(), "left: {:?}", bench.spool.keys());
        }
    }
}
