//! What the devices of one thread share: its buses, each opened when it can be; their back-off; and the way out to the recorder.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tracing::field::display;
use tracing::{info, warn};

use crate::worker::backoff::{Backoff, DomainId, FailureDomain, Purpose, QUICK, Transfer};
use crate::worker::schedule::backoff_after;
use crate::worker::trouble::Trouble;
use crate::worker::{Activity, Context, Event};
use fieldgate_bus::{self as bus, Bus, BusError};
use fieldgate_clock as clock;
use fieldgate_drivers::{self as drivers, DriverError};
use fieldgate_model::{Name, describe_error};

/// A bus that is missing is tried at least this often, however seldom its sensors are sampled: an event-driven one hears
/// nothing until then.
const OPEN_AGAIN: Duration = Duration::from_secs(1);

/// Whose state it is: a sensor and an output may bear the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    Actuator,
    Sensor,
}

/// What the devices of a bus must know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It was missing and is there: devices that failed may try again at once.
    Opened,
    /// It has gone: what was built on it must be dropped.
    Gone,
}

/// What the thread is about to use: the bus itself, not a device on it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Busy<'a> {
    /// Nothing any more.
    Nothing,
    /// The machine itself, which is a bus without a name.
    Host,
    /// The bus of this name.
    Bus(&'a Name),
}

impl<'a> Busy<'a> {
    fn with(bus: Option<&'a Name>) -> Self {
        bus.map_or(Self::Host, Self::Bus)
    }
}

/// One bus of the thread.
struct BusSlot {
    /// `None` for the machine itself.
    name: Option<Name>,
    settings: bus::Settings,
    domain: DomainId,
    /// The lines on it that are inputs.
    inputs: Vec<String>,
    /// `None` while it cannot be opened.
    bus: Option<Box<dyn Bus>>,
    missed: bool,
    news: Option<News>,
    /// When a missing bus is tried next.
    open_again: Duration,
    /// When a bus that reports no changes by itself wants to be looked at again.
    refresh_at: Option<Duration>,
    trouble: Trouble,
}

/// The outcome of a transfer to a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TransferOutcome {
    Answered,
    /// Why not, in words.
    Failed(String),
}

/// The buses of a thread, and what goes out. A bus comes after the one that it sits on.
pub(super) struct BusSlots {
    slots: Vec<BusSlot>,
    pub(super) context: Context,
    /// What the thread is doing, so that a bus that hangs is reported with a name.
    pub(super) activity: Arc<Activity>,
    /// The back-off that all devices of the thread share.
    pub(super) backoff: Backoff,
    /// The outcome of the last transfer to a device.
    outcome: Option<TransferOutcome>,
    /// Why nothing may be built at this moment.
    forbidden: Option<String>,
    /// Readings that wait for those of the same moment, each with the number of its sensor.
    pub(super) outbox: VecDeque<(usize, Event)>,
    /// States and statuses that their channel had no room for: the newest of each device, so it cannot grow.
    pub(super) unsent: BTreeMap<(Subject, Name), Event>,
}

impl BusSlots {
    pub(super) fn new(context: Context, activity: Arc<Activity>) -> Self {
        Self {
            slots: Vec::new(),
            context,
            activity,
            backoff: Backoff::default(),
            outcome: None,
            forbidden: None,
            outbox: VecDeque::new(),
            unsent: BTreeMap::new(),
        }
    }

    /// Closes what is not among these buses any more; what sits on a bus is closed before it.
    pub(super) fn release(&mut self, buses: &[(Option<Name>, bus::Settings)]) {
        for index in (0..self.slots.len()).rev() {
            let slot = &self.slots[index];
            if buses.iter().any(|(name, settings)| slot.name == *name && slot.settings == *settings) {
                continue;
            }
            let slot = self.slots.remove(index);
            if let Some(name) = &slot.name {
                self.context.alarms.forget(name);
            }
        }
    }

