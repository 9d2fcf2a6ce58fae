//! What the devices of one bus share: the bus itself and the way out.

use std::collections::BTreeMap;

use tokio::sync::mpsc::error::TrySendError;
use tracing::{info, warn};

use crate::bus::{self, Bus};
use crate::drivers::DriverError;
use crate::model::Name;
use crate::worker::{Context, Event};

/// Whose state it is: a sensor and an output may bear the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    Actuator,
    Sensor,
}

/// What the devices of a bus must know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It was missing and is there: whoever failed may try again at once.
    Opened,
    /// It has gone: whatever was built on it must be let go.
    Gone,
}

/// The bus and the way out.
pub(super) struct Site {
    settings: bus::Settings,
    /// `None` while it cannot be opened.
    bus: Option<Box<dyn Bus>>,
    missed: bool,
    news: Option<News>,
    pub(super) context: Context,
    /// States and statuses that their channel had no room for: the newest of each device, so it cannot grow.
    pub(super) unsent: BTreeMap<(Subject, Name), Event>,
}

impl Site {
    pub(super) fn new(settings: bus::Settings, context: Context) -> Self {
        Self { settings, bus: None, missed: false, news: None, context, unsent: BTreeMap::new() }
    }

    /// The bus, opened if it is not: an attempt costs little, and only so is it found as soon as it is there.
    pub(super) fn bus(&mut self) -> Result<&mut dyn Bus, DriverError> {
        if self.bus.is_none() {
            let opened = bus::open(&self.settings).inspect_err(|_| self.missed = true)?;
            if std::mem::take(&mut self.missed) {
                info!(bus = %opened.describe(), "Bus opened.");
                self.news = Some(News::Opened);
            }
            self.bus = Some(opened);
        }
        Ok(self.bus.as_mut().expect("it was opened above").as_mut())
    }

    /// The bus as it is.
    pub(super) fn opened(&mut self) -> Option<&mut dyn Bus> {
        Some(self.bus.as_mut()?.as_mut())
    }

    pub(super) fn is_open(&self) -> bool {
        self.bus.is_some()
    }

    /// Closes the bus when this error says that it has gone. The machine itself cannot go; there it is one device.
    pub(super) fn leave_if_gone(&mut self, error: &DriverError) {
        let gone = matches!(error, DriverError::Bus(error) if error.is_gone());
        if gone
            && self.settings != bus::Settings::Host
            && let Some(bus) = self.bus.take()
        {
            warn!(bus = %bus.describe(), "The bus has gone; it is opened anew as soon as it is back.");
            self.missed = true;
            self.news = Some(News::Gone);
        }
    }

    /// What has happened to the bus since the last question.
    pub(super) fn take_news(&mut self) -> Option<News> {
        self.news.take()
    }

    /// Tells the newest state of a device; an older one that still waits is replaced.
    pub(super) fn tell(&mut self, subject: Subject, name: Name, event: Event) {
        self.unsent.insert((subject, name), event);
        self.flush();
    }

    /// Sends what fits and keeps the rest.
    pub(super) fn flush(&mut self) {
        while let Some((key, event)) = self.unsent.pop_first() {
            if let Err(TrySendError::Full(event)) = self.context.states.try_send(event) {
                self.unsent.insert(key, event);
                return;
            }
        }
    }
}
