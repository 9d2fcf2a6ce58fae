//! What a sensor's settings say, and what a thread shows to the rest of the program.

use super::*;
use fieldgate_drivers::Actuator;

#[test]
fn the_quantities_of_a_sensor_are_those_that_its_driver_measures() {
    let quantities = thermometer("tank").0.quantities();
    assert_eq!(quantities.iter().map(|of| (&*of.name, &*of.unit)).collect::<Vec<_>>(), [("temperature", "°C")]);
}

#[test]
fn a_tally_says_the_status_that_was_recorded_last() {
    let tally = Tally::default();
    for status in [SensorStatus::Degraded, SensorStatus::Down, SensorStatus::Ok] {
        tally.set_status(status);
        assert_eq!(tally.status(), status);
    }
}

/// The stop waits longer for a thread that has some.
#[tokio::test]
async fn a_thread_has_outputs_as_long_as_its_plan_has() {
    let mut bench = Bench::start(64, |file| plan(vec![counter("n", 10)], vec![pump(None)], file));
    bench.worker.begun().await;
    assert!(bench.worker.activity.has_outputs());
    let next = plan(vec![counter("m", 10)], Vec::new(), &bench.folder.path().join("bench.json"));
    bench.worker.inbox.try_send(Order::Replan(next)).unwrap();
    bench.reading("m").await;
    assert!(!bench.worker.activity.has_outputs());
}

#[tokio::test]
async fn a_silent_broker_is_counted_as_a_trip() {
    let limit = Duration::from_millis(50);
    let mut bench = Bench::start(64, |file| plan(Vec::new(), vec![pump(Some(limit))], file));
    bench.state().await;
    bench.heartbeat.beat();
    bench.order(true, None);
    while bench.state().await.1 != StateCause::SafeState {}
    let trips = bench.trips.clone();
    bench.worker.ask_to_stop();
    assert_eq!(bench.worker.join(SOON).await, ThreadEnd::Orderly);
    assert_eq!(trips.of(&name("pump")), 1);
}

#[tokio::test]
async fn what_was_asked_for_and_the_stop_are_no_trips() {
    let mut bench = Bench::start(64, |file| plan(Vec::new(), vec![pump(None)], file));
    bench.state().await;
    bench.order(true, Some(Duration::from_millis(10)));
    while bench.state().await.1 != StateCause::For {}
    bench.order(true, None).await.unwrap().unwrap();
    let trips = bench.trips.clone();
    bench.worker.ask_to_stop();
    while bench.state().await.1 != StateCause::Stop {}
    assert_eq!(bench.worker.join(SOON).await, ThreadEnd::Orderly);
    assert_eq!(trips.of(&name("pump")), 0);
}

/// Is pressed at each sampling.
struct Bell;

impl Sensor for Bell {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        Ok(vec![Measurement { name: "event".into(), value: Value::Word("pressed") }])
    }
}

static BELL: DriverSpec = DriverSpec {
    role: Role::Sensor { measurements: |_| vec![TEMPERATURE], default_every: None, build: |_, _| Ok(Box::new(Bell)) },
    ..NOBODY
};

/// Retained, the bell would ring again for everybody who subscribes later.
#[tokio::test]
async fn what_is_measured_is_retained_where_that_is_wanted_and_what_happens_never() {
    let called = |called, driver, retain| {
        let (mut settings, tally) = counter(called, 10);
        (settings.driver, settings.retain) = (driver, retain);
        (settings, tally)
    };
    let waveform = drivers::find("waveform").unwrap();
    let sensors = vec![called("kept", waveform, true), called("n", waveform, false), called("bell", &BELL, true)];
    let mut bench = Bench::start(64, |file| plan(sensors, Vec::new(), file));
    for (sensor, is_retained) in [("kept", true), ("n", false), ("bell", false)] {
        let said = bench.next(|event| match event {
            Event::Reading { reading, retain, .. } if reading.sensor.as_str() == sensor => Some(retain),
            _ => None,
        });
        assert_eq!(said.await, is_retained, "{sensor}");
    }
}

