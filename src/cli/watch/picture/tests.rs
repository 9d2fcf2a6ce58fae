use super::*;
use proptest::prelude::*;

const DEVICES_OF_SHED: &str = r#"{"sensors":{"soil":{"driver":"ads1115","measurements":{"voltage_0":{"unit":"V"}}},
"air":{"driver":"bme280","measurements":{"temperature":{"unit":"°C"},"humidity":{"unit":"%"}}}},"actuators":{"pump":{"driver":"gpio-output"}}}"#;

fn now(seconds: u64) -> Now {
    let since = Duration::from_secs(seconds);
    Now { since, wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_341_600) + since }
}

fn picture() -> Picture {
    let mut picture = Picture::new(Topics::new("f/shed"));
    assert_eq!(picture.take("f/shed/devices", DEVICES_OF_SHED.as_bytes(), true, now(0)), None);
    picture
}

fn reading(run: &str, seq: u64, temperature: f64) -> String {
    format!(
        r#"{{"time":"2026-11-22T10:00:00.000Z","run":"{run}","seq":{seq},"temperature":{temperature},"humidity":44.8}}"#
    )
}

fn latest(picture: &Picture, name: &str) -> Option<String> {
    let lines = picture.sensor_lines(now(0));
    lines.into_iter().find(|line| line.name == name).and_then(|line| line.latest)
}

