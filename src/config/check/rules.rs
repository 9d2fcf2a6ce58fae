//! `rules:`: formulas, the outputs that they set, and what cannot be meant. Circles are found in `circles.rs`.

use std::collections::BTreeMap;

use crate::config::check::Checker;
use crate::config::check::buses::Named;
use crate::config::check::circles::{Surroundings, signal_kind, value_after};
use crate::config::check::device::Device;
use crate::config::check::formulas::Devices;
use crate::config::check::outputs::written;
use crate::config::check::section::Section;
use crate::config::check::variables::VariableDraft;
use crate::config::check::words::{did_you_mean, quoted};
use crate::config::raw;
use crate::config::tree::{Key, Node, Span, Value};
use crate::worker::{ActuatorSettings, SensorSettings};
use fieldgate_formula as language;
use fieldgate_model::{Action, Name, OutputKind, Setting, topic};
use fieldgate_rules::{Manual, Publication, RuleSpec, Table, Which};

/// The outputs by their names; without a kind where something is wrong with one.
type Outputs = Vec<(Name, Option<OutputKind>)>;

impl<'a> Checker<'a> {
    /// Checks every rule; those with a problem are left out.
    pub(super) fn rules(
        &mut self,
        top: &Section<'a>,
        sensors: &[Device<SensorSettings>],
        actuators: &[Device<ActuatorSettings>],
        variables: &[VariableDraft],
    ) -> Vec<RuleSpec> {
        let devices = Devices::of(sensors, actuators, variables);
        let outputs: Outputs =
            actuators.iter().map(|device| (device.name.clone(), device.settings.as_ref().map(|s| s.kind))).collect();
        let mut owners: BTreeMap<(Name, i64), (Name, Span)> = BTreeMap::new();
        let (mut rules, mut conditions) = (Vec::new(), BTreeMap::new());
        for Named { name, key, node, is_again } in self.named(top, "rules") {
            let section = self.section(&key.span, [node], &key.text, raw::RULE);
            self.shown_rule(&name, &section);
            let spec = self.rule(name, &section, &outputs, actuators);
            self.shared_outputs(&spec, &section, &mut owners);
            let (is_good, is_circle) = self.formulas_of(&spec, &section, &devices);
            if is_good && section.complete && !is_again {
                if !is_circle {
                    conditions.insert(spec.name.clone(), section.span("when"));
                }
                rules.push(spec);
            }
        }
        self.circles_between(&rules, &conditions, &devices, &Surroundings { sensors, actuators, variables });
        rules
    }

    fn rule(
        &mut self,
        name: Name,
        section: &Section<'a>,
        outputs: &Outputs,
        actuators: &[Device<ActuatorSettings>],
    ) -> RuleSpec {
        let span = |key| section.duration(key).unwrap_or_default();
        let set = self.states(section, "set", outputs);
        let then = self.states(section, "then", outputs);
        let toggle = self.toggled(section, outputs);
        let publish = self.publication(section);
        for (output, place) in &then {
            if section.has("set") && !set.iter().any(|((other, _), _)| *other == output.0) {
                let what = format!("{} is not an output that this rule sets", output.0);
                self.error(place, what, "`then` is for what stands under `set`");
            }
        }
        for (output, place) in &toggle {
            let goes_safe = actuators
                .iter()
                .filter_map(|device| device.settings.as_ref())
                .any(|settings| settings.name == *output && settings.limits.safe_after.is_some());
            if goes_safe {
                let what = format!("without a broker {output} goes back to its safe state at once when it is toggled");
                self.note(place, what, "safe_after: never, at the output, lets it stay as it is");
            }
            if set.iter().any(|((other, _), _)| other == output) {
                self.error(place, format!("this rule sets {output} and toggles it"), "do one of both");
            }
        }
        self.needs_something(section);
        let manual = if section.text("manual") == Some("never") { Manual::Never } else { Manual::TakesOver };
        RuleSpec {
            when_for: span("for"),
            until: section.text("until").map(str::to_owned),
            until_for: span("until_for"),
            lost: span("lost"),
            set: set.into_iter().map(|(state, _)| state).collect(),
            then: then.into_iter().map(|(state, _)| state).collect(),
            toggle: toggle.into_iter().map(|(output, _)| output).collect(),
            publish,
            manual,
            priority: section.integer("priority").unwrap_or_default(),
            ..RuleSpec::new(name, section.text("when").unwrap_or_default())
        }
    }

