//! A formula that is a condition, in words.
//!
//! A comparison, a contact, a click, the link and the time of day are statements. `and` and `or` join them; `not` goes into them, which
//! is the same also where something is unknown. What has no words, such as a function, stays as it is written, between backticks.

use std::time::Duration;

use fieldgate_formula::{
    self as language, Additive, Builtin, Comparison, Expr, ExprKind, Kind, Multiplicative, Name, Unit,
};

use crate::table::SignalKind;
use crate::words::span;

const DAYS: [(&str, &str); 7] = [
    ("mon", "Monday"),
    ("tue", "Tuesday"),
    ("wed", "Wednesday"),
    ("thu", "Thursday"),
    ("fri", "Friday"),
    ("sat", "Saturday"),
    ("sun", "Sunday"),
];

/// What can be said of a formula.
#[derive(Clone, Debug)]
pub(super) enum Condition {
    /// `room's temperature` is, or is not, `below 19 °C`.
    Statement { subject: String, is_not: bool, rest: String },
    /// `button gives a single click`.
    Click(String),
    /// All of these.
    All(Vec<Condition>),
    /// One of these at least.
    Any(Vec<Condition>),
    /// A formula without words, and whether it must be true.
    Formula(String, bool),
}

impl Condition {
    /// As it is when it has been so for this time; as it is now for no time.
    pub(super) fn true_for(&self, time: Duration) -> String {
        match self {
            _ if time.is_zero() => self.now(),
            Self::Statement { subject, is_not, rest } => {
                format!("{subject} has{} been {rest} for {}", not(*is_not), span(time))
            }
            _ => format!("it has been so for {} that {}", span(time), self.now()),
        }
    }

    /// Whether it waits for a click.
    pub(super) fn is_moment(&self) -> bool {
        match self {
            Self::Click(_) => true,
            Self::All(parts) | Self::Any(parts) => parts.iter().any(Self::is_moment),
            Self::Statement { .. } | Self::Formula(..) => false,
        }
    }

    fn now(&self) -> String {
        match self {
            Self::Statement { subject, is_not, rest } => format!("{subject} is{} {rest}", not(*is_not)),
            Self::Click(words) => words.clone(),
            Self::Formula(source, is_true) => format!("`{source}` is {is_true}"),
            Self::All(parts) => joined(parts, " and "),
            Self::Any(parts) if parts.iter().any(|part| matches!(part, Self::All(_))) => joined(parts, ", or "),
            Self::Any(parts) => joined(parts, " or "),
        }
    }

    /// How many lists lie within each other.
    fn depth(&self) -> usize {
        match self {
            Self::All(parts) | Self::Any(parts) => 1 + parts.iter().map(Self::depth).max().unwrap_or_default(),
            _ => 0,
        }
    }
}

fn not(is_not: bool) -> &'static str {
    if is_not { " not" } else { "" }
}

fn joined(parts: &[Condition], between: &str) -> String {
    let one = |part: &Condition| match part {
        Condition::Any(_) => format!("either {}", part.now()),
        part => part.now(),
    };
    parts.iter().map(one).collect::<Vec<_>>().join(between)
}

/// Makes words of formulas.
pub(super) struct Words<'d> {
    describe: &'d dyn Fn(&Name) -> Option<SignalKind>,
}

impl language::Names for Words<'_> {
    fn find(&self, name: &Name) -> Option<language::Signal> {
        let kind = match (self.describe)(name)? {
            SignalKind::Continuous(kind) => kind,
            SignalKind::Moment => Kind::Text(None),
        };
        // Nothing is evaluated.
        Some(language::Signal { index: 0, kind })
    }

    fn known(&self) -> Vec<String> {
        Vec::new()
    }
}

impl<'d> Words<'d> {
    pub(super) fn new(describe: &'d dyn Fn(&Name) -> Option<SignalKind>) -> Self {
        Self { describe }
    }

    /// What a formula says. One with mistakes, or with lists in lists in lists, is shown as it is.
    pub(super) fn of(&self, source: &str) -> Condition {
        let parsed = language::parse(source).ok();
        let said = parsed.map(|formula| self.condition(&formula, true)).filter(|said| said.depth() <= 2);
        said.unwrap_or_else(|| Condition::Formula(source.to_owned(), true))
    }

