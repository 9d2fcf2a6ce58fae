//! Tests of the spool as a whole: the core against a plain model, then the handle and its thread.

mod against_model;
mod announced;
mod commits;
mod counts;
mod damage;
mod examining;
mod export;
mod flips;
mod handle;
mod ids;
mod inspect;
mod losses;
mod no_disk;
mod settled;
mod space;
mod spared;
mod values;

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use proptest::test_runner::Config as ProptestConfig;
use tempfile::TempDir;

use crate::core::Core;
use crate::store::Limits;
use crate::{Batch, MIN_SIZE, Sequence, Settings, SpoolError, Stored, WhenFull};
use fieldgate_model::{ClockStatus, Key, Loss, Message, MessageKind, Moment, Name, Qos, RunId};

/// A reading with a body of `bytes`.
pub(super) fn reading(sensor: &str, seq: u64, bytes: usize) -> Message {
    let wall = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_341_600_000 + seq);
    Message {
        key: Key { kind: MessageKind::Reading, source: Name::new(sensor).unwrap() },
        run: RunId(1),
        seq,
        taken_at: Moment { boot: Duration::from_secs(seq), wall, clock: ClockStatus::Synchronised },
        qos: Qos::AtLeastOnce,
        retain: false,
        body: vec![b'x'; bytes],
    }
}

/// So many cases every day, and as many as `PROPTEST_CASES` says in a long run.
fn cases(everyday: u32, max_shrink_iters: u32) -> ProptestConfig {
    let usual = ProptestConfig::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { usual.cases } else { everyday };
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters, ..usual }
}

fn settings(folder: &Path, commit_every: Duration, when_full: WhenFull) -> Settings {
    Settings { path: folder.to_owned(), max_size: MIN_SIZE, commit_every, when_full }
}

fn at(ms: u64) -> Moment {
    let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_341_600);
    Moment { boot: Duration::from_millis(ms), wall, clock: ClockStatus::Synchronised }
}

fn open(settings: &Settings, ms: u64) -> Result<Core, SpoolError> {
    let mut core = Core::open(settings.clone(), RunId(1), at(ms))?;
    // As its thread begins.
    core.examine(at(ms));
    core.tick(at(ms));
    Ok(core)
}

/// Fills a file with rows and with what `keep` wants in it, and damages the middle: the schema and small tables are at the front.
fn damaged_in_the_middle(folder: &Path, keep: impl FnOnce(&mut Core)) {
    let mut before = open(&settings(folder, Duration::ZERO, WhenFull::DropOldest), 0).unwrap();
    keep(&mut before);
    (1..=500).for_each(|n| before.append(reading("air", n, 400), at(0)));
    before.tick(at(0));
    before.close(at(0));
    let file = fs::OpenOptions::new().write(true).open(folder.join("spool.db")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0xa5; 20_000], 100_000).unwrap();
}

/// What a power cut leaves: the files as they are now, in another folder.
fn copy_of(folder: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    copy
}

/// The numbers of all readings that a power cut now would leave.
fn on_disk(folder: &Path) -> Vec<u64> {
    let copy = copy_of(folder);
    let mut core = open(&settings(copy.path(), Duration::ZERO, WhenFull::DropOldest), 0).unwrap();
    numbers(&read_all(&mut core, 1000, 0))
}

/// All that is readable, read as the link reads it: it goes on where the spool says.
fn read_all(core: &mut Core, limit: usize, ms: u64) -> Vec<Stored> {
    let (mut from, mut all) = (Sequence(0), Vec::new());
    while from < core.head() {
        let batch = core.read(from, limit, at(ms)).unwrap();
        assert!(batch.next > from, "no progress at {from:?}");
        from = batch.next;
        all.extend(batch.messages);
    }
    assert!(all.is_sorted_by(|one, next| one.sequence < next.sequence), "each once, and in order");
    all
}

/// Twenty thousand readings, by 20 s, and a file that is damaged under the core until a read has shown it.
fn meet_damage(core: &mut Core, folder: &Path) {
    for n in 1..=20_000 {
        core.append(reading("air", n, 100), at(n));
        if n % 1000 == 0 {
            core.tick(at(n));
        }
    }
    let file = std::fs::OpenOptions::new().write(true).open(folder.join("spool.db")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0xa5; 1 << 16], 200_000).unwrap();
    let mut from = Sequence(0);
    while let Ok(batch) = core.read(from, 100, at(20_001)) {
        assert!(batch.next > from, "the damage shows before the end");
        from = batch.next;
    }
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn numbers(stored: &[Stored]) -> Vec<u64> {
    stored.iter().map(|stored| stored.message.seq).collect()
}

fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn sequences_grow_over_restarts_and_messages_keep_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path(), SECOND, WhenFull::DropOldest);
    let mut core = open(&settings, 0).unwrap();
    core.append(reading("air", 1, 100), at(0));
    core.tick(at(1));
    let head = core.head();
    core.close(at(2));
    let mut core = open(&settings, 0).unwrap();
    assert!(core.head() >= head);
    core.append(reading("air", 2, 100), at(0));
    core.tick(at(1));
    let read = core.read(Sequence(0), 10, at(0)).unwrap().messages;
    assert_eq!(numbers(&read), [1, 2]);
    assert!(read[0].sequence < head && read[1].sequence >= head);
    assert_eq!(*read[0].message, reading("air", 1, 100));
}

#[test]
fn a_backlog_larger_than_memory_is_read_back_from_disk_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let roomy = Settings { max_size: 64 << 20, ..settings(folder.path(), SECOND, WhenFull::DropOldest) };
    let mut core = open(&roomy, 0).unwrap();
    for n in 1..=20_000 {
        core.append(reading("air", n, 100), at(n));
        core.tick(at(n));
    }
    assert!(core.memory() <= super::cache::LIMIT_BYTES, "{}", core.memory());
    let (mut from, mut all) = (Sequence(0), Vec::new());
    while from < core.head() {
        let Batch { messages, next } = core.read(from, 100, at(20_000)).unwrap();
        from = next;
        all.extend(numbers(&messages));
        core.acknowledge(&messages.iter().map(|stored| stored.sequence).collect::<Vec<_>>(), at(20_000));
    }
    assert_eq!(all, (1..=20_000).collect::<Vec<_>>());
}

#[test]
fn a_full_disk_stops_nothing_and_is_reported_until_it_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let roomy = Settings { max_size: 64 << 20, ..settings(folder.path(), SECOND, WhenFull::DropOldest) };
    let mut core = open(&roomy, 0).unwrap();
    core.fill_disk(true);
    for n in 1..=200 {
        core.append(reading("air", n, 1000), at(n * 10));
        core.tick(at(n * 10));
    }
    assert_eq!(core.stats().error.as_deref(), Some("the spool cannot be written: database or disk is full"));
    assert_eq!(core.read(Sequence(0), 100, at(2000)).unwrap().messages.len(), 100);
    core.fill_disk(false);
    assert!(core.due().unwrap() <= at(2000 + 5000).boot);
    core.tick(at(7000));
    assert_eq!((core.stats().error, core.stats().queued), (None, 200));
    assert_eq!(on_disk(folder.path()).len(), 200);
}

#[test]
fn a_second_instance_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path(), SECOND, WhenFull::DropOldest);
    let _first = open(&settings, 0).unwrap();
    let refused = open(&settings, 0).unwrap_err();
    assert!(matches!(refused, SpoolError::Held { .. }), "{refused:?}");
}

#[test]
fn a_file_of_a_newer_version_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("spool.db");
    rusqlite::Connection::open(&file).unwrap().pragma_update(None, "user_version", 7).unwrap();
    let before = fs::read(&file).unwrap();
    let refused = open(&settings(folder.path(), SECOND, WhenFull::DropOldest), 0).unwrap_err();
    assert!(refused.to_string().ends_with("newer version of fieldgate (schema 7; this one knows 6)"), "{refused}");
    assert!(fs::read(&file).unwrap() == before);
}

/// The package's `preinst` reads it there, also while the program runs.
#[test]
fn the_head_of_the_file_says_its_schema_while_it_is_open() {
    let folder = tempfile::tempdir().unwrap();
    let head = || fs::read(folder.path().join("spool.db")).unwrap()[60..64].to_vec();
    let new = open(&settings(folder.path(), SECOND, WhenFull::DropOldest), 0).unwrap();
    assert_eq!(head(), [0, 0, 0, 6]);
    drop(new);
    let file = rusqlite::Connection::open(folder.path().join("spool.db")).unwrap();
    file.execute_batch("DROP TABLE command; DROP TABLE announced; DROP TABLE value; PRAGMA user_version = 3").unwrap();
    drop(file);
    let _migrated = open(&settings(folder.path(), SECOND, WhenFull::DropOldest), 0).unwrap();
    assert_eq!(head(), [0, 0, 0, 6]);
}

