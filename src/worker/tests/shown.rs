//! What a sensor's settings say, and what a thread shows to the rest of the program.

use super::*;

#[test]
fn the_quantities_of_a_sensor_are_those_that_its_driver_measures() {
    let quantities = thermometer("tank").0.quantities();
    assert_eq!(quantities.iter().map(|of| (&*of.name, &*of.unit)).collect::<Vec<_>>(), [("temperature", "°C")]);
}

#[test]
fn a_tally_says_the_status_that_was_recorded_last() {
    let tally = Tally::default();
    for status in [SensorStatus::Degraded, SensorStatus::Down, SensorStatus::Ok] {
        tally.set_status(status);
        assert_eq!(tally.status(), status);
    }
}

/// The stop waits longer for a thread that has some.
#[tokio::test]
async fn a_thread_has_outputs_as_long_as_its_plan_has() {
    let mut bench = Bench::start(64, |file| plan(vec![counter("n", 10)], vec![pump(None)], file));
    bench.worker.begun().await;
    assert!(bench.worker.progress.has_outputs());
    let next = plan(vec![counter("m", 10)], Vec::new(), &bench.folder.path().join("bench.json"));
    bench.worker.inbox.offer(Order::Replan(next)).unwrap();
    bench.reading("m").await;
    assert!(!bench.worker.progress.has_outputs());
}

#[tokio::test]
async fn a_silent_broker_is_counted_as_a_trip() {
    let limit = Duration::from_millis(50);
    let mut bench = Bench::start(64, |file| plan(Vec::new(), vec![pump(Some(limit))], file));
    bench.state().await;
    bench.heartbeat.beat();
    bench.order(true, None);
    while bench.state().await.1 != StateCause::SafeState {}
    let trips = bench.trips.clone();
    bench.worker.ask_to_stop();
    assert!(bench.worker.join(SOON).await);
    assert_eq!(trips.of(&name("pump")), 1);
}

#[tokio::test]
async fn what_was_asked_for_and_the_stop_are_no_trips() {
    let mut bench = Bench::start(64, |file| plan(Vec::new(), vec![pump(None)], file));
    bench.state().await;
    bench.order(true, Some(Duration::from_millis(10)));
    while bench.state().await.1 != StateCause::For {}
    bench.order(true, None).await.unwrap().unwrap();
    let trips = bench.trips.clone();
    bench.worker.ask_to_stop();
    while bench.state().await.1 != StateCause::Stop {}
    assert!(bench.worker.join(SOON).await);
    assert_eq!(trips.of(&name("pump")), 0);
}
