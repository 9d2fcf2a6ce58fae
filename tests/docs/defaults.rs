//! The reference against the parser: it takes the keys that the page has and no others, and leaving a key out is the same as writing
//! the default that the page states.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::PathBuf;

use fieldgate::config::load_text;
use fieldgate_bus::{BUSES, BY_RPPAL, BusNeed};
use fieldgate_drivers::{DRIVERS, Role};
use fieldgate_filters::FILTERS;
use fieldgate_model::field::{format_duration, format_size};
use fieldgate_model::{Field, Kind, Need};
use serde_json::{Value as Json, json};

use crate::reference::{Part, Row, buses, drivers, file, filters};
use crate::{read, root};

/// YAML as JSON, which is YAML as well.
fn parse(text: &str) -> Json {
    serde_yaml::from_str(text).unwrap_or_else(|error| panic!("{error}:\n{text}"))
}

/// The value at this way, made of empty sections where it is not there. A number is an entry of a list, NAME the first entry.
fn at<'a>(mut place: &'a mut Json, way: &[&str]) -> &'a mut Json {
    for step in way {
        if place.is_null() {
            *place = json!({});
        }
        place = match (place, *step) {
            (Json::Array(list), step) => &mut list[step.parse::<usize>().unwrap()],
            (Json::Object(entries), "NAME" | "MEASUREMENT") => entries.values_mut().next().expect("an entry"),
            (place, step) => &mut place[step],
        };
    }
    place
}

/// A whole configuration, and where in it the keys of a part stand.
struct Case {
    config: Json,
    way: Vec<String>,
    part: Part,
}

impl Case {
    /// The configuration with a key of the part, or without.
    fn with(&self, key: &str, value: Option<Json>) -> String {
        let mut config = self.config.clone();
        let way: Vec<_> = self.way.iter().map(String::as_str).chain(key.split('.')).collect();
        let (last, way) = way.split_last().unwrap();
        let section = at(&mut config, way);
        if section.is_null() {
            *section = json!({});
        }
        let section = section.as_object_mut().unwrap_or_else(|| panic!("{way:?} is no section"));
        match value {
            Some(value) => section.insert((*last).to_owned(), value),
            None => section.shift_remove(*last),
        };
        config.to_string()
    }

    fn path(&self) -> PathBuf {
        root().join("config/fieldgate.yaml")
    }

    /// What a configuration comes to, the order of its parts aside; nothing if it is refused.
    fn meaning(&self, text: &str) -> Result<Vec<String>, String> {
        let loaded = load_text(text, &self.path()).map_err(|error| error.to_string())?;
        let mut lines: Vec<_> = format!("{:#?}", loaded.config).lines().map(str::to_owned).collect();
        lines.sort_unstable();
        Ok(lines)
    }
}

/// The sections of the file, in the configuration that has every key.
fn cases_of_file() -> Vec<Case> {
    let mut config = parse(&read("config/fieldgate.yaml"));
    // With QoS 2 the session must be clean.
    config["sensors"]["air"]["qos"] = 1.into();
    let case = |part: Part| {
        let entry =
            |section: &str| match (section, part.path.contains(".home_assistant"), part.path.ends_with("publish")) {
                ("actuators", true, _) => "valve",
                ("actuators", ..) => "pump",
                ("rules", _, true) => "visit",
                ("rules", ..) => "cooling",
                ("variables", ..) => "target",
                _ => "air",
            };
        let mut way: Vec<String> = part.path.split('.').filter(|step| !step.is_empty()).map(str::to_owned).collect();
        if let [section, name, ..] = &mut way[..]
            && name == "NAME"
        {
            *name = entry(section).to_owned();
        }
        if let Some(last) = way.last_mut().filter(|last| *last == "MEASUREMENT") {
            *last = "humidity".into();
        }
        Case { config: config.clone(), way, part }
    };
    file().into_iter().map(case).collect()
}

const BROKER: &str = "mqtt: { broker: mqtt://localhost }\n";

/// Each type of bus as its example has it.
fn cases_of_buses() -> Vec<Case> {
    let specs = BUSES.iter().map(|spec| (spec, false)).chain(BY_RPPAL.iter().map(|spec| (spec, true)));
    let case = |((spec, by_rppal), part): ((&fieldgate_bus::BusSpec, bool), Part)| {
        // The other backend has the example of the usual one, without the keys that it does not have.
        let spec = fieldgate_bus::BusSpec::find(spec.name, false).unwrap();
        let entries = spec.on.map(BusNeed::example).into_iter().chain([spec.example]);
        let text: String = entries.map(|entry| format!("  {entry}\n")).collect();
        let mut config = parse(&format!("{BROKER}buses:\n{text}"));
        let name = parse(spec.example).as_object().unwrap().keys().next().unwrap().clone();
        if by_rppal {
            let entry = &mut config["buses"][&name];
            entry["backend"] = "rppal".into();
            entry.as_object_mut().unwrap().retain(|key, _| part.rows.iter().any(|row| row.key == *key));
        }
        Case { config, way: vec!["buses".into(), name], part }
    };
    specs.map(|(spec, by_rppal)| (*spec, by_rppal)).zip(buses()).map(case).collect()
}

