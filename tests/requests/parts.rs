//! A configuration in parts under a running gateway: reloads see all parts, and one that a request carried gives way to a change of any.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{allowing, ask};
use crate::common::SOON;
use crate::common::client::Client;
use crate::common::gateway::{Gateway, command};
use crate::common::mosquitto::Mosquitto;

/// A gateway whose configuration includes what lies in `parts`, and takes the interval of a sensor there from the environment.
struct Bench {
    broker: Mosquitto,
    folder: tempfile::TempDir,
    client: Client,
}

impl Bench {
    fn new() -> Self {
        let (broker, folder) = (Mosquitto::start(), tempfile::tempdir().unwrap());
        let client = Client::subscribe(&broker.endpoint(), &["b/#"]);
        fs::create_dir(folder.path().join("parts")).unwrap();
        let bench = Self { broker, folder, client };
        bench.write_part("moon");
        bench
    }

    fn write_part(&self, sensor: &str) {
        let part = format!("sensors:\n  {sensor}: {{ driver: waveform, every: !env [EVERY, 1h] }}\n");
        fs::write(self.folder.path().join("parts/a.yaml"), part).unwrap();
    }

    fn text(&self) -> String {
        allowing(&self.broker, "[config, info, reload]")
    }

    fn start(&self, every: &str) -> Gateway {
        self.client.forget();
        let text = format!("include: parts/*.yaml\n{}", self.text());
        let gateway = Gateway::with_env(self.folder.path(), &text, &[("EVERY", every)]);
        self.client.wait_for("b/status", |payload| payload == "online", SOON);
        gateway
    }

    fn ask(&self, verb: &str, request: Value, transaction: &str) -> Value {
        ask(&self.client, verb, request, transaction)
    }

    /// Asserts which sensors there are, and whose configuration says so.
    fn check(&self, transaction: &str, sensors: &[&str], source: &str) {
        let info = self.ask("info", json!({}), transaction)["data"].clone();
        let found = (&info["sensors"], &info["configuration"]["source"]);
        assert_eq!(found, (&json!(sensors), &source.into()), "{info}");
    }

    fn carry(&self, config: &str, transaction: &str) -> Value {
        self.ask("config", json!({ "config": config, "confirm_within": "1h" }), transaction)
    }
}

fn problems(answer: &Value) -> Vec<&str> {
    answer["data"]["problems"].as_array().unwrap().iter().filter_map(|problem| problem["what"].as_str()).collect()
}

#[test]
fn a_reload_sees_what_changed_in_a_part_and_names_it_when_it_is_wrong() {
    let bench = Bench::new();
    let gateway = bench.start("1h");
    bench.check("1", &["tide", "moon"], "file");
    bench.write_part("sun");
    assert_eq!(bench.ask("reload", json!({}), "2")["status"], "ok");
    bench.check("3", &["tide", "sun"], "file");
    fs::write(bench.folder.path().join("parts/b.yaml"), "sensors:\n  sun: { driver: waveform, every: 1h }\n").unwrap();
    let error = bench.ask("reload", json!({}), "4")["error"].to_string();
    assert!(error.contains("appears twice here, line 2 of ") && error.contains("parts/b.yaml"), "{error}");
    gateway.wait_log("parts/b.yaml", SOON);
    bench.check("5", &["tide", "sun"], "file");
}

#[test]
fn a_carried_configuration_gives_way_to_a_change_of_a_part_or_of_the_environment() {
    let bench = Bench::new();
    let carried = bench.text().replace("tide:", "star:");
    let mut gateway = bench.start("1h");
    assert_eq!(bench.carry(&carried, "1")["status"], "ok");
    gateway.kill9();
    let mut gateway = bench.start("1h");
    bench.check("2", &["star"], "request");
    gateway.kill9();
    let mut gateway = bench.start("2h");
    bench.check("3", &["tide", "moon"], "file");
    gateway.wait_log("In force is the file: it has changed since", SOON);
    assert_eq!(bench.carry(&carried, "4")["status"], "ok");
    bench.check("5", &["star"], "request");
    bench.write_part("sun");
    assert_eq!(bench.ask("reload", json!({}), "6")["status"], "ok");
    bench.check("7", &["tide", "sun"], "file");
    gateway.kill9();
}

#[test]
fn a_carried_configuration_can_read_neither_files_nor_variables_of_the_board() {
    let bench = Bench::new();
    let _gateway = bench.start("1h");
    let answer = bench.carry(&format!("include: [/etc/passwd]\n{}", bench.text()), "1");
    assert_eq!(problems(&answer), ["a configuration that a request carries is one text, and cannot include others"]);
    let answer = bench.carry(&bench.text().replace("1h", "!env [EVERY, 1h]"), "2");
    assert_eq!(problems(&answer), ["a configuration that a request carries cannot use the environment of the gateway"]);
    // Templates are a part of the text.
    let text =
        bench.text().replace("tide: { driver: waveform, every: 1h,", "star: { use: { template: wave, every: 1h },");
    let answer =
        bench.carry(&format!("templates: {{ wave: {{ driver: waveform, every: !param every }} }}\n{text}"), "3");
    assert_eq!(answer["status"], "ok", "{answer}");
    bench.check("4", &["star"], "request");
}

#[test]
fn check_names_the_parts_and_hides_what_the_environment_holds() {
    let folder = tempfile::tempdir().unwrap();
    let path: &Path = folder.path();
    let text = "include: a.yaml\nmqtt: { broker: mqtt://h, keep_alive: !env HOME }\nspool: { path: . }\n";
    fs::write(path.join("fieldgate.yaml"), text).unwrap();
    fs::write(path.join("a.yaml"), "sensors: { tide: { driver: waveform, every: 1s } }\n").unwrap();
    let check = |arguments: &[&str]| {
        let all = [&["check", "--config", "fieldgate.yaml"], arguments].concat();
        let output = command(path, &all, SOON);
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    let home = std::env::var("HOME").unwrap_or_default();
    let wrong = check(&[]);
    assert!(wrong.contains("the environment variable HOME"), "{wrong}");
    assert!(home.len() < 2 || !wrong.contains(&home), "{wrong}");
    fs::write(path.join("fieldgate.yaml"), text.replace("!env HOME", "!env [FIELDGATE_UNSET, 5s]")).unwrap();
    assert!(check(&[]).contains("\nincludes a.yaml\n"), "{}", check(&[]));
    let json: Value = serde_json::from_str(&check(&["--json"])).unwrap();
    assert_eq!((&json["parts"], &json["variables"]), (&json!(["a.yaml"]), &json!([])), "{json}");
}
