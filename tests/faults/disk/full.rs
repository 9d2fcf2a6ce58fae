//! D5: the spool has been full for long: its bytes are bounded, the account is exact, and it is emptied quickly while the
//! present is reported at once.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use fieldgate_model::{Key, Message, MessageKind, Name, Qos, RunId};
use fieldgate_spool::{Settings, WhenFull, open};
use rustix::process::Signal;
use serde_json::Value;

use super::mount::{Mount, TOOLS, bytes_in};
use crate::common::account::Account;
use crate::common::gateway::{Gateway, program_path};
use crate::common::ledger::Note;
use crate::common::pace::{at, slack_between};
use crate::common::quick::{LONG, config, folder, start};
use crate::common::{SOON, wait_until};
use crate::moody::{Mood, MoodyBroker};
use crate::suite::{may, report, times};

/// What the row asks for. A debug build is several times slower, and both it and the broker of the test may be kept waiting by other
/// tests; most of the time it keeps the number nevertheless.
fn drained_per_second() -> u64 {
    if program_path().contains("release") { 2000 } else { 500 }
}

/// The row's other number.
const LIVE_P99: Duration = Duration::from_secs(1);

/// Long names fill a spool sooner.
const NAME: &str = "a-sensor-with-the-longest-name-that-a-sensor-can-have-1234567890";

/// Three of them fill it sooner still.
fn names() -> [String; 3] {
    ["a", "x", "y"].map(|first| format!("{first}{}", &NAME[1..]))
}

