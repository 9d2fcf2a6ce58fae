//! A cable between a client and a broker that can be torn, and that keeps account of what went over it.
//!
//! A subscriber cannot say what a broker had taken that was killed a moment later: the broker may acknowledge, and die before it
//! hands on. The relay can: it has seen every message and every acknowledgement.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::ports;
use super::wire::{self, Packet};

/// Topic and payload.
type Sent = (String, String);

#[derive(Default)]
struct Seen {
    /// By the number of the connection.
    open: BTreeMap<usize, (TcpStream, TcpStream)>,
    accepted: usize,
    connects: usize,
    published: Vec<Sent>,
    acknowledged: Vec<Sent>,
}

/// The cable. Dropping it tears it.
pub struct Relay {
    pub port: u16,
    seen: Arc<Mutex<Seen>>,
    stopping: Arc<AtomicBool>,
    listener: Option<JoinHandle<()>>,
}

impl Relay {
    /// A cable to a broker on loopback; it need not be there yet. Each packet takes `delay`, so that something
    /// is under way whenever the cable is torn.
    pub fn to(broker: u16, delay: Duration) -> Self {
        let listener = ports::listen();
        let port = listener.local_addr().unwrap().port();
        let (seen, stopping) = (Arc::<Mutex<Seen>>::default(), Arc::new(AtomicBool::new(false)));
        let (shared, stop) = (Arc::clone(&seen), Arc::clone(&stopping));
        let listener = std::thread::spawn(move || accept(&listener, (broker, delay), &shared, &stop));
        Self { port, seen, stopping, listener: Some(listener) }
    }

    /// `mqtt://127.0.0.1:PORT`, as in a configuration.
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// Resets every open connection on both sides; returns how many there were.
    pub fn tear(&self) -> usize {
        let open = std::mem::take(&mut self.seen.lock().unwrap().open);
        for (near, far) in open.values() {
            // Either side may have gone already.
            rustix::net::connect_unspec(near).ok();
            rustix::net::connect_unspec(far).ok();
        }
        open.len()
    }

    /// Whether a connection is open.
    pub fn is_open(&self) -> bool {
        !self.seen.lock().unwrap().open.is_empty()
    }

    /// How often somebody connected, whether the broker was there or not.
    pub fn accepted(&self) -> usize {
        self.seen.lock().unwrap().accepted
    }

    /// Every CONNECT that came.
    pub fn connects(&self) -> usize {
        self.seen.lock().unwrap().connects
    }

    /// Every message that a client sent, repeats included.
    pub fn published(&self) -> Vec<Sent> {
        self.seen.lock().unwrap().published.clone()
    }

    /// Every message that the broker acknowledged, in the order of its acknowledgements.
    pub fn acknowledged(&self) -> Vec<Sent> {
        self.seen.lock().unwrap().acknowledged.clone()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.tear();
        // Wakes the listener; when it has gone already there is nothing to wake.
        TcpStream::connect(("127.0.0.1", self.port)).ok();
        let Some(listener) = self.listener.take() else { return };
        // What was accepted just before may open only now, and whoever has connected may stay.
        while !listener.is_finished() {
            self.tear();
            std::thread::sleep(super::LOOK_EVERY);
        }
        if listener.join().is_err() && !std::thread::panicking() {
            panic!("a connection of the relay panicked");
        }
    }
}

fn accept(listener: &TcpListener, (broker, delay): (u16, Duration), seen: &Arc<Mutex<Seen>>, stopping: &AtomicBool) {
    let mut threads = Vec::new();
    for near in listener.incoming() {
        if stopping.load(Ordering::Relaxed) {
            break;
        }
        let Ok(near) = near else { continue };
        let number = {
            let mut seen = seen.lock().unwrap();
            seen.accepted += 1;
            seen.accepted
        };
        let Ok(far) = TcpStream::connect(("127.0.0.1", broker)) else {
            rustix::net::connect_unspec(&near).ok();
            continue;
        };
        near.set_nodelay(true).unwrap();
        far.set_nodelay(true).unwrap();
        seen.lock().unwrap().open.insert(number, (near.try_clone().unwrap(), far.try_clone().unwrap()));
        // What is under way on this connection, by packet identifier.
        let flying = Arc::<Mutex<BTreeMap<u16, Sent>>>::default();
        let (up, down) = ((near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near));
        let (other, out) = (Arc::clone(seen), Arc::clone(&flying));
        threads.push(std::thread::spawn(move || {
            // The end of one side ends the other; an error is an end like any.
            upward(&up, delay, &other, &out).ok();
            up.1.shutdown(Shutdown::Both).ok();
            other.lock().unwrap().open.remove(&number);
        }));
        let seen = Arc::clone(seen);
        threads.push(std::thread::spawn(move || {
            downward(&down, delay, &seen, &flying).ok();
            down.1.shutdown(Shutdown::Both).ok();
        }));
    }
    for thread in threads {
        thread.join().unwrap();
    }
}

type Pair = (TcpStream, TcpStream);

/// From the client to the broker.
fn upward(
    (near, far): &Pair,
    delay: Duration,
    seen: &Mutex<Seen>,
    flying: &Mutex<BTreeMap<u16, Sent>>,
) -> io::Result<()> {
    let (mut from, mut to, mut level) = (BufReader::new(near), far, 0);
    while let Some((first, body)) = wire::read_frame(&mut from)? {
        std::thread::sleep(delay);
        match wire::parse(first, &body, level) {
            Some(Packet::Connect(connect)) => {
                level = connect.level;
                seen.lock().unwrap().connects += 1;
            }
            Some(Packet::Publish(publish)) => {
                let publication = (publish.topic.clone(), publish.text());
                seen.lock().unwrap().published.push(publication.clone());
                flying.lock().unwrap().insert(publish.id, publication);
            }
            _ => {}
        }
        to.write_all(&wire::frame(first, body))?;
    }
    Ok(())
}

/// From the broker to the client.
fn downward(
    (far, near): &Pair,
    delay: Duration,
    seen: &Mutex<Seen>,
    flying: &Mutex<BTreeMap<u16, Sent>>,
) -> io::Result<()> {
    let (mut from, mut to) = (BufReader::new(far), near);
    while let Some((first, body)) = wire::read_frame(&mut from)? {
        std::thread::sleep(delay);
        if first == 0x40 && body.get(2).is_none_or(|reason| *reason < 0x80) {
            let publication = flying.lock().unwrap().remove(&u16::from_be_bytes([body[0], body[1]]));
            seen.lock().unwrap().acknowledged.extend(publication);
        }
        to.write_all(&wire::frame(first, body))?;
    }
    Ok(())
}
