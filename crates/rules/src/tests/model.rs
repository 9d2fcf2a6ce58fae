//! Random rules over random histories, beside a plain model that knows no timers, no indexes and no wake-ups: it looks at each second from
//! the beginning, and finds out how long something has been so by looking back.

mod obeying;

use proptest::prelude::*;

use super::*;
use obeying::Real;

const SIGNALS: usize = 3;
const OUTPUTS: [&str; 2] = ["o0", "o1"];
const RULES: usize = 3;

/// A condition over the signals.
#[derive(Clone, Debug)]
enum Cond {
    Above(usize, i32),
    Below(usize, i32),
    Not(Box<Cond>),
    Both(Box<[Cond; 2]>),
    Either(Box<[Cond; 2]>),
}

impl Cond {
    fn text(&self) -> String {
        match self {
            Self::Above(signal, than) => format!("s{signal} > {than}"),
            Self::Below(signal, than) => format!("s{signal} < {than}"),
            Self::Not(inner) => format!("not ({})", inner.text()),
            Self::Both(parts) => format!("({}) and ({})", parts[0].text(), parts[1].text()),
            Self::Either(parts) => format!("({}) or ({})", parts[0].text(), parts[1].text()),
        }
    }

    fn holds(&self, facts: &[Option<i32>; SIGNALS]) -> Option<bool> {
        match self {
            Self::Above(signal, than) => facts[*signal].map(|value| value > *than),
            Self::Below(signal, than) => facts[*signal].map(|value| value < *than),
            Self::Not(inner) => inner.holds(facts).map(|holds| !holds),
            Self::Both(parts) => decide(parts.each_ref().map(|part| part.holds(facts)), false),
            Self::Either(parts) => decide(parts.each_ref().map(|part| part.holds(facts)), true),
        }
    }
}

fn decide(parts: [Option<bool>; 2], decisive: bool) -> Option<bool> {
    if parts.contains(&Some(decisive)) {
        return Some(decisive);
    }
    if parts.contains(&None) { None } else { Some(!decisive) }
}

#[derive(Clone, Debug)]
struct Plain {
    when: Cond,
    until: Option<Cond>,
    hold: u64,
    until_for: u64,
    lost: u64,
    outputs: Vec<usize>,
    priority: i64,
}

impl Plain {
    fn spec(&self, nth: usize) -> RuleSpec {
        let outputs: Vec<_> = self.outputs.iter().map(|output| OUTPUTS[*output]).collect();
        RuleSpec {
            until: self.until.as_ref().map(Cond::text),
            hold: s(self.hold),
            until_for: s(self.until_for),
            lost: s(self.lost),
            priority: self.priority,
            ..rule(&format!("r{nth}"), &self.when.text(), &outputs)
        }
    }
}

#[derive(Clone, Debug)]
enum Happens {
    Written(Vec<(usize, Option<i32>)>),
    Commanded(usize),
    Switched(usize, bool),
    /// The guard of an output refuses from now on, or does not.
    Refuses(usize, bool),
    TooLong(usize),
    /// An interlock makes an output safe, which may pass.
    Interlocked(usize),
    /// From now on there are these rules.
    Reloaded([bool; RULES]),
}

fn cond() -> impl Strategy<Value = Cond> {
    let leaf = prop_oneof![
        (0..SIGNALS, 0..4).prop_map(|(signal, than)| Cond::Above(signal, than)),
        (0..SIGNALS, 1..5).prop_map(|(signal, than)| Cond::Below(signal, than)),
    ];
    leaf.prop_recursive(2, 4, 2, |inner| {
        let both = || (inner.clone(), inner.clone());
        prop_oneof![
            inner.clone().prop_map(|inner| Cond::Not(Box::new(inner))),
            both().prop_map(|(one, other)| Cond::Both(Box::new([one, other]))),
            both().prop_map(|(one, other)| Cond::Either(Box::new([one, other]))),
        ]
    })
}

fn plain(nth: usize) -> impl Strategy<Value = Plain> {
    let span = || prop_oneof![2 => Just(0_u64), 1 => 1..6_u64];
    let outputs = prop::sample::select(vec![vec![0], vec![1], vec![0, 1], vec![]]);
    let priority = i64::try_from((nth * 2) % RULES).unwrap();
    (cond(), prop::option::of(cond()), span(), span(), span(), outputs).prop_map(
        move |(when, until, hold, until_for, lost, outputs)| Plain {
            when,
            until,
            hold,
            until_for,
            lost,
            outputs,
            priority,
        },
    )
}

