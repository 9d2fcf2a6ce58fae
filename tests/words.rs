//! What `check` and `rules` say of rules, word for word.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::process::Command;

use fieldgate::cli::rules::in_words;
use fieldgate::config;

/// The rules of each example of the page on rules, in words, are in `tests/words/rules.txt`.
#[test]
fn every_example_on_the_page_on_rules_is_said_as_written_beside_the_tests() {
    const OTHERS: &str = "mqtt: { broker: mqtt://localhost }\nbuses:\n  i2c-1: { type: i2c, device: /dev/i2c-1 }\n  \
                          header: { type: gpio, chip: /dev/gpiochip0 }\n  wire: { type: w1 }\n  pwm-0: { type: pwm, chip: 0 }\n";
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = folder.join("docs/rules.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let examples = page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let mut said = String::new();
    for example in examples {
        let loaded = config::load_text(&format!("{OTHERS}{example}"), &path);
        said += &in_words(&loaded.unwrap_or_else(|error| panic!("{error}")).config);
    }
    let beside = folder.join("tests/words/rules.txt");
    if std::env::var_os("FIELDGATE_ACCEPT").is_some() {
        std::fs::write(&beside, &said).unwrap();
    }
    assert_eq!(said, std::fs::read_to_string(&beside).unwrap_or_default(), "FIELDGATE_ACCEPT=1 accepts it");
    // What the page quotes.
    let quoted = page.split_once("prints each rule in words: *").and_then(|(_, rest)| rest.split_once('*')).unwrap().0;
    assert_eq!(quoted.replace('\n', " "), said.lines().next().unwrap());
}

const CONFIG: &str = "mqtt: { broker: mqtt://localhost }
buses: { bench: { type: sim } }
sensors: { tank: { driver: tmp102, bus: bench, every: 1m, settings: { address: 0x49 } } }
actuators: { heater: { driver: gpio-output, bus: bench, settings: { line: GPIO22 }, safe_state: \"off\" } }
rules: { heating: { when: tank.temperature < 19, for: 30s, set: { heater: on } } }
";

/// Runs the program in a folder; its exit status, and what it says.
fn fieldgate(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_fieldgate"));
    let output = program.args(arguments).current_dir(folder).env("TZ", "UTC0").output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_program_says_its_rules_in_words_and_replays_what_was_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("fieldgate.yaml", CONFIG);
    let words = "heating: when tank's temperature has been below 19 °C for 30 s, switch heater on; when that is over, make heater safe\n";
    let rules = ["rules", "--config", "fieldgate.yaml"];
    assert_eq!(fieldgate(folder.path(), &rules), (Some(0), words.to_owned(), String::new()));
    let (code, said, _) = fieldgate(folder.path(), &["check", "--config", "fieldgate.yaml"]);
    assert!(code == Some(0) && said.contains(&format!("\nRULES\n{words}")), "{said}");
    let (_, said, _) = fieldgate(folder.path(), &["check", "--config", "fieldgate.yaml", "--json"]);
    assert!(said.contains(words.trim_start_matches("heating: ").trim_end()), "{said}");
    // A command and what an output does count for nothing.
    let readings = r#"{"topic":"b/sensors/tank","payload":{"time":"2026-11-28T10:00:00Z","temperature":18.5}}
{"topic":"b/status","payload":"online"}
{"topic":"b/actuators/heater/set","payload":"on"}
{"topic":"b/actuators/heater/state","payload":{"value":"on","time":"2026-11-28T10:00:10Z","cause":"command"}}
{"topic":"b/late/tank","payload":{"time":"2026-11-28T10:01:00Z","temperature":19.5}}
"#;
    write("readings.jsonl", readings);
    let replay = ["rules", "--config", "fieldgate.yaml", "--replay", "readings.jsonl"];
    let done = "2026-11-28T10:00:00.000Z heating is waiting: its condition holds
2026-11-28T10:00:30.000Z heating: set heater to on
2026-11-28T10:00:30.000Z heating is active: its condition holds
2026-11-28T10:01:00.000Z heating: make heater safe
2026-11-28T10:01:00.000Z heating is inactive: its condition does not hold
";
    assert_eq!(fieldgate(folder.path(), &replay), (Some(0), done.to_owned(), String::new()));
    for (line, words) in [
        (r#"{"temperature":18.5}"#, "there is neither a topic nor a sensor in it"),
        (
            r#"{"topic":"b/sensors/tank","payload":"warm"}"#,
            "the payload is not JSON: expected value at line 1 column 1",
        ),
        (r#"{"topic":"b/sensors/tank","payload":{"temperature":18.5}}"#, "there is no time in it"),
    ] {
        write("readings.jsonl", line);
        let error = format!("error: readings.jsonl: line 1: {words}\n");
        assert_eq!(fieldgate(folder.path(), &replay), (Some(1), String::new(), error));
    }
}
