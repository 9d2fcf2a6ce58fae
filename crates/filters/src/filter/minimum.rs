//! minimum: the smallest of the last values.

use super::{OfWindow, WINDOW};
use crate::spec::{Built, FilterSpec, Takes};

pub(super) static SPEC: FilterSpec = FilterSpec {
    name: "minimum",
    summary: "the smallest of the last so many values",
    page: "\
For values that can only be too high: an ultrasonic level that echoes from
foam, a distance that something flies through.
Until the window is full it computes from the values that there are.
No value passes through and empties the window.",
    takes: Takes::Value(WINDOW),
    example: "{ minimum: 10 }",
    build: |parameter, quantity| {
        let smallest = |values: &[f64]| values.iter().copied().fold(f64::INFINITY, f64::min);
        Ok(Built::Filter(Box::new(OfWindow::new(parameter.count(), smallest)), quantity.clone()))
    },
};

#[cfg(test)]
mod tests {
    use crate::filter::testing::series;

    #[test]
    fn it_is_the_smallest_of_the_window() {
        let input = [Some(1.0), Some(3.0), Some(2.0), Some(0.0), None, Some(2.0)];
        assert_eq!(series("{ minimum: 2 }", &input), [Some(1.0), Some(1.0), Some(2.0), Some(0.0), None, Some(2.0)]);
    }
}
