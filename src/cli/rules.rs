//! `fieldgate rules`: what the rules are, in words, or what they would have done with recorded readings, in virtual time.
//!
//! A replay needs no broker and no device. Outputs obey at once: their limits are not part of it. Rules are switched on, and variables are
//! what they were set to in the recording, or else what they begin with. What a sensor has said is known for
//! three of its periods, as it is when the service runs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use serde_json::Value as Json;
use thiserror::Error;

use crate::cli::{self, fail, refuse};
use crate::config::{self, Config};
use fieldgate_bus::signals::SignalKind as BoardKind;
use fieldgate_clock::{self as clock, Zone};
use fieldgate_drivers::formula;
use fieldgate_formula::{self as language, TimeOfDay, Value};
use fieldgate_model::{Action, Form, Name, OutputKind, OutputValue, Variable, VariableValue, payload};
use fieldgate_rules::{Engine, Event, Now, Order, SignalKind, State, Table, Wall, What};

/// A sample is known for so many periods of its sensor.
const KNOWN_FOR_PERIODS: u32 = 3;

/// Steps of a replay at most: rules that name the time of day take one each minute, which is five years of them.
const MAX_STEPS: usize = 3_000_000;

/// Why recorded readings cannot be replayed. Report it to the user.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// A line is not a reading.
    #[error("line {line}: {why}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// Why, in words.
        why: String,
    },
    /// A rule names something that cannot be replayed.
    #[error("the rule {rule} cannot be replayed: {why}")]
    Rule {
        /// Which.
        rule: Name,
        /// Why, in words.
        why: String,
    },
    /// There are years between the first reading and the last.
    #[error("the readings span too long a time")]
    TooLong,
}

/// Prints the rules of the file at `path`, or what they would have done with the readings at `replayed`.
pub fn run(path: &Path, replayed: Option<&Path>) -> ExitCode {
    let config = match config::load(path) {
        Ok(loaded) => loaded.config,
        Err(error) => return refuse(&error),
    };
    let Some(replayed) = replayed else {
        let words = config.rules.iter().map(|rule| format!("{}: {rule}\n", rule.name)).collect::<String>();
        return cli::put(if words.is_empty() { "there are no rules\n" } else { &words }, ExitCode::SUCCESS);
    };
    let text = match std::fs::read_to_string(replayed) {
        Ok(text) => text,
        Err(error) => return fail(&format!("{} cannot be read: {error}", replayed.display())),
    };
    match replay(&config, &text, clock::zone()) {
        Ok(said) => cli::put(&said, ExitCode::SUCCESS),
        Err(error) => fail(&format!("{}: {error}", replayed.display())),
    }
}

/// What was recorded at one time.
#[derive(Debug)]
enum Recorded {
    /// A sensor's measurements.
    Reading(String, serde_json::Map<String, Json>),
    /// A sensor is down.
    Down(String),
    /// Whether the broker was connected.
    Link(bool),
    /// What a variable was set to.
    Variable(String, Json),
}

/// What the rules of `config` would have done with these lines of recorded readings, on a clock in this zone.
///
/// # Errors
/// A line that is no reading, or a rule that names what is not recorded.
pub fn replay(config: &Config, text: &str, zone: &Zone) -> Result<String, ReplayError> {
    let mut recorded = Vec::new();
    for (nth, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let read = read_line(line).map_err(|why| ReplayError::Line { line: nth + 1, why })?;
        recorded.extend(read);
    }
    recorded.sort_by_key(|(at, _)| *at);
    // A variable may have been set long before, and is retained.
    let is_variable = |(_, what): &&(SystemTime, Recorded)| matches!(what, Recorded::Variable(..));
    let Some(first) = recorded.iter().find(|recorded| !is_variable(recorded)).map(|(at, _)| *at) else {
        return Ok(String::new());
    };
    let mut replay = Replay::new(config, first, zone)?;
    for (at, what) in recorded {
        replay.until(at.duration_since(first).unwrap_or_default())?;
        replay.take(config, what);
    }
    // What the last reading leads to while it is known.
    let end = replay.known_until.values().max().copied().unwrap_or_default();
    replay.until(end)?;
    Ok(replay.said)
}

