//! How an output gets from one value to another: at once, by a ramp, or as far as a motor travels. Pure.
//!
//! The position of a cover is reckoned from the time for which its motor ran. It is known once an end was reached, where the
//! motor runs a little longer, so that errors do not add up; after a start and after a failure it is not known, and a
//! position is then reached by way of an end. The motor rests before it turns the other way; after a failure the rest begins
//! when the hardware was seen to stand still, and what was asked for is begun anew then.

use std::time::Duration;

use crate::model::{Action, Move, OutputValue, Pace, Travel};

/// A step of a ramp: not seen in a lamp, and rare enough for a slow bus.
const STEP: Duration = Duration::from_millis(20);

/// One output on its way.
#[derive(Clone, Debug)]
pub(super) enum Motion {
    /// It is where it was told to be.
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

    /// Makes for what `action` asks; without a ramp if it must be `abrupt`.
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

    /// Where it is going to, in percent, while it is on its way.
    pub(super) fn target(&self) -> Option<f64> {
        match self {
            Self::AtOnce(_) => None,
            Self::Ramp(ramp) => (!ramp.is_at_rest()).then_some(ramp.to),
            Self::Travel(cover) => cover.target(),
        }
    }

    /// What was read back, with what only time tells.
    pub(super) fn complete(&self, read: OutputValue, now: Duration) -> OutputValue {
        match (self, read) {
            (Self::Travel(cover), OutputValue::Cover { travel, .. }) => {
                OutputValue::Cover { travel, position: cover.position_at(now) }
            }
            _ => read,
        }
    }

    /// The hardware was seen to do `read`.
    pub(super) fn saw(&mut self, now: Duration, read: OutputValue) {
        if let (Self::Travel(cover), OutputValue::Cover { travel: Travel::Stopped, .. }) = (self, read)
            && std::mem::take(&mut cover.lost)
        {
            cover.last = (None, now);
            cover.begin(now, cover.order);
        }
    }

