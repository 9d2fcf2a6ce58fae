//! Rules while there is no broker: the compiled program, simulated chips, and a port on which nothing listens.
//!
//! What is awaited is seen at the simulated hardware or in the log, the only places where it shows. What must not happen is looked for
//! after something that came later: another rule that follows the same sample.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test may panic, and says what it left out")]

#[path = "offline/limits.rs"]
mod limits;
#[path = "offline/unknown.rs"]
mod unknown;

use std::cell::Cell;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::client::Client;
use crate::common::gateway::Gateway;
use crate::common::mosquitto::{Mosquitto, Options};
use crate::common::ports::free_port;
use crate::common::quick::LONG;
use crate::common::running::config;
use crate::common::sim_file::SimFile;
use crate::common::tank::{CIRCLE, DEVICES, circle_devices};
use crate::common::wall_clock::WallClock;
use crate::common::{SOON, gateway, wait_until};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The program with these rules, and no broker.
struct Alone {
    gateway: Gateway,
    sim: SimFile,
    folder: TempDir,
    url: String,
    /// How long the log was when the temperature was set last.
    set_at: Cell<usize>,
}

impl Alone {
    fn start(rules: &str, degrees: f64) -> Self {
        Self::with(DEVICES, rules, degrees, &[])
    }

    fn with(devices: &str, rules: &str, degrees: f64, environment: &[(&str, &str)]) -> Self {
        Self::on(&json!({"temperature": degrees}), devices, rules, environment)
    }

    /// With a chip that is as `chip` says.
    fn on(chip: &Value, devices: &str, rules: &str, environment: &[(&str, &str)]) -> Self {
        let prepare = |folder: &Path| SimFile::new(folder.join("bench.json")).write(&json!({"chips": {"0x49": chip}}));
        Self::prepared(devices, rules, environment, prepare)
    }

    /// In a folder that is prepared before the start.
    fn prepared(devices: &str, rules: &str, environment: &[(&str, &str)], prepare: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path());
        let sim = SimFile::new(folder.path().join("bench.json"));
        let url = format!("mqtt://127.0.0.1:{}", free_port());
        let text = config(&url, "", &format!("{devices}{rules}"));
        let gateway = Gateway::with_env(folder.path(), &text, environment);
        Self { gateway, sim, folder, url, set_at: Cell::new(0) }
    }

    fn set(&self, degrees: f64) {
        self.set_at.set(self.gateway.log().len());
        self.sim.set_chip("0x49", "temperature", degrees);
    }

    fn wait_line(&self, line: &str, level: u64) {
        wait_until(&format!("level {level} on {line}; {}", self.gateway.log()), LONG, || {
            self.sim.line(line) == Some(level)
        });
    }

    /// Waits until the log says that a rule is at this, since the temperature was set: it may have been so before.
    fn wait_rule(&self, rule: &str, state: &str, why: &str) {
        let line = rule_line(rule, state, why);
        wait_until(&line, LONG, || self.gateway.log()[self.set_at.get()..].contains(&line));
    }

    fn reload(&self, rules: &str, times: usize) {
        self.reload_with(DEVICES, rules, times);
    }

    fn reload_with(&self, devices: &str, rules: &str, times: usize) {
        gateway::write_config(self.folder.path(), &config(&self.url, "", &format!("{devices}{rules}")));
        self.gateway.signal(Signal::HUP);
        wait_until("a reload", LONG, || self.gateway.log().matches("Configuration reloaded").count() == times);
    }
}

fn rule_line(rule: &str, state: &str, why: &str) -> String {
    format!("Rule changed. rule={rule} state=\"{state}\" why=\"{why}")
}

