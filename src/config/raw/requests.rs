//! `requests:`.

use super::field;
use crate::requests::NAMES;
use fieldgate_model::{Field, Kind, Need};

/// `requests:`.
pub static REQUESTS: &[Field] = &[field(
    "allow",
    Kind::List(&Kind::Choice(NAMES)),
    Need::Default("[ping, info, health, read]"),
    "which requests are carried out; all others are answered with a refusal",
)];
