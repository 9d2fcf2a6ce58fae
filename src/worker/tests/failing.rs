//! Devices that must be built again, a bus that is unplugged, and the order of the end.

use super::*;
use crate::worker::backoff::{FailureDomain, Purpose, QUICK, Transfer};
use crate::worker::bus_slots::BusSlots;
use crate::worker::run::record_outcome;
use fieldgate_bus::Claim;
use fieldgate_drivers::Actuator;

impl Bench {
    /// The next status of a sensor, in whatever words.
    async fn status(&mut self) -> SensorStatus {
        self.next(|event| match event {
            Event::Status { status, .. } => Some(status),
            _ => None,
        })
        .await
    }

    /// The next sensor that fails, how it is then, and why. One that was degraded already says so when it is down.
    pub(super) async fn failed(&mut self) -> (Name, SensorStatus, String) {
        self.next(|event| match event {
            Event::Status { sensor, status, error: Some(error), .. } => {
                (!is_too_slow(&error)).then_some((sensor, status, error))
            }
            _ => None,
        })
        .await
    }
}

fn another_chip() -> DriverError {
    DriverError::NoDevice { chip: "forgetful", place: "address 0x76".into(), why: "another one answers".into() }
}

/// Loses its supply after the first sample, and with it the settings it got when it was built.
struct Forgetful(bool);

impl Sensor for Forgetful {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        let has_lost_it = std::mem::replace(&mut self.0, true);
        if has_lost_it { Err(another_chip()) } else { Ok(vec![TEMPERATURE.measured(1.0)]) }
    }
}

static FORGETFUL: DriverSpec = DriverSpec {
    wrong: |_| None,
    role: Role::Sensor {
        measurements: |_| vec![TEMPERATURE],
        default_every: None,
        build: |_, _| Ok(Box::new(Forgetful(false))),
    },
    ..NOBODY
};

#[tokio::test]
async fn a_device_whose_failure_does_not_pass_by_itself_is_built_again_at_once() {
    let mut forgetful = counter("forgetful", 10);
    forgetful.0.driver = &FORGETFUL;
    let mut bench = Bench::start(1024, |file| plan(vec![forgetful], Vec::new(), file));
    for _ in 0..3 {
        assert_eq!([bench.status().await, bench.status().await], [SensorStatus::Ok, SensorStatus::Degraded]);
    }
}

/// How often [`STUCK`] was built, by one test.
static BUILT: AtomicUsize = AtomicUsize::new(0);

/// Is not ready for ever, unless it was built for the second time.
struct Stuck(bool);

impl Sensor for Stuck {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        if self.0 { Err(DriverError::NotReady("the chip")) } else { Ok(vec![TEMPERATURE.measured(1.0)]) }
    }
}

static STUCK: DriverSpec = DriverSpec {
    wrong: |_| None,
    role: Role::Sensor {
        measurements: |_| vec![TEMPERATURE],
        default_every: None,
        build: |_, _| Ok(Box::new(Stuck(BUILT.fetch_add(1, Ordering::Relaxed) == 0))),
    },
    ..NOBODY
};

#[tokio::test]
async fn a_device_that_keeps_failing_is_built_again_when_it_is_down() {
    let mut stuck = counter("stuck", 10);
    stuck.0.driver = &STUCK;
    let mut bench = Bench::start(1024, |file| plan(vec![stuck], Vec::new(), file));
    let mut statuses = Vec::new();
    while statuses.last() != Some(&SensorStatus::Ok) {
        statuses.push(bench.status().await);
    }
    // What takes a second is followed by the status once more.
    statuses.dedup();
    assert_eq!(statuses, [SensorStatus::Degraded, SensorStatus::Down, SensorStatus::Ok]);
}