#[test]
fn between_its_two_conditions_a_rule_leaves_its_output_alone_and_it_ends_after_until_for() {
    let rules = "rules:
  heating: { when: tank.temperature < 19, until: tank.temperature > 21, until_for: 1s, set: { heater: on } }
  between: { when: tank.temperature > 19.5 and tank.temperature < 20.5, set: { other: on } }
";
    let alone = Alone::start(rules, 20.0);
    alone.wait_line("GPIO23", 1);
    assert_eq!(alone.sim.line("GPIO22"), Some(0), "it begins below 19");
    alone.set(18.0);
    alone.wait_line("GPIO22", 1);
    alone.wait_line("GPIO23", 0);
    alone.set(20.0);
    alone.wait_line("GPIO23", 1);
    assert_eq!(alone.sim.line("GPIO22"), Some(1), "it ends above 21");
    let before = Instant::now();
    alone.set(22.0);
    alone.wait_line("GPIO22", 0);
    assert!(before.elapsed() >= Duration::from_secs(1), "{:?}", before.elapsed());
}

#[test]
fn what_is_not_known_begins_nothing_and_ends_a_rule_after_lost() {
    let rules = "rules:
  heating: { when: not (tank.temperature > 19), lost: 1s, set: { heater: on } }
  alone: { when: not link.up, for: 1s, set: { other: on } }
";
    let alone = Alone::start(rules, 18.0);
    alone.wait_line("GPIO22", 1);
    let before = Instant::now();
    alone.sim.set_fault("0x49", Some("nak"));
    alone.wait_line("GPIO22", 0);
    assert!(before.elapsed() >= Duration::from_secs(1), "{:?}", before.elapsed());
    alone.wait_rule("heating", "inactive", "something that it names is not known");
    drop(alone);
    // The same with a chip that fails from the start: what has nothing to do with it begins, and it does not.
    let alone = Alone::on(&json!({"temperature": 18.0, "fault": "nak"}), DEVICES, rules, &[]);
    alone.wait_line("GPIO23", 1);
    assert_eq!(alone.sim.line("GPIO22"), Some(0));
    alone.sim.set_fault("0x49", None);
    alone.wait_line("GPIO22", 1);
}

#[test]
fn an_interlock_blocks_a_rule_which_says_why_and_acts_when_it_may() {
    let devices = DEVICES.replace("safe_after: 1s }\n  other", "safe_after: 1s, interlock: [other] }\n  other");
    let rules = "rules:
  one: { when: tank.temperature < 20, set: { heater: on } }
  two: { when: tank.temperature < 19 or tank.temperature > 30, set: { other: on } }
";
    let alone = Alone::with(&devices, rules, 19.5, &[]);
    alone.wait_line("GPIO22", 1);
    alone.set(18.0);
    alone.wait_rule("two", "blocked", "other: interlock: heater is on");
    assert_eq!(alone.sim.line("GPIO23"), Some(0));
    alone.set(31.0);
    alone.wait_line("GPIO23", 1);
    assert_eq!(alone.sim.line("GPIO22"), Some(0));
    alone.wait_rule("two", "active", "its condition holds");
}

#[test]
fn a_rule_with_more_outputs_than_a_bus_queues_orders_sets_them_all_at_once() {
    let (mut devices, mut set) = (DEVICES.to_owned(), Vec::new());
    for nth in 1..=20 {
        let line =
            format!("{{ driver: gpio-output, bus: bench, settings: {{ line: GPIO{nth} }}, safe_state: \"off\" }}");
        devices += &format!("  o{nth}: {line}\n");
        set.push(format!("o{nth}: on"));
    }
    // Twenty more on the same thread, so that the queue of a bus, which takes 16, is full twice.
    let more: Vec<_> = (30..50).map(|nth| format!("p{nth}: on")).collect();
    for nth in 30..50 {
        devices += &format!(
            "  p{nth}: {{ driver: gpio-output, bus: bench, settings: {{ line: GPIO{nth} }}, safe_state: \"off\" }}\n"
        );
    }
    let rules = format!(
        "rules:\n  all: {{ when: tank.temperature < 19, set: {{ {}, {} }} }}\n",
        set.join(", "),
        more.join(", ")
    );
    let alone = Alone::with(&devices, &rules, 18.0, &[]);
    for nth in (1..=20).chain(30..50) {
        alone.wait_line(&format!("GPIO{nth}"), 1);
    }
    let log = alone.gateway.log();
    assert!(!log.contains("blocked"), "{log}");
}

