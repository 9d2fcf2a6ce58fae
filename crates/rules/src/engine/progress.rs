//! What is known of each rule and each output between two steps.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use fieldgate_formula::Value;
use fieldgate_model::{Action, Name};

use crate::engine::MAX_CHANGES;
use crate::facts::Fact;
use crate::status::{State, Status, Why};
use crate::table::Table;

/// What one rule is at.
#[derive(Clone, Debug)]
pub(super) struct RuleProgress {
    pub(super) is_on: bool,
    pub(super) is_active: bool,
    /// Since when `when` is true and `until` is not, while it is inactive.
    pub(super) holds_since: Option<Duration>,
    /// Since when `until` is true, while it is active.
    pub(super) ends_since: Option<Duration>,
    /// Since when it is unknown whether it ends.
    pub(super) unknown_since: Option<Duration>,
    /// Whether `when` was unknown when it was last asked.
    pub(super) is_unknown: bool,
    /// Whether a click has ended it, and `when` has not been false since.
    pub(super) is_dismissed: bool,
    pub(super) stopped_until: Option<Duration>,
    /// When it began and ended last.
    pub(super) changes: VecDeque<Duration>,
    /// In the order of `set`.
    pub(super) wanted: Vec<WantedOutput>,
    /// The last order to each output under `toggle`, in their order.
    pub(super) toggled: Vec<u64>,
    /// Why an order under `toggle` did nothing.
    pub(super) not_toggled: Option<Why>,
    pub(super) status: Status,
}

impl RuleProgress {
    pub(super) fn new(table: &Table, rule: usize) -> Self {
        let wanted = |(output, action): &(_, Action)| WantedOutput {
            output: table.position(output),
            action: *action,
            state: WantedState::None,
            order: 0,
            refusal: None,
        };
        Self {
            is_on: true,
            is_active: false,
            holds_since: None,
            ends_since: None,
            unknown_since: None,
            is_unknown: false,
            is_dismissed: false,
            stopped_until: None,
            changes: VecDeque::with_capacity(MAX_CHANGES),
            wanted: table.rules[rule].spec.set.iter().map(wanted).collect(),
            toggled: vec![0; table.rules[rule].spec.toggle.len()],
            not_toggled: None,
            status: Status {
                state: State::Inactive,
                since: Duration::ZERO,
                why: Why::ConditionDoesNotHold,
                is_on: true,
            },
        }
    }
}

/// What a rule wants of an output.
#[derive(Clone, Debug)]
pub(super) struct WantedOutput {
    pub(super) output: usize,
    pub(super) action: Action,
    pub(super) state: WantedState,
    /// The id of the last order for it, by which an answer is recognised.
    pub(super) order: u64,
    /// Why the order was refused; also while it is tried again.
    pub(super) refusal: Option<Arc<str>>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum WantedState {
    /// The rule is not active.
    None,
    /// Another rule has the output.
    Wanted,
    /// It was ordered and not answered yet.
    Ordered,
    /// The order was carried out.
    Carried,
    /// The order was refused; it is given again at this time.
    Refused(Duration),
    /// A command from outside has the output.
    TakenOver,
    /// This rule has toggled it.
    Toggled(Name),
    /// A limit took it away.
    Tripped(Arc<str>),
}

impl WantedState {
    /// Whether the rule may have the output.
    pub(super) fn competes(&self) -> bool {
        matches!(self, Self::Wanted | Self::Ordered | Self::Carried | Self::Refused(_))
    }
}

/// Who has one output.
#[derive(Clone, Debug, Default)]
pub(super) struct Ownership {
    /// Rules that set it, and at which place, by falling priority.
    pub(super) wanted_by: Vec<(usize, usize)>,
    pub(super) owner: Option<(usize, usize)>,
    pub(super) letting_go: Option<LettingGo>,
}

/// An order to let go that was not carried out yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct LettingGo {
    pub(super) rule: usize,
    pub(super) order: u64,
    pub(super) action: Option<Action>,
    pub(super) retry_at: Option<Duration>,
}

/// What a signal of moments says when nothing happens: a text that no click has.
pub(super) const NOTHING: Value<'static> = Value::Text("");

pub(super) fn at_rest(is_moment: bool) -> Fact {
    let mut fact = Fact::default();
    if is_moment {
        fact.write(NOTHING);
    }
    fact
}

pub(super) fn ownerships(table: &Table) -> Vec<Ownership> {
    let of = |output| {
        let mut wanted_by: Vec<_> = Vec::new();
        for (index, rule) in table.rules.iter().enumerate() {
            wanted_by.extend(rule.spec.set.iter().position(|(name, _)| name == output).map(|place| (index, place)));
        }
        wanted_by.sort_by_key(|(rule, _)| std::cmp::Reverse(table.rules[*rule].spec.priority));
        Ownership { wanted_by, ..Ownership::default() }
    };
    table.outputs.iter().map(of).collect()
}
