//! Outputs that must never be on together. Pure.
//!
//! An interlock is a lock with a rest: an output takes it before it is driven on and gives it back when the hardware was
//! seen to be off, and from then on its partners wait for the dead time, in which a relay opens or a motor runs out. An
//! output that was never seen to be off counts as on: after a start nobody knows what it did before.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::model::Name;

/// What is known of one output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    /// Nothing yet.
    Unknown,
    /// It was seen to be off at this moment on the boot clock.
    Free(Duration),
    /// It is on, or about to be.
    Held,
}

/// Who keeps an output from going on, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Blocked {
    /// The partner.
    pub(super) by: Name,
    /// What the partner does, in words.
    pub(super) why: &'static str,
}

/// Two outputs that exclude each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// One.
    pub one: Name,
    /// The other.
    pub other: Name,
    /// Between the end of one and the beginning of the other.
    pub dead_time: Duration,
}

impl Pair {
    /// The partner of `me`, and the rest between them.
    pub fn partner_of(&self, me: &Name) -> Option<(&Name, Duration)> {
        if self.one == *me {
            Some((&self.other, self.dead_time))
        } else {
            (self.other == *me).then_some((&self.one, self.dead_time))
        }
    }
}

/// The interlocks of all outputs.
#[derive(Debug, Default)]
pub struct Interlocks {
    pairs: Vec<Pair>,
    holds: BTreeMap<Name, Hold>,
    /// Those that must go on for safety's sake and cannot yet.
    demands: Vec<Name>,
}

impl Interlocks {
    /// Takes over the pairs of a configuration. What is known of outputs that are in both stays known.
    pub fn arrange(&mut self, pairs: Vec<Pair>) {
        for name in pairs.iter().flat_map(|pair| [&pair.one, &pair.other]) {
            self.holds.entry(name.clone()).or_insert(Hold::Unknown);
        }
        self.pairs = pairs;
    }

    fn partners<'a>(&'a self, me: &'a Name) -> impl Iterator<Item = (&'a Name, Duration)> {
        self.pairs.iter().filter_map(|pair| pair.partner_of(me))
    }

    /// Locks for `me`, and says from when on it may be on.
    ///
    /// # Errors
    /// [`Blocked`]; nothing has changed then.
    fn take(&mut self, me: &Name, now: Duration) -> Result<Duration, Blocked> {
        let mut at = now;
        for (partner, dead_time) in self.partners(me) {
            let blocked = |why| Err(Blocked { by: partner.clone(), why });
            match self.holds.get(partner) {
                Some(Hold::Free(_)) if self.demands.contains(partner) => return blocked("is about to go on"),
                Some(Hold::Free(freed)) => at = at.max(freed.saturating_add(dead_time)),
                Some(Hold::Held) => return blocked("is on"),
                Some(Hold::Unknown) | None => return blocked("is not known to be off"),
            }
        }
        self.holds.insert(me.clone(), Hold::Held);
        self.demands.retain(|name| name != me);
        Ok(at)
    }

    fn demand(&mut self, me: &Name, now: Duration) -> Result<Duration, Blocked> {
        // Its own demand does not stand in its way, and two demands are not possible: of a pair only one may be on when safe.
        self.take(me, now).inspect_err(|_| {
            if !self.demands.contains(me) {
                self.demands.push(me.clone());
            }
        })
    }

    fn is_wanted_off(&self, me: &Name) -> bool {
        self.partners(me).any(|(partner, _)| {
            // A reload may have paired two that are on: the later one by name gives way.
            self.demands.contains(partner) || (self.holds.get(partner) == Some(&Hold::Held) && partner < me)
        })
    }

    fn release(&mut self, me: &Name, now: Duration) {
        let hold = self.holds.entry(me.clone()).or_insert(Hold::Unknown);
        if !matches!(hold, Hold::Free(_)) {
            *hold = Hold::Free(now);
        }
    }

    fn withdraw(&mut self, me: &Name) {
        self.demands.retain(|name| name != me);
    }
}

/// The interlocks, shared by the threads of all buses. Each call is short and none waits while it holds the lock.
#[derive(Clone, Debug, Default)]
pub struct SharedInterlocks(Arc<Mutex<Interlocks>>);

impl SharedInterlocks {
    /// See [`Interlocks::arrange`].
    pub fn arrange(&self, pairs: Vec<Pair>) {
        self.lock().arrange(pairs);
    }

