//! round: to the nearest multiple.

use fieldgate_model::{Kind, Quantity};

use super::Pure;
use crate::decimals;
use crate::spec::{Built, FilterSpec, Takes};

/// The filter.
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
        Ok(Built::Filter(Box::new(Pure(move |value: f64| Some((value / step).round() * step))), quantity))
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
    fn it_says_how_many_decimals_there_are() {
        for (step, expected) in [("0.25", 2), ("0.1", 1), ("10", 0)] {
            assert_eq!(after(&format!("{{ round: {step} }}")).decimals, expected);
        }
    }
}
