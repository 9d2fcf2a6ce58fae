//! The scripted broker, tried with a foreign client.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::TcpStream;
use std::process::Command;

use crate::common::client::{Client, Endpoint, Publisher, publish, publish_with};
use crate::common::scripted::{Answer, Greeting, Script, ScriptedBroker};
use crate::common::wire::{self, Packet, Properties, Publish};
use crate::common::{SOON, free_port, ports, wait_until};

fn arguments(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn a_port_is_kept_for_its_broker_and_refuses_clients_until_that_listens() {
    let port = free_port();
    assert_eq!(TcpStream::connect(("127.0.0.1", port)).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    for _ in 0..3 {
        assert!(!ports::is_free(port), "another program could be given it");
        let listener = ports::listen_on(port);
        TcpStream::connect(("127.0.0.1", port)).unwrap();
        drop(listener);
    }
}

#[test]
fn both_protocols_deliver_at_every_qos() {
    let broker = ScriptedBroker::start(vec![Script::good()]);
    for qos in 0..=2 {
        publish(&Endpoint::on(broker.port), "t", "4", qos == 1, qos);
        publish(&Endpoint::on(broker.port).v5(), "t", "5", qos == 1, qos);
    }
    wait_until("six messages", SOON, || broker.publishes().len() == 6);
    let seen: Vec<_> = broker.publishes().iter().map(|p| (p.text(), p.qos, p.retain, p.dup)).collect();
    let expected = |qos: u8| ["4", "5"].map(|text| (text.to_owned(), qos, qos == 1, false));
    assert_eq!(seen, (0..=2).flat_map(expected).collect::<Vec<_>>());
    assert_eq!(broker.connects().iter().map(|connect| connect.level).collect::<Vec<_>>(), [4, 5, 4, 5, 4, 5]);
    assert_eq!(broker.received().iter().filter(|r| matches!(r.packet, Packet::PubRel { .. })).count(), 2);
    assert_eq!(broker.malformed(), Vec::<String>::new());
}

#[test]
fn a_connect_is_recorded_with_its_will_and_its_user() {
    let broker = ScriptedBroker::start(vec![Script::good()]);
    let words = "-i me -k 17 -u pi -P secret --will-topic gone --will-payload bye --will-qos 1 --will-retain -V mqttv5 \
        -D connect session-expiry-interval 9 -D publish response-topic r -D publish user-property k v -q 1";
    publish_with(&Endpoint::on(broker.port), "t", "1", &arguments(words)).unwrap();
    let connect = &broker.connects()[0];
    assert_eq!((connect.client_id.as_str(), connect.keep_alive, connect.clean), ("me", 17, true));
    assert_eq!((connect.user.as_deref(), connect.password.as_deref()), (Some("pi"), Some(&b"secret"[..])));
    assert_eq!(connect.properties.get(Properties::SESSION_EXPIRY), Some(&[0, 0, 0, 9][..]));
    let will = connect.will.as_ref().unwrap();
    assert_eq!((will.topic.as_str(), will.payload.as_slice(), will.qos, will.retain), ("gone", &b"bye"[..], 1, true));
    let properties = &broker.publishes()[0].properties;
    assert_eq!(properties.get(Properties::RESPONSE_TOPIC), Some(&b"r"[..]));
    assert_eq!(properties.get(Properties::USER), Some(&b"k=v"[..]));
}

#[test]
fn every_refusal_reaches_the_client() {
    let refuse = |code| Script::good().greeting(Greeting::Code(code));
    let broker = ScriptedBroker::start(vec![refuse(4), refuse(5), refuse(0x86)]);
    let error = |endpoint: Endpoint| publish_with(&endpoint, "t", "1", &arguments("-q 1")).unwrap_err();
    assert!(error(Endpoint::on(broker.port)).contains("bad user name or password"));
    assert!(error(Endpoint::on(broker.port)).contains("not authorised"));
    assert!(error(Endpoint::on(broker.port).v5()).to_lowercase().contains("bad user"));
    assert_eq!((broker.connects().len(), broker.publishes().len()), (3, 0));
}

#[test]
fn a_connection_that_breaks_before_the_acknowledgement_has_not_delivered() {
    let broker = ScriptedBroker::start(vec![Script::good().on_publish(|_, _| Answer::DropBefore), Script::good()]);
    let endpoint = Endpoint::on(broker.port);
    assert!(publish_with(&endpoint, "t", "1", &arguments("-q 1")).unwrap_err().contains("connection was lost"));
    publish(&endpoint, "t", "2", false, 1);
    assert_eq!(broker.received().last().map(|received| received.connection), Some(1));
    assert_eq!(broker.publishes().iter().map(Publish::text).collect::<Vec<_>>(), ["1", "2"]);
}

#[test]
fn a_message_is_read_as_it_was_written() {
    let properties = Properties::default().with(Properties::USER, "k=v").with(Properties::MESSAGE_EXPIRY, [0, 0, 0, 5]);
    let payload = vec![0xff; 300];
    let topic = "a/b".to_owned();
    let message = Publish { topic, payload, qos: 2, dup: true, retain: true, id: 515, properties };
    let bytes = wire::encode_publish(&message, true);
    let (first, body) = wire::read_frame(&mut bytes.as_slice()).unwrap().unwrap();
    assert_eq!(wire::parse(first, &body, 5), Some(Packet::Publish(message)));
}

#[test]
fn a_connection_that_breaks_after_the_acknowledgement_has_delivered() {
    let broker = ScriptedBroker::start(vec![Script::good().on_publish(|_, _| Answer::DropAfter)]);
    publish(&Endpoint::on(broker.port), "t", "1", false, 1);
    assert_eq!(broker.publishes().len(), 1);
}

#[test]
fn a_reason_in_the_acknowledgement_is_passed_on() {
    let broker = ScriptedBroker::start(vec![Script::good().on_publish(|nth, publish| {
        assert_eq!((nth, publish.topic.as_str()), (0, "t"));
        Answer::Reason(0x87)
    })]);
    let endpoint = Endpoint::on(broker.port).v5();
    let outcome = publish_with(&endpoint, "t", "1", &arguments("-q 1"));
    assert!(outcome.is_ok() || outcome.is_err_and(|said| said.to_lowercase().contains("not authorized")));
}

#[test]
fn silence_and_wrong_acknowledgements_keep_the_client_waiting() {
    for answer in [Answer::Silence, Answer::WrongId(999)] {
        let broker = ScriptedBroker::start(vec![Script::good().on_publish(move |_, _| answer.clone())]);
        let mut publisher = Publisher::start(&Endpoint::on(broker.port), "t", "1", &arguments("-q 1"));
        broker.wait_publish("the message", |publish| publish.text() == "1", SOON);
        assert!(!publisher.is_finished());
    }
}

#[test]
fn garbage_and_closed_doors_end_a_client() {
    for greeting in [Greeting::Raw(vec![0xff, 0xff, 0xff, 0xff, 0xff, 0x01]), Greeting::Close] {
        let broker = ScriptedBroker::start(vec![Script::good().greeting(greeting), Script::good()]);
        let outcome = publish_with(&Endpoint::on(broker.port), "t", "1", &arguments("-q 1"));
        assert!(outcome.is_err() || broker.connects().len() == 2);
    }
}

#[test]
fn a_broker_that_sends_byte_by_byte_is_understood() {
    let broker = ScriptedBroker::start(vec![Script::good().byte_at_a_time()]);
    publish(&Endpoint::on(broker.port), "t", "1", false, 2);
    assert_eq!(broker.publishes().len(), 1);
}

#[test]
fn a_subscriber_receives_what_the_test_sends_and_comes_back_when_dropped() {
    for endpoint in [Endpoint::on, |port| Endpoint::on(port).v5()] {
        let broker = ScriptedBroker::start(vec![Script::good()]);
        let mut client = Client::subscribe(&endpoint(broker.port), &["set/+"]);
        assert_eq!(broker.filters()[0], ("set/+".to_owned(), 2));
        let payload = b"on".to_vec();
        broker.send(&Publish { topic: "set/pump".to_owned(), payload, qos: 1, id: 7, ..Publish::default() });
        client.wait_for("set/pump", |payload| payload == "on", SOON);
        wait_until("its PUBACK", SOON, || broker.received().iter().any(|r| r.packet == Packet::PubAck { id: 7 }));
        broker.drop_connections();
        client.wait_subscribed(2);
        assert_eq!(broker.received().last().map(|received| received.connection), Some(1));
    }
}

#[test]
fn a_subscription_can_be_refused() {
    let broker = ScriptedBroker::start(vec![Script::good().suback(0x80)]);
    let port = broker.port.to_string();
    let refused = Command::new("mosquitto_sub").args(["-p", &port, "-t", "t", "-W", "10"]).output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("denied"), "{refused:?}");
}

#[test]
fn a_broker_that_went_away_comes_back_on_its_port() {
    let broker = ScriptedBroker::start(vec![Script::good()]);
    let mut client = Client::subscribe(&Endpoint::on(broker.port), &["t"]);
    let port = broker.port;
    drop(broker);
    assert!(publish_with(&Endpoint::on(port), "t", "1", &[]).is_err());
    let broker = ScriptedBroker::start_on(port, vec![Script::good()]);
    client.wait_subscribed(2);
    assert_eq!(broker.connects().len(), 1);
}

#[test]
fn a_silent_broker_greets_nobody() {
    let broker = ScriptedBroker::start(vec![Script::good().greeting(Greeting::Silence)]);
    let mut publisher = Publisher::start(&Endpoint::on(broker.port), "t", "1", &arguments("-q 1"));
    broker.wait_connects(1, SOON);
    assert!(broker.publishes().is_empty() && !publisher.is_finished());
}
