//! Rows A2, A6 and D6 for command ids: a disk that cannot be used, one that is slow, and what an id costs the card.

use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::mount::{Mount, TOOLS};
use super::wear::written;
use crate::common::gateway::Gateway;
use crate::common::pace::slack;
use crate::common::quick::{config, folder, start};
use crate::common::sim_file::SimFile;
use crate::common::{SOON, wait_for, wait_until};
use crate::moody::{Mood, MoodyBroker};
use crate::suite::{may, report, times};
use crate::tracer::{Tracer, spool_files};

/// What the log has of each command that was done.
const DONE: &str = "outcome=\"done\"";

const PUMP: &str = "buses: { bench: { type: sim, state_file: bench.json } }
actuators:
  pump: { driver: gpio-output, bus: bench, settings: { line: GPIO27 }, safe_state: \"off\", safe_after: never }
";

/// By how much later than without an id a command may act: the row says 50 ms for all of it, and less than each delayed sync here.
const ACTS: Duration = Duration::from_millis(50);

struct Stage {
    broker: MoodyBroker,
    gateway: Gateway,
    bench: SimFile,
    text: String,
    // In this order: what is mounted in the folder goes before it.
    disk: Option<Mount>,
    folder: TempDir,
}

impl Stage {
    fn new(folder: TempDir, disk: Option<Mount>) -> Self {
        let broker = MoodyBroker::new(Mood::Acknowledges);
        let text = config(&broker.url(), "", "", PUMP);
        let gateway = start(folder.path(), &text);
        let bench = SimFile::new(folder.path().join("bench.json"));
        let stage = Self { broker, gateway, bench, text, disk, folder };
        stage.wait_link();
        stage
    }

    fn wait_link(&self) {
        self.gateway.wait_log("Connected.", SOON);
    }

    fn restart(&mut self) {
        self.gateway = start(self.folder.path(), &self.text);
        self.wait_link();
    }

    fn send(&self, value: &str, id: &str) {
        self.broker.send("b/actuators/pump/set", &format!(r#"{{"value":"{value}","id":"{id}"}}"#));
    }

    /// The answer to a command, as it was written.
    fn ask(&self, value: &str, id: &str) -> String {
        let before = self.broker.count();
        self.send(value, id);
        wait_for("a reply", SOON, || self.broker.newest("b/actuators/pump/reply", before)).payload
    }

    /// From the sending of a command until the line has its level, without what the machine held up everybody.
    fn acts(&self, (value, level): (&str, u64), send: impl FnOnce(&str)) -> Duration {
        let asked = Instant::now();
        send(value);
        self.bench.wait_line("GPIO27", level, SOON);
        asked.elapsed().saturating_sub(slack(asked))
    }

    fn actions(&self) -> usize {
        self.gateway.log().matches(DONE).count()
    }
}

#[test]
fn a2_without_a_disk_ids_are_remembered_in_memory_and_written_as_soon_as_there_is_one() {
    if !may("A2", &TOOLS) {
        return;
    }
    let folder = folder();
    let disk = Mount::ext4(folder.path(), 16 << 20);
    let mut stage = Stage::new(folder, Some(disk));
    let [old, older] = ["old", "older"].map(|id| stage.ask("on", id));
    stage.gateway.stop(SOON);
    stage.disk.as_ref().unwrap().remount("ro");
    stage.restart();
    stage.gateway.wait_log("The spool cannot use its disk", SOON);
    let new = stage.ask("on", "new");
    assert_eq!(stage.ask("on", "new"), new, "from memory");
    let repeated = stage.ask("on", "old");
    assert_ne!(repeated, old, "nobody can know that it is a repeat: the command is not held up");
    stage.gateway.wait_said(DONE, 2, SOON);
    stage.disk.as_ref().unwrap().remount("rw");
    stage.gateway.wait_log("The spool can be written again", SOON);
    assert_eq!(stage.ask("on", "older"), older, "what earlier runs saw is known as soon as it can be read");
    for is_killed in [true, false] {
        if is_killed {
            stage.gateway.kill9();
        } else {
            stage.gateway.stop(SOON);
        }
        stage.restart();
        assert_eq!(["old", "older", "new"].map(|id| stage.ask("on", id)), [&repeated, &older, &new].map(String::clone));
        assert_eq!(stage.actions(), 0);
    }
    report("A2", "a start on a read-only disk, then it is writable, then a kill", "every id known, no second action");
}

#[test]
fn a6_a_slow_disk_delays_no_command_with_an_id() {
    if !may("A6", &["strace"]) {
        return;
    }
    let mut stage = Stage::new(folder(), None);
    let mut arguments = spool_files(&stage.folder.path().join("spool"));
    let delay = times(Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2));
    let calls = "fsync,fdatasync";
    let inject = format!("inject={calls}:delay_enter={}", delay.as_micros());
    arguments.extend(["-e".into(), format!("trace={calls}"), "-e".into(), inject]);
    let tracer = Tracer::attach(&stage.gateway, &stage.folder.path().join("strace"), &arguments);
    let tried = times(10, 50, 200);
    // Those without an id are the floor: nothing of them goes to the disk before they are answered, and strace delays them as much.
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for n in 0..tried {
        with.push(stage.acts(("on", 1), |value| stage.send(value, &format!("c{n}"))));
        without.push(stage.acts(("off", 0), |value| stage.broker.send("b/actuators/pump/set", value)));
    }
    drop(tracer);
    with.sort_unstable();
    // Had one to wait for a sync, nearly all had, for there is always one under way; a machine that stumbles makes few late.
    let (floor, middle, most) = (without.iter().max().unwrap(), with[tried / 2], with[tried * 19 / 20]);
    assert!(middle < delay / 2, "half of them acted after {middle:?} or later");
    assert!(most <= *floor + ACTS, "acted after {most:?}, without an id after {floor:?} at most");
    let answers = || stage.broker.notes().iter().filter(|note| note.topic == "b/actuators/pump/reply").count();
    wait_until("every answer", SOON * 2, || answers() >= 2 * tried);
    stage.gateway.kill9();
    stage.restart();
    let again: Value = serde_json::from_str(&stage.ask("on", &format!("c{}", tried - 1))).unwrap();
    assert_eq!((&again["outcome"], stage.actions()), (&"done".into(), 0), "{again}");
    let happened = format!(
        "19 of 20 acted within {} ms, as many without an id within {} ms at most, each was answered and remembered",
        most.as_millis(),
        floor.as_millis()
    );
    report("A6", &format!("{tried} commands with an id while each fsync takes {delay:?}"), &happened);
}

#[test]
fn d6_an_id_costs_one_small_write_and_a_flood_of_them_two_a_second() {
    if !may("D6", &TOOLS) {
        return;
    }
    let folder = folder();
    let disk = Mount::ext4(folder.path(), 64 << 20);
    let stage = Stage::new(folder, Some(disk));
    // As many as may be written at once.
    let few = 4;
    let before = written(&stage.gateway);
    (0..few).for_each(|n| drop(stage.ask("on", &format!("few{n}"))));
    let each = (written(&stage.gateway) - before) / few;
    let (begun, before, span) = (Instant::now(), written(&stage.gateway), Duration::from_secs(times(5, 20, 60)));
    let mut sent: u64 = 0;
    while begun.elapsed() < span {
        stage.ask("on", &format!("flood{sent}"));
        sent += 1;
    }
    let rate = (written(&stage.gateway) - before) / span.as_secs();
    let happened = format!("{each} bytes for each; at {} a second {rate} bytes a second", sent / span.as_secs());
    report("D6", "commands with an id on ext4", &happened);
    assert!((1..=20_000).contains(&each), "{happened}");
    assert!(rate <= 200_000, "{happened}");
}
