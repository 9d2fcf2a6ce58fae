//! ping: whether the gateway is there.

use serde_json::Value as Json;

use crate::requests::VerbSpec;

pub(super) const SPEC: VerbSpec = VerbSpec {
    name: "ping",
    page: "answers with nothing: the gateway is there",
    fields: &[],
    example: r#"{"transaction":"t1"}"#,
    is_default: true,
    answer: |_, _| Ok(Box::pin(async { Ok(Json::Null) })),
    ..VerbSpec::USUAL
};
