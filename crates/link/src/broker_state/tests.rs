//! What one broker teaches. How several are tried in turn is tested in `failover/tests.rs`.

use super::*;
use crate::testing;

const S: Duration = Duration::from_secs(1);
const NOW: Duration = Duration::from_secs(10_000);

fn broker() -> BrokerState {
    BrokerState::new(Backoff::new(S, 60 * S), false)
}

fn publish(topic: &str) -> Request {
    Request::Publish(topic.into())
}

/// A connection that lasted for `held` and ended for this reason, over a publication or not.
fn ended(broker: &mut BrokerState, kind: CauseKind, over: Option<&Request>, held: Duration) -> Vec<AlarmChange> {
    let blame = over.map(|request| Blame { request: request.clone(), retain: true });
    broker.ended(&Cause { words: "it ended".into(), kind }, blame, held, NOW, "me")
}

/// What is raised (`true`) and what is cleared.
fn about(alarm_changes: &[AlarmChange]) -> Vec<(&About, bool)> {
    alarm_changes
        .iter()
        .map(|change| match change {
            AlarmChange::Raise(about, _) => (about, true),
            AlarmChange::Clear(about) => (about, false),
        })
        .collect()
}

#[test]
fn what_is_given_up_is_asked_for_again_after_an_hour_but_for_health() {
    let mut broker = broker();
    assert!(broker.may_hear_peer(NOW) && broker.may_hear_health());
    broker.give_up_peer(NOW);
    broker.give_up_health();
    assert!(!broker.may_hear_peer(NOW + LEARN_AGAIN - S) && broker.may_hear_peer(NOW + LEARN_AGAIN));
    assert!(!broker.may_hear_health());
    assert_eq!(about(&ended(&mut broker, CauseKind::Closed, Some(&Request::Peer), S)), [(&About::Peer, true)]);
    assert!(!broker.may_hear_peer(NOW + S));
}

#[test]
fn a_topic_that_ends_connections_is_tried_without_the_flag_then_held_back_and_tried_again() {
    let (mut broker, topic) = (broker(), publish("a"));
    assert!(ended(&mut broker, CauseKind::Closed, Some(&topic), S).is_empty());
    assert!(!broker.is_on_trial(&topic) && broker.is_one_at_a_time());
    assert!(ended(&mut broker, CauseKind::Closed, Some(&topic), S).is_empty());
    assert!(broker.is_on_trial(&topic) && !broker.is_on_trial(&publish("b")));
    let alarm_changes = ended(&mut broker, CauseKind::Closed, Some(&topic), S);
    assert_eq!(about(&alarm_changes), [(&About::HungUp(topic.clone()), true)]);
    let due = NOW + 3600 * S;
    assert!(broker.is_held_back(&topic, NOW) && !broker.is_held_back(&topic, due));
    broker.sending(&topic, due);
    assert!(broker.is_held_back(&topic, due), "one at a time");
    assert!(broker.outlived(|_| false, due).is_empty());
    assert_eq!(broker.outlived(|_| false, due + 5 * S), std::slice::from_ref(&topic));
    assert_eq!(broker.answered(&topic, due + 5 * S), Some(AlarmChange::Clear(About::HungUp(topic))));
}

#[test]
fn a_publication_that_is_answered_without_the_flag_shows_that_nothing_is_retained() {
    let (mut broker, topic) = (broker(), publish("a"));
    (0..2).for_each(|_| assert!(ended(&mut broker, CauseKind::Reset, Some(&topic), S).is_empty()));
    let alarm_changes: Vec<AlarmChange> = broker.answered(&topic, NOW).into_iter().collect();
    assert_eq!((about(&alarm_changes), broker.retains_nothing()), (vec![(&About::Retain, true)], true));
    assert!(!broker.is_on_trial(&topic) && broker.answered(&topic, NOW).is_none());
}

#[test]
fn a_broker_that_says_that_it_retains_nothing_is_believed_and_no_topic_is_to_blame() {
    let (mut broker, topic) = (broker(), publish("a"));
    let said = CauseKind::Disconnected(0x9A);
    assert_eq!(about(&ended(&mut broker, said, Some(&topic), S)), [(&About::Retain, true)]);
    (0..4).for_each(|_| assert!(ended(&mut broker, said, Some(&topic), S).is_empty(), "it is known"));
    assert!(broker.retains_nothing() && !broker.is_held_back(&topic, NOW) && !broker.will(NOW).retain);
    assert!(broker.will(NOW + LEARN_AGAIN).retain, "it is asked again");
}

