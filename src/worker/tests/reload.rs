//! What a reload leaves alone and what it forgets; lines, and buses that sit on others.

use super::*;
use fieldgate_bus::expander;
use fieldgate_bus::{Claim, Upstream};

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
        let next = plan(
            vec![steady(every_ms, setting), counter(marker, 10)],
            Vec::new(),
            &bench.folder.path().join("bench.json"),
        );
        bench.worker.inbox.offer(Order::Replan(next)).unwrap();
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
fn with_expander(actuators: Vec<ActuatorSettings>, file: &Path) -> Plan {
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
    bench.worker.inbox.offer(Order::Replan(next)).unwrap();
    bench.reading("n").await;
    assert!(bench.alarms.list().is_empty());
}
