//! Which samples become readings, and what of several samples a reading says.
//!
//! Without a report each sample is a reading. With one, a sample becomes a reading
//!
//! - when it is the first, or the first after the sensor failed;
//! - when a measurement has moved by its `delta` since the last reading, a yes-or-no measurement has changed, or a measurement
//!   has lost its value or got one again; but not before `min_interval` has passed since the last reading;
//! - when `max_interval` has passed since then;
//! - in any case, and at once, when it says what has just happened, such as a click.
//!
//! Without `delta` and `max_interval` each sample counts that comes `min_interval` after the last reading.
//!
//! Times are on the boot clock, so setting the wall clock changes nothing. Samplings are never exactly on time; one that comes
//! [`SLACK`] early counts as on time, or a report of 10 s would wait for the sampling behind it every other time.

mod sum;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::time::Duration;

use fieldgate_model::{Measurement, Quantity, Value};

use crate::decimals;
use sum::Sum;

/// How much earlier than due a sample may come.
pub const SLACK: Duration = Duration::from_millis(20);

/// What a reading says of a measurement, of all samples since the last reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregate {
    /// The newest value.
    Last,
    /// The arithmetic mean.
    Mean,
    /// The smallest value.
    Min,
    /// The greatest value.
    Max,
}

impl Aggregate {
    /// All, as they are written.
    pub const NAMES: &'static [&'static str] = &["last", "mean", "min", "max"];

    /// The one that is written so.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "last" => Some(Self::Last),
            "mean" => Some(Self::Mean),
            "min" => Some(Self::Min),
            "max" => Some(Self::Max),
            _ => None,
        }
    }

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Last => "last",
            Self::Mean => "mean",
            Self::Min => "min",
            Self::Max => "max",
        }
    }
}

/// When a reading is made of the samples of a sensor.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReportSettings {
    /// By how much measurements must move, in their units behind the filters.
    pub delta: Vec<(String, f64)>,
    /// The shortest time between two readings.
    pub min_interval: Duration,
    /// The longest; `None`: there is none.
    pub max_interval: Option<Duration>,
    /// What a reading says of each number, the first under its plain name. Empty: the newest value, and the reading does not say
    /// of how many samples it is.
    pub aggregate: Vec<Aggregate>,
}

impl ReportSettings {
    /// What readings carry, of these filtered quantities.
    pub fn quantities(&self, filtered: Vec<Quantity>) -> Vec<Quantity> {
        let more = self.aggregate.get(1..).unwrap_or_default();
        let with_more = |quantity: Quantity| {
            let is_number = quantity.form == fieldgate_model::Form::Number;
            let more = if is_number { more } else { &[] };
            let named =
                |aggregate: &Aggregate| Quantity { name: extra_name(&quantity.name, *aggregate), ..quantity.clone() };
            let more: Vec<_> = more.iter().map(named).collect();
            std::iter::once(quantity).chain(more)
        };
        filtered.into_iter().flat_map(with_more).collect()
    }

    /// Whether each sample counts as a change.
    pub fn takes_every_sample(&self) -> bool {
        self.delta.is_empty() && self.max_interval.is_none()
    }
}

fn extra_name(name: &str, aggregate: Aggregate) -> Cow<'static, str> {
    Cow::Owned(format!("{name}_{}", aggregate.as_str()))
}

/// The samples of one sensor since its last reading.
#[derive(Debug)]
pub struct Report {
    settings: ReportSettings,
    measurements: Vec<Collected>,
    samples: u32,
    /// When the last reading was made; `None`: the next sample is one.
    reported_at: Option<Duration>,
    /// When a change may be reported that came too early.
    postponed_until: Option<Duration>,
}

/// What is collected of one measurement until the next reading.
#[derive(Debug)]
struct Collected {
    name: Cow<'static, str>,
    /// The names of what is published beside it, with what that is.
    more: Vec<(Cow<'static, str>, Aggregate)>,
    delta: Option<f64>,
    sum: Sum,
    /// What movement is measured from: what the last reading said under the plain name, or the newest sample of those of which it
    /// said an extreme. `None`: it said nothing. Where it said what samples had been before the newest, which had no value, the
    /// next without a value is a change: that reading says that there is none.
    reported: Option<Value>,
}

impl Report {
    /// A report of a sensor whose filtered samples have these quantities.
    pub fn new(settings: ReportSettings, filtered: &[Quantity]) -> Self {
        let slot = |quantity: &Quantity| {
            let more = settings.aggregate.iter().skip(1).map(|all| (extra_name(&quantity.name, *all), *all)).collect();
            let delta = settings.delta.iter().find(|(name, _)| *name == quantity.name).map(|(_, delta)| *delta);
            Collected { name: quantity.name.clone(), more, delta, sum: Sum::default(), reported: None }
        };
        let measurements = filtered.iter().map(slot).collect();
        Self { settings, measurements, samples: 0, reported_at: None, postponed_until: None }
    }

