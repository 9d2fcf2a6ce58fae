//! docs/configuration.md: every key of the configuration, made of the tables by which the file is checked.
//!
//! Which version brought a key is in `since.txt`: a key that is new in the tables gets the version of this package when the page is
//! made again, and keeps it from then on.

use std::collections::BTreeMap;

use fieldgate::cli::schema;
use fieldgate::config::raw;
use fieldgate_bus::{BUSES, BY_RPPAL, BusSpec};
use fieldgate_drivers::{DRIVERS, DriverSpec};
use fieldgate_filters::{FILTERS, Takes};
use fieldgate_model::field::{format_addresses, format_duration, format_size};
use fieldgate_model::{Field, Kind, Need};
use serde_json::Value as Json;

use crate::links::slug;
use crate::manual::{compare_file, sections};
use crate::read;

const PAGE: &str = "docs/configuration.md";
const SINCE: &str = "tests/docs/since.txt";
/// Behind the path of a type of bus: with this backend.
const RPPAL: &str = "-rppal";
const HEAD: &str = include_str!("configuration_head.txt");

/// A key with what the page says of it. Keys of sections within are written with dots: `clicks.double_within`.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) key: String,
    pub(crate) field: Field,
}

/// A table of the page.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// Where its keys stand, such as `mqtt.tls`, `buses.i2c`, `filters.spike` or `settings.bme280`.
    pub(crate) path: String,
    pub(crate) rows: Vec<Row>,
}

impl Part {
    fn new(path: impl Into<String>, fields: &[Field]) -> Self {
        let rows = fields.iter().map(|field| Row { key: field.name.to_owned(), field: *field }).collect();
        Self { path: path.into(), rows }
    }

    /// With the keys of sections within.
    fn deep(path: impl Into<String>, fields: &[Field]) -> Self {
        let mut rows = Vec::new();
        deepen("", fields, &mut rows);
        Self { path: path.into(), rows }
    }

    /// What it is called above its table.
    fn heading(&self) -> String {
        let name = self.path.split_once('.').map_or("", |(_, name)| name);
        match name.strip_suffix(RPPAL) {
            Some(name) => format!("`{name}` with `backend: rppal`"),
            None => format!("`{name}`"),
        }
    }

    /// What the table of drivers says of it.
    fn summary(&self) -> Option<&'static str> {
        let driver = self.path.strip_prefix("settings.")?;
        DRIVERS.iter().find(|spec| spec.name == driver).map(|spec| spec.summary)
    }

    fn paths(&self) -> impl Iterator<Item = String> {
        let of_rows = self.rows.iter().map(|row| format!("{}.{}", self.path, row.key));
        std::iter::once(self.path.clone()).chain(of_rows).map(|path| path.trim_start_matches('.').to_owned())
    }
}

fn deepen(prefix: &str, fields: &[Field], rows: &mut Vec<Row>) {
    for field in fields {
        // The formulas of a driver are by names of the user's own.
        let name = if field.name == "*" { "NAME" } else { field.name };
        let key = format!("{prefix}{name}");
        rows.push(Row { key: key.clone(), field: *field });
        match field.kind {
            Kind::Section(inner) | Kind::Subsection(inner) => deepen(&format!("{key}."), inner, rows),
            Kind::Table(inner) if field.name == "*" => deepen(&format!("{key}."), inner, rows),
            Kind::Table(inner) | Kind::Named(inner) => deepen(&format!("{key}.NAME."), inner, rows),
            _ => {}
        }
    }
}

/// The sections of the file but for those that depend on a type of bus.
pub(crate) fn file() -> Vec<Part> {
    let inner = sections().into_iter().filter(|(path, _)| !path.starts_with("buses."));
    std::iter::once(("", raw::ROOT)).chain(inner).map(|(path, fields)| Part::new(path, fields)).collect()
}

/// The keys of each type of bus; with rppal as the backend they are others.
pub(crate) fn buses() -> Vec<Part> {
    let of = |spec: &&'static BusSpec, end: &str| Part::deep(format!("buses.{}{end}", spec.name), raw::bus(spec));
    let usual = BUSES.iter().map(|spec| of(spec, ""));
    usual.chain(BY_RPPAL.iter().map(|spec| of(spec, RPPAL))).collect()
}

/// What each filter takes.
pub(crate) fn filters() -> Vec<Part> {
    let fields = |takes| if let Takes::Keys(fields) = takes { fields } else { &[] };
    FILTERS.iter().map(|spec| Part::deep(format!("filters.{}", spec.name), fields(spec.takes))).collect()
}

