//! What a mutation run showed to be checked by no other test: ends, failures and partners of a single machine.

use super::rig::ms;
use super::*;

/// What a person is answered.
fn answers(effects: &[Effect<u32>]) -> Vec<String> {
    let words = |effect: &Effect<u32>| match effect {
        Effect::Answer(_, Ok(_)) => Some("done".to_owned()),
        Effect::Answer(_, Err(refusal)) => Some(refusal.to_string()),
        _ => None,
    };
    effects.iter().filter_map(words).collect()
}

fn published(effects: &[Effect<u32>]) -> usize {
    effects.iter().filter(|effect| matches!(effect, Effect::Publish(_))).count()
}

#[test]
fn a_new_device_of_a_known_name_is_not_known_to_be_off() {
    let all = paired();
    let (_one, mut other) = (Dimmer::new(&all, "one", limits()), Dimmer::new(&all, "other", limits()));
    let handle = all.handle(name("one"));
    let (mut new, effects) = Machine::<u32>::new(OutputKind::Percent, Pace::AtOnce, limits(), handle, ms(1000));
    assert_eq!(effects, [Effect::Drive(OFF)]);
    let words = refusal(&other.command(1000, set(80.0), None));
    assert_eq!(words, "interlock: one is not known to be off");
    new.followed(ms(1010), OFF);
    other.pass(1110);
    assert!(other.command(1110, set(80.0), None).is_ok());
}

#[test]
fn who_has_left_the_configuration_keeps_its_partner_from_nothing() {
    let all = paired();
    let (mut one, mut other) = (Dimmer::new(&all, "one", limits()), Dimmer::new(&all, "other", limits()));
    one.command(1000, set(80.0), None).unwrap();
    one.pass(2000);
    all.arrange(Vec::new(), [name("other")]);
    assert_eq!(refusal(&other.command(2000, set(80.0), None)), "interlock: one is on");
    let effects = one.machine.stop(ms(2000));
    one.perform(2000, effects);
    assert_eq!(one.does, OFF);
    one.machine.leave();
    assert!(other.command(2000, set(80.0), None).is_ok(), "without a dead time, too");
}

#[test]
fn the_longest_dead_time_is_known_and_who_is_off_is_wanted_off_by_nobody() {
    let (mut one, _) = two(limits(), limits());
    assert_eq!(one.machine.longest_dead_time(), ms(100));
    assert!(!one.machine.may_be_wanted_off());
    one.command(1000, set(80.0), None).unwrap();
    assert!(one.machine.may_be_wanted_off());
}

#[test]
fn an_output_whose_partner_does_not_go_off_in_time_ends_off() {
    let (mut one, mut other) = two(limits(), Limits::new(set(60.0), None));
    other.pass(200);
    other.command(1000, set(0.0), None).unwrap();
    other.pass(2000);
    one.command(2000, set(100.0), None).unwrap();
    assert!(other.machine.stop(ms(4000)).is_empty() && other.machine.waits_for_partner());
    assert_eq!(other.machine.stop_waiting(ms(4400)), [Effect::Drive(OFF)]);
    other.machine.followed(ms(4410), OFF);
    assert!(!other.machine.waits_for_partner());
    assert_eq!(other.machine.deadline(None), None, "nothing is tried any more");
}

#[test]
fn who_waits_is_not_answered_before_it_is_decided() {
    let (mut one, _) = two(Limits { min_on: ms(2500), ..limits() }, limits());
    one.command(1000, set(80.0), None).unwrap();
    one.pass(2000);
    assert!(one.machine.command(ms(2000), set(0.0), None, 2).is_empty());
    assert!(one.machine.tick(ms(2100), Some(ms(2100))).is_empty());
    one.pass(6000);
    assert_eq!((answers(&one.effects), one.does), (vec!["done".to_owned()], OFF));
}

#[test]
fn a_ramp_is_published_at_its_beginning_and_at_its_end() {
    let (mut one, _) = two(limits(), limits());
    let effects = one.machine.command(ms(1000), set(80.0), None, 1);
    one.effects.clear();
    one.perform(1000, effects);
    assert_eq!((published(&one.effects), answers(&one.effects)), (1, vec!["done".to_owned()]));
    one.effects.clear();
    one.pass(1700);
    assert_eq!(published(&one.effects), 0, "{:?}", one.effects);
    one.pass(3000);
    assert_eq!((published(&one.effects), one.does), (1, OutputValue::Percent(80.0)));
}

#[test]
fn a_command_that_fails_is_answered_and_leads_to_the_safe_state() {
    let all = SharedInterlocks::default();
    for pace in [Pace::AtOnce, Pace::Ramp(ms(1000))] {
        let (mut machine, _) = Machine::new(OutputKind::Percent, pace, limits(), all.handle(name("one")), ms(0));
        machine.followed(ms(1), OFF);
        let effects = machine.command(ms(1000), set(80.0), None, 1);
        assert!(matches!(effects[..], [Effect::Drive(_)]), "{effects:?}");
        let effects = machine.failed(ms(1001), ms(1501), "no answer");
        assert_eq!(answers(&effects), ["hardware: no answer"]);
        assert_eq!((machine.cause, machine.deadline(None)), (StateCause::SafeState, Some(ms(1501))));
        assert!(machine.tick(ms(1400), Some(ms(1400))).is_empty(), "not before the bus may be tried again");
        assert_eq!(machine.tick(ms(1501), Some(ms(1501))), [Effect::Drive(OFF)]);
    }
}

#[test]
fn what_was_not_commanded_and_fails_is_tried_again_for_its_own_reason() {
    let (all, pace) = (SharedInterlocks::default(), Pace::Ramp(ms(1000)));
    let (mut machine, _) = Machine::<u32>::new(OutputKind::Percent, pace, limits(), all.handle(name("one")), ms(0));
    let effects = machine.failed(ms(1), ms(501), "no answer");
    assert_eq!((published(&effects), answers(&effects).len()), (1, 0));
    assert_eq!(machine.cause, StateCause::Start);
    assert_eq!(machine.tick(ms(501), Some(ms(501))), [Effect::Drive(OFF)]);
    assert_eq!(published(&machine.failed(ms(502), ms(1002), "no answer")), 0, "once is enough");
    assert_eq!(machine.cause, StateCause::Start);
}
