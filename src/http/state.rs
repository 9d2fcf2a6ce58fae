//! What the page is sent, as JSON: all of it at once, and what of it has changed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value as Json, json};

use crate::http::HttpResources;
use crate::log_lines::{self, Line};
use crate::roster::{Inventory, Roster};
use crate::variables::VariableView;
use crate::views::{LastReply, OutputView, SensorView, View};
use crate::worker::{ActuatorSettings, SensorSettings};
use fieldgate_clock as clock;
use fieldgate_link::{LinkState, LinkStatus};
use fieldgate_model::payload::{self, seconds, time};
use fieldgate_model::{
    ClockStatus, Form, Name, OutputKind, OutputValue, Quantity, Travel, Value, VariableKind, VariableValue,
};
use fieldgate_spool::Stats;

#[cfg(test)]
pub(super) mod tests;

/// What is known of a sensor, made into JSON only when it is sent: at most looks it is as it was.
#[derive(Clone, Debug)]
struct Shown {
    /// Its place in the inventory.
    place: usize,
    view: SensorView,
}

impl Shown {
    /// Whether both would be the same to a reader.
    fn is_as(&self, old: &Self) -> bool {
        let status = |shown: &Self| (shown.view.status, shown.view.since);
        is_same_reading(&self.view, &old.view) && status(self) == status(old) && self.view.error == old.view.error
    }
}

