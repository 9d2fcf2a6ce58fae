//! `fieldgate export`: what it prints is what a broker receives later, whatever happened to the service meanwhile.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::print_stderr, reason = "a failing test says by which chance it failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::common::client::{Client, Message as Heard};
use crate::common::gateway::program;
use crate::common::quick::{FAST, LONG, config, folder, remembering, start, taken, wait_taken};
use crate::common::{SOON, seed, wait_for, wait_until};
use fastrand::Rng;
use fieldgate_model::payload::{StoredReply, loss};
use fieldgate_model::{ClockStatus, Key, Loss, Message, MessageKind, Moment, Name, Qos, RunId};
use fieldgate_spool::{Settings, WhenFull, open};
use serde_json::Value;

const DURABLE: &str = ", commit_every: 0s";

/// An export of the spool of the configuration in this folder, tried again as long as it asks for that: where the machine gives the
/// exporter less than the writer, the file may change too often.
fn export(folder: &Path, arguments: &[&str]) -> Output {
    let run = || command(folder).args(arguments).output().unwrap();
    wait_for("a spool that stands still for long enough", SOON, || {
        Some(run())
            .filter(|output| !text(&output.stderr).contains("changes faster than it can be read; try again later"))
    })
}

fn command(folder: &Path) -> Command {
    let mut command = program();
    command.args(["export", "--config", "fieldgate.yaml"]).current_dir(folder).stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What a good export has: topic and payload of each line.
fn lines(output: &Output) -> Vec<(String, Value)> {
    assert!(output.status.success(), "{}", text(&output.stderr));
    let parse = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        (line["topic"].as_str().unwrap().to_owned(), line["payload"].clone())
    };
    text(&output.stdout).lines().map(parse).collect()
}

/// Run and number.
fn name(payload: &Value) -> (String, u64) {
    (payload["run"].as_str().unwrap().to_owned(), payload["seq"].as_u64().unwrap())
}

/// A reading without what depends on when it is sent.
fn timeless(payload: &Value) -> Value {
    let mut payload = payload.clone();
    payload.as_object_mut().unwrap().remove("late");
    payload
}

/// What has come of `n`, late or not.
fn received(client: &Client) -> BTreeMap<(String, u64), Value> {
    let is_reading = |message: &Heard| ["b/sensors/n", "b/late/n"].contains(&message.topic.as_str());
    let all = client.everything().into_iter().filter(is_reading);
    all.map(|message| (name(&message.json()), timeless(&message.json()))).collect()
}

/// The exported readings by their names; each is there once, in the order in which it was taken.
fn exported(folder: &Path) -> BTreeMap<(String, u64), Value> {
    let mut newest: BTreeMap<String, u64> = BTreeMap::new();
    let mut all = BTreeMap::new();
    for (topic, payload) in lines(&export(folder, &[])) {
        assert_eq!((topic.as_str(), &payload["late"]), ("b/late/n", &Value::Bool(true)));
        let (run, seq) = name(&payload);
        let before = newest.insert(run.clone(), seq);
        assert!(before.is_none_or(|before| before < seq), "{seq} of {run} comes behind {before:?}");
        all.insert((run, seq), timeless(&payload));
    }
    all
}

#[test]
fn beside_a_gateway_without_a_broker_it_prints_what_the_broker_receives_later() {
    let (mut broker, client) = remembering();
    broker.stop();
    let folder = folder();
    let mut gateway = start(folder.path(), &config(&broker.url(), "", DURABLE, FAST));
    wait_taken(&gateway, 100);
    let mut found = BTreeMap::new();
    wait_until("a hundred readings in the spool", SOON, || {
        found = exported(folder.path());
        found.len() >= 100
    });
    broker.start_again();
    // By name: fresh readings arrive before the last of those that had waited.
    wait_until("all of them at the broker", LONG, || {
        let received = received(&client);
        found.keys().all(|name| received.contains_key(name))
    });
    let received = received(&client);
    for (name, reading) in &found {
        assert_eq!(Some(reading), received.get(name));
    }
    gateway.stop(LONG);
}

/// Kills, orderly ends, deliveries of a part and a spool that is too small, in any order: what an export printed arrives, or is reported as
/// lost, and nothing else than what it had printed before.
#[test]
fn whatever_happens_to_the_service_an_export_is_true() {
    let mut rng = Rng::with_seed(seed());
    eprintln!("FIELDGATE_SEED={}", seed());
    let (mut broker, client) = remembering();
    broker.stop();
    let folder = folder();
    let text = config(&broker.url(), "", DURABLE, FAST);
    let mut gateway = start(folder.path(), &text);
    let mut seen: BTreeMap<(String, u64), Value> = BTreeMap::new();
    for _ in 0..8 {
        let wanted = taken(&gateway) + rng.u64(5..40);
        wait_taken(&gateway, wanted);
        match rng.u8(..4) {
            0 => {
                gateway.kill9();
                check(&mut seen, folder.path());
                gateway = start(folder.path(), &text);
            }
            1 => {
                gateway.stop(SOON);
                check(&mut seen, folder.path());
                gateway = start(folder.path(), &text);
            }
            2 => {
                let before = received(&client).len();
                broker.start_again();
                wait_until("some of them", LONG, || received(&client).len() > before);
                check(&mut seen, folder.path());
                broker.stop();
            }
            _ => {}
        }
        check(&mut seen, folder.path());
    }
    broker.start_again();
    let lost = || client.all("b/loss").len();
    wait_until("everything that was exported", LONG, || {
        let received = received(&client);
        seen.keys().all(|name| received.contains_key(name)) || lost() > 0
    });
    assert_eq!(lost(), 0, "there was room for all of them");
    let received = received(&client);
    for (name, reading) in &seen {
        assert_eq!(Some(reading), received.get(name));
    }
    gateway.stop(LONG);
}

