//! The newest reading and state of every device, the answer to the newest command of every output, and what rules are at, for what shows
//! them: the demo's table, the page, metrics, and plain topics that a reload adds. Nothing is counted here; `health.rs` reads the tallies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use fieldgate_model::{Name, Outcome, OutputValue, Reading, SensorStatus, StateCause};

/// What is known of one sensor.
#[derive(Clone, Debug, Default)]
pub struct SensorView {
    /// Its newest reading of this run; none before the first.
    pub latest: Option<Reading>,
    /// Whether it is well; none as long as nothing is known.
    pub status: Option<SensorStatus>,
    /// Since when it has this status.
    pub since: Option<SystemTime>,
    /// Why it is not well, in words.
    pub error: Option<String>,
}

/// What is known of one output.
#[derive(Clone, Debug)]
pub struct OutputView {
    /// What it does; `None` while the hardware does not follow.
    pub value: Option<OutputValue>,
    /// Where it is going to, in percent, while it is on its way.
    pub target: Option<f64>,
    /// Since when it does that, by the wall clock.
    pub since: SystemTime,
    /// Why it does that.
    pub cause: StateCause,
    /// The rule that is the cause, if one is.
    pub rule: Option<Name>,
}

/// What was answered to the newest command of an output.
#[derive(Clone, Debug, PartialEq)]
pub struct LastReply {
    /// What became of it.
    pub outcome: Outcome,
    /// What the output was set to.
    pub value: Option<OutputValue>,
    /// Why not, or what to know.
    pub reason: Option<String>,
    /// When it was answered, by the wall clock.
    pub time: SystemTime,
}

/// Everything that is known.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The sensors by name.
    pub sensors: BTreeMap<Name, SensorView>,
    /// The outputs by name.
    pub outputs: BTreeMap<Name, OutputView>,
    /// Answers to the newest commands, by the name of the output.
    pub answered: BTreeMap<Name, LastReply>,
    /// What each rule is at, as `B/rules` has it; nothing without rules.
    pub rules: Option<Arc<[u8]>>,
}

/// A [`View`] that the recorder, commands, rules and the stall detector write and others read. Bounded by the number of devices.
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
    pub fn status(&self, sensor: &Name, status: SensorStatus, since: SystemTime, error: Option<&str>) {
        self.with(|view| {
            let known = view.sensors.entry(sensor.clone()).or_default();
            (known.status, known.since, known.error) = (Some(status), Some(since), error.map(str::to_owned));
        });
    }

    /// Notes what the newest command of an output was answered.
    pub fn answered(&self, output: &Name, answered: LastReply) {
        self.with(|view| {
            view.answered.insert(output.clone(), answered);
        });
    }

    /// Notes what rules are at.
    pub fn rules(&self, report: Option<&[u8]>) {
        self.with(|view| view.rules = report.map(Arc::from));
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
            view.answered.retain(|name, _| outputs.contains(name));
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
