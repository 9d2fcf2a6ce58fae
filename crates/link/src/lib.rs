//! The link to the broker: keeps one connection, sends what the spool has and what is retained, passes commands on.
//!
//! [`run`] is the supervisor: it connects, keeps the connection, waits and connects again until it is asked to stop. One
//! connection lives in `connection.rs` and its folder; what the client library knows stays in `session/` and `tls.rs`. When something is
//! acknowledged the spool may forget it, and on any error everything unacknowledged is sent again on the next connection: at
//! least once, never less. The link does not know sensors or outputs, and decides nothing about commands.
//!
//! Read in this order: `lib.rs`, `supervisor.rs`, `connection.rs`, which owns the socket, the spool and the clock; then the pure
//! files, which have none of them: `subscriptions.rs` (what is subscribed to), `connection/phase.rs` (what may be published),
//! `forwarder.rs` (what is sent, and what is settled), `lanes.rs` (what goes next), `inflight.rs` (what is under way),
//! `open_requests.rs` (what the broker may end the connection over), `limits.rs` (when a connection is ended), `failover.rs` (which
//! broker is tried), `broker_state.rs` (what is known of it), `suspects.rs` (what it hangs up on), `backoff.rs` (when to try again).
//! A message is *settled* when the broker has acknowledged it, or when it can never be sent.

mod alarms;
mod answers;
pub mod backoff;
mod broker_state;
mod connection;
mod dialect;
mod expiry;
mod failover;
mod follow;
mod forget;
mod forwarder;
mod freshness_marker;
mod greeting;
mod guest;
pub mod inflight;
pub mod lanes;
mod latest;
mod limits;
mod lock;
mod open_requests;
mod own_status;
mod peer;
mod preference;
mod publish_probe;
mod question;
pub mod reason;
mod refused_key;
mod report;
pub mod secrets;
mod session;
mod spool_client;
mod subscriptions;
mod supervisor;
mod suspects;
#[cfg(test)]
mod testing;
pub mod tls;
mod twins;
mod visit;

pub use alarms::{BRIEF, TAKEN_OVER, TWIN};
pub use follow::{Followed, follow};
pub use forget::{ForgetError, Forgotten, forget};
pub use latest::Latest;
pub use peer::PeerStatus;
pub use secrets::SecretSource;
pub use supervisor::{FilesError, Handover, run};
pub use visit::{Failure, Step, Visit, VisitError, visit};

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use fieldgate_clock::broker_heartbeat::BrokerHeartbeat;
use fieldgate_model::RunId;
use fieldgate_model::payload::ResponseTarget;
use fieldgate_model::topic::Topics;
use fieldgate_spool::Spool;

/// What the link is given; it owns all of it until [`run`] returns.
pub struct LinkResources {
    /// How to reach the broker.
    pub settings: Settings,
    /// This start of the program; messages of another are late.
    pub run: RunId,
    /// What is to arrive.
    pub spool: Spool,
    /// What is to be known.
    pub latest: Latest,
    /// The topics that take commands, those of outputs, totals and variables and those of requests, as of the last reload; without
    /// any, commands are not subscribed to.
    pub command_topics: watch::Receiver<Vec<String>>,
    /// Where somebody else says that it starts, as of the last reload; see [`PeerStatus`].
    pub peer_topic: watch::Receiver<Option<String>>,
    /// What it has said there; written by the link alone.
    pub peer: watch::Sender<PeerStatus>,
    /// Where commands go. A command that finds it full is dropped, counted and logged.
    pub commands: mpsc::Sender<Incoming>,
    /// Written by the link alone.
    pub status: watch::Sender<LinkStatus>,
    /// Beats with every packet of the broker.
    pub heartbeat: Arc<BrokerHeartbeat>,
    /// `true`, or a dropped sender, ends the link.
    pub stop: watch::Receiver<bool>,
    /// What the link before has learnt, if there was one; it had the same `status`.
    pub handover: Option<Handover>,
}

/// Status of the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkStatus {
    /// Whether there is a connection.
    pub state: LinkState,
    /// Since when it is in this state, by the wall clock.
    pub since: SystemTime,
    /// The broker that is or was tried last: `mqtt://host:port`.
    pub broker: String,
    /// The generation of MQTT that is or was tried last.
    pub protocol: Protocol,
    /// Successful connects since the start.
    pub connects: u64,
    /// Why the last connection ended or was refused.
    pub last_error: Option<String>,
    /// What a person should look at, although the link may be up.
    pub alarm: Option<String>,
    /// Whether another gateway of our name was noticed, which publishes on our topics.
    pub has_twin: bool,
}

impl LinkStatus {
    /// Before the first attempt.
    pub fn new(settings: &Settings) -> Self {
        Self {
            state: LinkState::Down,
            since: fieldgate_clock::now().wall,
            broker: settings.brokers.first().map(ToString::to_string).unwrap_or_default(),
            protocol: settings.protocol.first(),
            connects: 0,
            last_error: None,
            alarm: None,
            has_twin: false,
        }
    }
}

/// Whether there is a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// An attempt is under way.
    Connecting,
    /// The broker has accepted us.
    Up,
    /// Waiting for the next attempt, or stopped.
    Down,
}

