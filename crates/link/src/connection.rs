//! What is done on one connection, from the birth message to the last acknowledgement.
//!
//! The order is fixed: the subscription, so that a command sent in answer to `online` is received; `online` before anything
//! else that is published; retained topics and the spool after the broker has answered it. Nothing here waits for the
//! broker without a limit, and every limit ends the connection, never the program.

mod closing;
mod forwarding;
mod looking;
mod one_at_a_time;
mod phase;
mod publishing;
mod requests;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::OptionFuture;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::alarms::Whose;
use super::broker_state::BrokerState;
use super::expiry::Expiry;
use super::forwarder::{ConnectionFacts, Forwarder};
use super::freshness_marker::FreshnessMarker;
use super::inflight::Window;
use super::lanes::LANE_CAPACITY;
use super::limits::Limits;
use super::open_requests::{Blame, RequestId};
use super::own_status::OwnStatus;
use super::publish_probe::PublishProbe;
use super::report::Report;
use super::session::{Arrived, Cause, Connected, EVENT_CAPACITY, Event, Grant, MAX_PACKET, MAX_WINDOW, Session};
use super::spool_client::SpoolClient;
use super::subscriptions::Subscriptions;
use super::twins::Twins;
use super::{Incoming, LinkResources, Settings};
use fieldgate_clock::stop::stopped;
use fieldgate_clock::{self as clock, boottime};
use one_at_a_time::OneAtATime;
pub(super) use phase::Phase;
use requests::{BrokerAnswer, Requests};

/// How often limits are looked at while something is unsettled, or a short keep-alive wants it.
pub(super) const TICK: Duration = Duration::from_millis(250);

/// How often they are looked at otherwise.
const SLOW_TICK: Duration = Duration::from_secs(1);

/// A shorter keep-alive is looked after more often.
const SHORT_KEEP_ALIVE: Duration = Duration::from_secs(10);

/// How long commands are left alone after one of them ended connections.
const SUSPENDED_FOR: Duration = Duration::from_secs(600);

/// Acknowledgements are passed to the spool when there are so many, or when nothing else is in flight: its thread is not woken
/// for each of them.
const REPORT_TOGETHER: usize = 32;

/// For the broker to notice that a connection has ended, beyond the keep-alive.
const GRACE: Duration = Duration::from_secs(10);

/// The certificates that are looked at while a connection is open.
const ALL: [Whose; 3] = [Whose::Ours, Whose::Authority, Whose::Broker];

/// How a connection ended.
pub(super) enum End {
    /// The link was asked to stop.
    Stopped,
    /// The future given to [`Connection::run_until`] is ready; the connection was closed in order, as at a stop.
    Left,
    /// Anything else, and which request ended it, as far as that is known.
    Lost(Cause, Option<Blame>),
}

/// One open connection.
pub(super) struct Connection<'a> {
    pub(super) resources: &'a LinkResources,
    pub(super) report: &'a mut Report,
    pub(super) broker: &'a mut BrokerState,
    pub(super) connected: Connected,
    pub(super) window: Window,
    pub(super) forwarder: Forwarder,
    pub(super) limits: Limits,
    spool: SpoolClient,
    pub(super) session: Session,
    expiry: Option<Expiry>,
    pub(super) subscriptions: Subscriptions,
    /// The topics that take commands.
    pub(super) command_topics: watch::Receiver<Vec<String>>,
    pub(super) own_status: OwnStatus,
    pub(super) requests: Requests,
    pub(super) one_at_a_time: OneAtATime,
    pub(super) phase: Phase,
    /// When the broker accepted it.
    pub(super) since: Duration,
}

/// How long after a connect the will of an earlier connection may come: with an identifier of its own, the broker ends that
/// one when we come back; where chance has chosen another, only after one and a half keep-alives.
fn lingering_will(settings: &Settings) -> Duration {
    if settings.client_id.is_some() { Duration::ZERO } else { settings.keep_alive * 3 / 2 + GRACE }
}

/// In bytes; a larger one would end the connection, at the broker or in our own client.
fn largest_packet(connected: &Connected) -> usize {
    connected.maximum_packet_size.min(MAX_PACKET) as usize
}

impl<'a> Connection<'a> {
    pub(super) fn new(
        resources: &'a LinkResources,
        report: &'a mut Report,
        broker: &'a mut BrokerState,
        session: Session,
        connected: Connected,
    ) -> Self {
        let (now, settings) = (boottime(), &resources.settings);
        let nonce = format!("{}.{:08x}", resources.run, fastrand::u32(..));
        let (suspended, one_at_a_time) = (broker.suspends_commands(), broker.is_one_at_a_time());
        let limit = usize::from(connected.receive_maximum.min(MAX_WINDOW));
        Self {
            resources,
            report,
            window: Window::new(if one_at_a_time { 1 } else { limit }),
            forwarder: Forwarder::new(ConnectionFacts {
                run: resources.run,
                late_after: settings.late_after,
                topics: settings.topics.clone(),
                protocol: connected.protocol,
                largest_packet: largest_packet(&connected),
                up_since: now,
            }),
            limits: Limits::new(now),
            spool: SpoolClient::new(resources.spool.clone()),
            session,
            expiry: None,
            subscriptions: Subscriptions::new(suspended.then(|| now + SUSPENDED_FOR)),
            command_topics: resources.command_topics.clone(),
            own_status: OwnStatus {
                freshness_marker: FreshnessMarker::new(
                    settings.clean_session || suspended,
                    connected.protocol,
                    nonce.clone(),
                ),
                publish_probe: if suspended { PublishProbe::NotNeeded } else { PublishProbe::new(connected.protocol) },
                twins: Twins::new(resources.run.to_string(), now, lingering_will(settings)),
                nonce,
            },
            requests: Requests::default(),
            one_at_a_time: OneAtATime::new(one_at_a_time),
            broker,
            connected,
            phase: Phase::Greeting,
            since: now,
        }
    }