#[test]
fn replies_outlive_readings_in_a_full_spool() {
    let folder = tempfile::tempdir().unwrap();
    let mut core = open(&settings(folder.path(), Duration::ZERO, WhenFull::DropOldest), 0).unwrap();
    let key = Key { kind: MessageKind::Reply, source: Name::new("pump").unwrap() };
    core.append(Message { key, ..reading("pump", 0, 100) }, at(0));
    for n in 1..=1000 {
        core.append(reading("air", n, 400), at(n));
        core.tick(at(n));
    }
    let kinds: Vec<_> =
        core.read(Sequence(0), 2000, at(0)).unwrap().messages.iter().map(|s| s.message.key.kind).collect();
    assert_eq!(kinds[0], MessageKind::Reply);
    assert_eq!(kinds.iter().filter(|kind| **kind == MessageKind::Loss).count(), 1);
}

/// What was written and left memory before it was readable must not hide a loss record between that has grown since.
#[test]
fn what_is_not_readable_yet_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut core = open(&settings(folder.path(), Duration::ZERO, WhenFull::DropOldest), 0).unwrap();
    let lose = |core: &mut Core, n| {
        let loss =
            Loss { sensor: name("soil"), run: RunId(1), from_seq: n, to_seq: n, count: 1, reason: "lost".into() };
        core.report_loss(loss, at(10 + n));
    };
    core.append(reading("air", 1, 10), at(1));
    core.tick(at(2));
    lose(&mut core, 1);
    core.append(reading("air", 2, 10), at(12));
    core.damage(&[], at(13));
    lose(&mut core, 2);
    let first = core.read(Sequence(0), 10, at(14)).unwrap();
    assert_eq!((numbers(&first.messages), first.next), (vec![1], core.head()));
    core.tick(at(15));
    let rest = core.read(first.next, 10, at(16)).unwrap().messages;
    let kinds: Vec<MessageKind> = rest.iter().map(|stored| stored.message.key.kind).collect();
    assert_eq!(kinds, [MessageKind::Loss, MessageKind::Reading]);
    assert!(String::from_utf8_lossy(&rest[0].message.body).contains("\"count\":2"));
}

#[test]
fn an_answer_cut_at_its_size_has_no_hole() {
    let folder = tempfile::tempdir().unwrap();
    let roomy = Settings { max_size: 64 << 20, ..settings(folder.path(), SECOND, WhenFull::DropOldest) };
    let mut core = open(&roomy, 0).unwrap();
    for n in 1..=100 {
        core.append(reading("air", n, 30_000), at(n * 100));
        core.tick(at(n * 100));
    }
    let read = numbers(&core.read(Sequence(0), 1000, at(10_000)).unwrap().messages);
    assert_eq!(read, (1..=read.len() as u64).collect::<Vec<_>>());
    assert!((2..20).contains(&read.len()), "{}", read.len());
}

fn check_memory_policy(when_full: WhenFull, survivors: std::ops::RangeInclusive<u64>) {
    let folder = tempfile::tempdir().unwrap();
    let roomy = Settings { max_size: 64 << 20, ..settings(folder.path(), SECOND, when_full) };
    let mut core = open(&roomy, 0).unwrap();
    core.fill_disk(true);
    for n in 1..=200 {
        core.append(reading("air", n, 20_000), at(n * 100));
        core.tick(at(n * 100));
    }
    let dropped = core.stats().dropped;
    assert!(dropped > 90, "{dropped}");
    core.fill_disk(false);
    core.tick(at(60_000));
    assert_eq!(core.stats().error, None);
    let (mut seen, mut reported) = (Vec::new(), 0);
    for stored in read_all(&mut core, 1, 60_000) {
        match stored.message.key.kind {
            MessageKind::Loss => {
                let loss: serde_json::Value = serde_json::from_slice(&stored.message.body).unwrap();
                reported += loss["count"].as_u64().unwrap();
            }
            _ => seen.push(stored.message.seq),
        }
    }
    assert_eq!((reported, reported + seen.len() as u64), (dropped, 200));
    assert!(survivors.clone().all(|n| seen.contains(&n)), "{seen:?}");
}

