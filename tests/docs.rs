//! What the documents say, verified against the program: driver table, examples, changelog, the tables for those who come from Paho and mqtt-io, manual pages.

#[path = "docs/blocks.rs"]
mod blocks;
#[path = "docs/defaults.rs"]
mod defaults;
#[path = "docs/links.rs"]
mod links;
#[path = "docs/manual.rs"]
mod manual;
#[path = "docs/reference.rs"]
mod reference;
#[path = "docs/shell.rs"]
mod shell;
#[allow(dead_code, reason = "what is retained, and the payloads, are looked at by tests/topics.rs")]
#[path = "topics/page.rs"]
mod topics;

use std::path::{Path, PathBuf};

use fieldgate::cli::drivers;
use fieldgate::cli::migrate::table::{Fate, Key};
use fieldgate::cli::migrate::{self, keys, modules};
use fieldgate::config::{self, raw};
use fieldgate_bus::{BUSES, BusNeed, BusSpec};
use fieldgate_drivers::{DRIVERS, DriverSpec, Proof};
use fieldgate_filters::{FILTERS, FilterSpec};
use fieldgate_model::Need;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The rows below the header line that begins with `header`, as cells.
fn table(text: &str, header: &str) -> Vec<Vec<String>> {
    let rows =
        text.lines().skip_while(|line| !line.starts_with(header)).skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// The contents of every fenced block of this language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap_or(rest).to_owned()).collect()
}

/// What the configuration is after each here-document with which a page writes it, or adds to it.
fn written(text: &str) -> Vec<String> {
    let mut files: Vec<String> = Vec::new();
    for rest in text.split("sudo tee ").skip(1) {
        let here = rest.split_once("<<'EOF'\n").filter(|(command, _)| !command.contains('\n'));
        let Some((command, rest)) = here else { continue };
        let (content, _) = rest.split_once("\nEOF\n").expect("the here-document ends");
        let before = if command.starts_with("-a ") { files.last().cloned().unwrap_or_default() } else { String::new() };
        files.push(format!("{before}{content}\n"));
    }
    files
}

/// Whether `text`, as a configuration at `path`, may run.
fn check(text: &str, path: &Path) {
    if let Err(error) = config::load_text(text, path) {
        panic!("{error}\n\nin:\n{text}");
    }
}

const REMEDY: &str = "FIELDGATE_ACCEPT=1 cargo test --test docs";

/// Writes the file when FIELDGATE_ACCEPT is set, or says that nobody asked for it.
fn is_accepted(name: &str, text: &str) -> bool {
    let is_asked = std::env::var_os("FIELDGATE_ACCEPT").is_some();
    if is_asked {
        std::fs::write(root().join(name), text).expect("the file can be written");
    }
    is_asked
}

/// Compares the rows below `header` in a document with these, or writes them there when FIELDGATE_ACCEPT is set.
fn compare_rows(name: &str, header: &str, rows: &[String]) {
    let text = read(name);
    let start = text.find(header).unwrap_or_else(|| panic!("{name} has no table {header}"));
    let first = start + text[start..].split_inclusive('\n').take(2).map(str::len).sum::<usize>();
    let old: Vec<_> = text[first..].lines().take_while(|line| line.starts_with('|')).collect();
    let end = first + old.iter().map(|line| line.len() + 1).sum::<usize>();
    let new = format!("{}{}\n{}", &text[..first], rows.join("\n"), &text[end..]);
    if !is_accepted(name, &new) {
        assert_eq!(old, rows, "bring {name} up to date: {REMEDY}");
    }
}

#[test]
fn the_page_on_drivers_lists_every_driver_and_no_other() {
    let row = |spec: &&DriverSpec| format!("| `{}` | {} | {} |", spec.name, drivers::bus(spec), spec.summary);
    compare_rows("docs/drivers.md", "| Driver | Bus |", &DRIVERS.iter().map(row).collect::<Vec<_>>());
}

