//! Filters written as in a configuration, for tests.

use serde_json::Value as Yaml;

use super::find;
use crate::chain::{Chain, Effect};
use crate::spec::{Parameter, Step, Takes};
use fieldgate_model::{Field, Kind, Need, Quantity, Setting, Settings};

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

/// What the tests measure.
pub(crate) fn temperature() -> Quantity {
    Quantity::new("temperature", "°C", 1)
}

fn built(text: &str) -> (Chain, Quantity) {
    match Chain::build(&[step(text)], &temperature()) {
        Ok(Effect::Filter(chain, quantity)) => (chain, quantity),
        other => panic!("{text}: {other:?}"),
    }
}

/// A chain of one filter.
pub(crate) fn chain(text: &str) -> Chain {
    built(text).0
}

/// The quantity behind one filter.
pub(crate) fn after(text: &str) -> Quantity {
    built(text).1
}

/// What one filter makes of a series.
pub(crate) fn series(text: &str, input: &[Option<f64>]) -> Vec<Option<f64>> {
    let mut chain = chain(text);
    input.iter().map(|value| chain.apply(*value)).collect()
}

/// Why a filter is refused.
pub(crate) fn refused(text: &str) -> String {
    Chain::build(&[step(text)], &temperature()).expect_err(text).wrong.what
}
