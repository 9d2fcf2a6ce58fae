//! A large file is examined while the spool serves: what is readable by then, what waits, and that nothing is lost.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::{SECOND, at, contents, numbers, on_disk, open, read_all, reading, settings};
use crate::core::Core;
use crate::examination::Examiner;
use crate::{Item, ReadError, Sequence, Settings, WhenFull, open_gated};
use fieldgate_model::{Name, RunId};
use tokio::sync::oneshot;

/// More than is examined before a start goes on.
const LEFT: u64 = 20_000;

fn roomy(folder: &Path, commit_every: Duration) -> Settings {
    Settings { max_size: 64 << 20, ..settings(folder, commit_every, WhenFull::DropOldest) }
}

/// Leaves a large spool, opens it again, and returns who is to examine it.
fn with_examiner(folder: &Path, commit_every: Duration) -> (Core, Examiner) {
    let mut before = open(&roomy(folder, commit_every), 0).unwrap();
    (1..=LEFT).for_each(|n| before.append(reading("air", n, 40), at(0)));
    before.close(at(0));
    let mut core = Core::open(roomy(folder, commit_every), RunId(2), at(0)).unwrap();
    let examiner = core.begin_examination(at(0)).expect("the file is large");
    core.tick(at(0));
    (core, examiner)
}

/// Opens a large spool again, to which a fresh message then comes.
fn with_examiner_and_fresh(folder: &Path) -> (Core, Examiner) {
    let (mut core, examiner) = with_examiner(folder, SECOND);
    core.append(reading("air", LEFT + 1, 40), at(1));
    core.tick(at(1));
    (core, examiner)
}

/// Examines the file, and lets everything be done that waits.
fn examine(core: &mut Core, examiner: Examiner, ms: u64) {
    examiner.run();
    let examined = core.examination().and_then(|examination| examination.try_recv().ok());
    core.examined(examined, at(ms));
    core.tick(at(ms));
}

#[test]
fn fresh_messages_are_readable_before_the_examination_has_ended_and_the_others_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let (mut core, examiner) = with_examiner(folder.path(), SECOND);
    let before = contents(folder.path());
    core.append(reading("air", LEFT + 1, 40), at(5000));
    core.tick(at(9000));
    let present = core.first_since(Duration::ZERO, at(9000));
    let read = core.read(present, 10, at(9000)).unwrap().messages;
    assert_eq!(numbers(&read), [LEFT + 1]);
    assert_eq!(core.read(Sequence(0), 10, at(9000)), Err(ReadError::Disk), "older ones are not skipped");
    assert_eq!((core.due(), core.stats().queued, core.stats().error), (Some(Duration::MAX), LEFT + 1, None));
    assert!(contents(folder.path()) == before, "something was written to what may be damaged");
    let era = core.era();
    examine(&mut core, examiner, 9000);
    assert_eq!(numbers(&read_all(&mut core, 1000, 9000)), (1..=LEFT + 1).collect::<Vec<_>>());
    assert_eq!((core.era(), core.stats().error), (era, None), "nothing has to be read again");
    assert_eq!(on_disk(folder.path()).len() as u64, LEFT + 1, "its time to be on disk had come");
}

#[test]
fn what_was_acknowledged_by_the_end_of_the_examination_is_never_written() {
    let folder = tempfile::tempdir().unwrap();
    let (mut core, examiner) = with_examiner_and_fresh(folder.path());
    let present = core.first_since(Duration::ZERO, at(1));
    let read = core.read(present, 10, at(1)).unwrap().messages;
    core.acknowledge(&[read[0].sequence], at(1));
    examine(&mut core, examiner, 5000);
    core.close(at(9000));
    assert_eq!(on_disk(folder.path()), (1..=LEFT).collect::<Vec<_>>());
}