fn happens() -> impl Strategy<Value = Happens> {
    let value = prop::option::weighted(0.85, 0..5);
    prop_oneof![
        8 => prop::collection::vec((0..SIGNALS, value), 1..3).prop_map(Happens::Written),
        1 => (0..2_usize).prop_map(Happens::Commanded),
        1 => (0..RULES, any::<bool>()).prop_map(|(rule, is_on)| Happens::Switched(rule, is_on)),
        1 => (0..2_usize, any::<bool>()).prop_map(|(output, refuses)| Happens::Refuses(output, refuses)),
        1 => (0..2_usize).prop_map(Happens::TooLong),
        1 => (0..2_usize).prop_map(Happens::Interlocked),
        1 => prop_oneof![Just([true; RULES]), any::<[bool; RULES]>()].prop_map(Happens::Reloaded),
    ]
}

/// What a claim is at, in the model.
#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    Wants,
    Does,
    Refused(u64),
    Away,
}

/// What one rule was at one instant.
#[derive(Clone, Debug)]
struct Seen {
    ready: bool,
    ends: Option<bool>,
    active: bool,
}

#[derive(Clone, Debug, Default)]
struct Model {
    /// The rules that a reload has taken away.
    away: [bool; RULES],
    /// Each rule at each instant so far, and when that was.
    seen: Vec<(u64, Vec<Seen>)>,
    facts: [Option<i32>; SIGNALS],
    off: [bool; RULES],
    refusing: [bool; 2],
    active: [bool; RULES],
    changes: [Vec<u64>; RULES],
    stopped: [Option<u64>; RULES],
    at: [[Option<At>; 2]; RULES],
    owner: [Option<usize>; 2],
    on: [bool; 2],
}

impl Model {
    /// Everything from the beginning to the end of the story.
    fn of(rules: &[Plain], story: &[(u64, Happens)]) -> Self {
        let (mut model, mut second) = (Self::default(), 0);
        for (at, happens) in story {
            while second <= *at {
                model.instant(rules, second, None);
                second += 1;
            }
            model.instant(rules, *at, Some(happens));
        }
        model
    }

    fn instant(&mut self, rules: &[Plain], at: u64, happens: Option<&Happens>) {
        match happens {
            Some(Happens::Written(all)) => all.iter().for_each(|(signal, value)| self.facts[*signal] = *value),
            Some(Happens::Commanded(output)) => self.take_away(*output),
            Some(Happens::TooLong(output)) if self.owner[*output].is_some() => {
                self.take_away(*output);
                self.on[*output] = false;
            }
            Some(Happens::Interlocked(output)) => {
                if let Some(owner) = self.owner[*output] {
                    (self.at[owner][*output], self.on[*output]) = (Some(At::Refused(at)), false);
                }
            }
            Some(Happens::Reloaded(there)) => self.reload(rules, there, at),
            Some(Happens::Refuses(output, refuses)) => self.refusing[*output] = *refuses,
            Some(Happens::Switched(rule, is_on)) if self.off[*rule] == *is_on && !self.away[*rule] => {
                self.end(rules, *rule, at, false);
                (self.off[*rule], self.stopped[*rule]) = (!is_on, None);
                self.changes[*rule].clear();
            }
            _ => {}
        }
        self.seen.push((at, Vec::new()));
        for nth in 0..rules.len() {
            if self.stopped[nth].is_some_and(|until| until <= at) {
                self.stopped[nth] = None;
            }
            self.judge(rules, nth, at);
            for output in 0..2 {
                let is_due = matches!(self.at[nth][output], Some(At::Refused(since)) if since < at);
                if is_due && happens.is_none() {
                    self.order(nth, output, at);
                }
            }
        }
    }

    /// What is taken away ends, and begins one day as if it had never been there.
    fn reload(&mut self, rules: &[Plain], there: &[bool; RULES], at: u64) {
        for nth in (0..rules.len()).filter(|nth| !there[*nth]) {
            self.end(rules, nth, at, false);
            (self.off[nth], self.stopped[nth]) = (false, None);
            self.changes[nth].clear();
        }
        self.away = there.map(|there| !there);
    }

    fn judge(&mut self, rules: &[Plain], nth: usize, at: u64) {
        let rule = &rules[nth];
        let when = rule.when.holds(&self.facts);
        let until = rule.until.as_ref().map(|until| until.holds(&self.facts));
        let may = !self.off[nth] && !self.away[nth] && self.stopped[nth].is_none();
        let ready = may && !self.active[nth] && when == Some(true) && until.unwrap_or(Some(false)) == Some(false);
        let ends = until.unwrap_or(when.map(|when| !when));
        let active = self.active[nth];
        self.seen.last_mut().unwrap().1.push(Seen { ready, ends, active });
        if ready && self.lasts(nth, at, |seen| seen.ready) >= rule.hold {
            if self.change(nth, at) {
                return;
            }
            self.active[nth] = true;
            for output in &rule.outputs {
                self.at[nth][*output] = Some(At::Wants);
                self.settle(rules, *output, at);
            }
        } else if active {
            let span = match ends {
                Some(true) => rule.until_for,
                None => rule.lost,
                Some(false) => return,
            };
            if self.lasts(nth, at, |seen| seen.active && seen.ends == ends) >= span {
                self.end(rules, nth, at, true);
                self.change(nth, at);
            }
        }
    }