    /// A rule that does nothing, and keys that say nothing.
    fn needs_something(&mut self, section: &Section<'a>) {
        if !["set", "toggle", "publish"].iter().any(|key| section.is_meant(key)) {
            self.error(&section.place, "this rule does nothing", "add `set:`, `toggle:` or `publish:`");
        }
        for key in ["then", "manual", "priority"] {
            if section.has(key) && !section.is_meant("set") {
                let hint = "it is about outputs that the rule sets";
                self.error(&section.key(key), format!("{key} without `set:` says nothing"), hint);
            }
        }
    }

    /// The states under `set` or `then`, and where each output is named.
    fn states(&mut self, section: &Section<'a>, key: &str, outputs: &Outputs) -> Vec<((Name, Action), Span)> {
        let mut all: Vec<((Name, Action), Span)> = Vec::new();
        for node in section.nodes(key) {
            let entries = self.entries(Some(node), key).unwrap_or_default();
            if entries.is_empty() && matches!(node.value, Value::Null | Value::Map(_)) {
                self.error(&section.key(key), format!("{key} names no output"), "write for example { heater: on }");
            }
            for (output, node) in entries {
                let Some((name, kind)) = self.output_named(&output.text, &output.span, outputs) else { continue };
                let is_known = all.iter().any(|((other, _), _)| *other == name);
                if let Some(action) = kind.and_then(|kind| self.state(output, node, kind)).filter(|_| !is_known) {
                    all.push(((name, action), output.span.clone()));
                }
            }
        }
        all
    }

    fn output_named(&mut self, text: &str, span: &Span, outputs: &Outputs) -> Option<(Name, Option<OutputKind>)> {
        let found = outputs.iter().find(|(name, _)| name.as_str() == text).cloned();
        if found.is_none() {
            let known: Vec<_> =
                outputs.iter().filter(|(name, _)| !name.is_stand_in()).map(|(name, _)| name.as_str()).collect();
            let hint = did_you_mean(text, &known, || match known[..] {
                [] => "there is none under actuators:".to_owned(),
                _ => format!("there is {}", known.join(", ")),
            });
            self.error(span, format!("no output is called {}", quoted(text)), hint);
        }
        found
    }

    fn state(&mut self, output: &Key, node: &Node, kind: OutputKind) -> Option<Action> {
        let span = if matches!(node.value, Value::Map(_) | Value::List(_)) { &output.span } else { &node.span };
        let takes = format!("it takes {}", kind.takes().replace(", toggle", "").replace(", calibrate", ""));
        let Some(value) = written(node) else {
            self.error(span, format!("{} cannot be set to this", output.text), takes);
            return None;
        };
        match kind.accept(&value) {
            Ok(Action::Toggle) => self.error(span, "toggle is no state", "a rule that toggles has `toggle:`"),
            Ok(action) => return Some(action),
            Err(refusal) => {
                self.error(span, format!("{} cannot be set to this: {}", output.text, refusal.words), takes);
            }
        }
        None
    }

    fn toggled(&mut self, section: &Section<'a>, outputs: &Outputs) -> Vec<(Name, Span)> {
        let mut all: Vec<(Name, Span)> = Vec::new();
        let is_good = matches!(section.get("toggle"), Some(Setting::List(_)));
        let items = section.nodes("toggle").into_iter().filter(|_| is_good).flat_map(|node| match &node.value {
            Value::List(items) => items.iter().collect(),
            _ => vec![node],
        });
        for item in items {
            let Some((name, kind)) = self.output_named(item.scalar_text().unwrap_or_default(), &item.span, outputs)
            else {
                continue;
            };
            if kind.is_some_and(|kind| kind != OutputKind::Switch) {
                self.error(&item.span, format!("{name} cannot be toggled"), "only what is on or off can");
            } else if all.iter().any(|(other, _)| *other == name) {
                self.error(&item.span, format!("{name} stands here twice"), "toggled twice it would stay as it is");
            } else {
                all.push((name, item.span.clone()));
            }
        }
        all
    }

