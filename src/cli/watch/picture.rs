//! What a gateway is at, by what it publishes. Pure: topics, payloads and times are handed in.
//!
//! Anybody may publish below the base topic, so nothing is believed that could do harm: names are checked, the number of devices, the
//! length of every text (`clean.rs`) and the size of what is parsed are limited, and control characters never get to the terminal.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use serde_json::Value as Json;

use crate::cli::table::{OutputLine, OutputState, SensorLine};
use crate::cli::watch::clean::{LINE_CHARS, WORD_CHARS, clean, measurements, text, value};
use fieldgate_model::topic::Topics;
use fieldgate_model::{Name, payload};

/// Sensors and outputs that are followed, of each so many. A gateway has some dozens; beyond, they are counted only.
const DEVICES: usize = 256;

/// Names that are not followed are counted up to here.
const COUNTED: usize = 10_000;

/// Bytes of a payload that is looked into; `devices` and `health` grow with the number of devices.
const PAYLOAD_BYTES: usize = 16 * 1024;
const REPORT_BYTES: usize = 256 * 1024;

/// A moment: since `fieldgate watch` began, and by the wall clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) since: Duration,
    pub(super) wall: SystemTime,
}

/// Whether the gateway is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Presence {
    /// It has not said so yet.
    #[default]
    Unknown,
    Online,
    Offline,
}

/// What a message that could be read says.
enum Read {
    /// Nothing that is new, or nothing to print.
    Quiet,
    /// This plain line.
    Line(String),
}

impl From<Option<String>> for Read {
    fn from(line: Option<String>) -> Self {
        line.map_or(Self::Quiet, Self::Line)
    }
}

/// Everything that is known.
#[derive(Debug)]
pub(super) struct Picture {
    topics: Topics,
    pub(super) presence: Presence,
    /// In the order of `devices`, then as they came.
    sensors: Vec<(Name, Sensor)>,
    outputs: Vec<(Name, Output)>,
    /// Names beyond the limit.
    beyond: BTreeSet<Name>,
    /// Messages that could not be read.
    pub(super) unreadable: u64,
    pub(super) late: u64,
    pub(super) lost: u64,
    health: Option<Health>,
}

#[derive(Debug, Default)]
struct Sensor {
    driver: String,
    units: BTreeMap<String, String>,
    shown: Option<Shown>,
    status: Option<String>,
}

/// The values that are shown.
#[derive(Debug)]
struct Shown {
    run: String,
    seq: u64,
    words: String,
    is_late: bool,
    taken: Taken,
}

/// When, as far as that is known here.
#[derive(Clone, Copy, Debug)]
enum Taken {
    /// Just before it came: clocks need not agree.
    Seen(Duration),
    /// By the gateway's clock.
    At(SystemTime),
    /// Nobody knows, for its clock was not set.
    Unknown,
}

#[derive(Debug, Default)]
struct Output {
    driver: String,
    state: Option<(String, Taken, String)>,
}

#[derive(Debug)]
struct Health {
    uptime: Duration,
    seen: Duration,
    queued: u64,
    trouble: Option<String>,
}

impl Picture {
    pub(super) fn new(topics: Topics) -> Self {
        Self {
            topics,
            presence: Presence::Unknown,
            sensors: Vec::new(),
            outputs: Vec::new(),
            beyond: BTreeSet::new(),
            unreadable: 0,
            late: 0,
            lost: 0,
            health: None,
        }
    }

    /// What is subscribed to, `devices` first: it brings order and units.
    pub(super) fn filters(&self) -> Vec<String> {
        let base = self.topics.base();
        let below =
            ["devices", "status", "health", "loss", "sensors/+", "sensors/+/status", "late/+", "actuators/+/state"];
        below.iter().map(|below| format!("{base}/{below}")).collect()
    }

    /// Takes a message in; returns the plain line for it, if it says something.
    pub(super) fn take(&mut self, topic: &str, payload: &[u8], is_retained: bool, now: Now) -> Option<String> {
        let levels: Vec<_> = self.topics.below(topic)?.split('/').collect();
        let read = match levels[..] {
            // What is cleared says nothing.
            [_, ..] if payload.is_empty() => Some(Read::Quiet),
            ["status"] => self.status(payload).map(|words| Read::Line(stamped(now, &words))),
            ["devices"] => json(payload, REPORT_BYTES).map(|devices| {
                self.devices(&devices);
                Read::Quiet
            }),
            ["health"] => json(payload, REPORT_BYTES).map(|health| self.health(&health, now).into()),
            ["loss"] => {
                json(payload, PAYLOAD_BYTES).map(|loss| self.loss(&loss).map(|words| stamped(now, &words)).into())
            }
            ["sensors", name] => self.reading(name, payload, is_retained, false, now),
            ["late", name] => self.reading(name, payload, is_retained, true, now),
            ["sensors", name, "status"] => self.sensor_status(name, payload, now),
            ["actuators", name, "state"] => self.state(name, payload, is_retained, now),
            _ => Some(Read::Quiet),
        };
        match read {
            Some(Read::Line(line)) => Some(line),
            Some(Read::Quiet) => None,
            None => {
                self.unreadable += 1;
                None
            }
        }
    }

