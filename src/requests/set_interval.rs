//! set-interval: how often a sensor is sampled, for a time. The configuration is not changed.

use std::time::Duration;

use crate::requests::gateway::{Ask, ask};
use crate::requests::log_level::{DURATION, duration};
use crate::requests::read::known;
use crate::requests::{Context, VerbSpec, Work};
use fieldgate_model::{Field, Kind, Need, Refusal, Settings};

/// As in the configuration.
const EVERY: Kind = Kind::Duration { min: Duration::from_millis(1), max: Duration::from_secs(365 * 24 * 3600) };

pub(super) const SPEC: VerbSpec = VerbSpec {
    name: "set-interval",
    page: "samples a sensor at this interval, until the program ends or for the time `for`; without `every` as the configuration says",
    fields: &[
        Field { name: "sensor", kind: Kind::Name, need: Need::Required, doc: "which" },
        Field { name: "every", kind: EVERY, need: Need::Optional, doc: "how often, such as 1s" },
        Field {
            name: "for",
            kind: DURATION,
            need: Need::Optional,
            doc: "how long, such as 10m; else until the program ends",
        },
    ],
    example: r#"{"transaction":"t1","sensor":"air","every":"1s","for":"10m"}"#,
    answer,
    ..VerbSpec::USUAL
};

fn answer(context: &Context, arguments: &Settings) -> Result<Work, Refusal> {
    let sensor = known(context, arguments)?;
    ask(
        context,
        Ask::SetInterval { sensor, every: arguments.optional_duration("every"), duration: duration(arguments) },
    )
}
