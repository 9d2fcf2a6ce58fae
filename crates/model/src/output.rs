//! What outputs can do, what they do, and what they are asked to do.

use std::fmt;
use std::time::Duration;

use crate::command::{CommandValue, Reason, Refusal, Word};

/// What an output can do with its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputKind {
    /// On or off.
    Switch,
    /// On for a fixed time, then off by itself.
    Pulse,
    /// 0 to 100 percent.
    Percent,
    /// 0 to `most` degrees, or off: no pulses, so that a servo turns freely.
    Angle {
        /// The largest angle in degrees.
        most: u16,
    },
    /// Opens, closes and stops; 0 percent is closed, 100 open.
    Cover,
}

/// What an output does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OutputValue {
    /// On (`true`) or off.
    Switch(bool),
    /// Percent, 0 to 100.
    Percent(f64),
    /// Degrees; `None` is no pulses.
    Angle(Option<f64>),
    /// A motor that opens and closes.
    Cover {
        /// What the motor does.
        travel: Travel,
        /// How far it is open, 0 to 100 percent, where that is known; drivers do not know it.
        position: Option<f64>,
    },
}

/// What the motor of a cover does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Travel {
    /// The motor stands.
    Stopped,
    /// It opens the cover.
    Opening,
    /// It closes the cover.
    Closing,
}

/// What an output is asked to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    /// Do this and stay so.
    Set(OutputValue),
    /// On if it is off, off if it is on.
    Toggle,
    /// A motion of a cover.
    Move(Move),
}

/// What a cover is asked to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Move {
    /// Open as far as it goes.
    Open,
    /// Close as far as it goes.
    Close,
    /// Stay where it is.
    Stop,
    /// Open so far, in percent.
    To(f64),
    /// Close as far as it goes, for as long as that takes at most: the position is known afterwards.
    Calibrate,
}

/// How an output gets from one value to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// At once.
    AtOnce,
    /// On for so long, then off by itself.
    Pulse(Duration),
    /// From 0 to 100 percent in so long.
    Ramp(Duration),
    /// A motor drives it from end to end in these times.
    Travel {
        /// From closed to open.
        opening: Duration,
        /// From open to closed.
        closing: Duration,
        /// How much longer it runs towards an end, so that it surely gets there.
        overrun: Duration,
        /// Rest of the motor before it turns the other way.
        pause: Duration,
    },
}

impl OutputValue {
    /// Whether something flows: what `max_on`, `min_on` and interlocks mean by "on".
    pub fn is_on(self) -> bool {
        match self {
            Self::Switch(on) => on,
            Self::Percent(percent) => percent > 0.0,
            Self::Angle(angle) => angle.is_some(),
            Self::Cover { travel, .. } => travel != Travel::Stopped,
        }
    }

    /// The value of the same kind at which nothing flows.
    pub fn off(self) -> Self {
        match self {
            Self::Switch(_) => Self::Switch(false),
            Self::Percent(_) => Self::Percent(0.0),
            Self::Angle(_) => Self::Angle(None),
            Self::Cover { position, .. } => Self::Cover { travel: Travel::Stopped, position },
        }
    }

    /// Whether what was read back is what was driven, as exactly as hardware can report it.
    pub fn is_confirmed_by(self, read: Self) -> bool {
        const PERCENT: f64 = 0.5;
        const DEGREES: f64 = 1.0;
        match (self, read) {
            (Self::Percent(driven), Self::Percent(read)) => (driven - read).abs() <= PERCENT,
            (Self::Angle(Some(driven)), Self::Angle(Some(read))) => (driven - read).abs() <= DEGREES,
            (Self::Cover { travel: driven, .. }, Self::Cover { travel: read, .. }) => driven == read,
            (driven, read) => driven == read,
        }
    }
}

impl fmt::Display for OutputValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch(true) => f.write_str("on"),
            Self::Switch(false) | Self::Angle(None) => f.write_str("off"),
            Self::Percent(number) | Self::Angle(Some(number)) => write!(f, "{number}"),
            Self::Cover { travel: Travel::Opening, .. } => f.write_str("opening"),
            Self::Cover { travel: Travel::Closing, .. } => f.write_str("closing"),
            Self::Cover { position: Some(position), .. } => write!(f, "{position:.0}"),
            Self::Cover { position: None, .. } => f.write_str("stopped"),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set(value) => value.fmt(f),
            Self::Toggle => f.write_str("toggle"),
            Self::Move(Move::To(position)) => write!(f, "{position}"),
            Self::Move(Move::Open) => f.write_str("open"),
            Self::Move(Move::Close) => f.write_str("close"),
            Self::Move(Move::Stop) => f.write_str("stop"),
            Self::Move(Move::Calibrate) => f.write_str("calibrate"),
        }
    }
}

