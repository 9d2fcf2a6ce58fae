//! How an output gets from one value to another: at once, by a ramp, or as far as a motor travels. Pure.
//!
//! The position of a cover is computed from the time for which its motor ran. It is known once an end was reached, where the
//! motor runs a little longer, so that errors do not add up; after a start and after a failure it is not known, and a
//! position is then reached by way of an end. The motor rests before it turns the other way; after a failure the rest begins
//! when the hardware was seen to stand still, and the requested move begins again then.

#[cfg(test)]
mod tests;

use std::time::Duration;

use fieldgate_model::{Action, Move, OutputValue, Pace, Travel};

/// A step of a ramp: not seen in a lamp, and rare enough for a slow bus.
const STEP: Duration = Duration::from_millis(20);

/// How one output moves.
#[derive(Clone, Debug)]
pub(super) enum Motion {
    /// It takes the requested value at once.
    AtOnce(OutputValue),
    /// A number that moves.
    Ramp(Ramp),
    /// A motor.
    Travel(Cover),
}

impl Motion {
    /// Of an output that does `off` at `now`.
    pub(super) fn new(pace: Pace, off: OutputValue, now: Duration) -> Self {
        match (pace, off) {
            (Pace::Ramp(full), OutputValue::Percent(_)) if !full.is_zero() => Self::Ramp(Ramp::new(full)),
            (Pace::Travel { opening, closing, overrun, pause }, _) => {
                Self::Travel(Cover::new(Times { opening, closing, overrun, pause }, now))
            }
            _ => Self::AtOnce(off),
        }
    }

    /// Sets what `action` asks for as the target; without a ramp if it is `abrupt`.
    pub(super) fn begin(&mut self, now: Duration, action: Action, abrupt: bool) {
        match (self, action) {
            (Self::AtOnce(value), Action::Set(next)) => *value = next,
            (Self::Ramp(ramp), Action::Set(OutputValue::Percent(to))) => ramp.begin(now, to, abrupt),
            (Self::Travel(cover), Action::Move(order)) => cover.begin(now, order),
            // The kind of the output has seen to it that nothing else comes; where it does, nothing moves.
            (Self::Travel(cover), _) => cover.begin(now, Move::Stop),
            (Self::AtOnce(_) | Self::Ramp(_), _) => {}
        }
    }

    /// What the hardware must do at `now`.
    pub(super) fn value(&mut self, now: Duration) -> OutputValue {
        match self {
            Self::AtOnce(value) => *value,
            Self::Ramp(ramp) => OutputValue::Percent(ramp.value(now)),
            Self::Travel(cover) => cover.value(now),
        }
    }

    /// When [`Motion::value`] changes next.
    pub(super) fn deadline(&self) -> Option<Duration> {
        match self {
            Self::AtOnce(_) => None,
            Self::Ramp(ramp) => (!ramp.is_at_rest()).then(|| ramp.stepped.saturating_add(STEP)),
            Self::Travel(cover) => cover.deadline(),
        }
    }

    /// Whether it is on a slow way between two values.
    pub(super) fn is_ramping(&self) -> bool {
        matches!(self, Self::Ramp(ramp) if !ramp.is_at_rest())
    }

    /// Where it is going to, in percent, while it is on its way.
    pub(super) fn target(&self) -> Option<f64> {
        match self {
            Self::AtOnce(_) => None,
            Self::Ramp(ramp) => (!ramp.is_at_rest()).then_some(ramp.to),
            Self::Travel(cover) => cover.target(),
        }
    }

    /// What was read back; a position that cannot be read is computed from the time.
    pub(super) fn complete(&self, read: OutputValue, now: Duration) -> OutputValue {
        match (self, read) {
            (Self::Travel(cover), OutputValue::Cover { travel, .. }) => {
                OutputValue::Cover { travel, position: cover.position_at(now) }
            }
            _ => read,
        }
    }

