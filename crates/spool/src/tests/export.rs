//! What is read from outside, beside a spool that is written and without one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fastrand::Rng;

use super::{at, contents, open, reading, settings};
use crate::core::Core;
use crate::snapshot::Snapshot;
use crate::{Export, ExportError, Sequence, Settings, WhenFull};
use fieldgate_model::{Message, MessageKind, RunId};

/// One in twenty has pages of its own.
fn message(n: u64) -> Message {
    let bytes = if n.is_multiple_of(20) { 9000 } else { 100 + n as usize % 90 };
    Message { body: format!("{n} ").repeat(bytes / 4).into_bytes(), ..reading("air", n, 0) }
}

/// So often somebody tries again who is told that the file changes faster than it can be read.
const TRIES: usize = 20;

/// Everything that an export gives, by its sequence. Without a processor of its own it may be told to try again later.
fn exported(place: &Path) -> Vec<(Sequence, Message)> {
    let is_too_fast = |all: &Result<_, ExportError>| matches!(all, Err(ExportError::Changing { .. }));
    let mut tries = (0..TRIES).map(|_| exported_at_once(place)).skip_while(is_too_fast);
    let all: Vec<(Sequence, Message)> = tries.next().expect("a try that is quick enough").unwrap();
    assert!(all.windows(2).all(|pair| pair[0].0 < pair[1].0), "in order, and none twice");
    all
}

fn exported_at_once(place: &Path) -> Result<Vec<(Sequence, Message)>, ExportError> {
    let mut export = Export::open(place)?;
    let mut all = Vec::new();
    while let Some(portion) = export.next_portion()? {
        assert_eq!((portion.lost, portion.holes), (Vec::new(), 0));
        all.extend(portion.messages);
    }
    assert_eq!(export.damage(), None);
    Ok(all)
}

fn roomy(folder: &Path) -> Settings {
    Settings { max_size: 16 << 20, ..settings(folder, Duration::ZERO, WhenFull::DropOldest) }
}

#[test]
fn what_a_running_spool_has_on_the_disk_is_read_and_the_same_after_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut core = open(&roomy(folder.path()), 0).unwrap();
    assert_eq!(exported(folder.path()), []);
    (1..=3000).for_each(|n| core.append(message(n), at(0)));
    core.tick(at(0));
    let before = contents(folder.path());
    let found = exported(folder.path());
    assert_eq!(
        found.iter().map(|(_, message)| message.clone()).collect::<Vec<_>>(),
        (1..=3000).map(message).collect::<Vec<_>>()
    );
    assert!(contents(folder.path()) == before, "nothing changes");
    core.close(at(0));
    assert_eq!(exported(folder.path()), found);
    assert_eq!(exported(&folder.path().join("spool.db")), found);
}

#[test]
fn there_is_nothing_to_read_where_no_spool_is() {
    let folder = tempfile::tempdir().unwrap();
    for place in [folder.path().to_owned(), folder.path().join("nowhere"), folder.path().join("no.db")] {
        assert!(matches!(Export::open(&place), Err(ExportError::Absent { .. })), "{}", place.display());
    }
    assert_eq!(contents(folder.path()), []);
}

#[test]
fn a_file_of_another_version_is_named_and_one_that_is_no_spool_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("spool.db");
    open(&roomy(folder.path()), 0).unwrap().close(at(0));
    let ours = fs::read(&file).unwrap();
    for (version, is_newer) in [(1, false), (99, true)] {
        let mut other = ours.clone();
        other[60..64].copy_from_slice(&u32::to_be_bytes(version));
        fs::write(&file, other).unwrap();
        match Export::open(folder.path()) {
            Err(ExportError::Newer { .. }) => assert!(is_newer),
            Err(ExportError::Older { .. }) => assert!(!is_newer),
            other => panic!("{other:?}"),
        }
    }
    fs::write(&file, "a letter\n".repeat(5000)).unwrap();
    let mut export = Export::open(folder.path()).unwrap();
    while let Some(portion) = export.next_portion().unwrap() {
        assert_eq!(portion.messages, []);
    }
    assert!(export.damage().is_some());
    fs::write(&file, "").unwrap();
    assert_eq!(exported(folder.path()), []);
}

