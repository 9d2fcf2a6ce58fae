//! A broker on a socket of this machine, without TCP/IP.

use std::os::unix::net::UnixListener;
use std::path::Path;

use fieldgate_link::{Broker, LinkState, Protocol, Settings, Transport};

use crate::harness::*;

fn at(path: &Path) -> Broker {
    Broker { transport: Transport::Unix, host: String::new(), port: 0, path: path.display().to_string() }
}

fn with(protocol: Protocol, brokers: Vec<Broker>) -> Settings {
    Settings { brokers, ..settings(protocol, 1) }
}

#[tokio::test]
async fn a_socket_delivers_alone_and_in_a_list() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("m.sock");
    let real = Mosquitto::with_lines(&format!("listener 0 {}", socket.display()));
    for protocol in [Protocol::V4, Protocol::V5] {
        for brokers in [vec![at(&socket)], vec![broker("127.0.0.1", free_port()), at(&socket)]] {
            let spool = open_spool();
            let mut link = start(with(protocol, brokers), &spool);
            let status = link.until("up", |status| status.state == LinkState::Up).await;
            assert_eq!(status.broker, format!("unix://{}", socket.display()));
            put(&spool, reading("air", 1));
            eventually("delivered", || spool.is_empty()).await;
            link.end().await;
        }
        let spool = open_spool();
        let gone = at(&folder.path().join("gone.sock"));
        let mut link = start(with(protocol, vec![gone, broker("127.0.0.1", real.port)]), &spool);
        let status = link.until("up", |status| status.state == LinkState::Up).await;
        assert!(status.last_error.unwrap().contains("there is no socket"), "from the socket to the network");
        link.end().await;
    }
}

#[tokio::test]
async fn why_a_socket_cannot_be_used_is_told_with_its_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let (left, file) = (folder.path().join("left.sock"), folder.path().join("file"));
    drop(UnixListener::bind(&left).unwrap());
    std::fs::write(&file, "").unwrap();
    let nobody = "nobody listens at";
    for (path, words) in [
        (left, nobody),
        (file.clone(), nobody),
        (folder.path().join("none"), "has it `listener 0"),
        (file.join("x"), "there is no socket"),
    ] {
        let mut link = start(with(Protocol::V5, vec![at(&path)]), &open_spool());
        let reported = link.failed().await;
        assert!(reported.contains(words) && reported.contains(path.to_str().unwrap()), "{reported}");
        link.end().await;
    }
}
