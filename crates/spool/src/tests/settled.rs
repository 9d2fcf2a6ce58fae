//! What is given up, passed over or needed by nobody: on the disk, in memory, on a full disk, and through the handle.

use super::*;
use crate::{NotNow, open as open_with_thread};

fn roomy(folder: &Path) -> Settings {
    Settings { max_size: 64 << 20, ..settings(folder, Duration::ZERO, WhenFull::DropOldest) }
}

fn of_kind(kind: MessageKind, n: u64, bytes: usize) -> Message {
    Message { key: Key { kind, source: name("pump") }, ..reading("pump", n, bytes) }
}

/// The reasons of all loss records that are readable, each with the numbers that it is about.
fn reported(core: &mut Core, ms: u64) -> Vec<(u64, u64, String)> {
    let losses = read_all(core, 100, ms).into_iter().filter(|stored| stored.message.key.kind == MessageKind::Loss);
    let fields = |stored: Stored| {
        let body: serde_json::Value = serde_json::from_slice(&stored.message.body).unwrap();
        let number = |field: &str| body[field].as_u64().unwrap();
        (number("from_seq"), number("to_seq"), body["reason"].as_str().unwrap().to_owned())
    };
    losses.map(fields).collect()
}

/// A spool with so many readings of a sensor on the disk, all of which the link was given; their places.
fn given(folder: &Path, sensor: &str, count: u64) -> (Core, Vec<Sequence>) {
    let mut core = open(&roomy(folder), 0).unwrap();
    (1..=count).for_each(|n| core.append(reading(sensor, n, 100), at(n)));
    core.tick(at(count + 1));
    let all = read_all(&mut core, 100, count + 2).iter().map(|stored| stored.sequence).collect();
    (core, all)
}

/// Where the disk has space for nothing, not even for what the broker has settled, the file that nobody needs is replaced.
#[test]
fn a_full_disk_whose_file_nobody_needs_gets_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let (mut core, all) = given(folder.path(), "air", 5);
    core.acknowledge(&all, at(12));
    core.fill_disk(true);
    core.append(reading("air", 6, 100_000), at(13));
    (0..10).for_each(|step| core.tick(at(5000 * (step + 1))));
    assert_eq!(core.stats().error, None, "the new file takes it");
    assert_eq!(numbers(&read_all(&mut core, 10, 50_001)), [6]);
    assert_eq!(on_disk(folder.path()), [6]);
}

/// Wherever it is: a reading is reported with the reason, and anything else goes in silence.
#[test]
fn a_message_that_is_given_up_is_gone_and_a_reading_is_reported() {
    for is_on_disk_alone in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let mut core = open(&roomy(folder.path()), 0).unwrap();
        core.append(reading("air", 1, 10), at(1));
        core.append(of_kind(MessageKind::Reply, 0, 10), at(2));
        core.append(reading("air", 2, 10), at(3));
        core.append(Message { qos: Qos::AtMostOnce, ..reading("door", 1, 10) }, at(4));
        core.tick(at(5));
        if is_on_disk_alone {
            core.damage(&[], at(6));
        }
        let all = read_all(&mut core, 10, 7);
        let given_up: Vec<Sequence> =
            all.iter().filter(|stored| stored.message.seq != 2).map(|stored| stored.sequence).collect();
        for _ in 0..2 {
            given_up.iter().for_each(|sequence| core.give_up(*sequence, "refused", at(8)));
        }
        core.tick(at(2000));
        assert_eq!(reported(&mut core, 2001), [(1, 1, "refused".to_owned())]);
        let left = read_all(&mut core, 10, 2002);
        let left: Vec<&Stored> = left.iter().filter(|stored| stored.message.key.kind != MessageKind::Loss).collect();
        assert_eq!(left.iter().map(|stored| stored.message.seq).collect::<Vec<_>>(), [2]);
        assert_eq!(core.stats().dropped, 1);
    }
}

/// The link reads them again later, so the broker cannot have them.
#[test]
fn what_the_link_passed_over_gives_way_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let mut core = open(&settings(folder.path(), Duration::ZERO, WhenFull::DropOldest), 0).unwrap();
    for n in 1..=20 {
        (0..20).for_each(|m| core.append(reading("air", n * 20 + m, 400), at(n)));
        core.tick(at(n));
    }
    let all: Vec<Sequence> = read_all(&mut core, 100, 21).iter().map(|stored| stored.sequence).collect();
    let (first, others) = all.split_first().unwrap();
    core.pass_over(others);
    for n in 21..=100 {
        (0..20).for_each(|m| core.append(reading("air", n * 20 + m, 400), at(n)));
        core.tick(at(n));
    }
    let left: Vec<Sequence> = read_all(&mut core, 100, 101).iter().map(|stored| stored.sequence).collect();
    assert!(core.stats().dropped > 20, "it was never full");
    assert_eq!(left[0], *first, "the broker may have it");
    assert!(!left.contains(&others[0]), "it was passed over and is the oldest");
}

