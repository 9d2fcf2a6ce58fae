//! A thread's loop without its thread: what is tried, what rests, and what is under way, one step at a time.

use super::shown::PLAIN;
use super::*;
use crate::worker::backoff::{Purpose, QUICK, Transfer};
use crate::worker::bus_slots::News;
use crate::worker::output::{OutputSlot, Request};
use crate::worker::run::Loop;
use fieldgate_bus::Claim;
use fieldgate_drivers::Actuator;

/// A loop with nothing in it yet, and what it says.
pub(super) fn alone() -> (Loop, Arc<Activity>, mpsc::Receiver<Event>) {
    let (thread, activity, events, _) = with_inbox();
    (thread, activity, events)
}

/// What a loop shares with others, who are told nothing but what goes to `events`.
pub(super) fn context(events: mpsc::Sender<Event>) -> Context {
    Context {
        run: RunId(7),
        states: events.clone(),
        events,
        heartbeat: Arc::default(),
        persisted_counts: watch::channel(None).1,
        alarms: BusAlarms::default(),
        signals: Signals::default(),
        interlocks: SharedInterlocks::default(),
        trips: Trips::default(),
    }
}

/// A loop with nothing in it yet, what it says, and where its orders are put.
fn with_inbox() -> (Loop, Arc<Activity>, mpsc::Receiver<Event>, SyncSender<Order>) {
    let (events, received) = mpsc::channel(64);
    let activity = Arc::<Activity>::default();
    let (_, waiter) = wait::pair().unwrap();
    let (plan, shown) = (of(Vec::new(), Vec::new()), Arc::clone(&activity));
    let (orders, inbox) = sync_channel(INBOX_CAPACITY);
    (Loop::new(plan, context(events), inbox, waiter, Arc::default(), shown), activity, received, orders)
}

pub(super) fn of(sensors: Vec<(SensorSettings, Arc<Tally>)>, actuators: Vec<ActuatorSettings>) -> Plan {
    Plan { buses: vec![(Some(name("bench")), bus::Settings::Host)], sensors, actuators }
}

pub(super) fn wait_long() {
    #[expect(clippy::disallowed_methods, reason = "it stands for a chip that fails slowly")]
    std::thread::sleep(QUICK * 2);
}

/// A domain has another number after a reload, and those of before may be none any more.
#[test]
fn an_output_that_stays_has_the_domain_of_the_new_plan() {
    let plain = |called| ActuatorSettings { name: name(called), driver: &PLAIN, ..pump(None) };
    let (mut thread, ..) = alone();
    thread.adopt(of(Vec::new(), vec![plain("fan"), plain("lamp"), plain("pump")]));
    let transfer = Transfer { ended_at: clock::boottime(), cost: QUICK * 2 };
    let domain = thread.outputs[2].domain;
    thread.buses.backoff.failed(domain, Purpose::Output, transfer, "timed out");
    thread.adopt(of(Vec::new(), vec![plain("pump"), plain("lamp")]));
    let failing = |called| {
        let output = thread.outputs.iter().find(|output| output.slot.settings.name == name(called)).unwrap();
        thread.buses.backoff.is_failing(output.domain)
    };
    assert_eq!(["pump", "lamp"].map(failing), [true, false]);
}

/// What was under way at a building of [`HEAVY`], the last sign of life before it, and when it was over.
type Seen = (Option<Name>, Duration, Duration);

static WATCHED: Mutex<Option<Arc<Activity>>> = Mutex::new(None);
static SEEN: Mutex<Vec<Seen>> = Mutex::new(Vec::new());

/// Cannot be built, and takes long for that.
static HEAVY: DriverSpec = DriverSpec {
    role: Role::Actuator {
        kind: |_| OutputKind::Switch,
        pace: |_| Pace::AtOnce,
        build: |_, _, _| {
            let activity = WATCHED.lock().unwrap().clone().unwrap();
            let (busy, turned) = (activity.busy(), activity.last_turn());
            wait_long();
            SEEN.lock().unwrap().push((busy.map(|(name, _)| name), turned, clock::boottime()));
            Err(DriverError::NotReady("the output"))
        },
    },
    ..NOBODY
};

