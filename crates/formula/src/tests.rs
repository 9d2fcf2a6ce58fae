//! Random formulas: printed and read again, evaluated beside a plain model, and what is no formula at all.

mod model;

use proptest::prelude::*;

use crate::{
    Additive, Builtin, Comparison, Expr, ExprKind, FUNCTIONS, Input, Kind, MAX_LENGTH, MAX_NESTING, Multiplicative,
    Name, Span, TimeOfDay, Unit, Value, WEEKDAYS, compile, is_reserved, parse,
};

/// So many random cases every day, and as many as `PROPTEST_CASES` says in a long run.
fn cases(everyday: u32) -> ProptestConfig {
    let usual = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    let is_long = std::env::var_os("PROPTEST_CASES").is_some();
    if is_long { usual } else { ProptestConfig { cases: everyday, ..usual } }
}

fn expr(kind: ExprKind) -> Expr {
    Expr { span: Span { start: 0, end: 0 }, kind }
}

/// A formula without the places in its text.
fn placeless(from: &Expr) -> Expr {
    let boxed = |part: &Expr| Box::new(placeless(part));
    let all = |parts: &[Expr]| parts.iter().map(placeless).collect();
    expr(match &from.kind {
        ExprKind::Negate(inner) => ExprKind::Negate(boxed(inner)),
        ExprKind::Not(inner) => ExprKind::Not(boxed(inner)),
        ExprKind::Sum { first, rest } => ExprKind::Sum {
            first: boxed(first),
            rest: rest.iter().map(|(sign, part)| (*sign, placeless(part))).collect(),
        },
        ExprKind::Product { first, rest } => ExprKind::Product {
            first: boxed(first),
            rest: rest.iter().map(|(sign, part)| (*sign, placeless(part))).collect(),
        },
        ExprKind::Compare { how, left, right } => {
            ExprKind::Compare { how: *how, left: boxed(left), right: boxed(right) }
        }
        ExprKind::All(parts) => ExprKind::All(all(parts)),
        ExprKind::Any(parts) => ExprKind::Any(all(parts)),
        ExprKind::Call { function, arguments, .. } => ExprKind::Call {
            function: function.clone(),
            name_span: Span { start: 0, end: 0 },
            arguments: all(arguments),
        },
        plain => plain.clone(),
    })
}

/// The parts of a part.
fn children(of: &Expr) -> Vec<&Expr> {
    match &of.kind {
        ExprKind::Negate(inner) | ExprKind::Not(inner) => vec![inner],
        ExprKind::Sum { first, rest } => [&**first].into_iter().chain(rest.iter().map(|(_, part)| part)).collect(),
        ExprKind::Product { first, rest } => [&**first].into_iter().chain(rest.iter().map(|(_, part)| part)).collect(),
        ExprKind::Compare { left, right, .. } => vec![left, right],
        ExprKind::All(parts) | ExprKind::Any(parts) => parts.iter().collect(),
        ExprKind::Call { arguments, .. } => arguments.iter().collect(),
        _ => Vec::new(),
    }
}

fn additive() -> impl Strategy<Value = Additive> {
    prop::sample::select(vec![Additive::Plus, Additive::Minus])
}

fn multiplicative() -> impl Strategy<Value = Multiplicative> {
    prop::sample::select(vec![Multiplicative::Times, Multiplicative::Over])
}

fn comparison() -> impl Strategy<Value = Comparison> {
    use Comparison::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
    prop::sample::select(vec![Less, LessOrEqual, Greater, GreaterOrEqual, Equal, NotEqual])
}

/// A name of any characters that a name may have, or one that is also a word of the language.
fn word() -> impl Strategy<Value = String> {
    let words =
        ["and", "Or", "not", "true", "time", "weekday", "link", "up", "min", "if", "1wire", "e1", "a-b", "-", "_"];
    prop_oneof![prop::sample::select(words.to_vec()).prop_map(str::to_owned), "[A-Za-z0-9_-]{1,6}"]
}

fn leaf() -> impl Strategy<Value = ExprKind> {
    let number = prop_oneof![
        (0_u32..100_000).prop_map(|n| f64::from(n) / 100.0),
        any::<f64>().prop_map(f64::abs).prop_filter("finite", |n| n.is_finite()),
    ];
    prop_oneof![
        number.prop_map(ExprKind::Number),
        "[^\"]{0,8}".prop_map(ExprKind::Text),
        "[^']{0,8}".prop_map(ExprKind::Text),
        any::<bool>().prop_map(ExprKind::Flag),
        prop::sample::select(Builtin::ALL.to_vec()).prop_map(ExprKind::Builtin),
        word().prop_map(|name| ExprKind::Name(Name::Variable(name))),
        (word(), word()).prop_map(|(owner, member)| ExprKind::Name(Name::Member { owner, member })),
    ]
}