    /// The hardware was seen to do `read`.
    pub(super) fn read_back(&mut self, now: Duration, read: OutputValue) {
        match (self, read) {
            (Self::Travel(cover), OutputValue::Cover { travel: Travel::Stopped, .. }) => cover.stands_still(now),
            (Self::Ramp(ramp), _) => ramp.seen = Some(ramp.at),
            _ => {}
        }
    }

    /// The hardware did not follow: its position and direction are unknown.
    pub(super) fn forget_position(&mut self) {
        match self {
            Self::AtOnce(_) => {}
            Self::Ramp(ramp) => ramp.seen = None,
            Self::Travel(cover) => {
                (cover.position, cover.leg, cover.then) = (None, None, None);
                (cover.moving, cover.stopping, cover.unresolved) = (false, false, true);
            }
        }
    }
}

/// From one percentage to another.
#[derive(Clone, Debug)]
pub(super) struct Ramp {
    /// From 0 to 100.
    full: Duration,
    from: f64,
    to: f64,
    began: Duration,
    stepped: Duration,
    /// What [`Ramp::value`] said last.
    at: f64,
    /// Where the hardware was seen to be, unless it has failed since. A ramp begins there; one from a value at which it is
    /// not could switch something off for a step that must stay on.
    seen: Option<f64>,
}

impl Ramp {
    fn new(full: Duration) -> Self {
        Self { full, from: 0.0, to: 0.0, began: Duration::ZERO, stepped: Duration::ZERO, at: 0.0, seen: None }
    }

    fn is_at_rest(&self) -> bool {
        self.at == self.to
    }

    fn begin(&mut self, now: Duration, to: f64, abrupt: bool) {
        let at = self.seen.filter(|_| !abrupt).unwrap_or(to);
        (self.from, self.at, self.to, self.began, self.stepped) = (at, at, to, now, now);
    }

    fn value(&mut self, now: Duration) -> f64 {
        let way = 100.0 * now.saturating_sub(self.began).as_secs_f64() / self.full.as_secs_f64();
        let distance = self.to - self.from;
        self.at = if way >= distance.abs() { self.to } else { self.from + way.copysign(distance) };
        self.stepped = now;
        self.at
    }
}

/// See [`Pace::Travel`].
#[derive(Clone, Copy, Debug)]
struct Times {
    opening: Duration,
    closing: Duration,
    overrun: Duration,
    pause: Duration,
}

/// A run of the motor in one direction.
#[derive(Clone, Copy, Debug)]
struct Leg {
    travel: Travel,
    from: Option<f64>,
    goal: f64,
    began: Duration,
    ends: Duration,
}

/// A blind, a shutter or a motor valve.
#[derive(Clone, Debug)]
pub(super) struct Cover {
    times: Times,
    /// Where it was when it last stood still; percent open.
    position: Option<f64>,
    leg: Option<Leg>,
    /// Where to go when the leg has reached its end of the way.
    then: Option<f64>,
    /// Which way the motor ran last, and until when. After a start it may have been either.
    last: (Option<Travel>, Duration),
    /// What [`Cover::value`] said last.
    moving: bool,
    /// A stop was requested, and the motor has not been seen to stand still yet.
    stopping: bool,
    /// What is being carried out; [`Move::Stop`] when nothing is.
    order: Move,
    /// It did not follow, and has not been seen to stand still since; until then it is stopped.
    unresolved: bool,
}

impl Cover {
    fn new(times: Times, now: Duration) -> Self {
        let (last, order) = ((None, now), Move::Stop);
        Self {
            times,
            position: None,
            leg: None,
            then: None,
            last,
            moving: false,
            stopping: false,
            order,
            unresolved: false,
        }
    }

    fn begin(&mut self, now: Duration, order: Move) {
        self.halt(now);
        self.order = order;
        if self.unresolved {
            return;
        }
        match (order, self.position) {
            (Move::Stop, _) => {}
            (Move::Open, _) => self.run(now, 100.0),
            (Move::Close, _) => self.run(now, 0.0),
            (Move::Calibrate, _) => {
                self.position = None;
                self.run(now, 0.0);
            }
            (Move::To(goal), Some(_)) => self.run(now, goal),
            (Move::To(goal), None) => {
                self.run(now, if goal < 50.0 { 0.0 } else { 100.0 });
                self.then = Some(goal);
            }
        }
    }

