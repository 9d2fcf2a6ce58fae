//! Rules on recorded readings, in virtual time: the examples of docs/rules.md, what limits and interlocks do to rules, and the days on
//! which the clock is set.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;

use fieldgate::cli::rules::replay;
use fieldgate::config;
use fieldgate_clock::Zone;

const DEVICES: &str = "mqtt: { broker: mqtt://localhost }
buses:
  header: { type: gpio, chip: /dev/gpiochip0 }
  i2c-1: { type: i2c, device: /dev/i2c-1 }
sensors:
  room: { driver: sht3x, bus: i2c-1, every: 10m }
  button: { driver: gpio-input, bus: header, settings: { line: GPIO5, clicks: { long_after: 800ms } } }
";

/// What rules do with readings of the room, each a time of 28 November 2026 and a temperature, or a click.
#[track_caller]
fn check(rest: &str, readings: &[(&str, &str)], expected: &[&str]) {
    let line = |(time, what): &(&str, &str)| {
        let (sensor, value) = match what.parse::<f64>() {
            Ok(degrees) => ("room", format!("\"temperature\":{degrees}")),
            Err(_) => ("button", format!("\"click\":\"{what}\"")),
        };
        format!("{{\"time\":\"2026-11-28T{time}Z\",\"sensor\":\"{sensor}\",{value}}}\n")
    };
    let text: String = readings.iter().map(line).collect();
    check_lines(rest, &text, "UTC0", "2026-11-28T", expected);
}

#[track_caller]
fn check_lines(rest: &str, text: &str, zone: &str, day: &str, expected: &[&str]) {
    let loaded = config::load_text(&format!("{DEVICES}{rest}"), Path::new("fieldgate.yaml"));
    let config = loaded.unwrap_or_else(|error| panic!("{error}")).config;
    let said = replay(&config, text, &Zone::posix(zone).unwrap()).unwrap();
    let said: Vec<_> =
        said.lines().map(|line| line.strip_prefix(day).unwrap_or(line).replacen(".000Z", "", 1)).collect();
    assert_eq!(said, expected);
}

const HEATING: &str =
    "rules: { heating: { when: room.temperature < 19, until: room.temperature > 21, set: { heater: on } } }\n";

fn heater(limits: &str) -> String {
    format!(
        "actuators:\n  heater: {{ driver: gpio-output, bus: header, safe_state: \"off\", settings: {{ line: GPIO17 }}{limits} }}\n{HEATING}"
    )
}

#[test]
fn minimum_times_keep_a_rule_waiting_and_it_acts_when_it_may() {
    check(
        &heater(", min_on: 2m, min_off: 1m"),
        &[("10:00:00", "18"), ("10:00:30", "22"), ("10:02:10", "18"), ("10:10:00", "22")],
        &[
            "10:00:00 heating: set heater to on",
            "10:00:00 heating is active: its condition holds",
            "10:00:30 heating is inactive: its condition does not hold",
            "10:02:00 heating: make heater safe",
            "10:02:10 heating is blocked: heater: limit: off for 10s, and min_off is 1m; in 50s",
            "10:03:00 heating: set heater to on",
            "10:03:00 heating is active: its condition holds",
            "10:10:00 heating: make heater safe",
            "10:10:00 heating is inactive: its condition does not hold",
        ],
    );
}

#[test]
fn max_on_takes_an_output_from_a_rule_until_its_condition_changes() {
    check(
        &heater(", max_on: 5m"),
        &[("10:00:00", "18"), ("10:10:00", "18"), ("10:20:00", "22"), ("10:30:00", "18")],
        &[
            "10:00:00 heating: set heater to on",
            "10:00:00 heating is active: its condition holds",
            "10:05:00 heater goes back to its safe state: max_on",
            "10:05:00 heating is blocked: heater: made safe by max_on, until the condition changes",
            "10:20:00 heating: make heater safe",
            "10:20:00 heating is inactive: its condition does not hold",
            "10:30:00 heating: set heater to on",
            "10:30:00 heating is active: its condition holds",
            "10:35:00 heater goes back to its safe state: max_on",
            "10:35:00 heating is blocked: heater: made safe by max_on, until the condition changes",
            "11:00:00 heating: make heater safe",
            "11:00:00 heating is inactive: something that it names is not known",
        ],
    );
}

