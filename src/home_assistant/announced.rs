//! What is announced, what has gone since and is not out of Home Assistant for certain, and which payload each topic needs next.
//! Pure.
//!
//! Home Assistant takes away what it discovered in its present run: an entity by its platform alone under its key, a tombstone.
//! What it has in its registry of an earlier run it must be shown once more in its old form before a tombstone means anything. It
//! may have been away when something went, so the old forms are kept until it has started once and was shown them:
//! [`Announced::full`], [`Announced::messages`], [`Announced::forget`], with time between them (`announcer.rs`).
//!
//! Nothing but what this gateway announced itself is ever taken away. The empty payload of a topic would also take away what another
//! gateway of the same name has announced there, so a topic is cleared only while there is none.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::device::{MOST_BYTES, payload_of};
use super::moves::Moves;
use super::{Device, Entity};

/// Bytes of a payload with the old forms of what has gone. The oldest of these are forgotten beyond it.
const MOST_BYTES_IN_FULL: usize = 2 * MOST_BYTES;

/// Topics that are kept although nothing is announced there any more. More only come of many reloads.
const MOST_LEFT: usize = 128;

/// Topics with what is and was announced there.
#[derive(Clone, Debug, Default)]
pub struct Announced {
    topics: BTreeMap<String, Part>,
    moves: Moves,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Part {
    device: Json,
    there: BTreeMap<String, Json>,
    /// Old forms of what has gone, the oldest first.
    gone: Vec<(String, Json)>,
    /// Those whose tombstones may not have been seen yet.
    #[serde(skip)]
    unseen: BTreeSet<String>,
    /// Whether the topic was cleared when nothing was left on it,
    #[serde(skip)]
    is_cleared: bool,
    /// and whether the broker has that.
    #[serde(default)]
    is_confirmed: bool,
}

/// What is to be published.
#[derive(Debug)]
pub struct Update {
    /// Topics and payloads; an empty payload clears a topic.
    pub messages: Messages,
    /// Whether something moves from one device to another, or from another program: it has been taken away from the one only, for
    /// Home Assistant refuses an entity that it still has elsewhere. The next update of the same devices announces it.
    pub is_half: bool,
    /// Whether something is new to Home Assistant, or other than it was, if only the name of a device. It then counts each value
    /// that can expire as expired until the next one.
    pub is_new: bool,
}

/// Topics and payloads; an empty payload clears a topic.
pub type Messages = Vec<(String, Vec<u8>)>;

impl Announced {
    /// Takes in what an earlier run had stored. What cannot be read is left out: nothing is taken away by guess.
    pub fn recall<'a>(&mut self, stored: impl IntoIterator<Item = (&'a String, &'a Vec<u8>)>) {
        let is_there: BTreeSet<String> = self.topics.values().flat_map(|part| part.there.keys().cloned()).collect();
        for (topic, body) in stored {
            self.moves.recall(topic, body);
            let Ok(Part { device, there, gone, is_confirmed, .. }) = serde_json::from_slice(body) else { continue };
            match self.topics.get_mut(topic) {
                None if is_there.is_empty() => {
                    let unseen = gone.iter().map(|(key, _)| key.clone()).collect();
                    let part = Part { device, there, gone, unseen, is_cleared: is_confirmed, is_confirmed };
                    self.topics.insert(topic.clone(), part);
                }
                // This run has announced something already: what it has not is gone.
                known => {
                    let old = gone.into_iter().chain(there).filter(|(key, _)| !is_there.contains(key));
                    let old: Vec<_> = old.collect();
                    let part = match known {
                        Some(part) => part,
                        None => self.topics.entry(topic.clone()).or_insert(Part { device, ..Part::default() }),
                    };
                    part.leave(old);
                }
            }
        }
    }

    /// What the next run has to know, by topic.
    pub fn stored(&self) -> BTreeMap<String, Vec<u8>> {
        let body = |part: &Part| serde_json::to_vec(part).unwrap_or_default();
        let topics = self.topics.iter().map(|(topic, part)| (topic.clone(), body(part)));
        topics.chain(self.moves.stored()).collect()
    }

