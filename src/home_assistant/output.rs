//! Entities of outputs. Pure.
//!
//! An output shows what it does and not what a command asked for, so a switch whose command was refused springs back; why it was refused is
//! an event beside it. Attributes say why an output does what it does, so that an automation can notice one that was made safe.
//! Each command carries an id and its time: one that waited somewhere is refused, and one that comes twice acts once. The words
//! of covers are an exception, for Home Assistant has no template for them.

use serde_json::{Value as Json, json};

use super::class::{plain, title};
use super::sensor::availability;
use super::{Entity, Overrides, Settings};
use crate::worker::ActuatorSettings;
use fieldgate_model::OutputKind;
use fieldgate_model::topic::Topics;

/// As what an output can appear: a platform of Home Assistant's MQTT integration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntityKind {
    /// A switch, on and off.
    Switch,
    /// On and off, or brightness.
    Light,
    /// On and off, or speed.
    Fan,
    /// Open and closed, or a position.
    Valve,
    /// A siren, on and off.
    Siren,
    /// Unlocked while it is on.
    Lock,
    /// A number within the output's range.
    Number,
    /// A button, for what is triggered by a pulse.
    Button,
    /// Opens, closes and stops.
    Cover,
}

/// Every kind, with its platform there, which is also the word in the configuration.
const KINDS: [(EntityKind, &str); 9] = [
    (EntityKind::Switch, "switch"),
    (EntityKind::Light, "light"),
    (EntityKind::Fan, "fan"),
    (EntityKind::Valve, "valve"),
    (EntityKind::Siren, "siren"),
    (EntityKind::Lock, "lock"),
    (EntityKind::Number, "number"),
    (EntityKind::Button, "button"),
    (EntityKind::Cover, "cover"),
];

impl EntityKind {
    /// The names of all kinds.
    pub const NAMES: &'static [&'static str] = &{
        let mut names = [""; KINDS.len()];
        let mut at = 0;
        while at < names.len() {
            // `as_str` looks a kind up by its place.
            assert!(KINDS[at].0 as usize == at);
            names[at] = KINDS[at].1;
            at += 1;
        }
        names
    };

    /// The platform, which is also the word in the configuration.
    pub fn as_str(self) -> &'static str {
        KINDS[self as usize].1
    }

    /// The one that is written so.
    pub fn named(name: &str) -> Option<Self> {
        KINDS.iter().find(|(_, known)| *known == name).map(|(kind, _)| *kind)
    }

    /// As what an output can appear, the usual first.
    pub fn fitting(kind: OutputKind) -> &'static [Self] {
        match kind {
            OutputKind::Switch => &[Self::Switch, Self::Light, Self::Fan, Self::Valve, Self::Siren, Self::Lock],
            OutputKind::Percent => &[Self::Number, Self::Light, Self::Fan, Self::Valve],
            OutputKind::Pulse => &[Self::Button],
            OutputKind::Angle { .. } => &[Self::Number],
            OutputKind::Cover => &[Self::Cover],
        }
    }
}

