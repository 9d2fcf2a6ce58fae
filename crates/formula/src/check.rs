//! What the parts of a formula mean: names, kinds and units; and the program of it.
//!
//! A part with a problem has no kind, and nothing is said of what it is a part of; so each mistake is reported once.

mod calls;
mod operators;
#[cfg(test)]
mod tests;

use crate::function::FunctionSpec;
use crate::kind::{Kind, Unit};
use crate::parse::parse_what_can_be;
use crate::problem::{MAX_PROBLEMS, Problem, Span, did_you_mean, in_order, shorten};
use crate::program::{Input, Node, Program};
use crate::syntax::{Builtin, Expr, ExprKind, Name};
use crate::token::spaces_around_minus;
use crate::value::{Value, WEEKDAYS};

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal {
    /// By what the program asks for its value: [`Input::Signal`].
    pub index: usize,
    /// What its values are.
    pub kind: Kind,
}

/// Who knows what the names in a formula stand for.
pub trait Names {
    /// What this name stands for; `None` if there is no such thing.
    fn find(&self, name: &Name) -> Option<Signal>;

    /// All names, as `air.temperature` or `target`; asked for suggestions when one is unknown.
    fn known(&self) -> Vec<String>;
}

/// Names by their places in the list.
impl Names for [(&str, Kind)] {
    fn find(&self, name: &Name) -> Option<Signal> {
        let name = name.to_string();
        let index = self.iter().position(|(known, _)| *known == name)?;
        Some(Signal { index, kind: self[index].1.clone() })
    }

    fn known(&self) -> Vec<String> {
        self.iter().map(|(name, _)| (*name).to_owned()).collect()
    }
}

/// Reads and checks a formula.
///
/// # Errors
///
/// Everything that is wrong with it, in the order of the formula, at most [`MAX_PROBLEMS`](crate::MAX_PROBLEMS).
pub fn compile(source: &str, names: &(impl Names + ?Sized)) -> Result<Program, Vec<Problem>> {
    let (expr, problems) = parse_what_can_be(source);
    let mut checker = Checker { source, names, problems, inputs: Vec::new() };
    let (root, kind) = checker.part(&expr);
    match kind {
        Some(kind) if checker.problems.is_empty() => {
            Ok(Program { root, kind, inputs: checker.inputs, span: expr.span })
        }
        _ => Err(in_order(checker.problems)),
    }
}

/// A part's program, and its kind unless there is a problem with it.
type Checked = (Node, Option<Kind>);

/// Stands for the program of a part with a problem, which will not run.
const NOTHING: Node = Node::Flag(false);

struct Checker<'c, N: ?Sized> {
    source: &'c str,
    names: &'c N,
    problems: Vec<Problem>,
    inputs: Vec<Input>,
}