/// The settings of each driver.
pub(crate) fn drivers() -> Vec<Part> {
    DRIVERS.iter().map(|spec: &&DriverSpec| Part::deep(format!("settings.{}", spec.name), spec.settings)).collect()
}

pub(crate) fn all() -> Vec<Part> {
    [file(), buses(), filters(), drivers()].concat()
}

/// `a`, `b` or `c`.
fn either(words: impl IntoIterator<Item = String>) -> String {
    let words: Vec<_> = words.into_iter().map(|word| format!("`{word}`")).collect();
    match &words[..] {
        [many @ .., last] if !many.is_empty() => format!("{} or {last}", many.join(", ")),
        few => few.concat(),
    }
}

fn kind(kind: &Kind) -> String {
    let span = |min, max| format!("{} to {}", format_duration(min), format_duration(max));
    match kind {
        Kind::Text => "text".into(),
        Kind::Path => "path".into(),
        Kind::Name => "name".into(),
        Kind::Choice(words) => either(words.iter().copied().map(str::to_owned)),
        Kind::Flag => "`true` or `false`".into(),
        Kind::Integer { min, max } => format!("whole number, {min} to {max}"),
        Kind::Number { min, max } if *max >= 1e15 && *min <= -1e15 => "number".into(),
        Kind::Number { min, max } if *max >= 1e15 && *min > 0.0 => "number greater than 0".into(),
        Kind::Number { min, max } => format!("number, {min} to {max}"),
        Kind::Duration { min, max } => span(*min, *max),
        Kind::DurationOrNever { min, max } => format!("{}, or `never`", span(*min, *max)),
        Kind::Size { min, max } => format!("{} to {}", format_size(*min), format_size(*max)),
        Kind::Address(all) => format_addresses(all, " to ").join(" or "),
        Kind::Line => "line: its name or number".into(),
        Kind::List(inner) => format!("list, each entry: {}", self::kind(inner)),
        Kind::OneOrMany(inner) => format!("{}; or a list of such", self::kind(inner)),
        Kind::State => "what the output takes".into(),
        Kind::States => "what each output does, by its name".into(),
        Kind::Filters => "[filters](#filters) by measurement".into(),
        Kind::Deltas => "number greater than 0 by measurement".into(),
        Kind::DriverSettings => "[section](#settings-of-drivers) by driver".into(),
        Kind::Section(_) | Kind::Subsection(_) | Kind::PerMeasurement { .. } => "section".into(),
        Kind::Table(_) | Kind::Named(_) => "sections by name".into(),
    }
}

/// What a number counts, as its sentence says: `…, in mV`.
pub(crate) fn unit(field: &Field) -> Option<&'static str> {
    const SAID: &[(&str, &str)] = &[
        (" in mV", "mV"),
        (" in V", "V"),
        (" in Ω", "Ω"),
        (" in Hz", "Hz"),
        (" in °C", "°C"),
        (" in %", "%"),
        (" in hPa", "hPa"),
        (" in ms", "ms"),
        (" in seconds", "s"),
        (" in metres", "m"),
        (" in degrees", "°"),
        (" in g/m³", "g/m³"),
        (" in g (", "g"),
        (" in °/s", "°/s"),
        (" in ppm", "ppm"),
        (" per second", "1/s"),
        (" in counts per kg", "1/kg"),
        (" in counts", "counts"),
        (" in samples", "samples"),
        (" in the unit", "its own"),
    ];
    match field.kind {
        Kind::Duration { .. } | Kind::DurationOrNever { .. } => Some("time"),
        Kind::Size { .. } => Some("size"),
        Kind::Integer { .. } | Kind::Number { .. } | Kind::Choice(_) => {
            SAID.iter().find(|(words, _)| format!(" {}", field.doc).contains(words)).map(|(_, unit)| *unit)
        }
        _ => None,
    }
}

/// A sentence as Markdown shows it: what stands in `<>` is no HTML, a bar ends no cell.
fn cell(text: &str) -> String {
    text.replace('<', "\\<").replace('|', "\\|")
}

fn need(field: &Field) -> String {
    match field.need {
        Need::Required => "required".into(),
        Need::Optional => "–".into(),
        Need::Or(other) => format!("this or `{other}`"),
        Need::Default(default) => format!("`{default}`"),
    }
}

/// Which version brought what, by its path.
struct Since(BTreeMap<String, String>);

impl Since {
    fn read() -> Self {
        let text = std::fs::read_to_string(crate::root().join(SINCE)).unwrap_or_default();
        Self(text.lines().filter_map(|line| line.split_once(' ')).map(|(v, path)| (path.into(), v.into())).collect())
    }

