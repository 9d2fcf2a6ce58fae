//! Collects what formulas name, and gives each signal its index.

use std::cell::RefCell;

use crate::check::{Names, Signal, compile};
use crate::kind::Kind;
use crate::syntax::Name;

/// [`Names`] that remember which signals were found, for callers who learn only from the formulas what they have to look at.
///
/// `describe` says what a name stands for: the caller's own description of the signal, of type `T`, and its kind. Two names are one signal
/// if their descriptions are equal. A signal's index is its place in [`NameCollector::into_signals`], through all formulas that are
/// compiled with one collector. It suggests no names, for it knows only those that were asked for.
///
/// ```
/// use fieldgate_formula::{Input, Kind, NameCollector, compile};
///
/// let names = NameCollector::new(|name| Some((name.to_string(), Kind::number(""))));
/// let sum = compile("a.x + b.x", &names).unwrap();
/// let double = compile("b.x * 2", &names).unwrap();
/// assert_eq!(sum.inputs(), [Input::Signal(0), Input::Signal(1)]);
/// assert_eq!(double.inputs(), [Input::Signal(1)]);
/// assert_eq!(names.into_signals(), ["a.x", "b.x"]);
/// ```
#[derive(Debug)]
pub struct NameCollector<T, F> {
    describe: F,
    signals: RefCell<Vec<T>>,
}

impl<T: PartialEq, F: Fn(&Name) -> Option<(T, Kind)>> NameCollector<T, F> {
    /// One that has no signals yet.
    pub fn new(describe: F) -> Self {
        Self { describe, signals: RefCell::default() }
    }

    /// Takes up what a formula names, whether anything is wrong with it or not.
    pub fn collect(&self, source: &str) {
        // The names are what is wanted, and they are kept also of a formula with problems.
        let _names_are_kept = compile(source, self);
    }

    /// The signals that were named, each once, in the order in which they were first named.
    pub fn into_signals(self) -> Vec<T> {
        self.signals.into_inner()
    }
}

impl<T: PartialEq, F: Fn(&Name) -> Option<(T, Kind)>> Names for NameCollector<T, F> {
    fn find(&self, name: &Name) -> Option<Signal> {
        let (signal, kind) = (self.describe)(name)?;
        let mut signals = self.signals.borrow_mut();
        let index = signals.iter().position(|known| *known == signal).unwrap_or(signals.len());
        if index == signals.len() {
            signals.push(signal);
        }
        Some(Signal { index, kind })
    }

    fn known(&self) -> Vec<String> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_of_formulas_with_problems_and_what_is_unknown_is_not() {
        let describe = |name: &Name| {
            let name = name.to_string();
            (name != "nobody").then_some((name, Kind::number("")))
        };
        let names = NameCollector::new(describe);
        names.collect("a.x + b.x + a.x > true");
        names.collect("nobody + c");
        assert_eq!(names.into_signals(), ["a.x", "b.x", "c"]);
    }
}
