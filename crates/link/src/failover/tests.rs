use proptest::prelude::*;

use super::*;
use crate::alarms::Alarms;
use crate::backoff::{REFUSED, TAKEN_OVER_TIMES};
use crate::broker_state::{LEARN_AGAIN, TOO_LARGE_TIMES};
use crate::open_requests::Request;
use crate::session::Connected;
use crate::suspects::TRY_AFTER;
use crate::testing::{self, cause};

const S: Duration = Duration::from_secs(1);

fn failover(count: usize) -> Failover {
    Failover::new(count, S, 60 * S, "me".into(), false)
}

fn connected(retain_available: bool) -> Connected {
    Connected { retain_available, ..testing::connected(Protocol::V5) }
}

fn publish(topic: &str, retain: bool) -> Option<Blame> {
    Some(Blame { request: Request::Publish(topic.into()), retain })
}

#[test]
fn what_one_broker_refuses_is_not_kept_from_the_other() {
    let mut failover = failover(2);
    assert!(failover.failed(CauseKind::Other, S, 0.5).alarm_changes.is_empty());
    assert_eq!(failover.turn(), 1);
    let refused = failover.failed(CauseKind::WillRetain, 3 * S, 0.5);
    assert_eq!((failover.turn(), refused.alarm_changes.len()), (1, 1), "asked again in the other form");
    assert!(!failover.current().will(4 * S).retain);
    failover.current().accepted(&connected(true), 5 * S);
    failover.ended(&cause(CauseKind::Other), None, 2 * STABLE_AFTER, 70 * S, 0.5);
    assert_eq!(failover.turn(), 0, "back to the first");
    assert!(failover.current().will(71 * S).retain, "it has refused nothing");
}

#[test]
fn a_broker_that_served_is_left_for_the_first_and_one_that_did_not_for_the_next() {
    for (held, next) in [(STABLE_AFTER, 0), (STABLE_AFTER - S, 2)] {
        let mut failover = failover(3);
        failover.failed(CauseKind::Other, S, 0.5);
        assert_eq!(failover.turn(), 1);
        failover.ended(&cause(CauseKind::Other), None, held, 70 * S, 0.5);
        assert_eq!(failover.turn(), next);
    }
}

#[test]
fn the_first_broker_that_drops_us_soon_gives_us_back_to_the_one_that_was_left_for_it() {
    for (lasted, next, look) in [(S, 1, Some(1200 * S)), (STABLE_AFTER, 0, None)] {
        let mut failover = failover(2).with(Protocol::V5.into(), Some(600 * S));
        failover.failed(CauseKind::Other, S, 0.5);
        assert_eq!((failover.turn(), failover.look_at_first()), (1, Some(600 * S)));
        failover.change_to_first();
        assert_eq!((failover.turn(), failover.look_at_first()), (0, None));
        let outcome = failover.ended(&cause(CauseKind::Other), None, lasted, 700 * S, 0.5);
        assert_eq!((failover.turn(), failover.look_at_first()), (next, look), "after {lasted:?}");
        assert_eq!(outcome.wait.is_zero(), next == 1, "{outcome:?}");
    }
}

#[test]
fn a_broker_that_refuses_both_forms_of_the_will_does_not_keep_the_turn() {
    for kind in [CauseKind::WillRetain, CauseKind::WillQos] {
        let mut failover = failover(2);
        assert_eq!((failover.failed(kind, S, 0.5).alarm_changes.len(), failover.turn()), (1, 0));
        assert_eq!((failover.failed(kind, 3 * S, 0.5).alarm_changes.len(), failover.turn()), (0, 1), "{kind:?}");
    }
}

#[test]
fn a_limit_is_tried_again_after_an_hour() {
    let mut failover = failover(1);
    failover.failed(CauseKind::WillQos, S, 0.5);
    let broker = failover.current();
    assert!(!broker.will(LEARN_AGAIN).assured && broker.will(LEARN_AGAIN + S).assured);
}

#[test]
fn a_refused_broker_is_left_alone_while_the_others_are_tried() {
    let mut failover = failover(2);
    assert!(failover.failed(CauseKind::Refused, S, 0.5).wait <= 2 * S, "the second has refused nothing");
    let second = failover.failed(CauseKind::Refused, 3 * S, 0.5);
    assert_eq!(failover.turn(), 0);
    assert!(second.wait >= REFUSED - 3 * S, "{second:?}");
}

#[test]
fn in_an_outage_of_all_each_keeps_its_own_pace() {
    let mut failover = failover(3);
    let (mut now, mut tries) = (S, [0; 3]);
    while now < 1000 * S {
        tries[failover.turn()] += 1;
        now += S / 10 + failover.failed(CauseKind::Other, now, 1.0).wait;
    }
    // Alone, each would be tried some thirty times: every few seconds in the first minute, once a minute in the end.
    assert!(tries.iter().all(|tries| (20..=45).contains(tries)), "{tries:?}");
}

