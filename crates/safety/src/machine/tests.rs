//! The machine as a whole; the rules of the guard and the ways of the motion have tests of their own.

mod ends;
mod lives;
mod rig;
mod rules;

use rig::ms;

use super::*;
use crate::{Pair, SharedInterlocks};
use fieldgate_model::Name;

const OFF: OutputValue = OutputValue::Percent(0.0);

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn set(percent: f64) -> Action {
    Action::Set(OutputValue::Percent(percent))
}

/// A dimmer with a ramp of one second, driven off at 0 ms. Its hardware does what is requested.
struct Dimmer {
    machine: Machine<u32>,
    does: OutputValue,
    effects: Vec<Effect<u32>>,
}

impl Dimmer {
    fn new(all: &SharedInterlocks, text: &str, limits: Limits) -> Self {
        let pace = Pace::Ramp(ms(1000));
        let (machine, effects) = Machine::new(OutputKind::Percent, pace, limits, all.handle(name(text)), ms(0));
        let mut dimmer = Self { machine, does: OFF, effects: Vec::new() };
        dimmer.perform(0, effects);
        dimmer
    }

    fn perform(&mut self, at: u64, effects: Vec<Effect<u32>>) {
        for effect in effects {
            if let Effect::Drive(value) = effect {
                self.does = value;
                self.effects.extend(self.machine.followed(ms(at), value));
            } else {
                self.effects.push(effect);
            }
        }
    }

    fn command(&mut self, at: u64, action: Action, lease: Option<u64>) -> Applied {
        let effects = self.machine.command(ms(at), action, lease.map(ms), 1);
        self.perform(at, effects);
        let answer = self.effects.drain(..).find_map(|effect| match effect {
            Effect::Answer(_, applied) => Some(applied),
            _ => None,
        });
        answer.expect("an answer at once")
    }

    /// Everything that is due until then.
    fn pass(&mut self, until: u64) {
        while let Some(at) = self.machine.deadline(Some(ms(until))).filter(|at| *at <= ms(until)) {
            let at = u64::try_from(at.as_millis()).unwrap();
            let effects = self.machine.tick(ms(at), Some(ms(at)));
            self.perform(at, effects);
        }
    }
}

fn limits() -> Limits {
    Limits::new(set(0.0), None)
}

/// `one` and `other` exclude each other.
fn paired() -> SharedInterlocks {
    let all = SharedInterlocks::default();
    let pair = Pair { one: name("one"), other: name("other"), dead_time: ms(100) };
    all.arrange(vec![pair], ["one", "other"].map(name));
    all
}

fn two(one: Limits, other: Limits) -> (Dimmer, Dimmer) {
    let all = paired();
    (Dimmer::new(&all, "one", one), Dimmer::new(&all, "other", other))
}

fn refusal(applied: &Applied) -> String {
    applied.as_ref().unwrap_err().to_string()
}

#[test]
fn the_first_step_of_a_ramp_which_is_off_does_not_give_the_interlock_back() {
    let (mut one, mut other) = two(limits(), limits());
    let done = one.command(1000, set(80.0), None).unwrap();
    assert_eq!((done.value, one.does), (OFF, OFF), "the first step");
    assert_eq!(refusal(&other.command(1000, set(80.0), None)), "interlock: one is on");
    one.pass(3000);
    assert_eq!(one.does, OutputValue::Percent(80.0));
    assert_eq!(refusal(&other.command(3000, set(80.0), None)), "interlock: one is on");
}

#[test]
fn a_ramp_down_keeps_the_interlock_until_it_is_off() {
    let (mut one, mut other) = two(limits(), limits());
    one.command(1000, set(50.0), None).unwrap();
    one.pass(2000);
    one.command(2000, set(0.0), None).unwrap();
    one.pass(2400);
    assert_eq!(refusal(&other.command(2400, set(80.0), None)), "interlock: one is on");
    one.pass(2600);
    assert_eq!(one.does, OFF);
    assert!(other.machine.command(ms(2500), set(80.0), None, 2).is_empty(), "it waits for the dead time");
    other.pass(3600);
    assert_eq!(other.does, OutputValue::Percent(80.0));
}