#[test]
fn of_two_rules_with_one_output_the_greater_priority_has_it_and_gives_it_back() {
    let devices = DEVICES.replace(
        "actuators:\n",
        "actuators:\n  lamp: { driver: pwm-output, bus: bench, settings: { channel: 0 }, safe_state: 0 }\n",
    );
    let rules = "rules:
  dim: { when: tank.temperature < 20, set: { lamp: 30 } }
  bright: { when: tank.temperature < 10, set: { lamp: 100 }, priority: 1 }
";
    let alone = Alone::with(&devices, rules, 15.0, &[]);
    for (degrees, percent) in [(15.0, 30.0), (5.0, 100.0), (15.0, 30.0), (25.0, 0.0), (5.0, 100.0), (25.0, 0.0)] {
        alone.set(degrees);
        alone.sim.wait_pwm("0", percent, LONG);
        if degrees < 10.0 {
            alone.wait_rule("dim", "blocked", "lamp: the rule bright has it");
        }
    }
}

#[test]
fn a_reload_leaves_the_times_of_a_rule_alone_that_is_the_same() {
    // Would `slow` begin again at the reload, it would come a second after `new`, which begins there.
    let slow = "  slow: { when: tank.temperature < 19, for: 4s, set: { heater: on } }\n";
    let step = "  step: { when: tank.temperature < 19, for: 2s, publish: { topic: events/step } }\n";
    let new = "  new: { when: tank.temperature < 19, for: 3s, set: { other: on } }\n";
    let alone = Alone::start(&format!("rules:\n{slow}{step}"), 18.0);
    alone.wait_rule("step", "active", "its condition holds");
    alone.reload(&format!("rules:\n{slow}{new}"), 1);
    alone.wait_line("GPIO23", 1);
    alone.wait_rule("new", "active", "its condition holds");
    let log = alone.gateway.log();
    let place = |rule| log.find(&rule_line(rule, "active", "its condition holds")).unwrap();
    assert!(place("slow") < place("new"), "{log}");
    assert_eq!(log.matches(&rule_line("slow", "waiting", "")).count(), 1, "{log}");
}

#[test]
fn two_rules_that_go_round_in_a_circle_are_stopped_with_a_warning() {
    let alone = Alone::with(&circle_devices(), CIRCLE, 20.0, &[]);
    alone.gateway.wait_log("WARN", LONG);
    alone.gateway.wait_log("Rule stopped: it goes round in a circle.", LONG);
    alone.wait_line("GPIO22", 0);
    alone.wait_line("GPIO23", 0);
    let log = alone.gateway.log();
    for rule in ["one", "two"] {
        let begun = log.matches(&rule_line(rule, "active", "")).count();
        assert!(begun <= 5, "{rule} began {begun} times; {log}");
    }
}

#[test]
fn what_a_rule_publishes_is_kept_over_a_kill_until_a_broker_has_it() {
    let rules = "rules: { cold: { when: tank.temperature < 10, publish: { topic: events/cold, payload: brr } } }\n";
    let folder = tempfile::tempdir().unwrap();
    let sim = SimFile::new(folder.path().join("bench.json"));
    sim.write(&json!({"chips": {"0x49": {"temperature": 9.0}}}));
    let mut broker = Mosquitto::with(Options::default());
    let url = broker.url();
    broker.stop();
    let text = config(&url, "", &format!("{DEVICES}{rules}")).replace("path: spool", "path: spool, commit_every: 0s");
    let mut gateway = Gateway::start(folder.path(), &text);
    gateway.wait_log(&rule_line("cold", "active", "its condition holds"), LONG);
    // The rule has published when it is stopped, and what is published is on disk when the program has ended.
    sim.set_chip("0x49", "temperature", 20.0);
    gateway.wait_log(&rule_line("cold", "inactive", "its condition does not hold"), LONG);
    gateway.stop(SOON);
    let mut gateway = Gateway::start(folder.path(), &text);
    gateway.wait_log("Gateway started", LONG);
    gateway.kill9();
    broker.start_again();
    let client = Client::subscribe(&broker.endpoint(), &["b/#"]);
    let _gateway = Gateway::start(folder.path(), &text);
    client.wait_for("b/events/cold", |payload| payload == "brr", LONG);
}

