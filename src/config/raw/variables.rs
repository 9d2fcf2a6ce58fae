//! `variables:`.

use super::{SHOWN_OWN, field};
use fieldgate_model::{Field, Kind, Need};

/// Further out, a number has no decimals that a user could mean.
const ANY: Kind = Kind::Number { min: -1e15, max: 1e15 };

/// An entry under `variables:`.
pub static VARIABLE: &[Field] = &[
    field("min", ANY, Need::Optional, "of a number: the least that it takes"),
    field("max", ANY, Need::Optional, "of a number: the most that it takes"),
    field(
        "step",
        Kind::Number { min: 1e-9, max: 1e15 },
        Need::Optional,
        "of a number: from min in steps of this; any number between the two if left out",
    ),
    field("unit", Kind::Text, Need::Optional, "of a number: its unit, which formulas check"),
    field("options", Kind::List(&Kind::Text), Need::Optional, "instead of min and max: the words that it takes"),
    field("initial", Kind::Text, Need::Required, "its value until it is set for the first time"),
    field("home_assistant", Kind::Section(SHOWN_OWN), Need::Optional, "how it appears in Home Assistant"),
];
