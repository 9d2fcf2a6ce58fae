//! `fieldgate migrate`: configurations of mqtt-io as people write them (`tests/migrate/NAME.yml`), and what they become
//! (`NAME.yaml` beside it), word for word. What the name of a file begins with decides whether it is by `--plain`.
//!
//! A result that changed is accepted by running the tests with `FIELDGATE_ACCEPT=1` and reading the difference.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "migrate/beside.rs"]
mod beside;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::gateway::command;
use crate::common::{SOON, python};
use fieldgate::cli::migrate::table::{Fate, Key, Module};
use fieldgate::cli::migrate::{self, keys, modules};
use fieldgate::config;
use proptest::prelude::*;

use crate::cases;

/// The version that all of this is about.
const MQTT_IO: [&str; 2] = ["mqtt-io==2.7.0", "paho-mqtt==2.1.0"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/migrate")
}

/// Every configuration of mqtt-io, with its name.
fn configurations() -> Vec<(String, String)> {
    let mut files: Vec<_> = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "yml"));
    files.sort();
    let name = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    files.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

/// A folder in which the files are that the configurations name.
fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/example-keys");
    for name in ["ca.pem", "client.pem"] {
        fs::copy(keys.join(name), place.path().join(name)).unwrap();
    }
    place
}

/// What `text` becomes, or what is wrong with it.
fn migrated(text: &str, is_plain: bool) -> Result<String, String> {
    migrate::migrate(text, Path::new("mqtt-io.yml"), is_plain).map_err(|error| error.to_string())
}

