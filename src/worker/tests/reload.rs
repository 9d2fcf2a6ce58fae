//! What a reload leaves alone and what it forgets; lines, and buses that sit on others.

use super::*;
use fieldgate_bus::expander;
use fieldgate_bus::{Claim, Upstream};
use fieldgate_filters::{Parameter, Step, find};

/// How often [`STEADY`] was built, by one test.
static BUILT: AtomicUsize = AtomicUsize::new(0);

struct Steady;

impl Sensor for Steady {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        Ok(vec![TEMPERATURE.measured(1.0)])
    }
}

static STEADY: DriverSpec = DriverSpec {
    wrong: |_| None,
    role: Role::Sensor {
        measurements: |_| vec![TEMPERATURE],
        default_every: None,
        build: |_, _| {
            BUILT.fetch_add(1, Ordering::Relaxed);
            Ok(Box::new(Steady))
        },
    },
    ..NOBODY
};

/// It would warm up again, or begin to count at what it had.
#[tokio::test]
async fn a_sensor_that_is_the_same_is_not_built_again_and_one_that_has_changed_is() {
    let tally = Arc::<Tally>::default();
    let steady = |every_ms, setting| {
        let (mut slot, _) = counter("steady", every_ms);
        slot.driver = &STEADY;
        slot.settings.insert("setting", Setting::Integer(setting));
        (slot, Arc::clone(&tally))
    };
    let mut bench = Bench::start(64, |file| plan(vec![steady(10, 1)], Vec::new(), file));
    bench.reading("steady").await;
    for (every_ms, setting, marker, built) in [(10, 1, "same", 1), (11, 1, "interval", 1), (11, 2, "changed", 2)] {
        let next = plan(vec![steady(every_ms, setting), counter(marker, 10)], Vec::new(), &bench.state_file());
        bench.worker.inbox.try_send(Order::Replan(next)).unwrap();
        bench.reading(marker).await;
        bench.reading("steady").await;
        assert_eq!(BUILT.load(Ordering::Relaxed), built, "{marker}");
    }
}

