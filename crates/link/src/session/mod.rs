//! One connection to one broker; with `tls.rs` the only place that knows the client library.
//!
//! A [`Session`] owns the library's event loop in a task of its own, because polling it is not cancel-safe: a timeout around
//! it has kept connections from ever completing. It is never used again after it [`Event::Ended`]; to go on, open the
//! next one. What was sent and not acknowledged by then is [`PublishOutcome::Lost`]; the library would keep some of
//! it, and that is deliberately ignored, for only the spool knows the truth about delivery.

mod causes;
mod dial;
#[cfg(test)]
pub(super) mod scripted;
mod v4;
mod v5;
mod wire;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

pub(super) use self::causes::{describe_timeout, io_cause};
pub(super) use self::dial::Dialer;
use self::wire::{Line, Wire};
use crate::{Broker, Protocol, Settings};
use fieldgate_clock::broker_heartbeat::BrokerHeartbeat;
use fieldgate_model::payload::ResponseTarget;
use fieldgate_model::{Qos, Secret};

/// Until the broker must have accepted a connection, name resolution and TLS included. Seen from outside it makes ten seconds
/// at most, however busy the board is.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(9);

/// Unacknowledged messages at most; more would only grow buffers, for a local broker acknowledges in a millisecond.
pub(super) const MAX_WINDOW: u16 = 64;

/// Bytes of one packet, in both directions: no reading comes near it, and a stranger's must not exhaust the memory.
pub(super) const MAX_PACKET: u32 = 256 * 1024;

/// Requests that wait for the library: the window, and some for subscriptions.
const REQUEST_CAPACITY: usize = MAX_WINDOW as usize * 2;

/// Arrived packets that wait for us; beyond, reading pauses and TCP holds the broker back.
pub(super) const EVENT_CAPACITY: usize = 64;

/// Names the marker among the user properties of MQTT 5.
const NONCE: &str = "fieldgate-nonce";

/// What comes back for a publication or a subscription.
pub(super) type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// All that one connection needs.
pub(super) struct Opening<'a> {
    pub settings: &'a Settings,
    /// The one to connect to.
    pub broker: &'a Broker,
    /// By which generation of MQTT.
    pub protocol: Protocol,
    /// The identifier to connect with; never empty.
    pub client_id: &'a str,
    /// Read for this connection.
    pub password: Option<Secret>,
    /// Read for this connection, where the transport wants it.
    pub tls: Option<Arc<tokio_rustls::rustls::ClientConfig>>,
    /// What the broker says for us when we are gone; nothing for who only looks.
    pub will: Option<Will>,
}

/// How the will is left; a broker may forbid more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Will {
    /// QoS 1 rather than 0.
    pub assured: bool,
    /// Kept by the broker.
    pub retain: bool,
}

/// What the broker says about itself when it accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Connected {
    /// The generation of MQTT in use.
    pub protocol: Protocol,
    /// It kept our session.
    pub session_present: bool,
    /// Unacknowledged messages that it takes at once.
    pub receive_maximum: u16,
    /// The largest packet that it takes, in bytes.
    pub maximum_packet_size: u32,
    /// The surest delivery that it offers.
    pub maximum_qos: Qos,
    /// Whether it retains messages.
    pub retain_available: bool,
    /// Its own keep-alive, which then is ours.
    pub server_keep_alive: Option<Duration>,
    /// Whether it takes subscriptions with wildcards.
    pub wildcards: bool,
}

/// A message from the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Arrived {
    pub topic: String,
    pub payload: Bytes,
    /// Whether the packet has the retain flag.
    pub retain: bool,
    /// Its message expiry has passed.
    pub expired: bool,
    /// The nonce of a marker of ours.
    pub nonce: Option<String>,
    /// Where an answer is wanted.
    pub response: Option<ResponseTarget>,
}

/// What happens on a connection.
#[derive(Debug)]
pub(super) enum Event {
    /// Accepted; comes once, and first.
    Connected(Connected),
    /// A message for a topic to which we subscribed.
    Publish(Arrived),
    /// The end; nothing comes after it.
    Ended(Cause),
}

/// Why a connection ended or never came to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cause {
    /// For the log and the health message.
    pub words: String,
    /// By which the supervisor chooses what to do next.
    pub kind: CauseKind,
}

/// What a [`Cause`] means for the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CauseKind {
    /// User, password or identifier: only a person can help.
    Refused,
    /// Another client uses our identifier.
    TakenOver,
    /// The broker wants the will at QoS 0.
    WillQos,
    /// The broker wants the will without the retain flag.
    WillRetain,
    /// The broker sent more than we take, as it will again at the next subscription if it is a retained command.
    TooLarge,
    /// The broker does not know this generation of MQTT.
    WrongProtocol,
    /// The broker answered our CONNECT by closing or resetting the connection.
    HungUp,
    /// The broker disconnected us with this reason code; MQTT 5 only.
    Disconnected(u8),
    /// The broker closed the connection without a reason.
    Closed,
    /// The network ended the connection.
    Reset,
    /// Anything that may pass.
    Other,
}

