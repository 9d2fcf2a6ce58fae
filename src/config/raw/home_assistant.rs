//! `home_assistant:`, at the top and of sensors, outputs, variables and rules.

use super::field;
use crate::home_assistant as shown;
use fieldgate_model::{Field, Kind, Need};

/// `home_assistant:`.
pub static HOME_ASSISTANT: &[Field] = &[
    field("prefix", Kind::Text, Need::Default("homeassistant"), "what discovery topics begin with"),
    field("name", Kind::Text, Need::Optional, "the name of the gateway's device; gateway.name if left out"),
    field("area", Kind::Text, Need::Optional, "the area that is suggested for it"),
];

const SHOWN_AS: Field = field("name", Kind::Text, Need::Optional, "instead of its name here");
const DEVICE: Field =
    field("device", Kind::Text, Need::Optional, "a device of its own, of this name, for all that name the same");
const AREA: Field = field("area", Kind::Text, Need::Optional, "the area that is suggested for that device");
const UNIQUE_ID: Field = field(
    "unique_id",
    Kind::Text,
    Need::Optional,
    "the unique id that it had while another program announced it; with it Home Assistant's entity goes on here",
);
const MOVED_FROM: Field = field(
    "moved_from",
    Kind::Text,
    Need::Optional,
    "the discovery topic on which that program announced it, such as homeassistant/sensor/pi/air/config; cleared once it is here",
);
const IS_SHOWN: Field = field("enabled", Kind::Flag, Need::Default("true"), "whether it appears there");

const ICON: Field = field("icon", Kind::Text, Need::Optional, "the icon that it has there, such as mdi:fan");

/// `home_assistant:` of a sensor.
pub static SHOWN_SENSOR: &[Field] = &[SHOWN_AS, DEVICE, AREA, IS_SHOWN];

/// What stands there below the name of a measurement.
pub static SHOWN_MEASUREMENT: &[Field] =
    &[field("name", Kind::Text, Need::Optional, "the whole name of its entity"), ICON, UNIQUE_ID, MOVED_FROM, IS_SHOWN];

/// `home_assistant:` of a variable or a rule.
pub static SHOWN_OWN: &[Field] = &[SHOWN_AS, DEVICE, AREA, ICON, IS_SHOWN];

/// `home_assistant:` of an output.
pub static SHOWN_OUTPUT: &[Field] = &[
    SHOWN_AS,
    DEVICE,
    AREA,
    ICON,
    UNIQUE_ID,
    MOVED_FROM,
    IS_SHOWN,
    field(
        "as",
        Kind::Choice(shown::EntityKind::NAMES),
        Need::Optional,
        "what kind of thing it is; a switch may be a light, fan, valve, siren or lock, a percentage a light, fan or valve",
    ),
];
