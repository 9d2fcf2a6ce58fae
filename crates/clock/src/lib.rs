//! The clock of schedules, ages and limits, the time zone, and whether the wall clock can be trusted. A mere stamp, or a deadline within
//! one call, is taken from std or tokio where it is needed.
//!
//! Schedules, ages and limits use `CLOCK_BOOTTIME`, which no one sets and which counts through a suspend. The wall clock is
//! stamped beside it for people, with whether it can be trusted. That is asked of the file system, which is too slow for each
//! reading: the program's main loop calls [`refresh`], and in between the last answer counts.
//!
//! [`stop`] is here because it has to be below all who have tasks.

pub mod broker_heartbeat;
pub mod stop;
pub mod timer;

use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rustix::time::{ClockId, clock_gettime};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use fieldgate_model::{ClockStatus, Moment};

/// Where systemd-timesyncd says how the clock is.
const TIMESYNC: &str = "/run/systemd/timesync";

/// 2025-01-01: a wall clock before it was never set, by any time service.
const PLAUSIBLE: Duration = Duration::from_secs(1_735_689_600);

/// Where the board is.
static ZONE: OnceLock<Zone> = OnceLock::new();

/// What [`TIMESYNC`] last said.
static WAS_SET: WasSet = WasSet::unknown();

/// Time since the machine started, suspends included.
pub fn boottime() -> Duration {
    time_of(ClockId::Boottime)
}

/// `CLOCK_MONOTONIC`, which stops during a suspend: the clock by which the kernel stamps edges of GPIO lines.
pub fn monotonic() -> Duration {
    time_of(ClockId::Monotonic)
}

fn time_of(clock: ClockId) -> Duration {
    let now = clock_gettime(clock);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Both clocks, and whether the wall clock can be trusted.
pub fn now() -> Moment {
    let wall = SystemTime::now();
    Moment { boot: boottime(), wall, clock: status(wall, || WAS_SET.get(Path::new(TIMESYNC))) }
}

/// The time of day where the board is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalTime {
    /// The hour, 0 to 23.
    pub hour: u8,
    /// The minute, 0 to 59.
    pub minute: u8,
    /// 0 for Monday to 6 for Sunday.
    pub weekday: u8,
}

/// The time of day in the board's time zone, as `/etc/localtime` was when this was first asked; UTC without it.
pub fn local() -> LocalTime {
    zone().local(SystemTime::now())
}

/// The board's time zone, as `/etc/localtime` was when this was first asked; UTC without it.
pub fn zone() -> &'static Zone {
    ZONE.get_or_init(|| Zone(TimeZone::system()))
}

/// A time zone.
#[derive(Clone, Debug)]
pub struct Zone(TimeZone);

impl Zone {
    /// By its rules, as in the variable TZ: `CET-1CEST,M3.5.0,M10.5.0/3`.
    pub fn posix(rules: &str) -> Option<Self> {
        TimeZone::posix(rules).ok().map(Self)
    }

    /// What clocks show there at this moment, daylight saving included.
    pub fn local(&self, at: SystemTime) -> LocalTime {
        let at = Timestamp::try_from(at).unwrap_or_default().to_zoned_datetime(self.0.clone());
        let small = |number: i8| u8::try_from(number).unwrap_or(0);
        LocalTime {
            hour: small(at.hour()),
            minute: small(at.minute()),
            weekday: small(at.weekday().to_monday_zero_offset()),
        }
    }
}