impl OutputKind {
    /// What an output of this kind takes, in words: for people, and for the refusal of anything else.
    pub fn takes(self) -> String {
        match self {
            Self::Switch => "on, off, toggle".into(),
            Self::Pulse => "on, off".into(),
            Self::Percent => "0 to 100, off".into(),
            Self::Angle { most } => format!("0 to {most}, off"),
            Self::Cover => "open, close, stop, 0 to 100, calibrate".into(),
        }
    }

    /// What `value` means to an output of this kind.
    ///
    /// # Errors
    /// [`Reason::Unreadable`] when it means nothing to this kind, [`Reason::OutOfRange`] when it is a number that it cannot take.
    pub fn accept(self, value: &CommandValue) -> Result<Action, Refusal> {
        let switch = |on| Ok(Action::Set(OutputValue::Switch(on)));
        match (self, value) {
            (Self::Switch | Self::Pulse, CommandValue::Flag(on)) => switch(*on),
            (Self::Switch | Self::Pulse, CommandValue::Number(n)) if *n == 1.0 || *n == 0.0 => switch(*n == 1.0),
            (Self::Switch | Self::Pulse, CommandValue::Number(n)) => {
                Err(Refusal::new(Reason::OutOfRange, format!("{n} is neither on nor off")))
            }
            (Self::Switch, CommandValue::Word(Word::Toggle)) => Ok(Action::Toggle),
            (Self::Percent, CommandValue::Number(n)) => Ok(Action::Set(OutputValue::Percent(within(*n, 100.0)?))),
            (Self::Percent, CommandValue::Flag(false)) => Ok(Action::Set(OutputValue::Percent(0.0))),
            (Self::Angle { most }, CommandValue::Number(n)) => {
                Ok(Action::Set(OutputValue::Angle(Some(within(*n, f64::from(most))?))))
            }
            (Self::Angle { .. }, CommandValue::Flag(false)) => Ok(Action::Set(OutputValue::Angle(None))),
            (Self::Cover, CommandValue::Number(n)) => Ok(Action::Move(match within(*n, 100.0)? {
                0.0 => Move::Close,
                100.0 => Move::Open,
                position => Move::To(position),
            })),
            (Self::Cover, CommandValue::Word(Word::Open)) => Ok(Action::Move(Move::Open)),
            (Self::Cover, CommandValue::Word(Word::Close)) => Ok(Action::Move(Move::Close)),
            (Self::Cover, CommandValue::Word(Word::Stop)) => Ok(Action::Move(Move::Stop)),
            (Self::Cover, CommandValue::Word(Word::Calibrate)) => Ok(Action::Move(Move::Calibrate)),
            // "on" leaves open how much, and which way.
            (_, CommandValue::Flag(_) | CommandValue::Word(_) | CommandValue::Unknown) => {
                Err(Refusal::new(Reason::Unreadable, format!("this output takes {}", self.takes())))
            }
        }
    }

    /// The value at which nothing flows.
    pub fn off(self) -> OutputValue {
        match self {
            Self::Switch | Self::Pulse => OutputValue::Switch(false),
            Self::Percent => OutputValue::Percent(0.0),
            Self::Angle { .. } => OutputValue::Angle(None),
            Self::Cover => OutputValue::Cover { travel: Travel::Stopped, position: None },
        }
    }
}

fn within(number: f64, most: f64) -> Result<f64, Refusal> {
    if (0.0..=most).contains(&number) {
        // No minus zero in replies.
        Ok(number + 0.0)
    } else {
        Err(Refusal::new(Reason::OutOfRange, format!("{number} is not within 0–{most}")))
    }
}

