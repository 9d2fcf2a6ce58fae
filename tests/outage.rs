//! What becomes of readings while the broker is away, frozen or refuses, and when the program itself is ended.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic, and it polls with a deadline")]

use crate::common;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::common::gateway::Gateway;
use crate::common::notify::NotifySocket;
use crate::common::pace::slack;
use crate::common::quick::{
    FAST, LONG, config, folder, heard, received, remembering, start, taken, url, wait_taken, wait_whole,
};
use crate::common::scripted::{Answer, Greeting, Script, ScriptedBroker};
use crate::common::wire::Publish;
use crate::common::{SOON, free_port, wait_for, wait_until};
use rustix::process::Signal;
use serde_json::Value;

#[test]
fn readings_from_before_the_broker_was_there_arrive_later() {
    let (mut broker, client) = remembering();
    broker.stop();
    let folder = folder();
    let mut gateway = start(folder.path(), &config(&broker.url(), "", "", FAST));
    wait_taken(&gateway, 100);
    broker.start_again();
    let then = taken(&gateway);
    wait_taken(&gateway, then + 50);
    gateway.stop(SOON);
    let account = wait_whole("all of them", taken(&gateway), || heard(&client));
    let run = &account.runs[0];
    assert!(account.late[run].contains(&1) && account.late[run].contains(&40), "the old ones are late");
    assert!(account.live[run].contains(&taken(&gateway)), "the fresh ones are live");
    assert_eq!(account.runs.len(), 1);
    assert!(account.lost.is_empty());
}

#[test]
fn a_restarted_broker_gets_everything_and_in_order() {
    for protocol in ["5", "3.1.1"] {
        let (mut broker, client) = remembering();
        let folder = folder();
        let mqtt = format!(", protocol: {protocol}");
        let mut gateway = start(folder.path(), &config(&broker.url(), &mqtt, "", FAST));
        client.wait_json("b/sensors/n", |reading| reading["seq"] == 30, SOON);
        broker.stop();
        let then = taken(&gateway);
        wait_taken(&gateway, then + 100);
        broker.start_again();
        let then = taken(&gateway);
        wait_taken(&gateway, then + 50);
        gateway.stop(SOON);
        let account = wait_whole("all of them", taken(&gateway), || heard(&client));
        assert_eq!(account.runs.len(), 1);
        assert!(account.lost.is_empty());
        assert!(!account.late.is_empty() && !account.live.is_empty());
    }
}

/// After a connection that ended over something under way, the next sends one thing at a time, and a message at QoS 0 has no
/// answer that would let the next go.
#[test]
fn a_quick_sensor_at_qos_0_holds_up_no_reply_after_the_broker_has_hung_up() {
    let hangs_up = |_, publish: &Publish| match publish.topic.as_str() {
        "b/sensors/n" => Answer::DropBefore,
        _ => Answer::Acknowledge,
    };
    let broker = ScriptedBroker::start(vec![Script::good().on_publish(hangs_up), Script::good()]);
    let folder = folder();
    let sensors = FAST.replace("every", "qos: 0, every");
    let outputs = "buses: { bench: { type: sim } }\nactuators: { pump: { driver: gpio-output, bus: bench, settings: { line: GPIO27 }, \
                   safe_state: \"off\" } }\n";
    let mut gateway = start(folder.path(), &config(&broker.url(), "", "", &format!("{sensors}{outputs}")));
    broker.wait_connects(2, SOON);
    // Four seconds' worth of what would be sent in half a minute.
    let then = taken(&gateway);
    wait_taken(&gateway, then + 200);
    let command = Publish { topic: "b/actuators/pump/set".into(), payload: "on".into(), ..Publish::default() };
    broker.send(&command);
    broker.wait_publish("a reply", |publish| publish.topic == "b/actuators/pump/reply", SOON);
    gateway.stop(SOON);
    assert_eq!(broker.connects().len(), 2);
}