    fn publication(&mut self, section: &Section<'a>) -> Option<Publication> {
        section.node("publish")?;
        let publish = self.sub(section, "publish", raw::PUBLICATION);
        let (topic, payload) = (publish.text("topic")?, publish.text("payload")?);
        if let Err(words) = topic::check_base(topic) {
            self.error(&publish.span("topic"), words.replace("base topic", "topic"), "such as events/alone");
        } else if let Some(level) = topic.split('/').next().filter(|level| topic::LEVELS.contains(level)) {
            let what = format!("what is below {level}/ has a meaning of its own");
            self.error(&publish.span("topic"), what, "such as events/alone");
        }
        Some(Publication { topic: topic.to_owned(), payload: payload.to_owned() })
    }

    /// Two rules with one output: one must come first.
    fn shared_outputs(
        &mut self,
        spec: &RuleSpec,
        section: &Section<'a>,
        owners: &mut BTreeMap<(Name, i64), (Name, Span)>,
    ) {
        for (output, _) in &spec.set {
            let key = (output.clone(), spec.priority);
            if let Some((other, place)) = owners.get(&key) {
                let line = self.source.line_seen_from(place.start, section.place.start);
                let what =
                    format!("{} and {other}, in {line}, both set {output} and have the same priority", spec.name);
                self.error(&section.key("set"), what, "give one of them a greater `priority:`; it has the output then");
            } else {
                owners.insert(key, (spec.name.clone(), section.place.clone()));
            }
        }
    }

    /// Whether the formulas are good, and whether the rule goes round in a circle alone.
    fn formulas_of(&mut self, spec: &RuleSpec, section: &Section<'a>, devices: &Devices) -> (bool, bool) {
        if section.text("when").is_none() {
            return (false, false);
        }
        for (which, source) in [(Which::When, Some(&spec.when)), (Which::Until, spec.until.as_ref())] {
            let Some(source) = source else { continue };
            let place = section.span(if which == Which::When { "when" } else { "until" });
            let compiled = language::compile(source, devices)
                .and_then(|program| program.require(&language::Kind::Flag).map_err(|problem| vec![problem]));
            for problem in compiled.err().unwrap_or_default() {
                let span = self.within(&place, source, problem.span);
                self.error(&span, problem.what, problem.hint);
            }
        }
        let is_wrong = std::cell::Cell::new(false);
        let describe = |name: &language::Name| {
            is_wrong.set(is_wrong.get() || devices.is_wrong(name));
            signal_kind(devices, name)
        };
        let Ok(table) = Table::compile(vec![spec.clone()], describe) else { return (false, false) };
        if is_wrong.get() {
            return (false, false);
        }
        self.moments(spec, section, &table);
        let circles = table.circles(|_, action| value_after(action));
        for (_, output) in &circles {
            let what = format!("this rule ends at once by what it does to {output}, and begins again");
            let hint = "leave that output out, or add an `until:` that does not follow from it";
            self.error(&section.span("when"), what, hint);
        }
        (true, !circles.is_empty())
    }

    /// A click begins and ends at once. The table has this rule alone.
    fn moments(&mut self, spec: &RuleSpec, section: &Section<'a>, table: &Table) {
        if table.ends_by_moment(0) && !spec.until_for.is_zero() {
            let hint = "a click is over at once, so this rule would never end by one; leave `until_for` out";
            self.error(&section.key("until_for"), "`until` waits for something that has no duration", hint);
        }
        if !table.is_moment(0) {
            return;
        }
        if !spec.when_for.is_zero() {
            let hint = "a click is over at once; `until_for` says how long the rule lasts";
            self.error(&section.key("for"), "`when` waits for something that has no duration", hint);
        }
        let is_endless = spec.until.is_none() && spec.until_for.is_zero();
        let is_misspelt = section.is_misspelt("until") || section.is_misspelt("until_for");
        if !spec.set.is_empty() && is_endless && !is_misspelt {
            let what = "this rule ends as soon as it has begun, and lets go of its outputs";
            self.error(&section.key("set"), what, "add `until_for:` or `until:`, or use `toggle:`");
        }
    }
}
