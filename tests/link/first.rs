//! Back to the first broker of a list.

use std::collections::BTreeSet;
use std::time::Duration;

use fieldgate::link::{LinkStatus, Protocol, Settings};

use crate::common::scripted::{Greeting, Script, ScriptedBroker};
use crate::common::wire::Packet;
use crate::harness::*;

const EVERY: Option<Duration> = Some(Duration::from_secs(1));

fn settings_of(protocol: Protocol, first: u16, second: &ScriptedBroker) -> Settings {
    let brokers = vec![broker("127.0.0.1", first), broker("127.0.0.1", second.port)];
    Settings { brokers, prefer_first: EVERY, ..settings(protocol, 1) }
}

fn at(port: u16) -> impl Fn(&LinkStatus) -> bool {
    move |status| status.broker.ends_with(&format!(":{port}")) && status.state == fieldgate::link::LinkState::Up
}

/// The numbers of the readings that a broker took.
fn taken(broker: &ScriptedBroker) -> Vec<u64> {
    let of_air = |publish: &crate::common::wire::Publish| publish.topic.contains("/air");
    in_order(&broker.publishes().into_iter().filter(of_air).map(|publish| publish.text()).collect::<Vec<_>>())
}

#[tokio::test]
async fn the_first_is_gone_back_to_when_it_returns_and_nothing_is_lost() {
    for protocol in [Protocol::V4, Protocol::V5] {
        let second = ScriptedBroker::start(vec![Script::good()]);
        let port = free_port();
        let spool = open_spool();
        let mut link = start(settings_of(protocol, port, &second), &spool);
        link.until("up at the second", at(second.port)).await;
        let first = ScriptedBroker::start_on(port, vec![Script::good()]);
        let mut seq = 0;
        eventually("up at the first", || {
            seq += 1;
            put(&spool, reading("air", seq));
            !first.connects().is_empty()
        })
        .await;
        link.until("up at the first", at(port)).await;
        let all = || {
            let all: BTreeSet<u64> = taken(&second).into_iter().chain(taken(&first)).collect();
            all.into_iter().eq(1..=seq)
        };
        eventually("each reading to arrive at one of them", all).await;
        eventually("all delivered", || spool.is_empty()).await;
        let last = second.publishes().pop().unwrap();
        assert_eq!((last.topic.as_str(), last.text().as_str(), last.retain), ("b/status", "offline", true));
        assert!(matches!(second.received().last().unwrap().packet, Packet::Disconnect { .. }), "an orderly end");
        assert_eq!(first.connects().len(), 1, "a look is no connect");
        link.end().await;
    }
}

#[tokio::test]
async fn a_first_that_refuses_is_left_again_at_once() {
    let second = ScriptedBroker::start(vec![Script::good()]);
    let port = free_port();
    let mut link = start(settings_of(Protocol::V5, port, &second), &open_spool());
    link.until("up at the second", at(second.port)).await;
    let first = ScriptedBroker::start_on(port, vec![Script::good().greeting(Greeting::Code(0x87))]);
    eventually("the first is tried", || !first.connects().is_empty()).await;
    link.until("back at the second", |status| status.connects == 2 && at(second.port)(status)).await;
    assert_eq!((first.connects().len(), second.connects().len()), (1, 2));
    link.end().await;
}