    fn condition(&self, formula: &Expr, is_true: bool) -> Condition {
        match &formula.kind {
            ExprKind::Not(inner) => self.condition(inner, !is_true),
            ExprKind::All(parts) => self.list(parts, is_true, is_true),
            ExprKind::Any(parts) => self.list(parts, !is_true, is_true),
            ExprKind::Compare { how, left, right } => {
                let how = if is_true { *how } else { opposite(*how) };
                self.comparison(how, left, right).unwrap_or_else(|| Condition::Formula(formula.to_string(), is_true))
            }
            ExprKind::Builtin(Builtin::LinkUp) => statement("the broker", !is_true, "connected"),
            ExprKind::Name(Name::Variable(name)) => statement(name, !is_true, "true"),
            ExprKind::Name(Name::Member { owner, member }) => statement(owner, !is_true, &member.replace('_', " ")),
            _ => Condition::Formula(formula.to_string(), is_true),
        }
    }

    /// All of these or one of these, each so or not so.
    fn list(&self, parts: &[Expr], is_all: bool, is_true: bool) -> Condition {
        let (mut said, mut rest) = (Vec::new(), parts);
        while let Some((first, behind)) = rest.split_first() {
            rest = behind;
            if let Some(hours) = behind.first().and_then(|second| between(first, second, is_all, is_true)) {
                rest = &behind[1..];
                said.push(statement("it", false, &hours));
                continue;
            }
            match (self.condition(first, is_true), is_all) {
                (Condition::All(inner), true) | (Condition::Any(inner), false) => said.extend(inner),
                (one, _) => said.push(one),
            }
        }
        match (said.len(), is_all) {
            (1, _) => said.remove(0),
            (_, true) => Condition::All(said),
            (_, false) => Condition::Any(said),
        }
    }

    fn comparison(&self, how: Comparison, left: &Expr, right: &Expr) -> Option<Condition> {
        if is_literal(left) && !is_literal(right) {
            return self.comparison(mirrored(how), right, left);
        }
        let (is_not, how) = if how == Comparison::NotEqual { (true, Comparison::Equal) } else { (false, how) };
        match (&left.kind, &right.kind) {
            (ExprKind::Builtin(Builtin::Time), ExprKind::Text(time)) => {
                Some(statement("it", is_not, &time_of_day(how, time)))
            }
            (ExprKind::Builtin(Builtin::Weekday), ExprKind::Text(day)) => {
                let day = DAYS.iter().find(|(short, _)| short == day).map(|(_, long)| *long)?;
                Some(statement("it", is_not, day))
            }
            (ExprKind::Name(name), ExprKind::Text(word)) => self.word(name, is_not, word),
            _ => self.numbers(how, is_not, left, right),
        }
    }

    /// `mode is auto`, `heater is on`, `button gives a single click`.
    fn word(&self, name: &Name, is_not: bool, word: &str) -> Option<Condition> {
        let is_moment = (self.describe)(name)? == SignalKind::Moment;
        Some(match name {
            Name::Member { owner, .. } if is_moment && !is_not => {
                Condition::Click(format!("{owner} gives a {word} click"))
            }
            _ if is_moment => return None,
            Name::Member { owner, member } if member == "value" => statement(owner, is_not, word),
            name => statement(&called(name), is_not, word),
        })
    }

    /// What is compared by its size, or two words.
    fn numbers(&self, how: Comparison, is_not: bool, left: &Expr, right: &Expr) -> Option<Condition> {
        let kinds = [left, right].map(|side| self.kind(side));
        if kinds.contains(&Some(Kind::Flag)) || kinds.contains(&None) {
            return None;
        }
        let unit = kinds.iter().flatten().find_map(symbol).unwrap_or_default();
        let amount = |side: &Expr| amount(side, unit).unwrap_or_else(|| format!("`{side}`"));
        let word = match how {
            Comparison::Less => "below ",
            Comparison::LessOrEqual => "at most ",
            Comparison::Greater => "above ",
            Comparison::GreaterOrEqual => "at least ",
            Comparison::Equal | Comparison::NotEqual => "",
        };
        Some(statement(&amount(left), is_not, &format!("{word}{}", amount(right))))
    }

    /// What a part of a good formula is; nothing of a text that may stand for a time.
    fn kind(&self, part: &Expr) -> Option<Kind> {
        language::compile(&part.to_string(), self).ok().map(|program| program.kind().clone())
    }
}

fn statement(subject: &str, is_not: bool, rest: &str) -> Condition {
    Condition::Statement { subject: subject.to_owned(), is_not, rest: rest.to_owned() }
}

