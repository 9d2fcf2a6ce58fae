//! TLS and websockets.

use std::path::{Path, PathBuf};

use fieldgate_link::{Broker, Protocol, SecretSource, Settings, TlsSettings, Transport};
use tempfile::TempDir;

use crate::common::certificates::{Authority, Days, LONG};
use crate::harness::*;

/// A broker with TLS whose certificate and key are `cert.pem` and `key.pem` of a folder, signed by `ca.pem`.
pub(crate) struct TlsBroker {
    /// Where it speaks TLS.
    pub(crate) port: u16,
    pub(crate) authority: Authority,
    mosquitto: Mosquitto,
    folder: TempDir,
}

/// What the broker is called unless a test says otherwise.
pub(crate) const LOCALHOST: &str = "subjectAltName=DNS:localhost\n";

impl TlsBroker {
    /// One whose certificate has these names and days; `extra` are lines for its TLS listener.
    pub(crate) fn start(names: &str, days: Days, extra: &str) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let authority = Authority::make(folder.path(), "ca", LONG);
        show(folder.path(), authority.sign("server", names, days));
        let files = folder.path().display();
        let mosquitto = Mosquitto::with_lines(&format!(
            "listener {port}\ncafile {files}/ca.pem\ncertfile {files}/cert.pem\nkeyfile {files}/key.pem\n{extra}"
        ));
        Self { port, authority, mosquitto, folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// From the next start on it shows this pair.
    pub(crate) fn show(&self, pair: (PathBuf, PathBuf)) {
        show(self.folder.path(), pair);
    }

    pub(crate) fn again(&mut self) {
        self.mosquitto.kill9();
        self.mosquitto.start_again();
    }

    /// How to reach it by its name.
    pub(crate) fn settings(&self, protocol: Protocol, transport: Transport) -> Settings {
        let tls = TlsSettings { ca_file: Some(self.path("ca.pem")), ..TlsSettings::default() };
        Settings { tls, ..tls_settings(protocol, transport, self.port) }
    }

    /// The same with a certificate of our own.
    pub(crate) fn settings_as(&self, (cert, key): &(PathBuf, PathBuf)) -> Settings {
        with_identity(self.settings(Protocol::V5, Transport::Tls), cert, key)
    }
}

fn show(folder: &Path, (cert, key): (PathBuf, PathBuf)) {
    std::fs::rename(cert, folder.join("cert.pem")).unwrap();
    std::fs::rename(key, folder.join("key.pem")).unwrap();
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
    let ws = Mosquitto::with(Options { websockets: true, ..Options::default() });
    for protocol in [Protocol::V4, Protocol::V5] {
        let mut all = vec![
            tls.settings(protocol, Transport::Tls),
            old.settings(protocol, Transport::Tls),
            wss.settings(protocol, Transport::Wss),
            tls_settings(protocol, Transport::Ws, ws.ws_port),
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
