//! TLS and websockets.

use std::path::Path;
use std::process::Command;

use fieldgate::link::{Broker, Protocol, Settings, TlsSettings, Transport};

use crate::harness::*;

/// An authority, and a certificate that it signed for `localhost` from `start` to `end` (`YYYYMMDDhhmmssZ`).
fn certificates(folder: &Path, start: &str, end: &str) {
    let openssl = |args: &[&str]| {
        let out = Command::new("openssl").args(args).current_dir(folder).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    };
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let authority =
        ["req", "-x509", "-days", "30", "-subj", "/CN=test authority", "-keyout", "ca.key", "-out", "ca.pem"];
    openssl(&[&authority[..], &key[..]].concat());
    openssl(&[&["req", "-subj", "/CN=localhost", "-keyout", "key.pem", "-out", "csr.pem"][..], &key[..]].concat());
    std::fs::write(folder.join("index"), "").unwrap();
    std::fs::write(folder.join("serial"), "01").unwrap();
    let config = "[ca]\ndefault_ca=d\n[d]\ndatabase=index\nserial=serial\nnew_certs_dir=.\ndefault_md=sha256\npolicy=p\n\
                  x509_extensions=x\n[p]\ncommonName=supplied\n[x]\nsubjectAltName=DNS:localhost\n";
    std::fs::write(folder.join("ca.conf"), config).unwrap();
    let sign = ["ca", "-batch", "-config", "ca.conf", "-cert", "ca.pem", "-keyfile", "ca.key", "-in", "csr.pem"];
    openssl(&[&sign[..], &["-out", "cert.pem", "-notext", "-startdate", start, "-enddate", end]].concat());
    make_readable(folder);
    make_readable(&folder.join("key.pem"));
}

fn tls_broker(start: &str, end: &str, websockets: bool) -> Mosquitto {
    let mut broker = Mosquitto { folder: tempfile::tempdir().unwrap(), port: free_port(), child: None };
    let folder = broker.folder.path();
    certificates(folder, start, end);
    let protocol = if websockets { "protocol websockets\n" } else { "" };
    // Mosquitto 2.0.11 refuses to start with websockets alone.
    let text = format!(
        "allow_anonymous true\nlistener {} 127.0.0.1\nlistener {}\n{protocol}certfile {folder}/cert.pem\nkeyfile {folder}/key.pem\n",
        free_port(),
        broker.port,
        folder = folder.display()
    );
    broker.file("mosquitto.conf", &text);
    broker.up();
    broker
}

const PAST: (&str, &str) = ("20200101000000Z", "20200102000000Z");

const ALWAYS: (&str, &str) = ("20200101000000Z", "20490101000000Z");

const FUTURE: (&str, &str) = ("20480101000000Z", "20490101000000Z");

fn tls_settings(protocol: Protocol, transport: Transport, host: &str, broker: &Mosquitto) -> Settings {
    let brokers = vec![Broker { transport, host: host.into(), port: broker.port, path: "/mqtt".into() }];
    let tls = TlsSettings { ca_file: Some(broker.folder.path().join("ca.pem")), ..TlsSettings::default() };
    Settings { brokers, tls, ..settings(protocol, 1) }
}

#[tokio::test]
async fn every_transport_delivers() {
    let tls = tls_broker(ALWAYS.0, ALWAYS.1, false);
    let wss = tls_broker(ALWAYS.0, ALWAYS.1, true);
    let plain = free_port();
    let ws = Mosquitto::start(&format!("protocol websockets\nlistener {plain} 127.0.0.1"));
    for protocol in [Protocol::V4, Protocol::V5] {
        for (transport, broker) in [(Transport::Tls, &tls), (Transport::Wss, &wss), (Transport::Ws, &ws)] {
            let spool = open_spool();
            let host = if transport == Transport::Ws { "127.0.0.1" } else { "localhost" };
            let mut settings = tls_settings(protocol, transport, host, broker);
            settings.bind_address = Some("127.0.0.1".parse().unwrap());
            let mut link = start(settings, &spool);
            link.up().await;
            put(&spool, reading("air", 1));
            eventually("delivered", || spool.is_empty()).await;
            link.end().await;
        }
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate_is_told_in_words() {
    let check = async |broker: &Mosquitto, host: &str, ca: bool, words: &str| {
        for protocol in [Protocol::V4, Protocol::V5] {
            for transport in [Transport::Tls, Transport::Wss] {
                let mut settings = tls_settings(protocol, transport, host, broker);
                if !ca {
                    settings.tls = TlsSettings::default();
                }
                let mut link = start(settings, &open_spool());
                let told = link.failed().await;
                assert!(told.starts_with("TLS: ") && told.contains(words), "{told}");
                link.end().await;
            }
        }
    };
    let mut good = tls_broker(ALWAYS.0, ALWAYS.1, false);
    check(&good, "localhost", false, "unknown CA").await;
    check(&good, "127.0.0.1", true, "wrong host name").await;
    check(&tls_broker(PAST.0, PAST.1, false), "localhost", true, "has expired").await;
    check(&tls_broker(FUTURE.0, FUTURE.1, false), "localhost", true, "is the clock set?").await;
    good.down();
    let plain = Mosquitto::start("");
    good.port = plain.port;
    let mut link = start(tls_settings(Protocol::V5, Transport::Tls, "127.0.0.1", &good), &open_spool());
    let told = link.failed().await;
    assert!(told.contains("check that mqtts:// fits port"), "{told}");
    link.end().await;
}
