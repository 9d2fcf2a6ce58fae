//! The demo's broker: rumqttd on loopback, MQTT 3.1.1, memory only.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};

/// How many ports are tried from the wanted one upwards.
const TRIES: u16 = 100;

/// The broker is expected to listen within this time.
const START: Duration = Duration::from_secs(5);

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Starts the broker on `wanted`, or on the next port that is free, and returns which that is.
pub(super) fn start(wanted: u16) -> Result<u16, String> {
    let is_free = |port: &u16| TcpListener::bind(loopback(*port)).is_ok();
    for port in (wanted..=wanted.saturating_add(TRIES)).filter(is_free) {
        match start_on(port) {
            Ok(()) => return Ok(port),
            // Somebody else took the port after it was found free.
            Err(_) if !is_free(&port) => {}
            Err(words) => return Err(format!("the demo's broker did not start: {words}")),
        }
    }
    Err(format!("no free port from {wanted} upwards"))
}

/// Starts the broker in a thread of its own and waits until it listens. It has no stop call: it ends with the program.
fn start_on(port: u16) -> Result<(), String> {
    let mut broker = Broker::new(settings(port));
    let (ended, end) = sync_channel(1);
    let broker_thread = move || {
        let words = match broker.start() {
            Ok(()) => "it ended by itself".to_owned(),
            Err(e) => e.to_string(),
        };
        // Nobody listens any more once the demo runs.
        ended.send(words).ok();
    };
    std::thread::Builder::new().name("demo broker".into()).spawn(broker_thread).map_err(|e| e.to_string())?;
    let started = Instant::now();
    while started.elapsed() < START {
        match end.recv_timeout(Duration::from_millis(20)) {
            Ok(words) => return Err(words),
            Err(RecvTimeoutError::Disconnected) => return Err("it panicked".into()),
            Err(RecvTimeoutError::Timeout) if TcpStream::connect(loopback(port)).is_ok() => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
    Err("it does not listen".into())
}

fn settings(port: u16) -> Config {
    let connections = ConnectionSettings {
        connection_timeout_ms: 5000,
        max_payload_size: 256 * 1024,
        max_inflight_count: 100,
        auth: None,
        external_auth: None,
        dynamic_filters: true,
    };
    let server = ServerSettings {
        name: "demo".into(),
        listen: loopback(port),
        tls: None,
        next_connection_delay_ms: 1,
        connections,
    };
    let router = RouterConfig {
        max_connections: 100,
        max_outgoing_packet_count: 200,
        max_segment_size: 1024 * 1024,
        max_segment_count: 4,
        ..RouterConfig::default()
    };
    Config { router, v4: Some(HashMap::from([("demo".to_owned(), server)])), ..Config::default() }
}
