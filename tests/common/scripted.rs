//! A broker that does what a test says: it accepts and falls silent, refuses, lies, stalls, drops and sends garbage.
//!
//! Each connection has a script, the last one again for all further connections. Everything that clients send is
//! recorded. It routes nothing: what a client is to receive, the test sends.

mod script;

use std::io::{self, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::late::Stalls;
use super::wire::{self, Connect, Packet, Publish};
use super::{ports, wait_for, wait_until};

pub use script::{Answer, Greeting, Script};

/// Between two bytes of a slow broker.
const BYTE_EVERY: Duration = Duration::from_millis(1);

/// A packet that came, and on which connection (from 0).
#[derive(Clone, Debug)]
pub struct Received {
    pub connection: usize,
    pub at: Instant,
    /// Of the whole packet, in bytes.
    pub size: usize,
    pub packet: Packet,
}

#[derive(Default)]
struct Records {
    received: Vec<Received>,
    connections: Vec<Line>,
    malformed: Vec<String>,
}

/// One connection, as far as the test reaches into it.
struct Line {
    stream: TcpStream,
    /// The protocol's, 0 before its CONNECT and after its end.
    level: u8,
    /// To the thread that writes, so that a broker whose client does not read goes on reading. None after its end.
    out: Option<mpsc::Sender<Vec<u8>>>,
}

/// The broker. Dropping it closes every connection and joins every thread.
pub struct ScriptedBroker {
    pub port: u16,
    records: Arc<Mutex<Records>>,
    stopping: Arc<AtomicBool>,
    listener: Option<JoinHandle<()>>,
}

impl ScriptedBroker {
    /// One script for each connection, the last for all others.
    pub fn start(scripts: Vec<Script>) -> Self {
        Self::listen(ports::listen(), scripts)
    }

    /// Starts one on the port of another that has been dropped.
    pub fn start_on(port: u16, scripts: Vec<Script>) -> Self {
        Self::listen(ports::listen_on(port), scripts)
    }

    fn listen(listener: TcpListener, scripts: Vec<Script>) -> Self {
        assert!(!scripts.is_empty(), "at least one script is needed");
        let port = listener.local_addr().unwrap().port();
        let records = Arc::new(Mutex::new(Records::default()));
        let stopping = Arc::new(AtomicBool::new(false));
        let (shared, stop) = (Arc::clone(&records), Arc::clone(&stopping));
        let listener = std::thread::spawn(move || accept(&listener, &scripts, &shared, &stop));
        Self { port, records, stopping, listener: Some(listener) }
    }

    /// `mqtt://127.0.0.1:PORT`, as in a configuration.
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// Everything that came, in order.
    pub fn received(&self) -> Vec<Received> {
        self.records.lock().unwrap().received.clone()
    }

    /// Every CONNECT.
    pub fn connects(&self) -> Vec<Connect> {
        self.pick(|packet| match packet {
            Packet::Connect(connect) => Some(connect.clone()),
            _ => None,
        })
    }

    /// Every message, repeats included.
    pub fn publishes(&self) -> Vec<Publish> {
        self.pick(|packet| match packet {
            Packet::Publish(publish) => Some(publish.clone()),
            _ => None,
        })
    }

    /// Every filter that was subscribed to, with its options byte.
    pub fn filters(&self) -> Vec<(String, u8)> {
        let each = self.pick(|packet| match packet {
            Packet::Subscribe { filters, .. } => Some(filters.clone()),
            _ => None,
        });
        each.concat()
    }

    /// Waits for a message that fits.
    pub fn wait_publish(&self, what: &str, fits: impl Fn(&Publish) -> bool, timeout: Duration) -> Publish {
        wait_for(what, timeout, || self.publishes().into_iter().find(&fits))
    }

    /// Waits for that many CONNECTs in all.
    pub fn wait_connects(&self, count: usize, timeout: Duration) {
        wait_until(&format!("connection {count}"), timeout, || self.connects().len() >= count);
    }

    /// What came that is not MQTT; a test of a well-behaved client expects none.
    pub fn malformed(&self) -> Vec<String> {
        self.records.lock().unwrap().malformed.clone()
    }

    /// Sends a message on every open connection.
    pub fn send(&self, message: &Publish) {
        self.on_open(|line| line.write(wire::encode_publish(message, line.level >= 5)));
    }

    /// Sends these bytes on every open connection.
    pub fn send_raw(&self, bytes: &[u8]) {
        self.on_open(|line| line.write(bytes.to_vec()));
    }

    /// Closes every open connection; new ones are accepted.
    pub fn drop_connections(&self) {
        // The client may have gone at this moment, which the test sees by what it records.
        self.on_open(|line| drop(line.stream.shutdown(Shutdown::Both)));
    }

    fn pick<T>(&self, choose: impl Fn(&Packet) -> Option<T>) -> Vec<T> {
        self.records.lock().unwrap().received.iter().filter_map(|received| choose(&received.packet)).collect()
    }

    fn on_open(&self, mut act: impl FnMut(&Line)) {
        self.records.lock().unwrap().connections.iter().filter(|line| line.level > 0).for_each(&mut act);
    }
}

impl Line {
    fn write(&self, bytes: Vec<u8>) {
        if let Some(out) = &self.out {
            // The writer ends with the connection, which the test sees by what it records.
            out.send(bytes).ok();
        }
    }
}

impl Drop for ScriptedBroker {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        for line in &mut self.records.lock().unwrap().connections {
            // A script that panicked has left its writer waiting. Most of them are closed already.
            line.out = None;
            line.stream.shutdown(Shutdown::Both).ok();
        }
        // Wakes the listener; when it has gone already there is nothing to wake.
        TcpStream::connect(("127.0.0.1", self.port)).ok();
        if self.listener.take().is_some_and(|thread| thread.join().is_err()) && !std::thread::panicking() {
            panic!("a connection of the scripted broker panicked");
        }
    }
}

