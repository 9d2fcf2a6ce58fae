//! What is known of a sensor or an output while the rest is checked.

use crate::config::tree::Span;
use fieldgate_bus::Claim;
use fieldgate_model::Name;

/// A sensor or an output as far as it could be read.
pub(super) struct Device<S> {
    pub(super) name: Name,
    /// The bus it names, if there is one of that name.
    pub(super) bus: Option<Name>,
    /// What it occupies, and where that is written.
    pub(super) claims: Vec<(Claim, Span)>,
    /// `None` when something is wrong with it, which has been reported.
    pub(super) settings: Option<S>,
}

impl<S> Device<S> {
    /// A device in the wrong section: its name, bus and claims, and no settings.
    pub(super) fn without_settings<T>(self) -> Device<T> {
        Device { name: self.name, bus: self.bus, claims: self.claims, settings: None }
    }
}
