//! The loop of one bus.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use tokio::sync::oneshot;
use tracing::error;

use crate::bus;
use crate::clock;
use crate::deadlines;
use crate::model::Name;
use crate::worker::output::{self, OutputSlot};
use crate::worker::sensor::SensorSlot;
use crate::worker::site::{News, Sites};
use crate::worker::wait::{LONGEST, Waiter};
use crate::worker::{Context, Order, Plan, Progress};

/// How soon unsent states are tried again when the event channel was full.
const FLUSH_AGAIN: Duration = Duration::from_millis(20);

/// A sampling that takes longer may have been taken for one that hangs.
const SUSPICIOUS: Duration = Duration::from_secs(1);

/// Everything that lives on one bus's thread.
pub(super) struct Loop {
    plan: Option<Plan>,
    sites: Sites,
    orders: Receiver<Order>,
    waiter: Waiter,
    stop: Arc<AtomicBool>,
    progress: Arc<Progress>,
    sensors: Vec<SensorSlot>,
    outputs: Vec<OutputSlot>,
}

impl Loop {
    pub(super) fn new(
        plan: Plan,
        context: Context,
        orders: Receiver<Order>,
        waiter: Waiter,
        stop: Arc<AtomicBool>,
        progress: Arc<Progress>,
    ) -> Self {
        Self {
            sites: Sites::new(context, Arc::clone(&progress)),
            plan: Some(plan),
            orders,
            waiter,
            stop,
            progress,
            sensors: Vec::new(),
            outputs: Vec::new(),
        }
    }

    /// Runs until it is asked to stop, then makes every output safe. `beginning` is dropped when all were made safe first.
    pub(super) fn run(mut self, beginning: oneshot::Sender<()>) {
        let mut beginning = Some(beginning);
        while !self.stop.load(Ordering::Acquire) {
            self.progress.turn();
            if let Some(plan) = self.plan.take() {
                self.adopt(plan);
                drop(beginning.take());
            }
            self.sites.open_all();
            self.take_orders();
            self.take_events();
            self.enforce();
            let sampled = self.sample_one();
            self.hear_of_the_buses();
            self.sites.flush();
            if !sampled {
                self.sleep();
            }
        }
        // What is off when safe comes first, so that what must not be on beside it can follow.
        self.outputs.sort_by_key(|output| !output.is_off_when_safe());
        for output in &mut self.outputs {
            self.progress.busy_with(Some(&output.settings.name));
            output.stop(&mut self.sites);
        }
        self.progress.busy_with(None);
        self.say_the_rest();
    }

