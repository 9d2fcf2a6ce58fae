//! Buses with too much to do, and lines that change hands.

use super::*;

/// Blocks the bus for a while in each of its first samplings.
struct Slow(u32);

impl Sensor for Slow {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        self.0 += 1;
        if self.0 <= 8 {
            #[expect(clippy::disallowed_methods, reason = "it stands for a chip that takes its time")]
            std::thread::sleep(Duration::from_millis(160));
        }
        Ok(vec![TEMPERATURE.measured(f64::from(self.0))])
    }
}

static SLOW: DriverSpec = DriverSpec {
    wrong: |_| None,
    role: Role::Sensor {
        measurements: |_| vec![TEMPERATURE],
        default_every: None,
        build: |_, _| Ok(Box::new(Slow(0))),
    },
    ..NOBODY
};

#[tokio::test]
async fn a_bus_that_skips_half_of_its_samplings_is_degraded_with_figures_until_it_keeps_up() {
    let mut slow = counter("slow", 50);
    slow.0.driver = &SLOW;
    let tally = Arc::clone(&slow.1);
    let mut bench = Bench::start(1024, |file| plan(vec![slow], Vec::new(), file));
    let mut statuses = Vec::new();
    while statuses.len() < 3 {
        // What takes a second is followed by the status once more.
        if let Event::Status { status, error, .. } = bench.next(Some).await
            && statuses.last().is_none_or(|(last, _)| *last != status)
        {
            statuses.push((status, error));
        }
    }
    assert_eq!(statuses[0], (SensorStatus::Ok, None));
    let (status, words) = &statuses[1];
    let words = words.as_ref().unwrap();
    assert_eq!(*status, SensorStatus::Degraded);
    assert!(words.starts_with("the bus is too slow for its sensors: every 50ms asked for "), "{words}");
    assert!(words.ends_with(" samplings lately, 5 were managed"), "{words}");
    assert_eq!(statuses[2], (SensorStatus::Ok, None), "and well again when it keeps up");
    // As many as were managed, for it was half at most.
    assert!(tally.skipped.load(Ordering::Relaxed) >= 5);
}

#[tokio::test]
async fn a_thousand_sensors_of_one_bus_all_arrive_in_turn() {
    let sensors = (0..1000).map(|number| counter(&format!("n{number}"), 1000)).collect();
    let mut bench = Bench::start(ROOMY, |file| plan(sensors, Vec::new(), file));
    // Where the readings of each stand among all.
    let mut seen = std::collections::BTreeMap::<Name, Vec<usize>>::new();
    let mut place = 0;
    while seen.len() < 1000 || seen.values().any(|places| places.len() < 3) {
        let Event::Reading { reading, .. } = bench.next(Some).await else { continue };
        place += 1;
        let places = seen.entry(reading.sensor.clone()).or_default();
        places.push(place);
        assert_eq!(reading.seq, places.len() as u64);
        // Ticks may be missed, by one more often than by another, but between three readings of one each other has its turn.
        let Some(before) = places.iter().rev().nth(2).copied() else { continue };
        let is_in_turn = seen.len() == 1000 && seen.values().all(|places| places.last() > Some(&before));
        assert!(is_in_turn, "{} is at {}, and another had none meanwhile", reading.sensor, reading.seq);
    }
}

#[tokio::test]
async fn a_line_that_goes_from_a_sensor_to_an_output_is_let_go_first() {
    let mut bench = Bench::start(64, |file| plan(vec![button("GPIO27", 10)], Vec::new(), file));
    bench.reading("button").await;
    let file = bench.folder.path().join("bench.json");
    let next = plan(vec![counter("button", 10)], vec![pump(None)], &file);
    bench.worker.inbox.try_send(Order::Replan(next)).unwrap();
    assert_eq!(bench.state().await, (OFF, StateCause::Start), "at once, and without a complaint before");
}
