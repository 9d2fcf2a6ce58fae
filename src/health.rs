//! The state of the gateway, gathered for `B/health`, for systemd's status line and for the watchdog.
//!
//! [`Sources`] is given to all that report numbers of the gateway: health, metrics and the page. It reads what other parts leave in
//! memory when it is asked, and waits for nobody.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::commands::{CommandTallies, CommandTally};
use crate::roster::{RuleAlarms, SharedRoster};
use crate::worker::{BusAlarms, Tally, Trips};
use fieldgate_clock as clock;
use fieldgate_link::{LinkState, LinkStatus};
use fieldgate_model::payload::report;
use fieldgate_model::{Moment, Name, RunId};
use fieldgate_spool::{Stats, Vitals};

/// What the watchdog was fed by last, for those who ask from outside. Clones are one and the same.
#[derive(Clone, Debug, Default)]
pub struct Liveness(Arc<Mutex<Option<String>>>);

impl Liveness {
    /// What does not turn; nothing where all does.
    pub fn set(&self, stalled: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = stalled;
    }

    /// What does not turn; nothing where all does.
    pub fn stalled(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// How often health is published while nothing changes.
pub const EVERY: Duration = Duration::from_secs(30);

/// The tallies of all sensors that ever were in this run.
pub type SensorTallies = BTreeMap<Name, Arc<Tally>>;

/// Where the numbers come from.
#[derive(Clone, Debug)]
pub struct Sources {
    /// This start of the program.
    pub run: RunId,
    /// When the program was started.
    pub started: Moment,
    /// The devices of the configuration in force.
    pub roster: watch::Receiver<SharedRoster>,
    /// The status of the link.
    pub link: watch::Receiver<LinkStatus>,
    /// The status of the spool.
    pub spool: Vitals,
    /// What happened to the commands of each output.
    pub commands: CommandTallies,
    /// Buses that do not work.
    pub buses: BusAlarms,
    /// Rules that are stopped because they go round in a circle.
    pub rules: RuleAlarms,
    /// How often outputs were made safe by themselves.
    pub trips: Trips,
}

impl Sources {
    /// The payload of `B/health` at this moment.
    pub fn payload(&self) -> Vec<u8> {
        let now = clock::now();
        let roster = self.roster.borrow();
        let of_sensor = |name: &Name| Some((name.clone(), of_sensor(roster.tallies.get(name)?)));
        let sensors = roster.sensors.iter().filter_map(of_sensor);
        let actuators = roster.targets.keys().map(|name| (name.clone(), self.of_output(name)));
        report::health(&report::Health {
            run: self.run,
            uptime: now.boot.saturating_sub(self.started.boot),
            time: now.wall,
            clock: now.clock,
            link: link(&self.link.borrow()),
            spool: spool(&self.spool.stats()),
            sensors: sensors.collect(),
            actuators: actuators.collect(),
            buses: self.buses.list(),
            rules: self.rules.list(),
            memory: resident_bytes(),
        })
    }

    /// What happened to the commands of an output in this run, and how often it was made safe by itself.
    pub fn of_output(&self, name: &Name) -> report::Actuator {
        let commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        let CommandTally { commands, rejected } = commands.get(name).copied().unwrap_or_default();
        report::Actuator { commands, rejected, trips: self.trips.of(name) }
    }

    /// One line for `systemctl status`.
    pub fn line(&self) -> String {
        let link = self.link.borrow();
        let queued = self.spool.stats().queued;
        match (&link.state, &link.last_error) {
            (LinkState::Up, _) => format!("link up: {}, {queued} waiting", link.broker),
            (_, Some(error)) => format!("link down: {error}, {queued} waiting"),
            (_, None) => format!("connecting to {}, {queued} waiting", link.broker),
        }
    }
}

/// What a sensor has done in this run.
pub fn of_sensor(tally: &Tally) -> report::Sensor {
    report::Sensor {
        status: tally.status(),
        taken: tally.taken.load(Ordering::Relaxed),
        samples: tally.samples.load(Ordering::Relaxed),
        filtered: tally.filtered.load(Ordering::Relaxed),
        failed: tally.failed.load(Ordering::Relaxed),
        skipped: tally.skipped.load(Ordering::Relaxed),
    }
}

fn link(status: &LinkStatus) -> report::Link {
    report::Link {
        state: status.state.as_str(),
        since: status.since,
        broker: status.broker.clone(),
        protocol: status.protocol.as_str(),
        connects: status.connects,
        last_error: status.last_error.clone(),
        alarm: status.alarm.clone(),
    }
}

fn spool(stats: &Stats) -> report::Spool {
    report::Spool {
        queued: stats.queued,
        bytes: stats.bytes,
        oldest: stats.oldest,
        dropped: stats.dropped,
        error: stats.error.clone(),
    }
}

/// Resident memory from `/proc/self/statm` (proc(5)): the second number, in pages. 0 where it cannot be read.
pub fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * u64::try_from(rustix::param::page_size()).unwrap_or(4096)
}
