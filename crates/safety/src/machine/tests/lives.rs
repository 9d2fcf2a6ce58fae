//! Random lives of outputs of all kinds on hardware that sometimes does not follow, on buses with threads of their own, checked
//! against the promises of docs/outputs.md by what the hardware does.
//!
//! If you change a rule of `safety` and none here, ask why this still passes.

use std::io::Write;
use std::time::Duration;

use super::rig::{Fate, Rig, TURN, Transfer, ms};
use crate::machine::Machine;
use crate::{Effect, Limits, Pair, SharedInterlocks};
use fieldgate_model::{Action, Move, Name, OutputKind, OutputValue, Pace, Travel};

const TRY_AGAIN: Duration = Duration::from_millis(500);
const START: Duration = Duration::from_secs(100);
const NAMES: [&str; 4] = ["one", "two", "three", "four"];

/// The longest transfer on a slow bus.
const SLOWEST_MS: u64 = 30;

struct World {
    chance: fastrand::Rng,
    now: Duration,
    heard: Duration,
    rigs: Vec<Rig>,
    interlocks: SharedInterlocks,
    /// Who excludes whom, with what rest, since when.
    pairs: Vec<(usize, usize, Duration, Duration)>,
    /// Transfers fail now and then, and buses are lost.
    trouble: bool,
    /// Transfers take time, so that threads meet in the middle of them.
    slow: bool,
    /// Until when each bus is lost.
    lost: [Duration; 3],
    asked: u32,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut chance = fastrand::Rng::with_seed(seed);
        let (trouble, slow) = (chance.u8(0..3) == 0, chance.u8(0..3) == 0);
        let mut world = Self {
            now: START - ms(1),
            heard: START,
            rigs: Vec::new(),
            interlocks: SharedInterlocks::default(),
            pairs: Vec::new(),
            trouble,
            slow,
            lost: [Duration::ZERO; 3],
            asked: 0,
            chance,
        };
        let what: Vec<_> = NAMES.iter().map(|_| what(&mut world.chance)).collect();
        world.pair(&what.iter().map(|(kind, _, limits)| (*kind, *limits)).collect::<Vec<_>>());
        world.now = START;
        for (index, (kind, pace, limits)) in what.into_iter().enumerate() {
            let interlock = world.interlocks.handle(name(index));
            let (machine, effects) = Machine::new(kind, pace, limits, interlock, START);
            let mut rig = Rig::new(machine, kind, pace, limits, world.chance.usize(0..3), START);
            rig.slack = if slow { ms(10 + 8 * SLOWEST_MS) } else { Duration::ZERO };
            world.rigs.push(rig);
            world.perform(index, effects);
        }
        world.settle();
        world
    }

    /// Chooses who excludes whom: no covers, and no two that are on when they are safe.
    fn pair(&mut self, outputs: &[(OutputKind, Limits)]) {
        let may = |index: usize| outputs[index].0 != OutputKind::Cover;
        let safe_on = |index: usize| outputs[index].1.is_on_when_safe();
        let old = std::mem::take(&mut self.pairs);
        for a in 0..outputs.len() {
            for b in 0..a {
                if may(a) && may(b) && !(safe_on(a) && safe_on(b)) && self.chance.bool() {
                    let rest = ms(self.chance.u64(0..3) * 400);
                    let known = old.iter().find(|(c, d, known, _)| (*c, *d, *known) == (a, b, rest));
                    self.pairs.push((a, b, rest, known.map_or(self.now, |(.., since)| *since)));
                }
            }
        }
        let pair = |(a, b, dead_time, _): &(usize, usize, Duration, Duration)| Pair {
            one: name(*a),
            other: name(*b),
            dead_time: *dead_time,
        };
        self.interlocks.arrange(self.pairs.iter().map(pair).collect(), (0..outputs.len()).map(name));
    }

    fn perform(&mut self, index: usize, effects: Vec<Effect<u32>>) {
        self.rigs[index].look(self.now);
        for effect in effects {
            self.rigs[index].record(self.now, &effect);
            if let Effect::Drive(value) = effect {
                self.transfer(index, value);
            }
        }
    }

    /// What an output did, or wants, may concern those that are on; each looks at it in its own time.
    fn look_around(&mut self) {
        let looks = self.slow;
        for rig in self.rigs.iter_mut().filter(|rig| rig.machine.may_be_wanted_off()) {
            let at = self.now + if looks { ms(self.chance.u64(0..=10)) } else { Duration::ZERO };
            rig.look_at = Some(rig.look_at.map_or(at, |earlier| earlier.min(at)));
        }
    }

    fn transfer(&mut self, index: usize, value: OutputValue) {
        let is_lost = self.lost[self.rigs[index].bus] > self.now;
        let fate = match self.chance.u8(0..10) {
            _ if is_lost => Fate::Fails,
            0 if self.trouble => Fate::Fails,
            1 if self.trouble => Fate::DoesAndFails,
            _ => Fate::Follows,
        };
        let (acts, ends) = if self.slow {
            let ends = self.chance.u64(0..=SLOWEST_MS);
            (ms(self.chance.u64(0..=ends)), ms(ends))
        } else {
            (Duration::ZERO, Duration::ZERO)
        };
        let acts_at = (fate != Fate::Fails).then_some(self.now + acts);
        self.rigs[index].transfer = Some(Transfer { value, acts_at, ends_at: self.now + ends, fate });
    }

    fn is_busy(&self, bus: usize) -> bool {
        self.rigs.iter().any(|rig| rig.bus == bus && rig.transfer.is_some())
    }

    /// When something happens to this output next.
    fn next(&self, index: usize) -> Option<Duration> {
        let rig = &self.rigs[index];
        match rig.transfer {
            Some(transfer) => Some(transfer.acts_at.map_or(transfer.ends_at, |acts| acts.min(transfer.ends_at))),
            None if self.is_busy(rig.bus) => None,
            None => rig.machine.deadline(Some(self.heard)).into_iter().chain(rig.look_at).min(),
        }
    }

    /// The next thing that happens to an output happens.
    fn happen(&mut self, index: usize) {
        let Some(transfer) = self.rigs[index].transfer else {
            let rig = &mut self.rigs[index];
            let is_look =
                rig.look_at.take().is_some() && rig.machine.deadline(Some(self.heard)).is_none_or(|at| at > self.now);
            let effects = rig.machine.tick(self.now, Some(self.heard));
            let is_idle = is_look && effects.is_empty();
            self.perform(index, effects);
            if !is_idle {
                self.look_around();
            }
            return;
        };
        if transfer.acts_at.is_some() {
            self.rigs[index].transfer = Some(Transfer { acts_at: None, ..transfer });
            self.expect_partners_off(index, transfer.value);
            self.rigs[index].drive(self.now, transfer.value);
            return;
        }
        let rig = &mut self.rigs[index];
        rig.transfer = None;
        let follows = transfer.fate == Fate::Follows;
        rig.seen_at = follows.then(|| rig.seen_at.unwrap_or(self.now));
        let effects = match transfer.fate {
            Fate::Follows => rig.machine.followed(self.now, transfer.value),
            Fate::Fails | Fate::DoesAndFails => rig.machine.failed(self.now, self.now + TRY_AGAIN, "it does not"),
        };
        self.perform(index, effects);
        self.look_around();
    }

    /// The promise of interlocks, at the moment in which the hardware goes on.
    fn expect_partners_off(&self, index: usize, value: OutputValue) {
        if !value.is_on() || self.rigs[index].is_on() {
            return;
        }
        let requested_at = self.rigs[index].requested.at;
        // What was switched on before a reload interlocked it gives way a moment later.
        for (a, b, rest, _) in self.pairs.iter().filter(|(.., since)| *since < requested_at) {
            let Some(partner) = (index == *a).then_some(*b).or((index == *b).then_some(*a)) else { continue };
            let partner = &self.rigs[partner];
            if partner.by_itself_at.is_some_and(|at| at >= requested_at) {
                // It was off when this one was switched on.
                continue;
            }
            assert!(!partner.is_on(), "two that are interlocked are driven on");
            let off_for = self.now - partner.since;
            assert!(!partner.was_on || off_for >= *rest, "a rest of {off_for:?} only");
        }
    }

    fn check(&self) {
        for rig in &self.rigs {
            rig.check(self.now, self.heard);
        }
        for (a, b, _, since) in &self.pairs {
            let (one, other) = (&self.rigs[*a], &self.rigs[*b]);
            // Hardware goes on when it must not, or does not go off: nobody can help it until it follows.
            let is_beyond =
                |rig: &Rig| rig.by_itself_at.is_some() || (!rig.requested.on && rig.machine.retry_at.is_some());
            let both = one.is_on() && other.is_on() && !is_beyond(one) && !is_beyond(other);
            // A reload may have paired two that were on.
            assert!(!both || self.now <= *since + one.slack, "two that are interlocked are on");
        }
    }

    /// Everything that is due at this moment.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            let due = (0..self.rigs.len()).filter(|index| self.next(*index).is_some_and(|at| at <= self.now));
            let due: Vec<_> = due.collect();
            let Some(index) = self.chance.choice(&due).copied() else { return self.check() };
            self.happen(index);
        }
        panic!("no rest");
    }

    /// Time passes, and everything that is due in it is done at its moment.
    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            self.settle();
            match (0..self.rigs.len()).filter_map(|index| self.next(index)).min() {
                Some(at) if at <= end => self.now = at,
                _ => break,
            }
        }
        self.now = end;
        self.settle();
    }

    fn command(&mut self) {
        let index = self.chance.usize(0..self.rigs.len());
        let chance = &mut self.chance;
        let action = action(chance, self.rigs[index].kind);
        let lease = (chance.u8(0..3) == 0).then(|| ms(chance.u64(1..20) * 700));
        if self.is_busy(self.rigs[index].bus) {
            return;
        }
        self.asked += 1;
        let (now, rig) = (self.now, &mut self.rigs[index]);
        rig.ask(self.asked, lease);
        let effects = rig.machine.command(now, action, lease, self.asked);
        self.perform(index, effects);
    }

    /// A bus has gone, and its outputs may do anything.
    fn lose_bus(&mut self) {
        let bus = self.chance.usize(0..3);
        if !self.trouble || self.is_busy(bus) {
            return;
        }
        self.lost[bus] = self.now + ms(self.chance.u64(0..3_000));
        for index in 0..self.rigs.len() {
            if self.rigs[index].bus != bus {
                continue;
            }
            if !self.rigs[index].is_on() && self.chance.u8(0..4) == 0 {
                let rig = &mut self.rigs[index];
                rig.does = on(rig.kind);
                (rig.since, rig.by_itself_at, rig.was_on) = (self.now, Some(self.now), true);
            }
            self.rigs[index].seen_at = None;
            let effects = self.rigs[index].machine.bus_gone(self.now);
            self.perform(index, effects);
        }
    }

    fn reload(&mut self) {
        let outputs: Vec<_> = self.rigs.iter().map(|rig| (rig.kind, rig.limits)).collect();
        self.pair(&outputs);
        let index = self.chance.usize(0..self.rigs.len());
        let rig = &mut self.rigs[index];
        let limits = limits(&mut self.chance, rig.limits.safe_state, rig.kind);
        rig.relimit(self.now, Limits { pulse: rig.limits.pulse, ..limits });
    }

    fn act(&mut self) {
        if self.chance.u8(0..3) > 0 {
            self.heard = self.now;
        }
        match self.chance.u8(0..20) {
            0 => self.lose_bus(),
            1 => self.reload(),
            _ => self.command(),
        }
        self.look_around();
        self.settle();
    }

    /// The program ends.
    fn stop(&mut self) {
        self.heard = self.now;
        let mut order: Vec<_> = (0..self.rigs.len()).collect();
        self.chance.shuffle(&mut order);
        for index in order {
            while self.is_busy(self.rigs[index].bus) {
                self.pass(ms(1));
            }
            let effects = self.rigs[index].machine.stop(self.now);
            self.perform(index, effects);
            self.look_around();
            self.settle();
        }
        self.heard = self.now + ms(10_000);
        self.pass(ms(5_000));
        self.stop_waiting();
        for rig in &self.rigs {
            rig.expect_answers(0);
            rig.expect_end();
            rig.machine.leave();
        }
    }
}

