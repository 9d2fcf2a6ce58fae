//! What a user may set by MQTT for formulas and rules: a number within limits, or one of some words.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::{Command, Name, Reason, Recipient, Refusal, payload};

/// What the disk has of all that users have set, as text; nothing as long as no disk could be read.
pub type PersistedValues = Option<Arc<BTreeMap<Recipient, String>>>;

/// The most decimals of a number.
const DECIMALS: u8 = 9;

/// By which part of itself, or of 1, a number may miss a step: decimal fractions have no exact binary form.
const TOLERANCE: f64 = 1e-9;

/// A variable of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Variable {
    /// Its name, in topics and in formulas.
    pub name: Name,
    /// Which values it can have.
    pub kind: VariableKind,
    /// What it is until somebody sets it.
    pub initial: VariableValue,
}

/// What a variable takes.
#[derive(Clone, Debug, PartialEq)]
pub enum VariableKind {
    /// A finite number within bounds, both included.
    Number {
        /// The lowest value that is accepted.
        min: f64,
        /// The highest value that is accepted.
        max: f64,
        /// From `min` in steps of this; any number if left out.
        step: Option<f64>,
        /// Its unit; empty for none.
        unit: String,
    },
    /// One of these words, of which no two differ in case only.
    Options(Vec<Arc<str>>),
}

/// What a variable is.
#[derive(Clone, Debug, PartialEq)]
pub enum VariableValue {
    /// The value of a [`VariableKind::Number`].
    Number(f64),
    /// One of the words of [`VariableKind::Options`].
    Word(Arc<str>),
}

impl VariableKind {
    /// The value that a text means: in a command, in the configuration, or on disk.
    ///
    /// # Errors
    /// [`Reason::OutOfRange`] or [`Reason::Unreadable`] with words for the sender.
    pub fn read(&self, text: &str) -> Result<VariableValue, Refusal> {
        match self {
            Self::Number { .. } => {
                let is_number =
                    text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e' | b'E'));
                let number = text.parse().ok().filter(|number: &f64| is_number && number.is_finite());
                let refusal = || Refusal::new(Reason::Unreadable, format!("this variable takes {}", self.takes()));
                self.number(number.ok_or_else(refusal)?).map(VariableValue::Number)
            }
            Self::Options(options) => {
                let option = options.iter().find(|option| option.eq_ignore_ascii_case(text));
                let refusal = || Refusal::new(Reason::OutOfRange, format!("this variable takes {}", self.takes()));
                option.map(|option| VariableValue::Word(Arc::clone(option))).ok_or_else(refusal)
            }
        }
    }

    /// The value that a command means.
    ///
    /// # Errors
    /// As [`VariableKind::read`]; and a command with `for`, for nothing says what would come after it.
    pub fn accept(&self, command: &Command) -> Result<VariableValue, Refusal> {
        if command.lease.is_some() {
            let words = "a variable is set for good: it takes value, id and issued_at, and no for";
            return Err(Refusal::new(Reason::Unreadable, words));
        }
        self.read(&command.written)
    }

    /// A number within the limits, exactly on its step.
    fn number(&self, number: f64) -> Result<f64, Refusal> {
        let Self::Number { min, max, step, .. } = self else { return Ok(number) };
        let refuse = |words| Err(Refusal::new(Reason::OutOfRange, words));
        let decimals = self.decimals();
        let shown = |number| payload::number(number, DECIMALS);
        if !(*min..=*max).contains(&number) {
            return refuse(format!("{} is not within {}–{}", shown(number), shown(*min), shown(*max)));
        }
        let Some(step) = step else { return Ok(number) };
        let nearest = min + ((number - min) / step).round() * step;
        if (nearest - number).abs() > TOLERANCE * number.abs().max(1.0) {
            return refuse(format!("{} is not {} plus steps of {}", shown(number), shown(*min), shown(*step)));
        }
        Ok(payload::number(nearest, decimals).parse().unwrap_or(nearest))
    }

    /// With how many decimals it is published at most.
    fn decimals(&self) -> u8 {
        let Self::Number { min, step: Some(step), .. } = self else { return DECIMALS };
        let of = |number: f64| {
            let is_exact = |decimals: &u8| {
                let shown = payload::number(number, *decimals).parse::<f64>();
                shown.is_ok_and(|shown| (shown - number).abs() <= TOLERANCE * number.abs())
            };
            (0..DECIMALS).find(is_exact).unwrap_or(DECIMALS)
        };
        of(*min).max(of(*step))
    }

