//! A count that outlives the program: of pulses, of litres, of whatever only grows unless a user sets it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::{Name, Reason, Refusal};

/// What the disk has of all counts, by the sensor's name; nothing as long as no disk could be read.
pub type PersistedCounts = Option<Arc<BTreeMap<Name, u64>>>;

/// Whether something is on disk; if not, why, in words.
pub type Saved = Result<(), String>;

/// The largest count: up to here a floating-point number, which a user writes and reads, has every integer.
const MOST: f64 = 9_007_199_254_740_992.0;

/// One sensor's count: what earlier runs left, and what has come since.
///
/// It belongs to the sensor's name and not to the device, so that a device that is built again, or moved by a reload, goes on.
/// The sensor's thread alone changes it.
#[derive(Debug, Default)]
pub struct Count {
    /// What the total was when nothing had been counted here yet. After [`Count::set`] it may be less than nothing, so all
    /// arithmetic wraps.
    before: AtomicU64,
    is_known: AtomicBool,
    since: AtomicU64,
}

impl Count {
    /// Adds `more` to the total.
    pub fn add(&self, more: u64) {
        self.since.fetch_add(more, Ordering::Relaxed);
    }

    /// Goes on from what earlier runs left. Only the first word counts.
    pub fn resume(&self, before: u64) {
        if !self.is_known.load(Ordering::Relaxed) {
            self.begin_with(before);
        }
    }

    /// What was counted here, whatever the total is: a moment for [`Count::set`].
    pub fn counted(&self) -> u64 {
        self.since.load(Ordering::Relaxed)
    }

    /// The total was `total` at the moment when so much had been `counted`; what came since is added. Returns the total now.
    pub fn set(&self, total: u64, counted: u64) -> u64 {
        let before = total.wrapping_sub(counted);
        self.begin_with(before);
        before.wrapping_add(self.counted())
    }

    fn begin_with(&self, before: u64) {
        self.before.store(before, Ordering::Relaxed);
        self.is_known.store(true, Ordering::Release);
    }

    /// Everything counted so far; nothing as long as it is not known where to go on, for a count that went back by itself would
    /// be worse than none.
    pub fn total(&self) -> Option<u64> {
        let is_known = self.is_known.load(Ordering::Acquire);
        is_known.then(|| self.before.load(Ordering::Relaxed).wrapping_add(self.counted()))
    }
}

/// From a count, which is exact, to the total that a user reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CountScale {
    /// How many make one unit; more than nothing.
    pub per_unit: f64,
    /// The total when nothing was counted, in the unit.
    pub offset: f64,
}

impl CountScale {
    /// The total of a count.
    pub fn total(self, count: u64) -> f64 {
        count as f64 / self.per_unit + self.offset
    }

    /// The count whose total is nearest to this one.
    ///
    /// # Errors
    /// [`Reason::OutOfRange`] for a total below the offset, one that is not finite, and one that is too large to be counted
    /// exactly.
    pub fn count(self, total: f64) -> Result<u64, Refusal> {
        let refuse = |words| Err(Refusal::new(Reason::OutOfRange, words));
        let count = ((total - self.offset) * self.per_unit).round();
        if !total.is_finite() {
            return refuse(format!("{total} is not a finite number"));
        }
        if count < 0.0 {
            return match self.offset {
                0.0 => refuse(format!("{total} is less than 0")),
                offset => refuse(format!("{total} is less than the offset of this sensor, {offset}")),
            };
        }
        if count > MOST {
            return refuse(format!("{total} is more than this sensor can count exactly, {}", self.total(MOST as u64)));
        }
        Ok(count as u64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::payload;

    #[test]
    fn what_came_before_it_was_known_where_to_go_on_counts_too() {
        let count = Count::default();
        count.add(3);
        assert_eq!(count.total(), None);
        count.resume(40);
        count.resume(7);
        count.add(2);
        assert_eq!(count.total(), Some(45));
    }

    #[test]
    fn a_total_that_is_set_has_what_was_counted_since_that_moment() {
        let count = Count::default();
        count.resume(40);
        count.add(5);
        let moment = count.counted();
        count.add(2);
        assert_eq!((count.set(10, moment), count.total()), (12, Some(12)));
        count.add(1);
        assert_eq!(count.total(), Some(13));
        assert_eq!((count.set(0, count.counted()), count.total()), (0, Some(0)));
        count.resume(40);
        assert_eq!(count.total(), Some(0), "what earlier runs left is of no interest any more");
    }

    #[test]
    fn a_total_that_cannot_be_counted_is_refused_in_words() {
        let refused = |per_unit, offset, total| {
            let scale = CountScale { per_unit, offset };
            scale.count(total).unwrap_err().to_string()
        };
        assert_eq!(refused(100.0, 0.0, -0.01), "out_of_range: -0.01 is less than 0");
        assert_eq!(refused(100.0, 12.5, 12.0), "out_of_range: 12 is less than the offset of this sensor, 12.5");
        assert_eq!(refused(1.0, 0.0, f64::NAN), "out_of_range: NaN is not a finite number");
        assert_eq!(refused(1.0, 0.0, f64::INFINITY), "out_of_range: inf is not a finite number");
        let words = "out_of_range: 100000000000000000 is more than this sensor can count exactly, 90071992547409.92";
        assert_eq!(refused(100.0, 0.0, 1e17), words);
    }

    #[test]
    fn a_total_is_rounded_to_whole_pulses() {
        let scale = CountScale { per_unit: 0.1, offset: -20.0 };
        let counts = [-20.0, -15.1, -14.9, 0.0, 4.0, 1234.56].map(|total| scale.count(total).unwrap());
        assert_eq!(counts, [0, 0, 1, 2, 2, 125]);
        assert_eq!(scale.total(125), 1230.0);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// With as many decimals as a pulse counter has.
        #[test]
        fn the_total_that_is_published_sets_the_count_that_it_was(
            count in 0_u64..1_000_000_000,
            per_unit in prop_oneof![Just(0.1), Just(1.0), Just(7.5), Just(450.0), Just(1000.0), 0.01..10_000.0],
            offset in prop_oneof![Just(0.0), -1000.0..100_000.0],
        ) {
            let scale = CountScale { per_unit, offset };
            let decimals = per_unit.log10().ceil().clamp(0.0, 9.0) as u8;
            let published: f64 = payload::number(scale.total(count), decimals).parse().unwrap();
            // One pulse may be no more than half of the last decimal away from being another.
            let exact = scale.count(published).unwrap();
            prop_assert!(exact.abs_diff(count) <= 1, "{count} became {exact}");
            if offset == 0.0 || per_unit * 10_f64.powi(-i32::from(decimals)) < 0.99 {
                prop_assert_eq!(exact, count);
            }
        }
    }
}