/// Any parts at all, whether they mean something or not.
fn any_expr() -> impl Strategy<Value = Expr> {
    leaf().prop_map(expr).prop_recursive(5, 40, 3, |inner| {
        let boxed = || inner.clone().prop_map(Box::new);
        let list = || prop::collection::vec(inner.clone(), 2..4);
        let function = prop::sample::select(FUNCTIONS.iter().map(|spec| spec.name).collect::<Vec<_>>());
        prop_oneof![
            boxed().prop_map(ExprKind::Negate),
            boxed().prop_map(ExprKind::Not),
            (boxed(), prop::collection::vec((additive(), inner.clone()), 1..3))
                .prop_map(|(first, rest)| ExprKind::Sum { first, rest }),
            (boxed(), prop::collection::vec((multiplicative(), inner.clone()), 1..3))
                .prop_map(|(first, rest)| ExprKind::Product { first, rest }),
            (comparison(), boxed(), boxed()).prop_map(|(how, left, right)| ExprKind::Compare { how, left, right }),
            list().prop_map(ExprKind::All),
            list().prop_map(ExprKind::Any),
            (function, prop::collection::vec(inner.clone(), 0..4)).prop_map(|(function, arguments)| ExprKind::Call {
                function: function.to_owned(),
                name_span: Span { start: 0, end: 0 },
                arguments,
            }),
        ]
        .prop_map(expr)
    })
}

/// What may be in a formula, in any order.
fn soup() -> impl Strategy<Value = String> {
    let signs = [
        "<",
        "<=",
        "==",
        "=",
        "!",
        "!=",
        "+",
        "-",
        "*",
        "/",
        "(",
        ")",
        ",",
        "and",
        "or",
        "not",
        "true",
        "if(",
        "min(",
        "dew_point(",
        "time",
        "link.up",
        "x",
        "a.b",
        "`",
        "\"",
        "'",
        "1",
        "2.5",
        "1e999",
        "°",
        "\u{a0}",
        "\n",
        "\"22:00\"",
    ];
    let piece =
        prop_oneof![prop::sample::select(signs.to_vec()).prop_map(str::to_owned), any::<char>().prop_map(String::from)];
    prop::collection::vec(piece, 0..60)
        .prop_flat_map(|pieces| prop::sample::select(vec!["", " "]).prop_map(move |between| pieces.join(between)))
}

fn value() -> impl Strategy<Value = Value<'static>> {
    let times = (0_u8..24, 0_u8..60).prop_filter_map("a time", |(hour, minute)| TimeOfDay::new(hour, minute));
    prop_oneof![
        Just(Value::Unknown),
        proptest::num::f64::ANY.prop_map(Value::Number),
        any::<bool>().prop_map(Value::Flag),
        prop::sample::select(WEEKDAYS.to_vec()).prop_map(Value::Text),
        times.prop_map(Value::Time),
    ]
}

