//! What the devices of one thread share: its buses and the way out.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tracing::{info, warn};

use crate::bus::{self, Bus, BusError};
use crate::clock;
use crate::drivers::{self, DriverError};
use crate::model::Name;
use crate::worker::schedule::rest_after;
use crate::worker::trouble::Trouble;
use crate::worker::{Context, Event, Progress};

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
    /// It was missing and is there: whoever failed may try again at once.
    Opened,
    /// It has gone: whatever was built on it must be let go.
    Gone,
}

/// One bus of the thread.
struct Site {
    /// `None` for the machine itself.
    name: Option<Name>,
    settings: bus::Settings,
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

/// The buses of a thread and the way out. A bus comes after the one that it sits on.
pub(super) struct Sites {
    sites: Vec<Site>,
    pub(super) context: Context,
    /// What the thread is doing, so that a bus that hangs is reported with a name.
    pub(super) progress: Arc<Progress>,
    /// States and statuses that their channel had no room for: the newest of each device, so it cannot grow.
    pub(super) unsent: BTreeMap<(Subject, Name), Event>,
}

impl Sites {
    pub(super) fn new(context: Context, progress: Arc<Progress>) -> Self {
        Self { sites: Vec::new(), context, progress, unsent: BTreeMap::new() }
    }

    /// Goes on with these buses, each with its inputs; those that are as before stay open.
    pub(super) fn adopt(&mut self, buses: Vec<(Option<Name>, bus::Settings, Vec<String>)>) {
        let mut old = std::mem::take(&mut self.sites);
        for (name, settings, inputs) in buses {
            let same = |site: &Site| site.name == name && site.settings == settings;
            let mut site = match old.iter().position(same) {
                Some(index) => old.swap_remove(index),
                None => Site::new(name, settings),
            };
            if let Some(bus) = site.bus.as_mut() {
                bus.spare_inputs(&inputs);
            }
            site.inputs = inputs;
            self.sites.push(site);
        }
        let abandoned = old.iter().filter_map(|site| site.name.as_ref());
        abandoned.filter(|name| !self.sites.iter().any(|site| site.name.as_ref() == Some(*name))).for_each(|name| {
            self.context.alarms.forget(name);
        });
    }

    /// Whether the bus of that name is there with these settings.
    pub(super) fn has(&self, name: Option<&Name>, settings: &bus::Settings) -> bool {
        self.sites.iter().any(|site| site.name.as_ref() == name && site.settings == *settings)
    }

    /// The bus, opened if it is not: an attempt costs little, and only so is it found as soon as it is there.
    pub(super) fn bus(&mut self, name: Option<&Name>) -> Result<&mut dyn Bus, DriverError> {
        let index = self.sites.iter().position(|site| site.name.as_ref() == name);
        let site = self.opened(index.expect("a plan has every bus that its devices name"))?;
        // What is built now may want to be looked at sooner.
        site.refresh_at = None;
        Ok(site.bus.as_mut().expect("it was opened above").as_mut())
    }

    fn opened(&mut self, index: usize) -> Result<&mut Site, BusError> {
        if self.sites[index].bus.is_none() {
            let upstream = self.upstream(index);
            if let Some(upstream) = upstream {
                self.opened(upstream).map(drop)?;
            }
            let (below, own) = self.sites.split_at_mut(index);
            let upstream = upstream.and_then(|upstream| below.get_mut(upstream)?.bus.as_deref_mut());
            own[0].open(upstream)?;
        }
        Ok(&mut self.sites[index])
    }

    /// The bus that this one sits on, which comes before it.
    fn upstream(&self, index: usize) -> Option<usize> {
        let on = &self.sites[index].settings.on()?.settings;
        self.sites[..index].iter().position(|site| site.settings == *on)
    }

    /// Opens what is not open. Why that fails, the devices tell that need it.
    pub(super) fn open_all(&mut self) {
        for index in 0..self.sites.len() {
            let now = clock::boottime();
            if self.sites[index].bus.is_none() && self.sites[index].open_again <= now {
                self.opened(index).ok();
                // What costs time, as on a bus that hangs, is not done all the time.
                let rest = rest_after(2, clock::boottime().saturating_sub(now));
                self.sites[index].open_again = clock::boottime() + rest.max(OPEN_AGAIN);
            }
        }
    }

