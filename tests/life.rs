//! Start, reload, faults and end of the compiled program, as systemd, a person and the outputs see it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::common::client::Client;
use crate::common::gateway::{self, Gateway};
use crate::common::mosquitto::Mosquitto;
use crate::common::notify::NotifySocket;
use crate::common::pace::{longest_gap, slack};
use crate::common::running::{DEVICES, Running, config, devices};
use crate::common::scripted::{Script, ScriptedBroker};
use crate::common::sim_file::SimFile;
use crate::common::{SOON, beside, free_port, wait_for, wait_until};
use rustix::process::Signal;
use serde_json::Value;

const TWO_SECONDS: Duration = Duration::from_secs(2);

#[test]
fn systemd_is_notified_of_every_step() {
    let folder = tempfile::tempdir().unwrap();
    let socket = NotifySocket::listen(folder.path());
    let text = config(&format!("mqtt://127.0.0.1:{}", free_port()), "", &devices());
    let environment = [socket.variable(), ("WATCHDOG_USEC", "2000000")];
    let started = Instant::now();
    let mut gateway = Gateway::with_env(folder.path(), &text, &environment);
    let ready = socket.wait("READY=1", 0, TWO_SECONDS);
    assert!(socket.all()[ready].0 - started < TWO_SECONDS + slack(started), "ready without a broker");
    socket.wait("STATUS=link down: connection to 127.0.0.1:", 0, SOON);
    let fed = || socket.all().into_iter().filter(|(_, text)| text.contains("WATCHDOG=1")).map(|(at, _)| at);
    wait_until("the watchdog to be fed", SOON, || fed().count() >= 5);
    let fed: Vec<Instant> = fed().collect();
    longest_gap(&fed, TWO_SECONDS / 2, "more than half of the period");
    let before = socket.all().len();
    gateway.signal(Signal::HUP);
    let reloading = socket.wait("RELOADING=1", before, SOON);
    let text = &socket.all()[reloading].1;
    let stamp = text.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).unwrap();
    assert!(stamp.parse::<u64>().unwrap() > 0, "{text}");
    socket.wait("READY=1", reloading + 1, SOON);
    gateway.signal(Signal::TERM);
    socket.wait("STOPPING=1", reloading, SOON);
    assert_eq!(gateway.wait_exit(SOON), 0);
}

#[test]
fn a_sensor_that_fails_is_degraded_then_down_and_then_well_again() {
    let running = Running::start();
    let other = SimFile::new(running.folder.path().join("other.json"));
    let wait = |word: &str| running.client.wait_json("b/sensors/air/status", |status| status["status"] == word, SOON);
    wait("ok");
    running.client.forget();
    other.set_fault("0x76", Some("nak"));
    let (degraded, down) = (wait("degraded"), wait("down"));
    for status in [degraded, down] {
        assert!(status["error"].as_str().is_some_and(|words| words.contains("0x76")), "{status}");
    }
    running.client.forget();
    other.set_fault("0x76", None);
    assert_eq!(wait("ok")["error"], Value::Null);
    let readings = || running.client.all("b/sensors/air").into_iter().map(|m| m.json()["seq"].as_u64().unwrap());
    wait_until("readings again", SOON, || readings().count() >= 3);
    let seqs: Vec<u64> = readings().collect();
    assert!(seqs.windows(2).all(|pair| pair[1] == pair[0] + 1), "a failed sampling takes no number: {seqs:?}");
}

