//! What the value of a configuration key may be.
//!
//! One table of [`Field`]s per section is the single source for the check, the JSON Schema and the driver pages. The
//! configuration turns YAML into [`Settings`], in which every value is already of its [`Kind`], within its range, and
//! defaults are filled in; a driver reads them with getters that cannot fail for a key of its own table.

use std::time::Duration;

use crate::Wrong;

/// One key of a section.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The key as it is written in YAML.
    pub name: &'static str,
    /// What its value may be.
    pub kind: Kind,
    /// Whether it must be there.
    pub need: Need,
    /// One sentence with unit and meaning, for the driver page and the schema.
    pub doc: &'static str,
}

/// Whether a key must be written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Need {
    /// It must be written.
    Required,
    /// It may be left out, and then means this, written as in YAML.
    Default(&'static str),
    /// It may be left out, and then means nothing.
    Optional,
    /// Either it must or this other key, which says the same of it; not both.
    Or(&'static str),
}

/// What the value of a key may be. Ranges are inclusive.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Any text.
    Text,
    /// A path; relative ones start at the configuration file's folder.
    Path,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `true` or `false`.
    Flag,
    /// A whole number.
    Integer {
        /// The smallest value that is accepted.
        min: i64,
        /// The largest value that is accepted.
        max: i64,
    },
    /// A finite number, with or without decimals.
    Number {
        /// The smallest value that is accepted.
        min: f64,
        /// The largest value that is accepted.
        max: f64,
    },
    /// A time with its unit: `20ms`, `10s`, `5m`.
    Duration {
        /// The shortest time that is accepted.
        min: Duration,
        /// The longest time that is accepted.
        max: Duration,
    },
    /// A bus address; one of these.
    Address(&'static [u16]),
    /// A GPIO line: its name (`GPIO17`) or its number on the chip.
    Line,
    /// A list, not empty, of values of one kind.
    List(&'static Kind),
    /// A map from the user's own keys to sections of this form; not empty.
    Table(&'static [Field]),
    /// A section of the file: a map from names of the user's own to sections of this form. Its entries are checked by who knows
    /// what they are, and a map without any is as good as none.
    Named(&'static [Field]),
    /// A [`crate::Name`].
    Name,
    /// A size with its unit in bytes: `64MiB`.
    Size {
        /// The smallest size that is accepted, in bytes.
        min: u64,
        /// The largest size that is accepted, in bytes.
        max: u64,
    },
    /// A time, or the word `never`.
    DurationOrNever {
        /// The shortest time that is accepted.
        min: Duration,
        /// The longest time that is accepted.
        max: Duration,
    },
    /// One value of a kind, or a list of them.
    OneOrMany(&'static Kind),
    /// A section with keys of its own, checked with the section around it.
    Section(&'static [Field]),
    /// A section with keys of its own among the settings of a driver, as one value. Empty, its defaults apply.
    Subsection(&'static [Field]),
    /// What an output can be set to: `on`, `off`, or a number from 0 to 100; which of them, its driver knows.
    State,
    /// A map from outputs to what they are set to, as in [`Kind::State`] or a word of a cover; which of them, their drivers know.
    States,
    /// The settings of the driver that is named beside it.
    DriverSettings,
    /// A map from the sensor's measurements to lists of filters.
    Filters,
    /// A map from the sensor's measurements to numbers greater than 0.
    Deltas,
    /// A section with keys of its own, and one with other keys for each of the sensor's measurements.
    PerMeasurement {
        /// The keys beside the measurements.
        own: &'static [Field],
        /// The keys below a measurement.
        each: &'static [Field],
    },
}

/// A checked value.
#[derive(Clone, Debug, PartialEq)]
pub enum Setting {
    /// Of [`Kind::Text`], [`Kind::Path`] (made absolute), [`Kind::Choice`], [`Kind::Line`] and [`Kind::Name`]; `never` of
    /// [`Kind::DurationOrNever`].
    Text(String),
    /// Of [`Kind::Flag`].
    Flag(bool),
    /// Of [`Kind::Integer`], [`Kind::Address`] and [`Kind::Size`].
    Integer(i64),
    /// Of [`Kind::Number`].
    Number(f64),
    /// Of [`Kind::Duration`] and [`Kind::DurationOrNever`].
    Duration(Duration),
    /// Of [`Kind::List`] and [`Kind::OneOrMany`].
    List(Vec<Setting>),
    /// Of [`Kind::Table`], in the order of the file.
    Table(Vec<(String, Settings)>),
    /// Of [`Kind::Subsection`].
    Section(Settings),
}

/// The checked values of one section, defaults filled in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    values: Vec<(&'static str, Setting)>,
}

impl Settings {
    /// Keeps `value` under `name`.
    pub fn insert(&mut self, name: &'static str, value: Setting) {
        self.values.push((name, value));
    }

    /// Every key and its value.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Setting)> {
        self.values.iter().map(|(name, setting)| (*name, setting))
    }

    /// The value of an optional key.
    pub fn get(&self, name: &str) -> Option<&Setting> {
        self.values.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// The text of a key that is required or has a default.
    pub fn text(&self, name: &str) -> &str {
        self.optional_text(name).unwrap_or_else(|| wrong(name))
    }

    /// The place of a key's word among the `choices` of its [`Kind::Choice`], from 0: the code of many a chip's setting. The key
    /// is required or has a default.
    pub fn choice(&self, name: &str, choices: &[&str]) -> u8 {
        let word = self.text(name);
        choices.iter().zip(0..).find(|(choice, _)| **choice == word).map_or_else(|| wrong(name), |(_, place)| place)
    }

    /// The text of an optional key.
    pub fn optional_text(&self, name: &str) -> Option<&str> {
        match self.get(name) {
            Some(Setting::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The flag of a key that is required or has a default.
    pub fn flag(&self, name: &str) -> bool {
        match self.get(name) {
            Some(Setting::Flag(flag)) => *flag,
            _ => wrong(name),
        }
    }

    /// The whole number of a key that is required or has a default; an address too.
    pub fn integer(&self, name: &str) -> i64 {
        match self.get(name) {
            Some(Setting::Integer(n)) => *n,
            _ => wrong(name),
        }
    }

    /// The bus address of a key of [`Kind::Address`].
    pub fn address(&self, name: &str) -> u8 {
        u8::try_from(self.integer(name)).unwrap_or_else(|_| wrong(name))
    }

    /// The number of a key that is required or has a default.
    pub fn number(&self, name: &str) -> f64 {
        match self.get(name) {
            Some(Setting::Number(n)) => *n,
            _ => wrong(name),
        }
    }

    /// The time of an optional key.
    pub fn optional_duration(&self, name: &str) -> Option<Duration> {
        match self.get(name) {
            Some(Setting::Duration(duration)) => Some(*duration),
            _ => None,
        }
    }

    /// The time of a key that is required or has a default.
    pub fn duration(&self, name: &str) -> Duration {
        match self.get(name) {
            Some(Setting::Duration(duration)) => *duration,
            _ => wrong(name),
        }
    }

    /// The list of a key that is required or has a default.
    pub fn list(&self, name: &str) -> &[Setting] {
        match self.get(name) {
            Some(Setting::List(list)) => list,
            _ => wrong(name),
        }
    }

    /// The section of an optional key.
    pub fn optional_section(&self, name: &str) -> Option<&Settings> {
        match self.get(name) {
            Some(Setting::Section(settings)) => Some(settings),
            _ => None,
        }
    }

    /// The table of a key that is required.
    pub fn table(&self, name: &str) -> &[(String, Settings)] {
        match self.get(name) {
            Some(Setting::Table(table)) => table,
            _ => wrong(name),
        }
    }
}

/// A driver asked for a key that its own table does not have: the tests over the table find it.
fn wrong(name: &str) -> ! {
    panic!("{name} is not a key of that kind in the driver's own table")
}

/// Reads `10s`, `1.5h`, `250ms`: a number and one of ms, s, m, h, d.
///
/// # Errors
/// No unit, an unknown unit, not a number, or longer than 100 years.
pub fn parse_duration(text: &str) -> Result<Duration, Wrong> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = (&text[..split], text[split..].trim());
    let not_a_time = || Wrong::new(format!("{text:?} is not a time"), "write a number and its unit, such as 10s");
    let value: f64 = number.parse().map_err(|_| not_a_time())?;
    let seconds = match unit {
        "ms" => value / 1000.0,
        "s" => value,
        "m" | "min" => value * 60.0,
        "h" => value * 3600.0,
        "d" => value * 86_400.0,
        "" => {
            return Err(Wrong::new(
                format!("{text:?} has no unit"),
                format!("write {text}s, {text}ms, {text}m, {text}h or {text}d"),
            ));
        }
        _ => return Err(Wrong::new(format!("{unit:?} is not a unit of time"), "use ms, s, m, h or d")),
    };
    if seconds > MAX_SECONDS {
        return Err(Wrong::new(format!("{text} is longer than 100 years"), ""));
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| Wrong::new(format!("{text:?} is not a time"), ""))
}

/// Reads `64MiB`: a number and one of KiB, MiB, GiB, KB, MB, GB.
///
/// # Errors
/// No unit, an unknown unit, not a number, or more than 2^53 bytes.
pub fn parse_size(text: &str) -> Result<u64, Wrong> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = (&text[..split], text[split..].trim());
    let not_a_size = || Wrong::new(format!("{text:?} is not a size"), "write a number and its unit, such as 64MiB");
    let value: f64 = number.parse().map_err(|_| not_a_size())?;
    let scale = match unit {
        "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        "GiB" => 1024.0 * 1024.0 * 1024.0,
        "KB" | "kB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "" => {
            return Err(Wrong::new(
                format!("{text:?} has no unit"),
                format!("write {text}MiB, {text}KiB or {text}GiB"),
            ));
        }
        _ => return Err(Wrong::new(format!("{unit:?} is not a unit of size"), "use KiB, MiB, GiB, KB, MB or GB")),
    };
    let bytes = (value * scale).round();
    // Up to 2^53 an f64 holds every whole number, so the cast is exact.
    if bytes <= 9_007_199_254_740_992.0 {
        Ok(bytes as u64)
    } else {
        Err(Wrong::new(format!("{text} is more than any disk holds"), ""))
    }
}

/// Writes a size as [`parse_size`] reads it, in the largest binary unit that keeps it whole; bytes have no unit of their own.
pub fn format_size(bytes: u64) -> String {
    for (unit, size) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes >= size && bytes.is_multiple_of(size) {
            return format!("{}{unit}", bytes / size);
        }
    }
    format!("{bytes} bytes")
}

/// Writes addresses one by one, and three and more in a row as the first and the last with `to` between them.
pub fn format_addresses(addresses: &[u16], to: &str) -> Vec<String> {
    let rows = addresses.chunk_by(|one, next| one.checked_add(1) == Some(*next));
    let words = rows.map(|row| match row {
        [first, _, .., last] => vec![format!("{first:#04x}{to}{last:#04x}")],
        few => few.iter().map(|address| format!("{address:#04x}")).collect(),
    });
    words.flatten().collect()
}

/// 100 years: beyond it sums of times could overflow what clocks can hold.
const MAX_SECONDS: f64 = 100.0 * 366.0 * 86_400.0;

/// Writes a time as [`parse_duration`] reads it, in the largest unit that keeps it whole.
pub fn format_duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    for (unit, length) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)] {
        if ms >= length && ms.is_multiple_of(length) {
            return format!("{}{unit}", ms / length);
        }
    }
    match duration.as_micros() {
        0 => "0s".into(),
        // Below this nobody cares for thousandths.
        us @ ..10_000 if us % 1000 != 0 => format!("{}ms", us as f64 / 1000.0),
        _ => format!("{ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_carries_its_unit() {
        for (text, ms) in [
            ("1ms", 1),
            ("20 ms", 20),
            ("1.5s", 1500),
            ("5m", 300_000),
            ("5min", 300_000),
            ("1h", 3_600_000),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["10", "", "s", "10 parsecs", "-1s", "1e999s", "9999999999d", "1..2s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_size_carries_its_unit() {
        for (text, bytes) in [("64MiB", 64 << 20), ("1.5KiB", 1536), ("2 GB", 2_000_000_000), ("1GiB", 1 << 30)] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["64", "64 mib", "", "MiB", "-1MiB", "1e9GiB", "99999999999999999999GiB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
        assert_eq!(format_size(64 << 20), "64MiB");
    }

    #[test]
    fn a_choice_is_known_by_its_place() {
        let mut settings = Settings::default();
        settings.insert("range", Setting::Text("8".into()));
        assert_eq!(settings.choice("range", &["2", "4", "8", "16"]), 2);
    }

    #[test]
    fn addresses_in_a_row_are_named_by_their_ends() {
        let words = |all: &[u16]| format_addresses(all, " to ").join(" or ");
        assert_eq!(words(&[0x76, 0x77]), "0x76 or 0x77");
        assert_eq!(words(&[0x23, 0x5C]), "0x23 or 0x5c");
        assert_eq!(words(&[0x0F, 0x40, 0x41, 0x42, 0x44]), "0x0f or 0x40 to 0x42 or 0x44");
    }

    #[test]
    fn a_time_is_written_as_it_is_read() {
        for text in ["0.3ms", "2.25ms", "1ms", "1500ms", "10s", "5m", "36h", "2d", "0s"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
    }
}
