//! calibrate: a straight line, or a line of several pieces, through pairs of what is read and what is true.

use fieldgate_model::{Kind, Quantity, Setting, Wrong};

use super::{NUMBER, Pure};
use crate::decimals;
use crate::spec::{Built, FilterSpec, Takes, numbers};

pub(super) static SPEC: FilterSpec = FilterSpec {
    name: "calibrate",
    summary: "a line through pairs [read, true]",
    page: "\
Each pair is what the sensor says and what is true then: [0.4, 0.0] for 0.4 °C
in melting ice. A straight line through two pairs, straight pieces between
more, continued straight beyond the ends. The order of the pairs does not
matter. With a sensor of voltages the true values may be of another kind:
[[0.5, 0], [2.5, 100]] for a level in percent; the unit that is published
stays that of the driver.
No value passes through.",
    takes: Takes::Value(Kind::List(&Kind::List(&NUMBER))),
    example: "{ calibrate: [[0.4, 0.0], [20.1, 19.7], [40.3, 39.6]] }",
    build: |parameter, quantity| {
        let line = Line::through(parameter.list())?;
        let decimals = decimals::scaled(quantity.decimals, line.steepest());
        let decimals = if line.steepest() == 0.0 { quantity.decimals } else { decimals };
        Ok(Built::Filter(Box::new(Pure(move |value| line.at(value))), Quantity { decimals, ..quantity.clone() }))
    },
};

/// Straight pieces, by their corners from left to right; at least two.
struct Line(Vec<(f64, f64)>);

impl Line {
    fn through(pairs: &[Setting]) -> Result<Self, Wrong> {
        let mut corners = pairs.iter().map(corner).collect::<Result<Vec<_>, _>>()?;
        if corners.len() < 2 {
            return Err(Wrong::new("one pair makes no line", "write two pairs, or `offset` with the difference"));
        }
        corners.sort_by(|a, b| a.0.total_cmp(&b.0));
        match corners.windows(2).find(|two| two[0].0 == two[1].0) {
            Some(two) => {
                let what = format!("{} is read twice, as {} and as {}", two[0].0, two[0].1, two[1].1);
                Err(Wrong::new(what, "leave one of the two pairs out"))
            }
            None => Ok(Self(corners)),
        }
    }

    /// The greatest slope.
    fn steepest(&self) -> f64 {
        self.0.windows(2).map(|two| slope(two[0], two[1]).abs()).fold(0.0, f64::max)
    }

    fn at(&self, value: f64) -> Option<f64> {
        // The piece that ends at the first corner that is not left of the value; the last piece goes on for ever.
        let right = self.0.partition_point(|(read, _)| *read < value).clamp(1, self.0.len() - 1);
        let (from, to) = (self.0[right - 1], self.0[right]);
        Some(if value == to.0 { to.1 } else { from.1 + (value - from.0) * slope(from, to) })
    }
}

fn slope(from: (f64, f64), to: (f64, f64)) -> f64 {
    (to.1 - from.1) / (to.0 - from.0)
}

fn corner(pair: &Setting) -> Result<(f64, f64), Wrong> {
    let Setting::List(pair) = pair else { return Err(Wrong::new("this is no pair", "write [read, true]")) };
    match numbers(pair)[..] {
        [read, is] => Ok((read, is)),
        ref other => Err(Wrong::new(format!("a pair has two numbers, not {}", other.len()), "write [read, true]")),
    }
}

#[cfg(test)]
mod tests {
    use crate::filter::testing::{after, refused, series};

    #[test]
    fn it_is_a_line_through_two_pairs_continued_beyond() {
        let input = [Some(0.0), None, Some(5.0), Some(10.0), Some(-10.0), Some(20.0)];
        let expected = [Some(1.0), None, Some(11.0), Some(21.0), Some(-19.0), Some(41.0)];
        assert_eq!(series("{ calibrate: [[10, 21], [0, 1]] }", &input), expected);
    }

    #[test]
    fn more_pairs_make_pieces() {
        let input = [0.0, 1.0, 1.5, 2.0, 3.0, -1.0].map(Some);
        let expected = [0.0, 10.0, 10.5, 11.0, 12.0, -10.0].map(Some);
        assert_eq!(series("{ calibrate: [[0, 0], [1, 10], [2, 11]] }", &input), expected);
    }

    #[test]
    fn decimals_follow_the_steepest_piece() {
        assert_eq!(after("{ calibrate: [[0, 0], [1, 1], [2, 20]] }").decimals, 0);
        assert_eq!(after("{ calibrate: [[0, 0], [100, 1]] }").decimals, 3);
        assert_eq!(after("{ calibrate: [[0, 5], [100, 5]] }").decimals, 1);
    }

    #[test]
    fn pairs_that_make_no_line_are_refused() {
        assert_eq!(refused("{ calibrate: [[1, 2]] }"), "one pair makes no line");
        assert_eq!(refused("{ calibrate: [[1, 2], [3]] }"), "a pair has two numbers, not 1");
        assert_eq!(refused("{ calibrate: [[1, 2], [5, 6], [1, 3]] }"), "1 is read twice, as 2 and as 3");
    }
}