/// Names of all kinds.
fn soup_names() -> [(&'static str, Kind); 2] {
    [("x", Kind::number("°C")), ("a.b", Kind::Flag)]
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn what_is_printed_is_read_again(formula in any_expr()) {
        let printed = formula.to_string();
        prop_assume!(printed.len() <= MAX_LENGTH);
        let again = parse(&printed).map_err(|problems| TestCaseError::fail(format!("{printed}: {problems:?}")))?;
        prop_assert_eq!(&placeless(&again), &formula, "{}", printed);
        prop_assert_eq!(again.to_string(), printed);
    }

    /// What stands at the place of a part is that part.
    #[test]
    fn every_part_knows_its_place(formula in any_expr()) {
        let printed = formula.to_string();
        prop_assume!(printed.len() <= MAX_LENGTH);
        let mut parts = vec![parse(&printed).unwrap()];
        while let Some(part) = parts.pop() {
            let text = part.span.text(&printed);
            prop_assert_eq!(placeless(&parse(text).unwrap()), placeless(&part), "{} in {}", text, printed);
            if let ExprKind::Call { function, name_span, .. } = &part.kind {
                prop_assert_eq!(name_span.text(&printed), function);
            }
            parts.extend(children(&part).into_iter().cloned());
        }
    }

    #[test]
    fn nothing_that_can_be_written_makes_it_panic(
        source in prop_oneof![soup(), any::<String>(), any_expr().prop_map(|formula| formula.to_string())],
        values in prop::collection::vec(value(), 5),
    ) {
        match compile(&source, &soup_names()[..]) {
            Ok(program) => {
                let value = program.evaluate(|input| match input {
                    Input::Signal(index) => values[index],
                    Input::Time => values[2],
                    Input::Weekday => values[3],
                    Input::LinkUp => values[4],
                });
                prop_assert!(!matches!(value, Value::Number(number) if !number.is_finite()), "{:?}", value);
            }
            Err(problems) => {
                prop_assert!(!problems.is_empty());
                for problem in problems {
                    prop_assert!(source.get(problem.span.bytes()).is_some(), "{:?} in {:?}", problem, source);
                    prop_assert!(!problem.what.is_empty() && problem.to_string().len() < 2000);
                }
            }
        }
    }

    /// A sum is right when all that has a unit has the same.
    #[test]
    fn a_sum_has_the_unit_of_all_its_terms(
        terms in prop::collection::vec((prop::sample::select(vec!["a", "b", "c", "1"]), any::<bool>()), 2..6)
    ) {
        let names = [("a", Kind::number("hPa")), ("b", Kind::number("%")), ("c", Kind::number(""))];
        let source = terms.iter().map(|(name, is_plus)| format!(" {} {name}", if *is_plus { "+" } else { "-" }));
        let source = format!("0{}", source.collect::<String>());
        let has = |name| terms.iter().any(|(term, _)| *term == name);
        let result = compile(&source, &names[..]);
        match (has("a"), has("b")) {
            (true, true) => {
                let problems = result.unwrap_err();
                prop_assert_eq!(problems.len(), 1, "{}: {:?}", source, problems);
                prop_assert!(problems[0].what.contains(" cannot be "), "{:?}", problems);
            }
            (a, b) => {
                let unit = Unit::of(if a { "hPa" } else if b { "%" } else { "" });
                prop_assert_eq!(result.map(|program| program.kind), Ok(Kind::Number(unit)), "{}", source);
            }
        }
    }
}

/// The deepest formulas on a stack that is a quarter of a thread's.
#[test]
fn the_deepest_formula_needs_little_stack() {
    let deepest = |open: &str, middle: &str, close: &str| {
        format!("{}{middle}{}", open.repeat(MAX_NESTING), close.repeat(MAX_NESTING))
    };
    let formulas = [
        deepest("(x > 0 and a.b or 1 + 2 * ", "3", " < 4)"),
        deepest("-", "x", ""),
        deepest("not ", "a.b", ""),
        deepest("if(a.b, x, 1 + 2 * ", "x", ")"),
        deepest("(a.b or a.b and ", "a.b", ")"),
    ];
    let thread = std::thread::Builder::new().stack_size(512 * 1024).spawn(move || {
        for formula in &formulas {
            match compile(formula, &soup_names()[..]) {
                Ok(program) => {
                    let value = program.evaluate(|input| match input {
                        Input::Signal(0) => Value::Number(1.0),
                        _ => Value::Flag(true),
                    });
                    assert_ne!(value, Value::Unknown, "{formula}");
                }
                // The first one is deep but has no meaning.
                Err(problems) => assert!(problems.iter().all(|problem| problem.what.contains("needs")), "{problems:?}"),
            }
        }
    });
    assert!(thread.unwrap().join().is_ok());
}

/// Formulas of the greatest length, of what costs most to read and check.
#[test]
fn the_longest_formulas_are_read() {
    for piece in ["x+", "-(", "min(1,", "not ", "1<", "nonsense-1.x+", "(", "\"", "`", "1and "] {
        let source = piece.repeat(MAX_LENGTH / piece.len());
        assert!(compile(&source, &soup_names()[..]).is_err(), "{piece}");
    }
    let sum = "x+".repeat(MAX_LENGTH / 2 - 1) + "x";
    let program = compile(&sum, &soup_names()[..]).unwrap();
    assert_eq!(program.evaluate(|_| Value::Number(1.0)), Value::Number((MAX_LENGTH / 2) as f64));
}

#[test]
fn words_that_mean_something_are_reserved() {
    for word in ["and", "Or", "true", "if", "min", "dew_point", "time", "weekday", "link"] {
        assert!(is_reserved(word), "{word}");
    }
    for word in ["target", "mode", "up", "times", "minimum", "soil-1", "1wire"] {
        assert!(!is_reserved(word), "{word}");
    }
}
