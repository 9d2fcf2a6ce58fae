//! Sequences and eras: which sequences were given, up to where they are readable, and from where on memory has all of them. Pure.
//!
//! Sequences grow for ever, over restarts too. Where a file comes late, those that were given meanwhile move behind the rows that
//! it has; what the link has read begins again then, in a new era.

use fieldgate_model::RunId;

/// The sequences of this start.
#[derive(Debug)]
pub(super) struct Sequences {
    run: RunId,
    /// The first sequence of this start.
    first: u64,
    next: u64,
    readable_end: u64,
    /// Rows with a lower sequence may be on disk alone: memory has dropped them.
    evicted_below: u64,
    era: u64,
}

impl Sequences {
    /// Of this start, before there is a file.
    pub(super) fn new(run: RunId) -> Self {
        Self { run, first: 1, next: 1, readable_end: 1, evicted_below: 1, era: 0 }
    }

    /// This start.
    pub(super) fn run(&self) -> RunId {
        self.run
    }

    /// The first sequence of this start.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// The sequence that is given next.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Sequences below this one are given.
    pub(super) fn set_next(&mut self, next: u64) {
        self.next = self.next.max(next);
    }

    /// Gives a sequence.
    pub(super) fn take(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// One past the newest that is readable.
    pub(super) fn readable_end(&self) -> u64 {
        self.readable_end
    }

    /// Everything that was given is readable.
    pub(super) fn offer_all(&mut self) {
        self.readable_end = self.next;
    }

    /// Up to here rows may be on disk alone.
    pub(super) fn evicted_below(&self) -> u64 {
        self.evicted_below
    }

    /// Memory does not have all below this any more.
    pub(super) fn evicted(&mut self, below: u64) {
        self.evicted_below = self.evicted_below.max(below);
    }

    /// Memory has all there is.
    pub(super) fn all_in_memory(&mut self) {
        self.evicted_below = 0;
    }

    /// A file has given sequences up to `base`; returns by how much those of this start move to lie behind them.
    pub(super) fn move_behind(&mut self, base: u64) -> u64 {
        let behind = base.saturating_sub(self.first);
        self.first += behind;
        self.next += behind;
        self.readable_end += behind;
        behind
    }

    /// Messages have appeared in front of what was read.
    pub(super) fn begin_era(&mut self) {
        self.era += 1;
    }

    /// Grows with each of them.
    pub(super) fn era(&self) -> u64 {
        self.era
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_before_a_file_came_moves_behind_its_rows_and_stays_in_order() {
        let mut sequences = Sequences::new(RunId(7));
        assert_eq!([sequences.take(), sequences.take()], [1, 2]);
        sequences.offer_all();
        assert_eq!(sequences.take(), 3);
        assert_eq!(sequences.move_behind(1000), 999);
        assert_eq!((sequences.first(), sequences.readable_end(), sequences.next()), (1000, 1002, 1003));
        assert_eq!(sequences.move_behind(1000), 0, "it lies behind them already");
    }

    #[test]
    fn what_memory_has_dropped_grows_until_it_has_all_again() {
        let mut sequences = Sequences::new(RunId(7));
        sequences.evicted(9);
        sequences.evicted(5);
        assert_eq!(sequences.evicted_below(), 9);
        sequences.all_in_memory();
        assert_eq!(sequences.evicted_below(), 0);
    }

    #[test]
    fn sequences_and_eras_only_grow() {
        let mut sequences = Sequences::new(RunId(7));
        sequences.set_next(10);
        sequences.set_next(5);
        assert_eq!((sequences.next(), sequences.era()), (10, 0));
        (0..2).for_each(|_| sequences.begin_era());
        assert_eq!(sequences.era(), 2);
    }
}