#[test]
fn a_log_whose_middle_is_damaged_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let mut core = open(&roomy(folder.path()), 0).unwrap();
    for n in 1..=30 {
        core.append(message(n), at(n));
        core.tick(at(n));
    }
    let cut = super::copy_of(folder.path());
    let log = cut.path().join("spool.db-wal");
    let mut bytes = fs::read(&log).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&log, bytes).unwrap();
    let mut export = Export::open(cut.path()).unwrap();
    assert!(export.damage().unwrap().contains("log"));
    let mut numbers = Vec::new();
    while let Some(portion) = export.next_portion().unwrap() {
        numbers.extend(portion.messages.iter().map(|(_, message)| message.seq));
    }
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>(), "what was written before");
    assert!(numbers.len() < 30);
}

#[test]
fn a_file_that_is_replaced_meanwhile_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let mut core = open(&roomy(folder.path()), 0).unwrap();
    (1..=3000).for_each(|n| core.append(message(n), at(0)));
    core.tick(at(0));
    core.close(at(0));
    let mut export = Export::open(folder.path()).unwrap();
    export.next_portion().unwrap().unwrap();
    let file = folder.path().join("spool.db");
    fs::rename(&file, folder.path().join("aside")).unwrap();
    fs::copy(folder.path().join("aside"), &file).unwrap();
    assert!(matches!(export.next_portion(), Err(ExportError::Replaced { .. })));
}

/// What the writer has done, as the reader may know it.
#[derive(Default)]
struct Done {
    /// What was there when the spool was last looked at, and how often that was.
    there: BTreeMap<u64, u64>,
    looks: u64,
    acknowledged: BTreeSet<u64>,
}

/// Appends, commits, acknowledges and restarts at random until it is to stop; a small spool drops its oldest as well.
fn write(settings: &Settings, rng: &mut Rng, done: &Mutex<Done>, is_over: &AtomicBool) {
    let mut core = None;
    let (mut n, mut ms) = (0, 0);
    while !is_over.load(Ordering::Relaxed) {
        ms += 300;
        let mut core_now = core.take().unwrap_or_else(|| open(settings, ms).unwrap());
        for _ in 0..rng.u64(1..80) {
            n += 1;
            core_now.append(message(n), at(ms));
        }
        core_now.tick(at(ms));
        let all = super::read_all(&mut core_now, 500, ms);
        let readings: Vec<_> = all.iter().filter(|stored| stored.message.key.kind == MessageKind::Reading).collect();
        // More would only take longer.
        let share = if all.len() > 1500 { 0.9 } else { rng.f64() * 0.1 };
        let gone: Vec<_> = readings.iter().filter(|_| rng.f64() < share).map(|stored| stored.sequence).collect();
        {
            let mut known = done.lock().unwrap();
            known.there = readings.iter().map(|stored| (stored.sequence.0, stored.message.seq)).collect();
            known.looks += 1;
            known.acknowledged.extend(gone.iter().map(|sequence| sequence.0));
        }
        core_now.acknowledge(&gone, at(ms));
        core_now.tick(at(ms + 200));
        if rng.u8(..12) == 0 {
            core_now.close(at(ms));
        } else {
            core = Some(core_now);
        }
    }
}

/// What waits now, by all that the writer has said.
fn waiting(done: &Mutex<Done>) -> BTreeMap<u64, u64> {
    let known = done.lock().unwrap();
    let waits = known.there.iter().filter(|(sequence, _)| !known.acknowledged.contains(sequence));
    waits.map(|(sequence, n)| (*sequence, *n)).collect()
}

