//! `buses:`.

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

use crate::config::check::Checker;
use crate::config::check::chips::Draft;
use crate::config::check::known_bus::Bus;
use crate::config::check::section::Section;
use crate::config::check::words::nearest;
use crate::config::raw;
use crate::config::tree::{Key, Node, Value};
use fieldgate_bus::{self as bus, BUSES, BY_RPPAL, BusSpec, Device, Entry};
use fieldgate_model::{Name, Wrong};

/// An entry under a name of the user's own.
pub(super) struct Named<'a> {
    pub(super) name: Name,
    pub(super) key: &'a Key,
    pub(super) node: &'a Node,
    /// It stands here again, which has been reported. It is looked at, and then left out.
    pub(super) is_again: bool,
}

impl<'a> Checker<'a> {
    pub(super) fn buses(&mut self, top: &Section<'a>) -> Vec<Bus> {
        let mut buses = Vec::new();
        let mut chips = Vec::new();
        for Named { name, key, node, is_again } in self.named(top, "buses") {
            let draft = self.bus(key, node);
            if is_again {
                continue;
            }
            let settings = match draft {
                Some(Draft::Plain(settings)) => Some(settings),
                Some(Draft::Chip(chip)) => {
                    chips.push((buses.len(), chip));
                    None
                }
                None => None,
            };
            buses.push(Bus { name, span: key.span.clone(), settings, claims: Vec::new(), device: None });
        }
        self.join_chips(chips, &mut buses);
        self.twice(&mut buses);
        buses
    }

    /// Two names for one device.
    fn twice(&mut self, buses: &mut [Bus]) {
        for index in 0..buses.len() {
            let device = buses[index].settings.as_ref().and_then(device);
            let bus = &buses[index];
            if let Some(other) = buses[..index].iter().find(|other| device.is_some() && other.device == device) {
                let line = self.source.line_seen_from(other.span.start, bus.span.start);
                let what = format!("{} is the same device as {} in {line}", bus.name, other.name);
                self.error(&bus.span, what, "use one bus for both");
            }
            buses[index].device = device;
        }
    }

    /// The entries of a map from the user's own names to sections. What is not a name is reported, and what is below it looked
    /// at under one like it.
    pub(super) fn named(&mut self, top: &Section<'a>, section: &str) -> Vec<Named<'a>> {
        let mut seen = HashSet::new();
        let mut all = Vec::new();
        for node in top.nodes(section) {
            for (key, node) in self.entries(Some(node), section).unwrap_or(&[]) {
                let name = Name::new(&key.text).unwrap_or_else(|error| {
                    // One like it would show a secret in another form, which nothing masks.
                    let like = (!self.source.is_secret(&key.text)).then(|| Name::like(&key.text));
                    let hint = like.as_ref().map_or(String::new(), |name| format!("write {name}"));
                    self.error(&key.span, format!("{section}: {error}"), hint);
                    like.unwrap_or_else(|| Name::stand_in(all.len() + 1))
                });
                let is_again = !seen.insert(name.clone());
                all.push(Named { name, key, node, is_again });
            }
        }
        all
    }

    fn bus(&mut self, key: &Key, node: &'a Node) -> Option<Draft> {
        let is_by_rppal = word(node, "backend").and_then(|word| nearest(word, &["linux", "rppal"])) == Some("rppal");
        let table = if is_by_rppal { BY_RPPAL } else { BUSES };
        // A type that is misspelt is reported, and the rest checked as that which was probably meant.
        let names: Vec<_> = table.iter().map(|spec| spec.name).collect();
        let meant = word(node, "type")
            .and_then(|kind| names.iter().find(|name| **name == kind).copied().or(nearest(kind, &names)));
        let spec = meant.and_then(|name| BusSpec::find(name, is_by_rppal));
        let fields = spec.map_or_else(raw::any_bus, raw::bus);
        let section = self.section(&key.span, Some(node), key.text.as_str(), fields);
        let written = section.text("type");
        // By rppal there is no kind that is only like the one that is written.
        let Some(spec) = spec.filter(|spec| !is_by_rppal || written.is_none_or(|kind| kind == spec.name)) else {
            if let Some(kind) = written.filter(|_| is_by_rppal) {
                let what = format!("rppal has no bus of type {kind}");
                self.error(&section.span("backend"), what, "leave backend out");
            }
            return None;
        };
        if is_by_rppal && written.is_none() {
            return None;
        }
        let draft = self.draft(spec, &section);
        match written {
            Some(_) => draft,
            None => draft.and_then(Draft::guessed),
        }
    }

    /// The bus of that kind as far as its own entry says.
    fn draft(&mut self, spec: &'static BusSpec, section: &Section<'a>) -> Option<Draft> {
        if let Some(need) = spec.on {
            return Some(Draft::Chip(self.chip_on_a_bus(spec, need, section)));
        }
        let keys = spec.keys_of(|field| section.get(field.name).cloned())?;
        if let Some((key, Wrong { what, hint })) = (spec.wrong)(&keys) {
            self.error(&section.span(key), what, hint);
            return None;
        }
        if let Some(Wrong { what, hint }) = (spec.absent)() {
            self.warning(&section.span("backend"), what, hint);
        }
        Some(Draft::Plain(bus::Settings::Entry(Entry { spec, keys, on: None, interrupt: None })))
    }
}

/// What stands under a key, before anything is checked.
fn word<'n>(node: &'n Node, name: &str) -> Option<&'n str> {
    let Value::Map(entries) = &node.value else { return None };
    entries.iter().find(|(key, _)| key.text == name).and_then(|(_, value)| value.scalar_text())
}

/// The device of a bus, with links followed.
fn device(settings: &bus::Settings) -> Option<Device> {
    let entry = settings.entry()?;
    Some(match (entry.spec.device)(entry)? {
        Device::File(file) => Device::File(real(&file)),
        named @ Device::Named(_) => named,
    })
}

/// The file behind links, where there is one; else the path without detours.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| {
        path.components().fold(PathBuf::new(), |mut plain, part| {
            match part {
                Component::ParentDir => _ = plain.pop(),
                Component::CurDir => {}
                part => plain.push(part),
            }
            plain
        })
    })
}
