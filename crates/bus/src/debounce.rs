//! Debounces an input line whose level is polled, where no kernel does it.
//!
//! Levels are electrical here; edges say active or inactive. Pure: the time, on `CLOCK_MONOTONIC`, is an argument.

use std::time::Duration;

use crate::edges::Edges;
use crate::{Edge, InputRequest};

/// A polled input line: the level that was last reported, and a change that has not lasted long enough yet.
pub(super) struct Debounced {
    active_low: bool,
    debounce: Duration,
    reported: bool,
    unsettled_since: Option<Duration>,
    edges: Edges,
}

impl Debounced {
    /// A line that has this level at its claim.
    pub(super) fn new(request: &InputRequest, level: bool) -> Self {
        Self {
            active_low: request.active_low,
            debounce: request.debounce,
            reported: level,
            unsettled_since: None,
            edges: Edges::default(),
        }
    }

    /// Reports the level if it has lasted. Returns how long it must still last otherwise.
    pub(super) fn settle(&mut self, level: bool, now: Duration) -> Option<Duration> {
        if level == self.reported {
            self.unsettled_since = None;
            return None;
        }
        let since = *self.unsettled_since.get_or_insert(now);
        let lasted = now.saturating_sub(since);
        if lasted < self.debounce {
            return Some(self.debounce - lasted);
        }
        self.reported = level;
        self.unsettled_since = None;
        // When it had lasted, however much later somebody looked.
        let at = Some(since.saturating_add(self.debounce));
        self.edges.push(Edge { active: level != self.active_low, at, missed: 0 });
        None
    }

    /// The level that was last reported.
    pub(super) fn level(&self) -> bool {
        self.reported
    }

    /// Whether the line is active, as last reported.
    pub(super) fn is_active(&self) -> bool {
        self.reported != self.active_low
    }

    /// Changes since the last call.
    pub(super) fn take_edges(&mut self) -> Vec<Edge> {
        self.edges.take()
    }
}
