//! What the gateway says of itself: `B/health` and `B/devices`.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value as Json, json};

use crate::payload::{seconds, time};
use crate::{ClockStatus, Name, OutputKind, Quantity, RunId, SensorStatus, VariableKind};

/// Status of the gateway.
#[derive(Clone, Debug)]
pub struct Health {
    /// This start of the program.
    pub run: RunId,
    /// How long the program has run.
    pub uptime: Duration,
    /// The wall clock when the report was made.
    pub time: SystemTime,
    /// Whether `time` can be trusted.
    pub clock: ClockStatus,
    /// The link to the broker.
    pub link: Link,
    /// What waits for it.
    pub spool: Spool,
    /// The numbers of every sensor, by name in order.
    pub sensors: Vec<(Name, Sensor)>,
    /// The numbers of every output, by name in order.
    pub actuators: Vec<(Name, Actuator)>,
    /// Buses that do not work: since when, and why.
    pub buses: BTreeMap<Name, (SystemTime, String)>,
    /// Rules that are stopped because they go round in a circle: since when, and why.
    pub rules: BTreeMap<Name, (SystemTime, String)>,
    /// How much of the program is in RAM, in bytes.
    pub memory: u64,
}

/// The link, as health reports it.
#[derive(Clone, Debug)]
pub struct Link {
    /// `up`, `down` or `connecting`.
    pub state: &'static str,
    /// Since when it is so, by the wall clock.
    pub since: SystemTime,
    /// Which broker; no secrets in it.
    pub broker: String,
    /// `5` or `3.1.1`.
    pub protocol: &'static str,
    /// Connections that were accepted in this run.
    pub connects: u64,
    /// The last thing that went wrong, in words.
    pub last_error: Option<String>,
    /// Something that a person must mend although the link is up.
    pub alarm: Option<String>,
}

/// The spool, as health reports it.
#[derive(Clone, Debug, Default)]
pub struct Spool {
    /// How many messages wait for the broker.
    pub queued: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// When the oldest that waits was taken.
    pub oldest: Option<SystemTime>,
    /// Readings dropped in this run; each is reported on `B/loss`.
    pub dropped: u64,
    /// What is wrong with the disk.
    pub error: Option<String>,
}

/// A sensor, as health reports it.
#[derive(Clone, Copy, Debug)]
pub struct Sensor {
    /// Whether it is well.
    pub status: SensorStatus,
    /// Readings taken in this run.
    pub taken: u64,
    /// Samples of which they were made.
    pub samples: u64,
    /// Values that filters took.
    pub filtered: u64,
    /// Samplings that failed.
    pub failed: u64,
    /// Ticks that passed without a sampling.
    pub skipped: u64,
}

/// An output, as health reports it.
#[derive(Clone, Copy, Debug)]
pub struct Actuator {
    /// Commands that named it.
    pub commands: u64,
    /// Those that were rejected or failed.
    pub rejected: u64,
    /// How often it was taken away from what a command had set: a lost link, `max_on`, an interlock.
    pub trips: u64,
}

/// `B/health`.
pub fn health(health: &Health) -> Vec<u8> {
    let sensors = health.sensors.iter().map(|(name, s)| {
        let status = s.status.as_str();
        let counts = json!({ "status": status, "taken": s.taken, "samples": s.samples, "filtered": s.filtered,
            "failed": s.failed, "skipped": s.skipped });
        (name.to_string(), counts)
    });
    let actuators = health.actuators.iter().map(|(name, a)| {
        (name.to_string(), json!({ "commands": a.commands, "rejected": a.rejected, "trips": a.trips }))
    });
    let troubles = |all: &BTreeMap<Name, (SystemTime, String)>| -> Map<_, _> {
        let trouble = |(name, (since, error)): (&Name, &(SystemTime, String))| {
            (name.to_string(), json!({ "since": time(*since), "error": error }))
        };
        all.iter().map(trouble).collect()
    };
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "run": health.run.to_string(),
        "uptime": health.uptime.as_secs(),
        "time": time(health.time),
        "clock": match health.clock {
            ClockStatus::Synchronised => "synchronised",
            ClockStatus::Unsynchronised => "unsynchronised",
        },
        "link": {
            "state": health.link.state,
            "since": time(health.link.since),
            "broker": health.link.broker,
            "protocol": health.link.protocol,
            "connects": health.link.connects,
            "last_error": health.link.last_error,
            "alarm": health.link.alarm,
        },
        "spool": {
            "queued": health.spool.queued,
            "bytes": health.spool.bytes,
            "oldest": health.spool.oldest.map(time),
            "dropped": health.spool.dropped,
            "error": health.spool.error,
        },
        "sensors": sensors.collect::<Map<_, _>>(),
        "actuators": actuators.collect::<Map<_, _>>(),
        "buses": troubles(&health.buses),
        "rules": troubles(&health.rules),
        "memory": health.memory,
    })
    .to_string()
    .into_bytes()
}

/// What `B/devices` says of a sensor.
#[derive(Clone, Debug)]
pub struct SensorDevice {
    /// The driver's name, as in `driver:`.
    pub driver: &'static str,
    /// How often it is sampled.
    pub every: Duration,
    /// Where its readings go.
    pub topic: String,
    /// Where commands go that set its total, if it is one that counts.
    pub set: Option<String>,
    /// The measurements of a reading, with their units.
    pub measurements: Vec<Quantity>,
}

/// What `B/devices` says of an output.
#[derive(Clone, Debug)]
pub struct ActuatorDevice {
    /// The driver's name, as in `driver:`.
    pub driver: &'static str,
    /// The topic to which commands are sent.
    pub set: String,
    /// Where its state is published.
    pub state: String,
    /// Which values a command may set.
    pub kind: OutputKind,
}

