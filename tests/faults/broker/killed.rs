//! B1: a broker that is killed and forgets everything.
//!
//! A broker may acknowledge, and die before it hands on; that loss is its own, and a subscriber cannot distinguish it from ours. So
//! the relay before it says what it acknowledged: every reading must be among that.

use std::time::{Duration, Instant};

use super::end_whole;
use crate::common::account::Account;
use crate::common::mosquitto::Mosquitto;
use crate::common::quick::{config, folder, start};
use crate::common::relay::Relay;
use crate::common::{SOON, wait_until};
use crate::suite::{chance, report, times};

const RATE: &str = "sensors:\n  n: { driver: waveform, every: 10ms, settings: { shape: counter } }\n";

fn pass(from: u64, to: u64, chance: &mut fastrand::Rng) {
    let end = Instant::now() + Duration::from_millis(chance.u64(from..to));
    wait_until("time to pass", SOON, || Instant::now() >= end);
}

#[test]
fn b1_a_broker_that_is_killed_and_forgets_everything_costs_no_reading() {
    let kills = times(4, 20, 50);
    let mut chance = chance("B1");
    let mut broker = Mosquitto::start();
    // An acknowledgement travels for a moment, so that something is always under way.
    let relay = Relay::to(broker.port, Duration::from_millis(2));
    let folder = folder();
    let mut gateway = start(folder.path(), &config(&relay.url(), ", keep_alive: 5s", "", RATE));
    for _ in 0..kills {
        let before = relay.acknowledged().len();
        wait_until("something to be acknowledged", SOON, || relay.acknowledged().len() > before + 10);
        pass(0, 500, &mut chance);
        broker.kill9();
        // Long enough for an attempt that fails: one who closes again and again and is always there would pass for a broker
        // that serves a twin of ours.
        pass(200, 500, &mut chance);
        broker.start_again();
    }
    let (last, account) = end_whole(&mut gateway, || Account::of("n", relay.acknowledged()));
    assert!(account.lost.is_empty(), "reported as lost: {:?}", account.lost);
    let sent = relay.published().iter().filter(|(topic, _)| topic.ends_with("/n")).count() as u64;
    let happened =
        format!("{last} taken, {last} acknowledged, {} sent again, {} connects", sent - last, relay.connects());
    report("B1", &format!("Mosquitto without persistence killed {kills} times"), &happened);
}
