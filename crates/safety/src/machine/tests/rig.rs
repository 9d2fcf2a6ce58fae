//! One output of a random life: its machine, the hardware as it really is, and the promises that concern it alone.

use std::collections::VecDeque;
use std::time::Duration;

use crate::limits::is_on;
use crate::machine::{DriveReason, Machine};
use crate::{Effect, Limits, LogLine};
use fieldgate_model::{Action, Move, OutputKind, OutputValue, Pace, StateCause, Travel};

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

/// That the machine turned to on or off, why, and under which limits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Requested {
    pub(super) on: bool,
    pub(super) at: Duration,
    cause: StateCause,
    limits: Limits,
}

impl Requested {
    /// No trip, which no minimum time delays.
    fn is_asked(&self) -> bool {
        matches!(self.cause, StateCause::Command | StateCause::Limit | StateCause::For)
    }

    fn is_away(&self) -> bool {
        self.on != self.limits.is_on_when_safe()
    }
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
    /// When it was first seen to be on or off so; nobody knows any more once a transfer has failed.
    pub(super) seen_at: Option<Duration>,
    /// When the hardware went on last without being driven, because its bus was lost.
    pub(super) by_itself_at: Option<Duration>,
    pub(super) transfer: Option<Transfer>,
    /// It was given up to wait for a partner at the end.
    pub(super) ends_off: bool,
    /// When it looks at its partners next.
    pub(super) look_at: Option<Duration>,
    /// How much later than the machine the hardware may be.
    pub(super) slack: Duration,
    /// When commands that the hardware carried out took it out of its safe state.
    switches: VecDeque<Duration>,
    relimited_at: Duration,
    lease_until: Option<Duration>,
    /// When it was last driven: a cover whose position is unknown then begins its way again.
    driven_at: Duration,
    /// What the machine decided last about on and off.
    pub(super) requested: Requested,
    /// Which way the motor ran last, and when it stopped.
    ran: Option<(Travel, Duration)>,
    /// Commands that have no answer yet, with their lease.
    asked: Vec<(u32, Option<Duration>)>,
}

