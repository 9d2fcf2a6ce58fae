//! Files that are damaged: at a start, in use, in structure and in content.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use super::{SECOND, at, contents, copy_of, numbers, on_disk, open, read_all, reading, settings};
use crate::core::Core;
use crate::{ReadError, Sequence, Settings, Stored, WhenFull};
use fieldgate_model::{MessageKind, RunId};

fn roomy(folder: &Path) -> Settings {
    Settings { max_size: 64 << 20, ..settings(folder, Duration::ZERO, WhenFull::DropOldest) }
}

/// A closed spool with readings 1 to `count` of one sensor.
fn filled(folder: &Path, count: u64) {
    let mut core = open(&roomy(folder), 0).unwrap();
    (1..=count).for_each(|n| core.append(reading("air", n, 100), at(0)));
    core.tick(at(0));
    core.close(at(0));
}

fn overwrite(folder: &Path, from: u64, bytes: usize) {
    let file = OpenOptions::new().write(true).open(folder.join("spool.db")).unwrap();
    file.write_all_at(&vec![0xa5; bytes], from).unwrap();
}

/// Lets everything be done that waits, and reads all of it.
fn finish_and_read(core: &mut Core, ms: u64) -> Vec<Stored> {
    (0..1000).for_each(|step| core.tick(at(ms + step * 10)));
    // Rows may show their damage only when they are read, which begins a new file or brings a report behind them.
    let (mut from, end) = (Sequence(0), ms + 10_000);
    while from < core.head() {
        from = core.read(from, 1000, at(end)).map_or(core.head(), |batch| batch.next);
    }
    (0..1000).for_each(|step| core.tick(at(end + step * 10)));
    read_all(core, 1000, end + 10_000)
}

fn readings(stored: &[Stored]) -> BTreeSet<u64> {
    stored.iter().filter(|s| s.message.key.kind == MessageKind::Reading).map(|s| s.message.seq).collect()
}

/// The numbers of all readings that are reported as lost, in order.
fn lost(stored: &[Stored]) -> Vec<u64> {
    losses(stored)
        .into_iter()
        .flat_map(|(from, to, count)| {
            assert_eq!(count, to + 1 - from, "readings without a gap");
            from..=to
        })
        .collect()
}

/// The spans and counts of all loss records.
fn losses(stored: &[Stored]) -> Vec<(u64, u64, u64)> {
    let losses = stored.iter().filter(|s| s.message.key.kind == MessageKind::Loss);
    let losses = losses.map(|s| serde_json::from_slice::<serde_json::Value>(&s.message.body).unwrap());
    losses.map(|loss| ["from_seq", "to_seq", "count"].map(|key| loss[key].as_u64().unwrap()).into()).collect()
}

#[test]
fn a_damaged_file_is_set_aside_and_kept_as_it_was() {
    let garbage = vec![0xa5; 20_000];
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("spool.db"), &garbage).unwrap();
    let mut core = open(&settings(folder.path(), Duration::ZERO, WhenFull::DropOldest), 0).unwrap();
    core.append(reading("air", 1, 10), at(0));
    core.tick(at(0));
    assert!(core.stats().error.is_some_and(|error| error.contains("spool.db.damaged-")));
    let kept = contents(folder.path()).into_iter().find(|(name, _)| name.contains("damaged"));
    assert!(kept.is_some_and(|(_, content)| content == garbage));
}

#[test]
fn damaged_files_are_never_deleted() {
    let folder = tempfile::tempdir().unwrap();
    for start in 0..5 {
        fs::write(folder.path().join("spool.db"), vec![start; 5000]).unwrap();
        open(&roomy(folder.path()), 0).unwrap();
        let kept = contents(folder.path()).iter().filter(|(name, _)| name.contains(".damaged-")).count();
        assert_eq!(kept, usize::from(start) + 1);
    }
}

#[test]
fn what_a_damaged_file_still_has_is_kept_and_the_rest_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), 5000);
    // Some pages in the middle of the rows.
    overwrite(folder.path(), 300_000, 20_000);
    let damaged = fs::read(folder.path().join("spool.db")).unwrap();
    let mut core = Core::open(roomy(folder.path()), RunId(2), at(0)).unwrap();
    let era = core.era();
    core.append(reading("soil", 1, 100), at(0));
    assert_eq!(core.read(Sequence(0), 1, at(0)), Err(ReadError::Disk), "what comes first is not known yet");
    let newest = core.first_since(Duration::ZERO, at(0));
    assert!(core.read(newest, 1, at(0)).is_ok(), "the present does not wait");
    let all = finish_and_read(&mut core, 0);
    assert!(all.iter().any(|stored| stored.sequence == newest), "and is found there");
    assert!(core.era() > era, "the link must read again what appeared behind its back");
    let (found, reported) = (readings(&all), losses(&all).len());
    let lost: Vec<u64> = (1..=5000).filter(|n| !found.contains(n)).collect();
    assert_eq!(self::lost(&all), lost, "the hole is reported exactly");
    assert!(lost.len() < 200, "{} readings lost of six pages with 27 each", lost.len());
    let words = core.stats().error.unwrap();
    assert!(words.contains("were recovered from it") && words.contains("reported as lost"), "{words}");
    assert!(all.windows(2).all(|pair| pair[0].sequence < pair[1].sequence));
    let kept = contents(folder.path()).into_iter().find(|(name, _)| name.contains("damaged-")).unwrap();
    assert!(kept.1 == damaged, "the damaged file stays as it was");
    assert_eq!(on_disk(folder.path()).len(), found.len() + reported + 1, "with the reading of soil");
}

