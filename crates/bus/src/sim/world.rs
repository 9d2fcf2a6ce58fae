//! The parts of a simulated bus joined with the entries of its state file: which of these are ours, and which are taken over.
//!
//! Who writes what: `lines`, `pwm` and `held` entries of what we have claimed are ours and always written as we drive them; all other
//! entries belong to the process that wrote them, are taken over, and are restored when a writer left them out. The registers of a chip
//! that has any to show belong to the process that has spoken to it last, because a second process finds the same chip.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use embedded_hal::delay::DelayNs;
use rustix::io::Errno;
use serde_json::{Map, Value, json};

use crate::sim::chips::FindChip;
use crate::sim::holders::Holders;
use crate::sim::lines::Lines;
use crate::sim::place::ChipPlace;
use crate::sim::pwm::Channels;
use crate::sim::slots::{ChipSlot, ChipSlots};
use crate::sim::state::{Document, Look, Put, SECTIONS, StateFile};
use crate::{BusError, Delay};
use fieldgate_clock::monotonic;

/// Somebody who writes without pause must not keep a bus thread for ever; what is left is done at the next refresh.
const ATTEMPTS: usize = 5;

/// At the end there is no next refresh, so the last change waits this often for 10 ms.
const LAST_ATTEMPTS: usize = 30;

/// Different complaints reported about one state file.
const COMPLAINT_LIMIT: usize = 64;

/// The bus with all that is on it.
pub(super) struct World {
    pub(super) lines: Lines,
    pub(super) slots: ChipSlots,
    pub(super) pwm: Channels,
    pub(super) holders: Holders,
    name: String,
    file: Option<StateFile>,
    /// Somebody's version that our own has replaced before it was merged: newer than what is in the file.
    displaced: Option<Document>,
    /// We have something that is not in the file yet, or have not taken over what is.
    behind: bool,
    complaints: BTreeSet<String>,
    /// The bus has been unplugged. What was opened before leads nowhere, also when it is back.
    gone: bool,
}

impl World {
    /// An empty bus with that name in errors, which finds the chips of drivers like this.
    pub(super) fn new(name: String, file: Option<StateFile>, chips: FindChip) -> Self {
        Self {
            lines: Lines::default(),
            slots: ChipSlots::new(chips),
            pwm: Channels::default(),
            holders: Holders::default(),
            name,
            displaced: None,
            behind: file.is_some(),
            file,
            complaints: BTreeSet::new(),
            gone: false,
        }
    }

    /// What the kernel answers on a bus that has been unplugged.
    pub(super) fn reach(&self) -> Result<(), BusError> {
        if !self.gone {
            return Ok(());
        }
        Err(BusError::Io { what: format!("reaching {}", self.name), source: Errno::NODEV.into() })
    }

    /// What stands in errors.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether others see and change this bus through a file.
    pub(super) fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// The error for a line that is claimed twice.
    pub(super) fn already_claimed(&self, line: &str) -> BusError {
        BusError::LineClaimed { chip: self.name.clone(), line: line.to_owned(), holder: "fieldgate".to_owned() }
    }

    /// The error for a line that another process has claimed through the file, if one has.
    pub(super) fn claimed_elsewhere(&mut self, line: &str) -> Option<BusError> {
        self.follow(monotonic());
        let holder = format!("fieldgate (process {})", self.holders.holder(line)?);
        Some(BusError::LineClaimed { chip: self.name.clone(), line: line.to_owned(), holder })
    }

    /// Writes to the file what we just did.
    pub(super) fn changed(&mut self) {
        self.behind = true;
        self.follow(monotonic());
    }

    /// Takes over what is new in the file and writes what is missing there. A file that fails does not fail the line.
    pub(super) fn follow(&mut self, now: Duration) {
        if let Err(error) = self.try_follow(now) {
            self.complain(format!("cannot be used: {error}"));
        }
    }

    /// As [`World::follow`], and says why not.
    pub(super) fn try_follow(&mut self, now: Duration) -> io::Result<()> {
        let Some(mut file) = self.file.take() else { return Ok(()) };
        let outcome = self.exchange(&mut file, now);
        self.file = Some(file);
        outcome
    }

