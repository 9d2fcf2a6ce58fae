//! Evaluation beside a model that walks the parts of a formula, with numbers and flags that may be missing.

use proptest::prelude::*;

use super::{additive, cases, comparison, expr, multiplicative};
use crate::{Additive, Comparison, Expr, ExprKind, Input, Kind, Multiplicative, Name, Span, Value, compile};

/// Four numbers and four flags.
const NAMES: [&str; 8] = ["n0", "n1", "n2", "n3", "f0", "f1", "f2", "f3"];

fn names() -> Vec<(&'static str, Kind)> {
    NAMES.iter().map(|name| (*name, if name.starts_with('n') { Kind::number("") } else { Kind::Flag })).collect()
}

/// What is known of them.
#[derive(Clone, Debug)]
struct World {
    numbers: [Option<f64>; 4],
    flags: [Option<bool>; 4],
}

impl World {
    fn value(&self, input: Input) -> Value<'static> {
        match input {
            Input::Signal(index @ 0..=3) => self.numbers[index].map_or(Value::Unknown, Value::Number),
            Input::Signal(index) => self.flags[index - 4].map_or(Value::Unknown, Value::Flag),
            _ => Value::Unknown,
        }
    }
}

fn world() -> impl Strategy<Value = World> {
    let number = prop_oneof![
        Just(None),
        (-10_i32..10).prop_map(|n| Some(f64::from(n) / 2.0)),
        proptest::num::f64::ANY.prop_map(Some),
        prop::sample::select(vec![0.0, -0.0, f64::NAN, f64::INFINITY, f64::MAX, f64::MIN_POSITIVE]).prop_map(Some),
    ];
    let flag = prop::option::of(any::<bool>());
    (prop::array::uniform4(number), prop::array::uniform4(flag)).prop_map(|(numbers, flags)| World { numbers, flags })
}

fn call(function: &str, arguments: Vec<Expr>) -> Expr {
    let name_span = Span { start: 0, end: 0 };
    expr(ExprKind::Call { function: function.to_owned(), name_span, arguments })
}

fn name(name: &str) -> Expr {
    expr(ExprKind::Name(Name::Variable(name.to_owned())))
}

/// A formula that is a number, and one that is true or false. Each has some depth left.
fn number(depth: u32) -> BoxedStrategy<Expr> {
    let leaf = prop_oneof![
        3 => prop::sample::select(NAMES[..4].to_vec()).prop_map(name),
        1 => (0_u32..20).prop_map(|n| expr(ExprKind::Number(f64::from(n) / 4.0))),
    ];
    if depth == 0 {
        return leaf.boxed();
    }
    let inner = || number(depth - 1);
    let boxed = || inner().prop_map(Box::new);
    let one = prop::sample::select(vec!["abs", "round", "sqrt", "exp", "ln", "min", "mean"]);
    let two = prop::sample::select(vec!["min", "max", "mean", "pow"]);
    prop_oneof![
        leaf,
        boxed().prop_map(|inner| expr(ExprKind::Negate(inner))),
        (boxed(), prop::collection::vec((additive(), inner()), 1..3))
            .prop_map(|(first, rest)| expr(ExprKind::Sum { first, rest })),
        (boxed(), prop::collection::vec((multiplicative(), inner()), 1..3))
            .prop_map(|(first, rest)| expr(ExprKind::Product { first, rest })),
        (one, inner()).prop_map(|(function, x)| call(function, vec![x])),
        (two, inner(), inner()).prop_map(|(function, x, y)| call(function, vec![x, y])),
        (inner(), inner(), inner()).prop_map(|(x, low, high)| call("clamp", vec![x, low, high])),
        (flag(depth - 1), inner(), inner()).prop_map(|(condition, yes, no)| call("if", vec![condition, yes, no])),
    ]
    .boxed()
}

