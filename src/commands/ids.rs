//! Which command ids were seen, and what was answered.
//!
//! Remembered in memory for this run: the newest [`REMEMBERED`] ids. An id belongs to one output.

use std::collections::{BTreeMap, VecDeque};

use crate::model::Name;
use crate::model::payload::ResponseTarget;

/// Enough for a client that repeats a command for minutes; about 200 kB at most.
const REMEMBERED: usize = 1024;

/// Repeats that may wait for one command's answer; further ones are refused as busy.
const WAITING: usize = 16;

/// Whether an id was seen.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Not yet, or the command has none.
    No,
    /// The first is under way; its answer will be repeated.
    UnderWay,
    /// The first is under way, and as many repeats as may wait for its answer do so.
    Crowded,
    /// This was the answer.
    Answered(String),
}

#[derive(Debug)]
enum Entry {
    UnderWay(Vec<Option<ResponseTarget>>),
    Answered(String),
}

/// The ids of all outputs.
#[derive(Debug, Default)]
pub(super) struct Ids {
    entries: BTreeMap<(Name, String), Entry>,
    order: VecDeque<(Name, String)>,
}

impl Ids {
    /// Whether `id` was seen. A repeat of one that is under way waits for its answer.
    pub(super) fn seen(&mut self, actuator: &Name, id: Option<&str>, response: Option<&ResponseTarget>) -> Seen {
        let Some(id) = id else { return Seen::No };
        match self.entries.get_mut(&(actuator.clone(), id.to_owned())) {
            None => Seen::No,
            Some(Entry::Answered(payload)) => Seen::Answered(payload.clone()),
            Some(Entry::UnderWay(waiting)) if waiting.len() >= WAITING => Seen::Crowded,
            Some(Entry::UnderWay(waiting)) => {
                waiting.push(response.cloned());
                Seen::UnderWay
            }
        }
    }

    /// A command with `id` begins.
    pub(super) fn begin(&mut self, actuator: &Name, id: Option<&str>) {
        let Some(id) = id else { return };
        let key = (actuator.clone(), id.to_owned());
        if self.entries.insert(key.clone(), Entry::UnderWay(Vec::new())).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
    }

    /// The command with `id` was answered; returns the repeats that waited.
    pub(super) fn answered(&mut self, actuator: &Name, id: Option<&str>, payload: &str) -> Vec<Option<ResponseTarget>> {
        let Some(id) = id else { return Vec::new() };
        match self.entries.get_mut(&(actuator.clone(), id.to_owned())) {
            Some(entry) => match std::mem::replace(entry, Entry::Answered(payload.to_owned())) {
                Entry::UnderWay(waiting) => waiting,
                Entry::Answered(_) => Vec::new(),
            },
            None => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pump() -> Name {
        Name::new("pump").unwrap()
    }

    #[test]
    fn a_repeat_gets_the_first_answer() {
        let mut ids = Ids::default();
        assert_eq!(ids.seen(&pump(), Some("a"), None), Seen::No);
        ids.begin(&pump(), Some("a"));
        assert_eq!(ids.seen(&pump(), Some("a"), None), Seen::UnderWay);
        assert_eq!(ids.answered(&pump(), Some("a"), "first"), [None], "the repeat waited");
        assert_eq!(ids.seen(&pump(), Some("a"), None), Seen::Answered("first".into()));
        assert_eq!(ids.seen(&Name::new("fan").unwrap(), Some("a"), None), Seen::No, "another output's id");
    }

    #[test]
    fn a_repeat_too_many_is_told_so_instead_of_waiting() {
        let mut ids = Ids::default();
        ids.begin(&pump(), Some("a"));
        for _ in 0..WAITING {
            assert_eq!(ids.seen(&pump(), Some("a"), None), Seen::UnderWay);
        }
        assert_eq!(ids.seen(&pump(), Some("a"), None), Seen::Crowded);
        assert_eq!(ids.answered(&pump(), Some("a"), "first").len(), WAITING);
    }

    #[test]
    fn a_command_without_id_is_never_a_repeat() {
        let mut ids = Ids::default();
        ids.begin(&pump(), None);
        assert_eq!(ids.seen(&pump(), None, None), Seen::No);
    }

    #[test]
    fn the_oldest_ids_are_forgotten() {
        let mut ids = Ids::default();
        for n in 0..=REMEMBERED {
            ids.begin(&pump(), Some(&n.to_string()));
        }
        assert_eq!(ids.seen(&pump(), Some("0"), None), Seen::No);
        assert_eq!(ids.seen(&pump(), Some("1"), None), Seen::UnderWay);
        assert_eq!((ids.entries.len(), ids.order.len()), (REMEMBERED, REMEMBERED));
    }
}
