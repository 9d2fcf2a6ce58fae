//! What is configured, what each output must do and what the meter shows: a few maps, no timers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use fastrand::Rng;

pub(super) const BUSES: [&str; 2] = ["left", "right"];
const LINES: [&str; 3] = ["GPIO5", "GPIO6", "GPIO7"];
pub(super) const OUTPUTS: [&str; 4] = ["one", "two", "three", "four"];
const INPUTS: [&str; 2] = ["door", "gate"];

/// The meter is always there, on a line of its own.
pub(super) const METER: Line = (BUSES[0], "GPIO8");

/// A line of a simulated bus.
pub(super) type Line = (&'static str, &'static str);

/// An output as configured.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Output {
    pub(super) line: Line,
    pub(super) active_low: bool,
    pub(super) safe_on: bool,
    /// Made safe when the broker is silent.
    pub(super) watches_link: bool,
}

/// A configuration that is good.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Setup {
    pub(super) outputs: BTreeMap<&'static str, Output>,
    pub(super) inputs: BTreeMap<&'static str, Line>,
    pub(super) interlocks: BTreeSet<(&'static str, &'static str)>,
    /// Another value of this is another link.
    late_after: u64,
    /// Another value of this is another limit of the spool.
    max_size: u64,
}

impl Setup {
    /// Lines are dealt out again, so that they move between outputs, inputs and buses.
    pub(super) fn random(chance: &mut Rng) -> Self {
        let mut lines: Vec<Line> = BUSES.iter().flat_map(|bus| LINES.map(|line| (*bus, line))).collect();
        chance.shuffle(&mut lines);
        let mut setup = Self { late_after: chance.u64(30..33), max_size: chance.u64(8..11), ..Self::default() };
        for name in OUTPUTS {
            if chance.u8(..4) > 0 {
                setup.outputs.insert(name, Output::random(lines.pop().expect("there are six"), chance));
            }
        }
        for name in INPUTS {
            if chance.bool() {
                setup.inputs.insert(name, lines.pop().expect("there are six"));
            }
        }
        let may_pair: Vec<_> =
            setup.outputs.iter().filter(|(_, output)| !output.safe_on).map(|(name, _)| *name).collect();
        if may_pair.len() > 1 && chance.bool() {
            let mut pair = chance.choose_multiple(may_pair.iter(), 2);
            pair.sort();
            setup.interlocks.insert((pair[0], pair[1]));
        }
        setup
    }

    /// Mostly what it was: an output more or less, or another limit.
    pub(super) fn varied(&self, chance: &mut Rng) -> Self {
        let other = Self::random(chance);
        if chance.u8(..4) == 0 {
            return other;
        }
        let mut new = self.clone();
        match chance.u8(..4) {
            0 => (new.late_after, new.max_size) = (other.late_after, other.max_size),
            1 => new.interlocks.clear(),
            2 => {
                new.outputs.pop_first();
                new.interlocks.retain(|(one, two)| new.outputs.contains_key(one) && new.outputs.contains_key(two));
            }
            _ => {
                // What was an input becomes an output, on the very line.
                if let Some((_, line)) = new.inputs.pop_first()
                    && let Some(free) = OUTPUTS.iter().find(|name| !new.outputs.contains_key(*name))
                {
                    new.outputs.insert(free, Output::random(line, chance));
                }
            }
        }
        new
    }

    pub(super) fn text(&self, url: &str) -> String {
        let mut text = format!(
            "gateway: {{ name: t }}\nmqtt: {{ broker: \"{url}\", base_topic: b, late_after: {}s, \
             reconnect: {{ min: 50ms, max: 150ms }} }}\nspool: {{ path: spool, commit_every: 0s, max_size: {}MiB }}\nbuses:\n",
            self.late_after, self.max_size
        );
        for bus in BUSES {
            writeln!(text, "  {bus}: {{ type: sim, state_file: {bus}.json }}").unwrap();
        }
        text += "sensors:\n  n: { driver: waveform, every: 20ms, settings: { shape: counter } }\n";
        let (bus, line) = METER;
        writeln!(
            text,
            "  meter: {{ driver: pulse-counter, bus: {bus}, every: 50ms, settings: {{ line: {line}, edge: both }} }}"
        )
        .unwrap();
        for (name, (bus, line)) in &self.inputs {
            writeln!(text, "  {name}: {{ driver: gpio-input, bus: {bus}, settings: {{ line: {line} }} }}").unwrap();
        }
        if !self.outputs.is_empty() {
            text += "actuators:\n";
        }
        for (name, output) in &self.outputs {
            text += &output.text(name, &self.partners(name));
        }
        text
    }

