//! Entities of what the gateway itself knows and does: variables, rules, and the requests that a press of a button can make. Pure.
//!
//! All obey the same way as outputs: each command carries an id and its time, what is shown is what counts and not what was asked for,
//! and what was refused is an event beside it. A request has no id; one that waited at the broker is refused by the gateway.

use serde_json::{Value as Json, json};

use super::class::{plain, title};
use super::output::{command, refused, state};
use super::sensor::availability;
use super::{Entity, Overrides, Settings};
use fieldgate_model::topic::Topics;
use fieldgate_model::{Name, Variable, VariableKind};
use fieldgate_rules::State;

/// The finest step that Home Assistant's numbers know.
const FINEST: f64 = 0.001;

/// What a rule can be at.
const STATES: [State; 4] = [State::Inactive, State::Waiting, State::Active, State::Blocked];

/// Requests that appear as buttons, if they are allowed, with their names for people and their classes.
const BUTTONS: &[(&str, &str, Option<&str>)] =
    &[("reload", "Reload configuration", None), ("restart", "Restart", Some("restart"))];

/// Options of which Home Assistant shows something else: that nothing is chosen (in any case of letters), or that nothing is known.
pub fn is_reserved_option(option: &str) -> bool {
    option.eq_ignore_ascii_case("none") || ["unknown", "unavailable"].contains(&option)
}

/// A number or a choice, and what is refused; nothing if it is hidden.
pub(super) fn of_variable(settings: &Settings, own: &Overrides, topics: &Topics, variable: &Variable) -> Vec<Entity> {
    if own.is_hidden {
        return Vec::new();
    }
    let (platform, mut config) = match &variable.kind {
        VariableKind::Number { min, max, step, unit } => ("number", number(*min, *max, *step, unit)),
        VariableKind::Options(options) => (
            "select",
            json!({ "options": options.iter().map(|option| &**option).collect::<Vec<_>>(),
                "command_template": command("{{ value | to_json }}") }),
        ),
    };
    config["command_topic"] = topics.set_variable(&variable.name).into();
    config["state_topic"] = topics.variable_state(&variable.name).into();
    config["value_template"] = state("value_json.value").into();
    config["availability"] = availability(topics, None);
    config["qos"] = 1.into();
    let path = variable.name.as_str();
    let name = own.name.clone().unwrap_or_else(|| title(&plain(path)));
    let why_not = refused(topics, topics.variable_reply(&variable.name));
    let why_not = Entity::new(settings, "event", &[path, "refused"], format!("{name} refused"), why_not);
    let itself = Entity::new(settings, platform, &[path], name, config).with_icon(own.icon.as_deref());
    vec![itself, why_not]
}

fn number(min: f64, max: f64, step: Option<f64>, unit: &str) -> Json {
    let mut config = json!({ "min": min, "max": max, "step": step.unwrap_or(FINEST).max(FINEST),
        "command_template": command("{{ value }}") });
    if !unit.is_empty() {
        config["unit_of_measurement"] = unit.into();
    }
    config
}

/// Its switch, what it is at, and what is refused; nothing if it is hidden.
pub(super) fn of_rule(settings: &Settings, own: &Overrides, topics: &Topics, rule: &Name) -> Vec<Entity> {
    if own.is_hidden {
        return Vec::new();
    }
    let member = |key: &str, without: &str| {
        let value = format!("value_json['{rule}'].{key}");
        format!("{{{{ {value} if value_json is defined and '{rule}' in value_json else '{without}' }}}}")
    };
    let switch = json!({
        "command_topic": topics.set_rule(rule),
        "command_template": command("\"{{ value }}\""),
        "payload_on": "on",
        "payload_off": "off",
        "state_topic": topics.rules(),
        "value_template": member("switch", ""),
        "availability": availability(topics, None),
        "qos": 1,
    });
    let at = json!({
        "state_topic": topics.rules(),
        // Home Assistant takes no empty word for one of `options`, and warns of it; `None` is that nothing is known.
        "value_template": member("state", "None"),
        "device_class": "enum",
        "options": STATES.map(State::as_str),
        "json_attributes_topic": topics.rules(),
        "json_attributes_template": format!(
            "{{{{ dict([('since', value_json['{rule}'].since), ('why', value_json['{rule}'].why)]) | to_json \
             if value_json is defined and '{rule}' in value_json else '{{}}' }}}}"
        ),
        "availability": availability(topics, None),
        "entity_category": "diagnostic",
        "qos": 1,
    });
    let path = rule.as_str();
    let name = own.name.clone().unwrap_or_else(|| format!("Rule {}", plain(path)));
    let why_not = refused(topics, topics.rule_reply(rule));
    vec![
        Entity::new(settings, "switch", &["rule", path], name.clone(), switch).with_icon(own.icon.as_deref()),
        Entity::new(settings, "sensor", &["rule", path, "state"], format!("{name} state"), at),
        Entity::new(settings, "event", &["rule", path, "refused"], format!("{name} refused"), why_not),
    ]
}

/// A button for each request that changes something and is allowed, and an event that says what came of it when nothing did.
pub(super) fn of_requests(settings: &Settings, topics: &Topics, is_allowed: impl Fn(&str) -> bool) -> Vec<Entity> {
    let of = |&(verb, label, class): &(&str, &str, Option<&str>)| {
        let name = Name::new(verb).ok()?;
        let mut button = json!({
            "command_topic": topics.request(&name),
            "payload_press": "{}",
            "availability": availability(topics, None),
            "entity_category": "config",
            "qos": 1,
        });
        if let Some(class) = class {
            button["device_class"] = class.into();
        }
        let why_not = json!({
            "state_topic": topics.response(&name),
            "event_types": ["refused"],
            "value_template": "{{ ({'event_type': 'refused', 'reason': value_json.error} | to_json) \
                if value_json is defined and value_json.status == 'error' else '' }}",
            "availability": availability(topics, None),
            "entity_category": "diagnostic",
            "qos": 1,
        });
        Some([
            Entity::new(settings, "button", &["gateway", verb], label.to_owned(), button),
            Entity::new(settings, "event", &["gateway", verb, "refused"], format!("{label} refused"), why_not),
        ])
    };
    BUTTONS.iter().filter(|(verb, ..)| is_allowed(verb)).filter_map(of).flatten().collect()
}
