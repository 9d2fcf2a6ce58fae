//! Outputs that must never be on together. Pure.
//!
//! An interlock is a lock with a dead time: an output takes it before it is driven on and gives it back when the hardware was
//! seen to be off, and from then on its partners wait for the dead time, in which a relay opens or a motor runs out. An
//! output that was not seen to be off since the start, or since its last failure, counts as on: its state is unknown.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fieldgate_model::Name;

/// What is known of one output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lock {
    /// It is not known whether it is on.
    Unknown,
    /// It was seen to be off at this moment on the boot clock.
    Free(Duration),
    /// It is on, or about to be.
    Taken,
}

/// One output that may have partners.
#[derive(Debug)]
struct Member {
    lock: Lock,
    /// It must go on for safety's sake and cannot yet.
    demands: bool,
    is_on_when_safe: bool,
    /// The device is gone; what is known of it says nothing of another device under its name.
    has_left: bool,
    signals: Arc<Signals>,
}

impl Default for Member {
    fn default() -> Self {
        Self { lock: Lock::Unknown, demands: false, is_on_when_safe: false, has_left: false, signals: Arc::default() }
    }
}

/// What an output asks at every turn, answered without a lock.
#[derive(Debug, Default)]
struct Signals {
    has_partners: AtomicBool,
    is_wanted_off: AtomicBool,
}

/// Who keeps an output from going on, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Blocked {
    /// The name of the partner.
    pub(super) by: Name,
    /// What the partner does, in words.
    pub(super) why: &'static str,
}

/// Two outputs that exclude each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The first of the two; they are alike.
    pub one: Name,
    /// Its partner.
    pub other: Name,
    /// How long both are off between the end of one and the beginning of the other.
    pub dead_time: Duration,
}

impl Pair {
    /// The partner of `me`, and the dead time between them.
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
struct Interlocks {
    pairs: Vec<Pair>,
    /// The outputs of the configuration in force; others may still be on their way out.
    outputs: BTreeSet<Name>,
    members: BTreeMap<Name, Member>,
}

impl Interlocks {
    fn arrange(&mut self, pairs: Vec<Pair>, outputs: BTreeSet<Name>) {
        self.members.retain(|_, member| !member.has_left);
        // An output that has not left yet is still to be driven to its safe state, and until then its interlocks apply.
        let is_leaving = |name: &Name| !outputs.contains(name) && self.members.contains_key(name);
        let mut old = std::mem::take(&mut self.pairs);
        old.retain(|pair| is_leaving(&pair.one) || is_leaving(&pair.other));
        for name in pairs.iter().flat_map(|pair| [&pair.one, &pair.other]) {
            self.members.entry(name.clone()).or_default();
        }
        (self.pairs, self.outputs) = (pairs, outputs);
        self.pairs.extend(old);
        self.signal();
    }

    fn partners<'a>(&'a self, me: &'a Name) -> impl Iterator<Item = (&'a Name, Duration)> {
        self.pairs.iter().filter_map(|pair| pair.partner_of(me))
    }

    /// Locks for `me`, and says from when on it may be on. Nothing has changed where that fails.
    fn take(&mut self, me: &Name, now: Duration) -> Result<Duration, Blocked> {
        let mut at = now;
        for (partner, dead_time) in self.partners(me) {
            let blocked = |why| Err(Blocked { by: partner.clone(), why });
            match self.members.get(partner).map(|member| (member.lock, member.demands)) {
                Some((Lock::Free(_), true)) => return blocked("is about to go on"),
                Some((Lock::Free(freed), false)) => at = at.max(freed.saturating_add(dead_time)),
                Some((Lock::Taken, _)) => return blocked("is on"),
                Some((Lock::Unknown, _)) | None => return blocked("is not known to be off"),
            }
        }
        self.change(me, |member| (member.lock, member.demands) = (Lock::Taken, false));
        Ok(at)
    }

    fn demand(&mut self, me: &Name, now: Duration) -> Result<Duration, Blocked> {
        // Its own demand does not stand in its way, and two demands are not possible: of a pair only one may be on when safe.
        let taken = self.take(me, now);
        if taken.is_err() {
            self.change(me, |member| member.demands = true);
        }
        taken
    }

    /// The output has been made safe for the last time.
    fn leave(&mut self, me: &Name) {
        self.change(me, |member| (member.demands, member.has_left) = (false, true));
        if !self.outputs.contains(me) {
            self.pairs.retain(|pair| pair.partner_of(me).is_none());
            self.members.remove(me);
            self.signal();
        }
    }

    /// Whether the handle is that of the device which has the name now.
    fn is_known(&self, handle: &InterlockHandle) -> bool {
        self.members.get(&handle.name).is_none_or(|member| Arc::ptr_eq(&member.signals, &handle.signals))
    }

    fn change(&mut self, me: &Name, change: impl FnOnce(&mut Member)) {
        let member = self.members.entry(me.clone()).or_default();
        let before = (member.lock, member.demands, member.is_on_when_safe);
        change(member);
        if before != (member.lock, member.demands, member.is_on_when_safe) {
            self.signal();
        }
    }

