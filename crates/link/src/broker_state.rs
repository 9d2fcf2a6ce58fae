//! What is known of one broker of the list. Pure: time is an argument.
//!
//! It lives as long as the link, so it is what one connection learns for the next: limits that the broker does not announce,
//! requests over which it hangs up, and how its connections end.

#[cfg(test)]
mod tests;

use std::time::Duration;

use super::Protocol;
use super::alarms::{About, AlarmChange, BRIEF, TAKEN_OVER};
use super::backoff::{Backoff, STABLE_AFTER, TAKEN_OVER_TIMES};
use super::dialect::Dialect;
use super::open_requests::{Blame, Request};
use super::session::{Cause, CauseKind, Connected, Will};
use super::suspects::{Suspects, Verdict};
use fieldgate_model::Qos;
use fieldgate_model::field::format_duration;

/// After so many connections in a row that a too large message ended, the next one does not subscribe to commands. MQTT 3.1.1 has
/// no maximum packet size to announce to the broker, and a retained command comes again at each subscription.
pub(super) const TOO_LARGE_TIMES: usize = 2;

/// A limit that was found by a failed attempt is forgotten after this time, so that a corrected broker is noticed; if it still
/// applies, the next connect costs one attempt.
pub(super) const LEARN_AGAIN: Duration = Duration::from_secs(3600);

/// From so many closed connects in a row on, every second attempt leaves a will without the retain flag.
const WILL_CLOSES: u32 = 3;

/// The words of [`About::Retain`].
pub(super) const RETAINS_NOTHING: &str = "the broker retains no messages; status and states are published at each connect \
     and when they change, and a subscriber that comes later does not see them; mqtt.retain_state: false accepts that";

const RETAINS_NO_WILL: &str = "the broker accepts no last will with the retain flag: when the gateway is cut off, the \
     retained status goes on to say online; mqtt.retain_state: false does without the flag";

/// Codes with which a broker ends a connection over one request (MQTT 5, 3.14.2.1). The others say something of the broker, the
/// session or the network.
const OVER_A_REQUEST: [u8; 13] = [0x80, 0x81, 0x82, 0x83, 0x87, 0x8F, 0x90, 0x95, 0x97, 0x99, 0x9A, 0x9B, 0xA2];

/// How the attempt that is under way leaves the will.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WillForm {
    /// As is known to be good, or with all that is wanted.
    Usual,
    /// Without the retain flag, to see whether the broker then accepts us.
    Trial,
    /// With the flag once more, since it was accepted without.
    Verify,
}

/// What is known of one broker.
#[derive(Debug)]
pub(super) struct BrokerState {
    pub(super) backoff: Backoff,
    /// Which generation of MQTT it knows.
    pub(super) dialect: Dialect,
    /// Not tried before.
    pub(super) ready: Duration,
    suspects: Suspects,
    /// When it refused a will at QoS 1.
    no_qos: Option<Duration>,
    /// When it refused a will with the retain flag.
    no_retained_will: Option<Duration>,
    /// When it turned out to retain nothing.
    no_retain: Option<Duration>,
    /// When it refused, or hung up on, the subscription to our own status.
    no_status: Option<Duration>,
    /// Whether commands are refused without that subscription, as with a persistent session.
    needs_status: bool,
    /// Whether the last end over that subscription was a reset, which may have been the network's.
    status_reset: bool,
    /// Whether it refused, did not answer, or hung up on the subscription to our own health.
    no_health: bool,
    /// When it refused, did not answer, or hung up on the subscription to what the peer says.
    no_peer: Option<Duration>,
    will: WillForm,
    /// Connects in a row that it closed before it had accepted us.
    closed_connects: u32,
    /// What it offered at the last connect.
    offered: Option<(Qos, bool)>,
    /// Connections in a row that ended soon and without a reason.
    brief: usize,
    /// Connections in a row that ended soon, all of them closed orderly, and no attempt failed between them.
    closed: usize,
    /// Connections in a row that a message ended which is larger than we take.
    too_large_ends: usize,
}

impl BrokerState {
    pub(super) fn new(backoff: Backoff, needs_status: bool) -> Self {
        Self {
            backoff,
            dialect: Dialect::new(Protocol::V5.into()),
            ready: Duration::ZERO,
            suspects: Suspects::default(),
            no_qos: None,
            no_retained_will: None,
            no_retain: None,
            no_status: None,
            needs_status,
            status_reset: false,
            no_health: false,
            no_peer: None,
            will: WillForm::Usual,
            closed_connects: 0,
            offered: None,
            brief: 0,
            closed: 0,
            too_large_ends: 0,
        }
    }

