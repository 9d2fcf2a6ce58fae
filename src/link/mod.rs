//! The link. (being written)

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::model::Secret;
use crate::model::topic::Topics;

/// How to reach the broker and what to say there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// In the order in which they are tried.
    pub brokers: Vec<Broker>,
    /// Which generation of MQTT.
    pub protocol: Protocol,
    /// `None`: chance chooses one at each start.
    pub client_id: Option<String>,
    /// Whether the broker forgets us when we leave.
    pub clean_session: bool,
    /// As configured; the one in use is at most half of the shortest `safe_after`.
    pub keep_alive: Duration,
    /// Source address.
    pub bind_address: Option<IpAddr>,
    /// User name.
    pub username: Option<String>,
    /// Where the password is, reread at each connect so that it can be changed without a restart.
    pub password: Option<PasswordSource>,
    /// Certificates.
    pub tls: TlsSettings,
    /// Shortest wait before a reconnect.
    pub reconnect_min: Duration,
    /// Longest wait before a reconnect.
    pub reconnect_max: Duration,
    /// From which age a reading goes to the late topic.
    pub late_after: Duration,
    /// Our topics.
    pub topics: Topics,
}

/// One broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// `mqtt`, `mqtts`, `ws` or `wss`.
    pub transport: Transport,
    /// Host name or address; an IPv6 address without its brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// For websockets; begins with `/`.
    pub path: String,
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
}

/// Which generation of MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// MQTT 3.1.1.
    V4,
    /// MQTT 5.
    V5,
}

/// Where the password is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PasswordSource {
    /// A file; one newline at its end is not part of it.
    File(PathBuf),
    /// A systemd credential, by name.
    Credential(String),
}

/// Certificates, in PEM files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// Who may sign the broker's certificate; without it the system's roots.
    pub ca_file: Option<PathBuf>,
    /// Our own certificate.
    pub cert_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
}

/// For signatures that will hand over a password.
pub type Password = Secret;