/// How long it is to the next full minute, which is the same everywhere.
pub fn until_next_minute(at: SystemTime) -> Duration {
    until_multiple(Duration::from_secs(60), at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

/// Asks again whether the wall clock was set; to be called about once a second. A date before 2025 needs no answer: that such
/// a clock was set, or was set back, is seen by the next [`now`].
pub fn refresh() {
    WAS_SET.ask(Path::new(TIMESYNC));
}

/// Ticks every `period`, at whole multiples of it on the boot clock: regular work of different parts that is in no hurry shares
/// its wake-ups. The first tick comes within a period; ticks that were missed are left out.
pub fn interval(period: Duration) -> Interval {
    let mut interval = interval_at(Instant::now() + until_multiple(period, boottime()), period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
    interval
}

/// How long it is from `now` to the next whole multiple of `period`, which is not zero.
pub fn until_multiple(period: Duration, now: Duration) -> Duration {
    let past = now.as_nanos() % period.as_nanos().max(1);
    period.saturating_sub(Duration::from_nanos(u64::try_from(past).unwrap_or(0)))
}

/// The moment of a kernel timestamp on `CLOCK_MONOTONIC`, on both clocks; without a timestamp it is `now`.
pub fn at_monotonic(at: Option<Duration>, now: Moment) -> Moment {
    let Some(at) = at else { return now };
    let age = monotonic().saturating_sub(at);
    Moment { boot: now.boot.saturating_sub(age), wall: now.wall.checked_sub(age).unwrap_or(now.wall), clock: now.clock }
}

/// Whether the wall clock is set, asked now, of the system whose files are below `root`.
pub fn status_below(root: &Path) -> ClockStatus {
    let folder = root.join(TIMESYNC.trim_start_matches('/'));
    status(SystemTime::now(), || WasSet::unknown().ask(&folder))
}

/// Whether this can be the time: a wall clock that shows a date before 2025 was never set.
pub fn is_plausible(wall: SystemTime) -> bool {
    wall.duration_since(SystemTime::UNIX_EPOCH).is_ok_and(|since| since >= PLAUSIBLE)
}

fn status(wall: SystemTime, was_set: impl FnOnce() -> bool) -> ClockStatus {
    if is_plausible(wall) && was_set() { ClockStatus::Synchronised } else { ClockStatus::Unsynchronised }
}

/// Whether a plausible date counts as set, as last asked; asked at first use.
struct WasSet(AtomicU8);

impl WasSet {
    const UNKNOWN: u8 = 0;
    const NOT_SET: u8 = 1;
    const SET: u8 = 2;

    const fn unknown() -> Self {
        Self(AtomicU8::new(Self::UNKNOWN))
    }

    fn get(&self, folder: &Path) -> bool {
        match self.0.load(Ordering::Relaxed) {
            Self::UNKNOWN => self.ask(folder),
            known => known == Self::SET,
        }
    }

    /// Asking the kernel itself (`adjtimex`) is forbidden under `ProtectClock=`, so systemd-timesyncd is believed: it makes a
    /// file when it has set the clock for the first time since boot (systemd-timesyncd.service(8)). The folder is there while
    /// that service runs. Where another program keeps the clock, every plausible date counts: most such boards have a battery.
    fn ask(&self, folder: &Path) -> bool {
        let was_set = folder.join("synchronized").exists() || !folder.exists();
        self.0.store(if was_set { Self::SET } else { Self::NOT_SET }, Ordering::Relaxed);
        was_set
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
    fn what_ticks_regularly_ticks_together() {
        let (ms, now) = (Duration::from_millis, Duration::from_millis(12_345));
        assert_eq!(until_multiple(ms(1000), now), ms(655));
        assert_eq!(until_multiple(ms(250), now), ms(155));
        assert_eq!(until_multiple(ms(250), ms(500)), ms(250), "never at once");
    }

    #[test]
    fn a_zone_says_what_clocks_show_there() {
        let zone = Zone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let shown = |seconds| {
            let local = zone.local(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
            (local.hour, local.minute, local.weekday)
        };
        // 2026-03-29, 00:59 and 01:00 UTC: there is no 02:30 on that day.
        assert_eq!([shown(1_774_745_940), shown(1_774_746_000)], [(1, 59, 6), (3, 0, 6)]);
        // 2026-10-25, 00:30 and 01:30 UTC: it comes twice.
        assert_eq!([shown(1_792_888_200), shown(1_792_891_800)], [(2, 30, 6), (2, 30, 6)]);
        assert!(Zone::posix("nowhere").is_none());
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(61_250);
        assert_eq!(until_next_minute(at), Duration::from_millis(58_750));
    }

    #[test]
    fn a_clock_in_1970_is_not_synchronised() {
        let minute = SystemTime::UNIX_EPOCH + Duration::from_secs(60);
        assert_eq!(status(minute, || true), ClockStatus::Unsynchronised);
        assert_eq!(status(minute + PLAUSIBLE, || true), ClockStatus::Synchronised);
        assert_eq!(status(minute + PLAUSIBLE, || false), ClockStatus::Unsynchronised);
    }

    #[test]
    fn the_file_system_is_asked_at_first_and_then_only_when_asked_to() {
        let run = tempfile::tempdir().unwrap();
        let folder = run.path().join("timesync");
        let answer = WasSet::unknown();
        assert!(answer.get(&folder), "no timesyncd, so a plausible date counts");
        std::fs::create_dir(&folder).unwrap();
        assert!(answer.get(&folder), "not asked again");
        assert!(!answer.ask(&folder) && !answer.get(&folder), "timesyncd runs and has not set the clock");
        std::fs::write(folder.join("synchronized"), "").unwrap();
        assert!(!answer.get(&folder));
        assert!(answer.ask(&folder) && answer.get(&folder));
    }

    #[test]
    fn the_first_answer_is_right() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!WasSet::unknown().get(folder.path()));
    }
}
