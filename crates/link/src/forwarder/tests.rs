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
    forwarder_for(protocol, LARGEST)
}

fn forwarder_for(protocol: Protocol, largest_packet: usize) -> Forwarder {
    let (late_after, topics) = (Duration::from_secs(60), Topics::new("b"));
    let facts = ConnectionFacts { run: RUN, late_after, topics, protocol, largest_packet, up_since: NOW };
    let mut forwarder = Forwarder::new(facts);
    forwarder.begin(Sequence(1));
    // Nothing is there from before.
    forwarder.take_batch(Lane::Late, batch(1, Vec::new()), &Window::new(1), NOW);
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
    forwarder.take_batch(Lane::Live, batch(from.0, messages), window, NOW);
}

fn next(forwarder: &mut Forwarder, window: &Window) -> Option<Step> {
    let now = Moment { boot: NOW, wall: SystemTime::UNIX_EPOCH, clock: ClockStatus::Synchronised };
    let is_suspended = |topic: &str| topic == "b/sensors/suspended";
    forwarder.next(&Present { now, window, is_suspended: &is_suspended, may_retain: &|_| true })
}

/// The next publication, which takes its place in the window; its sequence.
fn send(forwarder: &mut Forwarder, window: &mut Window) -> Option<u64> {
    match next(forwarder, window)? {
        Step::Publish(sent, _) => {
            let InFlight::Spooled { sequence: Sequence(sequence), .. } = sent else { panic!("{sent:?}") };
            window.enter(sent);
            Some(sequence)
        }
        Step::Skip(skipped) => panic!("{skipped:?}"),
    }
}

fn answer(forwarder: &mut Forwarder, sequence: u64, source: &str, outcome: &PublishOutcome) {
    let key = Key { kind: MessageKind::Reading, source: Name::new(source).unwrap() };
    forwarder.answered(Sequence(sequence), &key, Lane::Live, outcome, NOW);
}

#[test]
fn what_the_broker_acknowledged_is_settled_and_what_it_will_never_take_is_given_up() {
    let (mut forwarder, mut window) = (forwarder(Protocol::V5), Window::new(8));
    read(&mut forwarder, &window, vec![reading("air", 1), reading("soil", 1), reading("door", 1), reading("air", 1)]);
    for sequence in 1..=4 {
        assert_eq!(send(&mut forwarder, &mut window), Some(sequence));
    }
    assert_eq!(*forwarder.settled(), Settled::default(), "sent is not delivered");
    answer(&mut forwarder, 1, "air", &PublishOutcome::Acknowledged);
    answer(&mut forwarder, 2, "soil", &PublishOutcome::Refused("quota".into()));
    answer(&mut forwarder, 3, "door", &PublishOutcome::Unacceptable("malformed".into()));
    answer(&mut forwarder, 4, "air", &PublishOutcome::Lost);
    let settled = Settled { acknowledged: vec![Sequence(1)], given_up: vec![(Sequence(3), "malformed".to_owned())] };
    assert_eq!(forwarder.take_settled(), settled);
    assert_eq!(*forwarder.settled(), Settled::default());
}

#[test]
fn what_the_spool_could_not_take_in_is_reported_again() {
    let mut forwarder = forwarder(Protocol::V5);
    answer(&mut forwarder, 1, "air", &PublishOutcome::Acknowledged);
    let settled = forwarder.take_settled();
    forwarder.put_back(settled);
    answer(&mut forwarder, 2, "air", &PublishOutcome::Acknowledged);
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
    answer(&mut forwarder, 2, "air", &PublishOutcome::Acknowledged);
    forwarder.take_settled();
    forwarder.take_batch(Lane::Live, batch(from.0, vec![reading("air", 1); 3]), &window, NOW);
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
    assert_eq!(skipped(), Skipped::Damaged(Name::new("pump").unwrap()), "replies come first");
    assert_eq!(skipped(), Skipped::ByRule, "QoS 0 from before the connection");
    let too_large = skipped();
    assert!(matches!(&too_large, Skipped::TooLarge { topic, .. } if topic == "b/sensors/soil"), "{too_large:?}");
    assert_eq!(skipped(), Skipped::ByRule, "the topic is suspended");
    assert_eq!(send(&mut forwarder, &mut window), Some(5));
    let settled = forwarder.take_settled();
    assert_eq!(settled.acknowledged, [Sequence(2), Sequence(1)], "what waits for its topic is not settled");
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
        let copy = |step: &&Step| matches!(step, Step::Publish(InFlight::RequesterReply(_), copy) if copy.topic == "requester");
        assert_eq!((steps.len(), steps.iter().filter(copy).count()), (1 + copies, copies), "{steps:?}");
        assert!(!forwarder.is_drained(Sequence(100)) && forwarder.is_drained(Sequence(2)));
    }
}

