//! Rules that go round in a circle: what their outputs do to what they look at, as far as the configuration says it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::config::check::Checker;
use crate::config::check::device::Device;
use crate::config::check::formulas::Devices;
use crate::config::check::variables::VariableDraft;
use crate::config::tree::Span;
use crate::worker::{ActuatorSettings, SensorSettings};
use fieldgate_drivers::{BusNeed, formula};
use fieldgate_formula::{Names, Value};
use fieldgate_model::{Action, Name, OutputValue, Pace, VariableKind};
use fieldgate_rules::{RuleSpec, SignalKind, Table, UNLIMITED};
use fieldgate_safety::Limits;

/// What the rules of a configuration can look at and move.
pub(super) struct Surroundings<'c> {
    pub(super) sensors: &'c [Device<SensorSettings>],
    pub(super) actuators: &'c [Device<ActuatorSettings>],
    pub(super) variables: &'c [VariableDraft],
}

impl Surroundings<'_> {
    /// The output of that name, if it is configured without a problem.
    fn output(&self, name: &Name) -> Option<&ActuatorSettings> {
        self.actuators.iter().filter_map(|device| device.settings.as_ref()).find(|output| output.name == *name)
    }

    /// What the signal of an output is after an action, or when it is safe; `None` where a limit delays or refuses it.
    fn value_after_or_safe(&self, name: &Name, action: Option<Action>) -> Option<Value<'static>> {
        let output = self.output(name).filter(|output| obeys_at_once(output))?;
        value_after(action.unwrap_or(output.limits.safe_state))
    }

    /// Whether a signal is computed from others, some of which an output may move.
    fn is_computed(&self, signal: &str) -> bool {
        let device = signal.split('.').next();
        let mut sensors = self.sensors.iter().filter_map(|device| device.settings.as_ref());
        sensors.any(|sensor| sensor.driver.bus == BusNeed::Sensors && device == Some(sensor.name.as_str()))
    }

    /// The numbers that a signal may be; `None` for one that an output may move.
    fn range(&self, signal: &str) -> Option<RangeInclusive<f64>> {
        let mut variables = self.variables.iter().filter_map(|draft| draft.variable.as_ref());
        match variables.find(|variable| variable.name.as_str() == signal).map(|variable| &variable.kind) {
            Some(VariableKind::Number { min, max, .. }) => Some(*min..=*max),
            _ => (!self.is_computed(signal)).then_some(UNLIMITED),
        }
    }
}

impl Checker<'_> {
    /// Reports rules that go round in a circle together. `conditions` says where `when` stands, of those rules only that do not do
    /// so alone: that has been reported.
    pub(super) fn circles_between(
        &mut self,
        rules: &[RuleSpec],
        conditions: &BTreeMap<Name, Span>,
        devices: &Devices,
        surroundings: &Surroundings<'_>,
    ) {
        let rules = rules.iter().filter(|rule| conditions.contains_key(&rule.name)).cloned().collect();
        let Ok(table) = Table::compile(rules, |name| signal_kind(devices, name)) else { return };
        let circles = table.circles_between(
            |output, action| surroundings.value_after_or_safe(output, action),
            |signal| surroundings.range(signal),
        );
        for circle in circles {
            let names: Vec<_> = circle.iter().map(|name| name.as_str()).collect();
            let place = circle.first().and_then(|first| conditions.get(first));
            let Some((place, (last, others))) = place.zip(names.split_last()) else { continue };
            let what =
                format!("{} and {last} go round in a circle: each moves what another looks at", others.join(", "));
            let hint = "leave an output out of one of these conditions, or give one of the rules an `until:` that ends it later";
            self.error(place, what, hint);
        }
    }
}

/// What the signal is that a rule names, if there is one.
pub(super) fn signal_kind(devices: &Devices, name: &fieldgate_formula::Name) -> Option<SignalKind> {
    let kind = devices.find(name)?.kind;
    Some(if devices.is_moment(name) { SignalKind::Moment } else { SignalKind::Continuous(kind) })
}

/// What the signal of an output is when the output has done what is asked for.
pub(super) fn value_after(action: Action) -> Option<Value<'static>> {
    match action {
        Action::Set(value @ (OutputValue::Switch(_) | OutputValue::Percent(_) | OutputValue::Angle(Some(_)))) => {
            Some(formula::of_output(value))
        }
        _ => None,
    }
}

/// Whether nothing slows the output down or refuses it an order.
fn obeys_at_once(output: &ActuatorSettings) -> bool {
    let limits = &output.limits;
    let unlimited = Limits::new(limits.safe_state, limits.safe_after);
    output.pace == Pace::AtOnce && output.interlock.is_empty() && *limits == unlimited
}
