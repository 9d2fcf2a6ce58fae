mod missed;
mod model;
mod moves;
mod own;

use serde_json::{Value as Json, json};

use super::*;
use crate::config::{Config, load_text};

const HEAD: &str = "gateway: { name: shed }\nmqtt: { broker: mqtt://localhost }\n";

fn config(rest: &str) -> Config {
    match load_text(&format!("{HEAD}{rest}"), std::path::Path::new("f.yaml")) {
        Ok(loaded) => loaded.config,
        Err(error) => panic!("{error}"),
    }
}

/// The payloads of these devices.
fn payloads(config: &Config) -> Vec<Json> {
    let payload = |device: &Device| serde_json::from_slice(&device.payload()).unwrap();
    config.shown_devices().iter().map(payload).collect()
}

fn parsed(messages: &[(String, Vec<u8>)]) -> Vec<(&str, Json)> {
    let json = |payload: &[u8]| serde_json::from_slice(payload).unwrap_or(Json::Null);
    messages.iter().map(|(topic, payload)| (topic.as_str(), json(payload))).collect()
}

const DOOR: &str = "
buses: { bench: { type: sim } }
home_assistant:
sensors:
  door: { driver: gpio-input, bus: bench, settings: { line: GPIO17 } }
";

#[test]
fn without_its_key_nothing_is_announced() {
    let config = config("sensors: { board: { driver: board, every: 1s } }\n");
    assert!(config.home_assistant.is_none() && config.shown_devices().is_empty());
}

#[test]
fn the_key_alone_announces_everything() {
    let config = config(DOOR);
    let devices = config.shown_devices();
    assert_eq!(devices.len(), 1);
    assert_eq!(devices[0].topic, "homeassistant/device/fieldgate_shed/config");
    let of_door: Vec<_> = devices[0].entities.iter().filter(|entity| entity.unique_id.contains(".door.")).collect();
    let said = |entity: &Entity| (entity.entity_id.clone(), entity.unique_id.clone(), entity.name.clone());
    let expected = [
        ("binary_sensor.shed_door_active", "fieldgate.shed.door.active", "Door"),
        ("binary_sensor.shed_door_problem", "fieldgate.shed.door.problem", "Door problem"),
    ];
    let expected = expected.map(|(id, unique, name)| (id.to_owned(), unique.to_owned(), name.to_owned()));
    assert_eq!(of_door.into_iter().map(said).collect::<Vec<_>>(), expected);
}

#[test]
fn a_value_expires_after_three_of_the_longest_waits_for_it() {
    fn check(more: &str, expected: Json) {
        let text = format!("home_assistant:\nsensors: {{ tide: {{ driver: waveform, {more} }} }}\n");
        let payload = payloads(&config(&text)).remove(0);
        assert_eq!(payload["components"]["sensor.shed_tide_value"]["expire_after"], expected, "{more}");
    }
    check("every: 20s", json!(60));
    check("every: 500ms", json!(10));
    check("every: 5500ms", json!(17));
    check("every: 20s, retain: true", Json::Null);
    check("every: 1s, report: { delta: { value: 1 }, max_interval: 5m }", json!(900));
    check("every: 1s, report: { delta: { value: 1 } }", Json::Null);
    check("every: 1s, report: { min_interval: 30s }", json!(90));
}

#[test]
fn an_entity_is_never_named_as_its_device() {
    let text = "buses: { bench: { type: sim } }\nhome_assistant: { name: Pump }\nactuators:\n  pump: { driver: gpio-output, bus: bench, settings: { line: GPIO27 }, safe_state: \"off\" }\n";
    let payload = payloads(&config(text)).remove(0);
    let pump = payload["components"]["switch.shed_pump"].as_object().unwrap();
    assert_eq!(
        pump.get("name"),
        Some(&Json::Null),
        "null is the device's name; without the key it would be called MQTT"
    );
}

#[test]
fn what_a_formula_adds_up_is_energy_and_what_it_computes_is_power() {
    let text = "
home_assistant:
buses: { bench: { type: sim } }
sensors:
  meter: { driver: ina219, bus: bench, every: 1s }
  sums:
    driver: formula
    settings:
      energy: { integrate: meter.power, unit: kWh }
      half: { formula: meter.power / 2 }
    home_assistant: { name: House }
";
    let payload = payloads(&config(text)).remove(0);
    let of = |id: &str| {
        let component = &payload["components"][id];
        (component["device_class"].clone(), component["state_class"].clone(), component["name"].clone())
    };
    assert_eq!(of("sensor.shed_sums_energy"), (json!("energy"), json!("total_increasing"), json!("House energy")));
    assert_eq!(of("sensor.shed_sums_half"), (json!("power"), json!("measurement"), json!("House half")));
}

