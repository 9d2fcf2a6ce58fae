//! Verbs that change something for a time: the log's level, a sensor's interval, and the light or output that shows which board this is.

use serde_json::{Value, json};

use super::{allowing, ask, config, start};
use crate::common::SOON;
use crate::common::client::Client;
use crate::common::gateway::write_config;
use crate::common::mosquitto::Mosquitto;
use fieldgate_bus::led::Led;

fn lines(log: &str, text: &str) -> usize {
    log.lines().filter(|line| line.contains(text)).count()
}

#[test]
fn the_log_level_is_set_taken_back_and_ends_by_itself() {
    let (broker, folder) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let client = Client::subscribe(&broker.endpoint(), &["b/#"]);
    let gateway = start(folder.path(), &allowing(&broker, "[log-level, read]"), &client);
    // The line of a reading comes before the reading is published.
    let read = |value: u64| {
        ask(&client, "read", json!({ "sensor": "tide" }), &value.to_string());
        client.wait_json("b/sensors/tide", |reading| reading["value"] == value, SOON);
        lines(&gateway.log(), "Reading.")
    };
    client.wait_json("b/sensors/tide", |reading| reading["value"] == 101, SOON);
    assert_eq!(read(102), 0);
    let set = ask(&client, "log-level", json!({ "level": "debug" }), "1");
    assert_eq!(set["data"], json!({ "level": "debug", "for": null }));
    gateway.wait_log("The log level was set by a request, until the program ends.", SOON);
    read(103);
    gateway.wait_log("Reading.", SOON);
    assert_eq!(ask(&client, "log-level", json!({ "level": "usual" }), "2")["data"]["level"], "usual");
    let before = lines(&gateway.log(), "Reading.");
    assert_eq!(read(104), before);
    assert_eq!(ask(&client, "log-level", json!({ "level": "error", "for": "1s" }), "3")["data"]["for"], 1.0);
    gateway.wait_log("The usual level is logged again", SOON);
    let wrong = ask(&client, "log-level", json!({ "level": "loud" }), "4");
    assert_eq!(wrong["error"], "unreadable: level: write one of error, warn, info, debug, trace, usual");
    let short = ask(&client, "log-level", json!({ "level": "info", "for": "1ms" }), "5");
    assert!(short["error"].as_str().unwrap().starts_with("out_of_range: for: 1ms is not within 1s–"), "{short}");
}

/// Waits until the newest description says that it is sampled so often.
fn every(client: &Client, seconds: f64) {
    crate::common::wait_until(&format!("an interval of {seconds} s"), SOON, || {
        let newest = client.all("b/devices").last().map(|message| message.json());
        newest.is_some_and(|devices| devices["sensors"]["tide"]["every"] == seconds)
    });
}

#[test]
fn an_interval_is_set_ends_by_itself_and_the_device_goes_on() {
    let (broker, folder) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let client = Client::subscribe(&broker.endpoint(), &["b/#"]);
    let config = allowing(&broker, "[set-interval, reload]");
    let gateway = start(folder.path(), &config, &client);
    every(&client, 3600.0);
    let set = ask(&client, "set-interval", json!({ "sensor": "tide", "every": "20ms" }), "1");
    assert_eq!(set["data"], json!({ "sensor": "tide", "every": 0.02, "for": null }));
    every(&client, 0.02);
    // A device that had been built again would count from the beginning.
    client.wait_json("b/sensors/tide", |reading| reading["value"] == 110, SOON);
    // A reload of the same leaves it, and one that says something else of this sensor does not.
    assert_eq!(ask(&client, "reload", json!({}), "2")["status"], "ok");
    every(&client, 0.02);
    write_config(folder.path(), &config.replace("every: 1h", "every: 2h"));
    assert_eq!(ask(&client, "reload", json!({}), "3")["status"], "ok");
    every(&client, 7200.0);
    ask(&client, "set-interval", json!({ "sensor": "tide", "every": "50ms", "for": "1s" }), "4");
    every(&client, 0.05);
    gateway.wait_log("Sensors are sampled as configured again", SOON);
    every(&client, 7200.0);
    ask(&client, "set-interval", json!({ "sensor": "tide", "every": "3h" }), "5");
    every(&client, 10800.0);
    assert_eq!(ask(&client, "set-interval", json!({ "sensor": "tide" }), "6")["data"]["every"], 7200.0);
    every(&client, 7200.0);
    let ghost = ask(&client, "set-interval", json!({ "sensor": "ghost", "every": "1s" }), "7");
    assert_eq!(ghost["error"], "unknown: there is no sensor called ghost");
}

const LAMP: &str = "buses: { bench: { type: sim } }
actuators:
  lamp: { driver: gpio-output, bus: bench, settings: { line: GPIO17 }, safe_state: \"off\", safe_after: never }
";

#[test]
fn an_output_that_the_configuration_names_goes_on_and_off_to_identify_the_board() {
    let (broker, folder) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let client = Client::subscribe(&broker.endpoint(), &["b/#"]);
    let text = config(&broker, "requests: { allow: [identify, ping], identify: lamp }") + LAMP;
    let _gateway = start(folder.path(), &text, &client);
    client.wait_json("b/actuators/lamp/state", |state| state["value"] == "off", SOON);
    client.forget();
    let shown = ask(&client, "identify", json!({ "for": "3s" }), "1");
    assert_eq!(shown["data"], json!({ "output": "lamp", "for": 3.0 }));
    let states = || -> Vec<Value> {
        client.all("b/actuators/lamp/state").iter().map(|state| state.json()["value"].clone()).collect()
    };
    crate::common::wait_until("the lamp to go on twice and off again", SOON, || {
        let states = states();
        states.iter().filter(|state| *state == "on").count() >= 2 && states.last().is_some_and(|state| state == "off")
    });
}

#[test]
fn an_output_that_a_rule_lets_nobody_command_does_not_identify_the_board() {
    let (broker, folder) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let client = Client::subscribe(&broker.endpoint(), &["b/#"]);
    let rules = "rules: { keep: { when: tide.value >= 0, set: { lamp: \"on\" }, manual: never } }\n";
    let text = config(&broker, "requests: { allow: [identify], identify: lamp }") + LAMP + rules;
    let _gateway = start(folder.path(), &text, &client);
    client.wait_json("b/actuators/lamp/state", |state| state["value"] == "on" && state["cause"] == "rule", SOON);
    let refused = ask(&client, "identify", json!({}), "1");
    assert_eq!(refused["error"], "busy: the rule keep has this output, and lets no command take it");
}

#[test]
fn a_board_without_anything_to_identify_it_with_says_so() {
    if Led::of_this_board().is_some() {
        // It would blink, or may not; that is tried with files that stand for a light.
        return;
    }
    let (broker, folder) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let client = Client::subscribe(&broker.endpoint(), &["b/#"]);
    let _gateway = start(folder.path(), &allowing(&broker, "[identify]"), &client);
    let answer = ask(&client, "identify", json!({}), "1");
    let words = answer["error"].as_str().unwrap();
    assert!(words.starts_with("unknown: there is nothing to identify this board with"), "{words}");
}
