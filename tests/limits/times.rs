//! How long an output is on and off, and how often it is switched.

use std::time::Instant;

use crate::common::bench::{Bench, Setup, USUAL, state};
use crate::common::pace::{at, slack_between};
use crate::common::watch::{Span, Watch};
use crate::common::{SOON, wait_for};
use crate::{STEP, changed, ms, near, pass, reason, said, switch};

#[test]
fn an_output_is_on_for_max_on_however_often_on_is_repeated() {
    let bench = Bench::beside(&USUAL, &[switch("boiler", "GPIO5", "max_on: 1s")]);
    let watch = Watch::over(&[(&bench.sim, "GPIO5")]);
    assert_eq!(bench.ask("boiler", "on")["value"], "on");
    for payload in ["on", r#"{"value":"on","for":"5s"}"#, "on"] {
        pass(ms(200));
        assert_eq!(bench.ask("boiler", payload)["outcome"], "done");
    }
    bench.sim.wait_line("GPIO5", 0, SOON);
    let spans = watch.end().on(0);
    near("max_on", spans[0], ms(1000));
    let reported = bench.client.wait_json(&state("boiler"), |state| state["cause"] == "max_on", SOON);
    assert_eq!(reported["value"], "off");
    // A machine that needs a second for three commands has let one of them begin anew.
    bench.wait_trips("boiler", spans.len() as u64);
    bench.gateway.wait_said("Output returned to its safe state.", spans.len(), SOON);
    let warnings = said(&bench, "Output returned to its safe state.");
    assert!(warnings.iter().all(|line| line.contains("WARN") && line.contains("max_on")), "{warnings:?}");
    assert_eq!(bench.ask("boiler", "on")["outcome"], "done", "it may go on again");
}

#[test]
fn max_on_is_kept_while_the_link_is_lost() {
    let bench = Bench::beside(&USUAL, &[switch("boiler", "GPIO5", "max_on: 1500ms, safe_after: never")]);
    let watch = Watch::over(&[(&bench.sim, "GPIO5")]);
    bench.ask("boiler", "on");
    bench.broker.freeze();
    bench.sim.wait_line("GPIO5", 0, SOON);
    bench.broker.thaw();
    near("max_on", watch.end().on(0)[0], ms(1500));
}

#[test]
fn off_waits_for_min_on_and_is_answered_when_it_has_been_done() {
    let bench = Bench::beside(&USUAL, &[switch("pump2", "GPIO5", "min_on: 1500ms")]);
    let watch = Watch::over(&[(&bench.sim, "GPIO5")]);
    bench.ask("pump2", "on");
    let answer = bench.ask("pump2", "off");
    assert_eq!((&answer["outcome"], &answer["value"], reason(&answer)), (&"done".into(), &"off".into(), ""));
    assert_eq!(bench.sim.line("GPIO5"), Some(0), "answered when it was done");
    near("min_on", watch.end().on(0)[0], ms(1500));
    let reported = bench.client.wait_json(&state("pump2"), |state| state["cause"] == "limit", SOON);
    assert_eq!(reported["value"], "off");
}

#[test]
fn off_that_waits_for_long_is_answered_at_once_with_the_reason_and_the_value() {
    let bench = Bench::beside(&USUAL, &[switch("pump2", "GPIO5", "min_on: 4s")]);
    let watch = Watch::over(&[(&bench.sim, "GPIO5")]);
    bench.ask("pump2", "on");
    let answer = bench.ask("pump2", "off");
    assert_eq!((&answer["outcome"], &answer["value"]), (&"done".into(), &"on".into()), "{answer}");
    assert!(reason(&answer).starts_with("limit: min_on keeps it on for another "), "{answer}");
    bench.client.wait_json(&state("pump2"), |state| state["cause"] == "limit", SOON);
    near("min_on", watch.end().on(0)[0], ms(4000));
    assert_eq!(bench.health()["actuators"]["pump2"]["trips"], 0, "it was asked for");
}

