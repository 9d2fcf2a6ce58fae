//! The engine: what happens goes in, orders come out.
//!
//! `judge.rs` decides when a rule begins and ends, `ownership.rs` who has an output, `reload.rs` what goes on under a new table.

mod judge;
mod ownership;
mod progress;
mod reload;

use std::sync::Arc;
use std::time::Duration;

use fieldgate_formula::{Input, Program, TimeOfDay, Value, WEEKDAYS};
use fieldgate_model::{Action, StateCause};

use crate::engine::progress::{NOTHING, Ownership, RuleProgress, WantedOutput, WantedState, at_rest, ownerships};
use crate::facts::Fact;
use crate::rule::Manual;
use crate::status::{State, Status, Why};
use crate::table::Table;

/// An order that was refused is tried again after so long.
pub const RETRY: Duration = Duration::from_secs(1);

/// A rule that begins and ends so often within a minute is stopped: it moves what it looks at, or what it looks at is noise.
pub const MAX_CHANGES: usize = 10;

/// A rule that was stopped is tried again after so long: nobody may be there to do it.
pub const LOOP_PAUSE: Duration = Duration::from_secs(600);

const MINUTE: Duration = Duration::from_secs(60);

/// The time at which something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// On a clock that nobody sets; never less than at the step before.
    pub at: Duration,
    /// What the board's clock shows, if anybody asks.
    pub wall: Option<Wall>,
}

impl Now {
    /// For tables that name no time of day, see [`Table::names_time`].
    pub fn without_wall(at: Duration) -> Self {
        Self { at, wall: None }
    }
}

/// What the board's clock shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wall {
    /// The local time of day, in whole minutes.
    pub time: TimeOfDay,
    /// 0 for Monday to 6 for Sunday.
    pub weekday: u8,
    /// How long it goes on showing that.
    pub shown_for: Duration,
}

/// What happens. What signals say is written before, by [`Engine::write`].
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Time has passed, or signals were written.
    Time,
    /// The broker is connected, or is not; `None`: nobody knows.
    Link(Option<bool>),
    /// A command from outside was carried out by the output of this index.
    Commanded(usize),
    /// The order of this id was carried out, or refused with these words.
    Answered(u64, Result<(), Arc<str>>),
    /// The output of this index has left what a rule ordered.
    Tripped(usize, Trip),
    /// The rule of this index was switched on or off.
    Switched(usize, bool),
}

impl Event {
    /// What it means for the rules that the output of this index does something else for this reason; nothing if a rule wanted it.
    pub fn of_change(output: usize, cause: StateCause) -> Option<Self> {
        let words = || cause.as_str().into();
        match cause {
            StateCause::Command | StateCause::Limit => Some(Self::Commanded(output)),
            StateCause::MaxOn => Some(Self::Tripped(output, Trip::Latched(words()))),
            StateCause::Interlock | StateCause::SafeState => Some(Self::Tripped(output, Trip::Transient(words()))),
            StateCause::Start => Some(Self::Tripped(output, Trip::Rebuilt)),
            StateCause::Rule | StateCause::For | StateCause::Stop => None,
        }
    }
}

/// Why an output does something else than a rule has ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trip {
    /// A limit that the rule must not undo: it leaves the output alone until its condition changes.
    Latched(Arc<str>),
    /// Something that may pass: the rule tries again.
    Transient(Arc<str>),
    /// It was built again and has begun in its safe state: the rule orders at once.
    Rebuilt,
}

/// What a rule orders.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Order {
    /// Names the order when it is answered, by [`Event::Answered`].
    pub id: u64,
    /// The index of the rule that orders, in the table.
    pub rule: usize,
    /// What is to be done.
    pub what: What,
}

/// What an order says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum What {
    /// An output does this, and the rule owns it.
    Set {
        /// The index of the output, in the table.
        output: usize,
        /// What the output is to do.
        action: Action,
    },
    /// No rule owns the output any more.
    LetGo {
        /// The index of the output, in the table.
        output: usize,
        /// What it does now; `None`: its safe state.
        action: Option<Action>,
    },
    /// On if it is off, off if it is on. No rule owns it.
    Toggle {
        /// The index of the output, in the table.
        output: usize,
    },
    /// What the rule publishes.
    Publish,
}

/// The rules at work.
#[derive(Clone, Debug)]
pub struct Engine {
    table: Table,
    facts: Vec<Fact>,
    link_up: Option<bool>,
    wall: Option<Wall>,
    minute_ends: Option<Duration>,
    rules: Vec<RuleProgress>,
    outputs: Vec<Ownership>,
    /// The rules to be judged in the next step.
    concerned: Vec<bool>,
    has_concerned: bool,
    /// The signals that said something in this moment.
    moments: Vec<usize>,
    last_order: u64,
    revision: u64,
}