impl World {
    /// What still waits for a partner that failed until now ends off.
    fn stop_waiting(&mut self) {
        for index in
            (0..self.rigs.len()).filter(|index| self.rigs[*index].machine.waits_for_partner()).collect::<Vec<_>>()
        {
            let is_held_up = self.pairs.iter().any(|(a, b, rest, _)| {
                let partner = (index == *a).then_some(*b).or((index == *b).then_some(*a));
                partner.is_some_and(|other| self.rigs[other].seen_at.is_none_or(|at| at + *rest + ms(20) >= self.now))
            });
            assert!(is_held_up, "{} waits although its partners are off", NAMES[index]);
            while self.is_busy(self.rigs[index].bus) {
                self.pass(ms(1));
            }
            self.rigs[index].ends_off = true;
            let effects = self.rigs[index].machine.stop_waiting(self.now);
            self.perform(index, effects);
        }
        self.pass(ms(2 * SLOWEST_MS));
    }
}

fn name(index: usize) -> Name {
    Name::new(NAMES[index]).unwrap()
}

/// Some output, its pace and its limits.
fn what(chance: &mut fastrand::Rng) -> (OutputKind, Pace, Limits) {
    let (kind, pace) = match chance.u8(0..8) {
        0 | 1 => (OutputKind::Switch, Pace::AtOnce),
        2 => (OutputKind::Pulse, Pace::Pulse(ms(chance.u64(1..40) * 50))),
        3 => (OutputKind::Percent, Pace::AtOnce),
        4 | 5 => (OutputKind::Percent, Pace::Ramp(ms(chance.u64(1..30) * 35))),
        6 => (OutputKind::Angle { most: 180 }, Pace::AtOnce),
        _ => {
            let mut span = |from: u64, to: u64| ms(chance.u64(from..to) * 50);
            let (opening, closing, overrun, pause) = (span(4, 30), span(4, 30), span(0, 5), span(2, 10));
            (OutputKind::Cover, Pace::Travel { opening, closing, overrun, pause })
        }
    };
    let safe_state = match kind {
        OutputKind::Cover => Action::Move([Move::Stop, Move::Open, Move::Close][chance.usize(0..3)]),
        OutputKind::Pulse => Action::Set(kind.off()),
        _ if chance.u8(0..4) == 0 => Action::Set(on(kind)),
        _ => Action::Set(kind.off()),
    };
    let pulse = if let Pace::Pulse(pulse) = pace { Some(pulse) } else { None };
    (kind, pace, Limits { pulse, ..limits(chance, safe_state, kind) })
}