#[test]
fn a_trip_does_not_wait_for_min_on() {
    let setup = Setup { safe_after: "1s", ..USUAL };
    let bench = Bench::beside(&setup, &[switch("pump2", "GPIO5", "min_on: 8s, safe_after: 1s")]);
    let watch = Watch::over(&[(&bench.sim, "GPIO5")]);
    bench.ask("pump2", "on");
    bench.broker.freeze();
    bench.sim.wait_line("GPIO5", 0, SOON);
    bench.broker.thaw();
    let lasted = watch.end().on(0)[0].lasted().unwrap();
    assert!(lasted < ms(4000), "{lasted:?}");
}

#[test]
fn on_is_refused_until_min_off_has_passed_also_after_the_start() {
    let began = Instant::now();
    let bench = Bench::beside(&USUAL, &[switch("fridge", "GPIO5", "min_off: 3s")]);
    let watch = Watch::over(&[(&bench.sim, "GPIO5")]);
    let first = bench.ask("fridge", "on");
    if first["outcome"] == "done" {
        assert!(began.elapsed() > ms(3000), "only a machine that starts it so slowly lets that pass: {first}");
        bench.ask("fridge", "off");
    } else {
        assert!(
            reason(&first).starts_with("limit: off for ") && reason(&first).contains(", and min_off is 3s; in "),
            "{first}"
        );
        assert_eq!((&first["outcome"], &first["value"]), (&"rejected".into(), &serde_json::Value::Null));
    }
    let goes_on = || {
        pass(ms(50));
        (bench.ask("fridge", "on")["outcome"] == "done").then_some(())
    };
    wait_for("the end of min_off after the start", SOON, goes_on);
    bench.ask("fridge", "off");
    wait_for("the end of min_off", SOON, goes_on);
    let span = watch.end().off(0)[0];
    let (off, late) = (span.lasted().unwrap(), slack_between(at(span.from), at(span.to.unwrap())));
    assert!(
        off + STEP >= ms(3000) && off < ms(3000) + ms(500) + late,
        "off for {off:?}, of which {late:?} may be the machine's"
    );
}

#[test]
fn commands_switch_no_more_often_than_they_may_within_an_hour() {
    let bench = Bench::beside(&USUAL, &[switch("fridge", "GPIO5", "switches_per_hour: 3")]);
    for _ in 0..3 {
        assert_eq!(bench.ask("fridge", "on")["outcome"], "done");
        assert_eq!(bench.ask("fridge", "on")["outcome"], "done", "a repeat is no switching");
        assert_eq!(bench.ask("fridge", "off")["outcome"], "done");
    }
    let before = changed(&bench);
    let answer = bench.ask("fridge", "on");
    assert!(reason(&answer).starts_with("limit: it was switched 3 times within the last hour; in "), "{answer}");
    assert_eq!(bench.ask("fridge", "off")["outcome"], "done", "what is safe is never refused");
    assert_eq!(changed(&bench), before);
}

#[test]
fn a_lease_is_renewed_by_each_command_and_never_shorter_than_min_on() {
    let bench = Bench::beside(&USUAL, &[switch("pump2", "GPIO5", "min_on: 600ms")]);
    let watch = Watch::over(&[(&bench.sim, "GPIO5")]);
    let short = bench.ask("pump2", r#"{"value":"on","for":"500ms"}"#);
    assert_eq!(reason(&short), "limit: `for` would end before min_on, 600ms, has passed");
    // Long enough for a second command in time on a slow machine.
    bench.ask("pump2", r#"{"value":"on","for":"2s"}"#);
    pass(ms(400));
    let answer = bench.ask("pump2", r#"{"value":"on","for":"2s"}"#);
    let renewed = humantime::parse_rfc3339(answer["time"].as_str().unwrap()).unwrap();
    bench.sim.wait_line("GPIO5", 0, SOON);
    let span = watch.end().on(0)[0];
    near("the renewed lease", Span { from: renewed, ..span }, ms(2000));
    assert!(span.lasted().unwrap() > ms(2350), "{span:?}");
    let reported = bench.client.wait_json(&state("pump2"), |state| state["cause"] == "for", SOON);
    assert_eq!(reported["value"], "off");
    assert_eq!(bench.health()["actuators"]["pump2"]["trips"], 0, "it was asked for");
}
