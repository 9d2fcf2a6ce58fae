//! What is announced to Home Assistant: payloads word for word, every driver's classes and units beside the lists of Home
//! Assistant itself, and what a reload of the running program changes at a real broker.
//!
//! `tests/home_assistant/lists-VERSION.json` is what `tests/home_assistant/lists.py` has read out of an installed Home Assistant, the
//! oldest and the newest that is supported. A payload that changed is accepted by running the tests with `FIELDGATE_ACCEPT=1` and reading the difference.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use crate::common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::common::client::{Client, publish_lines};
use crate::common::gateway::Gateway;
use crate::common::mosquitto::{Mosquitto, Options};
use crate::common::notify::NotifySocket;
use crate::common::{SOON, gateway, wait_until};
use fieldgate::config::{self, Config};
use fieldgate::home_assistant::{Announced, class};
use fieldgate_drivers::{DRIVERS, Role};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::process::Output;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/home_assistant")
}

fn load(text: &str) -> Config {
    config::load_text(text, Path::new("f.yaml")).unwrap_or_else(|error| panic!("{error}\nin:\n{text}")).config
}

/// Each topic with its payload, as soon as nothing is to be moved any more.
fn announced(config: &Config) -> Vec<(String, Value)> {
    let mut announced = Announced::default();
    announced.update(&config.shown_devices());
    announced.confirm();
    let messages = announced.update(&config.shown_devices()).messages;
    messages.into_iter().map(|(topic, payload)| (topic, serde_json::from_slice(&payload).unwrap())).collect()
}

#[test]
fn payloads_are_as_written_beside_their_configuration() {
    let mut different = String::new();
    for name in ["shed", "kinds", "own"] {
        let file = folder().join(format!("{name}.yaml"));
        let config = config::load(&file).unwrap_or_else(|error| panic!("{error}")).config;
        let version = env!("CARGO_PKG_VERSION");
        let topics: serde_json::Map<_, _> = announced(&config).into_iter().collect();
        let said = format!("{:#}\n", Value::Object(topics)).replace(&format!("\"{version}\""), "\"VERSION\"");
        let beside = file.with_extension("json");
        if std::env::var_os("FIELDGATE_ACCEPT").is_some() {
            std::fs::write(&beside, &said).unwrap();
        }
        if std::fs::read_to_string(&beside).unwrap_or_default() != said {
            different += &format!("--- {} says\n{said}", file.display());
        }
    }
    assert!(different.is_empty(), "{different}");
}

/// The example of every driver, each on a bus of its kind.
fn every_driver() -> Vec<(&'static str, Config)> {
    let of = |spec: &'static fieldgate_drivers::DriverSpec| {
        let section = if matches!(spec.role, Role::Sensor { .. }) { "sensors" } else { "actuators" };
        let example: String = spec.example.lines().map(|line| format!("  {line}\n")).collect();
        let buses: String = ["i2c-1", "header", "pwm-0", "spi-0", "serial", "wire"]
            .iter()
            .map(|name| format!("  {name}: {{ type: sim }}\n"))
            .collect();
        let text = format!(
            "gateway: {{ name: g }}\nmqtt: {{ broker: mqtt://localhost }}\nhome_assistant:\nbuses:\n{buses}{section}:\n{example}"
        );
        (spec.name, load(&text))
    };
    DRIVERS.iter().map(|spec| of(spec)).collect()
}

/// What each version of Home Assistant accepts.
fn lists() -> [Value; 2] {
    ["2025.10.4", "2026.11.0"].map(|version| {
        let text = std::fs::read_to_string(folder().join(format!("lists-{version}.json"))).unwrap();
        let lists: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(lists["version"], version);
        lists
    })
}

#[test]
fn what_every_driver_measures_is_accepted() {
    for lists in lists() {
        let mut measured = 0;
        for (driver, config) in every_driver() {
            for (_, payload) in announced(&config) {
                for (id, component) in payload["components"].as_object().unwrap() {
                    check_component(&lists, &format!("{driver}: {id} in {}", lists["version"]), component);
                    measured += usize::from(!id.contains(".g_gateway_"));
                }
            }
        }
        assert!(measured > 100, "{measured}");
    }
}

