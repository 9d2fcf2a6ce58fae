//! What a user asks of an output and what is answered.

use std::fmt;
use std::time::{Duration, SystemTime};

use crate::model::Name;

/// What an output can do, from its driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputKind {
    /// On or off.
    Switch,
    /// 0 to 100 percent.
    Percent,
}

/// What an output does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OutputValue {
    /// On (`true`) or off.
    Switch(bool),
    /// Percent, 0 to 100.
    Percent(f64),
}

impl fmt::Display for OutputValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch(true) => f.write_str("on"),
            Self::Switch(false) => f.write_str("off"),
            Self::Percent(percent) => write!(f, "{percent}"),
        }
    }
}

/// The value of a command as it was written, before the output's kind is known.
#[derive(Clone, Debug, PartialEq)]
pub enum CommandValue {
    /// `on`, `off`, `true`, `false` in any case, or a JSON boolean.
    Flag(bool),
    /// A number; for a switch 1 and 0 mean on and off.
    Number(f64),
}

impl OutputKind {
    /// What `value` means to an output of this kind.
    ///
    /// # Errors
    /// [`Reason::Unreadable`] when it means nothing to this kind, [`Reason::OutOfRange`] when it is outside 0–100.
    pub fn accept(self, value: &CommandValue) -> Result<OutputValue, Refusal> {
        match (self, value) {
            (Self::Switch, CommandValue::Flag(on)) => Ok(OutputValue::Switch(*on)),
            (Self::Switch, CommandValue::Number(n)) if *n == 1.0 || *n == 0.0 => Ok(OutputValue::Switch(*n == 1.0)),
            (Self::Switch, CommandValue::Number(n)) => {
                Err(Refusal::new(Reason::OutOfRange, format!("{n} is neither on nor off")))
            }
            (Self::Percent, CommandValue::Number(n)) if (0.0..=100.0).contains(n) => Ok(OutputValue::Percent(*n)),
            (Self::Percent, CommandValue::Number(n)) => {
                Err(Refusal::new(Reason::OutOfRange, format!("{n} is not within 0–100")))
            }
            (Self::Percent, CommandValue::Flag(_)) => {
                Err(Refusal::new(Reason::Unreadable, "this output takes a number from 0 to 100"))
            }
        }
    }
}

/// A decoded command, not yet checked against an output.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// What was asked for.
    pub value: CommandValue,
    /// The sender's name for this command, at most 64 characters. A repeat gets the first reply again.
    pub id: Option<String>,
    /// `for`: after this long the output returns to its safe state by itself.
    pub lease: Option<Duration>,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The output does what was asked.
    Done,
    /// Refused; the output was not touched.
    Rejected,
    /// Accepted, but the hardware did not follow.
    Failed,
}

impl Outcome {
    /// As it stands in replies.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
        }
    }
}

/// Why a command was refused or failed; the first word of a reply's `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It carried the retain flag: it may be years old.
    Retained,
    /// The broker kept it while we were away, or its expiry has passed.
    Expired,
    /// No such output.
    Unknown,
    /// Neither a plain value nor a JSON command.
    Unreadable,
    /// Larger than 4 KiB.
    Oversized,
    /// Not a value that this output can take.
    OutOfRange,
    /// The output's queue is full.
    Busy,
    /// The program is ending.
    Stopping,
    /// The device did not do it.
    Hardware,
}

impl Reason {
    /// As it stands in replies.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retained => "retained",
            Self::Expired => "expired",
            Self::Unknown => "unknown",
            Self::Unreadable => "unreadable",
            Self::Oversized => "oversized",
            Self::OutOfRange => "out_of_range",
            Self::Busy => "busy",
            Self::Stopping => "stopping",
            Self::Hardware => "hardware",
        }
    }
}

/// A reason and its words: `out_of_range: 140 is not within 0–100`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The fixed word.
    pub reason: Reason,
    /// A sentence for a person.
    pub words: String,
}

impl Refusal {
    /// Joins both.
    pub fn new(reason: Reason, words: impl Into<String>) -> Self {
        Self { reason, words: words.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.as_str(), self.words)
    }
}

/// The answer to one command.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The output, as named in the command's topic.
    pub actuator: Name,
    /// The command's `id`, if it could be read.
    pub id: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it was refused or failed.
    pub refusal: Option<Refusal>,
    /// What the output does now, if it is known.
    pub value: Option<OutputValue>,
    /// When it was decided.
    pub time: SystemTime,
}

/// Why an output changed, on `B/actuators/<name>/state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateCause {
    /// The program started.
    Start,
    /// A command.
    Command,
    /// A command's `for` ran out.
    For,
    /// The link was lost for `safe_after`, or the program was told to make it safe.
    SafeState,
    /// The program stopped.
    Stop,
}

impl StateCause {
    /// As it stands in state messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Command => "command",
            Self::For => "for",
            Self::SafeState => "safe_state",
            Self::Stop => "stop",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_takes_flags_and_the_numbers_one_and_zero() {
        let accept = |value| OutputKind::Switch.accept(&value);
        assert_eq!(accept(CommandValue::Flag(true)), Ok(OutputValue::Switch(true)));
        assert_eq!(accept(CommandValue::Number(0.0)), Ok(OutputValue::Switch(false)));
        assert_eq!(accept(CommandValue::Number(2.0)).map_err(|e| e.reason), Err(Reason::OutOfRange));
    }

    #[test]
    fn a_percentage_outside_its_range_is_refused_in_words() {
        let refusal = OutputKind::Percent.accept(&CommandValue::Number(140.0)).unwrap_err();
        assert_eq!(refusal.to_string(), "out_of_range: 140 is not within 0–100");
        assert!(OutputKind::Percent.accept(&CommandValue::Number(f64::NAN)).is_err());
        assert!(OutputKind::Percent.accept(&CommandValue::Flag(true)).is_err());
    }
}
