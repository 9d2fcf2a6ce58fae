//! How a thread takes up a plan: everything that changes is released before anything new is built.
//!
//! A line may go from a sensor to an output, a chip from one address or bus to another. So a reload comes in two orders: the
//! first makes every thread release what its new plan does not contain unchanged; only when all have done so does the second
//! build anything. What is the same in both plans goes on untouched.

use std::collections::BTreeMap;

use crate::worker::backoff::{FailureDomain, Purpose, Transfer};
use crate::worker::bus_slots::BusSlots;
use crate::worker::output::OutputSlot;
use crate::worker::run::{Loop, Output, record_outcome};
use crate::worker::sensor::SensorSlot;
use crate::worker::{ActuatorSettings, Plan};
use fieldgate_bus as bus;
use fieldgate_clock as clock;
use fieldgate_model::Name;

impl Loop {
    /// Releases what the plan does not contain unchanged; outputs are made safe first. The rest goes on.
    pub(super) fn release(&mut self, plan: &Plan) {
        let stays = |buses: &BusSlots, name: Option<&Name>| {
            plan.buses.iter().any(|(bus, settings)| bus.as_ref() == name && buses.has(name, settings))
        };
        let actuators: BTreeMap<_, _> = plan.actuators.iter().map(|new| (&new.name, new)).collect();
        let outputs = std::mem::take(&mut self.outputs);
        let (kept, gone): (Vec<_>, Vec<_>) = outputs.into_iter().partition(|output| {
            let settings = &output.slot.settings;
            stays(&self.buses, Some(&settings.bus))
                && actuators.get(&settings.name).is_some_and(|new| new.same_device(settings))
        });
        self.outputs = gone;
        self.make_safe();
        self.outputs = kept;
        let wanted: BTreeMap<_, _> = plan.sensors.iter().map(|(new, _)| (&new.name, new)).collect();
        for sensor in &mut self.sensors {
            // If the channel is full, the count since its last reading is passed on with its next reading.
            sensor.report_count(&self.buses);
        }
        for mut slot in std::mem::take(&mut self.sensors) {
            let Some(new) = wanted.get(&slot.settings.name) else { continue };
            if new.same_device(&slot.settings) && stays(&self.buses, slot.settings.bus.as_ref()) {
                self.sensors.push(slot);
            } else {
                // Sampling it before the plan comes would claim again what was just released.
                slot.drop_device();
                self.parked.push(slot);
            }
        }
        self.buses.release(&plan.buses);
        self.renumber();
    }

    /// Takes up a plan: what is the same goes on untouched, what has changed is released, then the rest is built.
    pub(super) fn adopt(&mut self, plan: Plan) {
        self.release(&plan);
        let with_inputs = |(name, settings): &(Option<Name>, bus::Settings)| {
            (name.clone(), settings.clone(), plan.inputs(name.as_ref()))
        };
        let sensors = plan.sensors.iter().map(|(settings, _)| SensorSlot::domain_of(settings));
        let domains = sensors.chain(plan.actuators.iter().map(domain_of));
        self.buses.adopt(plan.buses.iter().map(with_inputs).collect(), domains);
        self.adopt_outputs(plan.actuators);
        let old = std::mem::take(&mut self.sensors).into_iter().chain(std::mem::take(&mut self.parked));
        let mut old: BTreeMap<Name, SensorSlot> = old.map(|slot| (slot.settings.name.clone(), slot)).collect();
        let now = clock::boottime();
        for (settings, tally) in plan.sensors {
            let domain = self.buses.backoff.domain(SensorSlot::domain_of(&settings));
            let slot = match old.remove(&settings.name) {
                Some(mut slot) => {
                    slot.domain = domain;
                    slot.resume(settings, now);
                    slot
                }
                None => SensorSlot::new(settings, tally, domain, now),
            };
            self.sensors.push(slot);
        }
        self.renumber();
    }

    fn adopt_outputs(&mut self, actuators: Vec<ActuatorSettings>) {
        let domains: Vec<_> = actuators.iter().map(|settings| self.buses.backoff.domain(domain_of(settings))).collect();
        let mut fresh = Vec::new();
        for (settings, domain) in actuators.into_iter().zip(domains) {
            match self.outputs.iter_mut().find(|output| output.slot.settings.name == settings.name) {
                Some(output) => {
                    output.domain = domain;
                    output.slot.resume(settings);
                }
                None => fresh.push((settings, domain)),
            }
        }
        for (settings, domain) in fresh {
            let begun = clock::boottime();
            self.activity.turn_at(begun);
            self.activity.busy_at(Some(&settings.name), begun);
            // In a domain that has just failed slowly one attempt is enough; the others are built as soon as it answers.
            let is_backing_off = self.buses.backoff.allowed_from(domain, Purpose::Output) > begun;
            let why = is_backing_off.then(|| self.buses.backoff.why(domain).to_owned());
            self.buses.take_outcome();
            let slot = self.buses.with_building_forbidden(why, |buses| OutputSlot::new(settings, buses));
            let now = clock::boottime();
            record_outcome(&mut self.buses, domain, Transfer { ended_at: now, cost: now.saturating_sub(begun) });
            self.activity.busy_at(None, now);
            self.outputs.push(Output { slot, domain });
        }
    }

    fn renumber(&mut self) {
        for (index, slot) in self.sensors.iter_mut().enumerate() {
            slot.index = index;
        }
        self.activity.drives(self.outputs.len());
        self.must_listen_again = true;
        self.reschedule();
    }
}

fn domain_of(settings: &ActuatorSettings) -> FailureDomain {
    FailureDomain::of(Some(&settings.bus), &(settings.driver.claims)(&settings.settings), &settings.name)
}
