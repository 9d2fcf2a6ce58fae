//! within: takes what lies outside of a range as no value.

use fieldgate_model::Kind;

use super::{NUMBER, Pure, range};
use crate::spec::{Built, FilterSpec, Takes};

pub(super) static SPEC: FilterSpec = FilterSpec {
    name: "within",
    summary: "takes what lies outside of a range as no value",
    page: "\
For values that cannot be true: [-30, 60] for the air of a garden shed. The
ends belong to the range. What is left out is counted as `filtered` in health.
No value passes through.",
    takes: Takes::Value(Kind::List(&NUMBER)),
    example: "{ within: [-30, 60] }",
    build: |parameter, quantity| {
        let (low, high) = range(parameter.list())?;
        let inside = move |value: f64| (low..=high).contains(&value).then_some(value);
        Ok(Built::Filter(Box::new(Pure(inside)), quantity.clone()))
    },
};

#[cfg(test)]
mod tests {
    use crate::filter::testing::{refused, series};

    #[test]
    fn values_beyond_are_no_values() {
        let input = [Some(-0.1), Some(0.0), None, Some(100.0), Some(100.1)];
        assert_eq!(series("{ within: [0, 100] }", &input), [None, Some(0.0), None, Some(100.0), None]);
        assert_eq!(refused("{ within: [1, -1] }"), "1 is above -1");
    }
}
