//! When a rule begins and ends.
//!
//! [`Engine::judge`] is called for a rule whenever something that it names has changed, and [`Engine::due`] when one of its times has run
//! out. Both ask the formulas, note since when these say what they say, and call `begin` or `end` once that has lasted long enough.
//! What beginning and ending mean for outputs is in `ownership.rs`.

use std::time::Duration;

use crate::engine::progress::{RuleProgress, WantedState};
use crate::engine::{Engine, LOOP_PAUSE, MAX_CHANGES, MINUTE, Order, What};

/// Why a rule ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// By its condition, or because that is not known any more.
    Condition,
    /// It was switched off or stopped: what a command has taken over is left alone.
    Withdrawn,
    /// A reload has changed it or taken it away: the same, and its outputs are made safe. Nobody would try again if what `then` says
    /// were refused.
    Gone,
}

impl Engine {
    /// When something of this rule runs out.
    pub(super) fn deadline(&self, rule: usize, progress: &RuleProgress) -> Option<Duration> {
        if !progress.is_on {
            return None;
        }
        if progress.stopped_until.is_some() {
            return progress.stopped_until;
        }
        let spec = &self.table.rules[rule].spec;
        let after = |since: Option<Duration>, span| since.map(|since| since.saturating_add(span));
        if !progress.is_active {
            return after(progress.holds_since, spec.when_for);
        }
        let retry = progress.wanted.iter().filter_map(|wanted| match wanted.state {
            WantedState::Refused(retry_at) => Some(retry_at),
            _ => None,
        });
        let ends = [after(progress.ends_since, spec.until_for), after(progress.unknown_since, spec.lost)];
        retry.chain(ends.into_iter().flatten()).min()
    }

    /// Something of this rule has run out.
    pub(super) fn due(&mut self, rule: usize, at: Duration, orders: &mut Vec<Order>) {
        self.rules[rule].stopped_until.take_if(|until| *until <= at);
        self.judge(rule, at, orders);
        self.retry(rule, at, orders);
    }

    /// Begins or ends a rule if that is due. It does one of both at most: what ends at once begins again with the next event only.
    pub(super) fn judge(&mut self, rule: usize, at: Duration, orders: &mut Vec<Order>) {
        if self.rules[rule].is_dismissed && self.evaluate(&self.table.rules[rule].when) == Some(false) {
            self.rules[rule].is_dismissed = false;
        }
        let progress = &self.rules[rule];
        if progress.is_on && progress.stopped_until.is_none() {
            if progress.is_active {
                self.judge_end(rule, at, orders);
            } else {
                self.judge_begin(rule, at, orders);
            }
        }
        self.refresh(rule, at);
    }

    fn judge_begin(&mut self, rule: usize, at: Duration, orders: &mut Vec<Order>) {
        let row = &self.table.rules[rule];
        let when = self.evaluate(&row.when);
        let until = row.until.as_ref().map_or(Some(false), |until| self.evaluate(until));
        let may = !self.rules[rule].is_dismissed && self.is_its_moment(rule);
        let holds = may && when == Some(true) && until == Some(false);
        let is_unknown = when.is_none() || (when == Some(true) && until.is_none());
        let when_for = row.spec.when_for;
        let progress = &mut self.rules[rule];
        progress.is_unknown = is_unknown;
        if !holds {
            progress.holds_since = None;
            return;
        }
        progress.not_toggled = None;
        let since = *progress.holds_since.get_or_insert(at);
        if since.saturating_add(when_for) <= at {
            self.begin(rule, at, orders);
        }
    }

