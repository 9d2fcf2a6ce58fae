//! Home Assistant's discovery: what is announced to it so that every sensor and output appears there without anybody typing a template.
//!
//! [`devices`] turns the configuration into devices and their entities, pure: what a driver, a variable or a rule offers, its table
//! says; [`Announcer`] knows what was announced, in earlier runs too, and says which payload each topic needs and when, so that what
//! has gone disappears there as well; [`missed`] is what a Home Assistant that has just started must be sent again. Publishing is the
//! gateway's: each payload is retained, on change and at each connect.

mod announced;
mod announcer;
pub mod class;
mod device;
mod missed;
mod moves;
mod output;
mod own;
mod sensor;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json};

use crate::worker::{ActuatorSettings, SensorSettings};
use fieldgate_model::topic::Topics;
use fieldgate_model::{Name, Variable};
use fieldgate_rules::RuleSpec;

pub use announced::{Announced, Messages, Update};
pub use announcer::{Announcer, Due};
pub use device::Device;
pub use missed::missed;
pub use output::EntityKind;
pub use own::is_reserved_option;

/// `home_assistant:`, and what sensors, outputs, variables and rules say under the same key.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// What discovery topics begin with.
    pub prefix: String,
    /// The gateway's name in the configuration, from which all ids are made.
    pub gateway: Name,
    /// The name of the gateway's device.
    pub name: String,
    /// Where the gateway is, as a suggestion.
    pub area: Option<String>,
    /// What is said of single sensors.
    pub sensors: BTreeMap<Name, Overrides>,
    /// What is said of single outputs.
    pub outputs: BTreeMap<Name, Overrides>,
    /// What is said of single variables.
    pub variables: BTreeMap<Name, Overrides>,
    /// What is said of single rules.
    pub rules: BTreeMap<Name, Overrides>,
}

/// `home_assistant:` of a sensor, an output, a variable or a rule.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// Whether it is left out.
    pub is_hidden: bool,
    /// Instead of its name in the configuration.
    pub name: Option<String>,
    /// A device of its own, shared by all that name the same.
    pub device: Option<String>,
    /// Where that device is.
    pub area: Option<String>,
    /// The icon of the entity itself, where it is not that of its class.
    pub icon: Option<String>,
    /// As what an output appears; the usual kind if nothing is said.
    pub kind: Option<EntityKind>,
    /// What an output was before.
    pub origin: Origin,
    /// What is said of single measurements.
    pub measurements: BTreeMap<String, Measurement>,
}

/// A measurement's own section below that of its sensor.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measurement {
    /// Whether it is left out.
    pub is_hidden: bool,
    /// The whole name of its entity.
    pub name: Option<String>,
    /// Its icon, where it is not that of its class.
    pub icon: Option<String>,
    /// What it was before.
    pub origin: Origin,
}

/// What an entity was while another program announced it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Its unique id there, by which Home Assistant knows it.
    pub unique_id: Option<String>,
    /// The discovery topic on which it was announced alone.
    pub moved_from: Option<String>,
}

/// One entity. Everything in `config` is what Home Assistant's MQTT integration documents for its platform.
#[derive(Clone, Debug, PartialEq)]
pub struct Entity {
    /// What it is there: `sensor`, `switch`, …
    pub platform: &'static str,
    /// Its own for ever; a dot, which no name has, keeps ids of different names apart.
    pub unique_id: String,
    /// What Home Assistant calls it at first: platform, gateway, device and measurement.
    pub entity_id: String,
    /// What people read behind the device's name.
    pub name: String,
    /// Where another program announced it before, if its history moves here.
    pub moved_from: Option<String>,
    /// All other keys.
    pub config: Map<String, Json>,
}

impl Entity {
    fn new(settings: &Settings, platform: &'static str, path: &[&str], name: String, config: Json) -> Self {
        let config = match config {
            Json::Object(config) => config,
            _ => Map::new(),
        };
        let words: Vec<_> = [settings.gateway.as_str()].iter().chain(path).map(|word| slug(word)).collect();
        Self {
            platform,
            unique_id: format!("fieldgate.{}.{}", settings.gateway, path.join(".")),
            entity_id: format!("{platform}.{}", words.join("_")),
            name,
            moved_from: None,
            config,
        }
    }

    /// The entity as the continuation of one that another program announced.
    fn going_on(mut self, origin: &Origin) -> Self {
        if let Some(unique_id) = &origin.unique_id {
            self.unique_id.clone_from(unique_id);
        }
        self.moved_from.clone_from(&origin.moved_from);
        self
    }