    fn of(&self, path: &str) -> &str {
        self.0.get(path).map_or(env!("CARGO_PKG_VERSION"), String::as_str)
    }

    /// The file with what the tables have now, in their order.
    fn text(&self, parts: &[Part]) -> String {
        let paths = parts.iter().flat_map(Part::paths).filter(|path| !path.is_empty());
        paths.map(|path| format!("{} {path}\n", self.of(&path))).collect()
    }
}

struct Writer<'a> {
    since: &'a Since,
    known: Vec<String>,
    out: String,
}

impl Writer<'_> {
    fn say(&mut self, text: &str) {
        self.out.push_str(text);
        self.out.push('\n');
    }

    /// What a key of the file leads to, as a link where that is a table of this page.
    fn kind(&self, part: &Part, row: &Row) -> String {
        let words = kind(&row.field.kind);
        let inner = format!("{}.{}", part.path, row.key).trim_start_matches('.').to_owned();
        let inner = if matches!(row.field.kind, Kind::Named(_)) { inner + ".NAME" } else { inner };
        match inner.as_str() {
            "templates" => "[sections by name](parts.md#templates)".to_owned(),
            "buses.NAME" => format!("[{words}](#buses)"),
            known if self.known.iter().any(|other| other == known) => format!("[{words}](#{})", slug(known)),
            _ => words,
        }
    }

    fn table(&mut self, part: &Part) {
        self.say("\n| Key | Type | Unit | Default | Meaning | Since |\n|---|---|---|---|---|---|");
        // Of a bus it stands once, above all of them.
        let is_shown = |row: &&Row| row.key != "type" || !part.path.starts_with("buses.");
        for row in part.rows.iter().filter(is_shown) {
            let path = format!("{}.{}", part.path, row.key);
            let (kind, need) = (self.kind(part, row), cell(&need(&row.field)));
            let unit = unit(&row.field).unwrap_or("");
            let since = self.since.of(path.trim_start_matches('.')).to_owned();
            self.say(&format!("| `{}` | {kind} | {unit} | {need} | {} | {since} |", row.key, cell(row.field.doc)));
        }
    }

    /// Parts with the same keys are one table.
    fn grouped(&mut self, parts: &[Part], nothing: &str) {
        let print = |part: &Part| {
            let sinces: Vec<_> = part.paths().map(|path| self.since.of(&path).to_owned()).collect();
            let rows = part.rows.iter().filter(|row| row.key != "type");
            format!("{sinces:?} {:?}", rows.collect::<Vec<_>>())
        };
        let prints: Vec<_> = parts.iter().map(print).collect();
        for (index, part) in parts.iter().enumerate() {
            if prints[..index].contains(&prints[index]) {
                continue;
            }
            let same = parts.iter().zip(&prints).filter(|(_, print)| **print == prints[index]);
            let same: Vec<_> = same.map(|(part, _)| part).collect();
            let names: Vec<_> = same.iter().map(|part| part.heading()).collect();
            self.say(&format!("\n### {}\n", names.join(", ")));
            for summary in same.iter().filter_map(|part| part.summary()) {
                self.say(&format!("{}.\n", cell(summary)));
            }
            let since = self.since.of(&part.path).to_owned();
            self.say(&format!("Since {since}."));
            match part.rows.iter().all(|row| row.key == "type") {
                true => self.say(nothing),
                false => self.table(part),
            }
        }
    }

    fn filters(&mut self) {
        self.say("\n| Filter | Takes | What it does | Written | Since |\n|---|---|---|---|---|");
        for spec in FILTERS {
            let takes = match spec.takes {
                Takes::Nothing => "nothing".into(),
                Takes::Value(value) => kind(&value),
                Takes::Keys(_) => "the keys below".into(),
            };
            let since = self.since.of(&format!("filters.{}", spec.name)).to_owned();
            self.say(&format!("| `{}` | {takes} | {} | `{}` | {since} |", spec.name, spec.summary, spec.example));
        }
    }
}

