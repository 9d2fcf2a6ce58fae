//! The configuration as text: what stands in it, and the comments around that.
//!
//! Whatever comes from mqtt-io's file is quoted, or in a comment made harmless: no text of it can begin a line, a key or a value.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// How much of a foreign text a comment shows, in characters.
const MAX_SHOWN: usize = 60;

/// A line of a comment is broken there.
const WIDTH: usize = 118;

/// A text as a value.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            _ if is_harmless(c) => out.push(c),
            // Beyond the sixteen bits that have this escape, nothing is harmful but what is unassigned.
            _ => write(&mut out, format_args!("\\U{:08X}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

/// A name of ours as a key or a value, in quotes where YAML would read something else in it.
pub(super) fn named(name: &str) -> String {
    const WORDS: [&str; 8] = ["true", "false", "null", "yes", "no", "on", "off", "nan"];
    let is_plain = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let is_word = WORDS.iter().any(|word| name.eq_ignore_ascii_case(word)) || name.len() < 2;
    if is_plain && !is_word { name.to_owned() } else { quoted(name) }
}

/// A text within a comment, shortened.
pub(super) fn shown(text: &str) -> String {
    let mut out: String = text.chars().take(MAX_SHOWN).map(|c| if is_harmless(c) { c } else { '\u{fffd}' }).collect();
    if text.chars().nth(MAX_SHOWN).is_some() {
        out.push('…');
    }
    out
}

/// Whether it neither ends a line, nor moves a terminal, nor turns the direction of what follows.
fn is_harmless(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200b}'..='\u{200f}' | '\u{feff}')
        && !matches!(u32::from(c), 0xfffe..=0xffff)
}

fn write(out: &mut String, words: std::fmt::Arguments<'_>) {
    out.write_fmt(words).expect("a String takes all");
}

/// Adds a comment, broken into lines.
pub(super) fn comment(out: &mut String, indent: &str, text: &str) {
    let mut line = format!("{indent}#");
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        if line.chars().count() + 1 + word.chars().count() > WIDTH && line.len() > indent.len() + 1 {
            write(out, format_args!("{line}\n"));
            line = format!("{indent}#  ");
        }
        write(&mut line, format_args!(" {word}"));
    }
    write(out, format_args!("{line}\n"));
}

/// A bus, a sensor or an output.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    pub(super) name: String,
    /// Lines in front of it.
    pub(super) comments: Vec<String>,
    /// Keys and values, as they are written.
    pub(super) keys: Vec<(&'static str, String)>,
}

impl Entry {
    /// Adds a key.
    pub(super) fn key(&mut self, key: &'static str, value: impl Into<String>) {
        self.keys.push((key, value.into()));
    }

    fn write(&self, out: &mut String) {
        for text in &self.comments {
            comment(out, "  ", text);
        }
        write(out, format_args!("  {}:\n", named(&self.name)));
        for (key, value) in &self.keys {
            write(out, format_args!("    {key}: {value}\n"));
        }
    }
}

/// Keys and values in one line: `{ line: GPIO17, active_low: true }`.
pub(super) fn inline(keys: &[(&str, String)]) -> String {
    let keys: Vec<_> = keys.iter().map(|(key, value)| format!("{key}: {value}")).collect();
    format!("{{ {} }}", keys.join(", "))
}

/// The whole file.
#[derive(Debug, Default)]
pub(super) struct File {
    /// What the first lines say.
    pub(super) head: Vec<String>,
    /// Lines of `mqtt:`, comments among them.
    pub(super) mqtt: String,
    /// `home_assistant:`, if it is announced.
    pub(super) home_assistant: Option<String>,
    pub(super) buses: Vec<Entry>,
    pub(super) sensors: Vec<Entry>,
    pub(super) outputs: Vec<Entry>,
    /// Topics of mqtt-io and what stands for them.
    pub(super) topics: Vec<(String, String)>,
    /// What was not carried: the key or module, why, and of which entries.
    pub(super) left: BTreeMap<(String, String), Vec<String>>,
}

impl File {
    /// Notes that `what` is not carried.
    pub(super) fn leave(&mut self, what: &str, why: &str, of: Option<&str>) {
        let names = self.left.entry((what.to_owned(), why.to_owned())).or_default();
        names.extend(of.map(shown));
    }

    /// As it is printed.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        for line in &self.head {
            comment(&mut out, "", line);
        }
        write(&mut out, format_args!("\nmqtt:\n{}", self.mqtt));
        if let Some(shown) = &self.home_assistant {
            write(&mut out, format_args!("\nhome_assistant: {shown}\n"));
        }
        for (key, entries) in [("buses", &self.buses), ("sensors", &self.sensors), ("actuators", &self.outputs)] {
            if !entries.is_empty() {
                write(&mut out, format_args!("\n{key}:\n"));
            }
            entries.iter().for_each(|entry| entry.write(&mut out));
        }
        self.notes(&mut out);
        out
    }

    fn notes(&self, out: &mut String) {
        if !self.topics.is_empty() {
            out.push_str("\n# Topics of mqtt-io, and what stands for them here (B is the base topic):\n");
        }
        for (old, new) in &self.topics {
            write(out, format_args!("#   {old} -> {new}\n"));
        }
        if !self.left.is_empty() {
            out.push_str("\n# Not carried:\n");
        }
        for ((what, why), of) in &self.left {
            let names = if of.is_empty() { String::new() } else { format!(" ({})", of.join(", ")) };
            comment(out, "", &format!("- {what}{names}: {why}"));
        }
    }
}
