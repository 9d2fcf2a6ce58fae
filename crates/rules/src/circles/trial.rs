//! Rules that go round in a circle together, found by running them.
//!
//! Where rules look at outputs which others of them move, the engine runs them over outputs that obey at once, while everything else
//! stays as it is. What is stopped as a loop then goes round by itself: that is the proof. Everything else is tried with values around
//! the constants in the formulas, at most [`MAX_TRIALS`] of them together. What this does not find is stopped when it runs.

use std::collections::{BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::time::Duration;

use fieldgate_formula::{Input, Kind, TimeOfDay, Value, WEEKDAYS};
use fieldgate_model::{Action, Name};

use crate::circles::written::Written;
use crate::engine::{Engine, Event, Now, Order, Wall, What};
use crate::table::Table;

/// A check must be over soon, also on a small board.
const MAX_TRIALS: usize = 1024;

/// More than that many steps at which rules still change would be a loop that is stopped.
const MAX_STEPS: usize = 500;

/// A loop is one that is stopped within a minute.
const LENGTH: Duration = Duration::from_secs(60);

/// A rule that is only pushed aside once gives fewer orders; each round of a circle has two.
const MANY_ORDERS: usize = 4;

/// Of numbers that may be any.
pub const UNLIMITED: RangeInclusive<f64> = f64::NEG_INFINITY..=f64::INFINITY;

/// What a signal, a clock or the link may be during a trial.
#[derive(Clone, Debug)]
enum Constant {
    Signal(usize, Vec<Value<'static>>),
    /// A text of a signal: the texts live as long as the trial.
    Texts(usize, Vec<String>),
    Link,
    Time(Vec<TimeOfDay>),
    Weekday,
}

impl Constant {
    fn len(&self) -> usize {
        match self {
            Self::Signal(_, values) => values.len(),
            Self::Texts(_, texts) => texts.len(),
            Self::Link => 2,
            Self::Time(times) => times.len(),
            Self::Weekday => WEEKDAYS.len(),
        }
    }
}

/// A trial of some rules of a table.
struct Trial<'t, F> {
    table: Table,
    /// The rules' places in the table that they are from.
    places: Vec<usize>,
    value_after: &'t F,
}

impl Table {
    /// The sets of rules that go round in a circle together, in which each rule moves what another looks at.
    ///
    /// `value_after` is what the signal `output.value` is when the output does what an action asks for, or for `None` when it is safe;
    /// nothing where that is not known, or where a limit slows the output down. `range` says which numbers a signal may be that no
    /// output moves at once, and nothing of one that an output may move.
    pub fn circles_between(
        &self,
        value_after: impl Fn(&Name, Option<Action>) -> Option<Value<'static>>,
        range: impl Fn(&str) -> Option<RangeInclusive<f64>>,
    ) -> Vec<Vec<&Name>> {
        let mut found: Vec<Vec<&Name>> = Vec::new();
        for group in self.groups() {
            let trial = Trial::of(self, &group, &value_after);
            if trial.is_possible(&range) {
                found.extend(
                    trial
                        .circle(&range)
                        .map(|rules| rules.into_iter().map(|rule| &self.rules[rule].spec.name).collect()),
                );
            }
        }
        found
    }

    /// The rules of which each looks, by way of others or not, at what each other moves; those with company only.
    fn groups(&self) -> Vec<Vec<usize>> {
        let count = self.rules.len();
        let mut leads: Vec<Vec<bool>> =
            (0..count).map(|from| (0..count).map(|to| self.moves_for(from, to)).collect()).collect();
        for by in 0..count {
            let row = leads[by].clone();
            for from in leads.iter_mut().filter(|from| from[by]) {
                from.iter_mut().zip(&row).for_each(|(to, leads_on)| *to |= leads_on);
            }
        }
        let mut seen = vec![false; count];
        let mut groups = Vec::new();
        for rule in 0..count {
            let group: Vec<_> =
                (rule..count).filter(|other| *other == rule || (leads[rule][*other] && leads[*other][rule])).collect();
            if !std::mem::replace(&mut seen[rule], true) && group.len() > 1 {
                group.iter().for_each(|other| seen[*other] = true);
                groups.push(group);
            }
        }
        groups
    }

    /// Whether a rule looks at an output that another moves.
    fn moves_for(&self, mover: usize, looker: usize) -> bool {
        self.moved(mover).any(|output| self.looks_at(looker, output))
    }

    fn moved(&self, rule: usize) -> impl Iterator<Item = &Name> {
        let spec = &self.rules[rule].spec;
        spec.set.iter().map(|(output, _)| output).chain(&spec.toggle)
    }

    fn looks_at(&self, rule: usize, output: &Name) -> bool {
        (0..self.signals.len())
            .any(|signal| self.is_state(signal, output) && self.signals[signal].rules.contains(&rule))
    }

    /// A table with some of the rules of this one.
    fn with_rules(&self, kept: &[usize]) -> Self {
        let mut table = self.clone();
        table.rules = kept.iter().map(|rule| self.rules[*rule].clone()).collect();
        (table.of_time, table.of_link) = (Vec::new(), Vec::new());
        table.signals.iter_mut().for_each(|signal| signal.rules.clear());
        table.index();
        table
    }
}

impl<'t, F: Fn(&Name, Option<Action>) -> Option<Value<'static>>> Trial<'t, F> {
    /// A trial of a group and of all others that move the same outputs.
    fn of(table: &Table, group: &[usize], value_after: &'t F) -> Self {
        let moved: BTreeSet<&Name> = group.iter().flat_map(|rule| table.moved(*rule)).collect();
        let takes_part = |rule: &usize| table.moved(*rule).any(|output| moved.contains(output));
        let places: Vec<_> = (0..table.rules.len()).filter(takes_part).collect();
        Self { table: table.with_rules(&places), places, value_after }
    }

    /// Whether all is known that decides it.
    fn is_possible(&self, range: impl Fn(&str) -> Option<RangeInclusive<f64>>) -> bool {
        let rules = || self.table.rules.iter().map(|rule| &rule.spec);
        let is_known = |output: &Name, action| (self.value_after)(output, action).is_some();
        let ends =
            |output: &Name| rules().all(|spec| spec.then_of(output).is_none_or(|then| is_known(output, Some(then))));
        let sets =
            rules().flat_map(|spec| &spec.set).all(|(output, action)| is_known(output, Some(*action)) && ends(output));
        let mut moved = (0..self.table.rules.len()).flat_map(|rule| self.table.moved(rule));
        let mut named = self.table.signals.iter().filter(|signal| !signal.rules.is_empty());
        sets && moved.all(|output| is_known(output, None)) && named.all(|signal| range(&signal.name).is_some())
    }

    /// The rules that go round, by their places in the table that they are from.
    fn circle(&self, range: impl Fn(&str) -> Option<RangeInclusive<f64>>) -> Option<Vec<usize>> {
        let constants = self.constants(range);
        let all: usize = constants.iter().map(Constant::len).try_fold(1, usize::checked_mul)?;
        let stride = all.div_ceil(MAX_TRIALS);
        (0..all).step_by(stride.max(1)).find_map(|nth| self.run(&constants, nth))
    }

    /// What stays as it is, each with what it may be.
    fn constants(&self, range: impl Fn(&str) -> Option<RangeInclusive<f64>>) -> Vec<Constant> {
        let written = Written::of(&self.table);
        let moved: BTreeSet<_> = (0..self.table.rules.len()).flat_map(|rule| self.table.moved(rule)).collect();
        let is_moved = |signal: usize| moved.iter().any(|output| self.table.is_state(signal, output));
        let mut all = Vec::new();
        for (place, signal) in self.table.signals.iter().enumerate() {
            // No click happens.
            if signal.rules.is_empty() || signal.is_moment || is_moved(place) {
                continue;
            }
            all.push(match &signal.kind {
                Kind::Number(_) => {
                    let range = range(&signal.name).unwrap_or(UNLIMITED);
                    Constant::Signal(place, written.around(&range))
                }
                Kind::Flag => Constant::Signal(place, vec![Value::Flag(false), Value::Flag(true)]),
                Kind::Text(Some(options)) => Constant::Texts(place, options.clone()),
                Kind::Text(None) => Constant::Texts(place, written.texts.iter().cloned().collect()),
                Kind::Time => continue,
            });
        }
        let inputs = || self.table.rules.iter().flat_map(|rule| rule.inputs());
        all.extend(inputs().any(|input| input == Input::LinkUp).then_some(Constant::Link));
        all.extend(inputs().any(|input| input == Input::Time).then(|| Constant::Time(written.times())));
        all.extend(inputs().any(|input| input == Input::Weekday).then_some(Constant::Weekday));
        all.retain(|constant| constant.len() > 0);
        all
    }

    /// Runs the rules with these constants, of each the one that `nth` says.
    fn run(&self, constants: &[Constant], mut nth: usize) -> Option<Vec<usize>> {
        let mut engine = Engine::new(self.table.clone());
        let mut wall = Wall { time: TimeOfDay::new(0, 0)?, weekday: 0, shown_for: 2 * LENGTH };
        let mut link = true;
        for constant in constants {
            let which = nth % constant.len();
            nth /= constant.len();
            match constant {
                Constant::Signal(signal, values) => engine.write(*signal, values[which]),
                Constant::Texts(signal, texts) => engine.write(*signal, Value::Text(&texts[which])),
                Constant::Link => link = which == 0,
                Constant::Time(times) => wall.time = times[which],
                Constant::Weekday => wall.weekday = u8::try_from(which).ok()?,
            }
        }
        let outputs: Vec<_> = self.table.outputs.iter().map(|output| (self.value_after)(output, None)).collect();
        let mut course =
            Course { trial: self, engine, outputs, orders_of: vec![0; self.places.len()], pending: VecDeque::new() };
        course.pending.push_back(Event::Link(Some(link)));
        course.run(wall)?;
        let many = course.orders_of.iter().zip(&self.places).filter(|(orders, _)| **orders >= MANY_ORDERS);
        Some(many.map(|(_, place)| *place).collect())
    }
}