/// One attempt at a broker that closes over a retained will, or does not; whether the connection is kept.
fn connect(failover: &mut Failover, retained_will_closes: bool, now: Duration) -> bool {
    let will = failover.current().will(now);
    if will.retain && retained_will_closes {
        failover.failed(CauseKind::Closed, now, 0.5);
        return false;
    }
    failover.current().accepted(&connected(true), now).is_some()
}

#[test]
fn a_will_on_which_the_broker_closes_goes_without_the_flag_once_that_is_certain() {
    let mut failover = failover(1);
    let attempts: Vec<bool> = (0..6).map(|attempt| connect(&mut failover, true, attempt * S)).collect();
    // Three closes, one without the flag, one with it to be sure, and then it stays without.
    assert_eq!(attempts, [false, false, false, false, false, true]);
    assert!(!failover.current().will(7 * S).retain && !failover.current().retains_nothing());
}

#[test]
fn a_proxy_that_closes_while_its_broker_is_away_does_not_cost_the_flag() {
    let mut failover = failover(1);
    (0..3).for_each(|at| drop(failover.failed(CauseKind::Closed, at * S, 0.5)));
    assert!(!connect(&mut failover, false, 4 * S), "accepted without the flag, which may be chance");
    assert!(connect(&mut failover, false, 5 * S) && failover.current().will(6 * S).retain);
}

#[test]
fn a_retained_message_that_is_answered_without_the_flag_shows_that_nothing_is_retained() {
    let mut failover = failover(1);
    for at in [S, 2 * S] {
        assert!(
            failover.ended(&cause(CauseKind::Closed), publish("b/status", true), S, at, 0.5).alarm_changes.is_empty()
        );
    }
    let request = Request::Publish("b/status".into());
    assert!(failover.current().is_on_trial(&request));
    let alarm_changes = failover.current().answered(&request, 3 * S);
    assert!(matches!(alarm_changes, Some(AlarmChange::Raise(About::Retain, _))), "{alarm_changes:?}");
    assert!(failover.current().retains_nothing() && !failover.current().will(4 * S).retain);
}

#[test]
fn a_topic_on_which_the_broker_hangs_up_is_named_and_the_identifier_is_not() {
    let mut failover = failover(1);
    let mut end = |at: Duration, kind| failover.ended(&cause(kind), publish("b/devices", false), S, at, 0.5);
    assert!(
        end(S, CauseKind::Closed).alarm_changes.is_empty() && end(5 * S, CauseKind::Reset).alarm_changes.is_empty()
    );
    let third = end(9 * S, CauseKind::Disconnected(0x87));
    let [AlarmChange::Raise(About::HungUp(_), words)] = &third.alarm_changes[..] else { panic!("{third:?}") };
    assert!(words.starts_with("b/devices is held back") && words.contains("the broker closed"), "{words}");
    assert!(third.wait <= 5 * S, "the rest is to flow soon");
    let request = Request::Publish("b/devices".into());
    assert!(
        failover.current().is_held_back(&request, 10 * S)
            && !failover.current().is_held_back(&request, 9 * S + TRY_AFTER)
    );
}

#[test]
fn what_says_nothing_of_a_request_is_not_laid_at_its_door() {
    let mut failover = failover(1);
    for kind in [CauseKind::Other, CauseKind::Disconnected(0x8B), CauseKind::Other, CauseKind::TakenOver] {
        failover.ended(&cause(kind), publish("b/devices", false), S, 100 * S, 0.5);
    }
    assert!(!failover.current().is_one_at_a_time());
}

#[test]
fn our_own_status_is_not_asked_for_twice() {
    let mut failover = failover(1);
    let blame = Some(Blame { request: Request::Status, retain: false });
    assert!(failover.ended(&cause(CauseKind::Closed), blame, S, S, 0.5).alarm_changes.is_empty());
    assert!(!failover.current().may_hear_status());
    let mut failover = Failover::new(1, S, 60 * S, "me".into(), true);
    let ends = || Some(Blame { request: Request::Status, retain: false });
    (1..3).for_each(|at| drop(failover.ended(&cause(CauseKind::Closed), ends(), S, at * S, 0.5)));
    assert!(failover.current().may_hear_status(), "a persistent session takes no command without it");
    failover.ended(&cause(CauseKind::Closed), ends(), S, 3 * S, 0.5);
    assert!(failover.current().is_held_back(&Request::Status, 4 * S), "but readings do not wait for it for ever");
}

/// What the simulated brokers do next.
#[derive(Clone, Copy, Debug)]
enum Step {
    Refuse(CauseKind),
    /// Accept, and end after so many seconds.
    Connected(bool, u64, CauseKind),
}

fn kinds() -> impl Strategy<Value = CauseKind> {
    use CauseKind::*;
    prop::sample::select(vec![Refused, TakenOver, WillQos, WillRetain, TooLarge, Closed, Reset, Other])
}

/// What ends an attempt; a close before the broker has accepted us has tests of its own.
fn refusals() -> impl Strategy<Value = CauseKind> {
    kinds().prop_filter("closed", |kind| !matches!(kind, CauseKind::Closed | CauseKind::Reset))
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let lasted = prop::sample::select(vec![0, 1, 5, 29, 30, 40, 299, 300, 4000]);
    let connected =
        (any::<bool>(), lasted, kinds()).prop_map(|(retain, lasted, kind)| Step::Connected(retain, lasted, kind));
    prop::collection::vec(prop_oneof![2 => refusals().prop_map(Step::Refuse), 3 => connected], 1..60)
}