    /// Announces these devices and nothing else.
    pub fn update(&mut self, devices: &[Device]) -> Update {
        self.moves.arrange(devices);
        let moving = self.moving(devices);
        let is_known = |topic: &str, device: &Device| {
            let known = self.topics.get(topic).filter(|part| part.device == device.about());
            known
                .is_some_and(|part| device.components().iter().all(|(key, config)| part.there.get(key) == Some(config)))
        };
        let devices = devices.iter().map(|device| device.without(&moving)).filter(|device| !device.entities.is_empty());
        let mut new: BTreeMap<_, _> = devices.map(|device| (device.topic.clone(), device)).collect();
        let is_new = !new.iter().all(|(topic, device)| is_known(topic, device));
        for (topic, part) in &mut self.topics {
            match new.remove(topic) {
                Some(device) => part.replace(device.about(), device.components()),
                None => part.replace(part.device.clone(), BTreeMap::new()),
            }
        }
        for (topic, device) in new {
            let part = Part { device: device.about(), there: device.components(), ..Part::default() };
            self.topics.insert(topic, part);
        }
        self.tidy();
        let mut messages = self.moves.requests();
        messages.extend(self.messages());
        Update { messages, is_half: !moving.is_empty(), is_new }
    }

    /// Keys of what was announced as a part of another device or by another program, and may still be there.
    fn moving(&self, devices: &[Device]) -> BTreeSet<String> {
        let is_elsewhere = |device: &Device, key: &str| {
            let has = |part: &Part| part.there.contains_key(key) || part.unseen.contains(key);
            self.topics.iter().any(|(topic, part)| *topic != device.topic && has(part))
        };
        let of = |device: &Device| {
            let is_waiting =
                |entity: &Entity| entity.moved_from.as_ref().is_some_and(|topic| self.moves.is_waiting(topic));
            let comes = |entity: &&Entity| {
                is_waiting(entity) || is_elsewhere(device, entity.key()) || self.is_another(device, entity)
            };
            device.entities.iter().filter(comes).map(|entity| entity.key().to_owned()).collect::<Vec<_>>()
        };
        devices.iter().flat_map(of).collect()
    }

    /// Whether an entity has another unique id than before, which no update can change.
    fn is_another(&self, device: &Device, entity: &Entity) -> bool {
        let key = entity.key();
        let old = self.topics.get(&device.topic).and_then(|part| {
            let gone = || part.gone.iter().find(|(gone, _)| gone == key && part.unseen.contains(key));
            part.there.get(key).or_else(|| gone().map(|(_, config)| config))
        });
        old.is_some_and(|old| old["unique_id"] != *entity.unique_id)
    }

    /// What is there again, in its place or in another, has not gone; and memory has an end.
    fn tidy(&mut self) {
        let is_there: BTreeSet<String> = self.topics.values().flat_map(|part| part.there.keys().cloned()).collect();
        for part in self.topics.values_mut() {
            part.gone.retain(|(key, _)| !is_there.contains(key));
            part.unseen.retain(|key| !is_there.contains(key));
        }
        let left: Vec<_> =
            self.topics.iter().filter(|(_, part)| part.is_left()).map(|(topic, _)| topic.clone()).collect();
        for topic in left.iter().take(left.len().saturating_sub(MOST_LEFT)) {
            self.topics.remove(topic);
        }
    }

    /// What the broker is to keep: tombstones beside what there is. Where nothing is left, [`Announced::clear`] does the rest.
    pub fn messages(&self) -> Messages {
        let there = self.topics.iter().filter(|(_, part)| !part.is_left());
        there.map(|(topic, part)| (topic.clone(), part.payload(false))).collect()
    }

    /// What has gone in its old form, for a Home Assistant that has started since; nothing where nothing has gone.
    pub fn full(&mut self) -> Messages {
        let with_gone = self.topics.iter_mut().filter(|(_, part)| !part.gone.is_empty());
        let message = |(topic, part): (&String, &mut Part)| {
            (part.is_cleared, part.is_confirmed) = (false, false);
            part.unseen = part.gone.iter().map(|(key, _)| key.clone()).collect();
            (topic.clone(), part.payload(true))
        };
        with_gone.map(message).collect()
    }

