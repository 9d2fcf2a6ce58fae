//! Who has an output, and what is ordered of it.
//!
//! Each active rule wants the outputs that it sets. The first rule by priority that competes for an output owns it: only its action is
//! ordered. A rule stops competing when a command or another rule's `toggle` took the output, or when a limit tripped it; it competes
//! again when it has ended and begun again. A refused order goes on competing and is given again after [`RETRY`].

use std::sync::Arc;
use std::time::Duration;

use crate::engine::judge::End;
use crate::engine::progress::{LettingGo, WantedState};
use crate::engine::{Engine, Order, RETRY, Trip, What};
use crate::rule::Manual;
use crate::status::Why;

impl Engine {
    /// Gives an output to the first of those that want it, if that is another one than before.
    pub(super) fn decide_owner(&mut self, output: usize, at: Duration, orders: &mut Vec<Order>) {
        let first = self.first_of(output);
        let before = self.outputs[output].owner;
        if first == before {
            return;
        }
        self.outputs[output].owner = first;
        if let Some((rule, place)) = before {
            let wanted = &mut self.rules[rule].wanted[place];
            if wanted.state.competes() {
                wanted.state = WantedState::Wanted;
            }
        }
        if let Some((rule, place)) = first {
            self.order(rule, place, orders);
        }
        self.refresh_output(output, at);
    }

    fn first_of(&self, output: usize) -> Option<(usize, usize)> {
        let competes = |(rule, place): &&(usize, usize)| self.rules[*rule].wanted[*place].state.competes();
        self.outputs[output].wanted_by.iter().find(competes).copied()
    }

    fn order(&mut self, rule: usize, place: usize, orders: &mut Vec<Order>) {
        let id = self.next_order();
        let wanted = &mut self.rules[rule].wanted[place];
        (wanted.state, wanted.order) = (WantedState::Ordered, id);
        let (output, action) = (wanted.output, wanted.action);
        self.outputs[output].letting_go = None;
        orders.push(Order { id, rule, what: What::Set { output, action } });
    }

    /// What a rule wanted is wanted by it no more.
    pub(super) fn release(&mut self, rule: usize, place: usize, at: Duration, why: End, orders: &mut Vec<Order>) {
        let wanted = &mut self.rules[rule].wanted[place];
        let (output, state) = (wanted.output, std::mem::replace(&mut wanted.state, WantedState::None));
        wanted.refusal = None;
        let was_owner = self.outputs[output].owner == Some((rule, place));
        self.decide_owner(output, at, orders);
        if self.outputs[output].owner.is_none() {
            let is_wanted =
                |(rule, place): &(usize, usize)| self.rules[*rule].wanted[*place].state != WantedState::None;
            let is_last = !self.outputs[output].wanted_by.iter().any(is_wanted);
            let was_away = !state.competes() && is_last && why == End::Condition;
            if was_owner || was_away {
                self.let_go(rule, output, why, orders);
            }
        }
        self.refresh_output(output, at);
    }

    fn let_go(&mut self, rule: usize, output: usize, why: End, orders: &mut Vec<Order>) {
        let then = self.table.rules[rule].spec.then_of(&self.table.outputs[output]);
        let action = then.filter(|_| why != End::Gone);
        let order = self.next_order();
        self.outputs[output].letting_go = Some(LettingGo { rule, order, action, retry_at: None });
        orders.push(Order { id: order, rule, what: What::LetGo { output, action } });
    }

    /// A command from outside has the output now.
    pub(super) fn take_over(&mut self, output: usize, at: Duration) {
        self.withdraw(output, &WantedState::TakenOver, at);
    }

    /// Nobody owns the output any more, until conditions change.
    fn withdraw(&mut self, output: usize, state: &WantedState, at: Duration) {
        let ownership = &mut self.outputs[output];
        (ownership.owner, ownership.letting_go) = (None, None);
        for place in 0..self.outputs[output].wanted_by.len() {
            let (rule, place) = self.outputs[output].wanted_by[place];
            let wanted = &mut self.rules[rule].wanted[place];
            if wanted.state != WantedState::None {
                wanted.state = state.clone();
                wanted.refusal = None;
            }
        }
        self.refresh_output(output, at);
    }

    /// Toggles the output that stands at this place, and takes it from the rule that has it.
    pub(super) fn toggle(&mut self, rule: usize, place: usize, at: Duration, orders: &mut Vec<Order>) {
        let output = self.table.position(&self.table.rules[rule].spec.toggle[place]);
        if let Some((owner, _)) = self.outputs[output].owner {
            let row = &self.table.rules[owner].spec;
            if row.manual == Manual::Never {
                self.rules[rule].not_toggled = Some(Why::Owned(self.table.outputs[output].clone(), row.name.clone()));
                return;
            }
        }
        let name = self.table.rules[rule].spec.name.clone();
        self.withdraw(output, &WantedState::Toggled(name), at);
        let id = self.next_order();
        self.rules[rule].toggled[place] = id;
        orders.push(Order { id, rule, what: What::Toggle { output } });
    }

