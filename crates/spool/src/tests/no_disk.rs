//! Starts without a disk that can be used, and what becomes of it.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use super::{SECOND, at, contents, numbers, on_disk, open, reading, settings};
use crate::core::Core;
use crate::opening::OpenError;
use crate::{Sequence, Settings, WhenFull};
use fieldgate_model::RunId;

/// A core whose disk could not be used at its start, on a folder that is fine by now.
pub(super) fn without_disk(settings: &Settings, ms: u64) -> Core {
    let mut core = Core::without_file(settings.clone(), RunId(1)).unwrap();
    core.not_opened(OpenError::Disk("no space left on device".into()), at(ms));
    core
}

#[test]
fn without_a_disk_messages_are_readable_from_memory_and_the_alarm_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let mut core = without_disk(&settings(folder.path(), Duration::ZERO, WhenFull::DropOldest), 0);
    core.append(reading("air", 1, 10), at(1));
    core.tick(at(1));
    assert_eq!(numbers(&core.read(Sequence(0), 10, at(1)).unwrap().messages), [1]);
    let words = "the spool cannot be opened: no space left on device";
    assert_eq!(core.stats().error.as_deref(), Some(words));
    assert_eq!(core.stats().queued, 1);
}

#[test]
fn when_the_disk_is_back_what_it_has_comes_first_and_what_waits_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path(), SECOND, WhenFull::DropOldest);
    let mut before = open(&settings, 0).unwrap();
    (1..=3).for_each(|n| before.append(reading("air", n, 10), at(0)));
    before.close(at(0));
    let mut core = without_disk(&settings, 0);
    (4..=6).for_each(|n| core.append(reading("air", n, 10), at(n)));
    core.tick(at(10));
    let read = core.read(Sequence(0), 10, at(10)).unwrap().messages;
    assert_eq!(numbers(&read), [4, 5, 6]);
    let era = core.era();
    core.tick(at(5000));
    assert_eq!((core.stats().error, core.stats().queued), (None, 6));
    assert!(core.era() > era, "the link must begin again");
    // An answer to what was sent under its old place is no answer to anything.
    core.acknowledge(&[read[0].sequence], at(5000));
    assert_eq!(numbers(&core.read(Sequence(0), 10, at(5000)).unwrap().messages), [1, 2, 3, 4, 5, 6]);
    core.tick(at(10_000));
    assert_eq!(on_disk(folder.path()), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn a_folder_that_cannot_be_used_stops_no_start_and_is_taken_when_it_can() {
    let root = tempfile::tempdir().unwrap();
    let at_root = |name: &str| root.path().join(name);
    fs::write(at_root("file"), "").unwrap();
    symlink(at_root("disk"), at_root("link")).unwrap();
    symlink(at_root("loop"), at_root("loop")).unwrap();
    for (name, words) in [
        ("file/spool", "lies below a file"),
        ("link/spool", "is its disk mounted?"),
        ("loop/spool", "leads back to itself"),
    ] {
        let settings = settings(&at_root(name), Duration::ZERO, WhenFull::DropOldest);
        let mut core = open(&settings, 0).unwrap();
        core.append(reading("air", 1, 10), at(1));
        core.tick(at(1));
        let error = core.stats().error.unwrap();
        assert!(error.contains(words), "{error}");
        assert_eq!(numbers(&core.read(Sequence(0), 10, at(1)).unwrap().messages), [1]);
        let place = at_root(name.split('/').next().unwrap());
        if name.starts_with("link") {
            fs::create_dir(at_root("disk")).unwrap();
        } else {
            fs::remove_file(&place).unwrap();
        }
        core.tick(at(5000));
        assert_eq!(core.stats().error, None, "{name}");
        assert_eq!(on_disk(&settings.path), [1], "{name}");
    }
}

#[test]
fn a_reload_with_another_path_does_not_move_a_spool_that_waits_for_its_disk() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut core = without_disk(&settings(folder.path(), Duration::ZERO, WhenFull::DropOldest), 0);
    core.append(reading("air", 1, 10), at(1));
    core.reconfigure(settings(elsewhere.path(), Duration::ZERO, WhenFull::DropOldest), at(2));
    core.tick(at(5000));
    assert_eq!(core.stats().error, None);
    assert_eq!((on_disk(folder.path()), contents(elsewhere.path()).len()), (vec![1], 0));
}
