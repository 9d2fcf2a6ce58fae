//! Channels that do not depend on each other: one that cannot be measured does not cost the others.
//!
//! An input beyond its range, a file of the kernel that cannot be read: what is good is published, and what is left out is named.
//! A failure of the chip or its bus as a whole is none of this and remains an error of the whole sample.

use std::borrow::Cow;
use std::fmt;

use crate::DriverError;
use fieldgate_model::{Measurement, describe_error};

/// A sample of which something had to be left out.
#[derive(Debug)]
pub struct Partly {
    /// What could be measured; at least one.
    pub measured: Vec<Measurement>,
    /// What could not, and why; at least one.
    pub left_out: Vec<(Cow<'static, str>, DriverError)>,
}

impl fmt::Display for Partly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, error)) in self.left_out.iter().enumerate() {
            let gap = if index == 0 { "" } else { "; " };
            write!(f, "{gap}without {name}: {}", describe_error(error))?;
        }
        Ok(())
    }
}

impl Partly {
    /// The names of what was left out.
    pub fn names(&self) -> Vec<Cow<'static, str>> {
        self.left_out.iter().map(|(name, _)| name.clone()).collect()
    }
}

/// One sample of independent channels, each with its name. Where none could be measured, the error of the first stands for all.
pub(crate) fn channels(
    results: impl IntoIterator<Item = (Cow<'static, str>, Result<Measurement, DriverError>)>,
) -> Result<Vec<Measurement>, DriverError> {
    let (mut measured, mut left_out) = (Vec::new(), Vec::new());
    for (name, result) in results {
        match result {
            Ok(measurement) => measured.push(measurement),
            Err(error) => left_out.push((name, error)),
        }
    }
    match (measured.is_empty(), left_out.is_empty()) {
        (_, true) => Ok(measured),
        (true, false) => Err(left_out.swap_remove(0).1),
        (false, false) => Err(DriverError::Partly(Partly { measured, left_out })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fieldgate_model::Quantity;

    const ONE: Quantity = Quantity::new("one", "V", 3);

    fn beyond(value: f64) -> Result<Measurement, DriverError> {
        Err(DriverError::OutOfRange { quantity: "two", value })
    }

    #[test]
    fn what_is_good_is_reported_and_what_is_not_is_named() {
        let error = channels([("one".into(), Ok(ONE.measured(1.0))), ("two".into(), beyond(5.0))]).unwrap_err();
        assert_eq!(error.to_string(), "without two: two of 5 is outside what the sensor can measure");
        assert!(error.is_transient());
        let DriverError::Partly(partly) = error else { panic!("{error}") };
        assert_eq!((partly.measured.clone(), partly.names()), (vec![ONE.measured(1.0)], vec!["two".into()]));
    }

    #[test]
    fn nothing_good_is_an_error_as_before() {
        assert!(matches!(channels([("two".into(), beyond(5.0))]), Err(DriverError::OutOfRange { .. })));
        assert_eq!(channels([("one".into(), Ok(ONE.measured(1.0)))]).unwrap().len(), 1);
    }
}
