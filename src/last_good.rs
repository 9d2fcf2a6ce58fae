//! The last good table of outputs, left in the runtime directory for `fieldgate safe-state`.
//!
//! After a crash, or when the configuration file was broken meanwhile, the outputs must still be found: what drives them to
//! their safe state then is this table, not the file. It holds no secret.
//!
//! The file's name and place are in `last_good/place.rs`; it says inside which configuration it belongs to.

mod place;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};
use thiserror::Error;

use fieldgate_bus as bus;
use fieldgate_drivers as drivers;
use fieldgate_model::{Name, OutputValue, Setting, Settings, Travel};

pub use place::Place;

/// One output and how to reach it.
#[derive(Clone, Debug, PartialEq)]
pub struct SafeOutput {
    /// The output's name in the configuration.
    pub name: Name,
    /// The driver's name, as in `driver:`.
    pub driver: &'static str,
    /// How to open its bus.
    pub bus: bus::Settings,
    /// The lines of that bus that are inputs, and must stay so.
    pub inputs: Vec<String>,
    /// What the driver is configured with.
    pub settings: Settings,
    /// Where it must go.
    pub safe_state: OutputValue,
    /// Outputs that must not be on beside it, if it is on when it is safe: they must be off first.
    pub beside: Vec<Name>,
    /// How long after that it still waits.
    pub dead_time: Duration,
}

/// Why a table could not be kept or read. Report it to the user; the configuration file is the other source.
#[derive(Debug, Error)]
pub enum LastGoodError {
    /// The file could not be read or written.
    #[error("the table of outputs {path} cannot be used")]
    Io {
        /// Where the table is kept, in the runtime directory.
        path: PathBuf,
        /// The kernel's answer, with errno.
        #[source]
        source: io::Error,
    },
    /// The file was damaged or written by another version.
    #[error("the table of outputs {path} cannot be understood: {what}")]
    Format {
        /// Where the table is kept, in the runtime directory.
        path: PathBuf,
        /// The part that is wrong.
        what: String,
    },
}

/// Keeps the table, replacing an older one as a whole.
///
/// # Errors
/// [`LastGoodError::Io`].
pub fn save(place: &Place, outputs: &[SafeOutput]) -> Result<(), LastGoodError> {
    let path = place.path();
    let failed = |source| LastGoodError::Io { path: path.to_owned(), source };
    let list: Vec<Row> = outputs.iter().map(Row::from).collect();
    let table = json!({ "configuration": place.configuration(), "outputs": list });
    let part = path.with_extension("part");
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(failed)?;
    }
    std::fs::write(&part, table.to_string()).map_err(failed)?;
    std::fs::rename(&part, path).map_err(failed)?;
    place.remove_former();
    Ok(())
}

/// Reads the table; `None` when there is none.
///
/// # Errors
/// [`LastGoodError`].
pub fn load(place: &Place) -> Result<Option<Vec<SafeOutput>>, LastGoodError> {
    let Some(path) = place.existing() else { return Ok(None) };
    let text = std::fs::read_to_string(path).map_err(|source| LastGoodError::Io { path: path.to_owned(), source })?;
    let wrong = |what: &str| LastGoodError::Format { path: path.to_owned(), what: what.to_owned() };
    let table: Json = serde_json::from_str(&text).map_err(|e| wrong(&e.to_string()))?;
    let list = match &table {
        // Earlier versions wrote the outputs alone.
        Json::Array(list) => list,
        table => {
            let owner = table["configuration"].as_str().ok_or_else(|| wrong("it names no configuration"))?;
            if owner != place.configuration() {
                return Err(wrong(&format!("it belongs to another configuration, {owner}")));
            }
            table["outputs"].as_array().ok_or_else(|| wrong("it has no list of outputs"))?
        }
    };
    let output = |row: &Json| Row::deserialize(row).ok()?.output();
    list.iter().map(|row| output(row).ok_or_else(|| wrong(&row.to_string()))).collect::<Result<_, _>>().map(Some)
}

