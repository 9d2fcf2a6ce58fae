//! B8: more commands at once than anybody can carry out.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::end_whole;
use crate::common::gateway::Gateway;
use crate::common::ledger::Ledger;
use crate::common::pace::{at, slack};
use crate::common::quick::{FAST, config, dropped, folder, start, wait_taken};
use crate::common::scripted::{Script, ScriptedBroker};
use crate::common::wire::{Publish, encode_publish};
use crate::common::{SOON, wait_for};
use crate::suite::{report, times};

const PUMP: &str = "buses: { bench: { type: sim } }
actuators:
  pump: { driver: gpio-output, bus: bench, settings: { line: GPIO27 }, safe_state: \"off\", safe_after: never }
";

/// Below these a delay is that of a busy machine and nothing that anybody would notice: in the middle, and of one in a hundred.
const UNNOTICED: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(100)];

/// Resident memory may grow by this much: the window, the channels and what the spool has in hand are all limited.
const GROWTH: u64 = 8 << 20;

fn commands(count: usize) -> Vec<u8> {
    let command = |nth: usize| {
        let value = if nth.is_multiple_of(2) { "on" } else { "off" };
        let payload = format!("{{\"value\":\"{value}\",\"id\":\"c{nth}\"}}").into_bytes();
        encode_publish(&Publish { topic: "b/actuators/pump/set".into(), payload, ..Publish::default() }, true)
    };
    (0..count).flat_map(command).collect()
}

/// Commands that were answered, each once however often its answer came.
fn answered(broker: &ScriptedBroker) -> usize {
    let replies = broker.publishes().into_iter().filter(|publish| publish.topic == "b/actuators/pump/reply");
    let ids: BTreeSet<String> = replies
        .map(|reply| serde_json::from_str::<Value>(&reply.text()).unwrap()["id"].as_str().unwrap().to_owned())
        .collect();
    ids.len()
}

/// Commands that the last health message counts as dropped.
fn counted(broker: &ScriptedBroker) -> usize {
    let mut healths = broker.publishes().into_iter().rev().filter(|publish| publish.topic == "b/health");
    let health: Value = serde_json::from_str(&healths.next().unwrap().text()).unwrap();
    dropped(&health)
}

fn percentiles(delays: &[Duration]) -> (Duration, Duration) {
    (delays[delays.len() / 2], delays[delays.len() * 99 / 100])
}

/// Floods the gateway; returns how many were answered and counted, and by how much memory grew.
fn flood(gateway: &Gateway, broker: &ScriptedBroker, count: usize) -> (usize, usize, u64) {
    let (bytes, before) = (commands(count), gateway.own_memory());
    let mut most = before;
    broker.send_raw(&bytes);
    let (answered, counted) = wait_for("every command to be answered or counted", SOON * 9, || {
        most = most.max(gateway.own_memory());
        std::thread::sleep(Duration::from_millis(50));
        let (answered, counted) = (answered(broker), counted(broker));
        (answered + counted >= count).then_some((answered, counted))
    });
    assert_eq!(answered + counted, count, "{answered} answered, {counted} counted");
    (answered, counted, most - before)
}

#[test]
fn b8_a_flood_of_commands_is_answered_or_counted_and_delays_no_reading() {
    let count = times(10_000, 30_000, 100_000);
    let ledger = Ledger::default();
    let broker = ScriptedBroker::start(vec![Script::good().noting(&ledger)]);
    let folder = folder();
    let mut gateway = start(folder.path(), &config(&broker.url(), "", "", &format!("{FAST}{PUMP}")));
    wait_taken(&gateway, 50);
    let quiet = SystemTime::now();
    wait_taken(&gateway, 200);
    let usual = percentiles(&ledger.delays("n", quiet));
    let from = SystemTime::now();
    let (answered, counted, grown) = flood(&gateway, &broker, count);
    let (lasted, slack) = (from.elapsed().unwrap(), slack(at(from)));
    let during = percentiles(&ledger.delays("n", from));
    let (last, account) = end_whole(&mut gateway, || ledger.account("n"));
    assert!(account.lost.is_empty() && broker.connects().len() == 1);
    let ms = |delay: Duration| delay.as_secs_f64() * 1000.0;
    let happened = format!(
        "{answered} answered + {counted} counted in {:.1} s; delay of readings p50 {:.1} → {:.1} ms, p99 {:.1} → {:.1} ms; memory \
         +{:.1} MiB; {last} readings taken and received",
        lasted.as_secs_f64(),
        ms(usual.0),
        ms(during.0),
        ms(usual.1),
        ms(during.1),
        grown as f64 / f64::from(1 << 20)
    );
    report("B8", &format!("{count} commands at once"), &happened);
    // What the machine held up in the flood alone was not there when the usual delay was measured.
    let may = |usual: Duration, unnoticed: Duration| (usual * 2).max(unnoticed) + slack;
    assert!(
        during.0 <= may(usual.0, UNNOTICED[0]) && during.1 <= may(usual.1, UNNOTICED[1]),
        "{slack:?} are the machine's"
    );
    assert!(grown <= GROWTH, "memory grew by {grown} bytes");
}
