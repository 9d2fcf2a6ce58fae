//! The life of one sensor on its bus: built, sampled, failing, built anew.

use std::borrow::Cow;
use std::os::fd::BorrowedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc::error::TrySendError;
use tracing::{info, warn};

use crate::clock;
use crate::drivers::{self, BusNeed, DriverError, Role, Sensor};
use crate::model::{Loss, Measurement, Moment, Reading, SensorStatus, Value};
use crate::worker::schedule::{Schedule, rest_after, retry_after};
use crate::worker::site::{Sites, Subject};
use crate::worker::{Event, SensorSettings, Tally};

/// So many failures in a row and a sensor is down instead of degraded.
const DOWN_AFTER: u32 = 3;

/// A sensor that keeps failing is logged at most this often.
pub(super) const LOG_AGAIN: Duration = Duration::from_secs(60);

/// One sensor and all that is known of it.
pub(super) struct SensorSlot {
    pub(super) settings: SensorSettings,
    pub(super) tally: Arc<Tally>,
    pub(super) schedule: Schedule,
    device: Option<Box<dyn Sensor>>,
    /// Whether it is one that counts, and what the spool was last told of it.
    counts: bool,
    told_count: Option<u64>,
    status: SensorStatus,
    /// Whether the first sampling has told how it fares.
    told: bool,
    failures: u32,
    last_logged: Option<Duration>,
    /// Whether the log knows of the failures in a row.
    complained: bool,
    /// What the last sample had to leave out, and how that is said.
    left_out: Option<(Vec<Cow<'static, str>>, String)>,
    /// What the status says is left out.
    told_left_out: Vec<Cow<'static, str>>,
    /// Readings that the channel had no room for, until that can be told.
    lost: Option<Loss>,
}

impl SensorSlot {
    pub(super) fn new(settings: SensorSettings, tally: Arc<Tally>, now: Duration) -> Self {
        let schedule = Schedule::new(now, settings.every);
        Self {
            settings,
            tally,
            schedule,
            device: None,
            counts: false,
            told_count: None,
            status: SensorStatus::Ok,
            told: false,
            failures: 0,
            last_logged: None,
            complained: false,
            left_out: None,
            told_left_out: Vec::new(),
            lost: None,
        }
    }

    /// Goes on under `settings`; a device that is still the same is kept as it is.
    pub(super) fn resume(&mut self, settings: SensorSettings, now: Duration) {
        if !self.settings.same_device(&settings) {
            self.device = None;
            self.schedule = Schedule::new(now, settings.every);
        }
        self.settings = settings;
    }

    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.device.as_ref()?.descriptor()
    }

    /// Tells how it fares at the next sampling even if that has not changed: somebody else has told otherwise meanwhile.
    pub(super) fn tell_again(&mut self) {
        self.told = false;
    }

    /// The bus it was built on has gone.
    pub(super) fn let_go(&mut self) {
        self.device = None;
    }

    /// A bus that was missing is there: a device that waits for it is due at once.
    pub(super) fn hurry(&mut self) {
        if self.device.is_none() {
            self.schedule.hurry(clock::boottime());
        }
    }

    /// Builds the device if it is not there. Also called before a sampling is due: an event-driven sensor must listen
    /// from the start.
    fn device(&mut self, sites: &mut Sites) -> Result<&mut Box<dyn Sensor>, DriverError> {
        if self.device.is_none() {
            let bus = sites.bus(self.settings.bus.as_ref())?;
            let spec = self.settings.driver;
            let Role::Sensor { build, .. } = &spec.role else {
                unreachable!("the configuration puts only sensors under sensors")
            };
            bus.expect(spec.name, &(spec.claims)(&self.settings.settings));
            let mut device = guarded(|| build(bus, &self.settings.settings))?;
            self.counts = device.count_into(&self.tally.count);
            self.device = Some(device);
        }
        self.go_on_counting(sites);
        Ok(self.device.as_mut().expect("was just built"))
    }

    /// Says where the run before left off, as soon as that is known: a file may be opened late.
    fn go_on_counting(&self, sites: &Sites) {
        if self.counts
            && self.tally.count.total().is_none()
            && let Some(kept) = sites.context.kept.borrow().as_ref()
        {
            self.tally.count.resume(kept.get(&self.settings.name).copied().unwrap_or(0));
        }
    }

    /// What it has counted, if it is one that counts.
    fn count(&self) -> Option<u64> {
        if self.counts { self.tally.count.total() } else { None }
    }

