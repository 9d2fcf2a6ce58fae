//! A small HTTP client of our own, down to the bytes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::SOON;
use super::gateway::Gateway;
use super::wait_for;

/// Longer than any limit that cuts a connection.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What the program has said when its page is served.
const SERVED: &str = "The page and the metrics are served. address=";

/// Nobody listens on the broker's port.
pub const USUAL: &str = r#"gateway: { name: shed }
mqtt: { broker: "mqtt://127.0.0.1:1", base_topic: b }
spool: { path: spool }
buses:
  bench: { type: sim, state_file: bench.json }
variables:
  target: { min: 5, max: 30, initial: 19, unit: °C }
sensors:
  air: { driver: bme280, bus: bench, every: 100ms, settings: { address: 0x76 } }
  tide: { driver: waveform, every: 50ms, settings: { shape: counter } }
actuators:
  pump: { driver: gpio-output, bus: bench, settings: { line: GPIO27 }, safe_state: "off", safe_after: never, max_on: 1h }
  slow: { driver: gpio-output, bus: bench, settings: { line: GPIO22 }, safe_state: "off", safe_after: never, min_off: 1h }
rules:
  frost: { when: air.temperature < -100, set: { slow: "on" } }
"#;

/// That configuration with more keys.
pub fn config(http: &str) -> String {
    format!("{USUAL}{http}\n")
}

/// Everybody on this machine may read and switch.
pub const OPEN: &str = "http: { listen: 127.0.0.1:0, control: true }";

/// The program with this, and its page.
pub fn start(folder: &Path, http: &str) -> (Gateway, Site) {
    let gateway = Gateway::start(folder, &config(http));
    let site = Site::of(&gateway);
    (gateway, site)
}

/// The page of a running gateway.
pub struct Site {
    pub address: String,
    /// Fields that each request has, with their line ends.
    pub fields: String,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Site {
    /// Where this gateway's page is, which listens on a port of the kernel's choice.
    pub fn of(gateway: &Gateway) -> Self {
        Self::nth(gateway, 1)
    }

    /// Where the page is after it has been served so often.
    pub fn nth(gateway: &Gateway, times: usize) -> Self {
        let address = wait_for("the page", SOON, || {
            let log = gateway.log();
            let line = log.lines().filter_map(|line| line.split_once(SERVED)).nth(times - 1)?;
            Some(line.1.split_whitespace().next()?.to_owned())
        });
        Self { address, fields: String::new() }
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// A request's head, without the empty line at its end.
    pub fn head(&self, line: &str) -> String {
        format!("{line} HTTP/1.1\r\nhost: {}\r\n{}", self.address, self.fields)
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send(format!("{}connection: close\r\n\r\n", self.head(&format!("GET {path}"))).as_bytes())
    }

    pub fn json(&self, path: &str) -> Value {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        serde_json::from_slice(&answer.body).unwrap()
    }

    /// As the page does it.
    pub fn post(&self, path: &str, body: &str) -> Answer {
        let fields = format!("origin: http://{}\r\nx-fieldgate: 1\r\ncontent-type: application/json\r\n", self.address);
        self.post_with(path, &fields, body)
    }

    pub fn post_with(&self, path: &str, fields: &str, body: &str) -> Answer {
        let head = self.head(&format!("POST {path}"));
        let length = body.len();
        self.send(format!("{head}{fields}connection: close\r\ncontent-length: {length}\r\n\r\n{body}").as_bytes())
    }

    /// Whatever comes back until the other side closes.
    pub fn send(&self, bytes: &[u8]) -> Answer {
        let mut stream = self.connect();
        // It may have been refused before all of it was sent.
        stream.write_all(bytes).ok();
        read(&mut stream)
    }

    pub fn events(&self) -> Events {
        let mut stream = self.connect();
        write!(stream, "{}\r\n", self.head("GET /api/events")).unwrap();
        Events(BufReader::new(stream))
    }

    /// A metric's value by its name and labels as they are written.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let text = String::from_utf8(self.get("/metrics").body).unwrap();
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }
}

/// Everything until the end of the connection, which may be cut.
pub fn read(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).ok();
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").map_or(bytes.len(), |end| end + 4);
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let status = head.split_whitespace().nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, head, body: bytes.split_off(end) }
}

/// A stream of events.
pub struct Events(BufReader<TcpStream>);

impl Events {
    /// The next event's name and data; nothing when the stream has ended.
    pub fn next(&mut self) -> Option<(String, Value)> {
        let (mut name, mut line) = (String::new(), String::new());
        loop {
            line.clear();
            if self.0.read_line(&mut line).ok()? == 0 {
                return None;
            }
            // Sizes of chunks, numbers and empty lines stand between.
            if let Some(event) = line.strip_prefix("event: ") {
                event.trim().clone_into(&mut name);
            } else if let Some(data) = line.strip_prefix("data: ") {
                return Some((name, serde_json::from_str(data).unwrap()));
            }
        }
    }

    /// The first event for which this is something. Others come all the time, so that no limit of the stream ends it.
    pub fn wait<T>(&mut self, mut look: impl FnMut(&str, &Value) -> Option<T>) -> T {
        wait_for("an event", PATIENCE, || {
            let (name, data) = self.next().expect("the stream goes on");
            look(&name, &data)
        })
    }
}
