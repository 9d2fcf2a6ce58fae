//! `fieldgate drivers [NAME]`: the table, or one driver's page. Everything comes out of the drivers' own specifications.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value as Json, json};

use crate::cli;
use crate::config;
use fieldgate_drivers::{self as drivers, DRIVERS, DriverSpec, Proof, Role};
use fieldgate_model::{Field, Kind, Need, Quantity, Settings, field};

/// A name less like the one that was asked for is none that somebody meant.
const NEAR: f64 = 0.75;

/// Prints the table, or the page of `name`.
pub fn run(name: Option<&str>, json: bool) -> ExitCode {
    let Some(name) = name else {
        let all = || Json::from(DRIVERS.iter().map(|spec| describe(spec)).collect::<Vec<_>>());
        return cli::put(&if json { format!("{:#}\n", all()) } else { table() }, ExitCode::SUCCESS);
    };
    match drivers::find(name) {
        Some(spec) if json => cli::put(&format!("{:#}\n", describe(spec)), ExitCode::SUCCESS),
        Some(spec) => cli::put(&page(spec), ExitCode::SUCCESS),
        None => unknown("driver", name, DRIVERS.iter().map(|spec| spec.name)),
    }
}

/// No page has this name: `what` it was to be, and the names that there are.
pub(super) fn unknown(what: &str, name: &str, names: impl Iterator<Item = &'static str>) -> ExitCode {
    let near = names
        .max_by(|a, b| strsim::jaro_winkler(name, a).total_cmp(&strsim::jaro_winkler(name, b)))
        .filter(|near| strsim::jaro_winkler(name, near) >= NEAR);
    let hint = match near {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("`fieldgate {what}s` lists them"),
    };
    cli::fail(&format!("no {what} is called {name:?}; {hint}"))
}

/// One line for each driver.
pub fn table() -> String {
    let mut out = format!("{:<13} {:<7} {:<5} SUMMARY\n", "DRIVER", "KIND", "BUS");
    for spec in DRIVERS {
        let kind = if matches!(spec.role, Role::Sensor { .. }) { "sensor" } else { "output" };
        let untested = if spec.proofs.is_empty() { " (untested)" } else { "" };
        writeln!(out, "{:<13} {kind:<7} {:<5} {}{untested}", spec.name, bus(spec), spec.summary)
            .expect("a String takes all");
    }
    out
}

/// What a driver was verified against, one sentence each.
pub fn proofs(spec: &DriverSpec) -> Vec<String> {
    if spec.proofs.is_empty() {
        return vec!["untested: verified against nothing but our own reading of the datasheet".into()];
    }
    spec.proofs.iter().map(proof).collect()
}

fn proof(proof: &Proof) -> String {
    match proof {
        Proof::Reference(package) => format!("agrees with {package} on the same simulated registers"),
        Proof::Datasheet(place) => format!("computes the worked numbers of {place}"),
        Proof::Qemu(chip) => format!("reads the {chip} that QEMU emulates"),
        Proof::Kernel(driver) => format!("agrees with the kernel ({driver}) on the emulated board"),
        Proof::NoHardware => "no hardware behind it".into(),
    }
}

/// The kind of bus that a driver needs, as in `type:`.
pub fn bus(spec: &DriverSpec) -> &'static str {
    spec.bus.usual().map_or("–", |bus| bus.name)
}

/// The whole page of one driver.
pub fn page(spec: &DriverSpec) -> String {
    let mut out = format!("{}: {}\n\n{}\n", spec.name, spec.summary, spec.page);
    out.push_str("\nSettings\n");
    if spec.settings.is_empty() {
        out.push_str("  none\n");
    }
    fields(&mut out, spec.settings, 2);
    out.push_str(&match &spec.role {
        Role::Sensor { .. } => format!("\nMeasurements\n{}", quantities(spec)),
        Role::Actuator { kind, .. } => format!("\nCommands\n  {}\n", kind(&Settings::default()).takes()),
    });
    let section = if matches!(spec.role, Role::Sensor { .. }) { "sensors" } else { "actuators" };
    out.push_str("\nProof\n");
    for proof in proofs(spec) {
        writeln!(out, "  {proof}").expect("a String takes all");
    }
    let indented: String = spec.example.lines().map(|line| format!("  {line}\n")).collect();
    write!(out, "\nExample\n{section}:\n{indented}").expect("a String takes all");
    out
}

