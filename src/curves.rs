//! The last hour of every measurement, in memory, as a curve for people: what was lowest and highest in each half minute.
//!
//! Bounded by [`MAX_CURVES`] of a kilobyte each; measurements beyond have no curve. Nothing of it outlives the program, and nothing is kept
//! until somebody may look ([`Curves::set_wanted`]).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fieldgate_model::{Name, Reading, Value};

/// What one point of a curve stands for.
pub const BIN: Duration = Duration::from_secs(30);

/// Points of a curve: an hour.
pub const BINS: usize = 120;

/// Curves that are kept at most: a megabyte.
pub const MAX_CURVES: usize = 1000;

/// The curves, which the recorder writes. Clones are one and the same.
#[derive(Clone, Debug, Default)]
pub struct Curves(Arc<Mutex<Rings>>);

#[derive(Debug, Default)]
struct Rings {
    is_wanted: bool,
    sensors: BTreeMap<Name, Vec<Ring>>,
    count: usize,
}

/// The points of one measurement; the newest is at `newest % BINS`, and an empty one is not a number.
#[derive(Debug)]
struct Ring {
    measurement: Cow<'static, str>,
    decimals: u8,
    newest: u64,
    points: Box<[[f32; 2]; BINS]>,
}

/// The curve of one measurement, the oldest point first; the last is that of this very half minute.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// The name of the measurement.
    pub measurement: Cow<'static, str>,
    /// How many decimals are meant.
    pub decimals: u8,
    /// The lowest and the highest value; nothing where there was no reading.
    pub points: Vec<Option<[f32; 2]>>,
}

const EMPTY: [f32; 2] = [f32::NAN; 2];

impl Curves {
    /// Whether anybody may look. If not, what is kept is forgotten.
    pub fn set_wanted(&self, is_wanted: bool) {
        let mut rings = self.locked();
        if !is_wanted {
            *rings = Rings::default();
        }
        rings.is_wanted = is_wanted;
    }

    /// Adds a reading.
    pub fn keep(&self, reading: &Reading) {
        let mut rings = self.locked();
        if !rings.is_wanted {
            return;
        }
        let bin = bin_at(reading.taken_at.boot);
        let Rings { sensors, count, .. } = &mut *rings;
        if !sensors.contains_key(&reading.sensor) {
            sensors.insert(reading.sensor.clone(), Vec::new());
        }
        let Some(rings) = sensors.get_mut(&reading.sensor) else { return };
        for measurement in &reading.measurements {
            let (value, decimals) = match measurement.value {
                Value::Number { value, decimals } => (value as f32, decimals),
                Value::Flag(flag) => (if flag { 1.0 } else { 0.0 }, 0),
                Value::Word(_) => continue,
            };
            if let Some(ring) = rings.iter_mut().find(|ring| ring.measurement == measurement.name) {
                ring.add(bin, value);
            } else if *count < MAX_CURVES {
                *count += 1;
                let points = Box::new([EMPTY; BINS]);
                let mut ring = Ring { measurement: measurement.name.clone(), decimals, newest: bin, points };
                ring.add(bin, value);
                rings.push(ring);
            }
        }
    }

    /// Every curve, as of `now` on the boot clock.
    pub fn all(&self, now: Duration) -> Vec<(Name, Vec<Curve>)> {
        let (rings, newest) = (self.locked(), bin_at(now));
        let of = |rings: &Vec<Ring>| rings.iter().map(|ring| ring.until(newest)).collect();
        rings.sensors.iter().map(|(name, rings)| (name.clone(), of(rings))).collect()
    }

    /// Forgets every sensor but these.
    pub fn retain(&self, sensors: &BTreeSet<Name>) {
        let mut rings = self.locked();
        rings.sensors.retain(|name, _| sensors.contains(name));
        rings.count = rings.sensors.values().map(Vec::len).sum();
    }

    fn locked(&self) -> MutexGuard<'_, Rings> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bin_at(boot: Duration) -> u64 {
    boot.as_secs() / BIN.as_secs()
}

fn place(bin: u64) -> usize {
    // Less than BINS.
    (bin % BINS as u64) as usize
}

impl Ring {
    fn add(&mut self, bin: u64, value: f32) {
        if bin + (BINS as u64) <= self.newest || !value.is_finite() {
            return;
        }
        if bin > self.newest {
            let passed = (bin - self.newest).min(BINS as u64);
            (0..passed).for_each(|back| self.points[place(bin - back)] = EMPTY);
            self.newest = bin;
        }
        let [low, high] = &mut self.points[place(bin)];
        // The smaller of a number and what is none is the number.
        (*low, *high) = (low.min(value), high.max(value));
    }

