//! Variables of the compiled program on a real broker: set and answered, kept over kills, stops and reloads, used in formulas.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic")]

use crate::common;

use std::path::Path;

use crate::common::SOON;
use crate::common::client::{Client, publish_v5};
use crate::common::gateway::{Gateway, command, write_config};
use crate::common::mosquitto::Mosquitto;
use rustix::process::Signal;
use serde_json::{Value, json};

const TARGET: &str = "target: { min: 5, max: 30, step: 0.5, initial: 19, unit: °C }";

fn config(broker: &Mosquitto, protocol: &str) -> String {
    // A commit in an hour: what is on disk after a kill was written for the variable's sake.
    format!(
        "gateway: {{ name: t }}
mqtt: {{ base_topic: b, broker: \"{}\", protocol: {protocol}, reconnect: {{ min: 100ms, max: 200ms }} }}
spool: {{ path: spool, commit_every: 1h }}
variables:
  {TARGET}
  mode: {{ options: [auto, away, off], initial: auto }}
sensors:
  wish:
    driver: formula
    every: 1h
    settings:
      twice: {{ formula: \"if(mode == 'auto', 2 * target, 0)\", decimals: 1 }}
",
        broker.url()
    )
}

/// Starts it and waits until commands arrive.
fn start(folder: &Path, config: &str, client: &Client) -> Gateway {
    client.forget();
    let gateway = Gateway::start(folder, config);
    client.wait_for("b/status", |payload| payload == "online", SOON);
    gateway
}

/// Sets a variable and returns the answer to this command.
fn set(client: &Client, variable: &str, value: &Value, id: &str) -> Value {
    let command = json!({ "value": value, "id": id });
    client.publish(&format!("b/variables/{variable}/set"), &command.to_string(), false, 1);
    client.wait_json(&format!("b/variables/{variable}/reply"), |answer| answer["id"] == id, SOON)
}

fn state(client: &Client, variable: &str, value: &Value) -> Value {
    client.wait_json(&format!("b/variables/{variable}/state"), |state| state["value"] == *value, SOON)
}

fn reload(gateway: &Gateway, folder: &Path, text: &str, times: usize) {
    write_config(folder, text);
    gateway.signal(Signal::HUP);
    common::wait_until("a reload", SOON, || gateway.log().matches("Configuration reloaded").count() == times);
}

#[test]
fn a_variable_is_set_answered_published_and_computed_with_at_once() {
    for protocol in ["5", "3.1.1"] {
        let (broker, folder) = (Mosquitto::start(), tempfile::tempdir().unwrap());
        let client = Client::subscribe(&broker.endpoint(), &["b/#", "answers/#"]);
        let gateway = start(folder.path(), &config(&broker, protocol), &client);
        assert_eq!(state(&client, "target", &json!(19))["cause"], "start");
        client.wait_json("b/sensors/wish", |reading| reading["twice"] == 38, SOON);
        let devices = client.wait_json("b/devices", |_| true, SOON);
        let values = json!({ "min": 5.0, "max": 30.0, "step": 0.5, "unit": "°C" });
        let target = json!({ "set": "b/variables/target/set", "state": "b/variables/target/state", "values": values });
        assert_eq!(devices["variables"]["target"], target);
        assert_eq!(devices["variables"]["mode"]["values"], json!(["auto", "away", "off"]));
        client.publish("b/variables/target/set", "21.5", false, 1);
        let answer = client.wait_json("b/variables/target/reply", |_| true, SOON);
        assert_eq!(
            (&answer["outcome"], &answer["value"], &answer["reason"]),
            (&"done".into(), &json!(21.5), &Value::Null)
        );
        assert_eq!(state(&client, "target", &json!(21.5))["cause"], "command");
        client.wait_json("b/sensors/wish", |reading| reading["twice"] == 43, SOON);
        assert_eq!(set(&client, "mode", &"AWAY".into(), "m1")["value"], "away");
        client.wait_json("b/sensors/wish", |reading| reading["twice"] == 0, SOON);
        // Retained: who comes later sees it.
        let late = Client::subscribe(&broker.endpoint(), &["b/variables/+/state"]);
        let message = late.wait_message("b/variables/mode/state", |_| true, SOON);
        assert!(message.retain && message.json()["value"] == "away", "{message:?}");
        let line = gateway.wait_line(&["Command answered.", "m1"], SOON);
        assert!(line.contains("variable=mode") && line.contains("value=\"away\""), "{line}");
        if protocol == "5" {
            let properties = [("response-topic", "answers/me"), ("correlation-data", "c7")];
            publish_v5(&broker.endpoint(), "b/variables/target/set", "20", &properties);
            let answer = client.wait_json("answers/me", |_| true, SOON);
            assert_eq!((&answer["outcome"], &answer["value"]), (&"done".into(), &json!(20)));
        }
    }
}

#[test]
fn what_sets_no_variable_is_answered_with_the_reason_and_changes_nothing() {
    let (broker, folder) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let client = Client::subscribe(&broker.endpoint(), &["b/#"]);
    // Kept by the broker from before the start.
    client.publish("b/variables/target/set", "25", true, 1);
    let _gateway = start(folder.path(), &config(&broker, "5"), &client);
    let kept = client.wait_json("b/variables/target/reply", |_| true, SOON);
    assert!(kept["reason"].as_str().unwrap().starts_with("retained: "), "{kept}");
    for (nth, (variable, value, reason)) in [
        ("ghost", json!(5), "unknown: there is no variable called ghost"),
        ("target", json!(31), "out_of_range: 31 is not within 5–30"),
        ("target", json!(20.25), "out_of_range: 20.25 is not 5 plus steps of 0.5"),
        ("target", json!("warm"), "unreadable: this variable takes a number within 5–30 °C in steps of 0.5"),
        ("mode", json!("on"), "out_of_range: this variable takes auto, away or off"),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = set(&client, variable, &value, &nth.to_string());
        assert_eq!((&answer["outcome"], &answer["reason"]), (&"rejected".into(), &reason.into()), "{answer}");
    }
    // A repeat gets the first answer again, and does not set it back.
    assert_eq!(set(&client, "target", &json!(21), "a1")["outcome"], "done");
    assert_eq!(set(&client, "target", &json!(22), "a2")["outcome"], "done");
    let first = client.all("b/variables/target/reply").into_iter().find(|reply| reply.json()["id"] == "a1").unwrap();
    client.forget();
    assert_eq!(set(&client, "target", &json!(21), "a1"), first.json());
    assert_eq!(set(&client, "target", &json!(31), "end")["outcome"], "rejected");
    assert!(client.all("b/variables/target/state").is_empty(), "nothing has changed");
}

#[test]
fn a_value_that_was_answered_survives_a_kill_right_after_the_answer_and_a_stop() {
    let (broker, folder) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let client = Client::subscribe(&broker.endpoint(), &["b/#"]);
    let config = config(&broker, "5");
    for (life, value) in [21.5, 7.0, 30.0].into_iter().enumerate() {
        let mut gateway = start(folder.path(), &config, &client);
        let answer = set(&client, "target", &json!(value), &life.to_string());
        if life == 1 {
            gateway.stop(SOON);
        } else {
            gateway.kill9();
        }
        assert_eq!(answer["outcome"], "done", "{answer}");
        let mut gateway = start(folder.path(), &config, &client);
        let state = client.wait_json("b/variables/target/state", |state| state["cause"] == "start", SOON);
        assert_eq!(state["value"].as_f64(), Some(value), "{state}");
        client.wait_json("b/sensors/wish", |reading| reading["twice"].as_f64() == Some(2.0 * value), SOON);
        gateway.kill9();
    }
}

#[test]
fn a_reload_keeps_what_is_allowed_and_begins_again_what_is_not_for_good() {
    let (broker, folder) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let client = Client::subscribe(&broker.endpoint(), &["b/#"]);
    let config = config(&broker, "5");
    let mut gateway = start(folder.path(), &config, &client);
    assert_eq!(set(&client, "target", &json!(25), "a")["outcome"], "done");
    assert_eq!(set(&client, "mode", &"away".into(), "a")["outcome"], "done");
    let narrower = config.replace("max: 30", "max: 20");
    client.forget();
    reload(&gateway, folder.path(), &narrower, 1);
    let again = state(&client, "target", &json!(19));
    assert_eq!(again["cause"], "start", "{again}");
    gateway.wait_log("What the variable was set to is not allowed any more; it begins again.", SOON);
    // One that is removed is cleared at the broker, and goes on when it is put back.
    let without = config.replace("  mode:", "#").replace("if(mode == 'auto', 2 * target, 0)", "2 * target");
    reload(&gateway, folder.path(), &without, 2);
    client.wait_message("b/variables/mode/state", |message| message.payload.is_empty(), SOON);
    assert_eq!(set(&client, "mode", &"off".into(), "b")["reason"], "unknown: there is no variable called mode");
    client.forget();
    reload(&gateway, folder.path(), &config, 3);
    state(&client, "mode", &"away".into());
    gateway.kill9();
    let _gateway = start(folder.path(), &config, &client);
    state(&client, "target", &json!(19));
    state(&client, "mode", &"away".into());
}

#[test]
fn a_variable_moves_with_the_base_topic() {
    let (broker, folder) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let client = Client::subscribe(&broker.endpoint(), &["b/#", "c/#"]);
    let config = config(&broker, "5");
    let gateway = start(folder.path(), &config, &client);
    assert_eq!(set(&client, "target", &json!(25), "a")["outcome"], "done");
    client.forget();
    reload(&gateway, folder.path(), &config.replace("base_topic: b", "base_topic: c").replace("max: 30", "max: 20"), 1);
    client.wait_json("c/variables/target/state", |state| state["value"] == 19, SOON);
    client.wait_message("b/variables/target/state", |message| message.payload.is_empty(), SOON);
    client.wait_for("c/status", |payload| payload == "online", SOON);
    client.publish("c/variables/target/set", "18", false, 1);
    client.wait_json("c/variables/target/reply", |answer| answer["value"] == 18, SOON);
}

#[test]
fn a_variable_that_left_the_file_while_the_gateway_was_stopped_leaves_its_state_until_forget_clears_it() {
    let (broker, folder) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let client = Client::subscribe(&broker.endpoint(), &["b/#"]);
    let config = config(&broker, "5");
    let mut gateway = start(folder.path(), &config, &client);
    assert_eq!(set(&client, "mode", &"away".into(), "a")["outcome"], "done");
    gateway.stop(SOON);
    let without = config.replace("  mode:", "#").replace("if(mode == 'auto', 2 * target, 0)", "2 * target");
    let mut gateway = start(folder.path(), &without, &client);
    state(&client, "target", &json!(19));
    gateway.stop(SOON);
    let left = || {
        let late = Client::subscribe(&broker.endpoint(), &["b/variables/+/state"]);
        late.fence();
        late.all("b/variables/mode/state").len()
    };
    assert_eq!(left(), 1, "it stays, as the status of a sensor does");
    let forgotten = command(folder.path(), &["forget", "--config", "fieldgate.yaml"], SOON);
    let said = String::from_utf8(forgotten.stdout).unwrap();
    assert!(forgotten.status.success() && said.contains("b/variables/mode/state"), "{said}");
    assert_eq!(left(), 0);
}
