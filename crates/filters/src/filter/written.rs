//! Filters written as in a configuration, for the tests in here and for those in `tests/`, which include this file: it names
//! only what anyone may name.

use fieldgate_filters::{Parameter, Step, Takes, find};
use fieldgate_model::{Field, Kind, Need, Setting, Settings};
use serde_json::Value as Yaml;

/// A step as an entry of a list is written: `{ offset: 2 }`, `omit`.
pub(crate) fn step(text: &str) -> Step {
    let written: Yaml = serde_yaml::from_str(text).unwrap();
    let (name, value) = match &written {
        Yaml::Object(keys) => keys.iter().next().map(|(key, value)| (key.as_str(), value)).unwrap(),
        word => (word.as_str().unwrap(), &Yaml::Null),
    };
    let filter = find(name).unwrap_or_else(|| panic!("no filter is called {name}"));
    let parameter = match filter.takes {
        Takes::Nothing => Parameter::Nothing,
        Takes::Value(kind) => Parameter::Value(setting(&kind, value)),
        Takes::Keys(fields) => Parameter::Keys(keys(fields, value)),
    };
    Step::new(filter, parameter)
}

fn keys(fields: &[Field], value: &Yaml) -> Settings {
    let mut settings = Settings::default();
    for field in fields {
        match (value.get(field.name), field.need) {
            (Some(value), _) => settings.insert(field.name, setting(&field.kind, value)),
            (None, Need::Default(text)) => {
                settings.insert(field.name, setting(&field.kind, &serde_yaml::from_str(text).unwrap()));
            }
            (None, _) => panic!("{} is missing", field.name),
        }
    }
    settings
}

fn setting(kind: &Kind, value: &Yaml) -> Setting {
    match kind {
        Kind::Number { .. } => Setting::Number(value.as_f64().unwrap()),
        Kind::Integer { .. } => Setting::Integer(value.as_i64().unwrap()),
        Kind::Text => Setting::Text(value.as_str().unwrap().into()),
        Kind::List(inner) => {
            Setting::List(value.as_array().unwrap().iter().map(|value| setting(inner, value)).collect())
        }
        other => panic!("{other:?} is not known here"),
    }
}
