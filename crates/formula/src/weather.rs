//! Functions of moist air, as meteorologists publish them. `None` outside the range that a formula was published for, where it
//! would give a number that looks right.
//!
//! All take relative humidity over **liquid water**, below 0 °C as well: that is what humidity sensors report, as the WMO asks.
//! `weather/reference.tsv` is what each is verified against, made by `weather/reference_weather.py`.
//!
//! | function | formula | range | error |
//! |---|---|---|---|
//! | `vapour_pressure` | Magnus | -45 to 60 °C, 0 to 100 % | 0.3 %, below 0 °C 0.5 % |
//! | `dew_point` | Magnus, solved for the temperature | the same, and a dew point from -45 °C | 0.1 °C |
//! | `absolute_humidity` | ideal gas | as `vapour_pressure` | 1 % |
//! | `heat_index` | Rothfusz | -45 to 50 °C, 0 to 100 %, a result up to 58.3 °C | 0.7 °C |
//! | `sea_level_pressure` | barometric | 300 to 1100 hPa, -45 to 60 °C, -500 to 5000 m | see there |
//!
//! The errors are those of the formulas; a sensor's own is larger: 2 % of humidity are 0.4 to 0.9 °C of dew point indoors.

/// Where Magnus' formula with these constants is good, in °C.
const MAGNUS_RANGE: std::ops::RangeInclusive<f64> = -45.0..=60.0;

/// Constants of Magnus' formula over water: hPa, none, °C.
const MAGNUS: (f64, f64, f64) = (6.112, 17.62, 243.12);

const ZERO_CELSIUS_IN_KELVIN: f64 = 273.15;

/// The pressure of saturated vapour over liquid water in hPa: `6.112 · exp(17.62 · t / (243.12 + t))`.
///
/// Source: D. Sonntag, "Important new values of the physical constants of 1986, vapour pressure formulations based on the
/// ITS-90, and psychrometer formulae", Zeitschrift für Meteorologie 40 (1990); WMO-No. 8, Guide to Meteorological Instruments
/// and Methods of Observation, Annex 4.B. It is within 0.3 % of Hyland and Wexler's formula (ASHRAE) from 0 to 60 °C,
/// and within 0.5 % of Ambaum's (2020) from -45 to 0 °C.
fn saturation_pressure(celsius: f64) -> Option<f64> {
    let (scale, factor, offset) = MAGNUS;
    MAGNUS_RANGE.contains(&celsius).then(|| scale * (factor * celsius / (offset + celsius)).exp())
}

/// A relative humidity as a share of 1.
fn share(percent: f64) -> Option<f64> {
    (0.0..=100.0).contains(&percent).then_some(percent / 100.0)
}

/// The partial pressure of water vapour in hPa, of air of `celsius` °C and `percent` relative humidity.
///
/// What is missing to saturation, the deficit that plants notice, is `vapour_pressure(t, 100) - vapour_pressure(t, h)`.
pub fn vapour_pressure(celsius: f64, percent: f64) -> Option<f64> {
    Some(share(percent)? * saturation_pressure(celsius)?)
}

/// The dew point in °C over liquid water, of air of `celsius` °C and `percent` relative humidity.
///
/// Frost forms a little earlier: below 0 °C the frost point is nearer to 0 °C by about a tenth. Dry air (0 %) has no dew point.
pub fn dew_point(celsius: f64, percent: f64) -> Option<f64> {
    let (scale, factor, offset) = MAGNUS;
    let exponent = (vapour_pressure(celsius, percent)? / scale).ln();
    Some(offset * exponent / (factor - exponent)).filter(|dew_point| MAGNUS_RANGE.contains(dew_point))
}

/// Water vapour in g/m³, of air of `celsius` °C and `percent` relative humidity: `216.679 · e / T`, e in hPa and T in K.
///
/// Source: the gas constant of water vapour, 461.5 J/(kg·K), as in Vaisala, "Humidity conversion formulas" (2013). That vapour is
/// not quite an ideal gas costs 0.2 % in saturated air of 30 °C and 0.5 % in that of 60 °C (steam tables), less in drier air.
pub fn absolute_humidity(celsius: f64, percent: f64) -> Option<f64> {
    Some(216.679 * vapour_pressure(celsius, percent)? / (celsius + ZERO_CELSIUS_IN_KELVIN))
}

