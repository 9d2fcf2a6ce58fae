//! `actuators:`: what an output does when something is wrong, and what it may do.

use crate::config::check::Checker;
use crate::config::check::buses::Named;
use crate::config::check::device::Device;
use crate::config::check::devices::is_output;
use crate::config::check::known_bus::Bus;
use crate::config::check::mqtt::Mqtt;
use crate::config::check::section::Section;
use crate::config::check::words::{did_you_mean, quoted};
use crate::config::raw;
use crate::config::tree::{Node, Value};
use crate::worker::ActuatorSettings;
use fieldgate_drivers::{BusNeed, DriverSpec, Role};
use fieldgate_model::field::format_duration;
use fieldgate_model::{
    Action, CommandValue, Move, Name, OutputKind, OutputValue, Pace, Reason, Setting, Settings, Word,
};
use fieldgate_safety::Limits;

/// An output, what is known of it, and where it stands.
type Placed<'a> = (Device<ActuatorSettings>, Known, Section<'a>);

/// What an interlock asks of an output, as far as it is known.
#[derive(Clone, Copy, Default)]
pub(super) struct Known {
    kind: Option<OutputKind>,
    is_on_when_safe: bool,
}

impl<'a> Checker<'a> {
    pub(super) fn actuators(&mut self, top: &Section<'a>, buses: &[Bus], mqtt: &Mqtt) -> Vec<Device<ActuatorSettings>> {
        let mut outputs: Vec<Placed<'a>> = Vec::new();
        for Named { name, key, node, is_again } in self.named(top, "actuators") {
            let placed = if self.is_in_place(node, is_output) {
                let section = self.section(&key.span, [node], &key.text, raw::ACTUATOR);
                let (device, known) = self.actuator(name, &section, buses);
                (device, known, section)
            } else {
                let section = self.section(&key.span, [node], &key.text, raw::SENSOR);
                (self.sensor(name, &section, buses, mqtt).without_settings(), Known::default(), section)
            };
            outputs.extend((!is_again).then_some(placed));
        }
        self.interlocks(&outputs);
        outputs.into_iter().map(|(device, ..)| device).collect()
    }

    pub(super) fn actuator(
        &mut self,
        name: Name,
        section: &Section<'a>,
        buses: &[Bus],
    ) -> (Device<ActuatorSettings>, Known) {
        let driver = self.driver(section, is_output);
        let bus = self.bus_of(section, driver, buses);
        self.times(section);
        let Some((driver, Role::Actuator { kind, pace, .. })) = driver.map(|driver| (driver, &driver.role)) else {
            return (Device { name, bus, claims: Vec::new(), settings: None }, Known::default());
        };
        let on = buses.iter().find(|on| Some(&on.name) == bus.as_ref() && on.suits(driver.bus));
        let (settings, claims) = self.settings(section, driver, on);
        let known = settings.clone().unwrap_or_default();
        let kind = match kind(&known) {
            // The largest angle is among the settings, and what is wrong with those has been reported.
            OutputKind::Angle { .. } if settings.is_none() => OutputKind::Angle { most: 360 },
            kind => kind,
        };
        let pace = settings.as_ref().map_or(Pace::AtOnce, pace);
        let safe_state = section.node("safe_state").and_then(|node| self.safe_state(node, section, driver, kind));
        let limits = safe_state.map(|safe_state| limits(section, safe_state, pace));
        self.foreign_limits(section, kind);
        if let Some(limits) = &limits {
            self.sense(section, limits);
            self.outlives(section, &known, limits.safe_state, driver, on);
        }
        self.shown_output(&name, section, kind);
        let is_on_when_safe = limits.as_ref().is_some_and(Limits::is_on_when_safe);
        let known = Known { kind: Some(kind), is_on_when_safe };
        let settings = match (limits, settings, bus.clone()) {
            (Some(limits), Some(settings), Some(bus)) => Some(ActuatorSettings {
                name: name.clone(),
                driver,
                bus,
                kind,
                pace,
                limits,
                interlock: names(section),
                dead_time: section.duration("dead_time").unwrap_or_default(),
                // Anything but a time is `never`, or has been reported.
                max_age: section.duration("max_age"),
                settings,
            }),
            _ => None,
        };
        (Device { name, bus, claims, settings }, known)
    }