    fn exchange(&mut self, file: &mut StateFile, now: Duration) -> io::Result<()> {
        let Some((mut document, mut in_place)) = self.news(file, now)? else { return Ok(()) };
        self.behind = true;
        for _ in 0..ATTEMPTS {
            self.take_over(&document, now);
            let merged = self.merged(document);
            if in_place.as_ref() == Some(&merged) {
                self.caught_up();
                return Ok(());
            }
            match file.put(&merged, now) {
                Ok(Put::Done) => {
                    self.caught_up();
                    return Ok(());
                }
                Ok(Put::Displaced(theirs)) => document = theirs,
                // What was merged may stand in no file any more; it is where the next attempt begins.
                Ok(Put::Later) => {
                    self.displaced = Some(merged);
                    return Ok(());
                }
                Err(error) => {
                    self.displaced = Some(merged);
                    return Err(error);
                }
            }
            in_place = Some(merged);
        }
        self.displaced = Some(document);
        Ok(())
    }

    fn caught_up(&mut self) {
        self.behind = false;
        self.holders.written();
        self.slots.written();
    }

    /// The version to merge next, and the one in the file if that is known.
    fn news(&mut self, file: &mut StateFile, now: Duration) -> io::Result<Option<(Document, Option<Document>)>> {
        for stray in std::iter::from_fn(|| file.stray(now)).take(ATTEMPTS) {
            if let Some(older) = self.displaced.replace(stray) {
                self.take_over(&older, now);
            }
        }
        let look = file.look(self.behind && self.displaced.is_none())?;
        Ok(match (look, self.displaced.take()) {
            (Look::Unreadable, displaced) => {
                self.displaced = displaced;
                None
            }
            (Look::Same, displaced) => displaced.map(|displaced| (displaced, None)),
            (Look::Document(newer), displaced) => {
                if let Some(older) = displaced {
                    self.take_over(&older, now);
                }
                Some((newer.clone(), Some(newer)))
            }
        })
    }

    /// Believes the file in what is not ours.
    fn take_over(&mut self, document: &Document, now: Duration) {
        for (key, value) in document.iter().filter(|(key, _)| !SECTIONS.contains(&key.as_str())) {
            match (key.as_str(), value) {
                ("gone", Value::Bool(gone)) => self.gone |= *gone,
                ("gone", _) => self.complain(format!("gone is neither true nor false, but {value}")),
                _ => self.complain(format!("nothing is called {key}, but {} and gone", SECTIONS.join(", "))),
            }
        }
        for (line, value) in section(document, "lines") {
            match level(value) {
                Some(level) => self.lines.take_over_driven(line, level),
                None => self.complain(format!("lines: {line} is neither 0 nor 1")),
            }
        }
        for (line, value) in section(document, "inputs") {
            match level(value) {
                Some(level) => self.lines.take_over_input(line, level, now),
                None => self.complain(format!("inputs: {line} is neither 0 nor 1")),
            }
        }
        for (channel, value) in section(document, "pwm") {
            match value.as_f64() {
                Some(percent) => self.pwm.take_over(channel, percent),
                None => self.complain(format!("pwm: {channel} is not a channel with its percentage")),
            }
        }
        for (line, _) in section(document, "held").filter(|(_, process)| process.as_u64().is_none()) {
            self.complain(format!("held: {line} is not with the number of a process"));
        }
        self.holders.take_over(section(document, "held"));
        for (key, value) in section(document, "chips") {
            match (ChipPlace::parse(key), value.as_object()) {
                (Some(place), Some(entry)) => self.take_over_chip(&place, entry),
                _ => self.complain(format!("chips: {key} is not an address with an object")),
            }
        }
    }

    fn take_over_chip(&mut self, place: &ChipPlace, entry: &Map<String, Value>) {
        let kind = entry.get("chip").and_then(Value::as_str);
        let present = self.slots.get(place.clone()).map(|slot| slot.chip.kind());
        if let Some(kind) = kind
            && present != Some(kind)
            && !self.slots.put(place.clone(), kind)
        {
            self.complain(format!("chips: no chip is called {kind:?}"));
        }
        let Some(slot) = self.slots.get(place.clone()) else { return };
        for complaint in changed_by(slot, entry) {
            self.complain(format!("chips: {place}: {complaint}"));
        }
    }

