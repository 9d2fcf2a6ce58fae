//! Who has an output: the guard, other rules, commands from outside.

use super::*;
use crate::Manual;
use fieldgate_model::StateCause;

#[test]
fn a_rule_that_is_refused_is_blocked_and_tries_again() {
    let mut rig = EngineRig::new(vec![rule("r", "x > 5", &["o"])]);
    rig.refuses = Some("limit: min_off");
    rig.number(1, "x", 6.0);
    rig.check_state("r", State::Blocked, "o: limit: min_off");
    rig.until(3);
    rig.check(&["r: o on"; 3]);
    rig.refuses = None;
    rig.until(4);
    rig.check_state("r", State::Active, "its condition holds");
    rig.check(&["r: o on"]);
    rig.until(100);
    rig.check(&[]);
}

#[test]
fn of_two_rules_the_one_with_the_higher_priority_has_the_output() {
    let frost = RuleSpec { priority: 1, ..rule("frost", "y < 5", &["o"]) };
    let mut rig = EngineRig::new(vec![rule("heating", "x < 19", &["o"]), frost]);
    rig.number(1, "y", 6.0);
    rig.number(2, "x", 18.0);
    rig.number(3, "y", 4.0);
    rig.check(&["heating: o on", "frost: o on"]);
    rig.check_state("heating", State::Blocked, "o: the rule frost has it");
    rig.number(4, "y", 6.0);
    rig.check(&["heating: o on"]);
    rig.check_state("heating", State::Active, "its condition holds");
    rig.number(5, "y", 4.0);
    rig.number(6, "x", 20.0);
    rig.check(&["frost: o on"]);
    rig.number(7, "y", 6.0);
    rig.check(&["frost: o safe"]);
}

#[test]
fn a_command_takes_an_output_over_until_the_condition_changes() {
    let mut rig = EngineRig::new(vec![rule("r", "x > 5", &["o", "p"])]);
    rig.number(1, "x", 6.0);
    rig.event(Event::Commanded(0));
    rig.check_state("r", State::Blocked, "o: a command from outside has taken it over");
    assert_eq!((rig.engine.owner(0), rig.engine.owner(1)), (None, Some(0)));
    rig.number(2, "x", 7.0);
    rig.check(&["r: o on", "r: p on"]);
    rig.number(3, "x", 5.0);
    rig.check(&["r: o safe", "r: p safe"]);
    rig.number(4, "x", 6.0);
    rig.check(&["r: o on", "r: p on"]);
}

#[test]
fn what_a_command_has_taken_over_is_its_own_until_no_rule_wants_it() {
    let mut rig = EngineRig::new(vec![rule("one", "x > 5", &["o"]), rule("other", "y > 5", &["o"])]);
    rig.number(1, "x", 6.0);
    rig.number(2, "y", 6.0);
    rig.event(Event::Commanded(0));
    rig.check(&["one: o on"]);
    rig.number(3, "x", 5.0);
    rig.check(&[]);
    rig.number(4, "y", 5.0);
    rig.check(&["other: o safe"]);
}

#[test]
fn what_an_output_does_for_another_reason_than_a_rule_takes_it_away_or_is_tried_again() {
    let latched = |words: &str| Some(Event::Tripped(1, Trip::Latched(words.into())));
    let passing = |words: &str| Some(Event::Tripped(1, Trip::Transient(words.into())));
    for (cause, event) in [
        (StateCause::Command, Some(Event::Commanded(1))),
        (StateCause::Limit, Some(Event::Commanded(1))),
        (StateCause::MaxOn, latched("max_on")),
        (StateCause::Interlock, passing("interlock")),
        (StateCause::SafeState, passing("safe_state")),
        (StateCause::Start, Some(Event::Tripped(1, Trip::Rebuilt))),
        (StateCause::Rule, None),
        (StateCause::For, None),
        (StateCause::Stop, None),
    ] {
        assert_eq!(Event::of_change(1, cause), event, "{cause:?}");
    }
}

#[test]
fn a_rule_that_is_switched_off_leaves_to_a_command_what_that_has_taken_over() {
    let mut rig = EngineRig::new(vec![rule("r", "x > 5", &["o"])]);
    rig.number(1, "x", 6.0);
    rig.event(Event::Commanded(0));
    rig.event(Event::Switched(0, false));
    rig.check(&["r: o on"]);
}

#[test]
fn manual_never_refuses_commands_while_the_rule_has_the_output() {
    let pump = RuleSpec { manual: Manual::Never, ..rule("r", "x > 5", &["o"]) };
    let mut rig = EngineRig::new(vec![pump]);
    rig.event(Event::Time);
    assert_eq!(rig.engine.refuses_commands(0), None);
    rig.number(1, "x", 6.0);
    assert_eq!(rig.engine.refuses_commands(0), Some(0));
}

