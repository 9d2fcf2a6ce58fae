//! One output: everything that may happen to it goes in, everything that must be done about it comes out.
//!
//! The caller carries out the effects in their order and, after [`Effect::Drive`], calls
//! [`Machine::followed`] or [`Machine::failed`] before anything else. Each requester is answered exactly once.

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::guard::{Grant, Guard, Owner, Readback, Verdict};
use crate::interlock::InterlockHandle;
use crate::limits::Limits;
use crate::motion::Motion;
use fieldgate_model::{Action, Move, OutputKind, OutputValue, Pace, Reason, Refusal, StateCause};

/// A postponed command that is due within this time is answered when it is done; one that is due later is answered at once.
const ANSWER_WHEN_DONE: Duration = Duration::from_secs(3);

/// A command that was carried out, or will be.
#[derive(Clone, Debug, PartialEq)]
pub struct Done {
    /// What the output does now.
    pub value: OutputValue,
    /// Why that is not yet what was asked for.
    pub postponed: Option<Refusal>,
}

/// What a command came to, for the reply. A refusal with [`Reason::Hardware`] was no refusal but a failure.
pub type Applied = Result<Done, Refusal>;

/// What a rule orders of an output.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RuleOrder {
    /// Do this; a rule owns the output from now on.
    Own(Action),
    /// No rule owns it any more: do this, or what is safe.
    LetGo(Option<Action>),
    /// On if it is off, off if it is on; no rule owns it.
    Toggle,
}

/// What must be done. `R` is the requester of a command.
#[derive(Debug, PartialEq)]
pub enum Effect<R> {
    /// Make the hardware do this and read it back. Always the last effect.
    Drive(OutputValue),
    /// Answer the command of this requester.
    Answer(R, Applied),
    /// Publish what the output does.
    Publish(State),
    /// Write this to the log.
    Log(LogLine),
}

/// What an output does, as published.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct State {
    /// `None` when the hardware does not follow.
    pub value: Option<OutputValue>,
    /// Where it is going to, in percent, while it is on its way.
    pub target: Option<f64>,
    /// Why it does that.
    pub cause: StateCause,
}

/// What a person reading the log should know.
#[derive(Clone, Debug, PartialEq)]
pub enum LogLine {
    /// A command was carried out.
    Set(OutputValue, StateCause),
    /// A command that had to wait is carried out.
    Postponed(Action, StateCause),
    /// Back to the safe state.
    MadeSafe(Action, StateCause),
    /// The hardware does not do this, for a reason in words.
    DoesNotFollow(OutputValue, String),
    /// The hardware does again what it was set to.
    FollowsAgain(OutputValue),
}

/// Why the hardware is being driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DriveReason {
    /// A command, which is answered with what comes of it.
    Command,
    /// Something that ran out, the start or the end.
    Trip,
    /// The next step on the way.
    Step,
    /// What had failed is tried again.
    Retry,
}

/// The state of one output. See the module's page.
#[derive(Debug)]
pub struct Machine<R> {
    guard: Guard,
    motion: Motion,
    kind: OutputKind,
    /// Why it does what it does.
    cause: StateCause,
    /// What the hardware was last seen to do; a position that cannot be read back is computed from the time.
    last_value: OutputValue,
    /// When to drive it again after a failure.
    retry_at: Option<Duration>,
    /// The failure was published.
    has_complained: bool,
    /// Who waits for a command that is not carried out yet.
    requester: Option<R>,
    /// What is being driven, since when.
    driving: Option<(DriveReason, Duration, OutputValue)>,
}

impl<R> Machine<R> {
    /// An output of which nothing is known, and how it is driven to its safe state first; off meanwhile, where a partner must
    /// be off before.
    pub fn new(
        kind: OutputKind,
        pace: Pace,
        limits: Limits,
        interlock: InterlockHandle,
        now: Duration,
    ) -> (Self, Vec<Effect<R>>) {
        let (off, cause) = (kind.off(), StateCause::Start);
        let guard = Guard::new(limits, interlock, off, now);
        let motion = Motion::new(pace, off, now);
        let mut machine = Self {
            guard,
            motion,
            kind,
            cause,
            last_value: off,
            retry_at: None,
            has_complained: false,
            requester: None,
            driving: None,
        };
        let first = Verdict { action: Action::Set(off), cause };
        let verdict = machine.guard.make_safe(now, cause).unwrap_or(first);
        let effects = machine.follow(now, verdict, DriveReason::Trip);
        (machine, effects)
    }

    /// New limits from a reload; what the output does is left alone until they say otherwise.
    pub fn relimit(&mut self, limits: Limits) {
        self.guard.relimit(limits);
    }

    /// A command came: it is carried out, kept, or refused. Carried out or kept, it takes the output from a rule.
    pub fn command(&mut self, now: Duration, action: Action, lease: Option<Duration>, requester: R) -> Vec<Effect<R>> {
        let effects = self.request(now, action, lease, StateCause::Command, Owner::Commands, requester);
        effects.unwrap_or_else(|refused| vec![refused])
    }

