//! The rules at work in virtual time.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::Value as Json;
use thiserror::Error;

use crate::cli::rules::describe;
use crate::cli::rules::outputs::{Happened, Outputs};
use crate::cli::rules::recorded::Recorded;
use crate::config::Config;
use crate::gateway::GOOD_FOR_PERIODS;
use fieldgate_clock::{self as clock, Zone};
use fieldgate_drivers::formula;
use fieldgate_formula::{TimeOfDay, Value};
use fieldgate_model::{Name, StateCause, Variable, VariableValue, payload};
use fieldgate_rules::{Engine, Event, Now, Order, State, Table, Wall, What};
use fieldgate_safety::{Applied, RuleOrder};

/// Steps of a replay at most: rules that name the time of day take one each minute, which is five years of them.
const MAX_STEPS: usize = 3_000_000;

/// Why recorded readings cannot be replayed. Report it to the user.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// A line is not a reading.
    #[error("line {line}: {why}")]
    Line {
        /// The number of the line, from 1.
        line: usize,
        /// Why, in words.
        why: String,
    },
    /// A rule names something that cannot be replayed.
    #[error("the rule {rule} cannot be replayed: {why}")]
    Rule {
        /// The rule's name.
        rule: Name,
        /// Why, in words.
        why: String,
    },
    /// There are years between the first reading and the last.
    #[error("the readings span too long a time")]
    TooLong,
}

/// An order that was not answered yet, or is kept until its output may follow.
#[derive(Clone, Debug)]
struct ReplayedOrder {
    output: usize,
    /// `heating: set heater to on`.
    words: String,
    what: What,
}

/// The rules at work in virtual time.
pub(super) struct Replay<'z> {
    engine: Engine,
    began: SystemTime,
    zone: &'z Zone,
    at: Duration,
    /// Until when what each sensor has said is known.
    known_until: BTreeMap<String, Duration>,
    outputs: Outputs,
    /// By the orders' ids.
    asked: BTreeMap<u64, ReplayedOrder>,
    /// What each output does as soon as its limits allow.
    kept: BTreeMap<usize, String>,
    /// What each output did as soon as its limits allowed; the rule asks for it once more.
    done: BTreeMap<usize, String>,
    logged: Vec<State>,
    steps: usize,
    said: String,
}

impl<'z> Replay<'z> {
    pub(super) fn new(config: &Config, began: SystemTime, zone: &'z Zone) -> Result<Self, ReplayError> {
        let table = Table::compile(config.rules.clone(), |name| describe(config, name)).map_err(|problems| {
            let first = problems.first().expect("there is a problem");
            ReplayError::Rule { rule: first.rule.clone(), why: first.problem.to_string() }
        })?;
        let logged = vec![State::Inactive; config.rules.len()];
        let (engine, outputs) = (Engine::new(table), Outputs::new(config));
        let (known_until, asked, kept, done) = Default::default();
        let (at, steps, said) = (Duration::ZERO, 0, String::new());
        let mut replay = Self { engine, began, zone, at, known_until, outputs, asked, kept, done, logged, steps, said };
        for happened in replay.outputs.take_happened() {
            if let Happened::Does(output, value, _) = happened {
                replay.output_does(output, value.map_or(Value::Unknown, formula::of_output));
            }
        }
        for variable in &config.variables {
            replay.variable_is(variable, &variable.initial);
        }
        replay.step(Event::Link(Some(true)));
        Ok(replay)
    }

    /// What the last reading leads to while it is known, and everything that was done.
    pub(super) fn finish(mut self) -> Result<String, ReplayError> {
        let end = self.known_until.values().max().copied().unwrap_or_default();
        self.until(end)?;
        Ok(self.said)
    }

    /// Time passes, with everything that becomes due.
    pub(super) fn until(&mut self, to: Duration) -> Result<(), ReplayError> {
        loop {
            let old = self.known_until.values().filter(|until| **until > self.at).min().copied();
            let limits = self.outputs.due_at();
            let next = self.engine.wake_at().into_iter().chain(old).chain(limits).min().filter(|next| *next <= to);
            let Some(next) = next else { break };
            self.steps += 1;
            if self.steps > MAX_STEPS {
                return Err(ReplayError::TooLong);
            }
            self.at = next.max(self.at);
            let gone: Vec<_> =
                self.known_until.iter().filter(|(_, until)| **until <= self.at).map(|(s, _)| s.clone()).collect();
            gone.iter().for_each(|sensor| self.forget(sensor));
            self.outputs.due(self.at);
            self.take_in();
            self.step(Event::Time);
        }
        self.at = to;
        Ok(())
    }

