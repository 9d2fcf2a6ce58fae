//! A limit on how often something is done: so many times at once, then once in a period. Pure; the time is an argument.

use std::time::Duration;

/// So many at once, then one in each period.
#[derive(Clone, Debug)]
pub struct Throttle {
    burst: u32,
    period: Duration,
    /// When the whole burst is there again.
    whole_at: Duration,
}

impl Throttle {
    /// `burst` times at once, then once in `period`.
    pub fn new(burst: u32, period: Duration) -> Self {
        Self { burst: burst.max(1), period, whole_at: Duration::ZERO }
    }

    /// When it may be done next.
    pub fn earliest(&self) -> Duration {
        self.whole_at.saturating_sub(self.period * (self.burst - 1))
    }

    /// It was done. Done too early, it costs no more than the burst.
    pub fn step(&mut self, now: Duration) {
        self.whole_at = (self.whole_at.max(now) + self.period).min(now + self.period * self.burst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_burst_it_is_once_in_a_period_and_a_pause_gives_the_burst_back() {
        let mut throttle = Throttle::new(8, Duration::from_millis(500));
        let mut at_once = |ms: u64| {
            let now = Duration::from_millis(ms);
            (0..100).take_while(|_| throttle.earliest() <= now && (throttle.step(now), true).1).count()
        };
        assert_eq!([at_once(0), at_once(499), at_once(500), at_once(1499), at_once(1500)], [8, 0, 1, 1, 1]);
        assert_eq!([at_once(3500), at_once(1_000_000)], [4, 8]);
    }

    #[test]
    fn what_was_done_too_often_is_forgotten_in_time() {
        let mut throttle = Throttle::new(2, Duration::from_secs(1));
        (0..100).for_each(|_| throttle.step(Duration::ZERO));
        assert_eq!(throttle.earliest(), Duration::from_secs(1));
    }
}
