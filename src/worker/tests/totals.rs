//! Totals that are set while pulses come.

use super::counting::{clicker, count_of};
use super::*;
use fieldgate_model::Reason;

type Answer = oneshot::Receiver<Result<TotalSet, Refusal>>;

fn set(bench: &Bench, sensor: &str, total: f64, counted: u64) -> Answer {
    let (answer, answered) = oneshot::channel();
    let order = Order::SetTotal { sensor: name(sensor), total, counted, answer };
    bench.worker.inbox.try_send(order).unwrap();
    answered
}

/// A worker with a sensor that counts once at each sampling, and what it counts into.
fn clicking(every_ms: u64, capacity: usize) -> (Bench, Arc<Count>) {
    let (mut clicks, tally) = clicker();
    clicks.every = Duration::from_millis(every_ms);
    let count = Arc::clone(&tally.count);
    let sensors = vec![(clicks, tally), counter("n", 10)];
    (Bench::start(capacity, |file| plan(sensors, Vec::new(), file)), count)
}

/// Its total is what it has counted. Both are read when no pulse comes between any more.
async fn check_that_nothing_was_set(bench: Bench, count: &Count) {
    bench.worker.ask_to_stop();
    assert_eq!(bench.worker.join(SOON).await, ThreadEnd::Orderly);
    assert_eq!(count.total(), Some(count.counted()));
}

#[tokio::test]
async fn no_pulse_is_lost_or_counted_twice_however_often_the_total_is_set_while_they_come() {
    let (mut bench, count) = clicking(1, ROOMY);
    bench.know.send_replace(Some(Arc::new([(name("clicks"), 1000)].into())));
    while bench.next(count_of).await.is_none() {}
    let mut chance = fastrand::Rng::with_seed(7);
    for _ in 0..50 {
        let total = f64::from(chance.u32(0..10_000)) / 2.0;
        let moment = count.counted();
        // Until the order is taken, pulses may come.
        let answer = set(&bench, "clicks", total, moment);
        let mut before = moment;
        let (kept, saved) = bench
            .next(|event| match event {
                Event::Reading { reading, .. } if reading.sensor.as_str() == "clicks" => {
                    // The number of a reading is that of the pulse that it counted.
                    before = reading.seq;
                    None
                }
                Event::CountSet { count, saved, .. } => Some((count, saved)),
                _ => None,
            })
            .await;
        let wanted = (total * 2.0) as u64;
        assert_eq!(kept, wanted + before.saturating_sub(moment), "set to {total} when {moment} were counted");
        let set = answer.await.unwrap().unwrap();
        assert_eq!(set.value, Value::Number { value: kept as f64 / 2.0, decimals: 1 });
        saved.send(Ok(())).unwrap();
        assert_eq!(set.saved.await, Ok(Ok(())), "who asked hears of the disk");
        let (seq, counted) = bench
            .next(|event| match event {
                Event::Reading { reading, count, .. } if reading.sensor.as_str() == "clicks" => {
                    Some((reading.seq, count))
                }
                _ => None,
            })
            .await;
        assert_eq!(counted, Some(wanted + seq - moment));
    }
}

#[tokio::test]
async fn a_total_that_cannot_be_set_stays_and_the_refusal_says_why() {
    let (mut bench, count) = clicking(20, 1024);
    assert_eq!(bench.next(count_of).await, None);
    let refused = async |bench: &Bench, sensor, total| {
        let refusal = set(bench, sensor, total, 0).await.unwrap().unwrap_err();
        (refusal.reason, refusal.words)
    };
    let words = "there is no total yet, because the spool has had no disk since the start";
    assert_eq!(refused(&bench, "clicks", 5.0).await, (Reason::Hardware, words.to_owned()));
    bench.know.send_replace(Some(Arc::default()));
    while bench.next(count_of).await.is_none() {}
    assert_eq!(refused(&bench, "clicks", -5.0).await, (Reason::OutOfRange, "-5 is less than 0".to_owned()));
    assert_eq!(refused(&bench, "n", 5.0).await, (Reason::Unknown, "n is no sensor that counts".to_owned()));
    assert!(set(&bench, "ghost", 5.0, 0).await.is_err(), "nobody is there to answer");
    check_that_nothing_was_set(bench, &count).await;
}

#[tokio::test]
async fn when_the_spool_takes_nothing_a_total_is_not_set_either() {
    let (bench, count) = clicking(1, 1);
    bench.know.send_replace(Some(Arc::default()));
    // One event is in the channel, and nobody takes it.
    while bench.events.is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let refusal = set(&bench, "clicks", 5.0, 0).await.unwrap().unwrap_err();
    assert_eq!(refusal.to_string(), "busy: the spool has not taken the readings before it");
    check_that_nothing_was_set(bench, &count).await;
}

#[tokio::test]
async fn a_sensor_whose_device_is_not_there_can_be_set_too() {
    let (mut meter, tally) = clicker();
    meter.driver = drivers::find("pulse-counter").unwrap();
    meter.bus = Some(name("bench"));
    meter.every = Duration::from_secs(3600);
    meter.settings = settings(&[
        ("line", Setting::Text("nowhere".into())),
        ("active_low", Setting::Flag(false)),
        ("bias", Setting::Text("as-is".into())),
        ("debounce", Setting::Duration(Duration::ZERO)),
        ("edge", Setting::Text("rising".into())),
        ("pulses_per_unit", Setting::Number(100.0)),
        ("unit", Setting::Text("m³".into())),
        ("per", Setting::Text("h".into())),
        ("offset", Setting::Number(10.0)),
    ]);
    let count = Arc::clone(&tally.count);
    let mut bench = Bench::start(1024, |file| plan(vec![(meter, tally)], Vec::new(), file));
    bench.know.send_replace(Some(Arc::new([(name("clicks"), 1000)].into())));
    let set = set(&bench, "clicks", 1234.564, 0).await.unwrap().unwrap();
    assert_eq!(set.value, Value::Number { value: 1234.56, decimals: 2 }, "rounded to a pulse");
    let kept = bench.next(|event| if let Event::CountSet { count, .. } = event { Some(count) } else { None }).await;
    assert_eq!((kept, count.total()), (122_456, Some(122_456)));
}