impl Engine {
    /// All rules are inactive and switched on, and nothing is known. The first step judges all.
    pub fn new(table: Table) -> Self {
        let facts = table.signals.iter().map(|signal| at_rest(signal.is_moment)).collect();
        let rules: Vec<_> = (0..table.rules.len()).map(|rule| RuleProgress::new(&table, rule)).collect();
        let outputs = ownerships(&table);
        let (concerned, moments) = (vec![true; rules.len()], Vec::with_capacity(table.signals.len()));
        Self {
            table,
            facts,
            link_up: None,
            wall: None,
            minute_ends: None,
            rules,
            outputs,
            concerned,
            has_concerned: true,
            moments,
            last_order: 0,
            revision: 0,
        }
    }

    /// The table that this engine runs.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Notes what the signal of this index says; the next step judges the rules that name it. All signals of one sample are written
    /// before that step, so that no rule sees half of it.
    pub fn write(&mut self, signal: usize, value: Value<'_>) {
        let is_new = self.facts[signal].write(value);
        let signal_row = &self.table.signals[signal];
        if signal_row.is_moment && value != Value::Unknown {
            self.moments.push(signal);
        } else if !is_new {
            return;
        } else if signal_row.is_moment {
            self.facts[signal].write(NOTHING);
            return;
        }
        self.concern(signal);
    }

    /// The next judging is of the rules that name this signal too.
    fn concern(&mut self, signal: usize) {
        for rule in &self.table.signals[signal].rules {
            self.concerned[*rule] = true;
        }
        self.has_concerned = true;
    }

    /// Takes in what happens, and adds what is to be done to `orders`.
    pub fn step(&mut self, now: Now, event: Event, orders: &mut Vec<Order>) {
        self.pass_time(now, orders);
        let at = now.at;
        match event {
            Event::Time => {}
            Event::Link(is_up) => self.link_changed(is_up),
            Event::Commanded(output) => self.take_over(output, at),
            Event::Answered(order, result) => self.answered(order, result, at, orders),
            Event::Tripped(output, trip) => self.tripped(output, trip, at, orders),
            Event::Switched(rule, is_on) => self.switch(rule, is_on, at, orders),
        }
        self.judge_concerned(at, orders);
        // A moment is over as soon as it has come. That concerns the same rules, and nothing else need happen for long.
        while let Some(signal) = self.moments.pop() {
            self.facts[signal].write(NOTHING);
            self.concern(signal);
        }
        self.judge_concerned(at, orders);
    }

    /// When it must be asked again at the latest.
    pub fn wake_at(&self) -> Option<Duration> {
        let rules = self.rules.iter().enumerate().filter_map(|(rule, progress)| self.deadline(rule, progress));
        let outputs = self.outputs.iter().filter_map(|output| output.letting_go?.retry_at);
        rules.chain(outputs).chain(self.minute_ends.filter(|_| self.table.names_time())).min()
    }

    /// What each rule is at, in their order.
    pub fn statuses(&self) -> impl ExactSizeIterator<Item = &Status> {
        self.rules.iter().map(|progress| &progress.status)
    }

    /// Grows whenever a status changes.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The rule that has this output.
    pub fn owner(&self, output: usize) -> Option<usize> {
        self.outputs[output].owner.map(|(rule, _)| rule)
    }

    /// The rule that has this output and lets nobody take it over.
    pub fn refuses_commands(&self, output: usize) -> Option<usize> {
        self.owner(output).filter(|rule| self.table.rules[*rule].spec.manual == Manual::Never)
    }

    /// The rules that were stopped because they changed too often.
    pub fn stopped(&self) -> impl Iterator<Item = usize> {
        self.rules.iter().enumerate().filter_map(|(rule, progress)| progress.stopped_until.map(|_| rule))
    }

    fn pass_time(&mut self, now: Now, orders: &mut Vec<Order>) {
        let shown = |wall: Option<Wall>| wall.map(|wall| (wall.time, wall.weekday));
        if shown(self.wall) != shown(now.wall) {
            for place in 0..self.table.of_time.len() {
                self.concerned[self.table.of_time[place]] = true;
                self.has_concerned = true;
            }
        }
        self.wall = now.wall;
        self.minute_ends = now.wall.map(|wall| now.at.saturating_add(wall.shown_for));
        for rule in 0..self.rules.len() {
            if self.deadline(rule, &self.rules[rule]).is_some_and(|deadline| deadline <= now.at) {
                self.due(rule, now.at, orders);
            }
        }
        self.retry_letting_go(now.at, orders);
    }

