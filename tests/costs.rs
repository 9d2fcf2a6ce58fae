//! What a reading costs, in counts that do not depend on the machine: system calls and voluntary context switches.
//!
//! They are counted between two readings of one sensor, by the numbers that these bear, so a slow machine makes the count late
//! but not larger. One that is so busy that ticks are skipped pays its regular work for fewer readings: then it is counted again.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::fs;
use std::path::Path;
use std::time::Duration;

use common::client::Client;
use common::gateway::Gateway;
use common::mosquitto::Mosquitto;
use common::{SOON, wait_for};
use fieldgate_model::{Key, Message, MessageKind, Name, Qos, RunId};
use fieldgate_spool::{self as spool, WhenFull};
use tempfile::TempDir;

/// Readings of each sensor that are counted together.
const ROUNDS: u64 = 4;

/// A count that is too high is made again so often.
const ATTEMPTS: usize = 4;

/// Every sensor is read once a second, so on any machine that runs these tests this much has come.
const LONG: Duration = Duration::from_secs(60);

/// The program with so many sensors on one bus, all of them due together once a second.
struct Bench {
    _broker: Mosquitto,
    client: Client,
    folder: TempDir,
    gateway: Gateway,
    sensors: u64,
}

impl Bench {
    fn start(sensors: u64, start: impl Fn(&Path, &str) -> Gateway) -> Self {
        let (broker, folder) = (Mosquitto::start(), tempfile::tempdir().unwrap());
        let client = Client::subscribe(&broker.endpoint(), &["b/sensors/s0"]);
        let names = 0..sensors;
        let lines = names.map(|n| {
            format!("  s{n}: {{ driver: waveform, bus: bench, every: 1s, settings: {{ shape: counter }} }}\n")
        });
        let config = format!(
            "gateway: {{ name: t }}\nmqtt: {{ broker: \"{}\", base_topic: b }}\nspool: {{ path: spool }}\n\
             buses: {{ bench: {{ type: sim }} }}\nsensors:\n{}",
            broker.url(),
            lines.collect::<String>()
        );
        let gateway = start(folder.path(), &config);
        Self { _broker: broker, client, folder, gateway, sensors }
    }

    /// The number of the last reading of the first sensor that has arrived, once it is so high.
    fn arrived(&self, at_least: u64) -> u64 {
        wait_for(&format!("reading {at_least} to arrive"), LONG, || {
            let last = self.client.all("b/sensors/s0").last()?.json()["seq"].as_u64()?;
            (last >= at_least).then_some(last)
        })
    }

    /// The least of a few counts for each reading; ends with the first that is within the limit.
    fn check(&self, what: &str, limit: f64, count: impl Fn() -> u64) {
        let mut costs = Vec::new();
        // The first readings share their time with the start.
        let mut from = self.arrived(3);
        for _ in 0..ATTEMPTS {
            let before = count();
            let to = self.arrived(from + ROUNDS);
            let cost = (count() - before) as f64 / ((to - from) * self.sensors) as f64;
            if cost <= limit {
                return;
            }
            (from, costs) = (to, [costs, vec![cost]].concat());
        }
        let sensors = self.sensors;
        panic!("{what} for each reading at {sensors} sensors: {costs:.2?}, and no more than {limit} are allowed");
    }
}

fn check_system_calls(sensors: u64, limit: f64) {
    let log = |folder: &Path| folder.join("calls");
    let bench = Bench::start(sensors, |folder, config| {
        // From the start, for without root nobody may look into the running program. It remains our child.
        let wrapper =
            ["strace", "-D", "-f", "-qq", "-e", "signal=none", "-o", log(folder).to_str().unwrap()].map(str::to_owned);
        Gateway::under(&wrapper.each_ref().map(String::as_str), folder, config, &[])
    });
    bench.check("system calls", limit, || {
        let calls = fs::read_to_string(log(bench.folder.path())).unwrap();
        // One that was interrupted by another thread's has two lines.
        calls.lines().filter(|line| !line.contains(" resumed>")).count() as u64
    });
}