#[test]
fn while_the_disk_fails_the_oldest_give_way_in_memory() {
    check_memory_policy(WhenFull::DropOldest, 110..=200);
}

#[test]
fn while_the_disk_fails_the_newest_give_way_in_memory() {
    check_memory_policy(WhenFull::DropNewest, 1..=90);
}

#[test]
fn the_present_begins_behind_the_last_old_message_in_memory_or_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let roomy = Settings { max_size: 64 << 20, ..settings(folder.path(), SECOND, WhenFull::DropOldest) };
    let mut before = open(&roomy, 0).unwrap();
    before.append(reading("air", 5000, 10), at(0));
    before.close(at(0));
    let mut core = open(&roomy, 0).unwrap();
    let since = |core: &mut Core, secs| {
        let first = core.first_since(Duration::from_secs(secs), at(0));
        core.read(first, 1, at(0)).unwrap().messages.first().map(|stored| stored.message.seq)
    };
    assert_eq!(since(&mut core, 0), None, "nothing of this start");
    // The body makes most of them leave the memory; each was taken at the second of its number.
    for n in 1..=1000 {
        core.append(reading("air", n, 5000), at(n * 100));
        core.tick(at(n * 100));
    }
    assert_eq!(since(&mut core, 990), Some(990));
    assert_eq!(since(&mut core, 20), Some(20), "on disk only");
    assert_eq!(since(&mut core, 0), Some(1), "not the one of the start before, however late it was taken");
    assert_eq!(since(&mut core, 1001), None);
}

/// Readings at QoS 0 that were given to the link and dropped must not take the place of those that it has.
#[test]
fn what_the_link_was_given_is_spared_however_much_passed_at_qos_0() {
    let folder = tempfile::tempdir().unwrap();
    let mut core = open(&settings(folder.path(), Duration::ZERO, WhenFull::DropOldest), 0).unwrap();
    for n in 1..=10_000 {
        core.append(Message { qos: Qos::AtMostOnce, ..reading("door", n, 10) }, at(n));
        if n % 100 == 0 {
            core.tick(at(n));
            core.read(Sequence(0), 1000, at(n)).unwrap();
        }
    }
    core.append(reading("air", 1, 100), at(10_000));
    core.tick(at(10_000));
    let given = core.read(Sequence(0), 1000, at(10_000)).unwrap().messages.pop().unwrap();
    assert_eq!((given.message.seq, core.strays()), (1, vec![]));
    for n in 2..=3000 {
        core.append(reading("air", n, 400), at(10_000 + n));
        core.tick(at(10_000 + n));
    }
    let all = read_all(&mut core, 100, 20_000);
    assert!(all.iter().any(|stored| stored.message.key.kind == MessageKind::Loss), "the spool was not full");
    assert!(all.iter().any(|stored| stored.sequence == given.sequence), "the broker may have it, and it was dropped");
}

/// An acknowledgement of what has no row must not make the file look as if nobody needed it.
#[test]
fn a_full_disk_does_not_cost_what_is_not_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let roomy = Settings { max_size: 64 << 20, ..settings(folder.path(), Duration::ZERO, WhenFull::DropOldest) };
    let mut core = open(&roomy, 0).unwrap();
    core.append(reading("air", 1, 100), at(0));
    core.tick(at(0));
    core.close(at(0));
    let mut core = open(&roomy, 0).unwrap();
    core.acknowledge(&[Sequence(5)], at(1));
    core.fill_disk(true);
    core.append(reading("air", 2, 100_000), at(2));
    core.tick(at(5000));
    assert!(core.stats().error.is_some(), "the disk is full");
    core.fill_disk(false);
    core.tick(at(20_000));
    assert_eq!(numbers(&read_all(&mut core, 10, 20_000)), [1, 2]);
}

#[test]
fn the_limit_is_what_the_disk_has_and_never_less_than_what_is_in_use() {
    let (small, all) = (4 << 20, 64 << 20);
    assert_eq!(Limits::within(all, u64::MAX, 0), Limits::of(all));
    assert_eq!(Limits::within(all, small, 0), Limits::of(small));
    let used = Limits::of(small).capacity + 100;
    assert_eq!(Limits::within(all, small, used).capacity, used, "others have filled the disk");
    assert_eq!(Limits::within(small, all, all), Limits::of(small), "a smaller max_size holds");
}
