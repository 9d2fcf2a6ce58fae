//! `fieldgate check`: every problem of a configuration, or what it will publish and subscribe.

mod json;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value as Json;

use crate::cli::{EXIT_CONFIG, colour, print_message, put, rules};
use crate::config::{self, Config, InForce, Loaded, Origin, report};
use crate::worker::{ActuatorSettings, SensorSettings};
use json::{bad, good};

use fieldgate_drivers::BusNeed;
use fieldgate_link::{Broker, ProtocolChoice, Transport};
use fieldgate_model::field::format_duration;
use fieldgate_model::{Form, Quantity, Variable};
pub(super) use json::problems;

/// Checks the file at `path`. Problems go to standard error; with `json` everything goes to standard output.
pub fn run(path: &Path, json: bool) -> ExitCode {
    match config::load_in_force(path) {
        Ok(in_force) if json => put(&pretty(&good(path, &in_force.loaded, &in_force.origin)), ExitCode::SUCCESS),
        Ok(InForce { loaded, origin, .. }) => {
            // Places in a stored one would be looked for in the file; who sent it has got them with the answer.
            if !loaded.warnings.is_empty() && origin.source() == "file" {
                print_message(&report::render(path, &loaded.warnings, colour()));
            }
            put(&(summary(path, &loaded.config) + &describe_sources(&loaded) + &describe(&origin)), ExitCode::SUCCESS)
        }
        Err(error) if json => put(&pretty(&bad(path, &error.problems)), ExitCode::from(EXIT_CONFIG)),
        Err(error) => {
            print_message(&report::render(path, &error.problems, colour()));
            ExitCode::from(EXIT_CONFIG)
        }
    }
}

/// Whose configuration that is, where a request may have carried another.
fn describe(origin: &Origin) -> String {
    if *origin == Origin::File { String::new() } else { format!("\nin force is {origin}\n") }
}

/// What a configuration is put together from, where that is more than its file.
fn describe_sources(loaded: &Loaded) -> String {
    let mut out = String::new();
    if !loaded.parts.is_empty() {
        let all: Vec<_> = loaded.parts.iter().map(|part| part.display().to_string()).collect();
        out += &format!("\nincludes {}\n", all.join(", "));
    }
    if !loaded.variables.is_empty() {
        out += &format!("\nuses the environment variables {}\n", loaded.variables.join(", "));
    }
    out
}

/// What the configuration will do, for people.
pub fn summary(path: &Path, config: &Config) -> String {
    let link = &config.link;
    let brokers: Vec<_> = link.brokers.iter().map(address).collect();
    let mut out = format!(
        "{}: no problems found.\n\nconnects to {} by MQTT {} as {}\n",
        path.display(),
        brokers.join(", then "),
        if link.protocol == ProtocolChoice::Auto {
            "5, or 3.1.1 where no other is known,"
        } else {
            link.protocol.as_str()
        },
        link.client_id.as_deref().unwrap_or("a random identifier"),
    );
    let mut rows = vec![row(["PUBLISHES", "EVERY", "QOS", "RETAINED", "WHAT"])];
    rows.extend(config.sensors.iter().map(|sensor| published(config, sensor)));
    let state = yes(link.retain_state);
    rows.extend(always(config).into_iter().map(|(topic, every, qos, retained, what)| {
        let retained = if retained == "yes" { state } else { retained };
        [topic, every.into(), qos.into(), retained.into(), what.into()]
    }));
    table(&mut out, &rows);
    if !config.actuators.is_empty() {
        let mut rows = vec![row(["SUBSCRIBES", "TAKES", "SAFE STATE", "WHEN THE LINK IS LOST", "LIMITS"])];
        rows.extend(config.actuators.iter().map(|actuator| subscribed(config, actuator)));
        table(&mut out, &rows);
    }
    let totals: Vec<_> = totals(config).map(|(sensor, total)| settable(config, sensor, &total)).collect();
    if !totals.is_empty() {
        table(&mut out, &[vec![row(["SUBSCRIBES", "TAKES", "", "", ""])], totals.clone()].concat());
    }
    let variables: Vec<_> = config.variables.iter().map(|variable| set_variable(config, variable)).collect();
    if !variables.is_empty() {
        table(&mut out, &[vec![row(["SUBSCRIBES", "TAKES", "INITIAL", "", ""])], variables.clone()].concat());
    }
    if let Some(requests) = &config.requests {
        let all: Vec<_> = requests.allow.iter().map(String::as_str).collect();
        let topic = format!("{}/request/+", config.topics.base());
        table(&mut out, &[row(["SUBSCRIBES", "ANSWERS", "", "", ""]), row([&topic, &all.join(", "), "", "", ""])]);
    }
    if !config.rules.is_empty() {
        let switches = config.rules.iter().map(|rule| {
            [config.topics.set_rule(&rule.name), "on or off".into(), "on".into(), String::new(), String::new()]
        });
        table(&mut out, &[vec![row(["SUBSCRIBES", "TAKES", "INITIAL", "", ""])], switches.collect()].concat());
    }
    if config.actuators.is_empty() && totals.is_empty() && variables.is_empty() && config.rules.is_empty() {
        out.push_str("\nsubscribes to no commands\n");
    }
    rules_in_words(&mut out, config);
    shown(&mut out, config);
    let status = config.topics.status();
    out += &format!("listens to its own {status}, to notice another gateway of its name\n");
    out
}

