//! Sensors that have something to say at a time of their own, without being heard of before.

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::LazyLock;

use super::*;
use fieldgate_drivers as drivers;

/// Said by one that was asked for it.
const PATIENCE: Quantity = Quantity::new("patience", "", 0);

/// Has an event some time after each sample, which nothing but its own request brings to light.
struct Sleeper {
    due_at: Option<Duration>,
    asked_for_nothing: u32,
    fails: bool,
}

impl Sleeper {
    fn build(fails: bool) -> Box<dyn Sensor> {
        Box::new(Self { due_at: None, asked_for_nothing: 0, fails })
    }
}

impl Sensor for Sleeper {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        self.due_at = Some(clock::boottime() + Duration::from_millis(30));
        Ok(vec![TEMPERATURE.measured(0.0)])
    }

    fn take_events(&mut self) -> Result<Vec<drivers::Event>, DriverError> {
        if self.fails {
            return Err(DriverError::NotReady("the sleeper"));
        }
        let is_due = self.due_at.is_some_and(|at| at <= clock::boottime());
        self.asked_for_nothing += u32::from(!is_due);
        let measurements = vec![PATIENCE.measured(f64::from(self.asked_for_nothing))];
        Ok(if is_due && self.due_at.take().is_some() {
            vec![drivers::Event { at: None, measurements }]
        } else {
            vec![]
        })
    }

    fn due_in(&self) -> Option<Duration> {
        Some(self.due_at?.saturating_sub(clock::boottime()))
    }
}

/// Has one event behind its first sample, and nothing any more. It is of the time of the sample, so that the report postpones it however
/// late it is asked for.
#[derive(Default)]
struct Silent {
    said: u32,
    sampled_at: Duration,
}

impl Sensor for Silent {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        self.said += 1;
        self.sampled_at = clock::monotonic();
        if self.said == 1 { Ok(vec![TEMPERATURE.measured(0.0)]) } else { Err(DriverError::TooEarly("nothing new")) }
    }

    fn take_events(&mut self) -> Result<Vec<drivers::Event>, DriverError> {
        if self.said != 1 {
            return Ok(Vec::new());
        }
        self.said += 1;
        Ok(vec![drivers::Event { at: Some(self.sampled_at), measurements: vec![TEMPERATURE.measured(9.0)] }])
    }

    fn is_event_driven(&self) -> bool {
        true
    }

    fn due_in(&self) -> Option<Duration> {
        (self.said == 1).then_some(Duration::ZERO)
    }
}

const fn sleeper(build: drivers::BuildSensor) -> DriverSpec {
    DriverSpec { role: Role::Sensor { measurements: |_| vec![TEMPERATURE], default_every: None, build }, ..NOBODY }
}

static SLEEPER: DriverSpec = sleeper(|_, _| Ok(Sleeper::build(false)));
static FAILING: DriverSpec = sleeper(|_, _| Ok(Sleeper::build(true)));
static SILENT: DriverSpec = sleeper(|_, _| Ok(Box::new(Silent::default())));

#[tokio::test]
async fn a_sensor_whose_time_has_come_is_asked_then_and_not_before() {
    let mut sleeper = counter("sleeper", 3_600_000);
    sleeper.0.driver = &SLEEPER;
    let mut bench = Bench::start(64, |file| plan(vec![sleeper], Vec::new(), file));
    assert_eq!(bench.reading("sleeper").await.measurements, [TEMPERATURE.measured(0.0)]);
    assert_eq!(bench.reading("sleeper").await.measurements, [PATIENCE.measured(0.0)]);
}

#[tokio::test]
async fn one_that_fails_when_its_time_has_come_is_given_up_and_keeps_nobody_from_their_turn() {
    let mut failing = counter("failing", 3_600_000);
    failing.0.driver = &FAILING;
    let mut bench = Bench::start(ROOMY, |file| plan(vec![failing, counter("n", 10)], Vec::new(), file));
    let down = |event| match event {
        Event::Status { sensor, status: SensorStatus::Down, .. } => Some(sensor),
        _ => None,
    };
    assert_eq!(bench.next(down).await, name("failing"));
    let seq = bench.reading("n").await.seq;
    assert_eq!(bench.reading("n").await.seq, seq + 1);
}

#[tokio::test]
async fn one_that_has_nothing_when_a_postponed_change_may_be_reported_is_not_asked_again_at_once() {
    let (mut silent, tally) = counter("silent", 3_600_000);
    silent.driver = &SILENT;
    silent.report = Some(ReportSettings { min_interval: Duration::from_millis(100), ..ReportSettings::default() });
    let sensors = vec![(silent, Arc::clone(&tally)), counter("n", 10)];
    let mut bench = Bench::start(1024, |file| plan(sensors, Vec::new(), file));
    let skipped = || tally.skipped.load(Ordering::Relaxed);
    while skipped() == 0 {
        bench.reading("n").await;
    }
    for _ in 0..10 {
        bench.reading("n").await;
    }
    assert_eq!(skipped(), 1);
}

static PRESSED: AtomicBool = AtomicBool::new(false);

/// Is pressed without being heard.
struct Unheard;

impl Sensor for Unheard {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        Ok(vec![TEMPERATURE.measured(0.0)])
    }

    fn take_events(&mut self) -> Result<Vec<drivers::Event>, DriverError> {
        let pressed = PRESSED.swap(false, Ordering::SeqCst);
        let event = || drivers::Event { at: None, measurements: vec![TEMPERATURE.measured(9.0)] };
        Ok(pressed.then(event).into_iter().collect())
    }
}

