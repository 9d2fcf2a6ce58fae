//! Texts of others as they may be shown: of limited length, and without what acts on a terminal. Pure.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

/// Characters of a text of others: of a value, and of a line.
pub(super) const WORD_CHARS: usize = 40;
pub(super) const LINE_CHARS: usize = 200;

/// Characters of what a broker says, with what we say of it.
const BROKER_CHARS: usize = 600;

/// Keys of a reading that are no measurement.
const FRAME: [&str; 6] = ["time", "run", "seq", "samples", "clock", "late"];

/// `21.53 °C   44.8 %   contact true`: a number with its unit speaks for itself.
pub(super) fn measurements(all: &Map<String, Json>, units: &BTreeMap<String, String>) -> String {
    let mut words = String::new();
    for (name, value) in all.iter().filter(|(name, _)| !FRAME.contains(&name.as_str())) {
        let unit = units.get(name).map_or("", String::as_str);
        let value = self::value(value);
        let word =
            if unit.is_empty() { format!("{} {value}", clean(name, WORD_CHARS)) } else { format!("{value} {unit}") };
        if words.chars().count() + word.chars().count() > LINE_CHARS {
            words.push_str("   …");
            break;
        }
        words.push_str(if words.is_empty() { "" } else { "   " });
        words.push_str(&word);
    }
    words
}

pub(super) fn value(value: &Json) -> String {
    match value {
        Json::String(text) => clean(text, WORD_CHARS),
        Json::Null => "–".into(),
        Json::Array(_) | Json::Object(_) => "…".into(),
        value => clean(&value.to_string(), WORD_CHARS),
    }
}

pub(super) fn text(value: &Json, limit: usize) -> String {
    clean(value.as_str().unwrap_or_default(), limit)
}

/// What a broker says, which may be anybody.
pub(super) fn harmless(text: &str) -> String {
    clean(text, BROKER_CHARS)
}

/// Others' text without what acts on a terminal or hides in it: control characters, and those that change the direction or take no
/// space (Unicode's general punctuation and specials).
pub(super) fn clean(text: &str, limit: usize) -> String {
    let is_hidden = |c: char| {
        c.is_control()
            || matches!(u32::from(c), 0xad | 0x300..=0x36f | 0x61c | 0x180e | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f
                | 0xfe00..=0xfe0f | 0xfeff | 0xfff0..=0xfffb | 0xe0000..=0xe0fff)
    };
    let mut clean: String =
        text.chars().take(limit).map(|c| if is_hidden(c) { char::REPLACEMENT_CHARACTER } else { c }).collect();
    if text.chars().nth(limit).is_some() {
        clean.push('…');
    }
    clean
}
