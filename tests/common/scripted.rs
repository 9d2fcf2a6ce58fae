//! A broker that does what a test says: it accepts and falls silent, refuses, lies, stalls, drops and sends garbage.
//!
//! Each connection has a script, the last one again for all further connections. Everything that clients send is
//! recorded. It routes nothing: what a client is to receive, the test sends.

use std::io::{self, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::ledger::Ledger;
use super::wire::{self, Connect, Packet, Properties, Publish};
use super::{ports, wait_for, wait_until};

/// Between two bytes of a slow broker.
const BYTE_EVERY: Duration = Duration::from_millis(1);

/// What the broker does with a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// PUBACK, or PUBREC and all that follows, or nothing at QoS 0.
    Acknowledge,
    /// PUBACK or PUBREC with this reason code (MQTT 5).
    Reason(u8),
    /// Nothing at all.
    Silence,
    /// Closes the connection instead of acknowledging.
    DropBefore,
    /// Acknowledges and closes the connection at once.
    DropAfter,
    /// Acknowledges another packet.
    WrongId(u16),
    /// These bytes instead.
    Raw(Vec<u8>),
}

/// What the broker does with a CONNECT.
#[derive(Clone, Debug, PartialEq)]
pub enum Greeting {
    /// CONNACK with this code; 0 accepts, every other closes the connection after it.
    Code(u8),
    /// Accepts, and claims to have kept the session.
    SessionPresent,
    /// Reads on and never answers.
    Silence,
    /// Closes at once.
    Close,
    /// These bytes instead.
    Raw(Vec<u8>),
}

/// Decides about the nth message (from 0) of a connection.
type OnPublish = Arc<dyn Fn(usize, &Publish) -> Answer + Send + Sync>;

/// Whether a packet ends the connection.
type HangUp = Arc<dyn Fn(&Packet) -> bool + Send + Sync>;

/// How one connection goes.
#[derive(Clone)]
pub struct Script {
    greeting: Greeting,
    greeting_5: Option<Greeting>,
    hang_up: HangUp,
    properties: Properties,
    publish: OnPublish,
    suback: Option<u8>,
    subacks: bool,
    /// Hangs up on a subscription that has this in one of its filters.
    forbidden_filter: Option<&'static str>,
    /// Does not answer a subscription that has this in one of its filters.
    ignored_filter: Option<&'static str>,
    /// CONNACK with this code for a will with the retain flag; 0 closes instead.
    retained_will: Option<u8>,
    ping: bool,
    byte_at_a_time: bool,
    ledger: Option<Ledger>,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            greeting: Greeting::Code(0),
            greeting_5: None,
            hang_up: Arc::new(|_| false),
            properties: Properties::default(),
            publish: Arc::new(|_, _| Answer::Acknowledge),
            suback: None,
            subacks: true,
            forbidden_filter: None,
            ignored_filter: None,
            retained_will: None,
            ping: true,
            byte_at_a_time: false,
            ledger: None,
        }
    }
}

impl Script {
    /// A broker as it should be.
    pub fn good() -> Self {
        Self::default()
    }

    /// What it does with the CONNECT.
    pub fn greeting(self, greeting: Greeting) -> Self {
        Self { greeting, ..self }
    }

    /// What it does instead with a CONNECT of MQTT 5, because it is older.
    pub fn greeting_5(self, greeting: Greeting) -> Self {
        Self { greeting_5: Some(greeting), ..self }
    }

    /// Closes the connection without a word when such a packet comes.
    pub fn hang_up_on(self, decide: impl Fn(&Packet) -> bool + Send + Sync + 'static) -> Self {
        Self { hang_up: Arc::new(decide), ..self }
    }

    /// What it does with each message.
    pub fn on_publish(self, decide: impl Fn(usize, &Publish) -> Answer + Send + Sync + 'static) -> Self {
        Self { publish: Arc::new(decide), ..self }
    }

    /// What its CONNACK announces (MQTT 5).
    pub fn properties(self, properties: Properties) -> Self {
        Self { properties, ..self }
    }

    /// The code in every SUBACK, 0x80 and above refuse; otherwise what was asked for is granted.
    pub fn suback(self, code: u8) -> Self {
        Self { suback: Some(code), ..self }
    }

    /// Does not answer subscriptions.
    pub fn no_subacks(self) -> Self {
        Self { subacks: false, ..self }
    }

    /// Closes the connection over a subscription with this in one of its filters.
    pub fn hangs_up_on_filter(self, part: &'static str) -> Self {
        Self { forbidden_filter: Some(part), ..self }
    }

    /// Does not answer a subscription with this in one of its filters.
    pub fn ignores_filter(self, part: &'static str) -> Self {
        Self { ignored_filter: Some(part), ..self }
    }

    /// Refuses a will with the retain flag with this code; 0 closes without a word.
    pub fn refuses_retained_will(self, code: u8) -> Self {
        Self { retained_will: Some(code), ..self }
    }

    /// Does not answer pings.
    pub fn no_pings(self) -> Self {
        Self { ping: false, ..self }
    }

    /// Sends every byte in a packet of its own.
    pub fn byte_at_a_time(self) -> Self {
        Self { byte_at_a_time: true, ..self }
    }

    /// Notes what it acknowledges.
    pub fn noting(self, ledger: &Ledger) -> Self {
        Self { ledger: Some(ledger.clone()), ..self }
    }
}

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

    /// The same on the port of one that has been dropped.
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
        while let Some((first, body)) = wire::read_frame(&mut self.stream)? {
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
