//! What the machine takes from everybody while a test measures, so that a bound on time asks for what the program does.
//!
//! A thread does all the time what the tests' programs mostly do: it sleeps, hands something over to another thread and back, and
//! now and then replaces a small file. What that takes beyond the usual is time for which the machine held up everybody. A bound is
//! the row's own figure and [`slack`]: as strict as the row on a machine that has nothing else to do, and by so much later on
//! one that was late itself in that very time. Work that needs a processor for long is not in it: see [`processor_time`].

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Between two looks.
const STEP: Duration = Duration::from_millis(5);

/// A look that is later by less tells of no load: timers and switches of threads take as much.
const USUAL: Duration = Duration::from_millis(1);

/// Every so many looks a file is replaced, as state files are.
const FILE_EVERY: u32 = 20;

/// What is awaited passes through so many hands at most: publisher, broker, link, commands, bus, broker, client and the test.
/// Each of them is late by one look at most.
const HANDS: u32 = 8;

/// Those hands are late together at most for twice the time for which one thread was.
const TWICE: u32 = 2;

/// How often a time that is noted may be wrong by one look.
const NOTED: u32 = 3;

/// No machine holds everybody up for longer at once: a look that lasts longer has failed, and nobody may wait for ever because of it.
const LONGEST: Duration = Duration::from_secs(60);

/// How long before it was noted something may have happened on a machine that was late.
const NOTED_LATE: Duration = Duration::from_secs(1);

/// The looks that were late.
#[derive(Default)]
struct Late {
    /// When each was over, and for how long it had been held up.
    looks: Vec<(Instant, Duration)>,
    /// When the look that is under way should be over.
    due: Option<Instant>,
    /// The first look.
    since: Option<Instant>,
}

static LATE: Mutex<Late> = Mutex::new(Late { looks: Vec::new(), due: None, since: None });

/// Begins to look, once for a test program. Whatever starts or awaits something calls this.
pub fn watch() {
    static WATCHING: OnceLock<()> = OnceLock::new();
    WATCHING.get_or_init(|| {
        let (ask, asked) = sync_channel(0);
        let (answer, answered) = sync_channel(0);
        std::thread::spawn(move || asked.iter().take_while(|()| answer.send(()).is_ok()).count());
        std::thread::spawn(move || look_for_ever(&ask, &answered));
    });
}

fn look_for_ever(ask: &SyncSender<()>, answered: &Receiver<()>) {
    for nth in 0_u32.. {
        let due = Instant::now() + STEP + USUAL;
        with(|late| {
            late.due = Some(due);
            late.since.get_or_insert(due);
        });
        std::thread::sleep(STEP);
        ask.send(()).unwrap();
        answered.recv().unwrap();
        if nth.is_multiple_of(FILE_EVERY) {
            replace();
        }
        let now = Instant::now();
        if now > due {
            with(|late| late.looks.push((now, now - due)));
        }
    }
}

/// In a folder for this time only: the thread ends with the test program, and nothing is to be left behind.
fn replace() {
    let folder = tempfile::tempdir().unwrap();
    let [old, new] = ["old", "new"].map(|name| folder.path().join(name));
    std::fs::write(&old, "{}").unwrap();
    std::fs::write(&new, "{}").unwrap();
    std::fs::rename(new, old).unwrap();
}

fn with<T>(act: impl FnOnce(&mut Late) -> T) -> T {
    act(&mut LATE.lock().unwrap_or_else(PoisonError::into_inner))
}

/// For how long looks were late between two moments: altogether, and the latest.
fn late_between(from: Instant, to: Instant) -> (Duration, Duration) {
    let part = |(end, late): (Instant, Duration)| end.min(to).saturating_duration_since((end - late).max(from));
    with(|late| {
        let under_way = late.due.filter(|due| *due < to).map(|due| (to, (to - due).min(LONGEST)));
        let looks = late.looks.iter().rev().take_while(|(end, _)| *end > from).copied();
        looks
            .chain(under_way)
            .map(part)
            .fold(Default::default(), |(all, latest): (Duration, Duration), part| (all + part, latest.max(part)))
    })
}

/// By how much later something may have come between these moments because the machine was late.
pub fn slack_between(from: Instant, to: Instant) -> Duration {
    let (all, latest) = late_between(from, to);
    (HANDS * latest).min(TWICE * all)
}

/// By how much later something may have come since a moment because the machine was late.
pub fn slack(since: Instant) -> Duration {
    slack_between(since, Instant::now())
}

/// What was taken since then from something that goes on all the time, such as sampling, or has very many steps.
pub fn taken_since(since: Instant) -> Duration {
    taken_between(since, Instant::now())
}

/// What was taken between two moments from something that goes on all the time.
pub fn taken_between(from: Instant, to: Instant) -> Duration {
    TWICE * late_between(from, to).0
}

/// Checks the times between one moment and the next, and returns the longest as it was.
pub fn longest_gap(moments: &[Instant], limit: Duration, what: &str) -> Duration {
    let gaps = moments.windows(2).map(|pair| {
        let (gap, slack) = (pair[1] - pair[0], slack_between(pair[0], pair[1]));
        assert!(gap <= limit + slack, "{what}: {gap:?}, of which {slack:?} may be the machine's");
        gap
    });
    gaps.max().unwrap()
}

/// The share of all the time since the first [`watch`] for which the machine held up everybody.
pub fn share_held_up() -> f64 {
    let (now, since) = (Instant::now(), with(|late| late.since));
    since.map_or(0.0, |since| late_between(since, now).0.as_secs_f64() / (now - since).as_secs_f64())
}

/// By how much longer or shorter a time may be that was noted at these two moments in files or a log, because the machine was
/// late: with the beginning, with the end, and with noting either.
pub fn slack_noted(from: SystemTime, to: SystemTime) -> Duration {
    NOTED * late_between(at(from) - NOTED_LATE, at(to)).1
}

/// The moment at which the wall clock said this, for times of files and logs.
pub fn at(time: SystemTime) -> Instant {
    Instant::now() - time.elapsed().unwrap_or_default()
}

/// What this thread has used of a processor, which others cannot make longer.
pub fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
}
