//! Whether and when a command may be carried out, and what must be done when a time runs out. Pure.
//!
//! The guard knows actions only. Its caller passes in how far the hardware has followed: whether it is still `ramping`, and what
//! was read back. An output is off only when its action is off, nothing ramps and the hardware was seen off. Until then `max_on`
//! goes on and the interlock stays locked.

#[cfg(test)]
mod tests;
mod verdict;

use std::collections::VecDeque;
use std::time::Duration;

pub(super) use verdict::{Grant, Owner, Readback, Verdict};
use verdict::{format_whole, round_up};

use crate::interlock::InterlockHandle;
use crate::limits::{Limits, is_on};
use fieldgate_model::field::format_duration;
use fieldgate_model::{Action, Move, OutputValue, Reason, Refusal, StateCause};

/// `switches_per_hour` counts within this.
const HOUR: Duration = Duration::from_secs(3600);

/// How soon an output that must go on for safety's sake asks again while a partner is not off.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// What is to happen at a later moment.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Waiting {
    verdict: Verdict,
    at: Duration,
    lease: Option<Duration>,
    /// When the `for` would have ended that this replaces.
    replaced: Option<Duration>,
}

/// The limits of one output and the last action that was requested of it.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    limits: Limits,
    interlock: InterlockHandle,
    /// The last requested action.
    action: Action,
    /// Since when it was requested to be on or off.
    since: Duration,
    /// Since when the hardware was seen to be so; minimum times count from here.
    read_back_since: Option<Duration>,
    /// Both, of the state before, as long as the hardware was not seen to leave it: one that is requested again on a slow way
    /// has lasted all the while.
    before: Option<(Duration, Option<Duration>)>,
    /// Since when something may flow: from the first on, or a failure, until the hardware was seen off. `max_on` counts from
    /// here.
    flows_since: Option<Duration>,
    /// When commands switched it away from its safe state within the last hour; as many as `switches_per_hour` at most.
    switches: VecDeque<Duration>,
    /// When `for` ends.
    lease_until: Option<Duration>,
    waiting: Option<Waiting>,
    owner: Owner,
}

impl Guard {
    /// A guard over an output of which nothing is known; [`Guard::make_safe`] comes first. For `min_off` it counts as off
    /// since now.
    pub(super) fn new(limits: Limits, mut interlock: InterlockHandle, off: OutputValue, now: Duration) -> Self {
        interlock.begin();
        interlock.declare(limits.is_on_when_safe());
        let action = Action::Set(off);
        Self {
            limits,
            interlock,
            action,
            since: now,
            read_back_since: None,
            before: None,
            flows_since: None,
            switches: VecDeque::new(),
            lease_until: None,
            waiting: None,
            owner: Owner::Commands,
        }
    }

    /// Who owns the output from now on. What makes it safe takes it from a rule.
    pub(super) fn set_owner(&mut self, owner: Owner) {
        self.owner = owner;
    }

    /// What it does when it is safe.
    pub(super) fn safe_state(&self) -> Action {
        self.limits.safe_state
    }

    /// New limits from a reload; what the output does is left alone.
    pub(super) fn relimit(&mut self, limits: Limits) {
        let is_end_of_lease = |waiting: &mut Waiting| waiting.verdict.cause == StateCause::For;
        if limits.min_off > self.limits.min_off && self.waiting.take_if(is_end_of_lease).is_some() {
            // The lease has run out and waits for a partner; it runs on if the output must now be off for longer.
            self.interlock.withdraw();
            self.lease_until = Some(Duration::ZERO);
        }
        self.interlock.declare(limits.is_on_when_safe());
        self.limits = limits;
    }

    /// The last requested action.
    pub(super) fn action(&self) -> Action {
        self.action
    }

    /// Whether its safe state was the last requested action.
    pub(super) fn is_safe(&self) -> bool {
        self.action == self.limits.safe_state
    }