#[test]
fn what_names_one_device_is_together_there() {
    let text = "
home_assistant: { name: Garden shed, area: Garden }
sensors:
  a: { driver: waveform, every: 1s, home_assistant: { device: Gewächshaus, area: Süden, name: Sonne, value: { name: Sun } } }
  b: { driver: waveform, every: 1s, home_assistant: { device: Gewächshaus, name: Mond } }
  c: { driver: board, every: 1s, home_assistant: { enabled: false } }
  d: { driver: board, every: 1s, home_assistant: { load: { enabled: false } } }
";
    let all = payloads(&config(text));
    assert_eq!(all.len(), 2);
    let named = &all[1];
    assert_eq!(
        named["device"],
        json!({ "identifiers": ["fieldgate_shed_gewe4chshaus"], "name": "Gewächshaus", "suggested_area": "Süden", "via_device": "fieldgate_shed" })
    );
    let names: Vec<_> = named["components"].as_object().unwrap().values().map(|one| one["name"].clone()).collect();
    assert_eq!(names, ["Sonne problem", "Mond problem", "Sun", "Mond value"]);
    let own: Vec<_> = all[0]["components"].as_object().unwrap().keys().collect();
    assert!(own.iter().all(|key| !key.contains("_c_") && !key.contains("load")), "{own:?}");
    assert!(own.iter().any(|key| key.contains("_d_uptime")), "{own:?}");
}

#[test]
fn whatever_is_renamed_for_people_keeps_its_ids() {
    let named = |names: [&str; 4]| {
        let [gateway, sensor, measurement, output] = names;
        let text = format!(
            "buses: {{ bench: {{ type: sim }} }}
home_assistant: {{ name: {gateway} }}
sensors:
  tide: {{ driver: waveform, every: 1s, home_assistant: {{ name: {sensor}, value: {{ name: {measurement} }} }} }}
actuators:
  blind:
    driver: gpio-cover
    bus: bench
    settings: {{ open_line: GPIO9, close_line: GPIO10, opening: 2s, closing: 2s }}
    safe_state: stop
    home_assistant: {{ name: {output} }}
"
        );
        config(&text).shown_devices().remove(0)
    };
    let ids = |device: &Device| {
        let ids = |entity: &Entity| (entity.unique_id.clone(), entity.entity_id.clone());
        (device.id.clone(), device.topic.clone(), device.entities.iter().map(ids).collect::<Vec<_>>())
    };
    let (before, after) = (named(["Shed", "Sea", "Level", "Blind"]), named(["Hut", "Lake", "Height", "Shutter"]));
    assert_eq!(ids(&before), ids(&after));
    let changed = before.entities.iter().zip(&after.entities).filter(|(before, after)| before.name != after.name);
    let changed: Vec<_> = changed.map(|(_, after)| after.name.as_str()).collect();
    assert_eq!(changed, ["Height", "Lake problem", "Shutter", "Shutter refused", "Shutter calibrate"]);
}

#[test]
fn what_goes_is_taken_away_and_stays_so_in_later_payloads() {
    let (before, after) = (config(DOOR).shown_devices(), config("home_assistant:\n").shown_devices());
    let mut announced = Announced::default();
    announced.update(&before);
    for _ in 0..2 {
        let messages = announced.update(&after).messages;
        let removed = &parsed(&messages)[0].1["components"]["binary_sensor.shed_door_active"];
        assert_eq!(*removed, json!({ "platform": "binary_sensor" }));
    }
    let again = announced.update(&before).messages;
    assert!(parsed(&again)[0].1["components"]["binary_sensor.shed_door_active"]["unique_id"].is_string());
    assert_eq!(announced.update(&[]).messages, []);
    let empty = [("homeassistant/device/fieldgate_shed/config".to_owned(), Vec::new())];
    assert!(announced.is_to_clear());
    assert_eq!(announced.clear(true), empty);
    assert_eq!((announced.is_to_clear(), announced.clear(true)), (false, Vec::new()));
}

#[test]
fn another_name_or_area_of_a_device_is_news() {
    let at = |head: &str| {
        config(&DOOR.replace("home_assistant:\n", &format!("home_assistant: {{ {head} }}\n"))).shown_devices()
    };
    let mut announced = Announced::default();
    assert!(announced.update(&at("name: Shed")).is_new);
    assert!(!announced.update(&at("name: Shed")).is_new);
    assert!(announced.update(&at("name: Hut")).is_new);
    assert!(announced.update(&at("name: Hut, area: Garden")).is_new);
    let mut next_run = Announced::default();
    next_run.recall(&announced.stored());
    assert!(!next_run.update(&at("name: Hut, area: Garden")).is_new);
}

#[test]
fn another_kind_of_the_same_output_is_another_component() {
    let output = |kind| {
        let text = format!(
            "buses: {{ bench: {{ type: sim }} }}\nhome_assistant:\nactuators:\n  lamp: {{ driver: gpio-output, bus: bench, settings: {{ line: GPIO27 }}, safe_state: \"off\", home_assistant: {{ as: {kind} }} }}\n"
        );
        config(&text).shown_devices()
    };
    let mut announced = Announced::default();
    announced.update(&output("switch"));
    let messages = announced.update(&output("light")).messages;
    let components = &parsed(&messages)[0].1["components"];
    assert_eq!(components["switch.shed_lamp"], json!({ "platform": "switch" }));
    assert_eq!(components["light.shed_lamp"]["unique_id"], "fieldgate.shed.lamp");
}