#[tokio::test]
async fn the_state_of_an_output_names_the_rule_that_moved_it_and_no_rule_after_a_command() {
    let mut bench = Bench::start(64, |file| plan(Vec::new(), vec![pump(None)], file));
    bench.state().await;
    let ruled = |event| match event {
        Event::State { cause, rule, .. } => Some((cause, rule)),
        _ => None,
    };
    let order = |bench: &Bench, rule: &str, order| {
        let (answer, applied) = oneshot::channel();
        let order = Order::Rule { actuator: name("pump"), rule: name(rule), order, answer };
        bench.worker.inbox.try_send(order).unwrap();
        applied
    };
    order(&bench, "heat", RuleOrder::Own(Action::Set(OutputValue::Switch(true)))).await.unwrap().unwrap();
    assert_eq!(bench.next(ruled).await, (StateCause::Rule, Some(name("heat"))));
    bench.order(false, None).await.unwrap().unwrap();
    assert_eq!(bench.next(ruled).await, (StateCause::Command, None));
}

/// Its order stands for itself: that a command is refused with it says nothing of it.
#[tokio::test]
async fn the_state_names_the_rule_also_where_its_order_takes_the_place_of_a_command_that_waits() {
    let mut output = pump(None);
    output.limits.min_on = Duration::from_secs(3);
    let mut bench = Bench::start(64, |file| plan(Vec::new(), vec![output], file));
    bench.state().await;
    bench.order(true, None).await.unwrap().unwrap();
    assert_eq!(bench.state().await, (ON, StateCause::Command));
    // It waits for its answer until the output may go off, for less than it takes to say that it will.
    let waiting = bench.order(false, None);
    let (answer, applied) = oneshot::channel();
    let action = RuleOrder::Own(Action::Set(OutputValue::Switch(true)));
    let order = Order::Rule { actuator: name("pump"), rule: name("heat"), order: action, answer };
    bench.worker.inbox.try_send(order).unwrap();
    applied.await.unwrap().unwrap();
    // Where this machine has stood still in between, it has gone off, and nothing was refused.
    if let Err(refusal) = waiting.await.unwrap() {
        assert_eq!(refusal.reason, Reason::Busy);
    }
    let ruled = bench.next(|event| match event {
        Event::State { cause: StateCause::Rule, rule, .. } => Some(rule),
        _ => None,
    });
    assert_eq!(ruled.await, Some(name("heat")));
}

#[tokio::test]
async fn states_that_their_channel_has_no_room_for_come_when_it_has() {
    let output = |line: &str| ActuatorSettings {
        name: name(&line.to_lowercase()),
        settings: settings(&[("line", Setting::Text(line.into())), ("active_low", Setting::Flag(false))]),
        ..pump(None)
    };
    let outputs = ["GPIO5", "GPIO6", "GPIO13"].map(output);
    let mut bench = Bench::start(1, |file| plan(Vec::new(), outputs.into(), file));
    // All are made safe, and there is room for one of the states.
    bench.worker.begun().await;
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 3 {
        seen.insert(
            bench.next(|event| if let Event::State { actuator, .. } = event { Some(actuator) } else { None }).await,
        );
    }
}

static MAY_BEGIN: AtomicBool = AtomicBool::new(false);

/// Follows as soon as a test says so.
struct Waiting;

