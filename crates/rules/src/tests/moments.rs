//! Clicks.

use super::*;
use crate::{Manual, Publication};

fn toggling(when: &str) -> RuleSpec {
    RuleSpec { toggle: vec![name("lamp")], ..rule("bell", when, &[]) }
}

#[test]
fn each_click_toggles_once() {
    let mut rig = EngineRig::new(vec![toggling("bell.click == \"single\"")]);
    for at in 0..15 {
        rig.click(at, "single");
        rig.click(at, "double");
    }
    rig.check(&["bell: lamp toggle"; 15]);
    rig.check_state("bell", State::Inactive, "its condition does not hold");
}

#[test]
fn a_click_is_over_when_something_else_becomes_true() {
    let mut rig = EngineRig::new(vec![toggling("bell.click == \"single\" and x > 5"), rule("r", "x > 5", &["o"])]);
    rig.click(1, "single");
    rig.number(2, "x", 6.0);
    rig.check(&["r: o on"]);
    rig.click(3, "single");
    rig.check(&["bell: lamp toggle"]);
}

#[test]
fn a_click_lights_the_stairs_and_another_one_prolongs_it() {
    let stairs = RuleSpec { until_for: s(60), ..rule("stairs", "bell.click == \"single\"", &["lamp"]) };
    let mut rig = EngineRig::new(vec![stairs]);
    rig.click(0, "single");
    rig.click(50, "single");
    rig.until(109);
    rig.check(&["stairs: lamp on"]);
    rig.until(110);
    rig.check(&["stairs: lamp safe"]);
}

#[test]
fn a_click_can_end_a_rule() {
    let spec = RuleSpec { until: Some("x < 5 or bell.click == \"long\"".into()), ..rule("r", "x > 5", &["o"]) };
    let mut rig = EngineRig::new(vec![spec]);
    rig.number(1, "x", 6.0);
    rig.check(&["r: o on"]);
    rig.click(2, "single");
    rig.check(&[]);
    rig.click(3, "long");
    rig.check(&["r: o safe"]);
}

#[test]
fn a_click_while_a_rule_waits_begins_the_wait_again() {
    let until = Some("bell.click == \"single\"".into());
    let mut rig = EngineRig::new(vec![RuleSpec { until, when_for: s(10), ..rule("r", "x > 5", &["lamp"]) }]);
    rig.number(0, "x", 6.0);
    rig.click(8, "single");
    // Nothing that it names changes any more.
    rig.until(17);
    rig.check(&[]);
    rig.until(18);
    rig.check(&["r: lamp on"]);
}

#[test]
fn what_a_click_has_ended_begins_again_when_its_condition_has_been_false() {
    let spec = RuleSpec { until: Some("y > 5 or bell.click == \"single\"".into()), ..rule("r", "x > 5", &["lamp"]) };
    let mut rig = EngineRig::new(vec![spec]);
    rig.number(0, "y", 0.0);
    rig.number(1, "x", 6.0);
    rig.click(2, "single");
    rig.check(&["r: lamp on", "r: lamp safe"]);
    rig.number(3, "x", 6.5);
    rig.number(20, "x", 7.0);
    rig.check(&[]);
    let words = "a click has ended it, until its condition has been false once";
    rig.check_state("r", State::Inactive, words);
    rig.number(21, "x", 5.0);
    rig.check_state("r", State::Inactive, "its condition does not hold");
    rig.number(22, "x", 6.0);
    rig.check(&["r: lamp on"]);
    // What goes on ends it as ever: it begins again when that is over.
    rig.number(23, "y", 6.0);
    rig.number(24, "y", 5.0);
    rig.check(&["r: lamp safe", "r: lamp on"]);
    // A person who switches it on again wants it.
    rig.click(25, "single");
    rig.event(Event::Switched(0, false));
    rig.event(Event::Switched(0, true));
    rig.check(&["r: lamp safe", "r: lamp on"]);
}

#[test]
fn a_toggle_takes_the_output_from_a_rule_unless_that_lets_nobody() {
    for (manual, expected) in [(Manual::TakesOver, vec!["bell: lamp toggle"]), (Manual::Never, vec![])] {
        let night = RuleSpec { manual, ..rule("night", "x > 5", &["lamp"]) };
        let mut rig = EngineRig::new(vec![night, toggling("bell.click == \"single\"")]);
        rig.number(1, "x", 6.0);
        rig.log.clear();
        rig.click(2, "single");
        rig.check(&expected);
        if manual == Manual::Never {
            rig.check_state("bell", State::Inactive, "lamp: the rule night has it");
        }
    }
}

#[test]
fn a_toggle_that_is_refused_is_not_tried_again() {
    let mut rig = EngineRig::new(vec![toggling("bell.click == \"single\"")]);
    rig.refuses = Some("limit: min_on");
    rig.click(1, "single");
    rig.check_state("bell", State::Inactive, "lamp: limit: min_on");
    rig.until(100);
    rig.check(&["bell: lamp toggle"]);
}

#[test]
fn a_rule_publishes_when_it_begins() {
    let publish = Some(Publication { topic: "events/alone".into(), payload: "…".into() });
    let mut rig = EngineRig::new(vec![RuleSpec { publish, when_for: s(120), ..rule("alone", "not link.up", &[]) }]);
    rig.event(Event::Time);
    rig.event(Event::Link(Some(false)));
    rig.until(119);
    rig.check(&[]);
    rig.until(500);
    rig.check(&["alone: publish"]);
    rig.event(Event::Link(Some(true)));
    rig.check_state("alone", State::Inactive, "its condition does not hold");
}

#[test]
fn of_two_outputs_that_are_toggled_the_one_that_is_refused_is_named() {
    let both = RuleSpec { toggle: vec![name("lamp"), name("fan")], ..rule("bell", "bell.click == \"single\"", &[]) };
    for (refused, expected) in [(0, "lamp: limit"), (1, "fan: limit")] {
        let mut engine = Engine::new(table(vec![both.clone()]));
        let mut orders = Vec::new();
        engine.write(0, Value::Text("single"));
        engine.step(Now::without_wall(s(1)), Event::Time, &mut orders);
        for (nth, order) in std::mem::take(&mut orders).into_iter().enumerate() {
            let answer = if nth == refused { Err("limit".into()) } else { Ok(()) };
            engine.step(Now::without_wall(s(1)), Event::Answered(order.id, answer), &mut orders);
        }
        assert_eq!(engine.statuses().next().unwrap().why.to_string(), expected);
    }
}

#[test]
fn a_rule_whose_output_another_has_toggled_says_which() {
    let mut rig = EngineRig::new(vec![rule("night", "x > 5", &["lamp"]), toggling("bell.click == \"single\"")]);
    rig.number(1, "x", 6.0);
    rig.click(2, "single");
    rig.check_state("night", State::Blocked, "lamp: the rule bell has toggled it");
}
