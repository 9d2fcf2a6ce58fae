//! Sensors that have something to say at a time of their own, without being heard of before.

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

/// Has one event some time after its first sample, and nothing any more.
#[derive(Default)]
struct Silent {
    said: u32,
}

impl Sensor for Silent {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        self.said += 1;
        if self.said == 1 { Ok(vec![TEMPERATURE.measured(0.0)]) } else { Err(DriverError::TooEarly("nothing new")) }
    }

    fn take_events(&mut self) -> Result<Vec<drivers::Event>, DriverError> {
        if self.said != 1 {
            return Ok(Vec::new());
        }
        self.said += 1;
        Ok(vec![drivers::Event { at: None, measurements: vec![TEMPERATURE.measured(9.0)] }])
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
    let mut bench = Bench::start(1024, |file| plan(vec![failing, counter("n", 10)], Vec::new(), file));
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