#[test]
fn under_mqtt_3_1_1_one_message_is_on_its_way_at_qos_2_and_under_mqtt_5_many_are() {
    for (protocol, at_once) in [(Protocol::V4, [Some(1), Some(3), None]), (Protocol::V5, [Some(1), Some(2), Some(3)])] {
        let (mut forwarder, mut window) = (forwarder(protocol), Window::new(8));
        let exact = |source| Message { qos: Qos::ExactlyOnce, ..reading(source, 1) };
        read(&mut forwarder, &window, vec![exact("air"), exact("soil"), reading("door", 1)]);
        let mut next = || send(&mut forwarder, &mut window);
        assert_eq!([next(), next(), next()], at_once);
    }
}

#[test]
fn a_packet_may_be_as_large_as_the_broker_accepts() {
    let size = match next_of(forwarder_for(Protocol::V5, 10_000)) {
        Step::Publish(_, publication) => publication.packet_size(),
        other => panic!("{other:?}"),
    };
    assert!(matches!(next_of(forwarder_for(Protocol::V5, size)), Step::Publish(..)));
    assert!(matches!(next_of(forwarder_for(Protocol::V5, size - 1)), Step::Skip(Skipped::TooLarge { .. })));
}

/// What it does with a reading.
fn next_of(mut forwarder: Forwarder) -> Step {
    let window = Window::new(8);
    read(&mut forwarder, &window, vec![reading("air", 10)]);
    next(&mut forwarder, &window).unwrap()
}

/// What it makes of a message of this run that the live lane has, or of one that the late lane has.
fn publication_of(message: Message, lane: Lane, may_retain: bool) -> Option<Step> {
    let (mut forwarder, window) = (forwarder(Protocol::V5), Window::new(8));
    match lane {
        Lane::Live => read(&mut forwarder, &window, vec![message]),
        Lane::Late => {
            forwarder.begin(Sequence(2));
            forwarder.take_batch(Lane::Late, batch(1, vec![message]), &window, NOW);
        }
    }
    let now = Moment { boot: NOW + LATER, wall: wall(), clock: ClockStatus::Synchronised };
    forwarder.next(&Present { now, window: &window, is_suspended: &|_| false, may_retain: &|_| may_retain })
}

const LATER: Duration = Duration::from_secs(10);

fn wall() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000)
}

#[test]
fn what_is_late_goes_elsewhere_says_so_and_is_not_retained_and_a_time_is_corrected_within_one_boot_only() {
    let unsynchronised = |run| {
        let mut message = Message { run, retain: true, ..reading("air", 1) };
        message.taken_at.clock = ClockStatus::Unsynchronised;
        message
    };
    for (run, lane, may_retain, is_retained, corrected) in [
        (RUN, Lane::Live, true, true, Some(wall() - LATER)),
        (RUN, Lane::Live, false, false, Some(wall() - LATER)),
        (RunId(1), Lane::Late, true, false, None),
    ] {
        let (message, late) = (unsynchronised(run), lane == Lane::Late);
        let topic = Topics::new("b").of(&message.key, late);
        let payload = payload::reading(&message, late, corrected);
        let expected = Publication::plain(topic, payload, Qos::AtLeastOnce, is_retained);
        let Some(Step::Publish(_, publication)) = publication_of(message, lane, may_retain) else { panic!() };
        assert_eq!(publication, expected);
    }
}

