//! Sensors that are computed from others: what their formulas name, whether units fit, and whether one is computed from itself.
//!
//! They are checked behind all other devices, each once all that it names is known; so a chain of them may stand in any order,
//! and those that are left form a circle.

use std::collections::BTreeSet;

use crate::config::check::Checker;
use crate::config::check::device::Device;
use crate::config::check::mqtt::Mqtt;
use crate::config::check::section::Section;
use crate::config::check::variables::VariableDraft;
use crate::config::check::words::{quoted, shorten};
use crate::config::tree::{Key, Node, Span, Value};
use crate::worker::{ActuatorSettings, SensorSettings};
use fieldgate_bus::signals::SourceKind;
use fieldgate_drivers::formula::{self, IS_FLAG, MEASUREMENTS, RATE, VALUE};
use fieldgate_drivers::kernel_channels::bad_measurement_name;
use fieldgate_formula::{self as language, Names, Program, Unit};
use fieldgate_model::{Form, Name, Quantity, Setting, Settings};

/// A derived sensor that is not checked yet.
pub(super) struct Derived<'a> {
    /// Its place among the sensors.
    index: usize,
    name: Name,
    section: Section<'a>,
}

impl<'a> Derived<'a> {
    pub(super) fn new(index: usize, name: Name, section: Section<'a>) -> Self {
        Self { index, name, section }
    }
}

/// One whose settings could be read.
struct Pending<'a> {
    derived: Derived<'a>,
    rows: Vec<(String, Settings)>,
    /// Whether these are all.
    is_whole: bool,
    /// The sensors and outputs that its formulas name.
    named: BTreeSet<Name>,
}

/// What of a derived sensor is known; what is wrong was reported where it stands.
#[derive(Clone, Copy)]
struct Readable {
    /// Each of its measurements could be read.
    measurements: bool,
    /// Nothing is wrong with the devices that its formulas name.
    inputs: bool,
}

/// What formulas may name.
#[derive(Default)]
pub(super) struct Devices {
    sensors: Vec<(Name, Vec<Quantity>)>,
    outputs: Vec<(Name, fieldgate_model::OutputKind)>,
    variables: Vec<(Name, language::Kind)>,
    /// There is something of this name, and something is wrong with it: whatever is named of it will do.
    wrong: Vec<Name>,
}

impl Devices {
    /// Outputs and variables.
    fn around(actuators: &[Device<ActuatorSettings>], variables: &[VariableDraft]) -> Self {
        let mut devices = Self::default();
        devices.variables.extend(variables.iter().map(|draft| (draft.name.clone(), draft.kind.clone())));
        let wrong = variables.iter().filter(|draft| draft.variable.is_none());
        devices.wrong.extend(wrong.map(|draft| draft.name.clone()));
        for device in actuators {
            match &device.settings {
                Some(settings) => devices.outputs.push((device.name.clone(), settings.kind)),
                None => devices.wrong.push(device.name.clone()),
            }
        }
        devices
    }

    /// All of them, those that are computed from others included.
    pub(super) fn of(
        sensors: &[Device<SensorSettings>],
        actuators: &[Device<ActuatorSettings>],
        variables: &[VariableDraft],
    ) -> Self {
        let mut devices = Self::around(actuators, variables);
        for device in sensors {
            match &device.settings {
                Some(settings) => devices.sensors.push((device.name.clone(), settings.filtered())),
                None => devices.wrong.push(device.name.clone()),
            }
        }
        devices
    }

    /// Whether this says something only when it happens.
    pub(super) fn is_moment(&self, name: &language::Name) -> bool {
        let language::Name::Member { owner, member } = name else { return false };
        let sensor = self.sensors.iter().find(|(name, _)| name.as_str() == owner);
        sensor.is_some_and(|(_, all)| all.iter().any(|q| q.name == *member && q.form == Form::Word))
    }

    /// Whether something is wrong with the device that this is of, so that nothing more can be said.
    pub(super) fn is_wrong(&self, name: &language::Name) -> bool {
        let (language::Name::Member { owner, .. } | language::Name::Variable(owner)) = name;
        self.wrong.iter().any(|name| name.as_str() == owner)
    }

