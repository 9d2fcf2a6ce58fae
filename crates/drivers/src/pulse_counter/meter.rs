//! From edges to pulses and their rate. Pure: stamps are arguments.

use std::time::Duration;

use fieldgate_bus::Edge;

/// Which edges are pulses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Rising,
    Falling,
    Both,
}

/// Counts the edges that are pulses, and says their rate from the stamps of the last ones.
#[derive(Debug)]
pub(super) struct Meter {
    wanted: Wanted,
    /// The level behind the last edge.
    active: bool,
    missed: u64,
    /// The last pulse before the present reading, and the first and the last since.
    before: Option<Duration>,
    first: Option<Duration>,
    last: Option<Duration>,
    /// Pulses since the last reading.
    fresh: u64,
    /// In pulses a second, when it was last known.
    rate: Option<f64>,
    /// Whether a whole time between two readings has been watched.
    has_watched: bool,
}

impl Meter {
    /// One that has seen nothing but the level.
    pub(super) fn new(wanted: Wanted, active: bool) -> Self {
        let (before, first, last, rate) = (None, None, None, None);
        Self { wanted, active, missed: 0, before, first, last, fresh: 0, rate, has_watched: false }
    }

    /// Counts an edge and those that were dropped in front of it: edges take turns, so the dropped ones are known. Returns how
    /// many pulses that makes.
    pub(super) fn see(&mut self, edge: &Edge, now: Duration) -> u64 {
        self.missed += u64::from(edge.missed);
        let dropped = match self.wanted {
            Wanted::Both => u64::from(edge.missed),
            wanted => {
                // The first of them goes away from the level that was; every second one is a pulse.
                let begins_with_pulse = (wanted == Wanted::Rising) != self.active;
                u64::from(edge.missed).div_ceil(2) - if begins_with_pulse { 0 } else { u64::from(edge.missed % 2) }
            }
        };
        self.active = edge.active;
        let is_pulse = match self.wanted {
            Wanted::Both => true,
            wanted => (wanted == Wanted::Rising) == edge.active,
        };
        let pulses = dropped + u64::from(is_pulse);
        if pulses > 0 {
            let at = edge.at.unwrap_or(now);
            self.first.get_or_insert(at);
            self.last = Some(at);
            self.fresh += pulses;
        }
        pulses
    }

    /// Edges that were dropped since the start.
    pub(super) fn missed(&self) -> u64 {
        self.missed
    }

    /// Pulses a second since the last reading, from pulse to pulse; nothing when nothing can be known yet.
    pub(super) fn rate(&mut self, now: Duration) -> Option<f64> {
        let has_watched = std::mem::replace(&mut self.has_watched, true);
        let known = match (self.last, self.before, self.first) {
            (Some(last), Some(before), _) => per_second(self.fresh, before, last),
            (Some(last), None, Some(first)) => per_second(self.fresh - 1, first, last),
            _ => None,
        };
        if self.fresh > 0 {
            self.rate = known;
            (self.before, self.first, self.last, self.fresh) = (self.last, None, None, 0);
            return self.rate;
        }
        match self.before {
            // Had it gone on as before, or any faster than this, another pulse would have come.
            Some(before) => {
                let most = per_second(1, before, now)?;
                self.rate = Some(self.rate.map_or(most, |rate| rate.min(most)));
                self.rate
            }
            None => has_watched.then_some(0.0),
        }
    }
}