/// Why an output changed, on `B/actuators/<name>/state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateCause {
    /// The program started.
    Start,
    /// A command.
    Command,
    /// A rule.
    Rule,
    /// A command's `for` ran out, or a pulse.
    For,
    /// It was on for `max_on`.
    MaxOn,
    /// A command that had to wait for `min_on` or `min_off`.
    Limit,
    /// Another output must not be on at the same time.
    Interlock,
    /// The link was lost for `safe_after`, or the program was ordered to make it safe.
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
            Self::Rule => "rule",
            Self::For => "for",
            Self::MaxOn => "max_on",
            Self::Limit => "limit",
            Self::Interlock => "interlock",
            Self::SafeState => "safe_state",
            Self::Stop => "stop",
        }
    }

    /// Whether the output was taken away from what a command had set: counted in health, and a warning in the log. `for`
    /// was asked for.
    pub fn is_trip(self) -> bool {
        matches!(self, Self::MaxOn | Self::Interlock | Self::SafeState)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_takes_flags_and_the_numbers_one_and_zero() {
        let accept = |value| OutputKind::Switch.accept(&value);
        assert_eq!(accept(CommandValue::Flag(true)), Ok(Action::Set(OutputValue::Switch(true))));
        assert_eq!(accept(CommandValue::Number(0.0)), Ok(Action::Set(OutputValue::Switch(false))));
        assert_eq!(accept(CommandValue::Number(2.0)).map_err(|e| e.reason), Err(Reason::OutOfRange));
        assert_eq!(accept(CommandValue::Word(Word::Toggle)), Ok(Action::Toggle));
        assert_eq!(accept(CommandValue::Word(Word::Open)).map_err(|e| e.reason), Err(Reason::Unreadable));
    }

    #[test]
    fn a_percentage_outside_its_range_is_refused_in_words() {
        let refusal = OutputKind::Percent.accept(&CommandValue::Number(140.0)).unwrap_err();
        assert_eq!(refusal.to_string(), "out_of_range: 140 is not within 0–100");
        assert!(OutputKind::Percent.accept(&CommandValue::Number(f64::NAN)).is_err());
        assert!(OutputKind::Percent.accept(&CommandValue::Flag(true)).is_err());
        assert_eq!(OutputKind::Percent.accept(&CommandValue::Flag(false)), Ok(Action::Set(OutputValue::Percent(0.0))));
    }

    #[test]
    fn a_gate_is_not_toggled() {
        let refusal = OutputKind::Pulse.accept(&CommandValue::Word(Word::Toggle)).unwrap_err();
        assert_eq!(refusal.to_string(), "unreadable: this output takes on, off");
    }

    #[test]
    fn the_ends_of_a_cover_are_its_ends_and_not_positions() {
        let accept = |value| OutputKind::Cover.accept(&value);
        assert_eq!(accept(CommandValue::Number(0.0)), Ok(Action::Move(Move::Close)));
        assert_eq!(accept(CommandValue::Number(100.0)), Ok(Action::Move(Move::Open)));
        assert_eq!(accept(CommandValue::Number(40.0)), Ok(Action::Move(Move::To(40.0))));
        assert!(accept(CommandValue::Flag(true)).is_err() && accept(CommandValue::Number(-1.0)).is_err());
    }

    #[test]
    fn an_angle_has_the_range_of_its_servo() {
        let servo = OutputKind::Angle { most: 180 };
        let set = |angle| Ok(Action::Set(OutputValue::Angle(angle)));
        assert_eq!(servo.accept(&CommandValue::Number(180.0)), set(Some(180.0)));
        assert_eq!(servo.accept(&CommandValue::Flag(false)), set(None));
        let refusal = servo.accept(&CommandValue::Number(181.0)).unwrap_err();
        assert_eq!(refusal.to_string(), "out_of_range: 181 is not within 0–180");
    }

    #[test]
    fn what_is_read_back_confirms_within_what_hardware_can_report() {
        assert!(OutputValue::Percent(33.3).is_confirmed_by(OutputValue::Percent(33.34)));
        assert!(!OutputValue::Percent(33.3).is_confirmed_by(OutputValue::Percent(0.0)));
        assert!(!OutputValue::Switch(false).is_confirmed_by(OutputValue::Switch(true)));
        let moving = |travel, position| OutputValue::Cover { travel, position };
        assert!(moving(Travel::Opening, Some(4.0)).is_confirmed_by(moving(Travel::Opening, None)));
        assert!(!moving(Travel::Stopped, None).is_confirmed_by(moving(Travel::Opening, None)));
        assert!(!OutputValue::Angle(None).is_confirmed_by(OutputValue::Angle(Some(90.0))));
    }
}
