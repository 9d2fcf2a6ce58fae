//! Random lives of a spool, verified against a plain account of what was taken, received and reported as lost.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;

use super::no_disk::without_disk;
use super::{at, copy_of, name, open, reading, settings};
use crate::cache::LIMIT_BYTES;
use crate::core::Core;
use crate::examination::Examiner;
use crate::{Batch, MIN_SIZE, ReadError, Sequence, Settings, Stored, WhenFull};
use fieldgate_model::{CommandRecord, Message, MessageKind, Qos, Recipient, RunId};

#[derive(Clone, Debug)]
enum Step {
    Append {
        sensor: usize,
        count: usize,
        bytes: usize,
        qos: Qos,
    },
    Command {
        count: usize,
        is_answered: bool,
    },
    Wait {
        ms: u64,
    },
    Read {
        limit: usize,
    },
    Rewind,
    Acknowledge {
        keep_one_in: usize,
    },
    DiskFull(bool),
    /// What the disk is like at the start that follows.
    PowerCut(Disk),
    /// The examination of the file ends.
    Examined,
}

#[derive(Clone, Copy, Debug)]
enum Disk {
    Usable,
    /// Its file is examined while the spool serves.
    Examined,
    Unusable,
}

const SENSORS: [&str; 3] = ["air", "soil", "door"];

fn step() -> impl Strategy<Value = Step> {
    let qos = prop_oneof![4 => Just(Qos::AtLeastOnce), 1 => Just(Qos::AtMostOnce)];
    let bytes = prop_oneof![4 => 0_usize..400, 1 => 400_usize..9000, 1 => 20_000_usize..40_000];
    prop_oneof![
        8 => (0..SENSORS.len(), 1_usize..40, bytes, qos)
            .prop_map(|(sensor, count, bytes, qos)| Step::Append { sensor, count, bytes, qos }),
        2 => (1_usize..20, any::<bool>()).prop_map(|(count, is_answered)| Step::Command { count, is_answered }),
        6 => (0_u64..1500).prop_map(|ms| Step::Wait { ms }),
        4 => (1_usize..80).prop_map(|limit| Step::Read { limit }),
        1 => Just(Step::Rewind),
        4 => (1_usize..5).prop_map(|keep_one_in| Step::Acknowledge { keep_one_in }),
        1 => any::<bool>().prop_map(Step::DiskFull),
        1 => prop::sample::select(vec![Disk::Usable, Disk::Examined, Disk::Unusable]).prop_map(Step::PowerCut),
        1 => Just(Step::Examined),
    ]
}

/// An id is on disk after so long at most, however many there are.
const NOTED_WITHIN: u64 = 505;

/// Ids that the smallest spool has room for.
const IDS: usize = 200;

/// A spool, the link that reads it, and the account.
struct World {
    settings: Settings,
    folder: TempDir,
    core: Core,
    /// While the file is with it.
    examiner: Option<Examiner>,
    ms: u64,
    is_full: bool,
    cursor: Sequence,
    era: u64,
    unacknowledged: Vec<Stored>,
    taken: [u64; 3],
    /// Readings of QoS 1 by sensor and number, and when they were appended.
    kept: BTreeMap<(usize, u64), u64>,
    durable: BTreeSet<(usize, u64)>,
    received: BTreeSet<(usize, u64)>,
    losses: BTreeMap<Sequence, (usize, serde_json::Value)>,
    /// Readings that came with what the sensor had counted, which is their number.
    counted: BTreeSet<(usize, u64)>,
    /// The highest count of each sensor that was readable while the disk was well.
    published: [u64; 3],
    /// Every command with an id, and when it was last recorded.
    commands: Vec<(CommandRecord, u64)>,
    /// The first of them that were on disk as they are there.
    durable_commands: BTreeSet<usize>,
}

