//! The newest reading and state of every device, for whatever shows them: the demo's table.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use fieldgate_model::{Measurement, Moment, Name, OutputValue, Reading, SensorStatus, StateCause};

/// What is known of one sensor.
#[derive(Clone, Debug, Default)]
pub struct SensorView {
    /// Its newest reading and when it was taken.
    pub latest: Option<(Moment, Vec<Measurement>)>,
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
    /// Notes a reading.
    pub fn reading(&self, reading: &Reading) {
        let latest = Some((reading.taken_at, reading.measurements.clone()));
        self.with(|view| view.sensors.entry(reading.sensor.clone()).or_default().latest = latest);
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

    /// A copy of what is known now.
    pub fn current(&self) -> View {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn with(&self, change: impl FnOnce(&mut View)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
