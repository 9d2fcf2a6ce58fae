//! Push buttons, end to end: a pattern of presses on a simulated line or on a pin of an expander is one reading at a real
//! Mosquitto.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::{Duration, Instant};

use crate::common::client::Client;
use crate::common::gateway::Gateway;
use crate::common::mosquitto::Mosquitto;
use crate::common::sim_file::SimFile;
use crate::common::{SOON, wait_until};
use serde_json::{Value, json};

/// `double_within` of both buttons: a press is through the program and back long before.
const WITHIN: Duration = Duration::from_secs(1);

const CONFIG: &str = "
gateway: { name: g }
mqtt: { broker: \"URL\", base_topic: b, plain: true, reconnect: { min: 50ms, max: 200ms } }
spool: { path: spool }
buses:
  bench: { type: sim, state_file: bench.json }
  panel: { type: pcf8574, bus: bench, address: 0x20 }
sensors:
  bell:
    { driver: gpio-input, bus: bench, retain: true, settings: { line: GPIO17, clicks: { double_within: 1s, long_after: 60s } } }
  knob:
    driver: gpio-input
    bus: panel
    settings: { line: P4, active_low: true, debounce: 5ms, clicks: { double_within: 1s, long_after: 60s } }
  step: { driver: gpio-input, bus: bench, settings: { line: GPIO5, delayed_on: 300ms } }
";

struct Bench {
    broker: Mosquitto,
    client: Client,
    file: SimFile,
    _gateway: Gateway,
    _folder: tempfile::TempDir,
}

fn start() -> Bench {
    start_with(CONFIG)
}

fn start_with(config: &str) -> Bench {
    let (broker, folder) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let client = Client::subscribe(&broker.endpoint(), &["b/#"]);
    let gateway = Gateway::start(folder.path(), &config.replace("URL", &broker.url()));
    for sensor in ["bell", "knob", "step"] {
        client.wait_json(&format!("b/sensors/{sensor}"), |reading| reading["active"] == false, SOON);
    }
    let file = SimFile::new(folder.path().join("bench.json"));
    Bench { broker, client, file, _gateway: gateway, _folder: folder }
}

/// What presses a button and releases it.
type Push = fn(&SimFile, bool);

const BELL: (&str, Push) = ("bell", |file, down| file.set_input("GPIO17", u8::from(down)));
const KNOB: (&str, Push) = ("knob", |file, down| file.set_chip("0x20", "P4", if down { 0.0 } else { 1.0 }));

impl Bench {
    fn readings(&self, sensor: &str) -> Vec<Value> {
        self.client.all(&format!("b/sensors/{sensor}")).iter().map(|message| message.json()).collect()
    }

    /// The outcomes so far.
    fn clicks(&self, sensor: &str) -> Vec<Value> {
        self.readings(sensor)
            .into_iter()
            .map(|reading| reading["click"].clone())
            .filter(|word| !word.is_null())
            .collect()
    }

    /// Presses or releases, and returns when that was published, with the time that it bears.
    fn push(&self, (sensor, push): (&str, Push), down: bool) -> humantime::Timestamp {
        let known = self.readings(sensor).last().map_or(0, |reading| reading["seq"].as_u64().unwrap());
        push(&self.file, down);
        let is_it = |reading: &Value| reading["active"] == down && reading["seq"].as_u64().unwrap() > known;
        let reading = self.client.wait_json(&format!("b/sensors/{sensor}"), is_it, SOON);
        reading["time"].as_str().unwrap().parse().unwrap()
    }

    /// Presses a button twice and returns the reading with what that means. Where the machine stalled in between, by the times
    /// that the readings bear, these were two single presses, and it is done once more.
    fn press_twice(&self, button: (&str, Push)) -> Value {
        loop {
            self.client.forget();
            self.push(button, true);
            let released = self.push(button, false);
            let pressed = self.push(button, true);
            self.push(button, false);
            let topic = format!("b/sensors/{}", button.0);
            let reading = self.client.wait_json(&topic, |reading| !reading["click"].is_null(), SOON);
            if reading["click"] != "single" {
                return reading;
            }
            assert!(pressed.duration_since(*released).unwrap() > WITHIN / 2, "two presses at once are not single");
            wait_until("the other to be published", SOON, || self.clicks(button.0) == ["single", "single"]);
        }
    }
}

#[test]
fn two_presses_are_one_reading_with_a_double_and_nobody_gets_it_twice() {
    let bench = start();
    for button in [BELL, KNOB] {
        let (topic, sensor) = (format!("b/sensors/{}", button.0), button.0);
        let reading = bench.press_twice(button);
        assert_eq!((&reading["click"], &reading["active"]), (&json!("double"), &json!(false)), "{reading}");
        // Whatever else came of these presses comes before the next.
        bench.push(button, true);
        assert_eq!(bench.clicks(sensor), ["double"]);
        let seqs: Vec<u64> = bench.readings(sensor).iter().map(|reading| reading["seq"].as_u64().unwrap()).collect();
        assert!(seqs.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{seqs:?}");
        bench.push(button, false);
        bench.client.wait_json(&topic, |reading| reading["click"] == "single", SOON);
    }
    // The newest reading of the bell is its click, but what the broker keeps is the one before.
    let late = Client::subscribe(&bench.broker.endpoint(), &["b/#"]);
    let kept = late.wait_message("b/sensors/bell", |message| message.retain, SOON).json();
    assert_eq!((&kept["active"], &kept["click"]), (&json!(false), &Value::Null), "{kept}");
    assert_eq!(late.wait_message("b/sensors/bell/active", |_| true, SOON).payload, "false");
    assert!(bench.client.all("b/sensors/bell/click").is_empty());
    let devices = late.wait_json("b/devices", |_| true, SOON);
    assert!(devices["sensors"]["bell"]["measurements"]["click"].is_object(), "{devices}");
    assert!(devices["sensors"]["step"]["measurements"]["click"].is_null(), "{devices}");
}

#[test]
fn a_delayed_change_is_published_when_it_has_lasted_although_nothing_else_happens() {
    let bench = start();
    bench.client.forget();
    let began = Instant::now();
    bench.file.set_input("GPIO5", 1);
    let reading = bench.client.wait_json("b/sensors/step", |reading| reading["active"] == true, SOON);
    assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
    assert_eq!(bench.readings("step"), [reading]);
}

#[test]
fn a_line_whose_bus_has_gone_makes_its_sensor_down_with_the_reason_until_it_is_back() {
    // Whether it is there is known by reading it.
    let often = CONFIG.replace("gpio-input,", "gpio-input, every: 200ms,");
    let bench = start_with(&often.replace("gpio-input\n", "gpio-input\n    every: 200ms\n"));
    let sensors = ["bell", "knob", "step"].map(|sensor| format!("b/sensors/{sensor}/status"));
    bench.file.write(&json!({"gone": true}));
    for topic in &sensors {
        let status = bench.client.wait_json(topic, |status| status["status"] == "down", SOON);
        assert!(status["error"].as_str().unwrap().contains("No such device"), "{status}");
    }
    bench.client.forget();
    bench.file.write(&json!({"gone": false}));
    for topic in &sensors {
        bench.client.wait_json(topic, |status| status["status"] == "ok" && status["error"].is_null(), SOON);
    }
    for button in [BELL, KNOB] {
        bench.push(button, true);
        bench.push(button, false);
    }
}
