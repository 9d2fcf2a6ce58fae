//! What is known of a bus while the rest is checked, and how problems name it.

use crate::config::check::Checker;
use crate::config::check::words::did_you_mean;
use crate::config::tree::Span;
use fieldgate_bus::{self as bus, BusNeed, BusSpec, Claim, Device};
use fieldgate_model::Name;

/// A bus as far as it could be read.
pub(super) struct Bus {
    pub(super) name: Name,
    pub(super) span: Span,
    /// `None` when something is wrong with it, which has been reported.
    pub(super) settings: Option<bus::Settings>,
    /// What it occupies on other buses, and where that is written.
    pub(super) claims: Vec<(Name, Claim, Span)>,
    /// What it is, however it is written, with links followed.
    pub(super) device: Option<Device>,
}

impl Bus {
    /// Its kind, unless something is wrong with it.
    pub(super) fn spec(&self) -> Option<&'static BusSpec> {
        Some(self.settings.as_ref()?.entry()?.spec)
    }

    /// Whether a driver with this need may sit here. A bus that could not be read suits all, so that one mistake is one
    /// problem.
    pub(super) fn suits(&self, need: BusNeed) -> bool {
        self.spec().is_none_or(|spec| spec.suits(need))
    }

    /// Its name and type, for hints.
    pub(super) fn describe(&self) -> String {
        match self.settings {
            Some(_) => format!("{} of type {}", self.name, self.kind()),
            None => self.name.to_string(),
        }
    }

    /// As in `type:`.
    pub(super) fn kind(&self) -> &'static str {
        self.spec().map_or("unknown", |spec| spec.name)
    }
}

/// The bus of that name.
pub(super) fn find<'b>(buses: &'b [Bus], name: &str) -> Option<&'b Bus> {
    buses.iter().find(|bus| bus.name.as_str() == name)
}

/// Which buses could be meant, for hints; without any, how one is written.
pub(super) fn such_as(buses: &[Bus], need: BusNeed, fits: impl Fn(&Bus) -> bool) -> String {
    let fitting = buses.iter().filter(|bus| bus.settings.is_some() && !bus.name.is_stand_in() && fits(bus));
    let names: Vec<_> = fitting.map(|bus| bus.name.as_str()).collect();
    if !names.is_empty() {
        return format!("such as {}", names.join(", "));
    }
    let others: Vec<_> = buses.iter().filter(|bus| !bus.name.is_stand_in()).map(Bus::describe).collect();
    let only = if others.is_empty() { String::new() } else { format!("there is only {}; ", others.join(", ")) };
    format!("{only}write one under buses:, for example {}", need.example())
}

impl Checker<'_> {
    /// A bus is named that is not there.
    pub(super) fn unknown_bus(&mut self, name: &str, span: &Span, buses: &[Bus], fitting: String) {
        let names: Vec<_> = buses.iter().filter(|bus| !bus.name.is_stand_in()).map(|bus| bus.name.as_str()).collect();
        let hint = did_you_mean(name, &names, || fitting);
        self.error(span, format!("no bus is called {name:?}"), hint);
    }
}
