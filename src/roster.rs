//! Who is who in the configuration in force: what recorder and commands must know of it, and nothing more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::model::topic::Topics;
use crate::model::{Name, OutputKind};
use crate::worker::Inbox;

/// Sensors, outputs and topics. A reload replaces it as a whole.
#[derive(Clone, Debug)]
pub struct Roster {
    /// Our topics.
    pub topics: Topics,
    /// Every sensor.
    pub sensors: BTreeSet<Name>,
    /// Every output.
    pub targets: BTreeMap<Name, Target>,
}

/// One output as the commands see it.
#[derive(Clone, Debug)]
pub struct Target {
    /// What it takes.
    pub kind: OutputKind,
    /// Commands that were issued longer ago are refused; `None`: none is.
    pub max_age: Option<Duration>,
    /// The worker that drives it.
    pub inbox: Inbox,
}

/// A roster that many read.
pub type SharedRoster = Arc<Roster>;
