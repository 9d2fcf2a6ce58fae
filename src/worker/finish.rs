//! The end of a thread, and of outputs that leave the configuration.
//!
//! A bus that fails slowly must not use up the time for stopping: outputs that work are made safe first, and when one fails
//! slowly the others in the same domain are not tried. After [`deadlines::GIVE_UP_OUTPUTS`] all that has not been tried is given up.
//! Each output that is not safe is named in the log; `fieldgate safe-state`, which systemd calls at the end, tries once more.

use std::collections::BTreeSet;

use tracing::error;

use crate::deadlines;
use crate::worker::backoff::DomainId;
use crate::worker::bus_slots::BusSlots;
use crate::worker::output::{LOOK_AT_PARTNERS, OutputSlot};
use crate::worker::run::{FLUSH_AGAIN, Loop, Output};
use crate::worker::sensor::SensorSlot;
use fieldgate_clock as clock;

impl Loop {
    pub(super) fn finish(mut self) {
        self.flush_outbox();
        self.make_safe();
        self.sensors.append(&mut self.parked);
        self.flush_remaining();
    }

    /// Drives all outputs to their safe state for the last time.
    pub(super) fn make_safe(&mut self) {
        // What is off when safe comes first, so that what must not be on beside it can follow.
        let backoff = &self.buses.backoff;
        self.outputs.sort_by_key(|output| (!output.slot.is_off_when_safe(), backoff.is_failing(output.domain)));
        let (began, mut given_up) = (clock::boottime(), BTreeSet::new());
        for index in 0..self.outputs.len() {
            let domain = self.outputs[index].domain;
            let is_late = clock::boottime().saturating_sub(began) >= deadlines::GIVE_UP_OUTPUTS;
            if given_up.contains(&domain) || is_late {
                self.give_up(index);
                continue;
            }
            self.with_transfer(index, |slot, buses| {
                if slot.stop(buses) {
                    slot.end(buses);
                }
            });
            if self.has_failed(index) {
                given_up.insert(domain);
            }
        }
        self.wait_for_partners(given_up);
    }

    /// Those that are on when safe follow when their partners are off. They wait together: however many they are, the end
    /// comes no later than with one.
    fn wait_for_partners(&mut self, mut given_up: BTreeSet<DomainId>) {
        let waiting = self.outputs.iter().filter(|output| output.slot.waits_for_partner());
        let Some(longest) = waiting.map(|output| output.slot.partner_wait()).max() else { return };
        let until = clock::boottime().saturating_add(longest);
        loop {
            let is_over = clock::boottime() >= until;
            for index in 0..self.outputs.len() {
                let Output { slot, domain } = &self.outputs[index];
                let domain = *domain;
                if !slot.waits_for_partner() {
                    continue;
                }
                if given_up.contains(&domain) {
                    self.give_up(index);
                    continue;
                }
                self.with_transfer(index, |slot, buses| follow_partner(slot, is_over, buses));
                if self.has_failed(index) {
                    given_up.insert(domain);
                }
            }
            if !self.outputs.iter().any(|output| output.slot.waits_for_partner()) {
                return;
            }
            #[expect(clippy::disallowed_methods, reason = "a bus thread may block, and these outputs are ending")]
            std::thread::sleep(LOOK_AT_PARTNERS);
        }
    }

    /// Whether it has been tried and failed.
    fn has_failed(&self, index: usize) -> bool {
        let Output { slot, domain } = &self.outputs[index];
        !slot.waits_for_partner() && self.buses.backoff.is_failing(*domain)
    }

    /// Ends an output without any transfer.
    fn give_up(&mut self, index: usize) {
        let why = match self.buses.backoff.why(self.outputs[index].domain) {
            "" => "others took too long".to_owned(),
            why => why.to_owned(),
        };
        // Without a device and with nothing to be built, stopping is over at once.
        let slot = &mut self.outputs[index].slot;
        self.buses.with_building_forbidden(Some(why.clone()), |buses| slot.drop_device(buses));
        self.with_transfer(index, |slot, buses| {
            buses.with_building_forbidden(Some(why), |buses| {
                slot.stop(buses);
                slot.end(buses);
            });
        });
    }

    /// Passes on what the channel had no room for. After a disk that hung it is full at this moment and empties quickly.
    fn flush_remaining(&mut self) {
        let deadline = clock::boottime() + deadlines::FINAL_FLUSH;
        self.sensors.iter_mut().for_each(|sensor| sensor.take_events(&mut self.buses));
        self.flush_outbox();
        loop {
            self.sensors.iter_mut().for_each(|sensor| sensor.report_lost(&self.buses));
            let counts_reported =
                self.sensors.iter_mut().map(|sensor| sensor.report_count(&self.buses)).filter(|done| *done);
            let counts_reported = counts_reported.count() == self.sensors.len();
            self.buses.flush();
            let unreported: u64 = self.sensors.iter().map(SensorSlot::unreported).sum();
            if unreported == 0 && counts_reported && self.buses.unsent.is_empty() {
                return;
            }
            if clock::boottime() >= deadline {
                error!(
                    readings = unreported,
                    "The recorder did not accept the last readings in time; they are lost without a loss record."
                );
                return;
            }
            #[expect(clippy::disallowed_methods, reason = "a bus thread may block")]
            std::thread::sleep(FLUSH_AGAIN);
        }
    }
}

/// Drives it if its partner is off by now, and in any case when the time `is_over`.
fn follow_partner(slot: &mut OutputSlot, is_over: bool, buses: &mut BusSlots) {
    slot.enforce(buses);
    if is_over || !slot.waits_for_partner() {
        slot.end(buses);
    }
}
