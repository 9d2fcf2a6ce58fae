//! What is done on one connection, from the birth message to the last acknowledgement.
//!
//! The order is fixed: the subscription, so that a command sent in answer to `online` is received; `online` before anything
//! else that is published; retained topics and the spool after the broker has answered it. Nothing here waits for the
//! broker without a limit, and every limit ends the connection, never the program.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use futures_util::{FutureExt, future::OptionFuture};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, warn};

use super::alarms::{About, Whose};
use super::broker_state::{BrokerState, RETAINS_NOTHING};
use super::expiry::Expiry;
use super::forwarder::Forwarder;
use super::freshness_marker::FreshnessMarker;
use super::inflight::{Slot, Ticket, Window};
use super::limits::SUSPENDED_FOR;
use super::publish_probe::PublishProbe;
use super::report::Report;
use super::session::{
    Arrived, Cause, Connected, EVENT_CAPACITY, Event, Fate, Grant, MAX_PACKET, MAX_WINDOW, Pending, Publication,
    Session,
};
use super::trail::{Blame, Request, RequestId, Trail};
use super::twins::Twins;
use super::{Incoming, Parts, Settings};
use fieldgate_clock::{self as clock, boottime};
use fieldgate_model::Qos;
use fieldgate_spool::Sequence;

/// How often limits are looked at while something is unsettled, or a short keep-alive wants it.
pub(super) const TICK: Duration = Duration::from_millis(250);

/// How often they are looked at otherwise.
const AT_REST: Duration = Duration::from_secs(1);

/// A shorter keep-alive is looked after more often.
const SHORT_KEEP_ALIVE: Duration = Duration::from_secs(10);

/// How long remaining messages are sent after `stop`.
pub(super) const FLUSH: Duration = Duration::from_secs(1);

/// How long the acknowledgement of `offline` is waited for.
const FAREWELL: Duration = Duration::from_millis(250);

/// How long the broker may take to close after DISCONNECT.
const CLOSE: Duration = Duration::from_millis(100);

/// Acknowledgements are passed to the spool when there are so many, or when nothing else is in flight: its thread is not woken
/// for each of them.
const SETTLE_TOGETHER: usize = 32;

/// After this time, what describes this gateway is published although readings still wait.
const INFORM_AFTER: Duration = Duration::from_secs(1);

/// For the broker to notice that a connection has ended, beyond the keep-alive.
const GRACE: Duration = Duration::from_secs(10);

/// The certificates that are looked at while a connection is held.
const ALL: [Whose; 3] = [Whose::Ours, Whose::Authority, Whose::Broker];

/// How a connection ended.
pub(super) enum End {
    /// The link was asked to stop.
    Stopped,
    /// The future given to [`Connection::until`] is ready; the connection was closed in order, as at a stop.
    Left,
    /// Anything else, and which request ended it, as far as that is known.
    Lost(Cause, Option<Blame>),
}

/// One held connection.
pub(super) struct Connection<'a> {
    pub(super) parts: &'a Parts,
    pub(super) report: &'a mut Report,
    pub(super) broker: &'a mut BrokerState,
    pub(super) connected: Connected,
    pub(super) window: Window,
    pub(super) forwarder: Forwarder,
    /// Settled, but not reported to the spool yet.
    pub(super) settled: Vec<Sequence>,
    /// What the broker will never take, and why; the spool does not know it yet.
    pub(super) given_up: Vec<(Sequence, String)>,
    pub(super) session: Session,
    expiry: Option<Expiry>,
    /// Ends the connection orderly.
    until: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    fates: FuturesUnordered<Pending<(Ticket, Fate)>>,
    /// What is still to be subscribed to.
    pub(super) to_subscribe: VecDeque<Request>,
    /// What the subscription without an answer is for.
    pub(super) asking: Option<Request>,
    pub(super) subscribing: Option<Pending<Grant>>,
    /// Commands are not subscribed to, because the broker hangs up on that.
    pub(super) commands_wait: bool,
    pub(super) hears_status: bool,
    /// When our own health was asked for on this connection.
    pub(super) health_asked: Option<Duration>,
    /// The topics that take commands, by which filters they were subscribed to last, and which of these the broker has granted.
    pub(super) command_topics: watch::Receiver<Vec<String>>,
    pub(super) asked_commands: Vec<String>,
    pub(super) granted_commands: Vec<String>,
    pub(super) freshness_marker: FreshnessMarker,
    pub(super) publish_probe: PublishProbe,
    pub(super) twins: Twins,
    /// Identifies the `online` of this connection when it comes back.
    pub(super) nonce: String,
    pub(super) trail: Trail,
    /// One request at a time, because it is not certain which one ended the connection before.
    pub(super) careful: bool,
    /// Written at QoS 0 while careful, and when.
    pub(super) lingering: Vec<(Ticket, Fate, Duration)>,
    /// When commands are subscribed to after all; `None` when they are from the start.
    pub(super) commands_suspended_until: Option<Duration>,
    /// So many replies wait that commands are dropped.
    flooded: bool,
    /// Nothing but the birth message is sent before the broker has answered it.
    pub(super) online_published: bool,
    pub(super) online_since: Duration,
    /// Whether what describes this gateway may be published; readings come first.
    pub(super) informed: bool,
    /// Our own `offline` has been sent.
    pub(super) leaving: bool,
    pub(super) since: Duration,
    /// When something was last acknowledged, or the window last became not empty.
    pub(super) progress: Duration,
    /// When the library gave a message up; the end must follow at once.
    pub(super) lost: Option<Duration>,
    /// When the broker was asked to say something.
    pub(super) pinged: Duration,
}

