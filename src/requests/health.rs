//! health: what `B/health` says, made at this moment.

use crate::requests::VerbSpec;
use crate::requests::gateway::{Ask, ask};

pub(super) const SPEC: VerbSpec = VerbSpec {
    name: "health",
    page: "what `B/health` says, of this moment",
    fields: &[],
    example: r#"{"transaction":"t1"}"#,
    is_default: true,
    answer: |context, _| ask(context, Ask::Health),
    ..VerbSpec::USUAL
};
