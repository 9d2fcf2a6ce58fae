//! Outputs that take their time or have two lines: pulses, covers, servos and ramps, from outside: the compiled program, the
//! simulated bus and a real Mosquitto.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::disallowed_methods, reason = "a test may sleep")]

use crate::common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use crate::common::bench::{ALL, Bench, reply, set, state};
use crate::common::client::{Client, publish_lines};
use crate::common::gateway::{self, Gateway};
use crate::common::mosquitto::Mosquitto;
use crate::common::pace::slack;
use crate::common::sim_file::SimFile;
use crate::common::watch::Watch;
use crate::common::{SOON, wait_until};
use serde_json::{Value, json};

/// How exactly a time is kept.
const TOLERANCE: Duration = Duration::from_millis(50);

/// Less than it takes to write a version of the state file.
const LOOK_EVERY: Duration = Duration::from_micros(100);

/// How long after the link is lost outputs are safe. A machine that stops the broker for so long makes them safe too.
const SAFE_AFTER: Duration = Duration::from_secs(3);

/// How long the motors here rest before they turn.
const PAUSE: Duration = Duration::from_millis(300);

const CONFIG: &str = "
gateway: { name: g }
mqtt: { broker: \"URL\", reconnect: { min: 50ms, max: 200ms } }
spool: { path: spool }
buses:
  bench: { type: sim, state_file: bench.json }
  wires: { type: sim, state_file: wires.json }
  relays: { type: mcp23008, bus: wires, address: 0x20 }
actuators:
  gate: { driver: gpio-pulse, bus: bench, settings: { line: GPIO23 }, safe_state: \"off\" }
  blind:
    driver: gpio-cover
    bus: bench
    settings: { open_line: GPIO5, close_line: GPIO6, opening: 1s, closing: 800ms, overrun: 200ms, pause: 300ms }
    safe_state: stop
    safe_after: 3s
  shade:
    driver: gpio-cover
    bus: bench
    settings: { open_line: GPIO7, close_line: GPIO8, active_low: true, opening: 2s, closing: 2s, overrun: 0s, pause: 300ms }
    safe_state: close
    safe_after: 3s
  valve:
    driver: gpio-cover
    bus: relays
    settings: { open_line: GP0, close_line: GP1, opening: 1s, closing: 1s, overrun: 0s, pause: 300ms }
    safe_state: stop
  vane: { driver: pwm-servo, bus: bench, settings: { channel: 1 }, safe_state: 90 }
  flap: { driver: pca9685-servo, bus: bench, settings: { channel: 4, min_pulse: 0.5ms, max_pulse: 2.5ms }, safe_state: \"off\" }
  lamp: { driver: pwm-output, bus: bench, settings: { channel: 0, ramp: 400ms }, safe_state: 0, safe_after: 3s }
";

fn start() -> Bench {
    let broker = Mosquitto::start();
    let folder = tempfile::tempdir().unwrap();
    let client = Client::subscribe(&broker.endpoint(), &[ALL]);
    let config = CONFIG.replace("URL", &broker.url());
    let gateway = Gateway::start(folder.path(), &config);
    let sim = SimFile::new(folder.path().join("bench.json"));
    let bench = Bench { gateway, client, sim, broker, config, folder };
    bench.ready();
    bench
}

/// Looks at the state file all the time, and notes what the two relays of a cover do in it.
struct Watcher {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Change>>,
}

/// The relays were seen to be something else.
#[derive(Clone, Copy, Debug)]
struct Change {
    /// When the last look began that met what was before.
    after: SystemTime,
    /// When the version was written, up to a tick of the kernel early.
    at: SystemTime,
    on: [bool; 2],
}

impl Watcher {
    /// Of lines that are active at this level.
    fn start(bench: &Bench, lines: [&'static str; 2], active: u64) -> Self {
        let (ended, sim) = (Arc::new(AtomicBool::new(false)), SimFile::new(&bench.sim.path));
        let is_over = Arc::clone(&ended);
        let thread = std::thread::spawn(move || {
            let mut seen: Vec<Change> = Vec::new();
            let (mut after, mut last) = (SystemTime::now(), None);
            while !is_over.load(Ordering::Relaxed) {
                let (began, version) = (SystemTime::now(), sim.version());
                if last == Some(version) {
                    after = began;
                    std::thread::sleep(LOOK_EVERY);
                    continue;
                }
                let document = sim.read();
                if version != sim.version() {
                    continue;
                }
                let on = lines.map(|line| document["lines"][line].as_u64() == Some(active));
                if seen.last().is_none_or(|last| last.on != on) {
                    seen.push(Change { after, at: version.1, on });
                }
                (after, last) = (began, Some(version));
            }
            seen
        });
        Self { ended, thread }
    }

    /// Ends, and expects that never both relays were on, and the motor rested before each turn. Returns how often it was seen to run:
    /// a machine that has no time for the watcher hides what happens meanwhile, and by that much a rest may have been longer.
    fn expect_order(self) -> usize {
        self.ended.store(true, Ordering::Relaxed);
        let seen = self.thread.join().unwrap();
        // When it was last seen to run, and which way.
        let mut ran: Option<(SystemTime, [bool; 2])> = None;
        let mut runs = 0;
        for pair in seen.windows(2) {
            let [before, now] = [pair[0].on, pair[1].on];
            assert_ne!(now, [true, true], "both relays are on, of {seen:?}");
            if before != [false, false] {
                ran = Some((pair[1].after, before));
            }
            if now != [false, false] {
                runs += 1;
                let turned = ran.filter(|(_, last)| *last != now);
                let rest = turned.map_or(PAUSE, |(stopped, _)| pair[1].at.duration_since(stopped).unwrap_or_default());
                assert!(rest + TOLERANCE / 2 > PAUSE, "it rested {rest:?}, of {seen:?}");
            }
        }
        runs
    }
}

/// The state of a cover when its motor has come to rest there, since the start or the last `forget`.
fn rests_at(bench: &Bench, output: &str, value: &Value) -> Value {
    rested(&bench.client, output, value)
}

fn rested(client: &Client, output: &str, value: &Value) -> Value {
    let rests = |state: &Value| state["value"] == *value && state["moving"].is_null() && state.get("target").is_none();
    client.wait_json(&state(output), rests, SOON)
}

/// Waits until the shade, which closes from the start on, has come to rest: a test that expects no movement must not meet it.
/// Neither the level of its relays, which is the same before it begins, nor a state that was heard says so on a machine of any
/// speed; the state that the broker retains does.
fn settled(bench: &Bench) {
    rested(&Client::subscribe(&bench.endpoint(), &[&state("shade")]), "shade", &json!(0));
}

#[test]
fn a_gate_pulses_for_its_time_and_is_busy_meanwhile() {
    let bench = start();
    settled(&bench);
    let asked = Instant::now();
    let answer = bench.ask("gate", "on");
    let on_at = bench.sim.version().1;
    assert_eq!((&answer["outcome"], &answer["value"]), (&"done".into(), &"on".into()));
    let busy = bench.ask("gate", "on");
    assert_eq!(busy["outcome"], "rejected");
    assert!(busy["reason"].as_str().unwrap().starts_with("busy: it pulses for another "), "{busy}");
    bench.sim.wait_line("GPIO23", 0, SOON);
    let lasted = bench.sim.version().1.duration_since(on_at).unwrap();
    assert!(lasted.abs_diff(Duration::from_millis(500)) < TOLERANCE + slack(asked), "{lasted:?}");
    assert_eq!(bench.client.wait_json(&state("gate"), |state| state["value"] == "off", SOON)["cause"], "for");
    assert_eq!(bench.ask("gate", "toggle")["outcome"], "rejected");
    bench.refused("gate", br#"{"value":"on","for":"5s"}"#, "out_of_range: it pulses, for 500ms");
    assert_eq!(bench.ask("gate", "on")["outcome"], "done");
    assert_eq!(bench.ask("gate", "off")["value"], "off");
    assert_eq!(bench.sim.line("GPIO23"), Some(0), "off ends it early");
}

#[test]
fn a_cover_opens_closes_stops_goes_to_a_position_and_is_calibrated() {
    let bench = start();
    let watcher = Watcher::start(&bench, ["GPIO5", "GPIO6"], 1);
    let answer = bench.ask("blind", "open");
    assert_eq!((&answer["outcome"], &answer["value"]), (&"done".into(), &"unknown".into()));
    let on_its_way = bench.client.wait_json(&state("blind"), |state| state["moving"] == "opening", SOON);
    assert_eq!((&on_its_way["target"], &on_its_way["cause"]), (&json!(100.0), &"command".into()));
    rests_at(&bench, "blind", &json!(100));
    bench.client.forget();
    assert_eq!(bench.ask("blind", "close")["value"], 100);
    rests_at(&bench, "blind", &json!(0));
    bench.client.forget();
    let asked = Instant::now();
    bench.ask("blind", "40");
    let rests = |state: &Value| state["moving"].is_null() && state["value"].as_u64().is_some_and(|value| value > 0);
    let value = bench.client.wait_json(&state("blind"), rests, SOON)["value"].as_u64().unwrap();
    // A machine that stops the motor late lets it travel on, by one percent in ten milliseconds.
    let late = slack(asked).as_millis() / 10;
    assert!((40..=40 + late).contains(&value.into()), "{value}, of which {late} may be the machine's");
    bench.client.forget();
    let watch = Watch::over(&[(&bench.sim, "GPIO5")]);
    bench.ask("blind", "open");
    std::thread::sleep(Duration::from_millis(200));
    let stopped = bench.ask("blind", "stop");
    // The whole way takes a second; a slow machine stops it late or not at all.
    let span = watch.end().on(0)[0];
    let (before, value, travelled) =
        (value, stopped["value"].as_u64().unwrap(), span.lasted().unwrap().as_millis() / 10);
    let (expected, late) = ((u128::from(before) + travelled).min(100), span.slack().as_millis() / 10);
    assert!(value > before && expected.abs_diff(value.into()) <= 3 + late, "{before}, then {stopped} after {span:?}");
    rests_at(&bench, "blind", &json!(value));
    bench.client.forget();
    let calibrated = Instant::now();
    assert_eq!(bench.ask("blind", "calibrate")["value"], "unknown");
    rests_at(&bench, "blind", &json!(0));
    assert!(calibrated.elapsed() > Duration::from_secs(1), "it takes the whole way");
    bench.refused("blind", b"on", "unreadable: this output takes open, close, stop, 0 to 100, calibrate");
    bench.refused("blind", b"101", "out_of_range: 101 is not within 0");
    let runs = watcher.expect_order();
    assert!((1..=5).contains(&runs), "{runs}");
}

#[test]
fn never_both_relays_are_on_whatever_is_commanded_how_fast_and_whatever_is_killed() {
    let mut bench = start();
    let watcher = Watcher::start(&bench, ["GPIO5", "GPIO6"], 1);
    let mut chance = fastrand::Rng::with_seed(common::seed());
    let words = ["open", "close", "stop", "40", "60", "calibrate"];
    for _ in 0..25 {
        let burst: Vec<_> = (0..chance.usize(1..6)).map(|_| (*chance.choice(&words).unwrap()).to_owned()).collect();
        publish_lines(&bench.endpoint(), &set("blind"), &burst);
        std::thread::sleep(Duration::from_millis(chance.u64(0..400)));
    }
    bench.ask("blind", "open");
    bench.sim.wait_line("GPIO5", 1, SOON);
    bench.gateway.kill9();
    assert_eq!(bench.sim.line("GPIO5"), Some(1), "nobody stops it yet");
    let safe = gateway::command(bench.folder.path(), &["safe-state", "--config", "fieldgate.yaml"], SOON);
    assert!(safe.status.success(), "{safe:?}");
    assert_eq!((bench.sim.line("GPIO5"), bench.sim.line("GPIO6")), (Some(0), Some(0)));
    std::thread::sleep(PAUSE);
    bench.client.forget();
    bench.restart();
    bench.ready();
    bench.ask("blind", "close");
    rests_at(&bench, "blind", &json!(0));
    assert!(watcher.expect_order() > 0);
}

#[test]
fn a_motor_that_cannot_be_stopped_is_stopped_as_soon_as_it_can_and_its_position_is_unknown() {
    let bench = start();
    let wires = SimFile::new(bench.folder.path().join("wires.json"));
    let driven = || wires.read()["chips"]["0x20"]["OLAT"].as_u64().unwrap() & 3;
    bench.ask("valve", "close");
    rests_at(&bench, "valve", &json!(0));
    bench.client.forget();
    bench.ask("valve", "open");
    // Seen to open, not only driven so: a start that fails half way is begun again, a stop that fails is not.
    bench.client.wait_json(&state("valve"), |state| state["moving"] == "opening", SOON);
    assert_eq!(driven(), 1);
    wires.set_fault("0x20", Some("time-out"));
    bench.client.wait_json(&state("valve"), |state| state["value"].is_null(), SOON);
    assert_eq!(driven(), 1, "nobody can stop it");
    bench.client.forget();
    wires.set_fault("0x20", None);
    rests_at(&bench, "valve", &json!("unknown"));
    assert_eq!(driven(), 0);
    bench.client.forget();
    bench.ask("valve", "close");
    rests_at(&bench, "valve", &json!(0));
}

#[test]
fn the_end_of_the_program_stops_the_motor() {
    let mut bench = start();
    settled(&bench);
    bench.ask("shade", "open");
    bench.sim.wait_line("GPIO7", 0, SOON);
    let asked = Instant::now();
    bench.gateway.stop(SOON);
    assert!(asked.elapsed() < Duration::from_secs(2) + slack(asked), "{:?}", asked.elapsed());
    assert_eq!((bench.sim.line("GPIO7"), bench.sim.line("GPIO8")), (Some(1), Some(1)));
    let reported = bench.client.wait_json(&state("shade"), |state| state["cause"] == "stop", SOON);
    assert!(reported["moving"].is_null() && reported.get("target").is_none(), "{reported}");
}

#[test]
fn a_cover_that_is_to_be_closed_closes_when_the_link_is_lost() {
    let bench = start();
    settled(&bench);
    let watcher = Watcher::start(&bench, ["GPIO7", "GPIO8"], 0);
    bench.ask("shade", "open");
    rests_at(&bench, "shade", &json!(100));
    bench.client.forget();
    bench.broker.freeze();
    bench.sim.wait_line("GPIO8", 0, SOON);
    bench.broker.thaw();
    let reported = rests_at(&bench, "shade", &json!(0));
    assert_eq!(reported["cause"], "safe_state");
    let runs = watcher.expect_order();
    assert!((1..=2).contains(&runs), "opened, and closed again: {runs}");
}

#[test]
fn a_travelling_cover_that_is_to_stop_stops_when_the_link_is_lost() {
    let mut bench = start();
    bench.config = bench.config.replace("opening: 1s", "opening: 9s");
    bench.gateway.stop(SOON);
    bench.client.forget();
    bench.restart();
    bench.ready();
    bench.ask("blind", "open");
    bench.sim.wait_line("GPIO5", 1, SOON);
    bench.client.forget();
    bench.broker.freeze();
    let (frozen, since) = (SystemTime::now(), Instant::now());
    bench.sim.wait_line("GPIO5", 0, SOON);
    let after = bench.sim.version().1.duration_since(frozen).unwrap();
    assert!(after < SAFE_AFTER + TOLERANCE + slack(since), "{after:?}");
    bench.broker.thaw();
    let reported = bench.client.wait_json(&state("blind"), |state| state["cause"] == "safe_state", SOON);
    assert_eq!((&reported["value"], &reported["moving"]), (&"unknown".into(), &Value::Null));
}

/// The pulse of an output of the simulated PCA9685 in milliseconds, by its registers.
fn pulse(bench: &Bench, channel: u8) -> f64 {
    let chip = &bench.sim.read()["chips"]["0x40"];
    let register = |name: String| chip[&name].as_f64().unwrap_or_else(|| panic!("no {name} in {chip}"));
    let [low, high] = ["OFF_L", "OFF_H"].map(|end| register(format!("LED{channel}_{end}")));
    let steps = if high >= 16.0 { 0.0 } else { high * 256.0 + low };
    steps * (register("PRE_SCALE".into()) + 1.0) / 25e3
}

#[test]
fn servos_turn_to_their_angles_and_are_let_go() {
    let mut bench = start();
    bench.sim.wait_pwm("1", 7.5, SOON);
    assert_eq!(pulse(&bench, 4), 0.0, "off is no pulse");
    for (angle, percent, milliseconds) in [(0.0, 5.0, 0.5), (45.0, 6.25, 1.0), (180.0, 10.0, 2.5)] {
        assert_eq!(bench.ask("vane", &angle.to_string())["value"], angle);
        bench.sim.wait_pwm("1", percent, SOON);
        assert_eq!(bench.ask("flap", &angle.to_string())["value"], angle);
        assert!((pulse(&bench, 4) - milliseconds).abs() < 0.003, "{}", pulse(&bench, 4));
    }
    settled(&bench);
    bench.refused("vane", b"181", "out_of_range: 181 is not within 0");
    bench.refused("flap", b"on", "unreadable: this output takes 0 to 180, off");
    assert_eq!(bench.ask("flap", "off")["value"], "off");
    assert_eq!(pulse(&bench, 4), 0.0);
    bench.ask("flap", "90");
    bench.gateway.kill9();
    let safe = gateway::command(bench.folder.path(), &["safe-state", "--config", "fieldgate.yaml"], SOON);
    assert!(safe.status.success(), "{safe:?}");
    assert_eq!(pulse(&bench, 4), 0.0, "another process finds the same chip");
    bench.sim.wait_pwm("1", 7.5, SOON);
}

#[test]
fn a_ramp_passes_through_what_lies_between_and_a_lost_link_does_not_wait_for_it() {
    let bench = start();
    let asked = Instant::now();
    bench.ask("lamp", "100");
    let mut seen = Vec::new();
    wait_until("the end of the ramp", SOON, || {
        let now = bench.sim.pwm("0").unwrap();
        if seen.last() != Some(&now) {
            seen.push(now);
        }
        now == 100.0
    });
    assert!(asked.elapsed() + TOLERANCE > Duration::from_millis(400), "{:?}", asked.elapsed());
    // A machine that held up the one who looks has kept some from him.
    let enough = 5_usize.saturating_sub(slack(asked).as_millis() as usize / 20).max(1);
    assert!(seen.is_sorted() && seen.iter().filter(|now| (1.0..99.0).contains(*now)).count() >= enough, "{seen:?}");
    let begin = bench.client.wait_json(&state("lamp"), |state| state.get("target").is_some(), SOON);
    assert_eq!((&begin["target"], &begin["cause"]), (&json!(100.0), &"command".into()));
    let end = bench.client.wait_json(&state("lamp"), |state| state["value"] == 100.0, SOON);
    assert!(end.get("target").is_none(), "{end}");
    bench.broker.freeze();
    seen.clear();
    wait_until("the safe state", SOON, || {
        seen.push(bench.sim.pwm("0").unwrap());
        seen.last() == Some(&0.0)
    });
    assert!(seen.iter().all(|now| *now == 100.0 || *now == 0.0), "at once: {seen:?}");
    bench.broker.thaw();
    assert_eq!(bench.client.all(&reply("lamp")).len(), 1);
}
