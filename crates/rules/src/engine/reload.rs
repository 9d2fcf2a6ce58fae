//! A reload: from one table of rules to the next, while rules are active.
//!
//! First [`Engine::retire`] ends the rules that the new table does not have in the same form, still by the old table. Then
//! [`Engine::adopt`] puts the new table in place; rules that are the same in both go on, with what they own and since when.

use std::time::Duration;

use crate::engine::judge::End;
use crate::engine::progress::Ownership;
use crate::engine::{Engine, Order};
use crate::table::Table;

impl Engine {
    /// Ends the rules that `next` does not have as they are. What they order is of this table; [`Engine::adopt`] follows.
    pub fn retire(&mut self, next: &Table, at: Duration, orders: &mut Vec<Order>) {
        for rule in 0..self.rules.len() {
            if self.place_in(next, rule).is_none() {
                self.end(rule, at, End::Gone, orders);
            }
        }
    }

    /// Switches a rule before the first step that judges it: it is as if it had never been otherwise. The rule must not be active.
    pub fn begin_switched(&mut self, rule: usize, is_on: bool) {
        let progress = &mut self.rules[rule];
        debug_assert!(!progress.is_active || progress.is_on == is_on, "an active rule is switched by an event");
        (progress.is_on, progress.status.is_on) = (is_on, is_on);
    }

    fn place_in(&self, next: &Table, rule: usize) -> Option<usize> {
        let mine = &self.table.rules[rule];
        next.rules.iter().position(|other| other.spec.name == mine.spec.name && mine.is_same(other))
    }

    /// Goes on with the rules of `next`: those that are the same as before with all their times, all with their switch. What is known of
    /// signals is kept; what is new must be written before the next step, which judges all.
    pub fn adopt(self, next: Table) -> Self {
        let mut engine = Self::new(next);
        for (signal, row) in engine.table.signals.iter().enumerate() {
            let known =
                self.table.signals.iter().position(|old| old.name == row.name && old.is_moment == row.is_moment);
            if let Some(known) = known {
                engine.facts[signal].write(self.facts[known].value());
            }
        }
        (engine.link_up, engine.wall, engine.minute_ends) = (self.link_up, self.wall, self.minute_ends);
        (engine.last_order, engine.revision) = (self.last_order, self.revision + 1);
        let mut places = vec![None; self.rules.len()];
        for (rule, progress) in self.rules.iter().enumerate() {
            places[rule] = self.place_in(&engine.table, rule);
            if let Some(place) = places[rule] {
                let mut kept = progress.clone();
                for (wanted, fresh) in kept.wanted.iter_mut().zip(&engine.rules[place].wanted) {
                    wanted.output = fresh.output;
                }
                engine.rules[place] = kept;
            } else if let Some(place) = engine.table.rule(&self.table.rules[rule].spec.name) {
                (engine.rules[place].is_on, engine.rules[place].status.is_on) = (progress.is_on, progress.is_on);
            }
        }
        for (output, old) in self.table.outputs.iter().zip(&self.outputs) {
            let Some(place) = engine.table.output(output) else { continue };
            let wanted_by = std::mem::take(&mut engine.outputs[place].wanted_by);
            let owner = old.owner.and_then(|(rule, place)| Some((places[rule]?, place)));
            let letting_go = old.letting_go.and_then(|mut letting_go| {
                letting_go.rule = places[letting_go.rule]?;
                Some(letting_go)
            });
            engine.outputs[place] = Ownership { wanted_by, owner, letting_go };
        }
        engine
    }
}
