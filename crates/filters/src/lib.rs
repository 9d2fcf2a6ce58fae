//! What is done to a sample before it becomes a reading: [filters](FILTERS) per measurement, and a [report](Report) that
//! decides which samples become readings.
//!
//! Pure: no I/O and no clock, time is an argument. A filter takes a value and gives a value, or none. Three promises:
//!
//! - **Nothing is hidden.** Where a sample has no value for a filter (its channel failed, or an earlier filter took it), there
//!   is no value behind the filter either, and what it remembers is forgotten: an average never spans a gap. The same happens
//!   when the sensor fails.
//! - **What does not fit is found before anything runs**: [`Chain::build`] refuses a window of 0, pairs that contradict each
//!   other, units that cannot be converted, and says what the measurement is called and measured in afterwards.
//! - **Nothing is allocated for a sample.** Windows are allocated when a chain is built.
//!
//! ```
//! use fieldgate_filters::{Chain, Effect, Parameter, Step, find};
//! use fieldgate_model::{Quantity, Setting};
//!
//! let pair = |read, is| Setting::List(vec![Setting::Number(read), Setting::Number(is)]);
//! let pairs = Setting::List(vec![pair(0.0, 1.0), pair(100.0, 101.0)]);
//! let steps = [
//!     Step::new(find("calibrate").unwrap(), Parameter::Value(pairs)),
//!     Step::new(find("to").unwrap(), Parameter::Value(Setting::Text("°F".into()))),
//! ];
//! let temperature = Quantity::new("temperature", "°C", 2);
//! let Ok(Effect::Filter(mut chain, after)) = Chain::build(&steps, &temperature) else { panic!() };
//! assert_eq!(after.unit, "°F");
//! assert_eq!(chain.apply(Some(20.0)).map(f64::round), Some(70.0));
//! assert_eq!(chain.apply(None), None);
//! ```
//!
//! A filter is one file below `filter/` and one line in [`FILTERS`]: name, parameter, page, example and tests are in the file.

mod chain;
mod decimals;
mod filter;
mod report;
mod sensor;
mod spec;
mod units;
mod window;

// A file of the tests (`filter/written.rs`) names this crate as those in `tests/` do, which include it.
#[cfg(test)]
extern crate self as fieldgate_filters;

pub use chain::{Chain, Effect, Misfit};
pub use filter::{FILTERS, find};
pub use report::{Aggregate, Report, ReportSettings, SLACK};
pub use sensor::{MeasurementFilters, SensorFilters, filtered};
pub use spec::{Built, Filter, FilterSpec, Parameter, Step, Takes};
pub use units::{UNITS, Unit, conversion};
