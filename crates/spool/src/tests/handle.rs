//! The handle and its thread.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::oneshot;

use super::{copy_of, name, numbers, on_disk, reading, settings};
use crate::{Batch, Closed, Item, Sequence, Settings, WhenFull, open};
use fieldgate_model::{CommandRecord, Loss, MessageKind, Name, Recipient, RunId};

#[tokio::test]
async fn a_message_goes_in_comes_out_and_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, thread) = open(settings(folder.path(), Duration::ZERO, WhenFull::DropOldest), RunId(1)).unwrap();
    let (mut head, mut stats) = (spool.head(), spool.stats());
    let before = *head.borrow_and_update();
    spool.append(reading("air", 1, 100)).await.unwrap();
    head.changed().await.unwrap();
    assert!(*head.borrow() > before);
    let read = spool.read(Sequence(0), 10).await.unwrap().messages;
    assert_eq!(numbers(&read), [1]);
    spool.acknowledge(vec![read[0].sequence]).await.unwrap();
    stats.wait_for(|stats| stats.queued == 0).await.unwrap();
    spool.clone().close().await;
    assert_eq!(spool.append(reading("air", 2, 100)).await, Err(Closed));
    thread.join().unwrap();
}

#[tokio::test]
async fn what_is_awaited_is_sent_when_it_is_readable_and_only_to_the_last_who_wants_it() {
    let folder = tempfile::tempdir().unwrap();
    let hour = Duration::from_secs(3600);
    let (spool, _thread) = open(settings(folder.path(), hour, WhenFull::DropOldest), RunId(1)).unwrap();
    let from = *spool.head().borrow();
    let appended = async {
        // Behind both questions.
        spool.wait_until_readable().await.unwrap();
        spool.append(reading("air", 1, 100)).await.unwrap();
    };
    let wish = || spool.try_acknowledge_and_await(Vec::new(), from, 10).unwrap();
    let (earlier, last, ()) = tokio::join!(wish(), wish(), appended);
    assert_eq!(earlier.unwrap(), Ok(Batch { messages: Vec::new(), next: from }));
    let last = last.unwrap().unwrap();
    assert_eq!(numbers(&last.messages), [1]);
    // Where it goes on is said before it is shown to all.
    spool.head().wait_for(|head| *head == last.next).await.unwrap();
    let again = wish().await.unwrap().unwrap();
    assert_eq!(numbers(&again.messages), [1], "what is there is answered at once");
    let settled = spool.try_acknowledge_and_await(vec![again.messages[0].sequence], again.next, 10).unwrap();
    spool.stats().wait_for(|stats| stats.queued == 0).await.unwrap();
    spool.close().await;
    assert!(settled.await.is_err(), "nothing comes any more");
}

/// A disk below `root`, where it is while it is away, and a spool on it behind a link.
fn removable(root: &Path) -> (PathBuf, PathBuf, Settings) {
    let (disk, away) = (root.join("disk"), root.join("away"));
    fs::create_dir(&disk).unwrap();
    symlink(&disk, root.join("link")).unwrap();
    (disk, away, settings(&root.join("link"), Duration::ZERO, WhenFull::DropOldest))
}

#[tokio::test]
async fn what_is_awaited_comes_to_nothing_in_a_new_era() {
    let root = tempfile::tempdir().unwrap();
    let (disk, away, settings) = removable(root.path());
    let (spool, thread) = open(settings.clone(), RunId(1)).unwrap();
    spool.append(reading("air", 1, 100)).await.unwrap();
    spool.close().await;
    thread.join().unwrap();
    fs::rename(&disk, &away).unwrap();
    let (spool, _thread) = open(settings, RunId(2)).unwrap();
    let (from, era) = (*spool.head().borrow(), *spool.era().borrow());
    let found = async {
        spool.wait_until_readable().await.unwrap();
        fs::rename(&away, &disk).unwrap();
    };
    let wish = spool.try_acknowledge_and_await(Vec::new(), from, 10).unwrap();
    let (asked, ()) = tokio::join!(wish, found);
    assert_eq!(asked.unwrap(), Ok(Batch { messages: Vec::new(), next: from }));
    assert_ne!(*spool.era().borrow(), era);
}

