//! docs/topics.md against the compiled program, simulated chips and a real broker: every message that is seen stands in the page, is as
//! its schema says, and is retained where the page says so; and everything in the page is seen.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic")]

#[path = "topics/page.rs"]
mod page;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::common::client::{Client, Message, publish_v5};
use crate::common::gateway::Gateway;
use crate::common::mosquitto::Mosquitto;
use crate::common::sim_file::SimFile;
use crate::common::{SOON, python};
use page::Page;
use serde_json::{Value, json};

const CONFIG: &str = r#"
gateway: { name: g }
mqtt: { base_topic: b, broker: "URL", plain: true, reconnect: { min: 50ms, max: 200ms } }
spool: { path: spool, commit_every: 0s }
home_assistant:
requests:
  allow: [ping, info, health, read, history, reload, restart, log-level, set-interval, identify, config]
  identify: lamp
buses:
  bench: { type: sim, state_file: bench.json }
variables:
  target: { min: 5, max: 30, step: 0.5, initial: 19, unit: °C }
  mode: { options: [auto, away], initial: auto }
sensors:
  air: { driver: bme280, bus: bench, every: 50ms, retain: true, settings: { address: 0x76 } }
  broken: { driver: bme280, bus: bench, every: 100ms, settings: { address: 0x77 } }
  door: { driver: gpio-input, bus: bench, every: 1h, settings: { line: GPIO17 } }
  gas: { driver: pulse-counter, bus: bench, every: 100ms, settings: { line: GPIO4, pulses_per_unit: 100, unit: m³ } }
  sea:
    { driver: waveform, every: 20ms, qos: 0, settings: { shape: sine, period: 60s }, report: { max_interval: 100ms, aggregate: [mean, min, max] } }
  damp:
    { driver: formula, settings: { wet: { formula: "air.humidity > 50" }, twice: { formula: "2 * target", decimals: 1 } } }
actuators:
  pump: { driver: gpio-output, bus: bench, settings: { line: GPIO27 }, safe_state: "off" }
  lamp: { driver: gpio-output, bus: bench, settings: { line: GPIO22 }, safe_state: "off" }
  fan: { driver: pwm-output, bus: bench, settings: { channel: 0, ramp: 1m }, safe_state: 0 }   # so slow that nobody can miss it
  vane: { driver: pwm-servo, bus: bench, settings: { channel: 1 }, safe_state: 90 }
  blind:
    driver: gpio-cover
    bus: bench
    settings: { open_line: GPIO5, close_line: GPIO6, opening: 1m, closing: 1m, pause: 100ms }
    safe_state: stop
rules:
  hot: { when: target > 25, set: { vane: 45 }, publish: { topic: events/hot, payload: it is hot } }
"#;

/// Every JSON object that a schema describes has no other keys than it says: a consumer ignores others, a page must not.
const VALIDATE: &str = r#"
import json, sys
import jsonschema

def close(schema):
    if isinstance(schema, dict):
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
        for value in schema.values():
            close(value)
    elif isinstance(schema, list):
        for value in schema:
            close(value)

def instance(schema, text):
    if schema.get("type") == "string":
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text

for number, case in enumerate(json.load(open(sys.argv[1]))):
    jsonschema.Draft202012Validator.check_schema(case["schema"])
    close(case["schema"])
    value = instance(case["schema"], case["text"])
    for error in jsonschema.Draft202012Validator(case["schema"]).iter_errors(value):
        print(number, case["where"], case["text"], "at", list(error.path), error.message[:300])
"#;

fn page() -> Page {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/topics.md");
    Page::parse(&std::fs::read_to_string(path).unwrap())
}