/// What is exported now; what was exported before is the same.
fn check(seen: &mut BTreeMap<(String, u64), Value>, folder: &Path) {
    for (name, reading) in exported(folder) {
        let before = seen.insert(name, reading.clone());
        assert!(before.is_none_or(|before| before == reading), "{reading} has changed");
    }
}

/// A spool with so many readings of two measurements, and a configuration for it.
fn stored(folder: &Path, readings: u64) {
    let text = format!("gateway: {{ name: t }}\nmqtt: {{ broker: mqtt://127.0.0.1:9, base_topic: b }}\nspool: {{ path: {} }}
buses: {{ bench: {{ type: sim }} }}\nsensors:\n  air: {{ driver: bme280, bus: bench, every: 1s, settings: {{ address: 0x76 }} }}\n", folder.join("spool").display());
    fs::write(folder.join("fieldgate.yaml"), text).unwrap();
    let path = folder.join("spool");
    let settings = Settings {
        path,
        max_size: 256 << 20,
        commit_every: Duration::from_secs(3600),
        when_full: WhenFull::DropOldest,
    };
    let (spool, thread) = open(settings, RunId(7)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for n in 1..=readings {
            spool.append(reading(n)).await.unwrap();
        }
        spool.close().await;
    });
    thread.join().unwrap();
}

/// One each second; the first ten before the clock was set.
fn reading(n: u64) -> Message {
    let clock = if n <= 10 { ClockStatus::Unsynchronised } else { ClockStatus::Synchronised };
    let wall = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(if n <= 10 { n } else { 1_795_341_600 + n });
    Message {
        key: Key { kind: MessageKind::Reading, source: Name::new("air").unwrap() },
        run: RunId(7),
        seq: n,
        taken_at: Moment { boot: Duration::from_secs(n), wall, clock },
        qos: Qos::AtLeastOnce,
        retain: true,
        body: format!("\"temperature\":{}.25,\"humidity\":44.8", n % 30).into_bytes(),
    }
}

#[test]
fn an_independent_reader_of_csv_finds_each_measurement_with_its_unit() {
    let folder = folder();
    stored(folder.path(), 100);
    let output = export(folder.path(), &["--csv"]);
    assert!(output.status.success());
    let mut python = Command::new("python3");
    python.args(["-c", "import csv, json, sys\nprint(json.dumps(list(csv.DictReader(sys.stdin, strict=True))))"]);
    let mut python = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    python.stdin.take().unwrap().write_all(&output.stdout).unwrap();
    let rows: Vec<BTreeMap<String, String>> =
        serde_json::from_slice(&python.wait_with_output().unwrap().stdout).unwrap();
    let mut expected = Vec::new();
    for (_, payload) in lines(&export(folder.path(), &[])) {
        for (measurement, unit) in [("temperature", "°C"), ("humidity", "%")] {
            let words = |key: &str| payload[key].as_str().unwrap_or_default().to_owned();
            let row = [
                ("time", words("time")),
                ("sensor", "air".into()),
                ("measurement", measurement.into()),
                ("value", payload[measurement].to_string()),
                ("unit", unit.into()),
                ("run", words("run")),
                ("seq", payload["seq"].to_string()),
                ("clock", words("clock")),
            ];
            expected.push(row.map(|(key, value)| (key.to_owned(), value)).into_iter().collect::<BTreeMap<_, _>>());
        }
    }
    assert_eq!((rows.len(), rows), (200, expected));
}

