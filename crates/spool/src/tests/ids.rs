//! The ids of commands: over restarts, without a disk, in damaged files, and what they cost.

use std::path::Path;
use std::time::Duration;

use super::no_disk::without_disk;
use super::{
    SECOND, at, contents, copy_of, damaged_in_the_middle, meet_damage, name, numbers, on_disk, open, reading, settings,
};
use crate::core::Core;
use crate::{Sequence, Settings, WhenFull};
use fieldgate_model::{CommandRecord, REMEMBERED, Recipient};

fn usual(folder: &Path) -> Settings {
    settings(folder, SECOND, WhenFull::DropOldest)
}

fn begun(id: &str) -> CommandRecord {
    CommandRecord { recipient: Recipient::output(name("pump")), id: id.into(), answer: None }
}

fn answered(id: &str) -> CommandRecord {
    CommandRecord { answer: Some(format!("the answer to {id}").into()), ..begun(id) }
}

/// What a start now, after a power cut, knows.
fn after_a_cut(folder: &Path) -> Vec<CommandRecord> {
    let copy = copy_of(folder);
    let core = open(&usual(copy.path()), 0).unwrap();
    core.commands().unwrap().to_vec()
}

fn execute(folder: &Path, sql: &str) {
    rusqlite::Connection::open(folder.join("spool.db")).unwrap().execute_batch(sql).unwrap();
}

/// Notes it and lets it be written at once.
fn record(core: &mut Core, record: CommandRecord, ms: u64) {
    core.record_command(record, at(ms));
    core.tick(at(ms));
}

#[test]
fn an_answer_is_on_disk_before_its_reply_is_readable_and_no_reading_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut core = open(&usual(folder.path()), 0).unwrap();
    assert_eq!(core.commands().unwrap().len(), 0);
    core.append(reading("air", 1, 10), at(1));
    core.record_command(begun("a"), at(1));
    core.record_command(answered("a"), at(1));
    core.append(reading("air", 2, 10), at(1));
    assert_eq!(core.due(), Some(at(1).boot));
    core.tick(at(1));
    assert_eq!(numbers(&core.read(Sequence(0), 10, at(1)).unwrap().messages), [1, 2]);
    assert_eq!((after_a_cut(folder.path()), on_disk(folder.path())), (vec![answered("a")], Vec::new()));
    assert_eq!(core.due(), Some(at(1).boot + SECOND), "the readings' own time");
}

#[test]
fn one_that_has_begun_is_on_disk_soon_though_no_answer_comes() {
    let folder = tempfile::tempdir().unwrap();
    let mut core = open(&usual(folder.path()), 0).unwrap();
    core.record_command(begun("a"), at(100));
    core.tick(at(100));
    assert_eq!(after_a_cut(folder.path()), []);
    let due = core.due().unwrap();
    assert!(due <= at(110).boot, "{due:?}");
    core.tick(at(110));
    assert_eq!(after_a_cut(folder.path()), [begun("a")]);
    record(&mut core, answered("a"), 5000);
    assert_eq!(after_a_cut(folder.path()), [answered("a")]);
}

#[test]
fn a_flood_of_commands_is_written_twice_a_second_and_a_repeat_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let mut core = open(&usual(folder.path()), 0).unwrap();
    let (mut writes, mut before) = (0, contents(folder.path()));
    for ms in 0..3000 {
        record(&mut core, answered(&ms.to_string()), ms);
        let now = contents(folder.path());
        writes += u32::from(now != before);
        before = now;
    }
    assert!((8..=11).contains(&writes), "{writes} writes, of which 4 may come at once");
    core.tick(at(3500));
    assert_eq!(after_a_cut(folder.path()).last(), Some(&answered("2999")));
    assert_eq!(core.due(), None);
}