    /// Tells what the channel had no room for. After a disk that hung it is full at this moment and empties quickly.
    fn say_the_rest(&mut self) {
        let deadline = clock::boottime() + deadlines::FINAL_FLUSH;
        self.sensors.iter_mut().for_each(|sensor| sensor.take_events(&mut self.sites));
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

    /// Lets go of what was built on a bus that has gone, so that each says so at once, and does not keep anybody waiting on
    /// one that is there again.
    fn hear_of_the_buses(&mut self) {
        for (bus, news) in self.sites.take_news() {
            let sensors = self.sensors.iter_mut().filter(|slot| slot.settings.bus == bus);
            match news {
                News::Gone => {
                    sensors.for_each(|slot| {
                        slot.let_go();
                        slot.hurry();
                    });
                    let outputs = self.outputs.iter_mut().filter(|slot| Some(&slot.settings.bus) == bus.as_ref());
                    outputs.for_each(|slot| slot.let_go(&mut self.sites));
                }
                News::Opened => sensors.for_each(SensorSlot::hurry),
            }
        }
    }

    /// Takes up a plan: what is gone is made safe and released first, what is the same goes on untouched, the rest is new.
    fn adopt(&mut self, plan: Plan) {
        let now = clock::boottime();
        let mut old = std::mem::take(&mut self.outputs);
        // A bus that is not as it was takes with it what was built on it.
        let stays = |sites: &Sites, name: Option<&Name>| {
            plan.buses.iter().any(|(bus, settings)| bus.as_ref() == name && sites.has(name, settings))
        };
        let (kept, gone): (Vec<_>, Vec<_>) = old.drain(..).partition(|slot| {
            stays(&self.sites, Some(&slot.settings.bus))
                && plan.actuators.iter().any(|new| new.name == slot.settings.name && new.same_device(&slot.settings))
        });
        let (mut gone, on_when_safe): (Vec<_>, Vec<_>) = gone.into_iter().partition(OutputSlot::is_off_when_safe);
        gone.extend(on_when_safe);
        for mut slot in gone {
            slot.stop(&mut self.sites);
        }
        self.outputs = kept;
        let mut sensors = std::mem::take(&mut self.sensors);
        for sensor in &mut sensors {
            // Without room, what came since its last reading is kept as soon as it reads again.
            sensor.tell_count(&self.sites);
        }
        sensors.retain(|slot| plan.sensors.iter().any(|(new, _)| new.name == slot.settings.name));
        let moved = sensors.iter_mut().filter(|slot| !stays(&self.sites, slot.settings.bus.as_ref()));
        moved.for_each(SensorSlot::let_go);
        let with_inputs = |(name, settings): &(Option<Name>, bus::Settings)| {
            (name.clone(), settings.clone(), plan.inputs(name.as_ref()))
        };
        self.sites.adopt(plan.buses.iter().map(with_inputs).collect());
        for settings in plan.actuators {
            match self.outputs.iter_mut().find(|slot| slot.settings.name == settings.name) {
                Some(slot) => slot.resume(settings),
                None => {
                    self.progress.busy_with(Some(&settings.name));
                    let slot = OutputSlot::new(settings, &mut self.sites);
                    self.outputs.push(slot);
                }
            }
        }
        self.progress.busy_with(None);
        for (settings, tally) in plan.sensors {
            match sensors.iter_mut().find(|slot| slot.settings.name == settings.name) {
                Some(slot) => slot.resume(settings, now),
                None => sensors.push(SensorSlot::new(settings, tally, now)),
            }
        }
        self.sensors = sensors;
    }

    fn take_orders(&mut self) {
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Order::Replan(plan) => self.adopt(plan),
                Order::Apply { actuator, action, lease, answer } => {
                    let Some(slot) = self.outputs.iter_mut().find(|slot| slot.settings.name == actuator) else {
                        // A reload took it away between the check and now; the asker sees the closed channel.
                        continue;
                    };
                    self.progress.busy_with(Some(&actuator));
                    slot.command((action, lease), answer, &mut self.sites);
                    self.progress.busy_with(None);
                }
            }
        }
    }

    /// Brings buses up to date that must be looked at, and takes what event-driven sensors noticed.
    fn take_events(&mut self) {
        let (progress, sensors) = (&self.progress, &self.sensors);
        self.sites.refresh(|bus| {
            // Should it hang, it is reported by the name of a sensor on it.
            let on_it = sensors.iter().find(|slot| slot.settings.bus.as_ref() == bus);
            progress.busy_with(on_it.map(|slot| &slot.settings.name));
        });
        self.progress.busy_with(None);
        self.hear_of_the_buses();
        for sensor in &mut self.sensors {
            sensor.take_events(&mut self.sites);
        }
    }

    fn enforce(&mut self) {
        for slot in &mut self.outputs {
            slot.enforce(&mut self.sites);
        }
    }

    /// Samples the sensor that has waited longest, if one is due; one at a time, so that orders never wait for more.
    fn sample_one(&mut self) -> bool {
        let now = clock::boottime();
        let due =
            self.sensors.iter_mut().filter(|slot| slot.schedule.next() <= now).min_by_key(|slot| slot.schedule.next());
        let Some(slot) = due else { return false };
        if let Some(missed) = slot.schedule.take(now) {
            slot.tally.skipped.fetch_add(missed, Ordering::Relaxed);
        }
        self.progress.busy_with(Some(&slot.settings.name));
        slot.sample(&mut self.sites);
        self.progress.busy_with(None);
        if clock::boottime().saturating_sub(now) >= SUSPICIOUS {
            // The bus may have been reported as hanging, and with it every sensor on it.
            self.sensors.iter_mut().for_each(SensorSlot::tell_again);
        }
        true
    }

    fn sleep(&mut self) {
        let now = clock::boottime();
        let mut deadline = now + LONGEST;
        let mut sooner = |at: Option<Duration>| deadline = at.map_or(deadline, |at| deadline.min(at));
        sooner(output::earliest(&self.outputs, &self.sites.context.pulse));
        sooner(self.sensors.iter().map(|slot| slot.schedule.next()).min());
        sooner(self.sites.deadline());
        if !self.sites.unsent.is_empty() {
            sooner(Some(now + FLUSH_AGAIN));
        }
        let lines = self.sensors.iter().filter_map(SensorSlot::descriptor).chain(self.sites.descriptors());
        let lines: Vec<BorrowedFd<'_>> = lines.collect();
        if let Err(e) = self.waiter.wait(deadline, &lines) {
            // Not expected of poll(2) on our own descriptors; without a pause the loop would spin.
            error!(error = %e, "Waiting for the bus failed.");
            #[expect(clippy::disallowed_methods, reason = "a bus thread may block")]
            std::thread::sleep(FLUSH_AGAIN);
        }
    }
}