    /// In words: `a number within 5–30 in steps of 0.5`, `auto, away or off`.
    pub fn takes(&self) -> String {
        match self {
            Self::Number { min, max, step, unit } => {
                let shown = |number| payload::number(number, DECIMALS);
                let step = step.map(|step| format!(" in steps of {}", shown(step))).unwrap_or_default();
                let unit = if unit.is_empty() { String::new() } else { format!(" {unit}") };
                format!("a number within {}–{}{unit}{step}", shown(*min), shown(*max))
            }
            Self::Options(options) => match options.as_slice() {
                [] => String::new(),
                [one] => one.to_string(),
                [all @ .., last] => format!("{} or {last}", all.join(", ")),
            },
        }
    }
}

/// As it is kept on disk and shown in logs.
impl fmt::Display for VariableValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => f.write_str(&payload::number(*number, DECIMALS)),
            Self::Word(word) => f.write_str(word),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::decode_command;
    use proptest::prelude::*;

    fn target() -> VariableKind {
        VariableKind::Number { min: 5.0, max: 30.0, step: Some(0.5), unit: "°C".into() }
    }

    fn mode() -> VariableKind {
        VariableKind::Options(["auto", "away", "off"].map(Into::into).into())
    }

    fn set(kind: &VariableKind, payload: &str) -> Result<String, String> {
        let command = decode_command(payload.as_bytes()).map_err(|undecodable| undecodable.refusal.to_string())?;
        kind.accept(&command).map(|value| value.to_string()).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn a_number_is_taken_bare_or_as_json_within_its_limits_and_on_its_step() {
        for payload in ["21.5", " 21.50\n", "\"21.5\"", r#"{"value":21.5}"#, r#"{"value":"21.5","id":"a"}"#, "2.15e1"] {
            assert_eq!(set(&target(), payload).as_deref(), Ok("21.5"), "{payload}");
        }
        let refused = |payload| set(&target(), payload).unwrap_err();
        assert_eq!(refused("31"), "out_of_range: 31 is not within 5–30");
        assert_eq!(refused("-40"), "out_of_range: -40 is not within 5–30");
        assert_eq!(refused("21.3"), "out_of_range: 21.3 is not 5 plus steps of 0.5");
        for payload in ["", "on", "true", "NaN", "inf", "1e999", "1,5", "[1]", "null", r#"{"value":[1]}"#] {
            let words = "unreadable: this variable takes a number within 5–30 °C in steps of 0.5";
            assert_eq!(refused(payload), words, "{payload}");
        }
        let words = "unreadable: a variable is set for good: it takes value, id and issued_at, and no for";
        assert_eq!(refused(r#"{"value":21,"for":"5m"}"#), words);
    }

    #[test]
    fn an_option_is_taken_in_any_case_also_where_it_looks_like_a_command_to_a_switch() {
        for (payload, value) in [("auto", "auto"), ("OFF", "off"), (r#"{"value":"Away"}"#, "away"), ("\"off\"", "off")]
        {
            assert_eq!(set(&mode(), payload).as_deref(), Ok(value), "{payload}");
        }
        for payload in ["on", "false", "0", "", "{\"value\":false}", "{\"value\":null}", "auto, away"] {
            let words = "out_of_range: this variable takes auto, away or off";
            assert_eq!(set(&mode(), payload).unwrap_err(), words, "{payload}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// What was accepted is within the limits, on a step, and the same again when it is read from disk.
        #[test]
        fn what_is_accepted_is_good_and_reads_back_as_itself(
            min in -1000..1000_i32, steps in 1..500_i32, nth in -20..600_i32, decimals in 0..4_i32,
        ) {
            let unit = 10_f64.powi(-decimals);
            let (least, step) = (f64::from(min) * unit, 5.0 * unit);
            let most = least + f64::from(steps) * step;
            let kind = VariableKind::Number { min: least, max: most, step: Some(step), unit: String::new() };
            let written = payload::number(least + f64::from(nth) * step, 9);
            let is_within = (0..=steps).contains(&nth);
            // The ends may miss by a hair what arithmetic makes of them.
            prop_assume!(nth != 0 && nth != steps);
            let read = kind.read(&written);
            prop_assert_eq!(read.is_ok(), is_within, "{} {:?}", written, read);
            if let Ok(value) = read {
                prop_assert_eq!(value.to_string(), written);
                prop_assert_eq!(kind.read(&value.to_string()), Ok(value));
            }
        }

        #[test]
        fn no_text_is_a_panic(text in any::<String>()) {
            let _either = (target().read(&text), mode().read(&text));
        }
    }
}
