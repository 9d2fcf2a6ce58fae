//! Sums, products and comparisons.

use super::{Checked, Checker, Names};
use crate::kind::Kind;
use crate::problem::{Span, did_you_mean, shorten};
use crate::program::Node;
use crate::syntax::{Additive, Expr, ExprKind, Multiplicative, Name};
use crate::value::{Comparison, TimeOfDay, Value};

impl<N: Names + ?Sized> Checker<'_, N> {
    pub(super) fn sum(&mut self, first: &Expr, rest: &[(Additive, Expr)]) -> Checked {
        let mut span = first.span;
        let (node, mut unit) = self.number(first, &quoted_sign(rest.first().map(|(sign, _)| sign.as_str())));
        let mut terms = Vec::with_capacity(rest.len());
        for (sign, expr) in rest {
            let (term, other) = self.number(expr, &quoted_sign(Some(sign.as_str())));
            unit = unit.zip(other).and_then(|(unit, other)| {
                let joined = if *sign == Additive::Plus { unit.plus(&other) } else { unit.minus(&other) };
                if joined.is_none() {
                    let verb = if *sign == Additive::Plus { "added" } else { "subtracted" };
                    let what = format!("{unit} and {other} cannot be {verb}");
                    self.mismatch(what, (span, &unit), (expr.span, &other));
                }
                joined
            });
            span = span.to(expr.span);
            terms.push((*sign, term));
        }
        (Node::Sum(Box::new(node), terms), unit.map(Kind::Number))
    }

    pub(super) fn product(&mut self, first: &Expr, rest: &[(Multiplicative, Expr)]) -> Checked {
        let (node, mut unit) = self.number(first, &quoted_sign(rest.first().map(|(sign, _)| sign.as_str())));
        let mut factors = Vec::with_capacity(rest.len());
        for (sign, expr) in rest {
            let (factor, other) = self.number(expr, &quoted_sign(Some(sign.as_str())));
            unit = unit.zip(other).map(|(unit, other)| {
                if *sign == Multiplicative::Times { unit.times(&other) } else { unit.over(&other) }
            });
            if *sign == Multiplicative::Over && factor.constant() == Some(Value::Number(0.0)) {
                self.report(expr.span, "this divides by 0", "");
                unit = None;
            }
            factors.push((*sign, factor));
        }
        (Node::Product(Box::new(node), factors), unit.map(Kind::Number))
    }

    pub(super) fn comparison(&mut self, span: Span, how: Comparison, left: &Expr, right: &Expr) -> Checked {
        let (mut left_node, mut left_kind) = self.part(left);
        let (mut right_node, mut right_kind) = self.part(right);
        if left_kind == Some(Kind::Time) {
            self.take_as_time(right, &mut right_node, &mut right_kind);
        } else if right_kind == Some(Kind::Time) {
            self.take_as_time(left, &mut left_node, &mut left_kind);
        }
        let is_good = match (&left_kind, &right_kind) {
            (Some(left_kind), Some(right_kind)) => self.can_compare(span, how, (left, left_kind), (right, right_kind)),
            (Some(Kind::Text(Some(options))), None) => self.misses_quotes(right, options),
            (None, Some(Kind::Text(Some(options)))) => self.misses_quotes(left, options),
            _ => false,
        };
        (Node::Compare(how, Box::new([left_node, right_node])), is_good.then_some(Kind::Flag))
    }

    /// A text beside a time of day is one.
    fn take_as_time(&mut self, expr: &Expr, node: &mut Node, kind: &mut Option<Kind>) {
        let ExprKind::Text(text) = &expr.kind else { return };
        match TimeOfDay::parse(text) {
            Some(time) => (*node, *kind) = (Node::Time(time), Some(Kind::Time)),
            None => {
                let what = format!("{} is not a time of day", self.quote(expr.span));
                self.report(expr.span, what, "\"00:00\" to \"23:59\", each with two digits");
                *kind = None;
            }
        }
    }

    fn can_compare(&mut self, span: Span, how: Comparison, left: (&Expr, &Kind), right: (&Expr, &Kind)) -> bool {
        match (left.1, right.1) {
            (Kind::Number(unit), Kind::Number(other)) => {
                let goes = unit.common(other).is_some();
                if !goes {
                    let what = format!("{unit} and {other} cannot be compared");
                    self.mismatch(what, (left.0.span, unit), (right.0.span, other));
                }
                goes
            }
            (Kind::Time, Kind::Time) => true,
            (Kind::Flag, Kind::Flag) | (Kind::Text(_), Kind::Text(_)) if !how.is_equality() => {
                let what = format!("`{}` compares numbers and times, and this is {}", how.as_str(), left.1);
                self.report(span, what, "only `==` and `!=` are possible");
                false
            }
            (Kind::Flag, Kind::Flag) => true,
            (Kind::Text(some), Kind::Text(others)) => {
                self.can_be_equal(some.as_deref(), right.0, others.as_deref())
                    && self.can_be_equal(others.as_deref(), left.0, some.as_deref())
            }
            _ => {
                let what = format!("{} cannot be compared with {}", left.1, right.1);
                self.report(span, what, kinds_hint(left, right));
                false
            }
        }
    }

    /// Whether a written text is one that the other side can be.
    fn can_be_equal(&mut self, options: Option<&[String]>, expr: &Expr, written: Option<&[String]>) -> bool {
        let (ExprKind::Text(_), Some(options), Some([written])) = (&expr.kind, options, written) else { return true };
        if options.contains(written) {
            return true;
        }
        let list = || {
            let quoted: Vec<_> = options.iter().take(8).map(|option| format!("\"{option}\"")).collect();
            format!("it is one of {}", quoted.join(", "))
        };
        let hint = did_you_mean(written, options.iter().map(String::as_str), list);
        self.report(expr.span, format!("the other side is never \"{}\"", shorten(written)), hint);
        false
    }

    /// Corrects what was said of an unknown name that is one of the texts that the other side can be.
    fn misses_quotes(&mut self, expr: &Expr, options: &[String]) -> bool {
        if let ExprKind::Name(Name::Variable(word)) = &expr.kind
            && options.contains(word)
            && let Some(problem) = self.problems.iter_mut().find(|problem| problem.span == expr.span)
        {
            problem.hint = format!("a text stands in quotes: \"{word}\"");
        }
        false
    }
}

fn quoted_sign(sign: Option<&str>) -> String {
    format!("`{}`", sign.unwrap_or_default())
}

fn kinds_hint((left, left_kind): (&Expr, &Kind), (right, right_kind): (&Expr, &Kind)) -> String {
    let text = [left, right].into_iter().find_map(|expr| match &expr.kind {
        ExprKind::Text(text) => Some(text.trim()),
        _ => None,
    });
    let has = |wanted: fn(&Kind) -> bool| wanted(left_kind) || wanted(right_kind);
    match text {
        Some(text) if has(|kind| matches!(kind, Kind::Number(_))) && text.parse::<f64>().is_ok() => {
            format!("a number has no quotes: {}", shorten(text))
        }
        _ if has(|kind| *kind == Kind::Flag) => "true or false needs no comparison: write `x`, or `not x`".to_owned(),
        _ if has(|kind| *kind == Kind::Time) => "a time of day is compared with a text as \"22:00\"".to_owned(),
        _ => String::new(),
    }
}