fn on(kind: OutputKind) -> OutputValue {
    match kind {
        OutputKind::Switch | OutputKind::Pulse => OutputValue::Switch(true),
        OutputKind::Percent => OutputValue::Percent(60.0),
        OutputKind::Angle { .. } => OutputValue::Angle(Some(90.0)),
        OutputKind::Cover => OutputValue::Cover { travel: Travel::Opening, position: None },
    }
}

fn action(chance: &mut fastrand::Rng, kind: OutputKind) -> Action {
    match kind {
        OutputKind::Switch if chance.u8(0..4) == 0 => Action::Toggle,
        OutputKind::Percent if chance.bool() => Action::Set(OutputValue::Percent(f64::from(chance.u8(0..=100)))),
        OutputKind::Cover => {
            let to = Move::To(f64::from(chance.u8(1..100)));
            Action::Move([Move::Open, Move::Close, Move::Stop, Move::Calibrate, to][chance.usize(0..5)])
        }
        _ => Action::Set(if chance.u8(0..5) < 3 { on(kind) } else { kind.off() }),
    }
}

fn limits(chance: &mut fastrand::Rng, safe_state: Action, kind: OutputKind) -> Limits {
    let mut maybe = |longest: u64| if chance.bool() { ms(chance.u64(1..longest) * 500) } else { Duration::ZERO };
    let (min_on, min_off, longer, after) = (maybe(10), maybe(10), maybe(20), maybe(40));
    let plain = Limits::new(safe_state, (after > Duration::ZERO).then_some(after));
    let is_safe_on = plain.is_on_when_safe();
    let min_on = if kind == OutputKind::Pulse { Duration::ZERO } else { min_on };
    let max_on = (longer > Duration::ZERO && !is_safe_on && kind != OutputKind::Pulse).then_some(min_on + longer);
    let switches_per_hour = chance.bool().then(|| chance.u32(1..6));
    match kind {
        OutputKind::Cover => plain,
        _ => Limits { max_on, min_on, min_off, switches_per_hour, ..plain },
    }
}