/// What each rule does, in words.
fn rules_in_words(out: &mut String, config: &Config) {
    if !config.rules.is_empty() {
        out.push_str("\nRULES\n");
    }
    *out += &rules::in_words(config);
}

/// What Home Assistant will show.
fn shown(out: &mut String, config: &Config) {
    let devices = config.shown_devices();
    if devices.is_empty() {
        return;
    }
    let mut rows = vec![row(["HOME ASSISTANT", "NAME", "DEVICE", "ID", ""])];
    for device in &devices {
        rows.extend(device.entities.iter().map(|entity| {
            [
                entity.entity_id.clone(),
                entity.name.clone(),
                device.name.clone(),
                entity.unique_id.clone(),
                String::new(),
            ]
        }));
    }
    table(out, &rows);
    let topics: Vec<_> = devices.iter().map(|device| device.topic.as_str()).collect();
    *out += &format!("announced, retained, on {}\n", topics.join(", "));
    let prefix = config.home_assistant.as_ref().map_or("", |settings| settings.prefix.as_str());
    *out += &format!("listens to {prefix}/status, to notice a start of Home Assistant\n");
}

type Row = [String; 5];

fn row(cells: [&str; 5]) -> Row {
    cells.map(str::to_owned)
}

fn published(config: &Config, sensor: &SensorSettings) -> Row {
    let what: Vec<_> =
        sensor.quantities().iter().map(|q| format!("{} {}", q.name, q.unit).trim_end().to_owned()).collect();
    [
        config.topics.reading(&sensor.name),
        how_often(sensor),
        (sensor.qos as u8).to_string(),
        yes(sensor.retain).into(),
        what.join(", "),
    ]
}

/// When there are readings: of a contact with each change, of a computed sensor with each sample of an input, and of both at
/// the latest after `every`.
fn how_often(sensor: &SensorSettings) -> String {
    let is_flag = |quantities: &[Quantity]| quantities.iter().any(|quantity| quantity.form == Form::Flag);
    let every = format_duration(sensor.every);
    let each = match sensor.driver.bus {
        BusNeed::Sensors => format!("input, {every}"),
        _ if is_flag(&sensor.measured()) => format!("change, {every}"),
        _ => every,
    };
    let Some(report) = &sensor.report else { return each };
    let changes = !report.delta.is_empty() || is_flag(&sensor.filtered());
    match (report.max_interval.map(format_duration), changes) {
        (Some(longest), true) => format!("change, {longest}"),
        (Some(longest), false) => longest,
        (None, _) if report.takes_every_sample() => match sensor.driver.bus {
            BusNeed::Sensors if !report.min_interval.is_zero() => format_duration(report.min_interval),
            _ if report.min_interval > sensor.every => format_duration(report.min_interval),
            _ => each,
        },
        (None, _) => "change".into(),
    }
}

