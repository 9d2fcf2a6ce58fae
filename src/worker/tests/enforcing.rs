//! What outputs do by themselves: when, all of them, and not before an order if one fails slowly.

use super::*;
use fieldgate_drivers::Actuator;

/// Longer than a quick transfer, and soon over.
const LEASE: Duration = Duration::from_millis(50);

/// Transfers that wait until a test lets them pass.
struct Door {
    came: AtomicUsize,
    may_pass: AtomicUsize,
}

/// One for each story.
static DOORS: [Door; 3] = [Door::new(), Door::new(), Door::new()];

impl Door {
    const fn new() -> Self {
        Self { came: AtomicUsize::new(0), may_pass: AtomicUsize::new(0) }
    }

    /// On the thread of the bus. Not for ever, so that a test that has failed comes to its end.
    fn pass(&self) {
        let (ticket, came) = (self.came.fetch_add(1, Ordering::SeqCst), clock::boottime());
        while self.may_pass.load(Ordering::SeqCst) <= ticket && clock::boottime() - came < 2 * SOON {
            #[expect(clippy::disallowed_methods, reason = "a bus thread may block")]
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Until the nth transfer waits, which all that were before have passed.
    async fn wait(&self, nth: usize) {
        let came = async {
            while self.came.load(Ordering::SeqCst) < nth {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(SOON, came).await.expect("the transfer begins");
    }

    fn let_pass(&self, nth: usize) {
        self.may_pass.store(nth, Ordering::SeqCst);
    }
}

/// An output whose transfers to or from on take the door.
struct Heavy {
    story: usize,
    is_on: bool,
    /// It is slow when it goes on, and otherwise when it goes off.
    waits_on: bool,
}

impl Actuator for Heavy {
    fn apply(&mut self, value: OutputValue) -> Result<(), DriverError> {
        let on = value == OutputValue::Switch(true);
        let moves = std::mem::replace(&mut self.is_on, on) != on;
        if moves && on == self.waits_on {
            DOORS[self.story].pass();
            if !on && self.story == 0 {
                return Err(DriverError::NotReady("the output"));
            }
        }
        Ok(())
    }

    fn read_back(&mut self) -> Result<Option<OutputValue>, DriverError> {
        Ok(Some(OutputValue::Switch(self.is_on)))
    }
}

static HEAVY: DriverSpec = DriverSpec {
    wrong: |_| None,
    role: Role::Actuator {
        kind: |_| OutputKind::Switch,
        pace: |_| Pace::AtOnce,
        build: |_, settings, _| {
            let story = usize::try_from(settings.integer("story")).unwrap();
            Ok(Box::new(Heavy { story, is_on: false, waits_on: settings.flag("waits_on") }))
        },
    },
    ..NOBODY
};

fn heavy(story: i64, called: &str, waits_on: bool) -> ActuatorSettings {
    let settings = settings(&[("story", Setting::Integer(story)), ("waits_on", Setting::Flag(waits_on))]);
    ActuatorSettings { name: name(called), driver: &HEAVY, settings, ..pump(None) }
}

fn switch_on(bench: &Bench, actuator: &str, lease: Option<Duration>) -> oneshot::Receiver<Applied> {
    let (answer, applied) = oneshot::channel();
    let action = Action::Set(OutputValue::Switch(true));
    bench.worker.inbox.try_send(Order::Apply { actuator: name(actuator), action, lease, answer }).unwrap();
    applied
}

/// A worker in the transfer of the first of two outputs whose leases have both ended, and the answer to an order that came
/// meanwhile. The transfer will have taken longer than a quick one.
async fn between_two(story: i64, door: &Door) -> (Bench, oneshot::Receiver<Applied>) {
    let outputs = vec![heavy(story, "gate", true), heavy(story, "one", false), heavy(story, "two", false), pump(None)];
    let bench = Bench::start(64, |file| plan(Vec::new(), outputs, file));
    // While this one waits nothing else is done, so that the orders after it are all there when it is over.
    let gate = switch_on(&bench, "gate", None);
    door.wait(1).await;
    let both = [switch_on(&bench, "one", Some(LEASE)), switch_on(&bench, "two", Some(LEASE))];
    door.let_pass(1);
    for applied in [gate].into_iter().chain(both) {
        applied.await.unwrap().unwrap();
    }
    door.wait(2).await;
    tokio::time::sleep(LEASE).await;
    let order = switch_on(&bench, "pump", None);
    (bench, order)
}

#[tokio::test]
async fn an_output_that_fails_slowly_lets_an_order_in_before_the_next_is_tried() {
    let door = &DOORS[0];
    let (bench, order) = between_two(0, door).await;
    door.let_pass(2);
    // The second does not pass before this has been answered.
    let answer = tokio::time::timeout(SOON, order).await.expect("it does not wait for the second output");
    assert_eq!(answer.unwrap(), Ok(Done { value: OutputValue::Switch(true), postponed: None }));
    door.wait(3).await;
    door.let_pass(usize::MAX);
    bench.worker.ask_to_stop();
    assert_eq!(bench.worker.join(SOON).await, ThreadEnd::Orderly);
}

#[tokio::test]
async fn outputs_that_do_what_is_due_do_it_in_one_turn_however_slowly() {
    let door = &DOORS[1];
    let (bench, mut order) = between_two(1, door).await;
    door.let_pass(2);
    door.wait(3).await;
    assert!(order.try_recv().is_err(), "what must go off is more urgent than an order");
    door.let_pass(usize::MAX);
    assert!(order.await.unwrap().is_ok());
    bench.worker.ask_to_stop();
    assert_eq!(bench.worker.join(SOON).await, ThreadEnd::Orderly);
}

#[tokio::test]
async fn a_thread_that_hangs_in_a_transfer_is_under_way_with_it_and_left_behind_at_the_end() {
    let door = &DOORS[2];
    let bench = Bench::start(64, |file| plan(Vec::new(), vec![heavy(2, "gate", true)], file));
    let applied = switch_on(&bench, "gate", None);
    door.wait(1).await;
    assert_eq!(bench.worker.activity.busy().map(|(name, _)| name), Some(name("gate")));
    bench.worker.ask_to_stop();
    assert_eq!(bench.worker.join(Duration::from_millis(1)).await, ThreadEnd::Hangs);
    door.let_pass(usize::MAX);
    applied.await.unwrap().unwrap();
}

/// Readings of the same thread are the clock, and go on afterwards: what holds up the machine holds up both.
async fn goes_off(bench: &mut Bench, due: Duration, expected: StateCause) {
    let mut after = 0;
    loop {
        match bench.next(Some).await {
            Event::Reading { reading, .. } => {
                after += usize::from(reading.taken_at.boot > due);
                // In a turn outputs come first, so that a sample may be taken when the time has just come, and no further one.
                assert!(after <= 1, "{after} samples were taken first");
            }
            Event::State { value, cause, .. } => {
                assert_eq!((value, cause), (OFF, expected));
                break;
            }
            _ => {}
        }
    }
    bench.reading("n").await;
}

#[tokio::test]
async fn a_lease_ends_in_time_and_before_samples() {
    let mut bench = Bench::start(4096, |file| plan(vec![counter("n", 2)], vec![pump(None)], file));
    assert_eq!(bench.state().await, (OFF, StateCause::Start));
    let asked = clock::boottime();
    let applied = bench.order(true, Some(LEASE * 2));
    assert_eq!(bench.state().await, (ON, StateCause::Command));
    applied.await.unwrap().unwrap();
    let due = clock::boottime() + LEASE * 2;
    goes_off(&mut bench, due, StateCause::For).await;
    assert!(clock::boottime() - asked >= LEASE * 2, "not too early");
}

#[tokio::test]
async fn a_silent_broker_makes_an_output_safe_in_time_and_before_samples() {
    let limit = Duration::from_millis(300);
    let mut bench = Bench::start(4096, |file| plan(vec![counter("n", 2)], vec![pump(Some(limit))], file));
    assert_eq!(bench.state().await, (OFF, StateCause::Start));
    let asked = clock::boottime();
    bench.heartbeat.beat();
    let due = clock::boottime() + limit;
    let applied = bench.order(true, None);
    assert_eq!(bench.state().await, (ON, StateCause::Command));
    applied.await.unwrap().unwrap();
    // Where the machine was late the time may have been over before the output went on.
    let due = due.max(clock::boottime());
    goes_off(&mut bench, due, StateCause::SafeState).await;
    assert!(clock::boottime() - asked >= limit, "not too early");
}
