//! No problem of a configuration hides another one: independent mistakes are planted into a good one, and each is reported.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use fieldgate::config::{self, Severity};
use proptest::prelude::*;

use crate::cases;

/// A good configuration, a key a line, each with the mistakes that may be planted there: `=` stands instead of the line, `+` is a
/// line behind it. `# NAME` names a line, and `# needs NAME` is a mistake only while those lines are as they were.
const LINES: &[(&str, &[&str])] = &[
    ("gateway:", &["+  colour: red"]),
    ("  name: g", &["=  name: a b", "+  name: h"]),
    ("mqtt:", &[]),
    ("  broker: mqtt://h", &["=  broker: http://h", "+  brokers: 5"]),
    ("  qos: 1", &["=  qos: 3", "+  qos: 1"]),
    ("  keep_alive: 60s", &["=  keep_alive: 1500ms", "=  keep_alive: 0s", "=  keep_alive: 60"]),
    ("  bind_address: 127.0.0.1", &["=  bind_address: home"]),
    ("  reconnect:", &[]),
    ("    min: 1s", &["=    min: 1", "=    min: 2h", "+    mid: 1s"]),
    ("    max: 60s", &["=    max: x"]),
    ("  late_after: 30s", &["=  late_after: soon"]),
    ("spool:", &[]),
    ("  path: spool", &["=  path: 5", "+  size: 1MiB"]),
    ("  max_size: 64MiB", &["=  max_size: 64"]),
    ("  commit_every: 1s", &["=  commit_every: 1"]),
    ("  when_full: drop_oldest", &["=  when_full: never"]),
    ("buses:", &["+  a bus: { type: w1 }"]),
    ("  i2c-1:", &["+    chip: 4"]),
    ("    type: i2c # i2c-type", &["=    type: i2d"]),
    ("    device: /dev/i2c-1 # device", &["=    device: 5", "+    device: /dev/i2c-2"]),
    ("  header:", &["+    pins: 4"]),
    ("    type: gpio", &["=    type: gpoi"]),
    ("    chip: /dev/gpiochip0", &["=    chip: gpio/0"]),
    ("  relays:", &["+    line: 4"]),
    ("    type: pcf8574 # relays-type", &["=    type: pcf8547"]),
    ("    bus: i2c-1 # relays-bus", &["=    bus: i2c-9", "=    bus: [header]"]),
    ("    address: 0x20 # relays-address", &["=    address: 0x30"]),
    ("    every: 20ms", &["=    every: 1ms"]),
    ("    interrupt:", &[]),
    ("      bus: header # interrupt-bus", &["=      bus: hedar"]),
    ("      line: GPIO4 # interrupt", &["+      lines: 4"]),
    ("  shelf:", &[]),
    ("    type: tca9548a", &["=    type: tca9548x"]),
    ("    bus: i2c-1", &["=    bus: nowhere"]),
    ("    address: 0x70", &["=    address: 0x69", "=    address: 0x50"]),
    ("    channel: 3", &["=    channel: 9", "+  other: { type: i2c, device: /dev/i2c-1 } # needs device i2c-type"]),
    ("sensors:", &["+  a sensor: { driver: board, every: 1 }"]),
    ("  air:", &["+    colour: red"]),
    ("    driver: bme280 # air-driver", &["=    driver: BME280", "=    driver: bme208"]),
    ("    bus: i2c-1 # air-bus", &["=    bus: i2c_1", "=    bus: nowhere"]),
    ("    every: 10s", &["=    every: 10", "+    every: 10s"]),
    ("    qos: 1", &["=    qos: 5"]),
    ("    settings:", &["+      adress: 0x77 # needs air-address", "+      colour: red"]),
    ("      address: 0x76 # air-address", &["=      address: 0x42", "=      address: \"0x76\""]),
    ("      oversampling: 2", &["=      oversampling: 3"]),
    ("  attic:", &["+    colour: red"]),
    ("    driver: bme280", &["=    driver: bme28O"]),
    ("    bus: i2c-1 # attic-bus", &[]),
    ("    every: 10s", &["=    every: often"]),
    ("    settings:", &["+      colour: red"]),
    ("      address: 0x77", &["=      address: 0x76 # needs air-address air-bus attic-bus device"]),
    ("      filter: 2", &["=      filter: 3"]),
    ("  door:", &["+    colour: red"]),
    ("    driver: gpio-input", &["=    driver: gpio_inptu"]),
    ("    bus: header # door-bus", &[]),
    ("    settings:", &["+      colour: red"]),
    ("      line: GPIO17 # door-line", &["=      line: GPIO4 # needs interrupt interrupt-bus relays-bus door-bus"]),
    ("      bias: pull-up", &["=      bias: up"]),
    ("      debounce: 20ms", &["=      debounce: 20", "+  air: { driver: board, every: 10s }"]),
    ("actuators:", &["+  an output: 5"]),
    ("  pump:", &["+    colour: red"]),
    ("    driver: gpio-output", &["=    driver: gpio-outptu"]),
    ("    bus: header # pump-bus", &["=    bus: headr", "=    bus: i2c-1 # needs device i2c-type"]),
    ("    safe_state: \"off\"", &["=    safe_state: maybe", "=    safe_state: toggle"]),
    ("    safe_after: 30s", &["=    safe_after: sometimes"]),
    ("    max_on: 10m # max-on", &["=    max_on: 10"]),
    ("    min_on: 5s", &["=    min_on: 1h # needs max-on", "+    min_of: 1s"]),
    (
        "    interlock: [valve]",
        &["=    interlock: [valv]", "=    interlock: [valve, pump]", "=    interlock: [\"v v\"]"],
    ),
    ("    settings:", &["+      colour: red"]),
    ("      line: GPIO27", &["=      line: GPIO17 # needs door-line door-bus pump-bus"]),
    ("      active_low: true", &["=      active_low: maybe"]),
    ("  valve:", &["+    every: 1s"]),
    ("    driver: gpio-output", &["=    driver: gpio-ouput"]),
    ("    bus: relays", &["=    bus: relais"]),
    ("    safe_state: \"off\"", &["=    safe_state: 40"]),
    ("    settings:", &["+      colour: red"]),
    ("      line: P1", &["=      line: [P1]", "+  pump: { driver: gpio-output }"]),
];

