//! What the tests of a connection start from: plain settings, an empty spool, and a broker that offers everything.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

use crate::backoff::Backoff;
use crate::broker_state::BrokerState;
use crate::connection::Connection;
use crate::report::Report;
use crate::session::{Cause, CauseKind, Connected, scripted};
use crate::{Broker, Latest, LinkResources, LinkStatus, PeerStatus, Protocol, Settings, TlsSettings, Transport};
use fieldgate_clock::broker_heartbeat::BrokerHeartbeat;
use fieldgate_model::topic::Topics;
use fieldgate_model::{Qos, RunId};
use fieldgate_spool::{self as spool, Spool, SpoolThread, WhenFull};

/// All that a connection borrows.
pub(crate) struct LinkRig {
    pub(crate) resources: LinkResources,
    pub(crate) report: Report,
    pub(crate) broker: BrokerState,
    _folder: TempDir,
    _thread: SpoolThread,
}

impl LinkRig {
    pub(crate) fn new(settings: Settings) -> Self {
        let (folder, run) = (tempfile::tempdir().unwrap(), RunId(7));
        let path = folder.path().join("spool");
        let (commit_every, when_full) = (Duration::ZERO, WhenFull::DropOldest);
        let stored = spool::Settings { path, max_size: 64 << 20, commit_every, when_full };
        let (spool, _thread) = spool::open(stored, run).unwrap();
        let (resources, report, broker) = resources(settings, run, spool);
        Self { resources, report, broker, _folder: folder, _thread }
    }

    /// A connection whose broker is silent.
    pub(crate) fn connection(&mut self, connected: Connected) -> Connection<'_> {
        let (session, _) = scripted::session();
        Connection::new(&self.resources, &mut self.report, &mut self.broker, session, connected)
    }
}

/// What the status shows that a person should look at.
pub(crate) fn alarm(connection: &Connection<'_>) -> Option<String> {
    connection.resources.status.borrow().alarm.clone()
}

pub(crate) fn cause(kind: CauseKind) -> Cause {
    Cause { words: "the broker closed the connection".into(), kind }
}

pub(crate) fn settings(protocol: Protocol) -> Settings {
    let broker = Broker { transport: Transport::Tcp, host: "nowhere".into(), port: 1, path: String::new() };
    Settings {
        brokers: vec![broker],
        protocol: protocol.into(),
        prefer_first: None,
        client_id: None,
        clean_session: true,
        keep_alive: Duration::from_secs(60),
        bind_address: None,
        username: None,
        password: None,
        tls: TlsSettings::default(),
        reconnect_min: Duration::from_secs(1),
        reconnect_max: Duration::from_secs(1),
        late_after: Duration::from_secs(3600),
        retain_state: true,
        leaves_nothing: false,
        topics: Topics::new("b"),
    }
}

/// Nobody takes commands, and nobody asks for a stop.
pub(crate) fn resources(settings: Settings, run: RunId, spool: Spool) -> (LinkResources, Report, BrokerState) {
    let (status, _) = watch::channel(LinkStatus::new(&settings));
    let (_, stop) = watch::channel(false);
    let resources = LinkResources {
        settings,
        run,
        spool,
        latest: Latest::default(),
        command_topics: watch::channel(Vec::new()).1,
        peer_topic: watch::channel(None).1,
        peer: watch::channel(PeerStatus::default()).0,
        commands: mpsc::channel(1).0,
        status: status.clone(),
        heartbeat: Arc::new(BrokerHeartbeat::new()),
        stop,
        handover: None,
    };
    let broker = BrokerState::new(Backoff::new(Duration::from_secs(1), Duration::from_secs(1)), false);
    (resources, Report::new(status), broker)
}

pub(crate) fn connected(protocol: Protocol) -> Connected {
    Connected {
        protocol,
        session_present: false,
        receive_maximum: u16::MAX,
        maximum_packet_size: u32::MAX,
        maximum_qos: Qos::ExactlyOnce,
        retain_available: true,
        server_keep_alive: None,
        wildcards: true,
    }
}
