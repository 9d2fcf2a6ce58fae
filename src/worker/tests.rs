//! A worker on the simulated bus, through its public face: a plan goes in, events come out.

mod alone;
mod busy;
mod counting;
mod ending;
mod enforcing;
mod failing;
mod partners;
mod reload;
mod sampled;
mod shown;
mod totals;
mod values;
mod waking;

use std::path::Path;

use super::*;
use fieldgate_drivers::{self as drivers, BusNeed, DriverError, DriverSpec, Role, Sensor};
use fieldgate_filters::{MeasurementFilters, ReportSettings};
use fieldgate_model::{CountScale, Measurement, OutputKind, Pace, Quantity, Setting, Settings, Value};
use fieldgate_safety::Limits;

/// For all that must happen on a machine that is busy with other things; longer than the longest back-off of a sensor whose sampling such a
/// machine has held up.
const SOON: Duration = Duration::from_secs(120);

/// How many events come while nobody takes them, of a sensor with a period of some milliseconds, until one is lost: more than come
/// within [`SOON`].
const ROOMY: usize = 1 << 16;

/// A bus that a busy machine holds up says of its sensors that it is too slow for them, which is no failure.
fn is_too_slow(words: &str) -> bool {
    words.starts_with("the bus is too slow")
}

/// Settings with the defaults of the driver's own table that matter here.
fn settings(of: &[(&'static str, Setting)]) -> Settings {
    let mut settings = Settings::default();
    for (name, setting) in of {
        settings.insert(name, setting.clone());
    }
    settings
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn counter(sensor: &str, every_ms: u64) -> (SensorSettings, Arc<Tally>) {
    let settings = settings(&[
        ("shape", Setting::Text("counter".into())),
        ("period", Setting::Duration(Duration::from_secs(1))),
        ("amplitude", Setting::Number(1.0)),
        ("offset", Setting::Number(0.0)),
    ]);
    let driver = drivers::find("waveform").unwrap();
    let every = Duration::from_millis(every_ms);
    let (qos, retain) = (Qos::AtLeastOnce, false);
    let bus = Some(name("bench"));
    let (filters, report) = (Vec::new(), None);
    (SensorSettings { name: name(sensor), driver, bus, every, qos, retain, settings, filters, report }, Arc::default())
}

fn thermometer(sensor: &str) -> (SensorSettings, Arc<Tally>) {
    let (mut slot, tally) = counter(sensor, 20);
    slot.driver = drivers::find("tmp102").unwrap();
    slot.settings = settings(&[("address", Setting::Integer(0x49))]);
    (slot, tally)
}

fn button(line: &str, every_ms: u64) -> (SensorSettings, Arc<Tally>) {
    let (mut slot, tally) = counter("button", every_ms);
    slot.driver = drivers::find("gpio-input").unwrap();
    slot.settings = settings(&[
        ("line", Setting::Text(line.into())),
        ("active_low", Setting::Flag(false)),
        ("bias", Setting::Text("as-is".into())),
        ("debounce", Setting::Duration(Duration::ZERO)),
        ("delayed_on", Setting::Duration(Duration::ZERO)),
        ("delayed_off", Setting::Duration(Duration::ZERO)),
    ]);
    (slot, tally)
}

fn pump(safe_after: Option<Duration>) -> ActuatorSettings {
    ActuatorSettings {
        name: name("pump"),
        driver: drivers::find("gpio-output").unwrap(),
        bus: name("bench"),
        kind: OutputKind::Switch,
        pace: Pace::AtOnce,
        limits: Limits::new(Action::Set(OutputValue::Switch(false)), safe_after),
        interlock: Vec::new(),
        dead_time: Duration::ZERO,
        max_age: None,
        settings: settings(&[("line", Setting::Text("GPIO27".into())), ("active_low", Setting::Flag(false))]),
    }
}

fn plan(sensors: Vec<(SensorSettings, Arc<Tally>)>, actuators: Vec<ActuatorSettings>, state_file: &Path) -> Plan {
    let bus = bus::sim::at(Some(state_file));
    Plan { buses: vec![(Some(name("bench")), bus)], sensors, actuators }
}

/// A running worker and what it says.
struct Bench {
    worker: Worker,
    events: mpsc::Receiver<Event>,
    heartbeat: Arc<BrokerHeartbeat>,
    know: watch::Sender<PersistedCounts>,
    alarms: BusAlarms,
    trips: Trips,
    folder: tempfile::TempDir,
}

impl Bench {
    fn start(capacity: usize, make: impl FnOnce(&Path) -> Plan) -> Self {
        Self::start_in(SharedInterlocks::default(), capacity, make)
    }

    fn start_in(interlocks: SharedInterlocks, capacity: usize, make: impl FnOnce(&Path) -> Plan) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (events, received) = mpsc::channel(capacity);
        let heartbeat = Arc::new(BrokerHeartbeat::default());
        let (know, persisted_counts) = watch::channel(None);
        let alarms = BusAlarms::default();
        let trips = Trips::default();
        let context = Context {
            run: RunId(7),
            states: events.clone(),
            events,
            heartbeat: Arc::clone(&heartbeat),
            persisted_counts,
            alarms: alarms.clone(),
            signals: Signals::default(),
            interlocks,
            trips: trips.clone(),
        };
        let worker = Worker::spawn("bench", make(&folder.path().join("bench.json")), context).unwrap();
        Self { worker, events: received, heartbeat, know, alarms, trips, folder }
    }

    /// The first event for which `pick` answers.
    async fn next<T>(&mut self, mut pick: impl FnMut(Event) -> Option<T>) -> T {
        let picked = async {
            loop {
                if let Some(picked) = pick(self.events.recv().await.expect("the worker runs")) {
                    return picked;
                }
            }
        };
        tokio::time::timeout(SOON, picked).await.expect("in time")
    }

    async fn reading(&mut self, sensor: &str) -> Reading {
        let wanted = name(sensor);
        self.next(|event| match event {
            Event::Reading { reading, .. } if reading.sensor == wanted => Some(reading),
            _ => None,
        })
        .await
    }

    /// What the next `events` say of the only sensor: how many of its readings came or were reported as lost, and how many were lost.
    /// None is missing between them.
    async fn account(&mut self, events: usize) -> (u64, u64) {
        let (mut accounted, mut lost) = (0, 0);
        for _ in 0..events {
            match self.next(Some).await {
                Event::Reading { reading, .. } => {
                    assert_eq!(reading.seq, accounted + 1, "nothing is missing before it");
                    accounted = reading.seq;
                }
                Event::Lost(loss) => {
                    assert_eq!((loss.from_seq, loss.to_seq + 1 - loss.from_seq), (accounted + 1, loss.count));
                    (accounted, lost) = (loss.to_seq, lost + loss.count);
                }
                Event::Status { .. }
                | Event::State { .. }
                | Event::Count { .. }
                | Event::CountSet { .. }
                | Event::ValueSet { .. }
                | Event::Published { .. } => {}
            }
        }
        (accounted, lost)
    }

    /// Hands over an order that releases what `plan` does not have, and waits until that is done.
    async fn release(&self, plan: Plan) {
        let (done, is_done) = oneshot::channel();
        self.worker.inbox.try_send(Order::Release { plan, done }).unwrap();
        tokio::time::timeout(SOON, is_done).await.expect("in time").unwrap();
    }

    fn state_file(&self) -> std::path::PathBuf {
        self.folder.path().join("bench.json")
    }

    async fn state(&mut self) -> (Option<OutputValue>, StateCause) {
        self.next(|event| match event {
            Event::State { value, cause, .. } => Some((value, cause)),
            _ => None,
        })
        .await
    }

    fn order(&self, on: bool, lease: Option<Duration>) -> oneshot::Receiver<Applied> {
        let (answer, applied) = oneshot::channel();
        let action = Action::Set(OutputValue::Switch(on));
        self.worker.inbox.try_send(Order::Apply { actuator: name("pump"), action, lease, answer }).unwrap();
        applied
    }

    /// Replaces the state file in one step: what is written in place may be read half, or be written into a version that is replaced
    /// meanwhile.
    fn write(&self, json: &str) {
        let whole = self.folder.path().join("whole");
        std::fs::write(&whole, json).unwrap();
        std::fs::rename(whole, self.state_file()).unwrap();
    }
}

const ON: Option<OutputValue> = Some(OutputValue::Switch(true));
const OFF: Option<OutputValue> = Some(OutputValue::Switch(false));

#[tokio::test]
async fn readings_are_numbered_from_one_without_holes() {
    let mut bench = Bench::start(ROOMY, |file| plan(vec![counter("n", 5)], Vec::new(), file));
    for seq in 1..=10 {
        let reading = bench.reading("n").await;
        assert_eq!((reading.seq, reading.run), (seq, RunId(7)));
        let value = Value::Number { value: seq as f64, decimals: 0 };
        assert_eq!(reading.measurements, [Measurement { name: "value".into(), value }]);
    }
    bench.worker.ask_to_stop();
    assert_eq!(bench.worker.join(SOON).await, ThreadEnd::Orderly);
}

#[tokio::test]
async fn without_room_readings_become_one_loss_that_is_reported_before_the_next() {
    let (sensor, tally) = counter("n", 2);
    let mut bench = Bench::start(2, |file| plan(vec![(sensor, Arc::clone(&tally))], Vec::new(), file));
    tokio::time::timeout(SOON, async {
        // Nobody takes anything until more have been taken than there is room for.
        while tally.taken.load(Ordering::Relaxed) < 10 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .unwrap();
    let (accounted, lost) = bench.account(20).await;
    assert!(accounted > 10 && lost > 0, "{accounted}, {lost}");
}

#[tokio::test]
async fn an_output_is_safe_at_start_follows_a_command_and_is_safe_at_the_end() {
    let mut bench = Bench::start(64, |file| plan(Vec::new(), vec![pump(None)], file));
    assert_eq!(bench.state().await, (OFF, StateCause::Start));
    assert_eq!(bench.order(true, None).await.unwrap(), Ok(Done { value: OutputValue::Switch(true), postponed: None }));
    assert_eq!(bench.state().await, (ON, StateCause::Command));
    bench.worker.ask_to_stop();
    assert_eq!(bench.state().await, (OFF, StateCause::Stop));
    assert_eq!(bench.worker.join(SOON).await, ThreadEnd::Orderly);
}

#[tokio::test]
async fn a_sensor_that_fails_goes_down_and_comes_back_while_others_go_on() {
    let both = |file: &Path| plan(vec![thermometer("tank"), counter("n", 10)], Vec::new(), file);
    let mut bench = Bench::start(ROOMY, both);
    let statuses = |wanted: SensorStatus| {
        move |event| match event {
            Event::Status { sensor, status, error, .. } if sensor.as_str() == "tank" && status == wanted => Some(error),
            _ => None,
        }
    };
    assert_eq!(bench.next(statuses(SensorStatus::Ok)).await, None);
    bench.write(r#"{"chips":{"0x49":{"fault":"nak"}}}"#);
    let (sensor, status, words) = bench.failed().await;
    assert!(sensor.as_str() == "tank" && words.contains("0x49"), "{sensor}: {words}");
    if status != SensorStatus::Down {
        bench.next(statuses(SensorStatus::Down)).await;
    }
    let before = bench.reading("n").await.seq;
    assert!(bench.reading("n").await.seq == before + 1);
    bench.write(r#"{"chips":{"0x49":{"fault":null}}}"#);
    bench.next(statuses(SensorStatus::Ok)).await;
}

#[tokio::test]
async fn a_bus_that_does_not_work_has_one_alarm_until_it_does() {
    let (mut air, tally) = thermometer("air");
    air.settings = settings(&[("address", Setting::Integer(0x48))]);
    let sensors = vec![thermometer("tank"), (air, tally)];
    let mut bench = Bench::start(1024, |file| plan(sensors, Vec::new(), file));
    bench.reading("tank").await;
    bench.reading("air").await;
    assert!(bench.alarms.list().is_empty());
    bench.write(r#"{"chips":{"0x48":{"fault":"time-out"},"0x49":{"fault":"time-out"}}}"#);
    // Each reports its status.
    let mut failed = std::collections::BTreeSet::new();
    while failed.len() < 2 {
        failed.insert(bench.failed().await.0);
    }
    let alarms = bench.alarms.list();
    assert_eq!(alarms.len(), 1, "{alarms:?}");
    assert!(alarms[&name("bench")].1.contains("timed out"), "{alarms:?}");
    bench.write(r#"{"chips":{"0x48":{"fault":"nak"},"0x49":{"fault":"nak"}}}"#);
    tokio::time::timeout(SOON, async {
        // Nobody answers, but the wires work.
        while !bench.alarms.list().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_replanned_worker_keeps_what_is_the_same_and_releases_what_is_gone() {
    let mut bench = Bench::start(ROOMY, |file| plan(vec![counter("n", 10)], vec![pump(None)], file));
    bench.state().await;
    bench.order(true, None).await.unwrap().unwrap();
    assert_eq!(bench.state().await, (ON, StateCause::Command));
    let tally = Arc::<Tally>::default();
    let file = bench.folder.path().join("bench.json");
    let next = plan(vec![(counter("m", 10).0, Arc::clone(&tally))], vec![pump(None)], &file);
    bench.worker.inbox.try_send(Order::Replan(next)).unwrap();
    assert_eq!(bench.reading("m").await.seq, 1);
    assert!(std::fs::read_to_string(&file).unwrap().contains("\"GPIO27\": 1"), "the output was left alone");
    bench.worker.inbox.try_send(Order::Replan(plan(Vec::new(), Vec::new(), &file))).unwrap();
    assert_eq!(bench.state().await, (OFF, StateCause::Stop));
    assert!(tally.taken.load(Ordering::Relaxed) >= 1);
}

const TEMPERATURE: Quantity = Quantity::new("temperature", "°C", 1);

/// Says what is no number, and panics every now and then.
struct Liar(u32);

impl Sensor for Liar {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        self.0 += 1;
        assert!(!self.0.is_multiple_of(3), "a defect");
        Ok(vec![TEMPERATURE.measured(if self.0.is_multiple_of(2) { f64::NAN } else { f64::INFINITY })])
    }
}

static LIAR: DriverSpec = DriverSpec {
    wrong: |_| None,
    role: Role::Sensor {
        measurements: |_| vec![TEMPERATURE],
        default_every: None,
        build: |_, _| Ok(Box::new(Liar(0))),
    },
    ..NOBODY
};

/// What the drivers of these tests have in common.
const NOBODY: DriverSpec = DriverSpec {
    name: "nobody",
    summary: "",
    page: "",
    bus: BusNeed::None,
    settings: &[],
    claims: |_| Vec::new(),
    wrong: |_| None,
    role: Role::Sensor {
        measurements: |_| vec![TEMPERATURE],
        default_every: None,
        build: |_, _| unreachable!("each has its own"),
    },
    example: "",
    identity: None,
    chip: None,
    proofs: &[],
};

#[tokio::test]
async fn what_is_no_number_is_never_a_reading_and_a_panic_harms_nobody_else() {
    let mut liar = counter("liar", 5);
    liar.0.driver = &LIAR;
    let mut bench = Bench::start(ROOMY, |file| plan(vec![liar, counter("n", 10)], Vec::new(), file));
    let (mut seq, mut words) = (0, Vec::<String>::new());
    let has_panicked = |words: &[String]| words.iter().any(|words| words.contains("the driver panicked: a defect"));
    // On a machine that held up its second sample, the liar waits nine times as long before the third, which panics.
    while seq < 30 || (seq < 10_000 && !has_panicked(&words)) {
        match bench.next(Some).await {
            Event::Reading { reading, .. } => {
                assert_eq!((reading.sensor.as_str(), reading.seq), ("n", seq + 1), "{reading:?}");
                seq = reading.seq;
            }
            Event::Status { sensor, error, .. } if sensor.as_str() == "liar" => words.extend(error),
            _ => {}
        }
    }
    assert!(words[0].contains("temperature is not a finite number"), "{words:?}");
    assert!(has_panicked(&words), "{words:?}");
}

/// Warms up for five samples, then counts.
struct Sleeper(u32);

impl Sensor for Sleeper {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        self.0 += 1;
        match self.0 {
            ..=5 => Err(DriverError::TooEarly("it warms up")),
            sample if sample.is_multiple_of(2) => Err(DriverError::TooEarly("nothing new")),
            sample => Ok(vec![TEMPERATURE.measured(f64::from(sample))]),
        }
    }
}

static SLEEPER: DriverSpec = DriverSpec {
    wrong: |_| None,
    role: Role::Sensor {
        measurements: |_| vec![TEMPERATURE],
        default_every: None,
        build: |_, _| Ok(Box::new(Sleeper(0))),
    },
    ..NOBODY
};

#[tokio::test]
async fn a_device_that_warms_up_is_not_built_again_and_well_between_its_results() {
    let mut sleeper = counter("sleeper", 5);
    sleeper.0.driver = &SLEEPER;
    let tally = Arc::clone(&sleeper.1);
    let mut bench = Bench::start(ROOMY, |file| plan(vec![sleeper], Vec::new(), file));
    let (mut readings, mut statuses) = (0, Vec::new());
    // A machine that is busy with other things may take too long for a period of 5 ms, which is said as well; the sensor is well when
    // that is over.
    let is_well = |statuses: &Vec<_>| statuses.last() == Some(&(SensorStatus::Ok, None));
    while readings < 5 || (readings < 1000 && !is_well(&statuses)) {
        match bench.next(Some).await {
            Event::Reading { .. } => readings += 1,
            Event::Status { status, error, .. } => statuses.push((status, error)),
            _ => {}
        }
    }
    let early = Some("it is too early: it warms up".to_owned());
    statuses.retain(|(_, error)| !error.as_deref().is_some_and(is_too_slow));
    statuses.dedup();
    assert_eq!(statuses, [(SensorStatus::Degraded, early), (SensorStatus::Ok, None)]);
    assert_eq!(tally.failed.load(Ordering::Relaxed), 0);
    assert!(tally.skipped.load(Ordering::Relaxed) >= 9);
}
