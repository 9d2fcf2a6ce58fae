//! identify: shows which of several boards this is, by an output or by the board's own light.

use std::time::Duration;

use crate::requests::VerbSpec;
use crate::requests::gateway::{Ask, ask};
use fieldgate_model::{Field, Kind, Need};

pub(super) const SPEC: VerbSpec = VerbSpec {
    name: "identify",
    page: "shows which board this is: the output that `requests.identify` names goes on for half of each \
           second, else the board's own light blinks",
    fields: &[Field {
        name: "for",
        kind: Kind::Duration { min: Duration::from_secs(1), max: Duration::from_secs(600) },
        need: Need::Default("10s"),
        doc: "how long",
    }],
    example: r#"{"transaction":"t1","for":"30s"}"#,
    answer: |context, arguments| ask(context, Ask::Identify { duration: arguments.duration("for") }),
    ..VerbSpec::USUAL
};
