//! What is read as what, and what is reported where.

use super::*;

/// Asserts that `source` is read as what is printed as `expected`.
fn check(source: &str, expected: &str) {
    let expr = parse(source).unwrap_or_else(|problems| panic!("{source:?}: {problems:?}"));
    assert_eq!(expr.to_string(), expected, "{source:?}");
    assert_eq!(expr.span.text(source), source.trim(), "{source:?}");
}

/// Asserts that all of `source` that is wrong is this: the words marked, and what is wrong with them.
fn check_problems(source: &str, expected: &[(&str, &str)]) {
    let problems = parse(source).expect_err(source);
    let found: Vec<_> = problems.iter().map(|problem| (problem.span.text(source), problem.what.as_str())).collect();
    assert_eq!(found, expected, "{source:?}");
}

#[test]
fn signs_bind_as_in_arithmetic_and_words_as_in_python() {
    check("1+2*3-4/5", "1 + 2 * 3 - 4 / 5");
    check("( 1 + 2 ) * 3", "(1 + 2) * 3");
    check("((1 + 2)) + 3", "(1 + 2) + 3");
    check("1 - (2 - 3)", "1 - (2 - 3)");
    check("(1 * 2) + 3", "1 * 2 + 3");
    check("- - x * -y", "--x * -y");
    check("-(x + y)", "-(x + y)");
    check("not a == b and c or d", "not a == b and c or d");
    check("not (a and (b or c))", "not (a and (b or c))");
    check("(not a) == b", "(not a) == b");
    check("a + 1 < b * 2", "a + 1 < b * 2");
    check("(a < b) == c", "(a < b) == c");
}

#[test]
fn names_texts_and_functions_are_read_and_printed() {
    check("if(link.up, 'on', \"off\")", "if(link.up, \"on\", \"off\")");
    check("time>=\"22:00\"", "time >= \"22:00\"");
    check("min(a,b , c.d)", "min(a, b, c.d)");
    check("`time` + link.`up` + link.`down` + `min`", "`time` + `link`.up + link.down + min");
    check("`1wire`.`2` + `and`", "`1wire`.2 + `and`");
    check("\n  a\n+ b  ", "a + b");
}

#[test]
fn what_is_missing_is_reported_where_it_is_missing() {
    check_problems("", &[("", "the formula is empty")]);
    check_problems("  ", &[("  ", "the formula is empty")]);
    check_problems("1 +", &[("", "a value is missing at the end")]);
    check_problems("1 + * 2", &[("*", "a value is missing before `*`")]);
    check_problems("a b", &[("b", "an operator is missing before `b`")]);
    check_problems("(1 + 2", &[("(", "this `(` is never closed")]);
    check_problems("min(1, 2", &[("(", "this `(` is never closed")]);
    check_problems("1 + 2)", &[(")", "nothing was opened that this `)` closes")]);
    check_problems("min(1,)", &[(")", "a value is missing before `)`")]);
}

#[test]
fn one_mistake_is_reported_once_and_others_all_the_same() {
    check_problems(
        "min(a b c, 1 +, (2 3)) * x y",
        &[
            ("b", "an operator or a comma is missing before `b`"),
            (",", "a value is missing before `,`"),
            ("3", "an operator is missing before `3`"),
            ("y", "an operator is missing before `y`"),
        ],
    );
    check_problems("a ; b", &[(";", "`;` means nothing here")]);
    check_problems(
        "min(5m, 3 4)",
        &[("5m", "`5m` is not a number"), ("4", "an operator or a comma is missing before `4`")],
    );
}

#[test]
fn habits_from_elsewhere_are_named() {
    check_problems("1 < x < 3", &[("<", "comparisons cannot be chained")]);
    check_problems("a == not b", &[("not", "`not` needs parentheses here")]);
    check_problems("0,5 * x", &[(",", "a comma stands only between the arguments of a function")]);
    check_problems("x * (0,5)", &[(",", "a comma stands only between the arguments of a function")]);
    check_problems("if a > b, 1, 2", &[("if", "`if` is a function")]);
    check_problems("a && b", &[("&&", "`&&` is not a sign of this language")]);
    let hints: Vec<_> = parse("1 < x + 1 < 3").unwrap_err().into_iter().map(|problem| problem.hint).collect();
    assert_eq!(hints, ["write `1 < x + 1 and x + 1 < …`"]);
}

#[test]
fn nesting_and_length_have_limits() {
    let nested = |depth: usize| format!("{}1{}", "(".repeat(depth), ")".repeat(depth));
    assert!(parse(&nested(MAX_NESTING)).is_ok());
    let too_deep = "more than 24 parentheses, functions and signs within each other";
    check_problems(&nested(MAX_NESTING + 1), &[("1", too_deep)]);
    for sign in ["-", "not ", "abs(", "if((", "(-"] {
        let source = sign.repeat(MAX_LENGTH / sign.len());
        let problems = parse(&source).unwrap_err();
        assert_eq!(problems.iter().map(|problem| problem.what.as_str()).collect::<Vec<_>>(), [too_deep], "{sign}");
    }
    let long = "1".repeat(MAX_LENGTH + 1);
    check_problems(&long, &[(&long, "a formula has at most 2000 bytes, this one has 2001")]);
    assert!(parse(&format!("1{}", "+1".repeat(MAX_LENGTH / 2 - 1))).is_ok(), "a long sum is not a deep one");
}
