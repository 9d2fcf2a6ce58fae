//! Requests to the compiled program on a real broker: each verb, refusals, and a flood.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic")]

#[path = "requests/changes.rs"]
mod changes;
#[path = "requests/config.rs"]
mod config_by_request;
#[path = "requests/hostile.rs"]
mod hostile;
#[path = "requests/parts.rs"]
mod parts;

use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::client::{Client, publish_lines, publish_v5};
use crate::common::gateway::{Gateway, write_config};
use crate::common::mosquitto::{Mosquitto, Options};
use crate::common::notify::NotifySocket;
use crate::common::quick::dropped;
use crate::common::{SOON, wait_until};
use serde_json::{Value, json};

const ALL: &str = "[ping, info, health, read, history, reload, restart, log-level, set-interval, identify, config]";

fn config(broker: &Mosquitto, requests: &str) -> String {
    format!(
        "gateway: {{ name: t }}
mqtt: {{ base_topic: b, broker: \"{}\", reconnect: {{ min: 100ms, max: 200ms }} }}
spool: {{ path: spool }}
{requests}
sensors:
  tide: {{ driver: waveform, every: 1h, settings: {{ shape: counter }}, filters: {{ value: {{ offset: 100 }} }} }}
",
        broker.url()
    )
}

fn allowing(broker: &Mosquitto, allow: &str) -> String {
    config(broker, &format!("requests: {{ allow: {allow} }}"))
}

fn start(folder: &Path, config: &str, client: &Client) -> Gateway {
    client.forget();
    let gateway = Gateway::start(folder, config);
    client.wait_for("b/status", |payload| payload == "online", SOON);
    gateway
}

/// Asks and returns the answer to this request.
fn ask(client: &Client, verb: &str, mut request: Value, transaction: &str) -> Value {
    request["transaction"] = transaction.into();
    client.publish(&format!("b/request/{verb}"), &request.to_string(), false, 1);
    client.wait_json(&format!("b/response/{verb}"), |answer| answer["transaction"] == transaction, SOON)
}

#[test]
fn each_verb_is_answered_with_its_data() {
    let (broker, folder) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let client = Client::subscribe(&broker.endpoint(), &["b/#", "answers/#"]);
    let config = allowing(&broker, ALL);
    let gateway = start(folder.path(), &config, &client);
    client.wait_json("b/sensors/tide", |reading| reading["value"] == 101, SOON);
    let nothing = json!({ "transaction": "p", "status": "ok", "data": null, "error": null });
    assert_eq!(ask(&client, "ping", json!({}), "p"), nothing);
    let info = ask(&client, "info", json!({}), "i");
    assert_eq!((&info["data"]["name"], &info["data"]["sensors"]), (&"t".into(), &json!(["tide"])), "{info}");
    assert_eq!(info["data"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(ask(&client, "health", json!({}), "h")["data"]["link"]["state"], "up");
    // A sample out of turn, filtered, which is a reading too.
    let read = ask(&client, "read", json!({ "sensor": "tide" }), "r");
    assert_eq!(read["data"], json!({ "sensor": "tide", "values": { "value": 102 } }));
    client.wait_json("b/sensors/tide", |reading| reading["value"] == 102, SOON);
    let history = ask(&client, "history", json!({ "sensor": "tide" }), "y");
    let readings = history["data"]["readings"].as_array().unwrap();
    let published: Vec<_> = client.all("b/sensors/tide").iter().map(|reading| reading.json()).collect();
    assert_eq!(*readings, published);
    assert_eq!(
        ask(&client, "history", json!({ "sensor": "tide", "count": 1 }), "z")["data"]["readings"][0],
        published[1]
    );
    let properties = [("response-topic", "answers/me"), ("correlation-data", "c7")];
    publish_v5(&broker.endpoint(), "b/request/ping", "", &properties);
    assert_eq!(client.wait_json("answers/me", |_| true, SOON)["status"], "ok");
    // Not to one of ours, where it would look like what the gateway says.
    publish_v5(&broker.endpoint(), "b/request/ping", r#"{"transaction":"ours"}"#, &[("response-topic", "b/status")]);
    client.wait_json("b/response/ping", |answer| answer["transaction"] == "ours", SOON);
    assert!(client.all("b/status").iter().all(|message| message.payload == "online"));
    gateway.wait_log("Request answered.", SOON);
}

#[test]
fn reload_takes_the_file_up_and_says_what_is_wrong_with_one_that_it_does_not_take() {
    let (broker, folder) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let client = Client::subscribe(&broker.endpoint(), &["b/#"]);
    let config = allowing(&broker, "[reload, info]");
    let mut gateway = start(folder.path(), &config, &client);
    write_config(folder.path(), &config.replace("tide:", "moon:"));
    assert_eq!(ask(&client, "reload", json!({}), "1")["status"], "ok");
    assert_eq!(ask(&client, "info", json!({}), "2")["data"]["sensors"], json!(["moon"]));
    write_config(folder.path(), &config.replace("waveform", "wave"));
    let refused = ask(&client, "reload", json!({}), "3");
    let words = refused["error"].as_str().unwrap();
    assert!(
        words.starts_with("unreadable: the old configuration stays: no driver is called \"wave\", line 6 ("),
        "{words}"
    );
    // Nobody would start it again.
    let restart = ask(&client, "restart", json!({}), "4");
    assert!(restart["error"].as_str().unwrap().starts_with("not_allowed: "), "{restart}");
    write_config(folder.path(), &config.replace("[reload, info]", "[restart]"));
    assert_eq!(ask(&client, "reload", json!({}), "5")["status"], "ok");
    let restart = ask(&client, "restart", json!({}), "6");
    assert!(restart["error"].as_str().unwrap().contains("nothing would start it again"), "{restart}");
    assert!(ask(&client, "reload", json!({}), "7")["error"].as_str().unwrap().starts_with("not_allowed: "));
    assert!(gateway.is_running());
}

#[test]
fn what_is_not_done_is_answered_with_why() {
    let (broker, folder) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let client = Client::subscribe(&broker.endpoint(), &["b/#"]);
    // Kept by the broker from before the start.
    client.publish("b/request/ping", r#"{"transaction":"kept"}"#, true, 1);
    let _gateway = start(folder.path(), &config(&broker, "requests:"), &client);
    let kept = client.wait_json("b/response/ping", |answer| answer["transaction"] == "kept", SOON);
    assert!(kept["error"].as_str().unwrap().starts_with("retained: "), "{kept}");
    for (verb, request, error) in [
        (
            "history",
            json!({ "sensor": "tide" }),
            "not_allowed: requests.allow in the configuration does not name history",
        ),
        ("read", json!({ "sensor": "ghost" }), "unknown: there is no sensor called ghost"),
        ("read", json!({}), "unreadable: sensor is missing: which"),
        ("ping", json!({ "loud": true }), "unreadable: this request knows transaction, not \"loud\""),
        (
            "dance",
            json!({}),
            "unknown: there is no request dance; there are ping, info, health, read, history, reload, restart, log-level, set-interval, identify, config",
        ),
    ] {
        let answer = ask(&client, verb, request, verb);
        assert_eq!((&answer["status"], &answer["error"]), (&"error".into(), &error.into()), "{answer}");
        client.forget();
    }
    client.publish("b/request/ping", "hello", false, 1);
    let words = client.wait_json("b/response/ping", |_| true, SOON)["error"].to_string();
    assert!(words.contains("unreadable: a request is a JSON object"), "{words}");
}

#[test]
fn without_the_key_nothing_is_answered() {
    let (broker, folder) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let client = Client::subscribe(&broker.endpoint(), &["b/#"]);
    let gateway = start(folder.path(), &config(&broker, ""), &client);
    client.publish("b/request/ping", "", false, 1);
    // A reload, so that something is known to have come behind it.
    write_config(folder.path(), &config(&broker, "requests:"));
    gateway.signal(rustix::process::Signal::HUP);
    gateway.wait_log("Configuration reloaded", SOON);
    wait_until("the first request that is heard", SOON, || {
        client.publish("b/request/ping", r#"{"transaction":"heard"}"#, false, 1);
        client.all("b/response/ping").iter().any(|answer| answer.json()["transaction"] == "heard")
    });
    assert!(client.all("b/response/ping").iter().all(|answer| answer.json()["transaction"] == "heard"));
}

#[test]
fn a_flood_is_answered_as_far_as_it_fits_and_the_gateway_goes_on() {
    const FLOOD: usize = 2000;
    // Mosquitto drops what is more than a thousand messages behind, and the gateway can count only what it gets.
    let options = Options { extra: "max_queued_messages 0".into(), ..Options::default() };
    let (broker, folder) = (Mosquitto::with(options), tempfile::tempdir().unwrap());
    let client = Client::subscribe(&broker.endpoint(), &["b/response/#", "b/status", "b/health"]);
    let gateway = start(folder.path(), &allowing(&broker, ALL), &client);
    let memory = gateway.memory();
    let lines: Vec<_> = (0..FLOOD).map(|n| json!({ "transaction": n }).to_string()).collect();
    publish_lines(&broker.endpoint(), "b/request/info", &lines);
    // A request that comes behind the flood is heard.
    let mut tries = 0;
    wait_until("an answer behind the flood", 12 * SOON, || {
        tries += 1;
        client.publish("b/request/ping", &json!({ "transaction": tries }).to_string(), false, 1);
        client.all("b/response/ping").iter().any(|answer| answer.json()["status"] == "ok")
    });
    let grown = gateway.memory().saturating_sub(memory);
    assert!(grown < 8 << 20, "memory grew by {grown} bytes");
    assert!(!client.all("b/response/info").is_empty());
    // What did not fit was dropped and counted as commands are: each request was answered or counted, once.
    // The request for that count may be among them, when a gateway that was held up gets all pings at once.
    let (mut sent, mut last): (usize, Option<Instant>) = (FLOOD + tries, None);
    wait_until("each request to be answered or counted", 12 * SOON, || {
        let newest = client.all("b/response/health").pop().map(|answer| answer.json()).unwrap_or_default();
        let is_answered = newest["transaction"] == sent;
        let answered = ["info", "ping", "health"].iter().map(|verb| client.count(&format!("b/response/{verb}")));
        if is_answered && answered.sum::<usize>() + dropped(&newest["data"]) == sent {
            return true;
        }
        if is_answered || last.is_none_or(|last| last.elapsed() > Duration::from_secs(1)) {
            sent += 1;
            client.publish("b/request/health", &json!({ "transaction": sent }).to_string(), false, 1);
            last = Some(Instant::now());
        }
        false
    });
}

#[test]
fn restart_is_answered_and_ends_in_an_orderly_way_where_something_starts_it_again() {
    let (broker, folder) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let client = Client::subscribe(&broker.endpoint(), &["b/#"]);
    let socket = NotifySocket::listen(folder.path());
    let mut gateway = Gateway::with_env(folder.path(), &allowing(&broker, ALL), &[socket.variable()]);
    client.wait_for("b/status", |payload| payload == "online", SOON);
    assert_eq!(ask(&client, "restart", json!({}), "r")["status"], "ok");
    assert_eq!(gateway.wait_exit(SOON), 0);
    client.wait_for("b/status", |payload| payload == "offline", SOON);
    socket.wait("STOPPING=1", 0, SOON);
    assert!(gateway.log().contains("Asked to restart by a request."));
}
