//! Configurations and what is said about them, word for word: `tests/config/NAME.yaml` and the report in `NAME.txt`.
//!
//! A report that changed is accepted by running the tests with `FIELDGATE_ACCEPT=1` and reading the difference.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fieldgate::config::{self, Severity, report};
use fieldgate_bus as bus;
use fieldgate_drivers::{BusNeed, DRIVERS, Role};
use proptest::prelude::*;

use crate::cases;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config")
}

#[test]
fn an_error_behind_more_warnings_than_are_shown_is_shown() {
    let sensors: String = (0..110)
        .map(|n| format!("  s{n}: {{ driver: waveform, every: 1s, qos: 0, settings: {{ shape: counter }} }}\n"))
        .collect();
    let text =
        format!("gateway: {{ name: g }}\nmqtt: {{ broker: mqtt://h }}\nsensors:\n{sensors}spool: {{ size: 1MiB }}\n");
    let error = config::load_text(&text, Path::new("x.yaml")).unwrap_err();
    let errors: Vec<_> = error.problems.iter().filter(|p| p.severity == Severity::Error && p.place.is_some()).collect();
    assert_eq!(errors.len(), 1, "{error}");
    assert!(error.to_string().contains("and 11 more problems"), "{error}");
}

/// What `check` says about `text`: its problems, or its warnings and that it may run.
fn said(text: &str, path: &Path) -> String {
    match config::load_text(text, path) {
        Ok(loaded) if loaded.warnings.is_empty() => "good\n".to_owned(),
        Ok(loaded) => format!("{}\ngood\n", report::render(path, &loaded.warnings, false)),
        Err(error) => format!("{error}\n"),
    }
}

#[test]
fn every_bad_configuration_is_reported_as_written_beside_it() {
    let mut files: Vec<_> = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "yaml"));
    files.sort();
    assert!(files.len() > 10, "the examples are missing");
    let mut different = String::new();
    for file in files {
        if file.file_name().unwrap().to_string_lossy().starts_with("rppal") && bus::rppal::is_here() {
            // What these warn of is not so on this machine.
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        // The report names the file without its folder, so that it is the same on every machine.
        let reported = said(&text, Path::new(file.file_name().unwrap())).replace(env!("CARGO_MANIFEST_DIR"), "HERE");
        let beside = file.with_extension("txt");
        if std::env::var_os("FIELDGATE_ACCEPT").is_some() {
            std::fs::write(&beside, &reported).unwrap();
        }
        let expected = std::fs::read_to_string(&beside).unwrap_or_default();
        if reported != expected {
            writeln!(different, "--- {} says\n{reported}--- instead of\n{expected}", file.display()).unwrap();
        }
        assert!(!reported.contains("hunter2"), "{} discloses the password:\n{reported}", file.display());
    }
    assert!(different.is_empty(), "{different}");
}

/// Each folder of `tests/config/parts` has a configuration with parts, and its report.
#[test]
fn every_bad_configuration_in_parts_is_reported_as_written_beside_it() {
    let mut folders: Vec<_> =
        std::fs::read_dir(folder().join("parts")).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(folders.len() > 8, "the examples are missing");
    let mut different = String::new();
    for folder in folders {
        let path = folder.join("fieldgate.yaml");
        let reported = match config::load(&path) {
            Ok(loaded) => format!("{}\ngood\n", report::render(&path, &loaded.warnings, false)),
            Err(error) => format!("{error}\n"),
        };
        let here = folder.display().to_string();
        let reported = reported.replace(&format!("{here}/"), "").replace(&here, "HERE");
        let reported = reported.replace(&format!("{}/", self::folder().join("parts").display()), "THERE/");
        let beside = folder.join("report.txt");
        if std::env::var_os("FIELDGATE_ACCEPT").is_some() {
            std::fs::write(&beside, &reported).unwrap();
        }
        let expected = std::fs::read_to_string(&beside).unwrap_or_default();
        if reported != expected {
            writeln!(different, "--- {} says\n{reported}--- instead of\n{expected}", folder.display()).unwrap();
        }
        assert!(!reported.contains("hunter2"), "{} discloses the password:\n{reported}", folder.display());
    }
    assert!(different.is_empty(), "{different}");
}

#[test]
fn the_example_in_parts_has_no_problem() {
    let loaded = config::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("config/parts/fieldgate.yaml"));
    let loaded = loaded.unwrap_or_else(|error| panic!("{error}"));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    assert_eq!((loaded.parts.len(), loaded.config.sensors.len(), loaded.config.actuators.len()), (3, 3, 1));
}

#[test]
fn the_shipped_configuration_has_no_problem() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/fieldgate.yaml");
    let loaded = config::load(&path).unwrap_or_else(|error| panic!("{error}"));
    // What systemd would hand over cannot be looked at here.
    assert!(loaded.warnings.iter().all(|problem| problem.severity == Severity::Note), "{:?}", loaded.warnings);
    assert_eq!((loaded.config.buses.len(), loaded.config.sensors.len(), loaded.config.actuators.len()), (9, 4, 4));
}

