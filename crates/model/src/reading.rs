//! What a sensor says: [`Reading`], its [`Measurement`]s and when it was taken.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use crate::{CountScale, Name, RunId};

/// What is measured: a fixed name, its unit and how many decimals the sensor means.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantity {
    /// One lower-case term of the field: `temperature`, `co2`, `voltage_0`.
    pub name: Cow<'static, str>,
    /// The unit as users write it: `°C`, `%`, `hPa`, `lx`, `V`; empty for flags and counts.
    pub unit: Cow<'static, str>,
    /// Decimals that the sensor's resolution justifies.
    pub decimals: u8,
    /// What its values are.
    pub form: Form,
    /// Of the total of a sensor that counts: how its count becomes the value. A user may set such a total.
    pub count_scale: Option<CountScale>,
}

/// What the values of a [`Quantity`] are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Finite numbers.
    Number,
    /// True or false.
    Flag,
    /// Words for what happens at a moment.
    Word,
}

impl Quantity {
    /// A quantity known when the program is built.
    pub const fn new(name: &'static str, unit: &'static str, decimals: u8) -> Self {
        Self { name: Cow::Borrowed(name), unit: Cow::Borrowed(unit), decimals, form: Form::Number, count_scale: None }
    }

    /// One that is true or false.
    pub const fn flag(name: &'static str) -> Self {
        Self::of(name, Form::Flag)
    }

    /// One of moments, each with a word for what happens.
    pub const fn word(name: &'static str) -> Self {
        Self::of(name, Form::Word)
    }

    const fn of(name: &'static str, form: Form) -> Self {
        Self { name: Cow::Borrowed(name), unit: Cow::Borrowed(""), decimals: 0, form, count_scale: None }
    }

    /// A measurement of this quantity.
    pub fn measured(&self, value: f64) -> Measurement {
        Measurement { name: self.name.clone(), value: Value::Number { value, decimals: self.decimals } }
    }

    /// A yes-or-no measurement of this quantity.
    pub fn observed(&self, flag: bool) -> Measurement {
        Measurement { name: self.name.clone(), value: Value::Flag(flag) }
    }

    /// Something of this quantity that has just happened.
    pub fn happened(&self, word: &'static str) -> Measurement {
        Measurement { name: self.name.clone(), value: Value::Word(word) }
    }
}

/// A measured value. A number that is not finite is refused by the worker before it becomes a [`Reading`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A number and the decimals worth printing.
    Number {
        /// In the quantity's unit.
        value: f64,
        /// Decimals after the point, at most.
        decimals: u8,
    },
    /// True or false.
    Flag(bool),
    /// One of a driver's words for what has just happened, such as `single`. It is of its moment: nobody may take it for the
    /// present later, so it is never retained.
    Word(&'static str),
}

/// A quantity's name and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// The measurement's name, as [`Quantity::name`].
    pub name: Cow<'static, str>,
    /// The value, in the quantity's unit.
    pub value: Value,
}

/// Whether the wall clock had been set by a time source when something was stamped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockStatus {
    /// The wall clock can be trusted.
    Synchronised,
    /// A board without a battery clock that has not heard from a time server yet.
    Unsynchronised,
}

/// A moment on both clocks. `fieldgate_clock::now()` makes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// `CLOCK_BOOTTIME`: since the machine started, suspends included. For schedules, ages and limits.
    pub boot: Duration,
    /// UTC. For people and payloads only.
    pub wall: SystemTime,
    /// Whether `wall` can be trusted.
    pub clock: ClockStatus,
}

impl Moment {
    /// The wall time of this moment as it is known `now`, if it could not be known then: computed back by the boot clock.
    /// Both must be of one boot of the machine.
    pub fn corrected(&self, now: &Moment) -> Option<SystemTime> {
        if self.clock == ClockStatus::Synchronised || now.clock == ClockStatus::Unsynchronised {
            return None;
        }
        now.wall.checked_sub(now.boot.checked_sub(self.boot)?)
    }
}

/// What one sampling of one sensor measured, or several.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The sensor's name in the configuration.
    pub sensor: Name,
    /// Which start of the program took it.
    pub run: RunId,
    /// From 1, per sensor and run; holes are reported on `B/loss`.
    pub seq: u64,
    /// When it was taken.
    pub taken_at: Moment,
    /// What was measured; at least one.
    pub measurements: Vec<Measurement>,
    /// Of how many samples it is, where it says so.
    pub samples: Option<u32>,
}

/// Status of a sensor, on `B/sensors/<name>/status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SensorStatus {
    /// The last sampling succeeded.
    Ok,
    /// It failed lately; the next attempts may succeed.
    Degraded,
    /// It has failed several times in a row; tried again at each period, for ever.
    Down,
}

impl SensorStatus {
    /// As it stands in topics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Down => "down",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(boot: u64, wall: u64, clock: ClockStatus) -> Moment {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(wall);
        Moment { boot: Duration::from_secs(boot), wall, clock }
    }

    #[test]
    fn a_time_from_before_the_clock_was_set_is_computed_back() {
        use ClockStatus::{Synchronised, Unsynchronised};
        let taken = moment(100, 5, Unsynchronised);
        let now = moment(160, 1_800_000_060, Synchronised);
        assert_eq!(taken.corrected(&now), Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)));
        assert_eq!(taken.corrected(&moment(160, 65, Unsynchronised)), None, "still not known");
        assert_eq!(moment(100, 1_800_000_000, Synchronised).corrected(&now), None, "was known");
        assert_eq!(moment(200, 5, Unsynchronised).corrected(&now), None, "not of this boot");
    }
}
