//! The expression language of derived sensors and rules: `dew_point(air.temperature, air.humidity)`,
//! `mode == "auto" and room.temperature < target - 0.3`.
//!
//! Pure: no I/O, no clock, and it knows neither sensors nor topics. Three promises:
//!
//! - **Every mistake is reported with its place**, all at once, before anything is evaluated: form, unknown names ("did you
//!   mean"), kinds that do not go together, units that do not fit. No text can make it panic or overflow the stack.
//! - **Nothing unknown is taken as known.** A value may be unknown, and then everything is that depends on it.
//! - **Evaluation is cheap**: nothing is looked up by its name, nothing is allocated, nothing can fail.
//!
//! There are no loops, no assignments, no state: a formula is a function of its inputs.
//!
//! # Example
//!
//! [`compile`] asks [`Names`] what the names mean and gives a [`Program`], or every [`Problem`]:
//!
//! ```
//! use fieldgate_formula::{Input, Kind, Value, compile};
//!
//! // The caller knows the names and implements `Names`; a list will do. A signal's index is its place in the list.
//! let names = [("air.temperature", Kind::number("°C")), ("air.humidity", Kind::number("%"))];
//!
//! let program = compile("dew_point(air.temperature, air.humidity)", &names[..]).unwrap();
//! assert_eq!(program.kind(), &Kind::number("°C"));
//! assert_eq!(program.inputs(), [Input::Signal(0), Input::Signal(1)]);
//!
//! let dew_point = |humidity| {
//!     program.evaluate(|input| match input {
//!         Input::Signal(0) => Value::Number(25.0),
//!         Input::Signal(1) => humidity,
//!         _ => Value::Unknown,
//!     })
//! };
//! assert_eq!(dew_point(Value::Number(10.0)).as_number().map(f64::round), Some(-9.0));
//! assert_eq!(dew_point(Value::Number(0.0)), Value::Unknown); // dry air has no dew point
//! assert_eq!(dew_point(Value::Unknown), Value::Unknown);
//!
//! let source = "air.temprature + air.humidity > 20";
//! let problems = compile(source, &names[..]).unwrap_err();
//! assert_eq!(problems[0].span.text(source), "air.temprature");
//! assert_eq!(problems[0].to_string(), "there is no `air.temprature` (did you mean `air.temperature`?)");
//! ```
//!
//! # Grammar
//!
//! ```ebnf
//! formula    = and , { "or" , and } ;
//! and        = not , { "and" , not } ;
//! not        = { "not" } , comparison ;
//! comparison = sum , [ ( "<" | "<=" | ">" | ">=" | "==" | "!=" ) , sum ] ;
//! sum        = product , { ( "+" | "-" ) , product } ;
//! product    = signed , { ( "*" | "/" ) , signed } ;
//! signed     = { "-" } , operand ;
//! operand    = number | text | "true" | "false" | name | call | "(" , formula , ")" ;
//! call       = word , "(" , [ formula , { "," , formula } ] , ")" ;
//! name       = word , [ "." , word ] ;
//! word       = ( letter | "_" ) , { inner } , { "-" , { "-" } , inner , { inner } }
//!            | "`" , ( inner | "-" ) , { inner | "-" } , "`" ;
//! inner      = letter | digit | "_" ;
//! number     = digit , { digit } , [ "." , digit , { digit } ] , [ ( "e" | "E" ) , [ "+" | "-" ] , digit , { digit } ] ;
//! text       = '"' , { character - '"' } , '"' | "'" , { character - "'" } , "'" ;
//! ```
//!
//! Space and line breaks may stand between any two of these, but not within a name. Behind the dot of a name, a word may begin
//! with a digit. A formula has at most [`MAX_LENGTH`] bytes, and parentheses, functions and signs nest at most [`MAX_NESTING`]
//! deep.
//!
//! A hyphen between two letters or digits belongs to the name, since `soil-1` is one: to subtract, write spaces. Backticks make
//! a name of any word, as for a sensor called `1wire` or a variable called `time`. Comparisons cannot be chained.
//!
//! ```
//! # use fieldgate_formula::parse;
//! let formula = parse("soil-1.moisture - 2*-x < 3 and not `1wire`.active").unwrap();
//! assert_eq!(formula.to_string(), "soil-1.moisture - 2 * -x < 3 and not `1wire`.active");
//! assert_eq!(parse("(1 + 2) * 3 == 9 or a and b").unwrap().to_string(), "(1 + 2) * 3 == 9 or a and b");
//! assert_eq!(parse("1 < x < 3").unwrap_err()[0].hint, "write `1 < x and x < …`");
//! ```
//!
//! # Values
//!
//! A value is a number, a flag (true or false), a text, or a time of day; each part of a formula has one such [`Kind`], known
//! when it is checked. `+ - * /` take numbers, `and or not` flags. `<` and its like compare two numbers or two times, `==` and
//! `!=` any two of one kind. A text beside a time of day is one: `time >= "22:00"`. A text that the other side can never be
//! (`mode == "atuo"`) is a problem.
//!
//! Any of them may be **unknown**. It makes everything unknown that is computed from it, but for what is decided without it:
//! `false and unknown` is false, `true or unknown` is true (Kleene's logic). `if` with an unknown condition is unknown, whatever
//! it chooses from. Where arithmetic has no finite result (a division by 0, the root of a negative number, an overflow), and
//! where a function of the weather is outside its range, the result is unknown too. What is so for all inputs is a problem.
//!
//! ```
//! # use fieldgate_formula::{Kind, Value, compile};
//! # let names = [("x", Kind::number("")), ("y", Kind::number(""))];
//! let check = |source, expected| {
//!     let program = compile(source, &names[..]).unwrap();
//!     assert_eq!(program.evaluate(|_| Value::Unknown), expected);
//! };
//! check("x > 3 and 1 > 2", Value::Flag(false));
//! check("x > 3 and 1 < 2", Value::Unknown);
//! check("not x == x", Value::Unknown);
//!
//! let quotient = compile("x / y", &names[..]).unwrap();
//! assert_eq!(quotient.evaluate(|_| Value::Number(0.0)), Value::Unknown);
//! assert_eq!(compile("x / 0", &names[..]).unwrap_err()[0].what, "this divides by 0");
//! ```
//!
//! # Names
//!
//! | name | is |
//! |---|---|
//! | `sensor.measurement`, `output.value`, `variable` | what [`Names`] says |
//! | `link.up` | whether the broker is connected |
//! | `time` | the time of day, hours and minutes |
//! | `weekday` | `"mon"`, `"tue"`, `"wed"`, `"thu"`, `"fri"`, `"sat"` or `"sun"` |
//!
//! # Units
//!
//! Numbers carry the unit of what they come from, and a number that was written down has none: it fits everywhere. [`Unit`] has
//! the rules. Adding or comparing two different units is a problem; nothing is converted.
//!
//! ```
//! # use fieldgate_formula::{Kind, Unit, compile};
//! let (celsius, hectopascal) = (Kind::number("°C"), Kind::number("hPa"));
//! let names = [("in.temperature", celsius.clone()), ("out.temperature", celsius), ("air.pressure", hectopascal)];
//! let kind = |source| compile(source, &names[..]).map(|program| program.kind().clone());
//!
//! assert_eq!(kind("in.temperature * 2 + 1"), Ok(Kind::number("°C")));
//! assert_eq!(kind("in.temperature - out.temperature"), Ok(Kind::Number(Unit::Difference("°C".into()))));
//! assert_eq!(kind("air.pressure / in.temperature"), Ok(Kind::Number(Unit::Open)));
//! assert_eq!(kind("in.temperature + air.pressure").unwrap_err()[0].what, "°C and hPa cannot be added");
//! ```
//!
//! # Functions
//!
//! [`FUNCTIONS`] is the table, and [`weather`] has the formulas of the last five with their sources, ranges and errors.
//!
//! | function | gives | units |
//! |---|---|---|
//! | `if(condition, a, b)` | a where the condition is true, b where it is false | a and b have the same |
//! | `min(x, …)`, `max(x, …)`, `mean(x, …)` | the smallest, the greatest, the arithmetic mean | all have the same |
//! | `abs(x)`, `round(x)` | x without its sign; the nearest whole number, halves away from 0 | that of x |
//! | `clamp(x, low, high)` | x, but not below low and not above high | all have the same |
//! | `sqrt(x)`, `exp(x)`, `ln(x)`, `pow(x, y)` | root, power of e, natural logarithm, x to the power of y | none, or open |
//! | `dew_point(temperature, humidity)` | where the air would be saturated | °C, % → °C |
//! | `absolute_humidity(temperature, humidity)` | the mass of water vapour in the air | °C, % → g/m³ |
//! | `heat_index(temperature, humidity)` | what it feels like in the shade | °C, % → °C |
//! | `vapour_pressure(temperature, humidity)` | the partial pressure of water vapour | °C, % → hPa |
//! | `sea_level_pressure(pressure, temperature, altitude)` | the pressure at sea level | hPa, °C, m → hPa |

mod check;
mod collector;
mod function;
mod kind;
mod parse;
mod problem;
mod program;
mod syntax;
#[cfg(test)]
mod tests;
mod token;
mod value;
pub mod weather;

pub use check::{Names, Signal, compile};
pub use collector::NameCollector;
pub use function::{FUNCTIONS, FunctionSpec};
pub use kind::{Kind, Unit};
pub use parse::{MAX_LENGTH, MAX_NESTING, parse};
pub use problem::{MAX_PROBLEMS, Problem, Span};
pub use program::{Input, Program};
pub use syntax::{Additive, Builtin, Expr, ExprKind, Multiplicative, Name, is_reserved};
pub use value::{Comparison, TimeOfDay, Value, WEEKDAYS};
