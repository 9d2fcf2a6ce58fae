//! Sensors that are computed from others, from outside: the compiled program, simulated chips and a real Mosquitto.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use crate::common::client::{Client, Message};
use crate::common::gateway::{self, Gateway};
use crate::common::mosquitto::Mosquitto;
use crate::common::running::{Running, config};
use crate::common::sim_file::SimFile;
use crate::common::{SOON, wait_until};
use serde_json::{Value, json};

const CLIMATE: &str = "buses:
  bench: { type: sim, state_file: bench.json }
sensors:
  mould:
    driver: formula
    settings: { risk: { formula: comfort.spread < 3 or pump.value == \"on\" } }
  comfort:
    driver: formula
    settings:
      dew_point: { formula: \"dew_point(air.temperature, air.humidity)\", decimals: 1 }
      spread: { formula: \"air.temperature - comfort2.dew_point\", unit: °C, decimals: 1 }
      twice: { formula: tank.temperature * 2, decimals: 1 }
  comfort2: { driver: formula, settings: { dew_point: { formula: \"dew_point(air.temperature, air.humidity)\" } } }
  air: { driver: sht3x, bus: bench, every: 50ms, settings: { address: 0x44 } }
  tank: { driver: tmp102, bus: bench, every: 50ms, settings: { address: 0x49 } }
actuators:
  pump: { driver: gpio-output, bus: bench, settings: { line: GPIO27 }, safe_state: \"off\" }
";

fn climate() -> Running {
    Running::untouched(CLIMATE, &[], |folder| {
        let bench = SimFile::new(folder.join("bench.json"));
        bench
            .write(&json!({"chips": {"0x44": {"temperature": 25.0, "humidity": 50.0}, "0x49": {"temperature": 12.0}}}));
    })
}

/// Whether a number is as near as the chips' resolution makes it.
fn is_near(value: &Value, expected: f64) -> bool {
    value.as_f64().is_some_and(|value| (value - expected).abs() <= 0.11)
}

#[test]
fn measurements_are_computed_when_their_inputs_are_new() {
    let running = climate();
    // 25 °C at 50 %: 13.9 °C by every table.
    let whole = |reading: &Value| is_near(&reading["dew_point"], 13.9) && is_near(&reading["twice"], 24.0);
    let reading = running.client.wait_json("b/sensors/comfort", |r| whole(r) && is_near(&r["spread"], 11.1), SOON);
    assert_eq!(reading["run"].as_str().map(str::len), Some(8));
    running.client.wait_json("b/sensors/mould", |reading| reading["risk"] == false, SOON);
    running.sim.set_chip("0x49", "temperature", 15.0);
    running.client.wait_json("b/sensors/comfort", |reading| is_near(&reading["twice"], 30.0), SOON);
    running.sim.set_chip("0x44", "humidity", 95.0);
    running.client.wait_json("b/sensors/mould", |reading| reading["risk"] == true, SOON);
    let devices = running.client.wait_json("b/devices", |_| true, SOON);
    assert_eq!(devices["sensors"]["comfort"]["measurements"]["dew_point"]["unit"], "°C");
    running.account("comfort").check_whole();
}

#[test]
fn what_an_output_does_can_be_computed_with() {
    let running = climate();
    running.client.wait_json("b/sensors/mould", |reading| reading["risk"] == false, SOON);
    running.switch_on();
    running.client.wait_json("b/sensors/mould", |reading| reading["risk"] == true, SOON);
}

#[test]
fn what_is_computed_of_a_sensor_that_is_down_is_left_out_and_the_status_says_why() {
    let running = climate();
    running.client.wait_json(
        "b/sensors/comfort",
        |reading| reading["twice"].is_number() && reading["spread"].is_number(),
        SOON,
    );
    running.client.forget();
    running.sim.set_fault("0x49", Some("nak"));
    let degraded = |status: &Value| {
        status["status"] == "degraded" && status["error"] == "without twice: tank.temperature is not known"
    };
    running.client.wait_json("b/sensors/comfort/status", degraded, SOON);
    // A status overtakes the readings that wait, so the next one may be from before.
    let reading = running.client.wait_json("b/sensors/comfort", |reading| reading.get("twice").is_none(), SOON);
    assert!(is_near(&reading["dew_point"], 13.9), "{reading}");
    let number = |message: &Message| message.json()["seq"].as_u64();
    let later = |readings: Vec<Message>| readings.into_iter().filter(|known| number(known) > reading["seq"].as_u64());
    wait_until("more of them", SOON, || later(running.client.all("b/sensors/comfort")).count() >= 3);
    let all = later(running.client.all("b/sensors/comfort")).map(|message| message.json());
    assert!(all.into_iter().all(|reading| reading.get("twice").is_none()), "it comes back while its sensor is down");
    running.sim.set_fault("0x44", Some("nak"));
    running.client.wait_json("b/sensors/comfort2/status", |status| status["status"] == "down", SOON);
    running.client.forget();
    running.sim.write(&json!({"chips": {"0x44": {"fault": null}, "0x49": {"fault": null}}}));
    running.client.wait_json("b/sensors/comfort/status", |status| status["status"] == "ok", SOON);
    running.client.wait_json("b/sensors/comfort2/status", |status| status["status"] == "ok", SOON);
    running.client.wait_json("b/sensors/comfort", |reading| is_near(&reading["twice"], 24.0), SOON);
}

#[test]
fn a_reload_that_takes_an_input_away_computes_without_it() {
    let running = climate();
    running.client.wait_json("b/sensors/comfort", |reading| is_near(&reading["twice"], 24.0), SOON);
    let other = CLIMATE.replace("tank.temperature * 2", "air.temperature * 3").replace("  tank: {", "  other: {");
    running.client.forget();
    running.reload(&running.config("", &other));
    running.client.wait_json("b/sensors/comfort", |reading| is_near(&reading["twice"], 75.0), SOON);
}

#[test]
fn what_is_computed_of_a_sensor_and_of_others_of_it_is_computed_once_for_a_sample() {
    // By their names and their places in the file the last comes first.
    let rest = "buses:
  bench: { type: sim, state_file: bench.json }
sensors:
  a: { driver: formula, settings: { rest: { formula: \"if(door.active, 4, 0) - b.value\" } } }
  b: { driver: formula, settings: { value: { formula: c.value * 2 } } }
  c: { driver: formula, settings: { value: { formula: \"if(door.active, 2, 0)\" } } }
  door: { driver: gpio-input, bus: bench, every: 1h, settings: { line: GPIO17 } }
";
    let running = Running::untouched(rest, &[], |_| ());
    let readings = || running.client.all("b/sensors/a");
    wait_until("the first reading", SOON, || !readings().is_empty());
    for level in [1, 0, 1, 0] {
        let known = readings().len();
        running.sim.set_input("GPIO17", level);
        wait_until("the next reading", SOON, || readings().len() > known);
    }
    let rest: Vec<Value> = readings().iter().map(|message| message.json()["rest"].clone()).collect();
    assert!(rest.iter().all(|rest| *rest == 0), "{rest:?}");
}

#[test]
fn what_cannot_be_computed_any_more_is_not_computed_with() {
    let rest = "buses:
  bench: { type: sim, state_file: bench.json }
sensors:
  door: { driver: gpio-input, bus: bench, every: 1h, settings: { line: GPIO17 } }
  root: { driver: formula, settings: { x: { formula: \"sqrt(if(door.active, -1, 4))\" } } }
  next: { driver: formula, settings: { x: { formula: root.x + 1 } } }
";
    let running = Running::untouched(rest, &[], |_| ());
    running.client.wait_json("b/sensors/next", |reading| reading["x"] == 3, SOON);
    running.sim.set_input("GPIO17", 1);
    running.client.wait_json("b/sensors/next/status", |status| status["error"] == "root.x is not known", SOON);
}

#[test]
fn a_reload_that_first_names_an_output_computes_with_what_it_does_already() {
    let without = CLIMATE.replace(" or pump.value == \"on\"", "");
    let running = Running::prepared(&without, &[], |folder| {
        SimFile::new(folder.join("bench.json"))
            .write(&json!({"chips": {"0x44": {"temperature": 25.0, "humidity": 50.0}}}));
    });
    running.client.wait_json("b/sensors/mould", |reading| reading["risk"] == false, SOON);
    running.reload(&running.config("", CLIMATE));
    running.client.wait_json("b/sensors/mould", |reading| reading["risk"] == true, SOON);
}

#[test]
fn a_total_goes_on_as_before_when_a_reload_changes_the_unit_of_what_is_added_up() {
    let rest = "buses: { bench: { type: sim, state_file: bench.json } }
sensors:
  load: { driver: ina219, bus: bench, every: 20ms, settings: { address: 0x40 } }
  energy: { driver: formula, settings: { used: { integrate: load.power, unit: Wh, decimals: 9 } } }
";
    let running = Running::untouched(rest, &[], |folder| {
        SimFile::new(folder.join("bench.json")).write(&json!({"chips": {"0x40": {"voltage": 12.0, "current": 1.0}}}));
    });
    let used = |reading: &Value| reading["used"].as_f64().unwrap();
    let first = running.client.wait_json("b/sensors/energy", |reading| used(reading) > 0.0, SOON);
    running.reload(&running.config("", &rest.replace("0x40 }", "0x40 }, filters: { power: { to: kW } }")));
    running.client.wait_json("b/sensors/load", |reading| reading["power"] == 0.012, SOON);
    running.client.forget();
    // In 100 ms 0.3 mWh, and not a thousandth of it.
    let begin = used(&running.client.wait_json("b/sensors/energy", |_| true, SOON)).max(used(&first));
    running.client.wait_json("b/sensors/energy", |reading| used(reading) > begin + 3e-4, SOON);
}

#[test]
fn a_total_goes_on_after_a_kill() {
    let (broker, folder) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let client = Client::subscribe(&broker.endpoint(), &["b/sensors/energy", "b/late/energy"]);
    let rest = "buses: { bench: { type: sim, state_file: bench.json } }
sensors:
  load: { driver: ina219, bus: bench, every: 20ms, settings: { address: 0x40 } }
  energy: { driver: formula, settings: { used: { integrate: load.power, unit: J, decimals: 3 } } }
";
    let text = config(&broker.url(), "", rest);
    let used = |reading: &Value| reading["used"].as_f64().unwrap();
    let mut before = 0.0;
    for _ in 0..3 {
        let mut gateway = Gateway::start(folder.path(), &text);
        let reading = client.wait_json("b/sensors/energy", |reading| used(reading) > before + 0.05, SOON);
        before = used(&reading);
        gateway.kill9();
        client.forget();
    }
    let gateway = Gateway::start(folder.path(), &text);
    let replies = Client::subscribe(&broker.endpoint(), &["b/sensors/energy/total/reply"]);
    gateway.wait_log("Connected.", SOON);
    client.wait_json("b/sensors/energy", |_| true, SOON);
    replies.publish("b/sensors/energy/total/set", "1234.5", false, 1);
    let reply = replies.wait_json("b/sensors/energy/total/reply", |_| true, SOON);
    assert_eq!(reply["outcome"], "done", "{reply}");
    // It says what the total is by then.
    assert!((1234.5..1300.0).contains(&reply["value"].as_f64().unwrap()), "{reply}");
    client.forget();
    client.wait_json("b/sensors/energy", |reading| used(reading) >= 1234.5, SOON);
    let totals: Vec<f64> = client.everything().iter().map(|message| used(&message.json())).collect();
    assert!(totals.is_sorted(), "{totals:?}");
}

#[test]
fn read_samples_what_a_sensor_is_computed_of() {
    let folder = tempfile::tempdir().unwrap();
    let bench = SimFile::new(folder.path().join("bench.json"));
    bench.write(&json!({"chips": {"0x44": {"temperature": 25.0, "humidity": 50.0}, "0x49": {"temperature": 12.0}}}));
    gateway::write_config(folder.path(), &config("mqtt://localhost", "", CLIMATE));
    let read =
        |sensor: &str| gateway::command(folder.path(), &["read", sensor, "--json", "--config", "fieldgate.yaml"], SOON);
    let comfort: Value = serde_json::from_slice(&read("comfort").stdout).unwrap();
    assert!(is_near(&comfort["dew_point"], 13.9) && is_near(&comfort["spread"], 11.1), "{comfort}");
    bench.set_fault("0x49", Some("nak"));
    let partly = read("comfort");
    let words = String::from_utf8(partly.stderr).unwrap();
    assert!(words.contains("without twice: tank.temperature is not known"), "{words}");
}
