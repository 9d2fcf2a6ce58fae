//! What is due and what was missed. Pure: time is an argument.

use std::time::Duration;

/// The first wait after a panic; it doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// A failing device is tried at least this often, unless its own period is longer.
pub(super) const LAST_RETRY: Duration = Duration::from_secs(60);

/// A device that fails slowly, by a time-out on its bus, is not tried again for so many times as long as it took: its
/// neighbours on the bus keep nine tenths of the time.
const BACKOFF_FACTOR: u32 = 9;

/// The ticks of one sensor: `start`, `start + every`, `start + 2 × every` …
///
/// Ticks that pass while the bus is busy are skipped and counted, never queued: after a stall each sensor is sampled once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    every: Duration,
    next: Duration,
}

impl Schedule {
    /// Due at `start` and then every `every`, which is at least a millisecond.
    pub fn new(start: Duration, every: Duration) -> Self {
        Self { every: every.max(Duration::from_millis(1)), next: start }
    }

    /// When the next tick is, on the clock of `start`.
    pub fn next(&self) -> Duration {
        self.next
    }

    /// Takes the tick that is due at `now` and returns how many ticks before it were missed; `None` when none is due.
    pub fn take(&mut self, now: Duration) -> Option<u64> {
        let late = now.checked_sub(self.next)?;
        let missed = late.as_nanos() / self.every.as_nanos();
        let missed = u64::try_from(missed).unwrap_or(u64::MAX);
        self.advance(missed.saturating_add(1));
        Some(missed)
    }

    /// Is due at once; the ticks go on from there.
    pub fn hurry(&mut self, now: Duration) {
        self.next = self.next.min(now);
    }

    /// Skips the ticks within a pause from `now` on and returns how many those are.
    pub fn pause(&mut self, now: Duration, pause: Duration) -> u64 {
        let resume = now.saturating_add(pause);
        let Some(ahead) = resume.checked_sub(self.next) else { return 0 };
        let skipped = u64::try_from(ahead.as_nanos().div_ceil(self.every.as_nanos())).unwrap_or(u64::MAX);
        self.advance(skipped);
        skipped
    }

    fn advance(&mut self, ticks: u64) {
        // A period of days times a few ticks fits; saturation only means "never again".
        let ns = self.every.as_nanos().saturating_mul(u128::from(ticks));
        self.next = self.next.saturating_add(Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX)));
    }
}

/// How long to leave a device alone whose `failures`-th attempt in a row took `cost`.
///
/// A quick failure delays no other device, so the device is tried at each of its ticks and is back within one period of its
/// return. The first failure alone never costs more than itself: one lost sample is no reason to lose the next.
pub fn backoff_after(failures: u32, cost: Duration) -> Duration {
    match failures {
        0 | 1 => Duration::ZERO,
        _ => cost.saturating_mul(BACKOFF_FACTOR).min(LAST_RETRY),
    }
}

/// How long to leave a driver alone after its `failures`-th failure in a row, when that was a panic: 1 s, 2 s, 4 s … 60 s,
/// for a defect does not pass by itself, and each panic writes to the log.
pub fn retry_after(failures: u32) -> Duration {
    FIRST_RETRY.saturating_mul(1 << failures.saturating_sub(1).min(6)).min(LAST_RETRY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn ticks_keep_their_phase_and_missed_ones_are_counted() {
        let mut schedule = Schedule::new(ms(1000), ms(100));
        assert_eq!(schedule.take(ms(999)), None);
        assert_eq!(schedule.take(ms(1030)), Some(0));
        assert_eq!(schedule.next(), ms(1100), "a late sampling does not shift the next");
        assert_eq!(schedule.take(ms(1450)), Some(3));
        assert_eq!(schedule.next(), ms(1500));
    }

    #[test]
    fn a_device_that_fails_rests_for_what_it_costs_and_never_more_than_a_minute() {
        assert_eq!(backoff_after(1, ms(1000)), ms(0), "one failure is no reason to lose the next sample");
        assert_eq!(backoff_after(2, ms(0)), ms(0), "what costs nothing is tried at each tick");
        assert_eq!(backoff_after(9, ms(1000)), ms(9000));
        assert_eq!(backoff_after(2, ms(100_000)), ms(60_000));
        let waits: Vec<u64> = (1..9).map(|n| retry_after(n).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60], "panics");
    }

    #[test]
    fn a_pause_skips_the_ticks_in_it_and_hurry_ends_it() {
        let mut slow = Schedule::new(ms(0), Duration::from_secs(300));
        slow.take(ms(0));
        assert_eq!(slow.pause(ms(10), Duration::from_secs(60)), 0, "a long period is pause enough");
        let mut fast = Schedule::new(ms(0), ms(1));
        fast.take(ms(0));
        assert_eq!(fast.pause(ms(0), ms(1000)), 999);
        assert_eq!(fast.next(), ms(1000));
        fast.hurry(ms(500));
        assert_eq!(fast.take(ms(500)), Some(0));
        assert_eq!(fast.next(), ms(501));
    }

    proptest! {
        #[test]
        fn after_a_tick_was_taken_the_next_lies_ahead_on_the_grid(
            start in 0u64..1_000_000, every in 1u64..100_000, late in 0u64..10_000_000,
        ) {
            let mut schedule = Schedule::new(ms(start), ms(every));
            let now = ms(start + late);
            let missed = schedule.take(now).unwrap();
            prop_assert!(schedule.next() > now);
            prop_assert!(schedule.next() <= now + ms(every));
            prop_assert_eq!(schedule.next(), ms(start + (missed + 1) * every));
        }

        #[test]
        fn every_tick_is_taken_or_missed_or_paused_and_none_comes_twice(
            every in 1u64..1000, steps in prop::collection::vec((0u64..5000, any::<bool>(), 0u64..3000), 1..100),
        ) {
            let mut schedule = Schedule::new(ms(0), ms(every));
            let (mut now, mut ticks) = (0, 0);
            for (step, fails, pause) in steps {
                now += step;
                let taken = schedule.take(ms(now));
                prop_assert_eq!(taken.is_some(), ticks * every <= now);
                ticks += taken.map_or(0, |missed| missed + 1);
                prop_assert_eq!(schedule.take(ms(now)), None, "after a stall once, and not a burst");
                if fails && taken.is_some() {
                    ticks += schedule.pause(ms(now), ms(pause));
                    prop_assert!(schedule.next() >= ms(now + pause));
                    prop_assert!(schedule.next() <= ms(now + pause + every), "and no longer than that");
                }
                prop_assert_eq!(schedule.next(), ms(ticks * every));
            }
        }

        #[test]
        fn no_failure_costs_more_than_a_tenth_of_the_time_or_a_minute_of_backoff(failures in any::<u32>(), cost in 0u64..100_000) {
            let pause = backoff_after(failures, ms(cost));
            prop_assert!(pause <= Duration::from_secs(60) && retry_after(failures) <= Duration::from_secs(60));
            prop_assert!(failures < 2 || cost > 6_666 || pause == ms(cost * 9));
        }
    }
}
