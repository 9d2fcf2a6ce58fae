//! Hardware that does not do what it is set to: pins of an expander that something outside holds low.

use serde_json::Value;

use crate::common::bench::{Bench, USUAL, state};
use crate::common::mosquitto::Mosquitto;
use crate::common::{SOON, wait_until};
use crate::reason;

const EXPANDER: &str = "\n  relays: { type: pcf8574, bus: bench, address: 0x20 }\nsensors:";

/// Low is on, so that a pin that is held low cannot be switched off.
const OUTPUTS: &str = "  left: { driver: gpio-output, bus: relays, settings: { line: P0, active_low: true }, safe_state: \"off\", LIMITS }
  right: { driver: gpio-output, bus: relays, settings: { line: P1, active_low: true }, safe_state: \"off\", interlock: left }
";

fn bench(limits: &str) -> Bench {
    let broker = Mosquitto::start();
    let config = USUAL.config(&broker.url()).replace("\nsensors:", EXPANDER) + &OUTPUTS.replace("LIMITS", limits);
    let bench = Bench::with(broker, config, &[]);
    assert_eq!(bench.ask("left", "on")["value"], "on");
    bench
}

/// Something outside holds the pin low, or lets it go.
fn hold_low(bench: &Bench, is_held: bool) {
    bench.sim.set_chip("0x20", "P0", if is_held { 0.0 } else { 0.5 });
    // The bus takes over what the file says within 100 ms; both lines are distinguished only by a command.
    crate::pass(crate::ms(300));
}

fn newest(bench: &Bench, output: &str) -> Value {
    bench.client.all(&state(output)).last().map_or(Value::Null, |message| message.json())
}

#[test]
fn an_output_that_does_not_go_off_says_so_and_is_driven_until_it_does() {
    let bench = bench("max_age: never");
    hold_low(&bench, true);
    let answer = bench.ask("left", "off");
    assert_eq!((&answer["outcome"], &answer["value"]), (&"failed".into(), &Value::Null), "{answer}");
    assert_eq!(reason(&answer), "hardware: it reads on although it was set to off");
    wait_until("the state to be unknown", SOON, || newest(&bench, "left")["value"].is_null());
    assert_eq!(reason(&bench.ask("right", "on")), "interlock: left is on", "nobody has seen it off");
    bench.gateway.wait_said("Output does not follow; will try again until it does.", 1, SOON);
    hold_low(&bench, false);
    wait_until("it to follow again", SOON, || newest(&bench, "left")["value"] == "off");
    assert_eq!(newest(&bench, "left")["cause"], "safe_state");
    bench.gateway.wait_said("Output follows again.", 1, SOON);
    assert_eq!(bench.ask("right", "on")["value"], "on", "the interlock is free");
    assert_eq!(bench.health()["actuators"]["left"]["rejected"], 1);
}

#[test]
fn a_trip_that_the_hardware_does_not_follow_is_driven_until_it_does() {
    let bench = bench("max_on: 1s");
    hold_low(&bench, true);
    wait_until("the state to be unknown", SOON, || newest(&bench, "left")["value"].is_null());
    assert_eq!(newest(&bench, "left")["cause"], "max_on");
    hold_low(&bench, false);
    wait_until("it to follow again", SOON, || newest(&bench, "left")["value"] == "off");
    assert_eq!(newest(&bench, "left")["cause"], "max_on");
    assert_eq!(bench.health()["actuators"]["left"]["trips"], 1, "one trip, however often it was driven");
}
