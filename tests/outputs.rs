//! What outputs do by themselves, in time, and under load: the compiled program and a real Mosquitto.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::{Duration, Instant, SystemTime};

use crate::common::bench::{ALL, Bench, Setup, USUAL, reply, set, state};
use crate::common::client::{Client, publish_lines};
use crate::common::gateway::Gateway;
use crate::common::mosquitto::{Mosquitto, Options};
use crate::common::pace::slack;
use crate::common::quick::dropped;
use crate::common::sim_file::SimFile;
use crate::common::{SOON, wait_until};

/// How exactly a limit is kept.
const TOLERANCE: Duration = Duration::from_millis(50);

#[test]
fn an_active_low_output_is_low_when_it_is_on() {
    let bench = Bench::start(&USUAL);
    assert_eq!(bench.sim.line("GPIO22"), Some(1), "off from the start");
    assert_eq!(bench.ask("heater", "on")["value"], "on");
    assert_eq!(bench.sim.line("GPIO22"), Some(0));
}

#[test]
fn a_command_for_a_while_ends_by_itself() {
    let bench = Bench::start(&USUAL);
    let asked = Instant::now();
    let answer = bench.ask("pump", r#"{"value":"on","id":"a1","for":"400ms"}"#);
    let on_at = bench.sim.version().1;
    assert_eq!((&answer["id"], &answer["value"]), (&"a1".into(), &"on".into()));
    assert_eq!(bench.sim.line("GPIO27"), Some(1));
    bench.sim.wait_line("GPIO27", 0, SOON);
    let lasted = bench.sim.version().1.duration_since(on_at).unwrap();
    assert!(lasted.abs_diff(Duration::from_millis(400)) < TOLERANCE + slack(asked), "{lasted:?}");
    assert_eq!(bench.client.wait_json(&state("pump"), |state| state["value"] == "off", SOON)["cause"], "for");
}

/// Switches pump and heater on, takes the broker away, and expects both safe in time.
fn lost_link_makes_safe(take_away: impl FnOnce(&mut Mosquitto), bring_back: impl FnOnce(&mut Mosquitto)) {
    let mut bench = Bench::start(&Setup { safe_after: "1s", ..USUAL });
    bench.ask("heater", "on");
    bench.client.wait_for(&state("heater"), |text| text.contains("\"on\""), SOON);
    let earliest = SystemTime::now();
    bench.ask("pump", "on");
    assert_eq!((bench.sim.line("GPIO27"), bench.sim.line("GPIO22")), (Some(1), Some(0)));
    bench.client.wait_for(&state("pump"), |text| text.contains("\"on\""), SOON);
    bench.client.forget();
    take_away(&mut bench.broker);
    let (latest, since) = (SystemTime::now(), Instant::now());
    bench.sim.wait_line("GPIO27", 0, SOON);
    bench.sim.wait_line("GPIO22", 1, SOON);
    let safe_at = bench.sim.version().1;
    let after = Duration::from_secs(1);
    let (shortest, longest) = (safe_at.duration_since(latest).unwrap(), safe_at.duration_since(earliest).unwrap());
    assert!(shortest < after + TOLERANCE + slack(since), "safe only {shortest:?} after the link was lost");
    assert!(longest > after - TOLERANCE, "safe already {longest:?} after the command");
    bring_back(&mut bench.broker);
    let reported = bench.client.wait_json(&state("pump"), |state| state["cause"] == "safe_state", SOON);
    assert_eq!(reported["value"], "off");
    bench.client.wait_for(&state("heater"), |text| text.contains("safe_state"), SOON);
    // They act again. The reply may come half a minute later: a link that was lost while something was under way sends one thing at a
    // time, and the sensor's readings at QoS 0 are in front.
    bench.send("pump", "on");
    bench.sim.wait_line("GPIO27", 1, SOON);
}

#[test]
fn outputs_are_safe_in_time_when_the_broker_freezes() {
    lost_link_makes_safe(|broker| broker.freeze(), |broker| broker.thaw());
}

#[test]
fn outputs_are_safe_in_time_when_the_broker_is_killed() {
    lost_link_makes_safe(Mosquitto::kill9, Mosquitto::start_again);
}

#[test]
fn an_output_that_is_never_made_safe_keeps_its_state_without_a_link() {
    let mut bench = Bench::start(&Setup { safe_after: "never", ..USUAL });
    bench.ask("pump", "on");
    let before = bench.sim.version();
    bench.broker.kill9();
    bench.gateway.wait_log("No connection; will try again.", SOON);
    bench.client.forget_seen();
    bench.broker.start_again();
    let reported = bench.client.wait_json(&state("pump"), |_| true, SOON);
    assert_eq!((&reported["value"], &reported["cause"]), (&"on".into(), &"command".into()));
    assert_eq!(bench.sim.version(), before);
}

#[test]
fn an_output_is_reported_safe_at_start_and_at_stop() {
    let mut bench = Bench::start(&USUAL);
    let start = Client::subscribe(&bench.endpoint(), &[&state("pump")]).wait_message(&state("pump"), |_| true, SOON);
    assert!(start.retain);
    assert_eq!((&start.json()["value"], &start.json()["cause"]), (&"off".into(), &"start".into()));
    bench.ask("pump", "on");
    let asked = Instant::now();
    bench.gateway.stop(SOON);
    assert!(asked.elapsed() < Duration::from_secs(2) + slack(asked), "{:?}", asked.elapsed());
    assert_eq!(bench.sim.line("GPIO27"), Some(0));
    let stop = bench.client.wait_json(&state("pump"), |state| state["cause"] == "stop", SOON);
    assert_eq!(stop["value"], "off");
    bench.client.wait_for("fieldgate/g/status", |payload| payload == "offline", SOON);
}

#[test]
fn of_a_flood_every_command_is_answered_or_counted() {
    const FLOOD: usize = 2000;
    // Mosquitto drops what is more than a thousand messages behind, and the gateway can count only what it gets.
    let options = Options { extra: "max_queued_messages 0\n".into(), ..Options::default() };
    let bench = Bench::on(Mosquitto::with(options), &USUAL);
    let memory = bench.gateway.memory();
    let commands: Vec<_> = (0..FLOOD).map(|n| format!(r#"{{"value":{},"id":"f{n}"}}"#, n % 2 == 0)).collect();
    let ticks = |client: &Client| client.all("fieldgate/g/sensors/tick").len();
    publish_lines(&bench.endpoint(), &set("pump"), &commands);
    wait_until("2000 commands answered or counted", SOON * 2, || {
        bench.client.all(&reply("pump")).len() + dropped(&bench.health()) >= FLOOD
    });
    assert_eq!(bench.client.all(&reply("pump")).len() + dropped(&bench.health()), FLOOD);
    let before = ticks(&bench.client);
    wait_until("sampling to go on", SOON, || ticks(&bench.client) > before);
    let grown = bench.gateway.memory().saturating_sub(memory);
    assert!(grown < 8 << 20, "memory grew by {grown} bytes");
    assert_eq!(bench.ask("pump", "on")["outcome"], "done", "and it obeys");
}

/// An output behind the chip that hangs.
const STUCK: &str = "  valve: { driver: gpio-output, bus: stuck, settings: { line: GPIO5 }, safe_state: \"off\" }\n";

/// Sensors on two buses beside `bench`: one whose chip hangs, and on the pump's own bus a slow one.
const SLOW: &str = "
  stuck: { type: sim, state_file: stuck.json }
sensors:
  frozen: { driver: tmp102, bus: stuck, every: 50ms, settings: { address: 0x48 } }
  light: { driver: bh1750, bus: bench, every: 200ms, settings: { address: 0x23 } }
";

#[test]
fn a_command_does_not_wait_for_a_bus_that_hangs_and_hardly_for_a_slow_sensor() {
    let broker = Mosquitto::start();
    let folder = tempfile::tempdir().unwrap();
    let stuck = SimFile::new(folder.path().join("stuck.json"));
    stuck.write(&serde_json::json!({"chips": {"0x48": {"chip": "tmp102", "fault": "hang"}}}));
    let client = Client::subscribe(&broker.endpoint(), &[ALL]);
    let config = USUAL.config(&broker.url()).replace("\nsensors:\n", SLOW);
    let config = format!("{config}{STUCK}");
    let mut gateway = Gateway::start(folder.path(), &config);
    client.wait_for("fieldgate/g/sensors/light", |_| true, SOON);
    client.wait_for(&state("pump"), |_| true, SOON);
    client.publish(&set("valve"), r#"{"value":"on","id":"v1"}"#, false, 1);
    for n in 0..10 {
        let id = format!("w{n}");
        let sent = Instant::now();
        client.publish(&set("pump"), &format!(r#"{{"value":true,"id":"{id}"}}"#), false, 1);
        let took = client.wait_message(&reply("pump"), |reply| reply.json()["id"] == *id, SOON).at - sent;
        assert!(took < Duration::from_millis(500) + slack(sent), "{took:?}");
    }
    let answer = client.wait_json(&reply("valve"), |_| true, SOON);
    assert_eq!((&answer["id"], &answer["outcome"]), (&"v1".into(), &"failed".into()));
    assert!(answer["reason"].as_str().unwrap().starts_with("hardware: "), "{answer}");
    let asked = Instant::now();
    gateway.stop(SOON);
    assert!(asked.elapsed() < Duration::from_secs(5) + slack(asked), "{:?}", asked.elapsed());
}
