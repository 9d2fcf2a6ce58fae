//! How rules are switched: by earlier runs, by a disk that comes late, and over reloads.

use std::collections::BTreeMap;
use std::time::Duration;

use super::running::{Addressed, Running};
use super::{QueuedOrder, enqueue};
use fieldgate_bus::signals::{SignalSource, Signals};
use fieldgate_model::{Action, Name, OutputValue, VariableKind, VariableValue};
use fieldgate_rules::{Event, RuleSpec};
use fieldgate_safety::RuleOrder;

const ON: OutputValue = OutputValue::Switch(true);

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// One that sets this output while `x` is more than 0.
fn rule(text: &str, output: &str) -> RuleSpec {
    let on = Action::Set(ON);
    RuleSpec { set: vec![(name(output), on)], ..RuleSpec::new(name(text), "x > 0") }
}

fn signals() -> Signals {
    let signals = Signals::default();
    let kind = VariableKind::Number { min: 0.0, max: 9.0, step: None, unit: String::new() };
    signals.arrange(vec![SignalSource::Variable(name("x"), kind)]);
    signals.assign(&name("x"), VariableValue::Number(1.0));
    signals
}

fn switched(all: &[(&str, bool)]) -> BTreeMap<Name, bool> {
    all.iter().map(|(rule, is_on)| (name(rule), *is_on)).collect()
}

fn orders(running: &mut Running) -> Vec<String> {
    let all = running.take_orders();
    let words = |Addressed { rule, output, order, .. }| format!("{rule}: {output} {order:?}");
    all.into_iter().filter_map(|order| running.address(order)).map(words).collect()
}

#[tokio::test]
async fn a_rule_that_an_earlier_run_had_switched_off_orders_nothing() {
    let mut running = Running::begin(&[rule("a", "p"), rule("b", "q")], &signals(), switched(&[("a", false)]));
    assert_eq!(orders(&mut running), ["b: q Own(Set(Switch(true)))"]);
    running.switch(&name("a"), true);
    assert_eq!(orders(&mut running), ["a: p Own(Set(Switch(true)))"]);
}

#[tokio::test]
async fn what_a_late_disk_says_is_taken_up_unless_the_rule_was_switched_in_this_run() {
    let signals = signals();
    let mut running = Running::begin(&[rule("a", "p"), rule("b", "q")], &signals, BTreeMap::new());
    assert_eq!(orders(&mut running), ["a: p Own(Set(Switch(true)))", "b: q Own(Set(Switch(true)))"]);
    running.switch(&name("b"), true);
    running.recall(switched(&[("a", false), ("b", false), ("away", false)]));
    assert_eq!(orders(&mut running), ["a: p LetGo(None)"]);
    let last = running.reload(&[rule("b", "q"), rule("away", "r")], &signals);
    assert!(last.is_empty(), "the only rule that is no more had no output");
    assert_eq!(orders(&mut running), [""; 0], "a rule that is put back is as it was switched");
    running.reload(&[rule("a", "p")], &signals);
    assert_eq!(orders(&mut running), [""; 0]);
    running.switch(&name("a"), true);
    assert_eq!(orders(&mut running), ["a: p Own(Set(Switch(true)))"]);
}

#[tokio::test]
async fn a_rule_that_goes_round_in_a_circle_is_an_alarm_also_where_it_was_blocked_before() {
    let signals = signals();
    let mut running = Running::begin(&[rule("a", "p")], &signals, BTreeMap::new());
    let mut alarms = 0;
    for step in 0..20 {
        for order in running.take_orders() {
            let answer = running.address(order).map(|_| Err("limit".into())).unwrap_or(Ok(()));
            running.step(Event::Answered(order.id, answer));
        }
        running.take_report();
        alarms += running.take_lines().iter().filter(|line| line.is_alarm).count();
        signals.assign(&name("x"), VariableValue::Number(f64::from(step % 2)));
        running.look();
    }
    assert_eq!(alarms, 1);
}

#[test]
fn what_is_queued_for_an_output_comes_to_the_same_as_all_of_it() {
    let (on, off) = (RuleOrder::Own(Action::Set(ON)), RuleOrder::LetGo(None));
    let toggle = RuleOrder::Toggle;
    let cases: [(&[RuleOrder], &[RuleOrder]); 6] = [
        (&[on, off], &[off]),
        (&[on, off, on], &[on]),
        (&[toggle, toggle], &[toggle, toggle]),
        (&[on, toggle], &[on, toggle]),
        (&[on, off, toggle, toggle], &[off, toggle, toggle]),
        (&[toggle, on], &[toggle, on]),
    ];
    for (given, expected) in cases {
        let mut queue = Vec::new();
        let addressed =
            |output: &str, order| Addressed { id: 1, is_set: false, rule: name("a"), output: name(output), order };
        enqueue(&mut queue, QueuedOrder { addressed: addressed("other", on), since: Duration::ZERO });
        for order in given {
            enqueue(&mut queue, QueuedOrder { addressed: addressed("p", *order), since: Duration::ZERO });
        }
        let orders: Vec<_> = queue.iter().map(|queued| queued.addressed.order).collect();
        assert_eq!(orders, [&[on], expected].concat());
    }
}

#[tokio::test]
async fn a_rule_that_gets_an_output_by_a_reload_hears_what_became_of_its_order() {
    let signals = signals();
    let greater = RuleSpec { priority: 1, ..rule("a", "p") };
    let mut running = Running::begin(&[greater, rule("b", "p")], &signals, BTreeMap::new());
    for order in running.take_orders() {
        running.step(Event::Answered(order.id, Ok(())));
    }
    let last = running.reload(&[rule("b", "p")], &signals);
    let [order] = &last[..] else { panic!("{} orders", last.len()) };
    assert_eq!((&order.rule, order.is_set), (&name("b"), true));
    running.step(Event::Answered(order.id, Err("limit: min_off".into())));
    let report = String::from_utf8(running.take_report().flatten().unwrap()).unwrap();
    assert!(report.contains("blocked") && report.contains("p: limit: min_off"), "{report}");
}