impl LinkState {
    /// As it stands in the health message.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// A message for a topic to which we subscribed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// The full topic.
    pub topic: String,
    /// Its payload, as the broker sent it.
    pub payload: Bytes,
    /// Whether the packet has the retain flag.
    pub retain: bool,
    /// The broker kept it while we were away, or may have, or its expiry has passed.
    pub stale: bool,
    /// Where an answer is wanted besides the reply topic; checked with [`Topics::may_respond_to`].
    pub response: Option<ResponseTarget>,
}

/// How to reach the broker and what to say there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// In the order in which they are tried.
    pub brokers: Vec<Broker>,
    /// Which generation of MQTT.
    pub protocol: ProtocolChoice,
    /// How often the first broker is looked at while another serves; `None`: never.
    pub prefer_first: Option<Duration>,
    /// `None`: chance chooses one at each start.
    pub client_id: Option<String>,
    /// Whether the broker forgets us when we leave.
    pub clean_session: bool,
    /// As configured; the one in use is at most half of the shortest `safe_after`.
    pub keep_alive: Duration,
    /// The address of ours to connect from; `None`: the system chooses.
    pub bind_address: Option<IpAddr>,
    /// The user to connect as; `None`: none is named.
    pub username: Option<String>,
    /// Where the password is, reread at each connect so that it can be changed without a restart.
    pub password: Option<SecretSource>,
    /// Which certificates are trusted and shown, at brokers with TLS.
    pub tls: TlsSettings,
    /// Shortest wait before a reconnect.
    pub reconnect_min: Duration,
    /// Longest wait before a reconnect.
    pub reconnect_max: Duration,
    /// From which age a reading goes to the late topic.
    pub late_after: Duration,
    /// Whether status, states and the like are retained.
    pub retain_state: bool,
    /// Whether an orderly end clears all that is retained, the status too, instead of saying `offline`. For a gateway that is never
    /// reloaded: a reload may end a link as well.
    pub leaves_nothing: bool,
    /// The topics below the base topic.
    pub topics: Topics,
}

/// The address of one broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// `mqtt`, `mqtts`, `ws`, `wss` or `unix`.
    pub transport: Transport,
    /// Host name or address; an IPv6 address without its brackets, perhaps with a zone. Empty for `unix`.
    pub host: String,
    /// Port; 0 for `unix`.
    pub port: u16,
    /// For websockets the path and the query, for `unix` the socket; begins with `/`.
    pub path: String,
}

impl Broker {
    /// The host as certificates and HTTP know it: the zone of a link-local address concerns this machine only.
    pub fn host_without_zone(&self) -> &str {
        self.host.split('%').next().unwrap_or_default()
    }

    /// For a sentence: host and port, or the socket.
    pub fn place(&self) -> String {
        match (self.transport, self.host.contains(':')) {
            (Transport::Unix, _) => self.path.clone(),
            (_, true) => format!("[{}]:{}", self.host, self.port),
            (_, false) => format!("{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.transport.scheme(), self.place())
    }
}

/// How bytes travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// Websocket over TCP.
    Ws,
    /// Websocket over TLS.
    Wss,
    /// A socket of this machine.
    Unix,
}

impl Transport {
    /// As it stands before `://` in the configuration.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Tcp => "mqtt",
            Self::Tls => "mqtts",
            Self::Ws => "ws",
            Self::Wss => "wss",
            Self::Unix => "unix",
        }
    }
}

/// Which generation of MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// MQTT 3.1.1.
    V4,
    /// MQTT 5.
    V5,
}

impl Protocol {
    /// As it stands in the configuration and the health message.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "3.1.1",
            Self::V5 => "5",
        }
    }
}

impl Protocol {
    /// MQTT 5 for 3.1.1, and the other way round.
    pub fn other(self) -> Self {
        match self {
            Self::V4 => Self::V5,
            Self::V5 => Self::V4,
        }
    }
}

/// What the configuration says of the generation of MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolChoice {
    /// MQTT 5, or 3.1.1 with a broker that knows no other.
    Auto,
    /// This generation alone; another is not tried.
    Only(Protocol),
}

impl ProtocolChoice {
    /// The one to begin with.
    pub fn first(self) -> Protocol {
        match self {
            Self::Auto => Protocol::V5,
            Self::Only(protocol) => protocol,
        }
    }

    /// As it stands in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Only(protocol) => protocol.as_str(),
        }
    }
}

impl From<Protocol> for ProtocolChoice {
    fn from(protocol: Protocol) -> Self {
        Self::Only(protocol)
    }
}

/// Certificates and the key, all PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// Who may sign the broker's certificate; without it the system's roots.
    pub ca_file: Option<PathBuf>,
    /// The file with the certificate that we show, in PEM form; `None`: none is shown.
    pub cert_file: Option<PathBuf>,
    /// Where the key of that certificate is.
    pub key: Option<SecretSource>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_zone_of_an_address_is_for_this_machine_only() {
        let broker = |host: &str| Broker { host: host.into(), ..testing::settings(Protocol::V5).brokers.remove(0) };
        for (host, without, place) in [
            ("fe80::1%eth0", "fe80::1", "[fe80::1%eth0]:1"),
            ("fd00::1", "fd00::1", "[fd00::1]:1"),
            ("broker.local", "broker.local", "broker.local:1"),
        ] {
            assert_eq!((broker(host).host_without_zone(), broker(host).place().as_str()), (without, place));
        }
    }
}
