//! A4: the program dies without a word. Under systemd that is tried on the emulated board; here `safe-state` is run as
//! `ExecStopPost=` would.

use std::time::{Duration, Instant, SystemTime};

use rustix::process::Signal;
use serde_json::Value;

use super::{bench, millis, set, switch};
use crate::common::client::{Client, publish};
use crate::common::gateway::{self, Gateway};
use crate::common::mosquitto::Mosquitto;
use crate::common::pace::slack;
use crate::common::quick::{config, folder};
use crate::common::sim_file::SimFile;
use crate::common::{SOON, wait_until};
use crate::suite::{report, times};

const LIMIT: Duration = Duration::from_millis(500);

/// A line, one that is on when low, a fan that is safe at a percentage, and a pin of an expander.
fn outputs() -> String {
    let heater = switch("heater", 22, "").replace("GPIO22", "GPIO22, active_low: true");
    let fan = "  fan: { driver: pwm-output, bus: bench, settings: { channel: 0 }, safe_state: 20 }\n";
    let valve = switch("valve", 0, "").replace("bus: bench", "bus: relays").replace("GPIO0", "P0");
    bench(&[switch("pump", 27, ""), heater, fan.to_owned(), valve])
        .replace("bench.json } }", "bench.json }, relays: { type: pcf8574, bus: bench, address: 0x20 } }")
}

/// Levels of pump, heater, fan and valve.
fn levels(bus: &SimFile) -> [Option<f64>; 4] {
    let file = bus.read();
    let number = |value: &Value| value.as_f64();
    let valve = file["chips"]["0x20"]["latch"].as_u64().map(|latch| (latch & 1) as f64);
    [number(&file["lines"]["GPIO27"]), number(&file["lines"]["GPIO22"]), number(&file["pwm"]["0"]), valve]
}

/// Kills the program and runs `safe-state`; returns how long after the kill everything was safe, without what the machine held up
/// everybody.
fn die(signal: Signal, is_broken: bool) -> Duration {
    let (broker, folder) = (Mosquitto::start(), folder());
    let client = Client::subscribe(&broker.endpoint(), &["b/status"]);
    let bus = SimFile::new(folder.path().join("bench.json"));
    let text = config(&broker.url(), "", "", &outputs());
    let mut gateway = Gateway::start(folder.path(), &text);
    client.wait_for("b/status", |word| word == "online", SOON);
    wait_until("all to be on", SOON, || {
        for (output, value) in [("pump", "on"), ("heater", "on"), ("fan", "75"), ("valve", "on")] {
            publish(&broker.endpoint(), &set(output), value, false, 1);
        }
        levels(&bus) == [1.0, 0.0, 75.0, 1.0].map(Some)
    });
    let file = folder.path().join("fieldgate.yaml");
    if is_broken {
        gateway::write_config(folder.path(), "mqtt: [ broken");
    }
    let (killed, since) = (SystemTime::now(), Instant::now());
    gateway.signal(signal);
    assert_eq!(gateway.wait_exit(SOON), -1);
    let output = gateway::command(folder.path(), &["safe-state", "--config", file.to_str().unwrap()], SOON);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(levels(&bus), [0.0, 1.0, 20.0, 0.0].map(Some), "{}", String::from_utf8_lossy(&output.stderr));
    bus.written_after(killed).saturating_sub(slack(since))
}

#[test]
fn a4_after_a_kill_safe_state_drives_every_output_from_the_last_good_table_in_time() {
    let tried = times(1, 5, 25);
    for (signal, what) in [(Signal::KILL, "SIGKILL"), (Signal::ABORT, "SIGABRT")] {
        for is_broken in [false, true] {
            let slowest = (0..tried).map(|_| die(signal, is_broken)).max().unwrap();
            assert!(slowest <= LIMIT, "safe only {slowest:?} after {what}");
            let file = if is_broken { ", the file broken meanwhile" } else { "" };
            let happened =
                format!("a line, an active-low line, PWM and an expander safe after {} at most", millis(slowest));
            report("A4", &format!("{what} with outputs on, {tried} ×{file}; then `safe-state`"), &happened);
        }
    }
}
