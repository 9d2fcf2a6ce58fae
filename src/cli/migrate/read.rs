//! The file of mqtt-io, value by value: what has the wrong kind or is missing is a problem at its place, and all are found.
//!
//! mqtt-io reads YAML 1.1, where `yes`, `on` and the like are flags and `010` is eight. What stands twice counts as mqtt-io counts
//! it: the last.

use std::cell::RefCell;

use crate::config::ConfigError;
use crate::config::foreign::{Foreign, Node, Span, Value};
use crate::config::report::Problem;

/// The longest text that is taken over, in bytes: a path of a file may be so long.
const MAX_TEXT: usize = 4096;

/// The key of YAML 1.1 whose value is merged into the map around it.
const MERGE: &str = "<<";

/// The file, and what is wrong with it so far.
pub(super) struct Reader<'a> {
    file: &'a Foreign,
    problems: RefCell<Vec<Problem>>,
}

/// A map of keys in it.
#[derive(Clone, Debug)]
pub(super) struct Section<'a> {
    place: Span,
    entries: Vec<(&'a str, &'a Node)>,
}

impl<'a> Section<'a> {
    /// The value of `key`; a key without a value counts as left out.
    pub(super) fn node(&self, key: &str) -> Option<&'a Node> {
        let found = self.entries.iter().rev().find(|(name, _)| *name == key);
        found.map(|(_, node)| *node).filter(|node| node.value != Value::Null)
    }

    /// The keys that are written, each once.
    pub(super) fn keys(&self) -> Vec<&'a str> {
        let mut keys: Vec<&'a str> = Vec::new();
        for (key, _) in &self.entries {
            if !keys.contains(key) {
                keys.push(key);
            }
        }
        keys
    }

    /// Where the value of `key` stands; the section's own place where it is left out.
    pub(super) fn span(&self, key: &str) -> Span {
        self.node(key).map_or(self.place.clone(), |node| node.span.clone())
    }
}

impl<'a> Reader<'a> {
    pub(super) fn new(file: &'a Foreign) -> Self {
        Self { file, problems: RefCell::default() }
    }

    /// Notes what is wrong at `span`.
    pub(super) fn wrong(&self, span: &Span, what: &str, hint: &str) {
        self.problems.borrow_mut().push(self.file.problem(span, what, hint));
    }

    /// All that is wrong, if anything is.
    pub(super) fn problems(&self) -> Result<(), ConfigError> {
        let problems = self.problems.take();
        if problems.is_empty() { Ok(()) } else { Err(self.file.refused(problems)) }
    }

