//! Back to the first broker of a list.

use std::collections::BTreeSet;
use std::time::Duration;

use fieldgate_link::{LinkStatus, Protocol, ProtocolChoice, Settings};

use crate::common::scripted::{Greeting, Script, ScriptedBroker};
use crate::common::wire::Packet;
use crate::harness::*;

const EVERY: Option<Duration> = Some(Duration::from_secs(1));

fn settings_of(protocol: Protocol, first: u16, second: &ScriptedBroker) -> Settings {
    let brokers = vec![broker("127.0.0.1", first), broker("127.0.0.1", second.port)];
    Settings { brokers, prefer_first: EVERY, ..settings(protocol, 1) }
}

fn at(port: u16) -> impl Fn(&LinkStatus) -> bool {
    move |status| status.broker.ends_with(&format!(":{port}")) && status.state == fieldgate_link::LinkState::Up
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
        let has_ended = || matches!(second.received().last().unwrap().packet, Packet::Disconnect { .. });
        eventually("an orderly end", has_ended).await;
        let last = second.publishes().pop().unwrap();
        assert_eq!((last.topic.as_str(), last.text().as_str(), last.retain), ("b/status", "offline", true));
        assert_eq!(first.connects().len(), 1, "the connection that was tried is the one that is used");
        link.end().await;
    }
}

/// Whatever it does instead of accepting us, the second goes on without a break.
#[tokio::test]
async fn a_first_that_does_not_accept_us_is_not_changed_over_to() {
    for greeting in [Greeting::Code(0x87), Greeting::Silence] {
        let second = ScriptedBroker::start(vec![Script::good()]);
        let (port, spool) = (free_port(), open_spool());
        let mut link = start(settings_of(Protocol::V5, port, &second), &spool);
        link.until("up at the second", at(second.port)).await;
        let first = ScriptedBroker::start_on(port, vec![Script::good().greeting(greeting.clone())]);
        eventually("the first is tried", || !first.connects().is_empty()).await;
        put(&spool, reading("air", 1));
        eventually("delivered meanwhile", || taken(&second) == [1]).await;
        if greeting != Greeting::Silence {
            eventually("the first is tried again", || first.connects().len() == 2).await;
        }
        assert_eq!((second.connects().len(), link.status.borrow().connects), (1, 1), "{greeting:?}");
        link.end().await;
    }
}

#[tokio::test]
async fn a_first_that_hangs_up_is_left_again_at_once() {
    let second = ScriptedBroker::start(vec![Script::good()]);
    let port = free_port();
    let mut link = start(settings_of(Protocol::V5, port, &second), &open_spool());
    link.until("up at the second", at(second.port)).await;
    let first = ScriptedBroker::start_on(port, vec![Script::good().greeting(Greeting::Close)]);
    eventually("the first is tried", || !first.connects().is_empty()).await;
    link.until("back at the second", |status| status.connects == 2 && at(second.port)(status)).await;
    assert_eq!((first.connects().len(), second.connects().len()), (2, 2), "once beside the second, and once alone");
    link.end().await;
}

/// A first that is older than MQTT 5, which it was not before.
#[tokio::test]
async fn a_first_that_knows_3_1_1_only_is_gone_back_to() {
    let second = ScriptedBroker::start(vec![Script::good()]);
    let port = free_port();
    let settings = Settings { protocol: ProtocolChoice::Auto, ..settings_of(Protocol::V5, port, &second) };
    let mut link = start(settings, &open_spool());
    link.until("up at the second", at(second.port)).await;
    let _first = ScriptedBroker::start_on(port, vec![Script::good().greeting_5(Greeting::Code(0x84))]);
    let old = link.until("up at the first", at(port)).await;
    assert_eq!(old.protocol, Protocol::V4);
    link.end().await;
}

/// A reload that changes how the link is used, but not with whom, does not begin the search again.
#[tokio::test]
async fn another_link_goes_on_at_the_broker_of_the_one_before() {
    let second = ScriptedBroker::start(vec![Script::good()]);
    let port = free_port();
    let settings = Settings { prefer_first: None, ..settings_of(Protocol::V5, port, &second) };
    let mut link = start(settings.clone(), &open_spool());
    link.until("up at the second", at(second.port)).await;
    let first = ScriptedBroker::start_on(port, vec![Script::good()]);
    let mut link = link.again(Settings { keep_alive: Duration::from_secs(7), ..settings.clone() }).await;
    link.until("up again", |status| status.connects == 2 && at(second.port)(status)).await;
    assert_eq!((first.connects().len(), second.connects()[1].keep_alive), (0, 7));
    let user = Settings { username: Some("me".into()), ..settings };
    let mut link = link.again(user).await;
    link.until("up at the first, for a user that may be new to both", at(port)).await;
    link.end().await;
}