#[test]
fn the_shipped_configuration_shows_every_key() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/fieldgate.yaml")).unwrap();
    let raw = [
        config::raw::ROOT,
        config::raw::GATEWAY,
        config::raw::MQTT,
        config::raw::TLS,
        config::raw::RECONNECT,
        config::raw::SPOOL,
        // What only one kind of bus has stands on its page, like the settings of drivers.
        config::raw::bus(&bus::i2c::SPEC),
        config::raw::SENSOR,
        config::raw::ACTUATOR,
        config::raw::VARIABLE,
        config::raw::REQUESTS,
        config::raw::RULE,
        config::raw::PUBLICATION,
        config::raw::HOME_ASSISTANT,
        config::raw::SHOWN_SENSOR,
        config::raw::SHOWN_OUTPUT,
        config::raw::SHOWN_OWN,
        config::raw::HTTP,
        config::raw::METRICS,
    ];
    for field in raw.into_iter().flatten() {
        assert!(text.contains(&format!("{}:", field.name)), "{} is not shown", field.name);
    }
}

/// A configuration with `entry` under `section` and a bus of every kind.
fn around(section: &str, entry: &str, buses: &str) -> String {
    let entry = entry.replace('\n', "\n  ");
    format!("mqtt:\n  broker: mqtt://localhost\nbuses:\n{buses}{section}:\n  {entry}\n")
}

#[test]
fn the_example_of_every_driver_has_no_problem() {
    for spec in DRIVERS {
        let section = if matches!(spec.role, Role::Sensor { .. }) { "sensors" } else { "actuators" };
        let bus = match spec.bus {
            BusNeed::I2c => "  i2c-1: { type: i2c, device: /dev/i2c-1 }\n",
            BusNeed::Gpio => "  header: { type: gpio, chip: /dev/gpiochip0 }\n",
            BusNeed::Pwm => "  pwm-0: { type: pwm, chip: 0 }\n",
            BusNeed::Spi => "  spi-0: { type: spi, device: /dev/spidev0.0 }\n",
            BusNeed::Uart => "  serial: { type: uart, device: /dev/serial0 }\n",
            BusNeed::W1 => "  wire: { type: w1 }\n",
            BusNeed::None | BusNeed::Sensors => "",
        };
        assert_eq!(said(&around(section, spec.example, bus), Path::new(spec.name)), "good\n", "{}", spec.example);
        // The same on simulated buses, where everything may sit.
        let sim =
            ["i2c-1", "header", "pwm-0", "spi-0", "serial", "wire"].map(|name| format!("  {name}: {{ type: sim }}\n"));
        let sim = sim.concat();
        assert_eq!(said(&around(section, spec.example, &sim), Path::new(spec.name)), "good\n", "{}", spec.example);
    }
}

#[test]
fn relative_paths_start_at_the_configuration_and_defaults_are_filled_in() {
    let text = "mqtt: { broker: mqtt://h }\nspool: { path: spool }\nbuses: { b: { type: sim, state_file: s.json } }\n\
                sensors: { tide: { driver: waveform, every: 1s, bus: b } }\n";
    let config = config::load_text(text, Path::new("/etc/fieldgate/x.yaml")).unwrap().config;
    assert_eq!(config.spool.path, Path::new("/etc/fieldgate/spool"));
    assert_eq!(config.spool.max_size, 64 << 20);
    assert_eq!(config.buses[0].1, bus::sim::at(Some(Path::new("/etc/fieldgate/s.json"))));
    assert_eq!(config.topics.base(), format!("fieldgate/{}", config.name));
    let id = config.link.client_id.unwrap();
    assert!(id.starts_with(&format!("fieldgate-{}-", config.name)), "{id}");
    assert_eq!(config.sensors[0].settings.text("shape"), "sine");
}

#[test]
fn a_file_that_cannot_be_a_configuration_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fieldgate.yaml");
    let refused = |path: &Path, words: &str| {
        let error = config::load(path).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert!(error.contains("1 error"), "{error}");
    };
    refused(&file, "No such file");
    refused(folder.path(), "this is a folder");
    refused(Path::new("/dev/zero"), "not a regular file");
    for (bytes, words) in [
        (&b""[..], "the configuration is empty"),
        (b"# nothing\n", "the configuration is empty"),
        (b"mqtt:\n  broker: \xff\n", "not UTF-8 text: byte 16 is 0xff"),
        (b"\x7fELF\x02\x01\x01\0\0\0", "not valid YAML"),
        (b"- a\n- b\n", "the configuration is a section of keys, not a list"),
        (b"just words\n", "the configuration is a section of keys, not a text"),
        (b"mqtt:\n\tbroker: mqtt://h\n", "not valid YAML"),
        (&vec![b'#'; 1024 * 1024 + 1], "larger than 1 MiB"),
    ] {
        std::fs::write(&file, bytes).unwrap();
        refused(&file, words);
    }
    std::fs::write(&file, b"\xef\xbb\xbfmqtt: { broker: mqtt://h }\nsensors: { a: { driver: waveform, every: 1s } }\n")
        .unwrap();
    assert!(config::load(&file).is_ok(), "a byte order mark does no harm");
}

