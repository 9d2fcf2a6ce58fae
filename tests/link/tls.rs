//! TLS and websockets.

use std::path::{Path, PathBuf};

use fieldgate_link::{Broker, Protocol, SecretSource, Settings, TlsSettings, Transport};

use crate::common::certificates::{Authority, Days, LONG};
use crate::harness::*;

/// A broker with TLS whose certificate and key are `cert.pem` and `key.pem` of its folder, signed by `ca.pem`.
pub(crate) struct TlsBroker {
    pub(crate) mosquitto: Mosquitto,
    pub(crate) authority: Authority,
}

/// What the broker is called unless a test says otherwise.
pub(crate) const LOCALHOST: &str = "subjectAltName=DNS:localhost\n";

impl TlsBroker {
    /// One whose certificate has these names and days; `extra` are lines for its TLS listener.
    pub(crate) fn start(names: &str, days: Days, extra: &str) -> Self {
        let mosquitto = Mosquitto { folder: tempfile::tempdir().unwrap(), port: free_port(), child: None };
        let authority = Authority::make(mosquitto.folder.path(), "ca", LONG);
        let mut broker = Self { mosquitto, authority };
        let pair = broker.authority.sign("server", names, days);
        broker.show(pair);
        let folder = broker.path("");
        make_readable(&folder);
        // Mosquitto 2.0.11 refuses to start with websockets alone.
        let text = format!(
            "allow_anonymous true\nlistener {} 127.0.0.1\nlistener {}\ncafile {folder}/ca.pem\ncertfile {folder}/cert.pem\n\
             keyfile {folder}/key.pem\n{extra}\n",
            free_port(),
            broker.mosquitto.port,
            folder = folder.display()
        );
        broker.mosquitto.file("mosquitto.conf", &text);
        broker.mosquitto.up();
        broker
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.mosquitto.folder.path().join(name)
    }

    /// From the next start on it shows this pair.
    pub(crate) fn show(&mut self, (cert, key): (PathBuf, PathBuf)) {
        std::fs::rename(cert, self.path("cert.pem")).unwrap();
        std::fs::rename(key, self.path("key.pem")).unwrap();
        make_readable(&self.path("key.pem"));
    }

    pub(crate) fn again(&mut self) {
        self.mosquitto.down();
        self.mosquitto.up();
    }

    /// How to reach it by its name.
    pub(crate) fn settings(&self, protocol: Protocol, transport: Transport) -> Settings {
        let tls = TlsSettings { ca_file: Some(self.path("ca.pem")), ..TlsSettings::default() };
        Settings { tls, ..tls_settings(protocol, transport, self.mosquitto.port) }
    }

    /// The same with a certificate of our own.
    pub(crate) fn settings_as(&self, (cert, key): &(PathBuf, PathBuf)) -> Settings {
        with_identity(self.settings(Protocol::V5, Transport::Tls), cert, key)
    }
}

pub(crate) fn tls_settings(protocol: Protocol, transport: Transport, port: u16) -> Settings {
    let brokers = vec![Broker { transport, host: "localhost".into(), port, path: "/mqtt".into() }];
    Settings { brokers, ..settings(protocol, 1) }
}

pub(crate) fn with_identity(settings: Settings, cert: &Path, key: &Path) -> Settings {
    let (cert_file, key) = (Some(cert.to_owned()), Some(SecretSource::File(key.to_owned())));
    Settings { tls: TlsSettings { cert_file, key, ..settings.tls.clone() }, ..settings }
}

#[tokio::test]
async fn our_own_certificate_of_version_1_is_for_the_broker_to_judge() {
    let broker = TlsBroker::start(LOCALHOST, LONG, "require_certificate true");
    let old = broker.authority.sign_version_1("old");
    let mut link = start(broker.settings_as(&old), &open_spool());
    link.up().await;
    link.end().await;
}

#[tokio::test]
async fn every_transport_delivers() {
    let tls = TlsBroker::start(LOCALHOST, LONG, "");
    let old = TlsBroker::start(LOCALHOST, LONG, "tls_version tlsv1.2");
    let wss = TlsBroker::start(LOCALHOST, LONG, "protocol websockets");
    let plain = free_port();
    let ws = Mosquitto::start(&format!("protocol websockets\nlistener {plain} 127.0.0.1"));
    for protocol in [Protocol::V4, Protocol::V5] {
        let mut all = vec![
            tls.settings(protocol, Transport::Tls),
            old.settings(protocol, Transport::Tls),
            wss.settings(protocol, Transport::Wss),
            tls_settings(protocol, Transport::Ws, ws.port),
        ];
        all[3].brokers[0].host = "127.0.0.1".into();
        for settings in all {
            let spool = open_spool();
            let mut link = start(Settings { bind_address: Some("127.0.0.1".parse().unwrap()), ..settings }, &spool);
            link.up().await;
            put(&spool, reading("air", 1));
            eventually("delivered", || spool.is_empty()).await;
            link.end().await;
        }
    }
}