    /// A command came at `now`, for `lease` if it says so, or an order of a rule; which of both is its `cause`. A rejected one
    /// changes nothing.
    ///
    /// # Errors
    /// [`Reason::Limit`], [`Reason::Interlock`], [`Reason::Busy`] or [`Reason::OutOfRange`], with words for the sender.
    pub(super) fn request(
        &mut self,
        now: Duration,
        action: Action,
        lease: Option<Duration>,
        cause: StateCause,
    ) -> Result<Grant, Refusal> {
        let action = self.resolve_toggle(action);
        let lease = self.lease(now, action, lease)?;
        let verdict = Verdict { action, cause };
        if is_on(action) == is_on(self.action) {
            return Ok(Grant::Now(self.carry_out(now, verdict, lease)));
        }
        let limit = self.allowed_from(now, action)?;
        let free = if is_on(action) { self.take_interlock(now)? } else { now };
        if limit.max(free) <= now {
            return Ok(Grant::Now(self.carry_out(now, verdict, lease)));
        }
        // Of a rule it can be seen later that it was one.
        let postponed = if cause == StateCause::Rule { cause } else { StateCause::Limit };
        let (at, cause, refusal) = if limit > now {
            let key = if is_on(action) { "min_off" } else { "min_on" };
            let words = format!("{key} keeps it {} for another {}", self.requested(), round_up(limit - now));
            (limit.max(free), postponed, Refusal::new(Reason::Limit, words))
        } else {
            let words = format!("it rests for another {} after the other went off", round_up(free - now));
            (free, cause, Refusal::new(Reason::Interlock, words))
        };
        let replaced = self.lease_until.take().or(self.waiting.and_then(|waiting| waiting.replaced));
        self.waiting = Some(Waiting { verdict: Verdict { action, cause }, at, lease, replaced });
        Ok(Grant::At(at, refusal))
    }

    fn resolve_toggle(&self, action: Action) -> Action {
        match (action, self.waiting.map_or(self.action, |waiting| waiting.verdict.action)) {
            (Action::Toggle, Action::Set(OutputValue::Switch(on))) => Action::Set(OutputValue::Switch(!on)),
            (action, _) => action,
        }
    }

    /// How long the command applies.
    fn lease(&self, now: Duration, action: Action, lease: Option<Duration>) -> Result<Option<Duration>, Refusal> {
        match (self.limits.pulse.filter(|_| is_on(action)), lease) {
            (None, None) => Ok(None),
            (None, Some(lease)) => self.long_enough(now, action, lease).map(Some),
            (Some(pulse), Some(_)) => {
                let words = format!("it pulses, for {}, and takes no `for`", format_duration(pulse));
                Err(Refusal::new(Reason::OutOfRange, words))
            }
            (Some(_), None) if is_on(self.action) => {
                let left = self.lease_until.unwrap_or(now).saturating_sub(now);
                Err(Refusal::new(Reason::Busy, format!("it pulses for another {}", round_up(left))))
            }
            (Some(pulse), None) => Ok(Some(pulse)),
        }
    }

    fn long_enough(&self, now: Duration, action: Action, lease: Duration) -> Result<Duration, Refusal> {
        let on = is_on(action);
        let (least, key) = if on { (self.limits.min_on, "min_on") } else { (self.limits.min_off, "min_off") };
        let began = if on == is_on(self.action) { Some((self.since, self.read_back_since)) } else { self.before };
        let since = began.map_or(now, |(since, read_back_since)| read_back_since.unwrap_or(since));
        if on != self.limits.is_on_when_safe() && now.saturating_add(lease) < since.saturating_add(least) {
            let words = format!("`for` would end before {key}, {}, has passed", format_duration(least));
            return Err(Refusal::new(Reason::Limit, words));
        }
        Ok(lease)
    }

    /// From when on the output may be switched to `action` by a command.
    fn allowed_from(&mut self, now: Duration, action: Action) -> Result<Duration, Refusal> {
        let refuse = |words| Err(Refusal::new(Reason::Limit, words));
        let on = is_on(action);
        let (least, key) = if on { (self.limits.min_off, "min_off") } else { (self.limits.min_on, "min_on") };
        let from = self.has_lasted_from(on).unwrap_or(now);
        if on == self.limits.is_on_when_safe() {
            return Ok(from);
        }
        if from > now {
            let (so_far, left) = (format_whole((now + least).saturating_sub(from)), round_up(from - now));
            let words =
                format!("{} for {so_far}, and {key} is {}; in {left}", self.requested(), format_duration(least));
            return refuse(words);
        }
        self.not_too_often(now)
    }

    /// When `min_off` or `min_on` ends. On the way to the safe state the minimum time applies only if the other state was seen on
    /// the hardware: what it never did need not last.
    fn has_lasted_from(&self, on: bool) -> Option<Duration> {
        let least = if on { self.limits.min_off } else { self.limits.min_on };
        let is_away = on != self.limits.is_on_when_safe();
        self.read_back_since.or(is_away.then_some(self.since)).map(|from| from.saturating_add(least))
    }

    fn not_too_often(&mut self, now: Duration) -> Result<Duration, Refusal> {
        self.switches.retain(|at| now.saturating_sub(*at) < HOUR);
        let Some(most) = self.limits.switches_per_hour else { return Ok(now) };
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        match self.switches.len().checked_sub(most).and_then(|first| self.switches.get(first)) {
            None => Ok(now),
            Some(first) => {
                let left = round_up(first.saturating_add(HOUR).saturating_sub(now));
                let words = format!("it was switched {} times within the last hour; in {left}", self.switches.len());
                Err(Refusal::new(Reason::Limit, words))
            }
        }
    }