/// What is wrong with texts, by the schemas.
fn problems(cases: &[Value]) -> Vec<String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), json!(cases).to_string()).unwrap();
    let mut command = Command::new(python::interpreter());
    let output = command.args(["-c", VALIDATE]).arg(file.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// A gateway on its way through everything that makes it say something.
struct Story {
    broker: Mosquitto,
    folder: tempfile::TempDir,
    client: Client,
    config: String,
}

impl Story {
    fn new() -> Self {
        let (broker, folder) = (Mosquitto::start(), tempfile::tempdir().unwrap());
        let client = Client::subscribe(&broker.endpoint(), &["#"]);
        let config = CONFIG.replace("URL", &broker.url());
        SimFile::new(folder.path().join("bench.json")).set_fault("0x77", Some("nak"));
        Self { broker, folder, client, config }
    }

    /// Returns when commands arrive.
    fn start(&self) -> Gateway {
        self.client.forget();
        let gateway = Gateway::with_env(self.folder.path(), &self.config, &[("RUST_LOG", "debug")]);
        self.client.wait_for("b/status", |payload| payload == "online", SOON);
        gateway
    }

    /// Sends a command with an id and waits for its reply.
    fn command(&self, below: &str, value: Value) -> Value {
        let id = format!("{below} {value}");
        self.client.publish(&format!("b/{below}/set"), &json!({ "value": value, "id": id }).to_string(), false, 1);
        self.client.wait_json(&format!("b/{below}/reply"), |reply| reply["id"] == id, SOON)
    }

    fn request(&self, verb: &str, mut request: Value) {
        let id = format!("{verb} {request}");
        request["transaction"] = id.as_str().into();
        self.client.publish(&format!("b/request/{verb}"), &request.to_string(), false, 1);
        self.client.wait_json(&format!("b/response/{verb}"), |answer| answer["transaction"] == id, SOON);
    }

    fn commands(&self) {
        self.command("actuators/pump", json!("on"));
        self.client.publish("b/actuators/pump/set", "on", false, 1);
        assert_eq!(self.command("actuators/fan", json!(140))["outcome"], "rejected");
        self.command("actuators/fan", json!(40));
        self.client.wait_json("b/actuators/fan/state", |state| state["target"] == 40.0, SOON);
        self.client.publish("b/actuators/blind/set", "open", false, 1);
        self.client.wait_json("b/actuators/blind/state", |state| state["moving"] == "opening", SOON);
        self.command("sensors/gas/total", json!(12.5));
        self.command("variables/mode", json!("away"));
        self.command("variables/target", json!(26));
        self.client.wait_for("b/events/hot", |_| true, SOON);
        self.client.wait_json("b/actuators/vane/state", |state| state["rule"] == "hot", SOON);
        self.command("rules/hot", json!("off"));
        let properties = [("response-topic", "answers/me"), ("correlation-data", "c7")];
        publish_v5(&self.broker.endpoint(), "b/actuators/pump/set", "off", &properties);
        self.client.wait_json("answers/me", |reply| reply["outcome"] == "done", SOON);
        publish_v5(&self.broker.endpoint(), "b/request/ping", "", &properties);
        self.client.wait_json("answers/me", |response| response["status"] == "ok", SOON);
    }

    fn requests(&self) {
        for verb in ["ping", "info", "health", "restart"] {
            self.request(verb, json!({}));
        }
        self.request("read", json!({ "sensor": "air" }));
        self.request("read", json!({ "sensor": "ghost" }));
        self.request("history", json!({ "sensor": "air", "count": 2 }));
        self.request("set-interval", json!({ "sensor": "air", "every": "40ms", "for": "1h" }));
        self.request("log-level", json!({ "level": "debug" }));
        self.request("identify", json!({ "for": "1s" }));
        self.request("config", json!({ "config": "mqtt: { broker: nowhere }" }));
        self.request("reload", json!({}));
    }

    /// Readings that a broker that is away lets wait, and an end of the program lets wait longer.
    fn outage(&mut self, mut gateway: Gateway) {
        self.broker.stop();
        gateway.wait_behind("No connection", " Reading. sensor=air ", SOON);
        gateway.stop(SOON);
        self.broker.start_again();
        self.client.wait_subscribed(2);
    }
}

/// What a new subscriber gets.
fn retained(broker: &Mosquitto) -> BTreeSet<String> {
    let late = Client::subscribe(&broker.endpoint(), &["#"]);
    late.fence();
    let messages = late.everything().into_iter();
    messages.filter(|message| message.retain && !message.payload.is_empty()).map(|message| message.topic).collect()
}

/// A reading that no broker takes is reported.
fn losses() -> Vec<Message> {
    let broker = Mosquitto::with_lines("max_packet_size 400");
    let folder = tempfile::tempdir().unwrap();
    let client = Client::subscribe(&broker.endpoint(), &["b/loss"]);
    let measurement = |n: u32| format!("{}_{n}: {{ formula: tide.value, decimals: 1 }}", "long".repeat(8));
    let long: Vec<_> = (0..12).map(measurement).collect();
    let config = format!(
        "mqtt: {{ base_topic: b, broker: \"{}\", protocol: 5 }}\nspool: {{ path: spool }}\nsensors:
  tide: {{ driver: waveform, every: 1h, settings: {{ shape: counter }} }}
  long: {{ driver: formula, settings: {{ {} }} }}\n",
        broker.url(),
        long.join(", ")
    );
    let _gateway = Gateway::start(folder.path(), &config);
    client.wait_json("b/loss", |loss| loss["sensor"] == "long", SOON);
    client.everything()
}

#[test]
fn every_message_is_in_the_page_and_as_its_schema_says_and_nothing_else_is_in_the_page() {
    let (page, mut story) = (page(), Story::new());
    let gateway = story.start();
    story.client.wait_json("b/sensors/broken/status", |status| status["status"] == "down", SOON);
    story.client.wait_for("b/devices", |_| true, SOON);
    story.client.wait_for("b/health", |_| true, SOON);
    story.client.wait_json("b/sensors/sea", |reading| reading["samples"].is_number(), SOON);
    story.client.wait_json("b/sensors/damp", |reading| reading["twice"].is_number(), SOON);
    story.client.wait_for("homeassistant/device/fieldgate_g/config", |_| true, SOON);
    story.client.publish("homeassistant/status", "online", false, 1);
    story.commands();
    story.requests();
    let mut messages = story.client.everything();
    story.outage(gateway);
    let _gateway = story.start();
    story.client.wait_json("b/late/air", |reading| reading["late"] == true, SOON);
    let fresh = story.client.everything();
    let kept = retained(&story.broker);
    for message in fresh.iter().filter(|message| !message.payload.is_empty()) {
        let row = page.row(&message.topic).unwrap_or_else(|| panic!("{message:?} is not in the page"));
        assert!(
            row.retained.as_deref() != Some("yes") || kept.contains(&message.topic),
            "{} is not kept",
            message.topic
        );
    }
    for topic in &kept {
        let row = page.row(topic).unwrap_or_else(|| panic!("{topic} is kept and not in the page"));
        assert!(matches!(row.retained.as_deref(), Some("yes" | "retain")), "{topic} is kept: {row:?}");
    }
    messages.extend(fresh);
    messages.extend(losses());
    verify(&page, messages);
}

fn verify(page: &Page, messages: Vec<Message>) {
    let (mut cases, mut seen) = (Vec::new(), BTreeSet::new());
    // Nothing, which clears what was retained or asks without a word, is no JSON.
    for Message { topic, payload, qos, .. } in messages.iter().filter(|message| !message.payload.is_empty()) {
        let row = page.row(topic).unwrap_or_else(|| panic!("{topic} is not in the page: {payload}"));
        seen.insert(row.topic.as_str());
        assert!(row.qos.as_deref().is_none_or(|said| said == "qos" || said == qos.to_string()), "{topic} at QoS {qos}");
        // Where there may be one of two, one of them is enough.
        let schemas: Vec<_> = row.payloads.iter().map(|anchor| &page.payloads[anchor].schema).collect();
        let schema = if let [one] = schemas[..] { one.clone() } else { json!({ "anyOf": schemas }) };
        cases.push(json!({ "where": topic, "schema": schema, "text": payload }));
    }
    for (anchor, payload) in &page.payloads {
        let example = |text: &String| json!({ "where": anchor, "schema": payload.schema, "text": text });
        cases.extend(payload.examples.iter().map(example));
    }
    let wrong = problems(&cases);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let unseen: Vec<_> =
        page.rows.iter().map(|row| &row.topic).filter(|topic| !seen.contains(topic.as_str())).collect();
    assert!(unseen.is_empty(), "in the page, and never seen: {unseen:?}");
}

#[test]
fn a_payload_that_is_not_as_the_schema_says_is_noticed() {
    let page = page();
    let wrong = [
        ("health", json!({ "version": "1" }).to_string()),
        ("status", "gone".to_owned()),
        ("reading", r#"{"time":"2026-11-22T10:00:00.123Z","run":"5f3a9c1e","seq":0}"#.to_owned()),
        (
            "loss",
            r#"{"sensor":"a","run":"5f3a9c1e","from_seq":1,"to_seq":1,"count":1,"reason":"r","more":1}"#.to_owned(),
        ),
        (
            "reply",
            r#"{"id":null,"outcome":"done","reason":"because","value":1,"time":"2026-11-22T10:00:00.123Z"}"#.into(),
        ),
    ];
    for (anchor, text) in wrong {
        let case = json!({ "where": anchor, "schema": page.payloads[anchor].schema, "text": text });
        assert!(!problems(&[case]).is_empty(), "{anchor}: {text}");
    }
    assert!(page.row("b/nonsense").is_none() && page.row("b/sensors/air/status/more").is_none());
    assert!(page.row("c/status").is_none());
}

/// The code has one place where topics are made, and each says there what it is.
#[test]
fn every_topic_of_the_code_is_in_the_page() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/model/src/topic.rs");
    let text = std::fs::read_to_string(path).unwrap();
    // What the doctor publishes is no gateway's, and the page says it in a sentence.
    let of_gateways = text.lines().filter(|line| !line.contains("`fieldgate doctor`"));
    let documented = of_gateways.filter_map(|line| line.trim().strip_prefix("/// `B/")?.split('`').next());
    let documented: Vec<_> = documented.map(|topic| format!("b/{}", topic.replace('+', "x"))).collect();
    assert!(documented.len() > 20, "{documented:?}");
    let page = page();
    for topic in documented {
        assert!(page.row(&topic).is_some(), "{topic} is not in the page");
    }
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/topics.md");
    assert!(std::fs::read_to_string(docs).unwrap().contains("`fieldgate doctor` publishes one text on `B/doctor`"));
}
