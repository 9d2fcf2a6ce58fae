//! What moves here from other programs, and what Home Assistant cannot have heard yet.

use std::time::Duration;

use serde_json::Value as Json;

use super::{config, parsed};
use crate::home_assistant::{Announcer, Device, Messages};

const TOPIC: &str = "homeassistant/sensor/pi/sea/config";
const OURS: &str = "homeassistant/device/fieldgate_shed/config";
const TIDE: &str = "sensor.shed_tide_value";

/// A sensor whose measurement says this of itself.
fn with(origin: &str) -> Vec<Device> {
    let text = format!(
        "home_assistant:\nsensors:\n  tide: {{ driver: waveform, every: 1s, home_assistant: {{ value: {{ {origin} }} }} }}\n"
    );
    config(&text).shown_devices()
}

fn moved() -> Vec<Device> {
    with(&format!("unique_id: pi_sea, moved_from: {TOPIC}"))
}

/// What each of so many seconds publishes, with a broker that takes everything at once.
fn seconds(announcer: &mut Announcer, from: u64, count: u64, devices: &[Device]) -> Vec<Messages> {
    let step = |second| announcer.step(Duration::from_secs(second), true, |_| true, || devices.to_vec()).messages;
    (from..from + count).map(step).filter(|messages| !messages.is_empty()).collect()
}

fn component<'a>(messages: &'a [(&str, Json)], key: &str) -> &'a Json {
    let ours = messages.iter().find(|(topic, _)| *topic == OURS);
    ours.map_or(&Json::Null, |(_, payload)| &payload["components"][key])
}

#[test]
fn what_moves_is_let_go_then_announced_and_then_cleared_and_never_again() {
    let devices = moved();
    let mut announcer = Announcer::default();
    let first = announcer.announce(&devices);
    assert_eq!(first[0], (TOPIC.to_owned(), br#"{"migrate_discovery":true}"#.to_vec()));
    assert!(component(&parsed(&first), TIDE).is_null(), "Home Assistant still has it from there");
    assert!(component(&parsed(&first), "binary_sensor.shed_tide_problem").is_object(), "nobody had this");
    assert!(announcer.stored().keys().all(|topic| topic != TOPIC), "a kill now must not end the move");
    let then = seconds(&mut announcer, 0, 20, &devices);
    assert_eq!(component(&parsed(&then[0]), TIDE)["unique_id"], "pi_sea");
    assert!(then[0].iter().all(|(topic, _)| topic != TOPIC));
    assert_eq!(then[1], [(TOPIC.to_owned(), Vec::new())]);
    assert_eq!(then.len(), 2);
    let mut next = Announcer::default();
    next.recall(&announcer.stored());
    let again = next.announce(&devices);
    assert_eq!(again.len(), 1, "the move is over");
    assert_eq!(component(&parsed(&again), TIDE)["unique_id"], "pi_sea");
    assert_eq!(seconds(&mut next, 0, 20, &devices), [[]; 0]);
}

#[test]
fn a_move_that_is_taken_up_later_takes_away_what_was_ours() {
    let (before, after) = (with("enabled: true"), moved());
    let mut announcer = Announcer::default();
    announcer.announce(&before);
    let first = announcer.announce(&after);
    assert_eq!(*component(&parsed(&first), TIDE), serde_json::json!({ "platform": "sensor" }));
    let then = seconds(&mut announcer, 0, 20, &after);
    assert_eq!(component(&parsed(&then[0]), TIDE)["unique_id"], "pi_sea");
}

#[test]
fn another_unique_id_is_another_entity() {
    let (one, other) = (with("unique_id: one"), with("unique_id: other"));
    let mut announcer = Announcer::default();
    announcer.announce(&one);
    for _ in 0..2 {
        let first = announcer.announce(&other);
        assert_eq!(
            *component(&parsed(&first), TIDE),
            serde_json::json!({ "platform": "sensor" }),
            "no update changes it"
        );
    }
    let then = seconds(&mut announcer, 0, 20, &other);
    assert_eq!(component(&parsed(&then[0]), TIDE)["unique_id"], "other");
}

#[test]
fn after_something_new_home_assistant_is_sent_the_readings_again_and_after_nothing_new_it_is_not() {
    let readings = |announcer: &mut Announcer, from: u64| {
        let mut when = Vec::new();
        for second in from..from + 30 {
            let is_published = second >= from + 3;
            if announcer.step(Duration::from_secs(second), true, |_| is_published, Vec::new).readings {
                when.push(second - from);
            }
        }
        when
    };
    let devices = with("enabled: true");
    let mut announcer = Announcer::default();
    announcer.announce(&devices);
    assert_eq!(readings(&mut announcer, 0), [8], "five seconds after the broker has it");
    announcer.announce(&devices);
    assert_eq!(readings(&mut announcer, 100), [0; 0]);
    let mut next = Announcer::default();
    next.recall(&announcer.stored());
    next.announce(&devices);
    assert_eq!(readings(&mut next, 200), [0; 0], "a start changes nothing");
    next.announce(&with("name: Sea"));
    assert_eq!(readings(&mut next, 300), [8]);
}
