//! Starts without a disk that can be used, and what becomes of it.

use std::fs;
use std::time::Duration;

use super::{SECOND, at, numbers, on_disk, open, reading, settings};
use crate::spool::file::OpenError;
use crate::spool::keeper::Keeper;
use crate::spool::{Sequence, Settings, SpoolError, WhenFull};

/// A keeper whose disk could not be used at its start, on a folder that is fine by now.
pub(super) fn without_disk(settings: &Settings, ms: u64) -> Keeper {
    let mut keeper = Keeper::nowhere(settings.clone()).unwrap();
    keeper.not_opened(OpenError::Disk("no space left on device".into()), at(ms));
    keeper
}

#[test]
fn without_a_disk_messages_are_offered_from_memory_and_the_alarm_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let mut keeper = without_disk(&settings(folder.path(), Duration::ZERO, WhenFull::DropOldest), 0);
    keeper.append(reading("air", 1, 10), at(1));
    keeper.tick(at(1));
    assert_eq!(numbers(&keeper.read(Sequence(0), 10, at(1)).unwrap()), [1]);
    let words = "the spool cannot be opened: no space left on device";
    assert_eq!(keeper.stats().error.as_deref(), Some(words));
    assert_eq!(keeper.stats().queued, 1);
}

#[test]
fn when_the_disk_is_back_what_it_has_comes_first_and_what_waits_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path(), SECOND, WhenFull::DropOldest);
    let mut before = open(&settings, 0).unwrap();
    (1..=3).for_each(|n| before.append(reading("air", n, 10), at(0)));
    before.close(at(0));
    let mut keeper = without_disk(&settings, 0);
    (4..=6).for_each(|n| keeper.append(reading("air", n, 10), at(n)));
    keeper.tick(at(10));
    let read = keeper.read(Sequence(0), 10, at(10)).unwrap();
    assert_eq!(numbers(&read), [4, 5, 6]);
    let era = keeper.era();
    keeper.tick(at(5000));
    assert_eq!((keeper.stats().error, keeper.stats().queued), (None, 6));
    assert!(keeper.era() > era, "the link must begin again");
    // An answer to what was sent under its old place is no answer to anything.
    keeper.acknowledge(&[read[0].sequence], at(5000));
    assert_eq!(numbers(&keeper.read(Sequence(0), 10, at(5000)).unwrap()), [1, 2, 3, 4, 5, 6]);
    keeper.tick(at(10_000));
    assert_eq!(on_disk(folder.path()), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn a_folder_that_a_person_must_mend_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let refused = open(&settings(&file.join("spool"), SECOND, WhenFull::DropOldest), 0).unwrap_err();
    assert!(matches!(refused, SpoolError::Folder { .. }), "{refused:?}");
}
