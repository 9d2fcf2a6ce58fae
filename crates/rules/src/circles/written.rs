//! The constants in formulas: around them, conditions change.

use std::collections::BTreeSet;

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

    /// The numbers, one between each two, and one beyond either end.
    pub(super) fn around(&self) -> Vec<Value<'static>> {
        let (Some(first), Some(last)) = (self.numbers.first(), self.numbers.last()) else {
            return [-1.0, 0.0, 1.0].map(Value::number).to_vec();
        };
        let between = self.numbers.windows(2).map(|pair| f64::midpoint(pair[0], pair[1]));
        let all = [first - 1.0].into_iter().chain(self.numbers.iter().copied()).chain(between).chain([last + 1.0]);
        all.map(Value::number).collect()
    }

    /// The times of day, and midnight.
    pub(super) fn times(&self) -> Vec<TimeOfDay> {
        TimeOfDay::new(0, 0).into_iter().chain(self.texts.iter().filter_map(|text| TimeOfDay::parse(text))).collect()
    }
}
