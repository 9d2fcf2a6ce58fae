//! B4: a broker that allows little.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::{check_sensor, wait_settled};
use crate::common::gateway::Gateway;
use crate::common::ledger::Ledger;
use crate::common::pace::longest_gap;
use crate::common::quick::{config, folder, start, taken, wait_taken};
use crate::common::scripted::{Answer, Received, Script, ScriptedBroker};
use crate::common::wire::{Packet, Properties, encode_ack};
use crate::common::{SOON, wait_until};
use crate::suite::{report, times};

/// The readings of `air` have three measurements and do not fit into 128 bytes; its losses do.
const TWO: &str = "buses: { bench: { type: sim } }
sensors:
  n: { driver: waveform, every: 20ms, settings: { shape: counter } }
  air: { driver: bme280, bus: bench, every: 50ms, settings: { address: 0x76 } }
";

const SIZE: usize = 128;

fn small() -> Properties {
    Properties::default().with(Properties::MAXIMUM_PACKET_SIZE, (SIZE as u32).to_be_bytes())
}

/// What a broker that allows nothing at all says.
fn least() -> Properties {
    let properties = small().with(Properties::RECEIVE_MAXIMUM, 1u16.to_be_bytes()).with(Properties::MAXIMUM_QOS, [0]);
    properties.with(Properties::RETAIN_AVAILABLE, [0]).with(Properties::SERVER_KEEP_ALIVE, 1u16.to_be_bytes())
}

fn gateway(broker: &ScriptedBroker, rest: &str) -> (Gateway, tempfile::TempDir) {
    let folder = folder();
    let text = config(&broker.url(), "", "", rest).replace("late_after: 1s", "late_after: 300s");
    (start(folder.path(), &text), folder)
}

/// Everything after the CONNECT, which comes before the broker says what it allows.
fn after_connect(broker: &ScriptedBroker) -> Vec<Received> {
    broker.received().into_iter().filter(|received| !matches!(received.packet, Packet::Connect(_))).collect()
}

fn largest(broker: &ScriptedBroker) -> usize {
    let sizes = after_connect(broker).iter().map(|received| received.size).max().unwrap();
    assert!(sizes <= SIZE, "a packet of {sizes} bytes");
    sizes
}

#[test]
fn b4_what_does_not_fit_is_reported_as_lost_and_the_rest_goes_on() {
    let readings = times(60, 1000, 5000);
    let ledger = Ledger::default();
    let broker = ScriptedBroker::start(vec![Script::good().properties(small()).noting(&ledger)]);
    let (mut gateway, _folder) = gateway(&broker, TWO);
    wait_until("the readings", Duration::from_secs(readings / 40 + 10), || taken(&gateway) >= readings);
    ["n", "air"].iter().for_each(|sensor| wait_settled(&gateway, &ledger, sensor));
    gateway.stop(SOON);
    let (n, lost) = check_sensor(&ledger, "n");
    let (air, reported) = check_sensor(&ledger, "air");
    assert_eq!((lost, reported), (0, air), "each reading of n has arrived, each of air was reported as lost");
    let largest = largest(&broker);
    assert_eq!(broker.connects().len(), 1);
    let happened =
        format!("{n} readings that fit received, {air} that do not reported on B/loss; largest packet {largest} bytes");
    report("B4", &format!("maximum packet size {SIZE}"), &happened);
}