impl Rig {
    pub(super) fn new(
        machine: Machine<u32>,
        kind: OutputKind,
        pace: Pace,
        limits: Limits,
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
            seen_at: None,
            by_itself_at: None,
            transfer: None,
            ends_off: false,
            look_at: None,
            slack: Duration::ZERO,
            switches: VecDeque::new(),
            relimited_at: Duration::ZERO,
            lease_until: None,
            driven_at: now,
            requested: Requested { on: false, at: now, cause: StateCause::Start, limits },
            ran: None,
            asked: Vec::new(),
        }
    }

    pub(super) fn is_on(&self) -> bool {
        self.does.is_on()
    }

    pub(super) fn relimit(&mut self, now: Duration, limits: Limits) {
        if self.limits.switches_per_hour.is_none() {
            // What is not limited is not counted.
            self.switches.clear();
        }
        (self.limits, self.relimited_at) = (limits, now);
        self.machine.relimit(limits);
    }

    pub(super) fn ask(&mut self, id: u32, lease: Option<Duration>) {
        self.asked.push((id, lease.or(self.limits.pulse)));
    }

    /// Whether the machine has just turned to on or off.
    pub(super) fn look(&mut self, now: Duration) {
        let on = is_on(self.machine.guard.action());
        if on != self.requested.on {
            self.requested = Requested { on, at: now, cause: self.machine.cause, limits: self.limits };
        }
    }

    /// What does not drive anything.
    pub(super) fn record(&mut self, now: Duration, effect: &Effect<u32>) {
        match effect {
            Effect::Answer(id, applied) => {
                let nth = self.asked.iter().position(|(asked, _)| asked == id).expect("answered once");
                let (_, lease) = self.asked.swap_remove(nth);
                if let Ok(done) = applied {
                    let is_on = !self.kind.off().eq(&done.value);
                    let lease = lease.filter(|_| done.postponed.is_none() && (self.limits.pulse.is_none() || is_on));
                    self.lease_until = lease.map(|lease| now + lease);
                }
            }
            Effect::Log(LogLine::MadeSafe(..)) => self.lease_until = None,
            Effect::Drive(_) => {
                if let Some((DriveReason::Command | DriveReason::Trip, ..)) = self.machine.driving {
                    self.driven_at = now;
                }
            }
            Effect::Log(_) | Effect::Publish(_) => {}
        }
    }

    /// At most the command that waits is without an answer.
    pub(super) fn expect_answers(&self, most: usize) {
        assert!(self.asked.len() <= most, "no answer to {:?}", self.asked);
    }

    /// The hardware is driven to this: what must be true at each change.
    pub(super) fn drive(&mut self, now: Duration, value: OutputValue) {
        let (was_on, on) = (self.is_on(), value.is_on());
        self.turn(now, value);
        if was_on == on {
            self.does = value;
            return;
        }
        if self.kind != OutputKind::Cover {
            self.expect_lasted(now, on);
            self.count_switch();
        }
        (self.does, self.since, self.seen_at) = (value, now, None);
        self.was_on |= on;
        if on {
            self.by_itself_at = None;
        }
    }

    fn expect_lasted(&self, now: Duration, on: bool) {
        let (requested, lasted) = (&self.requested, now - self.since);
        assert!(requested.on == on, "driven to {on} although {} was requested", requested.on);
        let least = if on { requested.limits.min_off } else { requested.limits.min_on };
        // On the way to the safe state nothing waits for what was not seen since the last failure, and what went on by
        // itself is driven back at once.
        let counts = requested.is_asked() && (requested.is_away() || self.seen_at.is_some()) && !self.is_by_itself();
        assert!(!counts || lasted >= least, "{requested:?}: {} for {lasted:?} only, not {least:?}", !on);
    }

    fn count_switch(&mut self) {
        let Requested { at, limits, .. } = self.requested;
        let Some(most) = limits.switches_per_hour else { return };
        // What left its off by itself is driven back there, which no command asked for.
        if self.requested.is_asked() && self.requested.is_away() && !self.is_by_itself() {
            self.switches.push_back(at);
            self.switches.retain(|earlier| at - *earlier < ms(3_600_000));
            assert!(self.switches.len() <= most as usize, "switched {} times", self.switches.len());
        }
    }

    /// Whether it is on without having been driven on, and nobody has seen it.
    fn is_by_itself(&self) -> bool {
        self.is_on() && self.by_itself_at.is_some() && self.seen_at.is_none()
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

    /// What must be true at any time, once everything that is due has been done.
    pub(super) fn check(&self, now: Duration, heard: Duration) {
        if self.transfer.is_some() || self.machine.retry_at.is_some() {
            // Only a transfer that succeeds shows it.
            return;
        }
        if self.relimited_at + self.slack >= now {
            return;
        }
        let lasted = now - self.since;
        if let Some(most) = self.limits.max_on.filter(|_| self.is_on()) {
            assert!(lasted <= most + self.slack, "on for {lasted:?}, and max_on is {most:?}");
        }
        let is_lost = self.limits.safe_after.is_some_and(|after| now > self.driven_at.max(heard + after) + self.slack);
        let waits = self.machine.waits_for_partner();
        if is_lost && !waits {
            self.expect_safe("without a link");
        }
        if self.lease_until.is_some_and(|until| now > self.lease_ends(until) + self.slack) && !waits {
            self.expect_safe("after its lease");
        }
        assert!(
            self.machine.motion.target().is_some() || self.is_on() == self.requested.on,
            "{} was requested",
            self.requested.on
        );
        self.expect_end_of_travel(now - self.since.max(self.driven_at));
    }

    /// When it must be back in its safe state: it stays away for as long as it must, and may come back slowly.
    fn lease_ends(&self, until: Duration) -> Duration {
        let least = if self.requested.on { self.limits.min_on } else { self.limits.min_off };
        let seen_at = self.seen_at.filter(|_| self.is_on() == self.requested.on).unwrap_or(self.requested.at);
        let stays = self.requested.on == self.limits.is_on_when_safe();
        let ends = if stays { until } else { until.max(seen_at + least) };
        if let Pace::Ramp(full) = self.pace { ends + full + TURN } else { ends }
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
        if self.machine.retry_at.is_some() {
            return;
        }
        match self.limits.safe_state {
            _ if self.ends_off => assert!(!self.is_on(), "on beside a partner that may be on"),
            Action::Move(_) => assert!(!self.is_on(), "a motor runs after the end"),
            _ => self.expect_safe("at the end"),
        }
        assert!(!matches!(self.machine.driving, Some((DriveReason::Command, ..))));
    }
}
