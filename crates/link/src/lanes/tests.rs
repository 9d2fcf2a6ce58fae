//! Both lanes against a spool in a map.

use super::*;
use fieldgate_model::{ClockStatus, Moment, Name, Qos};
use proptest::prelude::*;
use std::time::SystemTime;

const RUN: RunId = RunId(7);
const LATE: Duration = Duration::from_secs(30);
const ALL: Accepts = Accepts { replies: true, exact: true };

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
struct LanesRig {
    lanes: Lanes,
    spool: BTreeMap<Sequence, Arc<Message>>,
    in_flight: BTreeMap<Sequence, (Key, Lane)>,
    sent: Vec<(Sequence, Lane)>,
}

impl LanesRig {
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
            while let Some(from) = self.lanes.wants(lane, head) {
                // Now and then fewer than could be, as of a spool that has large or damaged ones.
                let most = 1 + from.0 as usize % 5;
                let mut range = self.spool.range(from..);
                let messages =
                    range.by_ref().take(most).map(|(at, message)| Stored { sequence: *at, message: message.clone() });
                let messages: Vec<Stored> = messages.collect();
                let next = range.next().map_or(head, |(at, _)| *at);
                let held = |sequence| self.in_flight.contains_key(&sequence);
                match lane {
                    Lane::Live => self.lanes.take_batch(Lane::Live, &Batch { messages, next }, held, now),
                    Lane::Late => self.lanes.take_batch(Lane::Late, &Batch { messages, next }, held, now),
                }
                // The lane waits where it is.
                if self.lanes.wants(lane, head) == Some(from) {
                    break;
                }
            }
        }
    }

    fn send(&mut self, now: Duration) -> Option<Sequence> {
        self.fill(now);
        let next = self.lanes.next_live(now, ALL).or_else(|| self.lanes.next_late(true))?;
        self.in_flight.insert(next.sequence, (next.message.key.clone(), next.lane));
        self.sent.push((next.sequence, next.lane));
        Some(next.sequence)
    }

    fn answer(&mut self, sequence: Sequence, accept: bool, now: Duration) {
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
fn what_comes_next_is_awaited_only_where_the_live_lane_has_read_all_there_is() {
    let mut rig = LanesRig::new(vec![message("a", RunId(1), 0), message("a", RUN, 10)], 1);
    assert_eq!((rig.lanes.awaits(Sequence(2)), rig.lanes.awaits(Sequence(1))), (None, Some(Sequence(1))));
    rig.fill(Duration::from_secs(10));
    assert_eq!((rig.lanes.awaits(rig.head()), rig.lanes.awaits(Sequence(3))), (Some(Sequence(2)), None));
}

#[test]
fn the_present_is_published_before_the_past() {
    let all = vec![message("a", RunId(1), 0), message("a", RUN, 10), message("a", RUN, 95), message("b", RUN, 96)];
    let mut rig = LanesRig::new(all, 2);
    let now = Duration::from_secs(100);
    while rig.send(now).is_some() {}
    let sent: Vec<u64> = rig.sent.iter().map(|(at, _)| at.0).collect();
    assert_eq!(sent, [2, 3, 0, 1]);
}

#[test]
fn what_grows_too_old_in_the_live_lane_is_sent_late() {
    let mut rig = LanesRig::new(vec![message("a", RUN, 95)], 0);
    rig.fill(Duration::from_secs(100));
    assert_eq!(rig.send(Duration::from_secs(200)), None, "moved to the late lane");
    assert!(rig.send(Duration::from_secs(200)).is_some());
    assert_eq!(rig.sent, [(Sequence(0), Lane::Late)]);
}

#[test]
fn a_message_is_late_from_the_limit_on() {
    let taken = Duration::from_secs(100);
    let fresh = |age| is_fresh(&message("a", RUN, taken.as_secs()), RUN, LATE, taken + age);
    assert!(fresh(LATE - Duration::from_nanos(1)) && !fresh(LATE));
    assert!(!is_fresh(&message("a", RunId(1), taken.as_secs()), RUN, LATE, taken), "of another run");
}

#[test]
fn what_grows_too_old_behind_a_message_that_may_not_go_is_not_sent_live() {
    let exact = Message { qos: Qos::ExactlyOnce, ..(*message("b", RUN, 100)).clone() };
    let mut rig = LanesRig::new(vec![Arc::new(exact), message("a", RUN, 95)], 0);
    rig.fill(Duration::from_secs(100));
    let no_exact = Accepts { exact: false, ..ALL };
    assert!(rig.lanes.next_live(Duration::from_secs(126), no_exact).is_none());
    assert_eq!(rig.lanes.next_live(Duration::from_secs(124), no_exact).unwrap().sequence, Sequence(1));
}

#[test]
fn a_loss_record_is_sent_after_the_past() {
    let mut loss = (*message("a", RUN, 100)).clone();
    loss.key.kind = MessageKind::Loss;
    let mut rig = LanesRig::new(vec![message("a", RunId(1), 0), Arc::new(loss)], 1);
    let now = Duration::from_secs(100);
    assert_eq!([rig.send(now), rig.send(now), rig.send(now)], [Some(Sequence(0)), Some(Sequence(1)), None]);
}

/// What the late lane sends when the live lane gets no turn.
fn late(rig: &mut LanesRig, now: Duration) -> Vec<u64> {
    let mut sent = Vec::new();
    loop {
        rig.fill(now);
        let Some(next) = rig.lanes.next_late(true) else { return sent };
        rig.in_flight.insert(next.sequence, (next.message.key.clone(), next.lane));
        sent.push(next.sequence.0);
    }
}

/// A rig whose late lane has read up to the live one.
fn rig_without_a_past(live: Vec<Arc<Message>>) -> LanesRig {
    let mut all = vec![message("c", RunId(1), 0)];
    all.extend(live);
    let mut rig = LanesRig::new(all, 1);
    assert_eq!(late(&mut rig, Duration::from_secs(100)), [0]);
    rig.answer(Sequence(0), true, Duration::from_secs(100));
    rig
}

/// A message of the same key that was read while it was young waits in the live lane, behind one that is young still.
#[test]
fn what_is_read_too_old_takes_along_what_grew_too_old_before_it() {
    let mut rig = rig_without_a_past(vec![message("b", RUN, 100), message("a", RUN, 95)]);
    rig.spool.insert(Sequence(3), message("a", RUN, 95));
    rig.spool.insert(Sequence(4), message("b", RUN, 120));
    let now = Duration::from_secs(126);
    assert_eq!(late(&mut rig, now), [2, 3]);
    assert_eq!([rig.send(now), rig.send(now), rig.send(now)], [Some(Sequence(1)), Some(Sequence(4)), None]);
}

/// A message of the same key was refused when the late lane had passed the place.
#[test]
fn what_is_read_too_old_comes_behind_what_was_refused_before_it() {
    let mut rig = rig_without_a_past(vec![message("a", RUN, 95), message("b", RUN, 95)]);
    assert_eq!(rig.send(Duration::from_secs(100)), Some(Sequence(1)));
    let now = Duration::from_secs(126);
    assert_eq!([rig.send(now), rig.send(now)], [None, Some(Sequence(2))], "moved, and sent late");
    rig.answer(Sequence(1), false, now);
    rig.spool.insert(Sequence(3), message("a", RUN, 95));
    assert_eq!(late(&mut rig, now), [1, 3]);
}

#[test]
fn a_refused_key_waits_alone_and_loses_nothing() {
    let all = vec![message("a", RUN, 90), message("b", RUN, 91), message("a", RUN, 92)];
    let mut rig = LanesRig::new(all, 0);
    let now = Duration::from_secs(100);
    let first = rig.send(now).unwrap();
    rig.answer(first, false, now);
    assert_eq!(rig.send(now), Some(Sequence(1)));
    assert_eq!(rig.send(now), None);
    let later = now + Duration::from_secs(1);
    rig.lanes.retry(later);
    assert_eq!(rig.send(later), Some(first));
    assert_eq!(rig.send(later), None, "one tries, the rest waits");
    rig.answer(first, true, later);
    assert_eq!(rig.send(later), Some(Sequence(2)));
}

fn reply() -> Arc<Message> {
    let mut reply = (*message("pump", RUN, 100)).clone();
    reply.key.kind = MessageKind::Reply;
    Arc::new(reply)
}

/// A live lane that was given so many replies and, behind them, so many readings; and where it goes on to read.
fn live_with(replies: usize, readings: usize) -> (Lanes, Option<Sequence>) {
    let mut lanes = Lanes::new(RUN, LATE, Sequence(0));
    let replies = std::iter::repeat_with(reply).take(replies);
    let all = replies.chain(std::iter::repeat_with(|| message("a", RUN, 100)).take(readings));
    let stored = |(at, message)| Stored { sequence: Sequence(at), message };
    let messages: Vec<Stored> = (0..).zip(all).map(stored).collect();
    let next = Sequence(messages.len() as u64);
    lanes.take_batch(Lane::Live, &Batch { messages, next }, |_| false, Duration::from_secs(100));
    let wants = lanes.wants(Lane::Live, Sequence(10_000));
    (lanes, wants)
}

#[test]
fn a_lane_reads_on_until_it_has_enough_and_replies_count_only_beyond_their_own_share() {
    let goes_on = |replies, readings| live_with(replies, readings).1.is_some();
    assert!(goes_on(0, LANE_CAPACITY - 1) && !goes_on(0, LANE_CAPACITY));
    assert!(goes_on(REPLIES_MANY, LANE_CAPACITY - 1) && !goes_on(REPLIES_MANY, LANE_CAPACITY));
    assert!(goes_on(REPLY_CAPACITY + 7, LANE_CAPACITY - 8) && !goes_on(REPLY_CAPACITY + 8, LANE_CAPACITY - 8));
}

#[test]
fn many_replies_are_a_flood_until_one_is_sent_or_all_are_refused() {
    let now = Duration::from_secs(100);
    assert!(!live_with(REPLIES_MANY - 1, 5).0.is_flooded());
    let (mut lanes, _) = live_with(REPLIES_MANY, 5);
    assert!(lanes.is_flooded());
    let first = lanes.next_live(now, ALL).unwrap();
    assert_eq!((first.sequence, lanes.is_flooded()), (Sequence(0), false));
    let (mut lanes, _) = live_with(REPLIES_MANY + 1, 0);
    lanes.next_live(now, ALL).unwrap();
    assert!(lanes.is_flooded());
    lanes.refused(Lane::Live, Sequence(0), &reply().key, now);
    assert!(!lanes.is_flooded() && !lanes.live_waits());
    assert_eq!(lanes.take_passed_over().len(), REPLIES_MANY + 1, "they are read again");
}

#[test]
fn readings_go_on_while_the_window_accepts_no_reply() {
    let (mut lanes, _) = live_with(3, 2);
    let no_replies = Accepts { replies: false, ..ALL };
    let mut next = || lanes.next_live(Duration::from_secs(100), no_replies).map(|next| next.sequence);
    assert_eq!([next(), next(), next()], [Some(Sequence(3)), Some(Sequence(4)), None]);
    assert!(lanes.live_waits());
}

#[test]
fn a_reply_overtakes_what_waits_and_a_reading_goes_between_two_replies() {
    let messages = [message("a", RUN, 100), message("a", RUN, 100), message("b", RUN, 100), reply(), reply()];
    let mut rig = LanesRig::new(messages.to_vec(), 0);
    while rig.send(Duration::from_secs(100)).is_some() {}
    let sent: Vec<u64> = rig.sent.iter().map(|(at, _)| at.0).collect();
    assert_eq!(sent, [3, 0, 4, 1, 2]);
}

#[test]
fn what_is_read_of_a_refused_key_is_passed_over_and_what_is_in_flight_is_not() {
    let now = Duration::from_secs(100);
    let (mut lanes, from) = live_with(0, 1);
    let first = lanes.next_live(now, ALL).unwrap();
    lanes.refused(Lane::Live, first.sequence, &first.message.key, now);
    assert_eq!(lanes.take_passed_over(), [Sequence(0)]);
    let stored = |at, source| Stored { sequence: Sequence(at), message: message(source, RUN, 100) };
    let messages = vec![stored(1, "a"), stored(2, "b"), stored(3, "c")];
    assert_eq!(from, Some(Sequence(1)));
    lanes.take_batch(Lane::Live, &Batch { messages, next: Sequence(4) }, |at| at == Sequence(3), now);
    assert_eq!((lanes.passed_over(), lanes.take_passed_over()), (1, vec![Sequence(1)]));
}

#[test]
fn a_reply_waits_for_an_older_one_of_the_same_output_that_is_late() {
    let of = |source: &str, run| {
        let mut reply = (*reply()).clone();
        (reply.key.source, reply.run) = (Name::new(source).unwrap(), run);
        Arc::new(reply)
    };
    let mut rig = LanesRig::new(vec![of("pump", RunId(1)), of("pump", RUN), of("valve", RUN)], 1);
    let now = Duration::from_secs(100);
    let sent = [rig.send(now), rig.send(now), rig.send(now)];
    assert_eq!(sent, [Some(Sequence(2)), Some(Sequence(0)), Some(Sequence(1))]);
}

proptest! {
    #[test]
    fn every_message_is_sent_and_in_order_within_its_lane(
        sources in prop::collection::vec((0u8..3, any::<bool>()), 1..40), boundary in 0u64..40,
        outcomes in prop::collection::vec(prop::option::weighted(0.9, 0usize..8), 500),
    ) {
        let old = sources.len() as u64 / 2;
        let boundary = boundary.min(old);
        let all = (0u64..).zip(&sources).map(|(i, (source, fresh))| {
            let run = if i < boundary && !fresh { RunId(1) } else { RUN };
            message(["a", "b", "c"][usize::from(*source)], run, if i < old { i } else { 60 + i })
        }).collect::<Vec<_>>();
        let keys: Vec<Key> = all.iter().map(|message| message.key.clone()).collect();
        let mut rig = LanesRig::new(all, boundary);
        let mut now = Duration::from_secs(60);
        for outcome in outcomes {
            rig.lanes.retry(now);
            let full = rig.send(now).is_none() || rig.in_flight.len() > 6;
            if full && let Some(at) = rig.in_flight.keys().next().copied() {
                rig.answer(at, true, now);
            }
            if let Some(nth) = outcome && let Some(at) = rig.in_flight.keys().nth(nth).copied() {
                rig.answer(at, true, now);
            }
            now += Duration::from_millis(150);
        }
        for _ in 0..400 {
            rig.send(now);
            if let Some(at) = rig.in_flight.keys().next().copied() {
                rig.answer(at, true, now);
            }
        }
        prop_assert!(rig.spool.is_empty(), "left: {:?}", rig.spool.keys());
        for key in &keys {
            for lane in [Lane::Live, Lane::Late] {
                let order: Vec<u64> = rig.sent.iter()
                    .filter(|(at, sent)| *sent == lane && keys[at.0 as usize] == *key).map(|(at, _)| at.0).collect();
                prop_assert!(order.windows(2).all(|pair| pair[0] < pair[1]), "{:?} {:?}", lane, order);
            }
        }
    }

    #[test]
    fn refusals_lose_nothing(
        sources in prop::collection::vec((0u8..3, any::<bool>()), 1..40), boundary in 0u64..40,
        outcomes in prop::collection::vec((any::<bool>(), 0usize..8, 0u64..3000), 200),
    ) {
        let all = (0u64..).zip(&sources).map(|(i, (source, fresh))| {
            message(["a", "b", "c"][usize::from(*source)], if *fresh { RUN } else { RunId(1) }, 40 + i)
        }).collect::<Vec<_>>();
        let boundary = boundary.min(all.len() as u64);
        let mut rig = LanesRig::new(all, boundary);
        let mut now = Duration::from_secs(60);
        for (accept, nth, pause_ms) in outcomes {
            rig.lanes.retry(now);
            rig.send(now);
            if let Some(at) = rig.in_flight.keys().nth(nth).copied() {
                rig.answer(at, accept, now);
            }
            now += Duration::from_millis(pause_ms);
        }
        for _ in 0..400 {
            rig.lanes.retry(now);
            rig.send(now);
            while let Some(at) = rig.in_flight.keys().next().copied() {
                rig.answer(at, true, now);
            }
            now += Duration::from_secs(1);
        }
        prop_assert!(rig.spool.is_empty(), "left: {:?}", rig.spool.keys());
    }
}
