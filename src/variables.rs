//! Variables: what users set by MQTT for formulas and rules.
//!
//! Each has a value at all times: what was set last, in this run or an earlier one, or else what the configuration begins with. A
//! value that the configuration does not allow any more is replaced by that, with a line in the log, for good. A new value counts
//! for formulas at once and is published, retained; the code that sets it hands it to the disk.
//!
//! What was set of a variable that is not configured now is remembered, so that it goes on when it is put back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tracing::warn;

use fieldgate_bus::signals::Signals;
use fieldgate_link::Latest;
use fieldgate_model::payload;
use fieldgate_model::topic::Topics;
use fieldgate_model::{
    Command, Name, PersistedValues, Reason, Recipient, Refusal, StateCause, Variable, VariableKind, VariableValue,
};

/// A value and whose it is, to be kept on disk.
pub type ToKeep = (Recipient, String);

/// The variables of the configuration in force. Clones are one and the same.
#[derive(Clone, Debug)]
pub struct Variables(Arc<Shared>);

/// What is known of one, for those who show it.
#[derive(Clone, Debug)]
pub struct VariableView {
    /// The name, in topics and in formulas.
    pub name: Name,
    /// Which values it takes.
    pub kind: VariableKind,
    /// What it is now.
    pub value: VariableValue,
    /// When it was set to that, by the wall clock.
    pub since: SystemTime,
    /// What set it: the start or a command.
    pub cause: StateCause,
}

#[derive(Debug)]
struct Shared {
    signals: Signals,
    latest: Latest,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    topics: Topics,
    current: BTreeMap<Name, Current>,
    /// Everything that was set, as it is on disk. Bounded by the configuration and by what the spool keeps.
    set: BTreeMap<Recipient, String>,
}

#[derive(Debug)]
struct Current {
    variable: Variable,
    value: VariableValue,
    since: SystemTime,
    cause: StateCause,
}

impl Variables {
    /// None yet. Values go to `signals`, states to `latest`.
    pub fn new(signals: Signals, latest: Latest, topics: Topics) -> Self {
        let state = Mutex::new(State { topics, current: BTreeMap::new(), set: BTreeMap::new() });
        Self(Arc::new(Shared { signals, latest, state }))
    }

    /// Has these from now on, and no others. The signal store must have them already. Returns what must be kept on disk, because
    /// what was set is not allowed any more.
    pub fn arrange(&self, variables: &[Variable]) -> Vec<ToKeep> {
        let mut state = self.state();
        let mut old = std::mem::take(&mut state.current);
        for variable in variables {
            let current = old.remove(&variable.name).map(|current| Current { variable: variable.clone(), ..current });
            let current = current.unwrap_or_else(|| Current {
                variable: variable.clone(),
                value: variable.initial.clone(),
                since: SystemTime::now(),
                cause: StateCause::Start,
            });
            state.current.insert(variable.name.clone(), current);
        }
        self.refresh(&mut state)
    }

    /// Takes up what earlier runs had been given, which nothing overrules that was set in this run. Returns as
    /// [`Variables::arrange`] does.
    pub fn recall(&self, persisted: &PersistedValues) -> Vec<ToKeep> {
        let mut state = self.state();
        for (recipient, value) in persisted.iter().flat_map(|values| values.iter()) {
            state.set.entry(recipient.clone()).or_insert_with(|| value.clone());
        }
        self.refresh(&mut state)
    }

    /// Gives each variable the value that it should have, and publishes those that change.
    fn refresh(&self, state: &mut State) -> Vec<ToKeep> {
        let mut to_keep = Vec::new();
        let State { topics, current, set } = state;
        for (name, current) in current {
            let recipient = Recipient::variable(name.clone());
            let Variable { kind, initial, .. } = &current.variable;
            let value = match set.get(&recipient).map(|text| (text, kind.read(text))) {
                None => initial.clone(),
                Some((_, Ok(value))) => value,
                Some((text, Err(refusal))) => {
                    let was = text.as_str();
                    warn!(
                        variable = %name, was, now = %initial, error = %refusal,
                        "What the variable was set to is not allowed any more; it begins again."
                    );
                    to_keep.push((recipient.clone(), initial.to_string()));
                    initial.clone()
                }
            };
            if value != current.value {
                (current.value, current.since, current.cause) = (value, SystemTime::now(), StateCause::Start);
            }
            self.0.signals.assign(name, current.value.clone());
            self.publish(topics, name, current);
        }
        set.extend(to_keep.iter().cloned());
        to_keep
    }

