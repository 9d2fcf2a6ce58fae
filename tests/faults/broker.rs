//! Rows B: brokers that die, refuse, limit, take over, lie and flood.

mod abilities;
mod answers;
mod flood;
mod hanging;
mod hangs_up;
mod killed;
mod limits;
mod mutants;
mod names;
mod refused;
mod twins;

use std::time::Duration;

use crate::common::account::Account;
use crate::common::gateway::Gateway;
use crate::common::ledger::Ledger;
use crate::common::quick::{taken, taken_of, wait_taken, wait_whole};
use crate::common::{SOON, wait_until};
use crate::suite::times;

/// Ends the gateway some readings after now and checks that the broker took all of `n` upon itself, in order.
fn end_whole(gateway: &mut Gateway, account: impl Fn() -> Account) -> (u64, Account) {
    let then = taken(gateway);
    wait_taken(gateway, then + 20);
    wait_until("the backlog to go", Duration::from_secs(times(15, 60, 60)), || {
        let account = account();
        account.runs.last().is_some_and(|run| account.missing(run, then).is_empty())
    });
    gateway.stop(SOON);
    let last = taken(gateway);
    (last, wait_whole("all of them", last, account))
}

/// Waits until all that has been taken of a sensor is with the broker or reported as lost.
fn wait_settled(gateway: &Gateway, ledger: &Ledger, sensor: &str) {
    let then = taken_of(gateway, sensor);
    wait_until(&format!("{then} readings of {sensor}"), Duration::from_secs(times(15, 60, 60)), || {
        let account = ledger.account(sensor);
        account.runs.last().is_some_and(|run| account.missing(run, then).is_empty())
    });
}

/// What the broker took of a sensor and what it was reported as lost is all, up to the last that it knows of. Returns both.
fn check_sensor(ledger: &Ledger, sensor: &str) -> (u64, u64) {
    let account = ledger.account(sensor);
    account.check_whole();
    let run = account.runs.last().unwrap_or_else(|| panic!("nothing is known of {sensor}"));
    (account.last(run), account.reported(run))
}
