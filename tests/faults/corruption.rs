//! Row D3: the stored files are damaged while nobody looks. In this process, by the spool's own handle, for the sake of number.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use fieldgate_model::{ClockStatus, Key, Message, MessageKind, Moment, Name, Qos, RunId};
use fieldgate_spool::{Batch, Sequence, Settings, Spool, Stats, WhenFull, open};
use serde_json::Value;

use crate::common::pace::{slack, watch};
use crate::suite::{chance, report, times};

const READINGS: u64 = 400;
/// Long enough for one store on a loaded machine.
const LIVES: Duration = Duration::from_secs(20);
const OLD: RunId = RunId(1);
const NEW: RunId = RunId(2);

fn settings(folder: &Path) -> Settings {
    let commit_every = Duration::ZERO;
    Settings { path: folder.to_owned(), max_size: 16 << 20, commit_every, when_full: WhenFull::DropOldest }
}

fn reading(run: RunId, seq: u64) -> Message {
    let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_341_600 + seq);
    Message {
        key: Key { kind: MessageKind::Reading, source: Name::new("air").unwrap() },
        run,
        seq,
        taken_at: Moment { boot: Duration::from_secs(seq), wall, clock: ClockStatus::Synchronised },
        qos: Qos::AtLeastOnce,
        retain: false,
        body: body(seq),
    }
}

fn body(seq: u64) -> Vec<u8> {
    format!(r#"{{"value":{seq},"of":"a reading whose length is about that of a usual one"}}"#).into_bytes()
}

/// The files of a spool with readings 1 to 400 of an earlier run: as an orderly end leaves them, or as a kill does, with the
/// newest in the log.
async fn files(is_killed: bool) -> Vec<(String, Vec<u8>)> {
    let folder = tempfile::tempdir().unwrap();
    let (spool, thread) = open(settings(folder.path()), OLD).unwrap();
    for seq in 1..=READINGS {
        spool.append(reading(OLD, seq)).await.unwrap();
    }
    spool.wait_until_readable().await.unwrap();
    let read = || {
        let entries = fs::read_dir(folder.path()).unwrap().map(Result::unwrap);
        let named = entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()));
        named.filter(|(name, _)| !name.ends_with(".reserve")).collect::<Vec<_>>()
    };
    let while_open = read();
    spool.close().await;
    thread.join().unwrap();
    if is_killed { while_open } else { read() }
}

/// Bits are flipped, a span is overwritten, the end is missing, or everything is.
fn damage(bytes: &mut Vec<u8>, chance: &mut fastrand::Rng) {
    let length = bytes.len();
    if length == 0 {
        return;
    }
    match chance.u8(..8) {
        0..=3 => (0..chance.usize(1..20)).for_each(|_| bytes[chance.usize(..length)] ^= 1 << chance.u8(..8)),
        4 | 5 => {
            let from = chance.usize(..length);
            let to = (from + chance.usize(1..8192)).min(length);
            bytes[from..to].iter_mut().for_each(|byte| *byte = chance.u8(..));
        }
        6 => bytes.truncate(chance.usize(..length)),
        _ => bytes.clear(),
    }
}

/// What became of the readings of the earlier run.
#[derive(Default)]
struct Fate {
    received: BTreeSet<u64>,
    reported: u64,
    /// Those of them that are named one by one.
    named: BTreeSet<u64>,
    start: Duration,
    was_set_aside: bool,
}

