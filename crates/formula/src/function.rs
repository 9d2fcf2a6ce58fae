//! THE TABLE of functions: how each is called, what it takes and gives.
//!
//! A function is a line in [`FUNCTIONS`] and a variant of `Function`, at which the compiler names the place where it is computed. What
//! it gives depends on its arguments alone; an unknown argument makes the result unknown.

use crate::weather;

/// A function of the language.
#[derive(Clone, Debug)]
pub struct FunctionSpec {
    pub(crate) function: Function,
    /// As it is called.
    pub name: &'static str,
    /// What it takes, in order.
    pub parameters: &'static [&'static str],
    /// Whether more may follow, of the kind of the last one.
    pub takes_more: bool,
    /// What it gives, in one sentence.
    pub about: &'static str,
    pub(crate) typing: Typing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    If,
    Min,
    Max,
    Mean,
    Abs,
    Round,
    Clamp,
    Sqrt,
    Exp,
    Ln,
    Pow,
    DewPoint,
    AbsoluteHumidity,
    HeatIndex,
    VapourPressure,
    SeaLevelPressure,
}

/// What a function asks of its arguments, and the kind of its result.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Typing {
    /// True or false, then two of one kind.
    Choice,
    /// Numbers in one unit, which is the result's.
    Same,
    /// Numbers; bare if all are bare, else in a unit that nobody knows.
    Bare,
    /// A number in each of these units, and the unit of the result.
    Units(&'static [&'static str], &'static str),
}

const fn spec(
    function: Function,
    name: &'static str,
    parameters: &'static [&'static str],
    typing: Typing,
    about: &'static str,
) -> FunctionSpec {
    FunctionSpec { function, name, parameters, takes_more: false, about, typing }
}

const fn of_many(function: Function, name: &'static str, about: &'static str) -> FunctionSpec {
    FunctionSpec { function, name, parameters: &["x"], takes_more: true, about, typing: Typing::Same }
}

const AIR: &[&str] = &["temperature", "humidity"];
const AIR_UNITS: &[&str] = &["°C", "%"];

/// All functions.
pub static FUNCTIONS: &[FunctionSpec] = &[
    spec(
        Function::If,
        "if",
        &["condition", "a", "b"],
        Typing::Choice,
        "a where the condition is true, b where it is false",
    ),
    of_many(Function::Min, "min", "the smallest"),
    of_many(Function::Max, "max", "the greatest"),
    of_many(Function::Mean, "mean", "the arithmetic mean"),
    spec(Function::Abs, "abs", &["x"], Typing::Same, "x without its sign"),
    spec(Function::Round, "round", &["x"], Typing::Same, "the nearest whole number; halves away from 0"),
    spec(
        Function::Clamp,
        "clamp",
        &["x", "low", "high"],
        Typing::Same,
        "x, but not below low and not above high; unknown if low is above high",
    ),
    spec(Function::Sqrt, "sqrt", &["x"], Typing::Bare, "the square root; unknown below 0"),
    spec(Function::Exp, "exp", &["x"], Typing::Bare, "e to the power of x"),
    spec(Function::Ln, "ln", &["x"], Typing::Bare, "the natural logarithm; unknown at 0 and below"),
    spec(Function::Pow, "pow", &["x", "y"], Typing::Bare, "x to the power of y"),
    spec(
        Function::DewPoint,
        "dew_point",
        AIR,
        Typing::Units(AIR_UNITS, "°C"),
        "the temperature in °C at which the air would be saturated",
    ),
    spec(
        Function::AbsoluteHumidity,
        "absolute_humidity",
        AIR,
        Typing::Units(AIR_UNITS, "g/m³"),
        "the mass of water vapour in the air in g/m³",
    ),
    spec(
        Function::HeatIndex,
        "heat_index",
        AIR,
        Typing::Units(AIR_UNITS, "°C"),
        "the temperature in °C that it feels like in the shade",
    ),
    spec(
        Function::VapourPressure,
        "vapour_pressure",
        AIR,
        Typing::Units(AIR_UNITS, "hPa"),
        "the partial pressure of water vapour in hPa",
    ),
    spec(
        Function::SeaLevelPressure,
        "sea_level_pressure",
        &["pressure", "temperature", "altitude"],
        Typing::Units(&["hPa", "°C", "m"], "hPa"),
        "the air pressure in hPa that a place at sea level would have",
    ),
];

