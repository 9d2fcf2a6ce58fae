//! What a look from outside shows, and that it changes nothing.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use super::{at, contents, copy_of, open, read_all, reading, settings};
use crate::core::Core;
use crate::{FileState, Settings, WhenFull, inspect};

fn roomy(folder: &Path) -> Settings {
    Settings { max_size: 64 << 20, ..settings(folder, Duration::ZERO, WhenFull::DropOldest) }
}

/// Messages of all sizes, two thirds of them acknowledged.
fn filled(folder: &Path, count: u64) -> Core {
    let mut core = open(&roomy(folder), 0).unwrap();
    (1..=count).for_each(|n| core.append(reading("air", n, if n % 50 == 0 { 9000 } else { 100 }), at(0)));
    core.tick(at(0));
    let all = read_all(&mut core, 100_000, 0);
    let gone: Vec<_> = all.iter().filter(|stored| stored.message.seq % 3 != 0).map(|stored| stored.sequence).collect();
    core.acknowledge(&gone, at(0));
    core.tick(at(10_000));
    core
}

fn state(folder: &Path) -> FileState {
    let before = contents(folder);
    let state = inspect(folder).state;
    assert!(contents(folder) == before, "a look changes nothing");
    state
}

#[test]
fn a_spool_that_is_not_there_is_absent() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(state(folder.path()), FileState::Absent));
    assert!(matches!(inspect(&folder.path().join("nowhere")).state, FileState::Absent));
}

#[test]
fn every_message_of_a_sound_file_is_counted_with_its_log_and_without() {
    let folder = tempfile::tempdir().unwrap();
    let core = filled(folder.path(), 3000);
    // As a power cut leaves it: the newest is in the log alone.
    let cut = copy_of(folder.path());
    core.close(at(10_000));
    for folder in [cut.path(), folder.path()] {
        let found = state(folder);
        assert!(matches!(found, FileState::Sound { messages: 1000, is_complete: true }), "{found:?}");
    }
}

#[test]
fn damage_is_seen_wherever_it_is() {
    for (name, damage) in [
        ("rows", Some((100_000, 20_000))),
        ("first page", Some((0, 4096))),
        ("root of the rows", Some((4096, 4096))),
        ("cut off", None),
    ] {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path(), 3000).close(at(10_000));
        let file = OpenOptions::new().write(true).open(folder.path().join("spool.db")).unwrap();
        match damage {
            Some((from, bytes)) => file.write_all_at(&vec![0xa5; bytes], from).unwrap(),
            None => file.set_len(file.metadata().unwrap().len() / 2).unwrap(),
        }
        let found = state(folder.path());
        assert!(matches!(found, FileState::Damaged(_)), "{name}: {found:?}");
    }
}

#[test]
fn a_newer_file_is_not_damaged_and_files_that_were_set_aside_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), 10).close(at(10_000));
    let file = OpenOptions::new().write(true).open(folder.path().join("spool.db")).unwrap();
    file.write_all_at(&99u32.to_be_bytes(), 60).unwrap();
    fs::write(folder.path().join("spool.db.damaged-7"), "").unwrap();
    fs::write(folder.path().join("spool.db.damaged-7-wal"), "").unwrap();
    let FileState::Newer(error) = state(folder.path()) else { panic!("it is newer") };
    assert!(error.to_string().contains("schema 99"), "{error}");
    assert_eq!(inspect(folder.path()).set_aside, [folder.path().join("spool.db.damaged-7")]);
}
