//! `rules:`, key by key.

use std::time::Duration;

use super::{DAY, SHOWN_OWN, field};
use fieldgate_model::{Field, Kind, Need};

const SPAN: Kind = Kind::Duration { min: Duration::ZERO, max: DAY };

/// What a rule may say of commands.
pub static MANUAL: &[&str] = &["takes_over", "never"];

/// An entry under `rules:`.
pub static RULE: &[Field] = &[
    field("when", Kind::Text, Need::Required, "the formula that begins it, such as room.temperature < 19"),
    field("until", Kind::Text, Need::Optional, "the formula that ends it; not `when` if left out"),
    field("for", SPAN, Need::Default("0s"), "how long `when` must be true before it begins"),
    field("until_for", SPAN, Need::Default("0s"), "how long `until` must be true before it ends"),
    field(
        "lost",
        SPAN,
        Need::Default("0s"),
        "it ends after what decides its end has been unknown for so long; a sample is known for three periods",
    ),
    field("set", Kind::States, Need::Optional, "the outputs that it owns while it is active, and what they do"),
    field("then", Kind::States, Need::Optional, "what these do when it ends; their safe state if left out"),
    field("toggle", Kind::OneOrMany(&Kind::Name), Need::Optional, "the outputs that it toggles when it begins"),
    field("publish", Kind::Section(PUBLICATION), Need::Optional, "what it publishes when it begins"),
    field(
        "manual",
        Kind::Choice(MANUAL),
        Need::Default("takes_over"),
        "what a command from outside does to its outputs: takes_over, until its condition changes, or never, and it is refused",
    ),
    field(
        "priority",
        Kind::Integer { min: -1000, max: 1000 },
        Need::Default("0"),
        "of two active rules that set one output the greater has it",
    ),
    field("home_assistant", Kind::Section(SHOWN_OWN), Need::Optional, "how it appears in Home Assistant"),
];

/// `publish:` of a rule.
pub static PUBLICATION: &[Field] = &[
    field("topic", Kind::Text, Need::Required, "where, below the base topic"),
    field("payload", Kind::Text, Need::Default("\"\""), "what, as it is"),
];
