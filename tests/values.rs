//! Filters and reports from outside: the compiled program, simulated chips and a real Mosquitto.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use crate::common::client::Client;
use crate::common::gateway::{self, Gateway};
use crate::common::mosquitto::Mosquitto;
use crate::common::running::{Running, config};
use crate::common::sim_file::SimFile;
use crate::common::{SOON, wait_until};
use rusqlite::Connection;
use serde_json::{Value, json};

const AIR: &str = "buses:
  bench: { type: sim, state_file: bench.json }
sensors:
  air:
    driver: bme280
    bus: bench
    every: 10ms
    settings: { address: 0x76 }
    filters: { temperature: [{ median: 3 }, { round: 0.5 }], pressure: omit }
    report: { delta: { temperature: 2 }, max_interval: 1h, aggregate: [mean, min, max] }
";

fn start(rest: &str) -> Running {
    Running::untouched(rest, &[], |folder| {
        let bench = SimFile::new(folder.join("bench.json"));
        bench.set_chip("0x76", "temperature", 20.0);
    })
}

fn keys(reading: &Value) -> Vec<&str> {
    let own = ["time", "run", "seq", "clock"];
    reading.as_object().unwrap().keys().map(String::as_str).filter(|key| !own.contains(key)).collect()
}

fn counts(running: &Running) -> [u64; 3] {
    let health = running.client.wait_json("b/health", |health| health["sensors"]["air"]["taken"].is_u64(), SOON);
    ["samples", "taken", "filtered"].map(|key| health["sensors"]["air"][key].as_u64().unwrap())
}

#[test]
fn a_reading_comes_when_something_has_moved_and_says_of_how_many_samples() {
    let running = start(AIR);
    let first = running.client.wait_json("b/sensors/air", |_| true, SOON);
    let names =
        ["temperature", "temperature_min", "temperature_max", "humidity", "humidity_min", "humidity_max", "samples"];
    assert_eq!(keys(&first), names);
    assert_eq!(
        (&first["seq"], &first["samples"], &first["temperature"]),
        (&json!(1), &json!(1), &json!(20)),
        "{first}"
    );
    running.sim.set_chip("0x76", "temperature", 30.0);
    let second = running.client.wait_json("b/sensors/air", |reading| reading["seq"] == 2, SOON);
    assert_eq!((&second["temperature_min"], &second["temperature_max"]), (&json!(20), &json!(30)), "{second}");
    let (mean, samples) = (second["temperature"].as_f64().unwrap(), second["samples"].as_f64().unwrap());
    // The median of three shows the step with its second sample. All others since the first reading were 20. A mean half way
    // between two tenths, as of eight samples, is half a tenth from either.
    let expected = (20.0 * (samples - 1.0) + 30.0) / samples;
    assert!(samples >= 2.0 && (mean - expected).abs() < 0.050_001, "{second}");
    // The mean that was published is far from 30, so the next sample has moved.
    let third = running.client.wait_json("b/sensors/air", |reading| reading["seq"] == 3, SOON);
    assert_eq!((&third["temperature"], &third["samples"]), (&json!(30), &json!(1)), "{third}");
    let devices = running.client.wait_json("b/devices", |_| true, SOON);
    let measurements = devices["sensors"]["air"]["measurements"].as_object().unwrap();
    assert_eq!(measurements["temperature_max"]["unit"], "°C");
    assert_eq!(measurements.len(), 6, "{measurements:?}");
}

/// That its filters have dropped all of some samples. A busy machine may be too slow for such a period meanwhile, which is said of the
/// same sensor.
fn is_filtered(status: &Value) -> bool {
    status["error"].as_str().is_some_and(|error| error.starts_with("temperature: "))
}

#[test]
fn a_sensor_that_fails_shows_nothing_old_and_its_first_good_sample_at_once() {
    let running = start(&AIR.replace("{ median: 3 }", "{ minimum: 1000 }, { within: [0, 25] }"));
    running.client.wait_json("b/sensors/air", |_| true, SOON);
    running.sim.set_fault("0x76", Some("nak"));
    running.client.wait_json("b/sensors/air/status", |status| status["status"] == "down", SOON);
    running.client.forget();
    running.sim.write(&json!({"chips": {"0x76": {"fault": null, "temperature": 21.0}}}));
    running.client.wait_json("b/sensors/air/status", |status| status["status"] == "ok", SOON);
    let reading = running.client.wait_json("b/sensors/air", |_| true, SOON);
    assert_eq!((&reading["temperature"], &reading["samples"]), (&json!(21), &json!(1)), "{reading}");
    // What a filter takes is counted, and reported when nothing is left of three samples. The other measurement goes on.
    running.sim.set_chip("0x76", "temperature", -5.0);
    let status = running.client.wait_json("b/sensors/air/status", is_filtered, SOON);
    let error = "temperature: its filters have dropped at least the last three values";
    assert_eq!((&status["status"], &status["error"]), (&"degraded".into(), &error.into()));
    let reading = running.client.wait_json("b/sensors/air", |reading| reading.get("temperature").is_none(), SOON);
    assert!(reading["humidity"].is_number(), "{reading}");
}

