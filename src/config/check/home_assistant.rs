//! `home_assistant:`, at the top and of sensors, outputs, variables and rules.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::config::check::Checker;
use crate::config::check::section::Section;
use crate::config::raw;
use crate::config::tree::{Span, Value};
use crate::home_assistant::{self, EntityKind, Measurement, Origin, Overrides, Settings, Sources};
use crate::worker::SensorSettings;
use fieldgate_model::topic::Topics;
use fieldgate_model::{Name, OutputKind, VariableKind};

/// What is said of each thing, and where.
type Places = Vec<(Name, Overrides, Span)>;

/// What sensors, outputs, variables and rules say, and where each does.
#[derive(Default)]
pub(super) struct Shown {
    sensors: Places,
    outputs: Places,
    variables: Places,
    rules: Places,
    /// Options of variables that Home Assistant cannot show.
    reserved: Vec<(Arc<str>, Span)>,
}

impl Shown {
    fn all(&self) -> impl Iterator<Item = &(Name, Overrides, Span)> {
        self.sensors.iter().chain(&self.outputs).chain(&self.variables).chain(&self.rules)
    }
}

impl<'a> Checker<'a> {
    /// `home_assistant:` of a sensor. `sensor` is nothing while it is not known what it measures.
    pub(super) fn shown_sensor(&mut self, name: &Name, section: &Section<'a>, sensor: Option<&SensorSettings>) {
        if !section.has("home_assistant") {
            return;
        }
        let place = section.key("home_assistant");
        let is_own = |key: &str| raw::SHOWN_SENSOR.iter().any(|field| field.name == key);
        let (own, others) =
            self.section_beside(&place, section.nodes("home_assistant"), "home_assistant", raw::SHOWN_SENSOR, |key| {
                !is_own(key)
            });
        let mut overrides = self.overrides(&own);
        let quantities = sensor.map(SensorSettings::quantities);
        let measured = quantities.iter().flatten().map(|quantity| &*quantity.name);
        let names: Vec<_> = raw::SHOWN_SENSOR.iter().map(|field| field.name).chain(measured).collect();
        for (key, node) in others {
            if quantities.is_some() && !names.contains(&key.text.as_str()) {
                self.unknown_key(key, "home_assistant", &names);
                continue;
            }
            if node.value == Value::Null {
                self.error(
                    &key.span,
                    "there is no setting for this measurement here",
                    "write for example { enabled: false }",
                );
            }
            let each = self.section(&key.span, [node], &key.text, raw::SHOWN_MEASUREMENT);
            let measurement = Measurement {
                is_hidden: each.flag("enabled") == Some(false),
                name: self.words(&each, "name"),
                icon: self.icon(&each),
                origin: self.origin(&each),
            };
            overrides.measurements.insert(key.text.clone(), measurement);
        }
        self.shown.sensors.push((name.clone(), overrides, place));
    }

    /// `home_assistant:` of an output.
    pub(super) fn shown_output(&mut self, name: &Name, section: &Section<'a>, kind: OutputKind) {
        if !section.has("home_assistant") {
            return;
        }
        let place = section.key("home_assistant");
        let own = self.section(&place, section.nodes("home_assistant"), "home_assistant", raw::SHOWN_OUTPUT);
        let mut overrides = self.overrides(&own);
        overrides.kind = own.text("as").and_then(EntityKind::named);
        overrides.origin = self.origin(&own);
        let fitting = EntityKind::fitting(kind);
        if let Some(wrong) = overrides.kind.filter(|kind| !fitting.contains(kind)) {
            let what = format!("this output cannot appear as a {}", wrong.as_str());
            let names: Vec<_> = fitting.iter().map(|kind| kind.as_str()).collect();
            self.error(&own.span("as"), what, format!("it can as {}", names.join(", ")));
        }
        self.shown.outputs.push((name.clone(), overrides, place));
    }

    /// `home_assistant:` of a variable. `kind` is nothing where that is wrong.
    pub(super) fn shown_variable(&mut self, name: &Name, section: &Section<'a>, kind: Option<&VariableKind>) {
        let own = self.shown_own(section);
        let is_hidden = own.as_ref().is_some_and(|(own, _)| own.is_hidden);
        if let Some(VariableKind::Options(options)) = kind.filter(|_| !is_hidden) {
            let reserved = options.iter().filter(|option| home_assistant::is_reserved_option(option));
            self.shown.reserved.extend(reserved.map(|option| (option.clone(), section.key("options"))));
        }
        self.shown.variables.extend(own.map(|(own, place)| (name.clone(), own, place)));
    }