/// How a trial goes.
struct Course<'t, 's, F> {
    trial: &'t Trial<'s, F>,
    engine: Engine,
    outputs: Vec<Option<Value<'static>>>,
    orders_of: Vec<usize>,
    pending: VecDeque<Event>,
}

impl<F: Fn(&Name, Option<Action>) -> Option<Value<'static>>> Course<'_, '_, F> {
    /// Goes on until something is stopped as a loop; `None` if nothing is.
    fn run(&mut self, wall: Wall) -> Option<()> {
        for output in 0..self.outputs.len() {
            self.show(output);
        }
        let (mut at, mut orders) = (Duration::ZERO, Vec::new());
        for _ in 0..MAX_STEPS {
            let event = match self.pending.pop_front() {
                Some(event) => event,
                None => {
                    at = self.engine.wake_at().filter(|wake| *wake < LENGTH)?.max(at);
                    Event::Time
                }
            };
            self.engine.step(Now { at, wall: Some(wall) }, event, &mut orders);
            for order in std::mem::take(&mut orders) {
                self.obey(order)?;
            }
            if self.engine.stopped().next().is_some() {
                return Some(());
            }
        }
        None
    }

    fn obey(&mut self, order: Order) -> Option<()> {
        self.orders_of[order.rule] += 1;
        let name = |output: usize| &self.trial.table.outputs[output];
        let (output, value) = match order.what {
            What::Set { output, action } => (output, (self.trial.value_after)(name(output), Some(action))?),
            What::LetGo { output, action } => (output, (self.trial.value_after)(name(output), action)?),
            What::Toggle { output } => (output, toggled(self.outputs[output]?)?),
            What::Publish => {
                self.pending.push_back(Event::Answered(order.id, Ok(())));
                return Some(());
            }
        };
        self.outputs[output] = Some(value);
        self.pending.push_back(Event::Answered(order.id, Ok(())));
        self.pending.push_back(Event::Time);
        self.show(output);
        Some(())
    }

    /// The next step sees what the output does.
    fn show(&mut self, output: usize) {
        let (table, value) = (&self.trial.table, self.outputs[output].unwrap_or_default());
        let signal = (0..table.signals.len()).find(|signal| table.is_state(*signal, &table.outputs[output]));
        signal.into_iter().for_each(|signal| self.engine.write(signal, value));
    }
}

