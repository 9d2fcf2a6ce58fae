//! Values that came from the environment: they may be secrets, so no report shows them.

use crate::config::mask::MASK;
use crate::config::tree::Span;

/// A value from the environment.
#[derive(Clone, Debug)]
pub(super) struct Hidden {
    /// Where the variable is named.
    pub(super) span: Span,
    /// The name of the environment variable.
    pub(super) name: String,
    /// The variable's value. Problems show it masked, unless it is very short.
    pub(super) value: String,
}

/// How long a value must be to be looked for in all reports: a shorter one could be any word.
const MIN_LENGTH: usize = 4;

/// From this length on, in characters, messages show the beginning of a value only.
const SHORTENED: usize = 63;

/// `words` of a problem at `span` without any of these values.
pub(super) fn masked(words: &str, span: &Span, all: &[Hidden]) -> String {
    let mut words = words.to_owned();
    for Hidden { value, .. } in all.iter().filter(|hidden| hidden.value.len() >= MIN_LENGTH) {
        let beginning: String = value.chars().take(SHORTENED).collect();
        // Words that are shorter than a long value cannot have all of it.
        if value.len() <= words.len() {
            words = words.replace(value, MASK).replace(format!("{value:?}").trim_matches('"'), MASK);
        }
        words = words.replace(&beginning, MASK);
    }
    match at(span, all) {
        Some(hidden) => without_words_of(&words, &hidden.value),
        None => words,
    }
}

/// The value that stands there.
pub(super) fn at<'h>(span: &Span, all: &'h [Hidden]) -> Option<&'h Hidden> {
    all.iter().find(|hidden| hidden.span.start <= span.start && span.end <= hidden.span.end)
}

/// `words` in which every word of `value` is masked: a message about a value may quote a part of it, or write its number in another
/// way.
fn without_words_of(words: &str, value: &str) -> String {
    let secret: Vec<_> = value.split(|c| !is_of_word(c)).map(trim).filter(|word| !word.is_empty()).collect();
    let lower = value.to_lowercase();
    let is_secret = |word: &str| {
        let (number, plain) = (number(word), word.trim_end_matches(char::is_alphabetic));
        if number.is_none() && self::number(plain).is_none() && !lower.contains(&word.to_lowercase()) {
            return false;
        }
        let is_same = |other: &&str| {
            // A hint may write the number with a unit.
            let is_number = self::number(other).is_some();
            other.eq_ignore_ascii_case(word) || is_number && (*other == plain || number == self::number(other))
        };
        secret.iter().any(is_same)
    };
    let mut out = String::new();
    let mut rest = words;
    while !rest.is_empty() {
        let end = rest.find(|c| !is_of_word(c)).unwrap_or(rest.len());
        let word = trim(&rest[..end]);
        if is_secret(word) {
            out.push_str(&rest[..end].replacen(word, MASK, 1));
        } else {
            out.push_str(&rest[..end]);
        }
        let behind = rest[end..].find(is_of_word).map_or(rest.len(), |at| end + at);
        out.push_str(&rest[end..behind]);
        rest = &rest[behind..];
    }
    out
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '+')
}

/// A full stop ends a sentence.
fn trim(word: &str) -> &str {
    word.trim_matches('.')
}

fn number(word: &str) -> Option<f64> {
    match word.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok().map(f64::from),
        None => word.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &str, words: &str, expected: &str) {
        let hidden = Hidden { span: 10..14, name: "X".into(), value: value.into() };
        assert_eq!(masked(words, &(10..14), &[hidden]), expected, "{value}");
    }

    #[test]
    fn a_message_about_a_value_shows_nothing_of_it() {
        check("0x99", "address: 0x99 is not an address of this chip", "address: *** is not an address of this chip");
        check("153", "address: 0x99 is not an address of this chip", "address: *** is not an address of this chip");
        check("5", "qos: 5 is not a whole number from 0 to 2", "qos: *** is not a whole number from 0 to 2");
        check("1e3", "1000 is not a number from 0 to 9", "*** is not a number from 0 to 9");
        check("77", "write 77s, 77ms or 1h", "write ***, *** or 1h");
        check("2ms", "every: 2ms is too short", "every: *** is too short");
        check("mqtt://h:1x", "the port \"1x\" is no number", "the port \"***\" is no number");
        check(&"x".repeat(90), &format!("{}… is long", "x".repeat(63)), "***… is long");
        check("", "path: \"\" cannot be a path", "path: \"\" cannot be a path");
    }

    #[test]
    fn elsewhere_only_a_whole_value_that_is_no_short_word_is_hidden() {
        let all = [("hunter2", 10..14), ("on", 20..22)];
        let all = all.map(|(value, span)| Hidden { span, name: "X".into(), value: value.into() });
        assert_eq!(masked("hunter2 is on", &(30..31), &all), "*** is on");
    }
}