    /// Goes on with these buses, each with its inputs, and with devices in these domains. Buses that are as before stay open.
    pub(super) fn adopt(
        &mut self,
        buses: Vec<(Option<Name>, bus::Settings, Vec<String>)>,
        devices: impl Iterator<Item = FailureDomain>,
    ) {
        let whole: Vec<_> = buses.iter().map(|(name, ..)| FailureDomain::bus(name.as_ref())).collect();
        self.backoff.renumber(whole.into_iter().chain(devices));
        let mut old = std::mem::take(&mut self.slots);
        for (name, settings, inputs) in buses {
            let same = |slot: &BusSlot| slot.name == name && slot.settings == settings;
            let domain = self.backoff.domain(FailureDomain::bus(name.as_ref()));
            let mut slot = match old.iter().position(same) {
                Some(index) => old.swap_remove(index),
                None => BusSlot::new(name, settings, domain),
            };
            if let Some(bus) = slot.bus.as_mut() {
                bus.spare_inputs(&inputs);
            }
            (slot.domain, slot.inputs) = (domain, inputs);
            self.slots.push(slot);
        }
    }

    /// Does this while nothing may be built, if there is a reason against it: an attempt fails with that.
    pub(super) fn with_building_forbidden<T>(&mut self, why: Option<String>, work: impl FnOnce(&mut Self) -> T) -> T {
        self.forbidden = why;
        let result = work(self);
        self.forbidden = None;
        result
    }

    /// The outcome of the last transfer to a device since the last call, if there was one.
    pub(super) fn take_outcome(&mut self) -> Option<TransferOutcome> {
        self.outcome.take()
    }

    /// Whether the bus of that name is there with these settings.
    pub(super) fn has(&self, name: Option<&Name>, settings: &bus::Settings) -> bool {
        self.slots.iter().any(|slot| slot.name.as_ref() == name && slot.settings == *settings)
    }

    /// The bus, opened if it is not: an attempt costs little, and only so is it found as soon as it is there.
    pub(super) fn bus(&mut self, name: Option<&Name>) -> Result<&mut dyn Bus, DriverError> {
        if let Some(why) = &self.forbidden {
            return Err(BusError::BackingOff { why: why.clone() }.into());
        }
        let index = self.slots.iter().position(|slot| slot.name.as_ref() == name);
        let slot = self.opened(index.expect("a plan has every bus that its devices name"))?;
        // What is built now may want to be looked at sooner.
        slot.refresh_at = None;
        Ok(slot.bus.as_mut().expect("it was opened above").as_mut())
    }

    fn opened(&mut self, index: usize) -> Result<&mut BusSlot, BusError> {
        if self.slots[index].bus.is_none() {
            let upstream = self.upstream(index);
            if let Some(upstream) = upstream {
                self.opened(upstream).map(drop)?;
            }
            let (below, own) = self.slots.split_at_mut(index);
            let upstream = upstream.and_then(|upstream| below.get_mut(upstream)?.bus.as_deref_mut());
            let sits_on_another = upstream.is_some();
            own[0].open(upstream)?;
            if sits_on_another {
                // It was asked whether it is there.
                self.backoff.answered(self.slots[index].domain);
            }
        }
        Ok(&mut self.slots[index])
    }

    /// The bus that this one sits on, which comes before it.
    fn upstream(&self, index: usize) -> Option<usize> {
        let on = &self.slots[index].settings.on()?.settings;
        self.slots[..index].iter().position(|slot| slot.settings == *on)
    }

