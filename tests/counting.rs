//! A total that is counted over restarts, kills and stops of the compiled program.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic, and it drives a line by hand")]

mod common;

use std::path::Path;
use std::time::Duration;

use common::SOON;
use common::client::Client;
use common::gateway::{Gateway, write_config};
use common::mosquitto::Mosquitto;
use common::sim_file::SimFile;
use rustix::process::Signal;

/// A simulated bus looks at its file at least this often.
const SEEN: Duration = Duration::from_millis(120);

fn config(broker: &Mosquitto, every: &str) -> String {
    // A commit in an hour: what is on disk after a kill was written for the count's sake.
    format!(
        "gateway: {{ name: t }}
mqtt: {{ base_topic: b, broker: \"{}\", reconnect: {{ min: 100ms, max: 200ms }} }}
spool: {{ path: spool, commit_every: 1h }}
buses: {{ bench: {{ type: sim, state_file: bench.json }} }}
sensors:
  gas: {{ driver: pulse-counter, bus: bench, every: {every}, settings: {{ line: GPIO17, pulses_per_unit: 100, unit: m³, per: h }} }}
",
        broker.url()
    )
}

/// Starts it and waits until it holds the line.
fn start(folder: &Path, config: &str) -> (Gateway, SimFile) {
    let bench = SimFile::new(folder.join("bench.json"));
    let gateway = Gateway::start(folder, config);
    common::wait_until("the line to be held", SOON, || bench.read()["held"]["GPIO17"] == gateway.pid());
    (gateway, bench)
}

fn pulse(bench: &SimFile, times: u32) {
    for _ in 0..times {
        for level in [1, 0] {
            bench.set_input("GPIO17", level);
            std::thread::sleep(SEEN);
        }
    }
}

fn pulses(message: &serde_json::Value) -> u64 {
    (message["total"].as_f64().unwrap() * 100.0).round() as u64
}

/// Every total in the order in which they came.
fn totals(client: &Client) -> Vec<u64> {
    let readings = client.everything().into_iter().filter(|message| message.topic.ends_with("/gas"));
    readings.map(|message| pulses(&message.json())).collect()
}

#[test]
fn a_total_never_goes_back_however_often_the_program_is_killed() {
    let (broker, folder) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let client = Client::subscribe(&broker.endpoint(), &["b/sensors/gas", "b/late/gas"]);
    let config = config(&broker, "50ms");
    let mut counted = 0;
    for life in 1..=4 {
        let (mut gateway, bench) = start(folder.path(), &config);
        pulse(&bench, life);
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
    let client = Client::subscribe(&broker.endpoint(), &["b/sensors/gas", "b/late/gas"]);
    let config = config(&broker, "20ms");
    for _ in 0..3 {
        let (mut gateway, bench) = start(folder.path(), &config);
        pulse(&bench, 2);
        bench.set_input("GPIO17", 1);
        gateway.kill9();
        // Nobody counts this one.
        bench.set_input("GPIO17", 0);
        pulse(&bench, 1);
    }
    let (_gateway, _) = start(folder.path(), &config);
    client.wait_json("b/sensors/gas", |reading| pulses(reading) >= 6, SOON);
    let totals = totals(&client);
    assert!(totals.is_sorted() && totals.last().is_some_and(|last| (6..=9).contains(last)), "{totals:?}");
}

#[test]
fn an_orderly_stop_loses_no_pulse_though_no_reading_told_it() {
    let (broker, folder) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let client = Client::subscribe(&broker.endpoint(), &["b/sensors/gas"]);
    let config = config(&broker, "1h");
    let (mut gateway, bench) = start(folder.path(), &config);
    assert_eq!(pulses(&client.wait_json("b/sensors/gas", |_| true, SOON)), 0);
    pulse(&bench, 3);
    gateway.stop(SOON);
    client.forget();
    let (_gateway, _) = start(folder.path(), &config);
    let reading = client.wait_json("b/sensors/gas", |_| true, SOON);
    assert_eq!((pulses(&reading), &reading["missed"], reading.get("rate")), (3, &0.into(), None), "{reading}");
}

#[test]
fn a_reload_neither_counts_anew_nor_forgets() {
    let (broker, folder) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let client = Client::subscribe(&broker.endpoint(), &["b/sensors/gas"]);
    let config = config(&broker, "50ms");
    let (gateway, bench) = start(folder.path(), &config);
    let mut reloads = 0;
    let mut reload = |text: &str| {
        reloads += 1;
        write_config(folder.path(), text);
        gateway.signal(Signal::HUP);
        common::wait_until("a reload", SOON, || gateway.log().matches("Configuration reloaded").count() == reloads);
    };
    let wait = |total| client.wait_json("b/sensors/gas", |reading| pulses(reading) == total, SOON);
    pulse(&bench, 2);
    wait(2);
    // Another setting builds the device anew.
    reload(&config.replace("per: h", "per: h, debounce: 1ms"));
    pulse(&bench, 2);
    wait(4);
    reload(&config.replace("  gas:", "  none: { driver: waveform, every: 1s }\n#"));
    // Nobody counts this one.
    pulse(&bench, 1);
    client.forget();
    reload(&config);
    assert_eq!(pulses(&client.wait_json("b/sensors/gas", |_| true, SOON)), 4);
    pulse(&bench, 1);
    wait(5);
}

#[test]
fn the_rate_and_its_unit_are_those_of_the_meter() {
    let (broker, folder) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let client = Client::subscribe(&broker.endpoint(), &["b/sensors/gas", "b/devices"]);
    let (_gateway, bench) = start(folder.path(), &config(&broker, "100ms"));
    pulse(&bench, 4);
    // A pulse in about a quarter of a second, each a hundredth of a m³: 150 m³ in the hour.
    client.wait_json(
        "b/sensors/gas",
        |reading| (100.0..160.0).contains(&reading["rate"].as_f64().unwrap_or(0.0)),
        SOON,
    );
    let devices = client.wait_json("b/devices", |_| true, SOON);
    let measurements = &devices["sensors"]["gas"]["measurements"];
    assert_eq!((&measurements["total"]["unit"], &measurements["rate"]["unit"]), (&"m³".into(), &"m³/h".into()));
}