/// The page as the tables have it.
fn page(since: &Since) -> String {
    let known = file().into_iter().map(|part| part.path).filter(|path| !path.is_empty()).collect();
    let is_released = !read("CHANGELOG.md").contains("\n## [0.1.0] - Unreleased");
    let head = if is_released { HEAD.replace(", and not released yet", "") } else { HEAD.to_owned() };
    let mut page = Writer { since, known, out: head.trim_end().to_owned() + "\n" };
    for part in file() {
        page.say(&match part.path.as_str() {
            "" => "\n## The file".to_owned(),
            path => format!("\n### `{path}`"),
        });
        page.table(&part);
        if part.path.is_empty() {
            page.say("\nAn entry of a section whose entries have names may have one key alone in place of the others:");
            page.say("\n| Key | Type | Meaning |\n|---|---|---|");
            page.say(&format!("| `use` | [section](parts.md#templates) | {} |", schema::USE));
        }
    }
    page.say("\n## Buses\n\nWhich keys an entry of `buses:` has follows from its `type`. [buses.md](buses.md) says what must be wired and switched on.");
    page.say("\n| Key | Type | Default | Meaning |\n|---|---|---|---|");
    let spec = &raw::bus(BUSES[0])[0];
    page.say(&format!("| `{}` | {} | {} | {} |", spec.name, kind(&spec.kind), need(spec), spec.doc));
    page.grouped(&buses(), "No further keys.");
    page.say("\n## Filters\n\nWhat `filters:` of a sensor may have for a measurement, as a list or one alone. [values.md](values.md) shows them with pictures.");
    page.filters();
    page.grouped(&filters().into_iter().filter(|part| !part.rows.is_empty()).collect::<Vec<_>>(), "");
    page.say("\n## Settings of drivers\n\nThe keys below `settings:` of a sensor or an output. `fieldgate drivers NAME` prints them with wiring, measurements and an example.");
    page.grouped(&drivers(), "No settings.");
    page.out
}

#[test]
fn the_reference_is_what_the_tables_say() {
    let since = Since::read();
    compare_file(SINCE, &since.text(&all()));
    compare_file(PAGE, &page(&since));
}

#[test]
fn a_key_is_since_a_version_that_the_changelog_has() {
    let (since, changelog) = (Since::read(), read("CHANGELOG.md"));
    for (path, version) in &since.0 {
        assert!(changelog.contains(&format!("\n## [{version}]")), "{path} is since {version}, which is no heading");
    }
    assert_eq!(since.of("no.such.key"), env!("CARGO_PKG_VERSION"), "what is new is new in this version");
}

/// Every key of the schema with its description.
fn keys_of_schema(schema: &Json, found: &mut Vec<(String, String)>) {
    if let Json::Object(properties) = &schema["properties"] {
        for (name, property) in properties {
            // Of a condition on the driver or the type there is no description.
            if let Some(description) = property["description"].as_str() {
                found.push((name.clone(), description.to_owned()));
            }
        }
    }
    match schema {
        Json::Object(entries) => entries.values().for_each(|value| keys_of_schema(value, found)),
        Json::Array(entries) => entries.iter().for_each(|value| keys_of_schema(value, found)),
        _ => {}
    }
}

#[test]
fn every_key_of_the_schema_is_in_the_reference() {
    // As it would be made now: the file may be what is just being made again.
    let (mut found, page) = (Vec::new(), page(&Since::read()));
    keys_of_schema(&fieldgate::cli::schema::schema(), &mut found);
    assert!(found.len() > 150, "the schema has {} keys", found.len());
    for (name, description) in found {
        // The summaries of drivers and filters stand at their names.
        let is_summary = name == "settings" || FILTERS.iter().any(|spec| spec.name == name);
        let row = |line: &str| {
            let is_named = line.starts_with(&format!("| `{name}` |")) || line.contains(&format!(".{name}` |"));
            is_named && line.contains(&cell(&description))
        };
        assert!(is_summary || page.lines().any(row), "{name} ({description}) is not in {PAGE}");
    }
}

/// Numbers that count nothing, and such as are of the unit that the user gives.
const WITHOUT_UNIT: &[&str] = &[
    "qos",
    "switches_per_hour",
    "priority",
    "min",
    "max",
    "step",
    "channel",
    "chip",
    "decimals",
    "q",
    "measurement_time",
    "pulses_per_unit",
    "scale",
    "amplitude",
    "offset",
];

#[test]
fn every_number_has_its_unit() {
    let parts = all();
    let rows = parts.iter().flat_map(|part| part.rows.iter().map(move |row| (part, row)));
    let is_number = |kind: &Kind| matches!(kind, Kind::Integer { .. } | Kind::Number { .. });
    let without = rows.filter(|(_, row)| is_number(&row.field.kind) && unit(&row.field).is_none());
    let lacking: Vec<_> = without
        .filter(|(_, row)| !WITHOUT_UNIT.contains(&row.field.name))
        .map(|(part, row)| format!("{}.{}: {}", part.path, row.key, row.field.doc))
        .collect();
    assert!(lacking.is_empty(), "these do not say in what they are counted:\n{}", lacking.join("\n"));
}