    /// Locks it for this output, and says from when on it may go on.
    fn take_interlock(&self, now: Duration) -> Result<Duration, Refusal> {
        self.interlock.take(now).map_err(|b| Refusal::new(Reason::Interlock, format!("{} {}", b.by, b.why)))
    }

    fn requested(&self) -> &'static str {
        if is_on(self.action) { "on" } else { "off" }
    }

    fn carry_out(&mut self, now: Duration, verdict: Verdict, lease: Option<Duration>) -> Verdict {
        if is_on(verdict.action) != is_on(self.action) {
            let left = (self.since, self.read_back_since);
            (self.since, self.read_back_since) = self.before.take().unwrap_or_else(|| {
                self.before = Some(left);
                (now, None)
            });
            if is_on(verdict.action) {
                self.flows_since.get_or_insert(now);
            }
            let is_away = is_on(verdict.action) != self.limits.is_on_when_safe();
            if is_away && self.limits.switches_per_hour.is_some() {
                self.switches.push_back(now);
            }
        }
        if self.waiting.is_some() {
            // It may have been waiting to be made safe.
            self.interlock.withdraw();
        }
        self.action = verdict.action;
        self.lease_until = lease.map(|lease| now.saturating_add(lease));
        self.waiting = None;
        verdict
    }

    /// The output must go to its safe state because of `cause`; a lease ends with it. `None`: not before a partner is off, to
    /// which [`Guard::due`] will see.
    pub(super) fn make_safe(&mut self, now: Duration, cause: StateCause) -> Option<Verdict> {
        self.owner = Owner::Commands;
        let verdict = Verdict { action: self.limits.safe_state, cause };
        if self.limits.is_on_when_safe() && !is_on(self.action) {
            let at = self.interlock.demand(now).unwrap_or_else(|_| now.saturating_add(ASK_AGAIN));
            if at > now {
                self.lease_until = None;
                self.waiting = Some(Waiting { verdict, at, lease: None, replaced: None });
                return None;
            }
        }
        Some(self.carry_out(now, verdict, None))
    }

    /// The hardware was read back at `now`.
    pub(super) fn read_back(&mut self, now: Duration, readback: Readback) {
        let is_off = !readback.is_on && !readback.is_ramping && !is_on(self.action);
        if is_off {
            self.flows_since = None;
            // This may be the read-back of an earlier off, while the lock already belongs to the postponed on.
            let is_reserved = self.waiting.is_some_and(|waiting| is_on(waiting.verdict.action));
            if !(is_reserved && self.interlock.is_taken()) {
                self.interlock.release(now);
            }
        }
        if is_off || (readback.is_on && is_on(self.action)) {
            self.read_back_since.get_or_insert(now);
            self.before = None;
        }
    }

    /// The hardware failed at `now`: its state is unknown, and times count from when it is seen again.
    pub(super) fn mark_unknown(&mut self, now: Duration) {
        (self.since, self.read_back_since, self.before) = (now, None, None);
        // It may be on from here.
        self.flows_since.get_or_insert(now);
        self.interlock.mark_unknown();
    }

    /// The cover stands still; with `stop` as its safe state it is safe now.
    pub(super) fn came_to_rest(&mut self) {
        if self.limits.safe_state == Action::Move(Move::Stop) {
            self.action = self.limits.safe_state;
        }
    }

    /// What waits is given up, because the program or the output's place in the configuration ends.
    pub(super) fn give_up(&mut self) {
        (self.waiting, self.lease_until) = (None, None);
        self.interlock.withdraw();
    }

    /// The output has ended.
    pub(super) fn leave(&self) {
        self.interlock.leave();
    }

    /// Whether anything is to be done later.
    pub(super) fn waits(&self) -> bool {
        self.waiting.is_some()
    }

    /// See [`InterlockHandle::longest_dead_time`].
    pub(super) fn longest_dead_time(&self) -> Duration {
        self.interlock.longest_dead_time()
    }

    /// Whether another output may want this one to go off at any moment, which no deadline foretells.
    pub(super) fn may_be_wanted_off(&self, ramping: bool) -> bool {
        (is_on(self.action) || ramping) && !self.limits.is_on_when_safe() && self.interlock.has_partners()
    }

    /// When [`Guard::due`] must be asked next; `None` while nothing can run out. See also [`Guard::may_be_wanted_off`].
    ///
    /// `last_heard` is the moment of the broker's last byte.
    pub(super) fn deadline(&self, last_heard: Option<Duration>, ramping: bool) -> Option<Duration> {
        let times = [
            self.waiting.map(|waiting| waiting.at),
            self.silent_at(last_heard, ramping),
            self.too_long_at(ramping),
            self.lease_ends(),
        ];
        times.into_iter().flatten().min()
    }

    /// When the broker has been silent for `safe_after`. One that waits to be made safe needs no second order, and one that is
    /// safe needs nothing, unless it waits for something else or gets there by a ramp.
    fn silent_at(&self, last_heard: Option<Duration>, ramping: bool) -> Option<Duration> {
        let next = self.waiting.map_or(self.action, |waiting| waiting.verdict.action);
        let is_settled = next == self.limits.safe_state && (self.is_safe() || !self.has_waiting_command());
        let is_concerned = self.owner == Owner::Commands && (!is_settled || (ramping && self.waiting.is_none()));
        let limit = self.limits.safe_after.filter(|_| is_concerned)?;
        Some(last_heard.unwrap_or_default().saturating_add(limit))
    }

    /// When the output returns to its safe state by itself: not before it was seen on or off for as long as it must be, which
    /// a slow way there may have put off.
    fn lease_ends(&self) -> Option<Duration> {
        let until = self.lease_until.filter(|_| !self.is_safe())?;
        let on = is_on(self.action);
        let least = if on { self.limits.min_on } else { self.limits.min_off };
        let stays = on == self.limits.is_on_when_safe();
        Some(if stays { until } else { until.max(self.read_back_since.unwrap_or(self.since).saturating_add(least)) })
    }

    /// Whether a command waits to be carried out.
    pub(super) fn has_waiting_command(&self) -> bool {
        let is_request = |cause| matches!(cause, StateCause::Command | StateCause::Rule | StateCause::Limit);
        self.waiting.is_some_and(|waiting| is_request(waiting.verdict.cause))
    }

    /// When it has been on for too long; also on a slow way down, which then ends at once.
    fn too_long_at(&self, ramping: bool) -> Option<Duration> {
        let limit = self.limits.max_on.filter(|_| is_on(self.action) || ramping)?;
        Some(self.flows_since?.saturating_add(limit))
    }

    /// What has run out at `now`, if anything: the output must then do what the verdict says.
    pub(super) fn due(&mut self, now: Duration, last_heard: Option<Duration>, ramping: bool) -> Option<Verdict> {
        let is_past = |at: Option<Duration>| at.is_some_and(|at| at <= now);
        if self.may_be_wanted_off(ramping) && self.interlock.is_wanted_off() {
            return self.make_safe(now, StateCause::Interlock);
        }
        if is_past(self.silent_at(last_heard, ramping)) {
            return self.make_safe(now, StateCause::SafeState);
        }
        if is_past(self.too_long_at(ramping)) {
            return self.make_safe(now, StateCause::MaxOn);
        }
        if is_past(self.lease_ends()) {
            return self.make_safe(now, StateCause::For);
        }
        let waiting = self.waiting.filter(|waiting| waiting.at <= now)?;
        if !self.has_waiting_command() {
            return self.make_safe(now, waiting.verdict.cause);
        }
        self.carry_out_waiting(now, waiting)
    }

    fn carry_out_waiting(&mut self, now: Duration, waiting: Waiting) -> Option<Verdict> {
        let on = is_on(waiting.verdict.action);
        // It may have been on a slow way when the command came, and be there only since, or have failed.
        let from = self.has_lasted_from(on).filter(|_| on != is_on(self.action));
        if let Some(at) = from.filter(|from| *from > now) {
            self.waiting = Some(Waiting { at, ..waiting });
            return None;
        }
        if on != self.limits.is_on_when_safe() && self.not_too_often(now).is_err() {
            // A reload has made the limit lower.
            return self.drop_waiting(now);
        }
        if on && !is_on(self.action) {
            match self.interlock.take(now) {
                Ok(at) if at <= now => {}
                Ok(at) => {
                    self.waiting = Some(Waiting { at, ..waiting });
                    return None;
                }
                // Another output has taken the lock in between. An action that leads to the safe state is tried again until the
                // lock is free, and demanded once the output would have been safe again without this command.
                Err(_) if self.limits.is_on_when_safe() => {
                    if waiting.replaced.is_some_and(|until| until <= now) {
                        return self.make_safe(now, StateCause::For);
                    }
                    self.waiting = Some(Waiting { at: now.saturating_add(ASK_AGAIN), ..waiting });
                    return None;
                }
                Err(_) => return self.drop_waiting(now),
            }
        }
        Some(self.carry_out(now, waiting.verdict, waiting.lease))
    }

    fn drop_waiting(&mut self, now: Duration) -> Option<Verdict> {
        self.waiting = None;
        if self.read_back_since.is_some() && !is_on(self.action) {
            self.interlock.release(now);
        }
        None
    }
}