/// Asks somebody to end who works beside a test.
struct EndsWhenDropped<'a>(&'a AtomicBool);

impl Drop for EndsWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// While a spool is written, an export has whatever was committed before it began and still waits when it has ended, each as it was
/// written, and never takes what is half written for damage.
fn check_beside_a_writer(settings: &Settings, seed: u64) {
    let (done, is_over) = (Mutex::new(Done::default()), AtomicBool::new(false));
    open(settings, 0).unwrap().close(at(0));
    std::thread::scope(|scope| {
        // Also when something has failed: the scope waits for the writer.
        let _end = EndsWhenDropped(&is_over);
        let writer = scope.spawn(|| write(settings, &mut Rng::with_seed(seed), &done, &is_over));
        let looks = || done.lock().unwrap().looks;
        for round in 0..12 {
            let before = waiting(&done);
            let found = exported(&settings.path).into_iter().map(|(Sequence(sequence), message)| (sequence, message));
            let found: BTreeMap<u64, Message> = found.collect();
            // What a commit dropped is known after the look that follows it.
            let then = looks();
            while looks() < then + 2 && !writer.is_finished() {
                std::thread::yield_now();
            }
            let after = waiting(&done);
            for (sequence, n) in before.iter().filter(|(sequence, _)| after.contains_key(sequence)) {
                let is_there = found.get(sequence).is_some_and(|found| *found == message(*n));
                assert!(is_there, "seed {seed}, round {round}: {n} is missing");
            }
            for (sequence, found) in found.iter().filter(|(_, found)| found.key.kind == MessageKind::Reading) {
                assert!(*found == message(found.seq), "seed {seed}, round {round}: {sequence} has changed");
            }
            if writer.is_finished() {
                break;
            }
        }
        is_over.store(true, Ordering::Relaxed);
        writer.join().unwrap();
    });
}

/// Begins a start; its log is empty until something is committed.
fn begin(settings: &Settings) -> Core {
    let core = Core::open(settings.clone(), RunId(1), at(0)).unwrap();
    assert_eq!(fs::metadata(settings.path.join("spool.db-wal")).unwrap().len(), 0);
    core
}

/// The log is empty before a look and behind it, and a whole start of the service lies between: what the look has seen may be of
/// neither state.
#[test]
fn a_look_during_which_a_whole_start_has_passed_is_repeated() {
    for (is_begun_before, is_begun_behind) in [(false, false), (false, true), (true, false), (true, true)] {
        let folder = tempfile::tempdir().unwrap();
        let settings = roomy(folder.path());
        open(&settings, 0).unwrap().close(at(0));
        let mut running = is_begun_before.then(|| begin(&settings));
        let mut snapshot = Snapshot::take(&settings.path.join("spool.db")).unwrap();
        let mut looks = 0;
        let seen = snapshot.stable(|pages, used| {
            looks += 1;
            used.pages.insert(1);
            let seen = pages.page(1);
            if looks == 1 {
                let mut core = running.take().unwrap_or_else(|| begin(&settings));
                core.append(message(1), at(0));
                core.tick(at(10_000));
                core.close(at(10_000));
                running = is_begun_behind.then(|| begin(&settings));
            }
            seen
        });
        seen.unwrap();
        assert!(looks > 1, "begun before: {is_begun_before}, begun behind: {is_begun_behind}");
    }
}

#[test]
fn beside_a_writer_an_export_is_whole_and_sound() {
    let folder = tempfile::tempdir().unwrap();
    check_beside_a_writer(&roomy(folder.path()), fastrand::u64(..));
}

#[test]
fn beside_a_writer_that_drops_its_oldest_an_export_is_whole_and_sound() {
    let folder = tempfile::tempdir().unwrap();
    check_beside_a_writer(&settings(folder.path(), Duration::ZERO, WhenFull::DropOldest), fastrand::u64(..));
}
