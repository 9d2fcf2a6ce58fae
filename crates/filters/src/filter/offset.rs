//! offset: adds a number.

use fieldgate_model::Quantity;

use super::{NUMBER, Pure};
use crate::decimals;
use crate::spec::{Built, FilterSpec, Takes};

pub(super) static SPEC: FilterSpec = FilterSpec {
    name: "offset",
    summary: "adds a number",
    page: "\
For a sensor that is wrong by the same amount everywhere: what a reference
instrument shows, minus what the sensor shows. In the unit of the measurement.
No value passes through.",
    takes: Takes::Value(NUMBER),
    example: "{ offset: 2.1 }",
    build: |parameter, quantity| {
        let by = parameter.number();
        let decimals = quantity.decimals.max(decimals::of(by));
        Ok(Built::Filter(Box::new(Pure(move |value| Some(value + by))), Quantity { decimals, ..quantity.clone() }))
    },
};

#[cfg(test)]
mod tests {
    use crate::filter::testing::{after, series};

    #[test]
    fn it_adds() {
        assert_eq!(series("{ offset: -0.5 }", &[Some(1.0), None, Some(0.5)]), [Some(0.5), None, Some(0.0)]);
    }

    #[test]
    fn no_decimal_of_what_is_added_gets_lost() {
        assert_eq!(after("{ offset: 0.25 }").decimals, 2);
        assert_eq!(after("{ offset: 3 }").decimals, 1);
    }
}