/// The watchdog ends a program whose thread gives none for some seconds, and each of many outputs may take one.
#[test]
fn each_output_that_is_built_is_a_sign_of_life_and_named_meanwhile() {
    let heavy = |called| ActuatorSettings { name: name(called), driver: &HEAVY, ..pump(None) };
    let (mut thread, activity, _events) = alone();
    *WATCHED.lock().unwrap() = Some(Arc::clone(&activity));
    thread.adopt(of(Vec::new(), vec![heavy("pump"), heavy("fan")]));
    assert_eq!(activity.busy(), None);
    let seen = std::mem::take(&mut *SEEN.lock().unwrap());
    let named: Vec<_> = seen.iter().map(|(busy, ..)| busy.clone()).collect();
    assert_eq!(named, [Some(name("pump")), Some(name("fan"))]);
    assert!(seen[1].1 >= seen[0].2, "{seen:?}");
    thread.make_safe();
    let stopped = std::mem::take(&mut *SEEN.lock().unwrap());
    assert_eq!(stopped.len(), 2);
    assert!(stopped[0].1 >= seen[1].2 && stopped[1].1 >= stopped[0].2, "{seen:?}, {stopped:?}");
}

static TRIED: AtomicUsize = AtomicUsize::new(0);

/// As [`HEAVY`], all on one chip.
static ON_ONE_CHIP: DriverSpec = DriverSpec {
    claims: |_| vec![Claim::Address(0x20)],
    role: Role::Actuator {
        kind: |_| OutputKind::Switch,
        pace: |_| Pace::AtOnce,
        build: |_, _, _| {
            TRIED.fetch_add(1, Ordering::SeqCst);
            wait_long();
            Err(DriverError::NotReady("the output"))
        },
    },
    ..NOBODY
};

/// Else a start or a reload with a relay board that hangs takes as many seconds as it has relays.
#[test]
fn when_one_output_cannot_be_built_slowly_the_others_on_its_chip_are_not_tried_also_after_a_reload() {
    let relay = |called| ActuatorSettings { name: name(called), driver: &ON_ONE_CHIP, ..pump(None) };
    let (mut thread, ..) = alone();
    let begun = clock::boottime();
    thread.adopt(of(Vec::new(), vec![relay("pump"), relay("fan"), relay("lamp")]));
    let tried = TRIED.load(Ordering::SeqCst);
    // Where the machine was so slow that the first had rested, the next was tried.
    assert!(tried == 1 || clock::boottime() - begun >= QUICK * 6, "{tried} were tried");
    assert!(thread.outputs.iter().all(|output| thread.buses.backoff.is_failing(output.domain)));
    // It rests for longer than the reload takes, and something else on the bus answers.
    let transfer = Transfer { ended_at: clock::boottime() + SOON, cost: QUICK };
    let domain = thread.outputs[0].domain;
    thread.buses.backoff.failed(domain, Purpose::Output, transfer, "timed out");
    thread.buses.record_bus_outcome(Some(&name("bench")), Ok(()));
    thread.adopt(of(Vec::new(), ["pump", "fan", "lamp", "horn"].map(relay).into()));
    assert_eq!(TRIED.load(Ordering::SeqCst), tried);
    assert!(thread.outputs.iter().all(|output| thread.buses.backoff.is_failing(output.domain)));
}

