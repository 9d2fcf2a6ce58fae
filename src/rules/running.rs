//! The engine, and what it sees of the signal store.
//!
//! The task in `mod.rs` waits and talks to others; this file has no task. It writes what the store says into the engine, takes its orders
//! out with names instead of indexes, and says what is to be published and logged of the rules.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::{Duration, SystemTime};

use serde_json::{Map, json};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tracing::error;

use crate::rules::Answered;
use fieldgate_bus::signals::{Listener, OUTPUT_VALUE, Sampled, Signal, SignalName, Signals, SourceKind};
use fieldgate_clock as clock;
use fieldgate_drivers::formula;
use fieldgate_formula::{self as language, TimeOfDay, Value};
use fieldgate_model::payload::{self, StoredEvent};
use fieldgate_model::{Form, Name};
use fieldgate_rules::{Engine, Event, Now, Order, RuleSpec, SignalKind, State, Table, Wall, What, Why};
use fieldgate_safety::RuleOrder;

/// The board's clock is looked at so often where a rule names the time of day: somebody may set it.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(1);

/// The longest sleep.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// An order with names instead of indexes.
pub(super) struct Addressed {
    pub(super) id: u64,
    /// Whether the rule owns the output from then on.
    pub(super) is_set: bool,
    pub(super) rule: Name,
    pub(super) output: Name,
    pub(super) order: RuleOrder,
}

/// A line for the log.
pub(super) struct Line {
    pub(super) rule: Name,
    pub(super) state: &'static str,
    pub(super) why: String,
    pub(super) is_alarm: bool,
}

/// A listener to the signal store, with a copy of its descriptor that the async runtime can wait for.
struct AsyncListener {
    listener: Listener,
    wake: AsyncFd<OwnedFd>,
}

impl AsyncListener {
    fn of(names: Vec<SignalName>, signals: &Signals) -> Result<Self, String> {
        let listener = signals.listen(names).map_err(|e| e.to_string())?;
        let wake = listener.descriptor().try_clone_to_owned().map_err(|e| e.to_string())?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe, for a descriptor that somebody else may close; this one is owned"
        )]
        let wake = AsyncFd::with_interest(wake, Interest::READABLE).map_err(|e| e.to_string())?;
        Ok(Self { listener, wake })
    }
}

/// The engine at work.
pub(super) struct Running {
    engine: Engine,
    /// How rules were switched, in this run or an earlier one; also those that are not there now, so that they go on when they are
    /// put back. Bounded by the configurations and by what the spool keeps.
    switched: BTreeMap<Name, bool>,
    /// When this began, on the boot clock: the engine knows no time before its first step.
    began: Duration,
    signals: Signals,
    listener: Option<AsyncListener>,
    /// What the signals say, kept for its space; those of the table, then the outputs.
    values: Vec<Option<Signal>>,
    sampled: Vec<Option<Sampled>>,
    too_old_at: Option<Duration>,
    /// How often each output had changed when it was last looked at; none that a rule has not named before.
    seen: BTreeMap<Name, u64>,
    orders: Vec<Order>,
    reported: Option<u64>,
    /// What each rule was at when that was last logged, and whether it was stopped: one that goes round in a circle may have been blocked
    /// before.
    logged: BTreeMap<Name, (State, bool)>,
    lines: Vec<Line>,
    /// Those that are stopped because they go round in a circle, as of the last report.
    alarms: BTreeMap<Name, (SystemTime, String)>,
}

impl Running {
    /// Begins with these rules; `switched` are those that earlier runs had switched.
    pub(super) fn begin(rules: &[RuleSpec], signals: &Signals, switched: BTreeMap<Name, bool>) -> Self {
        let mut running = Self {
            engine: Engine::new(Table::default()),
            switched,
            began: clock::boottime(),
            signals: signals.clone(),
            listener: None,
            values: Vec::new(),
            sampled: Vec::new(),
            too_old_at: None,
            seen: BTreeMap::new(),
            orders: Vec::new(),
            reported: None,
            logged: BTreeMap::new(),
            lines: Vec::new(),
            alarms: BTreeMap::new(),
        };
        running.reload(rules, signals);
        running
    }