/// Nothing when no time has passed: a rate would be without bounds.
fn per_second(pulses: u64, from: Duration, to: Duration) -> Option<f64> {
    let seconds = to.checked_sub(from)?.as_secs_f64();
    (pulses > 0 && seconds > 0.0).then(|| pulses as f64 / seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn edge(active: bool, at: u64, missed: u32) -> Edge {
        Edge { active, at: Some(ms(at)), missed }
    }

    /// Pulses of 10 ms that begin at these times.
    fn pulses(meter: &mut Meter, at: &[u64]) -> u64 {
        let both = |at: &u64| [edge(true, *at, 0), edge(false, *at + 10, 0)];
        at.iter().flat_map(both).map(|edge| meter.see(&edge, ms(999_999))).sum()
    }

    #[test]
    fn each_edge_counts_as_it_was_asked_for() {
        for (wanted, counted) in [(Wanted::Rising, 3), (Wanted::Falling, 3), (Wanted::Both, 6)] {
            assert_eq!(pulses(&mut Meter::new(wanted, false), &[100, 200, 300]), counted, "{wanted:?}");
        }
        let mut meter = Meter::new(Wanted::Rising, false);
        assert_eq!(meter.see(&edge(false, 5, 0), ms(5)), 0, "the end of a pulse that began before the start");
    }

    #[test]
    fn dropped_edges_are_counted_by_their_turns() {
        // All twelve edges of six pulses, a run of them dropped at every place and of every length.
        for wanted in [Wanted::Rising, Wanted::Falling, Wanted::Both] {
            for start in 0..11_u64 {
                for length in 0..11 - start {
                    let mut meter = Meter::new(wanted, false);
                    let kept = (0..12).filter(|n| !(start..start + length).contains(n));
                    let missed = |n| if n == start + length { u32::try_from(length).unwrap() } else { 0 };
                    let counted: u64 = kept.map(|n| meter.see(&edge(n % 2 == 0, n, missed(n)), ms(n))).sum();
                    let all = if wanted == Wanted::Both { 12 } else { 6 };
                    assert_eq!((counted, meter.missed()), (all, length), "{wanted:?}, {length} from {start}");
                }
            }
        }
    }

    #[test]
    fn the_rate_is_that_of_the_pulses_and_not_of_the_readings() {
        let mut meter = Meter::new(Wanted::Rising, false);
        assert_eq!(meter.rate(ms(0)), None, "nothing has been watched yet");
        assert_eq!(meter.rate(ms(1000)), Some(0.0));
        pulses(&mut meter, &[1100, 1600, 2100]);
        assert_eq!(meter.rate(ms(2500)), Some(2.0));
        pulses(&mut meter, &[2600, 3100]);
        assert_eq!(meter.rate(ms(3590)), Some(2.0), "from the last pulse of the reading before");
    }

    #[test]
    fn in_silence_the_rate_is_what_the_silence_allows() {
        let mut meter = Meter::new(Wanted::Rising, false);
        pulses(&mut meter, &[1000, 2000]);
        assert_eq!(meter.rate(ms(2100)), Some(1.0));
        assert_eq!(meter.rate(ms(2900)), Some(1.0), "the next pulse is not due yet");
        assert_eq!(meter.rate(ms(4000)), Some(0.5));
        assert_eq!(meter.rate(ms(12_000)), Some(0.1));
        pulses(&mut meter, &[22_000]);
        assert_eq!(meter.rate(ms(22_001)), Some(0.05), "one pulse in twenty seconds");
    }

    #[test]
    fn one_pulse_alone_says_only_how_long_there_was_no_other() {
        let mut meter = Meter::new(Wanted::Rising, false);
        meter.rate(ms(0));
        pulses(&mut meter, &[500]);
        assert_eq!(meter.rate(ms(1000)), None);
        assert_eq!(meter.rate(ms(2500)), Some(0.5));
    }

    #[test]
    fn stamps_that_do_not_go_forward_make_no_rate() {
        let mut meter = Meter::new(Wanted::Both, false);
        for at in [900, 900, 100] {
            meter.see(&edge(true, at, 0), ms(900));
        }
        assert_eq!(meter.rate(ms(800)), None);
        meter.see(&Edge { active: true, at: None, missed: 0 }, ms(1100));
        assert_eq!(meter.rate(ms(1100)), Some(1.0), "without a stamp the present is meant");
    }
}
