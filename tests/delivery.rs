//! The main job of the compiled program against a real Mosquitto: readings arrive as configured, over every transport.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use crate::common;

#[path = "delivery/connecting.rs"]
mod connecting;
#[path = "delivery/plain.rs"]
mod plain;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::account::Account;
use crate::common::client::{Client, Message};
use crate::common::gateway::Gateway;
use crate::common::mosquitto::Mosquitto;
use crate::common::pace::slack_between;
use crate::common::scripted::{Script, ScriptedBroker};
use crate::common::sim_file::SimFile;
use crate::common::wire::{Packet, Publish};
use crate::common::{SOON, free_port, missing, wait_for, wait_until};
use serde_json::Value;

const COUNTER: &str = "sensors:\n  n: { driver: waveform, every: 20ms, settings: { shape: counter } }\n";

const PUMP: &str = "buses: { bench: { type: sim } }
actuators:
  pump: { driver: gpio-output, bus: bench, settings: { line: GPIO27 }, safe_state: \"off\" }
";

/// A configuration with these lines under `mqtt` and this after it.
fn config(mqtt: &str, rest: &str) -> String {
    let quick = "reconnect: { min: 100ms, max: 200ms }";
    format!("gateway: {{ name: t }}\nmqtt: {{ base_topic: b, {quick}, {mqtt} }}\nspool: {{ path: spool }}\n{rest}")
}

fn broker_line(url: &str) -> String {
    format!("broker: \"{url}\"")
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn account(client: &Client) -> Account {
    Account::of("n", client.everything().into_iter().map(|message| (message.topic, message.payload)))
}

/// Mosquitto's line about our connecting: `… connected from 127.0.0.1:4711 as NAME (p5, c1, k60, u'pi')`.
fn welcome(broker: &Mosquitto) -> String {
    wait_for("Mosquitto to report the gateway", SOON, || {
        let log = broker.log();
        let line = log.lines().rev().find(|line| line.contains("New client connected") && line.contains("fieldgate-"));
        line.map(str::to_owned)
    })
}

#[test]
fn the_first_reading_arrives_at_once() {
    let (broker, folder) = (Mosquitto::start(), folder());
    let client = Client::subscribe(&broker.endpoint(), &["b/#"]);
    let rest = "sensors:\n  n: { driver: waveform, every: 60s, settings: { shape: counter } }\n";
    let _gateway = Gateway::start(folder.path(), &config(&broker_line(&broker.url()), rest));
    let reading = client.wait_json("b/sensors/n", |_| true, SOON);
    assert_eq!((&reading["seq"], &reading["value"]), (&1.into(), &1.into()), "{reading}");
    let run = reading["run"].as_str().unwrap();
    assert!(run.len() == 8 && run.bytes().all(|byte| byte.is_ascii_hexdigit()), "{reading}");
    let time = reading["time"].as_str().unwrap();
    assert!(time.len() == 24 && time.ends_with('Z') && time.starts_with("20"), "{reading}");
    assert!(reading.get("late").is_none());
}

#[test]
fn a_fast_counter_arrives_once_each_and_in_order() {
    for protocol in ["5", "3.1.1"] {
        let (broker, folder) = (Mosquitto::start(), folder());
        let client = Client::subscribe(&broker.endpoint(), &["b/#"]);
        let mqtt = format!("{}, protocol: {protocol}", broker_line(&broker.url()));
        let mut gateway = Gateway::start(folder.path(), &config(&mqtt, COUNTER));
        client.wait_json("b/sensors/n", |reading| reading["seq"] == 100, SOON);
        gateway.stop(SOON);
        let seqs: Vec<u64> = client.all("b/sensors/n").iter().map(|m| m.json()["seq"].as_u64().unwrap()).collect();
        let last = seqs.len() as u64;
        assert_eq!(seqs, (1..=last).collect::<Vec<u64>>());
        assert!(client.all("b/sensors/n").iter().all(|m| m.json()["seq"] == m.json()["value"]));
        assert!(client.all("b/loss").is_empty() && client.all("b/late/n").is_empty());
    }
}

#[test]
fn each_sensor_has_the_qos_and_retain_that_it_was_given() {
    let rest = "sensors:
  q0: { driver: waveform, every: 100ms, qos: 0, settings: { shape: counter } }
  q1: { driver: waveform, every: 100ms, settings: { shape: counter } }
  q2: { driver: waveform, every: 100ms, qos: 2, retain: true, settings: { shape: counter } }
";
    for (protocol, letter) in [("5", "p5"), ("3.1.1", "p2")] {
        let (broker, folder) = (Mosquitto::start(), folder());
        let client = Client::subscribe(&broker.endpoint(), &["b/#"]);
        let mqtt = format!("{}, protocol: {protocol}", broker_line(&broker.url()));
        let _gateway = Gateway::start(folder.path(), &config(&mqtt, rest));
        for (name, qos) in [("q0", 0), ("q1", 1), ("q2", 2)] {
            let reading = client.wait_message(&format!("b/sensors/{name}"), |_| true, SOON);
            assert_eq!(reading.qos, qos, "{reading:?}");
        }
        assert!(welcome(&broker).contains(&format!("({letter}, c1, k60")), "{}", welcome(&broker));
        // What the broker kept carries the flag; what it only passes on does not.
        let late = Client::subscribe(&broker.endpoint(), &["b/#"]);
        assert!(late.wait_message("b/sensors/q2", |_| true, SOON).retain);
        assert!(!late.wait_message("b/sensors/q1", |_| true, SOON).retain);
        assert!(!late.wait_message("b/sensors/q0", |_| true, SOON).retain);
        for topic in ["b/status", "b/health", "b/devices", "b/sensors/q1/status"] {
            assert!(late.wait_message(topic, |_| true, SOON).retain, "{topic}");
        }
    }
}

fn is_up(health: &Value) -> bool {
    health["link"]["state"] == "up"
}

#[test]
fn the_status_is_online_and_then_offline_by_will_or_by_ourselves() {
    for protocol in ["5", "3.1.1"] {
        let (broker, folder) = (Mosquitto::start(), folder());
        let client = Client::subscribe(&broker.endpoint(), &["b/status"]);
        let config = config(&format!("{}, protocol: {protocol}", broker_line(&broker.url())), COUNTER);
        let mut gateway = Gateway::start(folder.path(), &config);
        client.wait_for("b/status", |word| word == "online", SOON);
        gateway.kill9();
        client.wait_for("b/status", |word| word == "offline", SOON);
        client.forget();
        let mut gateway = Gateway::start(folder.path(), &config);
        client.wait_for("b/status", |word| word == "online", SOON);
        gateway.stop(SOON);
        client.wait_for("b/status", |word| word == "offline", SOON);
        let words: Vec<String> = client.all("b/status").into_iter().map(|message| message.payload).collect();
        assert_eq!(words, ["online", "offline"]);
        let late = Client::subscribe(&broker.endpoint(), &["b/status"]);
        let kept = late.wait_message("b/status", |_| true, SOON);
        assert!(kept.retain && kept.payload == "offline");
    }
}

#[test]
fn offline_is_published_before_an_orderly_disconnect_and_the_birth_comes_first() {
    for protocol in ["5", "3.1.1"] {
        let (broker, folder) = (ScriptedBroker::start(vec![Script::good()]), folder());
        let mqtt = format!("{}, protocol: {protocol}", broker_line(&broker.url()));
        let mut gateway = Gateway::start(folder.path(), &config(&mqtt, COUNTER));
        broker.wait_publish("a reading", |publish| publish.topic == "b/sensors/n", SOON);
        gateway.stop(SOON);
        let will = broker.connects()[0].will.clone().unwrap();
        assert_eq!((will.topic.as_str(), will.payload.as_slice()), ("b/status", b"offline".as_slice()));
        assert!(will.retain);
        let publishes = broker.publishes();
        let (first, last) = (&publishes[0], &publishes[publishes.len() - 1]);
        assert_eq!((first.topic.as_str(), first.text().as_str(), first.retain), ("b/status", "online", true));
        assert_eq!((last.topic.as_str(), last.text().as_str(), last.retain), ("b/status", "offline", true));
        let end = wait_for("a DISCONNECT", SOON, || broker.received().pop().filter(is_disconnect));
        assert_eq!(end.packet, Packet::Disconnect { reason: 0 });
        assert!(broker.malformed().is_empty(), "{:?}", broker.malformed());
    }
}

fn is_disconnect(received: &common::scripted::Received) -> bool {
    matches!(received.packet, Packet::Disconnect { .. })
}

const GREENHOUSE: &str = "buses:
  bench: { type: sim, state_file: bench.json }
sensors:
  air: { driver: bme280, bus: bench, every: 200ms, settings: { address: 0x76 } }
  door: { driver: gpio-input, bus: bench, settings: { line: GPIO17 } }
actuators:
  pump: { driver: gpio-output, bus: bench, settings: { line: GPIO27 }, safe_state: \"off\" }
";

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap_or_else(|| panic!("no object: {value}")).keys().map(String::as_str).collect()
}

fn check_keys(value: &Value, wanted: &str) {
    let wanted: BTreeSet<&str> = wanted.split(' ').collect();
    assert!(keys(value).is_superset(&wanted), "{wanted:?} are not all in {value}");
}

#[test]
fn health_devices_and_statuses_report_what_there_is() {
    let (broker, folder) = (Mosquitto::start(), folder());
    let client = Client::subscribe(&broker.endpoint(), &["b/#"]);
    let _gateway = Gateway::start(folder.path(), &config(&broker_line(&broker.url()), GREENHOUSE));
    let health = client.wait_json("b/health", is_up, SOON);
    check_keys(&health, "version run uptime time clock link spool sensors actuators memory");
    check_keys(&health["link"], "state since broker protocol connects last_error");
    check_keys(&health["spool"], "queued bytes oldest dropped error");
    check_keys(&health["sensors"]["air"], "status taken failed skipped");
    check_keys(&health["actuators"]["pump"], "commands rejected");
    assert_eq!(health["link"]["protocol"], "5");
    assert!(health["memory"].as_u64().unwrap() > 1 << 20, "{health}");
    let devices = client.wait_json("b/devices", |_| true, SOON);
    let air = &devices["sensors"]["air"];
    assert_eq!((&air["driver"], &air["topic"]), (&"bme280".into(), &"b/sensors/air".into()));
    assert_eq!(air["every"].as_f64(), Some(0.2), "{air}");
    assert_eq!(air["measurements"]["temperature"]["unit"], "°C");
    assert_eq!(keys(&air["measurements"]), BTreeSet::from(["temperature", "humidity", "pressure"]));
    let pump = &devices["actuators"]["pump"];
    assert_eq!((&pump["set"], &pump["state"]), (&"b/actuators/pump/set".into(), &"b/actuators/pump/state".into()));
    assert_eq!(pump["values"], serde_json::json!(["on", "off"]));
    for name in ["air", "door"] {
        let status = client.wait_json(&format!("b/sensors/{name}/status"), |_| true, SOON);
        assert_eq!((&status["status"], &status["error"]), (&"ok".into(), &Value::Null), "{name}");
        assert!(status["since"].is_string());
    }
    let state = client.wait_json("b/actuators/pump/state", |_| true, SOON);
    assert_eq!((&state["value"], &state["cause"]), (&"off".into(), &"start".into()));
    let reading = client.wait_json("b/sensors/air", |_| true, SOON);
    check_keys(&reading, "time run seq temperature humidity pressure");
    let door = client.wait_json("b/sensors/door", |_| true, SOON);
    assert!(door["active"].is_boolean());
}

#[test]
fn an_edge_and_a_changed_surrounding_are_published() {
    let (broker, folder) = (Mosquitto::start(), folder());
    let client = Client::subscribe(&broker.endpoint(), &["b/#"]);
    let bench = SimFile::new(folder.path().join("bench.json"));
    let _gateway = Gateway::start(folder.path(), &config(&broker_line(&broker.url()), GREENHOUSE));
    client.wait_json("b/sensors/door", |door| door["active"] == false, SOON);
    bench.set_input("GPIO17", 1);
    client.wait_json("b/sensors/door", |door| door["active"] == true, SOON);
    bench.set_chip("0x76", "temperature", 30.0);
    let near = |air: &Value| air["temperature"].as_f64().is_some_and(|t| (t - 30.0).abs() < 0.1);
    client.wait_json("b/sensors/air", near, SOON);
}

#[test]
fn a_command_is_answered_without_waiting_for_delayed_acknowledgements() {
    let (broker, folder) = (Mosquitto::start(), folder());
    let client = Client::subscribe(&broker.endpoint(), &["b/actuators/pump/reply"]);
    let _gateway = Gateway::start(folder.path(), &config(&broker_line(&broker.url()), GREENHOUSE));
    let up = Client::subscribe(&broker.endpoint(), &["b/health"]);
    up.wait_json("b/health", is_up, SOON);
    let mut publisher = Command::new("mosquitto_pub")
        .args(["-h", "127.0.0.1", "-p", &broker.port.to_string(), "--nodelay", "-l", "-t", "b/actuators/pump/set"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap_or_else(missing("mosquitto_pub", "mosquitto-clients"));
    let mut pipe = publisher.stdin.take().unwrap();
    let mut times = Vec::new();
    for round in 0..21 {
        let id = format!("r{round}");
        let start = Instant::now();
        writeln!(pipe, r#"{{"value":"{}","id":"{id}"}}"#, if round % 2 == 0 { "on" } else { "off" }).unwrap();
        let answered = |message: &Message| message.json()["id"] == *id && message.json()["outcome"] == "done";
        let reply = client.wait_message("b/actuators/pump/reply", answered, SOON);
        times.push((reply.at - start).saturating_sub(slack_between(start, reply.at)));
    }
    drop(pipe);
    publisher.wait().unwrap();
    times.remove(0);
    times.sort();
    assert!(times[10] < Duration::from_millis(40), "{times:?}");
}

#[test]
fn the_program_listens_nowhere() {
    let (broker, folder) = (Mosquitto::start(), folder());
    let client = Client::subscribe(&broker.endpoint(), &["b/#"]);
    let gateway = Gateway::start(folder.path(), &config(&broker_line(&broker.url()), COUNTER));
    client.wait_json("b/sensors/n", |_| true, SOON);
    let open: BTreeSet<String> = fs::read_dir(format!("/proc/{}/fd", gateway.pid()))
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        .filter_map(|target| Some(target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    assert!(!open.is_empty(), "the connection to the broker is a socket");
    for table in ["tcp", "tcp6", "udp", "udp6", "raw"] {
        let text = fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let connected = fields[3] == "01" && table == "tcp";
            assert!(connected || !open.contains(fields[9]), "an open {table} socket: {line}");
        }
    }
    let unix = fs::read_to_string("/proc/net/unix").unwrap();
    // The flag says that the socket was put to listen.
    let listens = |fields: &Vec<&str>| fields[3] == "00010000" && open.contains(fields[6]);
    assert!(!unix.lines().skip(1).any(|line| listens(&line.split_whitespace().collect())));
}

#[test]
fn the_log_is_as_long_as_asked_for() {
    let (port, folder) = (free_port(), folder());
    let config = config(&broker_line(&format!("mqtt://127.0.0.1:{port}")), COUNTER);
    let mut chatty = Gateway::with_env(folder.path(), &config, &[("RUST_LOG", "debug")]);
    chatty.wait_log("DEBUG", SOON);
    chatty.stop(SOON);
    let mut plain = Gateway::start(folder.path(), &config);
    plain.wait_log("nothing listens there", SOON);
    plain.stop(SOON);
    assert!(!plain.log().contains("DEBUG") && plain.log().contains("INFO"), "{}", plain.log());
    std::fs::remove_dir_all(folder.path().join("run")).unwrap();
    let mut silent = Gateway::with_env(folder.path(), &config, &[("RUST_LOG", "off")]);
    wait_until("it to have started", SOON, || folder.path().join("run").exists());
    silent.stop(SOON);
    assert_eq!(silent.log(), "");
}

#[test]
fn qos_2_arrives_exactly_once_on_a_good_link() {
    let (broker, folder) = (Mosquitto::start(), folder());
    let client = Client::subscribe(&broker.endpoint(), &["b/#"]);
    let mqtt = format!("{}, qos: 2", broker_line(&broker.url()));
    let mut gateway = Gateway::start(folder.path(), &config(&mqtt, COUNTER));
    client.wait_json("b/sensors/n", |reading| reading["seq"] == 50, SOON);
    gateway.stop(SOON);
    let account = account(&client);
    account.check_whole();
    assert_eq!(account.arrived(&account.runs[0]).len(), client.all("b/sensors/n").len());
}

#[test]
fn commands_are_listened_to_before_online_is_published() {
    for protocol in ["5", "3.1.1"] {
        let (broker, folder) = (ScriptedBroker::start(vec![Script::good()]), folder());
        let line = format!("{}, protocol: \"{protocol}\"", broker_line(&broker.url()));
        let _gateway = Gateway::start(folder.path(), &config(&line, COUNTER));
        broker.wait_publish("online", |publish| publish.text() == "online", SOON);
        let received = broker.received();
        let first = |is: fn(&Packet) -> bool| received.iter().position(|received| is(&received.packet));
        let heard = first(|packet| matches!(packet, Packet::Subscribe { .. }));
        let reported = first(|packet| matches!(packet, Packet::Publish(_)));
        assert!(heard.is_some() && heard < reported, "{protocol}: {heard:?} {reported:?}");
    }
}

#[test]
fn a_broker_that_does_not_answer_the_subscription_gets_the_readings_all_the_same() {
    let (broker, folder) = (ScriptedBroker::start(vec![Script::good().no_subacks()]), folder());
    let with_pump = format!("{COUNTER}{PUMP}");
    let _gateway = Gateway::start(folder.path(), &config(&broker_line(&broker.url()), &with_pump));
    broker.wait_publish("a reading", |publish| publish.topic.contains("/sensors/"), 2 * SOON);
    let alarm =
        |publish: &Publish| publish.topic.ends_with("/health") && publish.text().contains("no commands will arrive");
    broker.wait_publish("the alarm", alarm, SOON);
}