    /// Goes on with other rules; what must be ordered of outputs because rules are no more.
    pub(super) fn reload(&mut self, rules: &[RuleSpec], signals: &Signals) -> Vec<Addressed> {
        let describe = |name: &language::Name| {
            let kind = signals.describe(&signal_name(&name.to_string())?)?;
            let is_moment = matches!(&kind, SourceKind::Measured(quantity) if quantity.form == Form::Word);
            Some(if is_moment { SignalKind::Moment } else { SignalKind::Continuous(formula::kind_of(&kind)) })
        };
        let table = Table::compile(rules.to_vec(), describe).unwrap_or_else(|problems| {
            let problem = problems.first().map(|first| format!("{}: {}", first.rule, first.problem));
            error!(
                error = problem,
                "The rules do not fit the sensors that are there, and none is in force; report this."
            );
            Table::default()
        });
        let mut last = Vec::new();
        self.engine.retire(&table, clock::boottime(), &mut last);
        let last = last.into_iter().filter_map(|order| self.address(order)).collect();
        let engine = std::mem::replace(&mut self.engine, Engine::new(Table::default()));
        self.engine = engine.adopt(table);
        for (rule, is_on) in &self.switched {
            if let Some(rule) = self.engine.table().rule(rule) {
                self.engine.begin_switched(rule, *is_on);
            }
        }
        self.listen();
        let changes = |output: &Name| self.signals.last_change(output).map_or(0, |change| change.nth);
        let seen = |output: &Name| (output.clone(), self.seen.get(output).copied().unwrap_or_else(|| changes(output)));
        self.seen = self.engine.table().outputs().iter().map(seen).collect();
        self.reported = None;
        self.look();
        last
    }

    fn listen(&mut self) {
        let table = self.engine.table();
        let state = |output: &Name| SignalName { device: output.clone(), value: OUTPUT_VALUE.to_owned() };
        let names = table.signals().filter_map(signal_name).chain(table.outputs().iter().map(state)).collect();
        let listener = AsyncListener::of(names, &self.signals).inspect_err(|error| {
            error!(error, "The rules cannot listen to sensors and outputs, so none of them acts; restart the gateway.");
        });
        self.listener = listener.ok();
    }

    /// Ends when something was written that they look at.
    pub(super) async fn heard(&self) {
        let Some(listener) = &self.listener else { return std::future::pending().await };
        // The look that follows empties the descriptor; until then it stays readable.
        if let Ok(mut ready) = listener.wake.readable().await {
            ready.clear_ready();
        }
    }

    /// Reads the signals, and lets time pass.
    pub(super) fn look(&mut self) {
        if let Some(AsyncListener { listener, .. }) = &mut self.listener {
            listener.take_news();
            let read = listener.read(clock::boottime(), &mut self.values, &mut self.sampled);
            self.too_old_at = read.too_old_at;
        }
        let signals = self.engine.table().signals().len();
        for (signal, value) in self.values.iter().enumerate().take(signals) {
            self.engine.write(signal, value.as_ref().map_or(Value::Unknown, formula::of_signal));
        }
        self.step(Event::Time);
        for output in 0..self.engine.table().outputs().len() {
            self.look_at_output(output);
        }
    }

    /// Whether an output has left what a rule ordered, and by what.
    fn look_at_output(&mut self, output: usize) {
        let name = &self.engine.table().outputs()[output];
        let (Some(change), Some(seen)) = (self.signals.last_change(name), self.seen.get_mut(name)) else { return };
        if std::mem::replace(seen, change.nth) == change.nth {
            return;
        }
        if let Some(event) = Event::of_change(output, change.cause) {
            self.step(event);
        }
    }

    pub(super) fn step(&mut self, event: Event) {
        let wall = if self.engine.table().names_time() { wall() } else { None };
        self.engine.step(Now { at: clock::boottime(), wall }, event, &mut self.orders);
    }

    /// What became of an order. The engine and its reports take the refusal as a text.
    pub(super) fn answered(&mut self, (id, answer): Answered) {
        self.step(Event::Answered(id, answer.map_err(|refusal| refusal.to_string().into())));
    }

    /// A rule is switched. One that is not there yet, because a reload is on its way, begins so.
    pub(super) fn switch(&mut self, rule: &Name, is_on: bool) {
        self.switched.insert(rule.clone(), is_on);
        if let Some(rule) = self.engine.table().rule(rule) {
            self.step(Event::Switched(rule, is_on));
        }
    }

    /// Takes up what earlier runs had switched, which nothing overrules that was switched in this run.
    pub(super) fn recall(&mut self, switched: BTreeMap<Name, bool>) {
        for (rule, is_on) in switched {
            if !self.switched.contains_key(&rule) {
                self.switch(&rule, is_on);
            }
        }
    }

    pub(super) fn take_orders(&mut self) -> Vec<Order> {
        std::mem::take(&mut self.orders)
    }