    /// `home_assistant:` of a rule.
    pub(super) fn shown_rule(&mut self, name: &Name, section: &Section<'a>) {
        let own = self.shown_own(section);
        self.shown.rules.extend(own.map(|(own, place)| (name.clone(), own, place)));
    }

    fn shown_own(&mut self, section: &Section<'a>) -> Option<(Overrides, Span)> {
        if !section.has("home_assistant") {
            return None;
        }
        let place = section.key("home_assistant");
        let own = self.section(&place, section.nodes("home_assistant"), "home_assistant", raw::SHOWN_OWN);
        let overrides = self.overrides(&own);
        Some((overrides, place))
    }

    /// What all of them may say.
    fn overrides(&mut self, own: &Section<'a>) -> Overrides {
        if own.has("area") && !own.is_meant("device") {
            let hint =
                "add `device:`, a name that all things there share, or write area: at the top under home_assistant:";
            self.error(&own.key("area"), "an area belongs to a device, and this one is the gateway's", hint);
        }
        Overrides {
            is_hidden: own.flag("enabled") == Some(false),
            name: self.words(own, "name"),
            device: self.words(own, "device"),
            area: self.words(own, "area"),
            icon: self.icon(own),
            kind: None,
            origin: Origin::default(),
            measurements: BTreeMap::new(),
        }
    }

    /// What it was while another program announced it.
    fn origin(&mut self, own: &Section<'a>) -> Origin {
        let origin = Origin { unique_id: self.words(own, "unique_id"), moved_from: self.words(own, "moved_from") };
        if let Some(topic) = &origin.moved_from {
            if home_assistant::platform_of(topic).is_none() {
                let hint = "write the topic of one entity, such as homeassistant/sensor/pi/air/config";
                self.error(&own.span("moved_from"), "this is not where a single entity is announced", hint);
            }
            if !own.is_meant("unique_id") {
                let hint = "add `unique_id:`, which stands in what is retained on that topic: \
                    mosquitto_sub -v -t 'homeassistant/+/+/+/config'";
                self.error(&own.key("moved_from"), "without its unique id the entity would not be the same", hint);
            }
        }
        origin
    }

    /// The set and the name of an icon, as Home Assistant writes them; it would refuse the whole device for another one.
    fn icon(&mut self, own: &Section<'a>) -> Option<String> {
        let icon = own.text("icon")?;
        let is_part =
            |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
        if !icon.split_once(':').is_some_and(|(set, name)| is_part(set) && is_part(name)) {
            let hint =
                "write the set and the name as Home Assistant shows them where an icon is chosen, such as mdi:fan";
            self.error(&own.span("icon"), "this is no icon", hint);
        }
        Some(icon.to_owned())
    }

    /// A text for people.
    fn words(&mut self, own: &Section<'a>, key: &str) -> Option<String> {
        let text = own.text(key)?.trim();
        if text.is_empty() {
            self.error(&own.span(key), format!("{key} is empty"), "write one, or leave the key out");
        }
        Some(text.to_owned())
    }

    /// The whole of it, if it is there and good.
    pub(super) fn home_assistant(
        &mut self,
        top: &Section<'a>,
        gateway: &Name,
        topics: &Topics,
        sources: &Sources<'_>,
    ) -> Option<Settings> {
        let shown = std::mem::take(&mut self.shown);
        if !top.has("home_assistant") {
            for (_, _, place) in shown.all() {
                let hint = "add `home_assistant:` at the top of the file, as a key of its own";
                self.error(place, "nothing is announced to Home Assistant, so this has no effect", hint);
            }
            return None;
        }
        let own = self.sub(top, "home_assistant", raw::HOME_ASSISTANT);
        let prefix = self.prefix(&own);
        self.areas(&shown);
        for (option, place) in &shown.reserved {
            let what = format!("Home Assistant cannot show the option {option:?}: the word means something else there");
            let hint = "write another word, or home_assistant: { enabled: false } at this variable";
            self.error(place, what, hint);
        }
        let unplaced = |all: Places| all.into_iter().map(|(name, own, _)| (name, own)).collect();
        let settings = Settings {
            prefix: prefix?,
            gateway: gateway.clone(),
            name: self.words(&own, "name").unwrap_or_else(|| gateway.to_string()),
            area: self.words(&own, "area"),
            sensors: unplaced(shown.sensors),
            outputs: unplaced(shown.outputs),
            variables: unplaced(shown.variables),
            rules: unplaced(shown.rules),
        };
        self.ids_differ(&top.key("home_assistant"), &home_assistant::devices(&settings, topics, sources));
        own.complete.then_some(settings)
    }