/// What every gateway publishes.
fn always(config: &Config) -> Vec<(String, &'static str, &'static str, &'static str, &'static str)> {
    let base = config.topics.base();
    let mut all = vec![(config.topics.status(), "change", "1", "yes", "online or offline")];
    if !config.sensors.is_empty() {
        all.push((format!("{base}/sensors/+/status"), "change", "1", "yes", "ok, degraded or down"));
        if config.plain {
            all.push((
                format!("{base}/sensors/+/<measurement>"),
                "reading",
                "1",
                "yes",
                "the newest value as bare text",
            ));
        }
        all.push((format!("{base}/late/+"), "-", "as above", "no", "readings delayed by an outage"));
        all.push((config.topics.loss(), "-", "1", "no", "readings that will never arrive"));
        if totals(config).next().is_some() {
            all.push((format!("{base}/sensors/+/total/reply"), "-", "1", "no", "the answer to each new total"));
        }
    }
    if !config.actuators.is_empty() {
        all.push((format!("{base}/actuators/+/state"), "change", "1", "yes", "what each output does"));
        if config.plain {
            all.push((format!("{base}/actuators/+"), "change", "1", "yes", "what each output does as bare text"));
        }
        all.push((format!("{base}/actuators/+/reply"), "-", "1", "no", "the answer to each command"));
    }
    if !config.variables.is_empty() {
        all.push((format!("{base}/variables/+/state"), "change", "1", "yes", "what each variable is"));
        all.push((format!("{base}/variables/+/reply"), "-", "1", "no", "the answer to each new value"));
    }
    if !config.rules.is_empty() {
        all.push((config.topics.rules(), "change", "1", "yes", "what each rule is at"));
        all.push((format!("{base}/rules/+/reply"), "-", "1", "no", "the answer to each switch"));
    }
    if config.requests.is_some() {
        all.push((format!("{base}/response/+"), "-", "1", "no", "the answer to each request"));
    }
    all.push((config.topics.devices(), "change", "1", "yes", "what this gateway has"));
    all.push((config.topics.health(), "30s", "1", "yes", "its status"));
    all
}

/// The sensors that count, and what can be set of them.
fn totals(config: &Config) -> impl Iterator<Item = (&SensorSettings, Quantity)> {
    config.sensors.iter().filter_map(|sensor| Some((sensor, sensor.total()?.0)))
}

fn settable(config: &Config, sensor: &SensorSettings, total: &Quantity) -> Row {
    let unit = if total.unit.is_empty() { "of pulses" } else { &format!("in {}", total.unit) };
    let takes = format!("a new total, a number {unit}");
    [config.topics.set_total(&sensor.name), takes, String::new(), String::new(), String::new()]
}

fn set_variable(config: &Config, variable: &Variable) -> Row {
    let topic = config.topics.set_variable(&variable.name);
    [topic, variable.kind.takes(), variable.initial.to_string(), String::new(), String::new()]
}

fn subscribed(config: &Config, actuator: &ActuatorSettings) -> Row {
    [
        config.topics.set(&actuator.name),
        actuator.kind.takes(),
        actuator.limits.safe_state.to_string(),
        actuator
            .limits
            .safe_after
            .map_or("keeps its state".into(), |after| format!("safe after {}", format_duration(after))),
        limits(config, actuator),
    ]
}

fn limits(config: &Config, actuator: &ActuatorSettings) -> String {
    let limits = &actuator.limits;
    let least = |key: &str, time: Duration| (!time.is_zero()).then(|| format!("{key} {}", format_duration(time)));
    // It is enough that one of two names the other.
    let excludes = |other: &&ActuatorSettings| {
        other.name != actuator.name
            && (actuator.interlock.contains(&other.name) || other.interlock.contains(&actuator.name))
    };
    let beside: Vec<_> = config.actuators.iter().filter(excludes).map(|other| other.name.as_str()).collect();
    let all = [
        limits.max_on.map(|time| format!("max_on {}", format_duration(time))),
        least("min_on", limits.min_on),
        least("min_off", limits.min_off),
        limits.switches_per_hour.map(|most| format!("{most} switches per hour")),
        (!beside.is_empty()).then(|| format!("never beside {}", beside.join(", "))),
    ];
    all.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn yes(flag: bool) -> &'static str {
    if flag { "yes" } else { "no" }
}