#[test]
fn a_reload_adds_removes_and_changes_and_leaves_the_rest_alone() {
    let with_old = devices()
        .replace(
            "sensors:\n",
            "sensors:\n  old: { driver: waveform, every: 100ms, retain: true, settings: { shape: sine } }\n",
        )
        .replace(
            "actuators:\n",
            "actuators:\n  gone: { driver: gpio-output, bus: bench, settings: { line: GPIO5 }, safe_state: \"off\" }\n",
        );
    let mut running = Running::with(&with_old, &[]);
    for topic in ["b/sensors/old", "b/sensors/old/status", "b/actuators/gone/state"] {
        running.client.wait_message(topic, |_| true, SOON);
    }
    running.client.publish("b/actuators/gone/set", "on", false, 1);
    running.sim.wait_line("GPIO5", 1, SOON);
    let seq = running.seq();
    running.client.forget();
    let new = devices()
        .replace("every: 100ms", "every: 60ms")
        .replace("sensors:\n", "sensors:\n  fresh: { driver: waveform, every: 100ms, settings: { shape: sine } }\n");
    let looked = AtomicBool::new(false);
    let watch = |is_over: &AtomicBool| {
        let mut levels = Vec::new();
        while !is_over.load(Ordering::Relaxed) {
            levels.push(running.sim.line("GPIO27"));
            looked.store(true, Ordering::Relaxed);
            std::thread::yield_now();
        }
        levels
    };
    let (levels, ()) = beside(watch, || {
        wait_until("the first look", SOON, || looked.load(Ordering::Relaxed));
        running.reload(&running.config("", &new));
        running.sim.wait_line("GPIO5", 0, SOON);
        running.client.wait_json("b/sensors/fresh", |reading| reading["seq"] == 1, SOON);
    });
    let other: Vec<_> = levels.iter().filter(|level| **level != Some(1)).collect();
    assert!(other.is_empty(), "the pump flickered: {other:?} of {}", levels.len());
    for topic in ["b/sensors/old", "b/sensors/old/status", "b/actuators/gone/state"] {
        running.client.wait_for(topic, str::is_empty, SOON);
    }
    running.wait_seq(seq + 20);
    let seqs: Vec<u64> =
        running.client.all("b/sensors/n").iter().map(|reading| reading.json()["seq"].as_u64().unwrap()).collect();
    assert!(seqs.windows(2).all(|pair| pair[1] == pair[0] + 1), "{seqs:?}");
    assert!(running.client.all("b/actuators/pump/state").is_empty(), "nothing happened to the pump");
    let devices = running.client.wait_json("b/devices", |devices| devices["sensors"]["fresh"].is_object(), SOON);
    assert!(devices["sensors"]["old"].is_null() && devices["sensors"]["air"]["every"] == 0.06, "{devices}");
    assert_eq!(running.broker.log().matches("as fieldgate-").count(), 1, "the link was left alone");
    let kept = Client::subscribe(&running.broker.endpoint(), &["b/#"]);
    kept.wait_message("b/sensors/fresh/status", |_| true, SOON);
    kept.wait_message("b/sensors/n", |_| true, SOON);
    for topic in ["b/sensors/old", "b/sensors/old/status", "b/actuators/gone/state"] {
        assert!(kept.all(topic).is_empty(), "{topic} is still kept");
    }
    running.gateway.stop(SOON);
}

#[test]
fn a_reading_that_waited_does_not_fill_a_cleared_topic_again() {
    let old = "sensors:\n  old: { driver: waveform, every: 50ms, retain: true, settings: { shape: counter } }\n";
    let mut running = Running::with(&devices().replace("sensors:\n", old), &[]);
    running.client.wait_json("b/sensors/old", |_| true, SOON);
    let port = running.broker.port;
    running.broker.stop();
    running.gateway.wait_log("No connection", SOON);
    let since = Instant::now();
    wait_until("readings to wait", SOON, || since.elapsed() > Duration::from_millis(500));
    running.reload(&running.config("", &devices()));
    let broker = ScriptedBroker::start_on(port, vec![Script::good()]);
    broker.wait_publish("a live reading", |publish| publish.topic == "b/sensors/n", SOON);
    broker.wait_publish(
        "the old sensor's",
        |publish| publish.topic == "b/sensors/old" && !publish.payload.is_empty(),
        SOON,
    );
    running.gateway.stop(SOON);
    let kept =
        broker.publishes().into_iter().rfind(|publish| publish.topic == "b/sensors/old" && publish.retain).unwrap();
    assert_eq!(kept.text(), "", "the last that the broker keeps clears the topic");
}

#[test]
fn a_bad_file_changes_nothing_and_its_problems_are_in_the_log() {
    let running = Running::start();
    let seq = running.seq();
    running.reload(&running.config("", &devices().replace("bme280", "bme208").replace("every: 50ms", "every: 50")));
    running.gateway.wait_log("no driver is called \"bme208\"", SOON);
    running.gateway.wait_log("the old one stays", SOON);
    let log = running.gateway.log();
    assert!(log.contains("did you mean") && log.contains("problems=2"), "{log}");
    running.wait_seq(seq + 20);
    assert_eq!(running.sim.line("GPIO27"), Some(1));
    running.client.publish("b/actuators/pump/set", "off", false, 1);
    running.sim.wait_line("GPIO27", 0, SOON);
    std::fs::remove_file(running.folder.path().join("fieldgate.yaml")).unwrap();
    running.gateway.signal(Signal::HUP);
    wait_until("a second refusal", SOON, || running.gateway.log().matches("the old one stays").count() == 2);
    let seq = running.seq();
    running.wait_seq(seq + 5);
}

