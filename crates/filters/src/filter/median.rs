//! median: the middle of the last values.

use super::WINDOW;
use super::quantile::Quantile;
use crate::spec::{Built, FilterSpec, Takes};

pub(super) static SPEC: FilterSpec = FilterSpec {
    name: "median",
    summary: "the middle of the last so many values",
    page: "\
Of 20.1, 20.3, 85.0, 20.2 and 20.2 the median is 20.2: a single wrong value has
no weight, unlike in an average. `median: 5` bears two wrong values in five.
Of an even number it is the mean of the two in the middle.
Until the window is full it computes from the values that there are.
No value passes through and empties the window.",
    takes: Takes::Value(WINDOW),
    example: "{ median: 5 }",
    build: |parameter, quantity| Ok(Built::Filter(Box::new(Quantile::new(parameter.count(), 0.5)), quantity.clone())),
};

#[cfg(test)]
mod tests {
    use crate::filter::testing::series;

    #[test]
    fn it_is_the_middle() {
        let input = [20.1, 20.3, 85.0, 20.2, 20.2, 20.2].map(Some);
        let expected = [20.1, 20.2, 20.3, 20.25, 20.2, 20.2].map(Some);
        let found = series("{ median: 5 }", &input);
        for (found, expected) in found.iter().zip(expected) {
            assert!((found.unwrap() - expected.unwrap()).abs() < 1e-12, "{found:?} {expected:?}");
        }
    }

    #[test]
    fn no_value_empties_the_window() {
        assert_eq!(series("{ median: 3 }", &[Some(1.0), None, Some(5.0)]), [Some(1.0), None, Some(5.0)]);
    }
}
