//! Commands and replies.

use std::time::{Duration, Instant};

use fieldgate_link::{LinkStatus, Protocol, Settings};
use fieldgate_model::payload::{ResponseTarget, StoredReply};
use fieldgate_model::{Key, Message, MessageKind, Name};

use crate::common::client::{Client, publish_bytes_retained, publish_lines, publish_v5};
use crate::harness::*;

#[tokio::test]
async fn a_reply_also_goes_to_the_requester_of_version_5() {
    let broker = Mosquitto::start();
    let watch = Client::subscribe(&broker.endpoint(), &["#"]);
    let spool = open_spool();
    let mut link = start(settings(Protocol::V5, broker.port), &spool);
    link.up().await;
    // Behind the answer to the subscription.
    put(&spool, reading("air", 1));
    eventually("delivered", || spool.is_empty()).await;
    publish_v5(&broker.endpoint(), PUMP, "on", &[("response-topic", "app/answers"), ("correlation-data", "c7")]);
    let taken = link.command().await;
    let wanted = ResponseTarget { topic: "app/answers".into(), correlation: Some(b"c7".to_vec()) };
    assert_eq!(taken.response, Some(wanted));
    let body = StoredReply { payload: "{\"id\":\"a1\"}".into(), response: taken.response }.encode();
    let key = Key { kind: MessageKind::Reply, source: Name::new("pump").unwrap() };
    put(&spool, Message { key, body, ..reading("pump", 0) });
    for topic in ["b/actuators/pump/reply", "app/answers"] {
        eventually(topic, || payloads(&watch, topic) == ["{\"id\":\"a1\"}"]).await;
    }
    let answers = watch.everything().into_iter().filter(|message| message.payload.contains("a1"));
    assert!(answers.map(|message| message.retain).eq([false, false]), "nobody keeps an answer");
    link.end().await;
}

#[tokio::test]
async fn a_retained_command_keeps_its_flag_under_version_5() {
    let broker = Mosquitto::start();
    command(&broker, "on", true);
    let mut link = start(settings(Protocol::V5, broker.port), &open_spool());
    assert!(link.command().await.retain);
    command(&broker, "off", true);
    assert!(link.command().await.retain);
    link.end().await;
}

async fn persistent(protocol: Protocol) {
    let broker = Mosquitto::start();
    let spool = open_spool();
    let id = Some("gateway".to_owned());
    let settings = Settings { clean_session: false, client_id: id, ..settings(protocol, broker.port) };
    for round in 0..3 {
        let mut link = start(settings.clone(), &spool);
        link.up().await;
        if round > 0 {
            for _ in 0..60 {
                let queued = link.command().await;
                assert!(queued.stale, "kept by the broker while we were away");
            }
        }
        put(&spool, reading("air", round));
        eventually("delivered", || spool.is_empty()).await;
        // Until the broker has sent what the link knows by that the present begins, a new one is taken for one that waited.
        let begun = Instant::now();
        loop {
            command(&broker, "on", false);
            if !link.command().await.stale {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(15), "a new command is still taken for one that was kept");
        }
        assert_eq!(link.status.borrow().connects, 1);
        link.end().await;
        publish_lines(&broker.endpoint(), PUMP, &vec!["on".to_owned(); 60]);
    }
}

#[tokio::test]
async fn what_a_persistent_session_queued_is_stale_under_version_5() {
    persistent(Protocol::V5).await;
}

#[tokio::test]
async fn what_a_persistent_session_queued_is_stale_under_3_1_1() {
    persistent(Protocol::V4).await;
}

#[tokio::test]
async fn without_the_right_to_read_its_status_commands_are_refused_and_an_alarm_says_why() {
    for protocol in [Protocol::V4, Protocol::V5] {
        let broker = with_acl("topic write b/status\ntopic readwrite b/actuators/#\n");
        let id = Some("gateway".to_owned());
        let settings = Settings { clean_session: false, client_id: id, ..settings(protocol, broker.port) };
        let mut link = start(settings, &open_spool());
        let reported =
            |status: &LinkStatus| status.alarm.as_ref().is_some_and(|alarm| alarm.contains("commands are refused"));
        link.until("alarm", reported).await;
        command(&broker, "on", false);
        assert!(link.command().await.stale);
        link.end().await;
    }
}

#[tokio::test]
async fn under_3_1_1_a_forbidden_publish_that_is_acknowledged_all_the_same_raises_an_alarm() {
    let broker = with_acl("topic read b/#\n");
    let mut link = start(settings(Protocol::V4, broker.port), &open_spool());
    let reported = |status: &LinkStatus| status.alarm.as_ref().is_some_and(|alarm| alarm.contains("allow us to write"));
    link.until("alarm", reported).await;
    link.end().await;
}

#[tokio::test]
async fn under_3_1_1_a_retained_command_that_is_too_large_costs_the_commands_and_not_the_link() {
    let broker = Mosquitto::start();
    publish_bytes_retained(&broker.endpoint(), PUMP, &vec![b'0'; 300_000]);
    let spool = open_spool();
    let mut link = start(settings(Protocol::V4, broker.port), &spool);
    let reported =
        |status: &LinkStatus| status.alarm.as_ref().is_some_and(|alarm| alarm.contains("larger than 262144"));
    let status = link.until("alarm", reported).await;
    assert!(status.last_error.unwrap().contains("300"), "the cause is reported with its size");
    put(&spool, reading("air", 1));
    eventually("readings flow", || spool.is_empty()).await;
    assert!(link.status.borrow().connects <= 4, "{:?}", link.status.borrow());
    link.end().await;
}
