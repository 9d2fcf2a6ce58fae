//! The loop of one bus.
//!
//! A turn takes orders, makes outputs do what is due, and takes one sample. Nothing in it goes through all devices: a
//! [`Timetable`] knows which are due, and only sensors whose descriptor is readable, or whose own time has come, are asked for
//! events. Each transfer is a sign of life, and an output that fails slowly ends the turn early, so that orders wait for a few
//! transfers at most.
//!
//! `adopt.rs` takes up plans, `finish.rs` ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use tokio::sync::oneshot;
use tracing::error;

use crate::worker::backoff::{DomainId, Purpose, QUICK, Transfer};
use crate::worker::bus_slots::{BusSlots, Busy, News, TransferOutcome};
use crate::worker::output::{OutputSlot, Request};
use crate::worker::sensor::{Hears, SensorSlot};
use crate::worker::timetable::Timetable;
use crate::worker::wait::{LONGEST_SLEEP, Waiter};
use crate::worker::{Activity, Applied, Context, Order, Plan};
use fieldgate_clock as clock;
use fieldgate_drivers::BusNeed;
use fieldgate_model::{Name, Reason, Refusal};

/// How soon unsent states are tried again when the event channel was full.
pub(super) const FLUSH_AGAIN: Duration = Duration::from_millis(20);

/// A sampling that takes longer may have been reported as hanging.
const SUSPICIOUS: Duration = Duration::from_secs(1);

/// Readings of one moment are handed on together, so that the recorder is woken once; a sampling that takes longer does not
/// keep the others waiting.
const ONE_MOMENT: Duration = Duration::from_millis(1);

/// Readings that are handed on together at most.
const TOGETHER: usize = 64;

/// An output, and where it sits as of the last plan.
pub(super) struct Output {
    pub(super) slot: OutputSlot,
    pub(super) domain: DomainId,
}

/// Everything that lives on one bus's thread.
pub(super) struct Loop {
    plan: Option<Plan>,
    pub(super) buses: BusSlots,
    orders: Receiver<Order>,
    waiter: Waiter,
    stop: Arc<AtomicBool>,
    pub(super) activity: Arc<Activity>,
    pub(super) sensors: Vec<SensorSlot>,
    /// Sensors whose device was dropped because it changes, until the plan comes.
    pub(super) parked: Vec<SensorSlot>,
    pub(super) outputs: Vec<Output>,
    /// When each sensor may be sampled; of those that are due, the one that has waited longest comes first.
    sensors_due: Timetable<(Duration, Duration)>,
    /// When each sensor is to be asked for events although nothing is heard of it; for most of them never.
    events_due: Timetable<Duration>,
    /// When each output must be looked at, in the same order.
    outputs_due: Timetable<(Duration, Duration)>,
    /// Sensors that may have noticed something when their bus was brought up to date.
    heard_by_bus: Vec<usize>,
    /// What is listened to is not what it should be any more.
    pub(super) must_listen_again: bool,
    /// Numbers of sensors whose descriptor is readable, after a sleep.
    ready: Vec<u64>,
    has_woken: bool,
}

impl Loop {
    pub(super) fn new(
        plan: Plan,
        context: Context,
        orders: Receiver<Order>,
        waiter: Waiter,
        stop: Arc<AtomicBool>,
        activity: Arc<Activity>,
    ) -> Self {
        Self {
            buses: BusSlots::new(context, Arc::clone(&activity)),
            plan: Some(plan),
            orders,
            waiter,
            stop,
            activity,
            sensors: Vec::new(),
            parked: Vec::new(),
            outputs: Vec::new(),
            sensors_due: Timetable::new(),
            events_due: Timetable::new(),
            outputs_due: Timetable::new(),
            heard_by_bus: Vec::new(),
            must_listen_again: true,
            ready: Vec::new(),
            has_woken: true,
        }
    }

    /// Runs until it is asked to stop, then makes every output safe. `beginning` is dropped when all were made safe first.
    pub(super) fn run(mut self, beginning: oneshot::Sender<()>) {
        if let Some(plan) = self.plan.take() {
            self.adopt(plan);
        }
        drop(beginning);
        while !self.stop.load(Ordering::Acquire) {
            self.turn();
        }
        self.finish();
    }