impl World {
    fn new(commit_every: Duration, when_full: WhenFull) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path(), commit_every, when_full);
        let core = open(&settings, 0).unwrap();
        Self {
            settings,
            folder,
            core,
            examiner: None,
            ms: 0,
            is_full: false,
            cursor: Sequence(0),
            era: 0,
            unacknowledged: Vec::new(),
            taken: [0; 3],
            kept: BTreeMap::new(),
            durable: BTreeSet::new(),
            received: BTreeSet::new(),
            losses: BTreeMap::new(),
            counted: BTreeSet::new(),
            published: [0; 3],
            commands: Vec::new(),
            durable_commands: BTreeSet::new(),
        }
    }

    fn step(&mut self, step: &Step) {
        // The core would wait for the examiner, which this very thread is.
        let may_fill_memory = self.core.memory() > LIMIT_BYTES / 4;
        if may_fill_memory || matches!(step, Step::Append { bytes: 9000.., .. } | Step::DiskFull(_)) {
            self.examined();
        }
        match *step {
            Step::Append { sensor, count, bytes, qos } => self.append(sensor, count, bytes, qos),
            Step::Command { count, is_answered } => self.command(count, is_answered),
            Step::Wait { ms } => {
                self.ms += ms;
                self.tick();
            }
            Step::Read { limit } => self.read(limit),
            Step::Rewind => {
                self.cursor = Sequence(0);
                self.unacknowledged.clear();
            }
            Step::Acknowledge { keep_one_in } => self.acknowledge(keep_one_in),
            Step::DiskFull(is_full) => {
                self.is_full = is_full;
                self.core.fill_disk(is_full);
            }
            Step::PowerCut(disk) => self.power_cut(disk),
            Step::Examined => {
                self.examined();
                self.tick();
            }
        }
        self.follow();
        assert_eq!(self.core.strays(), Vec::<u64>::new(), "what is gone is no more with the link");
        assert!(self.core.memory() <= LIMIT_BYTES + 64 * 1024, "{} bytes in memory", self.core.memory());
    }

    fn examined(&mut self) {
        if let Some(examiner) = self.examiner.take() {
            examiner.run();
            let examined = self.core.examination().and_then(|examination| examination.try_recv().ok());
            self.core.examined(examined, at(self.ms));
            self.cursor = Sequence(0);
        }
    }

    /// Reads again from the beginning when the spool says so; what is in flight may still be answered.
    fn follow(&mut self) {
        if std::mem::replace(&mut self.era, self.core.era()) != self.core.era() {
            self.cursor = Sequence(0);
        }
    }

    fn append(&mut self, sensor: usize, count: usize, bytes: usize, qos: Qos) {
        for _ in 0..count {
            self.taken[sensor] += 1;
            let n = self.taken[sensor];
            if qos != Qos::AtMostOnce {
                self.kept.insert((sensor, n), self.ms);
            }
            // As the workers do: nothing is counted before it is known where to go on.
            if self.core.knows_counts() {
                self.core.keep_count(&name(SENSORS[sensor]), n);
                self.counted.insert((sensor, n));
            }
            self.core.append(Message { qos, ..reading(SENSORS[sensor], n, bytes) }, at(self.ms));
        }
        self.tick();
    }

    fn command(&mut self, count: usize, is_answered: bool) {
        for _ in 0..count {
            let id = self.commands.len().to_string();
            let answer = is_answered.then(|| format!("{id} was answered in some sixty characters, as usual").into());
            let begun = CommandRecord { recipient: Recipient::output(name("pump")), id, answer: None };
            self.core.record_command(begun.clone(), at(self.ms));
            let record = CommandRecord { answer, ..begun };
            if is_answered {
                self.core.record_command(record.clone(), at(self.ms));
            }
            self.commands.push((record, self.ms));
        }
        self.tick();
    }

    fn tick(&mut self) {
        self.core.tick(at(self.ms));
        if self.core.stats().error.is_none() && self.examiner.is_none() {
            let old = self
                .commands
                .iter()
                .enumerate()
                .filter(|(_, (_, since))| since.saturating_add(NOTED_WITHIN) <= self.ms);
            self.durable_commands.extend(old.map(|(nth, _)| nth));
        }
        let commit_every = u64::try_from(self.settings.commit_every.as_millis()).unwrap();
        // What is postponed, or waits for the disk, is not on it; the spool says so in the second case only.
        if self.core.stats().error.is_none() && !self.core.has_overdue(at(self.ms)) {
            let old = self.kept.iter().filter(|(_, since)| *since + commit_every <= self.ms);
            self.durable.extend(old.map(|(key, _)| *key));
        }
    }

    fn read(&mut self, limit: usize) {
        if self.examiner.is_some() {
            // What this start has; the rest is read by those who ask again.
            let present = self.core.first_since(Duration::ZERO, at(self.ms));
            assert_eq!(self.core.read(Sequence(0), limit, at(self.ms)), Err(ReadError::Disk));
            self.cursor = self.cursor.max(present);
        }
        let Batch { messages: read, next } = self.core.read(self.cursor, limit, at(self.ms)).unwrap();
        assert!(next > self.cursor || next >= self.core.head(), "no progress at {next:?}");
        assert!(read.iter().all(|stored| stored.sequence < next), "the next read would find the same again");
        let mut last: BTreeMap<&str, u64> = BTreeMap::new();
        for pair in read.windows(2) {
            assert!(pair[0].sequence < pair[1].sequence, "out of order");
        }
        for stored in read.iter().filter(|stored| stored.message.key.kind == MessageKind::Reading) {
            let before = last.insert(stored.message.key.source.as_str(), stored.message.seq);
            assert!(before.is_none_or(|before| before < stored.message.seq), "readings out of order");
        }
        if self.core.stats().error.is_none() {
            self.remember_published(&read);
        }
        self.cursor = next;
        self.unacknowledged.extend(read);
    }

    fn remember_published(&mut self, read: &[Stored]) {
        for stored in read.iter().filter(|stored| stored.message.key.kind == MessageKind::Reading) {
            let sensor = SENSORS.iter().position(|name| *name == stored.message.key.source.as_str()).unwrap();
            if self.counted.contains(&(sensor, stored.message.seq)) {
                self.published[sensor] = self.published[sensor].max(stored.message.seq);
            }
        }
    }

    /// A count that was published once is on disk, whatever became of the message.
    fn check_counts(&self) {
        let Some(counts) = self.core.counts() else { return };
        for (sensor, published) in SENSORS.iter().zip(self.published) {
            let kept = counts.get(&name(sensor)).copied().unwrap_or(0);
            assert!(kept >= published, "{sensor} would go back from {published} to {kept}");
        }
    }

    /// The newest ids that were on disk are there with their answers, in their order, and nothing that was never recorded.
    fn check_commands(&self) {
        let Some(known) = self.core.commands() else { return };
        let places: Vec<usize> = known.iter().map(|record| record.id.parse().unwrap()).collect();
        assert!(places.is_sorted(), "{places:?}");
        for (place, record) in places.iter().zip(known.iter()) {
            let (wanted, _) = &self.commands[*place];
            assert!(record.answer.is_none() || record.answer == wanted.answer, "{record:?} for {wanted:?}");
        }
        let newest = self.commands.len().saturating_sub(IDS);
        for place in self.durable_commands.range(newest..) {
            let (wanted, _) = &self.commands[*place];
            assert!(known.contains(wanted), "{wanted:?} is not known: {known:?}");
        }
    }

    /// The broker has received everything that was read; some of its acknowledgements are lost.
    fn acknowledge(&mut self, keep_one_in: usize) {
        let mut sequences = Vec::new();
        for (i, stored) in std::mem::take(&mut self.unacknowledged).into_iter().enumerate() {
            let sensor = SENSORS.iter().position(|name| *name == stored.message.key.source.as_str()).unwrap();
            match stored.message.key.kind {
                MessageKind::Loss => {
                    let loss = serde_json::from_slice(&stored.message.body).unwrap();
                    self.losses.insert(stored.sequence, (sensor, loss));
                }
                _ => {
                    self.received.insert((sensor, stored.message.seq));
                }
            }
            if keep_one_in == 1 || i % keep_one_in != 0 {
                sequences.push(stored.sequence);
            }
        }
        self.core.acknowledge(&sequences, at(self.ms));
    }

    fn power_cut(&mut self, disk: Disk) {
        let copy = copy_of(self.folder.path());
        self.settings.path = copy.path().to_owned();
        self.core = match disk {
            Disk::Usable => open(&self.settings, self.ms).unwrap(),
            Disk::Examined => Core::open(self.settings.clone(), RunId(1), at(self.ms)).unwrap(),
            Disk::Unusable => without_disk(&self.settings, self.ms),
        };
        self.examiner = None;
        if matches!(disk, Disk::Examined) {
            self.core.forget_examination();
            self.examiner = self.core.begin_examination(at(self.ms));
            self.core.tick(at(self.ms));
        }
        self.folder = copy;
        self.check_counts();
        self.check_commands();
        // What was not on disk then never will be.
        let lost = self.commands.iter_mut().enumerate().filter(|(nth, _)| !self.durable_commands.contains(nth));
        lost.for_each(|(_, (_, since))| *since = u64::MAX);
        self.is_full = false;
        self.cursor = Sequence(0);
        self.unacknowledged.clear();
        self.kept.retain(|key, _| self.durable.contains(key) || self.received.contains(key));
    }

    /// The link comes back for good.
    fn drain(&mut self) {
        self.examined();
        self.core.fill_disk(false);
        self.ms += 10_000;
        self.tick();
        self.follow();
        self.cursor = Sequence(0);
        self.unacknowledged.clear();
        while self.core.stats().queued > 0 {
            self.read(64);
            assert!(!self.unacknowledged.is_empty(), "messages are queued and none is readable");
            self.acknowledge(1);
        }
        self.ms += 10_000;
        self.tick();
        self.check_commands();
    }

    /// Readings that are reported as lost.
    fn reported(&self) -> u64 {
        self.losses.values().map(|(_, loss)| loss["count"].as_u64().unwrap()).sum()
    }

    fn is_reported(&self, (sensor, n): (usize, u64)) -> bool {
        let covers = |loss: &serde_json::Value| {
            (loss["from_seq"].as_u64().unwrap()..=loss["to_seq"].as_u64().unwrap()).contains(&n)
        };
        self.losses.values().any(|(lost, loss)| *lost == sensor && covers(loss))
    }

    fn file_bytes(&self) -> u64 {
        let sizes =
            std::fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len());
        sizes.sum()
    }
}

