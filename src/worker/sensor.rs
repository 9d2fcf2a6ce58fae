//! The life of one sensor on its bus: built, sampled, failing, built again.

mod status;
mod total;

use std::borrow::Cow;
use std::mem;
use std::os::fd::BorrowedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::worker::backoff::{DomainId, FailureDomain, Purpose};
use crate::worker::bus_slots::BusSlots;
use crate::worker::keeping_up::KeepingUp;
use crate::worker::schedule::Schedule;
use crate::worker::{Event, SensorSettings, Tally};
use fieldgate_clock as clock;
use fieldgate_drivers::{self as drivers, DriverError, Role, Sensor};
use fieldgate_filters::{Report, SensorFilters};
use fieldgate_model::{Loss, Measurement, Moment, Reading, Reason, Refusal, SensorStatus, Value, describe_error};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;

pub use total::TotalSet;

/// So many may wait for one sample.
const ASKED_AT_ONCE: usize = 16;

/// How an event-driven sensor is asked for what it noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hears {
    /// It has nothing to say but when it is sampled.
    Nothing,
    /// When its descriptor is readable.
    ByDescriptor,
    /// After its bus was brought up to date.
    ByBus,
}

/// One sensor and all that is known of it.
pub(super) struct SensorSlot {
    pub(super) settings: SensorSettings,
    pub(super) tally: Arc<Tally>,
    pub(super) schedule: Schedule,
    /// Its number on this thread, and where it sits; both as of the last plan.
    pub(super) index: usize,
    pub(super) domain: DomainId,
    /// What its last sampling took.
    pub(super) cost: Duration,
    filters: SensorFilters,
    report: Option<Report>,
    keeping_up: KeepingUp,
    hears: Hears,
    /// Whether what it is listened to by has changed.
    hearing_changed: bool,
    device: Option<Box<dyn Sensor>>,
    /// Whether it is one that counts, and the count that was last passed on to the spool.
    counts: bool,
    reported_count: Option<u64>,
    status: SensorStatus,
    /// Whether the first sampling has reported its status.
    status_reported: bool,
    failures: u32,
    last_logged: Option<Duration>,
    /// Whether the log knows of the failures in a row.
    complained: bool,
    /// What the last sample had to leave out, and how that is said.
    left_out: Option<(Vec<Cow<'static, str>>, String)>,
    /// What the status says is left out.
    reported_left_out: Vec<Cow<'static, str>>,
    /// Who waits for the next sample.
    asked: Vec<oneshot::Sender<Result<Vec<Measurement>, Refusal>>>,
    /// Readings that the channel had no room for, until their loss can be reported.
    lost: Option<Loss>,
}

impl SensorSlot {
    pub(super) fn new(settings: SensorSettings, tally: Arc<Tally>, domain: DomainId, now: Duration) -> Self {
        let schedule = Schedule::new(now, settings.every);
        Self {
            filters: SensorFilters::new(&settings.filters, &settings.measured()),
            report: settings.report.as_ref().map(|report| Report::new(report.clone(), &settings.filtered())),
            settings,
            tally,
            schedule,
            index: 0,
            domain,
            cost: Duration::MAX,
            keeping_up: KeepingUp::default(),
            hears: Hears::Nothing,
            hearing_changed: false,
            device: None,
            counts: false,
            reported_count: None,
            status: SensorStatus::Ok,
            status_reported: false,
            failures: 0,
            last_logged: None,
            complained: false,
            left_out: None,
            reported_left_out: Vec::new(),
            asked: Vec::new(),
            lost: None,
        }
    }

