//! The link against a real Mosquitto, which each test starts on a free port, and against listeners that misbehave.

#![expect(clippy::unwrap_used, reason = "a test may unwrap; clippy does not know that its helpers belong to it")]

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
use fieldgate::spool::{self, Sequence, Spool, SpoolThread, WhenFull};
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

/// The real spool in a folder of its own, for tests that are not async where they look at it.
struct TestSpool {
    spool: Spool,
    _thread: SpoolThread,
    _folder: TempDir,
}

fn open_spool() -> TestSpool {
    let folder = tempfile::tempdir().unwrap();
    let settings = spool::Settings {
        path: folder.path().to_owned(),
        max_size: 64 << 20,
        commit_every: Duration::from_secs(1),
        when_full: WhenFull::DropOldest,
    };
    let (spool, thread) = spool::open(settings, RUN).unwrap();
    TestSpool { spool, _thread: thread, _folder: folder }
}

impl TestSpool {
    fn len(&self) -> usize {
        wait_for(self.spool.read(Sequence(0), 100_000)).unwrap().len()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Waits on a thread of its own: the spool answers from its own thread, so the test's runtime may stand still meanwhile.
fn wait_for<T: Send>(work: impl Future<Output = T> + Send) -> T {
    std::thread::scope(|scope| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        scope.spawn(move || runtime.block_on(work)).join().unwrap()
    })
}

fn put(spool: &TestSpool, message: Message) {
    wait_for(spool.spool.append(message)).unwrap();
}

fn start(settings: Settings, spool: &TestSpool) -> Link {
    let (commands_in, commands) = mpsc::channel(64);
    let (status_in, status) = watch::channel(LinkStatus::new(&settings));
    let (stop, stop_out) = watch::channel(false);
    let latest = Latest::default();
    let parts = Parts {
        settings,
        run: RUN,
        spool: spool.spool.clone(),
        latest: latest.clone(),
        commands: commands_in,
        status: status_in,
        pulse: Arc::new(Pulse::new()),
        stop: stop_out,
    };
    Link { latest, commands, status, stop, task: tokio::spawn(link::run(parts)) }
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

async fn restart(protocol: Protocol) {
    let mut broker = Mosquitto::start("");
    let spool = open_spool();
    let mut link = start(settings(protocol, broker.port), &spool);
    let watch = broker.watch("b/#");
    link.up().await;
    (1..=50).for_each(|seq| put(&spool, reading("air", seq)));
    eventually("first part", || spool.is_empty()).await;
    eventually("first part seen", || watch.with("b/sensors/air").len() == 50).await;
    broker.down();
    let words = link.until("down", |status| status.last_error.is_some()).await.last_error.unwrap();
    assert!(words.contains("closed the connection") || words.contains("refused"), "{words}");
    (51..=300).for_each(|seq| put(&spool, reading("air", seq)));
    broker.up();
    let watch = broker.watch("b/#");
    link.until("up again", |status| status.connects == 2).await;
    eventually("second part", || spool.is_empty()).await;
    let seen = |seq: u64| in_order(&watch.with("b/sensors/air")).contains(&seq);
    eventually("the last arrives", || seen(300)).await;
    link.end().await;
}

#[tokio::test]
async fn what_is_unacknowledged_is_sent_again_after_a_restart_of_the_broker_under_version_5() {
    restart(Protocol::V5).await;
}

#[tokio::test]
async fn what_is_unacknowledged_is_sent_again_after_a_restart_of_the_broker_under_3_1_1() {
    restart(Protocol::V4).await;
}

async fn wrong_password(protocol: Protocol, words: &str) {
    let mut broker = Mosquitto { folder: tempfile::tempdir().unwrap(), port: free_port(), child: None };
    let path = |name: &str| broker.folder.path().join(name);
    let passwords = path("passwords").display().to_string();
    assert!(Command::new("mosquitto_passwd").args(["-b", "-c", &passwords, "pi", "right"]).status().unwrap().success());
    make_readable(Path::new(&passwords));
    let text = format!("listener {} 127.0.0.1\nallow_anonymous false\npassword_file {passwords}\n", broker.port);
    broker.file("mosquitto.conf", &text);
    broker.file("password", "wrong\n");
    let source = PasswordSource::File(path("password"));
    make_readable(broker.folder.path());
    broker.up();
    let settings = Settings { username: Some("pi".into()), password: Some(source), ..settings(protocol, broker.port) };
    let spool = open_spool();
    let mut link = start(settings.clone(), &spool);
    let told = link.failed().await;
    assert!(told.starts_with(words) && told.contains("check mqtt.username"), "{told}");
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(link.status.borrow().state, LinkState::Down, "a refusal is not repeated at once");
    assert!(link.end().await < Duration::from_millis(200), "a wait ends at once");
    broker.file("password", "right\n");
    let mut link = start(settings, &spool);
    link.up().await;
    link.end().await;
}

/// Mosquitto gives up root's rights when it starts.
fn make_readable(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let mode = if path.is_dir() { 0o755 } else { 0o644 };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn a_wrong_password_is_told_in_words_under_version_5() {
    wrong_password(Protocol::V5, "connection refused: not authorized (0x87)").await;
}

#[tokio::test]
async fn a_wrong_password_is_told_in_words_under_3_1_1() {
    wrong_password(Protocol::V4, "connection refused: not authorized (5)").await;
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_told() {
    for protocol in [Protocol::V4, Protocol::V5] {
        let brokers = vec![broker("no-such-host.invalid", 1883)];
        let mut link = start(Settings { brokers, ..settings(protocol, 1) }, &open_spool());
        let words = link.failed().await;
        assert!(words.contains("cannot resolve \"no-such-host.invalid\""), "{words}");
        link.end().await;
    }
}

#[tokio::test]
async fn a_closed_port_is_told_and_the_next_broker_of_the_list_is_tried() {
    let good = Mosquitto::start("");
    for protocol in [Protocol::V4, Protocol::V5] {
        let brokers = vec![broker("127.0.0.1", free_port()), broker("127.0.0.1", good.port)];
        let mut link = start(Settings { brokers, ..settings(protocol, 1) }, &open_spool());
        let status = link.until("up", |status| status.state == LinkState::Up).await;
        assert!(status.last_error.as_ref().unwrap().contains("nothing listens there"), "{status:?}");
        assert_eq!(status.broker, format!("mqtt://127.0.0.1:{}", good.port));
        link.end().await;
    }
}

#[tokio::test]
async fn a_broker_that_accepts_and_never_answers_is_given_up_within_ten_seconds() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (v4, v5) = (open_spool(), open_spool());
    let mut links = [start(settings(Protocol::V4, port), &v4), start(settings(Protocol::V5, port), &v5)];
    let begun = Instant::now();
    for link in &mut links {
        let words = link.failed().await;
        assert!(words.contains("did not answer within 10 s"), "{words}");
    }
    assert!(begun.elapsed() < Duration::from_millis(10_800), "{:?}", begun.elapsed());
    let [first, second] = links;
    assert!(first.end().await + second.end().await < Duration::from_millis(400));
}

#[tokio::test]
async fn a_frozen_broker_does_not_hold_up_the_end() {
    for protocol in [Protocol::V4, Protocol::V5] {
        let broker = Mosquitto::start("");
        let spool = open_spool();
        let mut link = start(settings(protocol, broker.port), &spool);
        link.up().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        broker.signal("-STOP");
        put(&spool, reading("air", 1));
        let took = link.end().await;
        broker.signal("-CONT");
        assert!(took <= Duration::from_millis(1500), "{took:?}");
    }
}

#[tokio::test]
async fn a_frozen_broker_is_left_after_two_keep_alives_although_qos_0_flows() {
    for protocol in [Protocol::V4, Protocol::V5] {
        let broker = Mosquitto::start("");
        let spool = open_spool();
        let settings = Settings { keep_alive: Duration::from_secs(2), ..settings(protocol, broker.port) };
        let mut link = start(settings, &spool);
        link.up().await;
        for seq in 1..=60 {
            put(&spool, Message { qos: Qos::AtMostOnce, ..reading("air", seq) });
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(link.status.borrow().connects, 1, "a healthy link stays, though it only hears answers to probes");
        broker.signal("-STOP");
        let words = link.failed().await;
        broker.signal("-CONT");
        assert!(words.contains("said nothing") || words.contains("ping"), "{words}");
        link.end().await;
    }
}

#[tokio::test]
async fn a_reply_also_goes_to_the_requester_of_version_5() {
    let broker = Mosquitto::start("");
    let watch = broker.watch("#");
    let spool = open_spool();
    let mut link = start(settings(Protocol::V5, broker.port), &spool);
    link.up().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let target = ["-D", "publish", "response-topic", "app/answers", "-D", "publish", "correlation-data", "c7"];
    broker.publish(&[&["-t", "b/actuators/pump/set", "-m", "on"], &target[..]].concat());
    let command = link.commands.recv().await.unwrap();
    let wanted = ResponseTarget { topic: "app/answers".into(), correlation: Some(b"c7".to_vec()) };
    assert_eq!(command.response, Some(wanted));
    let body = StoredReply { payload: "{\"id\":\"a1\"}".into(), response: command.response }.encode();
    let key = Key { kind: MessageKind::Reply, source: Name::new("pump").unwrap() };
    put(&spool, Message { key, body, ..reading("pump", 0) });
    eventually("reply", || watch.lines().contains(&"0 b/actuators/pump/reply {\"id\":\"a1\"}".into())).await;
    eventually("copy", || watch.lines().contains(&"0 app/answers {\"id\":\"a1\"}".into())).await;
    link.end().await;
}

#[tokio::test]
async fn a_retained_command_keeps_its_flag_under_version_5() {
    let broker = Mosquitto::start("");
    broker.publish(&["-t", "b/actuators/pump/set", "-m", "on", "-r"]);
    let mut link = start(settings(Protocol::V5, broker.port), &open_spool());
    assert!(link.commands.recv().await.unwrap().retain);
    broker.publish(&["-t", "b/actuators/pump/set", "-m", "off", "-r"]);
    assert!(link.commands.recv().await.unwrap().retain);
    link.end().await;
}

async fn persistent(protocol: Protocol) {
    let broker = Mosquitto::start("");
    let spool = open_spool();
    let id = Some("gateway".to_owned());
    let settings = Settings { clean_session: false, client_id: id, ..settings(protocol, broker.port) };
    for round in 0..3 {
        let mut link = start(settings.clone(), &spool);
        link.up().await;
        if round > 0 {
            for _ in 0..60 {
                let queued = link.commands.recv().await.unwrap();
                assert!(queued.stale, "kept by the broker while we were away");
            }
        }
        put(&spool, reading("air", round));
        eventually("delivered", || spool.is_empty()).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        broker.publish(&["-t", "b/actuators/pump/set", "-m", "on", "-q", "1"]);
        assert!(!link.commands.recv().await.unwrap().stale);
        assert_eq!(link.status.borrow().connects, 1);
        link.end().await;
        for _ in 0..60 {
            broker.publish(&["-t", "b/actuators/pump/set", "-m", "on", "-q", "1"]);
        }
    }
}

#[tokio::test]
async fn what_a_persistent_session_queued_is_stale_under_version_5() {
    persistent(Protocol::V5).await;
}

#[tokio::test]
async fn what_a_persistent_session_queued_is_stale_under_3_1_1() {
    persistent(Protocol::V4).await;
}

#[tokio::test]
async fn a_refused_topic_raises_an_alarm_and_holds_back_nothing_else() {
    let mut broker = Mosquitto { folder: tempfile::tempdir().unwrap(), port: free_port(), child: None };
    let acl = broker.folder.path().join("acl");
    make_readable(broker.folder.path());
    broker.file("acl", "topic readwrite b/status\ntopic readwrite b/sensors/good\ntopic readwrite b/hello\n");
    make_readable(&acl);
    let text = format!("listener {} 127.0.0.1\nallow_anonymous true\nacl_file {}\n", broker.port, acl.display());
    broker.file("mosquitto.conf", &text);
    broker.up();
    let spool = open_spool();
    let mut link = start(settings(Protocol::V5, broker.port), &spool);
    for seq in 1..=100 {
        put(&spool, reading("bad", seq));
        put(&spool, reading("good", seq));
    }
    let told = |status: &LinkStatus| status.alarm.as_ref().is_some_and(|alarm| alarm.contains("not authorized (0x87)"));
    let status = link.until("alarm", told).await;
    assert!(status.alarm.as_ref().unwrap().contains("b/sensors/bad"), "{status:?}");
    eventually("the others", || spool.len() == 100).await;
    assert_eq!(status.state, LinkState::Up);
    link.end().await;
}

#[tokio::test]
async fn a_message_larger_than_the_broker_accepts_is_set_aside() {
    let broker = Mosquitto::start("max_packet_size 2000");
    let spool = open_spool();
    let mut link = start(settings(Protocol::V5, broker.port), &spool);
    link.up().await;
    put(&spool, Message { body: format!("\"value\":\"{}\"", "x".repeat(3000)).into(), ..reading("air", 1) });
    put(&spool, reading("air", 2));
    eventually("both are gone", || spool.is_empty()).await;
    assert_eq!(link.status.borrow().connects, 1);
    link.end().await;
}

#[tokio::test]
async fn a_broker_that_offers_less_gets_less_and_an_alarm_says_so() {
    let broker = Mosquitto::start("max_qos 0\nretain_available false");
    let watch = broker.watch("b/#");
    let spool = open_spool();
    let mut link = start(settings(Protocol::V5, broker.port), &spool);
    put(&spool, reading("air", 1));
    let status = link.until("up", |status| status.state == LinkState::Up && status.alarm.is_some()).await;
    eventually("delivered", || spool.is_empty()).await;
    eventually("arrived", || watch.with("b/sensors/air").len() == 1).await;
    let alarm = status.alarm.unwrap();
    assert!(alarm.contains("QoS 0") || alarm.contains("retains no messages"), "{alarm}");
    link.end().await;
}

/// Passes bytes on to `port` and cuts every connection at each turn of `cuts`.
async fn cutting_proxy(port: u16, cuts: watch::Receiver<u32>) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ours = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut cuts = cuts.clone();
            cuts.mark_unchanged();
            tokio::spawn(async move {
                let Ok(mut far) = tokio::net::TcpStream::connect(("127.0.0.1", port)).await else { return };
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                    _ = cuts.changed() => {}
                }
            });
        }
    });
    ours
}

