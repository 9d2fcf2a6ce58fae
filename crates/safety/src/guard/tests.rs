//! Each rule by itself; all of them together under chance are in `machine/tests/lives.rs`.

mod partners;

use super::*;
use crate::{Pair, SharedInterlocks};
use fieldgate_model::Name;

const OFF: Action = Action::Set(OutputValue::Switch(false));
const ON: Action = Action::Set(OutputValue::Switch(true));

impl Guard {
    fn command(&mut self, now: Duration, action: Action, lease: Option<Duration>) -> Result<Grant, Refusal> {
        self.request(now, action, lease, StateCause::Command)
    }
}

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const READ_OFF: Readback = Readback { is_on: false, is_ramping: false };
const READ_ON: Readback = Readback { is_on: true, is_ramping: false };

fn base() -> Limits {
    Limits::new(OFF, Some(s(30)))
}

fn guard(limits: Limits) -> Guard {
    guard_in(&SharedInterlocks::default(), "pump", limits)
}

fn guard_in(all: &SharedInterlocks, name: &str, limits: Limits) -> Guard {
    let mut guard = Guard::new(limits, all.handle(Name::new(name).unwrap()), OutputValue::Switch(false), s(0));
    guard.make_safe(s(0), StateCause::Start);
    guard.read_back(s(0), READ_OFF);
    guard
}

fn verdict(action: Action, cause: StateCause) -> Option<Verdict> {
    Some(Verdict { action, cause })
}

/// A command that is carried out at once; that the hardware went on is seen, that it went off is not yet.
fn now(guard: &mut Guard, at: u64, action: Action, lease: Option<Duration>) {
    let granted = guard.command(s(at), action, lease);
    assert!(matches!(granted, Ok(Grant::Now(_))), "{granted:?}");
    if is_on(guard.action) {
        guard.read_back(s(at), READ_ON);
    }
}

fn refused(guard: &mut Guard, at: u64, action: Action, lease: Option<Duration>) -> String {
    let before = guard.clone();
    let words = guard.command(s(at), action, lease).unwrap_err().to_string();
    let state = |guard: &Guard| (guard.action, guard.since, guard.lease_until, guard.waiting);
    assert_eq!(state(guard), state(&before), "a rejected command changes nothing");
    words
}

#[test]
fn an_output_that_is_safe_has_no_deadline() {
    let mut guard = guard(base());
    assert_eq!(guard.deadline(None, false), None);
    assert_eq!(guard.due(s(1000), None, false), None);
    now(&mut guard, 1, OFF, Some(s(5)));
    assert_eq!(guard.deadline(Some(s(1)), false), None);
}

#[test]
fn a_lost_link_makes_it_safe_counted_from_the_last_byte() {
    let mut guard = guard(base());
    now(&mut guard, 100, ON, None);
    assert_eq!(guard.deadline(Some(s(110)), false), Some(s(140)));
    assert_eq!(guard.due(s(139), Some(s(110)), false), None);
    assert_eq!(guard.due(s(140), Some(s(111)), false), None, "the broker was heard once more");
    assert_eq!(guard.due(s(141), Some(s(111)), false), verdict(OFF, StateCause::SafeState));
    assert_eq!(guard.due(s(142), Some(s(111)), false), None, "it trips once");
}

#[test]
fn never_keeps_the_last_state() {
    let mut guard = guard(Limits { safe_after: None, ..base() });
    now(&mut guard, 0, ON, None);
    assert_eq!(guard.due(s(1_000_000), None, false), None);
}

#[test]
fn a_lease_ends_by_itself_and_a_new_command_replaces_it() {
    let mut guard = guard(Limits { safe_after: None, ..base() });
    now(&mut guard, 0, ON, Some(s(10)));
    now(&mut guard, 5, ON, Some(s(10)));
    assert_eq!(guard.due(s(10), None, false), None, "renewed");
    assert_eq!(guard.due(s(15), None, false), verdict(OFF, StateCause::For));
    now(&mut guard, 20, ON, Some(s(10)));
    now(&mut guard, 21, ON, None);
    assert_eq!(guard.deadline(None, false), None, "a command without `for` has no end");
}