fn symbol(kind: &Kind) -> Option<&str> {
    match kind {
        Kind::Number(Unit::Of(symbol) | Unit::Difference(symbol)) => Some(symbol),
        _ => None,
    }
}

fn is_literal(part: &Expr) -> bool {
    match &part.kind {
        ExprKind::Number(_) | ExprKind::Text(_) => true,
        ExprKind::Negate(inner) => is_literal(inner),
        _ => false,
    }
}

/// The comparison that is true where this one is false.
fn opposite(how: Comparison) -> Comparison {
    match how {
        Comparison::Less => Comparison::GreaterOrEqual,
        Comparison::LessOrEqual => Comparison::Greater,
        Comparison::Greater => Comparison::LessOrEqual,
        Comparison::GreaterOrEqual => Comparison::Less,
        Comparison::Equal => Comparison::NotEqual,
        Comparison::NotEqual => Comparison::Equal,
    }
}

/// The comparison of the right side with the left.
fn mirrored(how: Comparison) -> Comparison {
    match how {
        Comparison::Less => Comparison::Greater,
        Comparison::LessOrEqual => Comparison::GreaterOrEqual,
        Comparison::Greater => Comparison::Less,
        Comparison::GreaterOrEqual => Comparison::LessOrEqual,
        same => same,
    }
}

fn time_of_day(how: Comparison, time: &str) -> String {
    match how {
        Comparison::Less => format!("before {time}"),
        Comparison::LessOrEqual => format!("{time} or earlier"),
        Comparison::Greater => format!("after {time}"),
        Comparison::GreaterOrEqual => format!("{time} or later"),
        Comparison::Equal | Comparison::NotEqual => time.to_owned(),
    }
}

/// `between 22:00 and 06:00`, if two neighbours say so: from the one on and before the other, on one day or through midnight.
fn between(first: &Expr, second: &Expr, is_all: bool, is_true: bool) -> Option<String> {
    let bound = |part: &Expr| {
        let ExprKind::Compare { how, left, right } = &part.kind else { return None };
        let how = if is_true { *how } else { opposite(*how) };
        match (&left.kind, &right.kind) {
            (ExprKind::Builtin(Builtin::Time), ExprKind::Text(time)) => Some((how, time.clone())),
            (ExprKind::Text(time), ExprKind::Builtin(Builtin::Time)) => Some((mirrored(how), time.clone())),
            _ => None,
        }
    };
    let (from, to) = match (bound(first)?, bound(second)?) {
        ((Comparison::GreaterOrEqual, from), (Comparison::Less, to)) => (from, to),
        ((Comparison::Less, to), (Comparison::GreaterOrEqual, from)) => (from, to),
        _ => return None,
    };
    // Texts of times are in the order of the times.
    ((from < to) == is_all && from != to).then(|| format!("between {from} and {to}"))
}

/// `room's temperature`, `target`.
fn called(name: &Name) -> String {
    match name {
        Name::Variable(name) => name.clone(),
        Name::Member { owner, member } => {
            let whose = if owner.ends_with('s') { "'" } else { "'s" };
            format!("{owner}{whose} {}", member.replace('_', " "))
        }
    }
}

/// A number, a name, or a sum or product of these; nothing of anything else.
fn amount(part: &Expr, unit: &str) -> Option<String> {
    match &part.kind {
        ExprKind::Number(_) => Some(format!("{part} {unit}").trim_end().to_owned()),
        ExprKind::Name(name) => Some(called(name)),
        ExprKind::Negate(inner) if !matches!(inner.kind, ExprKind::Sum { .. }) => {
            Some(format!("−{}", amount(inner, unit)?))
        }
        ExprKind::Sum { first, rest } => rest.iter().try_fold(amount(first, unit)?, |sum, (sign, term)| {
            let is_sum = matches!(term.kind, ExprKind::Sum { .. } | ExprKind::Negate(_));
            let sign = if *sign == Additive::Plus { "+" } else { "−" };
            (!is_sum).then_some(())?;
            Some(format!("{sum} {sign} {}", amount(term, unit)?))
        }),
        ExprKind::Product { first, rest } => rest.iter().try_fold(factor(first)?, |product, (sign, part)| {
            let sign = if *sign == Multiplicative::Times { "×" } else { "÷" };
            Some(format!("{product} {sign} {}", factor(part)?))
        }),
        _ => None,
    }
}

/// A number that counts something, or a name.
fn factor(part: &Expr) -> Option<String> {
    matches!(part.kind, ExprKind::Number(_) | ExprKind::Name(_)).then(|| amount(part, ""))?
}
