//! The loop of one bus.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use tracing::{error, info};

use crate::bus;
use crate::clock;
use crate::drivers::DriverError;
use crate::worker::output::{self, OutputSlot};
use crate::worker::schedule::retry_after;
use crate::worker::sensor::SensorSlot;
use crate::worker::site::Site;
use crate::worker::wait::{LONGEST, Waiter};
use crate::worker::{Context, Order, Plan, Progress};

/// How soon unsent states are tried again when the event channel was full.
const FLUSH_AGAIN: Duration = Duration::from_millis(20);

/// A sampling that takes longer may have been taken for one that hangs.
const SUSPICIOUS: Duration = Duration::from_secs(1);

/// Everything that lives on one bus's thread.
pub(super) struct Loop {
    plan: Option<Plan>,
    settings: bus::Settings,
    site: Site,
    orders: Receiver<Order>,
    waiter: Waiter,
    stop: Arc<AtomicBool>,
    progress: Arc<Progress>,
    opening: Opening,
    sensors: Vec<SensorSlot>,
    outputs: Vec<OutputSlot>,
    /// When a simulated bus wants to be looked at again.
    refresh_at: Option<Duration>,
}

/// Attempts to open the bus.
#[derive(Default)]
struct Opening {
    failures: u32,
    again_at: Duration,
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
            settings: plan.bus.clone(),
            plan: Some(plan),
            site: Site::new(context),
            orders,
            waiter,
            stop,
            progress,
            opening: Opening::default(),
            sensors: Vec::new(),
            outputs: Vec::new(),
            refresh_at: None,
        }
    }

    /// Runs until it is asked to stop, then makes every output safe.
    pub(super) fn run(mut self) {
        self.open();
        while !self.stop.load(Ordering::Acquire) {
            self.progress.turn();
            if let Some(plan) = self.plan.take() {
                self.adopt(plan);
            }
            self.open();
            self.take_orders();
            self.take_events();
            self.enforce();
            let sampled = self.sample_one();
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
        for sensor in &mut self.sensors {
            sensor.tell_lost(&self.site);
        }
        self.site.flush();
    }

    /// Opens the bus if it is not open, with back-off.
    fn open(&mut self) {
        let now = clock::now();
        if self.site.bus.is_some() || now.boot < self.opening.again_at {
            return;
        }
        match bus::open(&self.settings) {
            Ok(opened) => {
                if self.opening.failures > 0 {
                    info!(bus = %opened.describe(), "Bus opened.");
                }
                self.opening = Opening::default();
                self.site.bus = Some(opened);
            }
            Err(e) => {
                self.opening.failures = self.opening.failures.saturating_add(1);
                self.opening.again_at = now.boot + retry_after(self.opening.failures.saturating_add(1));
                let error = DriverError::Bus(e);
                for sensor in &mut self.sensors {
                    sensor.fail(&error, now, &mut self.site);
                }
            }
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
        let Some(bus) = self.site.bus.as_mut() else { return };
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
        if self.site.bus.is_none() {
            return false;
        }
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
        if self.site.bus.is_some() {
            sooner(self.sensors.iter().map(|slot| slot.schedule.next()).min());
            sooner(self.refresh_at);
        } else {
            sooner(Some(self.opening.again_at));
        }
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
