//! The signal store: the newest samples of sensors, states of outputs and values of variables, for whatever is computed from them.
//!
//! Workers write here what was sampled, filtered already, and a [`Listener`] is woken by what it asked for. Of sensors only what
//! somebody computes with is kept: for all others a write is one look at a flag, or at a list. Nothing here is late, lost or numbered; that
//! concerns readings.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use fieldgate_model::{
    Measurement, Name, OutputKind, OutputValue, Quantity, StateCause, Value, VariableKind, VariableValue,
};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{Errno, read, write};

use crate::{Bus, BusError};

/// How a sensor or an output is called, and what of it: `air.temperature`, `pump.value`; or a variable: `target`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SignalName {
    /// The sensor, the output or the variable.
    pub device: Name,
    /// The measurement; [`OUTPUT_VALUE`] of an output, nothing of a variable.
    pub value: String,
}

impl SignalName {
    /// A variable.
    pub fn variable(name: Name) -> Self {
        Self { device: name, value: String::new() }
    }
}

/// As formulas write it.
impl fmt::Display for SignalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value.as_str() {
            "" => self.device.fmt(f),
            value => write!(f, "{}.{value}", self.device),
        }
    }
}

/// What the one value of an output is called.
pub const OUTPUT_VALUE: &str = "value";

/// Where a signal comes from: something that can be computed with.
#[derive(Clone, Debug, PartialEq)]
pub enum SignalSource {
    /// A sensor, its quantities behind the filters, and for how long a sample is good.
    Sensor(Name, Vec<Quantity>, Duration),
    /// An output.
    Output(Name, OutputKind),
    /// A variable.
    Variable(Name, VariableKind),
}

/// What a signal says.
#[derive(Clone, Debug, PartialEq)]
pub enum Signal {
    /// A measurement.
    Measured(Value),
    /// What an output does.
    Output(OutputValue),
    /// What a variable was set to.
    Variable(VariableValue),
}

/// The newest sample of a sensor.
#[derive(Debug)]
struct SensorEntry {
    quantities: Vec<Quantity>,
    good_for: Duration,
    /// In the order of the quantities, as of the newest sample.
    values: Vec<Option<Value>>,
    /// When that was taken, on the boot clock.
    at: Duration,
    /// How many samples there were.
    samples: u64,
    listeners: Vec<Weak<OwnedFd>>,
}

/// What an output does.
#[derive(Debug)]
struct OutputEntry {
    kind: OutputKind,
    value: Option<OutputValue>,
    /// Why it does that, and how often that was written.
    last: Option<Change>,
    listeners: Vec<Weak<OwnedFd>>,
}

/// The value of a variable.
#[derive(Debug)]
struct VariableEntry {
    kind: VariableKind,
    value: Option<VariableValue>,
    listeners: Vec<Weak<OwnedFd>>,
}

/// The last change of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// What made the output change.
    pub cause: StateCause,
    /// How many changes there were with this one, from 1.
    pub nth: u64,
}

#[derive(Debug, Default)]
struct Entries {
    sensors: BTreeMap<Name, SensorEntry>,
    outputs: BTreeMap<Name, OutputEntry>,
    variables: BTreeMap<Name, VariableEntry>,
    link_up: Option<bool>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Whether samples of any sensor are kept.
    is_wanted: AtomicBool,
    entries: Mutex<Entries>,
}

/// The signal store. Clones are one and the same.
#[derive(Clone, Debug, Default)]
pub struct Signals(Arc<Shared>);

impl PartialEq for Signals {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Signals {}

impl Hash for Signals {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

impl Signals {
    /// Keeps these from now on, and nothing else. What was kept before, of the same kind, keeps its value and its listeners.
    pub fn arrange(&self, all: Vec<SignalSource>) {
        let mut entries = self.entries();
        let mut old = std::mem::take(&mut *entries);
        entries.link_up = old.link_up;
        for known in &all {
            match known {
                SignalSource::Sensor(name, quantities, good_for) => {
                    let entry = match old.sensors.remove(name) {
                        Some(entry) if entry.quantities == *quantities => SensorEntry { good_for: *good_for, ..entry },
                        other => SensorEntry {
                            quantities: quantities.clone(),
                            good_for: *good_for,
                            values: vec![None; quantities.len()],
                            at: Duration::ZERO,
                            samples: 0,
                            listeners: other.map_or_else(Vec::new, |entry| entry.listeners),
                        },
                    };
                    entries.sensors.insert(name.clone(), entry);
                }
                SignalSource::Output(name, kind) => {
                    let entry = match old.outputs.remove(name) {
                        Some(entry) if entry.kind == *kind => entry,
                        other => {
                            let listeners = other.map_or_else(Vec::new, |entry| entry.listeners);
                            OutputEntry { kind: *kind, value: None, last: None, listeners }
                        }
                    };
                    entries.outputs.insert(name.clone(), entry);
                }
                SignalSource::Variable(name, kind) => {
                    let entry = match old.variables.remove(name) {
                        Some(entry) if entry.kind == *kind => entry,
                        other => {
                            let listeners = other.map_or_else(Vec::new, |entry| entry.listeners);
                            VariableEntry { kind: kind.clone(), value: None, listeners }
                        }
                    };
                    entries.variables.insert(name.clone(), entry);
                }
            }
        }
        self.0.is_wanted.store(!entries.sensors.is_empty(), Ordering::Relaxed);
    }

