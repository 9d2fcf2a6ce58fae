//! The engine from outside: what is written and when, what is ordered and said.

mod model;
mod moments;
mod outputs;
mod time;

use std::sync::Arc;
use std::time::Duration;

use fieldgate_formula::{Kind, Value};
use fieldgate_model::{Action, Name, OutputValue};

use crate::{Engine, Event, Now, Order, RuleSpec, SignalKind, State, Status, Table, Trip, Wall, What};

const ON: Action = Action::Set(OutputValue::Switch(true));

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// `x`, `y` and what ends with `t` are numbers, `click` is a moment, `mode` a word.
fn kind(name: &fieldgate_formula::Name) -> Option<SignalKind> {
    Some(match name.to_string().as_str() {
        "bell.click" => SignalKind::Moment,
        "mode" => SignalKind::Continuous(Kind::options(["auto", "off"])),
        _ => SignalKind::Continuous(Kind::number("")),
    })
}

fn table(specs: Vec<RuleSpec>) -> Table {
    Table::compile(specs, kind).unwrap()
}

fn rule(text: &str, when: &str, outputs: &[&str]) -> RuleSpec {
    let set = outputs.iter().map(|output| (name(output), ON)).collect();
    RuleSpec { set, ..RuleSpec::new(name(text), when) }
}

/// An engine whose guard answers as `refuses` says, and what was ordered.
struct EngineRig {
    engine: Engine,
    at: Duration,
    wall: Option<Wall>,
    refuses: Option<&'static str>,
    log: Vec<String>,
}

impl EngineRig {
    fn new(specs: Vec<RuleSpec>) -> Self {
        Self { engine: Engine::new(table(specs)), at: s(0), wall: None, refuses: None, log: Vec::new() }
    }

    fn signal(&self, text: &str) -> usize {
        self.engine.table().signals().position(|signal| signal == text).unwrap()
    }

    fn write(&mut self, signal: &str, value: Value<'_>) {
        self.engine.write(self.signal(signal), value);
        self.event(Event::Time);
    }

    fn number(&mut self, at: u64, signal: &str, value: f64) {
        self.until(at);
        self.write(signal, Value::Number(value));
    }

    fn unknown(&mut self, at: u64, signal: &str) {
        self.until(at);
        self.write(signal, Value::Unknown);
    }

    fn click(&mut self, at: u64, word: &str) {
        self.until(at);
        self.write("bell.click", Value::Text(word));
    }

    /// Time passes, with the steps for which the engine asked.
    fn until(&mut self, seconds: u64) {
        while let Some(wake) = self.engine.wake_at().filter(|wake| *wake <= s(seconds)) {
            self.at = wake.max(self.at);
            self.event(Event::Time);
        }
        self.at = s(seconds);
    }

    fn event(&mut self, event: Event) {
        let mut orders = Vec::new();
        let (before, revision) = (self.statuses(), self.engine.revision());
        self.engine.step(Now { at: self.at, wall: self.wall }, event, &mut orders);
        assert!(self.statuses() == before || self.engine.revision() > revision, "a change that nobody publishes");
        for order in orders {
            self.log.push(self.describe(order));
            let refused = self.refuses.filter(|_| matches!(order.what, What::Set { .. } | What::Toggle { .. }));
            let answer = refused.map_or(Ok(()), |words| Err(Arc::from(words)));
            self.event(Event::Answered(order.id, answer));
        }
    }

    fn statuses(&self) -> Vec<Status> {
        self.engine.statuses().cloned().collect()
    }

    fn describe(&self, order: Order) -> String {
        let table = self.engine.table();
        let rule = table.rules().nth(order.rule).unwrap().name.clone();
        match order.what {
            What::Set { output, action } => format!("{rule}: {} {action}", table.outputs()[output]),
            What::LetGo { output, action: None } => format!("{rule}: {} safe", table.outputs()[output]),
            What::LetGo { output, action: Some(action) } => {
                format!("{rule}: {} then {action}", table.outputs()[output])
            }
            What::Toggle { output } => format!("{rule}: {} toggle", table.outputs()[output]),
            What::Publish => format!("{rule}: publish"),
        }
    }