#[test]
fn what_moves_is_taken_away_before_it_comes_again() {
    let own = DOOR.replace("GPIO17 } }", "GPIO17 }, home_assistant: { device: House } }");
    let (inside, outside) = (config(&own).shown_devices(), config(DOOR).shown_devices());
    let id = "binary_sensor.shed_door_active";
    for (from, to) in [(&inside, &outside), (&outside, &inside)] {
        let mut announced = Announced::default();
        assert!(!announced.update(from).is_half);
        let first = announced.update(to);
        let messages = parsed(&first.messages);
        assert!(first.is_half && messages.iter().all(|(_, payload)| payload["components"][id]["unique_id"].is_null()));
        assert!(announced.update(to).is_half, "nobody may have seen yet that it was taken away");
        announced.clear(true);
        announced.confirm();
        let second = announced.update(to);
        let messages = parsed(&second.messages);
        assert!(
            !second.is_half && messages.iter().any(|(_, payload)| payload["components"][id]["unique_id"].is_string())
        );
    }
}

/// Sensors with three measurements each.
fn many(count: usize) -> Vec<Device> {
    let one = |number| {
        format!(
            "  room-{number}: {{ driver: waveform, every: 1s, report: {{ max_interval: 10s, aggregate: [mean, min, max] }} }}\n"
        )
    };
    let sensors: String = (0..count).map(one).collect();
    config(&format!("home_assistant:\nsensors:\n{sensors}")).shown_devices()
}

#[test]
fn a_large_device_is_divided_and_what_is_added_moves_nothing() {
    let (before, after) = (many(200), many(201));
    assert!(before.len() > 1 && before.iter().all(|part| part.payload().len() <= 64 * 1024));
    assert_eq!(before.iter().map(|part| part.entities.len()).sum::<usize>(), 200 * (3 + 1) + 5);
    assert!(before.iter().all(|part| part.id == "fieldgate_shed"));
    assert_eq!(before[0].topic, "homeassistant/device/fieldgate_shed/config");
    assert_eq!(before[1].topic, "homeassistant/device/fieldgate_shed/2/config");
    let mut announced = Announced::default();
    announced.update(&before);
    assert!(!announced.update(&after).is_half);
    announced.update(&many(3));
    assert!(announced.clear(true).iter().filter(|(_, payload)| payload.is_empty()).count() > 0);
    let largest = announced.full().iter().map(|(_, payload)| payload.len()).max();
    assert!(largest <= Some(129 * 1024), "{largest:?}");
}

#[test]
fn removals_are_bounded() {
    let mut announced = Announced::default();
    let mut device = config("home_assistant:\n").shown_devices().remove(0);
    let template = device.entities[0].clone();
    for number in 0..700 {
        device.entities = vec![Entity { entity_id: format!("sensor.x_{number:04}"), ..template.clone() }];
        announced.update(std::slice::from_ref(&device));
    }
    let full = announced.full();
    let components = parsed(&full)[0].1["components"].as_object().unwrap().len();
    assert!((100..700).contains(&components) && full[0].1.len() <= 129 * 1024, "{components}");
    for number in 0..150 {
        device.topic = format!("homeassistant/device/{number}/config");
        announced.update(std::slice::from_ref(&device));
    }
    assert!(announced.topics().count() < 140);
}

#[test]
fn what_an_earlier_run_announced_and_nobody_can_read_takes_nothing_away() {
    let devices = config(DOOR).shown_devices();
    let mut before = Announced::default();
    before.update(&devices);
    for body in [&b""[..], b"{}", b"[1]", br#"{"device":1,"there":{"a":2},"gone":[["b",3]]}"#] {
        let mut announced = Announced::default();
        announced.recall(
            &[("homeassistant/device/x/config".to_owned(), body.to_vec())].into_iter().collect::<BTreeMap<_, _>>(),
        );
        let messages = announced.update(&devices).messages;
        assert!(messages.iter().any(|(topic, payload)| *topic == devices[0].topic && !payload.is_empty()));
    }
    let mut late = Announced::default();
    late.update(&config("home_assistant:\n").shown_devices());
    late.recall(&before.stored());
    let messages = late.messages();
    assert_eq!(
        parsed(&messages)[0].1["components"]["binary_sensor.shed_door_active"],
        json!({ "platform": "binary_sensor" })
    );
}

#[test]
fn slugs_are_made_of_any_letters() {
    assert_eq!(slug("Garden shed"), "garden_shed");
    assert_eq!(slug("--A__b-"), "a_b");
    assert_eq!(slug("温室"), "6e295ba4");
    assert_eq!(slug("--"), "x");
}
