//! Buses that sit on other buses, end to end: relays and contacts behind expanders, sensors behind a multiplexer.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use crate::common::gateway;
use crate::common::running::Running;
use crate::common::{SOON, wait_until};
use serde_json::{Value, json};

const DEVICES: &str = "buses:
  bench: { type: sim, state_file: bench.json }
  relays: { type: pcf8574, bus: bench, address: 0x20 }
  valves: { type: mcp23017, bus: bench, address: 0x21, interrupt: { bus: bench, line: GPIO4 } }
  shelf-3: { type: tca9548a, bus: bench, address: 0x70, channel: 3 }
  shelf-4: { type: tca9548a, bus: bench, address: 0x70, channel: 4 }
sensors:
  low: { driver: tmp102, bus: shelf-3, every: 100ms, settings: { address: 0x48 } }
  high: { driver: tmp102, bus: shelf-4, every: 100ms, settings: { address: 0x48 } }
  door: { driver: gpio-input, bus: relays, settings: { line: P4, active_low: true } }
  flap: { driver: gpio-input, bus: valves, settings: { line: GPB0, bias: pull-up } }
actuators:
  pump: { driver: gpio-output, bus: relays, settings: { line: P0, active_low: true }, safe_state: \"off\", safe_after: 30s }
  valve: { driver: gpio-output, bus: valves, settings: { line: GPA1 }, safe_state: \"off\", safe_after: 30s }
";

fn start() -> Running {
    let running = Running::untouched(DEVICES, &[], |_| ());
    for output in ["pump", "valve"] {
        running.client.wait_json(&state(output), |state| state["value"] == "off", SOON);
    }
    // What the program writes while it brings a chip up, a test that writes the file would take back.
    for sensor in ["low", "high", "door", "flap"] {
        wait_status(&running, sensor, "ok");
    }
    running
}

fn state(output: &str) -> String {
    format!("b/actuators/{output}/state")
}

fn chip(running: &Running, place: &str) -> Value {
    running.sim.read()["chips"][place].clone()
}

fn register(running: &Running, place: &str, name: &str) -> u64 {
    chip(running, place)[name].as_u64().unwrap_or_else(|| panic!("{}", chip(running, place)))
}

/// Forgets what was published before, so that what is awaited is the answer.
fn switch(running: &Running, output: &str, value: &str) {
    running.client.forget();
    running.client.publish(&format!("b/actuators/{output}/set"), value, false, 1);
    running.client.wait_json(&state(output), |state| state["value"] == value, SOON);
}

fn wait_status(running: &Running, sensor: &str, word: &str) {
    wait_until(&format!("{sensor} to be {word}"), SOON, || {
        running.latest(&format!("b/sensors/{sensor}/status"))["status"] == word
    });
}

#[test]
fn a_command_reaches_the_register_and_safe_state_undoes_it_without_touching_neighbours() {
    let mut running = start();
    assert_eq!(register(&running, "0x20", "latch"), 0xFF, "active low and off: nothing is driven");
    assert_eq!(register(&running, "0x21", "IODIRA"), 0xFD);
    switch(&running, "pump", "on");
    switch(&running, "valve", "on");
    assert_eq!((register(&running, "0x20", "latch"), register(&running, "0x21", "OLATA")), (0xFE, 0x02));
    running.gateway.kill9();
    // Pins of somebody else: an output that is on, and a contact that is closed where ours is an input.
    running
        .sim
        .write(&json!({"chips": {"0x20": {"latch": 0xFE & !0x40, "P4": 0}, "0x21": {"OLATA": 0x82, "IODIRA": 0x7D}}}));
    let file = running.folder.path().join("fieldgate.yaml");
    let arguments = ["safe-state", "--config", file.to_str().unwrap()];
    let output = gateway::command(running.folder.path(), &arguments, SOON);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(
        register(&running, "0x20", "latch"),
        0xFF & !0x40,
        "the neighbour is left on, the input is left released"
    );
    assert_eq!((register(&running, "0x21", "OLATA"), register(&running, "0x21", "IODIRA")), (0x80, 0x7D));
}

#[test]
fn contacts_are_events_polled_and_by_interrupt() {
    let running = start();
    let events = |sensor: &str| {
        let readings = running.client.all(&format!("b/sensors/{sensor}"));
        readings.iter().map(|reading| reading.json()["active"].clone()).collect::<Vec<_>>()
    };
    for sensor in ["door", "flap"] {
        wait_until(sensor, SOON, || !events(sensor).is_empty());
    }
    running.sim.set_chip("0x20", "P4", 0.0);
    wait_until("the door to open", SOON, || events("door") == [json!(false), json!(true)]);
    running.sim.write(&json!({"chips": {"0x21": {"GPB0": 0}}, "inputs": {"GPIO4": 0}}));
    wait_until("the flap to close", SOON, || events("flap") == [json!(true), json!(false)]);
    running.sim.write(&json!({"inputs": {"GPIO4": 1}}));
    switch(&running, "pump", "on");
    assert_eq!(register(&running, "0x20", "latch"), 0xFE, "the pin of the closed contact stays released");
    let read = |sensor| {
        let output = gateway::command(running.folder.path(), &["read", sensor, "--config", "fieldgate.yaml"], SOON);
        [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap())
    };
    let [value, note] = read("door");
    assert!(value.contains("true") && note.is_empty(), "{value}{note}");
    assert_eq!(register(&running, "0x20", "latch"), 0xFE, "and nobody is disturbed by a second reader");
    let [value, note] = read("low");
    assert!(value.contains("temperature") && note.contains("the service runs and samples low too"), "{value}{note}");
}

#[test]
fn sensors_with_one_address_are_distinguished_by_their_channels() {
    let running = start();
    running.sim.set_chip("0x70.3/0x48", "temperature", 10.0);
    running.sim.set_chip("0x70.4/0x48", "temperature", 30.0);
    for (sensor, celsius) in [("low", 10.0), ("high", 30.0)] {
        let is = |reading: &Value| reading["temperature"].as_f64() == Some(celsius);
        running.client.wait_json(&format!("b/sensors/{sensor}"), is, SOON);
    }
    running.client.forget();
    let count = |sensor: &str| running.client.all(&format!("b/sensors/{sensor}")).len();
    wait_until("some readings of both", SOON, || count("low") >= 10 && count("high") >= 10);
    for (sensor, celsius) in [("low", 10.0), ("high", 30.0)] {
        for reading in running.client.all(&format!("b/sensors/{sensor}")) {
            assert_eq!(reading.json()["temperature"], celsius, "{sensor}");
        }
    }
    let threads = std::fs::read_dir(format!("/proc/{}/task", running.gateway.pid())).unwrap();
    let names: Vec<_> =
        threads.map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).unwrap()).collect();
    assert_eq!(names.iter().filter(|name| name.starts_with("bus ")).count(), 1, "one pair of wires: {names:?}");
}

