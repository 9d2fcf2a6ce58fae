//! Whatever is wrong with TLS ends in no connection, and in words that name the remedy.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fieldgate_link::{Protocol, SecretSource, Settings, TlsSettings, Transport};

use crate::common::certificates::{Authority, LONG, openssl, self_signed};
use crate::harness::*;
use crate::tls::{LOCALHOST, TlsBroker, tls_settings, with_identity};

const PAST: (i64, i64) = (-20, -10);

const FUTURE: (i64, i64) = (10, 20);

/// No attempt with these settings succeeds, and the first one says all of these words.
async fn check(settings: Settings, words: &[&str]) {
    let mut link = start(settings, &open_spool());
    let reported = link.failed().await;
    assert!(words.iter().all(|words| reported.contains(words)), "{reported}");
    assert_eq!(link.status.borrow().connects, 0);
    link.end().await;
}

async fn check_all(broker: &TlsBroker, change: impl Fn(Settings) -> Settings, words: &[&str]) {
    for protocol in [Protocol::V4, Protocol::V5] {
        for transport in [Transport::Tls, Transport::Wss] {
            check(change(broker.settings(protocol, transport)), &[&["TLS: "], words].concat()).await;
        }
    }
}

#[tokio::test]
async fn a_broker_that_nobody_we_trust_has_signed_is_refused() {
    let mut broker = TlsBroker::start(LOCALHOST, LONG, "");
    let system = |settings| Settings { tls: TlsSettings::default(), ..settings };
    check_all(&broker, system, &["(unknown CA)", "set mqtt.tls.ca_file"]).await;
    let other = Authority::make(&broker.path(""), "other", LONG).cert;
    let wrong = |settings: Settings| Settings {
        tls: TlsSettings { ca_file: Some(other.clone()), ..TlsSettings::default() },
        ..settings
    };
    check_all(&broker, wrong, &["(unknown CA)"]).await;
    let folder = broker.path("");
    for kind in ["basicConstraints=CA:FALSE", "basicConstraints=critical,CA:TRUE"] {
        broker.show(self_signed(&folder, "self", &[kind, "subjectAltName=DNS:localhost"]));
        broker.again();
        check_all(&broker, |settings| settings, &["self-signed (unknown CA)"]).await;
    }
}

#[tokio::test]
async fn a_broker_with_a_certificate_of_version_1_is_refused_with_the_line_that_makes_another() {
    let mut broker = TlsBroker::start(LOCALHOST, LONG, "");
    let old = broker.authority.sign_version_1("old");
    broker.show(old);
    broker.again();
    let words = ["X.509 version 1", "subjectAltName=DNS:localhost", "openssl x509 -req"];
    check_all(&broker, |settings| settings, &words).await;
    // A certificate that signed itself, as authority and broker at once: refused as before, now with the line.
    let folder = broker.path("");
    broker.show(self_signed(&folder, "self", &["basicConstraints=critical,CA:TRUE", "subjectAltName=DNS:localhost"]));
    std::fs::copy(broker.path("cert.pem"), broker.path("own-ca.pem")).unwrap();
    broker.again();
    let own = |mut settings: Settings| {
        settings.tls.ca_file = Some(folder.join("own-ca.pem"));
        settings
    };
    check_all(&broker, own, &["self-signed", "openssl req -x509", "CA:FALSE", "mqtt.tls.ca_file to it"]).await;
    // What that line makes is taken.
    broker.show(self_signed(&folder, "self", &["basicConstraints=critical,CA:FALSE", "subjectAltName=DNS:localhost"]));
    std::fs::copy(broker.path("cert.pem"), broker.path("own-ca.pem")).unwrap();
    broker.again();
    let mut link = start(own(broker.settings(Protocol::V5, Transport::Tls)), &open_spool());
    link.up().await;
    link.end().await;
}

#[tokio::test]
async fn a_broker_with_another_name_is_refused() {
    let mut broker = TlsBroker::start("subjectAltName=DNS:broker.lan,DNS:b.lan\n", LONG, "");
    check_all(&broker, |settings| settings, &["\"localhost\" (wrong host name)", "it is for broker.lan, b.lan"]).await;
    let by_address = |mut settings: Settings| {
        settings.brokers[0].host = "127.0.0.1".into();
        settings
    };
    let words = ["not for the IP address 127.0.0.1 (wrong host name)", "broker.lan", "subjectAltName=IP:127.0.0.1"];
    check_all(&broker, by_address, &words).await;
    let nameless = broker.authority.sign("nameless", "", LONG);
    broker.show(nameless);
    broker.again();
    check_all(&broker, |settings| settings, &["(wrong host name)", "has no subjectAltName"]).await;
}

#[tokio::test]
async fn a_broker_outside_its_dates_is_refused() {
    let mut broker = TlsBroker::start(LOCALHOST, PAST, "");
    check_all(&broker, |settings| settings, &["has expired on 20", "renew it at the broker"]).await;
    let future = broker.authority.sign("future", LOCALHOST, FUTURE);
    broker.show(future);
    broker.again();
    check_all(&broker, |settings| settings, &["not valid yet, only from 20", "is the clock set?"]).await;
    // The authority that signed it has expired; the library itself would trust that for ever.
    let old = Authority::make(&broker.path(""), "ca", PAST);
    let signed = old.sign("late", LOCALHOST, LONG);
    broker.show(signed);
    broker.again();
    check_all(&broker, |settings| settings, &["the authority's certificate", "expired"]).await;
}

