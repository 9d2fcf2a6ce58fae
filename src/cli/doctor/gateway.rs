//! What the running gateway says of itself, as the broker keeps it: `B/status`, `B/health` and `B/sensors/+/status`.

use serde_json::Value as Json;

use crate::cli::doctor::check::{Check, Finding, NO_CONFIGURATION, Verdict};
use crate::cli::doctor::situation::Situation;
use crate::cli::doctor::unit;
use fieldgate_link as link;

/// Whether the link works as configured.
pub(super) const GATEWAY: Check = Check {
    id: "gateway",
    title: "what the gateway says of its link and its spool",
    causes: &["client-id-shared", "name-shared", "gateway-offline", "link-alarm", "spool-error"],
    judge: judge_gateway,
};

/// Whether every bus works.
pub(super) const BUSES: Check = Check {
    id: "gateway-buses",
    title: "what the gateway says of its buses",
    causes: &["bus-failing"],
    judge: judge_buses,
};

/// Whether every sensor works.
pub(super) const SENSORS: Check = Check {
    id: "sensors",
    title: "what the gateway says of its sensors",
    causes: &["sensor-down", "sensor-degraded"],
    judge: judge_sensors,
};

/// The last lines of the service's log.
const LOG: &str = "journalctl -u fieldgate -n 30 --no-pager";

/// What was heard on this topic below the base, at the first broker where anything was heard.
fn heard<'a>(situation: &'a Situation, below: &str) -> Option<&'a [u8]> {
    let topic = format!("{}/{below}", situation.base_topic);
    let mut visits = situation.brokers.iter().flatten().map(|broker| &broker.visit);
    visits.find(|visit| !visit.heard.is_empty())?.heard.get(&topic).map(|payload| &payload[..])
}

/// The newest health, or why it says nothing of the present.
fn health(situation: &Situation) -> Result<Json, Verdict> {
    let Some(brokers) = &situation.brokers else { return Err(Verdict::not_checked(NO_CONFIGURATION)) };
    if !unit::is_running(situation) {
        return Err(Verdict::not_checked("the service does not run"));
    }
    if brokers.iter().all(|broker| broker.visit.heard.is_empty()) {
        return Err(Verdict::not_checked("no broker has anything of this gateway, or lets us hear it"));
    }
    // One that cannot be read says nothing.
    Ok(heard(situation, "health").and_then(|payload| serde_json::from_slice(payload).ok()).unwrap_or(Json::Null))
}

fn judge_gateway(situation: &Situation) -> Verdict {
    let health = match health(situation) {
        Ok(health) => health,
        Err(verdict) => return verdict,
    };
    let mut findings = Vec::new();
    if let Some(alarm) = health["link"]["alarm"].as_str() {
        findings.push(alarmed(alarm));
    }
    if heard(situation, "status") == Some(b"offline") {
        let words = "the service runs, and the broker says that it is offline: it is not connected there";
        findings.push(Finding::new("gateway-offline", words, LOG));
    }
    if let Some(error) = health["spool"]["error"].as_str() {
        findings.push(Finding::new("spool-error", format!("the gateway says of its spool: {error}"), LOG));
    }
    let queued = health["spool"]["queued"].as_u64().unwrap_or(0);
    Verdict::of(findings, format!("online, {queued} waiting"))
}

fn alarmed(alarm: &str) -> Finding {
    let words = format!("the gateway says of its link: {alarm}");
    if [link::TAKEN_OVER, link::BRIEF].iter().any(|start| alarm.contains(start)) {
        Finding::new("client-id-shared", words, "grep -n client_id /etc/fieldgate/fieldgate.yaml")
    } else if alarm.contains(link::TWIN) {
        Finding::new(
            "name-shared",
            words,
            "sudo hostnamectl set-hostname another-name && sudo systemctl restart fieldgate",
        )
    } else {
        Finding::new("link-alarm", words, LOG)
    }
}

fn judge_buses(situation: &Situation) -> Verdict {
    let health = match health(situation) {
        Ok(health) => health,
        Err(verdict) => return verdict,
    };
    let buses = health["buses"].as_object();
    let finding = |(name, bus): (&String, &Json)| {
        let words = format!("bus {name} does not work: {}", bus["error"].as_str().unwrap_or("it does not say why"));
        Finding::new("bus-failing", words, "fieldgate scan")
    };
    Verdict::of(buses.into_iter().flatten().map(finding).collect(), "all work")
}

fn judge_sensors(situation: &Situation) -> Verdict {
    if let Err(verdict) = health(situation) {
        return verdict;
    }
    let (start, end) = (format!("{}/sensors/", situation.base_topic), "/status");
    let visits = situation.brokers.iter().flatten().map(|broker| &broker.visit);
    let all = visits.flat_map(|visit| &visit.heard);
    let sensors: std::collections::BTreeMap<_, _> =
        all.filter_map(|(topic, payload)| Some((topic.strip_prefix(&start)?.strip_suffix(end)?, payload))).collect();
    let finding = |(name, payload): (&&str, &&bytes::Bytes)| {
        let status: Json = serde_json::from_slice(payload).unwrap_or(Json::Null);
        let cause = match status["status"].as_str() {
            Some("down") => "sensor-down",
            Some("degraded") => "sensor-degraded",
            _ => return None,
        };
        let why = status["error"].as_str().unwrap_or("it does not say why");
        let words = format!("sensor {name} is {}: {why}", status["status"].as_str().unwrap_or_default());
        Some(Finding::new(cause, words, format!("sudo systemctl stop fieldgate && sudo fieldgate read {name}")))
    };
    Verdict::of(sensors.iter().filter_map(finding).collect(), format!("{} of them work", sensors.len()))
}