fn check_switches(sensors: u64, limit: f64) {
    let bench = Bench::start(sensors, Gateway::start);
    bench.check("context switches", limit, || {
        let tasks = fs::read_dir(format!("/proc/{}/task", bench.gateway.pid())).unwrap();
        let switches = |status: String| {
            let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).map(str::trim)?;
            line.parse::<u64>().ok()
        };
        tasks.flatten().filter_map(|task| switches(fs::read_to_string(task.path().join("status")).ok()?)).sum()
    });
}

#[test]
fn system_calls_for_each_of_20_sensors() {
    check_system_calls(20, 6.0);
}

#[test]
fn system_calls_for_each_of_200_sensors() {
    check_system_calls(200, 3.0);
}

#[test]
fn context_switches_for_each_of_20_sensors() {
    check_switches(20, 2.5);
}

#[test]
fn context_switches_for_each_of_200_sensors() {
    check_switches(200, 1.5);
}

/// Starts the program in this folder until the first reading is at the broker. Returns these calls, of one thread or of all.
fn calls_of_a_start(folder: &Path, calls: &str, only_main: bool) -> usize {
    let log = folder.join("start");
    let broker = Mosquitto::start();
    let client = Client::subscribe(&broker.endpoint(), &["b/sensors/s0"]);
    let config = format!(
        "gateway: {{ name: t }}\nmqtt: {{ broker: \"{}\", base_topic: b }}\nspool: {{ path: spool, commit_every: 60s }}\n\
         sensors:\n  s0: {{ driver: waveform, every: 1s, settings: {{ shape: counter }} }}\n",
        broker.url(),
    );
    let output = log.to_str().unwrap();
    let calls = format!("trace={calls}");
    let wrapper = ["strace", "-D", "-f", "-qq", "-e", "signal=none", "-e", &calls, "-o", output];
    let mut gateway = Gateway::under(&wrapper, folder, &config, &[]);
    wait_for("the first reading", LONG, || client.all("b/sensors/s0").pop());
    // Then the log is read: the stop writes as well.
    let calls = fs::read_to_string(&log).unwrap();
    let main = format!("{} ", gateway.pid());
    gateway.stop(SOON);
    let of_whom = calls.lines().filter(|line| !only_main || line.starts_with(&main));
    of_whom.filter(|line| !line.contains(" resumed>")).count()
}

#[test]
fn a_start_waits_for_the_disk_only_a_few_times() {
    let folder = tempfile::tempdir().unwrap();
    let [first, next] = [(); 2].map(|()| calls_of_a_start(folder.path(), "fsync,fdatasync", false));
    assert!(first <= 7, "a new spool: {first}");
    assert!(next <= 3, "an existing one: {next}");
}

/// Leaves a spool with so many readings of an earlier run.
fn leave_a_backlog(folder: &Path, readings: u64) {
    let (path, when_full) = (folder.join("spool"), WhenFull::DropOldest);
    let settings = spool::Settings { path, max_size: 64 << 20, commit_every: Duration::from_secs(1), when_full };
    let (spool, thread) = spool::open(settings, RunId(7)).unwrap();
    let source = Name::new("earlier").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for seq in 1..=readings {
        let message = Message {
            key: Key { kind: MessageKind::Reading, source: source.clone() },
            run: RunId(7),
            seq,
            taken_at: fieldgate_clock::now(),
            qos: Qos::AtLeastOnce,
            retain: false,
            body: br#""temperature":21.53,"humidity":44.8"#.to_vec(),
        };
        runtime.block_on(spool.append(message)).unwrap();
    }
    runtime.block_on(spool.close());
    thread.join().unwrap();
}

#[test]
fn a_start_reads_a_few_pages_of_the_spool_before_it_goes_on_however_large_that_is() {
    let folder = tempfile::tempdir().unwrap();
    leave_a_backlog(folder.path(), 50_000);
    let pages = fs::metadata(folder.path().join("spool/spool.db")).unwrap().len() / 4096;
    assert!(pages > 1000, "{pages} pages are no backlog");
    let read = calls_of_a_start(folder.path(), "pread64", true);
    assert!(read <= 40, "{read} of {pages} pages were read before the outputs could be made safe");
}
