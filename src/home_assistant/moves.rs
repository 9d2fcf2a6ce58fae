//! What moves here from other programs: entities that were announced alone, each on a topic of its own. Pure.
//!
//! Home Assistant knows an entity by its unique id, and refuses one that it still has from elsewhere. So it is first asked to let go of
//! the old one without forgetting it, then shown the new one under the same unique id, and in the end the old topic is cleared. The
//! entity keeps its id, its name and its history. What has moved is stored, so that nothing of this happens twice.

use std::collections::BTreeMap;

use serde_json::json;

use super::{Device, Messages};

/// What an old topic says, so that Home Assistant lets go of its entity.
const LET_GO: &[u8] = br#"{"migrate_discovery":true}"#;

/// How far the move from a topic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Move {
    /// Home Assistant is asked to let go.
    Asked,
    /// It has, and the entity may be announced here.
    Open,
    /// The old topic is cleared,
    Cleared,
    /// and the broker has that.
    Done,
}

/// The moves from all topics that are configured.
#[derive(Clone, Debug, Default)]
pub(super) struct Moves(BTreeMap<String, Move>);

impl Moves {
    /// What an earlier run had stored under this topic, if it is one of a move.
    pub(super) fn recall(&mut self, topic: &str, body: &[u8]) {
        if body == stored() {
            self.0.insert(topic.to_owned(), Move::Done);
        }
    }

    /// What the next run has to know.
    pub(super) fn stored(&self) -> impl Iterator<Item = (String, Vec<u8>)> {
        let done = self.0.iter().filter(|(_, at)| **at == Move::Done);
        done.map(|(topic, _)| (topic.clone(), stored()))
    }

    /// Takes up the moves to these devices. What is not configured any more is forgotten.
    pub(super) fn arrange(&mut self, devices: &[Device]) {
        let old = std::mem::take(&mut self.0);
        let entities = devices.iter().flat_map(|device| &device.entities);
        let topics = entities.filter_map(|entity| entity.moved_from.as_ref());
        let at = |topic: &String| (topic.clone(), old.get(topic).copied().unwrap_or(Move::Asked));
        self.0 = topics.map(at).collect();
    }

    /// Whether what comes from this topic has to wait.
    pub(super) fn is_waiting(&self, topic: &str) -> bool {
        self.0.get(topic) == Some(&Move::Asked)
    }

    /// What asks Home Assistant to let go.
    pub(super) fn requests(&self) -> Messages {
        let asked = self.0.iter().filter(|(_, at)| **at == Move::Asked);
        asked.map(|(topic, _)| (topic.clone(), LET_GO.to_vec())).collect()
    }

    /// What was published was seen.
    pub(super) fn confirm(&mut self) {
        for at in self.0.values_mut() {
            *at = match *at {
                Move::Asked => Move::Open,
                Move::Cleared => Move::Done,
                other => other,
            };
        }
    }

    /// Whether old topics are still to be cleared.
    pub(super) fn is_to_clear(&self) -> bool {
        self.0.values().any(|at| *at == Move::Open)
    }

    /// Clears the old topics of what is announced here.
    pub(super) fn clear(&mut self) -> Messages {
        let open = self.0.iter_mut().filter(|(_, at)| **at == Move::Open);
        let message = |(topic, at): (&String, &mut Move)| {
            *at = Move::Cleared;
            (topic.clone(), Vec::new())
        };
        open.map(message).collect()
    }
}

fn stored() -> Vec<u8> {
    json!({ "moved": true }).to_string().into_bytes()
}