    /// Tells what came since the last reading, at the end; `false` when there is no room for it now.
    pub(super) fn tell_count(&mut self, sites: &Sites) -> bool {
        let Some(count) = self.count().filter(|count| self.told_count != Some(*count)) else { return true };
        let event = Event::Count { sensor: self.settings.name.clone(), count };
        let is_told = !matches!(sites.context.events.try_send(event), Err(TrySendError::Full(_)));
        if is_told {
            self.told_count = Some(count);
        }
        is_told
    }

    /// Takes one sample, which is due, and hands it on.
    pub(super) fn sample(&mut self, sites: &mut Sites) {
        let begun = clock::boottime();
        let result = self.device(sites).and_then(|device| guarded(|| device.sample()));
        let result = self.good_part(result);
        let taken_at = clock::now();
        let cost = taken_at.boot.saturating_sub(begun);
        self.settle(result.map(|measurements| vec![(taken_at, measurements)]), (taken_at, cost), sites);
    }

    /// The good channels of a sample, noting those that had to be left out.
    fn good_part(&mut self, result: Result<Vec<Measurement>, DriverError>) -> Result<Vec<Measurement>, DriverError> {
        match result {
            Err(DriverError::Partly(partly)) => {
                self.left_out = Some((partly.names(), partly.to_string()));
                Ok(partly.measured)
            }
            whole => whole,
        }
    }

    /// Hands on what an event-driven sensor noticed.
    pub(super) fn take_events(&mut self, sites: &mut Sites) {
        let Some(device) = self.device.as_mut() else { return };
        let result = guarded(|| device.take_events());
        let now = clock::now();
        let stamped = result.map(|events| {
            events.into_iter().map(|event| (clock::at_monotonic(event.at, now), event.measurements)).collect()
        });
        match stamped {
            Ok(none) if Vec::is_empty(&none) => {}
            result => self.settle(result, (now, Duration::ZERO), sites),
        }
    }

    /// Hands on what came, or notes that it failed; `cost` is how long the bus was busy with it.
    fn settle(
        &mut self,
        result: Result<Vec<(Moment, Vec<Measurement>)>, DriverError>,
        (now, cost): (Moment, Duration),
        sites: &mut Sites,
    ) {
        match result.and_then(|all| all.into_iter().map(finite).collect::<Result<Vec<_>, _>>()) {
            Ok(all) => {
                for (taken_at, measurements) in all {
                    self.offer(taken_at, measurements, sites);
                }
                self.succeeded(now, sites);
            }
            Err(DriverError::TooEarly(what)) => self.too_early(DriverError::TooEarly(what), now, sites),
            Err(error) => self.failed(&error, (now, cost), sites),
        }
    }

    /// Numbers the reading and offers it; without room it becomes part of a loss record.
    fn offer(&mut self, taken_at: Moment, measurements: Vec<Measurement>, sites: &Sites) {
        self.tell_lost(sites);
        let seq = self.tally.taken.fetch_add(1, Ordering::Relaxed) + 1;
        let reading =
            Reading { sensor: self.settings.name.clone(), run: sites.context.run, seq, taken_at, measurements };
        let count = self.count();
        let event = Event::Reading { reading, qos: self.settings.qos, retain: self.settings.retain, count };
        if let Err(TrySendError::Full(_)) = sites.context.events.try_send(event) {
            match &mut self.lost {
                Some(loss) => {
                    loss.to_seq = seq;
                    loss.count += 1;
                }
                lost => {
                    *lost = Some(Loss {
                        sensor: self.settings.name.clone(),
                        run: sites.context.run,
                        from_seq: seq,
                        to_seq: seq,
                        count: 1,
                        reason: "the spool did not keep up".into(),
                    });
                }
            }
        } else {
            self.told_count = count;
        }
    }

    /// Tells what was lost as soon as there is room, before the next reading.
    pub(super) fn tell_lost(&mut self, sites: &Sites) {
        if let Some(loss) = self.lost.take()
            && let Err(TrySendError::Full(Event::Lost(loss))) = sites.context.events.try_send(Event::Lost(loss))
        {
            self.lost = Some(loss);
        }
    }

    /// How many readings were lost and not told yet.
    pub(super) fn untold(&self) -> u64 {
        self.lost.as_ref().map_or(0, |loss| loss.count)
    }