/// What the validation of Home Assistant asks of a component.
fn check_component(lists: &Value, id: &str, component: &Value) {
    let platform = component["platform"].as_str().unwrap();
    let class = component["device_class"].as_str();
    if let Some(class) = class {
        let known = lists["device_classes"][platform].as_array().unwrap_or_else(|| panic!("{id}: no class"));
        assert!(known.contains(&json!(class)), "{id}: there is no device class {class}");
    }
    if let Some(category) = component["entity_category"].as_str() {
        let fitting = if platform == "button" { "config" } else { "diagnostic" };
        assert_eq!(category, fitting, "{id}: sensors cannot be of another category");
    }
    if platform != "sensor" {
        return;
    }
    let state = component["state_class"].as_str().unwrap();
    let unit = component.get("unit_of_measurement").cloned().unwrap_or(Value::Null);
    if let Some(class) = class {
        let units = lists["units"][class].as_array().unwrap_or_else(|| panic!("{id}: {class} has no list of units"));
        assert!(units.contains(&unit) || units.contains(&ambiguous(lists, &unit)), "{id}: {class} in {unit}");
        let states = lists["state_classes"][class].as_array().unwrap();
        assert!(states.contains(&json!(state)), "{id}: {class} with {state}");
    }
}

/// A unit that Home Assistant takes for another one in silence, such as one with another sign for micro.
fn ambiguous(lists: &Value, unit: &Value) -> Value {
    unit.as_str().map_or(Value::Null, |unit| lists["ambiguous_units"][unit].clone())
}

#[test]
fn every_row_of_the_classes_is_in_the_lists() {
    let rows = class::MEASURED.iter().map(|row| (row, "measurement"));
    for (row, state) in rows.chain(class::COUNTED.iter().map(|row| (row, "total_increasing"))) {
        for (unit, lists) in row.units.iter().flat_map(|unit| lists().map(|lists| (unit, lists))) {
            let component = json!({ "platform": "sensor", "device_class": row.class, "state_class": state, "unit_of_measurement": unit });
            check_component(&lists, &format!("{} in {}", row.class, lists["version"]), &component);
        }
    }
}

/// What looks like an id of an entity in a text.
fn entity_ids(text: &str) -> BTreeSet<&str> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '.';
    let words = text.split(|letter| !is_part(letter));
    let platforms = ["sensor.", "binary_sensor.", "switch.", "number.", "event.", "button."];
    words.filter(|word| platforms.iter().any(|platform| word.starts_with(platform))).collect()
}

#[test]
fn the_dashboard_shows_what_the_demo_announces() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let demo = std::fs::read_to_string(root.join("config/demo.yaml")).unwrap();
    let demo = load(&(demo.replace("@PORT@", "1883") + "home_assistant: { name: Greenhouse }\n"));
    let announced = announced(&demo);
    let components: Vec<_> =
        announced.iter().flat_map(|(_, payload)| payload["components"].as_object().unwrap()).collect();
    let ids: BTreeSet<_> = components.iter().map(|(_, one)| one["default_entity_id"].as_str().unwrap()).collect();
    let dashboard = std::fs::read_to_string(root.join("deploy/home-assistant/dashboard.yaml")).unwrap();
    let shown = entity_ids(&dashboard);
    assert_eq!(shown.difference(&ids).next(), None, "it is not announced");
    let important = components.iter().filter(|(_, one)| one["entity_category"].is_null());
    let important: BTreeSet<_> = important.map(|(_, one)| one["default_entity_id"].as_str().unwrap()).collect();
    assert_eq!(important.difference(&shown).next(), None, "it is not on the dashboard");
}

const SHED: &str = "homeassistant/device/fieldgate_t/config";
const HOUSE: &str = "homeassistant/device/fieldgate_t_house/config";
const TIDE: &str = "tide: { driver: waveform, every: 1s }";
const MOON: &str = "moon: { driver: waveform, every: 1s, home_assistant: { device: House } }";

