//! B5: another client uses our identifier.

use std::time::{Duration, Instant};

use crate::common::account::Account;
use crate::common::client::{Client, Message};
use crate::common::gateway::Gateway;
use crate::common::mosquitto::Mosquitto;
use crate::common::quick::{FAST, config, folder, start};
use crate::common::scripted::{Script, ScriptedBroker};
use crate::common::wire::encode_disconnect;
use crate::common::{SOON, wait_for, wait_until};
use crate::suite::{Scale, report, scale, times, together};

/// How long the peace after the third take-over is watched.
fn watched() -> Duration {
    Duration::from_secs(times(3, 70, 130))
}

/// At most one connection for each minute begun.
fn allowed() -> usize {
    watched().as_secs() as usize / 60
}

#[test]
fn b5_a_session_that_is_taken_over_again_and_again_is_not_fought_for() {
    let broker = ScriptedBroker::start(vec![Script::good()]);
    let folder = folder();
    let mut gateway = start(folder.path(), &config(&broker.url(), "", "", FAST));
    for nth in 1..=3 {
        broker.wait_connects(nth, SOON);
        wait_until("the link to be up", SOON, || gateway.log().matches("Connected.").count() == nth);
        broker.send_raw(&encode_disconnect(0x8e));
        gateway.wait_log("session taken over (0x8E)", SOON);
    }
    gateway.wait_log("another client keeps taking over our identifier", SOON);
    let begun = Instant::now();
    wait_until("time to pass", watched() + SOON, || begun.elapsed() >= watched());
    let more = broker.connects().len() - 3;
    assert!(more <= allowed(), "{more} connects in {:?}", watched());
    gateway.stop(SOON);
    let happened = format!("{more} connects in the {} s after the third; alarm raised", watched().as_secs());
    report("B5", "DISCONNECT 0x8E three times", &happened);
}

/// A Mosquitto on which another client has our identifier and always comes back.
fn twins(protocol: &str) {
    let broker = Mosquitto::start();
    let watch = Client::subscribe(&broker.endpoint(), &["b/#"]);
    let folder = folder();
    let mqtt = format!(", protocol: {protocol}, client_id: twin");
    let mut gateway = start(folder.path(), &config(&broker.url(), &mqtt, "", FAST));
    gateway.wait_log("Connected.", SOON);
    let connected = |gateway: &Gateway| gateway.log().matches("Connected.").count();
    let _twin = Client::with(&broker.endpoint(), &["nothing"], &["-i", "twin"]);
    gateway.wait_log("does another client use our identifier", SOON);
    // A few more are allowed that ended by a reset, which says nothing. The twin comes back every second.
    let (mut then, mut begun) = (connected(&gateway), Instant::now());
    wait_until("the fight to end", SOON, || {
        if connected(&gateway) > then {
            (then, begun) = (connected(&gateway), Instant::now());
        }
        begun.elapsed() >= Duration::from_secs(2)
    });
    assert!(then <= 6, "{protocol}: {then} connects before there was peace");
    wait_until("time to pass", watched() + SOON, || begun.elapsed() >= watched());
    let more = connected(&gateway) - then;
    assert!(more <= allowed(), "{protocol}: {more} connects in {:?}", watched());
    if scale() != Scale::Short {
        // The alarm is in the log at once, and at the broker with the next connection, which is a minute away.
        let alarm = |message: &Message| message.json()["link"]["alarm"].as_str().map(str::to_owned);
        let reported = wait_for("an alarm in health", SOON, || watch.all("b/health").iter().find_map(alarm));
        assert!(reported.contains("\"twin\""), "{reported}");
    }
    gateway.stop(SOON);
    Account::of("n", watch.everything().into_iter().map(|message| (message.topic, message.payload))).check_order();
    let happened = format!("given up after {then} connects, then {more} in {} s; alarm raised", watched().as_secs());
    report("B5", &format!("Mosquitto, two clients with one identifier, {protocol}"), &happened);
}

#[test]
fn b5_two_with_one_identifier_on_a_real_broker_do_not_storm_it() {
    together(&[|| twins("5"), || twins("3.1.1")]);
}