    /// The file as it should be: theirs, with ours in it and with nothing lost that we remember.
    fn merged(&self, mut document: Document) -> Document {
        let lines = entries(&mut document, "lines");
        for (line, level, ours) in self.lines.outputs() {
            set(lines, line, json!(u8::from(level)), ours);
        }
        let inputs = entries(&mut document, "inputs");
        for (line, level) in self.lines.inputs() {
            set(inputs, line, json!(u8::from(level)), false);
        }
        let chips = entries(&mut document, "chips");
        for (place, slot) in self.slots.iter() {
            let key = chips.keys().find(|key| ChipPlace::parse(key).as_ref() == Some(place)).cloned();
            let key = key.unwrap_or_else(|| place.to_string());
            if let Some(entry) = chips.entry(key).or_insert_with(|| json!({})).as_object_mut() {
                describe(slot, entry);
            }
        }
        let pwm = entries(&mut document, "pwm");
        for (channel, percent, ours) in self.pwm.all() {
            set(pwm, channel, json!(percent), ours);
        }
        let mut claimed = self.lines.claimed_inputs().peekable();
        if document.contains_key("held") || claimed.peek().is_some() {
            self.holders.merge(entries(&mut document, "held"), claimed);
        }
        document
    }

    fn complain(&mut self, what: String) {
        if self.complaints.len() < COMPLAINT_LIMIT && self.complaints.insert(what.clone()) {
            tracing::warn!(description = %self.name, "State file: {what}; ignored.");
        }
    }
}

/// The last change must not be lost because somebody was writing just then.
impl Drop for World {
    fn drop(&mut self) {
        for _ in 0..LAST_ATTEMPTS {
            if !self.behind || self.file.is_none() {
                return;
            }
            self.follow(monotonic());
            if self.behind {
                Delay.delay_ms(10);
            }
        }
    }
}

/// Applies an entry of the file to a chip and returns what was wrong with it.
fn changed_by(slot: &mut ChipSlot, entry: &Map<String, Value>) -> Vec<String> {
    let mut complaints = Vec::new();
    for (name, value) in entry.iter().filter(|(name, _)| *name != "chip" && *name != "fault") {
        if slot.unwritten.contains(name.as_str()) {
            continue;
        }
        let register = value.as_u64().and_then(|value| u8::try_from(value).ok());
        let taken = register.is_some_and(|value| slot.chip.set_register(name, value));
        if !taken && !value.as_f64().is_some_and(|value| slot.chip.set_world(name, value)) {
            complaints.push(format!("{name} cannot be {value}"));
        }
    }
    let fault = match entry.get("fault") {
        None => return complaints,
        Some(Value::Null) => None,
        Some(Value::String(fault)) => Some(fault.as_str()),
        Some(other) => {
            complaints.push(format!("fault cannot be {other}"));
            return complaints;
        }
    };
    if slot.fault.as_deref() != fault && !slot.set_fault(fault) {
        let name = fault.unwrap_or_default();
        complaints.push(format!("no fault is called {name:?}, but every chip has nak, hang, time-out and panic"));
    }
    complaints
}

/// Fills in what an entry of the file does not say about its chip.
fn describe(slot: &ChipSlot, entry: &mut Map<String, Value>) {
    set(entry, "chip", json!(slot.chip.kind()), false);
    for (name, value) in slot.chip.world() {
        set(entry, name, json!(value), false);
    }
    for (name, value) in slot.chip.registers() {
        set(entry, name, json!(value), slot.unwritten.contains(name));
    }
    set(entry, "fault", json!(slot.fault), false);
}

fn set(entries: &mut Map<String, Value>, key: &str, value: Value, ours: bool) {
    if ours || !entries.contains_key(key) {
        entries.insert(key.to_owned(), value);
    }
}

fn section<'a>(document: &'a Document, name: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    document.get(name).and_then(Value::as_object).into_iter().flatten()
}

/// The section, made when it is missing.
fn entries<'a>(document: &'a mut Document, name: &str) -> &'a mut Map<String, Value> {
    let value = document.entry(name).or_insert_with(|| json!({}));
    value.as_object_mut().expect("a section that is no object does not parse")
}

fn level(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(level) => Some(*level),
        other => other.as_f64().filter(|number| *number == 0.0 || *number == 1.0).map(|number| number == 1.0),
    }
}