#[test]
fn devices_bring_order_and_units_and_take_away_what_is_gone() {
    let mut picture = picture();
    let names = |picture: &Picture| picture.sensor_lines(now(0)).into_iter().map(|line| line.name).collect::<Vec<_>>();
    assert_eq!(names(&picture), ["soil", "air"]);
    let line = picture.take("f/shed/sensors/air", reading("a", 1, 21.5).as_bytes(), false, now(1));
    assert_eq!(line.as_deref(), Some("2026-11-22T10:00:00.000Z  air  21.5 °C   44.8 %"));
    picture.take("f/shed/sensors/new", br#"{"time":"2026-11-22T10:00:00.000Z","contact":true}"#, false, now(1));
    assert_eq!(
        (names(&picture).as_slice(), latest(&picture, "new")),
        (["soil", "air", "new"].map(str::to_owned).as_slice(), Some("contact true".into()))
    );
    picture.take("f/shed/devices", br#"{"sensors":{"air":{"driver":"bme280"}},"actuators":{}}"#, true, now(2));
    assert_eq!(names(&picture), ["air"]);
    assert!(picture.output_lines(now(0)).is_empty());
    assert!(latest(&picture, "air").is_some(), "its values stay");
}

#[test]
fn what_is_late_or_repeated_does_not_replace_newer_values() {
    let mut picture = picture();
    let mut take = |topic: &str, payload: String| {
        let line = picture.take(&format!("f/shed/{topic}"), payload.as_bytes(), false, now(1));
        (line.is_some_and(|line| line.ends_with(" (late)")), latest(&picture, "air").unwrap())
    };
    assert_eq!(take("late/air", reading("a", 7, 1.0)), (true, "1 °C   44.8 % (late)".into()));
    assert_eq!(take("late/air", reading("a", 8, 2.0)), (true, "2 °C   44.8 % (late)".into()));
    assert_eq!(take("sensors/air", reading("b", 5, 3.0)), (false, "3 °C   44.8 %".into()));
    assert_eq!(take("late/air", reading("a", 9, 4.0)), (true, "3 °C   44.8 %".into()));
    assert_eq!(take("late/air", reading("b", 2, 5.0)), (true, "3 °C   44.8 %".into()));
    assert_eq!(take("sensors/air", reading("b", 5, 6.0)), (false, "3 °C   44.8 %".into()), "a repeat");
    assert_eq!(take("sensors/air", reading("c", 1, 7.0)), (false, "7 °C   44.8 %".into()), "a new run");
    assert_eq!(picture.late, 4);
}

#[test]
fn an_age_is_that_of_the_arrival_or_by_the_clock_of_what_was_retained() {
    let mut picture = picture();
    let age = |picture: &Picture, at| picture.sensor_lines(now(at))[1].age;
    picture.take("f/shed/sensors/air", reading("a", 1, 1.0).as_bytes(), true, now(20));
    assert_eq!(age(&picture, 30), Some(Duration::from_secs(30)));
    picture.take("f/shed/sensors/air", reading("a", 2, 1.0).as_bytes(), false, now(40));
    assert_eq!(age(&picture, 45), Some(Duration::from_secs(5)));
    let undated = reading("b", 1, 1.0).replace("}", r#","clock":"unsynchronised"}"#);
    picture.take("f/shed/sensors/air", undated.as_bytes(), true, now(50));
    assert_eq!(age(&picture, 60), None);
}

#[test]
fn states_statuses_health_and_losses_are_reported_once() {
    let mut picture = picture();
    let mut take = |topic: &str, payload: &str| {
        let line = picture.take(&format!("f/shed/{topic}"), payload.as_bytes(), false, now(1))?;
        Some(line.strip_prefix("2026-11-22T10:00:01.000Z  ").unwrap_or(&line).to_owned())
    };
    assert_eq!(take("status", "online").as_deref(), Some("gateway  online"));
    assert_eq!(
        take("status", "offline").as_deref(),
        Some("gateway  offline: it has stopped, or the broker has lost it")
    );
    let down = r#"{"status":"down","since":"2026-11-22T10:00:00.000Z","error":"no answer"}"#;
    assert_eq!(take("sensors/air/status", down).as_deref(), Some("air  down: no answer"));
    assert_eq!(take("sensors/air/status", down), None);
    let on = r#"{"value":"on","time":"2026-11-22T10:00:00.000Z","cause":"command"}"#;
    assert_eq!(take("actuators/pump/state", on).as_deref(), Some("2026-11-22T10:00:00.000Z  pump  on  command"));
    let health =
        |alarm: &str| format!(r#"{{"uptime":60,"link":{{"alarm":{alarm}}},"spool":{{"queued":3,"error":null}}}}"#);
    assert_eq!(take("health", &health("null")), None);
    assert_eq!(take("health", &health("\"two gateways\"")).as_deref(), Some("gateway  alarm: two gateways"));
    assert_eq!(take("health", &health("\"two gateways\"")), None);
    assert_eq!(
        take("loss", r#"{"sensor":"air","count":3,"reason":"spool full"}"#).as_deref(),
        Some("air  3 readings are lost: spool full")
    );
    assert_eq!(picture.vitals(now(3)), Some((Duration::from_secs(62), 3)));
    assert_eq!((picture.lost, picture.unreadable, picture.presence), (3, 0, Presence::Offline));
}

#[test]
fn texts_of_others_are_short_and_have_no_control_characters() {
    assert_eq!(clean("21\x1b[2J\n\u{202e}x", 40), "21\u{fffd}[2J\u{fffd}\u{fffd}x");
    assert_eq!(clean(&"x".repeat(41), 40), "x".repeat(40) + "…");
    let many: String = (0..500).map(|n| format!(r#","m{n}":{n}"#)).collect();
    let mut picture = picture();
    let payload = format!(r#"{{"time":"2026-11-22T10:00:00.000Z"{many}}}"#);
    let line = picture.take("f/shed/sensors/air", payload.as_bytes(), false, now(0)).unwrap();
    assert!(line.chars().count() < 300 && line.ends_with('…'), "{line}");
}

#[test]
fn devices_without_end_are_counted_and_not_kept() {
    let mut picture = picture();
    for n in 0..12_000 {
        picture.take(&format!("f/shed/sensors/s{n}"), b"{}", false, now(0));
        picture.take(&format!("f/shed/actuators/a{n}/state"), br#"{"value":"on"}"#, false, now(0));
    }
    assert_eq!((picture.sensors.len(), picture.outputs.len(), picture.beyond.len()), (DEVICES, DEVICES, COUNTED));
    assert!(picture.notes().iter().any(|note| note.contains("10000 or more other names")));
}

/// What anybody may publish: nearly right, or anything.
fn payloads() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        "online",
        "{}",
        "[]",
        "null",
        "{\"value\":",
        DEVICES_OF_SHED,
        "{\"sensors\":{\"air\":7},\"actuators\":[]}",
        "{\"time\":\"2026-11-22T10:00:00.000Z\",\"seq\":-1,\"temperature\":\"\\u001b[2J\"}",
        "{\"status\":\"down\",\"error\":\"\\n\\n\"}",
        "{\"uptime\":18446744073709551615,\"link\":3,\"spool\":{\"queued\":-1}}",
        "{\"count\":18446744073709551615}",
    ]);
    prop_oneof![
        known.prop_map(|text| text.as_bytes().to_vec()),
        any::<Vec<u8>>(),
        "\\PC*".prop_map(String::into_bytes),
        (0..300_usize).prop_map(|deep| vec![b'['; deep * 1000])
    ]
}

proptest! {
    #[test]
    fn no_message_makes_it_panic_or_brings_control_characters(
        messages in prop::collection::vec(("[a-z/\\n\u{1b}+#]{0,20}|sensors/(air|[a-z]{1,3})(/status)?|late/air|status|health|devices|loss|actuators/pump/state", payloads(), any::<bool>()), 0..30),
    ) {
        let mut picture = picture();
        for (topic, payload, is_retained) in messages {
            let line = picture.take(&format!("f/shed/{topic}"), &payload, is_retained, now(5));
            prop_assert!(!line.is_some_and(|line| line.contains(char::is_control)));
        }
        let sensors = picture.sensor_lines(now(9)).into_iter().flat_map(|line| [Some(line.name), Some(line.driver), line.latest, line.status]);
        let outputs = picture.output_lines(now(9)).into_iter().flat_map(|line| [Some(line.name), Some(line.driver), line.state.map(|state| state.cause)]);
        let shown: Vec<_> = sensors.chain(outputs).flatten().chain(picture.notes()).collect();
        prop_assert!(shown.iter().all(|text| !text.contains(char::is_control) && text.len() < 1500), "{:?}", shown);
    }
}