/// A reading, with its topic around it or its sensor among its keys; nothing of what says nothing of a sensor.
fn read_line(line: &str) -> Result<Option<(SystemTime, Recorded)>, String> {
    let json: Json = serde_json::from_str(line).map_err(|e| format!("this is not JSON: {e}"))?;
    let (topic, body) = match (json["topic"].as_str(), &json["payload"]) {
        (Some(topic), Json::String(text)) => {
            (topic.to_owned(), serde_json::from_str(text).map_err(|e| format!("the payload is not JSON: {e}"))?)
        }
        (Some(topic), body) => (topic.to_owned(), body.clone()),
        (None, _) => match json["sensor"].as_str() {
            Some(sensor) => (format!("/sensors/{sensor}"), json.clone()),
            None => return Err("there is neither a topic nor a sensor in it".to_owned()),
        },
    };
    let time = |key: &str| {
        let text = body[key].as_str().ok_or_else(|| format!("there is no {key} in it"))?;
        humantime::parse_rfc3339_weak(text).map_err(|e| format!("{text:?} is no time: {e}"))
    };
    let levels: Vec<_> = topic.rsplit('/').collect();
    Ok(match (levels.as_slice(), &body) {
        (["status", sensor, "sensors", ..], _) if body["status"] == "down" => {
            Some((time("since")?, Recorded::Down((*sensor).to_owned())))
        }
        ([sensor, "sensors" | "late", ..], Json::Object(all)) => {
            Some((time("time")?, Recorded::Reading((*sensor).to_owned(), all.clone())))
        }
        (["state", variable, "variables", ..], _) => {
            Some((time("time")?, Recorded::Variable((*variable).to_owned(), body["value"].clone())))
        }
        (["health", ..], _) if body["link"].is_object() => {
            Some((time("time")?, Recorded::Link(body["link"]["state"] == "up")))
        }
        _ => None,
    })
}

/// The rules at work in virtual time.
struct Replay<'z> {
    engine: Engine,
    began: SystemTime,
    zone: &'z Zone,
    at: Duration,
    /// Until when what each sensor has said is known.
    known_until: BTreeMap<String, Duration>,
    /// What outputs do when they are safe.
    safe: BTreeMap<Name, OutputValue>,
    logged: Vec<State>,
    steps: usize,
    said: String,
}

impl<'z> Replay<'z> {
    fn new(config: &Config, began: SystemTime, zone: &'z Zone) -> Result<Self, ReplayError> {
        let describe = |name: &language::Name| describe(config, name);
        let table = Table::compile(config.rules.clone(), describe).map_err(|problems| {
            let first = problems.first().expect("there is a problem");
            ReplayError::Rule { rule: first.rule.clone(), why: first.problem.to_string() }
        })?;
        let at_rest = |kind: OutputKind, action| if let Action::Set(value) = action { value } else { kind.off() };
        let safe = config.actuators.iter().map(|a| (a.name.clone(), at_rest(a.kind, a.limits.safe_state))).collect();
        let logged = vec![State::Inactive; config.rules.len()];
        let engine = Engine::new(table);
        let (known_until, said) = (BTreeMap::new(), String::new());
        let mut replay = Self { engine, began, zone, at: Duration::ZERO, known_until, safe, logged, steps: 0, said };
        for (output, value) in replay.safe.clone() {
            replay.output_does(&output, value);
        }
        for variable in &config.variables {
            replay.variable_is(variable, &variable.initial);
        }
        replay.step(Event::Link(Some(true)));
        Ok(replay)
    }

    /// Time passes, with everything that becomes due.
    fn until(&mut self, to: Duration) -> Result<(), ReplayError> {
        loop {
            let old = self.known_until.values().filter(|until| **until > self.at).min().copied();
            let next = self.engine.wake_at().into_iter().chain(old).min().filter(|next| *next <= to);
            let Some(next) = next else { break };
            self.steps += 1;
            if self.steps > MAX_STEPS {
                return Err(ReplayError::TooLong);
            }
            self.at = next.max(self.at);
            let gone: Vec<_> =
                self.known_until.iter().filter(|(_, until)| **until <= self.at).map(|(s, _)| s.clone()).collect();
            gone.iter().for_each(|sensor| self.forget(sensor));
            self.step(Event::Time);
        }
        self.at = to;
        Ok(())
    }

    fn take(&mut self, config: &Config, what: Recorded) {
        match what {
            Recorded::Link(is_up) => self.step(Event::Link(Some(is_up))),
            Recorded::Down(sensor) => {
                self.forget(&sensor);
                self.step(Event::Time);
            }
            Recorded::Variable(name, value) => {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                let variable = config.variables.iter().find(|variable| variable.name.as_str() == name);
                // What it does not take now was set under other limits.
                if let Some((variable, value)) = variable.and_then(|v| Some((v, v.kind.read(&text).ok()?))) {
                    self.variable_is(variable, &value);
                    self.step(Event::Time);
                }
            }
            Recorded::Reading(sensor, all) => {
                let signals: Vec<_> = self.signals_of(&sensor);
                for (signal, measurement) in signals {
                    let value = all.get(&measurement).map_or(Value::Unknown, value_of);
                    self.engine.write(signal, value);
                }
                let every = config.sensors.iter().find(|s| s.name.as_str() == sensor).map(|s| s.every);
                if let Some(every) = every {
                    self.known_until.insert(sensor, self.at.saturating_add(KNOWN_FOR_PERIODS * every));
                }
                self.step(Event::Time);
            }
        }
    }

