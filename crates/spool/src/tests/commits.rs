//! When a message touches the disk, when its row goes, and what a power cut leaves while the file is made.

use std::fs;
use std::time::Duration;

use rusqlite::Connection;

use super::{SECOND, at, contents, numbers, on_disk, open, reading, settings};
use crate::core::Core;
use crate::file::{self, FILE};
use crate::store::Limits;
use crate::{MIN_SIZE, Sequence, WhenFull, opening};
use fieldgate_model::{Message, Qos, RunId};

#[test]
fn what_is_acknowledged_in_time_never_touches_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let mut core = open(&settings(folder.path(), SECOND, WhenFull::DropOldest), 0).unwrap();
    let before = contents(folder.path());
    for n in 0..5000 {
        core.append(reading("air", n, 100), at(n));
        core.tick(at(n));
        if n % 50 == 49 {
            let read = core.read(Sequence(0), 50, at(n)).unwrap().messages;
            core.acknowledge(&read.iter().map(|stored| stored.sequence).collect::<Vec<_>>(), at(n));
        }
    }
    assert!(contents(folder.path()) == before, "the files have changed");
    assert_eq!(core.stats().queued, 0);
}

#[test]
fn the_first_message_of_a_start_is_not_written_with_the_record_of_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut core = Core::open(settings(folder.path(), SECOND, WhenFull::DropOldest), RunId(1), at(0)).unwrap();
    core.append(reading("air", 1, 100), at(0));
    let opened = contents(folder.path());
    core.tick(at(0));
    let before = contents(folder.path());
    assert!(before != opened, "the start is recorded at once, which shows that the disk can be written");
    let read = core.read(Sequence(0), 50, at(1)).unwrap().messages;
    core.acknowledge(&read.iter().map(|stored| stored.sequence).collect::<Vec<_>>(), at(1));
    core.tick(at(10_000));
    assert_eq!((read.len(), core.due()), (1, None));
    assert!(contents(folder.path()) == before, "the files have changed");
}

#[test]
fn with_commit_every_zero_a_message_is_on_disk_before_it_is_readable() {
    let folder = tempfile::tempdir().unwrap();
    let mut core = open(&settings(folder.path(), Duration::ZERO, WhenFull::DropOldest), 0).unwrap();
    let head = core.head();
    core.append(reading("air", 1, 100), at(1));
    assert_eq!((core.head(), core.read(Sequence(0), 10, at(1)).unwrap().messages.len()), (head, 0));
    core.tick(at(1));
    assert!(core.head() > head);
    assert_eq!(on_disk(folder.path()), [1]);
}

#[test]
fn what_is_not_acknowledged_is_on_disk_after_commit_every_and_not_before() {
    let folder = tempfile::tempdir().unwrap();
    let mut core = open(&settings(folder.path(), SECOND, WhenFull::DropOldest), 0).unwrap();
    core.append(reading("air", 1, 100), at(0));
    core.append(reading("air", 2, 100), at(900));
    assert_eq!(core.due(), Some(SECOND));
    core.tick(at(999));
    assert!(on_disk(folder.path()).is_empty());
    core.tick(at(1000));
    assert_eq!(on_disk(folder.path()), [1, 2]);
    assert_eq!(core.due(), None);
}

#[test]
fn acknowledged_rows_are_deleted_in_one_go() {
    let folder = tempfile::tempdir().unwrap();
    let mut core = open(&settings(folder.path(), Duration::ZERO, WhenFull::DropOldest), 0).unwrap();
    (1..=20).for_each(|n| core.append(reading("air", n, 100), at(0)));
    core.tick(at(0));
    let read = core.read(Sequence(0), 20, at(0)).unwrap().messages;
    core.acknowledge(&read.iter().map(|stored| stored.sequence).collect::<Vec<_>>(), at(10));
    core.tick(at(10));
    assert_eq!((on_disk(folder.path()).len(), core.stats().queued), (20, 0));
    core.tick(at(1010));
    assert_eq!(on_disk(folder.path()).len(), 0);
}

#[test]
fn qos_0_is_readable_but_never_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut core = open(&settings(folder.path(), Duration::ZERO, WhenFull::DropOldest), 0).unwrap();
    core.append(Message { qos: Qos::AtMostOnce, ..reading("air", 1, 100) }, at(0));
    core.append(reading("air", 2, 100), at(0));
    core.tick(at(5000));
    assert_eq!(numbers(&core.read(Sequence(0), 10, at(5000)).unwrap().messages), [1, 2]);
    core.close(at(5000));
    assert_eq!(on_disk(folder.path()), [2]);
}

/// What making a new file leaves on the disk before the first sync: of the database nothing, of its log as much as was written.
#[test]
fn a_power_cut_while_the_file_is_made_damages_nothing() {
    let source = tempfile::tempdir().unwrap();
    let made = source.path().join(FILE);
    let mut connection = Connection::open(&made).unwrap();
    connection.execute_batch("PRAGMA journal_mode = WAL").unwrap();
    file::create(&mut connection).unwrap();
    let log = fs::read(file::beside(&made, "-wal")).unwrap();
    let lengths = (0..=log.len()).step_by(509).chain([log.len()]);
    for length in lengths {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "").unwrap();
        fs::write(folder.path().join(format!("{FILE}-wal")), &log[..length]).unwrap();
        let opened = opening::open(folder.path(), Limits::of(MIN_SIZE)).unwrap();
        assert_eq!(opened.set_aside, None, "a log of {length} bytes");
    }
    connection.execute("INSERT INTO run VALUES (1, 1, 'a')", []).unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(FILE), "").unwrap();
    fs::copy(file::beside(&made, "-wal"), folder.path().join(format!("{FILE}-wal"))).unwrap();
    let opened = opening::open(folder.path(), Limits::of(MIN_SIZE)).unwrap();
    assert!(opened.set_aside.is_some(), "a file that has been used was emptied");
}