#[test]
fn the_page_on_drivers_says_what_each_was_verified_against() {
    let row = |spec: &&DriverSpec| format!("| `{}` | {} |", spec.name, drivers::proofs(spec).join("; "));
    compare_rows("docs/drivers.md", "| Driver | Verified against |", &DRIVERS.iter().map(row).collect::<Vec<_>>());
}

#[test]
fn the_page_on_values_lists_every_filter_and_no_other() {
    let row = |spec: &&FilterSpec| format!("| `{}` | {} | `{}` |", spec.name, spec.summary, spec.example);
    compare_rows("docs/values.md", "| Filter | What it does |", &FILTERS.iter().map(row).collect::<Vec<_>>());
}

#[test]
fn the_page_on_values_lists_every_key_of_a_report() {
    let rows = table(&read("docs/values.md"), "| key | what it does |");
    let listed: Vec<_> = rows.iter().map(|row| row[0].trim_matches('`')).collect();
    assert_eq!(listed, raw::REPORT.iter().map(|field| field.name).collect::<Vec<_>>());
}

/// A page of pictures must not be slow, and must say the same to somebody who cannot see them.
#[test]
fn each_picture_on_the_page_on_values_is_small_and_described() {
    let text = read("docs/values.md");
    let pictures: Vec<_> = text.split("](pictures/").skip(1).filter_map(|rest| rest.split_once(')')).collect();
    let pictures: Vec<_> = pictures.iter().map(|(name, _)| *name).filter(|name| name.ends_with(".svg")).collect();
    assert!(pictures.len() >= 7, "the page lacks its pictures");
    for name in pictures {
        let picture = read(&format!("docs/pictures/{name}"));
        assert!(picture.len() < 15_000, "{name} has {} bytes", picture.len());
        assert!(picture.contains("<title ") && picture.contains("<desc "), "{name}");
        assert!(!picture.contains("href") && !picture.contains("url("), "{name} needs another file");
    }
}

#[test]
fn each_picture_on_the_page_on_home_assistant_is_there_and_small() {
    let text = read("docs/home-assistant.md");
    let pictures = text.split("](pictures/").skip(1).filter_map(|rest| rest.split_once(')')).map(|(name, _)| name);
    let pictures: Vec<_> = pictures.filter(|name| name.ends_with(".png")).collect();
    assert!(pictures.len() >= 3, "the page has lost its pictures");
    for name in pictures {
        let size = std::fs::metadata(root().join("docs/pictures").join(name))
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(size.len() <= 150_000, "{name} has {} bytes", size.len());
    }
}

/// Whether it was shown is compared by the test on the board itself, at its end (`tests/board/account.py`).
#[test]
fn what_the_emulated_board_is_said_to_show_stands_in_its_test() {
    let folder = std::fs::read_dir(root().join("tests/board")).unwrap().map(|entry| entry.unwrap().path());
    let python = folder.filter(|path| path.extension().is_some_and(|end| end == "py"));
    let phases: Vec<_> = python.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    for spec in DRIVERS {
        for proof in spec.proofs {
            let (Proof::Kernel(which) | Proof::Qemu(which)) = proof else { continue };
            let names = |phase: &&String| [spec.name, which].iter().all(|word| phase.contains(&format!("\"{word}\"")));
            assert!(
                phases.iter().any(|phase| names(&phase)),
                "{} claims {which}, and tests/board does not know",
                spec.name
            );
        }
    }
}

/// Rounded to tens, so that a new driver does not change it each time.
#[test]
fn the_readme_says_how_many_drivers_there_are() {
    assert!(read("README.md").contains(&format!("for {} sensors and outputs", DRIVERS.len() / 10 * 10)));
}

#[test]
fn the_readme_installs_the_package_of_this_version() {
    let package = concat!("./fieldgate_", env!("CARGO_PKG_VERSION"), "-1_arm64.deb");
    assert!(
        read("README.md").contains(&format!("sudo apt install {package}\n")),
        "the README does not install {package}"
    );
}

