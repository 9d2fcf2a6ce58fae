//! A6, and C1's limits without anything: the disk is dead, the spool full, the sensors hang, and then the broker goes too.

use std::time::{Duration, Instant, SystemTime};

use tempfile::TempDir;

use super::{TOLERANCE, late_or_early, millis, set, switch};
use crate::common::gateway::Gateway;
use crate::common::pace::slack;
use crate::common::quick::{LONG, config, folder, start, taken, wait_taken};
use crate::common::sim_file::SimFile;
use crate::common::watch::Watch;
use crate::common::{SOON, wait_until};
use crate::disk::mount::{Mount, TOOLS};
use crate::moody::{Mood, MoodyBroker};
use crate::suite::{may, report, times};

const WITHIN: Duration = Duration::from_millis(50);

/// Fewer than may come at once.
const REPEATS: usize = 50;

const REST: &str = "buses:
  bench: { type: sim, state_file: bench.json }
  one: { type: sim, state_file: one.json }
  two: { type: sim, state_file: two.json }
sensors:
  n: { driver: waveform, every: 1ms, settings: { shape: counter } }
  x: { driver: waveform, every: 1ms, settings: { shape: counter } }
  air: { driver: bme280, bus: one, every: 100ms, settings: { address: 0x76 } }
  sun: { driver: bh1750, bus: two, every: 100ms, settings: {} }
actuators:
";

/// Everything that a command does not need is dead: the disk does not answer, memory is full, and each sensor hangs.
struct Stage {
    broker: MoodyBroker,
    gateway: Gateway,
    disk: Mount,
    folder: TempDir,
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Nothing could end while it waits for the disk.
        self.disk.thaw();
    }
}

impl Stage {
    fn new() -> Self {
        let folder = folder();
        let disk = Mount::ext4(folder.path(), 16 << 20);
        let broker = MoodyBroker::new(Mood::Acknowledges);
        let outputs = [
            switch("pump", 1, "safe_after: 2s"),
            switch("boiler", 2, "max_on: 1200ms, safe_after: never"),
            switch("lamp", 3, "safe_after: never"),
        ];
        let rest = format!("{REST}{}", outputs.concat());
        let gateway = start(folder.path(), &config(&broker.url(), "", ", commit_every: 100ms", &rest));
        wait_taken(&gateway, 20);
        let stage = Self { broker, gateway, disk, folder };
        stage.wait_sensors("ok");
        stage
    }

    fn bus(&self, name: &str) -> SimFile {
        SimFile::new(self.folder.path().join(format!("{name}.json")))
    }

    fn kill_all(&mut self) {
        for (bus, address) in [("one", "0x76"), ("two", "0x23")] {
            self.bus(bus).set_fault(address, Some("hang"));
        }
        self.disk.freeze();
        self.broker.be(Mood::Slow);
        self.wait_sensors("down");
        // The spool's memory is full, and the recorder waits for it: it notes nothing more.
        let mut then = (taken(&self.gateway), Instant::now());
        wait_until("memory to be full", LONG, || {
            let now = taken(&self.gateway);
            if now != then.0 {
                then = (now, Instant::now());
            }
            then.1.elapsed() > Duration::from_millis(500)
        });
    }

    fn wait_sensors(&self, word: &str) {
        for sensor in ["air", "sun"] {
            let (topic, word) = (format!("b/sensors/{sensor}/status"), format!("\"{word}\""));
            let is_so = || self.broker.newest(&topic, 0).is_some_and(|status| status.payload.contains(&word));
            wait_until(&format!("{sensor} to be {word}"), LONG, is_so);
        }
    }

    /// How long commands took: in the middle, of one in a hundred, and at most.
    fn commands(&self, count: usize) -> (Duration, Duration, Duration) {
        let command = |nth: usize| {
            std::thread::sleep(Duration::from_millis(2));
            if nth.is_multiple_of(2) { self.command("on", 1) } else { self.command("off", 0) }
        };
        let mut took: Vec<_> = (0..count).map(command).collect();
        took.sort_unstable();
        (took[count / 2], took[count * 99 / 100], took[count - 1])
    }

    /// From sending a command until its line has the level.
    fn command(&self, value: &str, level: u64) -> Duration {
        self.broker.send(&set("pump"), value);
        self.acts(value, level)
    }

