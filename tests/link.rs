//! The link against a real Mosquitto, which each test starts on a free port, and against listeners that misbehave.

use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fieldgate::clock;
use fieldgate::link::{
    self, Broker, Incoming, Latest, LinkState, LinkStatus, Parts, PasswordSource, Protocol, Settings, TlsSettings,
    Transport,
};
use fieldgate::model::payload::{ResponseTarget, StoredReply};
use fieldgate::model::topic::Topics;
use fieldgate::model::{Key, Message, MessageKind, Name, Qos, RunId};
use fieldgate::pulse::Pulse;
use fieldgate::spool::Spool;
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

const RUN: RunId = RunId(0xabcd);

/// A broker of our own; ends with the test.
struct Mosquitto {
    folder: TempDir,
    port: u16,
    child: Option<Child>,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Mosquitto {
    fn start(extra: &str) -> Self {
        let mut broker = Self { folder: tempfile::tempdir().unwrap(), port: free_port(), child: None };
        let access = if extra.contains("allow_anonymous") { "" } else { "allow_anonymous true\n" };
        let extra = extra.replace("FOLDER", &broker.folder.path().display().to_string());
        let text = format!("listener {} 127.0.0.1\n{access}{extra}\n", broker.port);
        std::fs::write(broker.folder.path().join("mosquitto.conf"), text).unwrap();
        broker.up();
        broker
    }

    fn up(&mut self) {
        let log = std::fs::File::create(self.folder.path().join("log")).unwrap();
        let child = Command::new("/usr/sbin/mosquitto")
            .arg("-v")
            .arg("-c")
            .arg(self.folder.path().join("mosquitto.conf"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("mosquitto is installed");
        self.child = Some(child);
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "mosquitto did not start");
            std::thread::yield_now();
        }
    }

    fn down(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn signal(&self, signal: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    fn file(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// Everything below `topic`, as `topic payload` lines.
    fn watch(&self, topic: &str) -> Watch {
        let child = Command::new("mosquitto_sub")
            .args(["-p", &self.port.to_string(), "-V", "5", "-q", "1", "-F", "%r %t %p", "-t", topic])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut watch = Watch { child, lines: Arc::default() };
        let mut out = watch.child.stdout.take().unwrap();
        let lines = Arc::clone(&watch.lines);
        std::thread::spawn(move || {
            let (mut buffer, mut rest) = ([0; 4096], Vec::new());
            while let Ok(n @ 1..) = out.read(&mut buffer) {
                rest.extend_from_slice(&buffer[..n]);
                while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = rest.drain(..=end).collect();
                    lines.lock().unwrap().push(String::from_utf8_lossy(&line).trim_end().to_owned());
                }
            }
        });
        let deadline = Instant::now() + Duration::from_secs(10);
        while watch.with("hello").is_empty() {
            assert!(Instant::now() < deadline, "mosquitto_sub did not start");
            self.publish(&["-t", "b/hello", "-m", "hello"]);
        }
        watch
    }

    fn publish(&self, args: &[&str]) {
        let status = Command::new("mosquitto_pub").args(["-p", &self.port.to_string(), "-V", "5"]).args(args).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.down();
    }
}

struct Watch {
    child: Child,
    lines: Arc<std::sync::Mutex<Vec<String>>>,
}

impl Watch {
    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    fn with(&self, part: &str) -> Vec<String> {
        self.lines().into_iter().filter(|line| line.contains(part)).collect()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A running link and all that it was given.
struct Link {
    spool: Spool,
    latest: Latest,
    commands: mpsc::Receiver<Incoming>,
    status: watch::Receiver<LinkStatus>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

fn settings(protocol: Protocol, port: u16) -> Settings {
    Settings {
        brokers: vec![broker("127.0.0.1", port)],
        protocol,
        client_id: None,
        clean_session: true,
        keep_alive: Duration::from_secs(5),
        bind_address: None,
        username: None,
        password: None,
        tls: TlsSettings::default(),
        reconnect_min: Duration::from_millis(50),
        reconnect_max: Duration::from_millis(200),
        late_after: Duration::from_secs(30),
        topics: Topics::new("b"),
    }
}

fn broker(host: &str, port: u16) -> Broker {
    Broker { transport: Transport::Tcp, host: host.into(), port, path: "/mqtt".into() }
}

fn open_spool() -> Spool {
    Spool::default()
}

fn put(spool: &Spool, message: Message) {
    spool.append(message);
}

fn start(settings: Settings, spool: &Spool) -> Link {
    let (commands_in, commands) = mpsc::channel(64);
    let (status_in, status) = watch::channel(LinkStatus::new(&settings));
    let (stop, stop_out) = watch::channel(false);
    let (spool, latest) = (spool.clone(), Latest::default());
    let parts = Parts {
        settings,
        run: RUN,
        spool: spool.clone(),
        latest: latest.clone(),
        commands: commands_in,
        status: status_in,
        pulse: Arc::new(Pulse::new()),
        stop: stop_out,
    };
    Link { spool, latest, commands, status, stop, task: tokio::spawn(link::run(parts)) }
}

impl Link {
    async fn until(&mut self, what: &str, done: impl Fn(&LinkStatus) -> bool) -> LinkStatus {
        let wait = async { self.status.wait_for(|status| done(status)).await.unwrap().clone() };
        match tokio::time::timeout(Duration::from_secs(15), wait).await {
            Ok(status) => status,
            Err(_) => panic!("{what}: {:?}", self.status.borrow()),
        }
    }

    async fn up(&mut self) {
        self.until("up", |status| status.state == LinkState::Up).await;
    }

    async fn failed(&mut self) -> String {
        self.until("failed", |status| status.last_error.is_some()).await.last_error.unwrap()
    }

    async fn end(self) -> Duration {
        let begun = Instant::now();
        self.stop.send_replace(true);
        self.task.await.unwrap();
        begun.elapsed()
    }
}

async fn eventually(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(15);
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn reading(sensor: &str, seq: u64) -> Message {
    Message {
        key: Key { kind: MessageKind::Reading, source: Name::new(sensor).unwrap() },
        run: RUN,
        seq,
        taken_at: clock::now(),
        qos: Qos::AtLeastOnce,
        retain: false,
        body: b"\"value\":1".to_vec(),
    }
}

fn in_order(lines: &[String]) -> Vec<u64> {
    let seq = |line: &String| line.split("\"seq\":").nth(1)?.split(',').next()?.parse().ok();
    lines.iter().filter_map(seq).collect()
}

async fn happy_path(protocol: Protocol) {
    let broker = Mosquitto::start("");
    let watch = broker.watch("b/#");
    let spool = open_spool();
    let mut old = reading("air", 9);
    old.run = RunId(1);
    put(&spool, old);
    let mut link = start(settings(protocol, broker.port), &spool);
    link.latest.set("b/health".into(), b"well".to_vec());
    link.up().await;
    (1..=500).for_each(|seq| put(&spool, reading("air", seq)));
    eventually("all acknowledged", || spool.is_empty()).await;
    eventually("all arrived", || watch.with("b/sensors/air").len() == 500).await;
    assert_eq!(in_order(&watch.with("b/sensors/air")), (1..=500).collect::<Vec<u64>>());
    assert_eq!(watch.with("b/late/air").len(), 1);
    eventually("retained", || watch.lines().contains(&"0 b/health well".into())).await;
    broker.publish(&["-t", "b/actuators/pump/set", "-m", "on", "-q", "1"]);
    let command = link.commands.recv().await.unwrap();
    assert_eq!((command.topic.as_str(), &command.payload[..]), ("b/actuators/pump/set", &b"on"[..]));
    assert!(!command.retain && !command.stale);
    put(&spool, reading("air", 501));
    let took = link.end().await;
    assert!(took < Duration::from_millis(1000), "{took:?}");
    eventually("flushed", || watch.with("b/sensors/air").len() == 501).await;
    eventually("offline", || watch.with("b/status").last().is_some_and(|line| line.ends_with("offline"))).await;
    assert_eq!(watch.with("b/status").len(), 2, "{:?}", watch.with("b/status"));
}

#[tokio::test]
async fn readings_commands_and_retained_topics_travel_under_version_5() {
    happy_path(Protocol::V5).await;
}

#[tokio::test]
async fn readings_commands_and_retained_topics_travel_under_3_1_1() {
    happy_path(Protocol::V4).await;
}
