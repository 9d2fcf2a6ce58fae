//! The requests of one connection, so that its end can be attributed to one of them. Pure.
//!
//! A broker that forbids a request and cannot say so, as in all of MQTT 3.1.1, closes the connection. The reason is then a
//! request that it has not answered. A topic that was answered on this connection is not suspected: the same message would have
//! ended the connection before.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::inflight::Ticket;

/// A publication at QoS 0 has no answer; a connection that outlives it by this much has survived it.
const SURVIVED: Duration = Duration::from_secs(2);

/// Topics remembered as answered. Ours are far fewer; requesters choose their own.
const TOPICS_LIMIT: usize = 1024;

/// Something that the broker may end a connection over.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Request {
    /// To publish on this topic.
    Publish(String),
    /// To subscribe to commands.
    Commands,
    /// To subscribe to our own status.
    Status,
    /// To subscribe to our own health.
    Health,
    /// To subscribe to what the peer says of itself.
    Peer,
}

/// The request that ended a connection, as far as that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Blame {
    pub request: Request,
    /// Whether it was to be retained.
    pub retain: bool,
}

/// Names a request on its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestId {
    Publication(Ticket),
    /// The subscription that is under way; there is one at a time.
    Subscription,
}

#[derive(Debug)]
struct Open {
    id: RequestId,
    blame: Blame,
    /// Whether an answer will come.
    answered: bool,
}

/// The requests of one connection.
#[derive(Debug, Default)]
pub(super) struct OpenRequests {
    /// Under way, oldest first, as they are mostly answered: taking out the first must not move the others.
    open: VecDeque<Open>,
    cleared: BTreeSet<String>,
    /// Topics that were written at QoS 0, and when first.
    written: BTreeMap<String, Duration>,
    last_written: Option<(Blame, Duration)>,
    answers: usize,
}

impl OpenRequests {
    /// A request is sent; `answered` says that the broker answers it, as all but QoS 0.
    pub(super) fn sent(&mut self, id: RequestId, blame: Blame, answered: bool) {
        self.open.push_back(Open { id, blame, answered });
    }

    /// Whether the publication gets no answer from the broker, and none on its topic was written before.
    pub(super) fn is_untried(&self, ticket: Ticket) -> bool {
        let open = self.open.iter().find(|open| open.id == RequestId::Publication(ticket));
        open.is_some_and(|Open { blame, answered, .. }| {
            !answered && !matches!(&blame.request, Request::Publish(topic) if self.written.contains_key(topic))
        })
    }

    /// The broker has answered, or a publication at QoS 0 is written; returns what it was.
    pub(super) fn done(&mut self, id: RequestId, now: Duration) -> Option<Request> {
        let at = self.open.iter().position(|open| open.id == id)?;
        let Open { blame, answered, .. } = self.open.remove(at)?;
        self.answers += 1;
        if let Request::Publish(topic) = &blame.request {
            if answered {
                if !self.cleared.contains(topic) && self.cleared.len() < TOPICS_LIMIT {
                    self.cleared.insert(topic.clone());
                }
            } else {
                if !self.written.contains_key(topic) && self.written.len() < TOPICS_LIMIT {
                    self.written.insert(topic.clone(), now);
                }
                self.last_written = Some((blame.clone(), now));
            }
        }
        answered.then_some(blame.request)
    }

    /// Requests that were answered or written.
    pub(super) fn answers(&self) -> usize {
        self.answers
    }

    /// Whether this is under way.
    pub(super) fn is_open(&self, request: &Request) -> bool {
        self.open.iter().any(|open| open.blame.request == *request)
    }

