//! clamp: holds a value at the ends of a range.

use fieldgate_model::Kind;

use super::{NUMBER, Pure, range};
use crate::spec::{Built, FilterSpec, Takes};

pub(super) static SPEC: FilterSpec = FilterSpec {
    name: "clamp",
    summary: "values beyond the ends of a range become its ends",
    page: "\
For a measurement that cannot be beyond: [0, 100] for a humidity that a
calibration lifts to 101 %. What is outside because the sensor is broken
belongs to `within`, which takes it as no value.
No value passes through: it never becomes an end of the range.",
    takes: Takes::Value(Kind::List(&NUMBER)),
    example: "{ clamp: [0, 100] }",
    build: |parameter, quantity| {
        let (low, high) = range(parameter.list())?;
        Ok(Built::Filter(Box::new(Pure(move |value: f64| Some(value.clamp(low, high)))), quantity.clone()))
    },
};

#[cfg(test)]
mod tests {
    use crate::filter::testing::{refused, series};

    #[test]
    fn values_beyond_become_the_ends() {
        let input = [Some(-1.0), Some(0.0), None, Some(50.5), Some(100.1)];
        assert_eq!(series("{ clamp: [0, 100] }", &input), [Some(0.0), Some(0.0), None, Some(50.5), Some(100.0)]);
    }

    #[test]
    fn a_range_has_two_ends_and_the_lower_is_first() {
        assert_eq!(refused("{ clamp: [100, 0] }"), "100 is above 0");
        assert_eq!(refused("{ clamp: [1, 1] }"), "from 1 to 1 is one value");
        assert_eq!(refused("{ clamp: [1] }"), "a range has two ends, not 1");
    }
}
