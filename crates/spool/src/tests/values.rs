//! What users have set: over restarts, without a disk, and in damaged files.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::no_disk::without_disk;
use super::{SECOND, at, copy_of, meet_damage, name, open, settings};
use crate::{Settings, WhenFull};
use fieldgate_model::Recipient;
use proptest::prelude::*;

fn usual(folder: &Path) -> Settings {
    settings(folder, SECOND, WhenFull::DropOldest)
}

fn target() -> Recipient {
    Recipient::variable(name("target"))
}

/// What a start now, after a power cut, goes on from.
fn after_a_cut(folder: &Path) -> BTreeMap<Recipient, String> {
    let copy = copy_of(folder);
    let core = open(&usual(copy.path()), 0).unwrap();
    core.values().unwrap().as_ref().clone()
}

fn one(value: &str) -> BTreeMap<Recipient, String> {
    BTreeMap::from([(target(), value.to_owned())])
}

#[test]
fn a_value_is_on_disk_when_it_is_said_to_be_and_is_written_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut core = open(&usual(folder.path()), 0).unwrap();
    assert_eq!(core.values().unwrap().len(), 0);
    core.tick(at(0));
    for (time, value) in [(1, "21.5"), (2, "19")] {
        core.set_value(target(), value.into(), at(0));
        assert_eq!(core.due(), Some(Duration::ZERO));
        core.tick(at(time));
        assert_eq!((core.value_saved(&target()), after_a_cut(folder.path())), (Ok(()), one(value)));
    }
    core.set_value(target(), "19".into(), at(0));
    assert_eq!(core.due(), None, "nothing new is no write");
}

#[test]
fn who_sets_a_value_is_told_that_the_disk_has_no_room_and_it_is_written_when_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let mut core = open(&usual(folder.path()), 0).unwrap();
    core.set_value(target(), "19".into(), at(0));
    core.tick(at(1));
    core.fill_disk(true);
    core.append(super::reading("gas", 0, 9000), at(2));
    core.tick(at(1002));
    core.set_value(target(), "21".into(), at(0));
    core.tick(at(1003));
    let words = core.value_saved(&target()).unwrap_err();
    assert!(words.starts_with("the spool cannot be written: "), "{words}");
    core.fill_disk(false);
    core.tick(at(9000));
    assert_eq!((core.value_saved(&target()), after_a_cut(folder.path())), (Ok(()), one("21")));
}

#[test]
fn a_value_that_was_set_stays_so_when_the_file_turns_out_to_be_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let mut core = open(&Settings { max_size: 64 << 20, ..usual(folder.path()) }, 0).unwrap();
    core.set_value(target(), "19".into(), at(0));
    meet_damage(&mut core, folder.path());
    core.set_value(target(), "21".into(), at(0));
    (0..100).for_each(|step| core.tick(at(20_002 + step * 100)));
    assert_eq!(after_a_cut(folder.path()), one("21"));
}

#[test]
fn without_a_disk_nothing_is_known_and_what_was_set_there_before_is_found_later() {
    let folder = tempfile::tempdir().unwrap();
    let mut before = open(&usual(folder.path()), 0).unwrap();
    before.set_value(target(), "21".into(), at(0));
    before.close(at(0));
    let mut core = without_disk(&usual(folder.path()), 0);
    assert_eq!(core.values(), None);
    core.tick(at(5000));
    assert_eq!(core.values().as_deref(), Some(&one("21")));
}

#[test]
fn a_value_that_is_not_as_it_was_written_is_not_taken_and_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let mut before = open(&usual(folder.path()), 0).unwrap();
    before.set_value(target(), "21".into(), at(0));
    before.close(at(0));
    let file = rusqlite::Connection::open(folder.path().join("spool.db")).unwrap();
    file.execute_batch("UPDATE value SET value = '12'").unwrap();
    drop(file);
    let core = open(&usual(folder.path()), 0).unwrap();
    assert_eq!(core.values().unwrap().len(), 0);
    let words = core.stats().error.unwrap();
    assert_eq!(words, "what was set of target:variable was damaged on the disk and is as if it had never been set");
}

proptest! {
    #![proptest_config(super::cases(24, 1024))]

    /// Against a plain map: what a start after a cut reads is what was set last before the newest answer.
    #[test]
    fn what_a_cut_leaves_is_what_was_answered(steps in proptest::collection::vec((0..3_usize, 0..5_u8, any::<bool>()), 1..12)) {
        let folder = tempfile::tempdir().unwrap();
        let mut core = open(&usual(folder.path()), 0).unwrap();
        let (mut wanted, mut time) = (BTreeMap::new(), 1);
        core.tick(at(0));
        for (which, value, is_restart) in steps {
            let recipient = Recipient::variable(name(["a", "b", "c"][which]));
            core.set_value(recipient.clone(), value.to_string(), at(0));
            wanted.insert(recipient.clone(), value.to_string());
            core.tick(at(time));
            prop_assert_eq!(core.value_saved(&recipient), Ok(()));
            prop_assert_eq!(after_a_cut(folder.path()), wanted.clone());
            if is_restart {
                core.close(at(time));
                core = open(&usual(folder.path()), 0).unwrap();
                core.tick(at(time));
            }
            let known = core.values().unwrap();
            prop_assert_eq!(&*known, &wanted);
            time += 1;
        }
    }
}