    /// What was ordered since this was last asked.
    #[track_caller]
    fn check(&mut self, expected: &[&str]) {
        assert_eq!(std::mem::take(&mut self.log), expected, "at {:?}", self.at);
    }

    #[track_caller]
    fn check_state(&self, rule: &str, state: State, words: &str) {
        let index = self.engine.table().rule(&name(rule)).unwrap();
        let status = self.engine.statuses().nth(index).unwrap();
        assert_eq!((status.state, status.why.to_string().as_str()), (state, words), "at {:?}", self.at);
    }
}

#[test]
fn between_when_and_until_nothing_changes() {
    let heating = RuleSpec { until: Some("x > 21".into()), ..rule("heating", "x < 19", &["heater"]) };
    let mut rig = EngineRig::new(vec![heating]);
    rig.number(1, "x", 20.0);
    rig.number(2, "x", 18.9);
    rig.check(&["heating: heater on"]);
    for (at, value) in [(3, 19.1), (4, 21.0), (5, 18.0)] {
        rig.number(at, "x", value);
    }
    rig.check(&[]);
    rig.number(6, "x", 21.1);
    rig.check(&["heating: heater safe"]);
    rig.number(7, "x", 19.0);
    rig.check(&[]);
}

#[test]
fn a_condition_must_hold_without_a_gap() {
    let spec = RuleSpec { when_for: s(30), until_for: s(10), ..rule("r", "x > 5", &["o"]) };
    let mut rig = EngineRig::new(vec![spec]);
    rig.number(0, "x", 6.0);
    rig.check_state("r", State::Waiting, "its condition holds");
    rig.number(29, "x", 5.0);
    rig.number(30, "x", 6.0);
    rig.until(59);
    rig.check(&[]);
    rig.until(60);
    rig.check(&["r: o on"]);
    rig.number(70, "x", 5.0);
    rig.number(79, "x", 6.0);
    rig.number(80, "x", 5.0);
    rig.until(89);
    rig.check(&[]);
    rig.until(90);
    rig.check(&["r: o safe"]);
}

#[test]
fn what_is_unknown_begins_nothing_and_ends_what_is_active_after_lost() {
    let spec = RuleSpec { lost: s(300), ..rule("r", "x > 5 or y > 5", &["o"]) };
    let mut rig = EngineRig::new(vec![spec, rule("at-once", "x > 5", &["p"])]);
    rig.check_state("r", State::Inactive, "its condition does not hold");
    rig.event(Event::Time);
    rig.check_state("r", State::Inactive, "something that it names is not known");
    rig.number(1, "x", 6.0);
    rig.check(&["r: o on", "at-once: p on"]);
    rig.unknown(2, "x");
    rig.check(&["at-once: p safe"]);
    rig.check_state("r", State::Active, "something that it names is not known");
    rig.number(3, "y", 6.0);
    rig.check_state("r", State::Active, "its condition holds");
    rig.unknown(4, "y");
    rig.until(303);
    rig.check(&[]);
    rig.until(304);
    rig.check(&["r: o safe"]);
    rig.check_state("r", State::Inactive, "something that it names is not known");
}

#[test]
fn no_rule_begins_while_its_end_is_true_or_unknown() {
    let spec = RuleSpec { until: Some("y > 5".into()), ..rule("r", "x > 5", &["o"]) };
    let mut rig = EngineRig::new(vec![spec]);
    rig.number(1, "x", 6.0);
    rig.check_state("r", State::Inactive, "something that it names is not known");
    rig.number(2, "y", 6.0);
    rig.check_state("r", State::Inactive, "its condition does not hold");
    rig.check(&[]);
    rig.number(3, "y", 5.0);
    rig.check(&["r: o on"]);
}

