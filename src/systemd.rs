//! Telling systemd how we fare. Outside systemd every call does nothing.

use std::time::Duration;

use sd_notify::NotifyState;
use tracing::warn;

/// The service runs: the spool is open and the workers run. The broker need not have answered.
pub fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// A reload begins. `Reloading` and `MonotonicUsec` must travel in one datagram (sd_notify(3)).
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(e) => warn!(error = %e, "The monotonic clock could not be read for systemd."),
    }
}

/// One line for `systemctl status`.
pub fn status(status: &str) {
    notify(&[NotifyState::Status(status)]);
}

/// The service ends.
pub fn stopping() {
    notify(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// Every part has made progress.
pub fn watchdog() {
    notify(&[NotifyState::Watchdog]);
}

/// How often systemd wants to hear [`watchdog`]; `None` when it does not watch.
pub fn watchdog_period() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(e) = sd_notify::notify(states) {
        warn!(error = %e, "systemd could not be told.");
    }
}
