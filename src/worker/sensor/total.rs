//! Setting the total of a sensor that counts.
//!
//! It happens on the sensor's thread, where pulses are counted, so none is lost or counted twice. The new total is that of the
//! moment when the order was given: pulses that were counted since, and those that the line still has, come on top.

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;

use crate::worker::bus_slots::BusSlots;
use crate::worker::sensor::SensorSlot;
use crate::worker::{Event, SensorSettings};
use fieldgate_model::{CountScale, Quantity, Reason, Refusal, Saved, Value};

/// A total that was set.
#[derive(Debug)]
pub struct TotalSet {
    /// What it is now, by the decimals of the sensor.
    pub value: Value,
    /// Answered when it is on disk.
    pub saved: oneshot::Receiver<Saved>,
}

impl SensorSettings {
    /// Its total as the driver measures it, if it is a sensor that counts.
    pub fn total(&self) -> Option<(Quantity, CountScale)> {
        self.measured().into_iter().find_map(|quantity| Some((quantity.clone(), quantity.count_scale?)))
    }
}

impl SensorSlot {
    /// Sets the total to what it was when so much had been `counted` in this run, and sends it to the disk, behind the readings of
    /// before.
    ///
    /// # Errors
    /// Nothing has changed then, and the refusal says why.
    pub(in crate::worker) fn set_total(
        &mut self,
        total: f64,
        counted: u64,
        buses: &BusSlots,
    ) -> Result<TotalSet, Refusal> {
        let not_counting = || Refusal::new(Reason::Unknown, format!("{} is no sensor that counts", self.settings.name));
        let (quantity, scale) = self.settings.total().ok_or_else(not_counting)?;
        let count = scale.count(total)?;
        self.resume_count(buses);
        if self.tally.count.total().is_none() {
            let words = "there is no total yet, because the spool has had no disk since the start";
            return Err(Refusal::new(Reason::Hardware, words));
        }
        let place = buses.context.events.try_reserve().map_err(|error| match error {
            TrySendError::Full(()) => Refusal::new(Reason::Busy, "the spool has not taken the readings before it"),
            TrySendError::Closed(()) => Refusal::new(Reason::Stopping, "the gateway is ending"),
        })?;
        let count = self.tally.count.set(count, counted);
        let (saved, is_saved) = oneshot::channel();
        place.send(Event::CountSet { sensor: self.settings.name.clone(), count, saved });
        self.reported_count = Some(count);
        Ok(TotalSet { value: quantity.measured(scale.total(count)).value, saved: is_saved })
    }
}
