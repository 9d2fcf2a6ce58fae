//! What is delivered, once and in order, whatever happens to the broker.

use std::collections::BTreeSet;
use std::time::Duration;

use fieldgate_link::{LinkState, LinkStatus, Protocol};
use fieldgate_model::{Message, Qos, RunId};

use crate::common::relay::Relay;
use crate::harness::*;

async fn happy_path(protocol: Protocol) {
    let broker = Mosquitto::start();
    let watch = listener(&broker);
    let spool = open_spool();
    let mut old = reading("air", 9);
    old.run = RunId(1);
    put(&spool, old);
    let mut link = start(settings(protocol, broker.port), &spool);
    link.latest.set("b/health".into(), b"well".to_vec());
    link.up().await;
    (1..=500).for_each(|seq| put(&spool, reading("air", seq)));
    eventually("all acknowledged", || spool.is_empty()).await;
    eventually("all arrived", || watch.count("b/sensors/air") == 500).await;
    assert_eq!(in_order(&payloads(&watch, "b/sensors/air")), (1..=500).collect::<Vec<u64>>());
    eventually("the old one", || watch.count("b/late/air") > 0).await;
    assert_eq!(watch.count("b/late/air"), 1);
    eventually("retained", || payloads(&watch, "b/health") == ["well"]).await;
    command(&broker, "on", false);
    let taken = link.command().await;
    assert_eq!((taken.topic.as_str(), &taken.payload[..]), (PUMP, &b"on"[..]));
    assert!(!taken.retain && !taken.stale);
    put(&spool, reading("air", 501));
    let took = link.end().await;
    assert!(took < Duration::from_millis(1000), "{took:?}");
    eventually("flushed", || watch.count("b/sensors/air") == 501).await;
    eventually("offline", || payloads(&watch, "b/status").last().is_some_and(|status| status == "offline")).await;
    assert_eq!(payloads(&watch, "b/status"), ["online", "offline"]);
}

#[tokio::test]
async fn readings_commands_and_retained_topics_travel_under_version_5() {
    happy_path(Protocol::V5).await;
}

#[tokio::test]
async fn readings_commands_and_retained_topics_travel_under_3_1_1() {
    happy_path(Protocol::V4).await;
}

async fn restart(protocol: Protocol) {
    let mut broker = Mosquitto::start();
    let spool = open_spool();
    let mut link = start(settings(protocol, broker.port), &spool);
    link.latest.set("b/devices".into(), b"all".to_vec());
    let watch = listener(&broker);
    link.up().await;
    (1..=50).for_each(|seq| put(&spool, reading("air", seq)));
    eventually("first part", || spool.is_empty()).await;
    eventually("first part seen", || watch.count("b/sensors/air") == 50).await;
    broker.kill9();
    let words = link.until("down", |status| status.last_error.is_some()).await.last_error.unwrap();
    assert!(words.contains("closed the connection") || words.contains("refused"), "{words}");
    (51..=300).for_each(|seq| put(&spool, reading("air", seq)));
    broker.start_again();
    let watch = listener(&broker);
    link.until("up again", |status| status.connects == 2).await;
    eventually("second part", || spool.is_empty()).await;
    let seen = |seq: u64| in_order(&payloads(&watch, "b/sensors/air")).contains(&seq);
    eventually("the last arrives", || seen(300)).await;
    let reported = || watch.count("b/devices") == 1 && watch.count("b/status") == 1;
    eventually("the new broker gets what is retained", reported).await;
    link.end().await;
}

#[tokio::test]
async fn what_is_unacknowledged_is_sent_again_after_a_restart_of_the_broker_under_version_5() {
    restart(Protocol::V5).await;
}

#[tokio::test]
async fn what_is_unacknowledged_is_sent_again_after_a_restart_of_the_broker_under_3_1_1() {
    restart(Protocol::V4).await;
}

