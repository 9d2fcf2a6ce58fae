//! `fieldgate watch` beside a real gateway and a real broker: into a pipe, on a terminal, and among strangers.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic, and it waits with a deadline")]
#![allow(clippy::print_stderr, reason = "a failing test shows what the program said, and by which chance")]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::common::client::{Client, publish_bytes_retained};
use crate::common::gateway::{Gateway, program, write_config};
use crate::common::mosquitto::{Mosquitto, Options};
use crate::common::running::{config, devices};
use crate::common::scripted::{Greeting, Script, ScriptedBroker};
use crate::common::unread::terminal;
use crate::common::wire::{self, Publish};
use crate::common::{SOON, free_port, seed, send_signal, wait_for, wait_until, write_secret};
use fastrand::Rng;
use rustix::process::Signal;
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};

/// A running watch and what it has said.
struct Watch {
    child: Child,
    said: Arc<Mutex<String>>,
}

impl Watch {
    /// Into a pipe.
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut command = command(folder, arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        listen(child.stdout.take().unwrap(), &said);
        listen(child.stderr.take().unwrap(), &said);
        Self { child, said }
    }

    /// On a terminal, of which this is the side of the person.
    fn on(folder: &Path, terminal: &File, person: &File) -> Self {
        let mut command = command(folder, &[]);
        let child =
            command.stdout(terminal.try_clone().unwrap()).stderr(terminal.try_clone().unwrap()).spawn().unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        listen(person.try_clone().unwrap(), &said);
        Self { child, said }
    }

    fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    fn wait_said(&self, text: &str) {
        wait_until(&format!("{text:?} in what it says"), SOON * 2, || self.said().contains(text));
    }

    /// What it has said behind this.
    fn said_since(&self, place: usize) -> String {
        self.said()[place..].to_owned()
    }

    /// Waits until it says this behind a place, and returns where.
    fn wait_since(&self, place: usize, text: &str) -> usize {
        wait_for(&format!("{text:?} behind {place}"), SOON * 2, || {
            self.said_since(place).find(text).map(|found| place + found)
        })
    }

    fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    fn wait_exit(&mut self) -> i32 {
        wait_for("its end", SOON, || self.child.try_wait().unwrap()).code().unwrap_or(-1)
    }

    fn interrupt(&mut self) {
        send_signal(&self.child, Signal::INT);
        assert_eq!(self.wait_exit(), 0);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It may have ended by itself, which is no reason to fail here.
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            let said = self.said();
            let last: Vec<_> = said.lines().rev().take(40).collect();
            eprintln!("it said, the last first:\n{}", last.join("\n"));
        }
    }
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = program();
    command.arg("watch").args(arguments).current_dir(folder).stdin(Stdio::null());
    if arguments.is_empty() {
        command.args(["--config", "fieldgate.yaml"]);
    }
    command
}

fn listen(mut pipe: impl Read + Send + 'static, said: &Arc<Mutex<String>>) {
    let said = Arc::clone(said);
    std::thread::spawn(move || {
        let (mut bytes, mut rest) = ([0; 4096], Vec::new());
        while let Ok(count @ 1..) = pipe.read(&mut bytes) {
            rest.extend_from_slice(&bytes[..count]);
            // A character may come in two parts.
            let whole = rest.len()
                - rest.iter().rev().take(4).position(|byte| byte & 0xc0 != 0x80).map_or(0, |behind| {
                    let (first, has) = (rest[rest.len() - 1 - behind], behind + 1);
                    let wants = match first {
                        0xf0.. => 4,
                        0xe0.. => 3,
                        0xc0.. => 2,
                        _ => 1,
                    };
                    if has < wants { has } else { 0 }
                });
            said.lock().unwrap().push_str(&String::from_utf8(rest.drain(..whole).collect()).unwrap());
        }
    });
}

fn gateway(folder: &Path, broker: &Mosquitto) -> Gateway {
    Gateway::start(folder, &config(&broker.url(), ", late_after: 1s", &devices()))
}