/// An order that is refused moves nothing, and no failure of others is its own.
#[test]
fn an_output_that_is_asked_for_something_is_under_way_until_that_is_over_and_without_a_transfer_nothing_is_known_of_it()
{
    let (mut thread, activity, _events) = alone();
    thread.adopt(of(Vec::new(), vec![ActuatorSettings { driver: &PLAIN, ..pump(None) }]));
    thread.buses.record_bus_outcome(Some(&name("bench")), Err(&DriverError::NotReady("another one")));
    let begun = clock::boottime();
    thread.with_transfer(0, |_, _| {
        assert_eq!(activity.busy().map(|(name, _)| name), Some(name("pump")));
        assert!(activity.last_turn() >= begun);
        wait_long();
    });
    assert_eq!(activity.busy(), None);
    assert!(!thread.buses.backoff.is_failing(thread.outputs[0].domain));
}

/// It may be on, and its chip may have lost what was written to it.
#[test]
fn an_order_for_an_output_that_rests_is_refused_without_a_trial_and_it_is_made_safe_afterwards() {
    let (mut thread, _, _events, orders) = with_inbox();
    thread.adopt(of(Vec::new(), vec![ActuatorSettings { driver: &PLAIN, ..pump(None) }]));
    let heartbeat = BrokerHeartbeat::default();
    assert_eq!(thread.outputs[0].slot.deadline(&heartbeat), None);
    let transfer = Transfer { ended_at: clock::boottime() + SOON, cost: QUICK };
    let domain = thread.outputs[0].domain;
    thread.buses.backoff.failed(domain, Purpose::Output, transfer, "timed out");
    let (answer, mut applied) = oneshot::channel();
    let action = Action::Set(OutputValue::Switch(true));
    orders.send(Order::Apply { actuator: name("pump"), action, lease: None, answer }).unwrap();
    thread.take_orders();
    let refusal = applied.try_recv().unwrap().unwrap_err().to_string();
    assert_eq!(refusal, "hardware: not tried, because its bus has just failed: timed out");
    assert!(thread.outputs[0].slot.deadline(&heartbeat).is_some());
}

/// They wait under the numbers of their sensors, which a plan gives again, and say what was before.
#[test]
fn what_waits_in_the_outbox_goes_out_before_a_plan_and_before_a_total_that_is_set() {
    let clicks = |thread: &mut Loop, count| {
        let event = Event::Count { sensor: name("clicks"), count };
        thread.buses.outbox.push_back((1, event));
    };
    let (mut thread, _, mut events, orders) = with_inbox();
    let sensors = vec![counter("n", 3_600_000), super::counting::clicker()];
    let tally = Arc::clone(&sensors[1].1);
    tally.count.resume(0);
    thread.adopt(of(sensors.clone(), Vec::new()));
    clicks(&mut thread, 1);
    let (answer, mut is_set) = oneshot::channel();
    orders.send(Order::SetTotal { sensor: name("clicks"), total: 50.0, counted: 0, answer }).unwrap();
    thread.take_orders();
    is_set.try_recv().unwrap().unwrap();
    assert!(matches!(events.try_recv(), Ok(Event::Count { count: 1, .. })));
    assert!(matches!(events.try_recv(), Ok(Event::CountSet { count: 100, .. })));
    clicks(&mut thread, 2);
    let (done, mut is_done) = oneshot::channel();
    orders.send(Order::Release { plan: of(sensors[..1].to_vec(), Vec::new()), done }).unwrap();
    thread.take_orders();
    is_done.try_recv().unwrap();
    assert!(matches!(events.try_recv(), Ok(Event::Count { count: 2, .. })));
    orders.send(Order::Replan(of(sensors.clone(), Vec::new()))).unwrap();
    thread.take_orders();
    clicks(&mut thread, 3);
    orders.send(Order::Replan(of(sensors[..1].to_vec(), Vec::new()))).unwrap();
    thread.take_orders();
    let counts: Vec<_> = std::iter::from_fn(|| events.try_recv().ok()).collect();
    assert!(matches!(counts[..], [.., Event::Count { count: 3, .. }]), "{counts:?}");
}