fn waveforms(broker: &Mosquitto, home_assistant: &str, sensors: &[&str]) -> String {
    let sensors: String = sensors.iter().map(|sensor| format!("  {sensor}\n")).collect();
    format!(
        "gateway: {{ name: t }}\nmqtt: {{ broker: \"{}\", base_topic: b }}\nspool: {{ path: spool }}\n{home_assistant}sensors:\n{sensors}",
        broker.url()
    )
}

#[test]
fn a_reload_clears_what_is_gone_and_announces_what_is_new() {
    let (folder, broker) = (tempfile::tempdir().unwrap(), Mosquitto::start());
    let client = Client::subscribe(&broker.endpoint(), &["homeassistant/#"]);
    let socket = NotifySocket::listen(folder.path());
    let text = waveforms(&broker, "home_assistant:\n", &[TIDE, MOON]);
    let gateway = Gateway::with_env(folder.path(), &text, &[socket.variable()]);
    let has = |id: &'static str| move |payload: &Value| payload["components"][id]["unique_id"].is_string();
    client.wait_json(SHED, has("sensor.t_tide_value"), SOON);
    client.wait_json(HOUSE, has("sensor.t_moon_value"), SOON);
    let reload = |text: &str| {
        let before = socket.all().len();
        client.forget();
        gateway::write_config(folder.path(), text);
        gateway.signal(Signal::HUP);
        socket.wait("READY=1", before, SOON);
    };
    reload(&waveforms(&broker, "home_assistant:\n", &[&TIDE.replace("tide", "ebb")]));
    let payload = client.wait_json(SHED, has("sensor.t_ebb_value"), SOON);
    assert_eq!(payload["components"]["sensor.t_tide_value"], json!({ "platform": "sensor" }));
    client.wait_for(HOUSE, str::is_empty, SOON);
    reload(&waveforms(&broker, "", &[TIDE]));
    client.wait_for(SHED, str::is_empty, SOON);
    // What the broker keeps for later subscribers is nothing.
    let late = Client::subscribe(&broker.endpoint(), &["homeassistant/#", "b/status"]);
    late.wait_for("b/status", |text| text == "online", SOON);
    assert_eq!(late.all(SHED).len() + late.all(HOUSE).len(), 0);
}

const STATUS: &str = "homeassistant/status";

/// A broker that logs who subscribes to what.
fn talkative() -> Mosquitto {
    Mosquitto::with(Options { extra: "log_type all\n".into(), ..Options::default() })
}

/// Waits until the gateway has subscribed to what Home Assistant says.
fn wait_listening(broker: &Mosquitto) {
    broker.wait_log(&format!("{STATUS} (QoS"), SOON);
}

#[test]
fn a_home_assistant_that_starts_gets_the_newest_reading_again_once_for_each_burst() {
    let (folder, broker) = (tempfile::tempdir().unwrap(), talkative());
    // What is retained of an earlier start is no start.
    let client = Client::subscribe(&broker.endpoint(), &["b/sensors/#", "homeassistant/#"]);
    client.publish(STATUS, "online", true, 1);
    let sensors = [
        "slow: { driver: waveform, every: 1h }",
        "kept: { driver: waveform, every: 1h, retain: true }",
        "own: { driver: waveform, every: 1h, home_assistant: { enabled: false } }",
    ];
    let _gateway = Gateway::start(folder.path(), &waveforms(&broker, "home_assistant:\n", &sensors));
    let first = client.wait_for("b/sensors/slow", |_| true, SOON);
    for topic in ["b/sensors/kept", "b/sensors/own"] {
        client.wait_for(topic, |_| true, SOON);
    }
    wait_listening(&broker);
    // What is new to it is followed by the reading too; it could not hear the first one.
    common::wait_until("the reading comes again", SOON, || client.count("b/sensors/slow") == 2);
    for burst in 1..=2 {
        client.forget();
        publish_lines(&broker.endpoint(), STATUS, &["online".to_owned(), "online".to_owned(), "online".to_owned()]);
        let again = client.wait_message("b/sensors/slow", |_| true, SOON);
        assert_eq!((again.payload.as_str(), again.retain, again.qos), (first.as_str(), false, 0), "burst {burst}");
        assert_eq!(client.all("b/sensors/slow").len(), 1);
        assert_eq!(client.all("b/sensors/kept").len() + client.all("b/sensors/own").len(), 0);
        assert!(!client.all(SHED).is_empty(), "the announcement comes again");
    }
}