    /// Goes on under `settings`; a device that is still the same is kept as it is, and so is what its filters remember where
    /// they are the same.
    pub(super) fn resume(&mut self, settings: SensorSettings, now: Duration) {
        if !self.settings.same_device(&settings) {
            self.drop_device();
            self.schedule = Schedule::new(now, settings.every);
            self.keeping_up = KeepingUp::default();
            self.restart_filters();
        } else if self.settings.every != settings.every {
            // The device goes on: one that warms up, or counts, need not begin again for a new interval.
            self.schedule = Schedule::new(now, settings.every);
            self.keeping_up = KeepingUp::default();
        }
        self.filters.resume(&settings.filters, &settings.measured());
        let filtered = settings.filtered();
        let goes_on = |report: &Report| settings.report.as_ref().is_some_and(|new| report.is_for(new, &filtered));
        if !self.report.as_ref().is_some_and(goes_on) {
            self.report = settings.report.as_ref().map(|report| Report::new(report.clone(), &filtered));
        }
        self.settings = settings;
    }

    /// What samples said so far says nothing of those to come.
    fn restart_filters(&mut self) {
        self.filters.restart();
        if let Some(report) = &mut self.report {
            report.restart();
        }
    }

    /// What a sensor with these settings fails together with: its chip, or its whole bus.
    pub(super) fn domain_of(settings: &SensorSettings) -> FailureDomain {
        FailureDomain::of(settings.bus.as_ref(), &(settings.driver.claims)(&settings.settings), &settings.name)
    }

    /// By when it is sampled next, for the order of those that are due; one that fails waits for its bus.
    pub(super) fn due(&self, buses: &BusSlots) -> (Duration, Duration) {
        // What is sampled regularly is looked at again soon enough; one that waits for events may have none for long.
        let postponed = self.report.as_ref().filter(|_| self.hears != Hears::Nothing).and_then(Report::postponed_until);
        let next = postponed.map_or(self.schedule.next(), |until| until.min(self.schedule.next()));
        (next.max(buses.backoff.allowed_from(self.domain, Purpose::Sample)), next)
    }

    /// When it is to be asked for events although nothing is heard of it.
    pub(super) fn events_due(&self) -> Duration {
        let due_in = self.device.as_ref().and_then(|device| device.due_in());
        due_in.map_or(Duration::MAX, |due_in| clock::boottime().saturating_add(due_in))
    }

    pub(super) fn hears(&self) -> Hears {
        self.hears
    }

    /// Whether what it is listened to by has changed since the last question.
    pub(super) fn take_hearing_changed(&mut self) -> bool {
        mem::take(&mut self.hearing_changed)
    }

    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.device.as_ref()?.descriptor()
    }

    /// Reports its status at the next sampling even if that has not changed: somebody else has reported another one meanwhile.
    pub(super) fn report_status_again(&mut self) {
        self.status_reported = false;
    }

    /// The device is given up: its bus has gone, or its place in the configuration.
    pub(super) fn drop_device(&mut self) {
        self.device = None;
        self.hearing_changed |= mem::replace(&mut self.hears, Hears::Nothing) != Hears::Nothing;
    }

    /// A bus that was missing is there: a device that waits for it is due at once.
    pub(super) fn hurry(&mut self) {
        if self.device.is_none() {
            self.schedule.hurry(clock::boottime());
        }
    }

    /// Is due at once, for somebody who waits for the sample. More than a few do not wait: they see the closed channel.
    pub(super) fn ask(&mut self, answer: oneshot::Sender<Result<Vec<Measurement>, Refusal>>, now: Duration) {
        self.asked.retain(|asked| !asked.is_closed());
        if self.asked.len() < ASKED_AT_ONCE {
            self.asked.push(answer);
            self.schedule.hurry(now);
        }
    }

    /// Builds the device if it is not there. Also called before a sampling is due: an event-driven sensor must listen
    /// from the start.
    fn device(&mut self, buses: &mut BusSlots) -> Result<&mut Box<dyn Sensor>, DriverError> {
        if self.device.is_none() {
            let bus = buses.bus(self.settings.bus.as_ref())?;
            let spec = self.settings.driver;
            let Role::Sensor { build, .. } = &spec.role else {
                unreachable!("the configuration puts only sensors under sensors")
            };
            bus.expect(spec.name, &(spec.claims)(&self.settings.settings));
            let mut device = guarded(|| build(bus, &self.settings.settings))?;
            self.counts = device.count_into(&self.tally.count);
            self.hears = match device.descriptor() {
                Some(_) => Hears::ByDescriptor,
                None if device.is_event_driven() => Hears::ByBus,
                None => Hears::Nothing,
            };
            self.hearing_changed |= self.hears != Hears::Nothing;
            self.device = Some(device);
        }
        if self.counts {
            self.resume_count(buses);
        }
        Ok(self.device.as_mut().expect("was just built"))
    }

