//! What a user asks of an output, of a sensor that counts, or of a variable, and what is answered.

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, SystemTime};

use crate::{Name, OutputValue, Value, VariableValue, payload};

/// The value of a command as it was written, before the output's kind is known.
#[derive(Clone, Debug, PartialEq)]
pub enum CommandValue {
    /// `on`, `off`, `true`, `false` in any case, or a JSON boolean.
    Flag(bool),
    /// A number; for a switch 1 and 0 mean on and off.
    Number(f64),
    /// A word that only some kinds of outputs know.
    Word(Word),
    /// Nothing that any output takes.
    Unknown,
}

impl CommandValue {
    /// What a word says that switches something: on, off, true, false, 1 or 0, in any case.
    pub fn of_switch(word: &str) -> Option<bool> {
        match word.to_ascii_lowercase().as_str() {
            "on" | "true" | "1" => Some(true),
            "off" | "false" | "0" => Some(false),
            _ => None,
        }
    }
}

/// A word that only some kinds of outputs know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// The other one of on and off.
    Toggle,
    /// Open as far as it goes; of a cover.
    Open,
    /// Close as far as it goes; of a cover.
    Close,
    /// Stay where it is; of a cover.
    Stop,
    /// Close for as long as that takes at most, so that the position is known; of a cover.
    Calibrate,
}

impl Word {
    /// Every word there is.
    pub const ALL: [Self; 5] = [Self::Toggle, Self::Open, Self::Close, Self::Stop, Self::Calibrate];

    /// The word as it was written.
    pub fn named(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|word| text.eq_ignore_ascii_case(word.as_str()))
    }

    /// As it is written, in any case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Toggle => "toggle",
            Self::Open => "open",
            Self::Close => "close",
            Self::Stop => "stop",
            Self::Calibrate => "calibrate",
        }
    }
}

/// A decoded command, not yet checked against an output.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// What was asked for.
    pub value: CommandValue,
    /// The value as it was written: what a variable goes by.
    pub written: String,
    /// The sender's name for this command, at most 64 characters. A repeat gets the first reply again.
    pub id: Option<String>,
    /// `for`: after this long the output returns to its safe state by itself.
    pub lease: Option<Duration>,
    /// When it was sent, by the sender's clock.
    pub issued_at: Option<SystemTime>,
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
    const ALL: [Self; 3] = [Self::Done, Self::Rejected, Self::Failed];

    /// Of a reply's `outcome`.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == text)
    }

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
    /// The broker kept it while we were away, its expiry has passed, or it was issued too long ago.
    Expired,
    /// No such output, variable, sensor or request.
    Unknown,
    /// The configuration does not allow it.
    NotAllowed,
    /// Neither a plain value nor a JSON command.
    Unreadable,
    /// Larger than 4 KiB, or than a whole configuration may be.
    Oversized,
    /// Not a value that this output, this total or this variable can take.
    OutOfRange,
    /// The output's queue is full, or it is at something that must end first.
    Busy,
    /// Another output must not be on at the same time.
    Interlock,
    /// One of the output's limits forbids it now.
    Limit,
    /// The program is ending.
    Stopping,
    /// The device did not do it.
    Hardware,
    /// A configuration that a request carried was taken back, because nothing confirmed it.
    RolledBack,
}

impl Reason {
    const ALL: [Self; 13] = [
        Self::Retained,
        Self::Expired,
        Self::Unknown,
        Self::NotAllowed,
        Self::Unreadable,
        Self::Oversized,
        Self::OutOfRange,
        Self::Busy,
        Self::Interlock,
        Self::Limit,
        Self::Stopping,
        Self::Hardware,
        Self::RolledBack,
    ];

    /// Of the first word of a reply's `reason`.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }

    /// As it stands in replies.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retained => "retained",
            Self::Expired => "expired",
            Self::Unknown => "unknown",
            Self::NotAllowed => "not_allowed",
            Self::Unreadable => "unreadable",
            Self::Oversized => "oversized",
            Self::OutOfRange => "out_of_range",
            Self::Busy => "busy",
            Self::Interlock => "interlock",
            Self::Limit => "limit",
            Self::Stopping => "stopping",
            Self::Hardware => "hardware",
            Self::RolledBack => "rolled_back",
        }
    }
}

/// A reason and its words: `out_of_range: 140 is not within 0–100`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// One of the fixed words by which programs go.
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

/// What a command is addressed to. Ids of commands and the order of replies belong to it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Recipient {
    /// What of the device is set.
    pub kind: RecipientKind,
    /// The device, as named in the command's topic.
    pub name: Name,
}

/// What of a device a command sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecipientKind {
    /// What an output does.
    Output,
    /// The total of a sensor that counts.
    Total,
    /// What a variable of the configuration is.
    Variable,
    /// Whether a rule is switched on.
    Rule,
    /// The gateway itself, by a verb.
    Request,
}

