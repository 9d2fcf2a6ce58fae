//! The end of a thread, and of outputs that leave the configuration.
//!
//! A bus that fails slowly must not eat the time that there is for stopping: what works is made safe first, and of what sits in
//! one place with an output that has just failed slowly, nothing more is tried. After [`LONGEST`] whatever has not been tried is
//! given up. Each output that is not safe is named in the log; `fieldgate safe-state`, which systemd calls at the end, tries
//! once more.

use std::collections::BTreeSet;
use std::time::Duration;

use tracing::error;

use crate::clock;
use crate::deadlines;
use crate::worker::run::{FLUSH_AGAIN, Loop};
use crate::worker::sensor::SensorSlot;

/// How long outputs may fail before the others are given up; a reload waits two seconds for a thread, the end less.
const LONGEST: Duration = Duration::from_secs(2);

impl Loop {
    pub(super) fn finish(mut self) {
        self.hand_on();
        self.make_safe();
        self.sensors.append(&mut self.parked);
        self.say_the_rest();
    }

    /// Drives all outputs to their safe state for the last time.
    pub(super) fn make_safe(&mut self) {
        // What is off when safe comes first, so that what must not be on beside it can follow.
        let rest = &self.sites.rest;
        self.outputs.sort_by_key(|output| (!output.slot.is_off_when_safe(), rest.is_failing(output.place)));
        let (began, mut given_up) = (clock::boottime(), BTreeSet::new());
        for index in 0..self.outputs.len() {
            let place = self.outputs[index].place;
            let is_late = clock::boottime().saturating_sub(began) >= LONGEST;
            if given_up.contains(&place) || is_late {
                let why = match self.sites.rest.why(place) {
                    "" => "others took too long",
                    why => why,
                };
                // Without a device and with nothing to be built, stopping is over at once.
                self.sites.bar(Some(why.to_owned()));
                self.outputs[index].slot.let_go(&mut self.sites);
            }
            self.talk(index, |slot, sites| slot.stop(sites));
            self.sites.bar(None);
            if self.sites.rest.is_failing(place) {
                given_up.insert(place);
            }
        }
    }

    /// Tells what the channel had no room for. After a disk that hung it is full at this moment and empties quickly.
    fn say_the_rest(&mut self) {
        let deadline = clock::boottime() + deadlines::FINAL_FLUSH;
        self.sensors.iter_mut().for_each(|sensor| sensor.take_events(&mut self.sites));
        self.hand_on();
        loop {
            self.sensors.iter_mut().for_each(|sensor| sensor.tell_lost(&self.sites));
            let counts_told = self.sensors.iter_mut().map(|sensor| sensor.tell_count(&self.sites)).filter(|told| *told);
            let counts_told = counts_told.count() == self.sensors.len();
            self.sites.flush();
            let untold: u64 = self.sensors.iter().map(SensorSlot::untold).sum();
            if untold == 0 && counts_told && self.sites.unsent.is_empty() {
                return;
            }
            if clock::boottime() >= deadline {
                error!(
                    readings = untold,
                    "The recorder does not take the last words; these readings are lost and not told."
                );
                return;
            }
            #[expect(clippy::disallowed_methods, reason = "a bus thread may block")]
            std::thread::sleep(FLUSH_AGAIN);
        }
    }
}