    fn signal(&self) {
        for (name, member) in &self.members {
            let has_partners = self.partners(name).next().is_some();
            member.signals.has_partners.store(has_partners, Ordering::Release);
            member.signals.is_wanted_off.store(has_partners && self.is_wanted_off(name, member), Ordering::Release);
        }
    }

    fn is_wanted_off(&self, me: &Name, own: &Member) -> bool {
        self.partners(me).filter_map(|(name, _)| Some((name, self.members.get(name)?))).any(|(name, partner)| {
            // A reload may have paired two that are on: one that is safe when on stays, else the first by name.
            let stays = (!partner.is_on_when_safe, name) < (!own.is_on_when_safe, me);
            partner.demands || (partner.lock == Lock::Taken && stays)
        })
    }
}

/// The interlocks, shared by the threads of all buses. Each call is short and none waits while the mutex is locked.
#[derive(Clone, Debug, Default)]
pub struct SharedInterlocks(Arc<Mutex<Interlocks>>);

impl SharedInterlocks {
    /// Takes over the pairs and the outputs of a configuration, after the devices that it does not contain unchanged were
    /// asked to leave. What is known of those that go on stays known.
    pub fn arrange(&self, pairs: Vec<Pair>, outputs: impl IntoIterator<Item = Name>) {
        self.lock().arrange(pairs, outputs.into_iter().collect());
    }

    /// The part of one output.
    pub fn handle(&self, name: Name) -> InterlockHandle {
        let signals = Arc::clone(&self.lock().members.entry(name.clone()).or_default().signals);
        self.lock().signal();
        InterlockHandle { name, all: self.clone(), signals }
    }

    fn lock(&self) -> MutexGuard<'_, Interlocks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One output's part in the interlocks. An output without partners has one too, and is never kept from anything.
#[derive(Clone, Debug)]
pub struct InterlockHandle {
    name: Name,
    all: SharedInterlocks,
    signals: Arc<Signals>,
}

impl InterlockHandle {
    /// Another device, of which nothing is known, now has this name. What the one before it still says, after a bus that hung,
    /// changes nothing any more.
    pub(super) fn begin(&mut self) {
        let mut all = self.all.lock();
        self.signals = Arc::default();
        all.members.insert(self.name.clone(), Member { signals: Arc::clone(&self.signals), ..Member::default() });
        all.signal();
    }

    /// Whether the output is on when it is safe: such a one stays where a reload pairs two that are on.
    pub(super) fn declare(&self, is_on_when_safe: bool) {
        self.change(|member| member.is_on_when_safe = is_on_when_safe);
    }

    /// Locks for a command, and says from when on the output may be on.
    pub(super) fn take(&self, now: Duration) -> Result<Duration, Blocked> {
        self.with(Interlocks::take, now)
    }

    /// Locks for safety's sake; where that fails the partners are to go off.
    pub(super) fn demand(&self, now: Duration) -> Result<Duration, Blocked> {
        self.with(Interlocks::demand, now)
    }

    fn with(
        &self,
        ask: impl FnOnce(&mut Interlocks, &Name, Duration) -> Result<Duration, Blocked>,
        now: Duration,
    ) -> Result<Duration, Blocked> {
        let mut all = self.all.lock();
        if all.is_known(self) {
            ask(&mut all, &self.name, now)
        } else if self.has_partners() {
            Err(Blocked { by: self.name.clone(), why: "is another device now" })
        } else {
            Ok(now)
        }
    }

    fn change(&self, change: impl FnOnce(&mut Member)) {
        let mut all = self.all.lock();
        if all.is_known(self) {
            all.change(&self.name, change);
        }
    }

    /// The output need not go on any more.
    pub(super) fn withdraw(&self) {
        self.change(|member| member.demands = false);
    }

    /// The output leaves the configuration, or the program ends.
    pub(super) fn leave(&self) {
        let mut all = self.all.lock();
        if all.is_known(self) {
            all.leave(&self.name);
        }
    }

    /// Whether the output is on, or has locked in order to go on.
    pub(super) fn is_taken(&self) -> bool {
        self.all.lock().members.get(&self.name).is_some_and(|member| member.lock == Lock::Taken)
    }

    /// The output was seen to be off, and stays so.
    pub(super) fn release(&self, now: Duration) {
        self.change(|member| {
            if !matches!(member.lock, Lock::Free(_)) {
                member.lock = Lock::Free(now);
            }
        });
    }

    /// The hardware failed: whether the output is off is not known any more.
    pub(super) fn mark_unknown(&self) {
        self.change(|member| {
            if matches!(member.lock, Lock::Free(_)) {
                member.lock = Lock::Unknown;
            }
        });
    }

    /// The longest dead time that the output may have to wait for.
    pub(super) fn longest_dead_time(&self) -> Duration {
        self.all.lock().partners(&self.name).map(|(_, dead_time)| dead_time).max().unwrap_or_default()
    }

    /// Whether there are outputs that must not be on beside this one.
    pub(super) fn has_partners(&self) -> bool {
        self.signals.has_partners.load(Ordering::Acquire)
    }

    /// Whether the output must go off for another's sake.
    pub(super) fn is_wanted_off(&self) -> bool {
        self.signals.is_wanted_off.load(Ordering::Acquire)
    }
}
