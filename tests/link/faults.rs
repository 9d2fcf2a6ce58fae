//! Brokers that refuse, freeze, lie or are not there.

use std::time::Duration;

use fieldgate_link::{LinkState, LinkStatus, Protocol, SecretSource, Settings};
use fieldgate_model::{Message, Qos};

use crate::common::write_secret;
use crate::harness::*;

async fn wrong_password(protocol: Protocol, words: &str) {
    let user = Some(("pi".to_owned(), "right".to_owned()));
    let broker = Mosquitto::with(Options { user, ..Options::default() });
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    write_secret(&password, "wrong\n");
    let source = SecretSource::File(password.clone());
    let settings = Settings { username: Some("pi".into()), password: Some(source), ..settings(protocol, broker.port) };
    let spool = open_spool();
    let mut link = start(settings.clone(), &spool);
    let reported = link.failed().await;
    assert!(reported.starts_with(words) && reported.contains("check mqtt.username"), "{reported}");
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(link.status.borrow().state, LinkState::Down, "a refusal is not repeated at once");
    // Such a wait is a minute or more.
    assert!(link.end().await < Duration::from_secs(2), "a wait ends at once");
    write_secret(&password, "right\n");
    let mut link = start(settings, &spool);
    link.up().await;
    link.end().await;
}

#[tokio::test]
async fn a_wrong_password_is_told_in_words_under_version_5() {
    wrong_password(Protocol::V5, "connection refused: not authorized (0x87)").await;
}

