//! One formula per rule, with what is reported.

use crate::kind::{Kind, Unit};
use crate::{Input, Program, compile};

/// A small greenhouse.
fn names() -> Vec<(&'static str, Kind)> {
    vec![
        ("air.temperature", Kind::number("°C")),
        ("air.humidity", Kind::number("%")),
        ("air.pressure", Kind::number("hPa")),
        ("outside.temperature", Kind::number("°C")),
        ("roof.temperature", Kind::number("°F")),
        ("water.pressure", Kind::number("kPa")),
        ("soil-1.moisture", Kind::number("%")),
        ("rain.count", Kind::number("")),
        ("door.active", Kind::Flag),
        ("pump.value", Kind::options(["on", "off"])),
        ("blind.value", Kind::Text(None)),
        ("target", Kind::number("°C")),
        ("hysteresis", Kind::number("K")),
        ("mode", Kind::options(["auto", "away", "off"])),
        ("sunset", Kind::Time),
        ("mean", Kind::number("")),
    ]
}

fn program(source: &str) -> Program {
    compile(source, &names()[..]).unwrap_or_else(|problems| panic!("{source}: {problems:?}"))
}

fn check_kind(source: &str, kind: &Kind) {
    assert_eq!(program(source).kind(), kind, "{source}");
}

fn check_unit(source: &str, unit: &Unit) {
    check_kind(source, &Kind::Number(unit.clone()));
}

/// Asserts that these are all problems: the words marked, what is wrong, and the hint.
fn check(source: &str, expected: &[(&str, &str, &str)]) {
    let problems = compile(source, &names()[..]).expect_err(source);
    let found: Vec<_> = problems
        .iter()
        .map(|problem| (problem.span.text(source), problem.what.as_str(), problem.hint.as_str()))
        .collect();
    assert_eq!(found, expected, "{source}");
}

fn celsius() -> Unit {
    Unit::of("°C")
}

fn difference() -> Unit {
    Unit::Difference("°C".into())
}

#[test]
fn numbers_carry_their_units() {
    check_unit("1 + rain.count * 2", &Unit::Bare);
    check_unit("air.temperature + 1", &celsius());
    check_unit("air.temperature - outside.temperature", &difference());
    check_unit("-abs(air.temperature - outside.temperature) / 2", &difference());
    check_unit("target - (air.temperature - outside.temperature)", &celsius());
    check_unit("target - hysteresis", &celsius());
    check_unit("(air.temperature + outside.temperature) / 2", &celsius());
    check_unit("mean(air.temperature, outside.temperature, 20)", &celsius());
    check_unit("clamp(round(1.8 * air.humidity), 0, 100)", &Unit::of("%"));
    check_unit("air.pressure * air.humidity", &Unit::Open);
    check_unit("air.pressure / air.pressure + air.temperature", &Unit::Open);
    check_unit("1 / air.humidity", &Unit::Open);
    check_unit("sqrt(2)", &Unit::Bare);
    check_unit("exp(air.temperature)", &Unit::Open);
    check_unit("if(door.active, air.temperature, 0)", &celsius());
    check_unit("dew_point(air.temperature, air.humidity)", &celsius());
    check_unit("dew_point(20, air.humidity / air.pressure)", &celsius());
    check_unit("absolute_humidity(air.temperature, 50)", &Unit::of("g/m³"));
    check_unit("sea_level_pressure(air.pressure, air.temperature, 450)", &Unit::of("hPa"));
}

#[test]
fn conditions_are_true_or_false() {
    for source in [
        "air.temperature < target - 0.3",
        "mode == \"auto\" and air.temperature < target - 0.3",
        "time >= \"22:00\" or time < '06:00'",
        "\"22:00\" <= time",
        "time < sunset",
        "weekday == \"sat\" or weekday != \"sun\"",
        "not link.up",
        "door.active == link.up",
        "pump.value != \"off\"",
        "blind.value == \"anything\"",
        "blind.value == pump.value",
        "air.temperature - outside.temperature > hysteresis",
        "if(door.active, mode, pump.value) == \"on\"",
    ] {
        check_kind(source, &Kind::Flag);
    }
}

#[test]
fn a_program_knows_its_inputs() {
    let source =
        "if(link.up, air.humidity, air.humidity) > 3 and time > \"01:00\" and weekday == \"mon\" and target > 1";
    let expected = [Input::LinkUp, Input::Signal(1), Input::Time, Input::Weekday, Input::Signal(11)];
    assert_eq!(program(source).inputs(), expected);
    assert_eq!(program("1 + 1").inputs(), []);
}

