//! The end of a thread: between the two orders of a reload, beside a recorder that takes nothing, and with outputs that wait for
//! others or fail slowly.

use super::counting::clicker;
use super::*;
use crate::worker::backoff::QUICK;
use fieldgate_bus::Claim;
use fieldgate_drivers::Actuator;
use fieldgate_safety::Pair;

/// How often each of [`GREETINGS`] was asked for events, which nobody does before the end.
static ASKED: [AtomicUsize; 3] = [const { AtomicUsize::new(0) }; 3];

/// Says when the thread has made its outputs safe and passes on what is left.
struct Greeting(usize);

impl Sensor for Greeting {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        Ok(vec![TEMPERATURE.measured(0.0)])
    }

    fn take_events(&mut self) -> Result<Vec<drivers::Event>, DriverError> {
        ASKED[self.0].fetch_add(1, Ordering::SeqCst);
        Ok(Vec::new())
    }
}

const fn greeting(build: drivers::BuildSensor) -> DriverSpec {
    DriverSpec { role: Role::Sensor { measurements: |_| vec![TEMPERATURE], default_every: None, build }, ..NOBODY }
}

static GREETINGS: [DriverSpec; 3] = [
    greeting(|_, _| Ok(Box::new(Greeting(0)))),
    greeting(|_, _| Ok(Box::new(Greeting(1)))),
    greeting(|_, _| Ok(Box::new(Greeting(2)))),
];

fn greets(story: usize, every_ms: u64) -> (SensorSettings, Arc<Tally>) {
    let (mut sensor, tally) = counter("n", every_ms);
    sensor.driver = &GREETINGS[story];
    (sensor, tally)
}

