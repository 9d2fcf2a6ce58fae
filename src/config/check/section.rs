//! A map of nodes against a table of fields.
//!
//! [`Checker::section`] reads a map: unknown, repeated, missing and malformed keys are reported here, once and for all sections alike. The
//! caller then takes the values out of the [`Section`] by their keys and checks what belongs together. A value that was wrong is
//! absent there, and has been reported.

use std::time::Duration;

use crate::config::check::words::{THIS, did_you_mean, nearest, quoted};
use crate::config::check::{Checker, value};
use crate::config::mask;
use crate::config::tree::{Key, Node, Span, Value};
use fieldgate_model::{Field, Kind, Need, Setting, Settings};

/// What stands in a section, key by key of its table.
#[derive(Debug)]
pub(super) struct Section<'a> {
    /// Where the section is named.
    pub(super) place: Span,
    entries: Vec<Entry<'a>>,
    /// Keys that stand here once more, each of which has been reported: what is below them is looked at all the same.
    again: Vec<(&'static str, &'a Node)>,
    /// Fields that an unknown key probably means: that these are missing would say the same mistake twice.
    misspelt: Vec<&'static str>,
    /// Whether every key was right, so that [`Section::settings`] has all that a driver may ask for.
    pub(super) complete: bool,
}

#[derive(Debug)]
struct Entry<'a> {
    field: &'static Field,
    /// The key and the value as written; `None` for a default.
    written: Option<(Span, &'a Node)>,
    setting: Option<Setting>,
}

impl<'a> Section<'a> {
    fn entry(&self, name: &str) -> Option<&Entry<'a>> {
        self.entries.iter().find(|entry| entry.field.name == name)
    }

    /// The value as written.
    pub(super) fn node(&self, name: &str) -> Option<&'a Node> {
        self.entry(name)?.written.as_ref().map(|(_, node)| *node)
    }

    /// The value as written, and what stands under the same key again.
    pub(super) fn nodes(&self, name: &str) -> Vec<&'a Node> {
        let again = self.again.iter().filter(|(key, _)| *key == name).map(|(_, node)| *node);
        self.node(name).into_iter().chain(again).collect()
    }

    /// Where the key stands; where it is left out, the section's own place.
    pub(super) fn key(&self, name: &str) -> Span {
        let written = self.entry(name).and_then(|entry| entry.written.as_ref());
        written.map_or(self.place.clone(), |(key, _)| key.clone())
    }

    /// Where the value stands if it is a plain one, else its key; where it is left out, the section's own place.
    pub(super) fn span(&self, name: &str) -> Span {
        match self.node(name) {
            Some(node) if !matches!(node.value, Value::Map(_) | Value::List(_) | Value::Null) => node.span.clone(),
            _ => self.key(name),
        }
    }

    /// Whether the key was written.
    pub(super) fn has(&self, name: &str) -> bool {
        self.node(name).is_some()
    }

    /// Whether an unknown key, which has been reported, probably means this one.
    pub(super) fn is_misspelt(&self, name: &str) -> bool {
        self.misspelt.contains(&name)
    }

    /// Whether the key was written, rightly or not.
    pub(super) fn is_meant(&self, name: &str) -> bool {
        self.has(name) || self.is_misspelt(name)
    }

    /// The checked value; nothing when it was wrong or left out without a default.
    pub(super) fn get(&self, name: &str) -> Option<&Setting> {
        self.entry(name)?.setting.as_ref()
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Setting::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        match self.get(name)? {
            Setting::Flag(flag) => Some(*flag),
            _ => None,
        }
    }

    pub(super) fn integer(&self, name: &str) -> Option<i64> {
        match self.get(name)? {
            Setting::Integer(number) => Some(*number),
            _ => None,
        }
    }

    pub(super) fn duration(&self, name: &str) -> Option<Duration> {
        match self.get(name)? {
            Setting::Duration(duration) => Some(*duration),
            _ => None,
        }
    }

    /// All values as far as they are known, and twice: what is wrong, missing or misspelt has another stand-in in each, so what
    /// both say does not depend on it.
    pub(super) fn stand_ins(&self, fields: &[Field]) -> [Settings; 2] {
        [false, true].map(|second| {
            let mut settings = Settings::default();
            for field in fields {
                let entry = self.entry(field.name);
                let is_default = entry.is_some_and(|entry| entry.written.is_none());
                let is_misspelt = self.is_misspelt(field.name);
                let known = entry.and_then(|entry| entry.setting.clone()).filter(|_| !(is_default && is_misspelt));
                let is_needed = match field.need {
                    Need::Optional => false,
                    Need::Or(other) => !self.has(other),
                    Need::Required | Need::Default(_) => true,
                };
                let is_unknown = entry.is_some() || is_misspelt || is_needed;
                match known {
                    Some(setting) => settings.insert(field.name, setting),
                    None if is_unknown => settings.insert(field.name, value::stand_in(&field.kind, second)),
                    None => {}
                }
            }
            settings
        })
    }

    /// All values, for a driver; only of a section that is complete.
    pub(super) fn settings(self) -> Option<Settings> {
        let mut settings = Settings::default();
        for entry in self.entries {
            if let Some(setting) = entry.setting {
                settings.insert(entry.field.name, setting);
            }
        }
        self.complete.then_some(settings)
    }
}

