//! Rules from outside: the compiled program, simulated chips and a real Mosquitto, or none.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test may panic, and says what it measured")]
#![allow(clippy::disallowed_methods, reason = "a test measures while it waits")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::common::client::{Client, Message};
use crate::common::gateway::Gateway;
use crate::common::ports::free_port;
use crate::common::quick::LONG;
use crate::common::running::{Running, config};
use crate::common::sim_file::SimFile;
use crate::common::tank::{CIRCLE, DEVICES, circle_devices};
use crate::common::{SOON, beside, pace, wait_until};
use serde_json::{Value, json};

const THERMOSTAT: &str = "rules:
  heating: { when: tank.temperature < 19, until: tank.temperature > 21, set: { heater: on } }
  event: { when: tank.temperature < 10, publish: { topic: events/cold, payload: brr } }
";

fn set_temperature(bench: &SimFile, degrees: f64) {
    bench.set_chip("0x49", "temperature", degrees);
}

fn running(rules: &str) -> Running {
    running_on(DEVICES, rules)
}

fn running_on(devices: &str, rules: &str) -> Running {
    Running::untouched(&format!("{devices}{rules}"), &[], |folder| {
        SimFile::new(folder.join("bench.json")).write(&json!({"chips": {"0x49": {"temperature": 20.0}}}));
    })
}

fn is_at(rules: &Value, rule: &str, state: &str) -> bool {
    rules[rule]["state"] == state
}

#[test]
fn a_rule_that_is_stopped_is_an_alarm_in_health_as_long_as_it_is_there() {
    let devices = circle_devices();
    let running = running_on(&devices, CIRCLE);
    running.gateway.wait_log("Rule stopped: it goes round in a circle.", LONG);
    // A reload publishes health at once, and the rules are the same.
    running.gateway.signal(rustix::process::Signal::HUP);
    let is_alarm = |health: &Value| health["rules"].as_object().is_some_and(|stopped| !stopped.is_empty());
    let health = running.client.wait_json("b/health", is_alarm, SOON);
    let stopped = health["rules"].as_object().unwrap();
    assert!(stopped.keys().all(|rule| rule == "one" || rule == "two"), "{health}");
    let why = "it changed 10 times within a minute and is stopped for 10 minutes";
    assert!(stopped.values().all(|alarm| alarm["error"] == why && alarm["since"].is_string()), "{health}");
    running.reload(&running.config("", &devices));
    // Health has it before this is published.
    running.client.wait_for("b/rules", str::is_empty, SOON);
    running.client.forget();
    running.gateway.signal(rustix::process::Signal::HUP);
    running.client.wait_json("b/health", |health| !is_alarm(health), SOON);
}

/// Switches a rule and returns the answer to this command.
fn switch(running: &Running, rule: &str, word: &str, id: &str) -> Value {
    running.client.forget();
    let command = json!({ "value": word, "id": id }).to_string();
    running.client.publish(&format!("b/rules/{rule}/set"), &command, false, 1);
    running.client.wait_json(&format!("b/rules/{rule}/reply"), |answer| answer["id"] == id, SOON)
}

#[test]
fn a_thermostat_switches_says_so_and_lets_go() {
    let running = running(THERMOSTAT);
    let rules = running.client.wait_json("b/rules", |rules| is_at(rules, "heating", "inactive"), SOON);
    assert_eq!(rules["heating"]["switch"], "on");
    let before = SystemTime::now();
    set_temperature(&running.sim, 18.0);
    running.sim.wait_line("GPIO22", 1, SOON);
    let state = running.client.wait_json("b/actuators/heater/state", |state| state["value"] == "on", SOON);
    assert_eq!((&state["cause"], &state["rule"]), (&json!("rule"), &json!("heating")));
    // A client that subscribes later gets it too, with the time since when.
    let late = Client::subscribe(&running.broker.endpoint(), &["b/rules"]);
    let is_active = |message: &Message| is_at(&message.json(), "heating", "active");
    let rules = late.wait_message("b/rules", is_active, SOON);
    let since = humantime::parse_rfc3339(rules.json()["heating"]["since"].as_str().unwrap()).unwrap();
    // A second for times in whole milliseconds and clocks that are corrected.
    let second = Duration::from_secs(1);
    assert!(rules.retain && since + second > before && since < SystemTime::now() + second, "{rules:?}");
    set_temperature(&running.sim, 22.0);
    running.sim.wait_line("GPIO22", 0, SOON);
    running.client.wait_json("b/rules", |rules| is_at(rules, "heating", "inactive"), SOON);
    set_temperature(&running.sim, 9.0);
    running.client.wait_for("b/events/cold", |payload| payload == "brr", SOON);
}