/// The names behind the last `#`: of a line, or those that a mistake needs.
fn marks(text: &str) -> (bool, Vec<&str>) {
    let words: Vec<_> = text.rsplit_once(" # ").map_or(Vec::new(), |(_, names)| names.split(' ').collect());
    match words.as_slice() {
        ["needs", names @ ..] => (true, names.to_vec()),
        names => (false, names.to_vec()),
    }
}

/// The configuration with these mistakes, by line of the table, and the lines where they stand, counted from 1.
fn planted(chosen: &[(usize, &'static str)]) -> (String, BTreeSet<usize>) {
    let altered: BTreeSet<_> = chosen
        .iter()
        .filter(|(_, mistake)| mistake.starts_with('='))
        .flat_map(|(at, _)| marks(LINES[*at].0).1)
        .collect();
    let is_one = |mistake: &str| !marks(mistake).0 || marks(mistake).1.iter().all(|name| !altered.contains(name));
    let (mut lines, mut places) = (Vec::new(), BTreeSet::new());
    for (at, (line, _)) in LINES.iter().enumerate() {
        let mut behind = None;
        let mut own = *line;
        for (_, mistake) in chosen.iter().filter(|(place, mistake)| *place == at && is_one(mistake)) {
            match mistake.split_at(1) {
                ("=", text) => {
                    own = text;
                    places.insert(lines.len() + 1);
                }
                (_, text) => behind = Some(text),
            }
        }
        lines.push(own);
        if let Some(text) = behind {
            lines.push(text);
            places.insert(lines.len());
        }
    }
    (lines.join("\n") + "\n", places)
}

fn mistake() -> impl Strategy<Value = (usize, &'static str)> {
    let all: Vec<_> =
        LINES.iter().enumerate().flat_map(|(at, (_, mistakes))| mistakes.iter().map(move |text| (at, *text))).collect();
    proptest::sample::select(all)
}

#[test]
fn without_a_mistake_nothing_is_reported() {
    let (text, _) = planted(&[]);
    let loaded = config::load_text(&text, Path::new("good.yaml")).unwrap_or_else(|error| panic!("{error}"));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
}

#[test]
fn each_mistake_alone_is_reported_in_its_line() {
    for (at, (_, mistakes)) in LINES.iter().enumerate() {
        for mistake in *mistakes {
            let (text, places) = planted(&[(at, mistake)]);
            check(&text, &places).unwrap_or_else(|words| panic!("{mistake:?}: {words}"));
        }
    }
}

/// Every one of these lines must have a problem of its own.
fn check(text: &str, places: &BTreeSet<usize>) -> Result<(), String> {
    let error = match config::load_text(text, Path::new("planted.yaml")) {
        Ok(_) if places.is_empty() => return Ok(()),
        Ok(_) => return Err(format!("no problem at all, and {places:?} are\n{text}")),
        Err(error) => error,
    };
    let errors = error.problems.iter().filter(|problem| problem.severity == Severity::Error);
    let reported: BTreeSet<_> = errors.filter_map(|problem| Some(problem.place?.line)).collect();
    let hidden: Vec<_> = places.difference(&reported).collect();
    if hidden.is_empty() { Ok(()) } else { Err(format!("nothing is said of {hidden:?}:\n{text}\n{error}")) }
}

/// The same for sections that the other one has not.
const MORE: &[&str] = &[
    "mqtt:",
    "  broker: mqtt://h",
    "buses:",
    "  bench:",
    "    type: sim",
    "sensors:",
    "  tide:",
    "    driver: waveform",
    "    every: 1s",
    "actuators:",
    "  pump:",
    "    driver: gpio-output",
    "    bus: bench",
    "    safe_state: \"off\"",
    "    settings:",
    "      line: GPIO27",
    "variables:",
    "  target:",
    "    min: 0",
    "    max: 9",
    "    initial: 1",
    "  mode:",
    "    options: [a, b]",
    "    initial: a",
    "rules:",
    "  fill:",
    "    when: tide.value > target",
    "    until: mode == \"b\" or tide.value < 0",
    "    set:",
    "      pump: on",
    "  tell:",
    "    when: tide.value > 5",
    "    publish:",
    "      topic: events/high",
    "      payload: high",
    "http:",
    "  listen: 127.0.0.1:8080",
    "metrics:",
    "  textfile: /tmp/fieldgate.prom",
];

/// The line with the first two letters of its key exchanged, if that is a key of ours and not a name of the user's.
fn misspelt(line: &str) -> Option<String> {
    let text = line.trim_start();
    let (key, value) = text.split_once(':')?;
    let indent = line.len() - text.len();
    let is_ours = (indent != 2 || !value.is_empty() || key == "reconnect") && text != "pump: on";
    let swapped = [&key[1..2], &key[..1], &key[2..]].concat();
    is_ours.then(|| format!("{}{swapped}:{value}", " ".repeat(indent)))
}

#[test]
fn a_misspelt_key_is_one_problem() {
    let first: Vec<_> = LINES.iter().map(|(line, _)| *line).collect();
    for lines in [&first[..], MORE] {
        let mut wrong = 0;
        for (at, line) in lines.iter().enumerate() {
            let Some(misspelt) = misspelt(line) else { continue };
            let text =
                [&lines[..at].join("\n"), &misspelt, &lines[at + 1..].join("\n")].map(|part| format!("{part}\n"));
            let Err(error) = config::load_text(text.concat().trim_start(), Path::new("planted.yaml")) else {
                panic!("{misspelt} is good");
            };
            assert_eq!(error.problems.len(), 1, "{misspelt:?}:\n{error}");
            assert_eq!(error.problems[0].place.map(|place| place.line), Some(at + 1), "{error}");
            assert!(error.to_string().contains("did you mean"), "{error}");
            wrong += 1;
        }
        assert!(wrong > 20, "{wrong}");
    }
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn no_mistake_hides_another(chosen in proptest::collection::vec(mistake(), 2..12)) {
        // One mistake a line, or they would not be independent.
        let mut chosen = chosen;
        chosen.sort();
        chosen.dedup_by_key(|(at, _)| *at);
        let (text, places) = planted(&chosen);
        prop_assert!(check(&text, &places).is_ok(), "{}", check(&text, &places).unwrap_err());
    }
}

/// The same configuration in files, the sections in their order, each with the lines where mistakes are. `cuts` says behind which
/// sections a new file begins.
fn split(text: &str, places: &BTreeSet<usize>, cuts: [bool; 8]) -> Vec<(String, BTreeSet<usize>)> {
    let mut files = vec![(String::new(), BTreeSet::new(), 0)];
    let mut cuts = cuts.into_iter().cycle();
    for (index, line) in text.lines().enumerate() {
        if !line.starts_with(' ') && cuts.next() == Some(true) {
            files.push((String::new(), BTreeSet::new(), 0));
        }
        let (file, own, lines) = files.last_mut().unwrap();
        *file += &format!("{line}\n");
        *lines += 1;
        if places.contains(&(index + 1)) {
            own.insert(*lines);
        }
    }
    let parts: Vec<_> = (1..files.len()).map(|part| format!("{part}.yaml")).collect();
    let mut files: Vec<_> = files.into_iter().map(|(file, own, _)| (file, own)).collect();
    let (own, places) = &files[0];
    files[0] = (format!("include: [{}]\n{own}", parts.join(", ")), places.iter().map(|line| line + 1).collect());
    files
}

proptest! {
    #![proptest_config(cases(100))]

    #[test]
    fn each_mistake_is_reported_in_the_part_where_it_is(
        chosen in proptest::collection::vec(mistake(), 1..8),
        cuts in any::<[bool; 8]>(),
    ) {
        let mut chosen = chosen;
        chosen.sort();
        chosen.dedup_by_key(|(at, _)| *at);
        let (text, places) = planted(&chosen);
        let files = split(&text, &places, cuts);
        let folder = tempfile::tempdir().unwrap();
        let name = |index: usize| if index == 0 { "fieldgate.yaml".to_owned() } else { format!("{index}.yaml") };
        for (index, (text, _)) in files.iter().enumerate() {
            fs::write(folder.path().join(name(index)), text).unwrap();
        }
        let problems = config::load(&folder.path().join(name(0))).map_or_else(|error| error.problems, |_| Vec::new());
        let errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
        let reported: BTreeSet<_> = errors
            .filter_map(|problem| {
                let file = problem.part.as_ref().map_or("fieldgate.yaml".into(), |part| part.file_name().unwrap().to_string_lossy());
                Some((file.into_owned(), problem.place?.line))
            })
            .collect();
        for (index, (text, lines)) in files.iter().enumerate() {
            for line in lines {
                prop_assert!(reported.contains(&(name(index), *line)), "{} line {line} is not in {reported:?}:\n{text}", name(index));
            }
        }
    }
}