async fn live_with(files: &[(String, Vec<u8>)]) -> Fate {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    watch();
    let began = Instant::now();
    let (spool, thread) = open(settings(folder.path()), NEW).expect("no damage is a reason not to start");
    let mut fate = Fate { start: began.elapsed().saturating_sub(slack(began)), ..Fate::default() };
    spool.append(reading(NEW, 1)).await.unwrap();
    let mut has_own = false;
    loop {
        has_own |= take(&spool, &mut fate).await;
        // While a damaged file is being read, its words are not complete yet; damage may also show only when all was taken.
        let is_read = |stats: &Stats| stats.error.as_ref().is_none_or(|error| error.contains("; "));
        let read = tokio::time::timeout(LIVES, spool.stats().wait_for(is_read)).await.map(|read| read.is_ok());
        assert_eq!(read, Ok(true), "not read after {LIVES:?}: {:?}", spool.stats().borrow());
        let is_empty =
            spool.read(Sequence(0), 1).await.is_ok_and(|batch| batch.messages.is_empty() && is_all(&spool, &batch));
        if is_empty && is_read(&spool.stats().borrow()) {
            break;
        }
    }
    fate.was_set_aside = spool.stats().borrow().error.is_some();
    assert!(has_own, "the reading of this start must come");
    spool.close().await;
    thread.join().expect("the spool's thread panicked");
    fate
}

/// Whether nothing lies behind it.
fn is_all(spool: &Spool, batch: &Batch) -> bool {
    batch.next >= *spool.head().borrow()
}

/// Takes all there is and acknowledges it; says whether the reading of this start was among it.
async fn take(spool: &Spool, fate: &mut Fate) -> bool {
    let mut has_own = false;
    loop {
        // A row that shows its damage only now is reported by a message that comes behind.
        spool.wait_until_readable().await.unwrap();
        // A disk error is the damage showing; the next request finds another file.
        let Ok(batch) = spool.read(Sequence(0), 1000).await else { continue };
        if batch.messages.is_empty() && is_all(spool, &batch) {
            return has_own;
        }
        for stored in &batch.messages {
            let message = &stored.message;
            match (message.key.kind, message.run) {
                (MessageKind::Loss, _) => {
                    let reported: Value = serde_json::from_slice(&message.body).unwrap();
                    let [from, to, count] = ["from_seq", "to_seq", "count"].map(|key| reported[key].as_u64().unwrap());
                    assert!(count <= to - from + 1, "{reported}");
                    fate.reported += count;
                    if count == to - from + 1 {
                        fate.named.extend(from..=to);
                    }
                }
                (_, NEW) => has_own = true,
                _ => {
                    assert_eq!(**message, reading(OLD, message.seq), "a reading is not as it was written");
                    fate.received.insert(message.seq);
                }
            }
        }
        spool.acknowledge(batch.messages.iter().map(|stored| stored.sequence).collect()).await.unwrap();
    }
}

#[tokio::test]
async fn d3_no_damage_stops_a_start_or_is_published() {
    let mut chance = chance("D3");
    let wholes = [files(false).await, files(true).await];
    let tries = times(150, 1000, 10_000);
    let (mut slowest, mut aside, mut lost, mut reported, mut silent) = (Duration::ZERO, 0, 0, 0, 0);
    for _ in 0..tries {
        let mut files = wholes[chance.usize(..2)].clone();
        let which = chance.usize(..files.len());
        damage(&mut files[which].1, &mut chance);
        let fate = tokio::time::timeout(LIVES, live_with(&files))
            .await
            .expect("a damaged store keeps the spool busy for ever");
        slowest = slowest.max(fate.start);
        aside += u32::from(fate.was_set_aside);
        let both: Vec<_> = fate.named.intersection(&fate.received).collect();
        assert!(both.is_empty(), "reported as lost, and received: {both:?}");
        let missing = READINGS - fate.received.len() as u64;
        assert!(fate.reported <= missing, "{} reported as lost, {missing} missing", fate.reported);
        lost += missing;
        reported += fate.reported;
        silent += u32::from(missing > 0 && !fate.was_set_aside && fate.reported == 0);
    }
    assert!(slowest < Duration::from_secs(2), "a start took {slowest:?}");
    let total = tries as u64 * READINGS;
    report(
        "D3",
        &format!(
            "{tries} damaged stores of {READINGS} readings (bits, spans, truncations, empty files; database and log)"
        ),
        &format!(
            "0 panics, 0 refused starts, 0 changed readings published; slowest start {} ms; {aside} set aside; of {total} readings \
             {lost} could not be read, {reported} of them reported on B/loss; {silent} times SQLite saw no damage and the newest were gone \
             with the end of the log",
            slowest.as_millis()
        ),
    );
}
