//! The parts of a formula, and how they are written.

use std::fmt;

use crate::function::FunctionSpec;
use crate::problem::Span;
use crate::value::Comparison;

/// A part of a formula and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// Where it stands, its parentheses included.
    pub span: Span,
    /// The kind of part, with the parts that it is made of.
    pub kind: ExprKind,
}

/// What a part of a formula is.
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// `21.5`; never negative, for `-` is a part of its own.
    Number(f64),
    /// `"auto"`.
    Text(String),
    /// `true`, `false`.
    Flag(bool),
    /// What the gateway knows by itself.
    Builtin(Builtin),
    /// What somebody else must know.
    Name(Name),
    /// `-x`.
    Negate(Box<Expr>),
    /// `not x`.
    Not(Box<Expr>),
    /// `a + b - c`.
    Sum {
        /// The term before the first `+` or `-`.
        first: Box<Expr>,
        /// At least one more.
        rest: Vec<(Additive, Expr)>,
    },
    /// `a * b / c`.
    Product {
        /// The factor before the first `*` or `/`.
        first: Box<Expr>,
        /// At least one more.
        rest: Vec<(Multiplicative, Expr)>,
    },
    /// `a < b`.
    Compare {
        /// The operator between the two.
        how: Comparison,
        /// What stands before the operator.
        left: Box<Expr>,
        /// What stands behind it.
        right: Box<Expr>,
    },
    /// `a and b and c`: at least two.
    All(Vec<Expr>),
    /// `a or b or c`: at least two.
    Any(Vec<Expr>),
    /// `min(a, b)`.
    Call {
        /// The function's name as written; whether there is one, the check says.
        function: String,
        /// Where that name stands.
        name_span: Span,
        /// What is between the parentheses.
        arguments: Vec<Expr>,
    },
    /// What could not be read; there is a problem for it.
    Invalid,
}

/// What the gateway knows by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Builtin {
    /// `time`: the time of day.
    Time,
    /// `weekday`: `"mon"` to `"sun"`.
    Weekday,
    /// `link.up`: whether the broker is connected.
    LinkUp,
}

impl Builtin {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Time, Self::Weekday, Self::LinkUp];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Weekday => "weekday",
            Self::LinkUp => "link.up",
        }
    }

    pub(crate) fn named(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|builtin| builtin.as_str() == text)
    }
}

/// Whether a word means something in a formula already, so that nothing should be called by it: a function, an operator, or what
/// the gateway knows by itself.
pub fn is_reserved(word: &str) -> bool {
    let of_builtin = |builtin: Builtin| builtin.as_str().split('.').next() == Some(word);
    KEYWORDS.iter().any(|keyword| word.eq_ignore_ascii_case(keyword))
        || FunctionSpec::named(word).is_some()
        || Builtin::ALL.into_iter().any(of_builtin)
}

/// A name that somebody else must know. Printed without the backticks that a formula may need.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// `target`.
    Variable(String),
    /// `air.temperature`, `pump.value`.
    Member {
        /// The sensor or output.
        owner: String,
        /// Its measurement, or `value`.
        member: String,
    },
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => f.write_str(name),
            Self::Member { owner, member } => write!(f, "{owner}.{member}"),
        }
    }
}

/// `+` or `-`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Additive {
    /// `+`
    Plus,
    /// `-`
    Minus,
}

/// `*` or `/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Multiplicative {
    /// `*`
    Times,
    /// `/`
    Over,
}

impl Additive {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        if self == Self::Plus { "+" } else { "-" }
    }
}

impl Multiplicative {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        if self == Self::Times { "*" } else { "/" }
    }
}

/// Words that a name cannot be without backticks.
pub(crate) const KEYWORDS: [&str; 5] = ["and", "or", "not", "true", "false"];

/// Whether a part of a name can stand without backticks: a hyphen belongs to it between two other characters only.
pub(crate) fn is_plain(word: &str, is_first: bool) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || c == '_';
    word.starts_with(|c: char| inner(c) && !(is_first && c.is_ascii_digit()))
        && word.ends_with(inner)
        && word.chars().all(|c| inner(c) || c == '-')
}

