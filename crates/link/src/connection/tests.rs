mod delivery;

use super::*;
use crate::session::Publication;
use crate::testing::{Bench, connected, settings};
use crate::{Protocol, Settings};
use fieldgate_model::Qos;

#[test]
fn the_brokers_keep_alive_is_ours_unless_it_has_none() {
    let ours = Duration::from_secs(60);
    let mut bench = Bench::new(Settings { keep_alive: ours, ..settings(Protocol::V5) });
    let theirs = Duration::from_secs(7);
    for (server_keep_alive, in_force) in [(Some(theirs), theirs), (Some(Duration::ZERO), ours), (None, ours)] {
        let connection = bench.connection(Connected { server_keep_alive, ..connected(Protocol::V5) });
        assert_eq!(connection.keep_alive(), in_force, "{server_keep_alive:?}");
    }
}

#[test]
fn what_is_larger_than_the_broker_or_we_allow_is_too_large() {
    let mut bench = Bench::new(settings(Protocol::V5));
    let publication = |bytes| Publication::plain("b/devices".into(), vec![0; bytes], Qos::AtLeastOnce, true);
    let size = publication(1000).packet_size() as u32;
    for (allowed, too_large) in [(size, false), (size - 1, true), (size / 2, true), (u32::MAX, false)] {
        let connection = bench.connection(Connected { maximum_packet_size: allowed, ..connected(Protocol::V5) });
        assert_eq!(connection.is_too_large(&publication(1000)), too_large, "{allowed} of {size}");
        assert!(connection.is_too_large(&publication(MAX_PACKET as usize)));
    }
}

#[test]
fn a_status_that_is_wanted_again_is_published_with_its_mark() {
    let mut bench = Bench::new(settings(Protocol::V5));
    let mut connection = bench.connection(connected(Protocol::V5));
    connection.on_online_published();
    connection.parts.latest.repeat("b/status".into(), b"online".to_vec());
    connection.repeat();
    assert!(connection.window.is_empty(), "without its mark it would be taken for another gateway's");
    connection.look_at_twins(boottime());
    assert!(!connection.window.is_empty());
}