#[test]
fn unknown_names_are_reported_with_those_that_were_meant() {
    check(
        "air.temprature - outsid.temperature",
        &[
            ("air.temprature", "there is no `air.temprature`", "did you mean `air.temperature`?"),
            ("outsid.temperature", "there is no `outsid.temperature`", "did you mean `outside.temperature`?"),
        ],
    );
    check("link.up and nonsense", &[("nonsense", "there is no `nonsense`", "")]);
    check("tiem > \"22:00\"", &[("tiem", "there is no `tiem`", "did you mean `time`?")]);
    check("air + 1", &[("air", "there is no `air`", "there is `air.temperature`, `air.humidity`, `air.pressure`")]);
    check("door.light == 1", &[("door.light", "there is no `door.light`", "there is `door.active`")]);
    check("`time` == 1", &[("`time`", "there is no `time`", "without backticks it is the gateway's own")]);
    check("mode == away", &[("away", "there is no `away`", "a text stands in quotes: \"away\"")]);
    check("sat == weekday", &[("sat", "there is no `sat`", "a text stands in quotes: \"sat\"")]);
    check(
        "target-0.3",
        &[(
            "target-0.3",
            "there is no `target-0.3`",
            "a hyphen is a part of a name; to subtract, write `target - 0.3`",
        )],
    );
}

#[test]
fn functions_are_known_by_name_and_count() {
    check("avg(1, 2)", &[("avg", "there is no function `avg`", ALL)]);
    check("dewpoint(1, 2)", &[("dewpoint", "there is no function `dewpoint`", "did you mean `dew_point`?")]);
    check("clamp(1, 2)", &[("clamp(1, 2)", "`clamp` takes 3 values, not 2", "write `clamp(x, low, high)`")]);
    check("min()", &[("min()", "`min` takes 1 value or more, not 0", "write `min(x, …)`")]);
    check(
        "min(nothing, sqrt())",
        &[("nothing", "there is no `nothing`", ""), ("sqrt()", "`sqrt` takes 1 value, not 0", "write `sqrt(x)`")],
    );
    check("1 + max", &[("max", "`max` is a function", "write `max(x, …)`")]);
    check_unit("1 + mean", &Unit::Bare);
}

const ALL: &str = "there is if, min, max, mean, abs, round, clamp, sqrt, exp, ln, pow, dew_point, absolute_humidity, \
                   heat_index, vapour_pressure, sea_level_pressure";

#[test]
fn units_that_do_not_fit_are_reported() {
    check(
        "air.temperature + air.pressure > 3",
        &[(
            "air.temperature + air.pressure",
            "°C and hPa cannot be added",
            "`air.temperature` is a number in °C, `air.pressure` is a number in hPa",
        )],
    );
    check(
        "air.pressure - 1 - water.pressure",
        &[(
            "air.pressure - 1 - water.pressure",
            "hPa and kPa cannot be subtracted",
            "the filter `to: hPa` converts `water.pressure`",
        )],
    );
    check(
        "air.temperature > roof.temperature",
        &[(
            "air.temperature > roof.temperature",
            "°C and °F cannot be compared",
            "the filter `to: °C` converts `roof.temperature`",
        )],
    );
    check(
        "min(3, air.temperature, 5, air.humidity)",
        &[(
            "air.temperature, 5, air.humidity",
            "`min` needs one unit, and these are °C and %",
            "`air.temperature` is a number in °C, `air.humidity` is a number in %",
        )],
    );
    check(
        "if(door.active, air.temperature, air.humidity)",
        &[(
            "air.temperature, air.humidity",
            "`if` gives one unit, not °C or %",
            "`air.temperature` is a number in °C, `air.humidity` is a number in %",
        )],
    );
}

#[test]
fn functions_of_the_weather_need_their_units() {
    check(
        "dew_point(air.humidity, air.temperature)",
        &[
            (
                "air.humidity",
                "`dew_point` needs °C here, and `air.humidity` is a number in %",
                "it is `dew_point(temperature, humidity)`",
            ),
            (
                "air.temperature",
                "`dew_point` needs % here, and `air.temperature` is a number in °C",
                "it is `dew_point(temperature, humidity)`",
            ),
        ],
    );
    check(
        "dew_point(roof.temperature, 50)",
        &[(
            "roof.temperature",
            "`dew_point` needs °C here, and `roof.temperature` is a number in °F",
            "the filter `to: °C` converts it",
        )],
    );
    check(
        "dew_point(air.temperature - target, 50)",
        &[(
            "air.temperature - target",
            "`dew_point` needs °C here, and `air.temperature - target` is a difference of °C",
            "if what is subtracted is a difference itself, give it the unit K, or none",
        )],
    );
    check_unit("dew_point(air.temperature - hysteresis, 50)", &celsius());
}