    fn status(&mut self, payload: &[u8]) -> Option<String> {
        let presence = match payload {
            b"online" => Presence::Online,
            b"offline" => Presence::Offline,
            _ => return None,
        };
        let words = match presence {
            Presence::Offline => "offline: it has stopped, or the broker has lost it",
            _ => "online",
        };
        self.presence = presence;
        Some(format!("gateway  {words}"))
    }

    /// Order, drivers and units. Devices that are not in it any more are forgotten.
    fn devices(&mut self, devices: &Json) {
        let listed = |key: &str| {
            let all = devices[key].as_object().into_iter().flatten().take(DEVICES);
            all.filter_map(|(name, device)| Some((Name::new(name).ok()?, device.clone()))).collect::<Vec<_>>()
        };
        let mut sensors = std::mem::take(&mut self.sensors);
        for (name, device) in listed("sensors") {
            let mut sensor = remove(&mut sensors, &name).unwrap_or_default();
            sensor.driver = text(&device["driver"], WORD_CHARS);
            let units = device["measurements"].as_object().into_iter().flatten().take(DEVICES);
            sensor.units = units.map(|(name, of)| (clean(name, WORD_CHARS), text(&of["unit"], WORD_CHARS))).collect();
            self.sensors.push((name, sensor));
        }
        let mut outputs = std::mem::take(&mut self.outputs);
        for (name, device) in listed("actuators") {
            let mut output = remove(&mut outputs, &name).unwrap_or_default();
            output.driver = text(&device["driver"], WORD_CHARS);
            self.outputs.push((name, output));
        }
        self.beyond.clear();
    }

    fn health(&mut self, health: &Json, now: Now) -> Option<String> {
        let alarm = [&health["link"]["alarm"], &health["spool"]["error"]].into_iter().find(|words| words.is_string());
        let trouble = alarm.map(|words| text(words, LINE_CHARS));
        let before = self.health.take().and_then(|before| before.trouble);
        let changed = trouble != before;
        self.health = Some(Health {
            uptime: Duration::from_secs(health["uptime"].as_u64().unwrap_or(0)),
            seen: now.since,
            queued: health["spool"]["queued"].as_u64().unwrap_or(0),
            trouble: trouble.clone(),
        });
        let words = trouble.map_or_else(|| "no alarm any more".into(), |words| format!("alarm: {words}"));
        changed.then(|| stamped(now, &format!("gateway  {words}")))
    }

    fn loss(&mut self, loss: &Json) -> Option<String> {
        let (count, sensor, reason) =
            (loss["count"].as_u64()?, text(&loss["sensor"], WORD_CHARS), text(&loss["reason"], LINE_CHARS));
        self.lost = self.lost.saturating_add(count);
        Some(format!("{sensor}  {count} readings are lost: {reason}"))
    }

    /// `None`: it cannot be read; the same below.
    fn reading(&mut self, name: &str, payload: &[u8], is_retained: bool, is_late: bool, now: Now) -> Option<Read> {
        let name = Name::new(name).ok()?;
        let reading = json(payload, PAYLOAD_BYTES)?;
        let all = reading.as_object()?;
        let Some(sensor) = entry(&mut self.sensors, &name, &mut self.beyond) else { return Some(Read::Quiet) };
        let words = measurements(all, &sensor.units);
        let at = all.get("time").and_then(Json::as_str).and_then(|time| humantime::parse_rfc3339(time).ok());
        let is_dated = all.get("clock").is_none_or(|clock| clock != "unsynchronised");
        let taken = match at {
            _ if !is_retained && !is_late => Taken::Seen(now.since),
            Some(at) if is_dated => Taken::At(at),
            _ => Taken::Unknown,
        };
        let (run, seq) = (text(&reading["run"], WORD_CHARS), reading["seq"].as_u64().unwrap_or(0));
        self.late += u64::from(is_late);
        let is_new = sensor.shown.as_ref().is_none_or(|shown| shown.gives_way_to(&run, seq, is_late));
        let mark = if is_late { " (late)" } else { "" };
        let when = payload::time(at.unwrap_or(now.wall));
        let line = format!("{when}  {name}  {words}{mark}");
        if is_new {
            sensor.shown = Some(Shown { run, seq, words: format!("{words}{mark}"), is_late, taken });
        }
        Some((is_new || is_late).then_some(line).into())
    }

    fn sensor_status(&mut self, name: &str, payload: &[u8], now: Now) -> Option<Read> {
        let name = Name::new(name).ok()?;
        let status = json(payload, PAYLOAD_BYTES)?;
        let mut words = clean(status["status"].as_str()?, WORD_CHARS);
        if let Some(error) = status["error"].as_str() {
            words += &format!(": {}", clean(error, LINE_CHARS));
        }
        let Some(sensor) = entry(&mut self.sensors, &name, &mut self.beyond) else { return Some(Read::Quiet) };
        let line = stamped(now, &format!("{name}  {words}"));
        let is_new = sensor.status.as_ref() != Some(&words);
        sensor.status = Some(words);
        Some(is_new.then_some(line).into())
    }