/// How long after a connect the will of an earlier connection may come: with an identifier of its own, the broker ends that
/// one when we come back; where chance has chosen another, only after one and a half keep-alives.
fn lingering_will(settings: &Settings) -> Duration {
    if settings.client_id.is_some() { Duration::ZERO } else { settings.keep_alive * 3 / 2 + GRACE }
}

/// Ends when the link is asked to stop, or when the sender of that request is gone.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, which is treated as a stop.
    drop(stop.wait_for(|stop| *stop).await);
}

impl<'a> Connection<'a> {
    pub(super) fn new(
        parts: &'a Parts,
        report: &'a mut Report,
        broker: &'a mut BrokerState,
        session: Session,
        connected: Connected,
    ) -> Self {
        let (now, settings) = (boottime(), &parts.settings);
        let nonce = format!("{}.{:08x}", parts.run, fastrand::u32(..));
        let (suspended, careful) = (broker.suspends_commands(), broker.is_careful());
        let limit = usize::from(connected.receive_maximum.min(MAX_WINDOW));
        Self {
            parts,
            report,
            window: Window::new(if careful { 1 } else { limit }),
            forwarder: Forwarder::new(parts, now),
            settled: Vec::new(),
            given_up: Vec::new(),
            session,
            expiry: None,
            until: None,
            fates: FuturesUnordered::new(),
            to_subscribe: VecDeque::new(),
            asking: None,
            subscribing: None,
            commands_wait: false,
            hears_status: false,
            health_asked: None,
            command_topics: parts.command_topics.clone(),
            asked_commands: Vec::new(),
            granted_commands: Vec::new(),
            freshness_marker: FreshnessMarker::new(
                settings.clean_session || suspended,
                connected.protocol,
                nonce.clone(),
            ),
            publish_probe: if suspended { PublishProbe::NotNeeded } else { PublishProbe::new(connected.protocol) },
            twins: Twins::new(parts.run.to_string(), now, lingering_will(settings)),
            nonce,
            trail: Trail::default(),
            careful,
            lingering: Vec::new(),
            commands_suspended_until: suspended.then(|| now + SUSPENDED_FOR),
            broker,
            connected,
            flooded: false,
            online_published: false,
            online_since: now,
            informed: false,
            leaving: false,
            since: now,
            progress: now,
            lost: None,
            pinged: now,
        }
    }

    /// Also watches the dates of these certificates.
    pub(super) fn watching(self, expiry: Option<Expiry>) -> Self {
        Self { expiry, ..self }
    }

    /// Closes the connection in order when `until` is ready.
    pub(super) fn until(self, until: Option<impl Future<Output = ()> + Send + 'static>) -> Self {
        Self { until: until.map(|until| until.boxed()), ..self }
    }

    /// Works until the connection ends or the link is asked to stop.
    pub(super) async fn hold(mut self) -> End {
        self.report.clear_connection();
        let parts = self.parts;
        parts.latest.forget_progress();
        if self.commands_suspended_until.is_some() {
            self.subscribe_next();
        } else {
            self.listen();
        }
        let (mut stop, mut until) = (self.parts.stop.clone(), self.until.take());
        let look = tokio::time::sleep(TICK);
        tokio::pin!(look);
        loop {
            let more = self.pump();
            tokio::select! {
                () = stopped(&mut stop) => return self.close(End::Stopped).await,
                Some(()) = OptionFuture::from(until.as_mut()) => return self.close(End::Left).await,
                ended = self.step() => if let Some(cause) = ended { return self.conclude(cause) },
                () = &mut look => {
                    self.settle();
                    if let Some(cause) = self.look_after() { return self.conclude(cause) }
                    look.as_mut().reset(Instant::now() + clock::until_multiple(self.pace(), boottime()));
                }
                () = parts.latest.changed() => {}
                () = tokio::task::yield_now(), if more => {}
            }
        }
    }

