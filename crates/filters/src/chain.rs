//! The filters of one measurement, one behind the other.

use fieldgate_model::{Form, Quantity, Wrong};

use crate::spec::{Built, Filter, Step};

/// The filters of one measurement.
#[derive(Debug)]
pub struct Chain {
    filters: Vec<Box<dyn Filter>>,
}

/// What the filters of a measurement do to it.
#[derive(Debug)]
pub enum Effect {
    /// It is left out of readings.
    Omit,
    /// Its values go through the chain, and are of this quantity then.
    Filter(Chain, Quantity),
}

/// A filter that cannot be where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// Its place in the list, from 0.
    pub step: usize,
    /// Why it cannot be there, and what to write instead.
    pub wrong: Wrong,
}

impl Chain {
    /// The chain of these filters, new, for a measurement of this quantity.
    ///
    /// # Errors
    /// [`Misfit`] names the first filter that cannot be there.
    pub fn build(steps: &[Step], quantity: &Quantity) -> Result<Effect, Misfit> {
        let (mut filters, mut quantity) = (Vec::with_capacity(steps.len()), quantity.clone());
        for (step, Step { filter, parameter }) in steps.iter().enumerate() {
            let misfit = |wrong| Misfit { step, wrong };
            let built = (filter.build)(parameter, &quantity).map_err(misfit)?;
            match built {
                Built::Omit if steps.len() > 1 => {
                    let what = format!("{} is left out, so no other filter acts on it", quantity.name);
                    return Err(misfit(Wrong::new(what, "write `omit` alone, or take it away")));
                }
                Built::Omit => return Ok(Effect::Omit),
                Built::Filter(..) if quantity.form != Form::Number => {
                    let what = format!("{} is not a number, and {} is for numbers", quantity.name, filter.name);
                    return Err(misfit(Wrong::new(what, "only `omit` fits here")));
                }
                Built::Filter(filter, after) => {
                    filters.push(filter);
                    quantity = after;
                }
            }
        }
        Ok(Effect::Filter(Self { filters }, quantity))
    }

    /// What becomes of the measurement in one sample; `None` is no value, before and after.
    pub fn apply(&mut self, value: Option<f64>) -> Option<f64> {
        self.filters.iter_mut().fold(value, |value, filter| match value {
            Some(value) => filter.apply(value).filter(|value| value.is_finite()),
            None => {
                filter.gap();
                None
            }
        })
    }

    /// The sensor failed: everything that is remembered is forgotten.
    pub fn restart(&mut self) {
        self.filters.iter_mut().for_each(|filter| filter.restart());
    }
}
