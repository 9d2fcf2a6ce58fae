//! Sensors that count: where they go on, and what is kept at the end.

use super::*;

/// A sensor whose every sampling counts one.
struct Clicker(Option<Arc<Count>>);

impl Sensor for Clicker {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        self.0.as_ref().expect("it was given a counter").add(1);
        Ok(vec![TEMPERATURE.measured(1.0)])
    }

    fn count_into(&mut self, count: &Arc<Count>) -> bool {
        self.0 = Some(Arc::clone(count));
        true
    }
}

/// Two make one.
fn clicks() -> Quantity {
    let scale = CountScale { per_unit: 2.0, offset: 0.0 };
    Quantity { count_scale: Some(scale), ..Quantity::new("total", "", 1) }
}

static CLICKER: DriverSpec = DriverSpec {
    name: "clicker",
    wrong: |_| None,
    role: Role::Sensor {
        measurements: |_| vec![TEMPERATURE, clicks()],
        default_every: None,
        build: |_, _| Ok(Box::new(Clicker(None))),
    },
    ..LIAR
};

pub(super) fn clicker() -> (SensorSettings, Arc<Tally>) {
    let (mut clicks, tally) = counter("clicks", 20);
    clicks.driver = &CLICKER;
    (clicks, tally)
}

/// What came with a reading.
pub(super) fn count_of(event: Event) -> Option<Option<u64>> {
    match event {
        Event::Reading { count, .. } => Some(count),
        _ => None,
    }
}

#[tokio::test]
async fn a_count_goes_on_where_the_disk_says_as_soon_as_that_is_known() {
    let (clicks, tally) = clicker();
    let mut bench = Bench::start(ROOMY, |file| plan(vec![(clicks, tally)], Vec::new(), file));
    assert_eq!(bench.next(count_of).await, None);
    bench.know.send_replace(Some(Arc::new([(name("clicks"), 1000)].into())));
    let mut last = 0;
    while last < 1010 {
        let Some(count) = bench.next(count_of).await else { continue };
        assert!(count > 1000 && count > last, "{count} after {last}");
        last = count;
    }
}

#[tokio::test]
async fn what_was_counted_since_the_last_reading_is_reported_at_the_end() {
    let (clicks, tally) = clicker();
    let count = Arc::clone(&tally.count);
    let mut bench = Bench::start(1024, |file| plan(vec![(clicks, tally)], Vec::new(), file));
    bench.know.send_replace(Some(Arc::default()));
    while bench.next(count_of).await.is_none() {}
    // As a line would do.
    count.add(5);
    bench.worker.ask_to_stop();
    assert_eq!(bench.worker.join(SOON).await, ThreadEnd::Orderly);
    let mut last = None;
    while let Some(event) = bench.events.recv().await {
        match event {
            Event::Reading { count, .. } => last = count,
            Event::Count { count, .. } => last = Some(count),
            _ => {}
        }
        if last == count.total() {
            return;
        }
    }
    panic!("{last:?} was reported last, and {:?} counted", count.total());
}

#[tokio::test]
async fn what_was_counted_since_the_last_reading_is_reported_when_a_reload_removes_the_sensor() {
    let (mut clicks, tally) = clicker();
    clicks.every = Duration::from_secs(3600);
    let count = Arc::clone(&tally.count);
    let mut bench = Bench::start(64, |file| plan(vec![(clicks, tally)], Vec::new(), file));
    bench.know.send_replace(Some(Arc::default()));
    let (answer, sampled) = oneshot::channel();
    bench.worker.inbox.try_send(Order::Sample { sensor: name("clicks"), answer }).unwrap();
    sampled.await.unwrap().unwrap();
    while bench.next(count_of).await.is_none() {}
    // As a line would do.
    count.add(5);
    bench.worker.inbox.try_send(Order::Replan(plan(Vec::new(), Vec::new(), &bench.state_file()))).unwrap();
    let last = bench.next(|event| if let Event::Count { count, .. } = event { Some(count) } else { None }).await;
    assert_eq!(Some(last), count.total());
}

#[tokio::test]
async fn what_is_counted_is_kept_although_the_report_makes_no_reading_of_it() {
    let (mut clicks, tally) = clicker();
    let delta = vec![("temperature".into(), 1000.0)];
    clicks.report = Some(ReportSettings { delta, ..ReportSettings::default() });
    let mut bench = Bench::start(64, |file| plan(vec![(clicks, tally)], Vec::new(), file));
    bench.know.send_replace(Some(Arc::default()));
    let mut kept = Vec::new();
    while kept.len() < 3 {
        kept.push(bench.next(|event| if let Event::Count { count, .. } = event { Some(count) } else { None }).await);
    }
    assert!(kept.is_sorted_by(|one, next| one < next), "{kept:?}");
}