/// What is known of one broker, as a person would write it down: only what happened there.
#[derive(Debug, Default)]
struct Notes {
    refused: Option<Duration>,
    no_retain: Option<Duration>,
    no_retain_alarm: bool,
    /// Ends in a row that were brief.
    brief: usize,
    brief_alarm: bool,
    taken_over: Vec<Duration>,
    taken_over_alarm: bool,
    too_large_ends: usize,
}

impl Notes {
    fn contended(&self, now: Duration) -> bool {
        self.taken_over.iter().rev().nth(TAKEN_OVER_TIMES - 1).is_some_and(|at| now - *at <= TAKEN_OVER_WITHIN)
    }

    fn refuse(&mut self, kind: CauseKind, now: Duration) {
        self.refused = (kind == CauseKind::Refused).then_some(now);
        self.learn(kind, now);
    }

    fn learn(&mut self, kind: CauseKind, now: Duration) {
        if kind == CauseKind::WillRetain {
            (self.no_retain, self.no_retain_alarm) = (Some(now), true);
        }
    }

    fn connected(&mut self, retains: bool, now: Duration) {
        self.refused = None;
        if retains && self.no_retain.is_none() {
            self.no_retain_alarm = false;
        }
        self.taken_over_alarm &= self.contended(now);
    }

    fn end(&mut self, kind: CauseKind, lasted: Duration, now: Duration) {
        self.learn(kind, now);
        // All over the same request would be another matter: here nothing is known of that.
        let brief = lasted < STABLE_AFTER && matches!(kind, CauseKind::Closed | CauseKind::Reset);
        self.brief = if brief { self.brief + 1 } else { 0 };
        self.brief_alarm = (self.brief_alarm && lasted < STABLE_AFTER) || self.brief >= TAKEN_OVER_TIMES;
        self.taken_over_alarm &= lasted < TAKEN_OVER_WITHIN;
        if kind == CauseKind::TakenOver {
            self.taken_over.push(now);
            self.taken_over_alarm |= self.contended(now);
        }
        self.too_large_ends = if kind == CauseKind::TooLarge { self.too_large_ends + 1 } else { 0 };
    }

    fn check(&self, shown: &str) {
        // The first few are shown, and how many there are beyond: one of these may be what is expected.
        let is_cut = shown.ends_with(" more");
        for (words, is_expected) in [
            ("retains no messages", self.no_retain_alarm),
            ("does another client", self.brief_alarm),
            ("keeps taking over", self.taken_over_alarm),
        ] {
            let is_shown = shown.contains(words);
            assert!(is_shown == is_expected || (is_expected && is_cut), "{words}: {shown}: {self:?}");
        }
    }
}

fn take_in(alarms: &mut Alarms, alarm_changes: impl IntoIterator<Item = AlarmChange>) {
    for alarm_changes in alarm_changes {
        alarms.apply(alarm_changes);
    }
}

proptest! {
    #[test]
    fn each_broker_is_known_by_what_happened_there_and_by_nothing_else(count in 1usize..4, steps in steps(), chance in 0.0..1.0) {
        let (mut failover, mut alarms, mut now) = (failover(count), Alarms::default(), S);
        let mut notes: Vec<Notes> = (0..count).map(|_| Notes::default()).collect();
        for step in steps {
            let turn = failover.turn();
            alarms.switch(turn);
            let known = &mut notes[turn];
            known.no_retain = known.no_retain.filter(|at| now - *at < LEARN_AGAIN);
            prop_assert_eq!(failover.current().will(now).retain, known.no_retain.is_none());
            prop_assert_eq!(failover.current().suspends_commands(), known.too_large_ends >= TOO_LARGE_TIMES);
            prop_assert!(known.refused.is_none_or(|at| now - at >= REFUSED), "asked again too soon");
            let outcome = match step {
                Step::Refuse(kind) => {
                    known.refuse(kind, now);
                    failover.failed(kind, now, chance)
                }
                Step::Connected(retains, lasted, kind) => {
                    let lasted = Duration::from_secs(lasted);
                    known.connected(retains, now);
                    let Some(alarm_changes) = failover.current().accepted(&connected(retains), now) else { continue };
                    take_in(&mut alarms, alarm_changes);
                    take_in(&mut alarms, disproved(lasted));
                    now += lasted;
                    known.end(kind, lasted, now);
                    failover.ended(&cause(kind), None, lasted, now, chance)
                }
            };
            take_in(&mut alarms, outcome.alarm_changes);
            known.check(&alarms.shown().unwrap_or_default());
            prop_assert!(outcome.wait >= S.min(now), "no hammering");
            prop_assert!(count > 1 || outcome.wait <= REFUSED + REFUSED / 5, "no wait without an end");
            now += outcome.wait;
        }
    }
}
