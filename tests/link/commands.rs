//! Commands and replies.

use std::time::Duration;

use fieldgate_link::{LinkStatus, Protocol, Settings};
use fieldgate_model::payload::{ResponseTarget, StoredReply};
use fieldgate_model::{Key, Message, MessageKind, Name};

use crate::harness::*;

#[tokio::test]
async fn a_reply_also_goes_to_the_requester_of_version_5() {
    let broker = Mosquitto::start("");
    let watch = broker.watch("#");
    let spool = open_spool();
    let mut link = start(settings(Protocol::V5, broker.port), &spool);
    link.up().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let target = ["-D", "publish", "response-topic", "app/answers", "-D", "publish", "correlation-data", "c7"];
    broker.publish(&[&["-t", "b/actuators/pump/set", "-m", "on"], &target[..]].concat());
    let command = link.commands.recv().await.unwrap();
    let wanted = ResponseTarget { topic: "app/answers".into(), correlation: Some(b"c7".to_vec()) };
    assert_eq!(command.response, Some(wanted));
    let body = StoredReply { payload: "{\"id\":\"a1\"}".into(), response: command.response }.encode();
    let key = Key { kind: MessageKind::Reply, source: Name::new("pump").unwrap() };
    put(&spool, Message { key, body, ..reading("pump", 0) });
    eventually("reply", || watch.lines().contains(&"0 b/actuators/pump/reply {\"id\":\"a1\"}".into())).await;
    eventually("copy", || watch.lines().contains(&"0 app/answers {\"id\":\"a1\"}".into())).await;
    link.end().await;
}

#[tokio::test]
async fn a_retained_command_keeps_its_flag_under_version_5() {
    let broker = Mosquitto::start("");
    broker.publish(&["-t", "b/actuators/pump/set", "-m", "on", "-r"]);
    let mut link = start(settings(Protocol::V5, broker.port), &open_spool());
    assert!(link.commands.recv().await.unwrap().retain);
    broker.publish(&["-t", "b/actuators/pump/set", "-m", "off", "-r"]);
    assert!(link.commands.recv().await.unwrap().retain);
    link.end().await;
}

async fn persistent(protocol: Protocol) {
    let broker = Mosquitto::start("");
    let spool = open_spool();
    let id = Some("gateway".to_owned());
    let settings = Settings { clean_session: false, client_id: id, ..settings(protocol, broker.port) };
    for round in 0..3 {
        let mut link = start(settings.clone(), &spool);
        link.up().await;
        if round > 0 {
            for _ in 0..60 {
                let queued = link.commands.recv().await.unwrap();
                assert!(queued.stale, "kept by the broker while we were away");
            }
        }
        put(&spool, reading("air", round));
        eventually("delivered", || spool.is_empty()).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        broker.publish(&["-t", "b/actuators/pump/set", "-m", "on", "-q", "1"]);
        assert!(!link.commands.recv().await.unwrap().stale);
        assert_eq!(link.status.borrow().connects, 1);
        link.end().await;
        for _ in 0..60 {
            broker.publish(&["-t", "b/actuators/pump/set", "-m", "on", "-q", "1"]);
        }
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
        let mut broker = Mosquitto { folder: tempfile::tempdir().unwrap(), port: free_port(), child: None };
        let acl = broker.folder.path().join("acl");
        make_readable(broker.folder.path());
        broker.file("acl", "topic write b/status\ntopic readwrite b/actuators/#\n");
        make_readable(&acl);
        let text = format!("listener {} 127.0.0.1\nallow_anonymous true\nacl_file {}\n", broker.port, acl.display());
        broker.file("mosquitto.conf", &text);
        broker.up();
        let id = Some("gateway".to_owned());
        let settings = Settings { clean_session: false, client_id: id, ..settings(protocol, broker.port) };
        let mut link = start(settings, &open_spool());
        let told =
            |status: &LinkStatus| status.alarm.as_ref().is_some_and(|alarm| alarm.contains("commands are refused"));
        link.until("alarm", told).await;
        broker.publish(&["-t", "b/actuators/pump/set", "-m", "on", "-q", "1"]);
        assert!(link.commands.recv().await.unwrap().stale);
        link.end().await;
    }
}

#[tokio::test]
async fn under_3_1_1_a_forbidden_publish_that_is_acknowledged_all_the_same_raises_an_alarm() {
    let mut broker = Mosquitto { folder: tempfile::tempdir().unwrap(), port: free_port(), child: None };
    let acl = broker.folder.path().join("acl");
    make_readable(broker.folder.path());
    broker.file("acl", "topic read b/#\n");
    make_readable(&acl);
    let text = format!("listener {} 127.0.0.1\nallow_anonymous true\nacl_file {}\n", broker.port, acl.display());
    broker.file("mosquitto.conf", &text);
    broker.up();
    let mut link = start(settings(Protocol::V4, broker.port), &open_spool());
    let told = |status: &LinkStatus| status.alarm.as_ref().is_some_and(|alarm| alarm.contains("allow us to write"));
    link.until("alarm", told).await;
    link.end().await;
}

#[tokio::test]
async fn under_3_1_1_a_retained_command_that_is_too_large_costs_the_commands_and_not_the_link() {
    let broker = Mosquitto::start("");
    let path = broker.folder.path().join("large");
    std::fs::write(&path, vec![b'0'; 300_000]).unwrap();
    broker.publish(&["-t", "b/actuators/pump/set", "-r", "-q", "1", "-f", path.to_str().unwrap()]);
    let spool = open_spool();
    let mut link = start(settings(Protocol::V4, broker.port), &spool);
    let told = |status: &LinkStatus| status.alarm.as_ref().is_some_and(|alarm| alarm.contains("larger than 262144"));
    let status = link.until("alarm", told).await;
    assert!(status.last_error.unwrap().contains("300"), "the cause is told with its size");
    put(&spool, reading("air", 1));
    eventually("readings flow", || spool.is_empty()).await;
    assert!(link.status.borrow().connects <= 4, "{:?}", link.status.borrow());
    link.end().await;
}