/// As `fieldgate rules --replay` says, where one comes behind the other too.
#[test]
fn two_rules_that_toggle_one_output_at_the_same_moment_toggle_it_twice() {
    let running = running(
        "rules:
  one: { when: tank.temperature < 19, toggle: [heater] }
  two: { when: tank.temperature < 19, toggle: [heater] }
  three: { when: tank.temperature < 15, toggle: [heater] }
",
    );
    set_temperature(&running.sim, 18.0);
    running.client.wait_json("b/rules", |rules| is_at(rules, "one", "active") && is_at(rules, "two", "active"), SOON);
    running.sim.wait_line("GPIO22", 0, SOON);
    set_temperature(&running.sim, 14.0);
    running.client.wait_json("b/rules", |rules| is_at(rules, "three", "active"), SOON);
    running.sim.wait_line("GPIO22", 1, SOON);
}

#[test]
fn a_sensor_that_fails_ends_a_rule() {
    let running = running(THERMOSTAT);
    set_temperature(&running.sim, 18.0);
    running.sim.wait_line("GPIO22", 1, SOON);
    running.sim.set_fault("0x49", Some("nak"));
    running.sim.wait_line("GPIO22", 0, SOON);
    let unknown = |rules: &Value| rules["heating"]["why"] == "something that it names is not known";
    running.client.wait_json("b/rules", unknown, SOON);
}

#[test]
fn without_a_broker_rules_go_on_and_what_they_own_is_not_made_safe() {
    let folder = tempfile::tempdir().unwrap();
    let bench = SimFile::new(folder.path().join("bench.json"));
    bench.write(&json!({"chips": {"0x49": {"temperature": 18.0}}}));
    let rules = "rules:
  heating: { when: tank.temperature < 19, until: tank.temperature > 21, set: { heater: on } }
  alone: { when: not link.up, for: 2s, set: { other: on } }
";
    let url = format!("mqtt://127.0.0.1:{}", free_port());
    let mut gateway = Gateway::start(folder.path(), &config(&url, "", &format!("{DEVICES}{rules}")));
    bench.wait_line("GPIO22", 1, SOON);
    // That takes longer than safe_after, which has never heard of a broker.
    bench.wait_line("GPIO23", 1, SOON);
    let made_safe = || gateway.log().contains("Output returned to its safe state.");
    assert!(!made_safe(), "{}", gateway.log());
    // It may be off for a moment, by the rule, when the machine was too slow for the sensor.
    bench.wait_line("GPIO22", 1, SOON);
    set_temperature(&bench, 22.0);
    bench.wait_line("GPIO22", 0, SOON);
    set_temperature(&bench, 18.0);
    bench.wait_line("GPIO22", 1, SOON);
    gateway.stop(SOON);
    assert_eq!((bench.line("GPIO22"), bench.line("GPIO23")), (Some(0), Some(0)), "at the stop all is safe");
}

#[test]
fn a_command_takes_over_unless_the_rule_lets_nobody() {
    let rules = "rules:
  heating: { when: tank.temperature < 19, set: { heater: on } }
  guarded: { when: tank.temperature < 19, set: { other: on }, manual: never }
";
    let running = running(rules);
    set_temperature(&running.sim, 18.0);
    running.sim.wait_line("GPIO22", 1, SOON);
    running.sim.wait_line("GPIO23", 1, SOON);
    running.client.wait_json("b/rules", |rules| is_at(rules, "guarded", "active"), SOON);
    running.client.publish("b/actuators/other/set", "off", false, 1);
    let reply = running.client.wait_json("b/actuators/other/reply", |_| true, SOON);
    assert_eq!(reply["reason"], "busy: the rule guarded has this output, and lets no command take it");
    running.client.publish("b/actuators/heater/set", "off", false, 1);
    running.sim.wait_line("GPIO22", 0, SOON);
    let why = "heater: a command from outside has taken it over";
    running.client.wait_json("b/rules", |rules| rules["heating"]["why"] == why, SOON);
    running.client.forget();
    set_temperature(&running.sim, 20.0);
    running.client.wait_json("b/rules", |rules| is_at(rules, "heating", "inactive"), SOON);
    set_temperature(&running.sim, 18.0);
    running.sim.wait_line("GPIO22", 1, SOON);
}

