//! config: a whole configuration by request. `cli/run/trial.rs` puts it on trial, and rolls it back unless the link is up with it.

use std::time::Duration;

use crate::requests::VerbSpec;
use crate::requests::gateway::{Ask, ask};
use fieldgate_model::payload::MAX_REQUEST_BYTES;
use fieldgate_model::{Field, Kind, Need};

/// What storing, taking over and going back may take beside the time that the link has to come back.
const BESIDE: Duration = Duration::from_secs(60);

pub(super) const SPEC: VerbSpec = VerbSpec {
    name: "config",
    page: "takes over a whole configuration, and goes back by itself if the link is not back within \
           `confirm_within` (2m by default); the answer comes when that is known",
    fields: &[
        Field { name: "config", kind: Kind::Text, need: Need::Required, doc: "the text of a configuration file" },
        Field {
            name: "confirm_within",
            kind: Kind::Duration { min: Duration::from_secs(1), max: Duration::from_secs(3600) },
            need: Need::Default("2m"),
            doc: "how soon the link must be back",
        },
    ],
    example: r#"{"transaction":"t1","config":"mqtt: { broker: mqtt://10.0.0.2 }\nrequests: { allow: [config] }\n"}"#,
    max_bytes: MAX_REQUEST_BYTES,
    within: |arguments| arguments.duration("confirm_within") + BESIDE,
    answer: |context, arguments| {
        let text = arguments.text("config").to_owned();
        ask(context, Ask::Config { text, confirm_within: arguments.duration("confirm_within") })
    },
    ..VerbSpec::USUAL
};
