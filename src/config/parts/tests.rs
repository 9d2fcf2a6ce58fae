//! Whatever is split over files, templates and the environment means the same as in one file.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::ffi::OsString;
use std::path::Path;

use crate::config::parts::{Assembled, Origin, assemble};
use crate::config::report::Severity;
use crate::config::source::Source;
use crate::config::tree::{Node, Value};

/// The tree of `text`, with these variables; all problems if there is an error.
fn tree(path: &Path, text: &str, variables: &[(&str, &str)]) -> Result<Assembled, String> {
    let environment = |name: &str| {
        let known = variables.iter().find(|(known, _)| *known == name);
        known.map(|(_, value)| OsString::from(value))
    };
    assembled(Source::new(path, text), Origin::File(&environment))
}

fn assembled(source: Source, origin: Origin<'_>) -> Result<Assembled, String> {
    let all = assemble(source, origin).map_err(|error| error.to_string())?;
    match all.problems.iter().any(|problem| problem.severity == Severity::Error) {
        true => Err(refused_by(all)),
        false => Ok(all),
    }
}

fn refused_by(all: Assembled) -> String {
    crate::config::parts::refused(all.source, all.problems).to_string()
}

/// What stands in a tree, without places.
fn plain(node: &Node) -> String {
    match &node.value {
        Value::Map(entries) => {
            let all: Vec<_> = entries.iter().map(|(key, value)| format!("{}: {}", key.text, plain(value))).collect();
            format!("{{{}}}", all.join(", "))
        }
        Value::List(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(", ")),
        Value::Tagged(..) => panic!("a tag is left"),
        other => format!("{other:?}"),
    }
}

fn same(text: &str, variables: &[(&str, &str)], expected: &str) {
    let one = tree(Path::new("x.yaml"), text, variables).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let other = tree(Path::new("x.yaml"), expected, &[]).unwrap_or_else(|error| panic!("{error}\n{expected}"));
    assert_eq!(plain(&one.root), plain(&other.root), "{text}");
}

fn refused(text: &str, variables: &[(&str, &str)], words: &str) -> String {
    let error = tree(Path::new("x.yaml"), text, variables).map(|_| ()).unwrap_err();
    assert!(error.contains(words), "{error}\nhas not: {words}");
    error
}

#[test]
fn a_variable_is_what_a_plain_word_in_its_place_is() {
    for (value, expected) in [("0x44", "0x44"), ("true", "true"), ("1.5", "1.5"), ("10s", "10s"), ("a b", "'a b'")] {
        same("a: !env X", &[("X", value)], &format!("a: {expected}"));
        same("a: [!env [X, 5], b]", &[("X", value)], &format!("a: [{expected}, b]"));
    }
    same("a: !env X", &[("X", "")], "a: ''");
    same("a: !env [X, { b: [1, !env [Y, 2]] }]", &[], "a: { b: [1, 2] }");
    same("a: &x !env X\nb: *x", &[("X", "5")], "a: 5\nb: 5");
}

#[test]
fn a_variable_that_is_not_set_or_not_named_is_an_error_with_its_place() {
    refused("a: 1\nb: !env FIELDGATE_X\n", &[], "the environment variable FIELDGATE_X is not set\n --> x.yaml:2:");
    for text in ["a: !env", "a: !env 5", "a: !env A-B", "a: !env []", "a: !env [A, 1, 2]", "a: !env { A: 1 }"] {
        refused(text, &[("A", "1")], "this cannot be the name of an environment variable");
    }
}

#[test]
fn a_template_is_its_body_with_the_parameters_filled_in() {
    let templates =
        "templates:\n  probe:\n    driver: sht3x\n    settings: { address: !param address, rate: !param [rate, 4] }\n";
    let text = format!(
        "{templates}sensors:\n  a: {{ use: {{ template: probe, address: 0x44 }} }}\n  b:\n    every: 1m\n    use: {{ template: probe, \
         address: 0x45, rate: 2 }}\n    settings: {{ heater: true }}\n  c: {{ use: {{ template: probe, address: [1, {{ x: 1 }}] }}, driver: x }}\n"
    );
    let expected = "sensors:\n  a: { driver: sht3x, settings: { address: 0x44, rate: 4 } }\n  b: { driver: sht3x, settings: { address: 0x45, \
                    rate: 2, heater: true }, every: 1m }\n  c: { driver: x, settings: { address: [1, { x: 1 }], rate: 4 } }\n";
    same(&text, &[], expected);
}

