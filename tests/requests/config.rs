//! Whole configurations by request: checked, taken over, confirmed by the link or rolled back, and which is in force after a start.

use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{allowing, ask, start};
use crate::common::SOON;
use crate::common::client::Client;
use crate::common::gateway::{Gateway, command, write_config};
use crate::common::mosquitto::Mosquitto;
use crate::common::ports::free_port;

const ALLOW: &str = "[config, info, reload, ping]";

/// One broker, a folder, and the configuration of the file.
struct Place {
    broker: Mosquitto,
    folder: tempfile::TempDir,
    client: Client,
    file: String,
}

impl Place {
    fn new() -> Self {
        let (broker, folder) = (Mosquitto::start(), tempfile::tempdir().unwrap());
        let client = Client::subscribe(&broker.endpoint(), &["b/#"]);
        let file = allowing(&broker, ALLOW);
        Self { broker, folder, client, file }
    }

    fn start(&self) -> Gateway {
        start(self.folder.path(), &self.file, &self.client)
    }

    /// The configuration of the file with another name for its sensor.
    fn with(&self, sensor: &str) -> String {
        self.file.replace("tide:", &format!("{sensor}:"))
    }

    /// One whose broker is not there.
    fn unreachable(&self, sensor: &str) -> String {
        self.with(sensor).replace(&self.broker.url(), &format!("mqtt://127.0.0.1:{}", free_port()))
    }

    fn send(&self, config: &str, confirm_within: &str, transaction: &str) -> Value {
        ask(&self.client, "config", json!({ "config": config, "confirm_within": confirm_within }), transaction)
    }

    /// Sends one whose answer is not awaited.
    fn post(&self, config: &str, confirm_within: &str, transaction: &str) {
        let request = json!({ "transaction": transaction, "config": config, "confirm_within": confirm_within });
        self.client.publish("b/request/config", &request.to_string(), false, 1);
    }

    fn answer(&self, transaction: &str) -> Value {
        self.client.wait_json("b/response/config", |answer| answer["transaction"] == transaction, SOON)
    }

    fn info(&self, transaction: &str) -> Value {
        ask(&self.client, "info", json!({}), transaction)["data"].clone()
    }

    /// Asserts which sensor there is, and whose configuration says so.
    fn check(&self, transaction: &str, sensor: &str, source: &str) -> Value {
        let info = self.info(transaction);
        let found = (&info["sensors"], &info["configuration"]["source"]);
        assert_eq!(found, (&json!([sensor]), &source.into()), "{info}");
        info["configuration"].clone()
    }

    fn has(&self, file: &str) -> bool {
        self.folder.path().join("spool").join(file).exists()
    }

    fn said_by_check(&self) -> String {
        let output = command(self.folder.path(), &["check", "--config", "fieldgate.yaml"], SOON);
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stdout).unwrap()
    }
}

#[test]
fn a_configuration_is_taken_over_confirmed_and_in_force_until_the_file_is_changed() {
    let place = Place::new();
    let mut gateway = place.start();
    place.check("1", "tide", "file");
    let answer = place.send(&place.with("moon"), "1h", "2");
    assert_eq!((&answer["status"], &answer["data"]["problems"]), (&"ok".into(), &json!([])), "{answer}");
    place.check("3", "moon", "request");
    assert!(place.has("configuration.yaml") && !place.has("configuration.trial.yaml"));
    let said = place.said_by_check();
    assert!(
        said.contains("b/sensors/moon") && said.contains("in force is the configuration that a request carried at 20"),
        "{said}"
    );
    // Over a kill, and a reload of the same file.
    gateway.kill9();
    let gateway = place.start();
    gateway.wait_log("In force is the configuration that a request carried", SOON);
    place.check("4", "moon", "request");
    assert_eq!(ask(&place.client, "reload", json!({}), "5")["status"], "ok");
    place.check("6", "moon", "request");
    // Who changes the file is obeyed.
    write_config(place.folder.path(), &format!("# mine\n{}", place.file));
    let said = place.said_by_check();
    assert!(said.contains("b/sensors/tide") && said.contains("in force is the file: it has changed since"), "{said}");
    assert_eq!(ask(&place.client, "reload", json!({}), "7")["status"], "ok");
    let why = place.check("8", "tide", "file")["why"].to_string();
    assert!(why.contains("the file: it has changed since"), "{why}");
    gateway.wait_log("WARN In force is the file: it has changed since", SOON);
    crate::common::wait_until("the stored one to be removed", SOON, || !place.has("configuration.yaml"));
}

#[test]
fn a_change_of_the_file_while_the_gateway_was_away_wins_too() {
    let place = Place::new();
    let mut gateway = place.start();
    assert_eq!(place.send(&place.with("moon"), "1h", "1")["status"], "ok");
    gateway.kill9();
    let mine = format!("# mine\n{}", place.file);
    let gateway = start(place.folder.path(), &mine, &place.client);
    place.check("2", "tide", "file");
    gateway.wait_log("In force is the file: it has changed since", SOON);
    crate::common::wait_until("the stored one to be removed", SOON, || !place.has("configuration.yaml"));
}