fn accept(listener: &TcpListener, scripts: &[Script], records: &Arc<Mutex<Records>>, stopping: &AtomicBool) {
    let mut threads = Vec::new();
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        let mut inner = records.lock().unwrap();
        if stopping.load(Ordering::Relaxed) {
            break;
        }
        stream.set_nodelay(true).unwrap();
        let number = inner.connections.len();
        let (out, to_write) = mpsc::channel();
        let reach = stream.try_clone().unwrap();
        inner.connections.push(Line { stream: reach, level: 0, out: Some(out.clone()) });
        drop(inner);
        let script = scripts.get(number).unwrap_or(&scripts[scripts.len() - 1]).clone();
        let (writing, slow) = (stream.try_clone().unwrap(), script.byte_at_a_time);
        threads.push(std::thread::spawn(move || {
            // A client that goes away in the middle of a packet is nothing that a test would not see otherwise.
            write(&writing, slow, &to_write).ok();
            writing.shutdown(Shutdown::Both).ok();
        }));
        let records = Arc::clone(records);
        let mut connection = Connection { stream, out: Some(out), number, script, level: 0, messages: 0, records };
        threads.push(std::thread::spawn(move || {
            connection.serve().ok();
            connection.end();
        }));
    }
    for thread in threads {
        thread.join().unwrap();
    }
}

/// Writes until nobody has anything to write any more.
fn write(mut stream: &TcpStream, slow: bool, to_write: &mpsc::Receiver<Vec<u8>>) -> io::Result<()> {
    for bytes in to_write {
        if !slow {
            stream.write_all(&bytes)?;
            continue;
        }
        for byte in bytes {
            stream.write_all(&[byte])?;
            std::thread::sleep(BYTE_EVERY);
        }
    }
    Ok(())
}

struct Connection {
    stream: TcpStream,
    out: Option<mpsc::Sender<Vec<u8>>>,
    number: usize,
    script: Script,
    level: u8,
    messages: usize,
    records: Arc<Mutex<Records>>,
}