#[tokio::test]
async fn a_bus_that_was_unplugged_is_opened_again_when_it_is_back() {
    let mut bench = Bench::start(1024, |file| plan(vec![thermometer("tank")], Vec::new(), file));
    assert_eq!(bench.status().await, SensorStatus::Ok);
    bench.write(r#"{"gone":true}"#);
    bench.failed().await;
    bench.write(r#"{"gone":false}"#);
    while bench.status().await != SensorStatus::Ok {}
}

/// What a thread without a plan has.
fn no_buses() -> BusSlots {
    let (events, _) = mpsc::channel(1);
    BusSlots::new(alone::context(events), Arc::default())
}

#[test]
fn an_output_that_fails_slowly_rests_for_as_long_or_until_there_is_an_answer() {
    let mut buses = no_buses();
    let bus = name("bench");
    let domain = buses.backoff.domain(FailureDomain::bus(Some(&bus)));
    let (now, cost) = (Duration::from_secs(10), Duration::from_secs(1));
    for (outcome, from) in [(Err(&another_chip()), now + cost), (Ok(()), Duration::ZERO)] {
        buses.record_bus_outcome(Some(&bus), outcome);
        record_outcome(&mut buses, domain, Transfer { ended_at: now, cost });
        assert_eq!(buses.backoff.allowed_from(domain, Purpose::Output), from);
    }
}

/// Where time runs out at the end, it is the others that are not reached.
#[tokio::test]
async fn at_the_end_outputs_that_are_off_when_safe_come_first() {
    let mains = ActuatorSettings {
        name: name("mains"),
        limits: Limits::new(Action::Set(OutputValue::Switch(true)), None),
        settings: settings(&[("line", Setting::Text("GPIO5".into())), ("active_low", Setting::Flag(false))]),
        ..pump(None)
    };
    let mut bench = Bench::start(64, |file| plan(Vec::new(), vec![mains, pump(None)], file));
    for (actuator, on) in [("mains", false), ("pump", true)] {
        let (answer, applied) = oneshot::channel();
        let action = Action::Set(OutputValue::Switch(on));
        bench.worker.inbox.try_send(Order::Apply { actuator: name(actuator), action, lease: None, answer }).unwrap();
        applied.await.unwrap().unwrap();
    }
    bench.worker.ask_to_stop();
    for expected in ["pump", "mains"] {
        let stopped = bench.next(|event| match event {
            Event::State { actuator, cause: StateCause::Stop, .. } => Some(actuator),
            _ => None,
        });
        assert_eq!(stopped.await, name(expected));
    }
    assert_eq!(bench.worker.join(SOON).await, ThreadEnd::Orderly);
}

/// Else each output behind a bus that times out would use up the time for stopping once more.
#[test]
fn what_may_not_be_built_is_not_opened_and_the_reason_is_said() {
    let (mut buses, bench) = (no_buses(), name("bench"));
    buses.adopt(vec![(Some(bench.clone()), bus::sim::at(None), Vec::new())], std::iter::empty());
    let why = Some("the others took too long".to_owned());
    let opened = buses.with_building_forbidden(why, |buses| buses.bus(Some(&bench)).map(drop));
    let Err(error) = opened else { panic!("it was opened") };
    assert!(error.to_string().contains("the others took too long"), "{error}");
    assert!(buses.take_news().is_empty() && buses.deadline() == Some(Duration::ZERO), "it is not open");
    assert!(buses.bus(Some(&bench)).is_ok());
}

static PANICKING: DriverSpec = DriverSpec {
    role: Role::Sensor { measurements: |_| vec![TEMPERATURE], default_every: None, build: |_, _| panic!("a defect") },
    ..NOBODY
};

/// A defect does not pass by itself, and each panic writes to the log.
#[tokio::test]
async fn a_driver_that_panics_rests_for_a_second_and_its_ticks_count_as_skipped() {
    let (mut settings, tally) = counter("panicking", 5);
    settings.driver = &PANICKING;
    let _bench = Bench::start(1024, |file| plan(vec![(settings, Arc::clone(&tally))], Vec::new(), file));
    let skipped = || tally.skipped.load(Ordering::Relaxed);
    let rest = async {
        while skipped() < 190 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(SOON, rest).await.expect("a second has so many ticks");
    // Read before what is counted behind it.
    let failed = tally.failed.load(Ordering::Relaxed);
    assert!(skipped() >= 190 * (failed - 1), "{failed} failures, {} ticks", skipped());
}

/// Its lines are not sampled for long, so only looking at the bus itself shows that it has gone.
#[tokio::test]
async fn a_bus_that_is_unplugged_is_noticed_although_nothing_on_it_is_due() {
    let mut bench = Bench::start(64, |file| plan(vec![button("GPIO17", 3_600_000)], Vec::new(), file));
    assert_eq!(bench.status().await, SensorStatus::Ok);
    bench.write(r#"{"gone":true}"#);
    assert_eq!(bench.status().await, SensorStatus::Degraded);
    bench.write(r#"{"gone":false}"#);
    while bench.status().await != SensorStatus::Ok {}
}

/// Fails at every second sampling, has nothing new at the others, and works in the end.
struct Moody(u32);

impl Sensor for Moody {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        self.0 += 1;
        match self.0 {
            9.. => Ok(vec![TEMPERATURE.measured(1.0)]),
            sample if sample.is_multiple_of(2) => Err(DriverError::TooEarly("nothing new")),
            _ => Err(DriverError::NotReady("the chip")),
        }
    }
}

static MOODY: DriverSpec = DriverSpec {
    role: Role::Sensor {
        measurements: |_| vec![TEMPERATURE],
        default_every: None,
        build: |_, _| Ok(Box::new(Moody(0))),
    },
    ..NOBODY
};

#[tokio::test]
async fn failures_with_an_answer_between_them_are_none_in_a_row() {
    let mut moody = counter("moody", 10);
    moody.0.driver = &MOODY;
    let mut bench = Bench::start(64, |file| plan(vec![moody], Vec::new(), file));
    loop {
        let status = bench.status().await;
        assert_ne!(status, SensorStatus::Down);
        if status == SensorStatus::Ok {
            return;
        }
    }
}

/// How often [`TIRED`] was built, by one test.
static TIRED_BUILT: AtomicUsize = AtomicUsize::new(0);

/// The first that is built follows until it is switched on, and then never again: the chip has lost its supply.
struct Tired {
    is_first: bool,
    is_lost: bool,
    on: bool,
}

impl Actuator for Tired {
    fn apply(&mut self, value: OutputValue) -> Result<(), DriverError> {
        self.on = value == OutputValue::Switch(true);
        self.is_lost |= self.is_first && self.on;
        if self.is_lost { Err(DriverError::NotReady("the output")) } else { Ok(()) }
    }

    fn read_back(&mut self) -> Result<Option<OutputValue>, DriverError> {
        Ok(Some(OutputValue::Switch(self.on)))
    }
}

static TIRED: DriverSpec = DriverSpec {
    role: Role::Actuator {
        kind: |_| OutputKind::Switch,
        pace: |_| Pace::AtOnce,
        build: |_, _, _| {
            let is_first = TIRED_BUILT.fetch_add(1, Ordering::Relaxed) == 0;
            Ok(Box::new(Tired { is_first, is_lost: false, on: false }))
        },
    },
    ..NOBODY
};

#[tokio::test]
async fn an_output_that_does_not_follow_is_built_again() {
    let tired = ActuatorSettings { driver: &TIRED, ..pump(None) };
    let mut bench = Bench::start(64, |file| plan(Vec::new(), vec![tired], file));
    assert_eq!(bench.state().await.0, OFF);
    assert!(bench.order(true, None).await.unwrap().is_err());
    while bench.state().await.0 != OFF {}
    assert!(bench.order(true, None).await.unwrap().is_ok());
}

#[tokio::test]
async fn an_output_whose_bus_was_unplugged_is_unknown_and_safe_when_it_is_back() {
    let mut bench = Bench::start(64, |file| plan(vec![thermometer("tank")], vec![pump(None)], file));
    assert_eq!(bench.state().await.0, OFF);
    bench.order(true, None).await.unwrap().unwrap();
    assert_eq!(bench.state().await.0, ON);
    bench.write(r#"{"gone":true}"#);
    assert_eq!(bench.state().await.0, None);
    bench.write(r#"{"gone":false}"#);
    assert_eq!(bench.state().await.0, OFF);
}

/// Slow to fail when it is to go off.
struct SlowOff(bool);

static OFFS: AtomicUsize = AtomicUsize::new(0);

impl Actuator for SlowOff {
    fn apply(&mut self, value: OutputValue) -> Result<(), DriverError> {
        let was_on = std::mem::replace(&mut self.0, value == OutputValue::Switch(true));
        if was_on && !self.0 {
            OFFS.fetch_add(1, Ordering::SeqCst);
            #[expect(clippy::disallowed_methods, reason = "a bus thread may block")]
            std::thread::sleep(QUICK * 2);
            return Err(DriverError::NotReady("the output"));
        }
        Ok(())
    }

    fn read_back(&mut self) -> Result<Option<OutputValue>, DriverError> {
        Ok(Some(OutputValue::Switch(self.0)))
    }
}

static SLOW_OFF: DriverSpec = DriverSpec {
    claims: |_| vec![Claim::Line("all on one chip".into())],
    role: Role::Actuator {
        kind: |_| OutputKind::Switch,
        pace: |_| Pace::AtOnce,
        build: |_, _, _| Ok(Box::new(SlowOff(false))),
    },
    ..NOBODY
};

#[tokio::test]
async fn when_one_output_fails_slowly_at_the_end_the_others_on_its_chip_are_given_up_and_unknown() {
    let slow = |called| ActuatorSettings { name: name(called), driver: &SLOW_OFF, ..pump(None) };
    let outputs = vec![slow("pump"), slow("fan")];
    let mut bench = Bench::start(64, |file| plan(Vec::new(), outputs, file));
    for actuator in ["pump", "fan"] {
        let (answer, applied) = oneshot::channel();
        let action = Action::Set(OutputValue::Switch(true));
        bench.worker.inbox.try_send(Order::Apply { actuator: name(actuator), action, lease: None, answer }).unwrap();
        applied.await.unwrap().unwrap();
    }
    bench.worker.ask_to_stop();
    let mut unknown = std::collections::BTreeSet::new();
    while unknown.len() < 2 {
        unknown.insert(
            bench
                .next(
                    |event| if let Event::State { actuator, value: None, .. } = event { Some(actuator) } else { None },
                )
                .await,
        );
    }
    assert_eq!(bench.worker.join(SOON).await, ThreadEnd::Orderly);
    assert_eq!(OFFS.load(Ordering::SeqCst), 1, "one attempt stands for all on the chip");
}

#[tokio::test]
async fn who_asks_a_sensor_that_fails_gets_the_reason() {
    let bench = Bench::start(64, |file| {
        std::fs::write(file, r#"{"chips":{"0x49":{"fault":"nak"}}}"#).unwrap();
        let (mut tank, tally) = thermometer("tank");
        tank.every = Duration::from_secs(3600);
        plan(vec![(tank, tally)], Vec::new(), file)
    });
    let (answer, sampled) = oneshot::channel();
    bench.worker.inbox.try_send(Order::Sample { sensor: name("tank"), answer }).unwrap();
    let refusal = sampled.await.unwrap().unwrap_err().to_string();
    assert!(refusal.starts_with("hardware: ") && refusal.contains("0x49"), "{refusal}");
}

/// Nothing of its own says that its bus has gone, and it is not sampled for long.
#[tokio::test]
async fn a_bus_that_goes_and_comes_takes_all_of_its_sensors_with_it_at_once() {
    let (mut calm, tally) = counter("calm", 3_600_000);
    calm.driver = &CALM;
    let sensors = vec![thermometer("tank"), (calm, tally)];
    let mut bench = Bench::start(ROOMY, |file| plan(sensors, Vec::new(), file));
    bench.reading("calm").await;
    bench.write(r#"{"gone":true}"#);
    while bench.failed().await.0 != name("calm") {}
    bench.write(r#"{"gone":false}"#);
    bench.reading("calm").await;
}

#[tokio::test]
async fn the_alarm_of_a_bus_ends_when_a_sensor_on_it_answers() {
    let mut bench = Bench::start(ROOMY, |file| plan(vec![thermometer("tank")], Vec::new(), file));
    bench.reading("tank").await;
    bench.write(r#"{"chips":{"0x49":{"fault":"time-out"}}}"#);
    bench.failed().await;
    assert_eq!(bench.alarms.list().len(), 1);
    bench.write(r#"{"chips":{"0x49":{"fault":null}}}"#);
    let ends = async {
        while !bench.alarms.list().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(SOON, ends).await.expect("it works again");
}

/// On the simulated bus, so that it cannot be built without it.
static CALM: DriverSpec = DriverSpec {
    bus: BusNeed::Gpio,
    role: Role::Sensor {
        measurements: |_| vec![TEMPERATURE],
        default_every: None,
        build: |_, _| Ok(Box::new(Stuck(false))),
    },
    ..NOBODY
};

#[tokio::test]
async fn a_bus_that_is_missing_at_the_start_is_found_long_before_its_only_sensor_is_due() {
    let (mut calm, tally) = counter("calm", 3_600_000);
    calm.driver = &CALM;
    let mut bench = Bench::start(64, |file| {
        std::fs::write(file, r#"{"gone":true}"#).unwrap();
        plan(vec![(calm, tally)], Vec::new(), file)
    });
    assert_eq!(bench.status().await, SensorStatus::Degraded);
    bench.write(r#"{"gone":false}"#);
    bench.reading("calm").await;
}

#[tokio::test]
async fn a_thread_that_panicked_is_not_taken_for_one_that_hangs() {
    let mut bench = Bench::start(64, |file| plan(Vec::new(), Vec::new(), file));
    bench.worker.ask_to_stop();
    let (ending, ended) = oneshot::channel();
    // A panic of a driver is caught; this is a defect of the loop itself.
    bench.worker.thread = std::thread::spawn(move || {
        let _ending: oneshot::Sender<()> = ending;
        panic!("a defect")
    });
    bench.worker.ended = ended;
    assert_eq!(bench.worker.join(SOON).await, ThreadEnd::Panicked);
}