/// Only then do other threads build what this one had.
#[test]
fn the_first_order_of_a_reload_is_answered_when_what_leaves_is_safe() {
    let (mut thread, _, mut events, orders) = with_inbox();
    thread.adopt(of(Vec::new(), vec![ActuatorSettings { driver: &PLAIN, ..pump(None) }]));
    let (done, mut is_done) = oneshot::channel();
    orders.send(Order::Release { plan: of(Vec::new(), Vec::new()), done }).unwrap();
    thread.take_orders();
    is_done.try_recv().unwrap();
    assert!(thread.outputs.is_empty());
    let states = std::iter::from_fn(|| events.try_recv().ok());
    assert!(matches!(states.last(), Some(Event::State { cause: StateCause::Stop, .. })));
}

/// A hand that asks again and again while the bus rests.
#[test]
fn sixteen_may_wait_for_one_sample_and_those_who_have_left_do_not_count() {
    let (mut thread, ..) = alone();
    thread.adopt(of(vec![counter("n", 3_600_000)], Vec::new()));
    let mut ask = || {
        let (answer, sampled) = oneshot::channel();
        thread.sensors[0].ask(answer, Duration::ZERO);
        sampled
    };
    (0..16).for_each(|_| drop(ask()));
    let mut waiting: Vec<_> = (0..17).map(|_| ask()).collect();
    let is_refused =
        |asked: &mut oneshot::Receiver<_>| matches!(asked.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    let refused: Vec<_> = waiting.iter_mut().map(is_refused).collect();
    assert_eq!(refused, [[false; 16].as_slice(), &[true]].concat());
}

/// Follows once, at its third transfer.
struct Lame;

static LAME_DRIVEN: AtomicUsize = AtomicUsize::new(0);

impl Actuator for Lame {
    fn apply(&mut self, _: OutputValue) -> Result<(), DriverError> {
        let nth = LAME_DRIVEN.fetch_add(1, Ordering::SeqCst) + 1;
        if nth == 3 { Ok(()) } else { Err(DriverError::NotReady("the output")) }
    }

    fn read_back(&mut self) -> Result<Option<OutputValue>, DriverError> {
        Ok(None)
    }
}

static LAME: DriverSpec = DriverSpec {
    role: Role::Actuator { kind: |_| OutputKind::Switch, pace: |_| Pace::AtOnce, build: |_, _, _| Ok(Box::new(Lame)) },
    ..NOBODY
};

/// It may be on where it must not be.
#[test]
fn an_output_that_does_not_follow_is_driven_again_at_once_and_then_twice_in_a_second() {
    let (mut thread, ..) = alone();
    thread.adopt(of(Vec::new(), vec![ActuatorSettings { driver: &LAME, ..pump(None) }]));
    let heartbeat = BrokerHeartbeat::default();
    let due = |thread: &Loop| thread.outputs[0].slot.deadline(&heartbeat);
    assert!(due(&thread).unwrap() <= clock::boottime());
    let begun = clock::boottime();
    thread.with_transfer(0, OutputSlot::enforce);
    let again = due(&thread).unwrap();
    assert!(again >= begun + Duration::from_millis(500) && again <= clock::boottime() + Duration::from_millis(500));
    let (answer, _) = oneshot::channel();
    let on = || Request::Command(Action::Set(OutputValue::Switch(true)), None);
    thread.with_transfer(0, |slot, buses| slot.request(on(), answer, buses));
    assert_eq!((LAME_DRIVEN.load(Ordering::SeqCst), due(&thread)), (3, None));
    let (answer, _) = oneshot::channel();
    let off = Request::Command(Action::Set(OutputValue::Switch(false)), None);
    thread.with_transfer(0, |slot, buses| slot.request(off, answer, buses));
    assert!(due(&thread).unwrap() <= clock::boottime(), "a first failure again");
}

#[test]
fn the_alarm_of_a_bus_ends_when_an_output_on_it_follows() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bench.json");
    std::fs::write(&file, r#"{"gone":true}"#).unwrap();
    let (mut thread, ..) = alone();
    thread.adopt(plan(Vec::new(), vec![pump(None)], &file));
    assert_eq!(thread.buses.context.alarms.list().len(), 1);
    std::fs::write(&file, r#"{"gone":false}"#).unwrap();
    thread.with_transfer(0, OutputSlot::enforce);
    assert!(thread.buses.context.alarms.list().is_empty());
}

/// Says that its bus has gone.
struct Unplugged;

impl Actuator for Unplugged {
    fn apply(&mut self, _: OutputValue) -> Result<(), DriverError> {
        Err(fieldgate_bus::BusError::Lost { what: "the bus".into(), why: "has gone".into() }.into())
    }

    fn read_back(&mut self) -> Result<Option<OutputValue>, DriverError> {
        Ok(None)
    }
}

static UNPLUGGED: DriverSpec = DriverSpec {
    role: Role::Actuator {
        kind: |_| OutputKind::Switch,
        pace: |_| Pace::AtOnce,
        build: |_, _, _| Ok(Box::new(Unplugged)),
    },
    ..NOBODY
};

#[test]
fn an_output_whose_bus_has_gone_closes_it_for_all() {
    let folder = tempfile::tempdir().unwrap();
    let (mut thread, ..) = alone();
    let output = ActuatorSettings { driver: &UNPLUGGED, ..pump(None) };
    thread.adopt(plan(Vec::new(), vec![output], &folder.path().join("bench.json")));
    assert_eq!(thread.buses.take_news(), [(Some(name("bench")), News::Gone)]);
}

/// The bus of a thread that has ended is nobody's any more.
#[test]
fn the_alarm_of_a_bus_ends_with_its_thread() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bench.json");
    std::fs::write(&file, r#"{"gone":true}"#).unwrap();
    let (mut thread, ..) = alone();
    let alarms = thread.buses.context.alarms.clone();
    thread.adopt(plan(Vec::new(), vec![pump(None)], &file));
    assert_eq!(alarms.list().len(), 1);
    drop(thread);
    assert!(alarms.list().is_empty());
}

static TURNED_ON: AtomicUsize = AtomicUsize::new(0);

/// Fails slowly when it is to go on.
struct Stiff;

impl Actuator for Stiff {
    fn apply(&mut self, value: OutputValue) -> Result<(), DriverError> {
        if value != OutputValue::Switch(true) {
            return Ok(());
        }
        TURNED_ON.fetch_add(1, Ordering::SeqCst);
        wait_long();
        Err(DriverError::NotReady("the output"))
    }

    fn read_back(&mut self) -> Result<Option<OutputValue>, DriverError> {
        Ok(None)
    }
}

static STIFF: DriverSpec = DriverSpec {
    claims: |_| vec![Claim::Address(0x20)],
    role: Role::Actuator { kind: |_| OutputKind::Switch, pace: |_| Pace::AtOnce, build: |_, _, _| Ok(Box::new(Stiff)) },
    ..NOBODY
};

/// However many wait for a partner, the end comes after one that fails.
#[test]
fn of_outputs_that_waited_for_a_partner_at_the_end_only_the_first_of_a_failing_chip_is_tried() {
    let mains = |called| ActuatorSettings {
        name: name(called),
        driver: &STIFF,
        limits: Limits::new(Action::Set(OutputValue::Switch(true)), None),
        ..pump(None)
    };
    let (mut thread, ..) = alone();
    let dead_time = Duration::from_millis(500);
    let pairs = ["one", "two"].map(|other| fieldgate_safety::Pair { one: name("pump"), other: name(other), dead_time });
    thread.buses.context.interlocks.arrange(pairs.into(), ["pump", "one", "two"].map(name));
    let plain = ActuatorSettings { driver: &PLAIN, ..pump(None) };
    thread.adopt(of(Vec::new(), vec![plain, mains("one"), mains("two")]));
    let before = TURNED_ON.load(Ordering::SeqCst);
    thread.make_safe();
    assert_eq!(TURNED_ON.load(Ordering::SeqCst) - before, 1);
    assert!(thread.outputs.iter().all(|output| !output.slot.waits_for_partner()));
}
