//! Random lives of three outputs on hardware that sometimes does not follow, held against the promises of the page.
//!
//! `one` and `two` exclude each other, and so do `two` and `three`, which may be safe when on. Whoever changes a rule of
//! `safety.rs` and none here should wonder why this still passes.

use std::collections::VecDeque;
use std::io::Write;

use super::*;

/// What a worker does with one output, and what its hardware does.
struct Rig {
    guard: Guard,
    limits: Limits,
    on: bool,
    /// Since when the hardware is so.
    since: Duration,
    /// The hardware has failed since the last change, so that times are not the guard's doing.
    failed: bool,
    /// The hardware came late to what it does.
    late: bool,
    owed: Option<(Verdict, Duration)>,
    switches: VecDeque<Duration>,
}

struct World {
    chance: fastrand::Rng,
    now: Duration,
    heard: Duration,
    rigs: Vec<Rig>,
    dead_time: Duration,
    trouble: bool,
}

const TRY_AGAIN: Duration = Duration::from_millis(500);
const PAIRS: [(usize, usize); 2] = [(0, 1), (1, 2)];

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

impl World {
    fn new(seed: u64) -> Self {
        let mut chance = fastrand::Rng::with_seed(seed);
        let all = SharedInterlocks::default();
        let dead_time = ms(chance.u64(0..3) * 400);
        let name = |index: usize| Name::new(["one", "two", "three"][index]).unwrap();
        all.arrange(PAIRS.iter().map(|(a, b)| Pair { one: name(*a), other: name(*b), dead_time }).collect());
        let rigs = (0..3).map(|index| {
            let limits = limits(&mut chance, index == 2);
            let guard = Guard::new(limits, all.seat(name(index)), OutputValue::Switch(false), s(100));
            let (on, since) = (false, s(100));
            Rig { guard, limits, on, since, failed: false, late: false, owed: None, switches: VecDeque::new() }
        });
        let rigs = rigs.collect();
        let trouble = chance.u8(0..4) == 0;
        Self { chance, now: s(100), heard: s(100), rigs, dead_time, trouble }
    }

    fn start(&mut self) {
        for index in 0..self.rigs.len() {
            let verdict = self.rigs[index].guard.make_safe(self.now, StateCause::Start);
            self.drive(index, verdict.unwrap_or(Verdict { action: OFF, cause: StateCause::Start }));
        }
    }

    fn drive(&mut self, index: usize, verdict: Verdict) {
        let (now, fails) = (self.now, self.trouble && self.chance.u8(0..5) == 0);
        let on = is_on(verdict.action);
        if fails {
            let rig = &mut self.rigs[index];
            rig.failed = true;
            rig.owed = Some((verdict, now + TRY_AGAIN));
            return;
        }
        if on != self.rigs[index].on {
            self.check_change(index, on, verdict.cause);
        }
        let rig = &mut self.rigs[index];
        rig.owed = None;
        if on != rig.on {
            (rig.on, rig.since, rig.late, rig.failed) = (on, now, rig.failed, false);
        }
        rig.guard.saw(now, on);
    }

    /// The promises that hold at each change.
    fn check_change(&mut self, index: usize, on: bool, cause: StateCause) {
        let (now, dead_time) = (self.now, self.dead_time);
        if on {
            for (a, b) in PAIRS {
                let Some(partner) = (index == a).then_some(b).or((index == b).then_some(a)) else { continue };
                let partner = &self.rigs[partner];
                assert!(!partner.on, "two that are interlocked are on");
                let off_for = now - partner.since;
                assert!(partner.since == s(100) || off_for >= dead_time, "a rest of {off_for:?} only");
            }
        }
        let rig = &mut self.rigs[index];
        let asked = matches!(cause, StateCause::Command | StateCause::Limit | StateCause::For);
        let least = if on { rig.limits.min_off } else { rig.limits.min_on };
        if asked && !rig.failed && !rig.late {
            assert!(now - rig.since >= least, "{} {:?} for {:?} only", rig.on, cause, now - rig.since);
        }
        let is_away = on != is_on(rig.limits.safe_state);
        if let Some(most) = rig.limits.switches_per_hour.filter(|_| asked && is_away && !rig.failed) {
            rig.switches.push_back(now);
            rig.switches.retain(|at| now - *at < HOUR);
            assert!(rig.switches.len() <= most as usize, "switched {} times", rig.switches.len());
        }
    }