impl Connection {
    /// Ends when the client or the script closes the connection.
    fn serve(&mut self) -> io::Result<()> {
        let mut stalls = Stalls::default();
        while let Some((first, body)) = wire::read_frame(&mut self.stream)? {
            stalls.pass();
            let Some(packet) = wire::parse(first, &body, self.level) else {
                let text = format!("connection {}: {first:#04x} {body:02x?}", self.number);
                self.records.lock().unwrap().malformed.push(text);
                return Ok(());
            };
            let size = wire::frame(first, body).len();
            let received = Received { connection: self.number, at: Instant::now(), size, packet: packet.clone() };
            self.records.lock().unwrap().received.push(received);
            if (self.script.hang_up)(&packet) || !self.answer(packet)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Whether the connection goes on.
    fn answer(&mut self, packet: Packet) -> io::Result<bool> {
        let v5 = self.level >= 5;
        match packet {
            Packet::Connect(connect) => return self.greet(&connect),
            Packet::Publish(publish) => return self.take(&publish),
            Packet::PubRec { id } => self.send(&wire::encode_ack(0x62, id, 0, v5))?,
            Packet::PubRel { id } => self.send(&wire::encode_ack(0x70, id, 0, v5))?,
            Packet::Subscribe { filters, .. } if has(&filters, self.script.forbidden_filter) => return Ok(false),
            Packet::Subscribe { filters, .. } if has(&filters, self.script.ignored_filter) => {}
            Packet::Subscribe { id, filters } if self.script.subacks => {
                let granted = |(_, options): &(String, u8)| self.script.suback.unwrap_or(options & 3);
                let codes: Vec<u8> = filters.iter().map(granted).collect();
                self.send(&wire::encode_suback(0x90, id, &codes, v5))?;
            }
            Packet::Unsubscribe { id, filters } => {
                let codes = if v5 { vec![0; filters.len()] } else { Vec::new() };
                self.send(&wire::encode_suback(0xb0, id, &codes, v5))?;
            }
            Packet::PingReq if self.script.ping => self.send(&wire::frame(0xd0, Vec::new()))?,
            Packet::Disconnect { .. } => return Ok(false),
            Packet::Subscribe { .. }
            | Packet::PingReq
            | Packet::PubAck { .. }
            | Packet::PubComp { .. }
            | Packet::Other { .. } => {}
        }
        Ok(true)
    }

    fn greet(&mut self, connect: &Connect) -> io::Result<bool> {
        let level = connect.level;
        self.level = level;
        let retains = connect.will.as_ref().is_some_and(|will| will.retain);
        let greeting_5 = self.script.greeting_5.as_ref().filter(|_| level >= 5);
        let (session_present, code) = match greeting_5.unwrap_or(&self.script.greeting) {
            _ if retains && self.script.retained_will == Some(0) => return Ok(false),
            _ if retains && self.script.retained_will.is_some() => (false, self.script.retained_will.unwrap_or(0)),
            Greeting::Code(code) => (false, *code),
            Greeting::SessionPresent => (true, 0),
            Greeting::Silence => return Ok(true),
            Greeting::Close => return Ok(false),
            Greeting::Raw(bytes) => {
                let bytes = bytes.clone();
                self.send(&bytes)?;
                return Ok(true);
            }
        };
        let connack = wire::encode_connack(session_present, code, &self.script.properties, level >= 5);
        // In one step for a sender on every open connection: nothing of it may come before the CONNACK, and who has heard
        // that the program is connected must find the connection open.
        let records = Arc::clone(&self.records);
        let mut records = records.lock().unwrap();
        self.send(&connack)?;
        if code == 0 {
            records.connections[self.number].level = level;
        }
        Ok(code == 0)
    }

    fn take(&mut self, publish: &Publish) -> io::Result<bool> {
        let answer = (self.script.publish)(self.messages, publish);
        self.messages += 1;
        match answer {
            Answer::Acknowledge => self.acknowledge(publish, publish.id, 0)?,
            Answer::Reason(reason) => self.acknowledge(publish, publish.id, reason)?,
            Answer::WrongId(id) => self.acknowledge(publish, id, 0)?,
            Answer::Silence => {}
            Answer::DropBefore => return Ok(false),
            Answer::DropAfter => {
                self.acknowledge(publish, publish.id, 0)?;
                return Ok(false);
            }
            Answer::Raw(bytes) => self.send(&bytes)?,
        }
        Ok(true)
    }

    fn acknowledge(&mut self, publish: &Publish, id: u16, reason: u8) -> io::Result<()> {
        if let Some(ledger) = self.script.ledger.as_ref().filter(|_| id == publish.id && reason < 0x80) {
            ledger.note(publish);
        }
        match publish.qos {
            0 => Ok(()),
            1 => self.send(&wire::encode_ack(0x40, id, reason, self.level >= 5)),
            _ => self.send(&wire::encode_ack(0x50, id, reason, self.level >= 5)),
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        self.out.as_ref().ok_or_else(gone)?.send(bytes.to_vec()).map_err(|_| gone())
    }

    fn set_level(&self, level: u8) {
        self.records.lock().unwrap().connections[self.number].level = level;
    }

    /// Lets the writer end when it has written everything, and then the connection.
    fn end(&mut self) {
        self.set_level(0);
        self.records.lock().unwrap().connections[self.number].out = None;
        self.out = None;
    }
}

/// Whether one of the filters has this in it.
fn has(filters: &[(String, u8)], part: Option<&str>) -> bool {
    part.is_some_and(|part| filters.iter().any(|(filter, _)| filter.contains(part)))
}