/// The entities of an output, unless it is hidden: itself, what is refused, and for a cover the way to calibrate it.
pub(super) fn entities(
    settings: &Settings,
    own: &Overrides,
    topics: &Topics,
    output: &ActuatorSettings,
) -> Vec<Entity> {
    if own.is_hidden {
        return Vec::new();
    }
    let kind = own.kind.unwrap_or(EntityKind::fitting(output.kind)[0]);
    let mut config = match (output.kind, kind) {
        (OutputKind::Percent, EntityKind::Light) => dimmer(),
        (OutputKind::Percent, EntityKind::Fan) => speed(topics, output),
        (OutputKind::Percent, EntityKind::Valve) => json!({
            "reports_position": true,
            "command_template": command("{{ value }}"),
            "value_template": state("({'position': value_json.value} | to_json)"),
        }),
        (OutputKind::Angle { most }, _) => number(most, "°"),
        (OutputKind::Percent, _) => number(100, "%"),
        (OutputKind::Cover, _) => cover(topics, output),
        (OutputKind::Pulse, _) => json!({ "payload_press": "on", "command_template": word() }),
        (OutputKind::Switch, kind) => on_or_off(kind),
    };
    config["command_topic"] = topics.set(&output.name).into();
    if kind != EntityKind::Button {
        config["state_topic"] = topics.state(&output.name).into();
    }
    config["json_attributes_topic"] = topics.state(&output.name).into();
    config["json_attributes_template"] = CAUSE.into();
    config["availability"] = availability(topics, None);
    config["qos"] = 1.into();
    let name = own.name.clone().unwrap_or_else(|| title(&plain(output.name.as_str())));
    let path = output.name.as_str();
    let refused = Entity::new(
        settings,
        "event",
        &[path, "refused"],
        format!("{name} refused"),
        refused(topics, topics.reply(&output.name)),
    );
    let calibrate = (output.kind == OutputKind::Cover).then(|| {
        Entity::new(settings, "button", &[path, "calibrate"], format!("{name} calibrate"), calibrate(topics, output))
    });
    let itself = Entity::new(settings, kind.as_str(), &[path], name, config).going_on(&own.origin);
    let itself = itself.with_icon(own.icon.as_deref());
    [itself, refused].into_iter().chain(calibrate).collect()
}

/// Why an output does what it does and since when; where it is going, while it moves. A topic that has just been cleared says nothing.
///
/// Renders as `{"cause":"command","since":"2026-01-01T12:00:00Z","target":80}`; as `{}` without a state.
const CAUSE: &str = "{{ dict([('cause', value_json.cause), ('since', value_json.time)] \
    + ([('target', value_json.target)] if 'target' in value_json else [])) | to_json if value_json is defined else '{}' }}";

/// Answers to commands that were not carried out, no matter who gave them. Each other answer renders as nothing, which is no event.
///
/// Renders as `{"event_type":"rejected","reason":"limit: …","time":"2026-01-01T12:00:00Z"}`.
pub(super) fn refused(topics: &Topics, replies: String) -> Json {
    json!({
        "state_topic": replies,
        "event_types": ["rejected", "failed"],
        "value_template": "{{ ({'event_type': value_json.outcome, 'reason': value_json.reason, 'time': value_json.time} | to_json) \
            if value_json is defined and value_json.outcome in ('rejected', 'failed') else '' }}",
        "availability": availability(topics, None),
        "entity_category": "diagnostic",
        "qos": 1,
    })
}

/// Drives a cover to its ends, so that its position is known again.
fn calibrate(topics: &Topics, output: &ActuatorSettings) -> Json {
    json!({
        "command_topic": topics.set(&output.name),
        "payload_press": "calibrate",
        "command_template": word(),
        "availability": availability(topics, None),
        "entity_category": "config",
        "qos": 1,
    })
}

/// An output that is on or off, as each kind that it can be.
///
/// Of `{"value":"on",…}` the state renders as `on`; a command as [`command`] says, with the word that is its payload here.
fn on_or_off(kind: EntityKind) -> Json {
    let state = state("value_json.value");
    match kind {
        // Of three schemas of lights this is the one whose off can carry an id.
        EntityKind::Light => json!({
            "schema": "template",
            "command_on_template": command("\"on\""),
            "command_off_template": command("\"off\""),
            "state_template": state,
        }),
        EntityKind::Fan => json!({ "payload_on": "on", "payload_off": "off", "command_template": word(),
            "state_value_template": state }),
        EntityKind::Valve => {
            json!({ "payload_open": "on", "payload_close": "off", "state_open": "on", "state_closed": "off",
            "command_template": word(), "value_template": state })
        }
        EntityKind::Siren => json!({ "payload_on": "on", "payload_off": "off", "command_template": word(),
            "state_value_template": state, "support_duration": false, "support_volume_set": false }),
        // As Home Assistant shows a switch as a lock: an opener is on while the door can be opened.
        EntityKind::Lock => {
            json!({ "payload_lock": "off", "payload_unlock": "on", "state_locked": "off", "state_unlocked": "on",
            "command_template": word(), "value_template": state })
        }
        EntityKind::Switch | EntityKind::Number | EntityKind::Button | EntityKind::Cover => {
            json!({ "payload_on": "on", "payload_off": "off", "command_template": word(), "value_template": state })
        }
    }
}