#[tokio::test]
async fn a_command_record_is_on_disk_before_what_was_appended_behind_it_is_readable_and_the_next_run_recalls_it() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path(), Duration::from_secs(3600), WhenFull::DropOldest);
    let (spool, thread) = open(settings.clone(), RunId(1)).unwrap();
    assert_eq!(spool.command_ids().earlier().unwrap().len(), 0);
    let answered = |n: usize| CommandRecord {
        recipient: Recipient::output(name("pump")),
        id: n.to_string(),
        answer: Some("done".into()),
    };
    for n in 0..2 {
        spool.command_ids().record(CommandRecord { answer: None, ..answered(n) });
        spool.command_ids().record(answered(n));
        spool.append(reading("air", n as u64, 10)).await.unwrap();
        spool.wait_until_readable().await.unwrap();
        let cut = copy_of(folder.path());
        let kept = super::open(&Settings { path: cut.path().to_owned(), ..settings.clone() }, 0).unwrap().commands();
        assert_eq!(kept.unwrap()[..], (0..=n).map(answered).collect::<Vec<_>>());
    }
    spool.command_ids().record(answered(2));
    spool.close().await;
    thread.join().unwrap();
    let (spool, _thread) = open(settings, RunId(2)).unwrap();
    assert_eq!(spool.command_ids().earlier().unwrap().len(), 3, "closing writes the last");
}

#[tokio::test]
async fn what_earlier_runs_recorded_and_counted_is_known_as_soon_as_their_disk_is_there() {
    let root = tempfile::tempdir().unwrap();
    let (disk, away, settings) = removable(root.path());
    let (spool, thread) = open(settings.clone(), RunId(1)).unwrap();
    let answered =
        CommandRecord { recipient: Recipient::output(name("pump")), id: "a".into(), answer: Some("done".into()) };
    spool.command_ids().record(answered.clone());
    spool.reserve(1).await.unwrap().send(vec![Item::Count(name("gas"), 41)]);
    spool.close().await;
    thread.join().unwrap();
    fs::rename(&disk, &away).unwrap();
    let (spool, _thread) = open(settings, RunId(2)).unwrap();
    assert_eq!((spool.command_ids().earlier(), spool.counts().borrow().clone()), (None, None));
    fs::rename(&away, &disk).unwrap();
    // The status is published last.
    spool.stats().wait_for(|stats| stats.error.is_none()).await.unwrap();
    assert_eq!(spool.command_ids().earlier().unwrap()[..], [answered]);
    assert_eq!(spool.counts().borrow().as_ref().unwrap()[&name("gas")], 41);
}

#[tokio::test]
async fn who_sets_a_count_is_answered_when_it_is_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path(), Duration::from_secs(3600), WhenFull::DropOldest);
    let (spool, _thread) = open(settings.clone(), RunId(1)).unwrap();
    for count in [41, 7] {
        let (saved, is_saved) = oneshot::channel();
        let sensor = name("gas");
        spool.reserve(1).await.unwrap().send(vec![Item::SetCount { sensor, count, saved }]);
        assert_eq!(is_saved.await, Ok(Ok(())));
        let cut = copy_of(folder.path());
        let kept = super::open(&Settings { path: cut.path().to_owned(), ..settings.clone() }, 0).unwrap().counts();
        assert_eq!(kept.unwrap()[&name("gas")], count);
    }
}

#[tokio::test]
async fn closing_writes_what_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path(), Duration::from_secs(3600), WhenFull::DropOldest);
    let settings = Settings { max_size: 64 << 20, ..settings };
    let (spool, thread) = open(settings.clone(), RunId(1)).unwrap();
    for n in 1..=3000 {
        spool.append(reading("air", n, 20)).await.unwrap();
    }
    spool.close().await;
    thread.join().unwrap();
    assert!(!folder.path().join("spool.db-wal").exists());
    let (spool, _thread) = open(settings, RunId(2)).unwrap();
    let read = spool.read(Sequence(0), 5000).await.unwrap().messages;
    assert_eq!(numbers(&read), (1..=3000).collect::<Vec<_>>());
}