#[tokio::test]
async fn a_refused_topic_raises_an_alarm_and_holds_back_nothing_else() {
    let broker = with_acl("topic readwrite b/status\ntopic readwrite b/sensors/good\n");
    let spool = open_spool();
    let mut link = start(settings(Protocol::V5, broker.port), &spool);
    for seq in 1..=100 {
        put(&spool, reading("bad", seq));
        put(&spool, reading("good", seq));
    }
    let reported =
        |status: &LinkStatus| status.alarm.as_ref().is_some_and(|alarm| alarm.contains("not authorized (0x87)"));
    let status = link.until("alarm", reported).await;
    assert!(status.alarm.as_ref().unwrap().contains("b/sensors/bad"), "{status:?}");
    eventually("the others", || spool.len() == 100).await;
    assert_eq!(status.state, LinkState::Up);
    link.end().await;
}

#[tokio::test]
async fn a_message_larger_than_the_broker_accepts_is_set_aside() {
    let broker = Mosquitto::with_lines("max_packet_size 2000");
    let spool = open_spool();
    let mut link = start(settings(Protocol::V5, broker.port), &spool);
    link.up().await;
    put(&spool, Message { body: format!("\"value\":\"{}\"", "x".repeat(3000)).into(), ..reading("air", 1) });
    put(&spool, reading("air", 2));
    eventually("both are gone", || spool.is_empty()).await;
    assert_eq!(link.status.borrow().connects, 1);
    link.end().await;
}

#[tokio::test]
async fn a_broker_that_offers_less_gets_less_and_an_alarm_says_so() {
    let broker = Mosquitto::with_lines("max_qos 0\nretain_available false\nmax_inflight_messages 1");
    let watch = listener(&broker);
    let spool = open_spool();
    let mut link = start(settings(Protocol::V5, broker.port), &spool);
    put(&spool, reading("air", 1));
    let status = link.until("up", |status| status.state == LinkState::Up && status.alarm.is_some()).await;
    eventually("delivered", || spool.is_empty()).await;
    eventually("arrived", || watch.count("b/sensors/air") == 1).await;
    let alarm = status.alarm.unwrap();
    assert!(alarm.contains("QoS 0") || alarm.contains("retains no messages"), "{alarm}");
    link.end().await;
}