#[test]
fn a_partner_that_must_go_on_does_not_wait_for_a_ramp_down() {
    let mains = Limits::new(set(60.0), None);
    let (mut one, mut other) = two(limits(), mains);
    other.pass(200);
    assert_eq!(other.does, OutputValue::Percent(60.0), "safe");
    other.command(1000, set(0.0), None).unwrap();
    other.pass(2000);
    one.command(2000, set(100.0), None).unwrap();
    one.pass(4000);
    one.command(4000, set(0.0), None).unwrap();
    one.pass(4100);
    let effects = other.machine.stop(ms(4100));
    assert!(effects.is_empty() && other.machine.waits_for_partner());
    let effects = one.machine.tick(ms(4110), Some(ms(4110)));
    one.perform(4110, effects);
    assert_eq!(one.does, OFF, "at once");
    other.pass(4210);
    assert_eq!(other.does, OutputValue::Percent(60.0));
}

#[test]
fn max_on_ends_a_slow_way_down_as_well() {
    let (mut one, _) = two(Limits { max_on: Some(ms(3000)), ..limits() }, limits());
    one.command(1000, set(100.0), None).unwrap();
    one.pass(3800);
    one.command(3800, set(0.0), None).unwrap();
    one.pass(3990);
    assert!(one.does.is_on());
    one.pass(4000);
    assert_eq!(one.does, OFF);
    assert_eq!(one.machine.cause, StateCause::MaxOn);
}

#[test]
fn a_lost_link_does_not_wait_for_a_slow_way_down() {
    let (mut one, _) = two(Limits { safe_after: Some(ms(500)), ..limits() }, limits());
    one.command(1000, set(100.0), None).unwrap();
    one.pass(2500);
    one.command(2500, set(0.0), None).unwrap();
    let effects = one.machine.tick(ms(2800), Some(ms(2300)));
    one.perform(2800, effects);
    assert_eq!((one.does, one.machine.cause), (OFF, StateCause::SafeState));
}

#[test]
fn a_step_of_a_ramp_that_fails_leads_to_the_safe_state_and_keeps_the_interlock() {
    let (mut one, mut other) = two(limits(), limits());
    one.command(1000, set(80.0), None).unwrap();
    one.pass(1500);
    let effects = one.machine.tick(ms(1520), Some(ms(1520)));
    assert!(matches!(effects[..], [Effect::Drive(value)] if value.is_on()));
    let effects = one.machine.failed(ms(1521), ms(2021), "no answer");
    let unknown = State { value: None, target: Some(80.0), cause: StateCause::Command };
    assert!(effects.contains(&Effect::Publish(unknown)), "{effects:?}");
    assert_eq!(one.machine.deadline(None), Some(ms(2021)), "when the bus may be tried again");
    assert_eq!(refusal(&other.command(2000, set(80.0), None)), "interlock: one is on");
    one.pass(2021);
    assert_eq!((one.does, one.machine.cause), (OFF, StateCause::SafeState));
    assert!(other.machine.command(ms(2022), set(80.0), None, 2).is_empty(), "it waits for the dead time");
}

#[test]
fn who_waits_is_answered_when_the_bus_goes() {
    let (mut one, _) = two(Limits { min_on: ms(2500), ..limits() }, limits());
    one.command(1000, set(80.0), None).unwrap();
    one.pass(2000);
    assert!(one.machine.command(ms(2000), set(0.0), None, 2).is_empty());
    let effects = one.machine.bus_gone(ms(2100));
    let Effect::Answer(2, Err(refusal)) = &effects[0] else { panic!("{effects:?}") };
    assert_eq!(refusal.to_string(), "limit: the output was made safe first: safe_state");
}

#[test]
fn a_lease_that_ends_on_a_slow_way_leaves_it_off_for_as_long_as_it_must_be() {
    let mains = Limits { min_off: ms(1000), ..Limits::new(set(100.0), None) };
    let (_, mut other) = two(limits(), mains);
    other.pass(2000);
    other.command(2000, set(0.0), Some(1100)).unwrap();
    other.pass(3990);
    assert_eq!(other.does, OFF, "it was there at 3 s");
    other.pass(4100);
    assert!(other.does.is_on());
}

#[test]
fn the_answer_to_a_command_that_waits_long_says_what_the_output_does_and_moves_nothing() {
    let (mut one, _) = two(Limits { min_on: ms(9000), ..limits() }, limits());
    one.command(1000, set(80.0), None).unwrap();
    one.pass(1410);
    let before = one.machine.deadline(None);
    let done = one.command(1415, set(0.0), None).unwrap();
    assert_eq!((done.value, done.postponed.is_some()), (one.does, true));
    assert_eq!(one.machine.deadline(None), before, "the ramp goes on");
}