    fn kind(&self, owner: &str, member: &str) -> Option<language::Kind> {
        if let Some((_, quantities)) = self.sensors.iter().find(|(name, _)| name.as_str() == owner) {
            let quantity = quantities.iter().find(|quantity| quantity.name == member)?;
            return Some(formula::kind_of(&SourceKind::Measured(quantity.clone())));
        }
        let output = self.outputs.iter().find(|(name, _)| name.as_str() == owner && member == VALUE);
        let output = output.map(|(_, kind)| formula::kind_of(&SourceKind::Output(*kind)));
        let is_wrong = self.wrong.iter().any(|name| name.as_str() == owner);
        output.or(is_wrong.then_some(language::Kind::Number(Unit::Open)))
    }
}

impl Names for Devices {
    fn find(&self, name: &language::Name) -> Option<language::Signal> {
        let kind = match name {
            language::Name::Member { owner, member } => self.kind(owner, member)?,
            language::Name::Variable(name) => {
                self.variables.iter().find(|(known, _)| known.as_str() == name).map(|(_, kind)| kind.clone())?
            }
        };
        Some(language::Signal { index: 0, kind })
    }

    fn known(&self) -> Vec<String> {
        let of = |(name, all): &(Name, Vec<Quantity>)| {
            all.iter().map(move |q| format!("{name}.{}", q.name)).collect::<Vec<_>>()
        };
        let outputs = self.outputs.iter().map(|(name, _)| format!("{name}.{VALUE}"));
        let variables = self.variables.iter().map(|(name, _)| name.to_string());
        self.sensors.iter().flat_map(of).chain(outputs).chain(variables).collect()
    }
}

impl<'a> Checker<'a> {
    /// Checks the derived sensors, and puts them in their places.
    pub(super) fn derived(
        &mut self,
        derived: Vec<Derived<'a>>,
        sensors: &mut [Device<SensorSettings>],
        actuators: &[Device<ActuatorSettings>],
        variables: &[VariableDraft],
        mqtt: &Mqtt,
    ) {
        let mut devices = Devices::around(actuators, variables);
        for (index, device) in sensors.iter().enumerate() {
            match &device.settings {
                Some(settings) => devices.sensors.push((device.name.clone(), settings.filtered())),
                None if derived.iter().any(|derived| derived.index == index) => {}
                None => devices.wrong.push(device.name.clone()),
            }
        }
        let mut pending = Vec::new();
        for derived in derived {
            let (rows, is_whole) = self.rows(&derived.section);
            pending.push(Pending::new(derived, rows, is_whole));
        }
        loop {
            let waits = |one: &Pending| pending.iter().any(|other| one.named.contains(&other.derived.name));
            let Some(ready) = pending.iter().position(|one| !waits(one)) else { break };
            let Pending { derived, rows, is_whole, named } = pending.remove(ready);
            // What is wrong with another device is said there.
            let is_known = !devices.wrong.iter().any(|wrong| named.contains(wrong));
            let readable = Readable { measurements: is_whole, inputs: is_known };
            let settings = self.derived_sensor(&derived, rows, readable, &devices, mqtt);
            let settings = settings.filter(|_| is_whole && is_known);
            self.shown_sensor(&derived.name, &derived.section, settings.as_ref());
            match &settings {
                Some(settings) => devices.sensors.push((derived.name.clone(), settings.filtered())),
                None => devices.wrong.push(derived.name.clone()),
            }
            sensors[derived.index].settings = settings;
        }
        for one in pending {
            let what = format!("{} is computed from itself, by way of what it names", one.derived.name);
            self.error(&one.derived.section.key("settings"), what, "no circle of formulas can be computed");
        }
    }

    /// The measurements as far as they could be read, and whether all could.
    fn rows(&mut self, section: &Section<'a>) -> (Vec<(String, Settings)>, bool) {
        if section.has("bus") {
            self.error(&section.key("bus"), "formula has no bus: it is computed from other sensors", "leave it out");
        }
        let mut rows: Vec<(String, Settings)> = Vec::new();
        let mut is_whole = true;
        for node in section.nodes("settings") {
            let entries = self.entries(Some(node), "the settings of formula");
            is_whole &= entries.is_some();
            for (key, node) in entries.unwrap_or_default() {
                let bad_name = bad_measurement_name(&key.text);
                if let Some(why) = bad_name {
                    self.error(&key.span, format!("{} cannot be the name of a measurement", quoted(&key.text)), why);
                }
                let row = self.row_settings(key, node);
                let is_again = rows.iter().any(|(name, _)| *name == key.text);
                is_whole &= row.is_some() && bad_name.is_none() && !is_again;
                rows.extend(row.filter(|_| !is_again).map(|row| (key.text.clone(), row)));
            }
        }
        if rows.is_empty() && is_whole {
            let hint = "write settings: { difference: { formula: \"air.temperature - outside.temperature\" } }";
            self.error(&section.key("settings"), "formula needs `settings:`, what it computes", hint);
            is_whole = false;
        }
        (rows, is_whole)
    }

