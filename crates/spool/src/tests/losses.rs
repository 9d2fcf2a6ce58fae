//! The record of lost readings: how it grows, when it is written, and when it is closed; what settings change meanwhile; and
//! what a full spool does with what is large, or much.

use std::path::Path;

use super::*;

fn lose(core: &mut Core, n: u64, ms: u64) {
    let loss = Loss { sensor: name("soil"), run: RunId(1), from_seq: n, to_seq: n, count: 1, reason: "lost".into() };
    core.report_loss(loss, at(ms));
}

/// From, to and count of each record that is readable.
fn records(core: &mut Core, ms: u64) -> Vec<[u64; 3]> {
    let losses = read_all(core, 100, ms).into_iter().filter(|stored| stored.message.key.kind == MessageKind::Loss);
    let fields = |stored: Stored| {
        let body: serde_json::Value = serde_json::from_slice(&stored.message.body).unwrap();
        ["from_seq", "to_seq", "count"].map(|field| body[field].as_u64().unwrap())
    };
    losses.map(fields).collect()
}

fn records_on_disk(folder: &Path) -> Vec<[u64; 3]> {
    let copy = copy_of(folder);
    let mut core = open(&settings(copy.path(), Duration::ZERO, WhenFull::DropOldest), 0).unwrap();
    records(&mut core, 0)
}

/// One reading was lost, and the thread has had a turn since.
fn after_a_loss(folder: &Path) -> Core {
    let mut core = open(&settings(folder, SECOND, WhenFull::DropOldest), 0).unwrap();
    lose(&mut core, 1, 10);
    core.tick(at(11));
    core
}

#[test]
fn a_record_that_the_broker_has_is_closed_and_the_next_loss_begins_another() {
    let folder = tempfile::tempdir().unwrap();
    let mut core = after_a_loss(folder.path());
    let sent: Vec<Sequence> = read_all(&mut core, 10, 12).iter().map(|stored| stored.sequence).collect();
    core.acknowledge(&sent, at(13));
    lose(&mut core, 2, 20);
    core.tick(at(21));
    assert_eq!(records(&mut core, 22), [[2, 2, 1]]);
}

/// The link may have sent it by now, and what is added afterwards would never arrive.
#[test]
fn a_record_that_the_link_was_given_does_not_grow_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let mut core = after_a_loss(folder.path());
    assert_eq!(records(&mut core, 12), [[1, 1, 1]]);
    lose(&mut core, 2, 20);
    core.tick(at(21));
    assert_eq!(records(&mut core, 22), [[1, 1, 1], [2, 2, 1]]);
}

/// One read finds the record where memory has dropped it, and rows that are damaged, which adjoin it.
#[test]
fn a_record_that_is_read_from_the_disk_does_not_grow_by_what_the_same_read_finds_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let mut core = open(&settings(folder.path(), Duration::ZERO, WhenFull::DropOldest), 0).unwrap();
    (1..=8).for_each(|n| core.append(reading("air", n, 10), at(n)));
    core.tick(at(10));
    let damaged: Vec<(Name, u64)> = (1..=8).map(|n| (name("air"), n)).collect();
    core.damage(&damaged[..4], at(11));
    let first = core.read(Sequence(0), 4, at(12)).unwrap();
    assert_eq!(first.messages.len(), 0, "the record has its place behind these");
    core.tick(at(13));
    core.damage(&damaged[4..], at(14));
    assert_eq!(records(&mut core, 15), [[1, 4, 4]]);
    core.tick(at(16));
    assert_eq!(records(&mut core, 17), [[1, 4, 4], [5, 8, 4]]);
}

#[test]
fn a_record_that_grows_after_it_was_written_is_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut core = open(&settings(folder.path(), SECOND, WhenFull::DropOldest), 0).unwrap();
    lose(&mut core, 1, 10);
    assert_eq!(records_on_disk(folder.path()), [[0; 3]; 0], "its second is not over");
    core.tick(at(1500));
    assert_eq!(records_on_disk(folder.path()), [[1, 1, 1]]);
    lose(&mut core, 2, 1600);
    lose(&mut core, 3, 1700);
    assert_eq!(records(&mut core, 1700), [[1, 3, 3]]);
    core.tick(at(3000));
    assert_eq!(records_on_disk(folder.path()), [[1, 3, 3]]);
}

/// The record has another place by then: it comes behind what the disk has.
#[test]
fn a_record_that_waits_for_its_disk_grows_on_when_that_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let usual = settings(folder.path(), Duration::ZERO, WhenFull::DropOldest);
    let mut before = open(&usual, 0).unwrap();
    before.append(reading("air", 1, 10), at(0));
    before.close(at(0));
    let mut core = no_disk::without_disk(&usual, 0);
    lose(&mut core, 1, 10);
    core.tick(at(5000));
    assert_eq!(core.stats().error, None);
    lose(&mut core, 2, 5001);
    core.tick(at(5002));
    assert_eq!(records(&mut core, 5003), [[1, 2, 2]]);
    assert_eq!(records_on_disk(folder.path()), [[1, 2, 2]]);
}

