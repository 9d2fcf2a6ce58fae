//! THE TABLE of filters, and one file for each.
//!
//! A filter is a file with its `FilterSpec` (name, page, example, parameter and how it is built), its type and its tests, and a line in
//! [`FILTERS`]. It is given finite values, one after the other, and no times.

mod calibrate;
mod clamp;
mod exponential_moving_average;
mod maximum;
mod median;
mod minimum;
mod moving_average;
mod multiply;
mod offset;
mod omit;
mod polynomial;
mod quantile;
mod round;
mod skip_initial;
mod spike;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod to;
mod within;
#[cfg(test)]
mod written;

use std::fmt;

use fieldgate_model::{Kind, Wrong};

use crate::spec::{Filter, FilterSpec, numbers};
use crate::window::Window;
use fieldgate_model::Setting;

/// Every filter, in the order in which the documents list them.
pub static FILTERS: &[&FilterSpec] = &[
    &offset::SPEC,
    &multiply::SPEC,
    &calibrate::SPEC,
    &polynomial::SPEC,
    &clamp::SPEC,
    &within::SPEC,
    &spike::SPEC,
    &median::SPEC,
    &moving_average::SPEC,
    &minimum::SPEC,
    &maximum::SPEC,
    &quantile::SPEC,
    &exponential_moving_average::SPEC,
    &skip_initial::SPEC,
    &round::SPEC,
    &to::SPEC,
    &omit::SPEC,
];

/// The filter of this name.
pub fn find(name: &str) -> Option<&'static FilterSpec> {
    FILTERS.iter().find(|spec| spec.name == name).copied()
}

/// A number that a filter computes with: whatever a sensor may say.
const NUMBER: Kind = Kind::Number { min: -1e15, max: 1e15 };

/// A window in samples. A longer one would hide for minutes what happens.
const WINDOW: Kind = Kind::Integer { min: 1, max: 1000 };

/// A filter that remembers nothing.
struct Pure<F>(F);

impl<F> fmt::Debug for Pure<F> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Pure")
    }
}

impl<F: Fn(f64) -> Option<f64> + Send> Filter for Pure<F> {
    fn apply(&mut self, value: f64) -> Option<f64> {
        (self.0)(value)
    }
}

/// A filter that computes something of a whole window.
struct OfWindow {
    window: Window,
    compute: fn(&[f64]) -> f64,
}

impl OfWindow {
    fn new(size: usize, compute: fn(&[f64]) -> f64) -> Self {
        Self { window: Window::new(size), compute }
    }
}

impl fmt::Debug for OfWindow {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.window.fmt(out)
    }
}

impl Filter for OfWindow {
    fn apply(&mut self, value: f64) -> Option<f64> {
        self.window.push(value);
        Some((self.compute)(self.window.values()))
    }

    fn gap(&mut self) {
        self.window.clear();
    }
}

/// The two ends of a range, the lower first.
fn range(list: &[Setting]) -> Result<(f64, f64), Wrong> {
    match numbers(list)[..] {
        [low, high] if low < high => Ok((low, high)),
        [low, high] if low > high => {
            Err(Wrong::new(format!("{low} is above {high}"), format!("write [{high}, {low}]: the lower end first")))
        }
        [end, _] => Err(Wrong::new(format!("from {end} to {end} is one value"), "write two different ends")),
        ref other => {
            Err(Wrong::new(format!("a range has two ends, not {}", other.len()), "write for example [0, 100]"))
        }
    }
}
