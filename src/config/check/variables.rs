//! `variables:`.

use std::sync::Arc;

use crate::config::check::Checker;
use crate::config::check::buses::Named;
use crate::config::check::device::Device;
use crate::config::check::section::Section;
use crate::config::check::words::{THIS, quoted};
use crate::config::raw;
use crate::config::tree::Key;
use crate::worker::{ActuatorSettings, SensorSettings};
use fieldgate_formula::{self as language, Unit, is_reserved};
use fieldgate_model::{Name, Setting, Variable, VariableKind};

/// Characters of an option at most.
const LONGEST_OPTION: usize = 64;

/// A variable as far as it could be read.
pub(super) struct VariableDraft {
    pub(super) name: Name,
    /// What it is in a formula. Of one that is wrong whatever will do.
    pub(super) kind: language::Kind,
    /// `None` when something is wrong with it, which has been reported.
    pub(super) variable: Option<Variable>,
}

impl<'a> Checker<'a> {
    /// The variables, each with a name that formulas can distinguish from all others.
    pub(super) fn variables(
        &mut self,
        top: &Section<'a>,
        sensors: &[Device<SensorSettings>],
        actuators: &[Device<ActuatorSettings>],
    ) -> Vec<VariableDraft> {
        let mut all = Vec::new();
        for Named { name, key, node, is_again } in self.named(top, "variables") {
            let is_free = self.is_free(&name, key, sensors, actuators);
            let section = self.section(&key.span, [node], &key.text, raw::VARIABLE);
            let kind = self.variable_kind(&section);
            self.shown_variable(&name, &section, kind.as_ref());
            let initial = kind.as_ref().and_then(|kind| self.initial(&section, kind));
            let in_formulas = match &kind {
                Some(VariableKind::Number { unit, .. }) => language::Kind::number(unit),
                Some(VariableKind::Options(options)) => language::Kind::options(options.iter().map(|option| &**option)),
                None if section.is_meant("options") => language::Kind::Text(None),
                None => language::Kind::Number(Unit::Open),
            };
            let variable = kind.zip(initial).filter(|_| is_free && section.complete);
            let variable = variable.map(|(kind, initial)| Variable { name: name.clone(), kind, initial });
            all.extend((!is_again).then_some(VariableDraft { name, kind: in_formulas, variable }));
        }
        all
    }

    fn is_free(
        &mut self,
        name: &Name,
        key: &Key,
        sensors: &[Device<SensorSettings>],
        actuators: &[Device<ActuatorSettings>],
    ) -> bool {
        let is_sensor = sensors.iter().any(|device| device.name == *name);
        let is_output = actuators.iter().any(|device| device.name == *name);
        let taken = match () {
            () if is_reserved(name.as_str()) => "a word of formulas",
            () if is_sensor => "the name of a sensor",
            () if is_output => "the name of an output",
            () => return true,
        };
        let hint = "give the variable another name: formulas and rules could not tell the two apart";
        self.error(&key.span, format!("{} is {taken} already", quoted(name.as_str())), hint);
        false
    }

    fn variable_kind(&mut self, section: &Section<'a>) -> Option<VariableKind> {
        let of_number = ["min", "max", "step", "unit"].into_iter().find(|key| section.has(key));
        match (section.has("options"), of_number) {
            (false, None) if ["min", "max", "step", "unit", "options"].iter().any(|key| section.is_meant(key)) => None,
            (false, None) => {
                let hint = "write min: and max: for a number, or options: for words";
                self.error(&section.place, "nothing says what this variable takes", hint);
                None
            }
            (true, Some(key)) => {
                let what = format!("a variable has options or is a number, and {key} belongs to a number");
                self.error(&section.key(key), what, "leave one of them out");
                None
            }
            (true, None) => self.options(section),
            (false, Some(_)) => self.limits(section),
        }
    }

    fn limits(&mut self, section: &Section<'a>) -> Option<VariableKind> {
        for key in ["min", "max"] {
            if !section.is_meant(key) {
                self.error(
                    &section.place,
                    format!("{key} is missing: a number needs both ends"),
                    format!("add {key}:"),
                );
            }
        }
        let number = |key| match section.get(key) {
            Some(Setting::Number(number)) => Some(*number),
            _ => None,
        };
        let (min, max, step) = (number("min")?, number("max")?, number("step"));
        if max <= min {
            self.error(&section.span("max"), format!("max is {max}, and min is {min}"), "max must be more than min");
            return None;
        }
        if let Some(step) = step.filter(|step| *step > max - min) {
            let what = format!("a step of {step} leads from {min} beyond {max}");
            self.error(&section.span("step"), what, "write a smaller one, or leave it out");
            return None;
        }
        let unit = section.text("unit").unwrap_or_default().to_owned();
        (step.is_some() || !section.has("step")).then_some(VariableKind::Number { min, max, step, unit })
    }

    fn options(&mut self, section: &Section<'a>) -> Option<VariableKind> {
        let Some(Setting::List(items)) = section.get("options") else { return None };
        let mut options: Vec<Arc<str>> = Vec::new();
        for item in items {
            let Setting::Text(option) = item else { return None };
            let problem = if option.trim() != option || option.is_empty() {
                Some(format!("{} has nothing in it, or blanks at its ends", quoted(option)))
            } else if option.chars().count() > LONGEST_OPTION {
                Some(format!("an option has at most {LONGEST_OPTION} characters"))
            } else if options.iter().any(|other| other.eq_ignore_ascii_case(option)) {
                Some(format!("{} stands here twice: upper and lower case count as the same", quoted(option)))
            } else {
                None
            };
            if let Some(problem) = problem {
                self.error(&section.key("options"), problem, "");
                return None;
            }
            options.push(option.as_str().into());
        }
        Some(VariableKind::Options(options))
    }

    fn initial(&mut self, section: &Section<'a>, kind: &VariableKind) -> Option<fieldgate_model::VariableValue> {
        let initial = kind.read(section.text("initial")?);
        let is_odd = |option: &Arc<str>| quoted(option) == THIS;
        match (&initial, kind) {
            (Ok(_), _) => {}
            (Err(_), VariableKind::Options(options)) if options.iter().any(is_odd) => {
                self.error(&section.span("initial"), "initial: this is none of the options", "write one of them");
            }
            (Err(refusal), _) => {
                let what = format!("initial: {}", refusal.words);
                self.error(&section.span("initial"), what, format!("write {}", kind.takes()));
            }
        }
        initial.ok()
    }
}
