//! round: to the nearest multiple.

use fieldgate_model::{Kind, Quantity};

use super::Pure;
use crate::decimals;
use crate::spec::{Built, FilterSpec, Takes};

/// What is so much of a step short of half-way counts as half-way, for decimals are seldom exact in binary: 1.15 / 0.1 is
/// 11.499999999999998.
const NEARLY: f64 = 1e-6;

pub(super) static SPEC: FilterSpec = FilterSpec {
    name: "round",
    summary: "to the nearest multiple, such as 0.5",
    page: "\
`round: 0.1` publishes one decimal, `round: 0.5` halves, `round: 10` tens. What
is half-way goes away from 0. It also says how many decimals are published:
those of the number behind it.
No value passes through.",
    takes: Takes::Value(Kind::Number { min: 1e-9, max: 1e9 }),
    example: "{ round: 0.1 }",
    build: |parameter, quantity| {
        let step = parameter.number();
        let quantity = Quantity { decimals: decimals::of(step), ..quantity.clone() };
        let nearest = move |value: f64| {
            let steps = value / step;
            Some((steps + NEARLY.copysign(steps)).round() * step)
        };
        Ok(Built::Filter(Box::new(Pure(nearest)), quantity))
    },
};

#[cfg(test)]
mod tests {
    use crate::filter::testing::{after, series};

    #[test]
    fn it_takes_the_nearest_multiple() {
        let input = [Some(20.24), Some(20.25), None, Some(-0.2), Some(-0.25)];
        let expected = [Some(20.0), Some(20.5), None, Some(0.0), Some(-0.5)];
        assert_eq!(series("{ round: 0.5 }", &input), expected);
    }

    #[test]
    fn half_way_is_half_way_as_it_is_written() {
        // 1.15 / 0.1 is a little less than 11.5 in binary.
        for (value, expected) in
            [(1.15, 1.2), (-0.95, -1.0), (0.05, 0.1), (1.1499, 1.1), (100_000_000.05, 100_000_000.1)]
        {
            let found = series("{ round: 0.1 }", &[Some(value)])[0].unwrap();
            assert!((found - expected).abs() < 1e-6, "{value} becomes {found}");
        }
        assert_eq!(series("{ round: 0.000000001 }", &[Some(1e15)]), [Some(1e15)]);
    }

    #[test]
    fn it_says_how_many_decimals_there_are() {
        for (step, expected) in [("0.25", 2), ("0.1", 1), ("10", 0)] {
            assert_eq!(after(&format!("{{ round: {step} }}")).decimals, expected);
        }
    }
}
