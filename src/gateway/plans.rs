//! From a [`Config`] to the settings of each part. Pure.
//!
//! `gateway.rs` calls these functions at the start and at each reload, and hands what they return to the parts: a [`Plan`] for each
//! bus thread, the [`Roster`], the link's settings, the signal store, the table of rules and the last good table of outputs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::deadlines::Deadlines;
use crate::health::SensorTallies;
use crate::last_good::SafeOutput;
use crate::plain::PlainTopics;
use crate::requests;
use crate::roster::{Inventory, Roster, Target, Total};
use crate::worker::{ActuatorSettings, Plan, SensorSettings, Worker};
use fieldgate_bus as bus;
use fieldgate_bus::signals::{SignalName, SignalSource, Signals};
use fieldgate_drivers::{BusNeed, formula};
use fieldgate_link as link;
use fieldgate_model::payload::report;
use fieldgate_model::topic::Topics;
use fieldgate_model::{Action, Name, OutputValue};
use fieldgate_rules::Table;
use fieldgate_safety::{Pair, SharedInterlocks};

/// MQTT counts the keep-alive in whole seconds (MQTT 5, 3.1.2.10).
pub(super) const SHORTEST_KEEP_ALIVE: Duration = Duration::from_secs(1);

/// A sample is good for so many periods of its sensor: neither formulas nor rules use one that is older.
pub const GOOD_FOR_PERIODS: u32 = 3;

/// One thread each: a bus that is wired to the board, with all that sit on it, or the machine itself for drivers that need
/// none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum BusKey {
    /// A bus of the configuration.
    Named(Name),
    /// The machine itself, by sysfs and procfs.
    Host,
    /// The signal store, for sensors that are computed from others.
    Sensors,
}

impl fmt::Display for BusKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => name.fmt(f),
            Self::Host => f.write_str("host"),
            Self::Sensors => f.write_str("sensors"),
        }
    }
}

impl BusKey {
    /// The thread of a sensor.
    pub(super) fn of_sensor(config: &Config, sensor: &SensorSettings) -> Self {
        match sensor.driver.bus {
            BusNeed::Sensors => Self::Sensors,
            _ => Self::of(config, sensor.bus.as_ref()),
        }
    }

    /// The thread of a device on this bus.
    pub(super) fn of(config: &Config, bus: Option<&Name>) -> Self {
        bus.map_or(Self::Host, |name| Self::Named(bus_settings(config, name).root(name).0.clone()))
    }
}

/// What each thread is in charge of. A bus without devices gets no thread. Sensors keep their tallies over reloads.
pub(super) fn of(config: &Config, tallies: &mut SensorTallies, signals: &Signals) -> BTreeMap<BusKey, Plan> {
    let mut plans = BTreeMap::new();
    for sensor in in_order(&config.sensors) {
        let tally = Arc::clone(tallies.entry(sensor.name.clone()).or_default());
        let plan = match sensor.driver.bus {
            BusNeed::Sensors => derived(&mut plans, signals),
            _ => plan(&mut plans, config, sensor.bus.as_ref()),
        };
        plan.sensors.push((sensor.clone(), tally));
    }
    for actuator in &config.actuators {
        plan(&mut plans, config, Some(&actuator.bus)).actuators.push(actuator.clone());
    }
    plans
}

/// All sensors, those that are computed from others behind what they name: `check` has seen that there is no circle.
fn in_order(all: &[SensorSettings]) -> Vec<&SensorSettings> {
    let (derived, mut ordered): (Vec<_>, Vec<_>) = all.iter().partition(|sensor| sensor.driver.bus == BusNeed::Sensors);
    let mut waiting: Vec<_> = derived.into_iter().map(|sensor| (sensor, formula::inputs(&sensor.settings))).collect();
    while !waiting.is_empty() {
        let names: BTreeSet<Name> = waiting.iter().map(|(sensor, _)| sensor.name.clone()).collect();
        let is_ready = |inputs: &[SignalName]| inputs.iter().all(|input| !names.contains(&input.device));
        let (ready, rest): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|(_, inputs)| is_ready(inputs));
        // In a circle none is ready; then any order will do.
        let (ready, rest) = if ready.is_empty() { (rest, Vec::new()) } else { (ready, rest) };
        ordered.extend(ready.into_iter().map(|(sensor, _)| sensor));
        waiting = rest;
    }
    ordered
}

/// The one thread of sensors that are computed from others.
fn derived<'a>(plans: &'a mut BTreeMap<BusKey, Plan>, signals: &Signals) -> &'a mut Plan {
    let buses = || vec![(None, bus::Settings::Signals(signals.clone()))];
    plans.entry(BusKey::Sensors).or_insert_with(|| Plan { buses: buses(), sensors: Vec::new(), actuators: Vec::new() })
}

