//! What `fieldgate check --json` says.

use std::path::Path;

use serde_json::{Value as Json, json};

use super::{address, always, how_often, totals};
use crate::cli::rules;
use crate::config::{Config, Loaded, Origin, Problem};

/// A configuration that may run.
pub(super) fn good(path: &Path, loaded: &Loaded, origin: &Origin) -> Json {
    let config = &loaded.config;
    json!({
        "ok": true,
        "file": path.display().to_string(),
        "parts": loaded.parts.iter().map(|part| part.display().to_string()).collect::<Vec<_>>(),
        "variables": loaded.variables,
        "in_force": { "source": origin.source(), "why": origin.to_string() },
        "problems": problems(&loaded.warnings),
        "brokers": config.link.brokers.iter().map(address).collect::<Vec<_>>(),
        "protocol": config.link.protocol.as_str(),
        "client_id": config.link.client_id,
        "publish": config.sensors.iter().map(|sensor| json!({
            "topic": config.topics.reading(&sensor.name),
            "sensor": sensor.name.as_str(),
            "driver": sensor.driver.name,
            "every": sensor.every.as_secs_f64(),
            "readings": how_often(sensor),
            "qos": sensor.qos as u8,
            "retain": sensor.retain,
            "measurements": sensor.quantities().iter().map(|q| (q.name.to_string(), json!({"unit": q.unit})))
                .collect::<serde_json::Map<_, _>>(),
        })).collect::<Vec<_>>(),
        "home_assistant": config.shown_devices().iter().map(|device| json!({
            "topic": device.topic,
            "device": device.name,
            "entities": device.entities.iter().map(|entity| json!({
                "entity_id": entity.entity_id,
                "unique_id": entity.unique_id,
                "name": entity.name,
            })).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "rules": config.rules.iter().map(|rule| json!({
            "rule": rule.name.as_str(),
            "words": rules::words_of(config, rule),
        })).collect::<Vec<_>>(),
        "also": always(config).into_iter().map(|(topic, ..)| topic).collect::<Vec<_>>(),
        "subscribe": subscriptions(config),
    })
}

fn subscriptions(config: &Config) -> Vec<Json> {
    let outputs = config.actuators.iter().map(|actuator| {
        json!({
            "topic": config.topics.set(&actuator.name),
            "actuator": actuator.name.as_str(),
            "driver": actuator.driver.name,
            "safe_state": actuator.limits.safe_state.to_string(),
            "safe_after": actuator.limits.safe_after.map(|after| after.as_secs_f64()),
        })
    });
    let totals = totals(config).map(|(sensor, total)| {
        let topic = config.topics.set_total(&sensor.name);
        json!({ "topic": topic, "sensor": sensor.name.as_str(), "driver": sensor.driver.name, "unit": total.unit })
    });
    let variables = config.variables.iter().map(|variable| {
        let topic = config.topics.set_variable(&variable.name);
        json!({ "topic": topic, "variable": variable.name.as_str(), "initial": variable.initial.to_string() })
    });
    let requests = config
        .requests
        .iter()
        .map(|requests| json!({ "topic": format!("{}/request/+", config.topics.base()), "requests": requests.allow }));
    let rules = config.rules.iter().map(|rule| {
        let topic = config.topics.set_rule(&rule.name);
        json!({ "topic": topic, "rule": rule.name.as_str() })
    });
    outputs.chain(totals).chain(variables).chain(rules).chain(requests).collect()
}

/// One that cannot.
pub(super) fn bad(path: &Path, all: &[Problem]) -> Json {
    json!({ "ok": false, "file": path.display().to_string(), "problems": problems(all) })
}

/// Each of them as JSON, without its snippet.
pub(in crate::cli) fn problems(all: &[Problem]) -> Vec<Json> {
    let one = |problem: &Problem| {
        json!({
            "severity": problem.severity.as_str(),
            "what": problem.what,
            "hint": if problem.hint.is_empty() { Json::Null } else { problem.hint.clone().into() },
            "part": problem.part.as_ref().map(|part| part.display().to_string()),
            "line": problem.place.map(|place| place.line),
            "column": problem.place.map(|place| place.column),
            "used": problem.used.as_ref().map(|used| json!({
                "part": used.part.as_ref().map(|part| part.display().to_string()),
                "line": used.place.line,
                "column": used.place.column,
            })),
        })
    };
    all.iter().map(one).collect()
}