#[test]
fn into_a_pipe_it_prints_what_comes_and_says_when_gateway_or_broker_are_gone() {
    let (mut broker, folder) =
        (Mosquitto::with(Options { persistence: true, ..Options::default() }), tempfile::tempdir().unwrap());
    let mut gateway = gateway(folder.path(), &broker);
    let client = Client::subscribe(&broker.endpoint(), &["b/#"]);
    let mut watch = Watch::start(folder.path(), &[]);
    for text in [
        "  broker  connected to mqtt://127.0.0.1:",
        "  gateway  online\n",
        "Z  air  ",
        " °C   ",
        " hPa\n",
        "Z  n  value ",
        "  air  ok\n",
        "Z  pump  off  start\n",
    ] {
        watch.wait_said(text);
    }
    client.publish("b/actuators/pump/set", "on", false, 1);
    watch.wait_said("Z  pump  on  command\n");
    gateway.kill9();
    let place = watch.wait_since(0, "  gateway  offline: it has stopped, or the broker has lost it\n");
    gateway = self::gateway(folder.path(), &broker);
    let place = watch.wait_since(place, "  gateway  online\n");
    broker.stop();
    let place = watch.wait_since(place, "  broker  no connection to mqtt://127.0.0.1:");
    watch.wait_since(place, "; next attempt in ");
    broker.start_again();
    let place = watch.wait_since(place, "  broker  connected to mqtt://127.0.0.1:");
    watch.wait_since(place, "Z  n  value ");
    client.publish(
        "b/late/n",
        r#"{"time":"2026-11-22T10:00:00.000Z","run":"0","seq":1,"value":7,"late":true}"#,
        false,
        1,
    );
    watch.wait_since(place, "2026-11-22T10:00:00.000Z  n  value 7 (late)\n");
    watch.interrupt();
    let said = watch.said();
    assert!(!said.contains(|c: char| c.is_control() && c != '\n'), "no escapes into a pipe");
    gateway.stop(SOON);
}

#[test]
fn it_publishes_nothing_not_even_when_it_is_killed() {
    for protocol in ["5", "3.1.1"] {
        let (broker, folder) = (Mosquitto::start(), tempfile::tempdir().unwrap());
        write_config(folder.path(), &config(&broker.url(), &format!(", protocol: {protocol}"), ""));
        let client = Client::subscribe(&broker.endpoint(), &["#"]);
        let mut watch = Watch::start(folder.path(), &[]);
        watch.wait_said("connected to");
        // It has subscribed by the time that it sees one of these.
        let mut seq = 0;
        wait_until("a reading that it sees", SOON, || {
            seq += 1;
            let reading = format!("{{\"time\":\"2026-11-22T10:00:00.000Z\",\"run\":\"a\",\"seq\":{seq},\"x\":{seq}}}");
            client.publish("b/sensors/air", &reading, false, 1);
            watch.said().contains("air  x ")
        });
        watch.child.kill().unwrap();
        watch.wait_exit();
        broker.wait_log("Client fieldgate-watch-", SOON);
        wait_until("the broker to see the end", SOON, || {
            broker
                .log()
                .lines()
                .any(|line| line.contains("Client fieldgate-watch-") && line.contains("closed its connection"))
        });
        client.fence();
        assert!(client.everything().iter().all(|message| message.topic == "b/sensors/air"));
    }
}

#[test]
fn on_a_terminal_it_draws_a_table_that_fits_and_leaves_the_terminal_as_it_was() {
    let (broker, folder) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let mut gateway = gateway(folder.path(), &broker);
    let (terminal, person) = terminal();
    let resize = |columns, rows| {
        tcsetwinsize(&person, Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 }).unwrap()
    };
    resize(120, 40);
    let before = format!("{:?}", tcgetattr(&terminal).unwrap());
    let mut watch = Watch::on(folder.path(), &terminal, &person);
    for text in [
        "fieldgate watch   b   broker mqtt://127.0.0.1:",
        "   online",
        "SENSOR",
        "air      bme280       ",
        " °C   ",
        "pump     gpio-output  off ",
    ] {
        watch.wait_said(text);
    }
    gateway.kill9();
    watch.wait_said("OFFLINE");
    watch.wait_said("gateway  it has stopped, or the broker has lost it; these are its last values");
    resize(30, 5);
    // The screen is cleared once after a change, and from then on nothing is wider than that.
    let place = watch.wait_since(0, "\x1b[H\x1b[J");
    watch.wait_since(place, "lines more: ");
    let place = watch.wait_since(place, "\x1b[4A\x1b[J");
    watch.wait_since(place + 1, "\x1b[4A\x1b[J");
    for line in watch.said_since(place).split("\r\n") {
        let line = line.trim_start_matches("\x1b[4A\x1b[J");
        assert!(line.chars().count() <= 30, "{line:?}");
    }
    watch.interrupt();
    assert_eq!(format!("{:?}", tcgetattr(&terminal).unwrap()), before);
}

