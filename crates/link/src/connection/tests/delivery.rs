//! A connection, its forwarder and lanes over a real spool that is damaged, cut, reloaded and found late, against a plain account:
//! whatever is sound arrives without a reconnect, once on each connection, and in order; the rest is reported.

mod account;
mod world;

use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::Value;
use tokio::sync::oneshot;

use account::{Id, Shown};
use world::{World, spool_settings};

use super::super::Connection;
use crate::broker_state::BrokerState;
use crate::lanes::Lane;
use crate::report::Report;
use crate::session::scripted::{self, Wire};
use crate::session::{Connected, Publication, PublishOutcome};
use crate::testing;
use crate::{LinkResources, Protocol};
use fieldgate_clock::boottime;
use fieldgate_model::{Qos, RunId};
use fieldgate_spool::{self as spool, MIN_SIZE, WhenFull};

const RUN: RunId = RunId(7);
/// From this age on a reading is late.
const LATE_AFTER: Duration = Duration::from_secs(3600);
const SENSORS: [&str; 3] = ["air", "soil", "door"];
/// The largest packet that the broker takes.
const PACKET: usize = 20_000;
/// For all that must happen on a machine that is busy with other things: some tests have thousands of turns, each with a wait.
const SOON: Duration = Duration::from_secs(600);

#[derive(Clone, Debug)]
enum Step {
    Append {
        sensor: usize,
        count: usize,
        bytes: usize,
        age: Duration,
        qos: Qos,
    },
    Replies {
        count: usize,
        bytes: usize,
    },
    /// Readings of one sensor, from the nth that has not arrived on.
    Damage {
        sensor: usize,
        nth: usize,
        count: usize,
    },
    Answer {
        nth: usize,
        count: usize,
        outcome: PublishOutcome,
    },
    Turn,
    RefusedTryAgain,
    Reload(WhenFull),
    DiskComes,
    Reconnect,
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = prop_oneof![6 => Just(60_usize), 2 => Just(3000_usize), 2 => Just(9000_usize), 1 => Just(30_000_usize)];
    let almost = LATE_AFTER - Duration::from_millis(20);
    let age = prop_oneof![1 => Just(LATE_AFTER * 2), 1 => Just(almost), 3 => Just(Duration::ZERO)];
    let qos = prop_oneof![4 => Just(Qos::AtLeastOnce), 2 => Just(Qos::ExactlyOnce), 1 => Just(Qos::AtMostOnce)];
    let outcome = prop_oneof![
        6 => Just(PublishOutcome::Acknowledged),
        1 => Just(PublishOutcome::Refused("quota".into())),
        1 => Just(PublishOutcome::Unacceptable("malformed".into())),
    ];
    prop_oneof![
        4 => (0..3_usize, 1..200_usize, bytes, age, qos)
            .prop_map(|(sensor, count, bytes, age, qos)| Step::Append { sensor, count, bytes, age, qos }),
        1 => (1..80_usize, prop_oneof![Just(30_usize), Just(12_000_usize)]).prop_map(|(count, bytes)| Step::Replies { count, bytes }),
        3 => (0..4_usize, 0..200_usize, prop_oneof![Just(1_usize), 1..200_usize])
            .prop_map(|(sensor, nth, count)| Step::Damage { sensor, nth, count }),
        6 => (0..64_usize, 1..80_usize, outcome).prop_map(|(nth, count, outcome)| Step::Answer { nth, count, outcome }),
        3 => Just(Step::Turn),
        1 => Just(Step::RefusedTryAgain),
        1 => prop_oneof![Just(WhenFull::DropOldest), Just(WhenFull::DropNewest)].prop_map(Step::Reload),
        1 => Just(Step::DiskComes),
        1 => Just(Step::Reconnect),
    ]
}

/// How a life begins.
#[derive(Clone, Debug)]
struct Start {
    protocol: Protocol,
    receive_maximum: u16,
    commit_every: Duration,
    has_disk: bool,
}

fn start() -> impl Strategy<Value = Start> {
    let protocol = prop_oneof![Just(Protocol::V4), Just(Protocol::V5)];
    let receive_maximum = prop_oneof![Just(1_u16), Just(5_u16), Just(64_u16)];
    let commit_every = prop_oneof![Just(Duration::ZERO), Just(Duration::from_secs(1))];
    (protocol, receive_maximum, commit_every, prop::bool::weighted(0.8)).prop_map(
        |(protocol, receive_maximum, commit_every, has_disk)| Start {
            protocol,
            receive_maximum,
            commit_every,
            has_disk,
        },
    )
}

