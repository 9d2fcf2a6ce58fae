//! B7: packets as no broker sends them.
//!
//! Valid packets of every kind are changed by chance and sent to the running program. Behind each one comes a message whose
//! acknowledgement shows that the changed one was taken in; a connection that ends shows it as well. Most end it, and a new
//! one takes its time; so many more go to the client library's decoder alone.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::Signal;

use crate::common::gateway::{Gateway, write_config};
use crate::common::quick::{config, folder, received, received_of, taken_of};
use crate::common::scripted::{Script, ScriptedBroker};
use crate::common::wire::{self, Packet, Properties, Publish};
use crate::common::{SOON, ports, wait_until};
use crate::suite::{chance, report, times};

/// Resident memory may grow by this much besides what waits in the spool.
const GROWTH: u64 = 1 << 20;

/// What may wait in memory: after so many ends in a row over them, readings and answers are held back, and gather.
const WAITING: u64 = 2 << 20;

/// The packet identifier of the message behind a changed packet.
const MARKER: u16 = 0x7a7a;

/// After so many the program has touched what it needs, and memory is measured from there.
const WARM: usize = 2000;

/// A program that says nothing for so long waits for more, or has nothing to say; shorter than between two readings.
const ANSWER: Duration = Duration::from_millis(150);

/// Every so many connections one is served as it should be.
const CALM_EVERY: usize = 100;

/// For each generation of MQTT.
const GATEWAYS: usize = 4;

/// Slowly, for what waits in the spool meanwhile takes memory as well.
const RATE: &str = "sensors:\n  n: { driver: waveform, every: 200ms, settings: { shape: counter } }\n";

/// A valid packet of every kind that a broker may send.
fn seeds(v5: bool) -> Vec<Vec<u8>> {
    let text = |id: u8, text: &str| Properties::default().with(id, text);
    let message = |qos: u8| Publish {
        topic: "b/actuators/pump/set".into(),
        payload: b"{\"value\":\"on\",\"id\":\"a\"}".to_vec(),
        qos,
        id: 77,
        properties: text(Properties::RESPONSE_TOPIC, "answers/here")
            .with(Properties::CORRELATION_DATA, [1, 2, 3])
            .with(Properties::MESSAGE_EXPIRY, [0, 0, 0, 9])
            .with(Properties::USER, "name=value"),
        ..Publish::default()
    };
    let announced = text(Properties::REASON_STRING, "welcome")
        .with(Properties::RECEIVE_MAXIMUM, [0, 20])
        .with(Properties::MAXIMUM_QOS, [1])
        .with(Properties::MAXIMUM_PACKET_SIZE, [0, 1, 0, 0])
        .with(Properties::SERVER_KEEP_ALIVE, [0, 60]);
    let mut all = vec![wire::encode_connack(false, 0, &announced, v5), wire::frame(0xd0, Vec::new())];
    // Several times, for most of the others end the connection, and much is to be seen on one that goes on.
    all.extend((0..9).map(|nth| wire::encode_publish(&message(nth % 3), v5)));
    all.extend([0x40, 0x50, 0x62, 0x70].map(|first| wire::encode_ack(first, 0x7000, 0x10, v5)));
    all.extend([0x90, 0xb0].map(|first| wire::encode_suback(first, 0x7000, &[1, 0], v5)));
    all.extend([wire::encode_disconnect(0x8b), wire::frame(0xf0, vec![0x18, 6, 0x15, 0, 3, b'a', b'b', b'c'])]);
    all
}

/// One of the seeds, changed in one to three ways.
fn mutant(seeds: &[Vec<u8>], chance: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = seeds[chance.usize(..seeds.len())].clone();
    for _ in 0..[1, 1, 1, 2, 3][chance.usize(..5)] {
        let at = chance.usize(..bytes.len());
        match chance.u32(..8) {
            0 | 1 => bytes[at] ^= 1 << chance.u32(..8),
            2 => bytes[at] = chance.u8(..),
            3 => bytes.truncate(at.max(1)),
            4 => bytes.insert(at, chance.u8(..)),
            // The longest that MQTT can say: 256 MB.
            5 => drop(bytes.splice(1..2.min(bytes.len()), [0xff, 0xff, 0xff, 0x7f])),
            6 => drop(bytes.splice(1..2.min(bytes.len()), [0x80 | chance.u8(..0x80), chance.u8(..0x80)])),
            _ => {
                let again = bytes[at..].to_vec();
                bytes.extend(again);
            }
        }
    }
    // Most are framed again, because a wrong length hides everything else that is wrong.
    if chance.u32(..4) > 0 { wire::frame(bytes[0], bytes.get(2..).unwrap_or_default().to_vec()) } else { bytes }
}

