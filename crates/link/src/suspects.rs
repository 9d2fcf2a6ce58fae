//! Requests over which one broker ends connections, and which are therefore held back. Pure: time is an argument.
//!
//! Three ends in a row over the same request make it a suspect: it is held back, and everything else flows. It is tried again
//! rarely; such a try costs one connection if the broker still hangs up. A retained message goes without the
//! flag the third time: if that is answered, the flag was to blame.

use std::collections::BTreeMap;
use std::time::Duration;

use super::open_requests::{Blame, Request};

/// Ends in a row over one request that make it a suspect.
const TIMES: usize = 3;

/// Until a suspect is tried for the first time; the wait doubles from here.
pub(super) const TRY_AFTER: Duration = Duration::from_secs(600);

/// Longest wait between two tries: once the broker allows the topic, its messages flow within this time.
const TRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// A try that the connection has survived for so long, without an answer because none will come, has succeeded.
const OUTLIVED: Duration = Duration::from_secs(5);

/// Suspects at most; requesters choose topics of their own. Beyond, nothing is held back.
const LIMIT: usize = 64;

#[derive(Debug)]
struct HeldBack {
    until: Duration,
    failures: u32,
    /// When it was sent to try.
    trying: Option<Duration>,
}

/// The suspects of one broker.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    /// What the last ends were about, and how many.
    streak: Option<(Blame, usize)>,
    held_back: BTreeMap<Request, HeldBack>,
}

/// What an end has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing yet.
    Unclear,
    /// The same request again; one more end of a connection will decide.
    Forming,
    /// It is held back from now on, for so long.
    HeldBack(Request, Duration),
}

impl Suspects {
    /// A connection ended over this.
    pub(super) fn ended(&mut self, blame: Option<Blame>, now: Duration) -> Verdict {
        let tried = blame.as_ref().and_then(|blame| {
            let (request, held) = self.held_back.get_key_value(&blame.request)?;
            held.trying.map(|_| request.clone())
        });
        self.interrupted();
        if let Some(request) = tried {
            return self.hold_back(request, now);
        }
        let streak = match (blame, self.streak.take()) {
            (Some(blame), Some((last, times))) if blame.request == last.request => Some((last, times + 1)),
            (blame, _) => blame.map(|blame| (blame, 1)),
        };
        self.streak = streak;
        match &self.streak {
            Some((blame, times)) if *times >= TIMES => {
                let request = blame.request.clone();
                self.streak = None;
                if self.held_back.len() >= LIMIT { Verdict::Unclear } else { self.hold_back(request, now) }
            }
            Some((_, times)) if *times > 1 => Verdict::Forming,
            _ => Verdict::Unclear,
        }
    }

    /// A connection ended over something else, such as the network: what was being tried is tried again at the next.
    pub(super) fn interrupted(&mut self) {
        self.held_back.values_mut().for_each(|held| held.trying = None);
    }

    fn hold_back(&mut self, request: Request, now: Duration) -> Verdict {
        let fresh = || HeldBack { until: now, failures: 0, trying: None };
        let held = self.held_back.entry(request.clone()).or_insert_with(fresh);
        let wait = TRY_AFTER.saturating_mul(1 << held.failures.min(8)).min(TRY_AFTER_MAX);
        held.failures = held.failures.saturating_add(1);
        held.until = now + wait;
        Verdict::HeldBack(request, wait)
    }

    /// Whether the next connection should ask for one thing at a time, so that what ends it is known for sure.
    pub(super) fn is_one_at_a_time(&self) -> bool {
        self.streak.is_some()
    }

    /// Whether this request is tried without the retain flag now, since twice it ended a connection with it.
    pub(super) fn is_on_trial(&self, request: &Request) -> bool {
        self.streak
            .as_ref()
            .is_some_and(|(blame, times)| blame.retain && *times == TIMES - 1 && blame.request == *request)
    }

    /// Whether a request must not be made now.
    pub(super) fn is_held_back(&self, request: &Request, now: Duration) -> bool {
        !self.held_back.is_empty()
            && self.held_back.get(request).is_some_and(|held| held.trying.is_some() || now < held.until)
    }

    /// A request is made; of a suspect, that is a try.
    pub(super) fn sending(&mut self, request: &Request, now: Duration) {
        if let Some(held) = self.held_back.get_mut(request) {
            held.trying = Some(now);
        }
    }

    /// The broker has answered a request, so it does not hang up on it; `true` when it was a suspect.
    pub(super) fn answered(&mut self, request: &Request) -> bool {
        if self.streak.as_ref().is_some_and(|(blame, _)| blame.request == *request) {
            self.streak = None;
        }
        !self.held_back.is_empty() && self.held_back.remove(request).is_some()
    }