#[test]
fn since_leaves_out_what_is_older_and_keeps_what_has_no_certain_time() {
    let folder = folder();
    stored(folder.path(), 100);
    let output = export(folder.path(), &["--since", "2026-11-22T10:01:31Z"]);
    let numbers: Vec<_> = lines(&output).iter().map(|(_, payload)| payload["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=10).chain(91..=100).collect::<Vec<_>>());
    assert!(text(&output.stderr).contains("10 were taken before the clock was set"), "{}", text(&output.stderr));
    let ended = export(folder.path(), &["--since", "2096-01-01"]);
    assert_eq!(lines(&ended).len(), 10);
}

#[test]
fn answers_and_loss_records_come_with_all_only() {
    let folder = folder();
    stored(folder.path(), 0);
    let empty = export(folder.path(), &[]);
    assert_eq!((empty.status.code(), text(&empty.stdout)), (Some(0), String::new()));
    assert_eq!(text(&empty.stderr), "note: the spool is empty: nothing waits for the broker\n");
    let settings = Settings {
        path: folder.path().join("spool"),
        max_size: 1 << 20,
        commit_every: Duration::ZERO,
        when_full: WhenFull::DropOldest,
    };
    let (spool, thread) = open(settings, RunId(8)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let air = || Name::new("air").unwrap();
    let reply = Message {
        key: Key { kind: MessageKind::Reply, source: Name::new("pump").unwrap() },
        body: StoredReply { payload: "{\"outcome\":\"done\"}".into(), response: None }.encode(),
        ..reading(20)
    };
    let lost = Loss { sensor: air(), run: RunId(8), from_seq: 1, to_seq: 3, count: 3, reason: "spool full".into() };
    runtime.block_on(async {
        spool.append(reply).await.unwrap();
        spool.report_loss(lost.clone()).await.unwrap();
        spool.close().await;
    });
    thread.join().unwrap();
    let readings = export(folder.path(), &[]);
    assert_eq!((readings.status.code(), text(&readings.stdout)), (Some(0), String::new()));
    assert!(
        text(&readings.stderr).contains("2 answers, events and loss records wait as well; --all"),
        "{}",
        text(&readings.stderr)
    );
    let all = lines(&export(folder.path(), &["--all"]));
    let loss: Value = serde_json::from_slice(&loss(&lost)).unwrap();
    let expected =
        [("b/actuators/pump/reply".to_owned(), serde_json::json!({ "outcome": "done" })), ("b/loss".to_owned(), loss)];
    assert_eq!(all, expected);
}

#[test]
fn a_damaged_spool_is_read_as_far_as_it_is_sound() {
    let folder = folder();
    stored(folder.path(), 3000);
    let file = fs::OpenOptions::new().write(true).open(folder.path().join("spool/spool.db")).unwrap();
    file.write_all_at(&[0xa5; 20_000], 100_000).unwrap();
    let before = fs::read(folder.path().join("spool/spool.db")).unwrap();
    let output = export(folder.path(), &[]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("is damaged") && said.contains("missing of air: "), "{said}");
    let numbers: BTreeSet<u64> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["payload"]["seq"].as_u64().unwrap())
        .collect();
    assert!(
        numbers.contains(&1) && numbers.contains(&3000) && (2000..3000).contains(&numbers.len()),
        "{}",
        numbers.len()
    );
    let missing = 3000 - numbers.len();
    let named = said
        .lines()
        .filter_map(|line| line.strip_prefix("error: missing of air: ")?.split(' ').next()?.parse::<usize>().ok());
    assert_eq!(named.sum::<usize>(), missing, "{said}");
    assert!(fs::read(folder.path().join("spool/spool.db")).unwrap() == before, "nothing is changed");
    // As the service leaves it, without a configuration.
    let aside = folder.path().join("spool.db.damaged-1");
    fs::rename(folder.path().join("spool/spool.db"), &aside).unwrap();
    let mut again = program();
    again.arg("export").arg("--spool").arg(&aside).arg("--config").arg(folder.path().join("none.yaml"));
    let again = again.output().unwrap();
    assert_eq!(again.status.code(), Some(1));
    assert_eq!(text(&again.stdout), text(&output.stdout).replace("\"b/late/air\"", "\"late/air\""));
}

#[test]
fn memory_does_not_grow_with_the_spool_and_a_closed_pipe_ends_it_quietly() {
    let mut memory = Vec::new();
    for readings in [3_000, 60_000] {
        let folder = folder();
        stored(folder.path(), readings);
        let mut child = command(folder.path()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        // The rest waits in front of the pipe.
        let mut line = String::new();
        for _ in 0..readings / 2 {
            line.clear();
            out.read_line(&mut line).unwrap();
        }
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        memory.push(resident.trim().trim_end_matches(" kB").parse::<u64>().unwrap());
        drop(out);
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), String::new()));
    }
    assert!(memory[1] < memory[0] + 2048, "{memory:?} kB");
}

#[test]
fn what_cannot_be_exported_is_named() {
    let folder = folder();
    stored(folder.path(), 1);
    fs::remove_dir_all(folder.path().join("spool")).unwrap();
    for (arguments, code, words) in [
        (vec![], 1, "has it run here"),
        (vec!["--since", "yesterday"], 2, "write a time in UTC such as"),
        (vec!["--csv", "--all"], 2, "cannot be used with"),
    ] {
        let output = export(folder.path(), &arguments);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(code), String::new()));
        assert!(text(&output.stderr).contains(words), "{}", text(&output.stderr));
    }
    assert!(!folder.path().join("spool").exists(), "it makes nothing");
    fs::write(folder.path().join("fieldgate.yaml"), "mqtt: {}\n").unwrap();
    let output = export(folder.path(), &[]);
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("--spool PATH"), "{}", text(&output.stderr));
}