#[test]
fn a_template_may_come_by_an_alias_and_from_the_environment() {
    let text = "sensors: { z: &z { every: 1s } }\ntemplates:\n  t: { <<: *z, bus: !env B, x: !param p }\nbuses: { a: { use: { template: t, p: \
                *z } } }";
    same(
        text,
        &[("B", "i2c")],
        "sensors: { z: { every: 1s } }\nbuses: { a: { bus: i2c, x: { every: 1s }, every: 1s } }",
    );
}

#[test]
fn bombs_of_templates_and_variables_are_refused() {
    let body: String = (0..300).map(|n| format!("    k{n}: !param p\n")).collect();
    let uses: String = (0..300).map(|n| format!("  s{n}: {{ use: {{ template: t, p: 1 }} }}\n")).collect();
    refused(&format!("templates:\n  t:\n{body}sensors:\n{uses}"), &[], "more than 20000 values");
    let long = "x".repeat(100_000);
    let many = "!env X, ".repeat(1000);
    refused(&format!("a: [{many}]"), &[("X", &long)], "larger than 4 MiB");
    let text = format!("templates:\n  t:\n    k: !param p\nsensors:\n  s: {{ use: {{ template: t, p: {long} }} }}\n");
    assert!(tree(Path::new("x.yaml"), &text, &[]).is_ok());
    let body: String = (0..100).map(|n| format!("    k{n}: !param p\n")).collect();
    let text = format!("templates:\n  t:\n{body}sensors:\n  s: {{ use: {{ template: t, p: {long} }} }}\n");
    refused(&text, &[], "larger than 4 MiB");
}

