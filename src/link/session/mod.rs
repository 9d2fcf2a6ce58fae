//! One connection to one broker; with `tls.rs` the only place that knows the client library.
//!
//! A [`Session`] owns the library's event loop in a task of its own, because polling it is not cancel-safe: a timeout around
//! it has kept connections from ever completing. It is never used again after it [`Event::Ended`]; whoever wants to go on
//! opens the next one. What was handed over and not acknowledged by then is [`Fate::Lost`]; the library would keep some of
//! it, and that is deliberately ignored, for only the spool knows the truth about delivery.

#[cfg(test)]
pub(super) mod scripted;
mod v4;
mod v5;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::link::{Broker, Protocol, Settings, Transport};
use crate::model::payload::ResponseTarget;
use crate::model::{Qos, Secret};
use crate::pulse::Pulse;

/// Until the broker must have accepted a connection, name resolution and TLS included. Seen from outside it makes ten seconds
/// at most, however busy the board is.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(9);

/// Unacknowledged messages at most; more would only grow buffers, for a local broker acknowledges in a millisecond.
pub(super) const MAX_WINDOW: u16 = 64;

/// Bytes of one packet, in both directions: no reading comes near it, and a stranger's must not exhaust the memory.
pub(super) const MAX_PACKET: u32 = 256 * 1024;

/// Requests that wait for the library: the window, and some for subscriptions and probes.
const REQUEST_CAPACITY: usize = MAX_WINDOW as usize * 2;

/// Arrived packets that wait for us; beyond, reading pauses and TCP holds the broker back.
pub(super) const EVENT_CAPACITY: usize = 64;

/// Names the marker among the user properties of MQTT 5.
const NONCE: &str = "fieldgate-nonce";

/// What comes back for a publication or a subscription.
pub(super) type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// All that one connection needs.
pub(super) struct Opening<'a> {
    /// The link's settings.
    pub settings: &'a Settings,
    /// The one to connect to.
    pub broker: &'a Broker,
    /// Never empty.
    pub client_id: &'a str,
    /// Read for this connection.
    pub password: Option<Secret>,
    /// Read for this connection, where the transport wants it.
    pub tls: Option<Arc<tokio_rustls::rustls::ClientConfig>>,
    /// What the broker says for us when we are gone.
    pub will: Will,
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
    /// It kept our session.
    pub session_present: bool,
    /// Unacknowledged messages that it takes at once.
    pub receive_maximum: u16,
    /// The largest packet that it takes.
    pub maximum_packet_size: u32,
    /// The surest delivery that it offers.
    pub maximum_qos: Qos,
    /// Whether it retains messages.
    pub retain_available: bool,
    /// Its own keep-alive, which then is ours.
    pub server_keep_alive: Option<Duration>,
}

/// A message from the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Arrived {
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: Bytes,
    /// The retain flag.
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
    /// A message.
    Publish(Arrived),
    /// The end; nothing comes after it.
    Ended(Cause),
}

/// Why a connection ended or never came to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cause {
    /// For the log and the health message.
    pub words: String,
    /// For the supervisor.
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
    /// The broker closed the connection without a word.
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
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: Bytes,
    /// How surely.
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

/// How a publication fared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The broker has it; at QoS 0, it is written.
    Acknowledged,
    /// The broker does not want it; in words.
    Refused(String),
    /// The broker will never take this very message; in words.
    Unacceptable(String),
    /// The connection ended first.
    Lost,
}

/// A topic to subscribe to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    /// The topic filter.
    pub topic: String,
    /// Whether a message keeps its retain flag; MQTT 5 only.
    pub retain_as_published: bool,
    /// Whether retained messages are sent at once; MQTT 5 only, 3.1.1 always does.
    pub send_retained: bool,
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
    /// Aborts the polling task when the session is dropped.
    _polling: JoinSet<()>,
}