#[test]
fn an_expander_that_is_unplugged_is_reported_and_its_outputs_are_safe_when_it_is_back() {
    let running = start();
    switch(&running, "pump", "on");
    running.client.forget();
    running.sim.set_fault("0x20", Some("nak"));
    wait_status(&running, "door", "degraded");
    let lost = running.client.wait_json(&state("pump"), |state| state["value"].is_null(), SOON);
    assert_eq!(lost["cause"], "safe_state");
    running.gateway.wait_log("does not answer: no answer at address 0x20", SOON);
    let before = running.client.all("b/sensors/low").len();
    wait_until("the others to go on", SOON, || running.client.all("b/sensors/low").len() > before + 3);
    switch(&running, "valve", "on");
    running.sim.set_fault("0x20", None);
    let back = running.client.wait_json(&state("pump"), |state| state["value"] == "off", SOON);
    assert_eq!(back["cause"], "safe_state");
    wait_status(&running, "door", "ok");
    switch(&running, "pump", "on");
    assert_eq!(register(&running, "0x20", "latch"), 0xFE);
    assert_eq!(register(&running, "0x21", "OLATA"), 0x02, "the other expander was left alone");
}

#[test]
fn an_expander_that_lost_its_supply_for_a_moment_is_brought_up_again() {
    let running = start();
    switch(&running, "valve", "on");
    running.client.forget();
    running.sim.write(&json!({"chips": {"0x21": {"IODIRA": 255, "OLATA": 0, "GPPUB": 0, "IOCONA": 0, "IOCONB": 0}}}));
    let safe = running.client.wait_json(&state("valve"), |state| state["cause"] == "safe_state", SOON);
    assert_eq!(safe["value"], "off");
    running.gateway.wait_log("is not as it was left", SOON);
    wait_until("its registers", SOON, || {
        register(&running, "0x21", "IODIRA") == 0xFD && register(&running, "0x21", "GPPUB") == 1
    });
    switch(&running, "valve", "on");
}

