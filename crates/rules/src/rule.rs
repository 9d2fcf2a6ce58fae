//! A rule as configured.

use std::time::Duration;

use fieldgate_model::{Action, Name};

/// A rule as configured. Two that are equal are the same rule: a reload leaves it alone.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleSpec {
    /// The name under `rules:`, in topics and in log lines.
    pub name: Name,
    /// The formula that must be true for it to begin.
    pub when: String,
    /// The formula that ends it; `None`: `not when`.
    pub until: Option<String>,
    /// `for`: how long `when` must be true before it begins.
    pub when_for: Duration,
    /// How long `until` must be true before it ends.
    pub until_for: Duration,
    /// How long what decides its end may be unknown before it ends.
    pub lost: Duration,
    /// The outputs that it owns while it is active, and what they do.
    pub set: Vec<(Name, Action)>,
    /// What some of these do when it ends; the others take their safe state.
    pub then: Vec<(Name, Action)>,
    /// The outputs that it toggles when it begins.
    pub toggle: Vec<Name>,
    /// What it publishes when it begins.
    pub publish: Option<Publication>,
    /// What a command from outside may do to its outputs.
    pub manual: Manual,
    /// Of two that want an output the one with the greater number has it.
    pub priority: i64,
}

/// What a rule publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// Below the base topic.
    pub topic: String,
    /// The payload, published as it is.
    pub payload: String,
}

/// What a command from outside may do to the outputs of an active rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manual {
    /// It takes them over until the rule's condition changes.
    TakesOver,
    /// It is refused while the rule is active.
    Never,
}

impl RuleSpec {
    /// A rule that does nothing yet.
    pub fn new(name: Name, when: &str) -> Self {
        Self {
            name,
            when: when.to_owned(),
            until: None,
            when_for: Duration::ZERO,
            until_for: Duration::ZERO,
            lost: Duration::ZERO,
            set: Vec::new(),
            then: Vec::new(),
            toggle: Vec::new(),
            publish: None,
            manual: Manual::TakesOver,
            priority: 0,
        }
    }

    /// What an output does when this rule ends; `None`: its safe state.
    pub fn then_of(&self, output: &Name) -> Option<Action> {
        self.then.iter().find(|(name, _)| name == output).map(|(_, action)| *action)
    }
}
