//! What a filter is, and what one in a configuration says.

use std::fmt;

use fieldgate_model::{Field, Kind, Quantity, Setting, Settings, Wrong};

/// One entry of the table of filters.
#[derive(Debug)]
pub struct FilterSpec {
    /// Its name, the key in the configuration.
    pub name: &'static str,
    /// One line for the table.
    pub summary: &'static str,
    /// How it computes, and what *no value* does to it; lines of at most 76 characters.
    pub page: &'static str,
    /// What stands behind its name.
    pub takes: Takes,
    /// An entry of a list of filters, as in the configuration.
    pub example: &'static str,
    /// Makes one for a quantity, or says why that cannot be.
    pub build: fn(&Parameter, &Quantity) -> Result<Built, Wrong>,
}

impl PartialEq for FilterSpec {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// What stands behind the name of a filter.
#[derive(Clone, Copy, Debug)]
pub enum Takes {
    /// Nothing: the name alone.
    Nothing,
    /// One value of this kind, written behind the filter's name.
    Value(Kind),
    /// A section of keys.
    Keys(&'static [Field]),
}

/// What a configuration says behind the name of a filter, checked against its [`Takes`].
#[derive(Clone, Debug, PartialEq)]
pub enum Parameter {
    /// Of [`Takes::Nothing`].
    Nothing,
    /// Of [`Takes::Value`].
    Value(Setting),
    /// Of [`Takes::Keys`].
    Keys(Settings),
}

impl Parameter {
    pub(crate) fn number(&self) -> f64 {
        match self {
            Self::Value(Setting::Number(number)) => *number,
            _ => self.wrong(),
        }
    }

    pub(crate) fn count(&self) -> usize {
        match self {
            Self::Value(Setting::Integer(count)) => usize::try_from(*count).unwrap_or_else(|_| self.wrong()),
            _ => self.wrong(),
        }
    }

    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Value(Setting::Text(text)) => text,
            _ => self.wrong(),
        }
    }

    pub(crate) fn list(&self) -> &[Setting] {
        match self {
            Self::Value(Setting::List(list)) => list,
            _ => self.wrong(),
        }
    }

    pub(crate) fn keys(&self) -> &Settings {
        match self {
            Self::Keys(keys) => keys,
            _ => self.wrong(),
        }
    }

    /// A filter asked for what its own spec does not take: the tests over the table find it.
    fn wrong(&self) -> ! {
        panic!("{self:?} is not what this filter's spec takes")
    }
}

/// The numbers of a list of them.
pub(crate) fn numbers(list: &[Setting]) -> Vec<f64> {
    let number = |setting: &Setting| match setting {
        Setting::Number(number) => Some(*number),
        _ => None,
    };
    list.iter().filter_map(number).collect()
}

/// A filter and its parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The filter that is applied.
    pub filter: &'static FilterSpec,
    /// What stands behind its name.
    pub parameter: Parameter,
}

impl Step {
    /// The filter with this parameter, which must be of its [`Takes`].
    pub fn new(filter: &'static FilterSpec, parameter: Parameter) -> Self {
        Self { filter, parameter }
    }
}

/// What a filter makes of a quantity.
#[derive(Debug)]
pub enum Built {
    /// The measurement is left out of readings.
    Omit,
    /// Its values go through this, and are of this quantity then.
    Filter(Box<dyn Filter>, Quantity),
}

/// A filter at work. It is given finite numbers only.
pub trait Filter: fmt::Debug + Send {
    /// What becomes of a value; `None`: it counts as no value.
    fn apply(&mut self, value: f64) -> Option<f64>;

    /// A sample came that has no value for this filter: what it remembers of earlier ones is forgotten.
    fn gap(&mut self) {}

    /// The sensor failed, or is new.
    fn restart(&mut self) {
        self.gap();
    }
}