#[test]
fn only_at_qos_0_is_what_was_taken_before_the_connection_not_sent() {
    let (since, before) = (Duration::ZERO, Duration::from_secs(1));
    for (qos, run, lane, age, is_sent) in [
        (Qos::AtMostOnce, RUN, Lane::Live, since, true),
        (Qos::AtMostOnce, RUN, Lane::Live, before, false),
        (Qos::AtMostOnce, RunId(1), Lane::Late, since, false),
        (Qos::AtLeastOnce, RUN, Lane::Live, before, true),
        (Qos::AtLeastOnce, RunId(1), Lane::Late, since, true),
    ] {
        let mut message = Message { qos, run, ..reading("air", 1) };
        message.taken_at.boot -= age;
        let step = publication_of(message, lane, true).unwrap();
        assert_eq!(matches!(step, Step::Publish(..)), is_sent, "{qos:?} {lane:?} {age:?}: {step:?}");
    }
}

#[test]
fn what_was_settled_and_not_reported_yet_is_not_sent_a_second_time() {
    let (mut forwarder, mut window) = (forwarder(Protocol::V5), Window::new(8));
    let all = || vec![reading("air", 1), reading("soil", 1), reading("door", 1)];
    read(&mut forwarder, &window, all());
    (1..=3).for_each(|sequence| assert_eq!(send(&mut forwarder, &mut window), Some(sequence)));
    answer(&mut forwarder, 1, "air", &PublishOutcome::Acknowledged);
    answer(&mut forwarder, 2, "soil", &PublishOutcome::Unacceptable("malformed".into()));
    forwarder.start_over();
    assert!(!forwarder.has_begun());
    forwarder.begin(Sequence(1));
    assert!(forwarder.has_begun());
    // What was answered has left the window; the third is lost.
    let mut window = Window::new(8);
    read(&mut forwarder, &window, all());
    assert_eq!([send(&mut forwarder, &mut window), send(&mut forwarder, &mut window)], [Some(3), None]);
}

#[test]
fn an_answer_to_one_lane_does_not_forget_what_was_settled_while_the_other_reads() {
    let (mut forwarder, mut window) = (forwarder(Protocol::V5), Window::new(8));
    read(&mut forwarder, &window, vec![reading("air", 1)]);
    assert_eq!(send(&mut forwarder, &mut window), Some(1));
    forwarder.start_over();
    forwarder.begin(Sequence(1));
    assert_eq!([Lane::Late, Lane::Live].map(|lane| forwarder.ask(lane, Sequence(100)).unwrap().0), [0, 1]);
    answer(&mut forwarder, 1, "air", &PublishOutcome::Acknowledged);
    forwarder.take_settled();
    let mut window = Window::new(8);
    forwarder.take_batch(Lane::Late, batch(1, Vec::new()), &window, NOW);
    forwarder.take_batch(Lane::Live, batch(1, vec![reading("air", 1)]), &window, NOW);
    assert_eq!(send(&mut forwarder, &mut window), None);
}

#[test]
fn what_was_refused_is_reported_as_passed_over_and_tried_again_alone() {
    let (mut forwarder, mut window) = (forwarder(Protocol::V5), Window::new(8));
    read(&mut forwarder, &window, vec![reading("air", 1), reading("air", 1)]);
    assert_eq!((send(&mut forwarder, &mut window), forwarder.passed_over()), (Some(1), 0));
    answer(&mut forwarder, 1, "air", &PublishOutcome::Refused("quota".into()));
    assert_eq!((forwarder.passed_over(), send(&mut forwarder, &mut window)), (2, None));
    assert_eq!((forwarder.take_passed_over(), forwarder.passed_over()), (vec![Sequence(1), Sequence(2)], 0));
    forwarder.retry(NOW + Duration::from_secs(1));
    let mut window = Window::new(8);
    read(&mut forwarder, &window, vec![reading("air", 1), reading("air", 1)]);
    assert_eq!([send(&mut forwarder, &mut window), send(&mut forwarder, &mut window)], [Some(1), None]);
    answer(&mut forwarder, 1, "air", &PublishOutcome::Acknowledged);
    assert_eq!(send(&mut forwarder, &mut window), Some(2));
}

