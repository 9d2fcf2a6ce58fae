//! Which broker is tried when, and what is known of each. Pure: time and chance are arguments.
//!
//! The list is a failover order. Each broker has a state of its own ([`BrokerState`]): how long it is left alone, what it does
//! not offer, how its connections end. What one of them refuses says nothing about the others.

#[cfg(test)]
mod tests;

use std::time::Duration;

use super::alarms::{About, AlarmChange};
use super::backoff::{Backoff, SHORT_MAX, STABLE_AFTER, TAKEN_OVER_WITHIN};
use super::broker_state::BrokerState;
use super::dialect::{Accepted, Dialect};
use super::open_requests::Blame;
use super::preference::Preference;
use super::session::{Cause, CauseKind};
use super::{Protocol, ProtocolChoice};

/// All brokers of the list.
#[derive(Debug)]
pub(super) struct Failover {
    brokers: Vec<BrokerState>,
    turn: usize,
    preference: Preference,
    identifier: String,
}

/// What follows from the end of an attempt or of a connection.
#[derive(Debug)]
pub(super) struct Outcome {
    /// For the alarms of the broker that it is about.
    pub alarm_changes: Vec<AlarmChange>,
    /// Until the next attempt, at the broker that is then in turn.
    pub wait: Duration,
}

impl Failover {
    /// For `count` brokers, at least one, with waits between `min` and `max`. `identifier` is our client id, for the alarms;
    /// `needs_status` says that no command is taken without hearing our own status.
    pub(super) fn new(count: usize, min: Duration, max: Duration, identifier: String, needs_status: bool) -> Self {
        let state = || BrokerState::new(Backoff::new(min, max), needs_status);
        let brokers = (0..count.max(1)).map(|_| state()).collect();
        Self { brokers, turn: 0, preference: Preference::new(None), identifier }
    }

    /// By which generations of MQTT, and how often the first broker is looked at while another serves.
    pub(super) fn with(mut self, protocol: ProtocolChoice, prefer_first: Option<Duration>) -> Self {
        self.brokers.iter_mut().for_each(|broker| broker.dialect = Dialect::new(protocol));
        Self { preference: Preference::new(prefer_first), ..self }
    }

    /// Whose turn it is.
    pub(super) fn turn(&self) -> usize {
        self.turn
    }

    /// The identifier under which we connect.
    pub(super) fn identifier(&self) -> &str {
        &self.identifier
    }

    /// By which generation of MQTT the next attempt is made.
    pub(super) fn protocol(&mut self, now: Duration) -> Protocol {
        self.current().dialect.next(now)
    }

    /// The broker in turn has just accepted us; what that says about its generation of MQTT.
    pub(super) fn accepted(&mut self, now: Duration) -> Accepted {
        self.current().dialect.accepted(now)
    }

    /// What is known of the first broker, of which another may be in turn.
    pub(super) fn first(&mut self) -> &mut BrokerState {
        &mut self.brokers[0]
    }

    /// How long to wait before the first broker is looked at, and between two looks; `None`: it is not.
    pub(super) fn look_at_first(&self) -> Option<Duration> {
        self.preference.wait(self.turn)
    }

    /// The first broker can be reached, so the one in turn has been left for it.
    pub(super) fn change_to_first(&mut self) {
        self.preference.change(self.turn);
        self.turn = 0;
    }

    /// What is known of the broker in turn.
    pub(super) fn current(&mut self) -> &mut BrokerState {
        &mut self.brokers[self.turn]
    }

    /// An attempt at the broker in turn failed.
    pub(super) fn failed(&mut self, kind: CauseKind, now: Duration, chance: f64) -> Outcome {
        if self.current().dialect.failed(kind) {
            return Outcome { alarm_changes: Vec::new(), wait: Duration::ZERO };
        }
        let alarm_changes = self.current().failed(kind, now);
        // A broker that wants another form of the will is asked again at once.
        let asked_again = !alarm_changes.is_empty();
        let prefer = if asked_again { self.turn } else { self.turn + 1 };
        let outcome = self.schedule(alarm_changes, prefer, now, chance);
        let left = if asked_again { None } else { self.preference.refused() };
        self.go_back(left, outcome)
    }

    /// A connection to the current broker lasted for `lasted` and then ended; `blame` names the request that ended it, if that is
    /// known.
    pub(super) fn ended(
        &mut self,
        cause: &Cause,
        blame: Option<Blame>,
        lasted: Duration,
        now: Duration,
        chance: f64,
    ) -> Outcome {
        let alarm_changes = self.brokers[self.turn].ended(cause, blame, lasted, now, &self.identifier);
        // A broker that was stable is worth leaving only for the first of the list; one that drops us at once is not tried twice
        // in a row.
        let prefer = if lasted >= STABLE_AFTER { 0 } else { self.turn + 1 };
        let left = self.preference.ended(self.turn, lasted >= STABLE_AFTER);
        let outcome = self.schedule(alarm_changes, prefer, now, chance);
        self.go_back(left, outcome)
    }

    /// The broker that served well until it was left for the first has us back at once.
    fn go_back(&mut self, left: Option<usize>, outcome: Outcome) -> Outcome {
        match left {
            Some(left) => {
                self.turn = left;
                Outcome { wait: Duration::ZERO, ..outcome }
            }
            None => outcome,
        }
    }

    /// Chooses the next broker: the first from `prefer` on whose time comes soon, else the one whose time comes first.
    fn schedule(&mut self, alarm_changes: Vec<AlarmChange>, prefer: usize, now: Duration, chance: f64) -> Outcome {
        let (last, count) = (self.turn, self.brokers.len());
        let broker = &mut self.brokers[last];
        broker.ready = now + broker.backoff.wait(now, chance);
        let pause = broker.backoff.pause(chance);
        let due = |index: usize| {
            let ready = self.brokers[index].ready;
            if index == last { ready } else { ready.max(now + pause) }
        };
        let soon = now + pause.max(SHORT_MAX);
        let order = || (0..count).map(|step| (prefer + step) % count);
        let next = order().find(|index| due(*index) <= soon).or_else(|| order().min_by_key(|index| due(*index)));
        self.turn = next.unwrap_or(last);
        Outcome { alarm_changes, wait: due(self.turn).saturating_sub(now) }
    }
}

/// What a connection that has lasted for `lasted` proves wrong.
pub(super) fn disproved(lasted: Duration) -> impl Iterator<Item = AlarmChange> {
    let brief = (lasted >= STABLE_AFTER).then_some(About::Brief);
    let taken_over = (lasted >= TAKEN_OVER_WITHIN).then_some(About::TakenOver);
    brief.into_iter().chain(taken_over).map(AlarmChange::Clear)
}
