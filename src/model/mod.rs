//! The words of the domain. Pure: no I/O, no async, no client library, no clock.
//!
//! Read `reading.rs`, `output.rs` and `command.rs` first; `topic.rs` and `payload.rs` are the only places where topics and JSON are
//! made or parsed; `field.rs` describes what a configuration key may hold.

pub mod command;
pub mod count;
pub mod field;
pub mod message;
pub mod names;
pub mod noted;
pub mod output;
pub mod payload;
pub mod reading;
pub mod secret;
pub mod throttle;
pub mod topic;

pub use command::{Command, CommandValue, Outcome, Reason, Refusal, Reply, Word};
pub use count::{Count, Kept};
pub use field::{Field, Kind, Need, Setting, Settings};
pub use message::{Key, Loss, Message, MessageKind, Qos};
pub use names::{Name, NameError, RunId};
pub use noted::{Noted, REMEMBERED, Recalled};
pub use output::{Action, Move, OutputKind, OutputValue, Pace, StateCause, Travel};
pub use reading::{ClockStatus, Measurement, Moment, Quantity, Reading, SensorStatus, Value};
pub use secret::Secret;
pub use throttle::Throttle;
