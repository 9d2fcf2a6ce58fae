//! What a sampling says of its sensor: it answers, part of the reading was left out, the bus is too slow, it failed, it is down.

use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use tracing::{info, warn};

use super::SensorSlot;
use crate::worker::Event;
use crate::worker::backoff::{Purpose, Transfer};
use crate::worker::bus_slots::{BusSlots, Subject};
use crate::worker::keeping_up::Figures;
use crate::worker::schedule::retry_after;
use crate::worker::trouble::LOG_AGAIN;
use fieldgate_drivers::{BusNeed, DriverError};
use fieldgate_model::field::format_duration;
use fieldgate_model::{Moment, SensorStatus, describe_error};

/// So many failures in a row and a sensor is down instead of degraded.
const DOWN_AFTER: u32 = 3;

impl SensorSlot {
    pub(super) fn succeeded(&mut self, now: Moment, buses: &mut BusSlots) {
        self.answered(buses);
        self.add_filtered_out();
        let Some((names, words)) = self.left_out.take() else { return self.all_measured(now, buses) };
        // The value of an input beyond its range changes each time; which inputs these are does not.
        if self.reported_left_out != names {
            warn!(sensor = %self.settings.name, error = %words, "Some measurements of the reading failed; the others are published.");
            (self.reported_left_out, self.status_reported) = (names, false);
        }
        self.report_status(SensorStatus::Degraded, || Some(words), now.wall, buses);
    }

    /// Adds measurements of which the filters have left nothing for a while to what was left out.
    fn add_filtered_out(&mut self) {
        for name in self.filters.without_value() {
            let words = format!("{name}: its filters have dropped at least the last three values");
            let (names, all) = self.left_out.get_or_insert_default();
            names.push(name.clone());
            if !all.is_empty() {
                all.push_str("; ");
            }
            all.push_str(&words);
        }
    }

    /// Nothing was left out of the reading.
    fn all_measured(&mut self, now: Moment, buses: &mut BusSlots) {
        if !self.reported_left_out.is_empty() {
            // If it is degraded for another reason now, that must be reported.
            self.reported_left_out.clear();
            self.status_reported = false;
        }
        match self.keeping_up.behind() {
            None => self.report_status(SensorStatus::Ok, || None, now.wall, buses),
            Some(figures) => {
                let every = self.settings.every;
                self.report_status(SensorStatus::Degraded, || Some(too_slow(every, figures)), now.wall, buses);
            }
        }
    }

    /// A device that has no result yet is kept: a new one would begin to warm up again, for ever. After its first result it
    /// counts as well between two of them.
    pub(super) fn too_early(&mut self, error: &DriverError, now: Moment, buses: &mut BusSlots) {
        self.answered(buses);
        self.tally.skipped.fetch_add(1, Ordering::Relaxed);
        // It was asked because of that, and would be asked again at once.
        if let Some(report) = &mut self.report {
            report.forget_postponed();
        }
        if !self.status_reported || self.status != SensorStatus::Ok {
            self.report_status(SensorStatus::Degraded, || Some(describe_error(error)), now.wall, buses);
        }
    }

    fn answered(&mut self, buses: &mut BusSlots) {
        buses.backoff.answered(self.domain);
        // A driver that needs no bus says nothing about the one that it was given.
        if !matches!(self.settings.driver.bus, BusNeed::None | BusNeed::Sensors) {
            buses.record_bus_outcome(self.settings.bus.as_ref(), Ok(()));
        }
        // One that comes and goes is logged no more often than one that stays away.
        if std::mem::take(&mut self.complained) {
            info!(sensor = %self.settings.name, failures = self.failures, "Sensor answers again.");
        }
        self.failures = 0;
    }

    pub(super) fn failed(&mut self, error: &DriverError, now: Moment, cost: Duration, buses: &mut BusSlots) {
        self.failures = self.failures.saturating_add(1);
        self.reported_left_out.clear();
        self.restart_filters();
        self.tally.failed.fetch_add(1, Ordering::Relaxed);
        let status = if self.failures >= DOWN_AFTER { SensorStatus::Down } else { SensorStatus::Degraded };
        // One that is computed from others is not asked again soon, and what was computed before is known to be wrong.
        let is_computed = matches!(error, DriverError::Unknown(_));
        if status == SensorStatus::Down || is_computed {
            buses.context.signals.sensor_down(&self.settings.name);
        }
        // A device that keeps failing may have been unplugged and come back with its power-on registers. One that is computed from
        // others must go on listening to them.
        if !error.is_transient() || (status == SensorStatus::Down && !is_computed) {
            self.drop_device();
        }
        buses.leave_if_gone(self.settings.bus.as_ref(), error);
        let words = describe_error(error);
        let pause = match error {
            DriverError::Panicked(_) => retry_after(self.failures),
            _ => {
                let transfer = Transfer { ended_at: now.boot, cost };
                buses.backoff.failed(self.domain, Purpose::Sample, transfer, &words);
                buses.backoff.allowed_from(self.domain, Purpose::Sample).saturating_sub(now.boot)
            }
        };
        let is_of_the_bus = buses.record_bus_outcome(self.settings.bus.as_ref(), Err(error));
        if !is_of_the_bus && self.last_logged.is_none_or(|last| now.boot >= last.saturating_add(LOG_AGAIN)) {
            (self.last_logged, self.complained) = (Some(now.boot), true);
            let again_in = pause.max(self.settings.every);
            warn!(sensor = %self.settings.name, error = %words, failures = self.failures, ?again_in, "Sensor failed; will try again.");
        }
        self.report_status(status, || Some(words), now.wall, buses);
        if matches!(error, DriverError::Panicked(_)) {
            let skipped = self.schedule.pause(now.boot, pause);
            self.tally.skipped.fetch_add(skipped, Ordering::Relaxed);
        }
    }

    /// Reports the status of the sensor when that has changed.
    fn report_status(
        &mut self,
        status: SensorStatus,
        error: impl FnOnce() -> Option<String>,
        since: SystemTime,
        buses: &mut BusSlots,
    ) {
        // While the bus hung, somebody else may have reported that the sensor is down.
        if self.status_reported && self.status == status && self.tally.status() == status {
            return;
        }
        (self.status, self.status_reported) = (status, true);
        self.tally.set_status(status);
        let (sensor, error) = (self.settings.name.clone(), error());
        buses.publish(Subject::Sensor, sensor.clone(), Event::Status { sensor, status, since, error });
    }
}

/// What a sensor says whose period its bus cannot keep.
fn too_slow(every: Duration, Figures { asked, managed }: Figures) -> String {
    let every = format_duration(every);
    format!(
        "the bus is too slow for its sensors: every {every} asked for {asked} samplings lately, {managed} were managed"
    )
}