    /// A rule orders something: by the same limits as a command it is carried out, kept, or refused. While a rule owns the output, a
    /// lost link does not make it safe; `max_on` does.
    ///
    /// # Errors
    /// It was refused, which changes nothing; this is the answer to it.
    pub fn rule(&mut self, now: Duration, order: RuleOrder, requester: R) -> Result<Vec<Effect<R>>, Effect<R>> {
        let (action, owner) = match order {
            RuleOrder::Own(action) => (action, Owner::Rule),
            RuleOrder::LetGo(action) => (action.unwrap_or(self.guard.safe_state()), Owner::Commands),
            RuleOrder::Toggle => (Action::Toggle, Owner::Commands),
        };
        if owner == Owner::Commands {
            // Also where the order itself is refused.
            self.guard.set_owner(owner);
        }
        self.request(now, action, None, StateCause::Rule, owner, requester)
    }

    fn request(
        &mut self,
        now: Duration,
        action: Action,
        lease: Option<Duration>,
        cause: StateCause,
        owner: Owner,
        requester: R,
    ) -> Result<Vec<Effect<R>>, Effect<R>> {
        let granted = match self.guard.request(now, action, lease, cause) {
            Ok(granted) => granted,
            Err(refusal) => return Err(Effect::Answer(requester, Err(refusal))),
        };
        self.guard.set_owner(owner);
        let mut effects = self.refuse(Reason::Busy, "a newer command has taken its place");
        match granted {
            Grant::Now(verdict) => {
                self.requester = Some(requester);
                effects.extend(self.follow(now, verdict, DriveReason::Command));
            }
            Grant::At(at, _) if at.saturating_sub(now) <= ANSWER_WHEN_DONE => self.requester = Some(requester),
            Grant::At(_, why) => {
                let value = self.motion.complete(self.last_value, now);
                effects.push(Effect::Answer(requester, Ok(Done { value, postponed: Some(why) })));
            }
        }
        Ok(effects)
    }

    /// Time has passed: what has run out, the next step on the way, or what the hardware did not take. One transfer at most.
    ///
    /// `last_heard` is the moment of the broker's last byte.
    pub fn tick(&mut self, now: Duration, last_heard: Option<Duration>) -> Vec<Effect<R>> {
        if let Some(verdict) = self.guard.due(now, last_heard, self.motion.is_ramping()) {
            return self.obey(now, verdict);
        }
        let mut effects = Vec::new();
        if !self.guard.has_waiting_command() {
            effects = self.refuse(Reason::Interlock, "another output, or a new configuration, came first");
        }
        match (self.retry_at, self.motion.deadline()) {
            (Some(again), _) if again <= now => effects.push(self.drive(now, DriveReason::Retry)),
            (None, Some(next)) if next <= now => effects.push(self.drive(now, DriveReason::Step)),
            _ => {}
        }
        effects
    }

    /// When [`Machine::tick`] must be called next; `None` while nothing can run out. See also [`Machine::may_be_wanted_off`].
    pub fn deadline(&self, last_heard: Option<Duration>) -> Option<Duration> {
        let limit = self.guard.deadline(last_heard, self.motion.is_ramping());
        let drive = self.retry_at.or_else(|| self.motion.deadline());
        limit.into_iter().chain(drive).min()
    }

    /// Whether another output may want this one to go off at any moment, which no deadline foretells.
    pub fn may_be_wanted_off(&self) -> bool {
        self.guard.may_be_wanted_off(self.motion.is_ramping())
    }

    /// The bus it was built on has gone, and with it whatever the output did: it is driven safe as soon as that is possible.
    pub fn bus_gone(&mut self, now: Duration) -> Vec<Effect<R>> {
        self.guard.mark_unknown(now);
        self.retry_at = Some(now);
        self.go_safe(now)
    }

    /// The program, or the output's place in the configuration, ends: it is driven to its safe state. Without an effect that
    /// drives it, it waits for a partner to go off, as long as [`Machine::waits_for_partner`] says so.
    pub fn stop(&mut self, now: Duration) -> Vec<Effect<R>> {
        let mut effects = self.refuse(Reason::Stopping, "the gateway is ending");
        if let Some(verdict) = self.guard.make_safe(now, StateCause::Stop) {
            effects.extend(self.obey(now, verdict));
        }
        effects
    }

    /// Whether its safe state has to wait for another output.
    pub fn waits_for_partner(&self) -> bool {
        self.guard.waits()
    }

    /// The partner did not go off in time: this one ends off.
    pub fn stop_waiting(&mut self, now: Duration) -> Vec<Effect<R>> {
        self.guard.give_up();
        self.follow(now, Verdict { action: Action::Set(self.kind.off()), cause: StateCause::Stop }, DriveReason::Trip)
    }

    /// It has ended; its partners do not wait for it any more.
    pub fn leave(&self) {
        self.guard.leave();
    }

    /// The longest dead time that it may have to wait for.
    pub fn longest_dead_time(&self) -> Duration {
        self.guard.longest_dead_time()
    }