#[test]
fn a_safe_state_that_is_on_is_returned_to_as_well() {
    let mut guard = guard(Limits { safe_state: ON, ..base() });
    now(&mut guard, 1, OFF, None);
    assert_eq!(guard.due(s(30), Some(s(0)), false), verdict(ON, StateCause::SafeState));
}

#[test]
fn max_on_counts_from_the_first_on_however_often_it_is_repeated() {
    let mut guard = guard(Limits { max_on: Some(s(600)), safe_after: None, ..base() });
    now(&mut guard, 100, ON, None);
    now(&mut guard, 600, ON, Some(s(3000)));
    assert_eq!(guard.deadline(None, false), Some(s(700)));
    assert_eq!(guard.due(s(699), None, false), None);
    assert_eq!(guard.due(s(700), None, false), verdict(OFF, StateCause::MaxOn));
    assert_eq!(guard.deadline(None, false), None, "the lease has ended with it");
}

#[test]
fn too_early_off_is_carried_out_when_min_on_has_passed() {
    let mut guard = guard(Limits { min_on: s(60), ..base() });
    now(&mut guard, 100, ON, None);
    let Ok(Grant::At(at, refusal)) = guard.command(s(110), OFF, None) else { panic!("not now") };
    assert_eq!((at, refusal.to_string().as_str()), (s(160), "limit: min_on keeps it on for another 50s"));
    assert_eq!(guard.due(s(159), Some(s(159)), false), None);
    assert_eq!(guard.due(s(160), Some(s(160)), false), verdict(OFF, StateCause::Limit));
}

#[test]
fn a_later_on_takes_back_an_off_that_waits() {
    let mut guard = guard(Limits { min_on: s(60), ..base() });
    now(&mut guard, 100, ON, None);
    assert!(matches!(guard.command(s(110), OFF, None), Ok(Grant::At(..))));
    now(&mut guard, 120, ON, None);
    assert_eq!(guard.due(s(160), Some(s(160)), false), None);
}

#[test]
fn a_for_is_as_long_as_min_on_at_least() {
    let mut guard = guard(Limits { min_on: s(10), ..base() });
    assert_eq!(refused(&mut guard, 100, ON, Some(s(9))), "limit: `for` would end before min_on, 10s, has passed");
    now(&mut guard, 100, ON, Some(s(10)));
    assert_eq!(guard.deadline(Some(s(100)), false), Some(s(110)));
}

#[test]
fn a_trip_does_not_wait_for_min_on() {
    let mut guard = guard(Limits { min_on: s(60), ..base() });
    now(&mut guard, 100, ON, None);
    assert!(matches!(guard.command(s(110), OFF, None), Ok(Grant::At(..))));
    assert_eq!(guard.due(s(130), Some(s(100)), false), verdict(OFF, StateCause::SafeState));
    assert_eq!(guard.due(s(160), Some(s(100)), false), None, "what waited is gone");
}

#[test]
fn too_early_on_is_refused_and_the_start_counts_as_off() {
    let mut guard = guard(Limits { min_off: s(300), min_on: s(5), ..base() });
    assert_eq!(refused(&mut guard, 10, ON, None), "limit: off for 10s, and min_off is 5m; in 290s");
    assert_eq!(refused(&mut guard, 300, ON, Some(s(4))), "limit: `for` would end before min_on, 5s, has passed");
    now(&mut guard, 300, ON, None);
    now(&mut guard, 400, OFF, None);
    assert!(refused(&mut guard, 699, ON, None).starts_with("limit: off for 299s"));
    now(&mut guard, 700, ON, Some(s(5)));
}

#[test]
fn of_an_output_that_is_safe_when_on_the_off_is_refused_and_the_on_waits() {
    let mut guard = guard(Limits { safe_state: ON, min_on: s(10), min_off: s(20), ..base() });
    assert!(refused(&mut guard, 5, OFF, None).starts_with("limit: on for 5s"));
    now(&mut guard, 10, OFF, None);
    guard.read_back(s(10), READ_OFF);
    assert!(matches!(guard.command(s(15), ON, None), Ok(Grant::At(at, _)) if at == s(30)));
    assert_eq!(guard.due(s(30), Some(s(30)), false), verdict(ON, StateCause::Limit));
}

