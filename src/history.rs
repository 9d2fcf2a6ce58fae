//! The newest readings of each sensor, in memory, for those who ask what was: nothing of it outlives the program.
//!
//! Bounded twice: [`PER_SENSOR`] readings of each sensor, and [`IN_ALL`] of all, where the oldest of the sensor that has most goes
//! first. Without anybody who may ask nothing is kept.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fieldgate_model::{Message, Name};

/// Readings of one sensor.
pub const PER_SENSOR: usize = 60;

/// Readings of all sensors: at two hundred bytes each a megabyte.
pub const IN_ALL: usize = 6000;

/// The newest readings, which the recorder writes. Clones are one and the same.
#[derive(Clone, Debug, Default)]
pub struct History(Arc<Mutex<Readings>>);

#[derive(Debug, Default)]
struct Readings {
    is_wanted: bool,
    readings: BTreeMap<Name, VecDeque<Message>>,
    count: usize,
}

impl History {
    /// Whether anybody may ask. If not, what is kept is forgotten.
    pub fn set_wanted(&self, is_wanted: bool) {
        let mut kept = self.kept();
        if !is_wanted {
            *kept = Readings::default();
        }
        kept.is_wanted = is_wanted;
    }

    /// Takes a reading, which is made only where it is wanted.
    pub fn keep(&self, reading: impl FnOnce() -> Message) {
        let mut kept = self.kept();
        if !kept.is_wanted {
            return;
        }
        let reading = reading();
        let of_sensor = kept.readings.entry(reading.key.source.clone()).or_default();
        of_sensor.push_back(reading);
        if of_sensor.len() > PER_SENSOR {
            of_sensor.pop_front();
            return;
        }
        kept.count += 1;
        if kept.count > IN_ALL {
            kept.drop_one();
        }
    }

    /// The newest readings of a sensor, the oldest of them first.
    pub fn newest(&self, sensor: &Name, count: usize) -> Vec<Message> {
        let kept = self.kept();
        let all = kept.readings.get(sensor);
        all.map_or_else(Vec::new, |all| all.iter().skip(all.len().saturating_sub(count)).cloned().collect())
    }

    /// Forgets every sensor but these.
    pub fn retain(&self, sensors: &BTreeSet<Name>) {
        let mut kept = self.kept();
        kept.readings.retain(|name, _| sensors.contains(name));
        kept.count = kept.readings.values().map(VecDeque::len).sum();
    }

    fn kept(&self) -> MutexGuard<'_, Readings> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Readings {
    fn drop_one(&mut self) {
        if let Some(longest) = self.readings.values_mut().max_by_key(|all| all.len())
            && longest.pop_front().is_some()
        {
            self.count -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fieldgate_model::{Key, MessageKind, Qos, RunId};

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn reading(sensor: &str, seq: u64) -> Message {
        Message {
            key: Key { kind: MessageKind::Reading, source: name(sensor) },
            run: RunId(1),
            seq,
            taken_at: fieldgate_clock::now(),
            qos: Qos::AtLeastOnce,
            retain: false,
            body: Vec::new(),
        }
    }

    fn numbers(history: &History, sensor: &str, count: usize) -> Vec<u64> {
        history.newest(&name(sensor), count).iter().map(|reading| reading.seq).collect()
    }

    #[test]
    fn the_newest_of_each_sensor_are_kept_where_somebody_may_ask() {
        let history = History::default();
        history.keep(|| panic!("nobody may ask"));
        history.set_wanted(true);
        (1..=100).for_each(|seq| history.keep(|| reading("air", seq)));
        history.keep(|| reading("far", 1));
        assert_eq!((numbers(&history, "air", 3), numbers(&history, "far", 60)), (vec![98, 99, 100], vec![1]));
        assert_eq!((numbers(&history, "air", 1000).len(), numbers(&history, "ghost", 1)), (PER_SENSOR, vec![]));
        history.retain(&BTreeSet::from([name("far")]));
        assert_eq!((numbers(&history, "air", 60), numbers(&history, "far", 60)), (vec![], vec![1]));
        history.set_wanted(false);
        assert!(numbers(&history, "far", 60).is_empty());
    }

    #[test]
    fn with_very_many_sensors_each_has_fewer() {
        let history = History::default();
        history.set_wanted(true);
        let sensors: Vec<_> = (0..200).map(|n| format!("s{n}")).collect();
        for seq in 1..=60 {
            sensors.iter().for_each(|sensor| history.keep(|| reading(sensor, seq)));
        }
        let lengths: Vec<_> = sensors.iter().map(|sensor| numbers(&history, sensor, 60).len()).collect();
        assert_eq!(lengths.iter().sum::<usize>(), IN_ALL);
        assert!(lengths.iter().all(|length| (29..=31).contains(length)), "{lengths:?}");
        assert!(sensors.iter().all(|sensor| numbers(&history, sensor, 1) == [60]));
    }
}
