//! One output of a random life: its machine, the hardware as it really is, and the promises that concern it alone.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::{Action, Move, OutputKind, OutputValue, Pace, StateCause, Travel};
use crate::safety::limits::is_on;
use crate::safety::machine::{Machine, Purpose};
use crate::safety::{Effect, Limits, Note};

pub(super) fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Steps of ramps, and how often a thread asks for its partners.
pub(super) const TURN: Duration = Duration::from_millis(20);

/// What a transfer comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The hardware does it and says so.
    Follows,
    /// The hardware does it, and reading it back fails.
    DoesAndFails,
    /// It does nothing.
    Fails,
}

/// Something on its way over the bus.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transfer {
    pub(super) value: OutputValue,
    /// When the hardware does it, if it does.
    pub(super) acts_at: Option<Duration>,
    pub(super) ends_at: Duration,
    pub(super) fate: Fate,
}

/// The machine and the truth.
pub(super) struct Rig {
    pub(super) machine: Machine<u32>,
    pub(super) kind: OutputKind,
    pub(super) pace: Pace,
    pub(super) limits: Limits,
    pub(super) bus: usize,
    /// What the hardware does, and since when it is on or off so.
    pub(super) does: OutputValue,
    pub(super) since: Duration,
    /// It was on at all.
    pub(super) was_on: bool,
    /// A transfer failed, and none has followed since.
    pub(super) failed: bool,
    /// A transfer failed since the hardware went on or off: nobody knew how long it was so.
    pub(super) doubted: bool,
    /// The hardware went on when its bus was lost, without being driven.
    pub(super) by_itself: bool,
    pub(super) transfer: Option<Transfer>,
    /// When it looks at its partners next.
    pub(super) look_at: Option<Duration>,
    /// How much later than the machine the hardware may be.
    pub(super) slack: Duration,
    switches: VecDeque<Duration>,
    /// A postponed command may stem from older limits.
    relimited: bool,
    relimited_at: Duration,
    lease_until: Option<Duration>,
    /// When it was last told anything: a cover whose position is unknown then begins its way again.
    told_at: Duration,
    /// Whether it was told to be on, and since when.
    is_told_on: bool,
    pub(super) told_on_at: Duration,
    /// Which way the motor ran last, and when it stopped.
    ran: Option<(Travel, Duration)>,
    /// Commands that have no answer yet, with their lease.
    asked: Vec<(u32, Option<Duration>)>,
}

impl Rig {
    pub(super) fn new(
        machine: Machine<u32>,
        (kind, pace, limits): (OutputKind, Pace, Limits),
        bus: usize,
        now: Duration,
    ) -> Self {
        Self {
            machine,
            kind,
            pace,
            limits,
            bus,
            does: kind.off(),
            since: now,
            was_on: false,
            failed: false,
            doubted: false,
            by_itself: false,
            transfer: None,
            look_at: None,
            slack: Duration::ZERO,
            switches: VecDeque::new(),
            relimited: false,
            relimited_at: Duration::ZERO,
            lease_until: None,
            told_at: now,
            is_told_on: false,
            told_on_at: now,
            ran: None,
            asked: Vec::new(),
        }
    }

    pub(super) fn is_on(&self) -> bool {
        self.does.is_on()
    }

    pub(super) fn relimit(&mut self, now: Duration, limits: Limits) {
        (self.limits, self.relimited, self.relimited_at) = (limits, true, now);
        self.switches.clear();
        self.machine.relimit(limits);
    }

    pub(super) fn ask(&mut self, id: u32, lease: Option<Duration>) {
        self.asked.push((id, lease.or(self.limits.pulse)));
    }

    /// What does not drive anything.
    pub(super) fn note(&mut self, now: Duration, effect: &Effect<u32>) {
        match effect {
            Effect::Answer(id, applied) => {
                let nth = self.asked.iter().position(|(asked, _)| asked == id).expect("answered once");
                let (_, lease) = self.asked.swap_remove(nth);
                if let Ok(done) = applied {
                    let is_on = !self.kind.off().eq(&done.value);
                    let lease = lease.filter(|_| done.note.is_none() && (self.limits.pulse.is_none() || is_on));
                    self.lease_until = lease.map(|lease| now + lease);
                }
            }
            Effect::Log(Note::MadeSafe(..)) => self.lease_until = None,
            Effect::Drive(_) => {
                let is_told_on = is_on(self.machine.guard.action());
                if is_told_on && !std::mem::replace(&mut self.is_told_on, is_told_on) {
                    self.told_on_at = now;
                }
                self.is_told_on = is_told_on;
                if let Some((Purpose::Command | Purpose::Trip, ..)) = self.machine.driving {
                    self.told_at = now;
                }
            }
            Effect::Log(_) | Effect::Publish(_) => {}
        }
    }

    /// At most the command that waits is without an answer.
    pub(super) fn expect_answers(&self, most: usize) {
        assert!(self.asked.len() <= most, "no answer to {:?}", self.asked);
    }

    fn is_asked(&self) -> bool {
        matches!(self.machine.cause, StateCause::Command | StateCause::Limit | StateCause::For)
    }

