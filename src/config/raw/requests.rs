//! `requests:`.

use super::field;
use crate::requests::NAMES;
use fieldgate_model::{Field, Kind, Need};

/// `requests:`.
pub static REQUESTS: &[Field] = &[
    field(
        "allow",
        Kind::List(&Kind::Choice(NAMES)),
        Need::Default("[ping, info, health, read]"),
        "which requests are carried out; all others are answered with a refusal",
    ),
    field(
        "identify",
        Kind::Name,
        Need::Optional,
        "the output that `identify` switches on for half of each second, such as a lamp or a buzzer; else the board's own light blinks",
    ),
];