/// What sensors are computed from and rules look at: the sensors that are named, every output and every variable. An output says
/// what it does when that changes, which may be long ago when a reload makes somebody ask.
pub(super) fn signal_sources(config: &Config) -> Vec<SignalSource> {
    let derived = config.sensors.iter().filter(|sensor| sensor.driver.bus == BusNeed::Sensors);
    let named: BTreeSet<Name> =
        derived.flat_map(|sensor| formula::inputs(&sensor.settings)).map(|signal| signal.device).collect();
    let by_rules = Table::names_of(&config.rules).into_iter();
    let by_rules = by_rules.filter_map(|name| Name::new(name.split_once('.')?.0).ok());
    let named: BTreeSet<Name> = named.into_iter().chain(by_rules).collect();
    let sensors = config.sensors.iter().filter(|sensor| named.contains(&sensor.name));
    let sensors = sensors.map(|s| SignalSource::Sensor(s.name.clone(), s.filtered(), GOOD_FOR_PERIODS * s.every));
    let outputs = config.actuators.iter();
    let variables = config.variables.iter();
    let variables = variables.map(|variable| SignalSource::Variable(variable.name.clone(), variable.kind.clone()));
    sensors
        .chain(outputs.map(|output| SignalSource::Output(output.name.clone(), output.kind)))
        .chain(variables)
        .collect()
}

fn plan<'a>(plans: &'a mut BTreeMap<BusKey, Plan>, config: &Config, bus: Option<&Name>) -> &'a mut Plan {
    let empty = || Plan { buses: Vec::new(), sensors: Vec::new(), actuators: Vec::new() };
    let plan = plans.entry(BusKey::of(config, bus)).or_insert_with(empty);
    match bus {
        Some(name) => add_bus(&mut plan.buses, name, bus_settings(config, name)),
        None => plan.buses = vec![(None, bus::Settings::Host)],
    }
    plan
}

/// Adds a bus, and before it those that it sits on.
fn add_bus(buses: &mut Vec<(Option<Name>, bus::Settings)>, name: &Name, settings: &bus::Settings) {
    if buses.iter().any(|(known, _)| known.as_ref() == Some(name)) {
        return;
    }
    if let Some(on) = settings.on() {
        add_bus(buses, &on.name, &on.settings);
    }
    buses.push((Some(name.clone()), settings.clone()));
}

fn bus_settings<'a>(config: &'a Config, name: &Name) -> &'a bus::Settings {
    let found = config.buses.iter().find(|(bus, _)| bus == name);
    found.map(|(_, settings)| settings).expect("the configuration has every bus that a device names")
}

/// The roster of this configuration.
pub(super) fn roster(config: &Config, workers: &BTreeMap<BusKey, Worker>, tallies: &SensorTallies) -> Roster {
    let target = |actuator: &ActuatorSettings| {
        let worker = workers.get(&BusKey::of(config, Some(&actuator.bus)))?;
        Some((
            actuator.name.clone(),
            Target { kind: actuator.kind, max_age: actuator.max_age, inbox: worker.inbox.clone() },
        ))
    };
    let total = |sensor: &SensorSettings| {
        let worker = workers.get(&BusKey::of_sensor(config, sensor))?;
        let count = Arc::clone(&tallies.get(&sensor.name)?.count);
        Some((sensor.name.clone(), Total { count, inbox: worker.inbox.clone() }))
    };
    let reader = |sensor: &SensorSettings| {
        let worker = workers.get(&BusKey::of_sensor(config, sensor))?;
        Some((sensor.name.clone(), worker.inbox.clone()))
    };
    Roster {
        topics: config.topics.clone(),
        sensors: config.sensors.iter().map(|sensor| sensor.name.clone()).collect(),
        outputs: config.actuators.iter().map(|actuator| actuator.name.clone()).collect(),
        targets: config.actuators.iter().filter_map(target).collect(),
        totals: counting(config).filter_map(total).collect(),
        rules: config.rules.iter().map(|rule| rule.name.clone()).collect(),
        readers: config.sensors.iter().filter_map(reader).collect(),
        tallies: tallies.clone(),
        inventory: Arc::new(inventory(config)),
        plain: plain(config, &config.topics),
    }
}

