//! What a requester writes comes back as JSON, stands quoted in the log, and names no topic and no file.

use serde_json::json;

use super::{ALL, allowing, ask, start};
use crate::common::client::Client;
use crate::common::mosquitto::Mosquitto;
use crate::common::{SOON, wait_until};

/// Ends a line, colours a terminal and climbs out of a folder.
const HOSTILE: &str = "../x\nINJECTED \u{1b}[31m\u{202e}\0\"";

#[test]
fn what_a_request_says_is_escaped_in_answers_topics_the_log_and_files() {
    let (broker, folder) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let client = Client::subscribe(&broker.endpoint(), &["#"]);
    let gateway = start(folder.path(), &allowing(&broker, ALL), &client);
    client.publish("b/request/ping", &json!({ "transaction": HOSTILE }).to_string(), false, 1);
    let refused = client.wait_json("b/response/ping", |_| true, SOON);
    let words = "unreadable: transaction must be a plain text of at most 64 characters or a whole number";
    assert_eq!((&refused["transaction"], &refused["error"]), (&json!(null), &words.into()));
    for (nth, (verb, request)) in [
        ("ping", json!({ HOSTILE: 1 })),
        ("read", json!({ "sensor": HOSTILE })),
        ("history", json!({ "sensor": HOSTILE })),
        ("set-interval", json!({ "sensor": HOSTILE, "every": HOSTILE })),
        ("log-level", json!({ "level": HOSTILE })),
        ("config", json!({ "config": HOSTILE, "confirm_within": "1h" })),
        ("config", json!({ "config": format!("{HOSTILE}: {{ {HOSTILE} }}"), "confirm_within": HOSTILE })),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(ask(&client, verb, request, &nth.to_string())["status"], "error");
    }
    client.publish("b/request/ping", HOSTILE.trim_end_matches(['\0', '"']).trim_end_matches('\0'), false, 1);
    client.publish("b/request/INJECTED verb", "{}", false, 1);
    client.forget();
    assert_eq!(ask(&client, "INJECTED", json!({}), "unknown")["status"], "error");
    wait_until("the topic without a name", SOON, || gateway.log().contains("Request refused: its topic"));
    let log = gateway.log();
    for line in log.lines() {
        assert!(line.starts_with(|first: char| first.is_ascii_digit()), "{line:?} is no line of the log:\n{log}");
        assert!(!line.contains(|c: char| c.is_control()), "{line:?}");
    }
    for message in client.everything() {
        let is_ours = message.topic.starts_with("b/request/");
        assert!(
            is_ours || message.topic == "b/response/INJECTED" || !message.topic.contains("INJECTED"),
            "{message:?}"
        );
    }
    let outside: Vec<_> = ["x", "../x"].iter().map(|name| folder.path().join(name)).collect();
    assert!(outside.iter().all(|path| !path.exists()));
    let mut spool: Vec<_> =
        std::fs::read_dir(folder.path().join("spool")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    spool.retain(|name| !name.to_string_lossy().starts_with("spool.db"));
    assert!(spool.iter().all(|name| !name.to_string_lossy().starts_with("configuration")), "{spool:?}");
}
