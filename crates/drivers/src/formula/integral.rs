//! A total that grows by what something is in each second: energy by power, volume by flow.
//!
//! Between two samples the value is taken to go in a straight line (the trapezoidal rule). Through a gap nothing is counted.
//!
//! What is counted, and kept on disk, has neither the unit nor the decimals of the measurement: these may be changed in the
//! configuration, and the total must stay what it is.

use std::time::Duration;

/// Quanta in one unit times a second, such as a joule: millijoules, which are less than the ninth decimal of a kilowatt-hour. A
/// user can set up to 2⁵³ of them, 2.5 GWh.
const QUANTA: f64 = 1e3;

/// Quanta that one step may have. More means that the factor is wrong; it must not become a jump. In joules 10 GJ.
const LARGEST_STEP: f64 = 1e13;

/// Units of something per time and of the thing itself, and how much of it comes in a second of one.
const RATES: &[(&str, &str, f64)] = &[
    ("W", "J", 1.0),
    ("W", "Wh", 1.0 / 3600.0),
    ("W", "kWh", 1.0 / 3_600_000.0),
    ("kW", "kWh", 1.0 / 3600.0),
    ("kW", "Wh", 1000.0 / 3600.0),
    ("mW", "Wh", 0.001 / 3600.0),
    ("A", "Ah", 1.0 / 3600.0),
    ("A", "mAh", 1000.0 / 3600.0),
    ("mA", "mAh", 1.0 / 3600.0),
    ("mA", "Ah", 0.001 / 3600.0),
    ("L/s", "L", 1.0),
    ("L/min", "L", 1.0 / 60.0),
    ("L/min", "m³", 0.001 / 60.0),
    ("L/h", "L", 1.0 / 3600.0),
    ("L/h", "m³", 0.001 / 3600.0),
    ("m³/h", "m³", 1.0 / 3600.0),
    ("m³/h", "L", 1000.0 / 3600.0),
];

/// How many units times a second there are in a total: joules, coulombs, litres.
const SIZES: &[(&str, f64)] =
    &[("J", 1.0), ("Wh", 3600.0), ("kWh", 3_600_000.0), ("Ah", 3600.0), ("mAh", 3.6), ("L", 1.0), ("m³", 1000.0)];

/// Units of time behind a unit, as in `°C·h`, and their seconds.
const TIMES: &[(&str, f64)] = &[("·s", 1.0), ("·min", 60.0), ("·h", 3600.0), ("·d", 86_400.0)];

/// How much of `total` comes in a second of one `rate`; `None` where one is not the other by time.
pub fn per_second(rate: &str, total: &str) -> Option<f64> {
    let known = RATES.iter().find(|(from, to, _)| (*from, *to) == (rate, total)).map(|(.., factor)| *factor);
    let by_time = || {
        let (_, seconds) = TIMES.iter().find(|(time, _)| total.strip_suffix(time) == Some(rate))?;
        Some(1.0 / seconds)
    };
    known.or_else(by_time)
}

/// Quanta in a second of one `rate`, whatever the unit of the total.
pub(super) fn quanta_per_second(rate: &str) -> f64 {
    size_of_rate(rate) * QUANTA
}

/// Quanta in one of the unit of a total.
pub(super) fn quanta_per_unit(unit: &str) -> f64 {
    let by_time = || {
        let (rate, seconds) = TIMES.iter().find_map(|(time, seconds)| Some((unit.strip_suffix(time)?, seconds)))?;
        Some(size_of_rate(rate) * seconds)
    };
    QUANTA * size(unit).or_else(by_time).unwrap_or(1.0)
}

fn size(total: &str) -> Option<f64> {
    SIZES.iter().find(|(unit, _)| *unit == total).map(|(_, size)| *size)
}

fn size_of_rate(rate: &str) -> f64 {
    let known = RATES.iter().find(|(from, ..)| *from == rate);
    known.and_then(|(_, total, factor)| Some(factor * size(total)?)).unwrap_or(1.0)
}

/// What a rate can be integrated into, for hints.
pub fn totals_of(rate: &str) -> Vec<String> {
    let known = RATES.iter().filter(|(from, ..)| *from == rate).map(|(_, to, _)| (*to).to_owned());
    known.chain([format!("{rate}·h")]).collect()
}

