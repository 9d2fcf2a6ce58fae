//! What one connection subscribes to: what waits, what is asked for, and what became of the commands. Pure.
//!
//! One subscription is under way at a time, so that an end of the connection can be attributed to it. First come commands and our own
//! status; when everything has been published follow the extras, the peer's status and our own health. An extra is given up when it
//! is not answered; commands never are, but they can be suspended from the start, or held back because the broker hangs up on them.

use std::collections::VecDeque;
use std::time::Duration;

use super::open_requests::Request;
use super::session::Grant;

/// How long an answer is waited for: then neither `online` nor the readings wait any more, and an extra is given up.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Whether commands may be subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Commands {
    /// They may.
    Allowed,
    /// Not before this time: a message on their topics is so large that it ends every connection.
    Suspended { until: Duration },
    /// Not as long as the broker is known to hang up on that.
    HeldBack,
}

/// A subscription that was sent.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) request: Request,
    /// The topics of its filters.
    pub(super) filters: Vec<String>,
}

/// What one connection subscribes to.
#[derive(Debug)]
pub(super) struct Subscriptions {
    /// In the order in which they are sent.
    waiting: VecDeque<Request>,
    /// Sent and not answered.
    asked: Option<Asked>,
    commands: Commands,
    /// The filters of commands that the broker has granted.
    granted: Vec<String>,
    /// Whether the broker has granted our own status.
    hears_status: bool,
    /// When our own health was asked for.
    health: Option<Duration>,
    /// The topic of the peer that was asked for last, and when.
    peer: Option<(String, Duration)>,
}

impl Subscriptions {
    /// Nothing is subscribed to; commands are `suspended` until that time.
    pub(super) fn new(suspended: Option<Duration>) -> Self {
        Self {
            waiting: VecDeque::new(),
            asked: None,
            commands: suspended.map_or(Commands::Allowed, |until| Commands::Suspended { until }),
            granted: Vec::new(),
            hears_status: false,
            health: None,
            peer: None,
        }
    }

    /// Puts a subscription behind those that wait.
    pub(super) fn want(&mut self, request: Request) {
        self.waiting.push_back(request);
    }

    /// Takes the next one that is to be sent. One that the broker hangs up on is left out; commands are then held back.
    pub(super) fn take_next(&mut self, is_held_back: impl Fn(&Request) -> bool) -> Option<Request> {
        while let Some(request) = self.waiting.pop_front() {
            if !is_held_back(&request) {
                return Some(request);
            }
            if request == Request::Commands {
                self.commands = Commands::HeldBack;
            }
        }
        None
    }

    /// It was sent, with filters of these topics.
    pub(super) fn sent(&mut self, request: Request, filters: Vec<String>) {
        self.asked = Some(Asked { request, filters });
    }

    /// The broker's answer to what was sent last; returns what that was. It stays under way when the answer was lost: then the end of
    /// the connection follows, or [`ANSWER_TIMEOUT`].
    pub(super) fn answered(&mut self, grant: &Grant) -> Option<Asked> {
        let asked = self.asked.take_if(|_| *grant != Grant::Lost)?;
        match (&asked.request, grant) {
            (Request::Commands, Grant::Granted) => self.granted.clone_from(&asked.filters),
            (Request::Status | Request::Publish(_), Grant::Granted) => self.hears_status = true,
            _ => {}
        }
        Some(asked)
    }

    /// Gives up what is not answered in time and must not hold up others; returns it. `waited` is the age of the connection. Our own
    /// status is given up only for something that waits behind it: should its answer come after all, it counts.
    pub(super) fn give_up_overdue(&mut self, waited: Duration, now: Duration) -> Option<Request> {
        let is_overdue = |at: Duration| now.saturating_sub(at) >= ANSWER_TIMEOUT;
        let gives_up = match &self.asked.as_ref()?.request {
            Request::Health => self.health.is_some_and(is_overdue),
            Request::Peer => self.peer.as_ref().is_some_and(|(_, at)| is_overdue(*at)),
            Request::Status => !self.waiting.is_empty() && waited >= ANSWER_TIMEOUT,
            Request::Commands | Request::Publish(_) => false,
        };
        self.asked.take_if(|_| gives_up).map(|asked| asked.request)
    }

    /// What was sent and is not answered.
    pub(super) fn under_way(&self) -> Option<&Request> {
        self.asked.as_ref().map(|asked| &asked.request)
    }

    /// Whether something is still to be sent.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether our own status comes to us.
    pub(super) fn hears_status(&self) -> bool {
        self.hears_status
    }

