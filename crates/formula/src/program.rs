//! A formula that was checked: evaluation looks nothing up by its name, allocates nothing and cannot fail.

use crate::function::Function;
use crate::kind::Kind;
use crate::problem::{Problem, Span};
use crate::syntax::{Additive, Builtin, Multiplicative};
use crate::value::{Comparison, TimeOfDay, Value};

/// Something that a program asks for when it is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// The time of day, a [`Value::Time`].
    Time,
    /// The day of the week, a [`Value::Text`] of [`WEEKDAYS`](crate::WEEKDAYS).
    Weekday,
    /// Whether the broker is connected, a [`Value::Flag`].
    LinkUp,
    /// What [`Names`](crate::Names) gave this index.
    Signal(usize),
}

impl From<Builtin> for Input {
    fn from(builtin: Builtin) -> Self {
        match builtin {
            Builtin::Time => Self::Time,
            Builtin::Weekday => Self::Weekday,
            Builtin::LinkUp => Self::LinkUp,
        }
    }
}

/// A formula without problems; [`compile`](crate::compile) makes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    pub(crate) root: Node,
    pub(crate) kind: Kind,
    pub(crate) inputs: Vec<Input>,
    pub(crate) span: Span,
}

impl Program {
    /// What kind of value it gives.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// What it asks for, each once, in the order of the formula.
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// The value for these inputs.
    ///
    /// It asks `input` for those of [`Program::inputs`], for some more than once and not for all each time. A number that is not
    /// finite is taken as unknown, and so is a value of another kind than [`Names`](crate::Names) announced.
    pub fn evaluate<'v>(&'v self, input: impl Fn(Input) -> Value<'v>) -> Value<'v> {
        self.root.value(&input)
    }

    /// Whether its value may be used where `wanted` is asked for, a condition or a measurement's unit. Any number will do
    /// for [`Unit::Open`](crate::Unit::Open), any text for a `Kind::Text(None)`.
    ///
    /// # Errors
    ///
    /// A problem with the formula as a whole. Report it to the user.
    pub fn require(&self, wanted: &Kind) -> Result<(), Problem> {
        let fits = match (&self.kind, wanted) {
            (Kind::Number(unit), Kind::Number(wanted)) => unit.fits(wanted),
            (Kind::Flag, Kind::Flag) | (Kind::Text(_), Kind::Text(None)) | (Kind::Time, Kind::Time) => true,
            _ => false,
        };
        if fits {
            return Ok(());
        }
        let hint = match (&self.kind, wanted) {
            (Kind::Number(_), Kind::Flag) => "compare it: `… > 20`",
            (Kind::Flag, Kind::Number(_)) => "`if(…, 1, 0)` makes a number of it",
            (Kind::Number(unit), Kind::Number(wanted)) if unit.is_convertible_to(wanted) => {
                "give it the unit that it has, and convert it with the filter `to`"
            }
            _ => "",
        };
        Err(Problem::new(self.span, format!("this is {}, and {wanted} is needed", self.kind), hint))
    }
}

/// A checked part of a formula.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    Number(f64),
    Flag(bool),
    Text(Box<str>),
    Time(TimeOfDay),
    Input(Input),
    Negate(Box<Node>),
    Not(Box<Node>),
    Sum(Box<Node>, Vec<(Additive, Node)>),
    Product(Box<Node>, Vec<(Multiplicative, Node)>),
    Compare(Comparison, Box<[Node; 2]>),
    All(Vec<Node>),
    Any(Vec<Node>),
    If(Box<[Node; 3]>),
    Call(Function, Vec<Node>),
}

impl Node {
    pub(crate) fn value<'v>(&'v self, input: &impl Fn(Input) -> Value<'v>) -> Value<'v> {
        match self {
            Self::Number(number) => Value::number(*number),
            Self::Flag(flag) => Value::Flag(*flag),
            Self::Text(text) => Value::Text(text),
            Self::Time(time) => Value::Time(*time),
            Self::Input(asked) => finite(input(*asked)),
            Self::If(parts) => choose(parts, input),
            Self::Compare(how, sides) => compare(*how, sides, input),
            Self::Not(inner) => Value::of_flag(inner.value(input).as_flag().map(|flag| !flag)),
            Self::All(parts) => Value::of_flag(decide(parts, false, input)),
            Self::Any(parts) => Value::of_flag(decide(parts, true, input)),
            _ => Value::of_number(self.number(input)),
        }
    }

    fn number<'v>(&'v self, input: &impl Fn(Input) -> Value<'v>) -> Option<f64> {
        match self {
            Self::Negate(inner) => Some(-inner.number(input)?),
            Self::Sum(first, rest) => rest.iter().try_fold(first.number(input)?, |sum, (sign, term)| {
                let term = term.number(input)?;
                Some(if *sign == Additive::Plus { sum + term } else { sum - term })
            }),
            Self::Product(first, rest) => rest.iter().try_fold(first.number(input)?, |product, (sign, factor)| {
                let factor = factor.number(input)?;
                Some(if *sign == Multiplicative::Times { product * factor } else { product / factor })
            }),
            Self::Call(function, arguments) => function.of(arguments.iter().map(|argument| argument.number(input))),
            _ => self.value(input).as_number(),
        }
        .and_then(finite_number)
    }

    /// The value if it is the same whatever the inputs are.
    pub(crate) fn constant(&self) -> Option<Value<'_>> {
        (!self.has_input()).then(|| self.value(&|_| Value::Unknown))
    }

    fn has_input(&self) -> bool {
        match self {
            Self::Number(_) | Self::Flag(_) | Self::Text(_) | Self::Time(_) => false,
            Self::Input(_) => true,
            Self::Negate(inner) | Self::Not(inner) => inner.has_input(),
            Self::Sum(first, rest) => first.has_input() || rest.iter().any(|(_, part)| part.has_input()),
            Self::Product(first, rest) => first.has_input() || rest.iter().any(|(_, part)| part.has_input()),
            Self::Compare(_, parts) => parts.iter().any(Self::has_input),
            Self::If(parts) => parts.iter().any(Self::has_input),
            Self::All(parts) | Self::Any(parts) | Self::Call(_, parts) => parts.iter().any(Self::has_input),
        }
    }
}

fn finite_number(number: f64) -> Option<f64> {
    Some(number).filter(|number| number.is_finite())
}

fn finite(value: Value<'_>) -> Value<'_> {
    if let Value::Number(number) = value { Value::number(number) } else { value }
}

fn choose<'v>(parts: &'v [Node; 3], input: &impl Fn(Input) -> Value<'v>) -> Value<'v> {
    let [condition, yes, no] = parts;
    match condition.value(input).as_flag() {
        Some(true) => yes.value(input),
        Some(false) => no.value(input),
        None => Value::Unknown,
    }
}

fn compare<'v>(how: Comparison, sides: &'v [Node; 2], input: &impl Fn(Input) -> Value<'v>) -> Value<'v> {
    let [left, right] = sides;
    Value::of_flag(how.holds(left.value(input), right.value(input)))
}

/// `decisive` if one part is, whatever the others are; else unknown if one is, else the opposite (Kleene's logic).
fn decide<'v>(parts: &'v [Node], decisive: bool, input: &impl Fn(Input) -> Value<'v>) -> Option<bool> {
    let mut so_far = Some(!decisive);
    for part in parts {
        match part.value(input).as_flag() {
            Some(flag) if flag == decisive => return Some(decisive),
            Some(_) => {}
            None => so_far = None,
        }
    }
    so_far
}
