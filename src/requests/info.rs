//! info: what the gateway is. Its loop answers, since it owns all parts.

use crate::requests::VerbSpec;
use crate::requests::gateway::{Ask, ask};

pub(super) const SPEC: VerbSpec = VerbSpec {
    name: "info",
    page: "what the gateway is: version, name, topics, what it has, and what may be asked",
    fields: &[],
    example: r#"{"transaction":"t1"}"#,
    is_default: true,
    answer: |context, _| ask(context, Ask::Info),
    ..VerbSpec::USUAL
};
