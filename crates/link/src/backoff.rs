//! When to try again. Pure: time and chance are arguments.
//!
//! The wait is chosen by chance between the shortest and a ceiling that doubles with every failure, so that a thousand
//! gateways do not come back to a restarted broker in the same second. In the first minute of an outage the ceiling stays at
//! a few seconds: most outages are a restart, and then it is the wait and not the broker that keeps data and commands away.

use std::collections::VecDeque;
use std::time::Duration;

/// A connection that lasted this long had found a healthy broker, and failures are counted from zero again. After a shorter one
/// the broker may accept connections only to drop them; it must not be hammered.
pub const STABLE_AFTER: Duration = Duration::from_secs(30);

/// An outage is short up to here.
pub const SHORT: Duration = Duration::from_secs(60);

/// Longest wait in a short outage, unless the shortest is longer. With a second for the attempt it makes five.
pub const SHORT_MAX: Duration = Duration::from_secs(4);

/// Shortest wait after a refusal that only a person can lift.
pub const REFUSED: Duration = Duration::from_secs(60);

/// How far back take-overs count.
pub const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(300);

/// Two gateways with one identifier would throw each other out for ever: from this many take-overs on, one attempt a minute.
pub const TAKEN_OVER_TIMES: usize = 3;

/// The waits between attempts.
#[derive(Clone, Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
    /// When the first wait of this outage began.
    since: Option<Duration>,
    refused: bool,
    taken_over: VecDeque<Duration>,
    /// A take-over is likely, although the broker has not said so.
    suspected: bool,
}

impl Backoff {
    /// Waits between `min` and `max`; a `max` below `min` counts as `min`.
    pub fn new(min: Duration, max: Duration) -> Self {
        Self {
            min,
            max: max.max(min),
            failures: 0,
            since: None,
            refused: false,
            taken_over: VecDeque::new(),
            suspected: false,
        }
    }

    /// A connection lasted for `lasted` and then ended.
    pub fn lost(&mut self, lasted: Duration) {
        self.refused = false;
        if lasted >= STABLE_AFTER {
            (self.failures, self.since, self.suspected) = (0, None, false);
        }
        self.failures = self.failures.saturating_add(1);
    }

    /// An attempt failed; `refused` when only a person can help.
    pub fn failed(&mut self, refused: bool) {
        self.failures = self.failures.saturating_add(1);
        self.refused |= refused;
        // Then it is the broker that has troubles.
        self.suspected = false;
    }

    /// Another client took our session over at `now`; returns whether that has become a habit.
    pub fn taken_over(&mut self, now: Duration) -> bool {
        self.taken_over.push_back(now);
        while self.taken_over.len() > TAKEN_OVER_TIMES {
            self.taken_over.pop_front();
        }
        self.contended(now)
    }

    /// The broker closed one connection after the other without a reason and accepts the next at once, as many brokers do, and
    /// all of 3.1.1, when another client takes over. Until a connection lasts or an attempt fails, a take-over is assumed.
    pub fn suspect(&mut self) {
        self.suspected = true;
    }

    /// Whether take-overs have become a habit lately.
    pub fn contended(&self, now: Duration) -> bool {
        self.taken_over.len() >= TAKEN_OVER_TIMES
            && self.taken_over.front().is_some_and(|first| now.saturating_sub(*first) <= TAKEN_OVER_WITHIN)
    }

    /// How long to wait before the next attempt at the same broker; `chance` is uniform in 0..1.
    pub fn wait(&mut self, now: Duration, chance: f64) -> Duration {
        let ceiling = self.ceiling(now);
        let wait = self.spread(ceiling, chance);
        if self.suspected || self.contended(now) {
            return wait.max(REFUSED);
        }
        if self.refused {
            self.refused = false;
            return wait.max(REFUSED + REFUSED.mul_f64(0.1 * chance.clamp(0.0, 1.0)));
        }
        wait
    }

    /// How long to wait at least before another broker of the list is tried, which has nothing to do with this one's failures.
    pub fn pause(&self, chance: f64) -> Duration {
        self.spread(self.min.saturating_mul(2).min(self.max), chance)
    }

    fn spread(&self, ceiling: Duration, chance: f64) -> Duration {
        self.min + ceiling.saturating_sub(self.min).mul_f64(chance.clamp(0.0, 1.0))
    }