/// Waits until the disk has what was announced on a topic: it is written within milliseconds, and a kill before that leaves it to the
/// broker.
fn wait_remembered(folder: &Path, topic: &str) {
    let has = |name: &str| {
        let bytes = std::fs::read(folder.join("spool").join(name)).unwrap_or_default();
        bytes.windows(topic.len()).any(|part| part == topic.as_bytes())
    };
    wait_until("the spool to have it", SOON, || has("spool.db") || has("spool.db-wal"));
}

#[test]
fn what_leaves_the_file_while_the_gateway_is_stopped_is_taken_back_and_shown_once_more() {
    let (folder, broker) = (tempfile::tempdir().unwrap(), talkative());
    let client = Client::subscribe(&broker.endpoint(), &["homeassistant/#"]);
    let has = |id: &'static str| move |payload: &Value| payload["components"][id]["unique_id"].is_string();
    let lacks = |id: &'static str| move |payload: &Value| payload["components"][id].is_null();
    let is_tombstone =
        |id: &'static str| move |payload: &Value| payload["components"][id] == json!({ "platform": "sensor" });
    let (tide, moon) = ("sensor.t_tide_value", "sensor.t_moon_value");
    let mut gateway = Gateway::start(folder.path(), &waveforms(&broker, "home_assistant:\n", &[TIDE, MOON]));
    client.wait_json(SHED, has(tide), SOON);
    client.wait_json(HOUSE, has(moon), SOON);
    wait_remembered(folder.path(), HOUSE);
    gateway.kill9();
    client.forget();
    let mut gateway = Gateway::start(folder.path(), &waveforms(&broker, "home_assistant:\n", &[]));
    client.wait_json(SHED, is_tombstone(tide), SOON);
    client.wait_for(HOUSE, str::is_empty, SOON);
    // Also a restart in between forgets nothing: Home Assistant may have been away all the time.
    gateway.stop(SOON);
    client.forget();
    let _gateway = Gateway::start(folder.path(), &waveforms(&broker, "", &["ebb: { driver: waveform, every: 1s }"]));
    client.wait_for(SHED, str::is_empty, SOON);
    wait_listening(&broker);
    client.forget();
    client.publish(STATUS, "online", false, 1);
    client.wait_json(SHED, has(tide), SOON);
    client.wait_json(HOUSE, has(moon), SOON);
    client.wait_for(HOUSE, str::is_empty, SOON);
    client.wait_for(SHED, str::is_empty, SOON);
    assert!(client.all(SHED).iter().all(|message| message.payload.is_empty() || !lacks(tide)(&message.json())));
    let late = Client::subscribe(&broker.endpoint(), &["homeassistant/device/#", "b/status"]);
    late.wait_for("b/status", |text| text == "online", SOON);
    assert_eq!(late.all(SHED).len() + late.all(HOUSE).len(), 0);
}