#[tokio::test]
async fn new_settings_hold_for_what_is_appended_behind_them() {
    let folder = tempfile::tempdir().unwrap();
    let hour = Duration::from_secs(3600);
    let (spool, _thread) = open(settings(folder.path(), hour, WhenFull::DropOldest), RunId(1)).unwrap();
    spool.append(reading("air", 1, 10)).await.unwrap();
    spool.wait_until_readable().await.unwrap();
    assert!(on_disk(folder.path()).is_empty());
    spool.reconfigure(settings(folder.path(), Duration::ZERO, WhenFull::DropOldest)).await.unwrap();
    spool.append(reading("air", 2, 10)).await.unwrap();
    spool.wait_until_readable().await.unwrap();
    assert_eq!(on_disk(folder.path()), [1, 2]);
}

#[tokio::test]
async fn losses_from_outside_are_merged_and_readable() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, _thread) =
        open(settings(folder.path(), Duration::from_secs(1), WhenFull::DropOldest), RunId(1)).unwrap();
    for n in 4..=6 {
        let sensor = Name::new("air").unwrap();
        let loss = Loss { sensor, run: RunId(1), from_seq: n, to_seq: n, count: 1, reason: "queue full".into() };
        spool.report_loss(loss).await.unwrap();
    }
    spool.stats().wait_for(|stats| stats.dropped == 3).await.unwrap();
    let read = spool.read(Sequence(0), 10).await.unwrap().messages;
    assert_eq!((read.len(), read[0].message.key.kind), (1, MessageKind::Loss));
    let loss: serde_json::Value = serde_json::from_slice(&read[0].message.body).unwrap();
    assert_eq!((&loss["from_seq"], &loss["to_seq"], &loss["count"]), (&4.into(), &6.into(), &3.into()));
}

#[tokio::test]
async fn a_permit_is_as_large_as_wanted_and_what_is_sent_together_stays_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, _thread) = open(settings(folder.path(), Duration::ZERO, WhenFull::DropOldest), RunId(1)).unwrap();
    let items = |numbers: &[u64]| numbers.iter().map(|n| Item::Message(reading("air", *n, 10))).collect();
    let permit = spool.reserve(5).await.unwrap();
    assert_eq!(permit.size(), 5);
    permit.send(items(&[1, 2, 3]));
    // What one waits with, another may have, but for one place.
    let whole = spool.reserve(usize::MAX).await.unwrap();
    assert!(whole.size() > 4000, "the two that were not used are back: {}", whole.size());
    drop(whole);
    let small = spool.reserve(2).await.unwrap();
    small.send(items(&[4, 5]));
    spool.wait_until_readable().await.unwrap();
    assert_eq!(numbers(&spool.read(Sequence(0), 10).await.unwrap().messages), [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn whoever_waits_for_room_goes_on_when_there_is_some_and_learns_of_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, thread) = open(settings(folder.path(), Duration::ZERO, WhenFull::DropOldest), RunId(1)).unwrap();
    let whole = spool.reserve(usize::MAX).await.unwrap();
    let waits = tokio::spawn({
        let spool = spool.clone();
        async move { spool.append(reading("air", 2, 10)).await }
    });
    tokio::task::yield_now().await;
    assert!(!waits.is_finished());
    whole.send(vec![Item::Message(reading("air", 1, 10))]);
    assert_eq!(waits.await.unwrap(), Ok(()));
    spool.wait_until_readable().await.unwrap();
    assert_eq!(numbers(&spool.read(Sequence(0), 10).await.unwrap().messages), [1, 2]);
    let whole = spool.reserve(usize::MAX).await.unwrap();
    let waits = tokio::spawn({
        let spool = spool.clone();
        async move { spool.append(reading("air", 3, 10)).await }
    });
    tokio::task::yield_now().await;
    // Keeps the places, as those that are in the queue of a thread that panics.
    std::mem::forget(whole);
    spool.close().await;
    assert_eq!(waits.await.unwrap(), Err(Closed));
    thread.join().unwrap();
}

#[tokio::test]
async fn a_second_instance_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path(), Duration::ZERO, WhenFull::DropOldest);
    let (_spool, _thread) = open(settings.clone(), RunId(1)).unwrap();
    let refused = open(settings, RunId(2)).unwrap_err().to_string();
    assert!(refused.ends_with("is in use by another running instance"), "{refused}");
}

#[tokio::test]
async fn when_the_last_handle_is_gone_the_thread_ends() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, thread) = open(settings(folder.path(), Duration::ZERO, WhenFull::DropOldest), RunId(1)).unwrap();
    drop(spool);
    thread.join().unwrap();
}
