//! `fieldgate schema`: a JSON Schema (draft 2020-12) of the configuration, for editors.
//!
//! It is made of the tables that the check itself uses, so the two cannot disagree about keys, kinds and ranges. What takes
//! more than one key to see (two devices on one line) only `fieldgate check` finds.

use std::process::ExitCode;

use serde_json::{Map, Value as Json, json};

use crate::cli::put;
use crate::config::raw;
use fieldgate_bus::{BUSES, BY_RPPAL, BusSpec};
use fieldgate_drivers::{BusNeed, DRIVERS, DriverSpec, Role, formula};
use fieldgate_filters::{FILTERS, FilterSpec, Takes};
use fieldgate_model::{Field, Kind, Need, OutputKind, Settings};

/// A time as `model::field::parse_duration` reads it.
const DURATION: &str = "^[0-9.]+ *(ms|s|m|min|h|d)$";

/// A size as `model::field::parse_size` reads it.
const SIZE: &str = "^[0-9.]+ *(KiB|MiB|GiB|KB|kB|MB|GB)$";

/// Writes the schema to standard output.
pub fn run() -> ExitCode {
    put(&format!("{:#}\n", schema()), ExitCode::SUCCESS)
}

/// The schema.
pub fn schema() -> Json {
    let mut root = section(raw::ROOT);
    root["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    root["title"] = "Fieldgate".into();
    root["type"] = "object".into();
    root["properties"]["buses"]["additionalProperties"] = bus();
    root["properties"]["sensors"]["additionalProperties"] =
        device(raw::SENSOR, |role| matches!(role, Role::Sensor { .. }));
    root["properties"]["actuators"]["additionalProperties"] =
        device(raw::ACTUATOR, |role| matches!(role, Role::Actuator { .. }));
    for section in ["buses", "sensors", "actuators", "variables", "rules"] {
        let entry = root["properties"][section]["additionalProperties"].take();
        root["properties"][section]["additionalProperties"] = or_use(entry);
    }
    root["properties"]["include"]["anyOf"][1]["minItems"] = 0.into();
    root["properties"]["templates"]["additionalProperties"] = json!({ "type": "object" });
    // What is required may stand in a part.
    if let Some(required) = root.as_object_mut().and_then(|root| root.remove("required")) {
        root["anyOf"] = json!([{ "required": required }, { "required": ["include"] }]);
    }
    root["$comment"] =
        "!env NAME and !env [NAME, default] may stand for any value; !param NAME for any within templates".into();
    root
}

/// What `use` of an entry means.
pub const USE: &str = "the template whose keys this entry gets, and its parameters";

/// An entry, or one that gets keys from a template: what those are is not known here.
fn or_use(entry: Json) -> Json {
    let used = json!({
        "type": "object",
        "required": ["use"],
        "properties": { "use": {
            "type": "object",
            "required": ["template"],
            "properties": { "template": { "type": "string" } },
            "description": USE,
        } },
    });
    json!({ "if": { "type": "object", "required": ["use"] }, "then": used, "else": entry })
}

/// A map with these keys and no others. Nothing at all stands for an empty one.
fn section(fields: &[Field]) -> Json {
    let properties: Map<_, _> = fields.iter().map(|field| (field.name.to_owned(), property(field))).collect();
    let mut section = json!({ "type": ["object", "null"], "additionalProperties": false, "properties": properties });
    let required = required(fields);
    if !required.is_empty() {
        section["type"] = "object".into();
        section["required"] = required.into();
    }
    let either: Vec<_> = fields.iter().filter(|field| matches!(field.need, Need::Or(_))).map(|f| f.name).collect();
    if !either.is_empty() {
        section["type"] = "object".into();
        section["oneOf"] = either.iter().map(|name| json!({ "required": [name] })).collect();
    }
    section
}

fn required(fields: &[Field]) -> Vec<&'static str> {
    fields.iter().filter(|field| field.need == Need::Required).map(|field| field.name).collect()
}

fn property(field: &Field) -> Json {
    let mut property = kind(&field.kind);
    property["description"] = field.doc.into();
    if let Need::Default(text) = field.need {
        property["default"] = default(&field.kind, text);
    }
    property
}

/// A default as JSON: numbers, flags and lists are written the same there, everything else is a text.
fn default(kind: &Kind, text: &str) -> Json {
    match kind {
        Kind::Flag | Kind::Integer { .. } | Kind::Number { .. } | Kind::List(_) => {
            serde_json::from_str(text).unwrap_or_else(|_| text.into())
        }
        _ => text.into(),
    }
}