    /// The part of one output.
    pub fn seat(&self, name: Name) -> Seat {
        Seat { name, all: self.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, Interlocks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One output's part in the interlocks. An output without partners has one too, and is never kept from anything.
#[derive(Clone, Debug)]
pub struct Seat {
    name: Name,
    all: SharedInterlocks,
}

impl Seat {
    /// Locks for a command, and says from when on the output may be on.
    pub(super) fn take(&self, now: Duration) -> Result<Duration, Blocked> {
        self.all.lock().take(&self.name, now)
    }

    /// Locks for safety's sake; where that fails the partners are to go off.
    pub(super) fn demand(&self, now: Duration) -> Result<Duration, Blocked> {
        self.all.lock().demand(&self.name, now)
    }

    /// The output need not go on any more.
    pub(super) fn withdraw(&self) {
        self.all.lock().withdraw(&self.name);
    }

    /// Whether the output is on, or has locked in order to go on.
    pub(super) fn is_held(&self) -> bool {
        self.all.lock().holds.get(&self.name) == Some(&Hold::Held)
    }

    /// The output was seen to be off.
    pub(super) fn release(&self, now: Duration) {
        self.all.lock().release(&self.name, now);
    }

    /// Whether there are outputs that must not be on beside this one.
    pub(super) fn has_partners(&self) -> bool {
        self.all.lock().partners(&self.name).next().is_some()
    }

    /// Whether the output must go off for another's sake.
    pub(super) fn is_wanted_off(&self) -> bool {
        self.all.lock().is_wanted_off(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// Up and down, a rest of 100 ms between them, both seen to be off at the beginning.
    fn motor() -> (Seat, Seat, SharedInterlocks) {
        let all = SharedInterlocks::default();
        all.arrange(vec![Pair { one: name("up"), other: name("down"), dead_time: ms(100) }]);
        let (up, down) = (all.seat(name("up")), all.seat(name("down")));
        up.release(Duration::ZERO);
        down.release(Duration::ZERO);
        (up, down, all)
    }

    #[test]
    fn one_at_a_time_with_a_rest_between() {
        let (up, down, _) = motor();
        assert_eq!(up.take(ms(1000)), Ok(ms(1000)));
        assert_eq!(up.take(ms(1001)), Ok(ms(1001)), "again");
        assert_eq!(down.take(ms(1002)), Err(Blocked { by: name("up"), why: "is on" }));
        up.release(ms(2000));
        up.release(ms(2050));
        assert_eq!(down.take(ms(2020)), Ok(ms(2100)), "the rest counts from when it was first seen to be off");
        assert_eq!(up.take(ms(2030)).unwrap_err().by, name("down"), "taken, although it is not on yet");
    }

    #[test]
    fn who_was_never_seen_to_be_off_counts_as_on() {
        let all = SharedInterlocks::default();
        all.arrange(vec![Pair { one: name("up"), other: name("down"), dead_time: ms(0) }]);
        let (up, down) = (all.seat(name("up")), all.seat(name("down")));
        assert_eq!(up.take(ms(1)).unwrap_err().why, "is not known to be off");
        down.release(ms(2));
        assert_eq!(up.take(ms(3)), Ok(ms(3)));
        assert!(!up.is_wanted_off() && !down.is_wanted_off());
    }

    #[test]
    fn who_must_go_on_sends_its_partner_off() {
        let (mains, generator, _) = motor();
        generator.take(ms(1)).unwrap();
        assert!(mains.demand(ms(2)).is_err() && generator.is_wanted_off());
        generator.release(ms(3));
        assert_eq!(generator.take(ms(4)).unwrap_err().why, "is about to go on");
        assert_eq!(mains.demand(ms(4)), Ok(ms(103)));
        assert!(!mains.is_wanted_off() && !generator.is_wanted_off());
    }

    #[test]
    fn a_withdrawn_demand_sends_nobody_off() {
        let (mains, generator, _) = motor();
        generator.take(ms(1)).unwrap();
        mains.demand(ms(2)).unwrap_err();
        mains.withdraw();
        assert!(!generator.is_wanted_off());
    }

    #[test]
    fn of_two_that_are_on_when_a_reload_pairs_them_one_gives_way() {
        let all = SharedInterlocks::default();
        let pair = |one: &str, other: &str| Pair { one: name(one), other: name(other), dead_time: ms(0) };
        all.arrange(vec![pair("a", "x"), pair("b", "y")]);
        let (a, b) = (all.seat(name("a")), all.seat(name("b")));
        for partner in ["x", "y"] {
            all.seat(name(partner)).release(ms(0));
        }
        assert!(a.take(ms(1)).is_ok() && b.take(ms(1)).is_ok());
        all.arrange(vec![pair("a", "b")]);
        assert!(!a.is_wanted_off() && b.is_wanted_off());
        assert!(a.has_partners() && !all.seat(name("x")).has_partners());
    }
}
