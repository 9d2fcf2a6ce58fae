//! Rows A and H8: outputs under commands that are stale, repeated, too many or broken, without a link, without a disk, and after
//! the program's end. For the kill and the hang under systemd see also `tests/board`.

mod alone;
mod dimmed;
mod killed;
mod lost;
mod repeated;
mod stale;
mod toggled;
mod unreadable;

use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::common::gateway::Gateway;

/// Every movement of an output in the log, beside what is there usually.
const MOVEMENTS: (&str, &str) = ("RUST_LOG", "info,fieldgate::worker::output=debug");

/// How exactly a limit is kept.
const TOLERANCE: Duration = Duration::from_millis(50);

fn set(output: &str) -> String {
    format!("b/actuators/{output}/set")
}

fn reply(output: &str) -> String {
    format!("b/actuators/{output}/reply")
}

/// A switch on a line of the bus `bench`, safe when it is off.
fn switch(name: &str, line: usize, limits: &str) -> String {
    format!(
        "  {name}: {{ driver: gpio-output, bus: bench, settings: {{ line: GPIO{line} }}, safe_state: \"off\", {limits} }}\n"
    )
}

/// Buses, sensors and outputs of a configuration with one simulated bus that is seen from outside.
fn bench(outputs: &[String]) -> String {
    format!("buses: {{ bench: {{ type: sim, state_file: bench.json }} }}\nactuators:\n{}", outputs.concat())
}

/// How often an output was driven by a command.
fn movements(gateway: &Gateway, output: &str) -> usize {
    let log = gateway.log();
    log.lines().filter(|line| line.contains("Output set.") && line.contains(&format!("actuator={output} "))).count()
}

/// Commands that were answered so, by the log.
fn answered(gateway: &Gateway, words: &str) -> usize {
    gateway.log().lines().filter(|line| line.contains("Command answered.") && line.contains(words)).count()
}

/// Commands that the link counted as dropped, by the log.
fn counted(gateway: &Gateway) -> usize {
    let log = gateway.log();
    let count = log.rsplit_once(" commands came faster").and_then(|(before, _)| before.rsplit_once('"'));
    count.map_or(0, |(_, count)| count.parse().unwrap())
}

/// Commands of one output that were rejected, by health.
fn rejected(health: &Value, output: &str) -> u64 {
    health["actuators"][output]["rejected"].as_u64().unwrap()
}

/// How far `end` is from being so long after a moment between these two.
fn late_or_early((earliest, latest): (SystemTime, SystemTime), after: Duration, end: SystemTime) -> Duration {
    let early = (earliest + after).duration_since(end).unwrap_or_default();
    early.max(end.duration_since(latest + after).unwrap_or_default())
}

fn millis(time: Duration) -> String {
    format!("{:.0} ms", time.as_secs_f64() * 1e3)
}