impl Session {
    /// Begins to connect.
    ///
    /// # Errors
    /// A [`Cause`] when the settings cannot make a connection.
    pub(super) fn open(opening: &Opening<'_>, pulse: Arc<Pulse>) -> Result<Self, Cause> {
        let (sender, events) = mpsc::channel(EVENT_CAPACITY);
        let mut polling = JoinSet::new();
        let client = match opening.settings.protocol {
            Protocol::V4 => {
                let (client, eventloop) = v4::open(opening)?;
                polling.spawn(v4::poll(eventloop, sender, pulse));
                Client::V4(client)
            }
            Protocol::V5 => {
                let (client, eventloop) = v5::open(opening)?;
                polling.spawn(v5::poll(eventloop, sender, pulse));
                Client::V5(client)
            }
        };
        Ok(Self { client, events, _polling: polling })
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
    pub(super) fn publish(&self, publication: Publication) -> Pending<Fate> {
        match &self.client {
            Client::V4(client) => client.publish(publication),
            Client::V5(client) => client.publish(publication),
            #[cfg(test)]
            Client::Scripted(client) => client.publish(publication),
        }
    }

    /// Subscribes; the error says for which filter and why.
    pub(super) fn subscribe(&self, filters: Vec<Filter>) -> Pending<Result<(), String>> {
        match &self.client {
            Client::V4(client) => client.subscribe(filters),
            Client::V5(client) => client.subscribe(filters),
            #[cfg(test)]
            Client::Scripted(_) => Box::pin(std::future::ready(Ok(()))),
        }
    }

    /// Makes the broker say something, by unsubscribing from a topic to which nobody subscribed.
    ///
    /// The library pings only after a silence of its own, so a sensor at QoS 0 would keep it from ever asking.
    pub(super) fn probe(&self, topic: String) {
        match &self.client {
            Client::V4(client) => client.probe(topic),
            Client::V5(client) => client.probe(topic),
            #[cfg(test)]
            Client::Scripted(_) => {}
        }
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

/// `ws://host:port/path`, the form in which the library takes it for both websocket transports.
fn websocket_url(broker: &Broker) -> String {
    let scheme = if broker.transport == Transport::Wss { "wss" } else { "ws" };
    if broker.host.contains(':') {
        format!("{scheme}://[{}]:{}{}", broker.host, broker.port, broker.path)
    } else {
        format!("{scheme}://{}:{}{}", broker.host, broker.port, broker.path)
    }
}

/// Whole seconds; at least one, because zero would switch keep-alive off.
fn keep_alive_seconds(settings: &Settings) -> u16 {
    u16::try_from(settings.keep_alive.as_secs()).unwrap_or(u16::MAX).max(1)
}

/// The broker closed the connection without a word of MQTT.
fn closed(detail: &str) -> Cause {
    Cause { words: format!("the broker closed the connection{detail}"), kind: CauseKind::Closed }
}

/// Why a connection over the network failed.
fn io_cause(broker: &Broker, error: &std::io::Error) -> Cause {
    use std::io::ErrorKind as Kind;
    match error.kind() {
        Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe | Kind::UnexpectedEof => {
            Cause { kind: CauseKind::Reset, ..closed(&format!(" ({error})")) }
        }
        _ => Cause::other(io_words(broker, error)),
    }
}

fn io_words(broker: &Broker, error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    let place = format!("{}:{}", broker.host, broker.port);
    if let Some(words) = super::tls::words(error, &broker.host) {
        return words;
    }
    let text = error.to_string();
    if error.raw_os_error().is_none() && text.contains("lookup") {
        return format!("cannot resolve {:?} ({text}); check the name in mqtt.broker and the network", broker.host);
    }
    match error.kind() {
        ErrorKind::ConnectionRefused => {
            format!("connection to {place} refused: nothing listens there; check the port and that the broker runs")
        }
        ErrorKind::AddrNotAvailable | ErrorKind::InvalidInput => {
            format!("cannot use the source address for {place} ({text}); check mqtt.bind_address")
        }
        ErrorKind::TimedOut => format!("no answer from {place} ({text})"),
        _ => format!("connection to {place}: {text}"),
    }
}

/// The words for a connect that took too long.
pub(super) fn timeout_words(broker: &Broker) -> String {
    format!("{}:{} did not answer within {} s", broker.host, broker.port, CONNECT_TIMEOUT.as_secs())
}

/// The first [`std::io::Error`] in an error's chain of causes.
fn find_io<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a std::io::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref() {
            return Some(io);
        }
        next = error.source();
    }
    None
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
        let correlation = Some(vec![0; 4]);
        let with = Publication { correlation, nonce: Some("x".into()), ..plain(10, Qos::AtLeastOnce) };
        // A user property is its identifier and two strings with their lengths.
        assert_eq!(with.packet_size(), 2 + 2 + 3 + 2 + 1 + (1 + 2 + 4) + (1 + 2 + 15 + 2 + 1) + 10);
    }
}