#[test]
fn after_max_on_the_output_is_left_alone_until_the_condition_changes() {
    let mut rig = EngineRig::new(vec![rule("r", "x > 5", &["o"])]);
    rig.number(1, "x", 6.0);
    rig.event(Event::Tripped(0, Trip::Latched("max_on".into())));
    rig.check_state("r", State::Blocked, "o: made safe by max_on, until the condition changes");
    rig.until(1000);
    rig.check(&["r: o on"]);
    rig.number(1001, "x", 5.0);
    rig.number(1002, "x", 6.0);
    rig.check(&["r: o safe", "r: o on"]);
}

#[test]
fn what_may_pass_is_tried_again_and_what_was_rebuilt_is_ordered_at_once() {
    let mut rig = EngineRig::new(vec![rule("r", "x > 5", &["o"])]);
    rig.number(1, "x", 6.0);
    rig.event(Event::Tripped(0, Trip::Rebuilt));
    rig.check(&["r: o on"; 2]);
    rig.event(Event::Tripped(0, Trip::Transient("interlock".into())));
    rig.check_state("r", State::Blocked, "o: interlock");
    rig.until(2);
    rig.check(&["r: o on"]);
    rig.check_state("r", State::Active, "its condition holds");
}

#[test]
fn what_is_ordered_again_does_not_hide_what_else_changes() {
    let mut rig = EngineRig::new(vec![RuleSpec { lost: s(300), ..rule("r", "x > 5", &["o"]) }]);
    rig.number(1, "x", 6.0);
    rig.engine.step(Now::without_wall(s(2)), Event::Tripped(0, Trip::Rebuilt), &mut Vec::new());
    rig.engine.write(0, Value::Unknown);
    rig.engine.step(Now::without_wall(s(2)), Event::Time, &mut Vec::new());
    rig.check_state("r", State::Active, "something that it names is not known");
}

#[test]
fn what_then_says_is_done_at_the_end_or_else_the_output_is_made_safe() {
    let then = vec![(name("o"), Action::Set(OutputValue::Percent(20.0)))];
    let mut rig = EngineRig::new(vec![RuleSpec { then, ..rule("r", "x > 5", &["o"]) }]);
    rig.number(1, "x", 6.0);
    rig.number(2, "x", 5.0);
    rig.check(&["r: o on", "r: o then 20"]);
    let mut orders = Vec::new();
    let mut step = |rig: &mut EngineRig, event| rig.engine.step(Now::without_wall(s(3)), event, &mut orders);
    rig.engine.write(0, Value::Number(6.0));
    step(&mut rig, Event::Time);
    rig.engine.write(0, Value::Number(5.0));
    step(&mut rig, Event::Time);
    let last = 4;
    step(&mut rig, Event::Answered(last, Err("limit".into())));
    assert_eq!(orders.last().unwrap().what, What::LetGo { output: 0, action: None });
    assert_eq!(orders.len(), 3);
}

#[test]
fn letting_go_is_tried_again_until_it_is_done() {
    let mut engine = Engine::new(table(vec![rule("r", "x > 5", &["o"])]));
    let mut orders = Vec::new();
    for (at, value) in [(1, 6.0), (2, 5.0)] {
        engine.write(0, Value::Number(value));
        engine.step(Now::without_wall(s(at)), Event::Time, &mut orders);
    }
    let id = orders.last().unwrap().id;
    engine.step(Now::without_wall(s(2)), Event::Answered(id, Err("busy".into())), &mut orders);
    assert_eq!((engine.wake_at(), orders.len()), (Some(s(3)), 2));
    engine.step(Now::without_wall(s(3)), Event::Time, &mut orders);
    assert_eq!((engine.wake_at(), orders.len()), (None, 3));
}

#[test]
fn a_rule_says_what_it_is_at_when_its_order_is_answered_and_once_for_each_reason() {
    let mut engine = Engine::new(table(vec![rule("r", "x > 5", &["o"])]));
    let mut orders = Vec::new();
    engine.write(0, Value::Number(6.0));
    engine.step(Now::without_wall(s(1)), Event::Time, &mut orders);
    let status = |engine: &Engine| {
        let status = engine.statuses().next().unwrap();
        (status.state, status.why.to_string(), engine.revision())
    };
    assert_eq!(status(&engine).0, State::Inactive, "nobody knows yet whether it may");
    let mut first = None;
    for (at, words) in [(1, "off for 2s, and min_off is 5s; in 3s"), (2, "off for 3s, and min_off is 5s; in 2s")] {
        let id = orders.last().unwrap().id;
        engine.step(Now::without_wall(s(at)), Event::Answered(id, Err(words.into())), &mut orders);
        engine.step(Now::without_wall(s(at + 1)), Event::Time, &mut orders);
        assert_eq!(status(&engine), *first.get_or_insert(status(&engine)));
    }
    assert_eq!(first.unwrap().1, "o: off for 2s, and min_off is 5s; in 3s");
    let id = orders.last().unwrap().id;
    engine.step(Now::without_wall(s(3)), Event::Answered(id, Err("interlock: p is on".into())), &mut orders);
    assert_eq!(status(&engine).1, "o: interlock: p is on");
}