#[test]
fn what_an_ended_program_left_arrives_late_under_its_old_run() {
    let port = free_port();
    let folder = folder();
    let text = config(&url(port), "", ", commit_every: 0s", FAST);
    let mut first = start(folder.path(), &text);
    wait_taken(&first, 50);
    first.stop(SOON);
    let last = taken(&first);
    let broker = ScriptedBroker::start_on(port, vec![Script::good()]);
    let mut second = start(folder.path(), &text);
    let account = wait_for("both runs", LONG, || {
        let account = received(&broker);
        (account.runs.len() == 2 && account.late.values().next()?.len() as u64 >= last).then_some(account)
    });
    second.stop(SOON);
    account.check_whole();
    let old = account.late.keys().next().unwrap();
    assert_eq!(account.late[old], (1..=last).collect::<Vec<u64>>(), "nothing of an orderly end is lost");
    assert!(!account.live.contains_key(old), "nothing of an earlier run is live");
    assert!(account.live.keys().all(|run| run != old));
}

#[test]
fn brokers_that_cannot_be_reached_cost_neither_time_nor_readings() {
    let greeting = |greeting| ScriptedBroker::start(vec![Script::good().greeting(greeting)]);
    let (silent, closing) = (greeting(Greeting::Silence), greeting(Greeting::Close));
    let garbage = greeting(Greeting::Raw(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()));
    let reserved = greeting(Greeting::Raw(vec![0x00, 0x00]));
    let half = greeting(Greeting::Raw(vec![0x20, 0x03, 0x00]));
    let unanswering = ScriptedBroker::start(vec![Script::good().on_publish(|_, _| Answer::Silence)]);
    let stingy = ScriptedBroker::start(vec![Script::good().on_publish(|_, publish| match publish.topic.as_str() {
        "b/sensors/n" => Answer::Silence,
        _ => Answer::Acknowledge,
    })]);
    let strict = ScriptedBroker::start(vec![Script::good().on_publish(|_, publish| match publish.topic.as_str() {
        "b/status" => Answer::Acknowledge,
        _ => Answer::Reason(0x87),
    })]);
    let places = [
        (url(free_port()), "nothing listens there"),
        // The first costs no question to anybody; the second may take the resolver long.
        (format!("mqtt://{}.lan:1883", "x".repeat(64)), "cannot resolve"),
        ("mqtt://no-such-host.invalid:1883".to_owned(), ""),
        (silent.url(), ""),
        (closing.url(), "closed the connection"),
        (garbage.url(), ""),
        (reserved.url(), "No connection"),
        (half.url(), ""),
        (unanswering.url(), ""),
        (stingy.url(), ""),
        (strict.url(), "not authorized (0x87)"),
    ];
    let mut running: Vec<_> = places.iter().map(|(url, words)| (unreachable(url), words)).collect();
    let before: Vec<_> =
        running.iter().map(|((_, gateway, _), _)| (gateway.processor_time(), taken(gateway))).collect();
    let since = Instant::now();
    for (((_, gateway, _), _), (_, seq)) in running.iter().zip(&before) {
        wait_taken(gateway, seq + 25);
    }
    wait_until("three seconds to pass", SOON, || since.elapsed() >= Duration::from_secs(3));
    for (((_, gateway, _), words), (time, _)) in running.iter_mut().zip(before) {
        let used = gateway.processor_time() - time;
        // Three seconds, or as many as a slow machine needed for the readings above.
        let lasted = since.elapsed();
        assert!(used < lasted / 10, "{words}: {used:?} of a processor in {lasted:?}");
        if !words.is_empty() {
            gateway.wait_log(words, SOON);
        }
        gateway.signal(Signal::TERM);
    }
    for ((_, gateway, _), words) in &mut running {
        assert_eq!(gateway.wait_exit(Duration::from_secs(5)), 0, "{words}");
    }
}

