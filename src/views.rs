//! The newest reading and state of every device, for whatever shows them: the demo's table, and plain topics that a reload adds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use fieldgate_model::{Name, OutputValue, Reading, SensorStatus, StateCause};

/// What is known of one sensor.
#[derive(Clone, Debug, Default)]
pub struct SensorView {
    /// Its newest reading.
    pub latest: Option<Reading>,
    /// Its status.
    pub status: Option<SensorStatus>,
}

/// What is known of one output.
#[derive(Clone, Debug)]
pub struct OutputView {
    /// What it does.
    pub value: Option<OutputValue>,
    /// Since when.
    pub since: SystemTime,
    /// Why.
    pub cause: StateCause,
}

/// Everything that is known.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// By name.
    pub sensors: BTreeMap<Name, SensorView>,
    /// By name.
    pub outputs: BTreeMap<Name, OutputView>,
}

/// A [`View`] that the recorder writes and others read. Bounded by the number of devices.
#[derive(Clone, Debug, Default)]
pub struct Views(Arc<Mutex<View>>);

impl Views {
    /// Notes a reading, in the place of the one before: nothing is allocated for it.
    pub fn reading(&self, reading: &Reading) {
        self.with(|view| match view.sensors.get_mut(&reading.sensor).and_then(|sensor| sensor.latest.as_mut()) {
            Some(known) => {
                let Reading { sensor: _, run, seq, taken_at, measurements, samples } = reading;
                (known.run, known.seq, known.taken_at, known.samples) = (*run, *seq, *taken_at, *samples);
                known.measurements.clone_from(measurements);
            }
            None => view.sensors.entry(reading.sensor.clone()).or_default().latest = Some(reading.clone()),
        });
    }

    /// Notes the status of a sensor.
    pub fn status(&self, sensor: &Name, status: SensorStatus) {
        self.with(|view| view.sensors.entry(sensor.clone()).or_default().status = Some(status));
    }

    /// Notes what an output does.
    pub fn state(&self, actuator: &Name, output: OutputView) {
        self.with(|view| {
            view.outputs.insert(actuator.clone(), output);
        });
    }

    /// Forgets every device but these.
    pub fn retain(&self, sensors: &BTreeSet<Name>, outputs: &BTreeSet<Name>) {
        self.with(|view| {
            view.sensors.retain(|name, _| sensors.contains(name));
            view.outputs.retain(|name, _| outputs.contains(name));
        });
    }

    /// A copy of what is known now.
    pub fn current(&self) -> View {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn with(&self, change: impl FnOnce(&mut View)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
