//! Row H3: rows of the spool are damaged, and nothing that lies behind them stays there while the link is up. What is read of the
//! live lane, and batches that are cut by their bytes, are driven against the forwarder itself (`crates/link/src/connection/tests/delivery.rs`).

use std::path::Path;

use rustix::process::Signal;

use crate::common::SOON;
use crate::common::quick::{FAST, LONG, config, folder, start, taken, wait_taken};
use crate::moody::{Mood, MoodyBroker};
use crate::suite::{report, times};

/// Changes `count` rows behind the first `behind`; the program must not run.
fn damage(folder: &Path, behind: u64, count: u64) {
    let file = rusqlite::Connection::open(folder.join("spool/spool.db")).unwrap();
    let sql = "UPDATE message SET body = CAST(body || ' ' AS BLOB) WHERE seq IN \
               (SELECT seq FROM message WHERE kind = 0 ORDER BY seq LIMIT ?2 OFFSET ?1)";
    let changed = file.execute(sql, [behind, count].map(u64::cast_signed)).unwrap() as u64;
    assert_eq!(changed, count);
}

/// How many arrived late of those that waited.
fn strand(behind: u64, count: u64, is_reloaded: bool) -> usize {
    let folder = folder();
    let mut broker = MoodyBroker::new(Mood::Absent);
    let waiting = behind + count + times(300, 1500, 1500);
    let text = config(&broker.url(), "", ", commit_every: 100ms", &FAST.replace("20ms", "2ms"));
    let mut gateway = start(folder.path(), &text);
    wait_taken(&gateway, waiting);
    gateway.stop(SOON);
    damage(folder.path(), behind, count);
    broker.be(Mood::Acknowledges);
    let mut gateway = start(folder.path(), &config(&broker.url(), "", "", FAST));
    gateway.wait_log("Connected.", LONG);
    if is_reloaded {
        gateway.signal(Signal::HUP);
        gateway.wait_log("Configuration reloaded", LONG);
    }
    broker.wait_drained(&gateway, LONG);
    assert!(taken(&gateway) > 0);
    gateway.stop(SOON);
    let connects = gateway.log().matches("Connected.").count();
    assert_eq!(connects, 1, "nothing may need a reconnect");
    let account = broker.account("n");
    account.check_whole();
    let before = account.runs.iter().find(|run| !account.live.contains_key(*run)).expect("the run that met no broker");
    assert_eq!(account.reported(before), count);
    account.late.get(before).map_or(0, Vec::len)
}

#[test]
fn h3_damaged_rows_strand_nothing_behind_them() {
    let mut arrived = 0;
    for (behind, count, is_reloaded) in [(20, 1, false), (0, 128, false), (128, 128, true)] {
        arrived += strand(behind, count, is_reloaded);
    }
    report(
        "H3",
        "1 and 128 damaged rows in front of others that wait, also with a reload meanwhile",
        &format!(
            "{arrived} behind and before them arrived on the first connection; each damaged one was reported on `B/loss`"
        ),
    );
}