    fn turn(&mut self) {
        let begun = clock::boottime();
        self.activity.turn_at(begun);
        self.open_all();
        self.take_orders();
        self.take_events(begun);
        self.handle_bus_events();
        // An output that must go off is more urgent than a sample.
        let is_behind = self.enforce();
        let now = clock::boottime();
        let is_busy = is_behind || self.sample_one(now);
        self.handle_bus_events();
        if self.buses.backoff.take_changed() {
            self.reschedule();
        }
        self.buses.flush();
        let now = clock::boottime();
        if now.saturating_sub(begun) >= SUSPICIOUS {
            // The bus may have been reported as hanging, and with it every sensor on it.
            self.sensors.iter_mut().for_each(SensorSlot::report_status_again);
        }
        if !is_busy {
            self.flush_outbox();
            self.sleep(now);
        }
    }

    fn open_all(&mut self) {
        let (activity, sensors) = (&self.activity, &self.sensors);
        self.buses.open_all(|bus| busy_on(activity, sensors, bus));
    }

    /// Runs a transfer of an output, and records its outcome. `true` when that was quick.
    pub(super) fn with_transfer<T>(
        &mut self,
        index: usize,
        transfer: impl FnOnce(&mut OutputSlot, &mut BusSlots) -> T,
    ) -> (T, bool) {
        self.flush_outbox();
        let Output { slot, domain } = &mut self.outputs[index];
        let begun = clock::boottime();
        self.activity.turn_at(begun);
        self.activity.busy_at(Some(&slot.settings.name), begun);
        self.buses.take_outcome();
        let result = transfer(slot, &mut self.buses);
        let now = clock::boottime();
        self.activity.busy_at(None, now);
        let cost = now.saturating_sub(begun);
        record_outcome(&mut self.buses, *domain, Transfer { ended_at: now, cost });
        (result, cost < QUICK)
    }

    /// Drops what was built on a bus that has gone, so that each device reports it at once; devices on a bus that is there again
    /// may try at once.
    fn handle_bus_events(&mut self) {
        let news = self.buses.take_news();
        if news.is_empty() {
            return;
        }
        for (bus, news) in news {
            let sensors = self.sensors.iter_mut().filter(|slot| slot.settings.bus == bus);
            match news {
                News::Gone => {
                    sensors.for_each(|slot| {
                        slot.drop_device();
                        slot.hurry();
                    });
                    let outputs = self.outputs.iter_mut().map(|output| &mut output.slot);
                    let on_it = outputs.filter(|slot| Some(&slot.settings.bus) == bus.as_ref());
                    on_it.for_each(|slot| slot.drop_device(&mut self.buses));
                }
                News::Opened => sensors.for_each(SensorSlot::hurry),
            }
        }
        self.must_listen_again = true;
        self.reschedule();
    }

    /// Computes again when everybody is due: after what changes for many at once, which is rare.
    pub(super) fn reschedule(&mut self) {
        let Self { buses, sensors, outputs, .. } = self;
        self.sensors_due.reset(sensors.iter().map(|slot| slot.due(buses)));
        self.events_due.reset(sensors.iter().map(SensorSlot::events_due));
        self.outputs_due.reset(outputs.iter().map(|output| output_due(output, buses)));
        // What changed so far is in it.
        self.buses.backoff.take_changed();
    }

    fn reschedule_output(&mut self, index: usize) {
        let due = output_due(&self.outputs[index], &self.buses);
        self.outputs_due.set(index, due);
    }

