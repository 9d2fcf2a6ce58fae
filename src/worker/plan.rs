//! What a thread is in charge of: the devices as configured, and the buses that they sit on.

use std::sync::Arc;
use std::time::Duration;

use crate::worker::Tally;
use fieldgate_bus as bus;
use fieldgate_drivers::DriverSpec;
use fieldgate_filters::{self as filters, MeasurementFilters, ReportSettings};
use fieldgate_model::{Name, OutputKind, Pace, Qos, Quantity, Settings};
use fieldgate_safety::Limits;

/// A sensor as configured.
#[derive(Clone, Debug)]
pub struct SensorSettings {
    /// The name, in the configuration and in topics.
    pub name: Name,
    /// The driver that reads or drives it.
    pub driver: &'static DriverSpec,
    /// The bus it sits on; `None` for the machine itself.
    pub bus: Option<Name>,
    /// How often it is sampled; for event-driven sensors the heartbeat.
    pub every: Duration,
    /// The quality of service of its readings.
    pub qos: Qos,
    /// Whether the broker keeps its newest reading.
    pub retain: bool,
    /// The driver's own settings, checked.
    pub settings: Settings,
    /// What is done to its samples, checked.
    pub filters: Vec<MeasurementFilters>,
    /// Which of them become readings; `None`: each.
    pub report: Option<ReportSettings>,
}

impl SensorSettings {
    /// What the driver measures, in its order.
    pub fn measured(&self) -> Vec<Quantity> {
        self.driver.measured(&self.settings)
    }

    /// What its samples carry behind the filters.
    pub fn filtered(&self) -> Vec<Quantity> {
        filters::filtered(&self.filters, self.measured()).0
    }

    /// What its readings may carry, in their order.
    pub fn quantities(&self) -> Vec<Quantity> {
        match &self.report {
            Some(report) => report.quantities(self.filtered()),
            None => self.filtered(),
        }
    }

    /// Whether the device itself is the same, so that it need not be built again.
    pub(super) fn same_device(&self, other: &Self) -> bool {
        self.driver.name == other.driver.name && self.bus == other.bus && self.settings == other.settings
    }
}

/// An output as configured.
#[derive(Clone, Debug)]
pub struct ActuatorSettings {
    /// The name, in the configuration and in topics.
    pub name: Name,
    /// The driver that reads or drives it.
    pub driver: &'static DriverSpec,
    /// The bus it sits on.
    pub bus: Name,
    /// What it can do with its settings.
    pub kind: OutputKind,
    /// How it gets there.
    pub pace: Pace,
    /// Its safe state, and what it may do.
    pub limits: Limits,
    /// Outputs that must not be on beside it; each of them has this one, too.
    pub interlock: Vec<Name>,
    /// The dead time between the end of one of them and the beginning of another.
    pub dead_time: Duration,
    /// Commands that were issued longer ago are refused; `None`: none is.
    pub max_age: Option<Duration>,
    /// The driver's own settings, checked.
    pub settings: Settings,
}

impl ActuatorSettings {
    /// Whether the device itself is the same, so that a reload leaves it alone.
    pub(super) fn same_device(&self, other: &Self) -> bool {
        self.driver.name == other.driver.name && self.bus == other.bus && self.settings == other.settings
    }
}

/// What one thread is in charge of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The buses on one pair of wires: the one that is wired to the board, then those that sit on it, each after the one
    /// that it sits on. `None` is the machine itself. Every bus that a device names is here.
    pub buses: Vec<(Option<Name>, bus::Settings)>,
    /// Their sensors and the tallies of those.
    pub sensors: Vec<(SensorSettings, Arc<Tally>)>,
    /// The outputs on these buses.
    pub actuators: Vec<ActuatorSettings>,
}

impl Plan {
    /// Whether the thread that runs this can go on with `other`: the wires are the same.
    pub fn same_wires(&self, other: &bus::Settings) -> bool {
        self.buses.first().is_some_and(|(_, root)| root == other)
    }

    /// The lines of a bus that sensors use.
    pub(super) fn inputs(&self, bus: Option<&Name>) -> Vec<String> {
        let here = self.sensors.iter().filter(|(sensor, _)| sensor.bus.as_ref() == bus);
        here.flat_map(|(sensor, _)| sensor.driver.lines(&sensor.settings)).collect()
    }
}