#[test]
fn the_page_on_outputs_lists_every_limit() {
    let rows = table(&read("docs/outputs.md"), "| key | what it does |");
    let listed: Vec<_> = rows.iter().map(|row| row[0].trim_matches('`')).collect();
    let elsewhere = ["driver", "bus", "safe_state", "safe_after", "settings", "home_assistant"];
    let keys = fieldgate::config::raw::ACTUATOR.iter().map(|field| field.name);
    let limits: Vec<_> = keys.filter(|key| !elsewhere.contains(key)).collect();
    assert_eq!(listed, limits);
}

#[test]
fn the_page_on_requests_has_every_verb() {
    let row = |spec: &fieldgate::requests::VerbSpec| {
        let keys: Vec<_> = spec.fields.iter().map(|field| format!("`{}`", field.name)).collect();
        let off = if spec.is_default { "" } else { "; not allowed by default" };
        format!("| `{}` | {} | {}{off} |", spec.name, keys.join(", "), spec.page)
    };
    let rows: Vec<_> = fieldgate::requests::VERBS.iter().map(row).collect();
    compare_rows("docs/requests.md", "| Verb | Keys |", &rows);
}

/// What becomes of every key and module of mqtt-io, by the tables that `fieldgate migrate` goes by.
#[test]
fn the_page_on_migration_has_every_key_of_mqtt_io() {
    let row = |name: String, fate: Fate| format!("| `{name}` | {} |", fate.describe());
    let way = |place: &str, key: &Key| format!("{place}.{}", key.name).trim_start_matches('.').to_owned();
    let parts = keys::PARTS.iter().flat_map(|part| part.keys.iter().map(|key| row(way(part.place, key), key.fate)));
    compare_rows("docs/migrate.md", "| Key of mqtt-io |", &parts.collect::<Vec<_>>());
    let sections = ["gpio_modules", "sensor_modules", "stream_modules"];
    let modules: Vec<_> =
        sections.iter().flat_map(|section| modules::of(section).iter().map(move |m| (section, m))).collect();
    let rows = modules.iter().map(|(section, module)| row(format!("{section}: {}", module.name), module.fate));
    compare_rows("docs/migrate.md", "| Module of mqtt-io |", &rows.collect::<Vec<_>>());
    // Those of modules that are not carried are not either.
    let carried = modules.iter().filter(|(_, module)| matches!(module.fate, Fate::Carried(_)));
    let of_module = carried.flat_map(|(section, module)| {
        let each = if **section == "gpio_modules" { "digital_inputs, digital_outputs" } else { "sensor_inputs" };
        let own = module.keys.iter().map(move |key| (**section, key));
        own.chain(module.each.iter().map(move |key| (each, key)))
            .map(|(place, key)| row(format!("{}: {place}.{}", module.name, key.name), key.fate))
    });
    compare_rows("docs/migrate.md", "| Module and key |", &of_module.collect::<Vec<_>>());
}

#[test]
fn the_page_on_migration_shows_what_is_printed() {
    let name = "docs/migrate.md";
    let text = read(name);
    let (theirs, ours) = (blocks(&text, "yml"), blocks(&text, "yaml"));
    assert_eq!((theirs.len(), ours.len()), (1, 1), "the page lacks its example");
    let printed =
        migrate::migrate(&theirs[0], Path::new("mqtt-io.yml"), false).expect("it is a configuration of mqtt-io");
    check(&printed, Path::new("migrated.yaml"));
    let new = text.replace(&format!("```yaml\n{}```", ours[0]), &format!("```yaml\n{printed}```"));
    if !is_accepted(name, &new) {
        assert_eq!(ours[0], printed, "bring {name} up to date: {REMEDY}");
    }
}