    /// What was published was seen: the broker has it, and Home Assistant had its time.
    pub fn confirm(&mut self) {
        self.moves.confirm();
        for part in self.topics.values_mut().filter(|part| !part.is_left() || part.is_cleared) {
            part.unseen.clear();
            part.is_confirmed = part.is_cleared;
        }
        self.topics.retain(|_, part| !(part.is_left() && part.is_cleared && part.gone.is_empty()));
    }

    /// Whether there are topics on which nothing is left, or from which everything has moved here, and which are not cleared.
    pub fn is_to_clear(&self) -> bool {
        self.moves.is_to_clear() || self.topics.values().any(|part| part.is_left() && !part.is_cleared)
    }

    /// Clears the topics on which nothing is left, or from which everything has moved here. The empty payload takes away whatever
    /// was announced there; unless this gateway `is_alone`, tombstones take away its own. Home Assistant complains of either where
    /// it has nothing, so it comes once.
    pub fn clear(&mut self, is_alone: bool) -> Messages {
        let left = self.topics.iter_mut().filter(|(_, part)| part.is_left() && !part.is_cleared);
        let message = |(topic, part): (&String, &mut Part)| {
            part.is_cleared = true;
            (topic.clone(), if is_alone { Vec::new() } else { part.payload(false) })
        };
        let left: Messages = left.map(message).collect();
        left.into_iter().chain(self.moves.clear()).collect()
    }

    /// Home Assistant was shown everything that has gone, and that it has: no more is kept of it.
    pub fn forget(&mut self) -> Messages {
        self.topics.retain(|_, part| !part.is_left() || !part.is_cleared);
        let mut messages = Messages::new();
        for (topic, part) in self.topics.iter_mut().filter(|(_, part)| !part.is_left() && !part.gone.is_empty()) {
            part.gone.clear();
            part.unseen.clear();
            messages.push((topic.clone(), part.payload(false)));
        }
        messages
    }

    /// Every topic.
    pub fn topics(&self) -> impl Iterator<Item = &String> {
        self.topics.keys()
    }

    /// What topics of something that has gone begin with.
    pub fn prefix_of_gone(&self) -> Option<&str> {
        let (topic, _) = self.topics.iter().find(|(_, part)| !part.gone.is_empty())?;
        topic.split_once("/device/").map(|(prefix, _)| prefix)
    }
}

impl Part {
    /// Whether nothing is announced here any more.
    fn is_left(&self) -> bool {
        self.there.is_empty()
    }

    fn replace(&mut self, device: Json, there: BTreeMap<String, Json>) {
        let old = std::mem::replace(&mut self.there, there);
        let gone: Vec<_> = old.into_iter().filter(|(key, _)| !self.there.contains_key(key)).collect();
        self.device = device;
        if !self.there.is_empty() {
            (self.is_cleared, self.is_confirmed) = (false, false);
        }
        self.leave(gone);
    }

    /// Takes in what has gone.
    fn leave(&mut self, gone: Vec<(String, Json)>) {
        if !gone.is_empty() {
            self.unseen.extend(gone.iter().map(|(key, _)| key.clone()));
            self.gone.extend(gone);
            self.trim();
        }
    }

    fn trim(&mut self) {
        // What is newer is what is kept.
        let mut seen = BTreeSet::new();
        let mut bytes = payload_of(&self.device, self.there.clone()).len();
        let mut kept: Vec<_> = std::mem::take(&mut self.gone);
        kept.reverse();
        kept.retain(|(key, config)| {
            bytes += key.len() + config.to_string().len() + 4;
            seen.insert(key.clone()) && bytes <= MOST_BYTES_IN_FULL
        });
        kept.reverse();
        self.gone = kept;
    }

    /// What has gone in its old form or as tombstones, beside what there is.
    fn payload(&self, in_full: bool) -> Vec<u8> {
        let tombstone = |config: &Json| json!({ "platform": config["platform"] });
        let gone = self.gone.iter().map(|(key, config)| {
            let config = if in_full { config.clone() } else { tombstone(config) };
            (key.clone(), config)
        });
        payload_of(&self.device, gone.chain(self.there.clone()))
    }
}