impl<N: Names + ?Sized> Checker<'_, N> {
    fn report(&mut self, span: Span, what: impl Into<String>, hint: impl Into<String>) {
        self.problems.push(Problem::new(span, what, hint));
    }

    /// How messages quote a part.
    fn quote(&self, span: Span) -> String {
        format!("`{}`", shorten(span.text(self.source)))
    }

    fn part(&mut self, expr: &Expr) -> Checked {
        let (node, kind) = match &expr.kind {
            ExprKind::Number(number) => (Node::Number(*number), Some(Kind::Number(Unit::Bare))),
            ExprKind::Text(text) => (Node::Text(text.as_str().into()), Some(Kind::options([text.as_str()]))),
            ExprKind::Flag(flag) => (Node::Flag(*flag), Some(Kind::Flag)),
            ExprKind::Builtin(builtin) => self.input((*builtin).into(), kind_of(*builtin)),
            ExprKind::Name(name) => self.name(name, expr.span),
            ExprKind::Negate(inner) => {
                let (node, unit) = self.number(inner, "`-`");
                (Node::Negate(Box::new(node)), unit.map(Kind::Number))
            }
            ExprKind::Not(inner) => {
                let (node, is_flag) = self.flag(inner, "`not`");
                (Node::Not(Box::new(node)), is_flag.then_some(Kind::Flag))
            }
            ExprKind::Sum { first, rest } => self.sum(first, rest),
            ExprKind::Product { first, rest } => self.product(first, rest),
            ExprKind::Compare { how, left, right } => self.comparison(expr.span, *how, left, right),
            ExprKind::All(parts) => self.flags(parts, "`and`", Node::All),
            ExprKind::Any(parts) => self.flags(parts, "`or`", Node::Any),
            ExprKind::Call { function, name_span, arguments } => self.call(expr.span, function, *name_span, arguments),
            ExprKind::Invalid => (NOTHING, None),
        };
        if kind.is_some() && node.constant() == Some(Value::Unknown) {
            self.report(expr.span, format!("{} has no value", self.quote(expr.span)), "");
            return (node, None);
        }
        (node, kind)
    }

    fn input(&mut self, input: Input, kind: Kind) -> Checked {
        if !self.inputs.contains(&input) {
            self.inputs.push(input);
        }
        (Node::Input(input), Some(kind))
    }

    fn name(&mut self, name: &Name, span: Span) -> Checked {
        if let Some(Signal { index, kind }) = self.names.find(name) {
            return self.input(Input::Signal(index), kind);
        }
        let written = name.to_string();
        if let Some(spec) = FunctionSpec::named(&written) {
            self.report(span, format!("`{written}` is a function"), format!("write `{}`", spec.usage()));
        } else {
            let hint = self.suggestion(&written);
            self.report(span, format!("there is no `{}`", shorten(&written)), hint);
        }
        (NOTHING, None)
    }

    /// Whether no further problem will be shown, so that none needs a hint.
    fn is_full(&self) -> bool {
        self.problems.len() >= MAX_PROBLEMS
    }

    /// What may have been meant by a name that nobody knows.
    fn suggestion(&self, written: &str) -> String {
        if self.is_full() {
            return String::new();
        }
        if Builtin::named(written).is_some() {
            return "without backticks it is the gateway's own".to_owned();
        }
        let known = self.names.known();
        let words = known.iter().map(String::as_str).chain(Builtin::ALL.map(Builtin::as_str));
        did_you_mean(written, words, || {
            let owner = written.split('.').next().unwrap_or(written);
            let members: Vec<_> =
                known.iter().filter(|name| name.split_once('.').is_some_and(|(of, _)| of == owner)).collect();
            if !members.is_empty() {
                let members: Vec<_> = members.iter().take(8).map(|name| format!("`{name}`")).collect();
                return format!("there is {}", members.join(", "));
            }
            if written.contains('-') { spaces_around_minus(written) } else { String::new() }
        })
    }

    /// A part that must be a number: its unit, unless there is a problem with it.
    fn number(&mut self, expr: &Expr, whose: &str) -> (Node, Option<Unit>) {
        let (node, kind) = self.part(expr);
        match kind {
            Some(Kind::Number(unit)) => (node, Some(unit)),
            Some(other) => {
                self.report(expr.span, self.wants(whose, "a number", expr, &other), number_hint(expr, &other));
                (node, None)
            }
            None => (node, None),
        }
    }

    /// A part that must be true or false, and whether it is.
    fn flag(&mut self, expr: &Expr, whose: &str) -> (Node, bool) {
        let (node, kind) = self.part(expr);
        if let Some(other) = kind.as_ref().filter(|kind| **kind != Kind::Flag) {
            let hint = format!("compare it, as in `{} == …`", shorten(expr.span.text(self.source)));
            self.report(expr.span, self.wants(whose, "true or false", expr, other), hint);
        }
        (node, kind == Some(Kind::Flag))
    }

    fn flags(&mut self, parts: &[Expr], whose: &str, join: fn(Vec<Node>) -> Node) -> Checked {
        let (nodes, are_flags): (Vec<_>, Vec<_>) = parts.iter().map(|part| self.flag(part, whose)).unzip();
        (join(nodes), are_flags.into_iter().all(|is_flag| is_flag).then_some(Kind::Flag))
    }

    fn wants(&self, whose: &str, wanted: &str, expr: &Expr, found: &Kind) -> String {
        format!("{whose} needs {wanted}, and {} is {found}", self.quote(expr.span))
    }

    /// Two parts whose units do not go together.
    fn mismatch(&mut self, what: String, (first, unit): (Span, &Unit), (second, other): (Span, &Unit)) {
        let (first_words, second_words) = (self.quote(first), self.quote(second));
        let hint = if other.is_convertible_to(unit) {
            format!("the filter `to: {unit}` converts {second_words}")
        } else {
            format!("{first_words} is {}, {second_words} is {}", describe(unit), describe(other))
        };
        self.report(first.to(second), what, hint);
    }
}

/// A number in this unit, in words.
fn describe(unit: &Unit) -> String {
    Kind::Number(unit.clone()).to_string()
}

fn kind_of(builtin: Builtin) -> Kind {
    match builtin {
        Builtin::Time => Kind::Time,
        Builtin::Weekday => Kind::options(WEEKDAYS),
        Builtin::LinkUp => Kind::Flag,
    }
}

fn number_hint(expr: &Expr, found: &Kind) -> String {
    match (&expr.kind, found) {
        (ExprKind::Text(text), _) if text.trim().parse::<f64>().is_ok() => {
            format!("a number has no quotes: {}", shorten(text.trim()))
        }
        (_, Kind::Flag) => "`if(…, 1, 0)` makes a number of it".to_owned(),
        _ => String::new(),
    }
}
