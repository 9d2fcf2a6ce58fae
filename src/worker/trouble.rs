//! Buses that do not work: one alarm for each, however many devices on it fail.
//!
//! A missing acknowledgement is a matter of one chip. A clock line that is held down, a lost arbitration, an adapter that is
//! missing or gone are matters of the bus: every device on it fails, and a line in the log from each of them each minute
//! would hide the one that counts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tracing::{info, warn};

use fieldgate_drivers::DriverError;
use fieldgate_model::{Moment, Name, describe_error};

/// A bus or a sensor that keeps failing is logged at most this often.
pub(super) const LOG_AGAIN: Duration = Duration::from_secs(60);

/// The buses that do not work at this moment: since when, and why. As many as there are buses at most.
#[derive(Clone, Debug, Default)]
pub struct BusAlarms(Arc<Mutex<BTreeMap<Name, (SystemTime, String)>>>);

impl BusAlarms {
    /// All of them.
    pub fn list(&self) -> BTreeMap<Name, (SystemTime, String)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets a bus that is no longer in use.
    pub(super) fn forget(&self, bus: &Name) {
        self.set(bus, None);
    }

    fn set(&self, bus: &Name, alarm: Option<(SystemTime, String)>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match alarm {
            Some((since, words)) => all.entry(bus.clone()).or_insert((since, String::new())).1 = words,
            None => _ = all.remove(bus),
        }
    }
}

/// What is known of one bus.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    failing: bool,
    /// Whether the end is to be logged too.
    complained: bool,
    last_logged: Option<Duration>,
    failures: u32,
}

impl Trouble {
    /// Notes a failure of the bus.
    pub(super) fn failed(&mut self, bus: &Name, error: &DriverError, now: Moment, alarms: &BusAlarms) {
        let words = describe_error(error);
        self.failures = self.failures.saturating_add(1);
        self.failing = true;
        if self.last_logged.is_none_or(|last| now.boot >= last.saturating_add(LOG_AGAIN)) {
            (self.last_logged, self.complained) = (Some(now.boot), true);
            warn!(%bus, error = %words, failures = self.failures, "Bus does not work; will try again.");
        }
        alarms.set(bus, Some((now.wall, words)));
    }

    /// Notes that a device on the bus answered.
    pub(super) fn answered(&mut self, bus: &Name, alarms: &BusAlarms) {
        if !std::mem::take(&mut self.failing) {
            return;
        }
        if std::mem::take(&mut self.complained) {
            info!(%bus, failures = self.failures, "Bus works again.");
        }
        self.failures = 0;
        alarms.set(bus, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fieldgate_bus::BusError;
    use fieldgate_clock as clock;

    fn at(seconds: u64) -> Moment {
        Moment { boot: Duration::from_secs(seconds), ..clock::now() }
    }

    fn timed_out() -> DriverError {
        let source = std::io::ErrorKind::TimedOut.into();
        BusError::Wires { what: "i2c transfer with 0x76 on /dev/i2c-1".into(), source }.into()
    }

    #[test]
    fn one_alarm_stands_for_all_failures_and_ends_with_the_first_answer() {
        let (bus, alarms, mut trouble) = (Name::new("i2c-1").unwrap(), BusAlarms::default(), Trouble::default());
        trouble.failed(&bus, &timed_out(), at(10), &alarms);
        let since = alarms.list()[&bus].0;
        trouble.failed(&bus, &timed_out(), at(20), &alarms);
        assert_eq!((alarms.list().len(), trouble.failures, trouble.last_logged), (1, 2, Some(at(10).boot)));
        assert_eq!(alarms.list()[&bus].0, since, "since the first failure");
        trouble.failed(&bus, &timed_out(), at(71), &alarms);
        assert_eq!(trouble.last_logged, Some(at(71).boot), "logged again after a minute");
        trouble.answered(&bus, &alarms);
        assert!(alarms.list().is_empty() && !trouble.complained);
    }

    #[test]
    fn a_bus_that_comes_and_goes_is_logged_once_a_minute() {
        let (bus, alarms, mut trouble) = (Name::new("i2c-1").unwrap(), BusAlarms::default(), Trouble::default());
        for second in 0..30 {
            trouble.failed(&bus, &timed_out(), at(second), &alarms);
            assert_eq!(trouble.last_logged, Some(at(0).boot));
            trouble.answered(&bus, &alarms);
        }
    }
}