/// What `B/devices` says of a variable.
#[derive(Clone, Debug)]
pub struct VariableDevice {
    /// The topic to which commands are sent.
    pub set: String,
    /// Where its value is published.
    pub state: String,
    /// Which values a command may set.
    pub kind: VariableKind,
}

/// `B/devices`. Without variables there is no key for them.
pub fn devices(
    sensors: &[(Name, SensorDevice)],
    actuators: &[(Name, ActuatorDevice)],
    variables: &[(Name, VariableDevice)],
) -> Vec<u8> {
    let sensors = sensors.iter().map(|(name, device)| {
        let measurements = device.measurements.iter().map(|q| (q.name.to_string(), json!({ "unit": q.unit })));
        let mut json = json!({
            "driver": device.driver,
            "every": seconds(device.every),
            "topic": device.topic,
            "measurements": measurements.collect::<Map<_, _>>(),
        });
        if let Some(set) = &device.set {
            json["set"] = set.as_str().into();
        }
        (name.to_string(), json)
    });
    let actuators = actuators.iter().map(|(name, device)| {
        let values = match device.kind {
            OutputKind::Switch | OutputKind::Pulse => json!(["on", "off"]),
            OutputKind::Angle { most } => json!({ "min": 0, "max": most, "unit": "°" }),
            OutputKind::Cover => {
                json!({ "min": 0, "max": 100, "unit": "%", "words": ["open", "close", "stop", "calibrate"] })
            }
            OutputKind::Percent => json!({ "min": 0, "max": 100, "unit": "%" }),
        };
        let json = json!({ "driver": device.driver, "set": device.set, "state": device.state, "values": values });
        (name.to_string(), json)
    });
    let variables = variables.iter().map(|(name, device)| {
        let values = match &device.kind {
            VariableKind::Number { min, max, step, unit } => {
                json!({ "min": min, "max": max, "step": step, "unit": unit })
            }
            VariableKind::Options(options) => options.iter().map(|option| Json::from(&**option)).collect(),
        };
        (name.to_string(), json!({ "set": device.set, "state": device.state, "values": values }))
    });
    let variables: Map<_, _> = variables.collect();
    let mut all = json!({ "sensors": sensors.collect::<Map<_, _>>(), "actuators": actuators.collect::<Map<_, _>>() });
    if !variables.is_empty() {
        all["variables"] = variables.into();
    }
    all.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_report_units_topics_and_values() {
        let name = |text| Name::new(text).unwrap();
        let air = SensorDevice {
            driver: "bme280",
            every: Duration::from_secs(10),
            topic: "f/sensors/air".into(),
            set: None,
            measurements: vec![Quantity::new("temperature", "°C", 2)],
        };
        let kind = OutputKind::Switch;
        let pump = ActuatorDevice { driver: "gpio-output", set: "s".into(), state: "t".into(), kind };
        let gas = SensorDevice { set: Some("f/sensors/gas/total/set".into()), ..air.clone() };
        let made = devices(&[(name("air"), air), (name("gas"), gas)], &[(name("pump"), pump)], &[]);
        let json: Json = serde_json::from_slice(&made).unwrap();
        assert_eq!(
            (json["sensors"]["air"].get("set"), &json["sensors"]["gas"]["set"]),
            (None, &"f/sensors/gas/total/set".into())
        );
        assert_eq!(json["sensors"]["air"]["measurements"]["temperature"]["unit"], "°C");
        assert_eq!(json["sensors"]["air"]["every"], 10);
        assert_eq!(json["actuators"]["pump"]["values"], json!(["on", "off"]));
    }

    #[test]
    fn health_has_every_key_of_the_contract() {
        let report = Health {
            run: RunId(1),
            uptime: Duration::from_secs(3600),
            time: SystemTime::UNIX_EPOCH,
            clock: ClockStatus::Synchronised,
            link: Link {
                state: "up",
                since: SystemTime::UNIX_EPOCH,
                broker: "mqtt://b:1883".into(),
                protocol: "5",
                connects: 3,
                last_error: None,
                alarm: None,
            },
            spool: Spool::default(),
            sensors: vec![(
                Name::new("air").unwrap(),
                Sensor { status: SensorStatus::Ok, taken: 1, samples: 4, filtered: 2, failed: 0, skipped: 0 },
            )],
            actuators: vec![(Name::new("pump").unwrap(), Actuator { commands: 4, rejected: 1, trips: 2 })],
            buses: BTreeMap::from([(Name::new("i2c-1").unwrap(), (SystemTime::UNIX_EPOCH, "held".to_owned()))]),
            rules: BTreeMap::from([(Name::new("fan").unwrap(), (SystemTime::UNIX_EPOCH, "a circle".to_owned()))]),
            memory: 5_242_880,
        };
        let json: Json = serde_json::from_slice(&health(&report)).unwrap();
        for key in ["version", "run", "uptime", "time", "clock", "link", "spool", "sensors", "actuators", "memory"] {
            assert!(json.get(key).is_some(), "{key}");
        }
        assert_eq!(json["spool"]["oldest"], Json::Null);
        assert_eq!(json["sensors"]["air"]["taken"], 1);
        assert_eq!(json["buses"]["i2c-1"], json!({ "since": "1970-01-01T00:00:00.000Z", "error": "held" }));
        assert_eq!(json["rules"]["fan"], json!({ "since": "1970-01-01T00:00:00.000Z", "error": "a circle" }));
    }
}
