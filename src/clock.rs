//! The only place that asks what time it is.
//!
//! Schedules, ages and limits use `CLOCK_BOOTTIME`, which no one sets and which counts through a suspend. The wall clock is
//! stamped beside it for people, with whether it can be trusted.

use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};

use crate::model::{ClockStatus, Moment};

/// systemd-timesyncd's folder, there while that service runs.
const TIMESYNC: &str = "/run/systemd/timesync";

/// Made by systemd-timesyncd when it has set the clock for the first time since boot (systemd-timesyncd.service(8)).
const SYNCHRONISED: &str = "/run/systemd/timesync/synchronized";

/// 2025-01-01: a wall clock before it was never set, whoever keeps it.
const PLAUSIBLE: Duration = Duration::from_secs(1_735_689_600);

/// Time since the machine started, suspends included.
pub fn boottime() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Both clocks, and whether the wall clock can be trusted.
pub fn now() -> Moment {
    let wall = SystemTime::now();
    Moment { boot: boottime(), wall, clock: status(wall) }
}

/// The moment of a kernel timestamp on `CLOCK_MONOTONIC`, told on both clocks; without a timestamp it is `now`.
pub fn at_monotonic(at: Option<Duration>, now: Moment) -> Moment {
    let Some(at) = at else { return now };
    let monotonic = clock_gettime(ClockId::Monotonic);
    let monotonic = Duration::new(monotonic.tv_sec.unsigned_abs(), u32::try_from(monotonic.tv_nsec).unwrap_or(0));
    let age = monotonic.saturating_sub(at);
    Moment { boot: now.boot.saturating_sub(age), wall: now.wall.checked_sub(age).unwrap_or(now.wall), clock: now.clock }
}

/// Asking the kernel itself (`adjtimex`) is forbidden under `ProtectClock=`, so the word of systemd-timesyncd is taken.
/// Where another program keeps the clock, every plausible date counts as set: most such boards have a battery.
fn status(wall: SystemTime) -> ClockStatus {
    let plausible = wall.duration_since(SystemTime::UNIX_EPOCH).is_ok_and(|since| since >= PLAUSIBLE);
    if plausible && (Path::new(SYNCHRONISED).exists() || !Path::new(TIMESYNC).exists()) {
        ClockStatus::Synchronised
    } else {
        ClockStatus::Unsynchronised
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_time_goes_forward() {
        let first = boottime();
        assert!(boottime() >= first && first > Duration::ZERO);
    }

    #[test]
    fn a_clock_in_1970_is_not_synchronised() {
        assert_eq!(status(SystemTime::UNIX_EPOCH + Duration::from_secs(60)), ClockStatus::Unsynchronised);
    }
}