impl Cause {
    pub(super) fn other(words: impl Into<String>) -> Self {
        Self { words: words.into(), kind: CauseKind::Other }
    }
}

/// A message to the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Publication {
    pub topic: String,
    pub payload: Bytes,
    /// Its quality of service.
    pub qos: Qos,
    /// Whether the broker keeps it.
    pub retain: bool,
    /// Correlation Data; MQTT 5 only.
    pub correlation: Option<Vec<u8>>,
    /// Makes it recognisable when it comes back; MQTT 5 only.
    pub nonce: Option<String>,
}

impl Publication {
    /// One without properties.
    pub(super) fn plain(topic: String, payload: impl Into<Bytes>, qos: Qos, retain: bool) -> Self {
        Self { topic, payload: payload.into(), qos, retain, correlation: None, nonce: None }
    }

    /// As many bytes as its packet will have under MQTT 5, section 3.3; under 3.1.1 it is a few smaller.
    pub(super) fn packet_size(&self) -> usize {
        let correlation = self.correlation.as_ref().map_or(0, |data| 3 + data.len());
        let nonce = self.nonce.as_ref().map_or(0, |nonce| 5 + NONCE.len() + nonce.len());
        let properties = correlation + nonce;
        let identifier = if self.qos == Qos::AtMostOnce { 0 } else { 2 };
        let remaining = 2 + self.topic.len() + identifier + length_size(properties) + properties + self.payload.len();
        1 + length_size(remaining) + remaining
    }
}

/// Bytes of a length as MQTT writes it: seven bits in each (section 1.5.5).
fn length_size(length: usize) -> usize {
    match length {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    }
}

/// The outcome of a publication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PublishOutcome {
    /// The broker has it; at QoS 0, it is written.
    Acknowledged,
    /// The broker does not want it; in words.
    Refused(String),
    /// The broker will never take this very message; in words.
    Unacceptable(String),
    /// The connection ended first.
    Lost,
}

/// The outcome of a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Grant {
    /// All of its filters.
    Granted,
    /// One of its filters is refused; in words.
    Refused(String),
    /// The connection ended first.
    Lost,
}

/// A topic to subscribe to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    /// The topics, perhaps with wildcards.
    pub topic: String,
    /// Whether a message keeps its retain flag; MQTT 5 only.
    pub retain_as_published: bool,
    /// Whether retained messages are sent at once; MQTT 5 only, 3.1.1 always does.
    pub send_retained: bool,
    /// Whether what we publish ourselves stays away; MQTT 5 only, under 3.1.1 it always comes.
    pub no_local: bool,
}

enum Client {
    V4(v4::Client),
    V5(v5::Client),
    #[cfg(test)]
    Scripted(scripted::Client),
}

/// One connection, from the first attempt to its end.
pub(super) struct Session {
    client: Client,
    events: mpsc::Receiver<Event>,
    line: Arc<Line>,
    /// Aborts the polling task when the session is dropped.
    _polling: JoinSet<()>,
}

impl Session {
    /// Begins to connect.
    ///
    /// # Errors
    /// A [`Cause`] when the settings cannot make a connection.
    pub(super) fn open(opening: &Opening<'_>, heartbeat: Arc<BrokerHeartbeat>) -> Result<Self, Cause> {
        let (sender, events) = mpsc::channel(EVENT_CAPACITY);
        let line = Arc::new(Line::new(heartbeat, opening.protocol));
        let mut polling = JoinSet::new();
        let client = match opening.protocol {
            Protocol::V4 => {
                let (client, eventloop) = v4::open(opening, &line)?;
                polling.spawn(v4::poll(eventloop, sender, Arc::clone(&line)));
                Client::V4(client)
            }
            Protocol::V5 => {
                let (client, eventloop) = v5::open(opening, &line)?;
                polling.spawn(v5::poll(eventloop, sender, Arc::clone(&line)));
                Client::V5(client)
            }
        };
        Ok(Self { client, events, line, _polling: polling })
    }

    /// The next event. Cancel-safe.
    pub(super) async fn next(&mut self) -> Event {
        let ended = || Event::Ended(Cause::other("the client library ended without a word"));
        self.events.recv().await.unwrap_or_else(ended)
    }

    /// An event that has come already.
    pub(super) fn next_now(&mut self) -> Option<Event> {
        self.events.try_recv().ok()
    }

