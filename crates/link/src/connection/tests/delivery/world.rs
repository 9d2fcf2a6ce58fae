//! What a life of the forwarder runs in: a spool that may be without its disk, and the account of it.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::account::{Account, Id};
use super::{LATE_AFTER, PACKET, RUN, SENSORS, Start, body};
use crate::broker_state::BrokerState;
use crate::report::Report;
use crate::testing;
use crate::{LinkResources, Settings};
use fieldgate_clock::{self as clock, boottime};
use fieldgate_model::payload::{self, StoredReply};
use fieldgate_model::{Key, Message, MessageKind, Moment, Name, Qos, RunId};
use fieldgate_spool::cache::LIMIT_BYTES;
use fieldgate_spool::{self as spool, Spool, SpoolThread, WhenFull};

const PAST: RunId = RunId(6);
/// The sensor of the run before, and how many of its readings wait at the start.
const PAST_SENSOR: &str = "past";
const PAST_COUNT: u64 = 300;
/// What a message costs in the spool's memory besides its body, or more.
const ENTRY_BYTES: usize = 1024;

/// A spool, the account, and what lies beside them.
pub(super) struct World {
    pub(super) start: Start,
    pub(super) folder: TempDir,
    pub(super) spool: Spool,
    _thread: SpoolThread,
    numbers: [u64; 3],
    replies: u64,
    taken_at: [Duration; 3],
    pub(super) account: Account,
    /// Readings that the broker never takes.
    pub(super) given_up: BTreeSet<Id>,
    /// What was taken while there was no disk, and its bytes.
    in_memory: (Vec<Taken>, usize),
}

/// What the spool was given.
enum Taken {
    Reading(Id),
    Reply(String),
}

pub(super) fn spool_settings(path: &Path, commit_every: Duration, when_full: WhenFull) -> spool::Settings {
    spool::Settings { path: path.to_owned(), max_size: 64 << 20, commit_every, when_full }
}

fn message(kind: MessageKind, source: &str, run: RunId, seq: u64, body: Vec<u8>) -> Message {
    let key = Key { kind, source: Name::new(source).unwrap() };
    Message { key, run, seq, taken_at: clock::now(), qos: Qos::AtLeastOnce, retain: false, body }
}

/// A reading of the run before.
fn past(n: u64) -> Message {
    message(MessageKind::Reading, PAST_SENSOR, PAST, n, body(n, 60))
}

impl World {
    pub(super) async fn new(start: Start) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spool");
        let (away, there) = (folder.path().join("away"), folder.path().join("disk"));
        let before = if start.has_disk { &there } else { &away };
        let (spool, thread) = spool::open(spool_settings(before, Duration::ZERO, WhenFull::DropOldest), PAST).unwrap();
        for n in 1..=PAST_COUNT {
            spool.append(past(n)).await.unwrap();
        }
        spool.close().await;
        thread.join().unwrap();
        std::os::unix::fs::symlink(&there, &path).unwrap();
        let (spool, _thread) =
            spool::open(spool_settings(&path, start.commit_every, WhenFull::DropOldest), RUN).unwrap();
        let account =
            Account { taken: (1..=PAST_COUNT).map(|n| (PAST_SENSOR.to_owned(), n)).collect(), ..Account::default() };
        let (numbers, taken_at) = ([0; 3], [Duration::ZERO; 3]);
        let in_memory = (Vec::new(), 0);
        Self {
            start,
            folder,
            spool,
            _thread,
            numbers,
            replies: 0,
            taken_at,
            account,
            given_up: BTreeSet::new(),
            in_memory,
        }
    }

    /// Without a disk, what is more than the memory holds gives way: what was taken meanwhile may arrive or be reported.
    fn record_taken(&mut self, taken: Taken, bytes: usize) {
        if self.spool.stats().borrow().error.is_none() {
            return;
        }
        self.in_memory.0.push(taken);
        self.in_memory.1 += bytes + ENTRY_BYTES;
        if self.in_memory.1 < LIMIT_BYTES {
            return;
        }
        for taken in self.in_memory.0.drain(..) {
            match taken {
                Taken::Reading(id) => drop(self.account.damaged.insert(id)),
                Taken::Reply(payload) => drop(self.account.replies.remove(&payload)),
            }
        }
    }

    pub(super) async fn append(&mut self, sensor: usize, count: usize, bytes: usize, age: Duration, qos: Qos) {
        for _ in 0..count {
            self.numbers[sensor] += 1;
            let n = self.numbers[sensor];
            let boot = self.taken_at[sensor].max(boottime().saturating_sub(age));
            self.taken_at[sensor] = boot;
            let reading = message(MessageKind::Reading, SENSORS[sensor], RUN, n, body(n, bytes));
            let taken_at = Moment { boot, ..reading.taken_at };
            self.spool.append(Message { taken_at, qos, ..reading }).await.unwrap();
            let id = (SENSORS[sensor].to_owned(), n);
            if qos != Qos::AtMostOnce && bytes > PACKET {
                self.given_up.insert(id.clone());
            }
            if qos != Qos::AtMostOnce {
                self.account.taken.insert(id.clone());
                self.record_taken(Taken::Reading(id), bytes);
            }
        }
    }

    /// Readings of the run before come although it is over, as from a damaged file: the live lane must not send them.
    pub(super) async fn append_to_the_past(&mut self, count: u64) {
        for n in PAST_COUNT + 1..=PAST_COUNT + count {
            self.spool.append(past(n)).await.unwrap();
            self.account.taken.insert((PAST_SENSOR.to_owned(), n));
        }
    }

    pub(super) async fn reply(&mut self, count: usize, bytes: usize) {
        for _ in 0..count {
            self.replies += 1;
            let payload = format!("answer {}", self.replies);
            self.account.replies.insert(payload.clone());
            let correlation = Some(vec![1; bytes]);
            let response = Some(payload::ResponseTarget { topic: "requester".into(), correlation });
            let body = StoredReply { payload: payload.clone(), response }.encode();
            self.record_taken(Taken::Reply(payload), body.len());
            self.spool.append(message(MessageKind::Reply, "pump", RUN, 0, body)).await.unwrap();
        }
    }

    pub(super) async fn damage(&mut self, sensor: usize, nth: usize, count: usize) {
        let name = SENSORS.get(sensor).copied().unwrap_or(PAST_SENSOR);
        let waiting = self.account.taken.difference(&self.account.arrived).filter(|(sensor, _)| sensor == name);
        let damaged: Vec<Id> = waiting.skip(nth).take(count).cloned().collect();
        self.spool.damage(damaged.iter().map(|(name, n)| (Name::new(name).unwrap(), *n)).collect()).await;
        self.account.damaged.extend(damaged);
    }

    /// The folder is there from now on; a spool that had none finds it by itself.
    pub(super) fn disk_comes(&self) {
        // It may be there already.
        std::fs::rename(self.folder.path().join("away"), self.folder.path().join("disk")).unwrap_or_default();
    }

    pub(super) fn resources(&self) -> (LinkResources, Report, BrokerState) {
        let settings = Settings { late_after: LATE_AFTER, ..testing::settings(self.start.protocol) };
        testing::resources(settings, RUN, self.spool.clone())
    }
}