#[tokio::test]
async fn a_port_of_the_other_kind_is_told_as_such() {
    let tls = TlsBroker::start(LOCALHOST, LONG, "");
    let plain = Mosquitto::start();
    for protocol in [Protocol::V4, Protocol::V5] {
        let tls_port = tls_settings(protocol, Transport::Tcp, tls.port);
        check(tls_port, &["check that mqtt:// fits port"]).await;
        check(tls_settings(protocol, Transport::Tls, plain.port), &["check that mqtts:// fits port"]).await;
    }
}

#[tokio::test]
async fn a_broker_that_wants_another_certificate_of_ours_says_so() {
    for version in ["tlsv1.2", "tlsv1.3"] {
        let broker = TlsBroker::start(LOCALHOST, LONG, &format!("require_certificate true\ntls_version {version}"));
        let client = "extendedKeyUsage=clientAuth\n";
        check(broker.settings(Protocol::V5, Transport::Tls), &["mqtt.tls.cert_file and key_file"]).await;
        let expired = broker.authority.sign("expired", client, PAST);
        check(broker.settings_as(&expired), &["our certificate has expired; renew"]).await;
        let stranger = Authority::make(&broker.path(""), "stranger", LONG).sign("strange", client, LONG);
        check(broker.settings_as(&stranger), &["does not know who signed our certificate"]).await;
        let good = broker.authority.sign("good", client, LONG);
        let mut link = start(broker.settings_as(&good), &open_spool());
        link.up().await;
        link.end().await;
    }
}

#[tokio::test]
async fn files_that_cannot_be_used_are_told_with_the_remedy() {
    let broker = TlsBroker::start(LOCALHOST, LONG, "");
    let path = |name: &str| broker.path(name).display().to_string();
    let (cert, key) = broker.authority.sign("client", "", LONG);
    let settings = |cert: &str, key: &str| {
        with_identity(broker.settings(Protocol::V5, Transport::Tls), &broker.path(cert), &broker.path(key))
    };
    openssl(&["pkey", "-in", &path("client.key"), "-aes256", "-passout", "pass:x", "-out", &path("new.key")]);
    openssl(&["ec", "-in", &path("client.key"), "-aes256", "-passout", "pass:x", "-out", &path("old.key")]);
    openssl(&["x509", "-in", &path("client.pem"), "-outform", "der", "-out", &path("client.der")]);
    std::fs::write(broker.path("empty.pem"), "").unwrap();
    std::fs::write(broker.path("torn.pem"), "-----BEGIN CERTIFICATE-----\nAAAA").unwrap();
    broker.authority.sign("second", "", LONG);
    check(settings("client.pem", "second.key"), &["the key does not fit our certificate"]).await;
    for encrypted in ["new.key", "old.key"] {
        check(settings("client.pem", encrypted), &[encrypted, "is encrypted", "openssl pkey -in"]).await;
    }
    check(settings("client.key", "client.key"), &["no certificate in PEM form: it contains a private key"]).await;
    check(settings("client.pem", "client.pem"), &["no private key in PEM form: it contains a certificate"]).await;
    check(settings("client.csr", "client.key"), &["it holds the request for a certificate"]).await;
    check(settings("client.der", "client.key"), &["looks like DER", "-inform der"]).await;
    check(settings("empty.pem", "client.key"), &["it is empty"]).await;
    check(settings("torn.pem", "client.key"), &["torn.pem is not PEM"]).await;
    check(settings("none.pem", "client.key"), &["cannot read", "none.pem", "No such file"]).await;
    let mut half = settings("client.pem", "client.key");
    half.tls.key = None;
    check(half, &["needs a certificate and its key"]).await;
    let mut outside = with_identity(broker.settings(Protocol::V5, Transport::Tls), &cert, &key);
    outside.tls.key = Some(SecretSource::Credential("mqtt-key".into()));
    check(outside, &["\"mqtt-key\"", "LoadCredential=mqtt-key"]).await;
    std::fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
    check(settings("client.pem", "client.key"), &["others may read", "chmod 640 /"]).await;
}

/// `openssl s_server`, which speaks what Mosquitto has forgotten.
struct Server(Child);

impl Server {
    fn start(port: u16, (cert, key): &(PathBuf, PathBuf), version: &str) -> Self {
        let mut command = Command::new("openssl");
        command.args(["s_server", "-quiet", "-accept", &format!("127.0.0.1:{port}"), version]);
        // Debian's OpenSSL forbids the old versions unless their weak hashes are allowed.
        command.args(["-cipher", "DEFAULT@SECLEVEL=0"]).arg("-cert").arg(cert).arg("-key").arg(key);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "openssl s_server did not start");
            std::thread::yield_now();
        }
        Self(child)
    }

    /// Whether a client that allows everything can shake hands with it.
    fn can(port: u16, version: &str) -> bool {
        let place = format!("localhost:{port}");
        let args = ["s_client", "-connect", &place, version, "-cipher", "DEFAULT@SECLEVEL=0"];
        let output = Command::new("openssl").args(args).stdin(Stdio::null()).output().unwrap();
        String::from_utf8_lossy(&output.stdout).contains("Cipher is ECDHE")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, which is no reason to fail here.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[tokio::test]
async fn versions_before_1_2_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::make(folder.path(), "ca", LONG);
    let pair = authority.sign("server", LOCALHOST, LONG);
    for version in ["-tls1", "-tls1_1"] {
        let port = free_port();
        let _server = Server::start(port, &pair, version);
        assert!(Server::can(port, version), "{version} cannot be offered here, so it cannot be refused either");
        for protocol in [Protocol::V4, Protocol::V5] {
            let tls = TlsSettings { ca_file: Some(authority.cert.clone()), ..TlsSettings::default() };
            let settings = Settings { tls, ..tls_settings(protocol, Transport::Tls, port) };
            check(settings, &["the broker speaks neither TLS 1.2 nor 1.3"]).await;
        }
    }
}