fn address(broker: &Broker) -> String {
    let path = if broker.transport == Transport::Unix { "" } else { broker.path.split('?').next().unwrap_or_default() };
    format!("{broker}{path}")
}

/// Adds rows below each other, each column as wide as its widest cell.
fn table(out: &mut String, rows: &[Row]) {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..5).map(width).collect();
    out.push('\n');
    for row in rows {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
}

fn pretty(json: &Json) -> String {
    format!("{json:#}\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TEXT: &str = "\
gateway: { name: g }
mqtt: { broker: [mqtts://a, 'ws://[::1]'], client_id: c, qos: 0 }
sensors:
  tide: { driver: waveform, every: 1500ms, retain: true }
";

    fn loaded() -> Loaded {
        config::load_text(TEXT, Path::new("x.yaml")).unwrap()
    }

    #[test]
    fn a_good_configuration_is_shown_as_what_it_publishes_and_subscribes() {
        let expected = "\
x.yaml: no problems found.

connects to mqtts://a:8883, then ws://[::1]:80/mqtt by MQTT 5, or 3.1.1 where no other is known, as c

PUBLISHES                   EVERY   QOS       RETAINED  WHAT
fieldgate/g/sensors/tide    1500ms  0         yes       value
fieldgate/g/status          change  1         yes       online or offline
fieldgate/g/sensors/+/status  change  1         yes       ok, degraded or down
";
        let summary = summary(Path::new("x.yaml"), &loaded().config);
        let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(squeezed(&summary).starts_with(&squeezed(expected)), "{summary}");
        let end = "\nsubscribes to no commands\nlistens to its own fieldgate/g/status, to notice another gateway of its name\n";
        assert!(summary.ends_with(end), "{summary}");
    }

    #[test]
    fn a_total_that_can_be_set_is_among_what_is_subscribed() {
        let gas = "\
buses: { header: { type: sim } }
sensors:
  gas: { driver: pulse-counter, bus: header, settings: { line: GPIO17, pulses_per_unit: 100, unit: m³ } }
  clicks: { driver: pulse-counter, bus: header, settings: { line: GPIO27 } }
";
        let text = TEXT.replace("sensors:\n", gas);
        let loaded = config::load_text(&text, Path::new("x.yaml")).unwrap();
        let summary = summary(Path::new("x.yaml"), &loaded.config);
        let end = "
SUBSCRIBES                            TAKES
fieldgate/g/sensors/gas/total/set     a new total, a number in m³
fieldgate/g/sensors/clicks/total/set  a new total, a number of pulses
listens to its own";
        assert!(summary.contains(end), "{summary}");
        assert!(summary.contains("fieldgate/g/sensors/+/total/reply"), "{summary}");
        let json = good(Path::new("x.yaml"), &loaded, &Origin::File);
        let first = json!({ "topic": "fieldgate/g/sensors/gas/total/set", "sensor": "gas", "driver": "pulse-counter", "unit": "m³" });
        assert_eq!((&json["subscribe"][0], json["subscribe"].as_array().unwrap().len()), (&first, 2));
    }

    #[test]
    fn json_shows_the_same() {
        let json = good(Path::new("x.yaml"), &loaded(), &Origin::File);
        assert_eq!(json["publish"][0]["every"], 1.5);
        assert_eq!(json["publish"][0]["measurements"], json!({"value": {"unit": ""}}));
        assert_eq!(json["problems"][0]["severity"], "warning");
        let error = config::load_text("mqtt: 5\n", Path::new("x.yaml")).unwrap_err();
        let json = bad(Path::new("x.yaml"), &error.problems);
        assert_eq!((&json["ok"], &json["problems"][0]["line"]), (&json!(false), &json!(1)));
    }
}
