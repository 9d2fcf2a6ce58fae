//! What is done on one connection, from the birth message to the last acknowledgement.
//!
//! The order is fixed: the subscription, so that whoever answers `online` with a command is heard; `online` before anything
//! else that is published; retained topics and the spool after the broker has answered it. Nothing here waits for the
//! broker without a limit, and every limit ends the connection, never the program.

use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use futures_util::{FutureExt, future::OptionFuture};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, warn};

use super::alarms::{About, Report, Whose};
use super::canary::Canary;
use super::expiry::Expiry;
use super::forwarder::Forwarder;
use super::inflight::{Slot, Ticket, Window};
use super::lanes::Lane;
use super::limits::DEAF;
use super::marker::Marker;
use super::session::{
    Arrived, Cause, Connected, EVENT_CAPACITY, Event, Fate, Filter, MAX_PACKET, MAX_WINDOW, Pending, Publication,
    Session,
};
use super::{Incoming, Parts};
use crate::clock::boottime;
use crate::model::Qos;
use crate::spool::Sequence;

/// How often limits are looked at.
pub(super) const TICK: Duration = Duration::from_millis(250);

/// What is left may be sent for this long after `stop`.
pub(super) const FLUSH: Duration = Duration::from_secs(1);

/// Until `offline` must be acknowledged.
const FAREWELL: Duration = Duration::from_millis(250);

/// Until the broker must have closed after DISCONNECT.
const CLOSE: Duration = Duration::from_millis(100);

/// The certificates that are looked at while a connection is held.
const ALL: [Whose; 3] = [Whose::Ours, Whose::Authority, Whose::Broker];

/// How a connection ended.
pub(super) enum End {
    /// We were told to stop.
    Stopped,
    /// Anything else.
    Lost(Cause),
}

/// One held connection.
pub(super) struct Connection<'a> {
    pub(super) parts: &'a Parts,
    pub(super) report: &'a mut Report,
    pub(super) connected: Connected,
    pub(super) window: Window,
    pub(super) forwarder: Forwarder,
    /// Done with, and not yet told to the spool.
    pub(super) settled: Vec<Sequence>,
    /// What the broker will never take, and why; the spool does not know it yet.
    pub(super) given_up: Vec<(Sequence, String)>,
    pub(super) session: Session,
    expiry: Option<Expiry>,
    fates: FuturesUnordered<Pending<(Ticket, Fate)>>,
    pub(super) subscribing: Option<Pending<Result<(), String>>>,
    pub(super) marker: Marker,
    pub(super) canary: Canary,
    /// When commands are subscribed to after all; `None` when they are from the start.
    pub(super) deaf_until: Option<Duration>,
    /// So many replies wait that no command is taken.
    flooded: bool,
    /// Nothing but the birth message is sent before the broker has answered it.
    pub(super) born: bool,
    pub(super) since: Duration,
    /// When something was last acknowledged, or the window last became not empty.
    pub(super) progress: Duration,
    /// When the library gave a message up; the end must follow at once.
    pub(super) lost: Option<Duration>,
    pub(super) probed: Duration,
}

/// Ends when the link is told to stop, or when nobody is left to tell it.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, which is the same.
    drop(stop.wait_for(|stop| *stop).await);
}

impl<'a> Connection<'a> {
    pub(super) fn new(
        parts: &'a Parts,
        report: &'a mut Report,
        session: Session,
        connected: Connected,
        deaf: bool,
    ) -> Self {
        let now = boottime();
        let nonce = format!("{:016x}", fastrand::u64(..));
        let limit = usize::from(connected.receive_maximum.min(MAX_WINDOW));
        Self {
            parts,
            report,
            window: Window::new(limit),
            forwarder: Forwarder::new(parts, now),
            settled: Vec::new(),
            given_up: Vec::new(),
            session,
            expiry: None,
            fates: FuturesUnordered::new(),
            subscribing: None,
            marker: Marker::new(parts.settings.clean_session || deaf, parts.settings.protocol, nonce),
            canary: if deaf { Canary::NotNeeded } else { Canary::new(parts.settings.protocol) },
            deaf_until: deaf.then(|| now + DEAF),
            connected,
            flooded: false,
            born: false,
            since: now,
            progress: now,
            lost: None,
            probed: now,
        }
    }

