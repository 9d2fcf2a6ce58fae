//! Outputs that a reload adds and removes while the link is up.

use fieldgate_link::Protocol;

use crate::common::scripted::{Script, ScriptedBroker};
use crate::common::wire::Properties;
use crate::harness::*;

fn topic(output: &str) -> String {
    format!("b/actuators/{output}/set")
}

fn asked(broker: &ScriptedBroker) -> Vec<String> {
    broker.filters().into_iter().map(|(filter, _)| filter).filter(|filter| filter.ends_with("/set")).collect()
}

/// Behind the answer to a subscription that was sent before. What has come is looked at in no certain order, and the link may still wait
/// for the spool when the first of these readings has gone; by the last it has looked at everything.
async fn round_trip(spool: &TestSpool, seq: u64) {
    for nth in 0..3 {
        put(spool, reading("air", 10 * seq + nth));
        eventually("delivered", || spool.is_empty()).await;
    }
}

#[tokio::test]
async fn the_first_output_is_subscribed_to_on_the_connection_that_stands_and_others_need_nothing() {
    for protocol in [Protocol::V4, Protocol::V5] {
        let broker = ScriptedBroker::start(vec![Script::good()]);
        let spool = open_spool();
        let mut link = start_with(settings(protocol, broker.port), &spool, Vec::new());
        link.up().await;
        round_trip(&spool, 1).await;
        assert_eq!(asked(&broker), Vec::<String>::new(), "nobody takes commands");
        link.outputs.send_replace(vec![topic("pump")]);
        eventually("subscribed", || asked(&broker) == ["b/actuators/+/set"]).await;
        // Behind the answer to the subscription.
        round_trip(&spool, 2).await;
        link.outputs.send_replace(vec![topic("pump"), topic("fan")]);
        round_trip(&spool, 3).await;
        link.outputs.send_replace(Vec::new());
        link.outputs.send_replace(vec![topic("fan")]);
        round_trip(&spool, 4).await;
        assert_eq!((asked(&broker).len(), broker.connects().len()), (1, 1));
        link.end().await;
    }
}

#[tokio::test]
async fn totals_are_subscribed_to_where_there_are_any_beside_outputs_or_without() {
    let broker = ScriptedBroker::start(vec![Script::good()]);
    let spool = open_spool();
    let total = || "b/sensors/gas/total/set".to_owned();
    let mut link = start_with(settings(Protocol::V5, broker.port), &spool, vec![total()]);
    link.up().await;
    eventually("subscribed", || asked(&broker) == ["b/sensors/+/total/set"]).await;
    link.outputs.send_replace(vec![topic("pump"), total()]);
    eventually("both", || asked(&broker).contains(&"b/actuators/+/set".to_owned())).await;
    // Behind the answer to the subscription.
    round_trip(&spool, 1).await;
    let before = asked(&broker).len();
    link.outputs.send_replace(vec![topic("pump"), topic("fan"), total(), "b/sensors/rain/total/set".into()]);
    round_trip(&spool, 2).await;
    assert_eq!((asked(&broker).len(), broker.connects().len()), (before, 1), "the wildcards cover them");
    link.end().await;
}

#[tokio::test]
async fn a_refusal_of_one_of_two_kinds_does_not_say_that_no_command_arrives() {
    let broker = ScriptedBroker::start(vec![Script::good().suback(0x87)]);
    let spool = open_spool();
    let topics = vec![topic("pump"), "b/sensors/gas/total/set".into()];
    let mut link = start_with(settings(Protocol::V5, broker.port), &spool, topics);
    let words = "some commands will not arrive: subscribing to b/";
    link.until("the alarm", |status| status.alarm.as_ref().is_some_and(|alarm| alarm.contains(words))).await;
    link.end().await;
}

#[tokio::test]
async fn without_wildcards_each_output_is_subscribed_to_when_it_comes() {
    let properties = Properties(vec![(Properties::WILDCARDS_AVAILABLE, vec![0])]);
    let broker = ScriptedBroker::start(vec![Script::good().properties(properties)]);
    let spool = open_spool();
    let mut link = start_with(settings(Protocol::V5, broker.port), &spool, vec![topic("pump")]);
    link.up().await;
    eventually("subscribed", || asked(&broker) == [topic("pump")]).await;
    link.outputs.send_replace(vec![topic("pump"), topic("fan")]);
    eventually("both", || asked(&broker).contains(&topic("fan"))).await;
    link.outputs.send_replace(Vec::new());
    round_trip(&spool, 1).await;
    link.outputs.send_replace(vec![topic("door")]);
    eventually("the new one", || asked(&broker).contains(&topic("door"))).await;
    assert_eq!(broker.connects().len(), 1);
    link.end().await;
}

#[tokio::test]
async fn an_alarm_about_commands_ends_with_the_last_output() {
    let broker = ScriptedBroker::start(vec![Script::good().suback(0x87)]);
    let spool = open_spool();
    let mut link = start(settings(Protocol::V5, broker.port), &spool);
    link.until("the alarm", |status| status.alarm.as_ref().is_some_and(|alarm| alarm.contains("no commands"))).await;
    link.outputs.send_replace(Vec::new());
    link.until("its end", |status| !status.alarm.as_ref().is_some_and(|alarm| alarm.contains("no commands"))).await;
    link.end().await;
}