#[test]
fn what_must_be_on_disk_first_is_not_readable_before_it_is() {
    let gas = Name::new("gas").unwrap();
    for (commit_every, is_counted) in [(Duration::ZERO, false), (SECOND, true)] {
        let folder = tempfile::tempdir().unwrap();
        let (mut core, examiner) = with_examiner(folder.path(), commit_every);
        let head = core.head();
        if is_counted {
            core.keep_count(&gas, 41);
        }
        core.append(reading("gas", 1, 40), at(1));
        core.tick(at(1));
        assert_eq!((core.head(), core.is_all_readable()), (head, false));
        examine(&mut core, examiner, 2);
        assert!(core.head() > head && core.is_all_readable());
        if is_counted {
            assert_eq!(core.count_saved(&gas), Ok(()));
        } else {
            assert_eq!(on_disk(folder.path()).len() as u64, LEFT + 1);
        }
    }
}

#[test]
fn memory_that_fills_up_waits_for_the_examination_and_drops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (mut core, examiner) = with_examiner(folder.path(), SECOND);
    let examining = examiner.start(|| ()).unwrap();
    (1..=100).for_each(|n| core.append(reading("air", LEFT + n, 40_000), at(n)));
    assert!(!core.is_examined_now(), "there is no memory for so much");
    core.tick(at(5000));
    examining.join().unwrap();
    assert_eq!((core.stats().dropped, core.stats().queued, core.stats().error), (0, LEFT + 100, None));
}

#[test]
fn a_file_whose_examination_failed_to_end_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let (mut core, examiner) = with_examiner_and_fresh(folder.path());
    drop(examiner);
    core.examined(None, at(1));
    assert!(core.stats().error.is_some_and(|words| words.contains("examined")));
    core.tick(at(5000));
    assert_eq!(core.stats().error, None);
    assert_eq!(numbers(&read_all(&mut core, 1000, 5000)), (1..=LEFT + 1).collect::<Vec<_>>());
}

#[test]
fn a_stop_during_the_examination_writes_what_came_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let (mut core, examiner) = with_examiner(folder.path(), SECOND);
    let examining = examiner.start(|| ()).unwrap();
    core.append(reading("air", LEFT + 1, 40), at(1));
    core.close(at(1));
    examining.join().unwrap();
    assert_eq!(on_disk(folder.path()).len() as u64, LEFT + 1);
}

#[tokio::test]
async fn a_read_of_what_the_file_has_is_wanted_again_when_it_has_been_examined() {
    let folder = tempfile::tempdir().unwrap();
    drop(with_examiner(folder.path(), SECOND));
    let (gate, gated) = std::sync::mpsc::sync_channel(1);
    let (spool, thread) = open_gated(roomy(folder.path(), SECOND), RunId(2), gated).unwrap();
    spool.append(reading("air", LEFT + 1, 40)).await.unwrap();
    spool.wait_until_readable().await.unwrap();
    let present = spool.first_since(Duration::ZERO).await.unwrap();
    assert_eq!(numbers(&spool.read(present, 10).await.unwrap().messages), [LEFT + 1]);
    assert_eq!(spool.read(Sequence(0), 10).await, Err(ReadError::Disk));
    let mut head = spool.head();
    head.mark_unchanged();
    gate.send(()).unwrap();
    head.changed().await.unwrap();
    assert_eq!(numbers(&spool.read(Sequence(0), 3).await.unwrap().messages), [1, 2, 3]);
    spool.close().await;
    thread.join().unwrap();
}

#[tokio::test]
async fn who_sets_a_count_during_the_examination_is_answered_when_it_is_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    drop(with_examiner(folder.path(), SECOND));
    let (gate, gated) = std::sync::mpsc::sync_channel(1);
    let (spool, thread) = open_gated(roomy(folder.path(), SECOND), RunId(2), gated).unwrap();
    let (saved, mut is_saved) = oneshot::channel();
    let sensor = Name::new("gas").unwrap();
    spool.reserve(1).await.unwrap().send(vec![Item::SetCount { sensor, count: 7, saved }]);
    assert!(is_saved.try_recv().is_err());
    gate.send(()).unwrap();
    assert_eq!(is_saved.await, Ok(Ok(())));
    spool.close().await;
    thread.join().unwrap();
    assert!(fs::metadata(folder.path().join("spool.db")).unwrap().len() > 1 << 20);
}