    /// The hardware was seen at `seen_at` to do `read`, which is what it was driven to.
    pub fn followed(&mut self, seen_at: Duration, read: OutputValue) -> Vec<Effect<R>> {
        let Some((why, began, _)) = self.driving.take() else { return Vec::new() };
        self.retry_at = None;
        let readback = Readback { is_on: read.is_on(), is_ramping: self.motion.is_ramping() };
        self.guard.read_back(seen_at, readback);
        self.motion.read_back(seen_at, read);
        let value = self.motion.complete(read, began);
        self.last_value = value;
        let mut effects = Vec::new();
        if std::mem::take(&mut self.has_complained) {
            effects.push(Effect::Log(LogLine::FollowsAgain(value)));
        }
        let (target, travels) = (self.motion.target(), matches!(self.motion, Motion::Travel(_)));
        if target.is_none() && travels {
            self.guard.came_to_rest();
        }
        if why != DriveReason::Step || target.is_none() || travels {
            effects.push(Effect::Publish(State { value: Some(value), target, cause: self.cause }));
        }
        if why == DriveReason::Command {
            effects.push(Effect::Log(LogLine::Set(value, self.cause)));
            effects.extend(self.answer(Ok(Done { value, postponed: None })));
        }
        effects
    }

    /// The hardware did not follow, for the reason in `words`. It is driven again at `retry_at`, for ever.
    pub fn failed(&mut self, failed_at: Duration, retry_at: Duration, words: &str) -> Vec<Effect<R>> {
        let Some((why, _, value)) = self.driving.take() else { return Vec::new() };
        self.guard.mark_unknown(failed_at);
        self.motion.forget_position();
        self.retry_at = Some(retry_at);
        let mut effects = Vec::new();
        if !std::mem::replace(&mut self.has_complained, true) {
            effects.push(Effect::Log(LogLine::DoesNotFollow(value, words.to_owned())));
            effects.push(Effect::Publish(State { value: None, target: self.motion.target(), cause: self.cause }));
        }
        if why == DriveReason::Command {
            effects.extend(self.refuse(Reason::Hardware, words));
        }
        let is_on_a_ramp = matches!(self.motion, Motion::Ramp(_)) && why == DriveReason::Step;
        if why == DriveReason::Command || is_on_a_ramp || self.motion.is_ramping() {
            // The failed command may have been carried out in part; the safe state is the only known one.
            effects.extend(self.go_safe(failed_at));
        }
        effects
    }

    /// To the safe state by the next drive, whenever that is.
    fn go_safe(&mut self, now: Duration) -> Vec<Effect<R>> {
        self.motion.forget_position();
        let safe_state = StateCause::SafeState;
        self.cause = safe_state;
        match self.guard.make_safe(now, safe_state) {
            Some(verdict) => self.motion.begin(now, verdict.action, true),
            // A partner must be off first: it stays off meanwhile.
            None => self.motion.begin(now, self.guard.action(), true),
        }
        self.refuse(Reason::Limit, &made_safe_first(safe_state))
    }

    fn obey(&mut self, now: Duration, verdict: Verdict) -> Vec<Effect<R>> {
        let Verdict { action, cause } = verdict;
        match cause {
            StateCause::Command | StateCause::Rule | StateCause::Limit => {
                let mut effects = vec![Effect::Log(LogLine::Postponed(action, cause))];
                effects.extend(self.follow(now, verdict, DriveReason::Command));
                effects
            }
            StateCause::Stop => {
                // A motor cannot travel any more; it stops where it is.
                let is_move = matches!(action, Action::Move(_));
                let action = if is_move { Action::Move(Move::Stop) } else { action };
                self.follow(now, Verdict { action, cause }, DriveReason::Trip)
            }
            StateCause::Start | StateCause::For | StateCause::MaxOn | StateCause::Interlock | StateCause::SafeState => {
                let mut effects = vec![Effect::Log(LogLine::MadeSafe(action, cause))];
                effects.extend(self.refuse(Reason::Limit, &made_safe_first(cause)));
                effects.extend(self.follow(now, verdict, DriveReason::Trip));
                effects
            }
        }
    }

    /// Makes the hardware do what the verdict says, or begin to.
    fn follow(&mut self, now: Duration, verdict: Verdict, why: DriveReason) -> Vec<Effect<R>> {
        let asked = [StateCause::Command, StateCause::Rule, StateCause::For, StateCause::Limit];
        let is_asked = asked.contains(&verdict.cause);
        self.cause = verdict.cause;
        self.motion.begin(now, verdict.action, !is_asked);
        vec![self.drive(now, why)]
    }

    fn drive(&mut self, now: Duration, why: DriveReason) -> Effect<R> {
        let value = self.motion.value(now);
        self.driving = Some((why, now, value));
        Effect::Drive(value)
    }

    /// Answers the requester, if one waits for this command.
    fn answer(&mut self, applied: Applied) -> Vec<Effect<R>> {
        self.requester.take().map(|requester| Effect::Answer(requester, applied)).into_iter().collect()
    }

    fn refuse(&mut self, reason: Reason, words: &str) -> Vec<Effect<R>> {
        self.answer(Err(Refusal::new(reason, words)))
    }
}

fn made_safe_first(cause: StateCause) -> String {
    format!("the output was made safe first: {}", cause.as_str())
}