/// Memory is bounded whatever waits in it: where no reading is left, the oldest of the others give way, and no loss record does.
#[test]
fn while_the_disk_fails_replies_are_bounded_and_loss_records_stay() {
    let folder = tempfile::tempdir().unwrap();
    let mut core = open(&roomy(folder.path()), 0).unwrap();
    core.fill_disk(true);
    let loss =
        Loss { sensor: name("soil"), run: RunId(1), from_seq: 1, to_seq: 1, count: 1, reason: "too late".into() };
    core.report_loss(loss, at(1));
    for n in 1..=200 {
        core.append(of_kind(MessageKind::Reply, n, 20_000), at(n * 100));
        core.tick(at(n * 100));
    }
    assert!(core.memory() <= crate::cache::LIMIT_BYTES, "{} bytes", core.memory());
    assert_eq!(reported(&mut core, 20_001), [(1, 1, "too late".to_owned())]);
    let left = read_all(&mut core, 1000, 20_002);
    let replies: Vec<u64> =
        left.iter().filter(|s| s.message.key.kind == MessageKind::Reply).map(|s| s.message.seq).collect();
    assert_eq!(replies, (201 - replies.len() as u64..=200).collect::<Vec<_>>(), "the newest");
    assert_eq!(core.stats().dropped, 1 + 200 - replies.len() as u64);
}

#[test]
fn every_kind_of_message_is_after_a_restart_what_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let kinds = [
        MessageKind::Reading,
        MessageKind::Reply,
        MessageKind::TotalReply,
        MessageKind::VariableReply,
        MessageKind::Response,
        MessageKind::Event,
        MessageKind::RuleReply,
    ];
    let messages: Vec<Message> = kinds.into_iter().zip(1..).map(|(kind, n)| of_kind(kind, n, 10)).collect();
    let mut core = open(&roomy(folder.path()), 0).unwrap();
    messages.iter().for_each(|message| core.append(message.clone(), at(1)));
    core.tick(at(2));
    core.close(at(3));
    let mut core = open(&roomy(folder.path()), 0).unwrap();
    let read: Vec<Message> = read_all(&mut core, 10, 1).iter().map(|stored| (*stored.message).clone()).collect();
    assert_eq!(read, messages);
}

#[tokio::test]
async fn what_the_link_says_without_waiting_reaches_the_spool_until_that_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, thread) = open_with_thread(roomy(folder.path()), RunId(1)).unwrap();
    for n in 1..=3 {
        spool.append(reading("air", n, 10)).await.unwrap();
    }
    spool.wait_until_readable().await.unwrap();
    let sequences: Vec<Sequence> =
        spool.read(Sequence(0), 10).await.unwrap().messages.iter().map(|stored| stored.sequence).collect();
    spool.try_acknowledge(vec![sequences[0]]).unwrap();
    spool.try_give_up(vec![(sequences[1], "refused".into())]).unwrap();
    spool.wait_until_readable().await.unwrap();
    let left = spool.read(Sequence(0), 10).await.unwrap().messages;
    let kinds: Vec<MessageKind> = left.iter().map(|stored| stored.message.key.kind).collect();
    assert_eq!((kinds, left[0].sequence), (vec![MessageKind::Reading, MessageKind::Loss], sequences[2]));
    spool.clone().close().await;
    thread.join().unwrap();
    assert_eq!(spool.try_acknowledge(sequences.clone()), Err(NotNow::Closed));
    assert_eq!(spool.try_give_up(vec![(sequences[2], "refused".into())]), Err(NotNow::Closed));
}

/// The link had been given them before the damage showed, and memory had forgotten them.
#[test]
fn what_the_broker_gets_while_a_damaged_file_is_read_is_neither_recovered_nor_counted_as_lost() {
    let folder = tempfile::tempdir().unwrap();
    let (mut core, sequences) = given(folder.path(), "soil", 300);
    meet_damage(&mut core, folder.path());
    core.acknowledge(&sequences, at(20_002));
    (0..1000).for_each(|step| core.tick(at(20_003 + step * 10)));
    let left = read_all(&mut core, 1000, 40_000);
    let readings = left.iter().filter(|stored| stored.message.key.kind == MessageKind::Reading);
    let (again, others): (Vec<_>, Vec<_>) = readings.partition(|stored| stored.message.key.source == name("soil"));
    assert!(again.is_empty() && others.len() > 15_000, "{} and {}", again.len(), others.len());
    let words = core.stats().error.unwrap();
    assert!(words.contains("are reported as lost") && !words.contains("without a report"), "{words}");
}
