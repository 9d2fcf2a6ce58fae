//! reload: takes up the configuration file again. The gateway's loop does it, as for SIGHUP.

use crate::requests::VerbSpec;
use crate::requests::gateway::{Ask, ask};

pub(super) const SPEC: VerbSpec = VerbSpec {
    name: "reload",
    page: "takes the configuration file up again, as `systemctl reload` does; a file with mistakes changes nothing, \
           and the first of them is the answer",
    fields: &[],
    example: r#"{"transaction":"t1"}"#,
    answer: |context, _| ask(context, Ask::Reload),
    ..VerbSpec::USUAL
};
