//! log-level: what is logged, for a time, so that an incident can be looked at without a restart.

use std::time::Duration;

use crate::requests::VerbSpec;
use crate::requests::gateway::{Ask, ask};
use fieldgate_model::{Field, Kind, Need, Settings};

/// The word for the level that the program was started with.
pub const USUAL: &str = "usual";

/// How long something that a request changes may last when it is to end by itself.
pub(super) const DURATION: Kind =
    Kind::Duration { min: Duration::from_secs(1), max: Duration::from_secs(30 * 24 * 3600) };

pub(super) const SPEC: VerbSpec = VerbSpec {
    name: "log-level",
    page: "logs from this level on, whatever `RUST_LOG` says, until the program ends or for the time `for`; `usual` is as it was started",
    fields: &[
        Field {
            name: "level",
            kind: Kind::Choice(&["error", "warn", "info", "debug", "trace", USUAL]),
            need: Need::Required,
            doc: "from which level on",
        },
        Field {
            name: "for",
            kind: DURATION,
            need: Need::Optional,
            doc: "how long, such as 10m; else until the program ends",
        },
    ],
    example: r#"{"transaction":"t1","level":"debug","for":"10m"}"#,
    answer: |context, arguments| {
        let level = Some(arguments.text("level").to_owned()).filter(|level| level != USUAL);
        ask(context, Ask::LogLevel { level, duration: duration(arguments) })
    },
    ..VerbSpec::USUAL
};

/// The value of `for`.
pub(super) fn duration(arguments: &Settings) -> Option<Duration> {
    arguments.optional_duration("for")
}
