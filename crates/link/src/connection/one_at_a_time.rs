//! One request at a time, because it is not certain which one ended the connection before. Pure.
//!
//! A publication at QoS 0 has no answer, so while this lasts the first one on a topic keeps its place in the window for a moment: nothing
//! else is then under way if the broker hangs up on it. Those behind it do not, or a sensor at QoS 0 would hold up all others.

use std::time::Duration;

use crate::backoff::STABLE_AFTER;
use crate::inflight::Ticket;
use crate::session::PublishOutcome;

/// After so many answers it ends: all that is published at a connect was answered.
const ENOUGH_ANSWERS: usize = 64;

/// How long nothing follows the first publication at QoS 0 on a topic.
const LINGER: Duration = Duration::from_millis(250);

/// A publication at QoS 0 that is written and keeps its place.
#[derive(Debug)]
pub(crate) struct Lingering {
    ticket: Ticket,
    outcome: PublishOutcome,
    since: Duration,
}

/// Whether one request at a time is sent.
#[derive(Debug)]
pub(crate) enum OneAtATime {
    /// As many as the broker allows.
    Off,
    /// One, and what of it is written and keeps its place.
    On { lingering: Vec<Lingering> },
}

impl OneAtATime {
    /// At the begin of a connection.
    pub(crate) fn new(is_on: bool) -> Self {
        if is_on { Self::On { lingering: Vec::new() } } else { Self::Off }
    }

    /// Whether one request at a time is sent.
    pub(crate) fn is_on(&self) -> bool {
        matches!(self, Self::On { .. })
    }

    /// Whether so much was answered, or the connection has lasted for so long, that it can end.
    pub(crate) fn is_over(&self, answers: usize, lasted: Duration) -> bool {
        self.is_on() && (answers >= ENOUGH_ANSWERS || lasted >= STABLE_AFTER)
    }

    /// Keeps the place of a publication that was written; the outcome comes back from [`Self::take_due`], or from [`Self::end`].
    pub(crate) fn linger(&mut self, ticket: Ticket, outcome: PublishOutcome, now: Duration) {
        if let Self::On { lingering } = self {
            lingering.push(Lingering { ticket, outcome, since: now });
        }
    }

    /// What has kept its place for long enough.
    pub(crate) fn take_due(&mut self, now: Duration) -> Vec<(Ticket, PublishOutcome)> {
        let Self::On { lingering } = self else { return Vec::new() };
        let is_due = |written: &mut Lingering| now.saturating_sub(written.since) >= LINGER;
        lingering.extract_if(.., is_due).map(Lingering::into_parts).collect()
    }

    /// From now on as many are sent as the broker allows; returns what still kept its place.
    pub(crate) fn end(&mut self) -> Vec<(Ticket, PublishOutcome)> {
        match std::mem::replace(self, Self::Off) {
            Self::Off => Vec::new(),
            Self::On { lingering } => lingering.into_iter().map(Lingering::into_parts).collect(),
        }
    }
}

impl Lingering {
    fn into_parts(self) -> (Ticket, PublishOutcome) {
        (self.ticket, self.outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inflight::{InFlight, Window};

    const NOW: Duration = Duration::from_secs(100);
    const MOMENT: Duration = Duration::from_millis(1);

    #[test]
    fn it_ends_after_enough_answers_or_when_the_connection_has_held() {
        let mode = OneAtATime::new(true);
        assert!(!mode.is_over(ENOUGH_ANSWERS - 1, STABLE_AFTER - MOMENT));
        assert!(mode.is_over(ENOUGH_ANSWERS, Duration::ZERO) && mode.is_over(0, STABLE_AFTER));
        assert!(!OneAtATime::new(false).is_over(ENOUGH_ANSWERS, STABLE_AFTER), "it was never on");
    }

    #[test]
    fn what_is_written_keeps_its_place_for_a_moment_or_until_the_end() {
        let mut window = Window::new(8);
        let [first, second] = [window.enter(InFlight::Birth), window.enter(InFlight::Birth)];
        let mut mode = OneAtATime::new(true);
        mode.linger(first, PublishOutcome::Acknowledged, NOW);
        mode.linger(second, PublishOutcome::Acknowledged, NOW + MOMENT);
        assert_eq!(mode.take_due(NOW + LINGER - MOMENT), []);
        assert_eq!(mode.take_due(NOW + LINGER), [(first, PublishOutcome::Acknowledged)]);
        assert_eq!(mode.end(), [(second, PublishOutcome::Acknowledged)]);
        assert!(!mode.is_on() && mode.end().is_empty());
    }
}
