//! Commands from outside to a line and back, with the compiled program and a real Mosquitto.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::{Duration, Instant};

use crate::common::bench::{Bench, OLD, Setup, USUAL, reply, set, state};
use crate::common::client::{Client, publish, publish_lines, publish_v5};
use crate::common::gateway::Gateway;
use crate::common::mosquitto::Mosquitto;
use crate::common::scripted::{Script, ScriptedBroker};
use crate::common::sim_file::SimFile;
use crate::common::wire::{Properties, Publish};
use crate::common::{SOON, wait_until};
use serde_json::Value;

#[test]
fn a_switch_takes_every_spelling_and_reports_its_actual_state() {
    let bench = Bench::start(&USUAL);
    for (payload, value, level) in [
        ("on", "on", 1),
        ("OFF", "off", 0),
        ("True", "on", 1),
        ("false", "off", 0),
        ("1", "on", 1),
        ("0", "off", 0),
        (" On\n", "on", 1),
        (r#"{"value":false}"#, "off", 0),
        (r#"{"value":"ON"}"#, "on", 1),
        ("\"OFF\"", "off", 0),
        ("\u{feff}on", "on", 1),
    ] {
        let answer = bench.ask("pump", payload);
        assert_eq!((&answer["outcome"], &answer["value"]), (&"done".into(), &value.into()), "{payload}: {answer}");
        assert_eq!((&answer["reason"], &answer["id"]), (&Value::Null, &Value::Null));
        assert_eq!(bench.sim.line("GPIO27"), Some(level), "after {payload}");
    }
    let reported = bench.client.wait_json(&state("pump"), |state| state["value"] == "on", SOON);
    assert_eq!(reported["cause"], "command");
    bench.refused("pump", b"2", "out_of_range: 2 is neither on nor off");
}

#[test]
fn a_percentage_is_taken_within_its_limits_only() {
    let bench = Bench::start(&USUAL);
    for (payload, percent) in [("0", 0.0), ("42.5", 42.5), ("100", 100.0), (r#"{"value":7}"#, 7.0)] {
        assert_eq!(bench.ask("fan", payload)["value"], percent, "{payload}");
        bench.sim.wait_pwm("0", percent, Duration::ZERO);
    }
    let answer = bench.refused("fan", b"140", "");
    assert_eq!(answer["reason"], "out_of_range: 140 is not within 0–100");
    bench.refused("fan", b"-0.1", "out_of_range: -0.1 is not within 0–100");
    for payload in [&b"1e999"[..], b"on", b"toggle", b"UP", br#"{"value":"toggle","id":"t1"}"#] {
        bench.refused("fan", payload, "unreadable: this output takes 0 to 100, off");
    }
}

#[test]
fn what_is_no_command_is_answered_with_the_reason_and_moves_nothing() {
    let bench = Bench::start(&USUAL);
    let deep = format!("{{\"value\":{}", "[".repeat(4000));
    let long = vec![b'1'; 4097];
    let huge = vec![b'{'; 200 * 1024];
    let twice = "unreadable: the key \"for\" appears twice, and only one of them can be meant";
    let cases: [(&[u8], &str); 15] = [
        (br#"{"value":"on","for":"1s","for":null}"#, twice),
        (br#"{"value":"on","for":"1s","f\u006fr":null}"#, twice),
        (br#"{"value":"on","id":"m1","fro":"5m"}"#, "unreadable: "),
        (br#"{"value":"on","for":300}"#, "unreadable: "),
        (br#"{"id":"m2"}"#, "unreadable: "),
        (b"toggle", "unreadable: toggle needs an id"),
        (b"o\0n", "unreadable: "),
        (b"on\xff", "unreadable: "),
        (b"1e999", "unreadable: "),
        (br#"{"value":1e999}"#, "unreadable: "),
        (b"NaN", "unreadable: "),
        (b"[\"on\"]", "unreadable: "),
        (deep.as_bytes(), "unreadable: "),
        (&long, "oversized: 4097 bytes"),
        (&huge, "oversized: 204800 bytes"),
    ];
    for (payload, words) in cases {
        bench.refused("pump", payload, words);
    }
    let answer = bench.refused("ghost", b"on", "unknown: there is no output called ghost");
    assert_eq!(answer["value"], Value::Null);
    let health = bench.health();
    assert_eq!(
        health["actuators"]["pump"],
        serde_json::json!({"commands": 15, "rejected": 15, "trips": 0}),
        "{health}"
    );
}

#[test]
fn an_empty_payload_is_answered_too() {
    let bench = Bench::start(&USUAL);
    let answer = bench.answer_to("pump", || publish(&bench.endpoint(), &set("pump"), "", false, 1));
    assert!(answer["reason"].as_str().unwrap().starts_with("unreadable: "), "{answer}");
}

#[test]
fn topics_that_are_no_command_are_ignored() {
    let bench = Bench::start(&USUAL);
    let before = bench.sim.version();
    for topic in ["pump/set/now", "pump", "pump/get", "/set", "set"] {
        publish(&bench.endpoint(), &format!("fieldgate/g/actuators/{topic}"), "on", false, 1);
    }
    publish(&bench.endpoint(), "fieldgate/h/actuators/pump/set", "on", false, 1);
    publish(&bench.endpoint(), "fieldgate/g/actuators/p ü mp/set", "on", false, 1);
    let answer = bench.ask("pump", "off");
    assert_eq!(answer["outcome"], "done", "the first answer is that of the first real command");
    assert_eq!(bench.sim.version(), before);
}

#[test]
fn a_repeated_id_gets_the_first_reply_word_for_word_and_moves_nothing() {
    let bench = Bench::start(&USUAL);
    bench.ask("pump", r#"{"value":"on","id":"a1"}"#);
    bench.ask("pump", "off");
    let before = bench.sim.version();
    let first = bench.client.all(&reply("pump"))[0].payload.clone();
    bench.client.forget();
    // In parts: of a burst beyond 64 a loaded machine may count some instead of answering them.
    let repeats = vec![r#"{"value":"on","id":"a1"}"#.to_owned(); 50];
    for replies in [50, 100] {
        publish_lines(&bench.endpoint(), &set("pump"), &repeats);
        wait_until("replies", SOON, || bench.client.all(&reply("pump")).len() >= replies);
    }
    let answers = bench.client.all(&reply("pump"));
    assert!(answers.iter().all(|message| message.payload == first), "{answers:?}");
    assert_eq!(bench.sim.version(), before);
    assert_eq!(bench.ask("pump", r#"{"value":"off","id":"a2"}"#)["id"], "a2", "no reply too many");
}

#[test]
fn a_refused_command_with_an_id_is_answered_alike_when_it_is_repeated() {
    let bench = Bench::start(&USUAL);
    for (output, payload) in [("pump", r#"{"value":"on","id":"b1","fro":"5m"}"#), ("fan", r#"{"value":140,"id":"b2"}"#)]
    {
        let first = bench.ask(output, payload);
        assert_eq!(bench.ask(output, payload), first);
    }
    let first = bench.ask("pump", r#"{"value":"on","id":"b3"}"#);
    assert_eq!(bench.ask("pump", r#"{"value":"off","id":"b3","x":1}"#), first, "the id was seen");
}

fn retained_never_acts(setup: &Setup) {
    let broker = Mosquitto::start();
    publish(&broker.endpoint(), &set("pump"), "on", true, 1);
    let folder = tempfile::tempdir().unwrap();
    let client = Client::subscribe(&broker.endpoint(), &["fieldgate/g/actuators/+/reply"]);
    let gateway = Gateway::start(folder.path(), &setup.config(&broker.url()));
    let answer = client.wait_json(&reply("pump"), |_| true, SOON);
    assert_eq!(answer["outcome"], "rejected");
    assert!(answer["reason"].as_str().unwrap().starts_with("retained: "), "{answer}");
    SimFile::new(folder.path().join("bench.json")).wait_line("GPIO27", 0, SOON);
    assert!(!gateway.log().contains("outcome=\"done\""), "{}", gateway.log());
}

#[test]
fn a_command_that_the_broker_kept_never_acts_under_version_5() {
    retained_never_acts(&USUAL);
}

#[test]
fn a_command_that_the_broker_kept_never_acts_under_3_1_1() {
    retained_never_acts(&OLD);
}

#[test]
fn a_live_command_with_the_retain_flag_is_refused_under_version_5() {
    let bench = Bench::start(&USUAL);
    let before = bench.sim.version();
    let answer = bench.answer_to("pump", || publish(&bench.endpoint(), &set("pump"), "on", true, 1));
    assert!(answer["reason"].as_str().unwrap().starts_with("retained: "), "{answer}");
    assert_eq!(bench.sim.version(), before);
}

#[test]
fn a_live_command_with_the_retain_flag_acts_once_under_3_1_1() {
    let mut bench = Bench::start(&OLD);
    let answer = bench.answer_to("pump", || publish(&bench.endpoint(), &set("pump"), "on", true, 1));
    assert_eq!(answer["outcome"], "done");
    bench.gateway.stop(SOON);
    bench.client.forget();
    bench.restart();
    let again = bench.client.wait_json(&reply("pump"), |_| true, SOON);
    assert!(again["reason"].as_str().unwrap().starts_with("retained: "), "{again}");
    assert_eq!(bench.sim.line("GPIO27"), Some(0));
}

#[test]
fn a_requester_gets_its_answer_where_it_wants_it() {
    let bench = Bench::start(&USUAL);
    let hearer = Client::subscribe(&bench.endpoint().v5(), &["answers/#"]);
    let ask = |payload: &str, topic: &str| {
        let properties = [("response-topic", topic), ("correlation-data", "c7")];
        publish_v5(&bench.endpoint(), &set("pump"), payload, &properties);
    };
    let answer = bench.answer_to("pump", || ask(r#"{"value":"on","id":"r1"}"#, "answers/1"));
    let own = hearer.wait_message("answers/1", |_| true, SOON);
    assert_eq!(own.json(), answer);
    assert_eq!(own.properties["correlation-data"], "c7");
    ask(r#"{"value":"on","id":"r1"}"#, "answers/2");
    assert_eq!(hearer.wait_message("answers/2", |_| true, SOON).payload, own.payload, "a repeat is answered there too");
    ask("toggle", "answers/3");
    hearer.wait_for("answers/3", |text| text.contains("unreadable"), SOON);
}

#[test]
fn mosquitto_rr_asks_and_is_answered() {
    let bench = Bench::start(&USUAL);
    let output = std::process::Command::new("mosquitto_rr")
        .args(["-p", &bench.broker.port.to_string(), "-V", "5", "-W", "10", "-q", "1", "-e", "answers/rr"])
        .args(["-t", &set("pump"), "-m", "on"])
        .output()
        .expect("mosquitto_rr: apt install mosquitto-clients");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    assert_eq!((&answer["outcome"], &answer["value"]), (&"done".into(), &"on".into()));
}

#[test]
fn an_answer_never_becomes_a_command() {
    let bench = Bench::start(&USUAL);
    let before = bench.sim.version();
    for topic in [set("heater"), set("pump"), set("nobody")] {
        let answer = bench.answer_to("pump", || {
            publish_v5(&bench.endpoint(), &set("pump"), "off", &[("response-topic", &topic)]);
        });
        assert_eq!(answer["outcome"], "done", "the command itself acts");
    }
    assert_eq!(bench.ask("heater", "off")["outcome"], "done", "the first that heater hears");
    assert!(bench.client.all(&reply("nobody")).is_empty());
    assert_eq!(bench.sim.version(), before);
}

#[test]
fn a_wildcard_or_a_topic_of_ours_is_no_place_for_an_answer_and_an_expired_command_never_acts() {
    let broker = ScriptedBroker::start(vec![Script::good()]);
    let folder = tempfile::tempdir().unwrap();
    let _gateway = Gateway::start(folder.path(), &USUAL.config(&broker.url()));
    wait_until("the subscription", SOON, || !broker.filters().is_empty());
    let command = |id: u16, properties: Properties| {
        let payload = format!(r#"{{"value":"on","id":"s{id}"}}"#).into_bytes();
        broker.send(&Publish { topic: set("pump"), payload, qos: 1, id, properties, ..Publish::default() });
        broker.wait_publish("the reply", |publish| publish.text().contains(&format!("\"s{id}\"")), SOON).text()
    };
    let expired = command(1, Properties::default().with(Properties::MESSAGE_EXPIRY, [0; 4]));
    assert!(expired.contains("expired: "), "{expired}");
    assert_eq!(SimFile::new(folder.path().join("bench.json")).line("GPIO27"), Some(0));
    let base = set("pump").replace("/actuators/pump/set", "");
    let ours = ["", "/status", "/sensors/air", "/forged"].map(|rest| format!("{base}{rest}"));
    for (id, topic) in (2..).zip(["answers/#".to_owned()].iter().chain(&ours)) {
        let answered = command(id, Properties::default().with(Properties::RESPONSE_TOPIC, topic.as_str()));
        assert!(answered.contains("\"done\""), "{answered}");
    }
    let is_reply = |publish: &Publish| publish.text().contains("\"outcome\"");
    let replies: Vec<_> = broker.publishes().into_iter().filter(is_reply).map(|publish| publish.topic).collect();
    assert!(replies.iter().all(|topic| *topic == reply("pump")), "{replies:?}");
    assert_eq!(broker.malformed(), Vec::<String>::new());
}

fn queued_is_refused(protocol: &'static str) {
    let mut bench = Bench::start(&Setup { protocol, clean: false, ..USUAL });
    for kill in [false, true] {
        if kill {
            bench.gateway.kill9();
        } else {
            bench.gateway.stop(SOON);
        }
        bench.client.forget();
        let queued: Vec<_> = (0..5).map(|n| format!(r#"{{"value":"on","id":"q{kill}{n}"}}"#)).collect();
        publish_lines(&bench.endpoint(), &set("pump"), &queued);
        bench.restart();
        wait_until("five refusals", SOON, || bench.client.all(&reply("pump")).len() >= 5);
        for message in bench.client.all(&reply("pump")) {
            assert!(message.json()["reason"].as_str().unwrap().starts_with("expired: "), "{}", message.payload);
        }
        assert_eq!(bench.sim.line("GPIO27"), Some(0));
        assert!(!bench.gateway.log().contains("outcome=\"done\""), "{}", bench.gateway.log());
        bench.ready();
        assert_eq!(bench.ask("pump", "on")["outcome"], "done", "a fresh one acts");
        assert_eq!(bench.ask("pump", "off")["outcome"], "done");
    }
}

#[test]
fn commands_that_waited_at_the_broker_are_refused_under_version_5() {
    queued_is_refused("5");
}

#[test]
fn commands_that_waited_at_the_broker_are_refused_under_3_1_1() {
    queued_is_refused("3.1.1");
}

#[test]
fn a_command_that_expires_at_the_broker_leaves_no_trace() {
    let mut bench = Bench::start(&Setup { clean: false, ..USUAL });
    bench.gateway.stop(SOON);
    bench.client.forget();
    let sent = Instant::now();
    let expiry = [("message-expiry-interval", "1")];
    publish_v5(&bench.endpoint(), &set("pump"), r#"{"value":"on","id":"e1"}"#, &expiry);
    wait_until("the command to expire", SOON, || sent.elapsed() > Duration::from_secs(2));
    bench.send("pump", r#"{"value":"on","id":"e2"}"#);
    bench.restart();
    let answer = bench.client.wait_json(&reply("pump"), |_| true, SOON);
    assert_eq!(answer["id"], "e2", "the other is gone");
    assert!(answer["reason"].as_str().unwrap().starts_with("expired: "), "{answer}");
    assert_eq!(bench.sim.line("GPIO27"), Some(0));
}
