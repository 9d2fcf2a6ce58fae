//! `fieldgate safe-state`: drives every output to its safe state and ends.
//!
//! Used by `ExecStopPost=`, so it must work when everything else has failed: the last good table of outputs is preferred to
//! the configuration file, one output that fails does not keep the others from being driven, and no thread, broker or spool
//! is needed.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use embedded_hal::delay::DelayNs;
use tracing::{error, info, warn};

use crate::bus::{Buses, Delay};
use crate::cli;
use crate::config;
use crate::drivers::{self, DriverError, Role, words};
use crate::gateway;
use crate::last_good::{self, SafeOutput};

/// Drives the outputs of the last good table, or else those of the configuration file.
pub fn run(path: &Path) -> ExitCode {
    if let Some(table) = cli::table_of_outputs(path).filter(|table| table.exists())
        && let Some(code) = by_table(&table)
    {
        return code;
    }
    match config::load(path) {
        Ok(loaded) => drive(&gateway::outputs(&loaded.config)),
        Err(error) => cli::refuse(&error),
    }
}

/// Drives the outputs of a table; `None` when the table cannot be used.
pub(super) fn by_table(table: &Path) -> Option<ExitCode> {
    match last_good::load(table) {
        Ok(outputs) => Some(drive(&outputs)),
        Err(e) => {
            warn!(error = %words(&e), "Falling back to the configuration file.");
            None
        }
    }
}

fn drive(outputs: &[SafeOutput]) -> ExitCode {
    let mut buses = Buses::default();
    let mut code = ExitCode::SUCCESS;
    let mut rested = Duration::ZERO;
    for output in outputs {
        if !output.after.is_zero() && code != ExitCode::SUCCESS {
            let error = "it stays as it is: an output that must not be on beside it may be";
            error!(actuator = %output.name, error, "Output could not be made safe.");
            continue;
        }
        if output.after > rested {
            // Relays of those before it are opening at this moment.
            Delay.delay_us(u32::try_from((output.after - rested).as_micros()).unwrap_or(u32::MAX));
            rested = output.after;
        }
        match one(output, &mut buses) {
            Ok(()) => info!(actuator = %output.name, value = %output.safe_state, "Output is in its safe state."),
            Err(e) => {
                error!(actuator = %output.name, error = %words(&e), "Output could not be made safe.");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
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
