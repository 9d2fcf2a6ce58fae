//! A Mosquitto of our own, a watcher, a link, and listeners that misbehave.

use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use fieldgate_clock as clock;
use fieldgate_clock::broker_heartbeat::BrokerHeartbeat;
use fieldgate_link::{
    self as link, Broker, Incoming, Latest, LinkState, LinkStatus, Parts, Protocol, Settings, TlsSettings, Transport,
};
use fieldgate_model::topic::Topics;
use fieldgate_model::{Key, Message, MessageKind, Name, Qos, RunId};
use fieldgate_spool::{self as spool, Sequence, Spool, SpoolThread, WhenFull};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

pub(crate) use crate::common::free_port;
use crate::common::mosquitto::RUNNING;
use crate::common::{SOON, wait_until};

pub(crate) const RUN: RunId = RunId(0xabcd);

/// A broker of our own; ends with the test.
pub(crate) struct Mosquitto {
    pub(crate) folder: TempDir,
    pub(crate) port: u16,
    pub(crate) child: Option<Child>,
}

impl Mosquitto {
    pub(crate) fn start(extra: &str) -> Self {
        let mut broker = Self { folder: tempfile::tempdir().unwrap(), port: free_port(), child: None };
        let access = if extra.contains("allow_anonymous") { "" } else { "allow_anonymous true\n" };
        let extra = extra.replace("FOLDER", &broker.folder.path().display().to_string());
        let text = format!("listener {} 127.0.0.1\n{access}{extra}\n", broker.port);
        std::fs::write(broker.folder.path().join("mosquitto.conf"), text).unwrap();
        broker.up();
        broker
    }