    /// What discovery topics begin with: the topic of an MQTT client that must be able to subscribe below it.
    fn prefix(&mut self, own: &Section<'a>) -> Option<String> {
        let prefix = own.text("prefix")?;
        let is_good = fieldgate_model::topic::check_base(prefix).is_ok();
        if !is_good {
            let hint = "write a topic without + and # and without / at its ends, as in the settings of Home Assistant";
            self.error(&own.span("prefix"), "this cannot begin a topic", hint);
        }
        is_good.then(|| prefix.to_owned())
    }

    /// One device is in one area.
    fn areas(&mut self, shown: &Shown) {
        let mut known: BTreeMap<&str, &str> = BTreeMap::new();
        for (_, own, place) in shown.all() {
            let Some((device, area)) = own.device.as_deref().zip(own.area.as_deref()) else { continue };
            let first = *known.entry(device).or_insert(area);
            if first != area {
                let what = "two areas are named for one device";
                self.error(place, what, "write the area once, where the device is named first");
            }
        }
    }

    /// Names that differ may still look the same to Home Assistant.
    fn ids_differ(&mut self, place: &Span, devices: &[home_assistant::Device]) {
        let mut seen = BTreeMap::new();
        for device in devices {
            for entity in &device.entities {
                if let Some(first) = seen.insert(&entity.entity_id, &entity.unique_id) {
                    let what = format!("two things would be called {} in Home Assistant", entity.entity_id);
                    let hint = if *first == entity.unique_id {
                        "rename one of them; `gateway` and `rule` are words of the gateway's own".to_owned()
                    } else {
                        format!("rename one of {first} and {}", entity.unique_id)
                    };
                    self.error(place, what, hint);
                }
            }
        }
        self.origins_differ(place, devices);
        for (index, device) in devices.iter().enumerate() {
            if let Some(other) =
                devices[..index].iter().find(|other| other.id == device.id && other.name != device.name)
            {
                let what = format!("two devices would have the id {}", device.id);
                self.error(place, what, format!("rename one of {:?} and {:?}", other.name, device.name));
            }
        }
    }

    /// What was announced elsewhere is retained there, and is cleared in the same way.
    pub(super) fn moves_can_end(&mut self, top: &Section<'a>, settings: &Settings, retains: bool) {
        let outputs = settings.outputs.values().map(|own| &own.origin);
        let measured = settings.sensors.values().flat_map(|own| own.measurements.values().map(|own| &own.origin));
        if !retains && outputs.chain(measured).any(|origin| origin.moved_from.is_some()) {
            let hint = "leave `retain_state: false` out, or `moved_from:` where it stands";
            self.error(&top.key("home_assistant"), "the topics of moved_from could not be cleared", hint);
        }
    }

    /// What goes on as something else's continuation is of the same kind, and the only one.
    fn origins_differ(&mut self, place: &Span, devices: &[home_assistant::Device]) {
        let (mut ids, mut topics) = (BTreeSet::new(), BTreeSet::new());
        for entity in devices.iter().flat_map(|device| &device.entities) {
            let id = &entity.entity_id;
            if !ids.insert((entity.platform, &entity.unique_id)) {
                let what = format!("{id} has the unique id of another one, {}", entity.unique_id);
                self.error(place, what, "each entity needs one of its own");
            }
            let Some(topic) = &entity.moved_from else { continue };
            if !topics.insert(topic) {
                self.error(place, format!("two things cannot both come from {topic}"), "leave one of them out");
            }
            let platform = home_assistant::platform_of(topic).unwrap_or(entity.platform);
            if platform != entity.platform {
                let what = format!("{topic} is a {platform}, and {id} would not be one");
                self.error(
                    place,
                    what,
                    "an output may be another kind by `as:`; else leave moved_from and unique_id out",
                );
            }
        }
    }
}