fn flag(depth: u32) -> BoxedStrategy<Expr> {
    let leaf = prop_oneof![
        3 => prop::sample::select(NAMES[4..].to_vec()).prop_map(name),
        1 => any::<bool>().prop_map(|flag| expr(ExprKind::Flag(flag))),
    ];
    if depth == 0 {
        return leaf.boxed();
    }
    let inner = || flag(depth - 1);
    let list = || prop::collection::vec(inner(), 2..4);
    let compare = |how, left, right| expr(ExprKind::Compare { how, left: Box::new(left), right: Box::new(right) });
    let equality = prop::sample::select(vec![Comparison::Equal, Comparison::NotEqual]);
    prop_oneof![
        leaf,
        inner().prop_map(|inner| expr(ExprKind::Not(Box::new(inner)))),
        list().prop_map(|parts| expr(ExprKind::All(parts))),
        list().prop_map(|parts| expr(ExprKind::Any(parts))),
        (comparison(), number(depth - 1), number(depth - 1))
            .prop_map(move |(how, left, right)| compare(how, left, right)),
        (equality, inner(), inner()).prop_map(move |(how, left, right)| compare(how, left, right)),
        (inner(), inner(), inner()).prop_map(|(condition, yes, no)| call("if", vec![condition, yes, no])),
    ]
    .boxed()
}

/// What a formula is worth.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Worth {
    Number(f64),
    Flag(bool),
}

impl From<Value<'_>> for Option<Worth> {
    fn from(value: Value<'_>) -> Self {
        match value {
            Value::Number(number) => Some(Worth::Number(number)),
            Value::Flag(flag) => Some(Worth::Flag(flag)),
            _ => None,
        }
    }
}

/// The model.
fn worth(formula: &Expr, world: &World) -> Option<Worth> {
    let number = |part: &Expr| match worth(part, world)? {
        Worth::Number(number) => Some(number),
        Worth::Flag(_) => None,
    };
    let flag = |part: &Expr| match worth(part, world)? {
        Worth::Flag(flag) => Some(flag),
        Worth::Number(_) => None,
    };
    let result = match &formula.kind {
        ExprKind::Number(number) => Worth::Number(*number),
        ExprKind::Flag(flag) => Worth::Flag(*flag),
        ExprKind::Name(Name::Variable(name)) => {
            let index = NAMES.iter().position(|known| known == name)?;
            if index < 4 { Worth::Number(world.numbers[index]?) } else { Worth::Flag(world.flags[index - 4]?) }
        }
        ExprKind::Negate(inner) => Worth::Number(-number(inner)?),
        ExprKind::Not(inner) => Worth::Flag(!flag(inner)?),
        ExprKind::Sum { first, rest } => {
            let mut sum = number(first)?;
            for (sign, part) in rest {
                sum += if *sign == Additive::Plus { number(part)? } else { -number(part)? };
            }
            Worth::Number(sum)
        }
        ExprKind::Product { first, rest } => {
            let mut product = number(first)?;
            for (sign, part) in rest {
                product =
                    if *sign == Multiplicative::Times { product * number(part)? } else { product / number(part)? };
            }
            Worth::Number(product)
        }
        ExprKind::Compare { how, left, right } => Worth::Flag(match (worth(left, world)?, worth(right, world)?) {
            (Worth::Number(left), Worth::Number(right)) => compare(*how, &left, &right),
            (Worth::Flag(left), Worth::Flag(right)) => compare(*how, &left, &right),
            _ => return None,
        }),
        ExprKind::All(parts) => Worth::Flag(all(parts.iter().map(flag).collect())?),
        ExprKind::Any(parts) => Worth::Flag(!all(parts.iter().map(|part| flag(part).map(|flag| !flag)).collect())?),
        ExprKind::Call { function, arguments, .. } if function == "if" => {
            return if flag(&arguments[0])? { worth(&arguments[1], world) } else { worth(&arguments[2], world) };
        }
        ExprKind::Call { function, arguments, .. } => {
            let numbers: Vec<f64> = arguments.iter().map(number).collect::<Option<_>>()?;
            Worth::Number(apply(function, &numbers)?)
        }
        other => panic!("{other:?} is not in the model"),
    };
    Some(result).filter(|worth| !matches!(worth, Worth::Number(number) if !number.is_finite()))
}

fn compare<T: PartialOrd>(how: Comparison, left: &T, right: &T) -> bool {
    match how {
        Comparison::Less => left < right,
        Comparison::LessOrEqual => left <= right,
        Comparison::Greater => left > right,
        Comparison::GreaterOrEqual => left >= right,
        Comparison::Equal => left == right,
        Comparison::NotEqual => left != right,
    }
}