    /// What an end at `now` is about: the oldest request without an answer, or else what was written last at QoS 0.
    pub(super) fn blame(&self, now: Duration) -> Option<Blame> {
        let is_cleared = |request: &Request| match request {
            Request::Publish(topic) => {
                let survived = |at: &Duration| now.saturating_sub(*at) >= SURVIVED;
                self.cleared.contains(topic) || self.written.get(topic).is_some_and(survived)
            }
            Request::Commands | Request::Status | Request::Health | Request::Peer => false,
        };
        let open = self.open.iter().map(|open| &open.blame).find(|blame| !is_cleared(&blame.request));
        let written = || {
            let (blame, at) = self.last_written.as_ref()?;
            (now.saturating_sub(*at) < SURVIVED && !is_cleared(&blame.request)).then_some(blame)
        };
        open.or_else(written).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inflight::{InFlight, Window};

    const NOW: Duration = Duration::from_secs(100);

    fn publish(topic: &str) -> Blame {
        Blame { request: Request::Publish(topic.into()), retain: false }
    }

    fn tickets() -> impl FnMut() -> RequestId {
        let mut window = Window::new(64);
        move || RequestId::Publication(window.enter(InFlight::Birth))
    }

    #[test]
    fn the_oldest_without_an_answer_is_to_blame_unless_its_topic_was_answered() {
        let (mut open_requests, mut next) = (OpenRequests::default(), tickets());
        let ids = [next(), next(), next()];
        for (id, topic) in ids.into_iter().zip(["air", "devices", "health"]) {
            open_requests.sent(id, publish(topic), true);
        }
        assert_eq!(open_requests.blame(NOW), Some(publish("air")));
        open_requests.done(ids[0], NOW);
        open_requests.sent(next(), publish("air"), true);
        assert_eq!(open_requests.blame(NOW), Some(publish("devices")));
        ids.iter().for_each(|id| drop(open_requests.done(*id, NOW)));
        assert_eq!(open_requests.blame(NOW), None, "air has been answered once");
    }

    #[test]
    fn what_was_written_last_is_to_blame_when_nothing_else_is_open_and_only_for_a_moment() {
        let (mut open_requests, mut next) = (OpenRequests::default(), tickets());
        let id = next();
        open_requests.sent(id, publish("air"), false);
        assert_eq!(open_requests.done(id, NOW), None, "nobody has answered");
        assert_eq!(open_requests.blame(NOW + SURVIVED / 2), Some(publish("air")));
        assert_eq!(open_requests.blame(NOW + SURVIVED), None);
        let id = next();
        open_requests.sent(id, publish("air"), false);
        open_requests.done(id, NOW + SURVIVED);
        assert_eq!(open_requests.blame(NOW + SURVIVED), None, "the topic has survived once");
    }

    #[test]
    fn what_is_under_way_is_open_until_it_is_answered_and_at_qos_0_no_answer_comes() {
        let mut window = Window::new(64);
        let [assured, plain] = [window.enter(InFlight::Birth), window.enter(InFlight::Birth)];
        let (mut open_requests, id) = (OpenRequests::default(), RequestId::Publication);
        open_requests.sent(id(assured), publish("air"), true);
        open_requests.sent(id(plain), publish("door"), false);
        assert!(open_requests.is_untried(plain) && !open_requests.is_untried(assured));
        let open =
            |open_requests: &OpenRequests| ["air", "door"].map(|topic| open_requests.is_open(&publish(topic).request));
        assert_eq!((open(&open_requests), open_requests.answers()), ([true, true], 0));
        open_requests.done(id(plain), NOW);
        assert_eq!((open(&open_requests), open_requests.answers()), ([true, false], 1));
        let [again, other] = [window.enter(InFlight::Birth), window.enter(InFlight::Birth)];
        open_requests.sent(id(again), publish("door"), false);
        open_requests.sent(id(other), publish("window"), false);
        assert!(open_requests.is_untried(other) && !open_requests.is_untried(again));
        open_requests.done(id(assured), NOW);
        open_requests.done(id(again), NOW);
        assert_eq!((open(&open_requests), open_requests.answers()), ([false, false], 3));
    }

    #[test]
    fn a_subscription_without_an_answer_is_to_blame() {
        let mut open_requests = OpenRequests::default();
        open_requests.sent(RequestId::Subscription, Blame { request: Request::Commands, retain: false }, true);
        assert_eq!(open_requests.blame(NOW).map(|blame| blame.request), Some(Request::Commands));
        assert_eq!(open_requests.done(RequestId::Subscription, NOW), Some(Request::Commands));
        assert_eq!(open_requests.blame(NOW), None);
    }
}
