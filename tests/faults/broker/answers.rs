//! B2 and B6: a broker that refuses messages, and one whose acknowledgements are wrong.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use super::{check_sensor, end_whole, wait_settled};
use crate::common::ledger::Ledger;
use crate::common::pace::slack;
use crate::common::quick::{FAST, config, folder, received, start, taken_of};
use crate::common::scripted::{Answer, Greeting, Script, ScriptedBroker};
use crate::common::wire::{self, Publish};
use crate::common::{SOON, wait_until};
use crate::suite::{chance, report, times};

const FOUR: &str = "sensors:
  n: { driver: waveform, every: 2ms, settings: { shape: counter } }
  denied: { driver: waveform, every: 50ms, settings: { shape: counter } }
  quota: { driver: waveform, every: 50ms, settings: { shape: counter } }
  invalid: { driver: waveform, every: 50ms, settings: { shape: counter } }
";

/// Every so many readings of `invalid` are refused, however often they come.
const INVALID: u64 = 7;

fn seq(publish: &Publish) -> u64 {
    serde_json::from_str::<Value>(&publish.text()).unwrap()["seq"].as_u64().unwrap()
}

/// 0x10 for `n`; the others are refused while `refusing`, and some of `invalid` always.
fn strict(refusing: &Arc<AtomicBool>, ledger: &Ledger) -> Script {
    let refusing = Arc::clone(refusing);
    let decide = move |_: usize, publish: &Publish| {
        let reason =
            |reason| if refusing.load(Ordering::Relaxed) { Answer::Reason(reason) } else { Answer::Acknowledge };
        match publish.topic.rsplit('/').next().unwrap() {
            "n" => Answer::Reason(0x10),
            "denied" => reason(0x87),
            "quota" => reason(0x97),
            "invalid" if seq(publish).is_multiple_of(INVALID) => Answer::Reason(0x99),
            _ => Answer::Acknowledge,
        }
    };
    Script::good().on_publish(decide).noting(ledger)
}

#[test]
fn b2_what_is_refused_waits_or_is_reported_as_lost_and_the_rest_flows_on() {
    let seconds = times(3, 20, 60);
    let (refusing, ledger) = (Arc::new(AtomicBool::new(true)), Ledger::default());
    let broker = ScriptedBroker::start(vec![strict(&refusing, &ledger)]);
    let folder = folder();
    // Nothing grows late within the test, so that each sensor has one topic.
    let text = config(&broker.url(), "", "", FOUR).replace("late_after: 1s", "late_after: 300s");
    let mut gateway = start(folder.path(), &text);
    broker.wait_publish("a refused reading", |publish| publish.topic.ends_with("/quota"), SOON);
    let begun = Instant::now();
    wait_until("time to pass", SOON * 7, || begun.elapsed() >= Duration::from_secs(seconds));
    let attempts = |sensor: &str| {
        let topic = format!("b/sensors/{sensor}");
        broker.publishes().iter().filter(|publish| publish.topic == topic).count() - ledger.count(&topic)
    };
    let tries = attempts("denied").max(attempts("quota"));
    // What was in flight at the first refusal, and one at each doubling of the wait from a second on.
    assert!(tries < 10 + seconds as usize, "{tries} attempts on a refused topic in {seconds} s");
    refusing.store(false, Ordering::Relaxed);
    let caught_up = |sensor: &str| ledger.account(sensor).live.values().any(|seqs| seqs.len() as u64 > seconds * 20);
    wait_until("the refused ones", SOON * 7, || caught_up("denied") && caught_up("quota"));
    ["denied", "quota", "invalid"].iter().for_each(|sensor| wait_settled(&gateway, &ledger, sensor));
    end_whole(&mut gateway, || ledger.account("n"));
    let delays = ledger.delays("n", SystemTime::UNIX_EPOCH);
    let slowest = delays[delays.len() - 1];
    assert!(slowest <= Duration::from_secs(1) + slack(begun), "a topic that is not refused took {slowest:?}");
    let counts = ["n", "denied", "quota", "invalid"].map(|sensor| check_sensor(&ledger, sensor));
    assert_eq!(counts.map(|(_, reported)| reported), [0, 0, 0, counts[3].0 / INVALID]);
    assert_eq!(broker.connects().len(), 1, "nobody connects again over a refusal");
    let repeats = received(&broker).runs.len() - 1 + broker_repeats(&broker);
    let happened = format!(
        "0x10: {} taken, {} received, {repeats} repeats, slowest {} ms; 0x87, 0x97 for {seconds} s: {} taken and received, {tries} \
         attempts meanwhile; 0x99: {} taken, {} reported as lost",
        counts[0].0,
        counts[0].0,
        slowest.as_millis(),
        counts[1].0 + counts[2].0,
        counts[3].0,
        counts[3].1
    );
    report("B2", "PUBACK 0x10, 0x87, 0x97, 0x99 on four topics", &happened);
    assert_eq!(repeats, 0, "0x10 is success");
}