    /// Opens what is not open. A failure is reported by the devices that need the bus.
    /// `busy` is called with each bus before its attempt, and with [`Busy::Nothing`] afterwards. A slow attempt ends it.
    pub(super) fn open_all(&mut self, busy: impl Fn(Busy<'_>)) {
        for index in 0..self.slots.len() {
            if self.slots[index].bus.is_some() {
                continue;
            }
            let begun = clock::boottime();
            if self.open_at(&self.slots[index]) > begun {
                continue;
            }
            busy(Busy::with(self.slots[index].name.as_ref()));
            let result = self.opened(index).map(drop);
            busy(Busy::Nothing);
            let now = clock::boottime();
            let cost = now.saturating_sub(begun);
            if let Err(error) = result {
                let domain = self.slots[index].domain;
                self.backoff.failed(domain, Purpose::Sample, Transfer { ended_at: now, cost }, &describe_error(&error));
            }
            // An attempt that takes long, as on a bus that hangs, is not repeated at each turn.
            self.slots[index].open_again = now + backoff_after(2, cost).max(OPEN_AGAIN);
            if cost >= QUICK {
                return;
            }
        }
    }

    /// When a bus that is not open is tried next for the sake of its sensors.
    fn open_at(&self, slot: &BusSlot) -> Duration {
        slot.open_again.max(self.backoff.allowed_from(slot.domain, Purpose::Sample))
    }

    /// Brings the buses up to date whose time has come, and says whether there was one. `has_woken`: something may have come
    /// since the last time. `busy` is called with each bus before it, and with [`Busy::Nothing`] afterwards.
    pub(super) fn refresh(&mut self, has_woken: bool, busy: impl Fn(Busy<'_>)) -> bool {
        let mut refreshed = false;
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            let Some(bus) = slot.bus.as_mut() else { continue };
            let listens = has_woken && bus.descriptor().is_some();
            // One without a time wants to be asked only when something has been built on it, or at each wake-up.
            let begun = clock::boottime();
            if !listens && slot.refresh_at.is_some_and(|at| at > begun) {
                continue;
            }
            busy(Busy::with(slot.name.as_ref()));
            let result = bus.refresh();
            busy(Busy::Nothing);
            refreshed = true;
            let now = clock::boottime();
            match result {
                Ok(pause) => slot.refresh_at = Some(pause.map_or(Duration::MAX, |pause| refresh_at(begun, now, pause))),
                Err(error) => {
                    slot.refresh_at = Some(now.saturating_add(OPEN_AGAIN));
                    let (name, domain, error) = (slot.name.clone(), slot.domain, error.into());
                    let cost = now.saturating_sub(begun);
                    self.backoff.failed(
                        domain,
                        Purpose::Output,
                        Transfer { ended_at: now, cost },
                        &describe_error(&error),
                    );
                    self.leave_if_gone(name.as_ref(), &error);
                }
            }
        }
        refreshed
    }

    /// Closes the bus when this error says that it has gone, and with it whatever sits on it or on the same wires. The
    /// machine itself cannot go; there it is one device.
    pub(super) fn leave_if_gone(&mut self, name: Option<&Name>, error: &DriverError) {
        let DriverError::Bus(gone) = error else { return };
        let Some(index) = self.slots.iter().position(|slot| slot.name.as_ref() == name) else { return };
        if !gone.is_gone() || self.slots[index].settings == bus::Settings::Host {
            return;
        }
        // The root is the first; only a chip can be lost alone.
        let from = if matches!(gone, BusError::Lost { .. }) { index } else { 0 };
        // Those that sit on others are closed first.
        for index in (from..self.slots.len()).rev() {
            if self.sits_on(index, from) {
                self.slots[index].close(error);
            }
        }
    }

    /// Records what came of a transfer to a device on this bus; `true` when a failure is the bus's own and its alarm stands for
    /// it. The machine itself has no such failures.
    pub(super) fn record_bus_outcome(&mut self, name: Option<&Name>, outcome: Result<(), &DriverError>) -> bool {
        if matches!(outcome, Err(DriverError::Bus(BusError::BackingOff { .. }))) {
            return false;
        }
        self.outcome = Some(
            outcome.map_or_else(|error| TransferOutcome::Failed(describe_error(error)), |()| TransferOutcome::Answered),
        );
        let Some(own) = self.slots.iter().position(|slot| slot.name.as_ref() == name) else { return false };
        let at_fault = outcome.err().and_then(|error| Some((self.at_fault(own, error)?, error)));
        let Some((index, error)) = at_fault else {
            for index in [own, 0] {
                let slot = &mut self.slots[index];
                if let (Some(name), Some(_)) = (&slot.name, &slot.bus) {
                    slot.trouble.answered(name, &self.context.alarms);
                }
            }
            return false;
        };
        let slot = &mut self.slots[index];
        let Some(name) = &slot.name else { return false };
        slot.trouble.failed(name, error, clock::now(), &self.context.alarms);
        true
    }

    /// The bus whose failure this is, if it is not the device's: one that is not open, or the wires that all use.
    fn at_fault(&self, own: usize, error: &DriverError) -> Option<usize> {
        let DriverError::Bus(error) = error else { return None };
        let closed = [0, own].into_iter().find(|index| self.slots[*index].bus.is_none());
        closed.or(if matches!(error, BusError::Wires { .. }) { Some(0) } else { None })
    }

    fn sits_on(&self, index: usize, below: usize) -> bool {
        index == below || self.upstream(index).is_some_and(|upstream| self.sits_on(upstream, below))
    }

    /// What has happened to the buses since the last question.
    pub(super) fn take_news(&mut self) -> Vec<(Option<Name>, News)> {
        self.slots.iter_mut().filter_map(|slot| Some((slot.name.clone(), slot.news.take()?))).collect()
    }

    /// When a bus wants to be opened or looked at.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let wants = |slot: &BusSlot| match slot.bus {
            Some(_) => slot.refresh_at.unwrap_or(Duration::ZERO),
            None => self.open_at(slot),
        };
        self.slots.iter().map(wants).min()
    }

    /// What becomes readable when a bus has something to take over.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.slots.iter().filter_map(|slot| slot.bus.as_ref()?.descriptor())
    }

    /// Publishes the newest state of a device; an older one that still waits is replaced.
    pub(super) fn publish(&mut self, subject: Subject, name: Name, event: Event) {
        self.unsent.insert((subject, name), event);
        self.flush();
    }

    /// Sends what fits and keeps the rest.
    pub(super) fn flush(&mut self) {
        while let Some((key, event)) = self.unsent.pop_first() {
            if let Err(TrySendError::Full(event)) = self.context.states.try_send(event) {
                self.unsent.insert(key, event);
                return;
            }
        }
    }
}