/// What this thread has used of a processor, which other programs cannot make longer.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).expect("below a second"))
}

#[test]
fn hostile_files_are_refused_within_a_second() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for n in 1..20 {
        let before = format!("*a{}, ", n - 1).repeat(10);
        writeln!(bomb, "a{n}: &a{n} [{before}]").unwrap();
    }
    let keys = |n: usize| (0..n).map(|i| format!("k{i}: {i}\n")).collect::<String>();
    let secrets: String = (0..20_000).map(|i| format!("password{i}: hunter2{i}, ")).collect();
    for text in [
        bomb,
        "[".repeat(500_000),
        "{a: ".repeat(200_000),
        "a:\n".repeat(300_000),
        keys(60_000),
        format!("mqtt:\n{}", keys(30_000).replace('k', "  k")),
        format!("{{{secrets}}}"),
        "a@".repeat(500_000),
        "password:\n".repeat(100_000),
        format!("mqtt: {{ broker: '{}' }}", "x:".repeat(400_000)),
    ] {
        let begin = processor_time();
        let error = config::load_text(&text, Path::new("x.yaml")).unwrap_err();
        let taken = processor_time() - begin;
        assert!(error.problems.len() <= 101);
        assert!(error.to_string().len() < 200_000);
        // Without optimisation everything takes several times as long as in the program that is shipped.
        assert!(taken.as_secs() < 10, "{taken:?} for {}…", &text[..40]);
    }
}

/// Pieces that a mutation may insert: what YAML and this configuration are sensitive to.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 1..4),
        proptest::sample::select(vec![
            "\n", "  ", "\t", ": ", "- ", "{", "}", "[", "]", "\"", "'", "#", "&a ", "*a", "!x ", "|", ">", "<<: ",
            "---\n", "...", "%", "@", "null", "-1", "9e99", "ü", "\u{feff}", "\r", "\0", "? ",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ]
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn a_mutilated_configuration_loads_or_is_reported_with_a_line(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0_usize..12, piece()), 1..5),
        secret in proptest::sample::select(vec!["password: hunter2 ", "password:hunter2\n", "mqtt://pi:hunter2@h", " pi:hunter2@h"]),
        place in any::<prop::sample::Index>(),
    ) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/fieldgate.yaml");
        let mut bytes = std::fs::read(&path).unwrap();
        for (at, removed, piece) in edits {
            let at = at.index(bytes.len());
            let end = (at + removed).min(bytes.len());
            bytes.splice(at..end, piece);
        }
        let at = place.index(bytes.len());
        bytes.splice(at..at, secret.bytes());
        let file = tempfile::NamedTempFile::new_in(std::env::temp_dir()).unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        if let Err(error) = config::load(file.path()) {
            prop_assert!(error.problems.iter().any(|p| p.severity == Severity::Error && p.place.is_some()), "{error}");
            prop_assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}

/// Templates and variables, with an alias from outside and a secret.
const TEMPLATES: &str = "\
mqtt: { broker: !env [FIELDGATE_UNSET, mqtt://h], password: hunter2 }
buses: { i2c-1: &bus { type: i2c, device: /dev/i2c-1 } }
templates:
  probe:
    driver: sht3x
    bus: i2c-1
    every: !param [every, !env [FIELDGATE_UNSET, 10s]]
    settings: { address: !param address } # password: hunter2
  other: { <<: *bus, device: !param device }
sensors:
  a: { use: { template: probe, address: 0x44 } }
  b:
    use: { template: probe, address: 0x45, every: 1m }
    settings: { repeatability: high }
";

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn mutilated_templates_load_or_are_reported_with_a_line(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0_usize..12, prop_oneof![
            piece(),
            proptest::sample::select(vec!["!env ", "!param ", "use: ", "*bus", "template: probe", "templates: ", "include: x", "[a, b]"])
                .prop_map(|text| text.as_bytes().to_vec()),
        ]), 1..5),
    ) {
        let mut bytes = TEMPLATES.as_bytes().to_vec();
        for (at, removed, piece) in edits {
            let at = at.index(bytes.len());
            let end = (at + removed).min(bytes.len());
            bytes.splice(at..end, piece);
        }
        let text = String::from_utf8_lossy(&bytes);
        if let Err(error) = config::load_text(&text, Path::new("/nonexistent/x.yaml")) {
            prop_assert!(error.problems.iter().any(|p| p.severity == Severity::Error && p.place.is_some()), "{error}");
        }
    }
}
