//! All rules, their formulas compiled, and which of them an event concerns.

use std::fmt;

use fieldgate_formula::{self as language, Input, Kind, NameCollector, Problem, Program};
use fieldgate_model::Name;

use crate::rule::RuleSpec;

/// What a signal is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignalKind {
    /// It has a value at any time, such as a temperature, even if that is unknown.
    Continuous(Kind),
    /// It has a value only at the moment at which something happens, such as `single` for a click.
    Moment,
}

impl SignalKind {
    fn kind(&self) -> Kind {
        match self {
            Self::Continuous(kind) => kind.clone(),
            Self::Moment => Kind::Text(None),
        }
    }
}

/// A formula of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The formula under `when`.
    When,
    /// The formula under `until`.
    Until,
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::When { "when" } else { "until" })
    }
}

/// What is wrong with a formula of a rule. Report it to the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleProblem {
    /// The rule's name.
    pub rule: Name,
    /// Which of its formulas.
    pub which: Which,
    /// The mistake, its place in that formula, and what to write instead.
    pub problem: Problem,
}

/// A signal that some rule names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signal {
    pub(crate) name: String,
    pub(crate) is_moment: bool,
    pub(crate) kind: Kind,
    /// The rules that name it.
    pub(crate) rules: Vec<usize>,
}

/// A rule that can be evaluated.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) spec: RuleSpec,
    pub(crate) when: Program,
    pub(crate) until: Option<Program>,
    /// Whether `when` names what has just happened.
    pub(crate) is_moment: bool,
}

impl Rule {
    pub(crate) fn inputs(&self) -> impl Iterator<Item = Input> {
        self.when.inputs().iter().chain(self.until.iter().flat_map(|until| until.inputs())).copied()
    }

    /// Whether a reload may let it go on.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.spec == other.spec && self.is_moment == other.is_moment
    }
}

/// All rules.
#[derive(Clone, Debug, Default)]
pub struct Table {
    pub(crate) rules: Vec<Rule>,
    pub(crate) signals: Vec<Signal>,
    pub(crate) outputs: Vec<Name>,
    /// The rules that name the time of day or the day of the week.
    pub(crate) of_time: Vec<usize>,
    /// The rules that name `link.up`.
    pub(crate) of_link: Vec<usize>,
}

impl Table {
    /// Compiles the formulas; `describe` says what a name such as `air.temperature` or `target` is, if there is such a thing.
    ///
    /// # Errors
    /// Everything that is wrong with the formulas.
    pub fn compile(
        specs: Vec<RuleSpec>,
        describe: impl Fn(&language::Name) -> Option<SignalKind>,
    ) -> Result<Self, Vec<RuleProblem>> {
        let names = NameCollector::new(|name: &language::Name| {
            let kind = describe(name)?;
            let is_moment = kind == SignalKind::Moment;
            let kind = kind.kind();
            Some((Signal { name: name.to_string(), is_moment, kind: kind.clone(), rules: Vec::new() }, kind))
        });
        let (mut compiled, mut problems) = (Vec::new(), Vec::new());
        for spec in specs {
            let mut compile = |which, source: &str| {
                let compiled = language::compile(source, &names).and_then(|program| {
                    program.require(&Kind::Flag).map(|()| program).map_err(|problem| vec![problem])
                });
                let wrong = |problem| RuleProblem { rule: spec.name.clone(), which, problem };
                compiled.map_err(|found| problems.extend(found.into_iter().map(wrong))).ok()
            };
            let when = compile(Which::When, &spec.when);
            let until = spec.until.as_deref().map(|source| compile(Which::Until, source));
            let (Some(when), Some(until)) = (when, until.map_or(Some(None), |until| until.map(Some))) else { continue };
            compiled.push((spec, when, until));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut table = Self { signals: names.into_signals(), ..Self::default() };
        for (spec, when, until) in compiled {
            let is_moment = table.names_moment(&when);
            table.add(Rule { spec, when, until, is_moment });
        }
        table.index();
        Ok(table)
    }

    fn add(&mut self, rule: Rule) {
        for output in rule.spec.set.iter().map(|(output, _)| output).chain(&rule.spec.toggle) {
            if !self.outputs.contains(output) {
                self.outputs.push(output.clone());
            }
        }
        self.rules.push(rule);
    }

    pub(crate) fn index(&mut self) {
        let add = |list: &mut Vec<usize>, rule| {
            if list.last() != Some(&rule) {
                list.push(rule);
            }
        };
        for (index, rule) in self.rules.iter().enumerate() {
            for input in rule.inputs() {
                match input {
                    Input::Signal(signal) => add(&mut self.signals[signal].rules, index),
                    Input::LinkUp => add(&mut self.of_link, index),
                    Input::Time | Input::Weekday => add(&mut self.of_time, index),
                }
            }
        }
    }

    /// Everything that the formulas of these rules name, whether there is such a thing or not.
    pub fn names_of(specs: &[RuleSpec]) -> Vec<String> {
        let any = |name: &language::Name| Some((name.to_string(), Kind::Number(language::Unit::Open)));
        let names = NameCollector::new(any);
        for source in specs.iter().flat_map(|spec| spec.until.iter().chain([&spec.when])) {
            names.collect(source);
        }
        names.into_signals()
    }

    /// The names of signals, each at its index.
    pub fn signals(&self) -> impl ExactSizeIterator<Item = &str> {
        self.signals.iter().map(|signal| signal.name.as_str())
    }

    /// The outputs that some rule sets or toggles, each at its index.
    pub fn outputs(&self) -> &[Name] {
        &self.outputs
    }

    /// The index of an output that some rule sets or toggles.
    pub fn output(&self, name: &Name) -> Option<usize> {
        self.outputs.iter().position(|output| output == name)
    }

    /// The rules as configured, each at its index.
    pub fn rules(&self) -> impl ExactSizeIterator<Item = &RuleSpec> {
        self.rules.iter().map(|rule| &rule.spec)
    }

    /// The index of a rule.
    pub fn rule(&self, name: &Name) -> Option<usize> {
        self.rules.iter().position(|rule| rule.spec.name == *name)
    }

    /// Whether the rule of this index waits for something that has no duration, such as a click.
    pub fn is_moment(&self, rule: usize) -> bool {
        self.rules[rule].is_moment
    }

    /// Whether what ends the rule has no duration, such as a click.
    pub fn ends_by_moment(&self, rule: usize) -> bool {
        self.rules[rule].until.as_ref().is_some_and(|until| self.names_moment(until))
    }

    fn names_moment(&self, formula: &Program) -> bool {
        let is_moment = |input: &Input| matches!(input, Input::Signal(index) if self.signals[*index].is_moment);
        formula.inputs().iter().any(is_moment)
    }

    /// Whether any rule names the time of day or the day of the week.
    pub fn names_time(&self) -> bool {
        !self.of_time.is_empty()
    }

    pub(crate) fn position(&self, output: &Name) -> usize {
        self.output(output).expect("the table has every output of its rules")
    }
}
