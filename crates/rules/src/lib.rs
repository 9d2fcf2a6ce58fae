//! Rules that work offline: a thermostat, a float switch and a pump, a button and a lamp. Pure: no I/O and no clock.
//!
//! [`Table::compile`] makes a [`Table`] of what is configured. [`Engine`] takes what signals say, commands from outside, answers to its
//! orders and the time, and gives [`Order`]s, a [`Status`] of each rule and the moment at which it must be asked again. Promises:
//!
//! - **A rule begins** when its `when` has been true, and its `until` false, for as long as `for` says. It ends when its `until`, which is
//!   `not when` if left out, has been true for `until_for`. Both together are a hysteresis.
//! - **Nothing begins on what is unknown**, and an active rule ends when what decides its end has been unknown for `lost`.
//! - **A click is a moment**: such a rule begins at the click and ends `until_for` later, or by its `until`. Another click meanwhile starts
//!   that time again.
//! - **A click in `until` dismisses**: what it alone has ended begins again only when `when` has been false once.
//! - **An output has one owner**: of the active rules that set it the one with the highest priority. What ends lets go of its outputs: they
//!   do what `then` says or take their safe state, unless another active rule wants them.
//! - **The guard of the output has the last word.** A rule whose order is refused is *blocked*, says why, and tries again each
//!   [`RETRY`]. After `max_on` it leaves the output alone until its condition has changed.
//! - **A command from outside takes an output over** from all rules that want it, until the condition of one of these changes.
//! - **A loop ends**: a rule that changes [`MAX_CHANGES`] times within a minute is stopped for [`LOOP_PAUSE`]. [`Table::circles`] and
//!   [`Table::circles_between`] find those of which it can be proved before they run.
//! - **A step costs what it concerns**: a signal that did not change evaluates nothing, one that did evaluates the rules that name it, and
//!   nothing is allocated but for what a person reads.
//!
//! Time of day is what the board's clock shows. Where daylight saving begins, `time >= "02:30"` is true from 03:00 on; where it ends, it is
//! true from the first 02:30 to the second 02:00, and from the second 02:30 on.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use fieldgate_formula::{self as language, Kind, Value};
//! use fieldgate_model::{Action, Name, OutputValue};
//! use fieldgate_rules::{Engine, Event, Now, Order, RuleSpec, SignalKind, Table, What};
//!
//! let name = |text| Name::new(text).unwrap();
//! let on = Action::Set(OutputValue::Switch(true));
//! let spec = RuleSpec { set: vec![(name("heater"), on)], ..RuleSpec::new(name("heating"), "room.temperature < 19") };
//! let kind = |_: &language::Name| Some(SignalKind::Continuous(Kind::number("°C")));
//! let mut engine = Engine::new(Table::compile(vec![spec], kind).unwrap());
//!
//! let mut orders = Vec::new();
//! engine.write(0, Value::Number(18.5));
//! engine.step(Now::without_wall(Duration::from_secs(1)), Event::Time, &mut orders);
//! assert_eq!(orders[0].what, What::Set { output: 0, action: on });
//!
//! orders.clear();
//! engine.write(0, Value::Unknown);
//! engine.step(Now::without_wall(Duration::from_secs(2)), Event::Time, &mut orders);
//! assert_eq!(orders[0].what, What::LetGo { output: 0, action: None });
//! ```

mod circles;
mod engine;
mod facts;
mod rule;
mod status;
mod table;
#[cfg(test)]
mod tests;
mod words;

pub use circles::UNLIMITED;
pub use engine::{Engine, Event, LOOP_PAUSE, MAX_CHANGES, Now, Order, RETRY, Trip, Wall, What};
pub use rule::{Manual, Publication, RuleSpec};
pub use status::{State, Status, Why};
pub use table::{RuleProblem, SignalKind, Table, Which};