#[test]
fn switches_per_hour_hold_for_rules() {
    check(
        &heater(", switches_per_hour: 1"),
        &[
            ("10:00:00", "18"),
            ("10:10:00", "22"),
            ("10:20:00", "18"),
            ("10:40:00", "18"),
            ("11:00:00", "18"),
            ("11:10:00", "22"),
        ],
        &[
            "10:00:00 heating: set heater to on",
            "10:00:00 heating is active: its condition holds",
            "10:10:00 heating: make heater safe",
            "10:10:00 heating is inactive: its condition does not hold",
            "10:20:00 heating is blocked: heater: limit: it was switched 1 times within the last hour; in 40m",
            "11:00:00 heating: set heater to on",
            "11:00:00 heating is active: its condition holds",
            "11:10:00 heating: make heater safe",
            "11:10:00 heating is inactive: its condition does not hold",
        ],
    );
}

#[test]
fn interlocks_and_their_rest_hold_for_rules() {
    let blinds = "actuators:
  up: { driver: gpio-output, bus: header, safe_state: \"off\", settings: { line: GPIO17 }, interlock: [down], dead_time: 2s }
  down: { driver: gpio-output, bus: header, safe_state: \"off\", settings: { line: GPIO27 } }
rules:
  rise: { when: room.temperature < 10, set: { up: on } }
  sink: { when: room.temperature < 20 and room.temperature > 5, set: { down: on } }
";
    check(
        blinds,
        &[("10:00:00", "3"), ("10:01:00", "8"), ("10:02:00", "12"), ("10:03:00", "25")],
        &[
            "10:00:00 rise: set up to on",
            "10:00:00 rise is active: its condition holds",
            "10:01:00 sink is blocked: down: interlock: up is on",
            "10:02:00 rise: make up safe",
            "10:02:00 rise is inactive: its condition does not hold",
            "10:02:02 sink: set down to on",
            "10:02:02 sink is active: its condition holds",
            "10:03:00 sink: make down safe",
            "10:03:00 sink is inactive: its condition does not hold",
        ],
    );
}

#[test]
fn what_an_output_does_as_soon_as_it_may_blocks_a_rule_until_then() {
    let valve = "actuators:
  valve: { driver: gpio-output, bus: header, safe_state: \"on\", settings: { line: GPIO17 }, min_off: 5m }
rules:
  shut: { when: room.temperature < 10, set: { valve: off } }
  open: { when: room.temperature < 5, set: { valve: on }, priority: 1 }
";
    check(
        valve,
        &[("10:00:00", "8"), ("10:01:00", "3"), ("10:10:00", "20")],
        &[
            "10:00:00 shut: set valve to off",
            "10:00:00 shut is active: its condition holds",
            "10:01:00 shut is blocked: valve: the rule open has it",
            "10:01:00 open is blocked: valve: limit: min_off keeps it off for another 4m",
            "10:05:00 open: set valve to on",
            "10:05:00 open is active: its condition holds",
            "10:10:00 open: make valve safe",
            "10:10:00 shut is inactive: its condition does not hold",
            "10:10:00 open is inactive: its condition does not hold",
        ],
    );
}

#[test]
fn a_toggle_that_is_refused_is_said_and_what_is_toggled_goes_back_without_a_broker() {
    let lamp = "actuators:
  lamp: { driver: gpio-output, bus: header, safe_state: \"off\", settings: { line: GPIO17 }, safe_after: 1m, min_off: 10s }
rules: { bell: { when: button.click == \"single\", toggle: lamp } }
";
    let click =
        |time: &str| format!("{{\"time\":\"2026-11-28T{time}Z\",\"sensor\":\"button\",\"click\":\"single\"}}\n");
    let health =
        "{\"topic\":\"b/health\",\"payload\":{\"time\":\"2026-11-28T10:02:00Z\",\"link\":{\"state\":\"down\"}}}\n";
    let clicks = |times: &[&str]| times.iter().map(|time| click(time)).collect::<String>();
    let text = clicks(&["10:00:00", "10:00:20", "10:00:25", "10:01:00"]) + health + &click("10:05:00");
    check_lines(
        lamp,
        &text,
        "UTC0",
        "2026-11-28T",
        &[
            "10:00:00 bell: toggle lamp",
            "10:00:20 bell: toggle lamp",
            "10:00:25 bell: toggle lamp is refused: limit: off for 5s, and min_off is 10s; in 5s",
            "10:01:00 bell: toggle lamp",
            "10:03:00 lamp goes back to its safe state: safe_after",
            "10:05:00 bell: toggle lamp",
            "10:05:00 lamp goes back to its safe state: safe_after",
        ],
    );
}

/// Readings of a whole night in Berlin, at midnight and at 04:00 there.
#[track_caller]
fn check_night(day: &str, midnight: &str, four: &str, expected: &[&str]) {
    let rules =
        "actuators: { lamp: { driver: gpio-output, bus: header, safe_state: \"off\", settings: { line: GPIO17 } } }
rules: { late: { when: time >= \"02:30\", set: { lamp: on } } }
";
    let reading = |time: &str| format!("{{\"time\":\"{time}\",\"sensor\":\"room\",\"temperature\":20}}\n");
    check_lines(rules, &(reading(midnight) + &reading(four)), "CET-1CEST,M3.5.0,M10.5.0/3", day, expected);
}

#[test]
fn on_the_night_without_half_past_two_a_rule_begins_at_three() {
    let expected = ["01:00:00 late: set lamp to on", "01:00:00 late is active: its condition holds"];
    check_night("2026-03-29T", "2026-03-28T23:00:00Z", "2026-03-29T02:00:00Z", &expected);
}

#[test]
fn on_the_night_with_two_half_past_twos_a_rule_begins_at_both() {
    let expected = [
        "00:30:00 late: set lamp to on",
        "00:30:00 late is active: its condition holds",
        "01:00:00 late: make lamp safe",
        "01:00:00 late is inactive: its condition does not hold",
        "01:30:00 late: set lamp to on",
        "01:30:00 late is active: its condition holds",
    ];
    check_night("2026-10-25T", "2026-10-24T22:00:00Z", "2026-10-25T03:00:00Z", &expected);
}

/// What a replay of each example on the page must print stands below it.
#[test]
fn every_example_on_the_page_on_rules_does_what_stands_below_it() {
    const OTHERS: &str = "mqtt: { broker: mqtt://localhost }\nbuses:\n  i2c-1: { type: i2c, device: /dev/i2c-1 }\n  \
                          header: { type: gpio, chip: /dev/gpiochip0 }\n  wire: { type: w1 }\n  pwm-0: { type: pwm, chip: 0 }\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/rules.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let zone = Zone::posix("UTC0").unwrap();
    let (mut rest, mut made, mut found) = (page.as_str(), String::new(), 0);
    let block = |text: &str, fence: &str| {
        let start = text.find(fence).map(|at| at + fence.len())?;
        let end = start + text[start..].find("```")?;
        Some((start, end))
    };
    while let Some((start, end)) = block(rest, "```yaml\n") {
        let loaded = config::load_text(&format!("{OTHERS}{}", &rest[start..end]), &path);
        let config = loaded.unwrap_or_else(|error| panic!("{error}")).config;
        made += &rest[..end];
        rest = &rest[end..];
        // The first one only shows what a rule looks like.
        let Some((start, end)) = block(rest, "```jsonl\n").filter(|(start, _)| !rest[..*start].contains("```yaml"))
        else {
            continue;
        };
        let said = replay(&config, &rest[start..end], &zone).unwrap();
        let (expected, behind) = block(rest, "```text\n").unwrap();
        made += &rest[..expected];
        made += &said;
        rest = &rest[behind..];
        found += 1;
    }
    made += rest;
    if std::env::var_os("FIELDGATE_ACCEPT").is_some() {
        std::fs::write(&path, &made).unwrap();
    } else {
        assert_eq!(page, made, "FIELDGATE_ACCEPT=1 cargo test --test command_line replay:: writes it");
    }
    assert_eq!(found, 6);
}
