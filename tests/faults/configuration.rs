//! K1 and K2: configurations that are broken or hostile.

use std::fs;
use std::path::Path;
use std::time::Duration;

use fieldgate::config;

use crate::common::SOON;
use crate::common::gateway::{command, write_config};
use crate::common::pace::processor_time;
use crate::common::quick::folder;
use crate::suite::{chance, report, times};

const GOOD: &str = include_str!("../../config/fieldgate.yaml");

/// The shipped file with some of its bytes changed, taken out, put in or repeated.
fn mutate(chance: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = GOOD.as_bytes().to_vec();
    for _ in 0..chance.usize(1..8) {
        let at = chance.usize(..bytes.len().max(1));
        let end = (at + chance.usize(1..40)).min(bytes.len());
        match chance.u8(..5) {
            _ if bytes.is_empty() => {}
            0 => bytes[at] = chance.u8(..),
            1 => drop(bytes.drain(at..end)),
            2 => bytes.splice(at..at, *b"\n  ? [*x, &x !!y {").for_each(drop),
            3 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => bytes.truncate(at.max(1)),
        }
    }
    bytes
}

#[test]
fn k1_no_mutated_configuration_panics_or_takes_long() {
    let mut chance = chance("K1");
    let (count, folder) = (times(200, 300, 10_000), folder());
    let file = folder.path().join("fieldgate.yaml");
    // The files that it names are there, so that it is refused for its mutations only.
    let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/example-keys");
    std::os::unix::fs::symlink(keys, folder.path().join("example-keys")).unwrap();
    fs::write(&file, GOOD).unwrap();
    config::load(&file).unwrap();
    let (mut refused, mut longest) = (0, Duration::ZERO);
    for _ in 0..count {
        fs::write(&file, mutate(&mut chance)).unwrap();
        let begin = processor_time();
        if let Err(error) = config::load(&file) {
            refused += 1;
            assert!(!error.problems.is_empty());
        }
        longest = longest.max(processor_time() - begin);
    }
    assert!(longest < Duration::from_secs(1), "{longest:?}");
    let bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned()
        + &(1..12).map(|n| format!("a{n}: &a{n} [{}]\n", "*a, ".repeat(9))).collect::<String>();
    for bytes in [bomb.as_bytes(), b"", b"\xff\xfe\x00m", b"mqtt: \x00", b"- - - -"] {
        fs::write(&file, bytes).unwrap();
        let output = command(folder.path(), &["run", "--config", file.to_str().unwrap()], SOON);
        assert_eq!(output.status.code(), Some(78), "{}", String::from_utf8_lossy(bytes));
        assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"));
    }
    let reported = format!("no panic, {refused} refused, slowest {} ms", longest.as_millis());
    report("K1", &format!("{count} mutated configurations, a bomb, empty, binary"), &reported);
}

#[test]
fn k2_names_that_would_be_topics_or_paths_are_refused() {
    let long = "x".repeat(70_000);
    let names = ["a/b", "+", "#", "$SYS", "a\\0b", "a\\nb", "", "..", "é", " a", &long];
    let folder = folder();
    for name in names {
        let texts = [
            format!("gateway: {{ name: \"{name}\" }}\nmqtt: {{ broker: mqtt://h }}\n"),
            format!("mqtt: {{ broker: mqtt://h }}\nsensors: {{ \"{name}\": {{ driver: board, every: 1s }} }}\n"),
            format!("mqtt: {{ broker: mqtt://h }}\nbuses: {{ \"{name}\": {{ type: sim }} }}\n"),
        ];
        for text in texts {
            let file = write_config(folder.path(), &text);
            let output = command(folder.path(), &["check", "--config", file.to_str().unwrap()], SOON);
            assert_eq!(output.status.code(), Some(78), "{text:.80}");
            assert!(output.stderr.len() < 2000, "{} bytes about {text:.80}", output.stderr.len());
        }
    }
    report("K2", &format!("{} bad names, for gateway, sensor and bus", names.len()), "each refused");
}
