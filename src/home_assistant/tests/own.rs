//! What the gateway itself knows and does: variables, rules, requests.

use serde_json::{Value as Json, json};

use super::{config, payloads};

const TEXT: &str = "
buses: { bench: { type: sim } }
home_assistant:
requests: { allow: [ping, reload] }
variables:
  target: { min: 5, max: 30, step: 0.5, initial: 19, unit: °C }
  fine: { min: 0, max: 1, initial: 0 }
  mode: { options: [home, \"half \\\"away\\\"\"], initial: home }
actuators: { heater: { driver: gpio-output, bus: bench, settings: { line: GPIO27 }, safe_state: \"off\" } }
rules: { heating: { when: target > 25, set: { heater: on } } }
";

fn components(text: &str) -> serde_json::Map<String, Json> {
    payloads(&config(text)).remove(0)["components"].as_object().unwrap().clone()
}

#[test]
fn variables_are_numbers_and_choices_that_ask_with_an_id_and_show_what_counts() {
    let all = components(TEXT);
    let target = &all["number.shed_target"];
    let limits = ["min", "max", "step", "unit_of_measurement"].map(|key| target[key].clone());
    assert_eq!(limits, [json!(5.0), json!(30.0), json!(0.5), json!("°C")]);
    assert_eq!(target["command_topic"], "fieldgate/shed/variables/target/set");
    assert_eq!(target["state_topic"], "fieldgate/shed/variables/target/state");
    let fine = &all["number.shed_fine"];
    assert_eq!((&fine["step"], &fine["unit_of_measurement"]), (&json!(0.001), &Json::Null), "the finest there is");
    let mode = &all["select.shed_mode"];
    assert_eq!(mode["options"], json!(["home", "half \"away\""]));
    for component in [target, mode] {
        let template = component["command_template"].as_str().unwrap();
        assert!(template.contains("\"id\"") && template.contains("issued_at"), "{template}");
    }
    assert!(mode["command_template"].as_str().unwrap().contains("{{ value | to_json }}"), "an option may have quotes");
    assert_eq!(all["event.shed_target_refused"]["state_topic"], "fieldgate/shed/variables/target/reply");
}

#[test]
fn a_rule_is_a_switch_and_what_it_is_at() {
    let all = components(TEXT);
    let switch = &all["switch.shed_rule_heating"];
    assert_eq!(switch["command_topic"], "fieldgate/shed/rules/heating/set");
    assert_eq!((&switch["state_topic"], &switch["name"]), (&json!("fieldgate/shed/rules"), &json!("Rule heating")));
    let state = &all["sensor.shed_rule_heating_state"];
    assert_eq!(state["options"], json!(["inactive", "waiting", "active", "blocked"]));
    assert!(state["state_class"].is_null(), "words have no statistics");
    let without = state["value_template"].as_str().unwrap();
    assert!(without.ends_with("else 'None' }}"), "an empty word would be refused with a warning: {without}");
    assert_eq!(all["event.shed_rule_heating_refused"]["state_topic"], "fieldgate/shed/rules/heating/reply");
}

#[test]
fn what_is_said_of_variables_and_rules_counts() {
    let text = TEXT.replace(
        "unit: °C }",
        "unit: °C, home_assistant: { name: Set point, device: Boiler, area: Cellar, icon: \"mdi:fire\" } }",
    );
    let text = text.replace("initial: 0 }", "initial: 0, home_assistant: { enabled: false } }");
    let text = text.replace(
        "{ heater: on } }",
        "{ heater: on }, home_assistant: { name: Heating, device: Boiler, icon: \"mdi:radiator\" } }",
    );
    let all = payloads(&config(&text));
    assert_eq!((&all[1]["device"]["name"], &all[1]["device"]["suggested_area"]), (&json!("Boiler"), &json!("Cellar")));
    let of = |id: &str| {
        let component = &all[1]["components"][id];
        (component["unique_id"].clone(), component["name"].clone(), component["icon"].clone())
    };
    let said = |unique: &str, name: &str, icon: Json| (json!(unique), json!(name), icon);
    assert_eq!(of("number.shed_target"), said("fieldgate.shed.target", "Set point", json!("mdi:fire")));
    assert_eq!(of("event.shed_target_refused"), said("fieldgate.shed.target.refused", "Set point refused", Json::Null));
    assert_eq!(of("switch.shed_rule_heating"), said("fieldgate.shed.rule.heating", "Heating", json!("mdi:radiator")));
    assert_eq!(
        of("sensor.shed_rule_heating_state"),
        said("fieldgate.shed.rule.heating.state", "Heating state", Json::Null)
    );
    let here: Vec<_> = all[0]["components"].as_object().unwrap().keys().collect();
    assert!(
        here.iter().all(|key| !key.contains("fine") && !key.contains("target") && !key.contains("heating")),
        "{here:?}"
    );
    assert!(here.iter().any(|key| key.contains("shed_mode")), "{here:?}");
}

#[test]
fn measurements_and_outputs_have_icons_too() {
    let text = "
buses: { bench: { type: sim } }
home_assistant:
sensors: { tide: { driver: waveform, every: 1s, home_assistant: { value: { icon: \"mdi:waves\" } } } }
actuators:
  pump: { driver: gpio-output, bus: bench, settings: { line: GPIO27 }, safe_state: \"off\", home_assistant: { icon: \"mdi:pump\" } }
";
    let all = components(text);
    assert_eq!(
        (&all["sensor.shed_tide_value"]["icon"], &all["switch.shed_pump"]["icon"]),
        (&json!("mdi:waves"), &json!("mdi:pump"))
    );
    assert!(all["event.shed_pump_refused"]["icon"].is_null());
}

#[test]
fn what_may_be_requested_is_a_button() {
    let all = components(TEXT);
    let buttons = |all: &serde_json::Map<String, Json>| {
        all.keys().filter(|key| key.starts_with("button.")).cloned().collect::<Vec<_>>()
    };
    assert_eq!(buttons(&all), ["button.shed_gateway_reload"]);
    assert_eq!(all["button.shed_gateway_reload"]["command_topic"], "fieldgate/shed/request/reload");
    assert_eq!(all["event.shed_gateway_reload_refused"]["state_topic"], "fieldgate/shed/response/reload");
    let both = components(&TEXT.replace("[ping, reload]", "[restart, reload]"));
    assert_eq!(buttons(&both), ["button.shed_gateway_reload", "button.shed_gateway_restart"]);
    assert_eq!(both["button.shed_gateway_restart"]["device_class"], "restart");
    assert_eq!(buttons(&components(&TEXT.replace("requests: { allow: [ping, reload] }", "requests:"))), [""; 0]);
}
