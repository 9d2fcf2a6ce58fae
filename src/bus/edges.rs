//! What all sources of edges share: their clock, and the numbers by which dropped edges show.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The kernel's clock for edges.
pub(super) fn monotonic() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
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
}
