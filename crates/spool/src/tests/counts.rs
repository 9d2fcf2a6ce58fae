//! What sensors have counted: over restarts, without a disk, and in damaged files.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::no_disk::without_disk;
use super::{SECOND, at, copy_of, damaged_in_the_middle, meet_damage, name, numbers, open, reading, settings};
use crate::core::Core;
use crate::{Sequence, Settings, WhenFull};
use fieldgate_model::Name;

fn usual(folder: &Path) -> Settings {
    settings(folder, SECOND, WhenFull::DropOldest)
}

/// What a start now, after a power cut, goes on from.
fn after_a_cut(folder: &Path) -> BTreeMap<Name, u64> {
    let copy = copy_of(folder);
    let core = open(&usual(copy.path()), 0).unwrap();
    core.counts().unwrap().as_ref().clone()
}

fn gas(count: u64) -> BTreeMap<Name, u64> {
    BTreeMap::from([(name("gas"), count)])
}

fn execute(folder: &Path, sql: &str) {
    rusqlite::Connection::open(folder.join("spool.db")).unwrap().execute_batch(sql).unwrap();
}

#[test]
fn a_count_is_on_disk_before_its_reading_is_readable_and_stays_when_that_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let mut core = open(&usual(folder.path()), 0).unwrap();
    assert_eq!(core.counts().unwrap().len(), 0);
    core.keep_count(&name("gas"), 41);
    core.append(reading("gas", 1, 10), at(1));
    assert_eq!(core.due(), Some(Duration::ZERO));
    assert!(core.read(Sequence(0), 10, at(1)).unwrap().messages.is_empty());
    core.tick(at(1));
    assert_eq!(after_a_cut(folder.path()), gas(41));
    let read = core.read(Sequence(0), 10, at(1)).unwrap().messages;
    assert_eq!(numbers(&read), [1]);
    core.acknowledge(&[read[0].sequence], at(2));
    core.close(at(5000));
    assert_eq!(after_a_cut(folder.path()), gas(41));
}

#[test]
fn a_count_that_has_not_grown_is_no_write() {
    let folder = tempfile::tempdir().unwrap();
    let mut core = open(&usual(folder.path()), 0).unwrap();
    core.keep_count(&name("gas"), 41);
    core.tick(at(1));
    core.keep_count(&name("gas"), 41);
    core.keep_count(&name("gas"), 40);
    assert_eq!(core.due(), None);
}

#[test]
fn a_count_that_is_set_to_less_is_on_disk_before_what_is_appended_behind_it_is_readable() {
    let folder = tempfile::tempdir().unwrap();
    let mut core = open(&usual(folder.path()), 0).unwrap();
    core.keep_count(&name("gas"), 41);
    core.tick(at(1));
    core.set_count(&name("gas"), 7, at(0));
    core.append(reading("gas", 1, 10), at(2));
    assert_eq!((core.due(), after_a_cut(folder.path())), (Some(Duration::ZERO), gas(41)));
    core.tick(at(2));
    assert_eq!((core.count_saved(&name("gas")), after_a_cut(folder.path())), (Ok(()), gas(7)));
    core.keep_count(&name("gas"), 8);
    core.tick(at(3));
    assert_eq!(after_a_cut(folder.path()), gas(8));
}

#[test]
fn who_sets_a_count_is_told_that_the_disk_has_no_room_and_it_is_written_when_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let mut core = open(&usual(folder.path()), 0).unwrap();
    core.keep_count(&name("gas"), 41);
    core.tick(at(1));
    core.fill_disk(true);
    core.append(reading("gas", 0, 9000), at(2));
    core.tick(at(1002));
    core.set_count(&name("gas"), 7, at(0));
    core.tick(at(1003));
    let words = core.count_saved(&name("gas")).unwrap_err();
    assert!(words.starts_with("the spool cannot be written: "), "{words}");
    core.fill_disk(false);
    core.tick(at(9000));
    assert_eq!((core.count_saved(&name("gas")), after_a_cut(folder.path())), (Ok(()), gas(7)));
}

#[test]
fn a_count_that_was_set_stays_so_when_the_file_turns_out_to_be_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let mut core = open(&Settings { max_size: 64 << 20, ..usual(folder.path()) }, 0).unwrap();
    core.keep_count(&name("gas"), 41);
    meet_damage(&mut core, folder.path());
    core.set_count(&name("gas"), 7, at(0));
    (0..100).for_each(|step| core.tick(at(20_002 + step * 100)));
    assert_eq!(after_a_cut(folder.path()), gas(7));
}