/// Asks the thread to stop while nobody takes anything, and returns when it has begun to pass on what is left, and has found no
/// room for it.
async fn stop_without_room(bench: &Bench, story: usize) {
    bench.worker.ask_to_stop();
    let asked = async {
        while ASKED[story].load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(SOON, asked).await.expect("the end");
    // Where this is too short the test sees less, and passes.
    tokio::time::sleep(Duration::from_millis(5)).await;
}

/// What comes until the thread has ended.
async fn rest_of(bench: &mut Bench) -> Vec<Event> {
    let mut all = Vec::new();
    let to_the_end = async {
        while let Some(event) = bench.events.recv().await {
            all.push(event);
        }
    };
    tokio::time::timeout(SOON, to_the_end).await.expect("the end");
    all
}

/// The last number of the readings that came or were reported as lost, without a hole.
fn accounted(events: &[Event]) -> u64 {
    events.iter().fold(0, |last, event| match event {
        Event::Reading { reading, .. } => {
            assert_eq!(reading.seq, last + 1);
            reading.seq
        }
        Event::Lost(loss) => {
            assert_eq!(loss.from_seq, last + 1);
            loss.to_seq
        }
        _ => last,
    })
}

async fn until_taken(tally: &Tally, readings: u64) {
    while tally.taken.load(Ordering::Relaxed) < readings {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn readings_that_were_lost_are_reported_at_the_end_as_soon_as_there_is_room() {
    let (sensor, tally) = greets(0, 20);
    let mut bench = Bench::start(2, |file| plan(vec![(sensor, Arc::clone(&tally))], Vec::new(), file));
    until_taken(&tally, 10).await;
    stop_without_room(&bench, 0).await;
    let events = rest_of(&mut bench).await;
    assert_eq!(accounted(&events), tally.taken.load(Ordering::Relaxed));
}

/// Fills the channel, so that nothing more fits.
async fn fill(bench: &Bench) {
    while bench.events.capacity() > 0 {
        sample(bench, "n").await;
    }
}

async fn sample(bench: &Bench, sensor: &str) {
    let (answer, sampled) = oneshot::channel();
    bench.worker.inbox.try_send(Order::Sample { sensor: name(sensor), answer }).unwrap();
    sampled.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_count_that_had_no_room_is_reported_at_the_end_as_soon_as_there_is_some() {
    let (mut clicks, tally) = clicker();
    clicks.every = Duration::from_secs(3600);
    let delta = vec![("temperature".into(), 1000.0)];
    clicks.report = Some(ReportSettings { delta, ..ReportSettings::default() });
    let count = Arc::clone(&tally.count);
    let sensors = vec![(clicks, tally), greets(1, 3_600_000)];
    let mut bench = Bench::start(16, |file| plan(sensors, Vec::new(), file));
    bench.know.send_replace(Some(Arc::default()));
    sample(&bench, "clicks").await;
    fill(&bench).await;
    // Its report makes no further reading of it.
    sample(&bench, "clicks").await;
    stop_without_room(&bench, 1).await;
    let events = rest_of(&mut bench).await;
    let kept = events.iter().rev().find_map(|event| match event {
        Event::Count { count, .. } => Some(*count),
        Event::Reading { count, .. } => *count,
        _ => None,
    });
    assert_eq!(kept, count.total());
}

#[tokio::test]
async fn a_state_that_had_no_room_is_reported_at_the_end_as_soon_as_there_is_some() {
    let mut bench = Bench::start(16, |file| plan(vec![greets(2, 3_600_000)], vec![pump(None)], file));
    bench.order(true, None).await.unwrap().unwrap();
    fill(&bench).await;
    stop_without_room(&bench, 2).await;
    let events = rest_of(&mut bench).await;
    let state = events.iter().rev().find_map(|event| match event {
        Event::State { value, cause, .. } => Some((*value, *cause)),
        _ => None,
    });
    assert_eq!(state, Some((OFF, StateCause::Stop)));
}

/// Its device was dropped because the plan that never came has another one.
#[tokio::test]
async fn readings_that_were_lost_are_reported_by_an_end_between_the_two_orders_of_a_reload() {
    let (before, tally) = counter("n", 2);
    let mut after = before.clone();
    after.settings.insert("amplitude", Setting::Number(2.0));
    let mut bench = Bench::start(2, |file| plan(vec![(before, Arc::clone(&tally))], Vec::new(), file));
    until_taken(&tally, 10).await;
    bench.release(plan(vec![(after, Arc::clone(&tally))], Vec::new(), &bench.state_file())).await;
    bench.worker.ask_to_stop();
    let events = rest_of(&mut bench).await;
    assert_eq!(accounted(&events), tally.taken.load(Ordering::Relaxed));
}

/// Its partner is off at once, and has rested long before the time for waiting is over.
#[tokio::test]
async fn an_output_that_is_on_when_safe_follows_at_the_end_when_its_partner_has_rested() {
    let mains = ActuatorSettings {
        name: name("mains"),
        limits: Limits::new(Action::Set(OutputValue::Switch(true)), None),
        settings: settings(&[("line", Setting::Text("GPIO5".into())), ("active_low", Setting::Flag(false))]),
        ..pump(None)
    };
    let interlocks = SharedInterlocks::default();
    let dead_time = Duration::from_millis(100);
    let pair = Pair { one: name("pump"), other: name("mains"), dead_time };
    interlocks.arrange(vec![pair], [name("pump"), name("mains")].into_iter());
    let mut bench = Bench::start_in(interlocks, 64, |file| plan(Vec::new(), vec![mains, pump(None)], file));
    let (answer, applied) = oneshot::channel();
    let action = Action::Set(OutputValue::Switch(false));
    bench.worker.inbox.try_send(Order::Apply { actuator: name("mains"), action, lease: None, answer }).unwrap();
    applied.await.unwrap().unwrap();
    // It waits until the other has rested.
    while !matches!(bench.order(true, None).await, Ok(Ok(_))) {}
    bench.worker.ask_to_stop();
    let events = rest_of(&mut bench).await;
    let last = |called: &str| {
        events.iter().rev().find_map(|event| match event {
            Event::State { actuator, value, .. } if actuator.as_str() == called => Some(*value),
            _ => None,
        })
    };
    assert_eq!((last("pump"), last("mains")), (Some(OFF), Some(ON)));
}

/// Fails slowly whatever it is to do.
struct Hopeless;

impl Actuator for Hopeless {
    fn apply(&mut self, _: OutputValue) -> Result<(), DriverError> {
        #[expect(clippy::disallowed_methods, reason = "a bus thread may block")]
        std::thread::sleep(QUICK * 2);
        Err(DriverError::NotReady("the output"))
    }

    fn read_back(&mut self) -> Result<Option<OutputValue>, DriverError> {
        Ok(None)
    }
}

static HOPELESS: DriverSpec = DriverSpec {
    claims: |_| vec![Claim::Address(0x20)],
    role: Role::Actuator {
        kind: |_| OutputKind::Switch,
        pace: |_| Pace::AtOnce,
        build: |_, _, _| Ok(Box::new(Hopeless)),
    },
    ..NOBODY
};

#[tokio::test]
async fn an_output_that_is_given_up_when_it_leaves_the_configuration_does_not_keep_its_partner_off() {
    let hopeless = |called| ActuatorSettings { name: name(called), driver: &HOPELESS, ..pump(None) };
    let (interlocks, pump) = (SharedInterlocks::default(), pump(None));
    let pairs = ["one", "two"].map(|other| Pair { one: name("pump"), other: name(other), dead_time: Duration::ZERO });
    interlocks.arrange(pairs.into(), ["pump", "one", "two"].into_iter().map(name));
    let outputs = vec![pump.clone(), hopeless("one"), hopeless("two")];
    let bench = Bench::start_in(interlocks.clone(), 64, |file| plan(Vec::new(), outputs, file));
    assert!(bench.order(true, None).await.unwrap().is_err(), "the others may be on");
    interlocks.arrange(Vec::new(), [name("pump")]);
    // The second is given up when the first has failed.
    bench.release(plan(Vec::new(), vec![pump], &bench.state_file())).await;
    assert_eq!(bench.order(true, None).await.unwrap(), Ok(Done { value: OutputValue::Switch(true), postponed: None }));
}
