//! What a client may take and send: the limits of the page's server, each with a client that goes beyond it.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic")]
#![allow(clippy::print_stderr, reason = "a random test prints its seed")]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use common::http::{OPEN, Site, read, start};
use common::{SOON, wait_until};

#[test]
fn what_is_too_large_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (_gateway, site) = start(folder.path(), OPEN);
    let get =
        |fields: &str| site.send(format!("{}{fields}connection: close\r\n\r\n", site.head("GET /healthz")).as_bytes());
    assert_eq!(get(&format!("x: {}\r\n", "y".repeat(8000))).status, 200);
    assert_eq!(get(&format!("x: {}\r\n", "y".repeat(100_000))).status, 431);
    assert_eq!(get(&"x: y\r\n".repeat(100)).status, 431);
    assert_eq!(site.get(&format!("/{}", "y".repeat(100_000))).status, 431);
    assert_eq!(site.post("/api/actuators/pump", &format!("{{\"value\":\"{}\"}}", "y".repeat(10_000))).status, 413);
    let head = site.head("POST /api/actuators/pump");
    let own = "x-fieldgate: 1\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunks = format!("1000\r\n{}\r\n", "y".repeat(0x1000)).repeat(4);
    assert_eq!(site.send(format!("{head}{own}{chunks}0\r\n\r\n").as_bytes()).status, 413);
    assert_eq!(site.get("/healthz").status, 200);
}

#[test]
fn who_is_slow_is_cut_and_others_are_answered_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let (_gateway, site) = start(folder.path(), OPEN);
    let began = Instant::now();
    let half = |text: String| {
        let mut stream = site.connect();
        stream.write_all(text.as_bytes()).unwrap();
        stream
    };
    let own = "x-fieldgate: 1\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
    let mut slow: Vec<TcpStream> = (0..20).map(|_| half(site.head("GET /"))).collect();
    slow.extend((0..5).map(|_| half(String::new())));
    slow.extend((0..5).map(|_| half(format!("{}{own}", site.head("POST /api/actuators/pump")))));
    // One that asked once and then keeps its place.
    slow.push(half(format!("{}\r\n", site.head("GET /healthz"))));
    assert_eq!(site.get("/healthz").status, 200);
    // Reading ends when the other side has closed: a limit that does not hold would be waited for in vain.
    for stream in &mut slow {
        read(stream);
    }
    assert!(began.elapsed() >= Duration::from_secs(9), "nobody is cut before it is late");
    assert_eq!(site.get("/healthz").status, 200);
}

#[test]
fn many_idle_streams_are_bounded_in_number_and_memory() {
    let folder = tempfile::tempdir().unwrap();
    let (gateway, site) = start(folder.path(), OPEN);
    assert_eq!(site.get("/api/state").status, 200);
    let before = gateway.own_memory();
    let ask = format!("{}\r\n", site.head("GET /api/events"));
    let streams: Vec<_> = (0..400)
        .map(|_| {
            let mut stream = site.connect();
            // One that is refused may be closed already.
            stream.write_all(ask.as_bytes()).ok();
            stream
        })
        .collect();
    let mut statuses = [0; 3];
    for mut stream in streams.iter() {
        let mut head = [0; 12];
        let is_there = stream.read_exact(&mut head).is_ok();
        let place = match (is_there, &head[9..]) {
            (true, b"200") => 0,
            (true, b"503") => 1,
            _ => 2,
        };
        statuses[place] += 1;
    }
    assert_eq!(statuses[0], 16, "{statuses:?}");
    // A connection that is closed with a request unread may be reset before its answer is read.
    assert_eq!(statuses.iter().sum::<usize>(), 400);
    let grown = gateway.own_memory().saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes for 400 streams");
    drop(streams);
    wait_until("room again", SOON, || site.get("/healthz").status == 200);
    wait_until("a stream again", SOON, || site.events().next().is_some());
}

