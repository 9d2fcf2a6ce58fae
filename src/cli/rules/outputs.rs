//! The outputs of a replay: each has the guard that it has when the service runs, over hardware that obeys at once.

use std::time::Duration;

use crate::config::Config;
use crate::gateway;
use fieldgate_model::{Name, OutputValue, StateCause};
use fieldgate_safety::{Applied, Effect, LogLine, Machine, RuleOrder, SharedInterlocks};

/// So long before the first reading the outputs were built: no limit remembers anything of it.
const BEFORE: Duration = Duration::from_secs(7 * 86_400);

/// Steps of one output at one moment at most.
const MAX_TURNS: usize = 100;

/// What happened to an output.
#[derive(Debug)]
pub(super) enum Happened {
    /// The order of this id was carried out, is kept, or was refused.
    Answered(u64, Applied),
    /// The output of this index does this, for this reason.
    Does(usize, Option<OutputValue>, StateCause),
    /// The order that the output of this index had to keep is carried out.
    Postponed(usize),
    /// The output of this index goes back to its safe state by itself.
    MadeSafe(usize, StateCause),
}

/// All outputs, in the order of the configuration.
pub(super) struct Outputs {
    names: Vec<Name>,
    machines: Vec<Machine<u64>>,
    /// Since when the broker has been silent, if it is.
    silent_since: Option<Duration>,
    happened: Vec<Happened>,
}

impl Outputs {
    pub(super) fn new(config: &Config) -> Self {
        let interlocks = SharedInterlocks::default();
        let names: Vec<_> = config.actuators.iter().map(|actuator| actuator.name.clone()).collect();
        interlocks.arrange(gateway::interlocks(config), names.iter().cloned());
        let (machines, silent_since, happened) = (Vec::new(), None, Vec::new());
        let mut outputs = Self { names, machines, silent_since, happened };
        for (output, actuator) in config.actuators.iter().enumerate() {
            let handle = interlocks.handle(actuator.name.clone());
            let (machine, effects) =
                Machine::new(actuator.kind, actuator.pace, actuator.limits, handle, Duration::ZERO);
            outputs.machines.push(machine);
            outputs.perform(output, Duration::ZERO, effects);
        }
        // One that is on when it is safe waits until its partner was seen to be off.
        while let Some(next) = outputs.deadline().filter(|next| *next < BEFORE) {
            outputs.tick(next);
        }
        outputs
    }

    pub(super) fn find(&self, output: &Name) -> Option<usize> {
        self.names.iter().position(|name| name == output)
    }

    pub(super) fn name(&self, output: usize) -> &Name {
        &self.names[output]
    }

    /// The broker is connected, or is not any more.
    pub(super) fn link(&mut self, is_up: bool, at: Duration) {
        self.silent_since = if is_up { None } else { self.silent_since.or(Some(BEFORE.saturating_add(at))) };
    }

    /// A rule orders something of the output of this index.
    pub(super) fn order(&mut self, output: usize, order: RuleOrder, id: u64, at: Duration) {
        let now = BEFORE.saturating_add(at);
        let effects = self.machines[output].rule(now, order, id).unwrap_or_else(|refused| vec![refused]);
        self.perform(output, now, effects);
        self.tick(now);
    }

    /// When something runs out next.
    pub(super) fn due_at(&self) -> Option<Duration> {
        self.deadline().map(|next| next.saturating_sub(BEFORE))
    }

    /// Time has passed.
    pub(super) fn due(&mut self, at: Duration) {
        self.tick(BEFORE.saturating_add(at));
    }

    /// What happened since this was last asked.
    pub(super) fn take_happened(&mut self) -> Vec<Happened> {
        std::mem::take(&mut self.happened)
    }

    /// The moment of the broker's last byte: never past while it is connected.
    fn last_heard(&self) -> Option<Duration> {
        Some(self.silent_since.unwrap_or(Duration::MAX))
    }

    fn deadline(&self) -> Option<Duration> {
        let never = |next: &Duration| *next < Duration::MAX;
        self.machines.iter().filter_map(|machine| machine.deadline(self.last_heard())).filter(never).min()
    }

    /// What one output does may let another follow, or send it off.
    fn tick(&mut self, now: Duration) {
        let last_heard = self.last_heard();
        for _ in 0..MAX_TURNS {
            let mut is_quiet = true;
            for output in 0..self.machines.len() {
                let effects = self.machines[output].tick(now, last_heard);
                is_quiet &= effects.is_empty();
                self.perform(output, now, effects);
            }
            if is_quiet {
                return;
            }
        }
    }

    fn perform(&mut self, output: usize, now: Duration, effects: Vec<Effect<u64>>) {
        for effect in effects {
            match effect {
                Effect::Drive(value) => {
                    // Its effects drive nothing further.
                    let effects = self.machines[output].followed(now, value);
                    self.perform(output, now, effects);
                }
                Effect::Answer(id, applied) => self.happened.push(Happened::Answered(id, applied)),
                Effect::Publish(state) => self.happened.push(Happened::Does(output, state.value, state.cause)),
                Effect::Log(LogLine::Postponed(..)) => self.happened.push(Happened::Postponed(output)),
                Effect::Log(LogLine::MadeSafe(_, cause)) => self.happened.push(Happened::MadeSafe(output, cause)),
                Effect::Log(LogLine::Set(..) | LogLine::DoesNotFollow(..) | LogLine::FollowsAgain(_)) => {}
            }
        }
    }
}