/// The highest heat index in °F of the chart of the National Weather Service; the formula grows beyond all sense above it.
const HIGHEST_HEAT_INDEX: f64 = 137.0;

/// The heat index in °C, of air of `celsius` °C and `percent` relative humidity, in the shade and in a light wind.
///
/// Source: L. P. Rothfusz, "The heat index equation", National Weather Service, Technical Attachment SR 90-23 (1990), with the
/// corrections and the simpler formula for moderate temperatures that the service uses, as G. B. Anderson et al., "Methods to
/// calculate the heat index as an exposure metric", Environmental Health Perspectives 121 (2013), figure 3, put them together.
/// Stated error: 1.3 °F (0.7 °C) of Steadman's table from 80 °F on. Up to 40 °F (4.4 °C) it is the temperature. Between the two
/// formulas, at about 26 °C, it jumps by up to 0.9 °C.
pub fn heat_index(celsius: f64, percent: f64) -> Option<f64> {
    if !(MAGNUS_RANGE.start() <= &celsius && celsius <= 50.0) {
        return None;
    }
    let index = heat_index_in_fahrenheit(celsius * 1.8 + 32.0, share(percent)? * 100.0);
    (index <= HIGHEST_HEAT_INDEX).then(|| (index - 32.0) / 1.8)
}

fn heat_index_in_fahrenheit(t: f64, humidity: f64) -> f64 {
    if t <= 40.0 {
        return t;
    }
    let simple = 0.5 * (t + 61.0 + (t - 68.0) * 1.2 + humidity * 0.094);
    if simple < 79.0 {
        return simple;
    }
    rothfusz(t, humidity) + correction(t, humidity)
}

fn rothfusz(t: f64, h: f64) -> f64 {
    -42.379 + 2.049_015_23 * t + 10.143_331_27 * h - 0.224_755_41 * t * h - 0.006_837_83 * t * t - 0.054_817_17 * h * h
        + 0.001_228_74 * t * t * h
        + 0.000_852_82 * t * h * h
        - 0.000_001_99 * t * t * h * h
}

fn correction(t: f64, humidity: f64) -> f64 {
    if humidity < 13.0 && (80.0..=112.0).contains(&t) {
        -(13.0 - humidity) / 4.0 * ((17.0 - (t - 95.0).abs()) / 17.0).sqrt()
    } else if humidity > 85.0 && (80.0..=87.0).contains(&t) {
        (humidity - 85.0) / 10.0 * (87.0 - t) / 5.0
    } else {
        0.0
    }
}

/// The fall of temperature with height in the standard atmosphere, in K/m.
const LAPSE_RATE: f64 = 0.0065;

/// Standard gravity in m/s² (ISO 2533).
const GRAVITY: f64 = 9.806_65;

/// The gas constant of dry air in J/(kg·K) (ISO 2533).
const DRY_AIR: f64 = 287.053;