    /// Brings the buses up to date whose time has come. `busy` is told before each.
    pub(super) fn refresh(&mut self, busy: impl Fn(Option<&Name>)) {
        for index in 0..self.sites.len() {
            let now = clock::boottime();
            let site = &mut self.sites[index];
            let Some(bus) = site.bus.as_mut() else { continue };
            if bus.descriptor().is_none() && site.refresh_at.is_some_and(|at| at > now) {
                continue;
            }
            busy(site.name.as_ref());
            match bus.refresh() {
                Ok(pause) => site.refresh_at = pause.map(|pause| now + pause),
                Err(error) => {
                    let name = site.name.clone();
                    self.leave_if_gone(name.as_ref(), &error.into());
                }
            }
        }
    }

    /// Closes the bus when this error says that it has gone, and with it whatever sits on it or on the same wires. The
    /// machine itself cannot go; there it is one device.
    pub(super) fn leave_if_gone(&mut self, name: Option<&Name>, error: &DriverError) {
        let DriverError::Bus(gone) = error else { return };
        let Some(index) = self.sites.iter().position(|site| site.name.as_ref() == name) else { return };
        if !gone.is_gone() || self.sites[index].settings == bus::Settings::Host {
            return;
        }
        // The root is the first; only a chip can be lost alone.
        let from = if matches!(gone, BusError::Lost { .. }) { index } else { 0 };
        // Those that sit on others are closed first.
        for index in (from..self.sites.len()).rev() {
            if self.sits_on(index, from) {
                self.sites[index].close(error);
            }
        }
    }

    /// Notes what became of talking to a device on this bus; `true` when a failure is the bus's own and its alarm stands for
    /// it. The machine itself has no such failures.
    pub(super) fn note(&mut self, name: Option<&Name>, outcome: Result<(), &DriverError>) -> bool {
        let Some(own) = self.sites.iter().position(|site| site.name.as_ref() == name) else { return false };
        let at_fault = outcome.err().and_then(|error| Some((self.at_fault(own, error)?, error)));
        let Some((index, error)) = at_fault else {
            for index in [own, 0] {
                let site = &mut self.sites[index];
                if let (Some(name), Some(_)) = (&site.name, &site.bus) {
                    site.trouble.answered(name, &self.context.alarms);
                }
            }
            return false;
        };
        let site = &mut self.sites[index];
        let Some(name) = &site.name else { return false };
        site.trouble.failed(name, error, clock::now(), &self.context.alarms);
        true
    }

    /// The bus whose failure this is, if it is not the device's: one that is not open, or the wires that all use.
    fn at_fault(&self, own: usize, error: &DriverError) -> Option<usize> {
        let DriverError::Bus(error) = error else { return None };
        let closed = [0, own].into_iter().find(|index| self.sites[*index].bus.is_none());
        closed.or(if matches!(error, BusError::Wires { .. }) { Some(0) } else { None })
    }

    fn sits_on(&self, index: usize, below: usize) -> bool {
        index == below || self.upstream(index).is_some_and(|upstream| self.sits_on(upstream, below))
    }

    /// What has happened to the buses since the last question.
    pub(super) fn take_news(&mut self) -> Vec<(Option<Name>, News)> {
        self.sites.iter_mut().filter_map(|site| Some((site.name.clone(), site.news.take()?))).collect()
    }

    /// When a bus wants to be opened or looked at.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let wants = |site: &Site| if site.bus.is_some() { site.refresh_at } else { Some(site.open_again) };
        self.sites.iter().filter_map(wants).min()
    }

    /// What becomes readable when a bus has something to take over.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sites.iter().filter_map(|site| site.bus.as_ref()?.descriptor())
    }

    /// Tells the newest state of a device; an older one that still waits is replaced.
    pub(super) fn tell(&mut self, subject: Subject, name: Name, event: Event) {
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
impl Drop for Sites {
    fn drop(&mut self) {
        while let Some(site) = self.sites.pop() {
            if let Some(name) = &site.name {
                self.context.alarms.forget(name);
            }
        }
    }
}

impl Site {
    fn new(name: Option<Name>, settings: bus::Settings) -> Self {
        Self {
            name,
            settings,
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
        let mut opened = bus::open(&self.settings, upstream).inspect_err(|_| self.missed = true)?;
        opened.spare_inputs(&self.inputs);
        if std::mem::take(&mut self.missed) {
            info!(bus = %opened.describe(), "Bus opened.");
            self.news = Some(News::Opened);
        }
        self.bus = Some(opened);
        self.refresh_at = None;
        Ok(())
    }

    fn close(&mut self, error: &DriverError) {
        let Some(bus) = self.bus.take() else { return };
        warn!(bus = %bus.describe(), error = %drivers::words(error), "The bus has gone; it is opened anew as soon as it is back.");
        self.missed = true;
        self.news = Some(News::Gone);
    }
}