/// What sits on a bus is closed before it.
impl Drop for BusSlots {
    fn drop(&mut self) {
        while let Some(slot) = self.slots.pop() {
            if let Some(name) = &slot.name {
                self.context.alarms.forget(name);
            }
        }
    }
}

/// From its begin on, so that looks keep their distance; a slow one, which may have failed, from its end on.
pub(super) fn refresh_at(begun: Duration, now: Duration, pause: Duration) -> Duration {
    if now.saturating_sub(begun) < QUICK { begun.saturating_add(pause) } else { now.saturating_add(pause) }
}

impl BusSlot {
    fn new(name: Option<Name>, settings: bus::Settings, domain: DomainId) -> Self {
        Self {
            name,
            settings,
            domain,
            inputs: Vec::new(),
            bus: None,
            missed: false,
            news: None,
            open_again: Duration::ZERO,
            refresh_at: None,
            trouble: Trouble::default(),
        }
    }

    fn open(&mut self, upstream: Option<&mut (dyn Bus + 'static)>) -> Result<(), BusError> {
        if self.news == Some(News::Gone) {
            let why = "has gone, and not everybody on it knows".to_owned();
            return Err(BusError::Lost { what: "the bus".to_owned(), why });
        }
        let upstream = upstream.map(|bus| bus as &mut dyn Bus);
        let mut opened = bus::open(&self.settings, upstream, drivers::chip).inspect_err(|_| self.missed = true)?;
        opened.spare_inputs(&self.inputs);
        if std::mem::take(&mut self.missed) {
            info!(bus = self.name.as_ref().map(display), description = %opened.describe(), "Bus opened.");
            self.news = Some(News::Opened);
        }
        self.bus = Some(opened);
        self.refresh_at = None;
        Ok(())
    }

    fn close(&mut self, error: &DriverError) {
        let Some(bus) = self.bus.take() else { return };
        let (name, error) = (self.name.as_ref().map(display), describe_error(error));
        warn!(bus = name, description = %bus.describe(), %error, "The bus has gone; it is opened again as soon as it is back.");
        self.missed = true;
        self.news = Some(News::Gone);
    }
}
