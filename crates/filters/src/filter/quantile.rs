//! quantile: the value that a share of the last values does not exceed.

use fieldgate_model::{Field, Kind, Need};

use super::WINDOW;
use crate::spec::{Built, Filter, FilterSpec, Takes};
use crate::window::SortedWindow;

pub(super) static SPEC: FilterSpec = FilterSpec {
    name: "quantile",
    summary: "the value that a share `q` of the last `window` values does not exceed",
    page: "\
`q: 0.9` follows the high values and ignores the highest tenth; 0.5 is the
median. Between two values it goes in a straight line, as numpy's quantile
does by default.
Until the window is full it computes from the values that there are.
No value passes through and empties the window.",
    takes: Takes::Keys(&[
        Field { name: "window", kind: WINDOW, need: Need::Required, doc: "how much is looked at, in samples" },
        Field {
            name: "q",
            kind: Kind::Number { min: 0.0, max: 1.0 },
            need: Need::Required,
            doc: "the share, from 0 (the smallest value) to 1 (the greatest)",
        },
    ]),
    example: "{ quantile: { window: 20, q: 0.9 } }",
    build: |parameter, quantity| {
        let keys = parameter.keys();
        let size = usize::try_from(keys.integer("window")).unwrap_or(1);
        Ok(Built::Filter(Box::new(Quantile::new(size, keys.number("q"))), quantity.clone()))
    },
};

/// A quantile of a window.
#[derive(Debug)]
pub(super) struct Quantile {
    window: SortedWindow,
    q: f64,
}

impl Quantile {
    pub(super) fn new(size: usize, q: f64) -> Self {
        Self { window: SortedWindow::new(size), q }
    }
}

impl Filter for Quantile {
    fn apply(&mut self, value: f64) -> Option<f64> {
        self.window.push(value);
        self.window.quantile(self.q)
    }

    fn gap(&mut self) {
        self.window.clear();
    }
}

#[cfg(test)]
mod tests {
    use crate::filter::testing::series;

    #[test]
    fn it_is_linear_between_two_values() {
        let input = [1.0, 2.0, 3.0, 4.0, 5.0].map(Some);
        let found = series("{ quantile: { window: 4, q: 0.9 } }", &input);
        for (found, expected) in found.iter().zip([1.0, 1.9, 2.8, 3.7, 4.7]) {
            assert!((found.unwrap() - expected).abs() < 1e-12, "{found:?} {expected}");
        }
    }

    #[test]
    fn the_ends_are_the_smallest_and_the_greatest() {
        let input = [Some(3.0), Some(1.0), None, Some(2.0), Some(9.0)];
        let found = |q| series(&format!("{{ quantile: {{ window: 4, q: {q} }} }}"), &input);
        assert_eq!(found("0"), [Some(3.0), Some(1.0), None, Some(2.0), Some(2.0)]);
        assert_eq!(found("1"), [Some(3.0), Some(3.0), None, Some(2.0), Some(9.0)]);
    }
}
