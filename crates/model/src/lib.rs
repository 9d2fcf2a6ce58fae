//! The words of the domain. Pure: no I/O, no async, no client library, no clock.
//!
//! Read `reading.rs`, `output.rs` and `command.rs` first; `topic.rs` and `payload/` make and parse the topics and payloads of the gateway;
//! `field.rs` describes what the value of a configuration key may be.

pub mod command;
pub mod command_record;
pub mod count;
pub mod field;
pub mod message;
pub mod names;
pub mod output;
pub mod payload;
pub mod reading;
pub mod secret;
mod stored_settings;
pub mod throttle;
pub mod topic;
pub mod variable;
mod wrong;

pub use command::{
    Command, CommandValue, Outcome, Reason, Recipient, RecipientKind, Refusal, Reply, ReplyStatus, ReplyValue, Word,
};
pub use command_record::{CommandRecord, EarlierCommands, REMEMBERED};
pub use count::{Count, CountScale, PersistedCounts, Saved};
pub use field::{Field, Kind, Need, Setting, Settings};
pub use message::{Key, Loss, Message, MessageKind, Qos};
pub use names::{Name, NameError, RunId};
pub use output::{Action, Move, OutputKind, OutputValue, Pace, StateCause, Travel};
pub use reading::{ClockStatus, Form, Measurement, Moment, Quantity, Reading, SensorStatus, Value};
pub use secret::Secret;
pub use throttle::Throttle;
pub use variable::{PersistedValues, Variable, VariableKind, VariableValue};
pub use wrong::Wrong;

/// An error and its causes in one line: `cannot open /dev/i2c-1: No such file or directory (os error 2)`.
pub fn describe_error(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}