#[test]
fn each_operator_needs_its_kind() {
    check(
        "door.active + 1",
        &[(
            "door.active",
            "`+` needs a number, and `door.active` is true or false",
            "`if(…, 1, 0)` makes a number of it",
        )],
    );
    check("2 * \"3\"", &[("\"3\"", "`*` needs a number, and `\"3\"` is a text", "a number has no quotes: 3")]);
    check("-mode", &[("mode", "`-` needs a number, and `mode` is a text", "")]);
    check("abs(time)", &[("time", "`abs` needs a number, and `time` is a time of day", "")]);
    check(
        "not air.humidity",
        &[(
            "air.humidity",
            "`not` needs true or false, and `air.humidity` is a number in %",
            "compare it, as in `air.humidity == …`",
        )],
    );
    check(
        "link.up and (pump.value or target)",
        &[
            (
                "pump.value",
                "`or` needs true or false, and `pump.value` is a text",
                "compare it, as in `pump.value == …`",
            ),
            ("target", "`or` needs true or false, and `target` is a number in °C", "compare it, as in `target == …`"),
        ],
    );
    check(
        "if(1, 2, 3)",
        &[("1", "the condition of `if` needs true or false, and `1` is a number", "compare it, as in `1 == …`")],
    );
    check(
        "if(link.up, 1, \"1\")",
        &[("if(link.up, 1, \"1\")", "`if` gives one kind of value, not a number or a text", "")],
    );
}

#[test]
fn only_what_can_be_equal_is_compared() {
    check("mode == \"atuo\"", &[("\"atuo\"", "the other side is never \"atuo\"", "did you mean `auto`?")]);
    check(
        "\"running\" != pump.value",
        &[("\"running\"", "the other side is never \"running\"", "it is one of \"on\", \"off\"")],
    );
    check(
        "weekday == \"monday\"",
        &[(
            "\"monday\"",
            "the other side is never \"monday\"",
            "it is one of \"mon\", \"tue\", \"wed\", \"thu\", \"fri\", \"sat\", \"sun\"",
        )],
    );
    check(
        "mode < \"auto\"",
        &[("mode < \"auto\"", "`<` compares numbers and times, and this is a text", "only `==` and `!=` are possible")],
    );
    check(
        "air.temperature > \"20\"",
        &[("air.temperature > \"20\"", "a number in °C cannot be compared with a text", "a number has no quotes: 20")],
    );
    check(
        "door.active == \"on\"",
        &[(
            "door.active == \"on\"",
            "true or false cannot be compared with a text",
            "true or false needs no comparison: write `x`, or `not x`",
        )],
    );
    check(
        "time > 22",
        &[(
            "time > 22",
            "a time of day cannot be compared with a number",
            "a time of day is compared with a text as \"22:00\"",
        )],
    );
    for text in ["9:00", "24:00", "22:00:00", "noon"] {
        check(
            &format!("time > \"{text}\""),
            &[(
                &format!("\"{text}\""),
                &format!("`\"{text}\"` is not a time of day"),
                "\"00:00\" to \"23:59\", each with two digits",
            )],
        );
    }
}

#[test]
fn what_never_has_a_value_is_reported() {
    check("air.temperature / (2 - 2)", &[("(2 - 2)", "this divides by 0", "")]);
    check("air.temperature + sqrt(-4)", &[("sqrt(-4)", "`sqrt(-4)` has no value", "")]);
    check("ln(0) > 1 and link.up", &[("ln(0)", "`ln(0)` has no value", "")]);
    check("dew_point(20, 120)", &[("dew_point(20, 120)", "`dew_point(20, 120)` has no value", "")]);
    check("1e308 * 10", &[("1e308 * 10", "`1e308 * 10` has no value", "")]);
    check("clamp(target, 30, 10)", &[("30, 10", "the lower end is above the upper one", "")]);
}

#[test]
fn mistakes_of_form_and_meaning_are_reported_together() {
    check(
        "min(air.temprature, 1 +, door.active) > AND",
        &[
            ("air.temprature", "there is no `air.temprature`", "did you mean `air.temperature`?"),
            (",", "a value is missing before `,`", ""),
            (
                "door.active",
                "`min` needs a number, and `door.active` is true or false",
                "`if(…, 1, 0)` makes a number of it",
            ),
            ("AND", "`AND` is written in small letters", "write `and`; a name like that stands in backticks"),
            ("AND", "a value is missing before `AND`", ""),
        ],
    );
    let many = compile(&"nothing + ".repeat(50), &names()[..]).unwrap_err();
    assert_eq!(many.len(), crate::MAX_PROBLEMS);
}

#[test]
fn a_program_is_asked_whether_it_fits_its_place() {
    let check = |source: &str, wanted: &Kind, what: &str| {
        let problem = program(source).require(wanted).expect_err(source);
        assert_eq!((problem.span.text(source), problem.what.as_str()), (source, what));
    };
    for (source, wanted) in [
        ("air.temperature - outside.temperature", Kind::number("°C")),
        ("air.temperature", Kind::Number(Unit::Open)),
        ("air.pressure * 2 / air.humidity", Kind::number("kWh")),
        ("link.up", Kind::Flag),
        ("mode", Kind::Text(None)),
        ("sunset", Kind::Time),
    ] {
        assert_eq!(program(source).require(&wanted), Ok(()), "{source}");
    }
    check("air.pressure", &Kind::number("kPa"), "this is a number in hPa, and a number in kPa is needed");
    check("air.pressure + 1", &Kind::Flag, "this is a number in hPa, and true or false is needed");
    check("door.active", &Kind::Number(Unit::Open), "this is true or false, and a number is needed");
    check("mode", &Kind::number("°C"), "this is a text, and a number in °C is needed");
}