    /// How long a command takes behind others that only have to be answered, as many as find room.
    fn behind_repeats(&self, nth: usize) -> Duration {
        let repeat = &format!(r#"{{"value":"on","id":"again{nth}"}}"#);
        self.command(repeat, 1);
        // What there were before count in the pace at which commands are taken.
        std::thread::sleep(Duration::from_millis(500));
        (0..REPEATS).for_each(|_| self.broker.send(&set("pump"), repeat));
        self.command("off", 0)
    }

    /// From now until the line has the level, without what the machine held up everybody.
    fn acts(&self, value: &str, level: u64) -> Duration {
        let (bus, asked) = (self.bus("bench"), Instant::now());
        while bus.line("GPIO1") != Some(level) {
            assert!(asked.elapsed() < SOON + slack(asked), "{value} does not act");
            std::thread::sleep(Duration::from_micros(200));
        }
        asked.elapsed().saturating_sub(slack(asked))
    }
}

#[test]
fn a6_a_command_acts_and_limits_hold_while_disk_spool_sensors_and_broker_are_dead() {
    if !may("A6", &[TOOLS.as_slice(), &["fsfreeze"]].concat()) {
        return;
    }
    let mut stage = Stage::new();
    stage.kill_all();
    let tried = times(200, 300, 1000);
    // What hangs would hold up each round; a busy machine does not always.
    let mut rounds = (0..3).map(|_| stage.commands(tried)).inspect(|took| eprintln!("fault A6: {took:?}"));
    let (middle, most, last) = rounds.find(|(_, most, _)| *most <= WITHIN).expect("p99 is within 50 ms");
    let happened = format!("acted after p50 {}, p99 {}, at most {}", millis(middle), millis(most), millis(last));
    report("A6", &format!("{tried} commands: disk hangs, memory full, two buses hang, 2,000 readings/s"), &happened);
    // A repeat costs no more than a command of its own, nor does a busy machine do them quicker.
    let allowed = (4 * WITHIN).max(middle * u32::try_from(REPEATS).unwrap());
    let mut rounds =
        (0..3).map(|nth| stage.behind_repeats(nth)).inspect(|took| eprintln!("fault A6: behind repeats: {took:?}"));
    let behind = rounds
        .find(|behind| *behind <= allowed)
        .unwrap_or_else(|| panic!("more than {allowed:?} behind {REPEATS} repeats"));
    report(
        "A6",
        &format!("the same, behind {REPEATS} repeats of one command"),
        &format!("acted after {}", millis(behind)),
    );
    limits(stage);
}

/// Now the broker goes, too.
fn limits(mut stage: Stage) {
    let bus = stage.bus("bench");
    let watch = Watch::over(&[(&bus, "GPIO1"), (&bus, "GPIO2"), (&bus, "GPIO3")]);
    let (mut earliest, begun) = (SystemTime::UNIX_EPOCH, Instant::now());
    for (output, payload, line) in
        [("pump", "on", "GPIO1"), ("lamp", r#"{"value":"on","for":"1500ms"}"#, "GPIO3"), ("boiler", "on", "GPIO2")]
    {
        // The last byte may be that of the last command, for there is nothing left to acknowledge.
        earliest = SystemTime::now();
        stage.broker.send(&set(output), payload);
        bus.wait_line(line, 1, SOON);
    }
    stage.broker.be(Mood::Absent);
    let latest = SystemTime::now();
    for line in ["GPIO1", "GPIO2", "GPIO3"] {
        bus.wait_line(line, 0, SOON);
    }
    let seen = watch.end();
    let off_by =
        |output: usize, expected: u64| seen.on(output)[0].lasted().unwrap().abs_diff(Duration::from_millis(expected));
    let off = [
        late_or_early((earliest, latest), Duration::from_secs(2), seen.on(0)[0].to.unwrap()),
        off_by(1, 1200),
        off_by(2, 1500),
    ];
    let allowed = TOLERANCE + slack(begun);
    assert!(off.iter().all(|off| *off <= allowed), "{off:?}");
    stage.disk.thaw();
    stage.broker.be(Mood::Acknowledges);
    stage.gateway.stop(LONG);
    let [safe, max_on, lease] = off.map(millis);
    let happened = format!("`safe_after: 2s` off by {safe}, `max_on: 1200ms` by {max_on}, `for: 1500ms` by {lease}");
    report("A6", "the same, and the broker gone", &happened);
}