    fn succeeded(&mut self, now: Moment, sites: &mut Sites) {
        self.answered(sites);
        match self.left_out.take() {
            None => {
                self.told_left_out.clear();
                self.note(SensorStatus::Ok, None, now.wall, sites);
            }
            Some((names, words)) => {
                // The value of an input beyond its range changes each time; which inputs these are does not.
                if self.told_left_out != names {
                    warn!(sensor = %self.settings.name, error = %words, "Part of the reading was left out; the rest is published.");
                    (self.told_left_out, self.told) = (names, false);
                }
                self.note(SensorStatus::Degraded, Some(words), now.wall, sites);
            }
        }
    }

    /// A device that has nothing to tell yet is kept: built anew it would begin to warm up again, for ever. One that has told
    /// something before goes on being well between two results.
    fn too_early(&mut self, error: DriverError, now: Moment, sites: &mut Sites) {
        self.answered(sites);
        self.tally.skipped.fetch_add(1, Ordering::Relaxed);
        if !self.told || self.status != SensorStatus::Ok {
            self.note(SensorStatus::Degraded, Some(drivers::words(&error)), now.wall, sites);
        }
    }

    fn answered(&mut self, sites: &mut Sites) {
        // A driver that needs no bus says nothing about the one that it was given.
        if self.settings.driver.bus != BusNeed::None {
            sites.note(self.settings.bus.as_ref(), Ok(()));
        }
        // One that comes and goes is logged no more often than one that stays away.
        if std::mem::take(&mut self.complained) {
            info!(sensor = %self.settings.name, failures = self.failures, "Sensor answers again.");
        }
        self.failures = 0;
    }

    fn failed(&mut self, error: &DriverError, (now, cost): (Moment, Duration), sites: &mut Sites) {
        self.failures = self.failures.saturating_add(1);
        self.told_left_out.clear();
        self.tally.failed.fetch_add(1, Ordering::Relaxed);
        let status = if self.failures >= DOWN_AFTER { SensorStatus::Down } else { SensorStatus::Degraded };
        // A device that keeps failing may have been unplugged and come back with its power-on registers.
        if !error.is_transient() || status == SensorStatus::Down {
            self.device = None;
        }
        sites.leave_if_gone(self.settings.bus.as_ref(), error);
        let pause = match error {
            DriverError::Panicked(_) => retry_after(self.failures),
            _ => rest_after(self.failures, cost),
        };
        let words = drivers::words(error);
        let is_of_the_bus = sites.note(self.settings.bus.as_ref(), Err(error));
        if !is_of_the_bus && self.last_logged.is_none_or(|last| now.boot >= last.saturating_add(LOG_AGAIN)) {
            (self.last_logged, self.complained) = (Some(now.boot), true);
            let again_in = pause.max(self.settings.every);
            warn!(sensor = %self.settings.name, error = %words, failures = self.failures, ?again_in, "Sensor failed; will try again.");
        }
        self.note(status, Some(words), now.wall, sites);
        let skipped = self.schedule.pause(now.boot, pause);
        self.tally.skipped.fetch_add(skipped, Ordering::Relaxed);
    }

    /// Tells how the sensor fares when that has changed.
    fn note(&mut self, status: SensorStatus, error: Option<String>, since: SystemTime, sites: &mut Sites) {
        // While the bus hung, somebody else may have noted that the sensor is down.
        if self.told && self.status == status && self.tally.status() == status {
            return;
        }
        (self.status, self.told) = (status, true);
        self.tally.set_status(status);
        let sensor = self.settings.name.clone();
        sites.tell(Subject::Sensor, sensor.clone(), Event::Status { sensor, status, since, error });
    }
}

/// Runs a driver; a panic in it is an error like any other, and the other devices go on.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, DriverError>) -> Result<T, DriverError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let words = panic
            .downcast_ref::<&str>()
            .map(|text| Cow::Borrowed(*text))
            .or_else(|| panic.downcast_ref::<String>().map(|text| Cow::Owned(text.clone())))
            .unwrap_or(Cow::Borrowed("no message"));
        Err(DriverError::Panicked(words.into_owned()))
    })
}

/// Refuses what is not a finite number: it must never be published as one.
fn finite(stamped: (Moment, Vec<Measurement>)) -> Result<(Moment, Vec<Measurement>), DriverError> {
    for measurement in &stamped.1 {
        if let Value::Number { value, .. } = measurement.value
            && !value.is_finite()
        {
            return Err(DriverError::NotFinite { quantity: measurement.name.to_string() });
        }
    }
    Ok(stamped)
}