    /// The whole file.
    pub(super) fn root(&self) -> Section<'a> {
        self.section_of(self.file.root(), "the file")
    }

    fn section_of(&self, node: &'a Node, name: &str) -> Section<'a> {
        let mut entries = Vec::new();
        match &node.value {
            Value::Map(map) => {
                // What is merged in (`<<: *anchor`) counts less than what is written, wherever it stands.
                for (_, merged) in map.iter().filter(|(key, _)| key.text == MERGE) {
                    let merged = if let Value::List(list) = &merged.value {
                        list.as_slice()
                    } else {
                        std::slice::from_ref(merged)
                    };
                    entries.extend(merged.iter().rev().flat_map(|node| self.section_of(node, MERGE).entries));
                }
                let written = map.iter().filter(|(key, _)| key.text != MERGE);
                entries.extend(written.map(|(key, value)| (key.text.as_str(), value)));
            }
            _ => {
                let what = format!("{name}: this is {}, where mqtt-io has a section of keys", node.describe());
                self.wrong(&node.span, &what, "is this a configuration of mqtt-io 2?");
            }
        }
        Section { place: node.span.start..node.span.start + 1, entries }
    }

    /// The section `key`, empty where it is left out.
    pub(super) fn section(&self, of: &Section<'a>, key: &str) -> Section<'a> {
        match of.node(key) {
            Some(node) => self.section_of(node, key),
            None => Section { place: of.place.clone(), entries: Vec::new() },
        }
    }

    /// The entries of the list `key`.
    pub(super) fn list(&self, of: &Section<'a>, key: &str) -> Vec<Section<'a>> {
        match of.node(key) {
            None => Vec::new(),
            Some(Node { value: Value::List(items), .. }) => {
                items.iter().map(|item| self.section_of(item, &format!("an entry of {key}"))).collect()
            }
            Some(node) => {
                self.kind(node, key, "a list");
                Vec::new()
            }
        }
    }

    /// The texts of the list `key`.
    pub(super) fn texts(&self, of: &Section<'a>, key: &str) -> Vec<&'a str> {
        match of.node(key) {
            None => Vec::new(),
            Some(Node { value: Value::List(items), .. }) => {
                items.iter().filter_map(|item| self.text_of(item, key)).collect()
            }
            Some(node) => {
                self.kind(node, key, "a list");
                Vec::new()
            }
        }
    }

    fn kind(&self, node: &Node, key: &str, wanted: &str) {
        let what = format!("{key}: this is {}, where mqtt-io has {wanted}", node.describe());
        self.wrong(&node.span, &what, "");
    }

    fn text_of(&self, node: &'a Node, key: &str) -> Option<&'a str> {
        match node.scalar_text() {
            Some(text) if text.len() > MAX_TEXT => {
                self.wrong(&node.span, &format!("{key}: the text is too long"), "");
                None
            }
            Some(text) if text.chars().any(char::is_control) => {
                self.wrong(&node.span, &format!("{key}: a control character cannot stand in this text"), "");
                None
            }
            Some(text) => Some(text),
            None => {
                self.kind(node, key, "a text");
                None
            }
        }
    }

    /// A text, or a number as it is written; not an empty one.
    pub(super) fn text(&self, of: &Section<'a>, key: &str) -> Option<&'a str> {
        self.text_of(of.node(key)?, key).filter(|text| !text.is_empty())
    }

    /// A text that must be there.
    pub(super) fn required(&self, of: &Section<'a>, key: &str) -> Option<&'a str> {
        let text = self.text(of, key);
        if text.is_none() && of.node(key).is_none_or(|node| node.scalar_text().is_some()) {
            self.wrong(&of.span(key), &format!("{key} is missing here"), "mqtt-io does not start without it");
        }
        text
    }

    /// A flag.
    pub(super) fn flag(&self, of: &Section<'a>, key: &str) -> Option<bool> {
        let node = of.node(key)?;
        let flag = match &node.value {
            Value::Flag(flag) => Some(*flag),
            Value::Text(text) => match text.to_ascii_lowercase().as_str() {
                "yes" | "on" | "true" => Some(true),
                "no" | "off" | "false" => Some(false),
                _ => None,
            },
            _ => None,
        };
        if flag.is_none() {
            self.kind(node, key, "yes or no");
        }
        flag
    }

    /// A number.
    pub(super) fn number(&self, of: &Section<'a>, key: &str) -> Option<f64> {
        let node = of.node(key)?;
        let number = match &node.value {
            Value::Number(number, _) => Some(*number),
            _ => whole_of(node).map(|number| number as f64),
        };
        let number = number.filter(|number| number.is_finite());
        if number.is_none() {
            self.kind(node, key, "a number");
        }
        number
    }

    /// A whole number within these bounds.
    pub(super) fn integer(&self, of: &Section<'a>, key: &str, least: i64, most: i64) -> Option<i64> {
        let node = of.node(key)?;
        let number = whole_of(node);
        match number {
            None => self.kind(node, key, "a whole number"),
            Some(number) if !(least..=most).contains(&number) => {
                self.wrong(&node.span, &format!("{key}: {number} is not within {least} to {most}"), "");
                return None;
            }
            Some(_) => {}
        }
        number
    }
}

/// A whole number.
fn whole_of(node: &Node) -> Option<i64> {
    match &node.value {
        Value::Integer(number, _) => Some(*number),
        Value::Text(text) => whole(text),
        _ => None,
    }
}

/// A whole number as YAML 1.1 reads it: with underscores, and octal behind a leading zero.
pub(super) fn whole(text: &str) -> Option<i64> {
    let text = text.replace('_', "");
    let octal = text.strip_prefix('0').filter(|rest| !rest.is_empty());
    match octal {
        Some(hex) if hex.starts_with('x') => i64::from_str_radix(&hex[1..], 16).ok(),
        Some(octal) => i64::from_str_radix(octal, 8).ok().or_else(|| text.parse().ok()),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_those_of_yaml_1_1() {
        let written = ["17", "0x20", "010", "1_000", "08", "0", "-3"];
        assert_eq!(written.map(whole), [17, 32, 8, 1000, 8, 0, -3].map(Some));
        assert_eq!(["", "0x", "1.5", "ten", "99999999999999999999"].map(whole), [None; 5]);
    }
}
