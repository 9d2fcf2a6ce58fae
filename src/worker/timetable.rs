//! Which entry is due next, found without going through all of them. Pure.
//!
//! A heap of numbered entries in which each entry's place is known, so that an entry can be moved without a search. Nothing is
//! allocated but at [`Timetable::reset`].

/// Numbered entries, each with the moment at which it is due.
#[derive(Debug)]
pub(super) struct Timetable<K> {
    due: Vec<K>,
    /// The numbers of the entries: a parent is due no later than its children, which are at twice its place plus 1 and 2.
    heap: Vec<usize>,
    /// Where in the heap each entry is.
    place: Vec<usize>,
}

impl<K: Ord + Copy> Timetable<K> {
    /// No entries.
    pub(super) fn new() -> Self {
        Self { due: Vec::new(), heap: Vec::new(), place: Vec::new() }
    }

    /// Begins again with these entries, numbered from 0.
    pub(super) fn reset(&mut self, due: impl Iterator<Item = K>) {
        self.due.clear();
        self.due.extend(due);
        self.heap.clear();
        self.heap.extend(0..self.due.len());
        self.place.clear();
        self.place.extend(0..self.due.len());
        for place in (0..self.heap.len() / 2).rev() {
            self.sink(place);
        }
    }

    /// The entry is due at another moment.
    pub(super) fn set(&mut self, entry: usize, due: K) {
        self.due[entry] = due;
        let place = self.rise(self.place[entry]);
        self.sink(place);
    }

    /// The entry that is due first; the one with the lowest number of several.
    pub(super) fn first(&self) -> Option<(usize, K)> {
        self.heap.first().map(|entry| (*entry, self.due[*entry]))
    }

    fn rise(&mut self, mut place: usize) -> usize {
        while place > 0 && self.is_before(place, (place - 1) / 2) {
            self.swap(place, (place - 1) / 2);
            place = (place - 1) / 2;
        }
        place
    }

    fn sink(&mut self, mut place: usize) {
        loop {
            let children = [2 * place + 1, 2 * place + 2].into_iter().filter(|child| *child < self.heap.len());
            let Some(first) = children.reduce(|one, other| if self.is_before(other, one) { other } else { one }) else {
                return;
            };
            if !self.is_before(first, place) {
                return;
            }
            self.swap(first, place);
            place = first;
        }
    }

    fn is_before(&self, one: usize, other: usize) -> bool {
        let key = |place: usize| (self.due[self.heap[place]], self.heap[place]);
        key(one) < key(other)
    }

    fn swap(&mut self, one: usize, other: usize) {
        self.heap.swap(one, other);
        self.place[self.heap[one]] = one;
        self.place[self.heap[other]] = other;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nobody_is_due_first_in_an_empty_one() {
        assert_eq!(Timetable::<u32>::new().first(), None);
    }

    proptest! {
        #[test]
        fn the_first_is_the_one_that_a_scan_finds(
            before in 0u32..80, start in prop::collection::vec(0u32..50, 1..60), moves in prop::collection::vec((any::<usize>(), 0u32..100), 0..200),
        ) {
            let (mut table, mut plain) = (Timetable::new(), start.clone());
            // What was in it before leaves nothing behind.
            table.reset((0..before).rev());
            table.reset(start.into_iter());
            for (entry, due) in moves {
                let scanned = plain.iter().copied().enumerate().min_by_key(|(entry, due)| (*due, *entry));
                prop_assert_eq!(table.first(), scanned);
                let entry = entry % plain.len();
                plain[entry] = due;
                table.set(entry, due);
            }
        }
    }
}