#[test]
fn switches_are_counted_within_any_hour() {
    let mut guard = guard(Limits { switches_per_hour: Some(2), safe_after: None, ..base() });
    for at in [10, 20] {
        now(&mut guard, at, ON, None);
        now(&mut guard, at, ON, None);
        now(&mut guard, at + 1, OFF, None);
    }
    assert_eq!(refused(&mut guard, 30, ON, None), "limit: it was switched 2 times within the last hour; in 3580s");
    now(&mut guard, 3610, ON, None);
    now(&mut guard, 3611, OFF, None);
    assert!(refused(&mut guard, 3612, ON, None).starts_with("limit: it was switched 2 times"));
}

#[test]
fn a_pulse_ends_by_itself_and_is_not_prolonged() {
    let mut guard = guard(Limits { pulse: Some(Duration::from_millis(500)), ..base() });
    now(&mut guard, 10, ON, None);
    assert_eq!(refused(&mut guard, 10, ON, None), "busy: it pulses for another 500ms");
    assert!(refused(&mut guard, 10, ON, Some(s(1))).starts_with("out_of_range: it pulses, for 500ms"));
    assert_eq!(guard.due(Duration::from_millis(10_500), Some(s(10)), false), verdict(OFF, StateCause::For));
}

#[test]
fn a_toggle_inverts_the_last_requested_action() {
    let mut guard = guard(Limits { min_on: s(60), ..base() });
    assert_eq!(
        guard.command(s(1), Action::Toggle, None),
        Ok(Grant::Now(Verdict { action: ON, cause: StateCause::Command }))
    );
    guard.read_back(s(1), READ_ON);
    assert!(matches!(guard.command(s(2), Action::Toggle, None), Ok(Grant::At(..))), "off, when min_on has passed");
    now(&mut guard, 3, Action::Toggle, None);
    assert_eq!(guard.due(s(61), Some(s(61)), false), None, "which was taken back");
}

#[test]
fn a_dimmer_has_limits_on_being_on_and_not_on_how_much() {
    let set = |percent| Action::Set(OutputValue::Percent(percent));
    let limits = Limits { safe_state: set(0.0), min_on: s(60), ..base() };
    let mut guard = Guard::new(
        limits,
        SharedInterlocks::default().handle(Name::new("lamp").unwrap()),
        OutputValue::Percent(0.0),
        s(0),
    );
    for (at, percent) in [(1, 10.0), (2, 80.0), (3, 5.0)] {
        now(&mut guard, at, set(percent), None);
    }
    assert!(matches!(guard.command(s(4), set(0.0), None), Ok(Grant::At(at, _)) if at == s(61)));
}

/// Two outputs of which the first has this safe state, and a dead time of a second between them.
fn pair(safe: Action) -> (Guard, Guard) {
    let all = SharedInterlocks::default();
    let name = |text| Name::new(text).unwrap();
    all.arrange(
        vec![Pair { one: name("mains"), other: name("generator"), dead_time: s(1) }],
        ["mains", "generator"].map(name),
    );
    let limits = Limits { safe_state: safe, safe_after: None, ..base() };
    (guard_in(&all, "mains", limits), guard_in(&all, "generator", Limits { safe_after: None, ..base() }))
}

#[test]
fn an_interlocked_output_is_refused_while_the_other_is_on_and_rests_afterwards() {
    let (mut up, mut down) = pair(OFF);
    now(&mut up, 10, ON, None);
    up.read_back(s(10), READ_ON);
    assert_eq!(refused(&mut down, 11, ON, None), "interlock: mains is on");
    now(&mut up, 12, OFF, None);
    assert_eq!(refused(&mut down, 12, ON, None), "interlock: mains is on", "nobody has seen it off yet");
    up.read_back(s(12), READ_OFF);
    let Ok(Grant::At(at, refusal)) = down.command(s(12), ON, None) else { panic!("not now") };
    assert_eq!(
        (at, refusal.to_string().as_str()),
        (s(13), "interlock: it rests for another 1s after the other went off")
    );
    assert_eq!(refused(&mut up, 12, ON, None), "interlock: generator is on", "which is decided");
    assert_eq!(down.due(s(13), None, false), verdict(ON, StateCause::Command));
}