    /// Also watches the dates of these certificates.
    pub(super) fn watching(self, expiry: Option<Expiry>) -> Self {
        Self { expiry, ..self }
    }

    /// Works until the connection ends or the link is asked to stop, or closes it in order when `until` is ready.
    pub(super) async fn run_until(mut self, until: Option<impl Future<Output = ()> + Send>) -> End {
        self.report.clear_connection();
        let resources = self.resources;
        resources.latest.forget_progress();
        if self.subscriptions.is_suspended() {
            self.subscribe_next();
        } else {
            self.subscribe_first();
        }
        let mut stop = self.resources.stop.clone();
        let mut until = pin!(OptionFuture::from(until));
        let mut look = pin!(tokio::time::sleep(TICK));
        loop {
            let more = self.pump();
            tokio::select! {
                () = stopped(&mut stop) => return self.close(End::Stopped).await,
                Some(()) = &mut until => return self.close(End::Left).await,
                ended = self.step() => if let Some(cause) = ended { return self.conclude(cause) },
                () = &mut look => {
                    self.report_settled();
                    if let Some(cause) = self.look_after() { return self.conclude(cause) }
                    look.as_mut().reset(Instant::now() + clock::until_multiple(self.pace(), boottime()));
                }
                () = resources.latest.changed() => {}
                () = tokio::task::yield_now(), if more => {}
            }
        }
    }

    /// How often limits are to be looked at.
    pub(super) fn pace(&self) -> Duration {
        let is_settled = self.phase == Phase::Everything
            && !self.one_at_a_time.is_on()
            && !self.limits.is_ending()
            && self.forwarder.settled().acknowledged.is_empty();
        if is_settled && self.keep_alive() >= SHORT_KEEP_ALIVE { SLOW_TICK } else { TICK }
    }

    /// The keep-alive that is in force.
    pub(super) fn keep_alive(&self) -> Duration {
        let configured = self.resources.settings.keep_alive.max(Duration::from_secs(1));
        self.connected.server_keep_alive.filter(|server| !server.is_zero()).unwrap_or(configured)
    }

    /// Takes in the answers that came together with the end, and determines which request ended the connection.
    fn conclude(mut self, cause: Cause) -> End {
        while let Some((ticket, outcome)) = self.requests.publication_now() {
            self.on_publish_outcome(ticket, outcome);
        }
        if self.requests.subscription_now().is_some_and(|grant| grant != Grant::Lost) {
            self.requests.open.done(RequestId::Subscription, boottime());
        }
        self.report_settled();
        End::Lost(cause, self.requests.open.blame(boottime()))
    }

    /// Waits for one thing from broker or spool and takes it in; the end of the connection is returned. Cancel-safe: each
    /// branch takes in what it got without waiting.
    pub(super) async fn step(&mut self) -> Option<Cause> {
        tokio::select! {
            event = self.session.next() => self.on_events(event),
            answer = self.requests.answer() => {
                self.on_answer(answer);
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
            () = self.spool.changed() => None,
        }
    }

    fn on_answer(&mut self, answer: BrokerAnswer) {
        match answer {
            BrokerAnswer::Subscription(grant) => self.on_granted(grant),
            BrokerAnswer::Publication(ticket, outcome) => {
                self.on_publish_outcome(ticket, outcome);
                while let Some((ticket, outcome)) = self.requests.publication_now() {
                    self.on_publish_outcome(ticket, outcome);
                }
            }
        }
    }

    /// Sends what may be sent; `true` when there is more to do at once.
    pub(super) fn pump(&mut self) -> bool {
        let mut more = false;
        if self.phase.is_online() {
            self.publish_latest();
            self.repeat();
            more = self.forward();
        }
        if let Phase::Readings { online_since } = self.phase
            && self.readings_have_had_their_turn(online_since)
        {
            self.phase.end_readings();
            self.publish_latest();
        }
        let settled = self.forwarder.settled();
        let is_much = settled.acknowledged.len() >= REPORT_TOGETHER
            || !settled.given_up.is_empty()
            || self.forwarder.passed_over() >= LANE_CAPACITY;
        if self.window.is_empty() || is_much {
            self.report_settled();
        }
        more
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
        let settings = &self.resources.settings;
        if arrived.topic == settings.topics.status() {
            self.on_status(&arrived);
            return;
        }
        if arrived.topic == settings.topics.health() {
            self.on_health(&arrived);
            return;
        }
        if self.peer_topic().as_ref() == Some(&arrived.topic) {
            self.on_peer(&arrived);
            return;
        }
        let incoming = Incoming {
            stale: arrived.expired || self.own_status.freshness_marker.is_stale(),
            response: arrived.response.filter(|target| settings.topics.may_respond_to(&target.topic)),
            topic: arrived.topic,
            payload: arrived.payload,
            retain: arrived.retain,
        };
        // A command that is taken must be answered, and answers share their lane with readings.
        let sent = if self.forwarder.is_flooded() {
            Err(TrySendError::Full(incoming))
        } else {
            self.resources.commands.try_send(incoming)
        };
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
}
