//! One value of a known kind.

use std::path::Path;
use std::time::Duration;

use crate::config::check::Checker;
use crate::config::check::words::{THIS, did_you_mean, quoted, shorten};
use crate::config::tree::{self, Node, Value};
use fieldgate_drivers::kernel_channels::bad_measurement_name;
use fieldgate_model::field::{format_addresses, format_duration, format_size, parse_duration, parse_size};
use fieldgate_model::{Field, Kind, Name, Setting, Settings, Wrong};

/// The longest text of a value in bytes; MQTT's own limit.
const MAX_TEXT: usize = 65_535;

/// A number's range that ends there has no end that anybody meets.
const BOUNDLESS: f64 = 1e15;

impl<'a> Checker<'a> {
    /// The setting that `node` means, or a problem.
    pub(super) fn value(&mut self, name: &str, kind: &Kind, node: &'a Node) -> Option<Setting> {
        match (kind, &node.value) {
            (Kind::List(inner) | Kind::OneOrMany(inner), Value::List(items)) => self.list(name, inner, node, items),
            (Kind::OneOrMany(inner), _) => Some(Setting::List(vec![self.value(name, inner, node)?])),
            (Kind::Table(fields), Value::Map(_)) => self.table(name, fields, node),
            (Kind::Subsection(fields), Value::Map(_) | Value::Null) => {
                self.section(&node.span, [node], name, fields).settings().map(Setting::Section)
            }
            _ => match single(kind, node, &self.folder) {
                Ok(setting) => Some(setting),
                Err(wrong) => {
                    self.error(&node.span, format!("{name}: {}", wrong.what), wrong.hint);
                    None
                }
            },
        }
    }

    fn list(&mut self, name: &str, kind: &Kind, node: &'a Node, items: &'a [Node]) -> Option<Setting> {
        if items.is_empty() {
            self.error(&node.span, format!("{name}: the list is empty"), format!("each entry is {}", expected(kind)));
            return None;
        }
        // All are checked before one that is wrong makes the list void.
        let all: Vec<_> = items.iter().map(|item| self.value(name, kind, item)).collect();
        Some(Setting::List(all.into_iter().collect::<Option<_>>()?))
    }

    fn table(&mut self, name: &str, fields: &'static [Field], node: &'a Node) -> Option<Setting> {
        let mut rows = Vec::new();
        let mut good = true;
        let Value::Map(entries) = &node.value else { return None };
        if entries.is_empty() {
            self.error(&node.span, format!("{name} is empty"), "add at least one entry");
            return None;
        }
        for (index, (key, value)) in entries.iter().enumerate() {
            if entries[..index].iter().any(|(other, _)| other.text == key.text) {
                self.error(&key.span, format!("{} appears twice here", quoted(&key.text)), "");
                good = false;
            }
            // The tables of drivers are named by what they measure.
            if let Some(why) = bad_measurement_name(&key.text) {
                self.error(&key.span, format!("{} cannot be the name of a measurement", quoted(&key.text)), why);
                good = false;
            }
            match self.section(&key.span, Some(value), &shorten(&key.text), fields).settings() {
                Some(settings) => rows.push((key.text.clone(), settings)),
                None => good = false,
            }
        }
        good.then_some(Setting::Table(rows))
    }
}

/// A value that is neither a list nor a table.
fn single(kind: &Kind, node: &Node, folder: &Path) -> Result<Setting, Wrong> {
    let wrong = || Wrong::new(format!("this is {}", node.describe()), format!("write {}", expected(kind)));
    match (kind, &node.value) {
        (Kind::Flag | Kind::Integer { .. } | Kind::Number { .. } | Kind::Address(_), Value::Text(text))
            if is_quoted(kind, text) =>
        {
            let what = format!("{} is a text, because it is in quotes", quoted(text));
            Err(Wrong::new(what, format!("write it without quotes: {}", shorten(text))))
        }
        (Kind::Flag, Value::Flag(flag)) => Ok(Setting::Flag(*flag)),
        (Kind::Flag, Value::Text(text)) => {
            Err(Wrong::new(format!("{} is not a flag", quoted(text)), "write true or false"))
        }
        (Kind::Integer { min, max }, Value::Integer(n, _)) if (*min..=*max).contains(n) => Ok(Setting::Integer(*n)),
        (Kind::Integer { .. }, Value::Integer(_, text) | Value::Number(_, text)) => {
            Err(Wrong::new(format!("{} is not {}", shorten(text), expected(kind)), ""))
        }
        (Kind::Number { min, max }, Value::Integer(..) | Value::Number(..)) => number(&node.value, *min, *max),
        (Kind::Address(known), Value::Integer(n, _)) => match u16::try_from(*n) {
            Ok(address) if known.contains(&address) => Ok(Setting::Integer(*n)),
            _ => Err(Wrong::new(format!("{n:#04x} is not an address of this chip"), format!("use {}", expected(kind)))),
        },
        (Kind::Duration { min, max }, _) => duration(node.scalar_text().ok_or_else(wrong)?, *min, *max),
        (Kind::DurationOrNever { .. }, Value::Text(text)) if text == "never" => Ok(Setting::Text(text.clone())),
        (Kind::DurationOrNever { min, max }, _) => duration(node.scalar_text().ok_or_else(wrong)?, *min, *max),
        (Kind::Size { min, max }, _) => size(node.scalar_text().ok_or_else(wrong)?, *min, *max),
        (Kind::Choice(words), _) => choice(node.scalar_text().ok_or_else(wrong)?, words),
        (Kind::Line, Value::Integer(n, _)) if *n >= 0 => Ok(Setting::Text(n.to_string())),
        (Kind::Line, Value::Text(text)) => line(text).map(Setting::Text),
        (Kind::Name, _) => name(node.scalar_text().ok_or_else(wrong)?),
        (Kind::Path, Value::Text(text)) => path(text, folder),
        (Kind::Text, _) => text(node.scalar_text().ok_or_else(wrong)?),
        _ => Err(wrong()),
    }
}