/// Kleene's "and": the least of false, unknown, true.
fn all(flags: Vec<Option<bool>>) -> Option<bool> {
    let rank = |flag: &Option<bool>| match flag {
        Some(false) => 0,
        None => 1,
        Some(true) => 2,
    };
    flags.into_iter().min_by_key(rank).flatten()
}

fn apply(function: &str, numbers: &[f64]) -> Option<f64> {
    Some(match (function, numbers) {
        ("abs", [x]) => x.abs(),
        ("round", [x]) => x.round(),
        ("sqrt", [x]) => x.sqrt(),
        ("exp", [x]) => x.exp(),
        ("ln", [x]) => x.ln(),
        ("pow", [x, y]) => x.powf(*y),
        ("min", _) => numbers.iter().copied().reduce(|x, y| if y < x { y } else { x })?,
        ("max", _) => numbers.iter().copied().reduce(|x, y| if y > x { y } else { x })?,
        ("mean", _) => numbers.iter().sum::<f64>() / numbers.len() as f64,
        ("clamp", [x, low, high]) if low <= high => {
            if x < low {
                *low
            } else if x > high {
                *high
            } else {
                *x
            }
        }
        ("clamp", _) => return None,
        other => panic!("{other:?} is not in the model"),
    })
}

/// What the language says of a formula; `None` if it refuses it, which it may where a part never has a value.
fn evaluated(formula: &Expr, worlds: &[&World]) -> Option<Vec<Option<Worth>>> {
    let source = formula.to_string();
    match compile(&source, &names()[..]) {
        Ok(program) => Some(worlds.iter().map(|world| program.evaluate(|input| world.value(input)).into()).collect()),
        Err(problems) => {
            let is_constant =
                |what: &str| what.contains("has no value") || what.contains("by 0") || what.contains("above");
            assert!(problems.iter().all(|problem| is_constant(&problem.what)), "{source}: {problems:?}");
            None
        }
    }
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn a_formula_is_worth_what_the_model_says(formula in prop_oneof![number(4), flag(4)], world in world()) {
        if let Some(found) = evaluated(&formula, &[&world]) {
            prop_assert_eq!(found[0], worth(&formula, &world), "{}", formula);
        }
    }

    /// What is known although something is unknown is known for good: it does not depend on what that turns out to be.
    #[test]
    fn a_known_result_does_not_depend_on_what_is_unknown(
        formula in prop_oneof![number(4), flag(4)], less in world(), other in world()
    ) {
        let more = World {
            numbers: std::array::from_fn(|nth| less.numbers[nth].or(other.numbers[nth])),
            flags: std::array::from_fn(|nth| less.flags[nth].or(other.flags[nth])),
        };
        if let Some(found) = evaluated(&formula, &[&less, &more]) {
            prop_assert!(found[0].is_none() || found[0] == found[1], "{}: {:?}", formula, found);
        }
    }
}

#[test]
fn unknown_is_neither_true_nor_false() {
    let world = World { numbers: [None, Some(0.0), Some(1.0), None], flags: [None, Some(false), Some(true), None] };
    let check = |source: &str, expected: Option<Worth>| {
        let program = compile(source, &names()[..]).unwrap_or_else(|problems| panic!("{source}: {problems:?}"));
        let found: Option<Worth> = program.evaluate(|input| world.value(input)).into();
        assert_eq!(found, expected, "{source}");
    };
    let (no, yes) = (Some(Worth::Flag(false)), Some(Worth::Flag(true)));
    for (source, expected) in [
        ("f0 and f1", no),
        ("f1 and f0", no),
        ("f0 and f2", None),
        ("f0 and f3", None),
        ("f0 or f2", yes),
        ("f2 or f0", yes),
        ("f0 or f1", None),
        ("not f0", None),
        ("f0 == f0", None),
        ("n0 == n0", None),
        ("n0 != n1", None),
        ("n0 * 0 == 0", None),
        ("if(f0, 1, 1) == 1", None),
        ("if(f2, f1, f0)", no),
        ("n2 / n1 > 0", None),
        ("n1 / n1 > 0", None),
        ("sqrt(n1 - 1) > 0 or f2", yes),
        ("min(n0, n1) < 5", None),
    ] {
        check(source, expected);
    }
    check("if(f2, n1, n0)", Some(Worth::Number(0.0)));
    check("if(f1, n1, n0)", None);
}