static UNHEARD: DriverSpec = sleeper(|_, _| Ok(Box::new(Unheard)));

#[tokio::test]
async fn what_a_sensor_has_noticed_when_the_end_comes_is_still_a_reading() {
    let mut unheard = counter("unheard", 3_600_000);
    unheard.0.driver = &UNHEARD;
    let mut bench = Bench::start(64, |file| plan(vec![unheard], Vec::new(), file));
    bench.reading("unheard").await;
    PRESSED.store(true, Ordering::SeqCst);
    bench.worker.ask_to_stop();
    assert_eq!(bench.reading("unheard").await.measurements, [TEMPERATURE.measured(9.0)]);
}

/// Both ends of a line: a byte is a click.
static LINE: LazyLock<(UnixStream, UnixStream)> = LazyLock::new(|| UnixStream::pair().unwrap());

/// An event for each byte that waits.
fn clicks_on(line: &mut UnixStream) -> Vec<drivers::Event> {
    let count = line.read(&mut [0; 8]).unwrap_or(0);
    vec![drivers::Event { at: None, measurements: vec![TEMPERATURE.measured(1.0)] }; count]
}

struct Clicked(UnixStream);

impl Sensor for Clicked {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        Ok(vec![TEMPERATURE.measured(0.0)])
    }

    fn take_events(&mut self) -> Result<Vec<drivers::Event>, DriverError> {
        Ok(clicks_on(&mut self.0))
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }
}

static CLICKED: DriverSpec = sleeper(|_, _| {
    let line = LINE.1.try_clone().unwrap();
    line.set_nonblocking(true).unwrap();
    Ok(Box::new(Clicked(line)))
});

#[tokio::test]
async fn what_comes_by_a_descriptor_is_a_reading_long_before_the_sensor_is_due() {
    let mut clicked = counter("clicked", 3_600_000);
    clicked.0.driver = &CLICKED;
    let sensors = vec![counter("n", 3_600_000), clicked];
    let mut bench = Bench::start(64, |file| plan(sensors, Vec::new(), file));
    assert_eq!(bench.reading("clicked").await.measurements, [TEMPERATURE.measured(0.0)]);
    for seq in 2..5 {
        (&LINE.0).write_all(&[1]).unwrap();
        assert_eq!(bench.reading("clicked").await.seq, seq);
    }
}

/// A byte is a click of [`LATE`].
static LATE_LINE: LazyLock<(UnixStream, UnixStream)> = LazyLock::new(|| UnixStream::pair().unwrap());
static LATE_BUILT: AtomicUsize = AtomicUsize::new(0);

/// Fails when it is sampled, and hears its line.
struct Late(UnixStream);

impl Sensor for Late {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        Err(DriverError::NotReady("the sensor"))
    }

    fn take_events(&mut self) -> Result<Vec<drivers::Event>, DriverError> {
        Ok(clicks_on(&mut self.0))
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }
}

/// Cannot be built at first.
static LATE: DriverSpec = sleeper(|_, _| {
    if LATE_BUILT.fetch_add(1, Ordering::SeqCst) == 0 {
        return Err(DriverError::NotReady("the line"));
    }
    let line = LATE_LINE.1.try_clone().unwrap();
    line.set_nonblocking(true).unwrap();
    Ok(Box::new(Late(line)))
});

#[tokio::test]
async fn a_line_that_was_not_there_at_the_start_is_heard_as_soon_as_it_is_and_its_sensor_is_well() {
    let mut late = counter("late", 3_600_000);
    late.0.driver = &LATE;
    let mut bench = Bench::start(64, |file| plan(vec![late], Vec::new(), file));
    let failed = |event| matches!(event, Event::Status { status: SensorStatus::Degraded, .. }).then_some(());
    bench.next(failed).await;
    let (answer, sampled) = oneshot::channel();
    bench.worker.inbox.try_send(Order::Sample { sensor: name("late"), answer }).unwrap();
    assert!(sampled.await.unwrap().is_err(), "it is built, and cannot be sampled");
    (&LATE_LINE.0).write_all(&[1]).unwrap();
    let well = |event| matches!(event, Event::Status { status: SensorStatus::Ok, .. }).then_some(());
    bench.next(well).await;
    assert_eq!(bench.reading("late").await.measurements, [TEMPERATURE.measured(1.0)]);
}

#[tokio::test]
async fn who_asks_for_a_sample_gets_it_long_before_the_sensor_is_due() {
    let mut bench = Bench::start(64, |file| plan(vec![counter("n", 3_600_000)], Vec::new(), file));
    bench.reading("n").await;
    let (answer, sampled) = oneshot::channel();
    bench.worker.inbox.try_send(Order::Sample { sensor: name("n"), answer }).unwrap();
    tokio::time::timeout(SOON, sampled).await.expect("in time").unwrap().unwrap();
}

/// A thread that shows none for some seconds has stopped, and the watchdog ends the program.
#[tokio::test]
async fn a_thread_that_has_nothing_to_do_gives_signs_of_life() {
    let buses = vec![(Some(name("bench")), bus::Settings::Host)];
    let mut bench = Bench::start(64, |_| Plan { buses, sensors: Vec::new(), actuators: Vec::new() });
    bench.worker.begun().await;
    let mut turns = std::collections::BTreeSet::new();
    let life = async {
        while turns.len() < 3 {
            turns.insert(bench.worker.activity.last_turn());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(SOON, life).await.expect("it turns");
}