    /// Says where the run before left off, as soon as that is known: a file may be opened late.
    fn resume_count(&self, buses: &BusSlots) {
        if self.tally.count.total().is_none()
            && let Some(counts) = buses.context.persisted_counts.borrow().as_ref()
        {
            self.tally.count.resume(counts.get(&self.settings.name).copied().unwrap_or(0));
        }
    }

    /// What it has counted, if it is one that counts.
    fn count(&self) -> Option<u64> {
        if self.counts { self.tally.count.total() } else { None }
    }

    /// At the end: reports what was counted since the last reading; `false` when the channel has no room for it now.
    pub(super) fn report_count(&mut self, buses: &BusSlots) -> bool {
        let Some(count) = self.count().filter(|count| self.reported_count != Some(*count)) else { return true };
        let event = Event::Count { sensor: self.settings.name.clone(), count };
        let is_reported = !matches!(buses.context.events.try_send(event), Err(TrySendError::Full(_)));
        if is_reported {
            self.reported_count = Some(count);
        }
        is_reported
    }

    /// Takes one sample, which is due and for which so many ticks were missed, and puts it into the outbox. Returns the moment
    /// at which it was taken.
    pub(super) fn sample(&mut self, missed: u64, begun: Duration, buses: &mut BusSlots) -> Duration {
        self.tally.skipped.fetch_add(missed, Ordering::Relaxed);
        if self.failures == 0 {
            self.keeping_up.sampled(missed);
        } else {
            self.keeping_up.begin_again();
        }
        let result = self.device(buses).and_then(|device| guarded(|| device.sample()));
        let result = self.good_part(result).and_then(finite);
        let taken_at = clock::now();
        self.cost = taken_at.boot.saturating_sub(begun);
        match result {
            Ok(measurements) => {
                self.publish_sample(taken_at, measurements, buses);
                self.succeeded(taken_at, buses);
            }
            Err(error) => self.sample_failed(error, taken_at, self.cost, buses),
        }
        taken_at.boot
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

    /// Puts what an event-driven sensor noticed into the outbox.
    pub(super) fn take_events(&mut self, buses: &mut BusSlots) {
        let Some(device) = self.device.as_mut() else { return };
        let begun = clock::boottime();
        let result = guarded(|| device.take_events());
        match result {
            Ok(none) if none.is_empty() => {}
            result => {
                let now = clock::now();
                let result = match result {
                    Err(DriverError::Partly(partly)) => {
                        let whole = self.good_part(Err(DriverError::Partly(partly)));
                        whole.map(|measurements| vec![drivers::Event { at: None, measurements }])
                    }
                    whole => whole,
                };
                match result.and_then(|all| all.into_iter().map(finite_event).collect::<Result<Vec<_>, _>>()) {
                    Ok(all) => {
                        for event in all {
                            self.publish_sample(clock::at_monotonic(event.at, now), event.measurements, buses);
                        }
                        self.succeeded(now, buses);
                    }
                    Err(error) => self.sample_failed(error, now, now.boot.saturating_sub(begun), buses),
                }
            }
        }
    }

    /// Reports that it has nothing yet or failed; `cost` is how long the bus was busy with it.
    fn sample_failed(&mut self, error: DriverError, now: Moment, cost: Duration, buses: &mut BusSlots) {
        for asked in self.asked.drain(..) {
            // The requester may have stopped waiting.
            asked.send(Err(Refusal::new(Reason::Hardware, describe_error(&error)))).ok();
        }
        match error {
            DriverError::TooEarly(_) => self.too_early(&error, now, buses),
            error => self.failed(&error, now, cost, buses),
        }
    }

    /// Filters a sample. If it becomes a reading, it is numbered and put into the outbox.
    fn publish_sample(&mut self, taken_at: Moment, mut measurements: Vec<Measurement>, buses: &mut BusSlots) {
        self.tally.samples.fetch_add(1, Ordering::Relaxed);
        self.tally.filtered.fetch_add(self.filters.apply(&mut measurements), Ordering::Relaxed);
        for asked in self.asked.drain(..) {
            // The requester may have stopped waiting.
            asked.send(Ok(measurements.clone())).ok();
        }
        buses.context.signals.sampled(&self.settings.name, taken_at.boot, &measurements);
        let (is_reading, samples) = match &mut self.report {
            Some(report) => report.take(taken_at.boot, &mut measurements),
            None => (!measurements.is_empty(), None),
        };
        if !is_reading {
            return self.queue_count(buses);
        }
        let seq = self.tally.taken.fetch_add(1, Ordering::Relaxed) + 1;
        let reading = Reading {
            sensor: self.settings.name.clone(),
            run: buses.context.run,
            seq,
            taken_at,
            measurements,
            samples,
        };
        let count = self.count();
        // Retained, it would happen again to everybody who subscribes later.
        let happens = || reading.measurements.iter().any(|measurement| matches!(measurement.value, Value::Word(_)));
        let retain = self.settings.retain && !happens();
        let event = Event::Reading { reading, qos: self.settings.qos, retain, count };
        buses.outbox.push_back((self.index, event));
    }

    /// What was counted is kept although no reading says so; behind the readings of before, which say less.
    fn queue_count(&mut self, buses: &mut BusSlots) {
        if let Some(count) = self.count().filter(|count| self.reported_count != Some(*count)) {
            buses.outbox.push_back((self.index, Event::Count { sensor: self.settings.name.clone(), count }));
        }
    }

    /// Sends a reading to the recorder, the oldest of this sensor in the outbox; without room it becomes part of a loss record.
    pub(super) fn send(&mut self, event: Event, buses: &BusSlots) {
        self.report_lost(buses);
        let count = match &event {
            Event::Reading { count, .. } => *count,
            Event::Count { count, .. } => Some(*count),
            _ => None,
        };
        match buses.context.events.try_send(event) {
            Err(TrySendError::Full(Event::Reading { reading, .. })) => self.count_lost(reading),
            // It is sent again with the next sample.
            Err(TrySendError::Full(_)) => {}
            _ => self.reported_count = count,
        }
    }

    fn count_lost(&mut self, reading: Reading) {
        match &mut self.lost {
            Some(loss) => {
                loss.to_seq = reading.seq;
                loss.count += 1;
            }
            lost => {
                *lost = Some(Loss {
                    sensor: reading.sensor,
                    run: reading.run,
                    from_seq: reading.seq,
                    to_seq: reading.seq,
                    count: 1,
                    reason: "the spool did not keep up".into(),
                });
            }
        }
    }

    /// Reports what was lost as soon as there is room, before the next reading.
    pub(super) fn report_lost(&mut self, buses: &BusSlots) {
        if let Some(loss) = self.lost.take()
            && let Err(TrySendError::Full(Event::Lost(loss))) = buses.context.events.try_send(Event::Lost(loss))
        {
            self.lost = Some(loss);
        }
    }

    /// How many readings were lost and not reported yet.
    pub(super) fn unreported(&self) -> u64 {
        self.lost.as_ref().map_or(0, |loss| loss.count)
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
fn finite(measurements: Vec<Measurement>) -> Result<Vec<Measurement>, DriverError> {
    for measurement in &measurements {
        if let Value::Number { value, .. } = measurement.value
            && !value.is_finite()
        {
            return Err(DriverError::NotFinite { quantity: measurement.name.to_string() });
        }
    }
    Ok(measurements)
}

fn finite_event(event: drivers::Event) -> Result<drivers::Event, DriverError> {
    Ok(drivers::Event { at: event.at, measurements: finite(event.measurements)? })
}
