//! A JSON object as it was written: a key that stands twice is noticed, at any depth and however it is escaped.
//!
//! JSON leaves open which of two equal keys counts, and most parsers take the last one in silence. Who sends
//! `{"for":"1s","for":null}` has a fault, and whichever is taken may be the wrong one.

use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value as Json};

/// A parsed object.
#[derive(Debug)]
pub(super) struct Object {
    entries: Vec<(String, Json)>,
    /// The first key that was found to stand twice in one object, this one or one within it.
    pub(super) repeated: Option<String>,
}

impl Object {
    /// Parses `text`, which must be one object.
    pub(super) fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// The value of a key that stands once.
    pub(super) fn get(&self, key: &str) -> Option<&Json> {
        let mut values = self.entries.iter().filter(|(name, _)| name == key).map(|(_, value)| value);
        values.next().filter(|_| values.next().is_none())
    }

    /// Every key in its order.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(key, _)| key.as_str())
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object, A::Error> {
        let mut repeated = None;
        let entries = entries(map, &mut repeated)?;
        Ok(Object { entries, repeated })
    }
}

/// The entries of an object; notes in `repeated` the first key that stands twice.
fn entries<'de, A: MapAccess<'de>>(mut map: A, repeated: &mut Option<String>) -> Result<Vec<(String, Json)>, A::Error> {
    let (mut entries, mut seen) = (Vec::new(), HashSet::new());
    while let Some(key) = map.next_key::<String>()? {
        if !seen.insert(key.clone()) && repeated.is_none() {
            *repeated = Some(key.clone());
        }
        entries.push((key, map.next_value_seed(Inner(&mut *repeated))?));
    }
    Ok(entries)
}

/// A value within an object.
struct Inner<'r>(&'r mut Option<String>);

impl<'de> DeserializeSeed<'de> for Inner<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Inner<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Json, E> {
        Ok(flag.into())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Json, E> {
        Ok(number.into())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Json, E> {
        Ok(number.into())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Json, E> {
        Ok(number.into())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Json, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Inner(&mut *self.0))? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Json, A::Error> {
        Ok(Json::Object(entries(map, self.0)?.into_iter().collect::<Map<_, _>>()))
    }
}