    fn link_changed(&mut self, is_up: Option<bool>) {
        if std::mem::replace(&mut self.link_up, is_up) != is_up {
            for place in 0..self.table.of_link.len() {
                self.concerned[self.table.of_link[place]] = true;
                self.has_concerned = true;
            }
        }
    }

    fn judge_concerned(&mut self, at: Duration, orders: &mut Vec<Order>) {
        if !std::mem::take(&mut self.has_concerned) {
            return;
        }
        for rule in 0..self.rules.len() {
            if std::mem::take(&mut self.concerned[rule]) {
                self.judge(rule, at, orders);
            }
        }
    }

    fn evaluate<'e>(&'e self, program: &'e Program) -> Option<bool> {
        self.evaluate_over(program, |signal| self.facts[signal].value())
    }

    /// As if nothing happened at this moment.
    fn evaluate_at_rest<'e>(&'e self, program: &'e Program) -> Option<bool> {
        let is_moment = |signal: usize| self.table.signals[signal].is_moment;
        self.evaluate_over(program, |signal| if is_moment(signal) { NOTHING } else { self.facts[signal].value() })
    }

    fn evaluate_over<'e>(&'e self, program: &'e Program, signal: impl Fn(usize) -> Value<'e>) -> Option<bool> {
        let value = |input| match input {
            Input::Signal(index) => signal(index),
            Input::LinkUp => self.link_up.map_or(Value::Unknown, Value::Flag),
            Input::Time => self.wall.map_or(Value::Unknown, |wall| Value::Time(wall.time)),
            Input::Weekday => {
                let word = self.wall.and_then(|wall| WEEKDAYS.get(usize::from(wall.weekday)));
                word.map_or(Value::Unknown, |word| Value::Text(word))
            }
        };
        program.evaluate(value).as_flag()
    }

    fn next_order(&mut self) -> u64 {
        self.last_order += 1;
        self.last_order
    }

    /// Compares what a rule is at with what was said of it last.
    fn refresh(&mut self, rule: usize, at: Duration) {
        if self.awaits_first_answer(rule) {
            return;
        }
        let (state, why) = self.state_of(rule);
        let status = &mut self.rules[rule].status;
        if status.state != state {
            (status.state, status.since) = (state, at);
        } else if status.why == why {
            return;
        }
        status.why = why;
        self.revision += 1;
    }

    /// Whether it has begun to want an output, and what comes of that is not known yet: it is said to be active when it is.
    fn awaits_first_answer(&self, rule: usize) -> bool {
        let progress = &self.rules[rule];
        let is_open = |wanted: &WantedOutput| wanted.state == WantedState::Ordered && wanted.refusal.is_none();
        progress.is_active && progress.status.state != State::Active && progress.wanted.iter().any(is_open)
    }

    fn state_of(&self, rule: usize) -> (State, Why) {
        let progress = &self.rules[rule];
        if !progress.is_on {
            return (State::Inactive, Why::SwitchedOff);
        }
        if progress.stopped_until.is_some() {
            return (State::Blocked, Why::Loop);
        }
        if progress.is_active {
            let blocked = progress.wanted.iter().find_map(|wanted| self.why_blocked(wanted));
            return match (blocked, progress.unknown_since) {
                (Some(why), _) => (State::Blocked, why),
                (None, Some(_)) => (State::Active, Why::Unknown),
                (None, None) => (State::Active, Why::ConditionHolds),
            };
        }
        match (progress.holds_since, &progress.not_toggled) {
            _ if progress.is_dismissed => (State::Inactive, Why::Dismissed),
            (Some(_), _) => (State::Waiting, Why::ConditionHolds),
            (None, Some(why)) => (State::Inactive, why.clone()),
            (None, None) if progress.is_unknown => (State::Inactive, Why::Unknown),
            (None, None) => (State::Inactive, Why::ConditionDoesNotHold),
        }
    }

    fn why_blocked(&self, wanted: &WantedOutput) -> Option<Why> {
        let output = self.table.outputs[wanted.output].clone();
        match (&wanted.state, &wanted.refusal) {
            (WantedState::TakenOver, _) => Some(Why::TakenOver(output)),
            (WantedState::Toggled(rule), _) => Some(Why::Toggled(output, rule.clone())),
            (WantedState::Tripped(words), _) => Some(Why::Tripped(output, Arc::clone(words))),
            (WantedState::Wanted, _) => {
                let owner = self.outputs[wanted.output].owner?;
                Some(Why::Owned(output, self.table.rules[owner.0].spec.name.clone()))
            }
            (WantedState::Ordered | WantedState::Refused(_), Some(words)) => {
                Some(Why::Refused(output, Arc::clone(words)))
            }
            _ => None,
        }
    }
}