/// The frames in these bytes; none when they do not end with the last of them.
fn frames(mut bytes: &[u8]) -> Option<Vec<(u8, Vec<u8>)>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        all.push(wire::read_frame(&mut bytes).ok()??);
    }
    Some(all)
}

/// Whether the program must rightly wait for a minute: rows B3 and B5.
fn earns_a_minute(bytes: &[u8]) -> bool {
    let each = |(first, body): &(u8, Vec<u8>)| match first >> 4 {
        2 => matches!(body.get(1), Some(2 | 4 | 5 | 0x85 | 0x86 | 0x87 | 0x8c)),
        14 => body.first() == Some(&0x8e),
        _ => false,
    };
    let mut rest = bytes;
    while let Ok(Some(frame)) = wire::read_frame(&mut rest) {
        if each(&frame) {
            return true;
        }
    }
    false
}

/// The broker of one gateway.
struct Mutator {
    listener: TcpListener,
    seeds: Vec<Vec<u8>>,
    v5: bool,
    chance: fastrand::Rng,
    sent: usize,
    connects: usize,
}

impl Mutator {
    fn next(&mut self) -> Vec<u8> {
        self.sent += 1;
        loop {
            let bytes = mutant(&self.seeds, &mut self.chance);
            if !earns_a_minute(&bytes) {
                return bytes;
            }
        }
    }

