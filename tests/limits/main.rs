//! What outputs may do, when, and how often: the compiled program, simulated buses and a real Mosquitto.
//!
//! Times are taken from the state files, which the program replaces in the moment in which it drives a line.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::print_stderr, reason = "what is left out is said")]

#[path = "../common/mod.rs"]
mod common;

mod audit;
mod fresh;
mod hardware;
mod interlocks;
mod reloads;
mod times;

use std::time::{Duration, Instant, SystemTime};

use common::bench::Bench;
use common::watch::Span;
use common::{SOON, wait_until};
use serde_json::Value;

/// How exactly a limit is kept.
const TOLERANCE: Duration = Duration::from_millis(50);

/// File times come in steps of some milliseconds.
const STEP: Duration = Duration::from_millis(10);

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A switch of the configuration that is safe when it is off.
fn switch(name: &str, line: &str, limits: &str) -> String {
    on_bus("bench", name, line, &format!("safe_state: \"off\", {limits}"))
}

fn on_bus(bus: &str, name: &str, line: &str, rest: &str) -> String {
    format!("  {name}: {{ driver: gpio-output, bus: {bus}, settings: {{ line: {line} }}, {rest} }}\n")
}

/// Expects that something took as long as it should.
fn near(what: &str, span: Span, expected: Duration) {
    let took = span.lasted().unwrap_or_else(|| panic!("{what} does not end"));
    assert!(took.abs_diff(expected) < TOLERANCE + span.slack(), "{what}: {took:?} instead of {expected:?}");
}

fn pass(time: Duration) {
    let since = Instant::now();
    wait_until("time to pass", time + SOON, || since.elapsed() >= time);
}

fn reason(answer: &Value) -> &str {
    answer["reason"].as_str().unwrap_or_default()
}

/// Lines of the log that say this.
fn said(bench: &Bench, words: &str) -> Vec<String> {
    bench.gateway.log().lines().filter(|line| line.contains(words)).map(str::to_owned).collect()
}

/// When the state file of the usual bus was last replaced.
fn changed(bench: &Bench) -> SystemTime {
    bench.sim.version().1
}