/// Whether a text would be a value of that kind if it had no quotes.
fn is_quoted(kind: &Kind, text: &str) -> bool {
    let plain = tree::parse(text).map(|node| node.value);
    match kind {
        Kind::Flag => matches!(plain, Ok(Value::Flag(_))),
        _ => matches!(plain, Ok(Value::Integer(..) | Value::Number(..))),
    }
}

fn number(value: &Value, min: f64, max: f64) -> Result<Setting, Wrong> {
    let n = match value {
        Value::Integer(n, _) => *n as f64,
        Value::Number(n, _) => *n,
        _ => f64::NAN,
    };
    if (min..=max).contains(&n) {
        return Ok(Setting::Number(n));
    }
    Err(Wrong::new(format!("{n} is not {}", expected(&Kind::Number { min, max })), ""))
}

fn duration(text: &str, min: Duration, max: Duration) -> Result<Setting, Wrong> {
    let duration = parse_duration(text).map_err(|wrong| not_a_quantity(text, wrong, "time", "10s"))?;
    if duration < min {
        return Err(Wrong::new(format!("{text} is too short"), format!("at least {}", format_duration(min))));
    }
    if duration > max {
        return Err(Wrong::new(format!("{text} is too long"), format!("at most {}", format_duration(max))));
    }
    Ok(Setting::Duration(duration))
}

fn size(text: &str, min: u64, max: u64) -> Result<Setting, Wrong> {
    let bytes = parse_size(text).map_err(|wrong| not_a_quantity(text, wrong, "size", "64MiB"))?;
    match i64::try_from(bytes) {
        Ok(size) if (min..=max).contains(&bytes) => Ok(Setting::Integer(size)),
        _ if bytes < min => Err(Wrong::new(format!("{text} is too small"), format!("at least {}", format_size(min)))),
        _ => Err(Wrong::new(format!("{text} is too large"), format!("at most {}", format_size(max)))),
    }
}

/// What the model's parsers found, which quote the text: only where it is a plain word.
fn not_a_quantity(text: &str, wrong: Wrong, thing: &str, example: &str) -> Wrong {
    if quoted(text) == THIS {
        return Wrong::new(format!("this is not a {thing}"), format!("write a number and its unit, such as {example}"));
    }
    wrong
}

fn choice(text: &str, words: &[&'static str]) -> Result<Setting, Wrong> {
    if words.contains(&text) {
        return Ok(Setting::Text(text.to_owned()));
    }
    let hint = did_you_mean(text, words, || format!("use {}", words.join(", ")));
    Err(Wrong::new(format!("{} is not known here", quoted(text)), hint))
}

/// A line's name as the kernel may know it (at most 31 bytes), or its number without idle zeros.
fn line(text: &str) -> Result<String, Wrong> {
    if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
        let number = text.trim_start_matches('0');
        return Ok(if number.is_empty() { "0".into() } else { number.to_owned() });
    }
    if text.is_empty() || text.len() > 31 || text.chars().any(char::is_control) {
        return Err(Wrong::new(
            format!("{} cannot be a line", quoted(text)),
            "write its name, such as GPIO17, or its number",
        ));
    }
    Ok(text.to_owned())
}

fn name(text: &str) -> Result<Setting, Wrong> {
    match Name::new(text) {
        Ok(name) => Ok(Setting::Text(name.as_str().to_owned())),
        Err(error) => Err(Wrong::new(error.to_string(), "")),
    }
}

fn path(text: &str, folder: &Path) -> Result<Setting, Wrong> {
    if text.is_empty() || text.contains('\0') {
        return Err(Wrong::new(format!("{} cannot be a path", quoted(text)), ""));
    }
    // Joining an absolute path gives that path.
    match folder.join(text).into_os_string().into_string() {
        Ok(path) => Ok(Setting::Text(path)),
        Err(_) => {
            Err(Wrong::new("the folder of the configuration has a name that is not UTF-8", "write an absolute path"))
        }
    }
}

