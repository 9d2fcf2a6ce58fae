//! `fieldgate read SENSOR`: one sampling, printed, for checking the wiring.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use embedded_hal::delay::DelayNs;

use crate::cli;
use crate::config::{self, Config};
use crate::gateway;
use crate::worker::SensorSettings;
use fieldgate_bus::signals::{SignalSource, Signals};
use fieldgate_bus::{self as bus, Buses, Delay};
use fieldgate_clock as clock;
use fieldgate_drivers::{self as drivers, BusNeed, DriverError, Role, formula};
use fieldgate_filters::SensorFilters;
use fieldgate_model::{Measurement, Quantity, describe_error, payload};
use fieldgate_spool as spool;

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
    let config = match config::load_in_force(path).map(|in_force| in_force.loaded) {
        Ok(loaded) => loaded.config,
        Err(error) => return cli::refuse(&error),
    };
    let Some(settings) = config.sensors.iter().find(|settings| settings.name.as_str() == sensor) else {
        let names: Vec<_> = config.sensors.iter().map(|settings| settings.name.as_str()).collect();
        return cli::fail(&format!("there is no sensor called {sensor:?}; there are: {}", names.join(", ")));
    };
    warn_of_service(&config, settings);
    match read(&config, settings, &Signals::default()) {
        Ok(all) => cli::put(&print(&all, settings, json), ExitCode::SUCCESS),
        Err(e) => cli::fail(&format!("{sensor}: {}", describe_error(&e))),
    }
}

/// Two programs that sample one chip may take each other's answers.
fn warn_of_service(config: &Config, settings: &SensorSettings) {
    if settings.driver.bus.is_several_transfers() && spool::is_in_use(&config.spool.path) {
        cli::print_message(&format!(
            "note: the service runs and samples {} too; each may take the other's answer. Safe beside it is:  fieldgate watch\n",
            settings.name
        ));
    }
}

/// Samples a sensor. What it is computed from is sampled before it, and filtered, as far as that can be had.
fn read(config: &Config, settings: &SensorSettings, signals: &Signals) -> Result<Vec<Measurement>, DriverError> {
    let named: Vec<_> = match settings.driver.bus {
        BusNeed::Sensors => formula::inputs(&settings.settings).into_iter().map(|signal| signal.device).collect(),
        _ => Vec::new(),
    };
    let sources: Vec<_> = config.sensors.iter().filter(|sensor| named.contains(&sensor.name)).collect();
    let mut samples = Vec::new();
    for source in &sources {
        match read(config, source, signals) {
            Ok(mut sample) => {
                SensorFilters::new(&source.filters, &source.measured()).apply(&mut sample);
                samples.push((&source.name, sample));
            }
            Err(error) => {
                cli::print_message(&format!("{}: {}\n", source.name, describe_error(&error)));
                samples.push((&source.name, Vec::new()));
            }
        }
    }
    // One that failed counts as asked. No state of an output is known here: nothing is driven, and none is asked.
    // What a variable was set to only the service knows.
    let sensors = sources.iter().map(|s| SignalSource::Sensor(s.name.clone(), s.filtered(), PATIENCE));
    let variables = config.variables.iter().map(|v| SignalSource::Variable(v.name.clone(), v.kind.clone()));
    signals.arrange(sensors.chain(variables).collect());
    config.variables.iter().for_each(|variable| signals.assign(&variable.name, variable.initial.clone()));
    samples.iter().for_each(|(name, sample)| signals.sampled(name, clock::boottime(), sample));
    sample(config, settings, signals)
}

fn sample(config: &Config, settings: &SensorSettings, signals: &Signals) -> Result<Vec<Measurement>, DriverError> {
    let named = |name| config.buses.iter().find(|(bus, _)| bus == name).map(|(_, settings)| settings.clone());
    let bus_settings = match settings.driver.bus {
        BusNeed::Sensors => bus::Settings::Signals(signals.clone()),
        _ => settings.bus.as_ref().and_then(named).unwrap_or(bus::Settings::Host),
    };
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
            Err(error @ DriverError::TooEarly(_)) if waited < PATIENCE && settings.driver.bus != BusNeed::Sensors => {
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

/// A sample as the driver gives it, and beside it what new filters make of it.
fn print(all: &[Measurement], settings: &SensorSettings, json: bool) -> String {
    let mut filtered = all.to_vec();
    SensorFilters::new(&settings.filters, &settings.measured()).apply(&mut filtered);
    let object = |all: &[Measurement]| format!("{{{}}}", String::from_utf8_lossy(&payload::measurements(all, None)));
    match (json, settings.filters.is_empty()) {
        (true, true) => format!("{}\n", object(all)),
        (true, false) => format!("{{\"raw\":{},\"filtered\":{}}}\n", object(all), object(&filtered)),
        (false, true) => columns(&values(all, &settings.measured()).into_iter().map(Vec::from).collect::<Vec<_>>()),
        (false, false) => {
            let heads = vec![String::new(), "RAW".to_owned(), "FILTERED".to_owned()];
            let raw = values(all, &settings.measured());
            let filtered = values(&filtered, &settings.filtered());
            let beside = |[name, raw]: [String; 2]| {
                let found = filtered.iter().find(|[other, _]| *other == name);
                vec![name, raw, found.map_or("–".to_owned(), |[_, value]| value.clone())]
            };
            columns(&std::iter::once(heads).chain(raw.into_iter().map(beside)).collect::<Vec<_>>())
        }
    }
}

/// Names, and values with their units: `temperature`, `21.53 °C`.
fn values(all: &[Measurement], quantities: &[Quantity]) -> Vec<[String; 2]> {
    let value = |measurement: &Measurement| {
        let unit = quantities.iter().find(|quantity| quantity.name == measurement.name).map_or("", |q| q.unit.as_ref());
        let value = payload::plain(measurement.value);
        [measurement.name.to_string(), format!("{value} {unit}").trim_end().to_owned()]
    };
    all.iter().map(value).collect()
}

/// One line for each row, its cells under each other.
fn columns(rows: &[Vec<String>]) -> String {
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let line = |row: &Vec<String>| {
        let cells = row.iter().enumerate().map(|(column, cell)| format!("{cell:0$}  ", width(column).unwrap_or(0)));
        format!("{}\n", cells.collect::<String>().trim_end())
    };
    rows.iter().map(line).collect()
}