async fn cuts(protocol: Protocol) {
    let broker = Mosquitto::start("");
    let watch = broker.watch("b/#");
    let (cut, cuts) = watch::channel(0);
    let spool = open_spool();
    let mut link = start(settings(protocol, cutting_proxy(broker.port, cuts).await), &spool);
    link.up().await;
    for seq in 1..=3000 {
        put(&spool, reading(["air", "soil", "door"][seq as usize % 3], seq));
        if seq % 400 == 0 {
            cut.send_modify(|cuts| *cuts += 1);
        }
        if seq % 20 == 0 {
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }
    eventually("all acknowledged", || spool.is_empty()).await;
    let arrived = || {
        let mut all = in_order(&watch.with("b/sensors/"));
        all.sort_unstable();
        all.dedup();
        all.len()
    };
    eventually("none is lost", || arrived() == 3000).await;
    assert!(link.status.borrow().connects > 2, "{:?}", link.status.borrow());
    link.end().await;
}

#[tokio::test]
async fn nothing_is_lost_over_cut_connections_under_version_5() {
    cuts(Protocol::V5).await;
}

#[tokio::test]
async fn nothing_is_lost_over_cut_connections_under_3_1_1() {
    cuts(Protocol::V4).await;
}

#[tokio::test]
async fn the_present_does_not_wait_for_a_long_backlog() {
    let broker = Mosquitto::start("");
    let watch = broker.watch("b/#");
    let spool = open_spool();
    for seq in 1..=20_000 {
        put(&spool, Message { run: RunId(1), ..reading("air", seq) });
    }
    let mut link = start(settings(Protocol::V5, broker.port), &spool);
    link.up().await;
    put(&spool, reading("air", 1));
    eventually("the present", || !watch.with("b/sensors/air").is_empty()).await;
    let before = spool.len();
    assert!(before > 10_000, "told while {before} still wait");
    eventually("the past", || spool.is_empty()).await;
    eventually("all arrived", || watch.with("b/late/air").len() == 20_000).await;
    assert_eq!(in_order(&watch.with("b/late/air")), (1..=20_000).collect::<Vec<u64>>());
    link.end().await;
}

/// An authority, and a certificate that it signed for `localhost` from `start` to `end` (`YYYYMMDDhhmmssZ`).
fn certificates(folder: &Path, start: &str, end: &str) {
    let openssl = |args: &[&str]| {
        let out = Command::new("openssl").args(args).current_dir(folder).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    };
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let authority =
        ["req", "-x509", "-days", "30", "-subj", "/CN=test authority", "-keyout", "ca.key", "-out", "ca.pem"];
    openssl(&[&authority[..], &key[..]].concat());
    openssl(&[&["req", "-subj", "/CN=localhost", "-keyout", "key.pem", "-out", "csr.pem"][..], &key[..]].concat());
    std::fs::write(folder.join("index"), "").unwrap();
    std::fs::write(folder.join("serial"), "01").unwrap();
    let config = "[ca]\ndefault_ca=d\n[d]\ndatabase=index\nserial=serial\nnew_certs_dir=.\ndefault_md=sha256\npolicy=p\n\
                  x509_extensions=x\n[p]\ncommonName=supplied\n[x]\nsubjectAltName=DNS:localhost\n";
    std::fs::write(folder.join("ca.conf"), config).unwrap();
    let sign = ["ca", "-batch", "-config", "ca.conf", "-cert", "ca.pem", "-keyfile", "ca.key", "-in", "csr.pem"];
    openssl(&[&sign[..], &["-out", "cert.pem", "-notext", "-startdate", start, "-enddate", end]].concat());
    make_readable(folder);
    make_readable(&folder.join("key.pem"));
}

fn tls_broker(start: &str, end: &str, websockets: bool) -> Mosquitto {
    let mut broker = Mosquitto { folder: tempfile::tempdir().unwrap(), port: free_port(), child: None };
    let folder = broker.folder.path();
    certificates(folder, start, end);
    let protocol = if websockets { "protocol websockets\n" } else { "" };
    // Mosquitto 2.0.11 refuses to start with websockets alone.
    let text = format!(
        "allow_anonymous true\nlistener {} 127.0.0.1\nlistener {}\n{protocol}certfile {folder}/cert.pem\nkeyfile {folder}/key.pem\n",
        free_port(),
        broker.port,
        folder = folder.display()
    );
    broker.file("mosquitto.conf", &text);
    broker.up();
    broker
}

const PAST: (&str, &str) = ("20200101000000Z", "20200102000000Z");
const ALWAYS: (&str, &str) = ("20200101000000Z", "20490101000000Z");
const FUTURE: (&str, &str) = ("20480101000000Z", "20490101000000Z");

fn tls_settings(protocol: Protocol, transport: Transport, host: &str, broker: &Mosquitto) -> Settings {
    let brokers = vec![Broker { transport, host: host.into(), port: broker.port, path: "/mqtt".into() }];
    let tls = TlsSettings { ca_file: Some(broker.folder.path().join("ca.pem")), ..TlsSettings::default() };
    Settings { brokers, tls, ..settings(protocol, 1) }
}

#[tokio::test]
async fn every_transport_delivers() {
    let tls = tls_broker(ALWAYS.0, ALWAYS.1, false);
    let wss = tls_broker(ALWAYS.0, ALWAYS.1, true);
    let plain = free_port();
    let ws = Mosquitto::start(&format!("protocol websockets\nlistener {plain} 127.0.0.1"));
    for protocol in [Protocol::V4, Protocol::V5] {
        for (transport, broker) in [(Transport::Tls, &tls), (Transport::Wss, &wss), (Transport::Ws, &ws)] {
            let spool = open_spool();
            let host = if transport == Transport::Ws { "127.0.0.1" } else { "localhost" };
            let mut settings = tls_settings(protocol, transport, host, broker);
            settings.bind_address = Some("127.0.0.1".parse().unwrap());
            let mut link = start(settings, &spool);
            link.up().await;
            put(&spool, reading("air", 1));
            eventually("delivered", || spool.is_empty()).await;
            link.end().await;
        }
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate_is_told_in_words() {
    let check = async |broker: &Mosquitto, host: &str, ca: bool, words: &str| {
        for protocol in [Protocol::V4, Protocol::V5] {
            for transport in [Transport::Tls, Transport::Wss] {
                let mut settings = tls_settings(protocol, transport, host, broker);
                if !ca {
                    settings.tls = TlsSettings::default();
                }
                let mut link = start(settings, &open_spool());
                let told = link.failed().await;
                assert!(told.starts_with("TLS: ") && told.contains(words), "{told}");
                link.end().await;
            }
        }
    };
    let mut good = tls_broker(ALWAYS.0, ALWAYS.1, false);
    check(&good, "localhost", false, "unknown CA").await;
    check(&good, "127.0.0.1", true, "wrong host name").await;
    check(&tls_broker(PAST.0, PAST.1, false), "localhost", true, "has expired").await;
    check(&tls_broker(FUTURE.0, FUTURE.1, false), "localhost", true, "is the clock set?").await;
    good.down();
    let plain = Mosquitto::start("");
    good.port = plain.port;
    let mut link = start(tls_settings(Protocol::V5, Transport::Tls, "127.0.0.1", &good), &open_spool());
    let told = link.failed().await;
    assert!(told.contains("check that mqtts:// fits port"), "{told}");
    link.end().await;
}