#[test]
fn a_new_base_topic_moves_everything() {
    let kept = "sensors:\n  kept: { driver: waveform, every: 100ms, retain: true, settings: { shape: sine } }\n";
    let rest = devices().replace("sensors:\n", kept);
    let mut running = Running::with(&rest, &[]);
    running.client.wait_json("b/sensors/kept", |_| true, SOON);
    running.client.wait_json("b/sensors/air/status", |_| true, SOON);
    let moved = running.config("", &rest).replace("base_topic: b,", "base_topic: c,");
    running.client.forget();
    running.reload(&moved);
    running.client.wait_for("c/status", |word| word == "online", SOON);
    let reading = running.client.wait_json("c/sensors/n", |_| true, SOON);
    running.client.wait_json("c/sensors/kept", |_| true, SOON);
    assert!(reading["seq"].as_u64().unwrap() > 1, "the numbers go on: {reading}");
    let old = ["b/status", "b/health", "b/devices", "b/sensors/air/status", "b/actuators/pump/state", "b/sensors/kept"];
    for topic in old {
        running.client.wait_for(topic, str::is_empty, SOON);
    }
    assert_eq!(running.sim.line("GPIO27"), Some(1));
    running.client.publish("c/actuators/pump/set", "off", false, 1);
    running.sim.wait_line("GPIO27", 0, SOON);
    let kept = Client::subscribe(&running.broker.endpoint(), &["b/#", "c/#"]);
    for topic in old {
        let new = topic.replacen('b', "c", 1);
        kept.wait_message(&new, |message| message.retain, SOON);
        assert!(kept.all(topic).is_empty(), "{topic} is still kept");
    }
    running.gateway.stop(SOON);
}

#[test]
fn a_new_broker_gets_what_follows_and_the_old_one_is_left_orderly() {
    let mut running = Running::start();
    let second = Mosquitto::start();
    let client = Client::subscribe(&second.endpoint(), &["b/#"]);
    running.reload(&config(&second.url(), "", &devices()));
    running.client.wait_for("b/status", |word| word == "offline", SOON);
    client.wait_for("b/status", |word| word == "online", SOON);
    client.wait_json("b/actuators/pump/state", |state| state["value"] == "on", SOON);
    client.wait_json("b/sensors/air/status", |_| true, SOON);
    client.wait_json("b/sensors/n", |_| true, SOON);
    running.gateway.stop(SOON);
    let seqs = |client: &Client| {
        let all = client.all("b/sensors/n").into_iter();
        all.map(|reading| reading.json()["seq"].as_u64().unwrap()).collect::<Vec<u64>>()
    };
    let mut all = [seqs(&running.client), seqs(&client)].concat();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len() as u64, all[all.len() - 1], "holes in {all:?}");
}

/// A program that is stopping, and will be for two seconds, since its broker does not answer.
fn stopping() -> Running {
    let running = Running::start();
    running.broker.freeze();
    running.gateway.signal(Signal::TERM);
    running.gateway.wait_log("Stopping.", SOON);
    running
}

#[test]
fn a_signal_that_comes_twice_at_once_does_not_cut_the_stop_short() {
    let mut running = stopping();
    running.gateway.signal(Signal::TERM);
    assert_eq!(running.gateway.wait_exit(SOON), 0, "{}", running.gateway.log());
    assert_eq!(running.sim.line("GPIO27"), Some(0));
}

#[test]
fn a_second_signal_that_comes_later_ends_the_program_at_once() {
    let mut running = stopping();
    let begun = Instant::now();
    wait_until("more than half a second to pass", SOON, || begun.elapsed() > Duration::from_millis(700));
    running.gateway.signal(Signal::INT);
    let asked = Instant::now();
    assert_eq!(running.gateway.wait_exit(SOON), 1, "{}", running.gateway.log());
    assert!(asked.elapsed() < Duration::from_millis(500) + slack(asked), "{:?}", asked.elapsed());
    wait_until("why in the log", SOON, || running.gateway.log().contains("by a second signal"));
}

