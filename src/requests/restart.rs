//! restart: ends the program in an orderly way so that systemd starts it again; refused where it was not started by systemd.

use crate::requests::VerbSpec;
use crate::requests::gateway::{Ask, ask};

pub(super) const SPEC: VerbSpec = VerbSpec {
    name: "restart",
    page: "ends in an orderly way, outputs safe, and lets systemd start the service again; refused where nothing would",
    fields: &[],
    example: r#"{"transaction":"t1"}"#,
    answer: |context, _| ask(context, Ask::Restart),
    ..VerbSpec::USUAL
};