    pub(super) fn take_orders(&mut self) {
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Order::Release { plan, done } => {
                    self.flush_outbox();
                    self.release(&plan);
                    // An error means that the requester has stopped waiting.
                    done.send(()).ok();
                }
                Order::Replan(plan) => {
                    self.flush_outbox();
                    self.adopt(plan);
                }
                Order::Apply { actuator, action, lease, answer } => {
                    self.obey(&actuator, Request::Command(action, lease), answer);
                }
                Order::Rule { actuator, rule, order, answer } => {
                    self.obey(&actuator, Request::Rule(rule, order), answer);
                }
                Order::Sample { sensor, answer } => {
                    // Without it the requester sees the closed channel.
                    if let Some(slot) = self.sensors.iter_mut().find(|slot| slot.settings.name == sensor) {
                        slot.ask(answer, clock::boottime());
                        self.reschedule();
                    }
                }
                Order::SetTotal { sensor, total, counted, answer } => {
                    // Readings of before say what it was before.
                    self.flush_outbox();
                    let Some(slot) = self.sensors.iter_mut().find(|slot| slot.settings.name == sensor) else {
                        continue;
                    };
                    // The requester may have stopped waiting.
                    answer.send(slot.set_total(total, counted, &self.buses)).ok();
                }
            }
        }
    }

    fn obey(&mut self, actuator: &Name, request: Request, answer: oneshot::Sender<Applied>) {
        let Some(index) = self.outputs.iter().position(|output| output.slot.settings.name == *actuator) else {
            // A reload removed it between the check and now; the requester sees the closed channel.
            return;
        };
        self.flush_outbox();
        let domain = self.outputs[index].domain;
        if self.buses.backoff.allowed_from(domain, Purpose::Output) > clock::boottime() {
            let words = format!("not tried, because its bus has just failed: {}", self.buses.backoff.why(domain));
            // As after any order that could not be carried out, it is made safe as soon as the bus allows.
            let slot = &mut self.outputs[index].slot;
            self.buses.with_building_forbidden(Some(words.clone()), |buses| slot.drop_device(buses));
            // The requester may have stopped waiting.
            answer.send(Err(Refusal::new(Reason::Hardware, words))).ok();
        } else {
            self.with_transfer(index, |slot, buses| slot.request(request, answer, buses));
        }
        self.reschedule_output(index);
    }

    /// Brings buses up to date that must be looked at, and takes what event-driven sensors noticed.
    fn take_events(&mut self, now: Duration) {
        let due_now = |due: &Timetable<Duration>| due.first().filter(|(_, at)| *at <= now);
        let (activity, sensors) = (&self.activity, &self.sensors);
        // A sensor whose time has come must know first what its bus has heard.
        let may_have_news = self.has_woken || due_now(&self.events_due).is_some();
        let refreshed = self.buses.refresh(may_have_news, |bus| busy_on(activity, sensors, bus));
        if refreshed {
            for at in 0..self.heard_by_bus.len() {
                self.take_events_of(self.heard_by_bus[at]);
            }
        }
        self.has_woken = false;
        self.take_events_of_ready();
        // Each of them once: one that fails is due again at once, and others must have their turn.
        for _ in 0..self.sensors.len() {
            let Some((index, _)) = due_now(&self.events_due) else { return };
            self.take_events_of(index);
        }
    }

    /// Takes what those noticed whose descriptor is readable.
    fn take_events_of_ready(&mut self) {
        // Those of buses have numbers behind those of sensors.
        let number = |ready: u64| usize::try_from(ready).unwrap_or(usize::MAX);
        let is_computed = |slot: &SensorSlot| slot.settings.driver.bus == BusNeed::Sensors;
        if let Some(last) = self.ready.iter().map(|ready| number(*ready)).max()
            && self.sensors.first().is_some_and(is_computed)
        {
            // Each stands behind those that it is computed from: so it is computed once for a sample, of what these say
            // of the same.
            (0..self.sensors.len().min(last.saturating_add(1))).for_each(|index| self.take_events_of(index));
        } else {
            (0..self.ready.len()).for_each(|at| self.take_events_of(number(self.ready[at])));
        }
        self.ready.clear();
    }

    fn take_events_of(&mut self, index: usize) {
        let Some(slot) = self.sensors.get_mut(index) else { return };
        slot.take_events(&mut self.buses);
        self.after_asking(index);
    }

    /// A sensor was sampled or asked for events.
    fn after_asking(&mut self, index: usize) {
        let slot = &mut self.sensors[index];
        self.must_listen_again |= slot.take_hearing_changed();
        self.sensors_due.set(index, slot.due(&self.buses));
        self.events_due.set(index, slot.events_due());
    }

    /// Makes the outputs do what is due, those first that have waited longest. One that fails slowly ends it, and the answer is
    /// `true`.
    fn enforce(&mut self) -> bool {
        for _ in 0..self.outputs.len() {
            let now = clock::boottime();
            let Some((index, _)) = self.outputs_due.first().filter(|(_, (due, _))| *due <= now) else { return false };
            let ((), is_quick) = self.with_transfer(index, OutputSlot::enforce);
            if self.buses.backoff.take_changed() {
                self.reschedule();
            } else {
                self.reschedule_output(index);
            }
            if !is_quick && self.buses.backoff.is_failing(self.outputs[index].domain) {
                return true;
            }
        }
        false
    }

    /// Samples the sensor that has waited longest, if one is due; one at a time, so that orders never wait for more.
    fn sample_one(&mut self, now: Duration) -> bool {
        let Some((index, _)) = self.sensors_due.first().filter(|(_, (due, _))| *due <= now) else { return false };
        if self.sensors[index].cost >= ONE_MOMENT || self.buses.outbox.len() >= TOGETHER {
            self.flush_outbox();
        }
        let slot = &mut self.sensors[index];
        let missed = slot.schedule.take(now).unwrap_or(0);
        self.activity.busy_at(Some(&slot.settings.name), now);
        let taken_at = slot.sample(missed, now, &mut self.buses);
        self.activity.busy_at(None, taken_at);
        self.after_asking(index);
        true
    }

    /// Hands on the readings that wait in the outbox.
    pub(super) fn flush_outbox(&mut self) {
        while let Some((index, event)) = self.buses.outbox.pop_front() {
            self.sensors[index].send(event, &self.buses);
        }
    }

    fn sleep(&mut self, now: Duration) {
        if self.must_listen_again {
            self.listen();
        }
        let mut deadline = now + LONGEST_SLEEP;
        let mut sooner = |at: Option<Duration>| deadline = at.map_or(deadline, |at| deadline.min(at));
        sooner(self.outputs_due.first().map(|(_, (due, _))| due));
        sooner(self.sensors_due.first().map(|(_, (due, _))| due));
        sooner(self.events_due.first().map(|(_, due)| due));
        sooner(self.buses.deadline());
        if !self.buses.unsent.is_empty() {
            sooner(Some(now + FLUSH_AGAIN));
        }
        if let Err(e) = self.waiter.wait(deadline, &mut self.ready) {
            failed_to_wait(&e);
        }
        self.has_woken = true;
    }

    /// Listens to the devices that are there now.
    fn listen(&mut self) {
        self.must_listen_again = false;
        self.heard_by_bus.clear();
        let hears_by_bus = self.sensors.iter().filter(|slot| slot.hears() == Hears::ByBus);
        self.heard_by_bus.extend(hears_by_bus.map(|slot| slot.index));
        let numbered = |slot: &SensorSlot| u64::try_from(slot.index).unwrap_or(u64::MAX);
        let behind = u64::try_from(self.sensors.len()).unwrap_or(u64::MAX);
        let lines = self.sensors.iter().filter_map(|slot| Some((numbered(slot), slot.descriptor()?)));
        let buses = self.buses.descriptors().map(|bus| (behind, bus));
        if let Err(e) = self.waiter.listen(lines.chain(buses)) {
            self.must_listen_again = true;
            failed_to_wait(&e);
        }
    }
}