    fn row_settings(&mut self, key: &Key, node: &'a Node) -> Option<Settings> {
        let name = shorten(&key.text);
        if let Value::Text(_) = &node.value {
            let what = format!("{name} is a section of keys, not {}", node.describe());
            self.error(&node.span, what, "write { formula: \"…\" }");
            return None;
        }
        self.section(&key.span, Some(node), &name, formula::MEASUREMENT).settings()
    }

    fn derived_sensor(
        &mut self,
        derived: &Derived<'a>,
        rows: Vec<(String, Settings)>,
        readable: Readable,
        devices: &Devices,
        mqtt: &Mqtt,
    ) -> Option<SensorSettings> {
        let section = &derived.section;
        let (qos, retain) = self.delivery(section, mqtt);
        let driver = &formula::SPEC;
        let every = self.every(section, driver, Some(HEARTBEAT));
        let mut totals = rows.iter().filter(|(_, row)| formula::source(row).1);
        let second = totals.nth(1).map(|(name, _)| name.clone());
        if let Some(name) = &second {
            let hint = "write a second sensor for it: a sensor keeps one total";
            self.error(&self.row_key(section, name), format!("{name} is a second total in one sensor"), hint);
        }
        let all: Vec<_> =
            rows.into_iter().map(|(name, row)| self.row(section, (name, row), readable.inputs, devices)).collect();
        let rows: Option<Vec<_>> = all.into_iter().collect();
        let settings = rows.map(|rows| {
            let mut settings = Settings::default();
            settings.insert(MEASUREMENTS, Setting::Table(rows));
            settings
        });
        // A measurement that could not be read may be the one that a filter names.
        let measured = settings.as_ref().filter(|_| readable.measurements).map(|settings| driver.measured(settings));
        let (filters, report) = self.values(section, measured)?;
        if second.is_some() {
            return None;
        }
        let (name, settings, every) = (derived.name.clone(), settings?, every?);
        Some(SensorSettings { name, driver, bus: None, every, qos, retain, settings, filters, report })
    }

    /// Checks one measurement, and adds what follows from its formula.
    fn row(
        &mut self,
        section: &Section<'a>,
        (name, mut row): (String, Settings),
        is_known: bool,
        devices: &Devices,
    ) -> Option<(String, Settings)> {
        let (source, adds_up) = formula::source(&row);
        let source = source.to_owned();
        let place = self.row_value(section, &name, if adds_up { "integrate" } else { "formula" });
        let program = match language::compile(&source, devices) {
            Ok(program) => program,
            Err(problems) => {
                for problem in problems {
                    let span = self.within(&place, &source, problem.span);
                    self.error(&span, problem.what, problem.hint);
                }
                return None;
            }
        };
        let unit = row.optional_text("unit").map(str::to_owned);
        let unit_place = self.row_value(section, &name, "unit");
        if !is_known {
            return None;
        }
        if adds_up {
            let rate = self.total(&program, unit.as_deref(), &place, &unit_place)?;
            row.insert(RATE, Setting::Text(rate));
            return Some((name, row));
        }
        match (program.kind(), unit) {
            (language::Kind::Flag, None) => row.insert(IS_FLAG, Setting::Flag(true)),
            (language::Kind::Number(Unit::Of(own) | Unit::Difference(own)), None) => {
                row.insert("unit", Setting::Text(own.clone()));
            }
            (_, unit) => {
                let wanted = language::Kind::number(unit.as_deref().unwrap_or_default());
                if let Err(problem) = program.require(&wanted) {
                    let span = self.within(&place, &source, problem.span);
                    let hint = unit_hint(program.kind(), &unit.unwrap_or_default()).unwrap_or(problem.hint);
                    self.error(&span, problem.what, hint);
                    return None;
                }
            }
        }
        self.converts_no_difference(section, &name, program.kind())?;
        Some((name, row))
    }

    /// The filter `to` moves the zero of a temperature, which a difference does not have: 0 °C of difference would become 32 °F.
    fn converts_no_difference(&mut self, section: &Section<'a>, name: &str, kind: &language::Kind) -> Option<()> {
        let language::Kind::Number(Unit::Difference(scale)) = kind else { return Some(()) };
        let Some(place) = conversion_of(section, name) else { return Some(()) };
        let what = format!("`to` converts a temperature, and {} is a difference of {scale}", shorten(name));
        self.error(place, what, "convert what it is computed from: `to` belongs to the temperatures");
        None
    }