    /// The promises that hold at any time, once what is due has been done.
    fn check(&self) {
        for rig in &self.rigs {
            let bad = rig.failed || rig.owed.is_some();
            if let Some(most) = rig.limits.max_on.filter(|_| rig.on && !bad) {
                assert!(self.now - rig.since < most, "on for {:?}", self.now - rig.since);
            }
            let is_lost = rig.limits.safe_after.is_some_and(|after| self.now - self.heard >= after);
            let waits = rig.guard.waiting.is_some_and(|w| w.verdict.action == rig.limits.safe_state);
            if is_lost && !bad {
                assert!(waits || rig.on == is_on(rig.limits.safe_state), "not safe without a link");
            }
        }
        for (a, b) in PAIRS {
            assert!(!(self.rigs[a].on && self.rigs[b].on), "two that are interlocked are on");
        }
    }

    fn deadline(&self) -> Option<Duration> {
        let of = |rig: &Rig| {
            let owed = rig.owed.map(|(_, at)| at);
            rig.guard.deadline(Some(self.heard)).into_iter().chain(owed).min()
        };
        self.rigs.iter().filter_map(of).min()
    }

    fn enforce(&mut self) {
        for index in 0..self.rigs.len() {
            let (now, heard) = (self.now, Some(self.heard));
            let rig = &mut self.rigs[index];
            let owed = rig.owed.filter(|(_, at)| *at <= now).map(|(verdict, _)| verdict);
            if let Some(verdict) = rig.guard.due(now, heard).or(owed) {
                self.drive(index, verdict);
            }
        }
    }

    /// Time passes, and everything that is due in it is done at its moment.
    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        for _ in 0..10_000 {
            match self.deadline() {
                Some(at) if at <= end => {
                    self.now = self.now.max(at);
                    self.enforce();
                    // What was sent off by an interlock may be seen off only now.
                    self.enforce();
                    self.check();
                }
                _ => {
                    self.now = end;
                    return;
                }
            }
        }
        panic!("no rest");
    }

    fn act(&mut self) {
        if self.chance.u8(0..3) > 0 {
            self.heard = self.now;
        }
        let index = self.chance.usize(0..3);
        let action = [ON, ON, OFF, Action::Toggle][self.chance.usize(0..4)];
        let lease = (self.chance.u8(0..3) == 0).then(|| ms(self.chance.u64(1..20) * 700));
        let granted = self.rigs[index].guard.command(self.now, action, lease);
        if let Ok(Grant::Now(verdict)) = granted {
            self.drive(index, verdict);
            if self.rigs[index].owed.is_some() {
                // As the worker does: half a command is no state to leave an output in.
                let verdict = self.rigs[index].guard.make_safe(self.now, StateCause::SafeState);
                self.rigs[index].owed = verdict.map(|verdict| (verdict, self.now));
            }
        }
        self.enforce();
        self.check();
    }
}

fn limits(chance: &mut fastrand::Rng, may_be_on: bool) -> Limits {
    let safe_state = if may_be_on && chance.bool() { ON } else { OFF };
    let mut maybe = |longest: u64| if chance.bool() { ms(chance.u64(1..longest) * 500) } else { Duration::ZERO };
    let (min_on, min_off, longer, after) = (maybe(10), maybe(10), maybe(20), maybe(40));
    let max_on = (longer > Duration::ZERO && safe_state == OFF).then_some(min_on + longer);
    let safe_after = (after > Duration::ZERO).then_some(after);
    let switches_per_hour = chance.bool().then(|| chance.u32(1..6));
    Limits { safe_state, safe_after, max_on, min_on, min_off, switches_per_hour, pulse: None }
}

fn trace(seed: u64) {
    let mut world = World::new(seed);
    world.start();
    for _ in 0..12 {
        world.act();
        let span = [0, 1, 100, 400, 2_000, 9_000, 1_800_000][world.chance.usize(0..7)];
        world.pass(ms(span));
    }
}

#[test]
fn no_limit_is_broken_in_any_life() {
    let scale = std::env::var("FIELDGATE_FAULTS");
    let lives = match scale.as_deref() {
        Ok("long") => 1_000_000,
        Ok("sample") => 100_000,
        _ => 10_000,
    };
    let first = std::env::var("FIELDGATE_SEED").ok().and_then(|seed| seed.parse().ok());
    let first: u64 = first.unwrap_or_else(|| fastrand::u64(..));
    for life in 0..lives {
        let seed = first.wrapping_add(life);
        // What was wrong stands above.
        assert!(std::panic::catch_unwind(|| trace(seed)).is_ok(), "FIELDGATE_SEED={seed} repeats it");
    }
    report(&format!(
        "| A5 | {lives} random lives of three outputs, two pairs interlocked | no limit broken, never both on |"
    ));
}

/// Into the file in which the fault suite tells its rows.
fn report(line: &str) {
    if let Ok(path) = std::env::var("FIELDGATE_FAULTS_REPORT") {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}