#[test]
fn the_page_on_buses_lists_every_type_with_its_keys_and_its_page() {
    let mut rows = Vec::new();
    for (index, spec) in BUSES.iter().enumerate() {
        let keys = |spec: &BusSpec| spec.fields.iter().map(|field| format!("{field:?}")).collect::<Vec<_>>();
        let has_same_keys = |other: &&&BusSpec| keys(other) == keys(spec);
        if BUSES[..index].iter().any(|other| has_same_keys(&other)) {
            continue;
        }
        let types = BUSES.iter().filter(has_same_keys).map(|spec| format!("`{}`", spec.name));
        let types = types.collect::<Vec<_>>().join(", ");
        let keys: Vec<_> = raw::bus(spec).iter().filter(|field| field.name != "type").collect();
        if keys.is_empty() {
            rows.push(format!("| {types} | | it has no keys |"));
        }
        rows.extend(keys.into_iter().map(|field| {
            let need = match field.need {
                Need::Required => String::new(),
                Need::Optional => "optional: ".to_owned(),
                Need::Or(other) => format!("this or `{other}`: "),
                Need::Default(default) => format!("`{default}` if left out: "),
            };
            format!("| {types} | `{}` | {need}{} |", field.name, field.doc)
        }));
    }
    compare_rows("docs/buses.md", "| Type | Key |", &rows);
    compare_pages_of_buses("docs/buses.md");
}

/// The pages of all types of bus in a document.
fn compare_pages_of_buses(name: &str) {
    let pages: String = BUSES
        .iter()
        .filter(|spec| !spec.page.is_empty())
        .map(|spec| format!("- **`{}`**: {}\n", spec.name, spec.page))
        .collect();
    let text = read(name);
    let start = text.find("- **`").expect("the list of types");
    let old = text[start..].split_inclusive("\n\n").next().expect("the list has an end").trim_end();
    let new = text.replacen(old, pages.trim_end(), 1);
    if !is_accepted(name, &new) {
        assert_eq!(old, pages.trim_end(), "bring {name} up to date: {REMEDY}");
    }
}

#[test]
fn the_example_of_every_type_of_bus_may_run() {
    for spec in BUSES {
        // One that sits on another names the bus in the example of the usual kind.
        let entries = spec.on.map(BusNeed::example).into_iter().chain([spec.example]);
        let buses: String = entries.map(|entry| format!("  {entry}\n")).collect();
        check(&format!("mqtt: {{ broker: mqtt://localhost }}\nbuses:\n{buses}"), &root().join("example.yaml"));
        assert!(spec.example.contains(&format!("type: {}", spec.name)), "{}: {}", spec.name, spec.example);
    }
}

#[test]
fn every_example_configuration_may_run() {
    let examples = std::fs::read_dir(root().join("config/examples")).into_iter().flatten();
    let files: Vec<PathBuf> = examples.map(|entry| entry.unwrap().path()).collect();
    for file in files.iter().filter(|file| file.extension().is_some_and(|end| end == "yaml")) {
        check(&std::fs::read_to_string(file).unwrap(), file);
    }
}

#[test]
fn the_changelog_has_an_entry_for_this_version() {
    let heading = format!("## [{}]", env!("CARGO_PKG_VERSION"));
    assert!(read("CHANGELOG.md").lines().any(|line| line.starts_with(&heading)), "there is no {heading}");
}

#[test]
fn the_page_for_paho_users_has_every_call() {
    let rows = table(&read("docs/paho.md"), "| In the script |");
    for call in
        ["Client(", "userdata", "connect(", "on_connect(rc)", "on_disconnect(rc)", "loop()", "publish(", "subscribe"]
    {
        let row = rows.iter().find(|row| row[0].trim_start_matches('`').starts_with(call));
        assert!(row.is_some_and(|row| row.len() == 3 && row.iter().all(|cell| !cell.is_empty())), "no row for {call}");
    }
}

#[test]
fn the_configuration_on_the_page_on_parts_may_run() {
    let blocks = blocks(&read("docs/parts.md"), "yaml");
    let [file, part] = blocks.as_slice() else { panic!("the page has not its two examples") };
    let path = root().join("config/parts/fieldgate.yaml");
    check(file, &path);
    check(&format!("{}{part}", file.replace(", sensors/*.yaml", "")), &path);
}
