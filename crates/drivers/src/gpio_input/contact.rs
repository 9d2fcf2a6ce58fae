//! A line behind its delays, and what presses of it mean: edges in, events out.
//!
//! Pure, and in order: what is due is done at its own time before an edge of that time or later is seen, so it makes no
//! difference in what portions edges arrive or how late. An edge that is older than what was done already counts from then.

use std::time::Duration;

use super::clicks::Clicks;
use super::delays::Delays;
use super::{ACTIVE, CLICK};
use crate::Event;

/// A line, its delays and its clicks.
#[derive(Debug)]
pub(super) struct Contact {
    /// The line itself, by its last edge.
    level: bool,
    delays: Delays,
    clicks: Option<Clicks>,
    /// How far time has got.
    reached: Duration,
}

impl Contact {
    /// A line with these `delays` and `clicks`.
    pub(super) fn new(delays: Delays, clicks: Option<Clicks>) -> Self {
        Self { level: delays.is_active(), delays, clicks, reached: Duration::ZERO }
    }

    /// The line itself, by its last edge.
    pub(super) fn level(&self) -> bool {
        self.level
    }

    /// Whether it is active, by its delays.
    pub(super) fn is_active(&self) -> bool {
        self.delays.is_active()
    }

    /// When something is due if no edge comes before.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let both = [self.delays.deadline(), self.concludes_at()];
        both.into_iter().flatten().min()
    }

    fn concludes_at(&self) -> Option<Duration> {
        self.clicks.as_ref()?.deadline()
    }

    /// The line became active or inactive at that time.
    pub(super) fn see(&mut self, active: bool, at: Duration, events: &mut Vec<Event>) {
        let at = at.max(self.reached);
        self.advance(at, events);
        self.level = active;
        self.delays.see(active, at);
        // Without a delay it is due at once.
        self.advance(at, events);
    }

    /// Does what is due by then.
    pub(super) fn advance(&mut self, until: Duration, events: &mut Vec<Event>) {
        while let Some(at) = self.deadline().filter(|at| *at <= until) {
            // What a pattern means comes before a change of the same moment, which may belong to the next.
            if self.concludes_at() == Some(at) {
                let word = self.clicks.as_mut().and_then(Clicks::conclude);
                let active = ACTIVE.observed(self.is_active());
                events
                    .extend(word.map(|word| Event { at: Some(at), measurements: vec![active, CLICK.happened(word)] }));
            } else {
                let active = self.delays.change();
                events.push(Event { at: Some(at), measurements: vec![ACTIVE.observed(active)] });
                if let Some(clicks) = &mut self.clicks {
                    clicks.see(active, at);
                }
            }
        }
        self.reached = self.reached.max(until);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What is asked of an input, in milliseconds.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Times {
        pub(crate) delayed_on: u64,
        pub(crate) delayed_off: u64,
        pub(crate) double_within: u64,
        pub(crate) long_after: u64,
    }

    /// The defaults, without delays.
    pub(crate) const USUAL: Times = Times { delayed_on: 0, delayed_off: 0, double_within: 300, long_after: 800 };

    pub(crate) fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// A button that is released.
    pub(crate) fn button(times: Times) -> Contact {
        let delays = Delays::new(ms(times.delayed_on), ms(times.delayed_off), false);
        Contact::new(delays, Some(Clicks::new(ms(times.double_within), ms(times.long_after), false)))
    }

    /// What edges at these times, each the opposite of the one before and the first a press, mean by `end`.
    pub(crate) fn meant(times: Times, edges: &[u64], end: u64) -> Vec<Event> {
        let (mut contact, mut events) = (button(times), Vec::new());
        for (index, at) in edges.iter().enumerate() {
            contact.see(index % 2 == 0, ms(*at), &mut events);
        }
        contact.advance(ms(end), &mut events);
        events
    }

    pub(crate) fn change(active: bool, at: u64) -> Event {
        Event { at: Some(ms(at)), measurements: vec![ACTIVE.observed(active)] }
    }

    pub(crate) fn click(word: &'static str, active: bool, at: u64) -> Event {
        Event { at: Some(ms(at)), measurements: vec![ACTIVE.observed(active), CLICK.happened(word)] }
    }

    #[test]
    fn a_click_is_a_reading_of_its_own_with_the_state_at_that_time() {
        let events = meant(USUAL, &[1000, 1100, 1200, 1300], 10_000);
        let changes = [change(true, 1000), change(false, 1100), change(true, 1200), change(false, 1300)];
        assert_eq!(events, [changes.as_slice(), &[click("double", false, 1600)]].concat());
        let events = meant(USUAL, &[1000, 3000], 10_000);
        assert_eq!(events, [change(true, 1000), click("long", true, 1800), change(false, 3000)]);
    }

    #[test]
    fn presses_are_what_the_delays_leave_of_them() {
        let times = Times { delayed_on: 50, delayed_off: 100, ..USUAL };
        // The first is too short to be one, the pause at 1150 too short to end one.
        let events = meant(times, &[0, 49, 1000, 1150, 1249, 1300], 10_000);
        assert_eq!(events, [change(true, 1050), change(false, 1400), click("single", false, 1700)]);
    }

    #[test]
    fn an_edge_that_comes_out_of_order_counts_from_what_was_done_already() {
        let (mut contact, mut events) = (button(USUAL), Vec::new());
        contact.see(true, ms(1000), &mut events);
        contact.see(false, ms(1100), &mut events);
        contact.advance(ms(1400), &mut events);
        contact.see(true, ms(1350), &mut events);
        contact.see(false, ms(1500), &mut events);
        contact.advance(ms(9000), &mut events);
        let first = [change(true, 1000), change(false, 1100), click("single", false, 1400)];
        let second = [change(true, 1400), change(false, 1500), click("single", false, 1800)];
        assert_eq!(events, [first, second].concat());
    }

    /// Where the line changes behind its delays, by the whole history at once: a state counts when it has lasted.
    fn delayed(times: Times, edges: &[u64], end: u64) -> Vec<(u64, bool)> {
        let mut changes: Vec<(u64, bool)> = Vec::new();
        for (index, at) in edges.iter().enumerate() {
            let active = index % 2 == 0;
            let counts_at = at + if active { times.delayed_on } else { times.delayed_off };
            let lasts_until = edges.get(index + 1).copied().unwrap_or(u64::MAX);
            let is_news = active != changes.last().is_some_and(|(_, before)| *before);
            if counts_at <= lasts_until && counts_at <= end && is_news {
                changes.push((counts_at, active));
            }
        }
        changes
    }

    /// What presses mean, by the whole history at once: each press joins the one before it or begins a pattern.
    fn outcomes(times: Times, changes: &[(u64, bool)], end: u64) -> Vec<(u64, &'static str)> {
        let release = |press: usize| changes.get(2 * press + 1).map_or(u64::MAX, |(at, _)| *at);
        let presses: Vec<_> =
            changes.iter().step_by(2).zip(0..).map(|((at, _), press)| (*at, release(press))).collect();
        let is_long = |(begin, end): (u64, u64)| end - begin >= times.long_after;
        let mut patterns: Vec<Vec<(u64, u64)>> = Vec::new();
        for press in presses {
            match patterns.last_mut() {
                Some(pattern)
                    if pattern
                        .last()
                        .is_some_and(|before| !is_long(*before) && press.0 - before.1 < times.double_within) =>
                {
                    pattern.push(press)
                }
                _ => patterns.push(vec![press]),
            }
        }
        let outcome = |pattern: &Vec<(u64, u64)>| match *pattern.last().unwrap() {
            last if is_long(last) => (last.0 + times.long_after, "long"),
            last => {
                let word = match pattern.len() {
                    1 => "single",
                    2 => "double",
                    3 => "triple",
                    4 => "quadruple",
                    _ => "many",
                };
                (last.1 + times.double_within, word)
            }
        };
        patterns.iter().map(outcome).filter(|(at, _)| *at <= end).collect()
    }

    /// All that is reported of an input.
    pub(crate) fn model(times: Times, edges: &[u64], end: u64) -> Vec<Event> {
        let changes = delayed(times, edges, end);
        let state_before =
            |at: u64| changes.iter().take_while(|(then, _)| *then < at).last().is_some_and(|(_, on)| *on);
        let outcomes = outcomes(times, &changes, end);
        let mut all: Vec<(u64, u8, Event)> =
            changes.iter().map(|(at, active)| (*at, 1, change(*active, *at))).collect();
        all.extend(outcomes.into_iter().map(|(at, word)| (at, 0, click(word, state_before(at), at))));
        all.sort_by_key(|(at, rank, _)| (*at, *rank));
        all.into_iter().map(|(_, _, event)| event).collect()
    }

    /// Times that often meet each other, so that what happens at one moment is tried as well.
    pub(crate) fn any_times() -> impl Strategy<Value = Times> {
        let delay = || prop_oneof![Just(0u64), 1u64..30, Just(10)];
        (delay(), delay(), 1u64..60, 1u64..80).prop_map(|(delayed_on, delayed_off, double_within, long_after)| Times {
            delayed_on,
            delayed_off,
            double_within,
            long_after,
        })
    }

    /// Presses and pauses of all lengths, bounces of no length included.
    pub(crate) fn any_edges() -> impl Strategy<Value = Vec<u64>> {
        let step = prop_oneof![0u64..3, 0u64..40, 0u64..100];
        prop::collection::vec(step, 0..40).prop_map(|steps| {
            let mut now = 1000;
            steps
                .into_iter()
                .map(|step| {
                    now += step;
                    now
                })
                .collect()
        })
    }

    /// Bounces lengthen and shorten presses and pauses a little, which must not decide.
    fn step_that_bounces_leave_alone() -> impl Strategy<Value = u64> {
        prop_oneof![40u64..280, 320u64..780, 820u64..1000]
    }

    /// A contact that bounces for less than `longest` at each of these edges.
    fn bouncing(edges: &[u64], bounces: &[u64], longest: u64) -> Vec<u64> {
        let mut bounces = bounces.iter().cycle();
        let mut all = Vec::new();
        for edge in edges {
            let mut at = *edge;
            all.push(at);
            for _ in 0..2 * (bounces.next().unwrap() % 3) {
                at += bounces.next().unwrap() % (longest / 4);
                all.push(at);
            }
        }
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

        #[test]
        fn every_press_pattern_means_what_a_look_at_the_whole_history_finds(
            times in any_times(), edges in any_edges(), rest in 0u64..200,
        ) {
            let end = edges.last().unwrap_or(&1000) + rest;
            prop_assert_eq!(meant(times, &edges, end), model(times, &edges, end));
        }

        #[test]
        fn a_contact_that_bounces_clicks_like_one_that_does_not(
            steps in prop::collection::vec(step_that_bounces_leave_alone(), 2..20), bounces in prop::collection::vec(0u64..100, 5..20),
        ) {
            let edges: Vec<u64> = steps.iter().scan(1000, |now, step| { *now += step; Some(*now) }).collect();
            let clean: Vec<u64> = edges.iter().map(|edge| edge + 20).collect();
            let times = Times { delayed_on: 20, delayed_off: 20, ..USUAL };
            let heard = meant(times, &bouncing(&edges, &bounces, 20), 100_000);
            let expected = meant(USUAL, &clean, 100_000);
            let only_words = |events: &[Event]| -> Vec<_> { events.iter().map(|event| event.measurements.clone()).collect() };
            prop_assert_eq!(only_words(&heard), only_words(&expected));
        }
    }
}
