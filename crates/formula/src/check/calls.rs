//! Calls of functions.

use super::{Checked, Checker, NOTHING, Names, describe};
use crate::function::{FUNCTIONS, Function, FunctionSpec, Typing};
use crate::kind::{Kind, Unit};
use crate::problem::{Span, did_you_mean, shorten};
use crate::program::Node;
use crate::syntax::Expr;
use crate::value::Value;

impl<N: Names + ?Sized> Checker<'_, N> {
    pub(super) fn call(&mut self, span: Span, name: &str, name_span: Span, arguments: &[Expr]) -> Checked {
        let Some(spec) = FunctionSpec::named(name) else {
            let all = || {
                let names: Vec<_> = FUNCTIONS.iter().map(|spec| spec.name).collect();
                format!("there is {}", names.join(", "))
            };
            let hint = did_you_mean(name, FUNCTIONS.iter().map(|spec| spec.name), all);
            self.report(name_span, format!("there is no function `{}`", shorten(name)), hint);
            return self.only_check(arguments);
        };
        if !spec.takes(arguments.len()) {
            let what = format!("`{name}` takes {}, not {}", spec.count(), arguments.len());
            self.report(span, what, format!("write `{}`", spec.usage()));
            return self.only_check(arguments);
        }
        match (spec.typing, arguments) {
            (Typing::Choice, [condition, yes, no]) => self.choice(span, condition, yes, no),
            (Typing::Choice, _) => (NOTHING, None),
            (Typing::Same, _) => self.same(spec, arguments),
            (Typing::Bare, _) => self.bare(spec, arguments),
            (Typing::Units(wanted, result), _) => self.united(spec, arguments, wanted, result),
        }
    }

    /// Looks for problems in the arguments of a call that has no meaning.
    fn only_check(&mut self, arguments: &[Expr]) -> Checked {
        for argument in arguments {
            self.part(argument);
        }
        (NOTHING, None)
    }

    fn choice(&mut self, span: Span, condition: &Expr, yes: &Expr, no: &Expr) -> Checked {
        let (condition, is_flag) = self.flag(condition, "the condition of `if`");
        let ((yes_node, yes_kind), (no_node, no_kind)) = (self.part(yes), self.part(no));
        let kind = yes_kind.zip(no_kind).and_then(|kinds| match kinds {
            (Kind::Number(unit), Kind::Number(other)) => {
                let common = unit.common(&other);
                if common.is_none() {
                    let what = format!("`if` gives one unit, not {unit} or {other}");
                    self.mismatch(what, (yes.span, &unit), (no.span, &other));
                }
                common.map(Kind::Number)
            }
            (Kind::Text(some), Kind::Text(others)) => Some(Kind::Text(some.zip(others).map(union))),
            (some, other) if some == other => Some(some),
            (some, other) => {
                self.report(span, format!("`if` gives one kind of value, not {some} or {other}"), "");
                None
            }
        });
        (Node::If(Box::new([condition, yes_node, no_node])), kind.filter(|_| is_flag))
    }

    fn numbers(&mut self, spec: &FunctionSpec, arguments: &[Expr]) -> (Vec<Node>, Vec<Option<Unit>>) {
        let whose = format!("`{}`", spec.name);
        arguments.iter().map(|argument| self.number(argument, &whose)).unzip()
    }

    fn same(&mut self, spec: &FunctionSpec, arguments: &[Expr]) -> Checked {
        let (nodes, units) = self.numbers(spec, arguments);
        let mut so_far = Some(Unit::Bare);
        // What gave the result its unit, for messages.
        let mut origin = arguments.first().map(|argument| argument.span);
        for (argument, unit) in arguments.iter().zip(units) {
            so_far = so_far.zip(unit).zip(origin).and_then(|((common, unit), first)| {
                let joined = common.common(&unit);
                if joined.is_none() {
                    let what = format!("`{}` needs one unit, and these are {common} and {unit}", spec.name);
                    self.mismatch(what, (first, &common), (argument.span, &unit));
                } else if joined.as_ref() != Some(&common) {
                    origin = Some(argument.span);
                }
                joined
            });
        }
        let is_good = spec.function != Function::Clamp || self.can_clamp(arguments, &nodes);
        (Node::Call(spec.function, nodes), so_far.filter(|_| is_good).map(Kind::Number))
    }

    fn can_clamp(&mut self, arguments: &[Expr], nodes: &[Node]) -> bool {
        let ([_, low, high], [_, low_node, high_node]) = (arguments, nodes) else { return false };
        let is_wrong = match (low_node.constant(), high_node.constant()) {
            (Some(Value::Number(low)), Some(Value::Number(high))) => low > high,
            _ => false,
        };
        if is_wrong {
            self.report(low.span.to(high.span), "the lower end is above the upper one", "");
        }
        !is_wrong
    }

    fn bare(&mut self, spec: &FunctionSpec, arguments: &[Expr]) -> Checked {
        let (nodes, units) = self.numbers(spec, arguments);
        let unit = units
            .into_iter()
            .collect::<Option<Vec<_>>>()
            .map(|units| if units.iter().all(|unit| *unit == Unit::Bare) { Unit::Bare } else { Unit::Open });
        (Node::Call(spec.function, nodes), unit.map(Kind::Number))
    }

    fn united(&mut self, spec: &FunctionSpec, arguments: &[Expr], wanted: &[&str], result: &str) -> Checked {
        let (nodes, units) = self.numbers(spec, arguments);
        let mut is_good = true;
        for ((argument, unit), wanted) in arguments.iter().zip(units).zip(wanted) {
            is_good &= unit.is_some_and(|unit| self.is_in(spec, argument, &unit, &Unit::of(wanted)));
        }
        (Node::Call(spec.function, nodes), is_good.then(|| Kind::number(result)))
    }

    fn is_in(&mut self, spec: &FunctionSpec, argument: &Expr, unit: &Unit, wanted: &Unit) -> bool {
        let hint = match unit {
            Unit::Bare | Unit::Open => return true,
            unit if unit == wanted => return true,
            Unit::Difference(_) => {
                "if what is subtracted is a difference itself, give it the unit K, or none".to_owned()
            }
            unit if unit.is_convertible_to(wanted) => format!("the filter `to: {wanted}` converts it"),
            _ => format!("it is `{}`", spec.usage()),
        };
        let what =
            format!("`{}` needs {wanted} here, and {} is {}", spec.name, self.quote(argument.span), describe(unit));
        self.report(argument.span, what, hint);
        false
    }
}

fn union((mut some, others): (Vec<String>, Vec<String>)) -> Vec<String> {
    for other in others {
        if !some.contains(&other) {
            some.push(other);
        }
    }
    some
}