/// The pressure in hPa at sea level, of `hectopascal` hPa at `metres` above it where the air has `celsius` °C.
///
/// `p · exp(g · z / (R · Tm))`, where Tm is the mean temperature of the air between, which the standard atmosphere's
/// 6.5 K/km gives. Source: S. L. Hess, "Introduction to theoretical meteorology" (1959), chapter 6.5; ISO 2533 for the constants.
///
/// Error: the arithmetic costs less than 0.05 % up to 3000 m. What counts is that this air does not exist: 5 K of another mean
/// temperature, or moist air of 30 °C, change the result by up to 1 hPa at 500 m and 7 hPa at 3000 m.
pub fn sea_level_pressure(hectopascal: f64, celsius: f64, metres: f64) -> Option<f64> {
    let in_range = (300.0..=1100.0).contains(&hectopascal)
        && MAGNUS_RANGE.contains(&celsius)
        && (-500.0..=5000.0).contains(&metres);
    let mean = celsius + ZERO_CELSIUS_IN_KELVIN + LAPSE_RATE * metres / 2.0;
    in_range.then(|| hectopascal * (GRAVITY * metres / (DRY_AIR * mean)).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By how much a function may differ from its reference.
    enum Tolerance {
        Share(f64),
        Of(f64),
    }

    impl Tolerance {
        fn allows(&self, found: f64, expected: f64) -> bool {
            let most = match self {
                Self::Share(share) => share * expected.abs(),
                Self::Of(most) => *most,
            };
            (found - expected).abs() <= most
        }
    }

    fn found(function: &str, arguments: &[f64]) -> (Option<f64>, Tolerance) {
        match (function, arguments) {
            ("vapour_pressure", [t, h]) => (vapour_pressure(*t, *h), magnus(*t)),
            ("absolute_humidity", [t, h]) => (absolute_humidity(*t, *h), magnus(*t)),
            ("dew_point", [t, h]) => (dew_point(*t, *h), Tolerance::Of(0.1)),
            // The same formula: the reference has coefficients of seven digits for shares instead of percent.
            ("heat_index", [t, h]) => (heat_index(*t, *h), Tolerance::Of(0.001)),
            ("sea_level_pressure", [p, t, z]) => (sea_level_pressure(*p, *t, *z), Tolerance::Share(0.0002)),
            _ => panic!("{function} {arguments:?}"),
        }
    }

    fn magnus(celsius: f64) -> Tolerance {
        Tolerance::Share(if celsius < 0.0 { 0.005 } else { 0.003 })
    }

    #[test]
    fn each_function_agrees_with_what_others_compute() {
        let table = include_str!("weather/reference.tsv");
        let mut rows = 0;
        for row in table.lines().skip(2) {
            let [function, arguments, result, reference] = row.split('\t').collect::<Vec<_>>()[..] else {
                panic!("{row}");
            };
            let arguments: Vec<f64> = arguments.split(' ').map(|number| number.parse().unwrap()).collect();
            let (found, tolerance) = found(function, &arguments);
            let (found, expected) = (found.unwrap_or_else(|| panic!("nothing for {row}")), result.parse().unwrap());
            assert!(tolerance.allows(found, expected), "{function} {arguments:?}: {found}, {reference}: {expected}");
            rows += 1;
        }
        assert!(rows > 300, "{rows}");
    }

    /// SHTxx application note "Dew-point calculation", Sensirion: the same constants.
    #[test]
    fn the_worked_examples_of_a_sensor_maker_come_out() {
        for (celsius, percent, expected) in [(25.0, 10.0, -8.77), (50.0, 90.0, 47.90)] {
            assert!((dew_point(celsius, percent).unwrap() - expected).abs() < 0.005);
        }
    }

    #[test]
    fn saturated_air_is_at_its_dew_point() {
        for celsius in -45..=60 {
            let celsius = f64::from(celsius);
            assert!((dew_point(celsius, 100.0).unwrap() - celsius).abs() < 1e-9);
        }
    }

    #[test]
    fn beyond_its_range_a_formula_has_no_result() {
        for (celsius, percent) in
            [(-45.1, 50.0), (60.1, 50.0), (20.0, -0.1), (20.0, 100.1), (f64::NAN, 50.0), (20.0, f64::NAN)]
        {
            assert_eq!(vapour_pressure(celsius, percent), None, "{celsius} {percent}");
            assert_eq!(absolute_humidity(celsius, percent), None, "{celsius} {percent}");
            assert_eq!(dew_point(celsius, percent), None, "{celsius} {percent}");
            assert_eq!(heat_index(celsius, percent), None, "{celsius} {percent}");
        }
        assert_eq!(vapour_pressure(20.0, 0.0), Some(0.0));
        assert_eq!(dew_point(20.0, 0.0), None, "dry air");
        assert_eq!(dew_point(-40.0, 50.0), None, "below the range");
        assert_eq!(heat_index(50.1, 5.0), None);
        assert_eq!(heat_index(45.0, 100.0), None, "the polynomial says 152 °C");
        for (pressure, celsius, metres) in [
            (299.0, 15.0, 0.0),
            (1101.0, 15.0, 0.0),
            (1000.0, 61.0, 0.0),
            (1000.0, 15.0, -501.0),
            (1000.0, 15.0, 5001.0),
            (f64::NAN, 15.0, 0.0),
            (1000.0, 15.0, f64::INFINITY),
        ] {
            assert_eq!(sea_level_pressure(pressure, celsius, metres), None, "{pressure} {celsius} {metres}");
        }
    }
}