    /// The motor stops here, as far as what was planned is concerned.
    fn halt(&mut self, now: Duration) {
        self.position = self.position_at(now);
        if let Some(leg) = self.leg.take().filter(|_| self.moving) {
            self.last = (Some(leg.travel), now);
        }
        self.then = None;
    }

    /// The rest counts from here, not from the order to stop, which a slow bus may have carried out late.
    fn stands_still(&mut self, now: Duration) {
        if std::mem::take(&mut self.unresolved) {
            self.last = (None, now);
            self.begin(now, self.order);
        } else if std::mem::take(&mut self.stopping) {
            let late = now.saturating_sub(self.last.1);
            self.last.1 = now;
            if let Some(leg) = &mut self.leg {
                (leg.began, leg.ends) = (leg.began.saturating_add(late), leg.ends.saturating_add(late));
            }
        }
    }

    fn run(&mut self, now: Duration, goal: f64) {
        let way = self.position.map(|from| goal - from);
        let opens = way.map_or(goal > 50.0, |way| if way == 0.0 { goal > 50.0 } else { way > 0.0 });
        let (travel, full) = match opens {
            true => (Travel::Opening, self.times.opening),
            false => (Travel::Closing, self.times.closing),
        };
        let is_end = goal == 0.0 || goal == 100.0;
        let run = full.mul_f64(way.map_or(1.0, |way| way.abs() / 100.0));
        let run = if is_end { run.saturating_add(self.times.overrun) } else { run };
        if run.is_zero() {
            return;
        }
        let (last, stopped) = self.last;
        let began = if last == Some(travel) { now } else { now.max(stopped.saturating_add(self.times.pause)) };
        self.leg = Some(Leg { travel, from: self.position, goal, began, ends: began.saturating_add(run) });
    }

    fn position_at(&self, now: Duration) -> Option<f64> {
        let Some(leg) = self.leg.as_ref().filter(|_| self.moving) else { return self.position };
        let is_end = leg.goal == 0.0 || leg.goal == 100.0;
        if is_end && now >= leg.ends {
            return Some(leg.goal);
        }
        let full = if leg.travel == Travel::Opening { self.times.opening } else { self.times.closing };
        let way = 100.0 * now.saturating_sub(leg.began).as_secs_f64() / full.as_secs_f64();
        let signed = if leg.travel == Travel::Opening { way } else { -way };
        leg.from.map(|from| (from + signed).clamp(0.0, 100.0))
    }

    fn value(&mut self, now: Duration) -> OutputValue {
        if let Some(leg) = self.leg.as_mut().filter(|leg| leg.began < now && !self.moving) {
            // The thread was busy: the motor starts only now.
            leg.ends += now - leg.began;
            leg.began = now;
        }
        if self.leg.is_some_and(|leg| leg.ends <= now) {
            let then = self.then;
            self.halt(now);
            match then.filter(|_| self.position.is_some()) {
                Some(goal) => self.run(now, goal),
                None => self.order = Move::Stop,
            }
        }
        let running = self.leg.filter(|leg| leg.began <= now);
        self.stopping |= self.moving && running.is_none();
        self.moving = running.is_some();
        OutputValue::Cover {
            travel: running.map_or(Travel::Stopped, |leg| leg.travel),
            position: self.position_at(now),
        }
    }

    fn deadline(&self) -> Option<Duration> {
        self.leg.map(|leg| if self.moving { leg.ends } else { leg.began })
    }

    fn target(&self) -> Option<f64> {
        match (self.leg, self.order) {
            (Some(leg), _) => Some(self.then.unwrap_or(leg.goal)),
            (None, _) if !self.unresolved => None,
            (None, Move::Open) => Some(100.0),
            (None, Move::Close | Move::Calibrate) => Some(0.0),
            (None, Move::To(goal)) => Some(goal),
            (None, Move::Stop) => None,
        }
    }
}
