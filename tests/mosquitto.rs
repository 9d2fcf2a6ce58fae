//! The tests' own tools, tried on a real Mosquitto and without the program.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use crate::common::SOON;
use crate::common::client::{Client, Endpoint, Publisher, publish, publish_v5, publish_with};
use crate::common::mosquitto::{Mosquitto, Options};
use crate::common::sim_file::SimFile;
use serde_json::json;

#[test]
fn a_client_hears_what_another_publishes() {
    let broker = Mosquitto::start();
    let client = Client::subscribe(&broker.endpoint(), &["house/#"]);
    client.publish("house/door", r#"{"active":true,"words":"a \"b\" °C"}"#, false, 1);
    let reading = client.wait_json("house/door", |value| value["active"] == true, SOON);
    assert_eq!(reading["words"], "a \"b\" °C");
    client.publish("house/lamp", "on", true, 2);
    assert_eq!(client.wait_for("house/lamp", |payload| payload == "on", SOON), "on");
    let late = Client::subscribe(&broker.endpoint(), &["house/lamp"]);
    let kept = late.wait_message("house/lamp", |_| true, SOON);
    assert!(kept.retain && !client.all("house/lamp")[0].retain);
    client.forget();
    assert!(client.everything().is_empty());
}

#[test]
fn properties_travel_by_mqtt_5() {
    let broker = Mosquitto::start();
    let client = Client::subscribe(&broker.endpoint().v5(), &["ask"]);
    publish_v5(&broker.endpoint(), "ask", "?", &[("response-topic", "answer/1"), ("correlation-data", "c7")]);
    let message = client.wait_message("ask", |_| true, SOON);
    assert_eq!(message.properties, json!({"response-topic": "answer/1", "correlation-data": "c7"}));
}

#[test]
fn a_killed_broker_comes_back_on_its_port_and_a_stopped_one_remembers() {
    let mut broker = Mosquitto::with(Options { persistence: true, ..Options::default() });
    let mut client = Client::subscribe(&broker.endpoint(), &["kept"]);
    publish(&broker.endpoint(), "kept", "1", true, 1);
    client.wait_for("kept", |payload| payload == "1", SOON);
    broker.stop();
    assert!(publish_with(&broker.endpoint(), "kept", "2", &[]).is_err());
    client.forget_seen();
    broker.start_again();
    client.wait_subscribed(2);
    assert!(client.wait_message("kept", |_| true, SOON).retain);
    broker.kill9();
    broker.start_again();
    client.wait_subscribed(3);
}

#[test]
fn a_frozen_broker_answers_nothing_until_it_thaws() {
    let broker = Mosquitto::start();
    let client = Client::subscribe(&broker.endpoint(), &["t"]);
    broker.freeze();
    let mut publisher = Publisher::start(&broker.endpoint(), "t", "late", &[]);
    assert!(!publisher.is_finished() && client.everything().is_empty());
    broker.thaw();
    publisher.wait(SOON).unwrap();
    client.wait_for("t", |payload| payload == "late", SOON);
}

#[test]
fn a_broker_with_users_refuses_the_others() {
    let user = Some(("pi".to_owned(), "secret".to_owned()));
    let acl = Some("user pi\ntopic readwrite open/#\n".to_owned());
    let broker = Mosquitto::with(Options { user, acl, ..Options::default() });
    let client = Client::subscribe(&broker.endpoint(), &["#"]);
    client.publish("closed/a", "1", false, 1);
    client.publish("open/a", "2", false, 1);
    client.wait_for("open/a", |payload| payload == "2", SOON);
    assert!(client.all("closed/a").is_empty());
    assert!(publish_with(&Endpoint::on(broker.port), "open/a", "3", &[]).unwrap_err().contains("not authorised"));
}

#[test]
fn a_broker_speaks_tls_and_wants_a_certificate_in_return() {
    let options = Options { tls: true, client_certificates: true, websockets: true, ..Options::default() };
    let broker = Mosquitto::with(options);
    let client = Client::subscribe(&broker.endpoint(), &["#"]);
    publish(&broker.tls_endpoint(), "safe", "1", false, 1);
    client.wait_for("safe", |payload| payload == "1", SOON);
    assert!(publish_with(&Endpoint::on(broker.tls_port), "safe", "2", &[]).is_err());
}

#[test]
fn a_broker_never_answers_for_another() {
    let brokers = [Mosquitto::start(), Mosquitto::start()];
    publish(&brokers[0].endpoint(), "t", "0", true, 1);
    publish(&brokers[1].endpoint(), "t", "1", true, 1);
    for (number, broker) in brokers.iter().enumerate() {
        let client = Client::subscribe(&broker.endpoint(), &["t"]);
        client.wait_for("t", |payload| payload == number.to_string(), SOON);
    }
}

#[test]
fn the_state_file_is_changed_entry_by_entry() {
    let folder = tempfile::tempdir().unwrap();
    let file = SimFile::new(folder.path().join("bench.json"));
    file.write(&json!({"lines": {"GPIO27": 1}, "pwm": {"0": 40.0}, "chips": {"0x76": {"humidity": 44.8}}}));
    file.set_input("GPIO17", 0);
    file.set_chip("0x76", "temperature", 30.5);
    file.set_fault("0x76", Some("nak"));
    file.wait_line("GPIO27", 1, SOON);
    file.wait_pwm("0", 40.0, SOON);
    let chip = json!({"humidity": 44.8, "temperature": 30.5, "fault": "nak"});
    assert_eq!((&file.read()["inputs"], &file.read()["chips"]["0x76"]), (&json!({"GPIO17": 0}), &chip));
}
