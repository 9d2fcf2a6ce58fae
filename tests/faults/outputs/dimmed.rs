//! H8: outputs that take their time and exclude each other, under random commands, on hardware that fails now and then. The
//! random lives of `safety` are `cargo test --lib lives`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::set;
use crate::common::gateway::Gateway;
use crate::common::quick::{LONG, config, folder};
use crate::common::scripted::{Script, ScriptedBroker};
use crate::common::sim_file::SimFile;
use crate::common::wire::Publish;
use crate::common::{SOON, wait_until};
use crate::suite::{chance, report, times};

/// Dimmers on two buses, a gate that pulses beside one of them, and a cover. The chip of the dimmer `other` fails now and then.
const REST: &str = "buses:
  bench: { type: sim, state_file: bench.json }
  side: { type: sim, state_file: side.json }
actuators:
  one: { driver: pwm-output, bus: bench, settings: { channel: 0, ramp: 400ms }, safe_state: 0, interlock: [other, gate], dead_time: 50ms }
  other: { driver: pca9685, bus: side, settings: { channel: 0, ramp: 300ms }, safe_state: 0 }
  gate: { driver: gpio-pulse, bus: bench, settings: { line: GPIO23, duration: 150ms }, safe_state: \"off\" }
  blind:
    driver: gpio-cover
    bus: bench
    settings: { open_line: GPIO5, close_line: GPIO6, opening: 300ms, closing: 300ms, overrun: 0s, pause: 100ms }
    safe_state: stop
";

/// What is on in these documents: the dimmers `one` and `other`, the gate, and the relays of the cover.
fn on(bench: &Value, side: &Value) -> [bool; 5] {
    let line = |line: &str| bench["lines"][line] == 1;
    let chip = &side["chips"]["0x40"];
    let register = |name: &str| chip[name].as_u64().unwrap_or_default();
    // Bit 4 of OFF_H is "full off" (PCA9685 data sheet, 7.3.3).
    let full_off = register("LED0_OFF_H") & 0x10 != 0;
    let dimmed = register("LED0_OFF_H") & 0x0f != 0 || register("LED0_OFF_L") != 0 || register("LED0_ON_H") & 0x10 != 0;
    let one = bench["pwm"]["0"].as_f64().is_some_and(|percent| percent > 0.0);
    [one, !full_off && dimmed, line("GPIO23"), line("GPIO5"), line("GPIO6")]
}

/// Looks at the state files all the time and counts how often which was on; panics at its end if two partners were.
struct Witness {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<([usize; 5], Option<String>)>,
}

impl Witness {
    fn start(bench: &SimFile, side: &SimFile) -> Self {
        let (bench, side) = (SimFile::new(&bench.path), SimFile::new(&side.path));
        let ended = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&ended);
        let thread = std::thread::spawn(move || {
            let (mut went_on, mut before, mut wrong) = ([0; 5], [false; 5], None);
            while !is_over.load(Ordering::Relaxed) {
                // One document of each at the same moment: the first has not changed while the second was read.
                let version = bench.version();
                let (first, second) = (bench.read(), side.read());
                if bench.version() != version {
                    continue;
                }
                let now = on(&first, &second);
                for (count, (now, before)) in went_on.iter_mut().zip(now.iter().zip(before)) {
                    *count += usize::from(*now && !before);
                }
                if now[0] && (now[1] || now[2]) || now[3] && now[4] {
                    wrong.get_or_insert_with(|| format!("{now:?} in {first} and {second}"));
                }
                before = now;
                std::thread::sleep(Duration::from_micros(100));
            }
            (went_on, wrong)
        });
        Self { ended, thread }
    }

    fn end(self) -> [usize; 5] {
        self.ended.store(true, Ordering::Relaxed);
        let (went_on, wrong) = self.thread.join().unwrap();
        assert_eq!(wrong, None, "two that exclude each other are on");
        went_on
    }
}