#[test]
fn without_a_disk_nothing_is_known_and_what_was_counted_there_before_is_found_later() {
    let folder = tempfile::tempdir().unwrap();
    let mut before = open(&usual(folder.path()), 0).unwrap();
    before.keep_count(&name("gas"), 41);
    before.close(at(0));
    let mut core = without_disk(&usual(folder.path()), 0);
    assert_eq!(core.counts(), None);
    core.tick(at(5000));
    assert_eq!(core.counts().as_deref(), Some(&gas(41)));
}

#[test]
fn a_full_disk_holds_no_reading_back_and_the_count_is_written_when_it_can_be() {
    let folder = tempfile::tempdir().unwrap();
    let mut core = open(&usual(folder.path()), 0).unwrap();
    core.fill_disk(true);
    core.append(reading("gas", 0, 9000), at(0));
    core.tick(at(1000));
    core.keep_count(&name("gas"), 41);
    core.append(reading("gas", 1, 10), at(1001));
    core.tick(at(1001));
    assert_eq!(core.read(Sequence(0), 10, at(1001)).unwrap().messages.len(), 2);
    core.fill_disk(false);
    core.tick(at(9000));
    assert_eq!((after_a_cut(folder.path()), core.stats().error), (gas(41), None));
}

#[test]
fn a_full_disk_does_not_cost_the_counts_when_the_broker_has_everything() {
    let folder = tempfile::tempdir().unwrap();
    let mut core = open(&usual(folder.path()), 0).unwrap();
    core.keep_count(&name("gas"), 41);
    core.append(reading("gas", 1, 10), at(0));
    core.tick(at(2000));
    let read = core.read(Sequence(0), 10, at(2000)).unwrap().messages;
    let era = core.era();
    core.fill_disk(true);
    core.acknowledge(&[read[0].sequence], at(2000));
    // More than a page, or there would be room for it.
    core.append(reading("gas", 2, 9000), at(2000));
    (0..50).for_each(|step| core.tick(at(4000 + step * 500)));
    assert_eq!(core.era(), era, "the file was given up");
    assert_eq!(after_a_cut(folder.path()), gas(41));
}

#[test]
fn a_file_of_the_schema_before_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let mut before = open(&settings(folder.path(), Duration::ZERO, WhenFull::DropOldest), 0).unwrap();
    before.append(reading("air", 1, 10), at(0));
    before.close(at(0));
    execute(
        folder.path(),
        "DROP TABLE count; DROP TABLE command; DROP TABLE announced; DROP TABLE value; PRAGMA user_version = 2",
    );
    let mut core = open(&usual(folder.path()), 0).unwrap();
    assert_eq!((core.stats().error.as_deref(), core.counts().unwrap().len()), (None, 0));
    assert_eq!(numbers(&core.read(Sequence(0), 10, at(0)).unwrap().messages), [1]);
    core.keep_count(&name("gas"), 41);
    core.tick(at(1));
    assert_eq!(after_a_cut(folder.path()), gas(41));
}

#[test]
fn a_count_that_has_changed_on_the_card_begins_again_and_that_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let mut before = open(&usual(folder.path()), 0).unwrap();
    before.keep_count(&name("gas"), 41);
    before.keep_count(&name("rain"), 7);
    before.close(at(0));
    execute(folder.path(), "UPDATE count SET count = 105 WHERE name = 'gas'");
    let core = open(&usual(folder.path()), 0).unwrap();
    assert_eq!(core.counts().as_deref(), Some(&BTreeMap::from([(name("rain"), 7)])));
    let error = core.stats().error.unwrap();
    assert_eq!(error, "the count of gas was damaged on the disk and began at 0 again");
}

#[test]
fn counts_move_from_a_damaged_file_into_the_new_one() {
    let folder = tempfile::tempdir().unwrap();
    damaged_in_the_middle(folder.path(), |before| before.keep_count(&name("gas"), 41));
    let mut core: Core = open(&usual(folder.path()), 0).unwrap();
    assert!(core.stats().error.is_some_and(|error| error.contains("damaged")));
    assert_eq!(core.counts().as_deref(), Some(&gas(41)));
    core.tick(at(10));
    assert_eq!(after_a_cut(folder.path()), gas(41));
}

#[test]
fn damage_that_shows_in_use_costs_no_count() {
    let folder = tempfile::tempdir().unwrap();
    let mut core = open(&Settings { max_size: 64 << 20, ..usual(folder.path()) }, 0).unwrap();
    core.keep_count(&name("gas"), 41);
    core.keep_count(&name("rain"), 7);
    meet_damage(&mut core, folder.path());
    core.keep_count(&name("gas"), 42);
    (0..100).for_each(|step| core.tick(at(20_002 + step * 100)));
    let both = BTreeMap::from([(name("gas"), 42), (name("rain"), 7)]);
    assert_eq!(after_a_cut(folder.path()), both, "also one that has not grown since");
}