/// A stranger's connection, which publishes at QoS 0 as fast as it can.
fn stranger(port: u16, messages: &[(String, Vec<u8>)]) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let hello = [&[0, 4][..], b"MQTT", &[4, 2, 0, 60, 0, 8], b"stranger"].concat();
    stream.write_all(&wire::frame(0x10, hello)).unwrap();
    assert!(wire::read_frame(&mut stream).unwrap().is_some(), "the broker accepts");
    for (topic, payload) in messages {
        let publish = Publish { topic: topic.clone(), payload: payload.clone(), ..Publish::default() };
        stream.write_all(&wire::encode_publish(&publish, false)).unwrap();
    }
    stream.write_all(&wire::frame(0xe0, Vec::new())).unwrap();
}

/// Something that is nearly right, or not at all.
fn hostile(rng: &mut Rng) -> (String, Vec<u8>) {
    let name: String = (0..rng.usize(1..8)).map(|_| rng.alphanumeric()).collect();
    let name = if rng.u8(..8) == 0 { format!("ä {name}") } else { name };
    let topic = match rng.u8(..7) {
        0 => format!("b/sensors/{name}"),
        1 => format!("b/sensors/{name}/status"),
        2 => format!("b/late/{name}"),
        3 => format!("b/actuators/{name}/state"),
        4 => "b/health".to_owned(),
        5 => "b/loss".to_owned(),
        _ => "b/status".to_owned(),
    };
    let text =
        ["\\u001b[2J\\u001b]0;x\\u0007", "\\r\\n\\u202e", "ok", "x".repeat(3000).as_str()][rng.usize(..4)].to_owned();
    let payload = match rng.u8(..6) {
        0 => (0..rng.usize(..200)).map(|_| rng.u8(..)).collect(),
        1 => vec![b'['; rng.usize(..50_000)],
        2 => format!("{{\"time\":\"{text}\",\"run\":\"{text}\",\"seq\":{},\"{text}\":\"{text}\"}}", rng.i64(..))
            .into_bytes(),
        3 => format!("{{\"status\":\"{text}\",\"error\":\"{text}\"}}").into_bytes(),
        4 => format!("{{\"value\":\"{text}\",\"cause\":\"{text}\",\"time\":3}}").into_bytes(),
        _ => format!(
            "{{\"link\":{{\"alarm\":\"{text}\"}},\"count\":{},\"sensor\":\"{text}\",\"reason\":\"{text}\"}}",
            rng.u64(..)
        )
        .into_bytes(),
    };
    (topic, payload)
}

#[test]
fn strangers_neither_reach_the_terminal_nor_fill_the_memory() {
    eprintln!("FIELDGATE_SEED={}", seed());
    let mut rng = Rng::with_seed(seed());
    let (broker, folder) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    write_config(folder.path(), &config(&broker.url(), "", ""));
    let mut watch = Watch::start(folder.path(), &[]);
    let client = Client::subscribe(&broker.endpoint(), &["b/marker"]);
    let mut marks = 0;
    // When this has come, so has everything in front of it that is to come.
    let mut wait_mark = |watch: &Watch| {
        marks += 1;
        let mark = format!("mark {marks}");
        wait_until("a reading behind all that", SOON * 3, || {
            client.publish(
                "b/sensors/mark",
                &format!("{{\"time\":\"2026-11-22T10:00:00.000Z\",\"seq\":{marks},\"mark\":{marks}}}"),
                false,
                1,
            );
            watch.said().contains(&mark)
        });
    };
    wait_mark(&watch);
    let round = |rng: &mut Rng| (0..2000).map(|_| hostile(rng)).collect::<Vec<_>>();
    stranger(broker.port, &round(&mut rng));
    wait_mark(&watch);
    let before = watch.memory();
    for _ in 0..4 {
        stranger(broker.port, &round(&mut rng));
        wait_mark(&watch);
    }
    let after = watch.memory();
    assert!(after < before + 8 * 1024, "{before} kB became {after} kB");
    let said = watch.said();
    assert!(said.len() > 10_000 && !said.contains(|c: char| c.is_control() && c != '\n'));
    let longest = said.lines().map(|line| line.chars().count()).max().unwrap();
    assert!(longest < 700, "{longest} characters");
    watch.interrupt();
}