impl<'a> Checker<'a> {
    /// Checks nodes, which are more than one where the section stands twice, against `fields`. `place` is where the section is
    /// named, `what` what it is called in messages.
    pub(super) fn section(
        &mut self,
        place: &Span,
        nodes: impl IntoIterator<Item = &'a Node>,
        what: &str,
        fields: &'static [Field],
    ) -> Section<'a> {
        self.section_beside(place, nodes, what, fields, |_| false).0
    }

    /// Checks a section that has other keys too, which are handed back unchecked.
    pub(super) fn section_beside(
        &mut self,
        place: &Span,
        nodes: impl IntoIterator<Item = &'a Node>,
        what: &str,
        fields: &'static [Field],
        is_other: impl Fn(&str) -> bool,
    ) -> (Section<'a>, Vec<(&'a Key, &'a Node)>) {
        let mut section = Section {
            place: place.clone(),
            entries: Vec::new(),
            again: Vec::new(),
            misspelt: Vec::new(),
            complete: true,
        };
        let (mut is_readable, mut others) = (true, Vec::new());
        for node in nodes {
            let Some(entries) = self.entries(Some(node), what) else {
                is_readable = false;
                continue;
            };
            for (key, node) in entries {
                match is_other(&key.text) {
                    true => others.push((key, node)),
                    false => self.key(&mut section, key, node, what, fields),
                }
            }
        }
        section.complete &= is_readable;
        if is_readable {
            self.absent(&mut section, what, fields);
            self.doubled(&mut section, fields);
        }
        (section, others)
    }

    /// One key of a section and its value.
    fn key(&mut self, section: &mut Section<'a>, key: &Key, node: &'a Node, what: &str, fields: &'static [Field]) {
        let Some(field) = fields.iter().find(|field| field.name == key.text) else {
            return self.misspelt_key(section, key, node, what, fields);
        };
        let setting = self.field(field, node, &key.span);
        if section.has(field.name) {
            return section.again.push((field.name, node));
        }
        section.complete &= setting.is_some() || checked_elsewhere(&field.kind);
        section.entries.push(Entry { field, written: Some((key.span.clone(), node)), setting });
    }

    /// A key that no field has. A section is checked as that which was probably meant, so that what names its entries finds them.
    fn misspelt_key(
        &mut self,
        section: &mut Section<'a>,
        key: &Key,
        node: &'a Node,
        what: &str,
        fields: &'static [Field],
    ) {
        section.complete = false;
        let names: Vec<_> = fields.iter().map(|field| field.name).collect();
        self.unknown_key(key, what, &names);
        let meant = nearest(&key.text, &names).and_then(|near| fields.iter().find(|field| field.name == near));
        let Some(field) = meant else { return };
        section.misspelt.push(field.name);
        let is_section = checked_elsewhere(&field.kind) && matches!(node.value, Value::Map(_));
        if is_section && !section.has(field.name) {
            section.entries.push(Entry { field, written: Some((key.span.clone(), node)), setting: None });
        }
    }

    /// Two keys that exclude each other.
    fn doubled(&mut self, section: &mut Section<'a>, fields: &'static [Field]) {
        for field in fields {
            let Need::Or(other) = field.need else { continue };
            if section.has(field.name) && section.has(other) && section.key(field.name).start > section.key(other).start
            {
                section.complete = false;
                let what = format!("{} and {other} exclude each other", field.name);
                self.error(&section.key(field.name), what, "leave one of them out");
            }
        }
    }

    /// The section under `name`. When it is left out its defaults apply; if it may not be, the parent has said so.
    pub(super) fn sub(&mut self, parent: &Section<'a>, name: &str, fields: &'static [Field]) -> Section<'a> {
        match parent.node(name) {
            Some(_) => self.section(&parent.key(name), parent.nodes(name), name, fields),
            None => {
                let default = |field: &'static Field| match field.need {
                    Need::Default(text) => {
                        value::default(&field.kind, text, &self.folder).map(|setting| (field, setting))
                    }
                    Need::Required | Need::Optional | Need::Or(_) => None,
                };
                let entry = |(field, setting)| Entry { field, written: None, setting: Some(setting) };
                let entries = fields.iter().filter_map(default).map(entry).collect();
                Section {
                    place: parent.place.clone(),
                    entries,
                    again: Vec::new(),
                    misspelt: Vec::new(),
                    complete: true,
                }
            }
        }
    }

    /// The entries of a map; repeated keys are reported here. Nothing at all counts as an empty map.
    pub(super) fn entries(&mut self, node: Option<&'a Node>, what: &str) -> Option<&'a [(Key, Node)]> {
        let node = match node {
            None => return Some(&[]),
            Some(Node { value: Value::Null, .. }) => return Some(&[]),
            Some(node) => node,
        };
        let Value::Map(entries) = &node.value else {
            self.error(
                &node.span,
                format!("{what} is a section of keys, not {}", node.describe()),
                "write `key: value`",
            );
            return None;
        };
        let mut seen = std::collections::HashMap::new();
        for (key, _) in entries {
            if let Some(first) = seen.insert(&key.text, key.span.start).filter(|_| !self.is_full()) {
                let line = self.source.line_seen_from(first, key.span.start);
                self.error(&key.span, format!("{} appears twice here", quoted(&key.text)), format!("first in {line}"));
            }
        }
        Some(entries)
    }

    fn field(&mut self, field: &'static Field, node: &'a Node, key: &Span) -> Option<Setting> {
        if checked_elsewhere(&field.kind) {
            return None;
        }
        if node.value == Value::Null && !matches!(field.kind, Kind::Subsection(_)) {
            self.error(
                key,
                format!("{} has no value", field.name),
                format!("{}, or leave it out", value::expected(&field.kind)),
            );
            return None;
        }
        self.value(field.name, &field.kind, node)
    }

    /// What was left out: a problem if it is required, else its default.
    fn absent(&mut self, section: &mut Section<'a>, what: &str, fields: &'static [Field]) {
        for field in fields {
            if section.entry(field.name).is_some() {
                continue;
            }
            let setting = match field.need {
                Need::Optional => continue,
                // Said once, and by the first of the two.
                Need::Or(other) => {
                    let is_second = fields.iter().take_while(|f| f.name != field.name).any(|f| f.name == other);
                    if !section.has(other) {
                        section.complete = false;
                        if !is_second && !section.is_meant(field.name) && !section.is_meant(other) {
                            let hint =
                                format!("add `{}:`, {}, or `{other}:`", field.name, value::expected(&field.kind));
                            self.error(
                                &section.place.clone(),
                                format!("{:?} or {other:?} is missing in {what}", field.name),
                                hint,
                            );
                        }
                    }
                    continue;
                }
                Need::Default(text) => value::default(&field.kind, text, &self.folder),
                Need::Required if section.is_meant(field.name) => continue,
                Need::Required => {
                    section.complete = false;
                    let hint = format!("add `{}:`, {}", field.name, value::expected(&field.kind));
                    self.error(&section.place.clone(), format!("{:?} is missing in {what}", field.name), hint);
                    continue;
                }
            };
            section.entries.push(Entry { field, written: None, setting });
        }
    }

    pub(super) fn unknown_key(&mut self, key: &Key, what: &str, names: &[&str]) {
        if self.is_full() {
            return;
        }
        if mask::is_secret(&key.text) && names.contains(&"password_file") {
            return self.error(
                &key.span,
                "a password does not belong in the configuration",
                "write it into a file and name that: password_file, or password_credential",
            );
        }
        let unknown = match quoted(&key.text).as_str() {
            THIS => "unknown key".to_owned(),
            name => format!("unknown key {name}"),
        };
        let hint = did_you_mean(&key.text, names, || match names {
            [] => "it takes no keys".to_owned(),
            names => format!("allowed here: {}", names.join(", ")),
        });
        self.error(&key.span, format!("{unknown} in {what}"), hint);
    }
}

/// Kinds whose values the caller takes from the node itself.
fn checked_elsewhere(kind: &Kind) -> bool {
    matches!(kind, Kind::Section(_) | Kind::State | Kind::States | Kind::DriverSettings)
        || matches!(kind, Kind::Filters | Kind::Deltas | Kind::PerMeasurement { .. } | Kind::Named(_))
}
