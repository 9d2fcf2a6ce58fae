//! N3: a connection that is reset again and again.

use std::time::{Duration, Instant};

use super::{HUNDRED, WINDOW, end_whole, repeats};
use crate::common::quick::{config, folder, remembering, start};
use crate::common::relay::Relay;
use crate::common::{SOON, wait_until};
use crate::suite::{chance, report, times, together};

/// Long enough that something is under way at most cuts.
const DELAY: Duration = Duration::from_millis(2);

/// Resets the connection 50–500 ms after it came to be, again and again, and returns how often.
fn flap(relay: &Relay, chance: &mut fastrand::Rng, duration: Duration) -> usize {
    let (end, mut cuts) = (Instant::now() + duration, 0);
    while Instant::now() < end {
        let cut = Instant::now() + Duration::from_millis(chance.u64(50..=500));
        wait_until("the next cut", SOON, || Instant::now() >= cut);
        cuts += relay.tear();
    }
    cuts
}

/// Returns how often the gateway connected, by its log and the relay.
fn flapping(mqtt: &str, duration: Duration) -> (u64, usize, usize, usize) {
    let mut chance = chance("N3");
    let (broker, client) = remembering();
    let relay = Relay::to(broker.port, DELAY);
    let folder = folder();
    let text =
        config(&relay.url(), ", keep_alive: 5s", "", HUNDRED).replace("reconnect: { min: 50ms, max: 150ms }", mqtt);
    let gateway = start(folder.path(), &text);
    client.wait_json("b/sensors/n", |reading| reading["seq"] == 20, SOON);
    let cuts = flap(&relay, &mut chance, duration);
    let connects = relay.accepted() - 1;
    let (last, account) = end_whole(gateway, &client);
    let repeats = repeats(&client, &account);
    assert!(repeats <= WINDOW * cuts, "{repeats} repeats after {cuts} cuts");
    (last, cuts, connects, repeats)
}

/// Within fifty milliseconds again: as many cuts as possible.
fn quickly() {
    let seconds = times(3, 20, 60);
    let (last, cuts, _, repeats) = flapping("reconnect: { min: 10ms, max: 50ms }", Duration::from_secs(seconds));
    assert!(cuts as u64 >= seconds, "only {cuts} cuts");
    let tried = format!("reset every 50–500 ms for {seconds} s, reconnect within 50 ms");
    let happened =
        format!("{last} taken, {last} received; {cuts} cuts, {repeats} repeats of {} allowed", cuts * WINDOW);
    report("N3", &tried, &happened);
}

/// With the usual waits: the network is not stormed.
fn usually() {
    let seconds = times(4, 20, 60);
    let (last, cuts, connects, repeats) = flapping("reconnect: { min: 1s, max: 60s }", Duration::from_secs(seconds));
    assert!(connects as u64 <= seconds, "{connects} connects in {seconds} s");
    let tried = format!("reset every 50–500 ms for {seconds} s, reconnect as by default");
    let happened =
        format!("{last} taken, {last} received; {cuts} cuts, {repeats} repeats, {connects} connects in {seconds} s");
    report("N3", &tried, &happened);
}

#[test]
fn n3_a_connection_that_is_reset_again_and_again_loses_nothing_and_storms_nobody() {
    together(&[quickly, usually]);
}