#[test]
fn with_user_and_password_it_watches_from_elsewhere_and_a_refusal_ends_it() {
    let user = Some(("eve".to_owned(), "right".to_owned()));
    let (broker, folder) = (Mosquitto::with(Options { user, ..Options::default() }), tempfile::tempdir().unwrap());
    write_secret(&folder.path().join("right"), "right\n");
    write_secret(&folder.path().join("wrong"), "wrong\n");
    publish_bytes_retained(
        &broker.endpoint(),
        "far/away/sensors/air",
        br#"{"time":"2026-11-22T10:00:00.000Z","run":"a","seq":1,"x":1}"#,
    );
    let url = broker.url();
    let with = |file: &str| {
        let arguments = ["--broker", &url, "--base-topic", "far/away", "--username", "eve", "--password-file", file];
        Watch::start(folder.path(), &arguments)
    };
    let mut watch = with("right");
    watch.wait_said("2026-11-22T10:00:00.000Z  air  x 1\n");
    watch.interrupt();
    let mut refused = with("wrong");
    assert_eq!(refused.wait_exit(), 1);
    refused.wait_said("error: mqtt://127.0.0.1:");
}

#[test]
fn what_the_broker_denies_is_said_and_an_old_broker_is_spoken_to_in_its_own_way() {
    let folder = tempfile::tempdir().unwrap();
    let strict = ScriptedBroker::start(vec![Script::good().suback(0x87)]);
    let old = ScriptedBroker::start(vec![Script::good().greeting_5(Greeting::Close)]);
    let on = |broker: &ScriptedBroker| Watch::start(folder.path(), &["--broker", &broker.url(), "--base-topic", "b"]);
    let mut watch = on(&strict);
    for topic in ["b/devices", "b/sensors/+", "b/actuators/+/state"] {
        watch.wait_said(&format!("  broker  does not let us see {topic}: not authorized (0x87)"));
    }
    watch.interrupt();
    let mut watch = on(&old);
    watch.wait_said("  broker  connected to mqtt://");
    watch.interrupt();
    for connect in strict.connects().into_iter().chain(old.connects()) {
        assert!(connect.client_id.starts_with("fieldgate-watch-"), "{connect:?}");
        assert_eq!((connect.will, connect.clean), (None, true));
    }
    assert_eq!((strict.publishes(), old.publishes()), (Vec::new(), Vec::new()));
}

#[test]
fn what_it_needs_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let somewhere = format!("mqtt://127.0.0.1:{}", free_port());
    for (arguments, code, words) in [
        (vec!["--config", "none.yaml"], 78, "fieldgate watch --broker mqtt://HOST --base-topic fieldgate/NAME"),
        (vec!["--broker", &somewhere], 2, "--base-topic <B>"),
        (vec!["--broker", "http://x", "--base-topic", "b"], 2, "invalid value 'http://x' for '--broker <BROKER>'"),
        (vec!["--broker", &somewhere, "--base-topic", "b/#"], 2, "cannot stand in a base topic"),
        (vec!["--base-topic", "b"], 2, "--broker <BROKER>"),
    ] {
        let mut watch = Watch::start(folder.path(), &arguments);
        assert_eq!(watch.wait_exit(), code, "{arguments:?}");
        watch.wait_said(words);
    }
    // Where nothing listens it goes on, and says so.
    let mut watch = Watch::start(folder.path(), &["--broker", &somewhere, "--base-topic", "b"]);
    watch.wait_said(&format!("broker  no connection to {somewhere}: "));
    watch.interrupt();
}
