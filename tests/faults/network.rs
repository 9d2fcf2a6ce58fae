//! Rows N: links that break, stall, flap and come back.

mod flapping;
mod hole;
mod names;
mod returning;
mod silence;

use std::time::{Duration, Instant};

use crate::common::account::Account;
use crate::common::client::Client;
use crate::common::gateway::Gateway;
use crate::common::pace::slack;
use crate::common::quick::{heard, taken, wait_taken, wait_whole};
use crate::common::{SOON, wait_until};
use crate::suite::times;

/// A hundred readings a second.
const HUNDRED: &str = "sensors:\n  n: { driver: waveform, every: 10ms, settings: { shape: counter } }\n";

/// Unacknowledged messages at most, and so repeats for each cut.
const WINDOW: usize = 64;

/// What one outage did.
struct Outage {
    noticed: Duration,
    /// By how much resident memory grew, in bytes.
    grown: u64,
}

/// Waits until the loss is reported and `duration` has passed since `begun`.
fn endure(gateway: &Gateway, before: (u64, usize), begun: Instant, duration: Duration) -> Outage {
    let (memory, reported) = before;
    let (mut noticed, mut most) = (None, memory);
    wait_until("the outage to be noticed and to pass", duration + SOON, || {
        if noticed.is_none() && losses(gateway) > reported {
            noticed = Some(begun.elapsed().saturating_sub(slack(begun)));
        }
        most = most.max(gateway.memory());
        noticed.is_some() && begun.elapsed() >= duration
    });
    Outage { noticed: noticed.unwrap(), grown: most - memory }
}

/// How often the log says that there is no connection.
fn losses(gateway: &Gateway) -> usize {
    gateway.log().matches("No connection").count()
}

/// Ends the gateway some readings after now and checks that all that it took has arrived, live and late, in order.
fn end_whole(mut gateway: Gateway, client: &Client) -> (u64, Account) {
    let then = taken(&gateway);
    wait_taken(&gateway, then + 50);
    // Ended only when the backlog has gone, for what is not delivered would rightly stay in the spool.
    wait_until("the backlog to go", Duration::from_secs(times(15, 60, 60)), || {
        let account = heard(client);
        account.runs.last().is_some_and(|run| account.missing(run, then).is_empty())
    });
    gateway.stop(SOON);
    let last = taken(&gateway);
    let account = wait_whole("all of them", last, || heard(client));
    assert!(account.lost.is_empty(), "reported as lost: {:?}", account.lost);
    (last, account)
}

/// How many messages of `n` came more than once.
fn repeats(client: &Client, account: &Account) -> usize {
    let of_n = |topic: &str| topic == "b/sensors/n" || topic == "b/late/n";
    let all = client.everything().iter().filter(|message| of_n(&message.topic)).count();
    all - account.runs.iter().map(|run| account.arrived(run).len()).sum::<usize>()
}
