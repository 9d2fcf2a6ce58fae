//! The Paho client, which many users come from, against the compiled program and a real Mosquitto.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::gateway::Gateway;
use crate::common::mosquitto::Mosquitto;
use crate::common::{SOON, python, wait_for};

const CONFIG: &str = "
gateway: { name: g }
mqtt: { broker: \"URL\", protocol: \"PROTOCOL\" }
spool: { path: spool }
buses:
  bench: { type: sim, state_file: bench.json }
sensors:
  tick: { driver: waveform, every: 50ms, settings: { shape: counter } }
actuators:
  pump: { driver: gpio-output, bus: bench, settings: { line: GPIO27 }, safe_state: \"off\" }
";

/// `round_trip.py` with a gateway that speaks this protocol; Paho speaks both.
fn check(protocol: &str) {
    let python = python::interpreter();
    let (broker, folder) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let config = CONFIG.replace("URL", &broker.url()).replace("PROTOCOL", protocol);
    let gateway = Gateway::start(folder.path(), &config);
    gateway.wait_log("Connected.", SOON);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/paho/round_trip.py");
    let mut paho = Command::new(python);
    paho.arg(script).arg(broker.port.to_string()).arg(protocol).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut paho = paho.spawn().unwrap();
    // What it says fits into the pipes.
    wait_for("round_trip.py to end", SOON * 4, || paho.try_wait().unwrap());
    let output = paho.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_paho_client_reads_and_commands_a_gateway_on_mqtt_5() {
    check("5");
}

#[test]
fn a_paho_client_reads_and_commands_a_gateway_on_3_1_1() {
    check("3.1.1");
}
