//! The configuration file. (being written)

use crate::model::topic::Topics;
use crate::model::{Field, Name};
use crate::{bus, link, spool, worker};

/// What may run: every value checked, every default filled in.
#[derive(Clone, Debug)]
pub struct Config {
    /// `gateway.name`.
    pub name: Name,
    /// Below `mqtt.base_topic`.
    pub topics: Topics,
    /// `mqtt:`.
    pub link: link::Settings,
    /// `spool:`.
    pub spool: spool::Settings,
    /// `buses:`, in the order of the file.
    pub buses: Vec<(Name, bus::Settings)>,
    /// `sensors:`, in the order of the file.
    pub sensors: Vec<worker::SensorSettings>,
    /// `actuators:`, in the order of the file.
    pub actuators: Vec<worker::ActuatorSettings>,
}

#[expect(dead_code, reason = "being written")]
fn fields(_: &[Field]) {}
mod tree;
