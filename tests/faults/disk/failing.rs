//! D2: the disk fails, is full or cannot be written, and comes back. Sampling and commands go on, health says what is wrong,
//! and nothing is lost but what is reported.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::mount::{Mount, TOOLS};
use crate::common::gateway::Gateway;
use crate::common::pace::slack;
use crate::common::quick::{LONG, config, folder, start, taken, wait_taken};
use crate::common::{SOON, wait_for, wait_until};
use crate::moody::{Mood, MoodyBroker};
use crate::suite::{Scale, may, report, scale, times};
use crate::tracer::{Tracer, spool_files};

/// What the row allows.
const RECOVERS: Duration = Duration::from_secs(5);

/// The answer to a command, on a loaded machine.
const ANSWERS: Duration = Duration::from_secs(1);

/// How often that is tried.
const ATTEMPTS: usize = 5;

/// Twenty-five readings every 20 ms or less, on a loaded machine.
const SAMPLES: Duration = Duration::from_secs(2);

const REST: &str = "buses: { bench: { type: sim } }
sensors:
  n: { driver: waveform, every: EVERY, settings: { shape: counter } }
  x: { driver: waveform, every: EVERY, settings: { shape: counter } }
  y: { driver: waveform, every: EVERY, settings: { shape: counter } }
actuators:
  pump: { driver: gpio-output, bus: bench, settings: { line: GPIO27 }, safe_state: \"off\", safe_after: never }
";

/// The alarm need not wait for a second.
const COMMIT: &str = ", commit_every: 200ms";

const FAILING: &str = "The spool cannot use its disk";
const AGAIN: &str = "The spool can be written again";

/// A program on a disk that is about to fail.
struct Stage {
    broker: MoodyBroker,
    gateway: Gateway,
    text: String,
    // In this order: what is mounted in the folder goes before it.
    disk: Option<Mount>,
    folder: TempDir,
}

impl Stage {
    fn new(folder: TempDir, disk: Option<Mount>, spool: &str, every: &str) -> Self {
        let broker = MoodyBroker::new(Mood::Acknowledges);
        let text = config(&broker.url(), "", spool, &REST.replace("EVERY", every));
        let gateway = start(folder.path(), &text);
        Self { broker, gateway, text, disk, folder }
    }

    fn spool(&self) -> PathBuf {
        self.folder.path().join("spool")
    }

    /// Readings have to go to the disk, and it fails: the alarm comes, sampling goes on.
    fn gather(&mut self) {
        wait_taken(&self.gateway, 20);
        self.broker.be(Mood::Absent);
    }

    /// The alarm has come; sampling, health and commands go on.
    fn endure(&mut self, word: &str) {
        self.gateway.wait_log(FAILING, LONG);
        self.sample();
        self.broker.be(Mood::Acknowledges);
        // Not at the first look: a spool on a full disk gives its reserve, and can be written until somebody takes that room too.
        wait_until(&format!("health to say {word:?}"), LONG, || {
            self.error().as_str().is_some_and(|error| error.contains(word))
        });
        self.command("on");
        self.broker.be(Mood::Absent);
        self.sample();
    }

    /// What health says of the disk.
    fn error(&self) -> Value {
        self.broker.health(&self.gateway)["spool"]["error"].clone()
    }

    /// Sampling goes on: half a second of readings in two, on a loaded machine.
    fn sample(&self) {
        let then = taken(&self.gateway);
        wait_until("sampling to go on", SAMPLES, || taken(&self.gateway) >= then + 25);
    }

    /// A command acts and is answered in time. One that waits for the disk does so each time; a busy machine is late now and then.
    fn command(&self, value: &str) {
        let is_in_time = |_| {
            let asked = Instant::now();
            self.ask(value);
            eprintln!("fault D2: answered after {:?}", asked.elapsed());
            asked.elapsed() < ANSWERS + slack(asked)
        };
        assert!((0..ATTEMPTS).any(is_in_time), "none of {ATTEMPTS} answers came within {ANSWERS:?}");
    }

    /// The same while a backlog drains: the answer overtakes it. The broker takes two hundred messages a second until it has the
    /// answer, so that a quick machine has not sent everything before the command. Nothing of the backlog may be fresh: among
    /// fresh readings that are more than the broker takes, the answer grows late itself, and waits with the backlog.
    fn command_amid_backlog(&mut self, value: &str) {
        self.broker.be(Mood::Slow);
        // It has subscribed.
        self.broker.health(&self.gateway);
        self.ask(value);
        self.broker.be(Mood::Acknowledges);
        self.broker.wait_drained(&self.gateway, LONG);
        let topics = self.broker.topics();
        let answer = topics.iter().rposition(|topic| topic == "b/actuators/pump/reply").unwrap();
        let [before, behind] =
            [&topics[..answer], &topics[answer..]].map(|part| part.iter().filter(|topic| *topic == "b/late/n").count());
        assert!(behind > before, "the answer came when {before} of {} that had waited were sent", before + behind);
    }

    /// A command with an id acts and is answered, once.
    fn ask(&self, value: &str) {
        let before = self.broker.count();
        let id = format!("c{before}");
        self.broker.send("b/actuators/pump/set", &format!("{{\"value\":\"{value}\",\"id\":\"{id}\"}}"));
        let reply = wait_for("a reply", LONG, || self.broker.newest("b/actuators/pump/reply", before));
        let reply: Value = serde_json::from_str(&reply.payload).unwrap();
        assert_eq!((&reply["outcome"], &reply["value"]), (&"done".into(), &value.into()), "{reply}");
    }

    /// The disk is back since `since`; returns after how long the spool could be written. The last word counts: it may have been
    /// written before too, see `endure`, and have failed since.
    fn recover(&self, since: Instant) -> Duration {
        wait_until("the spool to be written", LONG, || {
            let log = self.gateway.log();
            log.rfind(AGAIN).is_some_and(|again| log.rfind(FAILING).is_none_or(|failing| failing < again))
        });
        let took = since.elapsed();
        assert!(took <= RECOVERS + slack(since), "written again after {took:?}");
        took
    }

    /// Delivers everything, and everything is accounted for. Returns taken and reported.
    fn settle(mut self) -> (u64, u64) {
        self.broker.be(Mood::Acknowledges);
        self.broker.wait_drained(&self.gateway, LONG);
        // A write that began before the disk came back may have failed after it.
        wait_until("health without an error", RECOVERS, || self.error().is_null());
        self.command("off");
        self.gateway.stop(SOON);
        let account = self.broker.account("n");
        account.check_whole();
        let run = account.runs.last().unwrap();
        assert_eq!(account.last(run), taken(&self.gateway));
        self.broker.account("x").check_whole();
        self.broker.account("y").check_whole();
        (taken(&self.gateway), account.reported(run))
    }
}

fn report_end(what: &str, (taken, reported): (u64, u64), recovered: Duration) {
    let received = taken - reported;
    let recovered = recovered.as_secs_f64();
    let happened = format!(
        "{taken} taken, {received} received, {reported} reported as lost; alarm in health, commands answered, written again after \
         {recovered:.1} s"
    );
    report("D2", what, &happened);
}

/// Answers system calls on the spool's files with an error for a while.
fn errors(what: &str, calls: &str, error: &str, word: &str) {
    if !may("D2", &["strace"]) {
        return;
    }
    let mut stage = Stage::new(folder(), None, COMMIT, "10ms");
    let mut arguments = spool_files(&stage.spool());
    arguments.extend(["-e".into(), format!("trace={calls}"), "-e".into(), format!("inject={calls}:error={error}")]);
    stage.gather();
    let tracer = Tracer::attach(&stage.gateway, &stage.folder.path().join("strace"), &arguments);
    stage.endure(word);
    std::thread::sleep(Duration::from_secs(times(0, 10, 30)));
    drop(tracer);
    let took = stage.recover(Instant::now());
    report_end(what, stage.settle(), took);
}

#[test]
fn d2_an_fsync_that_fails_once_loses_nothing() {
    if !may("D2", &["strace"]) {
        return;
    }
    let mut stage = Stage::new(folder(), None, COMMIT, "10ms");
    let mut arguments = spool_files(&stage.spool());
    let calls = "fsync,fdatasync";
    // The third: by then there is something on the disk that a wrong recovery could lose.
    let inject = format!("inject={calls}:error=EIO:when=3");
    arguments.extend(["-e".into(), format!("trace={calls}"), "-e".into(), inject]);
    stage.gather();
    let tracer = Tracer::attach(&stage.gateway, &stage.folder.path().join("strace"), &arguments);
    stage.gateway.wait_log(FAILING, LONG);
    let took = stage.recover(Instant::now());
    let then = taken(&stage.gateway);
    wait_taken(&stage.gateway, then + 100);
    drop(tracer);
    report_end("the third fsync fails with EIO, then they work", stage.settle(), took);
}

#[test]
fn d2_a_disk_that_fails_every_fsync_for_a_while_loses_nothing() {
    errors("every fsync fails with EIO for a while", "fsync,fdatasync", "EIO", "disk I/O error");
}

#[test]
fn d2_a_disk_that_becomes_read_only_for_a_while_loses_nothing() {
    if scale() == Scale::Short {
        // What differs from an fsync that fails is in SQLite, and the start on such a disk is tried below.
        return;
    }
    errors("every write fails with EROFS for a while", "pwrite64,write,ftruncate", "EROFS", "cannot be written");
}

/// Somebody who takes all room of a disk, also what becomes free, until it is dropped.
struct Filler {
    path: PathBuf,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Filler {
    /// Returns when there is no room left.
    fn start(at: &Path) -> Self {
        let (path, stopping) = (at.join("filling"), Arc::new(AtomicBool::new(false)));
        fill(&path);
        let (file, stop) = (path.clone(), Arc::clone(&stopping));
        let thread = std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                fill(&file);
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        Self { path, stopping, thread: Some(thread) }
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
        // On a failure the disk may be gone already.
        fs::remove_file(&self.path).ok();
    }
}

/// More than any disk here has, in pieces; were it not mounted, nothing else would fill up.
const PIECES: usize = 2048;

/// The first error is the end of the room.
fn fill(path: &Path) {
    if let Ok(mut file) = fs::OpenOptions::new().create(true).append(true).open(path) {
        (0..PIECES).all(|_| file.write_all(&[b'x'; 4096]).is_ok());
    }
}

#[test]
fn d2_a_full_disk_loses_nothing_and_is_used_again_when_there_is_room() {
    if !may("D2", &TOOLS) {
        return;
    }
    let folder = folder();
    let disk = Mount::tmpfs(folder.path(), "size=2m,nr_inodes=20");
    let mut stage = Stage::new(folder, Some(disk), ", max_size: 1MiB, commit_every: 200ms", "10ms");
    stage.gather();
    let filler = Filler::start(&stage.spool());
    stage.endure("full");
    std::thread::sleep(Duration::from_secs(times(0, 10, 30)));
    drop(filler);
    let took = stage.recover(Instant::now());
    report_end("the disk is full, then has room", stage.settle(), took);
}

#[test]
fn d2_a_disk_that_stays_full_costs_the_oldest_and_they_are_reported() {
    if !may("D2", &TOOLS) {
        return;
    }
    let folder = folder();
    let disk = Mount::tmpfs(folder.path(), "size=2m,nr_inodes=20");
    let mut stage = Stage::new(folder, Some(disk), ", max_size: 1MiB, commit_every: 200ms", "1ms");
    wait_taken(&stage.gateway, 20);
    let filler = Filler::start(&stage.spool());
    stage.gather();
    // Two mebibytes of memory are full before this, with the other two sensors.
    wait_taken(&stage.gateway, times(3500, 10_000, 18_000));
    calm(&stage);
    stage.endure("full");
    drop(filler);
    let took = stage.recover(Instant::now());
    let (taken, reported) = stage.settle();
    assert!(reported > 300, "{reported} of {taken} reported as lost");
    report_end("the disk stays full until memory is full too", (taken, reported), took);
}

/// A slower period, so that a debug build of the program and of the broker can follow.
fn calm(stage: &Stage) {
    reload(stage, &stage.text.replace("every: 1ms", "every: 20ms"));
}

fn reload(stage: &Stage, text: &str) {
    fs::write(stage.folder.path().join("fieldgate.yaml"), text).unwrap();
    stage.gateway.signal(rustix::process::Signal::HUP);
    stage.gateway.wait_log("Configuration reloaded", SOON);
}

#[test]
fn d2_a_max_size_larger_than_the_free_disk_fills_no_more_than_that_and_gets_empty_again() {
    if !may("D2", &TOOLS) {
        return;
    }
    let folder = folder();
    let disk = Mount::tmpfs(folder.path(), "size=1m,nr_inodes=20");
    let mut stage = Stage::new(folder, Some(disk), ", max_size: 64MiB, commit_every: 100ms", "1ms");
    stage.gather();
    // The disk and two mebibytes of memory are full before this, with the other two sensors.
    wait_taken(&stage.gateway, times(6000, 12_000, 18_000));
    // What a slow broker takes by far, and an answer that is late only on a machine that stops for as long.
    let calm = stage.text.replace("every: 1ms", "every: 100ms").replace("late_after: 1s", "late_after: 5s");
    reload(&stage, &calm);
    let then = taken(&stage.gateway);
    // Six seconds: what was taken at a millisecond is late.
    wait_taken(&stage.gateway, then + 60);
    stage.command_amid_backlog("on");
    let (taken, reported) = stage.settle();
    assert!(reported > 100, "{reported} of {taken} reported as lost");
    report(
        "D2",
        "`max_size: 64MiB` on a disk of 1 MiB, until memory is full too; then the broker is back",
        &format!("{taken} taken, {} received, {reported} reported as lost; drained, no alarm left", taken - reported),
    );
}

#[test]
fn d2_a_start_on_a_full_disk_works_from_memory_until_there_is_room() {
    if !may("D2", &TOOLS) {
        return;
    }
    let folder = folder();
    let disk = Mount::tmpfs(folder.path(), "size=1m,nr_inodes=20");
    let filler = Filler::start(&disk.at);
    let mut stage = Stage::new(folder, Some(disk), ", max_size: 1MiB, commit_every: 200ms", "10ms");
    stage.gather();
    stage.endure("");
    stage.disk.as_ref().unwrap().remount("size=4m");
    drop(filler);
    let took = stage.recover(Instant::now());
    report_end("a start on a full disk, then it has room", stage.settle(), took);
}

#[test]
fn d2_a_start_on_a_read_only_disk_works_from_memory_until_it_is_writable() {
    if !may("D2", &TOOLS) {
        return;
    }
    let folder = folder();
    let disk = Mount::ext4(folder.path(), 16 << 20);
    disk.remount("ro");
    let mut stage = Stage::new(folder, Some(disk), COMMIT, "10ms");
    stage.gather();
    stage.endure("");
    stage.disk.as_ref().unwrap().remount("rw");
    let took = stage.recover(Instant::now());
    report_end("a start on a read-only disk, then it is writable", stage.settle(), took);
}