impl FunctionSpec {
    /// The function that is called so.
    pub fn named(name: &str) -> Option<&'static Self> {
        FUNCTIONS.iter().find(|spec| spec.name == name)
    }

    /// How it is called: `clamp(x, low, high)`, `min(x, …)`.
    pub fn usage(&self) -> String {
        let more = if self.takes_more { ", …" } else { "" };
        format!("{}({}{more})", self.name, self.parameters.join(", "))
    }

    pub(crate) fn takes(&self, count: usize) -> bool {
        count == self.parameters.len() || self.takes_more && count > self.parameters.len()
    }

    /// How many values it takes, in words.
    pub(crate) fn count(&self) -> String {
        let values = if self.parameters.len() == 1 { "value" } else { "values" };
        format!("{} {values}{}", self.parameters.len(), if self.takes_more { " or more" } else { "" })
    }
}

impl Function {
    /// The result for these arguments. `None` if there is none, or if one of them is unknown.
    pub(crate) fn of(self, arguments: impl Iterator<Item = Option<f64>> + Clone) -> Option<f64> {
        let count = arguments.clone().count();
        let mut each = arguments.clone();
        let mut next = move || each.next().flatten();
        match self {
            // What is chosen may be no number: the program does it.
            Self::If => None,
            Self::Min => fold(arguments, f64::min),
            Self::Max => fold(arguments, f64::max),
            Self::Mean => Some(fold(arguments, |sum, x| sum + x)? / count as f64),
            Self::Abs => Some(next()?.abs()),
            Self::Round => Some(next()?.round()),
            Self::Clamp => {
                let (x, low, high) = (next()?, next()?, next()?);
                (low <= high).then(|| x.clamp(low, high))
            }
            Self::Sqrt => Some(next()?.sqrt()),
            Self::Exp => Some(next()?.exp()),
            Self::Ln => Some(next()?.ln()),
            Self::Pow => Some(next()?.powf(next()?)),
            Self::DewPoint => weather::dew_point(next()?, next()?),
            Self::AbsoluteHumidity => weather::absolute_humidity(next()?, next()?),
            Self::HeatIndex => weather::heat_index(next()?, next()?),
            Self::VapourPressure => weather::vapour_pressure(next()?, next()?),
            Self::SeaLevelPressure => weather::sea_level_pressure(next()?, next()?, next()?),
        }
    }
}

fn fold(mut numbers: impl Iterator<Item = Option<f64>>, join: fn(f64, f64) -> f64) -> Option<f64> {
    let first = numbers.next()??;
    numbers.try_fold(first, |so_far, number| Some(join(so_far, number?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, arguments: &[f64], expected: Option<f64>) {
        let function = FunctionSpec::named(name).unwrap().function;
        assert_eq!(function.of(arguments.iter().copied().map(Some)), expected, "{name} {arguments:?}");
    }

    #[test]
    fn functions_of_arithmetic_are_what_their_names_say() {
        check("min", &[3.0, -1.0, 2.0], Some(-1.0));
        check("max", &[3.0, -1.0, 2.0], Some(3.0));
        check("mean", &[1.0, 2.0, 6.0], Some(3.0));
        check("mean", &[4.0], Some(4.0));
        check("abs", &[-2.5], Some(2.5));
        check("round", &[2.5], Some(3.0));
        check("round", &[-2.5], Some(-3.0));
        check("clamp", &[5.0, 0.0, 3.0], Some(3.0));
        check("clamp", &[5.0, 3.0, 0.0], None);
        check("sqrt", &[9.0], Some(3.0));
        check("exp", &[0.0], Some(1.0));
        check("ln", &[1.0], Some(0.0));
        check("pow", &[2.0, -1.0], Some(0.5));
    }

    #[test]
    fn one_unknown_argument_makes_the_result_unknown() {
        for spec in FUNCTIONS.iter().filter(|spec| spec.function != Function::If) {
            let known = spec.parameters.iter().map(|name| Some(if *name == "pressure" { 1000.0 } else { 20.0 }));
            assert!(spec.function.of(known.clone()).is_some(), "{}", spec.name);
            for unknown in 0..spec.parameters.len() {
                let arguments = known.clone().enumerate().map(|(nth, value)| value.filter(|_| nth != unknown));
                assert_eq!(spec.function.of(arguments), None, "{} {unknown}", spec.name);
            }
        }
    }

    #[test]
    fn each_function_shows_how_it_is_called() {
        let usages: Vec<_> = FUNCTIONS.iter().map(FunctionSpec::usage).collect();
        assert!(usages.contains(&"clamp(x, low, high)".to_owned()) && usages.contains(&"min(x, …)".to_owned()));
    }
}
