//! Every command and every trip is one line in the log and one in the counts of health.

use crate::common::bench::{Bench, Setup, USUAL, state};
use crate::common::client::publish;
use crate::common::{SOON, wait_until};
use crate::{said, switch};

/// Whether a line of the log has all of these fields.
fn has(line: &str, fields: &[&str]) -> bool {
    fields.iter().all(|field| line.contains(field))
}

#[test]
fn each_command_is_one_line_with_output_id_outcome_value_and_reason() {
    let bench = Bench::beside(&USUAL, &[switch("boiler", "GPIO5", "min_on: 5s")]);
    bench.ask("pump", r#"{"value":"on","id":"c1"}"#);
    bench.ask("pump", "off");
    bench.ask("fan", r#"{"value":140,"id":"c2"}"#);
    bench.ask("nobody", "on");
    bench.answer_to("pump", || publish(&bench.endpoint(), &crate::common::bench::set("pump"), "on", true, 1));
    bench.ask("boiler", r#"{"value":"on","id":"c3"}"#);
    bench.ask("boiler", r#"{"value":"off","id":"c4"}"#);
    // Without the probes of the start: the log is written beside the answers, so a line may come later than its answer.
    let is_probe = |line: &String| line.contains("actuator=nobody-");
    let lines = || said(&bench, "Command answered.").into_iter().filter(|line| !is_probe(line)).collect::<Vec<_>>();
    let expected: [&[&str]; 7] = [
        &["actuator=pump", "id=\"c1\"", "outcome=\"done\"", "value=\"on\""],
        &["actuator=pump", "outcome=\"done\"", "value=\"off\""],
        &["actuator=fan", "id=\"c2\"", "outcome=\"rejected\"", "error=\"out_of_range: 140 is not within 0–100\""],
        &["actuator=nobody", "outcome=\"rejected\"", "error=\"unknown: "],
        &["actuator=pump", "outcome=\"rejected\"", "error=\"retained: "],
        &["actuator=boiler", "id=\"c3\"", "outcome=\"done\"", "value=\"on\""],
        &["actuator=boiler", "id=\"c4\"", "outcome=\"done\"", "value=\"on\"", "note=\"limit: min_on keeps it on"],
    ];
    wait_until("a line for each", SOON, || lines().len() >= expected.len());
    let lines = lines();
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, fields) in lines.iter().zip(expected) {
        assert!(line.contains("INFO") && has(line, fields), "{line} has not all of {fields:?}");
    }
    // An id that nobody gave and a reason that there is not are left out.
    assert!(!lines[1].contains("id=") && !lines[1].contains("error="), "{}", lines[1]);
    publish(&bench.endpoint(), &crate::common::bench::set("pump"), "", true, 1);
}

#[test]
fn each_trip_is_one_warning_and_counted_in_health() {
    let bench = Bench::beside(
        &Setup { safe_after: "1s", ..USUAL },
        &[switch("boiler", "GPIO5", "max_on: 500ms"), switch("still", "GPIO6", "safe_after: 1s")],
    );
    bench.ask("boiler", "on");
    bench.sim.wait_line("GPIO5", 0, SOON);
    bench.ask("pump", "on");
    bench.ask("heater", r#"{"value":"on","for":"300ms"}"#);
    bench.sim.wait_line("GPIO22", 1, SOON);
    bench.broker.freeze();
    bench.sim.wait_line("GPIO27", 0, SOON);
    bench.broker.thaw();
    bench.client.wait_json(&state("pump"), |state| state["cause"] == "safe_state", SOON);
    let trips = || said(&bench, "Output returned to its safe state.");
    wait_until("the log to have the last", SOON, || trips().iter().any(|line| has(line, &["WARN", "actuator=pump"])));
    let trips = trips();
    let warnings: Vec<_> = trips.iter().filter(|line| line.contains("WARN")).collect();
    assert_eq!(warnings.len(), 2, "{trips:#?}");
    assert!(has(warnings[0], &["actuator=boiler", "value=off", "cause=\"max_on\""]), "{}", warnings[0]);
    assert!(has(warnings[1], &["actuator=pump", "value=off", "cause=\"safe_state\""]), "{}", warnings[1]);
    let health = bench.wait_trips("pump", 1);
    let of = |output: &str| health["actuators"][output]["trips"].as_u64();
    assert_eq!([of("boiler"), of("pump"), of("heater"), of("still")], [Some(1), Some(1), Some(0), Some(0)], "{health}");
}
