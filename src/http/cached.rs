//! Answers that are the same for all who ask at the same time: each is made once in [`EVERY`], so a flood of questions costs no more
//! than its own bytes.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Bytes;

use fieldgate_clock as clock;

/// How old an answer may be.
const EVERY: Duration = Duration::from_millis(250);

/// What is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    State,
    History,
    OpenMetrics,
    Text,
}

/// The answers by what they are.
#[derive(Debug, Default)]
pub(super) struct Cached(Mutex<Vec<(What, Duration, Bytes)>>);

impl Cached {
    /// The answer, made now unless one is young enough.
    pub(super) fn get(&self, what: What, make: impl FnOnce() -> String) -> Bytes {
        let now = clock::boottime();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, _, bytes)) = all.iter().find(|(of, at, _)| *of == what && now.saturating_sub(*at) < EVERY) {
            return bytes.clone();
        }
        let bytes = Bytes::from(make());
        all.retain(|(of, ..)| *of != what);
        all.push((what, now, bytes.clone()));
        bytes
    }
}
