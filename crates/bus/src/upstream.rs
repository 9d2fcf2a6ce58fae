//! Buses that sit on other buses: which on which, and opened in that order.

use crate::sim::chips::FindChip;
use crate::{Bus, BusError, Settings, open};
use fieldgate_model::Name;

/// The bus that another one sits on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Upstream {
    /// Its name under `buses:`.
    pub name: Name,
    /// How to open it.
    pub settings: Settings,
}

impl Settings {
    /// The bus that this one sits on, unless it is wired to the board itself.
    pub fn on(&self) -> Option<&Upstream> {
        match self {
            Self::Multiplexed(channel) => Some(&channel.on),
            Self::Expander(expander) => Some(&expander.on),
            _ => None,
        }
    }

    /// The bus at the bottom, which is wired to the board itself: this one, called `name`, or the one that it sits on.
    /// All buses with one root are one pair of wires, and so one thread.
    pub fn root<'a>(&'a self, name: &'a Name) -> (&'a Name, &'a Self) {
        self.on().map_or((name, self), |on| on.settings.root(&on.name))
    }
}

/// The buses that one thread has opened.
pub struct Buses {
    all: Vec<(Settings, Box<dyn Bus>)>,
    /// For the simulated ones.
    chips: FindChip,
}

impl Buses {
    /// None yet; `chips` as for [`open`].
    pub fn new(chips: FindChip) -> Self {
        Self { all: Vec::new(), chips }
    }

    /// The bus with these settings, opened if it is not, and before it those that it sits on.
    ///
    /// # Errors
    /// As [`open`].
    pub fn get(&mut self, settings: &Settings) -> Result<&mut dyn Bus, BusError> {
        let index = match self.all.iter().position(|(known, _)| known == settings) {
            Some(index) => index,
            None => {
                let chips = self.chips;
                let upstream = settings.on().map(|on| self.get(&on.settings)).transpose()?;
                let opened = open(settings, upstream, chips)?;
                self.all.push((settings.clone(), opened));
                self.all.len() - 1
            }
        };
        Ok(self.all[index].1.as_mut())
    }
}
