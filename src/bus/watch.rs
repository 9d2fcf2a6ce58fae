//! An input line that is looked at again and again: its changes, debounced where no kernel does it.
//!
//! Levels are electrical here; edges say active or inactive. Time is an argument.

use std::time::Duration;

use crate::bus::{Edge, InputRequest};

/// What was last reported of a line, and a change that must still prove that it lasts.
pub(super) struct Watch {
    active_low: bool,
    debounce: Duration,
    reported: bool,
    unsettled_since: Option<Duration>,
    edges: VecDeque<Edge>,
    /// Dropped for want of room since the last that was not.
    missed: u32,
}

impl Watch {
    /// A line that has this level at its claim.
    pub(super) fn new(request: &InputRequest, level: bool) -> Self {
        Self {
            active_low: request.active_low,
            debounce: request.debounce,
            reported: level,
            unsettled_since: None,
            edges: VecDeque::new(),
            missed: 0,
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
        if self.edges.len() == EDGE_LIMIT {
            self.missed += self.edges.pop_front().map_or(0, |dropped| 1 + dropped.missed);
        }
        self.edges.push_back(Edge { active: level != self.active_low, at: Some(now), missed: 0 });
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

    /// Changes since the last call; the first tells what was dropped in front of it.
    pub(super) fn take_edges(&mut self) -> Vec<Edge> {
        let mut edges: Vec<Edge> = self.edges.drain(..).collect();
        if let Some(first) = edges.first_mut() {
            first.missed += std::mem::take(&mut self.missed);
        }
        edges
    }
}