/// A sign of life before a transfer to the bus itself. If that hangs, it is reported by the name of a sensor on the bus.
pub(super) fn busy_on(activity: &Activity, sensors: &[SensorSlot], busy: Busy<'_>) {
    let now = clock::boottime();
    activity.turn_at(now);
    let sensor_on = |bus: Option<&Name>| sensors.iter().find(|slot| slot.settings.bus.as_ref() == bus);
    let on_it = match busy {
        Busy::Nothing => None,
        Busy::Host => sensor_on(None),
        Busy::Bus(name) => sensor_on(Some(name)),
    };
    activity.busy_at(on_it.map(|slot| &slot.settings.name), now);
}

fn failed_to_wait(e: &std::io::Error) {
    // Not expected of epoll on our own descriptors; without a pause the loop would spin.
    error!(error = %e, "The thread of a bus could not sleep until its next task; it tries again every 20 ms.");
    #[expect(clippy::disallowed_methods, reason = "a bus thread may block")]
    std::thread::sleep(FLUSH_AGAIN);
}

/// Records the outcome of driving an output for the back-off of the bus.
pub(super) fn record_outcome(buses: &mut BusSlots, domain: DomainId, transfer: Transfer) {
    match buses.take_outcome() {
        Some(TransferOutcome::Answered) => buses.backoff.answered(domain),
        Some(TransferOutcome::Failed(why)) => buses.backoff.failed(domain, Purpose::Output, transfer, &why),
        None => {}
    }
}

/// When an output must be looked at; one that fails waits for its bus.
fn output_due(output: &Output, buses: &BusSlots) -> (Duration, Duration) {
    let deadline = output.slot.deadline(&buses.context.heartbeat).unwrap_or(Duration::MAX);
    (deadline.max(buses.backoff.allowed_from(output.domain, Purpose::Output)), deadline)
}
