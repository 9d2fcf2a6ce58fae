//! polynomial: a polynomial by its coefficients.

use fieldgate_model::{Kind, Quantity, Wrong};

use super::{NUMBER, Pure};
use crate::decimals;
use crate::spec::{Built, FilterSpec, Takes, numbers};

/// A polynomial of a higher degree describes noise.
const MOST: usize = 10;

pub(super) static SPEC: FilterSpec = FilterSpec {
    name: "polynomial",
    summary: "a polynomial by its coefficients, the constant first",
    page: "\
For sensors whose maker gives a curve: [2, 0, 3] is 2 + 3·x². The constant
comes first. Decimals follow the coefficient of x; `round` behind it sets
others. A result that is no finite number is no value.
No value passes through.",
    takes: Takes::Value(Kind::List(&NUMBER)),
    example: "{ polynomial: [-1.2, 1.04, 0.0003] }",
    build: |parameter, quantity| {
        let coefficients = numbers(parameter.list());
        if coefficients.len() > MOST {
            let what = format!("{} coefficients are too many", coefficients.len());
            return Err(Wrong::new(what, format!("at most {MOST}")));
        }
        if coefficients.iter().skip(1).all(|coefficient| *coefficient == 0.0) {
            return Err(Wrong::new(
                "this is the same for each value",
                "the constant comes first, then the factor of x",
            ));
        }
        let decimals = decimals::scaled(quantity.decimals, coefficients.get(1).copied().unwrap_or(1.0));
        // Horner's rule, from the highest power down.
        let at = move |value| Some(coefficients.iter().rev().fold(0.0, |sum, coefficient| sum * value + coefficient));
        Ok(Built::Filter(Box::new(Pure(at)), Quantity { decimals, ..quantity.clone() }))
    },
};

#[cfg(test)]
mod tests {
    use crate::filter::testing::{refused, series};

    #[test]
    fn the_constant_comes_first() {
        let input = [Some(0.0), None, Some(2.0), Some(-1.0)];
        assert_eq!(series("{ polynomial: [2, 0, 3] }", &input), [Some(2.0), None, Some(14.0), Some(5.0)]);
    }

    #[test]
    fn what_is_no_finite_number_is_no_value() {
        assert_eq!(series("{ polynomial: [0, 0, 1e15] }", &[Some(1e200), Some(1.0)]), [None, Some(1e15)]);
    }

    #[test]
    fn a_constant_is_refused() {
        assert_eq!(refused("{ polynomial: [2] }"), "this is the same for each value");
        assert_eq!(refused("{ polynomial: [2, 0] }"), "this is the same for each value");
        assert_eq!(refused("{ polynomial: [0,1,2,3,4,5,6,7,8,9,10] }"), "11 coefficients are too many");
    }
}
