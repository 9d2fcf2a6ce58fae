//! The commands of the compiled program: exit codes, what goes to which stream, colour.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use crate::common;

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::common::SOON;
use crate::common::gateway::{Gateway, command, program, program_path, write_config};
use crate::common::python;
use crate::common::sim_file::SimFile;
use crate::common::unread::full_stream;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

const CONFIG: &str = "
gateway: { name: g }
mqtt: { broker: mqtt://127.0.0.1:9 }
spool: { path: spool }
buses:
  bench: { type: sim, state_file: bench.json }
sensors:
  air: { driver: bme280, bus: bench, every: 1s, settings: { address: 0x76 } }
  tide: { driver: waveform, every: 1s, settings: { shape: constant, offset: 2.5 } }
  door: { driver: gpio-input, bus: bench, settings: { line: GPIO17, bias: pull-up } }
actuators:
  pump: { driver: gpio-output, bus: bench, settings: { line: GPIO27 }, safe_state: \"off\", safe_after: never }
  heater:
    { driver: gpio-output, bus: bench, settings: { line: GPIO22, active_low: true }, safe_state: \"on\", safe_after: never }
";

/// A folder with `fieldgate.yaml`, and what its simulated bus does.
struct Bench {
    folder: TempDir,
    sim: SimFile,
}

/// What a command did.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let ran = Self { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) };
        assert!(!ran.err.contains("panicked"), "{}", ran.err);
        ran
    }

    /// Expects this exit code and a message, but no result.
    fn failed(&self, code: i32, words: &str) {
        assert_eq!((self.code, self.out.as_str()), (code, ""), "{}", self.err);
        assert!(self.err.contains(words), "{words:?} is not in {}", self.err);
    }

    /// Expects a result and no message.
    fn done(&self) -> &str {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{}", self.out);
        assert!(!self.out.is_empty() && self.out.ends_with('\n'));
        &self.out
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}

fn bench(config: &str) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    write_config(folder.path(), config);
    let sim = SimFile::new(folder.path().join("bench.json"));
    Bench { folder, sim }
}

impl Bench {
    /// A command with `--config` for this folder.
    fn run(&self, arguments: &[&str]) -> Ran {
        let all = [arguments, &["--config", "fieldgate.yaml"]].concat();
        Ran::from(command(self.folder.path(), &all, SOON))
    }
}

/// A command without a configuration.
fn run(arguments: &[&str]) -> Ran {
    Ran::from(command(Path::new(env!("CARGO_MANIFEST_DIR")), arguments, SOON))
}

/// What a command shows on a terminal, both streams together.
fn on_terminal(folder: &Path, arguments: &str, environment: &[(&str, &str)]) -> String {
    let mut script = Command::new("script");
    script
        .args(["-qec", &format!("{} {arguments}", program_path()), "/dev/null"])
        .current_dir(folder)
        .env_remove("NO_COLOR");
    script.envs(environment.iter().copied()).stdin(Stdio::null());
    let output = script.output().expect("script, of the package bsdutils");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn usage_errors_end_with_2_and_say_so_on_standard_error() {
    for arguments in [
        &["nonsense"][..],
        &["run", "--conf", "x"],
        &["check", "extra"],
        &["read"],
        &["drivers", "a", "b"],
        &["demo", "--port", "0"],
        &["demo", "--port", "65536"],
        &["demo", "--home-assistant", "ha.lan"],
        &["demo", "--home-assistant", "mqtt://pi:pw@ha.lan"],
        &["demo", "--home-assistant", "mqtt://ha.lan", "--port", "1884"],
        &["demo", "--home-assistant", "mqtt://ha.lan", "--username", "pi"],
        &["demo", "--username", "pi", "--password-file", "f"],
        &["schema", "--json"],
    ] {
        run(arguments).failed(2, "try '--help'");
    }
    run(&[]).failed(2, "Usage: fieldgate");
}

#[test]
fn version_and_help_are_results() {
    assert_eq!(run(&["--version"]).done(), concat!("fieldgate ", env!("CARGO_PKG_VERSION"), "\n"));
    for command in ["run", "check", "demo", "drivers", "export", "forget", "read", "safe-state", "schema", "watch"] {
        assert!(run(&["--help"]).done().contains(&format!("\n  {command} ")), "{command}");
        assert!(run(&[command, "--help"]).done().contains("Usage: fieldgate"));
    }
}

#[test]
fn check_says_what_a_good_file_will_do() {
    let bench = bench(CONFIG);
    let good = bench.run(&["check"]);
    let summary = good.done();
    for words in ["fieldgate/g/sensors/air", "fieldgate/g/actuators/pump/set", "temperature °C", "mqtt://127.0.0.1:9"]
    {
        assert!(summary.contains(words), "{words}: {summary}");
    }
    let good = bench.run(&["check", "--json"]);
    good.done();
    assert_eq!(good.json()["ok"], true);
}

#[test]
fn check_reports_every_problem_of_a_bad_file() {
    let text = CONFIG.replace("driver: bme280", "driver: bme208").replace("every: 1s", "evry: 1s");
    let bad = bench(&text);
    let reported = bad.run(&["check"]);
    reported.failed(78, "no driver is called \"bme208\"");
    assert!(reported.err.contains("did you mean \"bme280\"?") && reported.err.contains("evry"), "{}", reported.err);
    assert!(reported.err.contains("fieldgate.yaml:8:18"), "{}", reported.err);
    let reported = bad.run(&["check", "--json"]);
    assert_eq!((reported.code, reported.err.as_str()), (78, ""));
    assert_eq!(reported.json()["ok"], false);
    assert!(reported.json()["problems"].as_array().unwrap().len() >= 2, "{}", reported.out);
}

#[test]
fn every_command_refuses_a_missing_or_bad_configuration_with_78() {
    let bad = bench("mqtt: 5\n");
    for arguments in [&["run"][..], &["check"], &["read", "air"], &["safe-state"]] {
        bad.run(arguments).failed(78, "fieldgate.yaml:1:7");
        let missing = [arguments, &["--config", "/nowhere/fieldgate.yaml"]].concat();
        run(&missing).failed(78, "/nowhere/fieldgate.yaml");
    }
    let missing = run(&["check", "--json", "--config", "/nowhere/fieldgate.yaml"]);
    assert_eq!((missing.code, &missing.json()["ok"]), (78, &json!(false)));
}

#[test]
fn the_shipped_configuration_is_good_and_fits_the_schema() {
    assert_eq!(run(&["check", "--config", "config/fieldgate.yaml"]).code, 0);
    let schema = run(&["schema"]);
    schema.done();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("schema.json"), &schema.out).unwrap();
    let program = "
import json, jsonschema, sys, yaml
schema = json.load(open(sys.argv[1]))
kind = jsonschema.validators.validator_for(schema)
kind.check_schema(schema)
class Loader(yaml.SafeLoader): pass
def default(loader, node):
    return node.value if isinstance(node, yaml.ScalarNode) else loader.construct_sequence(node)[-1]
Loader.add_constructor('!env', default)
Loader.add_constructor('!param', default)
for file in sys.argv[3:]:
    part = { 'include': [], **yaml.load(open(file), Loader) }
    problems = [f'{file} {list(error.path)}: {error.message}' for error in kind(schema).iter_errors(part)]
    assert not problems, problems
used = { 'include': [], 'sensors': { 'a': { 'use': {} } } }
assert list(kind(schema).iter_errors(used)), 'a use without a template passes'
document = yaml.safe_load(open(sys.argv[2]))
problems = [f'{list(error.path)}: {error.message}' for error in kind(schema).iter_errors(document)]
assert not problems, problems
document['sensors']['air']['evry'] = '1s'
assert list(kind(schema).iter_errors(document)), 'an unknown key passes'
";
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let parts = ["fieldgate.yaml", "buses.yaml", "sensors/probes.yaml", "sensors/doors.yaml"];
    let mut python = Command::new(python::interpreter());
    python.args(["-c", program]).arg(folder.path().join("schema.json")).arg(config.join("fieldgate.yaml"));
    python.args(parts.map(|part| config.join("parts").join(part)));
    let output = python.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn drivers_are_listed_and_each_has_its_page() {
    let table = run(&["drivers"]);
    let all = run(&["drivers", "--json"]).json();
    for driver in all.as_array().unwrap() {
        let name = driver["name"].as_str().unwrap();
        assert!(table.done().contains(&format!("\n{name} ")), "{name}");
        let page = run(&["drivers", name]);
        assert!(page.done().starts_with(&format!("{name}: ")) && page.out.contains("\nExample\n"), "{}", page.out);
    }
    let page = run(&["drivers", "bme280"]);
    assert!(["temperature", "humidity", "pressure", "°C", "hPa", "0x76"].iter().all(|word| page.out.contains(word)));
    assert_eq!(run(&["drivers", "bme280", "--json"]).json()["name"], "bme280");
}

#[test]
fn an_unknown_driver_is_refused_with_the_nearest_name_if_one_is_near() {
    run(&["drivers", "bme208"]).failed(1, "no driver is called \"bme208\"; did you mean \"bme280\"?");
    let nope = run(&["drivers", "nope"]);
    nope.failed(1, "no driver is called \"nope\"");
    assert!(!nope.err.contains("did you mean") && nope.err.contains("fieldgate drivers"), "{}", nope.err);
}

#[test]
fn read_prints_one_sampling() {
    let bench = bench(CONFIG);
    bench.sim.write(&json!({"chips": {"0x76": {"chip": "bme280", "temperature": 30.0}}, "inputs": {"GPIO17": 0}}));
    let air = bench.run(&["read", "air"]);
    assert!(air.done().lines().any(|line| line.starts_with("temperature  30") && line.ends_with("°C")), "{}", air.out);
    let air = bench.run(&["read", "air", "--json"]);
    air.done();
    assert!((air.json()["temperature"].as_f64().unwrap() - 30.0).abs() < 0.02, "{}", air.out);
    assert_eq!(bench.run(&["read", "tide"]).done(), "value  2.5\n");
    assert_eq!(bench.run(&["read", "door"]).done(), "active  false\n");
    assert_eq!(bench.sim.read()["held"], json!({}), "it lets go");
}

#[test]
fn read_says_in_words_why_it_cannot() {
    let bench = bench(CONFIG);
    bench.run(&["read", "ari"]).failed(1, "there is no sensor called \"ari\"; there are: air, tide, door");
    bench.run(&["read", "pump"]).failed(1, "there is no sensor called \"pump\"");
    bench.sim.write(&json!({"chips": {"0x76": {"chip": "bme280", "fault": "nak"}}}));
    bench.run(&["read", "air"]).failed(1, "error: air: no BME280 at address 0x76: nobody answers");
    bench.run(&["read", "air", "--json"]).failed(1, "nobody answers");
}

#[test]
fn read_names_the_service_that_uses_the_line() {
    let bench = bench(CONFIG);
    let mut gateway = Gateway::run(&bench.folder.path().join("fieldgate.yaml"), &[]);
    let held = json!({"GPIO17": gateway.pid()});
    common::wait_until("the service to hold its line", SOON, || bench.sim.read()["held"] == held);
    let holder = format!("in use by \"fieldgate (process {})\"", gateway.pid());
    bench.run(&["read", "door"]).failed(1, &holder);
    let air = bench.run(&["read", "air"]);
    assert!(air.code == 0 && air.out.contains("temperature"), "{}", air.err);
    assert!(air.err.contains("the service runs and samples air too"), "{}", air.err);
    assert_eq!(bench.sim.read()["held"], held);
    gateway.kill9();
    assert_eq!(bench.run(&["read", "door"]).done(), "active  true\n", "a killed service holds nothing");
    let mut gateway = Gateway::run(&bench.folder.path().join("fieldgate.yaml"), &[]);
    common::wait_until("the service to hold its line", SOON, || bench.sim.read()["held"]["GPIO17"] == gateway.pid());
    gateway.stop(SOON);
    assert_eq!(bench.sim.read()["held"], json!({}));
}

#[test]
fn the_error_of_a_command_waits_for_a_reader_that_is_late() {
    let bench = bench(CONFIG);
    let (full, mut reader) = full_stream();
    let mut command = program();
    command.args(["read", "nobody", "--config", "fieldgate.yaml"]).current_dir(bench.folder.path());
    let mut read = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::from(full)).spawn().unwrap();
    // It has the writing end, too.
    drop(command);
    // A service would have gone without a word after a quarter of that.
    let since = Instant::now();
    common::wait_until("a second to pass", SOON, || since.elapsed() >= Duration::from_secs(1));
    assert!(read.try_wait().unwrap().is_none(), "it has ended although nobody has its words");
    let mut said = String::new();
    reader.read_to_string(&mut said).unwrap();
    assert!(said.contains("there is no sensor called \"nobody\""), "{}", said.replace("filling\n", ""));
    assert_eq!(read.wait().unwrap().code(), Some(1));
}

#[test]
fn safe_state_drives_what_a_killed_service_left() {
    let bench = bench(CONFIG);
    let ran = bench.run(&["safe-state"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{}", ran.err);
    assert_eq!((bench.sim.line("GPIO27"), bench.sim.line("GPIO22")), (Some(0), Some(0)));
    let runtime = tempfile::tempdir().unwrap();
    let mut service = program();
    service.args(["run", "--config", "fieldgate.yaml"]).current_dir(bench.folder.path());
    service.env("RUNTIME_DIRECTORY", runtime.path()).stdin(Stdio::null()).stderr(Stdio::null());
    let mut service = service.spawn().unwrap();
    let is_table =
        |entry: std::io::Result<fs::DirEntry>| entry.unwrap().path().extension().is_some_and(|e| e == "json");
    common::wait_until("the table of outputs", SOON, || fs::read_dir(runtime.path()).unwrap().any(is_table));
    service.kill().unwrap();
    service.wait().unwrap();
    bench.sim.write(&json!({"lines": {"GPIO27": 1, "GPIO22": 1}}));
    write_config(bench.folder.path(), "broken: [");
    let mut safe = program();
    safe.args(["safe-state", "--config", "fieldgate.yaml"]).current_dir(bench.folder.path());
    let ran = Ran::from(safe.env("RUNTIME_DIRECTORY", runtime.path()).output().unwrap());
    assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{}", ran.err);
    assert_eq!((bench.sim.line("GPIO27"), bench.sim.line("GPIO22")), (Some(0), Some(0)));
}

#[test]
fn safe_state_drives_what_it_can_and_fails_for_the_rest() {
    let missing = "buses:\n  gone: { type: gpio, chip: /dev/nowhere }";
    let first =
        "actuators:\n  lamp: { driver: gpio-output, bus: gone, settings: { line: GPIO1 }, safe_state: \"off\" }";
    let bench = bench(&CONFIG.replace("buses:", missing).replace("actuators:", first));
    let ran = bench.run(&["safe-state"]);
    ran.failed(1, "/dev/nowhere");
    assert_eq!(bench.sim.line("GPIO22"), Some(0), "active low and on: {}", ran.err);
}

#[test]
fn run_ends_with_0_when_asked_and_with_1_when_another_runs() {
    let bench = bench(CONFIG);
    for signal in [Signal::TERM, Signal::INT] {
        let mut gateway = Gateway::run(&bench.folder.path().join("fieldgate.yaml"), &[]);
        gateway.wait_log("Gateway started.", SOON);
        let second = bench.run(&["run"]);
        second.failed(1, "error: ");
        assert!(second.err.contains("spool"), "{}", second.err);
        gateway.signal(signal);
        assert_eq!(gateway.wait_exit(SOON), 0, "{}", gateway.log());
    }
}

#[test]
fn colour_is_for_terminals_without_no_color() {
    let bad = bench("mqtt: 5\n");
    let check = "check --config fieldgate.yaml";
    assert!(on_terminal(bad.folder.path(), check, &[]).contains("\x1b["));
    assert!(!on_terminal(bad.folder.path(), check, &[("NO_COLOR", "1")]).contains('\x1b'));
    let piped =
        program().env_remove("NO_COLOR").args(check.split(' ')).current_dir(bad.folder.path()).output().unwrap();
    assert!(!Ran::from(piped).err.contains('\x1b'));
}

#[test]
fn a_reader_who_leaves_early_is_no_panic() {
    let good = bench(CONFIG);
    for arguments in ["schema", "drivers", "drivers bme280", "check --config fieldgate.yaml", "--help"] {
        let line = format!("{} {arguments} | head -1", program_path());
        let output = Command::new("sh").args(["-c", &line]).current_dir(good.folder.path()).output().unwrap();
        assert_eq!(Ran::from(output).out.lines().count(), 1, "{arguments}");
    }
    let mut unread = program().arg("schema").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(unread.stdout.take());
    let ran = Ran::from(unread.wait_with_output().unwrap());
    assert!(ran.code == 0 || ran.code == 1, "{}", ran.code);
}
