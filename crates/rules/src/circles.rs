//! Rules of which it can be proved that they go round in a circle: one by its own formulas, several by running them (`trial.rs`).

mod trial;
mod written;

pub use trial::UNLIMITED;

use std::time::Duration;

use fieldgate_formula::{Input, Value};
use fieldgate_model::{Action, Name};

use crate::engine::MAX_CHANGES;
use crate::table::{Rule, Table};

/// A rule that begins and ends no faster than this is not stopped, and may be meant to blink.
const SLOW: Duration = Duration::from_secs(60 / (MAX_CHANGES as u64 / 2));

impl Table {
    /// The rules that end at once by what they do themselves, whatever all other signals say, each with the output by which it does.
    /// `value_after` is what the signal `output.value` is when the output does what an action asks for, if that is known.
    pub fn circles(&self, value_after: impl Fn(&Name, Action) -> Option<Value<'static>>) -> Vec<(&Name, &Name)> {
        let of = |rule: &'_ Rule| {
            let is_slow = rule.spec.when_for.saturating_add(rule.spec.until_for) >= SLOW;
            let outputs = || rule.spec.set.iter().map(|(output, action)| (output, value_after(output, *action)));
            let is_by = |(output, value): &(&Name, Option<Value<'static>>)| {
                value.is_some_and(|value| self.ends(rule, |signal| self.is_state(signal, output).then_some(value)))
            };
            if is_slow || rule.is_moment { None } else { outputs().find(is_by).map(|(output, _)| output.clone()) }
        };
        self.rules
            .iter()
            .filter_map(|rule| {
                let output = of(rule)?;
                let place = self.position(&output);
                Some((&rule.spec.name, &self.outputs[place]))
            })
            .collect()
    }

    pub(crate) fn is_state(&self, signal: usize, output: &Name) -> bool {
        self.signals[signal].name.strip_suffix(".value") == Some(output.as_str())
    }

    /// Whether the rule surely ends when these signals are known and no others.
    fn ends(&self, rule: &Rule, known: impl Fn(usize) -> Option<Value<'static>>) -> bool {
        let value = |input| match input {
            Input::Signal(signal) => known(signal).unwrap_or(Value::Unknown),
            _ => Value::Unknown,
        };
        match &rule.until {
            Some(until) => until.evaluate(value).as_flag() == Some(true),
            None => rule.when.evaluate(value).as_flag() == Some(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RuleSpec, SignalKind};
    use fieldgate_formula::Kind;
    use fieldgate_model::OutputValue;

    #[track_caller]
    fn check(when: &str, until: Option<&str>, until_for: u64, is_circle: bool) {
        let name = |text| Name::new(text).unwrap();
        let spec = RuleSpec {
            until: until.map(str::to_owned),
            until_for: Duration::from_secs(until_for),
            set: vec![(name("lamp"), Action::Set(OutputValue::Switch(true)))],
            ..RuleSpec::new(name("r"), when)
        };
        let kind = |name: &fieldgate_formula::Name| {
            let is_state = name.to_string().ends_with(".value");
            Some(SignalKind::Continuous(if is_state { Kind::options(["on", "off"]) } else { Kind::number("") }))
        };
        let table = Table::compile(vec![spec], kind).unwrap();
        let circles = table.circles(|_, action| match action {
            Action::Set(OutputValue::Switch(on)) => Some(Value::Text(if on { "on" } else { "off" })),
            _ => None,
        });
        assert_eq!(!circles.is_empty(), is_circle, "{when} {until:?}");
    }

    #[test]
    fn a_rule_that_ends_by_what_it_does_is_a_circle() {
        check("lamp.value == \"off\"", None, 0, true);
        check("lamp.value == \"off\" and x > 3", None, 0, true);
        check("x > 3", Some("lamp.value == \"on\""), 0, true);
        check("lamp.value == \"off\"", None, 12, false);
        check("lamp.value == \"off\"", Some("x > 3"), 0, false);
        check("lamp.value == \"off\" or x > 3", None, 0, false);
        check("fan.value == \"off\"", None, 0, false);
    }
}