#[tokio::test]
async fn what_a_line_does_is_a_reading_long_before_the_sensor_is_due() {
    let mut bench = Bench::start(64, |file| plan(vec![button("GPIO17", 3_600_000)], Vec::new(), file));
    let first = bench.reading("button").await;
    bench.write(r#"{"inputs":{"GPIO17":1}}"#);
    let second = bench.reading("button").await;
    assert_eq!((first.seq, second.seq), (1, 2));
    assert_ne!(first.measurements, second.measurements);
}

/// A sensor on a pin of the expander that is not there yet.
static ABSENT: DriverSpec = DriverSpec {
    claims: |_| vec![Claim::Line("P4".into())],
    wrong: |_| None,
    role: Role::Sensor {
        measurements: |_| vec![TEMPERATURE],
        default_every: None,
        build: |_, _| Err(DriverError::NotReady("it is not there")),
    },
    ..NOBODY
};

/// A bench with an expander on it, which has a sensor and these outputs.
pub(super) fn with_expander(actuators: Vec<ActuatorSettings>, file: &Path) -> Plan {
    let (mut contact, tally) = counter("contact", 1000);
    (contact.driver, contact.bus) = (&ABSENT, Some(name("pins")));
    let mut plan = plan(vec![(contact, tally)], actuators, file);
    let on = Upstream { name: name("bench"), settings: plan.buses[0].1.clone() };
    let pins = expander::PCF8574.upon(on, [("address", Setting::Integer(0x20))]);
    plan.buses.push((Some(name("pins")), pins));
    plan
}

/// What the chip reads back of a closed contact looks like an output that is low. Written back, it would be one.
#[tokio::test]
async fn an_output_on_an_expander_leaves_the_pins_of_its_sensors_released() {
    let relay = ActuatorSettings {
        bus: name("pins"),
        settings: settings(&[("line", Setting::Text("P0".into())), ("active_low", Setting::Flag(false))]),
        ..pump(None)
    };
    let mut bench = Bench::start(64, |file| {
        std::fs::write(file, r#"{"chips":{"0x20":{"P4":0}}}"#).unwrap();
        with_expander(vec![relay], file)
    });
    assert_eq!(bench.state().await, (OFF, StateCause::Start));
    let shown = std::fs::read_to_string(bench.folder.path().join("bench.json")).unwrap();
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["chips"]["0x20"]["latch"], 0xFE, "P0 is low, and P4 is not: {shown}");
}

#[tokio::test]
async fn the_alarm_of_a_bus_goes_with_the_bus() {
    let mut bench = Bench::start(64, |file| {
        std::fs::write(file, r#"{"chips":{"0x20":{"fault":"nak"}}}"#).unwrap();
        with_expander(Vec::new(), file)
    });
    let failed = |event| matches!(event, Event::Status { status: SensorStatus::Degraded, .. }).then_some(());
    bench.next(failed).await;
    assert_eq!(bench.alarms.list().keys().collect::<Vec<_>>(), [&name("pins")]);
    let next = plan(vec![counter("n", 10)], Vec::new(), &bench.folder.path().join("bench.json"));
    bench.worker.inbox.try_send(Order::Replan(next)).unwrap();
    bench.reading("n").await;
    assert!(bench.alarms.list().is_empty());
}

/// Sensors have numbers and places, which each reload gives again.
#[tokio::test]
async fn who_stays_goes_on_between_the_two_orders_of_a_reload_and_after_them() {
    let (mut air, tally) = thermometer("air");
    air.settings = settings(&[("address", Setting::Integer(0x48))]);
    let (tank, kept) = thermometer("tank");
    let sensors = vec![(air, tally), (tank.clone(), Arc::clone(&kept))];
    let mut bench = Bench::start(1024, |file| plan(sensors, Vec::new(), file));
    bench.reading("tank").await;
    let file = bench.state_file();
    let next = || plan(vec![(tank.clone(), Arc::clone(&kept))], Vec::new(), &file);
    bench.release(next()).await;
    let seq = kept.taken.load(Ordering::Relaxed);
    while bench.reading("tank").await.seq <= seq {}
    bench.worker.inbox.try_send(Order::Replan(next())).unwrap();
    // Answered behind the plan.
    bench.release(next()).await;
    let seq = kept.taken.load(Ordering::Relaxed);
    while bench.reading("tank").await.seq <= seq {}
}

#[tokio::test]
async fn a_line_is_heard_after_a_reload_has_given_its_sensor_another_number() {
    let (settings, tally) = button("GPIO17", 3_600_000);
    let sensors = vec![counter("n", 3_600_000), (settings.clone(), Arc::clone(&tally))];
    let mut bench = Bench::start(64, |file| plan(sensors, Vec::new(), file));
    bench.reading("button").await;
    let next = plan(vec![(settings, tally), counter("m", 3_600_000)], Vec::new(), &bench.state_file());
    bench.worker.inbox.try_send(Order::Replan(next)).unwrap();
    bench.reading("m").await;
    bench.write(r#"{"inputs":{"GPIO17":1}}"#);
    assert_eq!(bench.reading("button").await.seq, 2);
}

#[tokio::test]
async fn a_sensor_that_is_the_same_is_built_again_where_its_bus_is_another_of_the_same_name() {
    let (mut contact, tally) = button("P4", 20);
    contact.bus = Some(name("pins"));
    let at = |address, file: &Path| {
        let mut plan = plan(vec![(contact.clone(), Arc::clone(&tally))], Vec::new(), file);
        let on = Upstream { name: name("bench"), settings: plan.buses[0].1.clone() };
        plan.buses.push((Some(name("pins")), expander::PCF8574.upon(on, [("address", Setting::Integer(address))])));
        plan
    };
    let mut bench = Bench::start(1024, |file| {
        std::fs::write(file, r#"{"chips":{"0x20":{"P4":0},"0x21":{"P4":1}}}"#).unwrap();
        at(0x20, file)
    });
    let is_closed = |reading: Reading| reading.measurements[0].value;
    assert_eq!(is_closed(bench.reading("button").await), Value::Flag(false));
    bench.worker.inbox.try_send(Order::Replan(at(0x21, &bench.state_file()))).unwrap();
    let other = async { while is_closed(bench.reading("button").await) != Value::Flag(true) {} };
    tokio::time::timeout(SOON, other).await.expect("the pin of the other chip");
}

/// The recorder hangs, and somebody changes the sensor meanwhile.
#[tokio::test]
async fn readings_that_were_lost_before_a_sensor_has_changed_are_reported_after_it() {
    let (before, tally) = counter("n", 2);
    let mut after = before.clone();
    after.settings.insert("amplitude", Setting::Number(2.0));
    assert!(!before.same_device(&after));
    let mut bench = Bench::start(2, |file| plan(vec![(before, Arc::clone(&tally))], Vec::new(), file));
    while tally.taken.load(Ordering::Relaxed) < 10 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let next = || plan(vec![(after.clone(), Arc::clone(&tally))], Vec::new(), &bench.state_file());
    bench.release(next()).await;
    bench.worker.inbox.try_send(Order::Replan(next())).unwrap();
    let (accounted, lost) = bench.account(20).await;
    assert!(accounted > 10 && lost > 0, "{accounted}, {lost}");
}

#[tokio::test]
async fn another_interval_and_another_report_are_in_force_after_a_reload() {
    let seldom = counter("n", 3_600_000);
    let tally = Arc::clone(&seldom.1);
    let mut bench = Bench::start(1024, |file| plan(vec![seldom], Vec::new(), file));
    bench.reading("n").await;
    let silent = ReportSettings { delta: vec![("value".into(), 1e9)], ..ReportSettings::default() };
    let next = |report, marker, file: &Path| {
        let (mut often, _) = counter("n", 10);
        often.report = report;
        Order::Replan(plan(vec![(often, Arc::clone(&tally)), counter(marker, 3_600_000)], Vec::new(), file))
    };
    bench.worker.inbox.try_send(next(None, "often", &bench.state_file())).unwrap();
    assert_eq!(bench.reading("n").await.seq, 2);
    bench.worker.inbox.try_send(next(Some(silent), "silent", &bench.state_file())).unwrap();
    bench.reading("silent").await;
    // A report of its own begins with a reading.
    let (taken, samples) = (&tally.taken, &tally.samples);
    let begun = samples.load(Ordering::Relaxed);
    let many = async {
        while samples.load(Ordering::Relaxed) < begun + 10 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(SOON, many).await.expect("it is sampled");
    let reported = taken.load(Ordering::Relaxed);
    assert!(reported <= samples.load(Ordering::Relaxed) - 8, "{reported} readings");
    bench.worker.inbox.try_send(next(None, "again", &bench.state_file())).unwrap();
    bench.reading("again").await;
    let seq = taken.load(Ordering::Relaxed);
    while bench.reading("n").await.seq <= seq {}
}

#[tokio::test]
async fn the_pin_of_a_sensor_that_comes_with_a_reload_is_released_too() {
    let relay = ActuatorSettings {
        bus: name("pins"),
        settings: settings(&[("line", Setting::Text("P0".into())), ("active_low", Setting::Flag(false))]),
        ..pump(None)
    };
    let mut bench = Bench::start(64, |file| {
        std::fs::write(file, r#"{"chips":{"0x20":{"P4":0}}}"#).unwrap();
        let mut plan = with_expander(vec![relay.clone()], file);
        plan.sensors.clear();
        plan
    });
    assert_eq!(bench.state().await, (OFF, StateCause::Start));
    bench.worker.inbox.try_send(Order::Replan(with_expander(vec![relay], &bench.state_file()))).unwrap();
    bench.order(true, None).await.unwrap().unwrap();
    let shown = std::fs::read_to_string(bench.state_file()).unwrap();
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["chips"]["0x20"]["latch"], 0xFF, "{shown}");
}

#[tokio::test]
async fn the_limits_of_an_output_that_stays_are_those_of_the_new_plan() {
    let mut bench = Bench::start(64, |file| plan(Vec::new(), vec![pump(None)], file));
    bench.heartbeat.beat();
    bench.order(true, None).await.unwrap().unwrap();
    let silent = pump(Some(Duration::from_millis(50)));
    bench.worker.inbox.try_send(Order::Replan(plan(Vec::new(), vec![silent], &bench.state_file()))).unwrap();
    while bench.state().await != (OFF, StateCause::SafeState) {}
}

/// Always says what stands in its settings.
struct Level(f64);

impl Sensor for Level {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        Ok(vec![TEMPERATURE.measured(self.0)])
    }
}

static LEVEL: DriverSpec = DriverSpec {
    role: Role::Sensor {
        measurements: |_| vec![TEMPERATURE],
        default_every: None,
        build: |_, settings| Ok(Box::new(Level(settings.number("level")))),
    },
    ..NOBODY
};

/// One that has changed is another sensor, whose next sample would be an hour away.
#[tokio::test]
async fn a_sensor_that_has_changed_is_sampled_at_once_and_its_filters_begin_again() {
    let of = |level| {
        let (mut sensor, tally) = counter("n", 3_600_000);
        sensor.driver = &LEVEL;
        sensor.settings = settings(&[("level", Setting::Number(level))]);
        let steps = vec![Step::new(find("maximum").unwrap(), Parameter::Value(Setting::Integer(1000)))];
        sensor.filters = vec![MeasurementFilters { name: "temperature".into(), steps }];
        (sensor, tally)
    };
    let mut bench = Bench::start(64, |file| plan(vec![of(1000.0)], Vec::new(), file));
    assert_eq!(bench.reading("n").await.measurements, [TEMPERATURE.measured(1000.0)]);
    bench.worker.inbox.try_send(Order::Replan(plan(vec![of(1.0)], Vec::new(), &bench.state_file()))).unwrap();
    assert_eq!(bench.reading("n").await.measurements, [TEMPERATURE.measured(1.0)]);
}

#[tokio::test]
async fn what_a_reload_says_of_retaining_is_in_force_for_a_sensor_that_is_the_same() {
    let (sensor, tally) = counter("n", 10);
    let retained = SensorSettings { retain: true, ..sensor.clone() };
    let mut bench = Bench::start(ROOMY, |file| plan(vec![(sensor, Arc::clone(&tally))], Vec::new(), file));
    bench.reading("n").await;
    bench.worker.inbox.try_send(Order::Replan(plan(vec![(retained, tally)], Vec::new(), &bench.state_file()))).unwrap();
    bench.next(|event| matches!(event, Event::Reading { retain: true, .. }).then_some(())).await;
}
