//! Devices that must be built again, a bus that is unplugged, and the order of the end.

use super::*;
use crate::worker::bus_slots::BusSlots;
use crate::worker::rest::{Place, Purpose};
use crate::worker::run::note;

impl Bench {
    /// The next status of a sensor, in whatever words.
    async fn status(&mut self) -> SensorStatus {
        self.next(|event| match event {
            Event::Status { status, .. } => Some(status),
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
    for expected in [SensorStatus::Degraded, SensorStatus::Down, SensorStatus::Ok] {
        assert_eq!(bench.status().await, expected);
    }
}

#[tokio::test]
async fn a_bus_that_was_unplugged_is_opened_again_when_it_is_back() {
    let mut bench = Bench::start(1024, |file| plan(vec![thermometer("tank")], Vec::new(), file));
    assert_eq!(bench.status().await, SensorStatus::Ok);
    bench.write(r#"{"gone":true}"#);
    assert_eq!(bench.status().await, SensorStatus::Degraded);
    bench.write(r#"{"gone":false}"#);
    while bench.status().await != SensorStatus::Ok {}
}

#[test]
fn an_output_that_fails_slowly_rests_for_as_long_or_until_there_is_an_answer() {
    let (events, _received) = mpsc::channel(1);
    let context = Context {
        run: RunId(7),
        states: events.clone(),
        events,
        heartbeat: Arc::default(),
        persisted_counts: watch::channel(None).1,
        alarms: BusAlarms::default(),
        signals: Signals::default(),
        interlocks: SharedInterlocks::default(),
        trips: Trips::default(),
    };
    let mut buses = BusSlots::new(context, Arc::default());
    let bus = name("bench");
    let place = buses.rest.place(Place::bus(Some(&bus)));
    let (now, cost) = (Duration::from_secs(10), Duration::from_secs(1));
    for (outcome, from) in [(Err(&another_chip()), now + cost), (Ok(()), Duration::ZERO)] {
        buses.note(Some(&bus), outcome);
        note(&mut buses, place, (now, cost));
        assert_eq!(buses.rest.allowed_from(place, Purpose::Output), from);
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
        bench.worker.inbox.offer(Order::Apply { actuator: name(actuator), action, lease: None, answer }).unwrap();
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
    assert!(bench.worker.join(SOON).await);
}
