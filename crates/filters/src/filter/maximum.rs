//! maximum: the greatest of the last values.

use super::{OfWindow, WINDOW};
use crate::spec::{Built, FilterSpec, Takes};

pub(super) static SPEC: FilterSpec = FilterSpec {
    name: "maximum",
    summary: "the greatest of the last so many values",
    page: "\
For peaks that must not be missed between two readings: the loudest sound, the
strongest gust.
Until the window is full it computes from the values that there are.
No value passes through and empties the window.",
    takes: Takes::Value(WINDOW),
    example: "{ maximum: 10 }",
    build: |parameter, quantity| {
        let greatest = |values: &[f64]| values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Ok(Built::Filter(Box::new(OfWindow::new(parameter.count(), greatest)), quantity.clone()))
    },
};

#[cfg(test)]
mod tests {
    use crate::filter::testing::series;

    #[test]
    fn it_is_the_greatest_of_the_window() {
        let input = [Some(1.0), Some(3.0), Some(2.0), Some(0.0), None, Some(2.0)];
        assert_eq!(series("{ maximum: 2 }", &input), [Some(1.0), Some(3.0), Some(3.0), Some(2.0), None, Some(2.0)]);
    }
}