    pub(super) fn uses(&self, line: Line) -> bool {
        self.outputs.values().map(|output| output.line).chain(self.inputs.values().copied()).any(|used| used == line)
    }

    fn partners(&self, name: &str) -> Vec<&'static str> {
        let partner = |(one, two): &(&'static str, &'static str)| match name {
            _ if *one == name => Some(*two),
            _ if *two == name => Some(*one),
            _ => None,
        };
        self.interlocks.iter().filter_map(partner).collect()
    }
}

impl Output {
    fn random(line: Line, chance: &mut Rng) -> Self {
        let (active_low, safe_on) = (chance.bool(), chance.u8(..4) == 0);
        Self { line, active_low, safe_on, watches_link: chance.bool() }
    }

    fn same_device(&self, other: &Self) -> bool {
        (self.line, self.active_low) == (other.line, other.active_low)
    }

    /// The electrical level when it is on, or off.
    pub(super) fn level(&self, on: bool) -> u64 {
        u64::from(on != self.active_low)
    }

    fn text(&self, name: &str, partners: &[&str]) -> String {
        let (bus, line) = self.line;
        let safe = if self.safe_on { "on" } else { "off" };
        let after = if self.watches_link { "3s" } else { "never" };
        let interlock = match partners {
            [] => String::new(),
            _ => format!(", interlock: [{}]", partners.join(", ")),
        };
        format!(
            "  {name}: {{ driver: gpio-output, bus: {bus}, settings: {{ line: {line}, active_low: {} }}, safe_state: \"{safe}\", \
             safe_after: {after}{interlock} }}\n",
            self.active_low,
        )
    }
}

/// What the outputs do, and what the meter shows.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) setup: Setup,
    pub(super) on: BTreeMap<&'static str, bool>,
    pub(super) total: u64,
}

impl Model {
    /// After a start: everything is safe, and the meter goes on.
    pub(super) fn started(setup: Setup, total: u64) -> Self {
        let on = setup.outputs.iter().map(|(name, output)| (*name, output.safe_on)).collect();
        Self { setup, on, total }
    }

    /// What is the same device does what it did; of two that a new interlock forbids the later one by name gives way. A device
    /// that leaves goes by its own interlocks, not by those of another that takes over its name: nobody gives way to it, since
    /// those that are safe when on have none here.
    pub(super) fn reloaded(&self, setup: Setup) -> Self {
        let mut new = Self::started(setup, self.total);
        for (name, output) in &new.setup.outputs {
            if self.setup.outputs.get(name).is_some_and(|old| old.same_device(output)) {
                new.on.insert(name, self.on[name]);
            }
        }
        for (one, two) in &new.setup.interlocks {
            if new.on[one] && new.on[two] {
                new.on.insert(two, false);
            }
        }
        new
    }

    /// Commands an output, and says what its reply must contain.
    pub(super) fn command(&mut self, name: &'static str, on: bool) -> &'static str {
        if !self.setup.outputs.contains_key(name) {
            return "unknown: ";
        }
        let is_free = self.setup.partners(name).iter().all(|partner| !self.on[partner]);
        if on && !self.on[name] && !is_free {
            return "interlock: ";
        }
        self.on.insert(name, on);
        "\"outcome\":\"done\""
    }

    /// The broker was silent for long.
    pub(super) fn link_lost(&mut self) {
        for (name, output) in self.setup.outputs.iter().filter(|(_, output)| output.watches_link) {
            self.on.insert(name, output.safe_on);
        }
    }

    pub(super) fn topics(&self) -> BTreeSet<String> {
        let states = self.setup.outputs.keys().map(|name| format!("b/actuators/{name}/state"));
        let sensors = self.setup.inputs.keys().chain(&["n", "meter"]).map(|name| format!("b/sensors/{name}/status"));
        let own = ["status", "devices", "health"].map(|topic| format!("b/{topic}"));
        states.chain(sensors).chain(own).collect()
    }
}
