//! Detects parts that have stopped making progress.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tracing::error;

use crate::config::Config;
use crate::deadlines::{self, HANGS, STALLED};
use crate::gateway::plans::BusKey;
use crate::health::SensorTallies;
use crate::recorder;
use crate::views::Views;
use crate::worker::Worker;
use fieldgate_clock as clock;
use fieldgate_link::Latest;
use fieldgate_model::{Name, SensorStatus, payload};

/// What has been reported and has not come back.
#[derive(Debug)]
pub(super) struct Stalls {
    devices: BTreeSet<Name>,
    /// How long a part with outputs may be silent.
    patience: Duration,
}

impl Stalls {
    /// Nothing yet. systemd is to hear nothing more within one of its periods of `watchdog`.
    pub(super) fn new(watchdog: Option<Duration>) -> Self {
        Self { devices: BTreeSet::new(), patience: deadlines::stalled(watchdog) }
    }
}

/// Where the status of a sensor is written whose thread cannot do it.
#[derive(Clone, Copy)]
pub(super) struct Statuses<'a> {
    /// For the broker, retained.
    pub(super) latest: &'a Latest,
    /// For the sensor's own thread, when it goes on.
    pub(super) tallies: &'a SensorTallies,
    /// For the page, the metrics and the history.
    pub(super) views: &'a Views,
}

/// What has stopped, and so the watchdog must not be fed; nothing when all is well.
///
/// A bus with outputs that hangs stops the feeding: systemd then ends the program and `ExecStopPost` makes the outputs
/// safe. A bus with sensors only is reported and left, for the others go on.
pub(super) fn check(
    stalls: &mut Stalls,
    workers: &BTreeMap<BusKey, Worker>,
    config: &Config,
    statuses: Statuses<'_>,
    recorder: &recorder::LastTurn,
) -> Option<String> {
    let now = clock::boottime();
    let is_silent = now.saturating_sub(recorder.at()) >= stalls.patience;
    let mut stalled = is_silent.then(|| "the recorder has stopped".to_owned());
    let mut hanging = BTreeSet::new();
    for (key, worker) in workers {
        if let Some((device, since)) = worker.activity.busy() {
            let silent = now.saturating_sub(since);
            if silent >= patience(config, &device) {
                report(stalls, key, &device, silent, config, statuses);
                hanging.insert(device);
            }
        }
        let has_outputs = config.actuators.iter().any(|a| BusKey::of(config, Some(&a.bus)) == *key);
        if has_outputs && now.saturating_sub(worker.activity.last_turn()) >= stalls.patience {
            stalled.get_or_insert_with(|| format!("the bus {key}, which has outputs, hangs"));
        }
    }
    stalls.devices = hanging;
    stalled
}

/// Two periods of a sensor, so that its status says so within the third, but within limits: a shorter silence proves nothing.
fn patience(config: &Config, device: &Name) -> Duration {
    let every = config.sensors.iter().find(|sensor| sensor.name == *device).map(|sensor| sensor.every);
    every.map_or(STALLED, |every| (every * 2).clamp(HANGS, STALLED))
}

/// Publishes that the sensors of a bus are down, which its thread cannot do while it hangs. When the thread goes on, each sensor
/// finds another status in its tally than its own, and publishes its own again.
fn report(
    stalls: &Stalls,
    bus: &BusKey,
    device: &Name,
    silent: Duration,
    config: &Config,
    Statuses { latest, tallies, views }: Statuses<'_>,
) {
    if stalls.devices.contains(device) {
        return;
    }
    error!(%bus, %device, ?silent, "The bus hangs in a transfer to a device; its sensors and outputs do not work until that returns.");
    for sensor in config.sensors.iter().filter(|sensor| BusKey::of_sensor(config, sensor) == *bus) {
        if let Some(tally) = tallies.get(&sensor.name) {
            tally.set_status(SensorStatus::Down);
        }
        let words = format!("the bus hangs in {device}");
        let since = clock::now().wall;
        let payload = payload::sensor_status(SensorStatus::Down, since, Some(&words));
        views.status(&sensor.name, SensorStatus::Down, since, Some(&words));
        latest.set(config.topics.sensor_status(&sensor.name), payload);
    }
}
