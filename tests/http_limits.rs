//! What a client may take and send: the limits of the page's server, each with a client that goes beyond it.
//!
//! What begins with `w` is a row of docs/reliability.md: `FIELDGATE_FAULTS` says how much is tried, as in the fault suite.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic")]
#![allow(clippy::print_stderr, reason = "a random test prints its seed, and a row what happened")]

mod common;
#[allow(dead_code, reason = "a part of it is used here")]
#[path = "faults/suite.rs"]
mod suite;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime};

use common::gateway::Gateway;
use common::http::{OPEN, PATIENCE, Site, config, read, start};
use common::{SOON, pace, wait_until};
use fieldgate::http::{MAX_CONNECTIONS, MAX_STREAMS};
use serde_json::Value;
use suite::{chance, report, times};

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

/// Bytes trickle in on every place there is, so no connection is idle; the limit is for the whole head.
#[test]
fn w2_a_slow_head_on_every_place_is_cut_and_others_are_answered_again() {
    let folder = tempfile::tempdir().unwrap();
    let (gateway, site) = start(folder.path(), OPEN);
    let (before, began) = (gateway.own_memory(), Instant::now());
    let mut slow: Vec<TcpStream> = (0..MAX_CONNECTIONS).map(|_| site.connect()).collect();
    for stream in &mut slow {
        stream.write_all(b"GET / HTTP/1.1\r\nx: ").unwrap();
        stream.set_nonblocking(true).unwrap();
    }
    wait_until("no place", SOON, || site.get("/healthz").status == 503);
    let mut trickled = 0;
    while !slow.is_empty() {
        assert!(began.elapsed() < PATIENCE, "{} are not cut", slow.len());
        slow.retain_mut(|stream| {
            trickled += usize::from(stream.write(b"y").is_ok());
            matches!(stream.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
        });
        std::thread::sleep(Duration::from_millis(100));
    }
    let cut = began.elapsed();
    assert!(cut >= Duration::from_secs(9) && trickled > MAX_CONNECTIONS, "{cut:?}, {trickled} bytes");
    wait_until("an answer", SOON, || site.get("/healthz").status == 200);
    let grown = gateway.own_memory().saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes for {MAX_CONNECTIONS} connections");
    let happened =
        format!("all cut after {:.1} s, others answered then; memory +{} kB", cut.as_secs_f64(), grown >> 10);
    report("W2", &format!("a byte now and then on each of {MAX_CONNECTIONS} places"), &happened);
}

#[test]
fn w3_many_idle_streams_are_bounded_in_number_and_memory() {
    let folder = tempfile::tempdir().unwrap();
    let (gateway, site) = start(folder.path(), OPEN);
    assert_eq!(site.get("/api/state").status, 200);
    let (before, tried) = (gateway.own_memory(), 1000);
    let ask = format!("{}\r\n", site.head("GET /api/events"));
    let streams: Vec<_> = (0..tried)
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
    assert_eq!(statuses[0], MAX_STREAMS, "{statuses:?}");
    // A connection that is closed with a request unread may be reset before its answer is read.
    assert_eq!(statuses.iter().sum::<usize>(), tried);
    let grown = gateway.own_memory().saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes for {tried} streams");
    drop(streams);
    wait_until("room again", SOON, || site.get("/healthz").status == 200);
    wait_until("a stream again", SOON, || site.events().next().is_some());
    let happened =
        format!("{} served, the others refused; memory +{} kB; served again afterwards", statuses[0], grown >> 10);
    report("W3", &format!("{tried} idle streams"), &happened);
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
fn w1_hostile_requests_are_survived() {
    let tried = times(1000, 10_000, 100_000);
    let folder = tempfile::tempdir().unwrap();
    let (gateway, site) = start(folder.path(), "http: { listen: 127.0.0.1:0 }");
    let mut random = chance("w1");
    let (before, mut answered) = (gateway.own_memory(), 0);
    for nth in 0..tried {
        let bytes = hostile(&mut random, &site);
        let mut stream = site.connect();
        stream.write_all(&bytes).ok();
        // Half of a request is answered when its end is known.
        stream.shutdown(std::net::Shutdown::Write).ok();
        let answer = read(&mut stream);
        assert!(answer.status < 500 || answer.status == 503, "number {nth}: {answer:?}");
        answered += usize::from(answer.status == 200);
    }
    assert_eq!(site.get("/healthz").status, 200);
    assert!(!gateway.log().contains("panicked"), "{}", gateway.log());
    let grown = gateway.own_memory().saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes");
    let happened = format!("no panic, {answered} were still good and answered; memory +{} kB", grown >> 10);
    report("W1", &format!("{tried} requests: changed, cut, doubled, noise"), &happened);
}

/// What the sensor `tide` has taken and missed.
fn taken_and_skipped(site: &Site) -> (f64, f64) {
    let of = |family: &str| site.metric(&format!("fieldgate_{family}{{sensor=\"tide\"}}")).unwrap_or_default();
    (of("readings_total"), of("skipped_samples_total"))
}

/// Each of `count` requests at its time, one a period after the other, on a connection that stays.
fn ask_steadily(site: &Site, path: &str, count: u32, period: Duration) {
    let mut stream = BufReader::new(site.connect());
    let ask = format!("{}\r\n", site.head(&format!("GET {path}")));
    let began = Instant::now();
    for nth in 0..count {
        std::thread::sleep((period * nth).saturating_sub(began.elapsed()));
        stream.get_mut().write_all(ask.as_bytes()).unwrap();
        read_one(&mut stream);
    }
}

/// What the sensor `tide` takes and skips while this runs, and for how long. Of what is skipped, so much may be the machine's.
fn readings_while(site: &Site, run: impl FnOnce()) -> (f64, f64, Duration) {
    let (before, began) = (taken_and_skipped(site), Instant::now());
    run();
    let (took, late) = (began.elapsed(), pace::taken_since(began));
    wait_until("more readings", SOON, || taken_and_skipped(site).0 > before.0);
    let after = taken_and_skipped(site);
    let (taken, skipped) = (after.0 - before.0, after.1 - before.1);
    // One every 50 ms; what the machine took from everybody is not the page's.
    let allowed = late.as_secs_f64() / 0.05 + 1.0;
    assert!(skipped <= allowed, "{skipped} skipped in {took:?}, {late:?} of it the machine's");
    (taken, skipped, took)
}

#[test]
fn w5_a_thousand_requests_a_second_cost_no_reading() {
    let folder = tempfile::tempdir().unwrap();
    let (gateway, site) = start(folder.path(), OPEN);
    wait_until("readings", SOON, || taken_and_skipped(&site).0 > 2.0);
    let seconds = times(2, 10, 60);
    let (_, usual, _) = readings_while(&site, || std::thread::sleep(Duration::from_secs(seconds.into())));
    let ask = |path| ask_steadily(&site, path, 500 * seconds, Duration::from_millis(2));
    let (share, (taken, skipped, took)) = share_of_core(&gateway, || {
        readings_while(&site, || {
            std::thread::scope(|scope| {
                scope.spawn(|| ask("/metrics"));
                scope.spawn(|| ask("/api/state"));
            });
        })
    });
    assert_eq!(site.metric("fieldgate_spool_dropped_readings_total"), Some(0.0));
    assert!(!gateway.log().contains("lost"), "{}", gateway.log());
    let rate = f64::from(1000 * seconds) / took.as_secs_f64();
    let happened = format!(
        "{taken} readings of one sensor meanwhile, {skipped} skipped, before that in {seconds} s {usual}; {share:.0} % of a core"
    );
    report("W5", &format!("{rate:.0} requests a second for {seconds} s, beside a reading every 50 ms"), &happened);
}

/// The configuration with so many sensors, each read ten times a second.
fn many(sensors: usize) -> String {
    let line = |n: usize| format!("  s{n}: {{ driver: waveform, every: 100ms, settings: {{ shape: sine }} }}\n");
    let lines: String = (0..sensors).map(line).collect();
    config(OPEN).replace("sensors:\n", &format!("sensors:\n{lines}"))
}

/// The share of a core that the gateway uses while this runs, in percent, and what it gives.
fn share_of_core<T>(gateway: &Gateway, run: impl FnOnce() -> T) -> (f64, T) {
    let (began, used) = (Instant::now(), gateway.processor_time());
    let result = run();
    let used = gateway.processor_time() - used;
    (100.0 * used.as_secs_f64() / began.elapsed().as_secs_f64(), result)
}

/// When the gateway made this event.
fn made_at(event: &Value) -> SystemTime {
    humantime::parse_rfc3339(event["now"].as_str().unwrap()).unwrap()
}

#[test]
fn w6_a_page_beside_two_hundred_sensors_is_sent_four_updates_a_second_at_most() {
    let (folder, updates) = (tempfile::tempdir().unwrap(), times(12, 40, 240));
    let gateway = Gateway::start(folder.path(), &many(200));
    let site = Site::of(&gateway);
    wait_until("readings", SOON, || taken_and_skipped(&site).0 > 2.0);
    let period = Duration::from_millis(250) * updates;
    let (without, ()) = share_of_core(&gateway, || std::thread::sleep(period));
    let mut events = site.events();
    let (began, first) = (Instant::now(), events.wait(|name, data| (name == "change").then(|| made_at(data))));
    let (with, (last, bytes)) = share_of_core(&gateway, || {
        let (mut last, mut bytes) = (first, 0);
        for _ in 0..updates {
            let (name, data) = events.next().unwrap();
            let sensors = data["sensors"].as_array().map_or(0, Vec::len);
            assert!(name == "change" && sensors <= 202, "{name}: {sensors} sensors");
            (last, bytes) = (made_at(&data), bytes + data.to_string().len());
        }
        (last, bytes)
    });
    // By the gateway's own time. The first may have been late by a period, or by what the machine took, and the last was not.
    let (lasted, late) = (last.duration_since(first).unwrap(), pace::taken_since(began));
    assert!(
        lasted + late >= Duration::from_millis(250) * (updates - 1),
        "{updates} updates in {lasted:?}, {late:?} late"
    );
    let rate = bytes as f64 / 1000.0 / lasted.as_secs_f64();
    let happened = format!("{updates} updates, {rate:.0} kB/s; {with:.1} % of a core, without the page {without:.1} %");
    report("W6", &format!("a page for {:.0} s beside 200 sensors at 10 readings/s", lasted.as_secs_f64()), &happened);
}

/// One answer of a connection that stays.
fn read_one(stream: &mut BufReader<TcpStream>) {
    let (mut length, mut line) = (0, String::new());
    while stream.read_line(&mut line).unwrap() > 2 {
        if let Some(bytes) = line.to_lowercase().strip_prefix("content-length: ") {
            length = bytes.trim().parse().unwrap();
        }
        line.clear();
    }
    assert!(length > 0, "an answer without a body");
    stream.read_exact(&mut vec![0; length]).unwrap();
}