#[test]
fn wires_that_are_gone_take_all_that_sits_on_them_and_bring_it_back() {
    let running = start();
    switch(&running, "pump", "on");
    running.client.forget();
    running.sim.write(&json!({"gone": true}));
    for sensor in ["low", "high", "door", "flap"] {
        running.client.wait_json(&format!("b/sensors/{sensor}/status"), |status| status["status"] != "ok", SOON);
    }
    running.sim.write(&json!({"gone": false}));
    for sensor in ["low", "high", "door", "flap"] {
        wait_status(&running, sensor, "ok");
    }
    for output in ["pump", "valve"] {
        running.client.wait_json(&state(output), |state| state["value"] == "off", SOON);
    }
    switch(&running, "pump", "on");
}

#[test]
fn a_reload_moves_one_expander_and_leaves_the_rest_of_the_wires_alone() {
    let running = start();
    switch(&running, "pump", "on");
    switch(&running, "valve", "on");
    running.reload(&running.config("", &DEVICES.replace("address: 0x21", "address: 0x22")));
    wait_until("the old place to be safe", SOON, || register(&running, "0x21", "OLATA") == 0);
    wait_until("the new one", SOON, || chip(&running, "0x22")["IODIRA"] == 0xFD);
    assert_eq!(register(&running, "0x20", "latch"), 0xFE, "the pump goes on");
    switch(&running, "valve", "on");
    assert_eq!(register(&running, "0x22", "OLATA"), 0x02);
}

#[test]
fn an_input_beyond_its_range_costs_itself_and_no_other() {
    let soil = "buses:
  bench: { type: sim, state_file: bench.json }
sensors:
  soil: { driver: ads1115, bus: bench, every: 100ms, settings: { address: 0x48, channels: [0, 3], data_rate: 860 } }
";
    let running = Running::untouched(soil, &[], |_| ());
    wait_status(&running, "soil", "ok");
    let write = |volts: f64| running.sim.write(&json!({"chips": {"0x48": {"voltage_3": volts}}}));
    // A slow machine degrades a sensor too, and readings and their status come by different ways: each is awaited by what it says.
    let is_without =
        |status: &Value| status["error"].as_str().is_some_and(|error| error.starts_with("without voltage_3: "));
    for volts in [4.5, 4.9] {
        running.client.forget();
        write(volts);
        let status = running.client.wait_json("b/sensors/soil/status", is_without, SOON);
        assert_eq!(status["status"], "degraded", "{status}");
        let reading = running.client.wait_json("b/sensors/soil", |reading| reading["voltage_3"].is_null(), SOON);
        assert!(reading["voltage_0"].is_number(), "{reading}");
        running.client.forget();
        write(0.3);
        let reading = running.client.wait_json("b/sensors/soil", |reading| reading["voltage_3"].is_number(), SOON);
        assert!(reading["voltage_0"].is_number(), "{reading}");
        wait_status(&running, "soil", "ok");
    }
}
