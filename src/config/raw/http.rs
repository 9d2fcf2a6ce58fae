//! `http:` and `metrics:`.

use super::field;
use fieldgate_model::{Field, Kind, Need};

/// `http:`.
pub static HTTP: &[Field] = &[
    field("listen", Kind::Text, Need::Required, "an address of this board and a port, such as 127.0.0.1:8080"),
    field(
        "password_file",
        Kind::Path,
        Need::Optional,
        "a file with the password that is asked for; one newline at its end is not part of it",
    ),
    field("password_credential", Kind::Text, Need::Optional, "the name of a systemd credential with that password"),
    field(
        "open",
        Kind::Flag,
        Need::Default("false"),
        "true: no password is asked for although others than this board can reach the address",
    ),
    field("control", Kind::Flag, Need::Default("false"), "whether outputs, variables and rules can be switched there"),
    field(
        "hosts",
        Kind::OneOrMany(&Kind::Text),
        Need::Optional,
        "further names by which browsers know this board, besides its host name, with and without .local",
    ),
];

/// `metrics:`.
pub static METRICS: &[Field] = &[field(
    "textfile",
    Kind::Path,
    Need::Required,
    "a file, NAME.prom, which is written every 15 s for the textfile collector of node-exporter",
)];
