//! Entities of sensors, and what the gateway says of itself. Pure.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::class::{device_class, is_about, is_counter, label, plain, state_class, title};
use super::{Entity, Overrides, Settings};
use crate::worker::SensorSettings;
use fieldgate_drivers::{board, formula, gpio_input};
use fieldgate_model::topic::Topics;
use fieldgate_model::{Form, Name, Quantity};

/// How many periods may pass without a reading before a value counts as unknown.
const PERIODS: u32 = 3;

/// No value expires sooner than this: a short reconnect is no news.
const SOONEST: Duration = Duration::from_secs(10);

/// The entities of a sensor: one for each measurement, and one that says whether it is down, for those are unavailable then and can
/// say no reason.
pub(super) fn entities(settings: &Settings, own: &Overrides, topics: &Topics, sensor: &SensorSettings) -> Vec<Entity> {
    if own.is_hidden {
        return Vec::new();
    }
    let is_shown = |quantity: &Quantity| own.measurements.get(&*quantity.name).is_none_or(|own| !own.is_hidden);
    let quantities = sensor.quantities().into_iter().filter(is_shown);
    let measured = quantities.map(|quantity| entity(settings, own, topics, sensor, &quantity));
    measured.chain([problem(settings, own, topics, sensor)]).collect()
}

fn problem(settings: &Settings, own: &Overrides, topics: &Topics, sensor: &SensorSettings) -> Entity {
    let topic = topics.sensor_status(&sensor.name);
    let config = json!({
        "state_topic": topic,
        "value_template": "{{ ('ON' if value_json.status == 'down' else 'OFF') if value_json is defined else '' }}",
        "json_attributes_topic": topic,
        "json_attributes_template": "{{ value_json | to_json if value_json is defined else '{}' }}",
        "device_class": "problem",
        "entity_category": "diagnostic",
        "availability": availability(topics, None),
    });
    Entity::new(
        settings,
        "binary_sensor",
        &[sensor.name.as_str(), "problem"],
        format!("{} problem", device_name(own, sensor)),
        config,
    )
}

/// As what a measurement appears.
fn platform(form: Form) -> &'static str {
    match form {
        Form::Number => "sensor",
        Form::Flag => "binary_sensor",
        Form::Word => "event",
    }
}

/// Whether a measurement can appear as this.
pub(super) fn is_platform(name: &str) -> bool {
    [Form::Number, Form::Flag, Form::Word].map(platform).contains(&name)
}

/// What people call the device.
fn device_name(own: &Overrides, sensor: &SensorSettings) -> String {
    own.name.clone().unwrap_or_else(|| title(&plain(sensor.name.as_str())))
}

fn entity(
    settings: &Settings,
    own: &Overrides,
    topics: &Topics,
    sensor: &SensorSettings,
    quantity: &Quantity,
) -> Entity {
    let measurement = own.measurements.get(&*quantity.name).cloned().unwrap_or_default();
    let name = measurement.name.unwrap_or_else(|| name_of(own, sensor, quantity));
    let mut config = match quantity.form {
        Form::Number => number(quantity, grows(sensor, &quantity.name)),
        Form::Flag => json!({ "value_template": flag(&quantity.name) }),
        Form::Word => event(&quantity.name),
    };
    config["state_topic"] = topics.reading(&sensor.name).into();
    config["availability"] = availability(topics, Some(&sensor.name));
    config["availability_mode"] = "all".into();
    // An event is of its moment and cannot expire.
    let expires = expires_after(sensor).filter(|_| quantity.form != Form::Word);
    if let Some(expires) = expires {
        config["expire_after"] = expires.as_secs().into();
    }
    if sensor.driver.name == board::SPEC.name || quantity.name == "missed" {
        config["entity_category"] = "diagnostic".into();
    }
    let path = [sensor.name.as_str(), &quantity.name];
    Entity::new(settings, platform(quantity.form), &path, name, config)
        .going_on(&measurement.origin)
        .with_icon(measurement.icon.as_deref())
}

/// The device's name and the measurement's; `active` alone says no more than the device's.
fn name_of(own: &Overrides, sensor: &SensorSettings, quantity: &Quantity) -> String {
    let device = device_name(own, sensor);
    match &*quantity.name {
        "active" => device,
        name => format!("{device} {}", label(name)),
    }
}

