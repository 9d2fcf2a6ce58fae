//! What the devices of one bus share: the bus itself and the way out.

use std::collections::BTreeMap;

use tokio::sync::mpsc::error::TrySendError;

use crate::bus::Bus;
use crate::drivers::DriverError;
use crate::model::Name;
use crate::worker::{Context, Event};

/// Whose state it is: a sensor and an output may bear the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    Actuator,
    Sensor,
}

/// The bus and the way out.
pub(super) struct Site {
    /// `None` while it cannot be opened.
    pub(super) bus: Option<Box<dyn Bus>>,
    pub(super) context: Context,
    /// States and statuses that the event channel had no room for: the newest of each device, so it cannot grow.
    pub(super) unsent: BTreeMap<(Subject, Name), Event>,
}

impl Site {
    pub(super) fn new(context: Context) -> Self {
        Self { bus: None, context, unsent: BTreeMap::new() }
    }

    /// The bus, for building a device on it.
    pub(super) fn bus(&mut self) -> Result<&mut dyn Bus, DriverError> {
        match &mut self.bus {
            Some(bus) => Ok(bus.as_mut()),
            None => Err(DriverError::NotReady("the bus")),
        }
    }

    /// Tells the newest state of a device; an older one that still waits is replaced.
    pub(super) fn tell(&mut self, subject: Subject, name: Name, event: Event) {
        self.unsent.insert((subject, name), event);
        self.flush();
    }

    /// Sends what fits and keeps the rest.
    pub(super) fn flush(&mut self) {
        while let Some((key, event)) = self.unsent.pop_first() {
            if let Err(TrySendError::Full(event)) = self.context.events.try_send(event) {
                self.unsent.insert(key, event);
                return;
            }
        }
    }
}