/// How tightly a part binds. A part with a lower level than its place asks for needs parentheses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Or,
    And,
    Not,
    Comparison,
    Sum,
    Product,
    Sign,
    Operand,
}

impl ExprKind {
    fn level(&self) -> Level {
        match self {
            Self::Any(_) => Level::Or,
            Self::All(_) => Level::And,
            Self::Not(_) => Level::Not,
            Self::Compare { .. } => Level::Comparison,
            Self::Sum { .. } => Level::Sum,
            Self::Product { .. } => Level::Product,
            Self::Negate(_) => Level::Sign,
            _ => Level::Operand,
        }
    }
}

/// A formula that is read as the same parts again.
impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Number(number) => {
                let digits = format!("{number:?}");
                f.write_str(digits.strip_suffix(".0").unwrap_or(&digits))
            }
            ExprKind::Text(text) => {
                let quote = if text.contains('"') { '\'' } else { '"' };
                write!(f, "{quote}{text}{quote}")
            }
            ExprKind::Flag(flag) => write!(f, "{flag}"),
            ExprKind::Builtin(builtin) => f.write_str(builtin.as_str()),
            ExprKind::Name(name) => write_name(f, name),
            ExprKind::Negate(inner) => {
                f.write_str("-")?;
                write_part(f, inner, Level::Sign)
            }
            ExprKind::Not(inner) => {
                f.write_str("not ")?;
                write_part(f, inner, Level::Not)
            }
            ExprKind::Sum { first, rest } => {
                write_chain(f, first, rest.iter().map(|(sign, part)| (sign.as_str(), part)), Level::Product)
            }
            ExprKind::Product { first, rest } => {
                write_chain(f, first, rest.iter().map(|(sign, part)| (sign.as_str(), part)), Level::Sign)
            }
            ExprKind::Compare { how, left, right } => {
                write_chain(f, left, [(how.as_str(), &**right)].into_iter(), Level::Sum)
            }
            ExprKind::All(parts) => write_list(f, parts, " and ", Level::Not),
            ExprKind::Any(parts) => write_list(f, parts, " or ", Level::And),
            ExprKind::Call { function, arguments, .. } => {
                write!(f, "{function}(")?;
                write_list(f, arguments, ", ", Level::Or)?;
                f.write_str(")")
            }
            ExprKind::Invalid => f.write_str("?"),
        }
    }
}

fn write_part(f: &mut fmt::Formatter<'_>, part: &Expr, at_least: Level) -> fmt::Result {
    if part.kind.level() < at_least { write!(f, "({part})") } else { write!(f, "{part}") }
}

fn write_chain<'e>(
    f: &mut fmt::Formatter<'_>,
    first: &Expr,
    rest: impl Iterator<Item = (&'static str, &'e Expr)>,
    at_least: Level,
) -> fmt::Result {
    write_part(f, first, at_least)?;
    for (sign, part) in rest {
        write!(f, " {sign} ")?;
        write_part(f, part, at_least)?;
    }
    Ok(())
}

fn write_list(f: &mut fmt::Formatter<'_>, parts: &[Expr], between: &str, at_least: Level) -> fmt::Result {
    for (nth, part) in parts.iter().enumerate() {
        f.write_str(if nth == 0 { "" } else { between })?;
        write_part(f, part, at_least)?;
    }
    Ok(())
}

fn write_name(f: &mut fmt::Formatter<'_>, name: &Name) -> fmt::Result {
    let is_builtin = Builtin::named(&name.to_string()).is_some();
    match name {
        Name::Variable(word) => write_word(f, word, is_plain(word, true) && !is_builtin && !is_keyword(word)),
        Name::Member { owner, member } => {
            write_word(f, owner, is_plain(owner, true) && !is_builtin)?;
            f.write_str(".")?;
            write_word(f, member, is_plain(member, false))
        }
    }
}

fn write_word(f: &mut fmt::Formatter<'_>, word: &str, as_it_is: bool) -> fmt::Result {
    if as_it_is { f.write_str(word) } else { write!(f, "`{word}`") }
}

fn is_keyword(word: &str) -> bool {
    KEYWORDS.iter().any(|keyword| keyword.eq_ignore_ascii_case(word))
}