    /// An order was carried out or refused. Answers to older orders mean nothing any more.
    pub(super) fn answered(&mut self, order: u64, result: Result<(), Arc<str>>, at: Duration, orders: &mut Vec<Order>) {
        let all = self.rules.iter().enumerate();
        let places = all.flat_map(|(rule, progress)| (0..progress.wanted.len()).map(move |place| (rule, place)));
        let is_asked = |(rule, place): &(usize, usize)| {
            let wanted = &self.rules[*rule].wanted[*place];
            wanted.order == order && wanted.state == WantedState::Ordered
        };
        if let Some((rule, place)) = places.clone().find(is_asked) {
            let wanted = &mut self.rules[rule].wanted[place];
            match result {
                Ok(()) => (wanted.state, wanted.refusal) = (WantedState::Carried, None),
                Err(words) => {
                    wanted.state = WantedState::Refused(at.saturating_add(RETRY));
                    // What only counts down is no news.
                    if !wanted.refusal.as_ref().is_some_and(|before| differs_in_numbers_only(before, &words)) {
                        wanted.refusal = Some(words);
                    }
                }
            }
            return self.refresh(rule, at);
        }
        let toggled =
            |rule: usize| self.rules[rule].toggled.iter().position(|id| *id == order).map(|place| (rule, place));
        if let Some((rule, place)) = (0..self.rules.len()).find_map(toggled) {
            if let Err(words) = result {
                let output = self.table.rules[rule].spec.toggle[place].clone();
                self.rules[rule].not_toggled = Some(Why::Refused(output, words));
                self.refresh(rule, at);
            }
            return;
        }
        self.answered_letting_go(order, result.is_ok(), at, orders);
    }

    fn answered_letting_go(&mut self, order: u64, is_done: bool, at: Duration, orders: &mut Vec<Order>) {
        let asked = |letting_go: LettingGo| letting_go.order == order;
        let Some(output) = self.outputs.iter().position(|output| output.letting_go.is_some_and(asked)) else { return };
        let letting_go = &mut self.outputs[output].letting_go;
        match letting_go {
            _ if is_done => *letting_go = None,
            // What `then` says may lead away from the safe state, which no limit refuses.
            Some(LettingGo { action: action @ Some(_), retry_at, .. }) => {
                (*action, *retry_at) = (None, Some(at));
                self.retry_letting_go(at, orders);
            }
            Some(LettingGo { retry_at, .. }) => *retry_at = Some(at.saturating_add(RETRY)),
            None => {}
        }
    }

    pub(super) fn retry_letting_go(&mut self, at: Duration, orders: &mut Vec<Order>) {
        for output in 0..self.outputs.len() {
            let is_due = |letting_go: &LettingGo| letting_go.retry_at.is_some_and(|retry_at| retry_at <= at);
            let Some(LettingGo { rule, action, .. }) = self.outputs[output].letting_go.filter(is_due) else { continue };
            let order = self.next_order();
            self.outputs[output].letting_go = Some(LettingGo { rule, order, action, retry_at: None });
            orders.push(Order { id: order, rule, what: What::LetGo { output, action } });
        }
    }

    /// Orders again what was refused long enough ago.
    pub(super) fn retry(&mut self, rule: usize, at: Duration, orders: &mut Vec<Order>) {
        for place in 0..self.rules[rule].wanted.len() {
            if matches!(self.rules[rule].wanted[place].state, WantedState::Refused(retry_at) if retry_at <= at) {
                self.order(rule, place, orders);
            }
        }
    }

    /// The output does something else than was ordered.
    pub(super) fn tripped(&mut self, output: usize, trip: Trip, at: Duration, orders: &mut Vec<Order>) {
        let Some((rule, place)) = self.outputs[output].owner else { return };
        match trip {
            Trip::Latched(words) => self.withdraw(output, &WantedState::Tripped(words), at),
            Trip::Rebuilt => self.order(rule, place, orders),
            Trip::Transient(words) => {
                let wanted = &mut self.rules[rule].wanted[place];
                wanted.state = WantedState::Refused(at.saturating_add(RETRY));
                wanted.refusal = Some(words);
                self.refresh(rule, at);
            }
        }
    }

    fn refresh_output(&mut self, output: usize, at: Duration) {
        for place in 0..self.outputs[output].wanted_by.len() {
            self.refresh(self.outputs[output].wanted_by[place].0, at);
        }
    }
}

fn differs_in_numbers_only(one: &str, other: &str) -> bool {
    let is_number = |word: &&str| word.starts_with(|first: char| first.is_ascii_digit());
    let rest = |words| str::split_whitespace(words).filter(move |word| !is_number(word));
    rest(one).eq(rest(other))
}