    /// Looks at these certificates besides.
    pub(super) fn watching(self, expiry: Option<Expiry>) -> Self {
        Self { expiry, ..self }
    }

    /// Works until the connection ends or the link is told to stop.
    pub(super) async fn hold(mut self) -> End {
        self.report.clear_connection();
        let parts = self.parts;
        parts.latest.forget_progress();
        if self.deaf_until.is_some() {
            self.send(Slot::Birth, self.status("online"));
        } else {
            self.subscribe();
        }
        let mut stop = self.parts.stop.clone();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let more = self.pump();
            tokio::select! {
                () = stopped(&mut stop) => return self.close().await,
                ended = self.step() => if let Some(cause) = ended { return End::Lost(cause) },
                _ = tick.tick() => if let Some(cause) = self.look_after() { return End::Lost(cause) },
                () = parts.latest.changed() => {}
                () = tokio::task::yield_now(), if more => {}
            }
        }
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
                self.on_subscribed(result);
                None
            }
            Some(notices) = OptionFuture::from(self.expiry.as_mut().map(Expiry::look)) => {
                self.report.certificates(&ALL, &notices);
                None
            }
            () = self.forwarder.spoke() => None,
        }
    }

    /// Sends what may be sent; `true` when there is more to do at once.
    pub(super) fn pump(&mut self) -> bool {
        if self.born {
            self.publish_latest();
        }
        let more = self.born && self.forward();
        self.flooded = self.forwarder.is_flooded();
        self.settle();
        more
    }

    fn publish_latest(&mut self) {
        let now = boottime();
        while self.window.room() > 0
            && let Some((topic, payload)) = self.parts.latest.take(now)
        {
            let publication = Publication::plain(topic.clone(), payload, Qos::AtLeastOnce, true);
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
        if publication.retain && !self.connected.retain_available {
            let words = "the broker retains no messages; status and states are told only when they change";
            self.report.raise(About::Retain, words.into());
            publication.retain = false;
        }
        if self.window.is_empty() {
            self.progress = boottime();
        }
        let ticket = self.window.enter(slot);
        let fate = self.session.publish(publication);
        self.fates.push(Box::pin(fate.map(move |fate| (ticket, fate))));
    }

    /// Whether the broker, or we ourselves, would end the connection over it.
    pub(super) fn is_too_large(&self, publication: &Publication) -> bool {
        publication.packet_size() > self.connected.maximum_packet_size.min(MAX_PACKET) as usize
    }

    fn status(&self, word: &'static str) -> Publication {
        Publication::plain(self.parts.settings.topics.status(), word, Qos::AtLeastOnce, true)
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
            Event::Connected(_) => warn!("The broker accepted us twice; ignored."),
            Event::Ended(cause) => return Some(cause),
        }
        None
    }

    fn on_publish(&mut self, arrived: Arrived) {
        let settings = &self.parts.settings;
        if arrived.topic == settings.topics.status() {
            if !arrived.retain && arrived.payload == "offline" {
                self.marker.saw_offline(settings.protocol, boottime());
            }
            if !arrived.retain && self.canary.came_back() {
                self.report.clear(&About::Canary);
            }
            self.marker.saw(&arrived);
            if !self.marker.is_stale() {
                self.report.clear(&About::Marker);
            }
            return;
        }
        let incoming = Incoming {
            stale: arrived.expired || self.marker.is_stale(),
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
                debug!(topic = incoming.topic, "Command dropped.");
                self.report.dropped();
            }
            // Only while the program ends.
            Err(TrySendError::Closed(_)) => {}
        }
    }

    fn on_fate(&mut self, ticket: Ticket, fate: Fate) {
        let Some(slot) = self.window.leave(ticket) else { return };
        let now = boottime();
        if fate == Fate::Lost {
            self.lost.get_or_insert(now);
            return;
        }
        self.progress = now;
        match slot {
            Slot::Birth => {
                self.judge(self.parts.settings.topics.status(), &fate);
                if !self.born {
                    self.born = true;
                    if self.deaf_until.is_some() {
                        self.report.raise(About::Deaf, self.deaf_words());
                    }
                }
            }
            Slot::Latest(topic) => {
                match fate {
                    Fate::Acknowledged => self.parts.latest.acknowledged(&topic),
                    _ => self.parts.latest.refused(&topic, now),
                }
                self.judge(topic, &fate);
            }
            Slot::Courtesy(topic) => {
                if let Fate::Refused(words) | Fate::Unacceptable(words) = fate {
                    debug!(
                        topic,
                        reason = words,
                        "The requester's own topic was refused; the reply topic has the answer."
                    );
                }
            }
            Slot::Spooled { sequence, message, lane } => {
                let key = &message.key;
                let topic = self.parts.settings.topics.of(key, lane == Lane::Late);
                if let Fate::Unacceptable(words) = fate {
                    warn!(topic, error = words, "The broker will never take a message.");
                    self.forwarder.dropped(key, lane);
                    return self.set_aside(sequence, key.kind, topic, words);
                }
                self.judge(topic, &fate);
                self.forwarder.resolved(sequence, key, lane, fate == Fate::Acknowledged, now);
                if fate == Fate::Acknowledged {
                    self.settled.push(sequence);
                }
            }
            Slot::Farewell => {}
        }
    }

    /// Raises or clears the alarm of a topic.
    fn judge(&mut self, topic: String, fate: &Fate) {
        match fate {
            Fate::Refused(words) | Fate::Unacceptable(words) => {
                let words = format!("publishing on {topic} is refused: {words}");
                self.report.raise(About::Publish(topic), words);
            }
            _ => self.report.clear(&About::Publish(topic)),
        }
    }

    pub(super) fn subscribe(&mut self) {
        let topics = &self.parts.settings.topics;
        let mut filters = vec![Filter { topic: topics.set_filter(), retain_as_published: true, send_retained: true }];
        if self.marker != Marker::NotNeeded || self.canary != Canary::NotNeeded {
            filters.push(Filter { topic: topics.status(), retain_as_published: false, send_retained: false });
        }
        self.subscribing = Some(self.session.subscribe(filters));
    }

    pub(super) fn on_subscribed(&mut self, result: Result<(), String>) {
        let status = self.parts.settings.topics.status();
        match result {
            // The commands come first in the subscription and so in its answer.
            Err(words) if !words.starts_with(&status) => {
                self.report.raise(About::Commands, format!("no commands will arrive: subscribing to {words}"));
            }
            Ok(()) | Err(_) => self.report.clear(&About::Commands),
        }
        let now = boottime();
        let (canary, marker) = (self.canary.send(now), self.marker.send(now));
        if canary || marker.is_some() || !self.born {
            let publication = Publication { nonce: marker.flatten(), ..self.status("online") };
            self.send(Slot::Birth, publication);
        }
    }

    /// Sends what is left for a moment, says `offline` and leaves.
    async fn close(mut self) -> End {
        let deadline = Instant::now() + FLUSH;
        // The last readings may still be on their way through the spool's queue. Ended or slow, the spool is not waited for.
        drop(timeout_at(deadline, self.parts.spool.offered()).await);
        while !self.is_flushed() && Instant::now() < deadline {
            let more = self.pump();
            let step =
                if more { Ok(self.step().now_or_never().flatten()) } else { timeout(TICK / 10, self.step()).await };
            if let Ok(Some(cause)) = step {
                return End::Lost(cause);
            }
            tokio::task::yield_now().await;
        }
        self.send(Slot::Farewell, self.status("offline"));
        let farewell = Instant::now() + FAREWELL;
        while !self.window.is_empty() && Instant::now() < farewell {
            if let Ok(Some(cause)) = timeout_at(farewell, self.step()).await {
                return End::Lost(cause);
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
        End::Stopped
    }

    fn is_flushed(&self) -> bool {
        self.born && self.window.is_empty() && self.forwarder.is_drained() && !self.parts.latest.is_pending()
    }
}