    /// How the will of the next attempt is left.
    pub(super) fn will(&mut self, now: Duration) -> Will {
        for at in [&mut self.no_qos, &mut self.no_retained_will, &mut self.no_retain, &mut self.no_status] {
            *at = at.filter(|at| now.saturating_sub(*at) < LEARN_AGAIN);
        }
        let known = self.no_retained_will.or(self.no_retain).is_some();
        if self.will == WillForm::Usual
            && !known
            && self.closed_connects >= WILL_CLOSES
            && self.closed_connects % 2 == 1
        {
            self.will = WillForm::Trial;
        }
        Will { assured: self.no_qos.is_none(), retain: !known && self.will != WillForm::Trial }
    }

    /// The broker has accepted us; `None` when this connection must be given up at once, to see whether it was the form of the
    /// will that made the difference.
    pub(super) fn accepted(&mut self, connected: &Connected, now: Duration) -> Option<Vec<AlarmChange>> {
        self.closed_connects = 0;
        if self.will == WillForm::Trial {
            self.will = WillForm::Verify;
            return None;
        }
        self.will = WillForm::Usual;
        let mut alarm_changes = Vec::new();
        let offers = (connected.maximum_qos, connected.retain_available);
        // What is as it was keeps its alarm, which would only be raised again.
        if self.no_qos.is_none() && self.offered.is_some_and(|(qos, _)| qos != offers.0) {
            alarm_changes.push(AlarmChange::Clear(About::Qos));
        }
        if connected.retain_available && self.no_retain.is_none() && self.no_retained_will.is_none() {
            alarm_changes.push(AlarmChange::Clear(About::Retain));
        }
        self.offered = Some(offers);
        if !self.backoff.contended(now) {
            alarm_changes.push(AlarmChange::Clear(About::TakenOver));
        }
        Some(alarm_changes)
    }

    /// An attempt failed; what it taught.
    pub(super) fn failed(&mut self, kind: CauseKind, now: Duration) -> Vec<AlarmChange> {
        self.backoff.failed(kind == CauseKind::Refused);
        self.closed = 0;
        let verified = std::mem::replace(&mut self.will, WillForm::Usual) == WillForm::Verify;
        if !matches!(kind, CauseKind::Closed | CauseKind::Reset | CauseKind::HungUp) {
            self.closed_connects = 0;
            return self.learn(kind, now);
        }
        if verified {
            self.closed_connects = 0;
            self.no_retained_will = Some(now);
            return vec![AlarmChange::Raise(About::Retain, RETAINS_NO_WILL.into())];
        }
        self.closed_connects = self.closed_connects.saturating_add(1);
        Vec::new()
    }

    /// A connection lasted for `lasted` and then ended; what it taught.
    pub(super) fn ended(
        &mut self,
        cause: &Cause,
        blame: Option<Blame>,
        lasted: Duration,
        now: Duration,
        identifier: &str,
    ) -> Vec<AlarmChange> {
        self.backoff.lost(lasted);
        let mut alarm_changes = self.learn(cause.kind, now);
        let over_request = match cause.kind {
            CauseKind::Closed | CauseKind::Reset => true,
            CauseKind::Disconnected(0x9A) => false,
            CauseKind::Disconnected(code) => OVER_A_REQUEST.contains(&code),
            _ => false,
        };
        if over_request {
            alarm_changes.extend(self.suspect(blame, lasted, cause, now, identifier));
        } else {
            self.suspects.interrupted();
            (self.brief, self.closed) = (0, 0);
        }
        self.too_large_ends = if cause.kind == CauseKind::TooLarge { self.too_large_ends + 1 } else { 0 };
        if cause.kind == CauseKind::TakenOver && self.backoff.taken_over(now) {
            let words = format!("{TAKEN_OVER} {identifier:?}; give each its own mqtt.client_id");
            alarm_changes.push(AlarmChange::Raise(About::TakenOver, words));
        }
        alarm_changes
    }

    /// Whether commands are left alone for a while, because one of them ends every connection that subscribes to them.
    pub(super) fn suspends_commands(&self) -> bool {
        self.too_large_ends >= TOO_LARGE_TIMES
    }

    /// Whether the next connection should ask for one thing at a time.
    pub(super) fn is_one_at_a_time(&self) -> bool {
        self.suspects.is_one_at_a_time()
    }

    /// Whether it is known that the broker retains nothing.
    pub(super) fn retains_nothing(&self) -> bool {
        self.no_retain.is_some()
    }

    /// Whether this publication is to be tried without the retain flag.
    pub(super) fn is_on_trial(&self, request: &Request) -> bool {
        self.suspects.is_on_trial(request)
    }

    /// Whether our own status may be subscribed to.
    pub(super) fn may_hear_status(&self) -> bool {
        self.needs_status || self.no_status.is_none()
    }

    /// The broker does not let us subscribe to our own status.
    pub(super) fn give_up_status(&mut self, now: Duration) {
        self.no_status = Some(now);
    }

    /// Whether our own health may be subscribed to.
    pub(super) fn may_hear_health(&self) -> bool {
        !self.no_health
    }