    pub(crate) fn up(&mut self) {
        let file = self.folder.path().join("log");
        let log = std::fs::File::create(&file).unwrap();
        let child = Command::new("/usr/sbin/mosquitto")
            .arg("-v")
            .arg("-c")
            .arg(self.folder.path().join("mosquitto.conf"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("mosquitto is installed");
        let child = self.child.insert(child);
        // Its own word counts: whoever asks the port while nothing listens may be answered by himself.
        wait_until("Mosquitto to start", SOON, || {
            let log = std::fs::read_to_string(&file).unwrap_or_default();
            assert!(child.try_wait().unwrap().is_none(), "Mosquitto does not start:\n{log}");
            log.contains(RUNNING)
        });
    }

    pub(crate) fn down(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub(crate) fn signal(&self, signal: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    pub(crate) fn file(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// Everything below `topic`, as `topic payload` lines.
    pub(crate) fn watch(&self, topic: &str) -> Watch {
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

    pub(crate) fn publish(&self, args: &[&str]) {
        let status = Command::new("mosquitto_pub").args(["-p", &self.port.to_string(), "-V", "5"]).args(args).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.down();
    }
}

pub(crate) struct Watch {
    pub(crate) child: Child,
    pub(crate) lines: Arc<std::sync::Mutex<Vec<String>>>,
}

impl Watch {
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    pub(crate) fn with(&self, part: &str) -> Vec<String> {
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
pub(crate) struct Link {
    pub(crate) latest: Latest,
    pub(crate) commands: mpsc::Receiver<Incoming>,
    pub(crate) status: watch::Receiver<LinkStatus>,
    pub(crate) outputs: watch::Sender<Vec<String>>,
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) task: JoinHandle<link::Handover>,
    /// What another link after it needs.
    ways: (watch::Sender<LinkStatus>, Spool),
}

pub(crate) fn settings(protocol: Protocol, port: u16) -> Settings {
    Settings {
        brokers: vec![broker("127.0.0.1", port)],
        protocol: protocol.into(),
        prefer_first: None,
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
        retain_state: true,
        topics: Topics::new("b"),
    }
}

pub(crate) fn broker(host: &str, port: u16) -> Broker {
    Broker { transport: Transport::Tcp, host: host.into(), port, path: "/mqtt".into() }
}

/// For waiting outside the test's own runtime; never dropped, which must not happen inside another one.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| tokio::runtime::Builder::new_current_thread().build().unwrap());

/// The real spool in a folder of its own, for tests that are not async where they look at it.
pub(crate) struct TestSpool {
    spool: Spool,
    _thread: SpoolThread,
    _folder: TempDir,
}

pub(crate) fn open_spool() -> TestSpool {
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
    pub(crate) fn len(&self) -> usize {
        self.wait_for(self.spool.read(Sequence(0), 100_000)).unwrap().messages.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        let batch = self.wait_for(self.spool.read(Sequence(0), 1)).unwrap();
        batch.messages.is_empty() && batch.next >= *self.spool.head().borrow()
    }

    /// Waits on a thread of its own: the spool answers from its own thread, so the test's runtime may stand still
    /// meanwhile.
    fn wait_for<T: Send>(&self, work: impl Future<Output = T> + Send) -> T {
        std::thread::scope(|scope| scope.spawn(|| RUNTIME.block_on(work)).join().unwrap())
    }
}

pub(crate) fn put(spool: &TestSpool, message: Message) {
    spool.wait_for(spool.spool.append(message)).unwrap();
}

pub(crate) fn start(settings: Settings, spool: &TestSpool) -> Link {
    start_with(settings, spool, vec!["b/actuators/pump/set".into()])
}

/// With outputs whose commands come on these topics.
pub(crate) fn start_with(settings: Settings, spool: &TestSpool, topics: Vec<String>) -> Link {
    let (outputs, command_topics) = watch::channel(topics);
    let (commands_in, commands) = mpsc::channel(64);
    let (status_in, status) = watch::channel(LinkStatus::new(&settings));
    let (stop, stop_out) = watch::channel(false);
    let latest = Latest::default();
    let parts = Parts {
        settings,
        run: RUN,
        spool: spool.spool.clone(),
        latest: latest.clone(),
        command_topics,
        commands: commands_in,
        status: status_in,
        heartbeat: Arc::new(BrokerHeartbeat::new()),
        stop: stop_out,
        handover: None,
    };
    let ways = (parts.status.clone(), parts.spool.clone());
    Link { latest, commands, status, outputs, stop, task: tokio::spawn(link::run(parts)), ways }
}

impl Link {
    pub(crate) async fn until(&mut self, what: &str, done: impl Fn(&LinkStatus) -> bool) -> LinkStatus {
        let wait = async { self.status.wait_for(|status| done(status)).await.unwrap().clone() };
        match tokio::time::timeout(Duration::from_secs(15), wait).await {
            Ok(status) => status,
            Err(_) => panic!("{what}: {:?}", self.status.borrow()),
        }
    }

    pub(crate) async fn up(&mut self) {
        self.until("up", |status| status.state == LinkState::Up).await;
    }

    pub(crate) async fn failed(&mut self) -> String {
        self.until("failed", |status| status.last_error.is_some()).await.last_error.unwrap()
    }

    /// Ends it and starts another in its place, as a reload does.
    pub(crate) async fn again(self, settings: Settings) -> Self {
        self.stop.send_replace(true);
        let handover = self.task.await.unwrap();
        let (stop, stop_out) = watch::channel(false);
        let (commands_in, commands) = mpsc::channel(64);
        let parts = Parts {
            settings,
            run: RUN,
            spool: self.ways.1.clone(),
            latest: self.latest.clone(),
            command_topics: self.outputs.subscribe(),
            commands: commands_in,
            status: self.ways.0.clone(),
            heartbeat: Arc::new(BrokerHeartbeat::new()),
            stop: stop_out,
            handover: Some(handover),
        };
        Self { stop, commands, task: tokio::spawn(link::run(parts)), ..self }
    }

    pub(crate) async fn end(self) -> Duration {
        let begun = Instant::now();
        self.stop.send_replace(true);
        self.task.await.unwrap();
        begun.elapsed()
    }
}

pub(crate) async fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(15);
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until nothing is left, for as long as it becomes less.
pub(crate) async fn emptied(spool: &TestSpool) {
    let (mut fewest, mut deadline) = (usize::MAX, Instant::now());
    while !spool.is_empty() {
        let left = spool.len();
        if left < fewest {
            (fewest, deadline) = (left, Instant::now() + Duration::from_secs(15));
        }
        assert!(Instant::now() < deadline, "{left} are left, and it does not become less");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

pub(crate) fn reading(sensor: &str, seq: u64) -> Message {
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

pub(crate) fn in_order(lines: &[String]) -> Vec<u64> {
    let seq = |line: &String| line.split("\"seq\":").nth(1)?.split(',').next()?.parse().ok();
    lines.iter().filter_map(seq).collect()
}

/// Mosquitto gives up root's rights when it starts.
/// For us alone, as a password must be.
pub(crate) fn make_private(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

pub(crate) fn make_readable(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let mode = if path.is_dir() { 0o755 } else { 0o644 };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Passes bytes on to `port` and cuts every connection at each turn of `cuts`.
pub(crate) async fn cutting_proxy(port: u16, cuts: watch::Receiver<u32>) -> u16 {
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
                // A reset, as a network cuts: an orderly end, again and again, is that of a broker which has other plans. It may
                // have ended by itself.
                rustix::net::connect_unspec(&near).ok();
            });
        }
    });
    ours
}

/// Accepts any CONNECT, answers `answer` and closes.
pub(crate) fn scripted(answer: &'static [u8]) -> u16 {
    use std::io::Write;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut connect = [0; 1024];
            drop(stream.read(&mut connect));
            drop(stream.write_all(answer));
            // Until the other side has closed, so that no reset overtakes the answer.
            while let Ok(1..) = stream.read(&mut connect) {}
        }
    });
    port
}