#[test]
fn a_rule_that_is_refused_is_blocked_and_acts_when_it_may() {
    let devices = DEVICES.replace("safe_after: 1s }\n  other", "safe_after: 1s, min_off: 2s }\n  other");
    let rules = "rules: { heating: { when: tank.temperature < 19, set: { heater: on } } }\n";
    let running = Running::untouched(&format!("{devices}{rules}"), &[], |folder| {
        SimFile::new(folder.join("bench.json")).write(&json!({"chips": {"0x49": {"temperature": 18.0}}}));
    });
    let blocked = |rules: &Value| {
        let why = rules["heating"]["why"].as_str().unwrap_or_default();
        is_at(rules, "heating", "blocked") && why.starts_with("heater: limit: ")
    };
    running.client.wait_json("b/rules", blocked, SOON);
    running.sim.wait_line("GPIO22", 1, SOON);
    running.client.wait_json("b/rules", |rules| is_at(rules, "heating", "active"), SOON);
}

#[test]
fn max_on_takes_an_output_from_a_rule_until_its_condition_changes() {
    let devices = DEVICES.replace("safe_after: 1s }\n  other", "safe_after: 1s, max_on: 500ms }\n  other");
    let running = Running::untouched(&format!("{devices}{THERMOSTAT}"), &[], |folder| {
        SimFile::new(folder.join("bench.json")).write(&json!({"chips": {"0x49": {"temperature": 18.0}}}));
    });
    let why = "heater: made safe by max_on, until the condition changes";
    running.client.wait_json("b/rules", |rules| rules["heating"]["why"] == why, SOON);
    running.sim.wait_line("GPIO22", 0, SOON);
}

#[test]
fn a_rule_is_switched_off_and_on_and_a_reload_takes_others() {
    let running = running(THERMOSTAT);
    set_temperature(&running.sim, 18.0);
    running.sim.wait_line("GPIO22", 1, SOON);
    let refused = |rule, word, reason: &str| {
        let answer = switch(&running, rule, word, word);
        assert_eq!((&answer["outcome"], &answer["reason"]), (&"rejected".into(), &reason.into()), "{answer}");
    };
    refused("heating", "maybe", "unreadable: a rule takes on or off");
    refused("nobody", "off", "unknown: there is no rule called nobody");
    let answer = switch(&running, "heating", "off", "a1");
    assert_eq!((&answer["outcome"], &answer["value"]), (&"done".into(), &"off".into()), "{answer}");
    running.sim.wait_line("GPIO22", 0, SOON);
    running.client.wait_json("b/rules", |rules| rules["heating"]["switch"] == "off", SOON);
    assert_eq!(switch(&running, "heating", "ON", "a2")["value"], "on");
    running.sim.wait_line("GPIO22", 1, SOON);
    assert_eq!(switch(&running, "heating", "off", "a1"), answer, "a repeat gets the first answer");
    assert_eq!(running.sim.line("GPIO22"), Some(1), "and switches nothing");
    let rules = "rules: { cooling: { when: tank.temperature < 19, set: { other: on } } }\n";
    running.reload(&running.config("", &format!("{DEVICES}{rules}")));
    running.sim.wait_line("GPIO22", 0, SOON);
    running.sim.wait_line("GPIO23", 1, SOON);
    running.reload(&running.config("", DEVICES));
    running.sim.wait_line("GPIO23", 0, SOON);
    wait_until("the rules are cleared", SOON, || {
        running.client.all("b/rules").last().is_some_and(|m| m.payload.is_empty())
    });
}

/// Starts the program again, waits until commands arrive, and returns what the rules are at.
fn at_the_start(running: &mut Running) -> Value {
    // The last that is heard of the life before.
    running.client.wait_for("b/status", |status| status == "offline", SOON);
    running.client.forget();
    running.restart();
    running.client.wait_for("b/status", |status| status == "online", SOON);
    running.client.wait_json("b/rules", |_| true, SOON)
}

