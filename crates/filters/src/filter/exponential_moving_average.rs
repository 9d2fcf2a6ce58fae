//! exponential_moving_average: a mean in which old values weigh less and less.

use fieldgate_model::{Kind, Wrong};

use crate::spec::{Built, Filter, FilterSpec, Takes};

pub(super) static SPEC: FilterSpec = FilterSpec {
    name: "exponential_moving_average",
    summary: "a mean in which a new value has the weight alpha, and old ones fade",
    page: "\
Each value becomes alpha times itself plus (1 − alpha) times the mean before.
With 0.1 a true step is there by two thirds after ten samples; 1 changes
nothing. It starts with the first value.
No value passes through, and the mean starts again.",
    takes: Takes::Value(Kind::Number { min: 0.0, max: 1.0 }),
    example: "{ exponential_moving_average: 0.1 }",
    build: |parameter, quantity| {
        let alpha = parameter.number();
        if alpha == 0.0 {
            return Err(Wrong::new("with 0 it would stay at the first value for ever", "write for example 0.1"));
        }
        Ok(Built::Filter(Box::new(Exponential { alpha, mean: None }), quantity.clone()))
    },
};

#[derive(Debug)]
struct Exponential {
    alpha: f64,
    mean: Option<f64>,
}

impl Filter for Exponential {
    fn apply(&mut self, value: f64) -> Option<f64> {
        let mean = self.mean.map_or(value, |mean| self.alpha * value + (1.0 - self.alpha) * mean);
        self.mean = Some(mean);
        self.mean
    }

    fn gap(&mut self) {
        self.mean = None;
    }
}

#[cfg(test)]
mod tests {
    use crate::filter::testing::{refused, series};

    #[test]
    fn old_values_fade() {
        let input = [Some(0.0), Some(8.0), Some(8.0), None, Some(4.0)];
        let expected = [Some(0.0), Some(4.0), Some(6.0), None, Some(4.0)];
        assert_eq!(series("{ exponential_moving_average: 0.5 }", &input), expected);
    }

    #[test]
    fn a_new_value_must_have_a_weight() {
        assert_eq!(refused("{ exponential_moving_average: 0 }"), "with 0 it would stay at the first value for ever");
    }
}
