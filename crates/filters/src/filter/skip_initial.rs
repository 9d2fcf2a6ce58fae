//! skip_initial: no value for the first samples of a sensor.

use crate::spec::{Built, Filter, FilterSpec, Takes};
use fieldgate_model::Kind;

pub(super) static SPEC: FilterSpec = FilterSpec {
    name: "skip_initial",
    summary: "no value for the first so many samples after the sensor came, or came back",
    page: "\
For sensors that settle: the first values of a gas sensor, or of a probe that
was just connected. It counts again after a failed sampling.
No value passes through and is not counted.",
    takes: Takes::Value(Kind::Integer { min: 1, max: 1_000_000 }),
    example: "{ skip_initial: 3 }",
    build: |parameter, quantity| {
        let count = parameter.count();
        Ok(Built::Filter(Box::new(SkipInitial { count, left: count }), quantity.clone()))
    },
};

#[derive(Debug)]
struct SkipInitial {
    count: usize,
    left: usize,
}

impl Filter for SkipInitial {
    fn apply(&mut self, value: f64) -> Option<f64> {
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                None
            }
            None => Some(value),
        }
    }

    fn restart(&mut self) {
        self.left = self.count;
    }
}

#[cfg(test)]
mod tests {
    use crate::filter::testing::{chain, series};

    #[test]
    fn the_first_values_are_left_out() {
        let input = [Some(1.0), None, Some(2.0), Some(3.0), None, Some(4.0)];
        assert_eq!(series("{ skip_initial: 2 }", &input), [None, None, None, Some(3.0), None, Some(4.0)]);
    }

    #[test]
    fn they_are_left_out_again_when_the_sensor_came_back() {
        let mut chain = chain("{ skip_initial: 1 }");
        assert_eq!([chain.apply(Some(1.0)), chain.apply(Some(2.0))], [None, Some(2.0)]);
        chain.restart();
        assert_eq!([chain.apply(Some(3.0)), chain.apply(Some(4.0))], [None, Some(4.0)]);
    }
}
