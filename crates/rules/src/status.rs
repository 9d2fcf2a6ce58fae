//! What a rule is at, for people.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fieldgate_model::Name;

/// What a rule is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its condition is not true, or it is switched off.
    Inactive,
    /// Its condition is true, but not for long enough yet.
    Waiting,
    /// It has begun, and does what it says.
    Active,
    /// It has begun and may not do all that it says, or it was stopped.
    Blocked,
}

impl State {
    /// As it is published.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Waiting => "waiting",
            Self::Active => "active",
            Self::Blocked => "blocked",
        }
    }
}

/// Why it is at that. Its words complete "the rule is …:".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// `when` is true, or was and `until` is not yet.
    ConditionHolds,
    /// `when` is not true, or `until` is.
    ConditionDoesNotHold,
    /// A click has ended it, and `when` has not been false since.
    Dismissed,
    /// Something that it names is not known.
    Unknown,
    /// A person has switched it off.
    SwitchedOff,
    /// It changed too often.
    Loop,
    /// The guard of an output has refused what it wants.
    Refused(Name, Arc<str>),
    /// A command from outside has an output.
    TakenOver(Name),
    /// Another rule has toggled an output.
    Toggled(Name, Name),
    /// Another rule has an output.
    Owned(Name, Name),
    /// An output was made safe.
    Tripped(Name, Arc<str>),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConditionHolds => f.write_str("its condition holds"),
            Self::ConditionDoesNotHold => f.write_str("its condition does not hold"),
            Self::Dismissed => f.write_str("a click has ended it, until its condition has been false once"),
            Self::Unknown => f.write_str("something that it names is not known"),
            Self::SwitchedOff => f.write_str("it is switched off"),
            Self::Loop => f.write_str("it changed 10 times within a minute and is stopped for 10 minutes"),
            Self::Refused(output, words) => write!(f, "{output}: {words}"),
            Self::TakenOver(output) => write!(f, "{output}: a command from outside has taken it over"),
            Self::Toggled(output, rule) => write!(f, "{output}: the rule {rule} has toggled it"),
            Self::Owned(output, rule) => write!(f, "{output}: the rule {rule} has it"),
            Self::Tripped(output, words) => write!(f, "{output}: made safe by {words}, until the condition changes"),
        }
    }
}

/// What a rule is at, since when, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Inactive, waiting, active or blocked.
    pub state: State,
    /// Since when, on the clock of [`crate::Now`].
    pub since: Duration,
    /// Why; it may change while the state stays.
    pub why: Why,
    /// Whether it is switched on.
    pub is_on: bool,
}