#[test]
fn a_switch_that_was_answered_survives_a_kill_right_after_the_answer_and_a_stop() {
    // A commit in an hour: what is on disk after a kill was written for the switch's sake.
    let rules = "rules:
  heating: { when: tank.temperature < 19, set: { heater: on } }
  always: { when: 1 < 2, set: { other: on } }
";
    let mut running = running(rules);
    let text = running.config("", &format!("{DEVICES}{rules}")).replace("path: spool", "path: spool, commit_every: 1h");
    running.reload(&text);
    set_temperature(&running.sim, 18.0);
    running.sim.wait_line("GPIO22", 1, SOON);
    running.sim.wait_line("GPIO23", 1, SOON);
    for (life, switched) in ["off", "on", "off"].into_iter().enumerate() {
        for rule in ["heating", "always"] {
            let answer = switch(&running, rule, switched, &life.to_string());
            assert_eq!(answer["outcome"], "done", "{answer}");
        }
        if life == 1 {
            running.gateway.stop(SOON);
        } else {
            running.gateway.kill9();
        }
        let rules = at_the_start(&mut running);
        for rule in ["heating", "always"] {
            assert_eq!(rules[rule]["switch"], switched, "{rules}");
        }
        if switched == "on" {
            running.sim.wait_line("GPIO22", 1, SOON);
            running.sim.wait_line("GPIO23", 1, SOON);
        } else {
            // What has been sampled could have begun them.
            running.client.wait_json("b/sensors/tank", |reading| reading["temperature"] == 18.0, SOON);
            let states = ["heater", "other"].map(|output| running.client.all(&format!("b/actuators/{output}/state")));
            let by_rules = states.iter().flatten().filter(|state| state.json()["cause"] == "rule").count();
            assert_eq!(by_rules, 0, "no rule that is off acts at the start, not even for a moment");
        }
    }
    running.gateway.kill9();
}

#[test]
fn a_switch_outlives_a_reload_without_its_rule() {
    let running = running(THERMOSTAT);
    set_temperature(&running.sim, 18.0);
    running.sim.wait_line("GPIO22", 1, SOON);
    assert_eq!(switch(&running, "heating", "off", "a")["outcome"], "done");
    running.reload(&running.config("", DEVICES));
    running.client.forget();
    running.reload(&running.config("", &format!("{DEVICES}{THERMOSTAT}")));
    let rules = running.client.wait_json("b/rules", |rules| rules["heating"].is_object(), SOON);
    assert_eq!((&rules["heating"]["switch"], &rules["heating"]["state"]), (&"off".into(), &"inactive".into()));
}

#[test]
fn a_rule_follows_a_variable_at_once_and_after_a_kill() {
    let rules = "variables:
  target: { min: 5, max: 30, step: 0.5, initial: 15, unit: °C }
  mode: { options: [home, away], initial: home }
rules: { heating: { when: mode == \"home\" and tank.temperature < target, set: { heater: on } } }
";
    let mut running = running(rules);
    running.client.wait_json("b/rules", |rules| is_at(rules, "heating", "inactive"), SOON);
    let set = |running: &Running, variable: &str, value: Value, id: &str| {
        let command = json!({ "value": value, "id": id }).to_string();
        running.client.publish(&format!("b/variables/{variable}/set"), &command, false, 1);
        let topic = format!("b/variables/{variable}/reply");
        let answer = running.client.wait_json(&topic, |answer| answer["id"] == id, SOON);
        assert_eq!(answer["outcome"], "done", "{answer}");
    };
    set(&running, "target", json!(21.5), "a");
    running.sim.wait_line("GPIO22", 1, SOON);
    set(&running, "mode", json!("away"), "b");
    running.sim.wait_line("GPIO22", 0, SOON);
    set(&running, "mode", json!("home"), "c");
    running.gateway.kill9();
    let _rules = at_the_start(&mut running);
    running.sim.wait_line("GPIO22", 1, SOON);
}

/// So many rules begin one after the other, each by the next twentieth sample of a sensor that is read every 2 ms.
const STEPS: usize = 100;

/// The first of them, so that the start is over.
const FIRST: usize = 500;

fn moment(json: &Value) -> SystemTime {
    humantime::parse_rfc3339(json["time"].as_str().unwrap()).unwrap()
}

/// What 99 of 100 must keep to.
const AT_MOST: Duration = Duration::from_millis(10);

/// A machine whose threads were late by more in a round, or whose hand-overs take longer, is too busy to judge all of it.
const QUIET: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(2));

/// Rounds at most; one that keeps to it is enough.
const ROUNDS: usize = 3;

/// Hands a byte to another process and back, again and again until `stop`, and returns the 99th of a hundred of the times that this took.
/// It is what the program does between a sample and an output, without the program.
fn bare_hand_over(stop: &AtomicBool) -> Duration {
    let mut cat = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut to, mut from) = (cat.stdin.take().unwrap(), cat.stdout.take().unwrap());
    let mut times = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        to.write_all(b"x").unwrap();
        from.read_exact(&mut [0]).unwrap();
        times.push(begun.elapsed());
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(to);
    cat.wait().unwrap();
    times.sort();
    times[times.len() * 99 / 100]
}