/// Switches the output on, ends the program as a power cut does, and shows that the output stayed.
fn left_on(name: &str) -> Running {
    let mut running = Running::start();
    running.gateway.kill9();
    assert_eq!(running.sim.line("GPIO27"), Some(1), "{name}");
    running
}

fn break_file(folder: &Path) {
    gateway::write_config(folder, "mqtt: [ broken");
}

#[test]
fn a_broken_file_ends_with_78_and_outputs_are_made_safe_by_the_last_good_table() {
    let running = left_on("run");
    break_file(running.folder.path());
    let mut again = Gateway::run(&running.folder.path().join("fieldgate.yaml"), &[]);
    assert_eq!(again.wait_exit(TWO_SECONDS), 78);
    assert_eq!(running.sim.line("GPIO27"), Some(0));
    wait_until("the place of the error", SOON, || again.log().contains("fieldgate.yaml:1:"));
}

#[test]
fn safe_state_works_after_a_kill_and_also_when_the_file_is_broken_meanwhile() {
    for broken in [false, true] {
        let running = left_on("safe-state");
        if broken {
            break_file(running.folder.path());
        }
        let file = running.folder.path().join("fieldgate.yaml");
        let arguments = ["safe-state", "--config", file.to_str().unwrap()];
        let output = gateway::command(running.folder.path(), &arguments, TWO_SECONDS);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(running.sim.line("GPIO27"), Some(0));
    }
}

/// How soon after a kill an output must be safe. What systemd takes to notice and to start `safe-state` is measured on the
/// emulated board.
const AFTER_A_KILL: Duration = Duration::from_millis(500);

#[test]
fn safe_state_is_done_in_half_a_second() {
    for _ in 0..5 {
        let running = left_on("in time");
        let (folder, begun) = (running.folder.path(), Instant::now());
        let file = folder.join("fieldgate.yaml");
        assert!(gateway::command(folder, &["safe-state", "--config", file.to_str().unwrap()], SOON).status.success());
        assert_eq!(running.sim.line("GPIO27"), Some(0));
        assert!(begun.elapsed() < AFTER_A_KILL + slack(begun), "{:?}", begun.elapsed());
    }
}

/// An output in front of the pump in the table, on a bus of its own.
const DIMMER: &str = "
  adimmer: { driver: pca9685, bus: stuck, settings: { channel: 3 }, safe_state: 20 }
";

#[test]
fn safe_state_does_not_wait_for_a_bus_that_hangs() {
    let buses = "buses:\n  stuck: { type: sim, state_file: stuck.json }\n";
    let rest = devices().replace("buses:\n", buses).replace("actuators:\n", &format!("actuators:{DIMMER}"));
    let mut running = Running::with(&rest, &[]);
    running.gateway.kill9();
    let stuck = SimFile::new(running.folder.path().join("stuck.json"));
    stuck.set_fault("0x40", Some("hang"));
    let (folder, begun) = (running.folder.path(), Instant::now());
    let file = folder.join("fieldgate.yaml");
    std::thread::scope(|scope| {
        let end = scope.spawn(|| gateway::command(folder, &["safe-state", "--config", file.to_str().unwrap()], SOON));
        running.sim.wait_line("GPIO27", 0, TWO_SECONDS);
        assert!(begun.elapsed() < AFTER_A_KILL + slack(begun), "{:?}", begun.elapsed());
        let output = end.join().unwrap();
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{log}");
        assert!(log.contains("its bus hangs") && log.contains("adimmer"), "{log}");
    });
}

#[test]
fn without_a_table_safe_state_reads_the_file() {
    let running = left_on("no table");
    std::fs::remove_dir_all(running.folder.path().join("run")).unwrap();
    let file = running.folder.path().join("fieldgate.yaml");
    let arguments = ["safe-state", "--config", file.to_str().unwrap()];
    assert!(gateway::command(running.folder.path(), &arguments, TWO_SECONDS).status.success());
    assert_eq!(running.sim.line("GPIO27"), Some(0));
}

#[test]
fn an_output_that_a_reload_removed_is_no_longer_in_the_last_good_table() {
    let running = Running::start();
    running.reload(&running.config("", DEVICES));
    running.sim.wait_line("GPIO27", 0, SOON);
    let table = || {
        let entry = std::fs::read_dir(running.folder.path().join("run")).unwrap().next().unwrap().unwrap();
        // While it is replaced there may be none, or a part of one.
        let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
        serde_json::from_str::<serde_json::Value>(&text).ok()
    };
    wait_until("the new table", SOON, || table().is_some_and(|table| table["outputs"] == serde_json::json!([])));
}