fn send(broker: &ScriptedBroker, output: &str, value: &str, nth: usize) {
    let payload = format!(r#"{{"value":{value},"id":"h{nth}"}}"#).into_bytes();
    broker.send(&Publish { topic: set(output), payload, ..Publish::default() });
}

/// Each dimmer is on once, whatever chance brings afterwards; returns how many commands that took.
fn each_once(broker: &ScriptedBroker, bench: &SimFile, side: &SimFile) -> usize {
    let mut sent = 0;
    for (nth, output) in ["one", "other"].into_iter().enumerate() {
        for (value, is_on) in [("80", true), ("0", false)] {
            send(broker, output, value, sent);
            sent += 1;
            wait_until(output, SOON, || on(&bench.read(), &side.read())[nth] == is_on);
        }
    }
    sent
}

/// Random commands for so long; returns how many with those before.
fn storm(
    broker: &ScriptedBroker,
    side: &SimFile,
    (lasts, mut sent): (Duration, usize),
    chance: &mut fastrand::Rng,
) -> usize {
    let (began, mut mended) = (Instant::now(), true);
    while began.elapsed() < lasts {
        let (output, value) = match chance.u8(0..7) {
            0 | 1 => ("one", ["80", "30", "0", "100"][chance.usize(0..4)]),
            2 | 3 => ("other", ["80", "30", "0", "100"][chance.usize(0..4)]),
            4 => ("gate", "\"on\""),
            5 => ("blind", ["\"open\"", "\"close\"", "\"stop\"", "40"][chance.usize(0..4)]),
            _ => (["one", "other"][chance.usize(0..2)], "0"),
        };
        send(broker, output, value, sent);
        sent += 1;
        // Seldom broken, and soon mended: what has failed keeps its partner off.
        if chance.u8(0..if mended { 15 } else { 3 }) == 0 {
            mended = !mended;
            side.set_fault("0x40", if mended { None } else { Some("nak") });
        }
        std::thread::sleep(Duration::from_millis(chance.u64(5..150)));
    }
    side.set_fault("0x40", None);
    sent
}

#[test]
fn h8_dimmers_with_ramps_pulses_and_covers_are_never_on_beside_their_partners() {
    let (lasts, mut chance) = (Duration::from_secs(times(6, 20, 120)), chance("H8"));
    let broker = ScriptedBroker::start(vec![Script::good()]);
    let folder = folder();
    let [bench, side] = ["bench.json", "side.json"].map(|file| SimFile::new(folder.path().join(file)));
    let mut gateway = Gateway::start(folder.path(), &config(&broker.url(), "", "", REST));
    wait_until("the subscription", SOON, || !broker.filters().is_empty());
    // A partner that is not known to be off forbids the other; each publishes its state once it has been driven.
    let published =
        |output: &str| broker.publishes().iter().any(|publish| publish.topic == format!("b/actuators/{output}/state"));
    wait_until("the outputs to be driven", SOON, || ["one", "other", "gate", "blind"].into_iter().all(published));
    let witness = Witness::start(&bench, &side);
    let first = each_once(&broker, &bench, &side);
    let sent = storm(&broker, &side, (lasts, first), &mut chance);
    let answered = || broker.publishes().iter().filter(|publish| publish.topic.ends_with("/reply")).count();
    wait_until("every command to be answered", LONG, || answered() >= sent);
    gateway.stop(SOON);
    let [one, other, gate, opens, closes] = witness.end();
    assert!(one > 0 && other > 0, "{one} {other} {gate} {opens} {closes}");
    assert_eq!(on(&bench.read(), &side.read()), [false; 5], "safe at the end");
    report(
        "H8",
        &format!(
            "{sent} commands in {} s to dimmers with ramps, a pulse and a cover, one chip failing",
            lasts.as_secs()
        ),
        &format!(
            "on {one}, {other} and {gate} times, never beside a partner; the cover's relays {opens} and {closes} times, never both"
        ),
    );
}