#[test]
fn health_counts_samples_readings_and_what_filters_took() {
    let running = start(&AIR.replace("{ median: 3 }", "{ within: [0, 25] }"));
    running.client.wait_json("b/sensors/air", |_| true, SOON);
    running.sim.set_chip("0x76", "temperature", 99.0);
    running.client.wait_json("b/sensors/air/status", is_filtered, SOON);
    // Health is published when the link changes.
    running.client.forget();
    running.reload(&running.config(", late_after: 29s", &AIR.replace("{ median: 3 }", "{ within: [0, 25] }")));
    let [samples, taken, filtered] = counts(&running);
    assert!(taken >= 1 && samples > taken && filtered >= 3, "{samples} samples, {taken} readings, {filtered} filtered");
}

#[test]
fn a_change_that_came_too_early_is_published_when_it_may_be() {
    let rest = "buses:
  bench: { type: sim, state_file: bench.json }
sensors:
  door: { driver: gpio-input, bus: bench, every: 1h, settings: { line: GPIO17 }, report: { min_interval: 1500ms, max_interval: 2h } }
";
    let running = Running::untouched(rest, &[], |_| ());
    let first = running.client.wait_json("b/sensors/door", |_| true, SOON);
    assert_eq!((&first["active"], &first["seq"]), (&json!(false), &json!(1)));
    running.sim.set_input("GPIO17", 1);
    let second = running.client.wait_json("b/sensors/door", |reading| reading["active"] == true, SOON);
    assert_eq!(second["seq"], 2);
    let time = |reading: &Value| humantime::parse_rfc3339(reading["time"].as_str().unwrap()).unwrap();
    let between = time(&second).duration_since(time(&first)).unwrap();
    // A little early is on time, and the times are in whole milliseconds.
    assert!(between >= Duration::from_millis(1500 - 20 - 1), "{between:?}");
}

#[test]
fn what_is_counted_is_kept_without_a_reading_that_says_so() {
    let (broker, folder) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let client = Client::subscribe(&broker.endpoint(), &["b/#"]);
    let rest = "buses: { bench: { type: sim, state_file: bench.json } }
sensors:
  gas: { driver: pulse-counter, bus: bench, every: 20ms, settings: { line: GPIO17 }, filters: { rate: omit }, report: { max_interval: 1h } }
";
    let text = config(&broker.url(), "", rest);
    let bench = SimFile::new(folder.path().join("bench.json"));
    let mut gateway = Gateway::start(folder.path(), &text);
    wait_until("the line to be claimed", SOON, || bench.read()["held"]["GPIO17"] == gateway.pid());
    assert_eq!(client.wait_json("b/sensors/gas", |_| true, SOON)["total"], 0);
    bench.set_input("GPIO17", 1);
    // The program holds the file alone, so a copy is looked at.
    let copy = tempfile::tempdir().unwrap();
    let kept = || {
        for name in ["spool.db", "spool.db-wal"] {
            std::fs::copy(folder.path().join("spool").join(name), copy.path().join(name)).ok()?;
        }
        let file = Connection::open(copy.path().join("spool.db")).ok()?;
        file.query_row("SELECT count FROM count WHERE name = 'gas'", [], |row| row.get::<_, i64>(0)).ok()
    };
    wait_until("the pulse to be on disk", SOON, || kept() == Some(1));
    assert_eq!(client.all("b/sensors/gas").len(), 1, "no reading says so");
    gateway.kill9();
    client.forget();
    let _gateway = Gateway::start(folder.path(), &text);
    assert_eq!(client.wait_json("b/sensors/gas", |_| true, SOON)["total"], 1);
}

#[test]
fn read_shows_raw_and_filtered_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    SimFile::new(folder.path().join("bench.json")).set_chip("0x76", "temperature", 20.3);
    gateway::write_config(folder.path(), &config("mqtt://localhost", "", AIR));
    let read = |arguments: &[&str]| {
        let all = [&["read", "air", "--config", "fieldgate.yaml"], arguments].concat();
        String::from_utf8(gateway::command(folder.path(), &all, SOON).stdout).unwrap()
    };
    let text = read(&[]);
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["RAW", "FILTERED"], "{text}");
    assert_eq!(lines[1], ["temperature", "20.3", "°C", "20.5", "°C"], "{text}");
    assert_eq!(lines[3][3..], ["–"], "{text}");
    let json: Value = serde_json::from_str(&read(&["--json"])).unwrap();
    assert_eq!((&json["raw"]["temperature"], &json["filtered"]["temperature"]), (&json!(20.3), &json!(20.5)), "{json}");
    assert!(json["filtered"].get("pressure").is_none(), "{json}");
}

#[test]
fn filters_have_a_table_and_pages() {
    let run = |arguments: &[&str]| gateway::command(&std::env::temp_dir(), arguments, SOON);
    let text = |arguments: &[&str]| String::from_utf8(run(arguments).stdout).unwrap();
    assert!(text(&["filters"]).contains("median "));
    assert!(text(&["filters", "spike"]).contains("temperature: [{ spike: { by: 5, for: 3 } }]"));
    let all: Value = serde_json::from_str(&text(&["filters", "--json"])).unwrap();
    assert!(all.as_array().unwrap().iter().any(|filter| filter["name"] == "quantile"));
    let unknown = run(&["filters", "medain"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8(unknown.stderr).unwrap().contains("did you mean \"median\"?"));
}
