//! A broker is asked by a ping whether it is alive, and by nothing else.

use std::time::Duration;

use fieldgate_link::{Protocol, Settings};
use fieldgate_model::{Message, Qos};

use crate::common::scripted::{Script, ScriptedBroker};
use crate::common::wire::{Packet, Properties};
use crate::harness::*;

/// Everything but the birth message goes at QoS 0, so the broker's only word is the answer to a ping.
async fn lives_on_pings(protocol: Protocol) {
    let script = Script::good().no_subacks().hang_up_on(|packet| matches!(packet, Packet::Unsubscribe { .. }));
    let broker = ScriptedBroker::start(vec![script]);
    let spool = open_spool();
    let settings = Settings { keep_alive: Duration::from_secs(4), ..settings(protocol, broker.port) };
    let mut link = start(settings, &spool);
    link.up().await;
    let pings = || broker.received().iter().filter(|received| received.packet == Packet::PingReq).count();
    let mut seq = 0;
    eventually("three pings", || {
        seq += 1;
        put(&spool, Message { qos: Qos::AtMostOnce, ..reading("air", seq) });
        pings() >= 3
    })
    .await;
    assert_eq!((broker.connects().len(), broker.malformed()), (1, Vec::new()));
    assert!(!broker.received().iter().any(|received| matches!(received.packet, Packet::Unsubscribe { .. })));
    link.end().await;
}

#[tokio::test]
async fn a_broker_that_hangs_up_on_unsubscribe_and_answers_pings_only_keeps_the_link_under_version_5() {
    lives_on_pings(Protocol::V5).await;
}

#[tokio::test]
async fn a_broker_that_hangs_up_on_unsubscribe_and_answers_pings_only_keeps_the_link_under_3_1_1() {
    lives_on_pings(Protocol::V4).await;
}

/// With MQTT 5 the broker may say another keep-alive than ours (3.2.2.3.14). It also says how long a silence may last.
#[tokio::test]
async fn a_broker_that_falls_silent_is_left_after_its_own_keep_alive_and_not_after_ours() {
    let keep_alive = Properties::default().with(Properties::SERVER_KEEP_ALIVE, 2u16.to_be_bytes());
    let broker = ScriptedBroker::start(vec![Script::good().properties(keep_alive).no_pings(), Script::good()]);
    let spool = open_spool();
    let settings = Settings { keep_alive: Duration::from_secs(3600), ..settings(Protocol::V5, broker.port) };
    let link = start(settings, &spool);
    eventually("another connection", || broker.connects().len() >= 2).await;
    link.end().await;
}