#[test]
fn the_newest_are_kept_in_their_order_and_the_others_are_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let roomy = Settings { max_size: 64 << 20, ..usual(folder.path()) };
    for life in 0..3 {
        let mut core = open(&roomy, 0).unwrap();
        (0..400).for_each(|n| core.record_command(answered(&format!("{life} {n}")), at(n)));
        core.close(at(500));
    }
    let all = (0..3).flat_map(|life| (0..400).map(move |n| answered(&format!("{life} {n}"))));
    let core = open(&roomy, 0).unwrap();
    assert_eq!(core.commands().unwrap()[..], all.skip(1200 - REMEMBERED).collect::<Vec<_>>());
    drop(core);
    let connection = rusqlite::Connection::open(folder.path().join("spool.db")).unwrap();
    let rows: i64 = connection.query_row("SELECT count(*) FROM command", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, REMEMBERED as i64);
}

#[test]
fn a_small_spool_keeps_fewer_and_has_room_for_readings() {
    let folder = tempfile::tempdir().unwrap();
    let mut core = open(&settings(folder.path(), Duration::ZERO, WhenFull::DropOldest), 0).unwrap();
    let usual = |n: u64| CommandRecord { answer: Some("x".repeat(100).into()), ..begun(&n.to_string()) };
    for n in 0..2000 {
        core.record_command(usual(n), at(n));
        core.append(reading("air", n, 400), at(n));
        core.tick(at(n));
    }
    core.tick(at(10_000));
    let kept = after_a_cut(folder.path());
    assert!((500..REMEMBERED).contains(&kept.len()), "{}", kept.len());
    assert_eq!(kept.last(), Some(&usual(1999)));
    assert!(on_disk(folder.path()).len() > 300, "{}", on_disk(folder.path()).len());
}

#[test]
fn without_a_disk_nothing_is_known_and_what_was_noted_there_before_comes_in_front() {
    let folder = tempfile::tempdir().unwrap();
    let mut before = open(&usual(folder.path()), 0).unwrap();
    ["a", "b"].into_iter().for_each(|id| before.record_command(answered(id), at(0)));
    before.close(at(0));
    let mut core = without_disk(&usual(folder.path()), 0);
    core.record_command(answered("c"), at(1));
    core.record_command(begun("a"), at(2));
    core.append(reading("air", 1, 10), at(2));
    core.tick(at(2));
    assert_eq!((core.commands(), core.read(Sequence(0), 10, at(2)).unwrap().messages.len()), (None, 1));
    core.tick(at(5000));
    // What was answered in this run is what its sender has heard.
    let all = [begun("a"), answered("b"), answered("c")];
    assert_eq!(core.commands().unwrap()[..], all);
    assert_eq!(after_a_cut(folder.path()), all);
}

#[test]
fn a_full_disk_holds_no_reply_back_and_the_id_is_written_when_it_can_be() {
    let folder = tempfile::tempdir().unwrap();
    let mut core = open(&usual(folder.path()), 0).unwrap();
    core.fill_disk(true);
    // More than a few pages, or there would be room for it.
    let long = |id| CommandRecord { answer: Some("x".repeat(4000).into()), ..begun(id) };
    ["b", "c", "d", "e"].into_iter().for_each(|id| core.record_command(long(id), at(1)));
    core.record_command(answered("a"), at(1));
    core.append(reading("air", 1, 10), at(1));
    core.tick(at(1));
    assert!(core.stats().error.is_some(), "the disk was full");
    assert_eq!(core.read(Sequence(0), 10, at(1)).unwrap().messages.len(), 1);
    core.fill_disk(false);
    core.tick(at(9000));
    assert_eq!((after_a_cut(folder.path()).last(), core.stats().error), (Some(&answered("a")), None));
}