    fn safe_state(
        &mut self,
        node: &Node,
        section: &Section<'a>,
        driver: &DriverSpec,
        kind: OutputKind,
    ) -> Option<Action> {
        let span = section.span("safe_state");
        let hint = match kind {
            OutputKind::Switch => "write \"off\" or \"on\"".to_owned(),
            OutputKind::Pulse => "write \"off\"".to_owned(),
            OutputKind::Percent => "write a number from 0 to 100".to_owned(),
            OutputKind::Angle { most } => format!("write \"off\" or a number from 0 to {most}"),
            OutputKind::Cover => "write stop, open or close".to_owned(),
        };
        let Some(value) = written(node) else {
            self.error(&span, format!("{} cannot be set to this safe_state", driver.name), hint);
            return None;
        };
        match kind.accept(&value) {
            Ok(Action::Toggle) => self.error(&span, "toggle is not a state", hint),
            Ok(Action::Move(order)) if !is_plain_move(&value) => {
                let what = format!("safe_state {} would need to know where it is", Action::Move(order));
                self.error(&span, what, hint);
            }
            Ok(Action::Set(OutputValue::Switch(true))) if kind == OutputKind::Pulse => {
                self.error(&span, "an output that pulses is safe only when it is off", hint);
            }
            Ok(action) => return Some(action),
            Err(refusal) if refusal.reason == Reason::Unreadable => {
                self.error(&span, format!("{} cannot be set to this safe_state", driver.name), hint);
            }
            Err(refusal) => {
                self.error(&span, format!("safe_state does not suit {}: {}", driver.name, refusal.words), hint);
            }
        }
        None
    }

    /// Limits that contradict each other whatever the output is.
    fn times(&mut self, section: &Section<'a>) {
        let min_on = section.duration("min_on");
        if let Some(max_on) = section.duration("max_on").filter(|max_on| min_on.is_some_and(|min_on| *max_on < min_on))
        {
            let what = format!("min_on is longer than max_on, {}", format_duration(max_on));
            self.error(&section.span("min_on"), what, "no time would be right");
        }
    }

    /// Limits that this output has not.
    fn foreign_limits(&mut self, section: &Section<'a>, kind: OutputKind) {
        let foreign: &[&str] = match kind {
            OutputKind::Cover => &["max_on", "min_on", "min_off", "switches_per_hour", "interlock", "dead_time"],
            OutputKind::Pulse => &["max_on", "min_on"],
            OutputKind::Switch | OutputKind::Percent | OutputKind::Angle { .. } => &[],
        };
        for key in foreign.iter().filter(|key| section.has(key)) {
            let hint = match kind {
                OutputKind::Cover => "the motor runs no longer than its travel, and never both ways",
                _ => "it is on for its duration, no more and no less",
            };
            self.error(&section.key(key), format!("{key} is not possible for this output"), hint);
        }
    }

    /// Limits that contradict the safe state.
    fn sense(&mut self, section: &Section<'a>, limits: &Limits) {
        let is_safe_on = limits.is_on_when_safe();
        if limits.max_on.is_some() && is_safe_on {
            let hint = "an output that is on when it is safe may stay on";
            self.error(&section.key("max_on"), "max_on needs a safe_state that is off", hint);
        }
        if limits.safe_after.is_some_and(|after| after < limits.min_on) && section.has("min_on") && !is_safe_on {
            let what = "a lost link switches it off before min_on has passed";
            self.warning(&section.span("min_on"), what, "a safe_after that is longer would leave it time");
        }
    }

    /// What the hardware keeps when the program has ended.
    fn outlives(
        &mut self,
        section: &Section<'a>,
        settings: &Settings,
        safe_state: Action,
        driver: &DriverSpec,
        on: Option<&Bus>,
    ) {
        let span = section.span("safe_state");
        match safe_state {
            Action::Set(OutputValue::Percent(percent))
                if settings.optional_text("line").is_some() && percent > 0.0 && percent < 100.0 =>
            {
                let what = "software PWM ends with the program, and with it this safe state";
                self.warning(&span, what, "0 and 100 can; in between the line ends idle");
            }
            Action::Set(OutputValue::Switch(true))
                if driver.bus == BusNeed::Gpio
                    && on.is_some_and(|on| on.spec().is_some_and(|spec| spec.releases_lines)) =>
            {
                let active_low = matches!(settings.get("active_low"), Some(Setting::Flag(true)));
                let level = if active_low { "ground" } else { "3.3 V" };
                let what = "a line is not driven after the program's end, and this safe state needs it driven";
                self.warning(&span, what, format!("a resistor of 10 kΩ to {level} on the line keeps it on"));
            }
            Action::Move(order) if order != Move::Stop => {
                let what = "a motor cannot travel after the program's end: at stop it stays where it is";
                self.warning(&span, what, "it travels when the link is lost, and at start");
            }
            _ => {}
        }
    }