    fn until(&self, newest: u64) -> Curve {
        let point = |back: u64| {
            let bin = newest.checked_sub(back)?;
            let is_there = bin <= self.newest && bin + (BINS as u64) > self.newest;
            let point = self.points[place(bin)];
            (is_there && point[0].is_finite()).then_some(point)
        };
        let points = (0..BINS as u64).rev().map(point).collect();
        Curve { measurement: self.measurement.clone(), decimals: self.decimals, points }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fieldgate_model::{ClockStatus, Measurement, Moment, Quantity, RunId};
    use proptest::prelude::*;
    use std::time::SystemTime;

    fn reading(sensor: &str, second: u64, measurements: Vec<Measurement>) -> Reading {
        let wall = SystemTime::UNIX_EPOCH;
        let taken_at = Moment { boot: Duration::from_secs(second), wall, clock: ClockStatus::Synchronised };
        Reading { sensor: Name::new(sensor).unwrap(), run: RunId(1), seq: 1, taken_at, measurements, samples: None }
    }

    fn kept(readings: &[Reading]) -> Curves {
        let curves = Curves::default();
        curves.set_wanted(true);
        readings.iter().for_each(|reading| curves.keep(reading));
        curves
    }

    fn points(curves: &Curves, now: u64) -> Vec<Option<[f32; 2]>> {
        curves.all(Duration::from_secs(now)).first().map_or_else(Vec::new, |(_, all)| all[0].points.clone())
    }

    const T: Quantity = Quantity::new("temperature", "°C", 1);

    #[test]
    fn each_half_minute_says_what_was_lowest_and_highest() {
        let at = |second, value| reading("air", second, vec![T.measured(value)]);
        let curves = kept(&[at(3600, 20.0), at(3610, 22.0), at(3629, 21.0), at(3690, 5.0)]);
        let all = points(&curves, 3700);
        assert_eq!((all.len(), &all[BINS - 4..]), (BINS, &[Some([20.0, 22.0]), None, None, Some([5.0, 5.0])][..]));
        assert_eq!(points(&curves, 3600 + 3599)[0], Some([20.0, 22.0]), "an hour");
        assert!(points(&curves, 7200 + 90).iter().all(Option::is_none));
    }

    #[test]
    fn events_have_no_curve_and_flags_are_one_or_zero() {
        let both = vec![Quantity::flag("motion").observed(true), Quantity::word("click").happened("double")];
        let all = kept(&[reading("door", 60, both)]).all(Duration::from_secs(60));
        assert_eq!((all[0].1.len(), all[0].1[0].points[BINS - 1]), (1, Some([1.0, 1.0])));
    }

    #[test]
    fn nothing_is_kept_where_nobody_may_look_and_no_more_than_the_limit() {
        let curves = Curves::default();
        curves.keep(&reading("air", 60, vec![T.measured(1.0)]));
        assert!(points(&curves, 60).is_empty());
        let many: Vec<_> = (0..1200).map(|n| reading(&format!("s{n}"), 60, vec![T.measured(1.0)])).collect();
        let curves = kept(&many);
        let count = || curves.all(Duration::from_secs(60)).iter().map(|(_, all)| all.len()).sum::<usize>();
        assert_eq!(count(), MAX_CURVES);
        curves.retain(&BTreeSet::from([Name::new("s1").unwrap()]));
        assert_eq!(count(), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Against all readings, looked through again for each point.
        #[test]
        fn every_point_is_what_the_readings_of_its_time_say(
            steps in proptest::collection::vec((0..400_u64, -50..50_i32), 1..60), later in 0..5000_u64,
        ) {
            let mut second = 0;
            let all: Vec<_> = steps.into_iter().map(|(step, value)| { second += step; (second, f64::from(value)) }).collect();
            let curves = kept(&all.iter().map(|(at, value)| reading("air", *at, vec![T.measured(*value)])).collect::<Vec<_>>());
            let now = second + later;
            for (back, point) in points(&curves, now).into_iter().rev().enumerate() {
                let bin = (now / 30).checked_sub(back as u64);
                let here: Vec<_> = all.iter().filter(|(at, _)| Some(at / 30) == bin).map(|(_, value)| *value as f32).collect();
                let low = here.iter().copied().reduce(f32::min);
                let high = here.iter().copied().reduce(f32::max);
                prop_assert_eq!(point, low.zip(high).map(|(low, high)| [low, high]), "{} back", back);
            }
        }
    }
}
