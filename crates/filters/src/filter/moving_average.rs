//! moving_average: the mean of the last values.

use super::{OfWindow, WINDOW};
use crate::spec::{Built, FilterSpec, Takes};

pub(super) static SPEC: FilterSpec = FilterSpec {
    name: "moving_average",
    summary: "the mean of the last so many values",
    page: "\
For noise that goes both ways. A true step takes as many samples to be there
in full. One wrong value lifts or lowers it for as long: put `median`, `spike`
or `within` in front.
Until the window is full it computes from the values that there are.
No value passes through and empties the window.",
    takes: Takes::Value(WINDOW),
    example: "{ moving_average: 10 }",
    build: |parameter, quantity| {
        // Summed again each time: a running sum would gather errors for years.
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        Ok(Built::Filter(Box::new(OfWindow::new(parameter.count(), mean)), quantity.clone()))
    },
};

#[cfg(test)]
mod tests {
    use crate::filter::testing::series;

    #[test]
    fn it_is_the_mean_of_the_window() {
        let input = [Some(1.0), Some(3.0), Some(5.0), Some(7.0), None, Some(2.0)];
        let expected = [Some(1.0), Some(2.0), Some(3.0), Some(5.0), None, Some(2.0)];
        assert_eq!(series("{ moving_average: 3 }", &input), expected);
    }
}