#[test]
fn how_long_until_has_been_true_does_not_begin_again_while_when_is_true_too() {
    let spec = RuleSpec { until: Some("x > 21".into()), until_for: s(10), ..rule("r", "y > 5", &["o"]) };
    let mut rig = EngineRig::new(vec![spec]);
    rig.number(1, "x", 20.0);
    rig.number(2, "y", 6.0);
    rig.number(3, "x", 22.0);
    rig.number(8, "x", 23.0);
    rig.check(&["r: o on"]);
    rig.until(13);
    rig.check(&["r: o safe"]);
}

#[test]
fn a_rule_that_is_switched_off_lets_go_and_begins_again_when_it_is_switched_on() {
    let mut rig = EngineRig::new(vec![rule("r", "x > 5", &["o"])]);
    rig.number(1, "x", 6.0);
    rig.event(Event::Switched(0, false));
    rig.check(&["r: o on", "r: o safe"]);
    rig.check_state("r", State::Inactive, "it is switched off");
    rig.number(2, "x", 7.0);
    rig.check(&[]);
    rig.event(Event::Switched(0, true));
    rig.check(&["r: o on"]);
}

#[test]
fn a_rule_that_begins_switched_off_orders_nothing_until_it_is_switched_on() {
    let mut rig = EngineRig::new(vec![rule("r", "not link.up", &["o"]), rule("s", "not link.up", &["p"])]);
    rig.engine.begin_switched(1, false);
    rig.event(Event::Link(Some(false)));
    rig.check(&["r: o on"]);
    rig.check_state("s", State::Inactive, "it is switched off");
    let next = table(vec![rule("s", "not link.up", &["p"]), rule("new", "not link.up", &["q"])]);
    rig.engine.retire(&next, rig.at, &mut Vec::new());
    rig.engine = rig.engine.clone().adopt(next);
    rig.engine.begin_switched(1, false);
    rig.event(Event::Time);
    rig.check(&[]);
    rig.check_state("new", State::Inactive, "it is switched off");
    rig.event(Event::Switched(1, true));
    rig.event(Event::Switched(0, true));
    rig.check(&["new: q on", "s: p on"]);
}

#[test]
fn a_loop_is_stopped_after_ten_changes_and_tried_again_after_a_rest() {
    let mut rig = EngineRig::new(vec![rule("r", "x > 5", &["o"])]);
    for at in 0..10 {
        rig.number(at, "x", if at % 2 == 0 { 6.0 } else { 5.0 });
    }
    assert_eq!(std::mem::take(&mut rig.log).len(), 10);
    let words = "it changed 10 times within a minute and is stopped for 10 minutes";
    rig.check_state("r", State::Blocked, words);
    assert_eq!(rig.engine.stopped().collect::<Vec<_>>(), [0]);
    rig.number(10, "x", 6.0);
    rig.until(608);
    rig.check(&[]);
    rig.until(609);
    rig.check(&["r: o on"]);
    assert_eq!(rig.engine.stopped().count(), 0);
}

#[test]
fn changes_that_are_spread_over_more_than_a_minute_are_no_loop() {
    let mut rig = EngineRig::new(vec![rule("r", "x > 5", &["o"])]);
    for at in 0..40 {
        rig.number(at * 7, "x", if at % 2 == 0 { 6.0 } else { 5.0 });
    }
    assert_eq!(rig.log.len(), 40);
    let mut rig = EngineRig::new(vec![rule("r", "x > 5", &["o"])]);
    for (at, value) in [0, 1, 2, 3, 4, 5, 6, 7, 8, 60].into_iter().zip([6.0, 5.0].into_iter().cycle()) {
        rig.number(at, "x", value);
    }
    assert_eq!((rig.log.len(), rig.engine.stopped().count()), (10, 0), "the first is a minute ago");
}