fn text(text: &str) -> Result<Setting, Wrong> {
    if text.len() > MAX_TEXT {
        return Err(Wrong::new(format!("a text of {} bytes is too long", text.len()), format!("at most {MAX_TEXT}")));
    }
    if let Some(bad) = text.chars().find(|c| c.is_control()) {
        return Err(Wrong::new(format!("{bad:?} cannot stand in this text"), ""));
    }
    Ok(Setting::Text(text.to_owned()))
}

/// What a kind asks for, for hints.
pub(super) fn expected(kind: &Kind) -> String {
    match kind {
        Kind::Text => "a text".into(),
        Kind::Path => "a path".into(),
        Kind::Name => "a name of A-Z, a-z, 0-9, _ and -".into(),
        Kind::Choice(words) => format!("one of {}", words.join(", ")),
        Kind::Flag => "true or false".into(),
        Kind::Integer { min, max } => format!("a whole number from {min} to {max}"),
        Kind::Number { min, max } if *max >= BOUNDLESS && *min <= -BOUNDLESS => "a number".into(),
        Kind::Number { min, max } if *max >= BOUNDLESS && *min > 0.0 => "a number greater than 0".into(),
        Kind::Number { min, max } => format!("a number from {min} to {max}"),
        Kind::Duration { .. } => "a time with its unit, such as 10s".into(),
        Kind::DurationOrNever { .. } => "a time with its unit, such as 10s, or never".into(),
        Kind::Size { .. } => "a size with its unit, such as 64MiB".into(),
        Kind::Address(all) => format_addresses(all, " to ").join(" or "),
        Kind::Line => "a line's name, such as GPIO17, or its number".into(),
        Kind::List(kind) => format!("a list, each entry {}", expected(kind)),
        Kind::OneOrMany(kind) => format!("{} or a list of them", expected(kind)),
        Kind::State => "what is safe, such as \"off\"".into(),
        Kind::States => "what each output does, such as { heater: on }".into(),
        Kind::Filters => "a list of filters for each measurement".into(),
        Kind::Deltas => "a number for each measurement".into(),
        Kind::Subsection(_) => "a section of keys, or {} for its defaults".into(),
        Kind::Table(_) | Kind::Named(_) | Kind::Section(_) | Kind::DriverSettings | Kind::PerMeasurement { .. } => {
            "a section of keys".into()
        }
    }
}

/// A value of that kind for one that is not known, which must be none that is. What depends on it differs between the two.
pub(super) fn stand_in(kind: &Kind, second: bool) -> Setting {
    let text = || Setting::Text(if second { "\u{1}" } else { "\u{2}" }.to_owned());
    match kind {
        Kind::Flag => Setting::Flag(second),
        Kind::Integer { min, max } => Setting::Integer(if second { *max } else { *min }),
        Kind::Number { min, max } => Setting::Number(if second { *max } else { *min }),
        Kind::Duration { min, max } | Kind::DurationOrNever { min, max } => {
            Setting::Duration(if second { *max } else { *min })
        }
        // Beyond the seven bits of an address.
        Kind::Address(_) => Setting::Integer(0xFE + i64::from(second)),
        Kind::Size { min, max } => {
            Setting::Integer(i64::try_from(if second { *max } else { *min }).unwrap_or(i64::MAX))
        }
        Kind::Choice(words) => {
            let word = if second { words.last() } else { words.first() };
            word.map_or_else(text, |word| Setting::Text((*word).to_owned()))
        }
        Kind::List(inner) | Kind::OneOrMany(inner) => Setting::List(vec![stand_in(inner, second)]),
        Kind::Table(_) | Kind::Named(_) => Setting::Table(Vec::new()),
        Kind::Subsection(fields) => {
            let mut settings = Settings::default();
            fields.iter().for_each(|field| settings.insert(field.name, stand_in(&field.kind, second)));
            Setting::Section(settings)
        }
        Kind::Text | Kind::Path | Kind::Line | Kind::Name => text(),
        Kind::Section(_) | Kind::State | Kind::States | Kind::DriverSettings => text(),
        Kind::Filters | Kind::Deltas | Kind::PerMeasurement { .. } => text(),
    }
}

/// The setting that a default means. A default that is wrong means nothing; the tests over all tables find it.
pub(super) fn default(kind: &Kind, text: &str, folder: &Path) -> Option<Setting> {
    let node = tree::parse(text).ok()?;
    match (kind, &node.value) {
        (Kind::List(inner) | Kind::OneOrMany(inner), Value::List(items)) => {
            Some(Setting::List(items.iter().map(|item| single(inner, item, folder).ok()).collect::<Option<_>>()?))
        }
        _ => single(kind, &node, folder).ok(),
    }
}