#[test]
fn the_identity_follows_parts_and_variables_and_is_that_of_the_text_without_them() {
    let identity =
        |text: &str, value: &str| tree(Path::new("x.yaml"), text, &[("X", value)]).unwrap().source.identity();
    assert_eq!(identity("a: 1\n", "1"), "a: 1\n");
    assert_ne!(identity("a: !env X\n", "1"), identity("a: !env X\n", "2"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.yaml");
    let text = "include: p.yaml\nb: 1\n";
    let with = |part: &str| {
        std::fs::write(folder.path().join("p.yaml"), part).unwrap();
        tree(&path, text, &[]).unwrap().source.identity()
    };
    assert_ne!(with("a: 1\n"), with("a: 2\n"));
    assert_eq!(with("a: 1\n"), with("a: 1\n"));
}

#[test]
fn a_link_out_of_the_folder_is_refused_and_an_absolute_path_is_not() {
    let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = folder.path().join("x.yaml");
    std::fs::write(outside.path().join("a.yaml"), "include: b.yaml\na: 1\n").unwrap();
    std::fs::write(outside.path().join("b.yaml"), "b: 1\n").unwrap();
    std::os::unix::fs::symlink(outside.path().join("a.yaml"), folder.path().join("link.yaml")).unwrap();
    std::os::unix::fs::symlink(folder.path().join("own.yaml"), folder.path().join("inner.yaml")).unwrap();
    std::fs::write(folder.path().join("own.yaml"), "c: 1\n").unwrap();
    for text in ["include: link.yaml\n", "include: l*.yaml\n", "include: ../x/../x.yaml\n"] {
        let error = tree(&path, text, &[]).map(|_| ()).unwrap_err();
        assert!(error.contains("is outside the folder") || error.contains("cannot be read"), "{error}");
    }
    // What an absolute path names may have parts beside it.
    let text = format!("include: [inner.yaml, {}]\n", outside.path().join("a.yaml").display());
    assert_eq!(
        plain(&tree(&path, &text, &[]).unwrap().root),
        plain(&tree(&path, "c: 1\na: 1\nb: 1\n", &[]).unwrap().root)
    );
}

#[test]
fn files_have_limits() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let refused = |text: &str, words: &str| {
        let error = tree(&folder.path().join("x.yaml"), text, &[]).map(|_| ()).unwrap_err();
        assert!(error.contains(words), "{error}");
    };
    (0..10).for_each(|n| write(&format!("deep{n}.yaml"), &format!("include: deep{}.yaml\n", n + 1)));
    refused("include: deep0.yaml\n", "files include files more than 8 deep");
    (0..300).for_each(|n| write(&format!("many{n}.yml"), "# nothing\n"));
    refused("include: many*.yml\n", "the configuration has more than 256 parts");
    (0..3).for_each(|n| write(&format!("large{n}.yaml"), &"# nothing\n".repeat(50_000)));
    refused("include: large*.yaml\n", "large2.yaml the configuration is larger than 1 MiB");
    (0..3).for_each(|n| write(&format!("nodes{n}.yaml"), &format!("l{n}: [{}]\n", "x,".repeat(9_000))));
    refused("include: nodes*.yaml\n", "more than 20000 values");
}

#[test]
fn what_a_request_carries_reads_neither_files_nor_variables() {
    let carried = |text: &str| assembled(Source::new(Path::new("x.yaml"), text), Origin::Request).map(|_| ());
    let error = carried("include: [/etc/passwd]\na: !env [HOME, x]\n").unwrap_err();
    assert!(error.contains("a configuration that a request carries is one text, and cannot include others"), "{error}");
    assert!(
        error.contains("a configuration that a request carries cannot use the environment of the gateway"),
        "{error}"
    );
    assert!(carried("templates: { t: { a: 1 } }\nrules: { r: { use: { template: t } } }\n").is_ok());
}

#[test]
fn no_report_shows_what_a_variable_holds() {
    for (text, value) in [
        ("mqtt: { broker: mqtt://h, qos: !env X }\n", "77"),
        ("mqtt: { broker: mqtt://h, qos: !env X }\n", "hunter2"),
        ("mqtt: { broker: mqtt://h, keep_alive: !env X }\n", "hunter2"),
        ("mqtt: { broker: mqtt://h, keep_alive: !env X }\n", "77"),
        ("mqtt: { broker: !env X }\n", "mqtt://pi:hunter2@h:x77"),
        ("mqtt: { broker: !env X }\n", "http://hunter2"),
        ("mqtt: { broker: mqtt://h }\nsensors: { a: { driver: !env X } }\n", "hunter2"),
        ("mqtt: { broker: mqtt://h }\nsensors: { a: { driver: bme280, bus: !env X } }\n", "hunter2"),
        (
            "mqtt: { broker: mqtt://h }\ntemplates: { t: { driver: !env X } }\nsensors: { a: { use: { template: t } } }\n",
            "hunter2",
        ),
        ("mqtt: { broker: mqtt://h, password_file: !env X }\n", "/run/hunter2"),
        ("mqtt: { broker: mqtt://h }\nrules: { r: { when: !env X } }\n", "hunter2 + 77 < x"),
        ("mqtt: { broker: mqtt://h }\nmqtt: { !env X }\n", "hunter2"),
    ] {
        let environment = |name: &str| (name == "X").then(|| OsString::from(value));
        let source = Source::new(Path::new("x.yaml"), text);
        let error =
            crate::config::check_source(source, Origin::File(&environment)).map(|_| ()).unwrap_err().to_string();
        assert!(!error.contains("hunter2") && !error.contains("77"), "{text}{error}");
    }
}

/// A value that cannot be found is one problem, and what else is wrong is reported with it.
#[test]
fn what_cannot_be_found_hides_nothing_and_has_no_consequences() {
    let text = "mqtt: { broker: mqtt://h, qos: !env UNSET, keep_alive: 5 }\nbuses:\n  i: { use: { template: none } }\n  j: { type: !env \
                UNSET }\ntemplates:\n  t: { driver: !env UNSET, every: 5 }\nsensors:\n  a: { driver: bme280, bus: i, every: 1s }\n  b: { driver: \
                !param x, bus: j }\n  c: { use: { template: t } }\nactuators: !env UNSET\nrules: { r: { when: a.temperature > 1, set: !env UNSET } }\n";
    let source = Source::new(Path::new("x.yaml"), text);
    let error = crate::config::check_source(source, Origin::File(&|_| None)).map(|_| ()).unwrap_err();
    let all: Vec<_> = error.problems.iter().map(|problem| problem.what.as_str()).collect();
    let unset = "the environment variable UNSET is not set";
    let expected = [
        unset,
        "keep_alive: \"5\" has no unit",
        "no template is called \"none\"",
        unset,
        unset,
        "every: \"5\" has no unit",
        "!param stands for a value in a template only",
        unset,
        unset,
    ];
    assert_eq!(all, expected, "{error}");
}

#[test]
fn a_problem_with_a_variable_names_it() {
    let environment = |name: &str| (name == "X").then(|| OsString::from("9"));
    let source = Source::new(Path::new("x.yaml"), "mqtt: { broker: mqtt://h, qos: !env X }\n");
    let error = crate::config::check_source(source, Origin::File(&environment)).map(|_| ()).unwrap_err().to_string();
    let expected =
        "error: qos: *** is not a whole number from 0 to 2; the value is that of the environment variable X\n";
    assert!(error.starts_with(expected), "{error}");
}

mod split {
    //! Random configurations in random parts.

    use std::fmt::Write as _;

    use proptest::prelude::*;

    use super::*;

    /// A sensor, and how it is written.
    #[derive(Clone, Debug)]
    struct Sensor {
        every: u8,
        address: u8,
        /// In which file: 0 is the configuration's own.
        file: usize,
        uses_template: bool,
        has_default: bool,
        by_variable: bool,
        own_every: bool,
    }

    fn sensor() -> impl Strategy<Value = Sensor> {
        (1_u8..99, 0_u8..99, 0_usize..4, any::<[bool; 4]>()).prop_map(|(every, address, file, flags)| {
            let [uses_template, has_default, by_variable, own_every] = flags;
            Sensor { every, address, file, uses_template, has_default, by_variable, own_every }
        })
    }

    fn written(index: usize, sensor: &Sensor) -> String {
        let Sensor { every, address, .. } = sensor;
        let address = if sensor.by_variable { format!("!env ADDRESS_{index}") } else { address.to_string() };
        if !sensor.uses_template {
            return format!(
                "  s{index}:\n    driver: d\n    every: {every}s\n    settings: {{ address: {address} }}\n"
            );
        }
        let (within, beside) = if sensor.own_every {
            (String::new(), format!("    every: {every}s\n"))
        } else {
            (format!(", every: {every}s"), String::new())
        };
        let template = if sensor.has_default || sensor.own_every { "loose" } else { "strict" };
        format!("  s{index}:\n    use: {{ template: {template}, address: {address}{within} }}\n{beside}")
    }

    const TEMPLATES: &str = "templates:\n  strict:\n    driver: d\n    every: !param every\n    settings: { address: !param address }\n  \
                             loose:\n    driver: d\n    every: !param [every, 7s]\n    settings: { address: !param address }\n  spare: { a: !env [X, 1] }\n";

    proptest! {
        #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_configuration_in_parts_means_the_same_as_in_one_file(
            sensors in proptest::collection::vec(sensor(), 1..8),
            templates_in in 0_usize..4,
            is_nested in any::<bool>(),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let mut files = [String::new(), String::new(), String::new(), String::new()];
            files[templates_in] += TEMPLATES;
            let (mut one, mut variables) = (String::from("sensors:\n"), Vec::new());
            for (file, text) in files.iter_mut().enumerate() {
                text.push_str("sensors:\n");
                for (index, sensor) in sensors.iter().enumerate().filter(|(_, sensor)| sensor.file == file) {
                    text.push_str(&written(index, sensor));
                    variables.push((format!("ADDRESS_{index}"), sensor.address.to_string()));
                    writeln!(one, "  s{index}: {{ driver: d, every: {}s, settings: {{ address: {} }} }}", sensor.every, sensor.address).unwrap();
                }
            }
            // The parts 1, 2 and 3 by a pattern, or the last of them by the first.
            std::fs::create_dir(folder.path().join("parts")).unwrap();
            let named = if is_nested { "[parts/a.yaml, parts/b.yaml]" } else { "parts/*.yaml" };
            if is_nested {
                files[2].push_str("include: [c.yaml]\n");
            }
            for (name, text) in ["a", "b", "c"].iter().zip(&files[1..]) {
                std::fs::write(folder.path().join("parts").join(format!("{name}.yaml")), text).unwrap();
            }
            let path = folder.path().join("fieldgate.yaml");
            let text = format!("include: {named}\n{}", files[0]);
            let variables: Vec<_> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let split = tree(&path, &text, &variables).unwrap_or_else(|error| panic!("{error}\n{text}"));
            let whole = tree(Path::new("x.yaml"), &one, &[]).unwrap();
            prop_assert_eq!(sorted(&split.root), sorted(&whole.root));
        }
    }

    /// Maps by the order of their keys, for a key beside `use` stands behind those of the template.
    fn sorted(node: &Node) -> String {
        match &node.value {
            Value::Map(entries) => {
                let mut all: Vec<_> =
                    entries.iter().map(|(key, value)| format!("{}: {}", key.text, sorted(value))).collect();
                all.sort();
                format!("{{{}}}", all.join(", "))
            }
            _ => plain(node),
        }
    }
}