impl Actuator for Waiting {
    fn apply(&mut self, _: OutputValue) -> Result<(), DriverError> {
        let came = clock::boottime();
        while !MAY_BEGIN.load(Ordering::SeqCst) && clock::boottime() - came < 2 * SOON {
            #[expect(clippy::disallowed_methods, reason = "a bus thread may block")]
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn read_back(&mut self) -> Result<Option<OutputValue>, DriverError> {
        Ok(None)
    }
}

static WAITING: DriverSpec = DriverSpec {
    role: Role::Actuator {
        kind: |_| OutputKind::Switch,
        pace: |_| Pace::AtOnce,
        build: |_, _, _| Ok(Box::new(Waiting)),
    },
    ..NOBODY
};

/// The gateway is ready then.
#[tokio::test]
async fn a_thread_has_begun_when_its_outputs_are_safe_and_not_before() {
    let output = ActuatorSettings { driver: &WAITING, ..pump(None) };
    let mut bench = Bench::start(64, |file| plan(Vec::new(), vec![output], file));
    {
        let mut begun = std::pin::pin!(bench.worker.begun());
        assert!(futures_util::FutureExt::now_or_never(begun.as_mut()).is_none());
        MAY_BEGIN.store(true, Ordering::SeqCst);
        tokio::time::timeout(SOON, begun).await.expect("it has begun");
    }
    assert_eq!(bench.state().await, (OFF, StateCause::Start));
}

#[test]
fn a_thread_can_go_on_with_a_plan_for_the_same_wires_alone() {
    let (one, other) = (bus::sim::at(Some(Path::new("one"))), bus::sim::at(Some(Path::new("other"))));
    let plan = plan(Vec::new(), Vec::new(), Path::new("one"));
    assert!(plan.same_wires(&one) && !plan.same_wires(&other));
}

/// Follows on a bus that has nothing to look at.
struct Plain;

impl Actuator for Plain {
    fn apply(&mut self, _: OutputValue) -> Result<(), DriverError> {
        Ok(())
    }

    fn read_back(&mut self) -> Result<Option<OutputValue>, DriverError> {
        Ok(None)
    }
}

pub(super) static PLAIN: DriverSpec = DriverSpec {
    role: Role::Actuator { kind: |_| OutputKind::Switch, pace: |_| Pace::AtOnce, build: |_, _, _| Ok(Box::new(Plain)) },
    ..NOBODY
};

/// An idle thread looks by itself only once in [`crate::deadlines::IDLE_TURN`], and no machine is so late each time.
#[tokio::test]
async fn an_order_a_lease_and_the_stop_wake_a_thread_that_has_nothing_else_to_do() {
    let soon = crate::deadlines::IDLE_TURN / 2;
    let mut is_woken = [false; 3];
    for _ in 0..20 {
        let output = ActuatorSettings { driver: &PLAIN, ..pump(None) };
        let buses = vec![(Some(name("bench")), bus::Settings::Host)];
        let mut bench = Bench::start(64, |_| Plan { buses, sensors: Vec::new(), actuators: vec![output] });
        bench.worker.begun().await;
        let asked = clock::boottime();
        bench.order(true, Some(Duration::from_millis(20))).await.unwrap().unwrap();
        let on_since = clock::boottime();
        is_woken[2] |= on_since - asked < soon;
        while bench.state().await.1 != StateCause::For {}
        is_woken[0] |= clock::boottime() - on_since < soon;
        let asked = clock::boottime();
        bench.worker.ask_to_stop();
        assert_eq!(bench.worker.join(SOON).await, ThreadEnd::Orderly);
        is_woken[1] |= clock::boottime() - asked < soon;
        if is_woken == [true; 3] {
            return;
        }
    }
    panic!("late each time: {is_woken:?}");
}

#[test]
fn who_is_under_way_is_known_by_name_and_since_when() {
    let (activity, tank) = (Activity::default(), name("tank"));
    assert_eq!(activity.busy(), None);
    activity.busy_at(Some(&tank), Duration::from_secs(9));
    assert_eq!(activity.busy(), Some((tank.clone(), Duration::from_secs(9))));
    activity.busy_at(None, Duration::from_secs(10));
    assert_eq!(activity.busy(), None);
    let begun = clock::boottime();
    activity.busy_with(Some(&tank));
    assert!(activity.busy().is_some_and(|(named, since)| named == tank && since >= begun));
    activity.turn();
    assert!(activity.last_turn() >= begun);
}

/// A device that is the same in one thing and another in the next is built again.
#[test]
fn a_device_is_the_same_when_driver_bus_and_settings_are() {
    let sensor = counter("n", 10).0;
    let called = SensorSettings { name: name("m"), every: SOON, ..sensor.clone() };
    assert!(sensor.same_device(&called));
    let mut others = [sensor.clone(), sensor.clone(), sensor.clone()];
    others[0].driver = &BELL;
    others[1].bus = Some(name("other"));
    others[2].settings.insert("amplitude", Setting::Number(2.0));
    assert!(others.iter().all(|other| !sensor.same_device(other)));
    let output = pump(None);
    assert!(output.same_device(&ActuatorSettings { name: name("fan"), ..pump(Some(SOON)) }));
    let mut others = [output.clone(), output.clone(), output.clone()];
    others[0].driver = &PLAIN;
    others[1].bus = name("other");
    others[2].settings.insert("line", Setting::Text("GPIO5".into()));
    assert!(others.iter().all(|other| !output.same_device(other)));
}