    pub(super) fn take(&mut self, config: &Config, what: Recorded) {
        match what {
            Recorded::Link(is_up) => {
                self.outputs.link(is_up, self.at);
                self.step(Event::Link(Some(is_up)));
            }
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
                    self.known_until.insert(sensor, self.at.saturating_add(GOOD_FOR_PERIODS * every));
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

    /// Hands an order to the guard of its output.
    fn obey(&mut self, order: Order) {
        let table = self.engine.table();
        let rule = table.rules().nth(order.rule).expect("orders come from rules of the table");
        let name = |output: usize| &table.outputs()[output];
        let (name, words, asks) = match order.what {
            What::Set { output, action } => {
                (name(output), format!("set {} to {action}", name(output)), RuleOrder::Own(action))
            }
            What::LetGo { output, action: Some(action) } => {
                (name(output), format!("set {} to {action}", name(output)), RuleOrder::LetGo(Some(action)))
            }
            What::LetGo { output, action: None } => {
                (name(output), format!("make {} safe", name(output)), RuleOrder::LetGo(None))
            }
            What::Toggle { output } => (name(output), format!("toggle {}", name(output)), RuleOrder::Toggle),
            What::Publish => {
                let topic = rule.publish.as_ref().map(|publish| publish.topic.clone()).unwrap_or_default();
                let words = format!("{}: publish to {topic}", rule.name);
                self.say(&words);
                return self.step(Event::Answered(order.id, Ok(())));
            }
        };
        let words = format!("{}: {words}", rule.name);
        let Some(output) = self.outputs.find(name) else { return };
        self.asked.insert(order.id, ReplayedOrder { output, words, what: order.what });
        self.outputs.order(output, asks, order.id, self.at);
        self.take_in();
    }

    /// What has happened to outputs goes to the board, the page and the engine, in this order.
    fn take_in(&mut self) {
        let (mut causes, mut answers) = (BTreeMap::new(), Vec::new());
        for happened in self.outputs.take_happened() {
            match happened {
                Happened::Does(output, value, cause) => {
                    self.output_does(output, value.map_or(Value::Unknown, formula::of_output));
                    causes.insert(output, cause);
                }
                Happened::MadeSafe(output, cause) => {
                    self.kept.remove(&output);
                    let words = format!("{} goes back to its safe state: {}", self.outputs.name(output), why(cause));
                    self.say(&words);
                }
                Happened::Postponed(output) => {
                    if let Some(words) = self.kept.remove(&output) {
                        self.say(&words);
                        self.done.insert(output, words);
                    }
                }
                Happened::Answered(id, applied) => answers.extend(self.answer(id, applied)),
            }
        }
        answers.into_iter().for_each(|answer| self.step(answer));
        for (output, cause) in &causes {
            let output = self.engine.table().output(self.outputs.name(*output));
            if let Some(event) = output.and_then(|output| Event::of_change(output, *cause)) {
                self.step(event);
            }
        }
        if !causes.is_empty() {
            self.step(Event::Time);
        }
    }

    /// Says what an order came to; what the engine is to hear of it.
    fn answer(&mut self, id: u64, applied: Applied) -> Option<Event> {
        let ReplayedOrder { output, words, what } = self.asked.remove(&id)?;
        let answer = match applied {
            Ok(done) => match done.postponed {
                Some(why) => {
                    self.kept.insert(output, words);
                    // As when the service runs: a rule is blocked until its output does what it says.
                    if matches!(what, What::Set { .. }) { Err(Arc::from(why.to_string())) } else { Ok(()) }
                }
                None => {
                    self.kept.remove(&output);
                    if self.done.remove(&output).as_ref() != Some(&words) {
                        self.say(&words);
                    }
                    Ok(())
                }
            },
            Err(refusal) => {
                if matches!(what, What::Toggle { .. }) {
                    self.say(&format!("{words} is refused: {refusal}"));
                }
                Err(Arc::from(refusal.to_string()))
            }
        };
        Some(Event::Answered(id, answer))
    }

    fn say(&mut self, words: &str) {
        writeln!(self.said, "{} {words}", self.time()).expect("a String takes all");
    }

    fn output_does(&mut self, output: usize, value: Value<'_>) {
        for (signal, _) in self.signals_of(self.outputs.name(output).as_str()) {
            self.engine.write(signal, value);
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
                self.say(&format!("{rule} is {}: {why}", state.as_str()));
            }
        }
    }
}

/// Why an output goes back by itself.
fn why(cause: StateCause) -> &'static str {
    match cause {
        StateCause::For => "its time is over",
        StateCause::SafeState => "safe_after",
        other => other.as_str(),
    }
}

fn value_of(json: &Json) -> Value<'_> {
    match json {
        Json::Number(number) => number.as_f64().map_or(Value::Unknown, Value::number),
        Json::Bool(flag) => Value::Flag(*flag),
        Json::String(text) => Value::Text(text),
        Json::Null | Json::Array(_) | Json::Object(_) => Value::Unknown,
    }
}