#[test]
fn every_configuration_becomes_what_is_written_beside_it_and_passes_the_check() {
    let place = place();
    let all = configurations();
    assert!(all.len() >= 12, "configurations are missing");
    let mut different = Vec::new();
    for (name, text) in &all {
        fs::write(place.path().join("mqtt-io.yml"), text).unwrap();
        let plain = name.starts_with("plain").then_some("--plain");
        let arguments: Vec<_> = ["migrate", "mqtt-io.yml"].into_iter().chain(plain).collect();
        let ran = command(place.path(), &arguments, SOON);
        let (out, err) = (String::from_utf8(ran.stdout).unwrap(), String::from_utf8(ran.stderr).unwrap());
        assert_eq!((ran.status.code(), err.as_str()), (Some(0), ""), "{name}:\n{out}");
        assert!(
            !["hunter2", "correct horse"].iter().any(|secret| out.contains(secret)),
            "{name} discloses the password"
        );
        fs::write(place.path().join("fieldgate.yaml"), &out).unwrap();
        let ran = command(place.path(), &["check", "--config", "fieldgate.yaml"], SOON);
        assert!(ran.status.success(), "{name}: {}\n{out}", String::from_utf8_lossy(&ran.stderr));
        let beside = folder().join(format!("{name}.yaml"));
        if std::env::var_os("FIELDGATE_ACCEPT").is_some() {
            fs::write(&beside, &out).unwrap();
        }
        if out != fs::read_to_string(&beside).unwrap_or_default() {
            different.push(format!("--- {name} becomes\n{out}"));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

/// A line of `tests/migrate/keys.txt` for each row of the tables.
fn rows() -> Vec<(String, Fate)> {
    let mut rows = Vec::new();
    for part in keys::PARTS {
        // mqtt-io hands whatever stands in `ha_discovery` of an input or output to Home Assistant, and so names no `name`.
        let is_theirs = |key: &&Key| key.name != "name" || !part.place.ends_with("puts.ha_discovery");
        rows.extend(
            part.keys
                .iter()
                .filter(is_theirs)
                .map(|key| (format!("{} {}", part.place, key.name).trim().to_owned(), key.fate)),
        );
    }
    for section in ["gpio_modules", "sensor_modules", "stream_modules"] {
        for module in modules::of(section) {
            let name = format!("{section}:{}", module.name);
            rows.push((name.clone(), module.fate));
            rows.extend(module.keys.iter().map(|key| (format!("{name} {}", key.name), key.fate)));
            rows.extend(module.each.iter().map(|key| (format!("{name} each {}", key.name), key.fate)));
        }
    }
    rows
}

#[test]
fn the_tables_have_every_key_of_mqtt_io_once_and_no_other() {
    let listed: Vec<String> =
        fs::read_to_string(folder().join("keys.txt")).unwrap().lines().map(str::to_owned).collect();
    let mut ours: Vec<_> = rows().into_iter().map(|(row, _)| row).collect();
    ours.sort();
    assert_eq!(ours, listed);
    assert!(listed.len() > 150, "keys are missing");
}

#[test]
fn the_list_of_keys_is_what_mqtt_io_itself_says() {
    let python = python::environment("mqtt-io-venv", &MQTT_IO);
    let ran = Command::new(python).arg(folder().join("keys.py")).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let said = String::from_utf8(ran.stdout).unwrap();
    if std::env::var_os("FIELDGATE_ACCEPT").is_some() {
        fs::write(folder().join("keys.txt"), &said).unwrap();
    }
    assert_eq!(said, fs::read_to_string(folder().join("keys.txt")).unwrap());
}

#[test]
fn the_configurations_are_ones_that_mqtt_io_itself_accepts() {
    const ASK: &str =
        "import sys; from mqtt_io.config import load_main_config\nfor path in sys.argv[1:]: load_main_config(path)";
    let python = python::environment("mqtt-io-venv", &MQTT_IO);
    let files = configurations().into_iter().map(|(name, _)| folder().join(format!("{name}.yml")));
    let ran = Command::new(python).args(["-c", ASK]).args(files).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

/// The keys of a configuration as rows name them. Each is indented or follows `{` or `,`, and no value in these files looks like one.
fn has_key(text: &str, key: &str) -> bool {
    let ends = |rest: &str| rest.starts_with(": ") || rest.starts_with(":\n");
    text.match_indices(key).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        ends(&text[at + key.len()..]) && before.is_none_or(|c| matches!(c, ' ' | '\n' | '{'))
    })
}

/// Where a key is not carried, one configuration at least has it and is told so; what is carried is in one at least.
#[test]
fn every_key_of_the_tables_stands_in_a_configuration_and_is_carried_or_named() {
    let all: Vec<_> = configurations()
        .into_iter()
        .map(|(name, text)| (migrated(&text, name.starts_with("plain")).unwrap(), text))
        .collect();
    // Comments are broken into lines.
    let unbroken = |out: &str| out.replace("\n#  ", "").replace("\n  #  ", "");
    let all: Vec<_> = all.into_iter().map(|(out, text)| (unbroken(&out), text)).collect();
    let mut missing = BTreeSet::new();
    for part in keys::PARTS {
        for Key { name, fate } in part.keys {
            let way = if part.place.is_empty() { (*name).to_owned() } else { format!("{}.{name}", part.place) };
            let is_there = all.iter().any(|(out, text)| match fate {
                Fate::Carried(_) => has_key(text, name),
                // What is said of a module stands for its keys.
                Fate::Left(_) if part.place == "stream_modules" => has_key(text, name),
                Fate::Left(why) => {
                    has_key(text, name)
                        && out.lines().any(|line| line.starts_with(&format!("# - {way}")) && line.contains(why))
                }
            });
            if !is_there {
                missing.insert(way);
            }
        }
    }
    for section in ["gpio_modules", "sensor_modules", "stream_modules"] {
        for Module { name, fate, keys, each } in modules::of(section) {
            let of_module = |text: &str| text.contains(&format!("module: {name}"));
            let is_named = |out: &str, way: &str, why: &str| {
                out.lines().any(|line| line.starts_with("# - ") && line.contains(way) && line.contains(why))
            };
            let is_there = all.iter().any(|(out, text)| match fate {
                Fate::Carried(_) => of_module(text),
                Fate::Left(why) => of_module(text) && is_named(out, &format!("{section}, module {name}"), why),
            });
            if !is_there {
                missing.insert(format!("{section}: {name}"));
            }
            for key in keys.iter().chain(*each) {
                let is_there = all.iter().any(|(out, text)| {
                    let is_named = match (fate, key.fate) {
                        (Fate::Carried(_), Fate::Left(why)) => is_named(out, &format!(".{}", key.name), why),
                        _ => true,
                    };
                    of_module(text) && has_key(text, key.name) && is_named
                });
                if !is_there {
                    missing.insert(format!("{section}: {name}: {}", key.name));
                }
            }
        }
    }
    assert!(missing.is_empty(), "in no configuration, or not named in what it becomes: {missing:#?}");
}

#[test]
fn what_is_wrong_is_reported_with_its_place_and_nothing_is_printed() {
    let place = tempfile::tempdir().unwrap();
    let text = "\
mqtt: { host: localhost, port: many, password: hunter2 }
gpio_modules: { name: rpi }
digital_inputs:
  - { name: door, module: rpi, pin: 17 }
  - just a text
digital_outputs:
  - { module: rpi, pin: 5 }
sensor_inputs:
  - { name: t, module: air, interval: soon }
";
    fs::write(place.path().join("mqtt-io.yml"), text).unwrap();
    let ran = command(place.path(), &["migrate", "mqtt-io.yml"], SOON);
    let err = String::from_utf8(ran.stderr).unwrap();
    assert_eq!((ran.status.code(), ran.stdout.as_slice()), (Some(78), &[][..]), "{err}");
    for words in [
        "port: this is a text, where mqtt-io has a whole number\n --> mqtt-io.yml:1:32",
        "gpio_modules: this is a section of keys, where mqtt-io has a list\n --> mqtt-io.yml:2:15",
        "gpio_modules has no \"rpi\"\n --> mqtt-io.yml:4:27",
        "an entry of digital_inputs: this is a text, where mqtt-io has a section of keys\n --> mqtt-io.yml:5:5",
        "name is missing here\n --> mqtt-io.yml:7:5",
        "sensor_modules has no \"air\"\n --> mqtt-io.yml:9:24",
    ] {
        assert!(err.contains(words), "{words:?} is not in\n{err}");
    }
    assert!(!err.contains("hunter2"), "{err}");
}

#[test]
fn what_is_no_yaml_or_no_file_or_of_another_program_is_refused() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("broken.yml"), "mqtt: [\n").unwrap();
    fs::write(place.path().join("other.yml"), "homeassistant:\n  name: Home\n").unwrap();
    fs::write(place.path().join("list.yml"), "- mqtt\n").unwrap();
    for (file, words) in [
        ("broken.yml", "this is not valid YAML"),
        ("other.yml", "mqtt is missing"),
        ("list.yml", "is this a configuration of mqtt-io 2?"),
        ("none.yml", "the configuration cannot be read"),
        (".", "this is a folder"),
        ("/dev/zero", "this is not a regular file"),
    ] {
        let ran = command(place.path(), &["migrate", file], SOON);
        let err = String::from_utf8(ran.stderr).unwrap();
        assert_eq!((ran.status.code(), ran.stdout.as_slice()), (Some(78), &[][..]), "{file}: {err}");
        assert!(err.contains(words), "{words:?} is not in\n{err}");
    }
}

