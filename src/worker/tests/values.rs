//! What a sensor says, through filters and report, on a real thread: what comes out is what the pure parts make of the same story.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::*;
use fieldgate_drivers::partly::Partly;
use fieldgate_filters::{Aggregate, Parameter, Report, SensorFilters, Step, find};

const HUMIDITY: Quantity = Quantity::new("humidity", "%", 1);

/// How far each story has been read; a device that is built again goes on where the one before was.
static PLAYED: LazyLock<Mutex<HashMap<i64, usize>>> = LazyLock::new(Mutex::default);

/// Samplings in a story.
const LENGTH: usize = 150;

/// The story of this number: temperatures with spikes, a humidity that is missing now and then, and failures.
fn story(number: i64) -> Vec<Result<(f64, Option<f64>), ()>> {
    let mut random = fastrand::Rng::with_seed(number.unsigned_abs());
    let mut temperature = 20.0;
    let mut sample = || {
        temperature += f64::from(random.i32(-3..=3)) / 10.0;
        let spike = if random.u8(..) < 20 { 40.0 } else { 0.0 };
        let humidity = (random.u8(..) > 30).then(|| f64::from(random.i32(400..=500)) / 10.0);
        if random.u8(..) < 12 { Err(()) } else { Ok((temperature + spike, humidity)) }
    };
    (0..LENGTH).map(|_| sample()).collect()
}

/// Plays the story whose number stands in its settings.
struct Teller(i64);

impl Sensor for Teller {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        let mut played = PLAYED.lock().unwrap();
        let index = played.entry(self.0).or_default();
        let Some(sample) = story(self.0).get(*index).copied() else {
            return Err(DriverError::TooEarly("the story is over"));
        };
        *index += 1;
        match sample {
            Err(()) => Err(DriverError::NotReady("this chip")),
            Ok((temperature, Some(humidity))) => {
                Ok(vec![TEMPERATURE.measured(temperature), HUMIDITY.measured(humidity)])
            }
            Ok((temperature, None)) => Err(DriverError::Partly(Partly {
                measured: vec![TEMPERATURE.measured(temperature)],
                left_out: vec![("humidity".into(), DriverError::NotReady("this channel"))],
            })),
        }
    }
}

static STORY: DriverSpec = DriverSpec {
    wrong: |_| None,
    role: Role::Sensor {
        measurements: |_| vec![TEMPERATURE, HUMIDITY],
        default_every: None,
        build: |_, settings| Ok(Box::new(Teller(settings.integer("story")))),
    },
    ..NOBODY
};

fn step(filter: &str, parameter: Parameter) -> Step {
    Step::new(find(filter).unwrap(), parameter)
}

fn teller(number: i64, aggregate: &[Aggregate]) -> SensorSettings {
    let mut settings = counter("air", 1).0;
    settings.driver = &STORY;
    settings.settings = self::settings(&[("story", Setting::Integer(number))]);
    let range = Setting::List(vec![Setting::Number(0.0), Setting::Number(45.0)]);
    let temperature = vec![
        step("within", Parameter::Value(range)),
        step("median", Parameter::Value(Setting::Integer(3))),
        step("round", Parameter::Value(Setting::Number(0.1))),
    ];
    let humidity = vec![step("exponential_moving_average", Parameter::Value(Setting::Number(0.5)))];
    settings.filters = vec![
        MeasurementFilters { name: "temperature".into(), steps: temperature },
        MeasurementFilters { name: "humidity".into(), steps: humidity },
    ];
    settings.report = Some(ReportSettings {
        delta: vec![("temperature".into(), 0.5), ("humidity".into(), 3.0)],
        aggregate: aggregate.to_vec(),
        ..ReportSettings::default()
    });
    settings
}

/// What a reading says, and of how many samples.
type Said = (Vec<Measurement>, Option<u32>);

