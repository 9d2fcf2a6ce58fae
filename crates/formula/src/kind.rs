//! What a part of a formula is, known before anything is evaluated: a number in some unit, a flag, a text, a time of day.

use std::fmt;

/// What kind of value a name or a part of a formula has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number.
    Number(Unit),
    /// True or false.
    Flag,
    /// A text; if all that it can ever be is known, that.
    Text(Option<Vec<String>>),
    /// A time of day.
    Time,
}

impl Kind {
    /// A number in this unit; `""` is none.
    pub fn number(unit: &str) -> Self {
        Self::Number(Unit::of(unit))
    }

    /// A text that is always one of these.
    pub fn options<'o>(options: impl IntoIterator<Item = &'o str>) -> Self {
        Self::Text(Some(options.into_iter().map(str::to_owned).collect()))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(Unit::Of(symbol)) => write!(f, "a number in {symbol}"),
            Self::Number(unit) => unit.fmt(f),
            Self::Flag => f.write_str("true or false"),
            Self::Text(_) => f.write_str("a text"),
            Self::Time => f.write_str("a time of day"),
        }
    }
}

/// The unit of a number, as far as the formula shows it.
///
/// The rules, in the order in which they apply:
///
/// | | gives |
/// |---|---|
/// | open with anything | open |
/// | a bare number added, compared, … to any other | the other's unit |
/// | `°C - °C`, `°F - °F` | a difference of °C, of °F |
/// | `°C` and a difference of °C, or the other way round | °C |
/// | a difference of °C and `K` | a difference of °C |
/// | `°C + K`, `K + °C`, `°C - K` | °C |
/// | two numbers of the same unit | that unit |
/// | two other units added, compared, … | a problem |
/// | a bare number times any other, any other divided by a bare number | the other's unit |
/// | any other product or quotient | open |
///
/// What is a difference matters to those only who need a temperature, such as `dew_point`, and to the conversion of units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unit {
    /// None: a number as it is written, a count.
    Bare,
    /// This one, by its symbol: `°C`, `hPa`, `%`.
    Of(String),
    /// A difference between two temperatures in °C or °F.
    Difference(String),
    /// There may be one, and nobody knows which: of a product, a quotient, a root, a power.
    Open,
}

/// Scales whose zero is not nothing, so that a difference is not a value on the scale.
const OFFSET_SCALES: [&str; 2] = [CELSIUS, "°F"];

const CELSIUS: &str = "°C";
const KELVIN: &str = "K";

/// Units that the filter `to` converts into each other, for hints.
const CONVERTIBLE: [&[&str]; 6] = [
    &[CELSIUS, "°F", KELVIN],
    &["hPa", "Pa", "kPa", "bar", "mbar", "inHg", "mmHg", "psi"],
    &["m", "cm", "mm", "in", "ft"],
    &["V", "mV"],
    &["A", "mA"],
    &["W", "kW"],
];

impl Unit {
    /// The unit with this symbol; `""` is none.
    pub fn of(symbol: &str) -> Self {
        if symbol.is_empty() { Self::Bare } else { Self::Of(symbol.to_owned()) }
    }

    /// Whether a number in this unit may be published or used as one in `wanted`. Bare and open numbers fit everywhere, and
    /// everything fits where [`Unit::Open`] is wanted.
    pub fn fits(&self, wanted: &Self) -> bool {
        match (self, wanted) {
            (Self::Bare | Self::Open, _) | (_, Self::Open) => true,
            (Self::Difference(scale), Self::Of(symbol)) => symbol == scale || is_kelvin(scale, symbol),
            _ => self == wanted,
        }
    }

    /// The unit of two numbers that are compared, or of which either may be the result. `None` if they do not go together.
    pub fn common(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Open, _) | (_, Self::Open) => Some(Self::Open),
            (Self::Bare, unit) | (unit, Self::Bare) => Some(unit.clone()),
            (Self::Of(left), Self::Of(right)) if left == right => Some(self.clone()),
            (Self::Difference(left), Self::Difference(right)) if left == right => Some(self.clone()),
            (Self::Of(symbol), Self::Difference(scale)) | (Self::Difference(scale), Self::Of(symbol)) => {
                if symbol == scale {
                    Some(Self::Of(symbol.clone()))
                } else {
                    is_kelvin(scale, symbol).then(|| Self::Difference(scale.clone()))
                }
            }
            _ => None,
        }
    }

    /// The unit of a sum.
    pub fn plus(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Of(left), Self::Of(right)) if is_kelvin(left, right) || is_kelvin(right, left) => {
                Some(Self::of(CELSIUS))
            }
            _ => self.common(other),
        }
    }

    /// The unit of a difference.
    pub fn minus(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Of(left), Self::Of(right)) if left == right && OFFSET_SCALES.contains(&left.as_str()) => {
                Some(Self::Difference(left.clone()))
            }
            (Self::Of(left), Self::Of(right)) if is_kelvin(left, right) => Some(self.clone()),
            _ => self.common(other),
        }
    }

    /// The unit of a product.
    pub fn times(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Bare, unit) | (unit, Self::Bare) => unit.clone(),
            _ => Self::Open,
        }
    }

    /// The unit of a quotient.
    pub fn over(&self, other: &Self) -> Self {
        if *other == Self::Bare { self.clone() } else { Self::Open }
    }

    /// Whether the filter `to` makes one of the other.
    pub(crate) fn is_convertible_to(&self, other: &Self) -> bool {
        let (Self::Of(left), Self::Of(right)) = (self, other) else { return false };
        CONVERTIBLE.iter().any(|units| [left, right].iter().all(|unit| units.contains(&unit.as_str())))
    }
}