    /// The hardware is driven to this: what holds at each change.
    pub(super) fn drive(&mut self, now: Duration, value: OutputValue) {
        let (was_on, on) = (self.is_on(), value.is_on());
        self.turn(now, value);
        if was_on == on {
            self.does = value;
            return;
        }
        let lasted = now - self.since;
        let least = if on { self.limits.min_off } else { self.limits.min_on };
        if self.is_asked()
            && !self.doubted
            && !self.relimited
            && !self.by_itself
            && !matches!(self.kind, OutputKind::Cover)
        {
            assert!(lasted >= least, "{:?} {was_on} for {lasted:?} only, not {least:?}", self.machine.cause);
        }
        self.count_switch(now, on);
        (self.does, self.since, self.relimited) = (value, now, false);
        // What went on by itself was not driven on, and no rest follows it.
        let was_on = on || (self.was_on && !self.by_itself);
        (self.was_on, self.by_itself, self.doubted) = (was_on, false, false);
    }

    fn count_switch(&mut self, now: Duration, on: bool) {
        let is_away = on != self.limits.is_on_when_safe();
        let Some(most) = self.limits.switches_per_hour.filter(|_| self.is_asked() && is_away) else { return };
        // A command of before the reload is counted by the limits of before.
        let is_excused = self.relimited || self.doubted || self.by_itself;
        if matches!(self.kind, OutputKind::Cover) || self.machine.cause == StateCause::For || is_excused {
            return;
        }
        self.switches.push_back(now);
        // A ramp may bring the hardware a second later than the command.
        self.switches.retain(|at| now - *at < ms(3_598_000));
        assert!(self.switches.len() <= most as usize, "switched {} times", self.switches.len());
    }

    /// A motor rests before it turns.
    fn turn(&mut self, now: Duration, value: OutputValue) {
        let (OutputValue::Cover { travel: before, .. }, OutputValue::Cover { travel, .. }) = (self.does, value) else {
            return;
        };
        let Pace::Travel { pause, .. } = self.pace else { return };
        if before != Travel::Stopped && travel != before {
            assert_eq!(travel, Travel::Stopped, "it turned at once");
            self.ran = Some((before, now));
        }
        if before == Travel::Stopped && travel != Travel::Stopped {
            let turned = self.ran.filter(|(ran, _)| *ran != travel);
            assert!(turned.is_none_or(|(_, stopped)| now - stopped >= pause), "no rest before a turn: {turned:?}");
        }
    }

    /// What holds at any time, once everything that is due has been done. A `grace` for what was only just lost.
    pub(super) fn check(&self, now: Duration, heard: Duration) {
        if self.failed || self.by_itself || self.transfer.is_some() || self.machine.retry_at.is_some() {
            return;
        }
        if self.relimited_at + self.slack >= now {
            return;
        }
        let lasted = now - self.since;
        if let Some(most) = self.limits.max_on.filter(|_| self.is_on()) {
            assert!(lasted <= most + self.slack, "on for {lasted:?}, and max_on is {most:?}");
        }
        let is_lost = self.limits.safe_after.is_some_and(|after| now.saturating_sub(heard) > after + self.slack);
        let waits = self.machine.waits_for_partner();
        if is_lost && !waits {
            self.expect_safe("without a link");
        }
        // After a slow way the least time counts from its end, and a reload may have made it longer.
        let least = self.limits.min_on.max(self.limits.min_off);
        let ramp = match self.pace {
            Pace::Ramp(full) => 2 * full + TURN + least,
            _ if self.relimited => least,
            _ => Duration::ZERO,
        };
        if self.lease_until.is_some_and(|until| now > until + self.slack + ramp) && !waits {
            self.expect_safe("after its lease");
        }
        self.expect_end_of_travel(now - self.since.max(self.told_at));
    }

    pub(super) fn expect_safe(&self, when: &str) {
        match (self.limits.safe_state, self.does) {
            (Action::Set(safe), does) => assert_eq!(does, safe, "{when}"),
            (Action::Move(order), OutputValue::Cover { travel, .. }) => {
                let wrong = match order {
                    Move::Open => Travel::Closing,
                    _ => Travel::Opening,
                };
                assert_ne!(travel, wrong, "{when}");
                assert!(order != Move::Stop || travel == Travel::Stopped, "{when}");
            }
            (order, does) => panic!("{order:?} of {does:?}"),
        }
    }

    fn expect_end_of_travel(&self, lasted: Duration) {
        if let (Pace::Travel { opening, closing, overrun, .. }, true) = (self.pace, self.is_on()) {
            let most = opening.max(closing) + overrun + self.slack;
            assert!(lasted <= most, "it travels for {lasted:?}, and its way takes {most:?}");
        }
    }

    /// At the end of the program.
    pub(super) fn expect_end(&self) {
        if self.failed || self.by_itself || self.machine.retry_at.is_some() {
            return;
        }
        match self.limits.safe_state {
            Action::Move(_) => assert!(!self.is_on(), "a motor runs after the end"),
            _ => self.expect_safe("at the end"),
        }
        assert!(!matches!(self.machine.driving, Some((Purpose::Command, ..))));
    }
}
