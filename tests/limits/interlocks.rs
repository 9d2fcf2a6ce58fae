//! Outputs that must never be on together, on one bus and on two.

use std::time::{Duration, SystemTime};

use crate::common::bench::{Bench, Setup, USUAL, set, state};
use crate::common::client::publish_lines;
use crate::common::gateway;
use crate::common::mosquitto::Mosquitto;
use crate::common::pace::slack_noted;
use crate::common::sim_file::SimFile;
use crate::common::watch::{Span, Watch};
use crate::common::{SOON, wait_until};
use crate::{STEP, TOLERANCE, ms, on_bus, reason, said};

const DEAD_TIME: Duration = Duration::from_millis(300);

/// A motor that turns one way by `up` and the other by `down`, of which `down` is on this bus.
fn motor(bus: &str) -> Bench {
    motor_resting(bus, "300ms")
}

fn motor_resting(bus: &str, dead_time: &str) -> Bench {
    let up = on_bus("bench", "up", "GPIO5", &format!("safe_state: \"off\", interlock: down, dead_time: {dead_time}"));
    let down = on_bus(bus, "down", "GPIO6", "safe_state: \"off\"");
    Bench::beside(&USUAL, &[up, down])
}

fn one_at_a_time(bus: &str) {
    let bench = motor(bus);
    let side = SimFile::new(bench.folder.path().join(format!("{bus}.json")));
    let watch = Watch::over(&[(&bench.sim, "GPIO5"), (&side, "GPIO6")]);
    for _ in 0..2 {
        assert_eq!(bench.ask("up", "on")["value"], "on");
        assert_eq!(reason(&bench.ask("down", "on")), "interlock: up is on");
        bench.ask("up", "off");
        let answer = bench.ask("down", "on");
        assert_eq!((&answer["outcome"], &answer["value"]), (&"done".into(), &"on".into()), "after its rest: {answer}");
        assert_eq!(reason(&bench.ask("up", "on")), "interlock: down is on");
        bench.ask("down", "off");
    }
    let seen = watch.end();
    assert_eq!((seen.on(0).len(), seen.on(1).len()), (2, 2), "{seen:?}");
    let rest = seen.rest_between(0, 1).unwrap();
    assert!(rest + STEP >= DEAD_TIME, "a rest of {rest:?}");
    let first = seen.rests_between(0, 1)[0];
    assert!(first.lasted().unwrap() < DEAD_TIME + TOLERANCE + first.slack(), "a rest of {first:?}");
}

#[test]
fn two_on_one_bus_are_on_one_at_a_time() {
    one_at_a_time("bench");
}

#[test]
fn two_on_two_buses_are_on_one_at_a_time() {
    one_at_a_time("side");
}