async fn cuts(protocol: Protocol) {
    let broker = Mosquitto::with_lines("max_queued_messages 0");
    let watch = listener(&broker);
    let cable = Relay::to(broker.port, Duration::ZERO);
    let spool = open_spool();
    let mut link = start(settings(protocol, cable.port), &spool);
    link.up().await;
    let mut cuts = 0;
    for seq in 1..=3000 {
        put(&spool, reading(["air", "soil", "door"][seq as usize % 3], seq));
        if seq % 400 == 0 {
            link.until("a link to cut", |status| status.connects > cuts).await;
            cable.tear();
            cuts = link.status.borrow().connects;
        }
        if seq % 20 == 0 {
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }
    eventually("all acknowledged", || spool.is_empty()).await;
    let arrived = || {
        let of = |sensor: &str| in_order(&payloads(&watch, &format!("b/sensors/{sensor}")));
        ["air", "soil", "door"].into_iter().flat_map(of).collect::<BTreeSet<u64>>().len()
    };
    eventually("none is lost", || arrived() == 3000).await;
    assert!(cuts >= 7, "{:?}", link.status.borrow());
    link.end().await;
}

#[tokio::test]
async fn nothing_is_lost_over_cut_connections_under_version_5() {
    cuts(Protocol::V5).await;
}

#[tokio::test]
async fn nothing_is_lost_over_cut_connections_under_3_1_1() {
    cuts(Protocol::V4).await;
}

#[tokio::test]
async fn the_present_does_not_wait_for_a_long_backlog() {
    // By default Mosquitto drops what a subscriber has not taken beyond a thousand messages.
    let broker = Mosquitto::with_lines("max_queued_messages 0");
    let watch = listener(&broker);
    let spool = open_spool();
    for seq in 1..=20_000 {
        put(&spool, Message { run: RunId(1), ..reading("air", seq) });
    }
    let mut link = start(settings(Protocol::V5, broker.port), &spool);
    link.up().await;
    put(&spool, reading("air", 1));
    eventually("the present", || watch.count("b/sensors/air") > 0).await;
    emptied(&spool).await;
    eventually("all arrived", || watch.count("b/late/air") == 20_000).await;
    // By the order in which they came, for a slow listener has it late.
    let before = watch.everything().iter().take_while(|message| message.topic != "b/sensors/air").count();
    assert!(before < 10_000, "it came behind {before} others");
    assert_eq!(in_order(&payloads(&watch, "b/late/air")), (1..=20_000).collect::<Vec<u64>>());
    link.end().await;
}

/// The seam between a start of the spool and one of the link: neither waits for the other, and nothing is skipped.
#[tokio::test]
async fn the_present_arrives_while_a_large_spool_is_examined_and_the_backlog_afterwards() {
    let broker = Mosquitto::with_lines("max_queued_messages 0");
    let watch = listener(&broker);
    let spool = open_spool();
    (1..=20_000).for_each(|seq| put(&spool, Message { run: RunId(1), ..reading("air", seq) }));
    let (gate, gated) = std::sync::mpsc::sync_channel(1);
    let spool = spool.reopen(gated).await;
    let mut link = start(settings(Protocol::V5, broker.port), &spool);
    link.up().await;
    (1..=100).for_each(|seq| put(&spool, reading("air", seq)));
    eventually("the present", || watch.count("b/sensors/air") == 100).await;
    assert_eq!(watch.count("b/late/air"), 0, "the file is still to be examined");
    gate.send(()).unwrap();
    eventually("all arrived", || watch.count("b/late/air") == 20_000).await;
    emptied(&spool).await;
    assert_eq!(in_order(&payloads(&watch, "b/late/air")), (1..=20_000).collect::<Vec<u64>>());
    assert_eq!(in_order(&payloads(&watch, "b/sensors/air")), (1..=100).collect::<Vec<u64>>(), "and nothing twice");
    link.end().await;
}

#[tokio::test]
async fn a_broker_that_takes_one_at_a_time_gets_one_at_a_time() {
    let broker = Mosquitto::with_lines("max_inflight_messages 1");
    let spool = open_spool();
    let mut link = start(settings(Protocol::V5, broker.port), &spool);
    link.latest.set("b/health".into(), b"well".to_vec());
    (1..=200).for_each(|seq| put(&spool, reading("air", seq)));
    link.up().await;
    eventually("all acknowledged", || spool.is_empty()).await;
    assert_eq!(link.status.borrow().connects, 1);
    link.end().await;
}

#[tokio::test]
async fn qos_2_arrives_and_qos_0_from_before_the_connection_does_not() {
    // Under 3.1.1 Mosquitto 2.0.11 confirms and drops what is more than `max_inflight_messages`.
    for protocol in [Protocol::V4, Protocol::V5] {
        let broker = Mosquitto::start();
        let watch = listener(&broker);
        let spool = open_spool();
        put(&spool, Message { qos: Qos::AtMostOnce, ..reading("air", 1) });
        tokio::time::sleep(Duration::from_millis(20)).await;
        let mut link = start(settings(protocol, broker.port), &spool);
        link.up().await;
        eventually("forgotten", || spool.is_empty()).await;
        put(&spool, Message { qos: Qos::AtMostOnce, ..reading("air", 2) });
        (3..=100).for_each(|seq| put(&spool, Message { qos: Qos::ExactlyOnce, ..reading("air", seq) }));
        eventually("all acknowledged", || spool.is_empty()).await;
        eventually("all arrived", || watch.count("b/sensors/air") == 99).await;
        assert_eq!(in_order(&payloads(&watch, "b/sensors/air")), (2..=100).collect::<Vec<u64>>());
        link.end().await;
    }
}

#[tokio::test]
async fn a_long_backlog_does_not_hold_up_the_end() {
    let broker = Mosquitto::start();
    let spool = open_spool();
    (1..=100_000).for_each(|seq| put(&spool, Message { run: RunId(1), ..reading("air", seq) }));
    let mut link = start(settings(Protocol::V5, broker.port), &spool);
    link.up().await;
    let took = link.end().await;
    assert!(took <= Duration::from_millis(1500) && !spool.is_empty(), "{took:?}");
}
