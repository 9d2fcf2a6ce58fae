//! Units and what they are multiples of.
//!
//! Factors are exact by definition: the International System of Units (BIPM brochure, 9th edition), and for the others NIST
//! Special Publication 811, appendix B.8 (inch, foot, mile, pound, ounce, US gallon, knot). Of mercury, a conventional
//! millimetre weighs 13595.1 kg/m³ × 9.80665 m/s², and an inch is 25.4 of them: the 3386.389 Pa of that appendix are rounded.

/// A unit as a multiple of the first one of its kind: `base = value × factor + offset`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unit {
    /// As users write it.
    pub name: &'static str,
    factor: f64,
    offset: f64,
}

const fn unit(name: &'static str, factor: f64) -> Unit {
    Unit { name, factor, offset: 0.0 }
}

const POUND: f64 = 0.453_592_37;
/// Pounds-force on a square inch.
const PSI: f64 = POUND * 9.806_65 / (0.0254 * 0.0254);
/// A millimetre of mercury.
const MMHG: f64 = 133.322_387_415;

/// All units, one list for each kind.
pub static UNITS: &[&[Unit]] = &[
    &[
        unit("°C", 1.0),
        Unit { name: "°F", factor: 5.0 / 9.0, offset: -160.0 / 9.0 },
        Unit { name: "K", factor: 1.0, offset: -273.15 },
    ],
    &[
        unit("Pa", 1.0),
        unit("hPa", 100.0),
        unit("kPa", 1000.0),
        unit("bar", 100_000.0),
        unit("mbar", 100.0),
        unit("psi", PSI),
        unit("inHg", 25.4 * MMHG),
        unit("mmHg", MMHG),
    ],
    &[unit("m", 1.0), unit("cm", 0.01), unit("mm", 0.001), unit("km", 1000.0), unit("in", 0.0254), unit("ft", 0.3048)],
    &[unit("V", 1.0), unit("mV", 0.001)],
    &[unit("A", 1.0), unit("mA", 0.001)],
    &[unit("W", 1.0), unit("kW", 1000.0), unit("mW", 0.001)],
    &[unit("kg", 1.0), unit("g", 0.001), unit("lb", POUND), unit("oz", POUND / 16.0)],
    &[unit("L", 0.001), unit("mL", 1e-6), unit("m³", 1.0), unit("gal", 0.003_785_411_784)],
    &[unit("m/s", 1.0), unit("km/h", 1.0 / 3.6), unit("mph", 0.447_04), unit("kn", 1852.0 / 3600.0)],
    &[unit("Hz", 1.0), unit("kHz", 1000.0)],
];

/// A straight line: `value × factor + offset`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conversion {
    /// The factor.
    pub factor: f64,
    /// What is added then.
    pub offset: f64,
}

/// How values in the unit `from` become values in the unit `to`; `None` for units that are not known or not of one kind.
pub fn conversion(from: &str, to: &str) -> Option<Conversion> {
    let kind = UNITS.iter().find(|kind| kind.iter().any(|unit| unit.name == from))?;
    let of = |name| kind.iter().find(|unit| unit.name == name);
    let (from, to) = (of(from)?, of(to)?);
    Some(Conversion { factor: from.factor / to.factor, offset: (from.offset - to.offset) / to.factor })
}

/// The other units of the kind that a unit is of.
pub(crate) fn of_the_same_kind(name: &str) -> Vec<&'static str> {
    let kind = UNITS.iter().find(|kind| kind.iter().any(|unit| unit.name == name));
    let others = kind.into_iter().copied().flatten().map(|unit| unit.name);
    others.filter(|other| *other != name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: f64, from: &str, to: &str, expected: f64) {
        let line = conversion(from, to).unwrap();
        let found = value * line.factor + line.offset;
        assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1.0), "{value} {from} is {found} {to}");
    }

    #[test]
    fn well_known_conversions_are_right() {
        check(100.0, "°C", "°F", 212.0);
        check(-40.0, "°F", "°C", -40.0);
        check(0.0, "°C", "K", 273.15);
        check(300.0, "K", "°F", 80.33);
        check(1013.25, "hPa", "mbar", 1013.25);
        check(1013.25, "hPa", "bar", 1.01325);
        check(1.0, "psi", "Pa", 6_894.757_293_168_361);
        check(1.0, "inHg", "mmHg", 25.4);
        check(1.0, "inHg", "Pa", 3_386.388_640_341);
        check(12.0, "in", "ft", 1.0);
        check(36.0, "km/h", "m/s", 10.0);
        check(16.0, "oz", "lb", 1.0);
        check(1.0, "m³", "L", 1000.0);
    }

    #[test]
    fn there_and_back_is_where_it_began() {
        for kind in UNITS {
            for (from, to) in kind.iter().flat_map(|from| kind.iter().map(move |to| (from.name, to.name))) {
                let (there, back) = (conversion(from, to).unwrap(), conversion(to, from).unwrap());
                let value = (21.5 * there.factor + there.offset) * back.factor + back.offset;
                assert!((value - 21.5).abs() < 1e-9, "{from} {to}: {value}");
            }
        }
    }

    #[test]
    fn other_kinds_and_unknown_units_are_not_converted() {
        for (from, to) in [("°C", "hPa"), ("°C", "C"), ("ppm", "ppb"), ("", "°C")] {
            assert_eq!(conversion(from, to), None, "{from} {to}");
        }
        assert_eq!(of_the_same_kind("V"), ["mV"]);
        assert!(of_the_same_kind("lx").is_empty());
    }
}
