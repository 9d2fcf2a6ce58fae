//! A link without the program around it, and the spool that it reads. Brokers, clients and cables are those of `tests/common`.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use fieldgate_clock as clock;
use fieldgate_clock::broker_heartbeat::BrokerHeartbeat;
use fieldgate_link::{
    self as link, Broker, Incoming, Latest, LinkResources, LinkState, LinkStatus, PeerStatus, Protocol, Settings,
    TlsSettings, Transport,
};
use fieldgate_model::topic::Topics;
use fieldgate_model::{Key, Message, MessageKind, Name, Qos, RunId};
use fieldgate_spool::{self as spool, Sequence, Spool, SpoolThread, WhenFull};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::common::client::Client;
pub(crate) use crate::common::free_port;
pub(crate) use crate::common::mosquitto::{Mosquitto, Options};
use crate::common::pace;
use crate::common::scripted::{Answer, Greeting, Script, ScriptedBroker};

/// Long enough for a loaded machine; a test that waits this long has failed.
const LONGEST: Duration = Duration::from_secs(15);

pub(crate) const RUN: RunId = RunId(0xabcd);

/// Where commands for the pump go.
pub(crate) const PUMP: &str = "b/actuators/pump/set";

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
        leaves_nothing: false,
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
    let (spool, thread) = spool::open(spool_settings(&folder), RUN).unwrap();
    TestSpool { spool, _thread: thread, _folder: folder }
}

fn spool_settings(folder: &TempDir) -> spool::Settings {
    spool::Settings {
        path: folder.path().to_owned(),
        max_size: 64 << 20,
        commit_every: Duration::from_secs(1),
        when_full: WhenFull::DropOldest,
    }
}

impl TestSpool {
    /// Closes it and opens it again; a large file is examined when something comes through the gate.
    pub(crate) async fn reopen(self, gate: std::sync::mpsc::Receiver<()>) -> Self {
        self.spool.close().await;
        self._thread.join().unwrap();
        let (spool, thread) = spool::open_gated(spool_settings(&self._folder), RUN, gate).unwrap();
        Self { spool, _thread: thread, ..self }
    }

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
    start_with(settings, spool, vec![PUMP.into()])
}

/// With outputs whose commands come on these topics.
pub(crate) fn start_with(settings: Settings, spool: &TestSpool, topics: Vec<String>) -> Link {
    let (outputs, command_topics) = watch::channel(topics);
    let (commands_in, commands) = mpsc::channel(64);
    let (status_in, status) = watch::channel(LinkStatus::new(&settings));
    let (stop, stop_out) = watch::channel(false);
    let latest = Latest::default();
    let parts = LinkResources {
        settings,
        run: RUN,
        spool: spool.spool.clone(),
        latest: latest.clone(),
        command_topics,
        peer_topic: watch::channel(None).1,
        peer: watch::channel(PeerStatus::default()).0,
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
        pace::watch();
        let begun = Instant::now();
        // Time for which the machine held up everybody does not count.
        while begun.elapsed() < LONGEST + pace::taken_since(begun) {
            let wait = async { self.status.wait_for(|status| done(status)).await.unwrap().clone() };
            if let Ok(status) = tokio::time::timeout(LONGEST / 10, wait).await {
                return status;
            }
        }
        panic!("{what}: {:?}", self.status.borrow())
    }

    /// The next command that it hands on.
    pub(crate) async fn command(&mut self) -> Incoming {
        tokio::time::timeout(LONGEST, self.commands.recv()).await.expect("a command").expect("the link runs")
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
        let parts = LinkResources {
            settings,
            run: RUN,
            spool: self.ways.1.clone(),
            latest: self.latest.clone(),
            command_topics: self.outputs.subscribe(),
            peer_topic: watch::channel(None).1,
            peer: watch::channel(PeerStatus::default()).0,
            commands: commands_in,
            status: self.ways.0.clone(),
            heartbeat: Arc::new(BrokerHeartbeat::new()),
            stop: stop_out,
            handover: Some(handover),
        };
        Self { stop, commands, task: tokio::spawn(link::run(parts)), ..self }
    }

    /// Ends the link; returns how long that took, without what the machine held up everybody.
    pub(crate) async fn end(self) -> Duration {
        let begun = Instant::now();
        self.stop.send_replace(true);
        self.task.await.unwrap();
        begun.elapsed().saturating_sub(pace::slack(begun))
    }
}

pub(crate) async fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    pace::watch();
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < LONGEST + pace::taken_since(begun), "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until nothing is left, for as long as it becomes less.
pub(crate) async fn emptied(spool: &TestSpool) {
    let (mut fewest, mut deadline) = (usize::MAX, Instant::now());
    while !spool.is_empty() {
        let left = spool.len();
        if left < fewest {
            (fewest, deadline) = (left, Instant::now() + LONGEST);
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

/// The numbers of readings by their payloads.
pub(crate) fn in_order(payloads: &[String]) -> Vec<u64> {
    let seq = |payload: &String| payload.split("\"seq\":").nth(1)?.split(',').next()?.parse().ok();
    payloads.iter().filter_map(seq).collect()
}

/// What came on this topic.
pub(crate) fn payloads(client: &Client, topic: &str) -> Vec<String> {
    client.all(topic).into_iter().map(|message| message.payload).collect()
}

/// A broker with the lines of this ACL for everybody.
pub(crate) fn with_acl(acl: &str) -> Mosquitto {
    Mosquitto::with(Options { acl: Some(acl.to_owned()), ..Options::default() })
}

/// Somebody who hears everything below the base topic.
pub(crate) fn listener(broker: &Mosquitto) -> Client {
    Client::subscribe(&broker.endpoint(), &["b/#"])
}

/// A command for the pump.
pub(crate) fn command(broker: &Mosquitto, payload: &str, retain: bool) {
    crate::common::client::publish(&broker.endpoint(), PUMP, payload, retain, 1);
}

/// Answers any CONNECT with these bytes, and nothing else with anything.
pub(crate) fn answering(bytes: &[u8]) -> ScriptedBroker {
    let script = Script::good().greeting(Greeting::Raw(bytes.to_vec())).on_publish(|_, _| Answer::Silence);
    ScriptedBroker::start(vec![script.no_subacks().no_pings()])
}
