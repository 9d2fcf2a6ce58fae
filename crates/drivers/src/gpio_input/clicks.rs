//! What presses of a button mean: exactly one outcome for each pattern of presses.
//!
//! A pattern is a press and every further one that begins within `double_within` of the release before it. It ends when no
//! further press has come by then, and means as many clicks as it had presses; or it ends at once when a press has lasted for
//! `long_after`, and means `long`, whatever presses were in front of it. After a long press the next begins a new pattern.
//!
//! Pure: edges come in with the kernel's time, and the caller says how far time has got. What is read late gives the same
//! outcomes as what is read in time. A deadline comes before an edge of the same moment.

use std::time::Duration;

/// Every word, those for so many short presses first; they are those of zigbee2mqtt's buttons.
pub(super) const WORDS: [&str; 6] = ["single", "double", "triple", "quadruple", MANY, LONG];

/// What a pattern of so many short presses means; one of more is [`MANY`].
const COUNTED: [&str; 4] = [WORDS[0], WORDS[1], WORDS[2], WORDS[3]];

/// More presses than anybody counts.
const MANY: &str = "many";

/// A press that lasts.
const LONG: &str = "long";

/// A button and the pattern that is going on.
#[derive(Debug)]
pub(super) struct Clicks {
    double_within: Duration,
    long_after: Duration,
    pattern: Pattern,
}

/// How far the pattern has got.
#[derive(Clone, Copy, Debug)]
enum Pattern {
    /// Released, and nothing goes on.
    Idle,
    /// Pressed since then, after so many short presses.
    Pressed { since: Duration, before: usize },
    /// Released at that time, after so many short presses; one more may follow.
    Released { since: Duration, presses: usize },
    /// Pressed, and its outcome is known; or it was pressed before anybody looked.
    Spent,
}

impl Clicks {
    /// A button that was `pressed` before anybody looked: that press means nothing.
    pub(super) fn new(double_within: Duration, long_after: Duration, pressed: bool) -> Self {
        let pattern = if pressed { Pattern::Spent } else { Pattern::Idle };
        Self { double_within, long_after, pattern }
    }

    /// When there is an outcome if no edge comes before.
    pub(super) fn deadline(&self) -> Option<Duration> {
        match self.pattern {
            Pattern::Idle | Pattern::Spent => None,
            Pattern::Pressed { since, .. } => Some(since.saturating_add(self.long_after)),
            Pattern::Released { since, .. } => Some(since.saturating_add(self.double_within)),
        }
    }

    /// Ends the pattern, whose deadline has come, and says what it means.
    pub(super) fn conclude(&mut self) -> Option<&'static str> {
        match self.pattern {
            Pattern::Idle | Pattern::Spent => None,
            Pattern::Pressed { .. } => {
                self.pattern = Pattern::Spent;
                Some(LONG)
            }
            Pattern::Released { presses, .. } => {
                self.pattern = Pattern::Idle;
                Some(COUNTED.get(presses.saturating_sub(1)).copied().unwrap_or(MANY))
            }
        }
    }

    /// The button was pressed or released at that time. What was due by then has been concluded.
    pub(super) fn see(&mut self, pressed: bool, at: Duration) {
        self.pattern = match (self.pattern, pressed) {
            (Pattern::Idle, true) => Pattern::Pressed { since: at, before: 0 },
            (Pattern::Released { presses, .. }, true) => Pattern::Pressed { since: at, before: presses },
            (Pattern::Pressed { before, .. }, false) => {
                Pattern::Released { since: at, presses: before.saturating_add(1) }
            }
            (Pattern::Spent, false) => Pattern::Idle,
            // The same once more, as a bouncing contact says it.
            (same @ (Pattern::Pressed { .. } | Pattern::Spent), true)
            | (same @ (Pattern::Idle | Pattern::Released { .. }), false) => same,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOUBLE_WITHIN: Duration = Duration::from_millis(300);
    const LONG_AFTER: Duration = Duration::from_millis(800);

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// The outcomes of edges at these times, the first a press, and of what is due by `end`; each with its time.
    fn outcomes(edges: &[u64], end: u64) -> Vec<(&'static str, u64)> {
        let mut clicks = Clicks::new(DOUBLE_WITHIN, LONG_AFTER, false);
        let mut clicked = Vec::new();
        let mut advance = |clicks: &mut Clicks, until: Duration| {
            while let Some(at) = clicks.deadline().filter(|at| *at <= until) {
                clicked.extend(clicks.conclude().map(|word| (word, u64::try_from(at.as_millis()).unwrap())));
            }
        };
        for (index, at) in edges.iter().enumerate() {
            advance(&mut clicks, ms(*at));
            clicks.see(index % 2 == 0, ms(*at));
        }
        advance(&mut clicks, ms(end));
        clicked
    }

    fn check(edges: &[u64], clicked: &[(&'static str, u64)]) {
        assert_eq!(outcomes(edges, 100_000), clicked, "{edges:?}");
    }

    #[test]
    fn a_press_is_a_single_when_no_other_follows_in_time() {
        check(&[1000, 1100], &[("single", 1400)]);
        assert_eq!(outcomes(&[1000, 1100], 1399), []);
    }

    #[test]
    fn presses_that_follow_in_time_are_counted() {
        check(&[0, 100, 399, 500], &[("double", 800)]);
        check(&[0, 100, 200, 300, 400, 500], &[("triple", 800)]);
        check(&[0, 10, 20, 30, 40, 50, 60, 70], &[("quadruple", 370)]);
        check(&[0, 10, 20, 30, 40, 50, 60, 70, 80, 90], &[("many", 390)]);
    }

    #[test]
    fn a_press_that_comes_too_late_begins_a_pattern_of_its_own() {
        check(&[0, 100, 400, 500], &[("single", 400), ("single", 800)]);
    }

    #[test]
    fn a_press_is_long_while_it_is_held() {
        assert_eq!(outcomes(&[0], 800), [("long", 800)]);
        check(&[0, 5000], &[("long", 800)]);
        check(&[0, 799], &[("single", 1099)]);
        check(&[0, 800], &[("long", 800)]);
    }

    #[test]
    fn a_long_press_stands_for_the_short_ones_in_front_of_it() {
        check(&[0, 100, 200, 2000], &[("long", 1000)]);
    }

    #[test]
    fn after_a_long_press_the_next_begins_again_however_soon() {
        check(&[0, 1000, 1010, 1100], &[("long", 800), ("single", 1400)]);
    }

    #[test]
    fn a_press_from_before_the_start_means_nothing() {
        let mut clicks = Clicks::new(DOUBLE_WITHIN, LONG_AFTER, true);
        assert_eq!(clicks.deadline(), None);
        clicks.see(false, ms(100));
        assert_eq!(clicks.deadline(), None);
        clicks.see(true, ms(200));
        clicks.see(false, ms(250));
        assert_eq!((clicks.deadline(), clicks.conclude()), (Some(ms(550)), Some("single")));
    }

    #[test]
    fn an_edge_that_is_clicked_twice_changes_nothing() {
        let mut clicks = Clicks::new(DOUBLE_WITHIN, LONG_AFTER, false);
        for (pressed, at) in [(false, 0), (true, 10), (true, 20), (false, 30), (false, 40)] {
            clicks.see(pressed, ms(at));
        }
        assert_eq!((clicks.deadline(), clicks.conclude()), (Some(ms(330)), Some("single")));
    }
}