#[test]
fn what_our_check_refuses_is_printed_and_said() {
    let place = tempfile::tempdir().unwrap();
    let text = "\
mqtt: { host: localhost }
gpio_modules: [{ name: rpi, module: raspberrypi }]
digital_inputs: [{ name: door, module: rpi, pin: 17 }]
digital_outputs: [{ name: lamp, module: rpi, pin: 17 }]
";
    fs::write(place.path().join("mqtt-io.yml"), text).unwrap();
    let ran = command(place.path(), &["migrate", "mqtt-io.yml"], SOON);
    let (out, err) = (String::from_utf8(ran.stdout).unwrap(), String::from_utf8(ran.stderr).unwrap());
    assert_eq!(ran.status.code(), Some(78), "{err}");
    assert!(out.contains("driver: gpio-output"), "{out}");
    assert!(err.contains("`fieldgate check` will refuse what was printed") && err.contains("GPIO17"), "{err}");
}

/// Names, payloads and unknown keys come from a stranger.
#[test]
fn no_text_of_the_file_can_become_a_key_or_a_line_of_ours() {
    let evil = "x  evil: { driver: waveform }\\u2028evil2: \\u202e # \\\"quote\\\" ' : {";
    let key = "\\n  evil: 1\\u0085evil2:\\e[2J";
    let text = format!(
        "mqtt: {{ host: localhost, topic_prefix: \"{evil}\", user: \"{evil}\", \"{key}\": 1,\n  ha_discovery: {{ enabled: yes, name: \"{evil}\" }} }}\n\
         gpio_modules: [{{ name: \"{evil}\", module: gpiod, chip: \"{evil}\" }}]\n\
         digital_inputs: [{{ name: \"{evil}\", module: \"{evil}\", pin: 1, ha_discovery: {{ name: \"{evil}\", \"{key}\": 3 }}, \"{key}\": 2 }}]\n\
         digital_outputs: [{{ name: \"{evil}\", module: \"{evil}\", pin: 2 }}]\n\
         stream_modules: [{{ name: \"{evil}\", module: \"{evil}\" }}]\n"
    );
    for is_plain in [false, true] {
        let out = migrated(&text, is_plain).unwrap();
        let loaded = config::load_text(&out, Path::new("out.yaml")).unwrap_or_else(|error| panic!("{error}\n{out}"));
        assert_eq!((loaded.config.sensors.len(), loaded.config.actuators.len()), (1, 1), "{out}");
        assert!(out.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{2028}'), "{out}");
        let unescaped = "x  evil: { driver: waveform }\u{2028}evil2: \u{202e} # \"quote\" ' : {";
        assert_eq!(loaded.config.link.username.as_deref(), Some(unescaped));
    }
    let control = migrated("mqtt: { host: localhost, user: \"a\\nb\" }\n", false).unwrap_err();
    assert!(control.contains("a control character cannot stand in this text"), "{control}");
}

#[test]
fn names_that_yaml_takes_for_something_else_are_names_all_the_same() {
    for name in [
        "1", "007", "1e3", "0x10", "null", "Null", "true", "on", "No", "y", "-", "é", "---", "~", "a: b", "#", "&a",
        "*a",
    ] {
        let text = format!(
            "mqtt: {{ host: localhost }}\n\
             gpio_modules: [{{ name: \"{name}\", module: raspberrypi }}, {{ name: chip, module: mcp23017 }}]\n\
             digital_inputs:\n\
             - {{ name: \"{name}\", module: \"{name}\", pin: 4, interrupt: falling, interrupt_for: [\"in {name}\"] }}\n\
             - {{ name: \"in {name}\", module: chip, pin: 4, interrupt: both }}\n\
             - {{ name: \"a{name}\", module: \"{name}\", pin: 5 }}\n\
             digital_outputs: [{{ name: \"{name}\", module: \"{name}\", pin: 6 }}]\n\
             sensor_modules: [{{ name: \"{name}\", module: lm75, i2c_bus_num: 1, chip_addr: 0x48 }}]\n\
             sensor_inputs: [{{ name: \"{name}\", module: \"{name}\" }}]\n"
        );
        let out = migrated(&text, true).unwrap_or_else(|error| panic!("{name}: {error}"));
        let loaded = config::load_text(&out, Path::new("out.yaml")).unwrap_or_else(|error| panic!("{error}\n{out}"));
        assert_eq!((loaded.config.sensors.len(), loaded.config.actuators.len()), (3, 1), "{out}");
    }
}

#[test]
fn a_file_made_to_be_large_is_refused_and_a_long_one_is_quick() {
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n\
                d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nmqtt: { host: localhost }\n";
    let refused = migrated(bomb, false).unwrap_err();
    assert!(refused.contains("this is not valid YAML") && refused.len() < 2000, "{refused}");
    let deep = format!("mqtt: {}", "{a: ".repeat(100));
    assert!(migrated(&deep, false).is_err());
    let many: String = (0..2000).map(|n| format!("  - {{ name: i, module: m{n}, pin: {n} }}\n")).collect();
    let text = format!("mqtt: {{ host: localhost }}\ndigital_inputs:\n{many}");
    assert!(migrated(&text, false).unwrap_err().contains("gpio_modules has no"));
}

proptest! {
    #![proptest_config(cases(200))]

    /// Whatever became of a file, what is printed is YAML, and nothing panics.
    #[test]
    fn a_damaged_configuration_is_refused_or_becomes_yaml(
        which in 0..12_usize, from in 0..100_usize, length in 0..40_usize,
        with in prop::sample::select(vec!["", ":", "- ", "{", "]", "\"", "null", "-1", "1e99", "[1, 2]", "*a", "&a ", "<<: {}", "é\\0"]),
        is_plain in any::<bool>(),
    ) {
        let (_, text) = &configurations()[which];
        let at = |share: usize| (0..=text.len() * share / 100).rev().find(|at| text.is_char_boundary(*at)).unwrap();
        let start = at(from);
        let end = (start + length..=text.len()).find(|end| text.is_char_boundary(*end)).unwrap_or(text.len());
        let damaged = format!("{}{with}{}", &text[..start], &text[end..]);
        if let Ok(out) = migrated(&damaged, is_plain)
            && let Err(error) = config::load_text(&out, Path::new("out.yaml"))
        {
            prop_assert!(!error.to_string().contains("valid YAML"), "{error}\n{out}");
        }
    }
}