/// Keys and their values, one in a line.
pub(super) fn fields(out: &mut String, all: &[Field], indent: usize) {
    for field in all {
        let need = match field.need {
            Need::Required => "required".to_owned(),
            Need::Default(text) => format!("default {text}"),
            Need::Optional => "optional".to_owned(),
            Need::Or(other) => format!("this or {other}"),
        };
        writeln!(out, "{:indent$}{:<14} {} ({}; {need})", "", field.name, field.doc, kind(&field.kind))
            .expect("a String takes all");
        if let Kind::Table(inner) | Kind::Subsection(inner) = field.kind {
            fields(out, inner, indent + 2);
        }
    }
}

/// What the value of a key may be, in words.
pub(super) fn kind(kind: &Kind) -> String {
    let duration = field::format_duration;
    match kind {
        Kind::Choice(words) => words.join(" | "),
        Kind::Flag => "true | false".into(),
        Kind::Integer { min, max } => format!("{min} to {max}"),
        Kind::Number { min, max } if *max >= 1e15 => if *min > 0.0 { "greater than 0" } else { "a number" }.into(),
        Kind::Number { min, max } => format!("{min} to {max}"),
        Kind::Duration { min, max } => format!("{} to {}", duration(*min), duration(*max)),
        Kind::Address(all) => field::format_addresses(all, "–").join(" | "),
        Kind::Line => "name such as GPIO17, or number".into(),
        Kind::List(Kind::List(_)) => "list of pairs of numbers, [[read, true], …]".into(),
        Kind::List(Kind::Number { max, .. }) if *max >= 1e15 => "list of numbers".into(),
        Kind::List(inner) => format!("list of {}", self::kind(inner)),
        Kind::Table(_) => "for each name of yours:".into(),
        Kind::Subsection(_) => "a section".into(),
        Kind::Path => "path".into(),
        _ => "text".into(),
    }
}

/// What a sensor measures with its examples' settings; those that depend on settings are listed by the page.
fn quantities(spec: &DriverSpec) -> String {
    let listed = measured(spec).into_iter().map(|q| format!("  {:<14} {}\n", q.name, q.unit));
    let text: String = listed.collect();
    if text.is_empty() { "  those named under channels\n".into() } else { text }
}

fn measured(spec: &DriverSpec) -> Vec<Quantity> {
    let Role::Sensor { measurements, .. } = &spec.role else { return Vec::new() };
    let mut all: Vec<Quantity> = Vec::new();
    for settings in example_settings(spec) {
        for quantity in measurements(&settings) {
            if !all.contains(&quantity) {
                all.push(quantity);
            }
        }
    }
    all
}

/// The checked settings of a sensor's own examples.
fn example_settings(spec: &DriverSpec) -> Vec<Settings> {
    let indented: String = spec.example.lines().map(|line| format!("  {line}\n")).collect();
    let buses =
        ["i2c-1", "header", "spi-0", "serial", "wire"].map(|name| format!("{name}: {{ type: sim }}")).join(", ");
    let text = format!("mqtt: {{ broker: 'mqtt://localhost' }}\nbuses: {{ {buses} }}\nsensors:\n{indented}");
    let sensors = config::load_text(&text, Path::new("example.yaml")).map(|loaded| loaded.config.sensors);
    sensors.unwrap_or_default().into_iter().map(|sensor| sensor.settings).collect()
}

fn describe(spec: &DriverSpec) -> Json {
    let measurements: Vec<Json> = measured(spec).iter().map(|q| json!({ "name": q.name, "unit": q.unit })).collect();
    let settings: Vec<Json> = spec
        .settings
        .iter()
        .map(|field| {
            let default = if let Need::Default(text) = field.need { Some(text) } else { None };
            let is_required = field.need == Need::Required;
            json!({ "name": field.name, "doc": field.doc, "kind": kind(&field.kind), "required": is_required, "default": default })
        })
        .collect();
    json!({
        "name": spec.name,
        "summary": spec.summary,
        "role": if matches!(spec.role, Role::Sensor { .. }) { "sensor" } else { "output" },
        "bus": bus(spec),
        "settings": settings,
        "measurements": measurements,
        "example": spec.example,
        "proofs": proofs(spec),
    })
}