#[test]
fn an_output_that_is_seen_to_be_off_late_keeps_the_lock_for_the_on_that_waits() {
    let (mut up, mut down) = pair(OFF);
    now(&mut down, 30, ON, None);
    now(&mut down, 40, OFF, None);
    down.read_back(s(40), READ_OFF);
    assert!(matches!(up.command(s(40), ON, None), Ok(Grant::At(at, _)) if at == s(41)));
    // Hardware that had not followed an earlier off does so at last.
    up.read_back(s(40), READ_OFF);
    assert_eq!(refused(&mut down, 40, ON, None), "interlock: mains is on", "or about to be");
    assert_eq!(up.due(s(41), None, false), verdict(ON, StateCause::Command));
}

#[test]
fn a_safe_state_that_is_on_sends_its_partner_off_first() {
    let (mut mains, mut generator) = pair(ON);
    assert!(!mains.is_safe(), "at the start nobody had seen the generator off");
    assert_eq!(mains.due(s(0), None, false), None);
    assert_eq!(mains.due(s(2), None, false), verdict(ON, StateCause::Start));
    now(&mut mains, 10, OFF, None);
    mains.read_back(s(10), READ_OFF);
    assert!(matches!(generator.command(s(20), ON, None), Ok(Grant::Now(_))));
    assert_eq!(mains.make_safe(s(30), StateCause::SafeState), None);
    assert_eq!(generator.due(s(30), None, false), verdict(OFF, StateCause::Interlock));
    assert_eq!(mains.due(s(31), None, false), None, "nobody has seen it off yet");
    generator.read_back(s(31), READ_OFF);
    assert_eq!(mains.due(s(32), None, false), verdict(ON, StateCause::SafeState));
}

#[test]
fn a_command_that_cannot_go_on_after_all_does_not_take_the_end_of_for_with_it() {
    let (mut mains, mut generator) = pair(ON);
    mains.due(s(2), None, false);
    mains.read_back(s(2), READ_ON);
    mains.relimit(Limits { min_off: s(5), ..Limits::new(ON, None) });
    now(&mut mains, 10, OFF, Some(s(8)));
    mains.read_back(s(10), READ_OFF);
    assert!(matches!(mains.command(s(11), ON, None), Ok(Grant::At(..))));
    generator.mark_unknown(s(12));
    assert_eq!(mains.due(s(15), None, false), None, "the generator may be on");
    assert!(mains.has_waiting_command());
    assert_eq!(mains.due(s(18), None, false), None);
    assert!(!mains.has_waiting_command(), "it is insisted upon at the end of `for`");
    generator.read_back(s(19), READ_OFF);
    assert_eq!(mains.due(s(20), None, false), verdict(ON, StateCause::For));
}

#[test]
fn max_on_counts_from_a_failure_in_which_it_may_have_gone_on() {
    let mut guard = guard(Limits { max_on: Some(s(60)), ..Limits::new(OFF, None) });
    guard.mark_unknown(s(10));
    now(&mut guard, 20, ON, None);
    assert_eq!(guard.deadline(None, false), Some(s(70)));
    guard.make_safe(s(30), StateCause::SafeState);
    guard.read_back(s(31), READ_OFF);
    now(&mut guard, 40, ON, None);
    assert_eq!(guard.deadline(None, false), Some(s(100)), "it was seen to be off in between");
}