    /// Whether commands are suspended.
    pub(super) fn is_suspended(&self) -> bool {
        matches!(self.commands, Commands::Suspended { .. })
    }

    /// Ends the suspension when it is time; `true` when it has just ended.
    pub(super) fn end_suspension(&mut self, now: Duration) -> bool {
        let is_over = matches!(self.commands, Commands::Suspended { until } if until <= now);
        if is_over {
            self.commands = Commands::Allowed;
        }
        is_over
    }

    /// Nothing takes commands any more: they need not be subscribed to.
    pub(super) fn forget_commands(&mut self) {
        if self.commands == Commands::HeldBack {
            self.commands = Commands::Allowed;
        }
        self.waiting.retain(|request| *request != Request::Commands);
    }

    /// Other things take commands now, with these filters; `true` when they must be subscribed to and wait for that from now on.
    pub(super) fn want_commands(&mut self, filters: &[String]) -> bool {
        let is_waiting = self.commands != Commands::Allowed || self.waiting.contains(&Request::Commands);
        let hears_all = filters.iter().all(|filter| self.granted.contains(filter));
        let wants = !is_waiting && !hears_all;
        if wants {
            self.want(Request::Commands);
        }
        wants
    }

    /// Commands were held back and need not be any more, unless `is_held_back`; `true` when they wait to be sent from now on.
    pub(super) fn retry_commands(&mut self, is_held_back: impl FnOnce() -> bool) -> bool {
        let retries = self.commands == Commands::HeldBack && self.asked.is_none() && !is_held_back();
        if retries {
            self.commands = Commands::Allowed;
            self.want(Request::Commands);
        }
        retries
    }

    /// Whether extras may be subscribed to: nothing else is under way or waits, and commands are not suspended.
    pub(super) fn takes_extras(&self) -> bool {
        !self.is_suspended() && self.asked.is_none() && self.waiting.is_empty()
    }

    /// Our own health is subscribed to once on a connection, and only beside our status; `true` when it waits from now on.
    pub(super) fn want_health(&mut self, now: Duration) -> bool {
        let wants = self.takes_extras() && self.hears_status && self.health.is_none();
        if wants {
            self.health = Some(now);
            self.want(Request::Health);
        }
        wants
    }

    /// The topic of the peer that was asked for last.
    pub(super) fn peer(&self) -> Option<&str> {
        self.peer.as_ref().map(|(topic, _)| topic.as_str())
    }

    /// The peer speaks on this topic now, or there is none; `true` when it waits from now on.
    pub(super) fn want_peer(&mut self, topic: Option<String>, now: Duration) -> bool {
        self.peer = topic.map(|topic| (topic, now));
        if self.peer.is_some() {
            self.want(Request::Peer);
        }
        self.peer.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);
    const OUTPUTS: &str = "b/actuators/+/set";
    const VARIABLES: &str = "b/variables/+/set";

    fn filters(topics: &[&str]) -> Vec<String> {
        topics.iter().map(|topic| (*topic).to_owned()).collect()
    }

    /// Takes what is next and sends it, with filters of these topics.
    fn send_next(subscriptions: &mut Subscriptions, topics: &[&str]) -> Option<Request> {
        let request = subscriptions.take_next(|_| false)?;
        subscriptions.sent(request.clone(), filters(topics));
        Some(request)
    }

    /// Commands and our status are granted.
    fn greeted() -> Subscriptions {
        let mut subscriptions = Subscriptions::new(None);
        subscriptions.want(Request::Commands);
        subscriptions.want(Request::Status);
        for request in [Request::Commands, Request::Status] {
            assert!(!subscriptions.takes_extras(), "the greeting comes first");
            assert_eq!(send_next(&mut subscriptions, &[OUTPUTS]), Some(request.clone()));
            assert_eq!(subscriptions.answered(&Grant::Granted).map(|asked| asked.request), Some(request));
        }
        subscriptions
    }

    #[test]
    fn one_is_under_way_at_a_time_in_the_order_in_which_they_were_wanted() {
        let mut subscriptions = greeted();
        assert!(subscriptions.hears_status() && subscriptions.takes_extras());
        assert_eq!((send_next(&mut subscriptions, &[]), subscriptions.under_way()), (None, None));
    }

