//! The devices and topics of the configuration in force, as far as others than their workers need them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::plain::PlainTopics;
use crate::worker::{ActuatorSettings, Inbox, SensorSettings, Tally};
use fieldgate_model::topic::Topics;
use fieldgate_model::{Count, Name, OutputKind, Quantity, Reason, Refusal};

/// Sensors, outputs and topics. A reload replaces it as a whole.
#[derive(Clone, Debug)]
pub struct Roster {
    /// The topics below the base topic.
    pub topics: Topics,
    /// The names of all sensors.
    pub sensors: BTreeSet<Name>,
    /// Every output. During a reload also those that are about to be driven: a state is published once, and one that comes from
    /// an output that is not in the roster yet would be missing for good.
    pub outputs: BTreeSet<Name>,
    /// Every output that takes commands.
    pub targets: BTreeMap<Name, Target>,
    /// Every sensor whose total can be set.
    pub totals: BTreeMap<Name, Total>,
    /// The names of all rules.
    pub rules: BTreeSet<Name>,
    /// Every sensor's worker, for requests that want a sample now.
    pub readers: BTreeMap<Name, Inbox>,
    /// Where values and states are published as bare text; empty without `mqtt.plain`.
    pub plain: PlainTopics,
    /// What every sensor has done in this run.
    pub tallies: BTreeMap<Name, Arc<Tally>>,
    /// What is said of the devices to people.
    pub inventory: Arc<Inventory>,
}

/// The devices as configured, by their names in order, for those who show them.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// The gateway's name.
    pub gateway: Option<Name>,
    /// Every sensor, and what its readings have in them.
    pub sensors: Vec<(SensorSettings, Vec<Quantity>)>,
    /// Every output as configured.
    pub outputs: Vec<ActuatorSettings>,
}

impl Roster {
    /// The roster during a reload, while devices of both configurations may send events.
    pub fn expecting(
        &self,
        sensors: impl Iterator<Item = Name>,
        outputs: impl Iterator<Item = Name>,
        plain: PlainTopics,
    ) -> Self {
        let mut joined = self.clone();
        joined.sensors.extend(sensors);
        joined.outputs.extend(outputs);
        joined.plain = joined.plain.joined_with(plain);
        joined
    }
}

/// The outputs that take no commands now, each with the rule that has it. The rules write it, and commands look before each.
#[derive(Clone, Debug, Default)]
pub struct Protected(Arc<Mutex<BTreeMap<Name, Name>>>);

impl Protected {
    /// These from now on, and no others.
    pub fn replace(&self, all: BTreeMap<Name, Name>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = all;
    }

    /// The rule that lets nobody command this output.
    pub fn by(&self, output: &Name) -> Option<Name> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(output).cloned()
    }

    /// Whether somebody but the rules may move this output.
    ///
    /// # Errors
    /// [`Reason::Busy`]: a rule lets nobody.
    pub fn may_be_moved(&self, output: &Name) -> Result<(), Refusal> {
        let words = |rule: Name| format!("the rule {rule} has this output, and lets no command take it");
        self.by(output).map_or(Ok(()), |rule| Err(Refusal::new(Reason::Busy, words(rule))))
    }
}

/// One output as the commands see it.
#[derive(Clone, Debug)]
pub struct Target {
    /// Which values it takes.
    pub kind: OutputKind,
    /// Commands that were issued longer ago are refused; `None`: none is.
    pub max_age: Option<Duration>,
    /// The worker that drives it.
    pub inbox: Inbox,
}

/// The total of one sensor as the commands see it.
#[derive(Clone, Debug)]
pub struct Total {
    /// What the sensor counts into.
    pub count: Arc<Count>,
    /// The worker that counts.
    pub inbox: Inbox,
}

/// A roster that many read.
pub type SharedRoster = Arc<Roster>;

/// Rules that are stopped because they go round in a circle: since when, and why. Clones are one and the same.
#[derive(Clone, Debug, Default)]
pub struct RuleAlarms(Arc<Mutex<BTreeMap<Name, (SystemTime, String)>>>);

impl RuleAlarms {
    /// All of them.
    pub fn list(&self) -> BTreeMap<Name, (SystemTime, String)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// These and no others.
    pub fn replace(&self, all: BTreeMap<Name, (SystemTime, String)>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = all;
    }
}