fn live(steps: &[Step], commit_every: Duration, when_full: WhenFull) {
    let mut world = World::new(commit_every, when_full);
    let mut is_exact = true;
    for step in steps {
        world.step(step);
        // What a cut took with it before it was committed cannot be reported.
        is_exact &= !matches!(step, Step::PowerCut(_));
        assert!(world.file_bytes() <= MIN_SIZE, "{} bytes on disk", world.file_bytes());
    }
    world.drain();
    for key in &world.durable {
        assert!(
            world.received.contains(key) || world.is_reported(*key),
            "{key:?} was committed and is neither here nor reported"
        );
    }
    let received = world.received.iter().filter(|key| world.kept.contains_key(key)).count() as u64;
    if is_exact {
        assert_eq!(
            received + world.reported(),
            world.kept.len() as u64,
            "received and reported are not what was taken"
        );
    }
}

proptest! {
    #![proptest_config(super::cases(48, 2000))]

    #[test]
    fn nothing_is_lost_unreported_and_nothing_grows(
        steps in prop::collection::vec(step(), 1..60),
        commit_every in prop::sample::select(vec![0_u64, 1000]),
        when_full in prop::sample::select(vec![WhenFull::DropOldest, WhenFull::DropNewest]),
    ) {
        live(&steps, Duration::from_millis(commit_every), when_full);
    }
}
