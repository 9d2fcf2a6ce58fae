//! Short ways for tests to make filters and run them.

pub(crate) use super::written::step;
use crate::chain::{Chain, Effect};
use fieldgate_model::Quantity;

/// What the tests measure.
pub(crate) fn temperature() -> Quantity {
    Quantity::new("temperature", "°C", 1)
}

fn built(text: &str) -> (Chain, Quantity) {
    match Chain::build(&[step(text)], &temperature()) {
        Ok(Effect::Filter(chain, quantity)) => (chain, quantity),
        other => panic!("{text}: {other:?}"),
    }
}

/// A chain of one filter.
pub(crate) fn chain(text: &str) -> Chain {
    built(text).0
}

/// The quantity behind one filter.
pub(crate) fn after(text: &str) -> Quantity {
    built(text).1
}

/// What one filter makes of a series.
pub(crate) fn series(text: &str, input: &[Option<f64>]) -> Vec<Option<f64>> {
    let mut chain = chain(text);
    input.iter().map(|value| chain.apply(*value)).collect()
}

/// Why a filter is refused.
pub(crate) fn refused(text: &str) -> String {
    Chain::build(&[step(text)], &temperature()).expect_err(text).wrong.what
}