/// The fields of a reading's payload, `bytes` long.
fn body(n: u64, bytes: usize) -> Vec<u8> {
    format!("\"value\":{n},\"text\":\"{}\"", "x".repeat(bytes)).into_bytes()
}

/// A connection, and what the broker has not answered yet.
struct Life<'a> {
    world: &'a mut World,
    connection: Connection<'a>,
    wire: Wire,
    pending: Vec<(Publication, oneshot::Sender<PublishOutcome>)>,
    shown: Shown,
    era: u64,
}

impl<'a> Life<'a> {
    fn new(
        world: &'a mut World,
        (resources, report, broker): (&'a LinkResources, &'a mut Report, &'a mut BrokerState),
    ) -> Self {
        let (session, wire) = scripted::session();
        let connected = Connected {
            receive_maximum: world.start.receive_maximum,
            maximum_packet_size: PACKET as u32,
            ..testing::connected(world.start.protocol)
        };
        let mut connection = Connection::new(resources, report, broker, session, connected);
        connection.on_online_published();
        let era = *resources.spool.era().borrow();
        Self { world, connection, wire, pending: Vec::new(), shown: Shown::default(), era }
    }

    /// Lets the connection do what it can, and wait for a moment.
    async fn turn(&mut self) {
        while self.connection.pump() {}
        while let Ok((publication, outcome)) = self.wire.published.try_recv() {
            self.see(&publication);
            self.pending.push((publication, outcome));
        }
        // Whether something came or not, the next turn looks.
        drop(tokio::time::timeout(Duration::from_millis(2), self.connection.step()).await);
    }

    fn is_same_era(&self) -> bool {
        *self.connection.resources.spool.era().borrow() == self.era
    }

    fn see(&mut self, publication: &Publication) {
        let Some((sensor, n)) = reading(publication) else { return };
        let last = self.shown.last.insert(publication.topic.clone(), n).unwrap_or(0);
        let is_ordered = last < n || self.shown.refused.contains(&sensor) || !self.is_same_era();
        assert!(is_ordered, "{} went from {last} to {n}", publication.topic);
    }

    fn answer(&mut self, nth: usize, count: usize, outcome: &PublishOutcome) {
        let from = nth.min(self.pending.len());
        let to = (nth + count).min(self.pending.len());
        for (publication, answer) in self.pending.drain(from..to) {
            let id = reading(&publication);
            // A loss record or a reply that is refused for good would be gone.
            let outcome = if id.is_some() { outcome.clone() } else { PublishOutcome::Acknowledged };
            match (&outcome, id) {
                (PublishOutcome::Acknowledged, Some(id)) => {
                    let is_first = self.shown.accepted.insert(id.clone());
                    let is_same_era = *self.connection.resources.spool.era().borrow() == self.era;
                    assert!(is_first || !is_same_era, "{id:?} arrived twice on one connection");
                    self.world.account.arrived.insert(id);
                }
                (PublishOutcome::Acknowledged, None) if publication.topic == "b/loss" => {
                    self.world.account.losses.insert(publication.payload.to_vec());
                }
                (PublishOutcome::Acknowledged, None) => {
                    self.world.account.answered.insert(String::from_utf8(publication.payload.to_vec()).unwrap());
                }
                (PublishOutcome::Unacceptable(_), Some(id)) => drop(self.world.given_up.insert(id)),
                (PublishOutcome::Refused(_), Some((sensor, _))) => drop(self.shown.refused.insert(sensor)),
                (outcome, None) => unreachable!("{outcome:?}"),
                (PublishOutcome::Lost, _) => unreachable!("the connection holds"),
            }
            // The connection may have forgotten it.
            answer.send(outcome).unwrap_or_default();
        }
    }

    async fn step(&mut self, step: &Step) {
        match step {
            Step::Append { sensor, count, bytes, age, qos } => {
                self.world.append(*sensor, *count, *bytes, *age, *qos).await;
            }
            Step::Replies { count, bytes } => self.world.reply(*count, *bytes).await,
            Step::Damage { sensor, nth, count } => self.world.damage(*sensor, *nth, *count).await,
            Step::Answer { nth, count, outcome } => self.answer(*nth, *count, outcome),
            Step::Turn | Step::Reconnect => {}
            Step::RefusedTryAgain => self.connection.forwarder.retry(boottime() + LATE_AFTER),
            Step::Reload(when_full) => {
                let path = self.world.folder.path().join("spool");
                let settings = spool_settings(&path, self.world.start.commit_every, *when_full);
                self.world.spool.reconfigure(settings).await.unwrap();
            }
            Step::DiskComes => self.world.disk_comes(),
        }
        self.turn().await;
    }

    /// The broker takes everything from now on: all must arrive on this very connection.
    async fn drain(&mut self) {
        self.world.disk_comes();
        self.world.spool.stats().wait_for(|stats| stats.error.is_none()).await.unwrap();
        let (mut come, mut since) = (0, Instant::now());
        while !self.world.account.is_complete(&self.world.given_up) {
            // However long it takes altogether: there may be thousands that arrive one by one.
            if self.world.account.come() > come {
                (come, since) = (self.world.account.come(), Instant::now());
            }
            assert!(
                since.elapsed() < SOON,
                "stranded: {} of {} readings are absent and {} reported; {} of {} replies came; {:?}",
                self.world.account.absent(),
                self.world.account.taken.len(),
                self.world.account.reported(),
                self.world.account.answered.len(),
                self.world.account.replies.len(),
                *self.world.spool.stats().borrow(),
            );
            self.connection.forwarder.retry(boottime() + LATE_AFTER);
            self.turn().await;
            self.answer(0, usize::MAX / 2, &PublishOutcome::Acknowledged);
        }
        self.world.account.check(&self.world.given_up);
    }
}

/// The reading that is published.
fn reading(publication: &Publication) -> Option<Id> {
    let sensor = publication.topic.strip_prefix("b/sensors/").or(publication.topic.strip_prefix("b/late/"))?;
    let payload: Value = serde_json::from_slice(&publication.payload).unwrap();
    Some((sensor.to_owned(), payload["seq"].as_u64().unwrap()))
}

async fn live(start: Start, steps: Vec<Step>) {
    let mut world = World::new(start).await;
    let lives: Vec<&[Step]> = steps.split(|step| matches!(step, Step::Reconnect)).collect();
    for (nth, steps) in lives.iter().enumerate() {
        let (resources, mut report, mut broker) = world.resources();
        let mut life = Life::new(&mut world, (&resources, &mut report, &mut broker));
        for step in *steps {
            life.step(step).await;
        }
        if nth + 1 == lives.len() {
            life.drain().await;
        }
    }
}

fn check(start: Start, steps: Vec<Step>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(live(start, steps));
}

fn usual() -> Start {
    Start { protocol: Protocol::V5, receive_maximum: 64, commit_every: Duration::ZERO, has_disk: true }
}

fn readings(sensor: usize, count: usize, qos: Qos) -> Step {
    Step::Append { sensor, count, bytes: 60, age: Duration::ZERO, qos }
}

#[test]
fn one_damaged_row_strands_nothing_behind_it() {
    for (sensor, nth) in [(3, 20), (0, 100)] {
        check(usual(), vec![readings(0, 1750, Qos::AtLeastOnce), Step::Damage { sensor, nth, count: 1 }]);
    }
}

#[test]
fn a_whole_batch_of_damaged_rows_strands_nothing_behind_it() {
    for (sensor, nth) in [(3, 0), (0, 0), (0, 128)] {
        check(usual(), vec![readings(0, 600, Qos::AtLeastOnce), Step::Damage { sensor, nth, count: 128 }]);
    }
}

#[test]
fn what_memory_cannot_hold_without_a_disk_is_reported_and_strands_nothing() {
    let start = Start { protocol: Protocol::V4, receive_maximum: 1, has_disk: false, ..usual() };
    let large = Step::Append { sensor: 0, count: 90, bytes: 30_000, age: Duration::ZERO, qos: Qos::AtLeastOnce };
    check(start, vec![readings(0, 1, Qos::AtLeastOnce), large, readings(0, 70, Qos::AtLeastOnce)]);
}

#[test]
fn a_batch_that_is_cut_by_its_bytes_strands_nothing_behind_it() {
    check(usual(), vec![Step::Replies { count: 60, bytes: 12_000 }]);
}

/// The spool remembers some thousands of messages that the link has read. What is too old for the live lane is read there, left to
/// the late lane and read again: it must not push out what is under way.
#[test]
fn what_is_under_way_is_not_reported_as_lost_however_much_is_passed_over() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(usual()).await;
        world.spool.wait_until_readable().await.unwrap();
        let (resources, mut report, mut broker) = world.resources();
        let mut life = Life::new(&mut world, (&resources, &mut report, &mut broker));
        let begun = Instant::now();
        while life.connection.window.free_places() > 0 {
            assert!(begun.elapsed() < SOON, "{} are under way", life.pending.len());
            life.turn().await;
        }
        life.world.append_to_the_past(6000).await;
        life.world.spool.wait_until_readable().await.unwrap();
        while life.connection.forwarder.wants(Lane::Live, life.connection.spool.head()).is_some() {
            assert!(begun.elapsed() < SOON, "the live lane reads on");
            life.turn().await;
        }
        let path = life.world.folder.path().join("spool");
        let small =
            spool::Settings { max_size: MIN_SIZE, ..spool_settings(&path, Duration::ZERO, WhenFull::DropOldest) };
        life.world.spool.reconfigure(small).await.unwrap();
        life.world.append(1, 100, 60, Duration::ZERO, Qos::AtLeastOnce).await;
        life.world.spool.stats().wait_for(|stats| stats.dropped > 0).await.unwrap();
        while !life.connection.is_drained() || !life.pending.is_empty() {
            assert!(begun.elapsed() < SOON, "{} are under way", life.pending.len());
            life.answer(0, usize::MAX / 2, &PublishOutcome::Acknowledged);
            life.turn().await;
        }
        let account = &life.world.account;
        assert!(account.reported() > 1000, "{} are reported", account.reported());
        assert_eq!(account.absent(), account.reported());
    });
}