fn life(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..14 {
        world.act();
        let span = [0, 1, 10, 100, 400, 2_000, 9_000, 1_800_000][world.chance.usize(0..8)];
        world.pass(ms(span));
        for rig in &world.rigs {
            rig.expect_answers(1);
        }
    }
    world.stop();
    assert!(TURN > Duration::ZERO);
}

#[test]
fn no_limit_is_broken_in_any_life() {
    let scale = std::env::var("FIELDGATE_FAULTS");
    let lives = match scale.as_deref() {
        Ok("long") => 1_000_000,
        Ok("sample") => 100_000,
        _ => 5_000,
    };
    let first = std::env::var("FIELDGATE_SEED").ok().and_then(|seed| seed.parse().ok());
    let first: u64 = first.unwrap_or_else(|| fastrand::u64(..));
    writeln!(std::io::stderr(), "lives: FIELDGATE_SEED={first}").unwrap();
    for number in 0..lives {
        let seed = first.wrapping_add(number);
        // What was wrong stands above.
        assert!(std::panic::catch_unwind(|| life(seed)).is_ok(), "FIELDGATE_SEED={seed} repeats it");
    }
    let tried = "random lives of four outputs of all kinds, interlocked by chance";
    report(&format!("| A5, H8 | {lives} {tried} | no limit broken, no two partners driven on |"));
}

/// Into the file in which the fault suite reports its rows.
fn report(line: &str) {
    if let Ok(path) = std::env::var("FIELDGATE_FAULTS_REPORT") {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}
