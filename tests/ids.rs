//! A2: the same command id again, within a run, over reloads, restarts and kills: one action, and always the first answer.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use crate::common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::common::bench::{Bench, CONFIG, Setup, USUAL, reply, set};
use crate::common::client::{Client, publish_lines};
use crate::common::gateway::{Gateway, write_config};
use crate::common::mosquitto::Mosquitto;
use crate::common::sim_file::SimFile;
use crate::common::{SOON, seed, wait_until};
use rustix::process::Signal;
use serde_json::Value;

const REPEATED: &str = "Command repeated; answered as before.";

/// One command after the other, in parts: of a burst beyond 64 a loaded machine may count some instead of answering them.
fn send_all(bench: &Bench, output: &str, commands: &[String]) {
    for part in commands.chunks(50) {
        let before = bench.client.all(&reply(output)).len();
        publish_lines(&bench.endpoint(), &set(output), part);
        let answered = || bench.client.all(&reply(output)).len() >= before + part.len();
        wait_until("an answer to each", SOON, answered);
    }
}

fn on(id: &str) -> String {
    format!(r#"{{"value":"on","id":"{id}"}}"#)
}

fn end(bench: &mut Bench, is_killed: bool) {
    if is_killed {
        bench.gateway.kill9();
    } else {
        bench.gateway.stop(SOON);
    }
}

fn start_again(bench: &mut Bench) {
    bench.restart();
    bench.ready();
}

/// What the log has of each command that was done.
const DONE: &str = "outcome=\"done\"";

fn actions(gateway: &Gateway) -> usize {
    gateway.log().matches(DONE).count()
}

#[test]
fn a_repeat_gets_the_first_answer_after_a_restart_and_after_a_kill_and_moves_nothing() {
    let mut bench = Bench::start(&USUAL);
    let mut first = BTreeMap::new();
    for (life, is_killed) in [false, true, true, false, true].into_iter().enumerate() {
        let id = format!("life{life}");
        first.insert(id.clone(), bench.ask("pump", &on(&id)));
        first.insert(format!("bad{life}"), bench.ask("fan", &format!(r#"{{"value":140,"id":"bad{life}"}}"#)));
        end(&mut bench, is_killed);
        start_again(&mut bench);
        for (id, answer) in &first {
            let output = if id.starts_with("bad") { "fan" } else { "pump" };
            assert_eq!(&bench.ask(output, &on(id)), answer, "in life {life}");
        }
        assert_eq!((bench.sim.line("GPIO27"), actions(&bench.gateway)), (Some(0), 0));
        // The log is read by a thread of its own, which may come behind the answers.
        let repeats = || bench.gateway.log().matches(REPEATED).count();
        wait_until("the log to have a line for each", SOON, || repeats() >= first.len());
        let reported = bench.gateway.log();
        assert!(
            reported.lines().any(|line| line.contains(REPEATED) && line.contains(&id) && line.contains("pump")),
            "{reported}"
        );
        assert_eq!(reported.matches(REPEATED).count(), first.len(), "one line for each");
    }
}

#[test]
fn a2_one_id_a_hundred_times_among_others_over_restarts_acts_once_and_is_answered_alike() {
    let mut chance = fastrand::Rng::with_seed(seed());
    let mut bench = Bench::start(&USUAL);
    let others: Vec<_> = (0..10).map(|n| on(&format!("other{n}"))).collect();
    let (mut answers, mut acted) = (Vec::new(), 0);
    for life in 0..5 {
        let mut commands = others.clone();
        commands.extend(vec![on("again"); 20]);
        chance.shuffle(&mut commands);
        send_all(&bench, "pump", &commands);
        // Its answer comes behind all of theirs, and behind those that are delivered a second time because of a kill.
        bench.ask("fan", "nonsense");
        answers.extend(bench.client.all(&reply("pump")));
        bench.gateway.wait_line(&["Command answered.", "actuator=fan "], SOON);
        acted += actions(&bench.gateway);
        // Not the first: so many answers at once may be on the disk half a second late.
        end(&mut bench, life % 2 == 1);
        if life < 4 {
            start_again(&mut bench);
        }
    }
    assert_eq!(acted, 11, "each id once");
    for id in others.iter().map(|command| command.as_str()).chain([on("again").as_str()]) {
        let id = serde_json::from_str::<Value>(id).unwrap()["id"].clone();
        let own: Vec<_> = answers.iter().filter(|answer| answer.json()["id"] == id).map(|a| &a.payload).collect();
        assert!(own.len() >= if id == "again" { 100 } else { 5 }, "{id}: {own:?}");
        assert!(own.iter().all(|answer| *answer == own[0]), "{own:?}");
    }
}

#[test]
fn the_1025th_id_forgets_the_first_over_a_restart_too() {
    let mut bench = Bench::start(&USUAL);
    let first = bench.ask("pump", &on("first"));
    let refused = |n: usize| format!(r#"{{"value":140,"id":"x{n}"}}"#);
    send_all(&bench, "fan", &(1..=1023).map(refused).collect::<Vec<_>>());
    let second = bench.client.all(&reply("fan")).into_iter().find(|answer| answer.json()["id"] == "x2").unwrap();
    end(&mut bench, false);
    start_again(&mut bench);
    assert_eq!(bench.ask("pump", &on("first")), first, "the oldest of 1024");
    bench.ask("fan", &refused(1024));
    end(&mut bench, true);
    start_again(&mut bench);
    assert_ne!(bench.ask("pump", &on("first")), first);
    assert_eq!(bench.sim.line("GPIO27"), Some(1), "it is a new command");
    bench.gateway.wait_said(DONE, 1, SOON);
    assert_eq!(bench.ask("fan", &refused(2)), second.json());
}

#[test]
fn a_reload_keeps_the_ids() {
    let bench = Bench::start(&USUAL);
    let first = bench.ask("pump", &on("a1"));
    bench.ask("pump", "off");
    let other = Setup { safe_after: "40s", ..USUAL };
    write_config(bench.folder.path(), &other.config(&bench.broker.url()));
    bench.gateway.signal(Signal::HUP);
    bench.gateway.wait_log("Configuration reloaded", SOON);
    // The link is another one now, for the keep-alive follows `safe_after`.
    bench.ready();
    let before = bench.sim.version();
    assert_eq!(bench.ask("pump", &on("a1")), first);
    assert_eq!(bench.sim.version(), before);
}

/// A bus on which a sensor can hang.
fn start_with_sensor() -> Bench {
    let broker = Mosquitto::start();
    let folder = tempfile::tempdir().unwrap();
    let client = Client::subscribe(&broker.endpoint(), &[common::bench::ALL]);
    let air = "sensors:\n  air: { driver: bme280, bus: bench, every: 50ms, settings: { address: 0x76 } }\n";
    let config = CONFIG.replace("sensors:\n", air);
    let config = config.replace("MQTT", &format!("broker: \"{}\"", broker.url())).replace("SAFE_AFTER", "30s");
    let gateway = Gateway::start(folder.path(), &config);
    let sim = SimFile::new(folder.path().join("bench.json"));
    let bench = Bench { gateway, client, sim, broker, config, folder };
    bench.ready();
    bench
}

fn is_on_disk(spool: &Path, text: &str) -> bool {
    let files = ["spool.db", "spool.db-wal"].map(|name| fs::read(spool.join(name)).unwrap_or_default());
    files.iter().any(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
}

#[test]
fn a_command_that_a_kill_kept_from_being_answered_is_answered_failed_and_does_not_act_again() {
    let mut bench = start_with_sensor();
    bench.sim.set_fault("0x76", Some("hang"));
    bench.client.wait_json("fieldgate/g/sensors/air/status", |status| status["status"] == "down", SOON);
    bench.send("pump", &on("gate"));
    let spool = bench.folder.path().join("spool");
    wait_until("the id to be on the disk", SOON, || is_on_disk(&spool, "gate"));
    end(&mut bench, true);
    bench.sim.set_fault("0x76", None);
    start_again(&mut bench);
    let answer = bench.ask("pump", &on("gate"));
    assert_eq!((&answer["outcome"], &answer["value"]), (&"failed".into(), &Value::Null));
    let words =
        "hardware: the gateway was restarted before this command was answered; it may have acted, and does not again";
    assert_eq!(answer["reason"], words);
    assert_eq!(bench.ask("pump", &on("gate")), answer);
    end(&mut bench, true);
    start_again(&mut bench);
    assert_eq!(bench.ask("pump", &on("gate")), answer, "and so for ever");
    assert_eq!((bench.sim.line("GPIO27"), actions(&bench.gateway)), (Some(0), 0));
    assert_eq!(bench.ask("pump", &on("fresh"))["outcome"], "done", "another id acts");
}
