//! What rules order.

use super::*;

const ON: Action = Action::Set(OutputValue::Switch(true));

/// A switch whose hardware does what is requested, safe when off and after one second without the broker.
struct Switch {
    machine: Machine<u32>,
    does: OutputValue,
    causes: Vec<StateCause>,
    answers: Vec<Applied>,
}

impl Switch {
    fn new(change: impl FnOnce(&mut Limits)) -> Self {
        let mut limits = Limits::new(Action::Set(OutputValue::Switch(false)), Some(ms(1000)));
        change(&mut limits);
        let all = SharedInterlocks::default();
        let (machine, effects) = Machine::new(OutputKind::Switch, Pace::AtOnce, limits, all.handle(name("one")), ms(0));
        let (causes, answers) = (Vec::new(), Vec::new());
        let mut switch = Self { machine, does: OutputValue::Switch(false), causes, answers };
        switch.perform(0, effects);
        switch.causes.clear();
        switch
    }

    fn perform(&mut self, at: u64, effects: Vec<Effect<u32>>) {
        for effect in effects {
            match effect {
                Effect::Drive(value) => {
                    self.does = value;
                    let effects = self.machine.followed(ms(at), value);
                    self.perform(at, effects);
                }
                Effect::Answer(_, applied) => self.answers.push(applied),
                Effect::Publish(state) => self.causes.push(state.cause),
                Effect::Log(_) => {}
            }
        }
    }

    fn rule(&mut self, at: u64, order: RuleOrder) {
        let effects = self.machine.rule(ms(at), order, 1).unwrap_or_else(|refused| vec![refused]);
        self.perform(at, effects);
    }

    fn command(&mut self, at: u64, action: Action) {
        let effects = self.machine.command(ms(at), action, None, 2);
        self.perform(at, effects);
    }

    /// A long time without a word of the broker since 0 ms.
    #[track_caller]
    fn check_alone(&mut self, at: u64, is_on: bool) {
        let effects = self.machine.tick(ms(at), Some(ms(0)));
        self.perform(at, effects);
        assert_eq!(self.does, OutputValue::Switch(is_on), "at {at}");
    }
}

#[test]
fn a_lost_link_does_not_take_what_an_active_rule_owns() {
    let mut switch = Switch::new(|_| ());
    switch.rule(100, RuleOrder::Own(ON));
    assert_eq!(switch.causes, [StateCause::Rule]);
    assert_eq!(switch.machine.deadline(Some(ms(0))), None);
    switch.check_alone(5000, true);
    switch.rule(5000, RuleOrder::LetGo(Some(ON)));
    switch.check_alone(5001, false);
    assert_eq!(switch.causes.last(), Some(&StateCause::SafeState));
}

#[test]
fn what_a_rule_lets_go_of_is_made_safe() {
    let mut switch = Switch::new(|_| ());
    switch.rule(100, RuleOrder::Own(ON));
    switch.rule(200, RuleOrder::LetGo(None));
    assert_eq!((switch.does, switch.causes.last()), (OutputValue::Switch(false), Some(&StateCause::Rule)));
}

#[test]
fn max_on_takes_an_output_from_a_rule() {
    let mut switch = Switch::new(|limits| limits.max_on = Some(ms(2000)));
    switch.rule(100, RuleOrder::Own(ON));
    switch.check_alone(2099, true);
    switch.check_alone(2100, false);
    assert_eq!(switch.causes.last(), Some(&StateCause::MaxOn));
}

#[test]
fn limits_refuse_a_rule_as_they_refuse_a_command() {
    let mut switch = Switch::new(|limits| limits.min_off = ms(3000));
    switch.rule(100, RuleOrder::Own(ON));
    assert_eq!(switch.does, OutputValue::Switch(false));
    assert_eq!(switch.answers.pop().unwrap().unwrap_err().reason, Reason::Limit);
    switch.rule(3000, RuleOrder::Own(ON));
    assert_eq!(switch.does, OutputValue::Switch(true));
}

#[test]
fn an_off_of_a_rule_that_waits_is_still_one_of_a_rule() {
    let mut switch = Switch::new(|limits| limits.min_on = ms(500));
    switch.rule(100, RuleOrder::Own(ON));
    switch.rule(200, RuleOrder::LetGo(None));
    assert_eq!(switch.does, OutputValue::Switch(true));
    switch.check_alone(600, false);
    assert_eq!(switch.causes.last(), Some(&StateCause::Rule));
}

#[test]
fn a_command_takes_an_output_from_a_rule_and_with_it_from_its_protection() {
    let mut switch = Switch::new(|_| ());
    switch.rule(100, RuleOrder::Own(ON));
    switch.command(200, ON);
    assert_eq!(switch.machine.deadline(Some(ms(0))), Some(ms(1000)));
    switch.check_alone(1000, false);
}

#[test]
fn what_a_rule_has_toggled_it_does_not_own() {
    let mut switch = Switch::new(|_| ());
    switch.rule(100, RuleOrder::Toggle);
    assert_eq!(switch.does, OutputValue::Switch(true));
    switch.check_alone(1000, false);
}

#[test]
fn a_rule_that_lets_go_owns_nothing_even_if_what_it_asks_for_is_refused() {
    let mut switch = Switch::new(|limits| limits.pulse = Some(ms(5000)));
    switch.rule(100, RuleOrder::Own(ON));
    switch.rule(200, RuleOrder::LetGo(Some(ON)));
    assert_eq!(switch.answers.pop().unwrap().unwrap_err().reason, Reason::Busy);
    switch.check_alone(1000, false);
}
