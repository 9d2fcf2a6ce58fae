//! What a Home Assistant that has just started is sent again.

use std::time::{Duration, SystemTime};

use serde_json::{Value as Json, json};

use super::config;
use crate::home_assistant::missed;
use crate::views::Views;
use fieldgate_model::{ClockStatus, Measurement, Moment, Name, Reading, RunId, SensorStatus, Value};

const TEXT: &str = "
buses: { bench: { type: sim } }
home_assistant:
sensors:
  tide: { driver: waveform, every: 10s }
  slow: { driver: waveform, every: 10s, report: { delta: { value: 1 } } }
  kept: { driver: waveform, every: 10s, retain: true }
  own: { driver: waveform, every: 10s, home_assistant: { enabled: false } }
  door: { driver: gpio-input, bus: bench, settings: { line: GPIO17, clicks: {} } }
";

fn at(seconds: u64) -> Moment {
    let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds);
    Moment { boot: Duration::from_secs(seconds), wall, clock: ClockStatus::Synchronised }
}

fn reading(sensor: &str, measurements: &[(&'static str, Value)]) -> Reading {
    let all = measurements.iter().map(|(name, value)| Measurement { name: (*name).into(), value: *value });
    Reading {
        sensor: Name::new(sensor).unwrap(),
        run: RunId(7),
        seq: 42,
        taken_at: at(100),
        measurements: all.collect(),
        samples: Some(3),
    }
}

/// What is sent again at this second of a sensor with this status; its sensor alone has said something.
fn sent(reading: &Reading, status: Option<SensorStatus>, second: u64) -> Vec<(String, Json)> {
    sent_at_broker(reading, status, second, true)
}

/// What is sent again at a broker that keeps what is retained, or does not.
fn sent_at_broker(reading: &Reading, status: Option<SensorStatus>, second: u64, is_kept: bool) -> Vec<(String, Json)> {
    let (config, views) = (config(TEXT), Views::default());
    views.reading(reading);
    if let Some(status) = status {
        views.status(&reading.sensor, status, std::time::SystemTime::UNIX_EPOCH, None);
    }
    let shown = config.home_assistant.as_ref().unwrap();
    let all = missed(shown, &config.topics, &config.sensors, &views.current(), &at(second), is_kept);
    all.into_iter().map(|(topic, payload)| (topic, serde_json::from_slice(&payload).unwrap())).collect()
}

const VALUE: (&str, Value) = ("value", Value::Number { value: 0.5, decimals: 3 });

#[test]
fn the_newest_reading_is_sent_as_it_was() {
    let all = sent(&reading("tide", &[VALUE]), Some(SensorStatus::Ok), 105);
    let expected =
        json!({ "time": "2027-01-15T08:01:40.000Z", "run": "00000007", "seq": 42, "value": 0.5, "samples": 3 });
    assert_eq!(all, [("fieldgate/shed/sensors/tide".to_owned(), expected)]);
}

#[test]
fn what_is_not_good_any_more_is_not_sent() {
    let tide = reading("tide", &[VALUE]);
    assert_eq!(sent(&tide, Some(SensorStatus::Degraded), 129).len(), 1);
    assert_eq!(sent(&tide, Some(SensorStatus::Ok), 130).len(), 0, "three periods old");
    assert_eq!(sent(&tide, Some(SensorStatus::Down), 105).len(), 0);
    assert_eq!(sent(&tide, None, 105).len(), 0, "its status is not known");
}

#[test]
fn what_says_something_only_when_it_changes_is_sent_however_old() {
    assert_eq!(sent(&reading("slow", &[VALUE]), Some(SensorStatus::Ok), 100_000).len(), 1);
}

#[test]
fn what_would_be_retained_is_sent_where_the_broker_keeps_nothing() {
    let kept = |second| sent_at_broker(&reading("kept", &[VALUE]), Some(SensorStatus::Ok), second, false).len();
    assert_eq!((kept(105), kept(100_000)), (1, 1), "it does not expire either");
    assert_eq!(sent_at_broker(&reading("own", &[VALUE]), Some(SensorStatus::Ok), 105, false), []);
}

#[test]
fn what_is_retained_or_not_shown_is_not_sent() {
    for name in ["kept", "own"] {
        assert_eq!(sent(&reading(name, &[VALUE]), Some(SensorStatus::Ok), 105), [], "{name}");
    }
}

#[test]
fn a_contact_is_sent_and_its_click_is_not() {
    let (active, click) = (("active", Value::Flag(true)), ("click", Value::Word("single")));
    let all = sent(&reading("door", &[active, click]), Some(SensorStatus::Ok), 105);
    assert_eq!((all.len(), &all[0].1["active"], &all[0].1["click"]), (1, &json!(true), &Json::Null));
    assert_eq!(sent(&reading("door", &[click]), Some(SensorStatus::Ok), 105), []);
}