#[test]
fn other_settings_count_from_the_next_commit_on() {
    let folder = tempfile::tempdir().unwrap();
    let slow = settings(folder.path(), Duration::from_secs(60), WhenFull::DropOldest);
    let mut core = open(&slow, 0).unwrap();
    core.append(reading("air", 1, 10), at(10));
    core.tick(at(11));
    assert_eq!(on_disk(folder.path()), [0; 0]);
    let elsewhere = tempfile::tempdir().unwrap();
    core.reconfigure(settings(elsewhere.path(), Duration::ZERO, WhenFull::DropOldest), at(12));
    core.tick(at(13));
    assert_eq!(on_disk(folder.path()), [1], "at once, and where the file is");
    assert!(contents(elsewhere.path()).is_empty());
}

#[test]
fn the_oldest_is_not_one_that_the_broker_has() {
    let folder = tempfile::tempdir().unwrap();
    let mut core = open(&settings(folder.path(), Duration::ZERO, WhenFull::DropOldest), 0).unwrap();
    for n in [1, 2] {
        core.append(reading("air", n, 10), at(n));
        core.tick(at(n));
    }
    assert_eq!(core.stats().oldest, Some(reading("air", 1, 10).taken_at.wall));
    let first = read_all(&mut core, 10, 3)[0].sequence;
    core.acknowledge(&[first], at(4));
    assert_eq!(core.stats().oldest, Some(reading("air", 2, 10).taken_at.wall));
}

#[test]
fn a_reading_that_is_too_large_is_reported_as_lost_and_displaces_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut core = open(&settings(folder.path(), SECOND, WhenFull::DropOldest), 0).unwrap();
    let half = usize::try_from(Limits::of(MIN_SIZE).capacity / 2).unwrap();
    for (n, bytes) in [(1, 10), (2, half), (3, half - 1000)] {
        core.append(reading("air", n, bytes), at(n));
    }
    core.tick(at(4));
    assert_eq!((core.stats().dropped, records(&mut core, 5)), (1, vec![[2, 2, 1]]));
    let kept: Vec<Stored> = read_all(&mut core, 10, 6);
    let readings = kept.iter().filter(|stored| stored.message.key.kind == MessageKind::Reading);
    assert_eq!(readings.map(|stored| stored.message.seq).collect::<Vec<_>>(), [1, 3]);
}

#[test]
fn a_full_spool_keeps_to_its_limit_however_much_comes_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut core = open(&settings(folder.path(), Duration::ZERO, WhenFull::DropOldest), 0).unwrap();
    let limit = Limits::of(MIN_SIZE).capacity;
    for burst in 0..60 {
        (0..30).for_each(|n| core.append(reading("air", 30 * burst + n, 1000), at(burst)));
        core.tick(at(burst));
        assert!(core.stats().bytes <= limit, "{} of {limit} bytes after {burst}", core.stats().bytes);
    }
    assert!(core.stats().dropped > 0, "it was never full");
}

/// Between the two a power cut would take the readings without a word.
#[test]
fn what_gave_way_and_its_record_are_written_together() {
    let folder = tempfile::tempdir().unwrap();
    let mut core = open(&settings(folder.path(), Duration::ZERO, WhenFull::DropOldest), 0).unwrap();
    let mut seq = 0;
    let mut grow = |core: &mut Core| {
        seq += 1;
        core.append(reading("air", seq, 4000), at(seq));
        core.tick(at(seq));
        core.stats().dropped
    };
    while grow(&mut core) == 0 {}
    for _ in 0..3 {
        let dropped = grow(&mut core);
        assert_eq!(records_on_disk(folder.path()), [[1, dropped, dropped]]);
    }
}

#[test]
fn a_reply_in_a_full_spool_displaces_readings_and_no_other_reply() {
    let folder = tempfile::tempdir().unwrap();
    let mut core = open(&settings(folder.path(), Duration::ZERO, WhenFull::DropOldest), 0).unwrap();
    let key = || Key { kind: MessageKind::Reply, source: name("pump") };
    core.append(Message { key: key(), ..reading("pump", 0, 100) }, at(0));
    for n in 1..=1000 {
        core.append(reading("air", n, 400), at(n));
        core.tick(at(n));
    }
    let before = core.stats().dropped;
    core.append(Message { key: key(), ..reading("pump", 0, 20_000) }, at(1001));
    core.tick(at(1001));
    let dropped = core.stats().dropped;
    assert!(before > 0 && dropped > before, "it was full before, and made space");
    let all = read_all(&mut core, 100, 1002);
    let count = |kind| all.iter().filter(|stored| stored.message.key.kind == kind).count();
    assert_eq!((count(MessageKind::Reply), count(MessageKind::Reading) as u64 + dropped), (2, 1000));
    assert_eq!(records(&mut core, 1003), [[1, dropped, dropped]]);
}