    /// How often limits are to be looked at.
    pub(super) fn pace(&self) -> Duration {
        let is_settled =
            self.online_published && self.informed && !self.careful && self.lost.is_none() && self.settled.is_empty();
        if is_settled && self.keep_alive() >= SHORT_KEEP_ALIVE { AT_REST } else { TICK }
    }

    /// The keep-alive that is in force.
    pub(super) fn keep_alive(&self) -> Duration {
        let configured = self.parts.settings.keep_alive.max(Duration::from_secs(1));
        self.connected.server_keep_alive.filter(|server| !server.is_zero()).unwrap_or(configured)
    }

    /// Takes in the answers that came together with the end, and determines which request ended the connection.
    fn conclude(mut self, cause: Cause) -> End {
        while let Some(Some((ticket, fate))) = self.fates.next().now_or_never() {
            self.on_fate(ticket, fate);
        }
        let granted = self.subscribing.as_mut().and_then(|subscribing| subscribing.now_or_never());
        if granted.is_some_and(|grant| grant != Grant::Lost) {
            self.trail.done(RequestId::Subscription, boottime());
        }
        self.settle();
        End::Lost(cause, self.trail.blame(boottime()))
    }

    /// Waits for one thing from broker or spool and takes it in; the end of the connection is returned. Cancel-safe: each
    /// branch takes in what it got without waiting.
    pub(super) async fn step(&mut self) -> Option<Cause> {
        tokio::select! {
            event = self.session.next() => self.on_events(event),
            Some((ticket, fate)) = self.fates.next() => {
                self.on_fate(ticket, fate);
                while let Some(Some((ticket, fate))) = self.fates.next().now_or_never() {
                    self.on_fate(ticket, fate);
                }
                None
            }
            Some(result) = OptionFuture::from(self.subscribing.as_mut()) => {
                self.subscribing = None;
                self.on_granted(result);
                None
            }
            Some(notices) = OptionFuture::from(self.expiry.as_mut().map(Expiry::look)) => {
                self.report.certificates(&ALL, &notices);
                None
            }
            Ok(()) = self.command_topics.changed() => {
                self.on_command_topics_changed();
                None
            }
            () = self.forwarder.spoke() => None,
        }
    }

    /// Sends what may be sent; `true` when there is more to do at once.
    pub(super) fn pump(&mut self) -> bool {
        if self.online_published {
            self.publish_latest();
        }
        let more = self.online_published && self.forward();
        if self.online_published && !self.informed && self.may_inform() {
            self.informed = true;
            self.publish_latest();
        }
        self.flooded = self.forwarder.is_flooded();
        if self.window.is_empty() || self.settled.len() >= SETTLE_TOGETHER || !self.given_up.is_empty() {
            self.settle();
        }
        more
    }

    /// What describes this gateway waits until the readings that were there at the connect have had their turn: a broker that
    /// hangs up on it must not keep them back.
    fn may_inform(&self) -> bool {
        self.forwarder.is_drained() || boottime().saturating_sub(self.online_since) >= INFORM_AFTER
    }

    fn publish_latest(&mut self) {
        let now = boottime();
        let parts = self.parts;
        let settings = &parts.settings;
        let waiting = (!self.informed).then(|| [settings.topics.devices(), settings.topics.health()]);
        let may = |topic: &str| waiting.as_ref().is_none_or(|topics| topics.iter().all(|waiting| waiting != topic));
        while self.window.free_places() > 0
            && let Some((topic, payload)) = parts.latest.take(now, may)
        {
            if self.broker.is_held(&Request::Publish(topic.clone()), now) {
                self.parts.latest.refused(&topic, now);
                continue;
            }
            if payload.is_empty() && !settings.retain_state {
                // An empty retained message clears a topic.
                self.parts.latest.acknowledged(&topic);
                continue;
            }
            let publication = Publication::plain(topic.clone(), payload, Qos::AtLeastOnce, settings.retain_state);
            if self.is_too_large(&publication) {
                self.report.raise(About::Publish(topic.clone()), format!("{topic} is larger than the broker accepts"));
                self.parts.latest.refused(&topic, now);
            } else {
                self.send(Slot::Latest(topic), publication);
            }
        }
    }