/// Repeats of what was answered with 0x10.
fn broker_repeats(broker: &ScriptedBroker) -> usize {
    let of_n: Vec<u64> = broker.publishes().iter().filter(|p| p.topic.ends_with("/n")).map(seq).collect();
    of_n.len() - of_n.iter().collect::<std::collections::BTreeSet<_>>().len()
}

/// Acknowledges wrongly by chance, and notes what it acknowledges rightly.
fn lying(chance: &Arc<Mutex<fastrand::Rng>>, ledger: &Ledger, counts: &Counts) -> Script {
    let (chance, ledger, counts) = (Arc::clone(chance), ledger.clone(), Arc::clone(counts));
    let held = Mutex::new(Vec::<Publish>::new());
    Script::good().on_publish(move |_, publish| {
        if !publish.topic.ends_with("/n") {
            return Answer::Acknowledge;
        }
        let count = |what| *counts.lock().unwrap().entry(what).or_insert(0) += 1;
        let mut held = held.lock().unwrap();
        let mut chance = chance.lock().unwrap();
        held.push(publish.clone());
        match chance.u32(..100) {
            0 => {
                count("unknown");
                held.pop();
                Answer::WrongId(publish.id.wrapping_add(chance.u16(100..)))
            }
            1 => {
                count("twice");
                acknowledge(&mut held, &ledger, 2)
            }
            2..30 => {
                chance.shuffle(&mut held);
                count("out of order");
                acknowledge(&mut held, &ledger, 1)
            }
            _ if held.len() >= 20 => acknowledge(&mut held, &ledger, 1),
            _ => Answer::Silence,
        }
    })
}

type Counts = Arc<Mutex<BTreeMap<&'static str, u32>>>;

fn acknowledge(held: &mut Vec<Publish>, ledger: &Ledger, times: usize) -> Answer {
    held.iter().for_each(|publish| ledger.note(publish));
    let each = |publish: Publish| wire::encode_ack(0x40, publish.id, 0, true).repeat(times);
    Answer::Raw(held.drain(..).flat_map(each).collect())
}

#[test]
fn b6_acknowledgements_that_are_wrong_lose_nothing_and_stall_nothing() {
    let readings = times(300, 2000, 10_000);
    let (chance, ledger, counts) = (Arc::new(Mutex::new(chance("B6"))), Ledger::default(), Counts::default());
    // A fresh list of what is held for each connection; a session that is present although we wanted none comes first.
    let mut scripts = vec![Script::good().greeting(Greeting::SessionPresent)];
    scripts.extend((0..readings / 20).map(|_| lying(&chance, &ledger, &counts)));
    let broker = ScriptedBroker::start(scripts);
    let folder = folder();
    let quick = FAST.replace("20ms", "10ms");
    let text = config(&broker.url(), "", "", &quick).replace("min: 50ms, max: 150ms", "min: 10ms, max: 20ms");
    let mut gateway = start(folder.path(), &text);
    let wait = Duration::from_secs(readings as u64 / 50 + 10);
    wait_until("the readings", wait, || taken_of(&gateway, "n") >= readings as u64);
    // At the end some are held back for ever; they stay in the spool, and a good broker gets them.
    gateway.stop(SOON);
    let (port, last) = (broker.port, taken_of(&gateway, "n"));
    let connects = broker.connects().len();
    received(&broker).check_order();
    drop(broker);
    let good = ScriptedBroker::start_on(port, vec![Script::good().noting(&ledger)]);
    let mut second = start(folder.path(), &text);
    wait_until("the rest", SOON * 3, || {
        let account = ledger.account("n");
        account.runs.len() == 2 && account.missing(&account.runs[0], last).is_empty()
    });
    second.stop(SOON);
    drop(good);
    let account = ledger.account("n");
    account.runs.iter().for_each(|run| assert_eq!(account.missing(run, account.last(run)), Vec::<u64>::new()));
    assert!(account.lost.is_empty(), "reported as lost: {:?}", account.lost);
    let happened =
        format!("{last} taken, {last} acknowledged rightly; {:?}, {connects} connects", counts.lock().unwrap());
    report("B6", &format!("{readings} readings, acknowledged unknown, twice, out of order"), &happened);
}