fn kind(kind: &Kind) -> Json {
    match kind {
        Kind::Text => json!({ "type": ["string", "number"] }),
        Kind::Path => json!({ "type": "string", "minLength": 1 }),
        Kind::Name => json!({ "type": ["string", "number"], "pattern": "^[A-Za-z0-9_-]{1,64}$" }),
        Kind::Choice(words) => {
            let numbers = words.iter().filter_map(|word| word.parse::<i64>().ok()).map(Json::from);
            json!({ "enum": words.iter().map(|word| Json::from(*word)).chain(numbers).collect::<Vec<_>>() })
        }
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Integer { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Number { min, max } => json!({ "type": "number", "minimum": min, "maximum": max }),
        Kind::Duration { .. } => json!({ "type": "string", "pattern": DURATION }),
        Kind::DurationOrNever { .. } => {
            json!({ "anyOf": [{ "const": "never" }, { "type": "string", "pattern": DURATION }] })
        }
        Kind::Size { .. } => json!({ "type": "string", "pattern": SIZE }),
        Kind::Address(all) => json!({ "enum": all }),
        Kind::Line => json!({ "type": ["string", "integer"], "minimum": 0, "minLength": 1, "maxLength": 31 }),
        Kind::List(inner) => json!({ "type": "array", "minItems": 1, "items": self::kind(inner) }),
        Kind::OneOrMany(inner) => {
            json!({ "anyOf": [self::kind(inner), { "type": "array", "minItems": 1, "items": self::kind(inner) }] })
        }
        Kind::State => json!({ "type": ["string", "boolean", "number"] }),
        Kind::States => {
            json!({ "type": "object", "minProperties": 1, "additionalProperties": self::kind(&Kind::State) })
        }
        Kind::Section(fields) | Kind::Subsection(fields) => section(fields),
        Kind::Table(fields) | Kind::Named(fields) => {
            json!({ "type": ["object", "null"], "additionalProperties": section(fields) })
        }
        Kind::DriverSettings => json!({ "type": ["object", "null"] }),
        Kind::Filters => filters(),
        Kind::PerMeasurement { own, each } => {
            let mut all = section(own);
            all["additionalProperties"] = section(each);
            all
        }
        Kind::Deltas => {
            json!({ "type": "object", "additionalProperties": { "type": "number", "exclusiveMinimum": 0 } })
        }
    }
}

/// Lists of filters, or one filter, by the name of a measurement.
fn filters() -> Json {
    let alone = FILTERS.iter().filter(|spec| matches!(spec.takes, Takes::Nothing)).map(|spec| spec.name);
    let named = |spec: &FilterSpec| {
        let value = match spec.takes {
            Takes::Nothing => return None,
            Takes::Value(kind) => self::kind(&kind),
            Takes::Keys(fields) => section(fields),
        };
        let mut value = value;
        value["description"] = spec.summary.into();
        Some(
            json!({ "type": "object", "additionalProperties": false, "required": [spec.name], "properties": { spec.name: value } }),
        )
    };
    let alone = json!({ "enum": alone.collect::<Vec<_>>() });
    let one = json!({ "anyOf": FILTERS.iter().filter_map(|spec| named(spec)).chain([alone]).collect::<Vec<_>>() });
    let list = json!({ "type": "array", "minItems": 1, "items": one });
    json!({ "type": ["object", "null"], "additionalProperties": { "anyOf": [list, one] } })
}

/// A bus: its keys follow from its type and its backend.
fn bus() -> Json {
    let of = |spec: &'static BusSpec, backend: Json, needed: &[&str]| {
        let mut then = section(raw::bus(spec));
        then["properties"]["type"]["enum"] = json!([spec.name]);
        let properties = json!({ "type": { "const": spec.name }, "backend": backend });
        json!({ "if": { "properties": properties, "required": needed }, "then": then })
    };
    let usual = BUSES.iter().map(|spec| of(spec, json!({ "not": { "const": "rppal" } }), &["type"]));
    let rppal = BY_RPPAL.iter().map(|spec| of(spec, json!({ "const": "rppal" }), &["type", "backend"]));
    let types: Vec<_> = BUSES.iter().map(|spec| spec.name).collect();
    json!({
        "type": "object",
        "required": ["type"],
        "properties": { "type": { "enum": types } },
        "allOf": usual.chain(rppal).collect::<Vec<_>>(),
    })
}