    /// A sensor was sampled at that time on the boot clock. What the sample does not have is not known.
    pub fn sampled(&self, sensor: &Name, at: Duration, sample: &[Measurement]) {
        self.with_sensor(sensor, |entry| {
            entry.at = at;
            entry.samples += 1;
            for (value, quantity) in entry.values.iter_mut().zip(&entry.quantities) {
                let found = sample.iter().find(|measurement| measurement.name == quantity.name);
                *value = found.map(|measurement| measurement.value);
            }
        });
    }

    /// A sensor is down: nothing of it is known.
    pub fn sensor_down(&self, sensor: &Name) {
        self.with_sensor(sensor, |entry| entry.values.fill(None));
    }

    /// An output does something else; `None`: what it does is not known.
    pub fn output_changed(&self, output: &Name, value: Option<OutputValue>, cause: StateCause) {
        if let Some(entry) = self.entries().outputs.get_mut(output) {
            entry.value = value;
            entry.last = Some(Change { cause, nth: entry.last.map_or(0, |last| last.nth) + 1 });
            wake(&mut entry.listeners);
        }
    }

    /// A variable has this value from now on.
    pub fn assign(&self, variable: &Name, value: VariableValue) {
        if let Some(entry) =
            self.entries().variables.get_mut(variable).filter(|entry| entry.value.as_ref() != Some(&value))
        {
            entry.value = Some(value);
            wake(&mut entry.listeners);
        }
    }

    /// The last change of an output, if there was one.
    pub fn last_change(&self, output: &Name) -> Option<Change> {
        self.entries().outputs.get(output)?.last
    }

    /// The broker is connected, or is not any more. Nobody is woken by it alone.
    pub fn set_link_up(&self, is_up: bool) {
        self.entries().link_up = Some(is_up);
    }

    /// What a name stands for: a measurement's quantity, what an output can do, or what a variable takes.
    pub fn describe(&self, name: &SignalName) -> Option<SourceKind> {
        let entries = self.entries();
        if name.value.is_empty() {
            return entries.variables.get(&name.device).map(|entry| SourceKind::Variable(entry.kind.clone()));
        }
        if let Some(entry) = entries.sensors.get(&name.device) {
            let quantity = entry.quantities.iter().find(|quantity| quantity.name == name.value)?;
            return Some(SourceKind::Measured(quantity.clone()));
        }
        let output = entries.outputs.get(&name.device).filter(|_| name.value == OUTPUT_VALUE)?;
        Some(SourceKind::Output(output.kind))
    }

    /// Listens to these from now on.
    ///
    /// # Errors
    /// The kernel refused a descriptor: try again later.
    pub fn listen(&self, names: Vec<SignalName>) -> Result<Listener, BusError> {
        let made = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let failed = |errno: Errno| BusError::Io { what: "an event descriptor".into(), source: errno.into() };
        let wake = Arc::new(made.map_err(failed)?);
        let mut entries = self.entries();
        for name in &names {
            if name.value.is_empty() {
                entries.variables.get_mut(&name.device).into_iter().for_each(|entry| add(&mut entry.listeners, &wake));
            } else if let Some(entry) = entries.sensors.get_mut(&name.device) {
                add(&mut entry.listeners, &wake);
            } else if let Some(entry) = entries.outputs.get_mut(&name.device) {
                add(&mut entry.listeners, &wake);
            }
        }
        let seen = vec![0; names.len()];
        Ok(Listener { signals: self.clone(), names, seen, wake })
    }

