//! multiply: multiplies by a number.

use fieldgate_model::{Quantity, Wrong};

use super::{NUMBER, Pure};
use crate::decimals;
use crate::spec::{Built, FilterSpec, Takes};

pub(super) static SPEC: FilterSpec = FilterSpec {
    name: "multiply",
    summary: "multiplies by a number",
    page: "\
For a sensor that is wrong by the same share everywhere, or behind a divider:
with two resistors of 10 kΩ a battery has twice the voltage that is measured.
The unit stays; `to` converts units. Decimals follow the factor, so that the
smallest step of the sensor is still seen.
No value passes through.",
    takes: Takes::Value(NUMBER),
    example: "{ multiply: 2 }",
    build: |parameter, quantity| {
        let by = parameter.number();
        if by == 0.0 {
            return Err(Wrong::new("multiplied by 0 everything is 0", "write `omit` to leave the measurement out"));
        }
        let decimals = decimals::scaled(quantity.decimals, by);
        Ok(Built::Filter(Box::new(Pure(move |value| Some(value * by))), Quantity { decimals, ..quantity.clone() }))
    },
};

#[cfg(test)]
mod tests {
    use crate::filter::testing::{after, refused, series};

    #[test]
    fn it_multiplies() {
        assert_eq!(series("{ multiply: 2 }", &[Some(1.5), None, Some(-1.0)]), [Some(3.0), None, Some(-2.0)]);
    }

    #[test]
    fn decimals_follow_the_factor() {
        assert_eq!(after("{ multiply: 0.01 }").decimals, 3);
        assert_eq!(after("{ multiply: 100 }").decimals, 0);
    }

    #[test]
    fn nothing_is_multiplied_by_nothing() {
        assert_eq!(refused("{ multiply: 0 }"), "multiplied by 0 everything is 0");
    }
}