fn unreachable(url: &str) -> (tempfile::TempDir, Gateway, NotifySocket) {
    let folder = folder();
    let socket = NotifySocket::listen(folder.path());
    let slow = "sensors:\n  n: { driver: waveform, every: 100ms, settings: { shape: counter } }\n";
    let text = config(url, "", "", slow).replace("reconnect: { min: 50ms, max: 150ms }, ", "");
    let environment = [socket.variable(), ("RUST_LOG", "info,fieldgate::recorder=debug")];
    let started = Instant::now();
    let gateway = Gateway::with_env(folder.path(), &text, &environment);
    let place = socket.wait("READY=1", 0, Duration::from_secs(2));
    assert!(socket.all()[place].0 - started < Duration::from_secs(2) + slack(started));
    (folder, gateway, socket)
}

/// The broker drops the connection at the nth message, twice, then behaves; nothing may be lost.
fn dropping(protocol: &str, qos: u8, answer: &Answer) {
    let script = |nth: usize| {
        let answer = answer.clone();
        Script::good().on_publish(move |n, _| if n == nth { answer.clone() } else { Answer::Acknowledge })
    };
    // Twice: after the third time another client would be suspected of using our identifier.
    let mut scripts: Vec<Script> = [5, 20].map(script).into();
    scripts.push(Script::good());
    let broker = ScriptedBroker::start(scripts);
    let folder = folder();
    let mqtt = format!(", protocol: {protocol}, qos: {qos}");
    let mut gateway = start(folder.path(), &config(&broker.url(), &mqtt, "", FAST));
    broker.wait_connects(3, LONG);
    let then = taken(&gateway);
    wait_taken(&gateway, then + 20);
    gateway.stop(SOON);
    wait_whole("all of them", taken(&gateway), || received(&broker));
    // The lost and the found count by what the broker had acknowledged, or what came again.
    assert!(broker.malformed().is_empty(), "{:?}", broker.malformed());
}

#[test]
fn a_connection_dropped_instead_of_an_acknowledgement_loses_nothing() {
    for (protocol, qos) in [("5", 1), ("3.1.1", 1), ("5", 2), ("3.1.1", 2)] {
        dropping(protocol, qos, &Answer::DropBefore);
    }
}

#[test]
fn a_connection_dropped_after_an_acknowledgement_loses_nothing() {
    for (protocol, qos) in [("5", 1), ("3.1.1", 1)] {
        dropping(protocol, qos, &Answer::DropAfter);
    }
}

#[test]
fn what_was_sent_and_not_acknowledged_is_sent_again() {
    for protocol in ["5", "3.1.1"] {
        let hold = Script::good().on_publish(|_, publish| match publish.topic.as_str() {
            "b/sensors/n" => Answer::Silence,
            _ => Answer::Acknowledge,
        });
        let broker = ScriptedBroker::start(vec![hold, Script::good()]);
        let folder = folder();
        let mut gateway = start(folder.path(), &config(&broker.url(), &format!(", protocol: {protocol}"), "", FAST));
        wait_until("ten on the wire", SOON, || received(&broker).live.values().any(|seqs| seqs.len() >= 10));
        broker.drop_connections();
        broker.wait_connects(2, SOON);
        let first = on_connection(&broker, 0);
        wait_until("all of them again", SOON, || on_connection(&broker, 1).is_superset(&first));
        gateway.stop(SOON);
        received(&broker).check_whole();
    }
}

/// The seqs of readings that came on one connection, on either topic.
fn on_connection(broker: &ScriptedBroker, connection: usize) -> BTreeSet<u64> {
    let seq = |received: common::scripted::Received| match received.packet {
        common::wire::Packet::Publish(publish)
            if publish.topic.ends_with("/n") && received.connection == connection =>
        {
            serde_json::from_str::<Value>(&publish.text()).unwrap()["seq"].as_u64()
        }
        _ => None,
    };
    broker.received().into_iter().filter_map(seq).collect()
}