/// Looks at the bytes on the disk all the time.
struct Scales {
    most: Arc<AtomicU64>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Scales {
    fn on(folder: &Path) -> Self {
        let (most, stopping) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (known, stop, folder) = (Arc::clone(&most), Arc::clone(&stopping), folder.to_owned());
        let thread = std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                known.fetch_max(bytes_in(&folder), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Self { most, stopping, thread: Some(thread) }
    }

    fn most(&self) -> u64 {
        self.most.load(Ordering::Relaxed)
    }
}

impl Drop for Scales {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// The last number of the sensor by the log; looked at with pauses, for the log is long.
fn taken(gateway: &Gateway) -> u64 {
    std::thread::sleep(Duration::from_millis(100));
    let log = gateway.log();
    let numbers = format!("Reading. sensor={NAME} seq=");
    log.rsplit_once(&numbers).map_or(0, |(_, rest)| rest.split_whitespace().next().unwrap().parse().unwrap())
}

/// Fills a spool and more with readings of three such sensors up to number `overfull`, then lets a broker have it.
struct Overflow {
    account: Account,
    overfull: u64,
    most: u64,
    max_size: u64,
    drained: Drained,
}

struct Drained {
    readings: usize,
    took: Duration,
    /// From the sampling to the arrival of readings that were fresh meanwhile, sorted.
    live: Vec<Duration>,
    /// What of it may be the machine's.
    slack: Duration,
}

fn overflow(when_full: &str, max_mib: u64, overfull: u64) -> Overflow {
    let folder = folder();
    let mut broker = MoodyBroker::new(Mood::Absent);
    let text = |every: &str| {
        let sensor = format!("driver: waveform, every: {every}, settings: {{ shape: counter }}");
        let rest: String = names().iter().map(|name| format!("  {name}: {{ {sensor} }}\n")).collect();
        let rest = format!("sensors:\n{rest}");
        config(
            &broker.url(),
            "",
            &format!(", max_size: {max_mib}MiB, commit_every: 100ms, when_full: {when_full}"),
            &rest,
        )
    };
    let mut gateway = start(folder.path(), &text("1ms"));
    let scales = Scales::on(&folder.path().join("spool"));
    wait_until("enough readings", LONG * 8, || taken(&gateway) >= overfull);
    // A slower period, so that what is late and what is fresh can be distinguished.
    fs::write(folder.path().join("fieldgate.yaml"), text("100ms")).unwrap();
    gateway.signal(Signal::HUP);
    gateway.wait_log("Configuration reloaded", SOON);
    // What is fresh is younger than a second.
    std::thread::sleep(Duration::from_millis(1500));
    broker.be(Mood::Acknowledges);
    broker.wait_drained(&gateway, LONG * 4);
    let drained = drained(&broker.notes());
    let last = taken(&gateway);
    gateway.stop(SOON);
    let account = broker.account(NAME);
    account.check_whole();
    assert_eq!(account.runs.len(), 1);
    assert!(account.last(&account.runs[0]) >= last);
    for name in &names()[1..] {
        broker.account(name).check_whole();
    }
    let overflow = Overflow { account, overfull, most: scales.most(), max_size: max_mib << 20, drained };
    overflow.check();
    overflow
}

impl Overflow {
    fn reported(&self) -> u64 {
        self.account.reported(&self.account.runs[0])
    }

    fn absent(&self) -> Vec<u64> {
        self.account.absent(&self.account.runs[0], self.overfull)
    }

    fn rate(&self) -> u64 {
        (self.drained.readings as f64 / self.drained.took.as_secs_f64()) as u64
    }

    fn p99(&self) -> Duration {
        self.drained.live[self.drained.live.len() * 99 / 100]
    }

    fn check(&self) {
        assert!(self.reported() > self.overfull / 10, "{} lost", self.reported());
        assert!(self.most > self.max_size / 2, "{} bytes seen on the disk", self.most);
        assert!(self.most <= self.max_size, "{} bytes on the disk, {} are allowed", self.most, self.max_size);
        assert!(self.rate() >= drained_per_second(), "{} readings/s", self.rate());
        let may = LIVE_P99 + self.drained.slack;
        assert!(self.p99() <= may, "live p99 {:?}, of which {:?} may be the machine's", self.p99(), self.drained.slack);
    }

    fn report(&self, when_full: &str) {
        let absent = self.absent();
        let program = if program_path().contains("release") { "release" } else { "debug" };
        let happened = format!(
            "at most {} bytes on the disk; of one of the three sensors {} reported as lost of more than {}, exactly those (from {} \
             on); {} readings drained at {}/s ({program} program), live p99 meanwhile {} ms",
            self.most,
            self.reported(),
            self.overfull,
            absent[0],
            self.drained.readings,
            self.rate(),
            self.p99().as_millis()
        );
        report(
            "D5",
            &format!("`max_size: {}MiB`, until it is overfull, `when_full: {when_full}`", self.max_size >> 20),
            &happened,
        );
    }
}

/// How the backlog went, and how the present fared meanwhile.
fn drained(notes: &[Note]) -> Drained {
    let late: Vec<_> = notes.iter().filter(|note| note.topic.starts_with("b/late/")).collect();
    let (first, last) = (late[0].at, late[late.len() - 1].at);
    let live = notes.iter().filter(|note| note.topic.starts_with("b/sensors/") && !note.topic.ends_with("/status"));
    // Taken since the connection: what is a little older waited for that, not behind the backlog.
    let meanwhile = |note: &&Note| note.at <= last && note.at - age(note) >= first;
    let mut live: Vec<_> = live.filter(meanwhile).map(age).collect();
    live.sort_unstable();
    let slack = slack_between(at(first), at(last));
    Drained { readings: late.len(), took: last.duration_since(first).unwrap(), live, slack }
}

/// From the sampling to the arrival, within a minute of the clock.
fn age(note: &Note) -> Duration {
    let json: Value = serde_json::from_str(&note.payload).unwrap();
    let time = json["time"].as_str().unwrap();
    let (seconds, millis): (u64, u64) = (time[17..19].parse().unwrap(), time[20..23].parse().unwrap());
    let arrived = note.at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64 % 60_000;
    Duration::from_millis((arrived + 60_000 - (seconds * 1000 + millis)) % 60_000)
}

#[test]
fn d5_a_full_spool_reports_exactly_which_of_the_oldest_went() {
    let overflow = overflow("drop_oldest", times(1, 8, 32), times(2800, 27_000, 107_000));
    let absent = overflow.absent();
    assert!(absent[0] == 1 && !absent.contains(&overflow.overfull), "the oldest went: {:?}", absent.last());
    overflow.report("drop_oldest");
}

#[test]
fn d5_a_full_spool_reports_exactly_which_of_the_newest_went() {
    let overflow = overflow("drop_newest", 1, times(2800, 3400, 14_000));
    let absent = overflow.absent();
    assert!(absent[0] > 500 && absent.contains(&overflow.overfull), "the newest went: {:?}", absent[0]);
    overflow.report("drop_newest");
}

/// A megabyte is free at the start, and seven more soon after: the limit is what the disk has now, not what it had.
#[tokio::test]
async fn d5_room_that_the_disk_gets_later_is_used_before_anything_is_dropped() {
    const READINGS: u64 = 3000;
    if !may("a disk that gets room later", &TOOLS) {
        return;
    }
    let folder = folder();
    let disk = Mount::tmpfs(folder.path(), "size=8m");
    let ballast = disk.at.join("ballast");
    fs::write(&ballast, vec![0; 7 << 20]).unwrap();
    let settings = Settings {
        path: disk.at.clone(),
        max_size: 64 << 20,
        commit_every: Duration::ZERO,
        when_full: WhenFull::DropOldest,
    };
    let (spool, thread) = open(settings, RunId(1)).unwrap();
    let reading = |seq| Message {
        key: Key { kind: MessageKind::Reading, source: Name::new("air").unwrap() },
        run: RunId(1),
        seq,
        taken_at: fieldgate_clock::now(),
        qos: Qos::AtLeastOnce,
        retain: false,
        body: vec![b'x'; 1000],
    };
    for seq in 1..=500 {
        spool.append(reading(seq)).await.unwrap();
    }
    spool.wait_until_readable().await.unwrap();
    fs::remove_file(&ballast).unwrap();
    for seq in 501..=READINGS {
        spool.append(reading(seq)).await.unwrap();
    }
    spool.wait_until_readable().await.unwrap();
    let stats = spool.stats().borrow().clone();
    assert_eq!((stats.dropped, stats.queued, stats.error), (0, READINGS, None));
    spool.close().await;
    thread.join().unwrap();
    report(
        "D5",
        "1 MB free at the start, 8 MB soon after, `max_size: 64MiB`",
        &format!("{READINGS} readings of 1 kB kept, none dropped"),
    );
}