/// An integral at work.
#[derive(Debug)]
pub(super) struct Integral {
    /// Quanta in a second of one.
    factor: f64,
    /// The last sample: when and what.
    last: Option<(Duration, f64)>,
    /// What is less than one quantum.
    rest: f64,
}

impl Integral {
    /// Of something of which so many quanta come in a second of one.
    pub(super) fn new(factor: f64) -> Self {
        Self { factor, last: None, rest: 0.0 }
    }

    /// Takes the value at that time, and gives the quanta that have come since the last; none through a gap longer than
    /// `longest`. What flows back is not taken off: a total only grows.
    pub(super) fn take(&mut self, at: Duration, value: Option<f64>, longest: Duration) -> u64 {
        let before = std::mem::replace(&mut self.last, value.map(|value| (at, value)));
        let (Some((from, before)), Some(value)) = (before, value) else { return 0 };
        let Some(passed) = at.checked_sub(from).filter(|passed| *passed <= longest) else { return 0 };
        let mean = f64::midpoint(before, value).max(0.0);
        let quanta = self.rest + mean * passed.as_secs_f64() * self.factor;
        if !(0.0..LARGEST_STEP).contains(&quanta) {
            return 0;
        }
        self.rest = quanta.fract();
        quanta.trunc() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_hour_of_a_kilowatt_is_a_kilowatt_hour() {
        let mut integral = Integral::new(per_second("W", "kWh").unwrap() * 1e6);
        let total: u64 = (0..=3600).map(|at| integral.take(s(at), Some(1000.0), s(30))).sum();
        assert!(total.abs_diff(1_000_000) <= 1, "{total}");
    }

    #[test]
    fn a_total_is_the_same_in_each_unit() {
        for (rate, total, factor) in RATES {
            let found = quanta_per_second(rate) / quanta_per_unit(total);
            assert!((found / factor - 1.0).abs() < 1e-12, "{rate} {total}: {found}");
        }
        for (one, other, times) in [
            ("Wh", "kWh", 1000.0),
            ("J", "kWh", 3_600_000.0),
            ("Wh", "W·h", 1.0),
            ("kWh", "kW·h", 1.0),
            ("°C·h", "°C·d", 24.0),
        ] {
            let [one, other] = [one, other].map(quanta_per_unit);
            assert!((other / one / times - 1.0).abs() < 1e-12, "{one} {other}");
        }
    }

    #[test]
    fn between_two_samples_it_goes_in_a_straight_line() {
        let mut integral = Integral::new(1.0);
        assert_eq!(integral.take(s(0), Some(0.0), s(30)), 0);
        assert_eq!(integral.take(s(10), Some(10.0), s(30)), 50);
        assert_eq!(integral.take(s(11), Some(-20.0), s(30)), 0, "what flows back is not taken off");
    }

    #[test]
    fn nothing_is_counted_through_a_gap() {
        let mut integral = Integral::new(1.0);
        let mut take = |at, value| integral.take(s(at), value, s(30));
        assert_eq!([take(0, Some(1.0)), take(31, Some(1.0)), take(41, Some(1.0))], [0, 0, 10]);
        assert_eq!([take(45, None), take(46, Some(1.0)), take(47, Some(1.0))], [0, 0, 1]);
        assert_eq!(take(40, Some(1.0)), 0, "time does not go back");
    }

    #[test]
    fn small_parts_add_up() {
        let mut integral = Integral::new(0.01);
        let total: u64 = (0..=1000).map(|at| integral.take(s(at), Some(1.0), s(30))).sum();
        assert_eq!(total, 10);
    }

    #[test]
    fn units_are_of_one_kind_by_time() {
        assert_eq!(per_second("°C", "°C·h"), Some(1.0 / 3600.0));
        assert_eq!(per_second("L/min", "m³"), Some(0.001 / 60.0));
        for (rate, total) in [("W", "V"), ("°C", "K·h"), ("", "h"), ("kWh", "W")] {
            assert_eq!(per_second(rate, total), None, "{rate} {total}");
        }
        assert_eq!(totals_of("kW"), ["kWh", "Wh", "kW·h"]);
    }
}
