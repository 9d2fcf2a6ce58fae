//! A broker, a subscriber, and the compiled program with sensors on two buses and an output that has been switched on.

use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::account::Account;
use super::client::Client;
use super::gateway::{self, Gateway};
use super::mosquitto::{Mosquitto, Options};
use super::notify::NotifySocket;
use super::quick::LONG;
use super::sim_file::SimFile;
use super::{SOON, wait_for, wait_until};

pub const PUMP: &str = "actuators:
  pump: { driver: gpio-output, bus: bench, settings: { line: GPIO27 }, safe_state: \"off\" }
";

pub const DEVICES: &str = "buses:
  bench: { type: sim, state_file: bench.json }
  other: { type: sim, state_file: other.json }
sensors:
  air: { driver: bme280, bus: other, every: 100ms, settings: { address: 0x76 } }
  n: { driver: waveform, every: 50ms, settings: { shape: counter } }
";

pub fn config(url: &str, mqtt: &str, rest: &str) -> String {
    let quick = "reconnect: { min: 50ms, max: 150ms }";
    format!(
        "gateway: {{ name: t }}\nmqtt: {{ broker: \"{url}\", base_topic: b, {quick}{mqtt} }}\nspool: {{ path: spool }}\n{rest}"
    )
}

pub fn devices() -> String {
    format!("{DEVICES}{PUMP}")
}

/// A broker, a subscriber, and the program with an output that has been switched on.
pub struct Running {
    pub broker: Mosquitto,
    pub client: Client,
    pub sim: SimFile,
    pub gateway: Gateway,
    pub socket: NotifySocket,
    pub folder: TempDir,
}

impl Running {
    pub fn start() -> Self {
        Self::with(&devices(), &[])
    }

    pub fn with(rest: &str, environment: &[(&str, &str)]) -> Self {
        Self::prepared(rest, environment, |_| ())
    }

    /// Starts it in a folder that is prepared before.
    pub fn prepared(rest: &str, environment: &[(&str, &str)], prepare: impl FnOnce(&Path)) -> Self {
        let running = Self::untouched(rest, environment, prepare);
        running.switch_on();
        running
    }

    /// Starts it with these outputs, none of them switched on.
    pub fn untouched(rest: &str, environment: &[(&str, &str)], prepare: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path());
        let broker = Mosquitto::with(Options { extra: "max_queued_messages 0".to_owned(), ..Options::default() });
        let client = Client::subscribe(&broker.endpoint(), &["b/#", "c/#"]);
        let socket = NotifySocket::listen(folder.path());
        let sim = SimFile::new(folder.path().join("bench.json"));
        // Every reading is in the log, so that a test knows what was taken.
        let usual = [socket.variable(), ("RUST_LOG", "info,fieldgate::recorder=debug")];
        let text = config(&broker.url(), "", rest);
        let gateway = Gateway::with_env(folder.path(), &text, &[environment, &usual].concat());
        let running = Self { broker, client, sim, gateway, socket, folder };
        running.client.wait_json("b/health", |health| health["link"]["state"] == "up", SOON);
        running
    }

    pub fn switch_on(&self) {
        self.client.publish("b/actuators/pump/set", "on", false, 1);
        self.sim.wait_line("GPIO27", 1, SOON);
        self.client.wait_json("b/actuators/pump/state", |state| state["value"] == "on", SOON);
    }

    /// Writes another file, asks for a reload and waits for its end.
    pub fn reload(&self, config: &str) {
        let before = self.socket.all().len();
        gateway::write_config(self.folder.path(), config);
        self.gateway.signal(Signal::HUP);
        let begun = self.socket.wait("RELOADING=1", before, SOON);
        self.socket.wait("READY=1", begun, SOON);
    }

    pub fn config(&self, mqtt: &str, rest: &str) -> String {
        config(&self.broker.url(), mqtt, rest)
    }

    pub fn seq(&self) -> u64 {
        self.client.all("b/sensors/n").last().map_or(0, |reading| reading.json()["seq"].as_u64().unwrap())
    }

    pub fn wait_seq(&self, seq: u64) {
        wait_until(&format!("reading {seq}"), SOON, || self.seq() >= seq);
    }

    /// Starts the program again, with what it had.
    pub fn restart(&mut self) {
        let environment = [("RUST_LOG", "info,fieldgate::recorder=debug")];
        let text = std::fs::read_to_string(self.folder.path().join("fieldgate.yaml")).unwrap();
        self.gateway = Gateway::with_env(self.folder.path(), &text, &environment);
    }

    /// What became of a sensor's readings.
    pub fn account(&self, sensor: &str) -> Account {
        Account::of(sensor, self.client.everything().into_iter().map(|message| (message.topic, message.payload)))
    }

    /// Waits until everything up to `last` of the first run of `n` has come or was reported as lost, and checks the whole.
    pub fn wait_whole(&self, last: u64) -> Account {
        // A log that did not fit may not have the last, so what has come counts too.
        let account = wait_for("all readings", LONG, || {
            let account = self.account("n");
            let run = account.runs.first()?;
            account.missing(run, last.max(account.last(run))).is_empty().then_some(account)
        });
        account.check_whole();
        account
    }

    /// The newest message on a topic.
    pub fn latest(&self, topic: &str) -> Value {
        self.client.all(topic).last().map_or(Value::Null, |message| message.json())
    }
}