#[test]
fn what_is_tried_and_cannot_be_sent_lets_the_next_of_its_topic_try() {
    let (mut forwarder, mut window) = (forwarder(Protocol::V5), Window::new(8));
    read(&mut forwarder, &window, vec![reading("soil", 1), reading("soil", 1)]);
    assert_eq!(send(&mut forwarder, &mut window), Some(1));
    answer(&mut forwarder, 1, "soil", &PublishOutcome::Refused("quota".into()));
    forwarder.retry(NOW + Duration::from_secs(1));
    let mut window = Window::new(8);
    read(&mut forwarder, &window, vec![reading("soil", LARGEST), reading("soil", 1)]);
    assert!(matches!(next(&mut forwarder, &window), Some(Step::Skip(Skipped::TooLarge { .. }))));
    assert_eq!(send(&mut forwarder, &mut window), Some(2));
}

/// The spool does not know that an answer with it is used.
#[test]
fn what_is_passed_over_while_the_spool_is_asked_is_read_again() {
    let (mut forwarder, mut window) = (forwarder(Protocol::V5), Window::new(8));
    let all = || vec![reading("air", 1), reading("soil", 1)];
    read(&mut forwarder, &window, all());
    (1..=2).for_each(|sequence| assert_eq!(send(&mut forwarder, &mut window), Some(sequence)));
    answer(&mut forwarder, 1, "air", &PublishOutcome::Refused("quota".into()));
    forwarder.retry(NOW + Duration::from_secs(1));
    assert_eq!(forwarder.ask(Lane::Live, Sequence(100)), Some(Sequence(1)));
    answer(&mut forwarder, 2, "soil", &PublishOutcome::Refused("quota".into()));
    assert_eq!(forwarder.take_passed_over(), [Sequence(1), Sequence(2)]);
    let window = Window::new(8);
    assert!(forwarder.take_batch(Lane::Live, batch(1, all()), &window, NOW), "it is asked again at once");
    assert_eq!(forwarder.wants(Lane::Live, Sequence(100)), Some(Sequence(1)));
}

#[test]
fn the_copy_of_a_reply_may_be_as_large_as_the_broker_accepts() {
    let copy = |largest| {
        let (mut forwarder, window) = (forwarder_for(Protocol::V5, largest), Window::new(8));
        let response = Some(ResponseTarget { topic: "r".repeat(100), correlation: None });
        let body = StoredReply { payload: "done".into(), response }.encode();
        read(&mut forwarder, &window, vec![message(MessageKind::Reply, "pump", body)]);
        assert!(matches!(next(&mut forwarder, &window), Some(Step::Publish(InFlight::Spooled { .. }, _))));
        next(&mut forwarder, &window).unwrap()
    };
    let Step::Publish(_, publication) = copy(10_000) else { panic!() };
    let size = publication.packet_size();
    assert!(matches!(copy(size), Step::Publish(..)));
    assert_eq!(copy(size - 1), Step::Skip(Skipped::ReplyTooLarge("r".repeat(100))));
}

#[test]
fn many_replies_that_wait_are_a_flood() {
    let (mut forwarder, window) = (forwarder(Protocol::V5), Window::new(8));
    assert!(!forwarder.is_flooded());
    let replies = (0..crate::lanes::REPLIES_MANY).map(|_| message(MessageKind::Reply, "pump", Vec::new()));
    read(&mut forwarder, &window, replies.collect());
    assert!(forwarder.is_flooded());
}
