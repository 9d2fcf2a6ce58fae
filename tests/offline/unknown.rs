//! What is not known because a driver is silent or a line is gone, and what rules see of a sensor that works.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Alone, DEVICES};
use crate::common::quick::{READINGS_IN_LOG, taken_of};
use crate::common::sim_file::SimFile;

/// The sensors sit on a bus of their own: what hangs there must not keep the thread that drives the outputs.
fn devices(sensor: &str) -> String {
    let far =
        "  far: { type: sim, state_file: far.json }\n  panel: { type: pcf8574, bus: far, address: 0x20 }\nsensors:\n";
    let outputs = &DEVICES[DEVICES.find("actuators:").unwrap()..];
    format!("buses:\n  bench: {{ type: sim, state_file: bench.json }}\n{far}{sensor}{outputs}")
}

/// The program, and the file of the bus with the sensors, which is `state` at the start.
fn start(sensor: &str, rules: &str, state: &serde_json::Value) -> (Alone, SimFile) {
    let prepare = |folder: &std::path::Path| SimFile::new(folder.join("far.json")).write(state);
    let alone = Alone::prepared(&devices(sensor), rules, &[], prepare);
    let far = SimFile::new(alone.folder.path().join("far.json"));
    (alone, far)
}

const ALONE: &str = "  alone: { when: not link.up, for: 1s, set: { other: on } }\n";

#[test]
fn a_driver_that_hangs_begins_no_rule_and_ends_one_after_lost() {
    let tank = "  tank: { driver: tmp102, bus: far, every: 200ms, settings: { address: 0x49 } }\n";
    let rules =
        format!("rules:\n  heating: {{ when: not (tank.temperature > 19), lost: 1s, set: {{ heater: on }} }}\n{ALONE}");
    let (alone, far) = start(tank, &rules, &json!({"chips": {"0x49": {"temperature": 18.0, "fault": "hang"}}}));
    // Nothing was read yet: what has nothing to do with it begins, and this does not.
    alone.wait_line("GPIO23", 1);
    assert_eq!(alone.sim.line("GPIO22"), Some(0));
    far.set_fault("0x49", None);
    alone.wait_line("GPIO22", 1);
    let before = Instant::now();
    far.set_fault("0x49", Some("hang"));
    alone.wait_line("GPIO22", 0);
    assert!(before.elapsed() >= Duration::from_secs(1), "{:?}", before.elapsed());
    alone.wait_rule("heating", "inactive", "something that it names is not known");
    far.set_fault("0x49", None);
    alone.wait_line("GPIO22", 1);
}

#[test]
fn a_line_that_is_gone_ends_a_rule_after_lost_until_it_is_back() {
    let float = "  float: { driver: gpio-input, bus: panel, every: 100ms, settings: { line: P4 } }\n";
    let rules = "rules:\n  drain: { when: float.active, lost: 1s, set: { heater: on } }\n";
    let (alone, far) = start(float, rules, &json!({"chips": {"0x20": {"P4": 1}}}));
    alone.wait_line("GPIO22", 1);
    let before = Instant::now();
    far.set_fault("0x20", Some("nak"));
    alone.wait_line("GPIO22", 0);
    assert!(before.elapsed() >= Duration::from_secs(1), "{:?}", before.elapsed());
    alone.wait_rule("drain", "inactive", "something that it names is not known");
    far.set_fault("0x20", None);
    alone.wait_line("GPIO22", 1);
}

#[test]
fn rules_see_every_filtered_sample_also_where_no_reading_is_made_of_it() {
    let tank = "every: 200ms, settings: { address: 0x49 }";
    let seldom = "filters: { temperature: [ { offset: 5 } ] }, report: { min_interval: 1h, max_interval: 2h }";
    let devices = DEVICES.replace(tank, &format!("{tank}, {seldom}"));
    let rules = "rules: { warm: { when: tank.temperature > 24, set: { heater: on } } }\n";
    let alone = Alone::with(&devices, rules, 15.0, &READINGS_IN_LOG);
    alone.gateway.wait_log("Reading. sensor=tank seq=1", super::LONG);
    // 25 degrees, behind its filter.
    alone.set(20.0);
    alone.wait_line("GPIO22", 1);
    alone.set(18.0);
    alone.wait_line("GPIO22", 0);
    assert_eq!(taken_of(&alone.gateway, "tank"), 1, "{}", alone.gateway.log());
}

#[test]
fn a_button_toggles_an_output_without_a_broker() {
    let clicks = "clicks: { double_within: 100ms, long_after: 60s }";
    let bell = format!(
        "  bell: {{ driver: gpio-input, bus: bench, every: 1h, settings: {{ line: GPIO5, {clicks} }} }}\nactuators:"
    );
    let devices = DEVICES.replace("actuators:", &bell).replace("safe_after: 1s", "safe_after: never");
    let rules = "rules: { bell: { when: bell.click == \"single\", toggle: heater } }\n";
    let alone = Alone::with(&devices, rules, 20.0, &READINGS_IN_LOG);
    alone.gateway.wait_log("Reading. sensor=bell seq=1", super::LONG);
    for (press, level) in [(0, 1), (1, 0)] {
        // Each press is a reading when it begins, when it ends, and with the click.
        alone.sim.set_input("GPIO5", 1);
        let seq = 2 + 3 * press;
        alone.gateway.wait_log(&format!("Reading. sensor=bell seq={seq}"), super::LONG);
        alone.sim.set_input("GPIO5", 0);
        alone.wait_line("GPIO22", level);
    }
}