    /// Publishes every state below the base of `topics` from now on.
    pub fn show_below(&self, topics: &Topics) {
        let mut state = self.state();
        state.topics = topics.clone();
        state.current.iter().for_each(|(name, current)| self.publish(topics, name, current));
    }

    /// Sets a variable as a command asks, once `keep` has taken the new value for the disk.
    ///
    /// # Errors
    /// Why the command is refused: there is no such variable, it does not take that, or `keep` did not.
    pub fn set(
        &self,
        name: &Name,
        command: &Command,
        keep: impl FnOnce(ToKeep) -> Result<(), Refusal>,
    ) -> Result<VariableValue, Refusal> {
        let mut state = self.state();
        let State { topics, current, set } = &mut *state;
        let unknown = || Refusal::new(Reason::Unknown, format!("there is no variable called {name}"));
        let current = current.get_mut(name).ok_or_else(unknown)?;
        let value = current.variable.kind.accept(command)?;
        let recipient = Recipient::variable(name.clone());
        keep((recipient.clone(), value.to_string()))?;
        set.insert(recipient, value.to_string());
        (current.value, current.since, current.cause) = (value.clone(), SystemTime::now(), StateCause::Command);
        self.0.signals.assign(name, value.clone());
        self.publish(topics, name, current);
        Ok(value)
    }

    /// What each is now, with what it takes.
    pub fn all(&self) -> Vec<(Name, VariableKind, VariableValue)> {
        let state = self.state();
        let all = state.current.iter();
        all.map(|(name, current)| (name.clone(), current.variable.kind.clone(), current.value.clone())).collect()
    }

    /// What each is now, since when and why, with what it takes.
    pub fn views(&self) -> Vec<VariableView> {
        let state = self.state();
        let view = |(name, current): (&Name, &Current)| VariableView {
            name: name.clone(),
            kind: current.variable.kind.clone(),
            value: current.value.clone(),
            since: current.since,
            cause: current.cause,
        };
        state.current.iter().map(view).collect()
    }

