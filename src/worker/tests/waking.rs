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

const fn sleeper(build: drivers::BuildSensor) -> DriverSpec {
    DriverSpec { role: Role::Sensor { measurements: |_| vec![TEMPERATURE], default_every: None, build }, ..NOBODY }
}

static SLEEPER: DriverSpec = sleeper(|_, _| Ok(Sleeper::build(false)));
static FAILING: DriverSpec = sleeper(|_, _| Ok(Sleeper::build(true)));

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
