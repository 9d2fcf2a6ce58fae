//! The state file of a simulated bus, seen from outside: sets inputs and chips, awaits lines.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};

use super::{wait_for, wait_until};

/// Between two ticks of a kernel with the lowest rate, `CONFIG_HZ=100`.
const TICK: Duration = Duration::from_millis(10);

/// The file; it need not exist yet.
pub struct SimFile {
    pub path: PathBuf,
}

impl SimFile {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// What it says now; an empty object when it is not there.
    pub fn read(&self) -> Value {
        match fs::read_to_string(&self.path) {
            Ok(text) => {
                serde_json::from_str(&text).unwrap_or_else(|error| panic!("half a state file ({error}): {text}"))
            }
            Err(_) => json!({}),
        }
    }

    /// Sets the electrical level of an input.
    pub fn set_input(&self, line: &str, level: u8) {
        self.write(&json!({"inputs": {line: level}}));
    }

    /// Sets the surroundings of a chip, such as `("0x76", "temperature", 30.0)`.
    pub fn set_chip(&self, address: &str, name: &str, value: f64) {
        self.write(&json!({"chips": {address: {name: value}}}));
    }

    /// Breaks a chip, or mends it with `None`.
    pub fn set_fault(&self, address: &str, fault: Option<&str>) {
        self.write(&json!({"chips": {address: {"fault": fault}}}));
    }

    /// The electrical level of an output, once it is driven.
    pub fn line(&self, line: &str) -> Option<u64> {
        self.read()["lines"][line].as_u64()
    }

    /// The percentage of a PWM channel, once it is claimed.
    pub fn pwm(&self, channel: &str) -> Option<f64> {
        self.read()["pwm"][channel].as_f64()
    }

    /// Distinguishes one version of the file from the next: every movement of an output writes a new one.
    pub fn version(&self) -> (u64, SystemTime) {
        let metadata = fs::metadata(&self.path).unwrap();
        (metadata.ino(), metadata.modified().unwrap())
    }

    /// How long after `moment` it was last written. A file carries the time of the kernel's last tick, up to 10 ms before it was
    /// written.
    pub fn written_after(&self, moment: SystemTime) -> Duration {
        self.version().1.duration_since(moment).unwrap_or_else(|early| {
            assert!(early.duration() <= TICK, "last written {:?} before", early.duration());
            Duration::ZERO
        })
    }

    /// Waits for the electrical level of an output.
    pub fn wait_line(&self, line: &str, level: u64, timeout: Duration) {
        wait_until(&format!("level {level} on {line}"), timeout, || self.line(line) == Some(level));
    }

    /// Waits for the percentage of a PWM channel.
    pub fn wait_pwm(&self, channel: &str, percent: f64, timeout: Duration) {
        wait_for(&format!("{percent} % on channel {channel}"), timeout, || {
            self.pwm(channel).filter(|now| (now - percent).abs() < 1e-6)
        });
    }

    /// Replaces the file in one step with what it says and this in it.
    pub fn write(&self, changes: &Value) {
        let mut document = self.read();
        merge(document.as_object_mut().unwrap(), changes.as_object().unwrap());
        let temporary = self.path.with_extension("outside");
        fs::write(&temporary, document.to_string()).unwrap();
        fs::rename(&temporary, &self.path).unwrap();
    }
}

fn merge(into: &mut Map<String, Value>, changes: &Map<String, Value>) {
    for (key, value) in changes {
        match (into.get_mut(key).and_then(Value::as_object_mut), value.as_object()) {
            (Some(into), Some(changes)) => merge(into, changes),
            _ => {
                into.insert(key.clone(), value.clone());
            }
        }
    }
}
