//! Edges on their way to a driver that takes them when it can: limited in number, and what is dropped is reported.

use std::collections::VecDeque;

use crate::Edge;

/// Edges kept for one line until the driver takes them; when more come, the oldest go, as in the kernel.
pub(super) const EDGE_LIMIT: usize = 1024;

/// The edges of one line.
#[derive(Debug, Default)]
pub(super) struct Edges {
    waiting: VecDeque<Edge>,
    /// Dropped for want of room, in front of all that wait.
    missed: u32,
}

impl Edges {
    /// Keeps one more.
    pub(super) fn push(&mut self, edge: Edge) {
        if self.waiting.len() == EDGE_LIMIT {
            self.missed += self.waiting.pop_front().map_or(0, |dropped| 1 + dropped.missed);
        }
        self.waiting.push_back(edge);
    }

    /// What waits; the first says what was dropped in front of it.
    pub(super) fn take(&mut self) -> Vec<Edge> {
        let mut edges: Vec<Edge> = self.waiting.drain(..).collect();
        if let Some(first) = edges.first_mut() {
            first.missed += std::mem::take(&mut self.missed);
        }
        edges
    }
}

/// How many numbers lie between the last edge of a line and this one. The kernel counts from 1, dropped edges too; one that
/// is too old to count (before 5.10) says 0.
pub(super) fn skipped(last: &mut u32, number: u32) -> u32 {
    if number == 0 {
        return 0;
    }
    number.wrapping_sub(std::mem::replace(last, number)).wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_edges_show_in_the_numbers() {
        let mut last = 0;
        assert_eq!([1, 2, 7, 8].map(|number| skipped(&mut last, number)), [0, 0, 4, 0]);
        last = u32::MAX - 1;
        assert_eq!([u32::MAX, 0, 1].map(|number| skipped(&mut last, number)), [0, 0, 1], "the numbers go round");
    }

    #[test]
    fn edges_that_nobody_takes_are_limited_and_counted() {
        let mut edges = Edges::default();
        for n in 0..EDGE_LIMIT + 10 {
            edges.push(Edge { active: n % 2 == 0, at: None, missed: u32::from(n == 3) });
        }
        let kept = edges.take();
        assert_eq!((kept.len(), kept[0].missed, kept[1].missed), (EDGE_LIMIT, 11, 0));
        assert!(edges.take().is_empty());
    }
}