/// What is said of the devices to people.
fn inventory(config: &Config) -> Inventory {
    let mut sensors: Vec<_> = config.sensors.iter().map(|sensor| (sensor.clone(), sensor.quantities())).collect();
    sensors.sort_by(|(one, _), (other, _)| one.name.cmp(&other.name));
    let mut outputs = config.actuators.clone();
    outputs.sort_by(|one, other| one.name.cmp(&other.name));
    Inventory { gateway: Some(config.name.clone()), sensors, outputs }
}

/// The sensors that count, whose totals can be set.
fn counting(config: &Config) -> impl Iterator<Item = &SensorSettings> {
    config.sensors.iter().filter(|sensor| sensor.total().is_some())
}

/// Where this configuration publishes bare text, below the base of `topics`.
pub(super) fn plain(config: &Config, topics: &Topics) -> PlainTopics {
    match config.plain {
        true => PlainTopics::of(&config.sensors, &config.actuators, topics),
        false => PlainTopics::default(),
    }
}

/// Outputs that must not be on together. It is enough if one of two names the other; the longer dead time counts.
pub fn interlocks(config: &Config) -> Vec<Pair> {
    let dead_time =
        |name: &Name| config.actuators.iter().find(|a| a.name == *name).map_or(Duration::ZERO, |a| a.dead_time);
    let mut pairs: Vec<Pair> = Vec::new();
    for actuator in &config.actuators {
        for other in &actuator.interlock {
            let one = actuator.name.clone();
            let is_known = |pair: &Pair| (&pair.one, &pair.other) == (other, &one);
            if !pairs.iter().any(is_known) {
                let dead_time = actuator.dead_time.max(dead_time(other));
                pairs.push(Pair { one, other: other.clone(), dead_time });
            }
        }
    }
    pairs
}

/// Hands over what must not be on together, and which outputs there are.
pub(super) fn arrange(shared: &SharedInterlocks, config: &Config) {
    shared.arrange(interlocks(config), config.actuators.iter().map(|actuator| actuator.name.clone()));
}

/// What this configuration may take: an output that is on when safe waits for the dead time after its partner's end.
pub(super) fn deadlines(config: &Config) -> Deadlines {
    let waits = |name: &Name| config.actuators.iter().any(|a| a.name == *name && a.limits.is_on_when_safe());
    let pairs = interlocks(config).into_iter().filter(|pair| waits(&pair.one) || waits(&pair.other));
    Deadlines::new(pairs.map(|pair| pair.dead_time).max())
}

/// The payload of `B/devices`.
pub(super) fn devices(config: &Config) -> Vec<u8> {
    let sensors: Vec<_> = config
        .sensors
        .iter()
        .map(|sensor| {
            let (driver, every, measurements) = (sensor.driver.name, sensor.every, sensor.quantities());
            let topic = config.topics.reading(&sensor.name);
            let set = sensor.total().map(|_| config.topics.set_total(&sensor.name));
            (sensor.name.clone(), report::SensorDevice { driver, every, topic, set, measurements })
        })
        .collect();
    let actuators: Vec<_> = config
        .actuators
        .iter()
        .map(|actuator| {
            let device = report::ActuatorDevice {
                driver: actuator.driver.name,
                set: config.topics.set(&actuator.name),
                state: config.topics.state(&actuator.name),
                kind: actuator.kind,
            };
            (actuator.name.clone(), device)
        })
        .collect();
    let variables: Vec<_> = config
        .variables
        .iter()
        .map(|variable| {
            let (set, state) =
                (config.topics.set_variable(&variable.name), config.topics.variable_state(&variable.name));
            (variable.name.clone(), report::VariableDevice { set, state, kind: variable.kind.clone() })
        })
        .collect();
    report::devices(&sensors, &actuators, &variables)
}

/// The link's settings with the keep-alive that is in use: at most half of the shortest `safe_after`, so that a lost link
/// is noticed before an output has to act on it.
pub(super) fn link_settings(config: &Config) -> link::Settings {
    let mut settings = config.link.clone();
    if let Some(shortest) = config.actuators.iter().filter_map(|actuator| actuator.limits.safe_after).min() {
        let half = Duration::from_secs((shortest / 2).as_secs());
        settings.keep_alive = settings.keep_alive.min(half).max(SHORTEST_KEEP_ALIVE);
    }
    settings
}

/// The topics that take commands and requests.
pub(super) fn command_topics(config: &Config) -> Vec<String> {
    let outputs = config.actuators.iter().map(|actuator| config.topics.set(&actuator.name));
    let totals = counting(config).map(|sensor| config.topics.set_total(&sensor.name));
    let variables = config.variables.iter().map(|variable| config.topics.set_variable(&variable.name));
    let verbs = config.requests.iter().flat_map(|_| requests::NAMES);
    let requests = verbs.filter_map(|verb| Some(config.topics.request(&Name::new(verb).ok()?)));
    let rules = config.rules.iter().map(|rule| config.topics.set_rule(&rule.name));
    outputs.chain(totals).chain(variables).chain(requests).chain(rules).collect()
}