#[test]
fn a_full_disk_does_not_cost_the_ids_when_the_broker_has_everything() {
    let folder = tempfile::tempdir().unwrap();
    let mut core = open(&usual(folder.path()), 0).unwrap();
    record(&mut core, answered("a"), 0);
    core.append(reading("air", 1, 10), at(0));
    core.tick(at(2000));
    let read = core.read(Sequence(0), 10, at(2000)).unwrap().messages;
    let era = core.era();
    core.fill_disk(true);
    core.acknowledge(&[read[0].sequence], at(2000));
    // More than a page, or there would be room for it.
    core.append(reading("air", 2, 9000), at(2000));
    (0..50).for_each(|step| core.tick(at(4000 + step * 500)));
    assert_eq!(core.era(), era, "the file was given up");
    assert_eq!(after_a_cut(folder.path()), [answered("a")]);
}

#[test]
fn a_file_of_the_schema_before_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let mut before = open(&settings(folder.path(), Duration::ZERO, WhenFull::DropOldest), 0).unwrap();
    before.append(reading("air", 1, 10), at(0));
    before.keep_count(&name("gas"), 41);
    before.close(at(0));
    execute(folder.path(), "DROP TABLE command; DROP TABLE announced; DROP TABLE value; PRAGMA user_version = 3");
    let mut core = open(&usual(folder.path()), 0).unwrap();
    assert_eq!((core.stats().error.as_deref(), core.commands().unwrap().len()), (None, 0));
    assert_eq!(core.counts().unwrap()[&name("gas")], 41);
    assert_eq!(numbers(&core.read(Sequence(0), 10, at(0)).unwrap().messages), [1]);
    record(&mut core, answered("a"), 1);
    assert_eq!(after_a_cut(folder.path()), [answered("a")]);
}

#[test]
fn a_damaged_answer_leaves_the_id_known_and_a_damaged_id_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let mut before = open(&usual(folder.path()), 0).unwrap();
    ["a", "b", "c"].into_iter().for_each(|id| before.record_command(answered(id), at(0)));
    before.close(at(0));
    execute(
        folder.path(),
        "UPDATE command SET answer = x'64' WHERE id = 'a'; UPDATE command SET id = 'd' WHERE id = 'c'",
    );
    let mut core = open(&usual(folder.path()), 0).unwrap();
    assert_eq!(core.commands().unwrap()[..], [begun("a"), answered("b")]);
    let error = core.stats().error.unwrap();
    assert_eq!(error, "command ids damaged on the disk: 1; a repeat of those commands would be carried out again");
    record(&mut core, answered("e"), 10);
    core.close(at(10));
    let core = open(&usual(folder.path()), 0).unwrap();
    assert_eq!(core.stats().error, None, "the row without use is gone");
    assert_eq!(core.commands().unwrap()[..], [begun("a"), answered("b"), answered("e")]);
}

#[test]
fn ids_move_from_a_damaged_file_into_the_new_one() {
    let folder = tempfile::tempdir().unwrap();
    damaged_in_the_middle(folder.path(), |before| {
        before.record_command(begun("a"), at(0));
        before.record_command(answered("b"), at(0));
    });
    let mut core = open(&usual(folder.path()), 0).unwrap();
    assert!(core.stats().error.is_some_and(|error| error.contains("damaged")));
    assert_eq!(core.commands().unwrap()[..], [begun("a"), answered("b")]);
    core.tick(at(10));
    assert_eq!(after_a_cut(folder.path()), [begun("a"), answered("b")]);
}

#[test]
fn damage_that_shows_in_use_costs_no_id() {
    let folder = tempfile::tempdir().unwrap();
    let mut core = open(&Settings { max_size: 64 << 20, ..usual(folder.path()) }, 0).unwrap();
    core.record_command(begun("a"), at(0));
    meet_damage(&mut core, folder.path());
    core.record_command(answered("a"), at(20_002));
    core.record_command(begun("b"), at(20_002));
    (0..100).for_each(|step| core.tick(at(20_002 + step * 100)));
    assert_eq!(after_a_cut(folder.path()), [answered("a"), begun("b")]);
}