#[tokio::test]
async fn a_wrong_password_is_told_in_words_under_3_1_1() {
    wrong_password(Protocol::V4, "connection refused: not authorized (5)").await;
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_told() {
    for protocol in [Protocol::V4, Protocol::V5] {
        let brokers = vec![broker("no-such-host.invalid", 1883)];
        let mut link = start(Settings { brokers, ..settings(protocol, 1) }, &open_spool());
        let words = link.failed().await;
        assert!(words.contains("cannot resolve \"no-such-host.invalid\""), "{words}");
        link.end().await;
    }
}

#[tokio::test]
async fn a_closed_port_is_told_and_the_next_broker_of_the_list_is_tried() {
    let good = Mosquitto::start();
    for protocol in [Protocol::V4, Protocol::V5] {
        let brokers = vec![broker("127.0.0.1", free_port()), broker("127.0.0.1", good.port)];
        let mut link = start(Settings { brokers, ..settings(protocol, 1) }, &open_spool());
        let status = link.until("up", |status| status.state == LinkState::Up).await;
        assert!(status.last_error.as_ref().unwrap().contains("nothing listens there"), "{status:?}");
        assert_eq!(status.broker, format!("mqtt://127.0.0.1:{}", good.port));
        link.end().await;
    }
}

#[tokio::test]
async fn a_frozen_broker_does_not_hold_up_the_end() {
    for protocol in [Protocol::V4, Protocol::V5] {
        let broker = Mosquitto::start();
        let spool = open_spool();
        let mut link = start(settings(protocol, broker.port), &spool);
        link.up().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        broker.freeze();
        put(&spool, reading("air", 1));
        let took = link.end().await;
        broker.thaw();
        assert!(took <= Duration::from_millis(1500), "{took:?}");
    }
}

#[tokio::test]
async fn a_frozen_broker_is_left_although_qos_0_flows() {
    for protocol in [Protocol::V4, Protocol::V5] {
        let broker = Mosquitto::start();
        let spool = open_spool();
        let settings = Settings { keep_alive: Duration::from_secs(1), ..settings(protocol, broker.port) };
        let mut link = start(settings, &spool);
        link.up().await;
        for seq in 1..=40 {
            put(&spool, Message { qos: Qos::AtMostOnce, ..reading("air", seq) });
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(link.status.borrow().connects, 1, "a healthy link stays, though it only hears answers to probes");
        broker.freeze();
        let words = link.failed().await;
        broker.thaw();
        assert!(words.contains("said nothing") || words.contains("ping"), "{words}");
        link.end().await;
    }
}

#[tokio::test]
async fn an_alarm_names_the_identifier_that_two_use() {
    let broker = Mosquitto::start();
    let same = Settings { client_id: Some("twin".into()), ..settings(Protocol::V5, broker.port) };
    let (spool, other) = (open_spool(), open_spool());
    let mut link = start(same.clone(), &spool);
    link.up().await;
    let twin = start(same, &other);
    // Mosquitto 2.0.11 does not say why it closes.
    let reported = |status: &LinkStatus| status.alarm.as_ref().is_some_and(|alarm| alarm.contains("\"twin\""));
    link.until("alarm", reported).await;
    twin.end().await;
    link.end().await;
}

#[tokio::test]
async fn a_session_that_is_taken_over_again_and_again_is_not_fought_for() {
    let broker = answering(&[0x20, 3, 0, 0, 0, 0xE0, 2, 0x8E, 0]);
    let mut link = start(settings(Protocol::V5, broker.port), &open_spool());
    link.until("alarm", |status| status.alarm.as_ref().is_some_and(|alarm| alarm.contains("taking over"))).await;
    let status = link.until("down", |status| status.state == LinkState::Down).await;
    assert!(status.last_error.as_ref().unwrap().contains("session taken over (0x8E)"), "{status:?}");
    let connects = status.connects;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((connects, link.status.borrow().connects), (3, 3));
    link.end().await;
}

#[tokio::test]
async fn refusals_carry_the_words_of_the_specification() {
    const V4: [&[u8]; 5] = [&[0x20, 2, 0, 1], &[0x20, 2, 0, 2], &[0x20, 2, 0, 3], &[0x20, 2, 0, 4], &[0x20, 2, 0, 5]];
    let words =
        ["protocol version (1)", "identifier rejected (2)", "server unavailable (3)", "password (4)", "authorized (5)"];
    for (answer, words) in V4.into_iter().zip(words) {
        let broker = answering(answer);
        let mut link = start(settings(Protocol::V4, broker.port), &open_spool());
        let reported = link.failed().await;
        assert!(reported.starts_with("connection refused: ") && reported.contains(words), "{reported}");
        link.end().await;
    }
    const V5: [&[u8]; 3] = [&[0x20, 3, 0, 0x86, 0], &[0x20, 3, 0, 0x8A, 0], &[0x20, 3, 0, 0x9C, 0]];
    for (answer, words) in
        V5.into_iter().zip(["bad user name or password (0x86)", "banned (0x8A)", "another server (0x9C)"])
    {
        let broker = answering(answer);
        let mut link = start(settings(Protocol::V5, broker.port), &open_spool());
        let reported = link.failed().await;
        assert!(reported.starts_with("connection refused: ") && reported.contains(words), "{reported}");
        link.end().await;
    }
}

#[tokio::test]
async fn garbage_from_a_broker_ends_the_connection_and_nothing_else() {
    const GARBAGE: [&[u8]; 6] = [
        b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        &[0x20, 0xFF, 0xFF, 0xFF, 0xFF],
        &[0x20, 3, 0, 0, 0, 0x30, 0xFF, 0xFF, 0xFF, 0x7F],
        &[0x20, 3, 0, 0, 0, 0x32, 5, 0, 1, 0xFF, 0, 0],
        &[0x20, 3, 0, 0, 0, 0x40, 2, 0xFF, 0xFF],
        &[0x20, 3, 0, 0, 0, 0x90, 1, 0],
    ];
    for protocol in [Protocol::V4, Protocol::V5] {
        for answer in GARBAGE {
            let broker = answering(answer);
            let mut link = start(settings(protocol, broker.port), &open_spool());
            link.failed().await;
            assert!(!link.task.is_finished());
            link.end().await;
        }
    }
}