    #[test]
    fn a_lost_answer_leaves_it_under_way_and_a_refusal_grants_nothing() {
        let mut subscriptions = Subscriptions::new(None);
        subscriptions.want(Request::Status);
        send_next(&mut subscriptions, &["b/status"]);
        assert!(subscriptions.answered(&Grant::Lost).is_none());
        assert_eq!(subscriptions.under_way(), Some(&Request::Status));
        let refused = subscriptions.answered(&Grant::Refused("no".into())).unwrap();
        assert_eq!((refused.request, refused.filters), (Request::Status, filters(&["b/status"])));
        assert!(!subscriptions.hears_status() && subscriptions.under_way().is_none());
    }

    #[test]
    fn commands_are_asked_for_again_only_where_a_filter_is_not_granted_yet() {
        let mut subscriptions = greeted();
        assert!(!subscriptions.want_commands(&filters(&[OUTPUTS])));
        assert!(subscriptions.want_commands(&filters(&[OUTPUTS, VARIABLES])));
        assert!(!subscriptions.want_commands(&filters(&[OUTPUTS, VARIABLES])), "they wait already");
        subscriptions.forget_commands();
        assert!(!subscriptions.has_waiting());
    }

    #[test]
    fn commands_are_held_back_until_the_broker_may_be_tried_again() {
        let mut subscriptions = greeted();
        let wanted = filters(&[VARIABLES]);
        assert!(subscriptions.want_commands(&wanted));
        assert_eq!(subscriptions.take_next(|request| *request == Request::Commands), None);
        assert!(!subscriptions.want_commands(&wanted) && !subscriptions.retry_commands(|| true));
        assert!(subscriptions.retry_commands(|| false) && !subscriptions.retry_commands(|| false));
        assert_eq!(send_next(&mut subscriptions, &[VARIABLES]), Some(Request::Commands));
        subscriptions.want(Request::Commands);
        assert!(subscriptions.answered(&Grant::Granted).is_some());
        assert_eq!(subscriptions.take_next(|_| true), None);
        subscriptions.forget_commands();
        assert!(!subscriptions.retry_commands(|| false), "nothing takes commands");
    }

    #[test]
    fn suspended_commands_wait_for_their_time_and_hold_up_the_extras() {
        let mut subscriptions = Subscriptions::new(Some(NOW));
        assert!(!subscriptions.want_commands(&filters(&[OUTPUTS])) && !subscriptions.takes_extras());
        assert!(!subscriptions.end_suspension(NOW - Duration::from_millis(1)) && subscriptions.is_suspended());
        assert!(subscriptions.end_suspension(NOW) && !subscriptions.end_suspension(NOW));
        assert!(subscriptions.want_commands(&filters(&[OUTPUTS])));
    }

    #[test]
    fn an_extra_is_asked_for_once_and_given_up_when_it_is_not_answered() {
        let mut subscriptions = greeted();
        assert!(subscriptions.want_health(NOW) && !subscriptions.want_health(NOW));
        send_next(&mut subscriptions, &["b/health"]);
        let early = NOW + ANSWER_TIMEOUT - Duration::from_millis(1);
        assert_eq!(subscriptions.give_up_overdue(NOW, early), None);
        assert_eq!(subscriptions.give_up_overdue(NOW, NOW + ANSWER_TIMEOUT), Some(Request::Health));
        assert!(!subscriptions.want_health(NOW) && subscriptions.takes_extras());
        assert!(subscriptions.want_peer(Some("ha/status".into()), NOW));
        send_next(&mut subscriptions, &["ha/status"]);
        assert_eq!(subscriptions.give_up_overdue(NOW, early), None);
        assert_eq!(subscriptions.give_up_overdue(NOW, NOW + ANSWER_TIMEOUT), Some(Request::Peer));
        assert!(subscriptions.peer() == Some("ha/status") && !subscriptions.want_peer(None, NOW));
        assert_eq!(subscriptions.peer(), None);
    }

    #[test]
    fn our_status_is_given_up_for_what_waits_behind_it_and_commands_never() {
        let mut subscriptions = Subscriptions::new(None);
        subscriptions.want(Request::Status);
        send_next(&mut subscriptions, &["b/status"]);
        assert_eq!(subscriptions.give_up_overdue(ANSWER_TIMEOUT, NOW), None);
        subscriptions.want(Request::Commands);
        assert_eq!(subscriptions.give_up_overdue(ANSWER_TIMEOUT - Duration::from_millis(1), NOW), None);
        assert_eq!(subscriptions.give_up_overdue(ANSWER_TIMEOUT, NOW), Some(Request::Status));
        send_next(&mut subscriptions, &[OUTPUTS]);
        assert_eq!(subscriptions.give_up_overdue(2 * ANSWER_TIMEOUT, NOW), None);
    }
}
