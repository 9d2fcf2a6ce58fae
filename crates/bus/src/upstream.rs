//! Buses that sit on other buses are opened in that order.

use crate::sim::chips::FindChip;
use crate::{Bus, BusError, Settings, open};

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
