//! H5: a list of brokers of different abilities.

use serde_json::Value;

use crate::common::quick::{FAST, LONG, config, folder, start};
use crate::common::scripted::{Script, ScriptedBroker};
use crate::common::wait_until;
use crate::common::wire::{Properties, Publish};
use crate::suite::{report, times};

fn alarm(publish: &Publish) -> Option<String> {
    let health = serde_json::from_slice::<Value>(&publish.payload).unwrap();
    health["link"]["alarm"].as_str().map(str::to_owned)
}

#[test]
fn h5_what_one_broker_cannot_do_is_not_kept_from_the_other() {
    let rounds = times(1, 5, 20);
    (1..=rounds).for_each(there_and_back);
    report("H5", "fail-over to a broker without retain and back", &format!("{rounds} times, the will is as it was"));
}

/// With a gateway of its own: one that meets three short connections in a row tries that broker once a minute.
fn there_and_back(round: usize) {
    let first = ScriptedBroker::start(vec![Script::good()]);
    let less = Properties::default().with(Properties::RETAIN_AVAILABLE, [0]);
    let second = ScriptedBroker::start(vec![Script::good().properties(less).refuses_retained_will(0x9a)]);
    let (port, list) = (first.port, format!("[\"{}\", \"{}\"]", first.url(), second.url()));
    let folder = folder();
    let text = config(&first.url(), "", "", FAST).replace(&format!("\"{}\"", first.url()), &list);
    let mut gateway = start(folder.path(), &text);
    first.wait_publish("online", |publish| publish.topic == "b/status" && publish.retain, LONG);
    drop(first);
    wait_until("the second broker", LONG, || {
        second.connects().iter().any(|connect| connect.will.as_ref().is_some_and(|will| !will.retain))
    });
    second.wait_publish(
        "the alarm of the second",
        |publish| {
            publish.topic == "b/health" && alarm(publish).is_some_and(|alarm| alarm.contains("retains no messages"))
        },
        LONG,
    );
    let again = ScriptedBroker::start_on(port, vec![Script::good()]);
    // It may look at the second once more before the first.
    wait_until(&format!("the first broker, round {round}"), LONG, || {
        second.drop_connections();
        !again.connects().is_empty()
    });
    let health = again.wait_publish("health", |publish| publish.topic == "b/health", LONG);
    assert_eq!(alarm(&health), None, "the second one's alarm is not shown on the first");
    let will = again.connects().last().unwrap().will.clone().unwrap();
    assert!(will.retain && will.qos == 1, "a kill would leave a retained online: {will:?}");
    assert!(again.publishes().iter().any(|publish| publish.topic == "b/status" && publish.retain));
    gateway.kill9();
}
