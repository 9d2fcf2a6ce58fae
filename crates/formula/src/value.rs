//! What a formula computes with: values that may be unknown.

use std::cmp::Ordering;

/// A value during evaluation.
///
/// A number is always finite: what would not be one is [`Value::Unknown`] (see [`Value::number`]).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Value<'v> {
    /// Nobody knows: a sensor is down, its value is too old, or there is no result. Neither true nor false.
    #[default]
    Unknown,
    /// A finite number, in the unit of its [`Kind`](crate::Kind).
    Number(f64),
    /// True or false.
    Flag(bool),
    /// A text.
    Text(&'v str),
    /// A time of day.
    Time(TimeOfDay),
}

impl<'v> Value<'v> {
    /// A number; unknown if it is not finite.
    pub fn number(number: f64) -> Self {
        if number.is_finite() { Self::Number(number) } else { Self::Unknown }
    }

    /// The number, if it is a finite one.
    pub fn as_number(self) -> Option<f64> {
        if let Self::Number(number) = self { Some(number).filter(|number| number.is_finite()) } else { None }
    }

    /// True or false, if it is known.
    pub fn as_flag(self) -> Option<bool> {
        if let Self::Flag(flag) = self { Some(flag) } else { None }
    }

    /// The text, if it is one.
    pub fn as_text(self) -> Option<&'v str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    pub(crate) fn of_number(number: Option<f64>) -> Self {
        number.map_or(Self::Unknown, Self::number)
    }

    pub(crate) fn of_flag(flag: Option<bool>) -> Self {
        flag.map_or(Self::Unknown, Self::Flag)
    }

    /// Which of two values of one kind is the greater; `None` if either is unknown. Of flags and texts only whether they are
    /// equal means anything.
    fn order(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Number(left), Self::Number(right)) => left.partial_cmp(&right),
            (Self::Flag(left), Self::Flag(right)) => Some(left.cmp(&right)),
            (Self::Text(left), Self::Text(right)) => Some(left.cmp(right)),
            (Self::Time(left), Self::Time(right)) => Some(left.cmp(&right)),
            _ => None,
        }
    }
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
}

impl Comparison {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Equal => "==",
            Self::NotEqual => "!=",
        }
    }

    /// Whether it asks for equality alone, and not for an order.
    pub(crate) fn is_equality(self) -> bool {
        matches!(self, Self::Equal | Self::NotEqual)
    }

    pub(crate) fn holds(self, left: Value<'_>, right: Value<'_>) -> Option<bool> {
        let order = left.order(right)?;
        Some(match self {
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
        })
    }
}

/// Hours and minutes of a day: `time == "22:00"` is true for a whole minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeOfDay {
    minutes: u16,
}

impl TimeOfDay {
    /// `None` unless `hour` is below 24 and `minute` below 60.
    pub fn new(hour: u8, minute: u8) -> Option<Self> {
        (hour < 24 && minute < 60).then(|| Self { minutes: u16::from(hour) * 60 + u16::from(minute) })
    }

    /// `"00:00"` to `"23:59"`, always with two digits.
    pub fn parse(text: &str) -> Option<Self> {
        let two_digits = |part: &str| (part.len() == 2).then(|| part.parse::<u8>().ok()).flatten();
        let (hour, minute) = text.split_once(':')?;
        let is_digits = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b':');
        Self::new(two_digits(hour)?, two_digits(minute)?).filter(|_| is_digits)
    }
}

/// What `weekday` may be, Monday first.
pub const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_finite_is_unknown() {
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Value::number(number), Value::Unknown);
            assert_eq!(Value::Number(number).as_number(), None);
        }
        assert_eq!(Value::number(-0.5), Value::Number(-0.5));
    }

    #[test]
    fn a_time_of_day_has_two_digits_twice() {
        assert_eq!(TimeOfDay::parse("02:30"), TimeOfDay::new(2, 30));
        assert_eq!(TimeOfDay::parse("23:59").map(|time| time.minutes), Some(1439));
        for text in ["24:00", "12:60", "2:30", "02:3", "+2:30", "02:30:00", "0230", "", ":", "éé:00", "02:30 "] {
            assert_eq!(TimeOfDay::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn values_of_two_kinds_cannot_be_compared() {
        let time = TimeOfDay::new(1, 0).map_or(Value::Unknown, Value::Time);
        let values = [Value::Unknown, Value::Number(1.0), Value::Flag(true), Value::Text("1"), time];
        for (nth, left) in values.into_iter().enumerate() {
            for (other, right) in values.into_iter().enumerate() {
                let known = nth == other && left != Value::Unknown;
                assert_eq!(Comparison::Equal.holds(left, right), known.then_some(true), "{left:?} {right:?}");
            }
        }
    }
}
