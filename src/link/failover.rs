//! Which broker is tried when, and what is known of each. Pure: time and chance are arguments.
//!
//! The list is a failover order. Each broker has a state of its own ([`BrokerState`]): how long it is left alone, what it does
//! not offer, how its connections end. What one of them refuses says nothing about the others.

#[cfg(test)]
mod tests;

use std::time::Duration;

use super::alarms::{About, News};
use super::backoff::{Backoff, HELD, SHORT_MAX, TAKEN_OVER_TIMES, TAKEN_OVER_WITHIN};
use super::dialect::Dialect;
use super::preference::Preference;
use super::session::{CauseKind, Connected, Will};
use super::{Protocol, ProtocolChoice};
use crate::model::Qos;

/// From so many connections in a row on that a too large message ended, the next does without commands. Under 3.1.1 we cannot
/// tell the broker how much we take, and a retained command comes again at each subscription.
const DROWNED_TIMES: usize = 2;

/// A limit that was learnt the hard way is forgotten after this time, so that a broker that was mended is noticed: the next
/// connect may then cost an attempt.
const LEARN_AGAIN: Duration = Duration::from_secs(3600);

/// What is known of one broker.
#[derive(Debug)]
struct BrokerState {
    backoff: Backoff,
    dialect: Dialect,
    /// Not tried before.
    ready: Duration,
    /// When it refused a will at QoS 1.
    no_qos: Option<Duration>,
    /// When it refused a will with the retain flag.
    no_retain: Option<Duration>,
    /// What it offered at the last connect.
    offered: Option<(Qos, bool)>,
    /// Connections in a row that ended soon and without a word.
    brief: usize,
    /// The same, but all of them closed orderly, and no attempt failed between them.
    closed: usize,
    /// Connections in a row that a message ended which is larger than we take.
    drowned: usize,
}

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
    pub news: Vec<News>,
    /// Until the next attempt, at the broker that is then in turn.
    pub wait: Duration,
}

