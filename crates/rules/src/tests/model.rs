//! Random rules over random histories, beside a plain model that knows no timers, no indexes and no wake-ups: it looks at each second from
//! the beginning, and finds out how long something has been so by looking back.

mod obeying;
mod story;

use proptest::prelude::*;

use super::*;
use obeying::Real;
use story::{Facts, Happens, Plain, RULES, happens, rules};

/// What a wanted output is at, in the model.
#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    Wants,
    Does,
    Refused(u64),
    Away,
}

/// Why a rule ends, in the model.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ends {
    ByCondition,
    SwitchedOff,
    /// A reload has taken it away: its outputs are made safe, whatever `then` says.
    Gone,
}

/// What one rule was at one instant.
#[derive(Clone, Debug)]
struct Seen {
    ready: bool,
    ends: Option<bool>,
    active: bool,
    /// Whether a click begins it, or begins it again: its end is counted from there.
    again: bool,
}

#[derive(Clone, Debug, Default)]
struct Model {
    /// The rules that a reload has taken away.
    away: [bool; RULES],
    /// Each rule at each instant so far, and when that was.
    seen: Vec<(u64, Vec<Seen>)>,
    facts: Facts,
    off: [bool; RULES],
    refusing: [bool; 2],
    active: [bool; RULES],
    /// Whether a click has ended the rule while its condition went on.
    dismissed: [bool; RULES],
    changes: [Vec<u64>; RULES],
    stopped: [Option<u64>; RULES],
    at: [[Option<At>; 2]; RULES],
    owner: [Option<usize>; 2],
    on: [bool; 2],
    /// Whether what `then` says was refused: the output is made safe, unless another rule has had it by the end of the instant.
    then_refused: [bool; 2],
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
            // A click is over as soon as it has come.
            if matches!(happens, Happens::Clicked(_)) {
                model.instant(rules, *at, None);
            }
        }
        model
    }

    fn instant(&mut self, rules: &[Plain], at: u64, happens: Option<&Happens>) {
        happens.into_iter().for_each(|happens| self.happens(rules, at, happens));
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
        for output in 0..2 {
            self.on[output] &= !std::mem::take(&mut self.then_refused[output]) || self.owner[output].is_some();
        }
        self.facts.click = None;
    }

    fn happens(&mut self, rules: &[Plain], at: u64, happens: &Happens) {
        let lets_nobody = |output: usize| self.owner[output].is_some_and(|owner: usize| rules[owner].is_never_manual);
        match happens {
            Happens::Written(all) => all.iter().for_each(|(number, value)| self.facts.numbers[*number] = *value),
            Happens::Target(value) => self.facts.numbers[2] = Some(*value),
            Happens::Mode(is_auto) => self.facts.is_auto = Some(*is_auto),
            Happens::Link(is_up) => self.facts.link = *is_up,
            Happens::Shows(hour) => self.facts.hour = *hour,
            Happens::Clicked(word) => self.facts.click = Some(*word),
            Happens::Commanded(output) if !lets_nobody(*output) => self.take_away(*output),
            Happens::TooLong(output) if self.owner[*output].is_some() => {
                self.take_away(*output);
                self.on[*output] = false;
            }
            Happens::Interlocked(output) => {
                if let Some(owner) = self.owner[*output] {
                    (self.at[owner][*output], self.on[*output]) = (Some(At::Refused(at)), false);
                }
            }
            Happens::Reloaded(there) => self.reload(rules, there, at),
            Happens::Refuses(output, refuses) => self.refusing[*output] = *refuses,
            Happens::Switched(rule, is_on) if self.off[*rule] == *is_on && !self.away[*rule] => {
                self.end(rules, *rule, at, Ends::SwitchedOff);
                (self.off[*rule], self.stopped[*rule], self.dismissed[*rule]) = (!is_on, None, false);
                self.changes[*rule].clear();
            }
            _ => {}
        }
    }

    /// What is taken away ends, and begins one day as if it had never been there.
    fn reload(&mut self, rules: &[Plain], there: &[bool; RULES], at: u64) {
        for nth in (0..rules.len()).filter(|nth| !there[*nth]) {
            self.end(rules, nth, at, Ends::Gone);
            (self.off[nth], self.stopped[nth], self.dismissed[nth]) = (false, None, false);
            self.changes[nth].clear();
        }
        self.away = there.map(|there| !there);
    }

    fn judge(&mut self, rules: &[Plain], nth: usize, at: u64) {
        let rule = &rules[nth];
        let when = rule.when.holds(&self.facts);
        let until = rule.until.as_ref().map(|until| until.holds(&self.facts));
        self.dismissed[nth] &= when != Some(false);
        let is_its_moment = !rule.is_moment || self.facts.click.is_some();
        let is_there = !self.off[nth] && !self.away[nth] && !self.dismissed[nth];
        let may = is_there && self.stopped[nth].is_none() && is_its_moment;
        let ready = may && !self.active[nth] && when == Some(true) && until.unwrap_or(Some(false)) == Some(false);
        let over = if rule.is_moment { Some(true) } else { when.map(|when| !when) };
        let (ends, active) = (until.unwrap_or(over), self.active[nth]);
        let again = active && rule.is_moment && is_its_moment && when == Some(true);
        self.seen.last_mut().unwrap().1.push(Seen { ready, ends, active, again });
        if ready && self.lasts(nth, at, |seen| seen.ready) >= rule.when_for {
            self.begin(rules, nth, at);
        } else if active {
            self.judge_end(rules, nth, at);
        }
    }

    fn begin(&mut self, rules: &[Plain], nth: usize, at: u64) {
        let rule = &rules[nth];
        if self.change(rule, nth, at) {
            return;
        }
        self.active[nth] = true;
        for output in &rule.outputs {
            self.at[nth][*output] = Some(At::Wants);
            self.decide_owner(rules, *output, at);
        }
        for output in &rule.toggle {
            if !self.owner[*output].is_some_and(|owner| rules[owner].is_never_manual) {
                self.take_away(*output);
                self.on[*output] ^= !self.refusing[*output];
            }
        }
        if rule.is_moment {
            let seen = &mut self.seen.last_mut().unwrap().1[nth];
            (seen.active, seen.again) = (true, true);
            self.judge_end(rules, nth, at);
        }
    }

    fn judge_end(&mut self, rules: &[Plain], nth: usize, at: u64) {
        let ends = self.seen.last().unwrap().1[nth].ends;
        let span = match ends {
            Some(true) => rules[nth].until_for,
            None => rules[nth].lost,
            Some(false) => return,
        };
        let mut is_first = false;
        let so_long = self.lasts(nth, at, |seen| {
            let is_so = seen.active && seen.ends == ends && !is_first;
            is_first = seen.again && ends == Some(true);
            is_so
        });
        if so_long >= span {
            let mut at_rest = self.facts.clone();
            at_rest.click = None;
            let by_click = rules[nth].until.as_ref().is_some_and(|until| until.holds(&at_rest) != Some(true));
            let goes_on = !rules[nth].is_moment && rules[nth].when.holds(&self.facts) != Some(false);
            self.dismissed[nth] = ends == Some(true) && by_click && goes_on;
            self.end(rules, nth, at, Ends::ByCondition);
            self.change(&rules[nth], nth, at);
        }
    }

    /// For how long this has been so of a rule, up to now.
    fn lasts(&self, nth: usize, at: u64, mut is_so: impl FnMut(&Seen) -> bool) -> u64 {
        let back = self.seen.iter().rev().take_while(|(_, seen)| is_so(&seen[nth]));
        at - back.last().map_or(at, |(since, _)| *since)
    }

    /// Notes a change; whether it was one too many. Clicks may come as often as they like.
    fn change(&mut self, rule: &Plain, nth: usize, at: u64) -> bool {
        if rule.is_moment {
            return false;
        }
        self.changes[nth].push(at);
        let is_loop = self.changes[nth].iter().filter(|change| at - **change < 60).count() >= 10;
        if is_loop {
            self.changes[nth].clear();
            self.stopped[nth] = Some(at + 600);
        }
        is_loop
    }

    fn end(&mut self, rules: &[Plain], nth: usize, at: u64, why: Ends) {
        if !std::mem::take(&mut self.active[nth]) {
            return;
        }
        for output in &rules[nth].outputs {
            let was_away = self.at[nth][*output].take() == Some(At::Away);
            let was_owner = self.owner[*output] == Some(nth);
            self.decide_owner(rules, *output, at);
            let nobody = self.at.iter().all(|at| at[*output].is_none());
            let by_condition = why == Ends::ByCondition;
            if self.owner[*output].is_none() && (was_owner || (was_away && nobody && by_condition)) {
                match rules[nth].then.filter(|_| why != Ends::Gone) {
                    Some(_) if self.refusing[*output] => self.then_refused[*output] = true,
                    then => self.on[*output] = then.unwrap_or(false),
                }
            }
        }
    }

    fn decide_owner(&mut self, rules: &[Plain], output: usize, at: u64) {
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
        (self.owner[output], self.then_refused[output]) = (None, false);
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
            (false, None) if last.ready && !rules[nth].is_moment => State::Waiting,
            (false, None) => State::Inactive,
        }
    }
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
