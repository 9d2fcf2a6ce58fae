//! The constants in formulas: around them, conditions change.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use fieldgate_formula::{self as language, Expr, ExprKind, TimeOfDay, Value};

use crate::table::Table;

/// What is written down in the formulas.
#[derive(Default)]
pub(super) struct Written {
    numbers: Vec<f64>,
    pub(super) texts: BTreeSet<String>,
}

impl Written {
    pub(super) fn of(table: &Table) -> Self {
        let mut written = Self::default();
        for source in table.rules.iter().flat_map(|rule| rule.spec.until.iter().chain([&rule.spec.when])) {
            language::parse(source).iter().for_each(|formula| written.read(formula));
        }
        written.numbers.sort_by(f64::total_cmp);
        written.numbers.dedup();
        written
    }

    fn read(&mut self, part: &Expr) {
        match &part.kind {
            ExprKind::Number(number) => self.numbers.push(*number),
            ExprKind::Negate(inner) => {
                if let ExprKind::Number(number) = inner.kind {
                    self.numbers.push(-number);
                }
                self.read(inner);
            }
            ExprKind::Text(text) => drop(self.texts.insert(text.clone())),
            ExprKind::Not(inner) => self.read(inner),
            ExprKind::Sum { first, rest } => {
                self.read_all([&**first].into_iter().chain(rest.iter().map(|(_, part)| part)))
            }
            ExprKind::Product { first, rest } => {
                self.read_all([&**first].into_iter().chain(rest.iter().map(|(_, part)| part)));
            }
            ExprKind::Compare { left, right, .. } => self.read_all([&**left, &**right].into_iter()),
            ExprKind::All(parts) | ExprKind::Any(parts) | ExprKind::Call { arguments: parts, .. } => {
                self.read_all(parts.iter());
            }
            ExprKind::Flag(_) | ExprKind::Builtin(_) | ExprKind::Name(_) | ExprKind::Invalid => {}
        }
    }

    fn read_all<'e>(&mut self, parts: impl Iterator<Item = &'e Expr>) {
        parts.for_each(|part| self.read(part));
    }

    /// The numbers, one between each two, and one beyond either end; of these what lies in `range`, and its ends.
    pub(super) fn around(&self, range: &RangeInclusive<f64>) -> Vec<Value<'static>> {
        let mut all = match (self.numbers.first(), self.numbers.last()) {
            (Some(first), Some(last)) => vec![first - 1.0, last + 1.0],
            _ => vec![-1.0, 0.0, 1.0],
        };
        all.extend(&self.numbers);
        all.extend(self.numbers.windows(2).map(|pair| f64::midpoint(pair[0], pair[1])));
        all.retain(|number| range.contains(number));
        all.extend([*range.start(), *range.end()].iter().filter(|end| end.is_finite()));
        all.into_iter().map(Value::number).collect()
    }

    /// The times of day, and midnight.
    pub(super) fn times(&self) -> Vec<TimeOfDay> {
        TimeOfDay::new(0, 0).into_iter().chain(self.texts.iter().filter_map(|text| TimeOfDay::parse(text))).collect()
    }
}