/// Whether a measurement only grows: a meter's, or what a formula adds up.
fn grows(sensor: &SensorSettings, name: &str) -> bool {
    let adds_up = || {
        let rows = sensor.settings.table(formula::MEASUREMENTS);
        rows.iter().any(|(own, row)| is_about(name, own) && formula::source(row).1)
    };
    if sensor.driver.name == formula::SPEC.name { adds_up() } else { is_counter(name) }
}

fn number(quantity: &Quantity, grows: bool) -> Json {
    let mut config = json!({
        "value_template": member(&quantity.name),
        "state_class": state_class(grows),
        "suggested_display_precision": quantity.decimals,
    });
    if !quantity.unit.is_empty() {
        config["unit_of_measurement"] = quantity.unit.clone().into();
    }
    if let Some(class) = device_class(quantity, grows) {
        config["device_class"] = class.into();
    }
    config
}

/// A measurement of a reading. One that is not in it renders as nothing, which Home Assistant passes over in silence; any other
/// way of writing it leaves a warning in its log with each such reading.
fn member(name: &str) -> String {
    where_it_is(name, &format!("value_json['{name}']"))
}

fn flag(name: &str) -> String {
    where_it_is(name, &format!("('ON' if value_json['{name}'] else 'OFF')"))
}

/// Nothing is in a topic that has just been cleared either.
fn where_it_is(name: &str, value: &str) -> String {
    format!("{{{{ {value} if value_json is defined and '{name}' in value_json else '' }}}}")
}

fn event(name: &str) -> Json {
    json!({
        "device_class": "button",
        "event_types": gpio_input::CLICKS_MEAN,
        "value_template": where_it_is(name, &format!("({{'event_type': value_json['{name}']}} | to_json)")),
    })
}

/// The gateway's status, and that of a sensor: one that is only degraded still has values.
pub(super) fn availability(topics: &Topics, sensor: Option<&Name>) -> Json {
    let gateway = json!({ "topic": topics.status() });
    let sensor = sensor.map(|name| {
        json!({
            "topic": topics.sensor_status(name),
            "value_template": "{{ 'offline' if value_json is defined and value_json.status == 'down' else 'online' }}",
        })
    });
    [Some(gateway), sensor].into_iter().flatten().collect()
}

/// When a value counts as unknown: never where the broker keeps it, or where nothing but a change makes a reading.
pub(super) fn expires_after(sensor: &SensorSettings) -> Option<Duration> {
    let longest = match &sensor.report {
        _ if sensor.retain => return None,
        None => sensor.every,
        Some(report) => match report.max_interval {
            Some(max) => max.max(sensor.every),
            None if report.takes_every_sample() => report.min_interval.max(sensor.every),
            None => return None,
        },
    };
    let expires = longest.saturating_mul(PERIODS).max(SOONEST);
    // Whole seconds, rounded up.
    Some(Duration::from_secs(expires.as_secs() + u64::from(expires.subsec_nanos() > 0)))
}

/// What the gateway says of itself on `B/health`, and whether it is there.
pub(super) fn of_gateway(settings: &Settings, topics: &Topics) -> Vec<Entity> {
    let health = |name: &str, label: &str, template: &str, more: Json| {
        let mut config = json!({
            "state_topic": topics.health(),
            "value_template": format!("{{{{ {template} if value_json is defined else '' }}}}"),
            "availability": availability(topics, None),
            "entity_category": "diagnostic",
        });
        merge(&mut config, more);
        Entity::new(settings, "sensor", &["gateway", name], label.to_owned(), config)
    };
    let connection = json!({
        "state_topic": topics.status(),
        "payload_on": "online",
        "payload_off": "offline",
        "device_class": "connectivity",
        "entity_category": "diagnostic",
    });
    let seconds = json!({ "device_class": "duration", "unit_of_measurement": "s", "state_class": "measurement",
        "suggested_display_precision": 0 });
    let bytes = json!({ "device_class": "data_size", "unit_of_measurement": "B", "state_class": "measurement",
        "suggested_display_precision": 0 });
    vec![
        Entity::new(settings, "binary_sensor", &["gateway", "connection"], "Connection".into(), connection),
        health("waiting", "Messages waiting", "value_json.spool.queued", json!({ "state_class": "measurement" })),
        health("dropped", "Readings dropped", "value_json.spool.dropped", json!({ "state_class": "total_increasing" })),
        health("uptime", "Uptime", "value_json.uptime", seconds),
        health("memory", "Memory", "value_json.memory", bytes),
    ]
}

fn merge(config: &mut Json, more: Json) {
    if let (Json::Object(config), Json::Object(more)) = (config, more) {
        config.extend(more);
    }
}