/// One output as it stands in the file.
#[derive(Serialize, Deserialize)]
struct Row {
    name: String,
    driver: String,
    bus: Json,
    inputs: Vec<String>,
    settings: Map<String, Json>,
    safe_state: SafeState,
    beside: Vec<String>,
    /// In microseconds.
    dead_time: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum SafeState {
    Switch(bool),
    Percent(f64),
    Angle { angle: Option<f64> },
    Cover(Motor),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Motor {
    Stopped,
}

impl From<OutputValue> for SafeState {
    fn from(value: OutputValue) -> Self {
        match value {
            OutputValue::Switch(on) => Self::Switch(on),
            OutputValue::Percent(percent) => Self::Percent(percent),
            OutputValue::Angle(angle) => Self::Angle { angle },
            // A motor is stopped, whatever it was to do.
            OutputValue::Cover { .. } => Self::Cover(Motor::Stopped),
        }
    }
}

impl From<SafeState> for OutputValue {
    fn from(state: SafeState) -> Self {
        match state {
            SafeState::Switch(on) => Self::Switch(on),
            SafeState::Percent(percent) => Self::Percent(percent),
            SafeState::Angle { angle } => Self::Angle(angle),
            SafeState::Cover(Motor::Stopped) => Self::Cover { travel: Travel::Stopped, position: None },
        }
    }
}

impl From<&SafeOutput> for Row {
    fn from(output: &SafeOutput) -> Self {
        let settings = output.settings.iter().map(|(name, setting)| (name.to_owned(), setting.to_json()));
        Self {
            name: output.name.as_str().to_owned(),
            driver: output.driver.to_owned(),
            bus: output.bus.to_json(),
            inputs: output.inputs.clone(),
            settings: settings.collect(),
            safe_state: output.safe_state.into(),
            beside: output.beside.iter().map(|name| name.as_str().to_owned()).collect(),
            dead_time: u64::try_from(output.dead_time.as_micros()).unwrap_or(u64::MAX),
        }
    }
}

impl Row {
    /// The output, if all that is named here is there.
    fn output(self) -> Option<SafeOutput> {
        let spec = drivers::find(&self.driver)?;
        let mut settings = Settings::default();
        for (key, value) in &self.settings {
            let field = spec.settings.iter().find(|field| field.name == key)?;
            settings.insert(field.name, Setting::from_json(&field.kind, value)?);
        }
        Some(SafeOutput {
            name: Name::new(&self.name).ok()?,
            driver: spec.name,
            bus: bus::Settings::from_json(&self.bus)?,
            inputs: self.inputs,
            settings,
            safe_state: self.safe_state.into(),
            beside: self.beside.iter().map(|name| Name::new(name).ok()).collect::<Option<_>>()?,
            dead_time: Duration::from_micros(self.dead_time),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn at(directory: &Path, configuration: &str) -> Place {
        Place::of(Path::new(configuration), Some(directory), None).unwrap()
    }

    fn pump() -> SafeOutput {
        let mut settings = Settings::default();
        settings.insert("line", Setting::Text("GPIO27".into()));
        settings.insert("active_low", Setting::Flag(true));
        SafeOutput {
            name: Name::new("pump").unwrap(),
            driver: "gpio-output",
            bus: bus::sim::at(Some(Path::new("/tmp/bench.json"))),
            inputs: Vec::new(),
            settings,
            safe_state: OutputValue::Switch(false),
            beside: vec![Name::new("valve").unwrap()],
            dead_time: Duration::from_millis(100),
        }
    }

    /// A pump on an expander behind a multiplexer.
    fn far_pump() -> SafeOutput {
        let upon = |name, settings| bus::Upstream { name: Name::new(name).unwrap(), settings };
        let address = |address| ("address", Setting::Integer(address));
        let on = upon("i2c-1", bus::i2c::at(Path::new("/dev/i2c-1")));
        let shelf = bus::multiplexer::TCA9548A.upon(on, [address(0x70), ("channel", Setting::Integer(3))]);
        let settings = bus::expander::PCF8574.upon(upon("shelf", shelf), [address(0x20)]);
        SafeOutput { bus: settings, inputs: vec!["P4".into()], ..pump() }
    }

    /// Half a millisecond is half a turn.
    fn servo() -> SafeOutput {
        let mut settings = Settings::default();
        settings.insert("min_pulse", Setting::Duration(Duration::from_micros(500)));
        SafeOutput { driver: "pwm-servo", settings, safe_state: OutputValue::Angle(Some(90.0)), ..pump() }
    }

    #[test]
    fn a_table_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let place = at(&folder.path().join("run"), "/etc/a.yaml");
        assert_eq!(load(&place).unwrap(), None, "no file is no failure");
        save(&place, &[pump(), far_pump(), servo()]).unwrap();
        assert_eq!(load(&place).unwrap().unwrap(), [pump(), far_pump(), servo()]);
    }

    #[test]
    fn every_safe_state_is_read_as_it_was_written() {
        let stopped = OutputValue::Cover { travel: Travel::Stopped, position: None };
        let angles = [OutputValue::Angle(None), OutputValue::Angle(Some(90.0))];
        for value in [OutputValue::Switch(true), OutputValue::Percent(20.0), stopped].into_iter().chain(angles) {
            let written = serde_json::to_string(&SafeState::from(value)).unwrap();
            assert_eq!(OutputValue::from(serde_json::from_str::<SafeState>(&written).unwrap()), value, "{written}");
        }
    }

    #[test]
    fn a_damaged_table_is_an_error_in_words() {
        let folder = tempfile::tempdir().unwrap();
        let place = at(folder.path(), "/etc/a.yaml");
        for text in ["", "{", "{}", "[1]", r#"[{"driver":"nothing"}]"#, r#"{"configuration":"/etc/a.yaml"}"#] {
            std::fs::write(place.path(), text).unwrap();
            assert!(matches!(load(&place), Err(LastGoodError::Format { .. })), "{text}");
        }
    }

    #[test]
    fn the_table_of_another_configuration_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (mine, other) = (at(folder.path(), "/etc/a.yaml"), at(folder.path(), "/etc/b.yaml"));
        save(&other, &[pump()]).unwrap();
        std::fs::rename(other.path(), mine.path()).unwrap();
        let error = load(&mine).unwrap_err().to_string();
        assert!(error.ends_with("it belongs to another configuration, etc-b.yaml"), "{error}");
    }

    #[test]
    fn a_table_that_the_version_before_wrote_is_read_and_then_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let place = at(folder.path(), "/etc/a.yaml");
        let former = folder.path().join(Place::former_name(Path::new("/etc/a.yaml")));
        std::fs::write(&former, serde_json::to_string(&[Row::from(&pump())]).unwrap()).unwrap();
        assert_eq!(load(&place).unwrap().unwrap(), [pump()]);
        assert_eq!(load(&at(folder.path(), "/etc/b.yaml")).unwrap(), None, "it is another configuration's");
        save(&place, &[servo()]).unwrap();
        assert_eq!(load(&place).unwrap().unwrap(), [servo()]);
        assert!(!former.exists(), "what it says is no longer true");
    }
}