/// 99 of 100 keep to 10 ms and what a bare hand-over to another process takes in the same round. Where a round does not, another one says
/// whether that was the machine: on a quiet one none may miss it by more than the machine was late by. On a busy one half of them must
/// keep to that.
#[test]
fn of_a_hundred_outputs_ninety_nine_follow_their_sample_within_ten_milliseconds() {
    let mut said = String::new();
    let (mut is_late, mut half_keep_to_it) = (false, false);
    for _ in 0..ROUNDS {
        let Round { median, ninety_ninth, floor, slack } = Round::run();
        said += &format!(
            "median {median:?}, 99 % {ninety_ninth:?}, bare hand-over {floor:?}, the machine late by {slack:?}\n"
        );
        if ninety_ninth <= AT_MOST + floor {
            eprintln!("from sample to output:\n{said}");
            return;
        }
        is_late |= slack <= QUIET.0 && floor <= QUIET.1 && ninety_ninth > AT_MOST + floor + slack;
        half_keep_to_it |= median <= AT_MOST + floor + slack;
    }
    assert!(half_keep_to_it && !is_late, "{said}");
    eprintln!("the machine is too busy to judge 99 of 100 from sample to output:\n{said}");
}

/// What one round has shown.
struct Round {
    median: Duration,
    ninety_ninth: Duration,
    /// 99 of 100 bare hand-overs.
    floor: Duration,
    /// What the machine was late by.
    slack: Duration,
}

impl Round {
    fn run() -> Self {
        let begun = Instant::now();
        let (floor, mut delays) = beside(bare_hand_over, follow);
        delays.sort();
        let (median, ninety_ninth) = (delays[STEPS / 2], delays[STEPS * 99 / 100 - 1]);
        Self { median, ninety_ninth, floor, slack: pace::slack(begun) }
    }
}

/// For each output how long after its sample it followed. On a busy machine a sample may be too late to be known for three periods.
fn follow() -> Vec<Duration> {
    let mut text = String::from(
        "buses: { bench: { type: sim, state_file: bench.json } }\nsensors:\n  n: { driver: waveform, every: 2ms, settings: { shape: counter } }\nactuators:\n",
    );
    for nth in 1..=STEPS {
        text += &format!(
            "  o{nth}: {{ driver: gpio-output, bus: bench, settings: {{ line: GPIO{nth} }}, safe_state: \"off\" }}\n"
        );
    }
    let sample_of = |nth: usize| FIRST + nth * 20;
    text += "rules:\n";
    for nth in 1..=STEPS {
        text += &format!("  r{nth}: {{ when: n.value >= {}, lost: 1m, set: {{ o{nth}: on }} }}\n", sample_of(nth));
    }
    let running = Running::untouched(&text, &[], |_| ());
    let state = |nth: usize| {
        running.client.wait_json(&format!("b/actuators/o{nth}/state"), |state| state["value"] == "on", LONG)
    };
    let on: Vec<_> = (1..=STEPS).map(|nth| moment(&state(nth))).collect();
    running.wait_seq(sample_of(STEPS) as u64 + 1);
    let readings: Vec<_> = running.client.all("b/sensors/n").iter().map(|message| message.json()).collect();
    let taken: BTreeMap<_, _> =
        readings.iter().map(|reading| (reading["value"].as_u64().unwrap(), moment(reading))).collect();
    let first_of = |nth: usize| *taken.range(sample_of(nth) as u64..).next().unwrap().1;
    on.iter().zip(1..).map(|(on, nth)| on.duration_since(first_of(nth)).unwrap_or_default()).collect()
}
