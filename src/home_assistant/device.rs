//! A device and its payload. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json, json};

use super::{Entity, Settings, slug};

/// The largest payload in bytes. Brokers that are known to take little take 128 KiB, and the link no more than twice that.
pub(super) const MOST_BYTES: usize = 64 * 1024;

/// Into how many topics a device is divided at most: some ten thousand entities.
const MOST_PARTS: usize = 128;

/// A device of Home Assistant, or a part of one that is large: the gateway, or one that sensors and outputs name.
#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    /// Its identifier, also in its topic.
    pub id: String,
    /// Where it is announced.
    pub topic: String,
    /// As people read it.
    pub name: String,
    /// Where it is, as a suggestion.
    pub area: Option<String>,
    /// The gateway's identifier, for a device that is not the gateway.
    via: Option<String>,
    /// What belongs to it.
    pub entities: Vec<Entity>,
}

impl Device {
    /// The gateway's own.
    pub(super) fn gateway(settings: &Settings, entities: Vec<Entity>) -> Self {
        let id = gateway_id(settings);
        let topic = topic(settings, &id);
        Self { id, topic, name: settings.name.clone(), area: settings.area.clone(), via: None, entities }
    }

    /// One that is named in the configuration.
    pub(super) fn named(settings: &Settings, name: &str, area: Option<String>) -> Self {
        let via = gateway_id(settings);
        let id = format!("{via}_{}", slug(name));
        let topic = topic(settings, &id);
        Self { id, topic, name: name.to_owned(), area, via: Some(via), entities: Vec::new() }
    }

    /// The device as it is, or divided among several topics where its payload would be too large. Each entity has its place by its
    /// id alone, so that hardly any moves when others come or go.
    pub(super) fn parts(self, settings: &Settings) -> Vec<Self> {
        let mut parts = vec![self.clone()];
        while parts.len() < MOST_PARTS && parts.iter().any(|part| part.payload().len() > MOST_BYTES) {
            parts = self.divided(settings, parts.len() * 2);
        }
        parts.retain(|part| !part.entities.is_empty());
        parts
    }

    fn divided(&self, settings: &Settings, count: usize) -> Vec<Self> {
        let part = |index: usize| {
            let mut part = self.clone();
            part.entities.retain(|entity| place(&entity.unique_id) % count == index);
            if index > 0 {
                part.topic = topic(settings, &format!("{}/{}", self.id, index + 1));
            }
            part
        };
        (0..count).map(part).collect()
    }

    /// The device without these entities.
    pub(super) fn without(&self, keys: &BTreeSet<String>) -> Self {
        let mut device = self.clone();
        device.entities.retain(|entity| !keys.contains(entity.key()));
        device
    }

    /// What is published on its topic.
    pub(super) fn payload(&self) -> Vec<u8> {
        payload_of(&self.about(), self.components())
    }

    /// Its entities by their keys.
    pub(super) fn components(&self) -> BTreeMap<String, Json> {
        self.entities.iter().map(|entity| (entity.key().to_owned(), self.component(entity))).collect()
    }

    /// Every key here is one that Home Assistant knows, for a single other one makes it refuse the whole device.
    pub(super) fn about(&self) -> Json {
        let mut about = json!({ "identifiers": [self.id], "name": self.name });
        match &self.via {
            Some(via) => about["via_device"] = json!(via),
            None => {
                about["manufacturer"] = json!("Fieldgate");
                about["model"] = json!("gateway");
                about["sw_version"] = json!(env!("CARGO_PKG_VERSION"));
            }
        }
        if let Some(area) = &self.area {
            about["suggested_area"] = json!(area);
        }
        about
    }

    fn component(&self, entity: &Entity) -> Json {
        let mut component = entity.config.clone();
        component.insert("platform".into(), entity.platform.into());
        component.insert("unique_id".into(), entity.unique_id.clone().into());
        component.insert("default_entity_id".into(), entity.entity_id.clone().into());
        // An entity with the name of its device is a fault to Home Assistant; without one it shows the device's.
        let is_same = entity.name.eq_ignore_ascii_case(&self.name);
        component.insert("name".into(), if is_same { Json::Null } else { entity.name.clone().into() });
        Json::Object(component)
    }
}

fn gateway_id(settings: &Settings) -> String {
    format!("fieldgate_{}", settings.gateway)
}

fn topic(settings: &Settings, id: &str) -> String {
    format!("{}/device/{id}/config", settings.prefix)
}

/// A number that a text has for ever (FNV-1a).
fn place(text: &str) -> usize {
    text.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)) as usize
}

/// The payload of a device with these components.
pub(super) fn payload_of(about: &Json, components: impl IntoIterator<Item = (String, Json)>) -> Vec<u8> {
    let components: Map<_, _> = components.into_iter().collect();
    json!({ "device": about, "origin": origin(), "components": components }).to_string().into_bytes()
}

/// Who announces; required of a device.
fn origin() -> Json {
    json!({ "name": "Fieldgate", "sw_version": env!("CARGO_PKG_VERSION") })
}
