//! One OS thread per bus. (being written)

use std::time::Duration;

use crate::drivers::DriverSpec;
use crate::model::{Name, OutputValue, Qos, Settings};

/// A sensor as configured.
#[derive(Clone, Debug)]
pub struct SensorSettings {
    /// Its name.
    pub name: Name,
    /// Its driver.
    pub driver: &'static DriverSpec,
    /// The bus it sits on; `None` for the machine itself.
    pub bus: Option<Name>,
    /// How often it is sampled; for event-driven sensors the heartbeat.
    pub every: Duration,
    /// How surely its readings are to arrive.
    pub qos: Qos,
    /// Whether the broker keeps its newest reading.
    pub retain: bool,
    /// The driver's own settings, checked.
    pub settings: Settings,
}

/// An output as configured.
#[derive(Clone, Debug)]
pub struct ActuatorSettings {
    /// Its name.
    pub name: Name,
    /// Its driver.
    pub driver: &'static DriverSpec,
    /// The bus it sits on.
    pub bus: Name,
    /// What it does at start, at stop, and when the link has been lost for `safe_after`.
    pub safe_state: OutputValue,
    /// How long after the broker's last byte; `None` keeps the last state.
    pub safe_after: Option<Duration>,
    /// The driver's own settings, checked.
    pub settings: Settings,
}