/// Of `{"value":35,…}` the value renders as `35`, and a command to set it as `{"value":35,"id":…,"issued_at":…}`.
fn number(most: u16, unit: &str) -> Json {
    json!({
        "min": 0,
        "max": most,
        "unit_of_measurement": unit,
        "command_template": command("{{ value }}"),
        // A servo that is off is at no angle.
        "value_template": state("(value_json.value if value_json.value is number else 'None')"),
    })
}

/// Home Assistant counts brightness to 255: of `{"value":50.2,…}` the state renders as `on` and the brightness as `128`, and of 128 a
/// command as `{"value":50.2,"id":…,"issued_at":…}`. An on without a brightness says `100`.
fn dimmer() -> Json {
    json!({
        "schema": "template",
        "command_on_template": command("{{ (brightness / 2.55) | round(1) if brightness is defined else 100 }}"),
        "command_off_template": command("0"),
        "state_template": state("('on' if value_json.value | float(0) > 0 else 'off')"),
        "brightness_template": state("(value_json.value | float(0) * 2.55) | round | int"),
    })
}

/// Of `{"value":50.2,…}` the percentage renders as `50` and the state as `100`, which is the payload for on; a command as
/// `{"value":50,"id":…,"issued_at":…}`.
fn speed(topics: &Topics, output: &ActuatorSettings) -> Json {
    json!({
        "payload_on": "100",
        "payload_off": "0",
        "command_template": command("{{ value }}"),
        "state_value_template": state("(100 if value_json.value | float(0) > 0 else 0)"),
        "percentage_command_topic": topics.set(&output.name),
        "percentage_command_template": command("{{ value }}"),
        "percentage_state_topic": topics.state(&output.name),
        "percentage_value_template": state("value_json.value | float(0) | round | int"),
    })
}

/// The value renders as `opening` of `{"value":40,"moving":"opening",…}`, else as `open` of 40, as `closed` of 0 and as `None` of
/// `"unknown"`; the position as `40`, or as nothing where it is not known.
fn cover(topics: &Topics, output: &ActuatorSettings) -> Json {
    json!({
        "payload_open": "open",
        "payload_close": "close",
        "payload_stop": "stop",
        "position_topic": topics.state(&output.name),
        "position_template": state("(value_json.value if value_json.value is number else '')"),
        "set_position_topic": topics.set(&output.name),
        "set_position_template": command("{{ position }}"),
        "value_template": state("(value_json.moving or ('None' if value_json.value is not number \
            else 'closed' if value_json.value == 0 else 'open'))"),
    })
}

/// What is made of a state. A topic that has just been cleared has none. For `value_json.value`:
/// `{{ value_json.value if value_json is defined else '' }}`.
pub(super) fn state(value: &str) -> String {
    format!("{{{{ {value} if value_json is defined else '' }}}}")
}

/// A command that can be distinguished from an old one and from a repeat; `value` is JSON or renders as such.
///
/// For `"on"` it renders as `{"value":"on","id":"1767268800.25","issued_at":"2026-01-01T12:00:00.250000Z"}`.
pub(super) fn command(value: &str) -> String {
    format!(
        r#"{{"value":{value},"id":"{{{{ utcnow().timestamp() }}}}","issued_at":"{{{{ utcnow().strftime('%Y-%m-%dT%H:%M:%S.%fZ') }}}}"}}"#
    )
}

/// A command with the word that Home Assistant has for it.
fn word() -> String {
    command("\"{{ value }}\"")
}
