mod delivery;

use super::*;
use crate::inflight::InFlight;
use crate::session::{Publication, scripted};
use crate::testing::{LinkRig, alarm, connected, settings};
use crate::{Protocol, Settings};
use fieldgate_model::Qos;

#[test]
fn the_brokers_keep_alive_is_ours_unless_it_has_none() {
    let ours = Duration::from_secs(60);
    let mut rig = LinkRig::new(Settings { keep_alive: ours, ..settings(Protocol::V5) });
    let theirs = Duration::from_secs(7);
    for (server_keep_alive, in_force) in [(Some(theirs), theirs), (Some(Duration::ZERO), ours), (None, ours)] {
        let connection = rig.connection(Connected { server_keep_alive, ..connected(Protocol::V5) });
        assert_eq!(connection.keep_alive(), in_force, "{server_keep_alive:?}");
    }
}

#[test]
fn what_is_larger_than_the_broker_or_we_allow_is_too_large() {
    let mut rig = LinkRig::new(settings(Protocol::V5));
    let publication = |bytes| Publication::plain("b/devices".into(), vec![0; bytes], Qos::AtLeastOnce, true);
    let size = publication(1000).packet_size() as u32;
    for (allowed, too_large) in [(size, false), (size - 1, true), (size / 2, true), (u32::MAX, false)] {
        let connection = rig.connection(Connected { maximum_packet_size: allowed, ..connected(Protocol::V5) });
        assert_eq!(connection.is_too_large(&publication(1000)), too_large, "{allowed} of {size}");
        assert!(connection.is_too_large(&publication(MAX_PACKET as usize)));
    }
}

#[test]
fn a_status_that_is_wanted_again_is_published_with_its_mark() {
    let mut rig = LinkRig::new(settings(Protocol::V5));
    let mut connection = rig.connection(connected(Protocol::V5));
    connection.on_online_published();
    connection.resources.latest.repeat("b/status".into(), b"online".to_vec());
    connection.repeat();
    assert!(connection.window.is_empty(), "without its mark it would be taken for another gateway's");
    connection.look_at_twins(boottime());
    assert!(!connection.window.is_empty());
}

/// An `offline` of an earlier connection's will must not be taken for another gateway's.
#[test]
fn a_will_of_before_may_come_as_long_as_a_broker_takes_to_notice_unless_the_identifier_is_the_same() {
    let plain = Settings { keep_alive: Duration::from_secs(60), client_id: None, ..settings(Protocol::V5) };
    assert_eq!(lingering_will(&plain), Duration::from_secs(60 + 30 + 10));
    let named = Settings { client_id: Some("pump-house".into()), ..plain };
    assert_eq!(lingering_will(&named), Duration::ZERO, "the broker ends the earlier connection itself");
}

/// Each look wakes the board.
#[test]
fn limits_are_looked_at_once_a_second_at_rest_and_more_often_while_something_is_unsettled() {
    let pace = |keep_alive, change: &dyn Fn(&mut Connection<'_>)| {
        let mut rig = LinkRig::new(Settings { keep_alive: Duration::from_secs(keep_alive), ..settings(Protocol::V5) });
        let mut connection = rig.connection(connected(Protocol::V5));
        connection.on_online_published();
        connection.phase = Phase::Everything;
        change(&mut connection);
        connection.pace()
    };
    assert_eq!([pace(60, &|_| ()), pace(10, &|_| ()), pace(9, &|_| ())], [SLOW_TICK, SLOW_TICK, TICK]);
    assert_eq!(pace(60, &|connection| connection.one_at_a_time = OneAtATime::new(true)), TICK);
    assert_eq!(pace(60, &|connection| connection.phase = Phase::Readings { online_since: boottime() }), TICK);
    assert_eq!(pace(60, &|connection| connection.phase = Phase::Greeting), TICK);
}

/// Readings come first: a broker that hangs up on what describes the gateway must not keep them back.
#[test]
fn what_describes_the_gateway_is_published_last_and_everything_else_at_once() {
    let mut rig = LinkRig::new(settings(Protocol::V5));
    let connection = &mut rig.connection(connected(Protocol::V5));
    connection.on_online_published();
    for topic in ["b/devices", "b/health", "b/actuators/pump/state"] {
        connection.resources.latest.set(topic.into(), b"{}".to_vec());
    }
    let sent = |connection: &mut Connection<'_>| {
        connection.publish_latest();
        usize::from(MAX_WINDOW) - connection.window.free_places()
    };
    assert_eq!(sent(connection), 1);
    connection.phase = Phase::Everything;
    assert_eq!(sent(connection), 3);
}

/// Without the retain flag there is nothing at the broker that an empty message would clear.
#[test]
fn what_goes_is_cleared_at_the_broker_where_something_is_retained() {
    for (retain_state, published) in [(true, 1), (false, 0)] {
        let mut rig = LinkRig::new(Settings { retain_state, ..settings(Protocol::V5) });
        let mut connection = rig.connection(connected(Protocol::V5));
        connection.on_online_published();
        connection.resources.latest.set("b/actuators/pump/state".into(), Vec::new());
        connection.publish_latest();
        assert_eq!(usize::from(MAX_WINDOW) - connection.window.free_places(), published, "{retain_state}");
        assert_eq!(connection.resources.latest.is_pending(), retain_state);
    }
}

/// After a long rest the first message has as long to be acknowledged as any other.
#[test]
fn a_rest_does_not_count_against_the_broker_when_something_is_sent() {
    let mut rig = LinkRig::new(settings(Protocol::V5));
    let mut connection = rig.connection(connected(Protocol::V5));
    connection.limits = Limits::new(Duration::ZERO);
    connection.send(InFlight::Repeat, Publication::plain("b/a".into(), "1", Qos::AtLeastOnce, false));
    assert_eq!(connection.look_after(), None);
}

#[test]
fn a_retained_value_that_is_larger_than_the_broker_accepts_raises_an_alarm() {
    let mut rig = LinkRig::new(settings(Protocol::V5));
    let mut connection = rig.connection(Connected { maximum_packet_size: 100, ..connected(Protocol::V5) });
    connection.on_online_published();
    connection.resources.latest.set("b/actuators/pump/state".into(), vec![b'x'; 100]);
    connection.publish_latest();
    assert!(connection.window.is_empty(), "it would end the connection");
    assert_eq!(alarm(&connection).as_deref(), Some("b/actuators/pump/state is larger than the broker accepts"));
}

#[test]
fn a_publication_is_lowered_to_what_the_broker_offers() {
    for (maximum_qos, retain_available) in
        [(Qos::AtMostOnce, false), (Qos::AtLeastOnce, true), (Qos::ExactlyOnce, true)]
    {
        let LinkRig { resources, report, broker, .. } = &mut LinkRig::new(settings(Protocol::V5));
        let (session, mut wire) = scripted::session();
        let offered = Connected { maximum_qos, retain_available, ..connected(Protocol::V5) };
        let mut connection = Connection::new(resources, report, broker, session, offered);
        connection.send(InFlight::Repeat, Publication::plain("b/a".into(), "1", Qos::AtLeastOnce, true));
        let (sent, _) = wire.published.try_recv().unwrap();
        assert_eq!((sent.qos, sent.retain), (maximum_qos.min(Qos::AtLeastOnce), retain_available));
        assert_eq!(alarm(&connection).is_some(), maximum_qos == Qos::AtMostOnce, "{:?}", alarm(&connection));
    }
}
