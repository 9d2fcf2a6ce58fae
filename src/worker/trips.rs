//! How often each output was made safe by itself, for health: the model of a number that a worker counts per output.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use fieldgate_model::Name;

/// Counted in this run, over reloads. Bounded by the number of outputs.
#[derive(Clone, Debug, Default)]
pub struct Trips(Arc<Mutex<BTreeMap<Name, u64>>>);

impl Trips {
    /// One more.
    pub(super) fn count(&self, actuator: &Name) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(actuator.clone()).or_default() += 1;
    }

    /// How often so far.
    pub fn of(&self, actuator: &Name) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(actuator).copied().unwrap_or_default()
    }
}
