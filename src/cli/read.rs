//! `fieldgate read SENSOR`: one sampling, printed, for checking the wiring.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use embedded_hal::delay::DelayNs;

use crate::cli;
use crate::config::{self, Config};
use crate::gateway;
use crate::worker::SensorSettings;
use fieldgate_bus::{self as bus, Buses, Delay};
use fieldgate_drivers::{self as drivers, DriverError, Role};
use fieldgate_model::{Measurement, Quantity, describe_error, payload};

/// A chip that has just been switched on may need a few conversions before its first value.
const ATTEMPTS: u32 = 10;

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(100);

/// For a chip that warms up or measures by itself every few seconds: longer than any of them but those that need minutes.
const PATIENCE: Duration = Duration::from_secs(60);

/// So long the wait needs no words.
const SAY_AFTER: Duration = Duration::from_secs(1);

/// Samples `sensor` once and prints what it measured.
pub fn run(sensor: &str, path: &Path, json: bool) -> ExitCode {
    let config = match config::load(path) {
        Ok(loaded) => loaded.config,
        Err(error) => return cli::refuse(&error),
    };
    let Some(settings) = config.sensors.iter().find(|settings| settings.name.as_str() == sensor) else {
        let names: Vec<_> = config.sensors.iter().map(|settings| settings.name.as_str()).collect();
        return cli::fail(&format!("there is no sensor called {sensor:?}; there are: {}", names.join(", ")));
    };
    match sample(&config, settings) {
        Ok(all) if json => {
            let inside = String::from_utf8_lossy(&payload::measurements(&all)).into_owned();
            cli::put(&format!("{{{inside}}}\n"), ExitCode::SUCCESS)
        }
        Ok(all) => cli::put(&lines(&all, &settings.quantities()), ExitCode::SUCCESS),
        Err(e) => cli::fail(&format!("{sensor}: {}", describe_error(&e))),
    }
}

fn sample(config: &Config, settings: &SensorSettings) -> Result<Vec<Measurement>, DriverError> {
    let named = |name| config.buses.iter().find(|(bus, _)| bus == name).map(|(_, settings)| settings.clone());
    let bus_settings = settings.bus.as_ref().and_then(named).unwrap_or(bus::Settings::Host);
    let mut buses = Buses::new(drivers::chip);
    let bus = buses.get(&bus_settings)?;
    bus.spare_inputs(&gateway::inputs(config, settings.bus.as_ref()));
    let Role::Sensor { build, .. } = &settings.driver.role else {
        unreachable!("the configuration puts only sensors under sensors")
    };
    bus.expect(settings.driver.name, &(settings.driver.claims)(&settings.settings));
    let mut device = build(bus, &settings.settings)?;
    let (mut unready, mut waited) = (0, Duration::ZERO);
    loop {
        match device.sample() {
            Err(DriverError::NotReady(_)) if unready + 1 < ATTEMPTS => unready += 1,
            Err(error @ DriverError::TooEarly(_)) if waited < PATIENCE => {
                waited += PAUSE;
                if waited == SAY_AFTER {
                    cli::print_message(&format!("{error}; waiting\n"));
                }
            }
            Err(DriverError::Partly(partly)) => {
                cli::print_message(&format!("{partly}\n"));
                return Ok(partly.measured);
            }
            result => return result,
        }
        Delay.delay_ms(u32::try_from(PAUSE.as_millis()).unwrap_or(u32::MAX));
    }
}

/// One line for each measurement: `temperature  21.53 °C`.
fn lines(all: &[Measurement], quantities: &[Quantity]) -> String {
    let width = all.iter().map(|measurement| measurement.name.len()).max().unwrap_or(0);
    let line = |measurement: &Measurement| {
        let unit = quantities.iter().find(|quantity| quantity.name == measurement.name).map_or("", |q| q.unit.as_ref());
        let value = payload::plain(measurement.value);
        format!("{:width$}  {}\n", measurement.name, format!("{value} {unit}").trim_end())
    };
    all.iter().map(line).collect()
}