    fn with_sensor(&self, sensor: &Name, change: impl FnOnce(&mut SensorEntry)) {
        if !self.0.is_wanted.load(Ordering::Relaxed) {
            return;
        }
        if let Some(entry) = self.entries().sensors.get_mut(sensor) {
            change(entry);
            wake(&mut entry.listeners);
        }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a signal says the value of.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceKind {
    /// A measurement.
    Measured(Quantity),
    /// An output.
    Output(OutputKind),
    /// A variable.
    Variable(VariableKind),
}

fn add(listeners: &mut Vec<Weak<OwnedFd>>, wake: &Arc<OwnedFd>) {
    listeners.retain(|listener| listener.strong_count() > 0);
    if !listeners.iter().any(|listener| std::ptr::eq(listener.as_ptr(), Arc::as_ptr(wake))) {
        listeners.push(Arc::downgrade(wake));
    }
}

fn wake(listeners: &mut Vec<Weak<OwnedFd>>) {
    listeners.retain(|listener| match listener.upgrade() {
        Some(listener) => {
            // The counter is full only when the listener is long awake.
            write(&*listener, &1u64.to_ne_bytes()).ok();
            true
        }
        None => false,
    });
}

/// Someone who computes with signals.
#[derive(Debug)]
pub struct Listener {
    signals: Signals,
    names: Vec<SignalName>,
    /// The number of the sample that was read last, for each name.
    seen: Vec<u64>,
    wake: Arc<OwnedFd>,
}

impl Listener {
    /// Becomes readable when one of its signals was written.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Whether something was written since the last call. While a sample is being written it waits, so that all who listen to that
    /// sensor have news then, or none has.
    pub fn take_news(&self) -> bool {
        let _is_whole = self.signals.entries();
        read(&*self.wake, &mut [0u8; 8]).is_ok()
    }

    /// The names in the order in which they were given.
    pub fn names(&self) -> &[SignalName] {
        &self.names
    }

    /// Whether the broker is connected, if anybody has said so.
    pub fn link_up(&self) -> Option<bool> {
        self.signals.entries().link_up
    }

    /// What the signals say at this time on the boot clock, in the order of their names, and of which samples that is; outputs
    /// and variables have none. What has just happened, such as a click, is read once: later it would be no news.
    pub fn read(&mut self, now: Duration, into: &mut Vec<Option<Signal>>, samples: &mut Vec<Option<Sampled>>) -> Read {
        into.clear();
        samples.clear();
        let entries = self.signals.entries();
        let mut read = Read::default();
        for (name, seen) in self.names.iter().zip(&mut self.seen) {
            if name.value.is_empty() {
                let value = entries.variables.get(&name.device).and_then(|entry| entry.value.clone());
                samples.push(None);
                into.push(value.map(Signal::Variable));
                continue;
            }
            let entry = entries.sensors.get(&name.device);
            samples.push(entry.map(|entry| Sampled { at: entry.at, good_for: entry.good_for }));
            into.push(match entry {
                None => entries.outputs.get(&name.device).and_then(|entry| entry.value).map(Signal::Output),
                Some(entry) => {
                    let place = entry.quantities.iter().position(|quantity| quantity.name == name.value);
                    let until = entry.at.saturating_add(entry.good_for);
                    let is_news = std::mem::replace(seen, entry.samples) != entry.samples;
                    let counts = |value: &Value| now <= until && (is_news || !matches!(value, Value::Word(_)));
                    let value = place.and_then(|place| entry.values[place]).filter(counts);
                    if value.is_some() {
                        read.too_old_at = Some(read.too_old_at.map_or(until, |at| at.min(until)));
                    }
                    read.misses_some |= entry.at == Duration::ZERO;
                    value.map(Signal::Measured)
                }
            });
        }
        read
    }
}

/// The newest sample of a sensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampled {
    /// When it was taken, on the boot clock.
    pub at: Duration,
    /// For how long it is good.
    pub good_for: Duration,
}

/// How old what was read is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// When the first sample that is known will be too old, on the boot clock.
    pub too_old_at: Option<Duration>,
    /// Whether there is a sensor of which no sample came yet.
    pub misses_some: bool,
}

/// The bus of computed sensors: the signal store alone.
pub(crate) struct SignalBus(Signals);

impl SignalBus {
    pub(crate) fn new(signals: Signals) -> Self {
        Self(signals)
    }
}

impl Bus for SignalBus {
    fn describe(&self) -> String {
        "the other sensors".into()
    }

    fn signals(&mut self) -> Result<Signals, BusError> {
        Ok(self.0.clone())
    }
}