    /// The entity with this icon.
    fn with_icon(mut self, icon: Option<&str>) -> Self {
        if let Some(icon) = icon {
            self.config.insert("icon".into(), icon.into());
        }
        self
    }

    /// Its key among the components of its device. The platform is part of it: one that changes is another component.
    fn key(&self) -> &str {
        &self.entity_id
    }
}

/// What there is to be shown.
#[derive(Clone, Copy, Debug)]
pub struct Sources<'a> {
    /// `sensors:`.
    pub sensors: &'a [SensorSettings],
    /// `actuators:`.
    pub outputs: &'a [ActuatorSettings],
    /// `variables:`.
    pub variables: &'a [Variable],
    /// `rules:`.
    pub rules: &'a [RuleSpec],
    /// `requests.allow`, if there are requests.
    pub allowed: Option<&'a BTreeSet<String>>,
}

/// All devices with their entities, the gateway's own first. A large one comes in several parts, each with a topic of its own.
pub fn devices(settings: &Settings, topics: &Topics, sources: &Sources<'_>) -> Vec<Device> {
    let usual = Overrides::default();
    let mut all = vec![Device::gateway(settings, sensor::of_gateway(settings, topics))];
    for sensor in sources.sensors {
        let own = settings.sensors.get(&sensor.name).unwrap_or(&usual);
        place(&mut all, settings, own, sensor::entities(settings, own, topics, sensor));
    }
    for output in sources.outputs {
        let own = settings.outputs.get(&output.name).unwrap_or(&usual);
        place(&mut all, settings, own, output::entities(settings, own, topics, output));
    }
    for variable in sources.variables {
        let own = settings.variables.get(&variable.name).unwrap_or(&usual);
        place(&mut all, settings, own, own::of_variable(settings, own, topics, variable));
    }
    for rule in sources.rules {
        let own = settings.rules.get(&rule.name).unwrap_or(&usual);
        place(&mut all, settings, own, own::of_rule(settings, own, topics, &rule.name));
    }
    let requests = own::of_requests(settings, topics, |verb| sources.allowed.is_some_and(|all| all.contains(verb)));
    all[0].entities.extend(requests);
    all.into_iter().flat_map(|device| device.parts(settings)).collect()
}

/// Puts entities into the device that is named for them.
fn place(all: &mut Vec<Device>, settings: &Settings, own: &Overrides, entities: Vec<Entity>) {
    if entities.is_empty() {
        return;
    }
    let wanted = own.device.as_deref().map(|name| Device::named(settings, name, own.area.clone()));
    let Some(wanted) = wanted else {
        return all[0].entities.extend(entities);
    };
    let index =
        all.iter().position(|device| device.id == wanted.id && device.name == wanted.name).unwrap_or_else(|| {
            all.push(wanted.clone());
            all.len() - 1
        });
    all[index].area = all[index].area.take().or(wanted.area);
    all[index].entities.extend(entities);
}

/// What a single entity is whose discovery topic is this: `<prefix>/<platform>/[<node>/]<object>/config`; a prefix may have several
/// levels, so the levels are counted from the end where a node would be.
pub(crate) fn platform_of(topic: &str) -> Option<&str> {
    let levels: Vec<_> = topic.split('/').collect();
    let is_good = |level: &&str| !level.is_empty() && !level.contains(['+', '#']);
    let is_topic = levels.iter().all(is_good) && levels.last() == Some(&"config");
    let (first, second) = (levels.len().checked_sub(4), levels.len().checked_sub(3));
    let mut places = [first, second].into_iter().flatten().filter(|place| *place > 0).map(|place| levels[place]);
    let is_platform = |level: &&str| EntityKind::named(level).is_some() || sensor::is_platform(level);
    places.find(is_platform).filter(|_| is_topic)
}

/// A text as ids are made of: lower case, digits and single underscores; other letters by their number.
pub(crate) fn slug(text: &str) -> String {
    let mut slug = String::new();
    for letter in text.chars() {
        match letter {
            'a'..='z' | '0'..='9' => slug.push(letter),
            'A'..='Z' => slug.push(letter.to_ascii_lowercase()),
            letter if letter.is_alphanumeric() => slug += &format!("{:x}", u32::from(letter)),
            _ if slug.is_empty() || slug.ends_with('_') => {}
            _ => slug.push('_'),
        }
    }
    slug.truncate(slug.trim_end_matches('_').len());
    if slug.is_empty() { "x".to_owned() } else { slug }
}

#[cfg(test)]
mod tests;