/// Whether these are a scale and the unit of its differences.
fn is_kelvin(scale: &str, unit: &str) -> bool {
    scale == CELSIUS && unit == KELVIN
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bare | Self::Open => f.write_str("a number"),
            Self::Of(symbol) => f.write_str(symbol),
            Self::Difference(scale) => write!(f, "a difference of {scale}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn difference(scale: &str) -> Unit {
        Unit::Difference(scale.to_owned())
    }

    fn unit() -> impl Strategy<Value = Unit> {
        let symbols = || prop::sample::select(vec!["°C", "°F", "K", "hPa", "%"]);
        let scales = prop::sample::select(OFFSET_SCALES.to_vec());
        prop_oneof![Just(Unit::Bare), Just(Unit::Open), symbols().prop_map(Unit::of), scales.prop_map(difference),]
    }

    #[test]
    fn temperatures_and_their_differences_go_together() {
        let (celsius, kelvin) = (Unit::of("°C"), Unit::of("K"));
        assert_eq!(celsius.minus(&celsius), Some(difference("°C")));
        assert_eq!(celsius.plus(&celsius), Some(celsius.clone()), "the first half of a mean");
        for step in [difference("°C"), kelvin.clone(), Unit::Bare] {
            assert_eq!(celsius.minus(&step), Some(celsius.clone()), "{step}");
            assert_eq!(celsius.plus(&step), Some(celsius.clone()), "{step}");
            assert_eq!(step.plus(&celsius), Some(celsius.clone()), "{step}");
        }
        assert_eq!(difference("°C").plus(&kelvin), Some(difference("°C")));
        assert_eq!(celsius.common(&difference("°C")), Some(celsius.clone()));
        assert_eq!(celsius.common(&kelvin), None, "20 °C is not 20 K");
        assert_eq!(kelvin.minus(&celsius), None);
        assert_eq!(difference("°F").common(&kelvin), None);
        assert_eq!(difference("°F").common(&difference("°C")), None);
    }

    #[test]
    fn other_scales_begin_at_nothing() {
        let pressure = Unit::of("hPa");
        assert_eq!(pressure.minus(&pressure), Some(pressure.clone()));
        assert_eq!(pressure.plus(&Unit::of("kPa")), None);
        assert!(pressure.is_convertible_to(&Unit::of("kPa")) && !pressure.is_convertible_to(&Unit::of("°C")));
    }

    #[test]
    fn what_is_published_has_the_unit_that_was_declared() {
        assert!(difference("°C").fits(&Unit::of("°C")) && difference("°C").fits(&Unit::of("K")));
        assert!(Unit::Bare.fits(&Unit::of("°C")) && Unit::Open.fits(&Unit::of("kWh")));
        assert!(Unit::of("°C").fits(&Unit::Open));
        assert!(!Unit::of("°C").fits(&Unit::of("K")) && !Unit::of("°C").fits(&Unit::Bare));
        assert!(!Unit::of("°C").fits(&difference("°C")));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn neither_side_of_an_operator_is_special(left in unit(), right in unit()) {
            prop_assert_eq!(left.common(&right), right.common(&left));
            prop_assert_eq!(left.plus(&right), right.plus(&left));
            prop_assert_eq!(left.times(&right), right.times(&left));
        }

        #[test]
        fn bare_numbers_change_no_unit(unit in unit()) {
            prop_assert_eq!(unit.common(&Unit::Bare), Some(unit.clone()));
            prop_assert_eq!(unit.minus(&Unit::Bare), Some(unit.clone()));
            prop_assert_eq!(unit.times(&Unit::Bare), unit.clone());
            prop_assert_eq!(unit.over(&Unit::Bare), unit);
        }

        #[test]
        fn what_can_be_compared_can_be_added_and_subtracted(left in unit(), right in unit()) {
            if let Some(common) = left.common(&right) {
                prop_assert_eq!(left.plus(&right), Some(common));
                prop_assert!(left.minus(&right).is_some());
            }
        }

        #[test]
        fn whatever_is_taken_away_can_be_added_again(left in unit(), right in unit()) {
            if let Some(difference) = left.minus(&right) {
                prop_assert_eq!(difference.plus(&right), left.common(&right).or_else(|| left.plus(&right)));
            }
        }
    }
}