#[test]
fn every_problem_comes_back_without_secrets_and_nothing_changes() {
    let place = Place::new();
    let gateway = place.start();
    let wrong = place.file.replace("waveform", "wave").replace("base_topic: b", "base_topic: b, password: hunter2");
    let answer = place.send(&wrong, "1h", "1");
    let words = answer["error"].as_str().unwrap();
    assert!(
        words.starts_with("unreadable: the configuration stays as it is: ") && words.ends_with("(2 errors)"),
        "{words}"
    );
    let problems = answer["data"]["problems"].as_array().unwrap();
    let lines: Vec<_> = problems.iter().map(|problem| &problem["line"]).collect();
    assert_eq!(lines, [&json!(2), &json!(6)], "{answer}");
    assert!(!answer.to_string().contains("hunter2") && !gateway.log().contains("hunter2"), "{answer}");
    let greedy = place.file.replace(ALLOW, "[config, info, reload, ping, restart]");
    let answer = place.send(&greedy, "1h", "2");
    let words = "unreadable: the configuration stays as it is: a request may not change requests: (1 error)";
    assert_eq!(answer["error"], words);
    // Its transaction was not read.
    place.post(&format!("# {}", "x".repeat(64 * 1024)), "1h", "3");
    let is_it = |answer: &Value| answer["error"].as_str().is_some_and(|words| words.starts_with("oversized: "));
    place.client.wait_json("b/response/config", is_it, SOON);
    place.check("4", "tide", "file");
    assert!(!place.has("configuration.trial.yaml"));
}

#[test]
fn what_cuts_the_gateway_off_is_rolled_back_to_the_one_before() {
    let place = Place::new();
    let gateway = place.start();
    assert_eq!(place.send(&place.with("moon"), "1h", "1")["status"], "ok");
    let answer = place.send(&place.unreachable("sun"), "1s", "2");
    let words = "rolled_back: the one before is in force again: the link did not come back within 1s";
    assert_eq!(answer["error"], words);
    let about = place.check("3", "moon", "request");
    assert_eq!(about["rolled_back"], "the link did not come back within 1s");
    gateway.wait_log("ERROR The configuration that a request carried is rolled back", SOON);
    crate::common::wait_until("the one on trial to be removed", SOON, || !place.has("configuration.trial.yaml"));
    assert!(place.has("configuration.yaml"));
}

#[test]
fn one_that_nothing_has_confirmed_is_not_taken_up_by_the_next_start() {
    let place = Place::new();
    let mut gateway = place.start();
    place.post(&place.unreachable("sun"), "1h", "1");
    gateway.wait_log("Taking over a configuration that a request carried", SOON);
    assert!(place.has("configuration.trial.yaml"));
    gateway.kill9();
    let gateway = place.start();
    let about = place.check("2", "tide", "file");
    assert_eq!(about["rolled_back"], "the program ended before the link had confirmed it");
    gateway.wait_log("A configuration that a request carried is not taken up", SOON);
    crate::common::wait_until("the one on trial to be removed", SOON, || !place.has("configuration.trial.yaml"));
}

#[test]
fn a_reload_by_signal_ends_a_trial_unless_the_file_is_bad() {
    let place = Place::new();
    let gateway = place.start();
    place.post(&place.unreachable("sun"), "1h", "1");
    gateway.wait_log("Taking over a configuration that a request carried", SOON);
    write_config(place.folder.path(), "mqtt: 5");
    gateway.signal(Signal::HUP);
    gateway.wait_log("Configuration not reloaded; the old one stays.", SOON);
    assert!(!gateway.log().contains("counts no more"), "{}", gateway.log());
    write_config(place.folder.path(), &place.file);
    gateway.signal(Signal::HUP);
    gateway.wait_log("The configuration that a request carried counts no more", SOON);
    let answer = place.answer("1");
    assert_eq!(answer["error"], "rolled_back: a reload of the file came before the link had confirmed it");
    place.check("2", "tide", "file");
}

#[test]
fn a_move_to_another_broker_is_confirmed_there() {
    let place = Place::new();
    let _gateway = place.start();
    let other = Mosquitto::start();
    let there = Client::subscribe(&other.endpoint(), &["b/#"]);
    place.post(&place.with("moon").replace(&place.broker.url(), &other.url()), "1h", "1");
    let answer = there.wait_json("b/response/config", |answer| answer["transaction"] == "1", SOON);
    assert_eq!(answer["status"], "ok", "{answer}");
    assert_eq!(ask(&there, "info", json!({}), "2")["data"]["configuration"]["source"], "request");
}

#[test]
fn a_stored_one_that_is_damaged_is_reported_and_the_file_is_in_force() {
    let place = Place::new();
    let mut gateway = place.start();
    assert_eq!(place.send(&place.with("moon"), "1h", "1")["status"], "ok");
    gateway.kill9();
    let stored = place.folder.path().join("spool/configuration.yaml");
    let text = std::fs::read_to_string(&stored).unwrap();
    std::fs::write(&stored, text.replace("moon", "mood")).unwrap();
    let gateway = place.start();
    gateway.wait_log("WARN In force is the file: the configuration that a request carried cannot be used", SOON);
    place.check("2", "tide", "file");
    assert!(Path::new(&stored).exists(), "a person may want to look at it");
}