#[test]
fn what_was_set_and_switched_holds_after_a_kill_without_a_broker() {
    let rules = "variables: { target: { min: 5, max: 30, initial: 15 } }
rules:
  heating: { when: tank.temperature < target, set: { heater: on } }
  always: { when: 1 < 2, set: { other: on } }
";
    let folder = tempfile::tempdir().unwrap();
    let sim = SimFile::new(folder.path().join("bench.json"));
    sim.write(&json!({"chips": {"0x49": {"temperature": 20.0}}}));
    let mut broker = Mosquitto::with(Options::default());
    let client = Client::subscribe(&broker.endpoint(), &["b/#"]);
    let text =
        config(&broker.url(), "", &format!("{DEVICES}{rules}")).replace("path: spool", "path: spool, commit_every: 1h");
    let mut gateway = Gateway::start(folder.path(), &text);
    sim.wait_line("GPIO23", 1, LONG);
    client.wait_for("b/status", |status| status == "online", LONG);
    for (topic, value) in [("b/variables/target", json!(25)), ("b/rules/always", json!("off"))] {
        client.publish(&format!("{topic}/set"), &json!({"value": value, "id": "a"}).to_string(), false, 1);
        let answer = client.wait_json(&format!("{topic}/reply"), |answer| answer["id"] == "a", LONG);
        assert_eq!(answer["outcome"], "done", "{answer}");
    }
    gateway.kill9();
    broker.kill9();
    let gateway = Gateway::start(folder.path(), &text);
    gateway.wait_log(&rule_line("always", "inactive", "it is switched off"), LONG);
    sim.wait_line("GPIO22", 1, LONG);
    wait_until("the other output to be driven", LONG, || sim.line("GPIO23") == Some(0));
    assert!(!gateway.log().contains(&rule_line("always", "active", "")), "{}", gateway.log());
}

#[test]
fn the_clock_may_be_set_while_rules_name_the_time_of_day() {
    // Half an hour before the hour that the last Sunday of March 2026 does not have in Berlin.
    let before_spring = 1_774_745_998 - i64::try_from(now()).unwrap();
    let Some(clock) = WallClock::beside(before_spring - 1800) else {
        eprintln!("not tried: libfaketime is not installed");
        return;
    };
    let rules = "rules: { late: { when: time >= \"02:30\" and time < \"12:00\", set: { heater: on } } }\n";
    let zone = [("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")];
    let alone = Alone::with(DEVICES, rules, 20.0, &[&zone[..], &clock.environment()].concat());
    alone.wait_rule("late", "inactive", "its condition does not hold");
    // Two seconds before 02:00, which is 03:00.
    clock.set(before_spring);
    alone.wait_line("GPIO22", 1);
    // Back to the evening before, and on to the noon after.
    clock.set(before_spring - 6 * 3600);
    alone.wait_line("GPIO22", 0);
    clock.set(before_spring + 600);
    alone.wait_line("GPIO22", 1);
    clock.set(before_spring + 11 * 3600);
    alone.wait_line("GPIO22", 0);
    // Half past two of the day that has it twice: the first, two o'clock once more, and the second.
    let autumn = 1_792_888_200 - i64::try_from(now()).unwrap();
    for (minutes, level) in [(0, 1), (30, 0), (60, 1)] {
        clock.set(autumn + minutes * 60 + 5);
        alone.wait_line("GPIO22", level);
    }
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap().as_secs()
}