    /// When to look again at the latest, on the boot clock.
    pub(super) fn wake_at(&self) -> Duration {
        let now = clock::boottime();
        let clock = self.engine.table().names_time().then(|| now.saturating_add(LOOK_AT_CLOCK));
        // Behind the last moment at which it is known.
        let old = self.too_old_at.map(|at| at.saturating_add(Duration::from_millis(1)));
        [self.engine.wake_at(), clock, old].into_iter().flatten().min().unwrap_or(now.saturating_add(LONGEST_SLEEP))
    }

    /// The order by names; nothing of what orders nothing of an output.
    pub(super) fn address(&self, order: Order) -> Option<Addressed> {
        let table = self.engine.table();
        let rule = table.rules().nth(order.rule)?.name.clone();
        let (output, asks) = match order.what {
            What::Set { output, action } => (output, RuleOrder::Own(action)),
            What::LetGo { output, action } => (output, RuleOrder::LetGo(action)),
            What::Toggle { output } => (output, RuleOrder::Toggle),
            What::Publish => return None,
        };
        let (id, is_set) = (order.id, matches!(order.what, What::Set { .. }));
        Some(Addressed { id, is_set, rule, output: table.outputs()[output].clone(), order: asks })
    }

    /// What the order publishes, if it does.
    pub(super) fn publication(&self, order: Order) -> Option<(Name, StoredEvent)> {
        let rule = self.engine.table().rules().nth(order.rule).filter(|_| order.what == What::Publish)?;
        let publish = rule.publish.as_ref()?;
        let event = StoredEvent { topic: publish.topic.clone(), payload: publish.payload.clone() };
        Some((rule.name.clone(), event))
    }

    /// Outputs that take no commands, and by which rule.
    pub(super) fn protected(&self) -> BTreeMap<Name, Name> {
        let table = self.engine.table();
        let of = |(output, name): (usize, &Name)| {
            let rule = self.engine.refuses_commands(output)?;
            Some((name.clone(), table.rules().nth(rule)?.name.clone()))
        };
        table.outputs().iter().enumerate().filter_map(of).collect()
    }

    /// The payload of `B/rules`, if it has changed; nothing to publish without rules.
    pub(super) fn take_report(&mut self) -> Option<Option<Vec<u8>>> {
        let revision = self.engine.revision();
        if self.reported.replace(revision) == Some(revision) {
            return None;
        }
        let (now, wall) = (clock::boottime(), SystemTime::now());
        let mut all = Map::new();
        self.alarms.clear();
        for (rule, status) in self.engine.table().rules().zip(self.engine.statuses()) {
            let since = wall.checked_sub(now.saturating_sub(status.since.max(self.began))).unwrap_or(wall);
            let (state, why) = (status.state.as_str(), status.why.to_string());
            let is_alarm = status.why == Why::Loop;
            if is_alarm {
                self.alarms.insert(rule.name.clone(), (since, why.clone()));
            }
            let since = payload::time(since);
            all.insert(
                rule.name.to_string(),
                json!({ "state": state, "since": since, "why": why, "switch": if status.is_on { "on" } else { "off" } }),
            );
            let logged = (status.state, is_alarm);
            if self.logged.insert(rule.name.clone(), logged) != Some(logged) {
                self.lines.push(Line { rule: rule.name.clone(), state, why, is_alarm });
            }
        }
        Some((!all.is_empty()).then(|| serde_json::Value::Object(all).to_string().into_bytes()))
    }

    /// Rules that are stopped, since when and why.
    pub(super) fn alarms(&self) -> BTreeMap<Name, (SystemTime, String)> {
        self.alarms.clone()
    }

    pub(super) fn take_lines(&mut self) -> Vec<Line> {
        std::mem::take(&mut self.lines)
    }
}

/// `air.temperature`, or `target` for a variable, as the signal store has it.
fn signal_name(text: &str) -> Option<SignalName> {
    match text.split_once('.') {
        Some((device, value)) => Some(SignalName { device: Name::new(device).ok()?, value: value.to_owned() }),
        None => Some(SignalName::variable(Name::new(text).ok()?)),
    }
}

/// What the board's clock shows, once it was set.
fn wall() -> Option<Wall> {
    let now = SystemTime::now();
    if !clock::is_plausible(now) {
        return None;
    }
    let local = clock::zone().local(now);
    let time = TimeOfDay::new(local.hour, local.minute)?;
    Some(Wall { time, weekday: local.weekday, shown_for: clock::until_next_minute(now) })
}