    /// For how long this has been so of a rule, up to now.
    fn lasts(&self, nth: usize, at: u64, is_so: impl Fn(&Seen) -> bool) -> u64 {
        let back = self.seen.iter().rev().take_while(|(_, seen)| is_so(&seen[nth]));
        at - back.last().map_or(at, |(since, _)| *since)
    }

    /// Notes a change; whether it was one too many.
    fn change(&mut self, nth: usize, at: u64) -> bool {
        self.changes[nth].push(at);
        let is_loop = self.changes[nth].iter().filter(|change| at - **change < 60).count() >= 10;
        if is_loop {
            self.changes[nth].clear();
            self.stopped[nth] = Some(at + 600);
        }
        is_loop
    }

    fn end(&mut self, rules: &[Plain], nth: usize, at: u64, by_condition: bool) {
        if !std::mem::take(&mut self.active[nth]) {
            return;
        }
        for output in &rules[nth].outputs {
            let was_away = self.at[nth][*output].take() == Some(At::Away);
            let was_owner = self.owner[*output] == Some(nth);
            self.settle(rules, *output, at);
            let nobody = self.at.iter().all(|at| at[*output].is_none());
            if self.owner[*output].is_none() && (was_owner || (was_away && nobody && by_condition)) {
                self.on[*output] = false;
            }
        }
    }

    fn settle(&mut self, rules: &[Plain], output: usize, at: u64) {
        let wants = |nth: &usize| self.at[*nth][output].is_some_and(|at| at != At::Away);
        let best = (0..rules.len()).filter(wants).max_by_key(|nth| rules[*nth].priority);
        if best == self.owner[output] {
            return;
        }
        if let Some(before) = self.owner[output].filter(wants) {
            self.at[before][output] = Some(At::Wants);
        }
        self.owner[output] = best;
        if let Some(nth) = best {
            self.order(nth, output, at);
        }
    }

    fn order(&mut self, nth: usize, output: usize, at: u64) {
        let refused = self.refusing[output];
        self.at[nth][output] = Some(if refused { At::Refused(at) } else { At::Does });
        self.on[output] |= !refused;
    }

    fn take_away(&mut self, output: usize) {
        self.owner[output] = None;
        for at in &mut self.at {
            at[output] = at[output].map(|_| At::Away);
        }
    }

    fn state(&self, rules: &[Plain], nth: usize) -> State {
        let blocked = |output: &usize| self.at[nth][*output] != Some(At::Does);
        let last = &self.seen.last().unwrap().1[nth];
        match (self.active[nth], self.stopped[nth]) {
            (_, Some(_)) => State::Blocked,
            (true, None) if rules[nth].outputs.iter().any(blocked) => State::Blocked,
            (true, None) => State::Active,
            (false, None) if last.ready => State::Waiting,
            (false, None) => State::Inactive,
        }
    }
}

fn rules() -> impl Strategy<Value = [Plain; RULES]> {
    (plain(0), plain(1), plain(2)).prop_map(|(one, two, three)| [one, two, three])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn rules_do_what_a_model_does_that_begins_again_each_time(
        rules in rules(),
        story in prop::collection::vec((0..7_u64, happens()), 1..30),
    ) {
        let specs: Vec<_> = rules.iter().enumerate().map(|(nth, plain)| plain.spec(nth)).collect();
        // Conditions that are so for all values are no formulas.
        let Ok(first) = Table::compile(specs.clone(), kind) else { return Ok(()) };
        let engine = Engine::new(first);
        let mut real = Real::new(engine, specs);
        let mut at = 0;
        let story: Vec<_> = story.into_iter().map(|(after, happens)| { at += after; (at, happens) }).collect();
        real.step(Event::Time);
        for (nth, (at, happens)) in story.iter().enumerate() {
            real.advance(s(*at));
            real.happens(happens);
            let model = Model::of(&rules, &story[..=nth]);
            let states: Vec<_> = real.engine.statuses().map(|status| status.state).collect();
            let there = (0..RULES).filter(|rule| !model.away[*rule]);
            let expected: Vec<_> = there.map(|rule| if model.off[rule] { State::Inactive } else { model.state(&rules, rule) }).collect();
            prop_assert_eq!(states, expected, "step {}, model {:?}", nth, model);
            prop_assert_eq!(real.on, model.on, "step {}", nth);
        }
    }
}