/// What the readings of a story say, and how many samples and values that filters took there are. No time matters here.
fn expected(settings: &SensorSettings, number: i64) -> (Vec<Said>, u64, u64) {
    let mut filters = SensorFilters::new(&settings.filters, &settings.measured());
    let mut report = Report::new(settings.report.clone().unwrap(), &settings.filtered());
    let (mut readings, mut samples, mut filtered) = (Vec::new(), 0, 0);
    for sample in story(number) {
        let Ok((temperature, humidity)) = sample else {
            filters.restart();
            report.restart();
            continue;
        };
        samples += 1;
        let mut sample = vec![TEMPERATURE.measured(temperature)];
        sample.extend(humidity.map(|humidity| HUMIDITY.measured(humidity)));
        filtered += filters.apply(&mut sample);
        if let (true, of) = report.take(Duration::ZERO, &mut sample) {
            readings.push((sample, of));
        }
    }
    (readings, samples, filtered)
}

#[tokio::test]
async fn readings_are_what_filters_and_report_make_of_the_samples() {
    let aggregates: [&[Aggregate]; 3] = [&[], &[Aggregate::Mean, Aggregate::Max], &[Aggregate::Last]];
    for (number, aggregate) in (1..).zip(aggregates.into_iter().cycle()).take(6) {
        let settings = teller(number, aggregate);
        let (readings, samples, filtered) = expected(&settings, number);
        assert!(readings.len() > 20 && readings.len() < LENGTH - 20 && filtered > 3, "story {number} shows little");
        let tally = Arc::<Tally>::default();
        let sensors = vec![(settings, Arc::clone(&tally))];
        let mut bench = Bench::start(1024, |file| plan(sensors, Vec::new(), file));
        for (seq, (measurements, of)) in (1..).zip(&readings) {
            let reading = bench.reading("air").await;
            assert_eq!(
                (reading.seq, &reading.measurements, reading.samples),
                (seq, measurements, *of),
                "story {number}"
            );
        }
        tokio::time::timeout(SOON, async {
            while PLAYED.lock().unwrap()[&number] < LENGTH || tally.skipped.load(Ordering::Relaxed) == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await
        .unwrap();
        bench.worker.ask_to_stop();
        assert_eq!(bench.worker.join(SOON).await, ThreadEnd::Orderly);
        let counted = [&tally.taken, &tally.samples, &tally.filtered].map(|count| count.load(Ordering::Relaxed));
        assert_eq!(counted, [readings.len() as u64, samples, filtered], "story {number}");
    }
}

#[tokio::test]
async fn a_measurement_whose_filters_leave_nothing_is_named_by_the_status() {
    let mut settings = counter("n", 1).0;
    let range = Setting::List(vec![Setting::Number(-2.0), Setting::Number(-1.0)]);
    let steps = vec![step("within", Parameter::Value(range))];
    settings.filters = vec![MeasurementFilters { name: "value".into(), steps }];
    let mut bench = Bench::start(64, |file| plan(vec![(settings, Arc::default())], Vec::new(), file));
    let words = bench
        .next(|event| match event {
            Event::Status { status: SensorStatus::Degraded, error, .. } => error,
            Event::Reading { reading, .. } => panic!("nothing is left for {reading:?}"),
            _ => None,
        })
        .await;
    assert_eq!(words, "value: its filters have dropped at least the last three values");
}

#[tokio::test]
async fn a_reload_keeps_windows_of_the_same_filters_and_empties_others() {
    let average = |size| {
        let (mut settings, tally) = counter("n", 20);
        let steps = vec![step("minimum", Parameter::Value(Setting::Integer(size)))];
        settings.filters = vec![MeasurementFilters { name: "value".into(), steps }];
        (settings, tally)
    };
    let first = average(1000);
    let tally = Arc::clone(&first.1);
    let mut bench = Bench::start(1024, |file| plan(vec![first], Vec::new(), file));
    bench.reading("n").await;
    let file = bench.folder.path().join("bench.json");
    let smallest = |reading: &Reading| match reading.measurements[0].value {
        Value::Number { value, .. } => value,
        Value::Flag(_) | Value::Word(_) => panic!("a number"),
    };
    let replan =
        |size| Order::Replan(plan(vec![(average(size).0, Arc::clone(&tally)), counter("m", 20)], Vec::new(), &file));
    bench.worker.inbox.try_send(replan(1000)).unwrap();
    bench.reading("m").await;
    assert_eq!(smallest(&bench.reading("n").await), 1.0, "the window goes on");
    bench.worker.inbox.try_send(replan(999)).unwrap();
    let begun = tokio::time::timeout(SOON, async {
        loop {
            let value = smallest(&bench.reading("n").await);
            if value > 1.0 {
                return value;
            }
        }
    });
    assert!(begun.await.expect("another window begins again") > 1.0);
}

/// Its temperature is always beyond its range, its humidity after a few samples.
struct Drying(u32);

impl Sensor for Drying {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        self.0 += 1;
        Ok(vec![TEMPERATURE.measured(100.0), HUMIDITY.measured(if self.0 < 6 { 30.0 } else { 100.0 })])
    }
}

static DRYING: DriverSpec = DriverSpec {
    role: Role::Sensor {
        measurements: |_| vec![TEMPERATURE, HUMIDITY],
        default_every: None,
        build: |_, _| Ok(Box::new(Drying(0))),
    },
    ..NOBODY
};

#[tokio::test]
async fn a_second_measurement_whose_filters_leave_nothing_is_named_when_it_joins_the_first() {
    let mut settings = counter("n", 10).0;
    settings.driver = &DRYING;
    let range = || Setting::List(vec![Setting::Number(0.0), Setting::Number(45.0)]);
    let within = |name: &'static str| {
        let steps = vec![step("within", Parameter::Value(range()))];
        MeasurementFilters { name: name.into(), steps }
    };
    settings.filters = vec![within("temperature"), within("humidity")];
    let mut bench = Bench::start(1024, |file| plan(vec![(settings, Arc::default())], Vec::new(), file));
    let why = "its filters have dropped at least the last three values";
    let mut all = Vec::new();
    while all.len() < 2 {
        let words = bench.next(|event| match event {
            Event::Status { status: SensorStatus::Degraded, error, .. } => error,
            _ => None,
        });
        all.push(words.await);
        // What takes a second is followed by the status once more.
        all.dedup();
    }
    assert_eq!(all, [format!("temperature: {why}"), format!("temperature: {why}; humidity: {why}")]);
}