fn forget(folder: &Path, more: &[&str]) -> (i32, String, String) {
    let arguments: Vec<_> = ["forget", "--config", "fieldgate.yaml"].into_iter().chain(more.iter().copied()).collect();
    let Output { status, stdout, stderr } = gateway::command(folder, &arguments, SOON);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

#[test]
fn forget_clears_all_that_is_retained_once_the_service_has_stopped() {
    let (folder, broker) = (tempfile::tempdir().unwrap(), Mosquitto::start());
    let with = |plain, name: &str, sensors: &[&str]| {
        let buses = "buses: { bench: { type: sim } }\nactuators: { pump: { driver: gpio-output, bus: bench, safe_state: \"off\", settings: { line: GPIO27 } } }\n";
        let text = waveforms(&broker, "home_assistant:\n", sensors) + buses;
        text.replace("name: t", name).replace("base_topic: b", &format!("base_topic: b, plain: {plain}"))
    };
    let client = Client::subscribe(&broker.endpoint(), &["#"]);
    let strangers = ["b/actuators/pump/set", "bb/status", "homeassistant/device/other/config"];
    strangers.iter().for_each(|topic| client.publish(topic, "{}", true, 1));
    let kept = &TIDE.replace("every: 1s", "every: 1s, retain: true");
    let mut first = Gateway::start(folder.path(), &with(true, "name: old", &[kept, MOON]));
    for topic in
        ["b/sensors/tide", "b/sensors/moon/status", "b/sensors/moon/value", "b/actuators/pump/state", "b/health"]
    {
        client.wait_for(topic, |text| !text.is_empty(), SOON);
    }
    client.wait_for("homeassistant/device/fieldgate_old_house/config", |text| !text.is_empty(), SOON);
    let (code, out, err) = forget(folder.path(), &[]);
    assert_eq!((code, out.as_str()), (1, ""), "{err}");
    assert!(err.contains("stop it first"), "{err}");
    first.stop(SOON);
    // What an earlier configuration left is known by the spool and by the topics themselves.
    gateway::write_config(folder.path(), &with(false, "name: t", &[]));
    let (code, out, err) = forget(folder.path(), &["--json"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let said: Value = serde_json::from_str(&out).unwrap();
    let cleared: Vec<_> =
        said["brokers"][0]["cleared"].as_array().unwrap().iter().map(|topic| topic.as_str().unwrap()).collect();
    for topic in [
        "b/status",
        "b/health",
        "b/devices",
        "b/sensors/tide",
        "b/sensors/moon/value",
        "b/actuators/pump",
        "homeassistant/device/fieldgate_old/config",
    ] {
        assert!(cleared.contains(&topic), "{topic} is not in {cleared:?}");
    }
    let late = Client::subscribe(&broker.endpoint(), &["#"]);
    late.fence();
    let mut left: Vec<_> = late.everything().into_iter().map(|message| message.topic).collect();
    left.sort();
    let mut strangers = strangers.map(str::to_owned);
    strangers.sort();
    assert_eq!(left, strangers);
    let (code, out, _) = forget(folder.path(), &[]);
    assert_eq!((code, out), (0, format!("{}: 0 topics cleared\n", broker.url())));
}

#[test]
fn forget_clears_what_it_may_not_read() {
    let folder = tempfile::tempdir().unwrap();
    // The gateway is nobody and may only write; the user may do everything.
    let acl = "topic write b/#\ntopic write homeassistant/#\nuser all\ntopic readwrite #\n";
    let (user, extra) = (Some(("all".into(), "x".into())), "allow_anonymous true\n".into());
    let broker = Mosquitto::with(Options { acl: Some(acl.into()), user, extra, ..Options::default() });
    let client = Client::subscribe(&broker.endpoint(), &["#"]);
    let text = waveforms(&broker, "home_assistant:\n", &[TIDE]);
    let mut gateway = Gateway::start(folder.path(), &text);
    for topic in [SHED, "b/sensors/tide/status", "b/health"] {
        client.wait_for(topic, |text| !text.is_empty(), SOON);
    }
    gateway.stop(SOON);
    let (code, out, err) = forget(folder.path(), &[]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let late = Client::subscribe(&broker.endpoint(), &["#"]);
    client.publish("end", "x", true, 1);
    late.wait_for("end", |_| true, SOON);
    assert_eq!(late.everything().len(), 1, "{:?}", late.everything());
}

#[test]
fn forget_says_what_it_cannot_reach() {
    let folder = tempfile::tempdir().unwrap();
    let gone = Mosquitto::start();
    let text = waveforms(&gone, "home_assistant:\n", &[TIDE]);
    drop(gone);
    gateway::write_config(folder.path(), &text);
    let (code, out, err) = forget(folder.path(), &[]);
    assert_eq!(code, 1, "{out}");
    assert!(err.starts_with("error: mqtt://127.0.0.1:") && err.contains("refused"), "{err}");
    assert!(!folder.path().join("spool").exists(), "it makes no spool");
    gateway::write_config(folder.path(), "nonsense");
    assert_eq!(forget(folder.path(), &[]).0, 78);
}