/// Retained topics of what `new` no longer has, under the base topic of `new`: to be cleared.
pub(super) fn abandoned_topics(old: &Config, new: &Config) -> Vec<String> {
    let topics = &new.topics;
    let sensors: BTreeSet<_> = new.sensors.iter().map(|sensor| &sensor.name).collect();
    let retaining: BTreeSet<_> = new.sensors.iter().filter(|s| s.retain).map(|sensor| &sensor.name).collect();
    let actuators: BTreeSet<_> = new.actuators.iter().map(|actuator| &actuator.name).collect();
    let statuses = old.sensors.iter().filter(|s| !sensors.contains(&s.name)).map(|s| topics.sensor_status(&s.name));
    let readings =
        old.sensors.iter().filter(|s| s.retain && !retaining.contains(&s.name)).map(|s| topics.reading(&s.name));
    let states = old.actuators.iter().filter(|a| !actuators.contains(&a.name)).map(|a| topics.state(&a.name));
    let variables: BTreeSet<_> = new.variables.iter().map(|variable| &variable.name).collect();
    let values = old.variables.iter().filter(|v| !variables.contains(&v.name)).map(|v| topics.variable_state(&v.name));
    let kept = plain(new, topics);
    let kept: BTreeSet<_> = kept.all().collect();
    let plain = plain(old, topics);
    let plain = plain.all().filter(|topic| !kept.contains(topic)).cloned();
    statuses.chain(readings).chain(states).chain(values).chain(plain).collect()
}

/// Everything that this configuration leaves retained below its base topic.
pub fn retained_topics(config: &Config) -> BTreeSet<String> {
    let topics = &config.topics;
    let statuses = config.sensors.iter().map(|sensor| topics.sensor_status(&sensor.name));
    let states = config.actuators.iter().map(|actuator| topics.state(&actuator.name));
    let values = config.variables.iter().map(|variable| topics.variable_state(&variable.name));
    let own = [topics.status(), topics.devices(), topics.health()];
    let rules = config.rules.first().map(|_| topics.rules());
    let plain = plain(config, topics);
    let plain = plain.all().cloned();
    own.into_iter()
        .chain(rules)
        .chain(statuses)
        .chain(states)
        .chain(values)
        .chain(plain)
        .chain(retained_readings(config))
        .collect()
}

/// Where readings are retained.
pub(super) fn retained_readings(config: &Config) -> BTreeSet<String> {
    config.sensors.iter().filter(|sensor| sensor.retain).map(|sensor| config.topics.reading(&sensor.name)).collect()
}

/// Retained topics below the base topic of `old` that the link itself wrote, to be cleared when that base is left.
pub(super) fn left_topics(old: &Config) -> Vec<String> {
    retained_readings(old).into_iter().chain([old.topics.status()]).collect()
}

/// The table for `fieldgate safe-state`.
pub fn outputs(config: &Config) -> Vec<SafeOutput> {
    let pairs = interlocks(config);
    let output = |actuator: &ActuatorSettings| {
        let safe_state = safe_value(actuator);
        let mine = pairs.iter().filter(|_| safe_state.is_on()).filter_map(|pair| pair.partner_of(&actuator.name));
        let (beside, dead_times): (Vec<_>, Vec<_>) =
            mine.map(|(partner, dead_time)| (partner.clone(), dead_time)).unzip();
        SafeOutput {
            name: actuator.name.clone(),
            driver: actuator.driver.name,
            bus: bus_settings(config, &actuator.bus).clone(),
            inputs: inputs(config, Some(&actuator.bus)),
            settings: actuator.settings.clone(),
            safe_state,
            beside,
            dead_time: dead_times.into_iter().max().unwrap_or_default(),
        }
    };
    config.actuators.iter().map(output).collect()
}

/// What the safe state is for a program that ends: a motor cannot travel any more.
fn safe_value(actuator: &ActuatorSettings) -> OutputValue {
    match actuator.limits.safe_state {
        Action::Set(value) => value,
        Action::Move(_) | Action::Toggle => actuator.kind.off(),
    }
}

/// The lines of a bus that sensors use.
pub fn inputs(config: &Config, bus: Option<&Name>) -> Vec<String> {
    let here = config.sensors.iter().filter(|sensor| sensor.bus.as_ref() == bus);
    here.flat_map(|sensor| sensor.driver.lines(&sensor.settings)).collect()
}