    /// Suspects that were sent and that the connection has outlived although `open` knows of no answer to come.
    pub(super) fn outlived(&self, open: impl Fn(&Request) -> bool, now: Duration) -> Vec<Request> {
        let outlived = |held: &HeldBack| held.trying.is_some_and(|at| now.saturating_sub(at) >= OUTLIVED);
        let found = self.held_back.iter().filter(|(request, held)| outlived(held) && !open(request));
        found.map(|(request, _)| request.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn blame(topic: &str, retain: bool) -> Blame {
        Blame { request: publish(topic), retain }
    }

    fn publish(topic: &str) -> Request {
        Request::Publish(topic.into())
    }

    const NOW: Duration = Duration::from_secs(1000);

    #[test]
    fn three_ends_in_a_row_make_a_suspect_and_a_try_costs_one() {
        let mut suspects = Suspects::default();
        assert_eq!(suspects.ended(Some(blame("a", false)), NOW), Verdict::Unclear);
        assert!(suspects.is_one_at_a_time() && !suspects.is_held_back(&publish("a"), NOW));
        assert_eq!(suspects.ended(Some(blame("a", false)), NOW), Verdict::Forming);
        assert_eq!(suspects.ended(Some(blame("a", false)), NOW), Verdict::HeldBack(publish("a"), TRY_AFTER));
        assert!(suspects.is_held_back(&publish("a"), NOW) && !suspects.is_held_back(&publish("b"), NOW));
        let due = NOW + TRY_AFTER;
        assert!(!suspects.is_held_back(&publish("a"), due));
        suspects.sending(&publish("a"), due);
        assert!(suspects.is_held_back(&publish("a"), due), "one at a time");
        assert_eq!(suspects.ended(Some(blame("a", false)), due), Verdict::HeldBack(publish("a"), 2 * TRY_AFTER));
        assert!(suspects.is_held_back(&publish("a"), due + TRY_AFTER));
    }

    #[test]
    fn a_suspect_that_is_answered_flows_again() {
        let mut suspects = Suspects::default();
        (0..TIMES).for_each(|_| drop(suspects.ended(Some(blame("a", false)), NOW)));
        let due = NOW + TRY_AFTER;
        suspects.sending(&publish("a"), due);
        assert_eq!(suspects.outlived(|_| false, due + OUTLIVED), [publish("a")]);
        assert!(suspects.outlived(|_| true, due + OUTLIVED).is_empty(), "its answer is still to come");
        assert!(suspects.answered(&publish("a")) && !suspects.is_held_back(&publish("a"), due));
    }

    #[test]
    fn a_try_that_something_else_ends_is_made_again() {
        let mut suspects = Suspects::default();
        (0..TIMES).for_each(|_| drop(suspects.ended(Some(blame("a", false)), NOW)));
        let due = NOW + TRY_AFTER;
        suspects.sending(&publish("a"), due);
        suspects.interrupted();
        assert!(!suspects.is_held_back(&publish("a"), due));
    }

    #[test]
    fn the_third_try_of_a_retained_message_goes_without_the_flag() {
        let mut suspects = Suspects::default();
        suspects.ended(Some(blame("a", true)), NOW);
        assert!(!suspects.is_on_trial(&publish("a")));
        suspects.ended(Some(blame("a", true)), NOW);
        assert!(suspects.is_on_trial(&publish("a")) && !suspects.is_on_trial(&publish("b")));
        assert_eq!(suspects.ended(Some(blame("a", false)), NOW), Verdict::HeldBack(publish("a"), TRY_AFTER));
        assert!(!suspects.is_on_trial(&publish("a")));
    }

    proptest! {
        #[test]
        fn only_three_in_a_row_without_an_answer_hold_a_topic_back(steps in prop::collection::vec((0u8..4, 0u8..3), 0..60)) {
            let mut suspects = Suspects::default();
            let mut rows = Vec::new();
            let mut model = std::collections::BTreeSet::new();
            for (step, topic) in steps {
                let topic = ["a", "b", "c"][usize::from(topic)];
                if model.contains(topic) {
                    continue;
                }
                match step {
                    0 => {
                        suspects.answered(&publish(topic));
                        rows.retain(|row| *row != topic);
                    }
                    1 => {
                        suspects.ended(None, NOW);
                        rows.clear();
                    }
                    _ => {
                        suspects.ended(Some(blame(topic, false)), NOW);
                        rows.retain(|row| *row == topic);
                        rows.push(topic);
                        if rows.len() == TIMES {
                            model.insert(topic);
                            rows.clear();
                        }
                    }
                }
                for topic in ["a", "b", "c"] {
                    prop_assert_eq!(suspects.is_held_back(&publish(topic), NOW), model.contains(topic));
                }
            }
        }
    }
}