    fn ceiling(&mut self, now: Duration) -> Duration {
        let doubled = |failures: u32| self.min.saturating_mul(1 << failures.clamp(1, 31));
        let (since, short) = (*self.since.get_or_insert(now), SHORT_MAX.clamp(self.min, self.max));
        if now.saturating_sub(since) >= SHORT || doubled(self.failures) <= short {
            return doubled(self.failures).min(self.max);
        }
        // The count stays where it is, so that the wait goes on to grow from here.
        self.failures = self.failures.saturating_sub(1);
        short
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const S: Duration = Duration::from_secs(1);

    /// In an outage that is no longer short.
    fn long(min: Duration, max: Duration, failures: u32) -> Backoff {
        let mut backoff = Backoff::new(min, max);
        backoff.wait(Duration::ZERO, 0.0);
        (0..failures).for_each(|_| backoff.failed(false));
        backoff
    }

    const LATER: Duration = Duration::from_secs(1000);

    #[test]
    fn a_refusal_waits_a_minute_whatever_the_maximum_says() {
        let mut backoff = Backoff::new(S, 5 * S);
        backoff.failed(true);
        assert!(backoff.pause(1.0) <= 2 * S, "the next of the list is not to blame");
        assert!(backoff.wait(S, 0.0) >= REFUSED);
        backoff.failed(false);
        assert!(backoff.wait(S, 1.0) <= 5 * S);
    }

    #[test]
    fn the_third_take_over_within_five_minutes_allows_one_attempt_a_minute() {
        let mut backoff = Backoff::new(S, 5 * S);
        assert!(!backoff.taken_over(10 * S) && !backoff.taken_over(20 * S));
        assert!(backoff.wait(20 * S, 0.5) < REFUSED);
        assert!(backoff.taken_over(30 * S));
        assert!(backoff.wait(30 * S, 0.5) >= REFUSED);
        assert!(!backoff.contended(400 * S));
    }

    #[test]
    fn a_suspicion_lasts_until_a_connection_holds_or_an_attempt_fails() {
        let mut backoff = Backoff::new(S, 5 * S);
        backoff.suspect();
        backoff.lost(S);
        assert!(backoff.wait(30 * S, 0.5) >= REFUSED);
        backoff.lost(STABLE_AFTER);
        assert!(backoff.wait(40 * S, 0.5) < REFUSED);
        backoff.suspect();
        backoff.failed(false);
        assert!(backoff.wait(50 * S, 0.5) < REFUSED);
    }

    #[test]
    fn a_connection_that_held_starts_the_count_anew() {
        let mut backoff = long(S, 60 * S, 10);
        assert_eq!(backoff.wait(LATER, 1.0), 60 * S);
        backoff.lost(S);
        assert_eq!(backoff.wait(LATER, 1.0), 60 * S);
        backoff.lost(STABLE_AFTER);
        assert_eq!(backoff.wait(LATER, 1.0), 2 * S);
    }

    #[test]
    fn the_first_minute_waits_four_seconds_at_most_and_then_the_ceiling_doubles() {
        let mut backoff = Backoff::new(S, 60 * S);
        let mut wait = |at: u32| {
            backoff.failed(false);
            backoff.wait(at * S, 1.0)
        };
        let waits: Vec<u64> = [100, 102, 106, 130, 159, 160, 180, 220, 300].map(|at| wait(at).as_secs()).into();
        assert_eq!(waits, [2, 4, 4, 4, 4, 8, 16, 32, 60]);
    }

    #[test]
    fn waits_are_spread_over_the_whole_range() {
        let mut backoff = long(S, 60 * S, 10);
        let waits: Vec<u64> = (0..10).map(|i| backoff.wait(LATER, f64::from(i) / 10.0).as_secs()).collect();
        assert!(waits.windows(2).all(|pair| pair[1] > pair[0] + 4), "{waits:?}");
    }

    proptest! {
        #[test]
        fn a_wait_lies_between_the_bounds(
            min in 1u64..10_000, max in 1u64..100_000,
            failures in 0u32..100, at in 0u64..100, chance in 0.0..1.0,
        ) {
            let (min, max) = (Duration::from_millis(min), Duration::from_millis(max));
            let wait = long(min, max, failures).wait(Duration::from_secs(at), chance);
            prop_assert!(wait >= min && wait <= max.max(min), "{:?}", wait);
        }
    }
}
