//! A gateway with two switches, a fan and a fast sensor on a Mosquitto, and somebody who hears everything.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::client::{Client, Endpoint, publish, publish_bytes};
use super::gateway::{self, Gateway};
use super::mosquitto::Mosquitto;
use super::sim_file::SimFile;
use super::{SOON, wait_for, wait_until};

/// What every gateway here has; `MQTT` and `SAFE_AFTER` are filled in.
pub const CONFIG: &str = "
gateway: { name: g }
mqtt: { MQTT, reconnect: { min: 50ms, max: 200ms } }
spool: { path: spool }
buses:
  bench: { type: sim, state_file: bench.json }
sensors:
  tick: { driver: waveform, every: 50ms, qos: 0, settings: { shape: counter } }
actuators:
  pump: { driver: gpio-output, bus: bench, settings: { line: GPIO27 }, safe_state: \"off\", safe_after: SAFE_AFTER }
  heater:
    { driver: gpio-output, bus: bench, settings: { line: GPIO22, active_low: true }, safe_state: \"off\", safe_after: SAFE_AFTER }
  fan: { driver: pwm-output, bus: bench, settings: { channel: 0 }, safe_state: 0, safe_after: SAFE_AFTER }
";

/// Between two probes; those of the time in which a test gives up are fewer than may come at once.
const PROBE_EVERY: Duration = Duration::from_millis(400);

pub const ALL: &str = "fieldgate/g/#";

pub fn set(output: &str) -> String {
    format!("fieldgate/g/actuators/{output}/set")
}

pub fn reply(output: &str) -> String {
    format!("fieldgate/g/actuators/{output}/reply")
}

pub fn state(output: &str) -> String {
    format!("fieldgate/g/actuators/{output}/state")
}

/// How a gateway is to be configured.
pub struct Setup {
    pub protocol: &'static str,
    pub safe_after: &'static str,
    pub clean: bool,
}

pub const USUAL: Setup = Setup { protocol: "5", safe_after: "30s", clean: true };
pub const OLD: Setup = Setup { protocol: "3.1.1", ..USUAL };

impl Setup {
    pub fn config(&self, url: &str) -> String {
        let Self { protocol, clean, safe_after } = self;
        let mqtt =
            format!("broker: \"{url}\", protocol: \"{protocol}\", client_id: g-under-test, clean_session: {clean}");
        CONFIG.replace("MQTT", &mqtt).replace("SAFE_AFTER", safe_after)
    }
}

/// A gateway on a broker, and somebody who hears everything.
pub struct Bench {
    pub gateway: Gateway,
    pub client: Client,
    pub sim: SimFile,
    pub broker: Mosquitto,
    pub config: String,
    pub folder: TempDir,
}

impl Bench {
    pub fn start(setup: &Setup) -> Self {
        Self::on(Mosquitto::start(), setup)
    }

    pub fn on(broker: Mosquitto, setup: &Setup) -> Self {
        let config = setup.config(&broker.url());
        Self::with(broker, config, &[])
    }

    /// With more outputs, one in each line, on the usual bus or on another one called `side`.
    pub fn beside(setup: &Setup, outputs: &[String]) -> Self {
        let broker = Mosquitto::start();
        let config = setup
            .config(&broker.url())
            .replace("\nsensors:", "\n  side: { type: sim, state_file: side.json }\nsensors:");
        Self::with(broker, config + &outputs.concat(), &[])
    }

    /// With this configuration and more of an environment. Returns when commands arrive.
    pub fn with(broker: Mosquitto, config: String, environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let client = Client::subscribe(&broker.endpoint(), &[ALL, "answers/#"]);
        let gateway = Gateway::with_env(folder.path(), &config, environment);
        let sim = SimFile::new(folder.path().join("bench.json"));
        let bench = Self { gateway, client, sim, broker, config, folder };
        bench.ready();
        bench
    }

    /// Waits until a command is answered; one to an output that does not exist moves nothing. No other test waits for an answer from
    /// these, for a broker that keeps a session can send what was asked in an earlier life.
    pub fn ready(&self) {
        self.client.wait_for("fieldgate/g/status", |payload| payload == "online", SOON);
        wait_until("the outputs to be driven", SOON, || self.sim.path.exists());
        static TIMES: AtomicUsize = AtomicUsize::new(0);
        let nth = TIMES.fetch_add(1, Ordering::Relaxed);
        self.probe(&format!("nobody-{nth}"));
        // Its answer comes behind those to all others that were sent meanwhile.
        self.probe(&format!("nobody-else-{nth}"));
        self.client.forget();
    }

    /// Sends a command until one is answered that has not waited, but never so many that a gateway which the machine held up meanwhile
    /// drops them.
    fn probe(&self, nobody: &str) {
        let mut sent: Option<Instant> = None;
        wait_until("an answer", SOON, || {
            if sent.is_none_or(|sent| sent.elapsed() > PROBE_EVERY) {
                self.send(nobody, "probe");
                sent = Some(Instant::now());
            }
            self.client.all(&reply(nobody)).iter().any(|message| !message.payload.contains("expired"))
        });
    }

    pub fn endpoint(&self) -> Endpoint {
        self.broker.endpoint()
    }

    pub fn send(&self, output: &str, payload: &str) {
        publish(&self.endpoint(), &set(output), payload, false, 1);
    }

    /// The reply to a command sent now.
    pub fn ask(&self, output: &str, payload: &str) -> Value {
        self.answer_to(output, || self.send(output, payload))
    }

    /// The reply to whatever `act` sends.
    pub fn answer_to(&self, output: &str, act: impl FnOnce()) -> Value {
        let before = self.client.all(&reply(output)).len();
        act();
        let what = format!("the reply of {output}");
        let message = wait_for(&what, SOON, || self.client.all(&reply(output)).into_iter().nth(before));
        message.json()
    }

    /// Expects a refusal with these words and no movement.
    pub fn refused(&self, output: &str, payload: &[u8], words: &str) -> Value {
        let before = self.sim.version();
        let answer = self.answer_to(output, || publish_bytes(&self.endpoint(), &set(output), payload));
        let shown = String::from_utf8_lossy(&payload[..payload.len().min(40)]).into_owned();
        assert_eq!(answer["outcome"], "rejected", "{shown}: {answer}");
        assert!(answer["reason"].as_str().unwrap().contains(words), "{shown}: {answer}");
        assert_eq!(self.sim.version(), before, "{shown} moved an output");
        answer
    }

    /// The health message of this moment, which a reload brings.
    pub fn health(&self) -> Value {
        let asked = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        self.gateway.signal(Signal::HUP);
        // A clock that is not set says nothing about when that was.
        let is_new = |health: &Value| health["clock"] == "unsynchronised" || health["time"].as_str() >= Some(&asked);
        self.client.wait_json("fieldgate/g/health", is_new, SOON)
    }

    /// The health message that counts so many trips of an output: the count reaches health behind what the output says.
    pub fn wait_trips(&self, output: &str, trips: u64) -> Value {
        wait_for(&format!("{trips} trips of {output} in health"), SOON, || {
            let health = self.health();
            (health["actuators"][output]["trips"] == trips).then_some(health)
        })
    }

    /// The other bus.
    pub fn side(&self) -> SimFile {
        SimFile::new(self.folder.path().join("side.json"))
    }

    /// Takes up another configuration.
    pub fn reload(&mut self, config: String) {
        let reloaded = |bench: &Self| bench.gateway.log().matches("Configuration reloaded.").count();
        let before = reloaded(self);
        gateway::write_config(self.folder.path(), &config);
        self.config = config;
        self.gateway.signal(Signal::HUP);
        wait_until("the reload", SOON, || reloaded(self) > before);
    }

    pub fn restart(&mut self) {
        self.gateway = Gateway::start(self.folder.path(), &self.config);
    }
}
