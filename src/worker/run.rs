//! The loop of one bus.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use tracing::error;

use crate::clock;
use crate::worker::output::{self, OutputSlot};
use crate::worker::sensor::SensorSlot;
use crate::worker::site::{News, Site};
use crate::worker::wait::{LONGEST, Waiter};
use crate::worker::{Context, Order, Plan, Progress};

/// How soon unsent states are tried again when the event channel was full.
const FLUSH_AGAIN: Duration = Duration::from_millis(20);

/// What an ending worker waits for room in the event channel; within its grace in `shutdown.rs`.
const LAST_WORDS: Duration = Duration::from_millis(400);

/// A bus that is missing is tried at least this often, however seldom its sensors are sampled: an event-driven one hears
/// nothing until then.
const OPEN_AGAIN: Duration = Duration::from_secs(1);

/// A sampling that takes longer may have been taken for one that hangs.
const SUSPICIOUS: Duration = Duration::from_secs(1);

/// Everything that lives on one bus's thread.
pub(super) struct Loop {
    plan: Option<Plan>,
    site: Site,
    orders: Receiver<Order>,
    waiter: Waiter,
    stop: Arc<AtomicBool>,
    progress: Arc<Progress>,
    /// When a missing bus is tried next.
    open_again: Duration,
    sensors: Vec<SensorSlot>,
    outputs: Vec<OutputSlot>,
    /// When a simulated bus wants to be looked at again.
    refresh_at: Option<Duration>,
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
            site: Site::new(plan.bus.clone(), context),
            plan: Some(plan),
            orders,
            waiter,
            stop,
            progress,
            open_again: Duration::ZERO,
            sensors: Vec::new(),
            outputs: Vec::new(),
            refresh_at: None,
        }
    }

    /// Runs until it is asked to stop, then makes every output safe.
    pub(super) fn run(mut self) {
        while !self.stop.load(Ordering::Acquire) {
            self.progress.turn();
            self.open();
            if let Some(plan) = self.plan.take() {
                self.adopt(plan);
            }
            self.take_orders();
            self.take_events();
            self.enforce();
            let sampled = self.sample_one();
            self.hear_of_the_bus();
            self.site.flush();
            if !sampled {
                self.sleep();
            }
        }
        for output in &mut self.outputs {
            self.progress.busy_with(Some(&output.settings.name));
            output.stop(&mut self.site);
        }
        self.progress.busy_with(None);
        self.say_the_rest();
    }

    /// Tells what the channel had no room for. After a disk that hung it is full at this moment and empties quickly.
    fn say_the_rest(&mut self) {
        let deadline = clock::boottime() + LAST_WORDS;
        self.sensors.iter_mut().for_each(|sensor| sensor.take_events(&mut self.site));
        loop {
            self.sensors.iter_mut().for_each(|sensor| sensor.tell_lost(&self.site));
            let counts_told = self.sensors.iter_mut().map(|sensor| sensor.tell_count(&self.site)).filter(|told| *told);
            let counts_told = counts_told.count() == self.sensors.len();
            self.site.flush();
            let untold: u64 = self.sensors.iter().map(SensorSlot::untold).sum();
            if untold == 0 && counts_told && self.site.unsent.is_empty() {
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

    /// Opens the bus if it is not open. Why that fails, the devices tell that need it.
    fn open(&mut self) {
        let now = clock::boottime();
        if !self.site.is_open() && self.open_again <= now {
            self.open_again = now + OPEN_AGAIN;
            self.site.bus().ok();
        }
    }

    /// Lets go of what was built on a bus that has gone, and does not keep anybody waiting on one that is there again.
    fn hear_of_the_bus(&mut self) {
        match self.site.take_news() {
            Some(News::Gone) => {
                self.sensors.iter_mut().for_each(SensorSlot::let_go);
                self.outputs.iter_mut().for_each(OutputSlot::let_go);
            }
            Some(News::Opened) => self.sensors.iter_mut().for_each(SensorSlot::hurry),
            None => {}
        }
    }

    /// Takes up a plan: what is gone is made safe and released first, what is the same goes on untouched, the rest is new.
    fn adopt(&mut self, plan: Plan) {
        let now = clock::boottime();
        let mut old = std::mem::take(&mut self.outputs);
        let (kept, gone): (Vec<_>, Vec<_>) = old.drain(..).partition(|slot| {
            plan.actuators.iter().any(|new| new.name == slot.settings.name && new.same_device(&slot.settings))
        });
        for mut slot in gone {
            slot.stop(&mut self.site);
        }
        self.outputs = kept;
        let mut sensors = std::mem::take(&mut self.sensors);
        for sensor in &mut sensors {
            // Without room, what came since its last reading is kept as soon as it reads again.
            sensor.tell_count(&self.site);
        }
        sensors.retain(|slot| plan.sensors.iter().any(|(new, _)| new.name == slot.settings.name));
        for settings in plan.actuators {
            match self.outputs.iter_mut().find(|slot| slot.settings.name == settings.name) {
                Some(slot) => slot.resume(settings),
                None => {
                    self.progress.busy_with(Some(&settings.name));
                    let slot = OutputSlot::new(settings, &mut self.site);
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
                Order::Apply { actuator, value, lease, answer } => {
                    let Some(slot) = self.outputs.iter_mut().find(|slot| slot.settings.name == actuator) else {
                        // A reload took it away between the check and now; the asker sees the closed channel.
                        continue;
                    };
                    self.progress.busy_with(Some(&actuator));
                    slot.command((value, lease), answer, &mut self.site);
                    self.progress.busy_with(None);
                }
            }
        }
    }

    /// Brings a simulated bus up to date and takes what event-driven sensors noticed.
    fn take_events(&mut self) {
        let Some(bus) = self.site.opened() else { return };
        let now = clock::boottime();
        if self.refresh_at.is_none_or(|at| at <= now) {
            self.refresh_at = bus.refresh().map(|pause| now + pause);
        }
        for sensor in &mut self.sensors {
            sensor.take_events(&mut self.site);
        }
    }

    fn enforce(&mut self) {
        for slot in &mut self.outputs {
            slot.enforce(&mut self.site);
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
        slot.sample(&mut self.site);
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
        sooner(output::earliest(&self.outputs, &self.site.context.pulse));
        sooner(self.sensors.iter().map(|slot| slot.schedule.next()).min());
        sooner(if self.site.is_open() { self.refresh_at } else { Some(self.open_again) });
        if !self.site.unsent.is_empty() {
            sooner(Some(now + FLUSH_AGAIN));
        }
        let lines: Vec<BorrowedFd<'_>> = self.sensors.iter().filter_map(SensorSlot::descriptor).collect();
        if let Err(e) = self.waiter.wait(deadline, &lines) {
            // Not expected of poll(2) on our own descriptors; without a pause the loop would spin.
            error!(error = %e, "Waiting for the bus failed.");
            #[expect(clippy::disallowed_methods, reason = "a bus thread may block")]
            std::thread::sleep(FLUSH_AGAIN);
        }
    }
}
