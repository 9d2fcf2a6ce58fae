//! What was taken, what became of it, and what a connection has shown.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// A reading by sensor and number.
pub(super) type Id = (String, u64);

/// What was taken, and what became of it.
#[derive(Default)]
pub(super) struct Account {
    pub(super) taken: BTreeSet<Id>,
    pub(super) replies: BTreeSet<String>,
    pub(super) damaged: BTreeSet<Id>,
    pub(super) arrived: BTreeSet<Id>,
    pub(super) answered: BTreeSet<String>,
    /// The payloads of loss records.
    pub(super) losses: BTreeSet<Vec<u8>>,
}

impl Account {
    pub(super) fn reported(&self) -> u64 {
        let count = |loss: &Vec<u8>| serde_json::from_slice::<Value>(loss).unwrap()["count"].as_u64().unwrap();
        self.losses.iter().map(count).sum()
    }

    /// How much has come of all kinds; it grows with each that arrives.
    pub(super) fn come(&self) -> usize {
        self.arrived.len() + self.answered.len() + self.losses.len()
    }

    pub(super) fn absent(&self) -> u64 {
        self.taken.difference(&self.arrived).count() as u64
    }

    /// Whether everything has arrived that can, and the rest is reported.
    pub(super) fn is_complete(&self, given_up: &BTreeSet<Id>) -> bool {
        let mut absent = self.taken.difference(&self.arrived);
        absent.all(|id| self.damaged.contains(id) || given_up.contains(id))
            && self.reported() >= self.absent()
            && self.answered.is_superset(&self.replies)
    }

    /// What was damaged or refused for good may have arrived as well and be reported: it was under way, or the answer to its
    /// first delivery was lost with the connection.
    pub(super) fn check(&self, given_up: &BTreeSet<Id>) {
        let may_be_absent: BTreeSet<&Id> = self.damaged.union(given_up).collect();
        let both = may_be_absent.iter().filter(|id| self.arrived.contains(**id)).count() as u64;
        let (absent, reported) = (self.absent(), self.reported());
        assert!((absent..=absent + both).contains(&reported), "{reported} are reported, {absent} are absent");
        let mut others = self.taken.difference(&self.arrived).filter(|id| !may_be_absent.contains(id));
        assert_eq!(others.next(), None, "absent, and neither damaged nor refused for good");
    }
}

/// What one connection has shown.
#[derive(Default)]
pub(super) struct Shown {
    /// By topic.
    pub(super) last: BTreeMap<String, u64>,
    pub(super) refused: BTreeSet<String>,
    pub(super) accepted: BTreeSet<Id>,
}