/// A large file is examined while the spool serves, and by then a reading of this start has come.
#[test]
fn what_a_large_damaged_file_still_has_is_kept_and_the_rest_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), 20_000);
    overwrite(folder.path(), 300_000, 20_000);
    let mut core = Core::open(roomy(folder.path()), RunId(2), at(0)).unwrap();
    assert_eq!((core.stats().queued, core.stats().error), (20_000, None), "the start has looked at the ends only");
    core.append(reading("soil", 1, 100), at(0));
    core.examine(at(0));
    assert!(core.stats().error.is_some_and(|error| error.contains("structure")), "{:?}", core.stats());
    let all = finish_and_read(&mut core, 0);
    let (found, reported) = (readings(&all), losses(&all).len() as u64);
    let lost: Vec<u64> = (1..=20_000).filter(|n| !found.contains(n)).collect();
    assert_eq!(self::lost(&all), lost, "the hole is reported exactly");
    assert!(lost.len() < 200, "{} readings lost of six pages with 27 each", lost.len());
    assert!(all.iter().any(|stored| stored.message.key.source.as_str() == "soil"), "the present is there as well");
    let stats = core.stats();
    let words = stats.error.unwrap();
    assert!(words.contains("were recovered from it") && !words.contains("without a report"), "{words}");
    assert_eq!(stats.queued, found.len() as u64 + reported + 1, "with the reading of soil");
}

#[test]
fn of_a_large_file_the_number_of_rows_is_known_when_it_has_been_examined() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), 20_000);
    let mut core = open(&roomy(folder.path()), 0).unwrap();
    // Every other one is acknowledged, so that the ends lie as far apart as before.
    let all: Vec<_> = read_all(&mut core, 20_000, 0).into_iter().map(|stored| stored.sequence).collect();
    core.acknowledge(&all.iter().copied().skip(1).step_by(2).collect::<Vec<_>>(), at(0));
    core.close(at(10_000));
    let mut core = Core::open(roomy(folder.path()), RunId(3), at(0)).unwrap();
    assert_eq!(core.stats().queued, 19_999, "at most");
    core.examine(at(0));
    assert_eq!((core.stats().queued, core.stats().error), (10_000, None));
}

#[test]
fn damage_that_shows_in_use_costs_what_cannot_be_read_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let mut core = open(&roomy(folder.path()), 0).unwrap();
    for n in 1..=20_000 {
        core.append(reading("air", n, 100), at(n));
        if n % 1000 == 0 {
            core.tick(at(n));
        }
    }
    let first = core.read(Sequence(0), 50, at(20_000)).unwrap().messages;
    core.acknowledge(&first.iter().map(|stored| stored.sequence).collect::<Vec<_>>(), at(20_000));
    overwrite(folder.path(), 200_000, 1 << 16);
    let mut from = Sequence(0);
    while let Ok(batch) = core.read(from, 100, at(20_001)) {
        assert!(batch.next > from, "the damage shows before the end");
        from = batch.next;
    }
    core.append(reading("air", 20_001, 100), at(20_001));
    let all = finish_and_read(&mut core, 20_001);
    let stats = core.stats();
    assert!(stats.error.as_ref().is_some_and(|error| error.contains("were recovered")), "{:?}", stats.error);
    let found = readings(&all);
    assert_eq!(found.len() as u64 + stats.dropped, 20_001 - 50, "what is not here is counted: {:?}", core.stats());
    assert!(found.contains(&20_001) && found.len() > 18_000, "{}", found.len());
    assert!(!found.contains(&50), "what was acknowledged does not come back");
    assert!(on_disk(folder.path()).contains(&20_001));
}

#[test]
fn a_stored_value_that_has_changed_is_never_published() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), 100);
    let file = rusqlite::Connection::open(folder.path().join("spool.db")).unwrap();
    file.execute_batch("UPDATE message SET body = CAST('y' || substr(body, 2) AS BLOB) WHERE n = 50").unwrap();
    drop(file);
    let mut core = open(&roomy(folder.path()), 0).unwrap();
    let all = finish_and_read(&mut core, 0);
    let found = readings(&all);
    assert_eq!((found.len(), found.contains(&50)), (99, false));
    assert_eq!(losses(&all), [(50, 50, 1)]);
    assert!(all.iter().filter(|s| s.message.key.kind == MessageKind::Reading).all(|s| s.message.body == [b'x'; 100]));
}

#[test]
fn a_version_number_that_has_changed_on_the_card_stops_no_start() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), 100);
    let file = rusqlite::Connection::open(folder.path().join("spool.db")).unwrap();
    file.pragma_update(None, "user_version", 7).unwrap();
    drop(file);
    let mut core = Core::open(roomy(folder.path()), RunId(2), at(0)).unwrap();
    assert_eq!(readings(&finish_and_read(&mut core, 0)).len(), 100);
}

