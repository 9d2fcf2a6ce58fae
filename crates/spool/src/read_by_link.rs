//! Which messages the link has read and not settled: the broker may have them, so they are dropped last. Pure.
//!
//! The link reads more than it sends: it passes over what is too old for the live lane, and what the broker refuses, and reads
//! that again later. It says so, and what it passed over is forgotten here; otherwise a long backlog would push out what is in
//! flight. What an earlier connection has read stays, for nobody knows what of it the broker got.

use std::collections::{BTreeMap, VecDeque};

/// The messages that the broker may have; they are dropped last.
#[derive(Debug)]
pub(super) struct ReadByLink {
    limit: usize,
    /// Each with its turn.
    sequences: BTreeMap<u64, u64>,
    /// Turns in the order in which they were given; some may be settled.
    order: VecDeque<(u64, u64)>,
    turn: u64,
    /// The last turn before the present connection.
    earlier: u64,
}

impl ReadByLink {
    /// None yet, and never more than `limit`; of more, those that were read first are forgotten.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, sequences: BTreeMap::new(), order: VecDeque::new(), turn: 0, earlier: 0 }
    }

    /// A connection begins.
    pub(super) fn begin_connection(&mut self) {
        self.earlier = self.turn;
    }

    /// The link passed this one over. It stays if an earlier connection was given it.
    pub(super) fn pass_over(&mut self, sequence: u64) {
        if self.sequences.get(&sequence).is_some_and(|turn| *turn > self.earlier) {
            self.sequences.remove(&sequence);
        }
    }

    /// The link was given this one, perhaps again.
    pub(super) fn insert(&mut self, sequence: u64) {
        if self.sequences.contains_key(&sequence) {
            return;
        }
        self.turn += 1;
        self.sequences.insert(sequence, self.turn);
        self.order.push_back((self.turn, sequence));
        while self.sequences.len() > self.limit {
            let Some((turn, first)) = self.order.pop_front() else { break };
            if self.sequences.get(&first) == Some(&turn) {
                self.sequences.remove(&first);
            }
        }
        if self.order.len() > 2 * self.limit {
            self.order.retain(|(turn, sequence)| self.sequences.get(sequence) == Some(turn));
        }
    }

    /// It is settled, or gone.
    pub(super) fn remove(&mut self, sequence: u64) {
        self.sequences.remove(&sequence);
    }

    /// Whether the broker may have it.
    pub(super) fn contains(&self, sequence: u64) -> bool {
        self.sequences.contains_key(&sequence)
    }

    /// Moves every one by `behind` places.
    pub(super) fn shift(&mut self, behind: u64) {
        let sequences = std::mem::take(&mut self.sequences);
        self.sequences = sequences.into_iter().map(|(sequence, turn)| (sequence + behind, turn)).collect();
        self.order.iter_mut().for_each(|(_, sequence)| *sequence += behind);
    }

    /// Keeps those that `is_there` accepts.
    pub(super) fn retain(&mut self, is_there: impl Fn(u64) -> bool) {
        self.sequences.retain(|sequence, _| is_there(*sequence));
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = u64> {
        self.sequences.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn beyond_the_limit_those_that_were_given_first_are_forgotten() {
        let mut read_by_link = ReadByLink::new(3);
        [9, 1, 5].into_iter().for_each(|sequence| read_by_link.insert(sequence));
        read_by_link.remove(1);
        [7, 2].into_iter().for_each(|sequence| read_by_link.insert(sequence));
        assert_eq!(read_by_link.iter().collect::<Vec<_>>(), [2, 5, 7]);
        assert!(read_by_link.contains(5) && !read_by_link.contains(9));
        read_by_link.retain(|sequence| sequence != 5);
        assert_eq!(read_by_link.iter().collect::<Vec<_>>(), [2, 7]);
    }

    #[test]
    fn one_that_stays_under_way_is_not_forgotten_for_others_that_come_and_go() {
        let mut read_by_link = ReadByLink::new(3);
        read_by_link.insert(1);
        for sequence in 2..1000 {
            read_by_link.insert(sequence);
            read_by_link.remove(sequence);
        }
        assert!(read_by_link.contains(1) && read_by_link.order.len() <= 6, "{read_by_link:?}");
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Give(u64),
        Settle(u64),
        PassOver(u64),
        Connect,
        MoveBehind(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => (0_u64..20).prop_map(Step::Give),
            4 => (0_u64..20).prop_map(Step::Settle),
            4 => (0_u64..20).prop_map(Step::PassOver),
            2 => Just(Step::Connect),
            1 => (1_u64..4).prop_map(Step::MoveBehind),
        ]
    }

    proptest! {
        #[test]
        fn as_many_as_may_be_are_remembered(steps in prop::collection::vec(step(), 0..300), limit in 1_usize..8) {
            // Each with whether an earlier connection was given it.
            let (mut read_by_link, mut model) = (ReadByLink::new(limit), Vec::<(u64, bool)>::new());
            for step in steps {
                match step {
                    Step::Give(sequence) => {
                        read_by_link.insert(sequence);
                        if model.iter().all(|(known, _)| *known != sequence) {
                            model.push((sequence, false));
                        }
                        if model.len() > limit {
                            model.remove(0);
                        }
                    }
                    Step::Settle(sequence) => {
                        read_by_link.remove(sequence);
                        model.retain(|(known, _)| *known != sequence);
                    }
                    Step::PassOver(sequence) => {
                        read_by_link.pass_over(sequence);
                        model.retain(|(known, is_earlier)| *known != sequence || *is_earlier);
                    }
                    Step::Connect => {
                        read_by_link.begin_connection();
                        model.iter_mut().for_each(|(_, is_earlier)| *is_earlier = true);
                    }
                    Step::MoveBehind(places) => {
                        read_by_link.shift(places);
                        model.iter_mut().for_each(|(known, _)| *known += places);
                    }
                }
                let mut sorted: Vec<u64> = model.iter().map(|(sequence, _)| *sequence).collect();
                sorted.sort_unstable();
                prop_assert_eq!(read_by_link.iter().collect::<Vec<_>>(), sorted);
                prop_assert!(read_by_link.order.len() <= 2 * limit);
            }
        }
    }
}