    fn forget(&mut self, sensor: &str) {
        self.known_until.remove(sensor);
        for (signal, _) in self.signals_of(sensor) {
            self.engine.write(signal, Value::Unknown);
        }
    }

    /// The signals of a sensor and its measurements.
    fn signals_of(&self, sensor: &str) -> Vec<(usize, String)> {
        let of = |(nth, name): (usize, &str)| {
            let (owner, member) = name.split_once('.')?;
            (owner == sensor).then(|| (nth, member.to_owned()))
        };
        self.engine.table().signals().enumerate().filter_map(of).collect()
    }

    fn step(&mut self, event: Event) {
        let mut orders = Vec::new();
        let now = Now { at: self.at, wall: self.wall() };
        self.engine.step(now, event, &mut orders);
        for order in orders {
            self.obey(order);
        }
        self.log_states();
    }

    fn wall(&self) -> Option<Wall> {
        let at = self.began + self.at;
        let local = self.zone.local(at);
        let time = TimeOfDay::new(local.hour, local.minute)?;
        Some(Wall { time, weekday: local.weekday, shown_for: clock::until_next_minute(at) })
    }

    fn time(&self) -> String {
        payload::time(self.began + self.at)
    }

    /// The outputs obey at once.
    fn obey(&mut self, order: Order) {
        let table = self.engine.table();
        let rule = table.rules().nth(order.rule).expect("orders come from rules of the table").clone();
        let output = |output: usize| table.outputs()[output].clone();
        let (words, done) = match order.what {
            What::Set { output: nth, action } => {
                (format!("set {} to {action}", output(nth)), Some((output(nth), action)))
            }
            What::LetGo { output: nth, action: Some(action) } => {
                (format!("set {} to {action}", output(nth)), Some((output(nth), action)))
            }
            What::LetGo { output: nth, action: None } => {
                let name = output(nth);
                let safe = self.safe.get(&name).copied().map(|value| (name.clone(), Action::Set(value)));
                (format!("make {name} safe"), safe)
            }
            What::Toggle { output: nth } => (format!("toggle {}", output(nth)), None),
            What::Publish => {
                let topic = rule.publish.as_ref().map(|publish| publish.topic.clone()).unwrap_or_default();
                (format!("publish to {topic}"), None)
            }
        };
        writeln!(self.said, "{} {}: {words}", self.time(), rule.name).expect("a String takes all");
        if let Some((output, Action::Set(value))) = done {
            self.output_does(&output, value);
        }
        self.step(Event::Answered(order.id, Ok(())));
    }

    fn output_does(&mut self, output: &Name, value: OutputValue) {
        for (signal, _) in self.signals_of(output.as_str()) {
            self.engine.write(signal, formula::of_output(value));
        }
    }

    fn variable_is(&mut self, variable: &Variable, value: &VariableValue) {
        let signal = self.engine.table().signals().position(|name| name == variable.name.as_str());
        if let Some(signal) = signal {
            self.engine.write(signal, formula::of_variable(value));
        }
    }

    fn log_states(&mut self) {
        let states: Vec<_> = self.engine.statuses().map(|status| (status.state, status.why.to_string())).collect();
        for (nth, (state, why)) in states.into_iter().enumerate() {
            if std::mem::replace(&mut self.logged[nth], state) != state {
                let rule = self.engine.table().rules().nth(nth).expect("each rule has a state").name.clone();
                writeln!(self.said, "{} {rule} is {}: {why}", self.time(), state.as_str()).expect("a String takes all");
            }
        }
    }
}

/// What a name in a rule is.
fn describe(config: &Config, name: &language::Name) -> Option<SignalKind> {
    let (owner, member) = match name {
        language::Name::Member { owner, member } => (owner, member),
        language::Name::Variable(name) => {
            let variable = config.variables.iter().find(|variable| variable.name.as_str() == name)?;
            return Some(SignalKind::Lasting(formula::kind_of(&BoardKind::Variable(variable.kind.clone()))));
        }
    };
    if let Some(sensor) = config.sensors.iter().find(|sensor| sensor.name.as_str() == owner) {
        let quantity = sensor.filtered().into_iter().find(|quantity| quantity.name == *member)?;
        let is_moment = quantity.form == Form::Word;
        let kind = formula::kind_of(&BoardKind::Measured(quantity));
        return Some(if is_moment { SignalKind::Moment } else { SignalKind::Lasting(kind) });
    }
    let output = config.actuators.iter().find(|output| output.name.as_str() == owner)?;
    Some(SignalKind::Lasting(formula::kind_of(&BoardKind::Output(output.kind))))
}

fn value_of(json: &Json) -> Value<'_> {
    match json {
        Json::Number(number) => number.as_f64().map_or(Value::Unknown, Value::number),
        Json::Bool(flag) => Value::Flag(*flag),
        Json::String(text) => Value::Text(text),
        Json::Null | Json::Array(_) | Json::Object(_) => Value::Unknown,
    }
}