#[test]
fn only_rules_that_name_a_signal_are_judged_by_it() {
    let specs = vec![rule("one", "x > 5", &["o"]), rule("other", "y > 5", &["p"])];
    let mut engine = Engine::new(table(specs));
    let mut orders = Vec::new();
    engine.step(Now::without_wall(s(0)), Event::Time, &mut orders);
    let before = engine.statuses().nth(1).unwrap().clone();
    engine.write(0, Value::Number(6.0));
    engine.step(Now::without_wall(s(1)), Event::Time, &mut orders);
    assert_eq!((orders.len(), engine.statuses().nth(1).unwrap()), (1, &before));
    let revision = engine.revision();
    engine.write(0, Value::Number(6.0));
    engine.step(Now::without_wall(s(2)), Event::Time, &mut orders);
    assert_eq!((orders.len(), engine.revision()), (1, revision));
}

#[test]
fn a_reload_keeps_what_is_the_same_and_ends_what_is_not() {
    let same = || RuleSpec { when_for: s(30), ..rule("same", "x > 5", &["o"]) };
    // Nobody could try again what `then` says, so it is not asked.
    let gone = RuleSpec { then: vec![(name("q"), ON)], ..rule("gone", "x > 5", &["q"]) };
    let mut rig = EngineRig::new(vec![same(), rule("changed", "x > 5", &["p"]), gone]);
    rig.number(0, "x", 6.0);
    rig.event(Event::Switched(1, false));
    rig.log.clear();
    rig.until(10);
    let next = table(vec![rule("new", "y > 5", &["q"]), rule("changed", "x > 6", &["p"]), same()]);
    let mut orders = Vec::new();
    rig.engine.retire(&next, rig.at, &mut orders);
    assert_eq!(orders.into_iter().map(|order| rig.describe(order)).collect::<Vec<_>>(), ["gone: q safe"]);
    let revision = rig.engine.revision();
    rig.engine = rig.engine.adopt(next);
    assert!(rig.engine.revision() > revision, "there are other rules");
    rig.until(29);
    rig.event(Event::Time);
    rig.check(&[]);
    rig.until(30);
    rig.check(&["same: o on"]);
    rig.check_state("changed", State::Inactive, "it is switched off");
    let again = table(vec![same()]);
    rig.engine.retire(&again, rig.at, &mut Vec::new());
    rig.engine = rig.engine.adopt(again);
    rig.number(31, "x", 5.0);
    rig.check(&["same: o safe"]);
}

#[test]
fn a_reload_ends_an_active_rule_that_has_another_condition() {
    let mut rig = EngineRig::new(vec![rule("r", "x > 5", &["o"])]);
    rig.number(1, "x", 6.0);
    rig.check(&["r: o on"]);
    let next = table(vec![rule("r", "x > 7", &["o"])]);
    let mut orders = Vec::new();
    rig.engine.retire(&next, rig.at, &mut orders);
    assert_eq!(orders.into_iter().map(|order| rig.describe(order)).collect::<Vec<_>>(), ["r: o safe"]);
    rig.engine = rig.engine.adopt(next);
    rig.event(Event::Time);
    rig.check_state("r", State::Inactive, "its condition does not hold");
    rig.number(2, "x", 8.0);
    rig.check(&["r: o on"]);
}

#[test]
fn a_table_says_what_its_rules_name_and_wait_for() {
    let until = Some("bell.click == \"long\" or nothing.here".into());
    let specs = [RuleSpec { until, ..rule("one", "x > 5", &[]) }, rule("two", "bell.click == \"single\"", &[])];
    assert_eq!(Table::names_of(&specs), ["bell.click", "nothing.here", "x"]);
    let [_, two] = specs;
    let table = table(vec![rule("one", "x > 5", &[]), two]);
    assert_eq!((table.is_moment(0), table.is_moment(1)), (false, true));
}

#[test]
fn mistakes_in_formulas_are_reported_with_their_rule() {
    let specs = vec![rule("good", "x > 5", &[]), RuleSpec { until: Some("y + 1".into()), ..rule("bad", "x >", &[]) }];
    let problems = Table::compile(specs, kind).unwrap_err();
    let words: Vec<_> = problems.iter().map(|p| format!("{} {}", p.rule, p.which)).collect();
    assert_eq!(words, ["bad when", "bad until"]);
}
