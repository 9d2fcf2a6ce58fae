//! Locks, dead times and demands of two and more outputs.

use super::*;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Up and down, a dead time of 100 ms between them, both seen to be off at the beginning.
fn motor() -> (InterlockHandle, InterlockHandle, SharedInterlocks) {
    let all = SharedInterlocks::default();
    all.arrange(vec![Pair { one: name("up"), other: name("down"), dead_time: ms(100) }], [name("up"), name("down")]);
    let (up, down) = (all.handle(name("up")), all.handle(name("down")));
    up.release(Duration::ZERO);
    down.release(Duration::ZERO);
    (up, down, all)
}

#[test]
fn one_at_a_time_with_a_rest_between() {
    let (up, down, _) = motor();
    assert_eq!(up.take(ms(1000)), Ok(ms(1000)));
    assert_eq!(up.take(ms(1001)), Ok(ms(1001)), "again");
    assert_eq!(down.take(ms(1002)), Err(Blocked { by: name("up"), why: "is on" }));
    up.release(ms(2000));
    up.release(ms(2050));
    assert_eq!(down.take(ms(2020)), Ok(ms(2100)), "the dead time counts from when it was first seen to be off");
    assert_eq!(up.take(ms(2030)).unwrap_err().by, name("down"), "taken, although it is not on yet");
}

#[test]
fn who_was_never_seen_to_be_off_counts_as_on() {
    let all = SharedInterlocks::default();
    all.arrange(vec![Pair { one: name("up"), other: name("down"), dead_time: ms(0) }], [name("up"), name("down")]);
    let (up, down) = (all.handle(name("up")), all.handle(name("down")));
    assert_eq!(up.take(ms(1)).unwrap_err().why, "is not known to be off");
    down.release(ms(2));
    assert_eq!(up.take(ms(3)), Ok(ms(3)));
    assert!(!up.is_wanted_off() && !down.is_wanted_off());
}

#[test]
fn who_must_go_on_sends_its_partner_off() {
    let (mains, generator, _) = motor();
    generator.take(ms(1)).unwrap();
    assert!(mains.demand(ms(2)).is_err() && generator.is_wanted_off());
    generator.release(ms(3));
    assert_eq!(generator.take(ms(4)).unwrap_err().why, "is about to go on");
    assert_eq!(mains.demand(ms(4)), Ok(ms(103)));
    assert!(!mains.is_wanted_off() && !generator.is_wanted_off());
}

#[test]
fn a_withdrawn_demand_sends_nobody_off() {
    let (mains, generator, _) = motor();
    generator.take(ms(1)).unwrap();
    mains.demand(ms(2)).unwrap_err();
    mains.withdraw();
    assert!(!generator.is_wanted_off());
}

#[test]
fn of_two_that_are_on_when_a_reload_pairs_them_one_gives_way() {
    let all = SharedInterlocks::default();
    let pair = |one: &str, other: &str| Pair { one: name(one), other: name(other), dead_time: ms(0) };
    let outputs = || ["a", "b", "x", "y"].map(name);
    all.arrange(vec![pair("a", "x"), pair("b", "y")], outputs());
    let (a, b) = (all.handle(name("a")), all.handle(name("b")));
    for partner in ["x", "y"] {
        all.handle(name(partner)).release(ms(0));
    }
    assert!(a.take(ms(1)).is_ok() && b.take(ms(1)).is_ok());
    all.arrange(vec![pair("a", "b")], outputs());
    assert!(!a.is_wanted_off() && b.is_wanted_off());
    assert!(a.has_partners() && !all.handle(name("x")).has_partners());
}

#[test]
fn of_two_that_are_on_when_a_reload_pairs_them_the_one_that_is_safe_when_on_stays() {
    let all = SharedInterlocks::default();
    let (generator, mains) = (all.handle(name("generator")), all.handle(name("mains")));
    mains.declare(true);
    assert!(generator.take(ms(1)).is_ok() && mains.take(ms(1)).is_ok());
    let pair = Pair { one: name("generator"), other: name("mains"), dead_time: ms(0) };
    all.arrange(vec![pair], ["generator", "mains"].map(name));
    assert!(generator.is_wanted_off() && !mains.is_wanted_off());
}

#[test]
fn the_interlocks_of_an_output_that_leaves_hold_until_it_has_left() {
    let (mains, generator, all) = motor();
    generator.take(ms(1)).unwrap();
    all.arrange(Vec::new(), [name("down")]);
    assert_eq!(mains.demand(ms(2)).unwrap_err().why, "is on");
    assert!(generator.is_wanted_off());
    mains.leave();
    assert!(!generator.is_wanted_off() && !generator.has_partners());
}

#[test]
fn who_has_left_before_the_new_configuration_says_nothing_of_the_next_device_of_its_name() {
    let (mains, generator, all) = motor();
    mains.declare(true);
    assert!(mains.take(ms(1)).is_ok());
    mains.leave();
    assert_eq!(generator.take(ms(2)).unwrap_err().why, "is on", "its interlocks apply until the new ones do");
    let pump = all.handle(name("pump"));
    assert!(pump.take(ms(3)).is_ok());
    let pair = |other: &str| Pair { one: name("up"), other: name(other), dead_time: ms(0) };
    all.arrange(vec![pair("pump")], ["up", "pump"].map(name));
    assert!(!pump.is_wanted_off(), "the old device under the name was on, and of the new one nothing is known");
    let mut next = all.handle(name("up"));
    next.begin();
    assert_eq!(next.take(ms(4)).unwrap_err().by, name("pump"));
    all.arrange(Vec::new(), [name("pump")]);
    assert!(pump.has_partners(), "the new one has not left");
    next.leave();
    assert!(!pump.has_partners());
}

#[test]
fn a_device_that_lets_go_late_says_nothing_of_the_next_of_its_name() {
    let (late, down, all) = motor();
    assert!(late.take(ms(1)).is_ok());
    let mut next = all.handle(name("up"));
    next.begin();
    next.release(ms(2));
    assert_eq!(next.take(ms(200)), Ok(ms(200)));
    late.release(ms(300));
    late.leave();
    assert_eq!(down.take(ms(400)).unwrap_err().why, "is on");
    assert_eq!(late.demand(ms(400)).unwrap_err().why, "is another device now");
    all.arrange(vec![Pair { one: name("up"), other: name("down"), dead_time: ms(0) }], ["up", "down"].map(name));
    assert_eq!(down.take(ms(500)).unwrap_err().why, "is on", "still known");
}

#[test]
fn what_has_failed_is_not_known_to_be_off_any_more() {
    let (up, down, _) = motor();
    up.mark_unknown();
    assert_eq!(down.take(ms(1)).unwrap_err().why, "is not known to be off");
    up.release(ms(2));
    assert_eq!(down.take(ms(3)), Ok(ms(102)));
}