/// What waits behind a message at QoS 2 that is under way, under MQTT 3.1.1.
#[test]
fn a_message_at_qos_2_under_way_holds_up_its_own_sensor_alone() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(Start { protocol: Protocol::V4, ..usual() }).await;
        world.append(0, 3, 60, Duration::ZERO, Qos::ExactlyOnce).await;
        world.append(0, 2, 60, Duration::ZERO, Qos::AtLeastOnce).await;
        world.append(1, 50, 60, Duration::ZERO, Qos::AtLeastOnce).await;
        world.append(2, 1, 60, Duration::ZERO, Qos::ExactlyOnce).await;
        world.spool.wait_until_readable().await.unwrap();
        let (resources, mut report, mut broker) = world.resources();
        let mut life = Life::new(&mut world, (&resources, &mut report, &mut broker));
        let begun = Instant::now();
        while life.pending.len() < 51 {
            assert!(begun.elapsed() < SOON, "{} are under way", life.pending.len());
            life.turn().await;
        }
        let under_way = |sensor: &str| {
            let of = life.pending.iter().filter_map(|(publication, _)| reading(publication));
            of.filter(|(name, _)| name == sensor).map(|(_, n)| n).collect::<Vec<_>>()
        };
        assert_eq!((under_way("air"), under_way("soil").len(), under_way("door")), (vec![1], 50, vec![]));
        life.drain().await;
    });
}

#[test]
fn under_mqtt_5_a_sensor_has_several_messages_at_qos_2_under_way() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(usual()).await;
        world.append(0, 3, 60, Duration::ZERO, Qos::ExactlyOnce).await;
        world.spool.wait_until_readable().await.unwrap();
        let (resources, mut report, mut broker) = world.resources();
        let mut life = Life::new(&mut world, (&resources, &mut report, &mut broker));
        let begun = Instant::now();
        while life.pending.iter().filter(|(publication, _)| publication.qos == Qos::ExactlyOnce).count() < 3 {
            assert!(begun.elapsed() < SOON, "{} are under way", life.pending.len());
            life.turn().await;
        }
        life.drain().await;
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, max_shrink_time: 180_000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_sound_arrives_once_and_in_order_without_a_reconnect(
        start in start(), steps in prop::collection::vec(step(), 1..40),
    ) {
        check(start, steps);
    }
}