#[test]
fn b4_one_message_at_a_time_is_one_message_at_a_time() {
    let (under_way, most) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)));
    let (held, highest, ledger) = (Arc::clone(&under_way), Arc::clone(&most), Ledger::default());
    let recorded = ledger.clone();
    let script = Script::good().properties(Properties::default().with(Properties::RECEIVE_MAXIMUM, 1u16.to_be_bytes()));
    let broker = ScriptedBroker::start(vec![script.on_publish(move |_, publish| {
        let mut held = held.lock().unwrap();
        held.push(publish.id);
        let mut highest = highest.lock().unwrap();
        *highest = held.len().max(*highest);
        recorded.note(publish);
        Answer::Silence
    })]);
    let (mut gateway, _folder) = gateway(&broker, &TWO.replace("20ms", "100ms").replace("50ms", "200ms"));
    // What would come besides comes before the acknowledgement, which takes its time.
    let begun = Instant::now();
    wait_until("the acknowledgements", SOON * 3, || {
        std::thread::sleep(Duration::from_millis(10));
        let ids = std::mem::take(&mut *under_way.lock().unwrap());
        ids.iter().for_each(|id| broker.send_raw(&encode_ack(0x40, *id, 0, true)));
        ledger.count("b/sensors/n") >= times(10, 100, 200)
    });
    assert_eq!(*most.lock().unwrap(), 1, "messages under way at once");
    assert_eq!(broker.connects().len(), 1);
    ledger.account("n").check_whole();
    let (count, seconds) = (ledger.count("b/sensors/n"), begun.elapsed().as_secs_f64());
    gateway.kill9();
    report(
        "B4",
        "receive maximum 1",
        &format!("1 under way at most, {count} readings in {seconds:.1} s, none out of order"),
    );
}

#[test]
fn b4_a_broker_that_allows_least_gets_least() {
    let watched = Duration::from_secs(times(2, 20, 60));
    let ledger = Ledger::default();
    let broker = ScriptedBroker::start(vec![Script::good().properties(least()).noting(&ledger)]);
    let (mut gateway, _folder) = gateway(&broker, TWO);
    wait_taken(&gateway, 20);
    let begun = Instant::now();
    wait_until("time to pass", watched + SOON, || begun.elapsed() >= watched);
    ["n", "air"].iter().for_each(|sensor| wait_settled(&gateway, &ledger, sensor));
    gateway.stop(SOON);
    let (n, _) = check_sensor(&ledger, "n");
    let (air, reported) = check_sensor(&ledger, "air");
    assert_eq!(reported, air);
    for publish in broker.publishes() {
        assert_eq!((publish.qos, publish.retain), (0, false), "{}", publish.topic);
    }
    let will = broker.connects().into_iter().next_back().unwrap().will;
    let happened = format!(
        "{n} received, {air} reported as lost, all at QoS 0 and not retained, largest packet {} bytes, {} connects, the will at QoS {}",
        largest(&broker),
        broker.connects().len(),
        will.unwrap().qos
    );
    report("B4", "128 bytes, 1 at a time, QoS 0, no retain, keep-alive 1 s at once", &happened);
}

#[test]
fn b4_the_keep_alive_of_the_broker_is_kept() {
    let watched = Duration::from_secs(times(2, 20, 60));
    let keep_alive = Properties::default().with(Properties::SERVER_KEEP_ALIVE, 1u16.to_be_bytes());
    let broker = ScriptedBroker::start(vec![Script::good().properties(keep_alive)]);
    let (mut gateway, _folder) = gateway(&broker, &TWO.replace("20ms", "60s").replace("50ms", "60s"));
    broker.wait_publish("health", |publish| publish.topic == "b/health", SOON);
    let begun = Instant::now();
    wait_until("time to pass", watched + SOON, || begun.elapsed() >= watched);
    let times: Vec<Instant> = after_connect(&broker).iter().map(|received| received.at).collect();
    // The broker closes after one and a half (MQTT 5, 3.1.2.10).
    let allowed = Duration::from_millis(1500);
    let longest = longest_gap(&[&times[..], &[Instant::now()]].concat(), allowed, "silent");
    assert_eq!(broker.connects().len(), 1);
    gateway.stop(SOON);
    let happened =
        format!("longest silence {:.2} s in {} s without readings", longest.as_secs_f64(), watched.as_secs());
    report("B4", "server keep-alive 1 s", &happened);
}
