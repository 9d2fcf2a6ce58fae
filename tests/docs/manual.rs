//! The manual pages and the completions of the shells, made of the command line and the tables of keys as they are.

use clap::CommandFactory as _;
use clap_complete::Shell;
use fieldgate::cli::arguments::Arguments;
use fieldgate::config::raw;
use fieldgate_bus::BUSES;
use fieldgate_bus::expander::INTERRUPT_KEYS;
use fieldgate_model::{Field, Need};

use crate::{REMEDY, is_accepted, read, root};

/// Holds a file against this, or writes it when FIELDGATE_ACCEPT is set.
pub(crate) fn compare_file(name: &str, text: &str) {
    if !is_accepted(name, text) {
        let old = std::fs::read_to_string(root().join(name)).unwrap_or_default();
        assert!(old == text, "{name} is not what the program says now: {REMEDY}");
    }
}

/// The command line, with one page for each command that is ours.
fn command() -> clap::Command {
    Arguments::command().disable_help_subcommand(true)
}

#[test]
fn the_manual_pages_are_of_this_command_line() {
    let folder = tempfile::tempdir().unwrap();
    clap_mangen::generate_to(command(), folder.path()).unwrap();
    let mut names: Vec<_> =
        folder.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    for name in &names {
        let mut text = std::fs::read_to_string(folder.path().join(name)).unwrap();
        if name == "fieldgate.1" {
            text.push_str(&read("deploy/man/more.roff"));
        }
        compare_file(&format!("deploy/man/{name}"), &text);
    }
    let kept = root().join("deploy/man").read_dir().unwrap().map(|entry| entry.unwrap().file_name());
    let mut kept: Vec<_> = kept.map(|name| name.into_string().unwrap()).filter(|name| name.ends_with(".1")).collect();
    kept.sort();
    assert_eq!(kept, names, "deploy/man has a page of no command");
}

#[test]
fn the_completions_are_of_this_command_line() {
    let shells = [(Shell::Bash, "fieldgate.bash"), (Shell::Zsh, "_fieldgate"), (Shell::Fish, "fieldgate.fish")];
    for (shell, name) in shells {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Arguments::command(), "fieldgate", &mut script);
        compare_file(&format!("deploy/completions/{name}"), &String::from_utf8(script).unwrap());
    }
}

/// A text as troff takes it: hyphens and quotes as they are typed, no line that looks like a request.
fn troff(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('²', "2").replace('`', "");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

fn entry(field: &Field) -> String {
    let need = match field.need {
        Need::Required => " (required)".to_owned(),
        Need::Optional => String::new(),
        Need::Or(other) => format!(" (this or {other})"),
        Need::Default(default) => format!(" (default: {})", troff(default)),
    };
    format!(".TP\n.BR {} \"{need}\"\n{}.\n", troff(field.name), troff(field.doc))
}

/// Every section of the file, with the heading of its keys on the page.
pub(crate) fn sections() -> Vec<(&'static str, &'static [Field])> {
    vec![
        ("gateway", raw::GATEWAY),
        ("mqtt", raw::MQTT),
        ("mqtt.tls", raw::TLS),
        ("mqtt.reconnect", raw::RECONNECT),
        ("spool", raw::SPOOL),
        ("buses.NAME", raw::any_bus()),
        ("buses.NAME.interrupt", INTERRUPT_KEYS),
        ("sensors.NAME", raw::SENSOR),
        ("sensors.NAME.report", raw::REPORT),
        ("sensors.NAME.home_assistant", raw::SHOWN_SENSOR),
        ("sensors.NAME.home_assistant.MEASUREMENT", raw::SHOWN_MEASUREMENT),
        ("actuators.NAME", raw::ACTUATOR),
        ("actuators.NAME.home_assistant", raw::SHOWN_OUTPUT),
        ("variables.NAME", raw::VARIABLE),
        ("variables.NAME.home_assistant", raw::SHOWN_OWN),
        ("requests", raw::REQUESTS),
        ("rules.NAME", raw::RULE),
        ("rules.NAME.publish", raw::PUBLICATION),
        ("rules.NAME.home_assistant", raw::SHOWN_OWN),
        ("home_assistant", raw::HOME_ASSISTANT),
        ("http", raw::HTTP),
        ("metrics", raw::METRICS),
    ]
}

/// The lines of the page between two marks.
fn replace_marked(page: &mut String, mark: &str, text: &str) {
    let (head, tail) = (format!(".\\\" {mark}\n"), ".\\\" end\n");
    let start = page.find(&head).unwrap_or_else(|| panic!("the page has no place for {mark}")) + head.len();
    let end = start + page[start..].find(tail).unwrap_or_else(|| panic!("{mark} has no end"));
    page.replace_range(start..end, text);
}

#[test]
fn the_page_on_the_configuration_has_every_key() {
    let name = "deploy/man/fieldgate.yaml.5";
    let mut page = read(name);
    for (section, fields) in sections() {
        replace_marked(&mut page, &format!("keys of {section}"), &fields.iter().map(entry).collect::<String>());
    }
    let types: Vec<_> = BUSES.iter().map(|spec| format!(".BR {}", spec.name)).collect();
    replace_marked(&mut page, "types of buses", &format!("{} .\n", types.join(" ,\n")));
    compare_file(name, &page);
}

#[test]
fn the_page_on_the_configuration_leaves_no_section_out() {
    fn count(fields: &[Field]) -> usize {
        let inner = fields.iter().map(|field| match field.kind {
            fieldgate_model::Kind::Named(_) if field.name == "buses" => 1 + count(raw::any_bus()),
            fieldgate_model::Kind::Section(fields) | fieldgate_model::Kind::Named(fields) => 1 + count(fields),
            fieldgate_model::Kind::PerMeasurement { own, each } => 2 + count(own) + count(each),
            _ => 0,
        });
        inner.sum()
    }
    assert_eq!(count(raw::ROOT), sections().len(), "a section of the file is not among sections()");
}

#[test]
fn the_shipped_configuration_reads_the_board_and_switches_nothing() {
    let file = root().join("deploy/debian/fieldgate.yaml");
    let loaded = fieldgate::config::load_text(&read("deploy/debian/fieldgate.yaml"), &file).expect("it may run");
    let drivers: Vec<_> = loaded.config.sensors.iter().map(|sensor| sensor.driver.name).collect();
    assert_eq!(drivers, ["board"]);
    assert!(loaded.config.actuators.is_empty() && loaded.warnings.is_empty());
}

/// A `#` without a space behind it marks an example; with the marks taken away the file must run too.
#[test]
fn the_examples_in_the_shipped_configuration_may_run() {
    let text = read("deploy/debian/fieldgate.yaml");
    let example = |line: &str| line.trim_start().strip_prefix('#').is_some_and(|rest| !rest.starts_with([' ', '#']));
    let uncomment = |line: &str| if example(line) { line.replacen('#', "", 1) } else { line.to_owned() } + "\n";
    let whole: String = text.lines().map(uncomment).collect();
    assert!(["air", "pump", "password_credential"].iter().all(|name| whole.contains(&format!("\n  {name}:"))));
    crate::check(&whole, &root().join("deploy/debian/fieldgate.yaml"));
}