    fn publish(&self, topics: &Topics, name: &Name, current: &Current) {
        let payload = payload::variable_state(&current.value, current.since, current.cause);
        self.0.latest.set(topics.variable_state(name), payload);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fieldgate_bus::signals::{Signal, SignalName, SignalSource};
    use fieldgate_model::payload::decode_command;
    use proptest::prelude::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn number(called: &str, max: u8, initial: u8) -> Variable {
        let kind = VariableKind::Number { min: 0.0, max: max.into(), step: None, unit: String::new() };
        Variable { name: name(called), kind, initial: VariableValue::Number(initial.into()) }
    }

    fn none() -> (Variables, Signals) {
        let signals = Signals::default();
        (Variables::new(signals.clone(), Latest::default(), Topics::new("b")), signals)
    }

    fn arrange(variables: &Variables, signals: &Signals, all: &[Variable]) -> Vec<ToKeep> {
        signals.arrange(all.iter().map(|v| SignalSource::Variable(v.name.clone(), v.kind.clone())).collect());
        variables.arrange(all)
    }

    fn set(variables: &Variables, called: &str, payload: &str) -> Result<String, String> {
        let command = decode_command(payload.as_bytes()).unwrap();
        let set = variables.set(&name(called), &command, |_| Ok(()));
        set.map(|value| value.to_string()).map_err(|refusal| refusal.to_string())
    }

    fn values(variables: &Variables) -> Vec<(String, String)> {
        variables.all().into_iter().map(|(name, _, value)| (name.to_string(), value.to_string())).collect()
    }

    fn pair(called: &str, value: impl ToString) -> (String, String) {
        (called.to_owned(), value.to_string())
    }

    #[test]
    fn a_variable_is_what_was_set_last_and_goes_on_over_reloads() {
        let (variables, signals) = none();
        arrange(&variables, &signals, &[number("a", 30, 19)]);
        assert_eq!(values(&variables), [pair("a", 19)]);
        assert_eq!(set(&variables, "a", "21.5").as_deref(), Ok("21.5"));
        assert_eq!(set(&variables, "a", "31").unwrap_err(), "out_of_range: 31 is not within 0–30");
        assert_eq!(set(&variables, "b", "1").unwrap_err(), "unknown: there is no variable called b");
        assert_eq!(arrange(&variables, &signals, &[number("a", 40, 5), number("b", 9, 1)]), []);
        assert_eq!(values(&variables), [pair("a", 21.5), pair("b", 1)]);
        arrange(&variables, &signals, &[]);
        arrange(&variables, &signals, &[number("a", 40, 5)]);
        assert_eq!(values(&variables), [pair("a", 21.5)], "it was put back");
        let mut listener = signals.listen(vec![SignalName::variable(name("a"))]).unwrap();
        let mut read = Vec::new();
        listener.read(std::time::Duration::ZERO, &mut read, &mut Vec::new());
        assert_eq!(read, [Some(Signal::Variable(VariableValue::Number(21.5)))]);
    }

    #[test]
    fn a_value_that_is_not_allowed_any_more_begins_again_for_good() {
        let (variables, signals) = none();
        arrange(&variables, &signals, &[number("a", 30, 19)]);
        set(&variables, "a", "25").unwrap();
        let kept = arrange(&variables, &signals, &[number("a", 20, 10)]);
        assert_eq!(
            (values(&variables), kept),
            (vec![pair("a", 10)], vec![(Recipient::variable(name("a")), "10".into())])
        );
        assert_eq!(arrange(&variables, &signals, &[number("a", 30, 19)]), []);
        assert_eq!(values(&variables), [pair("a", 10)]);
    }

    #[test]
    fn what_the_disk_does_not_take_is_not_set() {
        let (variables, signals) = none();
        arrange(&variables, &signals, &[number("a", 30, 19)]);
        let command = decode_command(b"20").unwrap();
        let full = || Refusal::new(Reason::Busy, "full");
        assert_eq!(variables.set(&name("a"), &command, |_| Err(full())), Err(full()));
        assert_eq!(values(&variables), [pair("a", 19)]);
    }

    #[test]
    fn what_a_late_disk_has_is_older_than_what_was_set_meanwhile() {
        let (variables, signals) = none();
        arrange(&variables, &signals, &[number("a", 30, 19), number("b", 30, 19), number("c", 30, 19)]);
        set(&variables, "a", "1").unwrap();
        let of = |called, value: &str| (Recipient::variable(name(called)), value.to_owned());
        let persisted = [of("a", "2"), of("b", "3"), of("c", "99")].into_iter().collect();
        assert_eq!(variables.recall(&Some(Arc::new(persisted))), [of("c", "19")]);
        assert_eq!(values(&variables), [pair("a", 1), pair("b", 3), pair("c", 19)]);
    }

    /// What happens to two variables.
    #[derive(Clone, Debug)]
    enum Step {
        Set(usize, u8),
        /// Which of them there are from now on, up to what, and where they begin.
        Reload([Option<(u8, u8)>; 2]),
        /// A kill and a start, with what the disk had been given.
        Restart,
    }

    fn step() -> impl Strategy<Value = Step> {
        let one = || proptest::option::weighted(0.8, (10..50_u8, 0..10_u8));
        prop_oneof![
            4 => (0..2_usize, 0..60_u8).prop_map(|(which, value)| Step::Set(which, value)),
            2 => [one(), one()].prop_map(Step::Reload),
            1 => Just(Step::Restart),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Against a plain model: what was set of each, and what there is.
        #[test]
        fn every_sequence_leaves_what_a_plain_model_has(steps in proptest::collection::vec(step(), 1..40)) {
            const NAMES: [&str; 2] = ["a", "b"];
            let (mut variables, mut signals) = none();
            let mut disk: BTreeMap<Recipient, String> = BTreeMap::new();
            let mut there: [Option<(u8, u8)>; 2] = [None; 2];
            let mut set: [Option<u8>; 2] = [None; 2];
            for step in steps {
                let is_good = |which: usize, value: u8| there[which].is_some_and(|(max, _)| value <= max);
                match step {
                    Step::Set(which, value) => {
                        let command = decode_command(value.to_string().as_bytes()).unwrap();
                        let kept = variables.set(&name(NAMES[which]), &command, |(recipient, value)| {
                            disk.insert(recipient, value);
                            Ok(())
                        });
                        prop_assert_eq!(kept.is_ok(), is_good(which, value));
                        set[which] = if is_good(which, value) { Some(value) } else { set[which] };
                    }
                    Step::Reload(new) => there = new,
                    Step::Restart => {
                        (variables, signals) = none();
                        variables.recall(&Some(Arc::new(disk.clone())));
                    }
                }
                let declared = there.iter().zip(NAMES);
                let all = declared.filter_map(|(one, called)| one.map(|(max, initial)| number(called, max, initial)));
                let all: Vec<_> = all.collect();
                disk.extend(arrange(&variables, &signals, &all));
                let mut expected = Vec::new();
                for which in 0..2 {
                    let Some((max, initial)) = there[which] else { continue };
                    set[which] = set[which].map(|value| if value <= max { value } else { initial });
                    expected.push(pair(NAMES[which], set[which].unwrap_or(initial)));
                }
                prop_assert_eq!(values(&variables), expected);
            }
        }
    }
}
