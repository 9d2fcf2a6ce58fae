//! D4: the disk takes up to two seconds for each fsync, and sampling must not notice.
//!
//! When each reading was sampled it says itself, so the readings are looked at later: the slow program is killed, and what
//! it had written is delivered by the next, which has a disk of the usual speed.

use std::collections::BTreeMap;
use std::fs;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::gateway::Gateway;
use crate::common::quick::{LONG, config, folder};
use crate::common::wait_until;
use crate::lives::{Life, counting, deliver};
use crate::moody::{Mood, MoodyBroker};
use crate::suite::{may, report, times};
use crate::tracer::wrapper;

const EVERY: Duration = Duration::from_millis(5);

/// Until the first reading arrives when the broker is there; the reconnect is up to 150 ms of it.
const SENDS: Duration = Duration::from_secs(5);

/// What the row allows.
const JITTER: Duration = Duration::from_millis(10);

#[test]
fn d4_an_fsync_of_two_seconds_delays_no_sampling() {
    if !may("D4", &["strace"]) {
        return;
    }
    let folder = folder();
    let mut broker = MoodyBroker::new(Mood::Absent);
    let text = config(&broker.url(), "", "", &counting("5ms"));
    let log = folder.path().join("strace");
    let delay = Duration::from_millis(times(300, 2000, 2000));
    let calls = "fsync,fdatasync";
    let (trace, inject) = (format!("trace={calls}"), format!("inject={calls}:delay_exit={}", delay.as_micros()));
    let slow = wrapper(&log, &["--seccomp-bpf", "-e", &trace, "-e", &inject]);
    let environment = [("RUST_LOG", "info,fieldgate::recorder=debug")];
    let mut gateway = Gateway::under(&slow, folder.path(), &text, &environment);
    gateway.wait_log("Reading.", LONG);
    let span = Duration::from_secs(times(3, 30, 120));
    // As long as the program samples: a machine that is late in a moment that only one of the two sees would count for or against
    // the other.
    let (sampling, until) = channel::<()>();
    let own = std::thread::spawn(move || own_jitter(&until));
    std::thread::sleep(span);
    broker.be(Mood::Acknowledges);
    let asked = Instant::now();
    wait_until("a reading to be sent beside such a disk", SENDS, || broker.received() > 0);
    let sent = asked.elapsed();
    gateway.kill9();
    let life = Life::of(&gateway).unwrap();
    drop(sampling);
    let own = own.join().unwrap();
    deliver(&mut broker, folder.path(), &text);
    let syncs = fs::read_to_string(&log).unwrap().matches("(DELAYED)").count();
    assert!(syncs as u64 >= span.as_secs() / 3, "{syncs} slow fsyncs in {span:?}");
    let late = lateness(&broker, &life.run);
    // A second of readings waits for its commit, that one for the one before it, and an application of the log to the file
    // takes two. Which of them a kill costs is open: what had come since the connect may have been sent before them.
    let waiting = (Duration::from_secs(1) + delay * 5).as_millis() / EVERY.as_millis();
    assert!(late.len() as u128 + waiting >= u128::from(life.last), "{} of {} readings came", late.len(), life.last);
    let (p99, own) = (percentile(&late, 99), percentile(&own, 99));
    // A machine that is late by itself is so twice: when the program wakes, and when it gets on.
    assert!(p99 <= JITTER + 2 * own, "p99 {p99:?}, a thread that only sleeps {own:?}");
    let happened = format!(
        "{} readings beside {syncs} such fsyncs, sampled p99 {} ms and at most {} ms late (a thread that only sleeps: p99 \
         {:.1} ms); a broker that came got its first reading after {:.1} s",
        late.len(),
        p99.as_millis(),
        percentile(&late, 100).as_millis(),
        own.as_secs_f64() * 1000.0,
        sent.as_secs_f64()
    );
    report("D4", &format!("every fsync takes {delay:?}, a reading every 5 ms"), &happened);
}

/// How late a thread of ours is on the same grid at the same time, until the other end of the channel is dropped: what the machine
/// itself does.
fn own_jitter(sampling: &Receiver<()>) -> Vec<Duration> {
    let begun = Instant::now();
    let mut late = Vec::new();
    for n in 1.. {
        let due = begun + EVERY * n;
        if sampling.recv_timeout(due.saturating_duration_since(Instant::now())) != Err(RecvTimeoutError::Timeout) {
            break;
        }
        late.push(due.elapsed());
    }
    late.sort_unstable();
    late
}

/// How late each reading was sampled, sorted; the earliest of the first says where the grid is.
fn lateness(broker: &MoodyBroker, run: &str) -> Vec<Duration> {
    let of = |payload: &str| {
        let json: Value = serde_json::from_str(payload).unwrap();
        let ideal = EVERY.as_millis() as i64 * json["seq"].as_i64()?;
        (json["run"] == run).then(|| (json["seq"].as_i64(), wall_ms(json["time"].as_str().unwrap()) - ideal))
    };
    let notes = broker.notes().into_iter().filter(|note| note.topic.ends_with("/n"));
    let offsets: BTreeMap<Option<i64>, i64> = notes.filter_map(|note| of(&note.payload)).collect();
    let mut grid = *offsets.values().take(50).min().unwrap();
    let mut late = Vec::new();
    for offset in offsets.into_values() {
        grid = grid.min(offset);
        late.push(Duration::from_millis((offset - grid) as u64));
        // Ticks that were skipped have no number, so what follows is later by whole ones; that was counted just now.
        grid += (offset - grid) / EVERY.as_millis() as i64 * EVERY.as_millis() as i64;
    }
    late.sort_unstable();
    late
}

/// Milliseconds of `2026-11-22T10:00:00.123Z` within its month.
fn wall_ms(time: &str) -> i64 {
    let number = |from: usize, to: usize| time[from..to].parse::<i64>().unwrap();
    let days = number(8, 10);
    ((days * 24 + number(11, 13)) * 60 + number(14, 16)) * 60_000 + number(17, 19) * 1000 + number(20, 23)
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}