#[test]
fn a_file_of_the_first_schema_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let old = rusqlite::Connection::open(folder.path().join("spool.db")).unwrap();
    old.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA user_version = 1;
         CREATE TABLE message (seq INTEGER PRIMARY KEY, kind INTEGER NOT NULL, source TEXT NOT NULL, \
         run INTEGER NOT NULL, n INTEGER NOT NULL, boot_ns INTEGER NOT NULL, wall_ms INTEGER NOT NULL, \
         flags INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
         CREATE TABLE run (first INTEGER PRIMARY KEY, run INTEGER NOT NULL, boot_id TEXT NOT NULL) STRICT;
         INSERT INTO run VALUES (68719476736, 7, 'boot');
         INSERT INTO message VALUES (68719476737, 0, 'air', 7, 1, 5, 1795341600000, 1, x'7b7d'),
                                    (68719476738, 0, 'air', 7, 2, 6, 1795341600001, 1, x'7b7d');",
    )
    .unwrap();
    drop(old);
    let mut core = open(&settings(folder.path(), SECOND, WhenFull::DropOldest), 0).unwrap();
    assert_eq!(numbers(&core.read(Sequence(0), 10, at(0)).unwrap().messages), [1, 2]);
    assert_eq!(core.stats().error, None);
    core.append(reading("air", 3, 10), at(0));
    core.tick(at(2000));
    assert_eq!(on_disk(folder.path()), [1, 2, 3]);
}

#[test]
fn no_flipped_byte_or_cut_makes_the_spool_panic_or_refuse() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), 100);
    let whole = copy_of(folder.path());
    let whole = fs::read(whole.path().join("spool.db")).unwrap();
    let mut chance = fastrand::Rng::with_seed(7);
    for _ in 0..100 {
        let mut bytes = whole.clone();
        if chance.bool() {
            (0..8).for_each(|_| bytes[chance.usize(..whole.len())] = chance.u8(..));
        } else {
            bytes.truncate(chance.usize(..whole.len()));
        }
        let damaged = tempfile::tempdir().unwrap();
        fs::write(damaged.path().join("spool.db"), bytes).unwrap();
        let mut core = open(&settings(damaged.path(), Duration::ZERO, WhenFull::DropOldest), 0).unwrap();
        core.append(reading("new", 1, 10), at(0));
        let all = finish_and_read(&mut core, 0);
        let genuine = |s: &&Stored| s.message.key.kind != MessageKind::Loss;
        assert!(all.iter().filter(genuine).all(|s| s.message.body.iter().all(|byte| *byte == b'x')));
        assert!(all.iter().any(|stored| stored.message.key.source.as_str() == "new"));
    }
}

/// Where in the file the pointers to the pages with the rows are, in the order of the rows.
fn pointers(folder: &Path) -> Vec<u64> {
    const PAGE: usize = 4096;
    let file = folder.join("spool.db");
    let connection = rusqlite::Connection::open(&file).unwrap();
    let sql = "SELECT rootpage FROM sqlite_schema WHERE name = 'message'";
    let root: u32 = connection.query_row(sql, [], |row| row.get(0)).unwrap();
    let begin = (root as usize - 1) * PAGE;
    let page = &fs::read(&file).unwrap()[begin..begin + PAGE];
    assert_eq!(page[0], 5, "the rows have one level of pages above them");
    let number = |at: usize| usize::from(u16::from_be_bytes([page[at], page[at + 1]]));
    (0..number(3)).map(|cell| (begin + number(12 + 2 * cell)) as u64).collect()
}

/// Replaces pointers by those to other pages, or by one that leads nowhere. A start must find all readings, each once.
fn check_wrong_pointers(wrong: &[(usize, Option<usize>)]) {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), 5000);
    let pointers = pointers(folder.path());
    let file = OpenOptions::new().read(true).write(true).open(folder.path().join("spool.db")).unwrap();
    for (from, to) in wrong {
        let mut page = [0xff; 4];
        if let Some(to) = to {
            file.read_exact_at(&mut page, pointers[*to]).unwrap();
        }
        file.write_all_at(&page, pointers[*from]).unwrap();
    }
    let mut core = open(&roomy(folder.path()), 0).unwrap();
    let all = finish_and_read(&mut core, 0);
    assert!(readings(&all).into_iter().eq(1..=5000), "{:?}", core.stats());
    assert_eq!(losses(&all), []);
    let words = core.stats().error.unwrap();
    assert!(words.contains("; 5000 messages were recovered"), "each is counted once: {words}");
}

#[test]
fn rows_that_a_wrong_pointer_shows_twice_are_taken_once_and_those_that_it_hides_are_found() {
    check_wrong_pointers(&[(40, Some(30))]);
}

#[test]
fn rows_that_are_found_too_early_come_in_their_place() {
    let hole = (100..106).map(|page| (page, None));
    check_wrong_pointers(&hole.chain([(107, Some(111))]).collect::<Vec<_>>());
}