/// Requests as nobody should send them: good ones with bytes changed, cut, doubled, and noise.
fn hostile(random: &mut fastrand::Rng, site: &Site) -> Vec<u8> {
    let paths = [
        "/",
        "/api/state",
        "/api/history",
        "/metrics",
        "/healthz",
        "/api/actuators/pump",
        "/../etc/passwd",
        "//",
        "/%00",
        "*",
    ];
    let methods = ["GET", "HEAD", "POST", "PUT", "OPTIONS", "CONNECT", "TRACE", "PRI"];
    let path = paths[random.usize(..paths.len())];
    let method = methods[random.usize(..methods.len())];
    let body = r#"{"value":"on"}"#;
    let mut bytes = format!(
        "{}x-fieldgate: 1\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        site.head(&format!("{method} {path}")),
        body.len()
    )
    .into_bytes();
    for _ in 0..random.usize(..6) {
        let at = random.usize(..bytes.len());
        match random.u8(..5) {
            0 => bytes[at] = random.u8(..),
            1 => bytes.truncate(at.max(1)),
            2 => drop(bytes.splice(at..at, std::iter::repeat_n(random.u8(..), random.usize(..3000)))),
            3 => drop(bytes.splice(at..at, b"\r\n".iter().copied())),
            _ => bytes.extend_from_within(at..),
        }
    }
    bytes
}

#[test]
fn hostile_requests_are_survived() {
    let count = if std::env::var("FIELDGATE_FAULTS").is_ok_and(|scale| scale == "long") { 100_000 } else { 1000 };
    let folder = tempfile::tempdir().unwrap();
    let (gateway, site) = start(folder.path(), "http: { listen: 127.0.0.1:0 }");
    let mut random = fastrand::Rng::with_seed(common::seed());
    eprintln!("seed {}", common::seed());
    let before = gateway.own_memory();
    for nth in 0..count {
        let bytes = hostile(&mut random, &site);
        let mut stream = site.connect();
        stream.write_all(&bytes).ok();
        // Half of a request is answered when its end is known.
        stream.shutdown(std::net::Shutdown::Write).ok();
        let answer = read(&mut stream);
        assert!(answer.status < 500 || answer.status == 503, "number {nth}: {answer:?}");
    }
    assert_eq!(site.get("/healthz").status, 200);
    assert!(!gateway.log().contains("panicked"), "{}", gateway.log());
    let grown = gateway.own_memory().saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes");
}

/// Counted, not timed: whatever the machine, each reading that was taken must be there while requests are answered.
#[test]
fn readings_are_not_lost_beside_a_flood_of_requests() {
    let folder = tempfile::tempdir().unwrap();
    let (gateway, site) = start(folder.path(), OPEN);
    let tide = r#"fieldgate_readings_total{sensor="tide"}"#;
    wait_until("readings", SOON, || site.metric(tide).is_some_and(|count| count > 2.0));
    let before = site.metric(tide).unwrap();
    let (began, each) = (Instant::now(), 1000);
    std::thread::scope(|scope| {
        for path in ["/metrics", "/api/state"] {
            let site = &site;
            scope.spawn(move || {
                let mut stream = site.connect();
                let ask = format!("{}\r\n", site.head(&format!("GET {path}")));
                for _ in 0..each {
                    stream.write_all(ask.as_bytes()).unwrap();
                    read_one(&mut stream);
                }
            });
        }
    });
    let took = began.elapsed();
    eprintln!("{} requests in {took:?}", 2 * each);
    wait_until("more readings", SOON, || site.metric(tide).is_some_and(|count| count > before));
    assert_eq!(site.metric("fieldgate_spool_dropped_readings_total"), Some(0.0));
    assert!(!gateway.log().contains("lost"), "{}", gateway.log());
}

/// One answer of a connection that stays.
fn read_one(stream: &mut TcpStream) {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or_else(|| panic!("{head}"))];
    stream.read_exact(&mut body).unwrap();
}