/// One channel is missing, then the other, then none.
struct Holes(u32);

impl Sensor for Holes {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        self.0 += 1;
        let (there, missing) = match self.0 {
            ..6 => (TEMPERATURE, "humidity"),
            6..11 => (HUMIDITY, "temperature"),
            _ => return Ok(vec![TEMPERATURE.measured(1.0), HUMIDITY.measured(1.0)]),
        };
        let left_out = vec![(missing.into(), DriverError::NotReady("this channel"))];
        Err(DriverError::Partly(Partly { measured: vec![there.measured(1.0)], left_out }))
    }
}

static HOLES: DriverSpec = DriverSpec {
    role: Role::Sensor {
        measurements: |_| vec![TEMPERATURE, HUMIDITY],
        default_every: None,
        build: |_, _| Ok(Box::new(Holes(0))),
    },
    ..NOBODY
};

#[tokio::test]
async fn a_status_says_which_measurements_are_left_out_and_again_when_these_are_others() {
    let mut holes = counter("holes", 10);
    holes.0.driver = &HOLES;
    let mut bench = Bench::start(ROOMY, |file| plan(vec![holes], Vec::new(), file));
    let mut all = Vec::new();
    while !matches!(all.last(), Some((SensorStatus::Ok, _))) {
        let status = bench.next(|event| match event {
            Event::Status { status, error, .. } => Some((status, error)),
            _ => None,
        });
        let status = status.await;
        // A machine that is busy with other things may take too long for the period, which is said as well.
        if status.1.as_deref().is_some_and(is_too_slow) {
            continue;
        }
        all.push(status);
        // What takes a second is followed by the status once more.
        all.dedup();
    }
    let expected =
        |missing: &str| (SensorStatus::Degraded, Some(format!("without {missing}: this channel is not ready")));
    assert_eq!(all, [expected("humidity"), expected("temperature"), (SensorStatus::Ok, None)]);
}