    fn accept(&mut self) -> TcpStream {
        let limit = rustix::time::Timespec { tv_sec: 10, tv_nsec: 0 };
        let mut ready = [PollFd::new(&self.listener, PollFlags::IN)];
        assert_eq!(poll(&mut ready, Some(&limit)).unwrap(), 1, "waited in vain for the next connection");
        let (stream, _) = self.listener.accept().unwrap();
        self.connects += 1;
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(ANSWER)).unwrap();
        stream
    }

    /// Serves one connection until the program ends it, or until it waits for the rest of a packet.
    fn serve(&mut self, count: usize) {
        let stream = self.accept();
        // An error is the end of the connection, which is what most of this is about.
        if self.connects.is_multiple_of(CALM_EVERY) {
            self.calm(&stream).ok();
        } else {
            self.talk(&stream, count).ok();
        }
        // A reset, for an orderly end again and again would be suspected of a take-over. It may have ended already.
        rustix::net::connect_unspec(&stream).ok();
    }

    fn talk(&mut self, mut stream: &TcpStream, count: usize) -> std::io::Result<()> {
        wire::read_frame(&mut stream)?;
        if self.chance.u32(..10) > 0 {
            stream.write_all(&wire::encode_connack(false, 0, &Properties::default(), self.v5))?;
        }
        let marker = Publish { topic: "b/x".into(), qos: 1, id: MARKER, ..Publish::default() };
        let marker = wire::encode_publish(&marker, self.v5);
        while self.sent < count {
            let bytes = [self.next(), marker.clone()].concat();
            stream.write_all(&bytes)?;
            let ends_with_marker =
                frames(&bytes).is_some_and(|all| wire::frame(0x32, all[all.len() - 1].1.clone()) == marker);
            if !ends_with_marker || !self.is_taken(stream)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Takes what has gathered and is not held back: it is memory as well.
    fn calm(&self, mut stream: &TcpStream) -> std::io::Result<()> {
        wire::read_frame(&mut stream)?;
        stream.write_all(&wire::encode_connack(false, 0, &Properties::default(), self.v5))?;
        // Until nothing has come for a moment.
        self.is_taken(stream).map(drop)
    }

    /// Answers what comes until the marker is acknowledged; false at the end of the connection.
    fn is_taken(&self, mut stream: &TcpStream) -> std::io::Result<bool> {
        while let Some((first, body)) = wire::read_frame(&mut stream)? {
            match wire::parse(first, &body, if self.v5 { 5 } else { 4 }) {
                Some(Packet::PubAck { id: MARKER }) => return Ok(true),
                Some(Packet::Publish(publish)) if publish.qos == 1 => {
                    stream.write_all(&wire::encode_ack(0x40, publish.id, 0, self.v5))?;
                }
                Some(Packet::Subscribe { id, filters }) => {
                    stream.write_all(&wire::encode_suback(0x90, id, &vec![1; filters.len()], self.v5))?;
                }
                _ => {}
            }
        }
        Ok(false)
    }
}

/// What became of one gateway.
struct Outcome {
    connects: usize,
    grown: u64,
    afterwards: u64,
}

fn check(protocol: &str, count: usize) {
    // Several at once, for one spends most of its time in waiting for the next connection.
    let begun = Instant::now();
    let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let each =
            |nth| scope.spawn(move || mutate(protocol, count / GATEWAYS, chance(&format!("B7 {protocol} {nth}"))));
        let running: Vec<_> = (0..GATEWAYS).map(each).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let connects: usize = outcomes.iter().map(|outcome| outcome.connects).sum();
    let afterwards: u64 = outcomes.iter().map(|outcome| outcome.afterwards).sum();
    let grown = outcomes.iter().map(|outcome| outcome.grown).max().unwrap();
    let happened = format!(
        "no panic, {connects} connections in {:.0} s, memory +{:.2} MiB at most, {afterwards} readings taken and received \
         afterwards",
        begun.elapsed().as_secs_f64(),
        grown as f64 / f64::from(1 << 20),
    );
    report("B7", &format!("{count} changed packets, {protocol}, {GATEWAYS} gateways"), &happened);
    assert!(grown <= WAITING + GROWTH, "memory grew by {grown} bytes");
}

fn mutate(protocol: &str, count: usize, chance: fastrand::Rng) -> Outcome {
    let listener = ports::listen();
    let port = listener.local_addr().unwrap().port();
    let v5 = protocol == "5";
    let mut mutator = Mutator { listener, seeds: seeds(v5), v5, chance, sent: 0, connects: 0 };
    let folder = folder();
    let text = config(&format!("mqtt://127.0.0.1:{port}"), &format!(", protocol: {protocol}"), "", RATE);
    let text =
        text.replace("min: 50ms, max: 150ms", "min: 1ms, max: 1ms").replace("late_after: 1s", "late_after: 300s");
    let mut gateway = Gateway::with_env(folder.path(), &text, &[("RUST_LOG", "error,fieldgate::recorder=debug")]);
    let (mut before, mut most) = (0, 0);
    while mutator.sent < count {
        mutator.serve(count);
        if mutator.sent < WARM.min(count / 2) {
            before = gateway.own_memory();
        } else if mutator.connects.is_multiple_of(20) {
            most = most.max(gateway.own_memory());
            assert!(gateway.is_running(), "the program ended");
        }
    }
    let connects = mutator.connects;
    drop(mutator);
    let good = ScriptedBroker::start_on(port, vec![Script::good()]);
    // So many ends in a row make a suspect of what was not answered, here perhaps the first sensor. Of the second nothing is known.
    write_config(folder.path(), &text.replace(RATE, &[RATE, &RATE.replace("sensors:\n  n", "  m")].concat()));
    gateway.signal(Signal::HUP);
    wait_until("readings afterwards", SOON, || {
        let account = received_of(&good, "m");
        account.runs.first().is_some_and(|run| account.last(run) > 5)
    });
    gateway.stop(SOON);
    let (account, last) = (received_of(&good, "m"), taken_of(&gateway, "m"));
    account.check_whole();
    assert_eq!(account.missing(&account.runs[0], last), Vec::<u64>::new());
    received(&good).check_order();
    assert!(!gateway.log().contains("panicked"), "a part panicked");
    Outcome { connects, grown: most.saturating_sub(before), afterwards: last }
}

#[test]
fn b7_changed_packets_of_version_5_cause_no_panic_and_take_no_memory() {
    check("5", times(1_000, 20_000, 100_000));
}

#[test]
fn b7_changed_packets_of_3_1_1_cause_no_panic_and_take_no_memory() {
    check("3.1.1", times(1_000, 20_000, 100_000));
}

#[test]
fn b7_the_decoder_survives_any_bytes() {
    let (count, mut chance) = (times(20_000, 200_000, 1_000_000), chance("B7"));
    let (v4, v5, limit) = (seeds(false), seeds(true), 256 * 1024);
    let (mut good, mut bad) = (0, 0);
    let mut note = |is_good| if is_good { good += 1 } else { bad += 1 };
    for _ in 0..count / 2 {
        let mut bytes = BytesMut::from(mutant(&v5, &mut chance).as_slice());
        note(rumqttc_v5::mqttbytes::v5::Packet::read(&mut bytes, Some(limit)).is_ok());
        assert!(bytes.capacity() < 1 << 20, "room for what was only promised");
        let mut bytes = BytesMut::from(mutant(&v4, &mut chance).as_slice());
        note(rumqttc_v4::mqttbytes::v4::Packet::read(&mut bytes, limit as usize).is_ok());
        assert!(bytes.capacity() < 1 << 20, "room for what was only promised");
    }
    report(
        "B7",
        &format!("{count} changed packets, the decoders alone"),
        &format!("no panic, {good} read, {bad} refused"),
    );
}