/// A sensor or an output: its settings, and whether it needs a bus, follow from its driver.
fn device(fields: &[Field], fits: fn(&Role) -> bool) -> Json {
    let mut device = section(fields);
    let drivers: Vec<_> = DRIVERS.iter().filter(|spec| fits(&spec.role)).collect();
    device["properties"]["driver"]["enum"] = drivers.iter().map(|spec| spec.name).collect();
    device["allOf"] = drivers.iter().map(|spec| of_driver(spec)).collect();
    device
}

fn of_driver(spec: &DriverSpec) -> Json {
    let mut settings = match spec.settings {
        [Field { name: formula::MEASUREMENTS, kind: named, .. }] => kind(named),
        fields => section(fields),
    };
    settings["description"] = spec.summary.into();
    let mut then = json!({ "properties": { "settings": settings } });
    let mut needed = Vec::new();
    if !matches!(spec.bus, BusNeed::None | BusNeed::Sensors) {
        needed.push("bus");
    }
    if spec.settings.iter().any(|field| matches!(field.need, Need::Required | Need::Or(_))) {
        needed.push("settings");
    }
    match spec.role {
        Role::Sensor { default_every: None, .. } => needed.push("every"),
        Role::Sensor { .. } => {}
        Role::Actuator { kind, .. } => then["properties"]["safe_state"] = safe_state(kind(&Settings::default())),
    }
    then["required"] = needed.into();
    json!({ "if": { "properties": { "driver": { "const": spec.name } }, "required": ["driver"] }, "then": then })
}

fn safe_state(kind: OutputKind) -> Json {
    match kind {
        OutputKind::Switch => json!({
            "anyOf": [{ "type": "string", "pattern": "^([Oo][Nn]|[Oo][Ff][Ff])$" }, { "enum": [true, false, 1, 0] }]
        }),
        OutputKind::Pulse => {
            json!({ "anyOf": [{ "type": "string", "pattern": "^[Oo][Ff][Ff]$" }, { "enum": [false, 0] }] })
        }
        // The largest angle is a setting.
        OutputKind::Angle { .. } => json!({
            "anyOf": [{ "type": "number", "minimum": 0 }, { "type": "string", "pattern": "^[Oo][Ff][Ff]$" }, { "const": false }]
        }),
        OutputKind::Cover => json!({
            "anyOf": [{ "type": "string", "pattern": "^([Ss][Tt][Oo][Pp]|[Oo][Pp][Ee][Nn]|[Cc][Ll][Oo][Ss][Ee])$" }, { "enum": [0, 100] }]
        }),
        OutputKind::Percent => json!({
            "anyOf": [
                { "type": "number", "minimum": 0, "maximum": 100 },
                { "type": "string", "pattern": "^[Oo][Ff][Ff]$" },
                { "const": false },
            ]
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_driver_stands_in_the_schema_with_its_settings() {
        let schema = schema();
        for spec in DRIVERS {
            let section = if matches!(spec.role, Role::Sensor { .. }) { "sensors" } else { "actuators" };
            let all = schema["properties"][section]["additionalProperties"]["else"]["allOf"].as_array().unwrap();
            let own = all.iter().find(|one| one["if"]["properties"]["driver"]["const"] == spec.name).unwrap();
            let settings = &own["then"]["properties"]["settings"];
            for field in spec.settings {
                let found = match field.name {
                    formula::MEASUREMENTS => &settings["additionalProperties"]["properties"]["formula"],
                    name => &settings["properties"][name],
                };
                assert!(found.is_object(), "{}", spec.name);
            }
        }
    }

    #[test]
    fn unknown_keys_are_refused_and_required_ones_are_asked_for() {
        let schema = schema();
        assert_eq!(schema["anyOf"], json!([{ "required": ["mqtt"] }, { "required": ["include"] }]));
        assert_eq!(schema["properties"]["mqtt"]["required"], json!(["broker"]));
        assert_eq!(schema["properties"]["mqtt"]["additionalProperties"], false);
        assert_eq!(schema["properties"]["mqtt"]["properties"]["protocol"]["enum"], json!(["auto", "5", "3.1.1", 5]));
        assert_eq!(schema["properties"]["mqtt"]["properties"]["retain"]["default"], false);
    }
}
