//! Brokers from before MQTT 5.

use fieldgate_link::{LinkState, LinkStatus, Protocol, ProtocolChoice, Settings};

use crate::common::scripted::{Greeting, Script, ScriptedBroker};
use crate::harness::*;

/// What such brokers answer to MQTT 5: the last leaves the connection open.
fn answers() -> [Greeting; 4] {
    [Greeting::Close, Greeting::Code(0x84), Greeting::Code(1), Greeting::Raw(vec![0x20, 2, 0, 1])]
}

fn levels(broker: &ScriptedBroker) -> Vec<u8> {
    broker.connects().iter().map(|connect| connect.level).collect()
}

fn auto(broker: &ScriptedBroker) -> Settings {
    Settings { protocol: ProtocolChoice::Auto, ..settings(Protocol::V5, broker.port) }
}

#[tokio::test]
async fn an_older_broker_is_met_in_3_1_1_at_once_and_remembered() {
    for answer in answers() {
        let hangs_up = answer == Greeting::Close;
        let broker = ScriptedBroker::start(vec![Script::good().greeting_5(answer)]);
        let spool = open_spool();
        let mut link = start(auto(&broker), &spool);
        link.up().await;
        let met = if hangs_up { vec![5, 4, 5, 4] } else { vec![5, 4] };
        assert_eq!((levels(&broker), link.status.borrow().protocol), (met.clone(), Protocol::V4));
        put(&spool, reading("air", 1));
        eventually("delivered", || spool.is_empty()).await;
        broker.drop_connections();
        link.until("up again", |status| status.connects == 2).await;
        assert_eq!(levels(&broker), [met, vec![4]].concat());
        link.end().await;
    }
}

#[tokio::test]
async fn one_hang_up_does_not_make_a_broker_old() {
    let broker = ScriptedBroker::start(vec![Script::good().greeting(Greeting::Close), Script::good()]);
    let mut link = start(auto(&broker), &open_spool());
    link.up().await;
    assert_eq!((levels(&broker), link.status.borrow().protocol), (vec![5, 4, 5], Protocol::V5));
    assert_eq!(link.status.borrow().connects, 1);
    link.end().await;
}

#[tokio::test]
async fn a_newer_broker_is_met_in_5() {
    let broker = ScriptedBroker::start(vec![Script::good()]);
    let mut link = start(auto(&broker), &open_spool());
    link.up().await;
    assert_eq!((levels(&broker), link.status.borrow().protocol), (vec![5], Protocol::V5));
    link.end().await;
}

#[tokio::test]
async fn with_a_protocol_that_was_chosen_the_remedy_is_said() {
    for answer in answers() {
        let broker = ScriptedBroker::start(vec![Script::good().greeting_5(answer)]);
        let mut link = start(settings(Protocol::V5, broker.port), &open_spool());
        let words = link.failed().await;
        assert!(words.contains("3.1.1"), "{words}");
        assert!(levels(&broker).iter().all(|level| *level == 5));
        link.end().await;
    }
}

#[tokio::test]
async fn a_broker_that_hangs_up_on_both_is_asked_in_both_and_that_is_said() {
    let broker = ScriptedBroker::start(vec![Script::good().greeting(Greeting::Close)]);
    let mut link = start(auto(&broker), &open_spool());
    let both =
        |status: &LinkStatus| status.last_error.as_ref().is_some_and(|words| words.contains("MQTT 5 and with 3.1.1"));
    link.until("both are named", both).await;
    eventually("four connects", || broker.connects().len() >= 4).await;
    assert_eq!(levels(&broker)[..4], [5, 4, 5, 4]);
    assert_ne!(link.status.borrow().state, LinkState::Up);
    link.end().await;
}
