//! P1 and P2: the program is killed, at any moment and at each system call of the spool.

use std::path::Path;
use std::time::Duration;

use crate::common::gateway::Gateway;
use crate::common::quick::{LONG, config, folder, taken};
use crate::common::{SOON, wait_until};
use crate::lives::{Ends, Life, counting, deliver};
use crate::moody::{Mood, MoodyBroker};
use crate::suite::{chance, may, report, times};
use crate::tracer::{spool_files, wrapper};

/// Long enough for a life to outlast the second that may be lost.
const SECONDS: Duration = Duration::from_millis(3000);

fn kill(commit_every: Duration, count: usize, span: Duration) {
    Ends { row: "P1", what: "kill -9", commit_every, count, span }.happen(folder().path(), Gateway::kill9);
}

#[test]
fn p1_a_kill_loses_nothing_that_was_offered_with_commit_every_0s() {
    kill(Duration::ZERO, times(6, 40, 200), Duration::from_millis(1500));
}

#[test]
fn p1_a_kill_loses_at_most_the_last_second_by_default() {
    kill(Duration::from_secs(1), times(3, 10, 30), SECONDS);
}

/// System calls on the spool's files, and up to which one of a thread it is worth while: a start, some commits of one
/// reading each, the first deletion of what was acknowledged a second later, several times the log applied to the file.
const CALLS: [(&str, usize); 6] = [
    ("pwrite64", 48),
    ("fsync,fdatasync", 20),
    ("openat", 5),
    ("ftruncate", 3),
    ("fallocate", 1),
    ("unlink,unlinkat", 1),
];

#[test]
fn p2_a_kill_at_any_system_call_of_the_spool_loses_nothing_that_was_offered() {
    if !may("P2", &["strace"]) {
        return;
    }
    let mut chance = chance("P2");
    let mut cases: Vec<_> = CALLS.iter().flat_map(|(calls, last)| (1..=*last).map(move |n| (*calls, n))).collect();
    chance.shuffle(&mut cases);
    cases.truncate(times(6, 30, cases.len()));
    let tried = cases.len();
    let mut broker = MoodyBroker::new(Mood::Acknowledges);
    let old = folder();
    let mut missed = Vec::new();
    for (calls, n) in cases {
        let mood = if chance.bool() { Mood::Acknowledges } else { Mood::Silent };
        // A new spool has more of them at its start, and some only there; an old one has what the kill before it left.
        let new = folder();
        let is_rare = !matches!(calls, "pwrite64" | "fsync,fdatasync");
        let place = if is_rare || chance.bool() { new.path() } else { old.path() };
        if !kill_at(&mut broker, mood, place, (calls, n)) {
            missed.push(format!("{calls} {n}"));
        }
        assert_eq!(broker.owed(), [], "offered, and then lost by a kill at {calls} {n}");
    }
    assert!(missed.len() * 3 < tried, "too few of the calls came: {missed:?}");
    let killed = tried - missed.len();
    let what = format!("{killed} kills at a write, fsync, open, truncation, allocation or removal of the spool");
    let happened = format!(
        "started each time; {} received without a hole; {} of them had been offered without an answer before, of those 0 \
         lost; did not come to: {missed:?}",
        broker.received(),
        broker.offered()
    );
    report("P2", &what, &happened);
}

/// So many readings are long enough to come to the calls above.
const LIFE: u64 = 30;

/// Kills at the nth of these calls of a thread, then lets the next start deliver; says whether it came to the call.
fn kill_at(broker: &mut MoodyBroker, mood: Mood, folder: &Path, (calls, n): (&str, usize)) -> bool {
    let files = spool_files(&folder.join("spool"));
    let text = config(&broker.url(), "", ", commit_every: 0s, max_size: 1MiB", &counting("100ms"));
    let (trace, inject) = (format!("trace={calls}"), format!("inject={calls}:signal=KILL:when={n}"));
    let log = folder.join("strace");
    let mut arguments: Vec<&str> = files.iter().map(String::as_str).collect();
    arguments.extend(["-e", &trace, "-e", &inject]);
    broker.be(Mood::Absent);
    broker.be(mood);
    let environment = [("RUST_LOG", "info,fieldgate::recorder=debug")];
    let mut gateway = Gateway::under(&wrapper(&log, &arguments), folder, &text, &environment);
    // Three seconds of readings, each with a commit of its own; a busy machine may need longer for them.
    wait_until("a kill or readings", LONG, || !gateway.is_running() || taken(&gateway) >= LIFE);
    let was_killed = !gateway.is_running();
    if was_killed {
        assert_eq!(gateway.wait_exit(SOON), -1, "it ended by itself: {}", gateway.log());
    }
    gateway.kill9();
    let life = Life::of(&gateway);
    deliver(broker, folder, &text);
    let account = broker.account("n");
    account.check_whole();
    if let Some(Life { run, last }) = life {
        // Two readings at most are on the way at ten a second.
        assert!(account.last(&run) + 3 >= last, "{} of {last} arrived", account.last(&run));
    }
    was_killed
}
