//! What an attempt is made with, and how one that failed is described.

use super::*;
use crate::testing::{LinkRig, cause, settings};

const NOW: Duration = Duration::from_secs(10_000);

/// Of two brokers, where the second is in turn.
fn at_the_second(settings: Settings) -> (Supervisor, [Broker; 2]) {
    let first = settings.brokers[0].clone();
    let second = Broker { host: "elsewhere".into(), ..first.clone() };
    let brokers = vec![first.clone(), second.clone()];
    let mut supervisor = Supervisor::new(LinkRig::new(Settings { brokers, ..settings }).resources);
    supervisor.failover.failed(CauseKind::Other, NOW, 0.5);
    assert_eq!(supervisor.broker().as_ref(), Some(&second));
    (supervisor, [first, second])
}

/// The first broker is looked at while another serves: what one of them refuses says nothing about the other.
#[test]
fn an_attempt_is_made_with_what_is_known_of_its_own_broker() {
    let persistent = Settings { clean_session: false, client_id: Some("shed".into()), ..settings(Protocol::V5) };
    let (mut supervisor, [first, second]) = at_the_second(persistent);
    supervisor.failover.first().failed(CauseKind::WillQos, NOW);
    supervisor.failover.current().failed(CauseKind::WillRetain, NOW);
    for _ in 0..2 {
        supervisor.failover.first().ended(&cause(CauseKind::TooLarge), None, Duration::ZERO, NOW, "shed");
    }
    let mut attempt = |broker: &Broker| {
        let Attempt { will, settings, broker, .. } = Attempt::new(&mut supervisor, broker, Protocol::V5, NOW);
        (broker, will, settings.clean_session)
    };
    assert_eq!(attempt(&first), (first.clone(), Some(Will { assured: false, retain: true }), true));
    assert_eq!(attempt(&second), (second.clone(), Some(Will { assured: true, retain: false }), false));
}

#[test]
fn a_will_is_retained_where_states_are() {
    for retain_state in [true, false] {
        let (mut supervisor, [_, second]) = at_the_second(Settings { retain_state, ..settings(Protocol::V5) });
        let attempt = Attempt::new(&mut supervisor, &second, Protocol::V5, NOW);
        assert_eq!(attempt.will, Some(Will { assured: true, retain: retain_state }));
    }
}

#[test]
fn who_hangs_up_before_it_accepts_us_is_described_with_what_may_help() {
    let broker = settings(Protocol::V5).brokers.remove(0);
    let only = ProtocolChoice::Only(Protocol::V5);
    let place = "that mqtt:// fits port 1, and the broker's log";
    for (choice, protocol, kind, remedy) in [
        (only, Protocol::V5, CauseKind::HungUp, "if it knows MQTT 3.1.1 only, write `protocol: 3.1.1`; else "),
        (only, Protocol::V5, CauseKind::Reset, ""),
        (ProtocolChoice::Auto, Protocol::V4, CauseKind::HungUp, "it does so with MQTT 5 and with 3.1.1; "),
        (ProtocolChoice::Auto, Protocol::V5, CauseKind::HungUp, ""),
        (ProtocolChoice::Only(Protocol::V4), Protocol::V4, CauseKind::HungUp, ""),
    ] {
        let words = describe_hang_up(&broker, choice, protocol, kind);
        assert_eq!(words, format!(" before it accepted us; {remedy}check {place}"), "{choice:?} {protocol:?} {kind:?}");
    }
    let local = Broker { transport: Transport::Unix, ..broker };
    let words = describe_hang_up(&local, only, Protocol::V5, CauseKind::Closed);
    assert_eq!(words, " before it accepted us; check the broker's log", "a socket has no port");
}

/// Who reloads with another keep-alive does not lose what is known of the brokers.
#[test]
fn what_was_learnt_fits_settings_that_name_the_same_brokers_used_in_the_same_way() {
    let usual = settings(Protocol::V5);
    let supervisor = Supervisor::new(LinkRig::new(usual.clone()).resources);
    let Supervisor { resources, report, failover, .. } = supervisor;
    let handover = Handover { settings: resources.settings, report, failover };
    let (keep_alive, late_after) = (Duration::from_secs(5), Duration::from_secs(5));
    assert!(handover.fits(&usual) && handover.fits(&Settings { keep_alive, late_after, ..usual.clone() }));
    assert!(!handover.fits(&Settings { retain_state: !usual.retain_state, ..usual.clone() }));
    assert!(!handover.fits(&Settings { username: Some("other".into()), ..usual }));
}

#[test]
fn a_link_goes_on_where_the_one_before_ended_if_the_brokers_are_the_same() {
    for (keep_alive, username, goes_on) in [(5, None, true), (60, Some("other"), false)] {
        let (Supervisor { resources, report, failover, .. }, brokers) = at_the_second(settings(Protocol::V5));
        let (keep_alive, username) = (Duration::from_secs(keep_alive), username.map(str::to_owned));
        let settings = Settings { keep_alive, username, ..resources.settings.clone() };
        let handover = Some(Handover { settings: resources.settings, report, failover });
        let next = Supervisor::new(LinkResources { handover, ..LinkRig::new(settings).resources });
        assert_eq!(next.broker(), brokers.into_iter().nth(usize::from(goes_on)));
    }
}

/// MQTT would take an empty one for the wish to get one from the broker, which a persistent session cannot have.
#[test]
fn an_identifier_that_is_empty_is_chosen_by_chance_like_one_that_is_missing() {
    let identifier = |client_id: Option<&str>| {
        let settings = Settings { client_id: client_id.map(str::to_owned), ..settings(Protocol::V5) };
        Supervisor::new(LinkRig::new(settings).resources).failover.identifier().to_owned()
    };
    assert_eq!(identifier(Some("shed")), "shed");
    for by_chance in [identifier(None), identifier(Some(""))] {
        assert_eq!(by_chance.strip_prefix("fieldgate-").map(str::len), Some(8), "{by_chance}");
    }
}