/// The settings of each driver as its example has them, on buses of the usual kinds.
fn cases_of_drivers() -> Vec<Case> {
    const BUSES: &str = "\
buses:
  i2c-1: { type: i2c, device: /dev/i2c-1 }
  header: { type: gpio, chip: /dev/gpiochip0 }
  pwm-0: { type: pwm, chip: 0 }
  spi-0: { type: spi, device: /dev/spidev0.0 }
  serial: { type: uart, device: /dev/serial0 }
  wire: { type: w1 }
";
    let case = |(spec, part): (&&fieldgate_drivers::DriverSpec, Part)| {
        let section = if matches!(spec.role, Role::Sensor { .. }) { "sensors" } else { "actuators" };
        let example: String = spec.example.lines().map(|line| format!("  {line}\n")).collect();
        let config = parse(&format!("{BROKER}{BUSES}{section}:\n{example}"));
        let entries = config[section].as_object().unwrap();
        let name = entries.iter().find(|(_, entry)| entry["driver"] == spec.name).expect("an example").0.clone();
        Case { config, way: vec![section.into(), name, "settings".into()], part }
    };
    DRIVERS.iter().zip(drivers()).map(case).collect()
}

/// Each filter that has keys, as its example has them.
fn cases_of_filters() -> Vec<Case> {
    let case = |(spec, part): (&&fieldgate_filters::FilterSpec, Part)| {
        let sensor = "air: { driver: bme280, bus: i2c-1, every: 10s }";
        let mut config = parse(&format!("{BROKER}buses: {{ i2c-1: {{ type: sim }} }}\nsensors: {{ {sensor} }}\n"));
        config["sensors"]["air"]["filters"]["temperature"] = json!([parse(spec.example)]);
        let way = ["sensors", "air", "filters", "temperature", "0", spec.name].map(str::to_owned);
        Case { config, way: way.to_vec(), part }
    };
    FILTERS.iter().zip(filters()).map(case).filter(|case| !case.part.rows.is_empty()).collect()
}

fn cases() -> Vec<Case> {
    [cases_of_file(), cases_of_buses(), cases_of_drivers(), cases_of_filters()].into_iter().flatten().collect()
}

/// Other values of that kind, some of which may not go with the rest of the configuration.
fn others(kind: &Kind, default: &Json) -> Vec<Json> {
    let times = |min, max| {
        vec![json!(format_duration(max)), json!(format_duration(min)), json!("90s"), json!("7s"), json!("70ms")]
    };
    let all = match kind {
        Kind::Flag => vec![json!(true), json!(false)],
        Kind::Integer { min, max } => vec![json!(max), json!(min), json!(min + 1)],
        Kind::Number { min, max } => vec![json!(max), json!(min), json!(min + 1.0), json!(min + (max - min) / 4.0)],
        Kind::Choice(words) => words.iter().map(|word| json!(word)).collect(),
        Kind::Duration { min, max } | Kind::DurationOrNever { min, max } => times(*min, *max),
        Kind::Size { max, .. } => vec![json!(format_size(*max))],
        Kind::Address(all) => all.iter().map(|address| json!(address)).collect(),
        Kind::List(inner) => others(inner, &json!(null)).into_iter().map(|one| json!([one])).collect(),
        Kind::Path => vec![json!("/tmp")],
        _ => vec![json!("other"), json!("GPIO26")],
    };
    all.into_iter().filter(|value| value != default).collect()
}

/// A default as a value: what has quotes in YAML or is a word or a time is a text.
fn value(kind: &Kind, text: &str) -> Json {
    match kind {
        Kind::Flag | Kind::Integer { .. } | Kind::Number { .. } | Kind::Address(_) | Kind::List(_) => parse(text),
        _ => text.trim_matches('"').into(),
    }
}

/// What nothing in a configuration that may run shows, or what another value makes a bus with other keys.
const SHOWN_APART: &[(&str, &str)] = &[("http", "open"), ("buses.gpio", "backend"), ("buses.pwm", "backend")];

