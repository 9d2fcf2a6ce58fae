//! Reports to systemd how the service is. Before [`connect`] every call does nothing.
//!
//! systemd may be slow to read its socket, and then sending waits. So a thread sends, in order.

use std::fmt::Write as _;
use std::sync::OnceLock;
use std::time::Duration;

use sd_notify::NotifyState;
use tracing::warn;

use crate::outlet::Outlet;

/// How long the end of the program waits for systemd to take what was reported last.
const LAST_PATIENCE: Duration = Duration::from_millis(250);

static OUTLET: OnceLock<Outlet> = OnceLock::new();

/// From now on reports are sent. For a program that systemd has started, or something that reports in the same way.
pub fn connect() {
    OUTLET.get_or_init(|| Outlet::new("systemd", |_| (), Box::new(send)));
}

/// Whether something looks after the service and starts it again when it ends.
pub fn is_connected() -> bool {
    OUTLET.get().is_some()
}

/// Waits, for a short time, until everything has been sent.
pub fn flush() {
    if let Some(outlet) = OUTLET.get() {
        outlet.flush(LAST_PATIENCE);
    }
}

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
    let Some(outlet) = OUTLET.get() else { return };
    let mut lines = String::new();
    for state in states {
        writeln!(lines, "{state}").expect("a String takes all");
    }
    outlet.push(lines.into_bytes());
}

/// Sends what were several states in one datagram, as they must be.
fn send(lines: &[u8]) -> std::io::Result<()> {
    let lines = String::from_utf8_lossy(lines);
    if let Err(e) = sd_notify::notify(&[NotifyState::Custom(lines.trim_end())]) {
        warn!(error = %e, "A notification to systemd could not be sent.");
    }
    Ok(())
}
