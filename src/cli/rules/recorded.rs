//! What was recorded: lines of readings, as a client writes them down.

use std::time::SystemTime;

use serde_json::Value as Json;

/// What was recorded at one time.
#[derive(Debug)]
pub(super) enum Recorded {
    /// A sensor's measurements.
    Reading(String, serde_json::Map<String, Json>),
    /// A sensor is down.
    Down(String),
    /// Whether the broker was connected.
    Link(bool),
    /// What a variable was set to.
    Variable(String, Json),
}

/// A reading, with its topic around it or its sensor among its keys; nothing of what says nothing of a sensor.
pub(super) fn read_line(line: &str) -> Result<Option<(SystemTime, Recorded)>, String> {
    let json: Json = serde_json::from_str(line).map_err(|e| format!("this is not JSON: {e}"))?;
    let (topic, body) = match (json["topic"].as_str(), &json["payload"]) {
        (Some(topic), Json::String(text)) => match serde_json::from_str(text) {
            Ok(body) => (topic.to_owned(), body),
            // What says nothing of a sensor may be bare text: statuses, commands, plain topics.
            Err(_) if !is_reading(topic) => return Ok(None),
            Err(e) => return Err(format!("the payload is not JSON: {e}")),
        },
        (Some(topic), body) => (topic.to_owned(), body.clone()),
        (None, _) => match json["sensor"].as_str() {
            Some(sensor) => (format!("/sensors/{sensor}"), json.clone()),
            None => return Err("there is neither a topic nor a sensor in it".to_owned()),
        },
    };
    let time = |key: &str| {
        let text = body[key].as_str().ok_or_else(|| format!("there is no {key} in it"))?;
        humantime::parse_rfc3339_weak(text).map_err(|e| format!("{text:?} is no time: {e}"))
    };
    let levels: Vec<_> = topic.rsplit('/').collect();
    Ok(match (levels.as_slice(), &body) {
        (["status", sensor, "sensors", ..], _) if body["status"] == "down" => {
            Some((time("since")?, Recorded::Down((*sensor).to_owned())))
        }
        ([sensor, "sensors" | "late", ..], Json::Object(all)) => {
            Some((time("time")?, Recorded::Reading((*sensor).to_owned(), all.clone())))
        }
        (["state", variable, "variables", ..], _) => {
            Some((time("time")?, Recorded::Variable((*variable).to_owned(), body["value"].clone())))
        }
        (["health", ..], _) if body["link"].is_object() => {
            Some((time("time")?, Recorded::Link(body["link"]["state"] == "up")))
        }
        _ => None,
    })
}

/// Whether readings come on this topic.
fn is_reading(topic: &str) -> bool {
    matches!(topic.rsplit('/').nth(1), Some("sensors" | "late"))
}