/// Whether leaving the key out means this default, and writing something else means something else.
fn verify(case: &Case, Row { key, field }: &Row) -> Result<(), String> {
    let Field { need: Need::Default(text), kind, .. } = field else { return Ok(()) };
    // Of a bus by rppal this key cannot be left out.
    if case.part.path.ends_with("-rppal") && key == "backend" {
        return Ok(());
    }
    let default = value(kind, text);
    let left_out = case.meaning(&case.with(key, None)).map_err(|error| format!("cannot be left out:\n{error}"))?;
    let written =
        case.meaning(&case.with(key, Some(default.clone()))).map_err(|e| format!("cannot be {text}:\n{e}"))?;
    if left_out != written {
        let differ = left_out.iter().filter(|line| !written.contains(line)).cloned().collect::<Vec<_>>();
        return Err(format!("is not {text} when it is left out: {}", differ.join("; ")));
    }
    let (mut refusals, others) = (Vec::new(), others(kind, &default));
    if others.is_empty() || SHOWN_APART.contains(&(&*case.part.path, &**key)) {
        return Ok(());
    }
    for other in others {
        match case.meaning(&case.with(key, Some(other.clone()))) {
            Ok(meaning) if meaning != left_out => return Ok(()),
            Ok(_) => refusals.push(format!("{other} makes no difference")),
            Err(error) => refusals.push(format!("{other}: {error}")),
        }
    }
    Err(format!("nothing but {text} can be written, so nothing is shown:\n{}", refusals.join("\n")))
}

#[test]
fn what_is_left_out_is_the_default_of_the_reference() {
    let (mut wrong, mut count) = (Vec::new(), 0);
    for case in cases() {
        for row in case.part.rows.iter().filter(|row| matches!(row.field.need, Need::Default(_))) {
            count += 1;
            let name = format!("{}.{}", case.part.path, row.key);
            wrong.extend(verify(&case, row).err().map(|why| format!("{name} {why}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(count > 60, "only {count} defaults were looked at");
}

/// The parser's own list of what may stand in a section: it prints it for a key that resembles none.
#[test]
fn the_parser_takes_the_keys_of_the_reference_and_no_others() {
    for case in cases() {
        let keys: Vec<_> = case.part.rows.iter().map(|row| row.key.as_str()).filter(|key| !key.contains('.')).collect();
        if keys == ["NAME"] {
            continue;
        }
        let problems = load_text(&case.with("qqqqqqqqqq", Some(json!(1))), &case.path()).unwrap_err().problems;
        let unknown = problems.iter().find(|problem| problem.what.contains("qqqqqqqqqq"));
        let unknown = unknown.unwrap_or_else(|| panic!("{}: {problems:?}", case.part.path));
        let allowed = unknown.hint.strip_prefix("allowed here: ").unwrap_or_default();
        // Below `home_assistant` of a sensor its measurements stand beside.
        let is_measurement = |key: &str| ["temperature", "humidity"].contains(&key.split("_m").next().unwrap());
        let is_shown = case.part.path == "sensors.NAME.home_assistant";
        let is_beside = |key: &str| is_shown && is_measurement(key);
        let is_key = |key: &&str| !key.is_empty() && !is_beside(key);
        let mut allowed: Vec<_> = allowed.split(", ").filter(is_key).collect();
        let mut keys = keys;
        keys.sort_unstable();
        allowed.sort_unstable();
        assert_eq!(keys, allowed, "{}: {}", case.part.path, unknown.hint);
    }
}

/// An address that others can reach is refused unless somebody may come in, and `open` is what lets everybody in.
#[test]
fn nobody_is_let_in_unless_open_is_written() {
    let text = |open: &str| format!("{BROKER}http: {{ listen: \"0.0.0.0:8080\"{open} }}\n");
    let load = |open: &str| load_text(&text(open), &root().join("x.yaml")).map_err(|error| error.problems.len());
    assert_eq!(load("").unwrap_err(), load(", open: false").unwrap_err());
    assert!(load(", open: true").is_ok());
}

#[test]
fn the_kernel_drives_a_bus_unless_another_backend_is_written() {
    for bus in ["{ type: gpio, chip: /dev/gpiochip0", "{ type: pwm, chip: 0"] {
        let text = |backend: &str| format!("{BROKER}buses:\n  b: {bus}{backend} }}\n");
        let load = |backend: &str| load_text(&text(backend), &root().join("x.yaml"));
        let buses = |backend: &str| format!("{:?}", load(backend).unwrap().config.buses);
        assert_eq!(buses(""), buses(", backend: linux"));
        assert!(load(", backend: rppal").unwrap_err().to_string().contains("unknown key \"chip\""));
    }
}

/// What the sentence on `every` says of those that need none.
#[test]
fn a_sensor_that_needs_no_interval_is_read_each_60s() {
    let every = fieldgate::config::raw::SENSOR.iter().find(|field| field.name == "every").unwrap();
    assert!(every.doc.contains("each 60s if it is left out"), "{}", every.doc);
    for spec in DRIVERS {
        if let Role::Sensor { default_every: Some(every), .. } = spec.role {
            assert_eq!(every.as_secs(), 60, "{}", spec.name);
            let is_named = ["gpio-input", "pulse-counter", "formula"].contains(&spec.name);
            assert!(is_named, "the sentence on `every` leaves {} out", spec.name);
        }
    }
}