/// Everything that is shown, as of one moment.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) inventory: Arc<Inventory>,
    about: Map<String, Json>,
    sensors: BTreeMap<Name, Shown>,
    outputs: BTreeMap<Name, Json>,
    variables: BTreeMap<Name, Json>,
    /// What is sent as a whole.
    wholes: [(&'static str, Json); 5],
    log: Vec<Arc<Line>>,
    now: SystemTime,
    boot: Duration,
    uptime: Duration,
}

impl Snapshot {
    /// As of now; `control`: whether commands are taken.
    pub(super) fn of(resources: &HttpResources, control: bool) -> Self {
        let (sources, mut view, now) = (&resources.metrics.sources, resources.metrics.views.current(), clock::now());
        let roster: Arc<Roster> = resources.roster().clone();
        let inventory = Arc::clone(&roster.inventory);
        let sensors = inventory.sensors.iter().enumerate().map(|(place, (settings, _))| {
            let view = view.sensors.remove(&settings.name).unwrap_or_default();
            (settings.name.clone(), Shown { place, view })
        });
        let sensors = sensors.collect();
        let outputs = inventory.outputs.iter().map(|settings| {
            let protected_by = resources.protected.by(&settings.name);
            (settings.name.clone(), output(settings, &view, protected_by.as_ref()))
        });
        let variables = resources.variables.views().into_iter().map(|shown| (shown.name.clone(), variable(&shown)));
        let (link, stats) = (sources.link.borrow().clone(), sources.spool.stats());
        let alarms = alarms(&link, &stats, (&sources.buses.list(), &sources.rules.list()));
        let wholes = [
            ("clock", clock_json(now.clock)),
            ("rules", rules(&view)),
            ("link", link_json(&link)),
            ("spool", spool(&stats)),
            ("alarms", alarms),
        ];
        Self {
            sensors,
            outputs: outputs.collect(),
            variables: variables.collect(),
            wholes,
            log: log_lines::newest(),
            about: about(&inventory, &sources.run.to_string(), control),
            inventory,
            now: now.wall,
            boot: now.boot,
            uptime: now.boot.saturating_sub(sources.started.boot),
        }
    }

    /// The whole snapshot, as a page needs it that has nothing yet.
    pub(super) fn whole(&self) -> Json {
        let mut all = self.about.clone();
        all.extend(self.times());
        all.insert("sensors".into(), self.sensors.values().map(|shown| self.sensor(shown)).collect());
        all.insert("outputs".into(), self.outputs.values().cloned().collect());
        all.insert("variables".into(), self.variables.values().cloned().collect());
        all.extend(self.wholes.iter().map(|(key, json)| ((*key).to_owned(), json.clone())));
        all.insert("log".into(), self.log.iter().map(|entry| line(entry)).collect());
        Json::Object(all)
    }

    /// What is not as it was; nothing when all is.
    pub(super) fn since(&self, old: &Self) -> Option<Json> {
        let mut changed = Map::new();
        let sensors = self.sensors.iter().filter_map(|(name, shown)| match old.sensors.get(name) {
            Some(old) if shown.is_as(old) => None,
            Some(old) => Some(self.sensor_since(shown, old)),
            None => Some(self.sensor(shown)),
        });
        let sensors = sensors.collect();
        let last = old.log.last().map_or(0, |line| line.nth);
        let log = self.log.iter().filter(|entry| entry.nth > last).map(|entry| line(entry)).collect();
        let lists = [
            ("sensors", sensors),
            ("outputs", others(&self.outputs, &old.outputs)),
            ("variables", others(&self.variables, &old.variables)),
            ("log", log),
        ];
        for (key, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
            changed.insert(key.into(), list.into());
        }
        for ((key, new), _) in self.wholes.iter().zip(&old.wholes).filter(|((_, new), (_, old))| new != old) {
            changed.insert((*key).into(), new.clone());
        }
        if changed.is_empty() {
            return None;
        }
        changed.extend(self.times());
        Some(Json::Object(changed))
    }

    /// Nothing but the time.
    pub(super) fn ping(&self) -> Json {
        Json::Object(self.times().into_iter().collect())
    }

    fn times(&self) -> [(String, Json); 2] {
        [("now".into(), time(self.now).into()), ("uptime".into(), self.uptime.as_secs().into())]
    }

    fn sensor(&self, shown: &Shown) -> Json {
        match self.inventory.sensors.get(shown.place) {
            Some((settings, quantities)) => sensor(settings, quantities, &shown.view, self.boot),
            None => Json::Null,
        }
    }

    /// What of a sensor has changed, with its name and age.
    fn sensor_since(&self, shown: &Shown, old: &Shown) -> Json {
        match self.inventory.sensors.get(shown.place) {
            Some((settings, quantities)) => sensor_since(settings, quantities, (&shown.view, &old.view), self.boot),
            None => Json::Null,
        }
    }
}

fn others(new: &BTreeMap<Name, Json>, old: &BTreeMap<Name, Json>) -> Vec<Json> {
    new.iter().filter(|(name, json)| old.get(*name) != Some(json)).map(|(_, json)| json.clone()).collect()
}

fn clock_json(clock: ClockStatus) -> Json {
    match clock {
        ClockStatus::Synchronised => "synchronised".into(),
        ClockStatus::Unsynchronised => "unsynchronised".into(),
    }
}

fn about(inventory: &Inventory, run: &str, control: bool) -> Map<String, Json> {
    let about = json!({
        "api": 1,
        "version": env!("CARGO_PKG_VERSION"),
        "name": inventory.gateway.as_ref().map(Name::as_str),
        "run": run,
        "control": control,
    });
    match about {
        Json::Object(about) => about,
        _ => Map::new(),
    }
}

/// `boot`: this moment on the boot clock, from which the age of the reading counts.
fn sensor(settings: &SensorSettings, quantities: &[Quantity], view: &SensorView, boot: Duration) -> Json {
    let values = quantities.iter().map(|quantity| {
        json!({
            "name": quantity.name,
            "form": match quantity.form { Form::Number => "number", Form::Flag => "flag", Form::Word => "word" },
            "unit": quantity.unit,
            "decimals": quantity.decimals,
            "value": value(view, quantity),
        })
    });
    json!({
        "name": settings.name.as_str(),
        "driver": settings.driver.name,
        "every": seconds(settings.every),
        "status": status(view),
        "since": view.since.map(time),
        "error": view.error,
        "at": at(view),
        "age": age(view, boot),
        "values": values.collect::<Vec<_>>(),
    })
}

/// What of this is not as it was: keys of [`sensor`], and the values that differ, by their names. The age is always there: one that was
/// sent before has grown.
fn sensor_since(
    settings: &SensorSettings,
    quantities: &[Quantity],
    (new, old): (&SensorView, &SensorView),
    boot: Duration,
) -> Json {
    let named = [("name", settings.name.as_str().into()), ("age", age(new, boot).into())];
    let mut changed = Map::from_iter(named.map(|(key, json): (_, Json)| (key.to_owned(), json)));
    let mut put = |key: &str, json| changed.insert(key.to_owned(), json);
    if new.status != old.status {
        put("status", status(new));
    }
    if new.since != old.since {
        put("since", json!(new.since.map(time)));
    }
    if new.error != old.error {
        put("error", json!(new.error));
    }
    if is_same_reading(new, old) {
        return Json::Object(changed);
    }
    put("at", at(new));
    let differing = quantities.iter().filter(|quantity| value(new, quantity) != value(old, quantity));
    let values: Map<_, _> = differing.map(|quantity| (quantity.name.to_string(), value(new, quantity))).collect();
    if !values.is_empty() {
        changed.insert("values".into(), values.into());
    }
    Json::Object(changed)
}

/// Whether both have one reading as their newest. A run numbers each reading of a sensor.
fn is_same_reading(one: &SensorView, other: &SensorView) -> bool {
    let number = |view: &SensorView| view.latest.as_ref().map(|reading| (reading.run, reading.seq));
    number(one) == number(other)
}

fn status(view: &SensorView) -> Json {
    view.status.map(|status| status.as_str()).into()
}

/// When its newest reading was taken.
fn at(view: &SensorView) -> Json {
    view.latest.as_ref().map(|reading| time(reading.taken_at.wall)).into()
}

/// What its newest reading says of this quantity.
fn value(view: &SensorView, quantity: &Quantity) -> Json {
    let mut measured = view.latest.iter().flat_map(|reading| &reading.measurements);
    measured.find(|measurement| measurement.name == quantity.name).map_or(Json::Null, |found| as_read(&found.value))
}

/// How long ago its newest reading was taken, in seconds.
fn age(view: &SensorView, boot: Duration) -> Option<f64> {
    let reading = view.latest.as_ref()?;
    Some(boot.saturating_sub(reading.taken_at.boot).as_millis() as f64 / 1000.0)
}

/// As a reading has it.
fn as_read(value: &Value) -> Json {
    match value {
        Value::Number { value, decimals } => {
            serde_json::from_str(&payload::number(*value, *decimals)).unwrap_or(Json::Null)
        }
        Value::Flag(flag) => (*flag).into(),
        Value::Word(word) => (*word).into(),
    }
}

fn output(settings: &ActuatorSettings, view: &View, protected_by: Option<&Name>) -> Json {
    let (kind, most, unit) = match settings.kind {
        OutputKind::Switch => ("switch", None, ""),
        OutputKind::Pulse => ("pulse", None, ""),
        OutputKind::Percent => ("percent", Some(100), "%"),
        OutputKind::Angle { most } => ("servo", Some(most), "°"),
        OutputKind::Cover => ("cover", Some(100), "%"),
    };
    let known: Option<&OutputView> = view.outputs.get(&settings.name);
    let value = known.and_then(|known| known.value);
    let limits = &settings.limits;
    let optional = |duration: Option<Duration>| duration.map(seconds);
    let unless_zero = |duration: Duration| (!duration.is_zero()).then(|| seconds(duration));
    json!({
        "name": settings.name.as_str(),
        "driver": settings.driver.name,
        "kind": kind,
        "takes": settings.kind.takes(),
        "max": most,
        "unit": unit,
        "value": value.map(does),
        "position": value.and_then(position),
        "target": known.and_then(|known| known.target),
        "cause": known.map(|known| known.cause.as_str()),
        "since": known.map(|known| time(known.since)),
        "rule": known.and_then(|known| known.rule.as_ref()).map(Name::as_str),
        "protected_by": protected_by.map(Name::as_str),
        "last_command": view.answered.get(&settings.name).map(answered),
        "limits": {
            "safe_state": limits.safe_state.to_string(),
            "safe_after": optional(limits.safe_after),
            "max_on": optional(limits.max_on),
            "min_on": unless_zero(limits.min_on),
            "min_off": unless_zero(limits.min_off),
            "switches_per_hour": limits.switches_per_hour,
            "interlock": settings.interlock.iter().map(Name::as_str).collect::<Vec<_>>(),
            "dead_time": seconds(settings.dead_time),
        },
    })
}

/// What it does: of a cover whether it moves, of all others their value.
fn does(value: OutputValue) -> Json {
    match value {
        OutputValue::Cover { travel: Travel::Opening, .. } => "opening".into(),
        OutputValue::Cover { travel: Travel::Closing, .. } => "closing".into(),
        OutputValue::Cover { travel: Travel::Stopped, .. } => "stopped".into(),
        other => payload::output_value(other),
    }
}

fn position(value: OutputValue) -> Option<f64> {
    match value {
        OutputValue::Cover { position, .. } => position.map(f64::round),
        _ => None,
    }
}

fn answered(answered: &LastReply) -> Json {
    let LastReply { outcome, value, reason, time: at } = answered;
    json!({ "outcome": outcome.as_str(), "value": value.map(does), "reason": reason, "time": time(*at) })
}

fn variable(shown: &VariableView) -> Json {
    let VariableView { name, kind, value, since, cause } = shown;
    let value = match value {
        VariableValue::Number(number) => json!(number),
        VariableValue::Word(word) => json!(&**word),
    };
    let mut json = json!({ "name": name.as_str(), "kind": "number", "min": null, "max": null, "step": null, "unit": "",
        "options": null, "value": value, "since": time(*since), "cause": cause.as_str() });
    match kind {
        VariableKind::Number { min, max, step, unit } => {
            (json["min"], json["max"], json["step"]) = (json!(min), json!(max), json!(step));
            json["unit"] = unit.as_str().into();
        }
        VariableKind::Options(options) => {
            json["kind"] = "options".into();
            json["options"] = options.iter().map(|option| Json::from(&**option)).collect();
        }
    }
    json
}

/// From the map of `B/rules` to a list.
fn rules(view: &View) -> Json {
    let report = view.rules.as_deref().and_then(|report| serde_json::from_slice::<BTreeMap<String, Json>>(report).ok());
    let named = report.into_iter().flatten().map(|(name, mut rule)| {
        rule["name"] = name.into();
        rule
    });
    named.collect()
}

fn link_json(link: &LinkStatus) -> Json {
    json!({ "state": link.state.as_str(), "since": time(link.since), "broker": link.broker,
        "protocol": link.protocol.as_str(), "connects": link.connects, "last_error": link.last_error, "alarm": link.alarm })
}

fn spool(stats: &Stats) -> Json {
    json!({ "queued": stats.queued, "bytes": stats.bytes, "oldest": stats.oldest.map(time), "dropped": stats.dropped,
        "error": stats.error })
}

/// What does not work, since when, and why.
type Troubles = BTreeMap<Name, (SystemTime, String)>;

/// What a person must look after, sensors aside, which say it themselves.
fn alarms(link: &LinkStatus, stats: &Stats, (buses, rules): (&Troubles, &Troubles)) -> Json {
    let alarm = |about: &str, name: Option<&str>, since: Option<SystemTime>, text: &str| {
        let since = since.map(time);
        json!({ "about": about, "name": name, "since": since, "text": text })
    };
    let down = link.last_error.as_ref().filter(|_| link.state != LinkState::Up);
    let down = down.map(|error| alarm("link", None, Some(link.since), error));
    let of_link = link.alarm.as_ref().map(|text| alarm("link", None, None, text));
    let of_spool = stats.error.as_ref().map(|text| alarm("spool", None, None, text));
    let of_buses = buses.iter().map(|(name, (since, text))| alarm("bus", Some(name.as_str()), Some(*since), text));
    let of_rules = rules.iter().map(|(name, (since, text))| alarm("rule", Some(name.as_str()), Some(*since), text));
    down.into_iter().chain(of_link).chain(of_spool).chain(of_buses).chain(of_rules).collect()
}

fn line(line: &Line) -> Json {
    json!({ "n": line.nth, "time": time(line.time), "level": line.weight.as_str(), "text": line.text })
}