#[test]
fn an_on_that_waits_for_the_dead_time_is_taken_back_by_off() {
    // Long enough for a slow machine to send the next two commands in.
    let bench = motor_resting("bench", "1s");
    let watch = Watch::over(&[(&bench.sim, "GPIO6")]);
    bench.ask("up", "on");
    bench.ask("up", "off");
    let commands = [r#"{"value":"on","id":"d1"}"#, r#"{"value":"off","id":"d2"}"#].map(str::to_owned);
    publish_lines(&bench.endpoint(), &set("down"), &commands);
    let answer = |id: &'static str| bench.client.wait_json("fieldgate/g/actuators/down/reply", |r| r["id"] == id, SOON);
    assert_eq!(answer("d2")["outcome"], "done");
    assert_eq!(reason(&answer("d1")), "busy: a newer command has taken its place");
    crate::pass(ms(1200));
    assert!(watch.end().on(0).is_empty());
    assert_eq!(bench.ask("up", "on")["outcome"], "done", "the interlock is free");
}

/// The mains are safe when on; the generator, on this bus, must be off by then.
fn mains_and_generator(bus: &str) -> String {
    let both = "interlock: generator, dead_time: 300ms";
    let mains = on_bus("bench", "mains", "GPIO5", &format!("safe_state: \"on\", safe_after: 1s, {both}"));
    mains + &on_bus(bus, "generator", "GPIO6", "safe_state: \"off\", safe_after: never")
}

fn mains(setup: &Setup, bus: &str) -> Bench {
    let bench = Bench::beside(setup, &[mains_and_generator(bus)]);
    switch_over(&bench);
    bench
}

/// From the mains to the generator.
fn switch_over(bench: &Bench) {
    bench.sim.wait_line("GPIO5", 1, SOON);
    assert_eq!(reason(&bench.ask("generator", "on")), "interlock: mains is on");
    assert_eq!(bench.ask("mains", "off")["value"], "off");
    assert_eq!(bench.ask("generator", "on")["value"], "on");
}

fn lost_link(bus: &str) {
    let bench = mains(&Setup { safe_after: "1s", ..USUAL }, bus);
    let side = SimFile::new(bench.folder.path().join(format!("{bus}.json")));
    let watch = Watch::over(&[(&bench.sim, "GPIO5"), (&side, "GPIO6")]);
    bench.client.forget();
    bench.broker.freeze();
    bench.sim.wait_line("GPIO5", 1, SOON);
    bench.broker.thaw();
    let seen = watch.end();
    let span = Span { from: seen.on(1)[0].to.unwrap(), to: Some(seen.on(0)[0].from) };
    let rest = span.lasted().unwrap();
    assert!(rest + STEP >= DEAD_TIME && rest < DEAD_TIME + TOLERANCE + span.slack(), "a rest of {rest:?}");
    for (output, cause) in [("generator", "interlock"), ("mains", "safe_state")] {
        bench.client.wait_json(&state(output), |state| state["cause"] == cause, SOON);
    }
    bench.wait_trips("generator", 1);
    bench.gateway.wait_line(&["WARN", "Output returned to its safe state.", "actuator=mains "], SOON);
    let trips = said(&bench, "Output returned to its safe state.");
    let of_mains = trips.iter().filter(|line| line.contains("WARN") && line.contains("mains")).count();
    assert_eq!(of_mains, 1, "{trips:?}");
}

#[test]
fn a_lost_link_sends_the_partner_off_before_an_output_goes_on_for_safety() {
    lost_link("bench");
}

#[test]
fn a_lost_link_sends_a_partner_on_another_bus_off_as_soon() {
    lost_link("side");
}

/// The generator's bus has no state file, so that its thread has nothing to do but to sleep.
#[test]
fn a_partner_whose_thread_sleeps_is_sent_off_as_soon() {
    let broker = Mosquitto::start();
    let config = USUAL.config(&broker.url()).replace("\nsensors:", "\n  dark: { type: sim }\nsensors:");
    let bench = Bench::with(broker, config + &mains_and_generator("dark"), &[]);
    switch_over(&bench);
    let asked = SystemTime::now();
    // It is off already; what is new is that this ends.
    assert_eq!(bench.ask("mains", r#"{"value":"off","for":"1200ms"}"#)["outcome"], "done");
    let answered = SystemTime::now();
    bench.sim.wait_line("GPIO5", 1, SOON);
    let on = bench.sim.version().1;
    let (shortest, longest) = (on.duration_since(answered).unwrap(), on.duration_since(asked).unwrap());
    let due = ms(1200) + DEAD_TIME;
    let slack = slack_noted(asked, on);
    assert!(
        longest + STEP >= due && shortest < due + TOLERANCE + slack,
        "on after {shortest:?} to {longest:?}, not {due:?}"
    );
}

fn program_stop(bus: &str) {
    let mut bench = mains(&USUAL, bus);
    let side = SimFile::new(bench.folder.path().join(format!("{bus}.json")));
    let watch = Watch::over(&[(&bench.sim, "GPIO5"), (&side, "GPIO6")]);
    bench.gateway.stop(SOON);
    let seen = watch.end();
    let rest = seen.rest_between(0, 1).unwrap();
    assert!(rest + STEP >= DEAD_TIME, "a rest of {rest:?}");
    assert_eq!((bench.sim.line("GPIO5"), side.line("GPIO6")), (Some(1), Some(0)));
}

#[test]
fn at_the_end_the_partner_goes_off_first() {
    program_stop("bench");
}

#[test]
fn at_the_end_a_partner_on_another_bus_goes_off_first() {
    program_stop("side");
}

/// An orderly stop waits for the dead time before the mains go on, whatever it is, and nothing hangs.
fn stop_with(dead_time: &str, rest: Duration) {
    let mut bench = {
        let broker = Mosquitto::start();
        let config = USUAL
            .config(&broker.url())
            .replace("\nsensors:", "\n  side: { type: sim, state_file: side.json }\nsensors:");
        let outputs = mains_and_generator("side").replace("300ms", dead_time);
        let bench = Bench::with(broker, config + &outputs, &[]);
        switch_over(&bench);
        bench
    };
    let watch = Watch::over(&[(&bench.sim, "GPIO5"), (&bench.side(), "GPIO6")]);
    bench.gateway.stop(SOON);
    assert_eq!((bench.sim.line("GPIO5"), bench.side().line("GPIO6")), (Some(1), Some(0)), "safe");
    let rested = watch.end().rest_between(0, 1).unwrap();
    assert!(rested + STEP >= rest, "a rest of {rested:?}");
    let errors: Vec<_> = bench.gateway.log().lines().filter(|line| line.contains("ERROR")).map(str::to_owned).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

#[test]
fn a_stop_waits_for_a_dead_time_of_a_second() {
    stop_with("1s", ms(1000));
}

#[test]
fn a_stop_waits_for_the_longest_dead_time() {
    stop_with("2s", ms(2000));
}

/// Two dimmers with a ramp of four seconds; `right` is on this bus.
fn dimmers(bus: &str) {
    let dimmer = |name: &str, bus: &str, channel: u8, rest: &str| {
        format!(
            "  {name}: {{ driver: pwm-output, bus: {bus}, settings: {{ channel: {channel}, ramp: 4s }}, safe_state: 0{rest} }}\n"
        )
    };
    let outputs = [dimmer("left", "bench", 1, ", interlock: right"), dimmer("right", bus, 2, "")];
    let bench = Bench::beside(&USUAL, &outputs);
    let side = SimFile::new(bench.folder.path().join(format!("{bus}.json")));
    assert_eq!(bench.ask("left", "80")["value"], 0.0, "the first step");
    assert_eq!(reason(&bench.ask("right", "80")), "interlock: left is on");
    crate::pass(ms(1500));
    assert_eq!(reason(&bench.ask("right", "80")), "interlock: left is on");
    bench.sim.wait_pwm("1", 80.0, SOON);
    assert_eq!(side.pwm("2"), Some(0.0));
    // A way down keeps the interlock to its end.
    assert_eq!(bench.ask("left", "10")["outcome"], "done");
    crate::pass(ms(500));
    assert_eq!(bench.ask("left", "0")["outcome"], "done");
    assert_eq!(reason(&bench.ask("right", "80")), "interlock: left is on");
    bench.sim.wait_pwm("1", 0.0, SOON);
    wait_until("right to be allowed", SOON, || bench.ask("right", "80")["outcome"] == "done");
    wait_until("right to be on", SOON, || side.pwm("2").is_some_and(|percent| percent > 0.0));
    assert_eq!(bench.sim.pwm("1"), Some(0.0));
}

#[test]
fn a_dimmer_on_its_way_up_keeps_its_partner_off() {
    dimmers("bench");
}

#[test]
fn a_dimmer_on_its_way_up_keeps_a_partner_on_another_bus_off() {
    dimmers("side");
}

#[test]
fn safe_state_of_a_second_process_keeps_the_dead_time() {
    let mut bench = mains(&USUAL, "side");
    bench.gateway.kill9();
    let watch = Watch::over(&[(&bench.sim, "GPIO5"), (&bench.side(), "GPIO6")]);
    let file = bench.folder.path().join("fieldgate.yaml");
    let output = gateway::command(bench.folder.path(), &["safe-state", "--config", file.to_str().unwrap()], SOON);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    wait_until("the mains", SOON, || bench.sim.line("GPIO5") == Some(1));
    let span = watch.end().rests_between(0, 1)[0];
    let rest = span.lasted().unwrap();
    assert!(rest + STEP >= DEAD_TIME && rest < DEAD_TIME + 2 * TOLERANCE + span.slack(), "a rest of {rest:?}");
}
