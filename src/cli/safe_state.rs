//! `fieldgate safe-state`: drives every output to its safe state and ends.
//!
//! Used by `ExecStopPost=`, so it must work when everything else has failed: the last good table of outputs is preferred to
//! the configuration file, neither an output that fails nor a bus that hangs keeps the others from being driven, and neither
//! broker nor spool is needed.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use embedded_hal::delay::DelayNs;
use tracing::{error, info, warn};

use crate::cli;
use crate::config;
use crate::deadlines;
use crate::gateway;
use crate::last_good::{self, SafeOutput};
use fieldgate_bus::{Buses, Delay};
use fieldgate_drivers::{self as drivers, DriverError, Role};
use fieldgate_model::{Name, describe_error};

/// What became of an output.
type Outcome = (Name, Result<(), DriverError>);

/// Drives the outputs of the last good table, or else those of the configuration file.
pub fn run(path: &Path) -> ExitCode {
    if let Some(code) = by_table(path) {
        return code;
    }
    match config::load_in_force(path).map(|in_force| in_force.loaded) {
        Ok(loaded) => drive(&gateway::outputs(&loaded.config)),
        Err(error) => cli::refuse(&error),
    }
}

/// Drives the outputs of the last good table; `None` when there is none, or it cannot be used.
pub(super) fn by_table(path: &Path) -> Option<ExitCode> {
    match last_good::load(&cli::table_of_outputs(path)?) {
        Ok(outputs) => Some(drive(&outputs?)),
        Err(e) => {
            warn!(error = %describe_error(&e), "The last table of outputs cannot be used; reading the configuration file instead.");
            None
        }
    }
}

/// Drives all outputs: first those that wait for no other, then those that are on when safe and exclude others.
fn drive(outputs: &[SafeOutput]) -> ExitCode {
    let (later, first): (Vec<_>, Vec<_>) = outputs.iter().cloned().partition(|output| !output.beside.is_empty());
    let dead_time = later.iter().map(|output| output.dead_time).max();
    let patience = deadlines::safe_state(dead_time.unwrap_or_default());
    let mut failed = wave(&first, patience);
    let (blocked, later): (Vec<_>, Vec<_>) =
        later.into_iter().partition(|output| output.beside.iter().any(|partner| failed.contains(partner)));
    for output in blocked {
        let error = "an output that must not be on beside it could not be made safe, so it stays as it is";
        error!(actuator = %output.name, error, "Output could not be made safe.");
        failed.insert(output.name);
    }
    if let Some(dead_time) = dead_time.filter(|_| !later.is_empty()) {
        // The relays of the others are opening at this moment.
        Delay.delay_us(u32::try_from(dead_time.as_micros()).unwrap_or(u32::MAX));
        failed.append(&mut wave(&later, patience));
    }
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Drives outputs, those of each bus on a thread of its own; says which are not safe. A thread that hangs ends with the program.
///
/// It is often a bus that hangs which brought us here, and a new start waits for our end: hence the `patience`.
fn wave(outputs: &[SafeOutput], patience: Duration) -> BTreeSet<Name> {
    let deadline = Instant::now() + patience;
    let (sender, outcomes) = sync_channel(outputs.len());
    for bus in by_bus(outputs) {
        let (outputs, outcomes) = (bus.clone(), sender.clone());
        if let Err(e) = thread::Builder::new().spawn(move || drive_bus(&outputs, &outcomes)) {
            warn!(error = %e, "No thread could be started; a bus that hangs will delay the others.");
            drive_bus(&bus, &sender);
        }
    }
    drop(sender);
    let mut missing: BTreeSet<Name> = outputs.iter().map(|output| output.name.clone()).collect();
    let mut failed = BTreeSet::new();
    while let Ok((name, result)) = outcomes.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        missing.remove(&name);
        if let Err(e) = result {
            error!(actuator = %name, error = %describe_error(&e), "Output could not be made safe.");
            failed.insert(name);
        }
    }
    for name in &missing {
        error!(actuator = %name, ?patience, "Output could not be made safe: its bus hangs.");
    }
    failed.append(&mut missing);
    failed
}

/// The outputs of each bus that is wired to the board, with those of the buses that sit on it.
fn by_bus(outputs: &[SafeOutput]) -> Vec<Vec<SafeOutput>> {
    let mut buses: Vec<Vec<SafeOutput>> = Vec::new();
    let root = |output: &SafeOutput| output.bus.root(&output.name).1.clone();
    for output in outputs {
        match buses.iter_mut().find(|known| root(&known[0]) == root(output)) {
            Some(known) => known.push(output.clone()),
            None => buses.push(vec![output.clone()]),
        }
    }
    buses
}

fn drive_bus(outputs: &[SafeOutput], outcomes: &SyncSender<Outcome>) {
    let mut buses = Buses::new(drivers::chip);
    for output in outputs {
        let result = one(output, &mut buses);
        if result.is_ok() {
            info!(actuator = %output.name, value = %output.safe_state, "Output is in its safe state.");
        }
        if outcomes.send((output.name.clone(), result)).is_err() {
            return; // Nobody waits any more.
        }
    }
}

/// Drives one output; its bus is opened once for all that sit on it.
fn one(output: &SafeOutput, buses: &mut Buses) -> Result<(), DriverError> {
    let bus = buses.get(&output.bus)?;
    bus.spare_inputs(&output.inputs);
    let spec = drivers::find(output.driver).expect("the table names only drivers that exist");
    let Role::Actuator { build, .. } = &spec.role else {
        return Err(DriverError::NotReady("a sensor in the table of outputs"));
    };
    bus.expect(spec.name, &(spec.claims)(&output.settings));
    build(bus, &output.settings, output.safe_state)?.apply(output.safe_state)
}
