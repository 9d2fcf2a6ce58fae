use std::sync::Arc;
use std::time::SystemTime;

use super::*;
use fieldgate_model::ClockStatus;
use fieldgate_model::payload::ResponseTarget;
use fieldgate_spool::Stored;

const RUN: RunId = RunId(7);
const NOW: Duration = Duration::from_secs(1000);
const LARGEST: usize = 200;

fn forwarder(protocol: Protocol) -> Forwarder {
    let (late_after, topics) = (Duration::from_secs(60), Topics::new("b"));
    let rules = Rules { run: RUN, late_after, topics, protocol, largest_packet: LARGEST, up_since: NOW };
    let mut forwarder = Forwarder::new(rules);
    forwarder.begin(Sequence(1));
    // Nothing is there from before.
    forwarder.offer(Lane::Late, batch(1, Vec::new()), &Window::new(1), NOW);
    forwarder
}

fn message(kind: MessageKind, source: &str, body: Vec<u8>) -> Message {
    let key = Key { kind, source: Name::new(source).unwrap() };
    let taken_at = Moment { boot: NOW, wall: SystemTime::UNIX_EPOCH, clock: ClockStatus::Synchronised };
    Message { key, run: RUN, seq: 1, taken_at, qos: Qos::AtLeastOnce, retain: false, body }
}

fn reading(source: &str, bytes: usize) -> Message {
    message(MessageKind::Reading, source, format!("\"value\":\"{}\"", "x".repeat(bytes)).into_bytes())
}

/// As the spool answers: `messages` from sequence `from` on.
fn batch(from: u64, messages: Vec<Message>) -> Batch {
    let next = Sequence(from + messages.len() as u64);
    let stored = |(sequence, message)| Stored { sequence: Sequence(sequence), message: Arc::new(message) };
    Batch { messages: (from..).zip(messages).map(stored).collect(), next }
}

/// Asks for what the live lane wants, and answers with `messages`.
fn read(forwarder: &mut Forwarder, window: &Window, messages: Vec<Message>) {
    let from = forwarder.ask(Lane::Live, Sequence(100)).unwrap();
    forwarder.offer(Lane::Live, batch(from.0, messages), window, NOW);
}

fn next(forwarder: &mut Forwarder, window: &Window) -> Option<Step> {
    let now = Moment { boot: NOW, wall: SystemTime::UNIX_EPOCH, clock: ClockStatus::Synchronised };
    let is_suspended = |topic: &str| topic == "b/sensors/suspended";
    forwarder.next(&Present { now, window, is_suspended: &is_suspended, may_retain: &|_| true })
}

/// The next publication, which takes its place in the window; its sequence.
fn send(forwarder: &mut Forwarder, window: &mut Window) -> Option<u64> {
    match next(forwarder, window)? {
        Step::Publish(slot, _) => {
            let Slot::Spooled { sequence: Sequence(sequence), .. } = slot else { panic!("{slot:?}") };
            window.enter(slot);
            Some(sequence)
        }
        Step::Skip(skipped) => panic!("{skipped:?}"),
    }
}

fn answer(forwarder: &mut Forwarder, sequence: u64, source: &str, fate: &Fate) {
    let key = Key { kind: MessageKind::Reading, source: Name::new(source).unwrap() };
    forwarder.answered(Sequence(sequence), &key, Lane::Live, fate, NOW);
}

#[test]
fn what_the_broker_acknowledged_is_settled_and_what_it_will_never_take_is_given_up() {
    let (mut forwarder, mut window) = (forwarder(Protocol::V5), Window::new(8));
    read(&mut forwarder, &window, vec![reading("air", 1), reading("soil", 1), reading("door", 1), reading("air", 1)]);
    for sequence in 1..=4 {
        assert_eq!(send(&mut forwarder, &mut window), Some(sequence));
    }
    assert_eq!(*forwarder.settled(), Settled::default(), "sent is not delivered");
    answer(&mut forwarder, 1, "air", &Fate::Acknowledged);
    answer(&mut forwarder, 2, "soil", &Fate::Refused("quota".into()));
    answer(&mut forwarder, 3, "door", &Fate::Unacceptable("malformed".into()));
    answer(&mut forwarder, 4, "air", &Fate::Lost);
    let settled = Settled { acknowledged: vec![Sequence(1)], given_up: vec![(Sequence(3), "malformed".to_owned())] };
    assert_eq!(forwarder.take_settled(), settled);
    assert_eq!(*forwarder.settled(), Settled::default());
}

