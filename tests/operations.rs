//! What docs/operations.md promises, with its own commands: a backup carries everything to another place, and two subscriptions show how
//! many gateways are. What needs systemd is tried on the emulated board.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic")]

use std::path::Path;
use std::process::Command;

use crate::common::SOON;
use crate::common::client::Client;
use crate::common::gateway::{Gateway, write_config};
use crate::common::mosquitto::Mosquitto;
use crate::common::sim_file::SimFile;
use serde_json::{Value, json};

/// The commands of the page that have this in them.
fn commands(part: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let page = std::fs::read_to_string(path).unwrap();
    let blocks: Vec<_> =
        page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect();
    blocks.iter().flat_map(|block| block.lines()).filter(|line| line.contains(part)).map(str::to_owned).collect()
}

/// What a command prints, in this folder.
fn run(command: &str, folder: &Path) -> String {
    let output = Command::new("sh").args(["-c", command]).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn set(client: &Client, below: &str, value: &Value) {
    client.publish(&format!("b/{below}/set"), &json!({ "value": value, "id": below }).to_string(), false, 1);
    let reply = client.wait_json(&format!("b/{below}/reply"), |reply| reply["id"] == below, SOON);
    assert_eq!((&reply["outcome"], &reply["value"]), (&"done".into(), value), "{reply}");
}

#[test]
fn a_backup_carries_variables_totals_and_waiting_readings_to_another_board() {
    let (mut broker, folder) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let mut client = Client::subscribe(&broker.endpoint(), &["b/#"]);
    let config = format!(
        "gateway: {{ name: t }}
mqtt: {{ base_topic: b, broker: \"{}\", reconnect: {{ min: 100ms, max: 200ms }} }}
spool: {{ path: ../../var/lib/fieldgate }}
buses: {{ bench: {{ type: sim }} }}
variables: {{ target: {{ min: 5, max: 30, initial: 19 }} }}
sensors:
  tide: {{ driver: waveform, every: 20ms, settings: {{ shape: counter }} }}
  gas: {{ driver: pulse-counter, bus: bench, every: 100ms, settings: {{ line: GPIO17, pulses_per_unit: 100, unit: m³ }} }}
",
        broker.url()
    );
    let [old, new] = ["old", "new"].map(|board| folder.path().join(board));
    let etc = old.join("etc/fieldgate");
    for path in [&etc, &new] {
        std::fs::create_dir_all(path).unwrap();
    }
    let mut gateway = Gateway::with_env(&etc, &config, &[("RUST_LOG", "debug")]);
    client.wait_for("b/status", |payload| payload == "online", SOON);
    set(&client, "variables/target", &json!(21.5));
    set(&client, "sensors/gas/total", &json!(12.5));
    let first_run = client.wait_json("b/sensors/tide", |_| true, SOON)["run"].clone();
    broker.stop();
    gateway.wait_behind("No connection", " Reading. sensor=tide ", SOON);
    gateway.stop(SOON);
    let tar = commands(" tar ");
    let [pack, unpack] = &tar[..] else { panic!("the page has {} commands with tar", tar.len()) };
    let at =
        |command: &str, board: &Path| command.replace("sudo ", "").replace("-C /", &format!("-C {}", board.display()));
    run(&at(pack, &old), folder.path());
    run(&at(unpack, &new), folder.path());
    broker.start_again();
    client.wait_subscribed(2);
    client.forget();
    let _gateway = Gateway::run(&new.join("etc/fieldgate/fieldgate.yaml"), &[]);
    let target = client.wait_json("b/variables/target/state", |_| true, SOON);
    assert_eq!((&target["value"], &target["cause"]), (&json!(21.5), &"start".into()));
    assert_eq!(client.wait_json("b/sensors/gas", |_| true, SOON)["total"], 12.5);
    client.wait_json("b/late/tide", |reading| reading["run"] == first_run, SOON);
}

#[test]
fn two_subscriptions_show_which_of_many_gateways_is_gone_and_which_sensor_is_down() {
    let (broker, folder) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let client = Client::subscribe(&broker.endpoint(), &["fieldgate/#"]);
    let config = |name: &str| {
        format!("gateway: {{ name: {name} }}\nmqtt: {{ broker: \"{}\" }}\nspool: {{ path: spool }}\n", broker.url())
    };
    let sensors = "buses: { bench: { type: sim, state_file: bench.json } }
sensors:
  tide: { driver: waveform, every: 100ms, settings: { shape: counter } }
  air: { driver: bme280, bus: bench, every: 100ms, settings: { address: 0x76 } }
";
    let [one, other] = ["one", "other"].map(|name| folder.path().join(name));
    for path in [&one, &other] {
        std::fs::create_dir_all(path).unwrap();
    }
    SimFile::new(one.join("bench.json")).set_fault("0x76", Some("nak"));
    let _one = Gateway::run(&write_config(&one, &(config("one") + sensors)), &[]);
    let mut gone = Gateway::run(&write_config(&other, &config("other")), &[]);
    client.wait_for("fieldgate/other/status", |payload| payload == "online", SOON);
    gone.kill9();
    client.wait_for("fieldgate/other/status", |payload| payload == "offline", SOON);
    client.wait_json("fieldgate/one/sensors/air/status", |status| status["status"] == "down", SOON);
    client.wait_json("fieldgate/one/sensors/tide/status", |status| status["status"] == "ok", SOON);
    let subscriptions = commands("mosquitto_sub");
    let [gateways, sensors] = &subscriptions[..] else { panic!("the page has {} subscriptions", subscriptions.len()) };
    // Two messages are retained for each; what never comes ends the wait and the test.
    let with = format!("mosquitto_sub -p {} -C 2 -W 30", broker.port);
    let mut shown: Vec<_> =
        run(&gateways.replace("mosquitto_sub", &with), folder.path()).lines().map(str::to_owned).collect();
    shown.sort();
    assert_eq!(shown, ["fieldgate/one/status online", "fieldgate/other/status offline"]);
    let shown = run(&sensors.replace("mosquitto_sub", &with), folder.path());
    assert!(shown.starts_with("fieldgate/one/sensors/air/status ") && shown.lines().count() == 1, "{shown}");
    assert!(shown.contains("\"status\":\"down\""), "{shown}");
}
