//! N6: names that fail, hang and change.

use std::time::{Duration, Instant};

use super::end_whole;
use crate::common::gateway::Gateway;
use crate::common::namespace::Namespace;
use crate::common::notify::NotifySocket;
use crate::common::pace::{slack, taken_since};
use crate::common::quick::{FAST, config, folder, remembering_with, taken, wait_taken};
use crate::common::{SOON, free_port, wait_until};
use crate::suite::{may, report, times};

const READY: Duration = Duration::from_secs(2);

/// Starts a gateway in a network, and returns it with the time until it was ready.
fn start_in(namespace: &Namespace, folder: &std::path::Path, url: &str) -> (Gateway, Duration) {
    let socket = NotifySocket::listen(folder);
    let environment = [socket.variable(), ("RUST_LOG", "info,fieldgate::recorder=debug")];
    let begun = Instant::now();
    let gateway = Gateway::inside(namespace, folder, &config(url, "", "", FAST), &environment);
    let place = socket.wait("READY=1", 0, READY);
    let ready = socket.all()[place].0 - begun;
    assert!(ready <= READY + slack(begun), "ready after {ready:?}");
    (gateway, ready)
}

#[test]
fn n6_a_name_that_hangs_delays_neither_the_start_nor_the_sampling_nor_the_end() {
    if !may("N6", &["ip", "nft"]) {
        return;
    }
    let namespace = Namespace::new();
    namespace.write_etc("resolv.conf", &format!("nameserver {}\n", namespace.outside));
    namespace.write_etc("hosts", "127.0.0.1 localhost\n");
    namespace.no_names();
    let folder = folder();
    let (mut gateway, ready) = start_in(&namespace, folder.path(), "mqtt://broker.test:1883");
    let (begun, first) = (Instant::now(), taken(&gateway));
    let watched = Duration::from_secs(times(2, 20, 60));
    wait_until("time to pass", watched + SOON, || begun.elapsed() >= watched);
    let (sampled, lasted, held_up) = (taken(&gateway) - first, begun.elapsed(), taken_since(begun));
    let expected = lasted.as_millis() as u64 / 20;
    // A busy machine may miss a tick or two of fifty a second, and those in which it held up everybody.
    let few = 3 + expected / 20 + held_up.as_millis() as u64 / 20;
    assert!(sampled + few >= expected && sampled <= expected + few, "{sampled} readings instead of {expected}");
    assert!(!gateway.log().contains("cannot resolve"), "the name does not hang");
    let ending = Instant::now();
    gateway.stop(SOON);
    let ended = ending.elapsed();
    assert!(ended <= Duration::from_secs(2) + slack(ending), "ended after {ended:?}");
    let happened = format!(
        "ready after {:.2} s, {sampled} of {expected} readings in {} s, ended in {:.2} s",
        ready.as_secs_f64(),
        watched.as_secs(),
        ended.as_secs_f64()
    );
    report("N6", "the name server never answers", &happened);
}

#[test]
fn n6_a_name_that_is_wrong_at_first_is_resolved_again_at_each_attempt() {
    if !may("N6", &["ip", "nft"]) {
        return;
    }
    let (namespace, port) = (Namespace::new(), free_port());
    let (_broker, client) = remembering_with(&format!("listener {port} {}", namespace.outside));
    // Nobody answers questions at all: failing is what this name does at boot.
    namespace.write_etc("resolv.conf", "nameserver 127.0.0.1\n");
    namespace.write_etc("hosts", "127.0.0.1 localhost\n");
    let folder = folder();
    let (gateway, ready) = start_in(&namespace, folder.path(), &format!("mqtt://broker.test:{port}"));
    gateway.wait_log("cannot resolve", SOON);
    namespace.write_etc("hosts", &format!("127.0.0.1 localhost\n{} broker.test\n", namespace.inside));
    gateway.wait_log("nothing listens there", SOON);
    let (then, changed) = (taken(&gateway), Instant::now());
    namespace.write_etc("hosts", &format!("127.0.0.1 localhost\n{} broker.test\n", namespace.outside));
    gateway.wait_log("Connected.", SOON);
    let connected = changed.elapsed();
    wait_taken(&gateway, then + 20);
    let (last, _) = end_whole(gateway, &client);
    let happened = format!(
        "ready after {:.2} s; connected {:.2} s after the name was right; {last} taken, {last} received",
        ready.as_secs_f64(),
        connected.as_secs_f64()
    );
    report("N6", "the name fails, then is wrong, then right", &happened);
}