#[test]
fn what_the_spool_could_not_take_in_is_reported_again() {
    let mut forwarder = forwarder(Protocol::V5);
    answer(&mut forwarder, 1, "air", &Fate::Acknowledged);
    let settled = forwarder.take_settled();
    forwarder.put_back(settled);
    answer(&mut forwarder, 2, "air", &Fate::Acknowledged);
    assert_eq!(forwarder.take_settled().acknowledged, [Sequence(1), Sequence(2)]);
}

#[test]
fn an_answer_that_still_has_what_was_settled_meanwhile_sends_it_no_second_time() {
    let (mut forwarder, mut window) = (forwarder(Protocol::V5), Window::new(8));
    read(&mut forwarder, &window, vec![reading("air", 1), reading("air", 1)]);
    send(&mut forwarder, &mut window);
    // All of it is read again, after a file was found; the first is on its way, the second is settled in between.
    forwarder.start_over();
    forwarder.begin(Sequence(1));
    let from = forwarder.ask(Lane::Live, Sequence(100)).unwrap();
    answer(&mut forwarder, 2, "air", &Fate::Acknowledged);
    forwarder.take_settled();
    forwarder.offer(Lane::Live, batch(from.0, vec![reading("air", 1); 3]), &window, NOW);
    assert_eq!(send(&mut forwarder, &mut window), Some(3));
    assert_eq!(send(&mut forwarder, &mut window), None);
}

#[test]
fn what_cannot_be_sent_is_skipped_and_holds_up_nothing_behind_it() {
    let (mut forwarder, mut window) = (forwarder(Protocol::V5), Window::new(8));
    let mut unkept = Message { qos: Qos::AtMostOnce, ..reading("air", 1) };
    unkept.taken_at.boot -= Duration::from_secs(1);
    let damaged = message(MessageKind::Reply, "pump", vec![0xff]);
    read(&mut forwarder, &window, vec![unkept, damaged, reading("soil", LARGEST), reading("suspended", 1)]);
    read(&mut forwarder, &window, vec![reading("air", 1)]);
    let mut skipped = || match next(&mut forwarder, &window) {
        Some(Step::Skip(skipped)) => skipped,
        other => panic!("{other:?}"),
    };
    assert_eq!(skipped(), Skipped::ByRule, "QoS 0 from before the connection");
    assert_eq!(skipped(), Skipped::Damaged(Name::new("pump").unwrap()));
    let too_large = skipped();
    assert!(matches!(&too_large, Skipped::TooLarge { topic, .. } if topic == "b/sensors/soil"), "{too_large:?}");
    assert_eq!(skipped(), Skipped::ByRule, "the topic is suspended");
    assert_eq!(send(&mut forwarder, &mut window), Some(5));
    let settled = forwarder.take_settled();
    assert_eq!(settled.acknowledged, [Sequence(1), Sequence(2)], "what waits for its topic is not settled");
    assert_eq!(settled.given_up, [(Sequence(3), TOO_LARGE.to_owned())]);
}

#[test]
fn a_reply_also_goes_where_the_requester_wants_it_under_mqtt_5() {
    for (protocol, copies) in [(Protocol::V5, 1), (Protocol::V4, 0)] {
        let (mut forwarder, window) = (forwarder(protocol), Window::new(8));
        let response = Some(ResponseTarget { topic: "requester".into(), correlation: Some(vec![1]) });
        let body = StoredReply { payload: "done".into(), response }.encode();
        read(&mut forwarder, &window, vec![message(MessageKind::Reply, "pump", body)]);
        let steps: Vec<_> = std::iter::from_fn(|| next(&mut forwarder, &window)).collect();
        let copy =
            |step: &&Step| matches!(step, Step::Publish(Slot::RequesterReply(_), copy) if copy.topic == "requester");
        assert_eq!((steps.len(), steps.iter().filter(copy).count()), (1 + copies, copies), "{steps:?}");
        assert!(!forwarder.is_drained(Sequence(100)) && forwarder.is_drained(Sequence(2)));
    }
}