    fn judge_end(&mut self, rule: usize, at: Duration, orders: &mut Vec<Order>) {
        let row = &self.table.rules[rule];
        let ends = match &row.until {
            Some(until) => self.evaluate(until),
            None if row.is_moment => Some(true),
            None => self.evaluate(&row.when).map(|holds| !holds),
        };
        let begins_again = row.is_moment && self.is_its_moment(rule) && self.evaluate(&row.when) == Some(true);
        let (until_for, lost) = (row.spec.until_for, row.spec.lost);
        let progress = &mut self.rules[rule];
        // Only noted here: `refresh` writes the status, after the rule has ended or gone on.
        progress.is_unknown = ends.is_none();
        let (since, span) = match ends {
            Some(false) => {
                (progress.ends_since, progress.unknown_since) = (None, None);
                return;
            }
            Some(true) => {
                progress.unknown_since = None;
                if begins_again {
                    progress.ends_since = None;
                }
                (*progress.ends_since.get_or_insert(at), until_for)
            }
            None => {
                progress.ends_since = None;
                (*progress.unknown_since.get_or_insert(at), lost)
            }
        };
        if since.saturating_add(span) <= at {
            self.rules[rule].is_dismissed = ends == Some(true) && self.is_dismissed_now(rule);
            self.end(rule, at, End::Condition, orders);
            if self.changes_too_often(rule, at) {
                self.stop_loop(rule, at);
            }
        }
    }

    /// Whether nothing but a click ends it: a person has said no to a condition that goes on, and must not have to say it again.
    fn is_dismissed_now(&self, rule: usize) -> bool {
        let row = &self.table.rules[rule];
        let by_click = row.until.as_ref().is_some_and(|until| self.evaluate_at_rest(until) != Some(true));
        by_click && !row.is_moment && self.evaluate(&row.when) != Some(false)
    }

    /// Whether one of the moments that it waits for is now; always of a rule that waits for none.
    fn is_its_moment(&self, rule: usize) -> bool {
        let names = |signal: &usize| self.table.signals[*signal].rules.contains(&rule);
        !self.table.rules[rule].is_moment || self.moments.iter().any(names)
    }

    fn begin(&mut self, rule: usize, at: Duration, orders: &mut Vec<Order>) {
        self.rules[rule].holds_since = None;
        if self.changes_too_often(rule, at) {
            self.stop_loop(rule, at);
            return;
        }
        self.rules[rule].is_active = true;
        for place in 0..self.rules[rule].wanted.len() {
            self.rules[rule].wanted[place].state = WantedState::Wanted;
            self.decide_owner(self.rules[rule].wanted[place].output, at, orders);
        }
        for place in 0..self.table.rules[rule].spec.toggle.len() {
            self.toggle(rule, place, at, orders);
        }
        if self.table.rules[rule].spec.publish.is_some() {
            let id = self.next_order();
            orders.push(Order { id, rule, what: What::Publish });
        }
        // A moment ends at once, or from now on.
        if self.table.rules[rule].is_moment {
            self.judge_end(rule, at, orders);
        }
    }

    /// Ends a rule that may be active; its outputs go to the next rule that wants them.
    pub(super) fn end(&mut self, rule: usize, at: Duration, why: End, orders: &mut Vec<Order>) {
        let progress = &mut self.rules[rule];
        (progress.holds_since, progress.ends_since, progress.unknown_since) = (None, None, None);
        if !std::mem::take(&mut progress.is_active) {
            return;
        }
        for place in 0..self.rules[rule].wanted.len() {
            self.release(rule, place, at, why, orders);
        }
    }

    /// A person has switched it.
    pub(super) fn switch(&mut self, rule: usize, is_on: bool, at: Duration, orders: &mut Vec<Order>) {
        if is_on == self.rules[rule].is_on {
            return;
        }
        self.end(rule, at, End::Withdrawn, orders);
        let progress = &mut self.rules[rule];
        (progress.is_on, progress.status.is_on) = (is_on, is_on);
        (progress.stopped_until, progress.is_dismissed) = (None, false);
        progress.changes.clear();
        self.revision += 1;
        self.judge(rule, at, orders);
    }

    /// Notes that the rule begins or ends. Clicks come from people, who may click as often as they like.
    fn changes_too_often(&mut self, rule: usize, at: Duration) -> bool {
        if self.table.rules[rule].is_moment {
            return false;
        }
        let changes = &mut self.rules[rule].changes;
        if changes.len() == MAX_CHANGES {
            changes.pop_front();
        }
        changes.push_back(at);
        changes.len() == MAX_CHANGES && changes.front().is_some_and(|first| at.saturating_sub(*first) < MINUTE)
    }

    fn stop_loop(&mut self, rule: usize, at: Duration) {
        let progress = &mut self.rules[rule];
        progress.stopped_until = Some(at.saturating_add(LOOP_PAUSE));
        progress.changes.clear();
    }
}
