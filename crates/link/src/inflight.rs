//! What was sent to the broker and is not acknowledged yet. Pure.
//!
//! One window for everything, because the broker's Receive Maximum counts everything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::lanes::Lane;
use fieldgate_model::{Message, Qos};
use fieldgate_spool::Sequence;

/// What a place in the window stands for.
#[derive(Clone, Debug, PartialEq)]
pub enum InFlight {
    /// A message of the spool.
    Spooled {
        /// Its place in the spool.
        sequence: Sequence,
        /// As the spool has it.
        message: Arc<Message>,
        /// The lane that sent it.
        lane: Lane,
    },
    /// The newest value of this retained topic.
    Latest(String),
    /// Something that is sent once more.
    Repeat,
    /// A reply's copy to the requester's own topic.
    RequesterReply(String),
    /// `online`.
    Birth,
    /// `offline`.
    Farewell,
}

/// Names one publication on one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// The window of one connection; forgotten with it.
#[derive(Debug)]
pub struct Window {
    limit: usize,
    next: u64,
    open: BTreeMap<Ticket, InFlight>,
    spooled: BTreeSet<Sequence>,
    late: usize,
    exact: usize,
    replies: usize,
}

impl Window {
    /// At most `limit` places, and at least one.
    pub fn new(limit: usize) -> Self {
        let (open, spooled) = (BTreeMap::new(), BTreeSet::new());
        Self { limit: limit.max(1), next: 0, open, spooled, late: 0, exact: 0, replies: 0 }
    }

    /// From now on at most `limit` places.
    pub fn widen(&mut self, limit: usize) {
        self.limit = self.limit.max(limit);
    }

    /// How many more messages may be in flight.
    pub fn free_places(&self) -> usize {
        self.limit.saturating_sub(self.open.len())
    }

    /// Whether a late message may enter: while the live lane waits, the late lane holds three quarters of the window at most.
    pub fn accepts_late(&self, live_waits: bool) -> bool {
        let share = if live_waits { (self.limit * 3 / 4).max(1) } else { self.limit };
        self.free_places() > 0 && self.late < share
    }

    /// Whether a reply may enter: a quarter of the window at most, so that a flood of commands does not hold up readings.
    pub fn accepts_reply(&self) -> bool {
        self.free_places() > 0 && self.replies < (self.limit / 4).max(1)
    }

