//! spike: takes a jump as no value, unless it stays.

use std::fmt;

use fieldgate_model::{Field, Kind, Need};

use crate::decimals;
use crate::spec::{Built, Filter, FilterSpec, Takes};

pub(super) static SPEC: FilterSpec = FilterSpec {
    name: "spike",
    summary: "takes a jump by more than `by` as no value, unless it stays for `for` samples",
    page: "\
A value that is further than `by` from the last one that was let through is
left out. If the next ones stay near it, each within `by` of the one before,
the jump is true: the `for`th of these values, the first
included, is let through. Values that jump about
are never let through. The first value is always let through.
No value passes through, and the next value counts as the first.",
    takes: Takes::Keys(&[
        Field {
            name: "by",
            kind: Kind::Number { min: 1e-9, max: 1e15 },
            need: Need::Required,
            doc: "the greatest step that is believed at once, in the unit of the measurement",
        },
        Field {
            name: "for",
            kind: Kind::Integer { min: 2, max: 1000 },
            need: Need::Default("3"),
            doc: "how long a jump must stay until it is believed, in samples",
        },
    ]),
    example: "{ spike: { by: 5, for: 3 } }",
    build: |parameter, quantity| {
        let keys = parameter.keys();
        let (by, needed) = (keys.number("by"), keys.integer("for").unsigned_abs());
        Ok(Built::Filter(Box::new(Spike { by, needed, last: None, jump: None }), quantity.clone()))
    },
};

struct Spike {
    by: f64,
    needed: u64,
    /// What was let through last.
    last: Option<f64>,
    /// The newest value of a jump that may stay, and how many there were.
    jump: Option<(f64, u64)>,
}

impl fmt::Debug for Spike {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}, {:?}", self.last, self.jump)
    }
}

impl Spike {
    fn are_near(&self, a: f64, b: f64) -> bool {
        (a - b).abs() <= self.by + decimals::tolerance(a, b, self.by)
    }
}

impl Filter for Spike {
    fn apply(&mut self, value: f64) -> Option<f64> {
        let is_believed = self.last.is_none_or(|last| self.are_near(value, last));
        if !is_believed {
            let count = match self.jump {
                Some((before, count)) if self.are_near(value, before) => count + 1,
                _ => 1,
            };
            self.jump = Some((value, count));
            if count < self.needed {
                return None;
            }
        }
        (self.last, self.jump) = (Some(value), None);
        Some(value)
    }

    fn gap(&mut self) {
        (self.last, self.jump) = (None, None);
    }
}

#[cfg(test)]
mod tests {
    use crate::filter::testing::series;

    fn check(input: &[f64], expected: &[Option<f64>]) {
        let input: Vec<_> = input.iter().copied().map(Some).collect();
        assert_eq!(series("{ spike: { by: 5, for: 3 } }", &input), expected);
    }

    #[test]
    fn a_jump_that_goes_back_is_left_out() {
        check(&[20.0, 85.0, 21.0, 22.0], &[Some(20.0), None, Some(21.0), Some(22.0)]);
        check(&[20.0, 85.0, 85.0, 21.0], &[Some(20.0), None, None, Some(21.0)]);
    }

    #[test]
    fn a_jump_that_stays_is_let_through() {
        check(&[20.0, 85.0, 86.0, 84.0, 85.0], &[Some(20.0), None, None, Some(84.0), Some(85.0)]);
    }

    #[test]
    fn a_step_of_exactly_so_much_is_none() {
        check(&[20.0, 25.0, 30.0], &[Some(20.0), Some(25.0), Some(30.0)]);
    }

    #[test]
    fn decimals_that_are_so_far_apart_as_written_are_near() {
        // 1.1 − 0.9 is a little more than 0.2 in binary.
        let series = series("{ spike: { by: 0.2 } }", &[0.9, 1.1, 0.9].map(Some));
        assert_eq!(series, [Some(0.9), Some(1.1), Some(0.9)]);
    }

    #[test]
    fn what_jumps_about_never_stays() {
        check(&[20.0, 85.0, -40.0, 85.0, -40.0, 85.0], &[Some(20.0), None, None, None, None, None]);
    }

    #[test]
    fn after_no_value_the_next_is_the_first() {
        let input = [Some(20.0), None, Some(50.0), Some(90.0), None, Some(90.0)];
        let expected = [Some(20.0), None, Some(50.0), None, None, Some(90.0)];
        assert_eq!(series("{ spike: { by: 5 } }", &input), expected);
    }
}