    /// Whether it was made for these settings and quantities.
    pub fn is_for(&self, settings: &ReportSettings, filtered: &[Quantity]) -> bool {
        let names = self.measurements.iter().map(|slot| &slot.name);
        self.settings == *settings && names.eq(filtered.iter().map(|quantity| &quantity.name))
    }

    /// Takes a filtered sample, and `true` if it becomes a reading; then `sample` holds what the reading says. The second value
    /// is of how many samples it is, if that is to be said.
    pub fn take(&mut self, at: Duration, sample: &mut Vec<Measurement>) -> (bool, Option<u32>) {
        self.postponed_until = None;
        if sample.is_empty() {
            self.measurements.iter_mut().for_each(Collected::take_nothing);
            return (false, None);
        }
        self.samples = self.samples.saturating_add(1);
        let mut has_changed = self.settings.takes_every_sample();
        for slot in &mut self.measurements {
            let value = sample.iter().find(|measurement| measurement.name == slot.name).map(|m| m.value);
            has_changed |= slot.take(value);
        }
        let happens = sample.iter().any(|measurement| matches!(measurement.value, Value::Word(_)));
        if !self.is_due(at, has_changed) && !happens {
            return (false, None);
        }
        let samples = (!self.settings.aggregate.is_empty()).then_some(self.samples);
        let first = self.settings.aggregate.first().copied().unwrap_or(Aggregate::Last);
        sample.clear();
        for slot in &mut self.measurements {
            slot.report(first, sample);
        }
        (self.reported_at, self.samples, self.postponed_until) = (Some(at), 0, None);
        (true, samples)
    }

    fn is_due(&mut self, at: Duration, has_changed: bool) -> bool {
        let Some(before) = self.reported_at else { return true };
        let passed = at.saturating_sub(before) + SLACK;
        if self.settings.max_interval.is_some_and(|longest| passed >= longest) {
            return true;
        }
        let is_early = passed < self.settings.min_interval;
        if has_changed && is_early {
            self.postponed_until = Some(before + self.settings.min_interval);
        }
        has_changed && !is_early
    }

    /// When a change that came too early may be reported: to look again then.
    pub fn postponed_until(&self) -> Option<Duration> {
        self.postponed_until
    }

    /// There was no sample when a change might have been reported that came too early: the next one is looked at.
    pub fn forget_postponed(&mut self) {
        self.postponed_until = None;
    }

    /// The sensor failed: the samples so far are forgotten, and the next good one is a reading.
    pub fn restart(&mut self) {
        self.measurements.iter_mut().for_each(|slot| slot.sum = Sum::default());
        (self.samples, self.reported_at, self.postponed_until) = (0, None, None);
    }
}

impl Collected {
    /// A sample of which nothing is left can be no reading; the next value counts as a change.
    fn take_nothing(&mut self) {
        self.sum.add(None);
        self.reported = None;
    }

    /// Takes the value of a sample; `true` when that is a change.
    fn take(&mut self, value: Option<Value>) -> bool {
        self.sum.add(value);
        match (self.reported, value) {
            (_, Some(Value::Word(_))) | (Some(Value::Word(_)), None) => false,
            (Some(Value::Number { value: before, .. }), Some(Value::Number { value: now, .. })) => {
                self.delta.is_some_and(|delta| has_moved(before, now, delta))
            }
            (before, now) => before != now,
        }
    }

    /// Adds what a reading says of it, and begins again.
    fn report(&mut self, first: Aggregate, reading: &mut Vec<Measurement>) {
        let value = self.sum.aggregate(first);
        reading.extend(value.map(|value| Measurement { name: self.name.clone(), value }));
        for (name, aggregate) in &self.more {
            // A yes-or-no value has no mean.
            let value = self.sum.aggregate(*aggregate).filter(|value| matches!(value, Value::Number { .. }));
            reading.extend(value.map(|value| Measurement { name: name.clone(), value }));
        }
        self.reported = match first {
            Aggregate::Last | Aggregate::Mean => value,
            Aggregate::Min | Aggregate::Max => self.sum.newest().or(value),
        };
        self.sum = Sum::default();
    }
}

/// Whether two numbers are at least `delta` apart; what decimals cannot say exactly counts as equal.
fn has_moved(before: f64, now: f64, delta: f64) -> bool {
    (now - before).abs() + decimals::tolerance(before, now, delta) >= delta
}
