//! What an output may do, as configured.

use std::time::Duration;

use fieldgate_model::Action;

/// What an output may do, as configured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// What it does at start, at stop, and when something is wrong.
    pub safe_state: Action,
    /// How long after the broker's last byte it is made safe; `None` keeps the last state.
    pub safe_after: Option<Duration>,
    /// On for so long at most.
    pub max_on: Option<Duration>,
    /// On for so long at least.
    pub min_on: Duration,
    /// Off for so long at least.
    pub min_off: Duration,
    /// Switched away from the safe state by commands so often at most in any hour.
    pub switches_per_hour: Option<u32>,
    /// Off by itself after so long.
    pub pulse: Option<Duration>,
}

impl Limits {
    /// No limits but the safe state.
    pub fn new(safe_state: Action, safe_after: Option<Duration>) -> Self {
        let (min_on, min_off) = (Duration::ZERO, Duration::ZERO);
        Self { safe_state, safe_after, max_on: None, min_on, min_off, switches_per_hour: None, pulse: None }
    }

    /// Whether something flows in the safe state.
    pub fn is_on_when_safe(&self) -> bool {
        is_on(self.safe_state)
    }
}

/// Whether something flows then. The motor of a cover is bounded by its travel.
pub(super) fn is_on(action: Action) -> bool {
    matches!(action, Action::Set(value) if value.is_on())
}
