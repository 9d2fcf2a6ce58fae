//! Lines of the simulated bus: what our outputs drive, what our inputs see, and who has claimed which.
//!
//! Levels are electrical here; the handles at the end turn them into active and inactive. Time is an argument, so that
//! debouncing can be tested without waiting.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::time::Duration;

use crate::debounce::Debounced;
use crate::sim::World;
use crate::{Bias, BusError, Edge, InputLine, InputRequest, OutputLine, OutputRequest};

/// Every line that we or the state file know.
#[derive(Default)]
pub(super) struct Lines {
    driven: BTreeMap<String, bool>,
    inputs: BTreeMap<String, bool>,
    claimed: BTreeMap<String, Claimed>,
}

enum Claimed {
    Output,
    Input(Debounced),
}

impl Lines {
    /// Claims an output and drives it; `false` when somebody has claimed the line.
    pub(super) fn claim_output(&mut self, line: &str, level: bool) -> bool {
        if self.claimed.contains_key(line) {
            return false;
        }
        self.claimed.insert(line.to_owned(), Claimed::Output);
        self.driven.insert(line.to_owned(), level);
        true
    }

    /// Claims an input; `false` when somebody has claimed the line.
    pub(super) fn claim_input(&mut self, request: &InputRequest) -> bool {
        if self.claimed.contains_key(&request.line) {
            return false;
        }
        let pulled = request.bias == Bias::PullUp;
        let level = *self.inputs.entry(request.line.clone()).or_insert(pulled);
        self.claimed.insert(request.line.clone(), Claimed::Input(Debounced::new(request, level)));
        true
    }

    /// Lets go of a line. Its level stays, as on Raspberry Pi's kernel.
    pub(super) fn release(&mut self, line: &str) {
        self.claimed.remove(line);
    }

    /// Drives an output that we have claimed.
    pub(super) fn drive(&mut self, line: &str, level: bool) {
        self.driven.insert(line.to_owned(), level);
    }

    /// What an output does.
    pub(super) fn driven_level(&self, line: &str) -> bool {
        self.driven.get(line).copied().unwrap_or(false)
    }

    /// The state file says what a line does; of one that we have claimed, we know better.
    pub(super) fn take_over_driven(&mut self, line: &str, level: bool) {
        if !self.claimed.contains_key(line) {
            self.driven.insert(line.to_owned(), level);
        }
    }

    /// Somebody outside sets the level of an input.
    pub(super) fn take_over_input(&mut self, line: &str, level: bool, now: Duration) {
        self.inputs.insert(line.to_owned(), level);
        if let Some(Claimed::Input(input)) = self.claimed.get_mut(line) {
            input.settle(level, now);
        }
    }

    /// Reports changes that have lasted. Returns how soon the next one may have.
    pub(super) fn settle(&mut self, now: Duration) -> Option<Duration> {
        let inputs = &self.inputs;
        let waiting = |(line, claimed): (&String, &mut Claimed)| match claimed {
            Claimed::Input(input) => input.settle(inputs.get(line).copied().unwrap_or(input.level()), now),
            Claimed::Output => None,
        };
        self.claimed.iter_mut().filter_map(waiting).min()
    }

    /// Each known output: its name, its level, and whether we have claimed it.
    pub(super) fn outputs(&self) -> impl Iterator<Item = (&str, bool, bool)> {
        self.driven.iter().map(|(line, level)| (line.as_str(), *level, self.claimed.contains_key(line)))
    }

    /// Each known input and its level.
    pub(super) fn inputs(&self) -> impl Iterator<Item = (&str, bool)> {
        self.inputs.iter().map(|(line, level)| (line.as_str(), *level))
    }

    /// Each input that we have claimed.
    pub(super) fn claimed_inputs(&self) -> impl Iterator<Item = &str> {
        self.claimed.iter().filter(|(_, claimed)| matches!(claimed, Claimed::Input(_))).map(|(line, _)| line.as_str())
    }

    fn input(&mut self, line: &str) -> Option<&mut Debounced> {
        match self.claimed.get_mut(line) {
            Some(Claimed::Input(input)) => Some(input),
            _ => None,
        }
    }
}

/// A claimed simulated output.
pub(super) struct SimOutput {
    world: Rc<RefCell<World>>,
    line: String,
    active_low: bool,
}

impl SimOutput {
    pub(super) fn claim(world: &Rc<RefCell<World>>, request: &OutputRequest) -> Result<Self, BusError> {
        let mut inner = world.borrow_mut();
        inner.reach()?;
        if !inner.lines.claim_output(&request.line, request.active != request.active_low) {
            return Err(inner.already_claimed(&request.line));
        }
        inner.changed();
        Ok(Self { world: Rc::clone(world), line: request.line.clone(), active_low: request.active_low })
    }
}

impl OutputLine for SimOutput {
    fn set(&mut self, active: bool) -> Result<(), BusError> {
        let mut world = self.world.borrow_mut();
        world.reach()?;
        world.lines.drive(&self.line, active != self.active_low);
        world.changed();
        Ok(())
    }