    /// The hardware did not follow: nobody knows where it is, nor which way it runs.
    pub(super) fn lose(&mut self) {
        if let Self::Travel(cover) = self {
            (cover.position, cover.leg, cover.then) = (None, None, None);
            (cover.moving, cover.lost) = (false, true);
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
    at: f64,
}

impl Ramp {
    fn new(full: Duration) -> Self {
        Self { full, from: 0.0, to: 0.0, began: Duration::ZERO, stepped: Duration::ZERO, at: 0.0 }
    }

    fn is_at_rest(&self) -> bool {
        self.at == self.to
    }

    fn begin(&mut self, now: Duration, to: f64, abrupt: bool) {
        let at = if abrupt { to } else { self.at };
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
    /// What is being carried out; [`Move::Stop`] when nothing is.
    order: Move,
    /// It did not follow, and has not been seen to stand still since; until then it is stopped.
    lost: bool,
}

impl Cover {
    fn new(times: Times, now: Duration) -> Self {
        let (last, order) = ((None, now), Move::Stop);
        Self { times, position: None, leg: None, then: None, last, moving: false, order, lost: false }
    }

    fn begin(&mut self, now: Duration, order: Move) {
        self.halt(now);
        self.order = order;
        if self.lost {
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
            (None, _) if !self.lost => None,
            (None, Move::Open) => Some(100.0),
            (None, Move::Close | Move::Calibrate) => Some(0.0),
            (None, Move::To(goal)) => Some(goal),
            (None, Move::Stop) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// Opens in 10 s, closes in 8 s, runs 1 s longer at the ends, rests for 0.5 s.
    fn blind() -> Motion {
        let pace = Pace::Travel { opening: ms(10_000), closing: ms(8_000), overrun: ms(1_000), pause: ms(500) };
        Motion::new(pace, OutputValue::Cover { travel: Travel::Stopped, position: None }, ms(0))
    }

    fn cover(travel: Travel, position: Option<f64>) -> OutputValue {
        OutputValue::Cover { travel, position }
    }

    fn go(motion: &mut Motion, at: u64, order: Move) -> OutputValue {
        motion.begin(ms(at), Action::Move(order), false);
        motion.value(ms(at))
    }

    /// What it does from each moment at which that changes, until it rests.
    fn run(motion: &mut Motion) -> Vec<(u64, Travel)> {
        let mut all = Vec::new();
        while let Some(at) = motion.deadline() {
            let OutputValue::Cover { travel, .. } = motion.value(at) else { panic!("a cover") };
            all.push((u64::try_from(at.as_millis()).unwrap(), travel));
        }
        all
    }

    #[test]
    fn what_has_no_pace_is_there_at_once() {
        let mut relay = Motion::new(Pace::AtOnce, OutputValue::Switch(false), ms(0));
        relay.begin(ms(1), Action::Set(OutputValue::Switch(true)), false);
        assert_eq!((relay.value(ms(1)), relay.deadline()), (OutputValue::Switch(true), None));
    }

    #[test]
    fn a_ramp_moves_in_steps_and_a_trip_does_not_wait_for_it() {
        let mut lamp = Motion::new(Pace::Ramp(ms(1000)), OutputValue::Percent(0.0), ms(0));
        let set = |percent| Action::Set(OutputValue::Percent(percent));
        lamp.begin(ms(100), set(50.0), false);
        assert_eq!((lamp.value(ms(100)), lamp.target()), (OutputValue::Percent(0.0), Some(50.0)));
        assert_eq!(lamp.deadline(), Some(ms(120)));
        assert_eq!(lamp.value(ms(350)), OutputValue::Percent(25.0));
        lamp.begin(ms(350), set(5.0), false);
        assert_eq!(lamp.value(ms(450)), OutputValue::Percent(15.0), "back from where it was");
        assert_eq!((lamp.value(ms(5000)), lamp.deadline()), (OutputValue::Percent(5.0), None));
        lamp.begin(ms(6000), set(0.0), true);
        assert_eq!((lamp.value(ms(6000)), lamp.deadline(), lamp.target()), (OutputValue::Percent(0.0), None, None));
    }

    #[test]
    fn the_first_run_takes_the_whole_way_after_a_rest() {
        let mut blind = blind();
        assert_eq!(go(&mut blind, 100, Move::Open), cover(Travel::Stopped, None), "it may have run the other way");
        assert_eq!(run(&mut blind), [(500, Travel::Opening), (11_500, Travel::Stopped)]);
        assert_eq!(blind.value(ms(20_000)), cover(Travel::Stopped, Some(100.0)));
    }

    #[test]
    fn a_position_is_reckoned_from_the_way() {
        let mut blind = blind();
        go(&mut blind, 1000, Move::Close);
        run(&mut blind);
        assert_eq!(go(&mut blind, 20_000, Move::To(40.0)), cover(Travel::Opening, Some(0.0)));
        assert_eq!((blind.value(ms(22_000)), blind.target()), (cover(Travel::Opening, Some(20.0)), Some(40.0)));
        assert_eq!(run(&mut blind), [(24_000, Travel::Stopped)]);
        assert_eq!(go(&mut blind, 30_000, Move::To(15.0)), cover(Travel::Closing, Some(40.0)));
        assert_eq!(run(&mut blind), [(32_000, Travel::Stopped)]);
        assert_eq!(blind.value(ms(40_000)), cover(Travel::Stopped, Some(15.0)));
        assert_eq!(go(&mut blind, 50_000, Move::To(15.0)), cover(Travel::Stopped, Some(15.0)), "it is there");
    }

    #[test]
    fn a_stop_on_the_way_keeps_the_position_and_a_turn_has_its_rest() {
        let mut blind = blind();
        go(&mut blind, 1000, Move::Close);
        run(&mut blind);
        go(&mut blind, 20_000, Move::Open);
        assert_eq!(go(&mut blind, 23_000, Move::Stop), cover(Travel::Stopped, Some(30.0)));
        go(&mut blind, 30_000, Move::Open);
        assert_eq!(go(&mut blind, 31_000, Move::Close), cover(Travel::Stopped, Some(40.0)));
        assert_eq!(run(&mut blind), [(31_500, Travel::Closing), (35_700, Travel::Stopped)], "3.2 s and one more");
        assert_eq!(go(&mut blind, 40_000, Move::Close), cover(Travel::Closing, Some(0.0)), "it makes sure");
    }

    #[test]
    fn a_position_that_is_asked_for_while_none_is_known_goes_by_way_of_the_nearer_end() {
        let mut blind = blind();
        go(&mut blind, 1000, Move::To(20.0));
        assert_eq!(blind.target(), Some(20.0));
        let expected = [(10_000, Travel::Stopped), (10_500, Travel::Opening), (12_500, Travel::Stopped)];
        assert_eq!(run(&mut blind), expected);
        assert_eq!(blind.value(ms(13_000)), cover(Travel::Stopped, Some(20.0)));
    }

    #[test]
    fn calibration_takes_the_whole_way_whatever_was_believed() {
        let mut blind = blind();
        go(&mut blind, 1000, Move::Close);
        run(&mut blind);
        go(&mut blind, 20_000, Move::Calibrate);
        assert_eq!(run(&mut blind), [(29_000, Travel::Stopped)]);
        assert_eq!(blind.value(ms(30_000)), cover(Travel::Stopped, Some(0.0)));
    }

    #[test]
    fn after_a_failure_the_position_is_not_known() {
        let mut blind = blind();
        go(&mut blind, 1000, Move::Close);
        run(&mut blind);
        go(&mut blind, 20_000, Move::To(50.0));
        blind.lose();
        assert_eq!(go(&mut blind, 21_000, Move::Stop), cover(Travel::Stopped, None));
        assert_eq!(blind.complete(cover(Travel::Stopped, None), ms(21_000)), cover(Travel::Stopped, None));
    }

    #[test]
    fn after_a_failure_the_whole_way_is_begun_anew_a_rest_after_it_was_seen_to_stand_still() {
        let mut blind = blind();
        go(&mut blind, 1000, Move::Open);
        run(&mut blind);
        go(&mut blind, 20_000, Move::Close);
        blind.lose();
        // As long as it does not follow nothing else is tried than to stop it, and time does not bring it anywhere.
        for at in [20_500, 60_000] {
            assert_eq!((blind.value(ms(at)), blind.deadline()), (cover(Travel::Stopped, None), None));
            assert_eq!(blind.target(), Some(0.0), "it is still to be closed");
        }
        blind.saw(ms(60_001), cover(Travel::Stopped, None));
        assert_eq!(run(&mut blind), [(60_501, Travel::Closing), (69_501, Travel::Stopped)]);
        assert_eq!(blind.value(ms(70_000)), cover(Travel::Stopped, Some(0.0)));
    }

    #[test]
    fn what_ended_before_a_failure_is_not_begun_again() {
        let mut blind = blind();
        go(&mut blind, 1000, Move::Open);
        run(&mut blind);
        blind.lose();
        blind.saw(ms(30_000), cover(Travel::Stopped, None));
        assert_eq!((blind.value(ms(30_000)), blind.deadline()), (cover(Travel::Stopped, None), None));
    }

    #[test]
    fn a_start_that_comes_late_makes_the_way_no_shorter() {
        let mut blind = blind();
        go(&mut blind, 1000, Move::Close);
        run(&mut blind);
        assert_eq!(go(&mut blind, 10_100, Move::To(50.0)), cover(Travel::Stopped, Some(0.0)), "it rests");
        assert_eq!(blind.value(ms(30_000)), cover(Travel::Opening, Some(0.0)), "a thread that was busy");
        assert_eq!(run(&mut blind), [(35_000, Travel::Stopped)]);
        go(&mut blind, 35_100, Move::Close);
        assert_eq!(go(&mut blind, 60_000, Move::Stop), cover(Travel::Stopped, Some(50.0)), "it never ran");
    }

    #[test]
    fn a_stop_that_comes_late_is_reckoned_with() {
        let mut blind = blind();
        go(&mut blind, 1000, Move::Close);
        run(&mut blind);
        go(&mut blind, 20_000, Move::To(50.0));
        assert_eq!(blind.value(ms(26_000)), cover(Travel::Stopped, Some(60.0)), "a slow bus");
    }
}