/// As a user for whom the kernel counts threads, which it does not for root.
fn as_nobody() -> Vec<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return vec!["env"];
    }
    vec!["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
}

#[test]
fn a_reload_that_finds_no_thread_says_what_is_in_force_and_keeps_the_table_of_that() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let socket = NotifySocket::listen(folder.path());
    std::fs::set_permissions(&socket.path, std::fs::Permissions::from_mode(0o777)).unwrap();
    let output = |name: &str, bus: &str| {
        format!(
            "  {name}: {{ driver: gpio-output, bus: {bus}, settings: {{ line: L0, active_low: true }}, safe_state: \"off\" }}\n"
        )
    };
    let text = |buses: &[&str]| {
        let bus = |bus: &&str| format!("  {bus}: {{ type: sim, state_file: {bus}.json }}\n");
        let outputs: String = buses.iter().map(|bus| output(&format!("of-{bus}"), bus)).collect();
        let rest = format!("buses:\n{}actuators:\n{outputs}", buses.iter().map(bus).collect::<String>());
        config(&format!("mqtt://127.0.0.1:{}", free_port()), "", &rest)
    };
    let gateway = Gateway::under(&as_nobody(), folder.path(), &text(&["one"]), &[socket.variable()]);
    socket.wait("READY=1", 0, SOON);
    let wrapper = as_nobody();
    let mut limit = std::process::Command::new(wrapper[0]);
    limit.args(&wrapper[1..]).args(["prlimit", "--nproc=0:0", "--pid", &gateway.pid().to_string()]);
    assert!(limit.status().unwrap().success());
    let before = socket.all().len();
    gateway::write_config(folder.path(), &text(&["one", "two"]));
    gateway.signal(Signal::HUP);
    gateway.wait_log("Configuration reloaded, but part of it is not in use", SOON);
    assert!(!gateway.log().contains("the old one stays"), "{}", gateway.log());
    socket.wait("READY=1", before, SOON);
    drop(gateway);
    let file = folder.path().join("fieldgate.yaml");
    std::fs::write(&file, "mqtt: [ broken").unwrap();
    let arguments = ["safe-state", "--config", file.to_str().unwrap()];
    let output = gateway::command(folder.path(), &arguments, TWO_SECONDS);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let bench = SimFile::new(folder.path().join("two.json"));
    assert_eq!(bench.line("L0"), Some(1), "it was in the table");
}

#[test]
fn a_start_takes_every_output_to_its_safe_state() {
    let mut running = left_on("start");
    let text = running.config("", &devices());
    running.gateway = Gateway::start(running.folder.path(), &text);
    running.sim.wait_line("GPIO27", 0, SOON);
    let state = wait_for("the state", SOON, || {
        running.client.all("b/actuators/pump/state").pop().map(|m| m.json()).filter(|state| state["value"] == "off")
    });
    assert_eq!(state["cause"], "start");
}

#[test]
fn every_output_is_safe_before_the_program_says_that_it_is_ready() {
    // So many that driving them takes longer than starting the rest.
    const OUTPUTS: usize = 400;
    let output = |n| {
        format!(
            "  o{n}: {{ driver: gpio-output, bus: bench, settings: {{ line: L{n}, active_low: true }}, safe_state: \"off\" }}\n"
        )
    };
    let all: String = (0..OUTPUTS).map(output).collect();
    let rest = format!("buses:\n  bench: {{ type: sim, state_file: bench.json }}\nactuators:\n{all}");
    let folder = tempfile::tempdir().unwrap();
    let socket = NotifySocket::listen(folder.path());
    let text = config(&format!("mqtt://127.0.0.1:{}", free_port()), "", &rest);
    let gateway = Gateway::with_env(folder.path(), &text, &[socket.variable()]);
    socket.wait("READY=1", 0, SOON);
    gateway.signal(Signal::STOP);
    let bench = SimFile::new(folder.path().join("bench.json"));
    let safe = (0..OUTPUTS).filter(|n| bench.line(&format!("L{n}")) == Some(1)).count();
    // Two seconds are the limit, and a machine that needs longer gets a message about it.
    let is_late = gateway.log().contains("Outputs of this bus are not in their safe state yet");
    gateway.signal(Signal::CONT);
    assert!(safe == OUTPUTS || is_late, "{safe} of {OUTPUTS} are safe");
}
