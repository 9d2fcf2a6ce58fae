//! A total that is counted over restarts, kills and stops of the compiled program, and set by commands.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic, and it drives a line by hand")]

use std::path::Path;
use std::time::Instant;

use crate::common::client::{Client, publish_bytes, publish_v5};
use crate::common::gateway::{Gateway, write_config};
use crate::common::mosquitto::Mosquitto;
use crate::common::sim_file::SimFile;
use crate::common::{SOON, wait_for, wait_until};
use rustix::process::Signal;
use serde_json::{Value, json};

/// What tells that the gateway has seen a level for as long as it must last: an input whose level changes together with the counted
/// line's, debounced for no less time.
const ECHO: &str = "b/sensors/echo";

fn config(broker: &Mosquitto, every: &str) -> String {
    // A commit in an hour: what is on disk after a kill was written for the count's sake.
    format!(
        "gateway: {{ name: t }}
mqtt: {{ base_topic: b, broker: \"{}\", reconnect: {{ min: 100ms, max: 200ms }} }}
spool: {{ path: spool, commit_every: 1h }}
buses: {{ bench: {{ type: sim, state_file: bench.json }} }}
sensors:
  gas: {{ driver: pulse-counter, bus: bench, every: {every}, settings: {{ line: GPIO17, pulses_per_unit: 100, unit: m³, per: h }} }}
  echo: {{ driver: gpio-input, bus: bench, settings: {{ line: GPIO18, debounce: 1ms }} }}
",
        broker.url()
    )
}

/// Starts it and waits until it has claimed the lines.
fn start(folder: &Path, config: &str) -> (Gateway, SimFile) {
    let bench = SimFile::new(folder.join("bench.json"));
    let gateway = Gateway::start(folder, config);
    wait_until("the lines to be claimed", SOON, || {
        ["GPIO17", "GPIO18"].iter().all(|line| bench.read()["held"][line] == gateway.pid())
    });
    (gateway, bench)
}

/// Sets the counted line and goes on when the gateway has seen it.
fn set_level(client: &Client, bench: &SimFile, level: u8) {
    let before = client.all(ECHO).len();
    bench.write(&json!({"inputs": {"GPIO17": level, "GPIO18": level}}));
    let seen = |message: &Value| message["active"] == (level == 1);
    wait_for("the gateway to see the level", SOON, || {
        client.all(ECHO).iter().skip(before).map(|message| message.json()).find(seen)
    });
}

fn pulse(client: &Client, bench: &SimFile, times: u32) {
    for _ in 0..times {
        for level in [1, 0] {
            set_level(client, bench, level);
        }
    }
}

fn pulses(message: &serde_json::Value) -> u64 {
    (message["total"].as_f64().unwrap() * 100.0).round() as u64
}

/// Every total in the order in which it was sampled. What a kill left unacknowledged is delivered late, or twice.
fn totals(client: &Client) -> Vec<u64> {
    let readings = client.everything().into_iter().filter(|message| message.topic.ends_with("/gas"));
    let mut readings: Vec<_> = readings.map(|message| message.json()).collect();
    readings.sort_by_key(|reading| (reading["time"].as_str().unwrap().to_owned(), reading["seq"].as_u64()));
    readings.iter().map(pulses).collect()
}

#[test]
fn a_total_never_goes_back_however_often_the_program_is_killed() {
    let (broker, folder) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let client = Client::subscribe(&broker.endpoint(), &["b/sensors/gas", "b/late/gas", ECHO]);
    let config = config(&broker, "50ms");
    let mut counted = 0;
    for life in 1..=4 {
        let (mut gateway, bench) = start(folder.path(), &config);
        pulse(&client, &bench, life);
        counted += u64::from(life);
        client.wait_json("b/sensors/gas", |reading| pulses(reading) == counted, SOON);
        gateway.kill9();
    }
    let (_gateway, _) = start(folder.path(), &config);
    client.forget();
    assert_eq!(pulses(&client.wait_json("b/sensors/gas", |_| true, SOON)), counted);
    let totals = totals(&client);
    assert!(totals.is_sorted(), "{totals:?}");
}

#[test]
fn killed_in_the_middle_of_pulses_it_loses_no_more_than_since_the_last_reading() {
    let (broker, folder) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let client = Client::subscribe(&broker.endpoint(), &["b/sensors/gas", "b/late/gas", ECHO]);
    let config = config(&broker, "20ms");
    for _ in 0..3 {
        let (mut gateway, bench) = start(folder.path(), &config);
        pulse(&client, &bench, 2);
        // The first of them may have been sampled before.
        let before = client.all("b/sensors/gas").len();
        wait_until("two more readings", SOON, || client.all("b/sensors/gas").len() >= before + 2);
        bench.set_input("GPIO17", 1);
        gateway.kill9();
        // Nobody counts this one.
        for level in [0, 1, 0] {
            bench.set_input("GPIO17", level);
        }
    }
    let (_gateway, _) = start(folder.path(), &config);
    client.wait_json("b/sensors/gas", |reading| pulses(reading) >= 6, SOON);
    let totals = totals(&client);
    assert!(totals.is_sorted() && totals.last().is_some_and(|last| (6..=9).contains(last)), "{totals:?}");
}

#[test]
fn an_orderly_stop_loses_no_pulse_though_no_reading_carried_it() {
    let (broker, folder) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let client = Client::subscribe(&broker.endpoint(), &["b/sensors/gas", ECHO]);
    let config = config(&broker, "1h");
    let (mut gateway, bench) = start(folder.path(), &config);
    assert_eq!(pulses(&client.wait_json("b/sensors/gas", |_| true, SOON)), 0);
    pulse(&client, &bench, 3);
    gateway.stop(SOON);
    client.forget();
    let (_gateway, _) = start(folder.path(), &config);
    let reading = client.wait_json("b/sensors/gas", |_| true, SOON);
    assert_eq!((pulses(&reading), &reading["missed"], reading.get("rate")), (3, &0.into(), None), "{reading}");
}

#[test]
fn a_reload_neither_counts_again_nor_forgets() {
    let (broker, folder) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let client = Client::subscribe(&broker.endpoint(), &["b/sensors/gas", ECHO]);
    let config = config(&broker, "50ms");
    let (gateway, bench) = start(folder.path(), &config);
    let mut reloads = 0;
    let mut reload = |text: &str| {
        reloads += 1;
        write_config(folder.path(), text);
        gateway.signal(Signal::HUP);
        wait_until("a reload", SOON, || gateway.log().matches("Configuration reloaded").count() == reloads);
    };
    let wait = |total| client.wait_json("b/sensors/gas", |reading| pulses(reading) == total, SOON);
    pulse(&client, &bench, 2);
    wait(2);
    // Another setting builds the device again, and its first reading has no rate.
    client.forget();
    reload(&config.replace("per: h", "per: h, debounce: 1ms"));
    client.wait_json("b/sensors/gas", |reading| reading.get("rate").is_none(), SOON);
    pulse(&client, &bench, 2);
    wait(4);
    reload(&config.replace("  gas:", "  none: { driver: waveform, every: 1s }\n#"));
    // Nobody counts this one.
    pulse(&client, &bench, 1);
    client.forget();
    reload(&config);
    assert_eq!(pulses(&client.wait_json("b/sensors/gas", |_| true, SOON)), 4);
    pulse(&client, &bench, 1);
    wait(5);
}

#[test]
fn the_rate_and_its_unit_are_those_of_the_meter() {
    let (broker, folder) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let client = Client::subscribe(&broker.endpoint(), &["b/sensors/gas", "b/devices", ECHO]);
    let (_gateway, bench) = start(folder.path(), &config(&broker, "100ms"));
    let mut seconds = Vec::new();
    for _ in 0..5 {
        let began = Instant::now();
        pulse(&client, &bench, 1);
        seconds.push(began.elapsed().as_secs_f64());
    }
    // Each is a hundredth of a m³. The gateway saw a pulse some time before we saw its echo, hence the factor.
    let rate = |seconds: f64| 0.01 * 3600.0 / seconds;
    let (slowest, fastest) =
        (seconds.iter().copied().fold(0.0, f64::max), seconds.iter().copied().fold(f64::MAX, f64::min));
    let expected = rate(slowest) / 2.0..rate(fastest) * 2.0;
    client.wait_json("b/sensors/gas", |reading| expected.contains(&reading["rate"].as_f64().unwrap_or(0.0)), SOON);
    let devices = client.wait_json("b/devices", |_| true, SOON);
    let measurements = &devices["sensors"]["gas"]["measurements"];
    assert_eq!((&measurements["total"]["unit"], &measurements["rate"]["unit"]), (&"m³".into(), &"m³/h".into()));
}

const REPLY: &str = "b/sensors/gas/total/reply";

/// With a protocol and a second sensor, which does not count.
fn settable(broker: &Mosquitto, protocol: &str, every: &str) -> String {
    let config = config(broker, every).replace("base_topic: b,", &format!("base_topic: b, protocol: \"{protocol}\","));
    config + "  air: { driver: waveform, every: 1h }\n"
}

/// Starts it and waits until commands arrive.
fn start_listening(folder: &Path, config: &str, client: &Client) -> (Gateway, SimFile) {
    client.forget();
    let started = start(folder, config);
    client.wait_for("b/status", |payload| payload == "online", SOON);
    started
}

/// The answers of `sensor` to what `act` sends.
fn answer_to(client: &Client, sensor: &str, act: impl FnOnce()) -> String {
    let topic = format!("b/sensors/{sensor}/total/reply");
    let before = client.all(&topic).len();
    act();
    wait_for("the answer", SOON, || client.all(&topic).into_iter().nth(before)).payload
}

fn ask(client: &Client, sensor: &str, payload: &str) -> Value {
    let send = || client.publish(&format!("b/sensors/{sensor}/total/set"), payload, false, 1);
    serde_json::from_str(&answer_to(client, sensor, send)).unwrap()
}

#[test]
fn a_total_is_set_and_the_readings_go_on_from_there_by_both_generations_of_mqtt() {
    for protocol in ["5", "3.1.1"] {
        let (broker, folder) = (Mosquitto::start(), tempfile::tempdir().unwrap());
        let client = Client::subscribe(&broker.endpoint(), &["b/#", "answers/#"]);
        let (gateway, bench) = start_listening(folder.path(), &settable(&broker, protocol, "50ms"), &client);
        let devices = client.wait_json("b/devices", |_| true, SOON);
        assert_eq!(devices["sensors"]["gas"]["set"], "b/sensors/gas/total/set", "{devices}");
        assert_eq!(devices["sensors"]["air"].get("set"), None);
        pulse(&client, &bench, 2);
        client.wait_json("b/sensors/gas", |reading| pulses(reading) == 2, SOON);
        // Rounded to the nearest pulse, of which there are a hundred to the m³; then to less, as of a new meter.
        for (payload, id, value) in [
            ("1234.5649", Value::Null, 1234.56),
            (r#"{"value":7,"id":"a1","issued_at":"2026-11-22T10:00:00Z"}"#, "a1".into(), 7.0),
        ] {
            let answer = ask(&client, "gas", payload);
            assert_eq!(
                (&answer["outcome"], &answer["reason"], &answer["id"]),
                (&"done".into(), &Value::Null, &id),
                "{answer}"
            );
            assert_eq!(answer["value"].as_f64(), Some(value));
            let whole = (value * 100.0).round() as u64;
            client.wait_json("b/sensors/gas", |reading| pulses(reading) == whole, SOON);
            pulse(&client, &bench, 1);
            client.wait_json("b/sensors/gas", |reading| pulses(reading) == whole + 1, SOON);
        }
        let line = gateway.wait_line(&["Command answered.", "a1"], SOON);
        assert!(
            line.contains("sensor=gas") && line.contains("outcome=\"done\"") && line.contains("value=\"7\""),
            "{line}"
        );
        if protocol == "5" {
            let properties = [("response-topic", "answers/me"), ("correlation-data", "c7")];
            let send = || publish_v5(&broker.endpoint(), "b/sensors/gas/total/set", "50", &properties);
            let answer = answer_to(&client, "gas", send);
            assert_eq!(client.wait_for("answers/me", |_| true, SOON), answer);
        }
    }
}

#[test]
fn a_total_that_was_answered_survives_a_kill_right_after_the_answer() {
    let (broker, folder) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let client = Client::subscribe(&broker.endpoint(), &["b/#"]);
    // No reading after the first and no commit in an hour: what is on disk was written for the answer's sake.
    let config = settable(&broker, "5", "1h");
    for total in [1234.56, 7.0, 0.0, 1_000_000.01] {
        let (mut gateway, _) = start_listening(folder.path(), &config, &client);
        // An answer of an earlier life may come again, so each has a name of its own.
        let command = json!({ "value": total, "id": total.to_string() });
        client.publish("b/sensors/gas/total/set", &command.to_string(), false, 1);
        let answer = client.wait_json(REPLY, |answer| answer["id"] == command["id"], SOON);
        gateway.kill9();
        assert_eq!(answer["outcome"], "done", "{answer}");
        let (mut gateway, _) = start_listening(folder.path(), &config, &client);
        let reading = client.wait_json("b/sensors/gas", |_| true, SOON);
        assert_eq!(reading["total"].as_f64(), Some(total), "{reading}");
        gateway.kill9();
    }
}

#[test]
fn what_sets_no_total_is_answered_with_the_reason_and_changes_nothing() {
    for protocol in ["5", "3.1.1"] {
        let (broker, folder) = (Mosquitto::start(), tempfile::tempdir().unwrap());
        let client = Client::subscribe(&broker.endpoint(), &["b/#"]);
        let config = settable(&broker, protocol, "50ms").replace("per: h", "per: h, offset: 5");
        // Kept by the broker from before the start.
        client.publish("b/sensors/gas/total/set", "99", true, 1);
        let (_gateway, _) = start_listening(folder.path(), &config, &client);
        let kept = client.wait_json(REPLY, |_| true, SOON);
        assert!(kept["reason"].as_str().unwrap().starts_with("retained: "), "{kept}");
        client.publish("b/sensors/gas/total/set", "", true, 1);
        wait_until("the answer to the end of it", SOON, || client.all(REPLY).len() == 2);
        for (sensor, payload, reason) in [
            ("ghost", "5", "unknown: there is no sensor called ghost"),
            ("air", "5", "unknown: air is not a sensor that counts, and has no total to set"),
            ("gas", "-1", "out_of_range: -1 is less than the offset of this sensor, 5"),
            ("gas", "4.99", "out_of_range: 4.99 is less than the offset of this sensor, 5"),
            ("gas", "1e20", "out_of_range: 100000000000000000000 is more than this sensor can count exactly, "),
            ("gas", "NaN", "unreadable: a total takes a number, such as 1234.56"),
            ("gas", "on", "unreadable: a total takes a number, such as 1234.56"),
            ("gas", r#"{"value":5,"for":"5m"}"#, "unreadable: a total is set for good"),
            ("gas", r#"{"value":5,"unit":"L"}"#, "unreadable: "),
        ] {
            let answer = ask(&client, sensor, payload);
            assert_eq!((&answer["outcome"], &answer["value"]), (&"rejected".into(), &Value::Null), "{answer}");
            assert!(answer["reason"].as_str().unwrap().starts_with(reason), "{payload}: {answer}");
        }
        let long = vec![b'1'; 4097];
        let send = || publish_bytes(&broker.endpoint(), "b/sensors/gas/total/set", &long);
        assert!(answer_to(&client, "gas", send).contains("oversized: 4097 bytes"));
        client.forget();
        client.wait_json("b/sensors/gas", |_| true, SOON);
        let totals: Vec<_> =
            client.all("b/sensors/gas").iter().map(|reading| reading.json()["total"].clone()).collect();
        assert!(totals.iter().all(|total| *total == json!(5)), "{totals:?}");
    }
}

#[test]
fn a_repeated_id_gets_the_first_answer_over_kills_and_stops_and_sets_nothing_again() {
    let (broker, folder) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let client = Client::subscribe(&broker.endpoint(), &["b/#"]);
    let config = settable(&broker, "5", "50ms");
    let send = || client.publish("b/sensors/gas/total/set", r#"{"value":50,"id":"a1"}"#, false, 1);
    let (mut gateway, bench) = start_listening(folder.path(), &config, &client);
    let first = answer_to(&client, "gas", send);
    for life in 1..=3 {
        pulse(&client, &bench, 1);
        client.wait_json("b/sensors/gas", |reading| pulses(reading) == 5000 + life, SOON);
        if life == 2 {
            gateway.stop(SOON);
        } else {
            gateway.kill9();
        }
        gateway = start_listening(folder.path(), &config, &client).0;
        assert_eq!(answer_to(&client, "gas", send), first, "in life {life}");
        client.forget();
        assert_eq!(pulses(&client.wait_json("b/sensors/gas", |_| true, SOON)), 5000 + life);
    }
}

#[test]
fn a_counter_that_a_reload_adds_can_be_set_and_one_that_it_removes_is_unknown() {
    let (broker, folder) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let client = Client::subscribe(&broker.endpoint(), &["b/#"]);
    let with = settable(&broker, "5", "50ms");
    let without = with.replace("  gas:", "#");
    let gateway = Gateway::start(folder.path(), &without);
    client.wait_for("b/status", |payload| payload == "online", SOON);
    let reload = |text: &str, times: usize| {
        write_config(folder.path(), text);
        gateway.signal(Signal::HUP);
        wait_until("a reload", SOON, || gateway.log().matches("Configuration reloaded").count() == times);
    };
    reload(&with, 1);
    // The subscription follows the reload.
    let answered = || {
        client.publish("b/sensors/gas/total/set", "12", false, 1);
        client.all(REPLY).iter().any(|answer| answer.json()["outcome"] == "done")
    };
    wait_until("a total that is set", SOON, answered);
    client.wait_json("b/sensors/gas", |reading| pulses(reading) == 1200, SOON);
    reload(&without, 2);
    // Answers to what was sent before come first.
    client.publish("b/sensors/gas/total/set", r#"{"value":13,"id":"gone"}"#, false, 1);
    let answer = client.wait_json(REPLY, |answer| answer["id"] == "gone", SOON);
    assert_eq!(answer["reason"], "unknown: there is no sensor called gas");
}