impl Failover {
    /// For `count` brokers, at least one, with waits between `min` and `max`. `identifier` is our client id, for the alarms.
    pub(super) fn new(count: usize, min: Duration, max: Duration, identifier: String) -> Self {
        let brokers = (0..count.max(1)).map(|_| BrokerState::new(Backoff::new(min, max))).collect();
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

    /// Whether the broker in turn, which has just accepted us, has turned out to know MQTT 3.1.1 only.
    pub(super) fn is_old(&mut self, now: Duration) -> bool {
        self.current().dialect.accepted(now)
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

    /// How the will of the next attempt is left.
    pub(super) fn will(&mut self, now: Duration) -> Will {
        let broker = self.current();
        let expired = |at: &mut Option<Duration>| *at = at.filter(|at| now.saturating_sub(*at) < LEARN_AGAIN);
        expired(&mut broker.no_qos);
        expired(&mut broker.no_retain);
        Will { assured: broker.no_qos.is_none(), retain: broker.no_retain.is_none() }
    }

    /// Whether commands are left alone for a while, because one of them ends every connection that subscribes to them.
    pub(super) fn is_deaf(&self) -> bool {
        self.brokers[self.turn].drowned >= DROWNED_TIMES
    }

    /// The broker in turn has accepted us.
    pub(super) fn accepted(&mut self, connected: &Connected, now: Duration) -> Vec<News> {
        let broker = self.current();
        let mut news = Vec::new();
        let offers = (connected.maximum_qos, connected.retain_available);
        // What is as it was keeps its alarm, which would only be raised again.
        if broker.offered != Some(offers) {
            if broker.no_qos.is_none() {
                news.push(News::Clear(About::Qos));
            }
            if broker.no_retain.is_none() {
                news.push(News::Clear(About::Retain));
            }
        }
        broker.offered = Some(offers);
        if !broker.backoff.contended(now) {
            news.push(News::Clear(About::TakenOver));
        }
        news
    }

    /// An attempt at the broker in turn failed.
    pub(super) fn failed(&mut self, kind: CauseKind, now: Duration, chance: f64) -> Outcome {
        if self.current().dialect.failed(kind) {
            return Outcome { news: Vec::new(), wait: Duration::ZERO };
        }
        let broker = self.current();
        broker.backoff.failed(kind == CauseKind::Refused);
        broker.closed = 0;
        let news = broker.learn(kind, now);
        // A broker that wants another form of the will is asked again at once.
        let asked_again = !news.is_empty();
        let prefer = if asked_again { self.turn } else { self.turn + 1 };
        let outcome = self.schedule(news, prefer, now, chance);
        let left = if asked_again { None } else { self.preference.refused() };
        self.go_back(left, outcome)
    }

    /// A connection to the broker in turn was held for `held` and then lost.
    pub(super) fn ended(&mut self, kind: CauseKind, held: Duration, now: Duration, chance: f64) -> Outcome {
        let identifier = self.identifier.clone();
        let broker = self.current();
        broker.backoff.lost(held);
        let mut news = broker.learn(kind, now);
        news.extend(broker.count_brief(held < HELD, kind, &identifier));
        broker.drowned = if kind == CauseKind::TooLarge { broker.drowned + 1 } else { 0 };
        if kind == CauseKind::TakenOver && broker.backoff.taken_over(now) {
            let words = format!(
                "another client keeps taking over our identifier {identifier:?}; give each its own mqtt.client_id"
            );
            news.push(News::Raise(About::TakenOver, words));
        }
        // A broker that held us is worth leaving only for the first of the list; one that drops us at once is not tried twice
        // in a row.
        let prefer = if held >= HELD { 0 } else { self.turn + 1 };
        let left = self.preference.ended(self.turn, held >= HELD);
        let outcome = self.schedule(news, prefer, now, chance);
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

    fn current(&mut self) -> &mut BrokerState {
        &mut self.brokers[self.turn]
    }

    /// Chooses the next broker: the first from `prefer` on whose time comes soon, else the one whose time comes first.
    fn schedule(&mut self, news: Vec<News>, prefer: usize, now: Duration, chance: f64) -> Outcome {
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
        Outcome { news, wait: due(self.turn).saturating_sub(now) }
    }
}

impl BrokerState {
    fn new(backoff: Backoff) -> Self {
        let dialect = Dialect::new(Protocol::V5.into());
        let (no_qos, no_retain, offered) = (None, None, None);
        Self { backoff, dialect, ready: Duration::ZERO, no_qos, no_retain, offered, brief: 0, closed: 0, drowned: 0 }
    }

    /// What the broker has said that it does not offer.
    fn learn(&mut self, kind: CauseKind, now: Duration) -> Vec<News> {
        match kind {
            CauseKind::WillQos => {
                self.no_qos = Some(now);
                let words = "the broker offers QoS 0 only; everything is published at that";
                vec![News::Raise(About::Qos, words.into())]
            }
            CauseKind::WillRetain => {
                self.no_retain = Some(now);
                vec![News::Raise(About::Retain, RETAINS_NOTHING.into())]
            }
            _ => Vec::new(),
        }
    }

    /// Many brokers, and all of 3.1.1, do not say that another client took over; they only close.
    fn count_brief(&mut self, brief: bool, kind: CauseKind, identifier: &str) -> Option<News> {
        // A reset says nothing: a broker that has not read all that we sent ends by one as well.
        match (brief, kind) {
            (true, CauseKind::Closed) => (self.brief, self.closed) = (self.brief + 1, self.closed + 1),
            (true, CauseKind::Reset) => self.brief += 1,
            _ => (self.brief, self.closed) = (0, 0),
        }
        if self.closed >= TAKEN_OVER_TIMES {
            self.backoff.suspect();
        }
        (self.brief >= TAKEN_OVER_TIMES).then(|| {
            let words = format!(
                "the broker closes each connection soon after it accepted it; does another client use our identifier \
                 {identifier:?}?"
            );
            News::Raise(About::Brief, words)
        })
    }
}

/// The words of [`About::Retain`].
pub(super) const RETAINS_NOTHING: &str =
    "the broker retains no messages; status and states are published only at each connect and when they change";

/// What a connection that has lasted for `held` proves wrong.
pub(super) fn disproved(held: Duration) -> impl Iterator<Item = News> {
    let brief = (held >= HELD).then_some(About::Brief);
    let taken_over = (held >= TAKEN_OVER_WITHIN).then_some(About::TakenOver);
    brief.into_iter().chain(taken_over).map(News::Clear)
}