/// How the total of a sensor is distinguished from an output of the same name, in [`Recipient::as_text`]. No name has a colon in it.
const TOTAL: &str = ":total";

/// How a variable is distinguished in [`Recipient::as_text`].
const VARIABLE: &str = ":variable";

/// How the switch of a rule is distinguished in [`Recipient::as_text`].
const RULE: &str = ":rule";

/// How a request is distinguished in [`Recipient::as_text`]; nothing is stored of one.
const REQUEST: &str = ":request";

impl Recipient {
    /// An output.
    pub fn output(name: Name) -> Self {
        Self { kind: RecipientKind::Output, name }
    }

    /// The total of a sensor.
    pub fn total(name: Name) -> Self {
        Self { kind: RecipientKind::Total, name }
    }

    /// A variable.
    pub fn variable(name: Name) -> Self {
        Self { kind: RecipientKind::Variable, name }
    }

    /// The switch of a rule.
    pub fn rule(name: Name) -> Self {
        Self { kind: RecipientKind::Rule, name }
    }

    /// A request by this verb.
    pub fn request(verb: Name) -> Self {
        Self { kind: RecipientKind::Request, name: verb }
    }

    /// As it is kept on disk: `pump`, `gas:total`, `target:variable`, `heating:rule`.
    pub fn as_text(&self) -> Cow<'_, str> {
        match self.kind {
            RecipientKind::Output => Cow::Borrowed(self.name.as_str()),
            RecipientKind::Total => Cow::Owned(format!("{}{TOTAL}", self.name)),
            RecipientKind::Variable => Cow::Owned(format!("{}{VARIABLE}", self.name)),
            RecipientKind::Rule => Cow::Owned(format!("{}{RULE}", self.name)),
            RecipientKind::Request => Cow::Owned(format!("{}{REQUEST}", self.name)),
        }
    }

    /// From [`Recipient::as_text`]; nothing for what that cannot have written.
    pub fn from_text(text: &str) -> Option<Self> {
        let of = |kind, end| Some((kind, text.strip_suffix(end)?));
        let marked = of(RecipientKind::Total, TOTAL)
            .or_else(|| of(RecipientKind::Variable, VARIABLE))
            .or_else(|| of(RecipientKind::Rule, RULE))
            .or_else(|| of(RecipientKind::Request, REQUEST));
        let (kind, name) = marked.unwrap_or((RecipientKind::Output, text));
        Some(Self { kind, name: Name::new(name).ok()? })
    }
}

/// What a reply says of the present.
#[derive(Clone, Debug, PartialEq)]
pub enum ReplyValue {
    /// What an output does.
    Output(OutputValue),
    /// What a sensor has measured.
    Measured(Value),
    /// What a variable is.
    Variable(VariableValue),
    /// Whether a rule is switched on.
    Rule(bool),
}

impl fmt::Display for ReplyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Output(value) => value.fmt(f),
            Self::Measured(value) => f.write_str(&payload::plain(*value)),
            Self::Variable(value) => value.fmt(f),
            Self::Rule(is_on) => f.write_str(if *is_on { "on" } else { "off" }),
        }
    }
}

/// The answer to one command.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// What it was addressed to.
    pub recipient: Recipient,
    /// The command's `id`, if it could be read.
    pub id: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it was refused or failed; of one that is done, why it does not show yet.
    pub refusal: Option<Refusal>,
    /// What the output does now, what the total or the variable is, or whether the rule is switched on, if it is known.
    pub value: Option<ReplyValue>,
    /// When it was decided.
    pub time: SystemTime,
}

impl Reply {
    /// How it ended, without its words.
    pub fn status(&self) -> ReplyStatus {
        ReplyStatus { outcome: self.outcome, reason: self.refusal.as_ref().map(|refusal| refusal.reason) }
    }
}

/// What programs go by in a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyStatus {
    /// How the command ended.
    pub outcome: Outcome,
    /// Why it was refused or failed; of one that is done, why it does not show yet.
    pub reason: Option<Reason>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_of_things_of_one_name_are_different_recipients() {
        let name = || Name::new("gas").unwrap();
        for (recipient, text) in [
            (Recipient::output(name()), "gas"),
            (Recipient::total(name()), "gas:total"),
            (Recipient::variable(name()), "gas:variable"),
            (Recipient::rule(name()), "gas:rule"),
        ] {
            assert_eq!((recipient.as_text().as_ref(), Recipient::from_text(text)), (text, Some(recipient.clone())));
        }
        for text in ["", ":total", "gas:", "gas:rate", "gas:total:total"] {
            assert_eq!(Recipient::from_text(text), None, "{text:?}");
        }
    }
}