    fn is_active(&mut self) -> Result<bool, BusError> {
        let world = self.world.borrow();
        world.reach()?;
        Ok(world.lines.driven_level(&self.line) != self.active_low)
    }
}

impl Drop for SimOutput {
    fn drop(&mut self) {
        self.world.borrow_mut().lines.release(&self.line);
    }
}

/// A claimed simulated input.
pub(super) struct SimInput {
    world: Rc<RefCell<World>>,
    line: String,
}

impl SimInput {
    pub(super) fn claim(world: &Rc<RefCell<World>>, request: &InputRequest) -> Result<Self, BusError> {
        let mut inner = world.borrow_mut();
        if let Some(error) = inner.claimed_elsewhere(&request.line) {
            return Err(error);
        }
        inner.reach()?;
        if !inner.lines.claim_input(request) {
            return Err(inner.already_claimed(&request.line));
        }
        inner.changed();
        Ok(Self { world: Rc::clone(world), line: request.line.clone() })
    }
}

impl InputLine for SimInput {
    fn is_active(&mut self) -> Result<bool, BusError> {
        let mut world = self.world.borrow_mut();
        world.reach()?;
        Ok(world.lines.input(&self.line).is_some_and(|input| input.is_active()))
    }

    fn take_edges(&mut self) -> Result<Vec<Edge>, BusError> {
        let mut world = self.world.borrow_mut();
        world.reach()?;
        Ok(world.lines.input(&self.line).map(Debounced::take_edges).unwrap_or_default())
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

impl Drop for SimInput {
    fn drop(&mut self) {
        let mut world = self.world.borrow_mut();
        world.lines.release(&self.line);
        world.holders.release(&self.line);
        world.changed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edges::EDGE_LIMIT;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn button(debounce: Duration) -> Lines {
        let mut lines = Lines::default();
        let line = "GPIO17".to_owned();
        assert!(lines.claim_input(&InputRequest { line, active_low: true, bias: Bias::PullUp, debounce }));
        lines
    }

    fn edges(lines: &mut Lines) -> Vec<Edge> {
        lines.input("GPIO17").unwrap().take_edges()
    }

    #[test]
    fn a_change_is_an_edge_with_its_time() {
        let mut lines = button(Duration::ZERO);
        lines.take_over_input("GPIO17", false, ms(100));
        lines.take_over_input("GPIO17", false, ms(150));
        lines.take_over_input("GPIO17", true, ms(200));
        let pressed = Edge { active: true, at: Some(ms(100)), missed: 0 };
        assert_eq!(edges(&mut lines), [pressed, Edge { active: false, at: Some(ms(200)), missed: 0 }]);
    }

    #[test]
    fn a_change_shorter_than_the_debounce_is_not_reported() {
        let mut lines = button(ms(20));
        lines.take_over_input("GPIO17", false, ms(100));
        assert_eq!(lines.settle(ms(115)), Some(ms(5)));
        lines.take_over_input("GPIO17", true, ms(116));
        assert_eq!(lines.settle(ms(200)), None);
        assert_eq!(edges(&mut lines), []);
    }

    #[test]
    fn a_change_that_lasts_is_reported_after_the_debounce() {
        let mut lines = button(ms(20));
        lines.take_over_input("GPIO17", false, ms(100));
        assert_eq!(edges(&mut lines), []);
        assert_eq!(lines.settle(ms(120)), None);
        assert_eq!(edges(&mut lines), [Edge { active: true, at: Some(ms(120)), missed: 0 }]);
    }

    #[test]
    fn a_change_that_is_looked_at_late_has_the_time_at_which_it_had_lasted() {
        let mut lines = button(ms(20));
        lines.take_over_input("GPIO17", false, ms(100));
        lines.settle(ms(700));
        assert_eq!(edges(&mut lines), [Edge { active: true, at: Some(ms(120)), missed: 0 }]);
    }

    #[test]
    fn edges_that_nobody_takes_are_limited() {
        let mut lines = button(Duration::ZERO);
        for n in 0..EDGE_LIMIT as u64 + 10 {
            lines.take_over_input("GPIO17", n % 2 == 1, ms(n));
        }
        let kept = edges(&mut lines);
        assert_eq!((kept.len(), kept[0].at), (EDGE_LIMIT, Some(ms(10))));
        assert_eq!((kept[0].missed, kept[1].missed), (10, 0));
    }

    #[test]
    fn what_the_file_says_of_a_line_that_we_hold_is_not_believed() {
        let mut lines = Lines::default();
        lines.take_over_driven("GPIO27", true);
        assert!(lines.driven_level("GPIO27"));
        assert!(lines.claim_output("GPIO27", false) && !lines.claim_output("GPIO27", true));
        lines.take_over_driven("GPIO27", true);
        assert!(!lines.driven_level("GPIO27"));
        lines.release("GPIO27");
        lines.take_over_driven("GPIO27", true);
        assert!(lines.driven_level("GPIO27"));
    }
}
