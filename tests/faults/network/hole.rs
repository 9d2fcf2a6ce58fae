//! N1 and N2: nothing comes back any more, and nobody says so.

use std::time::{Duration, Instant};

use super::{HUNDRED, Outage, WINDOW, end_whole, endure, losses, repeats};
use crate::common::gateway::Gateway;
use crate::common::namespace::Namespace;
use crate::common::pace::slack;
use crate::common::quick::{LONG, config, folder, remembering, remembering_with, start, wait_taken};
use crate::common::scripted::{Answer, Script, ScriptedBroker};
use crate::common::{SOON, free_port, wait_until};
use crate::suite::{Scale, may, report, scale, times};

/// With it the longest silence is 3 s.
const KEEP_ALIVE: Duration = Duration::from_secs(2);

const MQTT: &str = ", keep_alive: 2s";

/// Resident memory may grow by this much.
const GROWTH: u64 = 2 << 20;

fn check(outage: &Outage) {
    let Outage { noticed, grown } = outage;
    assert!(*noticed <= KEEP_ALIVE * 3 / 2, "noticed only after {noticed:?}");
    assert!(*grown <= GROWTH, "memory grew by {grown} bytes");
}

fn described(outage: &Outage) -> String {
    format!(
        "noticed after {:.1} s of 1.5 × {} s, memory +{:.1} MiB",
        outage.noticed.as_secs_f64(),
        KEEP_ALIVE.as_secs(),
        outage.grown as f64 / f64::from(1 << 20)
    )
}

#[test]
fn n1_a_black_hole_in_the_network_loses_nothing_and_is_noticed_in_time() {
    if !may("N1", &["ip", "nft"]) {
        return;
    }
    let (duration, resetting) = times((3, 1), (20, 5), (60, 15));
    let (namespace, port) = (Namespace::new(), free_port());
    let (_broker, client) = remembering_with(&format!("listener {port} {}", namespace.outside));
    let folder = folder();
    let url = format!("mqtt://{}:{port}", namespace.outside);
    let environment = [("RUST_LOG", "info,fieldgate::recorder=debug")];
    let gateway = Gateway::inside(&namespace, folder.path(), &config(&url, MQTT, "", HUNDRED), &environment);
    client.wait_json("b/sensors/n", |reading| reading["seq"] == 100, SOON);
    let before = (gateway.memory(), losses(&gateway));
    let begun = Instant::now();
    namespace.black_hole();
    let hole = endure(&gateway, before, begun, Duration::from_secs(duration));
    namespace.open();
    wait_until("the connection after the hole", LONG, || gateway.log().matches("Connected.").count() == 2);
    check(&hole);
    let before = (gateway.memory(), losses(&gateway));
    let begun = Instant::now();
    namespace.reset();
    let resets = endure(&gateway, before, begun, Duration::from_secs(resetting));
    namespace.open();
    check(&resets);
    let (last, account) = end_whole(gateway, &client);
    let repeats = repeats(&client, &account);
    assert!(repeats <= 2 * WINDOW, "{repeats} repeats");
    let tried = format!("black hole {duration} s, then resets {} s, at 100 readings/s", resetting);
    let happened = format!(
        "{last} taken, {last} received, {repeats} repeats; hole {}; resets noticed after {:.2} s",
        described(&hole),
        resets.noticed.as_secs_f64()
    );
    report("N1", &tried, &happened);
}

#[test]
fn n2_a_frozen_broker_gets_everything_when_it_thaws() {
    let duration = times(3, 20, 60);
    let (broker, client) = remembering();
    let folder = folder();
    let gateway = start(folder.path(), &config(&broker.url(), MQTT, "", HUNDRED));
    client.wait_json("b/sensors/n", |reading| reading["seq"] == 100, SOON);
    let before = (gateway.memory(), losses(&gateway));
    let begun = Instant::now();
    broker.freeze();
    let outage = endure(&gateway, before, begun, Duration::from_secs(duration));
    broker.thaw();
    check(&outage);
    let (last, account) = end_whole(gateway, &client);
    let repeats = repeats(&client, &account);
    let tried = format!("broker frozen {duration} s at 100 readings/s");
    report("N2", &tried, &format!("{last} taken, {last} received, {repeats} repeats, {}", described(&outage)));
}

#[test]
fn n2_a_broker_that_answers_pings_and_acknowledges_nothing_is_left_after_30_s() {
    if scale() == Scale::Short {
        // The time is a constant of the program, and waiting for it is all that there is to see.
        return;
    }
    let silent = Script::good().on_publish(|_, publish| match publish.topic.as_str() {
        "b/status" => Answer::Acknowledge,
        _ => Answer::Silence,
    });
    let broker = ScriptedBroker::start(vec![silent, Script::good()]);
    let folder = folder();
    let mut gateway = start(folder.path(), &config(&broker.url(), MQTT, "", HUNDRED));
    broker.wait_publish("a reading", |publish| publish.topic == "b/sensors/n", SOON);
    let begun = Instant::now();
    gateway.wait_log("has acknowledged nothing", Duration::from_secs(40));
    let left = begun.elapsed();
    let latest = Duration::from_secs(32) + slack(begun);
    assert!(left >= Duration::from_secs(29) && left < latest, "left after {left:?}");
    broker.wait_connects(2, SOON);
    wait_taken(&gateway, 100);
    gateway.stop(SOON);
    crate::common::quick::received(&broker).check_whole();
    report("N2", "no PUBACK, but answers to pings", &format!("left after {:.1} s", left.as_secs_f64()));
}