    /// Checks the units of a total, and returns that of what is added up.
    fn total(&mut self, program: &Program, unit: Option<&str>, source: &Span, unit_place: &Span) -> Option<String> {
        let rate = match program.kind() {
            language::Kind::Number(Unit::Of(unit)) => unit.as_str(),
            language::Kind::Number(_) => {
                self.error(
                    source,
                    "the unit of this is not known, so nothing says what it adds up to",
                    "name one measurement",
                );
                return None;
            }
            other => {
                self.error(source, format!("this is {other}, and only a number can be added up"), "");
                return None;
            }
        };
        let hint = || format!("{rate} adds up to {}", formula::totals_of(rate).join(", "));
        match unit {
            None => self.error(source, "a total needs `unit:`", hint()),
            Some(unit) if formula::per_second(rate, unit).is_none() => {
                self.error(unit_place, format!("{rate} does not add up to this"), hint());
            }
            Some(_) => return Some(rate.to_owned()),
        }
        None
    }

    /// Where a part of a formula stands in the file; the whole value where that is not known.
    pub(super) fn within(&self, place: &Span, source: &str, part: language::Span) -> Span {
        let text = &self.source.text[place.clone()];
        let quote = usize::from(text.starts_with(['"', '\'']));
        let inside = text.get(quote..text.len() - quote);
        if inside != Some(source) {
            return place.clone();
        }
        let start = place.start + quote + part.start;
        // Something that is missing behind the end is shown at the last character.
        start..(place.start + quote + part.end).max(start)
    }

    fn row_key(&self, section: &Section<'a>, name: &str) -> Span {
        row_of(section, name).map_or(section.key("settings"), |(key, _)| key.clone())
    }

    fn row_value(&self, section: &Section<'a>, name: &str, key: &str) -> Span {
        let row = row_of(section, name);
        let value = row.and_then(|(_, node)| match &node.value {
            Value::Map(entries) => entries.iter().find(|(other, _)| other.text == key).map(|(_, value)| &value.span),
            _ => None,
        });
        value.cloned().unwrap_or_else(|| self.row_key(section, name))
    }
}

/// How often a derived sensor is computed without anything new.
const HEARTBEAT: std::time::Duration = std::time::Duration::from_secs(60);

/// What to write instead of a unit that the formula does not have, if something is plain.
fn unit_hint(kind: &language::Kind, unit: &str) -> Option<String> {
    match kind {
        language::Kind::Number(Unit::Of(rate)) if formula::per_second(rate, unit).is_some() => {
            Some(format!("`integrate:` instead of `formula:` adds {rate} up to {unit}"))
        }
        _ => None,
    }
}

/// The key and the value of a measurement.
fn row_of<'n>(section: &Section<'n>, name: &str) -> Option<(&'n Span, &'n Node)> {
    entry_of(section, "settings", name)
}

/// Where the filters of a measurement have `to`.
fn conversion_of<'n>(section: &Section<'n>, name: &str) -> Option<&'n Span> {
    let (_, filters) = entry_of(section, "filters", name)?;
    let steps = match &filters.value {
        Value::List(steps) => steps.as_slice(),
        _ => std::slice::from_ref(filters),
    };
    steps.iter().find_map(|step| match &step.value {
        Value::Map(entries) => entries.iter().find(|(key, _)| key.text == "to").map(|(key, _)| &key.span),
        _ => None,
    })
}

fn entry_of<'n>(section: &Section<'n>, key: &str, name: &str) -> Option<(&'n Span, &'n Node)> {
    section.nodes(key).into_iter().find_map(|node| match &node.value {
        Value::Map(entries) => entries.iter().find(|(key, _)| key.text == name).map(|(key, node)| (&key.span, node)),
        _ => None,
    })
}

impl<'a> Pending<'a> {
    fn new(derived: Derived<'a>, rows: Vec<(String, Settings)>, is_whole: bool) -> Self {
        let mut settings = Settings::default();
        settings.insert(MEASUREMENTS, Setting::Table(rows.clone()));
        let named = formula::inputs(&settings).into_iter().map(|signal| signal.device).collect();
        Self { derived, rows, is_whole, named }
    }
}
