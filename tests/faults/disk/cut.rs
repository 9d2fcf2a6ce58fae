//! D1: the power goes while the program writes.
//!
//! The program is stopped first, in the middle of whatever it does, and only when every thread stands still is the disk
//! cut off: a thread that still ran would see an error, which no power cut does, and could send what it then has only
//! in memory.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;

use super::mount::{Mount, TOOLS};
use crate::common::gateway::Gateway;
use crate::common::quick::folder;
use crate::common::{SOON, wait_until};
use crate::lives::Ends;
use crate::suite::{may, times};

/// More than the default `max_size` and its journal.
const SIZE: u64 = 128 << 20;

fn is_stopped(pid: u32) -> bool {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let stat = tasks.map(|task| fs::read_to_string(task.path().join("stat")).unwrap_or_default());
    stat.map(|stat| stat.rsplit_once(") ").map(|(_, rest)| rest.starts_with('T'))).all(|stopped| stopped == Some(true))
}

fn cut_power(gateway: &mut Gateway, disk: &Mount) {
    gateway.signal(Signal::STOP);
    wait_until("every thread to stand still", SOON, || is_stopped(gateway.pid()));
    disk.cut();
    gateway.kill9();
    disk.unmount();
    disk.mount();
}

fn cut_again_and_again(commit_every: Duration, count: usize, span: Duration) {
    if !may("D1", &[&TOOLS[..], &["xfs_io"]].concat()) {
        return;
    }
    let folder = folder();
    let disk = Mount::ext4(folder.path(), SIZE);
    let ends = Ends { row: "D1", what: "a power cut on ext4", commit_every, count, span };
    ends.happen(folder.path(), |gateway| cut_power(gateway, &disk));
}

#[test]
fn d1_a_power_cut_loses_nothing_that_was_offered_with_commit_every_0s() {
    cut_again_and_again(Duration::ZERO, times(3, 30, 200), Duration::from_millis(1500));
}

#[test]
fn d1_a_power_cut_loses_at_most_the_last_second_by_default() {
    cut_again_and_again(Duration::from_secs(1), times(3, 10, 30), Duration::from_millis(3000));
}
