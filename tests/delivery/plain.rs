//! Plain topics: the newest values and states as bare text.

use std::collections::BTreeMap;

use super::folder;
use crate::common::client::Client;
use crate::common::mosquitto::Mosquitto;
use crate::common::running::{DEVICES, PUMP, Running};
use crate::common::scripted::{Script, ScriptedBroker};
use crate::common::wire::Publish;
use crate::common::{SOON, free_port, quick, wait_until};

/// Retained topics below `b` that are neither JSON nor of the gateway itself.
fn bare(broker: &Mosquitto) -> BTreeMap<String, String> {
    let client = Client::subscribe(&broker.endpoint(), &["b/#"]);
    client.wait_json("b/health", |_| true, SOON);
    let all = client.everything().into_iter().filter(|message| message.retain && !message.payload.starts_with('{'));
    all.filter(|message| message.topic != "b/status").map(|message| (message.topic, message.payload)).collect()
}

#[test]
fn plain_topics_show_the_newest_values_and_states_as_bare_text() {
    const SLOW: &str = "  slow: { driver: waveform, every: 1h, settings: { shape: counter } }\n";
    let running = Running::untouched(&format!("{DEVICES}{SLOW}{PUMP}"), &[], |_| ());
    running.client.wait_json("b/sensors/slow", |_| true, SOON);
    assert_eq!(bare(&running.broker), BTreeMap::new(), "nobody has asked for them");

    running.reload(&running.config(", plain: true", &format!("{DEVICES}{SLOW}{PUMP}")));
    for (topic, text) in [("b/actuators/pump", "off"), ("b/sensors/slow/value", "1")] {
        running.client.wait_for(topic, |payload| payload == text, SOON);
    }
    running.switch_on();
    running.client.wait_for("b/actuators/pump", |payload| payload == "on", SOON);
    let air = running.client.wait_json("b/sensors/air", |_| true, SOON);
    for quantity in ["temperature", "humidity", "pressure"] {
        let text = air[quantity].to_string();
        running.client.wait_for(&format!("b/sensors/air/{quantity}"), |payload| payload == text, SOON);
    }

    // What a reload takes away leaves the broker: a sensor, and an output.
    let fewer = "buses: { other: { type: sim, state_file: other.json } }
sensors: { air: { driver: bme280, bus: other, every: 100ms, settings: { address: 0x76 } } }\n";
    running.reload(&running.config(", plain: true", fewer));
    let left = ["humidity", "pressure", "temperature"].map(|quantity| format!("b/sensors/air/{quantity}"));
    wait_until("the topics of what has gone to be cleared", SOON, || bare(&running.broker).keys().eq(&left));
    running.reload(&running.config("", fewer));
    wait_until("all to be cleared", SOON, || bare(&running.broker).is_empty());
}

#[test]
fn plain_topics_never_go_back_to_a_late_reading() {
    let (port, folder) = (free_port(), folder());
    let gateway = quick::start(folder.path(), &quick::config(&quick::url(port), ", plain: true", "", quick::FAST));
    // Older than `late_after`, some of them.
    quick::wait_taken(&gateway, 100);
    let broker = ScriptedBroker::start_on(port, vec![Script::good()]);
    let first = quick::taken(&gateway);
    let value = |publish: &Publish| (publish.topic == "b/sensors/n/value").then(|| publish.text().parse().unwrap());
    wait_until("late readings, and newer values", SOON, || {
        let all = broker.publishes();
        all.iter().any(|p| p.topic == "b/late/n") && all.iter().filter_map(value).any(|value: u64| value > first + 50)
    });
    let values: Vec<u64> = broker.publishes().iter().filter_map(value).collect();
    assert!(values[0] + 10 > first && values.is_sorted(), "{first}: {values:?}");
    assert!(broker.publishes().iter().all(|publish| publish.topic != "b/sensors/n/value" || publish.retain));
}