    /// Hands a publication over, lowered to what the broker offers.
    pub(super) fn send(&mut self, slot: Slot, mut publication: Publication) {
        if publication.qos > self.connected.maximum_qos {
            let highest = self.connected.maximum_qos as u8;
            let words = format!("the broker offers QoS {highest} at most; what should be surer is published at that");
            self.report.raise(About::Qos, words);
            publication.qos = self.connected.maximum_qos;
        }
        let (now, request) = (boottime(), Request::Publish(publication.topic.clone()));
        if publication.retain && (!self.connected.retain_available || self.broker.retains_nothing()) {
            self.report.raise(About::Retain, RETAINS_NOTHING.into());
            publication.retain = false;
        }
        publication.retain &= !self.broker.is_on_trial(&request);
        if self.window.is_empty() {
            self.progress = now;
        }
        let ticket = self.window.enter(slot);
        self.broker.sending(&request, now);
        let blame = Blame { request, retain: publication.retain };
        self.trail.sent(RequestId::Publication(ticket), blame, publication.qos != Qos::AtMostOnce);
        let fate = self.session.publish(publication);
        self.fates.push(Box::pin(fate.map(move |fate| (ticket, fate))));
    }

    /// Whether it exceeds the packet size of the broker, or our own, either of which would end the connection.
    pub(super) fn is_too_large(&self, publication: &Publication) -> bool {
        publication.packet_size() > self.connected.maximum_packet_size.min(MAX_PACKET) as usize
    }

    /// Takes in what has come together: sending after each would make a flood slow, and what is sent meanwhile late.
    fn on_events(&mut self, first: Event) -> Option<Cause> {
        let mut next = Some(first);
        for _ in 0..EVENT_CAPACITY {
            let Some(event) = next else { break };
            if let Some(cause) = self.on_event(event) {
                return Some(cause);
            }
            next = self.session.next_now();
        }
        next.and_then(|event| self.on_event(event))
    }

    fn on_event(&mut self, event: Event) -> Option<Cause> {
        match event {
            Event::Publish(arrived) => self.on_publish(arrived),
            Event::Connected(_) => warn!("The broker accepted the connection a second time; ignored."),
            Event::Ended(cause) => return Some(cause),
        }
        None
    }

    fn on_publish(&mut self, arrived: Arrived) {
        let settings = &self.parts.settings;
        if arrived.topic == settings.topics.status() {
            self.on_status(&arrived);
            return;
        }
        if arrived.topic == settings.topics.health() {
            self.on_health(&arrived);
            return;
        }
        let incoming = Incoming {
            stale: arrived.expired || self.freshness_marker.is_stale(),
            response: arrived.response.filter(|target| settings.topics.may_respond_to(&target.topic)),
            topic: arrived.topic,
            payload: arrived.payload,
            retain: arrived.retain,
        };
        // A command that is taken must be answered, and answers share their lane with readings.
        let sent =
            if self.flooded { Err(TrySendError::Full(incoming)) } else { self.parts.commands.try_send(incoming) };
        match sent {
            Ok(()) => {}
            Err(TrySendError::Full(incoming)) => {
                debug!(topic = incoming.topic, "Command dropped: too many commands or replies wait already.");
                self.report.dropped();
            }
            // Only while the program ends.
            Err(TrySendError::Closed(_)) => {}
        }
    }

    /// Sends what is left for a moment, publishes `offline` and disconnects.
    async fn close(mut self, end: End) -> End {
        let deadline = Instant::now() + FLUSH;
        self.end_care();
        self.look_at_care(boottime());
        // The last readings may still be on their way through the spool's queue. Ended or slow, the spool is not waited for.
        drop(timeout_at(deadline, self.parts.spool.offered()).await);
        while !self.is_flushed() && Instant::now() < deadline {
            let more = self.pump();
            let step =
                if more { Ok(self.step().now_or_never().flatten()) } else { timeout(TICK / 10, self.step()).await };
            if let Ok(Some(cause)) = step {
                return self.conclude(cause);
            }
            tokio::task::yield_now().await;
        }
        self.leaving = true;
        if !self.broker.is_held(&Request::Publish(self.parts.settings.topics.status()), boottime()) {
            self.send(Slot::Farewell, self.status("offline"));
        }
        let farewell = Instant::now() + FAREWELL;
        while !self.window.is_empty() && Instant::now() < farewell {
            if let Ok(Some(cause)) = timeout_at(farewell, self.step()).await {
                return self.conclude(cause);
            }
        }
        self.settle();
        self.session.disconnect().await;
        let closed = Instant::now() + CLOSE;
        while let Ok(event) = timeout_at(closed, self.session.next()).await {
            if matches!(event, Event::Ended(_)) {
                break;
            }
        }
        end
    }

    fn is_flushed(&self) -> bool {
        self.online_published
            && self.window.is_empty()
            && self.forwarder.is_drained()
            && !self.parts.latest.is_pending()
    }
}