    /// The broker does not let us subscribe to our own health. It is not tried again: the subscription only helps to detect
    /// another gateway with our name, which `B/status` mostly does as well.
    pub(super) fn give_up_health(&mut self) {
        self.no_health = true;
    }

    /// Whether the peer's topic may be subscribed to.
    pub(super) fn may_hear_peer(&self, now: Duration) -> bool {
        self.no_peer.is_none_or(|at| now.saturating_sub(at) >= LEARN_AGAIN)
    }

    /// The broker does not let us subscribe to the peer's topic.
    pub(super) fn give_up_peer(&mut self, now: Duration) {
        self.no_peer = Some(now);
    }

    /// Whether a request must not be made now, for the broker hangs up on it.
    pub(super) fn is_held_back(&self, request: &Request, now: Duration) -> bool {
        self.suspects.is_held_back(request, now)
    }

    /// A request is made.
    pub(super) fn sending(&mut self, request: &Request, now: Duration) {
        self.suspects.sending(request, now);
    }

    /// The broker has answered a request.
    pub(super) fn answered(&mut self, request: &Request, now: Duration) -> Option<AlarmChange> {
        if self.suspects.is_on_trial(request) {
            self.no_retain = Some(now);
            self.suspects.answered(request);
            return Some(AlarmChange::Raise(About::Retain, RETAINS_NOTHING.into()));
        }
        self.suspects.answered(request).then(|| AlarmChange::Clear(About::HungUp(request.clone())))
    }

    /// Suspects that the connection has outlived although no answer will come.
    pub(super) fn outlived(&self, open: impl Fn(&Request) -> bool, now: Duration) -> Vec<Request> {
        self.suspects.outlived(open, now)
    }

    /// What the broker has said that it does not offer; nothing when it is known already.
    fn learn(&mut self, kind: CauseKind, now: Duration) -> Vec<AlarmChange> {
        match kind {
            CauseKind::WillQos => {
                if self.no_qos.replace(now).is_some() {
                    return Vec::new();
                }
                let words = "the broker offers QoS 0 only; everything is published at that";
                vec![AlarmChange::Raise(About::Qos, words.into())]
            }
            CauseKind::WillRetain | CauseKind::Disconnected(0x9A) => {
                if self.no_retain.replace(now).is_some() {
                    return Vec::new();
                }
                vec![AlarmChange::Raise(About::Retain, RETAINS_NOTHING.into())]
            }
            _ => Vec::new(),
        }
    }

    /// The broker hung up: on a request, if it does so three times, or perhaps because another client took over.
    fn suspect(
        &mut self,
        blame: Option<Blame>,
        lasted: Duration,
        cause: &Cause,
        now: Duration,
        identifier: &str,
    ) -> Option<AlarmChange> {
        if !self.needs_status && blame.as_ref().is_some_and(|blame| blame.request == Request::Status) {
            // This subscription is optional, so it is given up at once.
            self.suspects.interrupted();
            if cause.kind != CauseKind::Reset || self.status_reset {
                self.give_up_status(now);
            }
            self.status_reset = cause.kind == CauseKind::Reset;
            return None;
        }
        if blame.as_ref().is_some_and(|blame| blame.request == Request::Health) {
            self.suspects.interrupted();
            self.give_up_health();
            return None;
        }
        if blame.as_ref().is_some_and(|blame| blame.request == Request::Peer) {
            self.suspects.interrupted();
            self.give_up_peer(now);
            let words = "a restart of Home Assistant will not be noticed: the connection ended when we subscribed to what it says";
            return Some(AlarmChange::Raise(About::Peer, words.into()));
        }
        match self.suspects.ended(blame, now) {
            Verdict::HeldBack(request, wait) => {
                (self.brief, self.closed) = (0, 0);
                let words = describe_held_back(&request, wait, &cause.words);
                Some(AlarmChange::Raise(About::HungUp(request), words))
            }
            Verdict::Forming => {
                (self.brief, self.closed) = (0, 0);
                None
            }
            Verdict::Unclear => self.count_brief(lasted < STABLE_AFTER, cause.kind, identifier),
        }
    }

    /// Many brokers, and all of 3.1.1, do not say that another client took over; they only close.
    fn count_brief(&mut self, brief: bool, kind: CauseKind, identifier: &str) -> Option<AlarmChange> {
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
            let words = format!("{BRIEF}; does another client use our identifier {identifier:?}?");
            AlarmChange::Raise(About::Brief, words)
        })
    }
}

fn describe_held_back(request: &Request, wait: Duration, cause: &str) -> String {
    let again = format!("it is tried again after {}", format_duration(wait));
    match request {
        Request::Publish(topic) => format!(
            "{topic} is held back, the rest flows: the connection ends whenever it is published ({cause}); allow us to \
             publish there; {again}"
        ),
        Request::Commands | Request::Status | Request::Health | Request::Peer => format!(
            "no commands will arrive: the connection ends whenever we subscribe to them ({cause}); allow us to subscribe; \
             {again}"
        ),
    }
}
