//! What was announced in this run, and which payload each topic needs next. Pure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Device;

/// Removals that are repeated in later payloads at most: a Home Assistant that was away at the first sees them when it comes.
/// More than this many only follow from many reloads; the oldest are then forgotten.
const MOST_REMOVED: usize = 256;

/// Topics with the keys and platforms of their entities, and which of these have gone.
#[derive(Debug, Default)]
pub struct Announced {
    topics: BTreeMap<String, BTreeMap<String, &'static str>>,
    removed: VecDeque<Removed>,
}

#[derive(Debug)]
struct Removed {
    topic: String,
    key: String,
    platform: &'static str,
}

/// What is to be published.
#[derive(Debug)]
pub struct Update {
    /// Topics and payloads; an empty payload clears a topic.
    pub messages: Vec<(String, Vec<u8>)>,
    /// Whether something moves from one device to another: it has been taken away from the one only, for Home Assistant refuses
    /// an entity that it still has elsewhere. The next update of the same devices announces it.
    pub is_half: bool,
}

impl Announced {
    /// Announces these devices and nothing else.
    pub fn update(&mut self, devices: &[Device]) -> Update {
        let moving = self.moving(devices);
        let devices: Vec<_> = devices.iter().map(|device| device.without(&moving)).collect();
        let devices = devices.iter().filter(|device| !device.entities.is_empty());
        let messages = self.messages(&devices.collect::<Vec<_>>());
        Update { messages, is_half: !moving.is_empty() }
    }

    /// Keys of what was announced as a part of another device.
    fn moving(&self, devices: &[Device]) -> BTreeSet<String> {
        let is_elsewhere = |device: &Device, key: &str| {
            self.topics.iter().any(|(topic, keys)| *topic != device.topic && keys.contains_key(key))
        };
        let of = |device: &Device| {
            let keys = device.entities.iter().map(|entity| entity.key().to_owned());
            keys.filter(|key| is_elsewhere(device, key)).collect::<Vec<_>>()
        };
        devices.iter().flat_map(of).collect()
    }

    fn messages(&mut self, devices: &[&Device]) -> Vec<(String, Vec<u8>)> {
        let new: BTreeMap<_, _> = devices.iter().map(|device| (device.topic.clone(), keys(device))).collect();
        let old = std::mem::replace(&mut self.topics, new);
        for (topic, keys) in &old {
            self.remove(topic, keys);
        }
        let topics = &self.topics;
        let is_gone =
            |removed: &Removed| topics.get(&removed.topic).is_some_and(|keys| !keys.contains_key(&removed.key));
        self.removed.retain(is_gone);
        let excess = self.removed.len().saturating_sub(MOST_REMOVED);
        self.removed.drain(..excess);
        let gone = old.into_keys().filter(|topic| !self.topics.contains_key(topic)).map(|topic| (topic, Vec::new()));
        let there =
            devices.iter().map(|device| (device.topic.clone(), device.payload(&self.removed_from(&device.topic))));
        gone.chain(there).collect()
    }

    /// Notes what a topic has no longer.
    fn remove(&mut self, topic: &str, keys: &BTreeMap<String, &'static str>) {
        let Some(now) = self.topics.get(topic) else { return };
        for (key, platform) in keys.iter().filter(|(key, _)| !now.contains_key(*key)) {
            self.removed.push_back(Removed { topic: topic.to_owned(), key: key.clone(), platform });
        }
    }

    fn removed_from(&self, topic: &str) -> Vec<(&str, &'static str)> {
        let here = self.removed.iter().filter(|removed| removed.topic == topic);
        here.map(|removed| (removed.key.as_str(), removed.platform)).collect()
    }
}

fn keys(device: &Device) -> BTreeMap<String, &'static str> {
    device.entities.iter().map(|entity| (entity.key().to_owned(), entity.platform)).collect()
}