fn toggled(value: Value<'_>) -> Option<Value<'static>> {
    match value {
        Value::Text("on") => Some(Value::Text("off")),
        Value::Text("off") => Some(Value::Text("on")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RuleSpec, SignalKind};
    use fieldgate_formula as language;
    use fieldgate_model::OutputValue;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn kind(name: &language::Name) -> Option<SignalKind> {
        let text = name.to_string();
        Some(match text.as_str() {
            "bell.click" => SignalKind::Moment,
            "mode" => SignalKind::Continuous(Kind::options(["auto", "off"])),
            _ if text.ends_with(".value") => SignalKind::Continuous(Kind::options(["on", "off"])),
            _ if text.ends_with(".active") => SignalKind::Continuous(Kind::Flag),
            _ => SignalKind::Continuous(Kind::number("")),
        })
    }

    /// A rule that sets an output on.
    fn sets(text: &str, when: &str, output: &str) -> RuleSpec {
        let set = vec![(name(output), Action::Set(OutputValue::Switch(true)))];
        RuleSpec { set, ..RuleSpec::new(name(text), when) }
    }

    /// The circles of rules over switches, of which `slow` has a limit.
    fn circles(specs: &[RuleSpec]) -> Vec<String> {
        let table = Table::compile(specs.to_vec(), kind).unwrap();
        let value_after = |output: &Name, action: Option<Action>| match action {
            _ if output.as_str() == "slow" => None,
            None => Some(Value::Text("off")),
            Some(Action::Set(OutputValue::Switch(on))) => Some(Value::Text(if on { "on" } else { "off" })),
            Some(_) => None,
        };
        // A variable of which half is not allowed.
        let range = |signal: &str| match signal {
            "target" => Some(5.0..=30.0),
            _ => (!signal.starts_with("derived.")).then_some(UNLIMITED),
        };
        let found = table.circles_between(value_after, range);
        found.into_iter().map(|rules| rules.iter().map(|rule| rule.as_str()).collect::<Vec<_>>().join(" ")).collect()
    }

    #[track_caller]
    fn check(specs: &[RuleSpec], expected: &[&str]) {
        assert_eq!(circles(specs), expected);
    }

    #[test]
    fn two_rules_of_which_each_moves_what_the_other_looks_at_go_round() {
        let one = |when: &str| sets("one", when, "a");
        let two = sets("two", "a.value == \"on\"", "b");
        check(&[one("b.value == \"off\""), two.clone()], &["one two"]);
        for limit in ["x < 19", "x > 19", "x < -5"] {
            check(&[one(&format!("{limit} and b.value == \"off\"")), two.clone()], &["one two"]);
        }
        check(
            &[one("b.value == \"off\" and mode == \"auto\" and not link.up and f.active"), two.clone()],
            &["one two"],
        );
        check(&[one("b.value == \"off\" and time >= \"22:00\" and weekday == \"sun\""), two.clone()], &["one two"]);
        check(&[one("b.value == \"off\" and target < 6"), two.clone()], &["one two"]);
        check(&[one("b.value == \"off\" and target < 5"), two.clone()], &[]);
        check(&[one("b.value == \"off\" and target > 30"), two.clone()], &[]);
        let slow = RuleSpec { when_for: Duration::from_secs(12), ..two.clone() };
        check(&[one("b.value == \"off\""), slow], &[]);
        let quick = RuleSpec { when_for: Duration::from_secs(2), ..two };
        check(&[one("b.value == \"off\""), quick], &["one two"]);
    }

    #[test]
    fn what_comes_to_rest_or_can_never_be_is_no_circle() {
        let two = || sets("two", "a.value == \"on\"", "b");
        check(&[sets("one", "b.value == \"on\" or x > 3", "a"), two()], &[]);
        check(&[sets("one", "b.value == \"off\" and x > 5 and x < 3", "a"), two()], &[]);
        let kept = RuleSpec { until: Some("x > 21".into()), ..sets("one", "b.value == \"off\" and x < 19", "a") };
        check(&[kept, two()], &[]);
        check(&[sets("one", "bell.click == \"single\" and b.value == \"off\"", "c"), two()], &[]);
        check(&[sets("one", "x > 3", "a"), two()], &[]);
    }

    #[test]
    fn three_go_round_and_whoever_shares_an_output_takes_part() {
        let three = [
            sets("one", "c.value == \"off\"", "a"),
            sets("two", "a.value == \"on\"", "b"),
            sets("three", "b.value == \"on\"", "c"),
            sets("apart", "x > 3", "d"),
        ];
        check(&three, &["one two three"]);
        // A pump that rests when it runs dry: of two rules with one output the greater priority has it.
        let off = vec![(name("pump"), Action::Set(OutputValue::Switch(false)))];
        let dry =
            RuleSpec { set: off, priority: 1, ..RuleSpec::new(name("dry"), "pump.value == \"on\" and current < 0.5") };
        let drain = sets("drain", "float.active", "pump");
        check(&[drain.clone(), dry.clone()], &[]);
        let rests =
            RuleSpec { until: Some("pump.value == \"off\"".into()), until_for: Duration::from_secs(600), ..dry };
        check(&[drain, rests], &[]);
        let toggles =
            |text, when: &str, output| RuleSpec { toggle: vec![name(output)], ..RuleSpec::new(name(text), when) };
        let flip = [toggles("one", "a.value == b.value", "a"), toggles("two", "a.value != b.value", "b")];
        check(&flip, &["one two"]);
    }

    #[test]
    fn what_cannot_be_proved_is_left_to_the_engine() {
        let one = |when, output| sets("one", when, output);
        let apart = sets("apart", "x > 3", "slow");
        check(&[one("b.value == \"off\"", "a"), sets("two", "a.value == \"on\"", "b"), apart], &["one two"]);
        check(&[one("b.value == \"off\"", "slow"), sets("two", "slow.value == \"on\"", "b")], &[]);
        check(&[one("b.value == \"off\" and derived.y > 3", "a"), sets("two", "a.value == \"on\"", "b")], &[]);
    }
}