#[test]
fn three_short_connections_without_a_reason_are_reported_and_a_long_one_counts_as_none() {
    let closed = |broker: &mut BrokerState, held| !ended(broker, CauseKind::Closed, None, held).is_empty();
    let mut broker = broker();
    assert_eq!([closed(&mut broker, S), closed(&mut broker, S), closed(&mut broker, STABLE_AFTER)], [false; 3]);
    assert_eq!([closed(&mut broker, S), closed(&mut broker, S), closed(&mut broker, S)], [false, false, true]);
    assert!(broker.backoff.wait(NOW, 0.0) >= crate::backoff::REFUSED, "a take-over is assumed");
    let (mut resetting, reset) = (self::broker(), CauseKind::Reset);
    let short = |broker: &mut BrokerState| !ended(broker, reset, None, S).is_empty();
    assert_eq!([short(&mut resetting), short(&mut resetting), short(&mut resetting)], [false, false, true]);
    assert!(resetting.backoff.wait(NOW, 0.0) < crate::backoff::REFUSED, "a reset says nothing of a take-over");
}

#[test]
fn a_will_is_left_without_the_flag_at_every_second_attempt_after_three_that_were_closed() {
    let mut broker = broker();
    let mut attempts = Vec::new();
    for _ in 0..6 {
        attempts.push(broker.will(NOW).retain);
        assert!(broker.failed(CauseKind::Closed, NOW).is_empty());
    }
    assert_eq!(attempts, [true, true, true, false, true, false]);
}

#[test]
fn a_broker_that_is_known_to_retain_nothing_and_closes_some_connects_is_not_tried_for_its_will_again() {
    let mut broker = broker();
    ended(&mut broker, CauseKind::Disconnected(0x9A), None, S);
    (0..3).for_each(|_| drop(broker.failed(CauseKind::Closed, NOW)));
    assert!(!broker.will(NOW).retain);
    let alarm_changes = broker.accepted(&testing::connected(Protocol::V5), NOW);
    assert!(alarm_changes.is_some(), "the first connection that it accepts is kept");
}

#[test]
fn a_reset_over_our_own_status_may_be_chance_and_a_second_one_is_not() {
    let status = |broker: &mut BrokerState, kind| drop(ended(broker, kind, Some(&Request::Status), S));
    let mut broker = broker();
    status(&mut broker, CauseKind::Reset);
    assert!(broker.may_hear_status());
    status(&mut broker, CauseKind::Reset);
    assert!(!broker.may_hear_status());
    let mut closing = self::broker();
    status(&mut closing, CauseKind::Closed);
    assert!(!closing.may_hear_status());
    closing.will(NOW + LEARN_AGAIN);
    status(&mut closing, CauseKind::Reset);
    assert!(closing.may_hear_status(), "the end before was no reset");
}

#[test]
fn what_a_broker_offers_anew_clears_its_alarms_and_take_overs_that_go_on_keep_theirs() {
    let mut broker = broker();
    let offers = |maximum_qos| Connected { maximum_qos, ..testing::connected(Protocol::V5) };
    let cleared = |broker: &mut BrokerState, maximum_qos| {
        let alarm_changes = broker.accepted(&offers(maximum_qos), NOW).unwrap();
        (
            about(&alarm_changes).contains(&(&About::Qos, false)),
            about(&alarm_changes).contains(&(&About::TakenOver, false)),
        )
    };
    assert_eq!(cleared(&mut broker, Qos::AtLeastOnce), (false, true));
    assert_eq!(cleared(&mut broker, Qos::AtLeastOnce), (false, true), "as before");
    assert_eq!(cleared(&mut broker, Qos::ExactlyOnce), (true, true));
    (0..3).for_each(|_| drop(ended(&mut broker, CauseKind::TakenOver, None, S)));
    assert_eq!(cleared(&mut broker, Qos::ExactlyOnce), (false, false));
    broker.failed(CauseKind::WillQos, NOW);
    assert_eq!(cleared(&mut broker, Qos::AtMostOnce), (false, false), "a limit that is known");
    assert!(!broker.will(NOW).assured && broker.will(NOW + LEARN_AGAIN).assured);
}