    fn state(&mut self, name: &str, payload: &[u8], is_retained: bool, now: Now) -> Option<Read> {
        let name = Name::new(name).ok()?;
        let state = json(payload, PAYLOAD_BYTES)?;
        let value = value(state.as_object()?.get("value")?);
        let cause = text(&state["cause"], WORD_CHARS);
        let at = state["time"].as_str().and_then(|time| humantime::parse_rfc3339(time).ok());
        let taken = match at {
            _ if !is_retained => Taken::Seen(now.since),
            Some(at) => Taken::At(at),
            None => Taken::Unknown,
        };
        let Some(output) = entry(&mut self.outputs, &name, &mut self.beyond) else { return Some(Read::Quiet) };
        let when = payload::time(at.unwrap_or(now.wall));
        let line = format!("{when}  {name}  {value}  {cause}");
        output.state = Some((value, taken, cause));
        Some(Read::Line(line))
    }

    /// The lines of the table.
    pub(super) fn sensor_lines(&self, now: Now) -> Vec<SensorLine> {
        let line = |(name, sensor): &(Name, Sensor)| SensorLine {
            name: name.to_string(),
            driver: sensor.driver.clone(),
            latest: sensor.shown.as_ref().map(|shown| shown.words.clone()),
            age: sensor.shown.as_ref().and_then(|shown| shown.taken.age(now)),
            status: sensor.status.clone(),
        };
        self.sensors.iter().map(line).collect()
    }

    /// A line of the table for each output.
    pub(super) fn output_lines(&self, now: Now) -> Vec<OutputLine> {
        let line = |(name, output): &(Name, Output)| OutputLine {
            name: name.to_string(),
            driver: output.driver.clone(),
            state: output.state.as_ref().map(|(value, since, cause)| OutputState {
                value: Some(value.clone()),
                since: since.age(now).unwrap_or_default(),
                cause: cause.clone(),
            }),
        };
        self.outputs.iter().map(line).collect()
    }

    /// For how long the gateway has been running, and how many messages wait there.
    pub(super) fn vitals(&self, now: Now) -> Option<(Duration, u64)> {
        self.health.as_ref().map(|health| (health.uptime + now.since.saturating_sub(health.seen), health.queued))
    }

    /// What a person should look at.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(trouble) = self.health.as_ref().and_then(|health| health.trouble.as_ref()) {
            notes.push(format!("alarm    {trouble}"));
        }
        if self.late > 0 {
            notes.push(format!("late     {} readings of earlier times have arrived", self.late));
        }
        if self.lost > 0 {
            notes.push(format!("lost     {} readings will never arrive", self.lost));
        }
        if !self.beyond.is_empty() {
            let more = if self.beyond.len() < COUNTED { "" } else { " or more" };
            notes.push(format!("more     {}{more} other names publish here; {DEVICES} are shown", self.beyond.len()));
        }
        if self.unreadable > 0 {
            notes.push(format!("strange  {} messages cannot be read, so they are of no gateway", self.unreadable));
        }
        notes
    }
}

impl Shown {
    /// A repeat, and what comes late, does not take the place of newer values.
    fn gives_way_to(&self, run: &str, seq: u64, is_late: bool) -> bool {
        match (self.run == run, is_late) {
            (true, _) => seq > self.seq,
            (false, true) => self.is_late,
            (false, false) => true,
        }
    }
}

impl Taken {
    fn age(self, now: Now) -> Option<Duration> {
        match self {
            Self::Seen(since) => Some(now.since.saturating_sub(since)),
            // Clocks differ a little.
            Self::At(at) => Some(now.wall.duration_since(at).unwrap_or_default()),
            Self::Unknown => None,
        }
    }
}

/// A line for what has no time of its own.
fn stamped(now: Now, words: &str) -> String {
    format!("{}  {words}", payload::time(now.wall))
}

/// The device of this name, a new one if there is room.
fn entry<'a, T: Default>(all: &'a mut Vec<(Name, T)>, name: &Name, beyond: &mut BTreeSet<Name>) -> Option<&'a mut T> {
    let place = all.iter().position(|(known, _)| known == name);
    if place.is_none() && all.len() >= DEVICES {
        if beyond.len() < COUNTED {
            beyond.insert(name.clone());
        }
        return None;
    }
    let place = place.unwrap_or_else(|| {
        all.push((name.clone(), T::default()));
        all.len() - 1
    });
    all.get_mut(place).map(|(_, device)| device)
}

fn remove<T>(all: &mut Vec<(Name, T)>, name: &Name) -> Option<T> {
    let place = all.iter().position(|(known, _)| known == name)?;
    Some(all.remove(place).1)
}

fn json(payload: &[u8], limit: usize) -> Option<Json> {
    if payload.len() > limit { None } else { serde_json::from_slice(payload).ok() }
}

#[cfg(test)]
#[path = "picture/tests.rs"]
mod tests;