    /// Hands over a publication; never waits, because the window is smaller than the library's queue.
    pub(super) fn publish(&self, publication: Publication) -> Pending<PublishOutcome> {
        match &self.client {
            Client::V4(client) => client.publish(publication),
            Client::V5(client) => client.publish(publication),
            #[cfg(test)]
            Client::Scripted(client) => client.publish(publication),
        }
    }

    /// Subscribes; a refusal says for which filter and why.
    pub(super) fn subscribe(&self, filters: Vec<Filter>) -> Pending<Grant> {
        match &self.client {
            Client::V4(client) => client.subscribe(filters),
            Client::V5(client) => client.subscribe(filters),
            #[cfg(test)]
            Client::Scripted(_) => Box::pin(std::future::ready(Grant::Granted)),
        }
    }

    /// Makes the broker say something.
    pub(super) fn ping(&self) {
        self.line.ping();
    }

    /// Ends orderly: the broker forgets the will.
    pub(super) async fn disconnect(&self) {
        match &self.client {
            Client::V4(client) => client.disconnect().await,
            Client::V5(client) => client.disconnect().await,
            #[cfg(test)]
            Client::Scripted(_) => {}
        }
    }
}

impl Opening<'_> {
    /// Connects to the broker, and to nothing else that the library may name.
    async fn connect(dialer: Dialer, line: Arc<Line>) -> std::io::Result<Wire<Box<dyn dial::Stream>>> {
        let stream = dialer.dial().await?;
        line.open();
        Ok(Wire::new(stream, line))
    }

    fn dialer(&self) -> Dialer {
        let (broker, bind_address) = (self.broker.clone(), self.settings.bind_address);
        Dialer { broker, tls: self.tls.clone(), bind_address }
    }
}

impl Line {
    /// What ended the connection, seen with what the broker said before it accepted us.
    fn judge(&self, cause: Cause) -> Cause {
        if let Some(code) = self.old_answer() {
            let words =
                format!("the broker knows MQTT 3.1.1 only; write `protocol: 3.1.1` (it answers MQTT 5 with {code})");
            return Cause { words, kind: CauseKind::WrongProtocol };
        }
        let hung_up = self.is_open() && !self.is_accepted();
        match cause.kind {
            CauseKind::Closed | CauseKind::Reset if hung_up => Cause { kind: CauseKind::HungUp, ..cause },
            _ => cause,
        }
    }
}

/// Whole seconds; at least one, because zero would switch keep-alive off.
fn keep_alive_seconds(settings: &Settings) -> u16 {
    u16::try_from(settings.keep_alive.as_secs()).unwrap_or(u16::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_a_packet_is_that_of_the_specification() {
        let plain = |payload: usize, qos| Publication::plain("b/t".into(), vec![0; payload], qos, false);
        assert_eq!(plain(10, Qos::AtMostOnce).packet_size(), 2 + 2 + 3 + 1 + 10);
        assert_eq!(plain(10, Qos::AtLeastOnce).packet_size(), 2 + 2 + 3 + 2 + 1 + 10);
        assert_eq!(plain(200, Qos::AtLeastOnce).packet_size(), 3 + 2 + 3 + 2 + 1 + 200);
        assert_eq!(plain(20_000, Qos::AtLeastOnce).packet_size(), 4 + 2 + 3 + 2 + 1 + 20_000);
        assert_eq!(plain(3_000_000, Qos::AtLeastOnce).packet_size(), 5 + 2 + 3 + 2 + 1 + 3_000_000);
        let correlation = Some(vec![0; 4]);
        let with = Publication { correlation, nonce: Some("x".into()), ..plain(10, Qos::AtLeastOnce) };
        // A user property is its identifier and two strings with their lengths.
        assert_eq!(with.packet_size(), 2 + 2 + 3 + 2 + 1 + (1 + 2 + 4) + (1 + 2 + 15 + 2 + 1) + 10);
    }

    #[test]
    fn a_close_answers_our_connect_only_between_the_way_and_the_acceptance() {
        for (open, accepted, hung_up) in [(false, false, false), (true, false, true), (true, true, false)] {
            let line = Line::new(Arc::default(), Protocol::V5);
            if open {
                line.open();
            }
            if accepted {
                line.accept();
            }
            let judged = |kind| line.judge(Cause { words: String::new(), kind }).kind;
            for kind in [CauseKind::Closed, CauseKind::Reset] {
                assert_eq!(judged(kind), if hung_up { CauseKind::HungUp } else { kind }, "{open} {accepted}");
            }
            assert_eq!(judged(CauseKind::Other), CauseKind::Other);
        }
    }
}
