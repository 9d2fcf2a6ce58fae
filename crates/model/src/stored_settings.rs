//! Checked settings as JSON and back, for tables that a later version reads.
//!
//! What is written here is read by the next version after an upgrade: a kind may get a new form only if the old one is still
//! understood.

use std::time::Duration;

use serde_json::Value as Json;

use crate::{Kind, Setting};

impl Setting {
    /// The setting as JSON. Lists, tables and sections belong to sensors, which nobody stores: they become `null`.
    pub fn to_json(&self) -> Json {
        match self {
            Self::Text(text) => Json::from(text.as_str()),
            Self::Flag(flag) => Json::from(*flag),
            Self::Integer(n) => Json::from(*n),
            Self::Number(n) => Json::from(*n),
            // The pulses of a servo differ by microseconds.
            Self::Duration(duration) => Json::from(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)),
            Self::List(_) | Self::Table(_) | Self::Section(_) => Json::Null,
        }
    }

    /// A setting of that kind from what [`Setting::to_json`] made of it; `None` for anything else.
    pub fn from_json(kind: &Kind, value: &Json) -> Option<Self> {
        Some(match kind {
            Kind::Flag => Self::Flag(value.as_bool()?),
            Kind::Integer { .. } | Kind::Address(_) => Self::Integer(value.as_i64()?),
            Kind::Number { .. } => Self::Number(value.as_f64()?),
            Kind::Duration { .. } => Self::Duration(Duration::from_micros(value.as_u64()?)),
            Kind::List(_) | Kind::Table(_) | Kind::Named(_) | Kind::Subsection(_) => return None,
            _ => Self::Text(value.as_str()?.to_owned()),
        })
    }
}