#[test]
fn a_longer_min_off_applies_to_a_command_that_waits_for_a_partner_to_rest_even_if_nobody_saw_it_off() {
    let (mut one, mut other) = pair(OFF);
    now(&mut other, 10, ON, None);
    now(&mut other, 20, OFF, None);
    other.read_back(s(20), READ_OFF);
    one.mark_unknown(s(20));
    assert!(matches!(one.command(s(20), ON, None), Ok(Grant::At(..))));
    one.relimit(Limits { min_off: s(9), ..Limits::new(OFF, None) });
    assert_eq!(one.due(s(22), None, false), None);
    assert_eq!(one.due(s(29), None, false), verdict(ON, StateCause::Command));
}

#[test]
fn an_on_that_a_slow_way_has_not_left_has_lasted_all_the_while() {
    let mut guard = guard(Limits { min_on: s(10), ..Limits::new(OFF, None) });
    now(&mut guard, 100, ON, None);
    now(&mut guard, 200, OFF, None);
    guard.read_back(s(201), Readback { is_on: true, is_ramping: true });
    now(&mut guard, 201, ON, Some(s(2)));
    assert_eq!(guard.due(s(203), None, false), verdict(OFF, StateCause::For), "on since 100 s");
    guard.read_back(s(204), READ_OFF);
    now(&mut guard, 214, ON, None);
    assert!(matches!(guard.command(s(215), OFF, None), Ok(Grant::At(..))));
    assert_eq!(guard.due(s(224), None, false), verdict(OFF, StateCause::Limit), "it was off in between");
}

#[test]
fn a_longer_min_off_applies_at_the_end_of_for_while_that_waits_for_a_partner_and_a_lost_link_does_not_wait_for_it() {
    for (heard, ends) in [(s(19), verdict(ON, StateCause::For)), (s(0), verdict(ON, StateCause::SafeState))] {
        let (mut mains, mut generator) = pair(ON);
        mains.due(s(2), None, false);
        mains.read_back(s(2), READ_ON);
        now(&mut mains, 10, OFF, Some(s(4)));
        mains.read_back(s(10), READ_OFF);
        now(&mut generator, 12, ON, None);
        assert_eq!(mains.due(s(14), Some(s(14)), false), None, "the generator is on");
        generator.make_safe(s(14), StateCause::Interlock);
        generator.read_back(s(14), READ_OFF);
        mains.relimit(Limits { min_off: s(9), ..Limits::new(ON, Some(s(16))) });
        assert_eq!(mains.due(s(16), Some(heard), false), ends.filter(|verdict| verdict.cause == StateCause::SafeState));
        if heard > s(0) {
            assert_eq!(mains.deadline(Some(heard), false), Some(s(19)));
            assert_eq!(mains.due(s(19), Some(heard), false), ends);
        }
    }
}

#[test]
fn a_command_takes_back_what_waits_to_be_made_safe() {
    let (mut mains, mut generator) = pair(ON);
    mains.due(s(2), None, false);
    now(&mut mains, 10, OFF, None);
    mains.read_back(s(10), READ_OFF);
    now(&mut generator, 20, ON, None);
    assert_eq!(mains.make_safe(s(30), StateCause::SafeState), None);
    now(&mut mains, 30, OFF, None);
    assert_eq!(generator.due(s(30), None, false), None);
    assert_eq!(mains.due(s(100), None, false), None);
}

#[test]
fn a_cover_at_rest_is_safe_where_stopping_is() {
    let stop = Action::Move(Move::Stop);
    let mut guard = guard(Limits { safe_state: stop, ..base() });
    now(&mut guard, 1, Action::Move(Move::Open), None);
    assert_eq!(guard.deadline(Some(s(1)), false), Some(s(31)));
    guard.came_to_rest();
    assert_eq!(guard.deadline(Some(s(1)), false), None);
}

#[test]
fn times_are_given_in_whole_seconds_where_there_are_many_and_never_too_short() {
    let ms = Duration::from_millis;
    assert_eq!(round_up(ms(12_345)), "13s");
    assert_eq!(round_up(ms(9_345)), format_duration(ms(9_345)));
    assert_eq!(format_whole(ms(12_345)), "12s");
    assert_eq!(format_whole(ms(9_345)), format_duration(ms(9_345)));
}