    fn interlocks(&mut self, outputs: &[Placed<'a>]) {
        let named = outputs.iter().filter(|(device, ..)| !device.name.is_stand_in());
        let known: Vec<_> = named.map(|(device, ..)| device.name.as_str()).collect();
        for (device, one, section) in outputs {
            let items = match section.node("interlock") {
                Some(Node { value: Value::List(items), .. }) => items.as_slice(),
                Some(one) => std::slice::from_ref(one),
                None => continue,
            };
            for item in items {
                let Some(other) = item.scalar_text() else { continue };
                let partner = outputs.iter().find(|(device, ..)| device.name.as_str() == other);
                match partner {
                    None => {
                        let hint = did_you_mean(other, &known, || "name another output".into());
                        self.error(&item.span, format!("no output is called {}", quoted(other)), hint);
                    }
                    Some((partner, ..)) if partner.name == device.name => {
                        self.error(&item.span, "an output cannot exclude itself", "name another output");
                    }
                    Some((partner, other, _)) => self.excludes(item, (&device.name, one), (&partner.name, other)),
                }
            }
        }
        for (device, _, section) in outputs {
            let is_named = |(.., other): &Placed<'a>| names(other).contains(&device.name);
            if section.has("dead_time") && !section.is_meant("interlock") && !outputs.iter().any(is_named) {
                let what = "dead_time without an interlock has no effect";
                self.error(
                    &section.key("dead_time"),
                    what,
                    "add interlock: with the outputs that it must not be on beside",
                );
            }
        }
    }

    fn excludes(&mut self, item: &Node, (name, one): (&Name, &Known), (partner, other): (&Name, &Known)) {
        if other.kind == Some(OutputKind::Cover) {
            let what = format!("{partner} moves a motor, which has no interlock with others");
            self.error(&item.span, what, "its own two relays are never on together");
        }
        if one.is_on_when_safe && other.is_on_when_safe {
            let what = format!("{name} and {partner} must not be on together, and both are when they are safe");
            self.error(&item.span, what, "make the safe_state of one of them off");
        }
    }
}

fn limits(section: &Section<'_>, safe_state: Action, pace: Pace) -> Limits {
    let duration = |key| section.duration(key);
    Limits {
        safe_state,
        // Anything but a time is `never`, or has been reported.
        safe_after: duration("safe_after"),
        max_on: duration("max_on"),
        min_on: duration("min_on").unwrap_or_default(),
        min_off: duration("min_off").unwrap_or_default(),
        switches_per_hour: section.integer("switches_per_hour").and_then(|most| u32::try_from(most).ok()),
        pulse: match pace {
            Pace::Pulse(duration) => Some(duration),
            Pace::AtOnce | Pace::Ramp(_) | Pace::Travel { .. } => None,
        },
    }
}

/// Those under `interlock` that can be names; the others have been reported.
fn names(section: &Section<'_>) -> Vec<Name> {
    let Some(Setting::List(items)) = section.get("interlock") else { return Vec::new() };
    let name = |item: &Setting| match item {
        Setting::Text(text) => Name::new(text).ok(),
        _ => None,
    };
    items.iter().filter_map(name).collect()
}

/// A state as it may stand in YAML.
pub(super) fn written(node: &Node) -> Option<CommandValue> {
    Some(match &node.value {
        Value::Flag(flag) => CommandValue::Flag(*flag),
        Value::Integer(n, _) => CommandValue::Number(*n as f64),
        Value::Number(n, _) => CommandValue::Number(*n),
        Value::Text(text) if text.eq_ignore_ascii_case("on") => CommandValue::Flag(true),
        Value::Text(text) if text.eq_ignore_ascii_case("off") => CommandValue::Flag(false),
        Value::Text(text) => CommandValue::Word(Word::named(text)?),
        Value::Null | Value::List(_) | Value::Map(_) | Value::Tagged(..) => return None,
    })
}

/// Whether it is an end or a stop, which need no knowledge of where the motor is.
fn is_plain_move(value: &CommandValue) -> bool {
    matches!(value, CommandValue::Word(Word::Open | Word::Close | Word::Stop))
        || *value == CommandValue::Number(0.0)
        || *value == CommandValue::Number(100.0)
}