    /// Takes a place.
    pub fn enter(&mut self, sent: InFlight) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        if let InFlight::Spooled { sequence, message, lane } = &sent {
            self.spooled.insert(*sequence);
            self.replies += usize::from(message.key.kind.is_reply());
            self.exact += usize::from(message.qos == Qos::ExactlyOnce);
            self.late += usize::from(*lane == Lane::Late);
        }
        self.open.insert(ticket, sent);
        ticket
    }

    /// Frees a place; nothing when the ticket is unknown.
    pub fn leave(&mut self, ticket: Ticket) -> Option<InFlight> {
        let sent = self.open.remove(&ticket)?;
        if let InFlight::Spooled { sequence, message, lane } = &sent {
            self.spooled.remove(sequence);
            self.replies -= usize::from(message.key.kind.is_reply());
            self.exact -= usize::from(message.qos == Qos::ExactlyOnce);
            self.late -= usize::from(*lane == Lane::Late);
        }
        Some(sent)
    }

    /// How many are in flight at QoS 2.
    pub fn exact(&self) -> usize {
        self.exact
    }

    /// Whether a message of the spool is in flight.
    pub fn holds(&self, sequence: Sequence) -> bool {
        self.spooled.contains(&sequence)
    }

    /// Whether nothing is in flight.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fieldgate_model::{ClockStatus, Key, MessageKind, Moment, Name, RunId};
    use proptest::prelude::*;
    use std::time::{Duration, SystemTime};

    /// A reading at QoS 2.
    fn sent(sequence: u64, late: bool) -> InFlight {
        sent_of(MessageKind::Reading, Qos::ExactlyOnce, sequence, late)
    }

    fn sent_of(kind: MessageKind, qos: Qos, sequence: u64, late: bool) -> InFlight {
        let message = Message {
            key: Key { kind, source: Name::new("a").unwrap() },
            run: RunId(1),
            seq: sequence,
            taken_at: Moment { boot: Duration::ZERO, wall: SystemTime::UNIX_EPOCH, clock: ClockStatus::Synchronised },
            qos,
            retain: false,
            body: Vec::new(),
        };
        let lane = if late { Lane::Late } else { Lane::Live };
        InFlight::Spooled { sequence: Sequence(sequence), message: Arc::new(message), lane }
    }

    #[test]
    fn the_late_lane_leaves_a_quarter_to_a_live_lane_that_waits() {
        let mut window = Window::new(8);
        for i in 0..6 {
            window.enter(sent(i, true));
        }
        assert!(!window.accepts_late(true) && window.accepts_late(false));
        assert!(Window::new(1).accepts_late(true));
        let mut full = Window::new(2);
        (0..2).for_each(|n| _ = full.enter(sent(n, false)));
        assert!(!full.accepts_late(true) && !full.accepts_late(false));
        let mut large = Window::new(64);
        (0..47).for_each(|n| _ = large.enter(sent(n, true)));
        assert!(large.accepts_late(true));
        large.enter(sent(47, true));
        assert!(!large.accepts_late(true));
    }

    #[test]
    fn replies_get_a_quarter_of_the_window_and_one_place_at_least() {
        let mut window = Window::new(8);
        let reply = |window: &mut Window, n| window.enter(sent_of(MessageKind::Reply, Qos::AtLeastOnce, n, false));
        let first = reply(&mut window, 1);
        assert!(window.accepts_reply());
        reply(&mut window, 2);
        assert!(!window.accepts_reply() && window.free_places() == 6);
        window.leave(first);
        assert!(window.accepts_reply());
        (3..10).for_each(|n| _ = window.enter(sent(n, false)));
        assert!(!window.accepts_reply() && !window.accepts_late(false), "it is full");
        assert!(Window::new(1).accepts_reply());
    }

    #[test]
    fn a_window_grows_and_does_not_shrink() {
        let mut window = Window::new(2);
        window.widen(8);
        assert_eq!(window.free_places(), 8);
        window.widen(4);
        assert_eq!(window.free_places(), 8);
    }

    proptest! {
        #[test]
        fn places_are_neither_lost_nor_invented(
            limit in 1usize..70,
            steps in prop::collection::vec((any::<bool>(), any::<bool>(), 0usize..70), 0..200),
        ) {
            let mut window = Window::new(limit);
            let mut model: Vec<(Ticket, u64, bool)> = Vec::new();
            let of = |sequence: u64, late| {
                let kind = if sequence.is_multiple_of(3) { MessageKind::Reply } else { MessageKind::Reading };
                let qos = if sequence.is_multiple_of(2) { Qos::ExactlyOnce } else { Qos::AtLeastOnce };
                sent_of(kind, qos, sequence, late)
            };
            for (sequence, (enter, late, index)) in (0u64..).zip(steps) {
                if enter && window.free_places() > 0 {
                    model.push((window.enter(of(sequence, late)), sequence, late));
                } else if !model.is_empty() {
                    let (ticket, sequence, late) = model.remove(index % model.len());
                    prop_assert_eq!(window.leave(ticket), Some(of(sequence, late)));
                    prop_assert_eq!(window.leave(ticket), None);
                    prop_assert!(!window.holds(Sequence(sequence)));
                }
                prop_assert_eq!(window.free_places(), limit - model.len());
                prop_assert_eq!(window.late, model.iter().filter(|entry| entry.2).count());
                prop_assert!(model.iter().all(|entry| window.holds(Sequence(entry.1))));
                prop_assert_eq!(window.exact(), model.iter().filter(|entry| entry.1.is_multiple_of(2)).count());
                prop_assert_eq!(window.replies, model.iter().filter(|entry| entry.1.is_multiple_of(3)).count());
                prop_assert_eq!(window.is_empty(), model.is_empty());
            }
        }
    }
}
