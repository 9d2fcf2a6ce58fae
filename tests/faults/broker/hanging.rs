//! H1 and H2: a broker that answers by hanging up, on one topic, on a subscription or on the retain flag.

use std::time::{Duration, Instant, SystemTime};

use rustix::process::Signal;
use serde_json::Value;

use crate::common::gateway::{Gateway, write_config};
use crate::common::ledger::Ledger;
use crate::common::pace::{at, slack};
use crate::common::quick::{LONG, config, folder, start, taken_of, url};
use crate::common::scripted::{Answer, Script, ScriptedBroker};
use crate::common::wire::{Properties, Publish, encode_disconnect};
use crate::common::{SOON, free_port, wait_until};
use crate::suite::{report, times};

const TWO: &str = "buses: { bench: { type: sim } }
sensors:
  n: { driver: waveform, every: 20ms, settings: { shape: counter } }
  m: { driver: waveform, every: 100ms, QOS settings: { shape: counter } }
";

const PUMP: &str = "actuators:
  pump: { driver: gpio-output, bus: bench, safe_state: \"off\", settings: { line: A } }
";

/// As [`config`] has it.
const LATE_AFTER: Duration = Duration::from_secs(1);

const PROTOCOLS: [&str; 2] = ["5", "3.1.1"];

fn gateway(broker: &ScriptedBroker, mqtt: &str, rest: &str) -> (Gateway, tempfile::TempDir) {
    let folder = folder();
    (start(folder.path(), &config(&broker.url(), mqtt, "", rest)), folder)
}

/// Waits until so many more readings of a sensor were taken by the broker, the next hundred in [`LONG`] each.
fn wait_flow(ledger: &Ledger, sensor: &str, more: usize) {
    let topic = format!("b/sensors/{sensor}");
    let then = ledger.count(&topic);
    for some in (0..more).step_by(100) {
        let next = then + more.min(some + 100);
        wait_until(&format!("{sensor} to flow"), LONG, || ledger.count(&topic) >= next);
    }
}

/// How a broker says that it forbids a topic.
#[derive(Clone, Copy, PartialEq)]
enum Word {
    Close,
    Disconnect(u8),
}

fn forbids(topic: &'static str, word: Word, ledger: &Ledger) -> Script {
    let decide = move |_: usize, publish: &Publish| match word {
        _ if publish.topic != topic => Answer::Acknowledge,
        Word::Close => Answer::DropBefore,
        Word::Disconnect(code) => Answer::Raw(encode_disconnect(code)),
    };
    Script::good().on_publish(decide).noting(ledger)
}

/// One topic, one broker; returns what happened.
fn h1_one(protocol: &str, topic: &'static str, word: Word, qos: &str) -> String {
    let ledger = Ledger::default();
    let broker = ScriptedBroker::start(vec![forbids(topic, word, &ledger)]);
    let (mut gateway, _folder) =
        gateway(&broker, &format!(", protocol: {protocol}"), &(TWO.replace("QOS", qos) + PUMP));
    if topic.ends_with("/reply") {
        wait_until("the subscription", LONG, || !broker.filters().is_empty());
    }
    wait_until(&format!("{topic} to be held back: {}", gateway.log()), LONG * 2, || {
        if topic.ends_with("/reply") {
            let set = Publish { topic: "b/actuators/pump/set".into(), payload: b"on".to_vec(), ..Publish::default() };
            broker.send(&set);
            std::thread::sleep(Duration::from_millis(100));
        }
        gateway.log().contains(&format!("{topic} is held back"))
    });
    let from = SystemTime::now();
    wait_flow(&ledger, "n", 20);
    let (connects, tries) = (broker.connects().len(), count(&broker, topic));
    wait_flow(&ledger, "n", times(50, 500, 2000));
    assert_eq!((broker.connects().len(), count(&broker, topic)), (connects, tries), "{topic} is tried again rarely");
    assert!((3..=6).contains(&connects), "{connects} connects until {topic} was known");
    assert!(!gateway.log().contains("our identifier"), "{}", gateway.log());
    if let Word::Disconnect(code) = word {
        assert!(gateway.log().contains(&format!("(0x{code:02X})")), "the code is shown");
    }
    if topic != "b/health" {
        let alarm = broker.wait_publish("the alarm in health", |publish| is_alarm(publish, topic), LONG);
        assert_eq!(alarm.topic, "b/health");
    }
    let delays = ledger.delays("n", from);
    let median = delays[delays.len() / 2];
    assert!(median <= Duration::from_secs(1) + slack(at(from)), "the others are {median:?} late");
    gateway.stop(SOON);
    format!("{topic}: {connects} connects")
}

/// The late topic of a sensor: the gateway has been without a broker for longer than `late_after` when this one comes.
fn h1_late(protocol: &str) -> String {
    let (ledger, port, folder) = (Ledger::default(), free_port(), folder());
    let rest = TWO.replace("QOS", "");
    let mut gateway = start(folder.path(), &config(&url(port), &format!(", protocol: {protocol}"), "", &rest));
    let begun = Instant::now();
    wait_until("readings that are late", LONG, || begun.elapsed() >= LATE_AFTER * 2 && taken_of(&gateway, "m") >= 5);
    let broker = ScriptedBroker::start_on(port, vec![forbids("b/late/m", Word::Close, &ledger)]);
    gateway.wait_log("b/late/m is held back", LONG * 2);
    wait_flow(&ledger, "n", 20);
    let connects = broker.connects().len();
    wait_until("what was late of the other", LONG, || ledger.count("b/late/n") > 0);
    wait_flow(&ledger, "n", times(50, 500, 2000));
    wait_flow(&ledger, "m", times(5, 50, 200));
    assert_eq!((broker.connects().len(), ledger.count("b/late/m")), (connects, 0));
    assert!((3..=6).contains(&connects), "{connects} connects until b/late/m was known");
    gateway.stop(SOON);
    format!("b/late/m, {protocol}: {connects} connects")
}

/// The loss topic: a reading is refused for good, and the record of that ends the connection.
fn h1_loss() -> String {
    const UNACCEPTABLE: u8 = 0x99;
    let ledger = Ledger::default();
    let decide = |_: usize, publish: &Publish| match publish.topic.as_str() {
        "b/sensors/m" => Answer::Reason(UNACCEPTABLE),
        "b/loss" => Answer::DropBefore,
        _ => Answer::Acknowledge,
    };
    let broker = ScriptedBroker::start(vec![Script::good().on_publish(decide).noting(&ledger)]);
    let (mut gateway, _folder) = gateway(&broker, ", protocol: 5", &TWO.replace("QOS", ""));
    gateway.wait_log("b/loss is held back", LONG * 2);
    wait_flow(&ledger, "n", 20);
    let connects = broker.connects().len();
    wait_flow(&ledger, "n", times(50, 500, 2000));
    assert_eq!(broker.connects().len(), connects, "b/loss is tried again rarely");
    assert!((3..=6).contains(&connects), "{connects} connects until b/loss was known");
    gateway.stop(SOON);
    format!("b/loss: {connects} connects")
}

fn count(broker: &ScriptedBroker, topic: &str) -> usize {
    broker.publishes().iter().filter(|publish| publish.topic == topic).count()
}

fn is_alarm(publish: &Publish, topic: &str) -> bool {
    let health = serde_json::from_slice::<Value>(&publish.payload).unwrap_or_default();
    publish.topic == "b/health" && health["link"]["alarm"].as_str().is_some_and(|alarm| alarm.contains(topic))
}

#[test]
fn h1_a_topic_on_which_the_broker_hangs_up_is_suspended_and_the_rest_flows() {
    let mut happened = Vec::new();
    let topics = ["b/devices", "b/health", "b/sensors/m", "b/actuators/pump/state", "b/actuators/pump/reply"];
    let protocols = times(1, 2, 2);
    for (index, topic) in topics.into_iter().enumerate() {
        // Each topic under one protocol at least.
        for protocol in PROTOCOLS.iter().cycle().skip(index).take(protocols) {
            happened.push(h1_one(protocol, topic, Word::Close, ""));
        }
    }
    happened.push(h1_one("5", "b/sensors/m", Word::Disconnect(0x87), ""));
    happened.push(h1_one("5", "b/devices", Word::Disconnect(0x95), ""));
    happened.push(h1_one("3.1.1", "b/sensors/m", Word::Close, "qos: 0,"));
    happened.extend(PROTOCOLS.map(h1_late));
    happened.push(h1_loss());
    report("H1", "closes, or DISCONNECT 0x87 and 0x95, on one topic", &happened.join("; "));
}

#[test]
fn h2_a_subscription_that_ends_the_connection_costs_commands_and_not_readings() {
    for protocol in PROTOCOLS {
        for (filter, rest) in [("b/", String::new()), ("b/health", String::new()), ("b/actuators/", PUMP.to_owned())] {
            let ledger = Ledger::default();
            let broker = ScriptedBroker::start(vec![Script::good().hangs_up_on_filter(filter).noting(&ledger)]);
            let (mut gateway, _folder) =
                gateway(&broker, &format!(", protocol: {protocol}"), &(TWO.replace("QOS", "") + &rest));
            wait_flow(&ledger, "n", times(50, 500, 2000));
            const REFUSED: &str = "no commands will arrive: the connection ends";
            if !rest.is_empty() {
                gateway.wait_log(REFUSED, SOON);
            }
            let (connects, log) = (broker.connects().len(), gateway.log());
            assert_eq!(log.contains(REFUSED), !rest.is_empty(), "{log}");
            assert!(connects <= 4 && !log.contains("our identifier") && !log.contains("notice sender"), "{log}");
            gateway.stop(SOON);
            report("H2", &format!("closes on SUBSCRIBE of {filter}, {protocol}"), &format!("{connects} connects"));
        }
    }
}

#[test]
fn h2_a_gateway_without_outputs_subscribes_to_no_commands() {
    let broker = ScriptedBroker::start(vec![Script::good()]);
    let (mut gateway, _folder) = gateway(&broker, "", &TWO.replace("QOS", ""));
    broker.wait_publish("a reading", |publish| publish.topic == "b/sensors/n", LONG);
    wait_until("all subscriptions", LONG, || broker.filters().iter().any(|(filter, _)| filter == "b/health"));
    let own = |filter: &str| filter == "b/status" || filter == "b/health";
    assert!(broker.filters().iter().all(|(filter, _)| own(filter)), "{:?}", broker.filters());
    gateway.stop(SOON);
}

/// Outputs that a reload adds are heard although the extra before them is never answered.
#[test]
fn h2_a_subscription_to_health_that_is_not_answered_delays_nothing() {
    let broker = ScriptedBroker::start(vec![Script::good().ignores_filter("b/health")]);
    let rest = TWO.replace("QOS", "");
    let (mut gateway, folder) = gateway(&broker, "", &rest);
    let asked = |part: &str| broker.filters().iter().any(|(filter, _)| filter.starts_with(part));
    wait_until("the subscription to health", LONG, || asked("b/health"));
    // With a limit the keep-alive would be another, and the connection a new one.
    let pump = PUMP.replace("safe_state", "safe_after: never, safe_state");
    write_config(folder.path(), &config(&broker.url(), "", "", &(rest + &pump)));
    gateway.signal(Signal::HUP);
    wait_until("the subscription to commands", LONG, || asked("b/actuators/"));
    broker.send(&Publish { topic: "b/actuators/pump/set".into(), payload: b"on".to_vec(), ..Publish::default() });
    broker.wait_publish("an answer", |publish| publish.topic == "b/actuators/pump/reply", LONG);
    assert_eq!(broker.connects().len(), 1);
    gateway.stop(SOON);
}

#[test]
fn h2_where_wildcards_are_forbidden_each_output_is_subscribed_to() {
    let properties = Properties::default().with(Properties::WILDCARDS_AVAILABLE, [0]);
    let broker = ScriptedBroker::start(vec![Script::good().properties(properties).hangs_up_on_filter("+")]);
    let (mut gateway, _folder) = gateway(&broker, "", &(TWO.replace("QOS", "") + PUMP));
    broker.wait_publish("a reading", |publish| publish.topic == "b/sensors/n", LONG);
    let filters = || broker.filters().into_iter().map(|(filter, _)| filter).collect::<Vec<_>>();
    wait_until("all subscriptions", LONG, || filters().len() >= 3);
    let (all, connects) = (["b/actuators/pump/set", "b/status", "b/health"], broker.connects().len());
    assert_eq!((filters(), connects), (all.map(String::from).to_vec(), 1));
    gateway.stop(SOON);
}

#[test]
fn h2_a_broker_that_hangs_up_on_retained_messages_gets_them_without_the_flag() {
    let words: [(&str, Word, usize); 3] =
        [("3.1.1", Word::Close, 3), ("5", Word::Close, 3), ("5", Word::Disconnect(0x9a), 2)];
    for (protocol, word, most) in words {
        let ledger = Ledger::default();
        let decide = move |_: usize, publish: &Publish| match word {
            _ if !publish.retain => Answer::Acknowledge,
            Word::Close => Answer::DropBefore,
            Word::Disconnect(code) => Answer::Raw(encode_disconnect(code)),
        };
        let broker = ScriptedBroker::start(vec![Script::good().on_publish(decide).noting(&ledger)]);
        let (mut gateway, _folder) =
            gateway(&broker, &format!(", protocol: {protocol}"), &(TWO.replace("QOS", "") + PUMP));
        wait_flow(&ledger, "n", 50);
        for words in ["the broker retains no messages", "mqtt.retain_state: false"] {
            gateway.wait_log(words, SOON);
        }
        wait_until("devices", LONG, || ledger.count("b/devices") > 0);
        let connects = broker.connects().len();
        assert!(connects <= most, "{connects} connects: {}", gateway.log());
        gateway.stop(SOON);
        report("H2", &format!("hangs up on retained messages, {protocol}"), &format!("{connects} connects"));
    }
}

#[test]
fn h2_a_broker_that_closes_on_a_retained_will_gets_one_without_the_flag() {
    for protocol in PROTOCOLS {
        let ledger = Ledger::default();
        let broker = ScriptedBroker::start(vec![Script::good().refuses_retained_will(0).noting(&ledger)]);
        let (mut gateway, _folder) = gateway(&broker, &format!(", protocol: {protocol}"), &TWO.replace("QOS", ""));
        wait_flow(&ledger, "n", 50);
        assert!(gateway.log().contains("accepts no last will with the retain flag"), "{}", gateway.log());
        let connects = broker.connects().len();
        gateway.stop(SOON);
        report("H2", &format!("closes on a retained will, {protocol}"), &format!("{connects} connects"));
    }
}

#[test]
fn h2_with_retain_state_false_nothing_of_ours_is_retained() {
    for protocol in PROTOCOLS {
        let broker = ScriptedBroker::start(vec![Script::good()]);
        let mqtt = format!(", protocol: {protocol}, retain_state: false");
        let (mut gateway, _folder) = gateway(&broker, &mqtt, &(TWO.replace("QOS", "") + PUMP));
        for topic in ["b/status", "b/devices", "b/health", "b/actuators/pump/state", "b/sensors/n/status"] {
            broker.wait_publish(topic, |publish| publish.topic == topic, LONG);
        }
        broker.drop_connections();
        wait_until("all of it again", LONG, || count(&broker, "b/devices") == 2);
        gateway.stop(SOON);
        assert!(broker.publishes().iter().all(|publish| !publish.retain));
        assert!(broker.connects().iter().all(|connect| !connect.will.as_ref().unwrap().retain));
    }
}
