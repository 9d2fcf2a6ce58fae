//! H6: two gateways with one name and base topic.

use crate::common::client::{Client, publish};
use crate::common::mosquitto::Mosquitto;
use crate::common::quick::{FAST, LONG, config, folder, start};
use crate::common::{SOON, wait_until};
use crate::suite::{report, times, together};

const WORDS: &str = "another gateway publishes below b:";

fn two_of_one_name(protocol: &str) {
    let broker = Mosquitto::start();
    let watch = Client::subscribe(&broker.endpoint(), &["b/status"]);
    let (one, two) = (folder(), folder());
    let text = |id: &str| config(&broker.url(), &format!(", protocol: {protocol}, client_id: {id}"), "", FAST);
    let mut first = start(one.path(), &text("one"));
    first.wait_log("Connected.", LONG);
    watch.wait_for("b/status", |payload| payload == "online", LONG);
    let rounds = times(1, 3, 10);
    for round in 1..=rounds {
        let mut second = start(two.path(), &text("two"));
        first.wait_log(WORDS, LONG);
        second.wait_log(WORDS, LONG);
        if round % 2 == 1 {
            second.stop(SOON);
        } else {
            second.kill9();
        }
        // The other's `offline` is there first, and then ours again.
        let said = || watch.all("b/status").into_iter().map(|message| message.payload).collect::<Vec<_>>();
        wait_until("online again", LONG, || {
            let said = said();
            said.iter().filter(|word| *word == "offline").count() == round && said.last().is_some_and(|l| l == "online")
        });
        assert!(said().len() <= 8 * round, "a war of words: {:?}", said());
    }
    assert!(!first.log().contains("our identifier"), "{}", first.log());
    let count = watch.all("b/status").len();
    first.stop(SOON);
    let happened = format!("alarm in both, online again {rounds} times, {count} messages on the status in all");
    report("H6", &format!("two of one name on Mosquitto, {protocol}"), &happened);
}

#[test]
fn h6_two_gateways_with_one_name_know_of_each_other() {
    together(&[|| two_of_one_name("5"), || two_of_one_name("3.1.1")]);
}

fn health_of_another(protocol: &str) {
    let (broker, folder) = (Mosquitto::start(), folder());
    let text = config(&broker.url(), &format!(", protocol: {protocol}, client_id: one"), "", FAST);
    let mut gateway = start(folder.path(), &text);
    gateway.wait_log("Connected.", LONG);
    let watch = Client::subscribe(&broker.endpoint(), &["b/#"]);
    wait_until("the alarm", LONG, || {
        publish(&broker.endpoint(), "b/health", r#"{"version":"0.1.0","run":"00c0ffee"}"#, true, 1);
        gateway.log().contains(WORDS)
    });
    let said = || watch.all("b/health").iter().any(|health| health.payload.contains("another gateway publishes"));
    wait_until("the alarm in our own health", LONG, said);
    gateway.stop(SOON);
}

/// One whose `online` was missed shows itself by its health.
#[test]
fn h6_another_run_in_the_health_is_another_gateway() {
    together(&[|| health_of_another("5"), || health_of_another("3.1.1")]);
    report("H6", "a health with another run on our topic, MQTT 5 and 3.1.1", "alarm");
}

/// A gateway that comes back by itself finds its own will, and that is no alarm.
#[test]
fn h6_a_gateway_is_not_its_own_twin() {
    for protocol in ["5", "3.1.1"] {
        let broker = Mosquitto::start();
        let folder = folder();
        let text = config(&broker.url(), &format!(", protocol: {protocol}"), "", FAST);
        for _ in 0..times(2, 5, 20) {
            let mut gateway = start(folder.path(), &text);
            gateway.wait_log("Connected.", LONG);
            let watch = Client::subscribe(&broker.endpoint(), &["b/sensors/n"]);
            wait_until("readings", LONG, || watch.all("b/sensors/n").len() > 20);
            gateway.kill9();
            assert!(!gateway.log().contains(WORDS), "{}", gateway.log());
        }
    }
}
