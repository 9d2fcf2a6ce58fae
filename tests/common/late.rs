//! A world in which nothing is seen at once: with `FIELDGATE_LATE` set, messages and lines of the log reach a test up to so many
//! milliseconds after they came, each topic by another time and each in its own order, and a test that waits looks later. A scripted
//! broker stops for as long now and then.
//!
//! Nobody promises an order between topics, or between a topic and the log. A test that needs one passes for years on one machine
//! and fails on another; here it fails within a few runs.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// At most so late; nothing when all is seen as it comes.
fn most() -> Option<Duration> {
    static MOST: OnceLock<Option<Duration>> = OnceLock::new();
    *MOST.get_or_init(|| {
        let milliseconds = std::env::var("FIELDGATE_LATE").ok()?;
        Some(Duration::from_millis(milliseconds.parse().expect("FIELDGATE_LATE is a number of milliseconds")))
    })
}

/// How long the next is held back. Half of them are not.
pub fn chance() -> Duration {
    most().filter(|_| fastrand::bool()).map_or(Duration::ZERO, |most| most.mul_f64(fastrand::f64()))
}

/// A reader gets no turn now and then: at most half of the time, and what comes meanwhile is read at once when it goes on.
#[derive(Debug, Default)]
pub struct Stalls {
    next: Option<Instant>,
}

impl Stalls {
    /// Before the next is looked at.
    pub fn pass(&mut self) {
        let now = Instant::now();
        if most().is_some() && self.next.is_none_or(|next| now >= next) {
            let held_up = chance();
            std::thread::sleep(held_up);
            self.next = Some(now + 2 * held_up);
        }
    }
}

/// What has come and is not seen yet.
#[derive(Debug)]
pub struct Late<T> {
    waiting: Vec<(Instant, T)>,
    /// When the last of each stream is seen.
    last: BTreeMap<String, Instant>,
}

impl<T> Default for Late<T> {
    fn default() -> Self {
        Self { waiting: Vec::new(), last: BTreeMap::new() }
    }
}

impl<T> Late<T> {
    /// Something came on a stream; without lateness it is given back.
    pub fn take(&mut self, stream: impl Into<String>, thing: T) -> Option<T> {
        if most().is_none() {
            return Some(thing);
        }
        let (stream, now) = (stream.into(), Instant::now());
        // A stream that has waited goes on without, until all that was held back is seen.
        let due = match self.last.get(&stream) {
            Some(last) if *last > now => *last,
            _ => now + chance(),
        };
        self.last.insert(stream, due);
        self.waiting.push((due, thing));
        None
    }

    /// All that is left, in the order in which it would be seen.
    pub fn rest(&mut self) -> Vec<T> {
        self.waiting.sort_by_key(|(due, _)| *due);
        self.waiting.drain(..).map(|(_, thing)| thing).collect()
    }

    /// What is seen by now, in the order in which it is seen.
    pub fn seen(&mut self) -> Vec<T> {
        let now = Instant::now();
        // Those of one moment keep their order.
        self.waiting.sort_by_key(|(due, _)| *due);
        let seen = self.waiting.partition_point(|(due, _)| *due <= now);
        self.waiting.drain(..seen).map(|(_, thing)| thing).collect()
    }
}
